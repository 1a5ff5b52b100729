"""Training a method of a fusion study end to end, and what end-to-end training shares with heads on features."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jlabel.data
from experiments.fusion_data import FusionData, Rows
from experiments.fusion_methods import Method
from experiments.fusion_optimizers import fine_tuner, scratch_optimizer
from jlabel.evaluation import accuracy, balanced_accuracy, fit_temperature, multilabel_f1
from jlabel.label_graph import PathPlan, labels_below, pseudo_labels
from jlabel.networks import Encoder, length_buckets, shorten_batches
from jlabel.training import ArrayBatches, fit, join_batches

__all__ = [
    "FINE_TUNING_RATES",
    "Calibration",
    "Predictions",
    "apply_in_chunks",
    "calibrate",
    "choose_threshold",
    "feature_scale",
    "head_init",
    "held_out_score",
    "joined",
    "label_combinations",
    "labels_above",
    "make_predictions",
    "method_parts",
    "run_name",
    "scaled",
    "selection_score",
    "train_end_to_end",
]

CHUNK = 256
# What --tune tries for every method, on validation rows.
END_TO_END_RATES, END_TO_END_DECAY = (2e-2, 4e-2, 8e-2), 1e-2
FINE_TUNING_RATES = (5e-5, 1e-4, 2e-4)  # of a pretrained encoder
WORD_DROPOUT, UNKNOWN_ID = 0.5, 1


@dataclass(frozen=True)
class Predictions:
    """What one trained model says.

    Attributes:
      params: ``{"encoder", "head"}``; history: the training log.
      log_probs: test rows ``[N, F]``, after the temperature. raw_log_probs: before it.
      fitted: on held-out rows.
      decoded: fine class of each test row's decoded path ``[N]`` (the arg max of a flat head).
      decoded_sets: fine classes of rows that may have several, bool ``[N, F]``, or None: those at least ``threshold``
        times as likely as the likeliest.
      nodes: ``[N, V]`` log-probabilities of passing each node, or None.
      coarse_log_probs: of the coarse training rows, for pseudo labels.
      chosen: hyper-parameters chosen by validation. val_score: of held-out rows, which these were chosen by.
    """

    params: Any
    history: list[dict[str, Any]]
    log_probs: np.ndarray
    raw_log_probs: np.ndarray
    fitted: "Calibration"
    decoded: np.ndarray
    nodes: np.ndarray | None
    coarse_log_probs: np.ndarray | None
    chosen: dict[str, float]
    val_score: float
    decoded_sets: np.ndarray | None = None


def class_weights(target: np.ndarray, balance: bool) -> np.ndarray:
    """Weights that give every class, or every row, the same share of the draws."""
    if not balance:
        return np.full(len(target), 1 / len(target))
    classes, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
    return (1.0 / counts)[inverse] / len(classes)


def joined(
    method: Method, parts: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], batch_size: int,
    transform: Callable[..., Any] | None = None, texts: bool = False,
) -> Any:  # fmt: skip
    """Batches of a method: ``batch_size`` rows of each of its parts (inputs, targets, draw weights).

    Of ``texts``, whose inputs are token ids, those of a batch have like lengths.
    """
    batches = [
        ArrayBatches(
            {"inputs": inputs, "target": target},
            batch_size=batch_size, weights=weights, transform=transform,
            groups=length_buckets(inputs)[1] if texts else None,
        )
        for inputs, target, weights in (parts[name] for name in method.parts if name in parts)
    ]  # fmt: skip
    return batches[0] if len(batches) == 1 else join_batches(*batches)


def apply_in_chunks(function: Callable[[Any], Any], inputs: np.ndarray) -> Any:
    """A jitted function over rows, in chunks of one shape."""
    outputs = []
    for start in range(0, len(inputs), CHUNK):
        chunk = inputs[start : start + CHUNK]
        filled = np.concatenate([chunk, np.repeat(chunk[:1], CHUNK - len(chunk), axis=0)])
        outputs.append({name: np.asarray(x)[: len(chunk)] for name, x in function(filled).items()})
    return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}


@functools.lru_cache(maxsize=16)
def _end_to_end_loss(head_loss: Any, net: Encoder, lengths: tuple[int, ...]) -> Any:
    """The loss of a head on an encoder; cached so that seeds, and methods of one loss, compile once."""
    apply = shorten_batches(net, lengths).apply if lengths else net.apply

    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        features = scaled(params, apply(params["encoder"], batch["inputs"]))
        return head_loss(params["head"], {"features": features, "target": batch["target"]}, key)

    return loss_fn


@functools.lru_cache(maxsize=16)
def head_init(init: Any, dim: int) -> Any:
    """A head's parameters from a key, or from one key for each seed, compiled once."""
    return jax.jit(lambda key: init(key, dim) if key.ndim == 0 else jax.vmap(lambda one: init(one, dim))(key))


@functools.lru_cache(maxsize=16)
def _end_to_end_predict(outputs: Any, net: Encoder, lengths: tuple[int, ...]) -> Any:
    apply = shorten_batches(net, lengths).apply if lengths else net.apply
    return jax.jit(lambda params, inputs: outputs(params["head"], scaled(params, apply(params["encoder"], inputs))))


def feature_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean ``[D]`` of features and one scale ``[D]`` for all: those that vary little say little, and stay small."""
    return features.mean(0), np.full_like(features[0], features.std(0).mean() + 1e-6)


def scaled(params: Any, features: jax.Array) -> jax.Array:
    """Features as a head on a pretrained encoder takes them; ``mean`` and ``scale`` are never trained."""
    if "mean" not in params:
        return features
    mean, scale = jax.lax.stop_gradient((params["mean"], params["scale"]))
    return (features - mean[None]) / scale[None]


@functools.lru_cache(maxsize=16)
def _features(net: Encoder, lengths: tuple[int, ...]) -> Any:
    apply = shorten_batches(net, lengths).apply if lengths else net.apply
    return jax.jit(lambda params, inputs: {"features": apply(params, inputs)})


def _augmented(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    return {**batch, "inputs": jlabel.data.augment(batch["inputs"], key)}


def _words_dropped(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Every other word becomes the unknown word: from few texts alone, an encoder would learn them by heart."""
    ids = batch["inputs"]
    dropped = jax.random.bernoulli(key, WORD_DROPOUT, ids.shape) & (ids > UNKNOWN_ID)
    return {**batch, "inputs": jnp.where(dropped, UNKNOWN_ID, ids)}


def train_end_to_end(
    method: Method, data: FusionData, net: Encoder, plan: PathPlan, config: Any, seed: int, rate: float,
    guesses: np.ndarray | None, workdir: Path | None, mesh: Any,
) -> Predictions:  # fmt: skip
    """Train encoder and head together on one seed's data and predict its test rows.

    ``guesses`` are the FFN's log-probabilities of the coarse rows, for pseudo labels.
    """
    texts = net.kind == "text"
    lengths = length_buckets(data.train.inputs)[0] if texts else ()
    loss_fn, predict = _end_to_end_loss(method.loss, net, lengths), _end_to_end_predict(method.outputs, net, lengths)
    parts = {
        name: (rows.inputs[places], target, weights)
        for name, (rows, places, target, weights) in method_parts(method, data, plan, guesses, config.balance).items()
    }
    encoder_key, head_key, fit_key = jax.random.split(jax.random.key(seed), 3)
    params = {"encoder": net.init(encoder_key), "head": head_init(method.init, net.dim)(head_key)}
    if net.pretrained:
        read = functools.partial(_features(net, lengths), params["encoder"])
        params["mean"], params["scale"] = feature_scale(apply_in_chunks(read, data.train.inputs)["features"])
    averaged = "reward_average" in params["head"]
    decay = config.weight_decay if config.weight_decay is not None else END_TO_END_DECAY
    if net.pretrained:
        layer_rates = config.layer_decay if net.kind == "text" else 1.0  # pictures' encoders have no BERT in them
        optimizer = fine_tuner(rate, decay, config.steps, averaged, layer_rates, config.accumulate)
    else:
        optimizer = scratch_optimizer(rate, decay, config.steps, averaged, config.accumulate)
    augment = None
    if config.augment and not net.pretrained:
        augment = {"image": _augmented, "text": _words_dropped}.get(net.kind)
    steps = config.steps * config.accumulate
    result = fit(
        loss_fn, params, joined(method, parts, config.batch_size, augment, texts), optimizer=optimizer, steps=steps,
        key=fit_key, mesh=mesh, workdir=workdir, log_every=max(1, steps // 20),
        checkpoint_every=config.checkpoint_every,
        name=f"{run_name(method)}-{seed}-{rate:g}", progress=False,  # the study shows one bar for all its runs
    )  # fmt: skip

    params = jax.tree.map(np.asarray, result.params)  # on the host: with several processes each predicts on its own

    def outputs(rows: Rows) -> dict[str, np.ndarray]:
        # Texts of like length side by side, so that a chunk needs little padding.
        order = np.argsort((rows.inputs != 0).sum(1), kind="stable") if texts else np.arange(len(rows))
        found = apply_in_chunks(lambda inputs: predict(params, inputs), rows.inputs[order])
        return {name: values[np.argsort(order)] for name, values in found.items()}

    assert data.val is not None  # load_fusion holds rows out where the data has no such split
    held, coarse = outputs(data.val), None
    if data.coarse is not None and method.name == "FFN":
        coarse = outputs(data.coarse)["log_probs"]
    return make_predictions(
        params, result.history, outputs(data.test), calibrate(held["log_probs"], data.val), coarse,
        {"learning_rate": rate}, held_out_score(held["log_probs"], held["decoded"], data.val, config.balance),
    )  # fmt: skip


def selection_score(balance: bool) -> Callable[[np.ndarray, np.ndarray], float]:
    """What hyper-parameters are chosen by, where rows have one label."""
    return balanced_accuracy if balance else accuracy


def held_out_score(log_probs: np.ndarray, decoded: np.ndarray, rows: Rows, balance: bool) -> float:
    """The score of predictions for held-out rows; of rows with several labels micro F1 at its best threshold."""
    if rows.fine_sets is None:
        return selection_score(balance)(decoded, rows.fine)
    chosen = labels_above(log_probs, choose_threshold(log_probs, rows.fine_sets))
    return multilabel_f1(chosen, rows.fine_sets, average="micro")


def run_name(method: Method) -> str:
    """A method's name in file names."""
    return "".join(c if c.isalnum() else "_" for c in method.name)


def method_parts(
    method: Method, data: FusionData, plan: PathPlan, guesses: np.ndarray | None, balance: bool = True, *,
    only_fine: bool = False,
) -> dict[str, tuple[Rows, np.ndarray, np.ndarray, np.ndarray]]:  # fmt: skip
    """Of each of a method's parts: rows, places ``[M]`` among them, their targets and draw weights ``[M]``.

    Rows that the method cannot use have weight 0. A row with several labels has a place for each of them, which share
    its weight, or a target of its own where the method has combos.
    """
    number = {classes: len(plan.class_nodes) + i for i, classes in enumerate(method.combos)}

    def spread(
        targets: Sequence[tuple[int, ...]] | np.ndarray | None, target: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if targets is None:
            return np.arange(len(target)), target, weights
        if number:
            together = [number.get(tuple(sorted(row)), first) for row, first in zip(targets, target, strict=True)]
            return np.arange(len(target)), np.array(together, np.int32), weights
        counts = np.array([len(row) for row in targets])
        places = np.repeat(np.arange(len(targets)), counts)
        return places, np.concatenate(list(targets)).astype(np.int32), (weights / np.maximum(counts, 1))[places]

    fine = data.train
    parts = {"fine": (fine, *spread(fine.targets, fine.target, class_weights(fine.target, balance)))}
    for name in () if only_fine else method.parts[1:]:
        assert data.coarse is not None
        first = plan.offsets[data.fine_set]
        targets: Sequence[tuple[int, ...]] | np.ndarray | None = None
        if name == "pseudo":
            assert guesses is not None
            target = pseudo_labels(guesses, data.coarse.target, labels_below(plan, data.fine_set), first)
        elif name == "oracle":
            target = np.where(data.coarse.fine >= 0, data.coarse.fine + first, -1).astype(np.int32)
            if data.coarse.fine_sets is not None:
                targets = [tuple((first + np.flatnonzero(row)).tolist()) for row in data.coarse.fine_sets]
        else:
            target, targets = data.coarse.target, data.coarse.targets
        usable = target >= 0
        if usable.any():
            parts[name] = (data.coarse, *spread(targets, target, usable / usable.sum()))
    return parts


def label_combinations(datas: Sequence[FusionData]) -> tuple[tuple[int, ...], ...]:
    """The sets of several classes that training rows have, each once, sorted."""
    found = {
        tuple(sorted(row))
        for data in datas
        for rows in (data.train, data.coarse)
        if rows is not None and rows.targets is not None
        for row in rows.targets
    }
    return tuple(sorted(row for row in found if len(row) > 1))


class Calibration(NamedTuple):
    """What is fitted on held-out rows: the temperature and, where rows have several labels, the threshold."""

    temperature: float
    threshold: float | None = None


def calibrate(log_probs: np.ndarray, rows: Rows) -> Calibration:
    """Fit on log-probabilities ``[N, F]`` of held-out rows."""
    threshold = None if rows.fine_sets is None else choose_threshold(log_probs, rows.fine_sets)
    return Calibration(fit_temperature(log_probs, rows.fine), threshold)


def make_predictions(
    params: Any, history: Any, outputs: dict[str, np.ndarray], fitted: Calibration, coarse: np.ndarray | None,
    chosen: dict[str, float], val_score: float,
) -> Predictions:  # fmt: skip
    """Apply what was fitted to what a model said."""
    raw = outputs["log_probs"]
    scaled = np.asarray(jax.nn.log_softmax(jnp.asarray(raw) / fitted.temperature, axis=-1))
    return Predictions(
        params, history, scaled, raw, fitted, outputs["decoded"], outputs.get("nodes"), coarse, chosen, val_score,
        None if fitted.threshold is None else labels_above(raw, fitted.threshold),
    )  # fmt: skip


def labels_above(log_probs: np.ndarray, threshold: float) -> np.ndarray:
    """bool ``[N, F]``: labels at least ``threshold`` times as likely as the row's likeliest, and that one itself.

    A ratio, so that it means the same for probabilities that sum to one and for those that stand by themselves.
    """
    return log_probs >= log_probs.max(-1, keepdims=True) + np.log(threshold)


def choose_threshold(log_probs: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of `labels_above` with the best micro F1."""
    grid = np.round(np.linspace(0.05, 1.0, 39), 4)
    return float(max(grid, key=lambda t: multilabel_f1(labels_above(log_probs, t), truth, average="micro")))
