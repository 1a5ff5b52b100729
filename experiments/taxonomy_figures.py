"""Figures of a taxonomy: relations as lines between columns of classes, heat maps, precision against recall, t-SNE."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from experiments.taxonomy_data import Domain
from jlabel.evaluation.style import (
    DASHES,
    GREY,
    INK,
    MARKERS,
    SERIES,
    WIDTH,
    draw_legend,
    grid_cells,
    light_grid,
    new_figure,
    styled,
    wrap,
)
from jlabel.taxonomy import Relations, RelationScores

__all__ = ["Drawing", "curves_figure", "features_figure", "heat_figure", "taxonomy_figures"]

ROWS = 46  # of a page of the taxonomy
PAGES = 6
LEAST = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)  # weights of the edges drawn
CELLS = 22  # most rows and columns of a heat map
POINTS = 150  # of each domain in the map of features
STEP, WIDE_STEP = 0.235, 0.34  # inches a row, and where lines are many
MUTUAL, ONE_WAY = SERIES[0], SERIES[1]


class _Block(NamedTuple):
    """Classes that hang together: their numbers by domain, from top to bottom, and how many rows they take."""

    columns: tuple[tuple[int, ...], ...]
    height: int


class Drawing(NamedTuple):
    """Pages, and what they show: of so many edges those of a weight of at least `least`."""

    pages: list[Figure]
    drawn: int
    edges: int
    least: float

    @property
    def caption(self) -> str:
        """What is drawn, in a sentence."""
        some = f", those of classes related by {self.least:g} or more one way or the other" if self.least else ""
        return f"{self.drawn} of {self.edges} edges are drawn{some}." if self.drawn < self.edges else ""


def taxonomy_figures(relations: Relations, doubtful: np.ndarray | None = None) -> Drawing:
    """Pages with a column for each domain and lines between related classes.

    Weak edges are left out where otherwise too many classes would hang together to be told apart.

    Args:
      relations: what to draw; classes without any edge are left out. doubtful: bool ``(V, V)``, drawn dashed.
    """
    for least in LEAST:
        strong = np.maximum(relations.weights, relations.weights.T) >= least
        shown = Relations(relations.domains, relations.class_names, np.where(strong, relations.weights, 0))
        blocks = _blocks(shown)
        if max((block.height for block in blocks), default=0) <= ROWS:
            break
    pages: list[list[_Block]] = []
    for block in blocks:
        if not pages or sum(other.height + 1 for other in pages[-1]) + block.height > ROWS:
            pages.append([])
        pages[-1].append(block)
    there = {v for page in pages[:PAGES] for block in page for column in block.columns for v in column}
    drawn = sum(int(a) in there for a in np.nonzero(shown.weights)[0])
    unsure = np.zeros(relations.weights.shape, bool) if doubtful is None else doubtful
    figures = [_page(shown, page, unsure) for page in pages[:PAGES]]
    return Drawing(figures, drawn, int(relations.edges.sum()), least)


def _blocks(relations: Relations) -> list[_Block]:
    """Connected classes, the largest groups first; in each column classes near to what they are related to."""
    edges = relations.edges | relations.edges.T
    graph = nx.Graph(np.argwhere(np.triu(edges)).tolist())
    domain = np.repeat(np.arange(len(relations.domains)), np.diff(relations.starts))
    blocks = []
    for members in nx.connected_components(graph):
        columns = [sorted(v for v in members if domain[v] == d) for d in range(len(relations.domains))]
        place = {v: (k + 0.5) / len(column) for column in columns for k, v in enumerate(column)}
        for _ in range(12):
            for column in columns:
                column.sort(key=lambda v: (float(np.mean([place[u] for u in graph[v]])), v))
                place.update({v: (k + 0.5) / len(column) for k, v in enumerate(column)})
        blocks.append(_Block(tuple(map(tuple, columns)), max(map(len, columns))))
    return sorted(blocks, key=lambda block: (-block.height, min(v for column in block.columns for v in column)))


@styled
def _page(relations: Relations, blocks: Sequence[_Block], doubtful: np.ndarray) -> Figure:
    count = len(relations.domains)
    members = [v for block in blocks for column in block.columns for v in column]
    width = max(WIDTH, 2.4 * count)
    total = sum(block.height + 0.6 for block in blocks)
    lines = int(np.triu(relations.edges | relations.edges.T)[np.ix_(members, members)].sum())
    step = WIDE_STEP if lines > 2 * len(members) else STEP
    height = step * total + 0.95
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    axes = figure.add_axes((0.0, 0.45 / height, 1.0, step * total / height))
    axes.set(xlim=(0, width), ylim=(total, 0))
    axes.axis("off")
    box = min(1.6, 0.66 * width / count)  # inches
    centre = box / 2 + 0.06 + np.arange(count) * (width - box - 0.12) / max(1, count - 1)
    names = [name.split(",")[0] for classes in relations.class_names for name in classes]
    at: dict[int, tuple[float, float]] = {}
    top = 0.0
    for block in blocks:
        for d, column in enumerate(block.columns):
            for k, v in enumerate(column):
                at[v] = (centre[d], top + (k + 0.5) * block.height / len(column))
                _draw_class(axes, names[v], at[v], box, SERIES[(d + 2) % len(SERIES)])
        top += block.height + 0.6
    for a, b in np.argwhere(np.triu(relations.edges | relations.edges.T)).tolist():
        if a in at:
            _draw_edge(axes, relations.weights, doubtful, at, (a, b), box)
    for d, name in enumerate(relations.domains):
        figure.text(
            centre[d] / width, 1 - 0.24 / height, wrap(name, 24, lines=1), ha="center", va="center", weight="bold",
            color=INK,
        )  # fmt: skip
    handles = [
        Line2D([], [], color=MUTUAL, linewidth=2.5), Line2D([], [], color=ONE_WAY, linewidth=2.5, marker=">"),
        Line2D([], [], color=GREY, linewidth=2, linestyle="--"), Line2D([], [], color=GREY, linewidth=5),
    ]  # fmt: skip
    texts = ["both ways", "one way: lies within", "uncertain", "thick: many rows"]
    figure.legend(handles, texts, loc="lower center", ncols=4, handlelength=2.2)
    return figure


def _draw_class(axes: Axes, name: str, centre: tuple[float, float], box: float, colour: str) -> None:
    x, y = centre
    axes.add_patch(
        Rectangle((x - box / 2, y - 0.38), box, 0.76, facecolor="white", edgecolor=colour, linewidth=1, zorder=3)
    )
    axes.text(x, y, wrap(name, int(box * 15), lines=1), ha="center", va="center", fontsize=7.5, zorder=4)


def _draw_edge(
    axes: Axes, weights: np.ndarray, doubtful: np.ndarray, at: Mapping[int, tuple[float, float]],
    ends: tuple[int, int], box: float,
) -> None:  # fmt: skip
    a, b = ends
    both = weights[a, b] > 0 and weights[b, a] > 0
    source, target = (a, b) if weights[a, b] > 0 else (b, a)
    unsure = bool(doubtful[a, b] or doubtful[b, a]) if both else bool(doubtful[source, target])
    strength = (weights[a, b] + weights[b, a]) / (2 if both else 1)
    (x0, y0), (x1, y1) = at[source], at[target]
    side = np.sign(x1 - x0)
    start, end = (x0 + side * box / 2, y0), (x1 - side * box / 2, y1)
    reach = (end[0] - start[0]) / 2
    path = Path([start, (start[0] + reach, y0), (end[0] - reach, y1), end], [1, 4, 4, 4])
    axes.add_patch(
        FancyArrowPatch(
            path=path, arrowstyle="-" if both else "-|>", mutation_scale=9, linewidth=0.6 + 3.6 * strength, zorder=2,
            color=MUTUAL if both else ONE_WAY, alpha=0.75, shrinkA=0, shrinkB=0, fill=not both, capstyle="butt",
            linestyle=(0, (3, 1.5)) if unsure else "-",
        )
    )  # fmt: skip


@styled
def heat_figure(
    cross: Mapping[tuple[int, int], np.ndarray], pair: tuple[int, int], relations: Relations,
    truth: Relations | None = None,
) -> Figure:  # fmt: skip
    """What each of two domains' models says of the other's rows; dots are edges, frames the true ones.

    Of many classes those with the strongest edges are shown.
    """
    sides = [pair, pair[::-1]]
    cells = [_shown(relations.block(a, b) if relations.block(a, b).any() else cross[a, b]) for a, b in sides]
    figure = new_figure(1.5 + max(0.22 * max(len(rows) for rows, _ in cells), 1.5))
    grid = figure.subplots(1, 2)
    image = None
    for axes, (a, b), (rows, columns) in zip(grid, sides, cells, strict=True):
        values = cross[a, b][np.ix_(rows, columns)]
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        small = {"fontsize": 6.5}
        names = relations.class_names
        grid_cells(
            axes, [_short(names[b][j]) for j in columns], [_short(names[a][i]) for i in rows],
            rotation=90, **small,
        )  # fmt: skip
        for label in axes.get_yticklabels():
            label.set_fontsize(6.5)
        kept = relations.block(a, b)[np.ix_(rows, columns)] > 0
        y, x = np.nonzero(kept)
        axes.scatter(x, y, s=9, color=ONE_WAY, zorder=3, linewidths=0)
        if truth is not None:
            for y0, x0 in np.argwhere(truth.block(a, b)[np.ix_(rows, columns)] > 0).tolist():
                axes.add_patch(
                    Rectangle((x0 - 0.45, y0 - 0.45), 0.9, 0.9, fill=False, edgecolor=INK, linewidth=1, zorder=2)
                )
        axes.set_ylabel(f"rows of {wrap(relations.domains[a], 30, lines=1)}", fontsize=8.5)
        axes.set_xlabel(f"model of {wrap(relations.domains[b], 30, lines=1)}", fontsize=8.5)
    if image is not None:
        figure.colorbar(image, ax=grid.tolist(), label="share of rows", shrink=0.8, pad=0.02)
    return figure


def _short(name: str) -> str:
    """A class's first name, cut at 18 letters."""
    return wrap(name.split(",")[0], 18, lines=1)


def _shown(weights: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows and columns with the strongest entries, in an order that puts these near the diagonal."""
    strongest = np.argsort(-weights.max(1), kind="stable")[:CELLS]
    rows = sorted(strongest.tolist(), key=lambda i: (int(weights[i].argmax()), i))
    best = weights[rows].max(0)
    columns = sorted(np.argsort(-best, kind="stable")[:CELLS].tolist())
    return rows, columns


@styled
def curves_figure(
    panels: Mapping[str, Sequence[Mapping[str, Sequence[RelationScores]]]],
    marks: Mapping[str, Sequence[Mapping[str, RelationScores]]],
) -> Figure:
    """Precision against recall over t and p, a panel a title: means over seeds; marks are single choices.

    Args:
      panels: title to the curves of each seed, rule to its scores. marks: title to named scores of each seed.
    """
    figure = new_figure(3.9)
    grid = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
    for axes, (title, seeds) in zip(grid, panels.items(), strict=True):
        lines = [name for name, scores in seeds[0].items() if len(scores) > 1]
        for k, name in enumerate(lines):
            precision, recall = (
                np.mean([[getattr(score, metric) for score in seed[name]] for seed in seeds], 0)
                for metric in ("precision", "recall")
            )
            axes.plot(
                recall, precision, color=SERIES[k], linestyle=DASHES[k], linewidth=1.8, label=f"{name}, all values"
            )
        for k, name in enumerate(marks[title][0]):
            precision, recall = (
                np.mean([getattr(seed[name], metric) for seed in marks[title]])
                for metric in ("precision", "recall")
            )  # fmt: skip
            axes.plot(recall, precision, MARKERS[k], color=SERIES[k], markersize=7, mec="white", label=name)
        axes.set_title(title)
        axes.set_xlabel("recall")
        light_grid(axes, "both")
    grid[0].set_ylabel("precision")
    draw_legend(figure, grid[0], columns=3)
    return figure


@styled
def features_figure(panels: Mapping[str, Sequence[Domain]], *, seed: int = 0) -> Figure:
    """A t-SNE map of the domains' features, a panel a title: where domains lie apart, they differ beyond classes."""
    figure = new_figure(3.7)
    grid = np.atleast_1d(figure.subplots(1, len(panels)))
    generator = np.random.default_rng(seed)
    for axes, (title, domains) in zip(grid, panels.items(), strict=True):
        parts = []
        for domain in domains:
            rows = domain.features["train"]
            parts.append(rows[np.sort(generator.permutation(len(rows))[:POINTS])])
        stacked = np.concatenate(parts)
        spread = stacked.std(0)
        scaled = (stacked - stacked.mean(0)) / np.where(spread > 1e-6, spread, 1)
        with threadpool_limits(1):  # of so few points several threads take longer
            tsne = TSNE(perplexity=min(30, (len(scaled) - 1) / 3), random_state=seed, init="pca")
            places = tsne.fit_transform(scaled)
        for d, part in enumerate(np.split(places, np.cumsum([len(part) for part in parts])[:-1])):
            axes.plot(
                part[:, 0], part[:, 1], MARKERS[d % len(MARKERS)], color=SERIES[d % len(SERIES)], markersize=3,
                alpha=0.6, label=domains[d].name,
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    draw_legend(figure, grid[0])
    return figure
