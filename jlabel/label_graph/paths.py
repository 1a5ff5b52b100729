"""Paths from the root to a label: counting, enumeration, certainty, and the prefix tree they share."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from jlabel.label_graph.graph import LabelGraph, LabelSet, uncertain_nodes

__all__ = ["PathTree", "Paths", "count_paths", "enumerate_paths", "path_tree"]


class Paths(NamedTuple):
    """Paths of ``C`` labels, at most ``P`` each of at most ``T`` tokens; padding is 0 and masked.

    Attributes:
      nodes: int32 ``[C, P, T]`` node numbers from the root; end-of-path is ``V``.
      mask: bool ``[C, P, T]``, true on tokens. valid: bool ``[C, P]``, true on paths.
      deterministic: bool ``[C, P]``, no uncertain node on the path.
      uncertain: bool ``[C, V]``, the node and a competitor of it are both ancestors of the label.
      truncated: bool ``[C]``, the label has more paths than are listed.
    """

    nodes: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    deterministic: np.ndarray
    uncertain: np.ndarray
    truncated: np.ndarray


def count_paths(graph: LabelGraph, label_set: str | None = None) -> dict[str, int]:
    """Number of root-to-label paths of each label, exact however many there are.

    Args:
      graph: the graph. label_set: name of the label set; by default every label of every set, as ``set/label``.

    Returns:
      ``{label: count}``, Python integers.

    Example:
      >>> from jlabel.label_graph import build_graph
      >>> graph = build_graph({"format": "jlabel.label_graph/1", "name": "diamond", "root": "r",
      ...     "nodes": [{"id": i} for i in "rabx"], "edges": [["r", "a"], ["r", "b"], ["a", "x"], ["b", "x"]],
      ...     "label_sets": [{"name": "s", "labels": {"x": "x"}}]})
      >>> count_paths(graph, "s")
      {'x': 2}
    """
    counts = [0] * graph.num_nodes
    counts[graph.root] = 1
    for node in graph.order:
        for child in _children(graph, node):
            counts[child] += counts[node]
    sets = graph.label_sets if label_set is None else [graph.label_set(label_set)]
    return {
        label if label_set is not None else f"{s.name}/{label}": counts[node]
        for s in sets
        for label, node in zip(s.labels, s.nodes, strict=True)
    }


def enumerate_paths(
    graph: LabelGraph, label_set: str | Sequence[str], *, max_paths: int = 64, key: jax.Array | None = None
) -> Paths:
    """List the paths of each label of a set, in lexicographic order of node numbers.

    A path ends with end-of-path (``V``) where its label is ``final`` or sits on a sink, and at its label's node
    otherwise: of a coarse label it is unknown whether something finer applies.

    Args:
      graph: the graph. label_set: name of a label set, or several, whose classes are then concatenated.
      max_paths: a label with more gets this many distinct ones drawn uniformly, and ``truncated``.
      key: typed key for that draw; needed only when a label has more than ``max_paths``.

    Returns:
      `Paths`.

    Raises:
      ValueError: if ``max_paths < 1``, or a draw is needed and ``key`` is missing.

    Source: sections 3.2.2 and 3.2.3 (definitions 3.1 to 3.3), with certainty decided by reachability.
    """
    if max_paths < 1:
        raise ValueError(f"max_paths={max_paths} must be at least 1")
    names = [label_set] if isinstance(label_set, str) else list(label_set)
    classes: list[tuple[int, bool]] = []
    for name in names:
        chosen: LabelSet = graph.label_set(name)
        classes += [(node, chosen.final) for node in chosen.nodes]
    per_class, truncated = [], []
    for c, (node, final) in enumerate(classes):
        found, cut = _paths_to(graph, node, max_paths, key, c)
        ends = [graph.num_nodes] if final or graph.sinks[node] else []
        per_class.append([path + ends for path in found])
        truncated.append(cut)
    width = max(len(paths) for paths in per_class)
    length = max(len(path) for paths in per_class for path in paths)
    nodes = np.zeros((len(classes), width, length), np.int32)
    mask = np.zeros(nodes.shape, bool)
    for c, paths in enumerate(per_class):
        for p, path in enumerate(paths):
            nodes[c, p, : len(path)] = path
            mask[c, p, : len(path)] = True
    uncertain = np.stack([uncertain_nodes(graph, node) for node, _ in classes])
    padded = np.concatenate([uncertain, np.zeros((len(classes), 1), bool)], 1)  # end-of-path is never uncertain
    on_path = padded[np.arange(len(classes))[:, None, None], nodes] & mask
    valid = np.asarray(mask.any(-1))
    return Paths(nodes, mask, valid, np.asarray(valid & ~on_path.any(-1)), uncertain, np.asarray(truncated))


def _children(graph: LabelGraph, node: int) -> list[int]:
    row = graph.successors[node]
    return row[row < graph.num_nodes].tolist()


def _paths_to(
    graph: LabelGraph, target: int, max_paths: int, key: jax.Array | None, salt: int
) -> tuple[list[list[int]], bool]:
    """Paths to one node: all in lexicographic order, or a uniform draw by unranking."""
    onward = {target: 1}  # number of paths from a node to the target; absent where there is none
    for node in reversed(graph.order):
        total = sum(onward.get(child, 0) for child in _children(graph, node)) if node != target else 1
        if total:
            onward[node] = total
    count = onward[graph.root]
    if count <= max_paths:
        ranks: Sequence[int] = range(count)
    else:
        if key is None:
            raise ValueError(
                f"label node {graph.ids[target]!r} has {count} paths, more than max_paths={max_paths}: "
                "pass a key to draw"
            )
        seed = int(jax.random.bits(jax.random.fold_in(key, salt), dtype=np.uint32))
        source, drawn = random.Random(seed), set[int]()
        while len(drawn) < max_paths:
            drawn.add(source.randrange(count))
        ranks = sorted(drawn)
    paths = []
    for rank in ranks:
        node, path = graph.root, [graph.root]
        while node != target:
            for child in _children(graph, node):  # children stand in node order, so ranks are lexicographic
                size = onward.get(child, 0)
                if rank < size:
                    node = child
                    break
                rank -= size
            path.append(node)
        paths.append(path)
    return paths, count > max_paths


@dataclass(frozen=True, eq=False)
class PathTree:
    """Prefix tree of a set of paths: each distinct prefix once, levels in order, the root first.

    The recurrent step of a prefix is run once however many paths share it.

    Attributes:
      node: int32 ``[M]`` graph node of each tree node. parent: int32 ``[M]`` tree parent, -1 at the root.
      levels: start of each depth in ``node``, and ``M`` last.
      path_end: int32 ``[C, P]``, tree node at which each path ends (end-of-path stripped), -1 for padding.
      path_stops: bool ``[C, P]``, the path ends with end-of-path.
    """

    node: np.ndarray
    parent: np.ndarray
    levels: tuple[int, ...]
    path_end: np.ndarray
    path_stops: np.ndarray

    @property
    def num_nodes(self) -> int:
        """``M``, the number of tree nodes."""
        return len(self.node)


def path_tree(graph: LabelGraph, paths: Paths) -> PathTree:
    """Share the prefixes of paths.

    Args:
      graph: the graph (for the number of end-of-path). paths: from `enumerate_paths`.

    Returns:
      The tree, levels in breadth-first order.
    """
    end = graph.num_nodes
    prefixes: set[tuple[int, ...]] = {(graph.root,)}
    ends: dict[tuple[int, int], tuple[int, ...]] = {}
    stops = np.zeros(paths.valid.shape, bool)
    for c, p in np.argwhere(paths.valid).tolist():
        path = tuple(paths.nodes[c, p][paths.mask[c, p]].tolist())
        if path[-1] == end:
            stops[c, p], path = True, path[:-1]
        ends[c, p] = path
        prefixes.update(path[:t] for t in range(1, len(path) + 1))
    ordered = sorted(prefixes, key=lambda prefix: (len(prefix), prefix))
    number = {prefix: i for i, prefix in enumerate(ordered)}
    depth = np.array([len(prefix) for prefix in ordered])
    path_end = np.full(paths.valid.shape, -1, np.int32)
    for place, prefix in ends.items():
        path_end[place] = number[prefix]
    return PathTree(
        node=np.array([prefix[-1] for prefix in ordered], np.int32),
        parent=np.array([number.get(prefix[:-1], -1) for prefix in ordered], np.int32),
        levels=tuple(np.searchsorted(depth, np.arange(1, depth.max() + 2)).tolist()),
        path_end=path_end,
        path_stops=stops,
    )
