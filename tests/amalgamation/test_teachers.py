"""Teachers of any kind: chains, scikit-learn's classifiers in all their shapes, given probabilities."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from jlabel.amalgamation import PROB_FLOOR, AmalgamationError, Teacher, as_teacher, as_teachers
from tests.amalgamation.scripted import draw_linear, output, scripted

NAMES = ("cat", "dog", "cow")


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(80, 3))
    y = (x + 0.3 * generator.normal(size=x.shape) > 0).astype(int)
    return x, y


def probs_of(teacher, rows):
    return 1 / (1 + np.exp(-teacher.logits(rows).astype(np.float64)))


def clip(probs):
    return np.clip(probs, PROB_FLOOR, 1 - PROB_FLOOR)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(max_depth=3),
        KNeighborsClassifier(),
        MultiOutputClassifier(GaussianNB()),
        make_pipeline(StandardScaler(), MultiOutputClassifier(GaussianNB())),
    ],
    ids=lambda model: type(model).__name__,
)
def test_one_array_a_label(data, model):
    x, y = data
    model.fit(x, y)
    expected = np.stack([column[:, 1] for column in model.predict_proba(x)], axis=1)
    teacher = as_teacher(model, label_names=NAMES, name="east")
    assert teacher.label_names == NAMES
    assert not teacher.revisable
    assert teacher.logits(x).dtype == np.float32
    np.testing.assert_allclose(probs_of(teacher, x), clip(expected), atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        OneVsRestClassifier(GaussianNB()),
        ClassifierChain(GaussianNB()),
        make_pipeline(OneVsRestClassifier(GaussianNB())),
    ],
    ids=["one-vs-rest", "chain", "pipeline"],
)
def test_one_column_a_label(data, model):
    x, y = data
    model.fit(x, y)
    teacher = as_teacher(model, label_names=NAMES)
    np.testing.assert_allclose(probs_of(teacher, x), clip(model.predict_proba(x)), atol=1e-6)


@pytest.mark.parametrize("model", [RandomForestClassifier(3), KNeighborsClassifier(3), DecisionTreeClassifier()])
def test_a_label_that_was_constant_in_training(data, model):
    x, y = data
    y = np.stack([y[:, 0], np.zeros(len(y), int), np.ones(len(y), int)], axis=1)
    teacher = as_teacher(model.fit(x, y), label_names=NAMES)
    probs = probs_of(teacher, x)
    np.testing.assert_allclose(probs[:, 1:], np.broadcast_to([PROB_FLOOR, 1 - PROB_FLOOR], (len(x), 2)), atol=1e-6)
    assert np.isfinite(teacher.logits(x)).all()


def test_a_classifier_of_one_label(data):
    x, y = data
    model = GaussianNB().fit(x, y[:, 1])
    np.testing.assert_allclose(
        probs_of(as_teacher(model, label_names=["dog"]), x)[:, 0], clip(model.predict_proba(x)[:, 1]), atol=1e-6
    )
    constant = DummyClassifier().fit(x, np.zeros(len(x), int))
    np.testing.assert_allclose(probs_of(as_teacher(constant, label_names=["dog"]), x), PROB_FLOOR, atol=1e-6)
    truth = GaussianNB().fit(x, y[:, 1].astype(bool))
    np.testing.assert_array_equal(
        as_teacher(truth, label_names=["dog"]).logits(x), as_teacher(model, label_names=["dog"]).logits(x)
    )


def test_classes_that_are_text_are_labels(data):
    x, y = data
    model = GaussianNB().fit(x, np.array(NAMES)[y.argmax(axis=1)])
    teacher = as_teacher(model)
    assert teacher.label_names == ("cat", "cow", "dog")
    some = as_teacher(model, label_names=["dog", "cat"])
    np.testing.assert_array_equal(some.logits(x), teacher.logits(x)[:, [2, 0]])
    renamed = as_teacher(model, label_names=["Katze", "Kuh", "Hund"])
    np.testing.assert_array_equal(renamed.logits(x), teacher.logits(x))
    with pytest.raises(AmalgamationError, match=r"\['pig'\] are none of its classes \['cat', 'cow', 'dog'\]"):
        as_teacher(model, label_names=["dog", "pig"])


def test_a_search_over_a_pipeline(data):
    x, y = data
    search = GridSearchCV(make_pipeline(StandardScaler(), GaussianNB()), {"gaussiannb__var_smoothing": [1e-9]}, cv=2)
    search.fit(x, y[:, 0])
    expected = clip(search.predict_proba(x)[:, 1])
    np.testing.assert_allclose(probs_of(as_teacher(search, label_names=["cat"]), x)[:, 0], expected, atol=1e-6)


def test_each_teacher_sees_its_columns(data):
    x, y = data
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    named = MultiOutputClassifier(GaussianNB()).fit(frame[["c", "a"]], y)
    unnamed = MultiOutputClassifier(GaussianNB()).fit(x[:, [2, 0]], y)
    expected = as_teacher(named, label_names=NAMES).logits(frame[["b", "a", "c"]])
    for teacher, rows in [
        (as_teacher(unnamed, label_names=NAMES, columns=["c", "a"]), frame),
        (as_teacher(unnamed, label_names=NAMES, columns=[2, 0]), x),
        (as_teacher(named, label_names=NAMES, columns=[2, 0]), x),
        (as_teacher(named, label_names=NAMES, columns=["c", "a"]), frame),
        (as_teacher(named, label_names=NAMES), x[:, [2, 0]]),
        (as_teacher(unnamed, label_names=NAMES), x[:, [2, 0]].tolist()),
        (as_teacher(unnamed, label_names=NAMES), jnp.asarray(x[:, [2, 0]])),
    ]:
        np.testing.assert_allclose(teacher.logits(rows), expected, rtol=1e-4)


def test_a_chain_sees_its_columns_prepared():
    (chain,) = draw_linear([("a", "b")], np.random.default_rng(0), num_features=2)
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(5, 3)), columns=list("xyz"))
    plain = as_teacher(chain).logits(frame[["z", "x"]].to_numpy())
    np.testing.assert_array_equal(as_teacher(chain, columns=["z", "x"]).logits(frame), plain)
    shifted = as_teacher(chain, columns=["z", "x"], prepare=lambda rows: rows - 1)
    np.testing.assert_allclose(shifted.logits(frame + 1), plain, rtol=1e-5)
    told = np.full((2, 2), np.nan)
    np.testing.assert_array_equal(
        as_teacher(chain, columns=["z", "x"]).revise(frame, np.array([3, 1]), told), plain[[3, 1]]
    )


def test_texts_come_from_one_column():
    frame = pd.DataFrame({"text": ["good day", "bad day", "good"], "size": [1.0, 2.0, 3.0]})
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(frame["text"], [1, 0, 1])
    teacher = as_teacher(model, label_names=["nice"], columns="text")
    np.testing.assert_allclose(probs_of(teacher, frame)[:, 0], model.predict_proba(frame["text"])[:, 1], atol=1e-6)


def test_given_probabilities_line_up_with_rows():
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["p", "q", "r"])
    probs = pd.DataFrame({"cat": [0.1, 0.2, 0.9], "dog": [0.5, 0.6, 0.7]}, index=["r", "p", "q"])
    teacher = as_teacher(probs)
    np.testing.assert_allclose(probs_of(teacher, rows), [[0.2, 0.6], [0.9, 0.7], [0.1, 0.5]], atol=1e-6)
    np.testing.assert_allclose(probs_of(teacher, rows.reset_index()), probs, atol=1e-6)
    np.testing.assert_allclose(probs_of(teacher, rows.to_numpy()), probs, atol=1e-6)
    swapped = as_teacher(probs, label_names=["dog", "cat"])
    np.testing.assert_allclose(probs_of(swapped, rows)[:, 0], [0.6, 0.7, 0.5], atol=1e-6)
    with pytest.raises(AmalgamationError, match="no probabilities for the row with index 's'"):
        teacher.logits(rows.rename({"q": "s"}))
    with pytest.raises(AmalgamationError, match="holds 3 rows of probabilities; there are 2 rows"):
        teacher.logits(rows[:2])
    with pytest.raises(AmalgamationError, match="the same numbers in another order"):
        as_teacher(probs.reset_index(drop=True)).logits(rows.set_axis([2, 0, 1]))
    with pytest.raises(AmalgamationError, match="name a row twice"):
        teacher.logits(rows.set_axis(["p", "p", "q"]))


def test_certainty_stays_finite():
    teacher = as_teacher(np.array([[0.0, 1.0, 0.5]]), label_names=NAMES)
    np.testing.assert_allclose(teacher.logits(np.zeros((1, 1))), [[-9.21024, 9.21024, 0.0]], atol=1e-5)
    assert teacher.logits(np.zeros((1, 1)))[0, 2] == 0


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([[0.1, 0.2], [0.3, np.nan]], "teacher 'east': row 1, label 'dog' is nan; allowed: 0 to 1"),
        ([[0.1, 0.2], [1.5, 0.2]], "teacher 'east': row 1, label 'cat' is 1.5; allowed: 0 to 1"),
        ([[0.1, -0.2], [1.0, 0.2]], "teacher 'east': row 0, label 'dog' is -0.2; allowed: 0 to 1"),
        ([[0.1], [1.0]], r"teacher 'east' has 1 columns, but there are 2 labels: \['cat', 'dog'\]"),
    ],
)
def test_names_teacher_row_and_label_of_bad_probabilities(probs, message):
    with pytest.raises(AmalgamationError, match=message):
        as_teacher(np.array(probs), label_names=["cat", "dog"], name="east")

    class Model:
        def predict_proba(self, rows):
            return np.array(probs)

    with pytest.raises(AmalgamationError, match=message):
        as_teacher(Model(), label_names=["cat", "dog"], name="east").logits(np.zeros((2, 1)))


def test_wrong_number_of_rows_is_named():
    class Model:
        def predict_proba(self, rows):
            return np.full((3, 2), 0.5)

    teacher = as_teacher(Model(), label_names=["cat", "dog"], name="east")
    with pytest.raises(AmalgamationError, match=r"teacher 'east' gives logits of shape \(3, 2\) for 2 rows"):
        teacher.logits(np.zeros((2, 1)))


def test_a_model_that_predicts_a_frame_is_read_by_name():
    class Model:
        label_names = ("cat", "dog")

        def predict_proba(self, rows):
            return pd.DataFrame({"dog": [0.2], "cat": [0.7]})

    np.testing.assert_allclose(probs_of(as_teacher(Model()), np.zeros((1, 1))), [[0.7, 0.2]], atol=1e-6)
    with pytest.raises(AmalgamationError, match=r"predicts no columns \['cow'\], only \['dog', 'cat'\]"):
        as_teacher(Model(), label_names=["cow"]).logits(np.zeros((1, 1)))


def test_labels_that_are_not_0_and_1_are_refused(data):
    x, y = data
    model = KNeighborsClassifier().fit(x, y + 1)
    with pytest.raises(
        AmalgamationError, match=r"label 'cat' takes the values \[1, 2\] in 2 columns; allowed: 0 and 1"
    ):
        as_teacher(model, label_names=NAMES).logits(x)
    one = GaussianNB().fit(x, y[:, 0] + 1)
    with pytest.raises(AmalgamationError, match=r"takes the values \[1, 2\]"):
        as_teacher(one, label_names=["cat"]).logits(x)


def test_names_are_asked_for(data):
    x, y = data
    with pytest.raises(
        AmalgamationError,
        match=r"teacher 'east' does not know its labels' names: give as_teacher\(model, label_names=.*, one for each",
    ):
        as_teacher(KNeighborsClassifier().fit(x, y), name="east")
    with pytest.raises(AmalgamationError, match="label_names=.*, the one of class 1"):
        as_teacher(GaussianNB().fit(x, y[:, 0]))
    with pytest.raises(AmalgamationError, match="it was fitted on 3 labels"):
        as_teacher(KNeighborsClassifier().fit(x, y), label_names=["cat", "dog"])
    with pytest.raises(AmalgamationError, match="give label_names for its columns"):
        as_teacher(np.zeros((2, 2)))
    with pytest.raises(AmalgamationError, match="'cat' stands at 0 and at 1: names must differ"):
        as_teacher(np.zeros((2, 2)), label_names=["cat", "cat"])
    with pytest.raises(AmalgamationError, match="is empty"):
        as_teacher(np.zeros((2, 0)), label_names=[])
    with pytest.raises(AmalgamationError, match=r"its own are \['a'\]"):
        as_teacher(scripted("a", [0.0]), label_names=["b"])


def test_columns_are_asked_for(data):
    x, y = data
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    model = KNeighborsClassifier().fit(x[:, :2], y)
    with pytest.raises(
        AmalgamationError, match="teacher 'east' was fitted on 2 columns; the rows have 3: say which with as_teacher"
    ):
        as_teacher(model, label_names=NAMES, name="east").logits(frame)
    with pytest.raises(
        AmalgamationError, match=r"teacher 'east' needs the columns \['d'\]; the rows have \['a', 'b', 'c'\]"
    ):
        as_teacher(model, label_names=NAMES, name="east", columns=["a", "d"]).logits(frame)
    named = KNeighborsClassifier().fit(frame[["a", "c"]], y)
    with pytest.raises(AmalgamationError, match=r"needs the columns \['c'\]"):
        as_teacher(named, label_names=NAMES).logits(frame[["a", "b"]])
    with pytest.raises(AmalgamationError, match="needs column 3; the rows are an array of 3 columns, from 0"):
        as_teacher(model, label_names=NAMES, columns=[0, 3]).logits(x)


def test_says_what_a_model_lacks(data):
    x, y = data
    with pytest.raises(AmalgamationError, match="LinearSVC without predict_proba.*CalibratedClassifierCV"):
        as_teacher(LinearSVC().fit(x, y[:, 0]), label_names=["cat"])
    with pytest.raises(AmalgamationError, match="teacher 'east' refuses the rows: .*not fitted"):
        as_teacher(LogisticRegression(), label_names=["cat"], name="east").logits(x)
    model = LogisticRegression().fit(x, y[:, 0])
    with pytest.raises(AmalgamationError, match="teacher 'east' refuses the rows: Input X contains NaN"):
        as_teacher(model, label_names=["cat"], name="east").logits(np.full((2, 3), np.nan))


def test_rows_of_a_chain_are_finite_numbers():
    chain = as_teacher(scripted("a", [0.0]), name="east")
    with pytest.raises(AmalgamationError, match="rows of teacher 'east': row 1, column 'y' is nan"):
        chain.logits(pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, None]}))
    with pytest.raises(AmalgamationError, match="rows of teacher 'east': row 1, column 0 is inf"):
        chain.logits(np.array([[0.0], [np.inf]]))
    with pytest.raises(AmalgamationError, match="column 'y' holds .*, no numbers"):
        chain.logits(pd.DataFrame({"x": [0.0], "y": ["a"]}))
    with pytest.raises(AmalgamationError, match="teacher 'east' cannot be revised"):
        as_teacher(np.zeros((1, 1)), label_names=["a"], name="east").revise(
            np.zeros((1, 1)), np.zeros(1, int), np.zeros((1, 1))
        )


def test_teachers_get_names():
    probs = np.array([[0.5]])
    one = as_teacher(probs, label_names=["a"], name="west")
    assert [teacher.name for teacher in as_teachers([one, scripted("a", [0.0])])] == ["west", "teacher 1"]
    assert [teacher.name for teacher in as_teachers({"x": one, "y": scripted("a", [0.0])})] == ["x", "y"]
    assert [teacher.name for teacher in as_teachers([one, one])] == ["west 0", "west 1"]
    assert isinstance(as_teacher(one), Teacher)
    for wrong in (one, scripted("a", [0.0]), probs, "ab"):
        with pytest.raises(AmalgamationError, match="give a list of teachers, or names and teachers"):
            as_teachers(wrong)
    with pytest.raises(AmalgamationError, match="teachers is empty"):
        as_teachers([])


def test_an_output_without_its_rows_is_refused():
    from jlabel.amalgamation import ChainModel

    model = ChainModel(lambda params, features: output(np.zeros((1024, 1), np.float32)), None, ("a", "b"), False)
    with pytest.raises(AmalgamationError, match=r"gives logits of shape \(2, 1\) for 2 rows"):
        as_teacher(model).logits(np.zeros((2, 1)))
