"""Label chains with named labels, and their training."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.amalgamation.chain import SELECTIONS, ChainOutput
from jlabel.amalgamation.checks import (
    AmalgamationError,
    check_choice,
    check_count,
    check_features,
    check_label_names,
    check_probs,
    check_unit,
    is_number,
)
from jlabel.amalgamation.network import LabelChain
from jlabel.amalgamation.objective import LOSSES, chain_loss
from jlabel.amalgamation.train import train_runs

__all__ = ["ChainApply", "ChainModel", "fit_chain", "fit_chains"]


class ChainModel(NamedTuple):
    """A trained multi-label model, teacher or student.

    Attributes:
      apply_fn: ``(params, features (B, D), initial_logits=None) -> ChainOutput``; of `fit_chain` a `ChainApply`.
      params: what ``apply_fn`` takes; their tree is in `LabelChain`. label_names: of the L columns. revisable: whether
        ``apply_fn`` takes ``initial_logits`` ``(B, L)``, NaN for its own.
    """

    apply_fn: Callable[..., ChainOutput]
    params: Any
    label_names: tuple[str, ...]
    revisable: bool = True


@dataclasses.dataclass(frozen=True)
class ChainApply:
    """A compiled label chain with its settings; equal ones share their compiled programs.

    Attributes:
      network: the chain. select, path_floor: see `carry_logits`.
    """

    network: LabelChain
    select: str = "positive"
    path_floor: float = 0.0

    def __call__(self, params: Any, features: ArrayLike, initial_logits: ArrayLike | None = None) -> ChainOutput:
        """Features ``(B, D)``, initial logits ``(B, L)`` or none."""
        return _apply(self, params, features, initial_logits)


@functools.partial(jax.jit, static_argnums=0)
def _apply(chain: ChainApply, params: Any, features: Any, initial_logits: Any) -> ChainOutput:
    found: Any = chain.network.apply(params, features, initial_logits, select=chain.select, path_floor=chain.path_floor)
    return found


@dataclasses.dataclass(frozen=True)
class _ChainLoss:
    """The loss of a batch with ``features`` and ``targets``; equal ones share their compiled programs."""

    chain: ChainApply
    over: str

    def __call__(self, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        output = self.chain(params, batch["features"])
        return chain_loss(output, batch["targets"], over=self.over, weights=batch["weight"])


def fit_chain(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    label_names: Sequence[str],
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    over: str = "steps",
    select: str = "positive",
    path_floor: float = 0.0,
    num_layers: int = 1,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    key: jax.Array,
) -> ChainModel:
    """Train a label chain on targets that may be labels or probabilities.

    Args:
      features: ``(N, D)``, finite; standardise them. targets: ``(N, L)`` in [0, 1]. label_names: of the L columns.
      hidden_size: H. epochs, batch_size: the last, incomplete batch of an epoch counts too. learning_rate: Adam's.
      over: "steps" or "final", see `chain_loss`. select, path_floor: see `carry_logits`. num_layers: LSTM cells.
      validation: features and targets of other rows; the parameters of the epoch with the lowest loss there are kept.
      key: typed; of the first parameters and the orders of rows.

    Returns:
      The model. A label whose targets are never above .5 is named in a warning, and trained all the same.

    Raises:
      AmalgamationError: what cannot be trained on, with its place; a loss that is not finite, with its epoch.

    Source: Thadajarassiri et al. 2023, Eq. 6-11.
    """
    names = check_label_names("label_names", label_names)
    x, y, held = _check_rows(("row",), names, features, targets, validation)
    one: Any = jax.tree.map(lambda part: part[None], held)
    return _fit_runs(
        x[None], y[None], one, names, hidden_size=hidden_size, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, over=over, select=select, path_floor=path_floor, num_layers=num_layers,
        keys=key[None],
    )[0]  # fmt: skip


def fit_chains(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    label_names: Sequence[str],
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    over: str = "steps",
    select: str = "positive",
    path_floor: float = 0.0,
    num_layers: int = 1,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    keys: jax.Array,
) -> tuple[ChainModel, ...]:
    """Train R label chains of the same sizes side by side: seeds, splits, or targets of several methods.

    The same as `fit_chain` R times, up to rounding, in one program.

    Args:
      features: ``(R, N, D)``. targets: ``(R, N, L)``. validation: ``(R, M, D)`` and ``(R, M, L)``. keys: typed
        ``(R,)``. The others are those of `fit_chain`.

    Returns:
      R models.

    Raises:
      AmalgamationError: what cannot be trained on, with its place.
    """
    names = check_label_names("label_names", label_names)
    x, y, held = _check_rows(("run", "row"), names, features, targets, validation)
    if keys.shape != x.shape[:1]:
        raise AmalgamationError(f"keys have shape {keys.shape}: give one typed key for each of the {len(x)} runs")
    return _fit_runs(
        x, y, held, names, hidden_size=hidden_size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        over=over, select=select, path_floor=path_floor, num_layers=num_layers, keys=keys,
    )  # fmt: skip


def _fit_runs(
    x: np.ndarray,
    y: np.ndarray,
    held: dict[str, np.ndarray] | None,
    names: tuple[str, ...],
    *,
    hidden_size: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    over: str,
    select: str,
    path_floor: float,
    num_layers: int,
    keys: jax.Array,
) -> tuple[ChainModel, ...]:
    for run, label in np.argwhere(y.max(1) <= 0.5).tolist():
        where = f" in run {run}" if len(y) > 1 else ""
        warnings.warn(f"label {names[label]!r} is never positive{where}: no target is above .5", stacklevel=3)
    sizes = {"hidden_size": hidden_size, "epochs": epochs, "batch_size": batch_size, "num_layers": num_layers}
    hidden, epochs, batch, layers = (check_count(name, value) for name, value in sizes.items())
    check_choice("over", over, LOSSES)
    check_choice("select", select, SELECTIONS)
    if not is_number(learning_rate) or learning_rate <= 0:
        raise AmalgamationError(f"learning_rate is {learning_rate!r}; allowed: above 0")
    chain = ChainApply(LabelChain(len(names), hidden, layers), select, check_unit("path_floor", path_floor))
    starts, orders = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
    params, _ = train_runs(
        _ChainLoss(chain, over), init_chains(chain.network, x.shape[-1], starts), {"features": x, "targets": y},
        epochs=epochs, batch_size=min(batch, x.shape[1]), learning_rate=learning_rate, keys=orders, validation=held,
    )  # fmt: skip
    runs = [jax.tree.map(lambda leaf, run=run: leaf[run], params) for run in range(len(x))]
    return tuple(ChainModel(chain, own, names) for own in runs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def init_chains(network: LabelChain, num_features: int, keys: jax.Array) -> Any:
    """First parameters of R chains, leaves ``(R, ...)``."""
    return jax.vmap(lambda key: network.init(key, jnp.zeros((1, num_features))))(keys)


def _check_rows(
    axes: tuple[str, ...],
    names: Sequence[str],
    features: ArrayLike,
    targets: ArrayLike,
    validation: tuple[ArrayLike, ArrayLike] | None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray] | None]:
    """Features, targets, and the same of the validation rows."""
    x = check_features("features", features, axes=(*axes, "column"))
    y = check_probs("targets", targets, names, axes=(*axes, "label"))
    _check_lengths("features", x, "targets", y)
    if validation is None:
        return x, y, None
    held_x = check_features("validation features", validation[0], axes=(*axes, "column"), num_columns=x.shape[-1])
    held_y = check_probs("validation targets", validation[1], names, axes=(*axes, "label"))
    _check_lengths("validation features", held_x, "validation targets", held_y)
    if held_x.shape[:-2] != x.shape[:-2]:
        raise AmalgamationError(f"validation features have {len(held_x)} runs, features {len(x)}: give the same runs")
    return x, y, {"features": held_x, "targets": held_y}


def _check_lengths(features_name: str, x: np.ndarray, targets_name: str, y: np.ndarray) -> None:
    if x.shape[:-1] != y.shape[:-1]:
        raise AmalgamationError(
            f"{features_name} have shape {x.shape}, {targets_name} {y.shape}: give one row of targets for each row"
        )
    if not x.size:
        raise AmalgamationError(f"{features_name} have shape {x.shape}: there is no row to train on")
