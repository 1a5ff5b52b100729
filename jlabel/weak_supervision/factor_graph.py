"""The factor graph of two-class votes and labels: its normaliser, its posterior, and draws from it."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.weak_supervision.buckets import Buckets, as_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_votes
from jlabel.weak_supervision.dependencies import Dependency, check_dependencies, factor_columns
from jlabel.weak_supervision.elimination import MAX_WIDTH, log_z, plan_elimination, sample_exactly, unary_terms
from jlabel.weak_supervision.gibbs import sample_by_gibbs

__all__ = ["FactorGraph", "factor_graph_probs", "log_partition", "sample_votes", "vote_log_likelihood"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FactorGraph:
    """Votes of `M` rules and the label, with dependencies between rules.

    With signed votes `l` (-1 for class 0, 0 for abstain, 1 for class 1) and `y` (-1, 1),
    `p(l, y) = exp(b y + sum_j theta_j l_j y + sum_j q_j [l_j != 0] + sum_f w_f phi_f(l_j, l_k, y)) / Z`.
    `b` is such that `p(y = 1) = pi` exactly. Where every rule may vote for both classes that is
    `b = log(pi / (1 - pi)) / 2`, as flipping every sign changes no factor. A rule whose `polarity` says so votes
    for one class or abstains, and its other vote is left out of Z; then
    `b = (log(pi / (1 - pi)) - log(Z_1 / Z_-1)) / 2`, by which abstaining speaks for the other class.

    Attributes:
        theta: float64 `(M,)`, accuracy weights; a rule without dependencies that votes for both classes is right with
            probability `1 / (1 + exp(-2 theta))` where it votes.
        propensity: float64 `(M,)`, the `q`: how readily a rule votes.
        dependencies: `F` of them, each with its factor `phi_f`.
        weights: float64 `(F,)`.
        balance: `pi = p(y = 1)`, in (0, 1).
        polarity: int `(M,)`, 1 or -1 for a rule that votes for class 1 or class 0 only, else 0; None is 0 for all.
        bias: `b`; None where it is to be worked out.

    Example:
        >>> graph = FactorGraph(np.array([1.0, 0.5]), np.zeros(2), (Dependency("fixing", 0, 1),), np.ones(1), 0.5)
        >>> round(float(np.exp(log_partition(graph))), 4)
        25.8362

    Source: Ratner et al. 2016; equation 1 of the dependency paper.
    """

    theta: Any
    propensity: Any
    dependencies: tuple[Dependency, ...] = field(default=(), metadata={"static": True})
    weights: Any = ()
    balance: Any = 0.5
    polarity: Any = None
    bias: Any = None


def log_partition(graph: FactorGraph) -> float:
    """`log Z`, exactly: `Z = sum_y e^(b y) prod_c Z_c(y)` over the components `c` that the dependencies make.

    A component's sum leaves out one rule after the other, so that its cost is that of the largest table on the way, at
    most `3^8` entries. Components of up to 8 rules always fit, of any number of rules in all.

    Args:
        graph: A `FactorGraph`.

    Returns:
        The natural logarithm of Z.

    Raises:
        WeakSupervisionError: A graph that is no distribution, or dependencies so dense that a table would hold more
            than 8 rules.

    Example:
        >>> round(float(np.exp(log_partition(FactorGraph(np.array([1.0, 0.5]), np.zeros(2))))), 4)
        26.603
    """
    graph = check_graph(graph)
    against, favour = _log_zs(graph)
    bias = bias_of(graph)
    return float(np.logaddexp(bias + favour, against - bias))


def factor_graph_probs(graph: FactorGraph, rows: ArrayLike) -> np.ndarray:
    """Class probabilities of rows of votes.

    `p(y = 1 | l) = sigmoid(2 b + 2 theta^T l + sum_f w_f (phi_f(1) - phi_f(-1)))`, whatever the dependencies: `Z`
    cancels. A row's answer does not depend on the other rows.

    Args:
        graph: A `FactorGraph`.
        rows: `(R, M)` votes -1, 0 or 1.

    Returns:
        float64 `(R, 2)`, probabilities of class 0 and 1.

    Raises:
        WeakSupervisionError: Votes of other rules or classes, or a graph that is no distribution.

    Example:
        >>> graph = FactorGraph(np.zeros(2), np.zeros(2), (Dependency("priority", 0, 1),), np.ones(1), 0.5)
        >>> factor_graph_probs(graph, [[0, 1], [-1, 1]]).round(4).tolist()
        [[0.1192, 0.8808], [0.5, 0.5]]

    Source: Lemma 1 of the dependency paper.
    """
    graph = check_graph(graph)
    votes = _rows_of(graph, rows)
    odd, _ = design(votes, graph.dependencies)
    # Sums column by column: a matrix product may round a row differently in another batch.
    half = np.full(len(votes), bias_of(graph))
    for column, weight in enumerate(np.concatenate([graph.theta, graph.weights])):
        half += weight * odd[:, column]
    return np.exp(-np.logaddexp(0, np.stack([2 * half, -2 * half], axis=1)))


def vote_log_likelihood(graph: FactorGraph, rows: ArrayLike) -> np.ndarray:
    """`log p(l)` of rows of votes, the label summed out.

    Args:
        graph: A `FactorGraph`.
        rows: `(R, M)` votes -1, 0 or 1.

    Returns:
        float64 `(R,)`, natural logarithms.

    Raises:
        WeakSupervisionError: Votes of other rules or classes, or dependencies as dense as `log_partition` refuses.

    Example:
        >>> graph = FactorGraph(np.zeros(2), np.zeros(2))  # nine rows of votes, all alike
        >>> vote_log_likelihood(graph, [[0, 1]]).round(4).tolist() == (-np.log([9])).round(4).tolist()
        True
    """
    graph = check_graph(graph)
    votes = _rows_of(graph, rows)
    odd, even = design(votes, graph.dependencies)
    bias = bias_of(graph)
    half = bias + odd @ np.concatenate([graph.theta, graph.weights])
    signed = signed_votes(votes)
    rest = (signed != 0) @ graph.propensity + even @ graph.weights - log_partition(graph)
    impossible = (signed * graph.polarity < 0).any(axis=1)
    return np.where(impossible, -np.inf, np.logaddexp(half, -half) + rest)


def sample_votes(graph: FactorGraph, n: int, *, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Draws votes and labels.

    Exact where `log_partition` is; where the dependencies are denser, from `n` chains after 200 Gibbs sweeps.

    Args:
        graph: A `FactorGraph`.
        n: Number of rows.
        key: Typed key.

    Returns:
        Votes int8 `(n, M)` with -1 for abstain, and labels int8 `(n,)`, 0 or 1.

    Raises:
        WeakSupervisionError: `n` below 1, or a graph that is no distribution.

    Example:
        >>> graph = FactorGraph(np.array([2.0, 0.5]), np.array([1.0, -1.0]))
        >>> votes, labels = sample_votes(graph, 1000, key=jax.random.key(0))
        >>> votes.shape, bool((votes[:, 0] == labels).mean() > 0.8)
        ((1000, 2), True)
    """
    graph = check_graph(graph)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise WeakSupervisionError(f"n is {n!r}; give the number of rows, 1 or more")
    label_key, *vote_keys = jax.random.split(key, 3)
    exact = plan_elimination(graph.dependencies).width <= MAX_WIDTH
    sides = []
    with jax.enable_x64(True):
        labels = np.asarray(jax.random.uniform(label_key, (n,), np.float64)) < graph.balance
        for side, vote_key in enumerate(vote_keys):
            unary, count = _unary(graph, side), int((labels == side).sum())
            if exact or not count:
                uniforms = np.asarray(jax.random.uniform(vote_key, (count, len(graph.theta)), np.float64))
                sides.append(sample_exactly(unary, graph.weights, graph.dependencies, side, uniforms))
            else:
                sides.append(sample_by_gibbs(unary, graph.weights, graph.dependencies, side, count, key=vote_key))
    signed = np.empty((n, len(graph.theta)), np.int8)
    signed[~labels], signed[labels] = sides
    return np.where(signed == 0, -1, (signed + 1) // 2).astype(np.int8), labels.astype(np.int8)


def _rows_of(graph: FactorGraph, rows: ArrayLike) -> np.ndarray:
    votes = two_class_votes(rows)
    if votes.shape[1] != len(graph.theta):
        raise WeakSupervisionError(f"rows has {votes.shape[1]} rules, the graph {len(graph.theta)}")
    return votes


def _unary(graph: FactorGraph, side: int) -> jax.Array:
    return unary_terms(jnp.asarray(graph.theta), jnp.asarray(graph.propensity), jnp.asarray(graph.polarity), side)


def _log_zs(graph: FactorGraph) -> tuple[float, float]:
    """`log Z_y` for both labels."""
    width = plan_elimination(graph.dependencies).width
    if width > MAX_WIDTH:
        raise WeakSupervisionError(
            f"graph: its dependencies tie {width} rules together at once, sums over votes are exact up to {MAX_WIDTH}; "
            "leave some dependencies out"
        )
    with jax.enable_x64(True):
        weights = jnp.asarray(graph.weights)
        found = [float(log_z(_unary(graph, side), weights, graph.dependencies, side)) for side in (0, 1)]
    return found[0], found[1]


def bias_of(graph: FactorGraph) -> float:
    """`b` of a checked graph."""
    if graph.bias is not None:
        return graph.bias
    half = half_log_odds(graph.balance)
    if not graph.polarity.any():
        return half
    against, favour = _log_zs(graph)
    return half - (favour - against) / 2


def check_graph(graph: FactorGraph) -> FactorGraph:
    """The graph with float64 arrays, if it is a distribution."""
    if not isinstance(graph, FactorGraph):
        raise WeakSupervisionError(f"graph is a {type(graph).__name__}; give a FactorGraph")
    arrays = {name: np.asarray(getattr(graph, name), np.float64) for name in ("theta", "propensity", "weights")}
    dependencies = check_dependencies(graph.dependencies, len(np.atleast_1d(arrays["theta"])))
    shapes = {"theta": arrays["theta"].shape, "propensity": arrays["theta"].shape, "weights": (len(dependencies),)}
    for name, array in arrays.items():
        if array.ndim != 1 or array.shape != shapes[name]:
            raise WeakSupervisionError(
                f"graph.{name} has shape {array.shape}; give one number for each "
                f"{'dependency' if name == 'weights' else 'rule'}, shape {shapes[name]}"
            )
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            raise WeakSupervisionError(f"graph.{name}[{bad[0]}] is {array[bad[0]]}; give finite numbers")
    polarity = np.zeros(shapes["theta"], np.int8) if graph.polarity is None else np.asarray(graph.polarity)
    if polarity.shape != shapes["theta"] or not np.isin(polarity, (-1, 0, 1)).all():
        raise WeakSupervisionError("graph.polarity must hold -1, 0 or 1 for each rule")
    bias = None if graph.bias is None else float(graph.bias)
    if bias is not None and not np.isfinite(bias):
        raise WeakSupervisionError(f"graph.bias is {bias}; give a finite number, or None")
    return FactorGraph(
        **arrays, dependencies=dependencies, balance=check_balance(graph.balance), polarity=polarity, bias=bias
    )


def check_balance(balance: Any) -> float:
    """`p(y = 1)` from a number, or from the two classes' probabilities."""
    try:
        given = np.asarray(balance, np.float64)
    except (TypeError, ValueError) as error:
        raise WeakSupervisionError(f"balance is {balance!r}; give p(y = 1), a number between 0 and 1") from error
    if given.shape == (2,) and abs(given.sum() - 1) < 1e-6:
        given = given[1]
    if given.shape != () or not 0 < given < 1:
        raise WeakSupervisionError(
            f"balance is {balance!r}; give p(y = 1) above 0 and below 1, or the probabilities of both classes"
        )
    return float(given)


def two_class_votes(votes: Any) -> np.ndarray:
    """Checked votes int8 `(N, M)` of two classes."""
    checked = check_votes(votes)
    _refuse_third_class(checked)
    return checked


def two_class_buckets(votes: Any) -> Buckets:
    """Checked buckets of votes of two classes."""
    if isinstance(votes, Buckets):
        _refuse_third_class(check_votes(votes.rows))
        return as_buckets(votes, num_classes=2)
    return as_buckets(two_class_votes(votes), num_classes=2)


def _refuse_third_class(votes: np.ndarray) -> None:
    if votes.max(initial=-1) > 1:
        row, rule = np.argwhere(votes > 1)[0]
        raise WeakSupervisionError(
            f"votes[{row}, {rule}] is {votes[row, rule]} (row {row}, rule {rule}): the factor graph knows two classes, "
            "0 and 1; for more take fit_latent_class or fit_matrix_completion"
        )


def signed_votes(votes: np.ndarray) -> np.ndarray:
    """-1 for class 0, 0 for abstain, 1 for class 1; int8."""
    return np.where(votes < 0, 0, 2 * votes - 1).astype(np.int8)


def design(votes: np.ndarray, dependencies: tuple[Dependency, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What multiplies (theta, weights) in `y` times half the log odds `(R, M + F)`, and weights beside it `(R, F)`."""
    signed = signed_votes(votes)
    odd, even = factor_columns(signed, dependencies)
    return np.concatenate([signed.astype(np.float64), odd], axis=1), even


def half_log_odds(balance: float) -> float:
    """`b` of a balance."""
    return float(np.log(balance) - np.log1p(-balance)) / 2
