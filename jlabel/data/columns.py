"""Which column of a file is what: the rules shared by `parquet:`, `npz:` and `csv:`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jlabel.data.rows import RowLabels, drop_labels, several_labels, time_splits
from jlabel.data.source import EMPTY_TEXT, ArrayReader, DataError, Reader, TextReader
from jlabel.data.table import Table, encode_labels, feature_faults, split_names

LABEL_NAMES = ("label", "labels", "y")
COLUMN_OPTIONS = ("drop", "features", "image", "label", "separator", "split", "time")


class Content(NamedTuple):
    """Which columns hold the content: one of pictures, or some of features, or some of texts."""

    image: str | None = None
    features: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


def label_columns(spec: str, names: Sequence[str], options: Mapping[str, str]) -> tuple[str, ...]:
    """The columns that hold the labels, the primary one first; none for `?label=`, data without labels."""
    if options.get("label") == "":
        return ()
    if "label" in options:
        return _chosen(spec, options["label"], names, "label")
    for name in LABEL_NAMES:
        if name in names:
            return (name,)
    raise DataError(
        f"{spec}: no column 'label'; there are {', '.join(names)}; "
        "choose one with ?label=COLUMN, or ?label= for unlabelled data"
    )


def split_column(spec: str, names: Sequence[str], options: Mapping[str, str]) -> str | None:
    """The column that holds the split; None where there is none, or where the time makes it."""
    if "split" in options and "time" in options:
        raise DataError(f"{spec}: options split and time exclude each other")
    if "split" in options:
        return _known(spec, options["split"], names, "split")
    return "split" if "split" in names and "time" not in options else None


def content_columns(
    spec: str,
    kinds: Mapping[str, str],
    options: Mapping[str, str],
    *,
    image_names: Sequence[str] = ("image",),
    feature_names: Sequence[str] = ("features",),
    text_names: Sequence[str] = (),
    numbers: bool = True,
) -> Content:
    """The picture column, the feature columns, or the text columns.

    Args:
      spec: for messages.
      kinds: column -> "picture", "bytes", "text", "vector", "number" or "other".
      options: `image`, or `features` or `text` (names joined by commas), of the spec.
      image_names: columns taken for pictures unless options say otherwise.
      feature_names: columns of vectors taken for features.
      text_names: columns taken for texts.
      numbers: without any of these, all columns of numbers that are neither the label nor the split are the features.
    """
    pictures = ("picture", "bytes", "text")
    if "image" in options:
        name = _known(spec, options["image"], kinds, "image")
        if kinds[name] not in pictures:
            raise DataError(f"{spec}: column {name!r} holds no pictures")
        return Content(image=name)
    if "text" in options:
        chosen = _chosen(spec, options["text"], kinds, "text")
        for name in chosen:
            if kinds[name] not in ("bytes", "text"):
                raise DataError(f"{spec}: column {name!r} holds no texts")
        return Content(text=chosen)
    if "features" in options:
        chosen = _chosen(spec, options["features"], kinds, "features")
        for name in chosen:
            if kinds[name] != "number" and (kinds[name] != "vector" or len(chosen) > 1):
                raise DataError(f"{spec}: column {name!r} holds no numbers; features must be numbers")
        return Content(features=chosen)
    for name in image_names:
        if kinds.get(name) in pictures:
            return Content(image=name)
    for name in feature_names:
        if kinds.get(name) == "vector":
            return Content(features=(name,))
    for name in text_names:
        if kinds.get(name) in ("bytes", "text"):
            return Content(text=(name,))
    names = list(kinds)
    used = {*label_columns(spec, names, options), split_column(spec, names, options), options.get("time"), "name"}
    found = tuple(name for name, kind in kinds.items() if numbers and kind == "number" and name not in used)
    if not found:
        texts = ", or ?text=COLUMN,COLUMN" if text_names else ""
        raise DataError(
            f"{spec}: neither pictures nor features among its columns {', '.join(kinds)}; "
            f"choose with ?image=COLUMN or ?features=COLUMN,COLUMN{texts}"
        )
    return Content(features=found)


def build_table(
    spec: str,
    columns: Mapping[str, np.ndarray],
    options: Mapping[str, str],
    *,
    names: Sequence[str],
    reader: Reader | None = None,
    content: Content,
    label_names: Sequence[str] | None = None,
    faults: Mapping[int, str] | None = None,
) -> Table:
    """The table of scalar columns [N], of vectors [N, D] where `content` names them, and a reader of pictures.

    `names` are the rows' names where there is no column `name`; `faults` are rows found broken so far.
    """
    label, split = label_columns(spec, list(columns), options), split_column(spec, list(columns), options)
    # What a row holds is called features or text, and its labels are called labels: no other column may be.
    used = {*label, split, *content.features, *content.text, "labels", *(["text"] if content.text else [])}
    rest = {name: values for name, values in columns.items() if name not in used}
    count = len(names)
    given = _labels(spec, [columns[name] for name in label], options, label_names, count)
    found = given.faults | dict(faults or {})
    left_out = None
    if "drop" in options:
        dropped = options["drop"]
        given, left_out = drop_labels(spec, given, [dropped] if dropped in given.names else dropped.split(","))
    if given.several is not None:
        rest["labels"] = given.several
    splits = split_names(columns[split]) if split is not None else None
    if "time" in options:
        time = _known(spec, options["time"], columns, "time")
        splits, bad = time_splits(time, columns[time], left_out)
        found = bad | found
    titles: tuple[str, ...] = ()
    if content.text:
        texts, bad = join_texts([columns[name] for name in content.text])
        found = bad | found
        reader = TextReader(texts)
    elif reader is None:
        parts = [np.asarray(columns[name], np.float32).reshape(count, -1) for name in content.features]
        values = np.concatenate(parts, axis=1)
        titles = content.features if values.shape[1] == len(content.features) else ()
        found = feature_faults(values, titles) | found
        reader = ArrayReader(values)
    own_names = rest.pop("name", None)
    return Table(
        reader=reader,
        names=np.array([str(name) for name in (names if own_names is None else own_names)]),
        labels=given.labels,
        label_names=given.names,
        splits=splits,
        columns=rest,
        faults=dict(sorted(found.items())),
        left_out=left_out,
        feature_names=titles,
        checked=bool(content.text),
    )


def _labels(
    spec: str,
    columns: Sequence[np.ndarray],
    options: Mapping[str, str],
    label_names: Sequence[str] | None,
    count: int,
) -> RowLabels:
    """The rows' labels from the label columns, each cell one label unless there is a separator."""
    separator = options.get("separator")
    if separator == "":
        raise DataError(f"{spec}: option separator is empty; give the characters between two labels of a cell")
    if not columns:
        return RowLabels(np.full(count, -1, np.int32), None, tuple(label_names or ()), {})
    if separator is None and len(columns) == 1:
        labels, names, faults = encode_labels(columns[0], label_names=label_names)
        return RowLabels(labels, None, names, faults)
    return several_labels(columns, separator=separator, label_names=label_names)


def join_texts(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[int, str]]:
    """Each row's texts, a line break between them, as objects [N], and the rows that have none.

    >>> join_texts([np.array(["Pets", "", ""]), np.array(["Cats and dogs.", "A cat.", " "])])
    (array(['Pets\\nCats and dogs.', 'A cat.', ''], dtype=object), {2: 'the text is empty'})
    """
    texts = np.empty(len(columns[0]), object)
    for row, parts in enumerate(zip(*columns, strict=True)):
        texts[row] = "\n".join([part for part in parts if part and not part.isspace()])
    return texts, {row: EMPTY_TEXT for row, text in enumerate(texts) if not text}


def text_values(values: Sequence[str | bytes | None]) -> tuple[np.ndarray, dict[int, str]]:
    """A text column as objects [N], null as "", and the rows that are not UTF-8.

    >>> text_values(["a", None, bytes([255])])
    (array(['a', '', ''], dtype=object), {2: 'not UTF-8 text'})
    """
    column, faults = np.full(len(values), "", dtype=object), {}
    for row, value in enumerate(values):
        try:
            column[row] = value.decode() if isinstance(value, bytes) else value or ""
        except UnicodeDecodeError:
            faults[row] = "not UTF-8 text"
    return column, faults


def _chosen(spec: str, value: str, names: Sequence[str] | Mapping[str, str], option: str) -> tuple[str, ...]:
    """The columns that an option names, joined by commas; a column whose name has a comma counts as one."""
    return tuple(_known(spec, name, names, option) for name in ([value] if value in names else value.split(",")))


def _known(spec: str, name: str, names: Sequence[str] | Mapping[str, object], option: str) -> str:
    if name not in names:
        raise DataError(f"{spec}: no column {name!r} (option {option}); there are {', '.join(names)}")
    return name
