"""A user's student on disk: parameters as safetensors, everything else as JSON, and no pickle."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from experiments.amalgamation_files import chain_apply
from experiments.cells import flat_params, tree_params
from jlabel import InputError
from jlabel.amalgamation import Amalgamation, ChainModel, predict_probs

__all__ = ["Student", "load_student", "save_student"]

FORMAT = "jlabel.amalgamation/1"


class Student(NamedTuple):
    """A trained student.

    Attributes:
      model: its chain. columns: of the rows it takes, in order. mean, scale: ``(D,)``, rows become (x - mean) / scale.
    """

    model: ChainModel
    columns: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray

    def predict_proba(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of the labels, a column each, with the rows' index."""
        features = (rows[list(self.columns)].to_numpy(np.float64) - self.mean) / self.scale
        probs = predict_probs(self.model, features.astype(np.float32))
        return pd.DataFrame(np.asarray(probs), columns=list(self.model.label_names), index=rows.index)


def save_student(folder: Path, found: Amalgamation) -> None:
    """Write ``model.json`` and ``params.safetensors``, both or neither."""
    apply_fn: Any = found.student.apply_fn
    arrays = flat_params({"params": found.student.params, "mean": found.scaler.mean_, "scale": found.scaler.scale_})
    document = {
        "format": FORMAT,
        "label_names": list(found.student.label_names),
        "columns": list(found.columns),
        "hidden": apply_fn.network.hidden_size,
        "select": apply_fn.select,
        "path_floor": apply_fn.path_floor,
    }
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".student."))
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, temporary / "params.safetensors")
        (temporary / "model.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}; choose another --workdir") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def load_student(folder: Path) -> Student:
    """The student of a folder that `save_student` wrote.

    Raises:
      InputError: no student there, or a damaged one.
    """
    try:
        document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise InputError("model.json is of another kind")
        arrays = load_file(folder / "params.safetensors")
        names, columns = tuple(document["label_names"]), tuple(document["columns"])
        apply_fn = chain_apply(
            len(names), document["hidden"], select=document["select"], path_floor=document["path_floor"]
        )
        row = jnp.zeros((1, len(columns)))
        tree = {
            "params": jax.eval_shape(apply_fn.network.init, jax.random.key(0), row),
            "mean": row[0],
            "scale": row[0],
        }
        shapes = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                raise InputError(f"params.safetensors has no {name} of shape {shape}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:  # an InputError is a ValueError
        reason = " ".join(str(error).split())
        raise InputError(f"--student={folder}: no student that can be read ({reason}); amalgamate again") from error
    found = tree_params(arrays)
    return Student(ChainModel(apply_fn, found["params"], names), columns, found["mean"], found["scale"])


def _name(path: Any) -> str:
    return "/".join(str(key.key) for key in path)
