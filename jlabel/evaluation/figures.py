"""Charts of a study: intervals per method, reliability, confusions."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from jlabel.errors import InputError
from jlabel.evaluation.calibration import ReliabilityBins
from jlabel.evaluation.checks import as_rows
from jlabel.evaluation.results import Row
from jlabel.evaluation.style import (
    GREY,
    INK,
    SERIES,
    grid_cells,
    light_grid,
    new_figure,
    styled,
    wrap,
)

_BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#9CC9E3", "#0072B2", "#00304D"])


@styled
def comparison_figure(
    rows: Sequence[Row],
    *,
    metrics: Sequence[str] | None = None,
    split: str = "test",
    ours: Collection[str] = (),
    references: Collection[str] = (),
    paper: Mapping[tuple[str, str], float] | None = None,
) -> Figure:
    """Draws each method's mean with its 95 % interval and its single runs, one panel per metric.

    Args:
        rows: Rows of a study; methods appear top down in this order.
        metrics: Which metrics, default all of the split (at most 3 panels beside each other, the rest below).
        split: Which split.
        ours: Methods drawn in the strong colour.
        references: Trivial and oracle methods, drawn in grey with a line through the panel.
        paper: (method, metric) to the published value, drawn as a hollow diamond.

    Returns:
        A figure.

    Raises:
        InputError: No row of this split and these metrics.

    Example:
        >>> from jlabel.evaluation.results import make_row
        >>> len(comparison_figure([make_row("graph", "accuracy", [0.5, 0.6])]).axes)
        1
    """
    shown = [row for row in rows if row.split == split and (metrics is None or row.metric in metrics)]
    if not shown:
        raise InputError(f"rows hold nothing for split {split!r} and metrics {metrics or 'any'}")
    names = list(metrics or dict.fromkeys(row.metric for row in shown))
    methods = list(dict.fromkeys(row.method for row in shown))
    columns = min(3, len(names))
    panel_rows = -(-len(names) // columns)
    figure = new_figure(panel_rows * (0.9 + 0.36 * len(methods)) + (0.3 if paper else 0))
    grid = figure.subplots(panel_rows, columns, sharey=True, squeeze=False)
    published = paper or {}
    for axes, metric in zip(grid.flat, names, strict=False):
        for row in (r for r in shown if r.metric == metric):
            place = methods.index(row.method)
            grey = row.method in references
            colour = GREY if grey else SERIES[0] if row.method in ours or not ours else SERIES[1]
            if grey and np.isfinite(row.mean):
                axes.axvline(row.mean, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
            if len(row.runs) > 1:
                axes.plot(row.runs, [place + 0.24] * len(row.runs), "|", color=colour, alpha=0.6, markersize=5)
            if np.isfinite(row.ci95).all():
                axes.plot(row.ci95, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([row.mean], [place], "o", color=colour, markersize=6.5)
            axes.annotate(
                f"{row.mean:.3g}" if abs(row.mean) >= 1 else f"{row.mean:.3f}".lstrip("0") or "0",
                (row.mean, place),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=INK,
            )
            value = published.get((row.method, metric))
            if value is not None:
                axes.plot([value], [place], "D", mfc="white", mec=INK, markersize=5.5, label="paper")
        axes.set_title(wrap(metric, 28, lines=2))
        axes.set_ylim(len(methods) - 0.45, -0.65)
        axes.set_yticks(range(len(methods)), [wrap(m, 26, lines=2) for m in methods])
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=5 if columns < 3 else 4)
        light_grid(axes, "x")
    for axes in list(grid.flat)[len(names) :]:
        axes.remove()
    if paper:
        marker = grid.flat[0].plot([], [], "D", mfc="white", mec=INK, markersize=5.5)[0]
        figure.legend([marker], ["paper"], loc="outside lower right")
    return figure


@styled
def reliability_figure(bins: ReliabilityBins | Mapping[str, ReliabilityBins]) -> Figure:
    """Draws accuracy against confidence per bin, over the histogram of confidence.

    Args:
        bins: From `reliability_bins`, or several by name (at most four), such as before and after a temperature.

    Returns:
        A figure; each title holds the expected calibration error (ECE).

    Raises:
        InputError: None or more than four.

    Example:
        >>> from jlabel.evaluation.calibration import reliability_bins
        >>> len(reliability_figure(reliability_bins([0.9, 0.3], [True, False])).axes)
        2
    """
    several = {"": bins} if isinstance(bins, ReliabilityBins) else dict(bins)
    if not 1 <= len(several) <= 4:
        raise InputError(f"bins holds {len(several)} diagrams; allowed: 1 to 4")
    width = 4.6 if len(several) == 1 else 7.0
    side = {1: 3.9, 2: 3.1, 3: 2.2, 4: 1.75}[len(several)]
    figure = new_figure(side + 1.75, width=width)
    grid = figure.subplots(2, len(several), sharex=True, sharey="row", squeeze=False, height_ratios=[side, 0.85])
    for column, (name, found) in enumerate(several.items()):
        top, bottom = grid[:, column]
        full = found.rows > 0
        widths = found.high - found.low
        centres = (found.low + found.high) / 2
        top.bar(centres[full], found.accuracy[full], widths[full] * 0.94, color=SERIES[5], alpha=0.55, linewidth=0)
        top.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        top.vlines(found.confidence[full], found.confidence[full], found.accuracy[full], color=SERIES[1], linewidth=1.6)
        top.plot(found.confidence[full], found.accuracy[full], "o", color=SERIES[0], markersize=4.5)
        title = f"ECE {found.error:.3f}"
        top.set_title(f"{wrap(name, 40 // len(several) + 4, lines=2)}\n{title}" if name else f"Reliability, {title}")
        top.set_xlim(0, 1)
        top.set_ylim(0, 1.02)
        share = found.rows / found.rows.sum()
        bottom.bar(centres, share, widths * 0.94, color=GREY, linewidth=0)
        bottom.set_xticks([0, 0.5, 1] if len(several) > 2 else [0, 0.2, 0.4, 0.6, 0.8, 1])
        bottom.set_xlabel("confidence")
        for axes in (top, bottom):
            light_grid(axes, "y")
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("share")
    return figure


@styled
def confusion_figure(matrix: ArrayLike, names: Sequence[str], *, max_classes: int = 20) -> Figure:
    """Draws a confusion matrix with rows as shares of the truth; of many classes the most confused ones.

    Args:
        matrix: `[C, C]` or `[C, C + 1]` counts from `confusion_matrix`, row = truth, last column = no prediction.
        names: C class names.
        max_classes: Above this many classes, those with the largest single confusions are shown.

    Returns:
        A figure; shares are of all rows of a class, whether or not their prediction is shown.

    Raises:
        InputError: Shapes that do not fit.

    Example:
        >>> len(confusion_figure([[8, 2, 0], [1, 9, 0]], ["cat", "dog"]).axes) >= 1
        True
    """
    counts = as_rows("matrix", matrix, ndim=2).astype(np.float64)
    classes = len(counts)
    if counts.shape[1] not in (classes, classes + 1) or len(names) != classes:
        raise InputError(
            f"matrix has shape {counts.shape} and names {len(names)} entries: give [C, C] or [C, C + 1] and C"
        )
    if max_classes < 2:
        raise InputError(f"max_classes must be 2 or more, got {max_classes}")
    none = counts[:, classes:].sum(axis=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    chosen = np.arange(classes)
    if classes > max_classes:
        wrong = counts[:, :classes] * (1 - np.eye(classes))
        kept: dict[int, None] = {}
        for flat in np.argsort(-(wrong + wrong.T), axis=None, kind="stable"):
            kept.update(dict.fromkeys(divmod(int(flat), classes)))
            if len(kept) >= max_classes:
                break
        chosen = np.array(sorted(list(kept)[:max_classes]))
    columns = [*chosen, classes] if none[chosen].any() else list(chosen)
    shown = shares[np.ix_(chosen, columns)]
    labels = [wrap(names[int(i)], 18, lines=1 if len(chosen) > 10 else 2) for i in chosen]
    size = min(7.0, 2.4 + 0.42 * len(columns))
    figure = new_figure(size * (len(chosen) / len(columns)) ** 0.5, width=min(7.0, size + 0.3))
    axes = figure.subplots()
    axes.imshow(shown, cmap=_BLUES, vmin=0, vmax=1)
    small = 9 if len(columns) <= 13 else 7
    for (i, j), share in np.ndenumerate(shown):
        if share >= 0.005:
            text = f"{100 * share:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=small, color="white" if share > 0.5 else INK)
    grid_cells(axes, labels + ["(none)"] * (len(columns) - len(chosen)), labels, rotation=45, ha="right")
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    what = "% of the true class"
    axes.set_title(f"{len(chosen)} most confused of {classes} classes, {what}" if len(chosen) < classes else what)
    return figure
