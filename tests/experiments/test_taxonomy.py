"""Relations between domains: the studies on few seeds, a user's road, and what a user can do wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.taxonomy import run
from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_cross import Crossed, cross_domains, mean_probs
from experiments.taxonomy_cut import cut_worlds, draw_groups, shift_pictures
from experiments.taxonomy_data import load_domains, parse_specs, training_rows
from experiments.taxonomy_figures import taxonomy_figures
from experiments.taxonomy_files import edit, read_relations, relation_table
from experiments.taxonomy_own_report import examples
from experiments.taxonomy_probs import read_pairs
from experiments.taxonomy_reference import read_reference, reference_scores
from experiments.taxonomy_study import embedded_worlds, score_worlds, train_worlds
from jlabel import InputError
from jlabel.taxonomy import METHODS, Relations, edge_intervals, relation_scores, taxonomy_from_spec

IMAGES = Path(__file__).parents[2].parent / "shared" / "data" / "images"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "pale": (225, 225, 225)}


def refused(call, *expected):
    """The one-line message of the error that a call must raise."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message
    return message


# -- the study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study") / "run"
    run(TaxonomyConfig(seeds=(0, 1), steps=200), workdir)
    return workdir, json.loads((workdir / "results.json").read_text())


def test_rules_find_the_relations_of_generated_domains(study):
    _, document = study
    found = {(row["method"], row["metric"], row["split"]): row["mean"] for row in document["rows"]}
    for split in ("with shift", "without shift"):
        assert found["truth (oracle)", "F1", split] == 1
        assert found["truth (oracle)", "EDR", split] == 0
        assert found["no edges", "F1", split] < 0.1
        assert all(found[method, "F1", split] > 0.5 for method in METHODS)
        assert found["top", "precision", split] > found["hypothesis", "precision", split]
        assert found["hypothesis", "recall", split] > found["top", "recall", split] + 0.2
    for method in METHODS:
        assert found[method, "F1", "without shift"] > found[method, "F1", "with shift"]
        assert found[f"{method}, clear edges", "precision", "with shift"] >= found[method, "precision", "with shift"]


def test_the_study_leaves_figures_and_a_report(study):
    workdir, _ = study
    report = (workdir / "report.html").read_text()
    assert report.count("<img") == len(list((workdir / "figures").glob("*.png"))) == 6
    assert "with shift: mean" in report
    assert "--drop_doubtful" in report


def test_models_never_train_on_the_rows_they_are_asked_about(study):
    config = TaxonomyConfig(seeds=(0, 1), steps=200)  # as above: compiled already
    worlds = embedded_worlds(config, config.runs, shift=0.0)
    world, found = worlds[1], score_worlds(worlds, train_worlds(worlds, config), config)[1]
    a, b = world.domains[:2]
    np.testing.assert_array_equal(found.crossed.labels[0, 1], np.concatenate([a.labels["train"], a.labels["val"]]))
    assert found.crossed.probs[0, 1].shape == (len(found.crossed.labels[0, 1]), len(b.class_names))
    np.testing.assert_allclose(found.crossed.probs[0, 1].sum(1), 1, atol=1e-5)
    assert found.scores["threshold"] == relation_scores(found.relations["threshold"], world.truth)
    # 50 values of t, among them the .2 of the table.
    assert found.curves["threshold"][9] == found.scores["threshold"]


# -- a dataset cut in two


def test_groups_are_disjoint_and_two_or_more():
    for seed in range(50):
        groups = draw_groups(np.random.default_rng(seed), 5, 3.0)
        flat = [c for group in groups for c in group]
        assert len(groups) > 1
        assert len(set(flat)) == len(flat) == 4


def test_shifted_pictures():
    pictures = np.full((2, 16, 16, 3), 100, np.uint8)
    pictures[:, 4:12, 4:12] = (200, 0, 0)
    grey, turned = (shift_pictures(pictures, name, 1.0) for name in ("grey", "rotated"))
    # .299 * 200 = 59.8 in the middle, whatever the channel; noise of 4 levels.
    np.testing.assert_allclose(grey[:, 6:10, 6:10].mean((0, 1, 2)), 59.8, atol=2)
    assert 2 < grey[:, 6:10, 6:10].astype(float).std() < 6
    np.testing.assert_array_equal(turned[:, 8, 8], pictures[:, 8, 8])
    assert (turned != pictures).any()
    np.testing.assert_array_equal(shift_pictures(pictures, "rotated", 0.0), pictures)


def coloured(generator, colour, count, side=8):
    noise = generator.normal(0, 12, (count, side, side, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def test_a_dataset_cut_in_two_keeps_its_halves_apart(tmp_path):
    generator = np.random.default_rng(0)
    names = list(COLOURS)
    np.savez(
        tmp_path / "colours.npz", image=np.concatenate([coloured(generator, name, 14) for name in names]),
        label=np.repeat(np.arange(4), 14), label_names=np.array(names),
    )  # fmt: skip
    config = TaxonomyConfig(cut=f"npz:{tmp_path / 'colours.npz'}", encoder="identity", per_class=4, class_size=1.0)
    for world in cut_worlds(config, (0, 1), shift=0.0):
        grey, rotated = world.domains
        rows = [{int(r) for source in domain.sources.values() for r in source.rows} for domain in (grey, rotated)]
        assert not rows[0] & rows[1]
        for domain in world.domains:
            for part, most in {"train": 4, "val": 2}.items():
                source = domain.sources[part]
                assert len(source) == len(domain.labels[part]) == len(domain.features[part])
                for row, label in enumerate(domain.labels[part]):
                    concept = source.label_names[source.labels[row]]
                    assert concept in domain.class_names[label].split("+")
                assert np.bincount(source.labels).max() <= most
        a, b = (set(domain.class_names[0].split("+")) for domain in world.domains)
        assert world.truth.block(0, 1)[0, 0] == len(a & b) / len(a)
    refused(lambda: cut_worlds(TaxonomyConfig(cut="embedded:two_gaussians"), (0,), shift=0.0), "give pictures")


# -- domains


def write_domain(path, classes, *, rows=30, seed=0, dim=6):
    """Features around the unit vector of each class's concept; class name -> concepts."""
    generator = np.random.default_rng(seed)
    x, y = [], []
    for label, concepts in enumerate(classes.values()):
        for concept in concepts:
            x.append(3 * np.eye(dim)[concept] + generator.normal(0, 0.5, (rows, dim)))
            y += [label] * rows
    np.savez(
        path, features=np.concatenate(x).astype(np.float32), label=np.array(y), label_names=np.array(list(classes))
    )


ZOO = {"cat": (0,), "dog": (1,), "ox": (2,), "boat": (5,)}
PETS = {"pet": (0, 1), "ox, bull": (2,), "rock": (4,)}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_domain(folder / "zoo.npz", ZOO, seed=0)
    write_domain(folder / "pets.npz", PETS, seed=1)
    pd.DataFrame(
        [("zoo", "cat", "pets", "pet", "within"), ("zoo", "ox", "pets", "ox", "same")],
        columns=["domain_a", "class_a", "domain_b", "class_b", "kind"],
    ).to_csv(folder / "reference.csv", index=False)
    config = TaxonomyConfig(
        domains=(f"npz:{folder / 'zoo.npz'}", f"npz:{folder / 'pets.npz'}"), seeds=(0, 1), steps=100,
        method="threshold", reference=str(folder / "reference.csv"),
    )  # fmt: skip
    run(config, folder / "run")
    return folder


def test_a_users_domains(own, capsys):
    taxonomy = taxonomy_from_spec(json.loads((own / "run" / "taxonomy.json").read_text()))
    assert taxonomy.domains == ("zoo", "pets")
    assert "zoo: ox + pets: ox, bull" in taxonomy.names
    assert "zoo: cat + pets: pet" in taxonomy.names
    table = pd.read_csv(own / "run" / "relations.csv")
    found = {(line.from_class, line.to_class): line for line in table.itertuples()}
    assert not found["cat", "pet"].doubtful
    assert 0.9 < found["cat", "pet"].weight <= 1
    assert found["cat", "pet"].low <= found["cat", "pet"].share <= found["cat", "pet"].high
    document = json.loads((own / "run" / "results.json").read_text())
    scores = {(row["method"], row["metric"]): row["mean"] for row in document["rows"]}
    assert scores["threshold", "reference recall"] == 1
    assert scores["equal names", "reference recall"] == pytest.approx(2 / 3)  # ox, both ways; of three edges
    report = (own / "run" / "report.html").read_text()
    assert "Doubtful edges" in report
    assert "zoo: cat" in report


def test_an_edited_taxonomy(own, capsys):
    config = TaxonomyConfig(
        rebuild=str(own / "run" / "taxonomy.json"), forbid=("zoo:cat -> pets:pet", "pets:pet -> zoo:cat"),
        force=("zoo:boat -> pets:rock",),
    )  # fmt: skip
    folder = run(config, own / "edited")
    names = taxonomy_from_spec(json.loads((folder / "taxonomy.json").read_text())).names
    assert "zoo: boat + pets: rock" in names
    assert "zoo: cat + pets: pet" not in names
    assert "zoo: ox + pets: ox, bull" in names
    assert (folder / "report.html").is_file()


def test_pictures_of_both_sides_of_doubtful_edges(tmp_path):
    generator = np.random.default_rng(0)
    for domain, classes in {"a": ("red", "green", "pale"), "b": ("red", "blue")}.items():
        for colour in classes:
            (tmp_path / domain / colour).mkdir(parents=True)
            for k, picture in enumerate(coloured(generator, colour, 10)):
                Image.fromarray(picture).save(tmp_path / domain / colour / f"{k}.png")
    config = TaxonomyConfig(
        domains=(f"folder:{tmp_path / 'a'}", f"folder:{tmp_path / 'b'}"), encoder="identity", image_size=8, seeds=(0,),
        steps=60, method="density", density=1.0,
    )  # fmt: skip
    report = (run(config, tmp_path / "run") / "report.html").read_text()
    assert "a: red → b: red" in report
    assert len(re.findall(r'alt="a: \w+"', report)) >= 4


def test_examples_are_the_rows_that_make_an_edge():
    labels = np.array([0, 0, 1, 0])
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]])
    crossed = Crossed({(0, 1): labels}, {(0, 1): probs}, ())
    other = type("D", (), {"labels": {"train": np.array([1, 0]), "val": np.array([1])}})
    assert examples([other, other], crossed, (0, 0), (1, 1)) == ([1, 3], [0, 2])


# -- probabilities of one's own


def write_pairs(folder):
    """What models of zoo (cat, dog) and pets (pet, rock) say of each other's rows."""
    for rows, model, ending in (("zoo", "pets", "csv"), ("pets", "zoo", "npz")):
        (folder / rows).mkdir(parents=True)
        if ending == "csv":
            pd.DataFrame({"label": ["cat", "cat", "dog"], "pet": [1, 0.75, 0.5], "rock": [0, 0.25, 0.5]}).to_csv(
                folder / rows / f"{model}.csv", index=False
            )
        else:
            np.savez(
                folder / rows / f"{model}.npz", label=np.array(["rock", "pet"]), classes=np.array(["cat", "dog"]),
                probs=np.array([[0.5, 0.5], [0.2, 0.8]]),
            )  # fmt: skip
    return folder


def test_given_probabilities(tmp_path, capsys):
    given = read_pairs(write_pairs(tmp_path / "probs"))
    assert given.domains == ("pets", "zoo")
    assert given.class_names == (("pet", "rock"), ("cat", "dog"))
    np.testing.assert_allclose(given.crossed.cross(soft=True)[1, 0], [[0.875, 0.125], [0.5, 0.5]])
    np.testing.assert_array_equal(given.crossed.counts()[0, 1], [[0, 1], [1, 0]])
    config = TaxonomyConfig(probs=str(tmp_path / "probs"), soft=True, method="top")
    folder = run(config, tmp_path / "run")
    table = pd.read_csv(folder / "relations.csv").set_index(["from_class", "to_class"])
    assert table.loc[("cat", "pet"), "weight"] == 0.875
    assert "2 domains with 4 classes" in capsys.readouterr().out


def test_bad_probabilities(tmp_path):
    probs = write_pairs(tmp_path)
    refused(lambda: read_pairs(tmp_path / "no"), "--probs=", "no such folder")
    refused(lambda: read_pairs(tmp_path / "zoo"), "there are 0")
    good = (probs / "zoo" / "pets.csv").read_text()
    for text, expected in {
        good.replace("0.75", "0.7"): "row 1 sums to 0.95",
        good.replace("0.75", "x"): "row 1, column 'pet' holds 'x'",
        good.replace("label", "klass"): "no column label",
        good.replace("dog", "cow"): "row 2 has the label 'cow', which is no class of domain 'zoo'",
        good.replace("rock", "pet"): "two columns are called 'pet'",
    }.items():
        (probs / "zoo" / "pets.csv").write_text(text)
        refused(lambda: read_pairs(tmp_path), "pets.csv", expected)
    (probs / "zoo" / "pets.csv").write_text(good)
    (probs / "zoo" / "birds.csv").write_text(good)  # rows of zoo, but there is no folder birds: not a domain
    read_pairs(tmp_path)
    np.savez(probs / "pets" / "zoo.npz", label=np.array(["rock"]), probs=np.array([0.5, 0.5]))
    refused(lambda: read_pairs(tmp_path), "zoo.npz: no array probs with 2 axes", "probs [2]")
    (probs / "pets" / "zoo.npz").unlink()
    refused(lambda: read_pairs(tmp_path), "what the model of 'zoo' says of rows of 'pets'", "there is none")


# -- rows of domains


def test_specs_and_names():
    assert parse_specs(["folder:x/zoo", "b=csv:t.csv?features=u", "v", "parquet:p.parquet"]) == {
        "zoo": "folder:x/zoo", "b": "csv:t.csv?features=u,v", "p": "parquet:p.parquet",
    }  # fmt: skip
    refused(lambda: parse_specs(["folder:a"]), "two domains or more")
    refused(lambda: parse_specs(["folder:a", "nonsense"]), "'nonsense' is not")
    refused(lambda: parse_specs(["folder:x/a", "folder:y/a"]), "called 'a'", "NAME=folder:y/a")


def test_domains_are_split_and_limited(own):
    specs = [f"npz:{own / 'zoo.npz'}", f"npz:{own / 'pets.npz'}"]
    zoo, pets = load_domains(specs, encoder="efficientnet_lite0", per_class=6, seed=1)
    assert zoo.class_names == tuple(ZOO)
    # Of 30 rows a class: a fifth for the test, a fifth of the others for validation.
    assert [np.bincount(zoo.labels[part]).tolist() for part in ("train", "val", "test")] == [[6] * 4, [3] * 4, [6] * 4]
    for domain in (zoo, pets):
        names = [set(domain.sources[part].column("name")) for part in ("train", "val", "test")]
        assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
        for part in ("train", "val", "test"):
            np.testing.assert_array_equal(domain.sources[part].content(2), domain.features[part][2])
    first, second = (training_rows(zoo, seed) for seed in (0, 1))
    labels = np.concatenate([zoo.labels["train"], zoo.labels["val"]])
    assert np.bincount(labels[first]).tolist() == np.bincount(labels[second]).tolist() == [6] * 4
    assert (first != second).any()


def test_domains_that_do_not_fit(own, tmp_path):
    zoo = f"npz:{own / 'zoo.npz'}"
    write_domain(tmp_path / "wide.npz", PETS, dim=7)
    write_domain(tmp_path / "one.npz", {"pet": (0,)})
    refused(
        lambda: load_domains([zoo, f"npz:{tmp_path / 'wide.npz'}"], encoder="identity"), "wide has 7 features, zoo 6"
    )
    refused(
        lambda: load_domains([zoo, f"npz:{tmp_path / 'one.npz'}"], encoder="identity"),
        "'one'",
        "fewer than two classes",
    )
    refused(lambda: load_domains([zoo, zoo.replace("zoo.npz", "no.npz")], encoder="identity"), "no.npz")
    for name, rows in {"t": ["a cat", "a dog"], "u": ["one", "two"]}.items():
        pd.DataFrame({"text": rows * 5, "label": rows * 5}).to_csv(tmp_path / f"{name}.csv", index=False)
    texts = [f"csv:{tmp_path / name}.csv" for name in "tu"]
    refused(lambda: load_domains(texts, encoder="efficientnet_lite0"), "give minilm or bert:DIR")
    refused(lambda: load_domains([zoo, "d=embedded:digits"], encoder="identity"), "zoo features, d images")
    refused(lambda: load_domains([zoo, zoo], encoder="identity", per_class=1), "--per_class=1")


def test_several_seeds_as_one_model(own):
    domains = load_domains([f"npz:{own / 'zoo.npz'}", f"npz:{own / 'pets.npz'}"], encoder="identity")
    options = {"hidden": 64, "steps": 100, "batch_size": 128, "learning_rate": 0.003}
    runs = cross_domains([domains], (0, 1), **options)
    mean = mean_probs(runs)
    np.testing.assert_allclose(mean.probs[0, 1], (runs[0].probs[0, 1] + runs[1].probs[0, 1]) / 2)
    assert (runs[0].probs[0, 1] != runs[1].probs[0, 1]).any()
    assert min(mean.accuracy) > 0.9


# -- references, files, flags


FOUND = Relations(
    ("a", "b"), (("cat", "dog"), ("pet", "Cat, tabby", "car")),
    [[0, 0, 0.5, 0.5, 0], [0, 0, 0.9, 0, 0.1], [0, 0.6, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
)  # fmt: skip


def test_reference_scores_by_hand(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(
        "domain_a,class_a,domain_b,class_b,kind\na,cat,b,cat,same\na,dog,b,pet,within\nb,car,a,dog,within\n"
    )
    reference = read_reference(str(path), FOUND.domains, FOUND.class_names)
    assert reference.edges.tolist() == [[0, 3], [3, 0], [1, 2], [4, 1]]
    # Found: cat -> Cat and dog -> pet, of four; car is linked by dog -> car; cat -> pet and dog -> car are not listed.
    assert reference_scores(FOUND, reference) == {
        "reference recall": 0.5, "reference linked": 1.0, "reference precision": 0.5,
    }  # fmt: skip
    for line, expected in {
        "a,cow,b,cat,same": "line 2: no class 'cow' in domain 'a'",
        "c,cat,b,cat,same": "no domain 'c'; there are a, b",
        "a,cat,b,cat,like": "kind is 'like'",
    }.items():
        path.write_text(f"domain_a,class_a,domain_b,class_b,kind\n{line}\n")
        refused(lambda: read_reference(str(path), FOUND.domains, FOUND.class_names), expected)
    path.write_text("domain_a,class_a\n")
    refused(lambda: read_reference(str(path), FOUND.domains, FOUND.class_names), "no column 'domain_b'")


@pytest.mark.skipif(not IMAGES.exists(), reason="real data is not here")
def test_our_reference_names_real_classes():
    import pyarrow.parquet as pq

    names = ("caltech97_64", "tiny_imagenet_64", "cifar10_32")
    classes = [
        sorted(set(pq.read_table(IMAGES / f"{name}.parquet", columns=["label"])["label"].to_pylist())) for name in names
    ]
    reference = read_reference("reference_relations.csv", names, classes)
    assert len(reference.edges) == 40  # eight relations both ways, 24 one way
    assert len(set(reference.relation.tolist())) == 32


def test_relations_are_read_back_and_doubtful_ones_come_first(own, tmp_path):
    relations = read_relations(str(own / "run" / "taxonomy.json"))
    assert relations.domains == ("zoo", "pets")
    counts = {(0, 1): [[5, 5, 0], [9, 0, 1]], (1, 0): [[4, 6], [5, 5], [0, 0]]}
    table = relation_table(FOUND, edge_intervals(counts))
    assert table["doubtful"].tolist() == sorted(table["doubtful"], reverse=True)
    unsure = table[table["doubtful"]]
    assert unsure["share"].tolist() == sorted(unsure["share"], reverse=True)
    for name in ("taxonomy.json", "relations.csv"):
        (tmp_path / name).write_text((own / "run" / name).read_text())
    for bad, expected in {
        "zoo,cow,pets,pet,0.5": "line 2: no class 'cow' of a domain 'zoo'",
        "zoo,cat,farm,pet,0.5": "line 2: no class 'pet' of a domain 'farm'",
        "zoo,cat,pets,pet,2": "line 2: weight is '2'",
        "zoo,cat,pets,pet,": "line 2: weight is ''",
        "zoo,cat,zoo,dog,0.5": "line 2: both are of one domain",
    }.items():
        (tmp_path / "relations.csv").write_text("from_domain,from_class,to_domain,to_class,weight\n" + bad + "\n")
        refused(lambda: read_relations(str(tmp_path / "taxonomy.json")), expected)
    (tmp_path / "relations.csv").write_text("from_domain,from_class\n")
    refused(lambda: read_relations(str(tmp_path / "taxonomy.json")), "no column 'to_domain'")
    (tmp_path / "relations.csv").unlink()
    refused(lambda: read_relations(str(tmp_path / "taxonomy.json")), "relations.csv beside it cannot be read")
    refused(lambda: edit(FOUND, forbid=["a:cat"], force=()), "--forbid=a:cat", "DOMAIN:CLASS -> DOMAIN:CLASS")


def test_a_drawing_says_what_it_leaves_out():
    few = taxonomy_figures(FOUND)
    assert (few.drawn, few.edges, few.caption) == (5, 5, "")
    size = 60
    weights = np.zeros((2 * size, 2 * size))
    weights[np.arange(size), size + np.arange(size)] = 0.9
    weights[np.arange(1, size), size + np.arange(size - 1)] = 0.05  # all hang together by weak edges
    names = tuple(tuple(f"{letter}{k}" for k in range(size)) for letter in "ab")
    many = taxonomy_figures(Relations(("a", "b"), names, weights))
    assert (many.drawn, many.edges, many.least) == (60, 119, 0.1)
    assert len(many.pages) > 1


def test_settings_that_cannot_be(own):
    refused(lambda: TaxonomyConfig(threshold=0.0), "--threshold=0")
    refused(lambda: TaxonomyConfig(density=1.5), "--density=1.5")
    refused(lambda: TaxonomyConfig(method="best"), "--method=best", "threshold, top")
    refused(lambda: TaxonomyConfig(merge="all"), "--merge=all")
    refused(lambda: TaxonomyConfig(cut="npz:a", probs="b"), "--cut and --probs")
    refused(lambda: TaxonomyConfig(seeds=(1, 1)), "--seeds=1,1")
    refused(lambda: TaxonomyConfig(forbid=("a:b -> c:d",)), "--forbid, --force and --reference")
    refused(lambda: TaxonomyConfig(max_relations=0), "max_relations")
    refused(lambda: run(TaxonomyConfig(seeds=(5,)), own / "run"), "another config")


@pytest.mark.slow
def test_the_real_command(own):
    command = [sys.executable, "-m", "experiments.taxonomy", f"--domains=npz:{own / 'zoo.npz'},npz:{own / 'pets.npz'}"]
    command += ["--seeds=0", "--steps=50"]
    options = {"capture_output": True, "text": True, "check": False}
    done = subprocess.run([*command, "--threshold=2", f"--workdir={own / 'bad'}"], **options)
    assert (done.returncode, done.stderr) == (2, "error: --threshold=2: give a number above 0, at most 1\n")
    done = subprocess.run([*command, "--method=top", "--drop_doubtful", f"--workdir={own / 'real'}"], **options)
    assert done.returncode == 0, done.stderr
    assert "2 domains with 7 classes" in done.stdout
    assert not pd.read_csv(own / "real" / "relations.csv")["doubtful"].any()
