import jax
import numpy as np
import pytest

from jlabel.tabular import TabTransformer, TabularError, fit_bottleneck, gaussian_kl, init_network
from jlabel.tabular.bottleneck import BottleneckLoss, BottleneckOutputs
from tests.tabular.problems import QUICK, SIZES, small_problem

KEYS = jax.random.split(jax.random.key(7), 2)
ENCODER = TabTransformer(SIZES, 2, 2 * 3, embedding_size=8, num_layers=0, num_heads=1)


@jax.jit
def _outputs(params, batch, key):
    """Loss, the encoder's outputs, the noise, and what is predicted."""
    loss = BottleneckLoss(ENCODER, 0.01)(params, batch, key, 0.0)
    outputs = ENCODER.apply(params["encoder"], batch["codes"], batch["values"])
    return loss, outputs, jax.random.normal(key, (12, 3)), BottleneckOutputs(ENCODER)(params, batch)


@pytest.fixture(scope="module")
def given():
    """Parameters, a batch, and what they give."""
    problem, rng = small_problem(), np.random.default_rng(0)
    params = {
        "encoder": init_network(ENCODER, jax.random.key(1)),
        "kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "bias": rng.normal(size=2).astype(np.float32),
    }
    batch = {"codes": problem.table.codes[:12], "values": problem.table.values[:12], "target": problem.labels[:12]}
    return params, batch, *(np.asarray(part, np.float64) for part in _outputs(params, batch, jax.random.key(5)))


def test_divergence_of_a_gaussian():
    found = gaussian_kl(np.array([0.0, 1.0, 0.0]), np.log([0.5, 1.0, 1.0]))
    np.testing.assert_allclose(found, [0.3181, 0.5, 0.0], atol=5e-5)


def test_loss_by_hand(given):
    params, batch, loss, outputs, noise, _ = given
    mean, log_std = np.split(outputs, 2, 1)
    logits = (mean + np.exp(log_std) * noise) @ params["kernel"] + params["bias"]
    fit = np.log(np.exp(logits).sum(1)) - logits[np.arange(12), batch["target"]]
    divergence = (mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std).sum(1) / 2
    assert float(loss) == pytest.approx(np.mean(fit + 0.01 * divergence), rel=1e-5)


def test_prediction_takes_the_mean(given):
    params, _, _, outputs, _, found = given
    np.testing.assert_allclose(found, outputs[:, :3] @ params["kernel"] + params["bias"], atol=1e-5)


@pytest.mark.slow
def test_every_parameter_learns(given):
    gradient = jax.jit(jax.grad(BottleneckLoss(ENCODER, 0.01)))(*given[:2], jax.random.key(5), 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path
    assert (np.abs(gradient["encoder"]["params"]["dense_2"]["kernel"]).max(0) > 0).all()


@pytest.mark.slow
def test_a_heavy_divergence_leaves_nothing():
    problem = small_problem()
    light, heavy = (
        fit_bottleneck(problem._replace(validation=None), key=KEYS, kl_weight=weight, **(QUICK | {"steps": 100}))
        for weight in (1e-3, 1e3)
    )
    assert np.ptp(light.predict_proba(problem.table)[..., 1], 1).min() > 0.5
    assert np.ptp(heavy.predict_proba(problem.table)[..., 1], 1).max() < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_weight": -1.0}, r"kl_weight is -1\.0; allowed: from 0"),
        ({"code_size": 0}, "code_size is 0; allowed: whole numbers from 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(TabularError, match=message):
        fit_bottleneck(small_problem(), key=KEYS, **settings)
