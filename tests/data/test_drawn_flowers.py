"""The drawn flowers: known truth, shared labels, determinism."""

from collections import Counter
from collections.abc import Callable

import jax
import numpy as np
import pytest

from jlabel.data import drawing
from jlabel.data.drawn_flowers import (
    COLOUR,
    COUNT,
    COUNT_LABEL_NAMES,
    FORM,
    KINDS,
    LABEL_NAMES,
    PETALS,
    SHARED_KINDS,
    _draw_flowers,
    count_rows,
    drawn_flower_counts,
    drawn_flowers,
    rows,
)
from jlabel.errors import InputError

ATTRIBUTES = ("count", "form", "colour")


def test_the_kinds_are_the_grid_of_counts_and_forms_with_two_fixed_kinds_a_colour() -> None:
    assert [(kind.count, kind.form) for kind in KINDS] == [(count, form) for count in COUNT for form in FORM]
    colours = Counter(kind.colour for kind in KINDS)
    assert colours == {None: 4, **dict.fromkeys(COLOUR, 2)}
    # One free kind for every petal count, so that no count is told by colour alone.
    assert sorted(kind.count for kind in KINDS if kind.colour is None) == sorted(COUNT)
    assert {KINDS[LABEL_NAMES.index(name)].colour is None for name in SHARED_KINDS} == {True, False}
    assert list(PETALS) == [4, 5, 6, 8]


def test_every_truth_is_the_kinds_own(key: jax.Array) -> None:
    flowers = drawn_flowers(key, per_kind=24)
    assert flowers["image"].shape == (288, 64, 64, 3)
    assert flowers["image"].dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(flowers["label"]), np.full(12, 24))
    for i, label in enumerate(flowers["label"]):
        kind = KINDS[label]
        assert (COUNT[flowers["count"][i]], FORM[flowers["form"][i]]) == (kind.count, kind.form)
        assert kind.colour in (None, COLOUR[flowers["colour"][i]])
    for label in np.flatnonzero([kind.colour is None for kind in KINDS]):
        assert set(flowers["colour"][flowers["label"] == label]) == {0, 1, 2, 3}


def test_the_coarse_set_names_counts_and_two_kinds(key: jax.Array) -> None:
    coarse = drawn_flower_counts(key, rows=150)
    assert COUNT_LABEL_NAMES == (*COUNT, *SHARED_KINDS)
    for label, kind in zip(coarse["label"], coarse["kind"], strict=True):
        truth = KINDS[kind]
        assert COUNT_LABEL_NAMES[label] == (truth.name if truth.name in SHARED_KINDS else truth.count)
    np.testing.assert_array_equal(np.unique(coarse["label"]), np.arange(6))
    assert np.bincount(coarse["kind"], minlength=12).min() > 0


def test_the_same_key_draws_the_same_pictures_and_splits_share_none() -> None:
    parts = [rows(split, per_kind=1, val_per_kind=1, test_per_kind=1) for split in ("train", "val", "test")]
    parts += [count_rows("train", rows=5), rows("train", seed=1, per_kind=1)]
    pictures = np.concatenate([part["image"] for part in parts])
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)
    np.testing.assert_array_equal(rows("train", per_kind=1)["image"], parts[0]["image"])
    assert len(count_rows("val", rows=20)["label"]) == 4


@pytest.mark.parametrize(("name", "value"), [("count", 1), ("count", 3), ("form", 1), ("form", 2), ("colour", 3)])
def test_each_attribute_is_visible_and_leaves_the_nuisances_alone(key: jax.Array, name: str, value: int) -> None:
    def draw(**attributes: int) -> np.ndarray:
        truth = {attribute: np.array([attributes.get(attribute, 0)], np.int32) for attribute in ATTRIBUTES}
        return drawing.render(_draw_flowers, key, truth, shift=False)[0] / 255.0

    plain, changed = draw(), draw(**{name: value})
    assert (np.abs(plain - changed).max(axis=2) > 3 * drawing.NOISE).mean() > 0.01
    for corner in (np.s_[-6:, :6], np.s_[-6:, -6:]):
        np.testing.assert_array_equal(plain[corner], changed[corner])


def test_the_shift_changes_the_background(key: jax.Array) -> None:
    near, far = (drawn_flowers(key, per_kind=5, shift=shift) for shift in (False, True))
    np.testing.assert_array_equal(near["colour"], far["colour"])
    corners = [flowers["image"][:, :6, :6].astype(float).mean() for flowers in (near, far)]
    assert corners[0] - corners[1] > 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: drawn_flowers(key, per_kind=0), "per_kind=0 must be a whole number of at least 1"),
        (lambda key: drawn_flower_counts(key, rows=True), "rows=True must be a whole number of at least 1"),
        (lambda key: count_rows("all"), "split 'all' is not one of train, val, test"),
    ],
)
def test_bad_arguments_are_named(key: jax.Array, call: Callable[[jax.Array], object], message: str) -> None:
    with pytest.raises(InputError) as error:
        call(key)
    assert str(error.value) == message
