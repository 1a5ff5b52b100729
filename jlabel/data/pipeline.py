"""Batches for data that does not fit in memory: Grain shuffles, shards, batches and resumes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grain
import jax
import numpy as np
from absl import flags

from jlabel.data.images import resize_image
from jlabel.data.source import DataError, Source

Transform: TypeAlias = grain.transforms.Map | grain.transforms.RandomMap | Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class _Rows:
    """Rows of a source, their pictures of one size."""

    source: Source
    image_size: int | None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.source[index]
        if self.source.kind == "image" and self.image_size is not None:
            row["image"] = resize_image(row["image"], self.image_size)
        return {**row, "label": np.int32(row["label"])}


def pipeline(
    source: Source,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    image_size: int | None = None,
    transforms: Sequence[Transform] = (),
    process_index: int | None = None,
    process_count: int | None = None,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Batches of a source, in an order that is a function of the seed and the position.

    Every epoch is shuffled anew. The processes share out each batch: together they see the rows that one would.
    What does not fill a batch is left out of that epoch. `get_state` and `set_state` of the iterator save and restore
    the position exactly.

    Args:
      source: rows to read.
      batch_size: rows of a batch over all processes; each process gets `batch_size / process_count` of them.
      seed: of the order and of the random transforms.
      shuffle: False keeps the order of the source.
      epochs: passes over the data; None goes on for ever.
      image_size: side that pictures are brought to; None where they have one size already.
      transforms: row -> row in turn: functions, `grain.transforms.Map`, or `grain.transforms.RandomMap`, whose
        random numbers depend on the seed and the position only.
      process_index: which share to read, by default `jax.process_index()`.
      process_count: number of shares, by default `jax.process_count()`.
      workers: processes that read and decode; 0 reads in threads of this one.

    Returns:
      Iterator over dicts: `image` uint8 [B, S, S, 3], `features` float32 [B, D] or `text` [B], `label` int32 [B],
      `name` and the other columns, each [B].

    Raises:
      DataError: batch size, epochs, workers or process out of range, fewer rows than a batch, or rows with several
        labels.

    Example:
      >>> from jlabel.data.opening import open
      >>> batch = next(pipeline(open("embedded:digits"), batch_size=32, process_index=0, process_count=1))
      >>> batch["image"].shape, batch["label"].shape
      ((32, 8, 8, 3), (32,))
    """
    count = jax.process_count() if process_count is None else process_count
    process = jax.process_index() if process_index is None else process_index
    _check(source, batch_size, epochs, process, count, workers, image_size)
    dataset = grain.MapDataset.source(_Rows(source, image_size)).seed(seed)
    if shuffle:
        dataset = dataset.shuffle()
    # Cut to whole batches before dealing out, so that every process has the same number of them.
    dataset = dataset[: len(source) // batch_size * batch_size][process::count]
    for transform in transforms:
        random = isinstance(transform, grain.transforms.RandomMap)
        dataset = dataset.random_map(transform) if random else dataset.map(transform)
    dataset = dataset.batch(batch_size // count, drop_remainder=True).repeat(epochs)
    if workers == 0:
        return iter(dataset.to_iter_dataset())
    if not flags.FLAGS.is_parsed():  # Grain's workers read absl's flags, which a notebook never parses
        flags.FLAGS.mark_as_parsed()
    return iter(dataset.to_iter_dataset().mp_prefetch(grain.multiprocessing.MultiprocessingOptions(workers)))


def _check(
    source: Source, batch_size: int, epochs: int | None, process: int, count: int, workers: int, image_size: int | None
) -> None:
    if batch_size < 1 or batch_size % max(count, 1):
        raise DataError(f"batch_size={batch_size} must be a positive multiple of the {count} processes")
    if batch_size > len(source):
        raise DataError(f"batch_size={batch_size} is more than the {len(source)} rows of {source.spec}")
    if "labels" in source.columns:
        raise DataError(f"{source.spec}: rows with several labels make no batch of one shape; use load_arrays")
    if epochs is not None and epochs < 1:
        raise DataError(f"epochs={epochs} must be at least 1, or None")
    if not 0 <= process < count:
        raise DataError(f"process_index={process} must lie from 0 to process_count - 1 = {count - 1}")
    if workers < 0:
        raise DataError(f"workers={workers} must be 0 or more")
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size={image_size} must be at least 1")
