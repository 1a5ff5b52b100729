"""Figures and report of the study of dependencies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jlabel.evaluation import (
    Report,
    Row,
    build_results,
    comparison_figure,
    lines_figure,
    save_figure,
    versions,
    write_results,
)

__all__ = ["report_study"]

CURVE = "strongest {} of each kind"
OUTSIDE = ("trivial (all even)", "majority vote", "none, rules taken as two-sided", "oracle (true labels)")
_GAPS = ("mean gap", "largest gap", "bound (sharp)")


def report_study(
    workdir: Path, rows: Sequence[Row], config: Any, *, curve: Sequence[int], advice: str, seconds: float
) -> None:
    """Write results.json, figures and report.html.

    Args:
        workdir: Where to.
        rows: The table.
        config: Settings.
        curve: Numbers of dependencies of each kind.
        advice: What `choose_dependencies` said, a paragraph for each dependency.
        seconds: Run time so far.
    """
    figures = {
        "comparison": comparison_figure(
            [row for row in rows if row.method not in ("none", *OUTSIDE)], metrics=("end AUC gain", "label AUC gain"),
        ),
        "curve": auc_curve(rows, curve),
        "gaps": gap_curve(rows, curve),
    }  # fmt: skip
    for name, figure in figures.items():
        save_figure(workdir / "figures" / f"{name}.png", figure)
    write_results(
        workdir / "results.json",
        build_results("dependencies", data=config.data, config=config, rows=rows, seconds=seconds),
    )
    report = Report("Dependencies between rules")
    report.add_text(
        "Label models that differ only in the dependencies between rules they know. end AUC: area under the ROC curve "
        "on test rows of an end model trained on the probabilities. label AUC and label NLL: of the probabilities "
        "themselves on test rows. Gains are over the row none, of the same seed. The gaps are differences of training "
        "rows' probabilities from those without dependencies; the bounds hold for every row of votes.\n\n"
        "Intervals are over seeds; a number without one does not depend on the seed.",
        heading="What was done",
    )
    # Two tables: one with all of it is wider than a page.
    scored = [row for row in rows if "AUC" in row.metric or "NLL" in row.metric]
    report.add_results(scored, caption="End models and labels.")
    moved = [row for row in rows if "gap" in row.metric or "bound" in row.metric or row.metric == "dependencies"]
    report.add_results(moved, caption="How far the labels move from those without dependencies, and the bounds on it.")
    report.add_figure(
        figures["comparison"],
        caption="Gain over no dependencies: means with 95 % intervals over seeds.",
        alt="Gains by row",
    )
    report.add_figure(
        figures["curve"], caption="Gain in area under the ROC curve against the number of dependencies of each of five "
        "kinds, strongest first by the true labels; band: one standard deviation.", alt="Gain against dependencies"
    )  # fmt: skip
    report.add_figure(
        figures["gaps"], caption="How far the labels move, and the bound on it, tanh(d / 4).", alt="Gap and bound"
    )
    report.add_text(advice, heading="Advice on dependencies, first seed")
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(workdir / "report.html")


def _line(rows: Sequence[Row], metric: str, curve: Sequence[int]) -> tuple[list[int], np.ndarray]:
    """x, and y `(runs, points)`; 0 dependencies is the row none."""
    found = {(row.method, row.metric): row.runs for row in rows}
    names = {count: CURVE.format(count) if count else "none" for count in sorted(curve)}
    runs = [found[name, metric] for name in names.values()]
    return list(names), np.array(runs).T


def auc_curve(rows: Sequence[Row], curve: Sequence[int]) -> Figure:
    """Gains of end model and labels against the number of dependencies."""
    return lines_figure(
        {"end model": _line(rows, "end AUC gain", curve), "labels": _line(rows, "label AUC gain", curve)},
        xlabel="dependencies of each kind", ylabel="gain in ROC-AUC on test rows", references={"none": 0.0},
    )  # fmt: skip


def gap_curve(rows: Sequence[Row], curve: Sequence[int]) -> Figure:
    """Gaps to the labels without dependencies, beside the bound."""
    return lines_figure(
        {name: _line(rows, name, curve) for name in _GAPS}, xlabel="dependencies of each kind",
        ylabel="difference of probabilities",
    )  # fmt: skip
