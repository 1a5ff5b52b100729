"""Data held in memory: which rows step s takes is a pure function of the key and s."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.training.checks import TrainingError, check_positive

__all__ = ["ArrayBatches", "JoinedBatches", "JoinedIterators", "join_batches"]

Batch = dict[str, jax.Array]
Transform = Callable[[Batch, jax.Array], Batch]

# Far from the small numbers that a loss folds into the same step key.
_TRANSFORM_TAG = 0x7472616E


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayBatches:
    """Batches drawn from arrays in memory; the arrays go to the device once and stay there.

    Without `weights`, step s takes places s·B to (s+1)·B of an endless line of epochs, each a fresh shuffle of all N
    rows: every row once per epoch, no row dropped, a batch may hold the end of one epoch and the start of the next.
    With `weights`, it draws B rows with replacement, row i with probability w_i / Σ w. With `groups` too, all rows of a
    step are of one group, drawn by its share of the weights, so that row i keeps its probability; joined sets draw
    their groups by the same number. Texts of like length, grouped, need little padding.

    Attributes:
        arrays: columns by name, each `[N, ...]`. Columns of text stay on the host, where messages use `name`.
        batch_size: B, at most N unless `weights` are given.
        shuffle: whether epochs are shuffled; without it rows come in order.
        weights: `[N]`, at least 0, or `[R, N]` with one line per seed for `fit_seeds`. A row of weight 0 is held out.
        groups: int `[N]`, the group of each row; needs `weights`.
        transform: `(batch, key) -> batch`, run inside the compiled step (augmentation); with `fit_seeds` once a seed.

    Raises:
        TrainingError: columns of unequal length, no rows, a batch larger than the data, weights that are negative,
            not finite, all zero or of another length, or groups without weights, of fractions or of another length.

    Example:
        >>> len(ArrayBatches({"x": np.zeros((10, 3)), "label": np.arange(10)}, batch_size=4))
        10
        >>> ArrayBatches({"x": np.zeros((10, 3))}, batch_size=12)
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: batch_size 12 exceeds the 10 rows of the data; take at most 10
    """

    arrays: Mapping[str, ArrayLike]
    batch_size: int
    _: dataclasses.KW_ONLY
    shuffle: bool = True
    weights: ArrayLike | None = None
    groups: ArrayLike | None = None
    transform: Transform | None = None

    def __post_init__(self) -> None:
        """Checks columns and weights once."""
        check_positive("batch_size", self.batch_size, whole=True)
        sizes = {name: np.shape(column)[0] if np.ndim(column) else 0 for name, column in self.arrays.items()}
        if not sizes or min(sizes.values()) < 1:
            raise TrainingError(f"arrays must hold at least one column and one row, got rows {sizes}")
        if len(set(sizes.values())) > 1:
            raise TrainingError(f"arrays must have one number of rows, got {sizes}")
        if not self.columns:
            raise TrainingError(f"arrays hold only text ({', '.join(sizes)}); a batch needs a column of numbers")
        if self.weights is not None:
            _check_weights(np.asarray(self.weights, dtype=np.float64), len(self))
        elif self.batch_size > len(self):
            raise TrainingError(
                f"batch_size {self.batch_size} exceeds the {len(self)} rows of the data; take at most {len(self)}"
            )
        if self.groups is not None:
            groups = np.asarray(self.groups)
            if self.weights is None or groups.shape != (len(self),) or groups.dtype.kind not in "iu":
                raise TrainingError(
                    f"groups must be whole numbers [{len(self)}] beside weights, got {groups.dtype}"
                    f"{list(groups.shape)}{'' if self.weights is not None else ' and no weights'}"
                )

    def __len__(self) -> int:
        """Counts the rows N."""
        return int(np.shape(next(iter(self.arrays.values())))[0])

    @property
    def parts(self) -> tuple["ArrayBatches", ...]:
        """The sets that every batch is put together from: this one."""
        return (self,)

    @property
    def columns(self) -> dict[str, ArrayLike]:
        """The columns that go to the device."""
        return {name: column for name, column in self.arrays.items() if is_numeric(column)}


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedBatches:
    """Several `ArrayBatches`, whose batches are concatenated."""

    parts: tuple[ArrayBatches, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedIterators:
    """Several iterators of dict batches, whose batches are concatenated on the host."""

    parts: tuple[Any, ...]

    def __iter__(self) -> "JoinedIterators":
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Takes one batch from each."""
        batches = [next(part) for part in self.parts]
        _check_same(batches)
        return {name: np.concatenate([np.asarray(batch[name]) for batch in batches]) for name in batches[0]}

    def get_state(self) -> list[Any]:
        """Returns the position of each."""
        return [part.get_state() for part in self.parts]

    def set_state(self, state: Sequence[Any]) -> None:
        """Moves each to a position from `get_state`."""
        for part, part_state in zip(self.parts, state, strict=True):
            part.set_state(part_state)


def join_batches(*batches: Any) -> JoinedBatches | JoinedIterators:
    """Joins data sets: every batch is one batch of each, concatenated in this order.

    A set with few fine rows and one with many coarse rows thus keep their shares of every batch.

    Args:
        *batches: `ArrayBatches`, or iterators of dict batches of NumPy arrays; not a mixture of the two.

    Returns:
        What `fit` takes as `batches`, with batches of the sum of the sizes.

    Raises:
        TrainingError: nothing to join, a mixture, or columns whose names, row shapes or types do not agree.

    Example:
        >>> fine = ArrayBatches({"x": np.zeros((10, 3)), "label": np.arange(10)}, batch_size=4)
        >>> coarse = ArrayBatches({"x": np.zeros((50, 3)), "label": np.zeros(50, int)}, batch_size=8)
        >>> sum(part.batch_size for part in join_batches(fine, coarse).parts)
        12
    """
    if not batches:
        raise TrainingError("join_batches needs at least one set of batches")
    in_memory = [isinstance(part, ArrayBatches | JoinedBatches) for part in batches]
    if not any(in_memory):
        return JoinedIterators(tuple(iter(part) for part in batches))
    if not all(in_memory):
        raise TrainingError("join_batches takes ArrayBatches or iterators, not both; load the small set as an iterator")
    parts = tuple(inner for part in batches for inner in part.parts)
    if all(part.transform is None for part in parts):
        _check_same([part.columns for part in parts])
    return JoinedBatches(parts)


class RowOrder:
    """The row numbers of one part for one key: `rows(start, stop)` gives `[stop - start, B]`.

    Philox counts, so a stretch of weighted draws is read without those before it; a shuffled epoch is keyed by its
    number. `stream` tells the parts of a join apart, which share the key.
    """

    def __init__(self, part: ArrayBatches, key_data: np.ndarray, *, stream: int, seed: int | None):
        """Prepares the draws of one part."""
        self._size, self._batch_size, self._shuffle = len(part), part.batch_size, part.shuffle
        self._entropy = [int(word) for word in np.ravel(key_data)] + [stream]
        self._epoch: tuple[int, np.ndarray] = (-1, np.arange(self._size, dtype=np.int32))
        self._steps: np.ndarray | None = None
        if part.weights is not None:
            weights = np.asarray(part.weights, dtype=np.float64)
            weights = weights if weights.ndim == 1 else weights[seed]
            groups = np.zeros(self._size, int) if part.groups is None else np.asarray(part.groups)
            # Places of the sums below: a group's rows lie side by side.
            self._places = np.argsort(groups, kind="stable").astype(np.int32)
            self._steps = np.cumsum(weights[self._places])
            self._ends = np.append(np.flatnonzero(np.diff(groups[self._places])), self._size - 1)  # of groups
            used = np.diff(self._steps, prepend=0.0) > 0
            self._last = np.maximum.accumulate(np.where(used, np.arange(self._size), 0))  # row with weight, up to here
            self._philox_key = np.random.SeedSequence(self._entropy).generate_state(2, np.uint64)
            # Without the stream: joined parts draw like groups.
            self._group_key = np.random.SeedSequence(self._entropy[:-1]).generate_state(2, np.uint64)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns the int32 row numbers of steps `start` to `stop`, `[stop - start, B]`."""
        if self._steps is not None:
            return self._draw(start, stop)
        first, last = start * self._batch_size, stop * self._batch_size
        pieces = []
        while first < last:
            epoch, place = divmod(first, self._size)
            taken = min(last - first, self._size - place)
            pieces.append(self._permutation(epoch)[place : place + taken])
            first += taken
        return np.concatenate(pieces).reshape(stop - start, self._batch_size)

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._shuffle and self._epoch[0] != epoch:
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([*self._entropy, epoch])))
            self._epoch = (epoch, rng.permutation(self._size).astype(np.int32))
        return self._epoch[1]

    def _draw(self, start: int, stop: int) -> np.ndarray:
        assert self._steps is not None
        # One count of Philox gives four draws; whole counts per step make the stretch independent of where it starts.
        counts = -(-self._batch_size // 4)
        uniform = _uniform(self._philox_key, start * counts, (stop - start, 4 * counts))[:, : self._batch_size]
        total = self._steps[-1]
        if len(self._ends) == 1:
            found, end = np.searchsorted(self._steps, uniform * total, side="right"), self._ends[0]
        else:
            ends = self._steps[self._ends]
            group = np.searchsorted(ends, _uniform(self._group_key, start, (stop - start, 4))[:, 0] * total, "right")
            group = np.minimum(group, np.searchsorted(ends, total))
            low = np.append(0.0, ends)[group, None]
            found = np.searchsorted(self._steps, low + uniform * (ends[group, None] - low), side="right")
            end = self._ends[group, None]
        # Rounding may reach the end itself, which lies beyond the last row that has weight.
        return self._places[self._last[np.minimum(found, end)]]


def _uniform(key: np.ndarray, counter: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(counter=counter, key=key)).random(shape)


def gather(
    transforms: tuple[Transform | None, ...], columns: Sequence[Mapping[str, jax.Array]], rows: Any, key: jax.Array
) -> Batch:
    """Takes the rows of one batch from the resident columns, part by part; runs inside the compiled step."""
    parts = []
    for index, (transform, part, chosen) in enumerate(zip(transforms, columns, rows, strict=True)):
        batch = {name: column.at[chosen].get(mode="promise_in_bounds") for name, column in part.items()}
        if transform is not None:
            batch = transform(batch, jax.random.fold_in(key, _TRANSFORM_TAG + index))
        parts.append(batch)
    _check_same(parts)
    return parts[0] if len(parts) == 1 else {name: jnp.concatenate([p[name] for p in parts]) for name in parts[0]}


def is_numeric(column: ArrayLike) -> bool:
    """Says whether a column can go to a device: numbers and truth values, not text or objects."""
    kind = column.dtype if hasattr(column, "dtype") else np.asarray(column).dtype
    return jnp.issubdtype(kind, jnp.number) or jnp.issubdtype(kind, jnp.bool_)


def _check_weights(weights: np.ndarray, size: int) -> None:
    if weights.ndim not in (1, 2) or weights.shape[-1] != size:
        raise TrainingError(f"weights must have shape [{size}] or [seeds, {size}], got {list(weights.shape)}")
    bad = np.argwhere(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        place = tuple(int(i) for i in bad[0])
        raise TrainingError(f"weights must be finite and at least 0, got {weights[place]} at {list(place)}")
    empty = np.flatnonzero(np.atleast_2d(weights).sum(axis=1) == 0)
    if empty.size:
        raise TrainingError(f"weights must not all be 0, as they are in line {int(empty[0])}; no row could be drawn")


def _check_same(batches: Sequence[Mapping[str, Any]]) -> None:
    first = batches[0]
    for other in batches[1:]:
        if set(other) != set(first):
            raise TrainingError(
                f"join_batches needs the same columns in every set, got {sorted(first)} and {sorted(other)}"
            )
        for name in first:
            kinds = [
                (tuple(np.shape(b[name])[1:]), str(jnp.result_type(b[name])))
                for b in (first, other)
                if is_numeric(b[name])
            ]
            if len(set(kinds)) > 1:
                raise TrainingError(
                    f"join_batches needs rows of one shape and type in column {name!r}, got "
                    + " and ".join(f"{kind}{list(shape)}" for shape, kind in kinds)
                )
