"""Where in the hierarchy predictions go wrong: by hand on the toy graph, and as drawn in a report."""

import re
from types import SimpleNamespace

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from experiments import fusion_hierarchy
from experiments.fusion_hierarchy import (
    add_hierarchy,
    deepest_common,
    lineage,
    node_depths,
    right_to_depth,
    wrong_nodes,
)
from jlabel.evaluation import Report
from jlabel.label_graph import build_graph, plan_paths
from tests.label_graph.toy import T, toy

GRAPH = build_graph(T)
ABOVE, DEPTH = lineage(GRAPH), node_depths(GRAPH)
BREEDS = ("british", "abyssinian", "mainecoon", "birman", "dog")


def numbers(*names):
    return np.array([-1 if name == "none" else GRAPH.ids.index(name) for name in names])


def deep():
    """The toy graph below one more node, so that breeds have depth 4."""
    return toy(nodes=[{"id": "thing"}, *T["nodes"]], edges=[["thing", "animal"], *T["edges"]], root="thing")


def study(decoded, truth):
    """One seed's predictions and data: what `add_hierarchy` reads of them."""
    data = SimpleNamespace(test=SimpleNamespace(fine=np.array(truth)), fine_set="breeds")
    return SimpleNamespace(decoded=np.array(decoded)), data


def test_depths_take_the_longest_way():
    assert dict(zip(GRAPH.ids, DEPTH.tolist(), strict=True)) == {
        "animal": 0, "cat": 1, "dog": 1, **dict.fromkeys(("short", "long", "solid", "tabby", "point"), 2),
        "british": 3, "abyssinian": 3, "mainecoon": 3, "birman": 3,
    }  # fmt: skip
    kinds = {"parent": "animal", "name": "kind", "nodes": ["cat", "dog"]}
    short_cut = toy(edges=[["animal", "british"], *T["edges"]], blocks=[kinds, *T["blocks"]])
    assert node_depths(build_graph(short_cut))[GRAPH.ids.index("british")] == 3


def test_lineage_is_the_node_and_all_above():
    named = {GRAPH.ids[v] for v in np.flatnonzero(ABOVE[GRAPH.ids.index("birman")])}
    assert named == {"birman", "long", "point", "cat", "animal"}


def test_deepest_common_by_hand():
    said = numbers("mainecoon", "birman", "birman", "dog", "british", "none", "cat")
    truth = numbers("british", "british", "abyssinian", "british", "british", "dog", "british")
    # british and mainecoon share solid and tabby: the first of the two
    expected = numbers("solid", "point", "cat", "animal", "british", "none", "cat")
    np.testing.assert_array_equal(deepest_common(said, truth, ABOVE, DEPTH), expected)


def test_right_to_depth_by_hand():
    said = numbers("mainecoon", "birman", "dog", "british", "none", "british", "dog")
    truth = numbers("british", "abyssinian", "british", "british", "british", "dog", "dog")
    expected = [
        [True, True, True, False],
        [True, True, False, False],
        [True, False, False, False],
        [True, True, True, True],
        [False, False, False, False],
        [True, False, False, False],  # a dog's path ends at depth 1
        [True, True, True, True],
    ]
    np.testing.assert_array_equal(right_to_depth(said, truth, ABOVE, DEPTH), expected)
    assert right_to_depth(said[-1:], truth[-1:], ABOVE, DEPTH).tolist() == [[True, True]]


@given(st.integers(1, 30).flatmap(lambda n: hnp.arrays(np.int64, (2, n), elements=st.integers(0, 4))), st.randoms())
@settings(deadline=None, max_examples=40)
def test_shares_fall_from_one_to_the_accuracy(pairs, random):
    said, truth = (numbers(*np.array(BREEDS)[row]) for row in pairs)
    right = right_to_depth(said, truth, ABOVE, DEPTH)
    assert right[:, 0].all()
    assert (right[:, 1:] <= right[:, :-1]).all()
    np.testing.assert_array_equal(right[:, -1], said == truth)
    found = wrong_nodes(said, truth, GRAPH)
    assert sum(row.wrong for row in found) == (said != truth).sum()
    assert all(row.times <= row.wrong <= row.reached for row in found)
    order = list(range(len(said)))
    random.shuffle(order)
    assert wrong_nodes(said[order], truth[order], GRAPH) == found


def test_wrong_nodes_by_hand():
    rows = [
        *[("british", "british")] * 3, *[("mainecoon", "british")] * 2, ("birman", "british"),
        *[("birman", "abyssinian")] * 2, *[("abyssinian", "birman")] * 2,
        ("british", "dog"), ("dog", "dog"), ("none", "birman"),
    ]  # fmt: skip
    said, truth = (numbers(*names) for names in zip(*rows, strict=True))
    node = dict(zip(GRAPH.ids, range(12), strict=True))
    assert wrong_nodes(said, truth, GRAPH) == [
        # two ways each between short and long hair: the smaller numbers first
        (node["cat"], 10, 4, (node["short"], node["long"]), 2),
        (node["solid"], 5, 2, (node["british"], node["mainecoon"]), 2),
        (node["point"], 4, 1, (node["british"], node["birman"]), 1),
        (node["animal"], 12, 1, (node["dog"], node["cat"]), 1),
    ]


def test_a_path_that_stops_early_or_goes_on_too_far():
    node = dict(zip(GRAPH.ids, range(12), strict=True))
    assert wrong_nodes(numbers("cat"), numbers("birman"), GRAPH) == [(node["cat"], 1, 1, (node["long"], -1), 1)]
    assert wrong_nodes(numbers("birman"), numbers("cat"), GRAPH) == [(node["cat"], 1, 1, (-1, node["long"]), 1)]
    assert wrong_nodes(numbers("cat", "none"), numbers("cat", "dog"), GRAPH) == []


def test_the_report_of_a_deep_graph(tmp_path):
    plan = plan_paths(build_graph(deep()))
    runs = [study([0, 2, 3, -1, 4], [0, 0, 3, 1, 4]), study([0, 2, 4, 1, 3], [0, 0, 3, 1, 4])]
    first, datas = map(list, zip(*runs, strict=True))
    perfect = [SimpleNamespace(decoded=data.test.fine) for data in datas]
    report = Report("deep")
    add_hierarchy(report, tmp_path, {"graph fused": first, "oracle": perfect}, datas, plan)
    assert (tmp_path / "figures" / "hierarchy.png").stat().st_size > 5000
    page = report.to_html()
    assert "the 2 of 2 nodes at which most test rows leave the true path, all seeds (10 rows, 5 wrong, 1 of" in page
    assert "bands one standard deviation over seeds" in page
    assert "are drawn" not in page
    rows = [re.findall(">([^<]+)</td>", row) for row in page.split("<tr>") if "</td>" in row]
    # animal: reached by all 9 rows with a label; dog for birman and birman for dog: the smaller turn first
    assert rows == [
        ["solid", "3", "4", "2", "0.500", "british → mainecoon", "2"],
        ["animal", "1", "9", "2", "0.222", "cat → dog", "1"],
    ]


def test_at_most_six_methods_are_drawn(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(fusion_hierarchy, "save_figure", lambda path, figure: figures.append(figure))
    plan = plan_paths(build_graph(deep()))
    truth = [0, 1, 2, 3, 4, 0, 1, 2]
    results, data = {}, None
    for wrong in (8, 1, 2, 3, 4, 5, 6):
        found, data = study([4 - x if i < wrong else x for i, x in enumerate(truth)], truth)
        results[f"method {wrong}"] = [found]
    report = Report("many")
    add_hierarchy(report, tmp_path, results, [data], plan)
    page = report.to_html()
    drawn = [line.get_label() for line in figures[0].axes[0].lines]
    assert drawn == [f"method {wrong}" for wrong in (8, 1, 2, 3, 4, 5)]  # the first is shown although the worst
    assert "The best 5 methods beside the first are drawn" in page
    assert "standard deviation" not in page


def test_shallow_labels_draw_nothing(tmp_path):
    sets = [{"name": "breeds", "labels": {"dog": "dog", "cat": "cat"}}, {**T["label_sets"][0], "name": "below"}]
    found, data = study([0, 1], [1, 0])
    report = Report("flat")
    before = report.to_html()
    for graph in (T, {**deep(), "label_sets": sets}):
        add_hierarchy(report, tmp_path, {"graph fused": [found]}, [data], plan_paths(build_graph(graph)))
    assert report.to_html() == before
    assert not (tmp_path / "figures").exists()
