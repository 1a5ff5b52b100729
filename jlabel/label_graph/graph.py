"""The label graph: nodes, blocks of competing nodes, and the label sets that sit on them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from jlabel.errors import InputError

__all__ = ["Block", "LabelGraph", "LabelGraphError", "LabelSet", "has_certain_path", "uncertain_nodes"]


class LabelGraphError(InputError):
    """A graph that cannot be used; ``faults`` lists every fault found, by name."""

    def __init__(self, name: str, faults: Sequence[str]):
        self.faults = tuple(faults)
        super().__init__(f"label graph {name!r}: " + "; ".join(faults))


@dataclass(frozen=True)
class Block:
    """Children of ``parent`` of which exactly one holds; ``nodes`` are node numbers."""

    parent: int
    name: str
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class LabelSet:
    """A dataset's labels and their nodes; ``final`` says that nothing finer applies to a row of this set."""

    name: str
    final: bool
    labels: tuple[str, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LabelGraph:
    """A validated label graph. Node numbers follow the order of the specification; end-of-path has number ``V``.

    Attributes:
      name: name of the graph.
      ids: ``V`` node ids. titles: ``V`` titles for people. root: node number of the root.
      edges: int ``[E, 2]``, parent and child.
      blocks: the ``G`` blocks. label_sets: the label sets.
      successors: int ``[V, S]``, children of each node, padded with ``V``.
      successor_block: int ``[V, S]``, number of the child's block among its parent's blocks, padded with -1.
      block_index: int ``[V, K]``, global numbers of a node's blocks, padded with -1.
      num_blocks: int ``[V]``, number of blocks of each node (0 at a sink).
      stops: bool ``[V]``, an inner node on which a ``final`` label sits, so that a path may end there.
      component: int ``[V]``, connected component under "share a block".
      warnings: what is allowed but doubtful.
    """

    name: str
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    root: int
    edges: np.ndarray
    blocks: tuple[Block, ...]
    label_sets: tuple[LabelSet, ...]
    successors: np.ndarray
    successor_block: np.ndarray
    block_index: np.ndarray
    num_blocks: np.ndarray
    stops: np.ndarray
    component: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def num_nodes(self) -> int:
        """``V``, the number of nodes, which is also the number of end-of-path."""
        return len(self.ids)

    @functools.cached_property
    def sinks(self) -> np.ndarray:
        """bool ``[V]``: nodes without children."""
        return self.num_blocks == 0

    @functools.cached_property
    def reaches(self) -> np.ndarray:
        """bool ``[V, V]``: ``reaches[u, w]`` when a path of at least one edge leads from ``u`` to ``w``."""
        reach = np.zeros((self.num_nodes, self.num_nodes), bool)
        children = self.successors
        for node in reversed(self.order):
            for child in children[node][children[node] < self.num_nodes]:
                reach[node, child] = True
                reach[node] |= reach[child]
        return reach

    @functools.cached_property
    def order(self) -> tuple[int, ...]:
        """Node numbers, parents before children."""
        graph = nx.DiGraph(self.edges.tolist())
        graph.add_node(self.root)
        return tuple(nx.lexicographical_topological_sort(graph))

    @functools.cached_property
    def label_nodes(self) -> np.ndarray:
        """bool ``[V]``: some label set has a label on this node."""
        marked = np.zeros(self.num_nodes, bool)
        for label_set in self.label_sets:
            marked[list(label_set.nodes)] = True
        return marked

    @functools.cached_property
    def attributes(self) -> np.ndarray:
        """bool ``[V]``: neither root nor label."""
        marked = ~self.label_nodes
        marked[self.root] = False
        return marked

    @functools.cached_property
    def competes(self) -> np.ndarray:
        """bool ``[V, V]``: two different nodes share a block."""
        shared = np.zeros((self.num_nodes, self.num_nodes), bool)
        for block in self.blocks:
            shared[np.ix_(block.nodes, block.nodes)] = True
        np.fill_diagonal(shared, False)
        return shared

    def label_set(self, name: str) -> LabelSet:
        """The label set of that name; raises `LabelGraphError` naming those there are."""
        for label_set in self.label_sets:
            if label_set.name == name:
                return label_set
        raise LabelGraphError(self.name, [f"no label set {name!r}; there are {[s.name for s in self.label_sets]}"])


def uncertain_nodes(graph: LabelGraph, node: int) -> np.ndarray:
    """bool ``[V]``: ancestors of ``node`` that compete with another of its ancestors (by reachability)."""
    ancestors = graph.reaches[:, node]
    return ancestors & (graph.competes & ancestors[None, :]).any(1)


def has_certain_path(graph: LabelGraph, node: int) -> bool:
    """Whether some path from the root to ``node`` holds no uncertain node."""
    allowed = ~uncertain_nodes(graph, node)
    seen = np.zeros(graph.num_nodes, bool)
    seen[graph.root] = True
    for v in graph.order:
        if seen[v]:
            for child in graph.successors[v][graph.successors[v] < graph.num_nodes]:
                seen[child] |= allowed[child]
    return bool(seen[node])
