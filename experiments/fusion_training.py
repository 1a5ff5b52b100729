"""Training the methods of a fusion study: end to end per seed, or heads of all seeds side by side on features."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jlabel.data
from experiments.fusion_data import FusionData, Rows
from experiments.fusion_methods import Method
from jlabel.evaluation import balanced_accuracy, fit_temperature
from jlabel.label_graph import PathPlan, labels_below, pseudo_labels
from jlabel.networks import Encoder
from jlabel.training import ArrayBatches, fit, fit_seeds, join_batches

__all__ = ["Predictions", "train_end_to_end", "train_heads"]

CHUNK = 256
END_TO_END_RATE, END_TO_END_DECAY = 3e-3, 1e-2
HEAD_RATES, HEAD_DECAYS = (3e-4, 1e-3, 3e-3), (1e-2, 1.0)


@dataclass(frozen=True)
class Predictions:
    """What one trained model says.

    Attributes:
      params: ``{"encoder", "head"}``; history: the training log.
      log_probs: test rows ``[N, F]``, after the temperature. raw_log_probs: before it. temperature: fitted on validation rows.
      decoded: fine class of each test row's decoded path ``[N]`` (the arg max of a flat head).
      nodes: ``[N, V]`` log-probabilities of passing each node, or None.
      coarse_log_probs: of the coarse training rows, for pseudo labels. chosen: hyper-parameters chosen by validation.
    """

    params: Any
    history: list[dict[str, Any]]
    log_probs: np.ndarray
    raw_log_probs: np.ndarray
    temperature: float
    decoded: np.ndarray
    nodes: np.ndarray | None
    coarse_log_probs: np.ndarray | None
    chosen: dict[str, float]


def optimizer_for(
    learning_rate: Any, weight_decay: Any, steps: int, *, averaged: bool = False
) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine decay; a moving average of rewards, if any, under plain gradient descent."""
    warm = max(1, steps // 20)
    scale = optax.join_schedules(
        [optax.linear_schedule(0.1, 1.0, warm), optax.cosine_decay_schedule(1.0, max(1, steps - warm))], [warm]
    )
    main = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        optax.scale_by_learning_rate(lambda step: learning_rate * scale(step)),
    )
    if not averaged:
        return main
    return optax.multi_transform(
        {"main": main, "average": optax.sgd(0.1)},
        lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: "average" if any(getattr(k, "key", None) == "reward_average" for k in path) else "main",
            params,
        ),
    )


def class_weights(target: np.ndarray) -> np.ndarray:
    """Weights that give every class the same share of the draws."""
    classes, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
    return (1.0 / counts)[inverse] / len(classes)


def joined(
    method: Method, parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]], batch_size: int,
    transform: Callable[..., Any] | None = None,
) -> Any:  # fmt: skip
    """Batches of a method: ``batch_size`` rows of each of its parts (inputs, targets, draw weights)."""
    batches = [
        ArrayBatches(
            {"inputs": inputs, "target": target},
            batch_size=batch_size if weights is not None else min(batch_size, len(target)),
            weights=weights, transform=transform,
        )
        for inputs, target, weights in (parts[name] for name in method.parts)
    ]  # fmt: skip
    return batches[0] if len(batches) == 1 else join_batches(*batches)


def apply_in_chunks(function: Callable[[jax.Array], Any], inputs: np.ndarray) -> Any:
    """A jitted function over rows, in chunks of one shape."""
    outputs = []
    for start in range(0, len(inputs), CHUNK):
        chunk = inputs[start : start + CHUNK]
        padded = np.concatenate([chunk, np.repeat(chunk[:1], CHUNK - len(chunk), axis=0)]) if len(chunk) < CHUNK else chunk
        outputs.append(jax.tree.map(lambda x, n=len(chunk): np.asarray(x)[:n], function(padded)))
    return jax.tree.map(lambda *xs: np.concatenate(xs), *outputs)


@functools.cache
def _end_to_end_functions(method: Method, net: Encoder, augmented: bool) -> tuple[Any, Any, Any]:
    """Loss, transform and prediction of a method on an encoder; cached so that all seeds compile once."""

    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        features = net.apply(params["encoder"], batch["inputs"])
        return method.loss(params["head"], {"features": features, "target": batch["target"]}, key)

    def transform(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        return {**batch, "inputs": jlabel.data.augment(batch["inputs"], key)}

    def predict(params: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        features = net.apply(params["encoder"], inputs)
        return _heads_output(method, params["head"], features)

    return loss_fn, transform if augmented else None, jax.jit(predict)


def _heads_output(method: Method, head: Any, features: jax.Array) -> dict[str, jax.Array]:
    out = {"log_probs": method.log_probs(head, features)}
    out["decoded"] = out["log_probs"].argmax(-1) if method.decode is None else method.decode(head, features)
    if method.nodes is not None:
        out["nodes"] = method.nodes(head, features)
    return out


def train_end_to_end(
    method: Method, data: FusionData, net: Encoder, plan: PathPlan, config: Any, seed: int,
    guesses: np.ndarray | None, workdir: Path | None, mesh: Any,
) -> Predictions:  # fmt: skip
    """Train encoder and head together on one seed's data and predict its test rows.

    ``guesses`` are the FFN's log-probabilities of the coarse rows, for pseudo labels.
    """
    loss_fn, transform, predict = _end_to_end_functions(method, net, config.augment)
    parts = {
        name: (rows.inputs[places], target, weights)
        for name, (rows, places, target, weights) in _parts(method, data, plan, guesses).items()
    }
    encoder_key, head_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    params = {"encoder": net.init(encoder_key), "head": jax.jit(lambda k: method.init(k, net.dim))(head_key)}
    averaged = "reward_average" in params["head"]
    rate = config.learning_rate or END_TO_END_RATE
    decay = config.weight_decay if config.weight_decay is not None else END_TO_END_DECAY
    result = fit(
        loss_fn, params, joined(method, parts, config.batch_size, transform),
        optimizer=_optimizer(rate, decay, config.steps, averaged), steps=config.steps, key=fit_key, mesh=mesh,
        workdir=workdir, log_every=max(1, config.steps // 20), checkpoint_every=config.checkpoint_every,
        name=f"{run_name(method)}-{seed}",
    )  # fmt: skip

    def outputs(rows: Rows) -> dict[str, np.ndarray]:
        return apply_in_chunks(lambda inputs: predict(result.params, inputs), rows.inputs)

    held = data.val if data.val is not None else data.train
    coarse = outputs(data.coarse)["log_probs"] if data.coarse is not None and method.name == "FFN" else None
    temperature = fit_temperature(outputs(held)["log_probs"], held.fine)
    return _predictions(result.params, result.history, outputs(data.test), temperature, coarse)


def run_name(method: Method) -> str:
    """A method's name in file names."""
    return "".join(c if c.isalnum() else "_" for c in method.name)


def _parts(
    method: Method, data: FusionData, plan: PathPlan, guesses: np.ndarray | None
) -> dict[str, tuple[Rows, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Rows, places, targets and draw weights of each of a method's parts."""
    everything = np.arange(len(data.train))
    parts: dict[str, tuple[Rows, np.ndarray, np.ndarray, np.ndarray | None]] = {
        "fine": (data.train, everything, data.train.target, class_weights(data.train.target))
    }
    for name in method.parts[1:]:
        assert data.coarse is not None
        first = plan.offsets[data.fine_set]
        if name == "pseudo":
            assert guesses is not None
            target = pseudo_labels(guesses, data.coarse.target, labels_below(plan, data.fine_set), first)
        elif name == "oracle":
            target = np.where(data.coarse.fine >= 0, data.coarse.fine + first, -1).astype(np.int32)
        else:
            target = data.coarse.target
        places = np.flatnonzero(target >= 0)
        if len(places):
            parts[name] = (data.coarse, places, target[places], None)
    return parts


def train_heads(
    method: Method, datas: Sequence[FusionData], net: Encoder, plan: PathPlan, config: Any,
    guesses: Sequence[np.ndarray | None], workdir: Path | None, mesh: Any,
) -> list[Predictions]:  # fmt: skip
    """Train heads on fixed features, all seeds side by side, with hyper-parameters chosen on held-out fine rows."""
    mean = datas[0].train.inputs.mean(0)
    scale = datas[0].train.inputs.std(0) + 1e-3

    def columns(data: FusionData, guess: np.ndarray | None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = _parts(method, data, plan, guess)
        return {
            name: (
                ((rows.inputs[places] - mean) / scale).astype(np.float32),
                target,
                np.full(len(places), 1.0 / len(places)) if weights is None else weights,
            )
            for name, (rows, places, target, weights) in found.items()
        }

    per_seed = [columns(data, guess) for data, guess in zip(datas, guesses, strict=True)]
    loss_fn = _head_loss(method)
    chosen, temperature = _choose(method, per_seed[0], datas[0], loss_fn, net, config, mean, scale, workdir, mesh)
    parts = {}
    for name in per_seed[0]:
        blocks = [seed_parts[name] for seed_parts in per_seed]
        sizes = np.cumsum([0] + [len(target) for _, target, _ in blocks])
        weights = np.zeros((len(blocks), sizes[-1]))
        for r, (_, _, own) in enumerate(blocks):
            weights[r, sizes[r] : sizes[r + 1]] = own
        parts[name] = (np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]), weights)
    seeds = np.array(config.seeds)
    keys = jax.vmap(jax.random.key)(seeds)
    params = jax.jit(jax.vmap(lambda key: {"head": method.init(jax.random.fold_in(key, 1), net.dim)}))(keys)
    hyper = {name: np.full(len(seeds), value, np.float32) for name, value in chosen.items()}
    result = fit_seeds(
        loss_fn, params, joined(method, parts, config.batch_size), optimizer=_hyper_optimizer(config.steps, "reward_average" in params["head"]),
        hyper=hyper, steps=config.steps, keys=keys, mesh=mesh, workdir=workdir, log_every=max(1, config.steps // 20),
        checkpoint_every=config.checkpoint_every, name=run_name(method),
    )  # fmt: skip
    predict = jax.jit(lambda params, features: _heads_output(method, params["head"], features))
    found = []
    for r, data in enumerate(datas):
        own = jax.tree.map(lambda x, r=r: x[r], result.params)
        run = lambda rows, own=own: apply_in_chunks(lambda x: predict(own, (x - mean) / scale), rows.inputs)  # noqa: E731
        coarse = run(data.coarse)["log_probs"] if data.coarse is not None and method.name == "FFN" else None
        history = [{k: v[r] if isinstance(v, list) else v for k, v in line.items()} for line in result.history]
        own = {**own, "mean": mean, "scale": scale}
        found.append(_predictions(own, history, run(data.test), temperature, coarse, chosen))
    return found


def _choose(
    method: Method, parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], data: FusionData, loss_fn: Any,
    net: Encoder, config: Any, mean: np.ndarray, scale: np.ndarray, workdir: Path | None, mesh: Any,
) -> tuple[dict[str, float], float]:  # fmt: skip
    """Learning rate and weight decay with the best balanced accuracy on rows held out of training, and a temperature.

    Validation rows where the data has them, else folds of the fine training rows; every method gets the same grid.
    """
    rates = (config.learning_rate,) if config.learning_rate else HEAD_RATES
    decays = (config.weight_decay,) if config.weight_decay is not None else HEAD_DECAYS
    grid = [{"learning_rate": rate, "weight_decay": decay} for rate in rates for decay in decays]
    folds = 1 if data.val is not None else config.folds
    fine = data.train.fine
    place = np.zeros(len(fine), int)
    generator = np.random.default_rng(0)
    for c in np.unique(fine):
        members = generator.permutation(np.flatnonzero(fine == c))
        place[members] = np.arange(len(members)) % folds
    weights = np.tile(parts["fine"][2], (len(grid) * folds, 1))
    for g in range(len(grid)):
        for f in range(folds):
            if data.val is None:
                weights[g * folds + f, place == f] = 0
    spread = {
        name: (x, y, weights if name == "fine" else np.tile(w, (len(grid) * folds, 1)))
        for name, (x, y, w) in parts.items()
    }
    keys = jax.random.split(jax.random.key(config.seeds[0]), len(grid) * folds)
    params = jax.jit(jax.vmap(lambda key: {"head": method.init(key, net.dim)}))(keys)
    hyper = {name: np.repeat([float(g[name]) for g in grid], folds).astype(np.float32) for name in grid[0]}
    result = fit_seeds(
        loss_fn, params, joined(method, spread, config.batch_size),
        optimizer=_hyper_optimizer(config.steps, "reward_average" in params["head"]), hyper=hyper,
        steps=config.steps, keys=keys, mesh=mesh, workdir=workdir, log_every=config.steps,
        name=f"{run_name(method)}-tuning",
    )  # fmt: skip
    held = data.val if data.val is not None else data.train
    predict = jax.jit(jax.vmap(lambda params, x: _heads_output(method, params["head"], x)["log_probs"], (0, None)))
    all_probs = np.asarray(predict(result.params, ((held.inputs - mean) / scale).astype(np.float32)))
    scores, kept = [], []
    for g in range(len(grid)):
        rows = all_probs[g * folds : (g + 1) * folds]
        out = rows[0] if data.val is not None else rows[place, np.arange(len(held))]
        nll = -out[np.arange(len(held)), held.fine].mean()
        scores.append((balanced_accuracy(out.argmax(-1), held.fine), -float(nll)))
        kept.append(out)
    best = max(range(len(grid)), key=lambda g: scores[g])
    return grid[best], fit_temperature(kept[best], held.fine)


@functools.cache
def _head_loss(method: Method) -> Any:
    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        return method.loss(params["head"], {"features": batch["inputs"], "target": batch["target"]}, key)

    return loss_fn


@functools.cache
def _hyper_optimizer(steps: int, averaged: bool) -> Any:
    return lambda hyper: optimizer_for(hyper["learning_rate"], hyper["weight_decay"], steps, averaged=averaged)


@functools.cache
def _optimizer(rate: float, decay: float, steps: int, averaged: bool) -> optax.GradientTransformation:
    return optimizer_for(rate, decay, steps, averaged=averaged)


def _predictions(
    params: Any, history: Any, outputs: dict[str, np.ndarray], temperature: float, coarse: np.ndarray | None,
    chosen: dict[str, float] | None = None,
) -> Predictions:  # fmt: skip
    raw = outputs["log_probs"]
    scaled = np.asarray(jax.nn.log_softmax(jnp.asarray(raw) / temperature, axis=-1))
    return Predictions(
        params, history, scaled, raw, temperature, outputs["decoded"], outputs.get("nodes"), coarse, chosen or {}
    )
