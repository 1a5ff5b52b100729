"""Balance and prior strength chosen on labelled rows."""

import jax
import numpy as np
import pytest

from jlabel.weak_supervision import LabelModel, WeakSupervisionError, choose_model, compress, predict_probs


@pytest.fixture(scope="module")
def world():
    """Five classes, rules that vote seldom: without a prior EM gives rules and classes up."""
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 900, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    rules = np.arange(10) % 5
    fires = rng.random((900, 10)) < np.where(labels[:, None] == rules, 0.25, 0.06)
    return np.where(fires, rules, -1).astype(np.int8), labels


def accuracy(model, votes, labels):
    return float((predict_probs(model, votes).argmax(1) == labels).mean())


def test_the_best_on_labelled_rows_is_kept(world):
    votes, labels = world
    found = choose_model(votes, votes[:300], labels[:300], num_classes=5, strengths=(0, 20), key=jax.random.key(0))
    assert len(found.tried) == 6
    best = max(found.tried, key=lambda one: (round(one["accuracy"], 9), -one["nll"]))
    assert (best["balance"], best["prior_strength"]) == (found.balance, found.options["prior_strength"])
    assert max(one["accuracy"] for one in found.tried) > min(one["accuracy"] for one in found.tried) + 0.05
    # The worth that is told is that of the model that is returned, ties shared.
    assert abs(accuracy(found.model, votes[:300], labels[:300]) - best["accuracy"]) < 0.02
    rows = compress(votes)
    again = choose_model(rows, votes[:300], labels[:300], num_classes=5, strengths=(0, 20), key=jax.random.key(0))
    assert again.tried == found.tried


def test_unknown_labels_do_not_count(world):
    votes, labels = world
    some = np.where(np.arange(900) < 100, labels, -1)
    kept = choose_model(votes, votes, some, num_classes=5, strengths=(1, 20), key=jax.random.key(0))
    only = choose_model(votes, votes[:100], labels[:100], num_classes=5, strengths=(1, 20), key=jax.random.key(0))
    assert kept.tried == only.tried


def test_other_methods_choose_the_balance(world):
    votes = np.where(world[0] < 2, world[0], -1)
    labels = np.minimum(world[1], 1)
    for method, options in (("matrix_completion", {"starts": 1, "steps": 50}), ("factor_graph", {"steps": 20})):
        found = choose_model(
            votes, votes[:200], labels[:200], num_classes=2, method=method, key=jax.random.key(0), **options
        )
        assert [one["balance"] for one in found.tried] == ["uniform", "of the labelled rows"]
        assert list(found.options) == ["balance"]


@pytest.mark.slow
def test_label_model_chooses_on_its_labelled_rows(world):
    votes, labels = world
    chosen = LabelModel(cardinality=5).fit(votes, Y_dev=labels[:300], L_dev=votes[:300])
    plain = LabelModel(cardinality=5).fit(votes)
    assert set(chosen.chosen_) == {"balance", "prior_strength"}
    assert not hasattr(plain, "chosen_")
    assert accuracy(chosen.model_, votes[:300], labels[:300]) >= accuracy(plain.model_, votes[:300], labels[:300])
    given = LabelModel(cardinality=5).fit(votes, labels[:300], [0.2] * 5, L_dev=votes[:300])
    assert given.chosen_["balance"] == [0.2] * 5
    # More rows keep the choice; a new balance goes before the chosen one.
    assert "prior_strength" in given.partial_fit(votes[:10], class_balance=[0.4, 0.3, 0.1, 0.1, 0.1]).chosen_
    np.testing.assert_allclose(np.exp(given.model_.log_balance), [0.4, 0.3, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dev_labels": [0]}, "dev_labels has 1 entries for 2 rows of dev_votes"),
        ({"dev_labels": [-1, -1]}, "dev_labels holds no class"),
        ({"prior_strength": 1.0}, "prior_strength is chosen here; give the candidates as strengths"),
        ({"strengths": ()}, "balances or strengths is empty"),
        ({"method": "snorkel"}, "method is 'snorkel'"),
    ],
)
def test_bad_choices(change, message):
    settings = {"dev_votes": [[0, 1], [1, 1]], "dev_labels": [0, 1], "num_classes": 2, "key": jax.random.key(0)}
    with pytest.raises(WeakSupervisionError, match=message):
        choose_model([[0, 1], [1, 1]], **(settings | change))


def test_labelled_votes_need_labels():
    with pytest.raises(WeakSupervisionError, match="L_dev needs Y_dev"):
        LabelModel().fit([[0, 1], [1, 1]], L_dev=[[0, 1]])
