"""Wrong labels in the user's data, held in memory."""

import dataclasses
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import jlabel.data
from experiments.common import written_whole
from experiments.noise_config import NoiseConfig
from experiments.noise_cross import cross_validate
from experiments.noise_files import check_unreviewed
from experiments.noise_probs import class_columns, join_rows, read_probs
from experiments.noise_report import Findings, write_findings
from jlabel import InputError
from jlabel.confident_learning import GalleryItem, count_interval, find_errors, issue_table
from jlabel.confident_learning.find import Method
from jlabel.data import DataError, Source, subset

__all__ = ["best_other", "count_notes", "doubts", "find", "gallery_item", "gallery_items", "knowledge_notes"]

KNOWS = 0.02  # of the way from chance to certainty


def find(config: NoiseConfig, workdir: Path) -> Findings:
    """Find the wrong labels of the data and write issues.csv, report.html, results.json and figures.

    Args:
      config: the settings. workdir: an open workdir.

    Returns:
      What was found.

    Raises:
      InputError: data or probabilities that cannot be read or do not belong together.
    """
    start = time.monotonic()
    check_unreviewed(workdir / "issues.csv")
    source = open_rows(config)
    labelled = source.labels >= 0
    if config.probs:
        file = read_probs(config.probs)
        probs = join_rows(config.probs, file, source)[labelled]
        columns = class_columns(
            f"--probs={config.probs}", source.label_names, probs.shape[1], classes=config.classes or file.classes
        )
        source = subset(source, labelled)
        names, labels = columns.label_names, columns.place[source.labels]
    else:
        source = subset(source, labelled)
        probs, names, labels = cross_validate(source, config), source.label_names, source.labels
        with written_whole(workdir / "probs.npz", "wb") as out:
            np.savez_compressed(out, probs=probs, name=source.column("name").astype(str), classes=np.array(names))
    found = doubts(labels, probs, names, source, config)
    notes = [*found.notes, *_notes(source, int((~labelled).sum()))]
    unused = [name for name in source.columns if name not in ("label", "name", "split", config.groups)]
    if not config.probs and source.feature_names and unused:
        notes.append(f"Only columns of numbers are features. Not used: {', '.join(unused)}.")
    found = dataclasses.replace(found, notes=notes)
    items = gallery_items(source, found.issues, config.gallery)
    write_findings(workdir, config, found, items, seconds=time.monotonic() - start)
    return found


def open_rows(config: NoiseConfig) -> Source:
    """The data's rows, of which some at least have a label, one each."""
    source = jlabel.data.open(config.data, config.split, skip_broken=config.skip_broken)
    if "labels" in source.columns:
        raise InputError(
            f"{config.data} has several labels a row; this command takes one (jlabel.confident_learning."
            "find_multilabel_errors takes several)"
        )
    if not (source.labels >= 0).any():
        raise InputError(f"{config.data}: no row has a label; choose their column with ?label=COLUMN")
    return source


def doubts(
    labels: np.ndarray, probs: np.ndarray, names: Sequence[str], source: Source, config: NoiseConfig
) -> Findings:
    """Which of the rows' labels are doubtful, as the settings say."""
    filters: tuple[Method, ...] = config.filters or ("margin",)
    options: dict[str, Any] = {"rule": config.rule, "collision": config.collision, "score": config.score}
    found = {name: find_errors(labels, probs, method=name, **options) for name in filters}
    first = next(iter(found.values()))
    flagged = np.any([one.mask for one in found.values()], axis=0)
    rows = np.flatnonzero(flagged)
    rows = rows[np.argsort(first.scores[rows], kind="stable")]
    other = best_other(labels[rows], probs[rows])
    issues = issue_table(
        source.rows[rows], names=source.column("name")[rows], given=labels[rows], suggested=other,
        scores=first.scores[rows], prob_given=probs[rows, labels[rows]], prob_suggested=probs[rows, other],
        label_names=names,
    )  # fmt: skip
    if len(filters) > 1:
        masks = np.stack([one.mask[rows] for one in found.values()], axis=1)
        issues["filters"] = [" ".join(np.array(filters)[mask]) for mask in masks]
    interval = count_interval(
        labels, probs, rule=config.rule, collision=config.collision, replicates=config.replicates,
        key=jax.random.key(config.seeds[0]),
    )  # fmt: skip
    agreement = float((probs.argmax(1) == labels).mean())
    return Findings(
        label_names=names,
        label_counts=first.label_counts,
        joint=first.joint,
        calibrated=first.calibrated,
        num_errors=first.num_errors,
        interval=interval,
        flagged={name: int(one.mask.sum()) for name, one in found.items()},
        agreement=agreement,
        issues=issues,
        scores=(first.scores, flagged),
        notes=[
            *count_notes(names, first.absent, first.num_clipped),
            *knowledge_notes(first.thresholds, first.label_counts, given=bool(config.probs)),
        ],
    )


def best_other(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """The likeliest class other than the label ``[N]``; the lower of equal ones.

    >>> best_other(np.array([0, 1]), np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])).tolist()
    [1, 2]
    """
    others = np.array(probs, np.float64)
    others[np.arange(len(labels)), labels] = -1
    return others.argmax(1)


def count_notes(names: Sequence[str], absent: Sequence[int], num_clipped: int) -> list[str]:
    """Sentences about classes without rows and rows that were mended."""
    notes = []
    if absent:
        some = ", ".join(names[c] for c in absent[:10]) + (", ..." if len(absent) > 10 else "")
        notes.append(f"No row has the label {some}: nothing can be suggested or estimated there.")
    if num_clipped:
        notes.append(f"The probabilities of {num_clipped} rows did not quite sum to 1 and were scaled.")
    return notes


def knowledge_notes(thresholds: np.ndarray, label_counts: np.ndarray, *, given: bool = True) -> list[str]:
    """A warning where the probabilities, given or our own, know next to nothing of the labels.

    Drawn by the labels' shares alone, the given label would have the probability sum_j (n_j / n)^2 on average.

    >>> knowledge_notes(np.array([0.9, 0.8]), np.array([50, 50]))
    []
    """
    share = label_counts / label_counts.sum()
    own = float((np.where(label_counts > 0, thresholds, 0) * share).sum())
    chance = float((share**2).sum())
    if own - chance > KNOWS * (1 - chance) or np.count_nonzero(label_counts) < 2:
        return []
    why = "Perhaps the rows or the columns of the probabilities are in another order than the data."
    if not given:
        why = "The features say next to nothing about the labels: take another --encoder or --classifier, or more rows."
    return [
        f"Warning: the given label has a probability of {own:.3f} on average, where the labels' shares alone would "
        f"give {chance:.3f}. {why}"
    ]


def _notes(source: Source, unlabelled: int) -> list[str]:
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} rows without a label were left out.")
    if source.skipped:
        name, reason = source.skipped[0]
        notes.append(f"{len(source.skipped)} broken rows were left out, the first {name!r}: {reason}.")
    return notes


def gallery_items(source: Source, issues: pd.DataFrame, most: int) -> Iterator[GalleryItem]:
    """The worst rows of the table, each read when it is asked for; one that cannot be read says why."""
    places = {row: place for place, row in enumerate(source.rows.tolist())}
    for issue in issues.head(most).to_dict("records"):
        content: dict[str, Any] = {}
        try:
            read = source.content(places[issue["row"]])
            if source.kind == "features":
                names = source.feature_names or [f"feature {place}" for place in range(len(read))]
                content["features"] = dict(zip(names, read.tolist(), strict=True))
            else:
                content[source.kind] = read
        except DataError as error:
            content["broken"] = str(error.__cause__ or error)
        yield gallery_item(issue, content)


def gallery_item(issue: Mapping[Hashable, Any], content: Mapping[str, Any]) -> GalleryItem:
    """The card of one line of issues.csv."""
    note = f"row {issue['row']}, given {issue['prob_given']:.3f}, suggested {issue['prob_suggested']:.3f}"
    return GalleryItem(issue["name"], issue["given"], issue["suggested"], issue["score"], note=note, **content)
