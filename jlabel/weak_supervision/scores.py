"""Scores of a label model's predictions by the names people know."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from sklearn import metrics as sklearn_metrics

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.checks import WeakSupervisionError

_BINARY = ("precision", "recall", "f1")
_OF_LABELS: Mapping[str, Callable[..., Any]] = {
    "accuracy": sklearn_metrics.accuracy_score,
    "balanced_accuracy": sklearn_metrics.balanced_accuracy_score,
    "f1": sklearn_metrics.f1_score,
    "f1_macro": lambda truth, said: sklearn_metrics.f1_score(truth, said, average="macro"),
    "f1_micro": lambda truth, said: sklearn_metrics.f1_score(truth, said, average="micro"),
    "matthews_corrcoef": sklearn_metrics.matthews_corrcoef,
    "precision": lambda truth, said: sklearn_metrics.precision_score(truth, said, zero_division=0),
    "recall": lambda truth, said: sklearn_metrics.recall_score(truth, said, zero_division=0),
}
METRICS = (*_OF_LABELS, "coverage", "log_loss", "roc_auc")
_TIE = 1e-9  # probabilities that differ by less are tied


def guess_shares(probs: np.ndarray) -> np.ndarray:
    """How often each class `(N, C)` is guessed where the likeliest is taken and ties are broken by lot.

    >>> guess_shares(np.array([[0.9, 0.1], [0.5, 0.5]]))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    best = probs >= probs.max(1, keepdims=True) - _TIE
    return best / best.sum(1, keepdims=True)


def tied_accuracy(probs: np.ndarray, labels: np.ndarray) -> float:
    """Expected share of right rows where ties are broken by lot.

    >>> tied_accuracy(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, 1]))
    0.75
    """
    return float(guess_shares(probs)[np.arange(len(labels)), labels].mean())


def score_predictions(
    predicted: np.ndarray, probs: np.ndarray, labels: ArrayLike, metrics: Sequence[str]
) -> dict[str, float]:
    """Scores of rows with a true class; those of labels leave out rows without a prediction, as Snorkel does.

    >>> said, probs = np.array([1, 0, 1]), np.array([[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    >>> score_predictions(said, probs, [1, 0, 0], ["recall", "coverage"])
    {'recall': 1.0, 'coverage': 1.0}
    """
    classes = probs.shape[1]
    truth = as_labels("Y", labels, low=-1, high=classes)
    if len(truth) != len(predicted):
        raise WeakSupervisionError(f"Y has {len(truth)} entries for {len(predicted)} rows of votes")
    for name in metrics:
        if name not in METRICS:
            raise WeakSupervisionError(f"metrics: {name!r} is none of {', '.join(sorted(METRICS))}")
        if name in (*_BINARY, "roc_auc") and classes > 2:
            raise WeakSupervisionError(f"metrics: {name} is for two classes; take f1_macro or balanced_accuracy")
    known = truth >= 0
    decided = known & (predicted >= 0)
    if not decided.any():
        raise WeakSupervisionError("no row has both a true class and a prediction; see tie_break_policy")
    if not decided[known].all():
        warnings.warn(
            f"{int(known.sum() - decided.sum())} of {int(known.sum())} rows have no prediction and are left out of the "
            "scores; tie_break_policy='random' predicts them too",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    found = {}
    for name in metrics:
        if name == "coverage":
            value = decided.sum() / known.sum()
        elif name == "roc_auc":
            value = sklearn_metrics.roc_auc_score(truth[known], probs[known, 1])
        elif name == "log_loss":
            value = -np.log(np.maximum(probs[known, truth[known]], 1e-300)).mean()
        else:
            value = _OF_LABELS[name](truth[decided], predicted[decided])
        found[name] = float(value)
    return found
