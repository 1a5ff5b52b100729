"""Sources in memory: sizes, encoders, and a cache that may be cold, warm, damaged or forbidden."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jlabel.data
from jlabel.data import DataError, Source, encode_features, from_arrays, load_arrays, resize_image, subset


@pytest.fixture
def folder(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    for row in range(7):
        path = tmp_path / "pets" / f"class{row % 2}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12 + row, 20, 3)).astype(np.uint8)).save(path)
    return jlabel.data.open(f"folder:{tmp_path}/pets")


def mean_color(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64).mean((1, 2))


def test_load_arrays_equals_row_by_row(folder: Source, tmp_path: Path) -> None:
    arrays = load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(arrays["image"], [resize_image(row["image"], 8) for row in folder])
    assert arrays["image"].dtype == np.uint8
    assert arrays["label"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert arrays["name"].tolist() == folder.column("name").tolist()


def test_second_load_comes_from_the_cache(folder: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    monkeypatch.setattr("jlabel.data.source.decode_image", lambda data: pytest.fail("decoded again"))
    warm = load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(cold["image"], warm["image"])
    warm["image"][:] = 0  # the caller's own copy
    assert load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")["image"].any()


def test_cache_follows_content_size_and_rows(folder: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = load_arrays(folder, image_size=8, cache_dir=cache)
    assert load_arrays(folder, image_size=4, cache_dir=cache)["image"].shape == (7, 4, 4, 3)
    reversed_rows = load_arrays(subset(folder, np.arange(7)[::-1]), image_size=8, cache_dir=cache)
    np.testing.assert_array_equal(reversed_rows["image"], before["image"][::-1])
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "pets" / "class0" / "0.png")
    after = load_arrays(folder, image_size=8, cache_dir=cache)
    assert after["image"][0].reshape(-1, 3).tolist() == [[1, 2, 3]] * 64
    np.testing.assert_array_equal(after["image"][1:], before["image"][1:])


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: data[:-1] + b"\x00\x01"])
def test_damaged_cache_is_made_again(
    folder: Source, tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    cold = load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        again = load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(again["image"], cold["image"])
    assert "will be made again" in caplog.text
    assert path.read_bytes() == whole
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing temporary is left


def test_unwritable_cache_costs_one_warning(folder: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        arrays = load_arrays(folder, image_size=8, cache_dir=tmp_path / "file" / "cache")
    assert arrays["image"].shape == (7, 8, 8, 3)
    warnings = [record for record in caplog.records if record.name.startswith("jlabel")]
    assert len(warnings) == 1
    assert "continuing without" in warnings[0].getMessage()


def test_full_disk_leaves_no_half_written_file(
    folder: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: io.BufferedWriter, array: np.ndarray, allow_pickle: bool) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jlabel.data.cache.np.save", full)
    load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert "No space left on device" in caplog.text


def test_cache_place_from_the_environment(folder: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JLABEL_CACHE", str(tmp_path / "elsewhere"))
    load_arrays(folder, image_size=8)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_without_a_home_directory(
    folder: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JLABEL_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert load_arrays(folder, image_size=8)["image"].shape == (7, 8, 8, 3)
    assert "set JLABEL_CACHE" in caplog.text


def test_broken_picture_is_named(folder: Source, tmp_path: Path) -> None:
    (tmp_path / "pets" / "class1" / "3.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"row 'class1/3.png': not a readable picture"):
        load_arrays(folder, image_size=8, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=r"row 'class1/3.png': not a readable picture"):
        encode_features(folder, mean_color, identity="x", image_size=8, cache_dir=tmp_path / "cache")


def test_image_size_is_needed_for_pictures_only(folder: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image_size=None must be at least 1"):
        load_arrays(folder, cache_dir=tmp_path)
    with pytest.raises(DataError, match="image_size=0 must be at least 1"):
        encode_features(folder, mean_color, identity="x", image_size=0, cache_dir=tmp_path)
    rows = from_arrays({"features": np.eye(3), "label": [0, 0, 0]}, label_names=("a",))
    arrays = load_arrays(rows, cache_dir=tmp_path / "unused")
    np.testing.assert_array_equal(arrays["features"], np.eye(3))
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_encode_features_in_one_shape(folder: Source, tmp_path: Path, batch_size: int) -> None:
    shapes = []

    def encode(images: np.ndarray) -> np.ndarray:
        shapes.append(images.shape)
        return mean_color(images)

    features = encode_features(
        folder, encode, identity="mean", image_size=8, batch_size=batch_size, cache_dir=tmp_path / "cache"
    )
    expected = mean_color(np.stack([resize_image(row["image"], 8) for row in folder]))
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    assert features.dtype == np.float32
    assert set(shapes) == {(batch_size, 8, 8, 3)}
    assert len(shapes) == -(-7 // batch_size)


def test_encode_features_caches_by_identity(folder: Source, tmp_path: Path) -> None:
    def run(encode: object, identity: str) -> np.ndarray:
        return encode_features(folder, encode, identity=identity, image_size=8, cache_dir=tmp_path / "cache")  # type: ignore[arg-type]

    mean = run(mean_color, "mean")
    np.testing.assert_array_equal(run(lambda images: pytest.fail("encoded again"), "mean"), mean)
    largest = run(lambda images: images.max((1, 2)), "largest")
    assert (largest > mean).all()


def test_encode_features_of_feature_rows(tmp_path: Path) -> None:
    rows = from_arrays({"features": np.eye(5)}, label_names=())
    doubled = encode_features(rows, lambda x: 2 * x, identity="double", batch_size=2, cache_dir=tmp_path)
    np.testing.assert_array_equal(doubled, 2 * np.eye(5))


def test_encode_features_checks_the_encoder(folder: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"encode_fn gave \(3,\) for 2 rows; expected \(2, D\)"):
        encode_features(
            folder, lambda images: np.zeros(3), identity="x", image_size=8, batch_size=2, cache_dir=tmp_path
        )
    with pytest.raises(DataError, match="batch_size=0"):
        encode_features(folder, mean_color, identity="x", image_size=8, batch_size=0, cache_dir=tmp_path)
