"""Runs of the study of active labelling: every strategy, every baseline, every seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from tqdm import tqdm

from experiments.weasul_config import STRATEGIES, WeasulConfig
from experiments.weasul_data import EMBEDDED, VoteStudy, load_study
from jlabel.data.two_gaussians import vote_population
from jlabel.weak_supervision import (
    Buckets,
    as_buckets,
    bucket_oracle,
    class_shares,
    fit_latent_class,
    fit_matrix_completion,
    majority_vote,
    predict_probs,
    run_active,
    run_nashaat,
    run_pure_active,
    should_stop,
)
from jlabel.weak_supervision.end_training import end_probs, train_end_models
from jlabel.weak_supervision.scores import guess_shares, tied_accuracy

__all__ = ["Curve", "Run", "run_seed"]

PAPER_SCALES = {"paper, from .81": 0.08, "paper, from .90": 0.3}  # of z, in the family of equal loss
TRUE_SCALE = 4.74866  # |z| of the first rule in the population
END_POINTS = (0, 1, 2, 4, 7, 10, 15, 20, 30, 45, 60, 80, 100)
END_MODEL = {"hidden": (32, 32), "batch_size": 256, "learning_rate": 0.01}
TEXT_END_MODEL = {"hidden": (), "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.01}


class Curve(NamedTuple):
    """Scores of one method and seed after each number of answers.

    `scores` maps a metric to its values (A + 1,); `end_scores` those of end models at `end_points`.
    """

    scores: Mapping[str, np.ndarray]
    entropy: np.ndarray | None = None
    end_points: tuple[int, ...] = ()
    end_scores: Mapping[str, np.ndarray] = {}
    stop: int | None = None


class Run(NamedTuple):
    """One seed: curves by method, scores of what asks nothing, and the steps of our method and of the paper's."""

    curves: Mapping[str, Curve]
    fixed: Mapping[str, Mapping[str, float]]
    steps: Sequence[dict]
    paper_steps: Sequence[dict]
    buckets: Buckets
    study: VoteStudy


def metrics_of(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, and F1 (of class 1, or the mean over more classes)."""
    average = "binary" if probs.shape[1] == 2 else "macro"
    return {
        "accuracy": tied_accuracy(probs, labels),
        "F1": float(f1_score(labels, probs.argmax(1), average=average, zero_division=0)),
    }


def run_seed(config: WeasulConfig, seed: int, *, progress: tqdm | None = None) -> Run:
    """Every method of the study on the data of one seed."""
    study = load_study(config.data, seed=seed)
    train, test = study.parts["train"], study.parts["test"]
    buckets = as_buckets(train.votes, num_classes=study.num_classes)
    key = jax.random.key(seed)
    common: dict[str, Any] = {"num_classes": study.num_classes, "budget": config.budget}
    ours = config.options(study.cliques)

    found: dict[str, list[dict]] = {}

    def note(name: str, steps: list[dict]) -> None:
        found[name] = steps
        if progress is not None:
            progress.set_postfix_str(name)

    for strategy in (config.strategy, *(s for s in STRATEGIES if s != config.strategy)):
        name = f"ours, {strategy}"
        options = common | ours | {"batch": config.batch}
        note(name, run_active(buckets, train.labels, method=config.method, strategy=strategy, key=key, **options))
    paper = config.options(study.cliques, constrain=False)
    if config.method == "matrix_completion" and study.num_classes == 2:
        for name, start in _paper_starts(config, buckets, paper, key).items():
            fit = _started(start)
            note(name, run_active(buckets, train.labels, method=fit, key=key, **common, **paper))
    theirs = common | _one_start(config, paper)
    note("Nashaat", run_nashaat(buckets, train.labels, method=config.method, key=key, **theirs))

    curves = {name: _curve(steps, study, config) for name, steps in found.items()}
    fixed = _fixed(study, key)
    pure = run_pure_active(
        train.features, train.labels, classifier=LogisticRegression(C=_pure_strength(study), max_iter=1000), key=key,
        **common,
    )  # fmt: skip
    scores = [metrics_of(step["model"](test.features), test.labels) for step in pure]
    curves["pure active learning"] = Curve(_by_metric(scores))
    if config.end_models:
        curves, fixed = _add_end_models(study, found, curves, fixed, buckets, key)
    return Run(
        curves, fixed, found[f"ours, {config.strategy}"], found.get(next(iter(PAPER_SCALES)), ()), buckets, study
    )


def has_words(study: VoteStudy) -> bool:
    """Whether features are weights of words, which need another end model than a few coordinates."""
    return study.parts["train"].features.shape[1] >= 50


def _pure_strength(study: VoteStudy) -> float:
    """scikit-learn's C of the baseline: words need a weaker prior than two coordinates."""
    return 10.0 if has_words(study) else 1.0


def _one_start(config: WeasulConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """The paper fits from one start."""
    return {**options, "starts": 1} if config.method == "matrix_completion" else dict(options)


def _paper_starts(config: WeasulConfig, buckets: Buckets, options: Mapping[str, Any], key: jax.Array) -> dict[str, Any]:
    """Models to start the paper's method from; None is a start of its own, N(0, I).

    Two groups leave the scale of z open: which of the solutions of equal loss is found, and with it the accuracy, is up
    to the start. The paper's .81 and the .90 that N(0, I) mostly gives are two of them.
    """
    starts: dict[str, Any] = {"paper, N(0, I)": None}
    if config.data != EMBEDDED:
        return starts
    settings = {name: value for name, value in options.items() if name != "penalty"}
    model = fit_matrix_completion(buckets, starts=1, key=key, **settings)
    z = np.array(model.params["z"])
    for name, scale in PAPER_SCALES.items():
        factor = scale * TRUE_SCALE / abs(z[0])
        moved = np.concatenate([z[:1] * factor, z[1:] / factor])
        starts[name] = dataclasses.replace(model, params={**model.params, "z": moved})
    return starts


def _started(start: Any) -> Callable[..., Any]:
    def fit(buckets: Buckets, *, init: Any, **options: Any) -> Any:
        return fit_matrix_completion(buckets, init=start if init is None else init, starts=1, **options)

    return fit


def _curve(steps: Sequence[dict], study: VoteStudy, config: WeasulConfig) -> Curve:
    test = study.parts["test"]
    wanted = as_buckets(test.votes, num_classes=study.num_classes)
    rows = []
    for step in steps:
        scores = metrics_of(predict_probs(step["model"], wanted.rows)[wanted.inverse], test.labels)
        if config.data == EMBEDDED:
            scores["population accuracy"] = _population_accuracy(step["model"])
        rows.append(scores)
    stop = next(
        (
            steps[n]["answers"]
            for n in range(1, len(steps))
            if should_stop(steps[: n + 1], tolerance=config.tolerance, patience=config.patience)
        ),
        None,
    )
    return Curve(_by_metric(rows), np.array([step["entropy"] for step in steps]), stop=stop)


def _population_accuracy(model: Any) -> float:
    """Accuracy on the distribution that the embedded rows are drawn from, without sampling."""
    rows, probs, positive = vote_population()
    said = predict_probs(model, rows)
    truth = np.stack([1 - positive, positive], 1)
    return float(probs @ (truth * guess_shares(said)).sum(1))


def _by_metric(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    return {metric: np.array([row[metric] for row in rows]) for metric in rows[0]}


def _fixed(study: VoteStudy, key: jax.Array) -> dict[str, dict[str, float]]:
    """What asks nothing: majority vote, EM that takes rules for independent, the oracle, the commonest class."""
    train, test, classes = study.parts["train"], study.parts["test"], study.num_classes
    alone = fit_latent_class(train.votes, num_classes=classes, key=key)
    # With the test rows' own labels: what no function of the votes can exceed on them.
    oracle = bucket_oracle(test.votes, test.labels, test.votes, num_classes=classes)
    found = {
        "majority vote": majority_vote(test.votes, num_classes=classes),
        "latent class, no groups": predict_probs(alone, test.votes),
        "bucket oracle": oracle,
        "trivial class": class_shares(train.labels, len(test.labels), num_classes=classes),
    }
    return {name: metrics_of(probs, test.labels) for name, probs in found.items()}


def _add_end_models(
    study: VoteStudy, found: Mapping[str, list[dict]], curves: Mapping[str, Curve], fixed: Mapping[str, Any],
    buckets: Buckets, key: jax.Array,
) -> tuple[dict[str, Curve], dict[str, Any]]:  # fmt: skip
    """End models on the soft labels after some numbers of answers, on those of majority vote, and on true labels."""
    train, test, classes = study.parts["train"], study.parts["test"], study.num_classes
    names = [name for name in found if name.startswith(("ours", "paper, from", "Nashaat"))][:1]
    names += [name for name in found if name.startswith("paper")][-2:] + ["Nashaat"]
    targets, places = [], []
    for name in names:
        steps = found[name]
        points = [n for n in END_POINTS if n < len(steps)]
        for n in points:
            soft = steps[n]["probs"][buckets.inverse]
            for step in steps[1 : n + 1]:
                soft[step["row"]] = np.arange(classes) == step["answer"]
            targets.append(soft)
            places.append((name, n))
    extra = {"supervised end model": np.eye(classes)[train.labels], "majority vote, end model": majority_vote(
        train.votes, num_classes=classes
    )}  # fmt: skip
    targets += list(extra.values())
    text = has_words(study)
    mean, scale = (0, 1) if text else (train.features.mean(0), train.features.std(0))
    settings: dict[str, Any] = dict(TEXT_END_MODEL if text else END_MODEL)
    first = jax.random.fold_in(key, 1)
    keys = jax.numpy.stack([first] * len(targets))  # all start alike: what differs is the labels
    params, _ = train_end_models((train.features - mean) / scale, np.stack(targets), keys=keys, **settings)
    probs = end_probs(params, (test.features - mean) / scale, hidden=settings["hidden"], num_classes=classes)
    scores = [metrics_of(one, test.labels) for one in probs]
    new = dict(curves)
    for name in names:
        mine = [(n, score) for (other, n), score in zip(places, scores, strict=False) if other == name]
        after, rows = zip(*mine, strict=True)
        new[name] = new[name]._replace(end_points=after, end_scores=_by_metric(rows))
    ends = dict(zip(extra, scores[len(places) :], strict=True))
    return new, {**fixed, **ends}
