"""Teachers of any kind in one form: named labels, logits of rows, and second opinions where the kind allows them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.special import logit

from jlabel.amalgamation.checks import AmalgamationError, check_features, check_label_names, check_probs
from jlabel.amalgamation.classifiers import positive_probs, resolve_names, select_columns
from jlabel.amalgamation.model import ChainApply, ChainModel

__all__ = ["PROB_FLOOR", "Teacher", "as_features", "as_teacher", "as_teachers"]

PROB_FLOOR = 1e-4  # given probabilities are kept this far from 0 and 1, so that their logits end at 9.2
_CHUNK = 1024  # rows in one compiled call: every call has this size, so a teacher is compiled once


class Teacher(NamedTuple):
    """A teacher seen from outside.

    Attributes:
      name: what messages and reports call it. label_names: its L_t labels, in the order of its columns.
      predict: rows -> ``(N, L_t)`` logits; unchecked, `logits` is the checked form.
      predict_again: ``(rows, places (R,), initial_logits (R, L_t))`` -> ``(R, L_t)`` logits of the rows at these
        places, NaN in ``initial_logits`` meaning the teacher's own; None for a teacher that cannot be revised.
    """

    name: str
    label_names: tuple[str, ...]
    predict: Callable[[Any], np.ndarray]
    predict_again: Callable[[Any, np.ndarray, np.ndarray], np.ndarray] | None = None

    @property
    def revisable(self) -> bool:
        """Whether it can take another teacher's word and predict again."""
        return self.predict_again is not None

    def logits(self, rows: Any) -> np.ndarray:
        """First final logits of all rows, float32 ``(N, L_t)``; an error names teacher, row and label of a bad one."""
        return self._checked(self.predict(rows), np.arange(len(rows)))

    def revise(self, rows: Any, places: np.ndarray, initial_logits: np.ndarray) -> np.ndarray:
        """Final logits of the rows at ``places`` (R,) with first logits ``(R, L_t)``: float32 ``(R, L_t)``."""
        if self.predict_again is None:
            raise AmalgamationError(f"teacher {self.name!r} cannot be revised: it takes no initial logits")
        return self._checked(self.predict_again(rows, places, initial_logits), places)

    def _checked(self, logits: np.ndarray, places: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits, np.float32)
        if logits.shape != (len(places), len(self.label_names)):
            raise AmalgamationError(
                f"teacher {self.name!r} gives logits of shape {logits.shape} for {len(places)} rows; it must give one "
                f"column for each of its labels {list(self.label_names)}"
            )
        bad = ~np.isfinite(logits)
        if bad.any():
            row, label = (int(k) for k in np.argwhere(bad)[0])
            raise AmalgamationError(
                f"teacher {self.name!r}: row {places[row]}, label {self.label_names[label]!r} has the logit "
                f"{logits[row, label]}; allowed: finite numbers"
            )
        return logits


def as_teacher(
    model: Any,
    *,
    label_names: Sequence[str] | None = None,
    name: str | None = None,
    columns: str | Sequence[Any] | None = None,
    prepare: Callable[[Any], Any] | None = None,
) -> Teacher:
    """Makes a teacher of a label chain, a scikit-learn classifier, or probabilities that are already there.

    A classifier gives ``logit(min(max(p, 1e-4), 1 - 1e-4))``: a forest that says 0 means less than one tree in a
    hundred, not never. Only chains can be revised; the others tell and are not told.

    Args:
      model: a `ChainModel`; anything fitted with ``predict_proba`` (a pipeline, a search, a forest of several outputs,
        `OneVsRestClassifier`, `ClassifierChain`, ...); or probabilities of the rows, ``(N, L)``, as DataFrame or array.
      label_names: what its columns mean, in the order of the label matrix that it was fitted on. Not needed for chains,
        for DataFrames, and for a classifier whose classes are text: each class is a label then, or, with
        ``label_names``, those named. For a classifier of 0 and 1: the one name of what 1 means.
      name: for messages and reports; none: the kind of the model.
      columns: what it sees of the rows, in the order that it was fitted on: names of a DataFrame, positions of an
        array, one name alone for a column of texts. None: the names that it was fitted on, or all columns.
      prepare: done to the chosen columns first, e.g. ``scaler.transform`` of a chain fitted on standardised rows.

    Returns:
      `Teacher`.

    Raises:
      AmalgamationError: a model without ``predict_proba`` or without names for its labels, or bad probabilities. Later,
        when it is asked: columns that are missing, another number of rows, probabilities outside [0, 1] or NaN.

    Example:
      >>> import pandas as pd
      >>> teacher = as_teacher(pd.DataFrame({"car": [0.5, 0.0], "tree": [0.9, 1.0]}), name="street")
      >>> teacher.label_names, teacher.revisable, teacher.logits(np.zeros((2, 3))).round(2).tolist()
      (('car', 'tree'), False, [[0.0, 2.200000047683716], [-9.210000038146973, 9.210000038146973]])
    """
    if isinstance(model, Teacher):
        return model if name is None else model._replace(name=name)
    shown = type(model).__name__ if name is None else name
    if isinstance(model, ChainModel):
        return _chain_teacher(model, shown, label_names, columns, prepare)
    if isinstance(model, pd.DataFrame | np.ndarray | jax.Array | list):
        return _given_teacher(model, shown, label_names)
    if not _predicts(model):
        raise AmalgamationError(
            f"teacher {shown!r} is a {type(model).__name__} without predict_proba: give a fitted classifier that "
            "has it (CalibratedClassifierCV adds it), a ChainModel, or probabilities"
        )
    names = resolve_names(shown, model, label_names)

    def predict(rows: Any) -> np.ndarray:
        chosen = select_columns(shown, rows, columns, model)
        try:
            output = model.predict_proba(chosen if prepare is None else prepare(chosen))
        except (ValueError, TypeError, KeyError) as error:
            raise AmalgamationError(
                f"teacher {shown!r} refuses the rows: {str(error).strip().splitlines()[0]}"
            ) from error
        return _logits(shown, positive_probs(shown, model, output, names), names)

    return Teacher(shown, names, predict)


def as_teachers(models: Mapping[str, Any] | Sequence[Any]) -> tuple[Teacher, ...]:
    """Makes teachers of models by name, or in a sequence, where those without a name get their number.

    Args:
      models: one or more of what `as_teacher` takes; those that need more than the model come as `Teacher`.

    Raises:
      AmalgamationError: no model, or what `as_teacher` raises.

    Example:
      >>> import pandas as pd
      >>> probs = pd.DataFrame({"car": [0.5]})
      >>> [teacher.name for teacher in as_teachers([probs, as_teacher(probs, name="street")])]
      ['teacher 0', 'street']
    """
    if isinstance(models, Mapping):
        teachers = tuple(as_teacher(model, name=str(name)) for name, model in models.items())
    elif isinstance(models, ChainModel | Teacher | str) or not isinstance(models, Sequence) or _predicts(models):
        raise AmalgamationError(
            f"teachers is one {type(models).__name__}: give a list of teachers, or names and teachers"
        )
    else:
        teachers = tuple(
            model if isinstance(model, Teacher) else as_teacher(model, name=f"teacher {k}")
            for k, model in enumerate(models)
        )
    if not teachers:
        raise AmalgamationError("teachers is empty: give one or more")
    names = [teacher.name for teacher in teachers]
    if len(set(names)) < len(names):
        teachers = tuple(teacher._replace(name=f"{teacher.name} {k}") for k, teacher in enumerate(teachers))
    return teachers


def as_features(argument: str, rows: Any, *, num_columns: int | None = None) -> np.ndarray:
    """Rows as finite float32 ``(N, D)``; an error names row and column of what is not a finite number.

    Example:
      >>> import pandas as pd
      >>> as_features("rows", pd.DataFrame({"age": [30, None]}))
      Traceback (most recent call last):
          ...
      jlabel.amalgamation.checks.AmalgamationError: rows: row 1, column 'age' is nan: fill or drop what is not a number
    """
    if isinstance(rows, pd.DataFrame):
        for column in rows:
            if not all(pd.api.types.is_numeric_dtype(kind) for kind in np.atleast_1d(rows.dtypes[column])):
                raise AmalgamationError(
                    f"{argument}: column {column!r} holds {rows.dtypes[column]}, no numbers: choose with columns="
                )
        values = rows.to_numpy(np.float32, na_value=np.nan)
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise AmalgamationError(
                f"{argument}: row {row}, column {rows.columns[column]!r} is {values[row, column]}: "
                "fill or drop what is not a number"
            )
        rows = values
    return check_features(argument, rows, num_columns=num_columns)


def _predicts(model: Any) -> bool:
    return hasattr(model, "predict_proba")


def _chain_teacher(
    model: ChainModel,
    name: str,
    label_names: Sequence[str] | None,
    columns: str | Sequence[Any] | None,
    prepare: Callable[[Any], Any] | None,
) -> Teacher:
    names = check_label_names(f"label_names of teacher {name!r}", model.label_names)
    if label_names is not None and tuple(label_names) != names:
        raise AmalgamationError(f"label_names of teacher {name!r} are {list(label_names)}; its own are {list(names)}")
    width = None
    if isinstance(model.apply_fn, ChainApply):
        width = model.params["params"]["initial"]["kernel"].shape[0]

    def features(rows: Any) -> np.ndarray:
        chosen = select_columns(name, rows, columns, model)
        chosen = chosen if prepare is None else prepare(chosen)
        return as_features(f"rows of teacher {name!r}", chosen, num_columns=width)

    def predict(rows: Any) -> np.ndarray:
        return _in_chunks(model, features(rows))

    def predict_again(rows: Any, places: np.ndarray, initial_logits: np.ndarray) -> np.ndarray:
        chosen = rows.iloc[places] if isinstance(rows, pd.DataFrame) else np.asarray(rows)[places]
        return _in_chunks(model, features(chosen), np.asarray(initial_logits, np.float32))

    return Teacher(name, names, predict, predict_again if model.revisable else None)


def _in_chunks(model: ChainModel, *arrays: np.ndarray) -> np.ndarray:
    """Final logits of features, with or without first logits, in calls of one size."""
    found = []
    for start in range(0, len(arrays[0]), _CHUNK):
        parts = [array[start : start + _CHUNK] for array in arrays]
        size = len(parts[0])
        filled = [np.pad(part, ((0, _CHUNK - size), (0, 0))) for part in parts]
        found.append(np.asarray(_final_logits(model.apply_fn, model.params, *filled))[:size])
    return np.concatenate(found) if found else np.zeros((0, len(model.label_names)), np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _final_logits(apply_fn: Callable[..., Any], params: Any, *arrays: jax.Array) -> jax.Array:
    return apply_fn(params, *arrays).final_logits


def _given_teacher(values: Any, name: str, label_names: Sequence[str] | None) -> Teacher:
    frame = isinstance(values, pd.DataFrame)
    if label_names is None and not frame:
        raise AmalgamationError(f"teacher {name!r} is an array of probabilities: give label_names for its columns")
    argument = f"label_names of teacher {name!r}"
    names = check_label_names(argument, list(values.columns) if label_names is None else label_names)
    if frame and label_names is not None:
        values = _named_columns(name, values, names)
    probs = check_probs(f"teacher {name!r}", values, names)

    def predict(rows: Any) -> np.ndarray:
        if len(rows) != len(probs):
            raise AmalgamationError(
                f"teacher {name!r} holds {len(probs)} rows of probabilities; there are {len(rows)} rows"
            )
        return _logits(name, probs[_alignment(name, values, rows)], names)

    return Teacher(name, names, predict)


def _named_columns(name: str, frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    missing = [label for label in names if label not in frame.columns]
    if missing:
        raise AmalgamationError(f"teacher {name!r} has no columns {missing}; its columns are {list(frame.columns)}")
    return frame[list(names)]


def _alignment(name: str, values: Any, rows: Any) -> Any:
    """Where the rows stand among given probabilities: by index where both have one, else by position."""
    if not isinstance(values, pd.DataFrame) or not isinstance(rows, pd.DataFrame) or values.index.equals(rows.index):
        return slice(None)
    if not values.index.is_unique or not rows.index.is_unique:
        raise AmalgamationError(f"teacher {name!r}: its index and that of the rows differ and name a row twice")
    place = values.index.get_indexer(rows.index)
    if any(isinstance(index, pd.RangeIndex) for index in (values.index, rows.index)):
        if (place >= 0).all():
            raise AmalgamationError(
                f"teacher {name!r}: its index and that of the rows hold the same numbers in another order; "
                "give both in one order"
            )
        return slice(None)  # one of them only counts its rows
    if (place < 0).any():
        missing = rows.index[int(np.argmax(place < 0))]
        raise AmalgamationError(f"teacher {name!r} has no probabilities for the row with index {missing!r}")
    return place


def _logits(name: str, probs: np.ndarray, names: Sequence[str]) -> np.ndarray:
    checked = check_probs(f"teacher {name!r}", probs, names).astype(np.float64)
    return logit(np.clip(checked, PROB_FLOOR, 1 - PROB_FLOOR))
