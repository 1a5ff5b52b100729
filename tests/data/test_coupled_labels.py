"""Coupled labels: the exact posterior by an independent loop, known figures, the cut and the damage."""

import itertools
import math

import numpy as np
import pytest

import jlabel.data
from jlabel.data.coupled_labels import (
    LABEL_NAMES,
    LABEL_SETS,
    add_positives,
    coupled_labels,
    cut_rows,
    drop_positives,
    label_set_probs,
    likely_sets,
    marginal_probs,
)
from jlabel.errors import InputError
from jlabel.evaluation import hamming_loss, subset_loss

SETS = [("a", "b", "c"), ("c", "b", "d"), ("b", "d", "e")]


@pytest.fixture(scope="module")
def drawn():
    return coupled_labels(seed=0)


def test_probabilities_are_those_of_a_loop_over_all_sets(drawn):
    x, w = drawn.features[3].astype(float), drawn.weights
    bias, pairs = [-3.5] * 4 + [-3.0] * 4, {(0, 4): 6, (1, 5): 6, (2, 6): 6, (3, 7): 6, (0, 1): -2, (2, 3): -2}
    scores = {}
    for y in itertools.product((0, 1), repeat=8):
        fields = sum(y[j] * (sum(w[d, j] * x[d] for d in range(20)) + bias[j]) for j in range(8))
        scores[y] = math.exp(fields + sum(c * y[j] * y[k] for (j, k), c in pairs.items()))
    total = sum(scores.values())
    found = label_set_probs(x[None], w)[0]
    assert len(scores) == 256
    np.testing.assert_allclose(found, [scores[tuple(y)] / total for y in LABEL_SETS.tolist()], rtol=1e-9)
    expected = [sum(p for y, p in scores.items() if y[j]) / total for j in range(8)]
    np.testing.assert_allclose(marginal_probs(x[None], w)[0], expected, rtol=1e-9)
    assert tuple(likely_sets(x[None], w)[0]) == max(scores, key=scores.get)


def test_best_predictions_and_the_trivial_one(drawn):
    features, labels, weights = drawn
    assert (features.shape, features.dtype, labels.dtype) == ((6000, 20), np.float32, np.int8)
    marginal, mode = marginal_probs(features, weights) > 0.5, likely_sets(features, weights)
    assert abs(labels.sum(1).mean() - 3.4) < 0.1
    assert abs(hamming_loss(np.zeros_like(labels), labels) - 0.426) < 0.01
    assert abs(hamming_loss(marginal, labels) - 0.111) < 0.01
    assert abs(subset_loss(marginal, labels) - 0.476) < 0.03
    assert abs(hamming_loss(mode, labels) - 0.112) < 0.01
    assert abs(subset_loss(mode, labels) - 0.459) < 0.03
    assert subset_loss(mode, labels) < subset_loss(marginal, labels)  # what a chain can gain


def test_label_sets_are_drawn_from_the_posterior():
    drawn = coupled_labels(seed=3, num_rows=20_000)
    probs = label_set_probs(drawn.features, drawn.weights)
    places = drawn.labels @ (1 << np.arange(7, -1, -1))
    counts, expected = np.bincount(places, minlength=256), probs.sum(0)
    spread = np.sqrt((probs * (1 - probs)).sum(0))
    common = expected > 5
    assert common.sum() > 50
    assert (np.abs(counts - expected) < 4.5 * spread)[common].all()
    assert abs(counts[~common].sum() - expected[~common].sum()) < 4.5 * np.sqrt(expected[~common].sum())


def test_a_seed_means_the_same_weights_for_any_number_of_rows(drawn):
    few = coupled_labels(seed=0, num_rows=7)
    np.testing.assert_array_equal(few.weights, drawn.weights)
    assert (coupled_labels(seed=1, num_rows=7).weights != drawn.weights).all()
    again = coupled_labels(seed=0, num_rows=7)
    assert all((a == b).all() for a, b in zip(few, again, strict=True))


def test_open_gives_tuples_of_labels(drawn):
    parts = {split: jlabel.data.open("embedded:coupled_labels?seed=0", split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 4200, "val": 1350, "test": 450}
    assert parts["train"].label_names == LABEL_NAMES
    cut = cut_rows(6000, num_teachers=1, seed=0)
    source, chosen = parts["test"], cut.test
    hot = np.array([np.isin(np.arange(8), row) for row in source.column("labels")])
    np.testing.assert_array_equal(hot, drawn.labels[chosen])
    np.testing.assert_array_equal(source.content(2), drawn.features[chosen[2]])
    first = [row[0] if row else -1 for row in source.column("labels")]
    assert -1 in first
    np.testing.assert_array_equal(source.labels, first)


@pytest.mark.parametrize("shares", [True, False])
def test_cut_deals_each_row_once(shares):
    cut = cut_rows(2407, num_teachers=4, seed=5, shares=shares)
    assert [len(part) for part in (*cut.teachers, cut.transfer, cut.test)] == [*[421 if shares else 1685] * 4, 542, 180]
    held = np.concatenate([*(cut.teachers if shares else cut.teachers[:1]), cut.transfer, cut.test])
    assert len(np.unique(held)) == len(held) == 2407 - (1 if shares else 0)
    again, other = (cut_rows(2407, num_teachers=4, seed=seed, shares=shares).test for seed in (5, 6))
    np.testing.assert_array_equal(again, cut.test)
    assert set(other) != set(cut.test)


def test_the_student_has_the_same_rows_whatever_the_teachers():
    cuts = [cut_rows(500, num_teachers=m, seed=1) for m in (1, 2, 5)]
    assert all((cut.transfer == cuts[0].transfer).all() and (cut.test == cuts[0].test).all() for cut in cuts)


@pytest.mark.parametrize(("damage", "share", "value"), [(drop_positives, 0.4, 1), (add_positives, 0.2, 0)])
def test_damage_hits_one_teacher_of_each_shared_label(damage, share, value):
    rng = np.random.default_rng(0)
    given = [(rng.random((50 + t, 3)) < 0.5).astype(np.int8) for t in range(3)]
    kept = [part.copy() for part in given]
    damaged = damage(given, SETS, seed=2)
    # b: 0 is first; c (teachers 0, 1): 1 was not hurt yet; d (1, 2): 2 was not.
    assert damaged.hurt == {"b": 0, "c": 1, "d": 2}
    assert damaged.competent == {"b": (1, 2), "c": (0,), "d": (1,)}
    for teacher, names in enumerate(SETS):
        np.testing.assert_array_equal(given[teacher], kept[teacher])
        for column, name in enumerate(names):
            before, after = kept[teacher][:, column], damaged.labels[teacher][:, column]
            there = (before == value).sum()
            lost = round(share * there) if damaged.hurt.get(name) == teacher else 0
            assert (before != after).sum() == lost
            assert (before[before != after] == value).all()


def test_damage_draws_differ_by_seed_and_nothing_is_shared_without_overlap():
    given = [np.ones((40, 1)), np.ones((40, 1))]
    first, second = (drop_positives(given, [("a",), ("a",)], seed=seed).labels[0] for seed in (0, 1))
    assert (first != second).any()
    apart = drop_positives(given, [("a",), ("b",)], seed=0)
    assert (apart.hurt, apart.competent) == ({}, {})
    assert all((part == 1).all() for part in apart.labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coupled_labels(num_rows=0), "num_rows is 0: draw at least 1 row"),
        (lambda: coupled_labels(seed=-1), "seed is -1: give 0 or more"),
        (lambda: cut_rows(9, num_teachers=0, seed=0), "num_teachers is 0: there must be at least 1"),
        (
            lambda: cut_rows(9, num_teachers=2, seed=0, teachers=1.0),
            "teachers is 1.0; a share of the rows lies strictl",
        ),
        (lambda: cut_rows(3, num_teachers=4, seed=0), "num_rows is 3: too few for 4 teachers, student and test"),
        (lambda: drop_positives([[[1]]], [("a",)], share=40, seed=0), "share is 40; a share lies between 0 and 1"),
        (
            lambda: drop_positives([[[1]]], SETS, seed=0),
            "labels holds 1 arrays, label_sets 3 label sets: one a teacher",
        ),
        (
            lambda: add_positives([[[1, 0]]], [("a",)], seed=0),
            "labels of teacher 0 have shape (1, 2); its label set has 1",
        ),
        (
            lambda: jlabel.data.open("embedded:coupled_labels?rows=2"),
            "embedded:coupled_labels: num_rows is 2: too few for 1 teachers, student and test",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
