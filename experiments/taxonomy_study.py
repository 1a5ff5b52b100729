"""Studies of relations with known truth: every rule and baseline against it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_cross import Crossed, cross_domains
from experiments.taxonomy_data import Domain
from jlabel.data import from_arrays
from jlabel.data.concept_domains import concept_domains
from jlabel.evaluation import Row, make_row
from jlabel.taxonomy import (
    METHODS,
    EdgeIntervals,
    Relations,
    RelationScores,
    clear_relations,
    edge_intervals,
    find_relations,
    relation_scores,
    relations_by_name,
    sweep_relations,
    sweep_scores,
)

__all__ = ["METRICS", "Found", "World", "embedded_worlds", "score_worlds", "study_rows", "train_worlds"]

METRICS = {"edr": "EDR", "precision": "precision", "recall": "recall", "f1": "F1"}


class World(NamedTuple):
    """Domains of one seed and the true relations between their classes."""

    domains: tuple[Domain, ...]
    truth: Relations


class Found(NamedTuple):
    """One seed: what the models said, relations by rule or baseline with their scores, and those of the sweep."""

    world: World
    crossed: Crossed
    relations: Mapping[str, Relations]
    intervals: EdgeIntervals
    scores: Mapping[str, RelationScores]
    curves: Mapping[str, Sequence[RelationScores]]


def embedded_worlds(config: TaxonomyConfig, seeds: Sequence[int], *, shift: float) -> list[World]:
    """Generated domains of each seed."""
    worlds = []
    for seed in seeds:
        drawn = concept_domains(
            seed, class_size=config.class_size, rows_per_concept=config.rows_per_concept, noise=config.noise,
            shift=shift,
        )  # fmt: skip
        domains = []
        for d, name in enumerate(drawn.domains):
            sources = {
                part: from_arrays(
                    {"features": drawn.features[d][part], "label": drawn.labels[d][part]},
                    label_names=drawn.class_names[d],
                )
                for part in drawn.features[d]
            }
            domains.append(Domain(name, drawn.class_names[d], drawn.features[d], drawn.labels[d], sources))
        worlds.append(World(tuple(domains), Relations(drawn.domains, drawn.class_names, drawn.truth)))
    return worlds


def train_worlds(worlds: Sequence[World], config: TaxonomyConfig) -> list[Crossed]:
    """Every domain's network of every seed, on the other domains' rows."""
    return cross_domains(
        [world.domains for world in worlds], config.runs, hidden=config.hidden, steps=config.steps,
        batch_size=config.batch_size, learning_rate=config.learning_rate,
    )  # fmt: skip


def score_worlds(worlds: Sequence[World], crossed: Sequence[Crossed], config: TaxonomyConfig) -> list[Found]:
    """Relations by every rule, with and without their doubtful edges, and by every baseline, against the truth."""
    return [_score(world, one, config) for world, one in zip(worlds, crossed, strict=True)]


def _score(world: World, crossed: Crossed, config: TaxonomyConfig) -> Found:
    truth, cross = world.truth, crossed.cross(soft=config.soft)
    names = {"domains": truth.domains, "class_names": truth.class_names}
    intervals = edge_intervals(crossed.counts())
    relations: dict[str, Relations] = {
        method: find_relations(cross, **names, **{**config.rule, "method": method})  # type: ignore[arg-type]
        for method in METHODS
    }
    relations |= {f"{method}, clear edges": clear_relations(relations[method], intervals) for method in METHODS}
    relations["equal names"] = relations_by_name(truth.domains, truth.class_names)
    relations["no edges"] = Relations(truth.domains, truth.class_names, np.zeros(truth.weights.shape))
    relations["truth (oracle)"] = truth
    swept = sweep_relations(cross, max_relations=config.max_relations, allow_none=config.allow_none)
    scores = {name: relation_scores(one, truth) for name, one in relations.items()}
    curves: dict[str, Sequence[RelationScores]] = dict(sweep_scores(swept, truth).items())
    return Found(world, crossed, relations, intervals, scores, curves)


def study_rows(found: Sequence[Found], split: str) -> list[Row]:
    """Scores of every rule and baseline over seeds."""
    return [
        make_row(name, title, [getattr(one.scores[name], metric) for one in found], split=split)
        for name in found[0].scores
        for metric, title in METRICS.items()
    ]
