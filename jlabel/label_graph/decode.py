"""From a trained decoder to paths, labels, probabilities and attributes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.plan import PathPlan
from jlabel.label_graph.steps import ApplyFn, Gate, expanded, step_log_probs
from jlabel.label_graph.tree import accumulate, tree_step_log_probs

__all__ = [
    "attribute_log_probs",
    "beam_decode",
    "decoded_labels",
    "greedy_decode",
    "label_log_probs",
    "node_log_probs",
    "sample_paths",
]


def greedy_decode(
    apply_fn: ApplyFn, params: Any, features: ArrayLike, graph: LabelGraph, *, gate: Gate = "uniform"
) -> tuple[jax.Array, jax.Array]:
    """Follow the likeliest successor from the root until the path ends (Algorithm 2).

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. graph: the graph. gate: see `step_log_probs`.

    Returns:
      Nodes int32 ``[B, T]`` (end-of-path ``V``) and mask ``[B, T]``.
    """
    nodes, mask, _ = beam_decode(apply_fn, params, features, graph, beam=1, gate=gate)
    return nodes[:, 0], mask[:, 0]


def beam_decode(
    apply_fn: ApplyFn, params: Any, features: ArrayLike, graph: LabelGraph, *, beam: int = 5, gate: Gate = "uniform"
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The ``beam`` likeliest complete paths found by beam search.

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. graph: the graph. beam: paths kept. gate: see
        `step_log_probs`.

    Returns:
      Nodes int32 ``[B, beam, T]``, mask ``[B, beam, T]``, log-probabilities ``[B, beam]``, best first; a beam that
      the graph cannot fill has -inf and an empty mask.
    """
    if beam < 1:
        raise ValueError(f"beam={beam} must be at least 1")
    features = jnp.asarray(features)
    batch, end = features.shape[0], graph.num_nodes
    state, logits, gates = expanded(apply_fn(params, features), axis=1, shape=(batch, beam))
    score = jnp.broadcast_to(jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf)[None], (batch, beam))
    node = jnp.full((batch, beam), graph.root, jnp.int32)
    tokens, done = [node], jnp.zeros((batch, beam), bool)
    for _ in range(longest_path(graph)):
        inner = jnp.minimum(node, end - 1)
        step = step_log_probs(logits, graph, inner, gate=gate, gate_logits=gates)
        only_end = jnp.where(jnp.arange(end + 1) == end, 0.0, -jnp.inf)
        step = jnp.where(done[..., None], only_end.reshape(1, 1, -1), step)
        score, flat = jax.lax.top_k((score[..., None] + step).reshape(batch, -1), beam)
        source, node = flat // (end + 1), (flat % (end + 1)).astype(jnp.int32)
        tokens = [jnp.take_along_axis(t, source, axis=1) for t in tokens] + [node]
        done = node == end
        if state is not None:
            state = jnp.take_along_axis(state, source[..., None], axis=1)
            state, logits, gates = apply_fn(params, state, node)
    nodes = jnp.stack(tokens, axis=-1)
    ended = jnp.cumsum(nodes == end, axis=-1)
    mask = (ended - (nodes == end) == 0) & jnp.isfinite(score)[..., None]
    return nodes, mask, score


def sample_paths(
    apply_fn: ApplyFn,
    params: Any,
    features: ArrayLike,
    graph: LabelGraph,
    key: jax.Array,
    *,
    samples: int,
    gate: Gate = "uniform",
) -> tuple[jax.Array, jax.Array]:
    """Draw complete paths step by step from the model (normalised at each step when ``gate="none"``).

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. graph: the graph. key: typed key. samples: ``K``.
      gate: see `step_log_probs`.

    Returns:
      Nodes int32 ``[K, B, T]`` and mask ``[K, B, T]``.
    """
    features = jnp.asarray(features)
    shape, end = (samples, features.shape[0]), graph.num_nodes
    state, logits, gates = expanded(apply_fn(params, features), axis=0, shape=shape)
    node = jnp.full(shape, graph.root, jnp.int32)
    tokens = [node]
    for step_key in jax.random.split(key, longest_path(graph)):
        inner = jnp.minimum(node, end - 1)
        step = step_log_probs(logits, graph, inner, gate=gate, gate_logits=gates)
        drawn = jax.random.categorical(step_key, step, axis=-1).astype(jnp.int32)
        node = jnp.where(node == end, end, drawn)
        tokens.append(node)
        if state is not None:
            state, logits, gates = apply_fn(params, state, node)
    nodes = jnp.stack(tokens, axis=-1)
    ended = nodes == end
    return nodes, jnp.cumsum(ended, axis=-1) - ended == 0


def longest_path(graph: LabelGraph) -> int:
    """Tokens after the root on the longest path, end-of-path included."""
    depth = np.zeros(graph.num_nodes, int)
    for node in graph.order:
        for child in graph.successors[node][graph.successors[node] < graph.num_nodes]:
            depth[child] = max(depth[child], depth[node] + 1)
    return int(depth.max()) + 1


def _reach(
    apply_fn: ApplyFn, params: Any, features: ArrayLike, plan: PathPlan, gate: Gate
) -> tuple[jax.Array, jax.Array]:
    steps, ends = tree_step_log_probs(apply_fn, params, jnp.asarray(features), plan.graph, plan.tree, gate=gate)
    return accumulate(plan.tree, steps), ends


def label_log_probs(
    apply_fn: ApplyFn, params: Any, features: ArrayLike, plan: PathPlan, label_set: str, *, gate: Gate = "uniform"
) -> jax.Array:
    """Exact log posterior of each label of a set: the sum over its paths.

    With end-of-path where the set is final, else of passing the label's node. The decoder runs once per node of the
    prefix tree. For a label with ``plan.paths.truncated`` it is a lower bound.

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. plan: from `plan_paths`. label_set: its name.
      gate: see `step_log_probs`.

    Returns:
      ``[B, C]``; the probabilities of a final set, or of a set that covers every outcome, sum to one.
    """
    reach, ends = _reach(apply_fn, params, features, plan, gate)
    place = plan.label_slice(label_set)
    end, stops = plan.tree.path_end[place], plan.tree.path_stops[place]
    at_end = jnp.take(reach, np.maximum(end, 0), axis=1)
    at_end = at_end + jnp.where(stops[None], jnp.take(ends, np.maximum(end, 0), axis=1), 0.0)
    return jax.nn.logsumexp(at_end, axis=-1, where=jnp.broadcast_to((end >= 0)[None], at_end.shape))


def node_log_probs(
    apply_fn: ApplyFn, params: Any, features: ArrayLike, plan: PathPlan, *, gate: Gate = "uniform"
) -> jax.Array:
    """Log-probability that a path passes each node.

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. plan: from `plan_paths`. gate: see `step_log_probs`.

    Returns:
      ``[B, V]``, 0 at the root, -inf at nodes on no listed path.
    """
    reach, _ = _reach(apply_fn, params, features, plan, gate)
    node, size = plan.tree.node, plan.graph.num_nodes
    width = int(np.bincount(node, minlength=size).max())
    places = np.full((size, width), -1)
    filled = np.zeros(size, int)
    for m, v in enumerate(node.tolist()):
        places[v, filled[v]] = m
        filled[v] += 1
    values = jnp.where((places >= 0)[None], jnp.take(reach, np.maximum(places, 0), axis=1), -jnp.inf)
    return jax.nn.logsumexp(values, axis=-1)


def attribute_log_probs(node_log_probs: ArrayLike, graph: LabelGraph) -> jax.Array:
    """Log-probability of each node among its competitors, ``pass(u) / sum_{w in block} pass(w)``.

    How likely a coat is striped, given that the path asked for the coat at all.

    Args:
      node_log_probs: ``[B, V]`` from `node_log_probs`. graph: the graph.

    Returns:
      ``[B, V]``; 0 for a node without competitors, -inf for one that no path passes.
    """
    passing = jnp.asarray(node_log_probs)
    block = graph.competes | np.eye(graph.num_nodes, dtype=bool)
    highest = jnp.where(jnp.isfinite(passing), passing, -1e30).max(-1, keepdims=True)
    share = jnp.exp(passing - highest) @ block.astype(np.float32)
    return jnp.where(share > 0, passing - highest - jnp.log(jnp.where(share > 0, share, 1.0)), -jnp.inf)


def decoded_labels(graph: LabelGraph, nodes: ArrayLike, mask: ArrayLike, label_set: str) -> jax.Array:
    """Class of the last node on each path that carries a label of the set; -1 (counts as wrong) where none does.

    Args:
      graph: the graph. nodes: int ``[..., T]``. mask: bool ``[..., T]``. label_set: its name.

    Returns:
      int32 ``[...]``.
    """
    nodes, mask = jnp.asarray(nodes), jnp.asarray(mask)
    table = np.full(graph.num_nodes + 1, -1, np.int32)
    for c, node in enumerate(graph.label_set(label_set).nodes):
        table[node] = c
    classes = jnp.where(mask, jnp.take(table, nodes), -1)
    last = jnp.max(jnp.where(classes >= 0, jnp.arange(nodes.shape[-1]), -1), axis=-1)
    found = jnp.take_along_axis(classes, jnp.maximum(last, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(last >= 0, found, -1)
