"""Metrics as JSON lines: append-only while a run lives, cut back to its checkpoint when it resumes."""

import json
import math
from pathlib import Path
from typing import Any, TextIO

from jlabel.training.checks import TrainingError
from jlabel.training.workdir import write_text

__all__ = ["MetricLog", "read_history"]


def read_history(path: Path, name: str, *, until: int) -> list[dict[str, Any]]:
    """Reads the records of run `name` up to step `until`; a torn last line is skipped, null becomes NaN."""
    return [
        {key: _from_json(value) for key, value in record.items()}
        for record in _records(path)
        if record["name"] == name and record["step"] <= until
    ]


class MetricLog:
    """Appends one line per record to a file that several named runs may share.

    Opening it drops the run's lines after step `until` and a torn last line, so that a resumed run repeats no step.
    """

    def __init__(self, path: Path, name: str, *, until: int):
        """Opens the file, cut back to step `until` of run `name`."""
        self._path = path
        if path.exists():
            kept = [r for r in _records(path) if r["name"] != name or r["step"] <= until]
            text = "".join(json.dumps(record) + "\n" for record in kept)
            if text != path.read_text():
                write_text(path, text)
        self._file: TextIO = path.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record and hands it to the system, so that a killed process leaves it behind."""
        try:
            self._file.write(json.dumps({key: _to_json(value) for key, value in record.items()}) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(
                f"{self._path} cannot be written at step {record['step']}: {error.strerror}; free space and start"
                " again to resume"
            ) from error

    def close(self) -> None:
        """Closes the file; what a full disk refused is reported by `write`, not here."""
        try:
            self._file.close()
        except OSError:
            pass


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            found.append({"name": record["name"], "step": record["step"], **record})
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise TrainingError(f"{path} line {number} is no metric record; mend or delete the file") from None
    return found


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return math.nan if value is None else value
