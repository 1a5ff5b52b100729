"""CFL: the distance and the loss beside float64 loops, gradients, and the students that come out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import (
    AmalgamationError,
    common_features,
    fit_common_features,
    fit_common_features_runs,
)
from jlabel.amalgamation.common_features import _Loss, kernel_distance
from jlabel.amalgamation.model import ChainApply
from jlabel.amalgamation.network import LabelChain
from tests.amalgamation.chains import (
    FEATURES,
    HIDDEN,
    SIZES,
    UNION,
    cross_entropy,
    draw_params,
    draw_teachers,
    drawn_chains,
    no_training,
    run_chain,
    sigmoid,
    teachers_say,
    value_and_gradient,
)

TRAINING = {"hidden_size": HIDDEN, "epochs": 3, "batch_size": 8, "common_size": 6}


def distance(first, second, weights):
    """Loops in float64 over the rows that count."""
    a, b = (np.asarray(part, np.float64) for part in (first, second))
    joint = [(row, weight, sign) for rows, sign in ((a, 1), (b, -1)) for row, weight in zip(rows, weights, strict=True)]
    pairs = [
        (((u - v) ** 2).sum(), p * q, r * s, i == j)
        for i, (u, p, r) in enumerate(joint)
        for j, (v, q, s) in enumerate(joint)
    ]
    apart = [(square, weight) for square, weight, _, same in pairs if not same]
    scale = sum(square * weight for square, weight in apart) / sum(weight for _, weight in apart)
    kernel = [np.mean([np.exp(-square / (q * scale)) for q in (0.25, 0.5, 1, 2, 4)]) for square, *_ in pairs]
    total = sum(k * weight * sign for k, (_, weight, sign, _) in zip(kernel, pairs, strict=True))
    return total / np.sum(weights) ** 2


measure = jax.jit(jax.value_and_grad(kernel_distance))


def test_distance_is_that_of_loops():
    rng = np.random.default_rng(0)
    first, far, weights = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)) + 100.0, np.array([1.0, 1.0, 0.5, 1.0, 0.0])
    for second in (far, far - 99.5):
        expected = distance(first[:4], second[:4], weights[:4])
        for a, b in ((first, second), (second, first), (7 * first, 7 * second)):  # the widths grow with the samples
            np.testing.assert_allclose(measure(a, b, weights)[0], expected, rtol=1e-4)
    assert measure(first, first[[1, 0, 3, 2, 4]], np.ones(5))[0] < 1e-6  # samples, not pairs of rows


def test_distance_of_points_that_fell_together_is_finite():
    same = np.ones((5, 3))
    for weights in (np.ones(5), np.zeros(5)):
        value, gradient = measure(same, same, weights)
        assert abs(value) < 1e-6
        assert np.isfinite(gradient).all()


@pytest.fixture(scope="module")
def problem():
    """The loss, its parameters, and a batch of which the last row does not count."""
    rng = np.random.default_rng(1)

    def maps(inputs, outputs):
        return {"kernel": rng.normal(size=(inputs, outputs)), "bias": rng.normal(size=outputs)}

    params = {
        "student": draw_params(rng, len(UNION), HIDDEN),
        "map": maps(HIDDEN, 6),
        "teachers": [{"map": maps(size, 6), "rebuild": maps(6, size)} for size in SIZES],
    }
    batch = {
        "features": rng.normal(size=(5, FEATURES)),
        "targets": rng.random((5, len(UNION))),
        **{f"state_{t}": rng.normal(size=(5, size)) for t, size in enumerate(SIZES)},
        "weight": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    params, batch = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, batch))
    loss = _Loss(ChainApply(LabelChain(len(UNION), HIDDEN)), "steps", match=0.7, rebuild=0.3, num_teachers=2)
    value, gradient = value_and_gradient(loss, params, batch)
    return params, batch, value, gradient


def test_loss_by_loops(problem):
    params, batch, value, _ = problem
    read = lambda part, rows: rows @ np.asarray(part["kernel"], float) + np.asarray(part["bias"], float)  # noqa: E731
    logits, states = run_chain(batch["features"][:4], params["student"])
    expected = cross_entropy(logits, np.asarray(batch["targets"], float)[:4, None]).mean()
    own = read(params["map"], states[:, -1])
    for t, maps in enumerate(params["teachers"]):
        state = np.asarray(batch[f"state_{t}"], float)[:4]
        mapped = read(maps["map"], state)
        rebuilt = ((read(maps["rebuild"], mapped) - state) ** 2).mean()
        expected += (0.7 * distance(own, mapped, np.ones(4)) + 0.3 * rebuilt) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_gradient_reaches_everything(problem):
    *_, gradient = problem
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(2).normal(size=(2, 12, FEATURES)).astype(np.float32)


@pytest.mark.slow
def test_what_is_learned_from(rows, key, monkeypatch):
    stages, teachers = [], [draw_teachers(0), draw_teachers(1)]
    monkeypatch.setattr(common_features, "train_runs", no_training(stages))
    monkeypatch.setattr(common_features, "init_chains", drawn_chains)
    fit_common_features_runs(teachers, rows, keys=jax.random.split(key, 2), validation=rows + 1, **TRAINING)
    ((params, arrays, held),) = stages
    for run in range(2):
        (_, first, *_), (_, second, *_) = said = teachers_say(teachers[run], rows[run])
        a, b = first.T
        c, other, d = second.T
        expected = sigmoid(np.stack([a, (b + other) / 2, c, d], 1))
        np.testing.assert_allclose(arrays["targets"][run], expected, atol=1e-5)
        for t in range(2):
            np.testing.assert_allclose(arrays[f"state_{t}"][run], said[t][2], atol=1e-5)
            later = teachers_say(teachers[run], rows[run] + 1)[t][2]
            np.testing.assert_allclose(held[f"state_{t}"][run], later, atol=1e-5)
    assert params["map"]["kernel"].shape == (2, HIDDEN, 6)
    assert params["teachers"][1]["map"]["kernel"].shape == (2, SIZES[1], 6)
    assert params["teachers"][1]["rebuild"]["kernel"].shape == (2, 6, SIZES[1])
    leaves = jax.tree.leaves(params["student"])
    assert all((leaf[0] != leaf[1]).any() for leaf in leaves if leaf.ndim == 3)


@pytest.mark.slow
def test_one_student_is_the_run_of_many(rows, key):
    teachers, keys = [draw_teachers(0), draw_teachers(1)], jax.random.split(key, 2)
    many = fit_common_features_runs(teachers, rows, keys=keys, **TRAINING)
    assert [model.label_names for model in many] == [UNION] * 2
    for run in range(2):
        one = fit_common_features(teachers[run], rows[run], key=keys[run], **TRAINING)
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many[run].params), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("option", "value"), [("match", -1), ("rebuild", float("nan"))])
def test_bad_weights_are_named(rows, key, option, value):
    with pytest.raises(AmalgamationError, match=f"{option} is {value}; allowed: 0 and above"):
        fit_common_features(draw_teachers(0), rows[0], key=key, **TRAINING, **{option: value})
    with pytest.raises(AmalgamationError, match="common_size is 0; allowed: whole numbers from 1"):
        fit_common_features(draw_teachers(0), rows[0], key=key, **{**TRAINING, "common_size": 0})
