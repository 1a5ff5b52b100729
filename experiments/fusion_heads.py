"""Training the heads of a fusion study on fixed features, all seeds, folds and hyper-parameters side by side."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.fusion_data import FusionData, Rows
from experiments.fusion_methods import Method
from experiments.fusion_optimizers import optimizer_for
from experiments.fusion_training import (
    Calibration,
    Predictions,
    apply_in_chunks,
    calibrate,
    feature_scale,
    head_init,
    held_out_score,
    joined,
    make_predictions,
    method_parts,
    run_name,
)
from jlabel.label_graph import PathPlan
from jlabel.networks import Encoder
from jlabel.training import fit_seeds

__all__ = ["train_heads"]

# Every method chooses from the same grid, by its score on held-out fine rows.
HEAD_RATES, HEAD_DECAYS = (3e-3, 1e-2, 3e-2), (1e-3, 1e-1)


def train_heads(
    method: Method, datas: Sequence[FusionData], net: Encoder, plan: PathPlan, config: Any,
    guesses: Sequence[np.ndarray | None], workdir: Path | None, mesh: Any, earlier: Predictions | None = None,
) -> list[Predictions]:  # fmt: skip
    """Train heads on fixed features, all seeds side by side, with hyper-parameters chosen on held-out fine rows.

    An ``earlier`` run of the method, on other numbers of rows, lends what it chose and fitted.
    """
    mean, scale = feature_scale(datas[0].train.inputs)

    def columns(data: FusionData, guess: np.ndarray | None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = method_parts(method, data, plan, guess, config.balance)
        return {
            name: (((rows.inputs[places] - mean) / scale).astype(np.float32), target, weights)
            for name, (rows, places, target, weights) in found.items()
        }

    shared = all(data is datas[0] for data in datas) and "pseudo" not in method.parts
    per_seed = [columns(data, guess) for data, guess in zip(datas, guesses, strict=True)][: 1 if shared else None]
    loss_fn = _head_loss(method.loss)
    if earlier is None:
        choice = _choose(method, per_seed[0], datas[0], plan, loss_fn, net, config, mean, scale, workdir, mesh)
    else:
        choice = (earlier.chosen, earlier.fitted, earlier.val_score)
    parts = {
        name: _joint([own[name] for own in per_seed], len(datas))
        for name in per_seed[0]
        if all(name in own for own in per_seed)
    }
    seeds = np.array(config.seeds)
    keys = jax.vmap(jax.random.key)(seeds)
    params = {"head": head_init(method.init, net.dim)(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))}
    hyper = {name: np.full(len(seeds), value, np.float32) for name, value in choice[0].items()}
    result = fit_seeds(
        loss_fn, params, joined(method, parts, config.batch_size),
        optimizer=_hyper_optimizer(config.steps, "reward_average" in params["head"]), hyper=hyper,
        steps=config.steps, keys=keys, mesh=mesh, workdir=workdir, log_every=max(1, config.steps // 20),
        checkpoint_every=config.checkpoint_every,
        name=run_name(method) + (f"-{len(datas[0].train)}" if earlier else ""),
    )  # fmt: skip
    predict = _head_outputs(method.outputs)
    trained = jax.tree.map(np.asarray, result.params)
    found = []
    for r, data in enumerate(datas):
        own: Any = jax.tree.map(lambda x: x[r], trained)  # noqa: B023  (used at once)
        run = functools.partial(_run, predict, own, mean, scale)
        coarse = run(data.coarse)["log_probs"] if data.coarse is not None and method.name == "FFN" else None
        history = [{k: v[r] if isinstance(v, list) else v for k, v in line.items()} for line in result.history]
        kept = {**own, "encoder": {}, "mean": mean, "scale": scale}
        found.append(make_predictions(kept, history, run(data.test), choice[1], coarse, choice[0], choice[2]))
    return found


def _joint(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all seeds one below the other, with draw weights ``[R, N]`` that are zero on other seeds' rows."""
    if len(parts) == 1:
        inputs, target, weights = parts[0]
        return inputs, target, np.tile(weights, (count, 1))
    starts = np.cumsum([0] + [len(target) for _, target, _ in parts])
    table = np.zeros((count, starts[-1]))
    for r, (_, _, weights) in enumerate(parts):
        table[r, starts[r] : starts[r + 1]] = weights
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), table


def _run(predict: Any, params: Any, mean: np.ndarray, scale: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
    return apply_in_chunks(lambda inputs: predict(params, (inputs - mean) / scale), rows.inputs)


def _choose(
    method: Method, parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], data: FusionData, plan: PathPlan,
    loss_fn: Any, net: Encoder, config: Any, mean: np.ndarray, scale: np.ndarray, workdir: Path | None, mesh: Any,
) -> tuple[dict[str, float], Calibration, float]:  # fmt: skip
    """Learning rate and weight decay with the best score on rows held out of training, and what is fitted on these.

    Validation rows where the data has them, else folds of the fine training rows; every method gets the same grid.
    """
    rates = (config.learning_rate,) if config.learning_rate else config.rates or HEAD_RATES
    decays = (config.weight_decay,) if config.weight_decay is not None else HEAD_DECAYS
    grid = [{"learning_rate": rate, "weight_decay": decay} for rate in rates for decay in decays]
    folds = 1 if data.val is not None else config.folds
    fine = data.train.fine
    place = np.zeros(len(fine), int)
    generator = np.random.default_rng(0)
    for c in np.unique(fine):
        members = generator.permutation(np.flatnonzero(fine == c))
        place[members] = np.arange(len(members)) % folds
    row = method_parts(method, data, plan, None, config.balance, only_fine=True)["fine"][1]  # of each entry
    weights = np.tile(parts["fine"][2], (len(grid) * folds, 1))
    for g in range(len(grid)):
        for f in range(folds):
            if data.val is None:
                weights[g * folds + f, place[row] == f] = 0
    spread = {
        name: (x, y, weights if name == "fine" else np.tile(w, (len(grid) * folds, 1)))
        for name, (x, y, w) in parts.items()
    }
    keys = jax.random.split(jax.random.key(config.seeds[0]), len(grid) * folds)
    params = {"head": head_init(method.init, net.dim)(keys)}
    hyper = {name: np.repeat([float(g[name]) for g in grid], folds).astype(np.float32) for name in grid[0]}
    result = fit_seeds(
        loss_fn, params, joined(method, spread, config.batch_size),
        optimizer=_hyper_optimizer(config.steps, "reward_average" in params["head"]), hyper=hyper,
        steps=config.steps, keys=keys, mesh=mesh, workdir=workdir, log_every=config.steps,
        name=f"{run_name(method)}-tuning",
    )  # fmt: skip
    held = data.val if data.val is not None else data.train
    predict = _grid_log_probs(method.log_probs)
    all_probs = np.asarray(
        predict(jax.tree.map(np.asarray, result.params), ((held.inputs - mean) / scale).astype(np.float32))
    )
    scores, kept = [], []
    for g in range(len(grid)):
        rows = all_probs[g * folds : (g + 1) * folds]
        out = rows[0] if data.val is not None else rows[place, np.arange(len(held))]
        nll = -out[np.arange(len(held)), held.fine].mean()
        scores.append((held_out_score(out, out.argmax(-1), held, config.balance), -float(nll)))
        kept.append(out)
    best = max(range(len(grid)), key=lambda g: scores[g])
    return grid[best], calibrate(kept[best], held), scores[best][0]


@functools.lru_cache(maxsize=16)
def _head_loss(head_loss: Any) -> Any:
    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        return head_loss(params["head"], {"features": batch["inputs"], "target": batch["target"]}, key)

    return loss_fn


@functools.lru_cache(maxsize=16)
def _head_outputs(outputs: Any) -> Any:
    return jax.jit(lambda params, features: outputs(params["head"], features))


@functools.lru_cache(maxsize=16)
def _grid_log_probs(log_probs: Any) -> Any:
    return jax.jit(jax.vmap(lambda params, features: log_probs(params["head"], features), (0, None)))


@functools.cache
def _hyper_optimizer(steps: int, averaged: bool) -> Any:
    return lambda hyper: optimizer_for(
        hyper["learning_rate"], hyper["weight_decay"], steps, averaged=averaged, frozen=True
    )
