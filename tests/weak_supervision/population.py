"""The artificial population of the active study, in closed form, and the exact label models of its six buckets."""

import numpy as np

from jlabel.weak_supervision import Buckets

CLIQUES = ((1, 2),)
ROWS = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], np.int8)
SHARES = np.array([0.382763, 0.104344, 0.012892, 0.090637, 0.243015, 0.166349])
POSTERIOR = np.array([0.007447, 0.085529, 0.480161, 0.843781, 0.985366, 0.998498])
SCALE = 10**9


def exact_population() -> tuple[np.ndarray, np.ndarray]:
    """Shares of the six buckets and P(y = 1) from the Gaussians, to the precision of `norm.cdf`."""
    from scipy.stats import norm

    joint = np.zeros((6, 2))
    for y, (m1, m2) in enumerate(((0.1, 1.3), (-0.8, -0.5))):
        first = norm.cdf(0.4, m2, 0.5)
        low, high = norm.cdf(-1.0, m1, 0.5), norm.cdf(-0.3, m1, 0.5)
        for b, (r1, r2, r3) in enumerate(ROWS.tolist()):
            second = low if r3 else (high - low if r2 else 1 - high)
            joint[b, y] = 0.5 * (first if r1 else 1 - first) * second
    return joint.sum(1), joint[:, 1] / joint.sum(1)


def population_buckets() -> Buckets:
    """The six buckets with counts so large that rounding them does not matter."""
    shares, _ = exact_population()
    return Buckets(ROWS, np.round(shares * SCALE).astype(np.int64))


def population_accuracy(probs: np.ndarray) -> float:
    """Accuracy of bucket probabilities `(6, 2)` or `(6,)` on the population."""
    shares, posterior = exact_population()
    one = probs[:, 1] if probs.ndim == 2 else probs
    return float(shares @ np.where(one > 0.5, posterior, 1 - posterior))
