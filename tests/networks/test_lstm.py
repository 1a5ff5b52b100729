"""The bidirectional LSTM against float64 NumPy, its blindness to padding, and GloVe files."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.errors import InputError
from jlabel.networks import BiLSTM, learn_vocabulary, read_word_vectors, text_encoder

GLOVE = Path(__file__).parents[2].parent / "shared" / "data" / "text" / "emb_glove100_top40k.npz"
IDS = np.array([[3, 1, 4, 1, 0, 0], [2, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 6]], np.int32)
TEXTS = ["a red cat sleeps", "a red dog runs", "the cat runs", "the dog sleeps"]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _reference(params, ids, pool):
    """Token by token, in float64, from the equations of the LSTM."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    rows = []
    for row in ids:
        tokens, parts = row[row != 0], []
        for name, order in (("forward", tokens), ("backward", tokens[::-1])):
            p = params[name]
            h = c = np.zeros(p["hi"]["kernel"].shape[0])
            states = []
            for token in order:
                x = params["word"]["embedding"][token]
                i, f, g, o = (x @ p["i" + k]["kernel"] + h @ p["h" + k]["kernel"] + p["h" + k]["bias"] for k in "ifgo")
                c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                h = _sigmoid(o) * np.tanh(c)
                states.append(h)
            parts.append(
                {"mean": np.mean, "max": np.max, "last": lambda s, axis: s[-1]}[pool](np.array(states), axis=0)
            )
        rows.append(np.concatenate(parts))
    return np.array(rows)


def _net(key, pool="mean", **options):
    net = BiLSTM(vocab_size=7, embedding_dim=5, hidden=4, pool=pool, **options)
    params = jax.jit(net.init)(key, IDS)
    # Larger than at the start, so that the gates are not all near one half.
    return net, jax.tree.map(lambda leaf: 3 * leaf + 0.1, params)


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_equals_an_independent_implementation(key, pool) -> None:
    net, params = _net(key, pool)
    np.testing.assert_allclose(jax.jit(net.apply)(params, IDS), _reference(params, IDS, pool), atol=2e-6)


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_padding_and_batch_change_nothing(key, pool) -> None:
    net, params = _net(key, pool)
    apply = jax.jit(net.apply)
    whole = apply(params, IDS)
    np.testing.assert_allclose(apply(params, np.pad(IDS, ((0, 0), (0, 9)))), whole, atol=1e-6)
    np.testing.assert_allclose(apply(params, IDS[:1, :4])[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(apply(params, IDS[::-1])[::-1], whole, atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_gradients_pass_by_padding_and_stay_finite(key, pool) -> None:
    net, params = _net(key, pool)

    def loss(params, ids):
        return jnp.sum(net.apply(params, ids) ** 2)

    gradient = jax.jit(jax.grad(loss))
    short = gradient(params, IDS[:2, :4])
    padded = gradient(params, np.pad(IDS[:2], ((0, 1), (0, 3))))  # and a row without a token
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), short, padded)
    assert np.all(padded["params"]["word"]["embedding"][0] == 0)


@pytest.mark.slow
def test_bfloat16_is_near(key) -> None:
    net, params = _net(key)
    half = BiLSTM(vocab_size=7, embedding_dim=5, hidden=4, dtype=jnp.bfloat16).apply(params, IDS)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, net.apply(params, IDS), atol=0.03)


def test_unknown_pool(key) -> None:
    with pytest.raises(InputError, match="pool 'cls' is unknown for an LSTM; choose one of last, max, mean"):
        BiLSTM(vocab_size=3, pool="cls").init(key, IDS)  # type: ignore[arg-type]


def test_encoder_from_texts(key) -> None:
    net = text_encoder("lstm", texts=TEXTS, dim=8)
    assert (net.kind, net.dim, net.image_size, net.pretrained) == ("text", 8, 0, False)
    params = net.init(key)
    ids = net.tokenizer.pad(net.tokenizer.encode(["a cat", "", "an ewe"]))
    features = jax.jit(net.apply)(params, ids)
    assert features.shape == (3, 8)
    assert np.isfinite(features).all()
    again = text_encoder("lstm", tokenizer=type(net.tokenizer).from_json(net.tokenizer.to_json()), dim=8)
    assert again.identity == net.identity
    np.testing.assert_array_equal(jax.jit(again.apply)(again.init(key), ids), features)
    assert text_encoder("lstm", texts=TEXTS, max_length=5).tokenizer.max_length == 5


@pytest.mark.slow
def test_seeds_side_by_side_equal_seeds_one_by_one(key) -> None:
    net = text_encoder("lstm", texts=TEXTS, dim=8)
    params = jax.vmap(net.init)(jax.random.split(key, 2))
    ids = net.tokenizer.pad(net.tokenizer.encode(TEXTS))
    features = jax.jit(jax.vmap(net.apply, (0, None)))(params, ids)
    alone = jax.jit(net.apply)(jax.tree.map(lambda leaf: leaf[1], params), ids)
    np.testing.assert_allclose(features[1], alone, atol=1e-6)
    assert jnp.abs(features[0] - features[1]).max() > 1e-4


def test_word_table_starts_from_the_vectors(key, tmp_path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("cat 1 2 3\n. . 4 5 6\nred -1 -2 -3\ncat 9 9 9\n")
    net = text_encoder("lstm", texts=TEXTS, vectors=path, dim=8)
    table, words = net.init(key)["params"]["word"]["embedding"], net.tokenizer.words
    np.testing.assert_array_equal(table[words.index("cat")], [1, 2, 3])
    np.testing.assert_array_equal(table[words.index("red")], [-1, -2, -3])
    unknown = table[np.array([words.index(word) for word in ("dog", "runs", "the", "a")])]
    assert 1 < float(jnp.std(unknown)) < 4  # the known ones' is 2.2
    restored = text_encoder("lstm", tokenizer=net.tokenizer, embedding_dim=3, dim=8)
    ids = net.tokenizer.pad(net.tokenizer.encode(TEXTS))
    np.testing.assert_array_equal(restored.apply(net.init(key), ids), net.apply(net.init(key), ids))
    assert net.identity != restored.identity
    with pytest.raises(InputError, match=r"got embedding_dim=4; the vectors in .*glove\.txt have 3 numbers"):
        text_encoder("lstm", texts=TEXTS, vectors=path, embedding_dim=4)


def test_word_vectors_of_both_formats(tmp_path) -> None:
    text, packed = tmp_path / "vectors.txt", tmp_path / "vectors.npz"
    text.write_text("2 2\nthe 1 2\n. . . 3 4\n")
    np.savez(packed, words=np.array(["the", ". . ."]), E=np.array([[1, 2], [3, 4]], np.float16))
    for path in (text, packed):
        vectors, known = read_word_vectors(path, [". . .", "cat", "the"])
        np.testing.assert_array_equal(vectors, [[3, 4], [0, 0], [1, 2]])
        assert known.tolist() == [True, False, True]


@pytest.mark.skipif(not GLOVE.exists(), reason="the GloVe vectors are not here")
def test_real_vectors_know_what_is_near() -> None:
    vectors, known = read_word_vectors(GLOVE, ["cat", "dog", "parliament", "[UNK]"])
    assert known.tolist() == [True, True, True, False]
    unit = vectors[:3] / np.linalg.norm(vectors[:3], axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.8 > 0.3 > unit[0] @ unit[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1 2\nb 1\n", r"vectors\.txt: line 2 has 2 fields; expected a word and 2 numbers"),
        (b"a 1 2\nb 1 x\n", r"vectors\.txt: line 2, word 'b': could not convert string to float"),
        (b"a 1 2\n\xff 1 2\n", r"vectors\.txt: line 2 is not UTF-8"),
        (b"a 1 2\nb nan 2\n", r"vectors\.txt: the vector of 'b' is not finite"),
        (b"c 1 2\n", r"vectors\.txt: has a vector for none of the 2 words"),
        (b"", r"vectors\.txt: has a vector for none of the 2 words"),
        (b"a\n", r"vectors\.txt: line 1 has 1 fields"),
    ],
)
def test_damaged_text_vectors(tmp_path, content, message) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_word_vectors(path, ["a", "b"])


def test_damaged_packed_vectors(tmp_path) -> None:
    path = tmp_path / "vectors.npz"
    with pytest.raises(InputError, match=r"vectors\.npz: there is no such file of word vectors"):
        read_word_vectors(path, ["a"])
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"vectors\.npz: not a readable \.npz"):
        read_word_vectors(path, ["a"])
    np.savez(path, words=np.array(["a"]), E=np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"1 words, but 2 vectors in E"):
        read_word_vectors(path, ["a"])
    np.savez(path, E=np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"holds E float64\[2, 3\]; expected words"):
        read_word_vectors(path, ["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "takes either texts to learn its vocabulary from, or a tokenizer"),
        ({"texts": TEXTS, "tokenizer": learn_vocabulary(TEXTS)}, "takes either texts"),
        (
            {"tokenizer": learn_vocabulary(TEXTS), "max_length": 9},
            "got max_length=9 and a tokenizer, which has its own",
        ),
        ({"texts": TEXTS, "pool": "cls"}, "got pool='cls'; choose one of last, max, mean"),
        ({"texts": TEXTS, "dim": 7}, "got dim=7; half of it is each direction's"),
        ({"texts": TEXTS, "embedding_dim": 0}, "got embedding_dim=0; it must be at least 1"),
        ({"texts": TEXTS, "remat": True}, "got remat=True, which only the BERTs take"),
    ],
)
def test_bad_requests(options, message) -> None:
    with pytest.raises(InputError, match=message):
        text_encoder("lstm", **options)
