"""Tables, splits and draws of `experiments.tabular`, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from absl import flags

from experiments.tabular_config import DEFAULTS, METHODS, OWN_METHODS, TabularConfig, config_of, define_flags
from experiments.tabular_data import Cut, cut, draw_labelled, draw_validation, load_data, read_frame
from jlabel import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "tabular"


@pytest.fixture(scope="module")
def drawn():
    return load_data(TabularConfig(data="embedded:profiles?seed=3&rows=400"))


def flagged(*texts):
    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        for name in ("DEFINE_enum", "DEFINE_string", "DEFINE_list", "DEFINE_integer", "DEFINE_float", "DEFINE_bool"):
            define = getattr(flags, name)
            patch.setattr(flags, name, lambda *args, define=define: define(*args, flag_values=values))
        define_flags()
    values(["tabular", *texts])
    return config_of(values)


def test_splits_share_no_row_and_tests_cover_the_table(drawn):
    parts = [cut(drawn, split) for split in range(5)]
    for part in parts:
        assert [len(rows) for rows in part] == [260, 60, 80]
        assert len(np.unique(np.concatenate(part))) == 400
        share = drawn.target.mean()
        assert all(abs(drawn.target[rows].mean() - share) < 0.02 for rows in part)
    np.testing.assert_array_equal(np.sort(np.concatenate([part.test for part in parts])), np.arange(400))
    np.testing.assert_array_equal(cut(drawn, 2).train, parts[2].train)


def test_draws_are_repeatable_nested_and_of_training_rows(drawn):
    part = cut(drawn, 0)
    few, again = draw_labelled(drawn, part, 20, 7)[0], draw_labelled(drawn, part, 20, 7)[0]
    np.testing.assert_array_equal(few, again)
    assert set(few) <= set(draw_labelled(drawn, part, 90, 7)[0]) <= set(part.train)
    assert set(few) != set(draw_labelled(drawn, part, 20, 8)[0])
    with pytest.raises(InputError, match="--labelled=260: the training part of profiles has 260 rows; give fewer"):
        draw_labelled(drawn, part, 260, 0)
    small = draw_validation(part, 5, (0, 1), small=True)
    assert small.shape == (2, 5)
    assert set(small.ravel()) <= set(part.val)
    np.testing.assert_array_equal(draw_validation(part, 5, (0, 1), small=False), [part.val, part.val])


def test_a_draw_of_one_class_is_drawn_again_and_counted(drawn):
    rare = drawn._replace(target=(np.arange(400) < 20).astype(np.int32))
    rows = Cut(np.arange(400), *cut(drawn, 0)[1:])
    found = [draw_labelled(rare, rows, 4, seed) for seed in range(20)]
    assert all(len(np.unique(rare.target[own])) == 2 for own, _ in found)
    # A draw of four has a positive with probability 1 - .95^4 = .185: it takes 4.4 failures on average.
    assert 40 < sum(again for _, again in found) < 180


def test_the_truth_of_drawn_rows(drawn):
    assert drawn.truth.shape == (400, 2)
    np.testing.assert_allclose(drawn.truth.sum(1), 1)
    assert drawn.class_names == ("0", "1")
    assert (len(drawn.columns.categorical), len(drawn.columns.continuous)) == (10, 4)


def test_csv_cells(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("size,kind,day,churn\nNA,NA,2026-01-31,yes\n2.5,x,,no\n3,,2026-02-02,\n")
    frame = read_frame(f"csv:{file}")
    assert np.isnan(frame["size"][0]) and frame["size"][1:].tolist() == [2.5, 3]  # noqa: PT018
    assert frame["kind"][:2].tolist() == ["NA", "x"]
    assert frame["kind"].isna().tolist() == [False, False, True]
    assert frame["day"][2] == pd.Timestamp("2026-02-02")
    assert frame["churn"].isna().tolist() == [False, False, True]
    with pytest.raises(InputError, match="none.csv: no readable table: No such file"):
        read_frame(f"csv:{tmp_path / 'none.csv'}")
    file.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(InputError, match="two columns are called 'a'"):
        read_frame(f"csv:{file}")
    file.write_text("a,b\n")
    with pytest.raises(InputError, match="the table has no rows"):
        read_frame(f"csv:{file}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "age"}, "--target=age: .* has no such column; there are a, b, "),
        ({"target": "same"}, "--target=same: all rows that have a target are 1: two classes or more"),
        ({"target": "nothing"}, "--target=nothing: the column is empty"),
        ({"target": "value"}, "200 different numbers: this study is for classes; .*TabTransformerRegressor"),
        ({"target": "text"}, "200 different values, such as 't0': at most 50 classes"),
        ({"target": "gaps", "study": "semi"}, "150 of 200 rows have none, and --study=semi needs all"),
        ({"target": "rare", "study": "semi"}, "class 'yes' has 3 rows; a study needs 10 of each"),
        ({"target": "good", "drop": ("nothing",)}, "'text' has 200 different texts .*--drop=COLUMN leaves it out"),
        ({"target": "good", "drop": ("nope",)}, "--drop=nope: .* has no such column"),
        ({"target": "good", "split_column": "rare"}, "--split_column=rare: no row says train or 0"),
    ],
)
def test_tables_that_do_not_serve(tmp_path, change, message):
    rows = np.arange(200)
    frame = pd.DataFrame({
        "a": rows % 3, "b": rows / 7, "same": 1, "nothing": None, "value": rows / 3, "text": [f"t{k}" for k in rows],
        "gaps": np.where(rows < 50, rows % 2, np.nan), "rare": np.where(rows < 3, "yes", "no"), "good": rows % 2,
    })  # fmt: skip
    frame.to_parquet(tmp_path / "rows.parquet")
    options = {"data": f"parquet:{tmp_path / 'rows.parquet'}", "study": "own", "methods": ("mlp",), "seeds": (0,)}
    config = TabularConfig(**{**options, "labelled": (20,), **change})
    with pytest.raises(InputError, match=message):
        load_data(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "all"}, "--study=all: choose one of semi, supervised"),
        ({"methods": ("mlp", "svm")}, "--methods=svm: choose from prior, "),
        ({"methods": ("mlp", "mlp")}, "--methods=mlp,mlp: give each once"),
        ({"methods": ()}, "--methods is empty"),
        ({"objectives": ("bert",)}, "--objectives=bert: choose from mlm, rtd"),
        ({"splits": (5,)}, "--splits=5: give numbers from 0 to 4"),
        ({"seeds": (-1,)}, "--seeds=-1: give whole numbers from 0 on"),
        ({"labelled": (1,)}, "--labelled=1: give 2 or more"),
        ({"labelled": ()}, "--labelled is empty"),
        ({"steps": 0}, "--steps must be a positive whole number, got 0"),
        ({"num_heads": 5}, "--num_heads=5 does not divide --embedding_size=32"),
        ({"dropout": 1.0}, "--dropout=1: give a rate from 0 to below 1"),
        ({"tuning_rounds": -1}, "--tuning_rounds=-1"),
        ({"num_layers": 0, "study": "embeddings"}, "--num_layers=0: give 1 or more"),
        ({"data": "npz:x.npz"}, "--data=npz:x.npz: give embedded:profiles, csv:FILE or parquet:FILE"),
        ({"study": "supervised", "methods": ("mlp_pl",)}, "mlp_pl learns from unlabelled rows"),
        ({"study": "own"}, "give your rows, as in --data=csv:rows.csv"),
        ({"study": "own", "data": "csv:x.csv", "methods": ("vib",)}, "--methods=vib with your own rows"),
        ({"study": "own", "data": "csv:x.csv", "methods": ("mlp",)}, "--labelled=50,200,500: give one number"),
        ({"model": "model.safetensors"}, "--model=model.safetensors predicts new rows: give them"),
    ],
)
def test_settings_that_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        TabularConfig(**change)


def test_flags():
    assert flagged() == TabularConfig()
    own = flagged("--data=csv:mine.csv", "--target=churn", "--labelled=200")
    assert (own.study, own.labelled, own.seeds) == ("own", (200,), (0,))
    assert own.methods == DEFAULTS["own"]["methods"]
    assert flagged("--data=csv:mine.csv", "--methods=all").methods == OWN_METHODS
    assert flagged("--data=csv:mine.csv", "--study=semi").labelled == (50, 200, 500)
    assert flagged("--methods=all").rows == METHODS
    assert flagged("--methods=all", "--objectives=rtd").rows == tuple(n for n in METHODS if not n.startswith("mlm"))
    whole = flagged("--study=supervised", "--steps=7")
    assert (whole.labelled, whole.steps, whole.splits) == ((), 7, (0, 1, 2, 3, 4))
    with pytest.raises(InputError, match="--labelled=some: give whole numbers separated by commas"):
        flagged("--labelled=some")
    for text, message in {"rows=x": "option rows=x; there are seed and rows", "size=3": "option size=3"}.items():
        with pytest.raises(InputError, match=message):
            load_data(TabularConfig(data=f"embedded:profiles?{text}"))


@pytest.mark.parametrize(
    ("stem", "sizes"),
    [
        ("blastchar", (16, 3, 0)),
        ("seismicbumps", (4, 11, 3)),
        pytest.param("jasmine", (136, 8, 0), marks=pytest.mark.slow),
        pytest.param("dota2games", (114, 0, 2), marks=pytest.mark.slow),
    ],
)
def test_real_tables(stem, sizes):
    file = SHARED / f"{stem}.parquet"
    if not file.exists():
        pytest.skip("needs the shared data")
    own = {"split_column": "split", "categorical": ("cluster_id",)} if stem == "dota2games" else {}
    data = load_data(TabularConfig(data=f"parquet:{file}", **own))
    assert tuple(map(len, data.columns)) == sizes
    assert set(data.target) == {0, 1}
    if stem == "dota2games":
        assert len(data.frame) == 92650
