"""What a study does between its flags and its table: who shares a program, who waits for whom, which rate is kept."""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fusion
from experiments.fusion_data import load_fusion, load_plan
from experiments.fusion_methods import METHODS, build_method
from experiments.fusion_optimizers import optimizer_for
from experiments.fusion_training import method_parts
from tests.experiments import worlds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Config, plan, data and encoder of the tiny pictures."""
    folder = tmp_path_factory.mktemp("tiny")
    worlds.write_graph(folder)
    worlds.write_pictures(folder)
    config = worlds.picture_config(folder, methods=tuple(METHODS))
    plan = load_plan(config.graph, max_paths=64, keep=1.0, seed=0)
    data, net = load_fusion(config, plan, data=config.data, coarse_data=config.coarse_data, seed=0)
    return config, plan, data, net


def test_methods_that_compute_the_same_share_functions(world):
    config, plan, data, _ = world
    made = {name: build_method(name, plan, data.fine_set, config) for name in METHODS}
    flat = [made[name] for name in ("FFN", "FFN + coarse marginal", "pseudo labels", "oracle")]
    assert len({id(m.loss) for m in flat}) == len({id(m.outputs) for m in flat}) == 1
    fused, fine_only, published = (
        made[name] for name in ("graph fused", "graph fine-only", "graph fused (credit all)")
    )
    assert fused.loss is fine_only.loss
    assert fused.loss is not published.loss
    assert fused.outputs is published.outputs
    assert made["Label Set"].outputs is not made["FFN"].outputs
    other = dataclasses.replace(config, hidden=config.hidden + 1)
    assert build_method("graph fused", plan, data.fine_set, other).loss is not fused.loss


def test_rows_a_method_cannot_use_have_no_weight(world):
    config, plan, data, _ = world
    pseudo = build_method("pseudo labels", plan, data.fine_set, config)
    guesses = np.full((len(data.coarse), 4), -9.0)
    guesses[:, 0] = 0.0  # a cat everywhere: only the cats agree
    rows, places, target, weights = method_parts(pseudo, data, plan, guesses)["pseudo"]
    cats = data.coarse.target == plan.targets("species", np.array([0]))[0]
    assert rows is data.coarse
    np.testing.assert_array_equal(places, np.arange(len(rows)))
    np.testing.assert_array_equal(weights > 0, cats)
    assert weights.sum() == pytest.approx(1.0)
    assert set(target[cats]) == {int(plan.targets("breeds", np.array([0]))[0])}
    oracle = build_method("oracle", plan, data.fine_set, config)
    assert set(method_parts(oracle, data, plan, None)) == {"fine"}  # nobody knows the breeds of these pictures


def test_each_method_keeps_its_best_rate_and_pseudo_labels_wait(world, monkeypatch):
    config, plan, data, net = world
    config = dataclasses.replace(config, tune=True, learning_rate=None, seeds=(0, 1, 2, 3))
    names = ("pseudo labels", "FFN", "graph fused")
    methods = [build_method(name, plan, data.fine_set, config) for name in names]
    best = dict(zip(names, fusion.END_TO_END_RATES, strict=True))
    calls = []

    def train(method, data, net, plan, config, seed, rate, guesses, workdir, mesh):
        calls.append((method.name, rate, seed))
        if method.name == "pseudo labels":
            assert guesses == ("guess", seed, best["FFN"])
        else:
            assert guesses is None
        score = 1.0 - abs(rate - best[method.name]) + 0.5 * seed  # seeds differ more than rates
        return SimpleNamespace(val_score=score, coarse_log_probs=("guess", seed, rate), rate=rate, seed=seed)

    monkeypatch.setattr(fusion, "train_end_to_end", train)
    found = fusion._train_end_to_end(methods, [data] * 4, net, plan, config, Path("unused"), None)
    for name in names:
        assert [run.seed for run in found[name]] == [0, 1, 2, 3]
        assert {run.rate for run in found[name]} == {best[name]}
        tried = [(rate, seed) for method, rate, seed in calls if method == name]
        expected = [(r, s) for r in fusion.END_TO_END_RATES for s in (0, 1)] + [(best[name], s) for s in (2, 3)]
        assert sorted(tried) == sorted(expected)


def test_a_failed_run_stops_the_study(world, monkeypatch):
    config, plan, data, net = world
    config = dataclasses.replace(config, seeds=(0, 1, 2))
    methods = [build_method("FFN", plan, data.fine_set, config)]

    def fail(*arguments):
        raise RuntimeError("no luck")

    monkeypatch.setattr(fusion, "train_end_to_end", fail)
    with pytest.raises(RuntimeError, match="no luck"):
        fusion._train_end_to_end(methods, [data] * 3, net, plan, config, Path("unused"), None)


def test_kernels_take_orthogonal_steps_and_the_reward_average_follows_its_gradient():
    params = {
        "encoder": {"kernel": jnp.ones((3, 3, 2, 8)), "bias": jnp.zeros(8)},
        "head": {
            "decoder": {"kernel": jnp.ones((6, 4)), "embedding": jnp.ones((5, 4))},
            "reward_average": jnp.zeros(()),
        },
    }
    keys = iter(jax.random.split(jax.random.key(0), 5))
    grads = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), params)
    optimizer = optimizer_for(0.1, 0.0, 1000, averaged=True)
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    kernel = np.asarray(updates["encoder"]["kernel"]).reshape(18, 8)
    lengths = np.linalg.svd(kernel, compute_uv=False)
    assert lengths.max() / lengths.min() < 2  # five Newton-Schulz steps bring singular values to about 0.7 to 1.2
    assert np.sqrt((kernel**2).mean()) == pytest.approx(0.1 * 0.1 * 0.2, rel=0.3)  # warm-up starts at a tenth
    plain = np.asarray(updates["head"]["decoder"]["embedding"])
    nesterov = 1 + 0.9 * 0.1 / (1 - 0.9**2)  # Adam's first step, looking one step ahead
    np.testing.assert_allclose(np.abs(plain), 0.3 * 0.1 * 0.1 * nesterov, rtol=1e-3)
    np.testing.assert_allclose(updates["head"]["reward_average"], -0.1 * grads["head"]["reward_average"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["features", "pictures", "texts"])
def test_a_study_killed_at_random_moments_ends_with_the_same_table(kind, tmp_path):
    worlds.write_graph(tmp_path)
    common = [f"--graph={tmp_path / 'graph.json'}", "--seeds=0,1", "--hidden=16", "--batch_size=4"]
    if kind == "features":
        worlds.write_features(tmp_path)
        data = [f"--data=csv:{tmp_path / 'fine.csv'}", f"--coarse_data=npz:{tmp_path / 'coarse.npz'}"]
        data += ["--steps=3000", "--checkpoint_every=200"]
    elif kind == "texts":
        worlds.write_texts(tmp_path)
        data = [f"--data=csv:{tmp_path / 'texts.csv'}", f"--coarse_data=csv:{tmp_path / 'archives.csv'}"]
        data += [f"--encoder=bert:{tmp_path / 'bert'}", "--fine_tune", "--accumulate=2"]
        data += ["--steps=30", "--checkpoint_every=5", "--contract", "--upward"]
    else:
        worlds.write_pictures(tmp_path)
        data = [f"--data=folder:{tmp_path / 'fine'}", f"--coarse_data=folder:{tmp_path / 'coarse'}"]
        data += ["--steps=60", "--checkpoint_every=5", "--image_size=16"]

    def start(run):
        command = [sys.executable, "-m", "experiments.pet_fusion", *data, *common, f"--workdir={tmp_path / run}"]
        command += ["--methods=graph fused,FFN,pseudo labels"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JLABEL_CACHE": str(tmp_path / "cache")}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    begun = time.monotonic()
    process = start("straight")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    moments, length = random.Random(0), time.monotonic() - begun
    for _ in range(4):
        process = start("killed")
        time.sleep(moments.uniform(0.3, 0.9) * length)
        process.kill()
        process.communicate()
    process = start("killed")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    rows = [json.loads((tmp_path / run / "results.json").read_text())["rows"] for run in ("straight", "killed")]
    assert rows[0] == rows[1]
    params = [(tmp_path / run / "model" / "params.safetensors").read_bytes() for run in ("straight", "killed")]
    assert params[0] == params[1]
