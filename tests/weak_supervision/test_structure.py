"""Finding dependencies, and advice on which to keep."""

import jax
import numpy as np
import pytest

from jlabel.weak_supervision import (
    Dependency,
    FactorGraph,
    WeakSupervisionError,
    choose_dependencies,
    compress,
    dependency_values,
    learn_structure,
    sample_votes,
    structure,
)
from jlabel.weak_supervision.dependencies import KINDS, one_hot
from jlabel.weak_supervision.factor_graph import signed_votes
from tests.weak_supervision.enumeration import energy, factor

D = Dependency
PLANTED = (D("similar", 0, 1), D("fixing", 2, 3))


def planted_votes(rows=20_000):
    truth = FactorGraph(np.array([0.9, 0.7, 0.4, 0.8, 0.6, 1.0]), np.full(6, 0.3), PLANTED, np.array([1.5, 1.2]))
    return sample_votes(truth, rows, key=jax.random.key(0))


@pytest.mark.slow
def test_pseudolikelihood_finds_kinds_and_directions():
    votes, _ = planted_votes()
    found = learn_structure(votes, threshold=0.4)
    assert {d for d, _ in found} == set(PLANTED)
    assert all(0.4 < strength < 1.8 for _, strength in found)
    assert len(learn_structure(compress(votes), threshold=0.01)) >= 2


def test_sparse_and_low_rank_split_finds_the_pairs():
    votes, _ = planted_votes()
    found = learn_structure(votes, method="sparse_lowrank", threshold=0.1)
    assert found[0][0] == D("similar", 0, 1)
    assert found[0][1] > 0
    assert {(d.j, d.k) for d, _ in found} == {(0, 1), (2, 3)}


@pytest.mark.slow
def test_independent_votes_have_no_structure():
    votes, _ = sample_votes(FactorGraph(np.full(6, 0.7), np.zeros(6)), 20_000, key=jax.random.key(5))
    assert learn_structure(votes, threshold=0.15) == []
    assert learn_structure(votes, method="sparse_lowrank", threshold=0.1) == []


@pytest.mark.slow
def test_duplicated_rules_are_the_strongest_pair():
    votes, _ = sample_votes(FactorGraph(np.full(4, 0.7), np.zeros(4)), 3000, key=jax.random.key(5))
    votes[:, 3] = votes[:, 0]
    assert learn_structure(votes)[0][0] == D("similar", 0, 3)


@pytest.mark.parametrize("polarity", [(0, 0, 0, 0), (1, -1, 0, 1)])
def test_pseudolikelihood_is_that_of_conditionals_written_out(polarity):
    draw = np.random.default_rng(0)
    theta, propensity, bias = draw.normal(0, 1, 4), draw.normal(0, 1, 4), 0.3
    upper = [(j, k) for j in range(4) for k in range(j + 1, 4)]
    both = upper + [(k, j) for j, k in upper]
    dependencies = tuple(D(kind, j, k) for kind in structure.LEARNT for j, k in (upper if kind == "similar" else both))
    weights = draw.normal(0, 1, len(dependencies))
    graph = FactorGraph(theta, propensity, dependencies, weights)
    values = {0: (-1, 0, 1), 1: (0, 1), -1: (-1, 0)}
    rows = np.array([[draw.choice(values[p]) for p in polarity] for _ in range(5)])
    share = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    expected = 0.0
    for row, part in zip(rows, share, strict=True):
        for j, side in enumerate(polarity):

            def weight(vote, row=row, j=j):
                changed = row.copy()
                changed[j] = vote
                return sum(np.exp(bias * y + energy(graph, changed, y)) for y in (-1, 1))

            expected -= part * np.log(weight(row[j]) / sum(weight(vote) for vote in values[side]))
    with jax.enable_x64(True):
        value, gradient = structure._pseudo_loss(
            np.concatenate([[bias], theta, propensity, weights]), one_hot(rows), share, np.array(polarity)
        )
    np.testing.assert_allclose(float(value), expected, rtol=1e-12)
    assert np.isfinite(gradient).all()


def test_values_are_the_sums_of_the_factors():
    draw = np.random.default_rng(0)
    votes, labels = draw.integers(-1, 2, (40, 3)), draw.integers(0, 2, 40)
    signed = signed_votes(votes)
    found = dict(dependency_values(votes, labels))
    assert len(found) == 2 * 3 + 4 * 6
    for (kind, j, k), value in found.items():
        assert value == sum(factor(kind, row[j], row[k], 2 * y - 1) for row, y in zip(signed, labels, strict=True))
    values = list(found.values())
    assert values == sorted(values, reverse=True)
    assert {d.kind for d, _ in dependency_values(votes, labels, ("fixing",))} == {"fixing"}
    assert set(KINDS) == {d.kind for d in found}


@pytest.mark.slow
def test_advice_without_labels_drops_what_is_not_there():
    votes, _ = planted_votes(8000)
    advice = choose_dependencies(votes, [*PLANTED, ("negated", 4, 5), ("priority", 0, 5)], key=jax.random.key(0))
    assert [one.keep for one in advice] == [True, True, False, False]
    assert advice[0].dependency == PLANTED[0]
    assert advice[0].gain > 2 * advice[0].error > 0


def test_advice_with_labels_drops_what_misleads():
    votes, labels = planted_votes(8000)
    # Rules 4 and 5 vote together where something else than the label is there.
    other = np.random.default_rng(0).random(8000) < 0.25
    votes[other, 4:] = np.random.default_rng(1).integers(0, 2, 8000)[other, None]
    proposed = [("bolstering", 4, 5)]
    rows = np.arange(1500)
    told = choose_dependencies(votes, proposed, rows=rows, labels=labels[rows], key=jax.random.key(0))
    untold = choose_dependencies(votes, proposed, key=jax.random.key(0))
    assert untold[0].keep  # it does describe the votes
    assert not told[0].keep
    assert told[0].label_gain < -2 * told[0].label_error
    assert told[0][2:4] == untold[0][2:4]
    assert np.isnan(untold[0].label_gain)


@pytest.mark.slow
def test_candidates_of_a_block_share_the_verdict():
    votes, _ = planted_votes(4000)
    advice = choose_dependencies(votes, [*PLANTED, ("negated", 4, 5)], block=2, key=jax.random.key(0))
    assert advice[0][1:4] == advice[1][1:4]
    assert [one.keep for one in advice] == [True, True, False]
    assert choose_dependencies(votes, [], key=jax.random.key(0)) == []


VOTES = np.array([[0, 1], [1, 1], [-1, 0]])
FOUR = np.array([[0, 1], [1, 1], [-1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: learn_structure(VOTES, method="guess"),
            "method is 'guess'; choose pseudolikelihood or sparse_lowrank",
        ),
        (lambda: learn_structure(VOTES, threshold=-1), "threshold is -1; give a number of 0 or more"),
        (lambda: learn_structure(VOTES[:, :1]), "votes holds 1 rules"),
        (lambda: learn_structure(VOTES + 1), r"votes\[0, 1\] is 2 .* the factor graph knows two classes"),
        (lambda: dependency_values(VOTES, [0, 1]), r"labels has shape \(2,\); give one for each of the 3 rows"),
        (lambda: dependency_values(VOTES, [0, 1, -1]), r"labels\[2\] is -1; the true labels must be 0 or 1"),
        (lambda: dependency_values(VOTES, [0, 1, 1], ("fix",)), "kinds holds 'fix'; choose from fixing"),
        (lambda: choose_dependencies(FOUR, [], rows=[0], key=jax.random.key(0)), "rows and labels belong together"),
        (
            lambda: choose_dependencies(FOUR, [], rows=[0, 4], labels=[0, 1], key=jax.random.key(0)),
            "rows must be whole numbers of 0 to 3",
        ),
        (
            lambda: choose_dependencies(FOUR, [], rows=[0], labels=[0], key=jax.random.key(0)),
            "rows names 1 labelled rows; give two or more",
        ),
        (
            lambda: choose_dependencies(FOUR, [], rows=[0, 1], labels=[0, 2], key=jax.random.key(0)),
            r"rows has shape \(2,\); labels must hold a 0 or 1 for each",
        ),
        (lambda: choose_dependencies(VOTES, [], block=0, key=jax.random.key(0)), "block is 0"),
        (lambda: choose_dependencies(VOTES, [], z=-1, key=jax.random.key(0)), "z is -1"),
        (lambda: choose_dependencies(VOTES, [], veto=-1, key=jax.random.key(0)), "veto is -1"),
        (lambda: choose_dependencies(VOTES, [], key=jax.random.key(0)), "votes has 3 rows; advice needs four or more"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(WeakSupervisionError, match=message):
        call()
