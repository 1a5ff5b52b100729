import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jlabel.confident_learning import ConfidentLearningError, StreamState, find_errors, find_errors_streaming
from tests.confident_learning.toy import TWO_LABELS, TWO_PROBS, noisy


def chunked(labels, probs, size, *, order=None, numbers=None):
    """A function that starts a fresh pass over chunks of so many rows."""
    order = np.arange(len(labels)) if order is None else order
    numbers = np.arange(len(labels)) if numbers is None else numbers

    def chunks():
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield numbers[rows], labels[rows], probs[rows]

    return chunks


def check_equal(found, labels, probs, rule="calibrated", limit=None):
    expected = find_errors(labels, probs, rule=rule)
    order = expected.order[:limit]
    np.testing.assert_array_equal(found.joint, expected.joint)
    np.testing.assert_array_equal(found.thresholds, expected.thresholds)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(found.scores, expected.scores[order])
    np.testing.assert_array_equal(found.label_counts, expected.label_counts)
    assert found.num_errors == expected.num_errors
    assert found.num_clipped == expected.num_clipped
    assert found.joint.dtype == np.int32


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_do_not_show(size, shuffled, dtype):
    labels, probs = noisy(300, 4, steps=9)  # many ties
    probs = probs.astype(dtype)
    order = np.random.default_rng(1).permutation(300) if shuffled else None
    for rule in ("calibrated", "off_diagonal"):
        found = find_errors_streaming(chunked(labels, probs, size, order=order), num_classes=4, rule=rule)
        check_equal(found, labels, probs, rule)


def test_larger_chunks():
    labels, probs = noisy(30_000, 12)
    order = np.random.default_rng(1).permutation(30_000)
    check_equal(find_errors_streaming(chunked(labels, probs, 4096), num_classes=12), labels, probs)
    check_equal(find_errors_streaming(chunked(labels, probs, 4096, order=order), num_classes=12), labels, probs)


@hypothesis.given(st.integers(0, 10_000), st.integers(1, 70), st.sampled_from([None, 0, 1, 5, 1000]))
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_order_size_and_limit(seed, size, limit):
    labels, probs = noisy(60, 3, seed=seed, steps=5, wrong=(seed % 10) / 10)
    order = np.random.default_rng(seed).permutation(60)
    chunks = chunked(labels, probs, size, order=order)
    check_equal(find_errors_streaming(chunks, num_classes=3, max_errors=limit), labels, probs, limit=limit)


def counted(chunks):
    """The function, and a list to which each call adds."""
    calls = []

    def count():
        calls.append(1)
        return chunks()

    return count, calls


def unsure():
    """Rows 0 to 2 prefer their label, are confident of the other class only, and so make the count exceed the rest."""
    labels = np.array([0] * 9 + [1] * 2)
    probs = np.array([[0.6, 0.4]] * 3 + [[0.95, 0.05]] * 6 + [[0.7, 0.3]] * 2)
    return labels, probs


def test_third_pass_when_the_count_exceeds_the_disagreeing_rows():
    labels, probs = unsure()
    found = find_errors(labels, probs)
    assert len(found.order) > (found.scores < 0).sum()
    for limit, passes in ((None, 3), (100, 3), (2, 2)):
        count, calls = counted(chunked(labels, probs, 3))
        check_equal(find_errors_streaming(count, num_classes=2, max_errors=limit), labels, probs, limit=limit)
        assert len(calls) == passes
    count, calls = counted(chunked(TWO_LABELS, TWO_PROBS, 3))
    check_equal(find_errors_streaming(count, num_classes=2), TWO_LABELS, TWO_PROBS)
    assert len(calls) == 2


def test_the_worst_rows_are_kept_while_many_pass():
    labels, probs = noisy(250_000, 2, wrong=0.9)
    found = find_errors_streaming(chunked(labels, probs, 20_000), num_classes=2, max_errors=10)
    check_equal(found, labels, probs, limit=10)


def test_row_numbers_need_not_start_at_0():
    numbers = np.random.default_rng(0).choice(10**12, 300, replace=False) - 10**11
    labels, probs = noisy(300, 4)
    plain = find_errors_streaming(chunked(labels, probs, 50), num_classes=4)
    found = find_errors_streaming(chunked(labels, probs, 50, numbers=numbers), num_classes=4)
    np.testing.assert_array_equal(found.indices, numbers[plain.indices])


def test_rows_to_mend_and_empty_chunks():
    labels, probs = noisy(200, 3)
    probs[::3] *= 1.0004
    plain = chunked(labels, probs, 9)

    def chunks():
        yield np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3))
        yield from plain()

    found = find_errors_streaming(chunks, num_classes=3)
    check_equal(found, labels, probs)
    assert found.num_clipped == 67


class Killed(Exception):
    pass


@pytest.mark.parametrize("limit", [None, 1, 1000])
def test_killed_jobs_resume_after_every_chunk(tmp_path, limit):
    labels, probs = unsure()
    chunks = chunked(labels, probs, 4, order=np.random.default_rng(0).permutation(11))
    total = []
    expected = find_errors_streaming(chunks, num_classes=2, max_errors=limit, save=total.append)
    assert len(total) == (6 if limit == 1 else 9)
    for kill in range(len(total)):
        saved = []

        def save(state, saved=saved, kill=kill):
            np.savez(tmp_path / "state.npz", **state._asdict())
            saved.append(state)
            if len(saved) == kill + 1:
                raise Killed

        with pytest.raises(Killed):
            find_errors_streaming(chunks, num_classes=2, max_errors=limit, save=save)
        with np.load(tmp_path / "state.npz") as file:
            state = StreamState(**file)
        later = []
        found = find_errors_streaming(chunks, num_classes=2, max_errors=limit, state=state, save=later.append)
        assert len(later) == len(total) - kill - 1  # chunks already done are not worked on again
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_saved_state_does_not_change_later():
    states = []
    labels, probs = noisy(100, 3)
    copies = []

    def save(state):
        states.append(state)
        copies.append([field.copy() for field in state])

    find_errors_streaming(chunked(labels, probs, 9), num_classes=3, save=save)
    for state, fields in zip(states, copies, strict=True):
        for found, expected in zip(state, fields, strict=True):
            np.testing.assert_array_equal(found, expected)


def refuses(message, chunks, **options):
    with pytest.raises(ConfidentLearningError, match=re.escape(message)) as caught:
        find_errors_streaming(chunks, **({"num_classes": 3} | options))
    assert "\n" not in str(caught.value)


def test_states_of_other_jobs():
    labels, probs = noisy(100, 3)
    chunks, states = chunked(labels, probs, 10), []
    find_errors_streaming(chunks, num_classes=3, save=states.append)
    refuses("state is of 3 classes, num_classes is 4", chunked(*noisy(9, 4), 3), state=states[0], num_classes=4)
    refuses("state was saved with max_errors=None, now it is 5: keep it", chunks, state=states[2], max_errors=5)
    refuses("chunks_fn() gave 5 chunks, but state has done 8", chunked(labels, probs, 20), state=states[7])
    refuses("some are given twice, or state is of other chunks", chunked(labels, probs, 9), state=states[14])
    refuses(
        "the second pass over chunks_fn() gave 95 rows, the first 100", chunked(labels, probs, 11), state=states[14]
    )


def test_passes_that_differ():
    labels, probs = noisy(100, 3)
    others = labels.copy()
    others[[3, 4]] = (others[[3, 4]] + 1) % 3
    changed = probs.copy()
    changed[5] = changed[5][::-1]
    numbers = np.arange(100)
    numbers[0] = 100

    def twice(*second):
        passes = iter([chunked(labels, probs, 10), chunked(*second[:2], 10, **dict(second[2:]))])
        return lambda: next(passes)()

    refuses("the second pass over chunks_fn() gave 99 rows, the first 100", twice(labels[:99], probs))
    refuses("the second pass over chunks_fn() gave other row numbers or labels", twice(others, probs))
    refuses("gave other row numbers or labels", twice(labels, probs, ("numbers", numbers)))
    refuses("the second pass over chunks_fn() gave other probabilities", twice(labels, changed))
    generator = chunked(labels, probs, 10)()
    refuses("the second pass over chunks_fn() gave 0 rows, the first 100: every call must", lambda: generator)


def test_rows_given_twice():
    labels, probs = noisy(100, 3)
    numbers = np.arange(100)
    numbers[7] = 5
    refuses("chunk 0: row number 5 is given twice", chunked(labels, probs, 10, numbers=numbers))
    numbers = np.arange(100)
    numbers[70] = 5
    numbers[99] = 50
    refuses("100 rows have numbers from 0 to 98: some are given twice", chunked(labels, probs, 10, numbers=numbers))
    worst = find_errors(labels, probs).order
    numbers = np.arange(100) * 10
    numbers[worst[0]] = numbers[worst[1]]
    refuses(f"row number {worst[1] * 10} is given twice", chunked(labels, probs, 1, numbers=numbers))


def test_bad_chunks():
    labels, probs = noisy(100, 3)
    bad = probs.copy()
    bad[57, 1] = np.nan
    refuses("chunk 5: probs[7, 1] is nan", chunked(labels, bad, 10))
    refuses("chunk 2: labels[3] is 9; allowed: 0 to 2", chunked(np.where(np.arange(100) == 23, 9, labels), probs, 10))
    refuses("chunks_fn() gave no rows: it must start a fresh pass", lambda: iter(()))
    refuses("chunk 0 must be (row numbers, labels, probs)", lambda: [(labels, probs)])
    refuses("chunk 0 must be (row numbers, labels, probs)", lambda: [5])
    refuses("chunk 0: row numbers must be (rows,) integers, got float64", lambda: [(labels * 0.5, labels, probs)])
    refuses(
        "chunk 0: probs must be (100, 4), rows and num_classes, got (100, 3)",
        chunked(labels, probs, 100),
        num_classes=4,
    )
    refuses("labels has 99 rows, probs has 100", lambda: [(np.arange(100), labels[:99], probs)])
    refuses("num_classes must be 1 or more, got 0", lambda: [], num_classes=0)
    refuses("max_errors must be 0 or more, or None for no bound, got -1", lambda: [], max_errors=-1)
    refuses("rule is 'x'", lambda: [], rule="x")
