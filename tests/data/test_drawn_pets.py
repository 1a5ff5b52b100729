"""The drawn pets: known truth, determinism, and what the shift does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.data import drawing
from jlabel.data.drawn_pets import (
    BREEDS,
    COAT,
    EARS,
    HAIR,
    LABEL_NAMES,
    MUZZLE,
    SPECIES,
    SPECIES_LABEL_NAMES,
    _draw_faces,
    breed_table,
    drawn_pets,
    drawn_species,
    rows,
    species_rows,
)
from jlabel.errors import InputError

ATTRIBUTES = ("species", "ears", "hair", "muzzle", "coat")


def test_the_sizes_and_types_are_as_documented(key: jax.Array) -> None:
    pets = drawn_pets(key, per_breed=3)
    assert pets["image"].shape == (36, 64, 64, 3)
    assert pets["image"].dtype == np.uint8
    for name in ("label", "breed", "species", "ears", "hair", "muzzle", "coat"):
        assert pets[name].shape == (36,)
        assert pets[name].dtype == np.int32
    np.testing.assert_array_equal(np.bincount(pets["label"]), np.full(12, 3))


def test_every_truth_is_the_breeds_own(key: jax.Array) -> None:
    pets = drawn_pets(key, per_breed=14)
    for i, label in enumerate(pets["label"]):
        breed = BREEDS[label]
        assert breed.name == LABEL_NAMES[label]
        drawn = (SPECIES[pets["species"][i]], EARS[pets["ears"][i]], HAIR[pets["hair"][i]], MUZZLE[pets["muzzle"][i]])
        assert drawn == breed[1:5]
        assert breed.coat in (None, COAT[pets["coat"][i]])
    for label in np.flatnonzero([breed.coat is None for breed in BREEDS]):
        assert set(pets["coat"][pets["label"] == label]) == {0, 1, 2}


@pytest.mark.parametrize("anchors", [0, 1, 2, 3])
def test_anchors_fix_that_many_patterns_and_breeds_stay_distinct(anchors: int) -> None:
    table = breed_table(anchors)
    for species in SPECIES:
        own = [breed for breed in table if breed.species == species]
        assert [breed.coat for breed in own if breed.coat is not None] == list(COAT[:anchors])
        forms = [breed[2:5] for breed in own]
        # Only two anchors that both fix their coat may share a form: the coat must then be seen.
        assert len(set(forms)) == (5 if anchors >= 2 else 6)
    assert breed_table() == BREEDS


def test_with_three_anchors_every_pattern_is_fixed_by_one_breed_of_each_species() -> None:
    for species in SPECIES:
        assert sorted(b.coat for b in BREEDS if b.species == species and b.coat) == sorted(COAT)
        twins = [b for b in BREEDS if b.species == species][:2]
        assert twins[0][2:5] == twins[1][2:5]
        assert twins[0].coat != twins[1].coat


def test_without_anchors_every_breed_draws_its_coat(key: jax.Array) -> None:
    pets = drawn_pets(key, per_breed=14, anchors=0)
    for label in range(12):
        assert len(set(pets["coat"][pets["label"] == label])) == 3


def test_the_same_key_draws_the_same_pictures_and_another_others() -> None:
    first, again = (drawn_pets(jax.random.key(5), per_breed=1) for _ in range(2))
    other = drawn_pets(jax.random.key(6), per_breed=1)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["image"] != other["image"]).mean() > 0.5


def one_face(key: jax.Array, *, shift: bool = False, **attributes: int) -> np.ndarray:
    """One face as float in [0, 1]; attributes not given are 0."""
    truth = {name: np.array([attributes.get(name, 0)], np.int32) for name in ATTRIBUTES}
    return drawing.render(_draw_faces, key, truth, shift=shift)[0] / 255.0


def test_a_picture_does_not_depend_on_how_many_are_drawn(key: jax.Array) -> None:
    truth = {name: (np.arange(70, dtype=np.int32) // (i + 1)) % 2 for i, name in enumerate(ATTRIBUTES)}
    many = drawing.render(_draw_faces, key, truth, shift=False)
    few = drawing.render(_draw_faces, key, {name: values[:7] for name, values in truth.items()}, shift=False)
    assert many.shape[0] == 70
    np.testing.assert_array_equal(many[:7], few)


@pytest.mark.parametrize(
    ("name", "value"),
    [("species", 1), ("ears", 1), ("ears", 2), ("hair", 1), ("muzzle", 1), ("muzzle", 2), ("coat", 1), ("coat", 2)],
)
def test_each_attribute_is_visible_and_leaves_the_nuisances_alone(key: jax.Array, name: str, value: int) -> None:
    plain, changed = one_face(key), one_face(key, **{name: value})
    moved = np.abs(plain - changed).max(axis=2) > 3 * drawing.NOISE
    assert moved.mean() > 0.01
    # The same background and the same noise: nothing differs in the corners, where no face reaches.
    for corner in (np.s_[-8:, :8], np.s_[-8:, -8:]):
        np.testing.assert_array_equal(plain[corner], changed[corner])


def test_the_shift_changes_background_contrast_and_brightness(key: jax.Array) -> None:
    near, far = (drawn_pets(key, per_breed=5, shift=shift) for shift in (False, True))
    for name in ("label", "coat"):
        np.testing.assert_array_equal(near[name], far[name])
    corner_near, corner_far = (rows["image"][:, :6, :6].astype(float) for rows in (near, far))
    assert corner_near.mean() - corner_far.mean() > 15
    assert (near["image"].std(axis=(1, 2, 3)) != far["image"].std(axis=(1, 2, 3))).all()
    centre_near, centre_far = (rows["image"][:, 20:44, 20:44].astype(float) for rows in (near, far))
    # On the face the contrast factor lies between 0.60 and 0.90.
    assert 0.5 < np.median(centre_far.std(axis=(1, 2, 3)) / centre_near.std(axis=(1, 2, 3))) < 0.95


def test_species_rows_are_balanced_and_keep_their_breed(key: jax.Array) -> None:
    coarse = drawn_species(key, rows=301)
    assert coarse["image"].shape == (301, 64, 64, 3)
    assert abs(np.bincount(coarse["label"])[0] - 150.5) == 0.5
    assert SPECIES_LABEL_NAMES == ("cat", "dog")
    np.testing.assert_array_equal(coarse["label"], coarse["breed"] // 6)
    counts = np.bincount(coarse["breed"], minlength=12)
    # Binomial with mean 25 and standard deviation 4.6 for each breed.
    assert counts.min() > 7
    assert counts.max() < 45
    ears = [EARS.index(BREEDS[breed].ears) for breed in coarse["breed"]]
    np.testing.assert_array_equal(coarse["ears"], ears)


def test_splits_and_sets_of_one_seed_share_no_picture() -> None:
    parts = [rows(split, per_breed=1, val_per_breed=1, test_per_breed=1) for split in ("train", "val", "test")]
    parts += [species_rows("train", rows=10), rows("train", seed=1, per_breed=1)]
    pictures = np.concatenate([part["image"] for part in parts])
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)
    again = rows("train", per_breed=1)
    np.testing.assert_array_equal(parts[0]["image"], again["image"])


def test_the_numbers_of_the_splits() -> None:
    assert len(rows("train")["label"]) == 240
    assert len(rows("val")["label"]) == 120
    assert len(rows("test", test_per_breed=2)["label"]) == 24
    assert len(species_rows("val", rows=20)["label"]) == 4
    assert len(species_rows("test", rows=3)["label"]) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: drawn_pets(key, per_breed=0), "per_breed=0 must be a whole number of at least 1"),
        (lambda key: drawn_pets(key, per_breed=2.5), "per_breed=2.5 must be a whole number of at least 1"),
        (lambda key: drawn_pets(key, anchors=4), "anchors=4 must be a whole number from 0 to 3"),
        (lambda key: drawn_species(key, rows=-1), "rows=-1 must be a whole number of at least 1"),
        (lambda key: rows("dev"), "split 'dev' is not one of train, val, test"),
        (lambda key: rows("val", seed=-1), "seed=-1 must be a whole number of at least 0"),
    ],
)
def test_bad_arguments_are_named(key: jax.Array, call: Callable[[jax.Array], object], message: str) -> None:
    with pytest.raises(InputError) as error:
        call(key)
    assert str(error.value) == message


def test_the_helpers_are_what_they_say() -> None:
    chance = jnp.linspace(0.0, 0.999, 1000)
    assert float(drawing.between(chance, (-2.0, 3.0)).min()) == -2.0
    assert float(jnp.abs(drawing.normal(chance)).max()) < 3.8
    assert float(drawing.normal(jnp.array(0.975))) == pytest.approx(1.959964, abs=1e-4)
    # Signed distances: inside negative, on the edge zero, outside the distance itself.
    point = (jnp.array([0.0, 2.0, 5.0]), jnp.zeros(3))
    np.testing.assert_allclose(drawing.ellipse(*point, 0.0, 0.0, 2.0, 2.0)[1:], [0.0, 3.0], atol=1e-4)
    np.testing.assert_allclose(drawing.segment(*point, 0.0, 1.0, 2.0, 1.0), [1.0, 1.0, 10**0.5], atol=1e-4)
    corners = ((-1.0, -1.0), (1.0, -1.0), (0.0, 1.0))
    inside = drawing.triangle(jnp.array([0.0, 0.0, 0.0]), jnp.array([-0.5, -1.0, -3.0]), *corners)
    assert float(inside[0]) < 0
    np.testing.assert_allclose(inside[1:], [0.0, 2.0], atol=1e-6)
