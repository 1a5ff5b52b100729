"""Vote tallies: hand-made rows, invariances, bad input, and the published tables on the real votes."""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies

from jlabel import InputError
from jlabel.confident_learning import VOTE_CATEGORIES, VOTE_CHOICES, count_votes, tally_label_votes, tally_votes

VOTES = Path(__file__).parents[2].parent / "shared" / "data" / "label_errors" / "label_errors_mturk.jsonl.gz"
NON_ERROR, NON_AGREEMENT, CORRECTABLE, MULTI_LABEL, NEITHER = range(5)
COUNTS = strategies.lists(strategies.tuples(*[strategies.integers(0, 10)] * 4), min_size=1, max_size=20)

# non-error; non-agreement, correctable, multi-label, neither
PUBLISHED = {
    "mnist": (85, 2, 10, 0, 3),
    "cifar10": (221, 32, 18, 0, 4),
    "cifar100": (1650, 210, 318, 20, 37),
    "caltech256": (1902, 99, 221, 115, 23),
    "imagenet": (2524, 598, 1428, 597, 293),
    "quickdraw": (630, 563, 1047, 20, 240),
    "20news": (11, 43, 22, 12, 5),
    "imdb": (585, 552, 173, 0, 0),
    "amazon": (268, 430, 302, 0, 0),
}


@pytest.mark.parametrize(
    ("votes", "threshold", "category"),
    [
        ((5, 0, 0, 0), 3, NON_ERROR),
        ((3, 2, 0, 0), 5, NON_ERROR),  # given stays at 3
        ((2, 3, 0, 0), 3, CORRECTABLE),
        ((2, 3, 0, 0), 4, NON_AGREEMENT),
        ((0, 4, 1, 0), 4, CORRECTABLE),
        ((1, 0, 3, 1), 3, MULTI_LABEL),
        ((0, 1, 1, 3), 3, NEITHER),
        ((2, 2, 1, 0), 3, NON_AGREEMENT),
        ((0, 0, 0, 0), 3, NON_AGREEMENT),
        ((4, 5, 0, 0), 3, NON_ERROR),  # nine votes: the given label comes first
        ((2, 0, 4, 4), 4, MULTI_LABEL),
    ],
)
def test_a_row(votes, threshold, category):
    found = tally_votes([votes], threshold=threshold)
    assert found.dtype == np.int8
    assert found.tolist() == [category]


def test_no_rows():
    assert tally_votes(np.zeros((0, 4), int)).shape == (0,)


@given(COUNTS, strategies.integers(1, 6))
def test_agrees_with_the_rule_as_it_is_worded(rows, threshold):
    def worded(given, guessed, both, neither):
        if given >= 3:
            return NON_ERROR
        if guessed >= threshold:
            return CORRECTABLE
        if both >= threshold:
            return MULTI_LABEL
        return NEITHER if neither >= threshold else NON_AGREEMENT

    assert tally_votes(rows, threshold=threshold).tolist() == [worded(*row) for row in rows]


@given(COUNTS)
def test_a_higher_threshold_only_moves_rows_to_non_agreement(rows):
    low, high = (tally_votes(rows, threshold=t) for t in (3, 4))
    five = np.asarray(rows).sum(1) <= 5  # with more votes two choices can pass the lower one
    moved = five & (low != high)
    assert (high[moved] == NON_AGREEMENT).all()


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([[1, 2, 3]], r"shape \(N, 4\), columns given, guessed, both, neither; got \(1, 3\)"),
        ([[5, 0, 0, 0], [1, -1, 0, 0]], r"votes\[1, 1\] \(guessed\) is -1"),
        ([[0.5, 0, 0, 0]], r"votes\[0, 0\] \(given\) is 0.5"),
        ([[5, 0, 0, np.nan]], r"votes\[0, 3\] \(neither\) is nan: .* an absent count is 0"),
        ([["5", "0", "0", "0"]], "must hold whole numbers, got dtype"),
    ],
)
def test_bad_votes(votes, message):
    with pytest.raises(InputError, match=message):
        tally_votes(votes)


@pytest.mark.parametrize("threshold", [0, -1, 2.5, True, "3"])
def test_bad_threshold(threshold):
    with pytest.raises(InputError, match="threshold=.* must be a whole number of votes, at least 1"):
        tally_votes([[5, 0, 0, 0]], threshold=threshold)


def test_counts_of_words():
    found = count_votes([{"given": 2, "guessed": 1, "neutral": 2, "off-topic": 0}, {"guessed": 3.0, "both": 2}])
    assert found.tolist() == [[2, 1, 0, 0], [0, 3, 2, 0]]
    assert found.dtype == np.int64


def test_class_names_go_through_the_rows_labels():
    words = {"positive": 3, "negative": 1, "neutral": 2, "off-topic": 1}
    found = count_votes([words] * 2, given=["Negative", "Neutral"], guessed=["Positive", "Negative"])
    assert found.tolist() == [[1, 3, 0, 0], [2, 1, 0, 0]]


@pytest.mark.parametrize(
    ("votes", "options", "message"),
    [
        ([{"given": 5}, {"neutral": 3}], {}, "row 1: votes hold 'neutral', but no count of 'given' and 'guessed'"),
        ([{"neutral": 3}], {"names": ["amazon 7"], "given": ["a"], "guessed": ["b"]}, "^amazon 7: votes hold"),
        ([{}], {}, "row 0: votes hold nothing"),
        ([{"none": 3}], {"given": [None], "guessed": [None]}, "row 0: votes hold 'none'"),
        ([{"given": -2}], {}, "row 0: -2 votes for 'given'; votes are whole numbers"),
        ([{"given": 1.5}], {}, "row 0: 1.5 votes for 'given'"),
        ([{"given": "5"}], {}, "row 0: '5' votes for 'given'"),
        ([{"given": True}], {}, "row 0: True votes for 'given'"),
        ([[5, 0]], {}, "row 0: votes must map words to counts, got list"),
        ([{"given": 5}], {"guessed": []}, "guessed holds 0 rows, votes 1"),
    ],
)
def test_bad_words(votes, options, message):
    with pytest.raises(InputError, match=message):
        count_votes(votes, **options)


@pytest.mark.parametrize(
    ("votes", "threshold", "category"),
    [
        ({"a": 3, "b": 4, "c": 2}, 3, NON_ERROR),
        ({"a": 3, "b": 2, "c": 2}, 3, CORRECTABLE),  # only a is left
        ({"a": 3, "b": 3, "c": 3}, 3, CORRECTABLE),  # c is added
        ({"a": 3, "b": 3, "c": 3}, 4, NON_ERROR),
        ({"a": 3, "b": 2, "c": 3}, 4, NON_AGREEMENT),
        ({"a": 2, "b": 2, "c": 2}, 3, NEITHER),
        ({"c": 5}, 3, CORRECTABLE),
    ],
)
def test_rows_with_several_labels(votes, threshold, category):
    found = tally_label_votes([votes], given=[["a", "b"]], guessed=[["c"]], threshold=threshold)
    assert found.tolist() == [category]


@pytest.mark.parametrize(
    ("votes", "given_labels", "message"),
    [
        ({"x": 3}, ["a"], "row 0: no given label has votes beside it"),
        ({"a": 3}, [], "row 0: no given label has votes beside it"),
        ({"a": -3}, ["a"], "row 0: -3 votes for 'a'"),
    ],
)
def test_bad_rows_with_several_labels(votes, given_labels, message):
    with pytest.raises(InputError, match=message):
        tally_label_votes([votes], given=[given_labels], guessed=[["b"]])


@pytest.fixture(scope="module")
def real():
    if not VOTES.exists():
        pytest.skip(f"{VOTES} is absent")
    found = defaultdict(list)
    with gzip.open(VOTES, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found[row["dataset"]].append(row)
    return found


def real_counts(rows):
    return count_votes(
        [r["mturk"] for r in rows],
        given=[r["given_original_label"] for r in rows],
        guessed=[r["our_guessed_label"] for r in rows],
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables(real, name):
    found = np.bincount(tally_votes(real_counts(real[name])), minlength=len(VOTE_CATEGORIES))
    assert tuple(found.tolist()) == PUBLISHED[name]


def test_rows_with_several_labels_as_published(real):
    rows = real["audioset"]
    found = tally_label_votes(
        [r["mturk"] for r in rows],
        given=[r["given_original_labels"] for r in rows],
        guessed=[r["our_guessed_labels"] for r in rows],
    )
    assert ((found == NON_ERROR).sum(), (found != NON_ERROR).sum()) == (32, 275)


def test_order_of_the_rule_matters_where_nine_people_voted(real):
    counts = real_counts(real["mnist"])
    assert np.isin(counts.sum(1), (9, 10)).sum() == 13
    assert (counts[:, VOTE_CHOICES.index("guessed")] >= 3).sum() == 23
    assert (tally_votes(counts) == CORRECTABLE).sum() == 10


@pytest.mark.parametrize(("name", "sizes"), [("imagenet", (1428, 960, 468)), ("cifar10", (18, 7, 3))])
def test_thresholds_as_published(real, name, sizes):
    counts = real_counts(real[name])
    assert tuple((tally_votes(counts, threshold=t) == CORRECTABLE).sum() for t in (3, 4, 5)) == sizes
