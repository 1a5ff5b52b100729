"""Label graphs of WordNet's hypernyms: every class name that is a noun has one, for nothing.

Three lines from the ids of a dataset's classes to a graph with a second, coarser label set:

    spec = graph_from_wordnet(ids, "/usr/share/wordnet", name="mine")
    coarse = coarse_labels(spec, "mine", at_most=12)
    spec = add_label_set(spec, "mine_coarse12", coarse.values())
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from jlabel.data.graphs import FORMAT, GraphFileError

_ID = re.compile(r"n([0-9]{8})|([0-9]{8})-n")
_HYPERNYMS = (b"@", b"@i")  # of a kind, and of an instance: the Thames is an instance of river
_VERSION = re.compile(rb"^ +\d+ WordNet (\d+\.\d+) Copyright", re.MULTILINE)


class _Synset(NamedTuple):
    """One line of data.noun: its first word, and the byte offsets of its hypernyms."""

    word: str
    above: tuple[int, ...]


def graph_from_wordnet(ids: Iterable[str], dict_dir: str | Path, *, name: str = "wordnet") -> dict[str, Any]:
    """Make a label graph of WordNet noun synsets and all their hypernyms.

    The nodes are the ids and every synset above them, through hypernyms and instance hypernyms, up to the root: the
    lowest synset that all paths from WordNet's top, `entity`, to the ids pass, and none of the ids itself. What lies
    above it (the chain from `entity` to `dog`, when all ids are dogs) tells no two ids apart. A synset with several
    hypernyms has several parents, and the children of a node form one block. An id may lie above another.

    Children of one node compete, so none may lie below another: an edge is left out where a longer way leads from its
    upper to its lower end. That changes no synset's hypernyms, and needs no choice.

    Args:
      ids: WordNet 3.0 noun synset ids, `n02123045` or `02123045-n`, each once.
      dict_dir: folder with WordNet's `data.noun`: `dict` of WordNet 3.0, or `/usr/share/wordnet`, where the package
        `wordnet-base` of Debian and Ubuntu puts it. Other versions count other ids.
      name: name of the graph and of its one label set, whose labels are the ids as given, in their order.

    Returns:
      The graph as a dict in the format `jlabel.label_graph/1`. Node ids read `n02123045`; a title is the synset's first
      word, followed by that of a hypernym where two nodes share it: `Crane (wading bird)`.

    Raises:
      GraphFileError: no or a changed `data.noun`, no ids, or one that is malformed, doubled, unknown or the top.

    Example:
      >>> import pathlib, tempfile
      >>> lines = ["00000000 03 n 01 entity 0 000 | that which is",
      ...          "00000046 05 n 01 cat 0 001 @ 00000000 n 0000 | purrs",
      ...          "00000099 05 n 01 dog 0 001 @ 00000000 n 0000 | barks", ""]
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = pathlib.Path(folder, "data.noun").write_bytes("\\n".join(lines).encode())
      ...     spec = graph_from_wordnet(["n00000046", "n00000099"], folder, name="pets")
      >>> spec["nodes"][0], spec["edges"]
      ({'id': 'n00000000', 'title': 'Entity'}, [['n00000000', 'n00000046'], ['n00000000', 'n00000099']])

    Source: Miller, "WordNet: a lexical database for English", CACM 1995; the file is described in `wndb(5WN)`.
    """
    words = [str(word).strip() for word in ids]
    offsets = _offsets(words)
    synsets = _read_synsets(Path(dict_dir).expanduser() / "data.noun", words, offsets)
    above = {offset: synset.above for offset, synset in synsets.items()}
    try:
        order = list(TopologicalSorter(above).static_order())
    except CycleError as error:
        cycle = " -> ".join(map(_node, error.args[1]))
        raise GraphFileError(f"{dict_dir}: the hypernyms in data.noun form a cycle: {cycle}") from error
    root = _root(order, above, words, offsets)

    ancestors: dict[int, set[int]] = {}
    for offset in order:
        ancestors[offset] = set(above[offset]).union(*(ancestors[parent] for parent in above[offset]))
    kept = [offset for offset in order if root in ancestors[offset]]
    within = set(kept) | {root}
    parents = {
        offset: [p for p in above[offset] if p in within and not any(p in ancestors[q] for q in above[offset])]
        for offset in kept
    }
    inner = {parent for offset in kept for parent in parents[offset]}
    # Every sink is an id. Parents before children, and labels in the order given, make the file easy to read.
    nodes = [root]
    nodes += sorted(inner - {root}, key=lambda offset: (len(ancestors[offset]), offset))
    nodes += [offset for offset in offsets if offset not in inner]
    titles = _titles(nodes, parents, synsets)
    return {
        "format": FORMAT,
        "name": name,
        "root": _node(root),
        "nodes": [{"id": _node(offset), "title": titles[offset]} for offset in nodes],
        "edges": [[_node(parent), _node(offset)] for offset in nodes[1:] for parent in parents[offset]],
        "blocks": [],
        "label_sets": [
            {"name": name, "final": False, "labels": dict(zip(words, map(_node, offsets), strict=True))},
        ],
    }


def coarse_labels(spec: Mapping[str, Any], label_set: str, *, at_most: int) -> dict[str, str]:
    """Give every label of a set a coarse label: the highest node above it that stands for few labels.

    Of the nodes at or above a label with at most `at_most` labels of the set at or below them, the one with the most is
    taken, the highest of several. So no coarse label lies below another; a label with several parents may still lie
    below several coarse ones, of which this names one. A label that itself has more labels below it keeps its own node.

    It is meant for taxonomies: where nodes are attributes, an attribute of few labels is as good as any other node.

    Args:
      spec: a sound graph in the format `jlabel.label_graph/1`.
      label_set: name of one of its label sets.
      at_most: labels that a coarse label may cover, at least 1 and fewer than all.

    Returns:
      Node id of the coarse label, for every label of the set. `add_label_set` makes a label set of them.

    Raises:
      GraphFileError: an unknown label set, or `at_most` out of range.

    Example:
      >>> from jlabel.data.graphs import load_graph
      >>> coarse = coarse_labels(load_graph("tiny_imagenet"), "tiny_imagenet", at_most=12)
      >>> coarse["n02123045"], coarse["n02099712"], len(set(coarse.values()))  # tabby and Labrador: domestic animal
      ('n01317541', 'n01317541', 70)
    """
    labels = _labels(spec, label_set)
    if not 1 <= at_most < len(labels):
        raise GraphFileError(
            f"at_most={at_most} for label set {label_set!r} of graph {spec['name']!r}: "
            f"give at least 1 and fewer than its {len(labels)} labels"
        )
    above: dict[str, set[str]] = {node["id"]: set() for node in spec["nodes"]}
    for parent, child in spec["edges"]:
        above[child].add(parent)
    position = {node: i for i, node in enumerate(above)}
    lineage = {node: _lineage(node, above) for node in labels.values()}
    covered = Counter(node for ancestors in lineage.values() for node in ancestors)
    # A node has more ancestors than any of them, so fewest ancestors is the highest.
    height = {node: -len(_lineage(node, above)) for node in covered}
    return {
        label: max(
            (u for u in lineage[node] if covered[u] <= at_most),
            key=lambda u: (covered[u], height[u], -position[u]),
            default=node,
        )
        for label, node in labels.items()
    }


def add_label_set(spec: Mapping[str, Any], name: str, nodes: Iterable[str], *, final: bool = False) -> dict[str, Any]:
    """Add a label set whose labels are nodes of the graph, each spelled as the node's id.

    Args:
      spec: a graph in the format `jlabel.label_graph/1`; it is left as it is.
      name: name of the new label set.
      nodes: ids of its nodes, repeats allowed: the values of `coarse_labels`.
      final: whether a row of the set says that nothing finer applies.

    Returns:
      The graph with the label set as its last.

    Raises:
      GraphFileError: the name is taken, or a node unknown.

    Example:
      >>> from jlabel.data.graphs import load_graph
      >>> spec = add_label_set(load_graph("pets"), "species", ["cat", "dog", "cat"])
      >>> spec["label_sets"][-1]
      {'name': 'species', 'final': False, 'labels': {'cat': 'cat', 'dog': 'dog'}}
    """
    if any(known["name"] == name for known in spec["label_sets"]):
        raise GraphFileError(f"graph {spec['name']!r} already has a label set {name!r}; choose another name")
    labels = {node: node for node in nodes}
    unknown = [node for node in labels if node not in {known["id"] for known in spec["nodes"]}]
    if unknown:
        raise GraphFileError(f"label set {name!r}: graph {spec['name']!r} has no node {unknown[0]!r}")
    return {**spec, "label_sets": [*spec["label_sets"], {"name": name, "final": final, "labels": labels}]}


def _offsets(words: list[str]) -> list[int]:
    if not words:
        raise GraphFileError("ids is empty: give WordNet noun ids such as n02123045")
    first: dict[int, int] = {}
    for i, word in enumerate(words):
        found = _ID.fullmatch(word)
        if not found:
            fault = "is no WordNet noun id: write n and eight digits, as in n02123045"
            raise GraphFileError(f"ids[{i}]={word!r} {fault}")
        offset = int(found[1] or found[2])
        if offset in first:
            raise GraphFileError(f"ids[{i}]={word!r} is ids[{first[offset]}]={words[first[offset]]!r} again; keep one")
        first[offset] = i
    return list(first)


def _read_synsets(path: Path, words: list[str], offsets: list[int]) -> dict[int, _Synset]:
    """The synsets at the offsets, and all above them; an id is where the synset's line begins, in bytes."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        where = "/usr/share/wordnet once Debian's or Ubuntu's wordnet-base is installed, or dict of WordNet 3.0"
        raise GraphFileError(f"no file {str(path)!r}: dict_dir is the folder with data.noun, {where}") from error
    except OSError as error:
        raise GraphFileError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    place = {offset: i for i, offset in enumerate(offsets)}
    synsets: dict[int, _Synset] = {}
    todo = list(offsets)
    while todo:
        offset = todo.pop()
        if offset in synsets:
            continue
        starts = data[max(0, offset - 1) : offset] in (b"", b"\n") and data.startswith(b"%08d " % offset, offset)
        if not starts:
            _check_offsets(data, path)
            found = _VERSION.search(data)
            version = f"WordNet {found[1].decode()}" if found else "of an unknown version"
            asked = (
                f"ids[{place[offset]}]={words[place[offset]]!r}" if offset in place else f"hypernym {_node(offset)!r}"
            )
            raise GraphFileError(
                f"{asked} is no noun synset of {str(path)!r} ({version}); ids are those of WordNet 3.0"
            )
        synsets[offset] = _parse(data[offset : data.find(b"\n", offset)], path)
        todo += synsets[offset].above
    return synsets


def _parse(line: bytes, path: Path) -> _Synset:
    """offset, file, type, count, (word, sense) * count, pointers, (symbol, offset, type, ends) * pointers | gloss."""
    fields = line.split(b" | ")[0].split()
    try:
        first = 4 + 2 * int(fields[3], 16)
        pointers = [fields[start : start + 4] for start in range(first + 1, first + 1 + 4 * int(fields[first]), 4)]
        above = tuple(dict.fromkeys(int(target) for symbol, target, _, _ in pointers if symbol in _HYPERNYMS))
        return _Synset(fields[4].decode().replace("_", " "), above)
    except (ValueError, IndexError) as error:
        fault = f"the line of {line[:8].decode()!r} is not a synset"
        raise GraphFileError(f"{str(path)!r}: {fault}; the file is not as WordNet ships it") from error


def _check_offsets(data: bytes, path: Path) -> None:
    """A file with other line ends, or edited, has ids that are no longer its offsets."""
    position = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line[:8].isdigit() and int(line[:8]) != position:
            fault = f"line {number} is that of {line[:8].decode()} but starts at byte {position}"
            raise GraphFileError(f"{str(path)!r}: {fault}; the file is not as WordNet ships it (line ends?)")
        position += len(line) + 1


def _root(order: list[int], above: Mapping[int, tuple[int, ...]], words: list[str], offsets: list[int]) -> int:
    """The lowest synset, no id itself, on every path from the top to every id."""
    passed: dict[int, set[int]] = {}  # the synsets on every path to this one; a chain, so the longest is the lowest
    for offset in order:
        passed[offset] = {offset}.union(
            set.intersection(*(passed[parent] for parent in above[offset])) if above[offset] else ()
        )
    common = set.intersection(*(passed[offset] for offset in offsets)) - set(offsets)
    if common:
        return max(common, key=lambda offset: len(passed[offset]))
    tops = [i for i, offset in enumerate(offsets) if not above[offset]]
    if tops:
        raise GraphFileError(f"ids[{tops[0]}]={words[tops[0]]!r} is WordNet's top, above all others; leave it out")
    raise GraphFileError("the ids have no hypernym in common; are the file and the ids those of WordNet 3.0?")


def _titles(nodes: list[int], parents: Mapping[int, list[int]], synsets: Mapping[int, _Synset]) -> dict[int, str]:
    shared = Counter(synsets[offset].word for offset in nodes)
    titles = {}
    for offset in nodes:
        word = synsets[offset].word
        title = word[:1].upper() + word[1:]
        if shared[word] > 1 and offset in parents:
            title += f" ({synsets[parents[offset][0]].word})"
        titles[offset] = title
    return titles


def _labels(spec: Mapping[str, Any], label_set: str) -> dict[str, str]:
    for known in spec["label_sets"]:
        if known["name"] == label_set:
            return dict(known["labels"])
    names = ", ".join(str(known["name"]) for known in spec["label_sets"]) or "none"
    raise GraphFileError(f"graph {spec['name']!r} has no label set {label_set!r}; it has {names}")


def _lineage(node: str, above: Mapping[str, set[str]]) -> set[str]:
    """The node and everything above it."""
    found, todo = {node}, [node]
    while todo:
        new = above[todo.pop()] - found
        found |= new
        todo += new
    return found


def _node(offset: int) -> str:
    return f"n{offset:08d}"
