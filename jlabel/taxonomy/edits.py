"""Hand edits of relations, and a domain that comes later."""

from collections.abc import Collection, Iterable

import numpy as np

from jlabel.taxonomy.checks import TaxonomyError
from jlabel.taxonomy.relations import Relations
from jlabel.taxonomy.spec import nearest
from jlabel.taxonomy.universal import Member, Taxonomy, assemble, build_taxonomy

__all__ = ["ClassName", "add_domain", "edit_relations"]

ClassName = str | tuple[str | int, str | int]
Pair = tuple[ClassName, ClassName]


def edit_relations(relations: Relations, *, forbid: Iterable[Pair] = (), force: Iterable[Pair] = ()) -> Relations:
    """Relations with some edges taken out and others put in by hand.

    An edge has a direction: ``("a:cat", "b:pet")`` says that cats of domain a are pets of domain b. Two classes are the
    same if both directions are forced, and are never merged if both are forbidden. A forced edge has weight 1 and stays
    in the taxonomy: an edge of equal weight for which `build_taxonomy` could drop it is taken out.

    Args:
      relations: what was found.
      forbid: edges to leave out; those that are not there are left alone.
      force: edges to put in. Classes are ``"domain:class"`` or ``(domain, class)``, names or numbers.

    Returns:
      New relations over the same classes.

    Raises:
      TaxonomyError: an unknown domain or class, a pair within one domain, a pair both forbidden and forced, or forced
        edges of which `build_taxonomy` would drop one (A -> B -> C with A and C of one domain).

    Example:
      >>> found = Relations(("a", "b"), (("cat", "dog"), ("pet",)), [[0, 0, 0.9], [0, 0, 0], [0, 0.4, 0]])
      >>> print(edit_relations(found, forbid=[("b:pet", "a:dog")], force=[("a:dog", "b:pet")]))
      2 domains, 3 classes, 2 edges
      a:dog -> b:pet 1.00
      a:cat -> b:pet 0.90
    """
    out, put = ([_pair(relations, pair) for pair in pairs] for pairs in (forbid, force))
    for a, b in put:
        if (a, b) in out:
            raise TaxonomyError(f"{relations.labels[a]!r} -> {relations.labels[b]!r} is both forbidden and forced")
    weights = relations.weights.copy()
    for a, b in out:
        weights[a, b] = 0
    for a, b in put:
        weights[a, b] = 1
    _clear_way(relations, weights, put)
    return Relations(relations.domains, relations.class_names, weights)


def _clear_way(relations: Relations, weights: np.ndarray, forced: Collection[tuple[int, int]]) -> None:
    """Takes out, in place, the edges of weight 1 for which a forced edge could be dropped."""
    block = [slice(*relations.starts[d : d + 2]) for d, names in enumerate(relations.class_names) for _ in names]
    one_way = (weights > 0) & (weights.T == 0)
    for a, b in forced:
        if not one_way[a, b]:
            continue
        rivals = [(b, int(c)) for c in np.flatnonzero(one_way[b, block[a]]) + block[a].start]
        rivals += [(int(z), a) for z in np.flatnonzero(one_way[block[b], a]) + block[b].start]
        for c, d in rivals:
            if (c, d) in forced:
                first, second = (f"{relations.labels[x]!r} -> {relations.labels[y]!r}" for x, y in ((a, b), (c, d)))
                raise TaxonomyError(
                    f"{first} and {second} cannot both be forced: classes of one domain are disjoint; force one, "
                    "or both directions of two classes that are the same"
                )
            if weights[c, d] >= 1:
                weights[c, d] = 0


def _pair(relations: Relations, pair: Pair) -> tuple[int, int]:
    """Places of both classes in the flat order."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TaxonomyError(f"{pair!r} is not a pair of classes such as ('a:cat', 'b:pet')")
    (a, first), (b, second) = (_find(relations, name) for name in pair)
    if a == b:
        raise TaxonomyError(
            f"{pair[0]!r} -> {pair[1]!r}: both are of domain {relations.domains[a]!r}; give two domains"
        )
    return relations.starts[a] + first, relations.starts[b] + second


def _find(relations: Relations, name: ClassName) -> Member:
    """Domain and class of a name."""
    if isinstance(name, str):  # either part may hold a colon
        found = [
            (a, names.index(rest))
            for a, (domain, names) in enumerate(zip(relations.domains, relations.class_names, strict=True))
            if name.startswith(f"{domain}:")
            for rest in [name[len(domain) + 1 :].strip()]
            if rest in names
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise TaxonomyError(f"{name!r} can be read in {len(found)} ways; give a (domain, class) tuple")
        raise TaxonomyError(f"{name!r} is no 'domain:class' of these relations{nearest(name, relations.labels)}")
    if not isinstance(name, tuple | list) or len(name) != 2:
        raise TaxonomyError(f"{name!r} is neither 'domain:class' nor (domain, class)")
    a = _number("domain", name[0], relations.domains)
    return a, _number(f"class of domain {relations.domains[a]!r}", name[1], relations.class_names[a])


def _number(what: str, given: str | int, known: tuple[str, ...]) -> int:
    if isinstance(given, str):
        if given not in known:
            raise TaxonomyError(f"unknown {what}: {given!r}{nearest(given, known)}")
        return known.index(given)
    if given not in range(len(known)):
        raise TaxonomyError(f"unknown {what}: {given!r}; allowed: a name, or 0 to {len(known) - 1}")
    return int(given)


def add_domain(taxonomy: Taxonomy, relations: Relations, *, merge: str = "clique") -> Taxonomy:
    """The taxonomy of more domains, in which the old universal classes keep their numbers.

    An old universal class stays as it is, or takes in classes of the new domains; of several that hold its members, the
    one of the largest weight takes its number. Others are appended. So the columns of a trained head keep their
    meaning. If the relations among the old domains are those that the taxonomy was built from, the result is
    `build_taxonomy` of all relations, in another order; where they differ, say after an edit by hand, the taxonomy is
    right: what it holds stays, what it parted is not merged again.

    Args:
      taxonomy: of the old domains.
      relations: of the old domains, first and in the same order, and of one new domain or more.
      merge: as in `build_taxonomy`.

    Returns:
      A taxonomy over all domains of ``relations``.

    Raises:
      TaxonomyError: old domains that are missing, stand elsewhere or have other classes; no new domain.

    Example:
      >>> old = build_taxonomy(Relations(("a", "b"), (("cat", "dog"), ("car",)), np.zeros((3, 3))))
      >>> weights = np.zeros((5, 5))
      >>> weights[1, 4] = weights[4, 1] = 0.8  # a: dog <-> c: dog
      >>> new = add_domain(old, Relations(("a", "b", "c"), (("cat", "dog"), ("car",), ("ant", "dog")), weights))
      >>> old.names, new.names
      (('a: cat', 'a: dog', 'b: car'), ('a: cat', 'a: dog + c: dog', 'b: car', 'c: ant'))
    """
    count = len(taxonomy.domains)
    for a, domain in enumerate(taxonomy.domains):
        if relations.domains[a : a + 1] != (domain,):
            raise TaxonomyError(
                f"relations have the domains {list(relations.domains)}; the taxonomy's, {list(taxonomy.domains)}, "
                "must come first and in this order"
            )
        if relations.class_names[a] != taxonomy.class_names[a]:
            raise TaxonomyError(f"domain {domain!r} has other classes in relations than in the taxonomy")
    if len(relations.domains) == count:
        raise TaxonomyError(f"relations have no domain that is not in the taxonomy, {list(taxonomy.domains)}")
    found = build_taxonomy(_without_parted(taxonomy, relations), merge=merge)
    before, after = set(taxonomy.members), set(found.members)
    fresh = {
        members: {(a, i): float(found.weights[a][i, u]) for a, i in members}
        for u, members in enumerate(found.members)
        if members[-1][0] >= count or (members not in before and _encloses(found, relations, members, count))
    }
    grown: dict[tuple[Member, ...], list[tuple[Member, ...]]] = {}
    for members in sorted(fresh, key=lambda members: (-max(fresh[members].values()), members)):
        grown.setdefault(tuple(member for member in members if member[0] < count), []).append(members)
    columns = []
    for number, members in enumerate(taxonomy.members):
        if members in after or members not in grown:
            columns.append({(a, i): float(taxonomy.weights[a][i, number]) for a, i in members})
        else:
            columns.append(fresh.pop(grown[members][0]))
    return assemble(relations.domains, relations.class_names, [*columns, *fresh.values()])


def _encloses(found: Taxonomy, relations: Relations, members: tuple[Member, ...], count: int) -> bool:
    """Whether this is an old class alone that has become a class because a new one lies within it."""
    flat = [relations.starts[a] + i for a, i in members]
    return len(members) == 1 and any(
        relations.weights[inner, flat[0]] > 0 and relations.weights[flat[0], inner] == 0
        for pair in found.members
        if len(pair) == 2 and pair[:1] == members and pair[1][0] >= count
        for inner in [relations.starts[pair[1][0]] + pair[1][1]]
    )


def _without_parted(taxonomy: Taxonomy, relations: Relations) -> Relations:
    """Relations without those among old classes that no universal class holds together."""
    stacked = np.concatenate(taxonomy.weights) > 0
    weights = relations.weights.copy()
    weights[: len(stacked), : len(stacked)] *= stacked @ stacked.T
    return Relations(relations.domains, relations.class_names, weights)
