"""The peer of `benchmarks/taxonomy_classes.py`: universal classes by restarting after every change, on networkx."""

import itertools
from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np

__all__ = ["restart_taxonomy"]


def restart_taxonomy(
    weights: np.ndarray, domain_of: Sequence[int], merge: str
) -> dict[tuple[int, ...], dict[int, float]]:
    """Applies the first rule that changes something until none does; universal class -> weight of each member.

    Args:
      weights: ``(V, V)``, 0 for no edge. domain_of: the domain of each of the ``V`` classes. merge: clique or pair.
    """
    graph = nx.DiGraph()  # domain classes are numbers, universal classes tuples of them
    graph.add_nodes_from(range(len(weights)))
    graph.add_weighted_edges_from((a, b, float(weights[a, b])) for a, b in np.argwhere(weights > 0).tolist())
    while any(rule(graph, domain_of, merge) for rule in (_isolated, _mutual, _path_into_one_domain, _one_way)):
        pass
    return {
        u: {a: graph.edges[a, u]["weight"] for a in sorted(graph.predecessors(u))}
        for u in sorted(node for node in graph if isinstance(node, tuple))
    }


def _edges(graph: nx.DiGraph) -> Iterator[tuple[int, int]]:
    """Edges between domain classes, sorted."""
    for a in range(sum(isinstance(node, int) for node in graph)):
        yield from ((a, b) for b in sorted(b for b in graph.successors(a) if isinstance(b, int)))


def _isolated(graph: nx.DiGraph, domain_of: Sequence[int], merge: str) -> bool:
    for a in range(len(domain_of)):
        if graph.degree(a) == 0:
            graph.add_edge(a, (a,), weight=1.0)
            return True
    return False


def _mutual(graph: nx.DiGraph, domain_of: Sequence[int], merge: str) -> bool:
    pairs = ((a, b) for a, b in _edges(graph) if a < b and graph.has_edge(b, a))
    if merge == "pair":
        groups = [set(pair) for pair in itertools.islice(pairs, 1)]
    else:  # cliques may share edges, so all are made at once
        groups = [set(clique) for clique in nx.find_cliques(nx.Graph(pairs))]
    means = {}
    for group in groups:
        both = [graph.edges[edge]["weight"] for edge in itertools.permutations(sorted(group), 2)]
        means[tuple(sorted(group))] = sum(both) / len(both)
    graph.remove_edges_from([edge for group in groups for edge in itertools.permutations(group, 2)])
    for members, mean in means.items():
        graph.add_weighted_edges_from((a, members, mean) for a in members)
    return bool(groups)


def _path_into_one_domain(graph: nx.DiGraph, domain_of: Sequence[int], merge: str) -> bool:
    found = []
    for a, b in _edges(graph):
        for c in graph.successors(b):
            if isinstance(c, int) and domain_of[c] == domain_of[a]:
                first, second = graph.edges[a, b]["weight"], graph.edges[b, c]["weight"]
                found.append((first, a, b) if first < second else (second, b, c))
    if found:
        graph.remove_edge(*min(found)[1:])
    return bool(found)


def _one_way(graph: nx.DiGraph, domain_of: Sequence[int], merge: str) -> bool:
    for a, b in _edges(graph):
        weight = graph.edges[a, b]["weight"]
        graph.remove_edge(a, b)
        both = (min(a, b), max(a, b))
        graph.add_weighted_edges_from([(a, both, weight), (b, both, weight), (b, (b,), 1.0)])
        return True
    return False
