"""Scores of how well a label fits its row; lower is worse."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import CheckedInputs, blocks, check_labels_and_probs, pieces

Score = Literal["normalized_margin", "self_confidence", "confidence_weighted_entropy"]


def self_confidence(labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None) -> np.ndarray:
    """Probability of the given label, ``p_y``.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      classes: names of the columns, for labels that are names.

    Returns:
      float64 ``(N,)`` in [0, 1]; lower is worse.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> self_confidence([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
      [0.75, 0.5]
    """
    return score_rows(check_labels_and_probs(labels, probs, classes=classes), "self_confidence")


def normalized_margin(labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None) -> np.ndarray:
    """Probability of the given label less that of the best other class.

    ``p_y - max_{k != y} p_k``; below 0 where the model prefers another class.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      classes: names of the columns, for labels that are names.

    Returns:
      float64 ``(N,)`` in [-1, 1]; lower is worse.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> normalized_margin([0, 1], [[0.75, 0.25], [0.625, 0.375]]).tolist()
      [0.5, -0.25]

    Source: Northcutt, Athalye and Mueller 2021, section 3.
    """
    return score_rows(check_labels_and_probs(labels, probs, classes=classes), "normalized_margin")


def confidence_weighted_entropy(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None
) -> np.ndarray:
    """Entropy of the row over the probability of its label, squeezed into [0, 1].

    ``s = H(p) / (p_y log C)``, score ``log(1 + s) / s``: 1 for certainty about the given label, 0 where ``p_y = 0``.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      classes: names of the columns, for labels that are names.

    Returns:
      float64 ``(N,)`` in [0, 1]; lower is worse.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> confidence_weighted_entropy([0, 1, 1], [[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]]).round(4).tolist()
      [1.0, 0.5493, 0.0]
    """
    return score_rows(check_labels_and_probs(labels, probs, classes=classes), "confidence_weighted_entropy")


def _given(labels: np.ndarray, block: np.ndarray) -> np.ndarray:
    return block[np.arange(len(block)), labels].astype(np.float64)


def block_margin(labels: np.ndarray, block: np.ndarray) -> np.ndarray:
    """`normalized_margin` of a block."""
    others = block.copy()
    others[np.arange(len(block)), labels] = 0  # no probability is lower, and there may be no other class
    return _given(labels, block) - others.max(1)


def _weighted_entropy(labels: np.ndarray, block: np.ndarray) -> np.ndarray:
    probs, given = block.astype(np.float64), _given(labels, block)
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    entropy = -(probs * logs).sum(1) / np.log(max(block.shape[1], 2))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        s = np.maximum(entropy, 0) / given
        score = np.log1p(s) / s
    score[s == 0] = 1.0
    score[(given == 0) | np.isinf(s)] = 0.0
    return score


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "normalized_margin": block_margin,
    "self_confidence": _given,
    "confidence_weighted_entropy": _weighted_entropy,
}


def score_rows(checked: CheckedInputs, score: Score) -> np.ndarray:
    """One of the scores for all rows of checked inputs, block by block."""
    out = np.empty(len(checked.labels))
    for place, block in blocks(checked.probs):
        out[place] = SCORES[score](checked.labels[place], block)
    return out


def margins_of(labels: np.ndarray, probs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`normalized_margin` of some rows of checked inputs."""
    out = np.empty(len(rows))
    for place in pieces(len(rows), probs):
        out[place] = block_margin(labels[rows[place]], probs[rows[place]])
    return out
