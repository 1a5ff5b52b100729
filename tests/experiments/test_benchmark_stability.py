"""Benchmark stability: each part on small data, published figures on the real votes, and what a user can do wrong."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.benchmark_stability import StabilityConfig, run
from experiments.stability_correct import read_benchmark
from experiments.stability_digits import (
    MODELS,
    SIZES,
    Scored,
    known_corrections,
    plant_errors,
    score_halves,
    voted_sets,
)
from experiments.stability_models import benign_accuracy, correlations, crossing_interval, models_section
from experiments.stability_report import format_lines
from experiments.stability_tables import read_models, shipped_table
from experiments.stability_votes import VoteSet, prevalence_interval, read_votes, share_interval, votes_section
from jlabel import InputError
from jlabel.confident_learning import crossing_prevalence

ROOT = Path(__file__).parents[2]
VOTES = ROOT.parent / "shared" / "data" / "label_errors" / "label_errors_mturk.jsonl.gz"

SMALL = {"seeds": (0,), "rates": (0.2,), "epochs": 2, "replicates": 100}


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def row(document, method, metric):
    (found,) = (r for r in document["rows"] if (r["method"], r["metric"]) == (method, metric))
    return found


def table(section, start):
    (found,) = (t for t in section.tables if t.caption.startswith(start))
    return [dict(zip(found.header, line, strict=True)) for line in found.body]


# -- digits


def test_the_recipe_of_the_planted_errors():
    labels = load_digits().target
    assert [(plant_errors(labels, rate, 0) != labels).sum() for rate in (0.05, 0.2)] == [95, 363]
    changed = plant_errors(labels, 1.0, 0)
    assert [int(changed[labels == digit][0]) for digit in range(10)] == [6, 7, 3, 8, 9, 6, 5, 1, 3, 4]


def test_twelve_models_of_rising_size():
    assert len(MODELS) == len(SIZES) == 12
    assert (np.diff(SIZES[1:9]) > 0).all()
    assert SIZES[0] == 64 * 10 + 10
    assert SIZES[1] == 64 * 8 + 8 + 8 * 10 + 10


def scored(rate=0.2, seed=0):
    """Twelve models that are right by chance, better and better, and never see the planted labels."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 10, 2000)
    given = plant_errors(truth, rate, seed)
    right = generator.random((12, 2000)) < np.linspace(0.6, 0.95, 12)[:, None]
    return Scored(truth, given, np.where(right, truth, (truth + 1) % 10))


def test_errors_that_depend_on_nothing_move_no_model():
    """Planted at random, the correctable rows are as hard as the others: accuracy is the same, and nothing crosses."""
    boot = score_halves(known_corrections(scored()), replicates=500, seed=0)
    gap = boot.corrected_correctable.accuracy - boot.benign.accuracy
    assert np.abs(gap).max() < 0.06
    crossings = boot.crossings_corrected
    assert ((crossings.share >= 0.95) & (crossings.low > boot.prevalence)).sum() == 0


@pytest.mark.parametrize("flagger", [0, 11])
def test_the_model_that_flags_is_always_right_where_it_is_corrected(flagger):
    found = voted_sets(scored(), flagger, 3, seed=0)
    assert (found.original[flagger][found.correctable]).sum() == 0
    assert found.corrected[flagger][found.correctable].all()
    assert (found.original == found.corrected)[:, ~found.correctable].all()


def test_made_up_people_mostly_find_the_truth():
    data = scored()
    sizes = [voted_sets(data, 11, t, seed=0).correctable.sum() for t in (3, 4, 5)]
    possible = ((data.predicted[11] == data.truth) & data.planted).sum()  # the flagging model knows the right label
    assert sizes[0] > 0.95 * possible
    assert sizes[0] > sizes[1] > sizes[2]
    assert abs(sizes[2] / possible - 0.85**5) < 0.06


def test_nobody_agrees():
    assert voted_sets(scored(rate=0.001), 11, 6, seed=0) is None


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    config = StabilityConfig(**SMALL | {"seeds": (0, 1)})
    return run(config, folder / "run"), folder / "run"


def test_digits_rows(digits):
    _, workdir = digits
    document = results(workdir)
    assert document["experiment"] == "benchmark_stability"
    assert document["data"] == "embedded:noisy_digits"
    for name in MODELS:
        assert len(row(document, name, "corrected on C")["runs"]) == 2
    truth = {metric: row(document, "true labels", metric)["mean"] for metric in ("corrected", "original on C")}
    assert truth == {"corrected": 1, "original on C": 0}
    assert row(document, "true labels", "original")["runs"][0] == 1 - 363 / 1797
    assert row(document, "known", "rows in C")["runs"][0] == 363
    assert row(document, "majority", "corrected")["mean"] < 0.15
    linear, nearest = (row(document, name, "corrected")["mean"] for name in ("linear", "nearest 15"))
    assert linear > 0.8  # none of the two is trained in passes
    assert nearest > 0.9


def test_digits_files(digits):
    sections, workdir = digits
    drawn = {path.stem for path in (workdir / "figures").glob("*.png")}
    assert drawn == {"digits_sizes", "digits_prevalence", "digits_ranks", "digits_accuracies"}
    page = (workdir / "report.html").read_text()
    assert "nearest 15" in page
    assert sections[0].text.split("\n")[0][:40] in page
    for part in sections[0].tables:
        assert all(len(line) == len(part.header) for line in part.body)
        assert part.header[1] in format_lines(part)


def test_another_config_is_refused(digits):
    _, workdir = digits
    with pytest.raises(InputError, match="holds another config .*epochs: was 2, now 3"):
        run(StabilityConfig(**SMALL | {"seeds": (0, 1), "epochs": 3}), workdir)


# -- votes


def write_votes(path, rows):
    text = "".join(json.dumps(r) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


MINE = [
    {"votes": {"given": 5}, "given": "cat", "guessed": "dog"},
    {"votes": {"given": 1, "guessed": 4}, "given": "cat", "guessed": "dog"},
    {"votes": {"cat": 0, "dog": 3, "unsure": 2}, "given": "Cat", "guessed": "Dog"},
    {"votes": {"both": 3, "given": 2}, "given": "cat", "guessed": "dog"},
]


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_a_users_votes(tmp_path, name):
    path = write_votes(tmp_path / name, MINE)
    (found,) = read_votes(f"votes:{path}?size=100&flagged=8", (3, 4))
    assert found.categories[3].tolist() == [1, 0, 2, 1, 0]
    assert found.categories[4].tolist() == [1, 2, 1, 0, 0]
    assert found[2:] == (4, 8, 100)
    # a sample of half of the flagged rows: 4 of 100 correctable, 2 unknown
    interval = prevalence_interval(found, 3, replicates=200, seed=0)
    assert interval.mean == pytest.approx(4 / 98)
    assert interval.low < interval.mean < interval.high


def test_votes_study(tmp_path):
    path = write_votes(tmp_path / "mine.jsonl", MINE)
    config = StabilityConfig(data=f"votes:{path}", replicates=100, threshold=(3, 5))
    (section,) = run(config, tmp_path / "run")
    document = results(tmp_path / "run")
    splits = {r["split"]: r["mean"] for r in document["rows"] if r["metric"] == "correctable"}
    assert splits == {"3 votes": 2, "5 votes": 0}
    assert table(section, "Categories at 3")[0]["prevalence %"] == "size unknown"
    assert (tmp_path / "run" / "figures" / "vote_categories.png").exists()


def test_votes_on_several_labels(tmp_path):
    rows = [
        {"votes": {"a": 3, "b": 0}, "given": ["a"], "guessed": ["b"]},
        {"votes": {"a": 1, "b": 5}, "given": ["a"], "guessed": ["b"]},
    ]
    (found,) = read_votes(f"votes:{write_votes(tmp_path / 'm.jsonl', rows)}", (3,))
    assert found.categories[3].tolist() == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("rows", "query", "message"),
    [
        ([*MINE, {"given": "cat"}], "", "mine.jsonl, line 5: no field 'votes'"),
        (
            [{"votes": {"maybe": 5}}],
            "",
            "mine.jsonl, line 1: votes hold 'maybe', but no count of 'given' and 'guessed'",
        ),
        ([{"votes": {"given": -1}}], "", "mine.jsonl, line 1: -1 votes for 'given'"),
        ([[1, 2]], "", "line 1 must be a JSON object, got list"),
        ([{"votes": {"given": 5}, "given": ["a"], "guessed": "b"}], "", "line 1: given and guessed must both be"),
        ([*MINE, {"votes": {"a": 5}, "given": ["a"], "guessed": []}], "", "line 5: a label here, a list in other rows"),
        ([], "", "holds no rows"),
        (MINE, "?rows=5", "no option 'rows'; votes knows size, flagged"),
        (MINE, "?size=many", "option size='many' must be a number of rows"),
        (MINE, "?flagged=2", "flagged=2, but mine holds votes on 4 rows"),
        (MINE, "?size=3", "size=3, but 4 rows of mine are flagged"),
    ],
)
def test_bad_votes(tmp_path, rows, query, message):
    path = write_votes(tmp_path / "mine.jsonl", rows)
    with pytest.raises(InputError, match=message):
        run(StabilityConfig(data=f"votes:{path}{query}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_vote_files(tmp_path):
    broken = tmp_path / "mine.jsonl"
    broken.write_text('{"votes": {"given": 5}}\n{"votes"\n')
    with pytest.raises(InputError, match=r"mine.jsonl, line 2 is no JSON"):
        read_votes(f"votes:{broken}", (3,))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'{"votes": {"given": 5}}\n')[:-9])
    with pytest.raises(InputError, match=r"cut.gz is damaged"):
        read_votes(f"votes:{tmp_path / 'cut.gz'}", (3,))
    with pytest.raises(InputError, match="cannot read .*absent.jsonl: No such file"):
        read_votes("votes:absent.jsonl", (3,))
    with pytest.raises(InputError, match="give votes:FILE"):
        read_votes("votes:", (3,))


def test_wilson_interval_by_hand():
    found = share_interval(54, 275)
    p, n, z = 54 / 275, 275, 1.959964
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found.low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-6)
    assert found.high == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-6)


def test_real_votes():
    """The published tables of all ten sets; Caltech-256's file holds more rows than the paper's sample."""
    if not VOTES.exists():
        pytest.skip(f"{VOTES} is absent")
    votes = read_votes(f"votes:{VOTES}", (3, 4))
    of = {found.name: found for found in votes}
    sections = [votes_section(votes, (3, 4), replicates=200, seed=0)]
    for name in ("imagenet", "cifar10"):
        sections.append(models_section(read_models(name), of[name], 3, replicates=100, seed=0))
    body = table(sections[0], "Categories at 3")
    assert len(body) == 10
    for line in body:
        if line["set"] not in ("caltech256", "audioset"):
            ours = [line[c] for c in ("non-error", "non-agreement", "correctable", "multi-label", "neither")]
            assert "/".join(ours) == line["paper"]
    found = {line["set"]: line for line in body}
    assert found["imagenet"]["prevalence %"].startswith("2.94 ")
    assert found["cifar10"]["prevalence %"].startswith("0.18 ")
    assert found["cifar100"]["prevalence %"].startswith("3.27 ")
    assert int(found["audioset"]["checked"]) - int(found["audioset"]["non-error"]) == 275
    four = {line["set"]: line["correctable"] for line in table(sections[0], "Categories at 4")}
    assert (four["imagenet"], four["cifar10"]) == ("960", "7")
    (claim,) = table(sections[1], "imagenet: what the paper says")
    assert claim["gap for it"] == "0.0082"
    assert float(claim["N* %"].split()[0]) > 40
    (claim,) = table(sections[2], "cifar10: what the paper says")
    assert claim["N* %"].startswith("5.2 ")


# -- tables of models


def test_shipped_models():
    imagenet = read_models("imagenet")
    assert len(imagenet.names) == len(set(imagenet.names)) == 34
    place = imagenet.names.index("resnet18")
    assert (imagenet["original"][place], imagenet["corrected"][place]) == (0.0651, 0.8242)
    assert {"resnet50 (PyTorch)", "resnet50 (Keras)"} <= set(imagenet.names)
    found = correlations(imagenet)
    assert found["top 1"].correlation == pytest.approx(-0.134, abs=5e-4)
    assert found["top 5"].correlation == pytest.approx(0.527, abs=5e-4)
    assert found["top 1, PyTorch 1.0"].models == 21
    for line in shipped_table("label_error_sets"):
        assert int(line["checked"]) == int(line["non-error"]) + int(line["errors"])


def test_accuracy_on_benign_rows_is_solved_from_all_rows():
    votes = VoteSet("imagenet", {3: np.array([2524, 598, 1428, 597, 293])}, 5440, 5440, 50000)
    models = read_models("imagenet")
    found = benign_accuracy(models, votes, 3)
    whole = 47084 * found + 1428 * models["original"] + 1488 * models["accuracy"]
    np.testing.assert_allclose(whole / 50000, models["accuracy"])
    assert benign_accuracy(models, None, 3) is None
    models["benign"] = np.full(34, 0.5)
    assert benign_accuracy(models, votes, 3).tolist() == [0.5] * 34


def test_interval_of_a_crossing():
    first, second = (0.95, 0.40), (0.93, 0.65)
    value, low, high, share = crossing_interval(first, second, (98000, 2000), replicates=500, seed=0)
    assert value == crossing_prevalence(first, second)
    assert low < value < high
    assert high - low < 0.05
    assert share == 1
    assert crossing_interval(second, (0.9, 0.6), (100, 20), replicates=100, seed=0) is None
    assert crossing_interval((1.0, 0.0), (0.9, 1.0), (2, 1), replicates=100, seed=0)[3] < 1


CSV = "model,original,corrected,benign\na,.10,.60,.90\nb,.20,.50,.91\nc,.30,.40,.92\nd,.40,.30,.93\n"


def test_a_users_models(tmp_path):
    (tmp_path / "mine.csv").write_text("# my models\n" + CSV)
    votes = write_votes(tmp_path / "mine.jsonl", MINE)
    config = StabilityConfig(
        data=f"votes:{votes}?size=1000", models=(str(tmp_path / "mine.csv"),), replicates=100, threshold=(3,)
    )
    sections = run(config, tmp_path / "run")
    assert sections[1].title == "Models: mine"
    found = row(results(tmp_path / "run"), "mine", "Spearman, top 1")
    assert (found["mean"], found["ci95"]) == (-1, [-1, -1])
    assert {p.stem for p in (tmp_path / "run" / "figures").glob("mine*")} == {
        "mine_accuracies", "mine_ranks", "mine_prevalence",
    }  # fmt: skip


def test_models_without_votes(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    (section,) = run(StabilityConfig(data="", models=(str(tmp_path / "mine.csv"),)), tmp_path / "run")
    assert len(section.tables) == 1


def test_nothing_correctable_draws_no_lines():
    votes = VoteSet("imagenet", {3: np.array([10, 5, 0, 0, 0])}, 15, 15, 1000)
    section = models_section(read_models("imagenet"), votes, 3, replicates=100, seed=0)
    assert [drawing.name for drawing in section.drawings] == ["imagenet_accuracies", "imagenet_ranks"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,original\na,.5\n", "has no column 'corrected'; it has model, original"),
        (CSV.replace(".60", "60"), "corrected of 'a' is '60'; write a share from 0 to 1"),
        (CSV.replace(".20", ""), "original of 'b' is ''; write a share"),
        (CSV.replace("b,", "a,"), "model 'a' stands twice"),
        (CSV.split("c,")[0], "holds 2 models; a correlation needs 4 or more"),
        ("", "holds no rows"),
    ],
)
def test_bad_models(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        run(StabilityConfig(data="", models=(str(tmp_path / "mine.csv"),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_absent_models():
    with pytest.raises(InputError, match="cannot read .*absent.csv: No such file"):
        read_models("absent.csv")


# -- a user's own benchmark


def own(**changed):
    generator = np.random.default_rng(0)
    mask = np.arange(400) >= 300
    right = generator.random((5, 400)) < np.linspace(0.7, 0.95, 5)[:, None]
    corrected = right.copy()
    corrected[:, mask] = generator.random((5, 100)) < np.linspace(0.9, 0.3, 5)[:, None]
    original = right.copy()
    original[:, mask] &= ~corrected[:, mask]
    return {"original": original, "corrected": corrected, "correctable": mask, "names": list("abcde")} | changed


def test_a_users_benchmark(tmp_path):
    np.savez(tmp_path / "mine.npz", **own())
    config = StabilityConfig(data="", correct=str(tmp_path / "mine.npz"), replicates=300)
    (section,) = run(config, tmp_path / "run")
    ranks = table(section, "mine: accuracy, rank")
    best = {line["model"]: line for line in ranks}
    assert best["a"]["corrected on C"].split(", ", 1)[1].startswith("1 [1, ")
    assert best["e"]["corrected on C"].split(", ", 1)[1] == "5 [5, 5]"
    crossed = table(section, "mine: where models change places")
    assert ("e", "a") in {(line["better below"], line["better beyond"]) for line in crossed}
    assert (tmp_path / "run" / "figures" / "mine_prevalence.png").exists()


def test_numbers_will_do_for_a_mask_and_names_may_lack(tmp_path):
    arrays = own(correctable=(np.arange(400) >= 300).astype(int))
    del arrays["names"]
    np.savez(tmp_path / "mine.npz", **arrays)
    found = read_benchmark(str(tmp_path / "mine.npz"))
    assert found.names[0] == "model 0"
    assert found.known.correctable.dtype == bool


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"original": np.zeros((5, 400))}, "has no array 'corrected'; it has original"),
        (own(names=list("abc")), "names holds 3 different names for 5 models"),
        (own(names=list("abcda")), "names holds 4 different names for 5 models"),
        (own(correctable=np.zeros(400, bool)), "--correct: correctable marks 0 of 400 rows"),
        (own(correctable=np.full(400, 7)), "--correct: correctable must be a mask"),
        (own(original=np.full((5, 400), 3)), r"--correct: original\[0, 0\] is 3"),
        (own(original=np.ones((5, 400), bool)), "--correct: original and corrected differ at"),
    ],
)
def test_bad_benchmark(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InputError, match=message):
        run(StabilityConfig(data="", correct=str(tmp_path / "mine.npz")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_unreadable_benchmark(tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(InputError, match="no readable npz archive"):
        read_benchmark(str(tmp_path / "mine.npz"))


def test_absent_benchmark():
    with pytest.raises(InputError, match="cannot read --correct=absent.npz: No such file"):
        read_benchmark("absent.npz")


# -- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "folder:pets"}, "data 'folder:pets': give embedded:noisy_digits, or votes:FILE"),
        ({"data": ""}, "nothing to do: give --data, --models or --correct"),
        ({"threshold": (0,)}, "threshold"),
        ({"threshold": (3, 3)}, "threshold=3,3: give one or more, each once"),
        ({"seeds": ()}, "seeds=: give one or more"),
        ({"seeds": (-1,)}, "seeds: -1 is below 0"),
        ({"rates": (1.5,)}, "rates: 1.5 must lie between 0 and 1"),
        ({"replicates": 10}, "replicates=10 must be 100 or more"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(InputError, match=message):
        StabilityConfig(**options)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark_stability", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command(tmp_path):
    found = command(f"--workdir={tmp_path / 'run'}", "--epochs=2", "--seeds=0", "--rates=0.2", "--replicates=100")
    assert found.returncode == 0, found.stderr
    assert "20 % planted: accuracies" in found.stdout
    assert found.stdout.rstrip().endswith("report.html")
    wrong = command("--threshold=three", f"--workdir={tmp_path / 'other'}")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: --threshold=three: give whole numbers separated by commas\n"
    assert "--correct" in command("--help").stdout
