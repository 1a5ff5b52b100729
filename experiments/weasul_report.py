"""Tables, figures and report of the study of active labelling."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.weasul_config import WeasulConfig
from experiments.weasul_data import EMBEDDED
from experiments.weasul_figures import buckets_figure, plane_figure
from experiments.weasul_study import Run
from jlabel.data.two_gaussians import CEILING
from jlabel.evaluation import (
    Report,
    Row,
    build_results,
    lines_figure,
    make_row,
    paired_comparison,
    save_figure,
    table_cells,
    write_results,
)
from jlabel.weak_supervision import identifiability_report, rule_summary

__all__ = ["study_rows", "study_text", "tables", "write_study"]

LEVEL = 0.96
SHOWN = (0, 1, 4, 10, 30, 60, 100)
PAPER: Mapping[tuple[str, str], float] = {
    ("paper, from .81", "accuracy, 0 answers"): 0.81, ("paper, from .81", "accuracy, 4 answers"): 0.96,
    ("paper, from .81, end model", "accuracy, 0 answers"): 0.87,
}  # fmt: skip


def study_rows(runs: Sequence[Run], budget: int) -> list[Row]:
    """Every method by metric and number of answers, over seeds."""
    rows = []
    for name in runs[0].curves:
        curves = [run.curves[name] for run in runs]
        for metric in curves[0].scores:
            rows += _curve_rows(name, metric, [curve.scores[metric] for curve in curves], range(budget + 1))
        for metric in curves[0].end_scores:
            values = [curve.end_scores[metric] for curve in curves]
            rows += _curve_rows(f"{name}, end model", metric, values, curves[0].end_points)
        if curves[0].entropy is not None:
            ends = [curve.entropy[-1] for curve in curves if curve.entropy is not None]
            rows.append(make_row(name, "query entropy", ends))
            stops = [budget if curve.stop is None else curve.stop for curve in curves]
            rows.append(make_row(name, "answers until it says stop", stops))
            scores = [c.scores["accuracy"] for c in curves]
            at_stop = [score[min(n, len(score) - 1)] for score, n in zip(scores, stops, strict=True)]
            rows.append(make_row(name, "accuracy when it says stop", at_stop))
    for name in runs[0].fixed:
        for metric in runs[0].fixed[name]:
            rows.append(make_row(name, f"{metric}, 0 answers", [run.fixed[name][metric] for run in runs]))
    return rows


def _curve_rows(name: str, metric: str, values: Sequence[np.ndarray], points: Sequence[int]) -> list[Row]:
    places = {n: i for i, n in enumerate(points)}
    shortest = min(len(v) for v in values)
    return [
        make_row(name, f"{metric}, {n} answers", [v[places[n]] for v in values])
        for n in SHOWN
        if n in places and places[n] < shortest
    ]


def tables(rows: Sequence[Row], main: str) -> dict[str, list[Row]]:
    """Rows by title: label models, end models, strategies."""
    of_main = [row for row in rows if row.metric.startswith(f"{main}, ")]
    asking = ("query entropy", "answers until it says stop", "accuracy when it says stop")
    found = {
        f"Label models, {main} on test rows": [row for row in of_main if not _on_features(row)],
        f"Classifiers of features, {main} on test rows": [row for row in of_main if _on_features(row)],
        "Accuracy on the population": [row for row in rows if row.metric.startswith("population")],
        "What was asked": [row for row in rows if row.metric in asking],
    }
    return {title: chosen for title, chosen in found.items() if chosen}


def _on_features(row: Row) -> bool:
    return "end model" in row.method or row.method == "pure active learning"


def study_text(runs: Sequence[Run], config: WeasulConfig) -> str:
    """What was found, in words."""
    metric = "accuracy" if config.data == EMBEDDED else "F1"
    ours = f"ours, {config.strategy}"
    lines = []
    if config.data == EMBEDDED:
        told = []
        for method in runs[0].curves:
            n = _stays(np.mean([run.curves[method].scores["accuracy"] for run in runs], axis=0), LEVEL)
            told.append(f"{method} {'not within the budget' if n is None else n}")
        lines.append(f"Answers from which the mean accuracy stays at {LEVEL} or more: {'; '.join(told)}.")
    start, end = ([float(run.curves[ours].scores[metric][i]) for run in runs] for i in (0, -1))
    lines.append(
        f"{ours} begins at {metric} {np.mean(start):.4f} without an answer and ends at {np.mean(end):.4f} with "
        f"{config.budget}."
    )
    oracle = [run.fixed["bucket oracle"]["accuracy"] for run in runs]
    if len(runs) > 1:
        gap = paired_comparison([float(run.curves[ours].scores["accuracy"][-1]) for run in runs], oracle)
        lines.append(
            f"Its accuracy less the most that any function of these votes can reach on the same test rows (the bucket "
            f"oracle): {gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]."
        )
    if config.data == EMBEDDED:
        top = max(float(run.curves[name].scores["population accuracy"].max()) for run in runs for name in run.curves
                  if "population accuracy" in run.curves[name].scores)  # fmt: skip
        starts = [float(run.curves[ours].scores["population accuracy"][0]) for run in runs]
        lines.append(
            f"On the population {ours} has {min(starts):.4f} to {max(starts):.4f} without an answer. No label model "
            f"exceeds {top:.6f}; the ceiling of any function of these votes is {CEILING}."
        )
    return "\n\n".join(lines)


def _stays(values: np.ndarray, level: float) -> int | None:
    """The first place from which on no value is below the level; None where the last one is."""
    below = np.flatnonzero(values < level)
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first < len(values) else None


def write_study(workdir: Path, runs: Sequence[Run], config: WeasulConfig, rows: Sequence[Row], seconds: float) -> None:
    """Write results.json, figures/ and report.html."""
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    metric = "accuracy" if config.data == EMBEDDED else "F1"
    first, study = runs[0], runs[0].study
    report = Report(f"Active labelling: {study.name}")
    report.add_text(study_text(runs, config), heading="What was found")
    for title, chosen in tables(rows, metric).items():
        paper = PAPER if config.data == EMBEDDED else None
        header, body = table_cells(chosen, paper=paper)
        short = [cell.removeprefix(f"{metric}, ").removeprefix("population accuracy, ") for cell in header]
        report.add_table(short, body, caption=f"{title}: mean ± std and 95 % t interval over {len(runs)} seeds.")
    for name, (figure, caption, alt) in _figures(runs, config, metric).items():
        save_figure(workdir / "figures" / f"{name}.png", figure)
        report.add_figure(figure, caption=caption, alt=alt)
    start = first.steps[0]["model"]
    if config.method != "factor_graph":
        found = identifiability_report(start, first.buckets)["warnings"]
        report.add_text(
            "\n\n".join(found) or "Nothing to say against them.", heading="Do the votes determine the answer?"
        )
    shares = study.parts["train"]
    rules = rule_summary(shares.votes, shares.labels, names=study.rule_names)
    columns = ("name", "polarity", "coverage", "overlaps", "conflicts", "accuracy")
    cells = [[f"{rule[c]:.3f}" if isinstance(rule[c], float) else str(rule[c]) for c in columns] for rule in rules]
    report.add_table(columns, cells, caption="The rules on the training rows, against their true labels.")
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(workdir / "report.html")


def _figures(runs: Sequence[Run], config: WeasulConfig, metric: str) -> dict[str, tuple[Any, str, str]]:
    first = runs[0]
    ours = f"ours, {config.strategy}"
    fixed = {name: float(np.mean([run.fixed[name][metric] for run in runs])) for name in first.fixed}
    bands = f"mean and standard deviation over {len(runs)} seeds"

    def curves(names: Sequence[str], of: Callable[[Run, str], np.ndarray]) -> dict[str, tuple[Any, Any]]:
        shortest = {name: min(len(of(run, name)) for run in runs) for name in names}
        return {
            name: (np.arange(shortest[name]), np.array([of(run, name)[: shortest[name]] for run in runs]))
            for name in names
        }

    label_models = [name for name in first.curves if name == ours or name.startswith(("paper", "Nashaat"))]
    asking = [name for name in first.curves if name.startswith("ours")]
    figures: dict[str, tuple[Any, str, str]] = {
        "label_models": (
            lines_figure(
                curves(label_models, lambda run, name: run.curves[name].scores[metric]), xlabel="answers",
                ylabel=f"{metric} on test rows",
                references={name: fixed[name] for name in ("bucket oracle", "majority vote")},
            ),
            f"Label models: {metric} against the number of answers, {bands}.", f"{metric} of label models by answers",
        ),
        "strategies": (
            lines_figure(
                curves(asking, lambda run, name: run.curves[name].scores[metric]), xlabel="answers",
                ylabel=f"{metric} on test rows", references={"bucket oracle": fixed["bucket oracle"]},
            ),
            f"Ways to choose the next row, {bands}.", f"{metric} of three query strategies",
        ),
        "entropy": (
            lines_figure(
                curves(asking, lambda run, name: np.asarray(run.curves[name].entropy)), xlabel="answers",
                ylabel="entropy of the buckets asked",
            ),
            f"Diversity of what was asked, {bands}.", "Query entropy of three strategies",
        ),
    }  # fmt: skip
    ends: dict[str, tuple[Any, Any]] = {
        name: (first.curves[name].end_points, np.array([run.curves[name].end_scores[metric] for run in runs]))
        for name in first.curves
        if first.curves[name].end_points
    }
    if ends:
        ends |= curves(["pure active learning"], lambda run, name: run.curves[name].scores[metric])
        references = {name: fixed[name] for name in ("supervised end model", "majority vote, end model")}
        figures["end_models"] = (
            lines_figure(ends, xlabel="answers", ylabel=f"{metric} on test rows", references=references),
            f"End models trained on the soft labels, and a classifier that learns from the answers alone, {bands}.",
            f"{metric} of end models by answers",
        )
    labels = first.study.parts["train"].labels
    truth = np.bincount(np.asarray(first.buckets.inverse), labels == 1) / first.buckets.counts
    figures["buckets"] = (
        buckets_figure(first.steps, first.buckets, truth=truth, name=first.study.label_names[1]),
        f"Buckets of {ours}, seed {config.seeds[0]}: votes of the rules in order, · for abstain.",
        "Probabilities of buckets before and after the answers",
    )
    if config.data == EMBEDDED and first.paper_steps:
        steps = first.paper_steps
        panels = {f"paper, {n} answers": (steps, n) for n in (0, 4) if n < len(steps)}
        panels["ours, no answer"] = (first.steps, 0)
        figures["plane"] = (
            plane_figure(panels, first.buckets, first.study.parts["train"].features),
            "The plane, cut by the rules: P(y = 1) of each region, from the start at .81; white: "
            "rows asked (square: class 1).",
            "Regions of the plane coloured by probability",
        )
    return figures
