"""Label graphs as files: the shipped ones, JSON and CSV files of a user, and tables with one row per label.

>>> spec = load_graph("drawn_pets")
>>> spec["root"], len(spec["nodes"]), [s["name"] for s in spec["label_sets"]]
('animal', 37, ['drawn_pets', 'drawn_species'])
"""

import io
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from jlabel.data.drawn_abstracts import CATEGORIES
from jlabel.data.drawn_flowers import COLOUR, KINDS, SHARED_KINDS
from jlabel.data.drawn_pets import COAT, SPECIES, breed_table
from jlabel.errors import InputError

FORMAT = "jlabel.label_graph/1"
_SHIPPED = resources.files("jlabel.data") / "label_graphs"
_RESERVED = ("label", "parent", "title")


class GraphFileError(InputError):
    """A label graph could not be read from a name, file or table."""


def load_graph(source: str | Path) -> dict[str, Any]:
    """Read a label graph: a shipped name, a JSON file in the graph format, or a CSV table.

    Lines of a CSV file that start with `#` are comments; `graph_from_table` says what the columns mean.

    Args:
      source: one of the shipped names (see `shipped_graphs()`), or the path of a `.json` or `.csv` file.

    Returns:
      The graph as a dict in the format `jlabel.label_graph/1`, not yet checked: `build_graph` does that.

    Raises:
      GraphFileError: no such graph or file, a file that does not parse (with the line), or a faulty table.

    Example:
      >>> load_graph("drawn_pets")["blocks"][1]
      {'parent': 'cat', 'name': 'hair', 'nodes': ['cat.short', 'cat.hair.long']}
    """
    text_source, suffix = str(source), Path(source).suffix.lower()
    if text_source in shipped_graphs():
        return _table_spec((_SHIPPED / f"{text_source}.csv").read_text(encoding="utf-8"), text_source, text_source)
    if suffix not in (".json", ".csv"):
        names = ", ".join(shipped_graphs())
        raise GraphFileError(f"no graph {text_source!r}: give one of {names}, or the path of a .json or .csv file")
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise GraphFileError(f"cannot read graph file {text_source!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise GraphFileError(f"graph file {text_source!r} is not UTF-8 text: byte {error.start} is wrong") from error
    if suffix == ".csv":
        return _table_spec(text, Path(source).stem, text_source)
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        raise GraphFileError(f"graph file {text_source!r}, line {error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(spec, dict):
        raise GraphFileError(f"graph file {text_source!r} holds a {type(spec).__name__}, not a JSON object")
    return spec


def shipped_graphs() -> tuple[str, ...]:
    """Names of the graphs that come with jlabel.

    - `pets`, `flowers`: breeds and kinds by what a picture shows of them; `tiny_imagenet`: WordNet's hypernyms.
    - `arxiv`: groups, archives and categories; `reuters`: code groups and topics; `clinc`: domains and intents.
    - `drawn_pets`, `drawn_flowers`, `drawn_abstracts`: the worlds of the generators of those names.

    The comments at the top of each table say where it comes from: `jlabel/data/label_graphs/NAME.csv`.

    Example:
      >>> shipped_graphs()[:5]
      ('arxiv', 'clinc', 'drawn_abstracts', 'drawn_flowers', 'drawn_pets')
    """
    return tuple(sorted(entry.name.removesuffix(".csv") for entry in _SHIPPED.iterdir() if entry.name.endswith(".csv")))


def graph_from_table(frame: pd.DataFrame, *, name: str, root: str | None = None) -> dict[str, Any]:
    """Turn a table with one row per label into a label graph.

    Every column but `label`, `parent`, `title` and `set:...` is a block of attributes under the row's parent, and its
    values are the attribute nodes `parent.value` (`parent.column.value` where two columns of a parent share a value).
    A label hangs on its attributes, or on its parent where it has none:

        root -> ... -> parent -> parent.value -> label

    - A cell `a|b` leaves it open which of the two a label has; an empty cell leaves the label out of that block.
    - A value that is itself a label with the same parent is that label's node: coarse labels can be attributes.
    - A label that is the parent of others is a row too. The root needs none: an empty parent means the root.
    - The root may have a row of its own for its title: the only row without a parent, and nothing but a title in it.
    - `set:NAME` holds the spelling of the label in the label set NAME, empty where the set lacks it; in `set:NAME!`
      the set is final: its labels say that nothing finer applies.

    Args:
      frame: the table; all cells are read as text.
      name: name of the graph.
      root: id of the root; by default that of its own row, else the one parent that is not a label, else "root".

    Returns:
      The graph as a dict in the format `jlabel.label_graph/1`.

    Raises:
      GraphFileError: a missing column, an empty or doubled label, an unknown parent, two rows that claim one name.

    Example:
      >>> table = pd.DataFrame({"label": ["lion", "tiger"], "parent": ["cat", "cat"], "coat": ["plain", "striped"]})
      >>> graph_from_table(table, name="big", root="cat")["edges"]
      [['cat', 'cat.plain'], ['cat.plain', 'lion'], ['cat', 'cat.striped'], ['cat.striped', 'tiger']]
    """
    columns = [str(column) for column in frame.columns]
    _check_columns(columns, name)
    cells = frame.fillna("").astype(str).to_numpy(dtype=object)
    rows = [{column: value.strip() for column, value in zip(columns, row, strict=True)} for row in cells]
    _check_labels(rows, name)
    root, title = _find_root(rows, name, root)
    rows = [row for row in rows if row["label"] != root]
    parents = {row["label"]: _values(row["parent"]) or [root] for row in rows}
    for label, above in parents.items():
        for parent in above:
            if parent != root and parent not in parents:
                fault = f"parent {parent!r} is neither a label nor the root {root!r}"
                raise GraphFileError(f"table {name!r}, label {label!r}: {fault}")

    blocks = [column for column in columns if column not in _RESERVED and not column.startswith("set:")]
    node_of = _attribute_nodes(rows, parents, blocks)
    for (parent, column, value), node in node_of.items():
        if node in parents and node != value:
            fault = f"the attribute {value!r} of {parent!r} needs the id {node!r}, which is a label; rename one"
            raise GraphFileError(f"table {name!r}, column {column!r}: {fault}")
    titles = {root: title}
    inner = set().union(*parents.values(), node_of.values())
    titles.update({row["label"]: row.get("title") or _title(row["label"]) for row in rows if row["label"] in inner})
    titles.update({node: _title(f"{key[2]} {key[1]}") for key, node in node_of.items() if node not in titles})
    titles.update({row["label"]: row.get("title") or _title(row["label"]) for row in rows if row["label"] not in inner})

    edges = []
    for row in rows:
        for parent in parents[row["label"]]:
            above = [node_of[parent, column, value] for column in blocks for value in _values(row.get(column, ""))]
            edges += [[parent, node] for node in above] + [[node, row["label"]] for node in above or [parent]]
    members: dict[tuple[str, str], list[str]] = {}
    for (parent, column, _), node in node_of.items():
        members.setdefault((parent, column), []).append(node)
    return {
        "format": FORMAT,
        "name": name,
        "root": root,
        "nodes": [{"id": node, "title": title} for node, title in titles.items()],
        "edges": [list(edge) for edge in dict.fromkeys(map(tuple, edges))],
        "blocks": [{"parent": key[0], "name": key[1], "nodes": nodes} for key, nodes in members.items()],
        "label_sets": list(_label_sets(rows, columns, name)),
    }


def drawn_pets_table(anchors: int = 3) -> pd.DataFrame:
    """The table of the graph `drawn_pets`, true to the generator with that many anchors per species.

    Example:
      >>> drawn_pets_table().query("label == 'belmira'")[["ears", "coat"]].to_numpy().tolist()
      [['pointed', 'striped']]
    """
    rows = [{"label": species, "parent": "animal", "set:drawn_species": species} for species in SPECIES]
    for breed in breed_table(anchors):
        form = {"ears": breed.ears, "hair": breed.hair, "muzzle": breed.muzzle, "coat": breed.coat or "|".join(COAT)}
        rows.append({"label": breed.name, "parent": breed.species, **form, "set:drawn_pets": breed.name})
    columns = ["label", "parent", "ears", "hair", "muzzle", "coat", "set:drawn_pets", "set:drawn_species"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def drawn_flowers_table() -> pd.DataFrame:
    """The table of the graph `drawn_flowers`: the petal counts are labels of the coarse set, and so are two kinds.

    Example:
      >>> drawn_flowers_table()["set:drawn_flower_counts"].tolist().count("")
      10
    """
    counted = dict.fromkeys(kind.count for kind in KINDS)
    rows = [{"label": count, "parent": "flower", "set:drawn_flower_counts": count} for count in counted]
    for kind in KINDS:
        shared = kind.name if kind.name in SHARED_KINDS else ""
        form = {"count": kind.count, "petals": kind.form, "colour": kind.colour or "|".join(COLOUR)}
        sets = {"set:drawn_flowers": kind.name, "set:drawn_flower_counts": shared}
        rows.append({"label": kind.name, "parent": "flower", **form, **sets})
    columns = ["label", "parent", "count", "petals", "colour", "set:drawn_flowers", "set:drawn_flower_counts"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def drawn_abstracts_table() -> pd.DataFrame:
    """The table of the graph `drawn_abstracts`: archives, and their categories.

    Example:
      >>> drawn_abstracts_table().query("label == 'dunetry'")["parent"].tolist()
      ['terronomy']
    """
    rows = [{"label": archive, "parent": "abstract", "set:drawn_archives": archive} for archive in CATEGORIES]
    for archive, members in CATEGORIES.items():
        rows += [{"label": name, "parent": archive, "set:drawn_abstracts": name} for name in members]
    return pd.DataFrame(rows, columns=["label", "parent", "set:drawn_abstracts", "set:drawn_archives"]).fillna("")


def _table_spec(text: str, name: str, source: str) -> dict[str, Any]:
    # Blank the comment lines instead of dropping them, so that the parser counts lines as the user does.
    lines = ["" if line.lstrip().startswith("#") else line for line in text.splitlines()]
    try:
        frame = pd.read_csv(io.StringIO("\n".join(lines)), dtype=str, keep_default_na=False, skip_blank_lines=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise GraphFileError(f"graph file {source!r} is not a CSV table: {' '.join(str(error).split())}") from error
    return graph_from_table(frame, name=name)


def _check_columns(columns: list[str], name: str) -> None:
    for column in ("label", "parent"):
        if column not in columns:
            raise GraphFileError(f"table {name!r} has no column {column!r}; its columns are {', '.join(columns)}")
    doubled = sorted({column for column in columns if columns.count(column) > 1})
    if doubled:
        raise GraphFileError(f"table {name!r} has the column {doubled[0]!r} twice")


def _check_labels(rows: list[dict[str, str]], name: str) -> None:
    if not rows:
        raise GraphFileError(f"table {name!r} has no rows")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        label = row["label"]
        if not label:
            raise GraphFileError(f"table {name!r}, row {number}: the label is empty")
        if label in seen:
            raise GraphFileError(f"table {name!r}: label {label!r} stands in rows {seen[label]} and {number}; keep one")
        seen[label] = number


def _find_root(rows: list[dict[str, str]], name: str, root: str | None) -> tuple[str, str]:
    """Id and title of the root."""
    own = {row["label"]: row for row in rows}
    if root is None:
        above = {parent: None for row in rows for parent in _values(row["parent"])}
        without = [parent for parent in above if parent not in own]
        if len(without) > 1:
            fault = f"parents {', '.join(without)} are no labels; only the root may lack a row"
            raise GraphFileError(f"table {name!r}: {fault}")
        tops = [row["label"] for row in rows if not row["parent"]]
        titled = not without and len(tops) == 1 and tops[0] in above and _only_titled(own[tops[0]])
        root = tops[0] if titled else next(iter(without), "root")
    if root in own and not _only_titled(own[root]):
        fault = f"the root {root!r} is also the label of a row; leave only a title in that row, or remove it"
        raise GraphFileError(f"table {name!r}: {fault}")
    return root, own.get(root, {}).get("title") or _title(root)


def _only_titled(row: dict[str, str]) -> bool:
    return not any(value for column, value in row.items() if column not in ("label", "title"))


def _attribute_nodes(
    rows: list[dict[str, str]], parents: dict[str, list[str]], blocks: list[str]
) -> dict[tuple[str, str, str], str]:
    """Node of every (parent, column, value), in the order of parents, then columns, then first use."""
    used = [
        (parent, column, value)
        for row in rows
        for parent in parents[row["label"]]
        for column in blocks
        for value in _values(row.get(column, ""))
    ]
    order = {parent: i for i, parent in enumerate(dict.fromkeys(key[0] for key in used))}
    keys = sorted(dict.fromkeys(used), key=lambda key: (order[key[0]], blocks.index(key[1])))
    columns_of: dict[tuple[str, str], list[str]] = {}
    for parent, column, value in keys:
        columns_of.setdefault((parent, value), []).append(column)
    nodes = {}
    for parent, column, value in keys:
        if parent in parents.get(value, ()):
            nodes[parent, column, value] = value
        else:
            shared = len(columns_of[parent, value]) > 1
            nodes[parent, column, value] = f"{parent}.{column}.{value}" if shared else f"{parent}.{value}"
    return nodes


def _label_sets(rows: list[dict[str, str]], columns: list[str], name: str) -> Iterator[dict[str, Any]]:
    for column in columns:
        if not column.startswith("set:"):
            continue
        title = column.removeprefix("set:")
        labels: dict[str, str] = {}
        for row in rows:
            spelling = row[column]
            if not spelling:
                continue
            if spelling in labels:
                both = f"{labels[spelling]!r} and {row['label']!r}"
                raise GraphFileError(f"table {name!r}, column {column!r}: {spelling!r} is claimed by {both}")
            labels[spelling] = row["label"]
        yield {"name": title.removesuffix("!"), "final": title.endswith("!"), "labels": labels}


def _values(cell: str) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in cell.split("|") if value.strip()))


def _title(text: str) -> str:
    text = text.replace("_", " ")
    return text[:1].upper() + text[1:]
