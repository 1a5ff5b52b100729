"""Two classes in the plane and three rules about it: everything about their votes can be worked out exactly.

`y` is 0 or 1 with probability 1/2; `x` is normal around (0.1, 1.3) for class 0 and (-0.8, -0.5) for class 1, with the
covariance 0.25 I. The rules are `x2 < 0.4`, `x1 < -0.3` and `x1 < -1.0`; each votes 1 where that holds, else 0. The
last two look at the same coordinate and are dependent; the first is independent of both, given the class.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jlabel.data.rules import Rule

__all__ = ["BAYES_ACCURACY", "CEILING", "CLIQUES", "LABEL_NAMES", "RULES", "VotePopulation", "rows", "vote_population"]

LABEL_NAMES = ("0", "1")
MEANS = np.array([[0.1, 1.3], [-0.8, -0.5]])
STD = 0.5
CLIQUES = ((1, 2),)  # rules that are dependent given the class
CEILING = 0.9641  # accuracy of the best function of the votes
BAYES_ACCURACY = 0.9779  # accuracy of the best function of x
SIZES: Mapping[str, int] = {"train": 10_000, "val": 1_000, "test": 3_000}


def _below(table: Any, *, column: str, threshold: float) -> np.ndarray:
    return (np.asarray(table[column]) < threshold).astype(np.int8)


RULES = tuple(  # of a table with the columns x1 and x2
    Rule(f"{column} < {threshold}", functools.partial(_below, column=column, threshold=threshold), vectorized=True)
    for column, threshold in (("x2", 0.4), ("x1", -0.3), ("x1", -1.0))
)


class VotePopulation(NamedTuple):
    """All rows of votes that can occur: int8 `rows` (6, 3), their probabilities (6,), and `P(y = 1)` in each (6,)."""

    rows: np.ndarray
    probs: np.ndarray
    positive: np.ndarray


def rows(split: str, *, seed: int = 0) -> dict[str, np.ndarray]:
    """10,000 rows for training, 1,000 for "val" and 3,000 for "test".

    Args:
      split: "train", "val" or "test".
      seed: which rows are drawn; the splits of one seed are independent of each other.

    Returns:
      `features` float32 [N, 2], the columns x1 and x2, and `label` int32 [N].

    Example:
      >>> drawn = rows("test")
      >>> drawn["features"].shape, round(float(drawn["label"].mean()), 1)
      ((3000, 2), 0.5)
    """
    generator = np.random.default_rng([seed, list(SIZES).index(split)])
    label = generator.integers(0, 2, SIZES[split]).astype(np.int32)
    features = MEANS[label] + STD * generator.standard_normal((len(label), 2))
    return {"features": features.astype(np.float32), "label": label}


def vote_population() -> VotePopulation:
    """The distribution of votes and label that the rows are drawn from.

    Example:
      >>> population = vote_population()
      >>> population.rows[1].tolist(), population.probs[1].round(6).item()
      ([0, 1, 0], 0.104344)

    Returns:
      `VotePopulation`, its rows in lexicographic order.
    """
    second = stats.norm.cdf(0.4, MEANS[:, 1], STD)  # of rule 0 to vote 1, by class
    near, far = (stats.norm.cdf(threshold, MEANS[:, 0], STD) for threshold in (-0.3, -1.0))
    first = {(0, 0): 1 - near, (1, 0): near - far, (1, 1): far}
    votes, joint = [], []
    for vote, share in ((0, 1 - second), (1, second)):
        for pair, part in first.items():
            votes.append((vote, *pair))
            joint.append(0.5 * share * part)
    by_class = np.array(joint)
    return VotePopulation(np.array(votes, np.int8), by_class.sum(1), by_class[:, 1] / by_class.sum(1))
