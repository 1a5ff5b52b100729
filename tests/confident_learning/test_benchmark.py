"""Sets of rows, prevalence, crossings, rank intervals: by hand, by brute force, and the published figures."""

import csv
import gzip
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy import stats

from jlabel import InputError
from jlabel.confident_learning import (
    accuracy_at_prevalence,
    benchmark_sets,
    bootstrap_accuracies,
    bootstrap_ranks,
    corrected_accuracy,
    count_votes,
    crossing_prevalence,
    dropped_share,
    noise_prevalence,
    original_accuracy,
    spearman_interval,
    tally_votes,
)

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "label_errors"
TABLES = ROOT / "experiments" / "tables"
SHARES = strategies.floats(0, 1, allow_nan=False)


def table(name, column):
    lines = [line for line in (TABLES / f"{name}_models.csv").read_text().splitlines() if not line.startswith("#")]
    return [float(row[column]) for row in csv.DictReader(lines)]


def real_categories(name, *, threshold=3):
    path = REAL / "label_errors_mturk.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["dataset"] == name]
    return rows, tally_votes(count_votes([row["mturk"] for row in rows]), threshold=threshold)


# -- sets


def test_every_row_is_in_one_set():
    flagged = np.array([True, False, True, True, True, True, False])
    sets = benchmark_sets([0, 1, 2, 3, 4], flagged)
    assert np.flatnonzero(sets.benign).tolist() == [0, 1, 6]  # human-confirmed non-errors included
    assert np.flatnonzero(sets.correctable).tolist() == [3]
    assert np.flatnonzero(sets.unknown).tolist() == [2, 4, 5]
    assert (sum(mask.astype(int) for mask in sets) == 1).all()
    assert np.flatnonzero(sets.pruned).tolist() == [0, 1, 3, 6]


def test_categories_of_all_rows_count_where_flagged():
    flagged = np.array([True, False, True])
    whole, part = benchmark_sets([2, 2, 0], flagged), benchmark_sets([2, 0], flagged)
    for one, two in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one, two)


def test_nothing_flagged():
    assert benchmark_sets([], [False, False]).benign.all()


@pytest.mark.parametrize(
    ("category", "flagged", "message"),
    [
        ([0], [1, 0], r"flagged must be a mask, bool \(N,\); got int"),
        ([0, 2, 1], [True, False], r"category holds 3 rows; give one for each of 1 flagged or 2"),
        ([0, 7], [True, False, True], r"category 7 of row 2 is not one of 0 to 4 \(non-error, "),
        ([0, -1], [True, False, True], "category -1 of row 2"),
        ([0.5], [True], r"category must hold whole numbers"),
    ],
)
def test_bad_sets(category, flagged, message):
    with pytest.raises(InputError, match=message):
        benchmark_sets(category, flagged)


@pytest.mark.parametrize(
    ("name", "rows", "pruned", "correctable"),
    [("imagenet", 50000, 48512, 1428), ("cifar10", 10000, 9964, 18), ("cifar100", 10000, 9733, 318)],
)
def test_real_prevalence(name, rows, pruned, correctable):
    _, category = real_categories(name)
    flagged = np.zeros(rows, bool)
    flagged[: len(category)] = True
    sets = benchmark_sets(category, flagged)
    assert (sets.pruned.sum(), sets.correctable.sum()) == (pruned, correctable)
    found = noise_prevalence(sets.correctable.sum(), sets.benign.sum())
    assert found == pytest.approx(correctable / pruned, abs=1e-12)


def test_published_prevalence():
    assert float(noise_prevalence(1428, 48512 - 1428)) == pytest.approx(0.02944, abs=5e-6)
    assert float(noise_prevalence(318, 9733 - 318)) == pytest.approx(0.03267, abs=5e-6)
    # leaving the 2524 confirmed non-errors out of B gives another figure
    assert float(noise_prevalence(1428, 48512 - 1428 - 2524)) == pytest.approx(0.03105, abs=5e-6)


def test_the_model_that_proposed_the_corrections_is_right_on_all_of_them():
    """The correctable rows are chosen by one model: its original accuracy there is 0, its corrected one 1."""
    path = REAL / "label_errors.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    data = np.load(path)
    rows, category = real_categories("imagenet")
    place = {str(file).rsplit("/", 1)[-1]: row for row, file in enumerate(data["imagenet__filepath"])}
    flagged = np.zeros(50000, bool)
    where = np.array([place[row["url"].rsplit("/", 1)[-1]] for row in rows])
    flagged[where] = True
    full, guessed = np.zeros((2, 50000), int)
    full[where], guessed[where] = category, [row["our_guessed_label"] for row in rows]
    sets = benchmark_sets(full, flagged)
    labels, predicted = data["imagenet__y"], data["imagenet__pred"]
    assert original_accuracy(predicted, labels) == 0.72732
    assert original_accuracy(predicted, labels, rows=sets.correctable) == 0
    assert corrected_accuracy(predicted, labels, guessed, sets, rows=sets.correctable) == 1


# -- accuracies


def test_accuracies_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 2])
    guessed = np.array([9, 2, 9, 9, 9, 9])
    sets = benchmark_sets([2, 1], [False, True, True, False, False, False])  # row 1 correctable, row 2 unknown
    predicted = np.array([[0, 0, 1, 1, 2, 0], [0, 2, 0, 1, 0, 2]])
    np.testing.assert_allclose(original_accuracy(predicted, labels), [5 / 6, 3 / 6])
    np.testing.assert_allclose(original_accuracy(predicted, labels, rows=sets.correctable), [1, 0])
    np.testing.assert_allclose(corrected_accuracy(predicted, labels, guessed, sets), [3 / 5, 4 / 5])
    np.testing.assert_allclose(corrected_accuracy(predicted, labels, guessed, sets, rows=sets.correctable), [0, 1])
    assert corrected_accuracy(predicted[0], labels, guessed, sets) == 3 / 5


def test_bad_accuracies():
    sets = benchmark_sets([2], [False, True])
    with pytest.raises(InputError, match=r"predicted \(3,\) and labels \(2,\)"):
        original_accuracy([0, 1, 2], [0, 1])
    with pytest.raises(InputError, match="no row to score"):
        original_accuracy([0, 1], [0, 1], rows=np.zeros(2, bool))
    with pytest.raises(InputError, match=r"rows must be a mask, bool \(2,\); got int"):
        original_accuracy([0, 1], [0, 1], rows=[0, 1])
    with pytest.raises(InputError, match=r"guessed \(3,\) must have 2 rows"):
        corrected_accuracy([0, 1], [0, 1], [0, 1, 2], sets)


# -- prevalence and crossings


def test_crossing_by_hand():
    first, second = (0.95, 0.40), (0.93, 0.65)
    found = crossing_prevalence(first, second)
    assert found == pytest.approx(2 / 27, abs=1e-12)
    assert dropped_share(found, 20, 980) == pytest.approx(0.744898, abs=1e-6)
    assert noise_prevalence(20, 980, dropped=0.744898) == pytest.approx(0.074074, abs=1e-6)
    assert accuracy_at_prevalence(*first, noise_prevalence(20, 980)) == pytest.approx(0.939)
    half = noise_prevalence(20, 980, dropped=0.5)
    assert half == pytest.approx(0.039216, abs=1e-6)
    assert accuracy_at_prevalence(*first, half) == pytest.approx(0.928431, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0.95, 0.65), (0.93, 0.40)),  # better on both
        ((0.9, 0.5), (0.9, 0.5)),
        ((0.9, 0.5), (0.9, 0.6)),  # they touch at 0
        ((0.9, 0.5), (0.8, 0.5)),  # they touch at 1
    ],
)
def test_equal_signs_do_not_cross(first, second):
    assert crossing_prevalence(first, second) is None
    assert crossing_prevalence(second, first) is None


@given(SHARES, SHARES, SHARES, SHARES)
def test_models_are_equal_at_their_crossing(b1, c1, b2, c2):
    found = crossing_prevalence((b1, c1), (b2, c2))
    if found is None:
        assert (b1 - b2) * (c1 - c2) >= 0
    else:
        assert 0 <= found <= 1
        one, two = (accuracy_at_prevalence(b, c, found) for b, c in ((b1, c1), (b2, c2)))
        assert one == pytest.approx(two, abs=1e-9)
        assert crossing_prevalence((b2, c2), (b1, c1)) == pytest.approx(found)


@given(SHARES, SHARES, SHARES, strategies.integers(1, 1000), strategies.integers(1, 1000))
def test_line_in_the_prevalence_is_the_mean_over_rows(b, c, dropped, correctable, benign):
    kept = (1 - dropped) * benign
    direct = (c * correctable + b * kept) / (correctable + kept)
    prevalence = noise_prevalence(correctable, benign, dropped=dropped)
    assert accuracy_at_prevalence(b, c, prevalence) == pytest.approx(direct, abs=1e-12)
    assert dropped_share(float(prevalence), correctable, benign) == pytest.approx(dropped, abs=1e-6)


def test_published_crossing_needs_a_gap_that_the_models_do_not_have():
    """8.6 % with Table S1's accuracies on C is a gap of .0082 on B; the weights' makers state .0639 over all rows."""
    gap = 0.086 * (0.8242 - 0.7374) / (1 - 0.086)
    assert gap == pytest.approx(0.0082, abs=5e-5)
    assert crossing_prevalence((0.8 + gap, 0.7374), (0.8, 0.8242)) == pytest.approx(0.086)
    assert crossing_prevalence((0.7615, 0.7374), (0.6976, 0.8242)) == pytest.approx(0.424, abs=5e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_prevalence(0, 0), "leave no rows"),
        (lambda: noise_prevalence(-1, 5), "correctable is -1; allowed: at least 0"),
        (lambda: noise_prevalence(1, 5, dropped=[0.5, 1.5]), r"dropped\[1\] is 1.5; allowed: 0 to 1"),
        (lambda: noise_prevalence("many", 5), "correctable must hold numbers"),
        (lambda: accuracy_at_prevalence(0.9, np.nan, 0.5), "correctable is nan; allowed: 0 to 1"),
        (lambda: crossing_prevalence((0.9, 40), (0.9, 0.5)), r"first\[1\] is 40; allowed: 0 to 1"),
        (lambda: crossing_prevalence((0.9,), (0.9, 0.5)), r"first must be \(A_B, A_C\); got shape \(1,\)"),
        (lambda: dropped_share(0, 20, 980), "prevalence=0 and benign=980 must be above 0"),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(InputError, match=message):
        call()


# -- rank correlations


@pytest.mark.parametrize(
    ("name", "suffix", "correlation", "p_value"),
    [("imagenet", "", -0.134, 0.449), ("imagenet", "_top5", 0.527, None), ("cifar10", "", -0.538, 0.058)],
)
def test_published_correlations(name, suffix, correlation, p_value):
    found = spearman_interval(table(name, f"original{suffix}"), table(name, f"corrected{suffix}"))
    assert found.correlation == pytest.approx(correlation, abs=5e-4)
    if p_value:
        assert found.p_value == pytest.approx(p_value, abs=5e-4)
        assert found.low < 0 < found.high  # "negative correlation" is not shown


def test_tables_are_whole():
    assert [len(table(name, "original")) for name in ("imagenet", "cifar10")] == [34, 13]
    corrected = np.array(table("cifar10", "corrected"))  # 18 rows: steps of 5.6 points
    np.testing.assert_allclose(np.round(corrected * 18) / 18, corrected, atol=6e-5)


def test_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's correlation of a normal pair with correlation .6
    covered = 0
    for _ in range(400):
        x, e = generator.normal(size=(2, 30))
        found = spearman_interval(x, 0.6 * x + 0.8 * e)
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 400 < 0.98


def test_perfect_order():
    assert spearman_interval(range(5), range(5))[:3] == (1, 1, 1)
    assert spearman_interval(range(5), [-v for v in range(5)])[:3] == (-1, -1, -1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "at least 4 models"),
        ([1, 2, 3, 4], [1, 2, 3], r"first \(4,\) and second \(3,\)"),
        ([1, 2, 3, np.nan], [1, 2, 3, 4], r"first\[3\] is nan; allowed: finite"),
        ([1, 2, 3, 4], [5, 5, 5, 5], "need different values"),
    ],
)
def test_bad_correlations(first, second, message):
    with pytest.raises(InputError, match=message):
        spearman_interval(first, second)
    with pytest.raises(InputError, match="level=2 must lie"):
        spearman_interval(range(4), range(4), level=2)


# -- the bootstrap


def matrices(*, models=5, benign=60, correctable=25, seed=0):
    """Right-or-wrong matrices: better models on B are worse on corrected C."""
    generator = np.random.default_rng(seed)
    mask = np.arange(benign + correctable) >= benign
    skill = np.linspace(0.6, 0.95, models)[:, None]
    original = generator.random((models, len(mask))) < skill
    corrected = original.copy()
    corrected[:, mask] = ~original[:, mask] & (generator.random((models, correctable)) < 0.9)
    return original, corrected, mask


def test_estimates_are_those_of_the_rows():
    original, corrected, mask = matrices()
    found = bootstrap_ranks(original, corrected, mask, replicates=100, key=jax.random.key(0))
    assert found.prevalence == 25 / 85
    np.testing.assert_allclose(found.original.accuracy, original.mean(1))
    np.testing.assert_allclose(found.corrected.accuracy, corrected.mean(1))
    np.testing.assert_allclose(found.benign.accuracy, original[:, ~mask].mean(1))
    np.testing.assert_allclose(found.corrected_correctable.accuracy, corrected[:, mask].mean(1))
    np.testing.assert_array_equal(found.corrected.rank, stats.rankdata(-corrected.mean(1)))
    assert found.spearman.mean == pytest.approx(stats.spearmanr(original.mean(1), corrected.mean(1)).statistic)
    on_c = stats.spearmanr(original[:, mask].mean(1), corrected[:, mask].mean(1)).statistic
    assert found.spearman_correctable.mean == pytest.approx(on_c)
    lines = list(zip(found.benign.accuracy, found.corrected_correctable.accuracy, strict=True))
    crossings = found.crossings_corrected
    for i, j, value in zip(crossings.first, crossings.second, crossings.prevalence, strict=True):
        expected = crossing_prevalence(lines[i], lines[j])
        assert value == (np.inf if expected is None else pytest.approx(expected))


def test_replicates_are_those_of_drawn_rows():
    """Against rows drawn one replicate at a time: the same means and spread of each accuracy and of a difference."""
    original, corrected, mask = matrices()
    found = bootstrap_accuracies(original, corrected, mask, replicates=4000, key=jax.random.key(1))
    generator = np.random.default_rng(0)
    rows = np.flatnonzero(mask)
    drawn = np.array([generator.choice(rows, len(rows)) for _ in range(4000)])
    slow = {"original": original[:, drawn].mean(2).T, "corrected": corrected[:, drawn].mean(2).T}
    for name, values in slow.items():
        fast = getattr(found, name)
        np.testing.assert_allclose(fast.mean(0), values.mean(0), atol=0.01)
        np.testing.assert_allclose(fast.std(0), values.std(0), rtol=0.08)
    # original and corrected accuracy are drawn on the same rows: their sum has the spread of their sum
    both = (found.original + found.corrected).std(0)
    np.testing.assert_allclose(both, (slow["original"] + slow["corrected"]).std(0), rtol=0.1, atol=1e-3)
    assert (found.benign.std(0) > 0).all()


def test_same_key_same_intervals():
    rows = matrices()
    one, two, other = (bootstrap_ranks(*rows, replicates=200, key=jax.random.key(k)) for k in (3, 3, 4))
    np.testing.assert_array_equal(one.corrected.rank_low, two.corrected.rank_low)
    assert one.spearman == two.spearman
    assert one.spearman != other.spearman


def test_parts_do_not_change_the_replicates(monkeypatch):
    from jlabel.confident_learning import rank_bootstrap

    rows = matrices()
    whole = bootstrap_accuracies(*rows, replicates=150, key=jax.random.key(0))
    monkeypatch.setattr(rank_bootstrap, "_DRAWN_AT_ONCE", 200)
    parts = bootstrap_accuracies(*rows, replicates=150, key=jax.random.key(0))
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, two)


@settings(max_examples=20, deadline=None)
@given(strategies.permutations(range(5)), strategies.randoms(use_true_random=False))
def test_models_and_rows_may_come_in_any_order(order, random):
    original, corrected, mask = matrices()
    rows = list(range(len(mask)))
    random.shuffle(rows)
    one = bootstrap_ranks(original, corrected, mask, replicates=100, key=jax.random.key(0))
    two = bootstrap_ranks(
        original[order][:, rows], corrected[order][:, rows], mask[rows], replicates=100, key=jax.random.key(0)
    )
    np.testing.assert_allclose(two.corrected.rank, one.corrected.rank[order])
    np.testing.assert_allclose(two.original.accuracy, one.original.accuracy[order])
    assert two.spearman.mean == pytest.approx(one.spearman.mean)


def test_clear_crossing_is_found_with_its_interval():
    """Two models with known lines: A_B .9 and .8, A_C .3 and .7 cross at .1 / .5 = .2."""
    benign, correctable = 2000, 1000
    mask = np.arange(benign + correctable) >= benign
    right = np.zeros((2, len(mask)), bool)
    for model, (b, c) in enumerate(((0.9, 0.3), (0.8, 0.7))):
        right[model, : int(b * benign)] = True
        right[model, benign : benign + int(c * correctable)] = True
    found = bootstrap_ranks(right, right, mask, replicates=500, key=jax.random.key(0)).crossings_corrected
    assert found.prevalence[0] == pytest.approx(0.2)
    assert found.share[0] == 1
    assert 0.15 < found.low[0] < 0.2 < found.high[0] < 0.25


def test_no_crossing_is_infinite_and_counted():
    mask = np.array([False] * 40 + [True] * 40)
    right = np.zeros((2, 80), bool)
    right[0] = True
    found = bootstrap_ranks(right, right, mask, replicates=100, key=jax.random.key(0))
    crossing = found.crossings_corrected
    assert crossing.prevalence.tolist() == crossing.low.tolist() == crossing.high.tolist() == [np.inf]
    assert crossing.share.tolist() == [0]
    assert found.corrected.rank_high.tolist() == [1, 2]
    assert found.spearman.mean == pytest.approx(1)


def test_equal_models_share_a_rank():
    original, corrected, mask = (m if m.ndim == 1 else np.repeat(m[:1], 3, axis=0) for m in matrices())
    found = bootstrap_ranks(original, corrected, mask, replicates=100, key=jax.random.key(0))
    assert found.corrected.rank.tolist() == found.corrected.rank_low.tolist() == [2, 2, 2]
    assert found.spearman.mean == 0  # nothing is ordered
    assert np.isinf(found.crossings_corrected.prevalence).all()


def test_shares_of_several_runs():
    original, corrected, mask = matrices()
    twice = [(m.astype(float) + m[::-1]) / 2 for m in (original, corrected)]
    found = bootstrap_ranks(*twice, mask, replicates=100, key=jax.random.key(0))
    np.testing.assert_allclose(found.original.accuracy, twice[0].mean(1))


def _changed(name, value):
    rows = dict(zip(("original", "corrected", "correctable"), matrices(), strict=True))
    rows[name] = value(rows[name].copy()) if callable(value) else value
    return rows


def _set(place, value):
    def change(matrix):
        matrix = matrix.astype(float)
        matrix[place] = value
        return matrix

    return change


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("correctable", [1, 0], r"correctable must be a mask, bool \(N,\)"),
        ("correctable", lambda m: m & False, "correctable marks 0 of 85 rows: ranks need rows of B and of C"),
        ("correctable", lambda m: m[:-1], r"original must be \(models, 84\) .* got shape \(5, 85\)"),
        ("original", lambda m: m[:1], r"original must be \(models, 85\) with 2 models or more"),
        ("original", lambda m: m[:3], "original has 3 models, corrected 5"),
        ("original", _set((2, 7), 2), r"original\[2, 7\] is 2: right is 1, wrong 0"),
        ("corrected", _set((1, 80), np.nan), r"corrected\[1, 80\] is nan"),
        ("corrected", _set((3, 5), 0.5), r"original and corrected differ at \[3, 5\], a row that is not correctable"),
        ("corrected", [["a"] * 85] * 5, "corrected must hold numbers"),
    ],
)
def test_bad_matrices(name, value, message):
    with pytest.raises(InputError, match=message):
        bootstrap_ranks(**_changed(name, value), replicates=100, key=jax.random.key(0))


@pytest.mark.parametrize("replicates", [0, 99, 2.5, True])
def test_bad_replicates(replicates):
    with pytest.raises(InputError, match="replicates=.* must be a whole number, 100 or more"):
        bootstrap_ranks(*matrices(), replicates=replicates, key=jax.random.key(0))


def test_bad_level():
    with pytest.raises(InputError, match="level=1 must lie strictly"):
        bootstrap_ranks(*matrices(), replicates=100, level=1, key=jax.random.key(0))
