"""`experiments.tabular --study=robustness`: spoilt cells, areas computed another way, tables and figures."""

import jax
import numpy as np
import pytest

from experiments import tabular_robustness
from experiments.cells import Cells
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import cut, load_data
from experiments.tabular_robustness import (
    KINDS,
    METHODS,
    RATES,
    corrupted,
    fit_runs,
    over_splits,
    over_what,
    run_robustness,
    split_problem,
    table_scores,
)
from jlabel import InputError
from jlabel.tabular import ColumnTypes, add_noise, encode, fit_logistic

ROWS = 400


class Said:
    """Predicts what it was given, whatever the table."""

    def __init__(self, probs):
        self.probs = np.array(probs)

    def predict_proba(self, table):
        return self.probs


class KeptCells:
    """Cells that are all there."""

    def __init__(self, arrays):
        self.arrays, self.asked = arrays, []

    def get(self, name, make):
        self.asked.append(name)
        return self.arrays(name)


def config(**changes):
    options = {"study": "robustness", "data": f"embedded:profiles?rows={ROWS}", "labelled": (), "seeds": (0, 1)}
    return TabularConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def data():
    return load_data(config())


@pytest.fixture(scope="module")
def problem(data):
    return split_problem(config(), data, 0)


def test_areas_by_hand():
    right = np.array([0.1, 0.6, 0.35, 0.8])
    fit = Said([np.stack([1 - right, right], 1), [[1, 0], [1, 0], [0, 1], [0, 1]]])
    found = table_scores(fit, [None, None], np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(found, [[0.75, 0.75], [1, 1]])


def test_at_rate_0_nothing_changes(data, problem):
    frame = data.frame.iloc[:90]
    clean = encode(problem[0], frame)
    for kind in KINDS:
        for left, right in zip(corrupted(problem[0], frame, kind=kind, key=jax.random.key(3))[0], clean, strict=True):
            np.testing.assert_array_equal(left, right)


def test_as_many_cells_change_as_the_rate_says(data, problem, key):
    encoder, _ = problem
    clean, sizes = encode(encoder, data.frame), np.array(encoder.cardinalities)
    for kind, expected in (("missing", 1.0), ("noise", (1 - 1 / sizes).mean())):  # the drawn value may be the old one
        tables = corrupted(encoder, data.frame, kind=kind, key=key)
        changed = [table.codes != clean.codes for table in tables]
        shares = np.array([own.mean() for own in changed])
        np.testing.assert_allclose(shares, np.array(RATES) * expected, atol=0.03)
        assert all((low <= high).all() for low, high in zip(changed, changed[1:], strict=False))
        for table, own in zip(tables, changed, strict=True):
            np.testing.assert_array_equal(table.values, clean.values)
            missing = table.codes == sizes
            assert (missing == own).all() if kind == "missing" else not missing.any()


def test_a_noisy_area_computed_another_way(data, problem, key):
    encoder, given = problem
    fit, part = fit_logistic(given), cut(data, 0)
    frame, classes = data.frame.iloc[part.test], data.target[part.test]
    found = table_scores(fit, corrupted(encoder, frame, kind="noise", key=key), classes)

    # Logistic regression by hand, on one column for each text and one for "missing", and on scaled numbers.
    names, numbers = list(data.columns.categorical), list(data.columns.continuous)
    spoilt, train = add_noise(frame, columns=names, rate=RATES[3], key=key), data.frame.iloc[part.train]
    weights, logits, start = fit.models[1][0].coef_[0], np.zeros(len(frame)), 0
    for name in names:
        texts = sorted(train[name].unique())
        logits += weights[[start + texts.index(text) for text in spoilt[name]]]
        start += len(texts) + 1
    logits += ((frame[numbers] - train[numbers].mean()) / train[numbers].std(ddof=0)).to_numpy() @ weights[start:]
    gaps = logits[classes == 1][:, None] - logits[classes == 0]
    assert found.shape == (2, len(RATES))
    assert found[1, 3] == pytest.approx((gaps > 0).mean() + (gaps == 0).mean() / 2, abs=1e-6)


def test_labelled_rows_are_all_of_training_or_so_many(data, problem):
    part = cut(data, 0)
    np.testing.assert_array_equal(problem[1].labelled, np.tile(part.train, (2, 1)))
    np.testing.assert_array_equal(problem[1].validation, np.tile(part.val, (2, 1)))
    few = split_problem(config(labelled=(20,)), data, 0)[1].labelled
    assert few.shape == (2, 20)
    assert np.isin(few, part.train).all()
    assert (few[0] != few[1]).any()
    with pytest.raises(InputError, match=r"--labelled=50,200: --study=robustness takes one number, or none for all"):
        split_problem(config(labelled=(50, 200)), data, 0)


def test_what_no_seed_changes_is_fitted_once(data, problem):
    fits = fit_runs("logistic", config(), data, 0, *problem, None)
    assert [len(fit.chosen) for fit in fits] == [1]
    some = config(labelled=(20,), seeds=(0, 1, 2), side_by_side=2)
    fits = fit_runs("logistic", some, data, 0, *split_problem(some, data, 0), None)
    assert [len(fit.chosen) for fit in fits] == [2, 1]


def test_seeds_count_once_where_there_are_splits():
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(over_splits(values), [1, 4])
    np.testing.assert_array_equal(over_splits(values[:1]), [0, 1, 2])
    assert over_what(config()) == "2 seeds of one split"
    assert over_what(config(splits=(0, 3))) == "2 splits, in each the mean of 2 seeds"
    assert over_what(config(seeds=(4,))) == "one run"


def test_tables_figures_and_words_from_kept_cells(data, monkeypatch):
    def arrays(name):
        place = METHODS.index(name.rsplit(" ", 1)[1])
        clean = 0.8 if "split 0" in name else 0.5
        own = (1 - 0.1 * place) * clean * (1 - np.arange(12.0) / 100)  # six of noise, six of missing
        return {"scores": own[None] if place > 3 else np.stack([own, own])}

    monkeypatch.setattr(tabular_robustness, "fit_runs", None)  # nothing is fitted
    cells, told = KeptCells(arrays), []
    found = run_robustness(config(splits=(0, 2)), data, cells, told.append)
    assert cells.asked == [f"robustness split {split} {name}" for split in (0, 2) for name in METHODS]
    assert told[0] == "split 0, tabtransformer"
    rows = {row[:3]: row for row in found.rows}
    assert rows["tabtransformer", "relative AUC at 0%", "noise"].runs == (1.0, 1.0)
    np.testing.assert_allclose(rows["tabtransformer", "AUC at 0%", "noise"].runs, [0.8, 0.5])
    np.testing.assert_allclose(rows["rtd", "AUC at 20%", "noise"].runs, [0.8 * 0.8 * 0.98, 0.8 * 0.5 * 0.98])
    # Both kinds are divided by the same number, here the first of noise.
    np.testing.assert_allclose(rows["mlp", "relative AUC at 50%", "missing"].runs, [0.7 * 0.89] * 2)
    assert len(rows) == len(found.rows) == 2 * 2 * 6 * 6
    assert [len(own) for _, own in found.tables] == [18] * 4
    assert list(found.figures) == ["robustness_noise", "robustness_missing"]
    axes = found.figures["robustness_noise"][0].axes[0]
    lines = {line.get_label(): line for line in axes.containers}
    assert list(lines) == list(METHODS)
    np.testing.assert_allclose(lines["mlm"].lines[0].get_xydata()[:, 1], 0.9 * (1 - np.arange(6) / 100))
    assert "TabTransformer less each method: mlm +0.095 [+0.095, +0.095]" in found.text[0]
    assert len(found.lines) == 2 * 2 * 6 * 2


def test_a_table_without_categories_is_refused(data):
    numbers = data.columns.continuous
    bare = data._replace(frame=data.frame[list(numbers)], columns=ColumnTypes((), numbers, ()))
    with pytest.raises(InputError, match="has no category columns, and --study=robustness spoils these"):
        run_robustness(config(), bare, KeptCells(None))


@pytest.mark.slow
def test_the_study_goes_on_where_it_was(data, tmp_path, monkeypatch):
    small = config(
        embedding_size=8, num_heads=2, num_layers=1, pretraining_steps=2, steps=2, batch_size=16, seeds=(0,),
        objectives=("mlm",),
    )  # fmt: skip
    first = run_robustness(small, data, Cells(tmp_path))
    assert {row.method for row in first.rows} == set(METHODS) - {"rtd"}
    monkeypatch.setattr(tabular_robustness, "fit_runs", None)
    again = run_robustness(small, data, Cells(tmp_path))
    assert [row[:4] for row in first.rows] == [row[:4] for row in again.rows]
    np.testing.assert_array_equal([row.mean for row in first.rows], [row.mean for row in again.rows])
