"""Which column of a file is what: the rules shared by `parquet:`, `npz:` and `csv:`."""

from collections.abc import Mapping, Sequence

import numpy as np

from jlabel.data.source import ArrayReader, DataError, Reader
from jlabel.data.table import Table, encode_labels, feature_faults, split_names

LABEL_NAMES = ("label", "labels", "y")
COLUMN_OPTIONS = ("features", "image", "label", "split")


def label_column(spec: str, names: Sequence[str], options: Mapping[str, str]) -> str | None:
    """The column that holds the labels; None for `?label=`, data without labels."""
    if options.get("label") == "":
        return None
    if "label" in options:
        return _known(spec, options["label"], names, "label")
    for name in LABEL_NAMES:
        if name in names:
            return name
    raise DataError(
        f"{spec}: no column 'label'; there are {', '.join(names)}; "
        "choose one with ?label=COLUMN, or ?label= for unlabelled data"
    )


def split_column(spec: str, names: Sequence[str], options: Mapping[str, str]) -> str | None:
    """The column that holds the split; None where there is none."""
    if "split" in options:
        return _known(spec, options["split"], names, "split")
    return "split" if "split" in names else None


def content_columns(
    spec: str,
    kinds: Mapping[str, str],
    options: Mapping[str, str],
    *,
    image_names: Sequence[str] = ("image",),
    feature_names: Sequence[str] = ("features",),
    numbers: bool = True,
) -> tuple[str | None, tuple[str, ...]]:
    """The picture column, or the feature columns.

    Args:
      spec: for messages.
      kinds: column -> "picture", "bytes", "text", "vector", "number" or "other".
      options: `image` or `features` (names joined by commas) of the spec.
      image_names: columns taken for pictures unless options say otherwise.
      feature_names: columns of vectors taken for features.
      numbers: without any of these, all columns of numbers that are neither the label nor the split are the features.
    """
    pictures = ("picture", "bytes", "text")
    if "image" in options:
        name = _known(spec, options["image"], kinds, "image")
        if kinds[name] not in pictures:
            raise DataError(f"{spec}: column {name!r} holds no pictures")
        return name, ()
    if "features" in options:
        chosen = tuple(_known(spec, name, kinds, "features") for name in options["features"].split(","))
        for name in chosen:
            if kinds[name] != "number" and (kinds[name] != "vector" or len(chosen) > 1):
                raise DataError(f"{spec}: column {name!r} holds no numbers; features must be numbers")
        return None, chosen
    for name in image_names:
        if kinds.get(name) in pictures:
            return name, ()
    for name in feature_names:
        if kinds.get(name) == "vector":
            return None, (name,)
    used = {label_column(spec, list(kinds), options), split_column(spec, list(kinds), options), "name"}
    found = tuple(name for name, kind in kinds.items() if numbers and kind == "number" and name not in used)
    if not found:
        raise DataError(
            f"{spec}: neither pictures nor features among its columns {', '.join(kinds)}; "
            "choose with ?image=COLUMN or ?features=COLUMN,COLUMN"
        )
    return None, found


def build_table(
    spec: str,
    columns: Mapping[str, np.ndarray],
    options: Mapping[str, str],
    *,
    names: Sequence[str],
    reader: Reader | None = None,
    features: Sequence[str] = (),
    label_names: Sequence[str] | None = None,
    faults: Mapping[int, str] | None = None,
) -> Table:
    """The table of scalar columns [N], one of vectors [N, D] where `features` names it, and a reader of pictures.

    `names` are the rows' names where there is no column `name`; `faults` are rows found broken so far.
    """
    rest = dict(columns)
    label, split = label_column(spec, list(rest), options), split_column(spec, list(rest), options)
    count = len(names)
    found = dict(faults or {})
    labels, classes = np.full(count, -1, np.int32), tuple(label_names or ())
    if label is not None:
        labels, classes, bad = encode_labels(rest.pop(label), label_names=label_names)
        found = bad | found
    splits = split_names(rest.pop(split)) if split is not None else None
    if reader is None:
        parts = [np.asarray(rest.pop(name), np.float32).reshape(count, -1) for name in features]
        values = np.concatenate(parts, axis=1)
        titles = list(features) if values.shape[1] == len(features) else None
        found = feature_faults(values, titles) | found
        reader = ArrayReader(values)
    own_names = rest.pop("name", None)
    return Table(
        reader=reader,
        names=np.array([str(name) for name in (names if own_names is None else own_names)]),
        labels=labels,
        label_names=classes,
        splits=splits,
        columns=rest,
        faults=dict(sorted(found.items())),
    )


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


def _known(spec: str, name: str, names: Sequence[str] | Mapping[str, str], option: str) -> str:
    if name not in names:
        raise DataError(f"{spec}: no column {name!r} (option {option}); there are {', '.join(names)}")
    return name
