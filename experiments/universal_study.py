"""Every method of the study on every seed: trained side by side, scored on test rows."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.universal_config import EVALUATIONS, UniversalConfig
from experiments.universal_data import Problem, Study
from jlabel.taxonomy import (
    METHODS,
    Fold,
    HeadRun,
    RelationChoice,
    Relations,
    Scheme,
    Taxonomy,
    TrainedHeads,
    build_taxonomy,
    choose_relations,
    cross_predictions,
    find_relations,
    fit_heads,
    majority_class,
    multi_head_scheme,
    relation_scores,
    relations_by_name,
    single_scheme,
    union_scheme,
    universal_scheme,
)

__all__ = ["AUTO", "GIVEN", "MAJORITY", "NONE", "SINGLE", "TRUTH", "Outcome", "Progress", "rule_name", "run_study"]

# Every method chooses from the same grid, by its validation accuracy.
RATES, DECAYS = (3e-3, 1e-2), (0.1, 1.0, 3.0)
WIDTH = 64  # outputs come in such steps, so that methods share a compiled program
SINGLE, MULTI, UNION, MAJORITY = "single", "multi-head", "naive union", "majority"
NAMES, AUTO, TRUTH, GIVEN = (
    "universal, equal names", "universal, chosen rule", "universal, truth (oracle)", "universal, taxonomy given"
)  # fmt: skip
NONE = frozenset({SINGLE, MULTI, UNION, MAJORITY})  # methods without relations
Progress = Callable[[str], None]


class _Task(NamedTuple):
    """One network of one seed, and its training, validation and test rows."""

    scheme: Scheme
    seed: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


class Outcome(NamedTuple):
    """One method on all S seeds.

    Attributes:
      accuracy: float ``[S, D]`` on test rows. outputs: of all its networks together, ``[S]``.
      relations, taxonomies: S of them where the method has any. heads: S of them (of "single", D for each seed).
      rate, decay: chosen on validation rows.
      choices: S of them, of the automatic rule. tried: of each seed, the relations of every candidate.
    """

    name: str
    accuracy: np.ndarray
    outputs: np.ndarray
    relations: tuple[Relations, ...] = ()
    taxonomies: tuple[Taxonomy, ...] = ()
    heads: TrainedHeads | None = None
    rate: float = float("nan")
    decay: float = float("nan")
    choices: tuple[RelationChoice, ...] = ()
    tried: tuple[tuple[Relations, ...], ...] = ()

    def f1(self, problems: Sequence[Problem]) -> list[float]:
        """F1 of the relations against the truth, where both are there."""
        pairs = zip(self.relations, problems, strict=False)
        return [relation_scores(found, problem.truth).f1 for found, problem in pairs if problem.truth is not None]


def rule_name(config: UniversalConfig, method: str) -> str:
    """How the row of a rule is called."""
    options = config.rule(method)
    value = options.get(method) if method in ("threshold", "density") else None
    return f"universal, {method}" + (f" {value:g}" if value is not None else "")


def run_study(
    study: Study, config: UniversalConfig, *, taxonomy: Taxonomy | None = None, progress: Progress = lambda _: None
) -> dict[str, Outcome]:
    """Train and score every method.

    Args:
      study: the rows. config: settings.
      taxonomy: given by the user; then the rules, whose relations it replaces, are left out.
      progress: told each method's name before it is trained.

    Returns:
      Name to outcome, "single" first.
    """
    problems = study.problems
    found: dict[str, Outcome] = {}

    def add(name: str, schemes: Sequence[Scheme], **more: Any) -> None:
        progress(name)
        found[name] = _train(study, config, name, [[scheme] for scheme in schemes])._replace(**more)

    progress(SINGLE)
    singles = [[single_scheme(p.sizes, d) for d in range(len(p.sizes))] for p in problems]
    found[SINGLE] = _train(study, config, SINGLE, singles, kind=config.single_head)
    add(MULTI, [multi_head_scheme(p.sizes) for p in problems])
    add(UNION, [union_scheme(p.sizes) for p in problems])

    def add_universal(name: str, relations: Sequence[Relations], **more: Any) -> None:
        taxonomies = [build_taxonomy(one, merge=config.merge) for one in relations]
        schemes = [universal_scheme(one, convert=config.convert) for one in taxonomies]
        add(name, schemes, relations=tuple(relations), taxonomies=tuple(taxonomies), **more)

    if taxonomy is not None:
        scheme = universal_scheme(taxonomy, convert=config.convert)
        add(GIVEN, [scheme] * len(problems), taxonomies=(taxonomy,) * len(problems))
    else:
        add_universal(NAMES, [relations_by_name(p.domains, p.class_names) for p in problems])
        crosses = _cross(study, found[SINGLE], [(p.train, p.val) for p in problems], soft=config.soft)
        for method in METHODS:
            chosen = [
                find_relations(cross, domains=p.domains, class_names=p.class_names, **config.rule(method))
                for p, cross in zip(problems, crosses, strict=True)
            ]
            add_universal(rule_name(config, method), chosen)
        choices = _choose(study, config, found, progress)
        tried = [
            tuple(
                candidate.find(cross, domains=p.domains, class_names=p.class_names) for candidate in choice.candidates
            )
            for p, cross, choice in zip(problems, crosses, choices, strict=True)
        ]
        chosen = [own[choice.candidates.index(choice.candidate)] for own, choice in zip(tried, choices, strict=True)]
        add_universal(AUTO, chosen, choices=tuple(choices), tried=tuple(tried))
        if problems[0].truth is not None:
            add_universal(TRUTH, [p.truth for p in problems if p.truth is not None])
    found[MAJORITY] = Outcome(MAJORITY, _majority(study), np.zeros(len(problems)))
    return found


def _train(
    study: Study, config: UniversalConfig, name: str, schemes: Sequence[Sequence[Scheme]], *, kind: str | None = None
) -> Outcome:
    """Train a method's networks on all seeds and hyper-parameters; keep and score those with the best validation."""
    rates = (config.learning_rate,) if config.learning_rate else RATES
    decays = (config.weight_decay,) if config.weight_decay is not None else DECAYS
    grid = list(itertools.product(rates, decays))
    tasks = []
    for problem, own in zip(study.problems, schemes, strict=True):
        for d, scheme in enumerate(own):
            parts = (problem.train, problem.val, problem.test)
            train, val, test = parts if len(own) == 1 else (study.own(part, d) for part in parts)
            tasks.append(_Task(scheme, problem.seed, train, val, test))
    runs = [HeadRun(task.scheme, task.train, task.val, task.seed, *point) for point in grid for task in tasks]
    widest = max(task.scheme.num_outputs for task in tasks)
    heads = fit_heads(
        study.features, study.labels, runs, kind=kind or config.head, hidden=config.hidden, steps=config.steps,
        batch_size=_batch_size(study, config) if len(schemes[0]) == 1 else config.batch_size,
        evaluations=EVALUATIONS, balance=config.balance, outputs=-(-widest // WIDTH) * WIDTH,
    )  # fmt: skip
    best = int(heads.val_accuracy.reshape(len(grid), -1).mean(1).argmax())
    chosen = heads.take(range(best * len(tasks), (best + 1) * len(tasks)))
    tests = [task.test for task in tasks]
    right = np.concatenate(chosen.right(study.features, study.labels, tests))
    seed = np.repeat([i for i, own in enumerate(schemes) for _ in own], [len(test) for test in tests])
    count = len(study.problems[0].sizes)
    groups = seed * count + study.domain[np.concatenate(tests)]
    accuracy = (np.bincount(groups, right) / np.bincount(groups)).reshape(-1, count)
    outputs = np.array([sum(scheme.num_outputs for scheme in own) for own in schemes])
    return Outcome(name, accuracy, outputs, heads=chosen, rate=grid[best][0], decay=grid[best][1])


def _batch_size(study: Study, config: UniversalConfig) -> int:
    """Rows of a step of a network for all domains, so that it sees as many of each as the single ones do."""
    return config.batch_size * len(study.problems[0].sizes)


def _cross(
    study: Study, single: Outcome, parts: Sequence[Sequence[np.ndarray]], *, soft: bool
) -> list[dict[tuple[int, int], np.ndarray]]:
    """Cross-predictions of every seed, on these parts of its rows, of which no other domain's model knows any."""
    assert single.heads is not None
    count = len(study.problems[0].sizes)
    known = [np.concatenate(own) for own in parts]
    rows = [held[study.domain[held] != b] for held in known for b in range(count)]
    said = single.heads.probs(study.features, rows, [b for _ in study.problems for b in range(count)])
    crosses = []
    for i, problem in enumerate(study.problems):
        cross = {}
        for a, b in itertools.permutations(range(count), 2):
            places, probs = rows[i * count + b], said[i * count + b]
            own = study.domain[places] == a
            cross[a, b] = cross_predictions(
                study.own_labels(problem, places[own], a), probs[own], num_classes=problem.sizes[a],
                num_predicted=problem.sizes[b], soft=soft,
            )  # fmt: skip
        crosses.append(cross)
    return crosses


def _choose(
    study: Study, config: UniversalConfig, found: Mapping[str, Outcome], progress: Progress
) -> list[RelationChoice]:  # fmt: skip
    """Of each seed the rule whose probes do best on validation rows; probes learn as the four rules' heads did.

    The candidates' relations are those of the training rows alone, so that the validation rows are new to them.
    """
    rules = [found[rule_name(config, method)] for method in METHODS]
    crosses = _cross(study, found[SINGLE], [(p.train,) for p in study.problems], soft=config.soft)
    choices = []
    for problem, cross in zip(study.problems, crosses, strict=True):
        progress(f"choosing the rule, seed {problem.seed}")
        choices.append(
            choose_relations(
                [Fold(cross, problem.train, problem.val)], study.features, study.labels, domains=problem.domains,
                class_names=problem.class_names, merge=config.merge, convert=config.convert, balance=config.balance,
                kind=config.head, hidden=config.hidden, steps=config.steps, batch_size=_batch_size(study, config),
                # With thousands of validation rows it is these that count, and not the luck of the first weights.
                repeats=1 if config.domains else 3,
                learning_rate=float(np.median([rule.rate for rule in rules])),
                weight_decay=float(np.median([rule.decay for rule in rules])), seed=problem.seed,
            )
        )  # fmt: skip
    return choices


def _majority(study: Study) -> np.ndarray:
    """Accuracy of each domain's commonest training class, ``[S, D]``."""
    table = []
    for problem in study.problems:
        own = []
        for d, size in enumerate(problem.sizes):
            train, test = (study.own_labels(problem, study.own(rows, d), d) for rows in (problem.train, problem.test))
            own.append((test == majority_class(train, size)).mean())
        table.append(own)
    return np.array(table)
