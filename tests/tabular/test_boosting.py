import functools

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from jlabel.tabular import (
    Table,
    TabularError,
    classification_score,
    fit_boosting,
    fit_logistic,
    fit_prior,
    make_problem,
)
from tests.tabular.problems import SIZES, small_problem

LEAF = {"min_samples_leaf": 2, "max_iter": 10}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1, "openmp"):
        yield


@pytest.fixture(scope="module")
def problem():
    return small_problem()


def as_numbers(table):
    codes = table.codes.astype(float)
    for k, size in enumerate(SIZES):
        codes[codes[:, k] == size, k] = np.nan
    return np.concatenate([codes, table.values], 1)


def direct(rows, labels, trees=10):
    model = HistGradientBoostingClassifier(
        max_iter=trees, min_samples_leaf=2, early_stopping=False, categorical_features=[0, 1]
    )
    return model.fit(rows, labels)


def test_boosting_is_scikit_learns_with_missing_cells(problem):
    found = fit_boosting(problem._replace(validation=None), **LEAF).predict_proba(problem.table)
    rows = as_numbers(problem.table)
    for run, own in enumerate(problem.labelled):
        expected = direct(rows[own], problem.labels[own]).predict_proba(rows)
        np.testing.assert_allclose(found[run], expected, atol=1e-12)


def test_validation_chooses_how_many_trees(problem):
    fit = fit_boosting(problem, **LEAF)
    rows = as_numbers(problem.table)
    for run, (own, held) in enumerate(zip(problem.labelled, problem.validation, strict=True)):
        held = held[held >= 0]
        stages = direct(rows[own], problem.labels[own]).staged_predict_proba(rows[held])
        scores = [classification_score(np.log(probs), problem.labels[held]) for probs in stages]
        assert fit.models[run][0].n_iter_ == np.argmax(scores) + 1 < 10


def test_pseudo_labels_are_the_first_models(problem):
    found = fit_boosting(problem._replace(validation=None), pseudo=True, **LEAF).predict_proba(problem.table)
    rows = as_numbers(problem.table)
    for run, (own, others) in enumerate(zip(problem.labelled, np.sort(problem.unlabelled), strict=True)):
        said = direct(rows[own], problem.labels[own]).predict(rows[others])
        assert set(said) == {0, 1}
        model = direct(rows[[*own, *others]], np.concatenate([problem.labels[own], said]))
        np.testing.assert_allclose(found[run], model.predict_proba(rows), atol=1e-12)


def test_columns_of_many_categories():
    rng = np.random.default_rng(0)
    # 1,000 values, of which the labelled rows hold about 400; the last is commonest and tells the label.
    labels = rng.integers(0, 2, 1200).astype(np.int32)
    codes = np.where((labels == 1) & (rng.random(1200) < 0.5), 999, rng.integers(0, 1000, 1200))[:, None]
    codes[1150:] = 1000
    table = Table(codes.astype(np.int32), np.zeros((1200, 0), np.float32), np.zeros(1, int))
    labelled = np.arange(600)
    problem = make_problem(table, labels, cardinalities=(1000,), labelled=labelled)
    fit = fit_boosting(problem, min_samples_leaf=5)
    rows = fit.models[0][1](table)[:, 0]
    assert len(np.unique(rows[:600])) == 255
    assert rows[0 if labels[0] and codes[0] == 999 else np.argmax(codes[:, 0] == 999)] == 0
    counts = np.bincount(codes[:600, 0], minlength=1000)
    assert counts[codes[:600][rows[:600] < 254, 0]].min() >= counts[codes[:600][rows[:600] == 254, 0]].max()
    assert np.isnan(rows[1150:]).all()
    probs = fit.predict_proba(table)
    assert classification_score(np.log(probs[600:1150]), labels[600:1150]) > 0.7


def test_logistic_regression_by_hand(problem):
    found = fit_logistic(problem, C=0.5).predict_proba(problem.table)
    rows = [np.eye(size + 1)[problem.table.codes[:, k]] for k, size in enumerate(SIZES)]
    rows = np.concatenate([*rows, problem.table.values.astype(float)], 1)
    for run, own in enumerate(problem.labelled):
        expected = LogisticRegression(C=0.5, max_iter=1000).fit(rows[own], problem.labels[own]).predict_proba(rows)
        np.testing.assert_allclose(found[run], expected, atol=1e-3)


def test_the_prior_is_the_same_for_all_rows(problem):
    found = fit_prior(problem).predict_proba(problem.table)
    for run, own in enumerate(problem.labelled):
        assert np.ptp(found[run], 0).max() == 0
        assert found[run, 0, 1] == problem.labels[own].mean()
        assert classification_score(np.log(found[run]), problem.labels) == 0.5


def test_a_class_that_the_labelled_rows_lack_is_impossible():
    problem = small_problem()
    labels = problem.labels.copy()
    labels[90:] = 2
    lacking = make_problem(problem.table, labels, cardinalities=SIZES, labelled=problem.labelled[0])
    for fit in (fit_boosting, fit_logistic, fit_prior):
        probs = fit(lacking).predict_proba(problem.table)
        assert probs.shape == (96, 3)
        assert (probs[:, 2] == 0).all()


def test_tables_of_categories_or_of_numbers_alone(problem):
    codes, values, unknown = problem.table
    for table, sizes in ((Table(codes[:, :0], values, unknown[:0]), ()), (Table(codes, values[:, :0], unknown), SIZES)):
        alone = small_problem(table=table, cardinalities=sizes)
        for fit in (fit_logistic, functools.partial(fit_boosting, **LEAF)):
            probs = fit(alone).predict_proba(table)
            np.testing.assert_allclose(probs.sum(-1), 1)
            assert np.ptp(probs[..., 1]) > 0.2


@pytest.mark.parametrize(
    ("fit", "settings", "message"),
    [
        (fit_boosting, {"learning_rate": 0.0}, r"learning_rate is 0\.0; allowed: above 0"),
        (fit_boosting, {"max_leaf_nodes": 1}, "max_leaf_nodes is 1; allowed: whole numbers from 2"),
        (fit_boosting, {"min_samples_leaf": 2.0}, r"min_samples_leaf is 2\.0; allowed: whole numbers from 1"),
        (fit_boosting, {"l2_regularization": -1.0}, r"l2_regularization is -1\.0; allowed: from 0"),
        (fit_logistic, {"C": float("nan")}, "C is nan; allowed: above 0"),
    ],
)
def test_settings_out_of_range(problem, fit, settings, message):
    with pytest.raises(TabularError, match=message):
        fit(problem, **settings)


@pytest.mark.parametrize("pseudo", [False, True])
def test_a_class_that_no_labelled_row_has_gets_nothing(pseudo):
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 3, (60, 2)).astype(np.int32)
    table = Table(codes, generator.standard_normal((60, 2)).astype(np.float32), np.zeros(2, int))
    problem = make_problem(
        table, np.repeat([0, 1, 2], 20), cardinalities=(3, 3), labelled=np.r_[0:15, 20:35], unlabelled=np.r_[45:60],
        validation=np.r_[15:20, 35:45],
    )  # fmt: skip
    probs = fit_boosting(problem, pseudo=pseudo, **LEAF).predict_proba(table)
    assert probs.shape == (60, 3)
    assert not probs[:, 2].any()
    np.testing.assert_allclose(probs.sum(1), 1)
