"""The training loop on losses of which everything can be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jlabel.amalgamation import AmalgamationError, train_runs

RUNS, ROWS = 2, 5


def squares(params, batch):
    """Squared distance of a point from the batch's rows, the mean over the real ones."""
    distances = jnp.sum((params["point"][None] - batch["rows"]) ** 2, axis=1)
    return jnp.sum(batch["weight"] * distances) / jnp.sum(batch["weight"])


@pytest.fixture(autouse=True, scope="module")
def _quick():
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(RUNS, ROWS, 3)).astype(np.float32)
    return {"point": np.zeros((RUNS, 3), np.float32)}, {"rows": rows}, jax.random.split(jax.random.key(0), RUNS)


OPTIONS = {"epochs": 3, "batch_size": 2, "learning_rate": 0.1}


def by_hand(point, rows, key, *, epochs, batch_size, learning_rate):
    """Adam on batches of the shuffled rows, the last one incomplete: the points and losses of all epochs."""
    optimizer = optax.adam(learning_rate)
    state, points, losses = optimizer.init(point), [], []
    for epoch_key in jax.random.split(key, epochs):
        order, total = np.asarray(jax.random.permutation(epoch_key, len(rows))), 0.0
        for start in range(0, len(rows), batch_size):
            batch = rows[order[start : start + batch_size]]
            total += ((point - batch) ** 2).sum()
            updates, state = optimizer.update(2 * (point - batch).mean(0), state)
            point = np.asarray(point + updates)
        points.append(point)
        losses.append(total / len(rows))
    return np.array(points), np.array(losses)


def test_each_row_once_an_epoch_and_the_last_batch_counts(data):
    params, arrays, keys = data
    found, history = train_runs(squares, params, arrays, keys=keys, **OPTIONS)
    for run in range(RUNS):
        points, losses = by_hand(params["point"][run], arrays["rows"][run], keys[run], **OPTIONS)
        np.testing.assert_allclose(found["point"][run], points[-1], rtol=1e-5)
        np.testing.assert_allclose(history["loss"][run], losses, rtol=1e-5)
    assert set(history) == {"loss"}


def test_the_best_validation_epoch_is_kept(data):
    """Validation rows in batches too; the second run starts at its best and only gets worse."""
    params, arrays, keys = data
    held = {"rows": np.stack([arrays["rows"][0].mean(0) + np.zeros((3, 3)), np.full((3, 3), -0.5)]).astype(np.float32)}
    held["rows"][1] -= 3 * arrays["rows"][1].mean(0)
    found, history = train_runs(squares, params, arrays, keys=keys, validation=held, **OPTIONS)
    for run in range(RUNS):
        points, _ = by_hand(params["point"][run], arrays["rows"][run], keys[run], **OPTIONS)
        expected = ((points[:, None] - held["rows"][run]) ** 2).sum(2).mean(1)
        np.testing.assert_allclose(history["validation_loss"][run], expected, rtol=1e-5)
        assert history["best_epoch"][run] == expected.argmin()
        np.testing.assert_allclose(found["point"][run], points[expected.argmin()], rtol=1e-5)
    assert history["best_epoch"].tolist() == [2, 0]


def test_one_run_beside_others(data):
    """Runs do not see each other."""
    params, arrays, keys = data
    both, _ = train_runs(squares, params, arrays, keys=keys, **OPTIONS)
    one, _ = train_runs(
        squares, jax.tree.map(lambda a: a[1:], params), {"rows": arrays["rows"][1:]}, keys=keys[1:], **OPTIONS
    )
    np.testing.assert_allclose(one["point"][0], both["point"][1], rtol=1e-6)


def test_a_loss_that_is_not_finite_names_run_and_epoch(data):
    params, arrays, keys = data
    rows = arrays["rows"].copy()
    rows[1, 4, 0] = np.inf
    with pytest.raises(AmalgamationError, match=r"^loss of run 1 is (nan|inf) in epoch 0: standardise .*rate \(0.1\)"):
        train_runs(squares, params, {"rows": rows}, keys=keys, **OPTIONS)
    with pytest.raises(AmalgamationError, match="validation loss of run 1 is (nan|inf) in epoch 0"):
        train_runs(squares, params, arrays, keys=keys, validation={"rows": rows[:, 2:]}, **OPTIONS)
