"""Where batches come from: columns resident on the device, or an iterator on the host."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jlabel.training.batches import ArrayBatches, JoinedBatches, RowOrder, gather, is_numeric
from jlabel.training.checks import TrainingError
from jlabel.training.mesh import place, shard_batch
from jlabel.training.step import Setup, TrainState, compiled

__all__ = ["CHUNK", "Failure", "IteratorFeed", "ResidentFeed"]

# Steps per compiled call, at most. One number for every run: row orders are padded to it, so that neither the log nor
# the checkpoint interval changes a shape; a program of another shape may round otherwise.
CHUNK = 128


class Failure(NamedTuple):
    """The first step whose loss or gradient is not finite."""

    step: int  # counted from 1
    losses: np.ndarray  # scalar, or [R]
    seeds: list[int]  # which of [R]; empty without seeds
    batch: dict[str, np.ndarray]  # the columns of that batch, text too
    rows: str  # what to call its rows


class ResidentFeed:
    """Steps over `ArrayBatches`, many per compiled call."""

    def __init__(self, batches: ArrayBatches | JoinedBatches, setup: Setup, key_data: np.ndarray):
        """Puts the columns on the devices and prepares the row order of every part and seed."""
        self._parts, self._key_data = batches.parts, key_data
        self._seeds = len(key_data) if setup.seeds else None
        self._orders = [self._order(part, stream) for stream, part in enumerate(self._parts)]
        total = sum(part.batch_size for part in self._parts)
        _check_divides(total, setup.mesh.shape["data"])
        self._columns = [place(part.columns, setup.everywhere, copy=False) for part in self._parts]
        self._setup, self._programs = setup, compiled(setup)
        # XLA's CPU loops run a convolution some 18 times slower than straight-line code does.
        self.step_by_step = False

    def signature(self) -> dict[str, Any]:
        """Describes what the row order depends on besides the key."""
        return {
            "rows": [len(part) for part in self._parts],
            "batch_size": [part.batch_size for part in self._parts],
            "shuffle": [part.shuffle for part in self._parts],
            "weights": [_digest(part.weights) for part in self._parts],
            "groups": [_digest(part.groups) for part in self._parts],
        }

    def example(self) -> Any:
        """Returns the shapes of one seed's batch."""
        rows = [jax.ShapeDtypeStruct((part.batch_size,), np.int32) for part in self._parts]
        key = jax.eval_shape(lambda: jax.random.key(0, impl=self._setup.key_impl))
        return jax.eval_shape(lambda c, r, k: gather(self._setup.transforms or (), c, r, k), self._columns, rows, key)

    def position(self) -> None:
        """Returns nothing: the step is the position."""

    def seek(self, position: Any) -> None:
        """Does nothing: the step is the position."""

    def run(self, train: TrainState, hyper: Any, start: int, stop: int) -> tuple[TrainState, Failure | None]:
        """Takes steps `start` to `stop`, at most `CHUNK`."""
        rows = [self._rows(orders, start, stop) for orders in self._orders]
        if self.step_by_step:
            for step in range(start, stop):
                now = [r[step - start] for r in rows]
                train, loss, finite = self._programs.step(
                    train, self._columns, now, self._key_data, hyper, np.int32(step)
                )
                if not np.asarray(finite).all():
                    return train, self._failure(step + 1, np.asarray(loss), np.asarray(finite), now)
            return train, None
        padded = [np.pad(r, [(0, CHUNK - len(r))] + [(0, 0)] * (r.ndim - 1)) for r in rows]
        train, done, loss, finite = self._programs.run(
            train, self._columns, padded, self._key_data, hyper, np.int32(start), np.int32(stop - start)
        )
        if np.asarray(finite).all():
            return train, None
        bad = int(done) - 1
        return train, self._failure(start + bad + 1, np.asarray(loss), np.asarray(finite), [r[bad] for r in rows])

    def _order(self, part: ArrayBatches, stream: int) -> list[RowOrder]:
        weights = np.asarray(0.0 if part.weights is None else part.weights)
        if self._seeds is None:
            if weights.ndim == 2:
                raise TrainingError("weights with a line per seed need fit_seeds; fit takes weights [N]")
            return [RowOrder(part, self._key_data, stream=stream, seed=None)]
        if weights.ndim == 2 and len(weights) != self._seeds:
            raise TrainingError(f"weights have {len(weights)} lines for {self._seeds} keys; give one per key")
        return [RowOrder(part, data, stream=stream, seed=seed) for seed, data in enumerate(self._key_data)]

    def _rows(self, orders: list[RowOrder], start: int, stop: int) -> np.ndarray:
        rows = [order.rows(start, stop) for order in orders]
        return rows[0] if self._seeds is None else np.stack(rows, axis=1)

    def _failure(self, step: int, loss: np.ndarray, finite: np.ndarray, rows: list[np.ndarray]) -> Failure:
        seeds = [] if self._seeds is None else [int(seed) for seed in np.flatnonzero(~finite)]
        chosen = [r[seeds[0]] if seeds else r for r in rows]
        taken = [
            {name: np.asarray(column)[index] for name, column in part.arrays.items()}
            for part, index in zip(self._parts, chosen, strict=True)
        ]
        common = [name for name in taken[0] if all(name in part for part in taken)]
        batch = {name: np.concatenate([part[name] for part in taken]) for name in common}
        labels = [
            _shortened(part["name"] if "name" in part else index) for part, index in zip(taken, chosen, strict=True)
        ]
        return Failure(step, loss, seeds, {**batch, "row": np.concatenate(chosen)}, "rows " + " + ".join(labels))


class IteratorFeed:
    """Steps over an iterator of dict batches, one compiled call each."""

    def __init__(self, batches: Any, setup: Setup, key_data: np.ndarray):
        """Takes the first batch, to learn the columns; `seek` forgets it."""
        try:
            self._iterator: Iterator[Any] = iter(batches)
        except TypeError:
            raise TrainingError(
                f"batches must be ArrayBatches, join_batches or an iterator of dicts, got {type(batches).__name__}"
            ) from None
        self._setup, self._program, self._key_data = setup, compiled(setup).run, key_data
        self._pending: Mapping[str, Any] | None = None
        self._pending = self._next(0)

    def signature(self) -> dict[str, Any]:
        """Describes the batches."""
        return {"batches": "iterator"}

    def example(self) -> Any:
        """Returns the first batch."""
        assert self._pending is not None
        columns = {name: jnp.asarray(column) for name, column in self._pending.items() if is_numeric(column)}
        count = jax.process_count()
        return {n: jax.ShapeDtypeStruct((len(c) * count, *c.shape[1:]), c.dtype) for n, c in columns.items()}

    def position(self) -> list[Any]:
        """Returns the position of every process's iterator, as JSON values."""
        mine = json.dumps(_plain(self._iterator.get_state())).encode()  # type: ignore[attr-defined]
        if jax.process_count() == 1:
            return [json.loads(mine)]
        sizes = multihost_utils.process_allgather(np.asarray(len(mine), np.int32))
        padded = np.zeros(int(np.max(sizes)), np.uint8)
        padded[: len(mine)] = np.frombuffer(mine, np.uint8)
        texts = multihost_utils.process_allgather(padded)
        return [json.loads(bytes(text[:size])) for text, size in zip(texts, np.ravel(sizes), strict=True)]

    def seek(self, position: list[Any]) -> None:
        """Moves this process's iterator to a saved position."""
        if len(position) != jax.process_count():
            raise TrainingError(
                f"this run was saved by {len(position)} processes and is resumed by {jax.process_count()}; resume an"
                " iterator with as many"
            )
        try:
            self._iterator.set_state(_unplain(position[jax.process_index()]))  # type: ignore[attr-defined]
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise TrainingError(
                f"batches cannot go back to where this run was saved ({reason}); hand in the same pipeline"
            ) from error
        self._pending = None

    def resumable(self) -> bool:
        """Says whether the iterator can give and take its position."""
        return hasattr(self._iterator, "get_state") and hasattr(self._iterator, "set_state")

    def run(self, train: TrainState, hyper: Any, start: int, stop: int) -> tuple[TrainState, Failure | None]:
        """Takes steps `start` to `stop`."""
        waiting: tuple[int, Mapping[str, Any], Any, Any] | None = None
        for step in range(start, stop):
            batch = self._next(step)
            numbers = {name: np.asarray(column) for name, column in batch.items() if is_numeric(column)}
            device_batch = shard_batch(numbers, self._setup.mesh)
            train, loss, finite = self._program(train, device_batch, self._key_data, hyper, np.int32(step))
            # Looked at one step late, so that the device works while the host prepares the next batch.
            failure = _check_waiting(waiting, self._setup.seeds)
            if failure:
                return train, failure
            waiting = (step + 1, batch, loss, finite)
        return train, _check_waiting(waiting, self._setup.seeds)

    def _next(self, step: int) -> Mapping[str, Any]:
        if self._pending is not None:
            batch, self._pending = self._pending, None
            return batch
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise TrainingError(
                f"batches ended after {step} steps; let the pipeline repeat (epochs=None) or ask for fewer steps"
            ) from None
        if not isinstance(batch, Mapping):
            raise TrainingError(f"batches must be dicts of arrays, got {type(batch).__name__} at step {step + 1}")
        sizes = {name: np.shape(column)[:1] for name, column in batch.items()}
        if len(set(sizes.values())) != 1 or sizes[next(iter(sizes))] == ():
            raise TrainingError(f"columns of a batch must have one number of rows, got {sizes} at step {step + 1}")
        _check_divides(sizes[next(iter(sizes))][0] * jax.process_count(), self._setup.mesh.shape["data"])
        return batch


def _check_waiting(waiting: tuple[int, Mapping[str, Any], Any, Any] | None, seeds: bool) -> Failure | None:
    if waiting is None or np.asarray(waiting[3]).all():
        return None
    step, batch, loss, finite = waiting
    host = {name: np.asarray(column) for name, column in batch.items()}
    label = "rows " + _shortened(host["name"]) if "name" in host else f"{len(next(iter(host.values())))} rows"
    bad = [int(seed) for seed in np.flatnonzero(~np.asarray(finite))] if seeds else []
    return Failure(step, np.asarray(loss), bad, host, label)


def _check_divides(batch_size: int, devices: int) -> None:
    if batch_size % devices:
        raise TrainingError(
            f"a batch of {batch_size} rows does not divide over the mesh's {devices} devices along data"
        )


def _shortened(values: np.ndarray, most: int = 8) -> str:
    shown = ", ".join(str(value) for value in values[:most])
    return f"[{shown}]" if len(values) <= most else f"[{shown}, and {len(values) - most} more]"


def _digest(numbers: Any) -> str | None:
    if numbers is None:
        return None
    return hashlib.sha256(np.ascontiguousarray(numbers, dtype=np.float64).tobytes()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    # Grain gives bytes or dicts, by kind of iterator; JSON has no bytes.
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return [_unplain(item) for item in value] if isinstance(value, list) else value
