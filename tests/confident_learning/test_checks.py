import re

import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.confident_learning import ConfidentLearningError, check_labels_and_probs, class_thresholds, find_errors
from jlabel.errors import InputError
from tests.confident_learning.toy import LABELS, PROBS, noisy


def refuses(message, labels, probs, **options):
    with pytest.raises(ConfidentLearningError, match=re.escape(message)) as caught:
        check_labels_and_probs(labels, probs, **options)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_good_input_is_passed_on_without_a_copy():
    for dtype in (np.float32, np.float64):
        probs = PROBS.astype(dtype)
        checked = check_labels_and_probs(LABELS.astype(np.int32), probs)
        assert checked.probs is probs
        assert checked.labels.dtype == np.int32
        assert (checked.num_clipped, checked.absent) == (0, ())


def test_kinds_of_input():
    for labels in (LABELS.tolist(), LABELS.astype(np.uint16), jnp.asarray(LABELS)):
        for probs in (PROBS.tolist(), np.asfortranarray(PROBS), jnp.asarray(PROBS), PROBS[::-1][::-1]):
            checked = check_labels_and_probs(labels, probs)
            np.testing.assert_allclose(checked.probs, PROBS, atol=1e-7)
            np.testing.assert_array_equal(checked.labels, LABELS)
    assert check_labels_and_probs(np.array([True, False]), [[0, 1], [1, 0]]).labels.tolist() == [1, 0]
    assert check_labels_and_probs([0], np.ones((1, 1), np.float16)).probs.dtype == np.float32
    assert check_labels_and_probs([0], jnp.ones((1, 1), jnp.bfloat16)).probs.dtype == np.float32


def test_absent_classes():
    assert check_labels_and_probs([0, 2], [[1, 0, 0, 0], [0, 0, 1, 0]]).absent == (1, 3)


def test_names():
    classes = ["cat", "dog", "eel"]
    names = [classes[i] for i in LABELS]
    np.testing.assert_array_equal(check_labels_and_probs(names, PROBS, classes=classes).labels, LABELS)
    np.testing.assert_array_equal(
        check_labels_and_probs(np.array(names, object), PROBS, classes=classes).labels, LABELS
    )
    np.testing.assert_array_equal(check_labels_and_probs(LABELS * 10, PROBS, classes=[0, 10, 20]).labels, LABELS)
    refuses("labels are <U3 (labels[0] is 'cat'): pass classes=, the names of the columns", names, PROBS)
    refuses("labels[2] is dog, which is not in classes (cat, cow, eel)", names, PROBS, classes=["cat", "cow", "eel"])
    refuses("classes names 2 columns, probs has 3", names, PROBS, classes=["cat", "dog"])
    refuses("classes[2] is 'cat', as is classes[0]", names, PROBS, classes=["cat", "dog", "cat"])


def test_bad_labels():
    refuses("labels[1] is 3; allowed: 0 to 2, one for each column of probs", [0, 3], PROBS[:2])
    refuses("labels[0] is -1; allowed: 0 to 2", [-1, 0], PROBS[:2])
    refuses("labels are float64 (labels[0] is 0.5): give integers", [0.5, 1.0], PROBS[:2])
    refuses("labels must have one axis, got shape (2, 1)", [[0], [1]], PROBS[:2])
    refuses("labels has 6 rows, probs has 5", LABELS, PROBS[:5])


def test_bad_shapes():
    refuses("probs must be (rows, classes) with at least one of each, got shape (6,)", LABELS, PROBS[:, 0])
    refuses("got shape (0, 3)", [], PROBS[:0])
    refuses("probs must hold numbers", ["a"], np.array([["a", "b"]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", [0, 70_000])
def test_bad_probabilities_name_row_and_value(dtype, row):
    labels, probs = noisy(70_001, 3)
    for column, value, text in (
        (1, np.nan, "is nan; allowed: 0 to 1: leave such rows out first"),
        (2, np.inf, "is inf; allowed: 0 to 1: give probabilities (softmax), not logits"),
        (0, -np.inf, "is -inf; allowed"),
        (0, -0.25, "is -0.25; allowed"),
        (1, 1.5, "is 1.5; allowed"),
        (1, 1.0002, "is 1.0002; allowed"),
    ):
        bad = probs.astype(dtype)
        bad[row, column] = value
        refuses(f"probs[{row}, {column}] {text}", labels, bad)
        with pytest.raises(ConfidentLearningError, match=re.escape(f"probs[{row}, {column}] {text}")):
            find_errors(labels, bad)
    bad = probs.astype(dtype)
    bad[row] *= 0.998
    refuses(f"probs[{row}] sums to 0.998, not 1", labels, bad)


def test_small_excess_is_renormalised_and_counted():
    probs = PROBS.copy()
    probs[0] = [1.00005, 0, 0]
    probs[2] *= 1.0005
    probs[4] *= 0.9995
    before = probs.copy()
    checked = check_labels_and_probs(LABELS, probs)
    assert checked.num_clipped == 3
    np.testing.assert_array_equal(probs, before)  # the caller's array is left alone
    np.testing.assert_allclose(checked.probs[[2, 4]], PROBS[[2, 4]], rtol=1e-12)
    np.testing.assert_array_equal(checked.probs[0], [1, 0, 0])
    np.testing.assert_array_equal(checked.probs[[1, 3, 5]], PROBS[[1, 3, 5]])
    again = find_errors(LABELS, probs)
    assert again.num_clipped == 3
    np.testing.assert_allclose(again.thresholds, class_thresholds(LABELS, checked.probs), rtol=0)


def test_rounding_of_float32_is_not_an_excess():
    labels, probs = noisy(500, 1000)
    assert check_labels_and_probs(labels, probs.astype(np.float32)).num_clipped == 0


def test_mending_does_not_depend_on_the_rows_around():
    labels, probs = noisy(300, 7)
    probs *= 1 + np.linspace(-2e-5, 2e-5, 300)[:, None]  # about half of them are off by more than 1e-5
    whole = check_labels_and_probs(labels, probs)
    assert 100 < whole.num_clipped < 200
    parts = [check_labels_and_probs(labels[i : i + 1], probs[i : i + 1]) for i in range(300)]
    np.testing.assert_array_equal(np.concatenate([part.probs for part in parts]), whole.probs)
    assert sum(part.num_clipped for part in parts) == whole.num_clipped
