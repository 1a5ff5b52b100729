"""How baselines are fitted to a `Problem`, networks side by side and others one after the other, and what is left."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from jlabel.tabular.checks import check_count, check_number
from jlabel.tabular.encode import Table
from jlabel.tabular.network import TabTransformer, init_network
from jlabel.tabular.problem import Problem, need_unlabelled
from jlabel.tabular.train import Validation, over_runs, train_runs

__all__ = ["Fitted", "HostFit", "NeuralFit", "Outputs", "Training", "classification_score"]

Outputs = Callable[[Any, Mapping[str, jax.Array]], jax.Array]  # (params, columns) -> logits (n, C), hashable
_BLOCK = 512  # rows that all runs predict at a time


class Fitted(Protocol):
    """What every ``fit_*`` returns."""

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities float64 ``(N, C)``, of R runs side by side ``(R, N, C)``."""


@dataclass(frozen=True, eq=False)
class HostFit:
    """R fitted scikit-learn classifiers.

    Attributes:
      models: for each run its classifier, and what makes a table's rows its features. num_classes: C.
      batched: whether results have the axis of runs.
    """

    models: tuple[tuple[Any, Callable[[Table], Any]], ...]
    num_classes: int
    batched: bool

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities float64 ``(N, C)``, of R runs ``(R, N, C)``; 0 for classes that a run did not see."""
        probs = np.zeros((len(self.models), len(table.codes), self.num_classes))
        for own, (model, features) in zip(probs, self.models, strict=True):
            own[:, model.classes_] = model.predict_proba(features(table))
        return probs if self.batched else probs[0]


class Training(TypedDict, total=False):
    """Settings that all networks share; see `train_problem` for their defaults.

    Attributes:
      steps: at most so many. batch_size: rows of a step. learning_rate: highest, or ``(R,)``. weight_decay: AdamW's.
      evaluate_every: steps between two looks at validation. patience: looks without a better one before a run stops.
      progress: whether to show a bar.
    """

    steps: int
    batch_size: int
    learning_rate: float | np.ndarray
    weight_decay: float
    evaluate_every: int
    patience: int
    progress: bool | None


@dataclass(frozen=True, eq=False)
class NeuralFit:
    """R fitted networks.

    Attributes:
      outputs: ``(params, columns) -> logits``. params: leaves ``(R, ...)``. batched: whether results have the axis of
        runs. best_step: int ``(R,)``, steps that the parameters have seen. scores: float64 ``(R, evaluations)``, on
        validation.
    """

    outputs: Outputs
    params: Any
    batched: bool
    best_step: np.ndarray
    scores: np.ndarray

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities float64 ``(N, C)``, of R runs ``(R, N, C)``; a row's do not depend on other rows."""
        blocks = []
        for start in range(0, len(table.codes), _BLOCK):
            parts = {"codes": table.codes[start : start + _BLOCK], "values": table.values[start : start + _BLOCK]}
            count = len(parts["codes"])
            parts = {name: np.pad(part, ((0, _BLOCK - count), (0, 0))) for name, part in parts.items()}
            blocks.append(np.asarray(_predict(self.outputs, self.params, parts))[:, :count])
        probs = softmax(np.concatenate(blocks, 1).astype(np.float64), axis=-1)
        return probs if self.batched else probs[0]


@functools.partial(jax.jit, static_argnums=0)
def _predict(outputs: Outputs, params: Any, columns: dict[str, jax.Array]) -> jax.Array:
    return over_runs(lambda own: outputs(own, columns), params)


def check_training(training: Training) -> None:
    """Settings in range."""
    for name in ("steps", "batch_size", "evaluate_every", "patience"):
        check_count(name, training.get(name, 1))
    for rate in np.ravel(training.get("learning_rate", 1e-3)):
        check_number("learning_rate", float(rate), open_low=True)
    check_number("weight_decay", training.get("weight_decay", 0.0))


def train_problem(
    problem: Problem,
    loss: Any,
    outputs: Outputs,
    params: Any,
    *,
    keys: jax.Array,
    unlabelled: bool = False,
    reference: bool = False,
    steps: int = 300,
    batch_size: int = 256,
    learning_rate: float | np.ndarray = 3e-4,
    weight_decay: float = 1e-5,
    evaluate_every: int = 10,
    patience: int = 15,
    progress: bool | None = None,
) -> NeuralFit:
    """Train R networks on a problem, each keeping the parameters of its best area under the validation curve.

    Args:
      problem: rows of each run. loss: see `train_runs`. outputs: what predicts. params: first ones ``(R, ...)``.
      keys: typed ``(R,)``. unlabelled: whether the loss takes ``unlabelled.*``.
      reference: whether ``outputs`` wants the labelled rows before those of validation.
      steps, batch_size, learning_rate, weight_decay, evaluate_every, patience, progress: see `Training`; the patience
        of 150 steps reaches the end of PL's ramp from a best step of 30.

    Returns:
      The networks.
    """
    rows = {"labelled": problem.labelled}
    if unlabelled:
        rows["unlabelled"] = need_unlabelled(problem, "the loss")
    validation = None
    if problem.validation is not None:
        places, skip = problem.validation, problem.labelled.shape[1] if reference else 0
        if reference:
            places = np.concatenate([problem.labelled, places], 1)

        def score(logits: np.ndarray, rows: np.ndarray) -> float:
            return classification_score(logits[skip:], problem.labels[rows[skip:]])

        validation = Validation(places, outputs, score, patience)
    found = train_runs(
        loss,
        params,
        problem.columns,
        rows,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        keys=keys,
        evaluate_every=evaluate_every,
        validation=validation,
        progress=progress,
    )
    return NeuralFit(outputs, found.params, problem.batched, found.best_step, found.scores)


def init_runs(network: TabTransformer, keys: jax.Array, knots: ArrayLike | None = None) -> Any:
    """First variables of R networks, leaves ``(R, ...)``."""
    return stack_runs([init_network(network, key, knots=knots) for key in keys])


def stack_runs(parts: Sequence[Any]) -> Any:
    """Trees of R runs as one with leaves ``(R, ...)``."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def classification_score(logits: np.ndarray, classes: np.ndarray) -> float:
    """Area under the ROC curve of logits ``(n, C)``; of more classes the mean of one against the rest.

    Rows that lack a class have no curve: then the mean log-likelihood.

    Example:
      >>> probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.65, 0.35], [0.2, 0.8]])
      >>> classification_score(np.log(probs), np.array([0, 0, 1, 1]))
      0.75
    """
    if len(np.unique(classes)) < logits.shape[1]:
        logs = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
        return float(logs[np.arange(len(classes)), classes].mean())
    if logits.shape[1] == 2:
        return float(roc_auc_score(classes, logits[:, 1] - logits[:, 0]))
    return float(roc_auc_score(classes, softmax(logits, axis=1), multi_class="ovr"))
