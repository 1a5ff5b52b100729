"""Votes, mean logits and the most frequent label set: by hand, beside the transfer, and bad input."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from jlabel.amalgamation import (
    AmalgamationError,
    as_teacher,
    frequent_set,
    mean_logit_targets,
    mean_logits,
    transfer_targets,
    vote_shares,
    vote_targets,
)
from tests.amalgamation.scripted import scripted

ROW = np.zeros((1, 2), np.float32)
SETS = [("a", "b"), ("b", "c"), ("c", "b")]
LOGITS = [[[2.0, 3.0]], [[-1.0, 0.5]], [[0.0, -5.0]]]  # b: 3, -1, -5; c: 0.5, 0.0


def test_disagreement_of_two():
    """Section 6, check 5."""
    models = [scripted(["c"], [1.0]), scripted(["c"], [-3.0], {"c": [-3.0]})]
    np.testing.assert_allclose(mean_logit_targets(models, ROW), [[0.268941]], atol=5e-7)
    np.testing.assert_allclose(transfer_targets(models, ROW).targets, [[0.731059]], atol=5e-7)
    np.testing.assert_array_equal(vote_targets(models, ROW), [[1.0]])


@pytest.mark.parametrize("rounds", [1, 2])
def test_disjoint_label_sets_leave_nothing_to_transfer(rounds):
    """Section 6, check 7."""
    rng = np.random.default_rng(0)
    models = [
        as_teacher(rng.random((20, 3)).astype(np.float32), label_names=["a", "b", "c"], name="first"),
        as_teacher(rng.random((20, 2)).astype(np.float32), label_names=["d", "e"], name="second"),
    ]
    rows = np.zeros((20, 1), np.float32)
    transferred = transfer_targets(models, rows, rounds=rounds)
    np.testing.assert_array_equal(transferred.targets, mean_logit_targets(models, rows))
    np.testing.assert_array_equal(transferred.targets > 0.5, vote_targets(models, rows) > 0)


def test_votes_and_means_by_hand():
    np.testing.assert_allclose(vote_shares(LOGITS, SETS), [[1.0, 1 / 3, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(mean_logits(LOGITS, SETS), [[2.0, -1.0, 0.25]])
    models = [scripted(names, logits[0]) for names, logits in zip(SETS, LOGITS, strict=True)]
    assert vote_targets(models, ROW).tolist() == [[1.0, 0.0, 1.0]]  # a tie is positive, a minority is not
    np.testing.assert_allclose(mean_logit_targets(models, ROW), 1 / (1 + np.exp([[-2.0, 1.0, -0.25]])), rtol=1e-6)


def test_probability_of_a_half_is_no_vote():
    assert vote_shares([[[0.0]], [[-1.0]]], [("a",), ("a",)]).tolist() == [[0.0]]


def test_axes_in_front_are_free():
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=(2, 3, 4, len(names))) for names in SETS]
    found = mean_logits(logits, SETS)
    assert (found.shape, found.dtype) == ((2, 3, 4, 3), np.float32)
    each = [[mean_logits([part[i, j] for part in logits], SETS) for j in range(3)] for i in range(2)]
    np.testing.assert_array_equal(found, each)


@given(st.permutations(range(3)), st.randoms(use_true_random=False), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_order_of_teachers_and_labels_does_not_matter(order, random, seed):
    rng = np.random.default_rng(seed)
    frames = [pd.DataFrame(rng.normal(size=(4, len(names))), columns=names) for names in SETS]
    moved = [frames[t] for t in order]
    moved = [frame[random.sample(list(frame.columns), 2)] for frame in moved]
    for function in (vote_shares, mean_logits):
        named = []
        for some in (frames, moved):
            names = list(dict.fromkeys(name for frame in some for name in frame.columns))
            found = function([frame.to_numpy() for frame in some], [list(frame.columns) for frame in some])
            named.append(pd.DataFrame(found, columns=names)[["a", "b", "c"]])
        np.testing.assert_allclose(named[0], named[1], rtol=1e-6)


def test_most_frequent_label_set():
    labels = [[0, 1, 1], [1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert frequent_set(labels).tolist() == [False, True, True]  # of two equally frequent ones the smaller
    assert frequent_set([*labels, [1, 0, 0]]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mean_logits([np.zeros((2, 2))], SETS),
            "there are 1 arrays of logits, but 3 label sets",
        ),
        (
            lambda: vote_shares([np.zeros((2, 2)), np.zeros((3, 2)), np.zeros((2, 2))], SETS),
            "logits of teacher 1 have shape (3, 2), those of teacher 0 (2, 2): they need the same rows and a column "
            "for each of the labels ['b', 'c']",
        ),
        (lambda: vote_targets([], ROW), "teachers is empty: give one or more"),
        (
            lambda: mean_logit_targets([scripted(["a"], [np.nan])], ROW),
            "teacher 'teacher 0': row 0, label 'a'",
        ),
        (lambda: frequent_set(np.zeros((0, 3))), "labels have shape (0, 3): give at least one row"),
        (lambda: frequent_set([1, 0]), "labels must have the axes (row, label), got shape (2,)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(AmalgamationError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
