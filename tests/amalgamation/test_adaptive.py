"""AKA: the surest teacher, both losses beside float64 loops, what learns, and the students that come out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import AmalgamationError, ChainApply, LabelChain, adaptive, fit_adaptive, fit_adaptive_runs
from jlabel.amalgamation.adaptive import _ComponentLoss, _StudentLoss, surest_teacher
from tests.amalgamation.chains import (
    COLUMNS,
    FEATURES,
    HIDDEN,
    SETS,
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

TRAINING = {"hidden_size": HIDDEN, "epochs": 3, "batch_size": 8}
ROWS = 5  # of a batch; the last does not count


def draw_maps(rng, number, inputs, outputs):
    return {"kernel": rng.normal(size=(number, inputs, outputs)), "bias": rng.normal(size=(number, outputs))}


def read(maps, place, rows):
    return rows @ np.asarray(maps["kernel"], float)[place] + np.asarray(maps["bias"], float)[place]


def as_arrays(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.int32 if leaf.dtype.kind == "i" else jnp.float32), tree)


def assert_gradient_everywhere(gradient):
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))


def test_surest_teacher():
    first, second, third = np.array([[1.0, -2.0]]), np.array([[-3.0, 4.0]]), np.array([[0.0]])
    teacher, logits = surest_teacher([first, second, third], [(0, 1), (1, 2), (3,)], 4)
    assert teacher.tolist() == [[0, 1, 1, 2]]  # a logit of 0 is surer than no knowledge
    assert logits.tolist() == [[1.0, -3.0, 4.0, 0.0]]
    tied, _ = surest_teacher([np.array([[2.0]]), np.array([[-2.0]])], [(0,), (0,)], 1)
    assert tied.tolist() == [[0]]


def test_component_loss_by_loops():
    rng = np.random.default_rng(0)
    components = [draw_params(rng, 1, HIDDEN) for _ in UNION]
    params = {
        "components": jax.tree.map(lambda *leaves: np.stack(leaves), *components),
        "maps": [draw_maps(rng, len(names), HIDDEN, size) for names, size in zip(SETS, SIZES, strict=True)],
    }
    batch = {
        "features": rng.normal(size=(ROWS, FEATURES)),
        "surest": np.array([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]),
        "targets": rng.random((ROWS, len(UNION))),
        **{f"state_{t}": rng.normal(size=(ROWS, size)) for t, size in enumerate(SIZES)},
        "weight": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    loss = _ComponentLoss(ChainApply(LabelChain(1, HIDDEN)), COLUMNS, match=0.7)
    value, gradient = value_and_gradient(loss, as_arrays(params), as_arrays(batch))
    expected = 0.0
    for j, component in enumerate(components):
        logits, states = run_chain(batch["features"], component)
        for row in range(4):
            expected += cross_entropy(logits[row, 0, 0], batch["targets"][row, j]) / 16
            t = batch["surest"][row, j]
            mapped = read(params["maps"][t], COLUMNS[t].index(j), states[row, 0])
            expected += 0.7 * ((mapped - batch[f"state_{t}"][row]) ** 2).mean() / 16
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # A chain of one step has no last state to read: the weights of [y, h] meet zeros.
    unread = gradient["components"]["params"]["layer_0"].pop("joined")
    assert np.abs(unread[:, :, 0]).max() > 1e-6
    assert np.abs(unread[:, :, 1:]).max() == 0
    assert_gradient_everywhere(gradient)


def test_student_loss_by_loops():
    rng = np.random.default_rng(1)
    params = {
        "student": draw_params(rng, len(UNION), HIDDEN),
        "maps": draw_maps(rng, len(UNION), HIDDEN, HIDDEN),
    }
    batch = {
        "features": rng.normal(size=(ROWS, FEATURES)),
        "targets": rng.random((ROWS, len(UNION))),
        "states": rng.normal(size=(ROWS, len(UNION), HIDDEN)),
        "weight": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    loss = _StudentLoss(ChainApply(LabelChain(len(UNION), HIDDEN)), "steps", match=0.7)
    value, gradient = value_and_gradient(loss, as_arrays(params), as_arrays(batch))
    logits, states = run_chain(batch["features"][:4], params["student"])
    expected = cross_entropy(logits, batch["targets"][:4, None]).mean()
    for j in range(len(UNION)):
        expected += 0.7 * ((read(params["maps"], j, states[:, -1]) - batch["states"][:4, j]) ** 2).mean() / len(UNION)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert_gradient_everywhere(gradient)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(2).normal(size=(2, 12, FEATURES)).astype(np.float32)


@pytest.mark.slow
def test_what_is_learned_from(rows, key, monkeypatch):
    stages, teachers = [], [draw_teachers(0), draw_teachers(1)]
    monkeypatch.setattr(adaptive, "train_runs", no_training(stages))
    monkeypatch.setattr(adaptive, "init_chains", drawn_chains)
    models = fit_adaptive_runs(
        teachers, rows, keys=jax.random.split(key, 2), validation=rows + 1, component_size=6, **TRAINING
    )
    (first, followed, held), (last, learned, _) = stages
    for run in range(2):
        (_, ab, state), (_, cbd, other) = teachers_say(teachers[run], rows[run])
        surest = np.abs(cbd[:, 1]) > np.abs(ab[:, 1])
        np.testing.assert_array_equal(
            followed["surest"][run], np.stack([surest * 0, surest, surest | 1, surest | 1], 1)
        )
        b = np.where(surest, cbd[:, 1], ab[:, 1])
        expected = sigmoid(np.stack([ab[:, 0], b, cbd[:, 0], cbd[:, 2]], 1))
        np.testing.assert_allclose(followed["targets"][run], expected, atol=1e-5)
        later = teachers_say(teachers[run], rows[run] + 1)[0][1]
        np.testing.assert_allclose(held["targets"][run, :, 0], sigmoid(later[:, 0]), atol=1e-5)
        np.testing.assert_allclose(followed["state_0"][run], state, atol=1e-5)
        np.testing.assert_allclose(followed["state_1"][run], other, atol=1e-5)
        for j in range(len(UNION)):
            logits, states = run_chain(rows[run], jax.tree.map(lambda leaf: leaf[run, j], first["components"]))  # noqa: B023
            np.testing.assert_allclose(learned["targets"][run, :, j], sigmoid(logits[:, 0, 0]), atol=1e-5)
            np.testing.assert_allclose(learned["states"][run, :, j], states[:, 0], atol=1e-5)
        jax.tree.map(
            lambda a, b, run=run: np.testing.assert_array_equal(a, b[run]), models[run].params, last["student"]
        )
    kernels = first["components"]["params"]["layer_0"]["features"]
    assert kernels.shape == (2, 4, 4 * 6, FEATURES)
    assert len(np.unique(kernels[..., 0, 0])) == 8  # every component starts elsewhere
    assert [part["kernel"].shape for part in first["maps"]] == [(2, 2, 6, 3), (2, 3, 6, 5)]
    assert last["maps"]["kernel"].shape == (2, 4, HIDDEN, 6)


@pytest.mark.slow
def test_one_student_is_the_run_of_many(rows, key):
    teachers, keys = [draw_teachers(0), draw_teachers(1)], jax.random.split(key, 2)
    many = fit_adaptive_runs(teachers, rows, keys=keys, **TRAINING)
    assert [model.label_names for model in many] == [UNION] * 2
    for run in range(2):
        one = fit_adaptive(teachers[run], rows[run], key=keys[run], **TRAINING)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, many[run].params)


def test_bad_input_is_named(rows, key):
    message = "num_layers: the student has 2, teacher 0 has 1: this method pairs their layers and needs equal numbers"
    with pytest.raises(AmalgamationError, match=message):
        fit_adaptive(draw_teachers(0), rows[0], key=key, num_layers=2, **TRAINING)
    with pytest.raises(AmalgamationError, match="match is -1; allowed: 0 and above"):
        fit_adaptive(draw_teachers(0), rows[0], key=key, match=-1, **TRAINING)
