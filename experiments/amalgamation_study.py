"""Every method of a study on every seed: teachers, targets, students side by side, predictions of the test rows."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.amalgamation_config import HARD, LEARNED, AmalgamationConfig
from experiments.amalgamation_data import Part, Problem
from experiments.amalgamation_rivals import RIVALS, rival_options
from experiments.amalgamation_training import Job, Trained, chain_options, train_jobs
from experiments.cells import Cells
from jlabel.amalgamation import (
    ChainModel,
    TransferResult,
    earn_trust,
    frequent_set,
    mean_logit_targets,
    predict_labels,
    transfer_targets,
    vote_targets,
)
from jlabel.evaluation import hamming_loss, multilabel_f1, subset_loss

__all__ = ["METRICS", "OURS", "REFERENCES", "Outcome", "Transfers", "run_part"]

METRICS = ("subset loss", "Hamming loss", "micro F1", "macro F1")
OURS = ("ANT", "ANT label-free trust", "ANT earned trust", "ANT earned trust hard", "ANT targets, no student")
REFERENCES = ("oracle", "all-negative", "most frequent set", "Bayes, marginals", "Bayes, joint mode")
THREADS = 2  # networks this small keep one core busy each
Progress = Callable[[str], None]


class Transfers(NamedTuple):
    """What ANT's teachers told each other about a seed's transfer rows.

    Attributes:
      rows: their number. disagreement: shared label to share of rows. sources: shared label to transfers by source.
      competent: share of the transfers of damaged labels that come from a teacher with undamaged labels, or NaN.
      revised: share of rows on which a teacher predicted again.
    """

    rows: int
    disagreement: Mapping[str, float]
    sources: Mapping[str, Mapping[int, int]]
    competent: float
    revised: float


class Outcome(NamedTuple):
    """A part's results, S seeds.

    Attributes:
      scores: method to metric to ``(S,)``. transfers: a seed each. trained: what became of every network.
    """

    scores: Mapping[str, Mapping[str, np.ndarray]]
    transfers: Sequence[Transfers]
    trained: Sequence[tuple[str, int, Trained]]


def run_part(part: Part, config: AmalgamationConfig, cells: Cells, *, progress: Progress = lambda _: None) -> Outcome:
    """Train and score every method.

    Args:
      part: the rows of each seed. config: settings. cells: where finished steps are kept.
      progress: told each step before it begins.
    """
    problems = part.problems
    with warnings.catch_warnings():
        # Of rare labels no row of a share may be positive; that is part of the data here.
        warnings.filterwarnings("ignore", message=".*never positive")
        progress(f"{part.title}: teachers")
        teachers = _teachers(part, config, cells)
        models = [[one.model for one in own] for own in teachers]
        progress(f"{part.title}: transfer")
        found = [_transfer(p, own, config) for p, own in zip(problems, models, strict=True)]
        progress(f"{part.title}: students")
        learned = _students(part, config, cells, models, found)
    said = {
        name: [np.asarray(predict_labels(one.model, p.features[p.test])) for one, p in zip(own, problems, strict=True)]
        for name, own in sorted(learned.items(), key=lambda pair: LEARNED.index(pair[0]))
    }
    for name in found[0].said:
        said[name] = [one.said[name] for one in found]
    trained = [
        (f"teacher {t}", p.seed, one) for p, own in zip(problems, teachers, strict=True) for t, one in enumerate(own)
    ]
    trained += [(name, p.seed, one) for name, own in learned.items() for p, one in zip(problems, own, strict=True)]
    return Outcome(
        {name: _scores(values, problems) for name, values in said.items()}, [one.transfers for one in found], trained
    )


def _students(
    part: Part,
    config: AmalgamationConfig,
    cells: Cells,
    models: Sequence[Sequence[ChainModel]],
    found: Sequence["_Found"],
) -> dict[str, list[Trained]]:
    """Students of every method: those that share their loss side by side, each rival beside them."""

    def jobs(name: str) -> list[Job]:
        return [_job(p, own, one.targets[name], part) for p, own, one in zip(part.problems, models, found, strict=True)]

    direct = [name for name in found[0].targets if name in config.methods]
    rivals = [name for name in RIVALS if name in config.methods]
    with ThreadPoolExecutor(THREADS) as pool:
        together = pool.submit(
            train_jobs, cells, f"{part.title} students", [job for name in direct for job in jobs(name)],
            chain_options(config, config.epochs), config,
        )  # fmt: skip
        # Their own targets are what the teachers say of a label, in the mean: by these epoch and weights are chosen.
        beside = {
            name: pool.submit(
                train_jobs, cells, f"{part.title} {name}", jobs("TC"), rival_options(name, config), config
            )
            for name in rivals
        }
        students, count = together.result(), len(part.problems)
        learned = {name: students[k * count : (k + 1) * count] for k, name in enumerate(direct)}
        return learned | {name: future.result() for name, future in beside.items()}


def _teachers(part: Part, config: AmalgamationConfig, cells: Cells) -> list[list[Trained]]:
    """Each seed's teachers."""
    jobs = [
        Job(
            p.features[p.shares[t]], p.taught[t][0].astype(np.float32),
            (p.features[p.held[t]], p.taught[t][1].astype(np.float32)), p.label_sets[t], part.hidden[t],
            jax.random.fold_in(jax.random.key(p.seed), t + 1),
        )
        for t in range(len(part.hidden) - 1)
        for p in part.problems
    ]  # fmt: skip
    trained = train_jobs(cells, f"{part.title} teachers", jobs, chain_options(config, config.teacher_epochs), config)
    count = len(part.problems)
    return [trained[k::count] for k in range(count)]


def _job(problem: Problem, teachers: Sequence[ChainModel], targets: np.ndarray, part: Part) -> Job:
    """A student's training; all students of a seed start from the same parameters and see rows in the same orders."""
    edge = len(problem.train)
    return Job(
        problem.features[problem.train], targets[:edge], (problem.features[problem.val], targets[edge:]),
        problem.label_names, part.hidden[-1], jax.random.key(problem.seed), tuple(teachers),
    )  # fmt: skip


class _Found(NamedTuple):
    """What a seed's teachers give: targets of transfer rows, predictions of test rows without a student, transfers."""

    targets: dict[str, np.ndarray]
    said: dict[str, np.ndarray]
    transfers: Transfers


def _transfer(problem: Problem, teachers: Sequence[ChainModel], config: AmalgamationConfig) -> _Found:
    """Every method's targets, columns in the order of the problem's labels."""
    p = problem
    options: dict[str, Any] = {
        "rounds": config.rounds, "other_logits": config.other_logits, "keep_unrevised": config.keep_unrevised,
    }  # fmt: skip
    rows, test = p.features[p.transfer], p.features[p.test]
    result = transfer_targets(teachers, rows, **options)
    targets = {
        "BL": vote_targets(teachers, rows),
        "TC": mean_logit_targets(teachers, rows),
        "ANT": result.targets,
        "oracle": p.labels[p.transfer].astype(np.float32),
    }
    few = p.labels[p.train][: config.labelled_rows]  # transfer rows begin with those for training
    trusts = {
        "ANT earned trust": lambda: earn_trust(teachers, rows, few, np.arange(len(few))),
        "ANT label-free trust": lambda: earn_trust(teachers, rows),
    }
    for name, earn in trusts.items():
        if name in config.methods or name + HARD in config.methods:
            targets[name] = transfer_targets(teachers, rows, trust=earn(), **options).targets
    targets |= {name + HARD: (soft > 0.5).astype(np.float32) for name, soft in targets.items()}
    said = {
        "ANT targets, no student": transfer_targets(teachers, test, **options).targets > 0.5,
        "vote, no student": vote_targets(teachers, test) > 0.5,
        "all-negative": np.zeros((len(test), len(p.label_names)), bool),
    }
    known = np.unique(np.concatenate([*p.shares, *p.held]))
    said["most frequent set"] = np.tile(frequent_set(p.labels[known]), (len(test), 1))
    return _Found(targets, {**said, **p.bayes}, _summary(p, result))


def _summary(problem: Problem, result: TransferResult) -> Transfers:
    """Counts of a seed's transfers."""
    sources: dict[str, dict[int, int]] = {}
    for (label, source, _), fired in zip(result.triples, result.transfers.T, strict=True):
        of_label = sources.setdefault(label, {})
        of_label[source] = of_label.get(source, 0) + int(fired.sum())
    right = sum(sources[label][source] for label, good in problem.competent.items() for source in good)
    every = sum(sum(sources[label].values()) for label in problem.competent)
    return Transfers(
        len(result.targets),
        {name: float(result.disagreement[:, result.label_names.index(name)].mean()) for name in sources},
        sources, right / every if every else float("nan"), float(result.revised.any(axis=1).mean()),
    )  # fmt: skip


def _scores(said: Sequence[np.ndarray], problems: Sequence[Problem]) -> dict[str, np.ndarray]:
    """Every metric on each seed's test rows."""
    found = []
    for own, p in zip(said, problems, strict=True):
        truth = p.labels[p.test]
        found.append((
            subset_loss(own, truth), hamming_loss(own, truth), multilabel_f1(own, truth, empty=0.0),
            multilabel_f1(own, truth, average="macro", empty=0.0),
        ))  # fmt: skip
    return dict(zip(METRICS, np.array(found).T, strict=True))
