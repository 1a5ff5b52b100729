"""Tables and figures of the study on planted errors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from experiments.noise_config import RULES, SCORES
from jlabel.evaluation import (
    Report,
    Row,
    lines_figure,
    paired_bootstrap,
    paired_comparison,
    save_figure,
)

__all__ = ["REFERENCE", "study_report", "study_tables", "training_table"]

# Of seed 0, computed beforehand by an independent implementation.
REFERENCE: Mapping[tuple[int, str, str], float] = {
    (5, "planted", "rows"): 95, (5, "calibrated", "count"): 94.5, (5, "margin", "precision"): 0.883,
    (5, "margin", "recall"): 0.874, (5, "joint", "precision"): 0.944, (5, "joint", "recall"): 0.705,
    (5, "disagreement", "precision"): 0.508, (5, "disagreement", "recall"): 1.0,
    (5, "normalized_margin", "average precision"): 0.964, (5, "self_confidence", "average precision"): 0.904,
    (5, "random", "average precision"): 0.053, (20, "planted", "rows"): 363, (20, "calibrated", "count"): 416.8,
    (20, "normalized_margin", "average precision"): 0.942, (20, "self_confidence", "average precision"): 0.792,
}  # fmt: skip
TABLES = (("rows", "precision", "recall"), ("average precision",), ("count",), ("accuracy",))
RECALLS = np.linspace(0, 1, 101)


def study_tables(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of the study by title, one table for each rate and kind of metric."""
    tables: dict[str, list[Row]] = {}
    titles = ("filters", "scores", "counts", "training")
    for split in dict.fromkeys(row.split for row in rows):
        for title, metrics in zip(titles, TABLES, strict=True):
            chosen = [row for row in rows if row.split == split and row.metric in metrics]
            planted = [row for row in chosen if row.method == "planted"]
            if title == "counts":
                planted = [row for row in rows if row.split == split and row.method == "planted"]
                chosen = [row._replace(metric="count") for row in planted] + chosen
            elif planted:
                chosen = [row for row in chosen if row.method != "planted"]
            tables[f"{title}, {split}"] = chosen
    return tables


def training_table(right: Mapping[int, Sequence[Mapping[str, np.ndarray]]]) -> list[list[str]]:
    """Each way to train against all rows: paired differences over seeds and over test rows."""
    table = []
    for rate, runs in right.items():
        base = [float(run["all rows"].mean()) for run in runs]
        rows = np.concatenate([run["all rows"] for run in runs]).astype(float)
        for name in runs[0]:
            if name in ("all rows", "majority"):
                continue
            values = [float(run[name].mean()) for run in runs]
            over_seeds = f"{values[0] - base[0]:+.3f}"
            if len(runs) > 1:
                gap = paired_comparison(values, base)
                over_seeds = f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
            drawn = paired_bootstrap(np.concatenate([run[name] for run in runs]).astype(float), rows)
            table.append(
                [f"{rate} %", name, over_seeds, f"{drawn.difference:+.3f} [{drawn.low:+.3f}, {drawn.high:+.3f}]"]
            )
    return table


def _reference_table(metrics: Mapping[int, Mapping[tuple[str, str], float]]) -> list[list[str]]:
    return [
        [f"{rate} %", method, metric, f"{metrics[rate][method, metric]:.4g}", f"{value:g}"]
        for (rate, method, metric), value in REFERENCE.items()
        if (method, metric) in metrics.get(rate, {})
    ]


def study_report(
    workdir: Path, rows: Sequence[Row], found: Mapping[int, Sequence], right: Mapping[int, Sequence],
    curve: Mapping[int, Sequence[Mapping[tuple[str, str], float]]], *, seeds: Sequence[int],
) -> Report:  # fmt: skip
    """The study's part of the report; figures are saved as well."""
    report = Report("Wrong labels")
    report.add_text(_opening(rows, found), heading="What was found")
    if seeds[0] == 0:
        report.add_table(
            ["wrong", "method", "metric", "seed 0", "reference"],
            _reference_table({rate: runs[0].metrics for rate, runs in found.items()}),
            caption="Seed 0 beside figures computed independently.",
        )
    for title, chosen in study_tables(rows).items():
        if chosen:
            report.add_results(
                chosen,
                caption=f"{title.capitalize()}: mean ± standard deviation and 95 % t interval over {len(seeds)} seeds.",
            )
    report.add_table(
        ["wrong", "trained on", "accuracy less that of all rows, over seeds", "over test rows"], training_table(right),
        caption="Clean test rows, paired differences, 95 % intervals; the last over test rows of all seeds.",
    )  # fmt: skip
    planted = [np.mean([one["planted", "rows"] for one in runs]) for runs in curve.values()]
    lines = {
        rule.replace("_", " "): (planted, np.array([[one[rule, "count"] for one in runs] for runs in curve.values()]).T)
        for rule in RULES
    }
    figure = lines_figure(
        {"planted": (planted, planted), **lines}, xlabel="wrong labels planted", ylabel="wrong labels estimated"
    )
    save_figure(workdir / "figures" / "counts.png", figure)
    report.add_figure(
        figure, caption="Reliability of the counts: mean over seeds and one standard deviation, by counting rule.",
        alt="Estimated against planted number of wrong labels",
    )  # fmt: skip
    for rate, runs in found.items():
        figure = lines_figure(
            {name.replace('_', ' '): (RECALLS, np.stack([_precisions(run, name) for run in runs])) for name in SCORES},
            xlabel="recall", ylabel="precision",
            references={"random": float(np.mean([run.planted.mean() for run in runs]))}, title=f"{rate} % wrong",
        )  # fmt: skip
        save_figure(workdir / "figures" / f"precision_recall_{rate}.png", figure)
        report.add_figure(
            figure, caption="Precision of the worst rows by each score until so many errors are found.",
            alt="Precision against recall",
        )  # fmt: skip
    report.add_text(
        f"The rest of this page is what a run on data of one's own shows: the digits with {next(iter(found))} % of "
        f"wrong labels, seed {seeds[0]}.",
        heading="One draw of the noise",
    )
    return report


def _precisions(run: Any, name: str) -> np.ndarray:
    """Precision at each of `RECALLS`: the best that reaches at least that recall."""
    precision, recall, _ = precision_recall_curve(run.planted, -run.scores[name])
    best = np.maximum.accumulate(precision)  # recall falls along the curve
    return np.interp(RECALLS, recall[::-1], best[::-1])


def _opening(rows: Sequence[Row], found: Mapping[int, Sequence]) -> str:
    mean = {row[:3]: row.mean for row in rows}
    lines = []
    for rate, runs in found.items():
        split = f"{rate} % wrong"
        lines.append(
            f"{rate} % of the labels of 1,797 digits were turned on purpose: {mean['planted', 'rows', split]:.0f} on "
            f"average over {len(runs)} draws. Equation 2 counts {mean['calibrated', 'count', split]:.1f}. Ranked by "
            f"margin they reach an average precision of {mean['normalized_margin', 'average precision', split]:.3f} "
            f"(by the label's probability {mean['self_confidence', 'average precision', split]:.3f}, at random "
            f"{mean['random', 'average precision', split]:.3f}). Trained without the rows flagged, logistic "
            f"regression is right on {mean['trained on: drop', 'accuracy', split]:.3f} of the clean test rows, trained "
            f"on all on {mean['trained on: all rows', 'accuracy', split]:.3f}, on truly clean rows on "
            f"{mean['trained on: truly clean rows', 'accuracy', split]:.3f}."
        )
    return "\n\n".join(lines)
