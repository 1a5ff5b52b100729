"""A bidirectional LSTM over word vectors, trained from scratch."""

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
      >>> net.apply(net.init(jax.random.key(0), ids), ids).shape
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
        tokens = jnp.asarray(ids)
        mask = tokens != 0
        lengths = jnp.sum(mask, 1)
        words = nn.Embed(self.vocab_size, self.embedding_dim, embedding_init=nn.initializers.normal(0.1), name="word")
        x = words(tokens)
        pooled = []
        for name, reverse in (("forward", False), ("backward", True)):
            # Taking the input's product out of the scan was measured on CPU: a third slower, for its large array.
            # Not Flax's orthogonal start: under `vmap` its eight decompositions can block all of XLA's CPU threads.
            init = nn.initializers.lecun_normal()
            cell = nn.OptimizedLSTMCell(self.hidden, recurrent_kernel_init=init, dtype=self.dtype, name=name)
            layer = nn.RNN(cell, reverse=reverse, keep_order=True)
            states = jnp.asarray(layer(x, seq_lengths=lengths))
            if self.pool == "last":
                end = jnp.zeros_like(lengths) if reverse else jnp.maximum(lengths - 1, 0)
                states = jnp.take_along_axis(states, end[:, None, None], 1)
                pooled.append(jnp.where(lengths[:, None] > 0, states[:, 0], 0.0))
            else:
                pooled.append(pool_tokens(states, mask, pool=self.pool))
        return jnp.concatenate(pooled, 1).astype(jnp.float32)
