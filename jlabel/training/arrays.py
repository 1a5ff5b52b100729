"""One file of named arrays and a JSON record, which runs no code when it is read."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from jlabel.training.checks import TrainingError
from jlabel.training.workdir import write_bytes

__all__ = ["load_arrays", "save_arrays"]


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes arrays and a record to one safetensors file, so that a reader sees the old file or the new one.

    Args:
        path: the file; its folder must exist.
        arrays: by name, of numbers or bools.
        meta: what JSON holds; tuples come back as lists.

    Raises:
        TrainingError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_arrays(Path(folder) / "model.safetensors", {"w": np.eye(2)}, {"steps": 3})
        ...     load_arrays(Path(folder) / "model.safetensors")
        ({'w': array([[1., 0.],
               [0., 1.]])}, {'steps': 3})
    """
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    write_bytes(path, save(contiguous, {"json": json.dumps(meta)}))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save_arrays` wrote: the arrays, to the last bit, and the record.

    Args:
        path: the file; it may come from strangers.

    Raises:
        TrainingError: it cannot be read, or is not such a file.
    """
    try:
        with safetensors.safe_open(Path(path), "numpy") as file:
            meta = json.loads((file.metadata() or {})["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is no file of save_arrays, or is cut short: {error}") from error
