"""What the rivals check in common, and how they fare where the truth is known."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jlabel.amalgamation import (
    AmalgamationError,
    fit_adaptive_runs,
    fit_chains,
    fit_common_features,
    fit_common_features_runs,
    fit_filtered_runs,
    predict_labels,
)
from jlabel.amalgamation.teacher_runs import first_linears
from jlabel.data.coupled_labels import LABEL_NAMES, coupled_labels, cut_rows
from jlabel.evaluation import hamming_loss
from tests.amalgamation.chains import FEATURES, SETS, draw_teacher, draw_teachers
from tests.amalgamation.scripted import scripted

RIVALS = {"cfl": fit_common_features_runs, "fka": fit_filtered_runs, "aka": fit_adaptive_runs}
TRAINING = {"hidden_size": 4, "epochs": 1, "batch_size": 8}
ROWS = np.zeros((2, 6, FEATURES), np.float32)
BROKEN = np.array([[[0.0, 1.0, np.nan]]] * 2)
SCENE = Path(__file__).parents[2].parent / "shared" / "data" / "multilabel" / "scene.npz"


def other_teachers():
    rng = np.random.default_rng(0)
    return [draw_teacher(rng, names, size) for names, size in zip(SETS, (3, 6), strict=True)]


@pytest.mark.parametrize("fit", RIVALS.values(), ids=RIVALS)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": BROKEN}, "features: run 0, row 0, column 2 is nan: fill or drop what is not a finite number"),
        ({"features": ROWS[:, :0]}, "features have shape (2, 0, 3): give at least one row"),
        ({"features": ROWS[..., :2]}, "features has 2 columns; teacher 0 was trained on 3"),
        ({"validation": ROWS[:1]}, "validation has shape (1, 6, 3), features (2, 6, 3): give rows for each run"),
        ({"validation": ROWS[..., :2]}, "validation has 2 columns; "),
        (
            {"keys": jax.random.split(jax.random.key(0), 3)},
            "keys have shape (3,): give one typed key for each of the 2",
        ),
        ({"epochs": 0}, "epochs is 0; allowed: whole numbers from 1"),
        ({"learning_rate": 0}, "learning_rate is 0; allowed: above 0"),
        ({"over": "all"}, "over is 'all'; allowed: steps, final"),
        ({"select": "best"}, "select is 'best'; allowed: positive, always"),
        ({"path_floor": 2}, "path_floor is 2; allowed: 0 to 1"),
        ({"teachers": [draw_teachers(0)]}, "teachers are those of 1 runs, features of 2: give models for each"),
        ({"teachers": [[], []]}, "teachers are those of 2 runs, features of 2: give models for each"),
        ({"teachers": [draw_teachers(0), draw_teachers(0)[:1]]}, "run 1 has 1 teachers, run 0 2: all need the same"),
        (
            {"teachers": [draw_teachers(0), other_teachers()]},
            "teacher 1 of run 1 differs from that of run 0 in its lab",
        ),
        ({"teachers": [[scripted(["a"], [0.0])]] * 2}, "teacher 0 is no chain of fit_chain: its hidden states are not"),
    ],
)
def test_bad_input_is_named(fit, changed, message):
    given = {
        "teachers": [draw_teachers(0), draw_teachers(1)],
        "features": ROWS,
        "keys": jax.random.split(jax.random.key(0), 2),
        **TRAINING,
        **changed,
    }
    with pytest.raises(AmalgamationError) as caught:
        fit(given.pop("teachers"), given.pop("features"), **given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_single_student_of_no_teacher(key):
    with pytest.raises(AmalgamationError, match="teachers are those of 1 runs, features of 1: give models for each"):
        fit_common_features([], ROWS[0], key=key, **TRAINING)


def test_first_maps_have_variance_one_over_inputs(key):
    maps = first_linears(jax.random.split(key, 2), [(3, 50, 20), (400, 5)])
    assert [part["kernel"].shape for part in maps] == [(2, 3, 50, 20), (2, 400, 5)]
    assert [part["bias"].shape for part in maps] == [(2, 3, 20), (2, 5)]
    for part, inputs in zip(maps, (50, 400), strict=True):
        assert abs(part["kernel"].std() * inputs**0.5 - 1) < 0.05
        assert (part["kernel"][0] != part["kernel"][1]).all()
        assert not part["bias"].any()


def amalgamation(features, labels, names, label_sets, widths, *, batch_size, shares, seeds):
    """Hamming losses of all rivals and of no label at all, runs side by side."""
    cuts = [cut_rows(len(labels[0]), num_teachers=2, seed=seed, shares=shares) for seed in seeds]
    training = {"epochs": 40, "batch_size": batch_size}
    models = []
    for t, (own, width) in enumerate(zip(label_sets, widths, strict=False)):
        x, y = (np.stack([part[run][cut.teachers[t]] for run, cut in enumerate(cuts)]) for part in (features, labels))
        keys = jax.random.split(jax.random.key(t), len(seeds))
        chosen = [names[k] for k in own]
        models.append(fit_chains(x, y[..., own], label_names=chosen, hidden_size=width, keys=keys, **training))
    rows, test, truth = (
        np.stack([part[run][place] for run, place in enumerate(places)])
        for part, places in (
            (features, [cut.transfer for cut in cuts]),
            (features, [cut.test for cut in cuts]),
            (labels, [cut.test for cut in cuts]),
        )
    )
    keys, losses = jax.random.split(jax.random.key(9), len(seeds)), {}
    for name, fit in RIVALS.items():
        students = fit(list(zip(*models, strict=True)), rows, hidden_size=widths[-1], keys=keys, **training)
        said = [predict_labels(student, x, label_names=names) for student, x in zip(students, test, strict=True)]
        losses[name] = [hamming_loss(a, b) for a, b in zip(said, truth, strict=True)]
    return losses, [part.mean() for part in truth]


@pytest.mark.slow
def test_rivals_are_far_below_all_negative_on_coupled_labels():
    """Bayes is near .111, all-negative .426."""
    drawn = [coupled_labels(seed=seed) for seed in (0, 1)]
    losses, none = amalgamation(
        [part.features for part in drawn], [part.labels for part in drawn], LABEL_NAMES,
        [[0, 1, 2, 3, 7], [2, 4, 5, 6, 7]], (32, 32, 32), batch_size=64, shares=True, seeds=(0, 1),
    )  # fmt: skip
    assert min(none) > 0.4
    assert all(max(values) < 0.18 for values in losses.values()), losses


@pytest.mark.slow
@pytest.mark.skipif(not SCENE.exists(), reason="the shared data are not here")
def test_rivals_are_far_below_all_negative_on_scene():
    """All-negative is .179; the paper's FKA .568."""
    scene = np.load(SCENE)
    features = ((scene["X"] - scene["X"].mean(0)) / scene["X"].std(0)).astype(np.float32)
    names = [str(k) for k in range(6)]
    losses, none = amalgamation(
        [features], [scene["Y"]], names, [[0, 1, 2, 3], [1, 2, 4, 5]], (16, 32, 16), batch_size=16, shares=False,
        seeds=(0,),
    )  # fmt: skip
    assert min(none) > 0.17
    assert all(max(values) < 0.14 for values in losses.values()), losses
