"""Buckets: the distinct rows of votes and how often each occurs, which is all that fitting needs.

Buckets of chunks, processes or machines merge into the buckets of the whole, the same to the last bit in any order.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from scipy import sparse

from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes, check_votes, dense_votes

_TABLE = 1 << 22  # so many possible rows are counted in a table; more are hashed
_EXACT = 1 << 53  # whole numbers up to here are exact in float64


class Buckets(NamedTuple):
    """Distinct rows of votes, in lexicographic order.

    Attributes:
        rows: int8 `(R, M)`, -1 abstains; or, compressed from a sparse matrix, an int8 `csr_array` that stores
            `vote + 1` (`dense_votes` makes it an array).
        counts: int64 `(R,)`, 1 or more.
        inverse: int `(N,)`, each row's bucket, `rows[inverse]` being the votes; None after a merge.
    """

    rows: Any
    counts: np.ndarray
    inverse: np.ndarray | None = None


def compress(votes: ArrayLike | sparse.sparray | sparse.spmatrix) -> Buckets:
    """Distinct rows of votes with their counts, exactly: `rows[inverse] == votes`, `counts.sum() == N`.

    A row is packed into one number where `(C + 1)^M` allows, and into several that refine each other where not.

    Args:
        votes: `(N, M)` integers with -1 for abstain, or a sparse matrix that stores `vote + 1`.

    Returns:
        `Buckets` with `inverse`; its rows are sparse where the votes are.

    Raises:
        WeakSupervisionError: As `check_votes`.

    Example:
        >>> compress([[1, 0], [-1, 1], [1, 0]])
        Buckets(rows=array([[-1,  1],
               [ 1,  0]], dtype=int8), counts=array([1, 2]), inverse=array([1, 0, 1], dtype=int32))
    """
    checked = check_votes(votes, keep_sparse=True)
    rows, ids = _distinct(checked)
    return Buckets(rows, np.bincount(ids, minlength=rows.shape[0]), ids)


def merge_buckets(*buckets: Buckets) -> Buckets:
    """Buckets of all rows together; addition of counts, so that order and grouping do not matter.

    Args:
        buckets: One or more `Buckets` of the same rules.

    Returns:
        `Buckets` without `inverse`; rows are sparse where those of any argument are.

    Raises:
        WeakSupervisionError: No argument, something else than `Buckets`, or other numbers of rules.

    Example:
        >>> merge_buckets(compress([[1, 0]]), compress([[-1, 1], [1, 0]]))
        Buckets(rows=array([[-1,  1],
               [ 1,  0]], dtype=int8), counts=array([1, 2]), inverse=None)
    """
    for i, given in enumerate(buckets):
        if not isinstance(given, Buckets):
            raise WeakSupervisionError(f"buckets[{i}] is a {type(given).__name__}: compress votes first")
    widths = sorted({given.rows.shape[1] for given in buckets})
    if len(widths) != 1:
        found = f"they have {widths} rules" if widths else "there is none"
        raise WeakSupervisionError(f"buckets to merge must be of the same rules; {found}")
    all_rows = [given.rows for given in buckets]
    if any(sparse.issparse(rows) for rows in all_rows):
        stacked = sparse.vstack([_sparse_rows(rows) for rows in all_rows], format="csr")
    else:
        stacked = np.concatenate(all_rows)
    rows, ids = _distinct(stacked)
    counts = np.zeros(rows.shape[0], np.int64)
    np.add.at(counts, ids, np.concatenate([given.counts for given in buckets]))
    return Buckets(rows, counts)


def compress_chunks(chunks: Iterable[Any]) -> Buckets:
    """Buckets of votes that come chunk by chunk and never lie in memory together.

    Args:
        chunks: Arrays or sparse matrices of votes as `compress` takes them, or `Buckets`; at least one.

    Returns:
        `Buckets` without `inverse`, equal to those of all votes at once.

    Raises:
        WeakSupervisionError: As `compress` and `merge_buckets`; the message names the chunk.

    Example:
        >>> compress_chunks([[[1, 0]], [[-1, 1], [1, 0]]]).counts
        array([1, 2])
    """
    merged: list[Buckets] = []
    waiting: list[Buckets] = []
    for number, chunk in enumerate(chunks):
        try:
            waiting.append(chunk if isinstance(chunk, Buckets) else compress(chunk)._replace(inverse=None))
        except WeakSupervisionError as error:
            raise WeakSupervisionError(f"chunk {number}: {error}") from error
        # Merging when as much waits as is merged already keeps the work linear and the memory at twice the buckets.
        if sum(len(given.counts) for given in waiting) >= sum(len(given.counts) for given in merged):
            merged, waiting = [merge_buckets(*merged, *waiting)], []
    return merge_buckets(*merged, *waiting)


def as_buckets(votes: Any, *, num_classes: int, keep_sparse: bool = False) -> Buckets:
    """Checked `Buckets` of what a user gave: votes, sparse votes, or `Buckets`.

    Args:
        votes: As `compress` takes them, or `Buckets`.
        num_classes: C; every vote must be below it.
        keep_sparse: Leave sparse rows sparse; otherwise they come back as an int8 array.

    Returns:
        `Buckets`; `inverse` is None where that of the given buckets is.

    Raises:
        WeakSupervisionError: As `check_votes`, or counts that do not fit the rows.

    Example:
        >>> as_buckets([[1, 0], [1, 0]], num_classes=2).counts
        array([2])
    """
    classes = check_num_classes(num_classes)
    if isinstance(votes, Buckets):
        rows = check_votes(votes.rows, num_classes=classes, keep_sparse=keep_sparse)
        counts = np.asarray(votes.counts)
        if counts.shape != rows.shape[:1] or counts.dtype.kind not in "iu" or (counts < 1).any():
            raise WeakSupervisionError(
                f"buckets: counts must be {rows.shape[0]} whole numbers from 1, one for each row"
            )
        return Buckets(rows, counts, votes.inverse)
    buckets = compress(check_votes(votes, num_classes=classes, keep_sparse=True))
    return buckets if keep_sparse else buckets._replace(rows=dense_votes(buckets.rows))


def _sparse_rows(rows: Any) -> sparse.csr_array:
    return rows if sparse.issparse(rows) else sparse.csr_array(rows + np.int8(1))


def _distinct(votes: Any) -> tuple[Any, np.ndarray]:
    """The distinct rows in lexicographic order, and each row's place among them, int32 (N,)."""
    ids = _sparse_ids(votes) if sparse.issparse(votes) else _dense_ids(votes)
    first = np.empty(int(ids.max()) + 1 if len(ids) else 0, np.int64)
    first[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)
    return votes[first], ids


def _dense_ids(votes: np.ndarray) -> np.ndarray:
    """Each row's rank among the distinct rows, by words of as many columns as a float64 holds exactly."""
    num_rows, num_rules = votes.shape
    base = int(votes.max(initial=0)) + 2
    width = 1
    while width < num_rules and base ** (width + 1) <= _EXACT:
        width += 1
    starts = range(0, num_rules, width)

    def word(k: int, rows: np.ndarray | slice) -> np.ndarray:
        columns = slice(starts[k], min(starts[k] + width, num_rules))
        return _pack(votes[rows, columns], base)

    if base**num_rules <= min(_TABLE, 4 * num_rows):
        keys = word(0, slice(None))
        there = np.bincount(keys, minlength=1) > 0
        return (np.cumsum(there, dtype=np.int32) - np.int32(1))[keys]
    return _refine(num_rows, word, lambda k, rows: np.full(len(rows), k < len(starts)))


def _pack(digits: np.ndarray, base: int) -> np.ndarray:
    """Rows of votes as int64 numbers to `base`, the first column the most significant."""
    powers = np.float64(base) ** np.arange(digits.shape[1] - 1, -1, -1)
    keys = np.empty(len(digits), np.int64)
    for start in range(0, len(digits), 1 << 16):  # a product in float64 is several times faster than one of integers
        block = digits[start : start + (1 << 16)].astype(np.float64)
        block += 1
        keys[start : start + (1 << 16)] = block @ powers
    return keys


def _sparse_ids(stored: sparse.csr_array) -> np.ndarray:
    """Each row's rank among the distinct rows, from what is stored: a vote further left outranks all to its right."""
    codes = (stored.shape[1] - stored.indices.astype(np.int64)) * 128 + stored.data
    lengths = np.diff(stored.indptr)

    def word(k: int, rows: np.ndarray | slice) -> np.ndarray:
        places = stored.indptr[:-1][rows] + k
        inside = k < lengths[rows]
        return (
            np.where(inside, codes[np.where(inside, places, 0)], 0) if len(codes) else np.zeros(len(places), np.int64)
        )

    return _refine(stored.shape[0], word, lambda k, rows: k < lengths[rows])


def _refine(
    num_rows: int,
    word: Callable[[int, Any], np.ndarray],
    more: Callable[[int, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Ranks rows by their words, the first the most significant; equal rows share a rank.

    `word(k, rows)` gives the k-th words, 0 past a row's end, and `more(k, rows)` whether there are any. Only rows that
    are still tied with another one are looked at again.
    """
    place, sizes = _ranks(word(0, slice(None)))
    start = np.concatenate([[0], np.cumsum(sizes)])[place]  # rows before this row's class, in sorted order
    active = np.flatnonzero(sizes[place] > 1)
    k = 1
    while len(active):
        going, _ = _ranks(start[active])
        some = np.zeros(going.max() + 1, bool)
        some[going[more(k, active)]] = True
        active, going = active[some[going]], going[some[going]]
        if not len(active):
            break
        words, word_counts = _ranks(word(k, active))
        place, sizes = _ranks(going * len(word_counts) + words)
        before = np.concatenate([[0], np.cumsum(sizes)])[place]
        lowest = np.full(going.max() + 1, num_rows, np.int64)
        np.minimum.at(lowest, going, before)
        start[active] += before - lowest[going]
        active = active[sizes[place] > 1]
        k += 1
    return _ranks(start)[0].astype(np.int32)


def _ranks(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key's rank among the distinct ones, and how often each of these occurs."""
    codes, distinct = pd.factorize(keys)
    order = np.argsort(distinct)
    rank = np.empty(len(distinct), np.int64)
    rank[order] = np.arange(len(distinct))
    return rank[codes], np.bincount(codes, minlength=len(distinct))[order]
