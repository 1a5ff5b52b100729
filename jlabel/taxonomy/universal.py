"""Universal classes: sets of domain classes, at most one of a domain, that one model predicts."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from jlabel.taxonomy.checks import TaxonomyError
from jlabel.taxonomy.relations import Relations

__all__ = ["Member", "Taxonomy", "assemble", "build_taxonomy"]

Member = tuple[int, int]  # number of the domain, number of the class in it
_Found = dict[tuple[int, ...], dict[int, float]]  # universal class (numbers in the flat order) -> weight of each member

_MOST_CLIQUES = 50  # per class; beyond, the relations say that everything is everything


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """Universal classes and how much each domain class belongs to them.

    Attributes:
      domains: names of the ``D`` domains. class_names: of each domain, the names of its ``C_a`` classes.
      members: of each universal class, its ``(domain, class)`` numbers, sorted.
      weights: of each domain, float64 ``(C_a, U)``, at least 0; a row is a class's weight on each universal class.
    """

    domains: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    members: tuple[tuple[Member, ...], ...]
    weights: tuple[np.ndarray, ...]

    @property
    def num_classes(self) -> int:
        """``U``, the number of universal classes."""
        return len(self.members)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """A readable name of each universal class, such as ``"a: dog + b: dalmatian"``."""
        return tuple(" + ".join(f"{self.domains[a]}: {self.class_names[a][i]}" for a, i in u) for u in self.members)

    @functools.cached_property
    def owners(self) -> np.ndarray:
        """int32 ``(D, U)``: the class of each domain that a universal class holds, -1 where it holds none."""
        found = np.full((len(self.domains), self.num_classes), -1, np.int32)
        for u, members in enumerate(self.members):
            for a, i in members:
                found[a, u] = i
        found.setflags(write=False)
        return found

    @functools.cached_property
    def holders(self) -> np.ndarray:
        """int32 ``(D, max C_a, K)``: the at most ``K`` universal classes of each class, padded with ``U``."""
        held = [[np.flatnonzero(row) for row in weights] for weights in self.weights]
        most = max(len(numbers) for of_domain in held for numbers in of_domain)
        found = np.full((len(held), max(map(len, held)), most), self.num_classes, np.int32)
        for a, of_domain in enumerate(held):
            for i, numbers in enumerate(of_domain):
                found[a, i, : len(numbers)] = numbers
        found.setflags(write=False)
        return found


def build_taxonomy(relations: Relations, *, merge: str = "clique") -> Taxonomy:
    """Universal classes of a set of relations.

    The first of these rules that changes something is applied, again and again: (1) a class A without edges becomes
    {A}, weight 1; (2) mutual edges A <-> B become {A, B} with the mean of the two weights; (3) of A -> B -> C, with A
    and C of one domain, the weaker edge is dropped, on a tie the second, and the weakest such edge first; (4) A -> B of
    weight w alone (A lies within B) becomes {A, B}, weight w on both sides, and {B}, weight 1.

    Args:
      relations: edges from the class a row has to the class that is predicted.
      merge: ``"clique"``: under rule 2 every maximal set of mutually related classes is one class, with the mean of
        its weights; ``"pair"``: each pair is one, as published.

    Returns:
      The taxonomy; universal classes in the order of their members. It depends on neither hashing nor, where weights
      are distinct, the order of domains and classes.

    Raises:
      TaxonomyError: an unknown ``merge``, or so many cliques that the relations cannot mean them.

    Example:
      >>> import numpy as np
      >>> relations = Relations(("a", "b"), (("dog", "cat"), ("dalmatian", "boat")), np.array(
      ...     [[0, 0, 0.8, 0], [0, 0, 0, 0], [0.6, 0, 0, 0], [0, 0, 0, 0]]))
      >>> taxonomy = build_taxonomy(relations)
      >>> taxonomy.names
      ('a: dog + b: dalmatian', 'a: cat', 'b: boat')
      >>> taxonomy.weights[1].tolist()
      [[0.7, 0.0, 0.0], [0.0, 0.0, 1.0]]

    Source: the slides' three steps.
    """
    if merge not in ("clique", "pair"):
        raise TaxonomyError(f"merge is {merge!r}; choose 'clique' or 'pair'")
    # One pass for each rule gives what restarting gives. No rule adds an edge between domain classes, so rule 2 can
    # take all mutual edges first; an edge that rule 3 may keep once it may keep ever after, as fewer edges are left;
    # rule 4 takes edges that are on no path of rule 3; and rule 1 concerns the classes that the others left out.
    weights = relations.weights.copy()
    sources, targets = np.nonzero(weights)
    mutual = weights[targets, sources] > 0
    first = mutual & (sources < targets)
    found = _mutual_classes(weights, np.stack([sources, targets], axis=1)[first].tolist(), merge)
    weights[sources[mutual], targets[mutual]] = 0
    for a, b in _one_way_edges(relations, weights, sources[~mutual], targets[~mutual]):
        found[min(a, b), max(a, b)] = dict.fromkeys((a, b), float(weights[a, b]))
        found[(b,)] = {b: 1.0}
    related = {v for members in found for v in members}
    found |= {(v,): {v: 1.0} for v in range(len(weights)) if v not in related}
    place = [(d, i) for d, names in enumerate(relations.class_names) for i in range(len(names))]
    classes = [{place[v]: weight for v, weight in found[members].items()} for members in sorted(found)]
    return assemble(relations.domains, relations.class_names, classes)


def _mutual_classes(weights: np.ndarray, pairs: list[list[int]], merge: str) -> _Found:
    """Rule 2: the classes that pairs of mutually related classes make."""
    most = _MOST_CLIQUES * len(weights)
    groups = pairs if merge == "pair" else itertools.islice(nx.find_cliques(nx.Graph(pairs)), most + 1)
    found: _Found = {}
    for group in groups:
        members = tuple(sorted(group))
        # fsum rounds once, so that no order of the classes changes the mean
        total = math.fsum(weights[edge] for edge in itertools.permutations(members, 2))
        found[members] = dict.fromkeys(members, total / (len(members) * (len(members) - 1)))
    if len(found) > most and merge == "clique":
        raise TaxonomyError(
            f"relations have more than {most} cliques of mutual edges ({len(pairs)} pairs among {len(weights)} "
            "classes); choose a stricter rule, or merge='pair'"
        )
    return found


def _one_way_edges(
    relations: Relations, weights: np.ndarray, sources: np.ndarray, targets: np.ndarray
) -> list[tuple[int, int]]:
    """Rule 3: takes edges out, in place, the weakest first and equal ones in sorted order; those that are left."""
    block = [slice(*relations.starts[d : d + 2]) for d, names in enumerate(relations.class_names) for _ in names]
    left = []
    order = np.lexsort((targets, sources, weights[sources, targets]))
    for a, b in zip(sources[order].tolist(), targets[order].tolist(), strict=True):
        weight = weights[a, b]
        # a -> b -> c with c beside a, or z -> a -> b with z beside b
        if (weights[b, block[a]] > weight).any() or (weights[block[b], a] >= weight).any():
            weights[a, b] = 0
        else:
            left.append((a, b))
    return left


def assemble(
    domains: tuple[str, ...], class_names: tuple[tuple[str, ...], ...], classes: Sequence[Mapping[Member, float]]
) -> Taxonomy:
    """The taxonomy of these universal classes, each given as the weights of its members; nothing is checked."""
    weights = tuple(np.zeros((len(names), len(classes))) for names in class_names)
    for u, members in enumerate(classes):
        for (a, i), weight in members.items():
            weights[a][i, u] = weight
    for table in weights:
        table.setflags(write=False)
    return Taxonomy(domains, class_names, tuple(tuple(sorted(members)) for members in classes), weights)
