import jax
import numpy as np
import pandas as pd
import pytest

from jlabel.tabular import TabularError, add_missing, add_noise

ROWS = 4000


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "city": rng.choice(["Ulm", "Bonn", "Rom", "Trier"], ROWS, p=[0.7, 0.1, 0.1, 0.1]).astype(object),
            "code": rng.integers(0, 5, ROWS),
            "flag": pd.Categorical(rng.choice(["u", "v"], ROWS), categories=["u", "v", "w"]),
            "age": rng.normal(size=ROWS),
        },
        index=np.arange(ROWS) + 10,
    )
    made.loc[10:400, "city"] = None
    return made


COLUMNS = ("city", "code", "flag")


def test_noise(frame, key):
    original = frame.copy()
    noisy = add_noise(frame, columns=COLUMNS, rate=0.5, key=key)
    pd.testing.assert_frame_equal(frame, original)
    assert (noisy.dtypes == frame.dtypes).all()
    assert noisy.index.equals(frame.index)
    pd.testing.assert_series_equal(noisy["age"], frame["age"])
    pd.testing.assert_series_equal(noisy["city"].isna(), frame["city"].isna())
    for name, values in (("city", 4), ("code", 5), ("flag", 2)):
        known = frame[name].notna()
        changed = (noisy[name] != frame[name])[known].mean()
        assert changed == pytest.approx(0.5 * (1 - 1 / values), abs=0.03)
        assert set(noisy[name].dropna()) == set(frame[name].dropna())
    # Drawn evenly from the different values, however rare they are.
    drawn = noisy["city"][noisy["city"].notna() & (noisy["city"] != frame["city"]) & (frame["city"] == "Ulm")]
    np.testing.assert_allclose(drawn.value_counts(normalize=True), 1 / 3, atol=0.05)


def test_missing(frame, key):
    spoilt = add_missing(frame, columns=COLUMNS, rate=0.3, key=key)
    for name in COLUMNS:
        gone = spoilt[name].isna() & frame[name].notna()
        assert gone.sum() / frame[name].notna().sum() == pytest.approx(0.3, abs=0.03)
        kept = spoilt[name].notna()
        assert (spoilt[name][kept] == frame[name][kept]).all()
    assert spoilt["code"].dtype == "Int64"
    pd.testing.assert_series_equal(spoilt["age"], frame["age"])


def test_higher_rates_spoil_more_of_the_same(frame, key):
    low, high = (add_missing(frame, columns=COLUMNS, rate=rate, key=key) for rate in (0.1, 0.4))
    assert (high[low.isna()].isna() | low.notna()).to_numpy().all()
    few, many = (add_noise(frame, columns=COLUMNS, rate=rate, key=key) for rate in (0.1, 0.4))
    changed = (few["code"] != frame["code"]).to_numpy()
    np.testing.assert_array_equal(many["code"].to_numpy()[changed], few["code"].to_numpy()[changed])
    # Missing cells are where the noise is.
    assert low["code"].isna().to_numpy()[changed].all()


def test_nothing_and_everything(frame, key):
    pd.testing.assert_frame_equal(add_noise(frame, columns=COLUMNS, rate=0.0, key=key), frame)
    assert add_missing(frame, columns=["city"], rate=1.0, key=key)["city"].isna().all()
    one = frame.assign(city=None)
    assert add_noise(one, columns=["city"], rate=1.0, key=key)["city"].isna().all()
    other = add_noise(frame, columns=COLUMNS, rate=0.5, key=jax.random.fold_in(key, 1))
    assert (other["code"] != add_noise(frame, columns=COLUMNS, rate=0.5, key=key)["code"]).any()


@pytest.mark.parametrize("corrupt", [add_noise, add_missing])
def test_what_cannot_be(corrupt, frame, key):
    with pytest.raises(TabularError, match="columns: 'town' is no column of the frame"):
        corrupt(frame, columns=["town"], rate=0.1, key=key)
    with pytest.raises(TabularError, match="rate is 1.5; allowed: from 0 to 1"):
        corrupt(frame, columns=["city"], rate=1.5, key=key)
