"""The rows of a study of universal models: one pool of features, and for each seed which of them are what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.taxonomy_data import PARTS, Domain, load_domains, training_rows
from experiments.universal_config import UniversalConfig
from jlabel import InputError
from jlabel.data.concept_domains import concept_domains
from jlabel.taxonomy import Relations

__all__ = ["Problem", "Study", "generated_study", "own_study"]

SIZE_STD = 0.5  # of a generated class's number of concepts


class Problem(NamedTuple):
    """One seed: its classes and row numbers of the pool, in order of domains; `truth` where it is known."""

    seed: int
    domains: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    truth: Relations | None

    @property
    def sizes(self) -> list[int]:
        """Classes of each domain."""
        return [len(names) for names in self.class_names]


@dataclass(frozen=True, eq=False)
class Study:
    """All seeds.

    Attributes:
      features: float32 ``[P, F]``, standardised. labels: int ``[P]``, class in the flat order of all domains.
      domain: int ``[P]``, number of the domain. problems: one a seed.
      mean, scale: ``[F]``, how features were standardised, ``(x - mean) / scale``, of the first seed.
      sources: a user's domains, in order.
    """

    features: np.ndarray
    labels: np.ndarray
    domain: np.ndarray
    problems: tuple[Problem, ...]
    mean: np.ndarray
    scale: np.ndarray
    sources: tuple[Domain, ...] = ()

    def own(self, rows: np.ndarray, domain: int) -> np.ndarray:
        """Those of the rows that are of a domain."""
        return rows[self.domain[rows] == domain]

    def own_labels(self, problem: Problem, rows: np.ndarray, domain: int) -> np.ndarray:
        """Classes of a domain's rows in its own list."""
        return self.labels[rows] - sum(problem.sizes[:domain])


def generated_study(config: UniversalConfig, class_size: float) -> Study:
    """Domains of grouped concepts, drawn anew by each seed."""
    parts, problems, first = [], [], 0
    standard: list[tuple[np.ndarray, np.ndarray]] = []
    for seed in config.runs:
        drawn = concept_domains(
            seed, class_size=class_size, class_size_std=SIZE_STD, rows_per_concept=config.rows_per_concept,
            noise=config.noise, shift=config.shift,
        )  # fmt: skip
        features, labels, domain, part = _flat(drawn.features, drawn.labels, [len(n) for n in drawn.class_names])
        standard.append(_standard(features[part == 0]))
        parts.append(((features - standard[-1][0]) / standard[-1][1], labels, domain))
        train, val, test = (np.flatnonzero(part == k) + first for k in range(len(PARTS)))
        truth = Relations(drawn.domains, drawn.class_names, drawn.truth)
        problems.append(Problem(seed, drawn.domains, drawn.class_names, train, val, test, truth))
        first += len(labels)
    pool, classes, owners = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    mean, scale = standard[0]
    return Study(pool, classes, owners, tuple(problems), mean, scale)


def own_study(config: UniversalConfig) -> Study:
    """A user's domains; each seed cuts its own validation rows where the data brings none."""
    domains = load_domains(
        config.domains, encoder=config.encoder, per_class=config.per_class, image_size=config.image_size
    )
    for domain in domains:
        for part in PARTS:
            if not len(domain.labels[part]):
                raise InputError(f"domain {domain.name!r} has no {part} rows; give more rows")
    sizes = [len(domain.class_names) for domain in domains]
    features, labels, number, source_part = _flat([d.features for d in domains], [d.labels for d in domains], sizes)
    names, class_names = tuple(d.name for d in domains), tuple(d.class_names for d in domains)
    problems = []
    for seed in config.runs:
        known, trains = source_part < 2, np.zeros(len(labels), bool)
        for d, domain in enumerate(domains):
            trains[known & (number == d)] = training_rows(domain, seed)
        train, val, test = (np.flatnonzero(rows) for rows in (trains, known & ~trains, ~known))
        problems.append(Problem(seed, names, class_names, train, val, test, None))
    mean, scale = _standard(features[problems[0].train])
    return Study((features - mean) / scale, labels, number, tuple(problems), mean, scale, domains)


def _flat(
    features: Sequence, labels: Sequence, sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, flat classes, domain and part (0 train, 1 val, 2 test) of all rows, domain by domain, part by part."""
    starts = np.cumsum([0, *sizes])
    pieces = [(d, k, features[d][part], labels[d][part]) for d in range(len(sizes)) for k, part in enumerate(PARTS)]
    return (
        np.concatenate([rows for _, _, rows, _ in pieces]),
        np.concatenate([own + starts[d] for d, _, _, own in pieces]),
        np.concatenate([np.full(len(own), d) for d, _, _, own in pieces]),
        np.concatenate([np.full(len(own), k) for _, k, _, own in pieces]),
    )


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean ``[F]`` and one scale ``[F]`` for all: features that vary little say little, and stay small."""
    return features.mean(0), np.full_like(features[0], features.std(0).mean() + 1e-6)
