"""A user's domains: relations by every rule, the taxonomy, and a report to judge the doubtful edges by."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_cross import Crossed, cross_domains, mean_probs
from experiments.taxonomy_data import Domain, load_domains
from experiments.taxonomy_files import edit, read_relations, relation_table, write_relations, write_taxonomy
from experiments.taxonomy_own_report import write_own
from experiments.taxonomy_probs import read_pairs
from experiments.taxonomy_reference import Reference, read_reference, reference_scores
from jlabel.evaluation import Row, format_table, make_row
from jlabel.taxonomy import (
    METHODS,
    EdgeIntervals,
    Relations,
    build_taxonomy,
    clear_relations,
    edge_intervals,
    find_relations,
    relations_by_name,
)
from jlabel.training import open_workdir

__all__ = ["run_own"]


class _Inputs(NamedTuple):
    """Domains (none where predictions were given), their names, and what the models of each seed said."""

    domains: tuple[Domain, ...]
    names: Mapping[str, Any]
    runs: Sequence[Crossed]


def run_own(config: TaxonomyConfig, workdir: str | Path, start: float) -> Path:
    """Find the relations of a user's domains, or build an edited taxonomy anew; write and print everything.

    Args:
      config: the settings. workdir: where everything goes. start: when the run began, `time.monotonic`.

    Returns:
      The workdir.
    """
    inputs, intervals, rows = None, None, []
    if config.rebuild:
        relations = read_relations(config.rebuild)
    else:
        inputs = _load(config)
        reference = read_reference(config.reference, **inputs.names) if config.reference else None
        rows = _rows(inputs, config, reference)
        mean = mean_probs(inputs.runs)
        intervals = edge_intervals(mean.counts())
        relations = find_relations(mean.cross(soft=config.soft), **inputs.names, **config.rule)
        if config.drop_doubtful:
            relations = clear_relations(relations, intervals)
    relations = edit(relations, forbid=config.forbid, force=config.force)
    taxonomy = build_taxonomy(relations, merge=config.merge)
    folder = open_workdir(workdir, config)
    table = relation_table(relations, intervals)
    write_relations(folder / "relations.csv", table)
    write_taxonomy(folder / "taxonomy.json", taxonomy)
    text = _summary(relations, taxonomy.members, table)
    if inputs:
        text += _without_rows(inputs)
    write_own(
        folder, config, relations, taxonomy, table, text, rows=rows, intervals=intervals,
        domains=inputs.domains if inputs else (), crossed=mean if inputs else None, seconds=time.monotonic() - start,
    )  # fmt: skip
    if rows:
        print(f"{format_table(rows)}\n")
    print(f"{text}\n\nto read and edit: {folder / 'taxonomy.json'}, {folder / 'relations.csv'}")
    return folder


def _load(config: TaxonomyConfig) -> _Inputs:
    if config.probs:
        given = read_pairs(Path(config.probs).expanduser())
        return _Inputs((), {"domains": given.domains, "class_names": given.class_names}, [given.crossed])
    domains = load_domains(
        config.domains, encoder=config.encoder, per_class=config.per_class, seed=config.runs[0],
        image_size=config.image_size,
    )  # fmt: skip
    names = {
        "domains": tuple(domain.name for domain in domains),
        "class_names": tuple(domain.class_names for domain in domains),
    }
    runs = cross_domains(
        [domains], config.runs, hidden=config.hidden, steps=config.steps, batch_size=config.batch_size,
        learning_rate=config.learning_rate,
    )  # fmt: skip
    return _Inputs(domains, names, runs)


def _rows(inputs: _Inputs, config: TaxonomyConfig, reference: Reference | None) -> list[Row]:
    """What every rule finds, with and without its doubtful edges, over the seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for run in inputs.runs:
        cross, intervals = run.cross(soft=config.soft), edge_intervals(run.counts())
        for method in METHODS:
            relations = find_relations(cross, **inputs.names, **{**config.rule, "method": method})
            found.setdefault(method, []).append(_measure(relations, intervals, config, reference))
            clear = clear_relations(relations, intervals)
            found.setdefault(f"{method}, clear edges", []).append(_measure(clear, intervals, config, reference))
        by_name = relations_by_name(**inputs.names)
        found.setdefault("equal names", []).append(_measure(by_name, intervals, config, reference))
    return [
        make_row(name, metric, [values[metric] for values in runs], split="train and val")
        for name, runs in found.items()
        for metric in runs[0]
    ]


def _measure(
    relations: Relations, intervals: EdgeIntervals, config: TaxonomyConfig, reference: Reference | None
) -> dict[str, float]:
    taxonomy = build_taxonomy(relations, merge=config.merge)
    found = {
        "edges": float(relations.edges.sum()),
        "doubtful": float((relations.edges & ~intervals.clear).sum()),
        "universal classes": float(taxonomy.num_classes),
    }
    return found | (reference_scores(relations, reference) if reference is not None else {})


def _without_rows(inputs: _Inputs) -> str:
    """Classes from which no edge can go out."""
    found: dict[str, None] = {}
    for (a, _), labels in inputs.runs[0].labels.items():
        names = inputs.names["class_names"][a]
        for i in np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0):
            found[f"{inputs.names['domains'][a]}: {names[i]}"] = None
    if not found:
        return ""
    shown = ", ".join(list(found)[:8]) + (", ..." if len(found) > 8 else "")
    return f" Classes without rows, from which no edge goes out: {shown}."


def _summary(relations: Relations, members: Sequence[Sequence[Any]], table: pd.DataFrame) -> str:
    merged = sum(len(one) > 1 for one in members)
    alone = int((~(relations.edges.any(0) | relations.edges.any(1))).sum())
    edges = int(relations.edges.sum())
    both = int(np.triu(relations.edges & relations.edges.T).sum())
    text = (
        f"{len(relations.domains)} domains with {relations.starts[-1]} classes: {edges} edges, {both} pairs of them "
        f"both ways; {len(members)} universal classes, {merged} of which join classes of several domains. "
        f"Classes related to none: {alone}."
    )
    if "doubtful" in table and len(table):
        text += (
            f" Doubtful edges: {int(table['doubtful'].sum())}; the lower bound of their share of rows is not above "
            "what the predicted class gets from the classes of that domain anyway. --drop_doubtful leaves them out."
        )
    return text
