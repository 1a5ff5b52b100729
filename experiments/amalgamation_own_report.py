"""Report of a user's teachers: who contradicted whom, what transfer changed, and example rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.amalgamation_config import AmalgamationConfig
from jlabel.amalgamation import Amalgamation
from jlabel.evaluation import Report, save_figure, versions
from jlabel.evaluation.style import SERIES, draw_legend, light_grid, new_figure, styled, wrap

__all__ = ["write_own_report"]

SHOWN = 40  # lines of a table, and labels of the figure
HEADERS = {
    "labels": "Labels: rows in dispute, transfers, and what became of the target beside the teachers' first word",
    "trust": "Whom to believe: weights of the teachers' logits on a label, and what each one's word on it tells about "
    "other labels, in nats",
    "pairs": "Who told whom: rows told; where the other one can predict again, on how many it followed",
    "effects": "What a teacher changed when told: its other labels",
    "examples": "Rows in sharpest dispute: each teacher's probability, the target, other labels that turned",
}


def write_own_report(path: Path, found: Amalgamation, config: AmalgamationConfig) -> None:
    """Write the page, and the figure beside it."""
    report = Report("Several teachers, one student")
    tables = found.disagreement
    report.add_text(tables.summary().replace("\n", "\n\n"), heading="What was found")
    if (tables.labels["disagreements"] > 0).any():
        figure = disputes_figure(tables.labels, tables.pairs)
        save_figure(path.parent / "figures" / "disputes.png", figure)
        report.add_figure(
            figure, caption="Of each label that several teachers know, the rows in dispute, and which teacher told "
            "another one.", alt="Rows in dispute and transfers of each label",
        )  # fmt: skip
    pairs = tables.pairs
    if not pairs["revisable"].any():  # nobody can follow
        pairs = pairs.drop(columns=["followed", "mean_change", "revisable"])
    examples = tables.examples
    if list(examples["name"]) == list(examples["row"]):
        examples = examples.drop(columns="name")
    chosen = {
        "labels": tables.labels.sort_values("disagreements", ascending=False, kind="stable"),
        "trust": pd.DataFrame() if found.trust is None else found.trust.table(),
        "pairs": pairs.sort_values("told", ascending=False, kind="stable"),
        "effects": tables.effects[(tables.effects["told"] != tables.effects["changed"]) & (tables.effects["rows"] > 0)],
        "examples": examples,
    }
    for name, table in chosen.items():
        if len(table):
            more = f"; the first {SHOWN} of {len(table)}" if len(table) > SHOWN else ""
            header = [str(column).replace("_", " ") for column in table]
            report.add_table(header, _cells(table.head(SHOWN)), caption=HEADERS[name] + more)
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(path)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.3f}"
    return str(value)


@styled
def disputes_figure(labels: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Rows in dispute of each shared label, and under each the rows that every teacher told others."""
    busy = labels[labels["disagreements"] > 0].sort_values("disagreements", ascending=False, kind="stable").head(SHOWN)
    names: Sequence[str] = busy["label"].tolist()
    figure = new_figure(1.3 + 0.42 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places - 0.2, busy["disagreements"], 0.34, color=SERIES[5], label="rows in dispute")
    start = np.zeros(len(names))
    for k, source in enumerate(dict.fromkeys(pairs["source"])):
        told = pairs[pairs["source"] == source].groupby("label")["told"].sum()
        width = np.array([float(told.get(name, 0)) for name in names])
        axes.barh(places + 0.18, width, 0.34, left=start, color=SERIES[k % 5], label=f"told by {source}")
        start += width
    axes.set_yticks(places, [wrap(name, 26, lines=1) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("rows")
    axes.tick_params(axis="y", length=0)
    light_grid(axes, "x")
    draw_legend(figure, axes)
    return figure
