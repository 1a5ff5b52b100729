"""Fitting the factor graph by marginal likelihood: exact sums where they are small, persistent chains beyond."""

import warnings
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from scipy import optimize

from jlabel.weak_supervision import gibbs
from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.dependencies import Dependency, check_dependencies
from jlabel.weak_supervision.elimination import MAX_WIDTH, log_z, plan_elimination, unary_terms
from jlabel.weak_supervision.factor_graph import (
    FactorGraph,
    check_balance,
    design,
    half_log_odds,
    signed_votes,
    two_class_buckets,
)

__all__ = ["fit_factor_graph"]

CHAINS = 1000
SWEEPS = 5
START_THETA = float(np.arctanh(2 * 0.7 - 1))  # rules that are right 70 % of the time: decides which class is which
_LEARNING_RATE = 0.05
_ROWS = 256  # rows are filled up to a multiple of this or more, so that like sizes share a compiled program


class _Data(NamedTuple):
    """What the likelihood needs of the votes; means are over all N rows."""

    odd: Any  # (R, M + F): b + odd @ (theta, weights) is half the log odds
    unknown: Any  # (R,) share of rows in the bucket whose label is not known
    signs: Any  # (R,) mean of y over the rows whose label is known, 0 for the others
    means: Any  # (M + F,) mean of [l_j != 0] and of what of the factors does not depend on y
    half: Any  # log(pi / (1 - pi)) / 2
    polarity: Any  # (M,)
    centre: Any  # (2 M + F,) where the penalty is 0
    active: Any  # (2 M + F,) 1, or 0 where a parameter has nothing to fit


def fit_factor_graph(
    votes: ArrayLike | Buckets,
    dependencies: Any = (),
    *,
    balance: Any = 0.5,
    l2: float = 1e-3,
    steps: int = 500,
    inference: Literal["auto", "exact", "chains"] = "auto",
    polarity: Literal["seen", "both"] = "seen",
    expert_rows: ArrayLike | None = None,
    expert_labels: ArrayLike | None = None,
    key: jax.Array,
) -> FactorGraph:
    """Fits accuracies, propensities and dependency weights by marginal likelihood.

    Minimises `-mean_i log p(l_i) + l2 / 2 (|theta|^2 + |q - q0|^2 + |w|^2)`, `q0` from each rule's coverage, with
    `log p(l_i, y_i)` for rows an expert has labelled. The gradient is `E[phi | l] - E[phi]`; the first term is exact,
    the second as `inference` says. `p(y = 1)` stays at `balance` exactly.

    Args:
        votes: `(N, M)` votes -1 (abstain), 0 or 1, or `Buckets` of them.
        dependencies: `Dependency` or (kind, j, k), each once.
        balance: `p(y = 1)`, or the probabilities of both classes.
        l2: Strength of the penalty, 0 or more.
        steps: Most iterations of L-BFGS (exact), or steps of Adam (chains).
        inference: `"exact"` sums out the rules; `"chains"` runs 1,000 persistent chains, 5 Gibbs sweeps a step;
            `"auto"` is exact where no table on the way holds more than 8 rules.
        polarity: `"seen"`: a rule that votes for one class only in these votes can vote for no other; `"both"`: every
            rule can vote for both. With one-sided rules `"both"` often ends with one class taking nearly all rows: that
            such a rule is "always right" then explains why its other vote is missing.
        expert_rows: Row numbers below N whose label is known (numbers of buckets, where `votes` is `Buckets` without
            `inverse`).
        expert_labels: Their labels, 0 or 1.
        key: Typed key; only chains use it.

    Returns:
        `FactorGraph`. Rules that never vote have `theta` 0, and factors that are the same in all rows weight 0; a
        warning lists them.

    Raises:
        WeakSupervisionError: A third class, a bad dependency, balance, row number or label, `inference="exact"` on
            dependencies that are too dense, or a setting out of range.

    Example:
        >>> from jlabel.weak_supervision.factor_graph import sample_votes
        >>> truth = FactorGraph(np.array([1.0, 0.8, 0.6]), np.array([0.0, 1.0, 2.0]))
        >>> votes, _ = sample_votes(truth, 20_000, key=jax.random.key(0))
        >>> graph = fit_factor_graph(votes, key=jax.random.key(1))
        >>> bool(np.abs(graph.theta - truth.theta).max() < 0.1)
        True

    Source: Ratner et al. 2016, section 3.
    """
    buckets = two_class_buckets(votes)
    num_rules = buckets.rows.shape[1]
    checked = check_dependencies(dependencies, num_rules)
    pi = check_balance(balance)
    if not 0 <= l2 < np.inf:
        raise WeakSupervisionError(f"l2 is {l2!r}; give a number of 0 or more")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise WeakSupervisionError(f"steps is {steps!r}; give a whole number of 1 or more")
    if inference not in ("auto", "exact", "chains"):
        raise WeakSupervisionError(f"inference is {inference!r}; choose auto, exact or chains")
    if polarity not in ("seen", "both"):
        raise WeakSupervisionError(f"polarity is {polarity!r}; choose seen or both")
    width = plan_elimination(checked).width
    if inference == "exact" and width > MAX_WIDTH:
        raise WeakSupervisionError(
            f"inference='exact': the dependencies tie {width} rules together at once, it takes up to {MAX_WIDTH}; "
            "take inference='auto', or fewer dependencies"
        )
    exact = inference == "exact" or (inference == "auto" and width <= MAX_WIDTH)
    known = _known_labels(buckets, expert_rows, expert_labels)
    sides = seen_polarity(signed_votes(buckets.rows)) if polarity == "seen" else np.zeros(num_rules, np.int8)
    data, start = _prepare(buckets, checked, known, half_log_odds(pi), sides)
    _warn_idle(data.active, num_rules, checked)
    options: dict[str, Any] = {"dependencies": checked, "two_sided": not sides.any()}
    with jax.enable_x64(True):
        if exact:
            params, bias = _fit_exactly(start, data, float(l2), int(steps), options)
        else:
            params, bias = _fit_by_chains(start, data, float(l2), key, steps=int(steps), **options)
        theta, propensity, weights = np.split(np.asarray(params) * data.active, [num_rules, 2 * num_rules])
    return FactorGraph(theta, propensity, checked, weights, pi, sides, float(bias))


def seen_polarity(signed: np.ndarray) -> np.ndarray:
    """1 or -1 for rules that vote for one class only, 0 for the others and those that never vote; `(M,)`."""
    return (signed == 1).any(axis=0).astype(np.int8) - (signed == -1).any(axis=0)


def _known_labels(buckets: Buckets, rows: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Number of labelled rows, and the sum of their signs, in each bucket."""
    size = len(buckets.rows)
    if (rows is None) != (labels is None):
        raise WeakSupervisionError("expert_rows and expert_labels belong together; give both or none")
    if rows is None:
        return np.zeros(size), np.zeros(size)
    places, answers = np.atleast_1d(np.asarray(rows)), np.atleast_1d(np.asarray(labels))
    if places.ndim != 1 or places.shape != answers.shape:
        raise WeakSupervisionError(
            f"expert_rows has shape {places.shape}, expert_labels {answers.shape}; one label a row"
        )
    limit = size if buckets.inverse is None else len(buckets.inverse)
    for name, values, high in (("expert_rows", places, limit - 1), ("expert_labels", answers, 1)):
        wrong = [i for i, value in enumerate(values.tolist()) if not (0 <= value <= high and value == int(value))]
        if wrong:
            raise WeakSupervisionError(f"{name}[{wrong[0]}] is {values[wrong[0]]}; give whole numbers of 0 to {high}")
    ids = places.astype(np.intp) if buckets.inverse is None else buckets.inverse[places.astype(np.intp)]
    counts = np.bincount(ids, minlength=size).astype(np.float64)
    again = (
        len(np.unique(places)) < len(places) if buckets.inverse is not None else bool((counts > buckets.counts).any())
    )
    if again:
        raise WeakSupervisionError("expert_rows names a row twice; give each row once, with one label")
    return counts, np.bincount(ids, weights=2.0 * answers - 1, minlength=size)


def _prepare(
    buckets: Buckets,
    dependencies: tuple[Dependency, ...],
    known: tuple[np.ndarray, np.ndarray],
    half: float,
    polarity: np.ndarray,
) -> tuple[_Data, np.ndarray]:
    """The data of the likelihood, and where to start."""
    odd, even = design(buckets.rows, dependencies)
    counts = buckets.counts.astype(np.float64)
    total = max(counts.sum(), 1.0)
    coverage = counts @ (buckets.rows >= 0) / total
    num_rules = len(coverage)
    varied = (odd[:, num_rules:] != 0).any(axis=0) | (np.ptp(even, axis=0) > 0 if len(even) else False)
    active = np.concatenate([coverage > 0, np.ones(num_rules), varied]).astype(np.float64)
    inside = np.clip(coverage, 0.5 / total, 1 - 0.5 / total)
    start_odds = np.where(polarity == 0, 2.0, 1.0) * np.cosh(START_THETA)
    propensity = np.log(inside) - np.log1p(-inside) - np.log(start_odds)
    start = np.concatenate([np.full(num_rules, START_THETA), propensity, np.zeros(len(dependencies))]) * active
    # Propensities are drawn to what the coverage says: to 0 would mean to a coverage of two thirds.
    centre = np.concatenate([np.zeros(num_rules), propensity, np.zeros(len(dependencies))])
    empty = -len(odd) % max(_ROWS, 1 << max(len(odd).bit_length() - 3, 0))
    data = _Data(
        odd=np.pad(odd, ((0, empty), (0, 0))),
        unknown=np.pad((counts - known[0]) / total, (0, empty)),
        signs=np.pad(known[1] / total, (0, empty)),
        means=np.concatenate([coverage, counts @ even / total]),
        half=np.float64(half),
        polarity=polarity,
        centre=centre,
        active=active,
    )
    return data, start


def _warn_idle(active: np.ndarray, num_rules: int, dependencies: tuple[Dependency, ...]) -> None:
    dead = np.flatnonzero(active[:num_rules] == 0).tolist()
    constant = [tuple(d) for d, on in zip(dependencies, active[2 * num_rules :], strict=True) if not on]
    if len(dead) == num_rules:
        warnings.warn("votes holds no vote at all: every row gets the balance", UserWarning, stacklevel=3)
    elif dead:
        warnings.warn(f"rules {dead} never vote: their weight is 0", UserWarning, stacklevel=3)
    if constant:
        warnings.warn(f"dependencies {constant} are the same in all rows: their weight is 0", UserWarning, stacklevel=3)


def _loss(params: jax.Array, data: _Data, l2: jax.Array, log_zs: Any, num_rules: int) -> tuple[jax.Array, jax.Array]:
    """Penalised minus mean log likelihood, less a constant of the balance, and `b`, by which `p(y) = pi`."""
    against, favour = log_zs
    bias = data.half - (favour - against) / 2
    half = bias + data.odd @ jnp.concatenate([params[:num_rules], params[2 * num_rules :]])
    fit = data.unknown @ jnp.logaddexp(half, -half) + data.signs @ half + data.means @ params[num_rules:]
    return l2 / 2 * jnp.sum((params - data.centre) ** 2) - fit + (favour + against) / 2, bias


def _unary_terms(params: jax.Array, data: _Data, num_rules: int) -> list[jax.Array]:
    """Log weights of single votes given either label."""
    theta, propensity = params[:num_rules], params[num_rules : 2 * num_rules]
    return [unary_terms(theta, propensity, data.polarity, side) for side in (0, 1)]


@partial(jax.jit, static_argnames=("dependencies", "two_sided"))
def _exact_loss(
    params: jax.Array, data: _Data, l2: jax.Array, *, dependencies: tuple[Dependency, ...], two_sided: bool
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    num_rules = (len(params) - len(dependencies)) // 2

    def loss(params: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = params * data.active
        unary, weights = _unary_terms(params, data, num_rules), params[2 * num_rules :]
        favour = log_z(unary[1], weights, dependencies, 1)
        against = favour if two_sided else log_z(unary[0], weights, dependencies, 0)
        return _loss(params, data, l2, (against, favour), num_rules)

    return jax.value_and_grad(loss, has_aux=True)(params)


def _fit_exactly(
    start: np.ndarray, data: _Data, l2: float, steps: int, options: dict[str, Any]
) -> tuple[np.ndarray, jax.Array]:
    data = jax.device_put(data)

    def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
        (value, _), gradient = _exact_loss(params, data, l2, **options)
        return float(value), np.asarray(gradient)

    settings = {"maxiter": steps, "maxcor": 20, "gtol": 1e-8, "ftol": 1e-15}
    params = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=settings).x
    return params, _exact_loss(params, data, l2, **options)[0][1]


@partial(jax.jit, static_argnames=("steps", "dependencies", "two_sided"))
def _fit_by_chains(
    start: jax.Array,
    data: _Data,
    l2: jax.Array,
    key: jax.Array,
    *,
    steps: int,
    dependencies: tuple[Dependency, ...],
    two_sided: bool,
) -> tuple[jax.Array, jax.Array]:
    """Adam on the chains' gradient, with a falling rate; the mean of the second half of the path, and of `b` on it.

    The chains give the gradients of `log Z_y`. Its difference between the labels, which `b` needs where rules are
    one-sided, is summed up along the path (trapezia) from the start, where the rules are independent.
    """
    num_rules = (len(start) - len(dependencies)) // 2
    # Rules without dependencies have a closed form; only the others are in the chains.
    linked = np.array(plan_elimination(dependencies).order, np.int32)
    free = np.setdiff1d(np.arange(num_rules), linked)
    place = {int(rule): i for i, rule in enumerate(linked)}
    local = tuple(Dependency(kind, place[j], place[k]) for kind, j, k in dependencies)
    blocks = gibbs.colour_blocks(len(linked), local)
    optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps, alpha=0.02))
    sides = (1,) if two_sided else (0, 1)

    def closed(unary: list[jax.Array], rules: np.ndarray) -> list[jax.Array]:
        return [jnp.sum(jax.scipy.special.logsumexp(unary[side][rules], axis=1)) for side in sides]

    def linear(params: jax.Array, means: Any) -> list[jax.Array]:
        """For each side what has the gradient of `log Z_y`: the chains' mean of the factors times the parameters."""
        unary, weights = _unary_terms(params, data, num_rules), params[2 * num_rules :]
        return [
            jnp.sum(unary[side][linked] * votes) + weights @ factors
            for side, (votes, factors) in zip(sides, means, strict=True)
        ]

    def apart(params: jax.Array, means: Any) -> jax.Array:
        found = linear(params, means)
        return found[-1] - found[0]

    def loss(params: jax.Array, means: Any, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = params * data.active
        unary = _unary_terms(params, data, num_rules)
        log_zs = [a + b for a, b in zip(closed(unary, free), linear(params, means), strict=True)]
        if not two_sided:  # the slope is right; the difference of the two is put right
            log_zs[1] = log_zs[1] + jax.lax.stop_gradient(offset - apart(params, means))
        return _loss(params, data, l2, (log_zs[0], log_zs[-1]), num_rules)

    def step(carry: Any, inputs: Any) -> tuple[Any, None]:
        params, mean, opt_state, chains, before, offset = carry
        number, key = inputs
        masked = params * data.active
        unary = _unary_terms(masked, data, num_rules)
        moved = []
        for side, votes, key_of_side in zip(sides, chains, jax.random.split(key, len(sides)), strict=True):
            pairs = gibbs.pair_weights(masked[2 * num_rules :], local, len(linked), side).astype(jnp.float32)
            singles = unary[side][linked].astype(jnp.float32)
            moved.append(gibbs.sweeps(key_of_side, votes, singles, pairs, blocks, count=SWEEPS))
        means = [gibbs.mean_factors(votes, local, side) for side, votes in zip(sides, moved, strict=True)]
        offset = offset + (apart(masked, means) - apart(before[0], means)) / 2
        offset = offset + (apart(masked, before[1]) - apart(*before)) / 2
        gradient, bias = jax.grad(loss, has_aux=True)(params, means, offset)
        updates, opt_state = optimizer.update(gradient, opt_state)
        late = jnp.maximum(number - steps // 2 + 1, 1)
        mean = jax.tree.map(lambda average, now: average + (now - average) / late, mean, (params, bias))
        params = optax.apply_updates(params, updates)
        return (params, mean, opt_state, moved, (masked, means), offset), None

    unary = _unary_terms(start * data.active, data, num_rules)
    first, rest = jax.random.split(key)
    chains = [
        gibbs.start_chains(one, unary[side][linked].astype(jnp.float32), CHAINS // len(sides))
        for side, one in zip(sides, jax.random.split(first, len(sides)), strict=True)
    ]
    at_start = closed(unary, linked)
    means = [gibbs.mean_factors(votes, local, side) for side, votes in zip(sides, chains, strict=True)]
    before = (start * data.active, means)
    carry = (start, (start, jnp.zeros(())), optimizer.init(start), chains, before, at_start[-1] - at_start[0])
    inputs = (jnp.arange(steps), jax.random.split(rest, steps))
    return jax.lax.scan(step, carry, inputs)[0][1]
