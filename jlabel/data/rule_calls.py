"""Calling rules on one chunk of rows, and what to do where one fails."""

import functools
import operator
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jlabel.data.row_chunks import Chunk
from jlabel.data.rules import Rule, RuleError

_TRIES = 64  # failed calls in a chunk after which a rule of columns abstains on what is left of it

OnError = Literal["raise", "abstain"]


class RuleFailure(NamedTuple):
    """One rule's failures: its name, on how many rows, the first of them, and what happened there."""

    rule: str
    num_rows: int
    first_row: int
    reason: str


def vote_on_chunk(
    rules: Sequence[Rule], chunk: Chunk, on_error: OnError, num_classes: int
) -> tuple[np.ndarray, list[RuleFailure]]:
    """Votes int8 `(n, M)` of checked rules on one chunk, and the rules that failed."""
    votes = np.empty((chunk.size, len(rules)), np.int8)
    rows = [] if all(r.vectorized for r in rules) else chunk.rows()
    columns = functools.cache(chunk.columns)
    failures = []
    for place, given in enumerate(rules):
        log = _Log(given.name, chunk.start, on_error)
        if given.vectorized:
            votes[:, place] = _vote_on_columns(given.function, chunk, columns, num_classes, log)
        else:
            votes[:, place] = _vote_on_rows(given.function, rows, num_classes, log)
        if log.count:
            failures.append(RuleFailure(given.name, log.count, log.first, log.reason))
    return votes, failures


class _Log:
    """Failures of one rule on one chunk; raises at the first where it should."""

    def __init__(self, name: str, start: int, on_error: OnError):
        self.name, self.start, self.on_error = name, start, on_error
        self.count, self.first, self.reason = 0, sys.maxsize, ""

    def add(self, place: int, reason: str, error: Exception | None = None, count: int = 1) -> None:
        row = self.start + place
        if self.on_error == "raise":
            where = f"row {row}" if count == 1 else f"rows {row} to {row + count - 1}"
            message = f"rule {self.name!r} fails on {where}: {reason}; mend it, or let it abstain: on_error='abstain'"
            raise RuleError(message) from error
        self.count += count
        if row < self.first:
            self.first, self.reason = row, reason


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _vote_on_rows(function: Callable[[Any], Any], rows: list[Any], num_classes: int, log: _Log) -> np.ndarray:
    answers: list[Any] = []
    calls = map(function, rows)
    while len(answers) < len(rows):
        error: Exception = StopIteration()  # raised by a rule, it would end the loop without a word
        try:
            answers.extend(calls)
        except Exception as raised:
            error = raised
        if len(answers) < len(rows):
            log.add(len(answers), _said(error), error)
            answers.append(-1)
    return _as_votes(answers, num_classes, log, 0)


def _vote_on_columns(
    function: Callable[[Any], Any], chunk: Chunk, columns: Callable[[], Any], num_classes: int, log: _Log
) -> np.ndarray:
    """Halves what fails until the rows that do it are found."""
    votes = np.full(chunk.size, -1, np.int8)
    waiting, failed = [(0, chunk.size)], 0
    while waiting:
        low, high = waiting.pop()
        try:
            part = columns() if high - low == chunk.size else chunk.part(low, high).columns()
            answers = np.asarray(function(part))
            if answers.shape != (high - low,):
                raise RuleError(f"it returned shape {answers.shape} for {high - low} rows, not one vote for each row")
        except Exception as error:
            failed += 1
            if high - low == 1 or failed > _TRIES:
                log.add(low, _said(error), error, high - low)
            else:
                waiting += [((low + high) // 2, high), (low, (low + high) // 2)]
            continue
        votes[low:high] = _as_votes(answers, num_classes, log, low)
    return votes


def _as_votes(answers: Any, num_classes: int, log: _Log, offset: int) -> np.ndarray:
    """Answers as int8; one by one where something else than whole numbers in range is among them."""
    votes = None
    if isinstance(answers, list):
        try:
            votes = np.frombuffer(struct.pack(f"{len(answers)}b", *answers), np.int8)  # twice as fast as an array
        except struct.error:
            pass
    elif answers.dtype.kind in "biu" or (answers.dtype.kind == "f" and (answers == np.trunc(answers)).all()):
        votes = answers
    if votes is not None and (not len(votes) or (votes.min() >= -1 and votes.max() < num_classes)):
        return votes
    found = np.empty(len(answers), np.int8)
    for place, answer in enumerate(answers):
        vote = _whole_number(answer)
        if vote is None or not -1 <= vote < num_classes:
            shown = answer.item() if isinstance(answer, np.generic) else answer
            log.add(offset + place, f"its vote is {shown!r}; allowed: -1 (abstain) to {num_classes - 1}")
            vote = -1
        found[place] = vote
    return found


def _whole_number(answer: Any) -> int | None:
    if answer is None:
        return -1
    if isinstance(answer, bool | np.bool_):
        return int(answer)
    if isinstance(answer, float | np.floating):
        return int(answer) if float(answer).is_integer() else None
    try:
        return operator.index(answer)
    except TypeError:
        return None
