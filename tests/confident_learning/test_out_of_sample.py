import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from jlabel.confident_learning.checks import ConfidentLearningError
from jlabel.confident_learning.out_of_sample import linear_probe, out_of_sample_probs, stratified_folds
from jlabel.errors import InputError
from jlabel.training import ArrayBatches, TrainingError, fit

ADAM = optax.adam(0.05)


def blobs(rows: int = 90, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return (4 * np.eye(classes)[labels] + rng.normal(size=(rows, classes))).astype(np.float32), labels


def probabilities(features, labels, *, num_classes=3, key=None, **options) -> np.ndarray:
    init_fn, apply_fn = linear_probe(np.shape(features)[1], num_classes)
    options = {"steps": 60, "batch_size": 16, "optimizer": ADAM, "init_fn": init_fn, "apply_fn": apply_fn} | options
    key = jax.random.key(0) if key is None else key
    return out_of_sample_probs(features, labels, num_classes=num_classes, key=key, **options)


# ---------------------------------------------------------------------------------------------------------- folds


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(4, 23), min_size=1, max_size=5),
    folds=st.integers(2, 4),
    seed=st.integers(0, 9),
)
def test_folds_hold_every_class_and_every_size_within_one(counts, folds, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    dealt = stratified_folds(labels, folds=folds, key=jax.random.key(seed))
    assert dealt.dtype == np.int32
    table = np.zeros((folds, len(counts)), int)
    np.add.at(table, (dealt, labels), 1)
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 1
    np.testing.assert_array_equal(dealt, stratified_folds(labels, folds=folds, key=jax.random.key(seed)))


def test_folds_follow_the_key_and_not_the_names_of_classes(key):
    labels = np.array([0, 1, 2] * 20)
    dealt = stratified_folds(labels, key=key)
    assert (dealt != stratified_folds(labels, key=jax.random.key(1))).any()
    names = np.array(["ant", "bee", "cat"])[labels]
    np.testing.assert_array_equal(dealt, stratified_folds(names, key=key))
    np.testing.assert_array_equal(dealt, stratified_folds(names.astype(object).tolist(), key=key))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 5), spread=st.integers(8, 40))
def test_groups_stay_together_and_every_fold_trains_every_class(seed, folds, spread):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(3).repeat(8), rng.integers(0, 3, 60)])
    groups = np.concatenate([100 + np.arange(24), rng.integers(0, spread, 60)])  # 24 rows stand alone
    dealt = stratified_folds(labels, folds=folds, groups=groups, key=jax.random.key(seed))
    for group in np.unique(groups):
        assert len(np.unique(dealt[groups == group])) == 1
    for fold in range(folds):
        assert set(labels[dealt != fold]) == {0, 1, 2}


def test_pairs_are_dealt_as_evenly_as_rows(key):
    labels = np.repeat(np.arange(4), 50)  # 25 pairs a class, 5 a fold
    dealt = stratified_folds(labels, groups=np.arange(200) // 2, key=key)
    for label in range(4):
        np.testing.assert_array_equal(np.bincount(dealt[labels == label]), [10] * 5)


def test_groups_of_one_row_are_no_groups(key):
    labels = np.array([0, 1, 2] * 20)
    np.testing.assert_array_equal(
        stratified_folds(labels, key=key), stratified_folds(labels, groups=np.arange(60) * 7, key=key)
    )


def test_the_last_group_of_a_class_goes_to_another_fold(key):
    # Class 1 lies in two groups; by shares alone the second, full of class 0, might join the first.
    labels = np.array([1] * 4 + [0] * 2 + [1] * 2 + [0] * 12)
    groups = np.array([0] * 6 + [1] * 8 + list(range(2, 8)))
    dealt = stratified_folds(labels, folds=2, groups=groups, key=key)
    assert set(dealt[labels == 1]) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0] * 6 + [1] * 4, {}, "class 1 has 4 rows, fewer than the 5 folds; take fewer folds, or leave the class out"),
        (["cat"] * 2 + ["dog"] * 5, {}, "class 'cat' has 2 rows, fewer than the 5 folds"),
        ([0, 1] * 5, {"folds": 1}, "folds must be a whole number, at least 2, got 1"),
        ([0, 1] * 5, {"folds": 2.0}, "folds must be a whole number, at least 2, got 2.0"),
        ([0, 1] * 5, {"groups": [0] * 9}, "groups has 9 rows, labels has 10: give one per row"),
        ([0, 1] * 5, {"groups": ["a"] * 3 + [None] + ["b"] * 6}, r"groups\[3\] is missing"),
        ([0.0, np.nan], {}, r"labels\[1\] is missing"),
        ([[0], [1]], {}, r"labels must have shape \(N,\) with at least one row, got \(2, 1\)"),
        ([], {}, r"labels must have shape \(N,\) with at least one row, got \(0,\)"),
        (
            ["a"] * 9 + ["b"] * 6,
            {"groups": [*range(9), *[10] * 6]},
            "class 'b' has all its rows in fold 0, which would be trained without it: groups bind its 6 rows into 1;",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(labels, options, message, key):
    with pytest.raises(ConfidentLearningError, match=message):
        stratified_folds(labels, key=key, **options)


def test_an_untyped_key_is_refused():
    with pytest.raises(ConfidentLearningError, match="key must be one typed key"):
        stratified_folds([0, 1] * 5, key=jax.random.PRNGKey(0))


# -------------------------------------------------------------------------------------------------- probabilities


def test_each_row_is_predicted_by_the_model_that_did_not_see_it(key):
    # Full-batch-like: a model that memorises which rows it drew. Weight 0 rows never move their own parameter.
    rows = np.eye(40, dtype=np.float32)
    labels = np.arange(40) % 2
    probs = probabilities(rows, labels, num_classes=2, folds=4, steps=200, optimizer=optax.sgd(1.0), key=key)
    # A one-hot row that was never trained on is predicted from the bias alone: all rows of a fold alike.
    held_out = stratified_folds(labels, folds=4, key=key)
    for fold in range(4):
        np.testing.assert_allclose(probs[held_out == fold], probs[held_out == fold][:1].repeat(10, 0), rtol=1e-6)
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-14)


def test_equals_training_each_fold_alone(key):
    features, labels = blobs()
    probs = probabilities(features, labels, folds=3, steps=40, key=key)
    held_out = stratified_folds(labels, folds=3, key=key)
    init_fn, apply_fn = linear_probe(3, 3)

    def loss_fn(params, batch, key):
        return optax.softmax_cross_entropy_with_integer_labels(apply_fn(params, batch["x"]), batch["y"]).mean(), {}

    train_keys = jax.random.split(jax.random.split(jax.random.fold_in(key, 1))[1], 3)
    for fold in range(3):
        data = ArrayBatches({"x": features, "y": labels}, batch_size=16, weights=(held_out != fold).astype(float))
        alone = fit(loss_fn, init_fn(key), data, optimizer=ADAM, steps=40, key=train_keys[fold])
        expected = jax.nn.softmax(apply_fn(alone.params, features[held_out == fold]))
        np.testing.assert_allclose(probs[held_out == fold], expected, atol=1e-4)


def test_same_key_same_bits_and_learns(key):
    features, labels = blobs()
    first, again = (probabilities(features, labels, key=key) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.argmax(1) == labels).mean() > 0.9


def test_a_batch_larger_than_a_fold_changes_no_shape(key):
    features, labels = blobs(30)
    assert probabilities(features, labels, batch_size=64, steps=5, key=key).shape == (30, 3)


def test_a_class_without_rows_comes_out_improbable(key):
    features, labels = blobs()
    probs = probabilities(features, labels, num_classes=4, key=key)
    assert probs[:, 3].max() < 0.2
    assert (probs.argmax(1) == labels).mean() > 0.9


def test_memorising_models_score_chance_out_of_sample_and_copies_leak_unless_grouped(key):
    # Random labels in more dimensions than rows: a linear model holds them all, and none tells it of another row.
    rng = np.random.default_rng(3)
    distinct = rng.normal(size=(100, 400)).astype(np.float32)
    features, labels = np.repeat(distinct, 2, axis=0), np.repeat(rng.permutation(np.arange(100) % 4), 2)
    options = {"num_classes": 4, "steps": 150, "batch_size": 64, "key": key}

    init_fn, apply_fn = linear_probe(400, 4)

    def loss_fn(params, batch, key):
        logits = apply_fn(params, batch["x"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean(), {}

    data = ArrayBatches({"x": distinct, "y": labels[::2]}, batch_size=64)
    seen = fit(loss_fn, init_fn(key), data, optimizer=ADAM, steps=150, key=key)
    assert (np.asarray(apply_fn(seen.params, distinct)).argmax(1) == labels[::2]).all()

    def correct(features, labels, **more):
        return int((probabilities(features, labels, **options, **more).argmax(1) == labels).sum())

    low, high = stats.binom.interval(0.999, 100, 0.25)
    assert low <= correct(distinct, labels[::2]) <= high
    grouped = correct(features, labels, groups=np.arange(200) // 2)
    assert low <= grouped / 2 <= high  # both copies of a row are right or wrong together
    # A copy is trained on with probability (200 - 40) / 199 = 0.80.
    assert correct(features, labels) >= 0.65 * 200


def test_a_network_with_its_own_parameters_works(key):
    def init_fn(key):
        first, second = jax.random.split(key)
        return [jax.random.normal(first, (12, 16)) / 3, jax.random.normal(second, (16, 3)) / 4]

    def apply_fn(params, images):
        return jax.nn.relu(images.reshape(len(images), -1) @ params[0]) @ params[1]

    features, labels = blobs()
    images = np.zeros((90, 2, 6), np.float32)
    images[:, 0, :3] = features
    probs = out_of_sample_probs(
        jnp.asarray(images), labels, init_fn=init_fn, apply_fn=apply_fn, num_classes=3, folds=3, steps=80,
        batch_size=16, optimizer=ADAM, key=key,
    )  # fmt: skip
    assert (probs.argmax(1) == labels).mean() > 0.9


def test_integer_and_half_precision_features_are_taken(key):
    features, labels = blobs(30)
    for rows in (features.astype(np.int8), jnp.asarray(features, jnp.bfloat16), features.astype(np.float64)):
        init_fn, _ = linear_probe(3, 3)

        def apply_fn(params, rows):
            return rows.astype(jnp.float32) @ params["weights"] + params["bias"][None]

        assert probabilities(rows, labels, apply_fn=apply_fn, init_fn=init_fn, steps=5, key=key).shape == (30, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.arange(30) % 3 + 1}, InputError, r"labels\[2\] is 3; allowed: 0 to 2"),
        (
            {"labels": np.arange(29) % 3},
            ConfidentLearningError,
            "features has 30 rows, labels has 29: give one per row",
        ),
        (
            {"labels": np.array([0] * 28 + [2] * 2)},
            ConfidentLearningError,
            "class 2 has 2 rows, fewer than the 5 folds",
        ),
        ({"features": sparse.eye(30, 3).tocsr()}, ConfidentLearningError, "features is a sparse matrix"),
        ({"features": np.full((30, 3), "x")}, ConfidentLearningError, "features must be numbers"),
        ({"steps": 0}, TrainingError, "steps must be a positive whole number, got 0"),
        ({"batch_size": 0}, TrainingError, "batch_size must be a positive whole number, got 0"),
        (
            {"apply_fn": lambda params, x: x},
            ConfidentLearningError,
            r"apply_fn gave logits \(1, 3\) for 1 row; expected \(1, 4\)",
        ),
    ],
)
def test_bad_input_is_named(change, error, message, key):
    features, labels = blobs(30)
    given = {"features": features, "labels": labels, "key": key} | change
    if "apply_fn" in change:
        given["num_classes"] = 4
    with pytest.raises(error, match=message):
        probabilities(**given)


def test_a_value_that_is_not_finite_is_named(key):
    features, labels = blobs(30)
    features[7, 2] = np.nan
    with pytest.raises(ConfidentLearningError, match=r"features\[7, 2\] is nan: fill it in, or leave the row out"):
        probabilities(features, labels, key=key)
