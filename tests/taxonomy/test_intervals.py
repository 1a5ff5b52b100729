import re

import numpy as np
import pytest
from scipy import stats

from jlabel.taxonomy import Relations, TaxonomyError, clear_relations, edge_intervals
from tests.taxonomy.rows import counted

NAMES = [["p", "q"], ["r", "s", "t"]]
COUNTS = {(0, 1): [[8, 2, 0], [0, 0, 0]], (1, 0): [[1, 0], [30, 10], [0, 40]]}


def test_shares_and_base_rates_by_hand():
    found = edge_intervals(COUNTS)
    assert found.share[:2, 2:].tolist() == [[0.8, 0.2, 0], [0, 0, 0]]
    np.testing.assert_allclose(found.base[:2, 2:], [[0.8, 0.2, 0]] * 2)  # of the one class that has rows
    np.testing.assert_allclose(found.base[2:, :2], [[1.75 / 3, 1.25 / 3]] * 3)
    for values in found:
        assert values.shape == (5, 5)
        assert not values[:2, :2].any()
        assert not values[2:, 2:].any()
    assert (found.low <= found.share).all()
    assert (found.high >= found.share).all()
    assert not found.low[1].any()
    assert not found.high[1].any()


def test_interval_is_that_of_resampled_rows():
    """Rows drawn one by one, with the extra row among those that are drawn from."""
    rng = np.random.default_rng(0)
    counts = counted(rng, 3, 4, 30)
    found = edge_intervals({(0, 1): counts, (1, 0): counts.T}, level=0.9)
    base = (counts / 30).mean(0)
    for i, row in enumerate(counts):
        drawn = rng.choice(4, size=(20_000, 30), p=(row + base) / 31)
        shares = (drawn[:, :, None] == np.arange(4)).mean(1)
        ends = np.quantile(shares, [0.05, 0.95], axis=0, method="inverted_cdf")
        np.testing.assert_allclose([found.low[i, 3:], found.high[i, 3:]], ends, atol=1 / 30 + 1e-9)
        assert np.mean(np.abs([found.low[i, 3:], found.high[i, 3:]] - ends)) < 0.01


def test_few_rows_are_never_clear():
    found = edge_intervals({(0, 1): [[1, 0], [0, 2]], (1, 0): [[40, 0], [0, 40]]})
    assert not found.clear[:2, 2:].any()
    assert found.clear[2:, :2].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("n", [1, 2, 5, 10, 40])
def test_lower_bound_covers_the_true_share(n):
    """Over all counts that may occur: the bound lies above the true share in some 2.5 % of samples (plainly: 59 %)."""
    counts = np.stack([np.arange(n + 1), n - np.arange(n + 1)], 1)
    low = edge_intervals({(0, 1): counts, (1, 0): counts.T}).low[: n + 1, n + 1]
    for share in (0.3, 0.6, 0.9):
        assert stats.binom.pmf(np.arange(n + 1), n, share)[low > share].sum() <= 0.035


def test_clear_relations_drops_what_the_base_rate_explains():
    weights = np.zeros((5, 5))
    weights[0, 2], weights[0, 3], weights[3, 0], weights[4, 1] = 0.8, 0.2, 0.75, 1
    kept = clear_relations(Relations(["a", "b"], NAMES, weights), edge_intervals(COUNTS))
    assert np.argwhere(kept.edges).tolist() == [[3, 0], [4, 1]]
    assert kept.weights[3, 0] == 0.75


def test_bad_input():
    with pytest.raises(TaxonomyError, match="level is 1; allowed: between 0 and 1"):
        edge_intervals(COUNTS, level=1)
    with pytest.raises(TaxonomyError, match=re.escape("counts[0, 1][0, 0] is 0.5; allowed: whole numbers from 0")):
        edge_intervals(COUNTS | {(0, 1): [[0.5, 0.5, 0], [1, 0, 0]]})
    with pytest.raises(TaxonomyError, match=re.escape("counts[0, 1][1, 2] is -1; allowed: whole numbers from 0")):
        edge_intervals(COUNTS | {(0, 1): [[1, 0, 0], [1, 0, -1]]})
    with pytest.raises(TaxonomyError, match=re.escape("counts[0, 1] has shape (2, 2), should be (2, 3)")):
        edge_intervals(COUNTS | {(0, 1): [[1, 0], [1, 0]]})
    with pytest.raises(TaxonomyError, match=re.escape("pairs have the keys [(0, 1)]")):
        edge_intervals({(0, 1): COUNTS[0, 1]})
    other = Relations(["a", "b"], [["p"], ["q"]], np.zeros((2, 2)))
    with pytest.raises(TaxonomyError, match="intervals are over 5 classes, relations over 2"):
        clear_relations(other, edge_intervals(COUNTS))
