"""A source as arrays in memory: texts, pictures of one size, or features of an encoder; the last two cached on disk."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL
from tqdm import tqdm

from jlabel.data.cache import cache_folder, load_cached, rows_key, store_cached
from jlabel.data.images import resize_image
from jlabel.data.source import DataError, Source, object_array
from jlabel.data.table import READ_THREADS


def load_arrays(
    source: Source, *, image_size: int | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> dict[str, np.ndarray]:
    """Every row of a source in memory, its pictures decoded and brought to one size.

    Decoded pictures are cached on disk under the SHA-256 of their encoded bytes and the size.

    Args:
      source: what to load.
      image_size: side in pixels, see `resize_image`; needed for pictures, of no meaning for features and texts.
      cache_dir: where to cache; by default $JLABEL_CACHE, or ~/.cache/jlabel.

    Returns:
      `image` uint8 [N, S, S, 3], `features` float32 [N, D] or `text` [N] (objects: str); `label` int32 [N], `name` and
      the other columns, each [N].

    Raises:
      DataError: no `image_size` for pictures, or a broken picture or text, named.

    Example:
      >>> from jlabel.data.opening import open
      >>> load_arrays(open("embedded:digits", "val"), image_size=16)["image"].shape
      (200, 16, 16, 3)
    """
    _check_size(source, image_size)
    columns = {name: np.asarray(values) for name, values in source.columns.items()}
    if source.kind == "text":
        return {"text": object_array(source.content(index) for index in range(len(source))), **columns}
    folder = cache_folder(cache_dir)
    cached = None
    key = None
    if source.reader.encoded:  # arrays in memory are read faster than a cache
        key = _content_key(source, "pictures", image_size)
        cached = load_cached(folder, key)
    if cached is None:
        cached = np.stack(list(_contents(source, image_size, f"decoding {source.spec}")))
        if key is not None:
            store_cached(folder, key, cached)
    return {source.kind: cached, **columns}


def encode_features(
    source: Source,
    encode_fn: Callable[[np.ndarray], Any],
    *,
    identity: str,
    image_size: int | None = None,
    batch_size: int = 64,
    cache_dir: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Features of every row, computed once and cached on disk under the rows' content and the encoder's identity.

    The last batch is filled up with zeros, so that `encode_fn` compiles for one shape.

    Args:
      source: rows to encode.
      encode_fn: uint8 [B, S, S, 3] (float32 [B, D0] for a source of features) -> [B, D].
      identity: names the encoder with its weights; another text means another cache entry.
      image_size: side in pixels S; needed for pictures.
      batch_size: rows B a call.
      cache_dir: where to cache; by default $JLABEL_CACHE, or ~/.cache/jlabel.

    Returns:
      float32 [N, D] in the order of the source.

    Raises:
      DataError: no `image_size` for pictures, texts, a broken picture, a batch size below 1, or an encoder whose output
        is not [B, D].

    Example:
      >>> import tempfile
      >>> from jlabel.data.opening import open
      >>> digits = open("embedded:digits", "val")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     encode_features(digits, lambda x: x.mean((1, 2)), identity="mean", image_size=8, cache_dir=folder).shape
      (200, 3)
    """
    _check_size(source, image_size)
    if source.kind == "text":
        raise DataError(f"{source.spec} holds texts; encode_features is for pictures and features: use encode_texts")
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size} must be at least 1")
    folder, key = cache_folder(cache_dir), _content_key(source, f"features {identity}", image_size)
    cached = load_cached(folder, key)
    if cached is not None:
        return cached
    parts, batch = [], None
    for row, content in enumerate(_contents(source, image_size, f"encoding {source.spec}")):
        place = row % batch_size
        if batch is None or place == 0:
            batch = np.zeros((batch_size, *content.shape), content.dtype)
        batch[place] = content
        if place + 1 == batch_size or row + 1 == len(source):
            encoded = np.asarray(encode_fn(batch), np.float32)
            if encoded.ndim != 2 or len(encoded) != batch_size:
                raise DataError(f"encode_fn gave {encoded.shape} for {batch_size} rows; expected ({batch_size}, D)")
            parts.append(encoded[: place + 1])
    features = np.concatenate(parts)
    store_cached(folder, key, features)
    return features


def _check_size(source: Source, image_size: int | None) -> None:
    if source.kind == "image" and (image_size is None or image_size < 1):
        raise DataError(f"{source.spec}: image_size={image_size} must be at least 1 to load pictures")


def _contents(source: Source, image_size: int | None, title: str) -> Iterator[np.ndarray]:
    """Decoded, resized rows in order; a bounded number is read ahead in threads."""

    def read(index: int) -> np.ndarray:
        content = source.content(index)
        return content if source.kind == "features" or image_size is None else resize_image(content, image_size)

    window = 256
    with (
        ThreadPoolExecutor(READ_THREADS) as pool,
        tqdm(total=len(source), desc=title, leave=False, disable=None) as progress,
    ):
        chunks = [range(start, min(start + window, len(source))) for start in range(0, len(source), window)]
        ahead = [pool.submit(read, index) for index in chunks[0]]
        for chunk in [*chunks[1:], range(0)]:
            ready, ahead = ahead, [pool.submit(read, index) for index in chunk]
            for future in ready:
                yield future.result()
                progress.update()


def _content_key(source: Source, purpose: str, image_size: int | None) -> str:
    return rows_key(source, f"{purpose} {source.kind} {image_size} pillow-{PIL.__version__}")
