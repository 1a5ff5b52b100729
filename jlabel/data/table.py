"""From a file's columns to a `Source`: labels, splits, faults, and the choice of rows."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from jlabel.data.source import DataError, Reader, Source, SplitError, one_line, row_message, subset

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
READ_THREADS = 4


@dataclass(frozen=True)
class Table:
    """All rows of a dataset, before a split is chosen.

    `splits` None means that every row is for training. A broken row whose split cannot be told has the split "": it is
    reported with every split.
    """

    reader: Reader
    names: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    splits: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    faults: Mapping[int, str] = field(default_factory=dict)  # row -> what is wrong with it
    left_out: np.ndarray | None = None  # bool [N]: rows that no split has
    feature_names: tuple[str, ...] = ()  # where each of the features has a name
    checked: bool = False  # whether `faults` is the whole truth, so that no row needs to be read to find more


def canonical_split(name: object) -> str:
    """`valid`, `Validation` and `dev` all mean `val`; names that are no alias stay.

    >>> canonical_split("Validation"), canonical_split("extra")
    ('val', 'extra')
    """
    text = str(name).strip()
    return SPLIT_NAMES.get(text.lower(), text)


def split_names(values: np.ndarray) -> np.ndarray:
    """A split column as names; the numbers 0/1 mean train/test, 0/1/2 train/val/test.

    >>> split_names(np.array([0, 1, 2])).tolist(), split_names(np.array([0, 1])).tolist()
    (['train', 'val', 'test'], ['train', 'test'])
    """
    try:
        numbers = np.asarray(values, dtype=np.int64)
    except (TypeError, ValueError):
        return np.array([canonical_split(value) for value in values])
    numbered = ("train", "val", "test") if numbers.max(initial=0) > 1 else ("train", "test")
    return np.array([numbered[number] if 0 <= number < len(numbered) else str(number) for number in numbers])


def check_rows(spec: str, count: int) -> None:
    """An error where there are no rows at all."""
    if count == 0:
        raise DataError(f"{spec}: there are no rows in it")


def split_error(spec: str, split: str, there: Sequence[str]) -> SplitError:
    """The error about a split the data does not have."""
    order = {"train": 0, "val": 1, "test": 2}
    listed = sorted(set(there) - {""}, key=lambda name: (order.get(name, 3), name))
    return SplitError(f"{spec}: no split {split!r}; there are {', '.join([*listed, 'all'])}")


def encode_labels(
    values: Sequence[Any] | np.ndarray, *, label_names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...], dict[int, str]]:
    """Labels as indices, the names they index, and the rows whose label is unusable.

    Without `label_names` the names are the sorted texts, or the sorted integers; -1 then means unlabelled unless the
    labels are just -1 and 1. With them, integers are indices and texts are looked up.

    >>> encode_labels(["dog", "cat", None])
    (array([ 1,  0, -1], dtype=int32), ('cat', 'dog'), {2: 'the label is missing'})
    """
    cleaned = [_clean_label(value) for value in values]
    faults = {row: str(label) for row, label in enumerate(cleaned) if isinstance(label, ValueError)}
    usable = {row: label for row, label in enumerate(cleaned) if not isinstance(label, ValueError)}
    present = set(usable.values())
    codes: dict[int | str, int]
    if all(isinstance(label, int) for label in present):
        if label_names is None:
            numbers = sorted(int(label) for label in present if label != -1 or present == {-1, 1})
            label_names = [str(number) for number in numbers]
        else:
            numbers = list(range(len(label_names)))
        codes = {-1: -1, **{number: code for code, number in enumerate(numbers)}}
    else:  # numbers beside texts: everything is text
        usable = {row: str(label) for row, label in usable.items()}
        label_names = sorted({str(label) for label in present}) if label_names is None else label_names
        codes = {name: code for code, name in enumerate(label_names)}
    encoded = np.full(len(cleaned), -1, np.int32)
    for row, label in usable.items():
        if label in codes:
            encoded[row] = codes[label]
        else:
            faults[row] = f"label {label!r} is none of the {len(label_names)} label names"
    return encoded, tuple(str(name) for name in label_names), faults


def _clean_label(value: Any) -> int | str | ValueError:
    """An integer or a text; a ValueError, not raised, says why it is neither."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return ValueError("the label is not UTF-8 text")
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return ValueError("the label is missing")
    if isinstance(value, float) and not value.is_integer():
        return ValueError(f"the label {value} is a fraction, not a class")
    if isinstance(value, bool | str):
        return str(value)
    return int(value) if isinstance(value, int | float) else ValueError(f"the label {value!r:.40} is no class")


def feature_faults(features: np.ndarray, names: Sequence[str] = ()) -> dict[int, str]:
    """Rows of `features` [N, D] with a value that is not finite.

    >>> feature_faults(np.array([[0.0, 1.0], [0.0, np.nan]]), ["age", "height"])
    {1: 'feature height is nan'}
    """
    rows, places = np.nonzero(~np.isfinite(features))
    faults: dict[int, str] = {}
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        faults.setdefault(row, f"feature {names[place] if names else place} is {features[row, place]}")
    return faults


def choose_rows(table: Table, spec: str, split: str, *, skip_broken: bool) -> Source:
    """The rows of one split; broken ones raise, or with `skip_broken` are found now, left out and listed."""
    wanted = canonical_split(split)
    splits = np.full(len(table.names), "train") if table.splits is None else table.splits
    there = np.ones(len(splits), bool) if table.left_out is None else ~table.left_out
    check_rows(spec, int(there.sum()))
    chosen = np.flatnonzero(there & ((splits == wanted) | (splits == "") | (wanted == "all")))
    if wanted != "all" and not (there & (splits == wanted)).any():
        raise split_error(spec, split, splits[there].tolist())
    faults = {row: table.faults[row] for row in chosen.tolist() if row in table.faults}
    if faults and not skip_broken:
        row, reason = next(iter(faults.items()))
        raise DataError(row_message(spec, str(table.names[row]), reason))
    columns = {**table.columns, "label": table.labels, "name": table.names}
    if table.splits is not None:
        columns["split"] = table.splits
    kept = np.array([row for row in chosen.tolist() if row not in faults], np.int64)
    skipped = tuple((str(table.names[row]), reason) for row, reason in faults.items())
    if len(kept) == 0:
        raise DataError(f"{spec}: all {len(chosen)} rows are broken, the first: {skipped[0][0]!r}: {skipped[0][1]}")
    source = Source(
        spec, wanted, table.label_names, {name: values[kept] for name, values in columns.items()}, table.reader, kept,
        skipped, table.feature_names,
    )  # fmt: skip
    return _skip_unreadable(source) if skip_broken and source.kind != "features" and not table.checked else source


def _skip_unreadable(source: Source) -> Source:
    def reason(index: int) -> str | None:
        try:
            source.content(index)
        except DataError as error:
            return one_line(error.__cause__)
        return None

    with ThreadPoolExecutor(READ_THREADS) as pool:
        reasons = list(
            tqdm(pool.map(reason, range(len(source))), "checking rows", len(source), leave=False, disable=None)
        )
    names = source.column("name")
    content = "texts" if source.kind == "text" else "pictures"
    broken = tuple((str(names[i]), text) for i, text in enumerate(reasons) if text is not None)
    if len(broken) == len(source):
        raise DataError(f"{source.spec}: all {len(source)} {content} are broken, the first: {broken[0]}")
    kept = subset(source, [i for i, text in enumerate(reasons) if text is None])
    return replace(kept, skipped=source.skipped + broken)
