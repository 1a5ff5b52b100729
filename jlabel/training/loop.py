"""What `fit` and `fit_seeds` share: set up or resume, then step, log and save until done."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jlabel.training.batches import ArrayBatches, JoinedBatches
from jlabel.training.checkpoints import Checkpoints
from jlabel.training.checks import TrainingError, check_positive, differences
from jlabel.training.feeds import CHUNK, Failure, IteratorFeed, ResidentFeed
from jlabel.training.mesh import AXES, make_mesh, place
from jlabel.training.metric_log import MetricLog, read_history
from jlabel.training.step import Setup, TrainState, compiled, metric_sums
from jlabel.training.workdir import open_workdir

__all__ = ["FitResult", "run"]


class FitResult(NamedTuple):
    """What training gives back.

    Attributes:
        params: the trained parameters, in the structure they were given; from `fit_seeds` with a leading axis R.
        opt_state: the optimiser's state.
        state: the extra state, `None` if none was given.
        step: steps taken, counted from the start of the run and not of this call.
        history: a dict per log line: `name`, `step`, `seconds` since the start, and the mean of the loss and of every
            metric over the steps since the line before; from `fit_seeds` each mean is a list of R.
    """

    params: Any
    opt_state: Any
    state: Any
    step: int
    history: list[dict[str, Any]]


def run(
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    *,
    optimizer: Any,
    steps: int,
    keys: jax.Array,
    seeds: bool,
    hyper: Any,
    state: Any,
    mesh: jax.sharding.Mesh | None,
    workdir: str | os.PathLike[str] | None,
    config: Any,
    checkpoint_every: int | None,
    keep: int,
    log_every: int,
    name: str,
    progress: bool | None,
) -> FitResult:
    """Runs `fit` (`seeds=False`) or `fit_seeds`; see there."""
    mesh = make_mesh() if mesh is None else mesh
    if set(mesh.axis_names) != set(AXES):
        raise TrainingError(f"mesh must have the axes {AXES}, got {mesh.axis_names}; make it with make_mesh")
    for what, value in (("steps", steps), ("log_every", log_every), ("keep", keep)):
        check_positive(what, value, whole=True)
    if checkpoint_every is not None:
        check_positive("checkpoint_every", checkpoint_every, whole=True)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise TrainingError(f"name must be letters, digits, '.', '_' and '-', as it names a folder; got {name!r}")
    _check_keys(keys, seeds)
    if seeds:
        _check_leading(len(keys), mesh, params=params, state=state, hyper=hyper)
    path = None if workdir is None else open_workdir(workdir, config)

    in_memory = isinstance(batches, ArrayBatches | JoinedBatches)
    setup = Setup(
        loss_fn=loss_fn,
        optimizer=optimizer,
        stateful=state is not None,
        seeds=seeds,
        hyper=hyper is not None,
        mesh=mesh,
        key_impl=str(jax.random.key_impl(keys)),
        transforms=tuple(part.transform for part in batches.parts) if in_memory else None,
    )
    key_data = np.asarray(jax.random.key_data(keys))
    hyper = jax.tree.map(np.asarray, hyper)
    with jax.set_mesh(mesh):
        feed: ResidentFeed | IteratorFeed
        if in_memory:
            feed = ResidentFeed(batches, setup, key_data)
        else:
            feed = IteratorFeed(batches, setup, key_data)
            if path is not None and not feed.resumable():
                raise TrainingError(
                    f"batches of type {type(batches).__name__} have no get_state and set_state, so a run with a workdir"
                    " could not resume; take a Grain iterator or ArrayBatches, or leave workdir out"
                )
        train = _initial(setup, params, state, hyper, feed)
        identity = {
            "key": {"impl": setup.key_impl, "data": key_data.tolist()},
            "data": feed.signature(),
            "hyper": {jax.tree_util.keystr(p): x.tolist() for p, x in jax.tree_util.tree_flatten_with_path(hyper)[0]},
        }
        book = _Book(path, name, keep=keep, identity=identity, show=progress)
        with book:
            return _loop(book, feed, train, hyper, steps, log_every, checkpoint_every, setup.layout)


def _loop(
    book: "_Book",
    feed: ResidentFeed | IteratorFeed,
    train: TrainState,
    hyper: Any,
    steps: int,
    log_every: int,
    checkpoint_every: int | None,
    layout: jax.sharding.NamedSharding,
) -> FitResult:
    zeros = jax.tree.map(np.zeros_like, jax.device_get(train.sums))
    train, step = book.resume(train, feed, steps)
    with book.bar(step, steps) as bar:
        while step < steps:
            stop = min(steps, step + CHUNK, _next_multiple(step, log_every), _next_multiple(step, checkpoint_every))
            train, failure = feed.run(train, hyper, step, stop)
            if failure is not None:
                raise _failed(failure, book.name, book.path)
            bar.update(stop - step)
            step = stop
            if step % log_every == 0 or step == steps:
                bar.set_postfix(loss=f"{np.mean(book.log(step, train.sums)):.4g}")
                train = train._replace(sums=place(zeros, layout, copy=True))
            if step == steps or (checkpoint_every is not None and step % checkpoint_every == 0):
                book.save(step, train, feed)
    return FitResult(train.params, train.opt_state, train.state, step, book.history)


class _Book:
    """The records of one run: history, metric lines and checkpoints; without a workdir, history alone."""

    def __init__(self, path: Path | None, name: str, *, keep: int, identity: dict[str, Any], show: bool | None):
        self.path, self.name = path, name
        self.history: list[dict[str, Any]] = []
        self._identity, self._logged = identity, 0
        self._first = jax.process_index() == 0
        self._show = self._first and (sys.stderr.isatty() if show is None else show)
        self._started = time.monotonic()
        self._lines: MetricLog | None = None
        self._keep = keep
        self._stack = contextlib.ExitStack()
        self._checkpoints: Checkpoints | None = None

    def __enter__(self) -> "_Book":
        if self.path is not None:
            folder = self.path / "checkpoints" / self.name
            self._checkpoints = self._stack.enter_context(Checkpoints(folder, keep=self._keep))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def resume(self, train: TrainState, feed: ResidentFeed | IteratorFeed, steps: int) -> tuple[TrainState, int]:
        """Returns the last saved state and its step, or the given one and 0; cuts the metric lines back to it."""
        if self.path is None or self._checkpoints is None:
            return train, 0
        step = self._checkpoints.latest() or 0
        if step:
            meta = self._checkpoints.meta(step)
            found = differences(meta["identity"], self._identity)
            if found:
                raise TrainingError(
                    f"workdir {self.path} holds another run {self.name!r} ({'; '.join(found[:5])}); choose another"
                    " workdir or name"
                )
            if step > steps:
                raise TrainingError(
                    f"run {self.name!r} in {self.path} has taken {step} steps already; steps={steps} is fewer"
                )
            train = self._checkpoints.restore(step, train)
            if step < steps:
                feed.seek(meta["position"])
            self._logged = meta["logged"]
        file = self.path / "metrics.jsonl"
        self.history = read_history(file, self.name, until=step)
        self._started -= self.history[-1]["seconds"] if self.history else 0.0
        if self._first:
            self._lines = MetricLog(file, self.name, until=step)
            self._stack.callback(self._lines.close)
        return train, step

    def bar(self, step: int, steps: int) -> tqdm:
        """Opens the progress bar."""
        return tqdm(total=steps, initial=step, desc=self.name, unit="step", disable=not self._show)

    def log(self, step: int, sums: dict[str, jax.Array]) -> np.ndarray:
        """Adds a line with the means since the last one; returns the mean loss."""
        means = {name: np.asarray(total) / (step - self._logged) for name, total in sums.items()}
        self._logged = step
        record: dict[str, Any] = {"name": self.name, "step": step}
        record["seconds"] = round(time.monotonic() - self._started, 3)
        record["loss"] = means["loss"].tolist()
        record.update((name, mean.tolist()) for name, mean in means.items() if name != "loss")
        self.history.append(record)
        if self._lines is not None:
            self._lines.write(record)
        return means["loss"]

    def save(self, step: int, train: TrainState, feed: ResidentFeed | IteratorFeed) -> None:
        """Saves a checkpoint, if there is a workdir."""
        if self._checkpoints is not None:
            meta = {"identity": self._identity, "position": feed.position(), "logged": self._logged}
            self._checkpoints.save(step, train, meta)


def _initial(setup: Setup, params: Any, state: Any, hyper: Any, feed: ResidentFeed | IteratorFeed) -> TrainState:
    params, state = place(params, setup.layout, copy=True), place(state, setup.layout, copy=True)
    # A copy, as an optimiser may hand back the parameters themselves, and one buffer cannot be donated twice.
    opt_state = place(compiled(setup).init(params, hyper), setup.layout, copy=True)
    one = (lambda tree: jax.eval_shape(lambda t: jax.tree.map(lambda x: x[0], t), tree)) if setup.seeds else lambda t: t
    names, convolves = metric_sums(setup, one(params), one(state), feed.example())
    if isinstance(feed, ResidentFeed):
        feed.step_by_step = convolves and jax.default_backend() == "cpu"
    shape = jax.tree.leaves(params)[0].shape[:1] if setup.seeds else ()
    sums = place({name: np.zeros(shape, np.float32) for name in names}, setup.layout, copy=True)
    return TrainState(params, opt_state, state, sums)


def _failed(failure: Failure, name: str, path: Path | None) -> TrainingError:
    losses = failure.losses[failure.seeds] if failure.seeds else failure.losses
    what = f"loss is {losses}" if not np.isfinite(losses).all() else f"the gradient is not finite (loss {losses})"
    whom = f" for seeds {failure.seeds}" if failure.seeds else ""
    saved = ""
    if path is not None and jax.process_index() == 0:
        file = path / "nan_batch.npz"
        text = {n: c.astype(str) if c.dtype == object else c for n, c in failure.batch.items()}
        with contextlib.suppress(OSError):
            np.savez(file, **{n + "_" if n == "file" else n: c for n, c in text.items()})  # type: ignore[arg-type]
            saved = f"; the batch is in {file}"
    return TrainingError(
        f"{what}{whom} at step {failure.step} of run {name!r}, {failure.rows}{saved}; mend these rows or lower the"
        " learning rate"
    )


def _next_multiple(step: int, every: int | None) -> int:
    return sys.maxsize if every is None else (step // every + 1) * every


def _check_keys(keys: Any, seeds: bool) -> None:
    what, shape = ("keys", "[R]") if seeds else ("key", "[]")
    if not (isinstance(keys, jax.Array) and jax.dtypes.issubdtype(keys.dtype, jax.dtypes.prng_key)):
        raise TrainingError(f"{what} must be typed, from jax.random.key(seed), got {type(keys).__name__}")
    if keys.ndim != int(seeds) or keys.size == 0:
        raise TrainingError(f"{what} must have shape {shape}, got {list(keys.shape)}")


def _check_leading(count: int, mesh: jax.sharding.Mesh, **trees: Any) -> None:
    if count % mesh.shape["model"]:
        raise TrainingError(f"{count} keys do not divide over the mesh's {mesh.shape['model']} devices along model")
    for what, tree in trees.items():
        for place_, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            if np.shape(leaf)[:1] != (count,):
                named = what + jax.tree_util.keystr(place_)
                raise TrainingError(
                    f"{named} must have a leading axis of {count}, one per key, got {list(np.shape(leaf))}"
                )
            if what == "hyper" and not np.isfinite(np.asarray(leaf)).all():
                named = what + jax.tree_util.keystr(place_)
                raise TrainingError(f"{named} must be finite, got {np.asarray(leaf).tolist()}")
