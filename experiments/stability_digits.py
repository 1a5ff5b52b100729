"""Scikit-learn's digits with planted label errors: twelve models trained on one noisy half, scored on the other."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from jlabel import InputError
from jlabel.confident_learning import (
    RankBootstrap,
    benchmark_sets,
    bootstrap_ranks,
    tally_votes,
)
from jlabel.data.noisy_digits import PAIRS

__all__ = ["MODELS", "SIZES", "WIDTHS", "Scored", "plant_errors", "score_halves", "train_digits", "voted_sets"]

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
NEIGHBOURS = (15, 5, 1)
PIXELS, CLASSES, TRAINED = 64, 10, 898
MODELS = ("linear", *(f"MLP {width}" for width in WIDTHS), *(f"nearest {k}" for k in NEIGHBOURS))
# Stored numbers; nearest neighbours keep the training half whatever k is.
SIZES = np.array(
    [PIXELS * CLASSES + CLASSES]
    + [width * (PIXELS + CLASSES + 1) + CLASSES for width in WIDTHS]
    + [PIXELS * TRAINED] * len(NEIGHBOURS)
)
MLPS = np.arange(1, 1 + len(WIDTHS))
VOTERS, RELIABLE = 5, 0.85  # of the people that the study makes up


class Scored(NamedTuple):
    """Predictions for every row by a model that did not train on it.

    Attributes:
      truth, given: int ``[N]``, labels without and with planted errors. predicted: int ``[M, N]``.
    """

    truth: np.ndarray
    given: np.ndarray
    predicted: np.ndarray

    @property
    def planted(self) -> np.ndarray:
        """The rows with a wrong label, bool ``[N]``."""
        return self.given != self.truth


class Known(NamedTuple):
    """Right or wrong on the rows of P, as `bootstrap_ranks` takes them; `rows` are their places in the data."""

    original: np.ndarray
    corrected: np.ndarray
    correctable: np.ndarray


def plant_errors(labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Labels of which a share ``rate`` is turned into that of the pair."""
    return np.where(np.random.default_rng(seed).random(len(labels)) < rate, np.array(PAIRS)[labels], labels)


def _build(name: str, seed: int, epochs: int) -> Any:
    from sklearn.linear_model import LogisticRegression  # takes a second to import
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    if name == "linear":
        return LogisticRegression(max_iter=200)
    if name.startswith("MLP"):
        return MLPClassifier(int(name.split()[1]), max_iter=epochs, n_iter_no_change=epochs, random_state=seed)
    return KNeighborsClassifier(int(name.split()[1]))


def train_digits(rates: Sequence[float], seeds: Sequence[int], epochs: int) -> dict[float, list[Scored]]:
    """Every model on both halves, for each rate and seed; the seed decides errors, halves and first weights."""
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold

    pixels, truth = load_digits(return_X_y=True)
    pixels = pixels / 16
    found: dict[float, list[Scored]] = {rate: [] for rate in rates}
    jobs: list[Callable[[], None]] = []

    def job(scored: Scored, half: tuple[np.ndarray, np.ndarray], m: int, seed: int) -> Callable[[], None]:
        train, test = half

        def run() -> None:
            model = _build(MODELS[m], seed, epochs).fit(pixels[train], scored.given[train])
            scored.predicted[m, test] = model.predict(pixels[test])
            bar.update()

        return run

    for rate in rates:
        for seed in seeds:
            given = plant_errors(truth, rate, seed)
            scored = Scored(truth, given, np.full((len(MODELS), len(truth)), -1))
            found[rate].append(scored)
            try:
                halves = list(StratifiedKFold(2, shuffle=True, random_state=seed).split(pixels, given))
            except ValueError as error:
                raise InputError(f"rates: {rate} leaves a class without rows for both halves: {error}") from error
            jobs += [job(scored, half, m, seed) for half in halves for m in range(len(MODELS))]
    bar = tqdm(desc="models", total=len(jobs), disable=None, leave=False)
    # One thread a model, two models at a time: matrices this small gain nothing from more.
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is the study's choice
        for _ in pool.map(lambda run: run(), jobs[::-1]):  # the widest first within each half
            pass
    bar.close()
    return found


def known_corrections(scored: Scored) -> Known:
    """Right or wrong on all rows: the planted errors are C, their corrections known."""
    return Known(scored.predicted == scored.given, scored.predicted == scored.truth, scored.planted)


def voted_sets(scored: Scored, flagger: int, threshold: int, seed: int) -> Known | None:
    """Right or wrong as one would know it: a model flags the rows that it disagrees with, made-up people vote.

    Each of five people sees the given and the flagging model's label and answers rightly (given, guessed or neither)
    with probability .85, else anything else. None where no row is correctable.
    """
    guessed = scored.predicted[flagger]
    flagged = guessed != scored.given
    answer = np.where(scored.truth == scored.given, 0, np.where(scored.truth == guessed, 1, 3))[flagged]
    generator = np.random.default_rng([seed, flagger])
    wrong = generator.random((len(answer), VOTERS)) >= RELIABLE
    votes = (answer[:, None] + wrong * generator.integers(1, 4, size=wrong.shape)) % 4
    counts = (votes[:, :, None] == np.arange(4)).sum(1)
    sets = benchmark_sets(tally_votes(counts, threshold=threshold), flagged)
    if not sets.correctable.any():
        return None
    kept = sets.pruned
    labels = np.where(sets.correctable, guessed, scored.given)
    return Known(
        (scored.predicted == scored.given)[:, kept], (scored.predicted == labels)[:, kept], sets.correctable[kept]
    )


def score_halves(known: Known, *, replicates: int, seed: int) -> RankBootstrap:
    """Ranks, correlations and crossings with intervals over rows."""
    return bootstrap_ranks(*known, replicates=replicates, key=jax.random.key(seed))
