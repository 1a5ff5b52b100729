"""A bidirectional LSTM over word vectors, trained from scratch."""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.token_pooling import pool_tokens

__all__ = ["LSTM_POOLS", "BiLSTM"]

# For an LSTM the summary of a text is not at its first token ("cls"), but at the last one each direction reads.
LSTM_POOLS = ("last", "max", "mean")


class BiLSTM(nn.Module):
    """Word vectors, an LSTM in each direction, their states pooled: ids int32 [B, L] -> float32 [B, 2 H].

    Padding (id 0, after the tokens) changes nothing: each direction reads only a row's own tokens.

    Attributes:
      vocab_size: rows of the word table.
      embedding_dim: E, width of the table.
      hidden: H, width of the state of each direction.
      pool: "mean" or "max" over the tokens, or "last", the state after the last token that a direction reads.
      dtype: of the matrix products; the params, the cell's state and the pooling are float32.

    Example:
      >>> net = BiLSTM(vocab_size=9, hidden=4)
      >>> ids = jnp.array([[2, 5, 3, 0], [1, 0, 0, 0]])
      >>> jax.eval_shape(net.init_with_output, jax.random.key(0), ids)[0].shape
      (2, 8)

    Source: Hochreiter & Schmidhuber 1997; Graves & Schmidhuber 2005.
    """

    vocab_size: int
    embedding_dim: int = 100
    hidden: int = 128
    pool: Literal["last", "max", "mean"] = "mean"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: ArrayLike) -> jax.Array:
        """Ids int32 [B, L] -> float32 [B, 2 H]."""
        if self.pool not in LSTM_POOLS:
            raise InputError(f"pool {self.pool!r} is unknown for an LSTM; choose one of {', '.join(LSTM_POOLS)}")
        tokens = jnp.asarray(ids).T  # one step of all rows after the other
        mask = tokens != 0
        words = nn.Embed(self.vocab_size, self.embedding_dim, embedding_init=nn.initializers.normal(0.1), name="word")
        x = words(tokens)
        pooled = []
        for name, reverse in (("forward", False), ("backward", True)):
            states = _Direction(self.hidden, reverse, self.dtype, name=name)(x, mask)
            if self.pool == "last":  # padding keeps the state
                pooled.append(states[0 if reverse else -1])
            else:
                pooled.append(pool_tokens(states.swapaxes(0, 1), mask.T, pool=self.pool))
        return jnp.concatenate(pooled, 1)


class _Direction(nn.Module):
    """Words [L, B, E] and mask [L, B] -> states float32 [L, B, H]; the params are those of Flax's LSTM cells."""

    hidden: int
    reverse: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        inputs = [_Weights(self.hidden, False, name=f"i{gate}")(x.shape[-1]) for gate in "ifgo"]
        states = [_Weights(self.hidden, True, name=f"h{gate}")(self.hidden) for gate in "ifgo"]
        kernel, recurrent = (jnp.concatenate([part[0] for part in parts], 1) for parts in (inputs, states))
        bias = jnp.concatenate([part[1] for part in states])
        return _scan_lstm(self.reverse, self.dtype, x, mask, kernel, recurrent, bias)


class _Weights(nn.Module):
    hidden: int
    bias: bool

    @nn.compact
    def __call__(self, inputs: int) -> tuple[jax.Array, ...]:
        # Not Flax's orthogonal start: under `vmap` its eight decompositions can block all of XLA's CPU threads.
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs, self.hidden))
        return (kernel, self.param("bias", nn.initializers.zeros, (self.hidden,))) if self.bias else (kernel,)


# A gradient of its own, which on CPU takes two thirds of the time: the kernels' gradients are one product each over all
# steps, and less is kept for it. Taking the inputs' product out of the scan is slower, for its large array.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan_lstm(
    reverse: bool, dtype: Any, x: jax.Array, mask: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array
) -> jax.Array:
    return _scan_forward(reverse, dtype, x, mask, kernel, recurrent, bias)[0]


def _scan_forward(
    reverse: bool, dtype: Any, x: jax.Array, mask: jax.Array, kernel: jax.Array, recurrent: jax.Array, bias: jax.Array
) -> tuple[jax.Array, Any]:
    def step(carry: Any, inputs: Any) -> Any:
        (cell, state), (x, real) = carry, inputs
        gates = _product(x, kernel, dtype) + _product(state, recurrent, dtype) + bias[None]
        i, f, g, o = jnp.split(gates, 4, -1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        new = f * cell + i * g
        state = jnp.where(real[:, None], o * jnp.tanh(new), state)
        cell = jnp.where(real[:, None], new, cell)
        return (cell, state), (state, cell, i, f, g, o)

    zeros = jnp.zeros((x.shape[1], recurrent.shape[0]))
    _, kept = jax.lax.scan(step, (zeros, zeros), (x, mask), reverse=reverse)
    return kept[0], (kept, x, mask, kernel, recurrent)


def _scan_backward(reverse: bool, dtype: Any, residuals: Any, cotangent: jax.Array) -> Any:
    (states, cells, *gates), x, mask, kernel, recurrent = residuals

    def before(values: jax.Array) -> jax.Array:
        start = jnp.zeros_like(values[:1])
        return jnp.concatenate([values[1:], start] if reverse else [start, values[:-1]])

    def step(carry: Any, inputs: Any) -> Any:
        (d_cell, d_state), (d_out, cell_before, cell, i, f, g, o, real) = carry, inputs
        real, squashed, d_state = real[:, None], jnp.tanh(cell), d_state + d_out
        d_real = jnp.where(real, d_state, 0.0)
        d_new = jnp.where(real, d_cell, 0.0) + d_real * o * (1 - squashed**2)
        d_gates = jnp.concatenate(
            [
                d_new * g * i * (1 - i),
                d_new * cell_before * f * (1 - f),
                d_new * i * (1 - g**2),
                d_real * squashed * o * (1 - o),
            ],
            -1,
        )
        d_before = jnp.where(real, 0.0, d_state) + _product(d_gates, recurrent.T, dtype)
        return (jnp.where(real, d_new * f, d_cell), d_before), d_gates

    zeros = jnp.zeros_like(states[0])
    inputs = (cotangent, before(cells), cells, *gates, mask)
    _, d_gates = jax.lax.scan(step, (zeros, zeros), inputs, reverse=not reverse)
    flat = d_gates.reshape(-1, d_gates.shape[-1])

    def d_kernel(left: jax.Array) -> jax.Array:
        return _product(flat.T, left.reshape(-1, left.shape[-1]), dtype).T

    d_x = _product(flat, kernel.T, dtype).reshape(x.shape)
    return d_x, None, d_kernel(x), d_kernel(before(states)), jnp.sum(flat, 0)


_scan_lstm.defvjp(_scan_forward, _scan_backward)


def _product(a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """``a @ b`` in float32, of values rounded to `dtype`."""
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)
