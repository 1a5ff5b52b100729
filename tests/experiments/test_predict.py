"""`python -m experiments.predict`: the CSV, the page of pictures, and what is refused."""

import csv
import dataclasses
import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict as binary
from experiments.common import user_errors
from experiments.fusion_data import load_plan
from experiments.fusion_methods import build_method
from experiments.fusion_model import load_model
from experiments.predict import PredictConfig, predict
from experiments.predict_gallery import Gallery, Tile
from jlabel import InputError
from tests.experiments import worlds

HEADER = [
    *("name", "label", "probability", "path", "path_probability"),
    *("alternative_1", "alternative_1_probability", "alternative_2", "alternative_2_probability"),
    *("best:breeds", "breeds:arven", "breeds:belmar", "breeds:corin", "breeds:dax"),
    *("best:species", "species:Cat", "species:Dog"),
]


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refusal(capsys, function):
    """The one line that a user sees."""
    assert user_errors(function) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def own_pictures(tmp_path):
    """A user's pictures, unlabelled: another shape each, one grey, one with an awkward name."""
    folder = tmp_path / "own"
    folder.mkdir()
    rng = np.random.default_rng(1)
    worlds.picture(rng, 0, size=40).save(folder / "big.png")
    worlds.picture(rng, 1).crop((0, 0, 16, 9)).convert("L").save(folder / "grey.jpg")
    worlds.picture(rng, 2, size=300).save(folder / 'an "odd", <b>name.png')
    return folder


# --- the CSV


def test_rows_of_features(feature_study, tmp_path):
    output = tmp_path / "out.csv"
    spec = f"csv:{feature_study / 'fine.csv'}"
    done = predict(PredictConfig(str(feature_study / "run"), spec, str(output), split="test", batch_size=5, beam=3))
    assert (done.rows, done.skipped, done.gallery) == (12, (), None)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    with output.open(newline="") as file:
        assert next(csv.reader(file)) == HEADER
    rows = table(output)
    model = load_model(feature_study / "run")
    inputs = worlds.read_features(feature_study / "fine.csv", "test")
    log_probs = np.asarray(jax.jit(model.method.log_probs)(model.params["head"], model.features(inputs)), float)
    expected = np.exp(log_probs / model.fitted.temperature)
    expected /= expected.sum(1, keepdims=True)
    for row, probs in zip(rows, expected, strict=True):
        given = [float(row[f"breeds:{breed}"]) for breed in worlds.BREEDS]
        np.testing.assert_allclose(given, probs, atol=2e-6)  # six decimals
        assert row["label"] == row["best:breeds"] == worlds.BREEDS[int(probs.argmax())]
        assert float(row["probability"]) == max(given)
    assert [row["name"] for row in rows] == [f"test{i}" for i in range(12)]
    assert done.scored_set == "breeds"
    assert done.accuracy == np.mean([row["label"] == worlds.BREEDS[i // 3] for i, row in enumerate(rows)])
    assert done.accuracy > 0.9


def test_all_paths_of_the_beam_add_up(feature_study, tmp_path):
    """The graph has five paths: a beam of seven lists them all, and a species has the probability of its paths."""
    output = tmp_path / "out.csv"
    predict(PredictConfig(str(feature_study / "run"), f"csv:{feature_study / 'fine.csv'}", str(output), beam=7))
    for row in table(output):
        titles = [row["path"], *(row[f"alternative_{k}"] for k in range(1, 7))]
        probs = [row["path_probability"], *(row[f"alternative_{k}_probability"] for k in range(1, 7))]
        assert sorted(titles[:5]) == [
            "Cat > Solid coat > Arven", "Cat > Solid coat > Belmar", "Cat > Striped coat > Belmar", "Dog > Corin",
            "Dog > Dax",
        ]  # fmt: skip
        assert titles[5:] == probs[5:] == ["", ""]
        values = np.array(probs[:5], float)
        assert (np.diff(values[1:]) <= 0).all()
        assert values.sum() == pytest.approx(1, abs=1e-5)
        cats = sum(p for p, title in zip(values, titles[:5], strict=True) if title.startswith("Cat"))
        assert float(row["species:Cat"]) == pytest.approx(cats, abs=1e-5)
        assert row["path"].rpartition(" > ")[2].lower() == row["label"]


def test_the_path_taken_ends_at_the_label(feature_study):
    """Posterior: belmar by two paths of .3, although the single path of .4 ends at dax."""
    model = load_model(feature_study / "run")
    ids, end = model.plan.graph.ids, model.plan.graph.num_nodes
    paths = [["dog", "dax"], ["cat", "cat.solid", "belmar"], ["cat", "cat.striped", "belmar"]]
    nodes = np.full((4, 5), end)
    for row, path in zip(nodes, paths, strict=False):
        row[: len(path) + 1] = [ids.index(v) for v in ("animal", *path)]
    mask = np.array([[True] * 4 + [False], [True] * 5, [True] * 5, [False] * 5])
    out = {
        "probs/breeds": np.array([0.0, 0.6, 0.0, 0.4]), "probs/species": np.array([0.6, 0.4]),
        "paths": nodes, "path_mask": mask, "path_log_probs": np.log([0.4, 0.31, 0.29, 1e-30]),
    }  # fmt: skip
    found = binary._prediction(model, "x", out)
    assert [([ids[v] for v in path], round(p, 2)) for path, p in found.paths] == [
        (paths[1], 0.31),
        (paths[0], 0.4),
        (paths[2], 0.29),
    ]


def test_coarse_labels_are_scored_on_their_own_set(feature_study, tmp_path):
    spec = f"npz:{feature_study / 'coarse.npz'}"
    done = predict(PredictConfig(str(feature_study / "run"), spec, str(tmp_path / "out.csv")))
    assert (done.scored_set, done.scored_rows) == ("species", 24)
    rows = table(tmp_path / "out.csv")
    truth = ["Cat"] * 12 + ["Dog"] * 12
    assert done.accuracy == np.mean([row["best:species"] == t for row, t in zip(rows, truth, strict=True)])


def test_foreign_labels_are_not_scored(feature_study, tmp_path):
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "in.npz", features=worlds.features(rng, np.arange(4)), kind=["newt", "toad", "frog", "newt"])
    spec = f"npz:{tmp_path / 'in.npz'}?label=kind"
    done = predict(PredictConfig(str(feature_study / "run"), spec, str(tmp_path / "out.csv")))
    assert (done.rows, done.scored_set, done.scored_rows, done.accuracy) == (4, None, 0, None)


def test_a_flat_head_sums_over_the_labels_below(feature_study, tmp_path, monkeypatch):
    model = load_model(feature_study / "run")
    flat = build_method("FFN", model.plan, "breeds", model.config)
    params = {**model.params, "head": flat.init(jax.random.key(3), 4)}
    monkeypatch.setattr(binary, "load_model", lambda workdir: dataclasses.replace(model, method=flat, params=params))
    output = tmp_path / "out.csv"
    predict(PredictConfig("run", f"csv:{feature_study / 'fine.csv'}", str(output), split="test"))
    rows = table(output)
    assert list(rows[0]) == [name for name in HEADER if not re.match("path|alternative", name)]
    for row in rows:
        cats = float(row["breeds:arven"]) + float(row["breeds:belmar"])
        assert float(row["species:Cat"]) == pytest.approx(cats, abs=2e-6)


# --- pictures and their page


def test_own_unlabelled_pictures(picture_study, own_pictures, tmp_path):
    output = tmp_path / "out.csv"
    done = predict(PredictConfig(str(picture_study / "run"), f"folder:{own_pictures}", str(output), batch_size=2))
    assert (done.rows, done.accuracy, done.gallery) == (3, None, tmp_path / "out.html")
    rows = table(output)
    assert [row["name"] for row in rows] == ['an "odd", <b>name.png', "big.png", "grey.jpg"]
    page = (tmp_path / "out.html").read_text()
    assert sorted(max(size) for size in worlds.embedded_sizes(page)) == [16, 40, 128]
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "<script" not in page
    assert "<b>name" not in page  # a file's name is text
    for row in rows:
        assert f"<h2>{row['label']}</h2>" in page
        assert f"{row['label']} {float(row['probability']):.2f} · {row['path']}".replace(">", "&gt;") in page


def test_labelled_pictures_are_scored_and_the_wrong_ones_marked(picture_study, tmp_path):
    spec = f"folder:{picture_study / 'fine'}"
    done = predict(PredictConfig(str(picture_study / "run"), spec, str(tmp_path / "out.csv"), split="test"))
    rows = table(tmp_path / "out.csv")
    wrong = [row["name"] for row in rows if row["name"].split("/")[1] != row["label"]]
    assert done.accuracy == 1 - len(wrong) / 4
    assert 0 < len(wrong) < 4, "the test needs both"
    page = (tmp_path / "out.html").read_text()
    assert page.count('<li class="wrong') == len(wrong)
    assert page.count("✗ ") == 2 * len(wrong)  # caption and alternative text


def test_no_page_where_none_is_wanted(picture_study, own_pictures, tmp_path):
    config = PredictConfig(
        str(picture_study / "run"), f"folder:{own_pictures}", str(tmp_path / "out.csv"), gallery="", beam=1
    )
    assert predict(config).gallery is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "own"]
    assert "alternative_1" not in table(tmp_path / "out.csv")[0]


def test_the_page_takes_the_least_certain_of_each_label_in_turns():
    gallery = Gallery()
    for row in range(1000):
        gallery.add(Tile((row * 7919 % 1000) / 1000, row, "many", "", "none"))
    for row in range(3):
        gallery.add(Tile(0.5 + row / 10, 2000 + row, "few", "", "none"))
    chosen = gallery.chosen()
    assert [tile.row for tile in chosen["few"]] == [2000, 2001, 2002]
    assert [tile.probability for tile in chosen["many"]] == [i / 1000 for i in range(197)]


# --- broken rows and refusals


def test_broken_pictures_stop_the_run_or_are_skipped_and_listed(picture_study, own_pictures, tmp_path, capsys):
    data = (own_pictures / "big.png").read_bytes()
    (own_pictures / "cut.png").write_bytes(data[: len(data) // 2])
    (own_pictures / "junk.png").write_text("not a picture")
    spec = f"folder:{own_pictures}"
    config = PredictConfig(str(picture_study / "run"), spec, str(tmp_path / "out.csv"), batch_size=2)
    line = refusal(capsys, lambda: predict(config))
    assert line.startswith(f"{spec}: row 'cut.png': not a readable picture (")
    assert line.endswith("repair or remove it, or skip such rows (skip_broken=True, --skip_broken)")
    assert [p.name for p in tmp_path.iterdir()] == ["own"]  # the first batch was written, and is gone
    done = predict(dataclasses.replace(config, skip_broken=True))
    assert done.rows == len(table(tmp_path / "out.csv")) == 3
    assert [name for name, _ in done.skipped] == ["cut.png", "junk.png"]
    assert done.skipped[1][1] == "not a readable picture (cannot identify its format)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": ""}, "input is missing: give it, as in --input=folder:my_pictures"),
        ({"output": None}, "output is missing: give it, as in --output=out.csv"),
        ({"workdir": None}, "workdir is missing: give it, as in --workdir=runs/pet_fusion"),
        ({"batch_size": 0}, "batch_size must be a positive whole number, got 0"),
        ({"beam": -1}, "beam must be a positive whole number, got -1"),
        ({"output": "{tmp}"}, "output='{tmp}' is a folder; name a file in it"),
        ({"output": "{tmp}/no/out.csv"}, "output='{tmp}/no/out.csv': there is no folder '{tmp}/no'; make it first"),
        ({"gallery": "{tmp}/no/a.html"}, "gallery='{tmp}/no/a.html': there is no folder '{tmp}/no'; make it first"),
        ({"output": "{tmp}/a.html"}, "gallery='{tmp}/a.html' is the output itself; name another file"),
        ({"input": "folder:{tmp}/no"}, "folder:{tmp}/no: there is no such folder"),
        ({"split": "dev2"}, "csv:{study}/fine.csv: no split 'dev2'; there are train, val, test, all"),
        (
            {"input": "csv:{study}/fine.csv?label=nose"},
            "csv:{study}/fine.csv: no column 'nose' (option label); there are name, a, b, c, d, label, split",
        ),
        ({"workdir": "{tmp}"}, "workdir '{tmp}' holds no model: run a fusion study there first"),
        ({"gallery": "{tmp}/a.html"},
         "gallery='{tmp}/a.html': csv:{study}/fine.csv holds features, nothing to look at; leave it out"),
        ({"input": "csv:{study}/fine.csv?features=a,b"},
         "csv:{study}/fine.csv?features=a,b holds rows of 2 features, but the model in '{study}/run' was trained on "
         "rows of 4 features"),
    ],
)  # fmt: skip
def test_refusals(feature_study, tmp_path, capsys, changes, message):
    names = {"tmp": tmp_path, "study": feature_study}
    settings = {
        "workdir": "{study}/run", "input": "csv:{study}/fine.csv", "output": "{tmp}/out.csv", **changes
    }  # fmt: skip
    settings = {k: v.format(**names) if isinstance(v, str) else v for k, v in settings.items()}
    assert refusal(capsys, lambda: predict(PredictConfig(**settings))) == message.format(**names)
    assert list(tmp_path.iterdir()) == []


def test_pictures_for_a_model_of_features_and_the_reverse(feature_study, picture_study, tmp_path, capsys):
    fine, run = picture_study / "fine", feature_study / "run"
    line = refusal(capsys, lambda: predict(PredictConfig(str(run), f"folder:{fine}", str(tmp_path / "out.csv"))))
    assert line == f"folder:{fine} holds pictures, but the model in {str(run)!r} was trained on rows of 4 features"
    rows, run = feature_study / "fine.csv", picture_study / "run"
    line = refusal(capsys, lambda: predict(PredictConfig(str(run), f"csv:{rows}", str(tmp_path / "out.csv"))))
    assert line == f"csv:{rows} holds rows of 4 features, but the model in {str(run)!r} was trained on pictures"


def test_a_full_disk_keeps_the_earlier_file(tmp_path):
    output = tmp_path / "out.csv"
    output.write_text("earlier")
    with pytest.raises(InputError, match=r"^cannot write .*out\.csv: No space left on device; choose another"):
        fill_the_disk(output)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert output.read_text() == "earlier"


def fill_the_disk(output):
    with binary.written_whole(output, flag="--output") as file:
        file.write("half a row")
        raise OSError(errno.ENOSPC, "No space left on device")


# --- the saved model


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: cut(model / "params.safetensors"), r"the model in '.*' is damaged \(.*\): run the study again"),
        (lambda model: cut(model / "model.json"), r"the model in '.*' is damaged \(.*\): run the study again"),
        (lambda model: edit(model, format="x/9"), r"has format 'x/9', not jlabel.fusion_model/1: run the study again"),
        (lambda model: edit(model, fine_set=None), r"the model in '.*' lacks 'fine_set': run the study again"),
        (
            lambda model: edit(model, kind="image", image_size=16),
            r"the model in '.*' lacks \['encoder'\].*: run the study again",
        ),
    ],
)
def test_a_damaged_model_is_one_clear_line(feature_study, tmp_path, damage, message):
    shutil.copytree(feature_study / "run" / "model", tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def edit(model, **changes):
    """Change fields of model.json; None removes one."""
    document = {**json.loads((model / "model.json").read_text()), **changes}
    (model / "model.json").write_text(json.dumps({k: v for k, v in document.items() if v is not None}))


def test_a_model_of_features_forgets_the_encoder_flag(tmp_path, feature_study):
    """Feature rows need no encoder, whatever --encoder said when the study ran."""
    shutil.copytree(feature_study / "run" / "model", tmp_path / "model")
    config = {**json.loads((tmp_path / "model" / "model.json").read_text())["config"], "encoder": "efficientnet_lite0"}
    edit(tmp_path / "model", config=config)
    assert load_model(tmp_path).net.dim == 4


def test_the_model_keeps_its_graph(feature_study):
    """The study's graph file may be gone: the model carries the graph itself."""
    mine = load_plan(str(feature_study / "graph.json"), max_paths=64, keep=1.0, seed=0)
    kept = load_model(feature_study / "run").plan
    assert kept.graph.titles == mine.graph.titles
    np.testing.assert_array_equal(kept.paths.nodes, mine.paths.nodes)


# --- the command


def test_the_command(feature_study, tmp_path):
    output = tmp_path / "out.csv"
    flags = [f"--workdir={feature_study / 'run'}", f"--input=csv:{feature_study / 'fine.csv'}", f"--output={output}"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.predict", *flags, "--split=test", "--beam=2"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert re.fullmatch(r"accuracy [01]\.\d{3}, balanced [01]\.\d{3}, over 12 rows with a label of breeds", first)
    assert last == f"12 rows: {output}"
    assert len(table(output)) == 12


@pytest.mark.slow
def test_study_and_prediction_of_own_pictures_by_command(tmp_path):
    worlds.write_pictures(tmp_path)
    graph = worlds.write_graph(tmp_path)
    study = [
        f"--data=folder:{tmp_path / 'fine'}", f"--coarse_data=folder:{tmp_path / 'coarse'}", f"--graph={graph}",
        f"--workdir={tmp_path / 'run'}", "--seeds=0", "--steps=2", "--image_size=16", "--methods=graph fused,FFN",
    ]  # fmt: skip
    one = tmp_path / "one.png"
    Image.new("RGB", (20, 30), (200, 30, 30)).save(one)
    loose = tmp_path / "loose"
    loose.mkdir()
    shutil.move(one, loose)
    use = [f"--workdir={tmp_path / 'run'}", f"--input=folder:{loose}", f"--output={tmp_path / 'out.csv'}"]
    for module, flags in (("pet_fusion", study), ("predict", use)):
        done = subprocess.run(
            [sys.executable, "-m", f"experiments.{module}", *flags],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert [row["name"] for row in table(tmp_path / "out.csv")] == ["one.png"]
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "out.html").exists()
