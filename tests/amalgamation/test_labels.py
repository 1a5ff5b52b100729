"""Label sets: unions and shares."""

import itertools

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.amalgamation import AmalgamationError, label_union, share_labels


def test_union_keeps_first_appearance():
    assert label_union([("b", "a"), ("c", "a", "d"), ("b",)]) == ("b", "a", "c", "d")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "label_sets is"),
        ("ab", "label_sets is 'ab'"),
        ([("a",), ()], r"label_sets\[1\] is empty"),
        ([("a", "b", "a")], r"label_sets\[0\]: 'a' stands at 0 and at 2"),
        ([("a", "")], r"label_sets\[0\]: name 1 is ''"),
        ([("a",), "tree"], r"label_sets\[1\] is one text, 'tree'"),
    ],
)
def test_bad_sets(sets, message):
    with pytest.raises(AmalgamationError, match=message):
        label_union(sets)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_shares(labels, teachers, shared, seed):
    """Every label known, the asked number by exactly two, sizes within one of each other, names in order."""
    names, number = [f"label {k}" for k in range(labels)], round(shared * labels)
    options = {"num_teachers": teachers, "shared": shared, "key": jax.random.key(seed)}
    if (teachers == 1 and shared) or labels + number < teachers:
        with pytest.raises(AmalgamationError, match="shared"):
            share_labels(names, **options)
        return
    sets = share_labels(names, **options)
    counts = [sum(name in known for known in sets) for name in names]
    assert sorted(counts) == [1] * (labels - number) + [2] * number
    sizes = [len(known) for known in sets]
    assert len(sets) == teachers
    assert max(sizes) - min(sizes) <= 1
    assert all(list(known) == [name for name in names if name in known] for known in sets)


def test_shared_labels_go_round_the_ring():
    """Each pair of neighbours shares a label before one shares a second, in even and in odd rings."""
    for teachers, labels, pairs in ((4, 8, {(0, 1), (2, 3), (1, 2), (0, 3)}), (5, 5, None)):
        names = [str(k) for k in range(labels)]
        sets = share_labels(names, num_teachers=teachers, shared=1.0, key=jax.random.key(1))
        found = {pair for pair in itertools.combinations(range(teachers), 2) if set(sets[pair[0]]) & set(sets[pair[1]])}
        assert found == (pairs or {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)})


def test_keys_decide_which_labels():
    names = [str(k) for k in range(12)]
    found = {share_labels(names, shared=0.25, key=jax.random.key(seed)) for seed in range(4)}
    assert len(found) == 4


def test_bad_share():
    with pytest.raises(AmalgamationError, match="shared is 1.5; allowed: 0 to 1"):
        share_labels(["a"], shared=1.5, key=jax.random.key(0))
    with pytest.raises(AmalgamationError, match="num_teachers is 0; allowed: whole numbers from 1"):
        share_labels(["a"], num_teachers=0, shared=0, key=jax.random.key(0))
