"""Networks of a study: alike ones trained side by side, settings chosen on held-out rows, each group a kept cell."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_files import chain_apply, load_models, store_models
from experiments.cells import Cells
from jlabel.amalgamation import ChainModel, fit_chains, predict_probs

__all__ = ["Fit", "Job", "Trained", "chain_options", "settings", "train_jobs"]


class Job(NamedTuple):
    """One network to train.

    Attributes:
      features, targets: ``(N, D)``, ``(N, L)`` in [0, 1]. held: the same of the rows that the epoch is chosen on.
      label_names: of the L columns. hidden: width. key: of first parameters and orders. teachers: where needed.
    """

    features: np.ndarray
    targets: np.ndarray
    held: tuple[np.ndarray, np.ndarray]
    label_names: tuple[str, ...]
    hidden: int
    key: jax.Array
    teachers: tuple[ChainModel, ...] = ()


class Trained(NamedTuple):
    """A network, its settings, and the cross-entropy of its probabilities with its targets on held-out rows."""

    model: ChainModel
    option: str
    loss: float


Fit = Callable[[Sequence[Job]], Sequence[ChainModel]]


def chain_options(config: AmalgamationConfig, epochs: int) -> dict[str, Fit]:
    """Label chains trained on their targets, with every batch size and learning rate to choose from."""

    def fit_with(batch_size: int, rate: float) -> Fit:
        def fit(jobs: Sequence[Job]) -> Sequence[ChainModel]:
            return fit_chains(
                np.stack([job.features for job in jobs]), np.stack([job.targets for job in jobs]),
                validation=(np.stack([job.held[0] for job in jobs]), np.stack([job.held[1] for job in jobs])),
                label_names=jobs[0].label_names, hidden_size=jobs[0].hidden, keys=jnp.stack([job.key for job in jobs]),
                epochs=epochs, batch_size=batch_size, learning_rate=rate, over=config.over, select=config.select,
                path_floor=config.path_floor,
            )  # fmt: skip

        return fit

    return {name: fit_with(batch, rate) for name, batch, rate in settings(config)}


def settings(config: AmalgamationConfig) -> list[tuple[str, int, float]]:
    """Name, batch size and learning rate of each setting."""
    return [
        (f"batch {batch}, rate {rate:g}", batch, rate)
        for batch, rate in itertools.product(config.batches, config.learning_rate)
    ]


def train_jobs(
    cells: Cells, name: str, jobs: Sequence[Job], options: Mapping[str, Fit], config: AmalgamationConfig
) -> list[Trained]:
    """Train networks, each with the option that does best on its held-out rows.

    Networks alike in their sizes train side by side, at most `config.side_by_side` of them.

    Returns:
      As many as jobs, in their order.
    """
    groups: dict[tuple, list[int]] = {}
    for k, job in enumerate(jobs):
        groups.setdefault((job.features.shape, job.targets.shape, job.held[0].shape, job.hidden), []).append(k)
    found: dict[int, Trained] = {}
    for number, members in enumerate(groups.values()):
        for start in range(0, len(members), config.side_by_side):
            chunk = members[start : start + config.side_by_side]
            own = [jobs[k] for k in chunk]
            arrays = cells.get(f"{name} {number} {start}", lambda own=own: _train(own, options))  # type: ignore[misc]
            apply_fn = chain_apply(
                own[0].targets.shape[1], own[0].hidden, select=config.select, path_floor=config.path_floor
            )
            models = load_models(arrays, apply_fn, [job.label_names for job in own])
            for k, model, option, loss in zip(chunk, models, arrays["option"], arrays["loss"], strict=True):
                found[k] = Trained(model, str(option), float(loss))
    return [found[k] for k in range(len(jobs))]


def _train(jobs: Sequence[Job], options: Mapping[str, Fit]) -> dict[str, np.ndarray]:
    """Every job with every option; of each the best, as arrays."""
    best: list[Trained] = []
    for option, fit in options.items():
        models = fit(jobs)
        found = [Trained(model, option, held_loss(model, *job.held)) for model, job in zip(models, jobs, strict=True)]
        best = [min(pair, key=lambda one: one.loss) for pair in zip(best or found, found, strict=True)]
    return {
        **store_models([one.model for one in best]),
        "option": np.array([one.option for one in best]),
        "loss": np.array([one.loss for one in best]),
    }


def held_loss(model: ChainModel, features: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy of the model's probabilities with targets."""
    probs = np.clip(np.asarray(predict_probs(model, features), np.float64), 1e-7, 1 - 1e-7)
    return float(-(targets * np.log(probs) + (1 - targets) * np.log1p(-probs)).mean())
