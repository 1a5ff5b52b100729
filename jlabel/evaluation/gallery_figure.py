"""Pictures in a grid with coloured borders: what the model said, and how sure the graph is of it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from jlabel.errors import InputError
from jlabel.evaluation.checks import same_length
from jlabel.evaluation.style import SERIES, WIDTH, styled, wrap

# Also told apart without colour: by the dashes and the mark in front of the caption.
BORDERS: dict[str, tuple[str, Literal["solid", "dashed"], str]] = {
    "deterministic": (SERIES[0], "solid", ""),
    "nondeterministic": (SERIES[2], "dashed", ""),
    "wrong": (SERIES[1], "solid", "✗ "),
    "none": ("#8A8F98", "solid", ""),
}


def check_gallery(
    images: ArrayLike | Sequence, captions: Sequence[str], borders: Sequence[str] | None
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Checks pictures, captions and border names and returns them as lists of one length."""
    pictures = [np.asarray(image) for image in images]  # type: ignore[union-attr]
    if not pictures:
        raise InputError("images is empty: give at least one picture")
    for i, picture in enumerate(pictures):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3 or 0 in picture.shape:
            raise InputError(f"images[{i}] must be uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")
    kinds = ["none"] * len(pictures) if borders is None else list(borders)
    texts = [str(caption) for caption in captions]
    same_length(images=pictures, captions=texts, borders=kinds)  # type: ignore[arg-type]
    for i, kind in enumerate(kinds):
        if kind not in BORDERS:
            raise InputError(f"borders[{i}] is {kind!r}; allowed: {', '.join(BORDERS)}")
    return pictures, texts, kinds


@styled
def gallery_figure(
    images: ArrayLike | Sequence,
    captions: Sequence[str],
    *,
    borders: Sequence[str] | None = None,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """Draws pictures in a grid, each with a caption and a border.

    Args:
        images: B pictures, uint8 `[H, W, 3]`; sizes may differ.
        captions: B texts.
        borders: B of `"deterministic"` (blue), `"nondeterministic"` (green, dashed), `"wrong"` (red, with a cross) or
            `"none"` (grey).
        columns: Pictures in a row.
        title: Over the figure.

    Returns:
        A figure with one axes per picture.

    Raises:
        InputError: Nothing to draw, not uint8 RGB, unknown border, or lengths that differ.

    Example:
        >>> pictures = np.zeros((2, 8, 8, 3), np.uint8)
        >>> len(gallery_figure(pictures, ["cat", "dog"], borders=["deterministic", "wrong"]).axes)
        2
    """
    pictures, texts, kinds = check_gallery(images, captions, borders)
    if columns < 1:
        raise InputError(f"columns must be 1 or more, got {columns}")
    columns = min(columns, len(pictures)) if len(pictures) > 3 else min(columns, 3)
    panel_rows = -(-len(pictures) // columns)
    cell = WIDTH / columns
    width = max(8, int(cell * 12.5))
    wrapped = [wrap(BORDERS[kind][2] + text, width, lines=4) for text, kind in zip(texts, kinds, strict=True)]
    step = cell + 0.12 + 0.155 * max(text.count("\n") + 1 for text in wrapped)
    used = [kind for kind in BORDERS if kind in kinds and kind != "none"]
    head, foot = 0.4 * bool(title) + 0.06, 0.35 * bool(used) + 0.06
    height = head + panel_rows * step + foot
    # placed by hand: the layout engine spreads pictures of a fixed shape far apart
    figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor="white")
    for i, (picture, text, kind) in enumerate(zip(pictures, wrapped, kinds, strict=True)):
        row, column = divmod(i, columns)
        left, bottom = column * cell + 0.07, height - head - row * step - cell + 0.07
        axes = figure.add_axes((left / WIDTH, bottom / height, (cell - 0.14) / WIDTH, (cell - 0.14) / height))
        axes.imshow(picture, interpolation="nearest" if max(picture.shape) < 96 else "antialiased", aspect="equal")
        axes.set_anchor("S")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        colour, dashes, _ = BORDERS[kind]
        frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=3.5)
        frame.set_linestyle(dashes)
        frame.set_clip_on(False)
        axes.add_patch(frame)
        axes.set_xlabel(text, fontsize=8.5, labelpad=6)
    if used:
        handles = [Line2D([], [], color=BORDERS[k][0], linestyle=BORDERS[k][1], linewidth=3) for k in used]
        figure.legend(handles, used, loc="lower center", ncols=len(used), handlelength=3, borderaxespad=0.1)
    if title:
        figure.suptitle(title, y=1 - 0.1 / height, va="top")
    return figure
