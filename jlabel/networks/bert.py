"""BERT: token ids to one vector per token, and its weights from a directory in the Hugging Face layout."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from jax.typing import ArrayLike

from jlabel.networks.tokenizer import read_json
from jlabel.networks.weights import WeightsError, read_torch_file

__all__ = ["Bert", "BertConfig", "bert_weights_file", "load_bert", "read_bert_config"]


def _gelu(x: jax.Array) -> jax.Array:
    # As PyTorch computes it: the exact form through erf, in float32. Flax's, through erfc, takes three times as long.
    y = x.astype(jnp.float32)
    return (0.5 * y * (1.0 + jax.lax.erf(y * math.sqrt(0.5)))).astype(x.dtype)


_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": _gelu,
    "gelu_new": nn.gelu,
    "gelu_pytorch_tanh": nn.gelu,
    "relu": nn.relu,
    "silu": nn.silu,
}
_init = nn.initializers.normal(0.02)


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT, under the names of its `config.json`; the defaults are BERT-base's."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"


class _Embeddings(nn.Module):
    config: BertConfig
    dtype: Any

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        config, width = self.config, self.config.hidden_size
        words = nn.Embed(config.vocab_size, width, embedding_init=_init, name="word")(ids)
        positions = self.param("position", _init, (config.max_position_embeddings, width))
        # Every text is one segment: only the first row of the types is ever added.
        types = self.param("type", _init, (config.type_vocab_size, width))
        x = words + positions[None, : ids.shape[1]] + types[None, :1]
        return _norm(config, self.dtype, "norm")(x)


class _Layer(nn.Module):
    config: BertConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        # x is [B L, H]: with one axis of tokens, XLA's gradients of the products take half the time of those with two.
        config, width = self.config, x.shape[-1]
        qkv = self._dense(3 * width, "qkv")(x).reshape(*mask.shape, 3, config.num_attention_heads, -1)
        attended = _attend(qkv.transpose(2, 0, 3, 1, 4), mask).reshape(x.shape)
        x = _norm(config, self.dtype, "attention_norm")(x + self._dense(width, "out")(attended))
        y = _ACTIVATIONS[config.hidden_act](self._dense(config.intermediate_size, "up")(x))
        return _norm(config, self.dtype, "norm")(x + self._dense(width, "down")(y))

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=_init, name=name)


def _attend(heads: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention of queries, keys and values [3, B, N, L, D] to the tokens of mask [B, L] -> [B, L, N, D]."""
    # `jax.nn.dot_product_attention` takes up to three times as long on CPU, twice with its gradient: it selects where
    # this adds, and normalises the [L, L] weights where this divides their sums. Logits and softmax are float32.
    queries, keys, values = heads
    bias = jnp.where(mask, 0.0, -1e30)[:, None, None]
    scaled = queries / math.sqrt(queries.shape[-1])
    logits = jnp.einsum("bntd,bnsd->bnts", scaled, keys, preferred_element_type=jnp.float32) + bias
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, -1, keepdims=True)))
    sums = jnp.einsum("bnts,bnsd->bntd", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return (sums / jnp.sum(weights, -1, keepdims=True)).transpose(0, 2, 1, 3).astype(values.dtype)


def _norm(config: BertConfig, dtype: Any, name: str) -> nn.LayerNorm:
    # Flax takes mean and variance in float32 whatever the dtype.
    return nn.LayerNorm(config.layer_norm_eps, dtype=dtype, use_fast_variance=False, name=name)


class Bert(nn.Module):
    """The encoder of BERT, without dropout and without the pooler: ids int32 [B, L] -> hidden [B, L, H].

    ``x = norm(e_word + e_position + e_type)``; each layer ``x = norm(x + attention(x))``, ``x = norm(x + mlp(x))``.
    Padding (id 0) is not attended to. Its params have the names `embeddings`, `layer0`, `layer1`, ...

    Attributes:
      config: the sizes.
      dtype: of the computation; the params are float32, softmax and norms are computed in float32.
      remat: compute each layer's inner values again in the backward pass instead of keeping them: the memory of one
        layer, for about a third more time. AdamW steps of BERT-base on 32 texts of 128 tokens take 1.3 GB of state and
        1.4 GB beside it, 4.6 without; on 8 texts of 512 tokens 1.5 and 5.5.

    Example:
      >>> net = Bert(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
      ...                       intermediate_size=16, max_position_embeddings=4))
      >>> ids = jnp.array([[2, 5, 3, 0]])
      >>> jax.eval_shape(net.init_with_output, jax.random.key(0), ids)[0].shape
      (1, 4, 8)

    Source: Devlin et al. 2019, arXiv:1810.04805.
    """

    config: BertConfig
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, ids: ArrayLike) -> jax.Array:
        """Ids int32 [B, L], L at most `max_position_embeddings` -> [B, L, H] in `dtype`."""
        tokens = jnp.asarray(ids)
        x = _Embeddings(self.config, self.dtype, name="embeddings")(tokens).reshape(tokens.size, -1)
        names = [f"layer{i}" for i in range(self.config.num_hidden_layers)]
        if self.remat and not self.is_initializing():
            # In a loop: of layers in a row XLA on a processor merges what is computed twice, and keeps it all.
            layer = _Layer(self.config, self.dtype, parent=None)

            def run(x: jax.Array, params: Any) -> tuple[jax.Array, None]:
                return jnp.asarray(layer.apply({"params": params}, x, tokens != 0)), None

            params = [self.variables["params"][name] for name in names]
            x, _ = jax.lax.scan(jax.checkpoint(run), x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *params))
        else:
            for name in names:
                x = _Layer(self.config, self.dtype, name=name)(x, tokens != 0)
        return x.reshape(*tokens.shape, -1)


def load_bert(folder: str | Path, *, dtype: Any = jnp.float32, remat: bool = False) -> tuple[Bert, dict[str, Any]]:
    """A BERT and its weights from a local directory in the Hugging Face layout.

    Reads `config.json` and `model.safetensors` (float32, float16 or bfloat16), or `pytorch_model.bin` without running
    its code. Names may start with "bert."; the pooler and the heads of other tasks are left out.

    Args:
      folder: the directory.
      dtype: as in `Bert`.
      remat: as in `Bert`.

    Returns:
      The module, and its variables {"params": ...} in float32.

    Raises:
      WeightsError: a file is missing, damaged or cut short; the model is no BERT; a tensor is missing, left over, or of
        another shape than `config.json` says.

    Example:
      >>> load_bert("nowhere")
      Traceback (most recent call last):
      jlabel.networks.weights.WeightsError: nowhere/config.json: there is no such file
    """
    folder = Path(folder)
    config = read_bert_config(folder)
    path = bert_weights_file(folder)
    state = _plain_names(read_torch_file(path) if path.suffix == ".bin" else _read_safetensors(path))
    shapes = _tensor_shapes(config)
    if missing := [name for name in shapes if name not in state]:
        raise WeightsError(
            f"{path}: {len(missing)} tensors of the model in config.json are missing, first {missing[0]}; "
            "take both files from the same model"
        )
    if extra := sorted(state.keys() - shapes.keys()):
        raise WeightsError(
            f"{path}: {len(extra)} tensors do not belong to the model in config.json, first {extra[0]}; "
            "take both files from the same model"
        )
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise WeightsError(
                f"{path}: {name} has the shape {list(state[name].shape)}, config.json says {list(shape)}; "
                "take both files from the same model"
            )
        if state[name].dtype.name not in ("float16", "bfloat16", "float32", "float64"):
            raise WeightsError(
                f"{path}: {name} is of {state[name].dtype.name}; jlabel reads floats, not quantised weights"
            )
    return Bert(config, dtype, remat), {"params": _params(config, state)}


def bert_weights_file(folder: Path) -> Path:
    """`model.safetensors` of a model directory, else `pytorch_model.bin`."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: there is neither model.safetensors nor pytorch_model.bin")


def read_bert_config(folder: Path) -> BertConfig:
    """The sizes in `config.json` of a model directory; a WeightsError where this module cannot compute the model."""
    path = folder / "config.json"
    document = read_json(path)
    # The oldest files, BERT's own among them, do not say what they are.
    if (kind := document.get("model_type", "bert")) != "bert":
        raise WeightsError(f"{path}: model_type {kind!r} is not supported; jlabel reads 'bert'")
    for name, wanted in {"position_embedding_type": "absolute", "is_decoder": False, "pad_token_id": 0}.items():
        if document.get(name, wanted) != wanted:
            raise WeightsError(f"{path}: {name} is {document[name]!r}; jlabel reads models where it is {wanted!r}")
    values: dict[str, Any] = {}
    for name, default in vars(BertConfig()).items():
        optional = name in ("max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act")
        if name not in document and not optional:
            raise WeightsError(f"{path}: {name} is missing")
        value = values[name] = document.get(name, default)
        if isinstance(default, int) and (type(value) is not int or value < 1):
            raise WeightsError(f"{path}: {name} is {value!r}; expected a whole number from 1")
        if isinstance(default, float) and (type(value) not in (int, float) or not 0 < value < 1):
            raise WeightsError(f"{path}: {name} is {value!r}; expected a number between 0 and 1")
    config = BertConfig(**values)
    if config.hidden_act not in _ACTIVATIONS:
        raise WeightsError(
            f"{path}: hidden_act {config.hidden_act!r} is not supported; jlabel knows {', '.join(sorted(_ACTIVATIONS))}"
        )
    if config.hidden_size % config.num_attention_heads:
        raise WeightsError(
            f"{path}: hidden_size {config.hidden_size} is not a multiple of num_attention_heads "
            f"{config.num_attention_heads}"
        )
    return config


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file: {error}; it is damaged or cut short, get it again"
        ) from error


def _plain_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The encoder's tensors, without the prefix, the pooler and buffers, in today's names."""
    prefix = "bert." if any(name.startswith("bert.") for name in state) else ""
    plain = {}
    for name, values in state.items():
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and not re.match(r"pooler\.|embeddings\.(position|token_type)_ids$", inner):
            # TensorFlow's names, which the files of the first BERTs still have.
            plain[inner.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")] = (
                values
            )
    return plain


# Our name -> theirs, within a layer.
_DENSES = {"out": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense"}
_NORMS = {"attention_norm": "attention.output.LayerNorm", "norm": "output.LayerNorm"}
_QKV = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))


def _tensor_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, width),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, width),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    sizes = {name: (width, width) for name in (*_QKV, _DENSES["out"])}
    sizes |= {_DENSES["up"]: (inner, width), _DENSES["down"]: (width, inner)}
    for i in range(config.num_hidden_layers):
        for name, size in sizes.items():
            shapes |= {f"encoder.layer.{i}.{name}.weight": size, f"encoder.layer.{i}.{name}.bias": size[:1]}
        for name in _NORMS.values():
            shapes |= {f"encoder.layer.{i}.{name}.{part}": (width,) for part in ("weight", "bias")}
    return shapes


def _params(config: BertConfig, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    def take(name: str) -> np.ndarray:
        return np.asarray(state[name], np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

    def dense(*names: str) -> dict[str, np.ndarray]:
        kernels = [take(f"{name}.weight").T for name in names]
        return {"kernel": np.concatenate(kernels, 1), "bias": np.concatenate([take(f"{name}.bias") for name in names])}

    params: dict[str, Any] = {
        "embeddings": {
            "word": {"embedding": take("embeddings.word_embeddings.weight")},
            "position": take("embeddings.position_embeddings.weight"),
            "type": take("embeddings.token_type_embeddings.weight"),
            "norm": norm("embeddings.LayerNorm"),
        }
    }
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        params[f"layer{i}"] = {
            "qkv": dense(*(layer + name for name in _QKV)),
            **{ours: dense(layer + theirs) for ours, theirs in _DENSES.items()},
            **{ours: norm(layer + theirs) for ours, theirs in _NORMS.items()},
        }
    return jax.tree.map(jnp.asarray, params)
