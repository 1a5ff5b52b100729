"""Where in a deep label graph a study's predictions go wrong: right down to which depth, and at which nodes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.fusion_data import FusionData
from experiments.fusion_training import Predictions
from jlabel.evaluation import Report, accuracy, lines_figure, save_figure
from jlabel.label_graph import LabelGraph, PathPlan

__all__ = ["WrongNode", "add_hierarchy", "deepest_common", "lineage", "node_depths", "right_to_depth", "wrong_nodes"]

SHALLOW = 3  # down to here a confusion matrix says it all
METHODS_SHOWN, NODES_SHOWN = 6, 15


class WrongNode(NamedTuple):
    """A node at which predictions leave the true path.

    Attributes:
      node: its number. reached: rows that come so far rightly. wrong: how many of them go wrong here.
      turn: the child towards the truth and the child taken, in the commonest mistake; -1 where that path ends here.
      times: rows that take this turn.
    """

    node: int
    reached: int
    wrong: int
    turn: tuple[int, int]
    times: int


def node_depths(graph: LabelGraph) -> np.ndarray:
    """Edges on the longest way from the root to each node, int ``[V]``: a child lies deeper than all its parents."""
    depth = np.zeros(graph.num_nodes, int)
    for node in graph.order:
        children = graph.successors[node][graph.successors[node] < graph.num_nodes]
        depth[children] = np.maximum(depth[children], depth[node] + 1)
    return depth


def lineage(graph: LabelGraph) -> np.ndarray:
    """bool ``[V, V]``: row ``v`` marks ``v`` and its ancestors on any path."""
    return graph.reaches.T | np.eye(graph.num_nodes, dtype=bool)


def deepest_common(predicted: np.ndarray, truth: np.ndarray, above: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The deepest node that lies on or above both nodes of each row.

    Args:
      predicted: int ``[N]``, nodes, -1 for none. truth: int ``[N]``, nodes. above: from `lineage`.
      depth: from `node_depths`.

    Returns:
      int ``[N]`` nodes, the first of several equally deep; -1 without a prediction.
    """
    pairs, place = np.unique(np.stack([predicted, truth], axis=1), axis=0, return_inverse=True)
    common = above[pairs[:, 0]] & above[pairs[:, 1]]
    deepest = np.where(common, depth, -1).argmax(1)
    return np.where(pairs[:, 0] < 0, -1, deepest)[place.reshape(-1)]


def right_to_depth(predicted: np.ndarray, truth: np.ndarray, above: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Whether each prediction shares a node of the truth's path at this depth or below.

    A path that ends higher up counts as right below its end when all of it is shared, so that the share of right rows
    falls from 1 (the root) to that of the fully right ones.

    Args:
      predicted, truth, above, depth: as in `deepest_common`.

    Returns:
      bool ``[N, D + 1]`` for the depths 0 to D of the deepest true node; a row without a prediction is wrong at all.
    """
    shared = deepest_common(predicted, truth, above, depth)
    reached = np.where(shared < 0, -1, depth[shared])
    return reached[:, None] >= np.minimum(np.arange(depth[truth].max() + 1), depth[truth][:, None])


def wrong_nodes(predicted: np.ndarray, truth: np.ndarray, graph: LabelGraph) -> list[WrongNode]:
    """The nodes at which predictions leave the true path, those with most wrong rows first.

    A row goes wrong at the deepest node that its prediction and its truth share. Ties are broken by the smaller number
    of rows that reach the node, then by node numbers.

    Args:
      predicted: int ``[N]``, nodes, -1 for none (such rows go wrong nowhere). truth: int ``[N]``, nodes.
      graph: the graph.

    Returns:
      Every node at which some row goes wrong.
    """
    above, known = lineage(graph), predicted >= 0
    predicted, truth = predicted[known], truth[known]
    shared = deepest_common(predicted, truth, above, node_depths(graph))
    reached = (above[predicted] & above[truth]).sum(0)
    turns: dict[int, Counter[tuple[int, int]]] = {}
    for node, right, taken in zip(shared.tolist(), truth.tolist(), predicted.tolist(), strict=True):
        if right != taken:
            turn = _next(graph, above, node, right), _next(graph, above, node, taken)
            turns.setdefault(node, Counter())[turn] += 1
    found = []
    for node, counts in turns.items():
        turn, times = min(counts.items(), key=lambda item: (-item[1], item[0]))
        found.append(WrongNode(node, int(reached[node]), counts.total(), turn, times))
    return sorted(found, key=lambda row: (-row.wrong, row.reached, row.node))


def _next(graph: LabelGraph, above: np.ndarray, node: int, target: int) -> int:
    """The first child of ``node`` on a way to ``target``; -1 at the target itself."""
    children = graph.successors[node][graph.successors[node] < graph.num_nodes]
    return int(children[above[target][children]].min(initial=graph.num_nodes)) if node != target else -1


def add_hierarchy(
    report: Report, workdir: Path, results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData],
    plan: PathPlan,
) -> None:  # fmt: skip
    """Show down to which depth predictions are right and where the first method's go wrong; nothing for flat labels."""
    graph, main = plan.graph, next(iter(results))
    nodes, depth = np.append(graph.label_set(datas[0].fine_set).nodes, -1), node_depths(graph)
    if depth[nodes[:-1]].max() <= SHALLOW:
        return
    above = lineage(graph)
    pairs = {
        name: [(nodes[p.decoded], nodes[d.test.fine]) for p, d in zip(runs, datas, strict=True)]
        for name, runs in results.items()
    }
    lines = {}
    for name in _shown(results, datas):
        shares = [right_to_depth(said, truth, above, depth).mean(0) for said, truth in pairs[name]]
        deepest = min(map(len, shares))  # of some seed's test rows
        lines[name] = (np.arange(deepest), np.stack([share[:deepest] for share in shares]))
    figure = lines_figure(
        lines,
        xlabel="depth in the label graph (edges from the root, longest way)",
        ylabel="share of test rows right so far",
        title="Where in the hierarchy predictions go wrong",
    )
    figure.axes[0].locator_params(axis="x", integer=True)
    save_figure(workdir / "figures" / "hierarchy.png", figure)
    caption = (
        "Share of test rows whose predicted label shares the truth's path to this depth; a path that ends higher up "
        "counts as right below its end when all of it is shared."
    )
    if len(datas) > 1:
        caption += " Lines are means, bands one standard deviation over seeds."
    if len(lines) < len(results):
        caption += f" The best {METHODS_SHOWN - 1} methods beside the first are drawn."
    report.add_figure(figure, caption=caption, alt="Share of rows that are right down to each depth of the label graph")
    said, truth = (np.concatenate(part) for part in zip(*pairs[main], strict=True))
    _add_nodes(report, main, said, truth, graph)


def _add_nodes(report: Report, name: str, said: np.ndarray, truth: np.ndarray, graph: LabelGraph) -> None:
    """The table of nodes at which one method's rows leave the true path, if any do."""
    found = wrong_nodes(said, truth, graph)
    if not found:
        return
    titles, depth = (*graph.titles, "ends here"), node_depths(graph)  # -1 is the last title
    rows = [
        [
            titles[row.node], depth[row.node], row.reached, row.wrong, f"{row.wrong / row.reached:.3f}",
            " → ".join(titles[child] for child in row.turn), row.times,
        ]
        for row in found[:NODES_SHOWN]
    ]  # fmt: skip
    wrong, none = int((said != truth).sum()), int((said < 0).sum())
    missing = f", {none} of them without a label and left out" if none else ""
    report.add_table(
        ["node", "depth", "rows so far right", "go wrong here", "share", "commonest wrong turn (true → taken)", "rows"],
        rows,
        caption=f"{name}: the {len(rows)} of {len(found)} nodes at which most test rows leave the true path, all seeds "
        f"({len(truth)} rows, {wrong} wrong{missing}). A node with several parents is reached rightly by any of them.",
    )


def _shown(results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData]) -> list[str]:
    """The first method and the most accurate others, in the order of the study."""
    main, *others = results
    score = {
        name: np.mean([accuracy(p.decoded, d.test.fine) for p, d in zip(results[name], datas, strict=True)])
        for name in others
    }
    best = sorted(others, key=lambda name: -score[name])[: METHODS_SHOWN - 1]
    return [name for name in results if name == main or name in best]
