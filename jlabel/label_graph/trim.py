"""Smaller graphs: only some label sets, or fewer attribute blocks with every label kept reachable."""

from collections.abc import Sequence

import jax
import numpy as np

from jlabel.errors import InputError
from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.specification import build_graph, graph_spec

__all__ = ["contract_graph", "restrict_graph", "trim_graph"]


def restrict_graph(graph: LabelGraph, label_sets: Sequence[str]) -> LabelGraph:
    """The part of a graph that leads to the labels of some label sets.

    Args:
      graph: the graph. label_sets: names of the sets to keep; nodes that lead to none of their labels are dropped.

    Returns:
      The smaller graph, with these sets only.

    Raises:
      LabelGraphError: naming a set that the graph lacks.

    Example:
      >>> from jlabel.data import load_graph
      >>> from jlabel.label_graph import build_graph, restrict_graph
      >>> flowers = build_graph(load_graph("flowers"))
      >>> small = restrict_graph(flowers, ["flowers17", "flowers17_families"])
      >>> small.num_nodes < flowers.num_nodes, [len(s.labels) for s in small.label_sets]
      (True, [17, 8])
    """
    wanted = [graph.label_set(name) for name in label_sets]
    nodes = sorted({v for label_set in wanted for v in label_set.nodes})
    keep = np.array(graph.reaches[:, nodes].any(1))
    keep[nodes] = True
    spec = graph_spec(graph)
    names = {graph.ids[v] for v in np.flatnonzero(keep)}
    spec["nodes"] = [node for node in spec["nodes"] if node["id"] in names]
    spec["edges"] = [edge for edge in spec["edges"] if edge[1] in names]
    blocks = [{**b, "nodes": [n for n in b["nodes"] if n in names]} for b in spec["blocks"] if b["parent"] in names]
    spec["blocks"] = [b for b in blocks if b["nodes"]]
    spec["label_sets"] = [s for s in spec["label_sets"] if s["name"] in label_sets]
    return build_graph(spec)


def trim_graph(graph: LabelGraph, keep: float, *, key: jax.Array) -> LabelGraph:
    """Keep about a fraction of the attribute nodes, dropping whole blocks drawn at random.

    A node that loses all its parents moves up to the parents of what was dropped, so labels stay reachable.

    Args:
      graph: the graph. keep: fraction of attribute nodes to keep, in [0, 1].
      key: typed key; among the sets of blocks that come nearest to the fraction, one is drawn.

    Returns:
      The trimmed graph.

    Raises:
      InputError: if ``keep`` lies outside [0, 1].

    Example:
      >>> import jax
      >>> from jlabel.data import load_graph
      >>> from jlabel.label_graph import build_graph, trim_graph
      >>> pets = build_graph(load_graph("pets"))
      >>> [int(trim_graph(pets, keep, key=jax.random.key(0)).attributes.sum()) for keep in (1.0, 0.64, 0.37, 0.0)]
      [33, 21, 12, 0]
    """
    if not 0 <= keep <= 1:
        raise InputError(f"keep={keep} must lie in [0, 1]")
    attributes = graph.attributes
    droppable = [b for b, block in enumerate(graph.blocks) if attributes[list(block.nodes)].all()]
    drop_total = int(attributes.sum()) - round(keep * int(attributes.sum()))
    order = [droppable[i] for i in np.asarray(jax.random.permutation(key, len(droppable)))] if droppable else []
    # Subset sums reachable with whole blocks; an attribute in two blocks counts once, so sets of nodes are kept.
    reachable: dict[int, frozenset[int]] = {0: frozenset()}
    for b in order:
        for dropped in list(reachable.values()):
            union = dropped | set(graph.blocks[b].nodes)
            reachable.setdefault(len(union), union)
    gone = reachable[min(reachable, key=lambda total: (abs(total - drop_total), total))]
    if not gone:
        return graph
    ids = graph.ids
    parents: dict[int, list[int]] = {v: [] for v in range(graph.num_nodes)}
    for parent, child in graph.edges.tolist():
        parents[child].append(parent)

    def kept_parents(node: int) -> list[int]:
        """Parents that stay; a node that would have none takes its lost parents' own."""
        found = [p for p in parents[node] if p not in gone]
        if not found:
            found = [above for p in parents[node] for above in kept_parents(p)]
        return list(dict.fromkeys(found))

    spec = graph_spec(graph)
    kept = [v for v in range(graph.num_nodes) if v not in gone]
    spec["name"] = f"{graph.name} ({keep:g} of the attributes)"
    spec["nodes"] = [spec["nodes"][v] for v in kept]
    spec["edges"] = [[ids[p], ids[v]] for v in kept for p in kept_parents(v)]
    names = {ids[v] for v in kept}
    blocks = [{**b, "nodes": [n for n in b["nodes"] if n in names]} for b in spec["blocks"] if b["parent"] in names]
    spec["blocks"] = [b for b in blocks if b["nodes"]]
    return build_graph(spec)


def contract_graph(graph: LabelGraph) -> LabelGraph:
    """Drop the nodes that decide nothing: without a label, with a single child that has no other parent.

    WordNet's hypernyms are full of such chains. The child takes the node's place, so paths are the same, only shorter.

    Args:
      graph: the graph.

    Returns:
      The smaller graph, with the same labels and competitors.

    Example:
      >>> from jlabel.data import load_graph
      >>> from jlabel.label_graph import build_graph, contract_graph
      >>> graph = build_graph(load_graph("tiny_imagenet"))
      >>> graph.num_nodes, contract_graph(graph).num_nodes
      (543, 410)
    """
    parents, children = (np.bincount(graph.edges[:, side], minlength=graph.num_nodes) for side in (1, 0))
    only_child = {p: c for p, c in graph.edges.tolist() if children[p] == 1 and parents[c] == 1}
    gone = {p for p in only_child if not graph.label_nodes[p] and p != graph.root}

    def end(node: int) -> str:
        while node in gone:
            node = only_child[node]
        return graph.ids[node]

    spec, names = graph_spec(graph), {graph.ids[v] for v in gone}
    spec["nodes"] = [node for node in spec["nodes"] if node["id"] not in names]
    spec["edges"] = [[graph.ids[p], end(c)] for p, c in graph.edges.tolist() if p not in gone]
    place = {name: v for v, name in enumerate(graph.ids)}
    spec["blocks"] = [
        {**block, "nodes": [end(place[node]) for node in block["nodes"]]}
        for block in spec["blocks"]
        if block["parent"] not in names
    ]
    return build_graph(spec)
