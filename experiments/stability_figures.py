"""Figures of the benchmark stability study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import ConvexHull, QhullError

from jlabel.confident_learning import VOTE_CATEGORIES, accuracy_at_prevalence
from jlabel.evaluation import Interval
from jlabel.evaluation.style import GREY, INK, MARKERS, PALE, SERIES, draw_legend, light_grid, new_figure, styled

if TYPE_CHECKING:
    from experiments.stability_votes import VoteSet

__all__ = ["accuracy_figure", "categories_figure", "counts_figure", "prevalence_figure", "ranks_figure", "sizes_figure"]

_CATEGORY_COLOURS = (PALE, "#9AA3AD", SERIES[0], SERIES[4], SERIES[3])
_SERIES = (*SERIES, "#4D4D4D")


@styled
def categories_figure(found: Sequence[VoteSet], thresholds: Sequence[int]) -> Figure:
    """Shares of the vote categories, a panel for each threshold and a bar for each set."""
    figure = new_figure(1.1 + 0.3 * len(found))
    panels = figure.subplots(1, len(thresholds), sharey=True, squeeze=False)[0]
    places = np.arange(len(found))[::-1]
    for axes, threshold in zip(panels, thresholds, strict=True):
        shares = np.array([s.categories[threshold] / s.checked for s in found])
        left = np.zeros(len(found))
        for category, colour, part in zip(VOTE_CATEGORIES, _CATEGORY_COLOURS, shares.T, strict=True):
            axes.barh(places, part, left=left, color=colour, height=0.72, label=category)
            left += part
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.set_title(f"{threshold} votes")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, [f"{s.name} ({s.checked:,})" for s in found])
    draw_legend(figure, panels[0], columns=5)
    return figure


@styled
def counts_figure(names: Sequence[str], notes: Sequence[str], shares: Sequence[Interval]) -> Figure:
    """How many of the flagged rows are errors, with intervals: on the right edge every flag would be one."""
    figure = new_figure(1.0 + 0.3 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    axes.hlines(places, [s.low for s in shares], [s.high for s in shares], color=SERIES[0], linewidth=2.2)
    axes.plot([s.mean for s in shares], places, "o", color=SERIES[0], markersize=6)
    for place, note in zip(places, notes, strict=True):
        axes.annotate(note, (1.02, place), xycoords=("axes fraction", "data"), fontsize=8.5, va="center", color=INK)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("errors among the flagged rows")
    light_grid(axes, "x")
    return figure


@styled
def accuracy_figure(
    names: Sequence[str], original: np.ndarray, corrected: np.ndarray, *, rows: str, note: str, groups: Sequence[str]
) -> Figure:
    """Original against corrected accuracy, a point a model; those at the edge of the cloud are named."""
    figure = new_figure(4.8)
    axes = figure.subplots()
    for colour, marker, group in zip(_SERIES, MARKERS, dict.fromkeys(groups), strict=False):
        here = np.array([g == group for g in groups])
        axes.plot(
            original[here], corrected[here], marker, color=colour, markersize=6, alpha=0.85, label=group or "_models"
        )
    centre = np.median(original), np.median(corrected)
    for i in _edge(original, corrected):
        left, below = original[i] < centre[0], corrected[i] < centre[1]
        axes.annotate(
            names[i], (original[i], corrected[i]), xytext=(-4 if left else 4, -5 if below else 5), fontsize=8,
            textcoords="offset points", ha="right" if left else "left", va="top" if below else "bottom",
        )  # fmt: skip
    axes.set_xlabel(f"original accuracy on {rows}")
    axes.set_ylabel(f"corrected accuracy on {rows}")
    axes.set_title(note, loc="left", fontsize=9.5)
    axes.margins(x=0.16, y=0.1)
    light_grid(axes, "both")
    draw_legend(figure, axes)
    return figure


def _edge(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Points on the edge of the cloud that are far enough from each other to be named."""
    points = np.column_stack([v / (np.ptp(v) or 1) for v in (x, y)])
    try:
        corners = ConvexHull(points).vertices
    except QhullError:  # on a line
        corners = np.array([x.argmin(), x.argmax(), y.argmin(), y.argmax()])
    kept: list[int] = []
    for i in sorted(set(corners.tolist()), key=lambda i: -np.abs(points[i] - np.median(points, axis=0)).sum()):
        gaps = np.abs(points[kept] - points[i])
        if not ((gaps[:, 0] < 0.25) & (gaps[:, 1] < 0.06)).any():
            kept.append(i)
    return kept


@styled
def ranks_figure(names: Sequence[str], left: np.ndarray, right: np.ndarray, *, titles: tuple[str, str]) -> Figure:
    """Ranks before and after, a line a model: red ones fall, blue ones rise, by a quarter of the field or more."""
    count = len(names)
    figure = new_figure(1.0 + 0.2 * count, width=6.0)
    axes = figure.subplots()
    order = [_places(values) for values in (left, right)]  # each name has its own line, also where ranks are shared
    for i, name in enumerate(names):
        a, b = order[0][i], order[1][i]
        moved = (right[i] - left[i]) / count
        colour = SERIES[1] if moved >= 0.25 else SERIES[0] if moved <= -0.25 else "#B5BBC3"
        axes.plot([0, 1], [a, b], color=colour, linewidth=1.6, solid_capstyle="round", zorder=1 + (abs(moved) >= 0.25))
        text = INK if abs(moved) >= 0.25 else "#6B727B"
        axes.annotate(f"{name}  {left[i]:g}", (0, a), xytext=(-5, 0), textcoords="offset points", ha="right",
                      va="center", fontsize=8, color=text)  # fmt: skip
        axes.annotate(f"{right[i]:g}  {name}", (1, b), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=8, color=text)  # fmt: skip
    axes.set(xlim=(-0.75, 1.75), ylim=(count + 0.5, 0.3))
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_yticks([])
    axes.set_xticks([0, 1], titles)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    return figure


def _places(ranks: np.ndarray) -> np.ndarray:
    places = np.empty(len(ranks))
    places[np.argsort(ranks, kind="stable")] = np.arange(1, len(ranks) + 1)
    return places


@styled
def prevalence_figure(
    names: Sequence[str],
    benign: np.ndarray,
    on_correctable: Mapping[str, np.ndarray],
    *,
    start: float,
    highlight: Collection[int],
    crossings: Mapping[str, Sequence[tuple[str, float, float, float]]],
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Figure:
    """Accuracy against noise prevalence, a panel for each kind of label; the other models are pale lines.

    Args:
      names: of the models. benign: accuracies on B. on_correctable: title of a panel to accuracies on C.
      start: the prevalence as it is. highlight: models in colour.
      crossings: title to (text, prevalence, low, high) of crossings to mark.
      bands: title to (low, high) of A(N), ``[P, M]`` each.
    """
    figure = new_figure(0.7 + 2.9 * len(on_correctable) + 0.22 * ((len(highlight) + 3) // 4))
    grid = figure.subplots(len(on_correctable), 1, sharex=True, squeeze=False)[:, 0]
    x = np.linspace(start, 1, 50)
    for axes, (title, correctable) in zip(grid, on_correctable.items(), strict=True):
        lines = accuracy_at_prevalence(benign[None], correctable[None], x[:, None])
        axes.plot(x, lines, color="#C9CED4", linewidth=0.8, zorder=1)
        for colour, i in zip(_SERIES, highlight, strict=False):
            axes.plot(x, lines[:, i], color=colour, linewidth=1.9, label=names[i], zorder=3)
            if bands:
                low, high = (end[:, i] for end in bands[title])
                axes.fill_between(np.linspace(start, 1, len(low)), low, high, color=colour, alpha=0.13, linewidth=0)
        for k, mark in enumerate(crossings.get(title, ())):
            _mark(axes, k, *mark)
        axes.axvline(start, color=GREY, linewidth=0.8, zorder=0)
        axes.set_ylabel("accuracy")
        axes.set_title(title, loc="left")
        axes.set_xlim(start - 0.015, 1.0)
        light_grid(axes, "y")
    grid[-1].set_xlabel(f"noise prevalence N; as it is: {100 * start:.2g} %")
    draw_legend(figure, grid[0], columns=4)
    return figure


def _mark(axes: Axes, place: int, text: str, value: float, low: float, high: float) -> None:
    """A dotted line at a crossing, and above the lines its interval as a bar with what it is."""
    if place == 0:
        low_end, high_end = axes.get_ylim()
        ticks = [tick for tick in axes.get_yticks() if low_end <= tick <= high_end]
        axes.set_ylim(low_end, high_end + 0.38 * (high_end - low_end))
        axes.set_yticks(ticks)
    y = 0.96 - 0.08 * place
    across = axes.get_xaxis_transform()
    axes.plot([value, value], [0, y], color=INK, linewidth=0.9, linestyle=":", zorder=2, transform=across)
    axes.plot([low, high], [y, y], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=4, transform=across)
    axes.plot([value], [y], "o", color=INK, markersize=4, zorder=4, transform=across)
    axes.annotate(
        f"{text} {100 * value:.1f} %", (high, y), xycoords=across, xytext=(5, 0), textcoords="offset points",
        fontsize=8, va="center", color=INK,
    )  # fmt: skip


@styled
def sizes_figure(
    names: Sequence[str], panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]
) -> Figure:
    """Accuracy of each model, smallest first, with intervals; panel to series to (mean, low, high)."""
    figure = new_figure(0.6 + 2.7 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    places = np.arange(len(names))
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        for s, (label, (mean, low, high)) in enumerate(series.items()):
            x = places + 0.16 * (s - (len(series) - 1) / 2)
            axes.vlines(x, low, high, color=SERIES[s], linewidth=2)
            axes.plot(x, mean, MARKERS[s], color=SERIES[s], markersize=6, label=label)
        axes.set_title(title, loc="left")
        axes.set_ylabel("accuracy")
        light_grid(axes, "y")
    grid[-1].set_xticks(places, names, rotation=30, ha="right")
    draw_legend(figure, grid[0])
    return figure
