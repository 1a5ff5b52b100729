import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jlabel.training import ArrayBatches, TrainingError, fit, fit_seeds, join_batches, make_mesh

from .problems import (
    OPTIMIZER,
    assert_same_bits,
    batches,
    linear_data,
    linear_loss,
    linear_params,
    without_seconds,
)


def plain_loss(params, batch, key):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), {"absolute": jnp.mean(jnp.abs(error))}


def numpy_descent(steps: int, rate: float, batch_size: int) -> tuple[np.ndarray, float, list[float]]:
    """Gradient descent in float64 on rows in order."""
    data = linear_data()
    w, b, losses = np.array([0.3, -0.1, 0.2]), 0.0, []
    for step in range(steps):
        rows = np.arange(step * batch_size, (step + 1) * batch_size) % 40
        x, y = data["x"][rows].astype(np.float64), data["y"][rows]
        error = x @ w + b - y
        losses.append(float(np.mean(error**2)))
        w, b = w - rate * 2 * error @ x / batch_size, b - rate * 2 * error.mean()
    return w, b, losses


def test_equals_gradient_descent_in_float64_and_logs_means(key):
    data = batches(8, shuffle=False)
    params = linear_params()
    result = fit(plain_loss, params, data, optimizer=optax.sgd(0.1), steps=25, key=key, log_every=10)
    w, b, losses = numpy_descent(25, 0.1, 8)
    np.testing.assert_allclose(result.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(result.params["b"], b, rtol=1e-4, atol=1e-6)
    assert [record["step"] for record in result.history] == [10, 20, 25]
    means = [np.mean(losses[:10]), np.mean(losses[10:20]), np.mean(losses[20:])]
    np.testing.assert_allclose([record["loss"] for record in result.history], means, rtol=1e-5)
    assert set(result.history[0]) == {"name", "step", "seconds", "loss", "absolute"}
    assert result.step == 25
    assert result.state is None
    np.testing.assert_array_equal(params["w"], linear_params()["w"])  # the caller's arrays survive donation


def test_step_keys_are_the_key_folded_with_the_step(key):
    def loss(params, batch, key):
        return params["w"] * jax.random.normal(key) + 0 * batch["x"].sum(), {}

    result = fit(loss, {"w": jnp.zeros(())}, batches(), optimizer=optax.sgd(1.0), steps=4, key=key)
    expected = -sum(float(jax.random.normal(jax.random.fold_in(key, step))) for step in range(4))
    np.testing.assert_allclose(result.params["w"], expected, rtol=1e-6)


def test_log_and_checkpoint_stretches_do_not_change_a_bit(key, tmp_path):
    options = {"optimizer": OPTIMIZER, "steps": 23, "key": key}
    straight = fit(linear_loss, linear_params(), batches(), log_every=50, **options)
    for log_every, every in ((7, 4), (1, None), (50, 1)):
        workdir = tmp_path / f"{log_every}"
        cut = fit(
            linear_loss,
            linear_params(),
            batches(),
            log_every=log_every,
            checkpoint_every=every,
            workdir=workdir,
            **options,
        )
        assert_same_bits((straight.params, straight.opt_state), (cut.params, cut.opt_state))


def test_eight_devices_agree_with_one(key):
    options = {"optimizer": OPTIMIZER, "steps": 30, "key": key}
    one = fit(linear_loss, linear_params(), batches(), **options)
    eight = fit(linear_loss, linear_params(), batches(), mesh=make_mesh("data=8"), **options)
    assert len(eight.params["w"].sharding.device_set) == 8
    np.testing.assert_allclose(eight.params["w"], one.params["w"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(eight.history[-1]["loss"], one.history[-1]["loss"], rtol=1e-5)


def test_iterator_of_dicts_trains_and_splits_over_devices(key):
    data = linear_data()
    rows = [{name: column[i * 8 : i * 8 + 8] for name, column in data.items()} for i in range(5)] * 2
    resident = fit(plain_loss, linear_params(), batches(8, shuffle=False), optimizer=OPTIMIZER, steps=10, key=key)
    for spec in ("data=1", "data=8"):
        result = fit(
            plain_loss, linear_params(), iter(rows), optimizer=OPTIMIZER, steps=10, key=key, mesh=make_mesh(spec)
        )
        np.testing.assert_allclose(result.params["w"], resident.params["w"], rtol=1e-5)
    with pytest.raises(TrainingError, match="batches ended after 10 steps"):
        fit(plain_loss, linear_params(), iter(rows), optimizer=OPTIMIZER, steps=11, key=key)


def test_state_is_carried_without_gradient(key):
    def loss(params, state, batch, key):
        value, metrics = plain_loss(params, batch, key)
        return value, (metrics, {"steps": state["steps"] + 1, "mean": 0.9 * state["mean"] + 0.1 * value})

    state = {"steps": 0, "mean": 0.0}
    data = batches(8, shuffle=False)
    result = fit(loss, linear_params(), data, optimizer=optax.sgd(0.1), steps=12, key=key, state=state)
    _, _, losses = numpy_descent(12, 0.1, 8)
    expected = 0.0
    for value in losses:
        expected = 0.9 * expected + 0.1 * value
    assert int(result.state["steps"]) == 12
    np.testing.assert_allclose(result.state["mean"], expected, rtol=1e-5)


def test_optimizers_with_weak_types_and_aliased_params_run(key):
    tuned = optax.inject_hyperparams(optax.adamw)(learning_rate=optax.cosine_decay_schedule(0.1, 20))
    for optimizer in (tuned, optax.chain(optax.sgd(0.1), optax.ema(0.9))):
        result = fit(plain_loss, linear_params(), batches(), optimizer=optimizer, steps=3, key=key)
        assert np.isfinite(result.params["w"]).all()
    aliased = optax.GradientTransformation(lambda params: params, lambda grads, state, params: (grads, params))
    result = fit(plain_loss, linear_params(), batches(), optimizer=aliased, steps=2, key=key)
    assert result.opt_state["w"].shape == (3,)


def test_transform_runs_in_the_step_on_numbers_only(key):
    seen = []

    def flip(batch, key):
        seen.append(sorted(batch))
        return {**batch, "x": -batch["x"]}

    mirrored = linear_data()
    mirrored["x"] = -mirrored["x"]
    options = {"optimizer": OPTIMIZER, "steps": 5, "key": key}
    expected = fit(plain_loss, linear_params(), ArrayBatches(mirrored, batch_size=8), **options)
    result = fit(plain_loss, linear_params(), batches(transform=flip), **options)
    np.testing.assert_allclose(result.params["w"], expected.params["w"], rtol=1e-6)
    assert seen
    assert all(columns == ["x", "y"] for columns in seen)


def test_join_batches_concatenates_in_every_step(key):
    def loss(params, batch, key):
        fine = batch["kind"] == 0
        return params["w"] * 0.0 + batch["x"].sum() * 0.0, {"fine": fine.sum(), "rows": jnp.float32(fine.size)}

    fine = ArrayBatches({"x": np.zeros(6), "kind": np.zeros(6, np.int32)}, batch_size=2)
    coarse = ArrayBatches({"x": np.ones(30), "kind": np.ones(30, np.int32)}, batch_size=6)
    for joined in (join_batches(fine, coarse), join_batches(_endless(fine), _endless(coarse))):
        result = fit(
            loss, {"w": jnp.zeros(())}, joined, optimizer=OPTIMIZER, steps=4, key=key, mesh=make_mesh("data=4")
        )
        assert (result.history[-1]["fine"], result.history[-1]["rows"]) == (2.0, 8.0)


def _endless(part: ArrayBatches):
    while True:
        yield {name: column[: part.batch_size] for name, column in part.arrays.items()}


def test_seeds_side_by_side_equal_separate_fits(key):
    keys = jax.random.split(key, 3)
    params = jax.vmap(lambda k: {"w": jax.random.normal(k, (3,)), "b": jnp.zeros(())})(keys)
    weights = np.ones((3, 40))
    weights[[0, 1, 2], [0, 1, 2]] = 0
    together = fit_seeds(
        linear_loss, params, batches(weights=weights), optimizer=OPTIMIZER, steps=12, keys=keys, log_every=5
    )
    assert together.params["w"].shape == (3, 3)
    for seed in range(3):
        alone = fit(
            linear_loss,
            jax.tree.map(lambda leaf, seed=seed: leaf[seed], params),
            batches(weights=weights[seed]),
            optimizer=OPTIMIZER,
            steps=12,
            key=keys[seed],
            log_every=5,
        )
        np.testing.assert_allclose(together.params["w"][seed], alone.params["w"], rtol=1e-6, atol=1e-6)
        logged = [record["loss"][seed] for record in together.history]
        np.testing.assert_allclose(logged, [record["loss"] for record in alone.history], rtol=1e-5)


def test_hyper_gives_each_seed_its_own_optimizer_and_mesh_splits_seeds(key):
    keys = jnp.stack([key, key])
    rates = {"learning_rate": np.array([0.1, 0.02])}
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), linear_params())
    data = batches(8, shuffle=False)
    result = fit_seeds(
        plain_loss,
        params,
        data,
        optimizer=lambda h: optax.sgd(h["learning_rate"]),
        hyper=rates,
        steps=25,
        keys=keys,
        mesh=make_mesh("data=2,model=2"),
    )
    for seed, rate in enumerate((0.1, 0.02)):
        np.testing.assert_allclose(result.params["w"][seed], numpy_descent(25, rate, 8)[0], rtol=1e-5)


def poisoned_loss(params, batch, key):
    value, metrics = plain_loss(params, batch, key)
    return jnp.where((batch["y"] > 1e6).any(), jnp.nan, value), metrics


def test_nan_stops_at_its_step_with_its_rows(key, tmp_path):
    data = linear_data()
    data["y"][21] = 1e7  # in order, batches of 8: step 3 (counted from 1) holds rows 16 to 23
    resident = ArrayBatches(data, batch_size=8, shuffle=False)
    rows = iter([{name: column[i * 8 : i * 8 + 8] for name, column in data.items()} for i in range(5)])
    for source, workdir in ((resident, tmp_path), (rows, None)):
        with pytest.raises(TrainingError, match=r"loss is nan at step 3 of run 'train', rows \[row-16, ") as caught:
            fit(poisoned_loss, linear_params(), source, optimizer=OPTIMIZER, steps=5, key=key, workdir=workdir)
        assert "row-21" in str(caught.value)
        assert "\n" not in str(caught.value)
    saved = np.load(tmp_path / "nan_batch.npz")
    assert saved["row"].tolist() == list(range(16, 24))
    assert saved["name"][5] == "row-21"
    np.testing.assert_array_equal(saved["y"], data["y"][16:24])
    assert list((tmp_path / "checkpoints" / "train").iterdir()) == []


def test_nan_gradient_under_a_finite_loss_stops_too(key):
    def loss(params, batch, key):
        return jnp.sqrt(params["w"] * 0.0) + batch["x"].sum() * 0.0, {}

    with pytest.raises(TrainingError, match=r"the gradient is not finite \(loss 0.0\) at step 1"):
        fit(loss, {"w": jnp.ones(())}, batches(), optimizer=OPTIMIZER, steps=3, key=key)


def test_nan_names_the_seeds(key):
    keys = jax.random.split(key, 2)
    params = {"w": jnp.stack([jnp.zeros(3), jnp.array([0.0, jnp.nan, 0.0])]), "b": jnp.zeros(2)}
    with pytest.raises(TrainingError, match=r"loss is \[nan\] for seeds \[1\] at step 1 of run 'train', rows \[row-"):
        fit_seeds(plain_loss, params, batches(), optimizer=OPTIMIZER, steps=3, keys=keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, r"steps must be a positive whole number, got 0"),
        ({"steps": 2.5}, r"steps must be a positive whole number, got 2.5"),
        ({"log_every": 0}, r"log_every must be"),
        ({"keep": -1}, r"keep must be"),
        ({"checkpoint_every": 0}, r"checkpoint_every must be"),
        ({"name": "a/b"}, r"name must be letters.*got 'a/b'"),
        ({"key": 7}, r"key must be typed, from jax.random.key\(seed\), got int"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, r"key must have shape \[\], got \[2\]"),
        ({"batches": batches(9), "mesh": "data=8"}, r"a batch of 9 rows does not divide over the mesh's 8 devices"),
        ({"mesh": "rows"}, r"mesh must have the axes \('data', 'model'\), got \('rows',\)"),
        ({"batches": 5}, r"batches must be ArrayBatches.*got int"),
        ({"batches": iter([[1, 2]])}, r"batches must be dicts of arrays, got list at step 1"),
        ({"batches": iter([{"x": np.zeros(3), "y": np.zeros(2)}])}, r"one number of rows"),
        ({"batches": batches(weights=np.ones((2, 40)))}, r"need fit_seeds"),
        ({"loss_fn": lambda params, batch, key: jnp.zeros(())}, r"loss_fn must return \(loss, metrics\)"),
        ({"loss_fn": lambda params, batch, key: (batch["x"], {})}, r"'loss' has shape \[8, 3\]"),
        ({"loss_fn": lambda params, batch, key: (0.0 * params["b"], {"step": 1.0})}, r"metric 'step'"),
    ],
)
def test_bad_arguments_are_one_clear_line(change, message, key):
    arguments = {"loss_fn": plain_loss, "params": linear_params(), "batches": batches(), "optimizer": OPTIMIZER}
    arguments |= {"steps": 3, "key": key, **change}
    if "mesh" in change:
        rows = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
        arguments["mesh"] = rows if change["mesh"] == "rows" else make_mesh(change["mesh"])
    with pytest.raises(TrainingError, match=message) as caught:
        fit(arguments.pop("loss_fn"), arguments.pop("params"), arguments.pop("batches"), **arguments)
    assert "\n" not in str(caught.value)


def test_seeds_refuse_leading_axes_that_differ(key):
    keys = jax.random.split(key, 2)
    options = {"optimizer": OPTIMIZER, "steps": 2, "keys": keys}
    with pytest.raises(TrainingError, match=r"params\['b'\] must have a leading axis of 2, one per key, got \[\]"):
        fit_seeds(plain_loss, linear_params(), batches(), **options)
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), linear_params())
    with pytest.raises(TrainingError, match=r"hyper\['rate'\] must be finite, got \[0.1, nan\]"):
        fit_seeds(plain_loss, params, batches(), hyper={"rate": np.array([0.1, np.nan])}, **options)
    with pytest.raises(TrainingError, match=r"2 keys do not divide over the mesh's 4 devices along model"):
        fit_seeds(plain_loss, params, batches(), mesh=make_mesh("model=4"), **options)


def test_a_second_fit_with_the_same_functions_compiles_nothing(key):
    traces = []

    def loss(params, batch, key):
        traces.append(1)
        return plain_loss(params, batch, key)

    first = fit(loss, linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key)
    compiled = len(traces)
    again = fit(loss, linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key)
    assert len(traces) <= compiled + 1  # the shapes of the metrics are traced again
    assert_same_bits(first.params, again.params)
    assert without_seconds(first.history) == without_seconds(again.history)


def test_an_unhashable_loss_runs(key):
    class Loss:
        __hash__ = None

        def __call__(self, params, batch, key):
            return plain_loss(params, batch, key)

    expected = fit(plain_loss, linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key)
    result = fit(Loss(), linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key)
    assert_same_bits(expected.params, result.params)


def test_seeds_share_the_batches_of_an_iterator(key):
    data = linear_data()
    rows = [{name: column[i * 8 : i * 8 + 8] for name, column in data.items()} for i in range(5)]
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), linear_params())
    keys = jax.random.split(key, 2)
    result = fit_seeds(linear_loss, params, iter(rows), optimizer=OPTIMIZER, steps=5, keys=keys)
    for seed in range(2):
        start = jax.tree.map(lambda leaf, seed=seed: leaf[seed], params)
        alone = fit(linear_loss, start, iter(rows), optimizer=OPTIMIZER, steps=5, key=keys[seed])
        np.testing.assert_allclose(result.params["w"][seed], alone.params["w"], rtol=1e-6, atol=1e-6)


def test_progress_bar_shows_when_asked(key, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    fit(plain_loss, linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key, progress=True, name="bar")
    assert "bar: 100%" in capsys.readouterr().err
    fit(plain_loss, linear_params(), batches(), optimizer=OPTIMIZER, steps=3, key=key)
    assert capsys.readouterr().err == ""
