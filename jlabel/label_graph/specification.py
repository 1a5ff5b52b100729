"""From a graph's specification (JSON) to its arrays and back, with every fault named."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from jlabel.label_graph.graph import Block, LabelGraph, LabelGraphError, LabelSet, has_certain_path

__all__ = ["FORMAT", "build_graph", "graph_spec", "match_labels"]

FORMAT = "jlabel.label_graph/1"


def build_graph(spec: Mapping[str, Any]) -> LabelGraph:
    """Validate a graph specification and lay it out as arrays.

    Children that no listed block names form one block of their parent, so a plain taxonomy needs no ``blocks``.

    Args:
      spec: ``{"format": "jlabel.label_graph/1", "name", "root", "nodes": [{"id", "title"?}], "edges": [[parent,
        child]], "blocks"?: [{"parent", "name", "nodes"}],
        "label_sets"?: [{"name", "final"?, "labels": {label: node}}]}``.

    Returns:
      The graph; `LabelGraph.warnings` names one-node blocks beside others and labels without a deterministic path.

    Raises:
      LabelGraphError: naming every fault at once.

    Example:
      >>> graph = build_graph({"format": "jlabel.label_graph/1", "name": "pets", "root": "animal",
      ...     "nodes": [{"id": "animal"}, {"id": "cat"}, {"id": "dog"}],
      ...     "edges": [["animal", "cat"], ["animal", "dog"]],
      ...     "label_sets": [{"name": "species", "labels": {"Cat": "cat", "Dog": "dog"}}]})
      >>> graph.num_nodes, graph.blocks[0].nodes
      (3, (1, 2))
    """
    if not isinstance(spec, Mapping):
        raise LabelGraphError("?", [f"the specification is a {type(spec).__name__}, not an object"])
    name = str(spec.get("name", "?"))
    shape_faults = _shape_faults(spec)
    if shape_faults:
        raise LabelGraphError(name, shape_faults)
    faults: list[str] = []
    ids = [str(node["id"]) for node in spec["nodes"]]
    index = {node: i for i, node in reversed(list(enumerate(ids)))}
    faults += [f"duplicate id {node!r}" for node, count in Counter(ids).items() if count > 1]
    if spec["root"] not in index:
        faults.append(f"root {spec['root']!r} is not a node")
    edges = _edges(spec, index, faults)
    if faults:  # numbers below would be guesses
        raise LabelGraphError(name, faults + _label_faults(spec, index))
    root = index[spec["root"]]
    children: dict[int, list[int]] = defaultdict(list)
    for parent, child in edges:
        children[parent].append(child)
    digraph = nx.DiGraph(edges)
    digraph.add_nodes_from(range(len(ids)))
    acyclic = nx.is_directed_acyclic_graph(digraph)
    if not acyclic:
        cycle = [ids[edge[0]] for edge in nx.find_cycle(digraph)]
        faults.append(f"cycle {' -> '.join([*cycle, cycle[0]])}")
    reachable = nx.descendants(digraph, root) | {root}
    faults += [f"unreachable node {ids[v]!r}" for v in range(len(ids)) if v not in reachable]
    blocks = _blocks(spec, index, ids, children, faults)
    if acyclic:
        below = {v: nx.descendants(digraph, v) for block in blocks for v in block.nodes}
        faults += [
            f"competitors on one path: {ids[w]!r} lies below {ids[u]!r} of the same block"
            for block in blocks
            for u in block.nodes
            for w in block.nodes
            if w in below[u]
        ]
    faults += _label_faults(spec, index)
    label_sets = tuple(
        LabelSet(
            name=str(s["name"]),
            final=bool(s.get("final", False)),
            labels=tuple(map(str, s["labels"])),
            nodes=tuple(index.get(node, -1) for node in s["labels"].values()),
        )
        for s in spec.get("label_sets", ())
    )
    labelled = {node for s in label_sets for node in s.nodes}
    if label_sets:
        faults += [
            f"childless attribute {ids[v]!r}"
            for v in range(len(ids))
            if not children[v] and v not in labelled and v != root
        ]
    if faults:
        raise LabelGraphError(name, faults)
    titles = tuple(str(node.get("title", node["id"])) for node in spec["nodes"])
    return _lay_out(name, tuple(ids), titles, root, edges, tuple(blocks), label_sets)


def _shape_faults(spec: Mapping[str, Any]) -> list[str]:
    """Faults of the JSON itself, before any name can be looked up."""
    faults = []
    if spec.get("format") != FORMAT:
        faults.append(f"format is {spec.get('format')!r}, expected {FORMAT!r}")
    for field, kind in (("nodes", list), ("edges", list), ("root", str)):
        if not isinstance(spec.get(field), kind):
            faults.append(f"format: {field!r} must be a {kind.__name__}")
    for field in ("blocks", "label_sets"):
        if not isinstance(spec.get(field, []), list):
            faults.append(f"format: {field!r} must be a list")
    if faults:
        return faults
    for i, node in enumerate(spec["nodes"]):
        if not isinstance(node, Mapping) or not isinstance(node.get("id"), str):
            faults.append(f"format: nodes[{i}] needs an 'id' string")
    for i, edge in enumerate(spec["edges"]):
        if not (isinstance(edge, list | tuple) and len(edge) == 2 and all(isinstance(end, str) for end in edge)):
            faults.append(f"format: edges[{i}] must be [parent, child]")
    for i, block in enumerate(spec.get("blocks", [])):
        members = block.get("nodes") if isinstance(block, Mapping) else None
        named = isinstance(members, list) and all(isinstance(node, str) for node in members)
        if not named or not isinstance(block.get("parent"), str):
            faults.append(f"format: blocks[{i}] needs 'parent' and a list 'nodes'")
    for i, label_set in enumerate(spec.get("label_sets", [])):
        if not isinstance(label_set, Mapping) or "name" not in label_set:
            faults.append(f"format: label_sets[{i}] needs a 'name'")
        elif not isinstance(label_set.get("labels"), Mapping) or not all(
            isinstance(node, str) for node in label_set["labels"].values()
        ):
            faults.append(f"format: label_sets[{i}] needs 'labels', an object from label to node id")
    return faults


def _edges(spec: Mapping[str, Any], index: Mapping[str, int], faults: list[str]) -> list[tuple[int, int]]:
    edges = []
    for parent, child in spec["edges"]:
        missing = [end for end in (parent, child) if end not in index]
        faults += [f"edge {parent!r} -> {child!r}: unknown node {end!r}{_nearest(end, index)}" for end in missing]
        if not missing:
            edges.append((index[parent], index[child]))
    names = {number: node for node, number in index.items()}
    faults += [
        f"duplicate edge {names[parent]!r} -> {names[child]!r}"
        for (parent, child), count in Counter(edges).items()
        if count > 1
    ]
    return edges


def _blocks(
    spec: Mapping[str, Any],
    index: Mapping[str, int],
    ids: Sequence[str],
    children: Mapping[int, Sequence[int]],
    faults: list[str],
) -> list[Block]:
    blocks: list[Block] = []
    placed: dict[int, set[int]] = defaultdict(set)
    for i, block in enumerate(spec.get("blocks", ())):
        label = f"block {block.get('name', i)!r} of {block['parent']!r}"
        if block["parent"] not in index:
            faults.append(f"{label}: unknown parent{_nearest(block['parent'], index)}")
            continue
        parent, nodes = index[block["parent"]], []
        if not block["nodes"]:
            faults.append(f"{label}: has no nodes")
        for node in block["nodes"]:
            if node not in index:
                faults.append(f"{label}: unknown node {node!r}{_nearest(node, index)}")
            elif index[node] not in children[parent]:
                faults.append(f"{label}: {node!r} is not a child of {block['parent']!r}")
            elif index[node] in placed[parent]:
                faults.append(f"{label}: {node!r} stands twice in the blocks of {block['parent']!r}")
            else:
                placed[parent].add(index[node])
                nodes.append(index[node])
        blocks.append(Block(parent, str(block.get("name", f"block {i}")), tuple(nodes)))
    for parent in sorted(v for v in children if children[v]):
        rest = tuple(child for child in children[parent] if child not in placed[parent])
        if rest:
            blocks.append(Block(parent, ids[parent], rest))
    return blocks


def _label_faults(spec: Mapping[str, Any], index: Mapping[str, int]) -> list[str]:
    faults = []
    names = Counter(str(s["name"]) for s in spec.get("label_sets", ()))
    faults += [f"duplicate label set {name!r}" for name, count in names.items() if count > 1]
    for label_set in spec.get("label_sets", ()):
        where = f"label set {label_set['name']!r}"
        holders: dict[str, list[str]] = defaultdict(list)
        if not label_set["labels"]:
            faults.append(f"{where}: has no labels")
        for label, node in label_set["labels"].items():
            holders[node].append(label)
            if node not in index:
                faults.append(f"{where}: label {label!r} on unknown node {node!r}{_nearest(node, index)}")
        faults += [f"{where}: labels {held} share node {node!r}" for node, held in holders.items() if len(held) > 1]
    return faults


def _nearest(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (nearest: {close[0]!r})" if close else ""


def _lay_out(
    name: str,
    ids: tuple[str, ...],
    titles: tuple[str, ...],
    root: int,
    edges: list[tuple[int, int]],
    blocks: tuple[Block, ...],
    label_sets: tuple[LabelSet, ...],
) -> LabelGraph:
    size = len(ids)
    of_parent: dict[int, list[int]] = defaultdict(list)
    for b, block in enumerate(blocks):
        of_parent[block.parent].append(b)
    degree = np.bincount([p for p, _ in edges], minlength=size) if edges else np.zeros(size, int)
    successors = np.full((size, max(1, degree.max())), size, np.int32)
    successor_block = np.full(successors.shape, -1, np.int32)
    block_index = np.full((size, max(1, *(len(v) for v in of_parent.values())) if of_parent else 1), -1, np.int32)
    num_blocks = np.zeros(size, np.int32)
    for parent, numbers in of_parent.items():
        pairs = sorted((node, local) for local, b in enumerate(numbers) for node in blocks[b].nodes)
        successors[parent, : len(pairs)], successor_block[parent, : len(pairs)] = np.array(pairs).T
        block_index[parent, : len(numbers)] = numbers
        num_blocks[parent] = len(numbers)
    stops = np.zeros(size, bool)
    for label_set in label_sets:
        if label_set.final:
            stops[list(label_set.nodes)] = True
    stops &= num_blocks > 0
    shared = nx.Graph()
    shared.add_nodes_from(range(size))
    for block in blocks:
        nx.add_path(shared, block.nodes)
    component = np.zeros(size, np.int32)
    for number, members in enumerate(nx.connected_components(shared)):
        component[list(members)] = number
    for array in (successors, successor_block, block_index, num_blocks, stops, component):
        array.setflags(write=False)
    graph = LabelGraph(
        name=name,
        ids=ids,
        titles=titles,
        root=root,
        edges=np.asarray(edges, np.int32).reshape(-1, 2),
        blocks=blocks,
        label_sets=label_sets,
        successors=successors,
        successor_block=successor_block,
        block_index=block_index,
        num_blocks=num_blocks,
        stops=stops,
        component=component,
    )
    object.__setattr__(graph, "warnings", _warnings(graph))
    return graph


def _warnings(graph: LabelGraph) -> tuple[str, ...]:
    found = [
        f"block {block.name!r} of {graph.ids[block.parent]!r} has one node beside other blocks: "
        "greedy decoding favours it"
        for block in graph.blocks
        if len(block.nodes) == 1 and graph.num_blocks[block.parent] > 1
    ]
    for label_set in graph.label_sets:
        found += [
            f"label {label!r} of {label_set.name!r} has no deterministic path"
            for label, node in zip(label_set.labels, label_set.nodes, strict=True)
            if not has_certain_path(graph, node)
        ]
    return tuple(found)


def graph_spec(graph: LabelGraph) -> dict[str, Any]:
    """The specification that `build_graph` turns into an equal graph.

    Example:
      >>> spec = {"format": "jlabel.label_graph/1", "name": "g", "root": "r", "nodes": [{"id": "r", "title": "Root"},
      ...     {"id": "a", "title": "A"}], "edges": [["r", "a"]], "label_sets": [{"name": "s", "labels": {"x": "a"}}]}
      >>> graph_spec(build_graph(graph_spec(build_graph(spec)))) == graph_spec(build_graph(spec))
      True
    """
    ids = graph.ids
    return {
        "format": FORMAT,
        "name": graph.name,
        "root": ids[graph.root],
        "nodes": [{"id": node, "title": title} for node, title in zip(ids, graph.titles, strict=True)],
        "edges": [[ids[parent], ids[child]] for parent, child in graph.edges.tolist()],
        "blocks": [{"parent": ids[b.parent], "name": b.name, "nodes": [ids[v] for v in b.nodes]} for b in graph.blocks],
        "label_sets": [
            {"name": s.name, "final": s.final, "labels": {k: ids[v] for k, v in zip(s.labels, s.nodes, strict=True)}}
            for s in graph.label_sets
        ],
    }


def match_labels(
    graph: LabelGraph, label_names: Sequence[str], *, dataset: str, label_set: str | None = None
) -> tuple[LabelSet, np.ndarray]:
    """Find the label set that a dataset's labels belong to, and each label's place in it.

    Spelling is compared without case, and with ``_`` and ``-`` as spaces, when it does not match to the letter.

    Args:
      graph: the graph. label_names: the dataset's labels. dataset: its name, for messages.
      label_set: name of the set; by default the smallest that knows all labels.

    Returns:
      The label set and int ``[C]``, the position of each of ``label_names`` in it.

    Raises:
      LabelGraphError: naming each label the graph lacks, the dataset, and the nearest spelling.
    """

    def folded(label: str) -> str:
        return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())

    def positions(candidate: LabelSet) -> list[int]:
        exact = {label: i for i, label in enumerate(candidate.labels)}
        loose = {folded(label): i for i, label in enumerate(candidate.labels)}
        return [exact.get(label, loose.get(folded(label), -1)) for label in label_names]

    candidates = [graph.label_set(label_set)] if label_set else sorted(graph.label_sets, key=lambda s: len(s.labels))
    if not candidates:
        raise LabelGraphError(graph.name, ["it has no label sets, so no dataset can be matched to it"])
    found = [
        (sum(p < 0 for p in places), candidate, places) for candidate in candidates for places in [positions(candidate)]
    ]
    misses, best, places = min(found, key=lambda item: item[0])
    if misses:
        faults = [
            f"label {label!r} of dataset {dataset!r} is not in label set {best.name!r}{_nearest(label, best.labels)}"
            for label, place in zip(label_names, places, strict=True)
            if place < 0
        ]
        raise LabelGraphError(graph.name, faults)
    return best, np.asarray(places, np.int32)
