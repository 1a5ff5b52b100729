"""Order, shares and exact resume of batches."""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
import pytest

import jlabel.data
from jlabel.data import DataError, Source, from_arrays, pipeline


@pytest.fixture
def source() -> Source:
    rows = np.arange(23)
    return from_arrays({"features": rows[:, None], "label": rows % 3}, label_names=("a", "b", "c"))


def make(source: Source, **options: Any) -> grain.DatasetIterator:
    return pipeline(source, **{"batch_size": 4, "process_index": 0, "process_count": 1, **options})


def rows_of(batches: Iterator[dict[str, np.ndarray]]) -> list[list[int]]:
    return [batch["features"][:, 0].astype(int).tolist() for batch in batches]


class AddNoise(grain.transforms.RandomMap):
    def random_map(self, row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**row, "noise": rng.random()}


def test_batches_hold_the_rows(source: Source) -> None:
    first = next(make(source, shuffle=False))
    assert first["features"].tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert first["label"].tolist() == [0, 1, 2, 0]
    assert first["label"].dtype == np.int32
    assert first["name"].tolist() == ["arrays#0", "arrays#1", "arrays#2", "arrays#3"]


def test_epochs_are_shuffled_anew_and_drop_the_remainder(source: Source) -> None:
    batches = rows_of(make(source, epochs=2))
    assert [len(batch) for batch in batches] == [4] * 10
    first, second = np.ravel(batches[:5]), np.ravel(batches[5:])
    assert len(set(first)) == len(set(second)) == 20
    assert first.tolist() != second.tolist()
    assert set(first) != set(second)  # it is not always the same rows that are left out
    assert rows_of(make(source, epochs=2)) == batches
    assert rows_of(make(source, epochs=2, seed=1)) != batches
    assert rows_of(make(source, epochs=2, shuffle=False))[5] == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_out_each_batch(source: Source, count: int) -> None:
    whole = rows_of(make(source, epochs=3))
    parts = [rows_of(make(source, epochs=3, process_index=i, process_count=count)) for i in range(count)]
    assert {len(part) for part in parts} == {15}
    for step, batch in enumerate(whole):
        # Together the processes see the very batch that one process would.
        assert sorted(np.concatenate([part[step] for part in parts])) == sorted(batch)


def test_resume_is_exact(source: Source) -> None:
    options = {"transforms": [AddNoise(), lambda row: {**row, "double": 2 * row["label"]}], "epochs": 3}
    straight = list(make(source, **options))
    for stop in (0, 3, 5, 12):
        stopped = make(source, **options)
        for _ in range(stop):
            next(stopped)
        state = stopped.get_state()
        for _ in range(2):
            next(stopped)
        resumed = make(source, **options)
        resumed.set_state(state)
        rest = list(resumed)
        assert len(rest) == 15 - stop
        for expected, batch in zip(straight[stop:], rest, strict=True):
            for name in expected:
                np.testing.assert_array_equal(expected[name], batch[name])
    assert (straight[0]["double"] == 2 * straight[0]["label"]).all()
    assert len({value for batch in straight for value in batch["noise"]}) == 60


def test_pictures_of_one_size() -> None:
    digits = jlabel.data.open("embedded:digits", "val")
    batch = next(make(digits, image_size=5))
    assert batch["image"].shape == (4, 5, 5, 3)
    assert batch["image"].dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be a positive multiple of the 1 processes"),
        ({"batch_size": 5, "process_count": 2}, "batch_size=5 must be a positive multiple of the 2 processes"),
        ({"batch_size": 24}, "batch_size=24 is more than the 23 rows of arrays"),
        ({"epochs": 0}, "epochs=0"),
        ({"process_index": 1}, "process_index=1 must lie from 0 to process_count - 1 = 0"),
        ({"workers": -1}, "workers=-1"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_bad_arguments(source: Source, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(source, **options)


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(source: Source) -> None:
    expected = rows_of(make(source, epochs=2))
    iterator = make(source, epochs=2, workers=2)
    seen = [next(iterator) for _ in range(3)]
    state = iterator.get_state()
    assert rows_of(iter(seen)) + rows_of(iterator) == expected
    resumed = make(source, epochs=2, workers=2)
    resumed.set_state(state)
    assert rows_of(resumed) == expected[3:]
