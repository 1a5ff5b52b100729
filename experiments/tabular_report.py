"""What a study leaves on disk: results.json, metrics.jsonl, figures and report.html."""

import json
from pathlib import Path

from experiments.common import written_whole
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import TabularData
from experiments.tabular_study import Outcome
from jlabel.evaluation import Report, build_results, format_table, save_figure, versions, write_results

__all__ = ["TITLE", "write_study"]

TITLE = "Few labelled, many unlabelled rows"


def write_study(workdir: Path, config: TabularConfig, data: TabularData, outcome: Outcome, *, seconds: float) -> None:
    """Write everything; print tables and text."""
    document = build_results(config.experiment, data=config.data, config=config, rows=outcome.rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    with written_whole(workdir / "metrics.jsonl") as file:
        for line in outcome.lines:
            file.write(json.dumps(line) + "\n")
    report = Report(f"{TITLE}: {data.name}")
    for k, text in enumerate(outcome.text):
        report.add_text(text, heading="" if k else "What was found")
    for caption, rows in outcome.tables:
        report.add_results(rows, caption=caption, paper=outcome.paper)
        print(f"{caption}\n\n{format_table(rows, paper=outcome.paper)}\n")
    print("\n\n".join(outcome.text) + "\n")
    for name, (figure, caption, alt) in outcome.figures.items():
        save_figure(workdir / "figures" / f"{name}.png", figure)
        report.add_figure(figure, caption=caption, alt=alt)
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(workdir / "report.html")
