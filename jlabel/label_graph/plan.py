"""Everything about a graph's paths that training and prediction need, worked out once on the host."""

from dataclasses import dataclass

import jax
import numpy as np

from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.paths import Paths, PathTree, enumerate_paths, path_tree

__all__ = ["PathPlan", "plan_paths"]


@dataclass(frozen=True, eq=False)
class PathPlan:
    """Paths of the labels of every label set, as classes ``0..C-1``, and their shared prefix tree.

    Attributes:
      graph: the graph. paths: paths of all classes. tree: their prefix tree.
      offsets: first class of each label set, by name.
      class_nodes: int32 ``[C]``, node of each class. class_final: bool ``[C]``, its set is final.
      known: bool ``[C, V]``, the label nodes that a row of this class is known to pass (S of Eq. 3, root excluded).
      outcomes: int32 ``[L]``, tree node at which each complete path ends.
      outcome_stops: bool ``[L]``, the complete path ends with end-of-path at an inner node.
      outcome_rewards: float32 ``[C, L]``, |path and S| / |S| of each complete path for each class.
      complete: no label was truncated, so the outcomes are all complete paths.
      use_tree: train on the prefix tree (cheaper than path by path, and complete).
    """

    graph: LabelGraph
    paths: Paths
    tree: PathTree
    offsets: dict[str, int]
    class_nodes: np.ndarray
    class_final: np.ndarray
    known: np.ndarray
    outcomes: np.ndarray
    outcome_stops: np.ndarray
    outcome_rewards: np.ndarray
    complete: bool
    use_tree: bool

    def targets(self, label_set: str, classes: np.ndarray) -> np.ndarray:
        """Plan-wide class numbers of a label set's own class numbers ``[N]``; -1 stays -1."""
        classes = np.asarray(classes)
        return np.where(classes < 0, -1, classes + self.offsets[label_set]).astype(np.int32)

    def label_slice(self, label_set: str) -> slice:
        """Place of a label set's classes among all."""
        start = self.offsets[label_set]
        return slice(start, start + len(self.graph.label_set(label_set).labels))


def plan_paths(
    graph: LabelGraph, *, max_paths: int = 64, key: jax.Array | None = None, use_tree: bool | None = None
) -> PathPlan:
    """Enumerate the paths of every label set of a graph and share their prefixes.

    Args:
      graph: the graph. max_paths, key: as in `enumerate_paths`.
      use_tree: run the decoder over the whole prefix tree in training; by default when the tree is complete and has
        at most four times the inner nodes that the largest label's own paths have.

    Returns:
      The plan.

    Example:
      >>> from jlabel.data import load_graph
      >>> from jlabel.label_graph import build_graph, plan_paths
      >>> plan = plan_paths(build_graph(load_graph("drawn_pets")))
      >>> plan.use_tree, plan.complete
      (True, True)
    """
    names = [label_set.name for label_set in graph.label_sets]
    paths = enumerate_paths(graph, names, max_paths=max_paths, key=key)
    tree = path_tree(graph, paths)
    offsets, start = {}, 0
    for label_set in graph.label_sets:
        offsets[label_set.name] = start
        start += len(label_set.labels)
    class_nodes = np.array([v for s in graph.label_sets for v in s.nodes], np.int32)
    class_final = np.array([s.final for s in graph.label_sets for _ in s.nodes])
    ancestors = graph.reaches[:, class_nodes].T
    known = graph.label_nodes[None] & ancestors & ~paths.uncertain
    known[np.arange(len(class_nodes)), class_nodes] = True
    known[:, graph.root] = False
    on_path = _on_path(graph, tree)
    sink = graph.sinks[tree.node]
    stops = {(int(m), bool(not sink[m])) for m in tree.path_end[tree.path_stops]}
    outcomes, outcome_stops = (
        (np.array(column) for column in zip(*sorted(stops), strict=True))
        if stops
        else (
            np.zeros(0, int),
            np.zeros(0, bool),
        )
    )
    hits = known.astype(np.float32) @ on_path[outcomes].T.astype(np.float32)
    rewards = hits / np.maximum(known.sum(1, keepdims=True), 1)
    complete = not paths.truncated.any()
    inner = int((~graph.sinks[tree.node]).sum())
    own = int((paths.mask[..., :-1]).sum((1, 2)).max())
    return PathPlan(
        graph=graph,
        paths=paths,
        tree=tree,
        offsets=offsets,
        class_nodes=class_nodes,
        class_final=class_final,
        known=known,
        outcomes=outcomes.astype(np.int32),
        outcome_stops=outcome_stops.astype(bool),
        outcome_rewards=rewards.astype(np.float32),
        complete=complete,
        use_tree=complete and bool(len(outcomes)) and inner <= 4 * own if use_tree is None else use_tree,
    )


def _on_path(graph: LabelGraph, tree: PathTree) -> np.ndarray:
    """bool ``[M, V]``: graph nodes on the way to each tree node."""
    marks = np.zeros((tree.num_nodes, graph.num_nodes), bool)
    for m, (node, parent) in enumerate(zip(tree.node.tolist(), tree.parent.tolist(), strict=True)):
        if parent >= 0:
            marks[m] = marks[parent]
        marks[m, node] = True
    return marks
