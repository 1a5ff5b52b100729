"""Matrix completion for more than two classes: tables matched to the moments of pairs and triples of groups."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.givens import warm_start
from jlabel.weak_supervision.groups import CLIP, GroupModel, Layout, Plan, build_tables, design
from jlabel.weak_supervision.objective import expert_penalty
from jlabel.weak_supervision.overlaps import Overlaps, references

_TRIPLES = 1 << 20  # at most so many triple moments count
_PAIRS = 1 << 27  # more pair moments than this (1 GB) are refused


class Moments(NamedTuple):
    """Weighted moments of joint votes in different units.

    Attributes:
        pairs: `(D, D)`. triples: `(A, D, D)`, those with the columns `anchors` `(A,)`.
        scale: `(D,)`, one over the root of each column's share. unit_of: `(D,)`.
        constant: Sum of the squares of all of them.
    """

    pairs: np.ndarray
    triples: np.ndarray
    anchors: np.ndarray
    scale: np.ndarray
    unit_of: np.ndarray
    constant: float


def fit_moments(
    votes: Any,
    plan: Plan,
    overlaps: Overlaps,
    balance: np.ndarray,
    answers: Any,
    *,
    init: GroupModel | None,
    starts: int,
    steps: int,
    learning_rate: float,
    penalty: float | str,
    key: jax.Array,
) -> GroupModel:
    """Softmax tables by Adam, from starts that lean towards the class a rule votes for."""
    layout, num_classes = overlaps.layout, len(balance)
    if layout.size**2 > _PAIRS:
        raise WeakSupervisionError(
            f"{layout.size} joint votes need a {layout.size} x {layout.size} matrix of moments: use fit_latent_class"
        )
    total = max(overlaps.total, 1.0)
    share = overlaps.single / total if overlaps.total else np.ones(layout.size)
    pairs = _all_pairs(overlaps) / total
    anchors, triples = _triples(votes, overlaps, num_classes)
    moments = weigh_moments(pairs, triples / total, anchors, np.maximum(share, 1 / total), layout.unit_of)
    first = np.log(np.maximum(share, 1 / total))[:, None] + _leaning(layout, num_classes)
    with jax.enable_x64(True):
        logits = first + 0.5 * np.array(jax.random.normal(key, (starts, *first.shape), np.float64))
        if init is not None:
            logits[0] = warm_start(init, "logits", first.shape)
        columns, refs = references(layout)
        use = None
        if answers is not None:  # its entries stand in the order: columns, references
            order = np.concatenate([columns, refs])
            use = (answers.counts, answers.use, answers.sums, order)
        ends, losses, tables = _descend(
            logits, moments, balance, use, 1.0 if penalty == "auto" else float(penalty), float(learning_rate),
            units=len(layout.units), steps=steps, auto=penalty == "auto",
        )  # fmt: skip
    losses = np.asarray(losses)
    best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0
    return GroupModel(
        plan.groups,
        build_tables(plan, layout, np.asarray(tables[best])),
        np.log(balance),
        {"logits": np.asarray(ends[best]), "starts": np.log(np.clip(tables, CLIP, 1.0)), "losses": losses},
        float(losses[best]),
    )


def _all_pairs(overlaps: Overlaps) -> np.ndarray:
    """Pair counts with the references, which follow from the others."""
    layout = overlaps.layout
    columns, first = references(layout)
    pairs = np.zeros((layout.size, layout.size))
    pairs[np.ix_(columns, columns)] = overlaps.pairs
    others = np.add.reduceat(pairs, first, axis=0)
    pairs[first] = overlaps.single[None] - others
    pairs[:, first] = pairs[first].T
    pairs[np.ix_(first, first)] = (
        overlaps.total - _voting(overlaps.single, first)[:, None] - _voting(overlaps.single, first)
    ) + np.add.reduceat(others, first, axis=1)
    return pairs


def _voting(single: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Rows on which a unit casts another joint vote than its reference."""
    return np.add.reduceat(single, first) - single[first]


def _leaning(layout: Layout, num_classes: int) -> np.ndarray:
    """`(D, C)`, log of the share .7 for the classes a joint vote names and of the rest for the others."""
    lean = np.zeros((layout.size, num_classes))
    for u, rows in enumerate(layout.rows):
        for k, row in enumerate(rows):
            named = np.bincount(row[row >= 0], minlength=num_classes)
            if named.any():
                lean[layout.starts[u] + k] = np.log(0.7 * named / named.sum() + 0.3 / num_classes)
    return lean


def _triples(votes: Any, overlaps: Overlaps, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns whose triples count, of the groups that vote most, and `(A, D, D)` counts where each occurs."""
    layout = overlaps.layout
    size = layout.size
    first = layout.starts[:-1]
    room = max(1, _TRIPLES // size**2)
    anchors: list[int] = []
    for u in np.argsort(overlaps.single[first], kind="stable"):
        own = list(range(layout.starts[u], layout.starts[u + 1]))
        if len(own) > 1 and len(anchors) + len(own) <= room or not anchors:
            anchors += own
    rows, counts = (votes.rows, votes.counts) if isinstance(votes, Buckets) else (votes, np.ones(votes.shape[0]))
    matrix = design(layout, rows, num_classes)
    silent = np.flatnonzero(layout.silent)
    triples = np.zeros((len(anchors), size, size))
    # Silent columns are empty in the design; they hold where no other of the unit does.
    for start in range(0, matrix.shape[0], 1 << 13):
        block = matrix[start : start + (1 << 13)].toarray()
        sums = np.add.reduceat(block, first, axis=1)
        block[:, first[silent]] = 1 - sums[:, silent]
        weight = np.asarray(counts[start : start + (1 << 13)], np.float64)
        for a, column in enumerate(anchors):
            there = np.flatnonzero(block[:, column])
            part = block[there]
            triples[a] += part.T @ (part * weight[there, None])
    return np.array(anchors), triples


def weigh_moments(
    pairs: np.ndarray, triples: np.ndarray, anchors: np.ndarray, share: np.ndarray, unit_of: np.ndarray
) -> Moments:
    """Moments `(D, D)` and `(A, D, D)` with those within a unit set to 0, each over the root of its columns' shares."""
    scale = 1 / np.sqrt(share)
    across = (unit_of[:, None] != unit_of) * scale[:, None] * scale
    away = (unit_of[anchors][:, None] != unit_of) * 1.0
    weighted = triples * across * away[:, :, None] * away[:, None, :] * scale[anchors][:, None, None]
    pairs = pairs * across
    return Moments(pairs, weighted, anchors, scale, unit_of, float((pairs**2).sum() + (weighted**2).sum()))


def moment_loss(tables: jax.Array, balance: jax.Array, moments: Moments, units: int) -> jax.Array:
    """Squared misfit of pair and triple moments, each over its columns' shares, to those of a mixture of tables.

    `sum (M_ij - sum_y pi_y T_iy T_jy)^2 / (P_i P_j) + sum (M_kij - sum_y pi_y T_ky T_iy T_jy)^2 / (P_k P_i P_j)`, all
    indices in different units, multiplied out so that nothing larger than the moments themselves is built.
    """
    scaled = tables * moments.scale[:, None]
    size, classes = scaled.shape
    products = (scaled[:, :, None] * scaled[:, None, :]).reshape(size, classes**2)
    grams = jax.ops.segment_sum(products, moments.unit_of, units, indices_are_sorted=True)
    grams = grams.reshape(units, classes, classes)
    whole, squares = jnp.sum(grams, 0), jnp.sum(grams**2, 0)

    def misfit(observed: jax.Array, weights: jax.Array, modelled: jax.Array) -> jax.Array:
        """Less the constant; `observed` is `(D, C)`, the moments times the tables."""
        return weights @ modelled @ weights - 2 * jnp.sum(observed * scaled * weights[None, :])

    loss = moments.constant + misfit(jnp.asarray(moments.pairs) @ scaled, balance, whole**2 - squares)
    weights = balance[None, :] * scaled[moments.anchors]
    own = grams[moments.unit_of[moments.anchors]]
    modelled = (whole[None] - own) ** 2 - squares[None] + own**2
    observed = (jnp.asarray(moments.triples).reshape(-1, size) @ scaled).reshape(-1, size, classes)
    return loss + jnp.sum(jax.vmap(misfit)(observed, weights, modelled))


@functools.partial(jax.jit, static_argnames=("units", "steps", "auto"))
def _descend(
    logits: jax.Array,
    moments: Moments,
    balance: jax.Array,
    answers: Any,
    penalty: jax.Array,
    learning_rate: jax.Array,
    *,
    units: int,
    steps: int,
    auto: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def by_unit(values: Any) -> jax.Array:
        return jax.ops.segment_sum(values, moments.unit_of, units, indices_are_sorted=True)[moments.unit_of]

    def tables_of(logits: jax.Array) -> jax.Array:
        powers = jnp.exp(logits - jnp.max(logits, 0, keepdims=True))
        return powers / jnp.maximum(by_unit(powers), 1e-300)

    def loss(logits: jax.Array) -> jax.Array:
        tables = tables_of(logits)
        value = moment_loss(tables, balance, moments, units)
        if answers is not None:
            counts, use, sums, order = answers
            entries = tables[order] if sums is None else sums @ tables[order]
            scores = use @ jnp.log(jnp.clip(entries, CLIP, 1.0)) + jnp.log(balance)[None, :]
            weight = penalty
            if auto:  # curvature of the pair moments in the entry that others pin down most
                square = (moments.scale[:, None] * tables) ** 2 * balance[None, :] ** 2
                steep = moments.scale[:, None] ** 2 * (jnp.sum(square, 0)[None, :] - by_unit(square))
                weight = 4 * jax.lax.stop_gradient(jnp.max(steep))
            value += weight * expert_penalty(jax.nn.softmax(scores, -1), counts)
        return value

    optimizer = optax.adam(learning_rate)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        logits, state = carry
        gradient = jax.vmap(jax.grad(loss))(logits)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(logits, updates), state), None

    (logits, _), _ = jax.lax.scan(step, (logits, optimizer.init(logits)), length=steps)
    return logits, jax.vmap(loss)(logits), jax.vmap(tables_of)(logits)
