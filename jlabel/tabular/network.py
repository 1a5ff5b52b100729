"""TabTransformer: embeddings of a row's categories that know the row's other categories."""

import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.networks.column_attention import Layer, dropout_masks, dropped, rows_last
from jlabel.tabular.checks import TabularError, check_choice, check_count, check_number

__all__ = ["DetectionHead", "Identifier", "Norm", "PretrainingHeads", "TabTransformer", "check_network", "init_network"]

Identifier = Literal["concat", "add", "none"]
Norm = Literal["post", "pre"]
DetectionHead = Literal["value", "column"]
IDENTIFIERS: tuple[Identifier, ...] = ("concat", "add", "none")
NORMS: tuple[Norm, ...] = ("post", "pre")
DETECTION_HEADS: tuple[DetectionHead, ...] = ("value", "column")
_IDENTIFIER_SHARE = 8  # a concatenated column identifier takes one number in eight


class TabTransformer(nn.Module):
    """Codes int32 ``(B, m)`` and values ``(B, c)`` to outputs ``(B, outputs)``.

    ``h_1..h_m = Transformer(e_1(x_1)..e_m(x_m))``, ``u = [h_1..h_m, values]``, ``MLP(u)`` with hidden layers of four
    and two times the width of u, ReLU. The embedding of column i's code j is ``[c_i, w_ij]``; code d_i, missing, has
    one of its own. There is no positional encoding, so the order of columns does not matter. Without layers it is an
    MLP on ``[e_1..e_m, values]``.

    On its way into u h_i is divided by ``sqrt(d)``, the norm that layer norm leaves it, so that a category weighs what
    it does without layers, and what a number does. Undivided, as published, few labels are learned by heart from the
    categories before the numbers are heard; where categories tell nearly everything that is no loss.

    Attributes:
      cardinalities: d_i of each category column. num_values: c. num_outputs: logits, or 1 for a regression.
      embedding_size: d. num_layers: of the Transformer, 0 for none. num_heads: must divide d unless ``head_size`` is
        given. dropout: rate on the embeddings and on the output of each sublayer, while training.
      identifier: "concat" gives c_i one eighth of the numbers, "add" adds it to w_ij, "none" leaves it out.
      norm: "post" normalises after each sublayer's sum, "pre" before each sublayer.
      head_size: numbers of a head, default d / num_heads. gated: feed-forward layers ``a * gelu(b)`` instead of ReLU.
      bins: of the piecewise linear code that makes tokens of the values too (Gorishniy et al. 2022); u then holds these
        in place of the plain values. 0 passes them as they are. The edges of the bins, float32 ``(c, bins + 1)``, not
        decreasing in a row, are ``{"constants": {"embedding": {"number": {"knots": ...}}}}`` beside the params; see
        `init_network`.
      max_hidden: at most so many units in a hidden layer of the MLP; 80 and more columns make it hundreds of millions
        of weights otherwise.
      embedding_scale: factor of h_i on its way into u, ``d^(-1/2)`` if not given; 1 is the published one.

    Example:
      >>> net = TabTransformer(cardinalities=(2, 3), num_values=1, num_outputs=2, embedding_size=8, num_heads=2)
      >>> out = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.zeros((4, 2), int), jnp.zeros((4, 1)))
      >>> out[0].shape
      (4, 2)

    Source: Huang et al. 2020, section 2.
    """

    cardinalities: tuple[int, ...]
    num_values: int = 0
    num_outputs: int = 1
    embedding_size: int = 32
    num_layers: int = 6
    num_heads: int = 8
    dropout: float = 0.1
    identifier: Identifier = "concat"
    norm: Norm = "post"
    head_size: int | None = None
    gated: bool = False
    bins: int = 0
    max_hidden: int | None = None
    embedding_scale: float | None = None

    @property
    def num_tokens(self) -> int:
        """Embedded columns: those of categories, and those of numbers where they are tokens."""
        return len(self.cardinalities) + (self.num_values if self.bins else 0)

    def setup(self) -> None:
        """Name the parts."""
        if self.num_tokens:
            self.embedding = _Embedding(self.cardinalities, self.embedding_size, self.identifier, self.bins)
            size = self.head_size or self.embedding_size // self.num_heads
            sizes: Any = (self.num_tokens, self.num_heads, size, self.norm, self.gated)
            self.layers = [Layer(*sizes, name=f"layer_{k}") for k in range(self.num_layers)]
        width = self.num_tokens * self.embedding_size + (0 if self.bins else self.num_values)
        most = self.max_hidden or 4 * width
        sizes = (min(4 * width, most), min(2 * width, most), self.num_outputs)
        self.head = [nn.Dense(size, name=f"dense_{k}") for k, size in enumerate(sizes)]

    def __call__(self, codes: ArrayLike, values: ArrayLike, key: jax.Array | None = None) -> jax.Array:
        """Outputs float32 ``(B, outputs)``; a ``key`` means training, with dropout."""
        return self.outputs(self.contextual(codes, values, key)[-1], values)

    def contextual(self, codes: ArrayLike, values: ArrayLike, key: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """Embeddings float32 ``(B, tokens, d)`` before the Transformer and after each of its layers."""
        codes, values = jnp.asarray(codes), jnp.asarray(values)
        if not self.num_tokens:
            return (jnp.zeros((len(codes), 0, self.embedding_size), values.dtype),)
        x = self.embedding(codes, values)
        x = x.transpose(1, 2, 0) if rows_last(self.num_tokens) else x.reshape(-1, self.embedding_size)
        masks: Any = [None] * (2 * self.num_layers + 1)
        if key is not None and self.dropout and self.num_layers:
            masks = dropout_masks(key, (len(masks), *x.shape), self.dropout)
        found = [dropped(x, masks[0])]
        for k, layer in enumerate(self.layers):
            found.append(layer(found[-1], masks[2 * k + 1], masks[2 * k + 2]))
        if rows_last(self.num_tokens):
            return tuple(x.transpose(2, 0, 1) for x in found)
        return tuple(x.reshape(len(codes), self.num_tokens, self.embedding_size) for x in found)

    def pooled(self, codes: ArrayLike, values: ArrayLike) -> jax.Array:
        """The last layer's embeddings, averaged over tokens: float32 ``(B, d)``."""
        return self.contextual(codes, values)[-1].mean(1)

    def outputs(self, embeddings: jax.Array, values: ArrayLike) -> jax.Array:
        """What the MLP says of embeddings ``(B, tokens, d)`` and values: ``(B, outputs)``."""
        x = embeddings.reshape(len(embeddings), -1)
        if self.num_layers:
            x *= self.embedding_size**-0.5 if self.embedding_scale is None else self.embedding_scale
        x = jnp.concatenate([x] if self.bins else [x, jnp.asarray(values)], 1)
        for layer in self.head[:-1]:
            x = nn.relu(layer(x))
        return self.head[-1](x)


class PretrainingHeads(nn.Module):
    """One linear head for each category column, on that column's embedding alone; dropped after pre-training.

    Embeddings ``(B, tokens, d)``, and codes ``(B, m)`` of the cells that made them, to logits: for "mlm"
    ``(B, m, max d_i)``, -1e30 beyond a column's own d_i, for "rtd" ``(B, m)``, the logit of "replaced"::

        "value":  w_ij . h_i + b_ij  for a cell of code j        "column":  w_i . h_i + b_i

    Whether a value fits the rest of its row is a product of the two. Where one head serves a whole column, the
    Transformer has to multiply, and its last layer holds the answer and little of what the rest of the row is like.
    Heads of values multiply themselves: what they read from h_i is what the rest of the row is like, as with "mlm", and
    that is what targets depend on.

    Attributes:
      cardinalities: d_i. objective: "mlm" or "rtd". detection: heads of "rtd", "value" or "column".
    """

    cardinalities: tuple[int, ...]
    objective: Literal["mlm", "rtd"]
    detection: DetectionHead = "value"

    @nn.compact
    def __call__(self, embeddings: ArrayLike, codes: ArrayLike) -> jax.Array:
        """Logits of each column."""
        x = jnp.asarray(embeddings)[:, : len(self.cardinalities)]
        columns, width = x.shape[1:]
        single = self.objective == "rtd" and self.detection == "column"
        classes = 1 if single else max(self.cardinalities)
        kernel = self.param("kernel", nn.initializers.lecun_normal(batch_axis=(0,)), (columns, width, classes))
        bias = self.param("bias", nn.initializers.zeros, (columns, classes))
        logits = jnp.einsum("bmd,mdk->bmk", x, kernel) + bias[None]
        if self.objective == "rtd":
            # A missing cell has no head; its logit has no part in the loss.
            place = jnp.minimum(jnp.asarray(codes), classes - 1)
            return jnp.take_along_axis(logits, place[..., None], -1)[..., 0]
        known = np.arange(classes) < np.array(self.cardinalities)[:, None]
        return jnp.where(known[None], logits, -1e30)


class _Embedding(nn.Module):
    """Codes ``(B, m)`` and, with bins, values ``(B, c)`` to tokens ``(B, tokens, d)``."""

    cardinalities: tuple[int, ...]
    size: int
    identifier: Identifier
    bins: int

    @nn.compact
    def __call__(self, codes: jax.Array, values: jax.Array) -> jax.Array:
        named = self.size // _IDENTIFIER_SHARE if self.identifier == "concat" else 0
        normal = nn.initializers.normal(1 / math.sqrt(self.size))
        parts = []
        if self.cardinalities:
            # One table for all columns, each with a line more for "missing".
            sizes = np.array(self.cardinalities) + 1
            table = self.param("value", normal, (int(sizes.sum()), self.size - named))
            parts.append(table[codes + (np.cumsum(sizes) - sizes)[None].astype(np.int32)])
        if self.bins and values.shape[1]:
            parts.append(_NumberTokens(self.size - named, self.bins, name="number")(values))
        x = jnp.concatenate(parts, 1)
        if self.identifier == "none":
            return x
        shape = (x.shape[1], named or self.size)
        column = jnp.broadcast_to(self.param("identifier", normal, shape)[None], (len(x), *shape))
        return jnp.concatenate([column, x], 2) if named else x + column


class _NumberTokens(nn.Module):
    """Values ``(B, c)`` to ``(B, c, size)``: how full each bin between two knots is, times a weight for each bin."""

    size: int
    bins: int

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        columns = values.shape[1]
        equal = np.broadcast_to(np.linspace(-3, 3, self.bins + 1, dtype=np.float32), (columns, self.bins + 1))
        knots = self.variable("constants", "knots", lambda: jnp.asarray(equal)).value
        low, width = knots[None, :, :-1], jnp.diff(knots)[None]
        above = values[:, :, None] - low
        full = jnp.where(width > 0, above / jnp.where(width > 0, width, 1), above > 0)
        place = np.arange(self.bins)[None, None]
        # The first and the last bin go on beyond the range of fitting.
        full = jnp.where((place > 0) & (full < 0), 0.0, full)
        full = jnp.where((place < self.bins - 1) & (full > 1), 1.0, full)
        kernel = self.param("kernel", nn.initializers.lecun_normal(batch_axis=(0,)), (columns, self.bins, self.size))
        bias = self.param("bias", nn.initializers.zeros, (columns, self.size))
        return jnp.einsum("bck,ckd->bcd", full, kernel) + bias[None]


def check_network(network: TabTransformer) -> TabTransformer:
    """Sizes and options in range."""
    for name in ("embedding_size", "num_heads", "num_outputs"):
        check_count(name, getattr(network, name))
    for name in ("num_layers", "bins"):
        check_count(name, getattr(network, name), low=0)
    if network.max_hidden is not None:
        check_count("max_hidden", network.max_hidden)
    if network.embedding_scale is not None:
        check_number("embedding_scale", network.embedding_scale, open_low=True)
    check_number("dropout", network.dropout, high=0.99)
    check_choice("identifier", network.identifier, IDENTIFIERS)
    check_choice("norm", network.norm, NORMS)
    if network.head_size is None and network.embedding_size % network.num_heads:
        raise TabularError(
            f"embedding_size {network.embedding_size} is no multiple of num_heads {network.num_heads}; change one"
        )
    return network


def init_network(network: TabTransformer, key: jax.Array, *, knots: ArrayLike | None = None) -> Any:
    """First variables of a network: parameters, and with bins the constants.

    Args:
      network: see there. key: typed PRNG key.
      knots: edges of the bins, float32 ``(c, bins + 1)``, from `value_knots`; equal ones from -3 to 3 if not given.

    Returns:
      What `TabTransformer.apply` takes.
    """
    codes = jnp.zeros((1, len(network.cardinalities)), jnp.int32)
    return with_knots(_init(network, "__call__", key, codes, jnp.zeros((1, network.num_values))), knots)


def init_embeddings(network: TabTransformer, key: jax.Array, *, knots: ArrayLike | None = None) -> Any:
    """First variables without the MLP's, which pre-training does not know; the same as those of `init_network`."""
    codes = jnp.zeros((1, len(network.cardinalities)), jnp.int32)
    return with_knots(_init(network, "contextual", key, codes, jnp.zeros((1, network.num_values))), knots)


def with_knots(variables: Any, knots: ArrayLike | None) -> Any:
    """Variables with these edges of the bins, where there are bins."""
    if knots is None or "constants" not in variables:
        return variables
    return {**variables, "constants": {"embedding": {"number": {"knots": jnp.asarray(knots, jnp.float32)}}}}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(network: TabTransformer, method: str, key: jax.Array, codes: jax.Array, values: jax.Array) -> Any:
    return network.init(key, codes, values, method=method)
