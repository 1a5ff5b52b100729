import datetime
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from jlabel.tabular import ColumnTypes, TabularError, encode, fit_encoder, value_knots


def table():
    return pd.DataFrame(
        {
            "city": ["Ulm", "Bonn", None, "Ulm", "Rom"],
            "age": [30.0, np.nan, 20.0, 40.0, 30.0],
            "flag": [True, False, True, True, False],
            "size": [1.0, 2.0, 3.0, 4.0, 5.0],
            "code": pd.array([7, None, 3, 7, 3], dtype="Int64"),
        }
    )


def test_codes_and_values_by_hand():
    encoder = fit_encoder(table())
    assert encoder.columns == ColumnTypes(("city", "flag", "code"), ("age", "size"))
    assert encoder.cardinalities == (3, 2, 2)
    assert [known.tolist() for known in encoder.categories] == [["Bonn", "Rom", "Ulm"], [0.0, 1.0], [3.0, 7.0]]
    assert encoder.value_names == ("age", "size", "age missing")
    codes, values, unknown = encode(encoder, table())
    assert codes.dtype == np.int32
    assert values.dtype == np.float32
    assert codes.tolist() == [[2, 1, 1], [0, 0, 2], [3, 1, 0], [2, 1, 1], [1, 0, 0]]
    assert unknown.tolist() == [0, 0, 0]
    age = (np.array([30, 30, 20, 40, 30]) - 30) / np.std([30, 20, 40, 30])  # the gap takes the median
    size = (np.arange(1, 6) - 3) / np.sqrt(2)
    np.testing.assert_allclose(values, np.stack([age, size, [0, 1, 0, 0, 0]], 1), rtol=1e-6)


def test_unknown_equals_missing_and_is_counted():
    encoder = fit_encoder(table())
    new = table().iloc[[0, 0]].reset_index(drop=True)
    new.loc[0, "city"], new.loc[1, "city"] = "Paris", None
    codes, values, unknown = encode(encoder, new)
    assert codes[0].tolist() == codes[1].tolist() == [3, 1, 1]
    assert values[0].tobytes() == values[1].tobytes()
    assert unknown.tolist() == [1, 0, 0]


def test_half_a_column_unknown_is_silent_and_more_warns_once():
    encoder = fit_encoder(table())
    new = table()[:2].assign(city=["Paris", "Ulm"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(encoder, new)
    new = table()[:3].assign(city=["Paris", "Oslo", "Ulm"], code=[9, 9, 9], size=["-", "-", "2"])
    with pytest.warns(UserWarning, match="values that fitting did not see") as caught:
        encode(encoder, new)
    assert [str(w.message) for w in caught] == [
        "values that fitting did not see count as missing: 'city' (2 of 3), 'code' (3 of 3), 'size' (2 of 3)"
    ]


def test_gap_without_gaps_in_fitting_takes_the_median_and_no_indicator():
    encoder = fit_encoder(table())
    values = encode(encoder, table()[:1].assign(size=np.nan, age=np.nan)).values
    np.testing.assert_array_equal(values, [[0.0, 0.0, 1.0]])


def test_columns_that_lost_their_type_on_the_way():
    encoder = fit_encoder(table())
    expected = encode(encoder, table())
    as_objects = table().astype(object)
    as_texts = pd.DataFrame(
        {
            "city": pd.Categorical(table()["city"]),
            "age": ["30", None, "20.0", "40", "3e1"],
            "flag": [1, 0, 1, 1, 0],
            "size": pd.array([1, 2, 3, 4, 5], dtype="Int8"),
            "code": ["7", None, "3.0", "7", "3"],
        }
    )
    for frame in (as_objects, as_texts, table().convert_dtypes()):
        for part, want in zip(encode(encoder, frame), expected, strict=True):
            np.testing.assert_array_equal(part, want)


def test_dates_are_days():
    frame = pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-03", None, "2020-01-05"])})
    encoder = fit_encoder(frame)
    assert encoder.medians.tolist() == [18264.0]  # 2020-01-03
    np.testing.assert_allclose(encoder.scales, [np.sqrt(8 / 3)])
    same = encode(encoder, frame).values
    for days in (
        [datetime.date(2020, 1, 1), datetime.date(2020, 1, 3), None, datetime.date(2020, 1, 5)],
        pd.to_datetime(["2020-01-01 01:00", "2020-01-03 01:00", None, "2020-01-05 01:00"]).tz_localize("Europe/Berlin"),
    ):
        np.testing.assert_allclose(encode(encoder, pd.DataFrame({"day": days})).values, same, atol=1e-6)


def test_quantile_scaling_makes_ranks_normal():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.exp(3 * rng.normal(size=5000)), "half": np.repeat([0.0, 0.5], 2500)})
    encoder = fit_encoder(frame, ColumnTypes((), ("x", "half")), scaling="quantile")
    values = encode(encoder, frame).values
    rank = ((frame.x.rank() - 0.5) / 5000).to_numpy()
    inner = np.abs(rank - 0.5) < 0.49
    np.testing.assert_allclose(values[inner, 0], norm.ppf(rank[inner]), atol=0.02)
    np.testing.assert_allclose(np.unique(values[:, 1]), norm.ppf([0.25, 0.75]), atol=0.01)  # middles of their ranks
    far = encode(encoder, pd.DataFrame({"x": [-1e300, 1e300], "half": [-1.0, 1.0]})).values
    np.testing.assert_allclose(np.abs(far), -norm.ppf(1e-7), rtol=1e-5)


def test_extremes_stay_finite():
    encoder = fit_encoder(pd.DataFrame({"huge": [1e308, -1e308, 0.0, 5.0], "plain": [1.0, 2.0, 3.0, 4.0]}))
    np.testing.assert_allclose(
        encode(encoder, pd.DataFrame({"huge": [1e308], "plain": [1e300]})).values, [[2**0.5, 1e6]]
    )
    constant = fit_encoder(pd.DataFrame({"x": [3.0, 3.0]}), ColumnTypes((), ("x",)))
    np.testing.assert_array_equal(encode(constant, pd.DataFrame({"x": [3.0, 5.0]})).values, [[0.0], [2.0]])
    codes = fit_encoder(pd.DataFrame({"x": [2**53, 2**53 + 1]}), ColumnTypes(("x",)))  # one number in float64
    assert codes.cardinalities == (1,)


def test_knots_hold_equal_shares():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": np.append(rng.exponential(size=1000), np.nan), "city": ["Ulm", "Bonn", "Rom"] * 333 + ["Ulm", "Rom"]}
    )
    for scaling in ("standard", "quantile"):
        encoder = fit_encoder(frame, scaling=scaling)
        knots = value_knots(encoder, 4)
        assert knots.shape == (encoder.num_values, 5) == (2, 5)
        assert (np.diff(knots) > 0).all()
        values = encode(encoder, frame).values[:-1, 0]
        np.testing.assert_allclose(np.histogram(values, knots[0])[0], 250, atol=3)
        np.testing.assert_array_equal(knots[1], np.linspace(0, 1, 5))
    assert value_knots(fit_encoder(frame[["city"]]), 3).shape == (0, 4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=3, max_size=12), st.randoms(use_true_random=False))
def test_rows_do_not_know_each_other(cells, random):
    frame = pd.DataFrame({"x": cells, "y": np.arange(len(cells)) / 2})
    if frame.x.notna().sum() == 0:
        return
    encoder = fit_encoder(frame, ColumnTypes(("x",), ("y",)))
    order = list(range(len(frame)))
    random.shuffle(order)
    whole = encode(encoder, frame)
    turned = encode(encoder, frame.iloc[order])
    np.testing.assert_array_equal(turned.codes, whole.codes[order])
    np.testing.assert_array_equal(turned.values, whole.values[order])
    one = encode(encoder, frame.iloc[[order[0]]])
    np.testing.assert_array_equal(one.codes, whole.codes[[order[0]]])


def test_many_rows_need_no_call_for_each(monkeypatch):
    # Whatever is called for single values is called for different values only.
    calls = []
    module = sys.modules["jlabel.tabular.encode"]
    original = module._comparable
    monkeypatch.setattr(module, "_comparable", lambda given, real: calls.append(len(given)) or original(given, real))
    frame = pd.DataFrame({"x": np.array(["a", "b", "c"])[np.arange(10**5) % 3], "y": np.arange(10**5) % 7.5})
    encoder = fit_encoder(frame)
    assert encode(encoder, frame).codes.shape == (10**5, 1)
    assert max(calls) == 3


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": ["u"]}), "frame lacks column 'b'; give those of fitting"),
        (
            pd.DataFrame({"a": ["u"], "b": [1.0], "c": [1], "d": [2]}),
            "frame has the unknown columns 'c', 'd'; give those",
        ),
        (
            pd.DataFrame({"b": [1.0], "a": ["u"]}),
            "frame: column 0 is 'b', in fitting it was 'a'; give the columns in the",
        ),
        (
            pd.DataFrame([["u", 1.0, 2.0]], columns=["a", "b", "b"]),
            "frame: column name 'b' stands there more than once",
        ),
        (pd.DataFrame({"a": ["u", "v"], "b": [1.0, -np.inf]}), r"column 'b', row 1 \(index 1\): -inf is not finite"),
        (pd.DataFrame({"a": [], "b": []}), "frame has no rows"),
        (pd.DataFrame({"a": [["u"]], "b": [1.0]}), "column 'a' holds a list; give texts or numbers"),
        (np.zeros((2, 2)), "frame is a ndarray; give a pandas DataFrame"),
    ],
)
def test_tables_that_cannot_be(frame, message):
    encoder = fit_encoder(pd.DataFrame({"a": ["u", "v"], "b": [1.5, 2.5]}))
    with pytest.raises(TabularError, match=message):
        encode(encoder, frame)


def test_options_that_cannot_be():
    with pytest.raises(TabularError, match="scaling is 'log'; allowed: 'standard', 'quantile'"):
        fit_encoder(table(), scaling="log")
    with pytest.raises(TabularError, match="bins is 0; allowed: whole numbers from 1"):
        value_knots(fit_encoder(table()), 0)
    with pytest.raises(TabularError, match="column 'a' has no values; drop it"):
        fit_encoder(pd.DataFrame({"a": [None, None]}), ColumnTypes(("a",)))
