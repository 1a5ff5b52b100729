"""`open`: one call for every kind of data."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from jlabel.data.arxiv import arxiv_table
from jlabel.data.columns import COLUMN_OPTIONS
from jlabel.data.csv_file import csv_table
from jlabel.data.embedded import embedded_table
from jlabel.data.folder import folder_table
from jlabel.data.npz_file import npz_table
from jlabel.data.parquet_file import parquet_table
from jlabel.data.reuters import reuters_table
from jlabel.data.source import DataError, Source
from jlabel.data.table import Table, choose_rows
from jlabel.data.tfds_data import tfds_table

# kind -> (reader of all rows, options it knows; None: it checks them itself)
_KINDS: Mapping[str, tuple[Callable[[str, Mapping[str, str], str], Table], tuple[str, ...] | None]] = {
    "arxiv": (arxiv_table, ("labels", "rows")),
    "csv": (csv_table, (*COLUMN_OPTIONS, "text")),
    "embedded": (embedded_table, None),
    "folder": (folder_table, ()),
    "npz": (npz_table, COLUMN_OPTIONS),
    "parquet": (parquet_table, (*COLUMN_OPTIONS, "text")),
    "reuters": (reuters_table, ("topics",)),
    "tfds": (tfds_table, ("data_dir", "features", "image", "label")),
}


def open(spec: str, split: str = "train", *, skip_broken: bool = False) -> Source:
    """Opens one split of a dataset as a random-access source.

    - `embedded:NAME`: digits, noisy_digits, drawn_pets, drawn_species, drawn_flowers, drawn_flower_counts,
      drawn_abstracts, drawn_archives, coupled_labels, profiles or two_gaussians; options are the generator's arguments:
      `embedded:drawn_pets?anchors=0&seed=3`.
    - `folder:DIR`: DIR/CLASS/file or DIR/SPLIT/CLASS/file, the files pictures or .txt; without class folders they are
      unlabelled.
    - `parquet:GLOB`: `image` (struct of bytes and path, bytes, or path), features or `text`; the hub's class names
      count.
    - `csv:FILE`: columns of numbers, a column `image` or `path` with files relative to the table, or `text`.
    - `npz:FILE`: `image` uint8 [N, H, W] or [N, H, W, 3], `features` or `X`; `label` or `y`; `label_names`.
    - `tfds:NAME`: a TensorFlow dataset prepared as array_record; option `data_dir`.
    - `arxiv:FILE`: arXiv's metadata as JSON lines; options `rows=N` and `labels=all` (cross-lists too).
    - `reuters:FILE`: Reuters-21578 as Parquet, the ModApte split; option `topics=all` (not just single-topic news).

    Options follow a question mark: `parquet:rows.parquet?label=target&features=age,height`. `label=COLUMN` (empty:
    unlabelled data), `image=COLUMN`, `features=COLUMN,COLUMN`, `text=COLUMN,COLUMN` (joined by a line break) and
    `split=COLUMN` choose columns. Features are the vectors of a column `features`, or else every column of numbers that
    is not the label or the split; texts are the column `text` of a table without pictures and vectors; the other scalar
    columns stay available through `Source.column`. Labels are texts or whole numbers, -1 for unlabelled; the label
    names are the same for every split.

    Rows have several labels, in the column `labels`, with `label=COLUMN,COLUMN`, or with `separator=CHARACTERS` where a
    cell holds them joined by these; the first is the row's `label`. `drop=LABEL,LABEL` leaves out the rows with one of
    these labels, and the names. `time=COLUMN` makes the last quarter in order of a column of numbers or dates the test
    split. Options are read as in a URL: a plus sign is written %2B, a blank + or %20.

    Args:
      spec: kind, colon, place, and options.
      split: "train", "val", "test", another name the data has, or "all". `valid`, `validation` and `dev` mean "val";
        a split column of numbers means 0 train, 1 test, or 0 train, 1 val, 2 test where it has a 2. Data without
        splits is all training rows.
      skip_broken: read every picture or text now, leave out the rows that cannot be used and list them in
        `Source.skipped`. Otherwise the first broken picture, or file of text, raises when it is read, the first bad
        label, number or text of a table now.

    Returns:
      The source.

    Raises:
      DataError: unknown kind, place, option, column or split; no rows; a broken row.

    Example:
      >>> source = open("embedded:digits?seed=1", "test")
      >>> len(source), source[0]["image"].shape, source.label_names[:3]
      (400, (8, 8, 3), ('0', '1', '2'))
    """
    kind, colon, rest = str(spec).partition(":")
    if not colon or kind not in _KINDS or not rest:
        raise DataError(f"data {spec!r} is not one of {', '.join(f'{name}:...' for name in _KINDS)}")
    location, options = _parse(str(spec), rest)
    read, known = _KINDS[kind]
    for name in options:
        if known is not None and name not in known:
            raise DataError(f"{spec}: no option {name!r}; {kind} knows {', '.join(known) or 'none'}")
    table = read(location, options, split)
    return choose_rows(table, str(spec), split, skip_broken=skip_broken)


def _parse(spec: str, rest: str) -> tuple[str, dict[str, str]]:
    """Place and options; a question mark without an equals sign behind it is part of a file pattern."""
    match = re.fullmatch(r"(.+?)\?(\w+=[^?]*)", rest)
    if match is None:
        return rest, {}
    try:
        pairs = parse_qsl(match[2], keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        raise DataError(f"{spec}: options {match[2]!r} must read name=value&name=value") from error
    options = dict(pairs)
    if len(options) < len(pairs):
        raise DataError(f"{spec}: an option is given twice in {match[2]!r}")
    return match[1], options
