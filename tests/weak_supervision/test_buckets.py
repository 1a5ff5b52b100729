"""Buckets: exact, ordered, and the same however the rows were cut; votes that are none."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from jlabel.weak_supervision import (
    Buckets,
    WeakSupervisionError,
    as_buckets,
    check_votes,
    compress,
    compress_chunks,
    dense_votes,
    merge_buckets,
)


def draw(rows: int, rules: int, classes: int, abstain: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, classes, (rows, rules))
    return np.where(rng.random((rows, rules)) < abstain, -1, votes).astype(np.int8)


def stored(votes: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(votes + 1)


def assert_same(a: Buckets, b: Buckets) -> None:
    assert dense_votes(a.rows).tobytes() == dense_votes(b.rows).tobytes()
    assert a.counts.tobytes() == b.counts.tobytes()
    assert a.counts.dtype == b.counts.dtype == np.int64


# The three ways rows are packed: a table of all possible rows, one number, several numbers.
SHAPES = {
    "table": (700, 3, 2, 0.5),
    "one word": (700, 20, 3, 0.97),
    "two words": (700, 60, 3, 0.99),
    "many words": (500, 300, 56, 0.999),
    "one rule": (50, 1, 126, 0.3),
    "no row": (0, 4, 2, 0.5),
    "one row": (1, 60, 6, 0.5),
    "all differ": (300, 80, 6, 0.2),
    "all abstain": (40, 70, 2, 1.0),
}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_compress_is_numpy_unique(shape, kind):
    votes = draw(*shape)
    buckets = compress(votes if kind == "dense" else stored(votes))
    rows, inverse, counts = np.unique(votes, axis=0, return_inverse=True, return_counts=True)
    assert sparse.issparse(buckets.rows) == (kind == "sparse")
    assert dense_votes(buckets.rows).dtype == np.int8
    np.testing.assert_array_equal(dense_votes(buckets.rows), rows)
    np.testing.assert_array_equal(buckets.counts, counts)
    np.testing.assert_array_equal(buckets.inverse, inverse.ravel())


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_merging_in_any_order_and_grouping_gives_the_same_bits(kind):
    votes = draw(900, 45, 3, 0.97)
    given = votes if kind == "dense" else stored(votes)
    whole = compress(given)
    parts = [compress(given[a:b]) for a, b in ((0, 100), (100, 101), (101, 600), (600, 900))]
    for order in itertools.permutations(parts):
        merged = merge_buckets(*order)
        assert merged.inverse is None
        assert_same(merged, whole)
        assert_same(merge_buckets(merge_buckets(*order[:2]), merge_buckets(*order[2:])), whole)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-1, 3)),
    st.integers(1, 5),
)
def test_chunks_give_the_buckets_of_the_whole(votes, size):
    whole = compress(votes)
    assert_same(compress_chunks(votes[i : i + size] for i in range(0, len(votes), size)), whole)
    assert_same(compress_chunks(stored(votes[i : i + size]) for i in range(0, len(votes), size)), whole)
    np.testing.assert_array_equal(whole.rows[whole.inverse], votes)
    assert whole.counts.sum() == len(votes)


def test_a_sparse_chunk_among_dense_ones():
    votes = draw(60, 5, 2, 0.5)
    assert_same(compress_chunks([votes[:20], stored(votes[20:40]), compress(votes[40:])]), compress(votes))


def test_counts_beyond_int32_stay_exact():
    big = Buckets(np.array([[0, 1]], np.int8), np.array([2**40 + 1]))
    assert merge_buckets(big, big, compress([[0, 1]])).counts.tolist() == [2**41 + 3]


def test_buckets_survive_pickling():
    buckets = compress(draw(40, 3, 2, 0.5))
    assert_same(pickle.loads(pickle.dumps(buckets)), buckets)


def test_ties_of_long_sparse_rows_are_broken_by_their_last_vote():
    votes = np.full((4, 500), -1, np.int8)
    votes[:, :400] = 2
    votes[0, 450], votes[1, 451], votes[2, 450] = 1, 55, 0
    buckets = compress(stored(votes))
    np.testing.assert_array_equal(buckets.inverse, [3, 1, 2, 0])
    np.testing.assert_array_equal(dense_votes(buckets.rows), np.unique(votes, axis=0))


def test_as_buckets():
    votes = draw(50, 4, 2, 0.5)
    whole = compress(votes)
    for form in (votes, votes.tolist(), stored(votes), whole, compress(stored(votes))):
        found = as_buckets(form, num_classes=2)
        assert isinstance(found.rows, np.ndarray)
        assert_same(found, whole)
        np.testing.assert_array_equal(found.inverse, whole.inverse)
    assert sparse.issparse(as_buckets(stored(votes), num_classes=2, keep_sparse=True).rows)


def test_forms_of_votes_that_are_fine():
    votes = np.array([[0, -1], [1, 1]], np.int8)
    assert check_votes(votes, num_classes=2) is votes
    table = pd.DataFrame({"a": pd.array([0, 1], dtype="Int8"), "b": [-1, 1]})
    for form in (votes.astype(np.float32), votes.astype(np.int64), votes.tolist(), votes[:, ::-1][:, ::-1], table):
        checked = check_votes(form, num_classes=2)
        assert checked.dtype == np.int8
        np.testing.assert_array_equal(checked, votes)
    np.testing.assert_array_equal(check_votes(np.array([[True, False]])), [[1, 0]])
    for form in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        np.testing.assert_array_equal(check_votes(stored(votes).asformat(form)), votes)
        np.testing.assert_array_equal(check_votes(sparse.csr_matrix(votes + 1.0).asformat(form)), votes)
    with_zero = sparse.csr_array((np.array([0, 2], np.int8), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    assert check_votes(with_zero, keep_sparse=True).nnz == 1
    assert with_zero.nnz == 2
    assert check_votes(np.zeros((0, 3))).shape == (0, 3)


BAD = {
    "too high": ([[0, 1], [1, 2]], "votes[1, 1] is 2 (row 1, rule 1); allowed: -1 to 1"),
    "too low": ([[0, -2]], "votes[0, 1] is -2 (row 0, rule 1); allowed: -1 to 1"),
    "NaN": ([[0.0, 1.0], [float("nan"), 1.0]], "votes[1, 0] is nan (row 1, rule 0); allowed: -1 to 1"),
    "infinite": ([[0.0, np.inf]], "votes[0, 1] is inf (row 0, rule 1)"),
    "fraction": ([[0, 0.5]], "votes[0, 1] is 0.5 (row 0, rule 1)"),
    "text": ([["0", "spam"]], "votes[0, 0] is '0' (row 0, rule 0)"),
    "none": ([[0, None]], "votes[0, 1] is None (row 0, rule 1)"),
    "wraps in int8": (np.array([[0, 257]]), "votes[0, 1] is 257 (row 0, rule 1)"),
    "one axis": ([0, 1], "votes must be (rows, rules), got shape (2,)"),
    "no rule": (np.zeros((3, 0), int), "votes has no rule, shape (3, 0)"),
    "sparse, too high": (sparse.csr_array([[0, 1], [0, 3]]), "votes stores 3 at row 1, rule 1; allowed: 1 to 2"),
    "sparse, negative": (sparse.csr_array([[0, 1], [-1, 0]]), "votes stores -1 at row 1, rule 0; allowed: 1 to 2"),
    "sparse, fraction": (sparse.csr_array([[0, 1.5]]), "votes stores 1.5 at row 0, rule 1"),
    "sparse, NaN": (sparse.csr_array([[np.nan, 1]]), "votes stores nan at row 0, rule 0"),
    "sparse, cell twice": (
        sparse.coo_array((np.array([1, 1]), (np.array([0, 0]), np.array([1, 1]))), shape=(1, 2)),
        "votes stores 1 cells more than once",
    ),
}


@pytest.mark.parametrize(("votes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_votes_are_named_with_row_and_rule(votes, message):
    with pytest.raises(WeakSupervisionError) as error:
        check_votes(votes, num_classes=2)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (1, "num_classes must be 2 to 127, got 1"),
        (128, "2 to 127, got 128"),
        (2.0, "must be an integer, got 2.0"),
        (True, "must be an integer, got True"),
    ],
)
def test_bad_num_classes(classes, message):
    with pytest.raises(WeakSupervisionError, match=message):
        check_votes([[0, 1]], num_classes=classes)


def test_bad_buckets():
    one, two = compress([[0, 1]]), compress([[0, 1, 1]])
    with pytest.raises(WeakSupervisionError, match=r"of the same rules; they have \[2, 3\] rules"):
        merge_buckets(one, two)
    with pytest.raises(WeakSupervisionError, match="of the same rules; there is none"):
        merge_buckets()
    with pytest.raises(WeakSupervisionError, match=r"buckets\[1\] is a list: compress votes first"):
        merge_buckets(one, [[0, 1]])
    with pytest.raises(WeakSupervisionError, match=r"chunk 1: votes\[0, 1\] is 0\.5"):
        compress_chunks([[[0, 1]], [[0, 0.5]]])
    with pytest.raises(WeakSupervisionError, match="counts must be 1 whole numbers from 1"):
        as_buckets(Buckets(one.rows, np.array([0])), num_classes=2)
    with pytest.raises(WeakSupervisionError, match="num_classes must be 2 to 127, got 1"):
        as_buckets(compress([[0, 3]]), num_classes=1)
    with pytest.raises(WeakSupervisionError, match=r"votes\[0, 1\] is 3"):
        as_buckets(compress([[0, 3]]), num_classes=2)


@pytest.mark.slow
def test_many_sparse_rules_and_classes():
    """1,200 rules x 56 classes: what is stored decides the cost, not rows x rules."""
    rng = np.random.default_rng(0)
    base = sparse.random_array((300, 1200), density=0.01, rng=rng, format="csr")
    base.data = rng.integers(1, 57, base.nnz)
    pick = rng.integers(0, 300, 20_000)
    votes = base.astype(np.int8)[pick]
    buckets = compress(votes)
    assert buckets.rows.shape == (len(np.unique(dense_votes(base.astype(np.int8))[pick], axis=0)), 1200)
    assert (buckets.rows[buckets.inverse] != votes).nnz == 0
    assert_same(compress_chunks(votes[i : i + 999] for i in range(0, 20_000, 999)), buckets)
