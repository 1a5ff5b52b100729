"""Label models and end models of the study of dependencies."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.metrics import roc_auc_score

from experiments.dependency_data import VoteData
from jlabel.training import ArrayBatches, fit_seeds
from jlabel.weak_supervision import (
    Dependency,
    EndModel,
    FactorGraph,
    dependency_values,
    factor_graph_probs,
    fit_factor_graph,
    misspecification_bounds,
)

__all__ = ["LabelModel", "end_scores", "fit_label_model", "label_scores", "strongest"]

# Those that the paper counts; similar says nothing about the label.
COUNTED = ("bolstering", "priority", "fixing", "negated", "reinforcing")


class LabelModel(NamedTuple):
    """Probabilities of class 1 from one row of the table."""

    name: str
    graph: FactorGraph | None  # None for rows that are no graph
    probs: np.ndarray  # (N,)
    test_probs: np.ndarray


def fit_label_model(
    name: str, data: VoteData, dependencies: Sequence[Dependency], *, l2: float, key: jax.Array, polarity: Any = "seen"
) -> LabelModel:
    """Fits a graph with these dependencies."""
    graph = fit_factor_graph(data.votes, tuple(dependencies), l2=l2, polarity=polarity, key=key)
    probs, test_probs = (factor_graph_probs(graph, votes)[:, 1] for votes in (data.votes, data.test_votes))
    return LabelModel(name, graph, probs, test_probs)


def strongest(data: VoteData, count: int) -> list[Dependency]:
    """The `count` dependencies of each kind with the largest value under the true labels, none at 0 or below."""
    return [
        dependency
        for kind in COUNTED
        for dependency, value in dependency_values(data.votes, data.labels, (kind,))[:count]
        if value > 0
    ]


def label_scores(model: LabelModel, reference: LabelModel, data: VoteData) -> dict[str, float]:
    """How well the probabilities order and fit the test labels, and how far they are from the reference's.

    The gaps are over training votes, the bounds over all votes there can be.
    """
    truth = data.test_labels
    right = np.where(truth == 1, model.test_probs, 1 - model.test_probs)
    scores = {
        "label AUC": float(roc_auc_score(truth, model.test_probs)),
        "label NLL": float(np.mean(-np.log(np.maximum(right, 1e-6)) + 0.0)),
    }
    if model.graph is not None and reference.graph is not None:
        gap = np.abs(model.probs - reference.probs)
        bounds = misspecification_bounds(model.graph, reference.graph)
        scores |= {
            "dependencies": float(len(model.graph.dependencies)),
            "mean gap": float(gap.mean()),
            "largest gap": float(gap.max()),
            "bound (sharp)": bounds["posterior_gap_sharp"],
            "bound": bounds["posterior_gap"],
            "bound (printed)": bounds["posterior_gap_printed"],
        }
    return scores


@lru_cache(maxsize=8)
def _end_model(hidden: tuple[int, ...]) -> tuple[EndModel, Any]:
    """Network and loss; the same objects for the same sizes, so that all seeds share a compiled program."""
    model = EndModel(num_classes=2, hidden=hidden)

    def loss_fn(params: Any, column: jax.Array, batch: Any, key: jax.Array) -> Any:
        favour = batch["probs"][:, column]
        targets = jnp.stack([1 - favour, favour], axis=1)
        loss = jnp.mean(optax.softmax_cross_entropy(model.apply(params, batch["features"]), targets))
        return loss, ({}, column)

    return model, loss_fn


def end_scores(
    probs: np.ndarray,
    data: VoteData,
    *,
    seeds: Sequence[int],
    hidden: tuple[int, ...],
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> np.ndarray:
    """Test ROC-AUC of end models, every row of the table with every seed side by side.

    Args:
        probs: `(N, S)` training targets, probabilities of class 1, of the S rows of the table.
        data: Features and test rows.
        seeds: Start and order of the rows, for each model.
        hidden: Hidden sizes.
        steps: Adam steps, the rate falling to 0 along a cosine.
        batch_size: Rows a step.
        learning_rate: At the start.

    Returns:
        float64 `(S, len(seeds))`.
    """
    model, loss_fn = _end_model(tuple(hidden))
    # A seed's models all start alike and see the same rows, so that their differences are the labels'.
    starts = jnp.stack([jax.random.key(seed) for seed in seeds])
    keys = jnp.tile(starts, probs.shape[1])
    columns = np.repeat(np.arange(probs.shape[1], dtype=np.int32), len(seeds))
    params = jax.jit(jax.vmap(lambda key: model.init(key, data.features[:1])))(keys)
    batches = ArrayBatches({"features": data.features, "probs": probs.astype(np.float32)}, batch_size=batch_size)
    optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps), weight_decay=1e-3)
    result = fit_seeds(
        loss_fn, params, batches, optimizer=optimizer, steps=steps, keys=keys, state=columns, progress=False
    )
    logits = jax.lax.map(lambda one: model.apply(one, data.test_features), result.params)
    scores = np.asarray(logits[..., 1] - logits[..., 0])
    found = [float(roc_auc_score(data.test_labels, score)) for score in scores]
    return np.array(found).reshape(probs.shape[1], len(seeds))
