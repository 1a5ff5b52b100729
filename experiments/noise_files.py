"""The reviewer's table, written and read."""

import csv
from pathlib import Path

import pandas as pd

from experiments.common import written_whole
from jlabel import InputError

__all__ = ["check_unreviewed", "read_reviewed", "write_table"]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV, whole or not at all; numbers keep all their digits."""
    with written_whole(path) as file:
        table.to_csv(file, index=False)


def check_unreviewed(path: Path) -> None:
    """Refuse to write over a table in which somebody has already decided something."""
    if not path.exists():
        return
    table, lines = read_reviewed(path)
    if "decision" in table.columns:
        decided = [line for line, decision in zip(lines, table["decision"], strict=True) if decision.strip()]
        if decided:
            raise InputError(
                f"{path} holds {len(decided)} decisions, the first in line {decided[0]}; apply it (--apply={path}), or "
                "move it away, before the errors are found again"
            )


def read_reviewed(path: Path) -> tuple[pd.DataFrame, list[int]]:
    """The reviewer's table as texts, and the line at which each of its rows begins.

    Commas, semicolons and tabs are understood, and the byte order mark of a spreadsheet program.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            separator = max(",;\t", key=head.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator)
            header = [name.strip() for name in next(reader, [])]
            rows, lines, line = [], [], reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if len(cells) > len(header):
                        raise InputError(f"{path}, line {line}: {len(cells)} cells under {len(header)} columns")
                    rows.append(cells + [""] * (len(header) - len(cells)))
                    lines.append(line)
                line = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = "not UTF-8 text; save it as CSV UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise InputError(f"{path} cannot be read: {what}") from error
    return pd.DataFrame(rows, columns=header, dtype=object), lines
