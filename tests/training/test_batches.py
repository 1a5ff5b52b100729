import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.training import ArrayBatches, TrainingError, join_batches
from jlabel.training.batches import RowOrder, gather


def order(rows=10, batch_size=4, seed=0, stream=0, **options) -> RowOrder:
    part = ArrayBatches({"x": np.arange(rows)}, batch_size=batch_size, **options)
    return RowOrder(part, np.array([0, seed], np.uint32), stream=stream, seed=None)


def test_every_epoch_holds_each_row_once_and_no_row_is_dropped():
    drawn = order(rows=10, batch_size=4).rows(0, 15).ravel()  # 60 places = 6 epochs
    epochs = drawn.reshape(6, 10)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_without_shuffle_rows_come_in_order():
    assert order(rows=5, batch_size=3, shuffle=False).rows(1, 3).tolist() == [[3, 4, 0], [1, 2, 3]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 40), st.integers(1, 20), st.integers(0, 2))
def test_rows_of_a_step_do_not_depend_on_where_reading_starts(rows, batch_size, start, count, weighted):
    options = {"weights": np.arange(rows) + 1.0} if weighted else {}
    if weighted == 2:
        options["groups"] = np.arange(rows) % 3
    batch_size = batch_size if weighted else min(batch_size, rows)
    whole = order(rows, batch_size, **options).rows(0, start + count)
    part = order(rows, batch_size, **options).rows(start, start + count)
    np.testing.assert_array_equal(whole[start:], part)


def test_keys_and_streams_give_different_orders():
    orders = [order(rows=100, batch_size=50, seed=s, stream=t).rows(0, 2).tobytes() for s in (0, 1) for t in (0, 1)]
    assert len(set(orders)) == 4


def test_weights_are_frequencies_and_zero_is_held_out():
    weights = np.array([0.0, 1.0, 0.0, 3.0, 6.0, 0.0])
    drawn = order(rows=6, batch_size=100, weights=weights).rows(0, 200).ravel()
    share = np.bincount(drawn, minlength=6) / drawn.size
    # 20,000 draws: a standard error of at most .0036.
    np.testing.assert_allclose(share, weights / 10, atol=0.015)
    assert share[[0, 2, 5]].tolist() == [0.0, 0.0, 0.0]


def test_weighted_draws_are_keyed_by_philox_counter():
    # Independent reading of the same stream: one generator run through from the start.
    weights = np.array([2.0, 1.0, 1.0])
    entropy = np.random.SeedSequence([0, 0, 0]).generate_state(2, np.uint64)
    uniform = np.random.Generator(np.random.Philox(counter=0, key=entropy)).random((5, 8))[:, :6]
    expected = np.where(uniform < 0.5, 0, np.where(uniform < 0.75, 1, 2))
    np.testing.assert_array_equal(order(rows=3, batch_size=6, weights=weights).rows(0, 5), expected)


def test_gather_joins_parts_and_transforms_each_with_its_own_key():
    def add_noise(batch, key):
        return {**batch, "x": batch["x"] + jax.random.uniform(key, batch["x"].shape)}

    columns = [{"x": jnp.arange(4.0)}, {"x": jnp.arange(10.0, 14.0)}, {"x": jnp.arange(20.0, 24.0)}]
    rows = [jnp.array([0, 3]), jnp.array([1]), jnp.array([1, 1])]
    joined = gather((None, add_noise, add_noise), columns, rows, jax.random.key(0))["x"]
    np.testing.assert_array_equal(joined[:2], [0.0, 3.0])
    np.testing.assert_array_equal(jnp.floor(joined[2:]), [11.0, 21.0, 21.0])
    assert joined[2] % 1 != joined[3] % 1


def test_text_columns_stay_on_the_host():
    part = ArrayBatches({"x": np.zeros(3), "name": np.array(["a", "b", "c"])}, batch_size=1)
    assert list(part.columns) == ["x"]


def test_rows_of_a_step_are_of_one_group_and_keep_their_probabilities():
    weights, groups = np.array([1.0, 0, 2, 3, 0, 4, 0]), np.array([2, 2, 5, 0, 1, 0, 5])
    drawn = order(rows=7, batch_size=5, weights=weights, groups=groups).rows(0, 8000)
    assert (groups[drawn] == groups[drawn[:, :1]]).all()
    share = np.bincount(drawn.ravel(), minlength=7) / drawn.size
    # 8,000 draws of a group: a standard error of .0052 at a share of .7.
    np.testing.assert_allclose(share, weights / 10, atol=0.02)
    assert share[[1, 4, 6]].tolist() == [0.0, 0.0, 0.0]


def test_joined_sets_draw_like_groups():
    groups = np.repeat(np.arange(4), 25)
    options = {"rows": 100, "batch_size": 3, "weights": np.ones(100), "groups": groups}
    first, second = (order(stream=stream, **options).rows(0, 50) for stream in (0, 1))
    np.testing.assert_array_equal(groups[first[:, 0]], groups[second[:, 0]])
    assert (first != second).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=0), r"batch_size must be a positive whole number, got 0"),
        (
            lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=2.0),
            r"batch_size must be a positive whole number, got 2.0",
        ),
        (lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=4), r"batch_size 4 exceeds the 3 rows"),
        (lambda: ArrayBatches({"x": np.zeros(3), "y": np.zeros(2)}, batch_size=1), r"\{'x': 3, 'y': 2\}"),
        (lambda: ArrayBatches({}, batch_size=1), r"at least one column"),
        (lambda: ArrayBatches({"x": np.zeros((0, 2))}, batch_size=1), r"at least one column and one row"),
        (lambda: ArrayBatches({"name": np.array(["a"])}, batch_size=1), r"only text \(name\)"),
        (lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, weights=[1, -2, 0]), r"got -2.0 at \[1\]"),
        (lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, weights=[1, np.nan, 0]), r"got nan at \[1\]"),
        (lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, weights=[[1, 1, 1], [0, 0, 0]]), r"all be 0.*line 1"),
        (
            lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, weights=[1, 1]),
            r"shape \[3\] or \[seeds, 3\], got \[2\]",
        ),
        (
            lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, groups=[0, 1, 1]),
            r"groups must be whole numbers \[3\] beside weights, got int64\[3\] and no weights",
        ),
        (
            lambda: ArrayBatches({"x": np.zeros(3)}, batch_size=1, weights=[1, 1, 1], groups=[0.5, 1]),
            r"beside weights, got float64\[2\]",
        ),
        (lambda: join_batches(), r"at least one set"),
        (lambda: join_batches(ArrayBatches({"x": np.zeros(3)}, batch_size=1), iter([])), r"not both"),
        (
            lambda: join_batches(
                ArrayBatches({"x": np.zeros(3)}, batch_size=1), ArrayBatches({"z": np.zeros(3)}, batch_size=1)
            ),
            r"same columns in every set, got \['x'\] and \['z'\]",
        ),
        (
            lambda: join_batches(
                ArrayBatches({"x": np.zeros((3, 2))}, batch_size=1), ArrayBatches({"x": np.zeros((3, 5))}, batch_size=1)
            ),
            r"column 'x', got float32\[2\] and float32\[5\]",
        ),
    ],
)
def test_bad_input_is_one_clear_line(make, message):
    with pytest.raises(TrainingError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
