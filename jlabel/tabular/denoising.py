"""Swap-noise denoising autoencoder: an MLP learns from rows without labels to undo exchanged cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.tabular.checks import TabularError, check_count, check_number
from jlabel.tabular.fitting import NeuralFit, Training, check_training, init_runs, train_problem
from jlabel.tabular.network import TabTransformer, check_network
from jlabel.tabular.objective import mlm_loss, squared_loss
from jlabel.tabular.problem import Problem, learning_rows, run_keys
from jlabel.tabular.supervised import NetworkOutputs, SupervisedLoss
from jlabel.tabular.train import train_runs

__all__ = ["DenoisingLoss", "fit_denoising", "pretrain_denoising", "reconstruction_loss", "swap_cells"]

_RATE = 0.15  # of cells that are swapped


def fit_denoising(
    problem: Problem,
    *,
    key: jax.Array,
    pretrained: Any = None,
    rate: float = _RATE,
    pretraining_steps: int = 1000,
    embedding_size: int = 32,
    max_hidden: int | None = None,
    **training: Unpack[Training],
) -> NeuralFit:
    """DAE: pre-train an MLP to undo swap noise on the labelled and unlabelled rows, then fine-tune all but its decoder.

    Args:
      problem, key, embedding_size, max_hidden, training: as for `fit_mlp`.
      pretrained: what `pretrain_denoising` gave for the same table and number of runs, for many targets or numbers of
        labels. rate, pretraining_steps: as there.

    Returns:
      The networks.

    Raises:
      TabularError: as `pretrain_denoising`, or a pre-training of another table.

    Source: Jahrer 2018, as Huang et al. 2020, section 3.4, take it.
    """
    check_training(training)
    keys = jax.vmap(lambda own: jax.random.split(own, 3))(run_keys(problem, key))
    if pretrained is None:
        own = keys[:, 0] if problem.batched else keys[0, 0]
        pretrained = pretrain_denoising(
            problem, key=own, rate=rate, steps=pretraining_steps, embedding_size=embedding_size,
            max_hidden=max_hidden, progress=training.get("progress"),
        )  # fmt: skip
    network = _network(problem, problem.num_classes, embedding_size, max_hidden)
    first = init_runs(network, keys[:, 1])
    params = {"params": {**pretrained["params"], "dense_2": first["params"]["dense_2"]}}
    if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, first):
        raise TabularError("pretrained is of another table or number of runs; pre-train on this problem")
    return train_problem(problem, SupervisedLoss(network), NetworkOutputs(network), params, keys=keys[:, 2], **training)


def pretrain_denoising(
    problem: Problem,
    *,
    key: jax.Array,
    rate: float = _RATE,
    steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-5,
    embedding_size: int = 32,
    max_hidden: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Train an MLP to undo swap noise on each run's labelled and unlabelled rows.

    Args:
      problem, key, embedding_size, max_hidden: as for `fit_mlp`. rate: of cells that are swapped, in (0, 1].
      steps, batch_size, learning_rate, weight_decay, progress: of `train_runs`.

    Returns:
      Parameters with leaves ``(R, ...)``, for `fit_denoising`.

    Raises:
      TabularError: keys of another shape, or a setting out of range.
    """
    check_number("rate", rate, high=1.0, open_low=True)
    check_number("learning_rate", learning_rate, open_low=True)
    for name, count in (("pretraining_steps", steps), ("batch_size", batch_size)):
        check_count(name, count)
    network = _network(problem, sum(problem.cardinalities) + problem.num_values, embedding_size, max_hidden)
    keys = jax.vmap(jax.random.split)(run_keys(problem, key))
    found = train_runs(
        DenoisingLoss(network, float(rate)),
        init_runs(network, keys[:, 0]),
        problem.columns,
        {"labelled": learning_rows(problem)},
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        keys=keys[:, 1],
        progress=progress,
    )
    return found.params


def _network(problem: Problem, outputs: int, embedding_size: int, max_hidden: int | None) -> TabTransformer:
    sizes = (problem.cardinalities, problem.num_values, outputs, embedding_size)
    return check_network(TabTransformer(*sizes, num_layers=0, num_heads=1, max_hidden=max_hidden))


@dataclass(frozen=True)
class DenoisingLoss:
    """Loss of a network whose outputs are a row's cells, on rows with swapped cells; see `train_runs`.

    Attributes:
      network: of ``sum(d_i) + c`` outputs. rate: of cells that are swapped.
    """

    network: TabTransformer
    rate: float = _RATE

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over columns."""
        codes, values = swap_cells(key, batch["codes"], batch["values"], rate=self.rate)
        outputs: Any = self.network.apply(params, codes, values)
        return reconstruction_loss(outputs, batch["codes"], batch["values"], cardinalities=self.network.cardinalities)


def swap_cells(
    key: jax.Array, codes: ArrayLike, values: ArrayLike, *, rate: float = _RATE
) -> tuple[jax.Array, jax.Array]:
    """Give each cell, with probability ``rate``, that column's value in another row, drawn uniformly.

    Args:
      key: typed PRNG key. codes: int ``(B, m)``. values: ``(B, c)``. rate: in [0, 1].

    Returns:
      Codes and values of the same shapes; of one row nothing can be swapped.

    Example:
      >>> codes, values = swap_cells(jax.random.key(0), [[1, 2], [3, 4]], [[0.5], [1.5]], rate=1.0)
      >>> codes.tolist(), values.tolist()
      ([[3, 4], [1, 2]], [[1.5], [0.5]])
    """
    codes, values = jnp.asarray(codes), jnp.asarray(values)
    rows, columns = codes.shape
    shape = (rows, columns + values.shape[1])
    which, whose = jax.random.split(key)
    steps = jax.random.randint(whose, shape, 1, max(rows, 2))
    swapped = jax.random.uniform(which, shape) < rate
    other = (np.arange(rows)[:, None] + jnp.where(swapped, steps, 0)) % rows
    return (
        jnp.take_along_axis(codes, other[:, :columns], 0),
        jnp.take_along_axis(values, other[:, columns:], 0),
    )


def reconstruction_loss(
    outputs: ArrayLike, codes: ArrayLike, values: ArrayLike, *, cardinalities: Sequence[int]
) -> jax.Array:
    """Cross-entropy of categories and squared error of numbers: ``(m CE + c SE) / (m + c)``, the mean over columns.

    Args:
      outputs: ``(B, sum(d_i) + c)``, logits of each category column one after the other, then the numbers.
      codes: the true ones ``(B, m)``; d_i, missing, has no part in CE. values: the true ones ``(B, c)``.
      cardinalities: d_i.

    Returns:
      A scalar.

    Example:
      >>> outputs = jnp.zeros((1, 2 + 4 + 1))  # the loss is (ln 2 + ln 4 + 2^2) / 3
      >>> round(float(reconstruction_loss(outputs, [[0, 3]], [[2.0]], cardinalities=(2, 4))), 4)
      2.0265
    """
    outputs, values = jnp.asarray(outputs), jnp.asarray(values)
    sizes = np.asarray(cardinalities, int)
    columns, total = len(sizes), int(sizes.sum())
    loss = jnp.zeros(())
    if columns:
        most = np.arange(sizes.max())
        places = (np.cumsum(sizes) - sizes)[:, None] + np.minimum(most, sizes[:, None] - 1)
        logits = jnp.where((most < sizes[:, None])[None], outputs[:, places], -1e30)
        loss += columns * mlm_loss(logits, codes, jnp.asarray(codes) < jnp.asarray(sizes)[None])
    if values.shape[1]:
        loss += values.shape[1] * squared_loss(outputs[:, total:], values)
    return loss / (columns + values.shape[1])
