"""F1, losses and hierarchical scores of rows with several labels: by hand, against scikit-learn, and bad input."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics as sk

from jlabel import InputError
from jlabel.evaluation import hamming_loss, hierarchical_scores, multilabel_f1, subset_loss

AVERAGES = ("micro", "macro", "samples")
SAID = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool)
TRUTH = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)

# A DAG: root 0 -> 1, 2;  1 -> 3, 4;  2 -> 4, 5  (4 has two parents).
ANCESTORS = np.zeros((6, 6), bool)
ANCESTORS[1:, 0] = True
ANCESTORS[3, 1] = ANCESTORS[4, 1] = ANCESTORS[4, 2] = ANCESTORS[5, 2] = True


def node_sets(*rows):
    return np.array([[v in row for v in range(6)] for row in rows])


def pairs():
    shapes = st.tuples(st.integers(1, 12), st.integers(2, 6))
    return shapes.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))


def test_f1_by_hand():
    # tp 2, fp 1, fn 1
    assert multilabel_f1(SAID, TRUTH) == pytest.approx(4 / 6)
    # labels 1, 2/3, 0 (missed); the last one occurs nowhere and is left out
    assert multilabel_f1(SAID, TRUTH, average="macro") == pytest.approx((1 + 2 / 3 + 0) / 3)
    # rows 2/3, 2/3; the last one has nothing and is given nothing
    assert multilabel_f1(SAID, TRUTH, average="samples") == pytest.approx(2 / 3)


def test_a_label_or_row_with_only_a_prediction_counts_zero():
    assert multilabel_f1([[1, 1]], [[1, 0]], average="macro") == 0.5
    assert multilabel_f1([[1, 0], [1, 0]], [[1, 0], [0, 0]], average="samples") == 0.5


def test_what_is_empty_can_be_counted():
    # labels 1, 2/3, 0 (missed) and 0 (occurs nowhere)
    assert multilabel_f1(SAID, TRUTH, average="macro", empty=0.0) == pytest.approx((1 + 2 / 3) / 4)
    assert multilabel_f1(SAID, TRUTH, average="samples", empty=1.0) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert multilabel_f1(SAID, TRUTH, empty=0.0) == multilabel_f1(SAID, TRUTH)  # micro has no empty part


@pytest.mark.parametrize("average", AVERAGES)
def test_all_negative_scores_zero_where_empty_counts_zero(average):
    none = np.zeros_like(TRUTH)
    assert multilabel_f1(none, TRUTH, average=average, empty=0.0) == 0.0
    assert multilabel_f1(none, none, average=average, empty=0.0) == 0.0


@given(pairs(), st.sampled_from(AVERAGES), st.sampled_from((0.0, 1.0)))
@settings(deadline=None, max_examples=40)
def test_empty_is_scikit_learns_zero_division(drawn, average, empty):
    said, truth = drawn
    expected = sk.f1_score(truth, said, average=average, zero_division=empty)
    assert multilabel_f1(said, truth, average=average, empty=empty) == pytest.approx(expected)


def test_losses_by_hand():
    # rows: label 1 too many; label 2 missed; right
    assert subset_loss(SAID, TRUTH) == pytest.approx(2 / 3)
    assert hamming_loss(SAID, TRUTH) == pytest.approx(2 / 12)
    assert (subset_loss(TRUTH, TRUTH), hamming_loss(TRUTH, TRUTH)) == (0.0, 0.0)
    assert (subset_loss(~TRUTH, TRUTH), hamming_loss(~TRUTH, TRUTH)) == (1.0, 1.0)


@given(pairs())
@settings(deadline=None, max_examples=30)
def test_losses_agree_with_scikit_learn(drawn):
    said, truth = drawn
    assert hamming_loss(said, truth) == pytest.approx(sk.hamming_loss(truth, said))
    assert subset_loss(said, truth) == pytest.approx(sk.zero_one_loss(truth, said))
    assert hamming_loss(said, truth) <= subset_loss(said, truth) <= said.shape[1] * hamming_loss(said, truth) + 1e-12


@pytest.mark.parametrize("average", AVERAGES)
def test_extremes(average):
    none = np.zeros((2, 3), bool)
    assert multilabel_f1(none, none, average=average) == 1.0
    assert multilabel_f1(~none, none, average=average) == 0.0
    assert multilabel_f1(none, ~none, average=average) == 0.0
    assert multilabel_f1(~none[:1, :1], ~none[:1, :1], average=average) == 1.0


@given(pairs(), st.sampled_from(AVERAGES))
@settings(deadline=None, max_examples=60)
def test_agrees_with_scikit_learn(drawn, average):
    said, truth = drawn
    expected = 1.0
    if (said | truth).any():
        expected = sk.f1_score(truth, said, average=average, zero_division=np.nan)
    assert multilabel_f1(said, truth, average=average) == pytest.approx(expected)


@given(pairs(), st.sampled_from(AVERAGES), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_and_direction_do_not_matter(drawn, average, random):
    said, truth = drawn
    rows, labels = list(range(said.shape[0])), list(range(said.shape[1]))
    random.shuffle(rows)
    random.shuffle(labels)
    score = multilabel_f1(said, truth, average=average)
    assert multilabel_f1(said[rows][:, labels], truth[rows][:, labels], average=average) == pytest.approx(score)
    assert multilabel_f1(truth, said, average=average) == pytest.approx(score)  # F1 is symmetric


def test_hierarchical_scores_of_several_labels():
    # said {3, 1, 5, 2}, truth {4, 1, 2}: 2 shared; said {1}, truth {3, 1, 5, 2}: 1 shared; none, and {2}
    said, truth = node_sets({3, 5}, {1}, set()), node_sets({4}, {3, 5}, {2})
    found = hierarchical_scores(said, truth, ANCESTORS)
    assert found == pytest.approx((3 / 5, 3 / 8, 6 / 13))
    # a label that stands beside one of its descendants adds nothing
    assert hierarchical_scores(said | node_sets({1}, {1}, set()), truth, ANCESTORS) == found


def test_hierarchical_f1_of_a_flat_graph_is_micro_f1():
    flat = np.zeros((5, 5), bool)
    flat[1:, 0] = True
    rng = np.random.default_rng(0)
    said, truth = rng.random((2, 30, 4)) < 0.4
    above = np.zeros((30, 1), bool)
    found = hierarchical_scores(np.hstack([above, said]), np.hstack([above, truth]), flat)
    assert found.f1 == pytest.approx(multilabel_f1(said, truth))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multilabel_f1(SAID, TRUTH, average="best"), "average must be 'micro', 'macro' or 'samples', got 'b"),
        (lambda: multilabel_f1(SAID, TRUTH[:2]), "predicted has shape (3, 4), truth (2, 4): they must agree"),
        (lambda: multilabel_f1([0, 1], [0, 1]), "predicted must have 2 axes, got shape (2,)"),
        (lambda: multilabel_f1([[0, 0.3]], [[0, 1]]), "predicted[0, 1] is 0.3; allowed: booleans, or 0 and 1"),
        (lambda: multilabel_f1([[0, 1]], [[0, np.nan]]), "truth[0, 1] is nan; allowed: booleans, or 0 and 1"),
        (lambda: multilabel_f1(SAID, TRUTH, empty=-1), "empty is -1; allowed: None, or 0 to 1"),
        (lambda: subset_loss(SAID, TRUTH[:2]), "predicted has shape (3, 4), truth (2, 4): they must agree"),
        (lambda: hamming_loss([[0, 2]], [[0, 1]]), "predicted[0, 1] is 2; allowed: booleans, or 0 and 1"),
        (lambda: hamming_loss(SAID[:, :0], TRUTH[:, :0]), "predicted has shape (3, 0): give at least one label"),
        (lambda: multilabel_f1(SAID[:0], TRUTH[:0]), "predicted is empty, shape (0, 4): give at least one row"),
        (
            lambda: hierarchical_scores(np.full((1, 6), -1), np.ones((1, 6)), ANCESTORS),
            "predicted[0, 0] is -1; allowed: booleans, or 0 and 1",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
