"""Graphs of WordNet's hypernyms: what a data.noun means, coarse labels at a height, and what is said of bad input."""

from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
import pytest

from jlabel.data import add_label_set, coarse_labels, graph_from_wordnet, load_graph
from jlabel.data.graphs import GraphFileError
from jlabel.label_graph import build_graph, count_paths

IMAGES = Path(__file__).parents[2].parent / "shared" / "data" / "images"
DEBIAN = Path("/usr/share/wordnet")

# Word and hypernyms. The dog has two parents; `rex` is an instance; `pet` is both a child of `animal` and above `dog`.
ANIMALS = {
    "entity": ([], ""),
    "thing": (["entity"], ""),
    "idea": (["entity"], ""),
    "animal": (["thing"], ""),
    "carnivore": (["animal"], ""),
    "pet_animal pet": (["animal"], ""),
    "dog domestic_dog": (["carnivore", "pet_animal"], ""),
    "cat": (["carnivore"], ""),
    "beagle": (["dog"], ""),
    "collie": (["dog"], ""),
    "Manx cat_without_tail": (["cat"], ""),
    "tabby": (["cat"], ""),
    "crane": (["animal"], ""),
    "Rex": (["dog"], "i"),
    # As far as a hypernym of `dog` goes, this edge says nothing new: `animal` is above `dog` anyway.
    "puppy": (["dog", "animal"], ""),
}
HEADER = "  1 This software and database is free.  \n  14 WordNet 3.0 Copyright 2006 by Princeton University.  \n"


def write_noun_file(folder: Path, synsets: dict[str, tuple[list[str], str]], header: str = HEADER) -> dict[str, str]:
    """Write data.noun with true byte offsets; the id of every synset by its first word."""

    def line(lemmas: str, ids: dict[str, str]) -> str:
        above, instance = synsets[lemmas]
        words = lemmas.split()
        pointers = [f"@{instance} {ids[word][1:]} n 0000" for word in above]
        # Other pointers stand between, and a gloss may hold anything.
        pointers = [*pointers[:1], "~ 00000000 n 0000", *pointers[1:], "+ 00692347 v 0101"]
        fields = f"{len(words):02x} {' '.join(f'{word} 0' for word in words)} {len(pointers):03d} {' '.join(pointers)}"
        return f"{ids[words[0]][1:]} 05 n {fields} | a gloss @ 12345678 n 0000, é  \n"

    names = [lemmas.split()[0] for lemmas in synsets]
    ids = dict.fromkeys(names, "n00000000")
    at = len(header.encode())
    for name, lemmas in zip(names, synsets, strict=True):
        ids[name] = f"n{at:08d}"
        at += len(line(lemmas, dict.fromkeys(names, "n00000000")).encode())
    text = header + "".join(line(lemmas, ids) for lemmas in synsets)
    (folder / "data.noun").write_bytes(text.encode())
    return ids


def make(folder: Path, words: list[str], synsets: Any = ANIMALS, name: str = "wordnet") -> dict[str, Any]:
    """The graph of the synsets with these first words, with the words in place of the ids."""
    ids = write_noun_file(folder, synsets)
    spec = graph_from_wordnet([ids[word] for word in words], folder, name=name)
    word = {number: word for word, number in ids.items()}
    assert list(spec["label_sets"][0]["labels"]) == list(spec["label_sets"][0]["labels"].values())
    return {
        **spec,
        "root": word[spec["root"]],
        "nodes": [{**node, "id": word[node["id"]]} for node in spec["nodes"]],
        "edges": [[word[end] for end in edge] for edge in spec["edges"]],
        "label_sets": [{**s, "labels": {word[node]: word[node] for node in s["labels"]}} for s in spec["label_sets"]],
    }


def test_all_hypernyms_with_several_parents_instances_and_an_inner_label(tmp_path: Path) -> None:
    spec = make(tmp_path, ["Rex", "beagle", "cat", "Manx", "tabby", "crane", "idea"], name="pets")
    assert spec == {
        "format": "jlabel.label_graph/1",
        "name": "pets",
        "root": "entity",
        "nodes": [
            {"id": "entity", "title": "Entity"},
            {"id": "thing", "title": "Thing"},
            {"id": "animal", "title": "Animal"},
            {"id": "carnivore", "title": "Carnivore"},
            {"id": "pet_animal", "title": "Pet animal"},
            {"id": "cat", "title": "Cat"},
            {"id": "dog", "title": "Dog"},
            {"id": "Rex", "title": "Rex"},
            {"id": "beagle", "title": "Beagle"},
            {"id": "Manx", "title": "Manx"},
            {"id": "tabby", "title": "Tabby"},
            {"id": "crane", "title": "Crane"},
            {"id": "idea", "title": "Idea"},
        ],
        "edges": [
            *(["entity", "thing"], ["thing", "animal"], ["animal", "carnivore"], ["animal", "pet_animal"]),
            *(["carnivore", "cat"], ["carnivore", "dog"], ["pet_animal", "dog"], ["dog", "Rex"], ["dog", "beagle"]),
            *(["cat", "Manx"], ["cat", "tabby"], ["animal", "crane"], ["entity", "idea"]),
        ],
        "blocks": [],
        "label_sets": [
            {
                "name": "pets",
                "final": False,
                "labels": {w: w for w in ("Rex", "beagle", "cat", "Manx", "tabby", "crane", "idea")},
            }
        ],
    }
    graph = build_graph(spec)
    assert count_paths(graph, "pets")["beagle"] == 2
    assert [warning.split("'")[1] for warning in graph.warnings] == ["Rex", "beagle"]


@pytest.mark.parametrize(
    ("words", "root"),
    [
        (["idea", "cat"], "entity"),
        (["cat", "crane"], "animal"),
        (["Manx", "tabby"], "cat"),
        (["cat", "Manx", "tabby"], "carnivore"),  # no label on the root: its rows would teach nothing
        (["beagle", "collie"], "dog"),  # the two ways to `dog` tell beagle and collie not apart
        (["beagle", "tabby"], "animal"),  # `carnivore` is above both, but not all paths to the beagle pass it
        (["dog"], "animal"),
    ],
)
def test_the_root_is_the_lowest_synset_that_all_paths_pass(tmp_path: Path, words: list[str], root: str) -> None:
    spec = make(tmp_path, words)
    assert spec["root"] == spec["nodes"][0]["id"] == root
    build_graph(spec)


def test_an_edge_beside_a_longer_way_is_left_out(tmp_path: Path) -> None:
    spec = make(tmp_path, ["puppy", "beagle", "crane"])
    assert ["animal", "puppy"] not in spec["edges"]
    assert ["dog", "puppy"] in spec["edges"]
    build_graph(spec)
    faulty = {**spec, "edges": [*spec["edges"], ["animal", "puppy"]]}
    with pytest.raises(ValueError, match="competitors on one path: 'puppy' lies below 'carnivore'"):
        build_graph(faulty)


def test_titles_that_two_nodes_would_share_name_a_hypernym(tmp_path: Path) -> None:
    # Bytes, not characters, are counted: the words are not ASCII.
    synsets = {"entity": ([], ""), "vögel": (["entity"], ""), "machine": (["entity"], ""), "crane": (["vögel"], "")}
    ids = write_noun_file(tmp_path, synsets)
    first = (tmp_path / "data.noun").read_bytes()
    line = b"%08d 06 n 02 crane 0 derrick 1 001 @ %s n 0000 | lifts  \n" % (len(first), ids["machine"][1:].encode())
    (tmp_path / "data.noun").write_bytes(first + line)
    spec = graph_from_wordnet([ids["crane"], f"n{len(first):08d}"], tmp_path)
    assert [node["title"] for node in spec["nodes"]] == [
        *("Entity", "Vögel", "Machine", "Crane (vögel)", "Crane (machine)"),
    ]


def test_the_other_spelling_of_an_id_is_kept_as_label(tmp_path: Path) -> None:
    ids = write_noun_file(tmp_path, ANIMALS)
    other = f"{ids['cat'][1:]}-n"
    spec = graph_from_wordnet([other, ids["idea"]], str(tmp_path))
    assert spec["label_sets"][0]["labels"] == {other: ids["cat"], ids["idea"]: ids["idea"]}
    # Node ids do not depend on the spelling, and any iterable will do.
    again = graph_from_wordnet(pd.Series([ids["cat"], ids["idea"]]), tmp_path)
    assert again["nodes"] == spec["nodes"]


def faulty_list(tmp_path: Path, words: list[str]) -> str:
    with pytest.raises(GraphFileError) as error:
        graph_from_wordnet(words, tmp_path)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(tmp_path), "DIR")


def test_faulty_ids_are_named_with_their_place(tmp_path: Path) -> None:
    ids = write_noun_file(tmp_path, ANIMALS)
    cat, dog = ids["cat"], ids["dog"]
    assert faulty_list(tmp_path, []) == "ids is empty: give WordNet noun ids such as n02123045"
    for word in ("n2123045", "02123045", "v02123045", "02123045-v", "cat", "n021230455", "", "n0212304a", "n٠٠٠٠٠٠٠١"):
        wanted = f"ids[1]={word!r} is no WordNet noun id: write n and eight digits, as in n02123045"
        assert faulty_list(tmp_path, [cat, word]) == wanted
    assert (
        faulty_list(tmp_path, [cat, dog, f"{cat[1:]}-n"]) == f"ids[2]='{cat[1:]}-n' is ids[0]={cat!r} again; keep one"
    )
    # Beyond the file, within the header, and the second byte of a synset.
    for word in ("n99999999", "n00000000", f"n{int(cat[1:]) + 1:08d}"):
        assert faulty_list(tmp_path, [dog, word]) == (
            f"ids[1]={word!r} is no noun synset of 'DIR/data.noun' (WordNet 3.0); ids are those of WordNet 3.0"
        )
    top = ids["entity"]
    assert faulty_list(tmp_path, [cat, top]) == f"ids[1]={top!r} is WordNet's top, above all others; leave it out"


def test_the_version_of_the_file_is_named(tmp_path: Path) -> None:
    write_noun_file(tmp_path, ANIMALS, header=HEADER.replace("3.0", "3.1"))
    assert "data.noun' (WordNet 3.1); ids are those of WordNet 3.0" in faulty_list(tmp_path, ["n02123045"])
    write_noun_file(tmp_path, ANIMALS, header="")
    assert "data.noun' (of an unknown version)" in faulty_list(tmp_path, ["n02123045"])


def test_a_file_that_is_missing_changed_or_damaged(tmp_path: Path) -> None:
    ids = write_noun_file(tmp_path, ANIMALS)
    cat, text = ids["cat"], (tmp_path / "data.noun").read_bytes()
    (tmp_path / "data.noun").write_bytes(text.replace(b"\n", b"\r\n"))
    start = int(ids["entity"][1:])
    assert faulty_list(tmp_path, [cat]) == (
        f"'DIR/data.noun': line 3 is that of {start:08d} but starts at byte {start + 2}; "
        "the file is not as WordNet ships it (line ends?)"
    )
    (tmp_path / "data.noun").write_bytes(text.replace(b" 01 cat 0 ", b" xx cat 0 "))
    damaged = f"'DIR/data.noun': the line of '{cat[1:]}' is not a synset; the file is not as WordNet ships it"
    assert faulty_list(tmp_path, [cat]) == damaged
    (tmp_path / "data.noun").write_bytes(text[: int(cat[1:]) + 20])
    assert faulty_list(tmp_path, [cat]) == damaged
    lost, dog = ids["carnivore"][1:].encode(), ids["dog"][1:].encode()
    (tmp_path / "data.noun").write_bytes(text.replace(b"@ " + lost, b"@ 00000007"))
    assert faulty_list(tmp_path, [cat]).startswith("hypernym 'n00000007' is no noun synset of 'DIR/data.noun' (WordNet")
    (tmp_path / "data.noun").write_bytes(text.replace(b"@ " + lost, b"@ " + dog))
    assert faulty_list(tmp_path, [cat]).startswith("DIR: the hypernyms in data.noun form a cycle: n0")
    (tmp_path / "data.noun").unlink()
    assert faulty_list(tmp_path, [cat]) == (
        "no file 'DIR/data.noun': dict_dir is the folder with data.noun, /usr/share/wordnet once Debian's or Ubuntu's "
        "wordnet-base is installed, or dict of WordNet 3.0"
    )
    (tmp_path / "data.noun").mkdir()
    assert faulty_list(tmp_path, [cat]) == "cannot read 'DIR/data.noun': Is a directory"


def test_two_tops_have_no_root(tmp_path: Path) -> None:
    ids = write_noun_file(tmp_path, {"a": ([], ""), "b": ([], ""), "c": (["a"], ""), "d": (["b"], "")})
    message = "the ids have no hypernym in common; are the file and the ids those of WordNet 3.0?"
    assert faulty_list(tmp_path, [ids["c"], ids["d"]]) == message


def test_coarse_labels_at_several_heights(tmp_path: Path) -> None:
    spec = make(tmp_path, ["Rex", "beagle", "collie", "cat", "Manx", "tabby", "crane", "idea"])
    # Labels at or below: thing, animal 7; carnivore 6; dog, pet_animal, cat 3.
    assert coarse_labels(spec, "wordnet", at_most=7) == {
        **dict.fromkeys(("Rex", "beagle", "collie", "cat", "Manx", "tabby", "crane"), "thing"),
        "idea": "idea",
    }
    assert coarse_labels(spec, "wordnet", at_most=6) == {
        **dict.fromkeys(("Rex", "beagle", "collie", "cat", "Manx", "tabby"), "carnivore"),
        **{"crane": "crane", "idea": "idea"},
    }
    # `pet_animal` stands for as many labels as `dog`, and is higher.
    expected = {**dict.fromkeys(("Rex", "beagle", "collie"), "pet_animal"), "crane": "crane", "idea": "idea"}
    assert coarse_labels(spec, "wordnet", at_most=3) == {**expected, **dict.fromkeys(("cat", "Manx", "tabby"), "cat")}
    # `cat` has two labels below it and keeps its node.
    labels = spec["label_sets"][0]["labels"]
    assert coarse_labels(spec, "wordnet", at_most=1) == labels


def test_a_coarse_label_set_is_added_to_a_copy(tmp_path: Path) -> None:
    spec = make(tmp_path, ["Rex", "beagle", "cat", "tabby"])
    coarse = coarse_labels(spec, "wordnet", at_most=2)
    added = add_label_set(spec, "coarse", coarse.values(), final=True)
    assert added["label_sets"][1:] == [
        {"name": "coarse", "final": True, "labels": {"pet_animal": "pet_animal", "cat": "cat"}}
    ]
    assert [s["name"] for s in spec["label_sets"]] == ["wordnet"]
    assert build_graph(added).label_set("coarse").labels == ("pet_animal", "cat")


def test_faulty_heights_and_label_sets(tmp_path: Path) -> None:
    spec = make(tmp_path, ["cat", "crane", "idea"])
    for at_most in (0, 3, -1):
        with pytest.raises(GraphFileError) as error:
            coarse_labels(spec, "wordnet", at_most=at_most)
        wanted = (
            f"at_most={at_most} for label set 'wordnet' of graph 'wordnet': give at least 1 and fewer than its 3 labels"
        )
        assert str(error.value) == wanted
    with pytest.raises(GraphFileError, match="^graph 'wordnet' has no label set 'fine'; it has wordnet$"):
        coarse_labels(spec, "fine", at_most=2)
    with pytest.raises(
        GraphFileError, match="^graph 'wordnet' already has a label set 'wordnet'; choose another name$"
    ):
        add_label_set(spec, "wordnet", ["cat"])
    with pytest.raises(GraphFileError, match="^label set 'x': graph 'wordnet' has no node 'dgo'$"):
        add_label_set(spec, "x", ["cat", "dgo"])


def test_tiny_imagenet_has_the_size_of_its_hypernym_graph() -> None:
    spec = load_graph("tiny_imagenet")
    graph = build_graph(spec)
    network = nx.DiGraph(map(tuple, spec["edges"]))
    assert (graph.num_nodes, len(spec["edges"])) == (543, 566)
    assert spec["nodes"][0] == {"id": "n00001740", "title": "Entity"}
    assert sum(degree > 1 for _, degree in network.in_degree()) == 23
    assert [len(s["labels"]) for s in spec["label_sets"]] == [200, 118, 70, 17]
    fine, coarse = spec["label_sets"][0], spec["label_sets"][2]
    assert all(label == node for s in (fine, coarse) for label, node in s["labels"].items())
    covered = {node: (nx.descendants(network, node) | {node}) & set(fine["labels"]) for node in network}
    assert max(len(covered[node]) for node in coarse["labels"]) == 12
    assert set().union(*(covered[node] for node in coarse["labels"])) == set(fine["labels"])
    assert not any(nx.ancestors(network, node) & set(coarse["labels"]) for node in coarse["labels"])
    for s, at_most in zip(spec["label_sets"][1:], (4, 12, 40), strict=True):
        assert set(coarse_labels(spec, "tiny_imagenet", at_most=at_most).values()) == set(s["labels"])


def test_wordnets_licence_goes_with_its_graph() -> None:
    text = (Path(__file__).parents[2] / "jlabel/data/label_graphs/tiny_imagenet.csv").read_text(encoding="utf-8")
    notice = " ".join(" ".join(line[1:] for line in text.splitlines() if line.startswith("#")).split())
    assert "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved." in notice
    assert 'PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES' in notice
    assert notice.endswith("LICENSEE agrees to preserve same.")


@pytest.mark.skipif(not (DEBIAN / "data.noun").is_file(), reason="needs the package wordnet-base")
def test_the_shipped_graph_is_what_wordnet_says() -> None:
    shipped = load_graph("tiny_imagenet")
    spec = graph_from_wordnet(sorted(shipped["label_sets"][0]["labels"]), DEBIAN, name="tiny_imagenet")
    coarse = coarse_labels(spec, "tiny_imagenet", at_most=12)
    spec = add_label_set(spec, "tiny_imagenet_coarse12", coarse.values())
    assert shipped == spec


@pytest.mark.skipif(not IMAGES.is_dir(), reason="needs the shared pictures")
def test_the_labels_of_tiny_imagenet_are_the_datasets_ids() -> None:
    ids = pd.read_parquet(IMAGES / "tiny_imagenet_64.parquet", columns=["wnid"])["wnid"]
    assert set(ids) == set(load_graph("tiny_imagenet")["label_sets"][0]["labels"])
