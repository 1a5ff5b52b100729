import copy

import jax
import numpy as np
import pytest

from jlabel.label_graph import LabelGraphError, build_graph, graph_spec, match_labels, trim_graph
from tests.label_graph.toy import T, toy


@pytest.fixture(scope="module")
def graph():
    return build_graph(T)


def test_sizes(graph):
    assert (graph.num_nodes, len(graph.edges), len(graph.blocks)) == (12, 18, 8)
    assert [graph.ids[v] for v in np.flatnonzero(graph.attributes)] == ["short", "long", "solid", "tabby", "point"]
    assert graph.warnings == ()


def test_specification_round_trip(graph):
    spec = graph_spec(graph)
    assert graph_spec(build_graph(spec)) == spec
    assert spec["label_sets"] == [{"final": False, **s} for s in T["label_sets"]]


def test_components(graph):
    number = {node: graph.component[i] for i, node in enumerate(graph.ids)}
    assert len({number[b] for b in ("british", "abyssinian", "mainecoon", "birman")}) == 1
    assert number["short"] == number["long"] != number["solid"] == number["tabby"]


def edit(**changes):
    spec = copy.deepcopy(T)
    spec.update(changes)
    return spec


FAULTS = {
    "format": (edit(format="other/2"), "format is 'other/2', expected 'jlabel.label_graph/1'"),
    "not a list": (edit(nodes="x"), "format: 'nodes' must be a list"),
    "duplicate id": (edit(nodes=[*T["nodes"], {"id": "cat"}]), "duplicate id 'cat'"),
    "duplicate edge": (edit(edges=[*T["edges"], ["animal", "cat"]]), "duplicate edge 'animal' -> 'cat'"),
    "unknown endpoint": (
        edit(edges=[*T["edges"], ["animal", "britsh"]]),
        "edge 'animal' -> 'britsh': unknown node 'britsh' (nearest: 'british')",
    ),
    "cycle": (edit(edges=[*T["edges"], ["british", "cat"]]), "cycle "),
    "unreachable": (edit(nodes=[*T["nodes"], {"id": "fish"}]), "unreachable node 'fish'"),
    "childless attribute": (
        edit(nodes=[*T["nodes"], {"id": "curl"}], edges=[*T["edges"], ["cat", "curl"]]),
        "childless attribute 'curl'",
    ),
    "block parent": (
        edit(blocks=[*T["blocks"], {"parent": "dog", "name": "b", "nodes": ["short"]}]),
        "block 'b' of 'dog': 'short' is not a child of 'dog'",
    ),
    "node twice": (
        edit(blocks=[*T["blocks"], {"parent": "cat", "name": "b", "nodes": ["short"]}]),
        "block 'b' of 'cat': 'short' stands twice in the blocks of 'cat'",
    ),
    "competitors": (
        edit(edges=[*T["edges"], ["short", "tabby"], ["short", "solid"]], nodes=T["nodes"], blocks=[
            {"parent": "cat", "name": "all", "nodes": ["short", "long", "solid", "tabby", "point"]}]),
        "competitors on one path: 'tabby' lies below 'short'",
    ),
    "unknown label node": (
        edit(label_sets=[*T["label_sets"], {"name": "x", "labels": {"Tom": "catt"}}]),
        "label set 'x': label 'Tom' on unknown node 'catt' (nearest: 'cat')",
    ),
    "two labels": (
        edit(label_sets=[*T["label_sets"], {"name": "x", "labels": {"Tom": "cat", "Felix": "cat"}}]),
        "label set 'x': labels ['Tom', 'Felix'] share node 'cat'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    spec, message = FAULTS[fault]
    with pytest.raises(LabelGraphError) as caught:
        build_graph(spec)
    assert any(message in line for line in caught.value.faults), caught.value.faults
    assert "\n" not in str(caught.value)


def test_cycle_names_its_nodes():
    with pytest.raises(LabelGraphError, match="cycle .*cat.*british"):
        build_graph(edit(edges=[*T["edges"], ["british", "cat"]]))


def test_every_fault_is_listed_at_once():
    spec = edit(
        nodes=[*T["nodes"], {"id": "fish"}, {"id": "curl"}],
        edges=[*T["edges"], ["cat", "curl"]],
        label_sets=[*T["label_sets"], {"name": "x", "labels": {"Tom": "catt"}}],
    )
    with pytest.raises(LabelGraphError) as caught:
        build_graph(spec)
    text = str(caught.value)
    assert all(
        part in text for part in ("unreachable node 'fish'", "childless attribute 'curl'", "unknown node 'catt'")
    )


def test_doubtful_graphs_warn():
    graph = build_graph(
        toy(
            blocks=[
                {"parent": "cat", "name": "hair", "nodes": ["short", "long"]},
                {"parent": "cat", "name": "tab", "nodes": ["tabby"]},
                {"parent": "cat", "name": "coat", "nodes": ["solid", "point"]},
            ]
        )
    )
    assert any("block 'tab' of 'cat' has one node beside other blocks" in line for line in graph.warnings)
    spec = toy(edges=[e for e in T["edges"] if e != ["short", "british"]])
    assert "label 'british' of 'breeds' has no deterministic path" in build_graph(spec).warnings


def test_labels_are_matched_and_misses_named(graph):
    label_set, places = match_labels(graph, ["Birman", "BRITISH"], dataset="mine")
    assert (label_set.name, places.tolist()) == ("breeds", [3, 0])
    assert match_labels(graph, ["cat"], dataset="mine")[0].name == "species"
    with pytest.raises(
        LabelGraphError, match="label 'birmann' of dataset 'mine' is not in label set 'breeds'.*nearest: 'birman'"
    ):
        match_labels(graph, ["british", "birmann"], dataset="mine")
    with pytest.raises(LabelGraphError, match="no label set 'breed'"):
        match_labels(graph, ["british"], dataset="mine", label_set="breed")


def test_trim_drops_whole_blocks_and_keeps_labels(graph):
    for keep, left in ((1.0, 5), (0.6, 3), (0.4, 2), (0.0, 0)):
        small = trim_graph(graph, keep, key=jax.random.key(0))
        assert int(small.attributes.sum()) == left
        assert {s.labels for s in small.label_sets} == {s.labels for s in graph.label_sets}
    assert len(small.edges) == 6  # animal -> cat, dog; cat -> four breeds
    with pytest.raises(ValueError, match=r"keep=1.5 must lie in \[0, 1\]"):
        trim_graph(graph, 1.5, key=jax.random.key(0))
