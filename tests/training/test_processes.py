import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jlabel.training import fit

from .problems import OPTIMIZER, batches, linear_loss, linear_params, without_seconds
from .worker import Slices

ROOT = Path(__file__).parents[2]


def start(*arguments, devices=1) -> subprocess.Popen:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.worker", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("linear", 3), ("linear", 20), ("convolution", 20)])
def test_killed_at_random_moments_ends_with_the_same_bits(kind, kills, tmp_path):
    steps = 60 * kills
    finish(start("kill", kind, tmp_path / "straight", steps, 0))
    moments = random.Random(kills)
    killed = 0
    for _ in range(kills):
        # A checkpoint every step, so that most of the time goes into saving and most kills hit a save.
        process = start("kill", kind, tmp_path / "killed", steps, 1)
        assert process.stdout.readline() == "training\n"
        time.sleep(moments.uniform(0.0, 3.0))
        process.kill()
        process.communicate()
        killed += process.returncode == -9
    assert killed > kills // 2
    finish(start("kill", kind, tmp_path / "killed", steps, 1))
    straight, resumed = np.load(tmp_path / "straight" / "result.npz"), np.load(tmp_path / "killed" / "result.npz")
    for name in straight.files:
        np.testing.assert_array_equal(straight[name], resumed[name])
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("straight", "killed")]
    straight_log, resumed_log = (without_seconds([json.loads(line) for line in log]) for log in logs)
    assert resumed_log == straight_log
    folders = sorted(int(p.name) for p in (tmp_path / "killed" / "checkpoints" / "train").iterdir())
    assert folders == [steps - 1, steps]


@pytest.mark.slow
def test_two_processes_agree_with_each_other_and_with_one(tmp_path, key):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [start("distributed", address, index, tmp_path, devices=2) for index in range(2)]
    refusals = [finish(process) for process in processes]
    assert "another config (kind: was 'both', now 'other')" in refusals[0]
    assert "process 0 stopped this run" in refusals[1]
    for kind, source in (("arrays", batches()), ("iterator", Slices(0, 1))):
        alone = fit(linear_loss, linear_params(), source, optimizer=OPTIMIZER, steps=12, key=key)
        first, second = (np.load(tmp_path / f"{kind}-{index}.npz") for index in range(2))
        for name in ("w", "b"):
            np.testing.assert_array_equal(first[name], second[name])
            np.testing.assert_allclose(first[name], alone.params[name], rtol=1e-5, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["name"], line["step"]) for line in lines] == [
        (kind, step) for kind in ("arrays", "iterator") for step in (5, 7, 10, 12)
    ]
