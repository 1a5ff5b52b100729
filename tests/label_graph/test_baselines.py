import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.label_graph import (
    build_graph,
    label_set_loss,
    label_set_scores,
    label_set_targets,
    labels_below,
    majority_label,
    marginal_softmax_loss,
    plan_paths,
    pseudo_labels,
)
from tests.label_graph.toy import T, with_final_cat


@pytest.fixture(scope="module")
def plan():
    return plan_paths(build_graph(T))


def test_labels_below(plan):
    below = labels_below(plan, "breeds")
    np.testing.assert_array_equal(below[:5], np.eye(5, dtype=bool))
    assert below[5].tolist() == [True, True, True, True, False]
    assert not labels_below(plan_paths(build_graph(with_final_cat())), "breeds")[5].any()


def test_marginal_softmax_by_hand(plan):
    below, logits = labels_below(plan, "breeds"), np.array([[1.0, 2, 3, 4, 5]] * 3)
    probs = np.exp(logits[0]) / np.exp(logits[0]).sum()
    found = marginal_softmax_loss(logits, np.array([1, 5, -1]), below)
    np.testing.assert_allclose(found, (-np.log(probs[1]) - np.log(probs[:4].sum())) / 3, rtol=1e-5)
    half = marginal_softmax_loss(logits, np.array([1, 5, -1]), below, weight=np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(half, -np.log(probs[1]) / 3, rtol=1e-5)
    grad = jax.grad(lambda z: marginal_softmax_loss(z, np.array([5]), below))(jnp.array([[0.0, 0, 0, 0, 1e4]]))
    assert np.isfinite(grad).all()


def test_label_set_targets(plan):
    positive, known = label_set_targets(plan)
    ids = np.array(plan.graph.ids)
    assert set(ids[positive[0]]) == {"cat", "short", "solid", "tabby", "point", "british"}
    assert known[0].sum() == 11  # all but the root
    assert set(ids[positive[5]]) == {"cat"}
    assert set(ids[known[5]]) == {"cat", "dog"}


def test_label_set_loss_by_hand(plan):
    positive, known = label_set_targets(plan)
    logits = np.zeros((2, 12))
    logits[1, 1] = 3.0
    found = label_set_loss(logits, np.array([5, 5]), positive, known)
    np.testing.assert_allclose(found, (np.log(2) + (np.log1p(np.exp(-3.0)) + np.log(2)) / 2) / 2, rtol=1e-5)
    grad = jax.grad(lambda z: label_set_loss(z, np.array([5]), positive, known))(jnp.zeros((1, 12)))
    assert set(np.array(plan.graph.ids)[np.abs(grad[0]) > 0]) == {"cat", "dog"}
    scores = label_set_scores(logits, plan, "breeds")
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-6)


def test_pseudo_labels_keep_only_what_agrees(plan):
    below = labels_below(plan, "breeds")
    log_probs = np.log(np.array([[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6]]))
    assert pseudo_labels(log_probs, np.array([5, 5]), below, 0).tolist() == [1, -1]


def test_majority_label():
    assert majority_label([3, 3, 1], 5) == 3
