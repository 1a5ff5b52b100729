"""Label models side by side: on drawn data, on archives, on the real votes, and bad settings."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.label_model_fits import row_scores
from experiments.label_models import LabelModelsConfig, run
from experiments.weasul_data import load_study
from jlabel import InputError
from jlabel.weak_supervision import choose_model, majority_vote, predict_probs
from tests.experiments.test_active_weasul import archive

VOTES = Path(__file__).parents[2].parent / "shared" / "data" / "votes"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("models") / "run"
    config = LabelModelsConfig(seeds=(0, 1), strengths=("0", "1"), end_models=False)
    return {row[:2]: row for row in run(config, workdir)}, workdir


def test_the_ceiling_and_who_reaches_it(embedded):
    rows, _ = embedded
    accuracy = {method: row.mean for (method, metric), row in rows.items() if metric == "accuracy"}
    for method in ("latent class, chosen", "matrix completion"):
        assert abs(accuracy[method] - accuracy["bucket oracle"]) < 0.005
    for method in ("majority vote", "latent class, no groups"):
        assert abs(accuracy[method] - 0.9012) < 0.015
    assert accuracy["trivial class"] < 0.55
    assert rows["majority vote", "NLL"].mean > rows["matrix completion", "NLL"].mean > rows["bucket oracle", "NLL"].mean
    assert rows["bucket oracle", "calibration error"].mean < 0.02


def test_files(embedded):
    rows, workdir = embedded
    document = json.loads((workdir / "results.json").read_text())
    assert {row["split"] for row in document["rows"]} == {"two Gaussians"}
    assert all(len(row["runs"]) == 2 for row in document["rows"])
    assert {path.name for path in (workdir / "figures").glob("*.png")} == {
        "two_Gaussians_models.png", "two_Gaussians_reliability.png",
    }  # fmt: skip
    page = (workdir / "report.html").read_text()
    assert "only 2 groups of rules vary: the votes alone do not determine the class probabilities" in page
    assert "Latent class on validation rows" in page


@pytest.mark.slow
def test_several_archives_of_several_classes(tmp_path):
    two, three = archive(tmp_path / "two.npz"), archive(tmp_path / "three.npz", classes=3)
    config = LabelModelsConfig(data=(two, three), strengths=("1",))
    rows = {row[:3]: row for row in run(config, tmp_path / "run")}
    assert {split for _, _, split in rows} == {"two", "three"}
    assert ("factor graph", "accuracy", "two") in rows
    assert ("factor graph", "accuracy", "three") not in rows
    found = rows["latent class, chosen", "accuracy", "three"]
    assert found.ci95[0] < found.mean < found.ci95[1]  # over test rows
    assert found.mean > rows["trivial class", "accuracy", "three"].mean + 0.2
    assert rows["end model on latent class", "accuracy", "two"].mean > 0.7


@pytest.mark.skipif(not VOTES.exists(), reason="no shared data")
@pytest.mark.parametrize(
    ("name", "target", "majority"),
    [("lf_youtube", 0.855, 0.8160), ("lf_trec", 0.635, 0.6110), ("lf_hausa", 0.485, 0.4731)],
)
def test_real_votes_reach_their_target(name, target, majority):
    study = load_study(f"npz:{VOTES / name}.npz")
    test = study.parts["test"]
    val = study.parts["val"]
    chosen = choose_model(
        study.parts["train"].votes, val.votes, val.labels, num_classes=study.num_classes,
        strengths=(0.1, 1, 20, 100), key=jax.random.key(0),
    )  # fmt: skip
    assert len(chosen.tried) == 12
    assert row_scores(predict_probs(chosen.model, test.votes), test.labels)["accuracy"].mean() > target
    votes = majority_vote(test.votes, num_classes=study.num_classes)
    assert abs(row_scores(votes, test.labels)["accuracy"].mean() - majority) < 5e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ()}, "--data=: give one or more datasets, each once"),
        ({"data": ("a", "a")}, "--data=a,a: give one or more datasets, each once"),
        ({"seeds": (-1,)}, "--seeds=-1: give whole numbers from 0 on, each once"),
        ({"strengths": ()}, "--strengths is empty"),
        ({"strengths": ("strong",)}, "--strengths=strong: give numbers separated by commas"),
        ({"strengths": ("-1",)}, "--strengths=-1: strengths are 0 or more"),
        ({"cliques": ("a",)}, "--cliques=a: write rules by number"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        LabelModelsConfig(**change)


def test_a_bad_file_is_told_before_anything_is_written(tmp_path):
    good = archive(tmp_path / "good.npz")
    with pytest.raises(InputError, match="no readable NumPy archive"):
        run(LabelModelsConfig(data=(good, f"npz:{tmp_path / 'none.npz'}")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not np.any(list(tmp_path.glob("*.json")))
