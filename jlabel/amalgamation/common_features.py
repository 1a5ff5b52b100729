"""CFL: a student that imitates its teachers' predictions, and their hidden states in one common space."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.amalgamation.checks import check_count
from jlabel.amalgamation.model import ChainApply, ChainModel, init_chains
from jlabel.amalgamation.objective import chain_loss
from jlabel.amalgamation.teacher_runs import (
    Rows,
    Runs,
    check_runs,
    first_linears,
    linear,
    models_of,
    positive,
    row_mean,
    split_keys,
    target_arrays,
    teacher_rows,
)
from jlabel.amalgamation.train import train_runs

__all__ = ["fit_common_features", "fit_common_features_runs"]

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, as multiples of the mean squared distance


@jax.jit
def kernel_distance(first: ArrayLike, second: ArrayLike, weights: ArrayLike) -> jax.Array:
    """Squared maximum mean discrepancy of two samples, under a mean of Gaussian kernels of several widths.

    ``MMD^2 = sum_ij w_i w_j (k(a_i, a_j) + k(b_i, b_j) - 2 k(a_i, b_j))``, ``w`` summing to 1, at least 0; ``k(u, v) =
    mean_q exp(-|u - v|^2 / (q s))`` with q = 1/4, 1/2, 1, 2, 4 and s the mean squared distance of two different members
    of the joint sample, through which no gradient passes.

    Args:
      first: a, ``(B, F)``. second: b, ``(B, F)``. weights: ``(B,)``, at least 0; rows of weight 0 do not count.

    Returns:
      A scalar in [0, 2].

    Example:
      >>> round(float(kernel_distance([[0.0]], [[1.0]], [1.0])), 4)  # two points at distance 1: 2 - 2 mean(exp(-1 / q))
      1.2373

    Source: Gretton et al., "A kernel two-sample test", 2012; Luo et al. 2019, section 3.3 (common feature space).
    """
    joint = jnp.concatenate([jnp.asarray(first), jnp.asarray(second)])
    joint = joint - jnp.mean(joint, axis=0, keepdims=True)  # distances stay, and rounding hurts them less
    weight = jnp.asarray(weights) / jnp.maximum(jnp.sum(jnp.asarray(weights)), 1e-12)
    half = jnp.concatenate([weight, weight]) / 2
    norms = jnp.sum(joint**2, -1)
    squares = jnp.maximum(norms[:, None] + norms[None] - 2 * joint @ joint.T, 0.0)
    pairs = half[:, None] * half[None] * (1 - jnp.eye(len(half)))
    scale = jax.lax.stop_gradient(jnp.sum(pairs * squares) / jnp.maximum(jnp.sum(pairs), 1e-12))
    kernel = sum(jnp.exp(-squares / jnp.maximum(q * scale, 1e-12)) for q in WIDTHS) / len(WIDTHS)
    signed = jnp.concatenate([weight, -weight])
    return jnp.maximum(jnp.einsum("i,ij,j->", signed, kernel, signed), 0.0)


@dataclasses.dataclass(frozen=True)
class _Loss:
    """Target loss, distance in the common space, and loss of the rebuilt states; equal ones share their programs."""

    chain: ChainApply
    over: str
    match: float
    rebuild: float
    num_teachers: int

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        output = self.chain(params["student"], batch["features"])
        weights = batch["weight"]
        total = chain_loss(output, batch["targets"], over=self.over, weights=weights)
        own = linear(params["map"], output.hidden[:, -1])
        for t, maps in enumerate(params["teachers"]):
            state = batch[f"state_{t}"]
            mapped = linear(maps["map"], state)
            rebuilt = row_mean(jnp.mean((linear(maps["rebuild"], mapped) - state) ** 2, axis=-1), weights)
            distance = kernel_distance(own, mapped, weights)
            total += (self.match * distance + self.rebuild * rebuilt) / self.num_teachers
        return total


def fit_common_features(
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
    common_size: int | None = None,
    match: float = 1.0,
    rebuild: float = 1.0,
    validation: ArrayLike | None = None,
    key: jax.Array,
) -> ChainModel:
    """CFL: imitate the teachers' mean logits, and their last hidden states in a common space.

    ``chain_loss(student, sigmoid(mean_m v_m)) + mean_m (match MMD^2(A h, A_m h_m) + rebuild |B_m A_m h_m - h_m|^2 /
    H_m)``, where h is the student's hidden state after the last step, h_m that of teacher m, MMD^2 is `kernel_distance`
    over the rows of a batch, and A, A_m, B_m are linear maps (with offsets) that are learned along. Without the
    rebuilding the maps could agree by losing what the states hold.

    Args:
      teachers: M models of `fit_chain`. features: ``(N, D)``, as all teachers take them.
      hidden_size, epochs, batch_size, learning_rate, over, select, path_floor, num_layers: of the student; see
        `fit_chain`.
      common_size: F, size of the common space; none: ``hidden_size``. match, rebuild: weights of the two parts, 0 or
        more.
      validation: features of other rows, ``(K, D)``; the parameters of the epoch with the lowest loss there are kept.
      key: typed.

    Returns:
      The student, its labels in the order of `label_union`.

    Raises:
      AmalgamationError: a teacher that is no chain, or what cannot be trained on, with its place.

    Source: Luo et al., "Knowledge amalgamation from heterogeneous networks by common feature learning", 2019.
    """
    return fit_common_features_runs(
        [tuple(teachers)], np.asarray(features)[None], hidden_size=hidden_size, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, over=over, select=select, path_floor=path_floor, num_layers=num_layers,
        common_size=common_size, match=match, rebuild=rebuild,
        validation=None if validation is None else np.asarray(validation)[None], keys=key[None],
    )[0]  # fmt: skip


def fit_common_features_runs(
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
    common_size: int | None = None,
    match: float = 1.0,
    rebuild: float = 1.0,
    validation: ArrayLike | None = None,
    keys: jax.Array,
) -> tuple[ChainModel, ...]:
    """R students of `fit_common_features` side by side.

    Args:
      teachers: for each run M models; all runs have teachers of the same labels, sizes and settings. features: ``(R, N,
        D)``. validation: ``(R, K, D)`` or none. keys: typed ``(R,)``. The others as for `fit_common_features`.

    Returns:
      R students.

    Raises:
      AmalgamationError: as for `fit_common_features`.
    """
    runs = check_runs(
        teachers, features, hidden_size=hidden_size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        over=over, select=select, path_floor=path_floor, num_layers=num_layers, validation=validation, keys=keys,
        same_layers=False,
    )  # fmt: skip
    common = check_count("common_size", hidden_size if common_size is None else common_size)
    loss = _Loss(runs.student, over, positive("match", match), positive("rebuild", rebuild), len(runs.label_sets))
    first, maps, orders = split_keys(keys, 3)
    own, *others = first_linears(
        maps,
        [(hidden_size, common), *((size, common) for size in runs.sizes), *((common, size) for size in runs.sizes)],
    )
    pairs = zip(others[: len(runs.sizes)], others[len(runs.sizes) :], strict=True)
    params = {
        "student": init_chains(runs.student.network, runs.features.shape[-1], first),
        "map": own,
        "teachers": [{"map": to, "rebuild": back} for to, back in pairs],
    }
    arrays = _arrays(runs, teacher_rows(runs, runs.features))
    held = None if runs.held is None else _arrays(runs, teacher_rows(runs, runs.held))
    params, _ = train_runs(loss, params, arrays, keys=orders, validation=held, **runs.training)
    return models_of(runs, params["student"])


def _arrays(runs: Runs, rows: Rows) -> dict[str, np.ndarray]:
    return {**target_arrays(runs, rows), **{f"state_{t}": state for t, state in enumerate(rows.states)}}
