"""What the rivals that look inside their teachers share: R runs of M teachers, checked, and what these say."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.special import expit

from jlabel.amalgamation.baselines import mean_logits
from jlabel.amalgamation.chain import SELECTIONS
from jlabel.amalgamation.checks import (
    AmalgamationError,
    check_choice,
    check_count,
    check_features,
    check_unit,
    is_number,
)
from jlabel.amalgamation.labels import label_union
from jlabel.amalgamation.model import ChainApply, ChainModel
from jlabel.amalgamation.network import LabelChain
from jlabel.amalgamation.objective import LOSSES
from jlabel.amalgamation.predict import chain_outputs

__all__ = [
    "Rows",
    "Runs",
    "check_runs",
    "first_linears",
    "linear",
    "models_of",
    "positive",
    "row_mean",
    "split_keys",
    "target_arrays",
    "teacher_rows",
]


class Runs(NamedTuple):
    """R runs, checked.

    Attributes:
      teachers: for each run M models. label_sets: of the M teachers. label_names: their union. student: the student's
        chain. features: ``(R, N, D)``. held: ``(R, K, D)`` for the choice of the epoch, or none. keys: typed ``(R,)``.
      training: arguments of `train_runs`.
    """

    teachers: tuple[tuple[ChainModel, ...], ...]
    label_sets: tuple[tuple[str, ...], ...]
    label_names: tuple[str, ...]
    student: ChainApply
    features: np.ndarray
    held: np.ndarray | None
    keys: jax.Array
    training: dict[str, Any]

    @property
    def chains(self) -> tuple[ChainApply, ...]:
        """Of the M teachers, the same in every run."""
        return tuple(model.apply_fn for model in self.teachers[0] if isinstance(model.apply_fn, ChainApply))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Hidden sizes of the M teachers."""
        return tuple(chain.network.hidden_size for chain in self.chains)

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """For each teacher, where its labels stand in the union."""
        return tuple(tuple(self.label_names.index(name) for name in own) for own in self.label_sets)


class Rows(NamedTuple):
    """What the teachers say about rows: M arrays each.

    Attributes:
      features: ``(R, N, D)``. logits: final ones, ``(R, N, L_t)``. step_logits: ``(R, N, L_t, L_t)``, [step, label].
      states: ``(R, N, H_t)``, hidden states of the last step.
    """

    features: np.ndarray
    logits: tuple[np.ndarray, ...]
    step_logits: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]


def check_runs(
    teachers: Sequence[Sequence[ChainModel]],
    features: ArrayLike,
    *,
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    over: str,
    select: str,
    path_floor: float,
    num_layers: int,
    validation: ArrayLike | None,
    keys: jax.Array,
    same_layers: bool,
) -> Runs:
    """All arguments that the rivals have in common; `same_layers`: the method pairs layers of student and teachers."""
    x = check_features("features", features, axes=("run", "row", "column"))
    if not x.shape[0] * x.shape[1]:
        raise AmalgamationError(f"features have shape {x.shape}: give at least one row")
    held = None
    if validation is not None:
        held = check_features("validation", validation, axes=("run", "row", "column"), num_columns=x.shape[-1])
        if len(held) != len(x) or not held.shape[1]:
            raise AmalgamationError(f"validation has shape {held.shape}, features {x.shape}: give rows for each run")
    if keys.shape != (len(x),):
        raise AmalgamationError(f"keys have shape {keys.shape}: give one typed key for each of the {len(x)} runs")
    counts = {"hidden_size": hidden_size, "epochs": epochs, "batch_size": batch_size, "num_layers": num_layers}
    hidden, epochs, batch, layers = (check_count(name, value) for name, value in counts.items())
    check_choice("over", over, LOSSES)
    check_choice("select", select, SELECTIONS)
    if not is_number(learning_rate) or learning_rate <= 0:
        raise AmalgamationError(f"learning_rate is {learning_rate!r}; allowed: above 0")
    found = tuple(tuple(own) for own in teachers)
    if len(found) != len(x) or not found or not found[0]:
        raise AmalgamationError(f"teachers are those of {len(found)} runs, features of {len(x)}: give models for each")
    for run, own in enumerate(found):
        _check_teachers(run, own, found[0], x.shape[-1], layers if same_layers else None)
    sets = tuple(model.label_names for model in found[0])
    names = label_union(sets)
    student = ChainApply(LabelChain(len(names), hidden, layers), select, check_unit("path_floor", path_floor))
    training = {"epochs": epochs, "batch_size": min(batch, x.shape[1]), "learning_rate": learning_rate}
    return Runs(found, sets, names, student, x, held, keys, training)


def _check_teachers(
    run: int, own: Sequence[ChainModel], first: Sequence[ChainModel], num_columns: int, layers: int | None
) -> None:
    if len(own) != len(first):
        raise AmalgamationError(f"run {run} has {len(own)} teachers, run 0 {len(first)}: all need the same number")
    for t, (model, other) in enumerate(zip(own, first, strict=True)):
        if not isinstance(model, ChainModel) or not isinstance(model.apply_fn, ChainApply):
            raise AmalgamationError(
                f"teacher {t} is no chain of fit_chain: its hidden states are not known; a student of its predictions "
                "alone needs mean_logit_targets or transfer_targets"
            )
        if model.label_names != other.label_names or model.apply_fn != other.apply_fn:
            raise AmalgamationError(
                f"teacher {t} of run {run} differs from that of run 0 in its labels, sizes or settings: train such "
                "runs one after the other"
            )
        columns = model.params["params"]["initial"]["kernel"].shape[0]
        if columns != num_columns:
            raise AmalgamationError(f"features has {num_columns} columns; teacher {t} was trained on {columns}")
        if layers is not None and model.apply_fn.network.num_layers != layers:
            raise AmalgamationError(
                f"num_layers: the student has {layers}, teacher {t} has {model.apply_fn.network.num_layers}: this "
                "method pairs their layers and needs equal numbers"
            )


def teacher_rows(runs: Runs, features: np.ndarray) -> Rows:
    """What each run's teachers say about its rows ``(R, N, D)``."""
    found: list[tuple[np.ndarray, ...]] = []
    for t in range(len(runs.label_sets)):
        outputs = [chain_outputs(own[t], rows) for own, rows in zip(runs.teachers, features, strict=True)]
        parts = [(out.final_logits, out.step_logits, np.asarray(out.hidden)[:, -1]) for out in outputs]
        found.append(tuple(np.stack(part) for part in zip(*parts, strict=True)))
    logits, step_logits, states = zip(*found, strict=True)
    return Rows(features, logits, step_logits, states)


def target_arrays(runs: Runs, rows: Rows) -> dict[str, np.ndarray]:
    """Features, and as targets what the teachers say on average."""
    return {"features": rows.features, "targets": expit(mean_logits(rows.logits, runs.label_sets))}


def positive(name: str, value: object) -> float:
    """A finite number of at least 0."""
    if not is_number(value) or value < 0:
        raise AmalgamationError(f"{name} is {value!r}; allowed: 0 and above")
    return float(value)


@functools.partial(jax.jit, static_argnums=1)
def split_keys(keys: jax.Array, number: int) -> tuple[jax.Array, ...]:
    """For each of so many purposes, typed keys ``(R,)``."""
    return jnp.unstack(jax.vmap(lambda key: jax.random.split(key, number))(keys), axis=1)


def models_of(runs: Runs, params: Any) -> tuple[ChainModel, ...]:
    """The students of all runs, from leaves ``(R, ...)``."""
    host = jax.tree.map(np.asarray, params)  # to cut on the device would compile a program for each shape
    each = [jax.tree.map(lambda leaf, run=run: jnp.asarray(leaf[run]), host) for run in range(len(runs.features))]
    return tuple(ChainModel(runs.student, own, runs.label_names) for own in each)


def first_linears(keys: jax.Array, shapes: Sequence[tuple[int, ...]]) -> list[dict[str, np.ndarray]]:
    """First parameters of linear maps with offsets, for R runs: normal kernels of variance 1 / inputs.

    Args:
      keys: typed ``(R,)``. shapes: of the kernels, ``(..., inputs, outputs)``.

    Returns:
      For each shape a ``kernel`` ``(R, ..., inputs, outputs)`` and a ``bias`` ``(R, ..., outputs)``.
    """
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    drawn = np.split(np.asarray(_normal(keys, int(ends[-1]))), ends[:-1], axis=1)
    return [
        {
            "kernel": part.reshape(-1, *shape) / np.float32(shape[-2] ** 0.5),
            "bias": np.zeros((len(part), *shape[:-2], shape[-1]), np.float32),
        }
        for part, shape in zip(drawn, shapes, strict=True)
    ]


@functools.partial(jax.jit, static_argnums=1)
def _normal(keys: jax.Array, size: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def linear(params: dict[str, jax.Array], values: jax.Array) -> jax.Array:
    """``(..., inputs)`` to ``(..., outputs)``."""
    return values @ params["kernel"] + params["bias"].reshape((1,) * (values.ndim - 1) + (-1,))


def row_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """The mean of ``(B,)`` over rows of these weights; 0 where all are 0."""
    return jnp.sum(weights * values) / jnp.maximum(jnp.sum(weights), jnp.finfo(values.dtype).tiny)
