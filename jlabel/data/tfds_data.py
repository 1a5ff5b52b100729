"""`tfds:NAME`: TensorFlow Datasets prepared as array_record, read without TensorFlow."""

import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from jlabel.data.columns import text_values
from jlabel.data.source import ArrayReader, DataError, Reader, one_line
from jlabel.data.table import Table, canonical_split, feature_faults, split_error


@dataclass
class TfdsPictures:
    """Encoded pictures of the splits of a prepared dataset, one after the other."""

    builder_dir: str
    splits: tuple[str, ...]
    starts: tuple[int, ...]
    feature: str
    _sources: list[Any] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to worker processes without its open files."""
        return TfdsPictures, (self.builder_dir, self.splits, self.starts, self.feature)

    @property
    def kind(self) -> str:
        """These are pictures."""
        return "image"

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def read(self, row: int) -> bytes:
        """One encoded picture."""
        with self._lock:
            if not self._sources:
                builder = _tfds().builder_from_directory(self.builder_dir)
                self._sources += [_encoded_rows(builder, split) for split in self.splits]
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        try:
            return self._sources[part][row - self.starts[part]][self.feature]
        except (RuntimeError, ValueError) as error:
            raise DataError(f"damaged record: {one_line(error)}") from error


def tfds_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """The rows of one split (of every split for "all"); a pass over them collects labels and other scalars."""
    spec = f"tfds:{location}"
    builder = _prepared_builder(spec, location, options)
    info = builder.info
    given = {canonical_split(name): name for name in info.splits}
    wanted = canonical_split(split)
    if wanted != "all" and wanted not in given:
        raise split_error(spec, split, list(given))
    splits = list(given.values()) if wanted == "all" else [given[wanted]]
    keys: tuple[str, ...] = info.supervised_keys or ()
    if len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        keys = ("image" if "image" in info.features else "features", "label")
    label = options.get("label", keys[1])
    content = options.get("image", options.get("features", keys[0]))
    for option, name in (("label", label), ("image", content)):
        if name not in info.features and not (option == "label" and name == ""):
            raise DataError(f"{spec}: no feature {name!r} (option {option}); there are {', '.join(info.features)}")
    pictures = type(info.features[content]).__name__ == "Image"
    if not pictures and len(info.features[content].shape or ()) != 1:
        raise DataError(f"{spec}: feature {content!r} holds neither a picture nor a vector")
    scalars = [name for name, feature in info.features.items() if feature.shape == () and name != label]
    kept = [*scalars, *([label] if label else []), *([] if pictures else [content])]
    sources = [_encoded_rows(builder, name) for name in splits]
    starts = np.cumsum([0, *(len(source) for source in sources)])
    rows: dict[str, list[Any]] = {name: [] for name in kept}
    for name_of_split, source in zip(splits, sources, strict=True):
        for row in tqdm(range(len(source)), f"reading {location}", leave=False, disable=None):
            try:
                record = source[row]
                if any(record[name] is None for name in kept):  # what a truncated file gives
                    raise ValueError("truncated")
            except (OSError, RuntimeError, ValueError) as error:
                raise DataError(f"{spec}: row '{name_of_split}:{row}': damaged record: {one_line(error)}") from error
            for name in kept:
                rows[name].append(record[name])
    faults: dict[int, str] = {}
    if pictures:
        reader: Reader = TfdsPictures(str(builder.data_dir), tuple(splits), tuple(starts[:-1].tolist()), content)
    else:
        features = np.asarray(rows[content], np.float32).reshape(int(starts[-1]), -1)
        reader, faults = ArrayReader(features), feature_faults(features)
    names = [f"{name}:{row}" for name, source in zip(splits, sources, strict=True) for row in range(len(source))]
    return Table(
        reader=reader,
        names=np.array(names),
        labels=np.array(rows[label] if label else np.full(starts[-1], -1), np.int32),
        label_names=_label_names(spec, info.features, label),
        splits=np.repeat([canonical_split(name) for name in splits], np.diff(starts)),
        columns={name: _column(rows[name]) for name in scalars},
        faults=faults,
    )


def _tfds() -> Any:
    return importlib.import_module("tensorflow_datasets")


def _prepared_builder(spec: str, location: str, options: Mapping[str, str]) -> Any:
    folder = options.get("data_dir")
    try:
        builder = _tfds().builder(location, try_gcs=False, data_dir=folder)
    except ValueError as error:
        first = one_line(error).split(". ")[0]
        raise DataError(f"{spec}: {first}; names stand at https://www.tensorflow.org/datasets/catalog") from error
    try:
        splits = list(builder.info.splits)
        if splits:
            builder.as_data_source(split=splits[0])
            return builder
    except (NotImplementedError, ValueError, OSError):
        pass
    place = f", data_dir={folder!r}" if folder else ""
    raise DataError(
        f"{spec}: not prepared as array_record in {builder.data_dir}; run: pip install 'jlabel[prepare]' && python -c "
        f"\"import tensorflow_datasets as tfds; tfds.builder({location!r}, file_format='array_record'{place})"
        '.download_and_prepare()"'
    )


def _encoded_rows(builder: Any, split: str) -> Sequence[Mapping[str, Any]]:
    """Rows with every picture left encoded."""
    skip = _tfds().decode.SkipDecoding()
    pictures = {name: skip for name, feature in builder.info.features.items() if type(feature).__name__ == "Image"}
    return builder.as_data_source(split=split, decoders=pictures or None)


def _label_names(spec: str, features: Mapping[str, Any], label: str) -> tuple[str, ...]:
    if not label:
        return ()
    names = getattr(features[label], "names", None)
    if names is None:
        raise DataError(f"{spec}: feature {label!r} is no ClassLabel; choose another with ?label=FEATURE")
    return tuple(names)


def _column(values: list[Any]) -> np.ndarray:
    if any(isinstance(value, bytes | str) for value in values):
        return text_values(values)[0]
    return np.asarray(values)
