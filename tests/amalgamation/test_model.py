"""Training of chains: runs side by side, the epoch that is kept, recovery, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import AmalgamationError, fit_chain, fit_chains, predict_labels, predict_probs
from jlabel.amalgamation.model import _apply
from jlabel.amalgamation.train import _train

NAMES = ("red", "round", "ripe")
FIT = {"label_names": NAMES, "hidden_size": 6, "epochs": 150, "batch_size": 8, "learning_rate": 0.03}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Programs that run for milliseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


@pytest.fixture(scope="module")
def rows():
    """Two of the labels are seen in the features, the third is their exclusive or."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 21, 4)).astype(np.float32)
    y = np.stack([x[..., 0] > 0, x[..., 1] > 0, (x[..., 0] > 0) ^ (x[..., 1] > 0)], -1)
    return x, y


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(0), 2)


@pytest.fixture(scope="module")
def models(rows, keys):
    return fit_chains(*rows, validation=rows, keys=keys, **FIT)


@pytest.mark.slow
def test_runs_side_by_side_are_single_runs(rows, keys, models):
    """And a model of the same sizes is not compiled again."""
    x, y = rows
    alone = fit_chain(x[1], y[1], validation=(x[1], y[1]), key=keys[1], **FIT)
    np.testing.assert_allclose(predict_probs(alone, x[1]), predict_probs(models[1], x[1]), atol=2e-3)
    trained, applied = _train._cache_size(), _apply._cache_size()
    fit_chain(x[0], y[0], validation=(x[1], y[1]), key=keys[0], **FIT)
    fit_chains(*rows, validation=rows, keys=keys, **{**FIT, "learning_rate": 0.1})
    assert (_train._cache_size(), _apply._cache_size()) == (trained, applied)
    assert models[0].apply_fn == alone.apply_fn
    assert hash(models[0].apply_fn) == hash(alone.apply_fn)


def test_recovery(rows, models):
    """An exclusive or of other labels can only be learnt through them."""
    for model, x, y in zip(models, *rows, strict=True):
        assert model.label_names == NAMES
        assert model.revisable
        assert (np.asarray(predict_labels(model, x)) == y).mean() > 0.95


def test_the_tree_of_the_parameters(models):
    shapes = jax.tree.map(lambda leaf: leaf.shape, models[0].params["params"])
    assert shapes == {
        "initial": {"kernel": (4, 3), "bias": (3,)},
        "layer_0": {"features": (24, 4), "joined": (24, 12), "bias": (24,)},
        "output": {"kernel": (6, 3), "bias": (3,)},
    }
    deep = models[0].apply_fn.network.clone(num_layers=2)
    tree = jax.eval_shape(deep.init, jax.random.key(0), jnp.ones((1, 4)))["params"]
    assert jax.tree.map(jnp.shape, tree["layer_1"]) == {"joined": (24, 12), "bias": (24,)}


def test_a_label_never_positive_is_named_and_trained(rows, keys):
    x, y = rows
    targets = np.where(np.arange(3) == 1, 0.5, y)
    with pytest.warns(UserWarning, match=r"^label 'round' is never positive: no target is above \.5$"):
        model = fit_chain(x[0], targets[0], validation=(x[0], targets[0]), key=keys[0], **FIT)
    assert np.isfinite(np.asarray(predict_probs(model, x[0]))).all()
    targets[1] = y[1]
    with pytest.warns(UserWarning, match=r"^label 'round' is never positive in run 0: no target is above \.5$"):
        fit_chains(x, targets, validation=(x, targets), keys=keys, **FIT)


@pytest.mark.slow
def test_more_rows_a_batch_than_there_are(rows, keys):
    """The whole of the rows is one batch."""
    x, y = rows
    options = {**FIT, "epochs": 2}
    wide = fit_chain(x[0], y[0], key=keys[0], **{**options, "batch_size": 500})
    whole = fit_chain(x[0], y[0], key=keys[0], **{**options, "batch_size": len(x[0])})
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), wide.params, whole.params))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": [[1.0, 2.0], [np.nan, 0.0]]}, "features: row 1, column 0 is nan: fill or drop"),
        ({"features": [[1.0, 2.0], [0.0, -np.inf]]}, "features: row 1, column 1 is -inf"),
        ({"features": [1.0, 2.0]}, r"features must have the axes \(row, column\), got shape \(2,\)"),
        ({"features": [["a", "b"]] * 2}, "features must hold numbers"),
        ({"features": np.zeros((2, 0))}, "features has no column"),
        ({"features": np.zeros((0, 2)), "targets": np.zeros((0, 2))}, "there is no row to train on"),
        ({"targets": [[0.0, 1.0], [0.5, 1.5]]}, "targets: row 1, label 'b' is 1.5; allowed: 0 to 1"),
        ({"targets": [[0.0, np.nan], [0.5, 1.0]]}, "targets: row 0, label 'b' is nan; allowed: 0 to 1"),
        ({"targets": [[0.0], [1.0]]}, r"targets has 1 columns, but there are 2 labels: \['a', 'b'\]"),
        ({"targets": [[0.0, 1.0]]}, r"features have shape \(2, 2\), targets \(1, 2\): give one row"),
        ({"label_names": []}, "label_names is empty: give one name for each label"),
        ({"label_names": ["a", "a"]}, "label_names: 'a' stands at 0 and at 1: names must differ"),
        ({"label_names": "ab"}, "label_names is one text, 'ab': give a list of names"),
        ({"hidden_size": 0}, "hidden_size is 0; allowed: whole numbers from 1"),
        ({"epochs": 2.5}, "epochs is 2.5; allowed: whole numbers from 1"),
        ({"batch_size": True}, "batch_size is True; allowed: whole numbers from 1"),
        ({"num_layers": -1}, "num_layers is -1; allowed: whole numbers from 1"),
        ({"learning_rate": 0}, "learning_rate is 0; allowed: above 0"),
        ({"over": "all"}, "over is 'all'; allowed: steps, final"),
        ({"select": "all"}, "select is 'all'; allowed: positive, always"),
        ({"path_floor": -0.1}, "path_floor is -0.1; allowed: 0 to 1"),
        (
            {"validation": ([[1.0, np.nan]], [[1.0, 0.0]])},
            "validation features: row 0, column 1 is nan",
        ),
        ({"validation": ([[1.0]], [[1.0, 0.0]])}, "validation features has 1 columns; this model was trained on 2"),
    ],
)
def test_bad_input(change, message):
    good = {"features": [[1.0, 2.0], [3.0, 4.0]], "targets": [[1.0, 0.0], [0.0, 1.0]], "label_names": ["a", "b"]}
    options = {"hidden_size": 2, "epochs": 1, "batch_size": 2, "key": jax.random.key(0)}
    with pytest.raises(AmalgamationError, match=message):
        fit_chain(**{**good, **options, **change})


def test_what_runs_need(rows, keys):
    x, y = rows
    with pytest.raises(AmalgamationError, match=r"keys have shape \(1,\): give one typed key for each of the 2 runs"):
        fit_chains(x, y, keys=keys[:1], **FIT)
    with pytest.raises(AmalgamationError, match="validation features have 1 runs, features 2: give the same runs"):
        fit_chains(x, y, validation=(x[:1], y[:1]), keys=keys, **FIT)
    with pytest.raises(AmalgamationError, match="features: run 1, row 2, column 3 is nan"):
        fit_chains(np.where(np.arange(x.size).reshape(x.shape) == 95, np.nan, x), y, keys=keys, **FIT)
