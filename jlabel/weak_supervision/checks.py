"""Checks of what users hand in, on the host, once, at the public edge.

Votes come as integers `(N, M)`, one row per example and one column per rule, -1 where the rule abstains. Where most
rules abstain on most rows they may come as a SciPy sparse matrix that stores `vote + 1`, so that what is not stored
is an abstention.
"""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from scipy import sparse

from jlabel.errors import InputError

MAX_CLASSES = 127  # a vote plus one has to fit in int8


class WeakSupervisionError(InputError):
    """Votes, rules or settings that cannot be used; the message says which, where and what to do."""


def check_num_classes(num_classes: Any) -> int:
    """Returns the number of classes, 2 to 127.

    >>> check_num_classes(3)
    3
    """
    if isinstance(num_classes, bool | np.bool_) or not isinstance(num_classes, int | np.integer):
        raise WeakSupervisionError(f"num_classes must be an integer, got {num_classes!r}")
    if not 2 <= num_classes <= MAX_CLASSES:
        raise WeakSupervisionError(f"num_classes must be 2 to {MAX_CLASSES}, got {num_classes}")
    return int(num_classes)


def check_votes(
    votes: ArrayLike | sparse.sparray | sparse.spmatrix, *, num_classes: int | None = None, keep_sparse: bool = False
) -> Any:
    """Returns votes as int8 `(N, M)`, every one of them -1 (abstain) or a class.

    Args:
        votes: `(N, M)` integers, or floats and booleans that are whole numbers; or a sparse matrix that stores
            `vote + 1`. N may be 0, M may not.
        num_classes: C, votes must be below it; None allows every class up to 126.
        keep_sparse: Leave a sparse matrix sparse.

    Returns:
        int8 `(N, M)`, the array that was given where it is one already. With `keep_sparse` a sparse matrix comes back
        as an int8 `csr_array` of `vote + 1` with sorted columns and no stored zero.

    Raises:
        WeakSupervisionError: Another number of axes, no rule, NaN, a fraction, a vote outside `-1 .. C - 1`, or a cell
            that a sparse matrix stores twice; with its row and rule.

    Example:
        >>> check_votes([[0, -1], [1, 1]], num_classes=2)
        array([[ 0, -1],
               [ 1,  1]], dtype=int8)
        >>> check_votes([[0, 2]], num_classes=2)
        Traceback (most recent call last):
            ...
        jlabel.weak_supervision.checks.WeakSupervisionError: votes[0, 1] is 2 (row 0, rule 1); allowed: -1 to 1
    """
    high = (MAX_CLASSES if num_classes is None else check_num_classes(num_classes)) - 1
    if sparse.issparse(votes):
        stored = _check_stored(votes, high)
        return stored if keep_sparse else dense_votes(stored)
    array = np.asarray(votes)
    if array.dtype == object:  # a table's column of integers that may be missing, for one
        array = np.asarray(array.tolist())
    _check_shape(array.shape)
    whole = _whole(array, -1, high)
    if whole is None:
        row, rule = divmod(_first_bad(array.ravel(), -1, high), array.shape[1])
        raise WeakSupervisionError(
            f"votes[{row}, {rule}] is {_shown(array[row, rule])} (row {row}, rule {rule}); allowed: -1 to {high}"
        )
    return whole


def dense_votes(votes: Any) -> np.ndarray:
    """Checked votes as an int8 array `(N, M)`, whether they are sparse (`vote + 1` stored) or not.

    >>> dense_votes(sparse.csr_array(np.array([[1, 0], [2, 2]], np.int8)))
    array([[ 0, -1],
           [ 1,  1]], dtype=int8)
    """
    if not sparse.issparse(votes):
        return votes
    return votes.toarray() - np.int8(1)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise WeakSupervisionError(f"votes must be (rows, rules), got shape {shape}")
    if not shape[1]:
        raise WeakSupervisionError(f"votes has no rule, shape {shape}: give at least one column")


def _whole(array: np.ndarray, low: int, high: int) -> np.ndarray | None:
    """`array` as int8, or None where a value is no whole number from `low` to `high`."""
    if array.dtype.kind not in "biuf":
        return None
    if array.size and not (array.min() >= low and array.max() <= high):  # NaN fails both
        return None
    whole = array.astype(np.int8, copy=False)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        return None
    return whole


def _first_bad(values: np.ndarray, low: int, high: int) -> int:
    """Place of the first value that is no whole number from `low` to `high`."""
    if values.dtype.kind in "biuf":
        return int(np.argmin((values >= low) & (values <= high) & (values == np.trunc(values))))
    return next(i for i, value in enumerate(values) if _whole(np.asarray(value), low, high) is None)


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _check_stored(votes: Any, high: int) -> sparse.csr_array:
    """A sparse matrix of `vote + 1` in its one canonical form."""
    _check_shape(votes.shape)
    matrix = sparse.csr_array(votes)
    # What csr_array makes of a coo matrix has its doubled cells summed already; nnz still tells.
    doubled = votes.format in ("coo", "csr", "csc") and votes.nnz
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if doubled and matrix.nnz != votes.nnz:
        raise WeakSupervisionError(f"votes stores {votes.nnz - matrix.nnz} cells more than once: store each vote once")
    data = _whole(matrix.data, 0, high + 1)
    if data is None:
        place = _first_bad(matrix.data, 0, high + 1)
        row, rule = int(np.searchsorted(matrix.indptr, place, side="right")) - 1, int(matrix.indices[place])
        raise WeakSupervisionError(
            f"votes stores {_shown(matrix.data[place])} at row {row}, rule {rule}; allowed: 1 to {high + 1}, "
            "the vote plus one"
        )
    clean = sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    if not data.all():
        clean = clean.copy()
        clean.eliminate_zeros()
    return clean
