"""A user's own benchmark: which models were right on which rows, before and after the correction."""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.stability_digits import Known, score_halves
from experiments.stability_embedded import rank_drawings
from experiments.stability_report import CERTAIN, Section, Table, interval_cell, interval_row
from jlabel import InputError
from jlabel.evaluation import Row, row_from_interval

__all__ = ["Benchmark", "correct_section", "read_benchmark"]

ARRAYS = ("original", "corrected", "correctable")


class Benchmark(NamedTuple):
    """The file's title, the models' names, and right or wrong on the rows of P."""

    title: str
    names: list[str]
    known: Known


def read_benchmark(file: str) -> Benchmark:
    """Read ``original``, ``corrected`` ``[models, N]``, ``correctable`` ``[N]`` and, if there, ``names`` from an npz.

    Raises:
      InputError: no readable archive, or an array that lacks or does not fit.
    """
    path = Path(file).expanduser()
    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files} if hasattr(archive, "files") else {}
    except OSError as error:
        raise InputError(f"cannot read --correct={file}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"--correct={file}: no readable npz archive; write it with numpy.savez") from error
    for name in ARRAYS:
        if name not in arrays:
            raise InputError(f"--correct={file} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
    original, corrected, correctable = (arrays[name] for name in ARRAYS)
    if correctable.dtype != bool and np.isin(correctable, (0, 1)).all():
        correctable = correctable.astype(bool)
    count = len(original) if original.ndim else 0
    names = [str(name) for name in arrays.get("names", [f"model {i}" for i in range(count)])]
    if len(names) != count or len(set(names)) < count:
        raise InputError(f"--correct={file}: names holds {len(set(names))} different names for {count} models")
    return Benchmark(path.stem, names, Known(original, corrected, correctable))


def correct_section(found: Benchmark, *, replicates: int, seed: int) -> Section:
    """Ranks with intervals, correlations and crossings."""
    names, known = found.names, found.known
    try:
        boot = score_halves(known, replicates=replicates, seed=seed)
    except InputError as error:
        raise InputError(f"--correct: {error}") from error
    kinds = {
        "original": boot.original, "corrected": boot.corrected, "original on C": boot.original_correctable,
        "corrected on C": boot.corrected_correctable,
    }  # fmt: skip
    rows: list[Row] = []
    body = []
    for m in np.argsort(boot.corrected.rank, kind="stable"):
        line = [names[m]]
        for kind, r in kinds.items():
            for metric, values in ((kind, r[:3]), (f"rank, {kind}", r[3:])):
                mean, low, high = (v[m] for v in values)
                rows.append(interval_row(names[m], metric, (mean, low, high), split=found.title, runs=replicates))
            line.append(f"{r.accuracy[m]:.3f}, {r.rank[m]:g} [{r.rank_low[m]:g}, {r.rank_high[m]:g}]")
        body.append(line)
    correlations = {"all rows": boot.spearman, "correctable rows": boot.spearman_correctable}
    rows += [
        row_from_interval("all models", f"Spearman, {name}", value, split=found.title)
        for name, value in correlations.items()
    ]
    c = boot.crossings_corrected
    certain = np.isfinite(c.prevalence) & (c.share >= CERTAIN)
    order = [int(k) for k in np.argsort(c.prevalence) if certain[k]]
    crossed = []
    for k in order:
        i, j = c.first[k], c.second[k]
        if boot.benign.accuracy[i] < boot.benign.accuracy[j]:
            i, j = j, i
        mean, low, high = (float(v[k]) for v in (c.prevalence, c.low, c.high))
        cell = interval_cell(100 * mean, 100 * low, 100 * high, digits=1)
        crossed.append([names[i], names[j], cell, f"{c.share[k]:.2f}"])
        crossing = f"crossing of {names[i]} and {names[j]}"
        rows.append(interval_row(crossing, "prevalence", (mean, low, high), split=found.title, runs=replicates))
    tables = [
        Table(
            f"{found.title}: accuracy, rank and the rank's 95 % interval, best corrected accuracy first.",
            ["model", *kinds], body,
        ),
        Table(
            f"{found.title}: where models change places by corrected labels, as far as {100 * CERTAIN:g} % of the "
            "replicates cross; 95 % interval.",
            ["better below", "better beyond", "N* %", "replicates that cross"], crossed or [["none", "", "", ""]],
        ),
    ]  # fmt: skip
    size = len(known.correctable)
    text = (
        f"{len(names)} models on {size} rows, {int(np.sum(known.correctable))} of them correctable: the prevalence is "
    )
    text += f"{boot.prevalence:.2%}. Original and corrected accuracy have the rank correlation "
    text += " and ".join(
        f"{interval_cell(v.mean, v.low, v.high, digits=2)} on {name}" for name, v in correlations.items()
    )
    above = sum(bool(c.low[k] > boot.prevalence) for k in order)
    text += (
        f". {len(order)} pairs of models cross in {100 * CERTAIN:g} % of the replicates, {above} of them above today's "
    )
    text += "prevalence."
    even = np.argsort(boot.corrected.rank, kind="stable")[
        np.linspace(0, len(names) - 1, min(7, len(names))).astype(int)
    ]
    drawings = rank_drawings(
        found.title, names, known, boot, shown=[int(m) for m in even], replicates=replicates, seed=seed
    )
    return Section(f"Benchmark: {found.title}", text, tables, drawings, rows)
