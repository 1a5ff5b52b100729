"""Report on a user's domains: the taxonomy drawn, universal classes, heat maps, doubtful edges with examples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_cross import Crossed
from experiments.taxonomy_data import Domain
from experiments.taxonomy_figures import features_figure, heat_figure, taxonomy_figures
from jlabel.data import resize_image
from jlabel.evaluation import Report, Row, build_results, save_figure, table_cells, write_results
from jlabel.taxonomy import EdgeIntervals, Relations, Taxonomy

__all__ = ["examples", "write_own"]

EXAMPLES = 3  # rows shown of each side of an edge
EDGES = 10  # edges shown with examples
CLASSES = 60  # universal classes in the table
MOST_PIXELS = 160  # side of an example
LETTERS = 160  # of an example text


def write_own(
    workdir: Path, config: TaxonomyConfig, relations: Relations, taxonomy: Taxonomy, table: pd.DataFrame, text: str, *,
    rows: Sequence[Row], intervals: EdgeIntervals | None, domains: Sequence[Domain], crossed: Crossed | None,
    seconds: float,
) -> None:  # fmt: skip
    """Write results.json, figures/ and report.html."""
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(workdir / "results.json", document)
    report = Report("Taxonomy of " + ", ".join(relations.domains))
    report.add_text(text, heading="What was found")
    _add_domains(report, relations, domains, crossed)
    drawing = taxonomy_figures(relations, None if intervals is None else ~intervals.clear)
    for number, page in enumerate(drawing.pages, start=1):
        save_figure(workdir / "figures" / f"taxonomy_{number}.png", page)
        where = f"page {number} of {len(drawing.pages)}; " if len(drawing.pages) > 1 else ""
        caption = f"Related classes, {where}a domain's classes stand below each other. {drawing.caption}"
        report.add_figure(page, caption=caption, alt="Classes of each domain in a column, lines between related ones")
    _add_classes(report, taxonomy)
    if crossed is not None and intervals is not None:
        _add_doubtful(report, relations, table, domains, crossed)
        _add_heat_maps(report, workdir, config, relations, crossed)
    if rows:
        header, body = table_cells(rows)
        many = len(rows[0].runs) > 1
        report.add_table(
            header, body, caption="What every rule finds, with all edges and with the clear ones alone"
            + (f": mean ± std and 95 % t interval over {len(rows[0].runs)} seeds." if many else "."),
        )  # fmt: skip
    if domains:
        figure = features_figure({"training rows": domains})
        save_figure(workdir / "figures" / "features.png", figure)
        report.add_figure(figure, caption="Features of each domain, t-SNE.", alt="Map of the domains' features")
    report.add_text(
        "Write other weights into relations.csv, take lines out, or name edges with --forbid and --force, and run\n\n"
        f"python -m experiments.taxonomy --from={workdir / 'taxonomy.json'} --workdir=...\n\n"
        "To edit universal classes, edit taxonomy.json itself, last: it is what experiments.universal_model takes.",
        heading="What to do",
    )
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(workdir / "report.html")


def _add_domains(report: Report, relations: Relations, domains: Sequence[Domain], crossed: Crossed | None) -> None:
    header = ["domain", "classes"]
    body = [[name, str(len(of))] for name, of in zip(relations.domains, relations.class_names, strict=True)]
    if domains and crossed is not None:
        header += ["training rows", "validation rows", "accuracy of its model"]
        for line, domain, accuracy in zip(body, domains, crossed.accuracy, strict=True):
            line += [str(len(domain.labels["train"])), str(len(domain.labels["val"])), f"{accuracy:.3f}"]
    report.add_table(
        header, body, caption="Domains; accuracy on validation rows, mean over seeds." if domains else "Domains."
    )


def _add_classes(report: Report, taxonomy: Taxonomy) -> None:
    joint = {
        u: max(taxonomy.weights[a][i, u] for a, i in members)
        for u, members in enumerate(taxonomy.members)
        if len(members) > 1
    }
    if not joint:
        return
    body = []
    for u in sorted(joint, key=lambda u: -joint[u])[:CLASSES]:
        of = {a: taxonomy.class_names[a][i].split(",")[0] for a, i in taxonomy.members[u]}
        body.append([str(u), *(of.get(a, "") for a in range(len(taxonomy.domains))), f"{joint[u]:.2f}"])
    shown = f", the {CLASSES} strongest of {len(joint)}" if len(joint) > CLASSES else ""
    report.add_table(
        ["number", *taxonomy.domains, "weight"], body,
        caption=f"Universal classes that join classes of several domains{shown}; the others are in taxonomy.json.",
    )  # fmt: skip


def _add_heat_maps(
    report: Report, workdir: Path, config: TaxonomyConfig, relations: Relations, crossed: Crossed
) -> None:
    cross = crossed.cross(soft=config.soft)
    for a in range(len(relations.domains)):
        for b in range(a + 1, len(relations.domains)):
            figure = heat_figure(cross, (a, b), relations)
            save_figure(workdir / "figures" / f"cross_{a}_{b}.png", figure)
            caption = (
                f"{relations.domains[a]} and {relations.domains[b]}: share of a class's rows that the other domain's "
                "model gives each of its classes; dots are edges. Of many classes those with the strongest are shown."
            )
            report.add_figure(figure, caption=caption, alt="Cross-predictions of two domains as heat maps")


def _add_doubtful(
    report: Report, relations: Relations, table: pd.DataFrame, domains: Sequence[Domain], crossed: Crossed
) -> None:
    """The least certain edges, each with rows from both of its sides."""
    if not len(table):
        return
    least = table.iloc[:EDGES]
    body = [
        [
            f"{line.from_domain}: {line.from_class}", f"{line.to_domain}: {line.to_class}",
            f"{line.share:.3f} [{line.low:.3f}, {line.high:.3f}]", f"{line.base:.3f}",
            "doubtful" if line.doubtful else "clear",
        ]
        for line in least.itertuples()
    ]  # fmt: skip
    report.add_text(
        f"{len(least)} of {len(table)} edges: doubtful ones, those of most rows first, then the least certain of the "
        "others. relations.csv has all of them in this order.",
        heading="Doubtful edges",
    )
    header = ["rows of", "predicted as", "share of rows", "base rate", "edge"]
    report.add_table(header, body, caption="Share of rows with its 95 % interval.")
    for line in least.itertuples():
        a, b = relations.domains.index(line.from_domain), relations.domains.index(line.to_domain)
        i, j = relations.class_names[a].index(line.from_class), relations.class_names[b].index(line.to_class)
        if domains:
            _add_examples(report, domains, crossed, (a, i), (b, j))


def _add_examples(
    report: Report, domains: Sequence[Domain], crossed: Crossed, source: tuple[int, int], target: tuple[int, int]
) -> None:
    shown = examples(domains, crossed, source, target)
    (a, i), (b, j) = source, target
    title = f"{domains[a].name}: {domains[a].class_names[i]} → {domains[b].name}: {domains[b].class_names[j]}"
    kind = domains[a].sources["train"].kind
    sides = [(a, domains[a].class_names[i], shown[0]), (b, domains[b].class_names[j], shown[1])]
    found = [(d, name, _content(domains[d], row)) for d, name, rows in sides for row in rows]
    if kind == "image" and found:
        pictures = [_small(content) for *_, content in found]
        captions = [f"{domains[d].name}: {name}" for d, name, _ in found]
        report.add_text(f"{title}: rows that make the edge, and rows of the class they are taken for.")
        report.add_gallery(pictures, captions)
    elif kind == "text" and found:
        cells = [[f"{domains[d].name}: {name}", str(content)[:LETTERS]] for d, name, content in found]
        report.add_table(["class", "text"], cells, caption=title)


def examples(
    domains: Sequence[Domain], crossed: Crossed, source: tuple[int, int], target: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """Rows of both sides of an edge, numbers among the training and validation rows of their domain.

    Of the source those that the other model is surest to be of the target; of the target the first ones.
    """
    (a, i), (b, j) = source, target
    probs = crossed.probs[a, b]
    there = np.flatnonzero((crossed.labels[a, b] == i) & (probs.argmax(1) == j))
    first = there[np.argsort(-probs[there, j], kind="stable")][:EXAMPLES].tolist()
    labels = np.concatenate([domains[b].labels["train"], domains[b].labels["val"]])
    return first, np.flatnonzero(labels == j)[:EXAMPLES].tolist()


def _content(domain: Domain, row: int) -> object:
    before = len(domain.labels["train"])
    return domain.sources["train"].content(row) if row < before else domain.sources["val"].content(row - before)


def _small(picture: object) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels if max(pixels.shape[:2]) <= MOST_PIXELS else resize_image(pixels, MOST_PIXELS)
