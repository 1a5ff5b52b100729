"""AKA: a component for each label, which follows the surest teacher on each row; then one student of all of them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.special import expit

from jlabel.amalgamation.checks import check_count
from jlabel.amalgamation.model import ChainApply, ChainModel, init_chains
from jlabel.amalgamation.network import LabelChain
from jlabel.amalgamation.objective import chain_loss
from jlabel.amalgamation.teacher_runs import (
    Rows,
    check_runs,
    first_linears,
    linear,
    models_of,
    positive,
    row_mean,
    split_keys,
    teacher_rows,
)
from jlabel.amalgamation.train import train_runs

__all__ = ["fit_adaptive", "fit_adaptive_runs"]


def surest_teacher(
    logits: Sequence[np.ndarray], columns: Sequence[Sequence[int]], num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each row and label, the teacher with the largest ``|logit|`` of those that know it, the first of equals.

    Args:
      logits: M arrays ``(..., L_t)``. columns: for each teacher, where its labels stand among all. num_labels: L.

    Returns:
      int32 ``(..., L)``, the teachers, and float32 ``(..., L)``, their logits.

    Example:
      >>> teachers, found = surest_teacher([np.array([[1.0, -2.0]]), np.array([[-3.0, 4.0]])], [(0, 1), (1, 2)], 3)
      >>> teachers.tolist(), found.tolist()
      ([[0, 1, 1]], [[1.0, -3.0, 4.0]])
    """
    # Size -1 for what a teacher does not know, so that it is never the surest.
    size = np.full((len(logits), *logits[0].shape[:-1], num_labels), -1.0, np.float32)
    value = np.zeros_like(size)
    for t, (part, places) in enumerate(zip(logits, columns, strict=True)):
        size[t][..., list(places)], value[t][..., list(places)] = np.abs(part), part
    teacher = size.argmax(axis=0)
    return teacher.astype(np.int32), np.take_along_axis(value, teacher[None], axis=0)[0]


@dataclasses.dataclass(frozen=True)
class _ComponentLoss:
    """Stage 1: all components side by side; each follows the surest teacher's logit and hidden state."""

    chain: ChainApply
    columns: tuple[tuple[int, ...], ...]
    match: float

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        logits, states = _component_outputs(self.chain, params["components"], batch["features"])
        losses = jnp.mean(jax.nn.softplus(logits) - logits * batch["targets"], axis=1)
        for t, columns in enumerate(self.columns):
            places = np.asarray(columns)
            mapped = jax.vmap(linear, (0, 1), 1)(params["maps"][t], states[:, places])
            squares = jnp.mean((mapped - batch[f"state_{t}"][:, None]) ** 2, axis=-1)
            followed = jnp.where(batch["surest"][:, places] == t, squares, 0.0)
            losses += self.match * jnp.sum(followed, axis=1) / logits.shape[1]
        return row_mean(losses, batch["weight"])


@dataclasses.dataclass(frozen=True)
class _StudentLoss:
    """Stage 2: the components' logits, and from the student's last hidden state all of theirs."""

    chain: ChainApply
    over: str
    match: float

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        output = self.chain(params["student"], batch["features"])
        mapped = jax.vmap(linear, (0, None), 1)(params["maps"], output.hidden[:, -1])
        wrong = row_mean(jnp.mean((mapped - batch["states"]) ** 2, axis=(1, 2)), batch["weight"])
        return chain_loss(output, batch["targets"], over=self.over, weights=batch["weight"]) + self.match * wrong


def fit_adaptive(
    teachers: Sequence[ChainModel],
    features: ArrayLike,
    *,
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    over: str = "steps",
    select: str = "positive",
    path_floor: float = 0.0,
    num_layers: int = 1,
    component_size: int | None = None,
    match: float = 1.0,
    validation: ArrayLike | None = None,
    key: jax.Array,
) -> ChainModel:
    """AKA: one component network for each label, then one student of all components.

    Stage 1: the component of label j is a chain of this one label. On each row it follows the teacher m with the
    largest ``|v_m[j]|``: cross-entropy of its logit against ``sigmoid(v_m[j])``, plus ``match |A_jm h_j - h_m|^2 /
    H_m``, its hidden state taken to the teacher's last one by a linear map. Stage 2: `chain_loss` of the student
    against the components' probabilities, plus ``match mean_j |B_j h - h_j|^2 / H_j`` from its last hidden state h. The
    maps lead from what learns to what is given: maps of both into one space could shrink to zero.

    Args:
      teachers: M models of `fit_chain` with as many layers as the student. features: ``(N, D)``, as all teachers take
        them.
      epochs: of each stage. hidden_size, batch_size, learning_rate, over, select, path_floor, num_layers: of the
        student; see `fit_chain`.
      component_size: width of the components; none: ``hidden_size``. match: weight of the hidden states, 0 or more.
      validation: features of other rows, ``(K, D)``; each stage keeps the parameters of the epoch with the lowest loss
        there, the components those of one epoch.
      key: typed.

    Returns:
      The student, its labels in the order of `label_union`.

    Raises:
      AmalgamationError: a teacher that is no chain or has another number of layers, or what cannot be trained on.

    Source: Shen et al., "Customizing student networks from heterogeneous teachers via adaptive knowledge amalgamation",
    2019, for one block, the whole LSTM.
    """
    return fit_adaptive_runs(
        [tuple(teachers)], np.asarray(features)[None], hidden_size=hidden_size, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, over=over, select=select, path_floor=path_floor, num_layers=num_layers,
        component_size=component_size, match=match,
        validation=None if validation is None else np.asarray(validation)[None], keys=key[None],
    )[0]  # fmt: skip


def fit_adaptive_runs(
    teachers: Sequence[Sequence[ChainModel]],
    features: ArrayLike,
    *,
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    over: str = "steps",
    select: str = "positive",
    path_floor: float = 0.0,
    num_layers: int = 1,
    component_size: int | None = None,
    match: float = 1.0,
    validation: ArrayLike | None = None,
    keys: jax.Array,
) -> tuple[ChainModel, ...]:
    """R students of `fit_adaptive` side by side.

    Args:
      teachers: for each run M models; all runs have teachers of the same labels, sizes and settings. features: ``(R, N,
        D)``. validation: ``(R, K, D)`` or none. keys: typed ``(R,)``. The others as for `fit_adaptive`.

    Returns:
      R students.

    Raises:
      AmalgamationError: as for `fit_adaptive`.
    """
    runs = check_runs(
        teachers, features, hidden_size=hidden_size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        over=over, select=select, path_floor=path_floor, num_layers=num_layers, validation=validation, keys=keys,
        same_layers=True,
    )  # fmt: skip
    match, labels, num_features = positive("match", match), len(runs.label_names), runs.features.shape[-1]
    width = check_count("component_size", hidden_size if component_size is None else component_size)
    chain = dataclasses.replace(runs.student, network=LabelChain(1, width, num_layers))
    first, maps, orders, student, student_maps, again = split_keys(keys, 6)
    starts = init_chains(chain.network, num_features, jnp.concatenate(split_keys(first, labels)))
    shapes = [(len(own), width, size) for own, size in zip(runs.columns, runs.sizes, strict=True)]
    params = {
        "components": jax.tree.map(lambda leaf: np.stack(np.split(np.asarray(leaf), labels), 1), starts),
        "maps": first_linears(maps, shapes),
    }
    rows = _followed(runs.columns, labels, teacher_rows(runs, runs.features))
    held = None if runs.held is None else _followed(runs.columns, labels, teacher_rows(runs, runs.held))
    follow = _ComponentLoss(chain, runs.columns, match)
    components = train_runs(follow, params, rows, keys=orders, validation=held, **runs.training)[0]["components"]
    params = {
        "student": init_chains(runs.student.network, num_features, student),
        "maps": first_linears(student_maps, [(labels, hidden_size, width)])[0],
    }
    rows = _said(chain, components, runs.features)
    held = None if runs.held is None else _said(chain, components, runs.held)
    imitate = _StudentLoss(runs.student, over, match)
    params, _ = train_runs(imitate, params, rows, keys=again, validation=held, **runs.training)
    return models_of(runs, params["student"])


def _followed(columns: Sequence[Sequence[int]], num_labels: int, rows: Rows) -> dict[str, np.ndarray]:
    """What the components learn from."""
    teacher, logits = surest_teacher(rows.logits, columns, num_labels)
    states = {f"state_{t}": state for t, state in enumerate(rows.states)}
    return {"features": rows.features, "surest": teacher, "targets": expit(logits), **states}


def _said(chain: ChainApply, components: Any, features: np.ndarray) -> dict[str, np.ndarray]:
    """What the student learns from: the components' probabilities and hidden states, one run after the other."""
    host = jax.tree.map(np.asarray, components)
    said = [
        _component_outputs(chain, jax.tree.map(lambda leaf, run=run: leaf[run], host), rows)  # type: ignore[misc]
        for run, rows in enumerate(features)
    ]
    logits, states = (np.stack(part) for part in zip(*said, strict=True))
    return {"features": features, "targets": expit(logits), "states": states}


@functools.partial(jax.jit, static_argnums=0)
def _component_outputs(chain: ChainApply, components: Any, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits ``(B, L)`` and hidden states ``(B, L, H)`` of L components, leaves ``(L, ...)``."""
    output = jax.vmap(chain, (0, None))(components, features)
    return output.final_logits[..., 0].T, jnp.swapaxes(output.hidden[:, :, 0], 0, 1)
