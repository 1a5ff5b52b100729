"""Queries by hand, and the loop of asking and refitting on worlds of known truth."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, special

from jlabel.data.two_gaussians import CEILING, CLIQUES, RULES, rows, vote_population
from jlabel.weak_supervision import (
    Buckets,
    FactorGraph,
    WeakSupervisionError,
    active_steps,
    apply_rules,
    compress,
    expert_divergence,
    fit_latent_class,
    next_queries,
    next_query,
    predict_probs,
    query_entropy,
    run_active,
    sample_votes,
    should_stop,
)

METHODS = ("latent_class", "matrix_completion", "factor_graph")


def key(seed=0):
    return jax.random.key(seed)


@pytest.fixture(scope="module")
def world():
    """Three good rules that abstain a third of the time."""
    graph = FactorGraph(np.array([1.2, 0.9, 0.7]), np.zeros(3))
    return sample_votes(graph, 2000, key=key(5))


@pytest.fixture(scope="module")
def gaussians():
    drawn = rows("train")
    x1, x2 = drawn["features"].T
    return compress(apply_rules(RULES, {"x1": x1, "x2": x2})), drawn["label"]


# -- divergence and entropy


@pytest.mark.parametrize(
    ("p", "zeros", "ones", "expected"),
    [(0.9, 1, 0, 3.8206), (0.9, 2, 0, 4.4439), (0.9, 0, 1, 0.1445), (0.9, 1, 1, 0.3681)],
)
def test_divergence_by_hand(p, zeros, ones, expected):
    found = expert_divergence([[1 - p, p]], [[zeros, ones]], [[0.5, 0.5]])
    assert abs(found[0] - expected) < 5e-5


def test_a_bucket_without_answer_counts_as_first_believed():
    """Believed 1 at first and .9 now: as one answer 1; believed 0 at first: as one answer 0."""
    found = expert_divergence([[0.1, 0.9]] * 2, [[0, 0]] * 2, [[0.4, 0.6], [0.6, 0.4]])
    np.testing.assert_allclose(found, [0.1445, 3.8206], atol=5e-5)


def test_divergence_of_three_classes():
    p = np.array([[0.2, 0.3, 0.5]])
    q = np.array([[0.005, 0.4975, 0.4975]])  # two answers: what lies below .005 is raised, the others give it
    found = expert_divergence(p, [[0, 1, 1]], p)
    np.testing.assert_allclose(found, special.rel_entr(p, q).sum(1), atol=1e-12)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 40)
)  # fmt: skip
def test_divergence_is_finite_and_never_negative(positive, zeros, ones):
    p = np.array([[1 - x, x] for x in positive])
    found = expert_divergence(p, [[zeros, ones]] * len(p), p)
    assert np.isfinite(found).all()
    assert (found > -1e-12).all()


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1))
def test_names_of_classes_do_not_matter(zeros, ones, p):
    one = expert_divergence([[p, 1 - p]], [[zeros, ones]], [[p, 1 - p]])
    if p != 0.5:
        other = expert_divergence([[1 - p, p]], [[ones, zeros]], [[1 - p, p]])
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_entropy():
    assert abs(query_entropy([7, 7, 1, 3]) - 1.0397) < 5e-5
    assert query_entropy([2, 2, 2]) == 0
    assert query_entropy([]) == 0
    assert abs(query_entropy(range(8)) - np.log(8)) < 1e-12


# -- queries

VOTES = [[-1, -1], [0, 0], [0, 1], [1, 1], [1, 1], [-1, -1]]
PROBS = [[0.5, 0.5], [0.9, 0.1], [0.45, 0.55], [0.2, 0.8]]  # buckets (-1,-1), (0,0), (0,1), (1,1)


def test_margin_takes_the_closest_and_passes_over_rows_without_votes():
    assert next_query(PROBS, compress(VOTES), [], [], strategy="margin", key=key()) == 2


def test_spent_buckets_leave():
    buckets = compress(VOTES)
    order = [next_query(PROBS, buckets, [2], [1], strategy="margin", key=key(s)) for s in range(20)]
    assert set(order) == {3, 4}
    assert next_query(PROBS, buckets, [2, 3, 4], [1, 1, 1], strategy="margin", key=key()) == 1
    with pytest.raises(WeakSupervisionError, match="no row is left to ask"):
        next_query(PROBS, buckets, [2, 3, 4, 1], [1, 1, 1, 0], strategy="margin", key=key())


def test_excluded_rows_are_not_asked():
    assert next_query(PROBS, compress(VOTES), [], [], strategy="margin", exclude=[2, 3], key=key()) == 4


def test_maxkl_asks_where_model_and_experts_disagree():
    buckets = compress(VOTES)
    # Row 3 was called 0, the model says .8 for 1: nothing else is as far apart.
    assert next_query(PROBS, buckets, [3], [0], initial_probs=PROBS, key=key()) == 4
    # It was called 1: the next is the bucket of which the model is least sure.
    assert next_query(PROBS, buckets, [3], [1], initial_probs=PROBS, key=key()) == 2


def test_random_takes_buckets_alike_whatever_their_size():
    buckets = compress([[0, 0]] * 97 + [[0, 1], [1, 1], [1, 0]])
    asked = [next_query([[0.5, 0.5]] * 4, buckets, [], [], strategy="random", key=key(s)) for s in range(200)]
    small = [row for row in asked if row >= 97]
    assert 120 < len(small) < 180
    assert {97, 98, 99} <= set(small)


def test_ties_go_by_key():
    buckets = compress([[0, 1], [1, 0], [1, 1]])
    asked = [next_query([[0.3, 0.7]] * 3, buckets, [], [], strategy="margin", key=key(s)) for s in range(60)]
    assert set(asked) == {0, 1, 2}
    again = [next_query([[0.3, 0.7]] * 3, buckets, [], [], strategy="margin", key=key(s)) for s in range(60)]
    assert asked == again


def test_a_batch_takes_different_buckets_first():
    buckets = compress(VOTES)
    found = next_queries(PROBS, buckets, [], [], count=3, strategy="margin", key=key())
    assert sorted(buckets.inverse[found].tolist()) == [1, 2, 3]
    assert found[0] == 2
    everything = next_queries(PROBS, buckets, [], [], count=99, strategy="maxkl", key=key())
    assert sorted(everything.tolist()) == [1, 2, 3, 4]


def test_merged_buckets_are_asked_by_their_number():
    merged = compress(VOTES)._replace(inverse=None)
    asked = [next_query(PROBS, merged, [3], [0], initial_probs=PROBS, key=key()), 3]
    assert asked == [3, 3]
    assert next_query(PROBS, merged, [3, 3], [0, 0], initial_probs=PROBS, key=key()) != 3  # both its rows are known


def test_sparse_votes():
    dense = np.array(VOTES, np.int8)
    buckets = compress(sparse.csr_array(dense + 1))
    assert next_query(PROBS, buckets, [], [], strategy="margin", key=key()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "entropy"}, "strategy is 'entropy'; allowed: maxkl, margin, random"),
        ({"count": 0}, "count is 0; give the number of rows to ask, 1 or more"),
        ({"probs": [[0.5, 0.5]]}, r"probs has shape \(1, 2\); give one row for each of 4 buckets, a column a class"),
        ({"probs": [[0.5, np.nan]] * 4}, r"probs\[0\] is \[0.5, nan\]; probabilities lie between 0 and 1"),
        ({"rows": [9]}, r"expert_rows\[0\] is 9; allowed: 0 to 5"),
        ({"labels": [2]}, r"expert_labels\[0\] is 2; allowed: 0 to 1"),
        ({"initial": None}, "initial_probs is missing: maxkl needs the probabilities before any answer"),
    ],
)
def test_bad_queries(change, message):
    values = {"probs": PROBS, "rows": [3], "labels": [1], "initial": PROBS} | change
    options = {name: values[name] for name in ("strategy", "count") if name in values}
    with pytest.raises(WeakSupervisionError, match=message):
        next_queries(
            values["probs"], compress(VOTES), values["rows"], values["labels"], initial_probs=values["initial"],
            key=key(), **options,
        )  # fmt: skip


# -- the loop


@pytest.mark.parametrize("method", METHODS)
def test_every_label_model_learns_from_answers(world, method):
    votes, labels = world
    steps = run_active(votes, labels, method=method, budget=6, key=key(1))
    assert [step["answers"] for step in steps] == list(range(7))
    buckets = compress(votes)
    for step in steps[1:]:
        assert step["answer"] == labels[step["row"]]
        assert step["bucket"] == buckets.inverse[step["row"]]
        assert (votes[step["row"]] >= 0).any()
    assert len({step["row"] for step in steps}) == 7
    last = steps[-1]
    np.testing.assert_array_equal(last["probs"], predict_probs(last["model"], buckets))
    best = last["probs"][buckets.inverse].argmax(1)
    assert abs(last["accuracy"] - (best == labels).mean()) < 0.02  # but for ties
    assert last["accuracy"] > 0.75


def test_record_by_hand(world):
    votes, labels = world
    steps = run_active(votes, labels, budget=3, strategy="random", key=key(1))
    buckets = compress(votes)
    for before, after in zip(steps, steps[1:], strict=False):
        moved = 0.5 * np.abs(after["probs"] - before["probs"]).sum(1)
        assert abs(after["moved"] - moved[buckets.inverse].mean()) < 1e-12
        assert after["moved_bucket"] == moved.argmax()
        assert after["expected"] == before["probs"][after["bucket"], after["answer"]]
    assert steps[0]["row"] is None
    assert steps[0]["moved"] == 0
    assert steps[-1]["entropy"] == query_entropy([step["bucket"] for step in steps[1:]])


def test_the_same_key_asks_the_same_rows(world):
    votes, labels = world
    first, again, other = (
        [step["row"] for step in run_active(votes, labels, budget=5, key=key(seed))] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_batch_is_one_refit(world):
    votes, labels = world
    calls = []

    def fit(buckets, *, expert_rows, expert_labels, init, key):
        calls.append(len(expert_rows))
        return fit_latent_class(
            buckets, num_classes=2, starts=1, expert_rows=expert_rows, expert_labels=expert_labels, key=key
        )

    steps = run_active(votes, labels, method=fit, budget=10, batch=4, key=key())
    assert calls == [0, 4, 8, 10]
    assert [step["answers"] for step in steps] == list(range(11))
    assert len({step["bucket"] for step in steps[1:5]}) == 4
    np.testing.assert_array_equal(steps[1]["probs"], steps[4]["probs"])


def test_what_the_expert_cannot_tell_costs_nothing_and_is_not_asked_again(world):
    votes, labels = world
    asked = []

    def answer(row):
        asked.append(row)
        return None if len(asked) % 2 else int(labels[row])

    steps = run_active(votes, answer, budget=4, key=key())
    assert len(steps) == 5
    assert len(asked) == len(set(asked)) == 8
    assert steps[-1]["accuracy"] is None
    assert run_active(votes, np.where(labels >= 0, -1, labels)[:], budget=2, key=key())[1:] == []


def test_replay_gives_the_same_states(world):
    votes, labels = world
    steps = run_active(votes, labels, budget=5, key=key(3))
    known = [(step["row"], step["answer"]) for step in steps[1:4]]

    def answer(row):
        return int(labels[row])

    again = run_active(votes, answer, budget=5, replay=known, labels=labels, key=key(3))
    assert [step["row"] for step in again[:4]] == [step["row"] for step in steps[:4]]
    for one, two in zip(steps[:4], again[:4], strict=True):
        np.testing.assert_array_equal(one["probs"], two["probs"])
    assert len(again) == 6
    assert len(run_active(votes, answer, budget=2, replay=known, key=key(3))) == 3


def test_the_loop_ends_where_no_row_is_left():
    votes, labels = [[1, 1], [0, 0], [1, 0], [-1, -1]], [1, 0, 1, 0]
    steps = run_active(votes, labels, budget=30, key=key())
    assert sorted(step["row"] for step in steps[1:]) == [0, 1, 2]


def test_an_error_of_the_expert_reaches_the_caller_and_loses_no_step(world):
    votes, labels = world

    class Tired(Exception):
        pass

    def answer(row):
        if len(found) == 3:
            raise Tired
        return int(labels[row])

    found = []
    steps = active_steps(votes, answer, key=key())
    found += [next(steps) for _ in range(3)]
    assert [step["answers"] for step in found] == [0, 1, 2]
    with pytest.raises(Tired):
        next(steps)


def test_buckets_without_rows_take_bucket_numbers(world):
    votes, labels = world
    merged = compress(votes)._replace(inverse=None)
    shares = np.bincount(compress(votes).inverse, labels) / merged.counts
    steps = run_active(merged, lambda bucket: int(shares[bucket] > 0.5), budget=4, key=key())
    assert all(step["row"] == step["bucket"] < len(merged.counts) for step in steps[1:])


def test_stopping():
    moved = [0.0, 0.3, 0.02, 0.001, 0.002, 0.001]
    steps = [{"answers": n, "moved": m} for n, m in enumerate(moved)]
    assert not should_stop(steps, tolerance=0.01, patience=4)
    assert should_stop(steps, tolerance=0.01, patience=3)
    assert should_stop(steps, tolerance=0.02, patience=4)
    assert not should_stop(steps[:1], tolerance=1.0, patience=1)


def test_stopping_saves_answers(world):
    votes, labels = world
    every = run_active(votes, labels, budget=25, key=key(2))
    some = run_active(votes, labels, budget=25, tolerance=0.005, patience=4, key=key(2))
    assert 5 <= len(some) < len(every)
    assert some[-1]["accuracy"] > every[-1]["accuracy"] - 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": -1}, "budget is -1; give a whole number of 0 or more"),
        ({"batch": 0}, "batch is 0; give a whole number of 1 or more"),
        ({"method": "snorkel"}, "method is 'snorkel'; allowed: latent_class, matrix_completion, factor_graph"),
        ({"answer": [0, 1]}, "answer has 2 entries for 6 rows of votes"),
        ({"labels": [0, 1]}, "labels has 2 entries for 6 rows of votes"),
        ({"replay": [(6, 0)]}, r"replay\[0\] is \(6, 0\); rows are 0 to 5, classes 0 to 1"),
        ({"answer": lambda row: 2}, r"answer\(\d\) is 2; allowed: 0 to 1, or None where the expert cannot tell"),
        ({"answer": lambda row: "spam"}, r"answer\(\d\) is 'spam'; allowed"),
        ({"speed": 3}, "speed is no setting of latent_class; it has abstain, cliques"),
        ({"votes": [[0, 5]]}, r"votes\[0, 1\] is 5"),
        ({"num_classes": 3, "method": "factor_graph"}, "the factor graph knows two classes, not 3"),
    ],
)
def test_bad_loops(change, message):
    settings = {"votes": VOTES, "answer": [0] * 6, "key": key()} | change
    with pytest.raises(WeakSupervisionError, match=message):
        run_active(settings.pop("votes"), settings.pop("answer"), **settings)


# -- the artificial study


def population_accuracy(probs):
    found = vote_population()
    return float(found.probs @ np.where(probs.argmax(1) == 1, found.positive, 1 - found.positive))


@pytest.mark.parametrize("seed", range(3))
def test_constrained_needs_no_answer_and_stays_below_the_ceiling(gaussians, seed):
    buckets, labels = gaussians
    steps = run_active(buckets, labels, method="matrix_completion", cliques=CLIQUES, starts=1, budget=12, key=key(seed))
    scores = [population_accuracy(predict_probs(step["model"], vote_population().rows)) for step in steps]
    assert scores[0] > 0.963
    assert max(scores) < CEILING + 5e-5
    assert scores[-1] > 0.963


def test_unconstrained_is_mended_by_a_few_answers(gaussians):
    buckets, labels = gaussians
    starts, ends = [], []
    for seed in range(4):
        steps = run_active(
            buckets, labels, method="matrix_completion", cliques=CLIQUES, constrain=False, starts=1, budget=12,
            key=key(seed),
        )  # fmt: skip
        scores = [population_accuracy(predict_probs(step["model"], vote_population().rows)) for step in steps]
        starts.append(scores[0])
        ends.append(scores[-1])
    assert min(starts) < 0.905
    assert min(ends) > 0.963


@pytest.mark.parametrize("constrain", [True, False])
def test_a_surprising_answer_turns_no_classes_around(gaussians, constrain):
    """z and -z fit the votes alike; one wrong or unlucky answer must not be what decides between them."""
    buckets, labels = gaussians
    surprising = np.flatnonzero((buckets.inverse == 5) & (labels == 0))[0]  # three votes for 1
    steps = run_active(
        buckets, labels, method="matrix_completion", cliques=CLIQUES, constrain=constrain, starts=1, budget=1,
        replay=[(int(surprising), 0)], key=key(0),
    )  # fmt: skip
    assert min(step["accuracy"] for step in steps) > 0.8


def test_buckets_are_enough(gaussians):
    """The loop sees rows only to name them: it works on the same buckets whatever N was."""
    buckets, labels = gaussians
    assert isinstance(buckets, Buckets)
    assert len(buckets.counts) == 6
    steps = run_active(buckets, labels, budget=3, cliques=CLIQUES, key=key())
    assert steps[-1]["probs"].shape == (6, 2)
