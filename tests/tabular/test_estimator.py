import pickle

import jax
import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from jlabel.tabular import (
    ColumnTypes,
    TabTransformerClassifier,
    TabTransformerRegressor,
    TabularError,
    attention_importance,
    contextual_embeddings,
    encode,
    infer_columns,
    pretrain,
)
from jlabel.tabular.supervised import _apply
from jlabel.tabular.train import _predict, _segment
from tests.tabular.tables import FIT, PRETRAINING, labels, table


@pytest.fixture(scope="module")
def fitted():
    frame = table()
    return TabTransformerClassifier(**FIT).fit(frame, labels(frame))


def programs():
    return _segment._cache_size(), _predict._cache_size(), _apply._cache_size()


# --------------------------------------------------------------------------------------- the contract of scikit-learn

CHECKED = FIT | {"steps": 100, "max_hidden": 32}


@pytest.mark.slow
@parametrize_with_checks(
    [
        TabTransformerClassifier(**CHECKED),
        TabTransformerRegressor(**CHECKED),
        TabTransformerClassifier(**CHECKED, bins=8),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# --------------------------------------------------------------------------------------------- fitting and predicting


def test_it_predicts_and_says_what_it_saw(fitted):
    frame = table()
    probs = fitted.predict_proba(frame)
    assert probs.shape == (90, 2)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-12)
    assert roc_auc_score(labels(frame) == "yes", probs[:, 1]) > 0.9
    assert fitted.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(fitted.predict(frame), fitted.classes_[probs.argmax(1)])
    assert fitted.score(frame, labels(frame)) > 0.8
    assert fitted.feature_names_in_.tolist() == ["city", "river", "age", "size"]
    assert fitted.n_features_in_ == 4
    assert 0 < fitted.best_step_ <= 100
    assert len(fitted.scores_) == 2
    embeddings = fitted.transform(frame)
    assert embeddings.shape == (90, 8)
    np.testing.assert_allclose(embeddings, contextual_embeddings(fitted, frame).mean(1), atol=1e-6)
    assert fitted.get_feature_names_out()[0] == "tabtransformerclassifier0"


def test_the_seed_decides_and_the_second_fit_compiles_nothing(fitted):
    frame = table()
    sizes = programs()
    again = clone(fitted).fit(frame, labels(frame))
    np.testing.assert_array_equal(again.predict_proba(frame), fitted.predict_proba(frame))
    np.testing.assert_array_equal(again.scores_, fitted.scores_)
    refitted = again.fit(frame, labels(frame))  # nothing of the first is left
    np.testing.assert_array_equal(refitted.predict_proba(frame), fitted.predict_proba(frame))
    # Other seeds, rates, steps and labels are the same program.
    other = clone(fitted).set_params(random_state=np.random.RandomState(3), steps=70, learning_rate=3e-3, patience=1)
    other.fit(frame, np.where(np.arange(90) % 2, -1, 5))
    assert other.classes_.tolist() == [-1, 5]  # -1 is a class like others
    assert (other.predict_proba(frame) != fitted.predict_proba(frame)).any()
    assert programs() == sizes


def test_pickle_and_joblib_keep_everything(fitted, tmp_path):
    frame = table(20, 1)
    joblib.dump(fitted, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict_proba(frame), fitted.predict_proba(frame))
        assert again.get_params() == fitted.get_params()


def test_a_row_alone_and_cells_that_fitting_did_not_see(fitted):
    frame = table()
    whole = fitted.predict_proba(frame)
    np.testing.assert_array_equal(fitted.predict_proba(frame.iloc[[13]]), whole[[13]])
    new = frame.iloc[[0, 0, 1, 1]].reset_index(drop=True)
    new.loc[0, "river"], new.loc[1, "river"] = "Nile", None
    new.loc[2, "age"] = np.nan
    new.loc[3, "size"] = np.nan
    probs = fitted.predict_proba(new)
    assert probs[0].tobytes() == probs[1].tobytes()
    assert np.isfinite(probs).all()
    assert (probs[2] != whole[1]).all()  # the indicator counts
    with pytest.warns(UserWarning, match=r"values that fitting did not see count as missing: 'city' \(90 of 90\)"):
        fitted.predict(frame.assign(city="Paris"))


def test_pipelines_around(fitted):
    frame = table()
    pipe = make_pipeline(FunctionTransformer(lambda x: x.assign(size=2 * x["size"])), clone(fitted))
    pipe.fit(frame.assign(size=frame["size"] / 2), labels(frame))
    np.testing.assert_array_equal(pipe.predict(frame.assign(size=frame["size"] / 2)), fitted.predict(frame))
    named = fitted.set_output(transform="pandas").transform(frame)
    fitted.set_output(transform="default")
    assert named.columns[0] == "tabtransformerclassifier0"
    assert set(fitted.get_params()) >= {"columns", "objective", "pretrained", "validation_fraction", "patience"}


def test_what_it_relied_on(fitted):
    frame = table()
    assert attention_importance(fitted, frame).sum() == pytest.approx(1)
    found = permutation_importance(fitted, frame, labels(frame), n_repeats=2, random_state=0)
    worth = pd.Series(found.importances_mean, frame.columns)
    assert worth["size"] > worth["age"]


@pytest.mark.slow
def test_with_pre_training_and_unlabelled_rows():
    frame, more = table(), table(200, 1)
    options = FIT | {"pretraining_steps": 100}
    model = TabTransformerClassifier(**options, objective="rtd").fit(frame[:40], labels(frame[:40]), unlabelled=more)
    assert model.encoder_.cardinalities == (3, 3)
    everything = pd.concat([frame[:40], more], ignore_index=True)
    assert model.encoder_.medians[0] == everything["age"].median()
    assert roc_auc_score(labels(frame[40:]), model.predict_proba(frame[40:])[:, 1]) > 0.75
    # Gaps that only the unlabelled rows have make columns of gaps, and categories count that only they have.
    seen = TabTransformerClassifier(**options).fit(
        frame[:40].dropna(),
        labels(frame[:40].dropna()),
        unlabelled=more.assign(city=more["city"].replace("Ulm", "Rom")),
    )
    assert seen.encoder_.gaps.tolist() == [True, False]
    assert seen.encoder_.cardinalities == (4, 3)
    empty = more.assign(age=np.nan, river=None)
    assert TabTransformerClassifier(**options).fit(frame, labels(frame), unlabelled=empty).encoder_.cardinalities == (
        3,
        3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("extra", [{"entropy_weight": 0.5}, {"pseudo_labels": True}])
def test_entropy_and_pseudo_labels_make_it_surer(extra):
    frame, more = table(40), table(300, 1)
    options = FIT | {"validation_fraction": 0.0, "steps": 200}
    pretrained = pretrain(more, **PRETRAINING, key=jax.random.key(0))
    plain = TabTransformerClassifier(**options, pretrained=pretrained).fit(frame, labels(frame))
    model = clone(plain).set_params(**extra).fit(frame, labels(frame), unlabelled=more)

    def entropy(fitted):
        probs = np.clip(fitted.predict_proba(more), 1e-12, 1)
        return -(probs * np.log(probs)).sum(1).mean()

    assert entropy(model) < entropy(plain)
    assert roc_auc_score(labels(more), model.predict_proba(more)[:, 1]) > 0.8


@pytest.mark.slow
def test_grid_search_and_cross_validation():
    frame = table(120)
    model = TabTransformerClassifier(**FIT | {"steps": 50})
    sizes = programs()
    scores = cross_val_score(model, frame, labels(frame), cv=3, scoring="roc_auc")
    assert (scores > 0.6).all()
    after = programs()
    # Folds of one size share their programs, whatever the rate.
    assert max(after[k] - sizes[k] for k in range(3)) <= 2
    search = GridSearchCV(model, {"learning_rate": [1e-4, 1e-2], "random_state": [0, 1]}, cv=3, scoring="roc_auc")
    search.fit(frame, labels(frame))
    assert search.best_params_["learning_rate"] == 1e-2
    assert programs()[1] - after[1] <= 1  # the refit has more rows
    assert search.predict(frame).shape == (120,)


@pytest.mark.slow
def test_regression():
    frame = table(300)
    y = 100 + 7 * (frame["city"] == "Ulm") + 3 * frame["size"]
    model = TabTransformerRegressor(**FIT | {"steps": 300}).fit(frame[:200], y[:200])
    assert model.score(frame[200:], y[200:]) > 0.8
    assert model.predict(frame).shape == (300,)
    assert model.predict(frame).dtype == np.float64
    np.testing.assert_allclose(model.center_, y[:200].mean())
    assert model.transform(frame).shape == (300, 8)
    constant = TabTransformerRegressor(**FIT | {"steps": 5}).fit(frame[:200], np.full(200, 3.0))
    np.testing.assert_allclose(constant.predict(frame), 3.0, atol=1.0)
    assert "entropy_weight" not in model.get_params()


@pytest.mark.slow
def test_many_classes_and_rare_ones():
    frame = table()
    y = frame["city"].to_numpy(object)
    y[0] = "Rom"  # one row only: it trains, and is not held out
    model = TabTransformerClassifier(**FIT).fit(frame, y)
    assert model.classes_.tolist() == ["Bonn", "Rom", "Trier", "Ulm"]
    assert model.predict_proba(frame).shape == (90, 4)
    assert model.score(frame, y) > 0.9
    few = TabTransformerClassifier(**FIT | {"steps": 5}).fit(frame[:3], ["a", "b", "c"])
    assert few.scores_.size == 0  # nothing to hold out
    assert few.best_step_ == 5


@pytest.mark.slow
def test_tables_without_one_kind_of_column():
    frame = table()
    categories = TabTransformerClassifier(**FIT | {"objective": "mlm", "pretraining_steps": 50})
    categories.fit(frame[["city", "river"]], labels(frame))
    assert categories.encoder_.num_values == 0
    assert categories.predict(frame[["city", "river"]]).shape == (90,)
    numbers = TabTransformerClassifier(**FIT | {"steps": 200}).fit(frame[["age", "size"]], labels(frame))
    assert set(numbers.params_["params"]) == {"dense_0", "dense_1", "dense_2"}  # an MLP
    assert numbers.predict(frame[["age", "size"]]).shape == (90,)
    np.testing.assert_array_equal(
        numbers.transform(frame[["age", "size"]]), encode(numbers.encoder_, frame[["age", "size"]]).values
    )
    tokens = clone(numbers).set_params(bins=4).fit(frame[["age", "size"]], labels(frame))
    assert tokens.transform(frame[["age", "size"]]).shape == (90, 8)
    assert contextual_embeddings(tokens, frame[["age", "size"]]).shape == (90, 3, 8)
    layerless = TabTransformerClassifier(**FIT | {"num_layers": 0}).fit(frame, labels(frame))
    assert set(layerless.params_["params"]) == {"embedding", "dense_0", "dense_1", "dense_2"}


@pytest.mark.slow
def test_arrays_lists_and_other_names():
    frame = table()
    values = frame.to_numpy(object)
    model = TabTransformerClassifier(**FIT).fit(values, labels(frame))
    assert not hasattr(model, "feature_names_in_")
    expected = model.predict_proba(values)
    np.testing.assert_array_equal(model.predict_proba(frame.set_axis(range(4), axis=1)), expected)
    with pytest.warns(UserWarning, match="X has feature names, but TabTransformerClassifier was fitted without"):
        np.testing.assert_array_equal(model.predict_proba(frame), expected)
    named = TabTransformerClassifier(**FIT).fit(frame, labels(frame))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        mixed = clone(named).fit(frame, labels(frame), unlabelled=table(30, 2).to_numpy(object))
    assert mixed.encoder_.names == tuple(frame.columns)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        np.testing.assert_array_equal(named.predict_proba(values), named.predict_proba(frame))
    types = infer_columns(frame)
    given = TabTransformerClassifier(**FIT, columns=ColumnTypes(types.categorical, ("age",), ("size",)))
    given.fit(frame, labels(frame))
    assert given.encoder_.columns.dropped == ("size",)
    probs = given.predict_proba(frame)
    np.testing.assert_array_equal(probs, given.predict_proba(frame.assign(size=0.0)))
    table_ = encode(given.encoder_, frame)
    logits = given.network_.apply(given.params_, table_.codes, table_.values)
    np.testing.assert_allclose(softmax(logits, 1), probs, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="river"), "Feature names seen at fit time, yet now missing:\n- river"),
        (lambda f: f.assign(sea="no"), "Feature names unseen at fit time:\n- sea"),
        (lambda f: f[["river", "city", "age", "size"]], "Feature names must be in the same order as they were in fit"),
        (lambda f: f.assign(size=[0.0, np.inf, 1.0]), r"column 'size', row 1 \(index 1\): inf is not finite"),
        (lambda f: f.set_axis(["a", "a", "b", "c"], axis=1), "X: column name 'a' stands there more than once"),
        (lambda f: f[:0], "X has no rows"),
        (lambda f: f.to_numpy(object)[:, :3], "X has 3 features, but TabTransformerClassifier is expecting 4 features"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_tables_that_cannot_be_predicted(fitted, change, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict_proba(change(table()[:3]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["yes"] * 90}, r"y holds one class only, \['yes'\]: give labels of two or more"),
        (
            {"y": ["yes"] * 9 + [None] + ["no"] * 80},
            r"y\[9\] is missing: leave such rows out, or give their X as unlabelled",
        ),
        ({"y": [0.0] * 45 + [np.nan] * 45}, r"y\[45\] is missing"),
        ({"y": np.linspace(0, 1, 90)}, "Unknown label type: continuous"),
        ({"y": labels(table())[:-1]}, "X has 90 rows, y 89: give one target for each row"),
        ({"unlabelled": table().drop(columns="age")}, "Feature names seen at fit time, yet now missing:\n- age"),
        ({"unlabelled": table().assign(size=-np.inf)}, r"column 'size', row 90 \(index 90\): -inf is not finite"),
        ({"X": table().assign(city="Ulm", river=None, age=1, size=2)}, "the frame has no column that varies"),
        (
            {"X": table().assign(age=[f"{k} years" for k in range(90)])},
            "column 'age' has 90 different texts in 90 rows",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:column 'river' has no values")
def test_rows_that_cannot_be(change, message):
    frame = table()
    with pytest.raises(ValueError, match=message):
        TabTransformerClassifier(**FIT).fit(**({"X": frame, "y": labels(frame)} | change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "bert"}, "objective is 'bert'; allowed: None, 'mlm', 'rtd'"),
        ({"pretrained": "file"}, "pretrained is a str; give what pretrain returns"),
        ({"columns": "guess"}, "columns is 'guess'; give 'infer' or ColumnTypes"),
        ({"embedding_size": 9}, "embedding_size 9 is no multiple of num_heads 2; change one"),
        ({"steps": 0}, "steps is 0; allowed: whole numbers from 1"),
        ({"patience": 0}, "patience is 0; allowed: whole numbers from 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; allowed: above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0; allowed: from 0 to 0.9"),
        ({"entropy_weight": -1.0}, "entropy_weight is -1.0; allowed: from 0"),
        ({"pseudo_labels": 3}, "pseudo_labels is 3; allowed: False, True"),
        ({"scaling": "log"}, "scaling is 'log'; allowed: 'standard', 'quantile'"),
        ({"norm": "batch"}, "norm is 'batch'; allowed: 'post', 'pre'"),
    ],
)
def test_options_that_cannot_be(options, message):
    frame = table()
    with pytest.raises(TabularError, match=message):
        TabTransformerClassifier(**FIT | options).fit(frame, labels(frame))


def test_objective_without_categories_and_an_empty_column():
    frame = table()
    with pytest.raises(
        TabularError, match="objective='mlm' learns from category columns, and the table has none: leave"
    ):
        TabTransformerClassifier(**FIT, objective="mlm").fit(frame[["age", "size"]], labels(frame))
    with (
        pytest.raises(TabularError, match="the frame has no column that varies"),
        pytest.warns(UserWarning, match="column 'age' has no values: dropped"),
    ):
        TabTransformerClassifier(**FIT).fit(frame[["age"]].assign(age=np.nan), labels(frame))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        TabTransformerRegressor(**FIT).fit(frame, [np.nan] + [1.0] * 89)


def test_predicting_before_fitting():
    for model in (TabTransformerClassifier(), TabTransformerRegressor()):
        with pytest.raises(NotFittedError):
            model.predict(table())
        with pytest.raises(NotFittedError):
            model.transform(table())


def test_semi_supervised_options_need_unlabelled_rows():
    frame = table()
    for extra in ({"entropy_weight": 1.0}, {"pseudo_labels": True}):
        with pytest.raises(
            TabularError, match="entropy_weight and pseudo_labels learn from unlabelled rows; give fit un"
        ):
            TabTransformerClassifier(**FIT, **extra).fit(frame, labels(frame))


@pytest.mark.slow
def test_pre_trainings_that_do_not_fit():
    frame = table()
    pretrained = pretrain(frame, **PRETRAINING, key=jax.random.key(0))
    with pytest.raises(TabularError, match="objective is 'rtd', pretrained was made with 'mlm'"):
        TabTransformerClassifier(**FIT, objective="rtd", pretrained=pretrained).fit(frame, labels(frame))
    with pytest.raises(TabularError, match="frame lacks column 'sea'|has the unknown column 'sea'"):
        TabTransformerClassifier(**FIT, pretrained=pretrained).fit(frame.assign(sea="no"), labels(frame))
