"""`experiments.tabular`: a whole study, one that goes on where it was stopped, and every method's settings."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from experiments import tabular_pretraining, tabular_study, tabular_tables
from experiments.cells import Cells
from experiments.tabular import run
from experiments.tabular_config import METHODS, TabularConfig
from experiments.tabular_data import cut, load_data
from experiments.tabular_paper import TABLE_1, paper_figures, paper_text
from experiments.tabular_pretraining import pretrained_of
from experiments.tabular_study import area, fit_method, rows_of, run_cells
from jlabel import InputError
from jlabel.tabular import fit_encoder, value_knots
from tests.experiments.untrained_tables import pretrained, tuned

DATA = "embedded:profiles?seed=1&rows=300"
NAMES = ("prior", "oracle", "logistic", "mlp", "mlp_dae", "mlm", "mlm_er", "rtd")


def tiny(**changes):
    options = {"data": DATA, "methods": NAMES, "labelled": (20, 60), "splits": (0, 3), "seeds": (0, 1)}
    return TabularConfig(**{**options, **changes})


@pytest.fixture(autouse=True, scope="module")
def _untrained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular_study, "fit_tuned", tuned)
        patch.setattr(tabular_study, "pretrain_denoising", lambda *_, **__: {"params": np.ones(1)})
        patch.setattr(tabular_pretraining, "pretrain", pretrained)
        for name in ("comparison_figure", "lines_figure"):
            patch.setattr(tabular_tables, name, lambda *_, **__: _figure())
        yield


def _figure():
    figure = Figure()
    figure.subplots()
    return figure


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study, and its folder."""
    folder = tmp_path_factory.mktemp("study")
    return folder, run(tiny(), folder)


def test_study(study):
    folder, outcome = study
    found = json.loads((folder / "results.json").read_text())
    rows = {(row["method"], row["metric"]): row for row in found["rows"]}
    data = load_data(tiny())
    for count in (20, 60):
        truth = [roc_auc_score(data.target[test], data.truth[test, 1]) for test in (cut(data, k).test for k in (0, 3))]
        np.testing.assert_allclose(rows["oracle", f"AUC, {count} labels"]["runs"], np.repeat(truth, 2))
        assert rows["prior", f"AUC, {count} labels"]["runs"] == [0.5] * 4
        mlm, mlp = (np.array(rows[name, f"AUC, {count} labels"]["runs"]) for name in ("mlm", "mlp"))
        np.testing.assert_allclose(rows["mlp", f"mlm less this, {count} labels"]["runs"], mlm - mlp, atol=1e-12)
        assert ("mlm", f"rtd less this, {count} labels") in rows
    assert list(dict.fromkeys(row.method for row in outcome.tables[0][1])) == list(NAMES)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(NAMES) * 2 * 2 * 2
    one = next(
        line for line in lines if (line["method"], line["labelled"], line["split"], line["seed"]) == ("mlp", 60, 3, 1)
    )
    assert one["test_auc"] == rows["mlp", "AUC, 60 labels"]["runs"][3]
    assert one["settings"] == {}
    assert {file.name for file in (folder / "figures").iterdir()} == {"comparison.png", "labels.png"}
    assert "What was found" in (folder / "report.html").read_text()
    assert "20 labels: mlm 0." in outcome.text[0]
    assert "0 draws held one class only" in outcome.text[1]


def test_a_stopped_study_goes_on_to_the_same_numbers(study, monkeypatch):
    folder, outcome = study
    kept = folder / "cells" / "split_3_60_labels_seeds_0_1_mlm.npz"
    before = dict(np.load(kept))
    kept.unlink()
    fitted = []
    monkeypatch.setattr(
        tabular_study, "fit_tuned", lambda name, *args, **named: fitted.append(name) or tuned(name, *args, **named)
    )
    monkeypatch.setattr(tabular_pretraining, "pretrain", lambda *_, **__: pytest.fail("is there already"))
    found, redraws = run_cells(tiny(), load_data(tiny()), Cells(folder / "cells"), lambda _: None)
    assert fitted == ["tabtransformer"]
    assert redraws == 0
    after = np.load(kept)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    runs = {(row.method, row.metric): row.runs for row in outcome.rows}
    for (name, count), one in found.items():
        assert runs[name, f"AUC, {count} labels"] == tuple(one.test)
    with pytest.raises(InputError, match=r"holds another config \(steps: was 300, now 301\)"):
        run(tiny(steps=301), folder)


def test_a_pretraining_sees_the_training_rows_and_is_read_back_whole(study, tmp_path):
    data = load_data(tiny())
    first, again = (pretrained_of(tiny(), data, 3, "mlm", Cells(tmp_path)) for _ in range(2))
    assert first.params["params"]["rows"] == again.params["params"]["rows"] == len(cut(data, 3).train)
    assert first.network == again.network
    assert first.encoder.cardinalities == again.encoder.cardinalities
    assert (tmp_path / "pretraining_mlm_split_3.npz").exists()


def test_seeds_one_by_one_give_the_same(study, tmp_path):
    _, outcome = study
    config = tiny(side_by_side=1, methods=("logistic", "mlm"), labelled=(20,))
    found, _ = run_cells(config, load_data(config), Cells(tmp_path), lambda _: None)
    runs = next(row.runs for row in outcome.rows if (row.method, row.metric) == ("mlm", "AUC, 20 labels"))
    np.testing.assert_allclose(found["mlm", 20].test, runs)
    assert len(list(tmp_path.iterdir())) == 2 * (1 + 2 * 2)


def test_all_labels(tmp_path):
    config = tiny(study="supervised", labelled=(), methods=("logistic", "mlp", "tabtransformer"), seeds=(0,))
    outcome = run(config, tmp_path)
    assert {row.metric for row in outcome.rows} == {"AUC, all labels", "tabtransformer less this, all labels"}
    assert "drawn" not in outcome.text[1]


def test_every_method_is_given_its_settings(monkeypatch):
    given = {}
    monkeypatch.setattr(tabular_study, "fit_tuned", lambda name, _, **settings: given.setdefault(name, settings))
    config = tiny(methods=METHODS, max_hidden=9, tuning_rounds=3, steps=60)
    for name in METHODS:
        if name != "oracle":
            fit_method(
                name, None, config, encoder=None, key=jax.random.key(0),
                pretrained="mine" if name[:3] in ("mlm", "rtd") else None,
            )  # fmt: skip
    assert all(settings["rounds"] == 3 for settings in given.values())
    assert set(given["gbdt_pl"]) == {"rounds", "key"}
    assert given["vib"]["max_hidden"] == 9
    assert given["mlp"]["evaluate_every"] == 2
    assert "dropout" not in given["tabtransformer_er"]  # which tuning draws
    assert "pretrained" not in given["tabtransformer"]
    given.clear()
    fit_method("rtd_pl", None, config, encoder=None, key=jax.random.key(0), pretrained="mine")
    assert given["tabtransformer_pl"]["pretrained"] == "mine"


def test_numbers_as_tokens(monkeypatch):
    given = {}
    monkeypatch.setattr(tabular_study, "fit_tuned", lambda name, _, **settings: given.setdefault(name, settings))
    data = load_data(tiny())
    encoder = fit_encoder(data.frame, data.columns)
    for name in ("tabtransformer", "mlm_er", "mlp"):
        fit_method(name, None, tiny(bins=3), encoder=encoder, key=jax.random.key(0), pretrained="mine")
    np.testing.assert_array_equal(given["tabtransformer"]["knots"], value_knots(encoder, 3))
    assert not any("knots" in given[name] for name in ("tabtransformer_er", "mlp"))  # a pre-training has its own
    plain = data._replace(truth=None, columns=data.columns._replace(categorical=()))
    assert rows_of(tiny(methods=("mlp", "tabtransformer", "mlm"), bins=3), plain) == ("mlp", "tabtransformer")
    with pytest.raises(InputError, match="--bins=-1: give 1 or more to make tokens of the numbers"):
        tiny(bins=-1)


def test_rows_that_a_table_does_not_allow():
    data = load_data(tiny())
    assert rows_of(tiny(methods=METHODS), data) == METHODS
    plain = data._replace(truth=None, columns=data.columns._replace(categorical=()))
    assert rows_of(tiny(methods=METHODS), plain) == (
        "prior", "logistic", "gbdt", "gbdt_pl", "mlp", "mlp_er", "mlp_pl", "mlp_dae", "sparse_mlp", "vib", "tabnet",
    )  # fmt: skip


def test_area():
    scores, labels = np.array([0.1, 0.6, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert area(np.stack([1 - scores, scores], 1), labels) == 0.75  # of thresholded classes .5
    probs = np.eye(3)[[0, 1, 2, 0]]
    assert area(probs, np.array([0, 1, 2, 0])) == 1


def test_figures_of_the_paper():
    data = load_data(tiny())._replace(name="blastchar", truth=None)
    whole = tiny(study="supervised", methods=("mlp",))
    assert paper_figures(whole, data, "AUC") == {("mlp", "AUC"): 0.839, ("tabtransformer", "AUC"): 0.835}
    assert "adult" not in TABLE_1
    assert not paper_figures(whole, data._replace(name="adult"), "AUC")
    assert not paper_figures(tiny(), data, "AUC")
    assert "9 tables of fewer than 30,000 rows" in paper_text(tiny(), data)
    assert not paper_text(whole, data)


@pytest.mark.slow
def test_the_binary(tmp_path):
    command = [
        sys.executable, "-m", "experiments.tabular", "--data=embedded:profiles?rows=300", f"--workdir={tmp_path}",
        "--methods=all", "--labelled=30", "--seeds=0,1", "--steps=4", "--pretraining_steps=4", "--embedding_size=8",
        "--num_heads=2", "--num_layers=1", "--max_hidden=16", "--batch_size=16",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert {row["method"] for row in found["rows"]} == set(METHODS)
    wrong = subprocess.run([*command, "--labelled=1"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "error: --labelled=1: give 2 or more\n")
