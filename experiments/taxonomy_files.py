"""relations.csv and taxonomy.json: what a run leaves, and what an edited run is built from."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.common import written_whole
from jlabel import InputError
from jlabel.taxonomy import (
    EdgeIntervals,
    Relations,
    Taxonomy,
    edit_relations,
    taxonomy_from_spec,
    taxonomy_spec,
)

__all__ = ["edit", "read_relations", "relation_table", "write_relations", "write_taxonomy"]

COLUMNS = ("from_domain", "from_class", "to_domain", "to_class", "weight")


def relation_table(relations: Relations, intervals: EdgeIntervals | None = None) -> pd.DataFrame:
    """An edge a row, doubtful ones first; with the interval of its share of rows where that is known."""
    edges = np.argwhere(relations.edges)
    names = [(domain, name) for domain, of in zip(relations.domains, relations.class_names, strict=True) for name in of]
    table = pd.DataFrame(
        [(*names[a], *names[b], relations.weights[a, b]) for a, b in edges], columns=list(COLUMNS)
    )  # fmt: skip
    if intervals is not None:
        for name, values in intervals._asdict().items():
            table[name] = values[edges[:, 0], edges[:, 1]]
        table["doubtful"] = ~intervals.clear[edges[:, 0], edges[:, 1]]
        unsure = table["doubtful"].to_numpy()
        # Of doubtful edges those that decide most come first, of others the least certain.
        margin = np.where(unsure, -table["share"], table["low"] - table["base"])
        table = table.iloc[np.lexsort([margin, ~unsure])]
    return table.reset_index(drop=True)


def write_relations(path: Path, table: pd.DataFrame) -> None:
    """Write relations.csv."""
    with written_whole(path) as file:
        table.to_csv(file, index=False, float_format="%.6g")


def write_taxonomy(path: Path, taxonomy: Taxonomy) -> None:
    """Write taxonomy.json."""
    with written_whole(path) as file:
        file.write(json.dumps(taxonomy_spec(taxonomy), indent=2, ensure_ascii=False) + "\n")


def read_relations(file: str) -> Relations:
    """Relations of an earlier run: classes from its taxonomy.json, edges from relations.csv beside it."""
    path = Path(file).expanduser()
    try:
        taxonomy = taxonomy_from_spec(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"--from={file}: cannot be read: {error}") from error
    table = path.with_name("relations.csv")
    try:
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--from={file}: {table} beside it cannot be read: {' '.join(str(error).split())}") from error
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise InputError(f"{table}: no column {missing[0]!r}; there must be {', '.join(COLUMNS)}")
    starts = np.cumsum([0, *map(len, taxonomy.class_names)])
    weights = np.zeros((starts[-1], starts[-1]))
    for number, line in enumerate(frame.to_dict("records"), start=2):
        places = []
        for side in ("from", "to"):
            domain, name = line[f"{side}_domain"], line[f"{side}_class"]
            if domain not in taxonomy.domains or name not in taxonomy.class_names[taxonomy.domains.index(domain)]:
                raise InputError(f"{table}, line {number}: no class {name!r} of a domain {domain!r} in {path.name}")
            d = taxonomy.domains.index(domain)
            places.append((d, int(starts[d]) + taxonomy.class_names[d].index(name)))
        (a, i), (b, j) = places
        weight = pd.to_numeric(line["weight"], errors="coerce")
        if a == b or not 0 < weight <= 1:
            told = (
                f"weight is {line['weight']!r}; give a number above 0, at most 1"
                if a != b
                else "both are of one domain"
            )
            raise InputError(f"{table}, line {number}: {told}")
        weights[i, j] = weight
    return Relations(taxonomy.domains, taxonomy.class_names, weights)


def edit(relations: Relations, *, forbid: Sequence[str], force: Sequence[str]) -> Relations:
    """Take out and put in the edges that flags name, ``DOMAIN:CLASS -> DOMAIN:CLASS``."""
    pairs = {}
    for flag, texts in {"forbid": forbid, "force": force}.items():
        pairs[flag] = [tuple(part.strip() for part in text.split("->")) for text in texts]
        for text, pair in zip(texts, pairs[flag], strict=True):
            if len(pair) != 2:
                raise InputError(f"--{flag}={text}: write 'DOMAIN:CLASS -> DOMAIN:CLASS'")
    return edit_relations(relations, **pairs)  # type: ignore[arg-type]
