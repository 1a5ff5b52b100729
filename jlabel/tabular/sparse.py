"""Sparse MLP: train, take away the smallest weights, rewind the others, again; validation chooses how sparse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.tabular.checks import TabularError, check_count, check_number
from jlabel.tabular.fitting import NeuralFit, Training, check_training, init_runs, train_problem
from jlabel.tabular.network import TabTransformer, check_network
from jlabel.tabular.problem import Problem, run_keys
from jlabel.tabular.supervised import NetworkOutputs, SupervisedLoss

__all__ = ["SparseFit", "SparseLoss", "fit_sparse", "prune"]


@dataclass(frozen=True, eq=False)
class SparseFit(NeuralFit):
    """R fitted sparse networks.

    Attributes:
      scores: float64 ``(R, rounds + 1)``, the best validation score of each sparsity, the dense network's first.
      kept: float64 ``(R,)``, share of the dense layers' weights that are not 0.
    """

    kept: np.ndarray


def fit_sparse(
    problem: Problem,
    *,
    key: jax.Array,
    rounds: int = 5,
    share: float = 0.2,
    embedding_size: int = 32,
    max_hidden: int | None = None,
    **training: Unpack[Training],
) -> SparseFit:
    """Iterative magnitude pruning of `fit_mlp`'s network.

    Each round trains from the same first values, then takes away the smallest ``share`` of the remaining weights of all
    dense layers together; biases and embeddings stay. Of the ``rounds + 1`` trained networks, each run keeps the one
    that does best on validation, the denser one of equals.

    Args:
      problem, key, embedding_size, max_hidden, training: as for `fit_mlp`; validation rows are needed.
      rounds: of pruning; ``(1 - share) ** rounds`` of the weights remain in the last. share: in (0, 1).

    Returns:
      The networks; a pruned weight is exactly 0.

    Raises:
      TabularError: no validation rows, or a setting out of range.

    Source: Morcos et al. 2019; Frankle & Carbin 2019.
    """
    check_count("rounds", rounds)
    check_training(training)
    check_number("share", share, high=0.99, open_low=True)
    if problem.validation is None:
        raise TabularError(
            "the sparse MLP chooses its sparsity on validation rows, and the problem has none; give them"
        )
    sizes = (problem.cardinalities, problem.num_values, problem.num_classes, embedding_size)
    network = check_network(TabTransformer(*sizes, num_layers=0, num_heads=1, max_hidden=max_hidden))
    keys = jax.vmap(jax.random.split)(run_keys(problem, key))
    first = init_runs(network, keys[:, 0])
    start, best, curve = first, first, []
    scores, steps, kept = (np.full(problem.num_runs, fill) for fill in (-np.inf, 0, 1.0))
    for round_ in range(rounds + 1):
        found = train_problem(problem, SparseLoss(network), NetworkOutputs(network), start, keys=keys[:, 1], **training)
        score = np.nanmax(found.scores, 1)
        better = score > scores
        best = jax.tree.map(lambda new, old, at=better: np.where(_like(at, new), new, old), found.params, best)
        scores, steps = np.where(better, score, scores), np.where(better, found.best_step, steps)
        kept = np.where(better, _share_kept(start), kept)
        curve.append(score)
        if round_ < rounds:
            start = prune(first, found.params, share=share)
    return SparseFit(NetworkOutputs(network), best, problem.batched, steps, np.stack(curve, 1), kept)


@dataclass(frozen=True)
class SparseLoss:
    """Cross-entropy of a network whose weights of exactly 0 stay there; see `train_runs`.

    A pruned weight gets no gradient, so AdamW's moments, its step and its decay are 0 as well.

    Attributes:
      network: whose dense layers may be pruned.
    """

    network: TabTransformer

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over rows."""
        alive = _map_kernels(lambda kernel: jnp.where(kernel != 0, kernel, 0.0), params)
        return SupervisedLoss(self.network)(alive, batch, key, share)


def prune(first: Any, trained: Any, *, share: float) -> Any:
    """Rewind to the first values, without the smallest trained weights of all dense layers together.

    Args:
      first, trained: parameters with leaves ``(R, ...)``; a trained weight of exactly 0 is gone already.
      share: of each run's remaining weights, rounded down; the smallest go.

    Returns:
      ``first`` with 0 in all weights that are gone.

    Example:
      >>> tree = lambda *weights: {"params": {"dense_0": {"kernel": np.array([[weights]])}}}
      >>> prune(tree(9.0, 8.0, 7.0, 6.0), tree(-3.0, 0.0, 1.0, 2.0), share=0.4)["params"]["dense_0"]["kernel"].tolist()
      [[[9.0, 0.0, 0.0, 6.0]]]
    """
    kernels = _kernels(trained)
    sizes = np.cumsum([kernel[0].size for kernel in kernels])[:-1]
    flat = np.concatenate([np.abs(kernel).reshape(len(kernel), -1) for kernel in kernels], 1)
    alive = flat > 0
    for own, left in zip(flat, alive, strict=True):
        gone = int((~left).sum()) + int(share * left.sum())
        left[np.argpartition(own, gone)[:gone]] = False
    masks = iter(np.split(alive, sizes, 1))
    return _map_kernels(lambda kernel: np.where(next(masks).reshape(kernel.shape), kernel, 0), first)


def _like(flags: np.ndarray, leaf: Any) -> np.ndarray:
    return flags.reshape(-1, *[1] * (np.ndim(leaf) - 1))


def _share_kept(params: Any) -> np.ndarray:
    kernels = _kernels(params)
    count = sum(np.count_nonzero(kernel.reshape(len(kernel), -1), axis=1) for kernel in kernels)
    return count / sum(kernel[0].size for kernel in kernels)


def _kernels(params: Any) -> list[np.ndarray]:
    return [np.asarray(params["params"][name]["kernel"]) for name in sorted(params["params"]) if _dense(name)]


def _map_kernels(change: Callable[[Any], Any], params: Any) -> Any:
    layers = {
        name: {**layer, "kernel": change(layer["kernel"])} if _dense(name) else layer
        for name, layer in sorted(params["params"].items())
    }
    return {**params, "params": layers}


def _dense(name: str) -> bool:
    return name.startswith("dense_")
