"""What training shares: weights of draws, rows with several labels, thresholds, dropped words, and the optimisers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.fusion_data import load_fusion, load_plan
from experiments.fusion_methods import build_method
from experiments.fusion_optimizers import HEAD_FACTOR, fine_tuner, scratch_optimizer
from experiments.fusion_training import (
    _words_dropped,
    choose_threshold,
    class_weights,
    label_combinations,
    labels_above,
    method_parts,
    selection_score,
    train_end_to_end,
)
from jlabel.evaluation import multilabel_f1
from tests.experiments import worlds

# --- draws and scores


def test_class_weights_by_hand():
    target = np.array([3, 3, 3, 8])
    np.testing.assert_allclose(class_weights(target, True), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    np.testing.assert_allclose(class_weights(target, False), [1 / 4] * 4)


def test_the_score_that_chooses():
    decoded, truth = np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1])
    assert selection_score(True)(decoded, truth) == 0.5
    assert selection_score(False)(decoded, truth) == 0.75


def test_labels_above_by_hand():
    log_probs = np.log([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]])
    np.testing.assert_array_equal(labels_above(log_probs, 0.49), [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(labels_above(log_probs, 0.51), [[1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(labels_above(log_probs, 1.0), [[1, 0, 0], [0, 1, 1]])
    # A ratio: what is added to a whole row changes nothing.
    np.testing.assert_array_equal(labels_above(log_probs - 700, 0.49), labels_above(log_probs, 0.49))


def test_the_threshold_has_the_best_micro_f1():
    log_probs = np.log([[0.5, 0.4, 0.1], [0.62, 0.28, 0.1], [0.8, 0.1, 0.1]])
    truth = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
    threshold = choose_threshold(log_probs, truth)
    assert 0.28 / 0.62 < threshold <= 0.4 / 0.5
    np.testing.assert_array_equal(labels_above(log_probs, threshold), truth)
    assert choose_threshold(log_probs, truth | True) == 0.05  # the smallest of equally good ones
    assert choose_threshold(log_probs, np.eye(3, dtype=bool)[[0, 0, 0]]) > 0.8


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_no_other_threshold_is_better(seed):
    random = np.random.default_rng(seed)
    log_probs, truth = np.log(random.dirichlet(np.ones(4), 6)), random.random((6, 4)) < 0.4
    truth[:, 0] |= ~truth.any(1)
    best = multilabel_f1(labels_above(log_probs, choose_threshold(log_probs, truth)), truth, average="micro")
    for t in np.linspace(0.05, 1, 39):
        assert multilabel_f1(labels_above(log_probs, t), truth, average="micro") <= best + 1e-12


def test_about_half_of_the_words_are_dropped_and_nothing_else():
    ids = jnp.where(jnp.arange(64)[None] < 40, jax.random.randint(jax.random.key(0), (50, 64), 2, 90), 0)
    ids = ids.at[:, 0].set(1)
    batch = {"inputs": ids, "target": jnp.arange(50)}
    found = _words_dropped(batch, jax.random.key(1))
    kept = np.asarray(found["inputs"] == ids)
    assert found["inputs"].dtype == ids.dtype
    np.testing.assert_array_equal(found["target"], batch["target"])
    assert kept[:, 40:].all()  # padding stays padding
    assert kept[:, 0].all()
    np.testing.assert_array_equal(np.asarray(found["inputs"])[~kept], 1)
    share = 1 - kept[:, 1:40].mean()
    assert abs(share - 0.5) < 0.05  # of 1950 words: four standard deviations
    other = _words_dropped(batch, jax.random.key(2))["inputs"]
    assert (np.asarray(other) != np.asarray(found["inputs"])).any()


# --- rows with several labels


@pytest.fixture(scope="module")
def several(text_world):
    """Config, plan and data of the texts with several labels, a third of them coarse."""
    config = worlds.text_config(
        text_world, data=f"csv:{text_world / 'several.csv'}?separator=|", coarse_data="rest",
        coarse_set=("archives",), fine_per_class=4,
    )  # fmt: skip
    plan = load_plan(config.graph, max_paths=8, keep=1.0, seed=0)
    data, _ = load_fusion(config, plan, data=config.data, coarse_data="rest", seed=0)
    return config, plan, data


def test_the_labels_of_a_row_share_its_weight(several):
    config, plan, data = several
    method = build_method("graph fused", plan, data.fine_set, config)
    found = method_parts(method, data, plan, None, balance=True)
    assert set(found) == {"fine", "coarse"}
    for name, rows in (("fine", data.train), ("coarse", data.coarse)):
        _, places, target, weights = found[name]
        own = class_weights(rows.target, True) if name == "fine" else np.full(len(rows), 1 / len(rows))
        np.testing.assert_allclose(np.bincount(places, weights), own)
        assert weights.sum() == pytest.approx(1)
        for row, classes in enumerate(rows.targets):
            mine = places == row
            assert tuple(target[mine]) == classes
            np.testing.assert_allclose(weights[mine], own[row] / len(classes))
    assert max(len(row) for row in data.train.targets) == 3
    assert target.dtype == np.int32


def test_the_oracle_knows_all_labels_of_a_coarse_row(several):
    config, plan, data = several
    method = build_method("oracle", plan, data.fine_set, config)
    _, places, target, _ = method_parts(method, data, plan, None)["oracle"]
    first = plan.offsets["categories"]
    for row, known in enumerate(data.coarse.fine_sets):
        assert set(target[places == row] - first) == set(np.flatnonzero(known))


def test_combinations_are_listed_once(several):
    _, plan, data = several
    rows = [*data.train.targets, *data.coarse.targets]
    found = label_combinations([data, data])
    assert list(found) == sorted({tuple(sorted(row)) for row in rows if len(row) > 1})
    assert label_combinations([dataclasses.replace(data, coarse=None)]) == tuple(
        sorted({tuple(sorted(row)) for row in data.train.targets if len(row) > 1})
    )
    plain = dataclasses.replace(data.train, targets=None)
    assert label_combinations([dataclasses.replace(data, train=plain, coarse=None)]) == ()


def test_a_set_of_labels_is_one_target_of_the_label_set(several):
    """The loss of such a target is the sigmoid cross-entropy on the union of the labels' paths, by hand."""
    config, plan, data = several
    combos = label_combinations([data])
    method = build_method("Label Set", plan, data.fine_set, config, combos=combos)
    graph, number = plan.graph, len(plan.class_nodes)
    for rows, (_, places, target, weights) in zip(
        (data.train, data.coarse), method_parts(method, data, plan, None).values(), strict=True
    ):
        np.testing.assert_array_equal(places, np.arange(len(rows)))
        assert weights.sum() == pytest.approx(1)
        for place, row in zip(target, rows.targets, strict=True):
            assert (combos[place - number] if place >= number else (place,)) == tuple(sorted(row))
    random = np.random.default_rng(0)
    features = random.normal(size=(1, 5)).astype(np.float32)
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), method.init(jax.random.key(0), 5))
    layer = params["params"]["Dense_0"]
    logits = (features.astype(np.float64) @ layer["kernel"] + layer["bias"])[0]
    loss = jax.jit(lambda target: method.loss(params, {"features": features, "target": target}, None)[0])
    two = next(i for i, row in enumerate(combos) if set(row) == {0, 2})  # cs.ai and math.ag
    coarse = next(i for i, row in enumerate(combos) if set(row) == {plan.offsets["archives"] + a for a in (0, 1)})
    for target, on, off in (
        (0, {"cs", "cs.ai"}, set(graph.ids) - {"all", "cs", "cs.ai"}),
        (number + two, {"cs", "cs.ai", "math", "math.ag"}, {"cs.cl", "math.nt"}),
        (number + coarse, {"cs", "math"}, set()),  # of what lies below, nothing is known
    ):
        values = np.array([logits[graph.ids.index(v)] * (1 if v in on else -1) for v in sorted(on | off)])
        np.testing.assert_allclose(loss(np.array([target])), np.log1p(np.exp(-values)).mean(), rtol=1e-5)


# --- optimisers

PARAMS = {
    "encoder": {"params": {"embeddings": {"w": 1.0}, "layer0": {"w": 1.0}, "layer1": {"w": 1.0}}},
    "head": {"decoder": {"kernel": 1.0}, "reward_average": 0.0},
}


def full(tree, shape=(2, 3)):
    return jax.tree.map(lambda x: jnp.full(shape if x else (), x), tree)


def moved(optimizer, params, gradients):
    """Parameters after some gradients."""
    update, state = jax.jit(optimizer.update), optimizer.init(params)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_fine_tuning_moves_low_layers_less_and_the_head_more(decay):
    params = full(PARAMS)
    gradient = jax.tree.map(lambda x: 0.3 * jnp.ones_like(x), params)
    optimizer = fine_tuner(1e-3, 0.0, 10, True, decay, 1)
    # A warm-up of one step is over at once; Adam's step has length 1 for equal gradients.
    end = moved(optimizer, params, [gradient])
    change = jax.tree.map(lambda a, b: float((a - b).mean()), params, end)
    parts = change["encoder"]["params"]
    for depth, name in enumerate(("layer1", "layer0", "embeddings"), 1):
        assert parts[name]["w"] == pytest.approx(1e-3 * decay**depth, rel=1e-3)
    assert change["head"]["decoder"]["kernel"] == pytest.approx(1e-3 * HEAD_FACTOR, rel=1e-3)
    assert change["head"]["reward_average"] == pytest.approx(0.1 * 0.3, rel=1e-5)  # plain SGD


def test_weight_decay_of_fine_tuning_spares_vectors():
    params = {"encoder": {"params": {"embeddings": {"w": jnp.ones((2, 2))}, "layer0": {"b": jnp.ones(2)}}},
              "head": {"kernel": jnp.ones((2, 2))}}  # fmt: skip
    end = moved(fine_tuner(1e-2, 0.1, 10, False, 1.0, 1), params, [jax.tree.map(jnp.zeros_like, params)])
    np.testing.assert_allclose(end["encoder"]["params"]["embeddings"]["w"], 1 - 1e-2 * 0.1, rtol=1e-6)
    np.testing.assert_array_equal(end["encoder"]["params"]["layer0"]["b"], 1)
    np.testing.assert_allclose(end["head"]["kernel"], 1 - HEAD_FACTOR * 1e-2 * 0.1, rtol=1e-6)


@pytest.mark.parametrize("make", ["fine-tuning", "from scratch"])
def test_two_half_batches_are_one_step_of_their_mean(make):
    params = full(PARAMS)
    keys = jax.random.split(jax.random.key(0), 8)
    halves = [jax.tree.map(lambda x, k=k: jax.random.normal(k, x.shape), params) for k in keys]
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *halves[i : i + 2]) for i in range(0, 8, 2)]

    def optimizer(accumulate):
        if make == "fine-tuning":
            return fine_tuner(1e-2, 0.1, 4, True, 0.7, accumulate)
        return scratch_optimizer(1e-2, 0.1, 4, True, accumulate)

    twice, once = moved(optimizer(2), params, halves), moved(optimizer(1), params, means)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), twice, once)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(*map(jax.tree.leaves, (once, params)), strict=True))
    half = moved(optimizer(2), params, halves[:1])
    jax.tree.map(np.testing.assert_array_equal, half, params)  # nothing moves until a step is whole


def test_a_pretrained_encoder_of_pictures_is_fine_tuned_at_one_rate(tmp_path):
    """It has no layers of a BERT, whose rates --layer_decay sets; the default must not stop it."""
    worlds.write_graph(tmp_path)
    worlds.write_pictures(tmp_path)
    config = worlds.picture_config(tmp_path, fine_tune=True, steps=3, batch_size=2, hidden=0)
    plan = load_plan(config.graph, max_paths=8, keep=1.0, seed=0)
    data, net = load_fusion(config, plan, data=config.data, coarse_data=config.coarse_data, seed=0)
    pretrained = dataclasses.replace(net, pretrained=True)
    method = build_method("FFN", plan, data.fine_set, config)
    found = train_end_to_end(method, data, pretrained, plan, config, 0, 1e-3, None, None, None)
    start = net.init(jax.random.split(jax.random.key(0), 3)[0])
    distances = jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), start, found.params["encoder"]))
    assert 0 < max(distances) < 5e-3
    assert found.chosen == {"learning_rate": 1e-3}
    assert found.log_probs.shape == (4, 4)
