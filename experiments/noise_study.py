"""The study on digits with planted errors: what each filter, score and count finds, and what cleaning is worth."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tqdm import tqdm

import jlabel.data
from experiments.noise_config import FILTERS, RULES, SCORES, NoiseConfig
from experiments.noise_find import doubts, gallery_items
from experiments.noise_report import write_findings
from experiments.noise_study_report import study_report
from jlabel.confident_learning import (
    ConfidentLearningClassifier,
    confident_joint,
    count_errors,
    find_errors,
)
from jlabel.confident_learning.estimator import Action
from jlabel.data import Source, subset
from jlabel.evaluation import Row, make_row

__all__ = ["Detection", "detect", "run_study", "train_and_score"]

RATES = (5, 20)  # per cent of wrong labels
CURVE_RATES = (0, 2, 5, 10, 15, 20, 30, 40)
# Scikit-learn's own choice stops early (94.5 errors counted at 5 %, 93.1 at the optimum): the reference figures are of
# that. All else takes the optimum, which this solver finds in a fifth of the time.
SOLVER = "newton-cg"
TRAINED = ("all rows", "drop", "reweight", "random drop", "truly clean rows")


class Detection(NamedTuple):
    """What was found in one draw of the noise; `metrics` maps (method, metric) to a number."""

    metrics: dict[tuple[str, str], float]
    planted: np.ndarray
    scores: dict[str, np.ndarray]
    source: Source
    probs: np.ndarray


def noisy_digits(rate: int, seed: int) -> Source:
    """All digits in scikit-learn's order, as features, with the columns `label` and `digit`."""
    source = jlabel.data.open(f"embedded:noisy_digits?rate={rate}&seed={seed}&features=1", "all")
    return subset(source, np.argsort(source.column("order")))


def held_out_probs(source: Source, *, folds: int, seed: int, solver: str = SOLVER) -> np.ndarray:
    """Probabilities ``[N, 10]`` of scikit-learn's logistic regression, cross-validated on the noisy labels."""
    rows = jlabel.data.load_arrays(source)["features"].astype(np.float64)
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(_model(solver), rows, source.labels, cv=cut, method="predict_proba")


def _model(solver: str = SOLVER) -> LogisticRegression:
    return LogisticRegression(solver=solver, max_iter=1000)


def detect(rate: int, seed: int, config: NoiseConfig) -> Detection:
    """Plant errors, look for them, and score what each method says.

    Args:
      rate: wrong labels in per cent. seed: of the noise and the folds. config: the settings.

    Returns:
      `Detection`; metrics are precision, recall and rows of filters, average precision of scores, counts of rules.
    """
    source = noisy_digits(rate, seed)
    labels, planted = source.labels, source.labels != source.column("digit")
    probs = held_out_probs(source, folds=config.folds, seed=seed, solver="lbfgs")
    metrics: dict[tuple[str, str], float] = {("planted", "rows"): float(planted.sum())}
    masks: dict[str, np.ndarray] = {
        name: find_errors(labels, probs, method=name, rule=config.rule, collision=config.collision).mask
        for name in config.filters or FILTERS
    }
    rng = np.random.default_rng([seed, rate])
    flags = int(masks[next(iter(masks))].sum())
    masks["random"] = np.isin(np.arange(len(labels)), rng.permutation(len(labels))[:flags])
    masks["oracle"] = planted
    for name, mask in masks.items():
        found = int((mask & planted).sum())
        metrics[name, "rows"] = float(mask.sum())
        metrics[name, "precision"] = found / max(1, int(mask.sum()))
        metrics[name, "recall"] = found / max(1, int(planted.sum()))
    scores: dict[str, np.ndarray] = {name: find_errors(labels, probs, score=name).scores for name in SCORES}
    for score, values in scores.items():
        metrics[score, "average precision"] = float(average_precision_score(planted, -values))
    # The expectation, which one random order misses by some thousandths.
    metrics["random", "average precision"] = float(planted.mean())
    metrics["oracle", "average precision"] = 1.0
    metrics.update(counts(labels, probs, config))
    return Detection(metrics, planted, scores, source, probs)


def counts(labels: np.ndarray, probs: np.ndarray, config: NoiseConfig) -> dict[tuple[str, str], float]:
    """The number of errors by each rule."""
    joint = confident_joint(labels, probs, collision=config.collision)
    rows = np.bincount(labels, minlength=len(joint))
    return {(rule, "count"): count_errors(joint, rows, rule=rule) for rule in RULES}


def train_and_score(rate: int, seed: int, config: NoiseConfig) -> dict[str, np.ndarray]:
    """Train on noisy rows in several ways; whether each clean test row ``[400]`` is then right."""
    spec = f"embedded:noisy_digits?rate={rate}&seed={seed}&features=1"
    train, test = jlabel.data.open(spec, "train"), jlabel.data.open(spec, "test")
    x, y = jlabel.data.load_arrays(train)["features"], train.labels
    clean = y == train.column("digit")
    x_test, truth = jlabel.data.load_arrays(test)["features"], test.column("digit")
    model = _model()

    def cleaned(action: Action) -> ConfidentLearningClassifier:
        return ConfidentLearningClassifier(
            model,
            folds=config.folds,
            rule=config.rule,
            action=action,
            random_state=seed,
        ).fit(x, y)

    drop = cleaned("drop")
    fewer = np.random.default_rng([seed, rate]).permutation(len(y))[: int((~drop.error_mask_).sum())]
    fitted: dict[str, Any] = {
        "all rows": _model().fit(x, y),
        "drop": drop,
        "reweight": cleaned("reweight"),
        "random drop": _model().fit(x[fewer], y[fewer]),
        "truly clean rows": _model().fit(x[clean], y[clean]),
    }
    return {name: fitted[name].predict(x_test) == truth for name in TRAINED} | {
        "majority": truth == np.bincount(y).argmax()
    }


def run_study(config: NoiseConfig, workdir: Path) -> list[Row]:
    """Run the study, write results.json, figures, issues.csv and report.html.

    Args:
      config: the settings. workdir: an open workdir.

    Returns:
      The rows of results.json.
    """
    start = time.monotonic()
    found: dict[int, list[Detection]] = {rate: [] for rate in RATES}
    right: dict[int, list[dict[str, np.ndarray]]] = {rate: [] for rate in RATES}
    curve: dict[int, list[dict[tuple[str, str], float]]] = {rate: [] for rate in CURVE_RATES}
    for seed in tqdm(config.seeds, desc="seeds", disable=None, leave=False):
        for rate in RATES:
            found[rate].append(detect(rate, seed, config))
            right[rate].append(train_and_score(rate, seed, config))
        for rate in CURVE_RATES:
            source = noisy_digits(rate, seed)
            planted = float((source.labels != source.column("digit")).sum())
            probs = held_out_probs(source, folds=config.folds, seed=seed)
            curve[rate].append({("planted", "rows"): planted, **counts(source.labels, probs, config)})
    rows = study_rows(found, right)
    report = study_report(workdir, rows, found, right, curve, seeds=config.seeds)
    first = found[RATES[0]][0]
    pictures = jlabel.data.open(f"embedded:noisy_digits?rate={RATES[0]}&seed={config.seeds[0]}", "all")
    pictures = subset(pictures, np.argsort(pictures.column("order")))
    findings = doubts(first.source.labels, first.probs, pictures.label_names, pictures, config)
    write_findings(
        workdir, config, findings, gallery_items(pictures, findings.issues, config.gallery), report=report, rows=rows,
        seconds=time.monotonic() - start,
    )  # fmt: skip
    return rows


def _split(rate: int) -> str:
    return f"{rate} % wrong"


def study_rows(
    found: Mapping[int, Sequence[Detection]], right: Mapping[int, Sequence[Mapping[str, np.ndarray]]]
) -> list[Row]:
    """One row per method, metric and rate, over the seeds."""
    rows = []
    for rate, runs in found.items():
        for method, metric in runs[0].metrics:
            values = [run.metrics[method, metric] for run in runs]
            rows.append(make_row(method, metric, values, split=_split(rate)))
    for rate, scored in right.items():
        for name in scored[0]:
            values = [float(run[name].mean()) for run in scored]
            rows.append(
                make_row(f"trained on: {name}" if name in TRAINED else name, "accuracy", values, split=_split(rate))
            )
    return rows
