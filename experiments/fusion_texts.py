"""Test texts with the paths predicted for them: what the galleries of a fusion study are for pictures."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from experiments.fusion_data import FusionData
from experiments.fusion_training import Predictions
from jlabel.evaluation import Report
from jlabel.label_graph import LabelGraph, PathPlan

__all__ = ["add_text_gallery", "predicted_path", "shortened"]

TOPICS, TEXTS, LENGTH = 8, 3, 160


def add_text_gallery(report: Report, found: Predictions, data: FusionData, plan: PathPlan) -> None:
    """Add a table of test texts: some of each topic with the path predicted, and the truth where that is wrong.

    A topic is the node above the predicted label, or the label itself right below the root. Of many topics eight are
    shown, evenly spread over the graph, and three texts of each, of different predicted labels where there are several.
    Texts are drawn at random, always the same: in rows sorted by class the first ones of a predicted label are wrong.
    """
    graph, labels = plan.graph, plan.graph.label_set(data.fine_set)
    paths: dict[int, list[int]] = {}
    topics: dict[int, list[int]] = {}
    order = np.random.default_rng(0).permutation(len(found.decoded))
    for i in order[found.decoded[order] >= 0].tolist():
        passed = None if found.nodes is None else found.nodes[i]
        paths[i] = predicted_path(graph, labels.nodes[found.decoded[i]], passed)
        topics.setdefault(paths[i][-2:][0], []).append(i)
    if not paths:
        return
    rows = []
    for topic in _spread(sorted(topics)):
        for i in _taking_turns(topics[topic], found.decoded)[:TEXTS]:
            said, sets = found.decoded[i], data.test.fine_sets
            truth = [data.test.fine[i]] if sets is None else np.flatnonzero(sets[i]).tolist()
            rows.append(
                [
                    shortened(data.test.source.content(i)),
                    " > ".join(graph.titles[v] for v in paths[i]),
                    f"{np.exp(found.log_probs[i, said]):.2f}",
                    "right" if said in truth else "wrong",
                    "" if said in truth else ", ".join(graph.titles[labels.nodes[c]] for c in truth),
                ]
            )
    report.add_table(
        ["text", "predicted path", "probability", "label", "truth"], rows,
        caption=f"Test texts by the topic predicted: up to {TEXTS} of each, with the label's probability.",
    )  # fmt: skip


def predicted_path(graph: LabelGraph, node: int, passed: np.ndarray | None) -> list[int]:
    """The nodes from the root, left out, to a label; of several parents the likeliest, or the first.

    Args:
      graph: the graph. node: the label's. passed: log-probabilities ``[V]`` of passing each node, or None.

    Returns:
      Node numbers, the label's last.
    """
    path = [node]
    while len(parents := np.sort(graph.edges[graph.edges[:, 1] == path[-1], 0])):
        path.append(int(parents[0 if passed is None else passed[parents].argmax()]))
    return path[-2::-1] or path


def shortened(text: str) -> str:
    """A text in one line of at most 160 characters."""
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else line[: LENGTH - 1].rstrip() + "…"


def _spread(topics: Sequence[int]) -> list[int]:
    """At most eight, the first and the last among them, evenly spaced."""
    places = np.linspace(0, len(topics) - 1, min(TOPICS, len(topics))).round().astype(int)
    return [topics[k] for k in places]


def _taking_turns(rows: Sequence[int], classes: np.ndarray) -> list[int]:
    """Rows with every class's first one first, then every class's second one, and so on."""
    seen: Counter[int] = Counter()
    turns = []
    for place, i in enumerate(rows):
        turns.append((seen[int(classes[i])], place, i))
        seen[int(classes[i])] += 1
    return [i for _, _, i in sorted(turns)]
