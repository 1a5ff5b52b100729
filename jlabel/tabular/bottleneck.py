"""Variational information bottleneck: classes from a Gaussian code of the row that keeps little else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import optax

from jlabel.tabular.checks import check_count, check_number
from jlabel.tabular.fitting import NeuralFit, Training, check_training, init_runs, train_problem
from jlabel.tabular.network import TabTransformer, check_network
from jlabel.tabular.objective import gaussian_kl
from jlabel.tabular.problem import Problem, run_keys

__all__ = ["BottleneckLoss", "BottleneckOutputs", "fit_bottleneck"]


def fit_bottleneck(
    problem: Problem,
    *,
    key: jax.Array,
    kl_weight: float = 1e-3,
    code_size: int = 32,
    embedding_size: int = 32,
    max_hidden: int | None = None,
    **training: Unpack[Training],
) -> NeuralFit:
    """VIB: an MLP gives mean and deviation of a code, a linear layer the classes of a sample of it.

    Training takes one sample and adds ``kl_weight`` times the code's divergence from N(0, 1); prediction takes
    the mean.

    Args:
      problem, key, embedding_size, max_hidden, training: as for `fit_mlp`.
      kl_weight: from 0. code_size: K, numbers of the code.

    Returns:
      The networks.

    Raises:
      TabularError: keys of another shape, or a setting out of range.

    Source: Alemi et al. 2017.
    """
    check_number("kl_weight", kl_weight)
    check_count("code_size", code_size)
    check_training(training)
    keys = jax.vmap(lambda own: jax.random.split(own, 3))(run_keys(problem, key))
    sizes = (problem.cardinalities, problem.num_values, 2 * code_size, embedding_size)
    encoder = check_network(TabTransformer(*sizes, num_layers=0, num_heads=1, max_hidden=max_hidden))
    shape = (problem.num_runs, code_size, problem.num_classes)
    params = {
        "encoder": init_runs(encoder, keys[:, 0]),
        "kernel": jax.vmap(lambda own: jax.random.normal(own, shape[1:]) / jnp.sqrt(code_size))(keys[:, 1]),
        "bias": jnp.zeros((problem.num_runs, problem.num_classes)),
    }
    loss = BottleneckLoss(encoder, float(kl_weight))
    return train_problem(problem, loss, BottleneckOutputs(encoder), params, keys=keys[:, 2], **training)


@dataclass(frozen=True)
class BottleneckLoss:
    """Cross-entropy of one sample's classes plus the weighted divergence of the code, summed over it; see `train_runs`.

    Attributes:
      encoder: of ``2 K`` outputs, means and logarithms of deviations. kl_weight: of the divergence.
    """

    encoder: TabTransformer
    kl_weight: float = 1e-3

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over rows."""
        mean, log_std = _code(self.encoder, params, batch)
        sample = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        logits = sample @ params["kernel"] + params["bias"][None]
        fit = optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"])
        return jnp.mean(fit + self.kl_weight * gaussian_kl(mean, log_std).sum(1))


@dataclass(frozen=True)
class BottleneckOutputs:
    """``(params, columns) -> logits (n, C)`` of the code's mean.

    Attributes:
      encoder: as in `BottleneckLoss`.
    """

    encoder: TabTransformer

    def __call__(self, params: Any, columns: Mapping[str, jax.Array]) -> jax.Array:
        """The same every time."""
        return _code(self.encoder, params, columns)[0] @ params["kernel"] + params["bias"][None]


def _code(encoder: TabTransformer, params: Any, columns: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    found: Any = encoder.apply(params["encoder"], columns["codes"], columns["values"])
    mean, log_std = jnp.split(found, 2, 1)
    return mean, log_std
