"""Finding dependencies: from votes alone, and, as an oracle, with true labels."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import optimize

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.dependencies import FACTORS, KINDS, SYMMETRIC, Dependency, one_hot
from jlabel.weak_supervision.elimination import unary_terms
from jlabel.weak_supervision.factor_graph import (
    check_balance,
    half_log_odds,
    signed_votes,
    two_class_buckets,
    two_class_votes,
)
from jlabel.weak_supervision.graph_fit import START_THETA, seen_polarity

__all__ = ["dependency_values", "learn_structure"]

LEARNT = ("similar", "fixing", "reinforcing")
_BOUND = 8.0  # of any parameter, so that rules that always or never vote stay finite


def learn_structure(
    votes: ArrayLike | Buckets,
    *,
    method: Literal["pseudolikelihood", "sparse_lowrank"] = "pseudolikelihood",
    threshold: float = 0.05,
    balance: Any = 0.5,
) -> list[tuple[Dependency, float]]:
    """Finds dependencies from votes alone.

    - `"pseudolikelihood"`: `similar`, `fixing` and `reinforcing` factors of all pairs, fitted together by
      `sum_j log p(l_j | l_others)`, each term with the label summed out, under an l1 penalty of
      `sqrt(log(F) / N)` on the F weights.
    - `"sparse_lowrank"`: the inverse covariance of the signed votes, scaled to a unit diagonal, is split into a sparse
      part, whose entries are the `similar` dependencies, and a low-rank part that the label explains, by minimising
      `|low rank|_* + |off-diagonal of sparse|_1 / sqrt(M)`. Faster, for many rules; it sees no other kind.

    Args:
        votes: `(N, M)` votes -1 (abstain), 0 or 1, or `Buckets` of them.
        method: One of the two.
        threshold: Strength above which a dependency is reported; the lower, the more.
        balance: `p(y = 1)`, or the probabilities of both classes; for the pseudolikelihood.

    Returns:
        (dependency, strength), the largest absolute strength first. Strength is the factor's weight, or minus the
        entry of the sparse part; below 0, the rules agree less often than they would otherwise.

    Raises:
        WeakSupervisionError: A third class, fewer than two rules, no rows, or an unknown method or bad threshold.

    Example:
        >>> from jlabel.weak_supervision.factor_graph import FactorGraph, sample_votes
        >>> truth = FactorGraph(np.full(5, 0.8), np.zeros(5), (Dependency("similar", 0, 1),), np.array([1.5]))
        >>> votes, _ = sample_votes(truth, 20_000, key=jax.random.key(0))
        >>> [d for d, _ in learn_structure(votes, threshold=0.5)]
        [Dependency(kind='similar', j=0, k=1)]

    Source: Bach et al. 2017 (equation 4); Varma et al. 2019 (robust PCA of the inverse covariance).
    """
    buckets = two_class_buckets(votes)
    num_rules = buckets.rows.shape[1]
    if method not in ("pseudolikelihood", "sparse_lowrank"):
        raise WeakSupervisionError(f"method is {method!r}; choose pseudolikelihood or sparse_lowrank")
    if not 0 <= threshold < np.inf:
        raise WeakSupervisionError(f"threshold is {threshold!r}; give a number of 0 or more")
    if num_rules < 2 or not len(buckets.rows):
        raise WeakSupervisionError(
            f"votes holds {num_rules} rules and {len(buckets.rows)} distinct rows; dependencies need two rules"
        )
    signed = signed_votes(buckets.rows)
    if method == "sparse_lowrank":
        found = _sparse_lowrank(signed, buckets.counts)
    else:
        found = _pseudolikelihood(signed, buckets.counts, half_log_odds(check_balance(balance)))
    return sorted(((d, s) for d, s in found if abs(s) > threshold), key=lambda entry: -abs(entry[1]))


def dependency_values(
    votes: ArrayLike, labels: ArrayLike, kinds: Sequence[str] = KINDS
) -> list[tuple[Dependency, float]]:
    """Sums of every factor over labelled rows, `v = sum_i phi(l_ij, l_ik, y_i)`: an oracle, as it needs true labels.

    Args:
        votes: `(N, M)` votes -1 (abstain), 0 or 1.
        labels: `(N,)` true classes, 0 or 1.
        kinds: Which of the six kinds.

    Returns:
        (dependency, value) for every pair of rules and kind, largest value first; symmetric kinds with `j < k` only.

    Raises:
        WeakSupervisionError: A third class, labels that do not fit the votes, or an unknown kind.

    Example:
        >>> dependency_values([[0, 1], [0, 1], [1, 1]], [1, 1, 1], ("fixing", "bolstering"))[:2]
        [(Dependency(kind='fixing', j=0, k=1), 2.0), (Dependency(kind='fixing', j=1, k=0), 0.0)]

    Source: section 5.1 of the dependency paper.
    """
    checked = two_class_votes(votes)
    classes = np.asarray(labels)
    if classes.shape != (len(checked),):
        raise WeakSupervisionError(f"labels has shape {classes.shape}; give one for each of the {len(checked)} rows")
    wrong = np.flatnonzero(~np.isin(classes, (0, 1)))
    if len(wrong):
        raise WeakSupervisionError(f"labels[{wrong[0]}] is {classes[wrong[0]]}; the true labels must be 0 or 1")
    for kind in kinds:
        if kind not in FACTORS:
            raise WeakSupervisionError(f"kinds holds {kind!r}; choose from {', '.join(KINDS)}")
    num_rules = checked.shape[1]
    votes_of = one_hot(signed_votes(checked))
    # [y, j, l_j, k, l_k]: how often the two votes meet in rows of each class.
    meets = np.stack([votes_of[classes == y].T @ votes_of[classes == y] for y in (0, 1)])
    meets = meets.reshape(2, num_rules, 3, num_rules, 3)
    found = []
    for kind in kinds:
        values = np.einsum("yjakb,aby->jk", meets, FACTORS[kind])
        pairs = [(j, k) for j in range(num_rules) for k in range(num_rules) if (j < k if kind in SYMMETRIC else j != k)]
        found += [(Dependency(kind, j, k), float(values[j, k])) for j, k in pairs]
    return sorted(found, key=lambda entry: -entry[1])


def _pseudolikelihood(signed: np.ndarray, counts: np.ndarray, half: float) -> list[tuple[Dependency, float]]:
    num_rules = signed.shape[1]
    upper = [(j, k) for j in range(num_rules) for k in range(j + 1, num_rules)]
    both = upper + [(k, j) for j, k in upper]
    factors = tuple(Dependency(kind, j, k) for kind in LEARNT for j, k in (upper if kind in SYMMETRIC else both))
    penalty = np.sqrt(np.log(len(factors)) / counts.sum())
    coverage = np.clip(counts @ (signed != 0) / counts.sum(), 1e-3, 1 - 1e-3)
    propensity = np.log(coverage) - np.log1p(-coverage) - np.log(2 * np.cosh(START_THETA))
    polarity = seen_polarity(signed)
    start = np.concatenate([[half], np.full(num_rules, START_THETA), propensity, np.zeros(2 * len(factors))])
    # |w| = plus + minus with both at least 0 makes the penalty linear, so that L-BFGS-B takes it. One-sided rules leave
    # the bias free; otherwise the balance fixes it.
    bounds = [(-_BOUND, _BOUND) if polarity.any() else (half, half)] + [(-_BOUND, _BOUND)] * (2 * num_rules)
    bounds += [(0.0, _BOUND)] * (2 * len(factors))
    size = 1 + 2 * num_rules
    with jax.enable_x64(True):
        rows = jax.device_put((one_hot(signed), counts / counts.sum()))

        def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
            ours, plus, minus = np.split(params, [size, size + len(factors)])
            value, gradient = _pseudo_loss(np.concatenate([ours, plus - minus]), *rows, polarity)
            gradient = np.asarray(gradient)
            slope = gradient[size:]
            total = float(value) + penalty * float(plus.sum() + minus.sum())
            return total, np.concatenate([gradient[:size], slope + penalty, penalty - slope])

        options = {"maxiter": 300, "maxfun": 400, "ftol": 1e-7, "gtol": 1e-4}
        fitted = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    plus, minus = np.split(fitted[size:], 2)
    return list(zip(factors, (plus - minus).tolist(), strict=True))


@jax.jit
def _pseudo_loss(
    params: jax.Array, rows: jax.Array, share: jax.Array, polarity: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Minus the mean of `sum_j log p(l_j | l_others)`, and its gradient."""
    return jax.value_and_grad(_pseudo_value)(params, rows, share, polarity)


def _pseudo_value(params: jax.Array, rows: jax.Array, share: jax.Array, polarity: jax.Array) -> jax.Array:
    size, num_rules = len(rows), rows.shape[1] // 3
    bias, theta, propensity, weights = jnp.split(params, [1, 1 + num_rules, 1 + 2 * num_rules])
    upper = np.triu_indices(num_rules, 1)
    count = len(upper[0])
    totals, energies = [], []
    for side in (0, 1):  # y = -1, 1
        pairs = jnp.zeros((num_rules, num_rules, 3, 3))
        taken = 0
        for kind in LEARNT:
            # Factors as in `factors`: the pairs j < k, then, if the kind is not symmetric, the same turned round.
            for ends in (upper,) if kind in SYMMETRIC else (upper, upper[::-1]):
                table = weights[taken : taken + count, None, None] * FACTORS[kind][None, :, :, side]
                pairs = pairs.at[ends].add(table).at[ends[::-1]].add(jnp.swapaxes(table, 1, 2))
                taken += count
        fields = rows @ pairs.transpose(0, 2, 1, 3).reshape(3 * num_rules, 3 * num_rules)
        unary = unary_terms(theta, propensity, polarity, side).reshape(1, -1)
        total = (2 * side - 1) * bias + jnp.sum(rows * (unary + fields / 2), axis=1)
        chosen = (rows * (unary + fields)).reshape(size, num_rules, 3).sum(axis=2, keepdims=True)
        energies.append(total[:, None, None] - chosen + (unary + fields).reshape(size, num_rules, 3))
        totals.append(total)
    joint = jnp.logaddexp(*totals)
    others = jax.scipy.special.logsumexp(jnp.stack(energies), axis=(0, 3))
    return -share @ (num_rules * joint - others.sum(axis=1))


def _sparse_lowrank(signed: np.ndarray, counts: np.ndarray) -> list[tuple[Dependency, float]]:
    """Splits the scaled inverse covariance by alternating directions."""
    share = counts / counts.sum()
    centred = signed - share @ signed
    precision = np.linalg.pinv(centred.T * share @ centred, hermitian=True)
    scale = np.sqrt(np.where(np.diag(precision) > 0, np.diag(precision), np.inf))  # dead rules get zeros
    target = precision / np.outer(scale, scale)
    size, step = len(target), 1.0
    limits = np.where(np.eye(size, dtype=bool), 0.0, 1 / np.sqrt(size)) / step
    sparse, dual = np.zeros_like(target), np.zeros_like(target)
    for _ in range(2000):
        left, values, right = np.linalg.svd(target - sparse + dual / step)
        low = (left * np.maximum(values - 1 / step, 0)) @ right
        rest = target - low + dual / step
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - limits, 0)
        gap = target - low - sparse
        dual += step * gap
        if np.abs(gap).max() < 1e-7:
            break
    upper = zip(*np.triu_indices(size, 1), strict=True)
    return [(Dependency("similar", int(j), int(k)), -float(sparse[j, k])) for j, k in upper]
