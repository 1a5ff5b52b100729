"""Schemes of all methods and heads trained side by side: against independent computations, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from jlabel.taxonomy import (
    Head,
    HeadRun,
    Relations,
    TaxonomyError,
    build_taxonomy,
    domain_probs,
    fit_heads,
    majority_class,
    make_head,
    multi_head_scheme,
    single_scheme,
    target_table,
    union_scheme,
    universal_loss,
    universal_scheme,
)
from jlabel.taxonomy.models import _packed, _padded, _shares

NAMES = (("x", "y", "z"), ("v", "w"))
SIZES = [3, 2]
FIT = {"hidden": 8, "steps": 60, "batch_size": 16, "evaluations": 20}
WRECKED = 5


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Programs that run for milliseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


def toy_taxonomy():
    """x and v are the same; w lies within y: universal classes {x, v}, {y}, {y, w}, {z}."""
    weights = np.zeros((5, 5))
    weights[0, 3] = weights[3, 0] = 0.8
    weights[4, 1] = 0.6
    return build_taxonomy(Relations(("a", "b"), NAMES, weights))


@pytest.fixture(scope="module")
def taxonomy():
    return toy_taxonomy()


@pytest.fixture(scope="module")
def rows():
    """Rows that their class alone decides, 12 of each class: 6 to train on, 6 to validate on."""
    generator = np.random.default_rng(0)
    centers = 3 * generator.standard_normal((5, 6))
    centers[3], centers[4] = centers[0], centers[1]
    labels = np.tile(np.arange(5), 12)
    features = (centers[labels] + 0.1 * generator.standard_normal((60, 6))).astype(np.float32)
    return features, labels, np.arange(30), np.arange(30, 60)


@pytest.fixture(scope="module")
def runs(taxonomy, rows):
    _, labels, train, val = rows
    schemes = [multi_head_scheme(SIZES), union_scheme(SIZES), universal_scheme(taxonomy)]
    found = [HeadRun(scheme, train, val, 7, 0.03, 0.01) for scheme in schemes]
    own = [[part[labels[part] < 3], part[labels[part] > 2]] for part in (train, val)]
    # Its parameters change their sign at every step, and with it what it says.
    wrecked = found[0]._replace(seed=2, learning_rate=0.1, weight_decay=25.0)
    found += [HeadRun(single_scheme(SIZES, d), own[0][d], own[1][d], 7, 0.03, 0.01) for d in range(2)]
    return [*found, wrecked]


@pytest.fixture(scope="module")
def heads(rows, runs):
    return fit_heads(rows[0], rows[1], runs, outputs=9, **FIT)


def linear_head(scheme, logits):
    """A head that answers these logits, whatever it is asked."""
    width = scheme.num_outputs
    params = {"params": {"Dense_0": {"kernel": np.zeros((2, width), np.float32), "bias": np.float32(logits)}}}
    return Head("linear", 8, params, scheme)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), st.sampled_from(["membership", "weight"]))
def test_universal_scheme_reads_out_as_domain_probs(logits, convert):
    taxonomy = toy_taxonomy()
    head = linear_head(universal_scheme(taxonomy, convert=convert), logits)
    for d in range(2):
        log_probs = jax.nn.log_softmax(jnp.array([logits], jnp.float32))
        wanted = np.asarray(domain_probs(log_probs, taxonomy, d, convert=convert), np.float64)
        found = head.probs(np.ones((1, 2), np.float32), d)
        np.testing.assert_allclose(found, wanted / max(wanted.sum(), 1e-30), atol=2e-6)
        assert found.sum() == pytest.approx(1, abs=1e-5)


def test_multi_head_and_union_by_hand():
    logits = np.array([1.0, -2.0, 0.5, 3.0, 2.0])
    row = np.ones((1, 2), np.float32)
    for d, block in enumerate((slice(0, 3), slice(3, 5))):
        own = softmax(logits[block])  # renormalising the union's softmax gives the same
        for scheme in (multi_head_scheme(SIZES), union_scheme(SIZES)):
            np.testing.assert_allclose(linear_head(scheme, logits).probs(row, d)[0], own, atol=1e-6)
    assert multi_head_scheme(SIZES).columns[0].tolist() == [True, True, True, False, False]
    assert union_scheme(SIZES).columns.all()
    np.testing.assert_array_equal(single_scheme(SIZES, 1).targets, np.eye(5)[:, 3:])


def test_domain_whose_classes_are_all_improbable_is_read_out(taxonomy):
    """Naive union, sure of the other domain: what is left still decides."""
    found = linear_head(union_scheme(SIZES), [0, 0, 0, -200, -199]).probs(np.ones((1, 2), np.float32), 1)
    np.testing.assert_allclose(found[0], softmax([0, 1]), atol=1e-6)


def test_universal_scheme_targets(taxonomy):
    scheme, table = universal_scheme(taxonomy), np.asarray(target_table(taxonomy))
    np.testing.assert_allclose(scheme.targets, np.concatenate([table[0], table[1][:2]]), atol=1e-7)
    assert scheme.domain_of.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.slow
def test_loss_and_kl_are_those_of_the_universal_loss(taxonomy, rows):
    """Without learning, and with rows of one class, the logged means are the loss of the first parameters."""
    features, labels, _, val = rows
    row = np.flatnonzero(labels == 1)[:1]
    found = fit_heads(features, labels, [HeadRun(universal_scheme(taxonomy), row, val, 3, 0.0, 0.0)], **FIT)
    params = found.head(0).params
    module = make_head("mlp", taxonomy.num_classes, 8)
    batch = {"features": features[row], "domain": np.array([0]), "label": np.array([1])}
    loss, metrics = universal_loss(params, batch, None, apply_fn=module.apply, table=target_table(taxonomy))
    np.testing.assert_allclose(found.history["loss"], float(loss), rtol=1e-5)
    np.testing.assert_allclose(found.history["kl"], float(metrics["kl"]), rtol=1e-5)
    assert float(loss) - float(metrics["kl"]) == pytest.approx(-(0.375 * np.log(0.375) + 0.625 * np.log(0.625)), 1e-4)


def test_every_method_learns_rows_that_can_be_told_apart(heads, rows, runs):
    np.testing.assert_allclose(heads.val_accuracy[:WRECKED], np.ones(WRECKED), atol=1e-6)
    assert heads.history["val_accuracy"].shape == (6, 20)
    assert (heads.history["kl"][:WRECKED, -1] < heads.history["kl"][:WRECKED, 0]).all()
    right = heads.right(rows[0], rows[1], [run.val for run in runs])
    assert [len(own) for own in right] == [len(run.val) for run in runs]
    assert all(own.all() for own in right[:WRECKED])


def test_best_checkpoint_is_kept(heads, rows, runs):
    """A head whose accuracy goes up and down: what is kept is an evaluation with the best validation."""
    features, labels, _, val = rows
    history = heads.history["val_accuracy"][WRECKED]
    assert heads.val_accuracy[WRECKED] == pytest.approx(history.max(), abs=1e-6)
    assert history[-1] < history.max() - 0.02  # else nothing was chosen
    right = heads.right(features, labels, [run.val for run in runs])[WRECKED]
    of_domains = [right[labels[val] < 3].mean(), right[labels[val] > 2].mean()]
    assert np.mean(of_domains) == pytest.approx(heads.val_accuracy[WRECKED], abs=1e-6)


def test_runs_do_not_know_of_each_other(heads, rows, runs):
    """A run alone, not widened, is the run among others; `take` and `head` cut it out."""
    features, labels, *_ = rows
    alone = fit_heads(features, labels, runs[2:3], **FIT)
    np.testing.assert_allclose(alone.history["loss"][0], heads.history["loss"][2], rtol=1e-4)
    for d in range(2):
        wanted = heads.head(2).probs(features, d)
        np.testing.assert_allclose(alone.head(0).probs(features, d), wanted, atol=1e-3)
        for found in (heads.take([2, 0]), heads.take([2])):
            np.testing.assert_allclose(found.head(0).probs(features, d), wanted, atol=1e-6)
            asked = found.probs(features, [np.arange(60)] * len(found.val_accuracy), [d] * len(found.val_accuracy))
            np.testing.assert_allclose(asked[0], wanted, atol=1e-6)


def test_single_is_of_its_domain_alone(heads, rows):
    assert heads.head(4).probs(rows[0], 1).shape == (60, 2)
    assert heads.head(4).scheme.num_outputs == 2
    padded, real = _padded([np.array([4, 2]), np.array([9])])
    assert (padded.tolist(), real.tolist()) == ([[4, 2], [9, 0]], [[True, True], [True, False]])


def test_shares_of_rows():
    domains, real = np.array([0, 0, 0, 1, 1]), np.array([True, True, True, True, False])
    np.testing.assert_allclose(_shares(domains, real, False), [0.25, 0.25, 0.25, 0.25, 0])
    np.testing.assert_allclose(_shares(domains, real, True), [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0])


def test_padding_takes_no_part(taxonomy):
    tables = _packed([universal_scheme(taxonomy), multi_head_scheme([2])], 9)
    assert tables["targets"].shape == (2, 16, 9)
    assert not tables["columns"][:, :, 5:].any()
    assert (tables["domain_of"][1, 2:] == -1).all()
    np.testing.assert_array_equal(tables["owned"][0, 3, :5], [True, False, True, False, False])  # of {x,v}, {y,w}


@pytest.mark.slow
def test_linear_and_dropout_heads(rows):
    features, labels, train, val = rows
    run = HeadRun(multi_head_scheme(SIZES), train, val, 0, 0.03, 0.01)
    for kind in ("linear", "dropout"):
        found = fit_heads(features, labels, [run], kind=kind, hidden=16, steps=40, batch_size=16, evaluations=2)
        assert found.val_accuracy[0] > 0.8, kind
        assert len(found.head(0).params["params"]) == (1 if kind == "linear" else 6)
    head = found.head(0)
    np.testing.assert_array_equal(head.probs(features, 0), head.probs(features, 0))  # no unit is dropped when asked
    module, keys = make_head("dropout", 5, 16), jax.random.split(jax.random.key(0), 2)
    first, second = jax.jit(jax.vmap(lambda key: module.apply(head.params, features, rngs={"dropout": key})))(keys)
    assert not np.array_equal(first, second)


def test_majority_class():
    assert majority_class([0, 1, 1, 2, 2], 4) == 1
    with pytest.raises(TaxonomyError, match=r"labels\[1\] is 4; allowed: 0 to 3"):
        majority_class([0, 4], 4)


def test_bad_input(rows, taxonomy):
    features, labels, train, val = rows
    good = HeadRun(multi_head_scheme(SIZES), train, val)
    cases = [
        ({"runs": []}, r"runs is empty: give at least one HeadRun"),
        ({"runs": [good, good._replace(train=train[:0])]}, r"runs\[1\].train is empty"),
        ({"runs": [good._replace(val=val[:0])]}, r"runs\[0\].val is empty"),
        ({"runs": [good._replace(train=train + 40)]}, r"runs\[0\].train\[20\] is 60; allowed: 0 to 59"),
        ({"features": np.where(np.eye(60, 6) > 0, np.nan, 0)}, r"features\[0, 0\] is nan: only finite numbers"),
        ({"features": features[:50]}, r"features has 50 rows, labels 60: give one label for each row"),
        ({"labels": labels - 1}, r"labels\[0\] is -1"),
        ({"labels": labels + 1}, r"labels of runs\[0\].train\[4\] is 5; allowed: 0 to 4"),
        ({"steps": 50, "evaluations": 20}, r"evaluations is 20; allowed: numbers that divide steps=50"),
        ({"kind": "deep"}, r"kind is 'deep'; allowed: mlp, linear, dropout"),
        ({"balance": "class"}, r"balance is 'class'; allowed: proportional, domain"),
        ({"batch_size": 0}, r"batch_size is 0; allowed: whole numbers from 1"),
    ]
    for change, message in cases:
        arguments = {"features": features, "labels": labels, "runs": [good], **change}
        with pytest.raises(TaxonomyError, match=message):
            fit_heads(arguments.pop("features"), arguments.pop("labels"), arguments.pop("runs"), **arguments)
    with pytest.raises(TaxonomyError, match=r"convert is 'logits'; allowed: membership, weight"):
        universal_scheme(taxonomy, convert="logits")
