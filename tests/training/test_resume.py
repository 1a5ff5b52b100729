import contextlib
import json
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor, wait

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jlabel.training import ArrayBatches, TrainingError, fit, fit_seeds, join_batches, make_mesh
from jlabel.training.checkpoints import Checkpoints

from .problems import (
    OPTIMIZER,
    assert_same_bits,
    batches,
    linear_data,
    linear_loss,
    linear_params,
    without_seconds,
)


class Rows:
    """A random-access source of dict rows."""

    def __init__(self):
        self._data = linear_data()

    def __len__(self):
        return 40

    def __repr__(self):
        return f"Rows({len(self)})"

    def __getitem__(self, index):
        return {name: column[index] for name, column in self._data.items()}


def grain_iterator():
    rows = grain.MapDataset.source(Rows()).shuffle(seed=3).repeat().batch(8, drop_remainder=True)
    return iter(rows.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))


def grain_loader():
    sampler = grain.samplers.IndexSampler(40, shard_options=grain.sharding.NoSharding(), shuffle=True, seed=1)
    return iter(
        grain.DataLoader(data_source=Rows(), sampler=sampler, operations=[grain.transforms.Batch(8)], worker_count=0)
    )


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


KINDS = {
    "arrays": batches,
    "weighted": lambda: batches(weights=np.arange(40.0)),
    "joined": lambda: join_batches(batches(4), batches(4)),
    "grain": grain_iterator,
    "grain loader": grain_loader,
    "joined grain": lambda: join_batches(grain_iterator(), grain_loader()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_at_step_4_and_resumed_gives_the_same_bits(kind, key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "log_every": 3}
    if "loader" in kind or kind == "joined grain":
        options["log_every"] = 2
    steps = 5 if kind in ("grain loader", "joined grain") else 10  # the loader has one epoch of 5 batches
    straight = fit(linear_loss, linear_params(), KINDS[kind](), steps=steps, **options)
    stopped = fit(linear_loss, linear_params(), KINDS[kind](), steps=4, workdir=tmp_path, **options)
    assert stopped.step == 4
    resumed = fit(linear_loss, linear_params(), KINDS[kind](), steps=steps, workdir=tmp_path, **options)
    assert resumed.step == steps
    assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))
    assert without_seconds(resumed.history) == without_seconds(lines(tmp_path))


@pytest.mark.parametrize("stop", range(1, 8))
def test_same_bits_whatever_the_step_it_was_stopped_at(stop, key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "log_every": 4, "mesh": make_mesh("data=4")}
    straight = fit(linear_loss, linear_params(), batches(), steps=8, **options)
    fit(linear_loss, linear_params(), batches(), steps=stop, workdir=tmp_path, **options)
    resumed = fit(linear_loss, linear_params(), batches(), steps=8, workdir=tmp_path, **options)
    assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def test_killed_between_checkpoints_repeats_neither_steps_nor_lines(key, tmp_path, monkeypatch):
    options = {"optimizer": OPTIMIZER, "key": key, "log_every": 4, "checkpoint_every": 5, "steps": 20}
    straight = fit(linear_loss, linear_params(), batches(), workdir=tmp_path / "straight", **options)
    saved = Checkpoints.save

    def kill_at_15(self, step, tree, meta):
        if step == 15:
            raise Killed
        saved(self, step, tree, meta)

    monkeypatch.setattr(Checkpoints, "save", kill_at_15)
    with pytest.raises(Killed):
        fit(linear_loss, linear_params(), batches(), workdir=tmp_path / "killed", **options)
    assert [line["step"] for line in lines(tmp_path / "killed")] == [4, 8, 12]
    monkeypatch.undo()
    resumed = fit(linear_loss, linear_params(), batches(), workdir=tmp_path / "killed", **options)
    assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))
    # The sums since the last line are part of a checkpoint: the line of step 12 covers 9 to 12, though 11 resumed.
    assert without_seconds(resumed.history) == without_seconds(straight.history)
    assert without_seconds(lines(tmp_path / "killed")) == without_seconds(lines(tmp_path / "straight"))


def test_a_finished_run_comes_back_at_once(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "steps": 9, "workdir": tmp_path, "state": {"count": 0}}

    def loss(params, state, batch, key):
        value, metrics = linear_loss(params, batch, key)
        return value, (metrics, {"count": state["count"] + 1})

    first = fit(loss, linear_params(), batches(), **options)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = fit(loss, linear_params(), batches(), **options)
    assert_same_bits((first.params, first.opt_state, first.state), (again.params, again.opt_state, again.state))
    assert again.history == first.history
    assert again.step == 9
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_seeds_resume_to_the_same_bits_and_refuse_other_hyper(key, tmp_path):
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), linear_params())
    options = {
        "optimizer": lambda h: optax.adam(h["rate"]),
        "keys": jax.random.split(key, 2),
        "hyper": {"rate": np.array([0.1, 0.2])},
        "log_every": 3,
    }
    straight = fit_seeds(linear_loss, params, batches(), steps=8, **options)
    fit_seeds(linear_loss, params, batches(), steps=5, workdir=tmp_path, **options)
    resumed = fit_seeds(linear_loss, params, batches(), steps=8, workdir=tmp_path, **options)
    assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))
    options["hyper"] = {"rate": np.array([0.1, 0.3])}
    with pytest.raises(TrainingError, match=r"hyper.\['rate'\]: was \[0.1, 0.2\], now \[0.1, 0.3\]"):
        fit_seeds(linear_loss, params, batches(), steps=8, workdir=tmp_path, **options)


def test_names_share_a_workdir(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "steps": 4, "workdir": tmp_path, "config": {"study": 1}}
    for name in ("ffn", "graph", "ffn"):
        fit(linear_loss, linear_params(), batches(), name=name, **options)
    assert [(line["name"], line["step"]) for line in lines(tmp_path)] == [("ffn", 4), ("graph", 4)]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["ffn", "graph"]


def test_another_run_in_the_workdir_is_refused(key, tmp_path):
    def column_loss(params, batch, key):
        return jnp.mean((batch["x"] @ params["w"] + params["b"]) ** 2), {"absolute": 0.0}

    def start(*, loss=linear_loss, params=None, source=None, **change):
        options = {"optimizer": OPTIMIZER, "key": key, "steps": 4, "workdir": tmp_path, "config": {"rate": 0.05}}
        return fit(loss, params or linear_params(), source or batches(), **(options | change))

    start()
    column = {"w": jnp.zeros((3, 1)), "b": jnp.zeros(())}
    for change, message in [
        ({"config": {"rate": 0.1}}, r"another config \(rate: was 0.05, now 0.1\)"),
        ({"key": jax.random.key(5)}, r"another run 'train' \(key.data: was \[0, 0\], now \[0, 5\]\)"),
        ({"source": batches(10)}, r"data.batch_size: was \[8\], now \[10\]"),
        ({"source": batches(weights=np.ones(40))}, r"data.weights: was \[None\], now \["),
        ({"steps": 3}, r"has taken 4 steps already; steps=3 is fewer"),
        ({"optimizer": optax.sgd(0.1)}, r"another model \(opt_state"),
        ({"loss": column_loss, "params": column}, r"params.w: was 'float32\[3\]', now 'float32\[3, 1\]'"),
    ]:
        with pytest.raises(TrainingError, match=message) as caught:
            start(**change)
        assert "\n" not in str(caught.value)


def test_a_pipeline_that_refuses_its_position_is_one_error(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "workdir": tmp_path}
    fit(linear_loss, linear_params(), join_batches(grain_iterator()), steps=1, **options)
    with pytest.raises(TrainingError, match="batches cannot go back to where this run was saved"):
        fit(linear_loss, linear_params(), join_batches(grain_iterator(), grain_iterator()), steps=2, **options)


def test_an_iterator_without_position_is_refused_a_workdir(key, tmp_path):
    rows = iter([linear_data()])
    with pytest.raises(TrainingError, match="have no get_state and set_state"):
        fit(linear_loss, linear_params(), rows, optimizer=OPTIMIZER, steps=1, key=key, workdir=tmp_path)


def test_keep_bounds_the_folders(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "steps": 6, "checkpoint_every": 1, "keep": 3}
    fit(linear_loss, linear_params(), batches(), workdir=tmp_path, **options)
    assert sorted(p.name for p in (tmp_path / "checkpoints" / "train").iterdir()) == ["4", "5", "6"]


@pytest.mark.parametrize("left", ["nothing", "no metadata", "no arrays"])
def test_an_older_checkpoint_half_deleted_by_a_kill_does_not_matter(left, key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "checkpoint_every": 2, "workdir": tmp_path}
    straight = fit(linear_loss, linear_params(), batches(), steps=8, **options | {"workdir": None})
    fit(linear_loss, linear_params(), batches(), steps=4, **options)
    folder = tmp_path / "checkpoints" / "train"
    for part in (folder / "2").iterdir():
        if left == "nothing" or (part.name == "state") == (left == "no arrays"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    resumed = fit(linear_loss, linear_params(), batches(), steps=8, **options)
    assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))
    assert sorted(p.name for p in folder.iterdir()) == ["6", "8"]


@pytest.fixture
def no_large_files():
    """Refuses files above 50,000 bytes, as a full disk would."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited()


@pytest.mark.parametrize("keep", [1, 2])
def test_a_full_disk_is_one_error_and_loses_no_checkpoint(keep, key, tmp_path, no_large_files):
    params = {"w": jax.random.normal(key, (40_000,)), "b": jnp.zeros(())}  # 160,000 bytes

    def loss(params, batch, key):
        return jnp.mean((params["w"] - batch["y"].mean()) ** 2) + params["b"] ** 2, {}

    options = {"optimizer": optax.sgd(0.1), "key": key, "keep": keep, "log_every": 5}
    straight = fit(loss, params, batches(), steps=10, **options)
    options |= {"checkpoint_every": 5, "workdir": tmp_path}
    fit(loss, params, batches(), steps=5, **options)
    message = r"checkpoint of step 10 cannot be written to .*the one of step 5 is kept"
    with no_large_files, pytest.raises(TrainingError, match=message) as caught:
        fit(loss, params, batches(), steps=10, **options)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "checkpoints" / "train").iterdir()] == ["5"]
    resumed = fit(loss, params, batches(), steps=10, **options)
    assert_same_bits(straight.params, resumed.params)


def test_no_space_for_a_metric_line_is_one_error(key, tmp_path, no_large_files):
    (tmp_path / "metrics.jsonl").write_text('{"name": "other", "step": 1}\n' * 1800)  # just above 50,000 bytes
    options = {"optimizer": OPTIMIZER, "key": key, "steps": 2, "workdir": tmp_path}
    with (
        no_large_files,
        pytest.raises(TrainingError, match=r"metrics.jsonl cannot be written at step 2: File too large"),
    ):
        fit(linear_loss, linear_params(), batches(), **options)
    fit(linear_loss, linear_params(), batches(), **options)
    assert lines(tmp_path)[-1]["step"] == 2


def test_empty_and_low_precision_leaves_and_keys_survive(tmp_path):
    tree = {
        "empty": jnp.zeros((0, 3)),
        "half": jnp.arange(3, dtype=jnp.bfloat16) / 3,
        "key": jax.random.key(3),
        "a/b.c": jnp.int8(-4),
        "none": None,
    }
    with Checkpoints(tmp_path, keep=2) as store:
        assert store.latest() is None
        store.save(7, tree, {"note": "here"})
    with Checkpoints(tmp_path, keep=2) as store:
        assert store.latest() == 7
        assert store.meta(7)["note"] == "here"
        back = store.restore(7, jax.tree.map(lambda leaf: leaf, tree))
    assert back["empty"].shape == (0, 3)
    np.testing.assert_array_equal(back["half"].astype(np.float32), tree["half"].astype(np.float32))
    assert (jax.random.key_data(back["key"]) == jax.random.key_data(tree["key"])).all()
    assert int(back["a/b.c"]) == -4


def test_a_damaged_checkpoint_says_which_folder_to_delete(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "key": key, "checkpoint_every": 2, "workdir": tmp_path}
    straight = fit(linear_loss, linear_params(), batches(), steps=4, **options)
    folder = tmp_path / "checkpoints" / "train" / "4"
    (folder / "state" / "_METADATA").write_text("{")
    message = r"checkpoint of step 4 .* cannot be read .*delete the folder .*train/4 "
    with pytest.raises(TrainingError, match=message) as caught:
        fit(linear_loss, linear_params(), batches(), steps=4, **options)
    assert "\n" not in str(caught.value)
    shutil.rmtree(folder)
    assert_same_bits(straight.params, fit(linear_loss, linear_params(), batches(), steps=4, **options).params)


def test_runs_in_threads_save_side_by_side(tmp_path):
    data = ArrayBatches({"x": np.arange(8.0, dtype=np.float32)}, batch_size=4)

    def loss_fn(params, batch, key):
        return jnp.mean((params["w"] - batch["x"]) ** 2), {}

    def train(seed):
        return fit(
            loss_fn, {"w": jnp.zeros(())}, data, optimizer=optax.sgd(0.1), steps=12, key=jax.random.key(seed),
            workdir=tmp_path, name=f"run{seed}", checkpoint_every=2,
        ).params["w"]  # fmt: skip

    pool = ThreadPoolExecutor(3)
    running = [pool.submit(train, seed) for seed in range(6)]
    done, waiting = wait(running, timeout=120)
    pool.shutdown(wait=not waiting, cancel_futures=True)
    assert not waiting, "saves wait for each other"
    assert all(np.isfinite(run.result()) for run in done)
    assert all(float(train(seed)) == float(run.result()) for seed, run in enumerate(running))
