"""What all figures share, those of a study too: size, colours that colour-blind readers can tell apart, plain text."""

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = [
    "DASHES", "GREY", "INK", "MARKERS", "PALE", "SERIES", "WIDTH", "draw_legend", "grid_cells", "light_grid",
    "new_figure", "styled", "wrap",
]  # fmt: skip

# Okabe and Ito's palette without yellow, too pale for lines on white.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (1, 1)))
INK, GREY, PALE = "#22272E", "#8A8F98", "#E3E6EA"
WIDTH = 7.0  # inches: 700 px at 100 dpi

_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.parse_math": False,  # a "$" in a class or file name is a "$"
    "axes.formatter.use_mathtext": False,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Runs a drawing function under the shared settings and puts the caller's back."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(_SETTINGS):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return wrapped


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """Returns an empty white figure that keeps everything inside its frame."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    return Figure(figsize=(width, height), dpi=100, layout=layout, facecolor="white")


def wrap(text: Any, width: int, *, lines: int = 3) -> str:
    """Breaks a name into at most `lines` lines of `width` characters; the rest becomes an ellipsis."""
    parts = textwrap.wrap(" ".join(str(text).split()), width) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1].rstrip() + "…"]
    return "\n".join(parts)


def light_grid(axes: Axes, axis: str) -> None:
    """Draws faint grid lines behind the data."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def grid_cells(axes: Axes, columns: Sequence[str], rows: Sequence[str], **turned: Any) -> None:
    """Names the columns and rows of a heat map and parts its cells by faint lines; `turned` is how the columns lie."""
    axes.set_xticks(range(len(columns)), columns, **turned)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def draw_legend(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """Puts one legend under the whole figure, if something is named."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        names = [wrap(name, 34, lines=2) for name in names]
        columns = max(1, min(columns, len(names), int(90 // (max(len(n.split("\n")[0]) for n in names) + 6))))
        figure.legend(handles, names, loc="outside lower center", ncols=columns)
