"""Batches of texts without most of their padding, inside one compiled step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.encoder import Encoder

__all__ = ["length_buckets", "shorten_batches"]

# Each bucket is compiled: one that hardly a row needs costs more than it saves.
_SHORTEST, _LEAST_SHARE = 16, 0.05


def length_buckets(ids: ArrayLike) -> tuple[tuple[int, ...], np.ndarray]:
    """Lengths to cut batches of these texts to, and the bucket of each text.

    The lengths are those of 16, 32, 64, ... and ``L`` that at least one text in twenty needs, and the longest text's.

    Args:
      ids: whole numbers [N, L], filled up with 0.

    Returns:
      The lengths, rising, and int [N], which of them is the smallest that holds the row.

    Raises:
      InputError: ids that are not [N, L] with a row.

    Example:
      >>> ids = np.zeros((4, 100), np.int32)
      >>> for row, length in enumerate((5, 40, 100, 12)):
      ...     ids[row, :length] = 7
      >>> length_buckets(ids)
      ((16, 64, 100), array([0, 1, 2, 0]))
    """
    rows = np.asarray(ids)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"ids have the shape {list(rows.shape)}; expected [N, L] with at least one row and token")
    width = rows.shape[1]
    own = np.where(rows != 0, np.arange(1, width + 1), 0).max(1)
    ladder = [_SHORTEST << k for k in range(width.bit_length()) if _SHORTEST << k < width] + [width]
    share = np.bincount(np.searchsorted(ladder, own), minlength=len(ladder)) / len(rows)
    longest = ladder[int(np.flatnonzero(share)[-1])]
    lengths = tuple(n for n, s in zip(ladder, share, strict=True) if s >= _LEAST_SHARE and n < longest) + (longest,)
    return lengths, np.searchsorted(lengths, own)


def shorten_batches(net: Encoder, lengths: Sequence[int]) -> Encoder:
    """The encoder with an `apply` that reads no further than the longest text of a batch.

    It cuts ``ids [B, L]`` to the smallest of ``lengths`` that holds all rows, or not at all. The features are those of
    the encoder itself, up to rounding. All lengths are compiled into one program, so a loop over batches of different
    lengths can be one program too.

    Args:
      net: an encoder of texts. lengths: rising, as of `length_buckets`.

    Returns:
      The encoder, otherwise unchanged.

    Raises:
      InputError: an encoder of something else.

    Example:
      >>> from jlabel.networks import text_encoder
      >>> net = text_encoder("lstm", texts=["a red cat", "a red cat"], dim=4)
      >>> params, ids = jax.jit(net.init)(jax.random.key(0)), np.array([[1, 2, 0, 0], [3, 0, 0, 0]], np.int32)
      >>> short, long = jax.jit(shorten_batches(net, (2,)).apply), jax.jit(net.apply)
      >>> bool(np.allclose(short(params, ids), long(params, ids), atol=1e-6))
      True
    """
    if net.kind != "text":
        raise InputError(f"shorten_batches takes an encoder of texts, got one of kind {net.kind!r}")

    def apply(params: Any, ids: ArrayLike) -> jax.Array:
        tokens = jnp.asarray(ids)
        shorter = [n for n in lengths if n < tokens.shape[1]]
        if not shorter:
            return net.apply(params, tokens)
        # Columns in use, not tokens: the longest row tells how far to read.
        longest = jnp.max(jnp.where(jnp.any(tokens != 0, 0), jnp.arange(1, tokens.shape[1] + 1), 0))
        branches = [lambda p, t, n=n: net.apply(p, t[:, :n]) for n in (*shorter, tokens.shape[1])]
        return jax.lax.switch(jnp.searchsorted(jnp.array(shorter), longest), branches, params, tokens)

    return replace(net, apply=apply)
