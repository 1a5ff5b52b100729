"""Sections of the benchmark stability study: what each part found, printed and in the report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jlabel.evaluation import Interval, Report, Row, build_results, row_from_interval, save_figure, write_results

__all__ = ["CERTAIN", "Drawing", "Section", "Table", "format_lines", "interval_cell", "interval_row", "report_sections"]

CERTAIN = 0.95  # share of the replicates in which a crossing must be there


class Table(NamedTuple):
    """Cells as text, with a line that says what they are."""

    caption: str
    header: Sequence[str]
    body: Sequence[Sequence[str]]


class Drawing(NamedTuple):
    """A figure with the name of its file, what it shows, and the same for those who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of the study."""

    title: str
    text: str
    tables: Sequence[Table]
    drawings: Sequence[Drawing]
    rows: Sequence[Row]


def interval_cell(value: float, low: float, high: float, *, digits: int = 3) -> str:
    """``0.250 [0.100, 0.400]``."""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def interval_row(method: str, metric: str, ends: tuple[float, float, float], *, split: str, runs: int) -> Row:
    """A row of results from a value and its 95 % interval; the standard error is that of a normal interval."""
    value, low, high = map(float, ends)
    return row_from_interval(method, metric, Interval(value, (high - low) / 3.92, low, high, runs), split=split)


def format_lines(table: Table) -> str:
    """A table for the terminal, its caption above."""
    lines = [list(table.header), *[list(line) for line in table.body]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    lines.insert(1, ["-" * width for width in widths])
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([table.caption, "", *text])


def report_sections(workdir: Path, sections: Sequence[Section], config: Any, *, seconds: float) -> None:
    """Write results.json, figures/ and report.html."""
    rows = [row for section in sections for row in section.rows]
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    report = Report("Benchmark stability")
    for section in sections:
        report.add_text(section.text, heading=section.title)
        for table in section.tables:
            report.add_table(table.header, table.body, caption=table.caption)
        for drawing in section.drawings:
            save_figure(workdir / "figures" / f"{drawing.name}.png", drawing.figure)
            report.add_figure(drawing.figure, caption=drawing.caption, alt=drawing.alt)
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(workdir / "report.html")
