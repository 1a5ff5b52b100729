"""Relations that nobody disputes, from a CSV file, and how many of them were found."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jlabel import InputError
from jlabel.taxonomy import Relations

__all__ = ["Reference", "read_reference", "reference_scores"]

TABLES = Path(__file__).parent / "tables"
COLUMNS = ("domain_a", "class_a", "domain_b", "class_b", "kind")


class Reference(NamedTuple):
    """Edges that must be there: places in the flat order of classes, ``(E, 2)``, and the relations they are of (E,)."""

    edges: np.ndarray
    relation: np.ndarray


def read_reference(file: str, domains: Sequence[str], class_names: Sequence[Sequence[str]]) -> Reference:
    """Read a list of relations: ``same`` asks for an edge each way, ``within`` for one from class_a to class_b.

    A class may be written in full or up to its first comma, in any case, with ``_`` or a space.
    """
    path = Path(file).expanduser()
    if not path.is_file() and (TABLES / file).is_file():
        path = TABLES / file
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--reference={file}: no readable table: {' '.join(str(error).split())}") from error
    missing = [name for name in COLUMNS if name not in frame]
    if missing or not len(frame):
        raise InputError(
            f"--reference={file}: {f'no column {missing[0]!r}' if missing else 'no row'}; give {', '.join(COLUMNS)}"
        )
    starts = np.cumsum([0, *map(len, class_names)])
    edges, relation = [], []
    for number, line in enumerate(frame.to_dict("records")):
        where = f"--reference={file}, line {number + 2}"
        a, b = (
            _place(where, line[f"domain_{side}"], line[f"class_{side}"], domains, class_names, starts) for side in "ab"
        )
        if line["kind"] not in ("same", "within"):
            raise InputError(f"{where}: kind is {line['kind']!r}; give same or within")
        for edge in [(a, b), (b, a)][: 2 if line["kind"] == "same" else 1]:
            edges.append(edge)
            relation.append(number)
    return Reference(np.array(edges), np.array(relation))


def _place(
    where: str, domain: str, name: str, domains: Sequence[str], class_names: Sequence[Sequence[str]], starts: np.ndarray
) -> int:
    if domain not in domains:
        raise InputError(f"{where}: no domain {domain!r}; there are {', '.join(domains)}")
    d = list(domains).index(domain)
    found = [i for i, other in enumerate(class_names[d]) if other == name]
    found = found or [i for i, other in enumerate(class_names[d]) if _key(other) == _key(name)]
    if len(found) != 1:
        raise InputError(f"{where}: {'several classes' if found else 'no class'} {name!r} in domain {domain!r}")
    return int(starts[d]) + found[0]


def _key(name: str) -> str:
    return " ".join(name.split(",")[0].replace("_", " ").lower().split())


def reference_scores(relations: Relations, reference: Reference) -> dict[str, float]:
    """Recall of the edges, of the relations by an edge either way, and precision on the rows that the list knows.

    A row is a class and another domain; the list is taken for complete on the rows it has an edge of, so its precision
    is a lower bound.
    """
    a, b = reference.edges.T
    there = relations.edges[a, b]
    either = there | relations.edges[b, a]
    linked = {number for number, is_there in zip(reference.relation.tolist(), either.tolist(), strict=True) if is_there}
    domain = np.repeat(np.arange(len(relations.domains)), np.diff(relations.starts))
    known = (domain[b][:, None] == domain) & relations.edges[a]  # found edges of each listed row
    rows = {(int(i), int(domain[j])): int(k.sum()) for i, j, k in zip(a, b, known, strict=True)}
    return {
        "reference recall": float(there.mean()),
        "reference linked": len(linked) / len(set(reference.relation.tolist())),
        "reference precision": float(there.sum() / max(1, sum(rows.values()))),
    }
