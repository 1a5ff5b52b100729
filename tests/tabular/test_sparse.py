import jax
import numpy as np
import pytest

from jlabel.tabular import (
    NetworkOutputs,
    TabTransformer,
    TabularError,
    classification_score,
    fit_sparse,
    init_network,
    prune,
)
from jlabel.tabular.fitting import init_runs, train_problem
from jlabel.tabular.sparse import SparseLoss
from tests.tabular.problems import QUICK, SIZES, small_problem

KEYS = jax.random.split(jax.random.key(7), 2)
NETWORK = TabTransformer(SIZES, 2, 2, embedding_size=8, num_layers=0, num_heads=1)
SETTINGS = QUICK | {"weight_decay": 0.5}
DENSE = ("dense_0", "dense_1", "dense_2")


def weights(params, run):
    return np.concatenate([np.ravel(params["params"][name]["kernel"][run]) for name in DENSE])


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(scope="module")
def fit(problem):
    return fit_sparse(problem, key=KEYS, rounds=2, share=0.4, **SETTINGS)


@pytest.fixture(scope="module")
def first():
    return jax.tree.map(np.asarray, init_runs(NETWORK, KEYS))


def test_the_smallest_weights_of_all_layers_go_and_the_others_are_rewound(first):
    trained = jax.tree.map(lambda x: x + np.random.default_rng(0).normal(size=x.shape).astype(np.float32), first)
    once = prune(first, trained, share=0.2)
    twice = prune(first, jax.tree.map(lambda x, y: np.where(y == 0, 0, x), trained, once), share=0.2)
    for run in range(2):
        size = weights(first, run).size
        ranks = np.abs(weights(trained, run)).argsort()
        for params, gone in ((once, int(0.2 * size)), (twice, int(0.2 * size) + int(0.2 * (size - int(0.2 * size))))):
            expected = weights(first, run).copy()
            expected[ranks[:gone]] = 0
            np.testing.assert_array_equal(weights(params, run), expected)
    for name, layer in first["params"].items():
        for leaf in set(layer) - {"kernel"}:  # biases and embeddings
            np.testing.assert_array_equal(twice["params"][name][leaf], layer[leaf])


def test_pruned_weights_get_no_gradient_and_others_the_usual_one(problem):
    params = init_network(NETWORK, jax.random.key(0))
    kernel = params["params"]["dense_1"]["kernel"]
    gone = np.random.default_rng(0).random(kernel.shape) < 0.5
    params["params"]["dense_1"]["kernel"] = kernel * ~gone
    batch = {"codes": problem.table.codes[:16], "values": problem.table.values[:16], "target": problem.labels[:16]}
    found = jax.jit(jax.grad(SparseLoss(NETWORK)))(params, batch, jax.random.key(0), 0.0)
    own = np.asarray(found["params"]["dense_1"]["kernel"])
    assert (own[gone] == 0).all()
    assert (own[~gone] != 0).mean() > 0.3  # some units are off
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.abs(leaf).max() > 0, path


def test_pruned_weights_stay_zero_through_training(problem, fit, first):
    start = prune(first, first, share=0.6)
    own = {name: value for name, value in SETTINGS.items() if name != "embedding_size"}
    found = train_problem(problem, SparseLoss(NETWORK), NetworkOutputs(NETWORK), start, keys=KEYS, **own)
    for run in range(2):
        before, after = weights(start, run), weights(found.params, run)
        np.testing.assert_array_equal(after == 0, before == 0)
        assert (after != before).mean() > 0.3


def test_the_fit_says_how_many_weights_it_kept(fit):
    size = weights(fit.params, 0).size
    left = [size, size - int(0.4 * size)]
    left.append(left[1] - int(0.4 * left[1]))
    assert fit.scores.shape == (2, 3)
    for run in range(2):
        place = int(fit.scores[run].argmax())
        assert np.count_nonzero(weights(fit.params, run)) == left[place]
        assert fit.kept[run] == pytest.approx(left[place] / size)


def test_validation_chooses_the_sparsity(problem, fit):
    probs = fit.predict_proba(problem.table)
    for run in range(2):
        rows = problem.validation[run][problem.validation[run] >= 0]
        found = classification_score(np.log(probs[run][rows]), problem.labels[rows])
        assert found == pytest.approx(fit.scores[run].max(), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"validation": None}, {}, "the sparse MLP chooses its sparsity on validation rows, and the problem has none"),
        ({}, {"share": 0.0}, r"share is 0\.0; allowed: above 0 to 0\.99"),
        ({}, {"rounds": 0}, "rounds is 0; allowed: whole numbers from 1"),
    ],
)
def test_settings_out_of_range(problem, changes, settings, message):
    with pytest.raises(TabularError, match=message):
        fit_sparse(problem._replace(**changes), key=KEYS, **settings)
