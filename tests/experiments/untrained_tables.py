"""Stand-ins for networks on tables, so that tests of studies compile nothing."""

from typing import Any

import jax
import numpy as np
from scipy.special import expit

from jlabel.tabular import Pretrained, Problem, Table, TabTransformer, TunedFit, fit_encoder, fit_tuned

HOST = ("prior", "logistic", "gbdt", "gbdt_pl")


class Line:
    """A random line for each run, which knows nothing of the labels but how many there are."""

    def __init__(self, problem: Problem, key: jax.Array, pretrained: bool):
        seeds = np.asarray(jax.random.key_data(key))
        self.weights = [
            np.random.default_rng([*seed, problem.labelled.shape[1], pretrained]).standard_normal(problem.num_values)
            for seed in seeds
        ]

    def predict_proba(self, table: Table) -> np.ndarray:
        """Of two classes."""
        return np.stack([np.stack([expit(-table.values @ w), expit(table.values @ w)], 1) for w in self.weights])


def tuned(method: str, problem: Problem, *, rounds: int, key: Any, **settings: Any) -> TunedFit:
    """What scikit-learn fits is fitted."""
    if method in HOST:
        return fit_tuned(method, problem, rounds=rounds, key=key, **settings)
    runs = problem.num_runs
    line = Line(problem, key, settings.get("pretrained") is not None)
    return TunedFit((line,), ({},), np.zeros(runs, int), np.full((1, runs), 0.4), True)


def pretrained(frame: Any, *, objective: Any, columns: Any, key: Any, **_: Any) -> Pretrained:
    """An encoder of the rows, and numbers that tell how many these were."""
    encoder = fit_encoder(frame, columns)
    network = TabTransformer(encoder.cardinalities, encoder.num_values, 1, 8, 1, 2)
    return Pretrained(encoder, network, {"params": {"rows": np.array([len(frame)])}}, objective)
