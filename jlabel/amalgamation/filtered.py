"""FKA: a student whose LSTM can stand in for each teacher's, behind an adapter."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.amalgamation.model import ChainApply, ChainModel, init_chains
from jlabel.amalgamation.network import LabelChain
from jlabel.amalgamation.objective import chain_loss
from jlabel.amalgamation.teacher_runs import (
    Rows,
    check_runs,
    first_linears,
    models_of,
    row_mean,
    split_keys,
    target_arrays,
    teacher_rows,
)
from jlabel.amalgamation.train import train_runs

__all__ = ["fit_filtered", "fit_filtered_runs"]


def replaced_params(student: Any, adapter: Any, teacher: Any, columns: Sequence[int]) -> Any:
    """The teacher's chain with the student's LSTM and an adapter in place of its own.

    The student's cell reads the teacher's labels in their places of the union: of its weights for [l, y] the columns of
    ``columns`` count, those of other labels would meet zeros. ``h`` is taken to the teacher's width by the adapter and
    read by the teacher's own output layer: ``l_k = W_o (A h_k + a) + b_o``. The teacher's ``l_0 = W x + b`` stays too.

    Args:
      student: parameters of the student's chain, L labels. adapter: ``kernel`` (H, H_t) and ``bias``. teacher: of the
        teacher's chain. columns: for each of its labels, where it stands in the union.

    Returns:
      Parameters of a `LabelChain` of the teacher's labels and the student's width and layers.
    """
    own, parts = student["params"], teacher["params"]
    labels = own["output"]["kernel"].shape[1]
    places, joined = np.asarray(columns), own["layer_0"]["joined"]
    kept = jnp.concatenate([joined[:, places], joined[:, labels + places], joined[:, 2 * labels :]], axis=1)
    output = {
        "kernel": adapter["kernel"] @ parts["output"]["kernel"],
        "bias": adapter["bias"] @ parts["output"]["kernel"] + parts["output"]["bias"],
    }
    return {
        "params": {**own, "layer_0": {**own["layer_0"], "joined": kept}, "initial": parts["initial"], "output": output}
    }


@dataclasses.dataclass(frozen=True)
class _StandIn:
    """Stage 1: squared distance of each teacher's step logits with the student's LSTM and with its own."""

    chains: tuple[ChainApply, ...]
    columns: tuple[tuple[int, ...], ...]

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        total = jnp.zeros(())
        for t, (chain, columns) in enumerate(zip(self.chains, self.columns, strict=True)):
            teacher = jax.lax.stop_gradient(params["teachers"][t])
            replaced = replaced_params(params["student"], params["adapters"][t], teacher, columns)
            squares = (chain(replaced, batch["features"]).step_logits - batch[f"step_logits_{t}"]) ** 2
            total += row_mean(jnp.mean(squares, axis=(1, 2)), batch["weight"])
        return total / len(self.chains)


@dataclasses.dataclass(frozen=True)
class _OutputLoss:
    """Stage 2: the target loss of the student, whose LSTM stays as it is."""

    chain: ChainApply
    over: str

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        fixed = {name: part for name, part in params["params"].items() if name.startswith("layer_")}
        learning = {"params": {**params["params"], **jax.lax.stop_gradient(fixed)}}
        output = self.chain(learning, batch["features"])
        return chain_loss(output, batch["targets"], over=self.over, weights=batch["weight"])


def fit_filtered(
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
    validation: ArrayLike | None = None,
    key: jax.Array,
) -> ChainModel:
    """FKA: learn an LSTM that can replace each teacher's, then an output layer for all labels.

    Stage 1, for each teacher m and each of its steps k: ``mean |l'_k - l_k|^2``, where l are the teacher's step logits
    and l' those of `replaced_params`: the student's LSTM runs through the labels of this teacher, in as many steps, and
    reads its own predictions of them. LSTM and adapters learn; the teachers stay. Stage 2: the student's own
    ``W x + b`` and output layer learn ``sigmoid(mean_m v_m)`` by `chain_loss`, now for all labels; its LSTM stays.

    Args:
      teachers: M models of `fit_chain` with as many layers as the student. features: ``(N, D)``, as all teachers take
        them.
      epochs: of each stage. hidden_size, batch_size, learning_rate, over, select, path_floor, num_layers: of the
        student; see `fit_chain`. Teachers keep their own ``select`` and ``path_floor``.
      validation: features of other rows, ``(K, D)``; each stage keeps the parameters of the epoch with the lowest loss
        there.
      key: typed.

    Returns:
      The student, its labels in the order of `label_union`.

    Raises:
      AmalgamationError: a teacher that is no chain or has another number of layers, or what cannot be trained on.

    Source: Ye et al., "Amalgamating filtered knowledge", 2019, for one block, the whole LSTM.
    """
    return fit_filtered_runs(
        [tuple(teachers)], np.asarray(features)[None], hidden_size=hidden_size, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, over=over, select=select, path_floor=path_floor, num_layers=num_layers,
        validation=None if validation is None else np.asarray(validation)[None], keys=key[None],
    )[0]  # fmt: skip


def fit_filtered_runs(
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
    validation: ArrayLike | None = None,
    keys: jax.Array,
) -> tuple[ChainModel, ...]:
    """R students of `fit_filtered` side by side.

    Args:
      teachers: for each run M models; all runs have teachers of the same labels, sizes and settings. features: ``(R, N,
        D)``. validation: ``(R, K, D)`` or none. keys: typed ``(R,)``. The others as for `fit_filtered`.

    Returns:
      R students.

    Raises:
      AmalgamationError: as for `fit_filtered`.
    """
    runs = check_runs(
        teachers, features, hidden_size=hidden_size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        over=over, select=select, path_floor=path_floor, num_layers=num_layers, validation=validation, keys=keys,
        same_layers=True,
    )  # fmt: skip
    rows = teacher_rows(runs, runs.features)
    held = None if runs.held is None else teacher_rows(runs, runs.held)
    first, adapters, orders, again = split_keys(keys, 4)
    stand_in = _StandIn(
        tuple(
            dataclasses.replace(chain, network=LabelChain(len(own), hidden_size, num_layers))
            for chain, own in zip(runs.chains, runs.label_sets, strict=True)
        ),
        runs.columns,
    )
    params = {
        "student": init_chains(runs.student.network, runs.features.shape[-1], first),
        "adapters": first_linears(adapters, [(hidden_size, size) for size in runs.sizes]),
        "teachers": [
            jax.tree.map(lambda *leaves: np.stack(leaves), *(m.params for m in own))
            for own in zip(*runs.teachers, strict=True)
        ],
    }
    params, _ = train_runs(
        stand_in, params, _step_arrays(rows), keys=orders, validation=held and _step_arrays(held), **runs.training
    )
    student, _ = train_runs(
        _OutputLoss(runs.student, over), params["student"], target_arrays(runs, rows), keys=again,
        validation=held and target_arrays(runs, held), **runs.training,
    )  # fmt: skip
    return models_of(runs, student)


def _step_arrays(rows: Rows) -> dict[str, np.ndarray]:
    return {"features": rows.features, **{f"step_logits_{t}": part for t, part in enumerate(rows.step_logits)}}
