"""`experiments.tabular --study=embeddings`: probes, cosines and maps with known answers, tables and figures."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from experiments import tabular_embeddings
from experiments.cells import Cells
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import load_data
from experiments.tabular_embeddings import run_embeddings
from experiments.tabular_figures import column_groups, layers_figure, maps_figure, profile_groups
from experiments.tabular_probes import (
    STRENGTHS,
    known_values,
    linear_probe,
    map_values,
    probe_logs,
    profile_preferences,
    value_cosines,
    value_means,
)
from jlabel import InputError
from jlabel.data.profiles import profiles
from jlabel.tabular import ColumnTypes, encode, fit_encoder
from tests.experiments.test_tabular_robustness import KeptCells

ROWS = 400
COLUMN = np.repeat([0, 1, 2], 4)
OWN = np.tile(np.eye(4), (3, 1))  # of three columns of four values, each preferred by its own profile


def config(**changes):
    options = {"study": "embeddings", "data": f"embedded:profiles?rows={ROWS}", "labelled": (), "seeds": (0, 1)}
    return TabularConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def data():
    return load_data(config())


def test_a_probe_reads_what_is_there_and_nothing_from_noise():
    rng = np.random.default_rng(0)
    profile = rng.integers(0, 8, 2100)
    assert linear_probe(np.eye(8)[profile[:100]], profile[:100]).score(np.eye(8)[profile[100:]], profile[100:]) == 1
    noise = rng.normal(size=(2100, 6))
    found = linear_probe(noise[:100], profile[:100]).score(noise[100:], profile[100:])
    assert found == pytest.approx(1 / 8, abs=0.03)


def test_held_rows_choose_and_teach_nothing():
    rng = np.random.default_rng(1)
    x, classes = 5 + 3 * rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    probe = linear_probe(x[:40], classes[:40], held=(x[40:], classes[40:]))
    scaled = (x - x[:40].mean(0)) / x[:40].std(0)
    fits = [LogisticRegression(C=c, tol=1e-3).fit(scaled[:40], classes[:40]) for c in STRENGTHS]
    logits = [scaled[40:] @ fit.coef_[0] for fit in fits]
    right, wrong = ([own[classes[40:] == k] for own in logits] for k in (1, 0))
    areas = [(a[:, None] > b).mean() for a, b in zip(right, wrong, strict=True)]
    best = fits[int(np.argmax(areas))]
    np.testing.assert_allclose(probe[-1].coef_, best.coef_, rtol=1e-6)


def test_a_class_of_one_row_is_no_fault():
    x, classes = np.arange(12.0)[:, None], np.array([0] * 6 + [1] * 5 + [2])
    assert linear_probe(x, classes).predict([[0.0], [8.0]]).tolist() == [0, 1]
    # Nor is one that held rows have, and those to learn from have not.
    probe = linear_probe(x[:11], classes[:11], held=(x[::2] + 1, classes[1::2]))
    logs = probe_logs(probe, x[:3], 3)
    assert logs.shape == (3, 3)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1)
    assert (logs[:, 2] < -700).all()


def test_mean_of_each_value_by_hand():
    embeddings = np.arange(12.0).reshape(3, 2, 2)  # rows [[0 1] [2 3]], [[4 5] [6 7]], [[8 9] [10 11]]
    codes = np.array([[0, 2], [0, 1], [2, 1]])  # of 2 and 3 values: the last cell of the first column is missing
    found = value_means(embeddings, codes, (2, 3))
    np.testing.assert_array_equal(found, [[2, 3], [np.nan] * 2, [np.nan] * 2, [8, 9], [2, 3]])


def test_cosine_of_values_that_share_a_profile():
    np.testing.assert_array_equal(value_cosines(OWN, COLUMN, OWN > 0), [1, 1, 1])
    # What all values of a column have in common hides their profiles, until it is taken away.
    common = np.repeat(np.eye(3) * 30, 4, axis=0)
    found = value_cosines(np.concatenate([OWN, common], 1), COLUMN, OWN > 0)
    assert found[2] == 1
    tilted = OWN + np.repeat([[9.0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0]], 4, axis=0)
    raw, centred, by_column = value_cosines(tilted, COLUMN, OWN > 0)
    assert max(raw, centred) < by_column == 1
    # A value that no row has is left out.
    lost = np.where(np.arange(12)[:, None] == 3, np.nan, OWN)
    np.testing.assert_array_equal(value_cosines(lost, COLUMN, OWN > 0), [1, 1, 1])


def test_cosines_computed_another_way():
    rng = np.random.default_rng(2)
    means, prefers = rng.normal(size=(12, 5)) + 1, rng.random((12, 3)) < 0.3
    near, far = [], []
    centred = means - means.mean(0)
    for i in range(12):
        for j in range(i + 1, 12):
            if COLUMN[i] != COLUMN[j]:
                a, b = centred[i], centred[j]
                into = near if (prefers[i] & prefers[j]).any() else far
                into.append(a @ b / np.sqrt(a @ a * (b @ b)))
    assert value_cosines(means, COLUMN, prefers)[1] == pytest.approx(np.mean([x > y for x in near for y in far]))


def test_preferences_are_those_of_the_generator():
    drawn = profiles(rows=8000, seed=3)
    encoder = fit_encoder(drawn.frame)
    found = profile_preferences(encode(encoder, drawn.frame).codes, drawn.profile, encoder.cardinalities)
    values = known_values(encoder.categories)
    for k in range(8):
        texts = [chr(ord("a") + code) for code in drawn.preferred[k]]
        expected = [text == texts[column] for column, text in zip(values.column, values.names, strict=True)]
        np.testing.assert_array_equal(found[:, k], expected)


def test_names_of_values():
    found = known_values([np.array(["no", "yes"], object), np.array([1.0, 2.5])])
    assert found.column.tolist() == [0, 0, 1, 1]
    assert found.names == ("no", "yes", "1", "2.5")


def test_a_map_keeps_apart_what_is_apart():
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(40) % 2, np.arange(40) % 3], 1)
    near = 50.0 * (codes[..., None] == 1) + rng.normal(size=(40, 2, 4))  # values 1 of both columns are far off
    found = map_values(near, codes, (2, 4), seed=0)
    assert found.shape == (6, 2)
    assert np.isnan(found[5]).all()
    apart = np.linalg.norm(found[:, None] - found, axis=-1)
    assert apart[1, 3] < apart[1, [0, 2, 4]].min()
    # Context-free: one point a value, however many rows have it.
    plain = rng.normal(size=(6, 4))[codes + [0, 2]]
    np.testing.assert_allclose(
        map_values(plain, codes, (2, 4), seed=0), map_values(plain[:6], codes[:6], (2, 4), seed=0)
    )


def test_groups_hold_each_value_once():
    prefers = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
    groups = profile_groups(prefers)
    assert [group.name for group in groups] == ["profile 0", "profile 1", "several profiles", "no profile"]
    np.testing.assert_array_equal([group.members for group in groups], np.eye(4, dtype=bool))
    for count in (3, 14, 40):
        groups = column_groups(np.arange(count).repeat(2), [f"c{k}" for k in range(count)])
        np.testing.assert_array_equal(np.sum([group.members for group in groups], 0), np.ones(2 * count))
        assert len({(group.colour, group.marker) for group in groups}) == len(groups) == min(count, 14)
    assert groups[-1].name == "27 other columns"


def test_maps_name_values_where_there_is_room():
    points = np.array([[0, 0], [0, 0.001], [5, 5], [np.nan, np.nan]])
    groups = column_groups(np.array([0, 0, 1, 1]), ["city", "river"])
    figure = maps_figure({"one": points, "two": points[::-1]}, ["Ulm", "Bonn", "Rhine", "Danube"], groups)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one", "two"]
    assert "Rhine" in [text.get_text() for text in figure.axes[0].texts]
    assert "Danube" not in [text.get_text() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.axes[3].get_legend().get_texts()] == ["city", "river"]


def test_the_mlp_ends_before_the_transformer():
    figure = layers_figure({"AUC": {"mlm": np.array([[0.5, 0.6, 0.7]]), "mlp": np.array([[0.4], [0.6]])}})
    lines = [line.lines[0].get_xydata() for line in figure.axes[0].containers]
    np.testing.assert_allclose(lines[0], [[-0.025, 0.5], [0.975, 0.6], [1.975, 0.7]])
    np.testing.assert_allclose(lines[1], [[0.025, 0.5]])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["before", "1", "2"]
    # The interval of two runs, .5 +- 1.27, goes beyond the frame, which means from .5 to .7 are in the middle of.
    np.testing.assert_allclose(figure.axes[0].get_ylim(), (0.388, 0.812))


def test_tables_figures_and_words_from_kept_cells(data, monkeypatch):
    def arrays(name):
        method = name.split(" ", 3)[3]
        nets, layers = 1 if method == "mlm" else 2, 1 if method == "mlp" else 3
        split = 0.0 if "split 0" in name else 0.1
        found = {
            "target": np.full((nets, layers), 0.4 + split), "profile": np.full((nets, layers), 0.7),
            "cosine": np.tile([0.6, 0.9, 0.8], (nets, layers, 1)), "end": np.array([0.7, 0.9]) + split,
            "last": np.random.default_rng(0).normal(size=(86, 2)), "before": np.zeros((86, 2)),
        }  # fmt: skip
        missing = {"untrained": ("end", "last", "before"), "mlm": ("end",), "mlm fine-tuned": ("last", "before")}
        return {name: own for name, own in found.items() if name not in missing.get(method, ())}

    monkeypatch.setattr(tabular_embeddings, "fit_runs", None)  # nothing is fitted
    cells = KeptCells(arrays)
    found = run_embeddings(config(splits=(0, 1), objectives=("mlm",)), data, cells)
    methods = ("untrained", "mlm", "tabtransformer", "mlm fine-tuned", "mlp")
    assert cells.asked == [f"embeddings split {split} {name}" for split in (0, 1) for name in methods]
    rows = {row.method + ": " + row.metric: row.runs for row in found.rows}
    assert len(rows) == len(found.rows)
    np.testing.assert_allclose(rows["mlm: target probe / end to end, layer 2"], [0.4 / 0.8, 0.5 / 0.9])
    np.testing.assert_allclose(rows["mlp: end-to-end AUC"], [0.8, 0.9])
    assert rows["mlm fine-tuned: cosine, layer 0"] == pytest.approx((0.6, 0.6))
    assert rows["untrained: cosine, centred, layer 2"] == pytest.approx((0.9, 0.9))
    assert "mlp: profile probe, layer 1" not in rows
    assert len(found.tables) == 3
    assert set(found.figures) == {"layers", "map_mlm", "map_tabtransformer"}
    assert "accuracy: untrained 0.700, mlm 0.700" in found.text[0]


def test_a_table_without_categories_is_refused(data):
    numbers = data.columns.continuous
    bare = data._replace(frame=data.frame[list(numbers)], columns=ColumnTypes((), numbers, ()))
    with pytest.raises(InputError, match="has no category columns, hence no embeddings"):
        run_embeddings(config(), bare, KeptCells(None))


@pytest.mark.slow
def test_the_study_goes_on_where_it_was(data, tmp_path, monkeypatch):
    small = config(
        embedding_size=8, num_heads=2, num_layers=1, pretraining_steps=2, steps=2, batch_size=16, seeds=(0,),
        objectives=("mlm",),
    )  # fmt: skip
    for name, value in {"MOST": 50, "CELLS": 200}.items():
        monkeypatch.setattr(tabular_embeddings, name, value)
    first = run_embeddings(small, data, Cells(tmp_path))
    assert {row.method for row in first.rows} == {"untrained", "mlm", "tabtransformer", "mlm fine-tuned", "mlp"}
    monkeypatch.setattr(tabular_embeddings, "_networks", None)  # nothing is looked at again
    again = run_embeddings(small, data, Cells(tmp_path))
    np.testing.assert_array_equal([row.mean for row in first.rows], [row.mean for row in again.rows])
