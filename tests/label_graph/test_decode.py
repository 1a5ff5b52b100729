import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.label_graph import (
    PathDecoder,
    attribute_log_probs,
    beam_decode,
    build_graph,
    decoded_labels,
    greedy_decode,
    label_log_probs,
    node_log_probs,
    path_log_probs,
    plan_paths,
    sample_paths,
)
from tests.label_graph.toy import T, table_apply, with_final_cat

BREEDS = ("british", "abyssinian", "mainecoon", "birman", "dog")


def posterior(spec, gate="uniform", label_set="breeds"):
    plan = plan_paths(build_graph(spec))
    zeros = jnp.zeros((13, 13))
    return np.exp(label_log_probs(table_apply(12), zeros, jnp.zeros((1, 1)), plan, label_set, gate=gate))[0]


def test_posterior_of_zero_logits():
    np.testing.assert_allclose(posterior(T), [25 / 144, 13 / 144, 19 / 144, 15 / 144, 1 / 2], rtol=1e-5)
    np.testing.assert_allclose(posterior(T, label_set="species"), [1 / 2], rtol=1e-5)
    np.testing.assert_allclose(posterior(T, gate="none").sum(), 1.5, rtol=1e-5)


def test_posterior_with_a_final_inner_label():
    np.testing.assert_allclose(posterior(with_final_cat()), [1 / 8, 1 / 16, 3 / 32, 7 / 96, 1 / 2], rtol=1e-5)
    np.testing.assert_allclose(posterior(with_final_cat(), label_set="species"), [7 / 48], rtol=1e-5)


def crossing():
    """Paths a-m-y .3, a-n-y .3, b-z .4: the likeliest path and the likeliest label differ."""
    graph = build_graph(
        {"format": T["format"], "name": "crossing", "root": "r", "nodes": [{"id": i} for i in "rabmnyz"],
         "edges": [["r", "a"], ["r", "b"], ["a", "m"], ["a", "n"], ["m", "y"], ["n", "y"], ["b", "z"]],
         "label_sets": [{"name": "s", "labels": {"y": "y", "z": "z"}}]}
    )  # fmt: skip
    table = jnp.zeros((8, 8)).at[0, 1].set(jnp.log(0.6)).at[0, 2].set(jnp.log(0.4))
    return graph, table


@pytest.mark.slow
def test_beam_and_posterior_can_differ():
    graph, table = crossing()
    features = jnp.zeros((1, 1))
    nodes, mask, log_probs = beam_decode(table_apply(7), table, features, graph, beam=5)
    np.testing.assert_allclose(np.exp(log_probs[0]), [0.4, 0.3, 0.3, 0, 0], atol=1e-5)
    assert decoded_labels(graph, nodes, mask, "s")[0].tolist() == [1, 0, 0, -1, -1]
    probs = np.exp(label_log_probs(table_apply(7), table, features, plan_paths(graph), "s"))[0]
    np.testing.assert_allclose(probs, [0.6, 0.4], rtol=1e-5)
    greedy, greedy_mask = greedy_decode(table_apply(7), table, features, graph)
    assert [graph.ids[v] for v in greedy[0] if v < 7][:2] == ["r", "a"]
    assert decoded_labels(graph, greedy, greedy_mask, "s").tolist() == [0]


def test_a_path_without_fine_label_counts_as_wrong():
    graph = build_graph(with_final_cat())
    table = jnp.zeros((13, 13)).at[0, 1].set(5.0).at[1, 12].set(9.0)
    nodes, mask = greedy_decode(table_apply(12), table, jnp.zeros((1, 1)), graph)
    assert [v for v, m in zip(nodes[0].tolist(), mask[0].tolist(), strict=True) if m] == [0, 1, 12]
    assert decoded_labels(graph, nodes, mask, "breeds").tolist() == [-1]
    assert decoded_labels(graph, nodes, mask, "species").tolist() == [0]


@pytest.fixture(scope="module")
def model():
    graph = build_graph(T)
    module = PathDecoder(num_nodes=12, hidden=6, num_gates=8)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 3)))
    params = jax.tree.map(lambda x: x * 2, params)
    return graph, plan_paths(graph), module.apply, params, jax.random.normal(jax.random.key(1), (3, 3))


@pytest.mark.parametrize("gate", ["uniform", "learned"])
def test_posterior_equals_the_sum_over_paths(model, gate):
    graph, plan, apply_fn, params, features = model
    found = jax.jit(lambda p: label_log_probs(apply_fn, p, features, plan, "breeds", gate=gate))(params)
    place = plan.label_slice("breeds")
    score = jax.jit(lambda n, m: path_log_probs(apply_fn, params, features, n, m, graph, gate=gate))
    for c in range(5):
        nodes = jnp.broadcast_to(plan.paths.nodes[place][c], (3, *plan.paths.nodes.shape[1:]))
        mask = jnp.broadcast_to(plan.paths.mask[place][c], nodes.shape)
        paths = score(nodes, mask)
        valid = plan.paths.valid[place][c]
        np.testing.assert_allclose(found[:, c], jax.nn.logsumexp(paths[:, valid], axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)


def test_samples_follow_the_posterior(model):
    graph, plan, apply_fn, params, features = model
    draw = jax.jit(lambda key: sample_paths(apply_fn, params, features, graph, key, samples=3000, gate="learned"))
    nodes, mask = draw(jax.random.key(5))
    classes = np.asarray(decoded_labels(graph, nodes, mask, "breeds"))
    seen = np.stack([(classes == c).mean(0) for c in range(5)], axis=1)
    expected = np.exp(jax.jit(lambda p: label_log_probs(apply_fn, p, features, plan, "breeds", gate="learned"))(params))
    np.testing.assert_allclose(seen, expected, atol=0.035)


def test_beam_finds_the_best_paths(model):
    graph, plan, apply_fn, params, features = model
    nodes, mask, log_probs = jax.jit(lambda p: beam_decode(apply_fn, p, features, graph, beam=12, gate="learned"))(
        params
    )
    found = jax.jit(lambda p: path_log_probs(apply_fn, p, features, nodes, mask, graph, gate="learned"))(params)
    np.testing.assert_allclose(log_probs, found, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-4)  # all 12 complete paths
    assert (np.diff(log_probs, axis=1) <= 1e-6).all()


def test_node_and_attribute_probabilities(model):
    graph, plan, apply_fn, params, features = model
    passing = np.exp(jax.jit(lambda p: node_log_probs(apply_fn, p, features, plan))(params))
    name = {node: i for i, node in enumerate(graph.ids)}
    np.testing.assert_allclose(passing[:, name["animal"]], 1, rtol=1e-6)
    np.testing.assert_allclose(passing[:, name["cat"]] + passing[:, name["dog"]], 1, rtol=1e-5)
    coat = [name[c] for c in ("solid", "tabby", "point")]
    np.testing.assert_allclose(passing[:, coat].sum(1), passing[:, name["cat"]] / 2, rtol=1e-5)
    shares = np.exp(attribute_log_probs(jnp.log(passing), graph))
    np.testing.assert_allclose(shares[:, coat], passing[:, coat] / passing[:, coat].sum(1, keepdims=True), rtol=1e-4)
    labels = np.exp(jax.jit(lambda p: label_log_probs(apply_fn, p, features, plan, "breeds"))(params))
    np.testing.assert_allclose(passing[:, [name[b] for b in BREEDS]], labels, rtol=1e-5)
