"""FKA: the replaced LSTM and both losses beside float64 loops, what learns and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import AmalgamationError, ChainApply, LabelChain, filtered, fit_filtered, fit_filtered_runs
from jlabel.amalgamation.filtered import _OutputLoss, _StandIn, replaced_params
from tests.amalgamation.chains import (
    COLUMNS,
    FEATURES,
    HIDDEN,
    SETS,
    SIZES,
    UNION,
    cross_entropy,
    draw_params,
    draw_teacher,
    draw_teachers,
    drawn_chains,
    no_training,
    run_chain,
    sigmoid,
    teachers_say,
    value_and_gradient,
)

TRAINING = {"hidden_size": HIDDEN, "epochs": 3, "batch_size": 8}
CHAINS = tuple(ChainApply(LabelChain(len(names), HIDDEN)) for names in SETS)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    params = {
        "student": draw_params(rng, len(UNION), HIDDEN),
        "adapters": [{"kernel": rng.normal(size=(HIDDEN, size)), "bias": rng.normal(size=size)} for size in SIZES],
        "teachers": [model.params for model in draw_teachers(0)],
    }
    batch = {
        "features": rng.normal(size=(5, FEATURES)),
        "targets": rng.random((5, len(UNION))),
        **{f"step_logits_{t}": rng.normal(size=(5, len(names), len(names))) for t, names in enumerate(SETS)},
        "weight": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, batch))


def test_stand_in_reads_zeros_for_labels_the_teacher_does_not_know(problem):
    """The loss of stage 1, with the cell of all labels run over those of each teacher."""
    params, batch = problem
    value, gradient = value_and_gradient(_StandIn(CHAINS, COLUMNS), params, batch)
    expected = 0.0
    for t, places in enumerate(COLUMNS):
        adapter, teacher = jax.tree.map(
            lambda leaf: np.asarray(leaf, float), (params["adapters"][t], params["teachers"][t]["params"])
        )

        def read(h, adapter=adapter, own=teacher["output"]):
            return (h @ adapter["kernel"] + adapter["bias"]) @ own["kernel"] + own["bias"]

        logits, _ = run_chain(
            batch["features"][:4], params["student"], places=places, output=(read, teacher["initial"])
        )
        expected += ((logits - np.asarray(batch[f"step_logits_{t}"], float)[:4]) ** 2).mean() / 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    student = gradient["student"]["params"]
    moved = [gradient["adapters"], student["layer_0"]]
    still = [gradient["teachers"], student["initial"], student["output"]]
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(moved))
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(still))


def test_output_loss_by_loops(problem):
    params, batch = problem
    loss = _OutputLoss(ChainApply(LabelChain(len(UNION), HIDDEN)), "steps")
    value, gradient = value_and_gradient(loss, params["student"], batch)
    logits, _ = run_chain(batch["features"][:4], params["student"])
    expected = cross_entropy(logits, np.asarray(batch["targets"], float)[:4, None]).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    learning, fixed = [gradient["params"][name] for name in ("initial", "output")], gradient["params"]["layer_0"]
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(learning))
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(fixed))


def test_a_teachers_own_lstm_replaces_itself():
    """Its weights put in their places of the union, and an adapter that changes nothing: the teacher's logits."""
    rng = np.random.default_rng(3)
    teacher = draw_teacher(rng, SETS[1], HIDDEN)
    student = draw_params(rng, len(UNION), HIDDEN)
    places, own = np.array(COLUMNS[1]), teacher.params["params"]["layer_0"]
    joined = student["params"]["layer_0"]["joined"]
    labels = len(UNION)
    soft, hard, before = np.split(own["joined"], [3, 6], axis=1)
    joined[:, places], joined[:, labels + places], joined[:, 2 * labels :] = soft, hard, before
    student["params"]["layer_0"] = {**own, "joined": joined}
    adapter = {"kernel": np.eye(HIDDEN, dtype=np.float32), "bias": np.zeros(HIDDEN, np.float32)}
    rows = rng.normal(size=(5, FEATURES)).astype(np.float32)
    replaced = replaced_params(student, adapter, teacher.params, COLUMNS[1])
    np.testing.assert_allclose(
        CHAINS[1](replaced, rows).step_logits, CHAINS[1](teacher.params, rows).step_logits, atol=1e-5
    )


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(2).normal(size=(2, 12, FEATURES)).astype(np.float32)


def test_what_is_learned_from(rows, key, monkeypatch):
    stages, teachers = [], [draw_teachers(0), draw_teachers(1)]
    monkeypatch.setattr(filtered, "train_runs", no_training(stages))
    monkeypatch.setattr(filtered, "init_chains", drawn_chains)
    models = fit_filtered_runs(teachers, rows, keys=jax.random.split(key, 2), validation=rows + 1, **TRAINING)
    (params, arrays, held), (student, last, _) = stages
    for run in range(2):
        said = teachers_say(teachers[run], rows[run])
        for t in range(2):
            np.testing.assert_allclose(arrays[f"step_logits_{t}"][run], said[t][0], atol=1e-4)
            later = teachers_say(teachers[run], rows[run] + 1)[t][0]
            np.testing.assert_allclose(held[f"step_logits_{t}"][run], later, atol=1e-4)
            jax.tree.map(
                lambda leaf, own, run=run: np.testing.assert_array_equal(leaf[run], own),
                params["teachers"][t], teachers[run][t].params,
            )  # fmt: skip
        shared = (said[0][1][:, 1] + said[1][1][:, 1]) / 2
        np.testing.assert_allclose(last["targets"][run][:, 1], sigmoid(shared), atol=1e-5)
        jax.tree.map(lambda a, b, run=run: np.testing.assert_array_equal(a, b[run]), models[run].params, student)
    assert student is params["student"]
    assert [part["kernel"].shape for part in params["adapters"]] == [(2, HIDDEN, size) for size in SIZES]


@pytest.mark.slow
def test_each_stage_moves_its_own_parts(rows, key, monkeypatch):
    stages = []

    def watched(loss, params, *args, **options):
        found = train_runs(loss, params, *args, **options)
        stages.append((params, found[0]))
        return found

    train_runs = filtered.train_runs
    monkeypatch.setattr(filtered, "train_runs", watched)
    teachers, keys = [draw_teachers(0), draw_teachers(1)], jax.random.split(key, 2)
    models = fit_filtered_runs(teachers, rows, keys=keys, validation=rows + 1, **TRAINING)
    (before, after), (start, end) = stages
    jax.tree.map(np.testing.assert_array_equal, before["teachers"], after["teachers"])
    for run in range(2):
        for t in range(2):
            jax.tree.map(
                lambda leaf, own, run=run: np.testing.assert_array_equal(leaf[run], own),
                after["teachers"][t], teachers[run][t].params,
            )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, after["student"], start)
    jax.tree.map(np.testing.assert_array_equal, start["params"]["layer_0"], end["params"]["layer_0"])
    jax.tree.map(np.testing.assert_array_equal, before["student"]["params"]["output"], start["params"]["output"])
    moved = [
        (before["adapters"], after["adapters"]),
        (before["student"]["params"]["layer_0"], start["params"]["layer_0"]),
    ]
    moved += [(start["params"][name], end["params"][name]) for name in ("initial", "output")]
    for old, new in moved:
        assert all((a != b).any() for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True))
    assert [model.label_names for model in models] == [UNION] * 2


@pytest.mark.slow
def test_one_student_is_the_run_of_many(rows, key):
    """With two layers of cells."""
    rng, keys, num_layers = np.random.default_rng(5), jax.random.split(key, 2), 2
    teachers = [
        [draw_teacher(rng, names, size, num_layers=num_layers) for names, size in zip(SETS, SIZES, strict=True)]
        for _ in range(2)
    ]
    many = fit_filtered_runs(teachers, rows, keys=keys, num_layers=num_layers, **TRAINING)
    for run in range(2):
        one = fit_filtered(teachers[run], rows[run], key=keys[run], num_layers=num_layers, **TRAINING)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, many[run].params)


def test_numbers_of_layers_must_agree(rows, key):
    message = "num_layers: the student has 2, teacher 0 has 1: this method pairs their layers and needs equal numbers"
    with pytest.raises(AmalgamationError, match=message):
        fit_filtered(draw_teachers(0), rows[0], key=key, num_layers=2, **TRAINING)
