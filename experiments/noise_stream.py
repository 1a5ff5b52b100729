"""Wrong labels in data larger than memory: chunk by chunk from Parquet, resumed where a killed run stopped."""

import functools
import glob
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.common import written_whole
from experiments.noise_config import NoiseConfig
from experiments.noise_files import check_unreviewed
from experiments.noise_find import best_other, count_notes, gallery_item, knowledge_notes
from experiments.noise_probs import class_columns, parse_spec, prob_columns
from experiments.noise_report import Findings, write_findings
from experiments.noise_rows import NpyProbs, ParquetProbs, ParquetRows, ProbRows
from experiments.noise_table import StreamTable
from jlabel import InputError
from jlabel.confident_learning import (
    GalleryItem,
    StreamState,
    calibrate_joint,
    count_errors,
    find_errors_streaming,
    issue_table,
)
from jlabel.evaluation import Interval

__all__ = ["find_streaming", "should_stream"]

AUTOMATIC_ROWS = 1_000_000
CHUNK_BYTES = 1 << 25


def should_stream(config: NoiseConfig) -> bool:
    """Whether to read in parts: as `--stream` says, else for data of a million rows and more in fitting files."""
    if config.stream is not None:
        return config.stream
    if not config.data.startswith("parquet:") or not config.probs:
        return False
    kind, location, options = parse_spec("data", config.data, ["parquet"])
    paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
    if not paths or parse_spec("probs", config.probs)[0] not in ("npy", "parquet"):
        return False
    return ParquetRows(config.data, paths, [], batch_rows=1).rows >= AUTOMATIC_ROWS and _unsupported(config) is None


def _unsupported(config: NoiseConfig) -> str | None:
    """What keeps a run from being streamed."""
    if not config.data.startswith("parquet:"):
        return f"--stream reads parquet: data, not {config.data}"
    if not config.probs:
        return "--stream needs --probs=parquet:... or npy:..."
    if config.filters not in ((), ("margin",)):
        return f"--stream flags rows by margin, not by --filters={','.join(config.filters)}"
    if config.score != "normalized_margin" or config.collision != "confident":
        return "--stream knows --score=normalized_margin and --collision=confident only"
    if config.split != "all":
        return f"--stream takes all rows, not --split={config.split}; put these rows into files of their own"
    return None


class _Chunk:
    """A chunk that is read when it is taken apart: those that are skipped are not."""

    def __init__(self, read: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]):
        self._read = read

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._read())


def find_streaming(config: NoiseConfig, workdir: Path) -> Findings:
    """Find the wrong labels of data that need not fit into memory; as `find`, by margin.

    The state is saved after every chunk. A run that is killed goes on there, and writes the same issues.csv.

    Args:
      config: the settings. workdir: an open workdir.

    Returns:
      What was found.

    Raises:
      InputError: data or probabilities that cannot be read or do not belong together, or settings that need the data
        in memory.
    """
    start = time.monotonic()
    if (reason := _unsupported(config)) is not None:
        raise InputError(reason)
    check_unreviewed(workdir / "issues.csv")
    probs, classes, named = _open_probs(config)
    size = config.chunk_rows or int(np.clip(CHUNK_BYTES // (8 * max(1, probs.num_columns)), 1024, 1 << 18))
    table = StreamTable(config.data, chunk_rows=size, skip_broken=config.skip_broken)
    if table.rows != probs.rows:
        raise InputError(
            f"--probs={config.probs} has {probs.rows} rows, {config.data} has {table.rows}: give one for each"
        )
    columns = class_columns(
        f"--probs={config.probs}", table.label_names, probs.num_columns, classes=config.classes or classes
    )
    starts = range(0, table.rows, size)

    def read(first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stop = min(first + size, table.rows)
        labels = table.labels(first, stop)
        if named is not None:
            _check_names(config, table.names(first, stop), named.read(first, stop).column(0).to_pylist(), first)
        known = np.flatnonzero(labels >= 0)
        values = probs.read(first, stop)
        if len(known) < len(labels):
            values = values[known]
        return first + known, columns.place[labels[known]], values

    def chunks() -> Iterator[Any]:
        for first in tqdm(starts, desc="chunks", disable=None, leave=False):
            yield _Chunk(functools.partial(read, first))

    file = workdir / "stream_state.npz"
    mark = _fingerprint(config)
    found = find_errors_streaming(
        chunks, num_classes=probs.num_columns, rule=config.rule, state=_load(file, mark),
        save=lambda state: _save(file, state, mark),
    )  # fmt: skip
    own, others, suggested, given, names = _details(found.indices, size, read, table)
    issues = issue_table(
        found.indices, names=names, given=given, suggested=suggested, scores=found.scores, prob_given=own,
        prob_suggested=others, label_names=columns.label_names,
    )  # fmt: skip
    counts = found.label_counts
    absent = np.flatnonzero(counts == 0).tolist()
    unlabelled = table.rows - int(counts.sum())
    findings = Findings(
        label_names=columns.label_names,
        label_counts=counts,
        joint=found.joint,
        calibrated=calibrate_joint(found.joint, counts),
        num_errors=found.num_errors,
        interval=_interval(found.joint, counts, found.num_errors, config),
        flagged={"margin": len(issues)},
        streamed=True,
        issues=issues,
        notes=[
            *count_notes(columns.label_names, absent, found.num_clipped),
            *knowledge_notes(found.thresholds, counts),
            *([f"{unlabelled} rows without a usable label were left out."] if unlabelled else []),
        ],
    )
    items = _gallery(table, findings, config)
    write_findings(workdir, config, findings, items, seconds=time.monotonic() - start)
    file.unlink(missing_ok=True)
    return findings


def _open_probs(config: NoiseConfig) -> tuple[ProbRows, tuple[str, ...] | None, ParquetRows | None]:
    """The probabilities, the labels of their columns and the rows' names, where the file has them."""
    spec = f"--probs={config.probs}"
    kind, location, options = parse_spec("probs", config.probs)
    if kind == "npy":
        return NpyProbs(spec, Path(location).expanduser()), None, None
    if kind != "parquet":
        raise InputError(f"{spec}: cannot be read in parts; save it as npy:FILE or parquet:FILE")
    paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
    if not paths:
        raise InputError(f"{spec}: no such file")
    schema = ParquetRows(spec, paths, [], batch_rows=1).schema
    chosen, classes, name = prob_columns(config.probs, schema.names, options)
    named = ParquetRows(spec, paths, [name], batch_rows=1 << 16) if name else None
    return ParquetProbs(spec, paths, chosen, batch_rows=1 << 14), classes, named


def _check_names(config: NoiseConfig, ours: list[str], theirs: list[Any], first: int) -> None:
    for place, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if own != str(other):
            raise InputError(
                f"--probs={config.probs}: row {first + place} is {str(other)!r}, in {config.data} it is {own!r}; with "
                "--stream both files must have the same order"
            )


def _details(
    rows: np.ndarray, size: int, read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]], table: StreamTable
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of flagged rows: own and best other probability, best other class, given class, and name."""
    own, others = np.zeros(len(rows)), np.zeros(len(rows))
    suggested, given = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    names = np.full(len(rows), "", object)
    order = np.argsort(rows, kind="stable")
    for first in np.unique(rows // size).tolist():
        numbers, labels, probs = read(first * size)
        here = order[np.searchsorted(rows[order], first * size) : np.searchsorted(rows[order], (first + 1) * size)]
        places = np.searchsorted(numbers, rows[here])
        given[here] = labels[places]
        suggested[here] = best_other(labels[places], probs[places])
        own[here] = probs[places, given[here]]
        others[here] = probs[places, suggested[here]]
        all_names = table.names(first * size, min((first + 1) * size, table.rows))
        names[here] = [all_names[row - first * size] for row in rows[here].tolist()]
    return own, others, suggested, given, names


def _interval(joint: np.ndarray, counts: np.ndarray, estimate: float, config: NoiseConfig) -> Interval:
    """Interval of the count over rows, the thresholds held: rows are drawn anew by label and confident class."""
    total = int(counts.sum())
    uncounted = np.maximum(counts - joint.sum(1), 0)
    cells = np.concatenate([joint.ravel(), uncounted]).astype(np.float64)
    rng = np.random.default_rng(config.seeds[0])
    drawn = []
    for sample in rng.multinomial(total, cells / cells.sum(), size=config.replicates):
        again, left = sample[: joint.size].reshape(joint.shape), sample[joint.size :]
        drawn.append(count_errors(again, again.sum(1) + left, rule=config.rule))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(estimate, float(np.std(drawn, ddof=1)), float(low), float(high), total)


def _gallery(table: StreamTable, found: Findings, config: NoiseConfig) -> Iterator[GalleryItem]:
    """The worst rows, read in the order of the files; the page sorts them."""
    for issue in found.issues.head(config.gallery).sort_values("row").to_dict("records"):
        yield gallery_item(issue, table.content(int(issue["row"])))


def _fingerprint(config: NoiseConfig) -> str:
    """Changes when the files do."""
    files = []
    for spec in (config.data, config.probs):
        location = parse_spec("data", spec)[1]
        for path in sorted(glob.glob(str(Path(location).expanduser()), recursive=True)):
            status = os.stat(path)
            files.append([path, status.st_size, status.st_mtime_ns])
    return json.dumps(files)


def _save(file: Path, state: StreamState, mark: str) -> None:
    with written_whole(file, "wb") as out:
        np.savez(out, mark=np.array(mark), **state._asdict())


def _load(file: Path, mark: str) -> StreamState | None:
    """The state of a run that was interrupted on the same files; None where there is none."""
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["mark"]) == mark:
                return StreamState(**{name: stored[name] for name in StreamState._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return None
