"""Labels, names and content of Parquet files that need not fit into memory."""

import glob
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.noise_probs import parse_spec
from experiments.noise_rows import ParquetRows
from jlabel import InputError
from jlabel.data.columns import LABEL_NAMES, label_columns
from jlabel.data.parquet_file import hub_label_names
from jlabel.data.table import encode_labels

__all__ = ["StreamTable"]

OPTIONS = ("image", "label", "text")
MAX_LABELS = 100_000
CONTENT_ROWS = 64  # rows of content decoded at a time
SCALARS = 12  # columns shown of a table without pictures and texts


class StreamTable:
    """The data, read in parts.

    Attributes:
      rows: of all files. label_names: the labels, as `jlabel.data.open` names them.
    """

    def __init__(self, spec: str, *, chunk_rows: int, skip_broken: bool):
        """Read the label column once, for the labels there are."""
        _, location, options = parse_spec("data", spec, ["parquet"])
        for name in options:
            if name not in OPTIONS:
                raise InputError(
                    f"{spec}: option {name!r} needs the data in memory; --stream knows {', '.join(OPTIONS)}"
                )
        paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
        if not paths:
            raise InputError(f"{spec}: no such file")
        self.spec, self._skip = spec, skip_broken
        layout = ParquetRows(spec, paths, [], batch_rows=1)
        self.rows, self._groups, schema = layout.rows, layout.groups, layout.schema
        if not self.rows:
            raise InputError(f"{spec}: there are no rows in it")
        chosen = label_columns(spec, schema.names, options)
        if len(chosen) != 1:
            raise InputError(f"{spec}: --stream takes one label column ({', '.join(LABEL_NAMES)} or ?label=COLUMN)")
        self._labels = ParquetRows(spec, paths, chosen, batch_rows=chunk_rows)
        self._content_columns, self._kind = _content(spec, schema, options, chosen[0])
        self._content = ParquetRows(spec, paths, self._content_columns, batch_rows=CONTENT_ROWS)
        named = "name" if "name" in schema.names else None
        if named is None and self._kind == "image":
            kind = schema.field(self._content_columns[0]).type
            if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
                named = f"{self._content_columns[0]}.path"
        self._names = ParquetRows(spec, paths, [named], batch_rows=chunk_rows) if named else None
        self._first: dict[str, int] = {}
        for group in self._groups:
            self._first.setdefault(group.path, group.start)
        self.label_names, self._codes = self._read_labels(chunk_rows, hub_label_names(schema, chosen[0]))

    def _read_labels(self, chunk_rows: int, hub: list[str] | None) -> tuple[tuple[str, ...], dict[Any, int]]:
        """Label names, and the code of each value of the column; -2 for what is no label."""
        present: dict[Any, int] = {}
        for start in range(0, self.rows, chunk_rows):
            column = self._labels.read(start, min(start + chunk_rows, self.rows)).column(0)
            for value in pc.unique(column).to_pylist():
                present.setdefault(value, start)
            if len(present) > MAX_LABELS:
                raise InputError(
                    f"{self.spec}: the column {self._labels.columns[0]!r} has more than {MAX_LABELS} different values; "
                    "choose the labels with ?label=COLUMN"
                )
        codes, names, faults = encode_labels(list(present), label_names=hub)
        if faults and not self._skip:
            place, reason = next(iter(faults.items()))
            start = list(present.values())[place]
            raise InputError(
                f"{self.spec}: between rows {start} and {start + chunk_rows}: {reason}; mend it, or leave such rows "
                "out with --skip_broken"
            )
        found = {value: int(code) for value, code in zip(present, codes, strict=True)}
        return names, found | {list(present)[place]: -1 for place in faults}

    def labels(self, start: int, stop: int) -> np.ndarray:
        """Codes int64 `[stop - start]`; -1 where there is no label."""
        column = self._labels.read(start, stop).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        coded = column.combine_chunks().dictionary_encode()
        codes = np.array([*(self._codes[value] for value in coded.dictionary.to_pylist()), -1], np.int64)
        return codes[coded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]

    def names(self, start: int, stop: int) -> list[str]:
        """The rows' names: of the column name or the pictures' paths, else the file and its row."""
        names = []
        for group in self._groups[bisect_right(self._groups, start, key=lambda group: group.start) - 1 :]:
            if group.start >= stop:
                break
            offset = self._first[group.path]
            rows = range(max(group.start, start), min(group.start + group.rows, stop))
            names += [f"{Path(group.path).name}:{row - offset}" for row in rows]
        if self._names is None:
            return names
        values = self._names.read(start, stop).column(0).to_pylist()
        own = [value.get("path") if isinstance(value, dict) else value for value in values]
        if isinstance(values[0], dict):
            return [str(path) or name for path, name in zip(own, names, strict=True)]
        return [str(name) for name in own]

    def content(self, row: int) -> dict[str, Any]:
        """What a card of the gallery shows of a row."""
        if not self._content_columns:
            return {}
        record = self._content.read(row, row + 1).to_pylist()[0]
        if self._kind == "features":
            return {"features": record}
        if self._kind == "text":
            return {"text": "\n".join(str(value) for value in record.values() if value)}
        value = next(iter(record.values()))
        stored, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
        if isinstance(stored, bytes):
            return {"image": stored}
        if not isinstance(path, str):
            return {"broken": "the picture is missing (null)"}
        group = next(group for group in reversed(self._groups) if group.start <= row)
        try:
            return {"image": (Path(group.path).parent / path).read_bytes()}
        except OSError as error:
            return {"broken": f"{path}: {error.strerror or error}"}


def _content(spec: str, schema: pa.Schema, options: dict[str, str], label: str) -> tuple[list[str], str]:
    """The columns to show, and what they hold: image, text or features (scalar columns)."""
    for kind in ("image", "text"):
        if kind in options:
            columns = [options[kind]] if options[kind] in schema.names else options[kind].split(",")
            lost = [name for name in columns if name not in schema.names]
            if lost:
                raise InputError(f"{spec}: no column {lost[0]!r} (option {kind}); there are {', '.join(schema.names)}")
            return columns, kind
    for kind in ("image", "text"):
        if kind in schema.names:
            return [kind], kind
    scalars = [
        column.name for column in schema
        if column.name not in (label, "name") and not pa.types.is_nested(column.type)
        and not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type)
    ]  # fmt: skip
    return scalars[:SCALARS], "features"
