import jax
import numpy as np
import pytest

from jlabel.tabular import Table, TabularError, classification_score, fit_mlp, fit_prior
from jlabel.tabular.problem import learning_rows
from tests.tabular.problems import small_problem, small_table


@pytest.fixture(scope="module")
def problem():
    return small_problem()


def test_ranks_count_and_not_thresholds():
    scores, labels = np.array([0.1, 0.6, 0.35, 0.8]), np.array([0, 0, 1, 1])
    logits = np.log(np.stack([1 - scores, scores], 1))
    assert classification_score(logits, labels) == 0.75
    assert classification_score(np.eye(2)[(scores > 0.5).astype(int)], labels) == 0.5


def test_score_of_three_classes_is_the_mean_of_one_against_the_rest():
    logits = np.array([[2.0, 0, 0], [1, 0, 0], [0, 2, 0], [2, 0, 2], [0, 1, 2]])
    labels = np.array([0, 0, 1, 2, 2])
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    areas = []
    for k in range(3):
        own, rest = probs[labels == k, k], probs[labels != k, k]
        areas.append(np.mean((own[:, None] > rest) + 0.5 * (own[:, None] == rest)))
    assert classification_score(logits, labels) == pytest.approx(np.mean(areas), abs=1e-12)


def test_rows_without_a_class_are_scored_by_their_likelihood():
    found = classification_score(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([1, 1]))
    assert found == pytest.approx((np.log(0.5) + np.log(0.75)) / 2)


def test_one_run_and_many(problem):
    assert problem.batched
    assert problem.num_runs == 2
    assert problem.num_classes == 2
    assert problem.num_values == 2
    one = small_problem(labelled=[0, 1, 2, 3], unlabelled=None, validation=None)
    assert not one.batched
    assert one.labelled.tolist() == [[0, 1, 2, 3]]
    assert fit_prior(one).predict_proba(one.table).shape == (96, 2)
    assert fit_prior(problem).predict_proba(problem.table).shape == (2, 96, 2)


def test_rows_without_labels_hold_each_row_once(problem):
    rows = learning_rows(problem)
    assert rows.shape == (2, 40)
    for run in range(2):
        assert sorted(rows[run]) == sorted([*problem.labelled[run], *problem.unlabelled[run]])
    overlapping = small_problem(unlabelled=np.tile(np.arange(30), (2, 1)), validation=None)
    rows = learning_rows(overlapping)
    assert all(len(set(own)) == rows.shape[1] for own in rows)
    alone = small_problem(unlabelled=None)
    assert learning_rows(alone) is alone.labelled


def _labels(**places):
    labels = small_table()[1].copy()
    for row, value in places.items():
        labels[int(row[1:])] = value
    return labels


FIRST = [0, 1, 2, 3, 4, 5]
TABLE = small_table()[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cardinalities": (3,)}, r"table.codes of shape \(96, 2\) do not fit 1 cardinalities; give one a column"),
        ({"cardinalities": (3, 2)}, "table.codes: column 1 holds 0 to 4; allowed by its cardinality: 0 to 2"),
        ({"labels": small_table()[1][:5]}, r"labels are int32 of shape \(5,\); give whole numbers, one for each of 96"),
        ({"labels": small_table()[1] * 1.0}, r"labels are float64 of shape \(96,\); give whole numbers"),
        ({"labelled": [FIRST, [0, 1, 2, 3, 4, 96]]}, "labelled holds row 96; allowed: 0 to 95"),
        ({"labelled": [FIRST, [0, 1, 2, 3, 4, -1]]}, "labelled holds row -1; allowed: 0 to 95"),
        ({"unlabelled": [[0, 99]] * 2}, "unlabelled holds row 99; allowed: 0 to 95"),
        ({"labelled": np.zeros((2, 0), int)}, r"labelled is int64 of shape \(2, 0\); give whole numbers \(R, rows\)"),
        ({"labelled": FIRST}, r"unlabelled is int64 of shape \(2, 24\); give whole numbers \(rows,\), at least one"),
        ({"unlabelled": [[90, 91]] * 3}, "unlabelled has 3 runs, labelled 2; give the same number"),
        ({"validation": [[80, 81], [-1, -1]]}, "validation: run 1 has no rows; give each run at least one"),
        ({"labels": _labels(r3=-1), "labelled": [FIRST, FIRST]}, r"labelled: row 3 has no label \(-1\); leave it out"),
        (
            {"labels": _labels(r80=-7), "validation": [[80]] * 2},
            r"validation: row 80 has no label \(-7\); leave it out",
        ),
        (
            {"labelled": [FIRST, np.flatnonzero(small_table()[1] == 1)[:6]], "unlabelled": None, "validation": None},
            "labelled: run 1 has rows of class 1 only; draw its rows again",
        ),
        (
            {"labelled": [FIRST, FIRST], "unlabelled": None, "validation": [[80, 81], [80, 5]]},
            "validation: run 1 has row 5, which is in labelled too; keep them apart",
        ),
        (
            {"labelled": [FIRST, FIRST], "unlabelled": [[6], [90]], "validation": [[80, 81], [80, 90]]},
            "validation: run 1 has row 90, which is in unlabelled too; keep them apart",
        ),
    ],
)
def test_problems_that_cannot_be(changes, message):
    with pytest.raises(TabularError, match=message):
        small_problem(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": jax.random.key(0)}, r"(?s)key is Array.*; give 2 typed keys: jax.random.split\(key, 2\)"),
        ({"key": np.zeros(2)}, "key is array.*; give 2 typed keys"),
        ({"steps": 0}, "steps is 0; allowed: whole numbers from 1"),
        ({"evaluate_every": 2.5}, "evaluate_every is 2.5; allowed: whole numbers from 1"),
        ({"learning_rate": [1e-3, 0.0]}, r"learning_rate is .*0\.0.*; allowed: above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; allowed: from 0"),
        ({"embedding_size": 0}, "embedding_size is 0; allowed: whole numbers from 1"),
        ({"entropy": -0.1}, "entropy is -0.1; allowed: from 0"),
    ],
)
def test_settings_out_of_range(problem, settings, message):
    with pytest.raises(TabularError, match=message):
        fit_mlp(problem, **({"key": jax.random.split(jax.random.key(0), 2), "embedding_size": 8} | settings))


def test_a_table_without_categories():
    table = Table(np.zeros((96, 0), np.int32), TABLE.values, np.zeros(0, int))
    assert small_problem(table=table, cardinalities=()).num_values == 2
