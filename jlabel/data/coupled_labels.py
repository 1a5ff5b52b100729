"""Eight labels that depend on each other, four of them hard to see: every probability is known exactly.

Features are 20 standard normal numbers. A row's label set y in {0, 1}^8 has

    P(y | x) ~ exp(sum_j y_j (w_j.x + b_j) + sum_{j<k} J_jk y_j y_k),

normalised by going through all 256 sets in float64. The labels 0 to 3 are visible (|w_j| = 6, b_j = -3.5); 4 to 7 are
faint (|w_j| = 1, b_j = -3), but each comes with its visible partner: J = +6 for (0, 4), (1, 5), (2, 6) and (3, 7). The
pairs (0, 1) and (2, 3) avoid each other, J = -2. The directions of the w_j are uniform, drawn from the seed.

Seeds 0 to 7, 6,000 rows: 3.4 labels a row; the losses of the best predictions there are, and of none:

    thresholded marginals   Hamming .105-.112   subset .443-.477
    most likely label set   Hamming .106-.114   subset .430-.459
    no label at all         Hamming .419-.430

The functions `drop_positives` and `add_positives` damage the labels that teachers are trained on, so that it is known
which teacher of a shared label is competent; `cut_rows` deals rows out to teachers, student and test.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.data.source import object_array
from jlabel.errors import InputError

LABEL_NAMES = tuple(f"{kind}_{pair}" for kind in ("visible", "faint") for pair in range(4))
NUM_FEATURES, NUM_ROWS = 20, 6000
NORMS, BIASES = np.repeat([6.0, 1.0], 4), np.repeat([-3.5, -3.0], 4)
COUPLINGS: Mapping[tuple[int, int], float] = {
    (0, 4): 6.0, (1, 5): 6.0, (2, 6): 6.0, (3, 7): 6.0, (0, 1): -2.0, (2, 3): -2.0,
}  # fmt: skip
LABEL_SETS = np.array(list(np.ndindex((2,) * len(LABEL_NAMES))), np.int8)  # (256, 8): all of them
_SET_SCORES = LABEL_SETS @ BIASES + sum(c * LABEL_SETS[:, j] * LABEL_SETS[:, k] for (j, k), c in COUPLINGS.items())


class CoupledRows(NamedTuple):
    """Rows of one seed: `features` float32 (N, 20), `labels` int8 (N, 8), and the seed's `weights` float64 (20, 8)."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class RowCut(NamedTuple):
    """Row numbers, each list in rising order: one list a teacher, the student's unlabelled rows, the test rows."""

    teachers: tuple[np.ndarray, ...]
    transfer: np.ndarray
    test: np.ndarray


class DamagedLabels(NamedTuple):
    """Labels of the teachers' rows after the damage.

    `labels` holds one int8 (N_t, L_t) a teacher; `hurt` the teacher whose labels were changed, by label name;
    `competent` the other teachers that know it.
    """

    labels: tuple[np.ndarray, ...]
    hurt: Mapping[str, int]
    competent: Mapping[str, tuple[int, ...]]


def coupled_labels(*, seed: int = 0, num_rows: int = NUM_ROWS) -> CoupledRows:
    """Draws weights, features and label sets.

    Args:
      seed: of NumPy's generator; weights come first, so that two calls with one seed share them.
      num_rows: N, at least 1.

    Returns:
      `CoupledRows`.

    Raises:
      InputError: `num_rows` below 1 or a negative seed.

    Example:
      >>> drawn = coupled_labels(num_rows=5)
      >>> drawn.features.shape, drawn.labels.shape, np.linalg.norm(drawn.weights, axis=0).round(6).tolist()
      ((5, 20), (5, 8), [6.0, 6.0, 6.0, 6.0, 1.0, 1.0, 1.0, 1.0])
    """
    if num_rows < 1:
        raise InputError(f"num_rows is {num_rows}: draw at least 1 row")
    generator = np.random.default_rng(_seed(seed))
    weights = generator.standard_normal((NUM_FEATURES, len(LABEL_NAMES)))
    weights *= NORMS / np.linalg.norm(weights, axis=0)
    features = generator.standard_normal((num_rows, NUM_FEATURES)).astype(np.float32)
    chances = generator.random((num_rows, 1))
    below = np.cumsum(label_set_probs(features, weights), axis=1)[:, :-1]
    return CoupledRows(features, LABEL_SETS[(below <= chances).sum(axis=1)], weights)


def label_set_probs(features: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """`P(y | x)` of all 256 label sets, in the order of `LABEL_SETS`: float64 (N, 256).

    Args:
      features: (N, 20).
      weights: (20, 8), of `coupled_labels`.

    Example:
      >>> probs = label_set_probs(np.zeros((1, 20)), np.zeros((20, 8)))
      >>> LABEL_SETS[probs.argmax()].tolist(), round(float(probs.sum()), 6)
      ([0, 0, 0, 0, 0, 0, 0, 0], 1.0)
    """
    logits = np.asarray(features, np.float64) @ np.asarray(weights, np.float64) @ LABEL_SETS.T + _SET_SCORES
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True)


def marginal_probs(features: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """`P(y_j = 1 | x)`, float64 (N, 8): above 0.5 it is the prediction with the lowest expected Hamming loss.

    Example:
      >>> marginal_probs(np.zeros((1, 20)), np.zeros((20, 8))).round(3).tolist()
      [[0.29, 0.29, 0.29, 0.29, 0.31, 0.31, 0.31, 0.31]]
    """
    return label_set_probs(features, weights) @ LABEL_SETS


def likely_sets(features: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """The most likely label set of each row, int8 (N, 8): the prediction with the lowest expected subset loss.

    Example:
      >>> likely_sets(np.zeros((1, 20)), np.zeros((20, 8))).tolist()
      [[0, 0, 0, 0, 0, 0, 0, 0]]
    """
    return LABEL_SETS[label_set_probs(features, weights).argmax(axis=1)]


def rows(split: str, *, seed: int = 0, rows: int = NUM_ROWS) -> dict[str, np.ndarray]:
    """The rows of `embedded:coupled_labels`: "train" for teachers, "val" for the student, "test", as in `cut_rows`.

    Args:
      split: "train" (70 % of the rows), "val" (22.5 %) or "test" (7.5 %).
      seed: of weights and rows.
      rows: of all splits together.

    Returns:
      `features` float32 [N, 20], `labels` object [N], tuples of none to eight labels, and `label` int32 [N], the first
      of them or -1.

    Example:
      >>> drawn = rows("test", rows=40)
      >>> drawn["features"].shape, drawn["labels"].tolist()[:2], drawn["label"].tolist()[:2]
      ((3, 20), [(1, 2, 5, 6), (1, 2, 6)], [1, 1])
    """
    drawn = coupled_labels(seed=seed, num_rows=rows)
    cut = cut_rows(rows, num_teachers=1, seed=seed)
    chosen = {"train": cut.teachers[0], "val": cut.transfer, "test": cut.test}[split]
    several = object_array(tuple(np.flatnonzero(row).tolist()) for row in drawn.labels[chosen])
    first = np.array([row[0] if row else -1 for row in several], np.int32)
    return {"features": drawn.features[chosen], "labels": several, "label": first}


def cut_rows(
    num_rows: int, *, num_teachers: int, seed: int, teachers: float = 0.7, transfer: float = 0.75, shares: bool = True
) -> RowCut:
    """Deals the rows of any data out to teachers, student and test.

    Args:
      num_rows: N.
      num_teachers: M, at least 1.
      seed: of the shuffle.
      teachers: share of all rows that teachers train on, in (0, 1).
      transfer: share of the other rows that the student trains on, in (0, 1); the rest is for testing.
      shares: each teacher has rows of its own, as many as the next one; otherwise each has all of them.

    Returns:
      `RowCut`. Between them its parts hold each row once (teachers' rows M times where `shares` is off); of the
      teachers' rows up to M - 1 are left over so that shares are equal.

    Raises:
      InputError: a share out of range, no teacher, or a part without rows.

    Example:
      >>> cut = cut_rows(20, num_teachers=2, seed=0)
      >>> [len(rows) for rows in cut.teachers], len(cut.transfer), len(cut.test)
      ([7, 7], 4, 2)
    """
    for name, share in (("teachers", teachers), ("transfer", transfer)):
        if not 0 < share < 1:
            raise InputError(f"{name} is {share}; a share of the rows lies strictly between 0 and 1")
    if num_teachers < 1:
        raise InputError(f"num_teachers is {num_teachers}: there must be at least 1")
    order = np.random.default_rng(_seed(seed)).permutation(num_rows)
    labelled = round(teachers * num_rows)
    unlabelled = round(transfer * (num_rows - labelled))
    first, second, third = np.split(order, [labelled, labelled + unlabelled])
    size = labelled // num_teachers
    parts = [first[t * size : (t + 1) * size] if shares else first for t in range(num_teachers)]
    if min(len(part) for part in (*parts, second, third)) == 0:
        raise InputError(f"num_rows is {num_rows}: too few for {num_teachers} teachers, student and test")
    return RowCut(tuple(np.sort(part) for part in parts), np.sort(second), np.sort(third))


def drop_positives(
    labels: Sequence[ArrayLike], label_sets: Sequence[Sequence[str]], *, share: float = 0.4, seed: int
) -> DamagedLabels:
    """Turns positives of each shared label negative in the rows of one of its teachers.

    Labels are taken in the order of their first appearance; the teacher hurt is the one that was hurt least so far
    (the first of equals), so that teachers take turns.

    Args:
      labels: M arrays of 0 and 1, (N_t, L_t), columns in the order of the teacher's label set.
      label_sets: M lists of label names.
      share: of the positives, 0 to 1; the number is rounded, which ones is random.
      seed: of the choice of rows.

    Returns:
      `DamagedLabels`; what was given is not changed.

    Raises:
      InputError: `share` out of range, numbers of arrays and label sets that differ, or a wrong number of columns.

    Example:
      >>> given = [np.ones((5, 2)), np.ones((5, 2))]
      >>> damaged = drop_positives(given, [("a", "b"), ("b", "c")], seed=0)
      >>> [part.sum(axis=0).tolist() for part in damaged.labels], damaged.hurt, damaged.competent
      ([[5, 3], [5, 5]], {'b': 0}, {'b': (1,)})
    """
    return _damage(labels, label_sets, share, seed, value=1)


def add_positives(
    labels: Sequence[ArrayLike], label_sets: Sequence[Sequence[str]], *, share: float = 0.2, seed: int
) -> DamagedLabels:
    """Turns negatives of each shared label positive in the rows of one of its teachers; otherwise `drop_positives`.

    Example:
      >>> given = [np.zeros((5, 2)), np.zeros((5, 2))]
      >>> [part.sum(axis=0).tolist() for part in add_positives(given, [("a", "b"), ("b", "c")], seed=0).labels]
      [[0, 1], [0, 0]]
    """
    return _damage(labels, label_sets, share, seed, value=0)


def _damage(
    labels: Sequence[ArrayLike], label_sets: Sequence[Sequence[str]], share: float, seed: int, *, value: int
) -> DamagedLabels:
    """Flips a share of the entries that are `value`."""
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}; a share lies between 0 and 1")
    if len(labels) != len(label_sets):
        raise InputError(f"labels holds {len(labels)} arrays, label_sets {len(label_sets)} label sets: one a teacher")
    changed = tuple(np.array(part, np.int8) for part in labels)
    for teacher, (part, names) in enumerate(zip(changed, label_sets, strict=True)):
        if part.ndim != 2 or part.shape[1] != len(names):
            raise InputError(f"labels of teacher {teacher} have shape {part.shape}; its label set has {len(names)}")
    generator = np.random.default_rng(_seed(seed))
    hurt: dict[str, int] = {}
    competent: dict[str, tuple[int, ...]] = {}
    for name in dict.fromkeys(name for names in label_sets for name in names):
        knowing = [teacher for teacher, names in enumerate(label_sets) if name in names]
        if len(knowing) < 2:
            continue
        victim = min(knowing, key=lambda teacher: list(hurt.values()).count(teacher))
        column = changed[victim][:, list(label_sets[victim]).index(name)]
        there = np.flatnonzero(column == value)
        column[generator.choice(there, round(share * len(there)), replace=False)] = 1 - value
        hurt[name] = victim
        competent[name] = tuple(teacher for teacher in knowing if teacher != victim)
    return DamagedLabels(changed, hurt, competent)


def _seed(seed: int) -> int:
    if seed < 0:
        raise InputError(f"seed is {seed}: give 0 or more")
    return seed
