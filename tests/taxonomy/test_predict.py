import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.taxonomy import TaxonomyError, build_taxonomy, domain_probs, taxonomy_from_spec
from tests.taxonomy.toy import random_relations


def of_weights(first, second):
    """A taxonomy of domains a and b with these weights ``(C_a, U)``, ``(C_b, U)``; 0 is no member."""
    tables = {"a": first, "b": second}
    members = [
        {d: {f"{d}{i}": row[u] for i, row in enumerate(table) if row[u]} for d, table in tables.items()}
        for u in range(len(first[0]))
    ]
    domains = [{"name": d, "classes": [f"{d}{i}" for i in range(len(table))]} for d, table in tables.items()]
    universal = [{"members": held} for held in members]
    return taxonomy_from_spec({"format": "jlabel.taxonomy/1", "domains": domains, "universal_classes": universal})


def log_softmax(logits):
    """In NumPy: nothing to compile."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)), np.float32)


@pytest.fixture(scope="module")
def three():
    """A random taxonomy of three domains, log-probabilities of nine rows, and their domains."""
    taxonomy = build_taxonomy(random_relations(5, (4, 3, 2)))
    logits = np.random.default_rng(0).normal(size=(9, taxonomy.num_classes)) * 3
    return taxonomy, log_softmax(logits), np.array([0, 1, 2, 2, 1, 0, 0, 1, 2])


def test_probabilities_not_logits_are_summed():
    taxonomy = of_weights([[1, 1, 0], [0, 0, 1]], [[1, 0, 1], [0, 1, 0]])
    log_probs = log_softmax([[2.0, 2, 3]])
    found = domain_probs(log_probs, taxonomy, "a")
    np.testing.assert_allclose(found, [[0.4239, 0.5761]], atol=5e-5)
    for constant in (-4, 100):  # log-probabilities up to a constant give the same
        np.testing.assert_allclose(domain_probs(log_probs + constant, taxonomy, "a"), found, rtol=1e-5)
    np.testing.assert_allclose(domain_probs(log_probs, taxonomy, "a", convert="weight"), found, rtol=1e-6)


def test_membership_and_weight_may_disagree():
    taxonomy = of_weights([[0.4, 0], [0, 1]], [[0.4, 0], [0, 1]])
    log_probs = np.log(np.array([[0.6, 0.4]]))
    np.testing.assert_allclose(domain_probs(log_probs, taxonomy, 0), [[0.6, 0.4]], atol=1e-6)
    np.testing.assert_allclose(domain_probs(log_probs, taxonomy, 0, convert="weight"), [[0.24, 0.4]], atol=1e-6)


def test_a_domain_gets_its_own_share():
    # class b1 alone is outside a: what p says of it is left out
    taxonomy = of_weights([[1, 0, 0], [0, 1, 0]], [[1, 1, 0], [0, 0, 1]])
    log_probs = np.log(np.array([[0.15, 0.05, 0.8]]))
    np.testing.assert_allclose(domain_probs(log_probs, taxonomy, "a"), [[0.75, 0.25]], atol=1e-6)
    np.testing.assert_allclose(domain_probs(log_probs, taxonomy, "b"), [[0.2, 0.8]], atol=1e-6)
    found = domain_probs(log_probs, taxonomy, "a", convert="weight")
    np.testing.assert_allclose(found, [[0.15, 0.05]], atol=1e-6)  # not normalised


@pytest.mark.parametrize("convert", ["membership", "weight"])
def test_a_class_with_many_universal_classes(convert):
    # class b0 has eight, the others one: lists would be mostly padding
    first, second = np.eye(12), np.zeros((5, 12))
    second[0, :8] = second[[1, 2, 3, 4], [8, 9, 10, 11]] = 0.5
    taxonomy = of_weights(first.tolist(), second.tolist())
    assert taxonomy.holders.shape == (2, 12, 8)
    assert taxonomy.holders[1, :3].tolist() == [list(range(8)), [8] + [12] * 7, [9] + [12] * 7]
    probs = np.random.default_rng(0).dirichlet(np.ones(12), size=2).astype(np.float32)
    found = domain_probs(np.log(probs), taxonomy, [0, 1], convert=convert)
    expected = np.zeros((2, 12))
    expected[0], expected[1, :5] = probs[0], (probs[1] @ second.T) * (2 if convert == "membership" else 1)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize("convert", ["membership", "weight"])
def test_against_products_in_float64_and_a_domain_a_row(three, convert):
    taxonomy, log_probs, domain = three
    probs = np.exp(np.asarray(log_probs, np.float64))
    mixed = domain_probs(log_probs, taxonomy, domain, convert=convert)
    assert mixed.shape == (9, 4)
    for a, weights in enumerate(taxonomy.weights):
        expected = probs @ (weights.T if convert == "weight" else weights.T > 0)
        if convert == "membership":
            expected /= expected.sum(1, keepdims=True)
        found = domain_probs(log_probs, taxonomy, a, convert=convert)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        np.testing.assert_array_equal(found, domain_probs(log_probs, taxonomy, f"d{a}", convert=convert))
        np.testing.assert_array_equal(mixed[domain == a, : len(weights)], found[domain == a])
        np.testing.assert_array_equal(mixed[domain == a, len(weights) :], 0)


@pytest.mark.parametrize("seed", range(4))
def test_membership_probabilities_sum_to_one(seed):
    taxonomy = build_taxonomy(random_relations(seed, (3, 2, 4), density=0.2 * (seed + 1)))
    log_probs = log_softmax(10.0**seed * np.random.default_rng(seed).normal(size=(9, taxonomy.num_classes)))
    np.testing.assert_allclose(np.sum(domain_probs(log_probs, taxonomy, np.arange(9) % 3), axis=1), 1, rtol=1e-6)


def test_extremes():
    taxonomy = of_weights([[1, 0, 0], [0, 1, 0]], [[0, 1, 1], [1, 0, 0]])
    # of a, nothing that float32 could hold as a probability
    np.testing.assert_allclose(
        domain_probs(np.array([[-1000.0, -1001, 0]]), taxonomy, "a"), [[0.7311, 0.2689]], atol=5e-5
    )
    # of a, nothing at all: no class is likelier
    np.testing.assert_allclose(domain_probs(np.array([[-np.inf, -np.inf, 0]]), taxonomy, "a"), [[0.5, 0.5]])
    assert np.isnan(domain_probs(np.array([[np.nan, 0, 0], [0, 0, 0]]), taxonomy, "a")).tolist() == [
        [True, True],
        [False, False],
    ]
    log_probs = np.array([[-1000.0, -1001, 0], [-np.inf, -np.inf, 0], [-500, -500, 500]])
    grad = jax.jit(jax.grad(lambda x: domain_probs(x, taxonomy, "a")[:, 0].sum()))(log_probs)
    np.testing.assert_allclose(grad, [[0.1966, -0.1966, 0], [0, 0, 0], [0.25, -0.25, 0]], atol=5e-5)


def test_inside_jit_and_vmap(three):
    taxonomy, log_probs, domain = three
    expected = domain_probs(log_probs, taxonomy, domain)
    found = jax.jit(lambda x, d: domain_probs(x, taxonomy, d))(log_probs, domain)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    seeds = jax.vmap(lambda x: domain_probs(x, taxonomy, 1))(np.stack([log_probs, log_probs * 2]))
    np.testing.assert_allclose(seeds[1], domain_probs(log_probs * 2, taxonomy, 1), rtol=1e-6)
    with pytest.raises(TaxonomyError, match=r"domain has shape \(\); inside jit give one number a row, \(9,\)"):
        jax.jit(lambda x, d: domain_probs(x, taxonomy, d))(log_probs, 1)


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("d3", r"domain 'd3' is unknown; known domains: 0 \(d0\), 1 \(d1\), 2 \(d2\)"),
        (3, r"domain is 3; known domains: 0 \(d0\), 1 \(d1\), 2 \(d2\)"),
        ([0, 1, -1, 0, 0, 0, 0, 0, 0], r"domain\[2\] is -1; known domains"),
        ([0, 1], r"must be a name, a number, or 9 numbers \(one a row\), got int64 of shape \(2,\)"),
        (1.0, r"must be a name, a number, or 9 numbers \(one a row\), got float64 of shape \(\)"),
    ],
)
def test_unknown_domains(three, domain, message):
    taxonomy, log_probs, _ = three
    with pytest.raises(TaxonomyError, match=message):
        domain_probs(log_probs, taxonomy, domain)


def test_bad_log_probs_and_conversion(three):
    taxonomy, log_probs, _ = three
    with pytest.raises(TaxonomyError, match=r"log_probs must be \(rows, \d+ universal classes\), got \(9, 2\)"):
        domain_probs(log_probs[:, :2], taxonomy, 0)
    with pytest.raises(TaxonomyError, match="convert is 'logits'; choose 'membership' or 'weight'"):
        domain_probs(log_probs, taxonomy, 0, convert="logits")
