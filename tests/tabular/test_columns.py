import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jlabel.tabular import ColumnTypes, TabularError, fit_encoder, infer_columns

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "tabular"


def kind(values, **options):
    """Which group one column is in."""
    types = infer_columns(pd.DataFrame({"x": values}), **options)
    return next(group for group in types._fields if getattr(types, group))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b", None, "a"], "categorical"),
        (["1.5", "2.5", None, "3.5"], "continuous"),
        (["1", "2", "2", "1"], "categorical"),  # codes
        ([str(k) for k in range(20)], "continuous"),  # more values than codes have
        ([1, 2, 3, 1], "categorical"),
        (list(range(11)), "continuous"),
        (list(range(10)), "categorical"),
        ([0.5, np.nan, 2.0, 3.0], "continuous"),
        ([True, False, True, True], "categorical"),
        ([True, None, False, True], "categorical"),
        ([1, None, 2, 1], "continuous"),  # pandas made fractions of them
        (pd.Series([1, None, 2, 1], dtype=object), "categorical"),
        (pd.array([1, None, 2, 1], dtype="Int64"), "categorical"),
        (pd.array([1, None, 2, 1], dtype=pd.ArrowDtype(pa.int64())), "categorical"),
        (pd.array([1.5, None, 2, 1], dtype="Float64"), "continuous"),
        (pd.array([True, None, False, True], dtype="boolean"), "categorical"),
        (pd.array(["u", "v", None, "u"], dtype="string"), "categorical"),
        (pd.array(["u", "v", None, "u"], dtype=pd.ArrowDtype(pa.string())), "categorical"),
        (pd.Categorical([1, 2, None, 1]), "categorical"),
        (pd.to_datetime(["2020-01-01", None, "2020-01-03"]), "continuous"),
        (pd.to_datetime(["2020-01-01", None, "2020-01-03"]).tz_localize("Europe/Berlin"), "continuous"),
        ([datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 3)], "continuous"),
        ([decimal.Decimal("1.5"), None, decimal.Decimal("2")], "continuous"),
        (pd.to_timedelta([1, 2, None], unit="D"), "continuous"),
        (pd.PeriodIndex(["2020-01", "2020-02"], freq="M"), "continuous"),
        (pd.arrays.SparseArray([0.0, 0.0, 1.5]), "continuous"),
        (pd.Series(["a", 1, "a", None], dtype=object), "categorical"),
        (["x"] * 4, "dropped"),
        ([3.0] * 4, "dropped"),
        (["x", None, "x", "x"], "categorical"),  # there or not may matter
        ([3.0, np.nan, 3.0], "continuous"),
    ],
)
def test_what_a_column_is(values, expected):
    assert kind(values) == expected


def test_ninety_nine_percent_of_numbers_make_a_column_of_numbers():
    numbers = [f"{k / 7:.5f}" for k in range(99)]
    assert kind([*numbers, "?"]) == "continuous"
    assert kind([*numbers, " "]) == "continuous"
    with pytest.raises(
        TabularError, match=r"column 'x' has 100 different texts in 100 rows, such as '\?': 98% are numb"
    ):
        kind([*numbers[:98], "?", "-"])


def test_options_decide():
    frame = pd.DataFrame({"a": range(12), "b": [1, 2] * 6, "c": ["3", "4"] * 6})
    assert infer_columns(frame) == ColumnTypes(("b", "c"), ("a",))
    assert infer_columns(frame, max_integer_categories=12) == ColumnTypes(("a", "b", "c"))
    assert infer_columns(frame, max_integer_categories=0) == ColumnTypes((), ("a", "b", "c"))
    assert infer_columns(frame, categorical=["a"], continuous=["b", "c"]) == ColumnTypes(("a",), ("b", "c"))
    wide = pd.DataFrame([range(3), range(1, 4)], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    assert infer_columns(wide).categorical == (("a", 1), ("a", 2), ("b", 1))


def test_empty_column_is_dropped_with_a_warning():
    frame = pd.DataFrame({"a": ["x", "y"], "b": [None, None], "c": [np.nan, np.nan]})
    with pytest.warns(UserWarning, match="has no values") as caught:
        assert infer_columns(frame) == ColumnTypes(("a",), (), ("b", "c"))
    assert [str(w.message) for w in caught] == [f"column {name!r} has no values: dropped" for name in "bc"]


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        ([[1, 2]], {}, "frame is a list; give a pandas DataFrame"),
        (pd.DataFrame({"a": []}), {}, "frame has no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "frame: column name 'a' stands there more than once"),
        (
            pd.DataFrame({"id": [f"n{k}" for k in range(30)]}),
            {},
            "column 'id' has 30 different texts in 30 rows, such as",
        ),
        (pd.DataFrame({"a": [[1], [2]]}), {}, "column 'a' holds a list; give texts or numbers"),
        (pd.DataFrame({"a": [1j, 2.0]}), {}, "column 'a' holds complex numbers; give real ones"),
        (
            pd.DataFrame({"a": pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2)])}),
            {},
            "column 'a' is of type interval",
        ),
        (
            pd.DataFrame({"a": [1.5, np.inf, 2.5]}, index=[7, 8, 9]),
            {},
            r"column 'a', row 1 \(index 8\): inf is not finite",
        ),
        (pd.DataFrame({"a": ["1.5", "2.5", "-inf"]}), {}, r"column 'a', row 2 \(index 2\): -inf is not finite"),
        (
            pd.DataFrame({"a": ["u", "v"]}),
            {"continuous": ["a"]},
            r"column 'a' holds no numbers \('u'\); make it categor",
        ),
        (
            pd.DataFrame({"a": [1, 2]}),
            {"categorical": ["b"]},
            "categorical: 'b' is no column of the frame; there are a",
        ),
        (pd.DataFrame({"a": [1, 2]}), {"categorical": "a"}, "categorical is the text 'a'; give a list of column names"),
        (
            pd.DataFrame({"a": [1, 2]}),
            {"categorical": ["a"], "continuous": ["a"]},
            "column 'a' is in categorical and in continuous; name it once",
        ),
        (pd.DataFrame({"a": [1, 2]}), {"max_integer_categories": -1}, "max_integer_categories is -1; allowed: whole"),
    ],
)
def test_tables_that_cannot_be(frame, options, message):
    with pytest.raises(TabularError, match=message):
        infer_columns(frame, **options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("guess", "columns is 'guess'; give 'infer' or ColumnTypes"),
        (ColumnTypes("a"), r"columns is ColumnTypes\(categorical='a'"),  # type: ignore[arg-type]
        (ColumnTypes(("a", "a"), ("b",)), "columns: 'a' is named twice"),
        (ColumnTypes(("a",), ("b", "z")), "the frame lacks column 'z'"),
        (ColumnTypes(("a",)), "columns: 'b' is in no group; name it categorical, continuous or dropped"),
        (ColumnTypes((), ("a", "b")), "column 'a' holds no numbers; drop it or make it categorical"),
        (ColumnTypes((), (), ("a", "b")), "the frame has no column that varies; give at least one"),
    ],
)
def test_column_types_that_cannot_be(columns, message):
    frame = pd.DataFrame({"a": ["u", "v", "u"], "b": [0.5, 1.5, 2.5]})
    with pytest.raises(TabularError, match=message):
        fit_encoder(frame, columns)


@pytest.mark.skipif(not DATA.exists(), reason="the real tables are not there")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("jasmine", (136, 8, 0)),
        ("blastchar", (16, 3, 0)),  # TotalCharges is text with 11 blanks
        ("insurance_co", (84, 1, 0)),
        ("1995_income", (8, 5, 0)),
        ("adult", (8, 6, 0)),
        ("bankmarketing", (9, 7, 0)),
        ("creditcard_fraud_sample1722", (0, 30, 0)),
        ("seismicbumps", (4, 11, 3)),
        ("dota2games", (113, 1, 2)),
    ],
)
def test_the_real_tables(name, sizes):
    frame = pd.read_parquet(DATA / f"{name}.parquet")
    if "split" in frame:
        frame = frame[frame.split == "train"] if name == "dota2games" else frame
    frame = frame.drop(columns=["target", "split"], errors="ignore")
    types = infer_columns(frame)
    assert tuple(map(len, types)) == sizes
    if name == "blastchar":
        assert "TotalCharges" in types.continuous
    if name == "dota2games":
        assert types.dropped == ("hero_24", "hero_108")
        assert types.continuous == ("cluster_id",)  # 47 codes, which only its owner knows
        assert infer_columns(frame[["cluster_id"]], categorical=["cluster_id"]).categorical == ("cluster_id",)
