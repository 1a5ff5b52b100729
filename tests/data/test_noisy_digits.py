"""Wrong labels planted where they should be."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import jlabel.data
from jlabel.data import DataError
from jlabel.data.noisy_digits import PAIRS


@pytest.mark.parametrize(("spec", "planted"), [("", 95), ("?rate=20", 363), ("?rate=0", 0), ("?rate=100", 1797)])
def test_planted_errors(spec, planted):
    source = jlabel.data.open(f"embedded:noisy_digits{spec}", "all")
    order = source.column("order")
    digits = load_digits()
    assert sorted(order.tolist()) == list(range(1797))
    np.testing.assert_array_equal(source.column("digit"), digits.target[order])
    wrong = source.labels != source.column("digit")
    assert wrong.sum() == planted
    np.testing.assert_array_equal(source.labels[wrong], np.array(PAIRS)[digits.target[order]][wrong])
    if spec == "":
        expected = np.random.default_rng(0).random(1797) < 0.05
        np.testing.assert_array_equal(np.sort(order[wrong]), np.flatnonzero(expected))


def test_rows_are_those_of_the_digits():
    noisy = jlabel.data.open("embedded:noisy_digits?seed=3&features=1", "test")
    clean = jlabel.data.open("embedded:digits?seed=3&features=1", "test")
    np.testing.assert_array_equal(noisy.column("digit"), clean.labels)
    np.testing.assert_array_equal(noisy[7]["features"], clean[7]["features"])
    assert noisy.label_names == clean.label_names
    assert jlabel.data.open("embedded:noisy_digits", "val")[0]["image"].shape == (8, 8, 3)


def test_seeds_differ():
    first, second = (jlabel.data.open(f"embedded:noisy_digits?seed={seed}", "all") for seed in (0, 1))
    assert set(first.column("order")[first.labels != first.column("digit")]) != set(
        second.column("order")[second.labels != second.column("digit")]
    )


def test_bad_options():
    with pytest.raises(DataError, match="rate=101 is above 100"):
        jlabel.data.open("embedded:noisy_digits?rate=101")
    with pytest.raises(DataError, match="no option 'noise'; there are seed, rate, features"):
        jlabel.data.open("embedded:noisy_digits?noise=1")
