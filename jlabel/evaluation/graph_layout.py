"""Where the nodes of a label graph go: layers by distance from the root, few crossings, blocks kept together."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from jlabel.errors import InputError

_GAP = 0.75  # extra space, in rows, around a framed block (its name stands there)


class GraphLayout(NamedTuple):
    """Drawn nodes: column and row of each, how many nodes are hidden below it, and the framed blocks."""

    column: dict[str, int]
    row: dict[str, float]
    hidden: dict[str, int]
    edges: list[tuple[str, str]]
    frames: list[tuple[str, list[str]]]
    block_of: dict[tuple[str, str], int]


def _layers(nodes: list[str], edges: list[tuple[str, str]], root: str) -> dict[str, int]:
    """Longest distance from the root, by Kahn's order."""
    children: dict[str, list[str]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(nodes, 0)
    for parent, child in edges:
        for end in (parent, child):
            if end not in waiting:
                raise InputError(f"edge {[parent, child]} names {end!r}, which is no node of the graph")
        children[parent].append(child)
        waiting[child] += 1
    if root not in waiting:
        raise InputError(f"root {root!r} is no node of the graph")
    layer, ready, done = dict.fromkeys(nodes, 0), [n for n in nodes if not waiting[n]], 0
    while ready:
        node = ready.pop()
        done += 1
        for child in children[node]:
            layer[child] = max(layer[child], layer[node] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if done < len(nodes):
        raise InputError(f"the graph has a cycle through {next(n for n in nodes if waiting[n])!r}; give a DAG")
    return layer


def _below(node: str, children: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    stack = list(children.get(node, ()))
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(children.get(current, ()))
    return seen


def _collapse(
    layer: dict[str, int], edges: list[tuple[str, str]], max_nodes: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Keeps the top layers that fit; returns the kept layers and what each kept node hides."""
    if len(layer) <= max_nodes:
        return layer, {}
    sizes = np.bincount(list(layer.values())).cumsum()
    depth = max(1, int(np.searchsorted(sizes, max_nodes, side="right")) - 1)
    kept = [node for node in layer if layer[node] <= depth][:max_nodes]
    children: dict[str, list[str]] = {}
    for parent, child in edges:
        children.setdefault(parent, []).append(child)
    inside = set(kept)
    hidden = {
        node: len(_below(node, children) - inside)
        for node in kept
        if any(child not in inside for child in children.get(node, ()))
    }
    return {node: layer[node] for node in kept}, hidden


def _sweep(groups: list[list[list[str]]], near: Mapping[str, list[str]], order: range) -> None:
    """One pass of the barycentre rule: groups, and nodes in a group, sorted by the mean place of their neighbours."""
    for i in order:
        place = {n: k for column in groups for k, n in enumerate(m for group in column for m in group)}
        here = {n for group in groups[i] for n in group}

        def score(node: str, place: dict[str, int] = place, here: set[str] = here) -> float:
            spots = [place[n] for n in near[node] if n not in here]
            return float(np.mean(spots)) if spots else place[node]

        for group in groups[i]:
            group.sort(key=score)
        groups[i].sort(key=lambda group: float(np.mean([score(n) for n in group])))


def _rows(groups: list[list[list[str]]], near: Mapping[str, list[str]], framed: set[str]) -> dict[str, float]:
    """Rows of all nodes: the fullest column evenly, the others as near to their neighbours as order allows."""
    offsets: list[dict[str, float]] = []
    for column in groups:
        at, found = 0.0, {}
        for group in column:
            pad = _GAP if group[0] in framed else 0.0
            at += pad
            for node in group:
                found[node] = at
                at += 1
            at += pad / 3
        offsets.append(found)
    fullest = int(np.argmax([max(found.values(), default=0) for found in offsets]))
    row = dict(offsets[fullest])
    for i in [*range(fullest - 1, -1, -1), *range(fullest + 1, len(groups))]:
        names = list(offsets[i])
        own = np.array([offsets[i][n] for n in names])
        middle = float(np.mean(list(row.values())))
        wanted = np.array([np.mean([row[m] for m in near[n] if m in row] or [middle]) for n in names])
        # least squares under "keep the order and the distances" is isotonic regression
        row.update(zip(names, (own + optimize.isotonic_regression(wanted - own).x).tolist(), strict=True))
    lowest = min(row.values())
    return {node: at - lowest for node, at in row.items()}


def layout_graph(spec: Mapping[str, Any], *, max_nodes: int) -> GraphLayout:
    """Lays a graph out from left to right; above `max_nodes` only its top layers."""
    nodes = [node["id"] for node in spec["nodes"]]
    edges = [(parent, child) for parent, child in spec["edges"]]
    layer, hidden = _collapse(_layers(nodes, edges, spec["root"]), edges, max_nodes)
    kept = [(a, b) for a, b in edges if a in layer and b in layer]
    parents: dict[str, int] = {}
    near: dict[str, list[str]] = {node: [] for node in layer}
    for parent, child in kept:
        parents[child] = parents.get(child, 0) + 1
        near[parent].append(child)
        near[child].append(parent)

    frames, block_of = [], {}
    for number, block in enumerate(spec.get("blocks", ())):
        members = [node for node in block["nodes"] if node in layer]
        block_of.update({(block["parent"], node): number for node in members})
        alone = all(parents.get(node) == 1 for node in members) and len({layer[n] for n in members}) == 1
        if alone and members and block["parent"] in layer:  # else a frame would enclose strangers
            frames.append((str(block.get("name", "")), members))
    framed = {node for _, members in frames for node in members}
    group_of = {node: i for i, (_, members) in enumerate(frames) for node in members}

    groups: list[list[list[str]]] = [[] for _ in range(max(layer.values()) + 1)]
    started: dict[int, list[str]] = {}
    for node in layer:
        number = group_of.get(node, -1)
        if number in started:
            started[number].append(node)
            continue
        group = [node]
        groups[layer[node]].append(group)
        if number >= 0:
            started[number] = group
    for _ in range(6):
        _sweep(groups, near, range(1, len(groups)))
        _sweep(groups, near, range(len(groups) - 2, -1, -1))
    return GraphLayout(layer, _rows(groups, near, framed), hidden, kept, frames, block_of)
