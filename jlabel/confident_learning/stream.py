"""Label errors in data larger than memory, equal to the last bit to those found in memory."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import CheckedInputs, ConfidentLearningError, check_labels_and_probs, count_labels
from jlabel.confident_learning.count import Rule, check_rule, errors_of
from jlabel.confident_learning.filters import whole
from jlabel.confident_learning.joint import raise_diagonal
from jlabel.confident_learning.rank import margins_of, score_rows
from jlabel.confident_learning.scan import label_sums, scan, thresholds_from_sums

Chunk = tuple[ArrayLike, ArrayLike, ArrayLike]

_PASSES = ("first", "second", "third")
_ROWS, _CHECKSUM, _LOWEST, _HIGHEST, _CLIPPED = range(5)  # places in `seen`
_SLACK = 1 << 16  # rows held beyond the wanted ones before they are sorted out


class StreamState(NamedTuple):
    """What a stream has done so far, as plain arrays.

    Save it with ``np.savez(file, **state._asdict())`` and read it with ``StreamState(**np.load(file))``.
    """

    passes: np.ndarray  # int64 (): passes done
    chunks: np.ndarray  # int64 (): chunks done of the present pass
    capacity: np.ndarray  # int64 (): rows kept at most; -1: all that prefer another class
    first_seen: np.ndarray  # int64 (5,): rows, checksum, lowest and highest number, clipped rows of the first pass
    first_sums: np.ndarray  # int64 (C,): its fixed-point sums of the given label's probability
    first_counts: np.ndarray  # int64 (C,): its rows with each label
    seen: np.ndarray  # the same three of the present pass
    sums: np.ndarray
    counts: np.ndarray
    joint: np.ndarray  # int64 (C, C): confident joint so far
    rows: np.ndarray  # int64 (K,): worst rows so far
    scores: np.ndarray  # float64 (K,): their margins


class StreamResult(NamedTuple):
    """Label errors found in a stream."""

    joint: np.ndarray  # int32 (C, C), by given label and confident class
    thresholds: np.ndarray  # float64 (C,), infinite for classes without rows
    num_errors: float  # estimated number of wrong labels
    indices: np.ndarray  # int64 (flagged,), row numbers, worst first, equal scores by row number
    scores: np.ndarray  # float64 (flagged,), their normalized margins
    label_counts: np.ndarray  # int64 (C,), rows with each label
    num_clipped: int  # rows whose probabilities were clipped or renormalised


def find_errors_streaming(
    chunks_fn: Callable[[], Iterable[Chunk]],
    *,
    num_classes: int,
    rule: Rule = "calibrated",
    max_errors: int | None = None,
    state: StreamState | None = None,
    save: Callable[[StreamState], object] | None = None,
) -> StreamResult:
    """Finds label errors in chunks, in two or three passes, with the memory of one chunk and the flagged rows.

    Pass 1: thresholds. Pass 2: the confident joint, and the rows that prefer another class, worst first. Pass 3 only
    where more rows are to be flagged than prefer another class. All sums are of integers (``round(p * 2^32)``), and
    equal scores are ordered by row number: neither the size of the chunks nor the order of the rows changes a bit of
    the result, which is that of ``find_errors(labels, probs, rule=rule)``.

    Args:
      chunks_fn: called once a pass; returns an iterable of ``(row numbers, labels, probs)``: distinct integers
        ``(B,)`` in any order, integers ``(B,)`` in ``[0, C)``, and ``(B, C)`` probabilities. Every pass must give the
        same rows.
      num_classes: C.
      rule: how the number of errors is estimated (`count_errors`); so many rows are flagged, rounded down.
      max_errors: flag at most so many, which bounds the memory; default: no bound.
      state: continue from here; ``chunks_fn`` must give the same chunks as before up to there (they are skipped).
      save: called with the state after each chunk, so that a killed job can go on.

    Returns:
      ``StreamResult``.

    Raises:
      ConfidentLearningError: bad rows (see ``check_labels_and_probs``), a row number given twice, passes that differ,
        or a state of another job.

    Example:
      >>> labels = np.array([0] * 8 + [1] * 2)
      >>> probs = np.array([[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
      >>> def chunks():
      ...     for start in range(0, 10, 4):
      ...         rows = np.arange(start, min(start + 4, 10))
      ...         yield rows, labels[rows], probs[rows]
      >>> found = find_errors_streaming(chunks, num_classes=2)
      >>> round(found.num_errors, 6), found.indices.tolist()
      (1.142857, [7])
    """
    check_rule(rule)
    if num_classes < 1:
        raise ConfidentLearningError(f"num_classes must be 1 or more, got {num_classes}")
    if max_errors is not None and max_errors < 0:
        raise ConfidentLearningError(f"max_errors must be 0 or more, or None for no bound, got {max_errors}")
    capacity = -1 if max_errors is None else max_errors
    work = _Pass(_empty_state(num_classes, capacity) if state is None else _check_state(state, num_classes, capacity))

    if work.passes == 0:
        work.run(chunks_fn, work.add_thresholds, save)
        if not work.seen[_ROWS]:
            raise ConfidentLearningError("chunks_fn() gave no rows: it must start a fresh pass each time it is called")
        work.next_pass(capacity)
    thresholds = thresholds_from_sums(work.first[1], work.first[2])
    if work.passes == 1:
        work.run(chunks_fn, functools.partial(work.add_joint, thresholds=thresholds), save)
        work.check_same()
    counts = work.first[2]
    joint = raise_diagonal(work.joint, counts)
    num_errors = errors_of(joint, counts, rule)
    num = whole(num_errors) if max_errors is None else min(whole(num_errors), max_errors)
    if work.passes == 1 and num > work.worst.size:
        work.next_pass(num)
    if work.passes == 2:
        work.run(chunks_fn, work.add_margins, save)
        work.check_same()
    rows, scores = work.worst.arrays()
    return StreamResult(
        joint.astype(np.int32), thresholds, num_errors, rows[:num], scores[:num], counts, int(work.first[0][_CLIPPED])
    )


def _empty_state(num_classes: int, capacity: int) -> StreamState:
    """Nothing done."""
    number = np.array(0, np.int64)
    per_class = np.zeros(num_classes, np.int64)
    joint = np.zeros((num_classes, num_classes), np.int64)
    tally = (_nothing_seen(), per_class, per_class)
    return StreamState(
        number, number, np.array(capacity, np.int64), *tally, *tally, joint, np.zeros(0, np.int64), np.zeros(0)
    )


def _nothing_seen() -> np.ndarray:
    limits = np.iinfo(np.int64)
    return np.array([0, 0, limits.max, limits.min, 0])


def _check_state(state: StreamState, num_classes: int, capacity: int) -> StreamState:
    """The state, where it is one of this job."""
    state = StreamState(*(np.asarray(field) for field in state))
    if state.joint.shape != (num_classes, num_classes):
        raise ConfidentLearningError(f"state is of {len(state.joint)} classes, num_classes is {num_classes}")
    if int(state.passes) < 2 and int(state.capacity) != capacity:
        raise ConfidentLearningError(
            f"state was saved with max_errors={_bound(int(state.capacity))}, now it is {_bound(capacity)}: keep it"
        )
    return state


def _bound(capacity: int) -> int | None:
    return None if capacity < 0 else capacity


class _Worst:
    """Rows with the lowest scores, at most ``capacity`` (-1: all)."""

    def __init__(self, capacity: int, rows: np.ndarray, scores: np.ndarray):
        self.capacity = capacity
        self.parts = [(rows, scores)]
        self.size = len(rows)

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        self.parts.append((rows, scores))
        self.size += len(rows)
        if self.capacity >= 0 and self.size > 2 * self.capacity + _SLACK:
            self.arrays()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and scores, worst first; a row that stands there twice is an error."""
        rows, scores = (np.concatenate(parts) for parts in zip(*self.parts, strict=True))
        order = np.lexsort((rows, scores))
        twice = np.flatnonzero(np.diff(np.sort(rows)) == 0)
        if len(twice):
            raise ConfidentLearningError(f"row number {np.sort(rows)[twice[0]]} is given twice: each row needs its own")
        if self.capacity >= 0:
            order = order[: self.capacity]
        self.parts = [(rows[order], scores[order])]
        self.size = len(order)
        return self.parts[0]


class _Pass:
    """The state while it is worked on."""

    def __init__(self, state: StreamState):
        self.passes, self.chunks = int(state.passes), int(state.chunks)
        self.first = (state.first_seen, state.first_sums, state.first_counts)
        self.seen, self.sums, self.counts = state.seen.copy(), state.sums.copy(), state.counts.copy()
        self.joint = state.joint.copy()
        self.worst = _Worst(int(state.capacity), state.rows, state.scores)

    def state(self) -> StreamState:
        """A snapshot."""
        rows, scores = self.worst.arrays()
        passes, chunks, capacity = (np.array(n, np.int64) for n in (self.passes, self.chunks, self.worst.capacity))
        tally = (self.seen.copy(), self.sums.copy(), self.counts.copy())
        return StreamState(passes, chunks, capacity, *self.first, *tally, self.joint.copy(), rows, scores)

    def next_pass(self, capacity: int) -> None:
        """Closes a pass."""
        if self.passes == 0:
            self.first = (self.seen, self.sums, self.counts)
        self.passes, self.chunks = self.passes + 1, 0
        self.seen, self.sums, self.counts = _nothing_seen(), np.zeros_like(self.sums), np.zeros_like(self.counts)
        self.worst = _Worst(capacity, np.zeros(0, np.int64), np.zeros(0))

    def run(
        self,
        chunks_fn: Callable[[], Iterable[Chunk]],
        add: Callable[[np.ndarray, np.ndarray, np.ndarray], CheckedInputs],
        save: Callable[[StreamState], object] | None,
    ) -> None:
        """One pass, from the first chunk that is not done."""
        number = -1
        for number, chunk in enumerate(chunks_fn()):
            if number < self.chunks:
                continue
            rows, labels, probs = self._check(number, chunk)
            if len(rows):
                try:
                    self._tally(rows, add(rows, labels, probs))
                except ConfidentLearningError as error:
                    raise ConfidentLearningError(f"chunk {number}: {error}") from error
            self.chunks = number + 1
            if save is not None:
                save(self.state())
        if number + 1 < self.chunks:
            raise ConfidentLearningError(
                f"chunks_fn() gave {number + 1} chunks, but state has done {self.chunks}: it is of other chunks"
            )

    def _check(self, number: int, chunk: Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row numbers, labels and probabilities whose shapes fit."""
        try:
            rows, labels, probs = chunk
        except (TypeError, ValueError) as error:
            raise ConfidentLearningError(f"chunk {number} must be (row numbers, labels, probs)") from error
        rows, probs = np.asarray(rows), np.asarray(probs)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise ConfidentLearningError(
                f"chunk {number}: row numbers must be (rows,) integers, got {rows.dtype} of shape {rows.shape}"
            )
        if probs.ndim != 2 or probs.shape[1] != len(self.sums) or len(probs) != len(rows):
            raise ConfidentLearningError(
                f"chunk {number}: probs must be {(len(rows), len(self.sums))}, rows and num_classes, got {probs.shape}"
            )
        rows = rows.astype(np.int64)
        if not (np.diff(rows) > 0).all():
            known, times = np.unique(rows, return_counts=True)
            if times.max() > 1:
                raise ConfidentLearningError(f"chunk {number}: row number {known[np.argmax(times)]} is given twice")
        return rows, np.asarray(labels), probs

    def _tally(self, rows: np.ndarray, checked: CheckedInputs) -> None:
        """Counts the rows of a chunk, so that the passes can be compared."""
        self.sums += label_sums(checked.labels, checked.probs)
        self.counts += count_labels(checked.labels, len(self.counts))
        lowest, highest = min(self.seen[_LOWEST], rows.min()), max(self.seen[_HIGHEST], rows.max())
        checksum = self.seen[_CHECKSUM : _CHECKSUM + 1] + _checksum(rows, checked.labels)  # arrays wrap around silently
        self.seen = np.array(
            [self.seen[_ROWS] + len(rows), checksum[0], lowest, highest, self.seen[_CLIPPED] + checked.num_clipped]
        )
        if self.seen[_ROWS] > int(highest) - int(lowest) + 1:
            raise ConfidentLearningError(
                f"{self.seen[_ROWS]} rows have numbers from {lowest} to {highest}: "
                "some are given twice, or state is of other chunks"
            )

    def check_same(self) -> None:
        """Raises unless this pass gave the rows of the first."""
        name = f"the {_PASSES[self.passes]} pass over chunks_fn()"
        seen, sums, counts = self.first
        advice = "every call must give the same rows"
        if self.seen[_ROWS] != seen[_ROWS]:
            raise ConfidentLearningError(f"{name} gave {self.seen[_ROWS]} rows, the first {seen[_ROWS]}: {advice}")
        if (self.seen != seen).any() or (self.counts != counts).any():
            raise ConfidentLearningError(f"{name} gave other row numbers or labels than the first: {advice}")
        if (self.sums != sums).any():
            label = int(np.argmax(self.sums != sums))
            raise ConfidentLearningError(
                f"{name} gave other probabilities than the first, for example of label {label}: {advice}"
            )

    def add_thresholds(self, rows: np.ndarray, labels: np.ndarray, probs: np.ndarray) -> CheckedInputs:
        """Pass 1: the tally is all it takes."""
        return check_labels_and_probs(labels, probs)

    def add_joint(
        self, rows: np.ndarray, labels: np.ndarray, probs: np.ndarray, thresholds: np.ndarray
    ) -> CheckedInputs:
        """Pass 2: the joint, and the rows that prefer another class."""
        found = scan(labels, probs, thresholds=thresholds, agreement=True)
        self.joint += found.joint
        suspects = np.flatnonzero(~found.agree)
        margins = margins_of(*found.checked[:2], suspects)
        self.worst.add(rows[suspects[margins < 0]], margins[margins < 0])  # a tie may go either way: pass 3 decides
        return found.checked

    def add_margins(self, rows: np.ndarray, labels: np.ndarray, probs: np.ndarray) -> CheckedInputs:
        """Pass 3: the worst rows, whatever they prefer."""
        checked = check_labels_and_probs(labels, probs)
        self.worst.add(rows, score_rows(checked, "normalized_margin"))
        return checked


def _checksum(rows: np.ndarray, labels: np.ndarray) -> np.int64:
    """A number that does not depend on the order of the rows, but on each row number with its label."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + labels.astype(np.uint64)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return mixed.view(np.int64).sum()
