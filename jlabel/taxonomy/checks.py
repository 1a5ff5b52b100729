"""The taxonomy's error, and checks at the public edge."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError

_EXCESS = 1e-4  # a probability may exceed 1 by this much
_ROW_SUM = 1e-3  # a row sum may be off by this much


class TaxonomyError(InputError):
    """Domains, predictions, relations or options from which no taxonomy can be built."""


def check_domains(
    domains: Sequence[str], class_names: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Two or more domains with different names, each with classes of different names; as tuples."""
    if isinstance(domains, str) or isinstance(class_names, str):
        raise TaxonomyError("domains must be a list of names, class_names one list of names for each domain")
    names = tuple(domains)
    if len(names) < 2:
        raise TaxonomyError(f"domains are {list(names)}: relations need two domains or more")
    if len(class_names) != len(names):
        raise TaxonomyError(f"class_names has {len(class_names)} lists, domains {len(names)} names: give one list each")
    _check_names("domains", names)
    for domain, classes in zip(names, class_names, strict=True):
        if isinstance(classes, str):
            raise TaxonomyError(f"class_names of domain {domain!r} is one text, {classes!r}: give a list of names")
        if not len(classes):
            raise TaxonomyError(f"class_names of domain {domain!r} is empty: a domain needs classes")
        _check_names(f"class_names of domain {domain!r}", classes)
    return names, tuple(tuple(classes) for classes in class_names)


def _check_names(argument: str, names: Sequence[str]) -> None:
    place: dict[str, int] = {}
    for k, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise TaxonomyError(f"{argument}: name {k} is {name!r}; allowed: text that is not empty")
        if place.setdefault(name, k) != k:
            raise TaxonomyError(f"{argument}: {name!r} stands at {place[name]} and at {k}: names must differ")


def check_several_classes(domain: str, num_classes: int) -> None:
    """A model of one class is always sure, so its predictions relate everything to it."""
    if num_classes < 2:
        raise TaxonomyError(
            f"domain {domain!r} has {num_classes} class: its model is always sure; leave it out or add a class"
        )


def check_count(name: str, value: object, *, low: int) -> int:
    """A whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise TaxonomyError(f"{name} is {value!r}; allowed: whole numbers from {low}")
    return int(value)


def is_number(value: object) -> TypeGuard[float]:
    """A finite real number that is no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(float(value))


def check_share(name: str, value: object) -> float:
    """A number in (0, 1]."""
    if not is_number(value) or not 0 < value <= 1:
        raise TaxonomyError(f"{name} is {value!r}; allowed: above 0, up to 1")
    return float(value)


def check_level(value: object) -> None:
    """A number strictly between 0 and 1."""
    if not is_number(value) or not 0 < value < 1:
        raise TaxonomyError(f"level is {value!r}; allowed: between 0 and 1, e.g. 0.95")


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """One of the allowed words."""
    if value not in allowed:
        raise TaxonomyError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def check_labels(name: str, values: ArrayLike, num_classes: int) -> np.ndarray:
    """Whole numbers in ``[0, num_classes)``, int64 ``(N,)``."""
    labels = np.asarray(values)
    if labels.ndim != 1:
        raise TaxonomyError(f"{name} must have one axis, got shape {labels.shape}")
    if not labels.size:
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise TaxonomyError(
            f"{name} are {labels.dtype} ({name}[0] is {labels[:1].tolist()[0]!r}); allowed: whole numbers from 0"
        )
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise TaxonomyError(f"{name}[{row}] is {labels[row]}; allowed: 0 to {num_classes - 1}")
    return labels.astype(np.int64, copy=False)


def as_matrix(name: str, values: ArrayLike) -> np.ndarray:
    """Finite numbers with two axes, float64."""
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TaxonomyError(f"{name} must hold numbers: {error}") from error
    if matrix.ndim != 2:
        raise TaxonomyError(f"{name} must have two axes, got shape {matrix.shape}")
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        raise TaxonomyError(f"{name}[{row}, {column}] is {matrix[row, column]}: only finite numbers can be used")
    return matrix


def check_probs(name: str, values: ArrayLike, *, zero_rows: bool) -> np.ndarray:
    """Rows of probabilities, float64 ``(N, C)``; ``zero_rows`` allows rows without any mass."""
    probs = as_matrix(name, values)
    if not probs.shape[1]:
        raise TaxonomyError(f"{name} has no column: give one for each predicted class")
    bad = (probs < 0) | (probs > 1 + _EXCESS)
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        raise TaxonomyError(
            f"{name}[{row}, {column}] is {probs[row, column]:.6g}; allowed: 0 to 1 (shares, not counts or logits)"
        )
    sums = probs.sum(1)
    bad = ~(np.abs(sums - 1) <= _ROW_SUM) & ~(zero_rows & (sums == 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise TaxonomyError(
            f"{name}[{row}] sums to {sums[row]:.6g}; allowed: 1{' (or 0, a class without rows)' if zero_rows else ''}"
        )
    return probs


def check_weights(name: str, values: ArrayLike, starts: Sequence[int]) -> np.ndarray:
    """Edge weights in [0, 1] between classes of different domains, float64 ``(V, V)``, a copy."""
    weights = np.array(as_matrix(name, values))
    total = starts[-1]
    if weights.shape != (total, total):
        raise TaxonomyError(f"{name} has shape {weights.shape}; the domains have {total} classes: ({total}, {total})")
    bad = (weights < 0) | (weights > 1 + _EXCESS)
    for a, b in zip(starts, starts[1:], strict=False):
        bad[a:b, a:b] |= weights[a:b, a:b] != 0
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        raise TaxonomyError(
            f"{name}[{row}, {column}] is {weights[row, column]:.6g}; allowed: 0 to 1, and 0 between classes of a domain"
        )
    return weights


def check_pairs(
    cross: Mapping[tuple[int, int], ArrayLike], sizes: Sequence[int], domains: Sequence[str]
) -> dict[tuple[int, int], np.ndarray]:
    """Cross-predictions ``(C_a, C_b)`` of every ordered pair of domains, float64."""
    wanted = [(a, b) for a in range(len(sizes)) for b in range(len(sizes)) if a != b]
    for pair in cross:
        if pair not in wanted:
            raise TaxonomyError(f"cross has the key {pair!r}; allowed: pairs (a, b) of different domains, from 0")
    found = {}
    for a, b in wanted:
        if (a, b) not in cross:
            raise TaxonomyError(f"cross[{a}, {b}] is missing: the model of {domains[b]!r} on rows of {domains[a]!r}")
        found[a, b] = check_probs(f"cross[{a}, {b}]", cross[a, b], zero_rows=True)
        if found[a, b].shape != (sizes[a], sizes[b]):
            raise TaxonomyError(
                f"cross[{a}, {b}] has shape {found[a, b].shape}; the classes of {domains[a]!r} by those of "
                f"{domains[b]!r}: ({sizes[a]}, {sizes[b]})"
            )
    return found
