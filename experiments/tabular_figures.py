"""Figures of the studies of embeddings and robustness: scores against a rate or a layer, and maps of values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jlabel.evaluation import seed_interval
from jlabel.evaluation.style import (
    DASHES,
    GREY,
    INK,
    MARKERS,
    SERIES,
    draw_legend,
    light_grid,
    new_figure,
    styled,
    wrap,
)

__all__ = ["Group", "column_groups", "layers_figure", "maps_figure", "profile_groups", "rates_figure"]

MOST_GROUPS = 14  # colours and marks that can be told apart
_LETTERS = 6.5  # points, of values' names
_DODGE = 0.05  # of the distance between two places, so that intervals stand side by side


class Group(NamedTuple):
    """Values that are drawn alike.

    Attributes:
      name: in the legend. members: bool ``(V,)``. colour, marker: of matplotlib.
    """

    name: str
    members: np.ndarray
    colour: str
    marker: str


@styled
def rates_figure(
    rates: Sequence[float], series: Mapping[str, np.ndarray], *, xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Scores ``(R, rates)`` of each method: means with 95 % intervals over runs."""
    figure = new_figure(4.4)
    axes = figure.subplots()
    _lines(axes, rates, series)
    axes.set_xticks(rates, [f"{rate:.0%}" for rate in rates])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    draw_legend(figure, axes, columns=6)
    return figure


@styled
def layers_figure(panels: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Scores ``(R, layers)`` of each method against the layer, a panel for each kind of score, its name the y axis.

    A method with one layer, the MLP, is drawn at 0, before the Transformer.
    """
    figure = new_figure(4.2)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (ylabel, series) in zip(grid, panels.items(), strict=True):
        layers = range(max(values.shape[1] for values in series.values()))
        _lines(axes, layers, series)
        axes.set_xticks(layers, ["before", *map(str, layers[1:])])
        axes.set_xlabel("layer of the Transformer")
        axes.set_ylabel(ylabel)
    draw_legend(figure, grid[0], columns=4)
    return figure


def _lines(axes: Axes, places: Sequence[float], series: Mapping[str, np.ndarray]) -> None:
    """A line with intervals for each method ``(R, P)``; one that ends early stops there.

    The frame follows the means: of two or three runs intervals can be so wide that nothing else would be seen.
    """
    step = min(np.diff(places)) if len(places) > 1 else 1.0
    found = {name: [seed_interval(own) for own in values.T] for name, values in series.items()}
    means = [each.mean for own in found.values() for each in own]
    ends = [end for own in found.values() for each in own for end in (each.low, each.high) if np.isfinite(end)]
    span = max(max(means) - min(means), 0.02)
    for k, (name, own) in enumerate(found.items()):
        spread = [each.mean - each.low if np.isfinite(each.low) else 0.0 for each in own]
        at = np.array(places[: len(own)]) + (k - (len(series) - 1) / 2) * _DODGE * step
        axes.errorbar(
            at, [each.mean for each in own], yerr=spread, color=SERIES[k % 7], linestyle=DASHES[k % 7],
            marker=MARKERS[k % 7], markersize=5, linewidth=1.5, elinewidth=1, label=name,
        )  # fmt: skip
    low, high = max(min(means + ends), min(means) - span / 2), min(max(means + ends), max(means) + span / 2)
    axes.set_ylim(low - 0.06 * span, high + 0.06 * span)
    light_grid(axes, "both")


def profile_groups(prefers: np.ndarray) -> list[Group]:
    """Values by the profile that prefers them, bool ``(V, K)``; those of several profiles, and of none, in grey."""
    alone = prefers & (prefers.sum(1, keepdims=True) == 1)
    colours, markers = (*SERIES, INK), (*MARKERS, "*")
    groups = [
        Group(f"profile {k}", own, colours[k % len(colours)], markers[k % len(markers)])
        for k, own in enumerate(alone.T)
    ]
    several = Group("several profiles", prefers.sum(1) > 1, GREY, "+")
    return [*groups, several, Group("no profile", prefers.sum(1) == 0, GREY, ".")]


def column_groups(column: np.ndarray, names: Sequence[str]) -> list[Group]:
    """Values by their column; of many columns the first have colours, the others are grey."""
    shown = len(names) if len(names) <= MOST_GROUPS else MOST_GROUPS - 1
    groups = [
        Group(wrap(name, 22, lines=1), column == k, SERIES[k % 7], MARKERS[(k + k // 7) % 7])
        for k, name in enumerate(names[:shown])
    ]
    if shown < len(names):
        groups.append(Group(f"{len(names) - shown} other columns", column >= shown, GREY, "."))
    return groups


@styled
def maps_figure(maps: Mapping[str, np.ndarray], names: Sequence[str], groups: Sequence[Group]) -> Figure:
    """At most three maps of values, title to points ``(V, 2)``; values are named where there is room."""
    figure = new_figure(7.0)
    grid = list(figure.subplots(2, 2).flat)
    for axes, (title, points) in zip(grid, maps.items(), strict=False):
        for group in groups:
            axes.plot(
                *points[group.members].T, group.marker, color=group.colour, markersize=5.5, linestyle="none",
                markeredgewidth=1.0 if group.marker == "+" else 0.4,
                markeredgecolor=group.colour if group.marker in "+." else "white",
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.margins(0.09)
    for axes in grid[len(maps) :]:
        axes.set_axis_off()
    handles = [
        grid[-1].plot([], [], group.marker, color=group.colour, markersize=6, linestyle="none", label=group.name)[0]
        for group in groups
        if group.members.any()
    ]
    grid[-1].legend(handles=handles, loc="center", ncols=1 if len(handles) <= 11 else 2, title="marks: values of")
    figure.draw_without_rendering()  # places and sizes are known from here on
    for axes, points in zip(grid, maps.values(), strict=False):
        _name_values(axes, points, names)
    return figure


def _name_values(axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    """Write names beside their points, leaving out those that would lie on a point or on another name."""
    scale = 72 / axes.figure.dpi  # pixels to points
    at = axes.transData.transform(points) * scale
    width, height = axes.bbox.width * scale, axes.bbox.height * scale
    corner = np.array([axes.bbox.x0, axes.bbox.y0]) * scale
    marks = np.column_stack([at - 2.5, at + 2.5])
    taken = marks[np.isfinite(marks).all(1)]
    for place, point, name in zip(at, points, names, strict=True):
        text = wrap(name, 16, lines=1)
        size = np.array([0.62 * _LETTERS * len(text), _LETTERS])
        if not np.isfinite(place).all():
            continue
        for low in (place + (3.5, -size[1] / 2), place - (3.5 + size[0], size[1] / 2), place + (-size[0] / 2, 3.5)):
            box = np.concatenate([low, low + size])
            inside = (box[:2] >= corner).all() and (box[2:] <= corner + (width, height)).all()
            if inside and not ((box[:2] < taken[:, 2:]) & (box[2:] > taken[:, :2])).all(1).any():
                axes.annotate(text, point, xytext=low - place, textcoords="offset points", fontsize=_LETTERS, color=INK)
                taken = np.concatenate([taken, box[None]])
                break
