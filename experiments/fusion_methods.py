"""The methods of a fusion study: a head on encoder features, its loss and its predictions."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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

__all__ = ["METHODS", "Method", "build_method"]

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
    "oracle": ("fine", "oracle"),
}


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
      name: its name. parts: the rows it trains on, of ``fine``, ``coarse``, ``pseudo`` and ``oracle``.
      init: (key, D) -> parameters of the head.
      loss: (parameters, batch with ``features`` and ``target``, key) -> (scalar, metrics).
      log_probs: (parameters, features) -> ``[B, F]``, normalised over the fine labels.
      nodes: (parameters, features) -> ``[B, V]`` log-probabilities of passing each node, or None for a flat head.
      decode: (parameters, features) -> fine class of the decoded path ``[B]``, or None.
    """

    name: str
    parts: tuple[str, ...]
    init: Callable[[jax.Array, int], Any]
    loss: Callable[[Any, dict[str, jax.Array], jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
    log_probs: Callable[[Any, jax.Array], jax.Array]
    nodes: Callable[[Any, jax.Array], jax.Array] | None = None
    decode: Callable[[Any, jax.Array], jax.Array] | None = None


def build_method(name: str, plan: PathPlan, fine_set: str, config: Any, *, frozen: bool = False) -> Method:
    """The method of that name on this graph, with the config's options; ``frozen`` features start near zero."""
    if name.startswith("graph"):
        return _graph_method(name, plan, fine_set, config, frozen)
    if name == "Label Set":
        return _label_set_method(name, plan, fine_set, config, frozen)
    return _softmax_method(name, plan, fine_set, config, frozen)


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


def _softmax_method(name: str, plan: PathPlan, fine_set: str, config: Any, frozen: bool) -> Method:
    head: Any = _Head(len(plan.graph.label_set(fine_set).labels), config.head_hidden, frozen)
    below = labels_below(plan, fine_set)

    def loss(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        logits = head.apply(params, batch["features"])
        return marginal_softmax_loss(logits, batch["target"], below, weight=batch.get("weight")), {}

    return Method(
        name=name,
        parts=METHODS[name],
        init=lambda key, dim: head.init(key, jnp.zeros((1, dim))),
        loss=loss,
        log_probs=lambda params, features: jax.nn.log_softmax(head.apply(params, features), axis=-1),
    )


def _label_set_method(name: str, plan: PathPlan, fine_set: str, config: Any, frozen: bool) -> Method:
    head: Any = _Head(plan.graph.num_nodes, config.head_hidden, frozen)
    positive, known = label_set_targets(plan)

    def loss(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        logits = head.apply(params, batch["features"])
        return label_set_loss(logits, batch["target"], positive, known, weight=batch.get("weight")), {}

    return Method(
        name=name,
        parts=METHODS[name],
        init=lambda key, dim: head.init(key, jnp.zeros((1, dim))),
        loss=loss,
        log_probs=lambda params, features: label_set_scores(head.apply(params, features), plan, fine_set),
    )


def _graph_method(name: str, plan: PathPlan, fine_set: str, config: Any, frozen: bool) -> Method:
    graph = plan.graph
    learned = config.gate == "learned"
    module: Any = PathDecoder(
        graph.num_nodes,
        hidden=config.hidden,
        num_gates=len(graph.blocks) if learned else 0,
        skip=config.skip,
        start_scale=0.01 if frozen else 1.0,
    )
    averaged = config.baseline == "moving_average"
    credit: Any = "all" if name.endswith("(credit all)") else config.credit
    objective: Any = "marginal" if name.endswith("(marginal)") else config.objective

    def init(key: jax.Array, dim: int) -> Any:
        params = module.init(key, jnp.zeros((1, dim)))
        return {"decoder": params, "reward_average": jnp.zeros(())} if averaged else params

    def decoder(params: Any) -> Any:
        return params["decoder"] if averaged else params

    loss: Any = functools.partial(
        label_graph_loss, apply_fn=module.apply, plan=plan, objective=objective, credit=credit, gate=config.gate,
        competition=config.competition, pool=config.pool, samples=config.samples, baseline=config.baseline,
        teacher_forcing=config.teacher_forcing, alpha=config.alpha, beta=config.beta,
    )  # fmt: skip

    def log_probs(params: Any, features: jax.Array) -> jax.Array:
        found = label_log_probs(module.apply, decoder(params), features, plan, fine_set, gate=config.gate)
        return jax.nn.log_softmax(found, axis=-1)

    def decode(params: Any, features: jax.Array) -> jax.Array:
        if config.decode == "posterior":
            return log_probs(params, features).argmax(-1)
        if config.decode == "greedy":
            nodes, mask = greedy_decode(module.apply, decoder(params), features, graph, gate=config.gate)
            return decoded_labels(graph, nodes, mask, fine_set)
        nodes, mask, _ = beam_decode(module.apply, decoder(params), features, graph, gate=config.gate)
        return decoded_labels(graph, nodes[:, 0], mask[:, 0], fine_set)

    return Method(
        name=name,
        parts=METHODS[name],
        init=init,
        loss=loss,
        log_probs=log_probs,
        nodes=lambda params, features: node_log_probs(module.apply, decoder(params), features, plan, gate=config.gate),
        decode=decode,
    )
