"""Hidden profiles: what is drawn has the stated distribution, and the exact posteriors are exact."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import jlabel.data
from jlabel.data.profiles import CARDINALITIES, CATEGORICAL, CONTINUOUS, LEVELS, profile_rows, profiles
from jlabel.errors import InputError

TEST = slice(16_000, None)


@pytest.fixture(scope="module")
def drawn():
    return profiles()


def codes_of(frame):
    return np.stack([frame[name].map(ord).to_numpy() - ord("a") for name in CATEGORICAL], 1)


def test_columns(drawn):
    assert drawn.frame.shape == (20_000, 14)
    assert tuple(drawn.frame.columns) == CATEGORICAL + CONTINUOUS
    assert tuple(drawn.frame[list(CATEGORICAL)].nunique()) == CARDINALITIES
    for column, size in enumerate(CARDINALITIES):  # each profile its own value, or values shared evenly
        counts = np.bincount(drawn.preferred[:, column], minlength=size)
        assert counts.max() - counts.min() <= 1
        assert counts.max() == math.ceil(8 / size)


def test_a_profile_prefers_one_value_per_column(drawn):
    codes = codes_of(drawn.frame)
    for column, size in enumerate(CARDINALITIES):
        for k in range(8):
            expected = np.full(size, 0.45 / size)
            expected[drawn.preferred[k, column]] += 0.55
            counts = np.bincount(codes[drawn.profile == k, column], minlength=size)
            assert stats.chisquare(counts, expected * counts.sum()).pvalue > 1e-5
    assert stats.chisquare(np.bincount(drawn.profile)).pvalue > 1e-3


def test_numbers_and_target(drawn):
    values = drawn.frame[list(CONTINUOUS)].to_numpy()
    for column in range(4):
        assert stats.kstest(values[:, column] - drawn.means[drawn.profile, column], "norm").pvalue > 1e-4
    codes = codes_of(drawn.frame)
    same = codes[:, 2] % 2 == codes[:, 5] % 2
    chances = 1 / (1 + np.exp(-LEVELS[drawn.profile] - np.where(same, 0.75, -0.75)))
    off = np.abs(drawn.target - chances) - 2 * chances * (1 - chances)  # of mean 0
    assert abs(off.mean()) < 4 * off.std() / math.sqrt(len(off))
    np.testing.assert_allclose(LEVELS[[0, 1, 7]], [-2, -10 / 7, 2])


def test_posteriors_of_one_row_by_hand(drawn):
    # Bayes' rule, one factor after the other, in the order of the columns.
    row = 7
    joint = []
    for k in range(8):
        chance = 1 / 8
        for column, size in enumerate(CARDINALITIES):
            code = ord(drawn.frame[f"category_{column}"][row]) - ord("a")
            chance *= 0.45 / size + (0.55 if code == drawn.preferred[k, column] else 0)
        for column in range(4):
            chance *= stats.norm.pdf(drawn.frame[f"number_{column}"][row], drawn.means[k, column])
        joint.append(chance)
    posterior = np.array(joint) / sum(joint)
    np.testing.assert_allclose(drawn.profile_probs[row], posterior, rtol=1e-9)
    parity = [(ord(drawn.frame[f"category_{column}"][row]) - ord("a")) % 2 for column in (2, 5)]
    gain = 0.75 if parity[0] == parity[1] else -0.75
    expected = sum(p / (1 + math.exp(-(a + gain))) for p, a in zip(posterior, LEVELS, strict=True))
    assert abs(drawn.target_probs[row] - expected) < 1e-12


def test_posteriors_are_calibrated(drawn):
    def off(probs, happened):
        return np.abs(probs.sum() - happened.sum()) / np.sqrt((probs * (1 - probs)).sum())

    for k in range(8):
        assert off(drawn.profile_probs[:, k], drawn.profile == k) < 4
    for low in (0.0, 0.25, 0.5, 0.75):
        rows = (drawn.target_probs >= low) & (drawn.target_probs < low + 0.25)
        assert rows.sum() > 1000
        assert off(drawn.target_probs[rows], drawn.target[rows]) < 4


def test_oracle_and_logistic_regression(drawn):
    # Of another draw: oracle .805; of the rows .741 at 13,000 labels; of the posterior .760 at 500.
    assert abs(roc_auc_score(drawn.target[TEST], drawn.target_probs[TEST]) - 0.805) < 0.03
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), list(CATEGORICAL)), (StandardScaler(), list(CONTINUOUS))),
        LogisticRegression(),
    ).fit(drawn.frame[:13_000], drawn.target[:13_000])
    assert abs(roc_auc_score(drawn.target[TEST], model.decision_function(drawn.frame[TEST])) - 0.741) < 0.03
    few = LogisticRegression().fit(drawn.profile_probs[:500], drawn.target[:500])
    assert abs(roc_auc_score(drawn.target[TEST], few.decision_function(drawn.profile_probs[TEST])) - 0.760) < 0.03


def test_source(drawn):
    sources = {split: jlabel.data.open("embedded:profiles", split) for split in ("train", "val", "test", "all")}
    assert [len(source) for source in sources.values()] == [13_000, 3_000, 4_000, 20_000]
    test = sources["test"]
    assert test.label_names == ("0", "1")
    np.testing.assert_array_equal(test.labels, drawn.target[TEST])
    assert test.column("category_9").tolist() == drawn.frame["category_9"][TEST].tolist()
    np.testing.assert_allclose(test[5]["features"], drawn.frame[list(CONTINUOUS)].iloc[16_005], rtol=1e-6)
    np.testing.assert_array_equal(sources["all"].column("profile"), drawn.profile)


def test_seeds_and_sizes(drawn):
    again, other, short = profiles(rows=50), profiles(rows=50, seed=1), profiles(rows=20)
    assert again.frame.equals(profiles(rows=50).frame)
    assert not again.frame.equals(other.frame)
    np.testing.assert_array_equal(short.means, drawn.means)
    np.testing.assert_array_equal(short.preferred, drawn.preferred)
    assert (profile_rows("val", seed=1)["label"] != profile_rows("val")["label"]).any()
    with pytest.raises(InputError, match="rows=0; give 1 or more"):
        profiles(rows=0)
