"""What scikit-learn's classifiers need and say: columns of the rows, names of labels, probabilities in any form."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from jlabel.amalgamation.checks import AmalgamationError, check_label_names

__all__ = ["positive_probs", "resolve_names", "select_columns"]


def resolve_names(teacher: str, model: Any, label_names: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of a fitted classifier: those given, its own, or its classes where they are text."""
    argument = f"label_names of teacher {teacher!r}"
    own = getattr(model, "label_names", None)
    if label_names is None and own is not None:
        return check_label_names(argument, own)
    classes: Any = getattr(model, "classes_", None)
    if label_names is None:
        if _are_text(classes):
            return check_label_names(argument, [str(name) for name in classes])
        kind = "one for each column of the labels it was fitted on"
        if classes is not None and not isinstance(classes, list) and len(classes) == 2:
            kind = f"the one of class {_shown(classes[1])}"
        raise AmalgamationError(
            f"teacher {teacher!r} does not know its labels' names: give as_teacher(model, label_names=[...]), {kind}"
        )
    names = check_label_names(argument, label_names)
    if isinstance(classes, list) and len(classes) != len(names):
        raise AmalgamationError(f"{argument} are {list(names)}; it was fitted on {len(classes)} labels")
    if _are_text(classes):
        strange = [name for name in names if name not in classes]
        if strange and (len(strange) < len(names) or len(names) != len(classes)):
            raise AmalgamationError(
                f"{argument}: {strange} are none of its classes {[str(name) for name in classes]}; "
                "name some of them, or rename all"
            )
    return names


def select_columns(teacher: str, rows: Any, columns: str | Sequence[Any] | None, model: Any) -> Any:
    """What the model sees of the rows, in the form that it was fitted on (a DataFrame with names, or an array)."""
    names = getattr(model, "feature_names_in_", None)
    count = getattr(model, "n_features_in_", None)
    frame = isinstance(rows, pd.DataFrame)
    if isinstance(rows, list | tuple | jax.Array):
        rows = np.asarray(rows)
    if columns is None and frame and names is not None:
        columns = list(names)
    if columns is not None:
        rows = _pick_columns(teacher, rows, columns)
    if isinstance(columns, str) or len(np.shape(rows)) != 2:
        return rows
    if count is not None and rows.shape[1] != count:
        raise AmalgamationError(
            f"teacher {teacher!r} was fitted on {count} columns; the rows have {rows.shape[1]}: "
            "say which with as_teacher(model, columns=[...])"
        )
    if names is not None:
        return rows.set_axis(list(names), axis=1) if frame else pd.DataFrame(np.asarray(rows), columns=list(names))
    return rows.to_numpy() if frame and count is not None else rows


def positive_probs(teacher: str, model: Any, output: Any, names: Sequence[str]) -> np.ndarray:
    """What ``predict_proba`` returned as ``(N, L)``, probability of each label being positive."""
    if isinstance(output, pd.DataFrame):
        missing = [name for name in names if name not in output.columns]
        if missing:
            raise AmalgamationError(f"teacher {teacher!r} predicts no columns {missing}, only {list(output.columns)}")
        return output[list(names)].to_numpy()
    classes = getattr(model, "classes_", None)
    if isinstance(output, list):
        if len(output) != len(names):
            raise AmalgamationError(f"teacher {teacher!r} predicts {len(output)} labels; label_names has {len(names)}")
        several = classes if isinstance(classes, list) else [None] * len(names)
        return np.stack([_column(teacher, *one) for one in zip(output, several, names, strict=True)], axis=1)
    probs = np.asarray(output)
    if probs.ndim == 2 and not isinstance(classes, list) and classes is not None:
        if _are_text(classes) and set(names) <= {str(name) for name in classes}:
            return probs[:, [list(classes).index(name) for name in names]]
        if len(names) == 1 and len(classes) == probs.shape[1] <= 2:
            return _column(teacher, probs, classes, names[0])[:, None]
    return probs


def _column(teacher: str, probs: Any, classes: Any, name: str) -> np.ndarray:
    """The probability that one label is positive, from one column for each of the values that it was seen to take."""
    probs = np.asarray(probs)
    values = [0, 1] if classes is None else [_shown(value) for value in classes]
    if len(values) != probs.shape[-1] or not set(values) <= {-1, 0, 1} or len(values) > 2:
        raise AmalgamationError(
            f"teacher {teacher!r}: label {name!r} takes the values {values} in {probs.shape[-1]} columns; "
            "allowed: 0 and 1 (1 is positive)"
        )
    return probs[:, values.index(1)] if 1 in values else np.zeros(len(probs))


def _pick_columns(teacher: str, rows: Any, columns: str | Sequence[Any]) -> Any:
    if isinstance(rows, pd.DataFrame):
        wanted = [columns] if isinstance(columns, str) else list(columns)
        missing = [column for column in wanted if column not in rows.columns]
        if missing:
            raise AmalgamationError(
                f"teacher {teacher!r} needs the columns {missing}; the rows have {list(rows.columns)}"
            )
        return rows[columns if isinstance(columns, str) else wanted]
    array = np.asarray(rows)
    wrong = [
        column
        for column in columns
        if not isinstance(column, int | np.integer) or not -array.shape[1] <= column < array.shape[1]
    ]
    if wrong:
        raise AmalgamationError(
            f"teacher {teacher!r} needs column {wrong[0]!r}; the rows are an array of {array.shape[1]} columns, from 0"
        )
    return array[:, list(columns)]


def _are_text(classes: Any) -> bool:
    return isinstance(classes, np.ndarray) and all(isinstance(name, str) for name in classes)


def _shown(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
