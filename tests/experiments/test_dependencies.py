"""`python -m experiments.dependencies`: its data, its rows, and what is refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import dependencies as study
from experiments.dependencies import DependencyConfig, run
from experiments.dependency_data import PLANTED, drawn_votes, read_word_rules, review_votes, word_votes
from experiments.dependency_models import end_scores, fit_label_model, label_scores, strongest
from jlabel import InputError
from jlabel.weak_supervision import dependency_values

REVIEWS = Path(__file__).parents[2].parent / "shared" / "data" / "votes" / "imdb_train.parquet"
GOOD, BAD = "a great and truly lovely film", "a bad and rather awful film"


def write_reviews(folder, rows=60):
    """Texts of two classes in both splits, and four word rules."""
    draw = np.random.default_rng(0)
    words = {1: ["great", "lovely", "fine"], 0: ["bad", "awful", "weak"]}
    with (folder / "mine.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label", "split"])
        for i in range(2 * rows):
            label = i % 2
            chosen = draw.choice(words[label], 2).tolist() + draw.choice(words[1 - label], 1).tolist()
            table.writerow([f"some {' '.join(chosen)} film {i}", label, "train" if i < rows else "test"])
    rules = "term,label\n" + "".join(f"{word},{'positive' if y else 'negative'}\n" for y in words for word in words[y])
    (folder / "rules.csv").write_text(rules)


def scores(rows):
    return {(row.method, row.metric): row for row in rows}


@pytest.mark.slow
def test_the_study_of_drawn_votes(tmp_path):
    config = DependencyConfig(seeds=(0, 1), steps=20, rows=2000, dependencies=(0, 1), advice_labels=200)
    found = scores(run(config, tmp_path))
    assert len(found["none", "end AUC"].runs) == 2
    assert found["oracle (true labels)", "label AUC"].mean == 1
    assert found["trivial (all even)", "label AUC"].mean == 0.5
    # Modelled as drawn, the labels are better than without; false dependencies beside the true ones do little harm.
    true, none, both = (found[name, "label NLL"].mean for name in ("true", "none", "true + false"))
    assert true < none
    assert both < none
    for name in ("true", "false", "learned", "strongest 1 of each kind"):
        largest, sharp, bound = (found[name, metric].mean for metric in ("largest gap", "bound (sharp)", "bound"))
        assert 0 < largest <= sharp <= min(bound, 1)
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["experiment"] == "dependencies"
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"comparison.png", "curve.png", "gaps.png"}
    report = (tmp_path / "report.html").read_text()
    assert "bolstering of &#x27;rule 0&#x27; by &#x27;rule 1&#x27;" in report
    assert json.loads((tmp_path / "config.json").read_text())["dependencies"] == [0, 1]


@pytest.mark.slow
def test_the_command_on_own_texts(tmp_path):
    write_reviews(tmp_path)
    command = [
        sys.executable, "-m", "experiments.dependencies", f"--data=csv:{tmp_path / 'mine.csv'}",
        f"--rules={tmp_path / 'rules.csv'}", "--steps=5", "--seeds=0,1", "--dependencies=0,1", "--advice_labels=20",
        f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "none, rules taken as two-sided" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()


def test_drawn_votes_are_as_planned():
    data = drawn_votes(3, rows=20_000, test_rows=10)
    assert data.truth.dependencies == PLANTED
    alone = slice(6, None)  # rules without a planted dependency
    cast = data.votes[:, alone] >= 0
    coverage = cast.mean(axis=0)
    accuracy = ((data.votes[:, alone] == data.labels[:, None]) & cast).sum(axis=0) / cast.sum(axis=0)
    assert ((coverage > 0.28) & (coverage < 0.92)).all()
    assert ((accuracy > 0.53) & (accuracy < 0.92)).all()
    assert data.features.dtype == np.float32
    again = drawn_votes(3, rows=20_000, test_rows=10)
    np.testing.assert_array_equal(again.votes, data.votes)
    np.testing.assert_array_equal(again.test_features, data.test_features)
    assert (drawn_votes(4, rows=50, test_rows=10).votes != data.votes[:50]).any()


def test_strongest_takes_each_kind_and_only_what_there_is_evidence_for():
    data = drawn_votes(0, rows=1000, test_rows=10)
    chosen = strongest(data, 2)
    assert strongest(data, 0) == []
    values = dict(dependency_values(data.votes, data.labels))
    assert all(values[one] > 0 for one in chosen)
    for kind in {one.kind for one in chosen}:
        best = [d for d, _ in dependency_values(data.votes, data.labels, (kind,))[:2]]
        assert [one for one in chosen if one.kind == kind] == best[: sum(one.kind == kind for one in chosen)]


def test_end_models_learn_from_probabilities():
    data = drawn_votes(0, rows=2000, test_rows=1000)
    probs = np.stack([np.full(2000, 0.5), data.labels, 1.0 - data.labels], axis=1)
    found = end_scores(probs, data, seeds=(0, 1), hidden=(8,), steps=60, batch_size=128, learning_rate=1e-2)
    assert found.shape == (3, 2)
    assert (found[1] > 0.9).all()
    assert (found[2] < 0.1).all()
    assert (np.abs(found[0] - 0.5) < 0.45).all()


def test_scores_of_the_same_model_have_no_gap():
    data = drawn_votes(0, rows=500, test_rows=200)
    model = fit_label_model("none", data, [], l2=1e-3, key=jax.random.key(0))
    found = label_scores(model, model, data)
    assert found["largest gap"] == found["bound"] == found["bound (printed)"] == 0
    assert found["label AUC"] > 0.9


def test_rules_of_the_reviews():
    rules = read_word_rules(study.RULES_FILE)
    assert len(rules) >= 100
    assert {label for _, label in rules} == {0, 1}
    assert sum(" " in term for term, _ in rules) >= 30


def test_words_and_pairs_vote():
    rules = [("great", 1), ("not great", 0), ("isnt", 0), ("waste", 0)]
    texts = ["GREAT<br />fun", "It isn't great.", "It's not a great one", "Wasted?"]
    np.testing.assert_array_equal(
        word_votes(texts, rules), [[1, -1, -1, -1], [1, 0, -1, -1], [1, -1, -1, -1], [-1, -1, -1, -1]]
    )


def test_own_texts(tmp_path):
    write_reviews(tmp_path)
    data = review_votes(f"csv:{tmp_path / 'mine.csv'}", tmp_path / "rules.csv")
    assert data.votes.shape == data.test_votes.shape == (60, 6)
    assert data.features.shape[0] == 60
    assert data.names[:3] == ("great", "lovely", "fine")
    assert (data.votes[data.labels == 1][:, 0] == 1).any()
    few = review_votes(f"csv:{tmp_path / 'mine.csv'}", tmp_path / "rules.csv", max_rows=10)
    assert len(few.votes) == len(few.test_votes) == 10


@pytest.mark.skipif(not REVIEWS.exists(), reason="no reviews here")
def test_reviews_of_both_files():
    spec = f"parquet:{REVIEWS.parent}/imdb_{{train,test}}.parquet?text=text&label=label"
    data = review_votes(spec, study.RULES_FILE, max_rows=300)
    assert data.votes.shape == (300, len(data.names))
    majority = np.sign((data.votes == 1).sum(axis=1) - (data.votes == 0).sum(axis=1))
    decided = majority != 0
    assert ((majority[decided] > 0) == data.labels[decided]).mean() > 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"hidden": (0,)}, "hidden"),
        ({"l2": -1.0}, "l2=-1.0 must be at least 0 and finite"),
        ({"seeds": (0, 0)}, r"seeds=\(0, 0\): give at least one, each once"),
        ({"dependencies": (1, -1)}, r"dependencies=\(1, -1\): give numbers of 0 or more, each once"),
        ({"structure": "magic"}, "structure='magic': choose auto, pseudolikelihood or sparse_lowrank"),
        ({"rows": 0}, "rows"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        DependencyConfig(**change)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("term,label\ngreat,positive\ngreat,negative\n", "rules.csv, line 3: 'great' is there twice"),
        ("term,label\ngreat,good\n", "line 2: 'great', 'good'; give one or two words of small letters"),
        ("term,label\na b c,positive\n", "line 2: 'a b c'"),
        ("word,class\ngreat,positive\n", "line 2: '', ''"),
        ("term,label\ngreat,positive\n", "holds 1 rules; give two or more"),
    ],
)
def test_bad_rules(tmp_path, lines, message):
    (tmp_path / "rules.csv").write_text(lines)
    with pytest.raises(InputError, match=message):
        read_word_rules(tmp_path / "rules.csv")


def test_missing_rules_and_data_that_are_no_texts(tmp_path):
    with pytest.raises(InputError, match=r"rules .*none.csv: No such file or directory; name a CSV"):
        read_word_rules(tmp_path / "none.csv")
    with pytest.raises(InputError, match="needs texts of two classes"):
        review_votes("embedded:digits", study.RULES_FILE)


def test_the_command_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "experiments.dependencies", "--dependencies=0,few", f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: --dependencies=0,few: give whole numbers separated by commas\n"
