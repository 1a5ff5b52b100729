"""What a fit is given beside votes: class balance, expert answers, a warm start; checked at the public edge."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jlabel.weak_supervision.buckets import Buckets, as_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.groups import GroupModel


def check_balance(balance: ArrayLike | None, num_classes: int) -> np.ndarray | None:
    """Class balance `(C,)` from what a user gave: None, `P(y=1)` for two classes, or one share a class."""
    if balance is None:
        return None
    try:
        shares = np.asarray(balance, np.float64)
    except (TypeError, ValueError) as error:
        raise WeakSupervisionError(f"balance must hold numbers, got {balance!r}") from error
    if shares.ndim == 0 and num_classes == 2:
        shares = np.array([1 - shares, shares])
    if shares.shape != (num_classes,):
        raise WeakSupervisionError(f"balance must have one share for each of {num_classes} classes, got {balance!r}")
    if not ((shares > 0) & (shares < 1)).all() or abs(shares.sum() - 1) > 1e-6:
        raise WeakSupervisionError(f"balance must be shares between 0 and 1 that sum to 1, got {shares.tolist()}")
    return shares / shares.sum()


def check_answers(
    expert_rows: ArrayLike | None, expert_labels: ArrayLike | None, *, num_rows: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of the expert answers, both int64; empty where none were given."""
    if expert_rows is None and expert_labels is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if expert_rows is None or expert_labels is None:
        raise WeakSupervisionError("expert_rows and expert_labels go together: give both or neither")
    arrays = []
    for name, values, high in (
        ("expert_rows", expert_rows, num_rows - 1),
        ("expert_labels", expert_labels, num_classes - 1),
    ):
        array = np.asarray(values)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise WeakSupervisionError(
                f"{name} must be a list of integers, got shape {array.shape}, dtype {array.dtype}"
            )
        array = array.astype(np.int64)
        bad = (array < 0) | (array > high)
        if bad.any():
            place = int(np.argmax(bad))
            raise WeakSupervisionError(f"{name}[{place}] is {array[place]}; allowed: 0 to {high}")
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        raise WeakSupervisionError(
            f"expert_rows has {len(arrays[0])} entries, expert_labels {len(arrays[1])}: one label for each row"
        )
    return arrays[0], arrays[1]


def count_answers(buckets: Buckets, expert_rows: Any, expert_labels: Any, num_classes: int) -> np.ndarray:
    """Answers `(R, C)` to each bucket; rows are those of the votes, or buckets where these know no rows."""
    num_rows = len(buckets.counts) if buckets.inverse is None else len(buckets.inverse)
    rows, labels = check_answers(expert_rows, expert_labels, num_rows=num_rows, num_classes=num_classes)
    answers = np.zeros((len(buckets.counts), num_classes))
    np.add.at(answers, (rows if buckets.inverse is None else buckets.inverse[rows], labels), 1.0)
    return answers


def checked_buckets(votes: Any, num_classes: int) -> Buckets:
    """`Buckets` of whatever a fit takes; sparse rows stay sparse."""
    return as_buckets(votes, num_classes=num_classes, keep_sparse=True)


def warm_start(init: GroupModel, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Parameters of a model fitted before, if they are of the same kind and size."""
    values = np.asarray(init.params.get(name, ())) if isinstance(init, GroupModel) else np.zeros(0)
    if values.shape != shape:
        raise WeakSupervisionError(
            f"init holds {name} of shape {values.shape}, these votes need {shape}: "
            "give a model that this function fitted to the same votes and cliques"
        )
    return values
