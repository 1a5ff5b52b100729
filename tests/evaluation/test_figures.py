"""Every figure draws what it was given, inside its frame, with names that no renderer interprets."""

import itertools
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from jlabel import InputError
from jlabel.evaluation import (
    comparison_figure,
    confusion_figure,
    confusion_matrix,
    curves_figure,
    gallery_figure,
    graph_figure,
    lines_figure,
    make_row,
    reliability_bins,
    reliability_figure,
)

HOSTILE = r"$\frac{a}{$ <b>&amp; _x^ " + "long " * 12 + "name_without_a_break_" * 3


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]


def fits(figure: Figure) -> bool:
    """Renders and asks whether everything drawn lies inside the canvas."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    slack = 0.02
    return box.x0 > -slack and box.y0 > -slack and box.x1 < width + slack and box.y1 < height + slack


def study(names=("graph", "FFN", "majority"), metrics=("accuracy", "f1")):
    return [
        make_row(name, metric, [0.2 + 0.1 * i, 0.25 + 0.1 * i])
        for i, name in enumerate(names)
        for metric in metrics
    ]  # fmt: skip


def toy_graph(**extra):
    spec = {
        "name": "toy",
        "root": "animal",
        "nodes": [{"id": n, "title": n.title()} for n in "animal cat dog short long british birman".split()],
        "edges": [
            ["animal", "cat"], ["animal", "dog"], ["cat", "short"], ["cat", "long"], ["short", "british"],
            ["long", "british"], ["long", "birman"],
        ],
        "blocks": [{"parent": "cat", "name": "hair", "nodes": ["short", "long"]}],
        "label_sets": [
            {"name": "breeds", "labels": {"a": "british", "b": "birman"}},
            {"name": "species", "labels": {"Cat": "cat", "Dog": "dog", "Birman": "birman"}},
        ],
    }  # fmt: skip
    return spec | extra


def test_comparison_shows_each_method_and_metric():
    figure = comparison_figure(study(), ours=["graph"], references=["majority"], paper={("FFN", "f1"): 0.4})
    assert fits(figure)
    shown = texts(figure)
    assert {"graph", "FFN", "majority", "accuracy", "f1", "paper"} <= set(shown)
    assert shown.count(".225") == 2  # the mean of "graph" in both panels
    intervals = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    np.testing.assert_allclose(sorted(tuple(line.get_xdata()) for line in intervals)[0], study()[0].ci95)


def test_comparison_of_one_run_and_missing_cells():
    rows = [make_row("graph", "accuracy", [0.5]), make_row("FFN", "nll", [np.inf, 1.0]), make_row("FFN", "f1", [0.1])]
    assert fits(comparison_figure(rows))


def test_reliability_names_the_error():
    rng = np.random.default_rng(0)
    values = rng.random(500)
    bins = reliability_bins(values, rng.random(500) < values**2)
    figure = reliability_figure(bins)
    assert fits(figure)
    assert f"Reliability, ECE {bins.error:.3f}" in texts(figure)
    several = reliability_figure({name: bins for name in ("before", "after", HOSTILE)})
    assert fits(several)
    assert len(several.axes) == 6
    ties = reliability_bins([0.5] * 9, [1, 0, 1] * 3, binning="mass")
    assert fits(reliability_figure(ties))


def test_lines_draw_mean_and_band():
    runs = np.array([[0.1, 0.3, 0.5], [0.3, 0.5, 0.9]])
    series = {"graph": ([5, 10, 20], runs), "FFN": ([5, 20], [0.1, 0.2])}
    figure = lines_figure(series, xlabel="rows", ylabel="accuracy", log_x=True, references={"majority": 0.08})
    assert fits(figure)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.2, 0.4, 0.7])
    assert len(axes.collections) == 1
    assert {"5", "10", "20", "graph", "FFN", "majority"} <= set(texts(figure))


def test_curves_take_a_log_with_gaps():
    history = [{"step": i, "loss": 1 / (1 + i), "seconds": 0.1, "note": "x"} for i in range(100)]
    history[50] |= {"accuracy": 0.5}
    figure = curves_figure(history, title="training")
    assert fits(figure)
    assert {"loss", "accuracy", "training"} <= set(texts(figure))
    assert not {"seconds", "note"} & set(texts(figure))
    assert len(figure.axes[0].lines) == 2  # values and their running mean
    assert len(figure.axes[1].lines[0].get_xdata()) == 1
    assert fits(curves_figure([{"step": 1, "loss": float("inf")}, {"step": 2, "loss": 1.0}]))


def test_confusion_shows_the_most_confused_classes():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(30), 10)
    said = truth.copy()
    said[truth == 7] = 21  # class 7 is always called 21
    said[(truth == 3) & (rng.random(300) < 0.5)] = 4
    said[0] = -1
    matrix = confusion_matrix(said, truth, num_classes=30)
    figure = confusion_figure(matrix, [f"kind {i}" for i in range(30)], max_classes=4)
    assert fits(figure)
    shown = texts(figure)
    assert {"kind 3", "kind 4", "kind 7", "kind 21"} <= set(shown)
    assert "4 most confused of 30 classes, % of the true class" in shown
    assert "(none)" not in shown  # the row without a prediction is of class 0
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image[2], [0, 0, 0, 1])
    full = confusion_figure(matrix, [f"kind {i}" for i in range(30)], max_classes=30)
    assert "(none)" in texts(full)
    np.testing.assert_allclose(full.axes[0].images[0].get_array().sum(axis=1), 1)


def test_graph_draws_nodes_blocks_and_sets():
    figure = graph_figure(toy_graph())
    assert fits(figure)
    shown = texts(figure)
    assert {"Animal", "Cat", "Dog", "Short", "Long", "British", "Birman", "hair", "toy", "breeds", "species"} <= set(
        shown
    )
    assert shown.count("Birman") == 1


def apart(one, other) -> bool:
    (x, y, w, h), (u, v, s, t) = one, other
    return x + w <= u or u + s <= x or y + h <= v or v + t <= y


def test_graph_boxes_do_not_overlap():
    spec = toy_graph()
    spec["nodes"] += [{"id": f"dog{i}"} for i in range(20)]
    spec["edges"] += [["dog", f"dog{i}"] for i in range(20)] + [["cat", "dog3"], ["animal", "dog19"]]
    spec["blocks"] += [{"parent": "dog", "name": "size", "nodes": ["dog5", "dog6"]}]
    figure = graph_figure(spec)
    boxes = {
        (p.get_x(), p.get_y(), p.get_width(), p.get_height())
        for p in figure.axes[0].patches
        if isinstance(p, FancyBboxPatch) and p.get_zorder() == 2
    }
    assert len(boxes) == 27
    for one, other in itertools.combinations(boxes, 2):
        assert apart(one, other)
    # a frame holds its two nodes, and cuts none
    frames = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch) and p.get_zorder() == 1.5]
    assert len(frames) == 2
    for frame in frames:
        box = (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height())
        inside = [b for b in boxes if not apart(box, b)]
        assert len(inside) == 2
        assert all(box[i] <= b[i] and b[i] + b[i + 2] <= box[i] + box[i + 2] for b in inside for i in (0, 1))


def test_large_graphs_are_collapsed_and_say_so():
    nodes, edges = ["r"], []
    for i in range(300):
        edges.append([nodes[i // 3], f"n{i}"])
        nodes.append(f"n{i}")
    figure = graph_figure({"root": "r", "nodes": [{"id": n} for n in nodes], "edges": edges}, max_nodes=50)
    assert fits(figure)
    shown = texts(figure)
    assert "label graph: the top 4 layers, 40 of 301 nodes (+n: nodes below)" in shown
    counts = [int(t.split("+")[1]) for t in shown if "  +" in t]
    assert sum(counts) == 301 - 40
    flat = graph_figure({"root": "r", "nodes": [{"id": n} for n in nodes], "edges": [["r", n] for n in nodes[1:]]})
    assert "r  +221" in texts(flat)


def test_gallery_marks_borders_without_colour_too():
    pictures = [np.full((8 + i, 8, 3), 40 * i, np.uint8) for i in range(5)]
    kinds = ["deterministic", "nondeterministic", "wrong", "none", "wrong"]
    figure = gallery_figure(pictures, [f"caption {i}" for i in range(5)], borders=kinds, columns=3, title="by coat")
    assert fits(figure)
    assert {"caption 0", "✗ caption 2", "✗ caption 4", "by coat", "deterministic"} <= set(texts(figure))
    assert len(figure.axes) == 5


def test_names_are_text_in_every_figure():
    rng = np.random.default_rng(0)
    drawn = [
        comparison_figure(study((HOSTILE, "b"), (HOSTILE,))),
        lines_figure({HOSTILE: ([1, 2], [1, 2])}, xlabel="$x", ylabel="$", title="$", references={HOSTILE: 1.5}),
        curves_figure([{"step": 1, HOSTILE: 1.0}]),
        confusion_figure(rng.integers(0, 9, (3, 3)), [HOSTILE, "$", ""]),
        graph_figure(toy_graph(name=HOSTILE, nodes=[{"id": n, "title": HOSTILE} for n in "ab"], root="a",
                               edges=[["a", "b"]], blocks=[{"parent": "a", "name": "$x", "nodes": ["b"]}],
                               label_sets=[{"name": HOSTILE, "labels": {"$": "b"}}])),
        gallery_figure(np.zeros((2, 4, 4, 3), np.uint8), [HOSTILE, "$"], title="$"),
    ]  # fmt: skip
    for figure in drawn:
        assert fits(figure)


def test_drawing_leaves_global_settings_alone():
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading some settings is deprecated
        comparison_figure(study())
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: comparison_figure(study(), split="train"), "rows hold nothing for split 'train'"),
        (lambda: reliability_figure({}), "bins holds 0 diagrams; allowed: 1 to 4"),
        (lambda: lines_figure({}, xlabel="", ylabel=""), "series is empty"),
        (lambda: lines_figure({"a": ([1, 2], [1])}, xlabel="", ylabel=""), "series['a'] has x of shape (2,) and y of"),
        (lambda: lines_figure({"a": ([0], [1])}, xlabel="", ylabel="", log_x=True), "series['a'] has x = 0"),
        (lambda: curves_figure([]), "history has no metric ''; it has: none"),
        (lambda: curves_figure([{"step": 1, "loss": 1.0}], metrics=["f1"]), "history has no metric 'f1'; it has: loss"),
        (lambda: confusion_figure([[1, 2]], ["a", "b"]), "matrix has shape (1, 2) and names 2 entries"),
        (lambda: graph_figure({"nodes": []}), "spec has no 'edges'"),
        (lambda: graph_figure(toy_graph(edges=[["animal", "cow"]])), "edge ['animal', 'cow'] names 'cow'"),
        (lambda: graph_figure(toy_graph(root="cow")), "root 'cow' is no node of the graph"),
        (
            lambda: graph_figure(toy_graph(edges=[["cat", "dog"], ["dog", "cat"]])),
            "the graph has a cycle through 'cat'",
        ),
        (lambda: gallery_figure([], []), "images is empty"),
        (lambda: gallery_figure(np.zeros((1, 4, 4, 3)), [""]), "images[0] must be uint8 [H, W, 3], got float64"),
        (lambda: gallery_figure(np.zeros((1, 4, 4, 3), np.uint8), []), "rows differ: images has 1, captions has 0"),
        (lambda: gallery_figure(np.zeros((1, 4, 4, 3), np.uint8), [""], borders=["blue"]), "borders[0] is 'blue'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
