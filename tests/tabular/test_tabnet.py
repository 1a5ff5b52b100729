import jax
import numpy as np
import pytest

from jlabel.tabular import Table, TabNet, TabularError, classification_score, fit_tabnet
from jlabel.tabular.tabnet import TabNetLoss, TabNetOutputs
from tests.tabular.problems import SIZES, small_problem

KEYS = jax.random.split(jax.random.key(7), 2)
NETWORK = TabNet(SIZES, 2, 2, width=3, num_steps=2, ghost=8)


def sparsemax(row):
    order = np.sort(row)[::-1]
    counts = np.arange(1, len(row) + 1)
    most = counts[1 + counts * order > np.cumsum(order)].max()
    return np.maximum(row - (np.cumsum(order)[most - 1] - 1) / most, 0)


def float64_forward(params, codes, values, relaxation, groups=1):
    """Logits and masks, and the entropy of the masks."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    norms = iter(params["norms"])

    def norm(x):
        scale, offset = next(norms)
        parts = [(part - part.mean(0)) / np.sqrt(part.var(0) + 1e-5) for part in np.split(x, groups)]
        return np.concatenate(parts) * scale + offset

    def transform(x, step):
        for k, name in enumerate(("shared_0", "shared_1", f"own_{step}_0", f"own_{step}_1")):
            left, right = np.split(norm(x @ params[name]), 2, 1)
            gated = left / (1 + np.exp(-right))
            x = (x + gated) * np.sqrt(0.5) if k else gated
        return x[:, :3], x[:, 3:]

    starts = [0, SIZES[0] + 1]
    x = norm(np.concatenate([params["embedding"][codes + starts], values], 1))
    _, seen = transform(x, 0)
    prior, decision, masks = np.ones_like(x), 0, []
    for step in (1, 2):
        masks.append(np.stack([sparsemax(row) for row in prior * norm(seen @ params[f"mask_{step}"])]))
        prior = prior * (relaxation - masks[-1])
        own, seen = transform(masks[-1] * x, step)
        decision = decision + np.maximum(own, 0)
    return decision @ params["final"], np.stack(masks)


@jax.jit
def forward(batch):
    """Parameters, and what the network says of a batch."""
    params = NETWORK.init(jax.random.key(0))
    return params, *NETWORK.apply(params, batch["codes"], batch["values"])


@pytest.fixture(scope="module")
def batch():
    problem = small_problem()
    return {"codes": problem.table.codes[:16], "values": problem.table.values[:16], "target": problem.labels[:16]}


@pytest.fixture(scope="module")
def found(batch):
    return forward(batch)


def test_forward_by_hand(batch, found):
    params, logits, masks, _ = found
    expected, expected_masks = float64_forward(params, batch["codes"], batch["values"], 1.3)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(masks, expected_masks, atol=1e-4)
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-5)
    assert (np.asarray(masks) == 0).mean() > 0.2


@pytest.mark.slow
def test_statistics_of_the_reference_are_those_of_prediction(batch, found):
    params, logits, _, stats = found
    again = jax.jit(TabNetOutputs(NETWORK))({"weights": params, "stats": stats}, batch)
    np.testing.assert_allclose(again, logits, atol=1e-5)
    double = {name: np.concatenate([part, part[:2]]) for name, part in batch.items()}
    both = jax.jit(TabNetOutputs(NETWORK, 16))(params, double)
    np.testing.assert_allclose(both, np.concatenate([logits, logits[:2]]), atol=1e-5)


@pytest.mark.slow
def test_loss_by_hand_with_norms_of_eight_rows_and_every_weight_learns(batch, found):
    params = found[0]
    loss, gradient = jax.jit(jax.value_and_grad(TabNetLoss(NETWORK, 0.1)))(params, batch, jax.random.key(0), 0.0)
    logits, masks = float64_forward(params, batch["codes"], batch["values"], 1.3, groups=2)
    fit = np.log(np.exp(logits).sum(1)) - logits[np.arange(16), batch["target"]]
    entropy = -np.sum(np.where(masks > 0, masks * np.log(np.maximum(masks, 1e-15)), 0), -1)
    assert float(loss) == pytest.approx(fit.mean() + 0.1 * entropy.mean(), rel=1e-4)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
def test_a_fit_predicts_row_by_row():
    problem = small_problem()
    fit = fit_tabnet(problem, key=KEYS, width=3, num_steps=2, steps=20, evaluate_every=10)
    alone = fit.predict_proba(Table(problem.table.codes[5:6], problem.table.values[5:6], problem.table.unknown))
    np.testing.assert_array_equal(alone[:, 0], fit.predict_proba(problem.table)[:, 5])
    probs = fit.predict_proba(problem.table)
    for run in range(2):
        rows = problem.validation[run][problem.validation[run] >= 0]
        found = classification_score(np.log(probs[run][rows]), problem.labels[rows])
        assert found == pytest.approx(np.nanmax(fit.scores[run]), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width is 0; allowed: whole numbers from 1"),
        ({"num_steps": 0}, "num_steps is 0; allowed: whole numbers from 1"),
        ({"relaxation": 0.5}, r"relaxation is 0\.5; allowed: from 1"),
        ({"sparsity": -1.0}, r"sparsity is -1\.0; allowed: from 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(TabularError, match=message):
        fit_tabnet(small_problem(), key=KEYS, **settings)
