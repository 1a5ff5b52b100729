"""`experiments.amalgamation` on a user's teachers: the student it leaves, predictions later, what is refused."""

import json
import shutil
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from experiments.amalgamation_config import AmalgamationConfig
from experiments.amalgamation_own import predict_new, run_own
from experiments.amalgamation_student import load_student
from jlabel import InputError
from tests.experiments.untrained_chains import untrained_one

EAST, WEST = ("car", "tree"), ("tree", "road")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """rows.csv, two models and their predictions as files; west hardly ever sees a tree."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(generator.standard_normal((60, 3)), columns=["x", "y", "z"])
    truth = pd.DataFrame({"car": rows["x"] > 0, "tree": rows["y"] > 0, "road": rows["z"] > 0}).astype(int)
    west = truth[list(WEST)].copy()
    west.loc[generator.random(60) < 0.7, "tree"] = 0
    models = {"east": (truth[list(EAST)], EAST), "west": (west, WEST)}
    for name, (labels, names) in models.items():
        model = OneVsRestClassifier(LogisticRegression()).fit(rows, labels)
        joblib.dump(model, folder / f"{name}.joblib")
        pd.DataFrame(model.predict_proba(rows), columns=list(names)).to_csv(folder / f"{name}.csv", index=False)
    rows.to_csv(folder / "rows.csv", index=False)
    ids = [f"r{k}" for k in range(60)]
    rows.assign(id=ids).to_csv(folder / "named.csv", index=False)
    for name in models:
        table = pd.read_csv(folder / f"{name}.csv").assign(id=ids)
        table.iloc[::-1].to_csv(folder / f"{name}_named.csv", index=False)
    truth[["tree"]].assign(id=ids).iloc[5:15].to_csv(folder / "few.csv", index=False)
    return folder


def own(world, **changes):
    options = {
        "data": f"csv:{world / 'rows.csv'}", "teacher_probs": (str(world / "east.csv"), str(world / "west.csv")),
        "student_epochs": 2, "batch_size": (16,), "hidden": (4,), "trust": "positive",
    }  # fmt: skip
    return AmalgamationConfig(**{**options, **changes})


@pytest.fixture(autouse=True, scope="module")
def _untrained():
    with pytest.MonkeyPatch.context() as patch:
        # The package's attribute of this name is the function, not its module.
        patch.setattr(sys.modules["jlabel.amalgamation.amalgamate"], "fit_chain", untrained_one)
        yield


@pytest.fixture(scope="module")
def finished(world):
    return run_own(own(world), world / "run")


def test_student_of_prediction_files(finished, world):
    folder = world / "run"
    table = pd.read_csv(folder / "predictions.csv")
    assert list(table) == ["row", "labels", "car", "tree", "road"]
    assert table["row"].tolist() == list(range(60))
    probs = table[["car", "tree", "road"]].to_numpy()
    for said, row in zip(table["labels"].fillna(""), probs, strict=True):
        wanted = [name for name, p in zip(("car", "tree", "road"), row, strict=True) if p > 0.5]
        assert said == " | ".join(wanted)
    told = pd.read_csv(folder / "disagreement.csv")
    assert told[["label", "source", "target"]].to_numpy().tolist() == [
        ["tree", "east", "west"], ["tree", "west", "east"],
    ]  # fmt: skip
    east, west = (pd.read_csv(world / f"{name}.csv")["tree"] > 0.5 for name in ("east", "west"))
    assert told["told"].tolist() == [int((east & ~west).sum()), int((west & ~east).sum())]
    report = (folder / "report.html").read_text()
    assert "Who told whom" in report
    assert "Rows in sharpest dispute" in report
    assert (folder / "figures" / "disputes.png").exists()


def test_student_predicts_later(finished, world, tmp_path):
    """Columns in another order, among others; the same numbers as before, without pickle."""
    rows = pd.read_csv(world / "rows.csv")
    rows.assign(other="text").loc[::-1, ["other", "z", "y", "x"]].to_csv(tmp_path / "new.csv", index=False)
    config = AmalgamationConfig(student=str(world / "run" / "student"), data=f"csv:{tmp_path / 'new.csv'}")
    probs = predict_new(config, tmp_path / "later")
    before = pd.read_csv(world / "run" / "predictions.csv")[["car", "tree", "road"]].to_numpy()
    np.testing.assert_allclose(probs.to_numpy()[::-1], before, atol=2e-6)
    assert (tmp_path / "later" / "predictions.csv").exists()
    assert {path.name for path in (world / "run" / "student").iterdir()} == {"model.json", "params.safetensors"}


def test_rows_with_names_and_labelled_rows(world, tmp_path):
    config = own(
        world, data=f"csv:{world / 'named.csv'}", id_column="id", labelled=str(world / "few.csv"), trust="earned",
        teacher_probs=tuple(f"{name}={world / f'{name}_named.csv'}" for name in ("east", "west")),
    )  # fmt: skip
    found = run_own(config, tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert table["id"].tolist() == [f"r{k}" for k in range(60)]
    # The files' rows stand in reverse order: they were put in order by name.
    east = pd.read_csv(world / "east.csv")["car"]
    np.testing.assert_allclose(found.targets["car"], east, atol=1e-3)
    assert found.trust is not None
    assert found.trust.num_labelled.tolist() == [10]
    weights = found.trust.table().set_index("teacher")["weight"]
    assert weights["east"] > weights["west"]


def test_student_of_pickled_models(world, tmp_path):
    config = own(
        world, teacher_probs=(), teachers=(str(world / "east.joblib"), f"west={world / 'west.joblib'}"),
        teacher_labels=("east:car|tree", "west:tree|road"),
    )  # fmt: skip
    found = run_own(config, tmp_path / "run")
    np.testing.assert_allclose(found.targets["road"], pd.read_csv(world / "west.csv")["road"], atol=1e-3)


def test_student_that_is_damaged(finished, world, tmp_path):
    copy = tmp_path / "student"

    def fresh():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(world / "run" / "student", copy)
        return json.loads((copy / "model.json").read_text()), load_file(copy / "params.safetensors")

    _, arrays = fresh()
    save_file({k: v for k, v in arrays.items() if k != "scale"}, copy / "params.safetensors")
    with pytest.raises(InputError, match=r"--student=.*student: no student that can be read \(.*no scale of shape"):
        load_student(copy)
    document, _ = fresh()
    (copy / "model.json").write_text(json.dumps({**document, "hidden": 5}))
    with pytest.raises(InputError, match=r"no student that can be read \(params.safetensors has no params/"):
        load_student(copy)
    (copy / "model.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(InputError, match=r"model.json is of another kind"):
        load_student(copy)
    with pytest.raises(InputError, match=r"--student=.*none: no student that can be read \(.*No such file"):
        load_student(tmp_path / "none")
    pd.DataFrame({"x": [1], "y": [2]}).to_csv(tmp_path / "new.csv", index=False)
    config = AmalgamationConfig(student=str(world / "run" / "student"), data=f"csv:{tmp_path / 'new.csv'}")
    with pytest.raises(InputError, match=r"new.csv: no column 'z'; there are x, y"):
        predict_new(config, tmp_path / "later")


def test_files_that_do_not_fit(world, tmp_path):
    east = pd.read_csv(world / "east.csv")

    def refused(message, *, table=None, **changes):
        if table is not None:
            table.to_csv(tmp_path / "bad.csv", index=False)
            changes["teacher_probs"] = (str(world / "west.csv"), str(tmp_path / "bad.csv"))
        with pytest.raises(InputError, match=message):
            run_own(own(world, **changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    bad = east.copy()
    bad.loc[3, "tree"] = 1.5
    empty = east.copy()
    empty.loc[2, "car"] = np.nan
    refused(r"bad.csv: row 3, label 'tree' has 1.5; probabilities lie in \[0, 1\]", table=bad)
    refused(r"bad.csv: row 2, column 'car' holds '', not a finite number", table=empty)
    refused(r"bad.csv: 59 rows, --data has 60: give the same rows in the same order", table=east.iloc[1:])
    refused(r"two teachers are called 'east'", teacher_probs=(str(world / "east.csv"),) * 2)
    refused(r"--teacher_probs=none.csv: no readable table: No such file", teacher_probs=("none.csv",))
    (tmp_path / "twice.csv").write_text("tree,tree\n0.5,0.5\n")
    refused(r"twice.csv: two columns are called 'tree'", teacher_probs=(str(tmp_path / "twice.csv"),))
    (tmp_path / "empty.csv").write_text("x,y\n")
    refused(r"--data=.*empty.csv: the table has no rows", data=f"csv:{tmp_path / 'empty.csv'}")
    (tmp_path / "text.csv").write_text("x,y\n1,2\n1,red\n")
    refused(r"text.csv: row 1, column 'y' holds 'red', not a finite number", data=f"csv:{tmp_path / 'text.csv'}")
    refused(r"--data=npz:x.npz: your own rows are read as csv:FILE", data="npz:x.npz")
    refused(r"no column 'id', which names the rows; see --id_column", id_column="id")
    named = {"data": f"csv:{world / 'named.csv'}", "id_column": "id"}
    refused(r"east.csv: no column 'id'", **named)
    table = pd.read_csv(world / "east_named.csv")
    table.iloc[1:].to_csv(tmp_path / "less.csv", index=False)
    refused(
        r"less.csv: no row 'r59' \(1 of 60 rows are missing\)", teacher_probs=(str(tmp_path / "less.csv"),), **named
    )
    table.assign(id="a").to_csv(tmp_path / "same.csv", index=False)
    refused(r"'a' stands twice in column 'id'", teacher_probs=(str(tmp_path / "same.csv"),), **named)
    models = {"teacher_probs": (), "teachers": (str(world / "east.joblib"),)}
    refused(r"--teachers=.*east.joblib: .*name them by --teacher_labels=east:x\|y\|z", **models)
    refused(
        r"--teacher_labels=north: no teacher of this name; there are east",
        **models,
        teacher_labels=("east:car|tree", "north:a|b"),
    )
    refused(r"--teacher_labels=car: write NAME:x\|y\|z", **models, teacher_labels=("car",))
    refused(r"--teachers=none.joblib: No such file", teacher_probs=(), teachers=("none.joblib",))
    (tmp_path / "junk.joblib").write_bytes(b"junk")
    refused(r"junk.joblib: no model that joblib can load", teacher_probs=(), teachers=(str(tmp_path / "junk.joblib"),))
    pd.DataFrame({"row": [1, 99], "tree": [0, 1]}).to_csv(tmp_path / "few.csv", index=False)
    refused(r"--labelled=.*few.csv: --data has no row 99", labelled=str(tmp_path / "few.csv"))
    pd.DataFrame({"row": [1], "tree": [0.5]}).to_csv(tmp_path / "few.csv", index=False)
    refused(r"few.csv: row 0, column 'tree' holds 0.5: labels are 0 or 1", labelled=str(tmp_path / "few.csv"))
    pd.DataFrame({"row": [1], "sky": [1]}).to_csv(tmp_path / "few.csv", index=False)
    refused(r"few.csv: no column is called like a label of the teachers", labelled=str(tmp_path / "few.csv"))


@pytest.mark.slow
def test_the_command(world, tmp_path):
    command = [
        sys.executable, "-m", "experiments.amalgamation", f"--data=csv:{world / 'rows.csv'}",
        f"--teachers=east={world / 'east.joblib'},{world / 'west.joblib'}", f"--workdir={tmp_path / 'run'}",
        "--teacher_labels=east:car|tree,west:tree|road", "--student_epochs=2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "Who told whom:" in done.stdout
    later = subprocess.run(
        [*command[:4], f"--student={tmp_path / 'run' / 'student'}", f"--workdir={tmp_path / 'later'}"],
        capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    assert len(pd.read_csv(tmp_path / "later" / "predictions.csv")) == 60
    wrong = subprocess.run(
        [*command[:4], "--teacher_probs=none.csv"], capture_output=True, text=True, check=False, timeout=400
    )
    assert wrong.returncode == 2
    assert wrong.stderr == "error: --teacher_probs=none.csv: no readable table: No such file or directory\n"
