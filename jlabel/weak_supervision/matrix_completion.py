"""Matrix completion: tables of rules from how their votes occur together, without labels."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes, check_votes, dense_votes
from jlabel.weak_supervision.givens import check_answers, check_balance, checked_buckets, warm_start
from jlabel.weak_supervision.groups import (
    CLIP,
    GroupModel,
    Layout,
    Plan,
    build_tables,
    distinct,
    marginal,
    plan_groups,
    vote_problems,
)
from jlabel.weak_supervision.moments import fit_moments
from jlabel.weak_supervision.objective import expert_penalty, matrix_completion_loss, validity_penalty
from jlabel.weak_supervision.overlaps import Overlaps, count_overlaps, references, unit_places

PINV_TOLERANCE = 1e-10  # eigenvalues of S below this share of the largest count as zero
_ASKED = 64  # room for so many answered buckets, doubled where there are more


class Statistics(NamedTuple):
    """What matrix completion sees of the votes.

    Attributes:
        covariance: `(d, d)` of the indicators. inverse: its pseudo-inverse.
        members: `(U, d)`, 1 where a column belongs to a unit.
        shares: `(d + U,)`, how often each column occurs, then each unit's reference.
    """

    covariance: np.ndarray
    inverse: np.ndarray
    members: np.ndarray
    shares: np.ndarray


class Answers(NamedTuple):
    """Expert answers by bucket, padded with empty ones so that one more answer compiles nothing anew.

    Attributes:
        counts: `(B, C)`. use: `(B, E)`, the table entries of each bucket, overlaps negative.
        sums: `(E, d + U)` from entries of units to those of cliques and overlaps; None where these are the same.
    """

    counts: np.ndarray
    use: np.ndarray
    sums: np.ndarray | None


def fit_matrix_completion(
    votes: Any,
    *,
    num_classes: int = 2,
    balance: ArrayLike | None = None,
    cliques: Sequence[Sequence[int]] = (),
    constrain: bool = True,
    starts: int = 8,
    init: GroupModel | None = None,
    steps: int | None = None,
    learning_rate: float = 0.1,
    expert_rows: ArrayLike | None = None,
    expert_labels: ArrayLike | None = None,
    penalty: float | str = 1.0,
    trusted_rule: int | None = None,
    key: jax.Array,
) -> GroupModel:
    """Find `P(vote | y)` of every group from the covariance of joint votes alone.

    Two classes: `min_z sum_{i, j in different groups} ((S^-1 + z z^T)_ij)^2` with S the covariance of the indicators
    of joint votes, less one reference a group. Then `c = (1 + z^T S z) / (p (1 - p))` and
    `Cov(O, y) = S z / sqrt(c)`. z and -z fit alike: the one whose rules are right more often than by chance is kept,
    unless the answered buckets contradict it at every start by two standard errors (four buckets of four, say).
    More classes: softmax tables matched to the moments of pairs and triples of groups (pairs alone leave a rotation).

    Fitting sees counts only: beyond one pass over the votes its cost does not depend on N. The largest object is the
    `d x d` matrix of float64 counts (d: joint votes seen less one a group), once for all starts.

    Args:
        votes: `(N, M)` integers, -1 abstains; or a sparse matrix that stores `vote + 1`; or `Buckets`.
        num_classes: C.
        balance: `(C,)` class balance, or `P(y = 1)` for two classes; None is uniform.
        cliques: Tuples of rules that depend on each other given the class.
        constrain: Penalise tables that are no probabilities, `1e4 sum relu(-T)^2 + relu(T - 1)^2`. False is the paper.
        starts: Random starts, side by side; the lowest loss wins.
        init: A model fitted to the same votes: its parameters take the place of the first start.
        steps: Adam steps; None is 1,000 where constrained or C > 2, else 200.
        learning_rate: Adam's.
        expert_rows: `(Q,)` rows that an expert labelled; buckets where `votes` is `Buckets` without `inverse`.
        expert_labels: `(Q,)` their classes.
        penalty: Weight of `sum_i |p_i - e_{y_i}|^2 / 2` over the answers; "auto" is the largest `d^2 L / dz_i^2`
            at the fit without answers, so that answers weigh as much as the votes' moments.
        trusted_rule: The rule known to beat chance, which settles the sign; None asks all rules together.
        key: Typed key for the starts.

    Returns:
        `GroupModel`; `params` holds `z` `(d,)` (or `logits`), `starts`, `losses`, and `weight` of answers where it is
        automatic.

    Raises:
        WeakSupervisionError: Bad votes or settings, more than 64 joint votes in a group, cliques in a chordless ring.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import fit_matrix_completion, predict_probs
        >>> votes = [[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
        >>> model = fit_matrix_completion(votes * 3 + [[1, 1, 1], [0, 0, 0]] * 9, key=jax.random.key(0))
        >>> predict_probs(model, [[1, 1, 1], [0, 0, 0]]).argmax(1)
        array([1, 0])

    Source:
        Active WeaSuL, Eq. 1 to 4; the validity constraint and several classes are additions.
    """
    classes = check_num_classes(num_classes)
    checked = (
        checked_buckets(votes, classes)
        if isinstance(votes, Buckets)
        else check_votes(votes, num_classes=classes, keep_sparse=True)
    )
    num_rules = (checked.rows if isinstance(checked, Buckets) else checked).shape[1]
    given = check_balance(balance, classes)
    shares = np.full(classes, 1 / classes) if given is None else given
    if not isinstance(starts, int | np.integer) or starts < 1:
        raise WeakSupervisionError(f"starts must be 1 or more, got {starts!r}")
    if steps is not None and (not isinstance(steps, int | np.integer) or steps < 0):
        raise WeakSupervisionError(f"steps must be 0 or more, got {steps!r}")
    if penalty != "auto" and (isinstance(penalty, str) or not 0 <= penalty < np.inf):
        raise WeakSupervisionError(f'penalty must be 0 or more, or "auto", got {penalty!r}')
    if trusted_rule is not None and not 0 <= trusted_rule < num_rules:
        raise WeakSupervisionError(f"trusted_rule is {trusted_rule}; allowed: 0 to {num_rules - 1}")
    plan = plan_groups(num_rules, cliques)
    overlaps = count_overlaps(checked, classes, plan.groups)
    if init is None:
        for line in vote_problems(overlaps.layout, overlaps.total, overlaps.single, same_columns(overlaps)):
            warnings.warn(line, stacklevel=2)
    answers = _answers(plan, overlaps.layout, checked, expert_rows, expert_labels, classes)
    if steps is None:
        steps = 1000 if constrain or classes > 2 else 200
    if classes > 2:
        return fit_moments(
            checked, plan, overlaps, shares, answers, init=init, starts=starts, steps=steps,
            learning_rate=learning_rate, penalty=penalty, key=key,
        )  # fmt: skip
    return _fit_binary(
        plan, overlaps, shares, answers, constrain=constrain, starts=starts, init=init, steps=steps,
        learning_rate=learning_rate, penalty=penalty, trusted_rule=trusted_rule, key=key,
    )  # fmt: skip


def statistics(overlaps: Overlaps) -> Statistics:
    """Covariance, pseudo-inverse and shares of the columns that are no reference."""
    layout, total = overlaps.layout, max(overlaps.total, 1.0)
    columns, first = references(layout)
    mean = overlaps.single[columns] / total
    covariance = overlaps.pairs / total - mean[:, None] * mean
    members = (layout.unit_of[columns] == np.arange(len(layout.units))[:, None]).astype(np.float64)
    inverse = np.linalg.pinv(covariance, rcond=PINV_TOLERANCE, hermitian=True) if len(columns) else covariance
    reference = overlaps.single[first] / total if overlaps.total else np.ones(len(first))
    return Statistics(covariance, inverse, members, np.concatenate([mean, reference]))


def joint_tables(z: np.ndarray, stats: Statistics, p: float) -> tuple[np.ndarray, float]:
    """`P(v | y)` `(d + U, 2)`, columns then references, and the constant c."""
    image = stats.covariance @ z
    c = (1 + z @ image) / (p * (1 - p))
    cov = np.concatenate([image, -stats.members @ image]) / np.sqrt(c)
    return np.stack([stats.shares - cov / (1 - p), stats.shares + cov / p], 1), float(c)


def curvature(z: np.ndarray, stats: Statistics) -> float:
    """`max_i d^2 L / dz_i^2` of matrix completion: four times the largest sum of squares over other groups."""
    within = stats.members.T @ stats.members
    return float(4 * np.max(np.sum(z**2) - within @ z**2, initial=0.0))


def ordered_tables(layout: Layout, tables: np.ndarray) -> np.ndarray:
    """Entries in the order of the layout, from columns followed by references."""
    columns, first = references(layout)
    out = np.empty_like(tables)
    out[columns], out[first] = tables[: len(columns)], tables[len(columns) :]
    return out


def better_than_chance(layout: Layout, trusted_rule: int | None = None) -> np.ndarray:
    """`(d,)` weights a: `a . Cov(O, y)` is how much more often than by chance the rules are right, summed."""
    columns, first = references(layout)
    score = np.zeros(layout.size)
    for u, (unit, rows) in enumerate(zip(layout.units, layout.rows, strict=True)):
        counted = [k for k, rule in enumerate(unit) if trusted_rule in (None, rule)]
        signed = np.where(rows >= 0, 2.0 * rows - 1, 0.0)[:, counted].sum(1)
        score[layout.starts[u] : layout.starts[u + 1]] = signed
    return score[columns] - score[first][layout.unit_of[columns]]


def same_columns(overlaps: Overlaps) -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether two rules vote alike on every row, told from the counts of pairs."""
    index = np.cumsum(np.isin(np.arange(overlaps.layout.size), overlaps.columns)) - 1

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return bool((overlaps.pairs[index[a[1:]], index[b[1:]]] == overlaps.single[a[1:]]).all())

    return same


def _answers(plan: Plan, layout: Layout, votes: Any, rows: Any, labels: Any, num_classes: int) -> Answers | None:
    inverse = votes.inverse if isinstance(votes, Buckets) else None
    all_rows = votes.rows if isinstance(votes, Buckets) else votes
    num_rows = all_rows.shape[0] if inverse is None else len(inverse)
    rows, labels = check_answers(rows, labels, num_rows=num_rows, num_classes=num_classes)
    if not len(rows):
        return None
    dense, bucket_of = distinct(dense_votes(all_rows[rows if inverse is None else inverse[rows]]))
    counts = np.zeros((len(dense), num_classes))
    np.add.at(counts, (bucket_of, labels), 1.0)
    places = unit_places(layout, dense)
    columns, first = references(layout)
    position = np.empty(layout.size, np.int64)
    position[columns], position[first] = np.arange(len(columns)), len(columns) + np.arange(len(first))
    bucket = np.arange(len(dense))
    if not plan.overlaps and plan.cliques == plan.groups:
        use, sums = np.zeros((len(dense), layout.size)), None
        for u in range(len(layout.units)):
            use[bucket, position[places[:, u]]] = 1.0
    else:
        use, sums = _clique_entries(plan, layout, places, position)
    padding = max(_ASKED, 1 << (len(dense) - 1).bit_length()) - len(dense)
    return Answers(np.pad(counts, ((0, padding), (0, 0))), np.pad(use, ((0, padding), (0, 0))), sums)


def _clique_entries(
    plan: Plan, layout: Layout, places: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    home = {rule: u for u, unit in enumerate(layout.units) for rule in unit}
    uses, blocks = [], []
    signed = [(clique, 1.0) for clique in plan.cliques] + [(wanted, -1.0) for _, wanted in plan.overlaps]
    for rules, sign in signed:
        u = home[rules[0]]
        _, sums = marginal(layout.units[u], layout.rows[u], rules)
        block = np.zeros((len(sums), layout.size))
        block[:, position[layout.starts[u] : layout.starts[u + 1]]] = sums
        blocks.append(block)
        uses.append(sign * sums[:, places[:, u] - layout.starts[u]].T)
    return np.concatenate(uses, 1), np.concatenate(blocks)


def _fit_binary(
    plan: Plan,
    overlaps: Overlaps,
    shares: np.ndarray,
    answers: Answers | None,
    *,
    constrain: bool,
    starts: int,
    init: GroupModel | None,
    steps: int,
    learning_rate: float,
    penalty: float | str,
    trusted_rule: int | None,
    key: jax.Array,
) -> GroupModel:
    layout, p = overlaps.layout, float(shares[1])
    stats = statistics(overlaps)
    size = len(overlaps.columns)
    gain = better_than_chance(layout, trusted_rule) @ stats.covariance
    weight = 0.0 if penalty == "auto" else float(penalty)
    if answers is not None and penalty == "auto":
        # Held fixed, from fit to fit too: shrinking z would lower a weight that follows it, whatever the tables.
        alone = init or _fit_binary(
            plan, overlaps, shares, None, constrain=constrain, starts=starts, init=None, steps=steps,
            learning_rate=learning_rate, penalty=0.0, trusted_rule=trusted_rule, key=key,
        )  # fmt: skip
        weight = float(alone.params.get("weight", curvature(warm_start(alone, "z", (size,)), stats)))
    with jax.enable_x64(True):
        z = np.array(jax.random.normal(key, (starts, size), np.float64))
        # Tables of z and -z are valid together only for p = .5, so starts begin on the side that will be kept.
        z[z @ gain < 0] *= -1
        if init is not None:
            z[0] = warm_start(init, "z", (size,))
        found = _descend(
            z, stats, np.log(shares), answers, weight, float(learning_rate), steps=int(steps), constrain=constrain
        ) if size else (z, np.zeros((2, starts)))  # fmt: skip
    ends, losses = (np.asarray(part) for part in found)
    flip = ends @ gain < 0
    if answers is not None:
        kept = np.where(flip[:, None], -ends, ends)
        contradicted = np.array([_contradicted(z, stats, shares, answers) for z in kept])
        if contradicted.all():
            flip = ~flip
    ends, loss = np.where(flip[:, None], -ends, ends), np.where(flip, losses[1], losses[0])
    best = int(np.nanargmin(loss)) if np.isfinite(loss).any() else 0
    tables, _ = joint_tables(ends[best], stats, p)
    return GroupModel(
        plan.groups,
        build_tables(plan, layout, ordered_tables(layout, tables)),
        np.log(shares),
        {"z": ends[best], "starts": ends, "losses": loss}
        | ({"weight": weight} if penalty == "auto" and answers else {}),
        float(loss[best]),
    )


def _contradicted(z: np.ndarray, stats: Statistics, shares: np.ndarray, answers: Answers) -> bool:
    """Whether the answered buckets speak for -z by two standard errors.

    A bucket has one voice however often it was asked: the lower loss would let one surprising bucket, and those are
    asked most, turn all classes around.
    """
    right = []
    for signed in (z, -z):
        tables, _ = joint_tables(signed, stats, float(shares[1]))
        entries = tables if answers.sums is None else answers.sums @ tables
        logits = answers.use @ np.log(np.clip(entries, CLIP, 1.0)) + np.log(shares)
        right.append((answers.counts * (np.arange(len(shares)) == logits.argmax(1)[:, None])).sum(1))
    against, favour = int((right[1] > right[0]).sum()), int((right[0] > right[1]).sum())
    return against > favour and against - favour >= 2 * np.sqrt(against + favour)


@functools.partial(jax.jit, static_argnames=("steps", "constrain"))
def _descend(
    z: jax.Array,
    stats: Statistics,
    log_balance: jax.Array,
    answers: Answers | None,
    penalty: jax.Array,
    learning_rate: jax.Array,
    *,
    steps: int,
    constrain: bool,
) -> tuple[jax.Array, jax.Array]:
    """Adam from every start at once; the ends `(s, d)`, and the losses there and at the other sign `(2, s)`."""
    size = stats.covariance.shape[0]
    p = jnp.exp(log_balance[1])
    within = stats.members.T @ stats.members
    across = 1 - within
    masked = stats.inverse * across
    tabled = constrain or answers is not None
    # S z at columns and references, and with the cross-group part one product per step.
    spread = jnp.concatenate([stats.covariance, -stats.members @ stats.covariance])
    rows = jnp.concatenate([masked, spread]) if tabled else masked

    def extra(z: jax.Array, image: jax.Array) -> jax.Array:
        """Validity and expert answers, given `S z` at columns and references."""
        c = (1 + z @ image[:size]) / (p * (1 - p))
        cov = image / jnp.sqrt(c)
        tables = jnp.stack([stats.shares - cov / (1 - p), stats.shares + cov / p], 1)
        value = validity_penalty(tables) if constrain else jnp.zeros(())
        if answers is not None:
            entries = tables if answers.sums is None else answers.sums @ tables
            logits = answers.use @ jnp.log(jnp.clip(entries, CLIP, 1.0)) + log_balance[None, :]
            value += penalty * expert_penalty(jax.nn.softmax(logits, -1), answers.counts)
        return value

    def fast(z: jax.Array) -> jax.Array:
        """All starts' losses less a constant: the squares multiplied out need no (d, d) residual per start."""
        image = z @ rows.T
        square = z**2
        loss = 2 * jnp.sum(z * image[:, :size]) + jnp.sum(jnp.sum(square, 1) ** 2) - jnp.sum(square * (square @ within))
        if tabled:
            loss += jnp.sum(jax.vmap(extra)(z, image[:, size:]))
        return loss

    def exact(z: jax.Array) -> jax.Array:
        return matrix_completion_loss(z, stats.inverse, across) + extra(z, spread @ z)

    optimizer = optax.adam(learning_rate)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        z, state = carry
        updates, state = optimizer.update(jax.grad(fast)(z), state)
        return (optax.apply_updates(z, updates), state), None

    (z, _), _ = jax.lax.scan(step, (z, optimizer.init(z)), length=steps)
    return z, jnp.stack([jax.lax.map(exact, z), jax.lax.map(exact, -z)])
