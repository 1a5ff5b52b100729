"""`embedded:NAME`: data that comes with the package, most of it drawn with known truth."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jlabel.data.source import ArrayReader, DataError, TextReader, one_line
from jlabel.data.table import Table, canonical_split, split_error
from jlabel.errors import InputError

SPLITS = ("train", "val", "test")


class Generator(NamedTuple):
    """Where a generator lies: `rows(split, *, seed=0, **options)` and the names of its labels."""

    module: str
    rows: str
    label_names: str


GENERATORS: Mapping[str, Generator] = {
    "coupled_labels": Generator("jlabel.data.coupled_labels", "rows", "LABEL_NAMES"),
    "digits": Generator("jlabel.data.embedded", "digits_rows", "DIGITS_LABEL_NAMES"),
    "drawn_abstracts": Generator("jlabel.data.drawn_abstracts", "rows", "LABEL_NAMES"),
    "drawn_archives": Generator("jlabel.data.drawn_abstracts", "archive_rows", "ARCHIVE_LABEL_NAMES"),
    "drawn_flower_counts": Generator("jlabel.data.drawn_flowers", "count_rows", "COUNT_LABEL_NAMES"),
    "drawn_flowers": Generator("jlabel.data.drawn_flowers", "rows", "LABEL_NAMES"),
    "drawn_pets": Generator("jlabel.data.drawn_pets", "rows", "LABEL_NAMES"),
    "drawn_species": Generator("jlabel.data.drawn_pets", "species_rows", "SPECIES_LABEL_NAMES"),
    "noisy_digits": Generator("jlabel.data.noisy_digits", "rows", "LABEL_NAMES"),
    "profiles": Generator("jlabel.data.profiles", "profile_rows", "LABEL_NAMES"),
    "two_gaussians": Generator("jlabel.data.two_gaussians", "rows", "LABEL_NAMES"),
}
DIGITS = 1797  # of them
DIGITS_LABEL_NAMES = tuple("0123456789")


def embedded_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """The rows of one split of a generator (of every split for "all"); options are the generator's arguments."""
    spec = f"embedded:{location}"
    if location not in GENERATORS:
        raise DataError(f"{spec}: no such data; there are {', '.join(GENERATORS)}")
    generator = GENERATORS[location]
    # Imported on use, so that a folder of pictures can be opened without compiling a generator.
    module = importlib.import_module(generator.module)
    rows: Callable[..., dict[str, np.ndarray]] = getattr(module, generator.rows)
    wanted = canonical_split(split)
    if wanted not in (*SPLITS, "all"):
        raise split_error(spec, split, SPLITS)
    arguments = _arguments(spec, rows, options)
    splits = SPLITS if wanted == "all" else (wanted,)
    try:
        parts = [rows(name, **arguments) for name in splits]
    except InputError as error:
        raise DataError(f"{spec}: {one_line(error)}") from error
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = [f"{name}:{row}" for name, part in zip(splits, parts, strict=True) for row in range(len(part["label"]))]
    kind = next(kind for kind in ("image", "features", "text") if kind in columns)
    content = columns.pop(kind)
    return Table(
        reader=TextReader(content) if kind == "text" else ArrayReader(content),
        names=np.array(names),
        labels=columns.pop("label").astype(np.int32),
        label_names=tuple(getattr(module, generator.label_names)),
        splits=np.repeat(splits, [len(part["label"]) for part in parts]),
        columns=columns,
    )


def digits_rows(split: str, *, seed: int = 0, features: bool = False) -> dict[str, np.ndarray]:
    """Scikit-learn's 1,797 handwritten digits: 1,197 for training, 200 for "val", 400 for "test".

    Args:
      split: "train", "val" or "test".
      seed: which rows go where; each class in about the same share.
      features: 64 numbers in [0, 1] a row in place of an 8x8 picture.

    Returns:
      `image` uint8 [N, 8, 8] or `features` float32 [N, 64], and `label` int32 [N].

    Example:
      >>> digits_rows("val")["image"].shape
      (200, 8, 8)
    """
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    chosen = digits_order(split, seed=seed)
    pixels = digits.data[chosen].astype(np.float32) / 16
    label = digits.target[chosen].astype(np.int32)
    if features:
        return {"features": pixels, "label": label}
    return {"image": np.round(pixels * 255).astype(np.uint8).reshape(-1, 8, 8), "label": label}


def digits_order(split: str, *, seed: int) -> np.ndarray:
    """Which of scikit-learn's digits make up a split, in their order there."""
    order = np.random.default_rng(seed).permutation(DIGITS)
    return np.sort(np.split(order, [1197, 1397])[SPLITS.index(split)])


def _arguments(spec: str, rows: Callable[..., Any], options: Mapping[str, str]) -> dict[str, int | bool]:
    """The spec's options as the generator's arguments, whole numbers all."""
    known = {name: p for name, p in inspect.signature(rows).parameters.items() if p.kind is p.KEYWORD_ONLY}
    arguments: dict[str, int | bool] = {}
    for name, text in options.items():
        if name not in known:
            raise DataError(f"{spec}: no option {name!r}; there are {', '.join(known)}")
        if not text.isdecimal():
            raise DataError(f"{spec}: option {name}={text!r} must be a whole number of at least 0")
        value = int(text)
        arguments[name] = bool(value) if isinstance(known[name].default, bool) else value
    return arguments
