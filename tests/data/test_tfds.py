"""`tfds:` on a dataset written as array_record, the way TensorFlow Datasets stores it."""

import io
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import jlabel.data
from jlabel.data import DataError


class TinyPets(tfds.core.GeneratorBasedBuilder):
    """Six pictures for training, three for validation; pixel = 10 x number."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                "species": tfds.features.ClassLabel(names=["a", "b", "c"]),
                "file_name": tfds.features.Text(),
                "vector": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                "weight": np.float32,
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples(0, 6), "validation": self._generate_examples(6, 9)}

    def _generate_examples(self, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(start, stop):
            file = io.BytesIO()
            Image.new("RGB", (4, 3 + number), (10 * number,) * 3).save(file, "PNG")
            file.seek(0)  # encoded pictures need no TensorFlow
            yield number, {
                "image": file, "label": number % 2, "species": number % 3, "file_name": f"pet{number}.png",
                "vector": [number, 1.0], "weight": 0.5,
            }  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    TinyPets(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_pictures_labels_and_scalars(data_dir: Path) -> None:
    source = jlabel.data.open(f"tfds:tiny_pets?data_dir={data_dir}")
    assert len(source) == 6
    assert source.label_names == ("cat", "dog")
    numbers = [int(row["image"][0, 0, 0]) // 10 for row in source]
    assert sorted(numbers) == [0, 1, 2, 3, 4, 5]
    for number, row in zip(numbers, source, strict=True):
        assert row["image"].shape == (3 + number, 4, 3)
        assert (row["label"], row["species"], row["file_name"]) == (number % 2, number % 3, f"pet{number}.png")
        assert row["weight"] == 0.5
    assert source.labels.tolist() == [number % 2 for number in numbers]
    assert "tensorflow" not in sys.modules


def test_splits_options_and_worker_processes(data_dir: Path) -> None:
    spec = f"tfds:tiny_pets?data_dir={data_dir}"
    assert len(jlabel.data.open(spec, "val")) == 3
    whole = jlabel.data.open(f"{spec}&label=species", "all")
    assert whole.label_names == ("a", "b", "c")
    assert sorted(whole.column("split").tolist()) == ["train"] * 6 + ["val"] * 3
    again = pickle.loads(pickle.dumps(whole))
    assert [row["name"] for row in again] == whole.column("name").tolist()
    np.testing.assert_array_equal(again[8]["image"], whole[8]["image"])
    assert jlabel.data.open(f"{spec}&label=").labels.tolist() == [-1] * 6
    vectors = jlabel.data.open(f"{spec}&features=vector")
    assert sorted(row["features"].tolist() for row in vectors) == [[float(number), 1.0] for number in range(6)]
    with pytest.raises(DataError, match="no split 'test'; there are train, val, all"):
        jlabel.data.open(spec, "test")
    with pytest.raises(DataError, match=r"no feature 'breed' \(option label\); there are "):
        jlabel.data.open(f"{spec}&label=breed")
    with pytest.raises(DataError, match=r"no feature '' \(option image\)"):
        jlabel.data.open(f"{spec}&image=")
    with pytest.raises(DataError, match="feature 'weight' holds neither a picture nor a vector"):
        jlabel.data.open(f"{spec}&features=weight")
    with pytest.raises(DataError, match="feature 'weight' is no ClassLabel"):
        jlabel.data.open(f"{spec}&label=weight")


def test_unprepared_and_unknown_datasets_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        jlabel.data.open(f"tfds:mnist?data_dir={tmp_path}")
    assert "pip install 'jlabel[prepare]'" in str(caught.value)
    assert f"tfds.builder('mnist', file_format='array_record', data_dir='{tmp_path}')" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="tfds:no_such_pets: Dataset no_such_pets not found; names stand at"):
        jlabel.data.open("tfds:no_such_pets")


def test_damaged_files_are_named(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir, tmp_path / "copy")
    (file,) = (tmp_path / "copy").rglob("*train*.array_record*")
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes(50) + whole[150:])
    with pytest.raises(DataError, match=r"tfds:tiny_pets: row 'train:0': damaged record: Corrupted"):
        jlabel.data.open(f"tfds:tiny_pets?data_dir={tmp_path}/copy")
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"tfds:tiny_pets: row 'train:\d': damaged record"):
        jlabel.data.open(f"tfds:tiny_pets?data_dir={tmp_path}/copy")
