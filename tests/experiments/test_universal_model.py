"""`experiments.universal_model`: a user's domains and their taxonomy, the model it leaves, and what is refused."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.predict import PredictConfig, predict
from experiments.universal_config import UniversalConfig
from experiments.universal_files import load_universal_model, read_taxonomy
from experiments.universal_model import run
from experiments.universal_study import AUTO, GIVEN, TRUTH
from jlabel import InputError
from jlabel.taxonomy import Relations, build_taxonomy, taxonomy_spec

ZOO, PETS = ("cat", "dog", "emu"), ("hound", "tom")


def write_world(folder):
    """Two domains of three kinds of rows, train and test; dog is hound, cat is tom, and nobody else knows an emu."""
    generator = np.random.default_rng(0)
    centers = 4 * np.eye(3, 5)
    for name, names, kinds in (("zoo", ZOO, (0, 1, 2)), ("pets", PETS, (1, 0))):
        label = np.tile(np.arange(len(names)), 24)
        features = centers[np.array(kinds)[label]] + 0.3 * generator.standard_normal((len(label), 5))
        split = np.array(["train", "test"])[np.arange(len(label)) // len(names) % 2]
        np.savez(
            folder / f"{name}.npz", features=features.astype(np.float32), label=label, split=split,
            label_names=np.array(names),
        )  # fmt: skip
    weights = np.zeros((5, 5))
    weights[0, 4] = weights[4, 0] = weights[1, 3] = weights[3, 1] = 0.9
    taxonomy = build_taxonomy(Relations(("zoo", "pets"), (ZOO, PETS), weights))
    (folder / "taxonomy.json").write_text(json.dumps(taxonomy_spec(taxonomy)))


def own_config(folder, **changes):
    options = {
        "domains": (f"npz:{folder / 'zoo.npz'}", f"npz:{folder / 'pets.npz'}"),
        "taxonomy": str(folder / "taxonomy.json"), "seeds": (0, 1), "steps": 40, "batch_size": 16, "hidden": 8,
        "learning_rate": 0.03, "weight_decay": 0.01,
    }  # fmt: skip
    return UniversalConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("universal")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def parts(world):
    return run(own_config(world), world / "run")


def test_own_domains_with_a_taxonomy(parts, world, capsys):
    ((title, (study, outcomes)),) = parts.items()
    assert list(outcomes) == ["single", "multi-head", "naive union", GIVEN, "majority"]
    assert [outcomes[name].outputs[0] for name in outcomes] == [5, 5, 5, 3, 0]
    for name in ("single", "multi-head", GIVEN):
        assert outcomes[name].accuracy.shape == (2, 2)
        assert outcomes[name].accuracy.mean() > 0.95, name
    np.testing.assert_allclose(outcomes["majority"].accuracy, [[1 / 3, 1 / 2]] * 2)
    # the seeds cut their own validation rows, the test rows stay
    first, second = study.problems
    assert not np.array_equal(first.train, second.train)
    np.testing.assert_array_equal(first.test, second.test)
    assert not set(first.train) & (set(first.val) | set(first.test))
    found = json.loads((world / "run" / "results.json").read_text())
    gains = [row for row in found["rows"] if row["method"] == GIVEN and row["metric"] == "zoo against single"]
    assert gains[0]["split"] == title
    assert gains[0]["mean"] == pytest.approx((outcomes[GIVEN].accuracy - outcomes["single"].accuracy)[:, 0].mean())
    lines = [json.loads(line) for line in (world / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * 20
    assert {"name", "part", "step", "loss", "kl", "val_accuracy"} == set(lines[0])
    assert (world / "run" / "report.html").stat().st_size > 10_000
    assert read_taxonomy(str(world / "run" / "taxonomy.json")).names == outcomes[GIVEN].taxonomies[0].names


def test_model_answers_in_any_domain(parts, world):
    ((_, (study, outcomes)),) = parts.items()
    head = outcomes[GIVEN].heads.head(0)
    for d, (name, names) in enumerate((("zoo", ZOO), ("pets", PETS))):
        output = world / f"{name}.csv"
        done = predict(
            PredictConfig(
                str(world / "run"), f"npz:{world / f'{name}.npz'}", str(output), split="test", gallery="", domain=name
            )
        )
        test = study.own(study.problems[0].test, d)
        assert done.scored_set == name
        assert done.accuracy == pytest.approx(outcomes[GIVEN].accuracy[0, d])
        rows = list(csv.DictReader(output.open()))
        probs = np.array([[float(row[f"{name}:{label}"]) for label in names] for row in rows])
        np.testing.assert_allclose(probs, head.probs(study.features[test], d), atol=2e-6)
        assert [row["label"] for row in rows] == [names[k] for k in probs.argmax(1)]
        # every row has the other domain's answer too
        assert all(float(row["zoo:cat"]) >= 0 and row["best:pets"] in PETS for row in rows)


def test_model_that_is_damaged_or_of_another_kind(parts, world, tmp_path, feature_study):
    copy = tmp_path / "run"
    shutil.copytree(world / "run", copy)
    arrays = load_file(copy / "model" / "params.safetensors")
    save_file({k: v for k, v in arrays.items() if k != "['scale']"}, copy / "model" / "params.safetensors")
    with pytest.raises(InputError, match=r"is damaged \(lacks \['scale'\]\): run the study again"):
        load_universal_model(copy)
    save_file({**arrays, "['mean']": arrays["['mean']"][:3]}, copy / "model" / "params.safetensors")
    with pytest.raises(InputError, match=r"\['mean'\] has shape \(3,\), not \(5,\)"):
        load_universal_model(copy)
    with pytest.raises(InputError, match=r"--domain=sea: the model in '.*' knows zoo, pets"):
        load_universal_model(world / "run", domain="sea")
    wanted = PredictConfig(str(feature_study / "run"), "npz:x.npz", str(tmp_path / "x.csv"), domain="zoo")
    with pytest.raises(InputError, match=r"domain='zoo': the model in '.*' is of no universal_model study"):
        predict(wanted)


def test_taxonomies_that_do_not_fit(world, tmp_path):
    def edited(change):
        spec = json.loads((world / "taxonomy.json").read_text())
        change(spec)
        (tmp_path / "t.json").write_text(json.dumps(spec))
        return own_config(world, taxonomy=str(tmp_path / "t.json"))

    def rename(spec):
        spec["domains"][1]["name"] = "cats"
        for one in spec["universal_classes"]:
            if "pets" in one["members"]:
                one["members"]["cats"] = one["members"].pop("pets")

    def add_class(spec):
        spec["domains"][0]["classes"].append("yak")
        spec["universal_classes"].append({"members": {"zoo": {"yak": 1}}})

    cases = [
        (rename, r"has the domains zoo, cats, --domains zoo, pets: give the same ones in the same order"),
        (add_class, r"classes of domain 'zoo' differ from those of its data: yak; make the taxonomy anew"),
        (lambda spec: spec["universal_classes"].clear(), r"--taxonomy=.*t.json: taxonomy: class 'cat' of domain 'zoo'"),
    ]
    for change, message in cases:
        with pytest.raises(InputError, match=message):
            run(edited(change), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "bad.json").write_text('{"format":\n 1,}')
    with pytest.raises(InputError, match=r"--taxonomy=.*bad.json, line 2: .*; mend the JSON"):
        read_taxonomy(str(tmp_path / "bad.json"))
    with pytest.raises(InputError, match=r"--taxonomy=.*none.json cannot be read: No such file"):
        read_taxonomy(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "best"}, r"--method=best: choose one of auto, threshold, top, density, hypothesis"),
        ({"single_head": "linear"}, r"--single_head=linear: choose one of mlp, dropout"),
        ({"threshold": 0.0}, r"--threshold=0: give a number above 0, at most 1"),
        ({"steps": 50}, r"--steps=50: give a multiple of 20"),
        ({"shift": -1.0}, r"--shift=-1: give a number of 0 or more"),
        ({"weight_decay": -1.0}, r"--weight_decay=-1: give a number of 0 or more"),
        ({"taxonomy": "t.json"}, r"--taxonomy=t.json needs --domains"),
        ({"seeds": (1, 1)}, r"--seeds=1,1: give whole numbers from 0 on, each once"),
    ],
)
def test_settings_that_cannot_be_run(change, message):
    with pytest.raises(InputError, match=message):
        UniversalConfig(**change)


def test_settings():
    config = UniversalConfig()
    assert config.runs == tuple(range(10))
    assert config.sizes == (1.2, 2.0)
    assert config.rule("density") == {"method": "density", "density": 0.6}
    assert config.rule("top") == {"method": "top"}
    assert dataclasses.replace(config, domains=("npz:a", "npz:b")).runs == tuple(range(5))


@pytest.mark.slow
def test_generated_domains(tmp_path):
    """Truth, all rules and the one chosen; the true taxonomy has the fewest outputs."""
    config = UniversalConfig(seeds=(0, 1), steps=100, class_size=1.2, learning_rate=0.01, weight_decay=1.0)
    ((title, (study, outcomes)),) = run(config, tmp_path / "run").items()
    assert title == "class size 1.2"
    assert [name for name in outcomes if name.startswith("universal")] == [
        "universal, equal names", "universal, threshold 0.2", "universal, top", "universal, density 0.6",
        "universal, hypothesis", AUTO, TRUTH,
    ]  # fmt: skip
    assert outcomes[TRUTH].outputs.max() <= 24 < outcomes["naive union"].outputs.min()
    assert outcomes[TRUTH].f1(study.problems) == [1, 1]
    assert outcomes[TRUTH].accuracy.mean() > outcomes["naive union"].accuracy.mean()
    assert all(0.5 < outcomes[name].accuracy.mean() for name in outcomes if name != "majority")
    assert len(outcomes[AUTO].choices) == 2
    assert {"accuracy.png", "accuracy_f1.png", "features.png", "training.png"} == {
        file.name for file in (tmp_path / "run" / "figures").iterdir()
    }


@pytest.mark.slow
def test_the_command(world, tmp_path):
    command = [
        sys.executable, "-m", "experiments.universal_model", f"--domains=npz:{world}/zoo.npz,npz:{world}/pets.npz",
        f"--workdir={tmp_path / 'run'}", "--seeds=0,1", "--steps=20", "--hidden=8", "--single_head=dropout",
        "--learning_rate=0.03", "--weight_decay=0.1", "--balance=domain", "--convert=weight",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "universal, chosen rule:\n  zoo: " in done.stdout
    again = subprocess.run([*command, "--hidden=16"], capture_output=True, text=True, check=False, timeout=400)
    assert again.returncode == 2
    assert again.stderr.startswith("error: workdir")
