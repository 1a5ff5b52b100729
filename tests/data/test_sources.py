"""Specs, embedded data, folders, and cutting a source into parts."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import jlabel.data
from jlabel.data import DataError, Source, from_arrays, split_rows, subset


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


# --- specs


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "pets",
            "data 'pets' is not one of arxiv:..., csv:..., embedded:..., folder:..., npz:..., parquet:",
        ),
        ("zip:pets", "data 'zip:pets' is not one of"),
        ("folder:", "data 'folder:' is not one of"),
        ("folder:/no/such/place", "folder:/no/such/place: there is no such folder"),
        ("parquet:/no/such.parquet", "parquet:/no/such.parquet: no such file"),
        ("npz:/no/such.npz", "npz:/no/such.npz: no readable NumPy archive"),
        ("csv:/no/such.csv", "csv:/no/such.csv: no readable table"),
        ("embedded:nothing", "embedded:nothing: no such data; there are coupled_labels, digits"),
        ("embedded:digits?sed=1", "embedded:digits: no option 'sed'; there are seed, features"),
        ("embedded:digits?seed=one", "option seed='one' must be a whole number"),
        ("embedded:digits?seed=-1", "option seed='-1' must be a whole number of at least 0"),
        ("embedded:digits?seed=1&seed=2", "an option is given twice in 'seed=1&seed=2'"),
        ("folder:x?label=y", "no option 'label'; folder knows none"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        jlabel.data.open(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- embedded


def test_digits_splits_are_disjoint_and_complete() -> None:
    parts = [jlabel.data.open("embedded:digits", split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [1197, 200, 400]
    whole = jlabel.data.open("embedded:digits", "all")
    assert len(whole) == 1797
    together = np.sort(np.concatenate([[part.digest(i) for i in range(len(part))] for part in parts]))
    np.testing.assert_array_equal(together, np.sort([whole.digest(i) for i in range(1797)]))
    assert min(np.bincount(parts[2].labels)) > 25  # every digit is tested
    assert whole.label_names == tuple("0123456789")
    with pytest.raises(DataError, match="no split 'dev2'; there are train, val, test, all"):
        jlabel.data.open("embedded:digits", "dev2")


def test_digits_features_are_the_pixels() -> None:
    pictures = jlabel.data.open("embedded:digits", "val")
    features = jlabel.data.open("embedded:digits?features=1", "val")
    np.testing.assert_allclose(
        features[3]["features"] * 255, pictures[3]["image"][..., 0].reshape(-1).astype(np.float64), atol=0.51
    )
    assert features.kind == "features"
    np.testing.assert_array_equal(features.labels, pictures.labels)


@pytest.mark.parametrize("name", ["drawn_pets?per_breed=2", "drawn_flowers?per_kind=2", "drawn_species?rows=6"])
def test_generators_open(name: str) -> None:
    source = jlabel.data.open(f"embedded:{name}")
    assert source[0]["image"].shape == (64, 64, 3)
    assert 0 <= source.labels.min() <= source.labels.max() < len(source.label_names)
    other = jlabel.data.open(f"embedded:{name}&seed=1")
    assert (source[0]["image"] != other[0]["image"]).any()


def test_generator_errors_name_the_spec() -> None:
    with pytest.raises(DataError, match="embedded:drawn_pets: per_breed=0"):
        jlabel.data.open("embedded:drawn_pets?per_breed=0")


# --- folder


def test_folder_of_classes(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "dog/b.png": picture(2), "dog/a.png": picture(1), "cat/z.png": picture(3), "cat/deep/y.png": picture(4),
            "cat/.hidden": b"x", ".git/z.png": b"x", "README.txt": b"x",
        },
    )  # fmt: skip
    source = jlabel.data.open(f"folder:{tmp_path}")
    assert source.label_names == ("cat", "dog")
    assert source.column("name").tolist() == ["cat/deep/y.png", "cat/z.png", "dog/a.png", "dog/b.png"]
    assert values(source) == [4, 3, 1, 2]
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source[2]["label"] == 1
    assert source[-1]["name"] == "dog/b.png"
    with pytest.raises(DataError, match="no split 'test'; there are train, all"):
        jlabel.data.open(f"folder:{tmp_path}", "test")


def test_folder_of_splits_shares_label_names(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "train/cat/1.png": picture(1), "train/eel/2.png": picture(2),
            "test/eel/3.png": picture(3), "valid/4.png": picture(4),
        },
    )  # fmt: skip
    test = jlabel.data.open(f"folder:{tmp_path}", "test")
    assert test.label_names == ("cat", "eel")
    assert test.labels.tolist() == [1]
    assert jlabel.data.open(f"folder:{tmp_path}", "validation").labels.tolist() == [-1]
    assert len(jlabel.data.open(f"folder:{tmp_path}", "all")) == 4
    assert jlabel.data.open(f"folder:{tmp_path}", "all").column("split").tolist() == ["test", "train", "train", "val"]


def test_folder_without_classes_is_unlabelled(tmp_path: Path) -> None:
    source = jlabel.data.open(f"folder:{fill(tmp_path, {'b.png': picture(2), 'a.JPG': picture(1), 'notes.txt': b''})}")
    assert values(source) == [1, 2]
    assert source.labels.tolist() == [-1, -1]
    assert source.label_names == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/1.png": picture(1), "dog/.keep": b""}, "class folder 'dog' holds no pictures"),
        ({"cat/1.png": picture(1), "2.png": picture(2)}, "picture '2.png' lies beside class folders"),
        ({"val/1.png": picture(1), "valid/2.png": picture(2)}, "two folders for one split: val, valid"),
        ({"notes.md": b"x"}, "there are no rows in it"),
    ],
)
def test_bad_folders(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        jlabel.data.open(f"folder:{fill(tmp_path, files)}")


def test_broken_pictures_raise_when_read_or_are_skipped(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"a/1.png": picture(1), "a/2.png": picture(2)[:50], "a/notes.txt": b"no picture", "b/3.png": picture(3)},
    )
    source = jlabel.data.open(f"folder:{tmp_path}")
    assert source[0]["label"] == 0
    with pytest.raises(DataError) as caught:
        source[1]
    assert f"folder:{tmp_path}: row 'a/2.png': not a readable picture" in str(caught.value)
    assert "skip_broken=True" in str(caught.value)
    sound = jlabel.data.open(f"folder:{tmp_path}", skip_broken=True)
    assert values(sound) == [1, 3]
    assert [name for name, _ in sound.skipped] == ["a/2.png", "a/notes.txt"]
    assert all("not a readable picture" in reason and "folder:" not in reason for _, reason in sound.skipped)
    (tmp_path / "b" / "3.png").unlink()
    with pytest.raises(DataError, match=r"row 'b/3.png': .*No such file"):
        source[3]


def test_all_pictures_broken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 1 pictures are broken"):
        jlabel.data.open(f"folder:{fill(tmp_path, {'a/1.png': b'x'})}", skip_broken=True)


# --- parts


def test_from_arrays_checks() -> None:
    with pytest.raises(DataError, match="needs one of image, features and text, got label"):
        from_arrays({"label": [0]}, label_names=("a",))
    with pytest.raises(DataError, match=r"column label has shape \(2,\); expected \(3,\)"):
        from_arrays({"features": np.eye(3), "label": [0, 0]}, label_names=("a",))
    with pytest.raises(DataError, match=r"label \[1\] is no index into the 1 label names"):
        from_arrays({"features": np.eye(3), "label": [0, 1, 0]}, label_names=("a",))
    unlabelled = from_arrays({"image": np.zeros((2, 4, 4), np.uint8)}, label_names=())
    assert unlabelled.labels.tolist() == [-1, -1]


def test_subset_checks_and_composes() -> None:
    source = from_arrays({"features": np.arange(10.0)[:, None], "label": [0] * 10}, label_names=("a",))
    part = subset(subset(source, [7, 3, 3]), [2, 0])
    assert [row["features"].item() for row in part] == [3.0, 7.0]
    assert part.column("name").tolist() == ["arrays#3", "arrays#7"]
    with pytest.raises(DataError, match="row number 10 is outside 0 to 9"):
        subset(source, [0, 10])
    with pytest.raises(DataError, match=r"mask of shape \(2,\) for 10 rows"):
        subset(source, [True, False])
    with pytest.raises(DataError, match="non-empty list"):
        subset(source, [])
    with pytest.raises(IndexError):
        source[10]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 100),
)
def test_split_rows_is_a_stratified_partition(sizes: list[int], fraction: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    source = from_arrays(
        {"features": np.arange(len(labels))[:, None], "label": labels}, label_names=[str(i) for i in range(len(sizes))]
    )
    try:
        train, held_out = split_rows(source, fraction=fraction, seed=seed)
    except DataError:
        assert len(labels) * min(fraction, 1 - fraction) < len(sizes) + 1
        return
    rows = np.concatenate([train.rows, held_out.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(labels)))
    counts = np.bincount(held_out.labels, minlength=len(sizes))
    assert (np.abs(counts - fraction * np.array(sizes)) <= 1 + 1e-9).all()
    assert (np.bincount(train.labels, minlength=len(sizes)) > 0).all()
    assert len(held_out) <= round(fraction * len(labels))
    again = split_rows(source, fraction=fraction, seed=seed)[1]
    np.testing.assert_array_equal(again.rows, held_out.rows)


def test_split_rows_of_rare_classes_keeps_the_share() -> None:
    labels = np.repeat(np.arange(34), 5)
    source = from_arrays({"features": np.eye(170), "label": labels}, label_names=[str(i) for i in range(34)])
    assert len(split_rows(source, fraction=0.1, seed=0)[1]) == 17
    assert (split_rows(source, fraction=0.1, seed=1)[1].rows != split_rows(source, fraction=0.1, seed=2)[1].rows).any()
    with pytest.raises(DataError, match="fraction=1.0 must lie between"):
        split_rows(source, fraction=1.0, seed=0)
    with pytest.raises(DataError, match="leaves an empty part"):
        split_rows(source, fraction=0.001, seed=0)
