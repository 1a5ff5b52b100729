import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.networks import column_attention
from jlabel.tabular import PretrainingHeads, TabTransformer, TabularError, init_network
from jlabel.tabular.network import check_network, init_embeddings

# One tiny network for everything that computes.
TINY = TabTransformer((2, 3, 5), 2, 2, 8, 2, 2, dropout=0.0)


def sizes(network):
    """Numbers of each part, without computing any."""
    codes, values = jnp.zeros((1, len(network.cardinalities)), jnp.int32), jnp.zeros((1, network.num_values))
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, values)["params"]
    return {name: sum(math.prod(x.shape) for x in jax.tree.leaves(part)) for name, part in shapes.items()}


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    codes, values = jnp.zeros((1, 3), jnp.int32), jnp.zeros((1, 2))
    shapes = jax.eval_shape(TINY.init, jax.random.key(0), codes, values)
    return jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, [3, 4, 6], size=(256, 3)).astype(np.int32)  # missing ones too
    return codes, rng.normal(size=(256, 2)).astype(np.float32)


@jax.jit
def contextual(params, codes, values):
    return TINY.apply(params, codes, values, method="contextual")


@jax.jit
def outputs(params, codes, values):
    return TINY.apply(params, codes, values)


def test_sizes_of_the_paper():
    found = sizes(TabTransformer((2, 3, 5), 6, embedding_size=32, num_layers=6))
    assert found["embedding"] == 3 * 4 + 13 * 28 == 376
    layers = [found[f"layer_{k}"] for k in range(6)]
    assert layers == [12_704] * 6
    assert sum(layers) == 76_224
    wide = sizes(TabTransformer((2,) * 8, 6, 1, embedding_size=32, num_layers=1))
    assert sum(number for name, number in wide.items() if name.startswith("dense")) == 825_825


def test_sizes_of_the_options():
    plain = {"cardinalities": (2, 3, 5), "num_values": 2, "embedding_size": 32, "num_layers": 1}
    assert sizes(TabTransformer(**plain, identifier="add"))["embedding"] == 3 * 32 + 13 * 32
    assert sizes(TabTransformer(**plain, identifier="none"))["embedding"] == 13 * 32
    assert sizes(TabTransformer(**plain, bins=4))["embedding"] == 5 * 4 + 13 * 28 + 2 * (4 + 1) * 28
    assert sizes(TabTransformer(**plain, head_size=16))["layer_0"] == 12_704 + 3 * (32 * 128 + 128) + 128 * 32 - (
        3 * (32 * 32 + 32) + 32 * 32
    )
    assert sizes(TabTransformer(**plain, gated=True))["layer_0"] == 12_704 + 32 * 128 + 128
    width = 3 * 32 + 2
    capped = sizes(TabTransformer(**plain, max_hidden=50))
    assert sum(capped[f"dense_{k}"] for k in range(3)) == (width + 1) * 50 + 51 * 50 + 51
    assert capped["layer_0"] == 12_704
    assert sizes(TabTransformer(**plain, max_hidden=10**6)) == sizes(TabTransformer(**plain))


def test_scale_of_the_embeddings(params, rows):
    few = [part[:5] for part in rows]
    head = params["params"]["dense_0"]
    kernel = np.array(head["kernel"])
    kernel[: 3 * 8] /= 8**0.5  # undivided embeddings, divided weights
    divided = {"params": {**params["params"], "dense_0": {**head, "kernel": kernel}}}
    published = TINY.clone(embedding_scale=1.0).apply(divided, *few)
    np.testing.assert_allclose(published, outputs(params, *few), rtol=1e-4, atol=1e-5)


def test_columns_have_no_order(params, rows):
    codes, values = rows
    order = [2, 0, 1]
    tables = np.split(params["params"]["embedding"]["value"], np.cumsum([3, 4, 6])[:-1])
    turned = {
        **params["params"],
        "embedding": {
            "identifier": params["params"]["embedding"]["identifier"][order],
            "value": np.concatenate([tables[k] for k in order]),
        },
    }
    other = TINY.clone(cardinalities=(5, 2, 3))
    found = jax.jit(lambda p, c, v: other.apply(p, c, v, method="contextual"))(
        {"params": turned}, codes[:, order], values
    )
    for before, after in zip(contextual(params, codes, values), found, strict=True):
        np.testing.assert_allclose(after, before[:, jnp.array(order)], atol=2e-5)


def test_a_row_alone_is_what_it_is_among_others(params, rows):
    codes, values = rows
    together = np.asarray(outputs(params, codes, values))
    alone = np.concatenate([outputs(params, codes[k : k + 1], values[k : k + 1]) for k in (0, 100, 255)])
    np.testing.assert_allclose(alone, together[[0, 100, 255]], rtol=1e-5, atol=1e-5)


def test_against_float64(params, rows):
    codes, values = rows[0][:5], rows[1][:5]
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

    def dense(x, part):
        return x @ part["kernel"] + part["bias"]

    def normed(x, part):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * part["scale"] + part["bias"]

    start = np.array([0, 3, 7])
    x = p["embedding"]["value"][codes + start]
    x = np.concatenate([np.broadcast_to(p["embedding"]["identifier"], (5, 3, 1)), x], 2)
    for k in range(2):
        part = p[f"layer_{k}"]
        q, key, v = (y.reshape(5, 3, 2, 4) for y in np.split(dense(x, part["qkv"]), 3, -1))
        weights = np.exp(np.einsum("bihd,bjhd->bhij", q, key) / 2)
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("bhij,bjhd->bihd", weights, v).reshape(5, 3, 8)
        x = normed(x + dense(mixed, part["out"]), part["attention_norm"])
        x = normed(x + dense(np.maximum(dense(x, part["up"]), 0), part["down"]), part["norm"])
    u = np.concatenate([x.reshape(5, -1) / 8**0.5, values], 1)
    for name in ("dense_0", "dense_1"):
        u = np.maximum(dense(u, p[name]), 0)
    expected = dense(u, p["dense_2"])
    np.testing.assert_allclose(outputs(params, *rows)[:5], expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_few_tokens_and_many_are_the_same_function(rows, monkeypatch):
    net = TINY.clone(norm="pre", gated=True, num_layers=1)
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *rows)
    start = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)

    def loss(params):
        outputs, left = net.apply(params, *rows, mutable=["intermediates"])
        return jnp.mean(outputs**2), left

    assert column_attention.rows_last(3)
    (few, few_seen), few_slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(start)
    monkeypatch.setattr(column_attention, "_FEW", 0)
    (many, many_seen), many_slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(start)
    np.testing.assert_allclose(few, many, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), few_seen, many_seen)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max() + 1e-6),
        few_slopes,
        many_slopes,
    )


def test_every_parameter_learns(params, rows):
    codes, values = rows
    labels = np.arange(256) % 2

    @jax.jit
    def gradient(params):
        def loss(params):
            logits = TINY.apply(params, codes, values)
            return jnp.mean(jax.nn.logsumexp(logits, 1) - logits[jnp.arange(256), labels])

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all()
        # The softmax over columns does not change with the keys' bias: its gradient is nothing but rounding.
        parts = np.split(leaf, 3) if path[-2].key == "qkv" and path[-1].key == "bias" else [leaf]
        for part in [parts[0], parts[-1]]:
            assert np.abs(part).max() > 1e-6, path


def test_extreme_logits_stay_finite(params, rows):
    large = jax.tree.map(lambda x: 50 * x, params)
    assert np.isfinite(outputs(large, *rows)).all()


def test_numbers_as_tokens_by_hand():
    net = TabTransformer((), 2, 1, embedding_size=8, num_layers=0, identifier="none", bins=2)
    knots = np.array([[0.0, 1.0, 3.0], [0.0, 0.0, 1.0]], np.float32)
    kernel = np.zeros((2, 2, 8), np.float32)
    kernel[:, 0, 0] = kernel[:, 1, 1] = 1  # the first two numbers of a token say how full the bins are
    params = {
        "params": {"embedding": {"number": {"kernel": kernel, "bias": np.zeros((2, 8), np.float32)}}},
        "constants": {"embedding": {"number": {"knots": knots}}},
    }
    values = np.array([[0.5, 0.5], [2.0, 0.0], [4.0, 2.0], [-1.0, -1.0]], np.float32)
    tokens = jax.jit(lambda p, c, v: net.apply(p, c, v, method="contextual")[-1][..., :2])(
        params, np.zeros((4, 0), np.int32), values
    )
    first = [[0.5, 0], [1, 0.5], [1, 1.5], [-1, 0]]  # the outer bins go on
    second = [[1, 0.5], [0, 0], [1, 2], [0, 0]]  # one without width: reached or not
    np.testing.assert_allclose(tokens, np.stack([first, second], 1))


@pytest.mark.slow
def test_init_takes_knots_and_leaves_the_head_to_fine_tuning(key):
    net = TabTransformer((2,), 1, 1, embedding_size=8, num_layers=1, num_heads=2, bins=2)
    made = init_network(net, key, knots=[[0.0, 1.0, 5.0]])
    np.testing.assert_array_equal(made["constants"]["embedding"]["number"]["knots"], [[0.0, 1.0, 5.0]])
    assert made["params"]["dense_0"]["kernel"].shape == (16, 64)
    plain = net.clone(bins=0)
    whole, start = init_network(plain, key)["params"], init_embeddings(plain, key)["params"]
    assert set(whole) - set(start) == {"dense_0", "dense_1", "dense_2"}
    jax.tree.map(np.testing.assert_array_equal, {name: whole[name] for name in start}, start)


@pytest.mark.parametrize(
    ("objective", "detection", "shape"),
    [("mlm", "value", (4, 2, 5)), ("rtd", "value", (4, 2)), ("rtd", "column", (4, 2))],
)
def test_heads_have_their_own_columns(objective, detection, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 8)).astype(np.float32)
    codes = np.array([[0, 4], [1, 0], [2, 2], [1, 5]])  # 2 in the first column, 5 in the second are missing
    heads = PretrainingHeads((2, 5), objective, detection)
    shapes = jax.eval_shape(heads.init, jax.random.key(0), x, codes)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    logits = np.asarray(jax.jit(heads.apply)(params, x, codes))
    assert logits.shape == shape
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    assert kernel.shape == (2, 8, 1 if detection == "column" else 5)
    expected = np.einsum("bmd,mdk->bmk", x[:, :2], kernel) + bias
    if objective == "mlm":
        assert (logits[:, 0, 2:] == -1e30).all()
        np.testing.assert_allclose(logits[:, 1], expected[:, 1], atol=1e-5)
        return
    assert np.isfinite(logits).all()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (3, 0)):  # the known ones
        head = 0 if detection == "column" else codes[row, column]
        np.testing.assert_allclose(logits[row, column], expected[row, column, head], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_size": 30}, "embedding_size 30 is no multiple of num_heads 8; change one"),
        ({"num_heads": 0}, "num_heads is 0; allowed: whole numbers from 1"),
        ({"num_layers": -1}, "num_layers is -1; allowed: whole numbers from 0"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed: from 0 to 0.99"),
        ({"identifier": "sum"}, "identifier is 'sum'; allowed: 'concat', 'add', 'none'"),
        ({"norm": "none"}, "norm is 'none'; allowed: 'post', 'pre'"),
        ({"max_hidden": 0}, "max_hidden is 0; allowed: whole numbers from 1"),
        ({"embedding_scale": 0.0}, "embedding_scale is 0.0; allowed: above 0"),
        ({"bins": 2.5}, "bins is 2.5; allowed: whole numbers from 0"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(TabularError, match=message):
        check_network(TabTransformer((2, 3), **options))
