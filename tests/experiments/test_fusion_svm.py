"""The TF-IDF baseline on tiny texts whose words give their class away, and its edges."""

import dataclasses

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from experiments import fusion_svm
from experiments.fusion_data import FusionData, Rows
from experiments.fusion_svm import svm_predictions
from jlabel import InputError
from jlabel.data import from_arrays

WORDS = (("ball", "goal", "match"), ("vote", "law", "party"), ("star", "moon", "orbit"))


def texts(classes, rng, *, noise=6):
    """Three words of the class among others that say nothing."""
    filler = [f"word{i:02}" for i in range(40)]
    return [" ".join([*rng.choice(WORDS[c], 3), *rng.choice(filler, noise)]) for c in classes]


def rows(classes, words, *, sets=None, num_classes=3):
    classes = np.asarray(classes, np.int32)
    content = np.array(words, object)
    source = from_arrays({"text": words, "label": classes}, label_names=[f"c{i}" for i in range(num_classes)])
    names = np.array([str(i) for i in range(len(classes))])
    return Rows(np.zeros((len(classes), 1)), classes, classes, names, source, {}, texts=content, fine_sets=sets)


def world(counts, *, val=True, seed=0):
    rng = np.random.default_rng(seed)
    parts = [np.repeat(np.arange(3), n) for n in (counts, (4, 4, 4), (9, 9, 9))]
    train, held, test = (rows(c, texts(c, rng)) for c in parts)
    return FusionData(train, None, held if val else None, test, "topics")


@pytest.mark.parametrize("val", [True, False])
def test_words_of_a_class_are_learnt(val):
    data = world((8, 8, 8), val=val)
    found = svm_predictions(data, 0, 3, True)
    assert (found.decoded == data.test.fine).mean() > 0.9
    assert found.chosen["C"] in (0.1, 0.3, 1.0, 3.0, 10.0)
    assert found.val_score > 0.8
    assert found.params is None
    assert found.history == []
    assert found.nodes is None
    for log_probs in (found.log_probs, found.raw_log_probs):
        np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(log_probs.argmax(1), found.decoded)
    again = svm_predictions(data, 0, 3, True)
    np.testing.assert_array_equal(again.log_probs, found.log_probs)


def test_equals_scikit_learn_on_the_fine_texts():
    data = world((8, 8, 8))
    found = svm_predictions(data, 0, 3, True)
    words = TfidfVectorizer(sublinear_tf=True)
    machine = LinearSVC(C=found.chosen["C"], random_state=0).fit(words.fit_transform(data.train.texts), data.train.fine)
    decision = machine.decision_function(words.transform(data.test.texts))
    shifted = found.raw_log_probs - found.raw_log_probs[:, :1]
    np.testing.assert_allclose(shifted, decision - decision[:, :1], atol=2e-3)


def test_a_class_without_rows_is_never_said():
    found = svm_predictions(world((8, 0, 8)), 0, 3, True)
    assert not (found.decoded == 1).any()
    assert np.isfinite(found.log_probs).all()


def test_a_class_with_one_row_and_two_classes():
    data = world((6, 1, 0), val=False)
    found = svm_predictions(data, 0, 3, True)
    assert set(found.decoded) <= {0, 1}
    assert (found.decoded[:9] == 0).mean() > 0.8


def test_a_single_class_is_always_said():
    assert (svm_predictions(world((0, 4, 0)), 0, 3, True).decoded == 1).all()


def test_balance_decides_what_c_is_chosen_by(monkeypatch):
    # held-out rows 0 0 0 1; of the five C, the second gets class 0 right, the third and the fourth a row of each class
    said = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0]])
    decisions = np.where(said[..., None] == np.arange(2), 1.0, -1.0)
    held = rows([0, 0, 0, 1], ["some text"] * 4)
    data = FusionData(held, None, held, held, "topics")
    monkeypatch.setattr(fusion_svm, "_decisions", lambda train, rows, classes, costs, seed: decisions[: len(costs)])
    plain, balanced = (svm_predictions(data, 0, 2, balance) for balance in (False, True))
    assert (plain.chosen, plain.val_score) == ({"C": 0.3}, 0.75)
    assert (balanced.chosen, balanced.val_score) == ({"C": 1.0}, pytest.approx((1 / 3 + 1) / 2))


@pytest.mark.parametrize("val", [True, False])
def test_several_labels(val):
    rng = np.random.default_rng(0)

    def part(n):
        sets = rng.random((n, 3)) < 0.5
        sets[np.arange(n), np.arange(n) % 3] = True
        first = sets.argmax(1)
        words = [
            " ".join(w for c in np.flatnonzero(row) for w in (*texts([c], rng, noise=1), *WORDS[c])) for row in sets
        ]
        return rows(first, words, sets=sets)

    data = FusionData(part(30), None, part(15) if val else None, part(15), "topics")
    found = svm_predictions(data, 0, 3, True)
    assert found.decoded_sets is not None
    assert (found.decoded_sets == data.test.fine_sets).mean() > 0.9
    assert (np.exp(found.raw_log_probs) > 0.5).sum() > 15  # each stands by itself: several pass a half
    assert (found.raw_log_probs <= 0).all()


def test_a_label_that_all_rows_have():
    data = world((6, 6, 0), val=False)
    sets = np.zeros((12, 3), bool)
    sets[np.arange(12), data.train.fine] = True
    sets[:, 0] = True
    test_sets = np.ones((27, 3), bool)
    data = dataclasses.replace(
        data,
        train=dataclasses.replace(data.train, fine_sets=sets),
        test=dataclasses.replace(data.test, fine_sets=test_sets),
    )
    found = svm_predictions(data, 0, 3, True)
    assert found.decoded_sets is not None
    assert not found.decoded_sets[:, 2].any()
    assert found.decoded_sets[:, 0].all()


def test_texts_without_words_are_refused():
    data = world((2, 2, 2))
    bare = rows([0, 1, 2], ["!", "a", "?"])
    with pytest.raises(InputError, match="^arrays: no training text holds a word of two letters or more") as caught:
        svm_predictions(dataclasses.replace(data, train=bare), 0, 3, True)
    assert "\n" not in str(caught.value)
