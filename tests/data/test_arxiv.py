"""arXiv's metadata: records, retired names, broken lines, constant memory, and the source over a file."""

import gzip
import itertools
import json
import logging
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jlabel.data
from jlabel.data import DataError, arxiv, arxiv_records, load_graph


def article(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"0704.{number:04}", "title": f"Title {number}", "abstract": f"  Text {number}.\n",
        "categories": "hep-ph cs.LG", "versions": [{"version": "v1", "created": "Mon, 2 Apr 2007 19:18:42 GMT"}],
        "update_date": "2008-11-26", **fields,
    }  # fmt: skip


def write(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"".join(x if isinstance(x, bytes) else json.dumps(x).encode() + b"\n" for x in lines))
    return path


# --- records


def test_records_are_normalised(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        article(1, title="On\n  the  \u00c5ngstr\u00f6m", categories="alg-geom math.AG cmp-lg math.NT"),
        b"\n  \n",
        article(2, categories=["astro-ph cs.IT math.IT"], title=""),
    )
    first, second = arxiv_records(path)
    assert first == ("0704.0001", "On the \u00c5ngstr\u00f6m", "Text 1.", ("math.AG", "cs.CL", "math.NT"), "2008-11-26")
    assert first.text == "On the \u00c5ngstr\u00f6m\nText 1."
    assert second.categories == ("astro-ph", "cs.IT")
    assert second.text == "Text 2."


def test_every_retired_name_is_mapped_to_one_of_today() -> None:
    sets = {entry["name"]: entry["labels"] for entry in load_graph("arxiv")["label_sets"]}
    assert len(arxiv.TODAYS_NAME) == 24
    assert set(arxiv.TODAYS_NAME.values()) <= set(sets["arxiv"])
    assert not set(arxiv.TODAYS_NAME) & arxiv.known_categories()
    for archive in ("astro-ph", "cond-mat", "q-bio"):  # what articles before the subcategories have
        assert archive in arxiv.known_categories()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "1", "tit', "no JSON: Unterminated string starting at, character 12"),
        (b"[1, 2]", "no JSON object but a list"),
        (b"[" * 100_000, "no JSON: "),
        (b'{"id": ' + b"9" * 5000 + b"}", "no JSON: Exceeds the limit"),
        (b'{"id": "caf\xe9"}', "not UTF-8 text at byte 11 of the line"),
        (article(title=None), "no title"),
        (article(abstract=7), "abstract is of type int, not text"),
        (article(title=" ", abstract="\n"), "neither title nor abstract"),
        (article(id=""), "the id is empty"),
        (article(title="half \ud83d of it"), "title has no UTF-8 form: character 5 is half of a surrogate pair"),
        (article(categories=" "), "no category"),
        (article(categories="cs.LG cs.QQ"), "unknown category 'cs.QQ'"),
        (article(update_date="26 Nov 2008"), "update_date '26 Nov 2008' is not YYYY-MM-DD"),
    ],
)
def test_broken_lines_are_named_and_counted(
    tmp_path: Path, line: dict[str, Any] | bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = line + b"\n" if isinstance(line, bytes) else line
    records = arxiv_records(write(tmp_path / "a.json", article(1), line, article(2), line))
    with caplog.at_level(logging.WARNING):
        assert [record.id for record in records] == ["0704.0001", "0704.0002"]
    assert (records.lines, records.broken) == (4, 2)
    assert [number for number, _ in records.skipped] == [2, 4]
    assert records.skipped[0][1].startswith(reason)
    assert "2 broken lines, the first: line 2: " + reason in caplog.text
    with pytest.raises(DataError) as caught:
        jlabel.data.open(f"arxiv:{tmp_path}/a.json")
    assert f"row 'line 2': line 2: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)
    source = jlabel.data.open(f"arxiv:{tmp_path}/a.json", "all", skip_broken=True)
    assert [row["name"] for row in source] == ["0704.0001", "0704.0002"]
    assert [name for name, _ in source.skipped] == ["line 2", "line 4"]


def test_reasons_kept_are_bounded(tmp_path: Path) -> None:
    records = arxiv_records(write(tmp_path / "a.json", b"x\n" * 250))
    assert list(records) == []
    assert (records.broken, len(records.skipped)) == (250, 100)


def test_compressed_files_are_streamed(tmp_path: Path) -> None:
    content = gzip.compress(b"".join(json.dumps(article(i)).encode() + b"\n" for i in range(2000)))
    (tmp_path / "a.json.gz").write_bytes(content)
    assert sum(1 for _ in arxiv_records(tmp_path / "a.json.gz")) == 2000
    (tmp_path / "cut.json.gz").write_bytes(content[: len(content) // 2])
    records = arxiv_records(tmp_path / "cut.json.gz")
    with pytest.raises(DataError, match=r"cut.json.gz: line \d+ cannot be read: Compressed file ended"):
        list(records)
    with pytest.raises(DataError, match="rows of a compressed file cannot be read one by one; unpack it first"):
        jlabel.data.open(f"arxiv:{tmp_path}/a.json.gz")
    with pytest.raises(DataError, match="no such file"):
        arxiv_records(tmp_path / "b.json")


def test_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "word " * 300_000
    path = write(tmp_path / "a.json", article(1, abstract=long), article(2))
    assert [len(record.abstract) for record in arxiv_records(path)] == [1_499_999, 7]
    source = jlabel.data.open(f"arxiv:{path}", "all")
    assert source[0]["text"] == "Title 1\n" + long.strip()
    monkeypatch.setattr(arxiv, "LONGEST_LINE", 1000)
    records = arxiv_records(path)
    assert [record.id for record in records] == ["0704.0002"]
    assert records.skipped[0][0] == 1
    assert records.lines == 2
    assert jlabel.data.open(f"arxiv:{path}", "all", skip_broken=True)[0]["text"] == "Title 2\nText 2."


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = json.dumps(article(abstract="word " * 400)).encode() + b"\n"
    (tmp_path / "a.json").write_bytes(line * 1500)  # 3.6 MB
    records = arxiv_records(tmp_path / "a.json")
    next(records)
    tracemalloc.start()
    try:
        assert sum(1 for _ in records) == 1499
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(arxiv.ArxivRecord._fields), inner, max_size=5), max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_line_is_a_record_or_a_reason(line: bytes) -> None:
    try:
        record = arxiv.parse_record(line)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert record.text.encode()


# --- the source


@pytest.fixture
def metadata(tmp_path: Path) -> str:
    months = itertools.cycle([5, 1, 3, 8, 2])
    lines = [
        article(i, update_date=f"2010-{next(months):02}-01", categories=names)
        for i, names in enumerate(["cs.LG stat.ML", "hep-th", "cs.CL cs.LG", "math.AG", "cs.LG"] * 2)
    ]
    return f"arxiv:{write(tmp_path / 'm.json', b'', *lines)}"


def test_source_splits_by_time(metadata: str) -> None:
    test, train = jlabel.data.open(metadata, "test"), jlabel.data.open(metadata)
    assert test.column("name").tolist() == ["0704.0003", "0704.0008"]  # a quarter of 10, rounded down
    assert len(train) == 8
    assert train.label_names == test.label_names == ("cs.CL", "cs.LG", "hep-th", "math.AG")
    assert test[0] == {
        "text": "Title 3\nText 3.", "label": 3, "name": "0704.0003", "split": "test", "update_date": "2010-08-01"
    }  # fmt: skip
    assert train.labels.tolist() == [1, 2, 0, 1, 1, 2, 0, 1]
    with pytest.raises(DataError, match="no split 'val'; there are train, test, all"):
        jlabel.data.open(metadata, "val")


def test_source_reads_what_the_stream_does(metadata: str) -> None:
    source = jlabel.data.open(metadata, "all")
    records = list(arxiv_records(metadata.removeprefix("arxiv:")))
    assert [source.content(i) for i in (7, 0, 9)] == [records[i].text for i in (7, 0, 9)]
    assert [row["text"] for row in pickle.loads(pickle.dumps(source))] == [record.text for record in records]
    assert jlabel.data.open(f"{metadata}?rows=3", "all").column("name").tolist() == [
        record.id for record in records[:3]
    ]


def test_source_with_cross_lists(metadata: str) -> None:
    source = jlabel.data.open(f"{metadata}?labels=all&rows=4", "all")
    assert source.label_names == ("cs.CL", "cs.LG", "hep-th", "math.AG", "stat.ML")
    assert source.column("labels").tolist() == [(1, 4), (2,), (0, 1), (3,)]
    assert source.labels.tolist() == [1, 2, 0, 3]


def test_source_of_a_file_that_changed(metadata: str) -> None:
    source = jlabel.data.open(metadata, "all")
    path = Path(metadata.removeprefix("arxiv:"))
    path.write_bytes(path.read_bytes()[3:])
    with pytest.raises(DataError, match=r"row '0704.0004': no JSON"):
        source[4]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("arxiv:/no/such.json", "arxiv:/no/such.json: no such file"),
        ("{}?rows=0", "option rows='0' must be a whole number of at least 1"),
        ("{}?labels=some", "option labels='some' is none of primary, all"),
        ("{}?label=x", "no option 'label'; arxiv knows labels, rows"),
    ],
)
def test_bad_specs(metadata: str, spec: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        jlabel.data.open(spec.format(metadata))
    assert message in str(caught.value)


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no rows in it"):
        jlabel.data.open(f"arxiv:{write(tmp_path / 'a.json')}")
    broken = write(tmp_path / "b.json", b"x\ny\nz")
    with pytest.raises(DataError, match=r"all 3 rows are broken, the first: 'line 1': line 1: no JSON"):
        jlabel.data.open(f"arxiv:{broken}", "all", skip_broken=True)
