"""Probabilities of one step of a path."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.label_graph.graph import LabelGraph

__all__ = [
    "ApplyFn",
    "Competition",
    "Gate",
    "Outputs",
    "edge_log_probs",
    "expanded",
    "log_gates",
    "step_log_probs",
    "upward_scores",
]

Gate = Literal["uniform", "learned", "none"]
Competition = Literal["block", "component"]
# (params, features) or (params, state, node) -> (state, logits [..., V+1], gate logits [..., G] or None).
# A decoder without memory gives the state None: its first logits hold everywhere on the path.
Outputs = tuple[jax.Array | None, jax.Array, jax.Array | None]
ApplyFn = Callable[..., Outputs]


def step_log_probs(
    logits: ArrayLike,
    graph: LabelGraph,
    node: ArrayLike,
    *,
    gate: Gate = "uniform",
    gate_logits: ArrayLike | None = None,
) -> jax.Array:
    """Log-probability of every next token after ``node``.

    With ``b`` a block at ``v`` and stop(v) = {eop} if a final label sits on ``v``, else empty:
    ``p(u | v) = g(b | v) exp z_u / sum_{w in b + stop(v)} exp z_w``,
    ``p(eop | v) = sum_b g(b | v) exp z_eop / sum_{w in b + stop(v)} exp z_w``; at a sink p(eop) = 1.

    Args:
      logits: ``[..., V+1]``, end-of-path last. graph: the graph. node: int ``[...]``, where the path stands.
      gate: ``"uniform"`` (1 / number of blocks), ``"learned"`` (softmax of ``gate_logits`` over v's blocks) or
        ``"none"`` (1: the paper's, which sums to the number of blocks).
      gate_logits: ``[..., G]`` for the learned gate.

    Returns:
      ``[..., V+1]``, -inf off the successors.

    Raises:
      ValueError: on logits of the wrong width, an unknown gate, or a learned gate without logits.

    Example:
      >>> import numpy as np
      >>> from jlabel.label_graph import build_graph
      >>> graph = build_graph({"format": "jlabel.label_graph/1", "name": "g", "root": "r", "nodes": [{"id": i} for i in
      ...     "rabc"], "edges": [["r", "a"], ["r", "b"], ["r", "c"]], "blocks": [{"parent": "r", "nodes": ["a", "b"]}]})
      >>> print(np.exp(step_log_probs(np.zeros(5), graph, 0)))
      [0.   0.25 0.25 0.5  0.  ]
    """
    logits, node = jnp.asarray(logits), jnp.asarray(node)
    if logits.shape[-1] != graph.num_nodes + 1:
        raise ValueError(f"logits have {logits.shape[-1]} columns, the graph needs V + 1 = {graph.num_nodes + 1}")
    successors, blocks = jnp.take(graph.successors, node, axis=0), jnp.take(graph.successor_block, node, axis=0)
    at_successors = jnp.take_along_axis(logits, successors, axis=-1)
    stops, eop = jnp.take(graph.stops, node), logits[..., -1]
    log_gate = log_gates(graph, node, gate, gate_logits)
    values = jnp.full_like(at_successors, -jnp.inf)
    eop_terms = []
    for k in range(graph.block_index.shape[1]):  # few: the most blocks that one node has
        inside = blocks == k
        total = _logsumexp(at_successors, inside)
        total = jnp.where(stops, jnp.logaddexp(total, eop), total)
        values = jnp.where(inside, at_successors - total[..., None] + log_gate[..., k : k + 1], values)
        eop_terms.append(jnp.where(stops & inside.any(-1), log_gate[..., k] + eop - total, -jnp.inf))
    end = jnp.where(jnp.take(graph.sinks, node), 0.0, jax.nn.logsumexp(jnp.stack(eop_terms), axis=0))
    scattered = jnp.full(logits.shape, -jnp.inf, logits.dtype)
    # Padding points at end-of-path, which is written last.
    scattered = jnp.put_along_axis(scattered, successors, values, axis=-1, inplace=False)
    return scattered.at[..., -1].set(end)


def edge_log_probs(
    logits: jax.Array,
    graph: LabelGraph,
    parent: jax.Array,
    child: jax.Array,
    *,
    gate: Gate,
    gate_logits: jax.Array | None,
    competition: Competition = "block",
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of given steps, from the target's block only, and the places of that block.

    Args:
      logits: ``[..., V+1]``. parent, child: int ``[...]``; ``child`` may be end-of-path.
      gate, gate_logits: as in `step_log_probs`. competition: ``"component"`` lets a node compete with all nodes
        that are connected with it by shared blocks.

    Returns:
      Log-probabilities ``[...]``, and bool ``[..., S]``, which successors of the parent share the child's block.
    """
    successors, blocks = jnp.take(graph.successors, parent, axis=0), jnp.take(graph.successor_block, parent, axis=0)
    block = jnp.max(jnp.where(successors == child[..., None], blocks, -1), axis=-1)
    inside = (blocks == block[..., None]) & (block >= 0)[..., None]
    stops, eop = jnp.take(graph.stops, parent), logits[..., -1]
    if competition == "component":
        component = np.append(graph.component, -1)
        same = jnp.take(component, child)[..., None] == component.reshape((1,) * child.ndim + component.shape)
        total = _logsumexp(logits, same)
    else:
        total = _logsumexp(jnp.take_along_axis(logits, successors, axis=-1), inside)
    total = jnp.where(stops, jnp.logaddexp(total, eop), total)
    log_gate = log_gates(graph, parent, gate, gate_logits)
    chosen_gate = jnp.take_along_axis(log_gate, jnp.maximum(block, 0)[..., None], axis=-1)[..., 0]
    step = jnp.take_along_axis(logits, child[..., None], axis=-1)[..., 0] - total + chosen_gate
    is_end = child == graph.num_nodes
    if not graph.stops.any():
        return jnp.where(is_end, 0.0, step), inside
    end = step_log_probs(logits, graph, parent, gate=gate, gate_logits=gate_logits)[..., -1]
    return jnp.where(is_end, jnp.where(jnp.isfinite(end), end, 0.0), step), inside


def _logsumexp(values: jax.Array, where: jax.Array) -> jax.Array:
    """Log-sum-exp over the last axis; 0 where nothing is selected, so that gradients stay finite."""
    some = where.any(-1)
    return jax.nn.logsumexp(values, axis=-1, where=where | ~some[..., None])


def log_gates(graph: LabelGraph, node: jax.Array, gate: Gate, gate_logits: ArrayLike | None) -> jax.Array:
    """Log gate of each of a node's blocks, ``[..., K]``."""
    index = jnp.take(graph.block_index, node, axis=0)
    if gate == "learned":
        if gate_logits is None:
            raise ValueError('gate="learned" needs gate_logits: build PathDecoder with num_gates=len(graph.blocks)')
        picked = jnp.take_along_axis(jnp.asarray(gate_logits), jnp.maximum(index, 0), axis=-1)
        return picked - _logsumexp(picked, index >= 0)[..., None]
    if gate == "uniform":
        count = np.log(np.maximum(graph.num_blocks, 1))
        return jnp.broadcast_to(-jnp.take(count, node)[..., None], index.shape)
    if gate == "none":
        return jnp.zeros(index.shape)
    raise ValueError(f'gate={gate!r}: choose "uniform", "learned" or "none"')


def expanded(outputs: Outputs, *, axis: int, shape: tuple[int, ...] | None = None) -> Outputs:
    """A decoder's state, logits and gate logits with a new axis, repeated to ``[*shape, ...]`` where it is given."""

    def one(x: jax.Array) -> jax.Array:
        x = jnp.expand_dims(x, axis)
        return x if shape is None else jnp.broadcast_to(x, (*shape, x.shape[-1]))

    state, logits, gates = outputs
    return None if state is None else one(state), one(logits), None if gates is None else one(gates)


def upward_scores(scores: ArrayLike, graph: LabelGraph, *, inner_scale: float = 0.2) -> jax.Array:
    """Let the evidence for what lies below a node speak for the node.

    ``s'_u = c s_u + mean_b log sum_{w in b + stop(u)} exp s'_w`` over u's blocks b, from the sinks up.

    A path whose steps are a softmax of s' within each block then has, where every node has one block, the probability
    exp(sum of c s over the path), normalised over all paths: one softmax over the labels, whose scores share the parts
    of their common ancestors. With s alone an upper node's score is linear in the features, which "animal or artifact"
    is not; as a log-sum-exp over what is below it need not be.

    Args:
      scores: ``[..., V+1]``, end-of-path last. graph: the graph. inner_scale: c of inner nodes (1 at sinks): how much
        labels with common ancestors share.

    Returns:
      ``[..., V+1]``.

    Example:
      >>> import numpy as np
      >>> from jlabel.label_graph import build_graph
      >>> graph = build_graph({"format": "jlabel.label_graph/1", "name": "g", "root": "r", "nodes": [{"id": i} for i in
      ...     "rabc"], "edges": [["r", "a"], ["r", "b"], ["a", "c"]]})
      >>> print(upward_scores(np.array([0.0, 5.0, 1.0, 2.0, 0.0]), graph)[1:4])  # a: 0.2 * 5 + 2
      [3. 1. 2.]
    """
    scores, end = jnp.asarray(scores), graph.num_nodes
    factors = np.append(np.where(graph.sinks, 1.0, inner_scale), 1.0)
    found = scores * jnp.broadcast_to(factors, scores.shape).astype(scores.dtype)
    height = np.zeros(end, int)
    for node in reversed(graph.order):
        below = graph.successors[node][graph.successors[node] < end]
        height[node] = 1 + height[below].max() if len(below) else 0
    for level in range(1, height.max() + 1):
        nodes = np.flatnonzero(height == level)
        total = jnp.zeros((*scores.shape[:-1], len(nodes)), scores.dtype)
        for k in range(int(graph.num_blocks[nodes].max())):
            inside = graph.successor_block[nodes] == k
            members = np.where(inside, graph.successors[nodes], 0)
            values, counts = jnp.take(found, members, axis=-1), jnp.broadcast_to(inside, total.shape + inside.shape[1:])
            block = _logsumexp(values, counts)
            if graph.stops[nodes].any():
                stops = jnp.broadcast_to(graph.stops[nodes], block.shape)
                block = jnp.where(stops, jnp.logaddexp(block, found[..., -1:]), block)
            total = total + jnp.where(counts.any(-1), block, 0.0)
        number = jnp.broadcast_to(graph.num_blocks[nodes], total.shape)
        found = found.at[..., nodes].add(total / number.astype(scores.dtype))
    return found
