"""What the label graph is measured against: softmax heads, the coarse marginal, label sets and pseudo labels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.label_graph.plan import PathPlan

__all__ = [
    "label_set_loss",
    "label_set_scores",
    "label_set_targets",
    "labels_below",
    "majority_label",
    "marginal_softmax_loss",
    "pseudo_labels",
]


def labels_below(plan: PathPlan, label_set: str) -> np.ndarray:
    """Which labels of a set every class of the plan allows: those on its own node or below it.

    Args:
      plan: from `plan_paths`. label_set: the fine set, with ``F`` labels.

    Returns:
      bool ``[C, F]``; the row of a fine label is its own unit vector when no fine label lies below another.

    Example:
      >>> from jlabel.data import load_graph
      >>> from jlabel.label_graph import build_graph, plan_paths
      >>> plan = plan_paths(build_graph(load_graph("drawn_pets")))
      >>> labels_below(plan, "drawn_pets")[plan.offsets["drawn_species"]].sum()
      np.int64(6)
    """
    fine = np.asarray(plan.graph.label_set(label_set).nodes)
    below = plan.graph.reaches[plan.class_nodes][:, fine] | (plan.class_nodes[:, None] == fine[None])
    for c in range(len(plan.class_nodes)):
        if plan.class_final[c]:  # nothing finer applies
            below[c] = plan.class_nodes[c] == fine
    return below


def marginal_softmax_loss(
    logits: ArrayLike, target: ArrayLike, below: ArrayLike, *, weight: ArrayLike | None = None
) -> jax.Array:
    """Cross-entropy of a softmax over fine labels that also learns from coarse rows (FFN + coarse marginal).

    ``-log sum_{f below y} softmax(z)_f``; for a fine label this is the usual cross-entropy (FFN).

    Args:
      logits: ``[B, F]``. target: int ``[B]`` classes of the plan; -1, or a row without a label below, counts nothing.
      below: bool ``[C, F]`` from `labels_below`. weight: ``[B]``.

    Returns:
      Scalar, the weighted sum over rows divided by ``B``.

    Example:
      >>> import numpy as np
      >>> below = np.array([[True, False, False], [True, True, False]])
      >>> print(marginal_softmax_loss(np.zeros((1, 3)), np.array([1]), below).round(4))  # log 3 - log 2
      0.4055
    """
    log_probs, target = jax.nn.log_softmax(jnp.asarray(logits), axis=-1), jnp.asarray(target)
    allowed = jnp.take(jnp.asarray(below), jnp.maximum(target, 0), axis=0)
    counts = (target >= 0) & allowed.any(-1)
    safe = allowed | ~counts[:, None]
    nll = -jax.nn.logsumexp(log_probs, axis=-1, where=safe)
    weight = jnp.where(counts, 1.0 if weight is None else jnp.asarray(weight), 0.0)
    return (nll * weight).mean()


def label_set_targets(plan: PathPlan) -> tuple[np.ndarray, np.ndarray]:
    """Targets of the Label Set baseline: the nodes on a class's paths, flattened to a set.

    Args:
      plan: from `plan_paths`.

    Returns:
      bool ``[C, V]``, nodes on any path to the class, and bool ``[C, V]``, nodes that the class says something about:
      nothing is known of what lies below a label that is not final. The root counts nothing.
    """
    nodes, graph = plan.class_nodes, plan.graph
    positive = graph.reaches[:, nodes].T.copy()
    positive[np.arange(len(nodes)), nodes] = True
    known = ~(graph.reaches[nodes] & ~plan.class_final[:, None])
    positive[:, graph.root] = known[:, graph.root] = False
    return positive, known | positive


def label_set_loss(
    logits: ArrayLike,
    target: ArrayLike,
    positive: ArrayLike,
    known: ArrayLike,
    *,
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Sigmoid cross-entropy over the nodes that a row says something about, mean over those nodes.

    Args:
      logits: ``[B, V]``. target: int ``[B]``, -1 counts nothing. positive, known: from `label_set_targets`.
      weight: ``[B]``.

    Returns:
      Scalar, the weighted sum over rows divided by ``B``.

    Source: the paper's adaptation of Deng et al. 2014.
    """
    logits, target = jnp.asarray(logits), jnp.asarray(target)
    place = jnp.maximum(target, 0)
    truth, counts = (jnp.take(jnp.asarray(x), place, axis=0) for x in (positive, known))
    entropy = jax.nn.softplus(jnp.where(truth, -logits, logits))
    per_row = jnp.where(counts, entropy, 0.0).sum(-1) / jnp.maximum(counts.sum(-1), 1)
    weight = jnp.where(target >= 0, 1.0 if weight is None else jnp.asarray(weight), 0.0)
    return (per_row * weight).mean()


def label_set_scores(logits: ArrayLike, plan: PathPlan, label_set: str) -> jax.Array:
    """Log-scores of a set's labels: the log-sigmoids of their nodes, normalised over the set.

    Args:
      logits: ``[B, V]``. plan: from `plan_paths`. label_set: its name.

    Returns:
      ``[B, F]``; the largest is the prediction.
    """
    nodes = np.asarray(plan.graph.label_set(label_set).nodes)
    return jax.nn.log_softmax(jax.nn.log_sigmoid(jnp.take(jnp.asarray(logits), nodes, axis=1)), axis=-1)


def pseudo_labels(log_probs: ArrayLike, target: ArrayLike, below: ArrayLike, first_fine: int) -> np.ndarray:
    """Fine labels guessed for coarse rows; a row whose guess contradicts its coarse label is left out.

    Args:
      log_probs: ``[N, F]`` of the model trained on fine rows. target: int ``[N]`` coarse classes of the plan.
      below: bool ``[C, F]`` from `labels_below`. first_fine: the plan's class of the first fine label.

    Returns:
      int32 ``[N]`` classes of the plan, -1 where the guess disagrees.

    Source: the paper's supervised revision of Lee 2013.
    """
    guess = np.asarray(log_probs).argmax(-1)
    agrees = np.asarray(below)[np.asarray(target), guess]
    return np.where(agrees, guess + first_fine, -1).astype(np.int32)


def majority_label(labels: ArrayLike, num_classes: int) -> int:
    """The commonest of the labels, the first on a tie.

    Example:
      >>> majority_label([2, 1, 1, 2, 0], 3)
      1
    """
    return int(np.bincount(np.asarray(labels), minlength=num_classes).argmax())
