import jax
import numpy as np
import pandas as pd
import pytest

from jlabel.tabular import (
    BASELINES,
    NetworkOutputs,
    Pretrained,
    SupervisedLoss,
    Table,
    TabTransformer,
    TabularError,
    classification_score,
    fit_encoder,
    fit_mlp,
    fit_tabtransformer,
    init_network,
)
from tests.tabular.problems import QUICK, SIZES, one_run, small_problem

ENCODER = fit_encoder(pd.DataFrame({"a": ["x", "y"]}))  # not asked
KEYS = jax.random.split(jax.random.key(7), 2)
NETWORK = TabTransformer(SIZES, 2, 2, embedding_size=8, num_layers=0, num_heads=1)


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(scope="module")
def mlp(problem):
    return fit_mlp(problem, key=KEYS, entropy=0.1, pseudo=True, **QUICK)


def float64_logits(params, codes, values):
    """The MLP on one run's parameters."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    identifier, table = params["embedding"]["identifier"], params["embedding"]["value"]
    parts, start = [], 0
    for k, size in enumerate(SIZES):
        named = np.tile(identifier[k], (len(codes), 1))
        parts += [named, table[start + codes[:, k]]]
        start += size + 1
    x = np.concatenate([*parts, values], 1)
    for k in range(3):
        x = x @ params[f"dense_{k}"]["kernel"] + params[f"dense_{k}"]["bias"]
        x = np.maximum(x, 0) if k < 2 else x
    return x


def cross_entropy(logits, classes):
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), classes])


def test_predictions_are_those_of_the_network(problem, mlp):
    probs = mlp.predict_proba(problem.table)
    for run in range(2):
        logits = float64_logits(jax.tree.map(lambda x, run=run: x[run], mlp.params), *problem.table[:2])
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(probs[run], expected, atol=1e-5)


def test_a_row_alone_is_the_row_among_others(problem, mlp):
    alone = mlp.predict_proba(Table(problem.table.codes[5:6], problem.table.values[5:6], problem.table.unknown))
    np.testing.assert_array_equal(alone[:, 0], mlp.predict_proba(problem.table)[:, 5])


def test_runs_keep_their_best_score_on_their_validation_rows(problem, mlp):
    probs = mlp.predict_proba(problem.table)
    for run in range(2):
        rows = problem.validation[run][problem.validation[run] >= 0]
        found = classification_score(np.log(probs[run][rows]), problem.labels[rows])
        assert found == pytest.approx(np.nanmax(mlp.scores[run]), abs=1e-6)
    assert set(mlp.best_step) <= {10, 20}


@pytest.mark.slow
def test_a_run_alone_is_the_run_among_others(problem, mlp):
    alone = fit_mlp(one_run(problem, 1), key=KEYS[1], entropy=0.1, pseudo=True, **QUICK)
    np.testing.assert_allclose(alone.predict_proba(problem.table), mlp.predict_proba(problem.table)[1], atol=1e-5)


def test_labels_of_other_rows_are_not_looked_at(problem, mlp):
    labels = problem.labels.copy()
    used = np.unique([*problem.labelled.ravel(), *problem.validation[problem.validation >= 0]])
    others = np.setdiff1d(np.arange(96), used)
    assert len(np.intersect1d(others, problem.unlabelled)) > 3
    labels[others] = 1 - labels[others]
    found = fit_mlp(small_problem(labels=labels), key=KEYS, entropy=0.1, pseudo=True, **QUICK)
    np.testing.assert_array_equal(found.predict_proba(problem.table), mlp.predict_proba(problem.table))


@pytest.mark.parametrize("share", [0.1, 0.35, 0.9])
def test_entropy_and_pseudo_labels_by_hand(problem, share):
    params = init_network(NETWORK, jax.random.key(1))
    own, others = np.arange(6), np.arange(6, 16)
    batch = {
        "codes": problem.table.codes[own],
        "values": problem.table.values[own],
        "target": problem.labels[own],
        "unlabelled.codes": problem.table.codes[others],
        "unlabelled.values": problem.table.values[others],
    }
    found = jax.jit(SupervisedLoss(NETWORK, entropy=0.2, pseudo=True))(params, batch, jax.random.key(0), share)
    logits = float64_logits(params, batch["codes"], batch["values"])
    said = float64_logits(params, batch["unlabelled.codes"], batch["unlabelled.values"])
    probs = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    weight = {0.1: 0.0, 0.35: 1.5, 0.9: 3.0}[share]  # at the middle of the ramp half of 3
    expected = cross_entropy(logits, batch["target"]) - 0.2 * np.mean((probs * np.log(probs)).sum(1))
    expected += weight * cross_entropy(said, said.argmax(1))
    assert float(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["mlp_er", "mlp_pl", "gbdt_pl", "tabtransformer_er", "tabtransformer_pl"])
def test_methods_that_need_unlabelled_rows_say_so(name):
    message = "learns from unlabelled rows, and the problem has none; give unlabelled"
    with pytest.raises(TabularError, match=message):
        BASELINES[name](small_problem(unlabelled=None), key=KEYS)


def _pretrained(*, params=True, **changes):
    network = TabTransformer(
        **({"cardinalities": SIZES, "num_values": 2, "embedding_size": 8, "num_heads": 2} | changes)
    )
    return Pretrained(ENCODER, network, params and init_network(network, jax.random.key(3)), "mlm")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: _pretrained(num_values=1, params=None), "pretrained is of another table or of several sizes"),
        (lambda: [_pretrained(params=None)] * 3, "pretrained holds 3, the problem 2 runs; give one, or one a run"),
    ],
)
def test_pretrainings_that_do_not_fit(problem, given, message):
    with pytest.raises(TabularError, match=message):
        fit_tabtransformer(problem, key=KEYS, pretrained=given())


@pytest.mark.slow
def test_numbers_as_tokens(problem):
    knots = np.array([[-1.0, 0, 1], [0, 0.5, 1]])
    fit = fit_tabtransformer(problem, key=KEYS, knots=knots, num_layers=1, num_heads=2, embedding_scale=0.5, **QUICK)
    np.testing.assert_array_equal(fit.params["constants"]["embedding"]["number"]["knots"], np.stack([knots] * 2))
    assert fit.outputs.network.num_tokens == len(SIZES) + 2
    assert fit.outputs.network.embedding_scale == 0.5
    assert np.isfinite(fit.predict_proba(problem.table)).all()


@pytest.mark.parametrize("knots", [np.zeros(3), np.zeros((3, 3)), np.zeros((2, 1))])
def test_knots_that_do_not_fit(problem, knots):
    with pytest.raises(TabularError, match=r"knots of shape .*; give \(2, bins \+ 1\)"):
        fit_tabtransformer(problem, key=KEYS, knots=knots)


@pytest.mark.slow
def test_all_but_the_head_starts_from_the_pretraining(problem):
    pretrained = _pretrained(num_layers=1)
    settings = QUICK | {"steps": 1, "learning_rate": 1e-12}
    fit = fit_tabtransformer(problem, key=KEYS, pretrained=pretrained, **settings)
    for run in range(2):
        for name in ("embedding", "layer_0"):
            jax.tree.map(
                lambda a, b, run=run: np.testing.assert_allclose(a[run], b, atol=1e-9),
                fit.params["params"][name],
                pretrained.params["params"][name],
            )
    heads = np.asarray(fit.params["params"]["dense_2"]["kernel"])
    assert heads.shape[-1] == 2
    assert np.abs(heads[0] - heads[1]).max() > 0.01
    assert isinstance(fit.outputs, NetworkOutputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_method_learns(problem, name):
    settings = {} if name in ("prior", "logistic", "gbdt", "gbdt_pl") else {**QUICK, "steps": 60}
    if name == "tabnet":
        del settings["embedding_size"]
    if name.startswith("tabtransformer"):
        settings |= {"num_layers": 1, "num_heads": 2}
    if name.startswith("gbdt"):
        settings = {"min_samples_leaf": 2}
    probs = BASELINES[name](problem, key=KEYS, **settings).predict_proba(problem.table)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
    areas = []
    for own, *seen in zip(probs, problem.labelled, problem.validation, strict=True):
        rest = np.setdiff1d(np.arange(96), np.concatenate(seen))
        areas.append(classification_score(np.log(own[rest] + 1e-9), problem.labels[rest]))
    assert np.mean(areas) == 0.5 if name == "prior" else np.mean(areas) > 0.65
