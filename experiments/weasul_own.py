"""A user's own rows, rules and answers: files in, files out."""

import csv
import importlib.util
import io
import os
import traceback
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jlabel import InputError
from jlabel.weak_supervision import Rule, apply_rules

__all__ = ["Answer", "OwnData", "append_answer", "load_own", "load_rules", "read_answers"]

HEADER = ("row", "label", "content")


class OwnData(NamedTuple):
    """Rows of a table with what the rules say of them.

    `labels` (N,) are -1 where unknown; `contents` (N,) tell whether a row is still the one that was answered.
    """

    name: str
    frame: pd.DataFrame
    votes: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    rule_names: tuple[str, ...]
    contents: tuple[str, ...]


class Answer(NamedTuple):
    """One line of the file of answers; the label is None where the expert could not tell."""

    row: int
    label: int | None
    content: str


def load_own(spec: str, rules_file: str) -> OwnData:
    """The table `csv:FILE` or `csv:FILE?label=COLUMN`, voted on by the rules of a Python file."""
    place, _, column = spec.partition(":")[2].partition("?label=")
    path = Path(place).expanduser()
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"{spec}: no readable table: {' '.join(str(error).split())}") from error
    if not len(frame):
        raise InputError(f"{spec}: the table has no row")
    rules, label_names = load_rules(Path(rules_file).expanduser())
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), "")  # a rule on texts may trust them
    labels = np.full(len(frame), -1)
    shown = frame
    if column:
        if column not in frame:
            raise InputError(f"{spec}: no column {column!r}; there are {', '.join(map(str, frame.columns))}")
        label_names, labels = _labels(spec, frame[column], label_names)
        shown = frame.drop(columns=column)  # neither rules nor the expert shall see it
    votes = apply_rules(rules, shown, num_classes=len(label_names) or None)
    if not (votes >= 0).any():
        raise InputError(f"{rules_file}: no rule votes on any of the {len(frame)} rows")
    highest = max(int(votes.max()), int(labels.max()))
    names = label_names or tuple(map(str, range(max(2, highest + 1))))
    contents = tuple(f"{zlib.crc32(repr(tuple(row)).encode()):08x}" for row in shown.itertuples(index=False, name=None))
    return OwnData(path.name, shown, votes, labels, names, tuple(rule.name for rule in rules), contents)


def load_rules(path: Path) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """The rules of a Python file, `RULES` or every `Rule` in it, and its `LABEL_NAMES` (empty without)."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"--rules={path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
        where = f", line {line}" if line else ""
        raise InputError(f"--rules={path}{where}: {type(error).__name__}: {error}") from error
    found = getattr(module, "RULES", None) or [v for v in vars(module).values() if isinstance(v, Rule)]
    if not found:
        raise InputError(f"--rules={path}: no rule in it; decorate functions with jlabel.weak_supervision.rule")
    rules = tuple(one if isinstance(one, Rule) else Rule(getattr(one, "__name__", "rule"), one) for one in found)
    return rules, tuple(str(name) for name in getattr(module, "LABEL_NAMES", ()))


def _labels(spec: str, column: pd.Series, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes of a column of names or of numbers from 0; an empty cell is unknown."""
    texts = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in column]
    known = [text for text, value in zip(texts, column, strict=True) if not pd.isna(value) and text]
    if not names:
        numbers = all(text.isdecimal() for text in known)
        found = sorted(set(known), key=int) if numbers else sorted(set(known))
        names = tuple(map(str, range(max(2, int(found[-1]) + 1)))) if numbers and found else tuple(found)
    codes = {name: code for code, name in enumerate(names)} | {str(code): code for code in range(len(names))}
    labels = np.full(len(texts), -1)
    for row, (text, value) in enumerate(zip(texts, column, strict=True)):
        if pd.isna(value) or not text:
            continue
        if text not in codes:
            raise InputError(f"{spec}: row {row} has the label {text!r}, none of {', '.join(names)}")
        labels[row] = codes[text]
    return names, labels


def read_answers(path: Path, data: OwnData) -> list[Answer]:
    """The answers in a file, in order; a last line that a crash cut short is cut off, in the file too."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"--answers={path}: cannot be read: {error.strerror}") from error
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw and path.suffix and _is_own_file(raw):
        path.write_bytes(whole)
        raw = whole
    try:
        lines = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--answers={path}: no CSV file: {error}") from error
    codes: dict[str, int | None] = {"": None}
    codes |= {name: code for code, name in enumerate(data.label_names)}
    codes |= {str(code): code for code in range(len(data.label_names))}
    answers: list[Answer] = []
    for number, line in enumerate(lines, start=2):
        where = f"--answers={path}, line {number}"
        if "row" not in line or "label" not in line:
            raise InputError(f"--answers={path}: line 1 must name the columns row and label")
        row, label, content = line["row"] or "", line["label"] or "", line.get("content") or ""
        if not row.isdecimal() or int(row) >= len(data.frame):
            raise InputError(f"{where}: row is {row!r}; rows are 0 to {len(data.frame) - 1}")
        if label not in codes:
            raise InputError(f"{where}: label is {label!r}; allowed: {', '.join(data.label_names)}")
        if content and content != data.contents[int(row)]:
            raise InputError(f"{where}: row {row} of {data.name} has changed since it was answered; mend row or file")
        if any(int(row) == other.row for other in answers):
            raise InputError(f"{where}: row {row} was answered before; keep one of the two lines")
        answers.append(Answer(int(row), codes[label], content))
    return answers


def _is_own_file(raw: bytes) -> bool:
    return raw.startswith(",".join(HEADER).encode()) or ",".join(HEADER).encode().startswith(raw)


def append_answer(path: Path, data: OwnData, row: int, label: int | None) -> None:
    """Adds one line and waits until it is on the disk."""
    fresh = not path.exists() or not path.stat().st_size
    name = "" if label is None else data.label_names[label]
    buffer = io.StringIO(newline="")
    lines: Sequence[Sequence[object]] = [HEADER] * fresh + [(row, name, data.contents[row])]  # type: ignore[assignment]
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    try:
        with path.open("ab") as file:
            file.write(buffer.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; the answer on row {row} is lost") from error
