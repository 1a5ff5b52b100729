"""Losses: deterministic paths, nondeterministic paths by the score function, and the exact marginal."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.label_graph.decode import sample_paths
from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.plan import PathPlan
from jlabel.label_graph.steps import ApplyFn, Competition, Gate, edge_log_probs, expanded, step_log_probs
from jlabel.label_graph.tree import accumulate, graph_parent, tree_blocks, tree_step_log_probs
from jlabel.ops import score_function_loss
from jlabel.ops.score_function import Baseline

__all__ = [
    "Credit",
    "Objective",
    "Pool",
    "label_graph_loss",
    "path_log_probs",
    "path_reward",
    "pool_paths",
    "reward_average",
]

Credit = Literal["certain", "all"]
Objective = Literal["paths", "marginal"]
Pool = Literal["mean", "sum", "random"]


def path_log_probs(
    apply_fn: ApplyFn,
    params: Any,
    features: ArrayLike,
    nodes: ArrayLike,
    mask: ArrayLike,
    graph: LabelGraph,
    *,
    gate: Gate = "uniform",
    uncertain: ArrayLike | None = None,
    competition: Competition = "block",
    block_mask: ArrayLike | None = None,
    forced: ArrayLike = True,
) -> jax.Array:
    """Log-probability of given paths, ``sum_t log p(v_{t+1} | v_t, h_t)``, path by path.

    Args:
      apply_fn, params: the decoder, see `PathDecoder`. features: ``[B, D]``.
      nodes: int ``[B, P, T]``, paths from the root, end-of-path ``V``. mask: bool ``[B, P, T]``.
      graph: the graph. gate: see `step_log_probs`. competition: ``"block"`` or ``"component"``.
      uncertain: bool ``[B, V]``: no gradient flows through the choice within a block that holds one of these nodes
        (``credit="certain"``).
      block_mask: bool ``[B, G]``: steps in a block that is false for the row count nothing.
      forced: bool scalar; false feeds the likeliest successor of each true parent instead of the true child.

    Returns:
      ``[B, P]``; 0 for a masked path.

    Source: Eq. 2 and Algorithm 1.
    """
    features, nodes, mask = jnp.asarray(features), jnp.asarray(nodes), jnp.asarray(mask)
    shape = nodes.shape[:2]
    state, logits, gates = expanded(apply_fn(params, features), axis=1, shape=shape)
    flags = None if uncertain is None else jnp.pad(jnp.asarray(uncertain), ((0, 0), (0, 1)))[:, None]
    total = jnp.zeros(shape, logits.dtype)
    for t in range(nodes.shape[-1] - 1):
        parent, child, live = nodes[..., t], nodes[..., t + 1], mask[..., t + 1]
        parent = jnp.minimum(parent, graph.num_nodes - 1)  # after an end nothing counts; keep the index in range
        step, inside = edge_log_probs(
            logits, graph, parent, child, gate=gate, gate_logits=gates, competition=competition
        )
        if flags is not None:
            members = jnp.take(graph.successors, parent, axis=0)
            doubtful = jnp.take_along_axis(jnp.broadcast_to(flags, (*shape, flags.shape[-1])), members, axis=-1)
            step = jnp.where((doubtful & inside).any(-1), jax.lax.stop_gradient(step), step)
        if block_mask is not None:
            live = live & _supervised(jnp.asarray(block_mask), graph, parent, inside)
        total = total + jnp.where(live, step, 0.0)
        if t + 2 < nodes.shape[-1] and state is not None:
            guess = step_log_probs(jax.lax.stop_gradient(logits), graph, parent, gate=gate, gate_logits=gates)
            fed = jnp.where(forced, child, guess.argmax(-1)) if forced is not True else child
            state, logits, gates = apply_fn(params, state, fed)
    return total


def _supervised(block_mask: jax.Array, graph: LabelGraph, parent: jax.Array, inside: jax.Array) -> jax.Array:
    """Whether the block of each step is supervised for its row; an end of path always is."""
    local = jnp.max(jnp.where(inside, jnp.take(graph.successor_block, parent, axis=0), -1), axis=-1)
    index = jnp.take_along_axis(jnp.take(graph.block_index, parent, axis=0), jnp.maximum(local, 0)[..., None], axis=-1)[
        ..., 0
    ]
    rows = jnp.arange(block_mask.shape[0]).reshape(-1, *(1,) * (parent.ndim - 1))
    return (local < 0) | block_mask[jnp.broadcast_to(rows, index.shape), index]


def pool_paths(nll: ArrayLike, valid: ArrayLike, *, pool: Pool = "mean", key: jax.Array | None = None) -> jax.Array:
    """Pool the losses of a row's paths.

    Args:
      nll: ``[B, P]``. valid: bool ``[B, P]``. pool: ``"mean"``, ``"sum"``, or ``"random"`` (one valid path, keyed).
      key: typed key for ``"random"``.

    Returns:
      ``[B]``, 0 for a row without a valid path.

    Example:
      >>> import numpy as np
      >>> print(pool_paths(np.array([[2., 4., 9.]]), np.array([[True, True, False]])))
      [3.]
    """
    nll, valid = jnp.asarray(nll), jnp.asarray(valid)
    if pool == "random":
        if key is None:
            raise ValueError('pool="random" needs a key')
        chosen = jax.random.categorical(key, jnp.where(valid, 0.0, -1e30), axis=-1)
        valid = valid & (jnp.arange(nll.shape[-1])[None] == chosen[:, None])
    elif pool not in ("mean", "sum"):
        raise ValueError(f'pool={pool!r}: choose "mean", "sum" or "random"')
    total = jnp.where(valid, nll, 0.0).sum(-1)
    return total / jnp.maximum(valid.sum(-1), 1) if pool == "mean" else total


def path_reward(sampled: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Share of a row's known label nodes that a sampled path passes, ``r = |path and S| / |S|`` (Eq. 3).

    Args:
      sampled: int ``[K, B, T]`` paths; nodes outside [0, V) (padding, end-of-path) count nothing.
      targets: bool ``[B, V]``, S: label nodes known for the row, coarse ancestors included, never attributes.

    Returns:
      ``[K, B]`` in [0, 1].

    Example:
      >>> import numpy as np
      >>> S = np.array([[False, True, True, False]])
      >>> print(path_reward(np.array([[[0, 1, 3]], [[0, 1, 2]]]), S).T)
      [[0.5 1. ]]
    """
    sampled, targets = jnp.asarray(sampled), jnp.asarray(targets)
    size = targets.shape[-1]
    visited = jax.nn.one_hot(sampled, size).max(-2)  # a number outside [0, V) is a row of zeros
    return (visited * targets[None]).sum(-1) / jnp.maximum(targets.sum(-1), 1)[None]


class _Rows(NamedTuple):
    """What the loss needs of each row: path losses and samples, whichever way they were computed."""

    deterministic_nll: jax.Array  # [B, P]
    marginal_log_prob: jax.Array  # [B]
    sampled_log_probs: jax.Array | None  # [K, B]
    rewards: jax.Array | None  # [K, B]


def label_graph_loss(
    params: Any,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    apply_fn: ApplyFn,
    plan: PathPlan,
    objective: Objective = "paths",
    credit: Credit = "certain",
    gate: Gate = "uniform",
    competition: Competition = "block",
    pool: Pool = "mean",
    samples: int = 8,
    baseline: Baseline = "leave_one_out",
    teacher_forcing: float = 1.0,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss of a batch of rows that carry a label of any label set.

    ``alpha L_d + beta L_nd``: the pooled negative log-likelihood of each row's deterministic paths, and the score
    function over ``samples`` paths for rows whose label has nondeterministic ones. ``objective="marginal"`` is
    ``-log sum_{paths of y} p(path)``, exact, instead of both.

    Args:
      params: the decoder's parameters; with ``baseline="moving_average"`` a dict ``{"decoder": ..., "reward_average":
        scalar}`` whose scalar takes ``optax.sgd(0.1)`` (see `reward_average`).
      batch: ``features [B, D]``, ``target`` int ``[B]`` (class of the plan; -1 counts nothing), and optionally
        ``weight [B]`` and ``block_mask`` bool ``[B, G]`` (blocks that this row was annotated for: an unannotated
        block gives neither positives nor negatives).
      key: typed key.
      apply_fn: the decoder. plan: from `plan_paths`.
      credit: ``"certain"`` stops the gradient through the choice of uncertain nodes, which the reward cannot
        judge; ``"all"`` is Eq. 5.
      gate, competition: see `step_log_probs`, `path_log_probs`. pool: see `pool_paths`.
      samples, baseline: see `score_function_loss`. teacher_forcing: probability, one coin a batch.
      alpha, beta: weights of the two terms.

    Returns:
      The scalar loss and metrics ``deterministic``, ``nondeterministic`` (or ``marginal``) and ``reward``.

    Source: section 3.2 and Algorithm 1, with Eq. 5 corrected.
    """
    features, target = jnp.asarray(batch["features"]), jnp.asarray(batch["target"])
    decoder = params["decoder"] if baseline == "moving_average" else params
    coin_key, sample_key, pool_key = jax.random.split(key, 3)
    weight = jnp.where(target >= 0, jnp.asarray(batch.get("weight", jnp.ones(target.shape))), 0.0)
    target = jnp.maximum(target, 0)
    sampled = objective == "paths" and beta != 0 and bool((plan.paths.valid & ~plan.paths.deterministic).any())
    forced = jax.random.bernoulli(coin_key, teacher_forcing) if teacher_forcing < 1 else True
    compute = _tree_rows if plan.use_tree and forced is True else _path_rows
    rows = compute(
        apply_fn, decoder, features, target, plan, batch.get("block_mask"), sample_key if sampled else None,
        credit=credit, gate=gate, competition=competition, samples=samples, forced=forced,
    )  # fmt: skip
    if objective == "marginal":
        loss = -(rows.marginal_log_prob * weight).mean()
        return loss, {"marginal": loss}
    deterministic = jnp.take(plan.paths.deterministic, target, axis=0)
    likelihood = (pool_paths(rows.deterministic_nll, deterministic, pool=pool, key=pool_key) * weight).mean()
    loss, metrics = alpha * likelihood, {"deterministic": likelihood}
    if rows.sampled_log_probs is not None and rows.rewards is not None:
        open_rows = jnp.take((plan.paths.valid & ~plan.paths.deterministic).any(-1), target) * weight
        average = params["reward_average"] if baseline == "moving_average" else None
        score = score_function_loss(
            rows.sampled_log_probs, rows.rewards, baseline=baseline, moving_average=average, weights=open_rows
        )
        reward = (rows.rewards.mean(0) * open_rows).sum() / jnp.maximum(open_rows.sum(), 1e-9)
        loss, metrics = loss + beta * score, {**metrics, "nondeterministic": score, "reward": reward}
        if average is not None:
            error = average - jax.lax.stop_gradient(reward)
            loss = loss + 0.5 * error**2 * (open_rows.sum() > 0)
    return loss, metrics


def _tree_rows(
    apply_fn: ApplyFn, params: Any, features: jax.Array, target: jax.Array, plan: PathPlan,
    block_mask: jax.Array | None, key: jax.Array | None,
    *, credit: Credit, gate: Gate, competition: Competition, samples: int, forced: ArrayLike,
) -> _Rows:  # fmt: skip
    """All path quantities from one run over the prefix tree."""
    del forced
    tree, graph = plan.tree, plan.graph
    steps, ends = tree_step_log_probs(apply_fn, params, features, graph, tree, gate=gate, competition=competition)
    block = tree_blocks(graph, tree)
    if block_mask is not None:
        supervised = jnp.take(jnp.asarray(block_mask), np.maximum(block, 0), axis=1) | (block < 0)[None]
        steps = jnp.where(supervised, steps, 0.0)
    if credit == "certain":
        doubtful = np.stack([plan.paths.uncertain[:, list(b.nodes)].any(1) for b in graph.blocks], axis=1)
        stopped = jnp.take(doubtful[:, np.maximum(block, 0)] & (block >= 0)[None], target, axis=0)
        credited = jnp.where(stopped, jax.lax.stop_gradient(steps), steps)
    else:
        credited = steps
    reach, credited_reach = accumulate(tree, steps), accumulate(tree, credited)
    path_end = jnp.take(np.maximum(tree.path_end, 0), target, axis=0)
    stops = jnp.take(tree.path_stops, target, axis=0)
    at_end = jnp.where(stops, jnp.take_along_axis(ends, path_end, axis=1), 0.0)
    nll = -(jnp.take_along_axis(reach, path_end, axis=1) + at_end)
    valid = jnp.take(plan.paths.valid, target, axis=0)
    marginal = jax.nn.logsumexp(jnp.take_along_axis(credited_reach, path_end, axis=1) + at_end, axis=-1, where=valid)
    if key is None:
        return _Rows(nll, marginal, None, None)
    complete = jnp.take(credited_reach, plan.outcomes, axis=1)
    complete = complete + jnp.where(plan.outcome_stops[None], jnp.take(ends, plan.outcomes, axis=1), 0.0)
    proposal = jax.lax.stop_gradient(complete)
    if gate == "none":  # without a gate a step sums to the number of blocks: sampling normalises it, block by block
        lengths = accumulate(tree, -np.log(np.maximum(graph.num_blocks, 1))[None, graph_parent(tree)])
        proposal = proposal + jnp.take(lengths, plan.outcomes, axis=1)
    drawn = jax.random.categorical(key, proposal, axis=-1, shape=(samples, features.shape[0]))
    log_probs = jnp.take_along_axis(complete, drawn.T, axis=1).T
    rewards = jnp.take_along_axis(jnp.take(plan.outcome_rewards, target, axis=0), drawn.T, axis=1).T
    return _Rows(nll, marginal, log_probs, rewards)


def _path_rows(
    apply_fn: ApplyFn, params: Any, features: jax.Array, target: jax.Array, plan: PathPlan,
    block_mask: jax.Array | None, key: jax.Array | None,
    *, credit: Credit, gate: Gate, competition: Competition, samples: int, forced: ArrayLike,
) -> _Rows:  # fmt: skip
    """The same path by path: for graphs whose prefix tree is large, and for free running."""
    graph, paths = plan.graph, plan.paths
    nodes, mask = jnp.take(paths.nodes, target, axis=0), jnp.take(paths.mask, target, axis=0)
    uncertain = jnp.take(paths.uncertain, target, axis=0) if credit == "certain" else None
    options: dict[str, Any] = {"gate": gate, "competition": competition, "block_mask": block_mask}
    log_probs = path_log_probs(
        apply_fn, params, features, nodes, mask, graph, uncertain=uncertain, forced=forced, **options
    )
    valid = jnp.take(paths.valid, target, axis=0)
    marginal = jax.nn.logsumexp(log_probs, axis=-1, where=valid)
    if key is None:
        return _Rows(-log_probs, marginal, None, None)
    drawn, drawn_mask = sample_paths(apply_fn, params, features, graph, key, samples=samples, gate=gate)
    drawn, drawn_mask = jax.lax.stop_gradient((drawn, drawn_mask))
    sampled = path_log_probs(
        apply_fn, params, features, jnp.moveaxis(drawn, 0, 1), jnp.moveaxis(drawn_mask, 0, 1), graph,
        uncertain=uncertain, **options,
    ).T  # fmt: skip
    rewards = path_reward(jnp.where(drawn_mask, drawn, -1), jnp.take(plan.known, target, axis=0))
    return _Rows(-log_probs, marginal, sampled, rewards)


def reward_average(
    params: Any, batch: Mapping[str, jax.Array], key: jax.Array, *, apply_fn: ApplyFn, plan: PathPlan, **options: Any
) -> jax.Array:
    """Mean reward of a first batch, the start of the moving average.

    The average lives in ``params["reward_average"]`` since the training loop keeps no other state; under plain
    ``optax.sgd(0.1)`` on half its squared error it decays by 0.9.

    Args:
      params: the decoder's parameters. batch, key, apply_fn, plan, options: as in `label_graph_loss`.

    Returns:
      Scalar.
    """
    _, metrics = label_graph_loss(params, batch, key, apply_fn=apply_fn, plan=plan, baseline="none", **options)
    return metrics.get("reward", jnp.zeros(()))
