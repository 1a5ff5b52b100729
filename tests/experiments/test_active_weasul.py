"""Active labelling: the study on few seeds, asking in the terminal, crashes, and what a user can do wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.active_weasul import run
from experiments.weasul_ask import run_own
from experiments.weasul_config import WeasulConfig
from experiments.weasul_data import load_study, parse_cliques
from experiments.weasul_own import append_answer, load_own, load_rules, read_answers
from experiments.weasul_study import run_seed
from jlabel import InputError
from jlabel.data.two_gaussians import CEILING

ROOT = Path(__file__).parents[2]
VOTES = ROOT.parent / "shared" / "data" / "votes"

RULES = """
from jlabel.weak_supervision import rule

LABEL_NAMES = ("ham", "spam")


@rule
def link(row):
    return 1 if "http" in row.text else -1


@rule
def short(row):
    return 0 if len(row.text) < 12 else -1


@rule
def praise(row):
    return 0 if "love" in row.text else -1


@rule
def shouts(row):
    return 1 if "!!" in row.text else -1
"""


# -- the study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study") / "run"
    return run(WeasulConfig(seeds=(0, 1), budget=8, end_models=False), workdir), workdir


def test_ours_needs_no_answer_and_the_paper_starts_where_it_says(study):
    runs, _ = study
    for found in runs:
        ours = found.curves["ours, maxkl"].scores["population accuracy"]
        assert ours[0] > 0.963
        assert ours.max() < CEILING + 5e-5
        assert abs(found.curves["paper, from .81"].scores["population accuracy"][0] - 0.815) < 0.002
        assert abs(found.curves["paper, from .90"].scores["population accuracy"][0] - 0.901) < 0.002
        for name in ("paper, from .81", "paper, from .90"):
            assert found.curves[name].scores["population accuracy"][-1] > 0.96
        nashaat = found.curves["Nashaat"].scores["population accuracy"]
        assert abs(nashaat[-1] - nashaat[0]) < 0.01
        assert found.fixed["trivial class"]["accuracy"] < 0.55
        assert found.fixed["bucket oracle"]["accuracy"] > 0.955


def test_random_asks_more_diversely_than_margin(study):
    runs, _ = study
    for found in runs:
        entropy = {s: found.curves[f"ours, {s}"].entropy[-1] for s in ("maxkl", "margin", "random")}
        assert entropy["margin"] <= entropy["maxkl"] + 1e-9
        assert entropy["margin"] < entropy["random"]


def test_files_of_the_study(study):
    _, workdir = study
    document = json.loads((workdir / "results.json").read_text())
    rows = {(row["method"], row["metric"]): row for row in document["rows"]}
    assert len(rows["ours, maxkl", "accuracy, 0 answers"]["runs"]) == 2
    assert rows["pure active learning", "accuracy, 0 answers"]["mean"] == 0.5
    assert {path.stem for path in (workdir / "figures").glob("*.png")} == {
        "label_models", "strategies", "entropy", "buckets", "plane",
    }  # fmt: skip
    page = (workdir / "report.html").read_text()
    assert "only 2 groups of rules vary" in page
    assert "x2 &lt; 0.4" in page


def archive(path, *, rows=240, classes=2, **change):
    """Votes of four noisy rules that abstain, with features of their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    right = rng.random((rows, 4)) < [0.9, 0.8, 0.8, 0.7]
    votes = np.where(right, y[:, None], (y[:, None] + 1) % classes)
    votes = np.where(rng.random((rows, 4)) < 0.3, -1, votes).astype(np.int8)
    arrays = {
        "L": votes, "y": y, "X": rng.normal(size=(rows, 3)) + 2 * np.eye(classes, 3)[y],
        "split": np.repeat([0, 1, 2], rows // 3), "aw_junk": np.zeros(3),
    } | change  # fmt: skip
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return f"npz:{path}"


@pytest.mark.parametrize("method", ["matrix_completion", "latent_class", "factor_graph"])
def test_the_study_on_an_archive(tmp_path, method):
    config = WeasulConfig(
        data=archive(tmp_path / "v.npz"), method=method, budget=3, seeds=(0,), end_models=method == "latent_class"
    )
    found = run_seed(config, 0)
    names = {"ours, maxkl", "ours, margin", "ours, random", "Nashaat", "pure active learning"}
    assert set(found.curves) == names | ({"paper, N(0, I)"} if method == "matrix_completion" else set())
    assert found.curves["ours, maxkl"].scores["F1"].shape == (4,)
    if method == "latent_class":
        assert found.curves["Nashaat"].end_points == (0, 1, 2)
        assert found.fixed["supervised end model"]["accuracy"] > 0.7


def test_texts_become_words(tmp_path):
    y = np.arange(240) % 2
    texts = np.where(y == 1, "buy cheap pills now", "see you at dinner")
    study = load_study(archive(tmp_path / "t.npz", y=y, X=None, text=texts))
    assert study.parts["train"].features.shape == (80, 14)
    assert study.num_classes == 2


@pytest.mark.skipif(not VOTES.exists(), reason="no shared data")
@pytest.mark.slow
def test_youtube_reaches_what_the_paper_reaches():
    found = run_seed(WeasulConfig(data=f"npz:{VOTES / 'lf_youtube.npz'}", seeds=(0,), budget=20, end_models=False), 0)
    paper = found.curves["paper, N(0, I)"].scores["F1"]
    assert paper[0] < 0.75
    assert max(paper) > 0.8
    assert found.curves["ours, maxkl"].scores["accuracy"][0] > 0.8


# -- asking


@pytest.fixture
def own(tmp_path):
    """mine.csv with 60 rows, rules.py, and a config that asks."""
    texts = [f"http://{k}.example pay!!" for k in range(20)] + [f"love it {k}" for k in range(20)]
    texts += [f"http://{k}.example I love this" for k in range(20)]
    pd.DataFrame({"text": texts, "spam": ["spam"] * 20 + ["ham"] * 40}).to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "rules.py").write_text(RULES)
    return {
        "data": f"csv:{tmp_path / 'mine.csv'}?label=spam",
        "rules": str(tmp_path / "rules.py"),
        "ask": True,
        "budget": 5,
    }


def typed(monkeypatch, *lines):
    said = iter(lines)

    def read(prompt):
        for line in said:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", read)


@pytest.mark.filterwarnings("ignore:rules vote alike")
def test_questions_and_answers(own, tmp_path, monkeypatch, capsys):
    typed(monkeypatch, "1", "what", "ham", "s", "0", "q")
    steps = run_own(WeasulConfig(**own), tmp_path / "run")
    assert [step["answer"] for step in steps] == [None, 1, 0, 0]
    told = capsys.readouterr().out
    assert "question 1, row " in told
    assert "rules that fired: " in told
    assert "'what' is no class; type 0 ham, 1 spam, s or q" in told
    assert "of the probability" in told
    lines = (tmp_path / "run" / "answers.csv").read_text().splitlines()
    assert lines[0] == "row,label,content"
    assert [line.split(",")[1] for line in lines[1:]] == ["spam", "ham", "", "ham"]
    table = pd.read_csv(tmp_path / "run" / "probabilities.csv")
    assert len(table) == 60
    np.testing.assert_allclose(table["probability:ham"] + table["probability:spam"], 1, atol=2e-6)
    assert table.loc[steps[1]["row"], "label"] == "spam"
    assert (tmp_path / "run" / "figures" / "moved.png").exists()
    assert "Each answer and what it moved" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.filterwarnings("ignore:rules vote alike")
def test_going_on_and_replaying_give_the_same(own, tmp_path, monkeypatch):
    typed(monkeypatch, "1", "0", "1", "0")
    whole = run_own(WeasulConfig(**own), tmp_path / "whole")
    typed(monkeypatch, "1", "0", "q")
    run_own(WeasulConfig(**own), tmp_path / "parts")
    typed(monkeypatch, "1", "0")
    parts = run_own(WeasulConfig(**own), tmp_path / "parts")
    assert len(parts) == len(whole) == 5
    answers = tmp_path / "parts" / "answers.csv"
    replayed = run_own(WeasulConfig(**own | {"ask": False, "answers": str(answers)}), tmp_path / "replay")
    assert [s["row"] for s in replayed] == [s["row"] for s in parts]
    np.testing.assert_array_equal(replayed[-1]["probs"], parts[-1]["probs"])


@pytest.mark.filterwarnings("ignore:rules vote alike")
def test_what_cannot_be_told_is_not_asked_again(own, tmp_path, monkeypatch):
    typed(monkeypatch, "s", "s", "1", "q")
    run_own(WeasulConfig(**own), tmp_path / "run")
    typed(monkeypatch, "1", "1")
    run_own(WeasulConfig(**own), tmp_path / "run")
    rows = pd.read_csv(tmp_path / "run" / "answers.csv")["row"]
    assert len(rows) == 5
    assert rows.is_unique


@pytest.mark.filterwarnings("ignore:rules vote alike")
def test_text_cannot_steer_the_terminal(own, tmp_path, monkeypatch, capsys):
    texts = [f"http://{k} \x1b[2J\x07 pay!!" for k in range(30)] + [f"love {k}" for k in range(30)]
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "mine.csv", index=False)
    typed(monkeypatch, "1", "1", "1", "1", "1")
    run_own(WeasulConfig(**own | {"data": f"csv:{tmp_path / 'mine.csv'}"}), tmp_path / "run")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\x07" not in told


@pytest.mark.slow
def test_a_crash_loses_no_answer(own, tmp_path):
    """Killed while it waits for the third answer: both others are on the disk, and the next run goes on from them."""
    command = [sys.executable, "-m", "experiments.active_weasul", f"--data={own['data']}", f"--rules={own['rules']}"]
    command += ["--ask", f"--workdir={tmp_path / 'run'}", "--budget=4"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env
    )
    child.stdin.write("1\n0\n")
    child.stdin.flush()
    seen = ""
    while "question 3" not in seen:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        seen += line
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    saved = (tmp_path / "run" / "answers.csv").read_bytes()
    assert saved.count(b"\n") == 3
    (tmp_path / "run" / "answers.csv").write_bytes(saved + b"17,sp")  # as if the disk had been cut off
    again = subprocess.run(command, input="1\n1\n", capture_output=True, text=True, cwd=ROOT, env=env)
    assert again.returncode == 0, again.stderr
    assert "replaying 2 answers" in again.stdout
    final = (tmp_path / "run" / "answers.csv").read_bytes()
    assert final.startswith(saved)
    assert final.count(b"\n") == 5
    assert b"17,sp\n" not in final


# -- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "entropy"}, "--strategy=entropy: choose one of maxkl, margin, random"),
        ({"method": "snorkel"}, "--method=snorkel: choose one of latent_class, matrix_completion, factor_graph"),
        ({"budget": 0}, "budget"),
        ({"penalty": "much"}, "--penalty=much: give a number of 0 or more, or auto"),
        ({"penalty": "-1"}, "--penalty=-1: give a number of 0 or more, or auto"),
        ({"balance": 1.0}, r"--balance=1: give P\(y = 1\), above 0 and below 1"),
        ({"seeds": (0, 0)}, "--seeds=0,0: give whole numbers from 0 on, each once"),
        ({"cliques": ("1+2",)}, "--cliques=1[+]2: write rules by number, as in 1-2,3-4-5"),
        ({"data": "csv:x.csv", "ask": True}, "--data=csv:x.csv holds no votes: give --rules=my_rules.py"),
        ({"data": "csv:x.csv", "rules": "r.py"}, "give --ask to be asked in the terminal, --answers=FILE"),
        ({"ask": True}, "--rules, --ask and --answers are for data of your own, csv:FILE"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        WeasulConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"L": None}, "no array 'L'; there are y, X, split"),
        ({"X": None}, "no array 'text or X'"),
        ({"y": np.zeros(5, int)}, "y has 5 rows, L 240"),
        ({"split": np.zeros(240, int)}, "no row of split val"),
        ({"split": np.full(240, 7)}, "split 0 for train, 1 for val, 2 for test"),
        ({"L": np.full((240, 4), 9)}, r"votes\[0, 0\] is 9"),
    ],
)
def test_bad_archives(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_study(archive(tmp_path / "bad.npz", **change))


def test_no_archive(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="no readable NumPy archive"):
        load_study(f"npz:{tmp_path / 'text.npz'}")
    with pytest.raises(InputError, match="give embedded:two_gaussians or npz:FILE with votes L"):
        load_study("folder:pictures")


def test_a_bad_file_leaves_no_workdir(tmp_path):
    with pytest.raises(InputError, match="no readable NumPy archive"):
        run(WeasulConfig(data=f"npz:{tmp_path / 'none.npz'}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cliques_are_numbers():
    assert parse_cliques(["0-3", "1-2-4"]) == ((0, 3), (1, 2, 4))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("import nothing_here", "line 1: ModuleNotFoundError"),
        ("x = (", "SyntaxError"),
        ("x = 1", "no rule in it; decorate functions with jlabel.weak_supervision.rule"),
        (
            "from jlabel.weak_supervision import rule\n\n@rule\ndef silent(row):\n    return -1\n",
            "no rule votes on any",
        ),
        (
            "from jlabel.weak_supervision import rule\n\n@rule\ndef bad(row):\n    return row.title\n",
            "rule 'bad' fails on row 0",
        ),
    ],
)
def test_bad_rules(own, tmp_path, rules, message):
    (tmp_path / "rules.py").write_text(rules)
    with pytest.raises(InputError, match=message):
        load_own(own["data"], own["rules"])


def test_rules_and_labels_by_name(own, tmp_path):
    data = load_own(own["data"], own["rules"])
    assert data.label_names == ("ham", "spam")
    assert data.labels.tolist() == [1] * 20 + [0] * 40
    assert data.rule_names == ("link", "short", "praise", "shouts")
    assert list(data.frame) == ["text"]  # the label is hidden from rules and expert
    with pytest.raises(InputError, match="no column 'kind'; there are text, spam"):
        load_own(own["data"].replace("=spam", "=kind"), own["rules"])
    with pytest.raises(InputError, match="no such Python file"):
        load_rules(tmp_path / "none.py")
    with pytest.raises(InputError, match="no readable table"):
        load_own(f"csv:{tmp_path / 'none.csv'}", own["rules"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,label\n1,ham\n", "line 1 must name the columns row and label"),
        ("row,label\n99,ham\n", "line 2: row is '99'; rows are 0 to 59"),
        ("row,label\n1,ham\n2,eggs\n", "line 3: label is 'eggs'; allowed: ham, spam"),
        ("row,label,content\n1,ham,00000000\n", "line 2: row 1 of mine.csv has changed since it was answered"),
        ("row,label\n1,ham\n1,spam\n", "line 3: row 1 was answered before; keep one of the two lines"),
    ],
)
def test_bad_answers(own, tmp_path, text, message):
    data = load_own(own["data"], own["rules"])
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_answers(tmp_path / "answers.csv", data)


def test_answers_of_another_hand(own, tmp_path):
    """A file written by hand: labels by name or number, no third column, no line break at its end."""
    data = load_own(own["data"], own["rules"])
    file = tmp_path / "answers.csv"
    file.write_text("row,label\n3,spam\n30,0")
    assert [answer[:2] for answer in read_answers(file, data)] == [(3, 1), (30, 0)]
    file.unlink()
    append_answer(file, data, 5, None)
    append_answer(file, data, 6, 1)
    assert [answer[:2] for answer in read_answers(file, data)] == [(5, None), (6, 1)]


def test_no_answers_to_replay(own, tmp_path):
    config = WeasulConfig(**own | {"ask": False, "answers": str(tmp_path / "none.csv")})
    with pytest.raises(InputError, match="there is no such file; --ask makes one"):
        run_own(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
