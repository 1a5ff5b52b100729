"""Domains whose classes are groups of the same hidden concepts: how their classes relate is known.

24 concepts in 6 families lie in R^32. A domain draws 20 of them, groups them into classes of its own, and sees its rows
in its own way: noisy, rotated, or with features erased and scaled.
"""

from dataclasses import dataclass

import jax
import numpy as np

from jlabel.data.source import DataError

__all__ = ["DIM", "DOMAINS", "NUM_CONCEPTS", "ConceptDomains", "concept_domains"]

SPLITS = ("train", "val", "test")
DOMAINS = ("noisy", "rotated", "erased")
FAMILIES, PER_FAMILY, DIM, DRAWN = 6, 4, 32, 20
NUM_CONCEPTS = FAMILIES * PER_FAMILY
CONCEPT_NAMES = tuple(f"{'abcdef'[c // PER_FAMILY]}{c % PER_FAMILY + 1}" for c in range(NUM_CONCEPTS))
OFFSET = 0.7  # sd of a concept around its family
MAX_SHIFT = 3.0  # beyond, rows would be scaled by negative numbers


@dataclass(frozen=True, eq=False)
class ConceptDomains:
    """Rows of every domain and how their classes relate; splits are "train", "val" and "test".

    Attributes:
      domains: names of the D domains.
      class_names: of each domain; a class is named after its concepts, as in "a1+c3".
      sets: for each domain the concepts 0..23 of each class.
      features: for each domain and split float32 [N, 32].
      labels: for each domain and split int32 [N], class in the domain.
      concepts: for each domain and split int32 [N], the concept a row was drawn from.
      truth: float64 [V, V] over the classes of all domains in turn: `|c ∩ c_j| / |c|` for row c and column c_j of
        another domain, 0 within a domain.
    """

    domains: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    sets: tuple[tuple[frozenset[int], ...], ...]
    features: tuple[dict[str, np.ndarray], ...]
    labels: tuple[dict[str, np.ndarray], ...]
    concepts: tuple[dict[str, np.ndarray], ...]
    truth: np.ndarray


def concept_domains(
    key: jax.Array | int,
    *,
    class_size: float = 2.0,
    class_size_std: float = 1.0,
    rows_per_concept: int = 40,
    noise: float = 0.9,
    shift: float = 1.0,
) -> ConceptDomains:
    """Three domains of 20 concepts each, `x = family + offset + noise`, shifted each in its own way.

    Family centres are N(0, I), offsets of concepts N(0, 0.7² I). Domain "noisy" adds noise of standard deviation 0.7 s;
    "rotated" multiplies by the Q (R with positive diagonal) of `I + 0.15 s N(0, 1)`; "erased" sets each feature to 0
    with probability 0.25 s, then scales the row by U(1 - 0.3 s, 1 + 0.3 s) and adds one N(0, (0.3 s)²) to all of it.

    Args:
      key: a typed key or a seed of at least 0.
      class_size: mean μ of a class's number of concepts `max(1, round N(μ, class_size_std²))`; the last class takes
        what is left.
      class_size_std: its standard deviation.
      rows_per_concept: rows of each concept in each domain and split.
      noise: standard deviation of a row around its concept.
      shift: s, 0 to 3; 0 makes all domains look alike.

    Returns:
      `ConceptDomains`.

    Raises:
      DataError: an argument out of range, or a class size that leaves a domain one class.

    Example:
      >>> drawn = concept_domains(0, rows_per_concept=4)
      >>> drawn.features[0]["train"].shape, [len(names) for names in drawn.class_names]
      ((80, 32), [12, 11, 10])
      >>> drawn.class_names[0][:3]
      ('d2+f4', 'f1+f3', 'c2')

    Source: the synthetic variants and their shifts in "Multi-Dataset Training for Image Classification with Discrepant
    Taxonomies" (Buschhäuser, 2025), with features in place of pictures.
    """
    _check(class_size, class_size_std, rows_per_concept, noise, shift)
    if isinstance(key, int | np.integer) and key < 0:
        raise DataError(f"key={key} must be a typed key or a seed of at least 0")
    entropy = int(key) if isinstance(key, int | np.integer) else np.ravel(jax.random.key_data(key)).tolist()
    generator = np.random.default_rng(entropy)
    families = generator.standard_normal((FAMILIES, DIM))
    centers = families.repeat(PER_FAMILY, axis=0) + OFFSET * generator.standard_normal((NUM_CONCEPTS, DIM))
    rotation = _rotation(generator, 0.15 * shift)
    sets, features, labels, concepts = [], [], [], []
    for domain in range(len(DOMAINS)):
        classes = _classes(generator, class_size, class_size_std)
        if len(classes) < 2:
            raise DataError(
                f"class_size={class_size:g}: domain {DOMAINS[domain]!r} got one class of all {DRAWN} concepts; take a "
                f"smaller one"
            )
        class_of = {concept: index for index, members in enumerate(classes) for concept in members}
        rows = np.repeat(sorted(class_of), rows_per_concept)
        drawn = {}
        for split in SPLITS:
            x = centers[rows] + noise * generator.standard_normal((len(rows), DIM))
            drawn[split] = _shifted(x, domain, shift, rotation, generator).astype(np.float32)
        sets.append(tuple(map(frozenset, classes)))
        features.append(drawn)
        labels.append({split: np.array([class_of[c] for c in rows], np.int32) for split in SPLITS})
        concepts.append({split: rows.astype(np.int32) for split in SPLITS})
    names = tuple(tuple("+".join(CONCEPT_NAMES[c] for c in sorted(members)) for members in of) for of in sets)
    return ConceptDomains(
        DOMAINS, names, tuple(sets), tuple(features), tuple(labels), tuple(concepts), _overlaps(sets)
    )  # fmt: skip


def _check(class_size: float, class_size_std: float, rows_per_concept: int, noise: float, shift: float) -> None:
    if not 0 < class_size < np.inf:
        raise DataError(f"class_size={class_size} must be a number above 0: the mean number of concepts in a class")
    if rows_per_concept < 1 or rows_per_concept != int(rows_per_concept):
        raise DataError(f"rows_per_concept={rows_per_concept} must be a whole number of at least 1")
    for name, value in {"class_size_std": class_size_std, "noise": noise}.items():
        if not 0 <= value < np.inf:
            raise DataError(f"{name}={value} must be a number of at least 0: a standard deviation")
    if not 0 <= shift <= MAX_SHIFT:
        raise DataError(f"shift={shift} must lie between 0 and {MAX_SHIFT:g}")


def _rotation(generator: np.random.Generator, scale: float) -> np.ndarray:
    q, r = np.linalg.qr(np.eye(DIM) + scale * generator.standard_normal((DIM, DIM)))
    return q * np.sign(np.diag(r))  # else columns of Q, and with them features, would flip their sign


def _classes(generator: np.random.Generator, mean: float, std: float) -> list[list[int]]:
    """20 concepts cut into classes."""
    left = generator.permutation(NUM_CONCEPTS)[:DRAWN].tolist()
    classes = []
    while left:
        size = max(1, round(generator.normal(mean, std)))
        classes.append(left[:size])
        left = left[size:]
    return classes


def _shifted(
    x: np.ndarray, domain: int, shift: float, rotation: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    if domain == 0:
        return x + 0.7 * shift * generator.standard_normal(x.shape)
    if domain == 1:
        return x @ rotation
    kept = x * (generator.random(x.shape) >= 0.25 * shift)
    scale = generator.uniform(1 - 0.3 * shift, 1 + 0.3 * shift, (len(x), 1))
    return scale * kept + 0.3 * shift * generator.standard_normal((len(x), 1))


def _overlaps(sets: list[tuple[frozenset[int], ...]]) -> np.ndarray:
    """`|c ∩ c_j| / |c|` between classes of different domains, [V, V]."""
    flat = [members for of in sets for members in of]
    domain = np.repeat(np.arange(len(sets)), [len(of) for of in sets])
    shared = np.array([[len(a & b) / len(a) for b in flat] for a in flat])
    return np.where(domain[:, None] == domain, 0.0, shared)
