"""Sources of texts: in memory, Parquet, CSV and folders; several labels; features of a frozen encoder."""

import csv
import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import jlabel.data
from jlabel.data import DataError, Source, encode_features, encode_texts, from_arrays, load_arrays, split_rows, subset

TEXTS = Path(__file__).parents[2].parent / "shared" / "data" / "text"


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_parquet(path: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), path)
    return f"parquet:{path}"


def contents(source: Source) -> list[str]:
    return [row["text"] for row in source]


# --- in memory


def test_texts_in_memory() -> None:
    source = from_arrays({"text": ["a cat", "ein Bär"], "label": [1, 0]}, label_names=("bear", "cat"))
    assert source.kind == "text"
    assert not source.reader.encoded
    assert source[1] == {"text": "ein Bär", "label": 0, "name": "arrays#1"}
    assert source.digest(1) == hashlib.sha256("ein Bär".encode()).digest()
    arrays = load_arrays(subset(source, [1, 0, 1]))
    assert arrays["text"].dtype == object
    assert arrays["text"].tolist() == ["ein Bär", "a cat", "ein Bär"]
    assert arrays["label"].tolist() == [0, 1, 0]
    assert contents(from_arrays({"text": np.array(["x", "y"])}, label_names=())) == ["x", "y"]
    assert contents(pickle.loads(pickle.dumps(source))) == contents(source)


def test_several_labels_in_memory() -> None:
    columns = {"text": ["x", "y", "z"], "labels": [(1, 0), [0], ()]}
    source = from_arrays(columns, label_names=("a", "b"))
    assert source.labels.tolist() == [1, 0, -1]
    assert source.column("labels").tolist() == [(1, 0), (0,), ()]
    assert source[0]["labels"] == (1, 0)
    assert load_arrays(subset(source, [2, 0]))["labels"].tolist() == [(), (1, 0)]
    part, _ = split_rows(subset(source, [0, 0, 1]), fraction=0.34)
    assert part.column("labels").tolist() == [(1, 0), (0,)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["x", " \n"]}, "arrays: row 1: the text is empty"),
        ({"text": ["x", None]}, "arrays: row 1: the text is of type NoneType, not str"),
        ({"text": [b"x"]}, "arrays: row 0: the text is of type bytes, not str"),
        ({"text": ["ok \udce9"]}, "arrays: row 0: the text has no UTF-8 form: character 3 is half of a surrogate pair"),
        ({"text": ["x"], "label": [0, 0]}, r"column label has shape \(2,\); expected \(1,\)"),
        ({"text": ["x"], "features": [[1.0]]}, "needs one of image, features and text, got features, text"),
        ({"text": ["x"], "labels": [3]}, "labels must be a tuple of whole numbers a row: 'int' object is not iterable"),
        ({"text": ["x"], "labels": [(0.5,)]}, "labels must be a tuple of whole numbers a row"),
        ({"text": ["x"], "labels": [(0, 2)]}, r"labels of row 0 are \(0, 2\); give indices into the 2 label names"),
        ({"text": ["x"], "labels": [(0, 1)], "label": [1]}, r"labels of row 0 are \(0, 1\); .* the row's label, 1"),
        ({"text": ["x"], "labels": [(0,), (1,)]}, r"column labels has shape \(2,\); expected \(1,\)"),
    ],
)
def test_bad_texts_in_memory(columns: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(columns, label_names=("a", "b"))  # type: ignore[arg-type]


def test_batches_of_texts() -> None:
    columns = {"text": ["x", "yy", "z"], "label": [0, 1, 0]}
    source = from_arrays(columns, label_names=("a", "b"))
    batch = next(jlabel.data.pipeline(source, batch_size=2, shuffle=False, process_index=0, process_count=1))
    assert (batch["text"].tolist(), batch["label"].tolist()) == (["x", "yy"], [0, 1])
    several = from_arrays({**columns, "labels": [(0,), (1, 0), (0,)]}, label_names=("a", "b"))
    with pytest.raises(DataError, match="rows with several labels make no batch of one shape; use load_arrays"):
        jlabel.data.pipeline(several, batch_size=2)


# --- parquet


def test_parquet_texts(tmp_path: Path) -> None:
    spec = write_parquet(
        tmp_path / "t.parquet", text=["one", "two"], title=["I", None], label=["a", "b"], year=[1, 2], split=[0, 1]
    )
    source = jlabel.data.open(spec, "test")
    assert source[0] == {
        "text": "two", "label": 1, "name": "t.parquet:1", "split": "test", "title": "", "year": 2
    }  # fmt: skip
    both = jlabel.data.open(f"{spec}?text=title,text", "all")
    assert contents(both) == ["I\none", "two"]
    assert contents(jlabel.data.open(f"{spec}?text=title")) == ["I"]
    assert jlabel.data.open(f"{spec}?features=year").kind == "features"
    raw = write_parquet(tmp_path / "b.parquet", text=pa.array(["caf\u00e9".encode()]), label=[1])
    assert contents(jlabel.data.open(raw)) == ["caf\u00e9"]


def test_parquet_broken_texts(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 3, 4, 4, 4, 6], np.int32))
    valid = pa.py_buffer(bytes([0b10111]))  # the fourth is null
    raw = pa.Array.from_buffers(pa.string(), 5, [valid, offsets, pa.py_buffer(b"cat\xffok")])
    spec = write_parquet(tmp_path / "t.parquet", text=raw, label=[0, 1, 0, 1, 1])
    with pytest.raises(
        DataError, match=r"row 't.parquet:1': column text is not UTF-8 text; repair or remove it, or skip"
    ):
        jlabel.data.open(spec)
    source = jlabel.data.open(spec, skip_broken=True)
    assert contents(source) == ["cat", "ok"]
    assert dict(source.skipped) == {
        "t.parquet:1": "column text is not UTF-8 text",
        "t.parquet:2": "the text is empty",
        "t.parquet:3": "the text is empty",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("text=body", r"no column 'body' \(option text\); there are text, label, year"),
        ("text=year", "column 'year' holds no texts"),
        ("drop=c", r"no label 'c' \(option drop\); there are a, b$"),
        ("drop=a,b", "there are no rows in it"),
        ("separator=", "option separator is empty"),
        ("time=day", r"no column 'day' \(option time\)"),
        ("time=year&split=year", "options split and time exclude each other"),
        ("label=label,day", r"no column 'day' \(option label\)"),
    ],
)
def test_bad_options(tmp_path: Path, options: str, message: str) -> None:
    spec = write_parquet(tmp_path / "t.parquet", text=["one", "two"], label=["a", "b"], year=[1, 2])
    with pytest.raises(DataError, match=message):
        jlabel.data.open(f"{spec}?{options}")


def test_dropped_labels_leave_rows_and_names(tmp_path: Path) -> None:
    spec = write_parquet(
        tmp_path / "t.parquet",
        text=["1", "2", "", "4"],
        label=["oos", "b", "oos", "a"],
        split=["x", "train", "x", "test"],
    )
    source = jlabel.data.open(f"{spec}?drop=oos", "all")
    assert (source.label_names, source.labels.tolist(), contents(source)) == (("a", "b"), [1, 0], ["2", "4"])
    with pytest.raises(DataError, match="no split 'x'; there are train, test, all"):
        jlabel.data.open(f"{spec}?drop=oos", "x")
    comma = write_parquet(tmp_path / "c.parquet", text=["1", "2"], label=["a, b", "c"])
    assert jlabel.data.open(f"{comma}?drop=a,+b").label_names == ("c",)
    lists = jlabel.data.open(f"{spec}?drop=oos&label=label,split", "all")
    assert lists.label_names == ("a", "b", "test", "train", "x")
    assert lists.column("labels").tolist() == [(1, 3), (0, 2)]
    without = jlabel.data.open(
        f"{spec}?drop=x&label=label,split&text=label", "all"
    )  # as a second label x is just taken off
    assert [len(row) for row in without.column("labels")] == [1, 2, 1, 2]


def test_splits_by_time(tmp_path: Path) -> None:
    dates = ["2025-01-03", "2024-12-31", "2025-01-03", "2025-01-01", "2025-01-03", "2025-01-02"]
    texts = [str(i) for i in range(6)]
    columns = {"text": texts, "label": [0] * 6, "split": ["train"] * 6}
    spec = write_parquet(
        tmp_path / "t.parquet", **columns, day=dates, stamp=pd.to_datetime(dates), number=[9, 1, 9, 2, 9, 3]
    )
    for name in ("day", "stamp", "number"):
        assert contents(jlabel.data.open(f"{spec}?time={name}", "test")) == ["4"]  # the last of those that tie
        assert contents(jlabel.data.open(f"{spec}?time={name}")) == ["0", "1", "2", "3", "5"]
    bad = write_parquet(tmp_path / "b.parquet", text=texts, label=[0] * 6, day=["26-FEB-1987", *dates[1:]])
    message = "row 'b.parquet:0': column day holds '26-FEB-1987', neither a number nor a date like 2025-01-31"
    for split in ("train", "test"):  # whichever it would be in
        with pytest.raises(DataError, match=message):
            jlabel.data.open(f"{bad}?time=day", split)
    assert contents(jlabel.data.open(f"{bad}?time=day", "test", skip_broken=True)) == ["4"]
    with pytest.raises(DataError, match="no split 'val'; there are train, test, all"):
        jlabel.data.open(f"{bad}?time=day", "val")


def test_several_labels(tmp_path: Path) -> None:
    spec = write_parquet(
        tmp_path / "t.parquet",
        text=["1", "2", "3"],
        main=["b", "a", "b"],
        others=["a| c |b", None, ""],
        ids=["10|9", "9", "-1"],
    )
    source = jlabel.data.open(f"{spec}?label=main,others&separator=|")
    assert source.label_names == ("a", "b", "c")
    assert source.column("labels").tolist() == [(1, 0, 2), (0,), (1,)]
    assert source.labels.tolist() == [1, 0, 1]
    numbers = jlabel.data.open(f"{spec}?label=ids&separator=|")
    assert numbers.label_names == ("9", "10")
    assert numbers.column("labels").tolist() == [(1, 0), (0,), ()]
    assert "labels" not in jlabel.data.open(f"{spec}?label=main").columns
    with pytest.raises(DataError, match=r"row 't.parquet:1': the label is missing"):
        jlabel.data.open(f"{spec}?label=others,main&separator=|")


def test_a_column_named_labels_is_no_list_of_labels(tmp_path: Path) -> None:
    spec = write_parquet(tmp_path / "t.parquet", text=["1"], label=["b"], labels=["x y"])
    assert "labels" not in jlabel.data.open(spec).columns
    assert jlabel.data.open(f"{spec}?label=labels&separator=+").label_names == ("x", "y")


# --- csv


def test_csv_texts(tmp_path: Path) -> None:
    table = 'text,label,note\n"Two\nlines, one cell",1,x\n42,0,NA\n'
    fill(tmp_path, {"t.csv": table.encode(), "bom.csv": b"\xef\xbb\xbf" + table.encode()})
    source = jlabel.data.open(f"csv:{tmp_path}/t.csv")
    assert contents(source) == ["Two\nlines, one cell", "42"]
    assert source[1] == {"text": "42", "label": 0, "name": "t.csv:1", "note": "NA"}
    assert contents(jlabel.data.open(f"csv:{tmp_path}/bom.csv")) == contents(source)
    assert contents(jlabel.data.open(f"csv:{tmp_path}/t.csv?text=note,text"))[1] == "NA\n42"


def test_csv_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    table = b'text,label,note\n"Two\n\nlines",a,x\n\n  \nfine,a,caf\xe9\nsaint-\xe9t\xe9,b,x\nlast,a,x\n,b,\n'
    spec = f"csv:{fill(tmp_path, {'t.csv': table})}/t.csv"
    with pytest.raises(DataError) as caught:
        jlabel.data.open(spec)
    reason = "line 7: column note is not UTF-8 text at byte 3 of its cell; save it as UTF-8"
    assert str(caught.value).startswith(f"{spec}: row 't.csv:1': {reason}; repair or remove it")
    source = jlabel.data.open(spec, skip_broken=True)
    assert contents(source) == ["Two\n\nlines", "last"]
    assert dict(source.skipped) == {
        "t.csv:1": reason,
        "t.csv:2": "line 8: column text is not UTF-8 text at byte 6 of its cell; save it as UTF-8",
        "t.csv:4": "the text is empty",
    }
    fill(tmp_path, {"h.csv": b"text,caf\xe9\nx,y\n"})
    with pytest.raises(DataError, match="h.csv: line 1: the names of the columns are not UTF-8 text"):
        jlabel.data.open(f"csv:{tmp_path}/h.csv")


def test_csv_names_with_line_breaks(tmp_path: Path) -> None:
    fill(tmp_path, {"t.csv": b'text,"la\nbel"\nx,a\n'})
    with pytest.raises(DataError, match=r"the column name 'la\\nbel' has a line break; line 1 must name the columns"):
        jlabel.data.open(f"csv:{tmp_path}/t.csv")


def test_csv_texts_with_commas_outside_quotes(tmp_path: Path) -> None:
    fill(tmp_path, {"t.csv": b"text,label\nyes, we can,a\nno, not,b\n"})
    with pytest.raises(DataError, match="the rows have more cells than line 1 has names; put cells"):
        jlabel.data.open(f"csv:{tmp_path}/t.csv")


def test_cells_of_a_megabyte(tmp_path: Path) -> None:
    long = "word " * 250_000
    (tmp_path / "t.csv").write_bytes(f'text,label\n"{long}",a\n'.encode() + b"\xff,b\n")
    limit = csv.field_size_limit()
    source = jlabel.data.open(f"csv:{tmp_path}/t.csv", skip_broken=True)
    assert source[0]["text"] == long
    assert source.skipped[0][1].startswith("line 3: column text is not UTF-8")
    assert csv.field_size_limit() == limit
    assert contents(jlabel.data.open(write_parquet(tmp_path / "t.parquet", text=[long], label=[0]))) == [long]


printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(lambda t: t.strip())


@given(st.lists(st.tuples(printable, st.sampled_from(["a", "b"])), min_size=1, max_size=5))
def test_files_keep_any_text(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    (folder / "t.csv").write_text(file.getvalue(), encoding="utf-8", newline="")
    texts, labels = zip(*rows, strict=True)
    for spec in (f"csv:{folder}/t.csv", write_parquet(folder / "t.parquet", text=texts, label=labels)):
        source = jlabel.data.open(spec)
        assert contents(source) == list(texts)
        assert [source.label_names[label] for label in source.labels] == list(labels)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(b"text,label\nx,a\n" + content)
    try:
        source = jlabel.data.open(f"csv:{path}", skip_broken=True)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all("\n".join(contents(source)).encode())
        assert all(reason for _, reason in source.skipped)


# --- folder


def test_folder_of_texts(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "README.txt": b"about", "train/neg/1.txt": b"bad", "train/pos/2.TXT": b"\xef\xbb\xbfgood",
            "train/list.txt": b"x", "test/pos/3.txt": "très".encode(),
        },
    )  # fmt: skip
    train, test = jlabel.data.open(f"folder:{tmp_path}"), jlabel.data.open(f"folder:{tmp_path}", "test")
    assert train.kind == "text"
    assert contents(train) == ["bad", "good"]
    assert train.label_names == test.label_names == ("neg", "pos")
    assert test[0] == {"text": "très", "label": 1, "name": "test/pos/3.txt", "split": "test"}
    loose = jlabel.data.open(f"folder:{tmp_path}/train/neg")
    assert (contents(loose), loose.labels.tolist()) == (["bad"], [-1])


def test_folder_of_broken_texts(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    fill(
        tmp_path,
        {
            "a/1.txt": b"fine",
            "a/2.txt": b"one\ntwo\ncaf\xe9\n",
            "a/3.txt": b" \n",
            "b/4.txt": b"fine",
            "b/5.txt": b"too",
        },
    )
    source = jlabel.data.open(f"folder:{tmp_path}")
    with pytest.raises(
        DataError, match=r"row 'a/2.txt': line 3 is not UTF-8 text \(byte 0xe9\); save it as UTF-8; repair"
    ):
        source[1]
    with pytest.raises(DataError, match=r"row 'a/3.txt': the text is empty; repair or remove it"):
        load_arrays(subset(source, [2]))
    with pytest.raises(DataError, match=r"row 'a/2.txt': line 3 is not UTF-8"):
        source.digest(1)
    fill(tmp_path, {"b/0.png": picture.getvalue()})
    with pytest.raises(DataError, match=r"row 'b/0.png': no text among texts: its name does not end in .txt; repair"):
        jlabel.data.open(f"folder:{tmp_path}")
    sound = jlabel.data.open(f"folder:{tmp_path}", skip_broken=True)
    assert contents(sound) == ["fine", "fine", "too"]
    assert [name for name, _ in sound.skipped] == ["b/0.png", "a/2.txt", "a/3.txt"]
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="class folder 'c' holds no texts; fill it or remove it"):
        jlabel.data.open(f"folder:{tmp_path}")
    only = fill(tmp_path / "only", {"x/1.txt": b""})
    with pytest.raises(DataError, match="all 1 texts are broken"):
        jlabel.data.open(f"folder:{only}", skip_broken=True)


# --- features of an encoder


def words(texts: list[str]) -> list[np.ndarray]:
    return [np.array([1, *(2 + len(word) for word in text.split()), 2], np.int32) for text in texts]


class Encoder:
    """Sum and count of the tokens; remembers the shapes it saw."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        assert ids.dtype == np.int32
        assert (ids != 0).any(axis=1).all()  # no row of padding only
        self.shapes.append(ids.shape)
        return np.stack([ids.sum(1), (ids != 0).sum(1)], axis=1)


@pytest.fixture
def sentences() -> Source:
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(1, 14, 40).tolist(), 30, 62, 100]
    texts = [" ".join("x" * int(size) for size in rng.integers(1, 9, length)) for length in lengths]
    return from_arrays({"text": [texts[i] for i in rng.permutation(len(texts))]}, label_names=())


def test_encode_texts_keeps_the_order(sentences: Source, tmp_path: Path) -> None:
    encoder = Encoder()
    features = encode_texts(sentences, encoder, words, identity="sum", batch_tokens=128, cache_dir=tmp_path)
    expected = [[ids.sum(), len(ids)] for ids in words(contents(sentences))]
    np.testing.assert_array_equal(features, np.array(expected, np.float32))
    assert features.dtype == np.float32
    # 43 rows; the longest three are of 102, 64 and 32 tokens.
    assert encoder.shapes[:2] == [(1, 128), (2, 64)]
    assert {(8, 16), (16, 8)} <= set(encoder.shapes[2:]) <= {(8, 16), (10, 12), (16, 8)}
    warm = encode_texts(sentences, lambda ids: pytest.fail("again"), words, identity="sum", cache_dir=tmp_path)
    np.testing.assert_array_equal(warm, features)


@pytest.mark.parametrize(
    ("length", "bucket"),
    [(1, 8), (6, 8), (7, 12), (14, 16), (15, 24), (23, 32), (62, 64), (63, 96), (95, 100), (98, 100)],
)
def test_lengths_are_those_of_few_buckets(tmp_path: Path, length: int, bucket: int) -> None:
    encoder = Encoder()
    source = from_arrays({"text": ["x " * length]}, label_names=())
    encode_texts(source, encoder, words, identity="sum", max_length=100, batch_tokens=200, cache_dir=tmp_path)
    assert encoder.shapes == [(200 // bucket, bucket)]


def test_cache_follows_content_identity_and_length(sentences: Source, tmp_path: Path) -> None:
    def runs(source: Source, identity: str = "sum", max_length: int = 256) -> bool:
        encoder = Encoder()
        encode_texts(source, encoder, words, identity=identity, max_length=max_length, cache_dir=tmp_path)
        return bool(encoder.shapes)

    assert runs(sentences)
    assert not runs(sentences)
    assert runs(subset(sentences, np.arange(43)[::-1]))
    assert runs(sentences, identity="other")
    assert runs(sentences, max_length=128)
    changed = load_arrays(sentences)["text"]
    changed[7] += "."
    assert runs(from_arrays({"text": changed}, label_names=()))


def test_windows_do_not_change_features(sentences: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_texts(sentences, Encoder(), words, identity="a", batch_tokens=64, cache_dir=tmp_path)
    monkeypatch.setattr("jlabel.data.texts._WINDOW", 10)
    parts = encode_texts(sentences, Encoder(), words, identity="b", batch_tokens=64, cache_dir=tmp_path)
    np.testing.assert_array_equal(parts, whole)


def nan_for_long(ids: np.ndarray) -> np.ndarray:
    return np.where((ids != 0).sum(1, keepdims=True) > 64, np.nan, 1.0)


@pytest.mark.parametrize(
    ("encoder", "tokenize", "options", "message"),
    [
        (Encoder(), words, {"batch_tokens": 0}, "batch_tokens=0 must be at least 1"),
        (Encoder(), words, {"max_length": 0}, "max_length=0 must be at least 1"),
        (Encoder(), words, {"max_length": 64}, r"tokenize gave 102 tokens for row \d+; cut them to max_length=64"),
        (Encoder(), lambda texts: words(texts)[1:], {}, "tokenize gave 42 rows for 43 texts"),
        (Encoder(), lambda texts: [row / 2 for row in words(texts)], {}, r"tokenize gave float64 \(\d+,\) for row 0"),
        (lambda ids: ids[0], words, {}, r"encode_fn gave \(128,\) for 8 rows; expected \(8, D\)"),
        (nan_for_long, words, {}, r"arrays: row 'arrays#\d+': encode_fn gives it features that are not finite"),
    ],
)
def test_bad_encoders(
    sentences: Source,
    tmp_path: Path,
    encoder: Callable[[np.ndarray], np.ndarray],
    tokenize: Callable[[list[str]], Sequence[np.ndarray]],
    options: dict[str, int],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        encode_texts(sentences, encoder, tokenize, identity="x", cache_dir=tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_encoders_are_for_their_kind(sentences: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="arrays holds texts; .* use encode_texts"):
        encode_features(sentences, lambda x: x, identity="x", cache_dir=tmp_path)
    features = from_arrays({"features": np.eye(2)}, label_names=())
    with pytest.raises(DataError, match="arrays holds no texts but features; use encode_features"):
        encode_texts(features, Encoder(), words, identity="x", cache_dir=tmp_path)


# --- real files


@pytest.mark.skipif(not TEXTS.exists(), reason="the real data is not here")
def test_real_texts() -> None:
    spec = f"parquet:{TEXTS}/clinc150.parquet?label=intent&drop=oos"
    sizes = [len(jlabel.data.open(spec, split)) for split in ("train", "val", "test", "all")]
    assert sizes == [15000, 3000, 4500, 22500]
    train = jlabel.data.open(spec)
    assert len(train.label_names) == 150
    assert len(set(train.column("domain"))) == 10
    spec = f"parquet:{TEXTS}/arxiv_astroph2025.parquet?text=title,abstract&time=date&label=primary_subject"
    train, test = jlabel.data.open(spec), jlabel.data.open(spec, "test")
    assert (len(train), len(test), len(train.label_names)) == (1632, 544, 6)
    assert max(train.column("date")) <= min(test.column("date"))
    several = jlabel.data.open(f"{spec},secondary&separator=|", "test")
    assert [len(several), len(several.label_names)] == [544, 51]
    primary = [several.label_names[row[0]] for row in several.column("labels")]
    assert primary == [test.label_names[label] for label in test.labels]
    assert max(len(row) for row in several.column("labels")) > 3
