"""CFL, FKA and AKA of a study: their weights are chosen like every other setting, on held-out rows."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_training import Fit, Job, settings
from jlabel.amalgamation import ChainModel, fit_adaptive_runs, fit_common_features_runs, fit_filtered_runs

__all__ = ["RIVALS", "rival_options"]

# Function, and the weights to choose from; the one that takes longest first.
RIVALS: dict[str, tuple[Callable[..., Sequence[ChainModel]], tuple[dict[str, float], ...]]] = {
    "AKA": (fit_adaptive_runs, ({"match": 0.1}, {"match": 1.0})),
    "CFL": (fit_common_features_runs, ({"match": 0.1}, {"match": 1.0})),
    "FKA": (fit_filtered_runs, ({},)),
}


def rival_options(name: str, config: AmalgamationConfig) -> dict[str, Fit]:
    """A rival with every weight, batch size and learning rate to choose from."""
    fit_runs, choices = RIVALS[name]

    def fit_with(batch_size: int, rate: float, weights: dict[str, float]) -> Fit:
        def fit(jobs: Sequence[Job]) -> Sequence[ChainModel]:
            return fit_runs(
                [_numbered(job) for job in jobs], np.stack([job.features for job in jobs]),
                validation=np.stack([job.held[0] for job in jobs]), hidden_size=jobs[0].hidden,
                epochs=config.epochs, batch_size=batch_size, learning_rate=rate, over=config.over,
                select=config.select, path_floor=config.path_floor, keys=jnp.stack([job.key for job in jobs]),
                **weights,
            )  # fmt: skip

        return fit

    return {
        ", ".join([setting, *(f"{key} {value:g}" for key, value in weights.items())]): fit_with(batch, rate, weights)
        for setting, batch, rate in settings(config)
        for weights in choices
    }


def _numbered(job: Job) -> list[ChainModel]:
    """Teachers whose labels are numbers of the union's: then those of all seeds look alike."""
    place = {name: str(k) for k, name in enumerate(job.label_names)}
    return [model._replace(label_names=tuple(place[name] for name in model.label_names)) for model in job.teachers]
