import jax
import numpy as np
import pytest

from jlabel.weak_supervision import GroupModel, WeakSupervisionError, fit_latent_class, rule_accuracies
from jlabel.weak_supervision.givens import check_answers, check_balance
from jlabel.weak_supervision.groups import MAX_JOINT_VOTES, layout_of, plan_groups


def test_rules_without_cliques_stand_alone():
    plan = plan_groups(3, ())
    assert plan.groups == plan.cliques == ((0,), (1,), (2,))
    assert plan.overlaps == ()


def test_overlapping_cliques_form_a_junction_tree():
    plan = plan_groups(6, [(0, 1), (1, 2), (2, 3, 4), (1, 5)])
    assert plan.groups == ((0, 1, 2, 3, 4, 5),)
    assert sorted(plan.cliques) == [(0, 1), (1, 2), (1, 5), (2, 3, 4)]
    assert len(plan.overlaps) == 3
    for child, shared in plan.overlaps:
        assert set(shared) <= set(plan.cliques[child])
        # Running intersection: what a clique shares with all before it is what it shares with one of them.
        before = set().union(*plan.cliques[:child])
        assert set(plan.cliques[child]) & before == set(shared)


def test_pairs_of_a_triangle_are_one_clique():
    assert plan_groups(3, [(0, 1), (1, 2), (0, 2)]).cliques == ((0, 1, 2),)


def test_a_chordless_ring_is_refused():
    with pytest.raises(WeakSupervisionError, match=r"rules \(0, 1, 2, 3\) in a ring without a chord"):
        plan_groups(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    plan_groups(4, [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)])


@pytest.mark.parametrize(
    ("cliques", "message"),
    [
        ([(0, 3)], r"cliques\[0\] names rule 3; allowed: 0 to 2"),
        ([(0, 1), (1, -1)], r"cliques\[1\] names rule -1"),
        ([(0, 0)], r"cliques\[0\] = \(0, 0\) names a rule twice"),
        ([(0, 1.5)], r"names rule 1.5"),
        ([(True, 1)], r"names rule True"),
    ],
)
def test_bad_cliques(cliques, message):
    with pytest.raises(WeakSupervisionError, match=message):
        plan_groups(3, cliques)


def test_too_many_joint_votes_are_refused():
    votes = (np.arange(128)[:, None] >> np.arange(7)) & 1
    assert len(votes) > MAX_JOINT_VOTES
    with pytest.raises(WeakSupervisionError, match="cast 128 different joint votes, more than 64"):
        layout_of(votes.astype(np.int8), 2, [tuple(range(7))])


def test_columns_are_the_joint_votes_seen():
    layout = layout_of(np.array([[-1, 1, 0], [0, 1, 0], [-1, 0, 1]], np.int8), 2, [(0,), (1, 2)])
    assert [rows.tolist() for rows in layout.rows] == [[[-1], [0]], [[0, 1], [1, 0]]]
    assert layout.starts.tolist() == [0, 2, 4]
    assert layout.silent.tolist() == [True, False]


@pytest.mark.parametrize(
    ("balance", "message"),
    [
        ([0.5, 0.6], "sum to 1"),
        (1.0, "between 0 and 1"),
        ([0.2, 0.3, 0.5], "one share for each of 2 classes"),
        ("half", "must hold numbers"),
        (np.nan, "between 0 and 1"),
    ],
)
def test_bad_balance(balance, message):
    with pytest.raises(WeakSupervisionError, match=message):
        check_balance(balance, 2)


def test_balance_of_two_classes_may_be_one_number():
    np.testing.assert_allclose(check_balance(0.3, 2), [0.7, 0.3])
    assert check_balance(None, 2) is None


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([0, 5], [1, 1], r"expert_rows\[1\] is 5; allowed: 0 to 4"),
        ([0, 1], [1, 2], r"expert_labels\[1\] is 2; allowed: 0 to 1"),
        ([0, 1], [1], "expert_rows has 2 entries, expert_labels 1"),
        ([0.5], [1], "expert_rows must be a list of integers"),
        ([0], None, "go together"),
    ],
)
def test_bad_answers(rows, labels, message):
    with pytest.raises(WeakSupervisionError, match=message):
        check_answers(rows, labels, num_rows=5, num_classes=2)


def test_a_model_is_a_pytree(key):
    model = fit_latent_class([[1, 1, 0], [0, -1, 1], [1, 0, 0]], num_classes=2, cliques=[(0, 2)], key=key)
    again = jax.tree.map(lambda leaf: leaf, model)
    assert isinstance(again, GroupModel)
    assert again.groups == ((0, 2), (1,))
    assert (again.num_rules, again.num_classes) == (3, 2)
    assert all(a.rules == b.rules for a, b in zip(again.log_tables, model.log_tables, strict=True))


def test_rule_accuracies_by_hand(key):
    # Answers for every row, no prior: tables are frequencies.
    votes, labels = [[1, 1], [1, 0], [0, -1], [1, -1]], [1, 1, 0, 0]
    model = fit_latent_class(
        votes, num_classes=2, prior_strength=0.0, starts=1, expert_rows=[0, 1, 2, 3], expert_labels=labels, key=key
    )
    np.testing.assert_allclose(rule_accuracies(model), [3 / 4, 1 / 2], atol=1e-5)
