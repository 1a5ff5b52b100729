import jax
import numpy as np
import pytest

from jlabel.taxonomy import TaxonomyError, UniversalHead


def test_two_layers_or_one(key):
    features = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    head = UniversalHead(num_classes=4, hidden=7)
    params = jax.tree.map(np.asarray, jax.jit(head.init)(key, features))
    assert jax.tree.map(np.shape, params) == {
        "params": {"Dense_0": {"kernel": (5, 7), "bias": (7,)}, "Dense_1": {"kernel": (7, 4), "bias": (4,)}}
    }
    first, second = (params["params"][f"Dense_{i}"]["kernel"] for i in range(2))
    np.testing.assert_allclose(
        jax.jit(head.apply)(params, features), np.maximum(features @ first, 0) @ second, rtol=1e-5, atol=1e-6
    )
    linear = jax.eval_shape(UniversalHead(num_classes=4, kind="linear").init, key, features)
    assert jax.tree.map(lambda leaf: leaf.shape, linear) == {"params": {"Dense_0": {"kernel": (5, 4), "bias": (4,)}}}


def test_unknown_kind(key):
    with pytest.raises(TaxonomyError, match="kind is 'deep'; choose 'mlp' or 'linear'"):
        UniversalHead(num_classes=4, kind="deep").init(key, np.zeros((1, 2)))
