import numpy as np
import pytest

from jlabel.training import load_arrays, save_arrays
from jlabel.training.checks import TrainingError


def test_every_bit_comes_back(tmp_path):
    arrays = {
        "a/b": np.array([[np.nan, np.inf, -0.0]]),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "flags": np.array([True, False]),
        "none": np.zeros((0, 4), np.int32),
    }
    path = tmp_path / "model.safetensors"
    save_arrays(path, arrays, {"names": ["é", 3], "deep": {"x": None}})
    found, meta = load_arrays(str(path))
    assert meta == {"names": ["é", 3], "deep": {"x": None}}
    assert set(found) == set(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        assert found[name].tobytes() == np.ascontiguousarray(values).tobytes()
    save_arrays(path, {}, {})  # replaces it
    assert load_arrays(path) == ({}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(TrainingError, match="none.safetensors cannot be read"):
        load_arrays(tmp_path / "none.safetensors")
    path = tmp_path / "cut.safetensors"
    save_arrays(path, {"a": np.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainingError, match="cut.safetensors is no file of save_arrays, or is cut short"):
        load_arrays(path)
    path.write_bytes(b"PK junk")
    with pytest.raises(TrainingError, match="cut.safetensors is no file of save_arrays, or is cut short"):
        load_arrays(path)
    with pytest.raises(TrainingError, match="cannot be written"):
        save_arrays(tmp_path / "no" / "folder.safetensors", {}, {})
