"""What a user can do wrong in a study: one clear line each, exit code 2, nothing half-written; and stopped studies."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import app, flags

from experiments import common, fusion
from experiments.common import user_errors
from experiments.fusion_config import FusionConfig
from tests.experiments import worlds
from tests.experiments.worlds import GRAPH, feature_config, picture_config

ROOT = Path(__file__).parents[2]


def refused(capsys, function):
    """The one line that a user sees, with exit code 2."""
    assert user_errors(function) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def world(tmp_path):
    """Features, pictures and a graph that a test may spoil."""
    worlds.write_graph(tmp_path)
    worlds.write_features(tmp_path)
    worlds.write_pictures(tmp_path)
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def edit_row(path, end, old, new):
    """Replace text in the first line with that ending."""
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.endswith(end))
    assert old in lines[place]
    lines[place] = lines[place].replace(old, new)
    path.write_text("\n".join(lines) + "\n")


ADVICE = "repair or remove it, or skip such rows (skip_broken=True, --skip_broken)"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda w: cut(w / "fine/train/arven/0.png"),
            "folder:{w}/fine: row 'train/arven/0.png': not a readable picture (image file is truncated); " + ADVICE,
        ),
        (
            lambda w: (w / "fine/test/dax/0.png").write_text("no picture"),
            "folder:{w}/fine: row 'test/dax/0.png': not a readable picture (cannot identify its format); " + ADVICE,
        ),
        (
            lambda w: (w / "coarse/Cat/notes.txt").write_text(""),
            "folder:{w}/coarse: row 'Cat/notes.txt': the picture is empty (0 bytes); " + ADVICE,
        ),
        (
            lambda w: (w / "fine/train/bella").mkdir(),
            "folder:{w}/fine: class folder 'bella' holds no pictures; fill it or remove it",
        ),
        (
            lambda w: (w / "fine/train/arven").rename(w / "fine/train/arvem"),
            "label graph 'tiny': label 'arvem' of dataset 'folder:{w}/fine' is not in label set 'breeds' "
            "(nearest: 'arven')",
        ),
        (
            lambda w: (w / "coarse/Cat").rename(w / "coarse/Cats"),
            "label graph 'tiny': label 'Cats' of dataset 'folder:{w}/coarse' is not in label set 'species' "
            "(nearest: 'Cat')",
        ),
        (lambda w: shutil.rmtree(w / "coarse"), "folder:{w}/coarse: there is no such folder"),
        (
            lambda w: worlds.write_graph(w, edges=[*GRAPH["edges"], ["arven", "cat"]]),
            "label graph 'tiny': cycle cat -> cat.solid -> arven -> cat",
        ),
        (
            lambda w: worlds.write_graph(w, label_sets=[]),
            "graph '{w}/graph.json' has no label sets, so no data can be matched to it; add label_sets",
        ),
        (
            lambda w: (w / "graph.json").write_text("{"),
            "graph file '{w}/graph.json', line 1: not valid JSON: Expecting property name enclosed in double quotes",
        ),
        (
            lambda w: (w / "graph.json").unlink(),
            "cannot read graph file '{w}/graph.json': No such file or directory",
        ),
    ],
)
def test_spoilt_pictures_and_graphs(world, capsys, spoil, message):
    spoil(world)
    line = refused(capsys, lambda: fusion.run(picture_config(world), world / "run") and 0)
    assert line == message.format(w=world)
    assert not (world / "run").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # A validation row must not vanish silently because "val" could not be opened.
        (
            lambda w: edit_row(w / "fine.csv", ",val", "val0,", "val0,nan,") or drop_last_number(w / "fine.csv"),
            "csv:{w}/fine.csv: row 'val0': feature a is nan; " + ADVICE,
        ),
        (
            lambda w: edit_row(w / "fine.csv", ",train", "arven", ""),
            "csv:{w}/fine.csv: row 'train0': the label is missing; " + ADVICE,
        ),
        (
            lambda w: edit_row(w / "fine.csv", "split", "label", "breed"),
            "csv:{w}/fine.csv: no column 'label'; there are name, a, b, c, d, breed, split; choose one with "
            "?label=COLUMN, or ?label= for unlabelled data",
        ),
        (
            lambda w: np.savez(w / "coarse.npz", features=np.zeros((2, 3)), label=["Cat", "Dog"]),
            "npz:{w}/coarse.npz holds rows of 3 features, but csv:{w}/fine.csv holds rows of 4 features; give both the "
            "same",
        ),
        (
            lambda w: np.savez(w / "coarse.npz", features=np.zeros((3, 4)), label=np.array([0, -1, 1]),
                               label_names=["Cat", "Dog"]),
            "npz:{w}/coarse.npz: row 'coarse.npz:1' has no label; remove it or label it",
        ),
        (
            lambda w: (w / "run").write_text(""),
            "workdir {w}/run cannot be written: Not a directory; choose another one",
        ),
    ],
)  # fmt: skip
def test_spoilt_tables(world, capsys, spoil, message):
    spoil(world)
    before = sorted(world.iterdir())
    line = refused(capsys, lambda: fusion.run(feature_config(world), world / "run") and 0)
    assert line == message.format(w=world)
    assert sorted(world.iterdir()) == before


def drop_last_number(path):
    """Undo the extra cell of the spoilt row, so that the table keeps its width."""
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if ",nan," in line)
    cells = lines[place].split(",")
    lines[place] = ",".join(cells[:5] + cells[6:])
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive whole number, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive finite number, got nan"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive finite number, got -1.0"),
        ({"weight_decay": float("inf")}, "weight_decay=inf must be at least 0 and finite"),
        ({"beta": float("nan")}, "beta=nan must be at least 0 and finite"),
        ({"teacher_forcing": 1.5}, "teacher_forcing=1.5 must lie in [0, 1]"),
        ({"samples": 1}, "samples=1: baseline=leave_one_out needs at least 2 samples"),
        ({"seeds": (1, 1)}, "seeds=(1, 1): give at least one, each once"),
        ({"folds": 1}, "folds=1: at least 2 are needed to hold rows out"),
        ({"anchors": 4}, "anchors=4 must lie in 0..3"),
        ({"gate": "open"}, "gate='open': choose one of uniform, learned, none"),
        (
            {"methods": ("pseudo labels",)},
            "methods: pseudo labels need FFN, whose guesses they are; add FFN",
        ),
    ],
)
def test_settings_are_refused_before_anything_is_read(capsys, tmp_path, changes, message):
    assert refused(capsys, lambda: fusion.run(feature_config(tmp_path, **changes), tmp_path / "run") and 0) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"coarse_data": "rest"},
            "--coarse_data=rest needs --coarse_set and one of --fine_per_class and --fine_fraction",
        ),
        ({"coarse_set": ("spices",)}, "label graph 'tiny': no label set 'spices'; there are ['breeds', 'species']"),
        ({"mesh": "data=3000"}, "mesh 'data=3000' asks for (3000, 1) devices; 8 are there, and sizes start at 1"),
        (
            {"methods": ("oracle",)},
            "methods: csv:{w}/fine.csv has no rows for oracle; give --coarse_data",
        ),
    ],
)
def test_settings_that_the_data_refuse(world, capsys, changes, message):
    line = refused(capsys, lambda: fusion.run(feature_config(world, **changes), world / "run") and 0)
    assert line == message.format(w=world)
    assert not (world / "run").exists()


def test_skip_broken_counts_and_lists(world, capsys, monkeypatch):
    cut(world / "fine/train/arven/0.png")
    (world / "coarse/Dog/junk.png").write_text("junk")
    monkeypatch.setattr(fusion, "open_workdir", stop)  # all data is loaded by then
    with pytest.raises(Stopped):
        fusion.run(picture_config(world, skip_broken=True), world / "run")
    assert capsys.readouterr().out == (
        "skipped 1 training rows:\n"
        "  train/arven/0.png: not a readable picture (image file is truncated)\n"
        "skipped 1 coarse rows:\n"
        "  Dog/junk.png: not a readable picture (cannot identify its format)\n"
    )


def test_data_without_test_rows_holds_some_out(world, capsys, monkeypatch):
    """The plain layout, CLASS/picture, works; what is held out is not trained on."""
    for breed in worlds.BREEDS:
        shutil.move(world / "fine/train" / breed, world / "fine" / breed)
        for i in range(3):
            shutil.copy(world / "fine" / breed / "0.png", world / "fine" / breed / f"more{i}.png")
    for split in ("train", "test"):
        shutil.rmtree(world / "fine" / split)
    loaded = []
    original = fusion.load_fusion
    monkeypatch.setattr(fusion, "load_fusion", lambda *a, **k: loaded.append(original(*a, **k)) or loaded[-1])
    monkeypatch.setattr(fusion, "open_workdir", stop)
    with pytest.raises(Stopped):
        fusion.run(picture_config(world), world / "run")
    data, _ = loaded[0]
    assert sorted(data.test.fine) == [0, 1, 2, 3]
    names = [*data.train.names, *data.val.names, *data.test.names]
    assert len(names) == len(set(names)) == 20
    note = f"folder:{world / 'fine'} has no test rows: a fifth of each class, 4 rows, is held out\n"
    assert capsys.readouterr().out == note


class Stopped(Exception):
    """Stands for a kill."""


def stop(*arguments, **options):
    raise Stopped


def test_a_stopped_study_goes_on_where_it_was(world, monkeypatch):
    """Killed while its second method trains and started again, a study ends as one that was left alone."""
    config = feature_config(world, methods=("FFN", "FFN + coarse marginal"))
    monkeypatch.setattr(fusion, "report_study", lambda *arguments, **options: None)
    train, trained = fusion.train_heads, []

    def killed(method, *arguments):
        if trained:
            raise Stopped
        trained.append(method.name)
        return train(method, *arguments)

    monkeypatch.setattr(fusion, "train_heads", killed)
    with pytest.raises(Stopped):
        fusion.run(config, world / "stopped")
    assert trained == ["FFN"]
    assert not (world / "stopped" / "model").exists()
    before = (world / "stopped" / "metrics.jsonl").read_text()
    monkeypatch.setattr(fusion, "train_heads", train)
    continued, alone = (fusion.run(config, world / name) for name in ("stopped", "alone"))
    assert continued == alone
    after = (world / "stopped" / "metrics.jsonl").read_text()
    assert after.startswith(before)  # with its times: what was trained before was not trained again
    assert len(after.splitlines()) == len((world / "alone" / "metrics.jsonl").read_text().splitlines())
    weights = [(world / name / "model" / "params.safetensors").read_bytes() for name in ("stopped", "alone")]
    assert weights[0] == weights[1]


def test_a_workdir_of_other_settings_is_refused(feature_study, capsys):
    config = feature_config(feature_study, steps=201)
    before = (feature_study / "run" / "config.json").read_bytes()
    line = refused(capsys, lambda: fusion.run(config, feature_study / "run") and 0)
    assert line == (
        f"workdir {feature_study / 'run'} holds another config (steps: was 200, now 201); choose another workdir, or "
        "delete this one"
    )
    assert (feature_study / "run" / "config.json").read_bytes() == before


# --- the command line


def test_flags_become_a_config_and_wrong_seeds_are_one_line(capsys):
    values = flags.FlagValues()
    flags.DEFINE_list("seeds", ["0", "x"], "", flag_values=values)
    flags.DEFINE_string("data", "csv:a.csv", "", flag_values=values)
    values.mark_as_parsed()
    fixed = {"experiment": "e", "coarse_data": "", "graph": "pets"}
    line = refused(capsys, lambda: common.from_flags(FusionConfig, values, **fixed))
    assert line == "--seeds=0,x: give whole numbers separated by commas"
    values.seeds = ["3", "5"]
    config = common.from_flags(FusionConfig, values, **fixed)
    assert (config.seeds, config.data, config.steps) == ((3, 5), "csv:a.csv", 300)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--stepz=3", "error: Unknown command line flag 'stepz'"),
        ("steps=3", "error: unexpected argument 'steps=3'; flags read --name=value, see --help\n"),
    ],
)
def test_unknown_arguments_are_one_line(argument, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study", argument])
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "")
    monkeypatch.setattr(app, "define_help_flags", lambda: None)
    with pytest.raises(SystemExit) as caught:
        common.run_main(lambda: pytest.fail("must not run"), doc="A study.")
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )  # fmt: skip


def test_a_command_refuses_in_one_line(tmp_path):
    done = run_command("experiments.pet_fusion", f"--workdir={tmp_path / 'run'}", "--steps=0")
    expected = (2, "", "error: steps must be a positive whole number, got 0\n")
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert list(tmp_path.iterdir()) == []


def test_help_explains_every_flag():
    done = run_command("experiments.flower_fusion", "--help")
    names = ("data", "workdir", "seeds", "mesh", "coarse_data", "graph", "credit", "anchors", "[no]skip_broken")
    assert [name for name in names if f"\n  --{name}: " not in done.stdout] == []
    assert "Kinds and families of flowers" in done.stdout
