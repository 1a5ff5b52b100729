"""Dependencies between two rules: the six kinds, their factors, and how far each can move a label."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jlabel.weak_supervision.checks import WeakSupervisionError

__all__ = ["FACTORS", "KINDS", "SWING", "Dependency", "check_dependencies", "factor_columns", "one_hot"]


class Dependency(NamedTuple):
    """One assumption about two rules: rule `k` acts on rule `j`.

    With signed votes `l` (-1, 0 for abstain, 1) and the label `y` (-1, 1), the factor is

    - `fixing`: +1 where `l_j = -y, l_k = y`; -1 where `l_j = 0, l_k != 0`;
    - `reinforcing`: +1 where `l_j = l_k = y`; -1 where `l_j = 0, l_k != 0`;
    - `priority`: +1 where `l_j = -y, l_k = y`; -1 where `l_j = y, l_k = -y`;
    - `bolstering`: +1 where `l_j = l_k = y`; -1 where `l_j = l_k = -y` or `l_j = -l_k != 0`;
    - `negated`: +1 where `l_j = -y, l_k = y`; -1 where `l_j = y, l_k = -y` or `l_j = l_k != 0`;
    - `similar`: +1 where `l_j = l_k`, abstentions included;

    and 0 elsewhere. Bolstering and similar are symmetric.

    Attributes:
        kind: One of the six.
        j: The rule acted on.
        k: The rule that acts.

    Example:
        >>> Dependency("fixing", 0, 3)  # rule 3 ("not worth") mends rule 0 ("worth")
        Dependency(kind='fixing', j=0, k=3)

    Source: Ratner et al. 2016; appendix B of the dependency paper.
    """

    kind: str
    j: int
    k: int


def _factors() -> dict[str, np.ndarray]:
    j, k, y = np.meshgrid((-1, 0, 1), (-1, 0, 1), (-1, 1), indexing="ij")
    mends, spoils, steps_in = (j == -y) & (k == y), (j == y) & (k == -y), (j == 0) & (k != 0)
    both_right, both_wrong = (j == y) & (k == y), (j == -y) & (k == -y)
    nothing = np.zeros_like(mends)
    parts = {
        "fixing": (mends, steps_in),
        "reinforcing": (both_right, steps_in),
        "priority": (mends, spoils),
        "bolstering": (both_right, both_wrong | mends | spoils),
        "negated": (mends, spoils | both_right | both_wrong),
        "similar": (j == k, nothing),
    }
    return {kind: plus.astype(np.float64) - minus for kind, (plus, minus) in parts.items()}


# Factor of each kind, [l_j + 1, l_k + 1, (y + 1) / 2].
FACTORS = _factors()
KINDS = tuple(FACTORS)
SYMMETRIC = ("bolstering", "similar")
# The most by which a factor of weight 1 moves the label's log odds: max |phi(y) - phi(-y)|.
SWING = {kind: float(np.abs(table[..., 1] - table[..., 0]).max()) for kind, table in FACTORS.items()}


def check_dependencies(dependencies: Iterable[Sequence], num_rules: int) -> tuple[Dependency, ...]:
    """Checked dependencies as a tuple; each is there once."""
    found: dict[tuple[str, int, int], int] = {}
    checked = []
    for place, given in enumerate(dependencies):
        name = f"dependencies[{place}]"
        try:
            kind, *ends = given
            (j, k) = (int(end) for end in ends if end == int(end))
        except (TypeError, ValueError) as error:
            raise WeakSupervisionError(f"{name} is {given!r}; give Dependency(kind, j, k) with rule numbers") from error
        if kind not in FACTORS:
            raise WeakSupervisionError(f"{name} has kind {kind!r}; choose one of {', '.join(KINDS)}")
        if j == k or not (0 <= j < num_rules and 0 <= k < num_rules):
            raise WeakSupervisionError(
                f"{name} joins rules {j} and {k}; give two different rules of 0 to {num_rules - 1}"
            )
        same = (kind, min(j, k), max(j, k)) if kind in SYMMETRIC else (kind, j, k)
        if same in found:
            raise WeakSupervisionError(
                f"{name} repeats dependencies[{found[same]}], {kind} of rules {j} and {k}; name it once"
            )
        found[same] = place
        checked.append(Dependency(kind, j, k))
    return tuple(checked)


def factor_columns(signed: np.ndarray, dependencies: Sequence[Dependency]) -> tuple[np.ndarray, np.ndarray]:
    """Half difference and half sum over y of every factor, each float64 `(R, F)`: `phi(y) = half_sum + y half`."""
    difference = np.empty((len(signed), len(dependencies)))
    total = np.empty_like(difference)
    places = signed.astype(np.intp) + 1
    for f, (kind, j, k) in enumerate(dependencies):
        table = FACTORS[kind]
        difference[:, f] = ((table[..., 1] - table[..., 0]) / 2)[places[:, j], places[:, k]]
        total[:, f] = ((table[..., 1] + table[..., 0]) / 2)[places[:, j], places[:, k]]
    return difference, total


def one_hot(signed: np.ndarray) -> np.ndarray:
    """Signed votes `(R, M)` as float64 indicators `(R, 3 M)`: against, abstain, for; rule by rule."""
    rows, rules = signed.shape
    return (signed[..., None] == np.array([-1, 0, 1])).reshape(rows, 3 * rules).astype(np.float64)
