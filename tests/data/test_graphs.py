"""Label graphs as files and tables: what ships, what a table means, and what is said of a faulty one."""

import ast
import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from jlabel.data import (
    drawn_abstracts,
    drawn_archives,
    drawn_flower_counts,
    drawn_flowers,
    drawn_pets,
    drawn_species,
    graph_from_table,
    load_graph,
)
from jlabel.data.drawn_abstracts import ARCHIVE_LABEL_NAMES
from jlabel.data.drawn_abstracts import LABEL_NAMES as CATEGORY_NAMES
from jlabel.data.drawn_flowers import COLOUR, COUNT, COUNT_LABEL_NAMES, FORM
from jlabel.data.drawn_flowers import LABEL_NAMES as FLOWER_NAMES
from jlabel.data.drawn_pets import COAT, EARS, HAIR, LABEL_NAMES, MUZZLE, SPECIES
from jlabel.data.graphs import (
    GraphFileError,
    drawn_abstracts_table,
    drawn_flowers_table,
    drawn_pets_table,
    shipped_graphs,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
IMAGES, TEXTS = SHARED / "images", SHARED / "text"
SHIPPED = (
    *("arxiv", "clinc", "drawn_abstracts", "drawn_flowers", "drawn_pets"),
    *("flowers", "pets", "reuters", "tiny_imagenet"),
)


def label_set(spec: dict[str, Any], name: str) -> dict[str, str]:
    return next(s["labels"] for s in spec["label_sets"] if s["name"] == name)


def attributes(spec: dict[str, Any]) -> set[str]:
    labels = {node for s in spec["label_sets"] for node in s["labels"].values()}
    return {node["id"] for node in spec["nodes"]} - labels - {spec["root"]}


def parents(spec: dict[str, Any]) -> dict[str, set[str]]:
    above: dict[str, set[str]] = {node["id"]: set() for node in spec["nodes"]}
    for upper, lower in spec["edges"]:
        above[lower].add(upper)
    return above


def ancestors(spec: dict[str, Any], node: str) -> set[str]:
    above = parents(spec)
    found, todo = set(), [node]
    while todo:
        for parent in above[todo.pop()] - found:
            found.add(parent)
            todo.append(parent)
    return found


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load_graph(request.param)


def test_every_shipped_graph_is_tested() -> None:
    assert shipped_graphs() == SHIPPED


def test_a_shipped_graph_is_sound(shipped: dict[str, Any]) -> None:
    ids = [node["id"] for node in shipped["nodes"]]
    assert shipped["format"] == "jlabel.label_graph/1"
    assert shipped["name"] in shipped_graphs()
    assert len(set(ids)) == len(ids)
    assert ids[0] == shipped["root"]
    edges = {tuple(edge) for edge in shipped["edges"]}
    assert len(edges) == len(shipped["edges"])
    for upper, lower in edges:
        assert {upper, lower} <= set(ids)
    for node in ids[1:]:
        assert shipped["root"] in ancestors(shipped, node)
        assert node not in ancestors(shipped, node)
    for block in shipped["blocks"]:
        assert {(block["parent"], node) for node in block["nodes"]} <= edges
    for node in attributes(shipped):
        assert any(upper == node for upper, _ in edges)
    for labels in (s["labels"] for s in shipped["label_sets"]):
        assert len(set(labels.values())) == len(labels)
        assert set(labels.values()) <= set(ids)


def test_every_label_of_a_shipped_graph_has_a_certain_path(shipped: dict[str, Any]) -> None:
    # A node is uncertain for a label when the label has a second ancestor in the node's block.
    above = parents(shipped)
    without = []
    for label in sorted({node for s in shipped["label_sets"] for node in s["labels"].values()}):
        own = ancestors(shipped, label)
        uncertain = {
            node
            for block in shipped["blocks"]
            if len(own & set(block["nodes"])) > 1
            for node in own & set(block["nodes"])
        }
        certain, todo = {label}, [label]
        while todo:
            for parent in above[todo.pop()] - uncertain - certain:
                certain.add(parent)
                todo.append(parent)
        if shipped["root"] not in certain:
            without.append(label)
    # The name watercress does not settle the plant; the table's head says why.
    assert without == (["watercress"] if shipped["name"] == "flowers" else [])


def test_pets_has_33_attributes_in_blocks_that_can_lose_12_or_21() -> None:
    spec = load_graph("pets")
    assert len(attributes(spec)) == 33
    sizes = {(block["parent"], block["name"]): len(block["nodes"]) for block in spec["blocks"]}
    assert sum(sizes.values()) == 33
    for dropped in (12, 21):
        found = [
            set(some)
            for number in range(1, len(sizes))
            for some in itertools.combinations(sizes, number)
            if sum(sizes[block] for block in some) == dropped
        ]
        # One of them leaves blocks of both species, so that every breed stays reachable.
        assert any({parent for parent, _ in set(sizes) - some} == {"cat", "dog"} for some in found)
    assert len(label_set(spec, "oxford_iiit_pet")) == 37
    assert label_set(spec, "dogs_vs_cats") == {"cat": "cat", "dog": "dog"}
    cats = [label for label in label_set(spec, "oxford_iiit_pet").values() if "cat" in ancestors(spec, label)]
    assert len(cats) == 12


@pytest.mark.skipif(not IMAGES.is_dir(), reason="needs the shared pictures")
@pytest.mark.parametrize(
    ("file", "graph", "name"),
    [
        ("pets_64", "pets", "oxford_iiit_pet"),
        ("dogs_vs_cats_128", "pets", "dogs_vs_cats"),
        ("flowers17_64", "flowers", "flowers17"),
    ],
)
def test_the_spelling_is_the_datasets_own(file: str, graph: str, name: str) -> None:
    labels = pd.read_parquet(IMAGES / f"{file}.parquet", columns=["label"])["label"]
    assert set(labels) == set(label_set(load_graph(graph), name))


@pytest.mark.skipif(not IMAGES.is_dir(), reason="needs the shared pictures")
def test_every_breed_is_below_its_species() -> None:
    frame = pd.read_parquet(IMAGES / "pets_64.parquet", columns=["label", "species"]).drop_duplicates()
    spec = load_graph("pets")
    assert len(frame) == 37
    for breed, species in frame.to_numpy():
        assert {"cat", "dog"} & ancestors(spec, label_set(spec, "oxford_iiit_pet")[breed]) == {species}


def test_the_102_names_are_those_of_tensorflow_datasets() -> None:
    # Read as text: importing the builder would pull in TensorFlow.
    package = importlib.util.find_spec("tensorflow_datasets")
    assert package is not None
    folder = Path(str(package.origin)).parent / "datasets" / "oxford_flowers102"
    tree = ast.parse((folder / "oxford_flowers102_dataset_builder.py").read_text(encoding="utf-8"))
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_NAMES"
    ]
    assert set(ast.literal_eval(values[0])) == set(label_set(load_graph("flowers"), "flowers102"))


def test_the_flowers_share_eight_nodes_and_have_eight_families() -> None:
    spec = load_graph("flowers")
    few, many = label_set(spec, "flowers17"), label_set(spec, "flowers102")
    assert (len(few), len(many)) == (17, 102)
    shared = set(few.values()) & set(many.values())
    assert len(shared) == 8
    assert few["tigerlily"] == many["tiger lily"]
    families = label_set(spec, "flowers17_families")
    wanted = "Amaryllidaceae Asparagaceae Asteraceae Iridaceae Liliaceae Primulaceae Ranunculaceae Violaceae"
    assert sorted(families) == wanted.split()
    sizes = dict.fromkeys(families, 0)
    for node in few.values():
        (family,) = ancestors(spec, node) & set(families)
        sizes[family] += 1
    # Counted by hand: four daisies; tulip, tiger lily and fritillary; pairs; a cowslip and a pansy.
    assert [sizes[family] for family in wanted.split()] == [2, 2, 4, 2, 3, 1, 2, 1]
    for node in many.values():
        assert ancestors(spec, node) & set(label_set(spec, "flowers102_families"))


def children(spec: dict[str, Any], node: str) -> set[str]:
    return {lower for upper, lower in spec["edges"] if upper == node}


def test_arxiv_has_todays_groups_archives_and_categories() -> None:
    spec = load_graph("arxiv")
    categories, archives = label_set(spec, "arxiv"), label_set(spec, "arxiv_archives")
    groups, titles = label_set(spec, "arxiv_groups"), label_set(spec, "arxiv_titles")
    assert (len(groups), len(archives), len(categories), len(titles)) == (8, 20, 149, 149)
    assert set(groups.values()) == children(spec, "arxiv")
    assert all(label == node for labels in (categories, archives) for label, node in labels.items())
    # Counted on the taxonomy page, where archives without categories have one, and two names of a category count once.
    sizes = {archive: len(children(spec, archive)) for archive in archives}
    assert sizes == {
        **{"astro-ph": 6, "cond-mat": 9, "nlin": 5, "physics": 22, "math": 30, "cs": 38, "q-bio": 10, "q-fin": 8},
        **{"stat": 5, "eess": 4, "econ": 3},
        **dict.fromkeys(["gr-qc", "hep-ex", "hep-lat", "hep-ph", "hep-th", "math-ph", "nucl-ex", "nucl-th"], 0),
        "quant-ph": 0,
    }
    single = {archive for archive, size in sizes.items() if size == 0}
    assert set(categories) & set(archives) == single
    assert len(children(spec, groups["Physics"])) == 13
    for category in set(categories) - single:
        assert parents(spec)[category] == {category.split(".")[0]}
    assert ancestors(spec, categories["astro-ph.GA"]) == {"astro-ph", groups["Physics"], "arxiv"}
    assert ancestors(spec, categories["hep-th"]) == {groups["Physics"], "arxiv"}
    assert titles["Astrophysics of Galaxies"] == "astro-ph.GA"
    assert titles["High Energy Physics - Theory"] == "hep-th"
    assert (titles["Machine Learning"], titles["Machine Learning (stat.ML)"]) == ("cs.LG", "stat.ML")
    for alias in ("math.MP", "stat.TH", "math.IT", "q-fin.EC", "cs.SY", "cs.NA", "cmp-lg"):
        assert alias not in categories


def test_reuters_has_the_135_topics_and_its_families() -> None:
    spec = load_graph("reuters")
    topics, groups = label_set(spec, "reuters"), label_set(spec, "reuters_groups")
    assert {s["name"]: s["final"] for s in spec["label_sets"]} == {"reuters": True, "reuters_groups": False}
    below = {group: sum(group in ancestors(spec, topic) for topic in topics) for group in groups}
    assert below == {"subject": 3, "indicator": 16, "currency": 27, "corporate": 2, "commodity": 78, "energy": 9}
    families = {topic: len(children(spec, topic)) for topic in topics if children(spec, topic)}
    assert families == {"grain": 7, "oilseed": 11, "veg-oil": 11, "meal-feed": 13, "livestock": 4}
    assert ancestors(spec, "wheat") == {"grain", "commodity", "news"}
    assert ancestors(spec, "crude") == {"energy", "news"}


def test_clinc_has_ten_domains_of_fifteen_intents() -> None:
    spec = load_graph("clinc")
    intents, domains = label_set(spec, "clinc150"), label_set(spec, "clinc_domains")
    assert (len(intents), len(domains)) == (150, 10)
    assert all(len(children(spec, domain)) == 15 for domain in domains)


@pytest.mark.skipif(not TEXTS.is_dir(), reason="needs the shared texts")
def test_the_spelling_of_the_text_graphs_is_the_datasets_own() -> None:
    spec = load_graph("clinc")
    frame = pd.read_parquet(TEXTS / "clinc150.parquet", columns=["intent", "domain"]).drop_duplicates()
    frame = frame[frame["intent"] != "oos"]
    assert set(frame["intent"]) == set(label_set(spec, "clinc150"))
    assert set(frame["domain"]) == set(label_set(spec, "clinc_domains"))
    for intent, domain in frame.to_numpy():
        assert parents(spec)[intent] == {domain}
    frame = pd.read_parquet(TEXTS / "arxiv_astroph2025.parquet", columns=["primary_subject", "secondary"])
    titles = label_set(load_graph("arxiv"), "arxiv_titles")
    primary = {titles[title] for title in frame["primary_subject"]}
    assert primary == {f"astro-ph.{name}" for name in ("CO", "EP", "GA", "HE", "IM", "SR")}
    others = {title for row in frame["secondary"] for title in row.split("|") if title}
    assert others <= set(titles)
    assert len(others) > 30


@pytest.mark.skipif(not TEXTS.is_dir(), reason="needs the shared texts")
def test_the_families_of_reuters_are_those_of_its_indexers() -> None:
    spec = load_graph("reuters")
    topics = pd.read_parquet(TEXTS / "reuters21578.parquet", columns=["topics"])["topics"]
    stories = [set(row.split()) for row in topics if row]
    occurring = set().union(*stories)
    assert len(occurring) == 120
    assert occurring <= set(label_set(spec, "reuters"))
    rare = np.zeros(2, int)
    for family in ("grain", "oilseed", "veg-oil", "meal-feed", "livestock"):
        for topic in children(spec, family):
            own = [story for story in stories if topic in story]
            both = sum(family in story for story in own)
            if len(own) > 10:
                assert both / len(own) >= 0.88
            else:
                rare += both, len(own)
    # The table's head says so.
    np.testing.assert_array_equal(rare, [81, 90])


def test_the_shipped_tables_of_the_generators_are_current() -> None:
    assert load_graph("drawn_pets") == graph_from_table(drawn_pets_table(3), name="drawn_pets")
    assert load_graph("drawn_abstracts") == graph_from_table(drawn_abstracts_table(), name="drawn_abstracts")
    assert load_graph("drawn_flowers") == graph_from_table(drawn_flowers_table(), name="drawn_flowers")


@pytest.mark.parametrize("anchors", [0, 1, 3])
def test_every_drawn_pet_has_what_its_graph_allows(key: jax.Array, anchors: int) -> None:
    spec = graph_from_table(drawn_pets_table(anchors), name="pets")
    fine, coarse = drawn_pets(key, per_breed=8, anchors=anchors), drawn_species(key, rows=60, anchors=anchors)
    blocks = {(block["parent"], block["name"]): block["nodes"] for block in spec["blocks"]}
    values = {"ears": EARS, "hair": HAIR, "muzzle": MUZZLE, "coat": COAT}
    for rows in (fine, coarse):
        for i, breed in enumerate(rows["breed"]):
            species = SPECIES[rows["species"][i]]
            above = ancestors(spec, label_set(spec, "drawn_pets")[LABEL_NAMES[breed]])
            assert label_set(spec, "drawn_species")[species] in above
            for name, names in values.items():
                allowed = above & set(blocks[species, name])
                assert names[rows[name][i]] in {node.rsplit(".", 1)[1] for node in allowed}
                if name != "coat":
                    assert len(allowed) == 1
    # With no anchor no coat is certain for any breed.
    if anchors == 0:
        coats = {node for (_, name), nodes in blocks.items() if name == "coat" for node in nodes}
        assert all(len(ancestors(spec, label) & coats) == 3 for label in LABEL_NAMES)


def test_every_drawn_flower_has_what_its_graph_allows(key: jax.Array) -> None:
    spec = load_graph("drawn_flowers")
    fine, coarse = drawn_flowers(key, per_kind=6), drawn_flower_counts(key, rows=60)
    for rows in (fine, coarse):
        for i, kind in enumerate(rows["kind"]):
            above = ancestors(spec, FLOWER_NAMES[kind])
            assert COUNT[rows["count"][i]] in above
            assert f"flower.{FORM[rows['form'][i]]}" in above
            assert f"flower.{COLOUR[rows['colour'][i]]}" in above
    for label, kind in zip(coarse["label"], coarse["kind"], strict=True):
        node = label_set(spec, "drawn_flower_counts")[COUNT_LABEL_NAMES[label]]
        assert node in ancestors(spec, FLOWER_NAMES[kind]) | {FLOWER_NAMES[kind]}
    assert list(label_set(spec, "drawn_flower_counts")) == list(COUNT_LABEL_NAMES)


def test_every_drawn_abstract_is_below_its_archive(key: jax.Array) -> None:
    spec = load_graph("drawn_abstracts")
    assert list(label_set(spec, "drawn_abstracts")) == list(CATEGORY_NAMES)
    assert list(label_set(spec, "drawn_archives")) == list(ARCHIVE_LABEL_NAMES)
    for rows in (drawn_abstracts(key, per_category=1), drawn_archives(key, rows=30)):
        for category, archive in zip(rows["category"], rows["archive"], strict=True):
            assert ancestors(spec, CATEGORY_NAMES[category]) == {ARCHIVE_LABEL_NAMES[archive], "abstract"}


def toy_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["cat", "dog", "abyssinian", "birman", "hound"],
            "parent": ["", "", "cat", "cat", "dog"],
            "title": ["", "A dog", "", "", ""],
            "hair": ["", "", "short", "long", np.nan],
            "tail": ["", "", "long", "long | short", ""],
            "set:fine!": ["", "", "Abyssinian", "Birman", "Hound"],
            "set:coarse": ["Cat", "Dog", "", "", ""],
        }
    )


def test_a_table_means_what_its_docstring_says() -> None:
    spec = graph_from_table(toy_table(), name="toy", root="animal")
    assert [node["id"] for node in spec["nodes"]] == [
        *("animal", "cat", "dog"),
        *("cat.hair.short", "cat.hair.long", "cat.tail.long", "cat.tail.short"),
        *("abyssinian", "birman", "hound"),
    ]
    titles = {node["id"]: node["title"] for node in spec["nodes"]}
    assert titles["dog"] == "A dog"
    assert titles["cat.tail.long"] == "Long tail"
    assert titles["birman"] == "Birman"
    assert {tuple(edge) for edge in spec["edges"]} == {
        *(("animal", "cat"), ("animal", "dog"), ("dog", "hound")),
        *(("cat", "cat.hair.short"), ("cat", "cat.hair.long"), ("cat", "cat.tail.long"), ("cat", "cat.tail.short")),
        *(("cat.hair.short", "abyssinian"), ("cat.tail.long", "abyssinian")),
        *(("cat.hair.long", "birman"), ("cat.tail.long", "birman"), ("cat.tail.short", "birman")),
    }
    assert spec["blocks"] == [
        {"parent": "cat", "name": "hair", "nodes": ["cat.hair.short", "cat.hair.long"]},
        {"parent": "cat", "name": "tail", "nodes": ["cat.tail.long", "cat.tail.short"]},
    ]
    assert spec["label_sets"] == [
        {"name": "fine", "final": True, "labels": {"Abyssinian": "abyssinian", "Birman": "birman", "Hound": "hound"}},
        {"name": "coarse", "final": False, "labels": {"Cat": "cat", "Dog": "dog"}},
    ]


def test_a_label_can_have_two_parents_and_be_an_attribute() -> None:
    table = pd.DataFrame({"label": ["a", "b", "c"], "parent": ["top", "top", "a|b"], "set:s": ["a", "b", "c"]})
    assert graph_from_table(table, name="t")["edges"] == [["top", "a"], ["top", "b"], ["a", "c"], ["b", "c"]]
    table = pd.DataFrame({"label": ["rosaceae", "rose"], "parent": ["f", "f"], "family": ["", "rosaceae"]})
    spec = graph_from_table(table, name="t")
    assert spec["edges"] == [["f", "rosaceae"], ["rosaceae", "rose"]]
    assert spec["blocks"] == [{"parent": "f", "name": "family", "nodes": ["rosaceae"]}]


def test_the_root_can_have_a_row_for_its_title() -> None:
    table = pd.DataFrame(
        {"label": ["a", "top", "b"], "parent": ["top", "", "a"], "title": ["", "The top", ""], "set:s": ["a", "", "b"]}
    )
    spec = graph_from_table(table, name="t")
    assert spec == graph_from_table(table, name="t", root="top")
    assert spec["nodes"] == [{"id": "top", "title": "The top"}, {"id": "a", "title": "A"}, {"id": "b", "title": "B"}]
    assert spec["edges"] == [["top", "a"], ["a", "b"]]
    without = table.drop(index=1)
    assert graph_from_table(without, name="t")["nodes"][0] == {"id": "top", "title": "Top"}
    # A second row without a parent, a label of a set, or a row that stands above none is no root.
    second = pd.concat([table, pd.DataFrame({"label": ["c"], "parent": [""]})])
    labelled = table.assign(**{"set:s": ["a", "top", "b"]})
    lonely = table.assign(parent=["", "", "a"])
    for other in (second, labelled, lonely):
        spec = graph_from_table(other, name="t")
        assert (spec["root"], ["root", "top"] in spec["edges"]) == ("root", True)


def test_files_come_back_as_they_were_written(shipped: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(shipped), encoding="utf-8")
    assert load_graph(file) == shipped
    table = tmp_path / "toy.csv"
    table.write_text("# a comment, with commas\n" + toy_table().to_csv(index=False), encoding="utf-8-sig")
    assert load_graph(str(table)) == graph_from_table(toy_table(), name="toy")
    assert load_graph(table)["root"] == "root"


def edited(**cells: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"label": ["a", "b"], "parent": ["top", "top"], **cells})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"parent": ["x"]}), "table 't' has no column 'label'; its columns are parent"),
        (pd.DataFrame({"label": ["x"]}), "table 't' has no column 'parent'; its columns are label"),
        (pd.DataFrame({"label": [], "parent": []}), "table 't' has no rows"),
        (edited(label=["a", "a"]), "table 't': label 'a' stands in rows 1 and 2; keep one"),
        (edited(label=["a", " "]), "table 't', row 2: the label is empty"),
        (edited(parent=["top", "tip"]), "table 't': parents top, tip are no labels; only the root may lack a row"),
        (
            edited(parent=["b", ""], label=["root", "b"], hair=["", "x"]),
            "table 't': the root 'root' is also the label of a row; leave only a title in that row, or remove it",
        ),
        (
            edited(parent=["root", ""], label=["b", "root"], title=["", "R"], hair=["", "x"]),
            "table 't': the root 'root' is also the label of a row; leave only a title in that row, or remove it",
        ),
        (
            edited(label=["a", "top.x"], hair=["x", ""]),
            "table 't', column 'hair': the attribute 'x' of 'top' needs the id 'top.x', which is a label; rename one",
        ),
        (edited(**{"set:s": ["x", "x"]}), "table 't', column 'set:s': 'x' is claimed by 'a' and 'b'"),
    ],
)
def test_a_faulty_table_is_one_clear_line(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(GraphFileError) as error:
        graph_from_table(table, name="t")
    assert str(error.value) == message


def test_an_unknown_parent_is_named_when_the_root_is_given() -> None:
    with pytest.raises(GraphFileError) as error:
        graph_from_table(edited(parent=["top", "tip"]), name="t", root="top")
    assert str(error.value) == "table 't', label 'b': parent 'tip' is neither a label nor the root 'top'"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.json", b'{"format": 1,\n "nodes": [}', "line 2: not valid JSON: Expecting value"),
        ("list.json", b"[1]", "holds a list, not a JSON object"),
        ("bytes.json", b'{"name": "\xff"}', "is not UTF-8 text: byte 10 is wrong"),
        ("ragged.csv", b"label,parent\na,b\nc,d,e\n", "is not a CSV table: Error tokenizing data"),
        ("empty.csv", b"# nothing\n", "is not a CSV table: No columns to parse from file"),
        ("short.csv", b"label\na\n", "table 'short' has no column 'parent'"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GraphFileError) as error:
        load_graph(tmp_path / name)
    assert message in str(error.value)
    assert name.split(".")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_graph_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match=r"no graph 'pest': give one of arxiv, .*pets, .*the path of a"):
        load_graph("pest")
    with pytest.raises(GraphFileError, match="cannot read graph file .*No such file"):
        load_graph(tmp_path / "none.csv")
