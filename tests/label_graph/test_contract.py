"""Nodes that decide nothing go, and nothing that anyone can see changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.data import load_graph
from jlabel.label_graph import build_graph, contract_graph, graph_spec, label_log_probs, plan_paths
from tests.label_graph.toy import T, toy

# r > a > b > c (a label) > d > e, f; r > g > h, i; h and i > j: only a, b and d decide nothing.
CHAINS = {
    "format": T["format"],
    "name": "chains",
    "root": "r",
    "nodes": [{"id": i} for i in "rabcdefghij"],
    "edges": ["ra", "rg", "ab", "bc", "cd", "de", "df", "gh", "gi", "hj", "ij"],
    "blocks": [{"parent": "r", "name": "first", "nodes": ["a", "g"]}],
    "label_sets": [
        {"name": "fine", "labels": {"E": "e", "F": "f", "J": "j"}},
        {"name": "coarse", "labels": {"C": "c", "G": "g"}},
    ],
}
CHAINS["edges"] = [list(edge) for edge in CHAINS["edges"]]
# T with a long-haired coat that only birman has, so "point" decides nothing.
ONE_COAT = toy(edges=[e for e in T["edges"] if e not in (["point", "british"], ["long", "birman"])])


def memoryless(params, inputs, node=None):
    """Scores ``[B, V+1]`` of each row, wherever the path stands."""
    return None, params, None


def label_probs(graph, scores):
    """Posterior of every set, a row for each scores by node id."""
    table = np.array([[row[name] for name in graph.ids] + [0.0] for row in scores], np.float32)
    plan, features = plan_paths(graph), np.zeros((len(table), 1))
    return np.exp(
        jax.jit(
            lambda t: jnp.concatenate(
                [label_log_probs(memoryless, t, features, plan, s.name) for s in graph.label_sets], axis=1
            )
        )(table)
    )


def edges(graph):
    return {graph.ids[p] + graph.ids[c] for p, c in graph.edges.tolist()}


def test_chains_go_and_labels_branches_and_joins_stay():
    graph = build_graph(CHAINS)
    small = contract_graph(graph)
    # d is no label but has two children; h and i have one child, which has another parent too.
    assert "".join(small.ids) == "rcdefghij"
    assert edges(small) == {"rc", "rg", "cd", "de", "df", "gh", "gi", "hj", "ij"}
    (first,) = (block for block in small.blocks if block.name == "first")
    assert [small.ids[v] for v in first.nodes] == ["c", "g"]
    for mine, theirs in zip(small.label_sets, graph.label_sets, strict=True):
        assert (mine.name, mine.labels, mine.final) == (theirs.name, theirs.labels, theirs.final)
        assert [small.ids[v] for v in mine.nodes] == [graph.ids[v] for v in theirs.nodes]


def test_a_label_on_the_root_child_of_a_chain_and_the_root_itself_stay():
    """The root has one child and stays; so does a labelled inner node with one child."""
    spec = {**CHAINS, "edges": [list(e) for e in ("ra", "ab", "bc", "cd")], "nodes": [{"id": i} for i in "rabcd"],
            "blocks": [], "label_sets": [{"name": "s", "labels": {"B": "b", "D": "d"}}]}  # fmt: skip
    small = contract_graph(build_graph(spec))
    assert (small.ids, edges(small)) == (("r", "b", "d"), {"rb", "bd"})
    assert small.titles[small.label_set("s").nodes[1]] == "d"


@pytest.mark.parametrize("spec", [CHAINS, ONE_COAT], ids=["chains", "one coat"])
def test_labels_have_the_probabilities_they_had(spec):
    """A node that takes the place of another takes its score."""
    graph = build_graph(spec)
    small = contract_graph(graph)
    random = np.random.default_rng(0)
    scores = dict(zip(graph.ids, random.normal(size=graph.num_nodes), strict=True))
    moved = dict(scores)
    children = {v: graph.successors[v][graph.successors[v] < graph.num_nodes] for v in range(graph.num_nodes)}
    for v in graph.order:  # down the chains
        if graph.ids[v] not in small.ids:
            moved[graph.ids[children[v][0]]] = moved[graph.ids[v]]
    equal = dict.fromkeys(scores, 1.7)
    before, after = label_probs(graph, [scores, equal]), label_probs(small, [moved, equal])
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert before[0].std() > 0.01


@pytest.mark.parametrize("name", ["pets", "flowers", "tiny_imagenet"])
def test_once_is_enough_and_plans_agree(name):
    graph = build_graph(load_graph(name))
    small = contract_graph(graph)
    assert graph_spec(contract_graph(small)) == graph_spec(small)
    assert [s.labels for s in small.label_sets] == [s.labels for s in graph.label_sets]
    assert small.num_nodes <= graph.num_nodes
    wide, narrow = (plan_paths(g, max_paths=64) for g in (graph, small))
    np.testing.assert_array_equal(narrow.paths.valid.sum(1), wide.paths.valid.sum(1))
    np.testing.assert_array_equal(narrow.known.sum(1), wide.known.sum(1))  # labels passed
    np.testing.assert_array_equal(narrow.paths.deterministic.any(1), wide.paths.deterministic.any(1))
    assert [graph.ids[v] for v in wide.class_nodes] == [small.ids[v] for v in narrow.class_nodes]


def test_nothing_to_drop_is_the_same_graph():
    graph = build_graph(T)
    assert graph_spec(contract_graph(graph)) == graph_spec(graph)
