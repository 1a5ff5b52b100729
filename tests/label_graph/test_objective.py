import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.label_graph import (
    PathDecoder,
    build_graph,
    label_graph_loss,
    path_log_probs,
    path_reward,
    plan_paths,
    pool_paths,
    reward_average,
    step_log_probs,
)
from jlabel.label_graph.tree import tree_step_log_probs
from jlabel.ops import score_function_loss
from tests.label_graph.toy import T, table_apply, with_final_cat


@pytest.fixture(scope="module")
def graph():
    return build_graph(T)


@pytest.fixture(scope="module")
def plan(graph):
    return plan_paths(graph)


@pytest.fixture(scope="module")
def decoder(graph):
    """A random decoder: apply, parameters and features of four rows."""
    module = PathDecoder(num_nodes=graph.num_nodes, hidden=7, num_gates=len(graph.blocks))
    params = jax.jit(module.init)(jax.random.key(1), jnp.zeros((1, 3)))
    return module.apply, params, jax.random.normal(jax.random.key(2), (4, 3)) * 2


def class_paths(plan, c):
    return (jnp.asarray(x[None, c]) for x in (plan.paths.nodes, plan.paths.mask))


@pytest.mark.parametrize(("gate", "first", "second"), [("none", 2.0794, 2.8904)])
def test_losses_of_zero_logits(graph, plan, gate, first, second):
    apply_fn, zeros = table_apply(12), jnp.zeros((13, 13))
    nodes, mask = class_paths(plan, 1)
    nll = -path_log_probs(apply_fn, zeros, jnp.zeros((1, 1)), nodes, mask, graph, gate=gate)
    valid = plan.paths.valid[None, 1]
    np.testing.assert_allclose(nll[valid], [first, second], atol=5e-5)
    np.testing.assert_allclose(pool_paths(nll, valid), np.log(12), atol=1e-5)
    np.testing.assert_allclose(pool_paths(nll, valid, pool="sum"), 4.9698, atol=5e-5)
    drawn = [float(pool_paths(nll, valid, pool="random", key=jax.random.key(i))[0]) for i in range(12)]
    assert {round(v, 4) for v in drawn} == {2.0794, 2.8904}


def test_step_probabilities_sum_to_one_or_to_the_number_of_blocks(graph):
    logits = jax.random.normal(jax.random.key(0), (12, 13))
    gates = jax.random.normal(jax.random.key(1), (12, 8))
    node = jnp.arange(12)
    for gate in ("uniform", "learned"):
        total = jnp.exp(step_log_probs(logits, graph, node, gate=gate, gate_logits=gates)).sum(-1)
        np.testing.assert_allclose(total, 1, rtol=1e-5)
    total = jnp.exp(step_log_probs(logits, graph, node, gate="none")).sum(-1)
    np.testing.assert_allclose(total, np.maximum(graph.num_blocks, 1), rtol=1e-5)
    with pytest.raises(ValueError, match="needs gate_logits"):
        step_log_probs(logits, graph, node, gate="learned")
    with pytest.raises(ValueError, match=r"logits have 12 columns, the graph needs V \+ 1 = 13"):
        step_log_probs(logits[:, :12], graph, node)


def slow_step(graph, logits, gates, parent, child, gate, stops=()):
    """One step in plain Python and float64, from the formula."""
    node = graph.ids[parent]
    blocks = [b for b in graph.blocks if b.parent == parent]
    if not blocks:
        return 0.0
    raw = {
        "uniform": [1 / len(blocks)] * len(blocks),
        "none": [1.0] * len(blocks),
        "learned": [np.exp(gates[graph.blocks.index(b)]) for b in blocks],
    }[gate]
    weights = [w / sum(raw) for w in raw] if gate == "learned" else raw
    value = 0.0
    for i, block in enumerate(blocks):
        extra = [len(graph.ids)] if node in stops else []
        total = sum(np.exp(logits[w]) for w in [*block.nodes, *extra])
        if child == len(graph.ids) and extra or child in block.nodes:
            value += weights[i] * np.exp(logits[child]) / total
    return np.log(value)


@pytest.mark.parametrize("gate", ["uniform", "learned", "none"])
@pytest.mark.parametrize("spec", [T, with_final_cat()])
def test_paths_and_tree_equal_plain_python(spec, gate):
    graph = build_graph(spec)
    plan, stops = plan_paths(graph), {graph.ids[v] for v in np.flatnonzero(graph.stops)}
    table = jax.random.normal(jax.random.key(5), (13, 13 + 8))
    apply_fn = table_apply(12, num_gates=8)
    paths = plan.paths
    features = jnp.zeros((len(paths.nodes), 1))
    found = jax.jit(lambda t: path_log_probs(apply_fn, t, features, paths.nodes, paths.mask, graph, gate=gate))(table)
    steps, ends = jax.jit(lambda t: tree_step_log_probs(apply_fn, t, features[:1], graph, plan.tree, gate=gate))(table)
    for c, p in np.argwhere(paths.valid):
        tokens = paths.nodes[c, p][paths.mask[c, p]]
        rows = np.asarray(table, np.float64)
        expected = sum(
            slow_step(graph, rows[u][:13], rows[u][13:], u, v, gate, stops) for u, v in itertools.pairwise(tokens)
        )
        np.testing.assert_allclose(found[c, p], expected, rtol=2e-5, atol=2e-5)
        m, total = plan.tree.path_end[c, p], float(ends[0, plan.tree.path_end[c, p]]) * plan.tree.path_stops[c, p]
        while m > 0:
            total += float(steps[0, m])
            m = plan.tree.parent[m]
        np.testing.assert_allclose(total, expected, rtol=2e-5, atol=2e-5)


OPTIONS = [
    {"objective": "marginal", "credit": "all", "gate": "learned"},
    *(
        pytest.param(options, marks=pytest.mark.slow)
        for options in (
            {},
            {"gate": "learned"},
            {"gate": "none"},
            {"competition": "component"},
            {"objective": "marginal"},
            {"pool": "sum"},
        )
    ),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("spec", [T, with_final_cat()], ids=["T", "final"])
def test_tree_and_paths_give_the_same_loss_and_gradient(spec, options, decoder):
    apply_fn, params, features = decoder
    graph = build_graph(spec)
    tree, flat = (plan_paths(graph, use_tree=use) for use in (True, False))
    batch = {
        "features": features,
        "target": jnp.array([0, 3, 5, 4]),
        "block_mask": jnp.ones((4, 8), bool).at[1, 2].set(False),
    }
    results = []
    for plan in (tree, flat):
        # beta=0: the two ways draw their samples differently, which the next test covers.
        loss = lambda p, plan=plan: label_graph_loss(  # noqa: E731
            p, batch, jax.random.key(0), apply_fn=apply_fn, plan=plan, beta=0.0, **options
        )[0]
        results.append(jax.jit(jax.value_and_grad(loss))(params))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), results[0][1], results[1][1])


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["uniform", "none"])
def test_both_samplers_estimate_the_same_gradient(gate, graph, plan):
    apply_fn, table = table_apply(12), jax.random.normal(jax.random.key(7), (13, 13)) * 0.5
    batch = {"features": jnp.zeros((1, 1)), "target": jnp.array([0])}
    grads = []
    for use_tree in (True, False):
        options = {"plan": plan_paths(graph, use_tree=use_tree), "gate": gate, "samples": 20000, "alpha": 0.0}
        loss = lambda t, options=options: label_graph_loss(  # noqa: E731
            t, batch, jax.random.key(0), apply_fn=apply_fn, credit="all", **options
        )[0]
        grads.append(jax.jit(jax.grad(loss))(table))
    np.testing.assert_allclose(grads[0], grads[1], atol=0.012)
    assert np.abs(grads[0]).max() > 0.03


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_score_function_is_unbiased(graph, plan, baseline):
    """REINFORCE over all 12 paths, weighted by probability, is the gradient of the negative expected reward."""
    with jax.enable_x64(True):
        apply_fn = table_apply(12, dtype=jnp.float64)
        table = jax.random.normal(jax.random.key(3), (13, 13), jnp.float64)
        nodes, mask = plan.paths.nodes[plan.paths.valid][:12], plan.paths.mask[plan.paths.valid][:12]
        rewards = path_reward(np.where(mask, nodes, -1)[:, None], plan.known[[0]])[:, 0].astype(jnp.float64)

        def log_probs(t):
            return path_log_probs(apply_fn, t, jnp.zeros((1, 1)), nodes[None], mask[None], graph)[0]

        assert abs(float(jnp.exp(log_probs(table)).sum()) - 1) < 1e-12
        expected = jax.jit(jax.grad(lambda t: -(jnp.exp(log_probs(t)) * rewards).sum()))(table)
        probs = jax.lax.stop_gradient(jnp.exp(log_probs(table)))

        def surrogate(t):
            # A path of probability p stands for p of the samples: K paths with weight K * p.
            each = [
                score_function_loss(
                    log_probs(t)[k : k + 1, None], rewards[k : k + 1, None],
                    baseline="moving_average", moving_average=baseline, weights=probs[k : k + 1],
                )
                for k in range(12)
            ]  # fmt: skip
            return sum(each)

        np.testing.assert_allclose(jax.jit(jax.grad(surrogate))(table), expected, rtol=0, atol=1e-12)


def test_expected_rewards_of_zero_logits(graph, plan):
    nodes, mask = plan.paths.nodes[plan.paths.valid][:12], plan.paths.mask[plan.paths.valid][:12]
    log_probs = path_log_probs(table_apply(12), jnp.zeros((13, 13)), jnp.zeros((1, 1)), nodes[None], mask[None], graph)
    for target, expected in ((0, 97 / 288), (5, 1 / 2)):
        rewards = path_reward(np.where(mask, nodes, -1)[:, None], plan.known[[target]])[:, 0]
        np.testing.assert_allclose((jnp.exp(log_probs[0]) * rewards).sum(), expected, rtol=1e-5)


def gradient(graph, plan, target, *, names=None, **options):
    """Gradient of the loss on the logits table at nonzero logits, rows and columns by node name."""
    table = jax.random.normal(jax.random.key(9), (13, 13)) * 0.3
    batch = {"features": jnp.zeros((1, 1)), "target": jnp.array([target])}
    loss = functools.partial(
        label_graph_loss, batch=batch, key=jax.random.key(4), apply_fn=table_apply(12), plan=plan, samples=64, **options
    )
    return np.array(jax.jit(jax.grad(lambda t: loss(t)[0]))(table))


COAT = slice(5, 8)


def test_a_coarse_row_trains_only_the_steps_to_its_node(graph, plan):
    grad = gradient(graph, plan, 5)
    assert np.abs(grad[0, 1:3]).min() > 0
    grad[0, 1:3] = 0
    np.testing.assert_array_equal(grad, 0)


def test_a_lone_end_costs_nothing():
    graph = build_graph(
        {"format": T["format"], "name": "one", "root": "r", "nodes": [{"id": "r"}, {"id": "a"}],
         "edges": [["r", "a"]], "label_sets": [{"name": "s", "labels": {"a": "a"}}]}
    )  # fmt: skip
    plan = plan_paths(graph)
    nodes, mask = jnp.array([[[1, 2]]]), jnp.ones((1, 1, 2), bool)
    value, grad = jax.value_and_grad(
        lambda t: path_log_probs(table_apply(2), t, jnp.zeros((1, 1)), nodes, mask, graph)[0, 0]
    )(jnp.ones((3, 3)))
    assert value == 0
    np.testing.assert_array_equal(grad, 0)
    assert plan.paths.nodes[0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("use_tree", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_certain_credit_leaves_the_free_coat_alone(graph, use_tree):
    plan = plan_paths(graph, use_tree=use_tree)
    certain = gradient(graph, plan, 0, credit="certain", alpha=0.0)
    np.testing.assert_array_equal(certain[1, COAT], 0)
    assert np.abs(certain[5:8, 8:12]).max() > 1e-4
    everything = gradient(graph, plan, 0, credit="all", alpha=0.0)
    assert np.abs(everything[1, COAT]).max() > 1e-4
    marginal = gradient(graph, plan, 0, credit="certain", objective="marginal")
    np.testing.assert_array_equal(marginal[1, COAT], 0)
    assert np.abs(marginal[1, 3:5]).min() > 0


def test_an_unsupervised_block_gives_no_gradient(graph, plan):
    hair = [b.name for b in graph.blocks].index("hair")
    for use_tree in (True, False):
        table = jax.random.normal(jax.random.key(9), (13, 13))
        batch = {
            "features": jnp.zeros((1, 1)),
            "target": jnp.array([1]),
            "block_mask": jnp.ones((1, 8), bool).at[0, hair].set(False),
        }
        the_plan = plan_paths(graph, use_tree=use_tree)
        loss = functools.partial(label_graph_loss, batch=batch, key=jax.random.key(0), plan=the_plan)
        grad = jax.jit(jax.grad(lambda t, loss=loss: loss(t, apply_fn=table_apply(12))[0]))(table)
        np.testing.assert_array_equal(grad[1, 3:5], 0)
        assert np.abs(grad[1, COAT]).min() > 0


def test_padding_masked_paths_and_row_order_change_nothing(graph, plan, decoder):
    apply_fn, params, features = decoder
    nodes, mask = plan.paths.nodes[:4], plan.paths.mask[:4]
    score = jax.jit(lambda f, n, m: path_log_probs(apply_fn, params, f, n, m, graph))
    plain = score(features, nodes, mask)
    wide = np.pad(nodes, ((0, 0), (0, 2), (0, 3)), constant_values=5)
    padded = score(features, wide, np.pad(mask, ((0, 0), (0, 2), (0, 3))))
    np.testing.assert_allclose(padded[:, :4], plain, atol=1e-6)
    np.testing.assert_array_equal(padded[:, 4:], 0)
    order = np.array([2, 0, 3, 1])
    moved = score(features[order], nodes[order], mask[order])
    np.testing.assert_allclose(moved, plain[order], atol=1e-6)


def test_unlabelled_and_weightless_rows_count_nothing(plan, decoder):
    apply_fn, params, features = decoder
    loss = jax.jit(
        lambda batch: label_graph_loss(params, batch, jax.random.key(0), apply_fn=apply_fn, plan=plan, beta=0.0)
    )
    target = jnp.array([1, 3, 0, 4])
    full, _ = loss({"features": features, "target": target, "weight": jnp.array([1.0, 0, 1, 0])})
    half, _ = loss({"features": features, "target": jnp.where(jnp.arange(4) % 2, -1, target)})
    np.testing.assert_allclose(full, half, rtol=1e-6)
    assert full > 0


@pytest.mark.parametrize("options", [{}, {"objective": "marginal", "gate": "learned"}], ids=str)
def test_extreme_logits_stay_finite(graph, plan, options):
    table = jnp.where(jnp.arange(21)[None] % 3 == 0, 1e4, -1e4) * jnp.ones((13, 1))
    batch = {"features": jnp.zeros((4, 1)), "target": jnp.array([0, 1, 4, 5])}
    for use_tree in (True, False):
        loss = lambda t, u=use_tree: label_graph_loss(  # noqa: E731
            t, batch, jax.random.key(0), apply_fn=table_apply(12, num_gates=8), plan=plan_paths(graph, use_tree=u),
            **options,
        )[0]  # fmt: skip
        value, grad = jax.jit(jax.value_and_grad(loss))(table)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_free_running_feeds_the_argmax_but_keeps_the_true_blocks(graph, plan):
    """With a state that is the node fed, the second step reads the fed node's logits under the true parent."""
    table = jnp.zeros((13, 13)).at[0, 2].set(3.0).at[2, 4].set(1.0)
    nodes, mask = class_paths(plan, 0)
    found = path_log_probs(table_apply(12), table, jnp.zeros((1, 1)), nodes, mask, graph, forced=jnp.array(False))
    # Root: dog is likelier, so dog is fed; its row gives short/long 0 and 1.
    first = -np.log1p(np.exp(3.0))
    second = -np.log(2) - np.log1p(np.exp(1.0))
    np.testing.assert_allclose(found[0, 0], first + second - np.log(2), rtol=1e-5)
    batch = {"features": jnp.zeros((1, 1)), "target": jnp.array([0])}
    loss = jax.jit(
        lambda key: label_graph_loss(
            table, batch, key, apply_fn=table_apply(12), plan=plan, teacher_forcing=0.5, beta=0.0
        )[0]
    )
    losses = {round(float(loss(jax.random.key(i))), 4) for i in range(8)}
    assert len(losses) == 2


def test_moving_average_starts_at_the_first_reward_and_decays(graph, plan, decoder):
    apply_fn, params, features = decoder
    batch = {"features": features, "target": jnp.array([0, 0, 2, 2])}
    start = jax.jit(lambda p: reward_average(p, batch, jax.random.key(0), apply_fn=apply_fn, plan=plan))(params)
    assert 0 < float(start) < 1
    joined = {"decoder": params, "reward_average": jnp.float32(0.9)}

    def loss(p):
        return label_graph_loss(p, batch, jax.random.key(1), apply_fn=apply_fn, plan=plan, baseline="moving_average")

    grads, metrics = jax.jit(jax.grad(loss, has_aux=True))(joined)
    update, _ = optax.sgd(0.1).update(grads["reward_average"], optax.sgd(0.1).init(joined["reward_average"]))
    np.testing.assert_allclose(0.9 + update, 0.9 * 0.9 + 0.1 * metrics["reward"], rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=4, max_size=4), st.lists(st.booleans(), min_size=12, max_size=12))
def test_reward_counts_each_known_label_once(path, known):
    known[3] = True
    expected = len({v for v in path if v < 12 and known[v]}) / sum(known)
    np.testing.assert_allclose(path_reward(np.array([[path]]), np.array([known]))[0, 0], expected, rtol=1e-6)
