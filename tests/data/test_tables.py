"""Tables of rows: `parquet:`, `npz:` and `csv:`, sound and broken."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import jlabel.data
from jlabel.data import DataError, Source, parquet_file

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def picture(value: int, size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, "PNG")
    return file.getvalue()


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def values(source: Source) -> list[int]:
    return [int(row["image"][0, 0, 0]) for row in source]


# --- parquet


def write_parquet(path: Path, columns: dict[str, object], *, names: list[str] | None = None, **options: int) -> str:
    table = pa.table(columns)
    if names is not None:
        feature = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": feature}})})
    pq.write_table(table, path, **options)
    return f"parquet:{path}"


def pictures(*numbers: int) -> list[dict[str, object]]:
    return [{"bytes": picture(number), "path": f"{number}.png"} for number in numbers]


def test_parquet_pictures_with_splits(tmp_path: Path) -> None:
    spec = write_parquet(
        tmp_path / "p.parquet",
        {
            "image": pictures(1, 2, 3, 4), "label": ["dog", "cat", "dog", "eel"], "age": [1.5, 2.5, 3.5, 4.5],
            "split": ["train", "train", "test", "validation"],
        },
        row_group_size=1,
    )  # fmt: skip
    source = jlabel.data.open(spec)
    assert source.label_names == ("cat", "dog", "eel")
    assert source.labels.tolist() == [1, 0]
    row = source[1]
    assert row.pop("image").shape == (3, 4, 3)
    assert row == {"label": 0, "name": "2.png", "age": 2.5, "split": "train"}
    assert values(jlabel.data.open(spec, "test")) == [3]
    assert values(jlabel.data.open(spec, "val")) == [4]
    with pytest.raises(DataError, match="no split 'extra'; there are train, val, test, all"):
        jlabel.data.open(spec, "extra")
    with pytest.raises(DataError, match="no column 'size'; there are age, label, name, split"):
        source.column("size")


def test_parquet_reads_groups_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in range(2):
        columns = {"image": [picture(10 * part + i) for i in range(6)], "label": [0, 1] * 3}
        write_parquet(tmp_path / f"{part}.parquet", columns, row_group_size=4)
    source = jlabel.data.open(f"parquet:{tmp_path}/?.parquet")  # a question mark that starts no options
    monkeypatch.setattr(parquet_file, "CACHED_BYTES", 1)
    order = np.random.default_rng(0).permutation(12)
    assert [int(source[i]["image"][0, 0, 0]) for i in order] == [10 * (i // 6) + i % 6 for i in order]
    assert len(source.reader._cache) == 1  # type: ignore[attr-defined]
    assert source[7]["name"] == "1.parquet:1"
    assert source.label_names == ("0", "1")
    copy = pickle.loads(pickle.dumps(source))
    assert values(copy) == values(source)


def test_parquet_class_names_of_the_hub(tmp_path: Path) -> None:
    spec = write_parquet(tmp_path / "p.parquet", {"image": pictures(1, 2), "label": [1, -1]}, names=["zebra", "ant"])
    source = jlabel.data.open(spec)
    assert source.label_names == ("zebra", "ant")
    assert source.labels.tolist() == [1, -1]
    bad = write_parquet(tmp_path / "bad.parquet", {"image": pictures(1, 2), "label": [1, 2]}, names=["zebra", "ant"])
    with pytest.raises(DataError, match=r"row '2.png': label 2 is none of the 2 label names"):
        jlabel.data.open(bad)


def test_parquet_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    fill(tmp_path, {"sub/7.png": picture(7)})
    struct = write_parquet(tmp_path / "a.parquet", {"image": [{"bytes": None, "path": "sub/7.png"}], "label": ["x"]})
    text = write_parquet(tmp_path / "b.parquet", {"image": ["sub/7.png"], "label": ["x"]})
    assert values(jlabel.data.open(struct)) == values(jlabel.data.open(text)) == [7]


def test_parquet_features(tmp_path: Path) -> None:
    columns = {"a": [1, 2], "b": [0.5, 1.5], "word": ["x", "y"], "target": [3, 5], "vec": [[1.0, 2.0], [3.0, 4.0]]}
    spec = write_parquet(tmp_path / "p.parquet", columns)
    source = jlabel.data.open(f"{spec}?label=target")
    assert source[1]["features"].tolist() == [2.0, 1.5]
    assert source[1]["features"].dtype == np.float32
    assert source[1]["word"] == "y"
    assert source.label_names == ("3", "5")
    assert jlabel.data.open(f"{spec}?label=target&features=vec")[1]["features"].tolist() == [3.0, 4.0]
    assert jlabel.data.open(f"{spec}?label=&features=b").labels.tolist() == [-1, -1]
    with pytest.raises(DataError, match=r"no column 'label'; there are a, b, word, target, vec; choose one with"):
        jlabel.data.open(spec)
    with pytest.raises(DataError, match=r"no column 'vec2' \(option features\); there are a, b"):
        jlabel.data.open(f"{spec}?label=target&features=vec2")
    with pytest.raises(DataError, match="column 'word' holds no numbers"):
        jlabel.data.open(f"{spec}?label=target&features=a,word")
    with pytest.raises(DataError, match="column 'vec' holds list<.*>; labels are texts or whole numbers"):
        jlabel.data.open(f"{spec}?label=vec")
    with pytest.raises(DataError, match="column 'vec' holds no pictures"):
        jlabel.data.open(f"{spec}?label=target&image=vec")


def test_parquet_broken_rows(tmp_path: Path) -> None:
    spec = write_parquet(
        tmp_path / "p.parquet",
        {
            "image": [
                *pictures(1), {"bytes": b"junk", "path": "junk.png"}, {"bytes": None, "path": None}, *pictures(4, 5),
            ],
            "label": pa.array([b"cat", b"cat", b"dog", None, b"\xff\xfe"], pa.binary()),
        },
    )  # fmt: skip
    with pytest.raises(DataError, match=r"row '4.png': the label is missing"):
        jlabel.data.open(spec)
    source = jlabel.data.open(spec, skip_broken=True)
    assert values(source) == [1]
    reasons = dict(source.skipped)
    assert reasons["4.png"] == "the label is missing"
    assert "UTF-8" in reasons["5.png"]
    assert "not a readable picture" in reasons["junk.png"]
    assert reasons["p.parquet:2"] == "the picture is missing (null)"


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 3, 4], np.int32))
    raw = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"cat\xff")])
    spec = write_parquet(tmp_path / "p.parquet", {"x": [1.0, 2.0], "label": raw})
    with pytest.raises(DataError, match=r"row 'p.parquet:1': column label is not UTF-8 text"):
        jlabel.data.open(spec)


def test_parquet_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1 this is none")
    with pytest.raises(DataError, match="is no readable Parquet file"):
        jlabel.data.open(f"parquet:{tmp_path}/p.parquet")
    (tmp_path / "p.parquet").unlink()
    spec = write_parquet(tmp_path / "p.parquet", {"image": pictures(*range(40)), "label": list(range(40))})
    write_parquet(tmp_path / "q.parquet", {"image": pictures(1), "labels": ["x"]})
    with pytest.raises(DataError, match=r"differ in their columns \(label, labels\)"):
        jlabel.data.open(f"parquet:{tmp_path}/*.parquet")
    source = jlabel.data.open(spec)
    content = bytearray((tmp_path / "p.parquet").read_bytes())
    content[4:40] = bytes(36)
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"row '0.png': row group 0 of .* is damaged"):
        source[0]


def test_parquet_without_rows(tmp_path: Path) -> None:
    spec = write_parquet(tmp_path / "p.parquet", {"x": pa.array([], pa.float32()), "label": pa.array([], pa.string())})
    with pytest.raises(DataError, match="there are no rows in it"):
        jlabel.data.open(spec)


# --- npz


def write_npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return f"npz:{path}"


def test_npz(tmp_path: Path) -> None:
    grey = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2)
    spec = write_npz(
        tmp_path / "d.npz", image=grey, label=[1, 0, 1], label_names=["cup", "duck"], split=[0, 2, 1], view=[7, 8, 9]
    )
    source = jlabel.data.open(spec, "val")
    assert source[0]["image"].tolist() == np.repeat(grey[2][..., None], 3, -1).tolist()
    assert (source[0]["view"], source[0]["name"], source.label_names) == (9, "d.npz:2", ("cup", "duck"))
    two = write_npz(tmp_path / "e.npz", X=np.eye(4), y=[5, 5, 9, -1], split=[0, 0, 0, 1])
    assert jlabel.data.open(two).label_names == ("5", "9")
    assert jlabel.data.open(two, "test").labels.tolist() == [-1]
    assert jlabel.data.open(two)[1]["features"].tolist() == [0.0, 1.0, 0.0, 0.0]
    signs = write_npz(tmp_path / "f.npz", X=np.eye(2), y=[-1, 1])
    assert jlabel.data.open(signs).label_names == ("-1", "1")  # both classes, as the files of LIBSVM have them


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.eye(2)}, "no column 'label'; there are X"),
        ({"X": np.eye(2), "y": [1, 2, 3]}, r"array 'y' has shape \(3,\); expected \(2,\)"),
        ({"X": np.eye(2), "y": np.eye(2)}, r"array 'y' has shape \(2, 2\); expected \(2,\)"),
        ({"X": np.eye(2), "y": [0.5, 1.0]}, "row 'd.npz:0': the label 0.5 is a fraction"),
        ({"X": np.eye(2), "y": [1.0, np.nan]}, "row 'd.npz:1': the label is missing"),
        ({"X": np.diag([1, np.inf]), "y": [1, 2]}, "row 'd.npz:1': feature 1 is inf"),
        ({"X": np.ones((2, 3, 3)), "y": [1, 2]}, "neither pictures nor features among its columns X, y"),
        ({"text": ["a", "b"], "y": [1, 2]}, "neither pictures nor features"),
        ({"X": np.array([None, {}]), "y": [1, 2]}, "no readable NumPy archive: Object arrays cannot be loaded"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        jlabel.data.open(write_npz(tmp_path / "d.npz", **arrays))


def test_npz_damaged(tmp_path: Path) -> None:
    spec = write_npz(tmp_path / "d.npz", X=np.eye(30), y=np.arange(30))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no readable NumPy archive"):
        jlabel.data.open(spec)
    np.save(tmp_path / "d.npy", np.eye(3))
    with pytest.raises(DataError, match="a single array, not an archive"):
        jlabel.data.open(f"npz:{tmp_path}/d.npy")


# --- csv


def test_csv_of_numbers(tmp_path: Path) -> None:
    text = "age,job,height,label,split\n1,NA,0.5,NA,train\n2,x,,None,train\n3,y,2.5,nan,test\n"
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=r"row 't.csv:1': feature height is nan"):
        jlabel.data.open(f"csv:{tmp_path}/t.csv")
    source = jlabel.data.open(f"csv:{tmp_path}/t.csv?features=age")
    assert source.label_names == ("NA", "None", "nan")  # names, not missing values
    assert [row["features"].tolist() for row in source] == [[1.0], [2.0]]
    assert source[1]["job"] == "x"
    numbered = "x,label\n1,10\n2,9\n3,10\n"
    (tmp_path / "n.csv").write_text(numbered)
    assert jlabel.data.open(f"csv:{tmp_path}/n.csv").label_names == ("9", "10")  # as numbers, not as texts


def test_csv_of_paths(tmp_path: Path) -> None:
    fill(tmp_path, {"pics/a.png": picture(1), "t.csv": b"path,label,site\npics/a.png,cat,1\npics/gone.png,dog,2\n"})
    source = jlabel.data.open(f"csv:{tmp_path}/t.csv")
    assert source[0]["image"][0, 0, 0] == 1
    assert source[0]["site"] == 1
    with pytest.raises(DataError, match=r"row 'pics/gone.png': .*No such file"):
        source[1]
    assert [name for name, _ in jlabel.data.open(f"csv:{tmp_path}/t.csv", skip_broken=True).skipped] == [
        "pics/gone.png"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,label\n1,caf\xe9\n", "not UTF-8 text at byte"),
        (b"", "no readable table: No columns"),
        (b"a,label\n1,x\n2,y,z,w\n", "no readable table: Error tokenizing"),
        (b"a,label\n", "there are no rows in it"),
        (b"a,label\n1,\n", "row 't.csv:0': the label is missing"),
        (b"a,label\nx,y\n", "neither pictures nor features among its columns a, label"),
    ],
)
def test_bad_csv(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        jlabel.data.open(f"csv:{tmp_path}/t.csv")


# --- real files


@pytest.mark.skipif(not SHARED.exists(), reason="the real data is not here")
def test_real_pets_and_faces() -> None:
    train = jlabel.data.open(f"parquet:{SHARED}/images/pets_64.parquet")
    test = jlabel.data.open(f"parquet:{SHARED}/images/pets_64.parquet", "test")
    assert (len(train), len(test), len(train.label_names)) == (470, 282, 37)
    assert train.label_names == test.label_names
    assert np.bincount(train.labels).max() == 100
    assert train[5]["image"].shape == (64, 64, 3)
    faces = jlabel.data.open(f"npz:{SHARED}/images/yaleb_cropped_96x84.npz")
    assert (len(faces), len(faces.label_names), faces[0]["image"].shape) == (2414, 38, (96, 84, 3))
