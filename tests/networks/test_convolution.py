"""Convolutions: every method against sums in NumPy float64, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.errors import InputError
from jlabel.networks import Conv, conv, conv_method

Edges = tuple[tuple[int, int], tuple[int, int]]


def _reference(
    x: np.ndarray, k: np.ndarray, strides: tuple[int, int], edges: Edges, groups: int, g: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """The sum as written in `conv`'s docstring, and its gradients for the cotangent g."""
    padded = np.pad(x.astype(np.float64), ((0, 0), *edges, (0, 0)))
    out = [(padded.shape[1 + a] - k.shape[a]) // strides[a] + 1 for a in (0, 1)]
    members, features = k.shape[2], k.shape[3] // groups
    y = np.zeros((x.shape[0], *out, k.shape[3]))
    gx, gk = np.zeros_like(padded), np.zeros(k.shape)
    for i in range(k.shape[0]):
        for j in range(k.shape[1]):
            rows = slice(i, i + (out[0] - 1) * strides[0] + 1, strides[0])
            cols = slice(j, j + (out[1] - 1) * strides[1] + 1, strides[1])
            for group in range(groups):
                c = slice(group * members, (group + 1) * members)
                o = slice(group * features, (group + 1) * features)
                y[..., o] += padded[:, rows, cols, c] @ k[i, j, :, o]
                if g is not None:
                    gx[:, rows, cols, c] += g[..., o] @ k[i, j, :, o].T
                    gk[i, j, :, o] += np.einsum("bpqc,bpqo->co", padded[:, rows, cols, c], g[..., o])
    (top, _), (left, _) = edges
    return y, gx[:, top : top + x.shape[1], left : left + x.shape[2]], gk


def _check(
    size: tuple[int, int], taps: tuple[int, int], strides: tuple[int, int], edges: Edges, method: str, groups: int
) -> None:
    rng = np.random.default_rng(sum(size) + 10 * sum(taps))
    x = rng.normal(size=(2, *size, 4)).astype(np.float32)
    k = rng.normal(size=(*taps, 4 // groups, 4)).astype(np.float32)

    def run(x: jax.Array, k: jax.Array) -> jax.Array:
        return conv(x, k, strides=strides, padding=edges, groups=groups, method=method)  # type: ignore[arg-type]

    y, pull = jax.vjp(run, jnp.asarray(x), jnp.asarray(k))
    g = rng.normal(size=y.shape).astype(np.float32)
    for ours, exact in zip((y, *pull(jnp.asarray(g))), _reference(x, k, strides, edges, groups, g), strict=True):
        assert ours.shape == exact.shape
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(exact).max()))


NONE: Edges = ((0, 0), (0, 0))
CASES = [
    # size, taps, strides, padding: what the networks use ...
    ((4, 4), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((4, 4), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((2, 2), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((1, 1), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1))),
    ((7, 7), (5, 5), (2, 2), ((2, 2), (2, 2))),
    ((9, 6), (5, 5), (1, 1), ((2, 2), (2, 2))),
    # ... and what may break: steps longer than the kernel, uneven sides, padding wider than the kernel.
    ((7, 5), (1, 2), (3, 2), NONE),
    ((5, 3), (3, 2), (2, 3), ((3, 0), (0, 2))),
    ((1, 1), (2, 2), (1, 1), ((1, 1), (2, 0))),
    ((2, 3), (2, 2), (3, 3), ((3, 3), (3, 3))),
]


@pytest.mark.parametrize(("method", "groups"), [("patches", 1), ("split", 1), ("shifts", 4), ("lax", 1), ("lax", 2)])
@pytest.mark.parametrize(("size", "taps", "strides", "edges"), CASES)
def test_methods_match_the_sum(size, taps, strides, edges, method, groups) -> None:
    _check(size, taps, strides, edges, method, groups)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
def test_matmul_matches_the_sum(strides: tuple[int, int]) -> None:
    _check((5, 7), (1, 1), strides, NONE, "matmul", 1)


@settings(max_examples=4, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["patches", "shifts"]),
)
def test_same_padding_of_any_shape(size, taps, strides, method) -> None:
    edges = tuple(jax.lax.padtype_to_pads(size, taps, strides, "SAME"))
    _check(size, taps, strides, edges, method, 4 if method == "shifts" else 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("groups", "kernel"), [(1, (3, 3)), (1, (1, 1)), (6, (3, 3))])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_module_shares_parameters_and_values_with_flax(key, groups, kernel, padding) -> None:
    x = jax.random.normal(key, (2, 4, 4, 6))
    theirs = nn.Conv(6, kernel, strides=(2, 2), padding=padding, feature_group_count=groups)
    params = theirs.init(key, x)
    ours = Conv(6, kernel, strides=(2, 2), padding=padding, groups=groups)
    assert jax.tree.map(jnp.shape, ours.init(key, x)) == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)


def test_the_batch_does_not_change_a_row(key) -> None:
    x, k = jax.random.normal(key, (3, 6, 6, 4)), jax.random.normal(key, (3, 3, 1, 4))
    together = conv(x, k, groups=4, method="shifts")
    np.testing.assert_allclose(conv(x[1:2], k, groups=4, method="shifts")[0], together[1], rtol=1e-6)


def test_vmap_over_kernels(key) -> None:
    x, k = jax.random.normal(key, (2, 4, 4, 3)), jax.random.normal(key, (2, 3, 3, 3, 5))
    batched = jax.vmap(lambda k: conv(x, k, method="patches"))(k)
    np.testing.assert_allclose(batched[1], conv(x, k[1], method="lax"), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "groups", "method"),
    [
        ((56, 56), (1, 1, 24, 144), 1, "matmul"),
        ((4, 4), (3, 3, 256, 512), 1, "patches"),
        ((4, 5), (3, 3, 256, 512), 1, "lax"),
        ((8, 8), (5, 5, 1, 96), 96, "shifts"),
        ((8, 8), (3, 3, 2, 96), 48, "lax"),
        ((8, 8), (3, 3, 1, 96), 48, "lax"),
    ],
)
def test_choice_of_method(size, kernel, groups, method) -> None:
    assert conv_method(size, kernel, groups=groups, backend="cpu") == method
    assert conv_method(size, kernel, groups=groups, backend="tpu") == "lax"


@pytest.mark.parametrize("method", ["matmul", "shifts"])
def test_impossible_method_is_refused(method) -> None:
    with pytest.raises(InputError, match=f"method '{method}' cannot compute a kernel of shape \\(3, 3, 2, 4\\)"):
        conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 4)), method=method)
