import jax
import numpy as np
import pandas as pd
import pytest

from jlabel.tabular import (
    Pretrained,
    TabTransformer,
    TabularError,
    attention_importance,
    contextual_embeddings,
    encode,
    fit_encoder,
    permutation_importance,
    token_names,
)
from tests.tabular.tables import TINY, table


@pytest.fixture(scope="module")
def model():
    """What a pre-training leaves, with drawn parameters."""
    encoder = fit_encoder(table())
    network = TabTransformer(encoder.cardinalities, encoder.num_values, 1, **TINY)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 2), np.int32), np.zeros((1, 3), np.float32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)
    return Pretrained(encoder, network, params, "mlm")


def test_before_the_transformer_a_cell_knows_itself_only(model):
    frame = table()
    first = contextual_embeddings(model, frame, layer=0)
    assert first.shape == (90, 2, 8)
    assert first.dtype == np.float32
    cities = pd.Series(list(first[:, 0].round(6))).map(tuple)
    assert cities.groupby(frame["city"].to_numpy()).nunique().tolist() == [1, 1, 1]
    assert cities.nunique() == 3
    last = contextual_embeddings(model, frame)
    seen = pd.Series(list(last[:, 0].round(4))).map(tuple).groupby(frame["city"].to_numpy()).nunique()
    assert (seen > 1).all()  # it knows the row's river
    np.testing.assert_array_equal(last, contextual_embeddings(model, frame, layer=1))
    assert token_names(model) == ("city", "river")


def test_rows_and_tables_of_any_length(model):
    frame = pd.concat([table()] * 3, ignore_index=True)  # more than one block
    whole = contextual_embeddings(model, frame)
    assert whole.shape == (270, 2, 8)
    np.testing.assert_array_equal(whole[:90], contextual_embeddings(model, table()))
    np.testing.assert_array_equal(whole[[7]], contextual_embeddings(model, frame.iloc[[7]]))


def test_unknown_is_missing_to_the_last_bit(model):
    frame = table()[:3].reset_index(drop=True)
    frame.loc[0, "city"], frame.loc[1, "city"], frame.loc[2, "city"] = "Paris", None, "Ulm"
    frame["river"] = "Rhine"
    found = contextual_embeddings(model, frame)
    assert found[0].tobytes() == found[1].tobytes()
    assert (found[0] != found[2]).any()


def test_attention_received_by_hand(model):
    found = attention_importance(model, table())
    x = contextual_embeddings(model, table(), layer=0).astype(np.float64)
    kernel = model.params["params"]["layer_0"]["qkv"]
    q, k, _ = np.split(x @ kernel["kernel"] + kernel["bias"], 3, -1)
    logits = np.einsum("bihd,bjhd->bhij", q.reshape(90, 2, 2, 4), k.reshape(90, 2, 2, 4)) / 2
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = weights.mean((0, 1, 2))
    np.testing.assert_allclose(found[["city", "river"]], expected, rtol=1e-5)
    assert found.sum() == pytest.approx(1)
    assert found.is_monotonic_decreasing


def test_permuting_a_column_shows_what_it_was_worth(key):
    frame = table(600)
    encoder = fit_encoder(frame)
    encoded = encode(encoder, frame)
    target = encoded.codes[:, 0] == 2

    def score(given):
        said = (given.codes[:, 0] == 2) & (given.values[:, 1] > -1e9)
        gap = given.values[:, 2]
        assert (given.values[gap == 1, 0] == encoded.values[0, 0]).all()  # a gap goes with its number, the median
        return float((said == target).mean())

    found = permutation_importance(score, encoded, encoder, repeats=4, key=key)
    assert found.index.tolist()[0] == "city"
    assert found["drop"]["city"] == pytest.approx(2 * (1 / 3) * (2 / 3), abs=0.05)
    assert (found.loc[["river", "age", "size"]] == 0).all(axis=None)
    again = permutation_importance(score, encoded, encoder, repeats=4, key=key)
    pd.testing.assert_frame_equal(found, again)


def test_what_cannot_be(model, key):
    with pytest.raises(TabularError, match=r"layer is 2; the network has layers 0 \(before the Transformer\) to 1"):
        contextual_embeddings(model, table(), layer=2)
    with pytest.raises(TabularError, match="model is a str; give what pretrain returns, or a fitted estimator"):
        contextual_embeddings("model", table())
    with pytest.raises(TabularError, match="frame lacks column 'size'"):
        contextual_embeddings(model, table().drop(columns="size"))
    numbers = Pretrained(fit_encoder(table()[["size"]]), TabTransformer((), 1), {}, "mlm")
    for ask in (contextual_embeddings, attention_importance):
        with pytest.raises(TabularError, match="category columns"):
            ask(numbers, table()[["size"]])
    encoded = encode(model.encoder, table())
    with pytest.raises(TabularError, match="table has 2 category and 3 number columns, the encoder 0 and 1; give what"):
        permutation_importance(lambda table: 0.0, encoded, numbers.encoder, key=key)
    with pytest.raises(TabularError, match="repeats is 0; allowed: whole numbers from 1"):
        permutation_importance(lambda table: 0.0, encoded, model.encoder, repeats=0, key=key)
