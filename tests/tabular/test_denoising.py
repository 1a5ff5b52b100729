import functools

import jax
import numpy as np
import pytest

from jlabel.tabular import TabTransformer, TabularError, fit_denoising, init_network, reconstruction_loss, swap_cells
from jlabel.tabular.denoising import DenoisingLoss, pretrain_denoising
from tests.tabular.problems import QUICK, SIZES, small_problem

KEYS = jax.random.split(jax.random.key(7), 2)


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(scope="module")
def swapped():
    """A table of 400 rows whose cells all differ, with every cell swapped, with some, and with none."""
    codes, values = np.arange(800).reshape(400, 2), np.arange(1200.0).reshape(400, 3)
    found = {}
    for rate in (0.0, 0.15, 1.0):
        new = jax.jit(swap_cells)(jax.random.key(1), codes, values, rate=rate)
        found[rate] = codes, values, *map(np.asarray, new)
    return found


def test_every_swapped_cell_is_another_rows_of_its_column(swapped):
    codes, values, new_codes, new_values = swapped[1.0]
    assert (new_codes != codes).all()
    assert (new_values != values).all()
    assert (new_codes % 2 == [[0, 1]]).all()
    assert (new_values % 3 == np.arange(3)).all()
    # Each cell on its own: donors differ within a row.
    assert np.mean(new_codes[:, 0] // 2 != new_codes[:, 1] // 2) > 0.9


def test_as_many_cells_are_swapped_as_asked(swapped):
    codes, values, new_codes, new_values = swapped[0.0]
    np.testing.assert_array_equal(new_codes, codes)
    np.testing.assert_array_equal(new_values, values)
    codes, values, new_codes, new_values = swapped[0.15]
    count = (new_codes != codes).sum() + (new_values != values).sum()
    assert abs(int(count) - 300) < 5 * np.sqrt(2000 * 0.15 * 0.85)


def test_one_row_has_no_other():
    codes, values = jax.jit(swap_cells)(jax.random.key(0), np.array([[3, 1]]), np.array([[0.5]]), rate=1.0)
    assert codes.tolist() == [[3, 1]]
    assert values.tolist() == [[0.5]]


def loss(outputs, codes, values, sizes):
    return float(jax.jit(functools.partial(reconstruction_loss, cardinalities=sizes))(outputs, codes, values))


def test_reconstruction_by_hand():
    rng = np.random.default_rng(0)
    outputs, values = rng.normal(size=(5, 3 + 4 + 2)), rng.normal(size=(5, 2))
    codes = np.array([[0, 1], [2, 4], [3, 4], [1, 0], [3, 3]])  # 3 and 4 are missing
    losses = []
    for row, own in enumerate(codes):
        for code, logits in zip(own, np.split(outputs[row, :7], [3]), strict=True):
            if code < len(logits):
                losses.append(np.log(np.exp(logits).sum()) - logits[code])
    assert len(losses) == 6
    expected = (2 * np.mean(losses) + 2 * np.mean((outputs[:, 7:] - values) ** 2)) / 4
    assert loss(outputs, codes, values, SIZES) == pytest.approx(expected, rel=1e-5)


def test_reconstruction_of_categories_or_numbers_alone():
    none = np.zeros((2, 0))
    assert loss(np.zeros((2, 4)), np.array([[1], [4]]), none, (4,)) == pytest.approx(np.log(4), rel=1e-6)
    assert loss(np.zeros((2, 4)), np.array([[4], [4]]), none, (4,)) == 0.0
    assert loss(np.array([[1.0], [3.0]]), none.astype(int), np.zeros((2, 1)), ()) == 5.0


@pytest.mark.slow
def test_pretraining_moves_all_but_what_no_cell_asks(problem):
    network = TabTransformer(SIZES, 2, 9, embedding_size=8, num_layers=0, num_heads=1)
    params = init_network(network, jax.random.key(0))
    batch = {"codes": problem.table.codes[:32], "values": problem.table.values[:32]}
    gradient = jax.jit(jax.grad(DenoisingLoss(network)))(params, batch, jax.random.key(1), 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path


@pytest.fixture(scope="module")
def pretrained(problem):
    return pretrain_denoising(problem, key=KEYS, steps=20, batch_size=16, embedding_size=8)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_encoder(problem, pretrained):
    fit = fit_denoising(problem, key=KEYS, pretrained=pretrained, **(QUICK | {"learning_rate": 1e-12}))
    for name in ("embedding", "dense_0", "dense_1"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8),
            fit.params["params"][name],
            pretrained["params"][name],
        )
    assert pretrained["params"]["dense_2"]["kernel"].shape[-1] == 9  # 3 + 4 logits and two numbers
    assert fit.params["params"]["dense_2"]["kernel"].shape[-1] == 2


@pytest.mark.slow
def test_pretraining_does_not_look_at_labels(problem, pretrained):
    found = pretrain_denoising(
        small_problem(labels=1 - problem.labels), key=KEYS, steps=20, batch_size=16, embedding_size=8
    )
    jax.tree.map(np.testing.assert_array_equal, found, pretrained)


def test_pretraining_of_another_table(problem):
    with pytest.raises(TabularError, match="pretrained is of another table or number of runs; pre-train on this"):
        fit_denoising(problem, key=KEYS, pretrained={"params": {}}, embedding_size=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, r"rate is 0\.0; allowed: above 0 to 1"),
        ({"pretraining_steps": 0}, "pretraining_steps is 0; allowed: whole numbers from 1"),
        ({"steps": -1}, "steps is -1; allowed: whole numbers from 1"),
    ],
)
def test_settings_out_of_range(problem, settings, message):
    with pytest.raises(TabularError, match=message):
        fit_denoising(problem, key=KEYS, **settings)
