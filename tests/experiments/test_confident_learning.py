"""`python -m experiments.confident_learning`: the study, the road from data to corrected data, and its errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import jlabel.data
from experiments import confident_learning as binary
from experiments import noise_benchmarks, noise_stream, noise_study
from experiments.noise_apply import apply_reviewed, saved_config
from experiments.noise_config import NoiseConfig
from experiments.noise_study import detect
from experiments.noise_study_report import REFERENCE
from jlabel import InputError
from jlabel.confident_learning import find_errors
from tests.experiments import worlds

NAMES = ("ant", "bee", "cow")
ROWS = 120
UNSURE = np.full((ROWS, 3), 1 / 3)


def world(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Given labels, a tenth of them wrong, and probabilities that mostly know better."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    labels = np.where(rng.random(rows) < 0.1, (truth + 1) % 3, truth)
    logits = rng.normal(0, 1, (rows, 3)) + 3 * np.eye(3)[truth]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def write_texts(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    labels, probs = world()
    frame = pd.DataFrame(
        {"name": [f"t{i}" for i in range(ROWS)], "text": [f"text <b>{i}</b>" for i in range(ROWS)],
         "label": np.array(NAMES)[labels], "note": "kept, as it is"}
    )  # fmt: skip
    frame.to_csv(folder / "texts.csv", index=False)
    np.savez(folder / "probs.npz", probs=probs)
    return labels, probs


def write_parquet(folder: Path, *, rows: int = ROWS, group: int = 17, pictures: bool = False) -> None:
    labels, probs = world(rows=rows)
    columns: dict = {"label": np.array(NAMES)[labels], "weight": np.arange(rows) / 7}
    if pictures:
        file = folder / "p.png"
        Image.fromarray(np.full((6, 6, 3), 90, np.uint8)).save(file)
        data = file.read_bytes()
        columns["image"] = [{"bytes": data if i else b"broken", "path": f"p{i}.png"} for i in range(rows)]
    pq.write_table(pa.table(columns), folder / "data.parquet", row_group_size=group)
    values = pa.array(list(probs), pa.list_(pa.float64()))
    pq.write_table(pa.table({"probs": values}), folder / "probs.parquet", row_group_size=group + 6)
    np.save(folder / "probs.npy", probs)


def config(folder: Path, **changes) -> NoiseConfig:
    fields = {"data": f"csv:{folder}/texts.csv", "probs": f"npz:{folder}/probs.npz", "replicates": 20, "gallery": 10}
    return NoiseConfig(**{**fields, **changes})


def issues(run: Path) -> list[dict]:
    with (run / "issues.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def review(run: Path, **decisions) -> Path:
    """A copy of issues.csv with decisions, by place in the table."""
    table = pd.read_csv(run / "issues.csv", dtype=str, keep_default_na=False)
    for place, (decision, corrected) in decisions.items():
        table.loc[int(place[1:]), ["decision", "corrected", "reviewer"]] = [decision, corrected, "Ada"]
    table.to_csv(run / "reviewed.csv", index=False)
    return run / "reviewed.csv"


# The study.


@pytest.mark.parametrize("rate", [5, 20])
def test_reference_figures(rate):
    """Seed 0 gives the figures that another implementation gave."""
    found = detect(rate, 0, NoiseConfig()).metrics
    compared = 0
    for (of, method, metric), value in REFERENCE.items():
        if of == rate:
            exact = metric in ("rows", "count")
            assert found[method, metric] == pytest.approx(value, abs=0.051 if exact else 0.00051), (method, metric)
            compared += 1
    assert compared == {5: 11, 20: 4}[rate]


def test_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(noise_study, "CURVE_RATES", (0, 30))
    monkeypatch.setattr(noise_study, "RATES", (5,))
    run = binary.run(NoiseConfig(seeds=(1,), replicates=20, gallery=5), tmp_path / "run")
    rows = {
        (r["method"], r["metric"], r["split"]): r["mean"]
        for r in json.loads((run / "results.json").read_text())["rows"]
    }
    assert rows["oracle", "precision", "5 % wrong"] == rows["oracle", "recall", "5 % wrong"] == 1
    best = rows["normalized_margin", "average precision", "5 % wrong"]
    assert best > 0.9 > 0.2 > rows["random", "average precision", "5 % wrong"]
    assert rows["margin", "precision", "5 % wrong"] > 0.75 > 0.3 > rows["random", "precision", "5 % wrong"]
    assert (
        rows["trained on: truly clean rows", "accuracy", "5 % wrong"] > rows["majority", "accuracy", "5 % wrong"] + 0.5
    )
    assert {f.name for f in (run / "figures").iterdir()} >= {"counts.png", "precision_recall_5.png", "joint.png"}
    page = (run / "report.html").read_text()
    assert page.count('<li class="card"') == 5
    assert "Scores, 5 % wrong" in page
    assert "disagreement" in capsys.readouterr().out


# The user's road.


def test_texts_and_probabilities_in_the_order_of_the_rows(tmp_path):
    labels, probs = write_texts(tmp_path)
    run = binary.run(config(tmp_path), tmp_path / "run")
    found = find_errors(labels, probs)
    table = issues(run)
    assert [int(line["row"]) for line in table] == found.order.tolist()
    assert [line["name"] for line in table] == [f"t{row}" for row in found.order]
    assert [line["given"] for line in table] == [NAMES[labels[row]] for row in found.order]
    np.testing.assert_allclose([float(line["score"]) for line in table], found.scores[found.order])
    results = json.loads((run / "results.json").read_text())
    (estimate,) = [row for row in results["rows"] if row["method"] == "estimate"]
    assert estimate["mean"] == pytest.approx(found.num_errors)
    assert estimate["ci95"][0] <= found.num_errors <= estimate["ci95"][1]
    page = (run / "report.html").read_text()
    assert "text &lt;b&gt;" in page
    assert "text <b>" not in page
    assert results["notes"] == []
    assert f"confident_learning \\\n--workdir={run} \\\n--apply={run / 'issues.csv'}</p>" in page


def test_probabilities_are_joined_by_name(tmp_path):
    labels, probs = write_texts(tmp_path)
    order = np.random.default_rng(1).permutation(ROWS)
    names = np.array([f"t{i}" for i in order])
    np.savez(tmp_path / "named.npz", probs=probs[order][:, [2, 0, 1]], name=names, classes=np.array(NAMES)[[2, 0, 1]])
    frame = pd.DataFrame(probs[order][:, [1, 0, 2]], columns=["prob_bee", "prob_ant", "prob_cow"]).assign(name=names)
    frame.to_csv(tmp_path / "named.csv", index=False)
    frame.to_parquet(tmp_path / "named.parquet")
    expected = binary.run(config(tmp_path), tmp_path / "run")
    for file in ("named.npz", "named.csv", "named.parquet"):
        run = binary.run(config(tmp_path, probs=str(tmp_path / file)), tmp_path / file.replace(".", "_"))
        assert [line["row"] for line in issues(run)] == [line["row"] for line in issues(expected)]
        assert [line["suggested"] for line in issues(run)] == [line["suggested"] for line in issues(expected)]


def test_several_filters_name_what_flagged_a_row(tmp_path):
    write_texts(tmp_path)
    run = binary.run(config(tmp_path, filters=("joint", "disagreement")), tmp_path / "run")
    table = issues(run)
    assert {line["filters"] for line in table} <= {"joint", "disagreement", "joint disagreement"}
    assert len(table) == sum("disagreement" in line["filters"] for line in table)


def test_a_class_that_no_row_has(tmp_path):
    labels, probs = world()
    wide = np.concatenate([probs * 0.9, np.full((ROWS, 1), 0.1)], 1)
    pd.DataFrame({"a": np.arange(ROWS), "label": labels}).to_csv(tmp_path / "n.csv", index=False)
    np.save(tmp_path / "p.npy", wide)
    run = binary.run(config(tmp_path, data=f"csv:{tmp_path}/n.csv", probs=f"npy:{tmp_path}/p.npy"), tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    assert results["label_names"] == ["0", "1", "2", "3"]
    assert results["notes"] == ["No row has the label 3: nothing can be suggested or estimated there."]


def test_unlabelled_rows_and_rows_in_another_order(tmp_path):
    labels, probs = world()
    labels[[5, 9]] = -1
    pd.DataFrame({"a": np.arange(ROWS), "label": labels}).to_csv(tmp_path / "n.csv", index=False)
    np.save(tmp_path / "p.npy", probs[np.random.default_rng(0).permutation(ROWS)])
    run = binary.run(config(tmp_path, data=f"csv:{tmp_path}/n.csv", probs=f"npy:{tmp_path}/p.npy"), tmp_path / "run")
    warning, left_out = json.loads((run / "results.json").read_text())["notes"]
    assert warning.startswith("Warning: the given label has a probability of 0.3")
    assert left_out == "2 rows without a label were left out."


@pytest.mark.parametrize("changes", [{"classifier": "logistic"}, {"encoder": "identity", "steps": 60}])
def test_our_own_cross_validation(tmp_path, changes):
    data = "embedded:noisy_digits" if "encoder" in changes else "embedded:noisy_digits?features=1"
    options = {"data": data, "split": "test", "probs": "", "folds": 3, "gallery": 3, **changes}
    run = binary.run(config(tmp_path, **options), tmp_path / "run")
    source = jlabel.data.open("embedded:noisy_digits", "test")
    wrong = set(np.flatnonzero(source.labels != source.column("digit")).tolist())
    found = {int(line["row"]) for line in issues(run)}
    assert len(found & wrong) >= 0.6 * len(wrong)
    with np.load(run / "probs.npz") as stored:
        assert stored["probs"].shape == (400, 10)
        assert stored["name"][0] == "test:0"


def test_texts_with_a_scikit_learn_classifier(tmp_path):
    rng = np.random.default_rng(0)
    words = {"ant": "leaf soil tiny nest", "bee": "honey hive wing flower"}
    labels = rng.choice(list(words), 60)
    texts = [" ".join(rng.choice(words[label].split(), 5)) for label in labels]
    labels[3] = "bee" if labels[3] == "ant" else "ant"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "t.csv", index=False)
    options = {"data": f"csv:{tmp_path}/t.csv", "probs": "", "classifier": "sklearn.naive_bayes.MultinomialNB"}
    run = binary.run(config(tmp_path, **options), tmp_path / "run")
    assert [int(line["row"]) for line in issues(run)] == [3]


def test_texts_with_an_encoder(tmp_path):
    """Features of a tiny BERT: the text whose label was turned is the one found, and its card shows it."""
    worlds.write_texts(tmp_path, train=12)
    frame = pd.read_csv(tmp_path / "archives.csv")
    frame.loc[3, "label"] = "math"
    frame.to_csv(tmp_path / "turned.csv", index=False)
    options = {"encoder": f"bert:{tmp_path / 'bert'}", "probs": "", "folds": 2, "steps": 80, "batch_size": 8}
    run = binary.run(config(tmp_path, data=f"csv:{tmp_path}/turned.csv", **options), tmp_path / "run")
    assert issues(run)[0]["name"] == "cs.ai3"
    assert frame.loc[3, "text"] in (run / "report.html").read_text()


@pytest.mark.parametrize("data", ["csv:{}/v.csv", "csv:{}/v.csv?features=a,b,c,d"])
def test_visits_of_one_patient_share_a_fold(tmp_path, data):
    """Each row stands three times: without groups its copies vouch for a wrong label. The patient is no feature."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 15)
    given = truth.copy()
    given[[4, 20]] = 3, 0
    frame = pd.DataFrame(worlds.features(rng, truth), columns=list("abcd")).assign(label=given)
    frame = frame.assign(patient=rng.permutation(60), ward="north").loc[np.repeat(np.arange(60), 3)]
    frame.to_csv(tmp_path / "v.csv", index=False)
    options = {"data": data.format(tmp_path), "probs": "", "classifier": "neighbors", "filters": ("disagreement",)}
    apart = binary.run(config(tmp_path, **options), tmp_path / "apart")
    grouped = binary.run(config(tmp_path, **options, groups="patient"), tmp_path / "grouped")
    assert [int(line["row"]) for line in issues(grouped)] == [12, 13, 14, 60, 61, 62]
    own = [float(line["prob_given"]) for line in issues(grouped)]
    leaked = [float(line["prob_given"]) for line in issues(apart)]
    assert max(own) < 0.1
    assert not leaked or max(leaked) > 0.1
    (note,) = json.loads((grouped / "results.json").read_text())["notes"]
    assert note == "Only columns of numbers are features. Not used: ward."


def test_groups_whose_numbers_are_too_large(tmp_path):
    labels, _ = world()
    frame = pd.DataFrame({"a": np.arange(ROWS), "patient": np.arange(ROWS) + (1 << 30), "label": labels})
    frame.to_csv(tmp_path / "v.csv", index=False)
    options = {"data": f"csv:{tmp_path}/v.csv", "probs": "", "groups": "patient"}
    with pytest.raises(InputError, match=r"--groups=patient: csv:.* takes this column for a feature, .*\?features="):
        binary.run(config(tmp_path, **options), tmp_path / "run")


def test_classifiers_see_features_of_one_scale(tmp_path):
    """A column of large numbers that says nothing does not drown the one that says it all."""
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 2
    frame = pd.DataFrame({"large": 1e6 * rng.normal(size=ROWS), "small": labels + 0.1 * rng.normal(size=ROWS)})
    labels[7] = 0
    frame.assign(label=labels).to_csv(tmp_path / "s.csv", index=False)
    for classifier in ("logistic", "neighbors"):
        options = {"data": f"csv:{tmp_path}/s.csv", "probs": "", "classifier": classifier}
        run = binary.run(config(tmp_path, **options), tmp_path / classifier)
        assert [int(line["row"]) for line in issues(run)] == [7]


def test_features_that_say_nothing(tmp_path):
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=400), "label": np.arange(400) % 2}).to_csv(tmp_path / "s.csv", index=False)
    options = {"data": f"csv:{tmp_path}/s.csv", "probs": "", "classifier": "logistic"}
    run = binary.run(config(tmp_path, **options), tmp_path / "run")
    (warning,) = json.loads((run / "results.json").read_text())["notes"]
    assert warning.endswith(
        "The features say next to nothing about the labels: take another --encoder or --classifier, or more rows."
    )


def test_cards_name_the_features_as_the_file_does(tmp_path):
    labels, probs = world()
    frame = pd.DataFrame({"height <cm>": np.arange(ROWS) / 7, "age": np.arange(ROWS), "label": labels})
    frame.to_csv(tmp_path / "n.csv", index=False)
    np.savez(tmp_path / "n.npz", features=frame[["age"]].to_numpy(), label=labels)
    np.save(tmp_path / "p.npy", probs)
    options = {"probs": f"npy:{tmp_path}/p.npy"}
    for data, names in (("csv:{}/n.csv", ["height &lt;cm&gt;", "age"]), ("npz:{}/n.npz", ["features"])):
        run = binary.run(config(tmp_path, data=data.format(tmp_path), **options), tmp_path / data[:3])
        page = (run / "report.html").read_text()
        cards = page[page.index('<ol class="cards"') :]
        shown = [part.partition("</th>")[0] for part in cards.split('<th scope="row">')[1:]]
        assert shown == names * cards.count('<li class="card"')


def test_broken_pictures_become_placeholders(tmp_path):
    write_parquet(tmp_path, pictures=True)
    options = {"data": f"parquet:{tmp_path}/data.parquet", "probs": f"npy:{tmp_path}/probs.npy", "gallery": ROWS}
    run = binary.run(config(tmp_path, filters=("disagreement",), **options), tmp_path / "run")
    broken = sum(line["name"] == "p0.png" for line in issues(run))
    page = (run / "report.html").read_text()
    assert page.count("cannot be shown") == broken
    assert page.count('<img class="small" src="data:image/png') == len(issues(run)) - broken


# Reading in parts.


def stream_config(folder: Path, **changes) -> NoiseConfig:
    options = {"data": f"parquet:{folder}/data.parquet", "probs": f"parquet:{folder}/probs.parquet"}
    return config(folder, **{**options, "stream": True, "chunk_rows": 13, **changes})


@pytest.mark.parametrize("probs", ["parquet:{}/probs.parquet", "npy:{}/probs.npy"])
def test_streaming_finds_what_memory_finds(tmp_path, probs):
    write_parquet(tmp_path, pictures=True)
    spec = probs.format(tmp_path)
    inside = binary.run(stream_config(tmp_path, stream=False, probs=spec), tmp_path / "inside")
    for rows in (1, 13, 1000):
        run = binary.run(stream_config(tmp_path, chunk_rows=rows, probs=spec), tmp_path / f"run{rows}")
        assert (run / "issues.csv").read_text() == (inside / "issues.csv").read_text()
        assert not (run / "stream_state.npz").exists()
        assert "report.html" in {file.name for file in run.iterdir()}


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    """Killed after each number of chunks in turn; chunks that were done are not read again."""
    write_parquet(tmp_path)
    expected = (binary.run(stream_config(tmp_path), tmp_path / "whole") / "issues.csv").read_bytes()
    save, read = noise_stream._save, noise_stream._Chunk.__iter__
    reads: list[int] = []
    monkeypatch.setattr(noise_stream._Chunk, "__iter__", lambda chunk: reads.append(1) or read(chunk))
    for after in (1, 5, 10, 14, 20):
        run, done = tmp_path / f"run{after}", []

        def stop(*arguments, done=done, after=after):
            save(*arguments)
            done.append(1)
            if len(done) == after:
                raise KeyboardInterrupt

        reads.clear()
        with monkeypatch.context() as patch:
            patch.setattr(noise_stream, "_save", stop)
            with pytest.raises(KeyboardInterrupt):
                binary.run(stream_config(tmp_path), run)
        assert not (run / "issues.csv").exists()
        assert len(reads) == after
        binary.run(stream_config(tmp_path), run)
        assert (run / "issues.csv").read_bytes() == expected
        assert len(reads) == 2 * -(-ROWS // 13)


def test_a_state_of_other_files_is_not_used(tmp_path, monkeypatch):
    write_parquet(tmp_path)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(noise_stream, "_details", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            binary.run(stream_config(tmp_path), run)
    assert (run / "stream_state.npz").exists()
    labels, probs = world(seed=5)
    pq.write_table(pa.table({"label": np.array(NAMES)[labels]}), tmp_path / "data.parquet")
    pq.write_table(pa.table({"probs": list(probs)}), tmp_path / "probs.parquet")
    binary.run(stream_config(tmp_path), run)
    assert [int(line["row"]) for line in issues(run)] == find_errors(labels, probs).order.tolist()


def test_hub_names_and_unlabelled_rows_in_parts(tmp_path):
    labels, probs = world()
    codes = pa.array([None if i == 4 else int(label) for i, label in enumerate(labels)], pa.int64())
    names = {"info": {"features": {"label": {"names": list(NAMES)}}}}
    table = pa.table({"label": codes}).replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=11)
    np.save(tmp_path / "probs.npy", probs)
    options = {"probs": f"npy:{tmp_path}/probs.npy"}
    with pytest.raises(InputError, match="between rows 0 and 13: the label is missing"):
        binary.run(stream_config(tmp_path, **options), tmp_path / "run")
    run = binary.run(stream_config(tmp_path, skip_broken=True, **options), tmp_path / "skip")
    known = np.flatnonzero(np.arange(ROWS) != 4)
    assert [int(x["row"]) for x in issues(run)] == known[find_errors(labels[known], probs[known]).order].tolist()
    assert "1 rows without a usable label were left out." in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": ("joint",)}, "flags rows by margin, not by --filters=joint"),
        ({"score": "self_confidence"}, "knows --score=normalized_margin"),
        ({"split": "test"}, "takes all rows, not --split=test"),
        ({"probs": "npz:x.npz"}, "cannot be read in parts; save it as npy:FILE or parquet:FILE"),
        ({"data": "csv:x.csv"}, "--stream reads parquet: data, not csv:x.csv"),
        ({"data": "parquet:{}/data.parquet?drop=ant"}, "option 'drop' needs the data in memory"),
        ({"probs": "npy:{}/short.npy"}, "short.npy has 7 rows"),
    ],
)
def test_what_cannot_be_read_in_parts(tmp_path, changes, message):
    write_parquet(tmp_path)
    np.save(tmp_path / "short.npy", np.full((7, 3), 1 / 3))
    given = {name: value.format(tmp_path) if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(InputError, match=message):
        binary.run(stream_config(tmp_path, **given), tmp_path / "run")


@pytest.mark.slow
def test_the_command_killed_and_started_again(tmp_path):
    """The real command, killed by the system in mid-stream, ends with the same issues.csv."""
    write_parquet(tmp_path, rows=6000, group=500)
    repository = Path(__file__).parents[2]
    command = [
        sys.executable, "-m", "experiments.confident_learning", f"--data=parquet:{tmp_path}/data.parquet",
        f"--probs=parquet:{tmp_path}/probs.parquet", "--stream", "--chunk_rows=5", "--replicates=20", "--gallery=5",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    run = tmp_path / "run"
    process = subprocess.Popen([*command, f"--workdir={run}"], cwd=repository, env=environment)
    deadline = time.monotonic() + 120
    while not (run / "stream_state.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / "stream_state.npz").exists()
    assert not (run / "issues.csv").exists()
    for folder in (run, tmp_path / "whole"):
        subprocess.run([*command, f"--workdir={folder}"], cwd=repository, env=environment, check=True)
    assert (run / "issues.csv").read_bytes() == (tmp_path / "whole" / "issues.csv").read_bytes()


# From the reviewer's table to the corrected data.


def test_apply_to_csv(tmp_path):
    write_texts(tmp_path)
    before = (tmp_path / "texts.csv").read_bytes()
    run = binary.run(config(tmp_path), tmp_path / "run")
    table = issues(run)
    other = next(name for name in NAMES if name != table[2]["given"])
    reviewed = review(run, p0=("fix", ""), p1=("drop", ""), p2=("both", other))
    told = apply_reviewed(saved_config(run), run, reviewed)
    assert told.startswith("fix 1, drop 1, both 1; ")
    assert told.endswith("the second one in label_also: read both with ?label=label,label_also")
    assert (tmp_path / "texts.csv").read_bytes() == before
    old = pd.read_csv(tmp_path / "texts.csv", dtype=str)
    new = pd.read_csv(run / "corrected" / "texts.csv", dtype=str, keep_default_na=False)
    assert len(new) == ROWS - 1
    assert table[1]["name"] not in set(new["name"])
    merged = old.merge(new, on="name", suffixes=("_old", ""))
    changed = merged[merged["label_old"] != merged["label"]]
    assert changed["name"].tolist() == [table[0]["name"]]
    assert changed["label"].tolist() == [table[0]["suggested"]]
    assert (merged["note"] == "kept, as it is").all()
    several = jlabel.data.open(f"csv:{run}/corrected/texts.csv?label=label,label_also", "all")
    assert sum(len(row["labels"]) == 2 for row in several) == 1
    provenance = pd.read_csv(run / "corrected" / "provenance.csv", dtype=str, keep_default_na=False)
    assert set(provenance["reviewer"]) == {"Ada"}
    assert provenance["when"].str.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00").all()
    assert set(provenance["old"]) <= set(NAMES)


@pytest.mark.parametrize("stream", [True, False])
def test_apply_to_parquet(tmp_path, stream):
    write_parquet(tmp_path, pictures=True)
    run = binary.run(stream_config(tmp_path, stream=stream), tmp_path / "run")
    table = issues(run)
    apply_reviewed(saved_config(run), run, review(run, p0=("fix", ""), p1=("drop", "")))
    old, new = pq.read_table(tmp_path / "data.parquet"), pq.read_table(run / "corrected" / "data.parquet")
    assert new.schema == old.schema
    assert new.num_rows == ROWS - 1
    rows = [row for row in range(ROWS) if row != int(table[1]["row"])]
    expected = old.take(rows).to_pylist()
    expected[rows.index(int(table[0]["row"]))]["label"] = table[0]["suggested"]
    assert new.to_pylist() == expected


@pytest.mark.parametrize("stream", [True, False])
def test_apply_refuses_rows_that_moved(tmp_path, stream):
    """The labels still fit, the names do not."""
    write_parquet(tmp_path)
    table = pq.read_table(tmp_path / "data.parquet")
    names = np.array([f"n{i}" for i in range(ROWS)])
    pq.write_table(table.append_column("name", pa.array(names)), tmp_path / "data.parquet", row_group_size=11)
    run = binary.run(stream_config(tmp_path, stream=stream), tmp_path / "run")
    reviewed = review(run, p0=("fix", ""), p1=("keep", ""))
    row = int(issues(run)[1]["row"])
    names[row] = "x"
    pq.write_table(table.append_column("name", pa.array(names)), tmp_path / "data.parquet", row_group_size=11)
    with pytest.raises(InputError, match=f"line 3: row {row} is 'n{row}' here but 'x' in the data"):
        apply_reviewed(saved_config(run), run, reviewed)


def test_apply_to_hub_codes_and_npz_and_folder(tmp_path):
    labels, probs = world()
    np.save(tmp_path / "p.npy", probs)
    names = {"info": {"features": {"label": {"names": list(NAMES)}}}}
    table = pa.table({"label": pa.array(labels, pa.int8()), "x": np.arange(ROWS) / 2})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "d.parquet")
    np.savez(tmp_path / "d.npz", features=np.ones((ROWS, 2)), label=labels, label_names=np.array(NAMES))
    for kind in ("parquet", "npz"):
        options = {"data": f"{kind}:{tmp_path}/d.{kind}", "probs": f"npy:{tmp_path}/p.npy"}
        run = binary.run(config(tmp_path, **options), tmp_path / kind)
        apply_reviewed(saved_config(run), run, review(run, p0=("fix", "")))
        first = issues(run)[0]
        source = jlabel.data.open(f"{kind}:{run}/corrected/d.{kind}", "all")
        assert source.label_names == NAMES
        expected = labels.copy()
        expected[int(first["row"])] = NAMES.index(first["suggested"])
        np.testing.assert_array_equal(source.labels, expected)


def test_apply_to_a_folder(tmp_path):
    for name in NAMES[:2]:
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((4, 4, 3), 60 * i, np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    probs = np.repeat([[0.9, 0.1], [0.1, 0.9]], 4, axis=0)
    probs[2] = [0.05, 0.95]
    np.save(tmp_path / "p.npy", probs)
    options = {"data": f"folder:{tmp_path}/pictures", "probs": f"npy:{tmp_path}/p.npy", "filters": ("disagreement",)}
    run = binary.run(config(tmp_path, **options), tmp_path / "run")
    assert [line["name"] for line in issues(run)] == ["ant/2.png"]
    apply_reviewed(saved_config(run), run, review(run, p0=("fix", "")))
    source = jlabel.data.open(f"csv:{run}/corrected/labels.csv", "all")
    assert [source.label_names[label] for label in source.labels] == ["ant", "ant", "bee", "ant", *["bee"] * 4]
    assert source[2]["image"][0, 0, 0] == 120


def test_apply_refuses_what_changed_and_writes_nothing(tmp_path):
    write_texts(tmp_path)
    run = binary.run(config(tmp_path), tmp_path / "run")
    reviewed = review(run, p0=("fix", "wolf"))
    with pytest.raises(InputError, match=r"reviewed\.csv, line 2: label 'wolf' is none of the 3 labels"):
        apply_reviewed(saved_config(run), run, reviewed)
    reviewed = review(run, p0=("fix", ""))
    first = issues(run)[0]
    frame = pd.read_csv(tmp_path / "texts.csv", dtype=str)
    frame.loc[int(first["row"]), "label"] = first["suggested"]
    frame.to_csv(tmp_path / "texts.csv", index=False)
    with pytest.raises(InputError, match="line 2: row .* has the label .* the data changed; find the errors again"):
        apply_reviewed(saved_config(run), run, reviewed)
    with pytest.raises(InputError, match="holds no decision"):
        apply_reviewed(saved_config(run), run, run / "issues.csv")
    assert not (run / "corrected").exists()


def test_decisions_are_not_written_over(tmp_path):
    write_texts(tmp_path)
    run = binary.run(config(tmp_path), tmp_path / "run")
    review(run, p1=("keep", "")).rename(run / "issues.csv")
    with pytest.raises(InputError, match=r"issues\.csv holds 1 decisions, the first in line 3; apply it"):
        binary.run(config(tmp_path), run)


def test_a_table_saved_by_a_spreadsheet(tmp_path):
    """Semicolons, a byte order mark, Windows line ends, and a comment with a line break."""
    write_texts(tmp_path)
    run = binary.run(config(tmp_path), tmp_path / "run")
    table = pd.read_csv(run / "issues.csv", dtype=str, keep_default_na=False)
    table.loc[0, ["decision", "comment"]] = ["fix", "two\nlines; and a semicolon"]
    table.loc[1, "decision"] = "odd"
    table.to_csv(run / "r.csv", sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    with pytest.raises(InputError, match=r"r\.csv, line 4: decision 'odd'"):
        apply_reviewed(saved_config(run), run, run / "r.csv")


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "other"}, "--rule=other: choose one of calibrated, uncalibrated, off_diagonal"),
        ({"filters": ("margin", "best")}, "--filters=margin,best: 'best' is none of margin,"),
        ({"encoder": "minilm"}, "--probs holds the probabilities; leave out --encoder"),
        ({"folds": 1}, "--folds=1: out-of-sample probabilities need 2 folds"),
        ({"gallery": -1}, "--gallery=-1: give the number of rows to show"),
        ({"seeds": ()}, "--seeds is empty"),
        ({"groups": "patient"}, "--groups is about folds"),
    ],
)
def test_bad_settings(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        config(tmp_path, **changes)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ({"probs": UNSURE[:7]}, "has 7 rows, .* has 120 in the split 'all'; give one row for each"),
        (
            {"probs": np.full((ROWS, 4), 0.25)},
            r"4 columns for 3 labels \(ant, bee, cow\); name them in order with --classes",
        ),
        ({"probs": UNSURE, "classes": np.array(["ant", "bee", "fox"])}, "no column for the label 'cow'"),
        ({"probs": UNSURE, "name": np.array(["t0"] * ROWS)}, "the name 't0' stands twice"),
        (
            {"probs": UNSURE, "name": np.array([f"x{i}" for i in range(ROWS)])},
            "no probabilities for 120 of 120 rows, the first 't0' .its first name is 'x0'",
        ),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, "no array 'probs'; there are a, b: choose one with"),
        ({"probs": np.full((120, 3), 0.5)}, r"probs\[0\] sums to 1.5"),
        ({"probs": np.full((120, 3), np.nan)}, r"probs\[0, 0\] is nan"),
    ],
)  # fmt: skip
def test_probabilities_that_do_not_fit(tmp_path, save, message):
    write_texts(tmp_path)
    np.savez(tmp_path / "probs.npz", **save)
    with pytest.raises(InputError, match=message):
        binary.run(config(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "issues.csv").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("probs.txt", "--probs=probs.txt: give one of csv:FILE, npy:FILE, npz:FILE, parquet:FILE"),
        ("npz:absent.npz", "cannot be read: .*No such file"),
        ("npy:{}/probs.npz", "an archive, not a single array; write npz:"),
        ("parquet:absent*.parquet", "no such file"),
        ("csv:{}/texts.csv", "column 'text' holds 'text <b>0</b>' in row 0, not a number"),
        ("npz:{}/probs.npz?key=a", "no option 'key'; there are probs and name"),
    ],
)
def test_probability_files_that_cannot_be_read(tmp_path, spec, message):
    write_texts(tmp_path)
    with pytest.raises(InputError, match=message):
        binary.run(config(tmp_path, probs=spec.format(tmp_path)), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "holds texts: give --probs=..., or --encoder=minilm or bert:DIR"),
        ({"classifier": "logistik"}, "--classifier=logistik: no classifier with predict_proba; give one of probe"),
        ({"classifier": "sklearn.linear_model.Lasso"}, "Lasso: no classifier with predict_proba"),
        ({"classifier": "sklearn.absent.Thing"}, "--classifier=sklearn.absent.Thing: No module named"),
        ({"classifier": "logistic", "groups": "nothing"}, "no column 'nothing'"),
        ({"classifier": "logistic", "folds": 60}, r"the label '\w+' has \d+ rows, fewer than the 60 folds"),
        ({"encoder": "lstm"}, "--encoder=lstm gives no features of texts without training"),
    ],
)
def test_cross_validation_that_cannot_be_done(tmp_path, changes, message):
    write_texts(tmp_path)
    with pytest.raises(InputError, match=message):
        binary.run(config(tmp_path, probs="", **changes), tmp_path / "run")


@pytest.mark.slow
def test_the_command(tmp_path):
    write_texts(tmp_path)
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "experiments.confident_learning"]
    given = [f"--data=csv:{tmp_path}/texts.csv", f"--probs={tmp_path}/probs.npz", f"--workdir={tmp_path}/run"]
    done = subprocess.run([*command, *given], cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labels are wrong" in done.stdout
    reviewed = review(tmp_path / "run", p0=("fix", ""))
    applied = [*command, f"--workdir={tmp_path}/run", f"--apply={reviewed}"]
    done = subprocess.run(applied, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fix 1; ")
    bad = [*command, f"--data=csv:{tmp_path}/texts.csv", "--probs=absent.npz", f"--workdir={tmp_path}/bad"]
    done = subprocess.run(bad, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --probs=absent.npz: cannot be read")
    assert len(done.stderr.splitlines()) == 1


# The published sets.


@pytest.fixture(scope="module")
def shared():
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not (folder / "label_errors").is_dir():
        pytest.skip("no published label errors here")
    return folder


def test_published_sets(shared, tmp_path):
    """Counts, and for each filter the rows flagged and those of them that people found to be errors."""
    files = [shared / "label_errors" / name for name in ("label_errors.npz", "label_errors_mturk.jsonl.gz")]
    pictures = str(shared / "images" / "cifar10_32.parquet")
    found = noise_benchmarks.run(*files, pictures, tmp_path / "run", replicates=20)
    rows = {(row.split, row.method, row.metric): row.mean for measured in found.values() for row in measured}
    for name, uncalibrated, calibrated in (("mnist", 15.84, 15.8895), ("cifar10", 275.64, 283.0538)):
        assert rows[name, "uncalibrated", "wrong labels"] == pytest.approx(uncalibrated, abs=0.005)
        assert rows[name, "calibrated", "wrong labels"] == pytest.approx(calibrated, abs=0.00005)
    flags = {"uncalibrated margin": (275, 54), "noise_rate": (284, 49), "class": (284, 46), "both": (226, 44)}
    for method, (flagged, errors) in {**flags, "joint": (244, 48), "disagreement": (706, 54)}.items():
        assert (rows["cifar10", method, "flagged"], rows["cifar10", method, "errors"]) == (flagged, errors)
    assert rows["20news", "uncalibrated margin", "flagged"] == rows["20news", "uncalibrated margin", "voted on"] == 93
    assert rows["20news", "normalized_margin", "errors in the 10 worst"] == 10
    page = (tmp_path / "run" / "cifar10.html").read_text()
    assert page.count('<li class="card"') == page.count('<img class="small"') == 283


def test_published_files_that_are_missing(tmp_path):
    with pytest.raises(InputError, match="mnist: .*absent.npz or .* cannot be read"):
        noise_benchmarks.run(tmp_path / "absent.npz", tmp_path / "votes.gz", "", tmp_path / "run")
