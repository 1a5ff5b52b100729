"""Finished steps of a run, kept without pickle, so that a run that was killed goes on where it was."""

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import written_whole
from jlabel import InputError

__all__ = ["Cells", "flat_params", "tree_params"]


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
