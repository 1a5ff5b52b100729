import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from jlabel.confident_learning import find_errors
from jlabel.confident_learning.checks import ConfidentLearningError
from jlabel.confident_learning.estimator import ConfidentLearningClassifier


def blobs(rows: int = 150, classes: int = 3, wrong: int = 12, seed: int = 0):
    """Features, labels of which the first `wrong` of class 0 say 1, and the true labels."""
    rng = np.random.default_rng(seed)
    true = np.arange(rows) % classes
    x = 5 * np.eye(classes)[true] + rng.normal(size=(rows, classes))
    given = true.copy()
    given[np.flatnonzero(true == 0)[:wrong]] = 1
    return x, given, true


def fitted(estimator=None, x=None, y=None, fit_options=None, **options) -> ConfidentLearningClassifier:
    if x is None:
        x, y, _ = blobs()
    model = ConfidentLearningClassifier(estimator or LogisticRegression(), **({"random_state": 0} | options))
    return model.fit(x, y, **(fit_options or {}))


_REASON = "a weight of 2 is not a second row: rows, not weights, are dealt to folds and counted in the joint"
_CHECKS_THAT_MUST_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": _REASON,
    "check_sample_weight_equivalence_on_sparse_data": _REASON,
}


# Half of the checks fit drawn labels that no feature explains: whole classes look wrong, and `fit` says so.
@pytest.mark.filterwarnings("ignore:all .* rows of class .* look wrong:UserWarning")
@parametrize_with_checks(
    [
        ConfidentLearningClassifier(LogisticRegression(), folds=3, random_state=0),
        ConfidentLearningClassifier(DecisionTreeClassifier(random_state=0), folds=2, action="reweight", random_state=0),
    ],
    expected_failed_checks=lambda _: _CHECKS_THAT_MUST_FAIL,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------------------------ what it finds


def test_drops_the_planted_errors_and_is_what_its_parts_say():
    x, y, true = blobs()
    model = fitted(GaussianNB(), x, y)
    planted = y != true
    assert (model.error_mask_ & planted).sum() >= 8
    assert (model.error_mask_ & ~planted).sum() <= 1
    found = find_errors(y, model.out_of_sample_probs_)
    np.testing.assert_array_equal(model.error_mask_, found.mask)
    np.testing.assert_array_equal(model.scores_, found.scores)
    np.testing.assert_array_equal(model.joint_, found.calibrated)
    np.testing.assert_allclose(model.joint_.sum(), len(y))
    alone = GaussianNB().fit(x[~model.error_mask_], y[~model.error_mask_])
    np.testing.assert_array_equal(model.estimator_.theta_, alone.theta_)
    np.testing.assert_array_equal(model.predict_proba(x), alone.predict_proba(x))
    assert model.score(x, true) >= GaussianNB().fit(x, y).score(x, true)
    assert is_classifier(model)


@pytest.mark.slow
def test_digits_train_better_without_the_errors():
    x, true = load_digits(return_X_y=True)
    x, y = x / 16, true.copy()
    rng = np.random.default_rng(0)
    pair = np.array([6, 7, 3, 8, 9, 6, 5, 1, 3, 4])
    wrong = rng.random(len(y)) < 0.2
    y[wrong] = pair[y[wrong]]
    train = np.arange(len(y)) % 3 < 2
    test = (x[~train], true[~train])
    model = fitted(LogisticRegression(max_iter=1000), x[train], y[train], folds=3)
    plain = LogisticRegression(max_iter=1000).fit(x[train], y[train])
    assert model.score(*test) > plain.score(*test) + 0.02
    precision = (model.error_mask_ & wrong[train]).sum() / model.error_mask_.sum()
    assert precision > 0.75


def test_each_row_is_held_out_once():
    # A nearest neighbour that has seen a row is sure of its label; out of sample it cannot know a drawn one.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.permutation(np.arange(200) % 2)
    probs = fitted(KNeighborsClassifier(1), x, y).out_of_sample_probs_
    assert 0.3 < (probs.argmax(1) == y).mean() < 0.7


def test_groups_keep_copies_together():
    rng = np.random.default_rng(1)
    x, y = np.repeat(rng.normal(size=(100, 3)), 2, axis=0), np.repeat(rng.permutation(np.arange(100) % 2), 2)
    leak = fitted(KNeighborsClassifier(1), x, y)
    grouped = fitted(KNeighborsClassifier(1), x, y, fit_options={"groups": np.arange(200) // 2})
    assert (leak.out_of_sample_probs_.argmax(1) == y).mean() > 0.75
    assert (grouped.out_of_sample_probs_.argmax(1) == y).mean() < 0.7


def test_rule_decides_how_many():
    x, y, _ = blobs(classes=2, wrong=20)
    counts = {rule: fitted(x=x, y=y, rule=rule).error_mask_.sum() for rule in ("calibrated", "off_diagonal")}
    assert counts["off_diagonal"] < counts["calibrated"]


def test_reweight_lets_the_rows_that_stay_stand_for_those_that_went():
    x, y, _ = blobs()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    for given in (None, weight):
        model = fitted(x=x, y=y, action="reweight", fit_options={"sample_weight": given})
        kept, joint = ~model.error_mask_, model.joint_
        shares = np.array([sum(joint[i, j] for i in range(3)) / joint[j, j] for j in range(3)])
        assert shares[0] > 1.1  # class 0 lost rows to class 1
        expected = shares[y] * (1 if given is None else given)
        alone = LogisticRegression().fit(x[kept], y[kept], sample_weight=expected[kept])
        np.testing.assert_array_equal(model.estimator_.coef_, alone.coef_)


def test_sample_weight_reaches_the_folds():
    x, y, _ = blobs()
    weight = np.where(y == 2, 50.0, 1.0)
    plain, weighed = fitted(x=x, y=y), fitted(x=x, y=y, fit_options={"sample_weight": weight})
    assert weighed.out_of_sample_probs_[:, 2].mean() > plain.out_of_sample_probs_[:, 2].mean()
    units = fitted(x=x, y=y, fit_options={"sample_weight": [1] * len(y)})
    np.testing.assert_allclose(units.out_of_sample_probs_, plain.out_of_sample_probs_, atol=1e-6)


def test_a_class_that_would_vanish_keeps_its_best_row():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.1, (60, 2)), rng.normal(4, 0.1, (60, 2))])
    y = np.repeat(["a", "b"], 60)
    y[:6] = "c"  # six rows in the middle of class a: each fold sees few of them
    with pytest.warns(UserWarning, match="all 6 rows of class c look wrong; row 3, the least doubtful, stays in"):
        model = fitted(x=x, y=y, folds=6)
    assert model.error_mask_[:6].sum() == 5
    assert model.scores_[:6][~model.error_mask_[:6]] == model.scores_[:6].max()
    assert model.estimator_.classes_.tolist() == ["a", "b", "c"]
    assert model.predict_proba(x).shape == (120, 3)


# ------------------------------------------------------------------------------------------- living in scikit-learn


def test_the_given_estimator_is_not_touched_and_the_seed_decides():
    inner = LogisticRegression()
    x, y, _ = blobs()
    model = ConfidentLearningClassifier(inner, random_state=3)
    first = model.fit(x, y).out_of_sample_probs_
    assert not hasattr(inner, "coef_")
    np.testing.assert_array_equal(first, clone(model).fit(x, y).out_of_sample_probs_)
    other = ConfidentLearningClassifier(inner, random_state=np.random.RandomState(4)).fit(x, y)
    assert (first != other.out_of_sample_probs_).any()
    assert set(model.get_params(deep=False)) == {"estimator", "folds", "rule", "action", "random_state", "n_jobs"}


@pytest.mark.slow
def test_folds_in_parallel_change_nothing():
    x, y, _ = blobs()
    parallel = fitted(x=x, y=y, n_jobs=2)
    np.testing.assert_array_equal(fitted(x=x, y=y).out_of_sample_probs_, parallel.out_of_sample_probs_)


def test_pipelines_around_and_inside():
    x, y, true = blobs()
    inside = fitted(make_pipeline(StandardScaler(), LogisticRegression()), x, y, action="reweight")
    around = make_pipeline(StandardScaler(), ConfidentLearningClassifier(LogisticRegression(), random_state=0))
    around.fit(x, y, confidentlearningclassifier__groups=np.arange(len(y)))
    for model in (inside, around):
        assert model.score(x, true) > 0.95
    # The scaler inside never saw the rows that it scales for the joint, nor those that were dropped.
    scaler = StandardScaler().fit(x[~inside.error_mask_])
    np.testing.assert_allclose(inside.estimator_[0].mean_, scaler.mean_)


@pytest.mark.slow
def test_grid_search_and_cross_validation():
    x, y, true = blobs()
    search = GridSearchCV(
        ConfidentLearningClassifier(LogisticRegression(), folds=3, random_state=0),
        {"estimator__C": [0.1, 1.0], "rule": ["calibrated", "uncalibrated"]},
        cv=3,
    ).fit(x, y)
    assert search.best_params_.keys() == {"estimator__C", "rule"}
    scores = cross_val_score(fitted(), x, y, cv=3, scoring="roc_auc_ovr", params={"groups": np.arange(len(y))})
    assert (scores > 0.8).all()
    searched = fitted(GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3), x, y)
    assert searched.score(x, true) > 0.95


def test_metadata_routing():
    x, y, _ = blobs()
    weight = np.where(y == 2, 50.0, 1.0)
    expected = fitted(x=x, y=y, fit_options={"sample_weight": weight}).joint_
    with config_context(enable_metadata_routing=True):
        inner = ConfidentLearningClassifier(LogisticRegression(), random_state=0)
        model = make_pipeline(inner.set_fit_request(sample_weight=True, groups=True))
        model.fit(x, y, sample_weight=weight, groups=np.arange(len(y)))
    np.testing.assert_array_equal(model[-1].joint_, expected)


def test_pickle_and_joblib_keep_everything(tmp_path):
    x, y, _ = blobs()
    model = fitted(x=x, y=y)
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
        np.testing.assert_array_equal(again.error_mask_, model.error_mask_)


def test_data_frames_keep_their_columns():
    x, y, _ = blobs()
    frame = pd.DataFrame(x, columns=["a", "b", "c"], index=np.arange(len(x)) + 1000)
    frame["kind"] = np.array(["red", "blue"])[np.arange(len(x)) % 2]
    encode = make_column_transformer((StandardScaler(), ["a", "b"]), ("passthrough", ["c"]), ("drop", ["kind"]))
    model = fitted(make_pipeline(encode, LogisticRegression()), frame, pd.Series(y, index=frame.index))
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "kind"]
    assert model.n_features_in_ == 4
    assert model.predict(frame.iloc[:5]).shape == (5,)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix, sparse.csc_array])
def test_sparse_rows_give_what_dense_rows_give(kind):
    x, y, _ = blobs()
    x[np.abs(x) < 0.5] = 0
    model = fitted(x=kind(x), y=y)
    np.testing.assert_allclose(model.out_of_sample_probs_, fitted(x=x, y=y).out_of_sample_probs_, atol=1e-4)
    assert model.predict(kind(x)).shape == y.shape


def test_texts_with_string_labels():
    texts = ["good fine great", "great and good", "fine work", "bad poor awful", "awful and bad", "poor work"] * 10
    labels = ["praise"] * 3 + ["blame"] * 3
    y = np.array(labels * 10, dtype=object)
    y[0] = "blame"
    model = fitted(make_pipeline(TfidfVectorizer(), LogisticRegression()), texts, y)
    assert model.classes_.tolist() == ["blame", "praise"]
    assert model.error_mask_[0]
    assert model.predict(["good great", "awful"]).tolist() == ["praise", "blame"]
    assert not hasattr(model, "n_features_in_")


def test_labels_of_any_kind():
    x, y, _ = blobs(classes=2)
    expected = fitted(x=x, y=y)
    for names in (np.array([False, True]), np.array([-7, 3]), np.array(["no", "yes"]), np.array([1.0, 2.0])):
        model = fitted(x=x, y=names[y])
        np.testing.assert_array_equal(model.error_mask_, expected.error_mask_)
        np.testing.assert_array_equal(model.classes_, names)
        assert model.predict(x).dtype == names.dtype
    listed = fitted(x=x.tolist(), y=y.tolist())
    np.testing.assert_array_equal(listed.error_mask_, expected.error_mask_)


# ------------------------------------------------------------------------------------------------------ bad input


class Unweighted(ClassifierMixin, BaseEstimator):
    """A classifier whose `fit` takes no weights."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]

    def predict_proba(self, X):
        return np.tile(np.eye(len(self.classes_))[0], (len(X), 1))


class Unsound(GaussianNB):
    """A classifier whose probabilities do not sum to 1."""

    def predict_proba(self, X):
        return 2 * super().predict_proba(X)


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (LinearSVC(), {}, "estimator LinearSVC has no predict_proba; set the option that gives it one, or wrap it in"),
        (SVC(), {}, "estimator SVC has no predict_proba; set the option that gives it one, or wrap it in Calibrated"),
        (SVC(kernel="precomputed"), {}, "estimator SVC takes a precomputed kernel"),
        (LinearRegression(), {}, r"estimator must be a scikit-learn classifier, got LinearRegression\(\)"),
        ("logistic", {}, "estimator must be a scikit-learn classifier, got 'logistic'"),
        (LogisticRegression, {}, "estimator must be a scikit-learn classifier, got <class"),
        (
            KNeighborsClassifier(),
            {"action": "reweight"},
            "action='reweight' weighs the rows, but fit of estimator KNeighborsClassifier takes no sample_weight; use",
        ),
        (make_pipeline(StandardScaler(), Unweighted()), {"action": "reweight"}, "estimator Pipeline takes no sample_w"),
        (None, {"action": "mend"}, "action is 'mend'; allowed: drop, reweight"),
        (None, {"rule": "none"}, "rule is 'none'; allowed: calibrated, uncalibrated, off_diagonal"),
        (None, {"folds": 1}, "folds must be a whole number, at least 2, got 1"),
        (None, {"folds": 51}, "class 0 has 38 rows, fewer than the 51 folds"),
        (Unsound(), {}, r"probs\[0, .\] is"),
    ],
)
def test_estimators_and_options_that_cannot_be(estimator, options, message):
    with pytest.raises(ConfidentLearningError, match=message):
        fitted(estimator, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["ant"] * 146 + ["bee"] * 4}, "class 'bee' has 4 rows, fewer than the 5 folds"),
        ({"y": ["ant"] * 150}, "y holds one class only, ant: give labels of two or more"),
        ({"y": ["ant"] * 9 + [None] + ["bee"] * 140}, r"y\[9\] is missing: leave such rows out first"),
        ({"y": [0.0] * 75 + [np.nan] * 75}, r"y\[75\] is missing"),
        ({"sample_weight": np.ones(149)}, r"sample_weight must have shape \(150,\), got \(149,\)"),
        ({"sample_weight": np.arange(150) - 1.0}, r"sample_weight\[0\] is -1.0: weights must be finite and at least 0"),
        ({"sample_weight": np.arange(150) % 3}, "sample_weight is zero in all rows of class 0; leave the class out"),
        ({"groups": np.zeros(150)}, "class 0 has all its rows in fold 0, which would be trained without it"),
        ({"groups": np.zeros(9)}, "groups has 9 rows, labels has 150"),
    ],
)
def test_rows_that_cannot_be(change, message):
    x, y, _ = blobs(wrong=0)
    with pytest.raises(ConfidentLearningError, match=message):
        ConfidentLearningClassifier(GaussianNB(), random_state=0).fit(**({"X": x, "y": y} | change))


def test_weights_for_a_classifier_that_takes_none():
    x, y, _ = blobs()
    with pytest.raises(ConfidentLearningError, match="sample_weight was given, but fit of estimator Unweighted takes"):
        fitted(Unweighted(), x, y, fit_options={"sample_weight": np.ones(len(y))})


def test_predicting_before_fitting():
    with pytest.raises(NotFittedError):
        ConfidentLearningClassifier(LogisticRegression()).predict(np.zeros((2, 3)))
    with warnings.catch_warnings(), pytest.raises(ValueError, match="X has 2 features, but LogisticRegression is exp"):
        fitted().predict(np.zeros((2, 2)))
