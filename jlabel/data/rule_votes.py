"""Votes of many rules on many rows, chunk by chunk."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jlabel.data.row_chunks import read_chunks
from jlabel.data.rule_calls import OnError, RuleFailure, vote_on_chunk
from jlabel.data.rule_workers import vote_in_workers
from jlabel.data.rules import Rule, RuleError, check_rules


class RuleWarning(UserWarning):
    """Rules that failed and abstained instead; `failures` lists them, one `RuleFailure` for each rule."""

    def __init__(self, failures: Sequence[RuleFailure]):
        self.failures = tuple(failures)
        shown = [f"{f.rule!r} on {f.num_rows} rows (first: row {f.first_row}, {f.reason})" for f in self.failures[:5]]
        more = f"; and {len(self.failures) - 5} more rules" if len(self.failures) > 5 else ""
        super().__init__(f"rules failed and abstain there: {'; '.join(shown)}{more}")


def rule_votes(
    rules: Iterable[Rule | Callable[[Any], Any]],
    data: Any,
    *,
    workers: int = 0,
    chunk_size: int | None = None,
    on_error: OnError = "raise",
    num_classes: int = 127,
) -> Iterator[np.ndarray]:
    """Votes of rules on rows, chunk by chunk in the order of the rows, of which it holds a few chunks at most.

    Args:
        rules: M rules, or plain functions of a row.
        data: Rows, as `read_chunks` takes them.
        workers: Processes to vote in; 0 votes in this one. They start afresh, so rules must be importable and a script
            must start its work under `if __name__ == "__main__"`. What they vote, and its order, is the same.
        chunk_size: Rows voted on at a time; by default 10,000, or 100,000 where every rule is vectorised.
        on_error: `"raise"` stops at the first rule that fails or whose vote is none; `"abstain"` puts -1 there, and
            gives one `RuleWarning` at the end with every rule's count.
        num_classes: C; votes must be below it.

    Returns:
        An iterator of int8 `(n, M)` arrays.

    Raises:
        RuleError: No rule, two of one name, a rule that fails (naming rule and row), or that cannot be sent to workers.
        InputError: Data that hold no rows.

    Example:
        >>> [votes.tolist() for votes in rule_votes([Rule("even", lambda n: 1 - n % 2)], range(3), chunk_size=2)]
        [[[1], [0]], [[1]]]
    """
    checked = check_rules(rules)
    if chunk_size is None:  # a call of a vectorised rule costs as much as some thousand rows
        chunk_size = 100_000 if all(given.vectorized for given in checked) else 10_000
    for name, value, low in (("workers", workers, 0), ("chunk_size", chunk_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise RuleError(f"{name} must be a whole number from {low}, got {value!r}")
    if on_error not in ("raise", "abstain"):
        raise RuleError(f"on_error must be 'raise' or 'abstain', got {on_error!r}")
    chunks = read_chunks(data, chunk_size)
    if workers:
        return _collect(vote_in_workers(checked, chunks, on_error, num_classes, workers))
    return _collect(vote_on_chunk(checked, chunk, on_error, num_classes) for chunk in chunks)


def _collect(voted: Iterator[tuple[np.ndarray, list[RuleFailure]]]) -> Iterator[np.ndarray]:
    """Passes votes on and gathers the failures into one warning."""
    total: dict[str, RuleFailure] = {}
    for votes, failures in voted:
        for found in failures:
            known = total.get(found.rule)
            total[found.rule] = known._replace(num_rows=known.num_rows + found.num_rows) if known else found
        yield votes
    if total:
        warnings.warn(RuleWarning(list(total.values())), stacklevel=3)
