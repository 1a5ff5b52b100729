"""arXiv's public metadata, a JSON object a line: `arxiv_records` streams it, `arxiv:FILE` opens it."""

import functools
import gzip
import itertools
import json
import logging
import os
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from tqdm import tqdm

from jlabel.data.graphs import load_graph
from jlabel.data.rows import time_splits
from jlabel.data.source import DataError, object_array, one_line
from jlabel.data.table import Table, check_rows

_LOG = logging.getLogger(__name__)
# Names of arXiv's past, and second names of one category, as its own code has them:
# https://github.com/arXiv/arxiv-base/blob/master/arxiv/taxonomy/definitions.py
TODAYS_NAME: Mapping[str, str] = {
    "acc-phys": "physics.acc-ph", "adap-org": "nlin.AO", "alg-geom": "math.AG", "ao-sci": "physics.ao-ph",
    "atom-ph": "physics.atom-ph", "bayes-an": "physics.data-an", "chao-dyn": "nlin.CD", "chem-ph": "physics.chem-ph",
    "cmp-lg": "cs.CL", "comp-gas": "nlin.CG", "dg-ga": "math.DG", "funct-an": "math.FA",
    "mtrl-th": "cond-mat.mtrl-sci", "patt-sol": "nlin.PS", "plasm-ph": "physics.plasm-ph", "q-alg": "math.QA",
    "solv-int": "nlin.SI", "supr-con": "cond-mat.supr-con",
    "cs.NA": "math.NA", "cs.SY": "eess.SY", "math.IT": "cs.IT", "math.MP": "math-ph", "q-fin.EC": "econ.GN",
    "stat.TH": "math.ST",
}  # fmt: skip
LONGEST_LINE = 1 << 24  # bytes; a longer line is broken, so that a file without line breaks does not fill the memory
KEPT_REASONS = 100
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class ArxivRecord(NamedTuple):
    """One article: `categories` are today's names, the primary one first; white space is single blanks."""

    id: str
    title: str
    abstract: str
    categories: tuple[str, ...]
    update_date: str

    @property
    def text(self) -> str:
        """Title and abstract, a line each."""
        return "\n".join(part for part in (self.title, self.abstract) if part)


class ArxivRecords(Iterator[ArxivRecord]):
    """The records of a file in order; see `arxiv_records`.

    Attributes:
      lines: lines read so far, blank ones too.
      broken: how many of them could not be used.
      skipped: (line number from 1, reason) of the first 100 of these.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """`arxiv_records` is the public call."""
        self.lines = 0
        self.broken = 0
        self.skipped: list[tuple[int, str]] = []
        self._path = Path(path).expanduser()
        _check_file(self._path)
        self._rows = self._read()

    def __next__(self) -> ArxivRecord:
        """The next record that is whole."""
        return next(self._rows)

    def _read(self) -> Iterator[ArxivRecord]:
        for line in _lines(self._path):
            self.lines = line.number
            try:
                yield parse_record(line.content)
            except DataError as error:
                self.broken += 1
                if len(self.skipped) < KEPT_REASONS:
                    self.skipped.append((line.number, str(error)))
        if self.broken:
            number, reason = self.skipped[0]
            _LOG.warning("%s: %d broken lines, the first: line %d: %s", self._path, self.broken, number, reason)


def arxiv_records(path: str | os.PathLike[str]) -> ArxivRecords:
    """Streams arXiv's metadata (Kaggle's `arxiv-metadata-oai-snapshot.json`, several GB) in constant memory.

    Broken lines are left out, counted in `.broken` and named in `.skipped`; a warning is logged at the end.

    Args:
      path: JSON lines with at least the fields id, title, abstract, categories (separated by blanks) and update_date;
        plain, or compressed where the name ends in .gz.

    Returns:
      An iterator over `ArxivRecord`: `id`, `title`, `abstract`, `categories` and `update_date` (YYYY-MM-DD). Retired
      categories and second names are mapped to today's name.

    Raises:
      DataError: no such file, or (while reading) one that cannot be read on.

    Example:
      >>> import tempfile
      >>> line = {"id": "alg-geom/9202001", "title": "Curves\\n  over Q", "abstract": "We count.",
      ...         "categories": "alg-geom math.NT", "update_date": "2008-02-03"}
      >>> with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
      ...     _ = file.write(json.dumps(line) + "\\n{broken\\n")
      ...     file.flush()
      ...     records = arxiv_records(file.name)
      ...     for record in records:
      ...         print(record.title, record.categories)
      ...     print(records.broken, records.skipped)
      Curves over Q ('math.AG', 'math.NT')
      1 [(2, 'no JSON: Expecting property name enclosed in double quotes, character 1')]
    """
    return ArxivRecords(path)


def parse_record(line: bytes) -> ArxivRecord:
    """One line as a record; a `DataError` says what is wrong with it."""
    try:
        fields = json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text at byte {error.start} of the line") from error
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON: {error.msg}, character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or brackets in brackets
        raise DataError(f"no JSON: {one_line(error)}") from error
    if not isinstance(fields, dict):
        raise DataError(f"no JSON object but a {type(fields).__name__}")
    if isinstance(fields.get("categories"), list):  # as the snapshots of 2020 had them
        fields["categories"] = " ".join(str(category) for category in fields["categories"])
    texts = {name: _text(fields, name) for name in ArxivRecord._fields}
    names = texts["categories"].split()
    if not names:
        raise DataError("no category")
    record = ArxivRecord(
        texts["id"], texts["title"], texts["abstract"], tuple(dict.fromkeys(_todays_name(name) for name in names)),
        texts["update_date"],
    )  # fmt: skip
    if not record.text:
        raise DataError("neither title nor abstract")
    if not record.id:
        raise DataError("the id is empty")
    if not _DATE.fullmatch(record.update_date):
        raise DataError(f"update_date {record.update_date[:20]!r} is not YYYY-MM-DD")
    return record


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise DataError(f"no {name}" if value is None else f"{name} is of type {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name} has no UTF-8 form: character {error.start} is half of a surrogate pair") from error
    return " ".join(value.split())


def _todays_name(category: str) -> str:
    name = TODAYS_NAME.get(category, category)
    if name not in known_categories():
        raise DataError(f"unknown category {category[:40]!r}")
    return name


@functools.cache
def known_categories() -> frozenset[str]:
    """The categories of the graph `arxiv`, and its archives: old articles are just astro-ph, cond-mat or q-bio."""
    sets = {entry["name"]: entry["labels"] for entry in load_graph("arxiv")["label_sets"]}
    return frozenset([*sets["arxiv"], *sets["arxiv_archives"]])


class _Line(NamedTuple):
    number: int
    offset: int
    content: bytes


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"arxiv:{path}: no such file")


def _lines(path: Path) -> Iterator[_Line]:
    """The lines that are not blank; of one that is too long the beginning only, which is no JSON."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    number, offset = 0, 0
    try:
        with cast(IO[bytes], opened(path, "rb")) as file:
            while content := file.readline(LONGEST_LINE):
                number, size, part = number + 1, len(content), content
                while len(part) == LONGEST_LINE and not part.endswith(b"\n") and (part := file.readline(LONGEST_LINE)):
                    size += len(part)
                if not content.isspace():
                    yield _Line(number, offset, content)
                offset += size
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"arxiv:{path}: line {number + 1} cannot be read: {one_line(error)}") from error


@dataclass(frozen=True)
class ArxivReader:
    """Titles with abstracts, read from the file by the offsets of their lines."""

    path: Path
    offsets: np.ndarray

    @property
    def kind(self) -> str:
        """These are texts."""
        return "text"

    @property
    def encoded(self) -> bool:
        """Never: texts are decoded."""
        return False

    def read(self, row: int) -> str:
        """Title and abstract of one article."""
        with self.path.open("rb") as file:
            file.seek(int(self.offsets[row]))
            return parse_record(file.readline(LONGEST_LINE)).text


def arxiv_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """Every article: a pass over the file collects places, labels, ids and dates; texts are read when asked for.

    The last quarter in order of `update_date` is for testing. Opening takes about 350 bytes of memory a row.

    - `rows=N`: only the first N.
    - `labels=all`: the cross-lists too, in the column `labels`; by default just the primary category.
    """
    spec = f"arxiv:{location}"
    path = Path(location).expanduser()
    _check_file(path)
    if path.suffix.lower() in (".gz", ".zip"):
        raise DataError(f"{spec}: rows of a compressed file cannot be read one by one; unpack it first")
    limit = options.get("rows")
    if limit is not None and not (limit.isdecimal() and int(limit)):
        raise DataError(f"{spec}: option rows={limit!r} must be a whole number of at least 1")
    if options.get("labels", "primary") not in ("primary", "all"):
        raise DataError(f"{spec}: option labels={options['labels']!r} is none of primary, all")
    several = options.get("labels") == "all"
    codes: dict[str, int] = {}
    offsets, names, dates, faults = array("q"), [], [], {}
    categories: list[tuple[int, ...]] = []
    once: dict[Any, Any] = {}  # equal dates and labels of the rows as one object
    lines = itertools.islice(_lines(path), None if limit is None else int(limit))
    for row, line in enumerate(tqdm(lines, f"reading {location}", leave=False, disable=None)):
        try:
            record = parse_record(line.content)
            listed = record.categories if several else record.categories[:1]
            names.append(record.id)
            dates.append(once.setdefault(record.update_date, record.update_date))
            coded = tuple(codes.setdefault(name, len(codes)) for name in listed)
            categories.append(once.setdefault(coded, coded))
        except DataError as error:
            names.append(f"line {line.number}")
            dates.append("")
            categories.append(())
            faults[row] = f"line {line.number}: {error}"
        offsets.append(line.offset)
    check_rows(spec, len(offsets))
    label_names = sorted(codes)
    sorted_codes = {codes[name]: place for place, name in enumerate(label_names)}
    rows = [tuple(sorted_codes[code] for code in row) for row in categories]
    days = np.array(dates)
    return Table(
        reader=ArxivReader(path, np.array(offsets, np.int64)),
        names=np.array(names),
        labels=np.array([row[0] if row else -1 for row in rows], np.int32),
        label_names=tuple(label_names),
        splits=time_splits("update_date", days)[0],
        columns={"update_date": days, **({"labels": object_array(rows)} if several else {})},
        faults=faults,
        checked=True,
    )
