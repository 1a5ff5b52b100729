"""`python -m experiments.label_graph`: what it prints, draws and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.label_graph import check, complete_paths, draw, from_table, from_wordnet, main
from jlabel import InputError
from jlabel.data import load_graph
from jlabel.label_graph import build_graph
from tests.experiments.worlds import GRAPH, write_graph
from tests.label_graph.toy import T, toy, with_final_cat

PNG = b"\x89PNG\r\n\x1a\n"


def diamonds(count):
    """A chain of diamonds: 2 ** count paths to its end."""
    nodes, edges = ["n0"], []
    for i in range(count):
        nodes += [f"a{i}", f"b{i}", f"n{i + 1}"]
        edges += [[f"n{i}", f"{x}{i}"] for x in "ab"] + [[f"{x}{i}", f"n{i + 1}"] for x in "ab"]
    sets = [{"name": "end", "labels": {"last": f"n{count}"}}]
    return {**T, "name": "chain", "root": "n0", "nodes": [{"id": n} for n in nodes], "edges": edges, "blocks": [],
            "label_sets": sets}  # fmt: skip


def test_check_prints_what_the_graph_holds_and_draws_beside_it(tmp_path, capsys):
    path = write_graph(tmp_path)
    assert main(["check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "label graph tiny",
        "nodes: 9",
        "edges: 9",
        "blocks: 5",
        "attributes: 2",
        "complete paths: 5",
        "prefix-tree nodes: 10",
        "label set breeds: 4 labels, 1 to 2 paths each",
        "label set species: 2 labels, 1 path each",
        "labels without deterministic path: 1",
        "warning: label 'belmar' of 'breeds' has no deterministic path",
        f"drawing: {tmp_path / 'graph.png'}",
    ]
    assert (tmp_path / "graph.png").read_bytes().startswith(PNG)


def test_check_warns_of_one_node_blocks_beside_others(tmp_path):
    blocks = [{"parent": "cat", "name": name, "nodes": [f"cat.{name}"]} for name in ("solid", "striped")]
    warnings = [line for line in check(str(write_graph(tmp_path, blocks=blocks))) if line.startswith("warning")]
    assert warnings == [
        f"warning: block {name!r} of 'cat' has one node beside other blocks: greedy decoding favours it"
        for name in ("solid", "striped")
    ]


@pytest.mark.parametrize(("spec", "paths"), [(T, 12), (with_final_cat(), 13), (diamonds(60), 2**60), (GRAPH, 5)])
def test_complete_paths(spec, paths):
    assert complete_paths(build_graph(spec)) == paths


def test_the_toy_graph_has_19_prefix_tree_nodes(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(toy()))
    assert "prefix-tree nodes: 19" in check(str(tmp_path / "t.json"))


def test_a_graph_of_too_many_paths_says_that_some_are_drawn(tmp_path):
    (tmp_path / "chain.json").write_text(json.dumps(diamonds(60)))
    lines = check(str(tmp_path / "chain.json"))
    assert "complete paths: 1152921504606846976" in lines
    assert any(line.startswith("prefix-tree nodes: ") and line.endswith("(of 1 label 64 paths)") for line in lines)


def test_a_graph_without_label_sets_is_checked_and_drawn(tmp_path, capsys):
    assert main(["check", str(write_graph(tmp_path, label_sets=[]))]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "complete paths: 5" in out
    assert not any(line.startswith("label set") for line in out)


def test_a_shipped_graph_is_drawn_in_the_current_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "drawn_pets"]) == 0
    assert "label set drawn_pets: 12 labels, 4 to 6 paths each\n" in capsys.readouterr().out
    assert Path("drawn_pets.png").exists()


def test_every_fault_is_a_line_and_nothing_is_drawn(tmp_path, capsys):
    sets = [
        {"name": "breeds", "labels": {breed: breed for breed in ("arven", "belmar", "corin", "dax")}},
        {"name": "species", "labels": {"Cat": "cat", "Dog": "dgo"}},
    ]
    edges = [*GRAPH["edges"], ["arven", "cat"]]
    nodes = [*GRAPH["nodes"], {"id": "fern"}]
    path = write_graph(tmp_path, edges=edges, nodes=nodes, label_sets=sets)
    assert main(["check", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == [
        f"error: {path}: childless attribute 'fern'",
        f"error: {path}: cycle cat -> cat.solid -> arven -> cat",
        f"error: {path}: label set 'species': label 'Dog' on unknown node 'dgo' (nearest: 'dog')",
        f"error: {path}: unreachable node 'fern'",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["graph.json"]


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ({"parent": ["cat"], "name": "coat", "nodes": []}, "format: blocks[0] needs 'parent' and a list 'nodes'"),
        ({"parent": "cat", "name": "coat", "nodes": [["a"]]}, "format: blocks[0] needs 'parent' and a list 'nodes'"),
        ({"parent": "cta", "name": "coat", "nodes": ["dog"]}, "block 'coat' of 'cta': unknown parent (nearest: 'cat')"),
        ({"parent": "cat", "name": "coat", "nodes": ["dog"]}, "block 'coat' of 'cat': 'dog' is not a child of 'cat'"),
    ],
)
def test_faulty_blocks(tmp_path, capsys, block, fault):
    path = write_graph(tmp_path, blocks=[block])
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == f"error: {path}: {fault}\n"


def test_files_that_are_no_graph(tmp_path, capsys):
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": "x",\n "nodes": [}')
    assert main(["check", str(broken)]) == 2
    assert capsys.readouterr().err == f"error: graph file {str(broken)!r}, line 2: not valid JSON: Expecting value\n"
    assert main(["check", str(tmp_path / "none.json")]) == 2
    missing = f"error: cannot read graph file {str(tmp_path / 'none.json')!r}: No such file or directory\n"
    assert capsys.readouterr().err == missing
    assert main(["draw", "petz"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no graph 'petz': give one of ")
    assert error.count("\n") == 1


def test_draw_writes_the_named_picture_only(tmp_path, capsys):
    path, output = write_graph(tmp_path), tmp_path / "deep" / "mine.png"
    assert main(["draw", str(path), f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"drawing: {output}\n"
    assert output.read_bytes().startswith(PNG)
    assert not (tmp_path / "graph.png").exists()


def test_draw_refuses_a_folder_and_other_formats(tmp_path):
    path = str(write_graph(tmp_path))
    with pytest.raises(InputError, match=r"mine\.svg': graphs are drawn as PNG; name a file that ends in \.png$"):
        draw(path, str(tmp_path / "mine.svg"))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder\.png' is a folder; name a file in it$"):
        draw(path, str(tmp_path / "folder.png"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        draw(path, str(tmp_path / "file" / "mine.png"))


TABLE = """# two species, one coat open
label,parent,coat,set:breeds,set:species
cat,animal,,,Cat
dog,animal,,,Dog
arven,cat,solid,arven,
belmar,cat,solid|striped,belmar,
corin,dog,,corin,
dax,dog,,dax,
"""


def test_from_table_writes_json_beside_and_prints_what_check_prints(tmp_path, capsys):
    (tmp_path / "tiny.csv").write_text(TABLE)
    assert main(["from_table", str(tmp_path / "tiny.csv")]) == 0
    out, err = capsys.readouterr()
    path = tmp_path / "tiny.json"
    assert (err, out.splitlines()) == ("", [*check(str(path)), f"graph: {path}"])
    assert out.startswith("label graph tiny\nnodes: 9\nedges: 9\n")
    assert load_graph(path) == load_graph(tmp_path / "tiny.csv")
    # Nothing else is left, and a node or edge is a line.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.csv", "tiny.json"]
    assert '\n  ["cat", "cat.solid"],\n' in path.read_text()


def test_from_table_takes_shipped_names_and_an_output(tmp_path, capsys):
    output = tmp_path / "deep" / "mine.json"
    assert main(["from_table", "drawn_pets", f"--output={output}"]) == 0
    assert capsys.readouterr().out.endswith(f"graph: {output}\n")
    assert load_graph(output) == load_graph("drawn_pets")


def test_a_faulty_table_is_not_written(tmp_path, capsys):
    path, output = tmp_path / "tiny.csv", tmp_path / "tiny.json"
    path.write_text(TABLE.replace("corin,dog,,corin,\n", "corin,dog,,corin,\nelk,dog,,,\nfox,dog,,,\n"))
    output.write_text("of old")
    assert main(["from_table", str(path)]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {path}: childless attribute 'elk'\nerror: {path}: childless attribute 'fox'\n",
    )
    path.write_text("label\n")
    assert main(["from_table", str(path)]) == 2
    assert capsys.readouterr().err == "error: table 'tiny' has no column 'parent'; its columns are label\n"
    assert output.read_text() == "of old"


def test_places_that_no_graph_can_be_written_to(tmp_path):
    (tmp_path / "tiny.csv").write_text(TABLE)
    table = str(tmp_path / "tiny.csv")
    with pytest.raises(InputError, match=r"mine\.csv': graphs are written as JSON; name a file that ends in \.json$"):
        from_table(table, str(tmp_path / "mine.csv"))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder\.json' is a folder; name a file in it$"):
        from_table(table, str(tmp_path / "folder.json"))
    with pytest.raises(InputError, match=r"^cannot write .*mine\.json: .*; choose another --output$"):
        from_table(table, str(tmp_path / "tiny.csv" / "mine.json"))
    with pytest.raises(InputError, match=r"graph\.json' is a graph in JSON already; from_table reads a CSV table$"):
        from_table(str(write_graph(tmp_path)))


@pytest.fixture
def wordnet(tmp_path):
    """Ids by word of a small data.noun in tmp_path: cat and dog, two breeds each, and an elk."""
    above = {"entity": "", "carnivore": "entity", "cat": "carnivore", "dog": "carnivore", "arven": "cat",
             "belmar": "cat", "corin": "dog", "dax": "dog", "elk": "entity"}  # fmt: skip
    ids, text = {}, ""
    for word, parent in above.items():
        ids[word] = f"n{len(text):08d}"
        pointers = f"001 @ {ids[parent][1:]} n 0000" if parent else "000"
        text += f"{ids[word][1:]} 05 n 01 {word} 0 {pointers} | a gloss  \n"
    (tmp_path / "data.noun").write_text(text)
    return ids


def test_from_wordnet_writes_the_hypernyms_and_coarse_sets(tmp_path, capsys, wordnet):
    names = ("arven", "belmar", "corin", "dax", "elk")
    ids = tmp_path / "zoo.txt"
    ids.write_text("# a small zoo\n\n" + "".join(f" {wordnet[name]}  # {name}\n" for name in names))
    assert main(["from_wordnet", str(ids), f"--dict={tmp_path}", "--coarse=2,4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "label graph zoo",
        "nodes: 9",
        "edges: 8",
        "blocks: 4",
        "attributes: 0",
        "complete paths: 5",
        "prefix-tree nodes: 9",
        "label set zoo: 5 labels, 1 path each",
        "label set zoo_coarse2: 3 labels, 1 path each",
        "label set zoo_coarse4: 2 labels, 1 path each",
        "labels without deterministic path: 0",
        f"graph: {tmp_path / 'zoo.json'}",
    ]
    spec = load_graph(tmp_path / "zoo.json")
    assert [list(s["labels"]) for s in spec["label_sets"]] == [
        [wordnet[name] for name in names],
        [wordnet[name] for name in ("cat", "dog", "elk")],
        [wordnet[name] for name in ("carnivore", "elk")],
    ]


def test_from_wordnet_names_what_is_wrong(tmp_path, capsys, wordnet):
    ids, output = tmp_path / "ids.txt", tmp_path / "graph.json"

    def error(text, *arguments):
        ids.write_bytes(text.encode("latin-1"))
        assert main(["from_wordnet", str(ids), f"--dict={tmp_path}", f"--output={output}", *arguments]) == 2
        printed = capsys.readouterr()
        assert (printed.out, output.exists(), printed.err.count("\n")) == ("", False, 1)
        return printed.err.removeprefix("error: ").rstrip()

    good = f"{wordnet['cat']}\n{wordnet['dog']}\n{wordnet['elk']}\n"
    assert error("# none\n") == f"{str(ids)!r} holds no ids: write one a line, such as n02123045"
    assert error("caf\xe9") == f"{str(ids)!r} is not UTF-8 text: byte 3 is wrong"
    assert error(good + "cat\n").startswith("ids[3]='cat' is no WordNet noun id: ")
    assert error(good + "n02123045\n").startswith("ids[3]='n02123045' is no noun synset of ")
    assert error(good, "--coarse=2,x") == "--coarse=2,x: give whole numbers separated by commas"
    assert error(good, "--coarse=3").startswith(
        "at_most=3 for label set 'graph' of graph 'graph': give at least 1 and "
    )
    assert error(good, "--coarse=2,2") == ("graph 'graph' already has a label set 'graph_coarse2'; choose another name")
    assert error(good, f"--dict={tmp_path / 'none'}").startswith(f"no file {str(tmp_path / 'none' / 'data.noun')!r}: ")
    with pytest.raises(InputError, match=r"^cannot read '.*none\.txt': No such file or directory$"):
        from_wordnet(str(tmp_path / "none.txt"), str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: the following arguments are required: {check,draw,from_table,from_wordnet}; see --help\n"),
        (["check"], "error: the following arguments are required: GRAPH; see --help\n"),
        (["chekc", "pets"], "error: argument {check,draw,from_table,from_wordnet}: invalid choice: 'chekc'"),
        (["check", "pets", "--outptu=x.png"], "error: unrecognized arguments: --outptu=x.png; see --help\n"),
        (["from_table"], "error: the following arguments are required: FILE.csv; see --help\n"),
        (["from_wordnet", "ids.txt"], "error: the following arguments are required: --dict; see --help\n"),
    ],
)
def test_bad_usage_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_help_explains(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "only draw it" in capsys.readouterr().out


def test_the_command(tmp_path):
    path = write_graph(tmp_path)
    command = [sys.executable, "-m", "experiments.label_graph", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("label graph tiny\nnodes: 9\n")
    assert (tmp_path / "graph.png").exists()
