"""A drawing of a label graph: nodes with titles, blocks as frames, label sets as colours."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path

from jlabel.errors import InputError
from jlabel.evaluation.graph_layout import GraphLayout, layout_graph
from jlabel.evaluation.style import GREY, INK, SERIES, new_figure, styled, wrap

_LINE, _CHAR, _COLUMN_GAP = 0.27, 0.078, 0.62  # inches: one row, one character, between columns
_BLOCKS = ("#B8860B", "#5B8DB8", "#A05A7A", "#5E8C61", "#8A6FB0", "#B5651D", "#4F8A8B", "#8C8C4A")
_CHARS = 24


def _edges(axes: Axes, layout: GraphLayout, left: dict[str, float], right: dict[str, float]) -> None:
    width, alpha = (0.9, 0.65) if len(layout.edges) <= 120 else (0.7, 0.4)
    for parent, child in layout.edges:
        number = layout.block_of.get((parent, child))
        x0, x1 = right[parent], left[child]
        y0, y1 = (layout.row[node] * _LINE for node in (parent, child))
        bend = min(0.5 * (x1 - x0), _COLUMN_GAP)
        path = Path([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], [Path.MOVETO] + [Path.CURVE4] * 3)
        colour = GREY if number is None else _BLOCKS[number % len(_BLOCKS)]
        axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, alpha=alpha, zorder=1))


@styled
def graph_figure(spec: Mapping[str, Any], *, max_nodes: int = 80) -> Figure:
    """Draws a label graph from left (root) to right.

    Blocks whose nodes have no other parent are framed; edges into a block share its colour. Nodes are tinted by the
    label set that names them, with one square more for each further set. Above `max_nodes` the top layers that fit are
    drawn, and `+n` counts the nodes below.

    Args:
        spec: The graph as JSON holds it: `nodes` (`id`, `title`), `edges`, `root`, and optionally `name`, `blocks`,
            `label_sets`.
        max_nodes: Most nodes drawn, 2 or more.

    Returns:
        A figure at least 7 inches wide, as high as the fullest layer asks.

    Raises:
        InputError: A missing key, an edge to no node, or a cycle.

    Example:
        >>> spec = {"root": "animal", "nodes": [{"id": n} for n in ("animal", "cat", "dog")],
        ...         "edges": [["animal", "cat"], ["animal", "dog"]]}
        >>> len(graph_figure(spec).axes)
        1
    """
    missing = [name for name in ("nodes", "edges", "root") if name not in spec]
    if missing:
        raise InputError(f"spec has no {missing[0]!r}; a label graph has 'nodes', 'edges' and 'root'")
    if max_nodes < 2:
        raise InputError(f"max_nodes must be 2 or more, got {max_nodes}")
    layout = layout_graph(spec, max_nodes=max_nodes)
    titles = {
        node["id"]: wrap(node.get("title") or node["id"], _CHARS, lines=1)
        + (f"  +{layout.hidden[node['id']]}" if layout.hidden.get(node["id"]) else "")
        for node in spec["nodes"]
        if node["id"] in layout.column
    }
    sets = [(str(s["name"]), set(s["labels"].values())) for s in spec.get("label_sets", ())]
    member = {node: [i for i, (_, nodes) in enumerate(sets) if node in nodes] for node in titles}

    columns = max(layout.column.values()) + 1
    asked = {node: len(text) * _CHAR + 0.2 + 0.13 * max(0, len(member[node]) - 1) for node, text in titles.items()}
    widths = [max(asked[n] for n in titles if layout.column[n] == c) for c in range(columns)]
    boxes = {node: widths[layout.column[node]] for node in titles}
    spare = max(0.0, 6.8 - sum(widths) - _COLUMN_GAP * (columns - 1)) / max(1, columns - 1)
    starts = [sum(widths[:c]) + c * (_COLUMN_GAP + min(spare, 1.2)) for c in range(columns)]
    left = {node: starts[layout.column[node]] for node in titles}
    right = {node: left[node] + boxes[node] for node in titles}

    total = starts[-1] + widths[-1]
    height = (max(layout.row.values()) + 1.2) * _LINE
    caption = wrap(spec.get("name") or "label graph", 60, lines=1)
    if layout.hidden:
        caption += f": the top {columns} layers, {len(titles)} of {len(spec['nodes'])} nodes (+n: nodes below)"
    figure = new_figure(height + 0.6 + (0.35 if sets else 0), width=max(7.0, total + 0.3))
    axes = figure.subplots()
    _edges(axes, layout, left, right)
    for name, members in layout.frames:
        colour = _BLOCKS[layout.block_of[_parent(layout, members[0]), members[0]] % len(_BLOCKS)]
        low, high = (f(layout.row[n] for n in members) * _LINE for f in (min, max))
        x, width = left[members[0]] - 0.07, boxes[members[0]] + 0.14
        width = max(width, len(name) * 0.062 + 0.15)
        axes.add_patch(
            FancyBboxPatch(
                (x, low - 0.62 * _LINE - 0.09), width, high - low + 1.12 * _LINE + 0.13,
                boxstyle="round,pad=0,rounding_size=0.06", facecolor="#FAFAF7", edgecolor=colour, zorder=1.5,
            )
        )  # fmt: skip
        axes.text(x + 0.06, low - 0.56 * _LINE - 0.02, name, fontsize=7, color=colour, va="center", zorder=4)
    for node, text in titles.items():
        y = layout.row[node] * _LINE
        colour = SERIES[member[node][0] % len(SERIES)] if member[node] else GREY
        face = colour + "2E" if member[node] else "#FFFFFF"
        for layer_face, edge in (
            ("#FFFFFF", "none"),
            (face, colour),
        ):  # white below the tint: edges must not shine through
            axes.add_patch(
                FancyBboxPatch(
                    (left[node], y - 0.095), boxes[node], 0.19, boxstyle="round,pad=0,rounding_size=0.05",
                    facecolor=layer_face, edgecolor=edge, linewidth=1, zorder=2,
                )
            )  # fmt: skip
        axes.text(left[node] + 0.09, y, text, fontsize=8, color=INK, va="center", ha="left", zorder=4)
        for k, number in enumerate(member[node][1:]):
            axes.plot(right[node] - 0.1 - 0.13 * k, y, "s", color=SERIES[number % len(SERIES)], markersize=5, zorder=4)
    axes.set_xlim(-0.12, max(total, 6.7) + 0.12)
    axes.set_ylim(height - 0.35 * _LINE, -1.1 * _LINE)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(caption, loc="left")
    if sets:
        handles = [
            Patch(facecolor=SERIES[i % len(SERIES)] + "2E", edgecolor=SERIES[i % len(SERIES)]) for i in range(len(sets))
        ]
        figure.legend(
            handles, [wrap(n, 30, lines=1) for n, _ in sets], loc="outside lower left", ncols=min(4, len(sets))
        )
    return figure


def _parent(layout: GraphLayout, child: str) -> str:
    return next(a for a, b in layout.edges if b == child)
