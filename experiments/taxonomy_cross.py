"""A network for each domain and seed, all trained side by side, and what each says of the other domains' rows."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.taxonomy_data import Domain, training_rows
from jlabel.taxonomy import HeadRun, cross_counts, cross_predictions, fit_heads, single_scheme

__all__ = ["Crossed", "cross_domains", "mean_probs"]

EVALUATIONS = 20  # checkpoints of a network to choose from


class Crossed(NamedTuple):
    """What models say of rows that are not their own.

    `probs[a, b]` (N, C_b) is what domain b's model says of rows of domain a, whose classes are `labels[a, b]`: all its
    training and validation rows, in this order, or those a user gave. `accuracy[b]` is that model's on its own
    validation rows; empty where that is not known.
    """

    labels: Mapping[tuple[int, int], np.ndarray]
    probs: Mapping[tuple[int, int], np.ndarray]
    accuracy: tuple[float, ...]

    def cross(self, *, soft: bool = False) -> dict[tuple[int, int], np.ndarray]:
        """Cross-predictions ``(C_a, C_b)`` of each ordered pair; a class without rows has a zero row."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the report names these classes
            return {
                (a, b): cross_predictions(self.labels[a, b], probs, soft=soft, **self._sizes(a, b))
                for (a, b), probs in self.probs.items()
            }

    def counts(self) -> dict[tuple[int, int], np.ndarray]:
        """Rows by class and most probable class, int64 ``(C_a, C_b)`` of each ordered pair."""
        return {
            (a, b): cross_counts(self.labels[a, b], probs, **self._sizes(a, b)) for (a, b), probs in self.probs.items()
        }

    def _sizes(self, a: int, b: int) -> dict[str, int]:
        return {"num_classes": self.probs[b, a].shape[1], "num_predicted": self.probs[a, b].shape[1]}


def cross_domains(
    runs: Sequence[Sequence[Domain]], seeds: Sequence[int], *, hidden: int, steps: int, batch_size: int,
    learning_rate: float,
) -> list[Crossed]:  # fmt: skip
    """Train every domain's network for every seed and let it predict the other domains' rows.

    Rows are the training and validation rows of a domain: models of other domains know neither, and test rows, which
    are scored later, stay out. Each network keeps its checkpoint of the best validation accuracy.

    Args:
      runs: the domains of each seed; one list for all of them where the data does not depend on the seed. seeds: R.
      hidden, steps, batch_size, learning_rate: of the networks.

    Returns:
      One `Crossed` a seed.
    """
    pools = [_pool(domains) for domains in runs]
    first = np.cumsum([0, *(len(pool.labels) for pool in pools)])
    features = np.concatenate([pool.features for pool in pools])
    labels = np.concatenate([pool.labels for pool in pools])
    heads, others = [], []
    for r, seed in enumerate(seeds):
        run = r if len(runs) > 1 else 0
        pool, domains = pools[run], runs[run]
        sizes = [len(domain.class_names) for domain in domains]
        for d, domain in enumerate(domains):
            own = first[run] + np.flatnonzero(pool.domain == d)
            trains = training_rows(domain, seed)
            scheme = single_scheme(sizes, d)
            heads.append(HeadRun(scheme, own[trains], own[~trains], seed * len(domains) + d, learning_rate))
            others.append(first[run] + np.flatnonzero(pool.domain != d))
    served = np.arange(len(heads)) % len(runs[0])
    trained = fit_heads(
        features, labels, heads, kind="mlp", hidden=hidden, steps=steps, batch_size=batch_size,
        evaluations=math.gcd(steps, EVALUATIONS),
    )  # fmt: skip
    said = trained.probs(features, others, served.tolist())
    found = []
    for r in range(len(seeds)):
        pool = pools[r if len(runs) > 1 else 0]
        own_labels, probs = {}, {}
        for b in range(len(runs[0])):
            seen = pool.domain[pool.domain != b]
            for a in range(len(runs[0])):
                if a != b:
                    own_labels[a, b] = pool.own_labels[pool.domain == a]
                    probs[a, b] = np.asarray(said[r * len(runs[0]) + b][seen == a], np.float64)
        accuracy = trained.val_accuracy[r * len(runs[0]) : (r + 1) * len(runs[0])]
        found.append(Crossed(own_labels, probs, tuple(accuracy.tolist())))
    return found


def mean_probs(runs: Sequence[Crossed]) -> Crossed:
    """The models of several seeds as one: the mean of their probabilities on the same rows."""
    probs = {pair: np.mean([run.probs[pair] for run in runs], 0) for pair in runs[0].probs}
    accuracy = tuple(float(np.mean([run.accuracy[d] for run in runs])) for d in range(len(runs[0].accuracy)))
    return Crossed(runs[0].labels, probs, accuracy)


class _Pool(NamedTuple):
    """Training and validation rows of all domains of a run, in turn: standardised features ``(N, F)``, classes in the
    flat order (N,), domains (N,), classes in the own domain (N,)."""

    features: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    own_labels: np.ndarray


def _pool(domains: Sequence[Domain]) -> _Pool:
    parts = ("train", "val")
    features = np.concatenate([domain.features[part] for domain in domains for part in parts])
    own = [np.concatenate([domain.labels[part] for part in parts]) for domain in domains]
    starts = np.cumsum([0, *(len(domain.class_names) for domain in domains)])
    scale = features.std(0)
    return _Pool(
        (features - features.mean(0)) / np.where(scale > 1e-6, scale, 1),
        np.concatenate([labels + start for labels, start in zip(own, starts, strict=False)]),
        np.repeat(np.arange(len(domains)), list(map(len, own))),
        np.concatenate(own),
    )
