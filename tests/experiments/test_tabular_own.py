"""`experiments.tabular` on a user's rows: the plan, the model it leaves, predictions later, what is refused."""

import json
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import tabular_own_report, tabular_plan, tabular_pretraining, tabular_study
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import load_data
from experiments.tabular_model import load_model, model_of, predict_new, save_model
from experiments.tabular_own import run_own
from experiments.tabular_plan import plan_rows
from jlabel import InputError
from jlabel.data.profiles import profiles
from jlabel.tabular import (
    NetworkOutputs,
    NeuralFit,
    TabTransformer,
    TunedFit,
    encode,
    fit_encoder,
    init_network,
    make_problem,
)
from tests.experiments.untrained_tables import pretrained, tuned

INPUTS = ["category_1", "category_4", "number_0"]


@pytest.fixture(autouse=True, scope="module")
def _untrained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular_study, "fit_tuned", tuned)
        patch.setattr(tabular_pretraining, "pretrain", pretrained)
        patch.setattr(tabular_own_report, "importance_figure", lambda _: Figure())
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """rows.csv, of whose 160 rows 60 have a target; full.csv, where all have one."""
    folder = tmp_path_factory.mktemp("own")
    drawn = profiles(rows=160)
    frame = drawn.frame[INPUTS].assign(
        churn=np.where(drawn.target == 1, "yes", "no"), who=[f"c{k}" for k in range(160)]
    )
    frame.to_csv(folder / "full.csv", index=False)
    frame.loc[60:, "churn"] = None
    frame.to_csv(folder / "rows.csv", index=False)
    return folder


def own(world, file="rows.csv", **changes):
    options = {
        "data": f"csv:{world / file}", "study": "own", "target": "churn", "id_column": "who", "labelled": (),
        "methods": ("logistic", "mlm", "mlp"), "seeds": (0,),
    }  # fmt: skip
    return TabularConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def finished(world):
    return run_own(own(world), world / "run")


def test_few_labelled_rows_are_cross_validated(world):
    data = load_data(own(world))
    plan = plan_rows(data, own(world))
    np.testing.assert_array_equal(plan.labelled, np.arange(60))
    np.testing.assert_array_equal(plan.unlabelled, np.arange(60, 160))
    assert not len(plan.held)
    np.testing.assert_array_equal(np.sort(np.concatenate(plan.test)), np.arange(60))
    for train, val, test in zip(plan.train, plan.val, plan.test, strict=True):
        rows = np.concatenate([train, val, test])
        assert len(np.unique(rows)) == len(rows) >= 59
        assert set(data.target[val]) == set(data.target[test]) == {0, 1}


def test_with_labelled_a_fifth_is_kept(world):
    config = own(world, "full.csv", labelled=(50,))
    plan = plan_rows(load_data(config), config)
    assert (len(plan.labelled), len(plan.held), len(plan.unlabelled)) == (50, 32, 78)
    assert all(np.array_equal(test, plan.held) for test in plan.test)
    assert len(np.unique(np.concatenate([*plan[:3]]))) == 160
    np.testing.assert_array_equal(np.sort(np.concatenate(plan.val)), plan.labelled)


def test_the_drawn_rows_hold_each_class_in_its_share(world):
    for count in (20, 127, 128):
        config = own(world, "full.csv", labelled=(count,))
        data = load_data(config)
        plan = plan_rows(data, config)
        rest = np.setdiff1d(np.arange(160), plan.held)
        assert abs(data.target[plan.labelled].sum() - count * data.target[rest].mean()) <= 1
        assert len(plan.labelled) == count


def test_many_labelled_rows_are_split_once(world, monkeypatch):
    monkeypatch.setattr(tabular_plan, "MANY", 40)
    plan = plan_rows(load_data(own(world)), own(world))
    assert (len(plan.train[0]), len(plan.val[0]), len(plan.test[0])) == (41, 7, 12)
    config = own(world, "full.csv", labelled=(50,))
    plan = plan_rows(load_data(config), config)
    np.testing.assert_array_equal(plan.test[0], plan.held)
    assert (len(plan.train[0]), len(plan.val[0])) == (42, 8)


@pytest.mark.parametrize(
    ("file", "labelled", "message"),
    [
        ("rows.csv", 61, "--labelled=61: only 60 rows have a churn"),
        ("rows.csv", 55, "--labelled=55: of 60 rows with a churn a fifth is kept for the test; give at most 48"),
        ("full.csv", 3, "class '(yes|no)' has 1 labelled rows of 3; at least 4"),
    ],
)
def test_too_few_rows(world, file, labelled, message):
    config = own(world, file, labelled=(labelled,))
    with pytest.raises(InputError, match=message):
        plan_rows(load_data(config), config)


def test_what_a_run_leaves(finished, world):
    folder = world / "run"
    assert finished.method == "logistic"
    said = pd.read_csv(folder / "predictions.csv")
    assert list(said) == ["who", "churn", "prob_no", "prob_yes"]
    assert said["who"].tolist() == [f"c{k}" for k in range(60, 160)]
    np.testing.assert_allclose(said["prob_no"] + said["prob_yes"], 1, atol=2e-6)
    np.testing.assert_array_equal(said["churn"] == "yes", said["prob_yes"] > 0.5)
    found = json.loads((folder / "results.json").read_text())
    assert {(row["method"], row["split"]) for row in found["rows"]} == {
        (name, split) for name in ("logistic", "mlm", "mlp") for split in ("held-out rows", "validation rows")
    }
    page = (folder / "report.html").read_text()
    assert all(name in page for name in (*INPUTS, "What the model relied on", "Kept: logistic"))
    assert {file.name for file in (folder / "cells").iterdir()} == {
        "comparison_logistic.npz", "comparison_mlm.npz", "comparison_mlp.npz", "importance_logistic.npz",
        "pretraining_mlm_own.npz",
    }  # fmt: skip
    with np.load(folder / "cells" / "pretraining_mlm_own.npz") as kept:
        assert kept["params/params/rows"] == 160


def test_new_rows(finished, world, tmp_path):
    model = f"{world / 'run' / 'model.safetensors'}"
    new = pd.read_csv(world / "full.csv").sample(frac=1, random_state=0)
    new.to_csv(tmp_path / "new.csv", index=False)
    config = own(world, methods=("mlp",), model=model, data=f"csv:{tmp_path / 'new.csv'}")
    found = predict_new(config, tmp_path).set_index("who")
    before = pd.read_csv(world / "run" / "predictions.csv").set_index("who")
    np.testing.assert_allclose(found.loc[before.index, "prob_yes"], before["prob_yes"], atol=1e-6)
    new.drop(columns="number_0").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(InputError, match=r"no column 'number_0', which .*model.safetensors learned from"):
        predict_new(config, tmp_path)
    (tmp_path / "bad").write_bytes(b"no model")
    with pytest.raises(InputError, match="--model=.*bad: no model of this study"):
        load_model(tmp_path / "bad")


def test_a_kept_network_predicts_to_the_same_bits(world, tmp_path):
    data = load_data(own(world))
    encoder = fit_encoder(data.frame, data.columns)
    table = encode(encoder, data.frame)
    problem = make_problem(table, data.target, cardinalities=encoder.cardinalities, labelled=np.arange(50)[None])
    network = TabTransformer(encoder.cardinalities, encoder.num_values, 2, 4, num_layers=0, num_heads=1)
    params = jax.tree.map(lambda x: np.asarray(x)[None], init_network(network, jax.random.key(0)))
    fit = TunedFit(
        (NeuralFit(NetworkOutputs(network), params, True, np.zeros(1), np.zeros((1, 1))),), ({},), np.zeros(1, int),
        np.zeros((1, 1)), True,
    )  # fmt: skip
    model = model_of("mlp", fit, problem, encoder, target="churn", class_names=data.class_names)
    save_model(tmp_path / "model.safetensors", model)
    again = load_model(tmp_path / "model.safetensors")
    assert (again.method, again.target, again.class_names) == ("mlp", "churn", ("no", "yes"))
    np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    np.testing.assert_allclose(model.predict_proba(table), fit.predict_proba(table)[0], atol=1e-6)


@pytest.mark.slow
def test_the_road_of_a_user(world, tmp_path):
    small = ["--embedding_size=8", "--num_heads=2", "--num_layers=1", "--steps=4", "--pretraining_steps=4"]

    def call(*texts):
        command = [sys.executable, "-m", "experiments.tabular", f"--workdir={tmp_path}", *texts]
        return subprocess.run(command, capture_output=True, text=True)

    wrong = call(f"--data=csv:{world / 'full.csv'}", "--target=age", *small)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --target=age: ")
    done = call(
        f"--data=csv:{world / 'full.csv'}",
        "--target=churn",
        "--id_column=who",
        "--labelled=40",
        "--methods=rtd",
        *small,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before = pd.read_csv(tmp_path / "predictions.csv").set_index("who")
    assert len(before) == 120
    later = call(f"--data=csv:{world / 'full.csv'}", f"--model={tmp_path / 'model.safetensors'}", "--id_column=who")
    assert (later.returncode, later.stderr) == (0, "")
    after = pd.read_csv(tmp_path / "predictions.csv").set_index("who")
    np.testing.assert_allclose(after.loc[before.index, "prob_yes"], before["prob_yes"], atol=2e-6)
    assert "attention" in (tmp_path / "report.html").read_text()
