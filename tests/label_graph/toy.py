"""The toy graph T that the checks are worked out on, and decoders with known outputs."""

import math

import jax.numpy as jnp

T = {
    "format": "jlabel.label_graph/1",
    "name": "T",
    "root": "animal",
    "nodes": [
        {"id": i} for i in "animal cat dog short long solid tabby point british abyssinian mainecoon birman".split()
    ],
    "edges": [
        ["animal", "cat"],
        ["animal", "dog"],
        *[["cat", c] for c in ("short", "long", "solid", "tabby", "point")],
        ["short", "british"],
        ["short", "abyssinian"],
        ["long", "mainecoon"],
        ["long", "birman"],
        ["solid", "british"],
        ["solid", "mainecoon"],
        ["tabby", "british"],
        ["tabby", "abyssinian"],
        ["tabby", "mainecoon"],
        ["point", "british"],
        ["point", "birman"],
    ],
    "blocks": [
        {"parent": "cat", "name": "hair", "nodes": ["short", "long"]},
        {"parent": "cat", "name": "coat", "nodes": ["solid", "tabby", "point"]},
    ],
    "label_sets": [
        {"name": "breeds", "labels": {b: b for b in ("british", "abyssinian", "mainecoon", "birman", "dog")}},
        {"name": "species", "final": False, "labels": {"Cat": "cat"}},
    ],
}


def toy(**changes):
    """T with top-level fields replaced."""
    return {**T, **changes}


def with_final_cat():
    """T in which the species set is final: a path may end at cat."""
    return toy(label_sets=[T["label_sets"][0], {"name": "species", "final": True, "labels": {"Cat": "cat"}}])


def table_apply(num_nodes, num_gates=0, dtype=jnp.float32):
    """A decoder whose state is the node it stands on and whose logits are a row of a table (params).

    ``params`` is ``[V+1, V+1+G]``, or ``[B, V+1, V+1+G]`` for a table of each row.
    """

    def apply_fn(params, inputs, node=None):
        if node is None:
            node = jnp.zeros(inputs.shape[:-1], jnp.int32)
        out = jnp.take(params, node, axis=0)
        state = jnp.broadcast_to(node[..., None].astype(dtype), (*node.shape, 1))
        return state, out[..., : num_nodes + 1], out[..., num_nodes + 1 :] if num_gates else None

    return apply_fn


def every_path(graph, scores, gates=None, *, gate="uniform"):
    """Probability of each complete path under scores ``[V+1]`` that hold everywhere; plain Python, float64."""
    end, found = graph.num_nodes, {}

    def walk(path, prob):
        node = path[-1]
        number = [i for i, block in enumerate(graph.blocks) if block.parent == node]
        if not number:
            found[path] = found.get(path, 0.0) + prob
            return
        share = [math.exp(gates[i]) if gate == "learned" else 1.0 for i in number]
        total = 1.0 if gate == "none" else sum(share)
        for i, weight in zip(number, share, strict=True):
            members = [*graph.blocks[i].nodes, *([end] if graph.stops[node] else [])]
            powers = [math.exp(scores[w]) for w in members]
            for member, power in zip(members, powers, strict=True):
                chance = prob * weight / total * power / sum(powers)
                if member == end:
                    found[path] = found.get(path, 0.0) + chance
                else:
                    walk((*path, member), chance)

    walk((graph.root,), 1.0)
    return found
