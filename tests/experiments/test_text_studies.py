"""Whole studies of texts, what they leave behind, and prediction of texts with it."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.common import user_errors
from experiments.fusion_model import load_model
from experiments.predict import PredictConfig, predict
from jlabel import InputError
from jlabel.evaluation import multilabel_f1
from tests.experiments.worlds import CATEGORIES

ROOT = Path(__file__).parents[2]
STUDIES = ["lstm_study", "frozen_study", "tuned_study", "several_study"]


def scores(study):
    """Means of results.json by method and metric."""
    document = json.loads((study.run / "results.json").read_text())
    return {(row["method"], row["metric"]): row["mean"] for row in document["rows"]}


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path, texts):
    """A CSV of texts without labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "text"])
        writer.writerows([f"row{i}", text] for i, text in enumerate(texts))
    return f"csv:{path}?label="


# --- the study


@pytest.mark.parametrize("name", STUDIES)
def test_results_and_report(name, request):
    study = request.getfixturevalue(name)
    found = scores(study)
    assert all(0 <= value <= 1 for value in found.values())
    several = name == "several_study"
    for method in study.results:
        metrics = {metric for owner, metric in found if owner == method}
        assert metrics == {
            "accuracy", "macro F1", "hierarchical F1", "coarse accuracy", "calibration error",
            "micro F1" if several else "balanced accuracy",
        }  # fmt: skip
    page = (study.run / "report.html").read_text()
    for text in ("macro F1", "predicted path", "hierarchical F1"):
        assert text in page
    assert {"config.json", "metrics.jsonl", "results.json", "figures", "model"} <= {p.name for p in study.run.iterdir()}


def test_rows_of_one_label_are_scored_as_in_the_table(lstm_study):
    """Macro F1, and F1 of the nodes on the way, by hand from the decoded categories."""
    decoded, truth = lstm_study.results["graph fused"][0].decoded, lstm_study.data.test.fine
    each = []
    for c in range(4):
        hits = ((decoded == c) & (truth == c)).sum()
        each.append(2 * hits / ((decoded == c).sum() + (truth == c).sum()))
    found = scores(lstm_study)
    assert found["graph fused", "macro F1"] == pytest.approx(np.mean(each))
    # Archive and category: both right, one or none, of two each.
    right = ((decoded == truth) + 0.0 + (decoded // 2 == truth // 2)) / 2
    assert found["graph fused", "hierarchical F1"] == pytest.approx(right.mean())
    assert found["graph fused", "coarse accuracy"] == pytest.approx((decoded // 2 == truth // 2).mean())


def test_rows_of_several_labels_are_scored_by_their_sets(several_study):
    truth = several_study.data.test.fine_sets
    lines = (several_study.run.parent / "several.csv").read_text().splitlines()
    labels = [line.split(",")[2].split("|") for line in lines if line.endswith(",test")]
    np.testing.assert_array_equal(truth, [[c in row for c in CATEGORIES] for row in labels])
    found = scores(several_study)
    for method, (run,) in several_study.results.items():
        sets = run.decoded_sets
        assert sets[np.arange(len(sets)), run.raw_log_probs.argmax(1)].all()
        hits, all_said, all_true = (sets & truth).sum(), sets.sum(), truth.sum()
        assert found[method, "micro F1"] == pytest.approx(2 * hits / (all_said + all_true))
        assert found[method, "macro F1"] == pytest.approx(multilabel_f1(sets, truth, average="macro"))
    assert found["Label Set", "micro F1"] > found["majority", "micro F1"]


def test_an_lstm_learns_its_words_from_all_training_texts_and_only_these(lstm_study):
    words = load_model(lstm_study.run).net.tokenizer.words
    assert words[:2] == ["[PAD]", "[UNK]"]
    texts = [*lstm_study.data.train.texts, *lstm_study.data.coarse.texts]
    counts = {word: sum(text.split().count(word) for text in texts) for word in words[2:]}
    assert min(counts.values()) >= 2
    assert lstm_study.data.train.inputs.shape[1] == 16  # no longer than max_length
    assert lstm_study.data.train.inputs.dtype == np.int32


def test_fine_tuning_starts_from_the_weights_and_moves_them(tuned_study):
    model = load_model(tuned_study.run)
    start = model.net.init(jax.random.key(0))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start, model.params["encoder"])
    distances = jax.tree.leaves(moved)
    assert 0 < max(distances) < 3e-2  # a few steps of at most 1e-2
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {np.dtype("float32")}


# --- the model


@pytest.mark.parametrize("name", STUDIES)
def test_the_saved_model_says_what_the_study_said(name, request):
    study = request.getfixturevalue(name)
    model = load_model(study.run)
    method, (run, *_) = next(iter(study.results.items()))
    assert model.method.name == method
    length = study.data.test.inputs.shape[1] if name in ("lstm_study", "tuned_study") else None
    ids = model.net.tokenizer.pad(model.net.tokenizer.encode(study.data.test.texts.tolist()), length)
    probs = jax.jit(model.predict)(ids)["probs/categories"]
    np.testing.assert_allclose(probs, np.exp(run.log_probs), atol=1e-3 if name == "tuned_study" else 1e-4)
    assert model.fitted == run.fitted
    assert (model.fitted.threshold is not None) == (name == "several_study")


def test_a_pretrained_encoder_that_stayed_is_not_copied(frozen_study, tuned_study):
    sizes = [(study.run / "model" / "params.safetensors").stat().st_size for study in (frozen_study, tuned_study)]
    assert sizes[0] < 2500 < sizes[1]


# --- prediction


@pytest.mark.parametrize("name", STUDIES)
def test_labelled_texts_are_predicted_and_scored(name, request, tmp_path):
    study = request.getfixturevalue(name)
    spec, output = json.loads((study.run / "config.json").read_text())["data"], tmp_path / "out.csv"
    done = predict(PredictConfig(str(study.run), spec, str(output), split="test", batch_size=5, beam=2))
    (run, *_) = next(iter(study.results.values()))
    rows = table(output)
    given = [[float(row[f"categories:{c}"]) for c in CATEGORIES] for row in rows]
    atol = 0.02 if name == "tuned_study" else 1e-4  # rows of another length are rounded otherwise in bfloat16
    np.testing.assert_allclose(given, np.exp(run.log_probs), atol=atol)
    if name != "tuned_study":
        assert [row["label"] for row in rows] == [CATEGORIES[c] for c in run.decoded]
        assert done.accuracy == np.mean(run.decoded == study.data.test.fine)
    assert (done.rows, done.scored_set, done.scored_rows) == (12, "categories", 12)
    for row in rows:
        assert row["path"] == f"{row['label'].partition('.')[0]} > {row['label']}"
    archives = [float(row["archives:cs"]) for row in rows]
    np.testing.assert_allclose(archives, np.exp(run.raw_log_probs[:, :2]).sum(1), atol=atol)
    assert ("all_labels" in rows[0]) == (name == "several_study")
    assert done.gallery == tmp_path / "out.html"


def test_all_labels_are_those_of_the_study(several_study, tmp_path):
    spec = json.loads((several_study.run / "config.json").read_text())["data"]
    predict(PredictConfig(str(several_study.run), spec, str(tmp_path / "out.csv"), split="test", gallery=""))
    (run,) = several_study.results["graph fused"]
    for row, said, log_probs in zip(table(tmp_path / "out.csv"), run.decoded_sets, run.log_probs, strict=True):
        labels = row["all_labels"].split(" | ")
        assert set(labels) == {CATEGORIES[c] for c in np.flatnonzero(said)}
        assert labels[0] == row["label"]
        assert labels == sorted(labels, key=lambda c: -log_probs[CATEGORIES.index(c)])
    assert run.decoded_sets.sum() > len(run.decoded_sets), "the test needs a row with two labels"


HOSTILE = [
    "<script>alert(1)</script> <img src=x onerror=alert(2)> plan",
    'a "quoted", comma\nand a second line',
    "=HYPERLINK(plan) \u202e\u0007 \U0001f600 ｐｌａｎ",
    "[PAD] [UNK] [CLS] [SEP]",
    "\u00e9" * 70,
    "prime " * 5000,
]


@pytest.mark.parametrize("name", ["lstm_study", "frozen_study"])
def test_unlabelled_and_hostile_texts(name, request, tmp_path):
    study = request.getfixturevalue(name)
    spec = write_rows(tmp_path / "own.csv", HOSTILE)
    done = predict(PredictConfig(str(study.run), spec, str(tmp_path / "out.csv"), batch_size=4))
    assert (done.rows, done.skipped, done.accuracy) == (6, (), None)
    rows = table(tmp_path / "out.csv")
    assert [row["name"] for row in rows] == [f"row{i}" for i in range(6)]
    for row in rows:
        assert sum(float(row[f"categories:{c}"]) for c in CATEGORIES) == pytest.approx(1, abs=1e-5)
    page = (tmp_path / "out.html").read_text()
    assert "6 texts by predicted label" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert len(page) < 100_000  # long texts are cut
    for row in rows:
        assert f"<h2>{row['label']}</h2>" in page


def test_a_row_says_the_same_in_any_batch(frozen_study, tmp_path):
    spec = write_rows(tmp_path / "own.csv", ["agent plan", "sheaf variety scheme " * 5, "we show that prime"])
    found = []
    for size in (1, 64):
        output = tmp_path / f"{size}.csv"
        predict(PredictConfig(str(frozen_study.run), spec, str(output), batch_size=size, gallery=""))
        found.append([[float(row[f"categories:{c}"]) for c in CATEGORIES] for row in table(output)])
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_empty_texts_stop_the_run_or_are_skipped_and_listed(lstm_study, tmp_path, capsys):
    spec = write_rows(tmp_path / "own.csv", ["agent plan", "", "   ", "prime sieve"])
    arguments = (str(lstm_study.run), spec, str(tmp_path / "out.csv"))
    assert user_errors(lambda: predict(PredictConfig(*arguments)) and 0) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {spec}: row 'row1': the text is empty; ")
    assert line.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["own.csv"]
    done = predict(PredictConfig(*arguments, skip_broken=True))
    assert done.rows == len(table(tmp_path / "out.csv")) == 2
    assert done.skipped == (("row1", "the text is empty"), ("row2", "the text is empty"))


@pytest.mark.parametrize("name", ["lstm_study", "feature_study"])
def test_inputs_of_another_kind_are_refused(name, request, text_world, feature_study, tmp_path):
    study = request.getfixturevalue(name)
    run, other = (study.run, feature_study / "fine.csv") if name == "lstm_study" else (study / "run", None)
    spec = f"csv:{other or text_world / 'texts.csv'}"
    held, wanted = ("rows of 4 features", "texts") if other else ("texts", "rows of 4 features")
    with pytest.raises(InputError, match=f"holds {held}, but the model in .* trained on {wanted}$"):
        predict(PredictConfig(str(run), spec, str(tmp_path / "out.csv")))
    assert list(tmp_path.iterdir()) == []


# --- the commands


def run_command(*arguments):
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )  # fmt: skip


@pytest.mark.slow
def test_the_command(tmp_path):
    done = run_command(
        "experiments.arxiv_fusion", f"--workdir={tmp_path / 'run'}", "--steps=2", "--seeds=0", "--hidden=0",
        "--data=embedded:drawn_abstracts?per_category=3", "--methods=FFN,TF-IDF + SVM", "--max_length=16",
        "--batch_size=4",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "TF-IDF + SVM" in done.stdout
    assert done.stdout.endswith(f"\nreport: {tmp_path / 'run' / 'report.html'}\n")
    assert load_model(tmp_path / "run").net.kind == "text"


def test_help_explains_the_flags_of_texts():
    done = run_command("experiments.arxiv_fusion", "--help")
    names = ("encoder", "[no]fine_tune", "accumulate", "[no]remat", "[no]bfloat16", "max_length", "token_pool",
             "vectors", "layer_decay", "fine_counts", "fine_fraction", "coarse_per_class", "test_split", "rates",
             "[no]balance", "[no]upward", "[no]contract")  # fmt: skip
    assert [name for name in names if f"\n  --{name}: " not in done.stdout] == []
    assert "Texts of two datasets" in done.stdout
    assert "bert:DIR, lstm, minilm" in " ".join(done.stdout.split())
