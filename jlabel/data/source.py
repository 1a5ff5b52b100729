"""`Source`, the random-access rows every reader yields, and cutting one into parts."""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from jlabel.data.images import check_picture, decode_image
from jlabel.errors import InputError

EMPTY_TEXT = "the text is empty"


class DataError(InputError):
    """A dataset cannot be opened or read: the message names the spec, the row and the reason."""


class SplitError(DataError):
    """The data has no such split; the message lists those it has."""


class Reader(Protocol):
    """Where the content lies: row -> encoded picture (bytes), uint8 picture, float32 features, or text (str)."""

    @property
    def kind(self) -> str:
        """`"image"`, `"features"` or `"text"`."""

    @property
    def encoded(self) -> bool:
        """Whether rows come as encoded bytes."""

    def read(self, row: int) -> Any:
        """The stored content of one row, not decoded."""


@dataclass(frozen=True)
class ArrayReader:
    """Rows of one array in memory: uint8 pictures [N, H, W(, 1 or 3)] or features [N, D]."""

    array: np.ndarray

    @property
    def kind(self) -> str:
        """Pictures have two axes or more."""
        return "features" if self.array.ndim == 2 else "image"

    @property
    def encoded(self) -> bool:
        """Never: arrays are decoded."""
        return False

    def read(self, row: int) -> np.ndarray:
        """One picture or feature vector."""
        return self.array[row]


@dataclass(frozen=True)
class TextReader:
    """Rows of one object array [N] of str in memory."""

    array: np.ndarray

    @property
    def kind(self) -> str:
        """These are texts."""
        return "text"

    @property
    def encoded(self) -> bool:
        """Never: texts are decoded."""
        return False

    def read(self, row: int) -> str:
        """One text."""
        return self.array[row]


@dataclass(frozen=True, repr=False)
class Source:
    """Random access to the rows of one split.

    `source[i]` is a dict: `image` uint8 [H, W, 3] (or `features` float32 [D], or `text` str), `label` int (index into
    `label_names`, -1 when unlabelled), `name` str, and the data's other scalar columns. Where rows have several labels
    there is a column `labels` too: a tuple of indices, the first of which is `label`.

    Attributes:
      spec: what `open` was given.
      split: which rows these are.
      label_names: the classes, the same for every split of the data.
      columns: `label` int32 [N], `name` str [N] and the other scalar columns, each [N].
      reader: where the pictures, features or texts lie.
      rows: int64 [N], the reader's row of each row here.
      skipped: (name, reason) of each broken row that was left out.
      feature_names: the columns that the D features come from; empty where they have no names of their own.

    Example:
      >>> source = from_arrays({"features": np.eye(3), "label": [0, 1, 0]}, label_names=("cat", "dog"))
      >>> len(source), source[1]["label"], source.labels.tolist()
      (3, 1, [0, 1, 0])
    """

    spec: str
    split: str
    label_names: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    reader: Reader
    rows: np.ndarray
    skipped: tuple[tuple[str, str], ...] = field(default=())
    feature_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Spec, split and sizes in one line."""
        return f"Source({self.spec!r}, split={self.split!r}, rows={len(self)}, classes={len(self.label_names)})"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One row, its picture decoded; a broken picture raises `DataError` with the row's name."""
        index = range(len(self))[int(index)]
        scalars = {name: values[index : index + 1].tolist()[0] for name, values in self.columns.items()}
        return {self.kind: self.content(index), **scalars}

    @property
    def kind(self) -> str:
        """`"image"`, `"features"` or `"text"`: what the rows hold."""
        return self.reader.kind

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], without decoding a picture."""
        return self.columns["label"]

    def column(self, name: str) -> np.ndarray:
        """One scalar column [N], without decoding a picture; an unknown name raises `DataError`."""
        if name not in self.columns:
            raise DataError(f"{self.spec}: no column {name!r}; there are {', '.join(sorted(self.columns))}")
        return self.columns[name]

    def content(self, index: int) -> Any:
        """The decoded picture, the features or the text of one row."""
        try:
            stored = self.reader.read(int(self.rows[index]))
            if self.kind == "text":
                if not stored or stored.isspace():
                    raise InputError(EMPTY_TEXT)
                return stored
            if self.kind == "features":
                return np.asarray(stored, np.float32)
            return decode_image(stored) if isinstance(stored, bytes) else check_picture(stored)
        except (InputError, OSError) as error:
            raise self.row_error(index, error) from error

    def digest(self, index: int) -> bytes:
        """SHA-256 of one row's stored content."""
        try:
            stored = self.reader.read(int(self.rows[index]))
        except (InputError, OSError) as error:
            raise self.row_error(index, error) from error
        if isinstance(stored, bytes | str):
            return hashlib.sha256(stored.encode() if isinstance(stored, str) else stored).digest()
        head = f"{stored.dtype.str}{stored.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(stored).tobytes()).digest()

    def row_error(self, index: int, reason: object) -> DataError:
        """The one-line error about row `index`."""
        return DataError(row_message(self.spec, str(self.columns["name"][index]), one_line(reason)))


def one_line(reason: object) -> str:
    """Text of an exception without line breaks, or its type where it has no text."""
    return " ".join(str(reason).split()) or type(reason).__name__


def row_message(spec: str, name: str, reason: str) -> str:
    """How every error about one row reads."""
    return f"{spec}: row {name!r}: {reason}; repair or remove it, or skip such rows (skip_broken=True, --skip_broken)"


def from_arrays(
    columns: Mapping[str, ArrayLike], *, label_names: Sequence[str], spec: str = "arrays", split: str = "train"
) -> Source:
    """A source over arrays in memory.

    Args:
      columns: `image` uint8 [N, H, W, 3], `features` [N, D] or `text` [N] (str); `label` int [N] into `label_names`
        (-1: unlabelled; left out: all unlabelled), optionally `name` [N] and other scalar columns [N]. `labels`, N
        tuples of indices, is for rows with several labels: the first is the row's `label`.
      label_names: the classes.
      spec: what error messages call the data.
      split: what the source calls these rows.

    Returns:
      The source.

    Raises:
      DataError: not just one of image, features and text, unequal lengths, a label outside `label_names`, an empty
        text.

    Example:
      >>> from_arrays({"image": np.zeros((2, 8, 8, 3), np.uint8), "label": [0, 0]}, label_names=("blank",))
      Source('arrays', split='train', rows=2, classes=1)
    """
    kinds = [kind for kind in ("image", "features", "text") if kind in columns]
    if len(kinds) != 1:
        listed = ", ".join(sorted(columns)) or "no columns"
        raise DataError(f"{spec}: needs one of image, features and text, got {listed}")
    content = _content(spec, kinds[0], columns[kinds[0]])
    arrays = {name: np.asarray(values) for name, values in columns.items() if name not in (*kinds, "labels")}
    if "labels" in columns:
        arrays["labels"] = _label_tuples(spec, columns["labels"])
        arrays.setdefault("label", np.array([row[0] if row else -1 for row in arrays["labels"]], np.int32))
    arrays.setdefault("label", np.full(len(content), -1, np.int32))
    arrays.setdefault("name", np.array([f"{spec}#{i}" for i in range(len(content))]))
    for name, values in arrays.items():
        if values.shape != (len(content),):
            raise DataError(f"{spec}: column {name} has shape {values.shape}; expected ({len(content)},)")
    labels = arrays["label"]
    if labels.dtype.kind not in "iub" or ((labels < -1) | (labels >= len(label_names))).any():
        bad = labels[(labels < -1) | (labels >= len(label_names))][:1] if labels.dtype.kind in "iub" else labels[:1]
        raise DataError(f"{spec}: label {bad} is no index into the {len(label_names)} label names (-1 is unlabelled)")
    arrays["label"] = labels.astype(np.int32)
    for row, several in enumerate(arrays.get("labels", ())):
        if (several[:1] or (-1,)) != (labels[row],) or not all(0 <= label < len(label_names) for label in several):
            raise DataError(
                f"{spec}: labels of row {row} are {several}; give indices into the {len(label_names)} label names, "
                f"the first the row's label, {labels[row]}"
            )
    reader = TextReader(content) if kinds == ["text"] else ArrayReader(content)
    return Source(spec, split, tuple(label_names), arrays, reader, np.arange(len(content)))


def _content(spec: str, kind: str, given: Any) -> np.ndarray:
    """Pictures, features [N, D] or texts [N] as an array of the right shape."""
    if kind == "text":
        texts = object_array(given)
        for row, text in enumerate(texts):
            if (fault := text_fault(text)) is not None:
                raise DataError(f"{spec}: row {row}: {fault}")
        return texts
    content = np.asarray(given, np.float32 if kind == "features" else None)
    if content.ndim not in ((2,) if kind == "features" else (3, 4)):
        raise DataError(f"{spec}: {kind} has shape {content.shape}; give [N, D] features or [N, H, W, 3] pictures")
    return content


def _label_tuples(spec: str, given: Any) -> np.ndarray:
    try:
        return object_array(tuple(operator.index(label) for label in row) for row in _items(given))
    except TypeError as error:
        raise DataError(f"{spec}: labels must be a tuple of whole numbers a row: {one_line(error)}") from error


def object_array(values: Iterable[Any]) -> np.ndarray:
    """Objects [N], tuples as they are.

    >>> object_array([(0, 1), ()])
    array([(0, 1), ()], dtype=object)
    """
    items = _items(values)
    array = np.empty(len(items), object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def _items(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def text_fault(text: object) -> str | None:
    """What is wrong with a text; None where nothing is.

    >>> text_fault("a cat"), text_fault(" "), text_fault(None)
    (None, 'the text is empty', 'the text is of type NoneType, not str')
    """
    if not isinstance(text, str):
        return f"the text is of type {type(text).__name__}, not str"
    if not text or text.isspace():
        return EMPTY_TEXT
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"the text has no UTF-8 form: character {error.start} is half of a surrogate pair"
    return None


def subset(source: Source, indices: ArrayLike) -> Source:
    """The rows of `source` at `indices`, in that order.

    Args:
      source: where the rows come from.
      indices: int [M] row numbers (repeats allowed), or bool [N].

    Returns:
      A source of M rows with the same label names.

    Raises:
      DataError: no rows, a row number out of range, or a mask of another length.

    Example:
      >>> source = from_arrays({"features": np.eye(3), "label": [0, 1, 0]}, label_names=("cat", "dog"))
      >>> subset(source, source.labels == 0).column("name").tolist()
      ['arrays#0', 'arrays#2']
    """
    chosen = np.asarray(indices)
    if chosen.dtype == bool:
        if chosen.shape != (len(source),):
            raise DataError(f"{source.spec}: mask of shape {chosen.shape} for {len(source)} rows")
        chosen = np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise DataError(f"{source.spec}: indices must be a non-empty list of row numbers, got {one_line(indices)[:80]}")
    outside = chosen[(chosen < 0) | (chosen >= len(source))]
    if outside.size:
        raise DataError(f"{source.spec}: row number {outside[0]} is outside 0 to {len(source) - 1}")
    columns = {name: values[chosen] for name, values in source.columns.items()}
    return replace(source, columns=columns, rows=source.rows[chosen])


def split_rows(source: Source, *, fraction: float, seed: int = 0) -> tuple[Source, Source]:
    """Cuts a source in two, each class in the same proportion.

    The second part holds `round(fraction N)` rows: `floor(fraction n_c)` of class c, and one more from the classes
    with the largest remainders (ties by chance). Every class keeps a row in the first part; where classes of one row
    are many, the second part is therefore smaller.

    Args:
      source: what to cut; unlabelled rows count as one more class.
      fraction: share held out, in (0, 1).
      seed: which rows; the same seed gives the same cut.

    Returns:
      (train, held_out), both in the order of `source`, disjoint, together all of it.

    Raises:
      DataError: `fraction` outside (0, 1), or a part would be empty.

    Example:
      >>> source = from_arrays({"features": np.eye(10), "label": [0] * 6 + [1] * 4}, label_names=("cat", "dog"))
      >>> train, held_out = split_rows(source, fraction=0.5, seed=0)
      >>> sorted(held_out.labels.tolist())
      [0, 0, 0, 1, 1]
    """
    if not 0 < fraction < 1:
        raise DataError(f"{source.spec}: fraction={fraction} must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    groups = [rng.permutation(np.flatnonzero(source.labels == label)) for label in np.unique(source.labels)]
    sizes = np.array([len(group) for group in groups])
    quotas = np.floor(fraction * sizes).astype(int)
    missing = round(fraction * len(source)) - quotas.sum()
    remainders = np.where(sizes > quotas + 1, fraction * sizes - quotas, -1.0)
    order = np.lexsort((rng.permutation(len(groups)), -remainders))
    quotas[[group for group in order[:missing] if remainders[group] >= 0]] += 1
    held_out = np.sort(np.concatenate([group[:quota] for group, quota in zip(groups, quotas, strict=True)]))
    if not 0 < len(held_out) < len(source):
        raise DataError(f"{source.spec}: fraction={fraction} of {len(source)} rows leaves an empty part")
    return subset(source, np.setdiff1d(np.arange(len(source)), held_out)), subset(source, held_out)
