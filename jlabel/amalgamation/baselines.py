"""Simple ways to make one target out of what several teachers say, and the row that needs no teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from scipy.special import expit

from jlabel.amalgamation.checks import AmalgamationError, as_numbers
from jlabel.amalgamation.labels import label_union
from jlabel.amalgamation.teachers import as_teachers

__all__ = ["frequent_set", "mean_logit_targets", "mean_logits", "vote_shares", "vote_targets"]


def vote_targets(models: Mapping[str, Any] | Sequence[Any], features: Any) -> np.ndarray:
    """BL: what most of the teachers that know a label say about it; ties are positive.

    ``t[j] = 1`` where at least half of the teachers that know label j give it a probability above .5, else 0.

    Args:
      models: M teachers, as `transfer_targets` takes them.
      features: rows as the teachers take them, ``(N, D)`` array or DataFrame.

    Returns:
      float32 ``(N, L)`` of 0 and 1, columns in the order of `label_union`.

    Raises:
      AmalgamationError: what a teacher says has a wrong shape, NaN, or no probability; see `as_teacher`.

    Source: Thadajarassiri et al. 2023, "Compared Methods", (1).
    """
    teachers = as_teachers(models)
    logits = [teacher.logits(features) for teacher in teachers]
    return (vote_shares(logits, [teacher.label_names for teacher in teachers]) >= 0.5).astype(np.float32)


def mean_logit_targets(models: Mapping[str, Any] | Sequence[Any], features: Any) -> np.ndarray:
    """TC: ``t[j] = sigmoid(mean_m v_m[j])`` over the teachers m that know label j, all with equal weight.

    Args:
      models, features: as `vote_targets` takes them.

    Returns:
      float32 ``(N, L)``, columns in the order of `label_union`.

    Raises:
      AmalgamationError: as for `vote_targets`.

    Source: Thadajarassiri et al. 2023, "Compared Methods", (5); equal weights, as rows have no labels.
    """
    teachers = as_teachers(models)
    logits = [teacher.logits(features) for teacher in teachers]
    return expit(mean_logits(logits, [teacher.label_names for teacher in teachers]))


def vote_shares(logits: Sequence[ArrayLike], label_sets: Sequence[Sequence[str]]) -> np.ndarray:
    """The share of the teachers that know a label who say that it is positive (logit above 0).

    Args:
      logits: M arrays ``(..., L_t)``, the axes in front alike.
      label_sets: M lists of names, of their columns.

    Returns:
      float32 ``(..., L)``, columns in the order of `label_union`.

    Raises:
      AmalgamationError: shapes that do not fit.

    Example:
      >>> vote_shares([[[1.0, -2.0]], [[-3.0, 4.0]]], [("a", "b"), ("b", "c")]).tolist()
      [[1.0, 0.0, 1.0]]
    """
    return mean_logits([np.asarray(part) > 0 for part in logits], label_sets)


def mean_logits(logits: Sequence[ArrayLike], label_sets: Sequence[Sequence[str]]) -> np.ndarray:
    """The mean logit of the teachers that know a label; arguments and shapes as for `vote_shares`.

    Example:
      >>> mean_logits([[[1.0, -2.0]], [[-3.0, 4.0]]], [("a", "b"), ("b", "c")]).tolist()
      [[1.0, -2.5, 4.0]]
    """
    names = label_union(label_sets)
    if len(logits) != len(label_sets):
        raise AmalgamationError(f"there are {len(logits)} arrays of logits, but {len(label_sets)} label sets")
    arrays = [np.asarray(part) for part in logits]
    total, count = np.zeros((*arrays[0].shape[:-1], len(names))), np.zeros(len(names))
    for teacher, (part, own) in enumerate(zip(arrays, label_sets, strict=True)):
        if part.shape != (*arrays[0].shape[:-1], len(own)):
            raise AmalgamationError(
                f"logits of teacher {teacher} have shape {part.shape}, those of teacher 0 {arrays[0].shape}: they need "
                f"the same rows and a column for each of the labels {list(own)}"
            )
        columns = [names.index(name) for name in own]
        total[..., columns] += part
        count[columns] += 1
    found: np.ndarray = (total / count).astype(np.float32)
    return found


def frequent_set(labels: ArrayLike) -> np.ndarray:
    """The label set that most rows have; of equally frequent ones the first in the order of the columns, 0 before 1.

    Args:
      labels: ``(N, L)`` of 0 and 1.

    Returns:
      bool ``(L,)``.

    Raises:
      AmalgamationError: no rows, or another shape.

    Example:
      >>> frequent_set([[1, 0], [0, 1], [0, 1]]).tolist()
      [False, True]
    """
    rows = as_numbers("labels", labels, ("row", "label"))
    if not len(rows):
        raise AmalgamationError(f"labels have shape {rows.shape}: give at least one row")
    sets, counts = np.unique(rows > 0.5, axis=0, return_counts=True)
    found: np.ndarray = sets[counts.argmax()]
    return found
