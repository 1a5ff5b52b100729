"""`experiments.amalgamation`, the studies: rows, cells that a stopped run goes on from, tables, and what is refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import amalgamation_report, amalgamation_training
from experiments.amalgamation import run
from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_data import PRESETS, Part, study_parts
from experiments.amalgamation_figures import levels_figure
from experiments.amalgamation_paper import paper_figures
from experiments.amalgamation_study import METRICS, Outcome, Transfers, run_part
from experiments.cells import Cells, flat_params, tree_params
from jlabel import InputError
from jlabel.amalgamation import label_union
from tests.experiments.untrained_chains import untrained

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "multilabel"
NAMES = ("sun", "sea", "rock", "wood", "snow", "town")


def write_rows(path, rows=160):
    """Six labels of five features, three of them the opposite of another's; a column that never changes."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((rows, 5)).astype(np.float32)
    labels = np.concatenate([features[:, :3] > 0.3, features[:, :3] < 0.1], axis=1).astype(np.int8)
    features[:, 4] = 7
    np.savez(path, X=features, Y=labels, label_names=np.array(NAMES))
    return features, labels


def tiny(path, **changes):
    options = {
        "data": f"npz:{path}", "seeds": (0, 1), "teacher_epochs": 2, "student_epochs": 2, "batch_size": (32,),
        "hidden": (4, 4, 4), "labelled_rows": 12, "methods": ("BL", "TC", "ANT", "ANT earned trust hard", "oracle"),
    }  # fmt: skip
    return AmalgamationConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    write_rows(path)
    return path


@pytest.fixture(scope="module")
def study(rows_file):
    """A finished study, its folder, and what was found."""
    folder = rows_file.parent / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amalgamation_training, "fit_chains", untrained)
        patch.setattr(amalgamation_report, "comparison_figure", lambda *_, **__: Figure())
        return folder, run(tiny(rows_file, teacher_error=("missing",)), folder)


def test_study(study, capsys):
    folder, parts = study
    assert list(parts) == ["missing positives"]
    found = json.loads((folder / "results.json").read_text())
    for title, (part, outcome) in parts.items():
        assert list(outcome.scores) == [
            "BL", "TC", "ANT", "ANT earned trust hard", "oracle", "ANT targets, no student", "vote, no student",
            "all-negative", "most frequent set",
        ]  # fmt: skip
        for p, k in zip(part.problems, range(2), strict=True):
            truth = p.labels[p.test]
            assert outcome.scores["all-negative"]["Hamming loss"][k] == pytest.approx(truth.mean())
            assert outcome.scores["all-negative"]["macro F1"][k] == 0
        rows = [row for row in found["rows"] if row["split"] == title]
        gaps = {row["method"]: row for row in rows if row["metric"] == "ANT less this, subset loss"}
        scores = {row["method"]: row for row in rows if row["metric"] == "subset loss"}
        np.testing.assert_allclose(
            gaps["BL"]["runs"], np.subtract(scores["ANT"]["runs"], scores["BL"]["runs"]), atol=1e-12
        )
    competent = [row for row in found["rows"] if row["metric"] == "transfers from the competent teacher"]
    shares = [one.competent for one in parts["missing positives"][1].transfers]
    assert [row["runs"] for row in competent] == ([shares] if np.isfinite(shares).all() else [])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * (2 + 5)
    assert {line["name"] for line in lines} >= {"teacher 0", "teacher 1", "ANT", "oracle"}
    assert {file.name for file in (folder / "figures").iterdir()} == {
        "comparison.png", "transfers.png",
    }  # fmt: skip
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_stopped_run_goes_on_to_the_same_bits(study, rows_file, monkeypatch):
    folder, parts = study
    config = tiny(rows_file, teacher_error=("missing",))
    cells = sorted((folder / "cells").iterdir())
    assert [path.name for path in cells] == ["missing_positives_students_0_0.npz", "missing_positives_teachers_0_0.npz"]
    before = dict(np.load(cells[0]))
    cells[0].unlink()
    trained = []
    monkeypatch.setattr(
        amalgamation_training, "fit_chains", lambda *args, **named: trained.append(1) or untrained(*args, **named)
    )
    ((part, outcome),) = parts.values()
    again = run_part(part, config, Cells(folder / "cells"))
    assert len(trained) == 1  # the students; the teachers are there
    after = np.load(cells[0])
    assert set(after.files) == set(before)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    for name, scores in outcome.scores.items():
        for metric in METRICS:
            np.testing.assert_array_equal(scores[metric], again.scores[name][metric])
    with pytest.raises(InputError, match=r"holds another config \(student_epochs: was 2, now 3\)"):
        run(tiny(rows_file, teacher_error=("missing",), student_epochs=3), folder)


def test_rows_of_a_study(rows_file):
    features, labels = write_rows(rows_file)
    config = tiny(rows_file, teacher_error=("missing", "spurious"), num_teachers=3, shared=0.5, hidden=(4, 4, 4, 4))
    parts = study_parts(config)
    assert [part.title for part in parts] == ["missing positives", "spurious positives"]
    for part in parts:
        # The sets differ from seed to seed, yet look alike when labels are numbered in order of the union.
        places = [[tuple(p.label_names.index(name) for name in own) for own in p.label_sets] for p in part.problems]
        assert places[0] == places[1]
        assert part.problems[0].label_sets != part.problems[1].label_sets
        for p in part.problems:
            assert p.label_names == label_union(p.label_sets)
            used = np.concatenate([*p.shares, *p.held, p.train, p.val, p.test])
            assert len(np.unique(used)) == len(used)
            assert [len(share) + len(held) for share, held in zip(p.shares, p.held, strict=True)] == [37, 37, 37]
            assert (len(p.train), len(p.val), len(p.test)) == (29, 7, 12)
            known = np.concatenate([*p.shares, *p.held])
            np.testing.assert_allclose(p.features[known].mean(0), 0, atol=1e-6)
            np.testing.assert_allclose(p.features[known].std(0), [1, 1, 1, 1, 0], atol=1e-6)
            columns = [NAMES.index(name) for name in p.label_names]
            np.testing.assert_array_equal(p.labels, labels[:, columns])
            # Damage: in one direction only, in one teacher of each shared label only.
            assert set(p.competent) == {n for n in NAMES if sum(n in own for own in p.label_sets) > 1}
            for t, (own, share, held) in enumerate(zip(p.label_sets, p.shares, p.held, strict=True)):
                right = p.labels[np.concatenate([share, held])][:, [p.label_names.index(name) for name in own]]
                told = np.concatenate(p.taught[t])
                sign = -1 if part.error == "missing" else 1
                change = (told.astype(int) - right) * sign
                assert change.min() >= 0
                for k, name in enumerate(own):
                    hurt = name in p.competent and t not in p.competent[name]
                    assert (change[:, k].sum() > 0) == hurt
    whole = study_parts(tiny(rows_file, teacher_rows="all"))[0].problems[0]
    assert {*whole.shares[0], *whole.held[0]} == {*whole.shares[1], *whole.held[1]}


def test_label_sets_of_the_paper(tmp_path):
    for stem, count in {"scene": 6, "yeast": 14, "genbase": 27, "tmc2007": 22, "emotions": 6}.items():
        generator = np.random.default_rng(0)
        names = np.array([f"c{k}" for k in range(count)])
        labels = generator.integers(0, 2, (60, count))
        np.savez(tmp_path / f"{stem}.npz", X=generator.standard_normal((60, 3)), Y=labels, label_names=names)
        (part,) = study_parts(AmalgamationConfig(data=f"npz:{tmp_path / stem}.npz", seeds=(3,)))
        assert set(part.problems[0].label_names) == set(names)
        assert part.hidden == PRESETS[stem].hidden
        paper = paper_figures(AmalgamationConfig(data=f"npz:{tmp_path / stem}.npz"), part)
        assert len(paper) == 24
    config = AmalgamationConfig(data=f"npz:{tmp_path / 'scene.npz'}", study="shared", seeds=(0,))
    parts = study_parts(config)
    assert [len(set(a) & set(b)) for a, b in (part.problems[0].label_sets for part in parts)] == [0, 2, 3, 4, 6]
    assert [part.title for part in parts] == ["0% shared", "25% shared", "50% shared", "75% shared", "100% shared"]
    assert [bool(paper_figures(config, part)) for part in parts] == [True, True, True, False, False]
    drawn = study_parts(dataclasses.replace(config, study="main", num_teachers=3))
    assert len(drawn[0].problems[0].label_sets) == 3
    assert not paper_figures(dataclasses.replace(config, study="main", num_teachers=3), drawn[0])


def test_drawn_rows():
    config = AmalgamationConfig(study="teachers", seeds=(0,))
    parts = study_parts(config)
    assert [part.title for part in parts] == [f"{count} teachers" for count in (2, 3, 4, 5)]
    assert [len(part.problems[0].label_sets) for part in parts] == [2, 3, 4, 5]
    assert [len(paper_figures(config, part)) for part in parts] == [0, 24, 24, 24]
    problem = parts[0].problems[0]
    truth = problem.labels[problem.test]
    assert truth.shape == (4000, 8)
    assert set(problem.bayes) == {"Bayes, marginals", "Bayes, joint mode"}
    assert 0.09 < (problem.bayes["Bayes, marginals"] != truth).mean() < 0.13
    assert AmalgamationConfig().errors == ("none", "missing", "spurious")
    assert config.errors == ("none",)


@pytest.mark.parametrize("stem", sorted(PRESETS))
def test_label_numbers_of_real_files(stem):
    file = SHARED / f"{stem}.npz"
    if not file.exists():
        pytest.skip("needs the shared data")
    with np.load(file) as archive:
        names = archive["label_names"].tolist()
    numbers = set()
    for text in PRESETS[stem].label_sets:
        for piece in text.split(","):
            first, _, last = piece.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    assert numbers == set(range(len(names)))


def test_levels_figure():
    generator = np.random.default_rng(0)
    outcomes = [
        Outcome(
            {name: dict.fromkeys(METRICS, generator.random(3)) for name in ("BL", "ANT", "oracle", "all-negative")},
            [], [],
        )
        for _ in range(3)
    ]  # fmt: skip
    figure = levels_figure([0.0, 0.5, 1.0], outcomes, xlabel="share")
    assert [axes.get_title() for axes in figure.axes] == list(METRICS)
    assert [text.get_text() for text in figure.axes[2].get_xticklabels()] == ["0%", "50%", "100%"]


def test_cells(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a/b": np.arange(3), "option": np.array(["x"])}

    cells = Cells(tmp_path / "cells")
    first, second = cells.get("One: two", make), cells.get("One: two", make)
    assert made == [1]
    assert (tmp_path / "cells" / "one_two.npz").exists()
    np.testing.assert_array_equal(first["a/b"], second["a/b"])
    (tmp_path / "cells" / "one_two.npz").write_bytes(b"PK\x03\x04 not")
    with pytest.raises(InputError, match=r"one_two.npz is damaged .*: delete it, and its part is trained again"):
        cells.get("One: two", make)
    tree = {"params": {"cell": {"kernel": np.ones((2, 3))}, "b": np.zeros(1)}}
    flat = flat_params(tree)
    assert set(flat) == {"params/cell/kernel", "params/b"}
    assert tree_params(flat)["params"]["cell"]["kernel"].shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "best"}, r"--study=best: choose one of main, shared, teachers"),
        ({"teacher_error": ("noise",)}, r"--teacher_error=noise: choose from none; missing; spurious"),
        ({"teacher_error": ("none", "none")}, r"--teacher_error=none,none: give each once"),
        ({"methods": ("BL", "TC")}, r"--methods=BL,TC: ANT must be among them"),
        ({"methods": ("ANT", "XX")}, r"--methods=XX: choose from BL; TC"),
        ({"shared": 1.5}, r"--shared=1.5: give a share of the labels from 0 to 1"),
        ({"path_floor": 1.0}, r"--path_floor=1: give a number from 0 to below 1"),
        ({"num_teachers": 1}, r"--num_teachers=1: a study needs two or more"),
        ({"rounds": 0}, r"rounds"),
        ({"learning_rate": ()}, r"--learning_rate is empty"),
        ({"learning_rate": (0.0,)}, r"learning_rate"),
        ({"hidden": (8,)}, r"--hidden=8: give the width of each teacher and, last, of the student"),
        ({"seeds": (1, 1)}, r"--seeds=1,1: give whole numbers from 0 on, each once"),
        ({"teacher_labels": ("a:x",)}, r"--teacher_labels=a:x needs --teachers"),
        ({"labelled": "few.csv"}, r"--labelled=few.csv needs --teachers or --teacher_probs"),
        ({"teachers": ("a.joblib",)}, r"--data=embedded:coupled_labels: give your rows"),
        ({"student": "s", "teachers": ("a",)}, r"--student predicts with a trained student"),
    ],
)
def test_settings_that_cannot_be_run(change, message):
    with pytest.raises(InputError, match=message):
        AmalgamationConfig(**change)


def test_data_that_cannot_be_used(tmp_path):
    def parts(**arrays):
        np.savez(tmp_path / "rows.npz", **arrays)
        return study_parts(AmalgamationConfig(data=f"npz:{tmp_path / 'rows.npz'}"))

    x, y = np.zeros((40, 2)), np.zeros((40, 4), int)
    x[3, 1] = np.nan
    with pytest.raises(InputError, match=r"rows.npz: X\[3, 1\] is nan: fill or leave out the row"):
        parts(X=x, Y=y)
    y[5, 2] = 2
    with pytest.raises(InputError, match=r"rows.npz: Y\[5, 2\] is 2: labels are 0 or 1"):
        parts(X=np.zeros((40, 2)), Y=y)
    with pytest.raises(InputError, match=r"no table Y of numbers; there are X \[40, 2\]"):
        parts(X=np.zeros((40, 2)))
    with pytest.raises(InputError, match=r"X has 40 rows, Y 39"):
        parts(X=np.zeros((40, 2)), Y=np.zeros((39, 4)))
    with pytest.raises(InputError, match=r"label_names must name the 4 columns of Y, each differently"):
        parts(X=np.zeros((40, 2)), Y=np.zeros((40, 4)), label_names=np.array(["a", "a", "b", "c"]))
    with pytest.raises(InputError, match=r"num_rows is 3: too few"):
        parts(X=np.zeros((3, 2)), Y=np.zeros((3, 4)))
    for spec, message in {
        "npz:none.npz": r"--data=npz:none.npz: no readable NumPy archive: .*No such file",
        "folder:x": r"--data=folder:x: give embedded:coupled_labels, npz:FILE or csv:FILE",
        "csv:rows.csv": r"--data=csv:rows.csv: name the columns that are labels, as in --labels=cat,dog",
    }.items():
        with pytest.raises(InputError, match=message):
            study_parts(AmalgamationConfig(data=spec))
    good = {"X": np.zeros((40, 2)), "Y": np.zeros((40, 4))}
    np.savez(tmp_path / "rows.npz", **good)
    with pytest.raises(InputError, match=r"--hidden=4,4: there are 2 teachers and a student: give 3 widths"):
        study_parts(AmalgamationConfig(data=f"npz:{tmp_path / 'rows.npz'}", hidden=(4, 4)))


def test_csv_rows(tmp_path):
    lines = ["x,y,sun,sea,rock", *(f"{k % 7},{k * k % 5},{k % 2},{k % 3 == 0:d},{k % 5 == 0:d}" for k in range(60))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    config = AmalgamationConfig(data=f"csv:{tmp_path / 'rows.csv'}", labels=("sun", "sea", "rock"), seeds=(0,))
    (part,) = study_parts(config)
    assert isinstance(part, Part)
    assert part.problems[0].features.shape == (60, 2)
    assert set(part.problems[0].label_names) == {"sun", "sea", "rock"}
    with pytest.raises(InputError, match=r"row 0, column 'y' holds 0|no column 'wood'"):
        study_parts(dataclasses.replace(config, labels=("sun", "wood")))


def test_transfers_are_counted(study):
    _, parts = study
    for part, outcome in parts.values():
        for p, one in zip(part.problems, outcome.transfers, strict=True):
            assert isinstance(one, Transfers)
            assert one.rows == len(p.transfer)
            assert set(one.sources) == {n for n in NAMES if sum(n in own for own in p.label_sets) > 1}
            for name, sources in one.sources.items():
                # With two teachers every contradiction is one transfer.
                assert sum(sources.values()) == round(one.disagreement[name] * one.rows)


@pytest.mark.slow
def test_training_is_the_same_when_it_goes_on(rows_file, tmp_path):
    """Every method for two epochs; a run whose students were lost trains them again to the same bits."""
    config = tiny(rows_file, methods=AmalgamationConfig().methods, batch_size=(16, 32))
    ((_, first),) = run(config, tmp_path / "run").values()
    assert set(config.methods) <= set(first.scores)
    cells = [path for path in (tmp_path / "run" / "cells").iterdir() if "teachers" not in path.name]
    assert len(cells) == 4
    before = {path: dict(np.load(path)) for path in cells}
    for path in cells:
        path.unlink()
    ((_, again),) = run(config, tmp_path / "run").values()
    for path, old in before.items():
        new = np.load(path)
        assert all(np.array_equal(new[name], old[name]) for name in new.files)
    for name, scores in first.scores.items():
        np.testing.assert_array_equal(scores["Hamming loss"], again.scores[name]["Hamming loss"])


@pytest.mark.slow
def test_shares_of_labels(rows_file, tmp_path):
    config = tiny(rows_file, methods=("BL", "ANT", "oracle"), study="shared")
    parts = run(config, tmp_path / "run")
    assert list(parts) == ["0% shared", "25% shared", "50% shared", "75% shared", "100% shared"]
    for part, outcome in parts.values():
        known = [len(one.sources) for one in outcome.transfers]
        assert known == [round(part.level * 6)] * 2
    assert {file.name for file in (tmp_path / "run" / "figures").iterdir()} == {"levels.png", "transfers.png"}


@pytest.mark.slow
def test_the_command(rows_file, tmp_path):
    command = [
        sys.executable, "-m", "experiments.amalgamation", f"--data=npz:{rows_file}", f"--workdir={tmp_path / 'run'}",
        "--seeds=0,1", "--teacher_epochs=1", "--student_epochs=1", "--batch_size=16,32", "--learning_rate=1e-3",
        "--hidden=4,4,4", "--methods=BL,TC,ANT", "--teacher_error=missing",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "ANT less each method, seed by seed, missing positives" in done.stdout
    again = subprocess.run([*command, "--hidden=4,x,4"], capture_output=True, text=True, check=False, timeout=400)
    assert again.returncode == 2
    assert again.stderr.startswith("error: --hidden=4,x,4: give whole numbers separated by commas")
