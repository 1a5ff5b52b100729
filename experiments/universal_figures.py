"""Accuracy of universal models against the F1 of the relations they are built on."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.universal_data import Problem
from experiments.universal_study import AUTO, SINGLE, Outcome
from jlabel.evaluation import seed_interval
from jlabel.evaluation.style import GREY, INK, MARKERS, SERIES, draw_legend, light_grid, new_figure, styled
from jlabel.taxonomy import METHODS, relation_scores

__all__ = ["agreement_figure"]


@styled
def agreement_figure(panels: Mapping[str, tuple[Mapping[str, Outcome], Sequence[Problem]]]) -> Figure:
    """F1 of relations to the right, a column a part.

    Above, accuracy of each method on test rows with its 95 % interval over seeds; below, that of each candidate rule's
    probes on validation rows.
    """
    figure = new_figure(6.6)
    grid = figure.subplots(2, len(panels), squeeze=False, height_ratios=[1.2, 1])
    for (above, below), (title, (outcomes, problems)) in zip(grid.T, panels.items(), strict=True):
        related = [name for name, outcome in outcomes.items() if outcome.f1(problems)]
        for k, name in enumerate(related):
            accuracy = seed_interval(outcomes[name].accuracy.mean(1))
            spread = accuracy.mean - accuracy.low if np.isfinite(accuracy.low) else 0.0
            above.errorbar(
                np.mean(outcomes[name].f1(problems)), accuracy.mean, yerr=spread, color=SERIES[k % len(SERIES)],
                elinewidth=1.2, marker=MARKERS[k % len(MARKERS)], markersize=7, mec="white", linestyle="none",
                label=name.removeprefix("universal, "),
            )  # fmt: skip
        single = float(outcomes[SINGLE].accuracy.mean())
        above.axhline(single, color=GREY, linewidth=1, linestyle=":", zorder=0)
        above.annotate(
            "single", (1, single), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
            ha="right", fontsize=8.5, color=GREY,
        )  # fmt: skip
        above.set_title(title)
        _draw_candidates(below, outcomes, problems)
        below.set_xlabel("F1 of relations")
        above.set_xlabel("F1 of relations")
        for axes in (above, below):
            light_grid(axes, "both")
    grid[0, 0].set_ylabel("test accuracy")
    grid[1, 0].set_ylabel("validation accuracy of probes")
    draw_legend(figure, grid[0, 0], columns=4)
    return figure


def _draw_candidates(axes: Axes, outcomes: Mapping[str, Outcome], problems: Sequence[Problem]) -> None:
    """Mean F1 and probe accuracy of each candidate rule over seeds; lines join the values of a parameter."""
    choices, tried = outcomes[AUTO].choices, outcomes[AUTO].tried
    accuracy = np.mean([choice.val_accuracy for choice in choices], 0)
    f1 = np.mean([
        [relation_scores(found, problem.truth).f1 for found in own]
        for own, problem in zip(tried, problems, strict=True)
        if problem.truth is not None
    ], 0)  # fmt: skip
    candidates = choices[0].candidates
    for k, method in enumerate(METHODS):
        own = [i for i, candidate in enumerate(candidates) if candidate.method == method]
        # The colours of the methods above, which begin with equal names.
        axes.plot(f1[own], accuracy[own], color=SERIES[k + 1], marker=MARKERS[k + 1], markersize=5, linewidth=1)
        below = method == "density"  # the values of two rules may lie in one place
        for i in own:
            axes.annotate(
                str(candidates[i]).removeprefix(method).strip(), (f1[i], accuracy[i]), xytext=(0, -5 if below else 5),
                textcoords="offset points", ha="center", va="top" if below else "bottom", fontsize=7.5, color=INK,
            )  # fmt: skip
    axes.margins(0.08, 0.14)
