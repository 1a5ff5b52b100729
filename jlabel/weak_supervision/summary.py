"""What each rule does, from votes alone and against labels: the table to look at before fitting anything."""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import sparse, stats

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.buckets import Buckets, as_buckets
from jlabel.weak_supervision.checks import MAX_CLASSES, WeakSupervisionError

_CELLS = 1 << 22  # votes looked at at a time


class DoubtfulRules(NamedTuple):
    """Rules by number: those that never vote, those that say one class on every row, and groups of equal ones."""

    dead: tuple[int, ...]
    constant: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]


def doubtful_rules(votes: Any) -> DoubtfulRules:
    """Finds rules that tell nothing, or nothing that another one does not.

    Args:
        votes: `(N, M)` integers with -1 for abstain, a sparse matrix that stores `vote + 1`, or `Buckets`.

    Returns:
        `DoubtfulRules`. A dead rule is no duplicate.

    Raises:
        WeakSupervisionError: As `check_votes`.

    Example:
        >>> doubtful_rules([[0, 1, -1, 0], [1, 1, -1, 1]])
        DoubtfulRules(dead=(2,), constant=(1,), duplicates=((0, 3),))
    """
    rows = as_buckets(votes, num_classes=MAX_CLASSES, keep_sparse=True).rows
    num_rows, num_rules = rows.shape
    by_rule = sparse.csc_array(rows) if sparse.issparse(rows) else rows
    dead, constant = [], []
    alike: dict[tuple[bytes, ...], list[int]] = collections.defaultdict(list)
    for place in range(num_rules):
        if sparse.issparse(by_rule):
            span = slice(by_rule.indptr[place], by_rule.indptr[place + 1])
            there, said = by_rule.indices[span], by_rule.data[span]
        else:
            there = np.flatnonzero(by_rule[:, place] >= 0)
            said = by_rule[there, place]
        if not len(there):
            dead.append(place)
            continue
        if len(there) == num_rows and said.min() == said.max():
            constant.append(place)
        alike[there.tobytes(), said.tobytes()].append(place)
    groups = sorted(tuple(group) for group in alike.values() if len(group) > 1)
    return DoubtfulRules(tuple(dead), tuple(constant), tuple(groups))


def rule_summary(votes: Any, labels: ArrayLike | None = None, *, names: Iterable[Any] | None = None) -> list[dict]:
    """Describes each rule by its votes and, with labels, by how often it is right.

    Args:
        votes: `(N, M)` integers with -1 for abstain, a sparse matrix that stores `vote + 1`, or `Buckets` (with
            `inverse` where there are labels).
        labels: `(N,)` true classes, -1 where unknown.
        names: M names, or the rules themselves.

    Returns:
        One dict for each rule, in order. `rule` is its number, `name` its name, `polarity` the classes it names,
        `votes` their number; shares of all rows are `coverage` (it votes), `overlaps` (another rule votes as well) and
        `conflicts` (another one says another class). With labels `correct` and `incorrect` count its votes on labelled
        rows, `accuracy` is the share of the correct with its 95 % Wilson interval `low` to `high` (NaN without such
        votes). `notes` says what is doubtful: a rule that never votes, always says the same, equals another one, or is
        right less often than its votes would be on rows in random order.

    Raises:
        WeakSupervisionError: As `check_votes`; or labels or names that do not fit.

    Example:
        >>> rows = rule_summary([[0, 0, -1], [1, -1, -1], [1, 0, 1], [-1, -1, -1]], [0, 1, 1, 0])
        >>> print(format_summary(rows))
        rule    polarity  coverage  overlaps  conflicts  correct  incorrect  accuracy  95 %           notes
        rule 0  0, 1      0.750     0.500     0.250      3        0          1.000     0.439 - 1.000
        rule 1  0         0.500     0.500     0.250      1        1          0.500     0.095 - 0.905
        rule 2  1         0.250     0.250     0.250      1        0          1.000     0.207 - 1.000
    """
    buckets = as_buckets(votes, num_classes=MAX_CLASSES, keep_sparse=True)
    num_rules = buckets.rows.shape[1]
    shown = [f"rule {place}" for place in range(num_rules)] if names is None else [_name(name) for name in names]
    if len(shown) != num_rules:
        raise WeakSupervisionError(f"names has {len(shown)} entries for {num_rules} rules")
    truth = None if labels is None else _label_counts(buckets, labels)
    counted = _count(buckets, truth)
    total = max(int(buckets.counts.sum()), 1)
    notes = _notes(doubtful_rules(buckets), shown)
    shares = None if truth is None else truth.sum(0) / max(truth.sum(), 1)
    rows = []
    for place, name in enumerate(shown):
        said = counted.said[place]
        row: dict[str, Any] = {
            "rule": place,
            "name": name,
            "polarity": np.flatnonzero(said).tolist(),
            "votes": int(said.sum()),
            "coverage": float(said.sum() / total),
            "overlaps": float(counted.overlaps[place] / total),
            "conflicts": float(counted.conflicts[place] / total),
        }
        if shares is not None:
            correct, known = int(counted.correct[place]), int(counted.known[place].sum())
            low, high = (
                stats.binomtest(correct, known).proportion_ci(method="wilson") if known else (math.nan, math.nan)
            )
            row |= {"correct": correct, "incorrect": known - correct}
            row |= {"accuracy": correct / known if known else math.nan, "low": float(low), "high": float(high)}
            chance = float(counted.known[place] @ shares / max(known, 1))
            if high < chance:
                notes[place].append(f"right less often than by chance ({chance:.3f})")
        rows.append(row | {"notes": notes[place]})
    return rows


def format_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `rule_summary` as a table for the terminal.

    >>> print(format_summary(rule_summary([[0, -1], [0, -1]], names=["always", "never"])))
    rule    polarity  coverage  overlaps  conflicts  notes
    always  0         1.000     0.000     0.000      says the same on every row
    never             0.000     0.000     0.000      never votes
    """
    shares = ("coverage", "overlaps", "conflicts")
    judged = bool(rows) and "accuracy" in rows[0]
    table = [["rule", "polarity", *shares, *(["correct", "incorrect", "accuracy", "95 %"] if judged else []), "notes"]]
    for row in rows:
        cells = [row["name"], ", ".join(map(str, row["polarity"])), *(f"{row[share]:.3f}" for share in shares)]
        if judged:
            cells += [str(row["correct"]), str(row["incorrect"])]
            known = not math.isnan(row["accuracy"])
            cells += [f"{row['accuracy']:.3f}", f"{row['low']:.3f} - {row['high']:.3f}"] if known else ["", ""]
        table.append([*cells, "; ".join(row["notes"])])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    return "\n".join(line.rstrip() for line in lines)


class _Counts(NamedTuple):
    """Of each rule: votes for each class, those that are not alone, those with which another rule disagrees, votes for
    each class on labelled rows, and the correct ones."""

    said: np.ndarray
    overlaps: np.ndarray
    conflicts: np.ndarray
    known: np.ndarray
    correct: np.ndarray


def _count(buckets: Buckets, truth: np.ndarray | None) -> _Counts:
    num_rules = buckets.rows.shape[1]
    classes = _num_classes(buckets.rows) if truth is None else truth.shape[1]
    shape = (num_rules, classes)
    labelled = None if truth is None else truth.sum(1)
    sums = _Counts(np.zeros(shape), np.zeros(num_rules), np.zeros(num_rules), np.zeros(shape), np.zeros(num_rules))
    for start, row, place, said in _cells(buckets.rows):
        weights = buckets.counts[start:][row].astype(np.float64)  # exact below 2^53
        first = np.flatnonzero(np.diff(row, prepend=-1))  # of each row's votes
        length = np.diff(first, append=len(row))
        several = np.repeat(length > 1, length)
        split = np.repeat(np.minimum.reduceat(said, first) != np.maximum.reduceat(said, first), length)
        cell = place * classes + said
        sums.said[:] += np.bincount(cell, weights, num_rules * classes).reshape(shape)
        sums.overlaps[:] += np.bincount(place, weights * several, num_rules)
        sums.conflicts[:] += np.bincount(place, weights * split, num_rules)
        if truth is not None and labelled is not None:
            sums.known[:] += np.bincount(cell, labelled[start:][row], num_rules * classes).reshape(shape)
            sums.correct[:] += np.bincount(place, truth[start + row, said], num_rules)
    return sums


def _num_classes(rows: Any) -> int:
    """One more than the highest vote, at least 1."""
    highest = int(rows.max()) if rows.shape[0] else -1
    return max(highest + (0 if sparse.issparse(rows) else 1), 1)


def _cells(rows: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Votes that are no abstention, block by block: the block's first row, then row in it, rule and class of each."""
    step = max(1, _CELLS // rows.shape[1])
    for start in range(0, rows.shape[0], step):
        block = rows[start : start + step]
        if sparse.issparse(block):
            row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            place, said = block.indices, block.data - 1
        else:
            row, place = np.nonzero(block >= 0)
            said = block[row, place]
        if len(row):
            yield start, row, place.astype(np.int64), said.astype(np.int64)


def _label_counts(buckets: Buckets, labels: ArrayLike) -> np.ndarray:
    """Rows of each bucket with each label, float64 (R, C); unknown labels are left out."""
    if buckets.inverse is None:
        raise WeakSupervisionError("labels need the rows of votes: merged buckets hold no inverse")
    truth = as_labels("labels", labels, low=-1, high=MAX_CLASSES)
    if len(truth) != len(buckets.inverse):
        raise WeakSupervisionError(f"labels has {len(truth)} entries for {len(buckets.inverse)} rows of votes")
    there, width = truth >= 0, max(int(truth.max()) + 1, _num_classes(buckets.rows))
    places = buckets.inverse[there].astype(np.int64) * width + truth[there]
    counts = np.bincount(places, minlength=len(buckets.counts) * width)
    return counts.reshape(-1, width).astype(np.float64)


def _notes(found: DoubtfulRules, names: Sequence[str]) -> list[list[str]]:
    notes: list[list[str]] = [[] for _ in names]
    for place in found.dead:
        notes[place].append("never votes")
    for place in found.constant:
        notes[place].append("says the same on every row")
    for group in found.duplicates:
        for place in group:
            others = [names[other] for other in group if other != place]
            notes[place].append(f"votes as {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}")
    return notes


def _name(given: Any) -> str:
    return str(getattr(given, "name", given))
