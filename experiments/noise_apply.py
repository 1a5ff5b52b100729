"""From the reviewer's table to the corrected data, with who, what and why; the original is never touched."""

import datetime
import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import jlabel.data
from experiments.common import written_whole
from experiments.noise_config import NoiseConfig
from experiments.noise_files import read_reviewed, write_table
from experiments.noise_probs import parse_spec
from experiments.noise_table import StreamTable
from jlabel import InputError
from jlabel.confident_learning import DECISIONS, Corrections, apply_corrections
from jlabel.data.columns import label_columns
from jlabel.data.parquet_file import hub_label_names, layout

__all__ = ["apply_reviewed", "saved_config"]

LABEL = "label"
ROWS = 1 << 18  # labels read at a time


class _Data(NamedTuple):
    """The data as the reviewer saw it: codes `[N]` into label_names, -1 for none; names by row, of a
    streamed run those of the reviewed rows."""

    labels: np.ndarray
    names: np.ndarray | Mapping[int, str]
    label_names: tuple[str, ...]


def saved_config(workdir: Path) -> NoiseConfig:
    """The settings of the run in a workdir."""
    file = workdir / "config.json"
    try:
        stored = json.loads(file.read_text())
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
        return NoiseConfig(**values)
    except FileNotFoundError as error:
        raise InputError(f"{workdir} holds no run; find the errors first, with the same --workdir") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not of this study: {error}") from error


def apply_reviewed(config: NoiseConfig, workdir: Path, reviewed: Path) -> str:
    """Write the corrected data and its provenance into `workdir/corrected`.

    Args:
      config: the settings of the run that found the errors. workdir: its folder. reviewed: the table, filled in.

    Returns:
      What was done, in words.

    Raises:
      InputError: a table that cannot be right, or data that cannot be read or changed since; nothing is written then.
    """
    if config.is_study:
        raise InputError("the study's labels are wrong on purpose; there is nothing to correct")
    table, lines = read_reviewed(reviewed)
    data = _read(config, workdir, table)
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    done = apply_corrections(
        table, data.labels, label_names=data.label_names, names=data.names, when=when, file=str(reviewed), lines=lines
    )
    if not len(done.provenance):
        raise InputError(f"{reviewed} holds no decision; write keep, fix, drop or both into the column decision")
    folder = workdir / "corrected"
    writers = {"csv": _write_csv, "npz": _write_npz, "parquet": _write_parquet}
    files, label = writers.get(config.data.partition(":")[0], _write_labels)(config.data, folder, data, done)
    write_table(folder / "provenance.csv", done.provenance)
    counts = done.provenance["decision"].value_counts().to_dict()
    told = ", ".join(f"{name} {counts[name]}" for name in DECISIONS if name in counts)
    waiting = f"; {done.undecided} rows undecided" if done.undecided else ""
    also = ""
    if (done.also >= 0).any():
        also = f"\nrows with two labels have the second one in {label}_also: read both with ?label={label},{label}_also"
    changed = "\n".join(f"corrected: {file}" for file in files)
    return f"{told}{waiting}\n{changed}\nwho, what and why: {folder / 'provenance.csv'}{also}"


def _read(config: NoiseConfig, workdir: Path, reviewed: pd.DataFrame) -> _Data:
    """The data's labels as they are now, in the codes of the run, whose labels may include some without rows."""
    try:
        results = json.loads((workdir / "results.json").read_text())
        run_names, streamed = [str(name) for name in results["label_names"]], bool(results["streamed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{workdir / 'results.json'} cannot be read ({error}); find the errors again") from error
    if streamed:
        names: np.ndarray | Mapping[int, str]
        table = StreamTable(config.data, chunk_rows=ROWS, skip_broken=config.skip_broken)
        codes = [table.labels(first, min(first + ROWS, table.rows)) for first in range(0, table.rows, ROWS)]
        labels, own_names = np.concatenate(codes), table.label_names
        numbers = [str(cell).removesuffix(".0") for cell in reviewed.get("row", ())]
        rows = sorted({int(number) for number in numbers if number.isdecimal() and int(number) < table.rows})
        names = {row: table.names(row, row + 1)[0] for row in rows}
    else:
        source = jlabel.data.open(config.data, "all", skip_broken=config.skip_broken)
        labels = np.full(int(source.rows.max()) + 1, -1)
        names = np.full(len(labels), "", object)
        labels[source.rows], names[source.rows] = source.labels, source.column("name")
        own_names = source.label_names
    label_names = tuple(dict.fromkeys([*run_names, *own_names]))
    places = np.array([label_names.index(name) for name in own_names] + [-1])
    return _Data(places[labels], names, label_names)


def _texts(done: Corrections, data: _Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose label changes, their new labels, and every row's second label or None."""
    names = np.array([*data.label_names, None], object)
    changed = np.flatnonzero(done.labels != data.labels)
    return changed, names[done.labels[changed]], names[done.also]


def _write_csv(spec: str, folder: Path, data: _Data, done: Corrections) -> tuple[list[Path], str]:
    """The table, and the name of its label column."""
    _, location, options = parse_spec("data", spec, ["csv"])
    path = Path(location).expanduser()
    frame = pd.read_csv(path, dtype=object, keep_default_na=False, encoding="utf-8", encoding_errors="surrogateescape")
    label = label_columns(spec, [str(name) for name in frame.columns], options)[0]
    changed, new, also = _texts(done, data)
    column = np.array(frame[label], object)
    column[changed] = new
    frame[label] = column
    if (done.also >= 0).any():
        second = np.full(len(frame), "", object)
        second[: len(also)] = ["" if name is None else name for name in also]
        frame.insert(frame.columns.get_loc(label) + 1, f"{label}_also", second)
    for name in ("image", "path"):
        if options.get("image", name) == name and name in frame.columns:  # relative to the original table
            frame[name] = [str((path.parent / cell).absolute()) if cell else cell for cell in frame[name]]
    keep = np.ones(len(frame), bool)
    keep[: len(done.keep)] = done.keep
    out = folder / path.name
    with written_whole(out) as file:
        frame[keep].to_csv(file, index=False)
    return [out], label


def _write_npz(spec: str, folder: Path, data: _Data, done: Corrections) -> tuple[list[Path], str]:
    _, location, options = parse_spec("data", spec, ["npz"])
    path = Path(location).expanduser()
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    label = label_columns(spec, list(arrays), options)[0]
    count = len(arrays[label])
    changed, new, also = _texts(done, data)
    given = arrays.get("label_names")
    values = arrays[label].astype(object)
    values[changed] = [_as_kind(name, arrays[label].dtype.kind, given) for name in new]
    arrays[label] = values.astype(str if arrays[label].dtype.kind in "US" else arrays[label].dtype)
    if (done.also >= 0).any():
        second = np.full(count, "", object)
        second[: len(also)] = ["" if name is None else name for name in also]
        arrays[f"{label}_also"] = second.astype(str)
    keep = np.ones(count, bool)
    keep[: len(done.keep)] = done.keep
    kept = {name: a[keep] if a.ndim and len(a) == count and name != "label_names" else a for name, a in arrays.items()}
    out = folder / path.name
    with written_whole(out, "wb") as file:
        np.savez_compressed(file, **kept)
    return [out], label


def _as_kind(name: str, kind: str, names: np.ndarray | None) -> Any:
    """A label as it stands in the file: by its place in the names, as a number, or as text."""
    if kind not in "biuf":
        return name
    if names is not None and name in names.astype(str).tolist():
        return names.astype(str).tolist().index(name)
    return name == "True" if kind == "b" else int(name)


def _write_parquet(spec: str, folder: Path, data: _Data, done: Corrections) -> tuple[list[Path], str]:
    """Each file by itself, row group by row group, its schema and the hub's names kept."""
    _, location, options = parse_spec("data", spec, ["parquet"])
    paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
    schema, groups = layout(spec, paths)
    label = label_columns(spec, schema.names, options)[0]
    changed, new, also = _texts(done, data)
    replaced = dict(zip(changed.tolist(), new.tolist(), strict=True))
    several = bool((done.also >= 0).any())
    files = []
    for path in paths:
        here = [group for group in groups if group.path == path]
        out = folder / Path(path).name
        with written_whole(out, "wb") as file, pq.ParquetFile(path) as original:
            hub = hub_label_names(original.schema_arrow, label)
            writer = None
            for group in here:
                table = original.read_row_group(group.number)
                rows = range(group.start, group.start + group.rows)
                table = _corrected(table, rows, label, replaced, also if several else None, done.keep, hub)
                writer = writer or pq.ParquetWriter(file, table.schema)
                writer.write_table(table)
            (writer or pq.ParquetWriter(file, original.schema_arrow)).close()
        files.append(out)
    return files, label


def _corrected(
    table: pa.Table, rows: range, label: str, replaced: Mapping[int, str], also: np.ndarray | None, keep: np.ndarray,
    hub: list[str] | None,
) -> pa.Table:  # fmt: skip
    """A row group with its new labels and without the dropped rows."""
    place = table.schema.get_field_index(label)
    kind = table.schema.field(place).type
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    changed = [row for row in rows if row in replaced] if replaced else []
    if changed:
        values = table.column(place).to_pylist()
        for row in changed:
            values[row - rows.start] = _cell(replaced[row], value_type, hub)
        table = table.set_column(place, table.schema.field(place), pa.array(values, value_type).cast(kind))
    if also is not None:
        second = [_cell(also[row], value_type, hub) if row < len(also) else None for row in rows]
        table = table.add_column(place + 1, pa.field(f"{label}_also", value_type), pa.array(second, value_type))
    kept = np.array([row >= len(keep) or keep[row] for row in rows], bool)
    return table if kept.all() else table.filter(pa.array(kept))


def _cell(name: str | None, kind: pa.DataType, hub: list[str] | None) -> Any:
    if name is None:
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return hub.index(name) if hub is not None and name in hub else int(name)
    if pa.types.is_boolean(kind):
        return name == "True"
    return name.encode() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else name


def _write_labels(spec: str, folder: Path, data: _Data, done: Corrections) -> tuple[list[Path], str]:
    """A table of names and labels, for data that is no table itself; pictures of a folder by their path."""
    names = np.array([*data.label_names, ""], object)
    table = pd.DataFrame({"name": data.names, LABEL: names[done.labels]})
    if (done.also >= 0).any():
        table[f"{LABEL}_also"] = names[done.also]
    if spec.startswith("folder:"):
        root = Path(spec.removeprefix("folder:")).expanduser().absolute()
        table.insert(0, "path", [str(root / str(name)) for name in data.names])
    out = folder / "labels.csv"
    write_table(out, table[done.keep])
    return [out], LABEL
