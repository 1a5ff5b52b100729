"""Transfer between teachers and integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.amalgamation import (
    AmalgamationError,
    ChainModel,
    as_teacher,
    integrate_probs,
    label_union,
    transfer,
    transfer_targets,
    transfer_triples,
)
from jlabel.amalgamation.baselines import mean_logit_targets
from tests.amalgamation.scripted import draw_linear, linear, logit, output, reference, scripted

ROWS = np.zeros((3, 2), np.float32)
SETS = (("a", "b", "c"), ("b", "c", "d"), ("c", "e", "a"))


@pytest.fixture(scope="module")
def three():
    generator = np.random.default_rng(3)
    return draw_linear(SETS, generator), generator.normal(size=(40, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("probs", "expected"), [((0.6, 0.8), 0.8), ((0.4, 0.2), 0.2), ((0.5, 0.3), 0.3), ((0.7, 0.2), 0.7)]
)
def test_integrates_by_equation_5(probs, expected):
    found = integrate_probs(np.array(probs)[:, None], np.ones((2, 1), bool))
    np.testing.assert_allclose(found, [expected], atol=1e-7)


def test_integrates_only_what_candidates_know():
    probs = [[0.9, np.nan, 0.3], [0.1, 0.2, 7.0]]
    found = integrate_probs(probs, [[True, False, True], [False, False, False]])
    np.testing.assert_allclose(found, [0.9, np.nan, 0.3], atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.permutations(range(4)))
def test_integration_does_not_depend_on_order_or_grouping(probs, order):
    known = np.ones((4, 1), bool)
    column = np.array(probs, np.float32)[:, None]
    whole = integrate_probs(column, known)
    np.testing.assert_array_equal(whole, integrate_probs(column[list(order)], known))
    halves = jnp.stack([integrate_probs(part, known[:2]) for part in (column[:2], column[2:])])
    np.testing.assert_array_equal(whole, integrate_probs(halves, known[:2]))


def test_lists_triples():
    assert len(transfer_triples([tuple("0123"), tuple("1245")])) == 4
    five = [tuple("037"), tuple("014"), tuple("125"), tuple("26"), tuple("27")]
    assert len(transfer_triples(five)) == 12
    assert transfer_triples([("x", "y"), ("z",)]) == ()
    assert transfer_triples([("b", "a"), ("a", "b")]) == (("b", 0, 1), ("b", 1, 0), ("a", 0, 1), ("a", 1, 0))


def scripted_pair():
    a = scripted("12", [logit(0.9), logit(0.4)], {"2": [logit(0.8), logit(0.65)]})
    b = scripted("23", [logit(0.7), logit(0.2)])
    return [a, b]


def test_a_revision_replaces_the_first_prediction():
    result = transfer_targets(scripted_pair(), ROWS)
    np.testing.assert_allclose(result.targets, [[0.8, 0.7, 0.2]] * 3, atol=1e-6)
    assert result.label_names == ("1", "2", "3")
    assert result.triples == (("2", 0, 1), ("2", 1, 0))
    assert result.transfers.tolist() == [[False, True]] * 3
    assert result.revised.tolist() == [[True, False]] * 3
    assert result.disagreement.tolist() == [[False, True, False]] * 3
    assert result.teacher_names == ("teacher 0", "teacher 1")
    np.testing.assert_allclose(result.first_logits[0], [[logit(0.9), logit(0.4)]] * 3, rtol=1e-6)
    np.testing.assert_allclose(result.last_logits[0], [[logit(0.8), logit(0.65)]] * 3, rtol=1e-6)


def test_keep_unrevised_keeps_the_first_prediction_too():
    result = transfer_targets(scripted_pair(), ROWS, keep_unrevised=True)
    np.testing.assert_allclose(result.targets, [[0.9, 0.7, 0.2]] * 3, atol=1e-6)


def test_one_positive_logit_wins_over_a_negative_that_stays():
    one, other = scripted("c", [1.0]), scripted("c", [-3.0])
    assert transfer_targets([one, other], ROWS).targets[0, 0] == pytest.approx(0.731059, abs=1e-6)


def test_two_positives_both_transfer():
    models = [scripted("c", [1.0]), scripted("c", [2.0]), scripted("c", [-1.0])]
    result = transfer_targets(models, ROWS)
    assert result.transfers.sum() == 2 * len(ROWS)
    assert [result.triples[k] for k in np.flatnonzero(result.transfers[0])] == [("c", 0, 2), ("c", 1, 2)]


def test_a_probability_of_one_half_is_not_positive():
    result = transfer_targets([scripted("c", [0.0]), scripted("c", [-1.0])], ROWS)
    assert not result.transfers.any()
    assert not result.disagreement.any()
    np.testing.assert_allclose(result.targets, 1 / (1 + np.e), rtol=1e-6)


def test_disjoint_label_sets_leave_predictions_alone(three):
    _, rows = three
    models = draw_linear([("a", "b"), ("c",)], np.random.default_rng(0))
    result = transfer_targets(models, rows, rounds=3, other_logits="final", keep_unrevised=True)
    expected, _, _ = reference(models, rows)
    np.testing.assert_allclose(result.targets, expected, atol=1e-6)
    np.testing.assert_array_equal(result.targets, mean_logit_targets(models, rows))
    assert result.triples == ()
    assert not result.revised.any()


def test_one_teacher_is_distilled(three):
    models, rows = three
    result = transfer_targets(models[:1], rows)
    np.testing.assert_allclose(result.targets, reference(models[:1], rows)[0], atol=1e-6)
    assert result.transfers.shape == (len(rows), 0)


@pytest.mark.parametrize("other_logits", ["initial", "final"])
@pytest.mark.parametrize("keep_unrevised", [False, True])
@pytest.mark.parametrize("rounds", [1, 3])
def test_equals_a_row_by_row_loop(three, rounds, keep_unrevised, other_logits):
    models, rows = three
    options = {"rounds": rounds, "keep_unrevised": keep_unrevised, "other_logits": other_logits}
    result = transfer_targets(models, rows, **options)
    targets, transfers, revised = reference(models, rows, **options)
    np.testing.assert_allclose(result.targets, targets, atol=1e-5)
    np.testing.assert_array_equal(result.transfers, transfers)
    np.testing.assert_array_equal(result.revised, revised)
    assert revised.any(axis=0).all()
    assert transfers.any(axis=0).sum() >= 6


def test_blocks_and_chunks_of_rows_change_nothing(three, monkeypatch):
    models, rows = three
    whole = transfer_targets(models, rows, rounds=2)
    monkeypatch.setattr(transfer, "_BLOCK", 7)
    parts = transfer_targets(models, rows, rounds=2)
    np.testing.assert_array_equal(whole.targets, parts.targets)
    np.testing.assert_array_equal(whole.transfers, parts.transfers)
    some = transfer_targets(models, rows[5:9], rounds=2)
    np.testing.assert_array_equal(whole.targets[5:9], some.targets)


def test_order_of_teachers_and_labels_does_not_matter(three):
    models, rows = three
    whole = transfer_targets(models, rows, rounds=2)
    turned = []
    for model, order in zip(models, ([2, 0, 1], [1, 2, 0], [0, 2, 1]), strict=True):
        params = {"own": model.params["own"][:, order], "mix": model.params["mix"][np.ix_(order, order)]}
        turned.append(linear([model.label_names[k] for k in order], params))
    other = transfer_targets([turned[2], turned[0], turned[1]], rows, rounds=2)
    assert other.label_names != whole.label_names
    columns = [other.label_names.index(name) for name in whole.label_names]
    np.testing.assert_allclose(whole.targets, other.targets[:, columns], atol=1e-6)


def record(label_names, first):
    """A teacher that writes down the initial logits that it is given."""
    heard = []

    def apply_fn(params, features, initial_logits=None):
        if initial_logits is not None:
            jax.debug.callback(lambda given: heard.append(np.array(given)), initial_logits)
        return output(jnp.broadcast_to(jnp.asarray(first, jnp.float32), (len(features), len(first))))

    return ChainModel(apply_fn, None, tuple(label_names)), heard


@pytest.mark.parametrize("told", [2.5, 1e-30])
def test_the_transferee_hears_one_logit_and_nan_elsewhere(told):
    model, heard = record("abc", [-1.0, -2.0, -3.0])
    transfer_targets([scripted("b", [told]), model], ROWS)
    jax.effects_barrier()
    (given,) = heard
    np.testing.assert_array_equal(given[:3], [[np.nan, np.float32(told), np.nan]] * 3)


def test_a_logit_of_zero_is_passed_on():
    # Nothing positive is exactly 0, so it is passed among the transferee's own final logits.
    model, heard = record("abc", [0.0, -2.0, 1.0])
    transfer_targets([scripted("b", [0.5]), model], ROWS, other_logits="final")
    jax.effects_barrier()
    np.testing.assert_array_equal(heard[0][:3], [[0.0, 0.5, 1.0]] * 3)


def test_a_second_round_passes_the_revised_logit_on():
    """B is negative on d until A tells it c; then it tells C its revised logit of d."""
    a = scripted("c", [2.0])
    b = scripted("cd", [-1.0, -1.0], {"c": [0.5, 1.25]})
    c, heard = record("de", [-3.0, -3.0])
    once = transfer_targets([a, b, c], ROWS)
    assert not once.revised[:, 2].any()
    twice = transfer_targets([a, b, c], ROWS, rounds=2)
    jax.effects_barrier()
    np.testing.assert_array_equal(heard[0][:3], [[1.25, np.nan]] * 3)
    assert twice.revised.tolist() == [[False, True, True]] * 3
    fired = [twice.triples[k] for k in np.flatnonzero(twice.transfers[0])]
    assert fired == [("c", 0, 1), ("d", 1, 2)]
    np.testing.assert_allclose(twice.targets[0], 1 / (1 + np.exp([-2.0, -1.25, 3.0])), rtol=1e-6)


def test_a_round_starts_from_one_state():
    """Both tell each other in one round: neither hears what the other says after its revision."""
    a, heard_a = record("xy", [1.5, -1.0])
    b, heard_b = record("xy", [-1.0, 2.5])
    transfer_targets([a, b], ROWS)
    jax.effects_barrier()
    np.testing.assert_array_equal(heard_a[0][0], [np.nan, 2.5])
    np.testing.assert_array_equal(heard_b[0][0], [1.5, np.nan])


def test_an_unrevisable_teacher_is_offered_but_not_revised():
    fixed = scripted("bc", [-1.0, -2.0], {"b": [9.0, 9.0]}, revisable=False)
    result = transfer_targets([scripted("ab", [-1.0, 1.0]), fixed], ROWS)
    assert result.transfers.tolist() == [[True, False]] * 3
    assert not result.revised.any()
    np.testing.assert_allclose(result.targets[0], 1 / (1 + np.exp([1.0, -1.0, 2.0])), rtol=1e-6)


def test_no_row_is_no_error(three):
    models, rows = three
    result = transfer_targets(models, rows[:0])
    assert result.targets.shape == (0, 5)


def test_columns_are_the_union(three):
    models, rows = three
    assert transfer_targets(models, rows[:2]).label_names == label_union(SETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds is 0; allowed: whole numbers from 1"),
        ({"rounds": True}, "rounds is True"),
        ({"other_logits": "own"}, "other_logits is 'own'; allowed: initial, final"),
    ],
)
def test_refuses_options(three, options, message):
    models, rows = three
    with pytest.raises(AmalgamationError, match=message):
        transfer_targets(models, rows, **options)


def test_names_teacher_row_and_label_of_a_bad_logit():
    def apply_fn(params, features, initial_logits=None):
        return output(jnp.where(features[:, :1] > 0, jnp.nan, features[:, :2]))

    rows = np.array([[-1.0, 0.0], [1.0, 0.0]], np.float32)
    bad = ChainModel(apply_fn, None, ("cat", "dog"))
    with pytest.raises(AmalgamationError, match="teacher 'east': row 1, label 'cat' has the logit nan"):
        transfer_targets({"east": bad, "west": scripted("ab", [0.0, 0.0])}, rows)
    wide = ChainModel(apply_fn, None, ("cat", "dog", "cow"))
    with pytest.raises(
        AmalgamationError, match=r"teacher 'teacher 0' gives logits of shape \(2, 2\).*one column for each"
    ):
        transfer_targets([wide], rows)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "label_names of teacher 'east' is empty: give one name for each label"),
        (("a", "b", "a"), "label_names of teacher 'east': 'a' stands at 0 and at 2: names must differ"),
        (("a", 3), "label_names of teacher 'east': name 1 is 3; allowed: text that is not empty"),
    ],
)
def test_refuses_label_sets(names, message):
    with pytest.raises(AmalgamationError, match=message):
        transfer_targets({"east": scripted(names, [0.0] * len(names))}, ROWS)


def test_names_teacher_row_and_label_of_a_bad_revision():
    bad = scripted("ab", [-1.0, -1.0], {"b": [np.inf, 0.0]})
    with pytest.raises(AmalgamationError, match="teacher 'teacher 1': row 2, label 'a' has the logit inf"):
        transfer_targets(
            [as_teacher(np.array([[0.1], [0.1], [0.9]]), label_names=["b"], name="x"), bad._replace()], ROWS
        )
