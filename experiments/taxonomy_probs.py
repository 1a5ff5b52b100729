"""What models say of other domains' rows, from files: ROWS/MODEL.csv or .npz, one for each ordered pair."""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.taxonomy_cross import Crossed
from jlabel import InputError

__all__ = ["GivenProbs", "read_pairs"]

_SUM = 1e-3  # a row's sum may be off by this much


class GivenProbs(NamedTuple):
    """Predictions of several domains' models with the names of domains and classes."""

    domains: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    crossed: Crossed


class _File(NamedTuple):
    """One file: names of the rows' classes (N,), probabilities (N, C), names of the C classes."""

    path: Path
    labels: np.ndarray
    probs: np.ndarray
    classes: tuple[str, ...]


def read_pairs(folder: Path) -> GivenProbs:
    """Read a folder of predictions.

    The columns of ROWS/MODEL are the classes of domain MODEL, in this order; every file of a model must have the same.
    The files of ROWS may hold different rows.

    Raises:
      InputError: fewer than two domains, a pair without a file, a file (named) that does not fit.
    """
    if not folder.is_dir():
        raise InputError(f"--probs={folder}: no such folder; give one with files ROWS/MODEL.csv or ROWS/MODEL.npz")
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise InputError(
            f"--probs={folder}: a folder for each of two domains or more is needed, there are {len(names)}"
        )
    files = {
        (a, b): _find(folder, rows, model) for a, rows in enumerate(names) for b, model in enumerate(names) if a != b
    }
    classes: list[tuple[str, ...]] = []
    for b, name in enumerate(names):
        of_model = [file for (_, model), file in files.items() if model == b]
        for file in of_model[1:]:
            if file.classes != of_model[0].classes:
                raise InputError(
                    f"{file.path}: classes differ from those in {of_model[0].path}: give both the same columns"
                )
        if len(of_model[0].classes) < 2:
            raise InputError(
                f"{of_model[0].path}: domain {name!r} has one class; its model is always sure: leave it out"
            )
        classes.append(of_model[0].classes)
    labels = {(a, b): _encode(file, names[a], classes[a]) for (a, b), file in files.items()}
    return GivenProbs(names, tuple(classes), Crossed(labels, {pair: file.probs for pair, file in files.items()}, ()))


def _find(folder: Path, rows: str, model: str) -> _File:
    found = [path for ending in ("csv", "npz") if (path := folder / rows / f"{model}.{ending}").is_file()]
    if len(found) != 1:
        wanted = folder / rows / f"{model}.csv"
        told = f"there are {found[0].name} and {found[1].name}; keep one" if found else "there is none, nor an .npz"
        raise InputError(f"{wanted}: what the model of {model!r} says of rows of {rows!r}: {told}")
    path = found[0]
    try:
        file = _from_csv(path) if path.suffix == ".csv" else _from_npz(path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    _check(file)
    return file


def _from_csv(path: Path) -> _File:
    frame = pd.read_csv(path, dtype=object, keep_default_na=False, header=None)  # pandas renames equal columns
    frame, header = frame.iloc[1:].reset_index(drop=True), frame.iloc[0].tolist()
    twice = [name for k, name in enumerate(header) if name in header[:k]]
    if twice:
        raise InputError(f"{path}: two columns are called {twice[0]!r}")
    frame.columns = pd.Index(header)
    if "label" not in frame:
        raise InputError(f"{path}: no column label, the class that each row has in its own domain")
    classes = tuple(name for name in frame.columns if name not in ("label", "name"))
    probs = np.empty((len(frame), len(classes)))
    for k, name in enumerate(classes):
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
        if np.isnan(values).any():
            row = int(np.isnan(values).argmax())
            raise InputError(f"{path}: row {row}, column {name!r} holds {frame[name].iloc[row]!r}, not a probability")
        probs[:, k] = values
    return _File(path, frame["label"].to_numpy(str), probs, classes)


def _from_npz(path: Path) -> _File:
    with path.open("rb") as opened:
        archive = np.load(opened, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: a single array, not an archive; write it with numpy.savez")
        arrays = {name: archive[name] for name in archive.files}
    for name, axes in {"label": 1, "probs": 2, "classes": 1}.items():
        if name not in arrays or arrays[name].ndim != axes:
            there = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items())
            raise InputError(f"{path}: no array {name} with {axes} ax{'es' if axes > 1 else 'is'}; there are {there}")
    if arrays["probs"].dtype.kind not in "fiu":
        raise InputError(f"{path}: probs are {arrays['probs'].dtype}, not numbers")
    return _File(
        path,
        arrays["label"].astype(str),
        arrays["probs"].astype(np.float64),
        tuple(arrays["classes"].astype(str).tolist()),
    )


def _check(file: _File) -> None:
    """Refuse what are no probabilities of these rows and classes."""
    count, width = file.probs.shape
    if not count or len(file.labels) != count or len(file.classes) != width:
        raise InputError(
            f"{file.path}: {len(file.labels)} labels, {len(file.classes)} classes, probs {file.probs.shape}"
        )
    if len(set(file.classes)) < width:
        twice = next(name for name in file.classes if file.classes.count(name) > 1)
        raise InputError(f"{file.path}: class {twice!r} stands twice")
    bad = ~(file.probs >= 0).all(1) | ~(np.abs(file.probs.sum(1) - 1) <= _SUM)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{file.path}: row {row} sums to {file.probs[row].sum():.6g}, its least is {file.probs[row].min():.6g}; "
            "give probabilities of 0 or more that sum to 1"
        )


def _encode(file: _File, domain: str, classes: tuple[str, ...]) -> np.ndarray:
    code = {name: k for k, name in enumerate(classes)}
    unknown = [name for name in file.labels.tolist() if name not in code]
    if unknown:
        row = file.labels.tolist().index(unknown[0])
        raise InputError(f"{file.path}: row {row} has the label {unknown[0]!r}, which is no class of domain {domain!r}")
    return np.array([code[name] for name in file.labels.tolist()])
