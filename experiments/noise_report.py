"""What a run on the user's data leaves behind: issues.csv, results.json, figures and report.html."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.common import written_whole
from experiments.noise_config import NoiseConfig
from experiments.noise_figures import joint_figure, score_figure
from experiments.noise_files import write_table
from jlabel.confident_learning import GalleryItem, gallery_html
from jlabel.evaluation import (
    Interval,
    Report,
    Row,
    build_results,
    make_row,
    row_from_interval,
    save_figure,
    versions,
    write_results,
)

__all__ = ["Findings", "result_rows", "summary", "write_findings"]

PAIRS = 20  # most confused pairs in the table
MOST_CELLS = 100  # classes whose joint goes into results.json


@dataclass(frozen=True)
class Findings:
    """What was found in one dataset.

    Attributes:
      label_names: C names.
      label_counts: int64 ``[C]``, rows with each label.
      joint: ``[C, C]``, the confident joint. calibrated: ``[C, C]``, estimated rows by given and true label.
      num_errors: estimated number of wrong labels. interval: of that number; None where it was not computed.
      flagged: filter to the number of rows it flags.
      issues: the reviewer's table, worst first.
      agreement: share of rows whose likeliest class is their label; None where it was not counted.
      scores: ``[N]`` and flagged: ``[N]`` for the histogram; None where they are not held in memory.
      notes: what else the reader should know, a sentence each.
      streamed: whether the data was read in parts.
    """

    label_names: Sequence[str]
    label_counts: np.ndarray
    joint: np.ndarray
    calibrated: np.ndarray
    num_errors: float
    interval: Interval | None
    flagged: Mapping[str, int]
    issues: pd.DataFrame
    agreement: float | None = None
    scores: tuple[np.ndarray, np.ndarray] | None = None
    notes: Sequence[str] = field(default=())
    streamed: bool = False


def confused_pairs(calibrated: np.ndarray, names: Sequence[str], issues: pd.DataFrame) -> list[list[str]]:
    """Given and true label, estimated rows and flagged rows of the pairs with the most estimated errors."""
    flagged = issues.groupby(["given", "suggested"]).size().to_dict()
    wrong = calibrated * (1 - np.eye(len(calibrated)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    return [
        [names[i], names[j], f"{wrong[i, j]:.1f}", str(flagged.get((names[i], names[j]), 0))]
        for i, j in (divmod(int(flat), len(wrong)) for flat in order)
        if wrong[i, j] > 0
    ]


def result_rows(found: Findings) -> list[Row]:
    """The rows of results.json."""
    total = int(found.label_counts.sum())
    interval = found.interval or Interval(found.num_errors, np.nan, np.nan, np.nan, total)
    rows = [row_from_interval("estimate", "wrong labels", interval, split="data")]
    rows += [make_row(name, "flagged", [float(count)], split="data") for name, count in found.flagged.items()]
    rows.append(make_row("data", "rows", [float(total)], split="data"))
    if found.agreement is not None:
        rows.append(make_row("probs", "agreement", [found.agreement], split="data"))
    return rows


def summary(found: Findings, config: NoiseConfig) -> str:
    """What was found, in words."""
    total = int(found.label_counts.sum())
    between = ""
    if found.interval is not None:
        between = f" (95 % interval {found.interval.low:.1f} to {found.interval.high:.1f})"
    lines = [
        f"{total} rows, {len(found.label_names)} labels. About {found.num_errors:.1f} labels are wrong{between}, "
        f"{100 * found.num_errors / total:.3g} % of them, by the rule {config.rule!r}. {len(found.issues)} rows are "
        f"flagged by {', '.join(found.flagged)}."
    ]
    if found.agreement is not None:
        lines.append(
            f"The likeliest label is the given one in {100 * found.agreement:.1f} % of the rows. A flagged label is a "
            "suspicion: where labels overlap or the model is weak, many of them are right."
        )
    return "\n\n".join([*lines, *found.notes])


def write_findings(
    workdir: Path,
    config: NoiseConfig,
    found: Findings,
    items: Iterable[GalleryItem],
    *,
    seconds: float,
    report: Report | None = None,
    rows: Sequence[Row] = (),
) -> None:
    """Write every file of a run, each whole; `report` and `rows` are what a study says before."""
    report = report or Report("Wrong labels")
    report.add_text(summary(found, config))
    counts = [[name, str(count)] for name, count in found.flagged.items()]
    if len(counts) > 1:
        report.add_table(["filter", "rows"], counts, caption="Rows flagged by each filter.")
    pairs = confused_pairs(found.calibrated, found.label_names, found.issues)
    if pairs:
        report.add_table(
            ["given", "true label, estimated", "rows, estimated", "rows flagged"], pairs,
            caption="The most confused pairs. A flagged row counts under the label suggested for it.",
        )  # fmt: skip
    figure = joint_figure(found.calibrated, found.label_names)
    save_figure(workdir / "figures" / "joint.png", figure)
    report.add_figure(
        figure, caption="Estimated number of rows by given and true label; off the diagonal, wrong labels.",
        alt="Joint of given and true labels as a heat map",
    )  # fmt: skip
    if found.scores is not None:
        figure = score_figure(*found.scores, name=config.score)
        save_figure(workdir / "figures" / "scores.png", figure)
        report.add_figure(figure, caption="Scores of all rows.", alt="Histogram of the scores")
    if len(found.issues) > config.gallery > 0:
        report.add_text(f"Below are the worst {config.gallery} of {len(found.issues)} flagged rows (--gallery).")
    if not config.is_study:
        flags = [shlex.quote(flag) for flag in (f"--workdir={workdir}", f"--apply={workdir / 'issues.csv'}")]
        report.add_text(
            "issues.csv lists the flagged rows, worst first. Write keep, fix, drop or both into the column decision; "
            "fix and both take the label in the column corrected, or the suggested one where it is empty. Then run\n\n"
            + " \\\n".join(["python -m experiments.confident_learning", *flags]),
            heading="What to do",
        )
    report.add_details(config, title="Settings")
    report.add_details({**versions(), "seconds": round(seconds)}, title="Versions and time")
    with written_whole(workdir / "report.html") as file:
        file.write(gallery_html(items, title="Wrong labels", report=report))
    document = build_results(
        "confident_learning", data=config.data, config=config, rows=[*rows, *result_rows(found)], seconds=seconds
    )
    document |= {"label_names": list(found.label_names), "notes": list(found.notes), "streamed": found.streamed}
    if len(found.label_names) <= MOST_CELLS:
        document["joint"] = {"confident": found.joint, "calibrated": found.calibrated}
    write_results(workdir / "results.json", document)
    write_table(workdir / "issues.csv", found.issues)
