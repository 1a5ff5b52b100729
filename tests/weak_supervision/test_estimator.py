"""`LabelModel` and `EndClassifier`: what people from Snorkel and scikit-learn expect of them."""

import pickle
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jlabel import InputError
from jlabel.data.two_gaussians import CLIQUES, RULES, rows
from jlabel.weak_supervision import (
    EndClassifier,
    FactorGraph,
    LabelModel,
    WeakSupervisionError,
    apply_rules,
    compress,
    fit_latent_class,
    predict_probs,
    sample_votes,
)
from jlabel.weak_supervision.scores import METRICS

METHODS = ("latent_class", "matrix_completion", "factor_graph")
GRAPH = FactorGraph(np.array([1.2, 0.9, 0.7, 0.4]), np.array([0.5, 0.0, -0.5, -4.0]))


@pytest.fixture(scope="module")
def world():
    """Four rules, the last of which votes on 4 % of the rows; seven of the 3,000 rows get no vote."""
    return sample_votes(GRAPH, 3000, key=jax.random.key(3))


def quiet(model, votes, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(votes, **options)


# -- as in Snorkel


def test_the_road_from_snorkel(world):
    votes, labels = world
    label_model = LabelModel(cardinality=2)
    with pytest.warns(UserWarning, match="n_epochs, log_freq, seed: not needed, the fit ends when it is done"):
        label_model.fit(L_train=votes, n_epochs=500, log_freq=100, seed=123)
    said, probs = label_model.predict(votes, return_probs=True, tie_break_policy="abstain")
    assert (said.shape, probs.shape) == ((3000,), (3000, 2))
    found = label_model.score(L=votes, Y=labels, tie_break_policy="random", metrics=["accuracy", "f1"])
    assert list(found) == ["accuracy", "f1"]
    assert found["accuracy"] > 0.8


def test_an_unknown_argument_is_an_error(world):
    with pytest.raises(TypeError, match="unexpected keyword argument 'epochs'"):
        LabelModel().fit(world[0], epochs=500)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_the_accuracies_of_rules(world, method):
    votes, labels = world
    model = LabelModel(method=method, **{"prior_strength": 0.01} if method == "latent_class" else {}).fit(votes)
    true = [np.mean(labels[votes[:, j] >= 0] == votes[votes[:, j] >= 0, j]) for j in range(4)]
    np.testing.assert_allclose(model.get_weights()[:3], true[:3], atol=0.06)
    assert 0.5 < model.get_weights()[3] < 0.9


def test_a_rule_that_seldom_votes_counts(world):
    model = LabelModel().fit(world[0])
    with_it, without = model.predict_proba([[-1, -1, 0, 1], [-1, -1, 0, -1]])[:, 1]
    assert with_it > without + 0.05


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_never_nan(method):
    """Dead, constant and equal rules, rows without votes: what gave NaN for years."""
    votes = [[-1, 1, 1, 0], [-1, 1, 0, 0], [-1, 1, 0, 0], [-1, 1, 1, 0], [-1, -1, -1, -1]] * 8
    model = quiet(LabelModel(method=method), votes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probs = model.predict_proba([*votes, [0, 0, 0, 1], [1, -1, -1, 1]])
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1)
    assert model.get_weights()[0] == 0
    assert np.isfinite(model.get_weights()).all()


def test_dead_rules_are_named():
    with pytest.warns(UserWarning, match=r"rules \[1\] never vote: their weight is 0"):
        LabelModel().fit([[1, -1, 1, 0], [0, -1, 0, 0], [1, -1, 0, 1], [0, -1, 1, 1], [1, -1, 1, 1]] * 4)


def test_undecided_rows_are_told(world):
    model = LabelModel(method="factor_graph").fit(world[0])
    with pytest.warns(UserWarning, match="2 of 3 rows are undecided: their best classes are equally likely"):
        probs = model.predict_proba([[-1, -1, -1, -1], [1, 1, 1, 1], [-1, -1, -1, -1]])
    np.testing.assert_allclose(probs[[0, 2]], 0.5)


def test_too_few_groups_are_told():
    drawn = rows("test")
    x1, x2 = drawn["features"].T
    votes = apply_rules(RULES, {"x1": x1, "x2": x2})
    model = LabelModel(method="matrix_completion", cliques=CLIQUES)
    with pytest.warns(UserWarning, match="only 2 independent groups of rules: the votes alone do not determine"):
        model.fit(votes)
    assert any("2 groups" in line for line in model.identifiability()["warnings"])
    model.fit(votes, expert_rows=[0, 1], expert_labels=drawn["label"][:2])  # answers do: no warning


def test_rows_keep_their_order_and_names(world):
    votes, _ = world
    frame = pd.DataFrame(votes, columns=["a", "b", "c", "d"]).sample(frac=1, random_state=0)
    model = LabelModel().fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame["spam"] = model.predict_proba(frame)[:, 1]
    np.testing.assert_array_equal(frame.sort_index()["spam"], predict_probs(model.model_, votes)[:, 1])


def test_ties(world):
    model = LabelModel(method="factor_graph").fit(world[0])
    tied = np.full((40, 4), -1)
    votes = np.concatenate([tied, [[1, 1, 1, 1]]])
    np.testing.assert_array_equal(model.predict(votes), [-1] * 40 + [1])
    steady = model.predict(votes, tie_break_policy="random")
    assert set(steady[:40]) in ({0}, {1})  # a row's own votes decide, not its place
    lots = model.predict(votes, tie_break_policy="true-random")
    assert set(lots[:40]) == {0, 1}
    np.testing.assert_array_equal(model.predict(votes, tie_break_policy="true-random"), lots)
    with pytest.raises(WeakSupervisionError, match="tie_break_policy is 'coin'; allowed: abstain, random, true-random"):
        model.predict(votes, tie_break_policy="coin")


def test_scores_by_hand(world):
    model = LabelModel(method="factor_graph").fit(world[0])
    votes, labels = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [-1] * 4, [1, 1, 1, 1]], [1, 0, 0, 1, -1]
    with pytest.warns(UserWarning, match="1 of 4 rows have no prediction and are left out of the scores"):
        found = model.score(votes, labels, metrics=["accuracy", "coverage", "precision", "recall", "f1"])
    assert found == pytest.approx({"accuracy": 2 / 3, "coverage": 0.75, "precision": 0.5, "recall": 1.0, "f1": 2 / 3})
    all_metrics = model.score(votes[:3], labels[:3], metrics=METRICS)
    assert set(all_metrics) == set(METRICS)
    assert all(np.isfinite(list(all_metrics.values())))
    assert model.score(votes[:2], labels[:2], metrics="accuracy") == {"accuracy": 1.0}


def test_more_than_two_classes():
    truth = np.random.default_rng(0).integers(0, 3, 900)
    noise = np.random.default_rng(1).random((900, 4)) < [0.1, 0.2, 0.3, 0.3]
    votes = np.where(noise, (truth[:, None] + 1) % 3, truth[:, None])
    for method in ("latent_class", "matrix_completion"):
        model = LabelModel(cardinality=3, method=method).fit(votes)
        assert model.score(votes, truth, metrics=["accuracy", "f1_macro"])["accuracy"] > 0.9
    with pytest.raises(WeakSupervisionError, match="metrics: f1 is for two classes; take f1_macro"):
        model.score(votes, truth, metrics=["f1"])


def test_balance(world):
    votes, _ = world
    given = LabelModel().fit(votes, class_balance=[0.9, 0.1]).model_
    np.testing.assert_allclose(np.exp(given.log_balance), [0.9, 0.1])
    dev = LabelModel().fit(votes, Y_dev=[1, 0, 0, 0, -1]).model_
    np.testing.assert_allclose(np.exp(dev.log_balance), [0.75, 0.25])
    lacking = LabelModel().fit(votes, [1, 1, 1]).model_  # class 0 may still occur
    np.testing.assert_allclose(np.exp(lacking.log_balance), [0.25, 0.75])
    assert LabelModel(method="factor_graph").fit(votes, class_balance=[0.9, 0.1]).model_.balance == pytest.approx(0.1)


# -- as in scikit-learn


def test_parameters():
    model = LabelModel(cardinality=3, prior_strength=5.0, cliques=((0, 1),))
    assert model.get_params() == {
        "cardinality": 3, "method": "latent_class", "random_state": 0, "prior_strength": 5.0, "cliques": ((0, 1),),
    }  # fmt: skip
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    twin.set_params(prior_strength=2.0, random_state=1, starts=2)
    assert twin.hyper == {"prior_strength": 2.0, "cliques": ((0, 1),), "starts": 2}
    assert model.hyper["prior_strength"] == 5.0
    assert "prior_strength=5.0" in repr(model)


def test_pickle_and_clone(world):
    votes, _ = world
    model = quiet(LabelModel(starts=2), votes, expert_rows=[0], expert_labels=[1])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(predict_probs(again.model_, votes), predict_probs(model.model_, votes))
    with pytest.raises(NotFittedError, match="has seen no votes: call fit or partial_fit first"):
        clone(model).predict(votes)


def test_search_over_settings(world):
    votes, labels = world
    search = GridSearchCV(LabelModel(starts=1), {"prior_strength": [0.1, 10.0]}, scoring="accuracy", cv=2)
    search.fit(votes, labels)
    assert search.best_score_ > 0.8
    assert len(cross_val_score(LabelModel(starts=1), votes, labels, scoring="accuracy", cv=2)) == 2


def test_fitted_attributes(world):
    model = LabelModel().fit(world[0])
    assert model.n_features_in_ == 4
    assert model.classes_.tolist() == [0, 1]
    assert model.buckets_.counts.sum() == 3000


def test_fit_forgets_what_was_seen_before(world):
    votes, _ = world
    once = LabelModel().fit(votes[:500])
    twice = LabelModel().fit(votes, class_balance=[0.9, 0.1]).fit(votes[:500])
    np.testing.assert_array_equal(predict_probs(once.model_, votes), predict_probs(twice.model_, votes))


# -- in chunks


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(5)), st.lists(st.integers(1, 2999), min_size=4, max_size=4, unique=True))
def test_chunks_in_any_order_give_the_same_bits(order, cuts):
    votes, labels = sample_votes(GRAPH, 3000, key=jax.random.key(3))
    whole = quiet(LabelModel(starts=2), votes, expert_rows=range(40), expert_labels=labels[:40])
    bounds = [0, *sorted(cuts), 3000]
    parts = LabelModel(starts=2)
    for part in order:
        low, high = bounds[part], bounds[part + 1]
        known = range(low, min(high, 40))
        parts.partial_fit(votes[low:high], expert_rows=[k - low for k in known], expert_labels=labels[list(known)])
    found = predict_probs(parts.model_, votes)
    np.testing.assert_array_equal(found, predict_probs(whole.model_, votes))
    np.testing.assert_array_equal(parts.get_weights(), whole.get_weights())


@pytest.mark.parametrize("method", METHODS)
def test_chunks_of_every_method_and_kind(world, method):
    votes, labels = world
    answers = {"expert_rows": [5], "expert_labels": [labels[5]]}
    whole = quiet(LabelModel(method=method), votes, **answers)
    parts = LabelModel(method=method)
    parts.partial_fit(compress(votes[2000:])._replace(inverse=None)).partial_fit(votes[:1000], **answers)
    parts.partial_fit(compress(votes[1000:2000]))
    np.testing.assert_array_equal(predict_probs(parts.model_, votes), predict_probs(whole.model_, votes))


def test_sparse_votes_are_the_same(world):
    votes, _ = world
    stored = sparse.csr_array(votes + 1)
    dense, thin = LabelModel().fit(votes), LabelModel().fit(stored)
    assert sparse.issparse(thin.buckets_.rows)
    np.testing.assert_allclose(predict_probs(thin.model_, stored), predict_probs(dense.model_, votes), atol=1e-12)
    np.testing.assert_array_equal(thin.predict(stored), dense.predict(votes))
    answered = LabelModel().fit(stored, expert_rows=[3], expert_labels=[1])
    other = LabelModel().fit(votes, expert_rows=[3], expert_labels=[1])
    np.testing.assert_allclose(predict_probs(answered.model_, votes), predict_probs(other.model_, votes), atol=1e-9)


def test_answers_in_a_vote_of_zeros():
    """Rows are told apart by bytes, of which zeros must not get lost."""
    votes = np.array([[0, -1, -1], [0, 0, -1], [-1, -1, -1], [1, 1, 0], [0, 0, 0]] * 6)
    answers = {"expert_rows": [0, 1, 4], "expert_labels": [1, 1, 0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LabelModel(starts=1).fit(votes, **answers)
        other = fit_latent_class(votes, num_classes=2, starts=1, key=jax.random.key(0), **answers)
    np.testing.assert_allclose(predict_probs(model.model_, votes), predict_probs(other, votes), atol=1e-12)


# -- bad input


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"cardinality": 1}, {}, "num_classes must be 2 to 127, got 1"),
        ({"method": "majority"}, {}, "method is 'majority'; allowed: latent_class, matrix_completion, factor_graph"),
        ({"cardinality": 3, "method": "factor_graph"}, {}, "the factor graph knows two classes, not 3"),
        ({"speed": 2}, {}, "speed is no setting of latent_class"),
        ({}, {"class_balance": [0.5, 0.2, 0.3]}, "balance must have one share for each of 2 classes"),
        ({}, {"Y_dev": [-1, -1]}, "Y_dev holds no class: leave it out, or give class_balance"),
        ({}, {"Y_dev": [0, 2]}, r"Y_dev\[1\] is 2"),
        ({}, {"expert_rows": [9], "expert_labels": [0]}, r"expert_rows\[0\] is 9; allowed: 0 to 3"),
        ({}, {"expert_rows": [0]}, "expert_rows and expert_labels go together"),
        ({}, {"L_train": [[0, 3]]}, r"votes\[0, 1\] is 3 \(row 0, rule 1\); allowed: -1 to 1"),
        ({}, {"L_train": [[0, np.nan]]}, r"votes\[0, 1\] is nan"),
    ],
)
def test_bad_fits(options, arguments, message):
    votes = {"L_train": [[0, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]]}
    with pytest.raises(InputError, match=message):
        LabelModel(**options).fit(**votes | arguments)


def test_bad_use(world):
    votes, labels = world
    model = LabelModel().fit(votes)
    with pytest.raises(WeakSupervisionError, match="votes has 2 rules, the model was fitted to 4"):
        model.predict([[0, 1]])
    with pytest.raises(WeakSupervisionError, match="metrics: 'auc' is none of accuracy, "):
        model.score(votes, labels, metrics=["auc"])
    with pytest.raises(WeakSupervisionError, match="Y has 1 entries for 3000 rows of votes"):
        model.score(votes, labels[:1])
    with pytest.raises(WeakSupervisionError, match="no row has both a true class and a prediction"):
        model.score(votes[:1], [-1])
    with pytest.raises(WeakSupervisionError, match=r"buckets to merge must be of the same rules"):
        model.partial_fit([[0, 1]])


# -- the end model


def soft(x):
    positive = 1 / (1 + np.exp(-6 * (x[:, 0] * x[:, 1])))
    return np.stack([1 - positive, positive], axis=1)


@pytest.fixture(scope="module")
def plane():
    x = np.random.default_rng(0).normal(size=(1500, 2))
    return x, soft(x)


def test_end_classifier_learns_from_probabilities(plane):
    x, probs = plane
    model = EndClassifier(hidden=(32, 32)).fit(x, probs)
    fresh = np.random.default_rng(1).normal(size=(1000, 2))
    said = model.predict_proba(fresh)
    np.testing.assert_allclose(said.sum(1), 1)
    assert np.abs(said - soft(fresh)).mean() < 0.08
    assert model.score(fresh, soft(fresh).argmax(1)) > 0.9
    assert 5 < model.n_iter_ <= 100
    line = EndClassifier(hidden=()).fit(x, probs)
    assert line.score(fresh, soft(fresh).argmax(1)) < 0.6  # no line separates them


def test_end_classifier_takes_labels_and_their_names():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = make_pipeline(StandardScaler(), EndClassifier(hidden=(16,), batch_size=32, patience=20)).fit(x, names)
    assert model.score(x, names) > 0.93
    again = clone(model).fit(x, names)
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))


def test_early_stopping_keeps_the_best(plane):
    x, probs = plane
    noise = np.random.default_rng(2).random((len(x), 1))
    model = EndClassifier(hidden=(64, 64), learning_rate=0.03).fit(x, np.concatenate([noise, 1 - noise], axis=1))
    assert model.n_iter_ < 40  # there is nothing to learn
    assert np.abs(model.predict_proba(x) - 0.5).mean() < 0.1


def test_expert_answers_override(plane):
    x, probs = plane
    flat = np.full_like(probs, 0.5)
    known = np.arange(len(x))
    model = EndClassifier().fit(x, flat, expert_rows=known, expert_labels=probs.argmax(1))
    assert model.score(x, probs.argmax(1)) > 0.9
    assert (flat == 0.5).all()  # what was given stays as it is


def test_sparse_features(plane):
    x, probs = plane
    dense = EndClassifier(hidden=(8,), epochs=3).fit(sparse.csr_array(x), probs)
    np.testing.assert_allclose(dense.predict_proba(sparse.csr_array(x)), dense.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"y": [[0.5, 0.6]] * 4}, r"y\[0\] is \[0.5, 0.6\]; class probabilities are 0 or more and sum to 1"),
        ({}, {"y": [[np.nan, 0.5]] * 4}, r"y\[0\] is \[nan, 0.5\]"),
        ({}, {"y": [0, 1]}, "y has 2 entries for 4 rows of X"),
        ({}, {"y": [1, 1, 1, 1]}, "y holds one class only, 1: give two or more"),
        ({}, {"expert_rows": [4], "expert_labels": [0]}, r"expert_rows\[0\] is 4; allowed: 0 to 3"),
        ({}, {"expert_rows": [0], "expert_labels": [7]}, r"expert_labels\[0\] is 7, none of \[0, 1\]"),
        ({}, {"expert_rows": [0]}, "expert_rows and expert_labels go together"),
        ({"epochs": 0}, {}, "epochs"),
        ({"hidden": (0,)}, {}, "hidden"),
        ({"validation_fraction": 1.0}, {}, "validation_fraction is 1.0; give a share above 0, below 1"),
        ({"weight_decay": -1}, {}, "weight_decay is -1; give a number of 0 or more"),
        ({}, {"X": [[1.0]], "y": [[0.5, 0.5]]}, "X has 1 row: training and early stopping need two or more"),
    ],
)
def test_bad_end_models(options, arguments, message):
    data = {"X": [[0.0], [1.0], [2.0], [3.0]], "y": [0, 0, 1, 1]} | arguments
    with pytest.raises(InputError, match=message):
        EndClassifier(**options).fit(data.pop("X"), data.pop("y"), **data)


def test_bad_features(plane):
    x, probs = plane
    with pytest.raises(ValueError, match="contains NaN"):
        EndClassifier().fit(np.where(x > 2, np.nan, x), probs)
    model = EndClassifier(hidden=(), epochs=1).fit(x, probs)
    with pytest.raises(ValueError, match="X has 1 features, but EndClassifier is expecting 2"):
        model.predict(x[:, :1])
