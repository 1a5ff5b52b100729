"""The networks: shapes, normalisation, independence of the batch, gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.networks import EfficientNetLite, GroupNorm, ResNet18, SmallCNN


def _jitted(module, key, images):
    return jax.jit(module.init)(key, images)


@pytest.mark.parametrize(("groups", "epsilon"), [(1, 1e-6), (4, 1e-5), (8, 1e-3)])
def test_group_norm_equals_flax(key, groups, epsilon) -> None:
    x = 3 * jax.random.normal(key, (2, 3, 5, 8)) + 1
    params = {"params": {"scale": jnp.arange(1.0, 9), "bias": jnp.arange(8.0)}}
    theirs, ours = nn.GroupNorm(groups, epsilon=epsilon), GroupNorm(groups, epsilon=epsilon)
    np.testing.assert_allclose(jax.jit(ours.apply)(params, x), jax.jit(theirs.apply)(params, x), rtol=1e-5, atol=1e-5)
    ours_grad, theirs_grad = (
        jax.jit(jax.grad(lambda x, m=m: jnp.sum(m.apply(params, x) ** 3)))(x) for m in (ours, theirs)
    )
    np.testing.assert_allclose(ours_grad, theirs_grad, rtol=1e-3, atol=1e-3 * float(jnp.abs(theirs_grad).max()))


def test_group_norm_of_a_constant_map_is_finite() -> None:
    norm = GroupNorm(2)
    x = jnp.full((1, 4, 4, 4), 1e3)
    params = norm.init(jax.random.key(0), x)
    total, gradient = jax.jit(jax.value_and_grad(lambda x: norm.apply(params, x).sum()))(x)
    assert np.isfinite(total)
    assert np.isfinite(gradient).all()


def test_small_cnn_rows_do_not_see_each_other(key) -> None:
    images = jax.random.normal(key, (3, 32, 32, 3))
    net = SmallCNN(widths=(8, 16))
    params = _jitted(net, key, images)
    features = jax.jit(net.apply)(params, images)
    assert features.shape == (3, 16)
    np.testing.assert_allclose(jax.jit(net.apply)(params, images[1:2])[0], features[1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_small_cnn_methods_agree(key) -> None:
    images = jax.random.normal(key, (2, 32, 32, 3))
    params = _jitted(SmallCNN(), key, images)
    a, b = (jax.jit(SmallCNN(method=method).apply)(params, images) for method in ("lax", "patches"))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_resnet18_has_the_published_number_of_parameters(key) -> None:
    shapes = jax.eval_shape(ResNet18("batch").init, key, jnp.zeros((1, 32, 32, 3)))
    # torchvision's resnet18 has 11,689,512 with its 1000-way layer of 513,000.
    assert _count(shapes["params"]) == 11_689_512 - 513_000
    assert _count(jax.eval_shape(ResNet18().init, key, jnp.zeros((1, 32, 32, 3)))) == 11_689_512 - 513_000


@pytest.mark.parametrize(("variant", "parameters"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_efficientnet_lite_has_the_published_number_of_parameters(key, variant, parameters) -> None:
    net = EfficientNetLite(variant, "batch", num_classes=1000)
    shapes = jax.eval_shape(net.init, key, jnp.zeros((1, 64, 64, 3)))
    assert _count(shapes["params"]) == parameters


@pytest.mark.slow
def test_resnet18_batch_norm_keeps_running_averages(key) -> None:
    images = 2 * jax.random.normal(key, (4, 16, 16, 3)) + 1
    net = ResNet18("batch")
    variables = _jitted(net, key, images)
    _, state = jax.jit(lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"]))(variables, images)
    old, new = (tree["batch_stats"]["norm"]["mean"] for tree in (variables, state))
    before = nn.Conv(64, (7, 7), (2, 2), ((3, 3), (3, 3)), use_bias=False)
    maps = before.apply({"params": {"kernel": variables["params"]["conv"]["kernel"]}}, images)
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * maps.mean((0, 1, 2)), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("net", [ResNet18(), EfficientNetLite(0)], ids=["resnet18", "efficientnet_lite0"])
def test_gradients_reach_every_parameter(key, net) -> None:
    images = jax.random.normal(key, (2, 32, 32, 3))
    params = _jitted(net, key, images)
    grads = jax.jit(jax.grad(lambda p: jnp.sum(net.apply(p, images) ** 2)))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path
