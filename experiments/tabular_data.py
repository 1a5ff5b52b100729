"""Tables of a study: reading them, their target, five splits, and the labelled rows that are drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from experiments.tabular_config import FOLDS, TabularConfig
from jlabel import InputError
from jlabel.data.profiles import LABEL_NAMES, profiles
from jlabel.tabular import ColumnTypes, infer_columns

__all__ = ["Cut", "TabularData", "cut", "draw_labelled", "load_data", "read_frame"]

LEAST = 10  # rows of each class that a study needs
MOST_CLASSES = 50
MOST_VALUES = 10  # of a target of fractions
VALIDATION = 0.15  # of all rows
_GAPS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")  # of a column whose other cells are numbers
_DATE = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?$"
_TRAIN = ("train", "0")


class TabularData(NamedTuple):
    """A table with its target.

    Attributes:
      name: for people. frame: inputs, N rows. target: int32 ``(N,)``, classes from 0, -1 where it is not known.
      class_names: C texts. columns: what the inputs hold. ids: the rows' names, or their numbers.
      truth: exact probabilities ``(N, C)`` of drawn rows. profile: int32 ``(N,)``, the hidden profiles of these.
    """

    name: str
    frame: pd.DataFrame
    target: np.ndarray
    class_names: tuple[str, ...]
    columns: ColumnTypes
    ids: pd.Index
    truth: np.ndarray | None = None
    profile: np.ndarray | None = None


class Cut(NamedTuple):
    """Rows of one split, each int ``(rows,)`` in ascending order: 65, 15 and 20 % of the table."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def load_data(config: TabularConfig) -> TabularData:
    """The table that the settings name; in all studies but one's own every row needs a target.

    Raises:
      InputError: a file, a column or a target that does not serve.
    """
    if config.data.startswith("embedded:"):
        return _embedded(config)
    frame = read_frame(config.data)
    what = f"--data={config.data}"
    for flag, names in {
        "target": (config.target,), "categorical": config.categorical, "drop": config.drop,
        "id_column": (config.id_column,), "split_column": (config.split_column,),
    }.items():  # fmt: skip
        for name in filter(None, names):
            if name not in frame:
                shown = ", ".join(map(str, frame.columns[:12])) + (", ..." if len(frame.columns) > 12 else "")
                raise InputError(f"--{flag}={name}: {what} has no such column; there are {shown}")
    if config.split_column:
        frame = frame[frame[config.split_column].astype(str).isin(_TRAIN)]
        if not len(frame):
            raise InputError(f"--split_column={config.split_column}: no row says {' or '.join(_TRAIN)}")
    ids = pd.Index(frame[config.id_column], name=config.id_column) if config.id_column else frame.index.rename("row")
    target, class_names = classes_of(frame[config.target], config)
    left_out = {config.target, config.id_column, config.split_column, *config.drop}
    inputs = frame[[name for name in frame if name not in left_out]].reset_index(drop=True)
    return TabularData(
        Path(config.data.partition(":")[2]).stem, inputs, target, class_names, column_types(inputs, config), ids
    )


def read_frame(spec: str) -> pd.DataFrame:
    """A table with the types of its columns, which `jlabel.data.open` would all make numbers or texts.

    Empty cells of a CSV are missing, and so is "NA" between numbers; among texts "NA" is a text. Texts that all read
    like 2026-01-31 are dates.
    """
    kind, _, place = spec.partition(":")
    path = Path(place).expanduser()
    try:
        if kind == "parquet":
            frame = pd.read_parquet(path)
            frame.columns = frame.columns.map(str)
        else:
            header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]  # pandas renames the second of a name
            if header.dropna().duplicated().any():
                twice = header.dropna()[header.dropna().duplicated()].iloc[0]
                raise InputError(f"--data={spec}: two columns are called {twice!r}")
            frame = pd.read_csv(path, keep_default_na=False, na_values=[""], index_col=False, low_memory=False)
            for name in frame.columns[[dtype.kind == "O" for dtype in frame.dtypes]]:
                known = frame[name].mask(frame[name].isin(_GAPS))
                found = pd.to_numeric(known, errors="coerce")
                if known.notna().any() and found.notna().sum() == known.notna().sum():
                    frame[name] = found
                elif (texts := frame[name].dropna()).str.match(_DATE).all():
                    frame[name] = pd.to_datetime(texts, format="ISO8601", errors="coerce").reindex(frame.index)
    except InputError:
        raise
    except (OSError, ValueError, ImportError) as error:  # of pandas and Arrow, too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise InputError(f"--data={spec}: no readable table: {reason}") from error
    if not len(frame):
        raise InputError(f"--data={spec}: the table has no rows")
    return frame


def column_types(frame: pd.DataFrame, config: TabularConfig) -> ColumnTypes:
    """What the inputs hold; what nothing can be learned from is told with the flag that mends it."""
    if not len(frame.columns):
        raise InputError(f"--data={config.data}: no column is left to learn from")
    try:
        return infer_columns(frame, categorical=config.categorical)
    except InputError as error:
        raise InputError(
            f"--data={config.data}: {error} (--drop=COLUMN leaves it out, --categorical=COLUMN makes it categories)"
        ) from error


def classes_of(column: pd.Series, config: TabularConfig) -> tuple[np.ndarray, tuple[str, ...]]:
    """A target as classes, int32 ``(N,)``, -1 where it is missing, and the classes' names in order."""
    what = f"--target={column.name}"
    known = column.dropna()
    if column.dtype.kind == "O":
        known = known[known.astype(str).str.strip() != ""]
    if not len(known):
        raise InputError(f"{what}: the column is empty: a few rows need a target")
    values = sorted(known.unique().tolist(), key=lambda value: (isinstance(value, str), value))
    if len(values) < 2:
        raise InputError(f"{what}: all rows that have a target are {values[0]!r}: two classes or more are needed")
    numeric = pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known)
    broken = numeric and bool((known.astype(float) % 1 != 0).any())
    if numeric and (len(values) > MOST_CLASSES or (broken and len(values) > MOST_VALUES)):
        raise InputError(
            f"{what} has {len(values)} different numbers: this study is for classes; for values see "
            "jlabel.tabular.TabTransformerRegressor"
        )
    if len(values) > MOST_CLASSES:
        raise InputError(
            f"{what} has {len(values)} different values, such as {values[0]!r}: at most {MOST_CLASSES} classes; merge "
            "rare ones, or name another column"
        )
    if config.study != "own" and len(known) < len(column):
        raise InputError(
            f"{what}: {len(column) - len(known)} of {len(column)} rows have none, and --study={config.study} needs all "
            "of them; leave --study out to predict these rows"
        )
    names = tuple(str(int(v)) if numeric and not broken else str(v) for v in values)
    target = np.full(len(column), -1, np.int32)
    place = {value: k for k, value in enumerate(values)}
    target[column.index.get_indexer(known.index)] = [place[value] for value in known]
    counts = np.bincount(target[target >= 0])
    if config.study != "own" and counts.min() < LEAST:
        rare = names[int(counts.argmin())]
        raise InputError(f"{what}: class {rare!r} has {counts.min()} rows; a study needs {LEAST} of each")
    return target, names


def cut(data: TabularData, split: int) -> Cut:
    """Rows of one of five splits: a fifth for the test, 15 % for validation, classes in equal shares."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    rest, test = list(folds.split(np.zeros(len(data.target)), data.target))[split]
    train, val = train_test_split(
        rest, test_size=round(VALIDATION * len(data.target)), stratify=data.target[rest], random_state=split
    )
    return Cut(np.sort(train), np.sort(val), np.sort(test))


def draw_labelled(data: TabularData, cut: Cut, count: int, seed: int) -> tuple[np.ndarray, int]:
    """Rows of the training part whose labels a run may see, and how many draws had one class only.

    The rows of a seed with fewer labels are among those with more, but for draws of one class.
    """
    if not 2 <= count < len(cut.train):
        raise InputError(f"--labelled={count}: the training part of {data.name} has {len(cut.train)} rows; give fewer")
    if len(np.unique(data.target[cut.train])) < 2:
        raise InputError(f"the training part of {data.name} holds one class only")
    generator, redraws = np.random.default_rng(seed), 0
    while True:
        rows = generator.permutation(cut.train)[:count]
        if len(np.unique(data.target[rows])) > 1:
            return np.sort(rows), redraws
        redraws += 1


def draw_validation(cut: Cut, count: int, seeds: Sequence[int], *, small: bool) -> np.ndarray:
    """Validation rows of each seed, int ``(R, V)``: all of them, or ``count`` that are drawn."""
    if not small or count >= len(cut.val):
        return np.tile(cut.val, (len(seeds), 1))
    return np.stack([np.random.default_rng([seed, 1]).choice(cut.val, count, replace=False) for seed in seeds])


def _embedded(config: TabularConfig) -> TabularData:
    """Drawn rows, of which the truth is known."""
    place, _, rest = config.data.partition(":")[2].partition("?")
    options: dict[str, int] = {}
    for name, value in parse_qsl(rest, keep_blank_values=True):
        if name not in ("seed", "rows") or not value.isdecimal():
            raise InputError(f"--data={config.data}: option {name}={value}; there are seed and rows, whole numbers")
        options[name] = int(value)
    if place != "profiles":
        raise InputError(f"--data={config.data}: of the embedded data profiles is for this study")
    for name in ("categorical", "drop", "id_column", "split_column"):
        if getattr(config, name):
            raise InputError(f"--{name} is for files; {config.data} knows its columns")
    arguments: dict[str, Any] = options
    drawn = profiles(**arguments)
    truth = np.stack([1 - drawn.target_probs, drawn.target_probs], 1)
    return TabularData(
        "profiles", drawn.frame, drawn.target, LABEL_NAMES, infer_columns(drawn.frame), drawn.frame.index, truth,
        drawn.profile,
    )  # fmt: skip
