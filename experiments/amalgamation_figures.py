"""Figures of a study: scores against what is varied, and who told whom what."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.amalgamation_data import Part
from experiments.amalgamation_study import METRICS, Outcome
from jlabel.evaluation import seed_interval
from jlabel.evaluation.style import (
    DASHES,
    GREY,
    MARKERS,
    SERIES,
    draw_legend,
    light_grid,
    new_figure,
    styled,
    wrap,
)

__all__ = ["levels_figure", "transfers_figure"]

SHOWN = ("ANT", "ANT earned trust", "BL", "TC", "CFL", "FKA", "AKA")
MOST_LABELS = 24


@styled
def levels_figure(levels: Sequence[float], outcomes: Sequence[Outcome], *, xlabel: str) -> Figure:
    """Each metric against the share of labels or the number of teachers: means with 95 % intervals over seeds."""
    figure = new_figure(6.4)
    grid = figure.subplots(2, 2, sharex=True)
    methods = [name for name in SHOWN if name in outcomes[0].scores]
    step = min(np.diff(levels))
    for axes, metric in zip(grid.flat, METRICS, strict=True):
        for k, method in enumerate(methods):
            found = [seed_interval(one.scores[method][metric]) for one in outcomes]
            spread = [each.mean - each.low if np.isfinite(each.low) else 0.0 for each in found]
            places = np.array(levels) + (k - (len(methods) - 1) / 2) * 0.055 * step  # intervals side by side
            axes.errorbar(
                places, [each.mean for each in found], yerr=spread, color=SERIES[k], linestyle=DASHES[k],
                marker=MARKERS[k], markersize=4.5, linewidth=1.4, elinewidth=0.9, label=method,
            )  # fmt: skip
        if "oracle" in outcomes[0].scores:
            means = [one.scores["oracle"][metric].mean() for one in outcomes]
            axes.plot(levels, means, color=GREY, linewidth=1, linestyle=":", zorder=0, label="oracle")
        axes.set_title(metric)
        light_grid(axes, "both")
    for axes in grid[1]:
        axes.set_xlabel(xlabel)
        axes.set_xticks(levels, [f"{level:.0%}" if max(levels) <= 1 else f"{level:g}" for level in levels])
    draw_legend(figure, grid[0, 0], columns=7)
    return figure


@styled
def transfers_figure(parts: Mapping[str, tuple[Part, Outcome]]) -> Figure:
    """Shared labels, a row of panels a part: the share of rows in dispute, and how often which teacher told another."""
    named = {title: _by_label(*one) for title, one in parts.items()}
    figure = new_figure(0.9 + sum(0.75 + 0.27 * len(found) for found in named.values()))
    grid = figure.subplots(
        len(named), 2, squeeze=False, sharey="row", height_ratios=[1 + len(found) for found in named.values()]
    )
    colours: dict[str, str] = {}
    for (left, right), (title, found) in zip(grid, named.items(), strict=True):
        places = np.arange(len(found))
        left.barh(places, [disagreement for disagreement, _ in found.values()], 0.62, color=SERIES[5])
        start = np.zeros(len(found))
        for name in sorted({name for _, sources in found.values() for name in sources}):
            width = np.array([sources.get(name, 0.0) for _, sources in found.values()])
            label = None if name in colours else name
            colour = colours.setdefault(name, SERIES[len(colours) % 5])
            right.barh(places, width, 0.62, left=start, color=colour)
            if label:  # one legend for all panels
                grid[0, 1].plot([], [], "s", color=colour, label=label)
            start += width
        left.set_yticks(places, [wrap(name, 22, lines=1) for name in found])
        left.set_ylim(len(found) - 0.4, -0.6)
        left.set_title(f"{title}: rows in dispute" if len(named) > 1 else "rows in dispute")
        right.set_title("transfers")
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
            axes.set_xlabel("share of rows" if axes is left else "a row")
            light_grid(axes, "x")
    draw_legend(figure, grid[0, 1], columns=4)
    return figure


def _by_label(part: Part, outcome: Outcome) -> dict[str, tuple[float, dict[str, float]]]:
    """Label to share of rows in dispute and transfers a row by who told, means over the seeds in which it is shared."""
    labels = sorted({name for one in outcome.transfers for name in one.sources})
    found = {}
    for name in labels:
        own = [(p, one) for p, one in zip(part.problems, outcome.transfers, strict=True) if name in one.sources]
        sources: dict[str, float] = {}
        for p, one in own:
            for source, count in one.sources[name].items():
                who = f"by teacher {source}"
                if name in p.competent:
                    who = f"by the {'competent' if source in p.competent[name] else 'damaged'} teacher"
                sources[who] = sources.get(who, 0.0) + count / one.rows / len(own)
        found[name] = (float(np.mean([one.disagreement[name] for _, one in own])), sources)
    busiest = sorted(found, key=lambda name: -found[name][0])[:MOST_LABELS]
    return {name: found[name] for name in labels if name in busiest}
