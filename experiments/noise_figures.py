"""Figures of wrong labels: the joint of given and true labels, and the scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from jlabel.evaluation.style import INK, SERIES, grid_cells, light_grid, new_figure, styled, wrap

__all__ = ["confused_classes", "joint_figure", "score_figure"]

_REDS = LinearSegmentedColormap.from_list("reds", ["#FFFFFF", "#F3C6A5", "#D55E00", "#5C2600"])
MOST = 20  # classes in the figure
DIAGONAL = "#656C75"  # darker than GREY, which is faint on grey


def confused_classes(joint: np.ndarray, most: int = MOST) -> np.ndarray:
    """At most that many classes, those of the largest cells off the diagonal, in their own order."""
    if len(joint) <= most:
        return np.arange(len(joint))
    wrong = joint * (1 - np.eye(len(joint)))
    kept: dict[int, None] = {}
    for flat in np.argsort(-wrong, axis=None, kind="stable"):
        kept.update(dict.fromkeys(divmod(int(flat), len(joint))))
        if len(kept) >= most:
            break
    return np.array(sorted(list(kept)[:most]))


@styled
def joint_figure(joint: np.ndarray, names: Sequence[str]) -> Figure:
    """Estimated rows by given (down) and true label (across); of many classes those most confused.

    The colour is that of the wrong labels; the diagonal, which would outshine them, is grey.
    """
    chosen = confused_classes(joint)
    shown = joint[np.ix_(chosen, chosen)]
    wrong = shown * (1 - np.eye(len(chosen)))
    labels = [wrap(names[int(i)], 16, lines=1 if len(chosen) > 10 else 2) for i in chosen]
    size = min(7.0, 2.6 + 0.44 * len(chosen))
    figure = new_figure(size, width=min(7.0, size + 0.4))
    axes = figure.subplots()
    top = max(float(wrong.max()), 1e-9)
    axes.imshow(np.where(np.eye(len(chosen)) > 0, np.nan, wrong), cmap=_REDS, vmin=0, vmax=top)
    small = 9 if len(chosen) <= 12 else 7.5
    for (i, j), value in np.ndenumerate(shown):
        if i == j or value >= 0.5:
            text = f"{value:.0f}" if value < 10_000 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
            strong = i != j and value > 0.55 * top
            colour = "white" if strong else DIAGONAL if i == j else INK
            axes.text(j, i, text, ha="center", va="center", fontsize=small, color=colour)
    axes.set_facecolor("#F1F3F5")
    long = max(map(len, labels)) > 4
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    grid_cells(axes, labels, labels, **turned)
    axes.set_xlabel("true label, estimated")
    axes.set_ylabel("given label")
    many = f"{len(chosen)} of {len(joint)} classes, " if len(chosen) < len(joint) else ""
    axes.set_title(f"{many}estimated rows")
    return figure


@styled
def score_figure(scores: np.ndarray, flagged: np.ndarray, *, name: str) -> Figure:
    """Histogram of the scores, flagged rows in the strong colour; counts on a logarithmic scale."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    groups = {"flagged": scores[flagged], "not flagged": scores[~flagged]}
    colours = {"flagged": SERIES[1], "not flagged": SERIES[5]}
    axes.hist(
        list(groups.values()), bins=edges.tolist(), stacked=True, color=[colours[label] for label in groups],
        label=[f"{label} ({len(values)})" for label, values in groups.items()],
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.set_xlabel(f"{name.replace('_', ' ')} (lower is worse)")
    axes.set_ylabel("rows")
    axes.legend(loc="upper left")
    light_grid(axes, "y")
    return figure
