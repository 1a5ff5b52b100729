import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from jlabel.confident_learning import ConfidentLearningError, class_thresholds, confident_joint, find_errors
from jlabel.confident_learning.multilabel import find_multilabel_errors, multilabel_joints
from jlabel.evaluation import bootstrap_interval


def two_classes(probs: np.ndarray) -> np.ndarray:
    probs = np.asarray(probs, np.float64)
    return np.stack([1 - probs, probs], axis=1)


@st.composite
def tables(draw):
    """Labels with unknown entries, and probabilities: of a coarse grid, which makes ties, or fine."""
    rows, labels = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    given = rng.integers(0, 2, (rows, labels))
    given[rng.random((rows, labels)) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = -1
    probs = rng.random((rows, labels)) if draw(st.booleans()) else rng.integers(0, 9, (rows, labels)) / 8
    return given, probs.astype(draw(st.sampled_from([np.float32, np.float64])))


@settings(max_examples=150, deadline=None)
@given(tables())
def test_equals_the_binary_problem_of_each_label(table):
    given, probs = table
    joints = multilabel_joints(given, probs)
    assert joints.dtype == np.int32
    found = {method: find_multilabel_errors(given, probs, method=method) for method in ("noise_rate", "margin")}
    for label in range(given.shape[1]):
        known = given[:, label] >= 0
        if not known.any():
            assert not joints[label].any()
            continue
        values, both = given[known, label], two_classes(probs[known, label])
        np.testing.assert_array_equal(joints[label], confident_joint(values, both))
        for method, errors in found.items():
            alone = find_errors(values, both, method=method)
            np.testing.assert_array_equal(errors.mask[known, label], alone.mask)
            np.testing.assert_array_equal(errors.scores[known, label], alone.scores)
            np.testing.assert_array_equal(errors.joints[label], alone.joint)
            np.testing.assert_array_equal(errors.thresholds[label], class_thresholds(values, both))
            np.testing.assert_array_equal(errors.label_counts[label], alone.label_counts)
            assert errors.num_errors[label] == alone.num_errors
    for errors in found.values():
        assert not errors.mask[given < 0].any()
        np.testing.assert_array_equal(np.isnan(errors.scores), given < 0)


def test_by_hand():
    # Label 0. Present in rows 0-3: threshold (.9 + .8 + .7 + .2) / 4 = .65. Absent in 4-7, probabilities .9, .8, .6, .1
    # of absence: threshold .6. Row 3: absent .8 >= .6, counted absent. Row 7: present .9 >= .65, counted present.
    probs = np.array([[0.9], [0.8], [0.7], [0.2], [0.1], [0.2], [0.4], [0.9]])
    given = np.array([[1], [1], [1], [1], [0], [0], [0], [0]])
    found = find_multilabel_errors(given, probs)
    assert found.joints.tolist() == [[[3, 1], [1, 3]]]
    np.testing.assert_allclose(found.thresholds, [[0.6, 0.65]])
    np.testing.assert_allclose(found.num_errors, [2.0])
    assert found.label_counts.tolist() == [[4, 4]]
    np.testing.assert_allclose(found.scores[:, 0], [0.8, 0.6, 0.4, -0.6, 0.8, 0.6, 0.2, -0.8])
    assert found.order.tolist() == [[7, 0], [3, 0]]
    assert repr(found) == "MultilabelErrors(2 of 8 entries flagged in 2 of 8 rows, num_errors=2)"


def test_rules_count_differently():
    # Rows 2 and 7 fall below both thresholds and are not counted.
    probs = np.array([[0.9], [0.9], [0.4], [0.1], [0.1], [0.1], [0.1], [0.5]])
    given = np.array([[1], [1], [1], [1], [0], [0], [0], [0]])
    counts = {
        rule: find_multilabel_errors(given, probs, rule=rule).num_errors[0]
        for rule in ("calibrated", "uncalibrated", "off_diagonal")
    }
    # Present: 2 confident present, 1 absent; absent: 3 absent. 4 / 3, 8 / 6, 1.
    assert counts == pytest.approx({"calibrated": 4 / 3, "uncalibrated": 8 / 6, "off_diagonal": 1.0})


def slow_row_score(scores, kind: str) -> float:
    """One row, entry by entry."""
    known = [float(s) for s in scores if not np.isnan(s)]
    if not known:
        return np.nan
    if kind == "min":
        return min(known)
    if kind == "mean":
        return sum(known) / len(known)
    if kind == "moving_average":
        known.sort(reverse=True)
        average = known[0]
        for score in known[1:]:
            average = 0.8 * score + 0.2 * average
        return average
    # The published form is over self-confidences (1 + s) / 2 with temperature 0.1.
    weights = [np.exp(-(1 + s) / 2 / 0.1) for s in known]
    return sum(w * s for w, s in zip(weights, known, strict=True)) / sum(weights)


@pytest.mark.parametrize("kind", ["moving_average", "softmin", "min", "mean"])
@settings(max_examples=40, deadline=None)
@given(tables())
def test_row_scores_equal_a_slow_loop(kind, table):
    labels, probs = table
    found = find_multilabel_errors(labels, probs, row_score=kind)
    expected = [slow_row_score(row, kind) for row in found.scores]
    np.testing.assert_allclose(found.row_scores, expected, rtol=1e-12, atol=1e-14)


def test_unknown_is_minus_one_or_nan_and_counts_for_nothing():
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    hidden = rng.random((50, 3)) < 0.4
    minus = find_multilabel_errors(np.where(hidden, -1, labels), probs)
    nan = find_multilabel_errors(np.where(hidden, np.nan, labels), probs)
    other = find_multilabel_errors(np.where(hidden, -1, labels), np.where(hidden, 0.123, probs))
    for found in (nan, other):
        for name in ("mask", "scores", "row_scores", "order", "joints", "num_errors", "label_counts", "thresholds"):
            np.testing.assert_array_equal(getattr(found, name), getattr(minus, name))
    np.testing.assert_array_equal(minus.label_counts.sum(axis=1), (~hidden).sum(axis=0))
    truth = find_multilabel_errors(labels == 1, probs)
    np.testing.assert_array_equal(truth.mask, find_multilabel_errors(labels.astype(np.float32), probs).mask)


def test_labels_that_nobody_has_or_nobody_knows():
    labels = np.array([[0, -1, 1], [0, -1, -1], [0, -1, 1]])
    found = find_multilabel_errors(labels, np.full((3, 3), 0.4))
    assert found.joints.tolist() == [[[3, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 2]]]
    assert found.thresholds[0].tolist() == [pytest.approx(0.6), np.inf]
    assert not found.mask.any()
    assert np.isfinite(found.num_errors).all()
    assert np.isfinite(found.row_scores).all()


def test_order_of_labels_and_rows_only_permutes():
    rng = np.random.default_rng(1)
    labels, probs = rng.integers(-1, 2, (200, 4)), rng.random((200, 4))
    columns, rows = rng.permutation(4), rng.permutation(200)
    found = find_multilabel_errors(labels, probs)
    moved = find_multilabel_errors(labels[rows][:, columns], probs[rows][:, columns])
    np.testing.assert_array_equal(moved.mask, found.mask[rows][:, columns])
    np.testing.assert_array_equal(moved.joints, found.joints[columns])
    np.testing.assert_allclose(moved.row_scores, found.row_scores[rows])


def test_absent_and_present_are_alike():
    rng = np.random.default_rng(2)
    labels, probs = rng.integers(0, 2, (200, 4)), rng.integers(0, 64, (200, 4)) / 64 + 1 / 128  # never even odds
    found, mirrored = find_multilabel_errors(labels, probs), find_multilabel_errors(1 - labels, 1 - probs)
    np.testing.assert_array_equal(mirrored.joints, found.joints[:, ::-1, ::-1])
    np.testing.assert_array_equal(mirrored.mask, found.mask)


def test_certain_probabilities_stay_finite():
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    found = find_multilabel_errors(labels, labels.astype(float), row_score="softmin")
    assert not found.mask.any()
    np.testing.assert_array_equal(found.row_scores, 1.0)
    assert find_multilabel_errors(1 - labels, labels.astype(float)).row_scores.tolist() == [-1.0] * 4


def test_a_trifle_above_one_is_clipped_and_counted():
    found = find_multilabel_errors([[1], [0]], [[1.00005], [0.0]])
    assert found.num_clipped == 1
    np.testing.assert_array_equal(found.scores, 1.0)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of which a fifth of those present is missing and a few are too many; probabilities; the wrong entries."""
    rng = np.random.default_rng(seed)
    rows, count = 1500, 8
    x, directions = rng.normal(size=(rows, 12)), 2 * rng.normal(size=(12, count))
    true = x @ directions + np.linspace(-1, -8, count) + rng.logistic(size=(rows, count)) > 0
    wrong = rng.random((rows, count)) < np.where(true, 0.2, 0.02)
    labels = true ^ wrong
    probs = [
        cross_val_predict(LogisticRegression(), x, labels[:, label], cv=5, method="predict_proba")[:, 1]
        for label in range(count)
    ]
    return labels, np.stack(probs, axis=1), wrong


def f1(entries: np.ndarray) -> float:
    """F1 of flags `[..., 0]` against wrong entries `[..., 1]`, over all rows and labels."""
    flags, wrong = entries[..., 0], entries[..., 1]
    return 2 * (flags * wrong).sum() / (flags.sum() + wrong.sum())


def test_planted_errors_are_found_better_than_by_disagreement_or_chance():
    labels, probs, wrong = drawn(0)
    found = find_multilabel_errors(labels, probs)
    disagreement = labels != (probs > 0.5)
    precision, recall = (found.mask & wrong).sum() / found.mask.sum(), (found.mask & wrong).sum() / wrong.sum()
    assert precision > 0.65
    assert recall > 0.6
    assert 0.8 < found.num_errors.sum() / wrong.sum() < 1.2

    def margin(entries):
        return f1(entries[..., :2]) - f1(entries[..., 1:][..., ::-1])

    # Rows are drawn anew: [rows, labels, (ours, wrong, disagreement)].
    entries = np.stack([found.mask, wrong, disagreement], axis=-1).astype(float)
    assert bootstrap_interval(entries, statistic=margin, resamples=200).low > 0.05
    shuffled = np.random.default_rng(0).permutation(found.mask.ravel()).reshape(wrong.shape)
    entries[..., 2] = shuffled
    assert bootstrap_interval(entries, statistic=margin, resamples=200).low > 0.4
    # One ranking of both kinds takes rare labels that are right for errors.
    entries[..., 2] = find_multilabel_errors(labels, probs, method="margin").mask
    assert bootstrap_interval(entries, statistic=margin, resamples=200).low > 0.0


@pytest.mark.parametrize("kind", ["moving_average", "softmin", "min", "mean"])
def test_rows_with_errors_score_lower(kind):
    labels, probs, wrong = drawn(1)
    scores = find_multilabel_errors(labels, probs, row_score=kind).row_scores
    rows = wrong.any(axis=1)
    assert average_precision_score(rows, -scores) > rows.mean() + 0.15


@pytest.mark.parametrize(
    ("labels", "probs", "options", "message"),
    [
        ([[1, 2]], [[0.5, 0.5]], {}, r"labels\[0, 1\] is 2; allowed: 0, 1, -1 for unknown"),
        ([[1.0, 0.5]], [[0.5, 0.5]], {}, r"labels\[0, 1\] is 0.5; allowed: 0, 1, -1 for unknown"),
        ([["yes", "no"]], [[0.5, 0.5]], {}, "labels are <U3: give truth values, or 0, 1 and -1 for unknown"),
        ([1, 0], [[0.5, 0.5]], {}, r"labels have shape \(2,\), probs \(1, 2\): give both alike"),
        ([1, 0], [0.5, 0.5], {}, r"probs must be \(rows, labels\) with at least one of each, got \(2,\)"),
        (
            np.zeros((0, 2)),
            np.zeros((0, 2)),
            {},
            r"probs must be \(rows, labels\) with at least one of each, got \(0, 2",
        ),
        ([[1, 0]], [[0.5, np.nan]], {}, r"probs\[0, 1\] is nan; allowed: 0 to 1"),
        ([[1, 0], [1, 0]], [[0.5, 0.5], [-0.1, 0.5]], {}, r"probs\[1, 0\] is -0.1; allowed: 0 to 1"),
        ([[1, 0]], [[0.5, 3.2]], {}, r"probs\[0, 1\] is 3.2; .* has the label \(sigmoid\), not logits or scores"),
        ([[1, 0]], [["a", "b"]], {}, r"labels and probs must be numbers \(rows, labels\)"),
        ([[1], [1, 0]], [[0.5]], {}, r"labels and probs must be numbers \(rows, labels\)"),
        ([[1, 0]], [[0.5, 0.5]], {"rule": "all"}, "rule is 'all'; allowed: calibrated, uncalibrated, off_diagonal"),
        ([[1, 0]], [[0.5, 0.5]], {"method": "joint"}, "method is 'joint'; allowed: noise_rate, margin"),
        (
            [[1, 0]],
            [[0.5, 0.5]],
            {"row_score": "max"},
            "row_score is 'max'; allowed: moving_average, softmin, min, mean",
        ),
    ],
)
def test_bad_input_is_named(labels, probs, options, message):
    with pytest.raises(ConfidentLearningError, match=message):
        find_multilabel_errors(labels, probs, **options)
