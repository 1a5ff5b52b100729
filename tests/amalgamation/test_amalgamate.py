"""Fitted teachers and rows in, a student with named columns out."""

import pickle

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier

from jlabel.amalgamation import AmalgamationError, Trust, amalgamate, as_teacher, earn_trust, transfer_targets
from jlabel.data import coupled_labels
from tests.amalgamation.scripted import scripted

NAMES = coupled_labels.LABEL_NAMES
SETS = (NAMES[:6], NAMES[2:])
OPTIONS = {"hidden_size": 8, "epochs": 30, "batch_size": 32}


@pytest.fixture(scope="module")
def data():
    drawn = coupled_labels.coupled_labels(seed=9, num_rows=1200)
    cut = coupled_labels.cut_rows(1200, num_teachers=2, seed=9)
    rows = pd.DataFrame(
        drawn.features * 5 + 3, columns=[f"x{k}" for k in range(20)], index=[f"r{k}" for k in range(1200)]
    )
    truth = pd.DataFrame(drawn.labels, columns=list(NAMES), index=rows.index)
    models = [
        MultiOutputClassifier(LogisticRegression(max_iter=500)),
        ClassifierChain(LogisticRegression(max_iter=500)),
    ]
    teachers = {
        name: as_teacher(model.fit(rows.iloc[own], truth[list(names)].iloc[own]), label_names=names)
        for name, model, own, names in zip(["plain", "chained"], models, cut.teachers, SETS, strict=True)
    }
    return teachers, rows.iloc[cut.transfer], rows.iloc[cut.test], truth


@pytest.fixture(scope="module")
def found(data):
    teachers, rows, _, _ = data
    return amalgamate(teachers, rows, **OPTIONS)


def test_predicts_named_columns_for_the_index_of_the_rows(data, found):
    _, _, rows, truth = data
    probs = found.predict_proba(rows)
    assert list(probs.columns) == list(NAMES)
    assert probs.index.equals(rows.index)
    assert ((probs >= 0) & (probs <= 1)).all(axis=None)
    wrong = ((probs > 0.5) != truth.loc[rows.index]).to_numpy().mean()
    assert wrong < truth.loc[rows.index].to_numpy().mean() - 0.1  # all-negative


def test_columns_are_taken_by_name(data, found):
    _, _, rows, _ = data
    shuffled = rows[rows.columns[::-1]].assign(more=1.0)
    pd.testing.assert_frame_equal(found.predict_proba(shuffled), found.predict_proba(rows))
    with pytest.raises(AmalgamationError, match=r"'student' needs the columns \['x3'\]"):
        found.predict_proba(rows.drop(columns="x3"))
    with pytest.raises(AmalgamationError, match=r"rows: row 1, column 'x2' is nan"):
        found.predict_proba(rows.where((rows.index != rows.index[1])[:, None] | (rows.columns != "x2")[None]))


def test_a_row_alone_is_predicted_as_in_company(data, found):
    _, _, rows, _ = data
    pd.testing.assert_frame_equal(found.predict_proba(rows).iloc[[4]], found.predict_proba(rows.iloc[[4]]))


def test_targets_are_those_of_transfer_with_earned_trust(data, found):
    teachers, rows, _, _ = data
    expected = transfer_targets(teachers, rows, trust=earn_trust(teachers, rows))
    np.testing.assert_array_equal(found.targets, expected.targets)
    assert found.targets.index.equals(rows.index)
    assert list(found.targets.columns) == list(NAMES)
    assert found.disagreement.labels["disagreements"].tolist() == expected.disagreement.sum(axis=0).tolist()
    assert found.disagreement.examples["name"].isin(rows.index).all()
    assert isinstance(found.trust, Trust)


def test_standardises_with_its_training_rows(data, found):
    _, rows, _, _ = data
    features = found.standardize(rows)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-5)


def test_the_student_outlives_its_teachers(data, found):
    _, _, rows, _ = data
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(again.predict_proba(rows), found.predict_proba(rows))


def test_a_student_can_teach(data, found):
    _, _, rows, _ = data
    teacher = as_teacher(found, name="old student")
    np.testing.assert_allclose(
        expit(teacher.logits(rows)), np.clip(found.predict_proba(rows), 1e-4, 1 - 1e-4), atol=1e-6
    )


@pytest.mark.parametrize("method", ["tc", "vote"])
def test_other_targets(data, method):
    teachers, rows, _, _ = data
    result = amalgamate(teachers, rows, method=method, **OPTIONS)
    said = [
        teacher.logits(rows)[:, names.index(NAMES[2])] for teacher, names in zip(teachers.values(), SETS, strict=True)
    ]
    expected = expit(np.mean(said, axis=0)) if method == "tc" else np.mean(np.array(said) > 0, axis=0) >= 0.5
    np.testing.assert_allclose(result.targets[NAMES[2]], expected, atol=1e-6)
    assert result.trust is None
    assert result.disagreement.labels["disagreements"].sum() > 0
    assert result.disagreement.effects.empty


def test_labels_of_some_rows_are_their_targets(data):
    teachers, rows, _, truth = data
    labelled = truth.loc[rows.index[:40], [NAMES[4], NAMES[0]]]
    result = amalgamate(teachers, rows, labelled=labelled, **OPTIONS)
    pd.testing.assert_frame_equal(
        result.targets.loc[labelled.index, labelled.columns], labelled, check_dtype=False, check_column_type=False
    )
    assert result.trust.num_labelled.tolist() == [0, 0, 40, 0]
    assert not (result.targets.iloc[40:] == 1).any(axis=None)


def test_positive_trust_is_the_published_rule(data):
    teachers, rows, _, _ = data
    result = amalgamate(teachers, rows.to_numpy(), trust="positive", rounds=2, **OPTIONS)
    np.testing.assert_array_equal(result.targets, transfer_targets(teachers, rows, rounds=2).targets)
    assert result.trust is None
    assert result.predict_proba(rows.to_numpy()[:2]).index.tolist() == [0, 1]
    with pytest.raises(AmalgamationError, match=r"rows have shape \(2, 19\); the student knows 20 columns"):
        result.predict_proba(rows.to_numpy()[:2, 1:])


def test_the_student_may_see_fewer_columns_than_its_teachers(data):
    teachers, rows, _, _ = data
    marked = rows.assign(text="a", flat=7.0)
    columns = [*rows.columns[:19], "flat"]
    result = amalgamate(teachers, marked, columns=columns, **OPTIONS)
    assert result.columns == tuple(columns)
    assert np.isfinite(result.predict_proba(marked)).all(axis=None)
    with pytest.raises(AmalgamationError, match="column 'text' holds .*, no numbers: choose with columns="):
        amalgamate(teachers, marked, **OPTIONS)


def test_one_teacher_is_distilled_and_the_key_decides(data):
    _, rows, _, truth = data
    one, two, other = (
        amalgamate([truth.loc[rows.index].astype(float)], rows, key=jax.random.key(seed), **OPTIONS)
        for seed in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(one.predict_proba(rows), two.predict_proba(rows))
    assert not one.predict_proba(rows).equals(other.predict_proba(rows))
    np.testing.assert_allclose(one.targets, np.clip(truth.loc[rows.index], 1e-4, 1 - 1e-4), atol=1e-6)
    assert one.disagreement.labels["disagreements"].sum() == 0


@pytest.mark.slow
def test_defaults_fit_few_rows_without_validation():
    rows = np.random.default_rng(0).normal(size=(9, 2))
    probs = as_teacher((rows > 0).astype(float), label_names=["a", "b"])
    result = amalgamate([probs], rows, validation_fraction=0)
    assert ((result.predict_proba(rows) > 0.5) == (rows > 0)).all(axis=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ants"}, "method is 'ants'; allowed: ant, tc, vote"),
        ({"trust": None}, "trust is None; allowed: earned, positive"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0; allowed: from 0, below 1"),
        ({"rounds": 0}, "rounds is 0; allowed: whole numbers from 1"),
        ({"epochs": 0}, "epochs is 0; allowed: whole numbers from 1"),
        ({"labelled": [[1, 2]]}, "labels has 2 columns"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(AmalgamationError, match=message):
        amalgamate([scripted("a", [1.0])], np.zeros((4, 2)), **options)


def test_refuses_rows():
    teacher = scripted("a", [1.0])
    with pytest.raises(AmalgamationError, match="rows has 1 rows: a student needs 2 or more"):
        amalgamate([teacher], np.zeros((1, 2)))
    with pytest.raises(AmalgamationError, match=r"rows must have two axes, \(rows, columns\), got shape \(4,\)"):
        amalgamate([teacher], np.zeros(4))
    with pytest.raises(AmalgamationError, match="rows has the column 'x' several times"):
        amalgamate([teacher], pd.DataFrame(np.zeros((4, 2)), columns=["x", "x"]))
    with pytest.raises(AmalgamationError, match="rows: row 2, column 1 is nan"):
        amalgamate([teacher], np.array([[0, 0], [0, 1], [0, np.nan]]))


@pytest.mark.slow
def test_hard_targets_are_0_and_1(data, found):
    teachers, rows, _, _ = data
    hard = amalgamate(teachers, rows, hard_targets=True, **OPTIONS)
    np.testing.assert_array_equal(hard.targets, found.targets > 0.5)
