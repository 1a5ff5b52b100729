"""Probabilities of every step of a prefix tree, and sums along its branches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.paths import PathTree
from jlabel.label_graph.steps import ApplyFn, Competition, Gate, expanded, log_gates

__all__ = ["accumulate", "graph_parent", "tree_blocks", "tree_step_log_probs"]


def tree_step_log_probs(
    apply_fn: ApplyFn,
    params: Any,
    features: jax.Array,
    graph: LabelGraph,
    tree: PathTree,
    *,
    gate: Gate = "uniform",
    competition: Competition = "block",
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of every step of a prefix tree, running the decoder once per inner tree node.

    Args:
      apply_fn, params: the decoder. features: ``[B, D]``. graph, tree: the graph and a tree of its paths.
      gate, competition: as in `edge_log_probs`.

    Returns:
      ``[B, M]``, log-probability of entering each tree node from its parent (0 at the root), and ``[B, M]``, of
      ending there (0 at sinks and wherever a path cannot end).
    """
    batch, inner = features.shape[0], ~graph.sinks[tree.node]
    steps, ends = [jnp.zeros((batch, 1), features.dtype)], []
    state, logits, gates = expanded(apply_fn(params, features), axis=1)
    slots = np.array([0])  # tree numbers of the inner nodes of this level
    for depth in range(len(tree.levels) - 1):
        here = np.arange(tree.levels[depth], tree.levels[depth + 1])
        after = tree.levels[depth + 2] if depth + 2 < len(tree.levels) else tree.levels[depth + 1]
        children = np.arange(tree.levels[depth + 1], after)
        step, end = _level(graph, tree, slots, children, logits, gates, gate, competition)
        ends.append(_place(end, np.searchsorted(here, slots), len(here)))
        if not len(children):
            break
        steps.append(step)
        inside = inner[children]
        slots_next = children[inside]
        if len(slots_next) and state is not None:
            from_slot = np.searchsorted(slots, tree.parent[slots_next])
            nodes = jnp.broadcast_to(jnp.asarray(tree.node[slots_next]), (batch, len(slots_next)))
            state, logits, gates = apply_fn(params, jnp.take(state, from_slot, axis=1), nodes)
        slots = slots_next
    return jnp.concatenate(steps, axis=1), jnp.concatenate(ends, axis=1)


def _place(values: jax.Array, places: np.ndarray, width: int) -> jax.Array:
    """Spread columns to their places among ``width``, zero elsewhere."""
    source = np.full(width, values.shape[1])
    source[places] = np.arange(values.shape[1])
    return jnp.take(jnp.pad(values, ((0, 0), (0, 1))), source, axis=1)


def _level(
    graph: LabelGraph,
    tree: PathTree,
    slots: np.ndarray,
    children: np.ndarray,
    logits: jax.Array,
    gates: jax.Array | None,
    gate: Gate,
    competition: Competition,
) -> tuple[jax.Array, jax.Array]:
    """Steps into ``children`` ``[B, len(children)]`` and ends at ``slots`` ``[B, len(slots)]`` of one level."""
    batch, end = logits.shape[0], graph.num_nodes
    if not len(slots):
        return jnp.zeros((batch, 0), logits.dtype), jnp.zeros((batch, 0), logits.dtype)
    column = np.minimum(np.arange(len(slots)), logits.shape[1] - 1)  # a decoder without memory has one for all slots
    # One row per (slot, set of competitors); everything below is static, so gathers have constant indices.
    rows: dict[tuple[int, tuple[int, ...]], int] = {}
    of_child, local_of_child, of_block = [], [], {}
    for s, slot in enumerate(slots.tolist()):
        node = int(tree.node[slot])
        for k in range(graph.num_blocks[node]):
            members = tuple(graph.successors[node][graph.successor_block[node] == k].tolist())
            of_block[s, k] = rows.setdefault((s, members), len(rows))
    for child in children.tolist():
        s, node = int(np.searchsorted(slots, tree.parent[child])), int(tree.node[child])
        parent = int(tree.node[tree.parent[child]])
        local = int(graph.successor_block[parent][graph.successors[parent] == node][0])
        local_of_child.append(local)
        if competition == "component":
            members = tuple(np.flatnonzero(graph.component == graph.component[node]).tolist())
            of_child.append(rows.setdefault((s, members), len(rows)))
        else:
            of_child.append(of_block[s, local])
    width = 1 + max(len(members) for _, members in rows)
    index = np.zeros((len(rows), width), np.int32)
    valid = np.zeros(index.shape, bool)
    row_slot = np.array([s for s, _ in rows])
    for (s, members), r in rows.items():
        listed = [*members, end] if graph.stops[tree.node[slots[s]]] else list(members)
        index[r, : len(listed)], valid[r, : len(listed)] = listed, True
    flat = logits.reshape(batch, -1)
    picked = jnp.take(flat, column[row_slot][:, None] * (end + 1) + index, axis=1)
    totals = jax.nn.logsumexp(picked, axis=-1, where=jnp.broadcast_to(valid, picked.shape))
    nodes = jnp.asarray(tree.node[slots])
    if gates is not None:
        gates = jnp.take(gates, column, axis=1)
    log_gate = log_gates(graph, jnp.broadcast_to(nodes, (batch, len(slots))), gate, gates)
    flat_gate, width_gate = log_gate.reshape(batch, -1), log_gate.shape[-1]
    if len(children):
        child_slot = np.searchsorted(slots, tree.parent[children])
        chosen = jnp.take(flat, column[child_slot] * (end + 1) + tree.node[children], axis=1)
        step = chosen - jnp.take(totals, np.array(of_child), axis=1)
        step = step + jnp.take(flat_gate, child_slot * width_gate + np.array(local_of_child), axis=1)
    else:
        step = jnp.zeros((batch, 0), logits.dtype)
    ends = []
    for s, slot in enumerate(slots.tolist()):
        if graph.stops[tree.node[slot]]:
            blocks = [k for t, k in of_block if t == s]
            ends.append(
                jax.nn.logsumexp(
                    jnp.stack(
                        [log_gate[:, s, k] + logits[:, column[s], end] - totals[:, of_block[s, k]] for k in blocks]
                    ),
                    0,
                )
            )
        else:
            ends.append(jnp.zeros(batch, logits.dtype))
    return step, jnp.stack(ends, axis=1)


def graph_parent(tree: PathTree) -> np.ndarray:
    """Graph node of each tree node's parent; the root's own at the root."""
    return tree.node[np.maximum(tree.parent, 0)]


def tree_blocks(graph: LabelGraph, tree: PathTree) -> np.ndarray:
    """int ``[M]``: global block of the step into each tree node, -1 at the root."""
    of_edge = {(b.parent, node): i for i, b in enumerate(graph.blocks) for node in b.nodes}
    pairs = zip(graph_parent(tree).tolist(), tree.node.tolist(), tree.parent.tolist(), strict=True)
    return np.array([of_edge[p, v] if above >= 0 else -1 for p, v, above in pairs], np.int32)


def accumulate(tree: PathTree, steps: ArrayLike) -> jax.Array:
    """Sums from the root down to each tree node, ``[B, M]``."""
    steps = jnp.asarray(steps)
    parts = [jnp.zeros_like(steps[:, :1])]
    for depth in range(1, len(tree.levels) - 1):
        here = slice(tree.levels[depth], tree.levels[depth + 1])
        above = tree.parent[here] - tree.levels[depth - 1]
        parts.append(jnp.take(parts[-1], above, axis=1) + steps[:, here])
    return jnp.concatenate(parts, axis=1)
