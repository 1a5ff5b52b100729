"""Relations that need no model: from equal names, and from the concepts that classes are made of."""

from collections.abc import Collection, Hashable, Sequence
from typing import Literal, get_args

import numpy as np

from jlabel.taxonomy.checks import TaxonomyError, check_choice, check_domains
from jlabel.taxonomy.relations import Relations

Spread = Literal["none", "classes", "remainder"]


def relations_by_name(domains: Sequence[str], class_names: Sequence[Sequence[str]]) -> Relations:
    """Relates classes of equal names: the baseline that looks at no picture.

    Names are compared in lower case, with ``_`` as space, and only up to the first comma.

    Args:
      domains: names of the domains. class_names: names of each domain's classes.

    Returns:
      `Relations`, both ways; the weight is 1, or 1 / m where m classes of the other domain have that name.

    Raises:
      TaxonomyError: fewer than two domains, a name twice.

    Example:
      >>> print(relations_by_name(["a", "b"], [["sea_horse", "Crab"], ["crab, king crab", "seahorse"]]))
      2 domains, 4 classes, 2 edges
      a:Crab -> b:crab, king crab 1.00
      b:crab, king crab -> a:Crab 1.00
    """
    names, classes = check_domains(domains, class_names)
    keys = np.array([_key(name) for of_domain in classes for name in of_domain])
    owners = np.repeat(np.arange(len(names)), [len(of_domain) for of_domain in classes])
    equal = (keys[:, None] == keys) & (owners[:, None] != owners)
    same = np.stack([equal[:, owners == domain].sum(1) for domain in range(len(names))], 1)
    return Relations(names, classes, equal / np.maximum(same[:, owners], 1))


def _key(name: str) -> str:
    return " ".join(name.split(",")[0].replace("_", " ").lower().split())


def overlap_relations(sets: Sequence[Sequence[Collection[Hashable]]], *, spread: Spread = "none") -> np.ndarray:
    """True relations between classes that are sets of concepts, by the share of a class that another one covers.

    ``o_j = |c ∩ c_j| / |c|``. "none": o_j. "classes": ``o_j + (1 - o_j) / C_b``, as printed, whose rows exceed 1.
    "remainder": ``o_j + (1 - sum_k o_k) / C_b``, as published code has it. Both of these relate everything to
    everything; only "none" is fit for scores.

    Args:
      sets: of each domain, of each class, its concepts; those of one domain are disjoint.
      spread: what is done with the share of a class that no class of the other domain covers.

    Returns:
      float64 ``(V, V)``: row c, column c_j; 0 within a domain.

    Raises:
      TaxonomyError: fewer than two domains, a class without concepts, a concept in two classes of one domain.

    Example:
      >>> found = overlap_relations([[{1, 2, 3, 4}], [{1, 2}, {3}, {9}]])
      >>> found[0, 1:].tolist(), found[1:, 0].tolist()
      ([0.5, 0.25, 0.0], [1.0, 1.0, 0.0])

    Source: slides, Eq. 5.
    """
    check_choice("spread", spread, get_args(Spread))
    if len(sets) < 2:
        raise TaxonomyError(f"sets hold {len(sets)} domains: relations need two or more")
    for a, domain in enumerate(sets):
        owner: dict[Hashable, int] = {}
        for i, concepts in enumerate(domain):
            if not len(concepts):
                raise TaxonomyError(f"sets[{a}][{i}] is empty: a class needs concepts")
            for concept in concepts:
                if owner.setdefault(concept, i) != i:
                    classes = f"{owner[concept]} and {i}"
                    raise TaxonomyError(f"sets[{a}]: {concept!r} is in classes {classes}; a domain's are disjoint")
    known = sorted({concept for domain in sets for concepts in domain for concept in concepts}, key=repr)
    column = {concept: k for k, concept in enumerate(known)}
    holds = np.zeros((sum(len(domain) for domain in sets), len(known)))
    for row, concepts in enumerate(concepts for domain in sets for concepts in domain):
        holds[row, [column[concept] for concept in concepts]] = 1
    overlap = holds @ holds.T / holds.sum(1, keepdims=True)
    starts = np.cumsum([0, *map(len, sets)])
    for b, size in enumerate(map(len, sets)):
        columns = slice(starts[b], starts[b + 1])
        block = overlap[:, columns]
        if spread == "classes":
            block += (1 - block) / size
        if spread == "remainder":
            block += (1 - block.sum(1, keepdims=True)) / size
        overlap[columns, columns] = 0
    return overlap
