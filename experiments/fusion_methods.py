"""The methods of a fusion study: a head on encoder features, its loss and its predictions."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jlabel.label_graph import (
    PathDecoder,
    PathPlan,
    beam_decode,
    decoded_labels,
    greedy_decode,
    label_graph_loss,
    label_log_probs,
    label_set_loss,
    label_set_scores,
    label_set_targets,
    labels_below,
    marginal_softmax_loss,
    node_log_probs,
)

__all__ = ["METHODS", "SVM", "Method", "build_method"]

# Rows of a study's table, top down: name -> rows it trains on.
METHODS = {
    "graph fused": ("fine", "coarse"),
    "graph fused (credit all)": ("fine", "coarse"),
    "graph fused (marginal)": ("fine", "coarse"),
    "graph fine-only": ("fine",),
    "FFN": ("fine",),
    "FFN + coarse marginal": ("fine", "coarse"),
    "Label Set": ("fine", "coarse"),
    "pseudo labels": ("fine", "pseudo"),
    "TF-IDF + SVM": ("fine",),
    "oracle": ("fine", "oracle"),
}
SVM = "TF-IDF + SVM"  # of texts; it has no head on an encoder


@dataclass(frozen=True)
class Method:
    """One row of the table. Methods that compute the same share their functions, so these compile once.

    Attributes:
      name: its name. parts: the rows it trains on, of ``fine``, ``coarse``, ``pseudo`` and ``oracle``.
      init: (key, D) -> parameters of the head.
      loss: (parameters, batch with ``features`` and ``target``, key) -> (scalar, metrics).
      log_probs: (parameters, features) -> ``[B, F]``, normalised over the fine labels.
      outputs: (parameters, features) -> ``log_probs``, ``decoded`` (fine class of the decoded path, or the likeliest
        one) ``[B]`` and, for a graph, ``nodes`` ``[B, V]`` (log-probabilities of passing each node).
      apply_fn: the path decoder of a graph, or None for a flat head.
      combos: sets of several classes that are targets of their own, numbered from C on (Label Set alone has them).
    """

    name: str
    parts: tuple[str, ...]
    init: Callable[[jax.Array, int], Any]
    loss: Callable[[Any, dict[str, jax.Array], jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
    log_probs: Callable[[Any, jax.Array], jax.Array]
    outputs: Callable[[Any, jax.Array], dict[str, jax.Array]]
    apply_fn: Any = None
    combos: tuple[tuple[int, ...], ...] = ()


def build_method(
    name: str, plan: PathPlan, fine_set: str, config: Any, *, frozen: bool = False,
    combos: tuple[tuple[int, ...], ...] = (),
) -> Method:  # fmt: skip
    """The method of that name on this graph, with the config's options; ``frozen`` features start near zero.

    ``combos`` are the sets of classes that rows with several labels have.
    """
    if name == "Label Set":
        functions = _label_set_functions(plan, fine_set, config.head_hidden, frozen, combos)
        return Method(name, METHODS[name], *functions, combos=combos)
    if not name.startswith("graph"):
        return Method(name, METHODS[name], *_softmax_functions(plan, fine_set, config.head_hidden, frozen))
    averaged, learned = config.baseline == "moving_average", config.gate == "learned"
    module: Any = PathDecoder(
        plan.graph.num_nodes,
        hidden=config.hidden,
        num_gates=len(plan.graph.blocks) if learned else 0,
        skip=config.skip,
        graph=plan.graph if config.upward else None,
        start_scale=0.01 if frozen else 1.0,
    )
    init, log_probs, outputs = _path_functions(plan, fine_set, module, config.gate, config.decode, averaged)
    loss = _path_loss(
        plan, module,
        objective="marginal" if name.endswith("(marginal)") else config.objective,
        credit="all" if name.endswith("(credit all)") else config.credit,
        gate=config.gate, competition=config.competition, pool=config.pool, samples=config.samples,
        baseline=config.baseline, teacher_forcing=config.teacher_forcing, alpha=config.alpha, beta=config.beta,
    )  # fmt: skip
    return Method(name, METHODS[name], init, loss, log_probs, outputs, module.apply)


class _Head(nn.Module):
    """A linear layer, with one hidden layer before it when ``hidden`` is positive."""

    outputs: int
    hidden: int = 0
    from_zero: bool = False

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        if self.hidden:
            features = nn.relu(nn.Dense(self.hidden)(features))
        # From zero, a head on frozen features never leaves what the training rows show.
        init = nn.initializers.zeros if self.from_zero else nn.initializers.lecun_normal()
        return nn.Dense(self.outputs, kernel_init=init)(features)


def _flat_functions(head: Any, loss: Any, log_probs: Any) -> tuple[Any, Any, Any, Any]:
    """Init, loss, log_probs and outputs of a flat head."""

    def outputs(params: Any, features: jax.Array) -> dict[str, jax.Array]:
        found = log_probs(params, features)
        return {"log_probs": found, "decoded": found.argmax(-1)}

    return lambda key, dim: head.init(key, jnp.zeros((1, dim))), loss, log_probs, outputs


@functools.lru_cache(maxsize=16)
def _softmax_functions(plan: PathPlan, fine_set: str, hidden: int, frozen: bool) -> tuple[Any, Any, Any, Any]:
    head: Any = _Head(len(plan.graph.label_set(fine_set).labels), hidden, frozen)
    below = labels_below(plan, fine_set)

    def loss(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        logits = head.apply(params, batch["features"])
        return marginal_softmax_loss(logits, batch["target"], below, weight=batch.get("weight")), {}

    return _flat_functions(
        head, loss, lambda params, features: jax.nn.log_softmax(head.apply(params, features), axis=-1)
    )


@functools.lru_cache(maxsize=16)
def _label_set_functions(
    plan: PathPlan, fine_set: str, hidden: int, frozen: bool, combos: tuple[tuple[int, ...], ...]
) -> tuple[Any, Any, Any, Any]:
    head: Any = _Head(plan.graph.num_nodes, hidden, frozen)
    positive, known = label_set_targets(plan)
    for classes in combos:  # a node is known where every label says something about it, or one that it is there
        together = positive[list(classes)].any(0)
        positive = np.vstack([positive, together])
        known = np.vstack([known, known[list(classes)].all(0) | together])

    def loss(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        logits = head.apply(params, batch["features"])
        return label_set_loss(logits, batch["target"], positive, known, weight=batch.get("weight")), {}

    return _flat_functions(
        head, loss, lambda params, features: label_set_scores(head.apply(params, features), plan, fine_set)
    )


@functools.lru_cache(maxsize=16)
def _path_loss(plan: PathPlan, module: Any, **options: Any) -> Any:
    return functools.partial(label_graph_loss, apply_fn=module.apply, plan=plan, **options)


@functools.lru_cache(maxsize=16)
def _path_functions(
    plan: PathPlan, fine_set: str, module: Any, gate: Any, decode: str, averaged: bool
) -> tuple[Any, Any, Any]:
    """Init, log_probs and outputs of a path decoder."""
    graph, apply_fn = plan.graph, module.apply

    def init(key: jax.Array, dim: int) -> Any:
        params = module.init(key, jnp.zeros((1, dim)))
        return {"decoder": params, "reward_average": jnp.zeros(())} if averaged else params

    def log_probs(params: Any, features: jax.Array) -> jax.Array:
        decoder = params["decoder"] if averaged else params
        return jax.nn.log_softmax(label_log_probs(apply_fn, decoder, features, plan, fine_set, gate=gate), axis=-1)

    def outputs(params: Any, features: jax.Array) -> dict[str, jax.Array]:
        decoder = params["decoder"] if averaged else params
        found = log_probs(params, features)
        if decode == "posterior":
            decoded = found.argmax(-1)
        elif decode == "greedy":
            nodes, mask = greedy_decode(apply_fn, decoder, features, graph, gate=gate)
            decoded = decoded_labels(graph, nodes, mask, fine_set)
        else:
            nodes, mask, _ = beam_decode(apply_fn, decoder, features, graph, gate=gate)
            decoded = decoded_labels(graph, nodes[:, 0], mask[:, 0], fine_set)
        passed = node_log_probs(apply_fn, decoder, features, plan, gate=gate)
        return {"log_probs": found, "decoded": decoded, "nodes": passed}

    return init, log_probs, outputs
