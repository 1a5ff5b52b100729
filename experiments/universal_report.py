"""Tables, text, figures and report of a study of universal models."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import written_whole
from experiments.taxonomy_data import Domain
from experiments.taxonomy_figures import features_figure
from experiments.universal_config import EVALUATIONS, UniversalConfig
from experiments.universal_data import Study
from experiments.universal_figures import agreement_figure
from experiments.universal_study import AUTO, GIVEN, MAJORITY, NONE, SINGLE, TRUTH, UNION, Outcome, rule_name
from jlabel.evaluation import (
    Comparison,
    Report,
    Row,
    build_results,
    comparison_figure,
    curves_figure,
    format_table,
    make_row,
    paired_comparison,
    save_figure,
    versions,
    write_results,
)
from jlabel.taxonomy import METHODS

__all__ = ["Part", "domain_lines", "study_rows", "study_text", "write_study"]

Part = tuple[Study, Mapping[str, Outcome]]


def study_rows(part: Part, split: str) -> list[Row]:
    """Every number of every method: accuracy, difference to single, F1 of relations and outputs."""
    study, outcomes = part
    domains = study.problems[0].domains
    single = outcomes[SINGLE].accuracy
    rows = []
    for name, outcome in outcomes.items():
        rows.append(make_row(name, "accuracy", outcome.accuracy.mean(1), split=split))
        rows += [make_row(name, d, outcome.accuracy[:, k], split=split) for k, d in enumerate(domains)]
        if name != SINGLE:
            gain = outcome.accuracy - single
            rows.append(make_row(name, "against single", gain.mean(1), split=split))
            rows += [make_row(name, f"{d} against single", gain[:, k], split=split) for k, d in enumerate(domains)]
        f1 = outcome.f1(study.problems)
        if f1:
            rows.append(make_row(name, "F1 of relations", f1, split=split))
        if outcome.heads is not None:
            rows.append(make_row(name, "outputs", outcome.outputs, split=split))
    return rows


def tables(rows: Sequence[Row], domains: Sequence[str]) -> dict[str, list[Row]]:
    """The rows by table."""
    titles = {
        "Accuracy on test rows, mean over domains and of each": ("accuracy", *domains),
        "Accuracy less that of single, seed by seed": ("against single", *(f"{d} against single" for d in domains)),
        "Relations and outputs": ("F1 of relations", "outputs"),
    }
    found = {title: [row for row in rows if row.metric in metrics] for title, metrics in titles.items()}
    return {title: chosen for title, chosen in found.items() if chosen}


def domain_lines(part: Part, name: str) -> list[str]:
    """What each domain gained or lost by one model instead of its own."""
    study, outcomes = part
    single, ours = outcomes[SINGLE].accuracy, outcomes[name].accuracy
    lines = []
    for k, domain in enumerate(study.problems[0].domains):
        gain = float((ours[:, k] - single[:, k]).mean())
        line = f"{domain}: {single[:, k].mean():.3f} alone, {ours[:, k].mean():.3f} with one model, {gain:+.3f}"
        if len(single) > 1:
            found = paired_comparison(ours[:, k], single[:, k])
            line += f" [{found.low:+.3f}, {found.high:+.3f}]"
        lines.append(line)
    return lines


def study_text(part: Part, config: UniversalConfig) -> str:
    """What was found, in words."""
    study, outcomes = part
    ours = GIVEN if GIVEN in outcomes else TRUTH if TRUTH in outcomes else AUTO
    own = outcomes[ours]
    lines = [
        f"{ours}: accuracy {own.accuracy.mean():.3f} with {own.outputs.mean():.0f} outputs of one head; single "
        f"{outcomes[SINGLE].accuracy.mean():.3f} with {outcomes[SINGLE].outputs.mean():.0f} outputs of "
        f"{len(study.problems[0].sizes)} heads; naive union {outcomes[UNION].accuracy.mean():.3f}."
    ]
    if len(study.problems) > 1:
        gap = {name: _gap(outcomes, ours, name) for name in (SINGLE, UNION)}
        lines[0] += f" Against single {_told(gap[SINGLE])}, against naive union {_told(gap[UNION])}."
    if AUTO in outcomes:
        fixed = [rule_name(config, method) for method in METHODS]
        best = max(fixed, key=lambda name: outcomes[name].accuracy.mean())
        chosen = [str(choice.candidate) for choice in outcomes[AUTO].choices]
        line = (
            f"The rule chosen by probes has {outcomes[AUTO].accuracy.mean():.3f}, the best fixed one ({best}, known "
            f"only afterwards) {outcomes[best].accuracy.mean():.3f}"
        )
        if len(study.problems) > 1:
            line += f", a difference of {_told(_gap(outcomes, AUTO, best))}"
        lines.append(f"{line}. Chosen: {', '.join(chosen)}.")
    both = config.learning_rate is not None and config.weight_decay is not None
    lines.append(
        f"Learning rate and weight decay, {'as given' if both else 'chosen on validation rows'}: "
        + "; ".join(f"{name} {o.rate:g}, {o.decay:g}" for name, o in outcomes.items() if o.heads is not None)
        + "."
    )
    return "\n\n".join(lines)


def _gap(outcomes: Mapping[str, Outcome], a: str, b: str) -> Comparison:
    return paired_comparison(outcomes[a].accuracy.mean(1), outcomes[b].accuracy.mean(1))


def _told(gap: Comparison) -> str:
    return f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def write_study(
    workdir: Path, parts: Mapping[str, Part], config: UniversalConfig, *, ours: str, seconds: float
) -> None:
    """Write metrics.jsonl, results.json, figures/ and report.html; print the tables.

    Args:
      workdir: where to. parts: title to rows and outcomes. config: settings.
      ours: the method that is told domain by domain and whose features are drawn. seconds: run time so far.
    """
    rows = [row for title, part in parts.items() for row in study_rows(part, title)]
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    _write_metrics(workdir / "metrics.jsonl", parts, config)
    report = Report("One model for datasets whose classes disagree")
    for title, part in parts.items():
        heading = f"What was found: {title}" if len(parts) > 1 else "What was found"
        report.add_text(study_text(part, config), heading=heading)
        report.add_text(f"{ours}, domain by domain:\n\n" + "\n\n".join(domain_lines(part, ours)))
        of_part = [row for row in rows if row.split == title]
        for what, chosen in tables(of_part, part[0].problems[0].domains).items():
            caption = f"{what}, {title}: mean ± std and 95 % t interval over {len(config.runs)} seeds."
            report.add_results(chosen, caption=caption)
            print(f"{caption}\n\n{format_table(chosen)}\n")
    for name, (figure, caption, alt) in _figures(parts, rows, config, ours).items():
        save_figure(workdir / "figures" / f"{name}.png", figure)
        report.add_figure(figure, caption=caption, alt=alt)
    report.add_details(config)
    report.add_details(versions(), title="Versions")
    report.write(workdir / "report.html")


def _write_metrics(path: Path, parts: Mapping[str, Part], config: UniversalConfig) -> None:
    """A line for each evaluation of each method: means over its networks."""
    with written_whole(path) as file:
        for title, (_, outcomes) in parts.items():
            for name, outcome in outcomes.items():
                for line in _history(outcome, config):
                    file.write(json.dumps({"name": name, "part": title, **line}) + "\n")


def _history(outcome: Outcome, config: UniversalConfig) -> list[dict[str, Any]]:
    if outcome.heads is None:
        return []
    means = {name: values.mean(0) for name, values in outcome.heads.history.items()}
    every = config.steps // EVALUATIONS
    return [
        {"step": (k + 1) * every, **{name: float(values[k]) for name, values in means.items()}}
        for k in range(EVALUATIONS)
    ]


def _figures(
    parts: Mapping[str, Part], rows: Sequence[Row], config: UniversalConfig, ours: str
) -> dict[str, tuple[Figure, str, str]]:
    title, (study, outcomes) = next(iter(parts.items()))
    first = [row for row in rows if row.split == title and row.metric == "accuracy" and row.method != MAJORITY]
    of_title = f", {title}" if len(parts) > 1 else ""
    figures: dict[str, tuple[Figure, str, str]] = {
        "accuracy": (
            comparison_figure(first, split=title, ours=[name for name in outcomes if name not in NONE]),
            f"Accuracy on test rows, mean over domains{of_title}: means and 95 % intervals over seeds.",
            "Accuracy of every method",
        )
    }
    if study.problems[0].truth is not None:
        panels = {name: (part[1], part[0].problems) for name, part in parts.items()}
        figures["accuracy_f1"] = (
            agreement_figure(panels),
            "Accuracy of the universal model against the F1 of the relations it was built on, means with 95 % "
            "intervals over seeds; dotted: single. Below, the candidates of the chosen rule by their probes on "
            "validation rows.",
            "Accuracy against F1 of relations",
        )
    figures["features"] = (
        features_figure(_layers(study, outcomes[ours])),
        f"t-SNE of test rows by domain, seed {study.problems[0].seed}: the features, and the hidden layer of {ours}.",
        "Map of features by domain",
    )
    figures["training"] = (
        curves_figure(_history(outcomes[ours], config), metrics=["loss", "kl", "val_accuracy"]),
        f"Training of {ours}{of_title}, means over seeds: the loss has a floor, the entropy of the targets; kl is what "
        "is above it. The checkpoint with the best validation accuracy is kept.",
        "Loss, KL divergence and validation accuracy by step",
    )
    return figures


def _layers(study: Study, outcome: Outcome) -> dict[str, list[Domain]]:
    """Test rows of the first seed as features and, of a head of two layers, as its hidden units."""
    problem = study.problems[0]
    assert outcome.heads is not None
    head = outcome.heads.head(0)
    layers = {"features": lambda x: x}
    if head.kind == "mlp":
        dense = head.params["params"]["Dense_0"]
        layers["hidden layer"] = lambda x: np.maximum(x @ dense["kernel"] + dense["bias"], 0)
    found: dict[str, list[Domain]] = {}
    for name, layer in layers.items():
        own = [study.own(problem.test, d) for d in range(len(problem.sizes))]
        found[name] = [
            Domain(domain, names, {"train": layer(study.features[rows])}, {"train": study.labels[rows]}, {})
            for domain, names, rows in zip(problem.domains, problem.class_names, own, strict=True)
        ]
    return found
