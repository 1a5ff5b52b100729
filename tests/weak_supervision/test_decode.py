import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from scipy import sparse

from jlabel.weak_supervision import (
    FactorGraph,
    GroupModel,
    GroupTable,
    WeakSupervisionError,
    compress,
    decode,
    fit_latent_class,
    predict_probs,
)


def one_table(rows, probs, balance=(0.5, 0.5), rest=()):
    rows = np.array(rows, np.int8)
    table = GroupTable(tuple(range(rows.shape[1])), rows, np.log(np.array(probs)))
    groups = (table.rules, *((r,) for r in rest))
    return GroupModel(groups, (table,), np.log(np.array(balance)), {}, 0.0)


def test_a_posterior_by_hand():
    tables = [
        GroupTable((j,), np.array([[0], [1]], np.int8), np.log([[a, 1 - a], [1 - a, a]]))
        for j, a in enumerate((0.9, 0.8, 0.7))
    ]
    model = GroupModel(((0,), (1,), (2,)), tuple(tables), np.log([0.5, 0.5]), {}, 0.0)
    np.testing.assert_allclose(
        predict_probs(model, [[1, 0, 1], [1, 0, -1], [1, 1, 1], [-1, -1, -1]])[:, 1],
        [0.8400, 0.6923, 0.9882, 0.5],
        atol=5e-5,
    )


def test_an_unseen_joint_vote_is_summed_over_who_abstains():
    model = one_table([[0, 0], [1, 0], [1, 1]], [[0.6, 0.1], [0.3, 0.2], [0.1, 0.7]])
    found = predict_probs(model, [[1, -1], [-1, 0], [0, 1], [-1, -1], [0, -1]])[:, 1]
    expected = [0.9 / 1.3, 0.3 / 1.2, 0.5, 0.5, 0.1 / 0.7]  # (0, 1) matches nothing: the group is left out
    np.testing.assert_allclose(found, expected)


def test_a_vote_never_seen_leaves_the_rule_out():
    model = one_table([[-1], [1]], [[0.9, 0.2], [0.1, 0.8]], balance=(0.3, 0.7))
    np.testing.assert_allclose(predict_probs(model, [[0]]), [[0.3, 0.7]])
    np.testing.assert_allclose(predict_probs(model, sparse.csr_array([[1]])), [[0.3, 0.7]])


@pytest.fixture(scope="module")
def fitted():
    votes = np.random.default_rng(0).integers(-1, 3, (9000, 7)).astype(np.int8)
    votes[:, 6] = np.maximum(votes[:, 6], 0)  # a rule that never abstains
    model = fit_latent_class(votes[:500], num_classes=3, cliques=[(0, 1), (1, 2)], starts=1, key=jax.random.key(0))
    return model, votes


def test_a_row_is_the_same_alone_in_any_batch_and_any_order(fitted):
    model, votes = fitted
    whole = predict_probs(model, votes)
    for row in (0, 17, 4095, 4096, 5999, 8191, 8192):
        np.testing.assert_array_equal(predict_probs(model, votes[row : row + 1])[0], whole[row])
    order = np.random.default_rng(1).permutation(len(votes))
    np.testing.assert_array_equal(predict_probs(model, votes[order]), whole[order])
    buckets = compress(votes)
    np.testing.assert_array_equal(predict_probs(model, buckets)[buckets.inverse], whole)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(rows=st.lists(st.integers(0, 8999), min_size=1, max_size=9))
def test_any_batch(fitted, rows):
    model, votes = fitted
    batch = predict_probs(model, votes[rows])
    alone = np.concatenate([predict_probs(model, votes[r : r + 1]) for r in rows])
    np.testing.assert_array_equal(batch, alone)


def test_sparse_votes_and_the_path_of_many_rules_agree(fitted, monkeypatch):
    model, votes = fitted
    whole = predict_probs(model, votes)
    stored = sparse.csr_array(votes + 1)
    np.testing.assert_allclose(predict_probs(model, stored), whole, rtol=1e-12)
    np.testing.assert_array_equal(predict_probs(model, stored[[5, 3]]), predict_probs(model, stored)[[5, 3]])
    monkeypatch.setattr(decode, "_SPARSE_ENTRIES", 0)
    np.testing.assert_allclose(predict_probs(model, votes), whole, rtol=1e-12)


def test_bad_input(fitted):
    model, _ = fitted
    with pytest.raises(WeakSupervisionError, match="votes has 3 rules, the model was fitted to 7"):
        predict_probs(model, [[0, 0, 0]])
    with pytest.raises(WeakSupervisionError, match=r"votes\[0, 2\] is 3"):
        predict_probs(model, [[0, 0, 3, 0, 0, 0, 0]])
    with pytest.raises(WeakSupervisionError, match="model must be one that this package fitted, got a dict"):
        predict_probs({}, [[0]])


def test_no_rows(fitted):
    assert predict_probs(fitted[0], np.zeros((0, 7), int)).shape == (0, 3)


def test_factor_graphs_answer_too():
    graph = FactorGraph(np.array([1.0, 0.5]), np.zeros(2), (), np.zeros(0), 0.5)
    votes = np.array([[1, 1], [1, -1], [-1, -1]])
    expected = 1 / (1 + np.exp(-2 * np.array([1.5, 1.0, 0.0])))  # sigmoid(2 theta^T l)
    np.testing.assert_allclose(predict_probs(graph, votes)[:, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(predict_probs(graph, sparse.csr_array(votes + 1))[:, 1], expected, rtol=1e-12)
    assert predict_probs(graph, compress(votes)).shape == (3, 2)
