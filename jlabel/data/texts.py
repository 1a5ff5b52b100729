"""Features of texts by a frozen encoder, in batches of few lengths, cached on disk."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jlabel.data.cache import cache_folder, load_cached, rows_key, store_cached
from jlabel.data.source import DataError, Source

SHORTEST_BUCKET = 8
# What lies between the layers of 1024 tokens fits a processor's caches; with four times as many a token takes 1.3x.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 1024, 32768
_WINDOW = 1 << 14  # rows whose tokens are in memory at a time, and that are sorted by length


def encode_texts(
    source: Source,
    encode_fn: Callable[[np.ndarray], Any],
    tokenize: Callable[[list[str]], Sequence[np.ndarray]],
    *,
    identity: str,
    max_length: int = 256,
    batch_tokens: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Features of every text, computed once and cached on disk under the rows' content and the encoder's identity.

    Texts of about one length make a batch, which is padded with zeros to the smallest of 8, 12, 16, 24, 32, ... and
    `max_length` tokens that holds it. `encode_fn` therefore compiles for that many shapes at most; the last batch is
    filled up with copies of its first row.

    Args:
      source: texts to encode.
      encode_fn: int32 [B, L] -> [B, D]; padding is 0.
      tokenize: M texts -> M arrays int32 [up to max_length], with what the encoder wants around them.
      identity: names the encoder with its weights and tokenizer; another text means another cache entry.
      max_length: tokens of the longest row.
      batch_tokens: B L of a call, padding included; at least one row. None takes 1024 on a processor, else 32768.
      cache_dir: where to cache; by default $JLABEL_CACHE, or ~/.cache/jlabel.

    Returns:
      float32 [N, D] in the order of the source.

    Raises:
      DataError: a source of another kind, a broken text, batch_tokens or a length below 1, rows of tokens that are too
        long or no whole numbers, or an encoder whose output is not [B, D] or not finite.

    Example:
      >>> import tempfile
      >>> from jlabel.data.source import from_arrays
      >>> source = from_arrays({"text": ["a cat", "a"]}, label_names=())
      >>> letters = lambda texts: [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]
      >>> count = lambda ids: (ids != 0).sum(1, keepdims=True)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     encode_texts(source, count, letters, identity="letters", cache_dir=folder).tolist()
      [[5.0], [1.0]]
    """
    if source.kind != "text":
        raise DataError(f"{source.spec} holds no texts but {source.kind}; use encode_features")
    if batch_tokens is None:
        batch_tokens = _CPU_TOKENS if jax.default_backend() == "cpu" else _ACCELERATOR_TOKENS
    for name, value in (("max_length", max_length), ("batch_tokens", batch_tokens)):
        if value < 1:
            raise DataError(f"{name}={value} must be at least 1")
    folder, key = cache_folder(cache_dir), rows_key(source, f"texts {identity} {max_length}")
    cached = load_cached(folder, key)
    if cached is not None:
        return cached
    features: np.ndarray | None = None
    with tqdm(total=len(source), desc=f"encoding {source.spec}", leave=False, disable=None) as progress:
        for start in range(0, len(source), _WINDOW):
            window = range(start, min(start + _WINDOW, len(source)))
            tokens = _tokens(source, tokenize, window, max_length)
            order = np.argsort([-len(row) for row in tokens], kind="stable")  # the longest first
            while len(order):
                length = bucket_length(len(tokens[order[0]]), max_length)
                rows = max(1, batch_tokens // length)
                batch, order = order[:rows], order[rows:]
                encoded = _encode(encode_fn, [tokens[row] for row in batch], rows, length)
                if features is None:
                    features = np.empty((len(source), encoded.shape[1]), np.float32)
                features[start + batch] = encoded
                progress.update(len(batch))
    assert features is not None, "a source has rows"
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        raise source.row_error(int(broken[0]), "encode_fn gives it features that are not finite")
    store_cached(folder, key, features)
    return features


def bucket_length(longest: int, max_length: int) -> int:
    """The smallest of 8, 12, 16, 24, 32, ... and `max_length` that is at least `longest`.

    >>> bucket_length(5, 256), bucket_length(17, 256), bucket_length(129, 160)
    (8, 24, 160)
    """
    length = SHORTEST_BUCKET
    while length < longest:
        length = length * 3 // 2 if length & (length - 1) == 0 else length // 3 * 4
    return min(length, max_length)


def _tokens(
    source: Source, tokenize: Callable[[list[str]], Sequence[np.ndarray]], rows: range, max_length: int
) -> list[np.ndarray]:
    tokens = [np.asarray(ids) for ids in tokenize([source.content(row) for row in rows])]
    if len(tokens) != len(rows):
        raise DataError(f"tokenize gave {len(tokens)} rows for {len(rows)} texts")
    for row, ids in zip(rows, tokens, strict=True):
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise DataError(f"tokenize gave {ids.dtype} {ids.shape} for row {row}; expected whole numbers [L]")
        if len(ids) > max_length:
            raise DataError(f"tokenize gave {len(ids)} tokens for row {row}; cut them to max_length={max_length}")
    return tokens


def _encode(
    encode_fn: Callable[[np.ndarray], Any], tokens: Sequence[np.ndarray], batch_size: int, length: int
) -> np.ndarray:
    ids = np.zeros((batch_size, length), np.int32)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = own
    ids[len(tokens) :] = ids[0]
    encoded = np.asarray(encode_fn(ids), np.float32)
    if encoded.ndim != 2 or len(encoded) != batch_size:
        raise DataError(f"encode_fn gave {encoded.shape} for {batch_size} rows; expected ({batch_size}, D)")
    return encoded[: len(tokens)]
