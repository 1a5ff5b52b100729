"""Report of a user's rows: the comparison, and what the kept model relied on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.tabular_config import TabularConfig
from experiments.tabular_data import TabularData
from jlabel.evaluation import Report, Row, save_figure, versions
from jlabel.evaluation.style import SERIES, light_grid, new_figure, styled, wrap

__all__ = ["importance_figure", "write_own_report"]

SHOWN = 20  # columns of a figure


def write_own_report(
    folder: Path, data: TabularData, config: TabularConfig, *, rows: Sequence[Row], text: Sequence[str],
    importance: pd.DataFrame,
) -> None:  # fmt: skip
    """Write report.html, and the figure beside it."""
    report = Report(f"{config.target} of {data.name}")
    report.add_text("\n\n".join(text), heading="What was found")
    report.add_results(rows, caption="Area under the ROC curve; mean ± std and 95 % t interval over the comparisons.")
    report.add_text(
        "Each column's cells are dealt out anew among rows that the model did not learn from: what its area loses says "
        "how much it relied on the column. What two columns both say is missed in neither."
        + (
            " Attention says what the embeddings were made of, not what the prediction turned on; equal attention is "
            f"{1 / importance['attention'].notna().sum():.3f}."
            if "attention" in importance
            else ""
        ),
        heading="What the model relied on",
    )
    figure = importance_figure(importance)
    save_figure(folder / "figures" / "importance.png", figure)
    more = f", the {SHOWN} with the largest of {len(importance)} columns" if len(importance) > SHOWN else ""
    report.add_figure(
        figure, caption=f"Loss of area without each column{more}; lines: one std over five deals.",
        alt="Loss of area without each column",
    )  # fmt: skip
    header = ["column", "loss of area", "std"] + ["attention"] * ("attention" in importance)
    body = [
        [str(name), *(_cell(value) for value in row)]
        for name, row in zip(importance.index, importance.to_numpy(), strict=True)
    ]
    report.add_table(header, body, caption="All columns")
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(folder / "report.html")


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


@styled
def importance_figure(importance: pd.DataFrame) -> Figure:
    """A bar for each column, the largest loss first."""
    top = importance.head(SHOWN)
    figure = new_figure(1.0 + 0.27 * len(top))
    axes = figure.subplots()
    places = np.arange(len(top))
    axes.barh(places, top["drop"], 0.62, color=SERIES[0], xerr=top["std"], error_kw={"elinewidth": 0.9})
    axes.set_yticks(places, [wrap(str(name), 26, lines=1) for name in top.index])
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.set_xlabel("loss of area under the curve")
    axes.tick_params(axis="y", length=0)
    light_grid(axes, "x")
    return figure
