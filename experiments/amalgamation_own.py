"""A user's own teachers and rows: the student, its predictions, and who contradicted whom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_own_report import write_own_report
from experiments.amalgamation_student import load_student, save_student
from experiments.amalgamation_tables import label_matrix, numbers_of, read_probs, read_table, row_ids
from experiments.common import written_whole
from jlabel import InputError
from jlabel.amalgamation import Amalgamation, Teacher, amalgamate, as_teacher, label_union
from jlabel.training import check_workdir, open_workdir

__all__ = ["predict_new", "run_own"]


class Rows(NamedTuple):
    """A user's rows: columns of numbers, index the rows' names; and whether the file named them."""

    features: pd.DataFrame
    named: bool


def run_own(config: AmalgamationConfig, workdir: str | Path) -> Amalgamation:
    """Train a student of a user's teachers; write it, its predictions, disagreement.csv and report.html.

    Args:
      config: the settings. workdir: where everything goes.

    Raises:
      InputError: a file that cannot be read or does not fit.
    """
    check_workdir(workdir, config)
    table = read_rows(config)
    teachers = _teachers(config, table)
    names = label_union([teacher.label_names for teacher in teachers])
    options: dict[str, Any] = {"method": config.method, "trust": config.trust, "rounds": config.rounds}
    found = amalgamate(
        teachers, table.features, **options,
        labelled=_labelled(config, table.features, names) if config.labelled else None,
        hidden_size=config.hidden[0] if config.hidden else None, epochs=config.student_epochs,
        batch_size=config.batch_size[0] if config.batch_size else None, learning_rate=config.learning_rate[0],
        hard_targets=config.hard_targets, key=jax.random.key(config.seeds[0]),
    )  # fmt: skip
    folder = open_workdir(workdir, config)
    save_student(folder / "student", found)
    write_predictions(folder / "predictions.csv", found.predict_proba(table.features), config, named=table.named)
    with written_whole(folder / "disagreement.csv") as file:
        found.disagreement.pairs.to_csv(file, index=False, float_format="%.6g")
    write_own_report(folder / "report.html", found, config)
    print(f"{found.disagreement.summary()}\n")
    print(f"predictions: {folder / 'predictions.csv'}\nreport: {folder / 'report.html'}")
    return found


def predict_new(config: AmalgamationConfig, workdir: str | Path) -> pd.DataFrame:
    """Predict rows with a trained student; write predictions.csv.

    Raises:
      InputError: no student in the folder, or rows that do not fit it.
    """
    student = load_student(Path(config.student).expanduser())
    table = read_rows(config, columns=student.columns)
    probs = student.predict_proba(table.features)
    path = Path(workdir).expanduser() / "predictions.csv"
    write_predictions(path, probs, config, named=table.named)
    print(f"predictions: {path}")
    return probs


def read_rows(config: AmalgamationConfig, columns: Sequence[str] | None = None) -> Rows:
    """The rows of --data; all columns but the rows' names must be numbers, or those asked for."""
    kind, _, place = config.data.partition(":")
    if kind != "csv" or not place:
        raise InputError(f"--data={config.data}: your own rows are read as csv:FILE")
    what = f"--data={config.data}"
    table = read_table(Path(place).expanduser(), "--data")
    index: Any = pd.RangeIndex(len(table), name="row")
    if config.id_column:
        index = pd.Index(row_ids(table, config.id_column, what), name=config.id_column)
    wanted = columns or [name for name in table if name != config.id_column]
    features = pd.DataFrame(numbers_of(table, wanted, what), columns=list(wanted), index=index)
    return Rows(features, bool(config.id_column))


def _teachers(config: AmalgamationConfig, table: Rows) -> list[Teacher]:
    """Every teacher that the flags name, models first."""
    labels = _teacher_labels(config)
    teachers = []
    for text in config.teachers:
        name, path = _named(text)
        model = _load_pickle(path)
        try:
            teachers.append(as_teacher(model, name=name, label_names=labels.pop(name, None)))
        except InputError as error:
            raise InputError(f"--teachers={text}: {error}; name them by --teacher_labels={name}:x|y|z") from error
    if labels:
        known = ", ".join(_named(text)[0] for text in config.teachers)
        raise InputError(f"--teacher_labels={next(iter(labels))}: no teacher of this name; there are {known}")
    ids = table.features.index.tolist() if table.named else None
    for text in config.teacher_probs:
        name, path = _named(text)
        probs = read_probs(path, ids, len(table.features), config.id_column)
        teachers.append(as_teacher(probs.set_index(table.features.index), name=name))
    names = [teacher.name for teacher in teachers]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two teachers are called {twice[0]!r}: name them as in --teachers=east=a/model.joblib")
    return teachers


def _named(text: str) -> tuple[str, Path]:
    """NAME=FILE or FILE."""
    name, equals, place = text.partition("=")
    path = Path(place if equals else text).expanduser()
    return (name if equals else path.stem), path


def _teacher_labels(config: AmalgamationConfig) -> dict[str, tuple[str, ...]]:
    """Teacher to labels."""
    found = {}
    for text in config.teacher_labels:
        name, colon, labels = text.partition(":")
        if not colon or not labels:
            raise InputError(f"--teacher_labels={text}: write NAME:x|y|z")
        found[name] = tuple(labels.split("|"))
    return found


def _load_pickle(path: Path) -> Any:
    """A model that joblib or pickle saved; whatever its code raises is told with the file's name."""
    import joblib  # of scikit-learn; only this road needs it

    try:
        return joblib.load(path)
    except OSError as error:
        raise InputError(f"--teachers={path}: {error.strerror or error}") from error
    except Exception as error:  # whatever the bytes, or the code in them, lead to
        raise InputError(f"--teachers={path}: no model that joblib can load: {' '.join(str(error).split())}") from error


def _labelled(config: AmalgamationConfig, features: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Labels, 0, 1 or NaN, of the rows and labels that the file has."""
    what = f"--labelled={config.labelled}"
    table = read_table(Path(config.labelled).expanduser(), "--labelled")
    known = [name for name in names if name in table]
    if not known:
        raise InputError(f"{what}: no column is called like a label of the teachers, {', '.join(names[:8])}")
    ids: list[Any] = row_ids(table, config.id_column or "row", what)
    if not config.id_column:
        ids = [int(text) if text.isdecimal() else text for text in ids]
    strange = [name for name in ids if name not in features.index]
    if strange:
        raise InputError(f"{what}: --data has no row {strange[0]!r}; give labels of its rows")
    return pd.DataFrame(label_matrix(table, known, what, empty=True), columns=known, index=ids)


def write_predictions(path: Path, probs: pd.DataFrame, config: AmalgamationConfig, *, named: bool) -> None:
    """A row's name (or number), its labels above .5 joined by " | ", and the probability of each label."""
    rows = probs.to_numpy()
    table = probs.reset_index(drop=True)
    told = [" | ".join(np.asarray(probs.columns)[row > 0.5]) for row in rows]
    table.insert(0, "labels", told)
    table.insert(0, config.id_column if named else "row", list(probs.index))
    with written_whole(path) as file:
        table.to_csv(file, index=False, float_format="%.6f")
