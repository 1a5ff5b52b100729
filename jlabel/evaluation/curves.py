"""Lines: a score against x with bands over runs, and the history of a training run."""

from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jlabel.errors import InputError
from jlabel.evaluation.checks import as_floats
from jlabel.evaluation.style import DASHES, GREY, MARKERS, SERIES, draw_legend, light_grid, new_figure, styled, wrap


@styled
def lines_figure(
    series: Mapping[str, tuple[ArrayLike | Sequence, ArrayLike | Sequence]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = False,
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Draws lines of y against x with bands over runs, such as accuracy against the number of labelled rows.

    Args:
        series: Name to (x `[P]`, y `[P]` or `[R, P]`); with runs the line is their mean, the band mean ± std.
        xlabel: What x is.
        ylabel: What y is.
        title: Over the figure.
        log_x: Logarithmic x; all x above 0.
        references: Name to a level drawn as a grey line (trivial, oracle).

    Returns:
        A figure.

    Raises:
        InputError: Nothing to draw, or x and y that do not fit.

    Example:
        >>> len(lines_figure({"graph": ([1, 2], [[0.1, 0.2], [0.3, 0.4]])}, xlabel="rows", ylabel="accuracy").axes)
        1
    """
    if not series:
        raise InputError("series is empty: give at least one line")
    figure = new_figure(3.9 + 0.22 * ((len(series) - 1) // 3))
    axes = figure.subplots()
    for i, (name, (x, y)) in enumerate(series.items()):
        places = as_floats(f"series[{name!r}] x", x)
        values = np.atleast_2d(as_floats(f"series[{name!r}] y", y, ndim=None, finite=False))
        if values.shape[-1:] != places.shape or values.ndim > 2:
            raise InputError(f"series[{name!r}] has x of shape {places.shape} and y of shape {np.shape(y)}")
        if log_x and places.min() <= 0:
            raise InputError(f"series[{name!r}] has x = {places.min():g}; a logarithmic axis needs x above 0")
        mean, colour = values.mean(axis=0), SERIES[i % len(SERIES)]
        marker = MARKERS[i % len(MARKERS)] if len(places) <= 40 else None
        axes.plot(
            places,
            mean,
            color=colour,
            linestyle=DASHES[i % len(DASHES)],
            marker=marker,
            markersize=5,
            linewidth=1.8,
            label=name,
        )
        if len(values) > 1:
            std = values.std(axis=0, ddof=1)
            axes.fill_between(places, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    for name, level in (references or {}).items():
        axes.axhline(level, color=GREY, linewidth=1, linestyle=":", zorder=0)
        axes.annotate(
            wrap(name, 40, lines=1),
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=GREY,
        )
    if log_x:
        axes.set_xscale("log")
        ticks = sorted({float(value) for x, _ in series.values() for value in np.asarray(x)})
        if len(ticks) <= 8:
            axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
            axes.set_xticks([], minor=True)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    light_grid(axes, "both")
    draw_legend(figure, axes)
    return figure


@styled
def curves_figure(
    history: Sequence[Mapping[str, float]], *, metrics: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Draws a training history, one panel per metric: the values, and over many points their running mean.

    Args:
        history: Log lines in order, each with `"step"` and numbers; a line may lack a metric.
        metrics: Which metrics, default all numbers but `step` and `seconds`, at most six.
        title: Over the figure.

    Returns:
        A figure.

    Raises:
        InputError: No line, or no such metric.

    Example:
        >>> len(curves_figure([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]).axes)
        1
    """
    found = dict.fromkeys(
        name
        for line in history
        for name, value in line.items()
        if name not in ("step", "seconds") and isinstance(value, int | float) and not isinstance(value, bool)
    )
    names = list(metrics) if metrics is not None else list(found)[:6]
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise InputError(
            f"history has no metric {missing[0] if missing else ''!r}; it has: {', '.join(found) or 'none'}"
        )
    columns = min(len(names), 3 if len(names) != 4 else 2)
    panel_rows = -(-len(names) // columns)
    figure = new_figure(0.4 + panel_rows * (3.2 if columns == 1 else 2.4))
    grid = figure.subplots(panel_rows, columns, squeeze=False)
    for i, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
        points = np.array([(line["step"], line[name]) for line in history if name in line], dtype=np.float64)
        steps, values = points.T
        window = len(values) // 20
        colour = SERIES[i % len(SERIES)]
        marker = "o" if len(values) < 25 else None
        axes.plot(
            steps, values, color=colour, linewidth=1.8 if window < 3 else 1, alpha=1 if window < 3 else 0.35,
            marker=marker, markersize=3.5,
        )  # fmt: skip
        if window >= 3:
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axes.plot(steps[window // 2 :][: len(smooth)], smooth, color=colour, linewidth=2)
        axes.set_title(wrap(name, 28, lines=2))
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.margins(x=0.02)
        light_grid(axes, "y")
    for axes in grid.flat[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("step")
    for axes in list(grid.flat)[len(names) :]:
        axes.remove()
    if title:
        figure.suptitle(title)
    return figure
