"""The result of a study: rows, the `results.json` document, and a table for the terminal."""

import dataclasses
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np

from jlabel.errors import InputError
from jlabel.evaluation.intervals import Interval, seed_interval

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")


class Row(NamedTuple):
    """One line of a study: a method's metric on a split over runs; unknown spread is NaN."""

    method: str
    metric: str
    split: str
    mean: float
    std: float
    ci95: tuple[float, float]
    runs: tuple[float, ...]


def make_row(method: str, metric: str, runs: Sequence[float] | np.ndarray, *, split: str = "test") -> Row:
    """Builds a row from one number per run, with the 95 % t interval over runs.

    Args:
        method: Name shown to people.
        metric: Name such as `"accuracy"`.
        runs: `[R]` values, in the order of the seeds.
        split: Which rows were scored.

    Returns:
        `Row`.

    Raises:
        InputError: No run, or NaN (the message names method and metric).

    Example:
        >>> row = make_row("graph", "accuracy", [0.5, 0.75, 1.0])
        >>> row.mean, row.std, row.runs
        (0.75, 0.25, (0.5, 0.75, 1.0))
    """
    try:
        found = seed_interval(runs)
    except InputError as error:
        raise InputError(f"row ({method}, {metric}): {error}") from error
    return row_from_interval(method, metric, found, runs=[float(v) for v in runs], split=split)


def row_from_interval(
    method: str, metric: str, interval: Interval, *, runs: Sequence[float] = (), split: str = "test"
) -> Row:
    """Builds a row from any interval, such as a bootstrap over test rows.

    Args:
        method: Name shown to people.
        metric: Name such as `"accuracy"`.
        interval: Mean, spread and bounds.
        runs: The single values behind it, where there are some.
        split: Which rows were scored.

    Returns:
        `Row`.

    Example:
        >>> row_from_interval("graph", "accuracy", Interval(0.5, 0.1, 0.3, 0.7, 200)).ci95
        (0.3, 0.7)
    """
    bounds = (interval.low, interval.high)
    return Row(method, metric, split, interval.mean, interval.std, bounds, tuple(runs) or (interval.mean,))


def versions() -> dict[str, str]:
    """Versions of what decides a number: Python, libraries, platform, devices.

    Returns:
        Name to version, in a fixed order.

    Example:
        >>> sorted(set(versions()) & {"python", "jax", "devices"})
        ['devices', 'jax', 'python']
    """
    found = {"python": platform.python_version()}
    for package in ("jlabel", *_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout, or an optional package
            continue
    devices = jax.devices()
    kinds = {kind: sum(d.device_kind == kind for d in devices) for kind in sorted({d.device_kind for d in devices})}
    found["platform"] = platform.platform()
    found["devices"] = ", ".join(f"{number} x {kind}" for kind, number in kinds.items())
    return found


def to_json(value: Any) -> Any:
    """Turns configs, arrays, paths and rows into what `json` writes; NaN and infinity become None.

    Args:
        value: Dataclasses, mappings, sequences, arrays, scalars, paths; anything else becomes `str(value)`.

    Returns:
        Dicts, lists, strings, numbers, booleans and None.

    Example:
        >>> to_json({"rate": np.float32(0.5), "shape": (2, 3), "bad": float("nan")})
        {'rate': 0.5, 'shape': [2, 3], 'bad': None}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: to_json(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return to_json(jax.random.key_data(value))
    if isinstance(value, jax.Array):
        return to_json(np.asarray(value).tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)


def build_results(experiment: str, *, data: str, config: Any, rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """Builds the document that `results.json` holds.

    Args:
        experiment: Name of the study.
        data: Spec of the data, such as `"embedded:drawn_pets"`.
        config: Mapping or dataclass of settings.
        rows: The study's rows.
        seconds: Wall time of the study.

    Returns:
        `{"experiment", "data", "config", "rows", "seconds", "versions"}`, ready for `json`.

    Raises:
        InputError: Two rows of the same method, metric and split.

    Example:
        >>> document = build_results("toy", data="none", config={}, rows=[make_row("a", "f1", [0.5])], seconds=1.0)
        >>> document["rows"][0]["mean"], document["rows"][0]["ci95"]
        (0.5, [None, None])
    """
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        if row[:3] in seen:
            raise InputError(f"rows hold (method, metric, split) {row[:3]} twice: give each a name of its own")
        seen.add(row[:3])
    return {
        "experiment": experiment,
        "data": data,
        "config": to_json(config),
        "rows": [to_json(row) for row in rows],
        "seconds": round(float(seconds), 3),
        "versions": versions(),
    }


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.4g}"


def format_row(row: Row) -> str:
    """One cell: `mean ± std [low, high]`, the mean alone where there is no spread.

    Args:
        row: A row.

    Returns:
        Text.

    Example:
        >>> format_row(make_row("a", "f1", [0.5, 0.75, 1.0])), format_row(make_row("a", "f1", [0.5]))
        ('0.750 ± 0.250 [0.129, 1.371]', '0.500')
        >>> format_row(make_row("a", "difference", [0.2, -0.2001]))
        '0.000 ± 0.283 [-2.542, 2.542]'
    """
    if not math.isfinite(row.std):
        return _number(row.mean)
    numbers = row.mean, row.std, *row.ci95
    # What is far below the last digit of the mean or of its spread is zero beside it.
    if 1e-3 <= max(abs(row.mean), row.std) and max(map(abs, numbers)) < 100:
        mean, std, low, high = (f"{round(number, 3) + 0.0:.3f}" for number in numbers)
    else:
        mean, std, low, high = map(_number, numbers)
    return f"{mean} ± {std} [{low}, {high}]"


def table_cells(
    rows: Sequence[Row], *, paper: Mapping[tuple[str, str], float] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Lays rows out as methods (down) by metrics (across), with the paper's figures beside them.

    Args:
        rows: Rows, in the order to show.
        paper: (method, metric) to the published value; adds one column per metric it names.

    Returns:
        The header and the body, as text; missing cells are empty.

    Raises:
        InputError: No rows.

    Example:
        >>> table_cells([make_row("graph", "accuracy", [0.5])], paper={("graph", "accuracy"): 0.95})
        (['method', 'accuracy', 'paper'], [['graph', '0.500', '0.950']])
    """
    if not rows:
        raise InputError("rows is empty: a table needs one row or more")
    figures = paper or {}
    methods = list(dict.fromkeys(row.method for row in rows))
    columns = list(dict.fromkeys((row.metric, row.split) for row in rows))
    several = len({split for _, split in columns}) > 1
    cells = {row[:3]: format_row(row) for row in rows}
    header, body = ["method"], [[method] for method in methods]
    for metric, split in columns:
        header.append(f"{metric} ({split})" if several else metric)
        for line, method in zip(body, methods, strict=True):
            line.append(cells.get((method, metric, split), ""))
        # the paper's figures belong to the test rows: one column per metric, after its last split
        named = [figures.get((method, metric)) for method in methods]
        if any(value is not None for value in named) and (metric, split) == [c for c in columns if c[0] == metric][-1]:
            header.append("paper" if len({m for m, _ in columns}) == 1 else f"paper {metric}")
            for line, value in zip(body, named, strict=True):
                line.append("" if value is None else _number(value))
    return header, body


def format_table(rows: Sequence[Row], *, paper: Mapping[tuple[str, str], float] | None = None, width: int = 120) -> str:
    """A readable table for the terminal, `mean ± std [low, high]`; too many metrics go into further blocks.

    Args:
        rows: Rows, in the order to show.
        paper: (method, metric) to the published value.
        width: Characters a line may take.

    Returns:
        Lines joined by newlines.

    Raises:
        InputError: No rows.

    Example:
        >>> rows = [make_row("graph", "accuracy", [0.5, 0.75, 1.0]), make_row("majority", "accuracy", [0.1])]
        >>> print(format_table(rows))
        method    accuracy
        --------  ----------------------------
        graph     0.750 ± 0.250 [0.129, 1.371]
        majority  0.100
    """
    header, body = table_cells(rows, paper=paper)
    lines = [header, *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    blocks: list[list[int]] = [[0]]
    for column in range(1, len(header)):
        used = sum(widths[i] + 2 for i in blocks[-1])
        if len(blocks[-1]) > 1 and used + widths[column] > width:
            blocks.append([0])
        blocks[-1].append(column)
    text = []
    for block in blocks:
        rule = ["-" * widths[i] for i in range(len(header))]
        for line in [header, rule, *body]:
            text.append("  ".join(line[i].ljust(widths[i]) for i in block).rstrip())
        text.append("")
    return "\n".join(text[:-1])
