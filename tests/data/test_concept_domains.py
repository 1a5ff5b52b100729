"""Domains of grouped concepts: the generator's amounts, its truth by hand, and what it refuses."""

import jax
import numpy as np
import pytest

from jlabel.data import DataError
from jlabel.data.concept_domains import DRAWN, NUM_CONCEPTS, concept_domains


@pytest.fixture(scope="module")
def plain():
    return concept_domains(3, rows_per_concept=200, shift=0)


@pytest.fixture(scope="module")
def shifted():
    return concept_domains(3, rows_per_concept=200)


def test_shapes_and_labels(plain):
    assert plain.features[2]["val"].shape == (DRAWN * 200, 32)
    assert plain.features[2]["val"].dtype == np.float32
    for sets, names, labels, concepts in zip(plain.sets, plain.class_names, plain.labels, plain.concepts, strict=True):
        assert sorted(c for members in sets for c in members) == sorted(set(concepts["test"].tolist()))
        assert sum(map(len, sets)) == DRAWN
        assert len(names) == len(sets) == len(set(names))
        for split in ("train", "val", "test"):
            assert all(c in sets[y] for c, y in zip(concepts[split][::50], labels[split][::50], strict=True))


def test_noise_and_centers(plain):
    x, concepts = plain.features[0]["train"].astype(float), plain.concepts[0]["train"]
    means = np.array([x[concepts == c].mean(0) for c in np.unique(concepts)])
    residual = x - means[np.searchsorted(np.unique(concepts), concepts)]
    assert residual.std() == pytest.approx(0.9, rel=0.01)
    # without shift every domain sees a concept at the same place
    for c in set(concepts) & set(plain.concepts[1]["train"]):
        other = plain.features[1]["train"][plain.concepts[1]["train"] == c].mean(0)
        assert np.abs(x[concepts == c].mean(0) - other).max() < 6 * 0.9 * np.sqrt(2 / 200)
    # concepts of a family are nearer than others: sd 0.7 against sqrt(1 + 0.7^2)
    present = np.unique(concepts)
    distance = np.square(means[:, None] - means[None]).mean(2)
    kin = (present[:, None] // 4 == present[None] // 4) & ~np.eye(len(present), dtype=bool)
    assert distance[kin].mean() == pytest.approx(2 * 0.49, rel=0.25)
    assert distance[present[:, None] // 4 != present[None] // 4].mean() == pytest.approx(2 * 1.49, rel=0.25)


def test_shifts(plain, shifted):
    """The draws of the concepts are the same with and without shift, so each domain's amount can be read off."""
    assert plain.sets == shifted.sets
    noisy = shifted.features[0]["train"] - _centers(shifted, 0)
    assert noisy.std() == pytest.approx(np.hypot(0.9, 0.7), rel=0.01)
    before = np.array([plain.features[1]["train"][plain.concepts[1]["train"] == c].mean(0) for c in _known(plain, 1)])
    after = np.array(
        [shifted.features[1]["train"][shifted.concepts[1]["train"] == c].mean(0) for c in _known(plain, 1)]
    )
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1), rtol=0.05)
    assert np.abs(before - after).max() > 1
    assert (before * after).sum() / np.square(before).sum() > 0.5
    erased = shifted.features[2]["train"]
    offset = np.array([np.bincount(np.unique(row, return_inverse=True)[1]).max() for row in erased])
    assert offset.mean() / 32 == pytest.approx(0.25, abs=0.01)  # erased features all equal the row's offset
    values = np.array([np.unique(row)[np.bincount(np.unique(row, return_inverse=True)[1]).argmax()] for row in erased])
    assert values[offset > 1].std() == pytest.approx(0.3, rel=0.05)


def test_truth_by_hand(plain):
    starts = np.cumsum([0, *map(len, plain.sets)])
    flat = [members for sets in plain.sets for members in sets]
    assert plain.truth.shape == (starts[-1], starts[-1])
    for a, b in ((0, starts[1]), (starts[1] + 2, starts[2] + 1), (starts[2], 3)):
        assert plain.truth[a, b] == len(flat[a] & flat[b]) / len(flat[a])
    for a, b in zip(starts, starts[1:], strict=False):
        assert not plain.truth[a:b, a:b].any()
        # each concept of a class lies in one class of another domain at most
        assert (plain.truth[:, a:b].sum(1) <= 1 + 1e-12).all()
    assert plain.class_names[0][0] == "+".join(sorted(plain.class_names[0][0].split("+")))


def test_keys_splits_and_sizes():
    first, again = (concept_domains(7, rows_per_concept=2, class_size=1.2, class_size_std=0.5) for _ in range(2))
    np.testing.assert_array_equal(first.features[2]["test"], again.features[2]["test"])
    assert not np.isin(first.features[0]["train"], first.features[0]["test"]).any()
    typed = concept_domains(jax.random.key(7), rows_per_concept=2)
    assert typed.sets != concept_domains(jax.random.key(8), rows_per_concept=2).sets
    single = concept_domains(0, rows_per_concept=1, class_size=1, class_size_std=0)
    assert [len(sets) for sets in single.sets] == [DRAWN] * 3
    assert set(single.truth.ravel()) == {0.0, 1.0}
    assert NUM_CONCEPTS == 24
    sizes = [len(c) for s in range(20) for sets in concept_domains(s, rows_per_concept=1).sets for c in sets]
    assert np.mean(sizes) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        (-1, {}, r"key=-1 must be a typed key or a seed of at least 0"),
        (0, {"class_size": 0.0}, r"class_size=0.0 must be a number above 0"),
        (0, {"class_size": float("nan")}, r"class_size=nan must be a number above 0"),
        (0, {"class_size_std": -1.0}, r"class_size_std=-1.0 must be a number of at least 0"),
        (0, {"rows_per_concept": 0}, r"rows_per_concept=0 must be a whole number of at least 1"),
        (0, {"noise": float("inf")}, r"noise=inf must be a number of at least 0"),
        (0, {"shift": 3.5}, r"shift=3.5 must lie between 0 and 3"),
        (0, {"class_size": 40.0}, r"class_size=40: domain 'noisy' got one class of all 20 concepts"),
    ],
)
def test_bad_options(key, options, message):
    with pytest.raises(DataError, match=message):
        concept_domains(key, **options)


def _known(drawn, domain):
    return np.unique(drawn.concepts[domain]["train"])


def _centers(drawn, domain):
    x, concepts = drawn.features[domain]["train"], drawn.concepts[domain]["train"]
    means = np.array([x[concepts == c].mean(0) for c in _known(drawn, domain)])
    return means[np.searchsorted(_known(drawn, domain), concepts)]
