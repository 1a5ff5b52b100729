"""Rows of cross-predictions, and the four rules as exact fractions, one row at a time."""

from fractions import Fraction

import numpy as np

WORKED = [0.45, 0.35, 0.1, 0.05, 0.05]


def counted(rng: np.random.Generator, num_rows: int, num_classes: int, total: int) -> np.ndarray:
    """Counts of so many rows a class: many equal entries and zeros."""
    return np.stack([rng.multinomial(total, probs) for probs in rng.dirichlet([0.4] * num_classes, size=num_rows)])


def slow_rule(counts: np.ndarray, method: str, value: Fraction, most: int = 5, allow_none: bool = True) -> np.ndarray:
    """The rule on one row of counts, without rounding."""
    total = int(counts.sum())
    chosen = np.zeros(len(counts), bool)
    if not total:
        return chosen
    row = [Fraction(int(count), total) for count in counts]
    order = sorted(range(len(row)), key=lambda j: (-row[j], j))
    x = [row[j] for j in order]
    if method == "threshold":
        keep = sum(share >= value for share in x)
    elif method == "top":
        keep = 1
    elif method == "density":
        keep = next(k for k in range(1, len(x) + 1) if sum(x[:k]) >= value)
    else:
        tried = {k: sum(abs(s - Fraction(1, k)) for s in x[:k]) + sum(x[k:]) for k in range(1, min(most, len(x)) + 1)}
        if allow_none:
            tried[0] = sum(abs(share - Fraction(1, len(x))) for share in x)
        keep = min(tried, key=lambda k: (tried[k], k))
    chosen[order[:keep]] = True
    return chosen
