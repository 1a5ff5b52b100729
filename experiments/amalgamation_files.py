"""What a run leaves on disk without pickle: finished cells that a killed run takes up again, and a user's student."""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import written_whole
from jlabel import InputError
from jlabel.amalgamation import ChainApply, ChainModel, LabelChain

__all__ = ["Cells", "chain_apply", "flat_params", "load_models", "store_models", "tree_params"]


class Cells:
    """Results of finished steps of a run, each a file; a step whose file is there is not done again."""

    def __init__(self, folder: Path):
        """Cells in a folder, which is made when the first one is written."""
        self._folder = folder

    def get(self, name: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of a step: from its file, or made and then written, whole or not at all."""
        path = self._folder / f"{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}.npz"
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as archive:
                    return {key: archive[key] for key in archive.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise InputError(f"{path} is damaged ({error}): delete it, and its part is trained again") from error
        arrays = {key: np.asarray(value) for key, value in make().items()}
        with written_whole(path, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return arrays


def flat_params(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dictionaries of arrays as one, names joined by slashes."""
    if not isinstance(tree, Mapping):
        return {prefix: np.asarray(tree)}
    found = {}
    for name, branch in tree.items():
        found.update(flat_params(branch, f"{prefix}/{name}" if prefix else str(name)))
    return found


def tree_params(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flat_params`."""
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *branches, leaf = name.split("/")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
        place[leaf] = array
    return tree


def chain_apply(num_labels: int, hidden: int, *, select: str, path_floor: float) -> ChainApply:
    """The program of a chain of one layer."""
    return ChainApply(LabelChain(num_labels, hidden), select, path_floor)


def store_models(models: Iterable[ChainModel]) -> dict[str, np.ndarray]:
    """Parameters of several chains as one dictionary of arrays."""
    return {f"{k}/{name}": array for k, model in enumerate(models) for name, array in flat_params(model.params).items()}


def load_models(
    arrays: Mapping[str, np.ndarray], apply_fn: ChainApply, label_names: Iterable[tuple[str, ...]]
) -> list[ChainModel]:
    """Chains of one size from `store_models`."""
    found = []
    for k, names in enumerate(label_names):
        own = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith(f"{k}/")}
        found.append(ChainModel(apply_fn, tree_params(own), names))
    return found
