"""Tables, figures and report of the studies whose true relations are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_figures import curves_figure, features_figure, heat_figure, taxonomy_figures
from experiments.taxonomy_study import METRICS, Found, study_rows
from jlabel.evaluation import (
    Report,
    Row,
    build_results,
    format_table,
    paired_comparison,
    save_figure,
    table_cells,
    write_results,
)
from jlabel.taxonomy import METHODS, build_taxonomy

__all__ = ["study_tables", "study_text", "write_study"]

# The slides' table, of picture datasets whose relations were made up as here.
PAPER = {
    (method, metric): value
    for method, values in {
        "threshold": (0.463, 0.675, 0.889, 0.767), "top": (0.579, 0.865, 0.421, 0.566),
        "density": (0.523, 0.726, 0.795, 0.759), "hypothesis": (0.493, 0.746, 0.823, 0.783),
    }.items()
    for metric, value in zip(METRICS.values(), values, strict=True)
}  # fmt: skip


def study_tables(found: Mapping[str, Sequence[Found]]) -> list[Row]:
    """Rows of every part of the study."""
    return [row for split, runs in found.items() for row in study_rows(runs, split)]


def study_text(found: Mapping[str, Sequence[Found]], config: TaxonomyConfig) -> str:
    """What was found, in words."""
    lines = []
    for split, runs in found.items():
        f1 = {method: [run.scores[method].f1 for run in runs] for method in METHODS}
        means = {method: sum(values) / len(values) for method, values in f1.items()}
        best = max(means, key=lambda method: means[method])
        ours = means[config.method]
        line = f"{split.capitalize()}: the best F1 has {best}, {means[best]:.3f}, and {config.method} {ours:.3f}"
        if len(runs) > 1 and best != config.method:
            gap = paired_comparison(f1[config.method], f1[best])
            line += f" ({gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])"
        clear = [run.scores[f"{config.method}, clear edges"] for run in runs]
        plain = [run.scores[config.method] for run in runs]
        line += (
            f". Without its doubtful edges (--drop_doubtful) {config.method} has F1 {_mean(clear, 'f1'):.3f}, "
            f"precision {_mean(clear, 'precision'):.3f} instead of {_mean(plain, 'precision'):.3f} and recall "
            f"{_mean(clear, 'recall'):.3f} instead of {_mean(plain, 'recall'):.3f}"
        )
        if len(runs) > 1:
            gap = paired_comparison([score.f1 for score in clear], f1[config.method])
            line += f"; its F1 differs by {gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        line += "."
        lines.append(line)
    return "\n\n".join(lines)


def _mean(scores: Sequence[object], metric: str) -> float:
    return sum(getattr(score, metric) for score in scores) / len(scores)


def write_study(
    workdir: Path, found: Mapping[str, Sequence[Found]], config: TaxonomyConfig, rows: Sequence[Row], seconds: float
) -> None:
    """Write results.json, figures/ and report.html; print the tables."""
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    report = Report("Relations between the classes of several datasets")
    report.add_text(study_text(found, config), heading="What was found")
    for split, runs in found.items():
        of_split = [row for row in rows if row.split == split]
        paper = PAPER if split == next(iter(found)) else None
        header, body = table_cells(of_split, paper=paper)
        caption = f"Relations against the known ones, {split}: mean ± std and 95 % t interval over {len(runs)} seeds."
        report.add_table(header, body, caption=caption)
        print(f"{caption}\n\n{format_table(of_split, paper=paper)}\n")

    def add(name: str, figure: object, caption: str, alt: str) -> None:
        save_figure(workdir / "figures" / f"{name}.png", figure)  # type: ignore[arg-type]
        report.add_figure(figure, caption=caption, alt=alt)  # type: ignore[arg-type]

    curves = {split: [run.curves for run in runs] for split, runs in found.items()}
    marks = {split: [{str(m): run.scores[m] for m in METHODS} for run in runs] for split, runs in found.items()}
    add(
        "precision_recall", curves_figure(curves, marks),
        f"Precision against recall over all t and p, means over {len(next(iter(found.values())))} seeds; marks: the "
        f"settings of the table (t = {config.threshold:g}, p = {config.density:g}).",
        "Precision and recall of every rule",
    )  # fmt: skip
    first = next(iter(found.values()))[0]
    relations = first.relations[config.method]
    drawing = taxonomy_figures(relations, ~first.intervals.clear)
    taxonomy = build_taxonomy(relations, merge=config.merge)
    for number, page in enumerate(drawing.pages, start=1):
        add(
            f"taxonomy_{number}", page,
            f"Relations that {config.method} finds, first seed: {int(relations.edges.sum())} edges, "
            f"{taxonomy.num_classes} universal classes of {relations.starts[-1]} classes. {drawing.caption}",
            "Classes of each domain in a column, lines between related ones",
        )  # fmt: skip
    count = len(relations.domains)
    cross = first.crossed.cross(soft=config.soft)
    for a in range(count):
        for b in range(a + 1, count):
            add(
                f"cross_{a}_{b}", heat_figure(cross, (a, b), relations, first.world.truth),
                f"{relations.domains[a]} and {relations.domains[b]}, first seed: share of a class's rows that the "
                f"other domain's model gives each of its classes; dots: edges of {config.method}, frames: the truth.",
                "Cross-predictions of two domains as heat maps",
            )  # fmt: skip
    add(
        "features", features_figure({split: runs[0].world.domains for split, runs in found.items()}),
        "Training rows of each domain, t-SNE, first seed.", "Map of the domains' features",
    )  # fmt: skip
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(workdir / "report.html")
