import pickle
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from jlabel.tabular import (
    ColumnTypes,
    Pretrained,
    PretrainingLoss,
    TabTransformer,
    TabTransformerClassifier,
    TabTransformerRegressor,
    TabularError,
    contextual_embeddings,
    encode,
    fit_encoder,
    pretrain,
    pretrained_from_state,
    pretrained_state,
    value_knots,
)
from jlabel.tabular.train import _segment
from jlabel.training import load_arrays, save_arrays
from tests.tabular.tables import FIT, PRETRAINING, TINY, labels, table


@pytest.fixture(scope="module")
def pretrained():
    return pretrain(table(), **PRETRAINING, key=jax.random.key(0))


@pytest.mark.slow
def test_it_learns_and_leaves_the_head_out(pretrained):
    assert pretrained.objective == "mlm"
    assert pretrained.encoder.cardinalities == (3, 3)
    assert set(pretrained.params["params"]) == {"embedding", "layer_0"}
    assert pretrained.losses.shape == (1,)
    assert "params" not in repr(pretrained)
    assert len(repr(pretrained)) < 700


@pytest.mark.slow
def test_equal_keys_give_equal_ones_without_compiling_again(pretrained):
    size = _segment._cache_size()
    again = pretrain(table(), **{**PRETRAINING, "steps": 130, "learning_rate": 3e-3}, key=jax.random.key(0))
    assert again.losses.shape == (2,)
    same = pretrain(table(), **PRETRAINING, key=jax.random.key(0))
    assert _segment._cache_size() == size
    jax.tree.map(np.testing.assert_array_equal, same.params, pretrained.params)
    assert (same.params["params"]["embedding"]["value"] != again.params["params"]["embedding"]["value"]).any()
    np.testing.assert_array_equal(same.losses, pretrained.losses)


@pytest.mark.slow
def test_pickle_and_arrays_keep_every_bit(pretrained, tmp_path):
    save_arrays(tmp_path / "rivers.safetensors", *pretrained_state(pretrained))
    expected = contextual_embeddings(pretrained, table(20, 1))
    for again in (
        pickle.loads(pickle.dumps(pretrained)),
        pretrained_from_state(*load_arrays(tmp_path / "rivers.safetensors")),
    ):
        assert isinstance(again, Pretrained)
        assert again.network == pretrained.network
        assert again.encoder.columns == pretrained.encoder.columns
        np.testing.assert_array_equal(again.losses, pretrained.losses)
        np.testing.assert_array_equal(contextual_embeddings(again, table(20, 1)), expected)


@pytest.mark.slow
def test_a_new_process_gives_equal_embeddings(pretrained, tmp_path):
    save_arrays(tmp_path / "rivers.safetensors", *pretrained_state(pretrained))
    table(20, 1).to_pickle(tmp_path / "table.pkl")
    command = (
        "import sys, numpy, pandas\n"
        "from jlabel.tabular import contextual_embeddings, pretrained_from_state\n"
        "from jlabel.training import load_arrays\n"
        "restored = pretrained_from_state(*load_arrays(sys.argv[1] + '/rivers.safetensors'))\n"
        "found = contextual_embeddings(restored, pandas.read_pickle(sys.argv[1] + '/table.pkl'))\n"
        "numpy.save(sys.argv[1] + '/found.npy', found)\n"
    )
    subprocess.run([sys.executable, "-c", command, str(tmp_path)], check=True)
    found = np.load(tmp_path / "found.npy")
    assert found.tobytes() == contextual_embeddings(pretrained, table(20, 1)).tobytes()


def test_names_and_categories_of_every_kind_are_kept():
    frame = pd.DataFrame({0: [1, 2, 1, 3], "x": ["a", None, "b", "a"], 7: [0.5, np.nan, 2.0, 1.0]})
    encoder = fit_encoder(frame, ColumnTypes((0, "x"), (7,)), scaling="quantile")
    made = Pretrained(encoder, TabTransformer(encoder.cardinalities, encoder.num_values), {"params": {}}, "rtd")
    again = pretrained_from_state(*pretrained_state(made))
    assert again.encoder.names == (0, "x", 7)
    for part, want in zip(encode(again.encoder, frame), encode(encoder, frame), strict=True):
        np.testing.assert_array_equal(part, want)


def test_states_that_cannot_be():
    encoder = fit_encoder(table())
    arrays, meta = pretrained_state(Pretrained(encoder, TabTransformer((3, 3), 3), {"params": {}}, "rtd"))
    with pytest.raises(TabularError, match="'encoder/gaps' is not there: this is no saved pre-training"):
        pretrained_from_state({name: x for name, x in arrays.items() if name != "encoder/gaps"}, meta)
    frame = pd.DataFrame({("a", 1): ["u", "v"]})
    encoder = fit_encoder(frame, ColumnTypes((("a", 1),)))
    named = Pretrained(encoder, TabTransformer((2,)), {"params": {}}, "rtd")
    with pytest.raises(
        TabularError, match=r"column name \('a', 1\) is neither text nor whole number; rename it, or use"
    ):
        pretrained_state(named)


@pytest.mark.slow
def test_one_pre_training_for_several_targets(pretrained):
    frame = table()
    options = FIT | {"steps": 50}
    before = jax.tree.map(np.array, pretrained.params)
    yes = TabTransformerClassifier(**options, pretrained=pretrained).fit(frame[:60], labels(frame[:60]))
    size = TabTransformerRegressor(**options, pretrained=pretrained).fit(frame[:60], 3 * frame["size"][:60] + 1)
    city = TabTransformerClassifier(**options, pretrained=pretrained).fit(frame[:60], frame["city"][:60].to_numpy())
    assert yes.predict_proba(frame).shape == (90, 2)
    assert city.predict_proba(frame).shape == (90, 3)
    assert size.score(frame[60:], 3 * frame["size"][60:] + 1) > 0.5
    assert (city.predict(frame[60:]) == frame["city"][60:]).mean() > 0.9
    for model in (yes, size, city):
        assert model.encoder_ is pretrained.encoder
        # Fine-tuning updates everything, and leaves the pre-training as it was.
        moved = jax.tree.map(
            lambda a, b: (a != b).any(), model.params_["params"]["layer_0"], before["params"]["layer_0"]
        )
        assert all(jax.tree.leaves(moved))
    jax.tree.map(np.testing.assert_array_equal, pretrained.params, before)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "detection"), [("mlm", "value"), ("rtd", "value"), ("rtd", "column")])
def test_pre_training_learns_what_goes_together(objective, detection):
    options = {**PRETRAINING, "objective": objective, "detection": detection, "steps": 600, "rate": 0.3}
    made = pretrain(table(600), **options, key=jax.random.key(1))
    guess = {"mlm": np.log(3), "rtd": 0.6109}[objective]
    assert made.losses[-1] < guess - 0.08
    # Unlike before, a city and its river lie together.
    found = contextual_embeddings(made, table(30)[:3])
    assert found.shape == (3, 2, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "rate"), [("mlm", 1e-3), ("rtd", 3e-3)])
def test_each_objective_has_its_rate(objective, rate):
    options = {**PRETRAINING, "objective": objective, "learning_rate": None}
    found = pretrain(table(), **options, key=jax.random.key(0))
    same = pretrain(table(), **{**options, "learning_rate": rate}, key=jax.random.key(0))
    np.testing.assert_array_equal(found.losses, same.losses)


@pytest.mark.slow
def test_numbers_as_tokens_in_pre_training():
    made = pretrain(table(), **{**PRETRAINING, "bins": 4}, key=jax.random.key(0))
    knots = made.params["constants"]["embedding"]["number"]["knots"]
    np.testing.assert_array_equal(knots, value_knots(made.encoder, 4))  # training left them alone
    assert contextual_embeddings(made, table()).shape == (90, 2 + 3, 8)


def test_the_loss_is_hashable_and_has_its_heads():
    network = TabTransformer((2, 3), **TINY)
    one, two = PretrainingLoss(network, "rtd"), PretrainingLoss(TabTransformer((2, 3), **TINY), "rtd")
    assert one == two
    assert hash(one) == hash(two)
    assert one != PretrainingLoss(network, "mlm")
    assert one != PretrainingLoss(network, "rtd", detection="column")
    assert one.heads.cardinalities == (2, 3)


def test_heads_of_values_see_the_exchanged_row_and_not_the_true_one():
    network = TabTransformer((2, 3), embedding_size=8, num_layers=0, num_heads=1, identifier="none")
    loss = PretrainingLoss(network, "rtd", rate=1.0)
    # Embeddings are unit vectors; the head of value j says "kept" to its own and "exchanged" to any other.
    value = np.eye(7, 8, dtype=np.float32)  # codes 0, 1, missing, then 0, 1, 2, missing
    kernel = np.full((2, 8, 3), 9.0, np.float32)
    for column, first in enumerate((0, 3)):
        kernel[column, first + np.arange(3), np.arange(3)] = -9.0
    params = {
        "network": {"params": {"embedding": {"value": value}}},
        "heads": {"params": {"kernel": kernel, "bias": np.zeros((2, 3), np.float32)}},
    }
    batch = {"codes": np.array([[0, 0], [1, 2], [0, 3]]), "values": np.zeros((3, 0), np.float32)}
    found = jax.jit(loss)(params, batch, jax.random.key(0), 0.0)
    # All known cells are exchanged, and none tells so: softplus(9). With the true row's heads it would be softplus(-9).
    assert float(found) == pytest.approx(9.000123, abs=1e-5)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (
            pd.DataFrame({"x": [0.5, 1.5, 2.5]}),
            {},
            "objective='rtd' learns from category columns, and the table has none",
        ),
        (table(), {"objective": "nsp"}, "objective is 'nsp'; allowed: 'mlm', 'rtd'"),
        (table(), {"detection": "cell"}, "detection is 'cell'; allowed: 'value', 'column'"),
        (table(), {"rate": 0.0}, "rate is 0.0; allowed: above 0 to 1"),
        (table(), {"steps": 0}, "steps is 0; allowed: whole numbers from 1"),
        (table(), {"batch_size": 2.5}, "batch_size is 2.5; allowed: whole numbers from 1"),
        (table(), {"learning_rate": np.nan}, "learning_rate is nan; allowed: above 0"),
        (table(), {"num_heads": 3}, "embedding_size 32 is no multiple of num_heads 3; change one"),
        (table()[:0], {}, "frame has no rows"),
        (
            table().assign(size=np.inf),
            {"columns": ColumnTypes(("city", "river"), ("age", "size"))},
            "column 'size', row 0",
        ),
    ],
)
def test_pre_trainings_that_cannot_be(frame, options, message, key):
    with pytest.raises(TabularError, match=message):
        pretrain(frame, **options, key=key)
