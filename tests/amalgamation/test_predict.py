"""Predictions: batches, columns, what is refused; and what chains of other makers get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import (
    AmalgamationError,
    ChainApply,
    ChainModel,
    ChainOutput,
    LabelChain,
    chain_outputs,
    predict_labels,
    predict_probs,
)
from jlabel.amalgamation.model import init_chains
from tests.amalgamation.oracle import chain_row, sigmoid

NAMES = ("red", "round", "ripe", "sweet")
ROWS = 131


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Programs that run for milliseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


@pytest.fixture(scope="module")
def model():
    network = LabelChain(4, 5)
    params = jax.tree.map(lambda leaf: 2 * leaf[0], init_chains(network, 6, jax.random.split(jax.random.key(0), 1)))
    return ChainModel(ChainApply(network), params, NAMES)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)


def test_one_row_is_that_row_in_a_batch(model, rows):
    """Exactly, in the first batch and in the last, incomplete one."""
    probs = np.asarray(predict_probs(model, rows))
    assert probs.shape == (ROWS, 4)
    for row in (0, 5, 127, 128, 130):
        np.testing.assert_array_equal(predict_probs(model, rows[row : row + 1])[0], probs[row])
        final, _, order, _ = chain_row(model.params, rows[row])
        np.testing.assert_allclose(probs[row], sigmoid(final), atol=1e-5)
        assert chain_outputs(model, rows[row : row + 1]).order[0].tolist() == order.tolist()
    np.testing.assert_array_equal(predict_probs(model, rows[::-1]), probs[::-1])


def test_no_rows(model, rows):
    assert predict_probs(model, rows[:0]).shape == (0, 4)


def test_columns_by_name(model, rows):
    probs = np.asarray(predict_probs(model, rows[:3]))
    np.testing.assert_array_equal(
        predict_probs(model, rows[:3], label_names=["sweet", "red", "round", "ripe"]), probs[:, [3, 0, 1, 2]]
    )
    labels = predict_labels(model, rows[:3], label_names=list(NAMES[::-1]), threshold=0.6)
    np.testing.assert_array_equal(labels, probs[:, ::-1] > 0.6)
    assert labels.dtype == bool


def test_the_threshold_is_strict():
    logits = jnp.array([[0.0, 1.0]])
    halves = ChainModel(lambda params, x: ChainOutput(jnp.tile(logits, (len(x), 1)), x, x, x), None, ("a", "b"))
    assert predict_labels(halves, [[1.0]]).tolist() == [[False, True]]


def test_initial_logits_reach_the_chain(model, rows):
    """Rows of the last batch too; NaN is the chain's own, 0 is a logit."""
    initial = np.full((ROWS, 4), np.nan, np.float32)
    initial[130] = (np.nan, 0.0, 3.0, np.nan)
    own, revised = chain_outputs(model, rows), chain_outputs(model, rows, initial)
    np.testing.assert_array_equal(revised.step_logits[:130], own.step_logits[:130])
    expected = chain_row(model.params, rows[130], initial=initial[130])
    np.testing.assert_allclose(revised.step_logits[130], expected[1], atol=1e-5)
    assert np.abs(revised.step_logits[130] - own.step_logits[130]).max() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.array([[0.0] * 6, [0, 0, 0, np.nan, 0, 0]])}, "features: row 1, column 3 is nan"),
        ({"features": np.zeros(6)}, r"features must have the axes \(row, column\), got shape \(6,\)"),
        ({"features": np.zeros((2, 5))}, "features has 5 columns; this model was trained on 6"),
        (
            {"label_names": ["red", "round", "blue"]},
            r"missing: \['ripe', 'sweet'\], extra: \['blue'\]",
        ),
        ({"label_names": ["red", "red"]}, "label_names: 'red' stands at 0 and at 1"),
        ({"threshold": 1.1}, "threshold is 1.1; allowed: 0 to 1"),
    ],
)
def test_bad_input(model, change, message):
    with pytest.raises(AmalgamationError, match=message):
        predict_labels(**{"model": model, "features": np.zeros((2, 6)), **change})


def test_initial_logits_of_another_shape(model, rows):
    with pytest.raises(AmalgamationError, match=r"initial_logits have shape \(131, 3\); needed: 131 rows, 4 labels"):
        chain_outputs(model, rows, np.zeros((ROWS, 3)))
