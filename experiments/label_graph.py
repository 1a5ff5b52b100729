"""Validate and draw a label graph before training on it.

    python -m experiments.label_graph check mine.json            what it holds, what is doubtful, and mine.png
    python -m experiments.label_graph draw mine.json --output=figures/mine.png

GRAPH is a shipped name (pets, flowers, ...), a JSON file in the format jlabel.label_graph/1, or a CSV table with a row
per label. A graph with faults is not drawn: every fault is printed, one a line, and the exit code is 2.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

import jlabel.data
from experiments.common import user_errors
from jlabel import InputError
from jlabel.evaluation import graph_figure, save_figure
from jlabel.label_graph import LabelGraph, LabelGraphError, build_graph, count_paths, graph_spec, plan_paths

__all__ = ["check", "draw", "main"]

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


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line, as in the other binaries."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the binary; returns its exit code."""
    options: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog="python -m experiments.label_graph", description=__doc__, **options)
    commands = parser.add_subparsers(dest="command", metavar="{check,draw}", required=True, parser_class=_Parser)
    for name, text in (
        ("check", "validate a graph, say what it holds, and draw it"),
        ("draw", "only draw it"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        command.add_argument("graph", metavar="GRAPH", help="shipped name, JSON file or CSV file")
        command.add_argument("--output", metavar="FILE.png", help="the drawing; by default GRAPH.png, beside a file")
    given = parser.parse_args(argv)
    return user_errors(lambda: _run(given.command, given.graph, given.output))


def _run(command: str, graph: str, output: str | None) -> int:
    try:
        if command == "check":
            print("\n".join(check(graph)))
        print(f"drawing: {draw(graph, output)}")
    except LabelGraphError as error:
        for fault in error.faults:
            print(f"error: {graph}: {' '.join(fault.split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
