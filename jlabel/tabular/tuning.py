"""Random search with the same number of rounds for every method: `TUNING` says over what."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from jlabel.tabular.baselines import BASELINES
from jlabel.tabular.checks import TabularError, check_choice, check_count
from jlabel.tabular.encode import Table
from jlabel.tabular.fitting import Fitted, classification_score
from jlabel.tabular.problem import Problem, run_keys

__all__ = ["TUNING", "LogUniform", "TunedFit", "fit_tuned", "sample_settings"]


class LogUniform(NamedTuple):
    """A number whose logarithm is drawn uniformly, between two ends above 0."""

    low: float
    high: float


# What changes a network's program is drawn from few values, since each is compiled for itself.
_RATES = {"learning_rate": LogUniform(1e-4, 3e-3), "weight_decay": LogUniform(1e-5, 1.0)}
_ENTROPY = {"entropy": (0.01, 0.03, 0.1, 0.3, 1.0)}
_LAYERS = {"dropout": (0.0, 0.1, 0.2, 0.3), "embedding_scale": (None, 0.4, 1.0)}
_BOOSTING = {
    "learning_rate": LogUniform(0.01, 0.3),
    "max_leaf_nodes": (3, 7, 15, 31),
    "min_samples_leaf": (3, 5, 10, 20),
    "l2_regularization": LogUniform(1e-3, 10.0),
}
TUNING: Mapping[str, Mapping[str, LogUniform | tuple[Any, ...]]] = MappingProxyType(
    {
        "prior": {},
        "logistic": {"C": LogUniform(1e-3, 1e2)},
        "gbdt": _BOOSTING,
        "gbdt_pl": _BOOSTING,
        "mlp": _RATES,
        "mlp_er": _RATES | _ENTROPY,
        "mlp_pl": _RATES,
        "mlp_dae": _RATES | {"rate": (0.05, 0.15, 0.3)},
        "sparse_mlp": _RATES | {"share": (0.1, 0.2, 0.4)},
        "vib": _RATES | {"kl_weight": (1e-4, 1e-3, 1e-2), "code_size": (16, 32)},
        "tabnet": {
            "learning_rate": LogUniform(1e-3, 5e-2),
            "weight_decay": LogUniform(1e-5, 1.0),
            "width": (8, 16),
            "num_steps": (3, 5),
        },
        "tabtransformer": _RATES | _LAYERS,
        "tabtransformer_er": _RATES | _LAYERS | _ENTROPY,
        "tabtransformer_pl": _RATES | _LAYERS,
    }
)
"""For each method of `BASELINES` its settings: a range, or values of which each is equally likely."""


def sample_settings(method: str, *, generator: np.random.Generator) -> dict[str, Any]:
    """One draw from a method's ranges.

    Args:
      method: of `TUNING`. generator: draws.

    Returns:
      Keyword arguments of the method's ``fit``.

    Raises:
      TabularError: an unknown method.

    Example:
      >>> sorted(sample_settings("mlp_er", generator=np.random.default_rng(0)))
      ['entropy', 'learning_rate', 'weight_decay']
    """
    check_choice("method", method, tuple(TUNING))
    found: dict[str, Any] = {}
    for name, space in TUNING[method].items():
        if isinstance(space, LogUniform):
            found[name] = float(np.exp(generator.uniform(*np.log(space))))
        else:
            found[name] = space[generator.integers(len(space))]
    return found


@dataclass(frozen=True, eq=False)
class TunedFit:
    """R fits of the settings that did best on each run's validation rows.

    Attributes:
      fits: those that a run chose. settings: theirs. chosen: int ``(R,)``, place of each run's among them.
      scores: float64 ``(rounds + 1, R)``, on validation. batched: whether results have the axis of runs.
    """

    fits: tuple[Fitted, ...]
    settings: tuple[dict[str, Any], ...]
    chosen: np.ndarray
    scores: np.ndarray
    batched: bool

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities float64 ``(N, C)``, of R runs ``(R, N, C)``."""
        found = [fit.predict_proba(table) for fit in self.fits]
        if not self.batched:
            return found[0]
        return np.stack([found[place][run] for run, place in enumerate(self.chosen)])


def fit_tuned(method: str, problem: Problem, *, rounds: int, key: jax.Array, **settings: Any) -> TunedFit:
    """Fit a method with its defaults and with ``rounds`` draws of `sample_settings`; each run keeps what suits it best.

    Args:
      method: of `BASELINES`. problem: with validation rows. rounds: from 0. key: as for `fit_mlp`.
      settings: the same in every round; they outdo what is drawn.

    Returns:
      The chosen fits; all runs try the same draws.

    Raises:
      TabularError: an unknown method, no validation rows, or what the method refuses.
    """
    check_choice("method", method, tuple(BASELINES))
    check_count("rounds", rounds, low=0)
    if problem.validation is None:
        raise TabularError("tuning chooses on validation rows, and the problem has none; give validation")
    keys = run_keys(problem, key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(keys)).ravel())
    fits: dict[int, tuple[Fitted, dict[str, Any]]] = {}
    scores = np.zeros((0, problem.num_runs))
    for place in range(rounds + 1):
        own = (sample_settings(method, generator=generator) if place else {}) | settings
        fits[place] = BASELINES[method](problem, key=key, **own), own
        scores = np.concatenate([scores, _validation_scores(problem, fits[place][0])[None]])
        best = scores.argmax(0)
        fits = {kept: fits[kept] for kept in np.unique(best)}
    chosen = np.searchsorted(list(fits), best)
    found, kept_settings = zip(*fits.values(), strict=True)
    return TunedFit(found, kept_settings, chosen, scores, problem.batched)


def _validation_scores(problem: Problem, fit: Fitted) -> np.ndarray:
    """Scores ``(R,)`` of each run on its validation rows."""
    rows: Any = problem.validation
    at = np.unique(rows[rows >= 0])
    table = Table(problem.table.codes[at], problem.table.values[at], problem.table.unknown)
    probs = fit.predict_proba(table)
    logs = np.log(probs.reshape(problem.num_runs, len(at), -1) + 1e-12)
    found = []
    for own, mine in zip(logs, rows, strict=True):
        mine = mine[mine >= 0]
        found.append(classification_score(own[np.searchsorted(at, mine)], problem.labels[mine]))
    return np.array(found)
