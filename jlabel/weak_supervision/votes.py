"""From rows to votes, and from votes to the class most rules name."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from scipy import sparse as scipy_sparse

from jlabel.data.rule_calls import OnError
from jlabel.data.rule_votes import rule_votes
from jlabel.data.rules import Rule, check_rules
from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import MAX_CLASSES, check_num_classes, check_votes

_CELLS = 1 << 22  # votes counted at a time


def apply_rules(
    rules: Iterable[Rule | Callable[[Any], Any]],
    data: Any,
    *,
    workers: int = 0,
    chunk_size: int | None = None,
    on_error: OnError = "raise",
    num_classes: int | None = None,
    sparse: bool = False,
) -> Any:
    """Votes of every rule on every row.

    Args:
        rules: M rules; plain functions of a row, or Snorkel's labeling functions, do as well.
        data: A pandas DataFrame (or what has `to_pandas`), a mapping of columns, an array, a sequence of rows
            (mappings, texts, any objects), or an iterator of them, of which a few chunks at most are held.
        workers: Processes to vote in; 0 votes in this one. Votes and their order are the same. Rules must then be
            importable, and a script must start its work under `if __name__ == "__main__"`.
        chunk_size: Rows voted on at a time; by default 10,000, or 100,000 where every rule is vectorised.
        on_error: `"raise"` stops at the first row on which a rule fails or gives no vote. `"abstain"` takes -1 there
            and gives one `RuleWarning` at the end: its text names each rule with the number of rows, the first one and
            the reason; its `failures` holds the same as `RuleFailure(rule, num_rows, first_row, reason)`.
        num_classes: C where votes from C on shall be failures too; otherwise votes up to 126 pass.
        sparse: Return a sparse matrix; for many rules of which few vote on a row.

    Returns:
        int8 `(N, M)`, -1 where a rule abstains, rows and rules in the order given. With `sparse` an int8 `csr_array`
        that stores `vote + 1`.

    Raises:
        RuleError: No rule, two of one name, a rule that fails (the message names rule and row), or a rule that cannot
            be sent to workers.
        InputError: Data that hold no rows, or columns of other lengths.

    Example:
        >>> from jlabel.weak_supervision import rule
        >>> @rule
        ... def asks(row):
        ...     return 1 if "?" in row.text else -1
        >>> @rule(vectorized=True)
        ... def short(rows):
        ...     return np.where([len(text) < 5 for text in rows.text], 0, -1)
        >>> apply_rules([asks, short], {"text": ["who?", "nobody"]})
        array([[ 1,  0],
               [-1, -1]], dtype=int8)
    """
    rules = check_rules(rules)
    chunks = apply_rules_chunks(
        rules, data, workers=workers, chunk_size=chunk_size, on_error=on_error, num_classes=num_classes, sparse=sparse
    )
    voted = list(chunks)
    if sparse:
        return scipy_sparse.vstack(voted or [_stored(np.zeros((0, len(rules)), np.int8))], format="csr")
    return np.concatenate(voted) if voted else np.zeros((0, len(rules)), np.int8)


def apply_rules_chunks(
    rules: Iterable[Rule | Callable[[Any], Any]],
    data: Any,
    *,
    workers: int = 0,
    chunk_size: int | None = None,
    on_error: OnError = "raise",
    num_classes: int | None = None,
    sparse: bool = False,
) -> Iterator[Any]:
    """As `apply_rules`, chunk by chunk, for rows that do not fit in memory together.

    `compress_chunks(apply_rules_chunks(rules, rows))` gives the buckets of a log of any length, which is all that
    fitting needs; buckets of several such logs or machines are joined by `merge_buckets`.

    Args:
        rules: As `apply_rules` takes them, like all that follows.
        data: Rows; mostly an iterator.
        workers: Processes.
        chunk_size: Rows of a chunk.
        on_error: The warning of `"abstain"` comes after the last chunk.
        num_classes: C, or None.
        sparse: Yield sparse chunks.

    Returns:
        An iterator of int8 `(n, M)` arrays or of `csr_array`, in the order of the rows.

    Raises:
        RuleError: As `apply_rules`; about rules and settings at once, about rows when their chunk is reached.

    Example:
        >>> from jlabel.weak_supervision import compress_chunks, rule
        >>> odd = rule("odd")(lambda row: row % 2)
        >>> compress_chunks(apply_rules_chunks([odd], iter(range(7)), chunk_size=3)).counts
        array([4, 3])
    """
    votes = rule_votes(
        rules,
        data,
        workers=workers,
        chunk_size=chunk_size,
        on_error=on_error,
        num_classes=MAX_CLASSES if num_classes is None else check_num_classes(num_classes),
    )
    return map(_stored, votes) if sparse else votes


def _stored(votes: np.ndarray) -> scipy_sparse.csr_array:
    return scipy_sparse.csr_array(votes + np.int8(1))


def majority_vote(votes: Any, *, num_classes: int) -> np.ndarray:
    """Shares the probability of a row among the classes that most of its rules name.

    `p_c = [n_c = max n] / |{k: n_k = max n}|` with `n_c` votes for class c: ties share, and a row on which every rule
    abstains is uniform.

    Args:
        votes: `(N, M)` integers with -1 for abstain, a sparse matrix that stores `vote + 1`, or `Buckets` for (R, C).
        num_classes: C.

    Returns:
        float64 `(N, C)`, rows sum to 1.

    Raises:
        WeakSupervisionError: As `check_votes`.

    Example:
        >>> majority_vote([[1, 1, 0], [0, 1, -1], [-1, -1, -1]], num_classes=2)
        array([[0. , 1. ],
               [0.5, 0.5],
               [0.5, 0.5]])
    """
    classes = check_num_classes(num_classes)
    checked = check_votes(votes.rows if isinstance(votes, Buckets) else votes, num_classes=classes, keep_sparse=True)
    probs = np.empty((checked.shape[0], classes))
    step = max(1, _CELLS // max(checked.shape[1], classes))
    for start in range(0, len(probs), step):
        counts = class_counts(checked[start : start + step], classes)
        # Columns, not rows: a maximum over a short row costs more than the row.
        highest = functools.reduce(np.maximum, counts)
        winners = counts == highest
        probs[start : start + step] = (winners / winners.sum(0)).T
    return probs


def class_counts(votes: Any, num_classes: int) -> np.ndarray:
    """How many rules name each class: integers `(C, N)` of checked votes, sparse or not.

    >>> class_counts(np.array([[1, 1, 0], [0, -1, -1]], np.int8), 2)
    array([[1, 1],
           [2, 0]], dtype=uint8)
    """
    num_rows = votes.shape[0]
    if scipy_sparse.issparse(votes):
        rows = np.repeat(np.arange(num_rows), np.diff(votes.indptr))
        places = (votes.data.astype(np.int64) - 1) * num_rows + rows
        return np.bincount(places, minlength=num_classes * num_rows).reshape(num_classes, num_rows)
    by_rule = np.ascontiguousarray(votes.T)  # sums over the long axis run many rows at once
    small = np.uint8 if len(by_rule) < 256 else np.int32
    return np.stack([np.add.reduce((by_rule == c).view(np.uint8), dtype=small) for c in range(num_classes)])
