"""Scores that flow up the graph, and the decoder without memory that uses them."""

from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jlabel import InputError
from jlabel.label_graph import (
    PathDecoder,
    beam_decode,
    build_graph,
    decoded_labels,
    greedy_decode,
    label_graph_loss,
    label_log_probs,
    node_log_probs,
    plan_paths,
    sample_paths,
    upward_scores,
)
from tests.label_graph.toy import T, every_path, with_final_cat

# A tree with one block a node: r > a, b; a > c, d; b > e.
TREE = {
    "format": T["format"],
    "name": "tree",
    "root": "r",
    "nodes": [{"id": i} for i in "rabcde"],
    "edges": [["r", "a"], ["r", "b"], ["a", "c"], ["a", "d"], ["b", "e"]],
    "blocks": [{"parent": "r", "name": "top", "nodes": ["a", "b"]}, {"parent": "a", "name": "a", "nodes": ["c", "d"]}],
    "label_sets": [{"name": "leaves", "labels": {i: i for i in "cde"}}],
}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Programs that run for milliseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


def up(spec, scores, **options):
    return jax.jit(lambda s: upward_scores(s, build_graph(spec), **options))(jnp.asarray(scores, jnp.float32))


# --- scores that flow up


def test_a_tree_by_hand():
    scores = np.array([1.0, 2.0, 3.0, 0.5, 1.5, -1.0, 7.0])
    a, b = 0.2 * 2 + np.log(np.exp(0.5) + np.exp(1.5)), 0.2 * 3 - 1
    root = 0.2 * 1 + np.log(np.exp(a) + np.exp(b))
    np.testing.assert_allclose(up(TREE, scores), [root, a, b, 0.5, 1.5, -1.0, 7.0], rtol=1e-6)
    plain = up(TREE, scores, inner_scale=0.0)
    np.testing.assert_allclose(plain[2], -1.0, rtol=1e-6)


def test_rows_stand_by_themselves():
    scores = jax.random.normal(jax.random.key(0), (2, 3, 7))
    each = [[up(TREE, row) for row in part] for part in scores]
    np.testing.assert_allclose(up(TREE, scores), each, rtol=1e-5)


@pytest.mark.parametrize("inner_scale", [0.2, 1.0])
def test_local_steps_are_one_softmax_over_the_leaves(inner_scale):
    """Independent and in float64: the product of the block softmaxes is exp(sum c s) over its sum over leaves."""
    scores = np.random.default_rng(1).normal(size=(4, 7)) * 2
    graph = build_graph(TREE)
    found = np.asarray(up(TREE, scores, inner_scale=inner_scale), np.float64)
    paths = [(0, 1, 3), (0, 1, 4), (0, 2, 5)]
    for row, raised in zip(scores, found, strict=True):
        sums = np.array([inner_scale * row[list(path[1:-1])].sum() + row[path[-1]] for path in paths])
        chances = every_path(graph, raised)
        np.testing.assert_allclose([chances[p] for p in paths], np.exp(sums - logsumexp(sums)), rtol=1e-5)


def test_several_blocks_are_averaged():
    scores = np.random.default_rng(2).normal(size=13)
    found = np.asarray(up(T, scores))
    name = {id_: i for i, id_ in enumerate(build_graph(T).ids)}
    below = {n: 0.2 * scores[name[n]] + logsumexp([scores[name[c]] for _, c in T["edges"] if _ == n])
             for n in ("short", "long", "solid", "tabby", "point")}  # fmt: skip
    hair, coat = (logsumexp([below[n] for n in block["nodes"]]) for block in T["blocks"])
    expected = 0.2 * scores[name["cat"]] + (hair + coat) / 2
    np.testing.assert_allclose([found[name[n]] for n in below], list(below.values()), rtol=1e-5)
    np.testing.assert_allclose(found[name["cat"]], expected, rtol=1e-5)


def test_the_end_of_path_of_a_final_label_counts():
    """Cat's blocks both hold end-of-path; dog, a sink, and short, no label, have none."""
    scores = np.random.default_rng(3).normal(size=(2, 13))
    for row, with_end, without in zip(scores, up(with_final_cat(), scores), up(T, scores), strict=True):
        hair, coat = (logsumexp([*np.asarray(without)[list(nodes)], row[12]]) for nodes in ((3, 4), (5, 6, 7)))
        np.testing.assert_allclose(with_end[1], 0.2 * row[1] + (hair + coat) / 2, rtol=1e-5)
        np.testing.assert_array_equal(with_end[2:12], without[2:12])
        assert with_end[12] == np.float32(row[12])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_scores_stay_finite(size):
    scores = jnp.where(jnp.arange(13) % 3 == 0, size, -size)
    graph = build_graph(with_final_cat())
    value, grad = jax.jit(jax.value_and_grad(lambda s: upward_scores(s, graph)[:2].sum()))(scores)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
    assert np.isfinite(up(T, jnp.full(13, size))).all()


# --- the decoder without memory

CASES = {
    "T": (T, False, "uniform"),
    "final cat, upward, learned": (with_final_cat(), True, "learned"),
}


class Model(NamedTuple):
    """A decoder, what the package's functions say of three rows, and every path's probability by row."""

    graph: Any
    plan: Any
    module: Any
    params: Any
    features: Any
    gate: str
    rows: list
    said: dict


@pytest.fixture(scope="module", params=CASES, ids=str)
def model(request, _quick):
    spec, upward, gate = CASES[request.param]
    graph = build_graph(spec)
    plan, num_gates = plan_paths(graph), len(graph.blocks) if gate == "learned" else 0
    module = PathDecoder(graph.num_nodes, hidden=0, num_gates=num_gates, skip=True, graph=graph if upward else None)
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 4)))
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)
    features = random.normal(size=(3, 4)).astype(np.float32)
    linear = {name: np.asarray(x, np.float64) for name, x in params["params"]["linear"].items()}
    scores = np.asarray(features, np.float64) @ linear["kernel"] + linear["bias"]
    width = graph.num_nodes + 1
    if upward:  # tested by itself above
        scores[:, :width] = up(spec, scores[:, :width])
    rows = [every_path(graph, row[:width], row[width:], gate=gate) for row in scores]
    wide, args = max(map(len, rows)), (features, graph)

    @jax.jit
    def say(p):
        return {
            "outputs": module.apply(p, features),
            "labels": {s.name: label_log_probs(module.apply, p, features, plan, s.name, gate=gate)
                       for s in graph.label_sets},
            "nodes": node_log_probs(module.apply, p, features, plan, gate=gate),
            "beam": beam_decode(module.apply, p, *args, beam=wide, gate=gate),
            "greedy": greedy_decode(module.apply, p, *args, gate=gate),
            "drawn": sample_paths(module.apply, p, *args, jax.random.key(7), samples=4000, gate=gate),
        }  # fmt: skip

    said = jax.tree.map(np.asarray, say(params))
    return Model(graph, plan, module, params, features, gate, rows, said)


def tokens(nodes, mask):
    return tuple(int(v) for v in nodes[mask])


def ended(graph, path):
    """A path as decoding gives it: with end-of-path."""
    return (*path, graph.num_nodes)


def test_it_has_no_state_and_one_linear_layer(model):
    state, logits, gates = model.said["outputs"]
    assert state is None
    assert logits.shape == (3, model.graph.num_nodes + 1)
    assert (None if gates is None else gates.shape) == (
        (3, len(model.graph.blocks)) if model.gate == "learned" else None
    )
    assert set(model.params["params"]) == {"linear"}


def test_posteriors_are_sums_over_all_paths(model):
    for label_set in model.graph.label_sets:
        for row, chances in zip(model.said["labels"][label_set.name], model.rows, strict=True):
            ends = [
                sum(c for path, c in chances.items() if (path[-1] == v if label_set.final else v in path))
                for v in label_set.nodes
            ]
            np.testing.assert_allclose(np.exp(row), ends, rtol=1e-4, atol=1e-6)
    for row, chances in zip(model.said["nodes"], model.rows, strict=True):
        expected = [sum(c for path, c in chances.items() if v in path) for v in range(model.graph.num_nodes)]
        np.testing.assert_allclose(np.exp(row), expected, rtol=1e-4, atol=1e-6)


def test_a_wide_beam_lists_all_paths_best_first(model):
    nodes, mask, log_probs = model.said["beam"]
    for r, chances in enumerate(model.rows):
        listed = [tokens(n, m) for n, m in zip(nodes[r], mask[r], strict=True)]
        assert sorted(listed) == sorted(ended(model.graph, path) for path in chances)
        expected = [chances[path[:-1]] for path in listed]
        np.testing.assert_allclose(np.exp(log_probs[r]), expected, rtol=1e-4, atol=1e-6)
        assert (np.diff(log_probs[r]) <= 0).all()
    label_set = model.graph.label_sets[0]
    found = decoded_labels(model.graph, nodes, mask, label_set.name)
    for label, n, m in zip(found.ravel(), nodes.reshape(-1, nodes.shape[-1]), mask.reshape(-1, nodes.shape[-1]),
                           strict=True):  # fmt: skip
        last = tokens(n, m)[-2]
        assert int(label) == (label_set.nodes.index(last) if last in label_set.nodes else -1)


def test_greedy_takes_the_likeliest_step_each_time(model):
    nodes, mask = model.said["greedy"]
    for r, chances in enumerate(model.rows):
        step, done = (model.graph.root,), False
        while not done:
            ahead = {}  # what may come next, end-of-path too, and its probability
            for path, chance in chances.items():
                if path[: len(step)] == step:
                    following = ended(model.graph, path)[len(step)]
                    ahead[following] = ahead.get(following, 0.0) + chance
            step = (*step, max(ahead, key=ahead.get))
            done = step[-1] == model.graph.num_nodes
        assert tokens(nodes[r], mask[r]) == step


def test_drawn_paths_follow_the_probabilities(model):
    nodes, mask = model.said["drawn"]
    for r, chances in enumerate(model.rows):
        seen = Counter(tokens(n, m) for n, m in zip(nodes[:, r], mask[:, r], strict=True))
        assert set(seen) <= {ended(model.graph, path) for path in chances}
        for path, chance in chances.items():
            assert abs(seen[ended(model.graph, path)] / len(nodes) - chance) < 0.04  # five standard deviations


def test_tree_and_path_rows_agree(model):
    batch = {"features": model.features, "target": np.array([0, 1, 2])}
    every = [{}, {"objective": "marginal"}]

    def losses(p, use_tree):
        plan = plan_paths(model.graph, use_tree=use_tree)
        options = {"apply_fn": model.module.apply, "plan": plan, "gate": model.gate, "beta": 0.0}
        found = jnp.stack([label_graph_loss(p, batch, jax.random.key(0), **options, **o)[0] for o in every])
        return found @ jnp.array([1.0, -0.7]), found

    (tree, flat) = (
        (found, grad)
        for use in (True, False)
        for (_, found), grad in [jax.jit(jax.value_and_grad(losses, has_aux=True), static_argnums=1)(model.params, use)]
    )
    np.testing.assert_allclose(tree[0], flat[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), tree[1], flat[1])
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(tree[1]))
    ends = [sum(c for path, c in model.rows[r].items() if path[-1] == model.plan.class_nodes[r]) for r in range(3)]
    np.testing.assert_allclose(tree[0][1], -np.log(ends).mean(), rtol=1e-4)  # the marginal is the posterior


def test_neither_memory_nor_scores_is_refused():
    module = PathDecoder(num_nodes=6, hidden=0)
    with pytest.raises(InputError, match="hidden=0 leaves the decoder nothing to score with; give skip=True or a hid"):
        module.init(jax.random.key(0), jnp.zeros((1, 4)))


def test_a_plan_takes_the_tree_it_is_told_to():
    graph = build_graph(T)
    assert [plan_paths(graph, use_tree=use).use_tree for use in (True, False)] == [True, False]
    assert plan_paths(graph).use_tree is True
    cut = plan_paths(graph, max_paths=1, key=jax.random.key(0))
    assert (cut.complete, cut.use_tree) == (False, False)
