"""Votes of rules, majority vote and the summary of rules."""

import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from jlabel.errors import InputError
from jlabel.weak_supervision import (
    RuleWarning,
    WeakSupervisionError,
    apply_rules,
    apply_rules_chunks,
    check_votes,
    compress,
    compress_chunks,
    dense_votes,
    doubtful_rules,
    format_summary,
    majority_vote,
    merge_buckets,
    rule,
    rule_summary,
)
from jlabel.weak_supervision.votes import class_counts

VOTES = Path(__file__).parents[2].parent / "shared" / "data" / "votes"
CHECK_12 = [[0, 0, -1], [1, -1, -1], [1, 0, 1], [-1, -1, -1]]


def stored(votes) -> sparse.csr_array:
    return sparse.csr_array(np.asarray(votes) + 1)


@rule
def third(row):
    return row.n % 3 - 1


@rule
def tens(row):
    return 1 if row["n"] // 10 % 2 else 0


@rule(vectorized=True)
def high(rows):
    return np.where(rows.n > 70_000, 2, -1)


@rule
def never(row):
    return -1


RULES = [third, tens, high, never]


def expected(n: np.ndarray) -> np.ndarray:
    columns = [n % 3 - 1, np.where(n // 10 % 2, 1, 0), np.where(n > 70_000, 2, -1), np.full(len(n), -1)]
    return np.stack(columns, 1)


# --- applying rules


@pytest.mark.slow
def test_check_14_parallel_equals_serial():
    n = np.random.default_rng(0).permutation(100_001)
    table = pd.DataFrame({"n": n})
    serial = apply_rules(RULES, table)
    parallel = apply_rules(RULES, table, workers=2, chunk_size=3_333)
    assert serial.dtype == parallel.dtype == np.int8
    assert serial.shape == (100_001, 4)
    np.testing.assert_array_equal(serial, parallel)
    np.testing.assert_array_equal(serial, expected(n))


def test_votes_of_a_few_rows():
    n = np.arange(69_990, 70_010)
    for data in ({"n": n}, [{"n": int(i)} for i in n]):
        votes = apply_rules(RULES, data, chunk_size=7)
        assert votes.dtype == np.int8
        assert votes.flags.c_contiguous
        np.testing.assert_array_equal(votes, expected(n))
        kept = apply_rules(RULES, data, chunk_size=7, sparse=True)
        assert kept.dtype == np.int8
        np.testing.assert_array_equal(dense_votes(kept), votes)
        assert kept.nnz == np.count_nonzero(votes >= 0)


def test_no_rows_keep_the_number_of_rules():
    assert apply_rules(RULES, {"n": []}).shape == (0, 4)
    assert apply_rules(RULES, iter(()), sparse=True).shape == (0, 4)


@pytest.mark.parametrize("kept", [False, True])
def test_a_log_becomes_buckets_chunk_by_chunk(kept):
    rows = [{"n": i} for i in range(500)]
    log = apply_rules_chunks(RULES[:2], iter(rows), chunk_size=64, sparse=kept)
    whole = compress(apply_rules(RULES[:2], rows))
    found = compress_chunks(log)
    np.testing.assert_array_equal(dense_votes(found.rows), whole.rows)
    np.testing.assert_array_equal(found.counts, whole.counts)
    halves = [compress_chunks(apply_rules_chunks(RULES[:2], part)) for part in (rows[300:], rows[:300])]
    assert merge_buckets(*halves).counts.tobytes() == whole.counts.tobytes()


def test_rules_that_fail():
    rules = [rule("inverse")(lambda row: 1 // row), rule("class")(lambda row: row)]
    with pytest.raises(InputError, match="rule 'inverse' fails on row 1: ZeroDivisionError"):
        apply_rules(rules, [1, 0, 2], num_classes=2)
    with pytest.raises(InputError, match=r"rule 'class' fails on row 2: its vote is 2; allowed: -1 \(abstain\) to 1"):
        apply_rules(rules[1:], [1, 0, 2], num_classes=2)
    with pytest.warns(RuleWarning) as caught:
        votes = apply_rules(rules, [1, 0, 2], num_classes=2, on_error="abstain")
    np.testing.assert_array_equal(votes, [[1, 1], [-1, 0], [0, -1]])
    assert [(f.rule, f.num_rows, f.first_row) for f in caught[0].message.failures] == [
        ("inverse", 1, 1),
        ("class", 1, 2),
    ]
    assert caught[0].filename == __file__
    with pytest.raises(WeakSupervisionError, match="num_classes must be 2 to 127, got 1"):
        apply_rules(rules, [1], num_classes=1)


# --- majority vote


def test_majority_vote_by_hand():
    votes = [[0, 0, 1], [0, 1, -1], [2, 2, 1], [-1, -1, -1], [2, 1, 0], [-1, -1, 1]]
    third = [1 / 3, 1 / 3, 1 / 3]
    probs = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], third, third, [0, 1, 0]]
    for form in (votes, stored(votes), sparse.coo_matrix(np.asarray(votes) + 1)):
        found = majority_vote(form, num_classes=3)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, probs)
    buckets = compress(votes)
    np.testing.assert_array_equal(majority_vote(buckets, num_classes=3)[buckets.inverse], probs)
    assert majority_vote(np.zeros((0, 2)), num_classes=4).shape == (0, 4)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-1, 4)))
def test_majority_vote_against_a_loop(votes):
    probs = majority_vote(votes, num_classes=5)
    for row, found in zip(votes, probs, strict=True):
        counts = [int((row == c).sum()) for c in range(5)]
        winners = [c for c in range(5) if counts[c] == max(counts)]
        np.testing.assert_array_equal(found, [1 / len(winners) if c in winners else 0 for c in range(5)])
    np.testing.assert_array_equal(majority_vote(stored(votes), num_classes=5), probs)
    np.testing.assert_array_equal(majority_vote(votes[:, ::-1], num_classes=5), probs)  # the order of rules


def test_majority_vote_in_blocks(monkeypatch):
    votes = np.random.default_rng(0).integers(-1, 3, (101, 7))
    whole = majority_vote(votes, num_classes=3)
    monkeypatch.setattr("jlabel.weak_supervision.votes._CELLS", 70)
    np.testing.assert_array_equal(majority_vote(votes, num_classes=3), whole)
    np.testing.assert_array_equal(majority_vote(stored(votes), num_classes=3), whole)


def test_class_counts():
    votes = np.random.default_rng(1).integers(-1, 4, (20, 9)).astype(np.int8)
    counts = np.stack([(votes == c).sum(1) for c in range(4)])
    np.testing.assert_array_equal(class_counts(votes, 4), counts)
    np.testing.assert_array_equal(class_counts(check_votes(stored(votes), keep_sparse=True), 4), counts)


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    path = VOTES / f"lf_{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with np.load(path) as file:
        test = file["split"] == 2
        return file["L"][test], file["y"][test]


@pytest.mark.parametrize(
    ("name", "classes", "shared"), [("youtube", 2, 0.8160), ("trec", 6, 0.6110), ("hausa", 5, 0.4731)]
)
def test_check_13_majority_on_real_votes(name, classes, shared):
    votes, labels = real(name)
    probs = majority_vote(votes, num_classes=classes)
    assert probs[np.arange(len(labels)), labels].mean() == pytest.approx(shared, abs=5e-5)
    if name == "youtube":
        decided = probs.max(1) == 1
        assert decided.sum() == 206
        assert (probs.argmax(1) == labels)[decided].mean() == pytest.approx(0.8835, abs=5e-5)


# --- the summary


def test_check_12():
    labels = [0, 1, 1, 0]
    buckets = compress(CHECK_12)
    for form in (CHECK_12, stored(CHECK_12), buckets, compress(stored(CHECK_12))):
        rows = rule_summary(form, labels)
        assert [row["coverage"] for row in rows] == [0.75, 0.5, 0.25]
        assert [row["overlaps"] for row in rows] == [0.5, 0.5, 0.25]
        assert [row["conflicts"] for row in rows] == [0.25, 0.25, 0.25]
        assert [row["accuracy"] for row in rows] == [1, 0.5, 1]
        assert [(row["correct"], row["incorrect"]) for row in rows] == [(3, 0), (1, 1), (1, 0)]
        assert [row["polarity"] for row in rows] == [[0, 1], [0], [1]]
        assert [row["votes"] for row in rows] == [3, 2, 1]
    unlabelled = rule_summary(buckets._replace(inverse=None), names=["a", third, 3])
    assert [row["name"] for row in unlabelled] == ["a", "third", "3"]
    assert "accuracy" not in unlabelled[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 40))
def test_summary_against_loops(seed, rules, rows):
    rng = np.random.default_rng(seed)
    votes, labels = rng.integers(-1, 3, (rows, rules)), rng.integers(-1, 4, rows)
    for form in (votes, stored(votes)):
        for j, found in enumerate(rule_summary(form, labels)):
            others = np.delete(votes, j, 1)
            voted = votes[:, j] >= 0
            also = (others >= 0).any(1)
            differs = ((others >= 0) & (others != votes[:, j : j + 1])).any(1)
            known = voted & (labels >= 0)
            assert found["polarity"] == sorted(set(votes[voted, j].tolist()))
            assert found["coverage"] == pytest.approx(voted.mean())
            assert found["overlaps"] == pytest.approx((voted & also).mean())
            assert found["conflicts"] == pytest.approx((voted & differs).mean())
            assert found["correct"] == int((known & (votes[:, j] == labels)).sum())
            assert found["incorrect"] == int((known & (votes[:, j] != labels)).sum())
            if known.any():
                assert found["accuracy"] == pytest.approx((votes[known, j] == labels[known]).mean())
                assert found["low"] <= found["accuracy"] <= found["high"]
            else:
                assert math.isnan(found["accuracy"])


def test_summary_in_blocks(monkeypatch):
    votes = np.random.default_rng(0).integers(-1, 3, (101, 7))
    labels = np.random.default_rng(1).integers(0, 3, 101)
    whole = rule_summary(votes, labels)
    monkeypatch.setattr("jlabel.weak_supervision.summary._CELLS", 70)
    assert rule_summary(votes, labels) == whole
    assert rule_summary(stored(votes), labels) == whole


def test_doubtful_rules_are_listed_not_dropped():
    votes = np.array([[0, 1, -1, 0, -1], [1, 1, -1, 1, -1], [-1, 1, -1, -1, -1]])
    for form in (votes, stored(votes), compress(votes)):
        found = doubtful_rules(form)
        assert (found.dead, found.constant, found.duplicates) == ((2, 4), (1,), ((0, 3),))
        notes = [row["notes"] for row in rule_summary(form, names="abcde")]
        assert notes == [
            ["votes as d"],
            ["says the same on every row"],
            ["never votes"],
            ["votes as a"],
            ["never votes"],
        ]
    assert doubtful_rules(compress([[0, 1]])).constant == (0, 1)


def test_a_rule_worse_than_chance_is_noted():
    labels = np.arange(100) % 2
    rows = rule_summary(np.stack([labels, 1 - labels], 1), labels)
    assert [row["notes"] for row in rows] == [[], ["right less often than by chance (0.500)"]]
    assert (rows[1]["accuracy"], rows[1]["low"]) == (0, 0)


def test_summary_without_a_vote():
    for votes in (np.full((3, 2), -1), np.zeros((0, 2))):
        rows = rule_summary(votes)
        assert [(row["coverage"], row["polarity"], row["notes"]) for row in rows] == [(0, [], ["never votes"])] * 2
    rows = rule_summary([[-1], [0]], [-1, -1])
    assert (rows[0]["correct"], rows[0]["incorrect"], math.isnan(rows[0]["accuracy"])) == (0, 0, True)
    assert "nan" not in format_summary(rows)


def test_the_table_holds_what_the_rows_hold():
    lines = format_summary(rule_summary(CHECK_12, [0, 1, 1, 0], names=["all", "part", "last"])).splitlines()
    assert lines[0].split() == [
        "rule", "polarity", "coverage", "overlaps", "conflicts", "correct", "incorrect", "accuracy", "95", "%", "notes"
    ]  # fmt: skip
    assert lines[2].split() == ["part", "0", "0.500", "0.500", "0.250", "1", "1", "0.500", "0.095", "-", "0.905"]
    assert pd.DataFrame(rule_summary(CHECK_12)).shape == (3, 8)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1], None, "labels has 2 entries for 4 rows of votes"),
        ([0, 1, 1, -2], None, r"labels\[3\] is -2"),
        ([0.5, 1, 1, 0], None, "labels must hold integers"),
        (None, ["a"], "names has 1 entries for 3 rules"),
    ],
)
def test_bad_labels_and_names(labels, names, message):
    with pytest.raises(InputError, match=message):
        rule_summary(CHECK_12, labels, names=names)


def test_labels_need_rows():
    with pytest.raises(WeakSupervisionError, match="labels need the rows of votes: merged buckets hold no inverse"):
        rule_summary(merge_buckets(compress(CHECK_12)), [0, 1, 1, 0])


def test_doubtful_rules_raise_no_python_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule_summary(np.full((3, 2), -1), [0, 1, 1])
