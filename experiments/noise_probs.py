"""The user's probabilities: from a file, in the order of the rows or joined by name, columns matched to labels."""

import glob
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd

from experiments.noise_rows import ParquetProbs, ParquetRows
from jlabel import InputError
from jlabel.data import Source

__all__ = ["Columns", "ProbsFile", "class_columns", "join_rows", "parse_spec", "prob_columns", "read_probs"]

KINDS = ("csv", "npy", "npz", "parquet")


class ProbsFile(NamedTuple):
    """Probabilities ``[M, C]`` of a file, the rows' names ``[M]`` and the columns' labels, where the file has them."""

    probs: np.ndarray
    names: np.ndarray | None = None
    classes: tuple[str, ...] | None = None


class Columns(NamedTuple):
    """Labels of the columns of the probabilities, and the column of each of the data's label names."""

    label_names: tuple[str, ...]
    place: np.ndarray


def parse_spec(flag: str, spec: str, kinds: Sequence[str] = KINDS) -> tuple[str, str, dict[str, str]]:
    """Kind, place and options of ``kind:place?name=value``; the kind may be left out where the file's ending says it.

    >>> parse_spec("probs", "npz:mine.npz?probs=p"), parse_spec("probs", "a/mine.npy")
    (('npz', 'mine.npz', {'probs': 'p'}), ('npy', 'a/mine.npy', {}))
    """
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in kinds:
        kind, rest = Path(spec.partition("?")[0]).suffix.removeprefix("."), spec
    if kind not in kinds or not rest:
        raise InputError(f"--{flag}={spec}: give one of {', '.join(f'{name}:FILE' for name in kinds)}")
    match = re.fullmatch(r"(.+?)\?(\w+=[^?]*)", rest)
    if match is None:
        return kind, rest, {}
    return kind, match[1], dict(parse_qsl(match[2], keep_blank_values=True))


def read_probs(spec: str) -> ProbsFile:
    """Read the file that ``--probs`` names."""
    kind, location, options = parse_spec("probs", spec)
    for name in options:
        if name not in ("probs", "name"):
            raise InputError(f"--probs={spec}: no option {name!r}; there are probs and name")
    path = Path(location).expanduser()
    if kind == "parquet":
        return _from_parquet(spec, location, options)
    try:
        if kind == "csv":
            return _from_table(spec, pd.read_csv(path, dtype=object, keep_default_na=False), options)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if kind == "npz":
                if not isinstance(loaded, np.lib.npyio.NpzFile):
                    raise InputError(f"--probs={spec}: a single array, not an archive; write npy:{location}")
                return _from_archive(spec, {name: loaded[name] for name in loaded.files}, options)
            if not isinstance(loaded, np.ndarray):
                raise InputError(f"--probs={spec}: an archive, not a single array; write npz:{location}")
            return ProbsFile(_checked(spec, loaded))
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, pd.errors.ParserError) as error:
        raise InputError(f"--probs={spec}: cannot be read: {' '.join(str(error).split())}") from error


def _from_archive(spec: str, arrays: Mapping[str, np.ndarray], options: Mapping[str, str]) -> ProbsFile:
    wide = [name for name, values in arrays.items() if values.ndim == 2 and values.dtype.kind in "fiu"]
    key = options.get("probs") or ("probs" if "probs" in arrays else wide[0] if len(wide) == 1 else "")
    if key not in arrays:
        there = ", ".join(arrays) or "none"
        raise InputError(f"--probs={spec}: no array {key or 'probs'!r}; there are {there}: choose one with ?probs=KEY")
    named = _one_of(arrays, [options["name"]] if "name" in options else ["name", "names"])
    if named is None and "name" in options:
        raise InputError(f"--probs={spec}: no array {options['name']!r}; there are {', '.join(arrays)}")
    classes = _one_of(arrays, ["classes", "label_names"])
    return ProbsFile(
        _checked(spec, arrays[key]),
        None if named is None else named.astype(str),
        None if classes is None else tuple(classes.astype(str).tolist()),
    )


def _one_of(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays and arrays[name].ndim == 1), None)


def _from_parquet(spec: str, location: str, options: Mapping[str, str]) -> ProbsFile:
    paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
    if not paths:
        raise InputError(f"--probs={spec}: no such file")
    layout = ParquetRows(f"--probs={spec}", paths, [], batch_rows=1)
    chosen, classes, name = prob_columns(spec, layout.schema.names, options)
    if not layout.rows:
        raise InputError(f"--probs={spec}: there are no rows in it")
    probs = ParquetProbs(f"--probs={spec}", paths, chosen, batch_rows=1 << 14).read(0, layout.rows)
    if name is None:
        return ProbsFile(_checked(spec, probs), None, classes)
    names = ParquetRows(f"--probs={spec}", paths, [name], batch_rows=1 << 16).read(0, layout.rows).column(0)
    return ProbsFile(_checked(spec, probs), np.array([str(value) for value in names.to_pylist()]), classes)


def _from_table(spec: str, frame: pd.DataFrame, options: Mapping[str, str]) -> ProbsFile:
    chosen, classes, name = prob_columns(spec, [str(column) for column in frame.columns], options)
    if classes is None:
        raise InputError(f"--probs={spec}: the column {chosen[0]!r} is one number a row; give one column per label")
    probs = np.empty((len(frame), len(chosen)))
    for place, column in enumerate(chosen):
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64)
        if np.isnan(values).any():
            row = int(np.isnan(values).argmax())
            raise InputError(
                f"--probs={spec}: column {column!r} holds {frame[column][row]!r} in row {row}, not a number; columns "
                "are probabilities, one per label, and name"
            )
        probs[:, place] = values
    return ProbsFile(_checked(spec, probs), frame[name].to_numpy(str) if name else None, classes)


def prob_columns(
    spec: str, names: Sequence[str], options: Mapping[str, str]
) -> tuple[list[str], tuple[str, ...] | None, str | None]:
    """Columns of a table that hold probabilities, their labels (None for one column of vectors), and the name column.

    A common beginning that ends in ``prob``, ``p`` or ``probs`` and a mark is no part of the labels.

    >>> prob_columns("p.csv", ["name", "prob_cat", "prob_dog"], {})
    (['prob_cat', 'prob_dog'], ('cat', 'dog'), 'name')
    """
    name = options.get("name", "name" if "name" in names else None)
    for column in (options.get("name"), options.get("probs")):
        if column and column not in names:
            raise InputError(f"--probs={spec}: no column {column!r}; there are {', '.join(names)}")
    if options.get("probs") or "probs" in names:
        return [options.get("probs") or "probs"], None, name
    chosen = [column for column in names if column != name]
    if not chosen:
        raise InputError(f"--probs={spec}: no columns of probabilities")
    match = re.match(r"(?i)(prob|probs|p)[_:. ]", chosen[0])
    start = match[0] if match and all(column.startswith(match[0]) for column in chosen) else ""
    return chosen, tuple(column.removeprefix(start) for column in chosen), name


def _checked(spec: str, probs: np.ndarray) -> np.ndarray:
    if probs.ndim != 2 or probs.dtype.kind not in "fiu" or 0 in probs.shape:
        raise InputError(
            f"--probs={spec}: an array of {probs.dtype} {probs.shape}; give numbers [rows, labels], one row a row of "
            "the data"
        )
    return probs


def class_columns(spec: str, label_names: Sequence[str], num_columns: int, *, classes: Sequence[str] | None) -> Columns:
    """Which column of the probabilities belongs to which label.

    Named columns are matched by name. Unnamed ones: whole numbers below their count are column numbers, so that a class
    without rows keeps its column; else there must be as many as labels, in the order of the data's label names.

    >>> class_columns("p.npy", ("0", "3"), 4, classes=None).place.tolist()
    [0, 3]
    """
    names = [str(name) for name in label_names]
    if classes:
        columns = [str(name) for name in classes]
        if len(columns) != num_columns or len(set(columns)) != num_columns:
            raise InputError(
                f"{spec}: {num_columns} columns, but {len(set(columns))} different labels are named for them"
            )
        lost = [name for name in names if name not in columns]
        if lost:
            raise InputError(
                f"{spec}: no column for the label {lost[0]!r}; the columns are {', '.join(columns[:10])}"
                f"{', ...' if num_columns > 10 else ''}"
            )
        return Columns(tuple(columns), np.array([columns.index(name) for name in names]))
    if all(name.isdecimal() for name in names) and max(map(int, names)) < num_columns:
        return Columns(tuple(map(str, range(num_columns))), np.array([int(name) for name in names]))
    if len(names) == num_columns:
        return Columns(tuple(names), np.arange(num_columns))
    raise InputError(
        f"{spec}: {num_columns} columns for {len(names)} labels ({', '.join(names[:5])}{', ...' * (len(names) > 5)}); "
        "name them in order with --classes=LABEL,LABEL,..."
    )


def join_rows(spec: str, found: ProbsFile, source: Source) -> np.ndarray:
    """Probabilities ``[N, C]`` of the data's rows: by name where the file has names, else in the order of the rows."""
    if found.names is None:
        total = len(source) + len(source.skipped)
        if len(found.probs) == total and not source.skipped:
            return found.probs
        if len(found.probs) == total and source.split == "all":
            return found.probs[source.rows]
        raise InputError(
            f"--probs={spec} has {len(found.probs)} rows, {source.spec} has {total} in the split {source.split!r}; "
            "give one row for each, in the same order, or a column name to join them by"
        )
    names = source.column("name").astype(str)
    for what, values in ((f"--probs={spec}", found.names), (source.spec, names)):
        if (twice := _first_twice(values)) is not None:
            raise InputError(f"{what}: the name {twice!r} stands twice, so rows cannot be joined by it")
    places = {name: place for place, name in enumerate(found.names.tolist())}
    lost = [name for name in names.tolist() if name not in places]
    if lost:
        raise InputError(
            f"--probs={spec}: no probabilities for {len(lost)} of {len(names)} rows, the first {lost[0]!r} (its first "
            f"name is {str(found.names[0])!r}); rows are joined by the column name"
        )
    return found.probs[[places[name] for name in names.tolist()]]


def _first_twice(values: np.ndarray) -> Any:
    unique, counts = np.unique(values, return_counts=True)
    return str(unique[counts > 1][0]) if (counts > 1).any() else None
