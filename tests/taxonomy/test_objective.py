import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jlabel.taxonomy import (
    TaxonomyError,
    UniversalHead,
    build_taxonomy,
    target_table,
    universal_loss,
    universal_targets,
)
from tests.taxonomy.toy import random_relations, related


def identity(params, features):
    """Logits are the parameters."""
    return params


@pytest.fixture(scope="module")
def within():
    """One-way a0 -> b0 at .8: universal classes {a0, b0}, {b0}."""
    return build_taxonomy(related({("a0", "b0"): 0.8}))


@pytest.fixture(scope="module")
def problem():
    """A random taxonomy, its table, a batch with weights, and logits."""
    taxonomy = build_taxonomy(random_relations(3, (4, 3, 2)))
    rng = np.random.default_rng(0)
    domain = np.array([0, 0, 1, 2, 2, 1])
    label = np.array([3, 0, 2, 1, 0, 1])
    logits = rng.normal(size=(6, taxonomy.num_classes)) * 3
    batch = {"features": np.zeros((6, 1)), "domain": domain, "label": label}
    return taxonomy, batch, logits, np.array([1.0, 0.5, 2.0, 0.0, 1.0, 3.0])


def test_targets_of_a_class_within_another(within):
    assert within.names == ("a: 0 + b: 0", "b: 0")
    targets = universal_targets(within, [0, 1, 1], [0, 0, 0])
    assert targets.dtype == jnp.float32
    np.testing.assert_allclose(targets, [[1, 0], [0.4444, 0.5556], [0.4444, 0.5556]], atol=5e-5)


def test_the_floor_of_the_loss_is_the_entropy_of_the_target(within):
    batch = {"features": np.zeros((1, 1)), "domain": np.array([1]), "label": np.array([0])}
    best = np.log(np.array([[0.8, 1.0]], np.float32))  # any constant may be added
    (loss, metrics), grad = jax.jit(
        jax.value_and_grad(
            lambda z: universal_loss(z, batch, None, apply_fn=identity, table=target_table(within)), has_aux=True
        )
    )(best)
    assert float(loss) == pytest.approx(0.68696, abs=5e-6)
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_the_table_is_padded_with_zeros():
    taxonomy = build_taxonomy(random_relations(3, (4, 3, 2)))
    table = np.asarray(target_table(taxonomy))
    assert table.shape == (3, 4, taxonomy.num_classes)
    np.testing.assert_allclose(table.sum(-1), [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(table[1, 3:], 0)
    np.testing.assert_array_equal(
        universal_targets(taxonomy, [0, 2], [3, 1]), table[np.array([0, 2]), np.array([3, 1])]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_in_float64(problem, weighted):
    taxonomy, batch, logits, weight = problem
    weight = weight if weighted else np.ones(6)
    if weighted:
        batch = batch | {"weight": weight.astype(np.float32)}
    rows = [taxonomy.weights[d][y] for d, y in zip(batch["domain"].tolist(), batch["label"].tolist(), strict=True)]
    targets = np.stack([row / row.sum() for row in rows])
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    share = weight / weight.sum()
    expected = -(share * (targets * log_probs).sum(1)).sum()
    entropy = -sum(share[i] * t * math.log(t) for i, row in enumerate(targets) for t in row if t > 0)

    @jax.jit
    def step(z):
        return jax.value_and_grad(
            lambda z: universal_loss(z, batch, None, apply_fn=identity, table=target_table(taxonomy)), has_aux=True
        )(z)

    (loss, metrics), grad = step(np.float32(logits))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["kl"]) == pytest.approx(expected - entropy, rel=1e-5)
    np.testing.assert_allclose(grad, share[:, None] * (np.exp(log_probs) - targets), atol=1e-6)
    for scale in (1e4, -1e30):  # extreme logits
        (loss, metrics), grad = step(np.float32(logits * scale))
        assert all(np.isfinite(x).all() for x in (loss, metrics["kl"], grad))


def test_a_label_that_its_domain_does_not_have_makes_the_loss_nan(problem):
    taxonomy, batch, logits, _ = problem
    table = target_table(taxonomy)

    @jax.jit
    def loss(domain, label, weight):
        rows = batch | {"domain": domain, "label": label, "weight": weight}
        return universal_loss(np.float32(logits), rows, None, apply_fn=identity, table=table)[0]

    row, ones = np.arange(6) == 2, np.ones(6, np.float32)
    without = loss(batch["domain"], batch["label"], ones - row)
    for domain, label in ((0, -1), (1, 3), (0, 4), (3, 0), (-1, 0)):
        odd = np.where(row, domain, batch["domain"]), np.where(row, label, batch["label"])
        assert np.isnan(loss(*odd, ones))
        assert loss(*odd, ones - row) == without  # padding


def test_one_head_learns_the_targets(within, key):
    """On features that name the class, KL goes to 0 although the loss does not."""
    table = target_table(within)
    batch = {"features": np.eye(2), "domain": np.array([0, 1]), "label": np.array([0, 0])}
    head = UniversalHead(num_classes=2, hidden=8)
    optimizer = optax.adam(0.1)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            grads, metrics = jax.grad(
                lambda p: universal_loss(p, batch, key, apply_fn=head.apply, table=table), has_aux=True
            )(params)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), state), metrics["kl"]

        (params, _), kl = jax.lax.scan(step, (params, optimizer.init(params)), None, length=200)
        return kl, universal_loss(params, batch, key, apply_fn=head.apply, table=table)[0]

    kl, loss = train(jax.jit(head.init)(key, np.zeros((1, 2))))
    assert float(kl[0]) > 0.1
    assert 0 <= float(kl[-1]) < 0.01
    assert float(loss) == pytest.approx(0.68696 / 2, abs=0.01)


@pytest.mark.parametrize(
    ("domain", "labels", "message"),
    [
        ([0, 2], [0, 0], r"domain\[1\] is 2; known domains: 0 \(a\), 1 \(b\)"),
        ([0, -1], [0, 0], r"domain\[1\] is -1; known domains"),
        ([0, 1], [1, 0], r"labels\[0\] is 1; domain 'a' has classes 0 to 0"),
        ([0, 1], [0, -1], r"labels\[1\] is -1; domain 'b' has classes 0 to 0"),
        ([0, 1], [0], r"domain has 2 rows, labels has 1: give one of each to a row"),
        ([0.0], [0], r"domain must be integers with one axis, got float64 of shape \(1,\)"),
        ([0], [[0]], r"labels must be integers with one axis, got int64 of shape \(1, 1\)"),
    ],
)
def test_rows_that_have_no_target(within, domain, labels, message):
    with pytest.raises(TaxonomyError, match=message):
        universal_targets(within, domain, labels)
