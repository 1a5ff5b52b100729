"""Scores against values worked out by hand and against scikit-learn, invariances, and bad input."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics as sk

from jlabel import InputError
from jlabel.evaluation import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    f1_score,
    hierarchical_scores,
    negative_log_likelihood,
)

# A DAG: root 0 -> 1, 2;  1 -> 3, 4;  2 -> 4, 5  (4 has two parents).
ANCESTORS = np.zeros((6, 6), bool)
ANCESTORS[1:, 0] = True
ANCESTORS[3, 1] = ANCESTORS[4, 1] = ANCESTORS[4, 2] = ANCESTORS[5, 2] = True


def pairs(classes: int = 5):
    rows = st.integers(1, 40)
    return rows.flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.int64, n, elements=st.integers(-1, classes - 1)),
            hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)),
            st.permutations(range(n)),
            st.permutations(range(classes)),
        )
    )


def test_accuracy_by_hand():
    assert accuracy([0, 1, 2, -1], [0, 1, 1, 0]) == 0.5
    assert accuracy(jnp.array([1]), jnp.array([1])) == 1.0


def test_balanced_accuracy_by_hand():
    # class 0: 3 of 4, class 2: 0 of 1, class 7: 1 of 1; classes 1 and 3 never occur
    assert balanced_accuracy([0, 0, 0, 3, -1, 7], [0, 0, 0, 0, 2, 7]) == pytest.approx((0.75 + 0 + 1) / 3)


def test_confusion_matrix_by_hand():
    found = confusion_matrix([0, 2, -1, 1, 1], [0, 0, 0, 1, 2], num_classes=3)
    np.testing.assert_array_equal(found, [[1, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]])


def test_f1_by_hand():
    # class 0: tp 1, fn 1 -> 2/3; class 1: tp 1, fp 0, fn 1 (the row without prediction) -> 2/3; class 2: fp 1 -> 0
    said, truth = [0, 2, 1, -1], [0, 0, 1, 1]
    assert f1_score(said, truth) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    # tp 2, fp 1, fn 2
    assert f1_score(said, truth, average="micro") == pytest.approx(4 / 7)


@given(pairs())
@settings(deadline=None, max_examples=40)
def test_rows_and_names_do_not_matter(drawn):
    said, truth, rows, names = drawn
    rows, names = np.array(rows), np.append(names, -1)  # names[-1] = -1: "none" keeps its name
    other_said, other_truth = names[said[rows]], names[truth[rows]]
    for score in (accuracy, balanced_accuracy, f1_score, lambda a, b: f1_score(a, b, average="micro")):
        assert score(other_said, other_truth) == pytest.approx(score(said, truth), abs=1e-12)
    moved = confusion_matrix(other_said, other_truth, num_classes=5)
    np.testing.assert_array_equal(
        moved[np.ix_(names[:5], np.append(names[:5], 5))], confusion_matrix(said, truth, num_classes=5)
    )


@given(pairs())
@settings(deadline=None, max_examples=40)
def test_agrees_with_scikit_learn_where_all_rows_have_a_prediction(drawn):
    said, truth, _, _ = drawn
    said = np.abs(said)
    assert accuracy(said, truth) == pytest.approx(sk.accuracy_score(truth, said))
    assert balanced_accuracy(said, truth) == pytest.approx(sk.recall_score(
        truth, said, labels=np.unique(truth), average="macro"
    ))  # fmt: skip
    assert f1_score(said, truth, average="micro") == pytest.approx(accuracy(said, truth))
    np.testing.assert_array_equal(
        confusion_matrix(said, truth, num_classes=5)[:, :5], sk.confusion_matrix(truth, said, labels=range(5))
    )


def test_hierarchical_scores_by_hand():
    # row 1: says 3 {3, 1}, truth 4 {4, 1, 2}: shared {1}.  row 2: says 5 {5, 2}, truth 5: shared 2.
    # row 3: says none, truth 3 {3, 1}.  row 4: says the root {}, truth 2 {2}.
    found = hierarchical_scores([3, 5, -1, 0], [4, 5, 3, 2], ANCESTORS)
    assert found.precision == pytest.approx(3 / 4)
    assert found.recall == pytest.approx(3 / 8)
    assert found.f1 == pytest.approx(2 * 3 / (4 + 8))


def test_hierarchical_scores_of_sets_equal_those_of_indices():
    said, truth = np.array([3, 5, 4, -1]), np.array([4, 5, 3, 1])
    sets = [np.eye(6, dtype=bool)[x] & (x >= 0)[:, None] for x in (said, truth)]
    assert hierarchical_scores(*sets, ANCESTORS) == hierarchical_scores(said, truth, ANCESTORS)
    # giving the ancestors already, or a reflexive matrix, changes nothing
    closed = [s | (s.astype(int) @ ANCESTORS > 0) for s in sets]
    assert hierarchical_scores(*closed, ANCESTORS | np.eye(6, dtype=bool)) == hierarchical_scores(*sets, ANCESTORS)


def test_hierarchical_scores_of_several_labels_and_none():
    said, truth = np.zeros((1, 6), bool), np.zeros((1, 6), bool)
    truth[0, [3, 5]] = True  # {3, 1, 5, 2}
    assert hierarchical_scores(said, truth, ANCESTORS) == (0.0, 0.0, 0.0)
    said[0, 4] = True  # {4, 1, 2}
    assert hierarchical_scores(said, truth, ANCESTORS) == pytest.approx((2 / 3, 2 / 4, 4 / 7))


@given(st.permutations(range(6)), st.permutations(range(4)))
@settings(deadline=None, max_examples=30)
def test_hierarchical_scores_ignore_numbering(nodes, rows):
    nodes, rows = np.array(nodes), np.array(rows)
    said, truth = np.array([3, 5, 4, 1]), np.array([4, 5, 3, 2])
    above = np.zeros((6, 6), bool)
    above[np.ix_(nodes, nodes)] = ANCESTORS
    found = hierarchical_scores(nodes[said[rows]], nodes[truth[rows]], above, root=int(nodes[0]))
    assert found == hierarchical_scores(said, truth, ANCESTORS)


def test_negative_log_likelihood():
    log_probs = np.log([[0.5, 0.25, 0.25], [0.1, 0.9, 1e-30]])
    assert negative_log_likelihood(log_probs, [1, 1]) == pytest.approx(-(np.log(0.25) + np.log(0.9)) / 2)
    assert negative_log_likelihood([[0.0, -np.inf]], [1]) == np.inf
    assert str(negative_log_likelihood([[0.0, -np.inf]], [0])) == "0.0"
    assert np.isfinite(negative_log_likelihood([[-1e30, 0.0]], [0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy([], []), "predicted is empty, shape (0,): give at least one row"),
        (lambda: accuracy([0, 1], [0]), "rows differ: predicted has 2, labels has 1"),
        (lambda: accuracy([0], [-1]), "labels[0] is -1; allowed: at least 0"),
        (lambda: accuracy([0.5], [1]), "predicted must hold integers, got dtype float64"),
        (lambda: accuracy([[1]], [1]), "predicted must have 1 axes, got shape (1, 1)"),
        (lambda: confusion_matrix([3], [0], num_classes=3), "predicted[0] is 3; allowed: -1 to 2"),
        (lambda: f1_score([0], [0], average="best"), "average must be 'macro' or 'micro', got 'best'"),
        (lambda: f1_score(np.ones((2, 3)), np.ones((2, 3))), "predicted must have 1 axes, got shape (2, 3)"),
        (lambda: hierarchical_scores([6], [0], ANCESTORS), "predicted[0] is 6; allowed: -1 to 5"),
        (lambda: hierarchical_scores([0], [0], ANCESTORS[:2]), "ancestors must be square [V, V], got shape (2, 6)"),
        (lambda: hierarchical_scores([0], [0], ANCESTORS, root=9), "root is 9; allowed: 0 to 5"),
        (lambda: hierarchical_scores(np.ones((1, 3)), [0], ANCESTORS), "predicted has 3 columns, the graph 6 nodes"),
        (lambda: negative_log_likelihood([[0.0, np.nan]], [0]), "log_probs[0, 1] is nan"),
        (lambda: negative_log_likelihood([[0.0, 0.0]], [2]), "labels[0] is 2; allowed: 0 to 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
