import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.tabular import TabularError, Validation, train_runs
from jlabel.tabular.train import _line, _predict, _segment

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
COLUMNS = {"x": X, "y": (X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32))}


def loss(params, batch, key, share):
    noise = 0.1 * jax.random.normal(key)
    return jnp.mean((batch["x"] @ params["w"] + noise - batch["y"]) ** 2)


def predict(params, columns):
    return columns["x"] @ params["w"]


def score(outputs, rows):
    return -float(np.mean((outputs - COLUMNS["y"][rows]) ** 2))


def train(runs=2, loss_fn=loss, rows=None, **options):
    rows = np.stack([np.arange(20), np.arange(10, 30)])[:runs] if rows is None else rows
    given = {"steps": 40, "batch_size": 8, "learning_rate": 0.1, "evaluate_every": 10, "weight_decay": 0.0} | options
    keys = given.pop("keys", jax.random.split(jax.random.key(0), 2)[:runs])
    return train_runs(loss_fn, {"w": np.zeros((runs, 4), np.float32)}, COLUMNS, {"labelled": rows}, keys=keys, **given)


@pytest.fixture(scope="module")
def both():
    return train()


def test_a_run_does_not_know_the_one_beside_it(both):
    for run, rows in enumerate([np.arange(20), np.arange(10, 30)]):
        keys = jax.random.split(jax.random.key(0), 2)[run : run + 1]
        alone = train(1, rows=rows[None], keys=keys)
        np.testing.assert_allclose(alone.params["w"][0], both.params["w"][run], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(alone.losses[0], both.losses[run], rtol=1e-4)
    assert both.losses.shape == (2, 4)
    assert (both.losses[:, -1] < both.losses[:, 0] / 4).all()
    assert both.scores.shape == (2, 0)
    assert both.best_step.tolist() == [40, 40]


@pytest.mark.slow
def test_looking_more_often_changes_nothing(both):
    often = train(evaluate_every=16)  # the last look comes after 8 steps
    np.testing.assert_allclose(often.params["w"], both.params["w"], rtol=1e-5, atol=1e-7)
    assert often.losses.shape == (2, 3)


def test_one_program_for_all_steps_rates_and_scores(both):
    def validation(score):
        return Validation(np.stack([np.arange(20, 30), np.r_[np.arange(8), -1, -1]]), predict, score, patience=9)

    first = train(validation=validation(score))
    sizes = _segment._cache_size(), _predict._cache_size()
    other = train(
        steps=25, learning_rate=np.array([0.02, 0.05]), weight_decay=0.1, validation=validation(lambda out, at: len(at))
    )
    assert (_segment._cache_size(), _predict._cache_size()) == sizes
    assert other.scores.tolist() == [[10.0] * 3, [8.0] * 3]  # places of -1 are left out
    assert other.best_step.tolist() == [10, 10]  # the first of equals
    expected = [
        score(predict({"w": w}, COLUMNS)[at], at)
        for w, at in zip(both.params["w"], [np.r_[20:30], np.r_[:8]], strict=True)
    ]
    np.testing.assert_allclose(first.scores[:, -1], expected, rtol=1e-3)


def test_the_best_evaluation_is_kept_and_patience_ends_a_run():
    asked = []

    def falling(outputs, rows):
        asked.append(len(rows))
        return -float(len(asked))

    rows = np.stack([np.arange(10), np.arange(10)])
    stopped = train(validation=Validation(rows, predict, falling, patience=2))
    assert stopped.scores.tolist() == [[-1.0, -3.0, -5.0], [-2.0, -4.0, -6.0]]  # a fourth is not asked for
    assert stopped.best_step.tolist() == [10, 10]
    first = train(validation=Validation(rows, predict, lambda out, at: float(np.isnan(out).any()), patience=1))
    np.testing.assert_array_equal(stopped.params["w"], first.params["w"])


@pytest.mark.slow
def test_step_sizes_by_hand():
    # Adam moves by the rate where the gradient is constant.
    def linear(params, batch, key, share):
        return jnp.sum(params["w"])

    found = train(1, linear, rows=np.arange(20)[None], learning_rate=0.5)
    steps = np.arange(40)
    rates = 0.5 * np.minimum(1, (steps + 1) / 2) * (1 + np.cos(np.pi * steps / 40)) / 2
    np.testing.assert_allclose(found.params["w"], -np.full((1, 4), rates.sum()), rtol=1e-4)


def test_constants_stay():
    def both(params, batch, key, share):
        return jnp.sum(params["w"] ** 2) * jnp.sum(params["constants"]["c"])

    given = {"w": np.ones((1, 4), np.float32), "constants": {"c": np.ones((1, 3), np.float32)}}
    rows = {"labelled": np.arange(20)[None]}
    keys = jax.random.split(jax.random.key(0), 1)
    found = train_runs(
        both, given, COLUMNS, rows, steps=5, batch_size=8, learning_rate=0.1, weight_decay=0.5, keys=keys
    )
    np.testing.assert_array_equal(found.params["constants"]["c"], 1.0)
    assert (found.params["w"] < 1).all()


def test_an_endless_line_of_shuffles(key):
    rows = jnp.arange(100, 107)
    line = jax.jit(_line, static_argnums=(2, 3))
    parts = [line(key, rows, 5, 4, divmod(20 * k, 7)) for k in range(4)]
    whole = np.concatenate(parts).reshape(-1)
    for k in range(0, 77, 7):
        assert sorted(whole[k : k + 7]) == list(range(100, 107))
    assert (whole[:7] != whole[7:14]).any()
    few = line(key, rows, 3, 9, (0, 0))
    np.testing.assert_array_equal(few, np.tile(np.arange(100, 107), (3, 1)))


@pytest.mark.slow
def test_unlabelled_rows_have_their_own_columns():
    def told(params, batch, key, share):
        assert set(batch) == {"x", "y", "more.x", "more.y"}
        return jnp.mean(batch["y"]) - jnp.mean(batch["more.y"]) + 0 * jnp.sum(params["w"])

    given = {"w": np.zeros((1, 4), np.float32)}
    rows = {"labelled": np.arange(5)[None], "more": np.arange(5, 12)[None]}
    keys = jax.random.split(jax.random.key(0), 1)
    found = train_runs(told, given, COLUMNS, rows, steps=2, batch_size=8, learning_rate=0.1, keys=keys)
    y = COLUMNS["y"]
    np.testing.assert_allclose(found.losses, [[y[:5].mean() - y[5:12].mean()]], rtol=1e-5)


def test_a_loss_that_is_not_finite():
    with pytest.raises(
        TabularError, match=r"loss of run 1 is (inf|nan) in steps 1 to 10: lower learning_rate \(1e\+30\)"
    ):
        train(learning_rate=np.array([0.1, 1e30]))
