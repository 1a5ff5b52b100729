"""The label chain against a float64 loop over rows, labels and layers, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jlabel.amalgamation import LabelChain, chain_loss
from tests.amalgamation.oracle import chain_row, cross_entropy

ROWS, FEATURES, LABELS, HIDDEN = 5, 3, 4, 3


@pytest.fixture(autouse=True, scope="module")
def _exact():
    """Float64, and programs that run for microseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", optimised)


def drawn(layers, labels=LABELS):
    """A chain, random parameters, rows, and initial logits with a 0 among them and the chain's own elsewhere."""
    chain = LabelChain(labels, HIDDEN, layers)
    rng = np.random.default_rng(layers)
    x = rng.normal(size=(ROWS, FEATURES))
    shapes = jax.eval_shape(chain.init, jax.random.key(0), jnp.asarray(x))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    initial = np.where(rng.uniform(size=(ROWS, labels)) < 0.5, np.nan, rng.normal(size=(ROWS, labels)))
    initial[0, 0] = 0.0
    return chain, params, x, initial


@pytest.mark.parametrize(
    ("layers", "select", "path_floor"),
    [
        (1, "positive", 0.3),
        pytest.param(1, "positive", 0.0, marks=pytest.mark.slow),
        pytest.param(1, "always", 0.0, marks=pytest.mark.slow),
        pytest.param(2, "positive", 0.0, marks=pytest.mark.slow),
    ],
)
def test_forward(layers, select, path_floor):
    chain, params, x, initial = drawn(layers)
    apply = jax.jit(lambda *inputs: chain.apply(*inputs, select=select, path_floor=path_floor))
    for given in (np.full_like(initial, np.nan), initial):
        found = apply(params, x, given)
        for row in range(ROWS):
            expected = chain_row(params, x[row], initial=given[row], select=select, path_floor=path_floor)
            for part, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(part[row], wanted, atol=1e-10)
    assert found.order.dtype == jnp.int32


def losses(chain, over, weight=0.1):
    """The loss of a chain with a part of its states, which other methods imitate."""

    @jax.jit
    def loss(params, x, initial, targets):
        output = chain.apply(params, x, initial)
        return chain_loss(output, targets, over=over) + weight * jnp.sum(output.hidden**2)

    return loss


def by_hand(params, x, initial, targets, over, weight=0.1):
    total = 0.0
    for row in range(ROWS):
        final, steps, _, tops = chain_row(params, x[row], initial=initial[row])
        rows = cross_entropy(steps if over == "steps" else final, targets[row])
        total += rows.mean() / ROWS + weight * np.sum(tops**2)
    return total


@pytest.mark.parametrize(
    ("layers", "over"),
    [
        pytest.param(1, "steps", marks=pytest.mark.slow),
        pytest.param(1, "final", marks=pytest.mark.slow),
        (2, "final"),
        pytest.param(2, "steps", marks=pytest.mark.slow),
        pytest.param(3, "steps", marks=pytest.mark.slow),
    ],
)
def test_gradients(layers, over):
    """Of places in every parameter, and of given initial logits, against the loop's own difference quotient."""
    chain, params, x, initial = drawn(layers)
    targets = np.random.default_rng(9).uniform(size=(ROWS, LABELS))
    value, gradient = jax.jit(jax.value_and_grad(losses(chain, over), (0, 2)))(params, x, initial, targets)
    np.testing.assert_allclose(value, by_hand(params, x, initial, targets, over), rtol=1e-10)
    leaves, tree = jax.tree.flatten((params, initial))
    rng = np.random.default_rng(3)
    for number, grads in enumerate(jax.tree.leaves(gradient)):
        for place in rng.integers(np.array(grads.shape), size=(3, grads.ndim)):
            moved = []
            for sign in (1, -1):
                changed = [leaf.copy() for leaf in leaves]
                changed[number][tuple(place)] += sign * 1e-6
                moved.append(by_hand(*_with(jax.tree.unflatten(tree, changed), x), targets, over))
            if np.isnan(leaves[number][tuple(place)]):  # the chain's own: what is given there does not matter
                assert grads[tuple(place)] == 0
            np.testing.assert_allclose(grads[tuple(place)], (moved[0] - moved[1]) / 2e-6, atol=1e-7)


def _with(changed, x):
    return changed[0], x, changed[1]


def test_check_grads():
    """In random directions of parameters and rows; no pick changes within the step of the quotient."""
    chain, params, x, initial = drawn(1)
    targets = np.random.default_rng(9).uniform(size=(ROWS, LABELS))
    loss = losses(chain, "steps")
    check_grads(
        lambda *inputs: loss(*inputs, initial, targets), (params, x), order=1, modes=["rev"], eps=1e-6, rtol=1e-5
    )


@pytest.mark.slow
def test_labels_may_change_places():
    """A chain whose labels stand elsewhere says the same of each."""
    order = np.array([2, 0, 3, 1])
    chain, params, x, initial = drawn(1)
    tree = {name: dict(part) for name, part in params["params"].items()}
    columns = np.concatenate([order, LABELS + order, 2 * LABELS + np.arange(HIDDEN)])
    tree["layer_0"]["joined"] = tree["layer_0"]["joined"][:, columns]
    for name in ("initial", "output"):
        tree[name] = {part: values[..., order] for part, values in tree[name].items()}
    apply = jax.jit(chain.apply)
    found, moved = apply(params, x, initial), apply({"params": tree}, x, initial[:, order])
    np.testing.assert_allclose(moved.final_logits, found.final_logits[:, order], rtol=1e-10)


def test_one_label():
    """One step; no pick comes back."""
    chain, params, x, initial = drawn(1, labels=1)
    value, gradient = jax.jit(jax.value_and_grad(losses(chain, "steps")))(params, x, initial, np.full((ROWS, 1), 0.3))
    np.testing.assert_allclose(value, by_hand(params, x, initial, np.full((ROWS, 1), 0.3), "steps"), rtol=1e-10)
    assert np.abs(gradient["params"]["layer_0"]["features"]).max() > 0
