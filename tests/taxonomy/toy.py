"""Small relations, by hand and at random."""

import numpy as np

from jlabel.taxonomy import Relations


def related(edges, sizes=(1, 1)):
    """Relations of domains a, b, c... with classes 0, 1, ...; ``edges``: ``{("a0", "b0"): weight}``."""
    domains = tuple("abcdefgh"[: len(sizes)])
    labels = [f"{domain}{i}" for domain, size in zip(domains, sizes, strict=True) for i in range(size)]
    weights = np.zeros((len(labels), len(labels)))
    for (source, target), weight in edges.items():
        weights[labels.index(source), labels.index(target)] = weight
    return Relations(domains, tuple(tuple(map(str, range(size))) for size in sizes), weights)


def random_relations(seed, sizes=(4, 3, 3), density=0.4, levels=0):
    """Random edges; weights are all distinct, or multiples of ``1 / levels``."""
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    domain_of = np.repeat(np.arange(len(sizes)), sizes)
    weights = (rng.permutation(total**2).reshape(total, total) + 1) / total**2
    if levels:
        weights = rng.integers(1, levels + 1, (total, total)) / levels
    weights *= (rng.random((total, total)) < density) & (domain_of[:, None] != domain_of)
    names = tuple(tuple(f"{domain}-{i}" for i in range(size)) for domain, size in enumerate(sizes))
    return Relations(tuple(f"d{domain}" for domain in range(len(sizes))), names, weights)


def classes(taxonomy):
    """``{("a0", "b0"): (weights of the members)}``; equal for equal taxonomies in any order."""
    found = {}
    for u, members in enumerate(taxonomy.members):
        named = sorted(
            (taxonomy.domains[a] + taxonomy.class_names[a][i], float(taxonomy.weights[a][i, u])) for a, i in members
        )
        found[tuple(name for name, _ in named)] = tuple(weight for _, weight in named)
    return found
