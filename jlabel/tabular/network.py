"""TabTransformer: embeddings of a row's categories that know the row's other categories."""

import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.tabular.checks import TabularError, check_choice, check_count, check_number

__all__ = ["DetectionHead", "Identifier", "Norm", "PretrainingHeads", "TabTransformer", "check_network", "init_network"]

Identifier = Literal["concat", "add", "none"]
Norm = Literal["post", "pre"]
DetectionHead = Literal["value", "column"]
IDENTIFIERS: tuple[Identifier, ...] = ("concat", "add", "none")
NORMS: tuple[Norm, ...] = ("post", "pre")
DETECTION_HEADS: tuple[DetectionHead, ...] = ("value", "column")
_IDENTIFIER_SHARE = 8  # a concatenated column identifier takes one number in eight
_FEW = 16  # tokens whose attention is faster as sums than as products of matrices
_LEVELS = 1 << 16  # dropout compares 16 random bits


class TabTransformer(nn.Module):
    """Codes int32 ``(B, m)`` and values ``(B, c)`` to outputs ``(B, outputs)``.

    ``h_1..h_m = Transformer(e_1(x_1)..e_m(x_m))``, ``u = [h_1..h_m, values]``, ``MLP(u)`` with hidden layers of four
    and two times the width of u, ReLU. The embedding of column i's code j is ``[c_i, w_ij]``; code d_i, missing, has
    one of its own. There is no positional encoding, so the order of columns does not matter. Without layers it is an
    MLP on ``[e_1..e_m, values]``.

    On its way into u h_i is divided by ``d^(1/4)``. Layer norm leaves it a norm of ``sqrt(d)``, and a number has one of
    1: undivided, few labels are learned by heart from the categories before numbers are heard; divided by ``sqrt(d)``,
    categories that tell everything are learned too slowly. In between is best over both kinds of tables.

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
            self.layers = [_Layer(*sizes, name=f"layer_{k}") for k in range(self.num_layers)]
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
        x = x.transpose(1, 2, 0) if _rows_last(self.num_tokens) else x.reshape(-1, self.embedding_size)
        masks: Any = [None] * (2 * self.num_layers + 1)
        if key is not None and self.dropout and self.num_layers:
            masks = _dropout_masks(key, (len(masks), *x.shape), self.dropout)
        found = [_dropped(x, masks[0])]
        for k, layer in enumerate(self.layers):
            found.append(layer(found[-1], masks[2 * k + 1], masks[2 * k + 2]))
        if _rows_last(self.num_tokens):
            return tuple(x.transpose(2, 0, 1) for x in found)
        return tuple(x.reshape(len(codes), self.num_tokens, self.embedding_size) for x in found)

    def pooled(self, codes: ArrayLike, values: ArrayLike) -> jax.Array:
        """The last layer's embeddings, averaged over tokens: float32 ``(B, d)``."""
        return self.contextual(codes, values)[-1].mean(1)

    def outputs(self, embeddings: jax.Array, values: ArrayLike) -> jax.Array:
        """What the MLP says of embeddings ``(B, tokens, d)`` and values: ``(B, outputs)``."""
        x = embeddings.reshape(len(embeddings), -1)
        if self.num_layers:
            x /= self.embedding_size**0.25
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


def _rows_last(tokens: int) -> bool:
    """Whether layers get ``(tokens, d, B)``, and not ``(B * tokens, d)``.

    On CPUs the products of attention between few tokens are slow, and sums that run along the rows are not. One axis of
    rows and tokens has faster gradients than two.
    """
    return tokens <= _FEW and jax.default_backend() == "cpu"


class _Dense(nn.Module):
    """`nn.Dense` over axis 1, with its parameters; the outputs in equal parts."""

    size: int
    parts: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[1], self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        if x.ndim == 2:
            return jnp.split(x @ kernel + bias[None], self.parts, 1)
        # The gradient of a wide kernel takes half the time when it comes out tall.
        kernel, sums = (kernel.T, "toi,tib->tob") if self.size > x.shape[1] else (kernel, "tio,tib->tob")
        parts = zip(jnp.split(kernel, self.parts), jnp.split(bias, self.parts), strict=True)
        return [jnp.einsum(sums, jnp.broadcast_to(w[None], (len(x), *w.shape)), x) + b[None, :, None] for w, b in parts]


class _Norm(nn.Module):
    """`nn.LayerNorm` over axis 1, with its parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (1, x.shape[1], 1)[: x.ndim]
        scale = self.param("scale", nn.initializers.ones, (x.shape[1],)).reshape(shape)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[1],)).reshape(shape)
        x -= x.mean(1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(1, keepdims=True) + 1e-6) * scale + bias


class _Layer(nn.Module):
    """Attention and feed-forward of what `_rows_last` says."""

    tokens: int
    heads: int
    head_size: int
    norm: Norm
    gated: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: Any, feed_mask: Any) -> jax.Array:
        norms = [_Norm(name=name) for name in ("attention_norm", "norm")]
        if self.norm == "pre":
            x = x + _dropped(self._attention(norms[0](x)), mask)
            return x + _dropped(self._feed_forward(norms[1](x)), feed_mask)
        x = norms[0](x + _dropped(self._attention(x), mask))
        return norms[1](x + _dropped(self._feed_forward(x), feed_mask))

    def _attention(self, x: jax.Array) -> jax.Array:
        q, k, v = _Dense(3 * self.heads * self.head_size, 3, name="qkv")(x)
        inner, size = q.shape, (self.heads, self.head_size)
        shape = (self.tokens, *size, -1) if x.ndim == 3 else (-1, self.tokens, *size)
        q, k, v = (part.reshape(shape) for part in (q / math.sqrt(self.head_size), k, v))
        if self.is_mutable_collection("intermediates"):
            logits = _dots(q, k).transpose(3, 2, 0, 1) if x.ndim == 3 else jnp.einsum("bihd,bjhd->bhij", q, k)
            self.sow("intermediates", "attention", jax.nn.softmax(logits))
        attend = _attend if x.ndim == 3 else _attend_many
        return _Dense(x.shape[1], name="out")(attend(q, k, v).reshape(inner))[0]

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        width = x.shape[1]
        if not self.gated:
            return _Dense(width, name="down")(nn.relu(_Dense(4 * width, name="up")(x)[0]))[0]
        up, gate = _Dense(8 * width, 2, name="up")(x)
        return _Dense(width, name="down")(up * _gelu(gate))[0]


def _gelu(x: jax.Array) -> jax.Array:
    return x * (0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5)))  # erfc, as in Flax, takes twice the time


def _dots(a: jax.Array, b: jax.Array) -> jax.Array:
    """``(I, H, s, B)``, ``(J, H, s, B)`` to ``(I, J, H, B)``, summed over s."""
    # A loop over I keeps the sums apart from what follows: XLA would do them again for each of its terms.
    return jax.lax.map(lambda row: sum(row[None, :, k] * b[:, :, k] for k in range(b.shape[2])), a)


def _mixed(weights: jax.Array, x: jax.Array) -> jax.Array:
    """``(I, J, H, B)``, ``(J, H, s, B)`` to ``(I, H, s, B)``, summed over J."""
    return functools.reduce(jnp.add, [weights[:, k, :, None] * x[None, k] for k in range(len(x))])


def _weights(q: jax.Array, k: jax.Array) -> jax.Array:
    """Attention ``(I, J, H, B)`` of queries I on keys J."""
    return jax.nn.softmax(_dots(q, k), 1)


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of queries, keys and values ``(tokens, H, s, B)``.

    So few tokens make bad products of matrices; sums over them run along the rows, of which there are many.
    """
    return _mixed(_weights(q, k), v)


def _attend_forward(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, Any]:
    weights = _weights(q, k)
    return _mixed(weights, v), (q, k, v, weights)


def _attend_backward(kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    q, k, v, weights = kept
    slopes = _dots(g, v)
    slopes = weights * (slopes - (weights * slopes).sum(1, keepdims=True))
    return _mixed(slopes, k), _mixed(slopes.swapaxes(0, 1), q), _mixed(weights.swapaxes(0, 1), g)


_attend.defvjp(_attend_forward, _attend_backward)


def _attend_many(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """The same of ``(B, tokens, H, s)``."""
    logits = jnp.einsum("bihd,bjhd->bhij", q, k)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    return jnp.einsum("bhij,bjhd->bihd", weights, v) / weights.sum(-1).transpose(0, 2, 1)[..., None]


def _dropout_masks(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """Masks of mean 1, drawn in one block, which takes half the time of one draw for each place."""
    most = round((1 - rate) * _LEVELS)
    kept = jax.random.bits(key, shape, np.uint16) < most
    return kept * jnp.float32(_LEVELS / most)


def _dropped(x: jax.Array, mask: Any) -> jax.Array:
    return x if mask is None else x * mask


def check_network(network: TabTransformer) -> TabTransformer:
    """Sizes and options in range."""
    for name in ("embedding_size", "num_heads", "num_outputs"):
        check_count(name, getattr(network, name))
    for name in ("num_layers", "bins"):
        check_count(name, getattr(network, name), low=0)
    if network.max_hidden is not None:
        check_count("max_hidden", network.max_hidden)
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
