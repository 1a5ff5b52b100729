"""Make, validate and draw a label graph before training on it.

    python -m experiments.label_graph check mine.json            what it holds, what is doubtful, and mine.png
    python -m experiments.label_graph draw mine.json --output=figures/mine.png
    python -m experiments.label_graph from_table mine.csv        the table as mine.json, and what it holds
    python -m experiments.label_graph from_wordnet ids.txt --dict=/usr/share/wordnet --coarse=12,40

GRAPH is a shipped name (pets, flowers, ...), a JSON file in the format jlabel.label_graph/1, or a CSV table with a row
per label. A graph with faults is not drawn or written: every fault is printed, one a line, and the exit code is 2.
IDS.txt holds a WordNet 3.0 noun synset id (n02123045) a line; a # begins a comment. Its graph is ids.json, with the
label set ids and, for --coarse=12,40, the sets ids_coarse12 and ids_coarse40: the highest hypernyms above at most that
many of the labels.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

import jlabel.data
from experiments.common import user_errors
from jlabel import InputError
from jlabel.evaluation import graph_figure, save_figure
from jlabel.label_graph import LabelGraph, LabelGraphError, build_graph, count_paths, graph_spec, plan_paths

__all__ = ["check", "draw", "from_table", "from_wordnet", "main"]

MAX_PATHS = 64


def check(graph: str) -> list[str]:
    """Read and validate a graph.

    Args:
      graph: shipped name or file.

    Returns:
      What it holds, a line each, warnings last.

    Raises:
      LabelGraphError: the graph has faults; ``faults`` lists them all. InputError: it cannot be read.

    Example:
      >>> check("drawn_pets")[:2]
      ['label graph drawn_pets', 'nodes: 37']
    """
    built = build_graph(jlabel.data.load_graph(graph))
    lines = [
        f"label graph {built.name}",
        f"nodes: {built.num_nodes}",
        f"edges: {len(built.edges)}",
        f"blocks: {len(built.blocks)}",
        f"attributes: {int(built.attributes.sum())}",
        f"complete paths: {complete_paths(built)}",
    ]
    if built.label_sets:
        plan = plan_paths(built, max_paths=MAX_PATHS, key=jax.random.key(0))
        cut = int(plan.paths.truncated.sum())
        some = f" (of {_count(cut, 'label')} {MAX_PATHS} paths)" if cut else ""
        lines.append(f"prefix-tree nodes: {plan.tree.num_nodes}{some}")
    for label_set in built.label_sets:
        counts = count_paths(built, label_set.name).values()
        least = f"{min(counts)} to " if min(counts) < max(counts) else ""
        final = ", final" if label_set.final else ""
        size, paths = _count(len(label_set.labels), "label"), _count(max(counts), "path")
        lines.append(f"label set {label_set.name}: {size}{final}, {least}{paths} each")
    undecided = sum(warning.endswith("has no deterministic path") for warning in built.warnings)
    lines.append(f"labels without deterministic path: {undecided}")
    return lines + [f"warning: {warning}" for warning in built.warnings]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def complete_paths(graph: LabelGraph) -> int:
    """Number of complete paths: those that end at a sink, or at an inner node where a final label sits.

    Example:
      >>> complete_paths(build_graph(jlabel.data.load_graph("drawn_pets"))) > 12
      True
    """
    counts = [0] * graph.num_nodes  # Python integers: there may be more than 64 bits hold
    counts[graph.root] = 1
    for node in graph.order:
        for child in graph.successors[node][graph.successors[node] < graph.num_nodes].tolist():
            counts[child] += counts[node]
    return sum(counts[v] for v in range(graph.num_nodes) if graph.sinks[v] or graph.stops[v])


def draw(graph: str, output: str | None = None) -> Path:
    """Draw a graph as PNG.

    Args:
      graph: shipped name or file. output: where to; by default the graph's own name with the ending .png.

    Returns:
      The picture's path.

    Raises:
      InputError: the graph is faulty, or the picture cannot be written.
    """
    path = Path(output).expanduser() if output else Path(graph).expanduser().with_suffix(".png")
    if path.suffix.lower() != ".png":
        raise InputError(f"output={str(path)!r}: graphs are drawn as PNG; name a file that ends in .png")
    if path.is_dir():
        raise InputError(f"output={str(path)!r} is a folder; name a file in it")
    return save_figure(path, graph_figure(graph_spec(build_graph(jlabel.data.load_graph(graph)))))


def from_table(table: str, output: str | None = None) -> Path:
    """Write a table with a row per label as a graph in JSON.

    Args:
      table: CSV file, or shipped name. output: where to; by default the table's own name with the ending .json.

    Returns:
      The JSON file's path.

    Raises:
      LabelGraphError: the graph has faults. InputError: the table cannot be read, or the graph not written.
    """
    if Path(table).suffix.lower() == ".json":
        raise InputError(f"{table!r} is a graph in JSON already; from_table reads a CSV table")
    return _write_graph(jlabel.data.load_graph(table), _json_path(table, output))


def from_wordnet(ids: str, dict_dir: str, output: str | None = None, *, coarse: Sequence[int] = ()) -> Path:
    """Write the hypernym graph of WordNet synsets in JSON.

    Args:
      ids: text file with a synset id a line. dict_dir: folder with data.noun.
      output: where to; by default the name of ids with the ending .json.
      coarse: adds for each number a set of coarse labels that cover at most that many labels.

    Returns:
      The JSON file's path. Graph and label set are named after it.

    Raises:
      LabelGraphError: the graph has faults. InputError: a file or id is wrong, or the graph cannot be written.
    """
    path = _json_path(ids, output)
    try:
        lines = Path(ids).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {ids!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{ids!r} is not UTF-8 text: byte {error.start} is wrong") from error
    words = [word for word in (line.split("#")[0].strip() for line in lines) if word]
    if not words:
        raise InputError(f"{ids!r} holds no ids: write one a line, such as n02123045")
    name = path.stem
    spec = jlabel.data.graph_from_wordnet(words, dict_dir, name=name)
    for at_most in coarse:
        nodes = jlabel.data.coarse_labels(spec, name, at_most=at_most).values()
        spec = jlabel.data.add_label_set(spec, f"{name}_coarse{at_most}", nodes)
    return _write_graph(spec, path)


def _json_path(source: str, output: str | None) -> Path:
    path = Path(output).expanduser() if output else Path(source).expanduser().with_suffix(".json")
    if path.suffix.lower() != ".json":
        raise InputError(f"output={str(path)!r}: graphs are written as JSON; name a file that ends in .json")
    if path.is_dir():
        raise InputError(f"output={str(path)!r} is a folder; name a file in it")
    return path


def _write_graph(spec: Mapping[str, Any], path: Path) -> Path:
    """Write a sound graph, whole or not at all, with a node, edge or block a line."""
    build_graph(spec)
    fields = []
    for key, value in spec.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n ]"
        fields.append(f" {json.dumps(key)}: {text}")
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another --output") from error
    finally:
        if temporary.exists():
            temporary.unlink()
    return path


def _bounds(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if text]
    except ValueError as error:
        raise InputError(f"--coarse={text}: give whole numbers separated by commas") from error


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line, as in the other binaries."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the binary; returns its exit code."""
    options: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog="python -m experiments.label_graph", description=__doc__, **options)
    commands = parser.add_subparsers(
        dest="command", metavar="{check,draw,from_table,from_wordnet}", required=True, parser_class=_Parser
    )

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")

    for name, text in (
        ("check", "validate a graph, say what it holds, and draw it"),
        ("draw", "only draw it"),
    ):
        drawn = command(name, text)
        drawn.add_argument("graph", metavar="GRAPH", help="shipped name, JSON file or CSV file")
        drawn.add_argument("--output", metavar="FILE.png", help="the drawing; by default GRAPH.png, beside a file")
    table = command("from_table", "write a table with a row per label as a graph in JSON, and say what it holds")
    table.add_argument("graph", metavar="FILE.csv", help="the table, or a shipped name")
    wordnet = command("from_wordnet", "write WordNet's hypernyms of synsets as a graph in JSON, and say what it holds")
    wordnet.add_argument("graph", metavar="IDS.txt", help="a noun synset id of WordNet 3.0 a line; # begins a comment")
    wordnet.add_argument("--dict", metavar="DIR", required=True, help="folder with data.noun: /usr/share/wordnet, ...")
    wordnet.add_argument("--coarse", metavar="N,N", default="", help="coarse label sets, each of at most N labels")
    for made in (table, wordnet):
        made.add_argument("--output", metavar="FILE.json", help="the graph; by default the name of the file given")
    given = parser.parse_args(argv)
    return user_errors(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    graph, output = given.graph, given.output
    try:
        if given.command in ("check", "draw"):
            if given.command == "check":
                print("\n".join(check(graph)))
            print(f"drawing: {draw(graph, output)}")
        else:
            if given.command == "from_table":
                path = from_table(graph, output)
            else:
                path = from_wordnet(graph, given.dict, output, coarse=_bounds(given.coarse))
            print("\n".join(check(str(path))))
            print(f"graph: {path}")
    except LabelGraphError as error:
        for fault in error.faults:
            print(f"error: {graph}: {' '.join(fault.split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
