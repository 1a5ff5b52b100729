"""Layers of the Transformer: attention between the columns of a row, in the layout that is fastest where it runs."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Layer", "dropout_masks", "dropped", "rows_last"]

_FEW = 16  # tokens whose attention is faster as sums than as products of matrices
_LEVELS = 1 << 16  # dropout compares 16 random bits


def rows_last(tokens: int) -> bool:
    """Whether layers get ``(tokens, d, B)``, and not ``(B * tokens, d)``.

    On CPUs the products of attention between few tokens are slow, and sums that run along the rows are not. One axis of
    rows and tokens has faster gradients than two.
    """
    return tokens <= _FEW and jax.default_backend() == "cpu"


class Layer(nn.Module):
    """Attention and feed-forward of tokens ``(tokens, d, B)`` or ``(B * tokens, d)``, see `rows_last`.

    Attributes:
      tokens: of a row. heads, head_size: of the attention. norm: "post" or "pre". gated: feed-forward ``a * gelu(b)``.
    """

    tokens: int
    heads: int
    head_size: int
    norm: str
    gated: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: Any, feed_mask: Any) -> jax.Array:
        """Tokens to tokens; masks of dropout for the two sublayers' outputs, or None."""
        norms = [_Norm(name=name) for name in ("attention_norm", "norm")]
        if self.norm == "pre":
            x = x + dropped(self._attention(norms[0](x)), mask)
            return x + dropped(self._feed_forward(norms[1](x)), feed_mask)
        x = norms[0](x + dropped(self._attention(x), mask))
        return norms[1](x + dropped(self._feed_forward(x), feed_mask))

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


def dropout_masks(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """Masks of mean 1, drawn in one block, which takes half the time of one draw for each place."""
    most = round((1 - rate) * _LEVELS)
    kept = jax.random.bits(key, shape, np.uint16) < most
    return kept * jnp.float32(_LEVELS / most)


def dropped(x: jax.Array, mask: Any) -> jax.Array:
    """x, where there is a mask times it."""
    return x if mask is None else x * mask


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
