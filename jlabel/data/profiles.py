"""A table of eight hidden profiles, which its categories tell of, and a target that depends on them.

Row n has a profile k, each of the eight equally likely. Category column i has d_i values, of which a profile prefers
one: `P(x_i = j | k) = .45 / d_i + .55 [j = preferred_ki]`; in columns of fewer than eight values profiles share. The
four numbers are N(mu_k, 1), mu_k ~ .35 N(0, 1). The logit of the target is a_k, eight levels from -2 to 2, plus .75
where the codes of columns 2 and 5 (from 0) are both even or both odd, else minus .75.

So rows without targets tell the profile, and with it most of what can be known of the target; and since everything is
drawn from known distributions, the best prediction is known too.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from jlabel.errors import InputError

__all__ = ["CARDINALITIES", "LABEL_NAMES", "Profiles", "profile_rows", "profiles"]

LABEL_NAMES = ("0", "1")
CARDINALITIES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
CATEGORICAL = tuple(f"category_{i}" for i in range(len(CARDINALITIES)))
CONTINUOUS = tuple(f"number_{i}" for i in range(4))
ROWS = 20_000
PARITY = (2, 5)  # columns
PREFERENCE = 0.55
LEVELS = np.linspace(-2.0, 2.0, 8)  # a_k
GAIN = 0.75
_BOUNDS = {"train": (0.0, 0.65), "val": (0.65, 0.8), "test": (0.8, 1.0)}  # shares of the rows


class Profiles(NamedTuple):
    """A table and the truth about it.

    Attributes:
      frame: N rows, ten columns of letters, `category_0` to `category_9` ("a" is code 0), and four of numbers.
      target: int32 ``(N,)``, 0 or 1. profile: int32 ``(N,)``, 0 to 7.
      profile_probs: ``(N, 8)``, the exact posterior of the profile given the row.
      target_probs: ``(N,)``, the exact probability of target 1 given the row: none has a higher AUC on average.
      preferred: int ``(8, 10)``, the code that each profile prefers in each category column.
      means: ``(8, 4)``, mu_k.
    """

    frame: pd.DataFrame
    target: np.ndarray
    profile: np.ndarray
    profile_probs: np.ndarray
    target_probs: np.ndarray
    preferred: np.ndarray
    means: np.ndarray


def profiles(*, rows: int = ROWS, seed: int = 0) -> Profiles:
    """Draw preferences, means and a table.

    Args:
      rows: N, 1 or more. seed: of everything that is drawn; preferences and means do not depend on ``rows``.

    Returns:
      The table with its exact posteriors.

    Raises:
      InputError: no rows.

    Example:
      >>> drawn = profiles(rows=500)
      >>> drawn.frame.shape, sorted(drawn.frame["category_1"].unique()), drawn.profile_probs.shape
      ((500, 14), ['a', 'b', 'c'], (500, 8))
    """
    if rows < 1:
        raise InputError(f"rows={rows}; give 1 or more")
    structure, draws = np.random.default_rng(seed).spawn(2)
    count = len(LEVELS)
    # Each profile its own value where there are enough, else as evenly shared as can be.
    preferred = np.stack([structure.permutation(max(size, count))[:count] % size for size in CARDINALITIES], 1)
    means = 0.35 * structure.standard_normal((count, len(CONTINUOUS)))

    profile = draws.integers(0, count, rows)
    uniform = (draws.random((rows, len(CARDINALITIES))) * CARDINALITIES).astype(int)
    codes = np.where(draws.random(uniform.shape) < PREFERENCE, preferred[profile], uniform)
    values = means[profile] + draws.standard_normal((rows, len(CONTINUOUS)))
    even = codes[:, PARITY[0]] % 2 == codes[:, PARITY[1]] % 2
    chances = expit(LEVELS + np.where(even, GAIN, -GAIN)[:, None])  # of target 1, given each profile
    target = draws.random(rows) < chances[np.arange(rows), profile]

    logs = -((values[:, None] - means) ** 2).sum(2) / 2
    for column, size in enumerate(CARDINALITIES):
        same = codes[:, column, None] == preferred[:, column]
        logs += np.log((1 - PREFERENCE) / size + PREFERENCE * same)
    posterior = softmax(logs, axis=1)
    letters = np.array([chr(ord("a") + code) for code in range(max(CARDINALITIES))], object)
    frame = pd.DataFrame({name: letters[codes[:, i]] for i, name in enumerate(CATEGORICAL)})
    frame[list(CONTINUOUS)] = values
    return Profiles(
        frame=frame,
        target=target.astype(np.int32),
        profile=profile.astype(np.int32),
        profile_probs=posterior,
        target_probs=(posterior * chances).sum(1),
        preferred=preferred,
        means=means,
    )


def profile_rows(split: str, *, seed: int = 0) -> dict[str, np.ndarray]:
    """One split of the 20,000 rows as columns: 13,000 rows for training, 3,000 for "val" and 4,000 for "test".

    Args:
      split: "train", "val" or "test".
      seed: see `profiles`; the splits of one seed are of one table.

    Returns:
      `features` float32 [N, 4], the numbers; `label` int32 [N], the target; `category_0` to `category_9` [N], texts;
      `profile` int32 [N], the truth behind the row, which is no input.

    Example:
      >>> found = profile_rows("val")
      >>> found["features"].shape, found["category_9"][:5].tolist()
      ((3000, 4), ['a', 'a', 'a', 'n', 'p'])
    """
    drawn = profiles(seed=seed)
    low, high = (round(share * ROWS) for share in _BOUNDS[split])
    part = drawn.frame.iloc[low:high]
    return {
        "features": part[list(CONTINUOUS)].to_numpy(np.float32),
        "label": drawn.target[low:high],
        **{name: part[name].to_numpy(object) for name in CATEGORICAL},
        "profile": drawn.profile[low:high],
    }
