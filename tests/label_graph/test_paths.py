import jax
import numpy as np
import pytest

from jlabel.label_graph import build_graph, count_paths, enumerate_paths, path_tree, plan_paths
from tests.label_graph.toy import T, with_final_cat


@pytest.fixture(scope="module")
def graph():
    return build_graph(T)


def names(graph, paths, c, p):
    return [(*graph.ids, "eop")[v] for v in paths.nodes[c, p][paths.mask[c, p]]]


def test_counts(graph):
    assert count_paths(graph, "breeds") == {"british": 4, "abyssinian": 2, "mainecoon": 3, "birman": 2, "dog": 1}
    assert sum(count_paths(graph, "breeds").values()) == 12
    assert count_paths(graph)["species/Cat"] == 1


def test_paths_in_lexicographic_order_with_ends(graph):
    paths = enumerate_paths(graph, "breeds")
    assert [names(graph, paths, 0, p)[2] for p in range(4)] == ["short", "solid", "tabby", "point"]
    assert names(graph, paths, 0, 0) == ["animal", "cat", "short", "british", "eop"]
    assert names(graph, enumerate_paths(graph, "species"), 0, 0) == ["animal", "cat"]
    final = build_graph(with_final_cat())
    assert names(final, enumerate_paths(final, "species"), 0, 0) == ["animal", "cat", "eop"]


def test_certainty(graph):
    paths = enumerate_paths(graph, "breeds")
    certain = dict(zip(T["label_sets"][0]["labels"], paths.deterministic.sum(1), strict=True))
    assert certain == {"british": 1, "abyssinian": 2, "mainecoon": 1, "birman": 2, "dog": 1}
    assert paths.valid.sum(1).tolist() == [4, 2, 3, 2, 1]
    tabby = graph.ids.index("tabby")
    assert paths.uncertain[:, tabby].tolist() == [True, False, True, False, False]


def test_certainty_does_not_depend_on_the_cap(graph):
    full = enumerate_paths(graph, "breeds")
    capped = enumerate_paths(graph, "breeds", max_paths=2, key=jax.random.key(3))
    assert capped.truncated.tolist() == [True, False, True, False, False]
    np.testing.assert_array_equal(capped.uncertain, full.uncertain)
    for c in range(5):
        listed = {tuple(names(graph, full, c, p)): full.deterministic[c, p] for p in np.flatnonzero(full.valid[c])}
        drawn = [tuple(names(graph, capped, c, p)) for p in np.flatnonzero(capped.valid[c])]
        assert len(set(drawn)) == len(drawn)
        assert all(listed[path] == capped.deterministic[c, p] for p, path in enumerate(drawn))


def test_prefix_tree(graph):
    paths = enumerate_paths(graph, "breeds")
    tree = path_tree(graph, paths)
    assert tree.num_nodes == 19
    assert int((paths.mask & (paths.nodes < graph.num_nodes)).sum()) == 46
    for c, p in np.argwhere(paths.valid):
        walk, m = [], tree.path_end[c, p]
        while m >= 0:
            walk.append(tree.node[m])
            m = tree.parent[m]
        tokens = paths.nodes[c, p][paths.mask[c, p]]
        assert walk[::-1] == tokens[tokens < graph.num_nodes].tolist()


def diamonds(count):
    """A chain of two-way diamonds: 2 ** count paths."""
    edges, nodes = [], ["d0"]
    for i in range(count):
        for side in (f"l{i}", f"r{i}"):
            edges += [[f"d{i}", side], [side, f"d{i + 1}"]]
            nodes.append(side)
        nodes.append(f"d{i + 1}")
    return {
        "format": "jlabel.label_graph/1", "name": "diamonds", "root": "d0", "nodes": [{"id": n} for n in nodes],
        "edges": edges, "label_sets": [{"name": "s", "labels": {"end": f"d{count}"}}],
    }  # fmt: skip


def test_sixty_diamonds_are_counted_exactly_and_sampled():
    graph = build_graph(diamonds(60))
    assert count_paths(graph, "s") == {"end": 1152921504606846976}
    paths = enumerate_paths(graph, "s", key=jax.random.key(0))
    assert paths.truncated[0]
    assert len({tuple(path) for path in paths.nodes[0].tolist()}) == 64
    assert [tuple(p) for p in paths.nodes[0].tolist()] == sorted(tuple(p) for p in paths.nodes[0].tolist())
    edges = {tuple(edge) for edge in graph.edges.tolist()}
    for path in paths.nodes[0].tolist():
        assert all(step in edges for step in zip(path[:-2], path[1:-1], strict=True))
    again = enumerate_paths(graph, "s", key=jax.random.key(0))
    np.testing.assert_array_equal(paths.nodes, again.nodes)
    with pytest.raises(ValueError, match="has 1152921504606846976 paths, more than max_paths=64: pass a key"):
        enumerate_paths(graph, "s")
    assert not plan_paths(graph, key=jax.random.key(0)).use_tree


def test_draws_are_uniform():
    graph = build_graph(diamonds(3))
    seen = np.zeros(8)
    for seed in range(60):
        paths = enumerate_paths(graph, "s", max_paths=2, key=jax.random.key(seed))
        sides = (paths.nodes[0][:, [1, 3, 5]] - np.array([[1, 4, 7]])) @ [4, 2, 1]
        seen[sides] += 1
    assert ((seen - 15) ** 2 / 15).sum() < 24.3  # chi-square, 7 degrees of freedom, p = .001


def test_known_labels_exclude_attributes_and_the_root(graph):
    plan = plan_paths(graph)
    british = plan.targets("breeds", np.array([0]))[0]
    assert {graph.ids[v] for v in np.flatnonzero(plan.known[british])} == {"cat", "british"}
    assert plan.targets("species", np.array([0, -1])).tolist() == [5, -1]
    assert (plan.complete, plan.use_tree, len(plan.outcomes)) == (True, True, 12)
