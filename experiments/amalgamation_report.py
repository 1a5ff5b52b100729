"""Tables, text, figures and report of a study of amalgamation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_data import Part
from experiments.amalgamation_figures import levels_figure, transfers_figure
from experiments.amalgamation_paper import paper_figures
from experiments.amalgamation_study import METRICS, OURS, REFERENCES, Outcome
from experiments.common import written_whole
from jlabel.evaluation import (
    Report,
    Row,
    build_results,
    comparison_figure,
    format_table,
    make_row,
    paired_comparison,
    save_figure,
    versions,
    write_results,
)

__all__ = ["Parts", "study_rows", "study_text", "write_study"]

Parts = Mapping[str, tuple[Part, Outcome]]
DIFFERENCE = "ANT less this, "
COMPETENT = "transfers from the competent teacher"
CHANCE = ("all-negative", "most frequent set")
FINDINGS = (COMPETENT, "rows with a transfer", "transfers a row")


def study_rows(part: Part, outcome: Outcome) -> list[Row]:
    """Every number of a part: scores, differences of ANT to each method, and what was transferred."""
    rows = [
        make_row(name, metric, outcome.scores[name][metric], split=part.title)
        for name in outcome.scores
        for metric in METRICS
    ]
    ant = outcome.scores["ANT"]
    rows += [
        make_row(name, DIFFERENCE + metric, ant[metric] - outcome.scores[name][metric], split=part.title)
        for name in outcome.scores
        if name != "ANT"
        for metric in METRICS
    ]
    found = {
        COMPETENT: [one.competent for one in outcome.transfers],
        "rows with a transfer": [one.revised for one in outcome.transfers],
        "transfers a row": [
            sum(sum(of.values()) for of in one.sources.values()) / one.rows for one in outcome.transfers
        ],
    }
    return rows + [
        make_row("ANT", name, values, split=part.title) for name, values in found.items() if np.isfinite(values).all()
    ]


def study_text(part: Part, outcome: Outcome) -> str:
    """What was found in a part, in words."""
    ant = outcome.scores["ANT"]
    lines = [
        f"ANT: subset loss {_told(ant['subset loss'])}, Hamming loss {_told(ant['Hamming loss'])}; all-negative "
        f"{_told(outcome.scores['all-negative']['Hamming loss'])}."
    ]
    if len(part.problems) > 1:
        for ours in ("ANT", "ANT earned trust hard"):
            own, said = outcome.scores.get(ours, {}).get("subset loss"), []
            for rival in ("BL", "TC", "CFL", "FKA", "AKA", "ANT earned trust"):
                if own is not None and rival in outcome.scores:
                    gap = paired_comparison(own, outcome.scores[rival]["subset loss"])
                    said.append(f"{rival} {gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
            if said:
                lines.append(f"Subset loss of {ours} less that of {', '.join(said)}.")
    shares = [one.competent for one in outcome.transfers]
    if np.isfinite(shares).all():
        lines.append(
            f"Of the transfers of damaged labels {np.mean(shares):.0%} come from the teacher whose labels are right."
        )
    return "\n\n".join(lines)


def _told(values: np.ndarray) -> str:
    return f"{values.mean():.3f}"


def write_study(workdir: Path, parts: Parts, config: AmalgamationConfig, *, seconds: float) -> None:
    """Write metrics.jsonl, results.json, figures/ and report.html; print the tables."""
    rows = {title: study_rows(part, outcome) for title, (part, outcome) in parts.items()}
    document = build_results(
        config.experiment, data=config.data, config=config, rows=[row for own in rows.values() for row in own],
        seconds=seconds,
    )  # fmt: skip
    write_results(workdir / "results.json", document)
    _write_metrics(workdir / "metrics.jsonl", parts)
    report = Report("Several teachers, one student")
    for title, (part, outcome) in parts.items():
        report.add_text(study_text(part, outcome), heading=title if len(parts) > 1 else "What was found")
        paper = paper_figures(config, part)
        for caption, chosen in _tables(rows[title], title, len(config.seeds)).items():
            beside = paper if caption.startswith("Scores") else None
            report.add_results(chosen, caption=caption, paper=beside)
            print(f"{caption}\n\n{format_table(chosen, paper=beside)}\n")
        print(f"{study_text(part, outcome)}\n")
    for name, (figure, caption, alt) in _figures(parts, rows, config).items():
        save_figure(workdir / "figures" / f"{name}.png", figure)
        report.add_figure(figure, caption=caption, alt=alt)
    report.add_text(_settings_text(parts), heading="Settings chosen on held-out rows")
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(workdir / "report.html")


def _tables(rows: Sequence[Row], title: str, seeds: int) -> dict[str, list[Row]]:
    """Caption to rows."""
    over = f"{title}; mean ± std and 95 % t interval over {seeds} seeds."
    # Two tables: beside the paper's figures, four columns would not fit the page.
    found = {
        f"Scores on test rows, losses, {over}": [row for row in rows if row.metric in METRICS[:2]],
        f"Scores on test rows, F1, {over}": [row for row in rows if row.metric in METRICS[2:]],
        f"ANT less each method, seed by seed, {over}": [row for row in rows if row.metric.startswith(DIFFERENCE)],
        f"Transfers, {over}": [row for row in rows if row.metric in FINDINGS],
    }
    return {caption: chosen for caption, chosen in found.items() if chosen}


def _settings_text(parts: Parts) -> str:
    """How often each setting was chosen, by method."""
    lines = []
    for title, (_, outcome) in parts.items():
        counts: dict[str, dict[str, int]] = {}
        for name, _, one in outcome.trained:
            own = counts.setdefault(name, {})
            own[one.option] = own.get(one.option, 0) + 1
        told = (
            f"{name}: {', '.join(f'{option} ({count})' for option, count in own.items())}"
            for name, own in counts.items()
        )
        lines.append(f"{title}. " + "; ".join(told) + ".")
    return "\n\n".join(lines)


def _write_metrics(path: Path, parts: Parts) -> None:
    """A line for each network: its settings and its loss on held-out rows."""
    with written_whole(path) as file:
        for title, (_, outcome) in parts.items():
            for name, seed, one in outcome.trained:
                line = {"part": title, "name": name, "seed": seed, "settings": one.option, "val_loss": one.loss}
                file.write(json.dumps(line) + "\n")


def _figures(
    parts: Parts, rows: Mapping[str, Sequence[Row]], config: AmalgamationConfig
) -> dict[str, tuple[Figure, str, str]]:
    figures: dict[str, tuple[Figure, str, str]] = {}
    shown = list(parts) if config.study == "main" else []
    for title in shown:
        part = parts[title][0]
        # Rows of chance would press all others together; they stand in the tables.
        scores = [row for row in rows[title] if row.metric in METRICS[:3] and row.method not in CHANCE]
        name = f"comparison_{part.error}" if len(shown) > 1 else "comparison"
        figures[name] = (
            comparison_figure(scores, split=title, ours=OURS, references=REFERENCES, paper=paper_figures(config, part)),
            f"Test rows, {title}: means and 95 % intervals over seeds.",
            f"Scores of every method, {title}",
        )
    if config.study != "main":
        what = "share of labels that both teachers know" if config.study == "shared" else "number of teachers"
        for error in config.errors:
            chosen = [one for one in parts.values() if one[0].error == error]
            name = f"levels_{error}" if len(config.errors) > 1 else "levels"
            figures[name] = (
                levels_figure([part.level for part, _ in chosen], [outcome for _, outcome in chosen], xlabel=what),
                f"Scores on test rows against the {what}: means and 95 % intervals over seeds.",
                f"Scores against the {what}",
            )
    shared = {title: one for title, one in parts.items() if any(found.sources for found in one[1].transfers)}
    if shared:
        figures["transfers"] = (
            transfers_figure(shared),
            "Transfer rows: where the teachers that know a label disagree on it, and who then told another one.",
            "Disagreement and transfers of each shared label",
        )
    return figures
