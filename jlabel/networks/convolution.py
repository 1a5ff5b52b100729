"""Convolutions that are fast on CPU too, with the parameters of `flax.linen.Conv`.

XLA's CPU convolution is good on maps of middle size and poor in four cases, which this module computes in another way:
1x1 kernels (a matrix product), maps of at most 4x4 pixels (im2col and a matrix product), depthwise kernels (a sum of
shifted products), and the gradient of the kernel on maps from 16x16 pixels (im2col, one picture after the other). On
GPU and TPU everything goes to `lax.conv_general_dilated`. Values and gradients agree.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.windows import Axis, Edges, make_axes, padded, spread, windows

__all__ = ["Conv", "ConvMethod", "conv", "conv_method"]

ConvMethod = Literal["lax", "matmul", "patches", "shifts", "split"]

# Largest side of a map on which XLA's CPU convolution loses to im2col (14 times on a ResNet-18's last stage), and
# smallest one from which its gradient of the kernel loses to a scan over pictures (3 times on 56x56 pixels).
_SMALL_MAP, _LARGE_MAP = 4, 16


def conv_method(
    input_size: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: tuple[int, int] = (1, 1),
    groups: int = 1,
    backend: str | None = None,
) -> ConvMethod:
    """The way to compute a convolution, from its static shapes and the backend; asked while tracing.

    Args:
      input_size: (height, width) of the map.
      kernel_shape: (kh, kw, in_features / groups, features).
      strides: steps along height and width.
      groups: feature groups; equal to the input's channels for a depthwise convolution.
      backend: "cpu", "gpu" or "tpu"; None asks `jax.default_backend()`. Anything but "cpu" gets "lax".

    Returns:
      "lax", "matmul" (1x1 kernel), "patches" (small map), "split" (large map) or "shifts" (depthwise).

    Example:
      >>> conv_method((2, 2), (3, 3, 512, 512), backend="cpu"), conv_method((2, 2), (3, 3, 512, 512), backend="gpu")
      ('patches', 'lax')
    """
    if (backend or jax.default_backend()) != "cpu":
        return "lax"
    if groups > 1:
        depthwise = kernel_shape[2] == 1 and kernel_shape[3] == groups
        return "shifts" if depthwise else "lax"
    if tuple(kernel_shape[:2]) == (1, 1):
        return "matmul"
    if max(input_size) <= _SMALL_MAP:
        return "patches"
    return "split" if min(n // s for n, s in zip(input_size, strides, strict=True)) >= _LARGE_MAP else "lax"


def conv(
    inputs: ArrayLike,
    kernel: ArrayLike,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "SAME",
    groups: int = 1,
    method: ConvMethod | None = None,
) -> jax.Array:
    """Two-dimensional convolution y[b, p, q, o] = sum_ijc x[b, s p + i, s q + j, c] k[i, j, c, o] (zeros outside).

    Args:
      inputs: [B, H, W, C] floats.
      kernel: [kh, kw, C / groups, O], as `flax.linen.Conv` keeps it.
      strides: steps along height and width, at least 1.
      padding: "SAME", "VALID", or ((top, bottom), (left, right)) rows of zeros.
      groups: feature groups; C for a depthwise convolution.
      method: None takes what `conv_method` says; a name forces it (tests, or a model that is vmapped over its
        parameters: there "lax" becomes a grouped convolution, which XLA's CPU backend computes very slowly, while
        "patches" stays a batched matrix product).

    Returns:
      [B, P, Q, O]. All methods but "lax" have a reverse-mode rule only.

    Raises:
      InputError: the forced method cannot compute this convolution.

    Example:
      >>> conv(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 1)))[0, :, :, 0]
      Array([[ 8., 12.,  8.],
             [12., 18., 12.],
             [ 8., 12.,  8.]], dtype=float32)
    """
    x, k = jnp.asarray(inputs), jnp.asarray(kernel)
    size, taps = x.shape[1:3], k.shape[:2]
    pads = lax.padtype_to_pads(size, taps, strides, padding) if isinstance(padding, str) else padding
    edges: Edges = ((int(pads[0][0]), int(pads[0][1])), (int(pads[1][0]), int(pads[1][1])))
    method = method or conv_method(size, k.shape, strides=strides, groups=groups)
    possible = {
        "lax": True,
        "matmul": taps == (1, 1) and groups == 1 and edges == ((0, 0), (0, 0)),
        "patches": groups == 1,
        "shifts": groups == x.shape[3] == k.shape[3] and k.shape[2] == 1,
        "split": groups == 1,
    }
    if not possible[method]:
        raise InputError(
            f"method {method!r} cannot compute a kernel of shape {k.shape} with groups={groups} and padding={edges}; "
            "leave method=None"
        )
    if method == "matmul":
        return _product(x[:, :: strides[0], :: strides[1]], k[0, 0])
    if method == "lax":
        return _lax(x, k, strides, edges, groups)
    if method == "patches":
        return _patches(x, k, strides, edges)
    return (_shifts if method == "shifts" else _split)(x, k, strides, edges)


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions with the same parameters, computed by `conv`.

    Attributes:
      features: output channels.
      kernel_size: (kh, kw).
      strides: steps along height and width.
      padding: "SAME", "VALID" or explicit rows of zeros.
      groups: feature groups; the input's channels for a depthwise convolution.
      use_bias: add `bias` [features].
      method: None lets `conv_method` choose.

    Example:
      >>> layer = Conv(8, (3, 3), strides=(2, 2))
      >>> images = jnp.ones((2, 16, 16, 3))
      >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), images)[0].shape
      (2, 8, 8, 8)
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | Sequence[tuple[int, int]] = "SAME"
    groups: int = 1
    use_bias: bool = True
    method: ConvMethod | None = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, inputs: ArrayLike) -> jax.Array:
        """[B, H, W, C] -> [B, P, Q, features]."""
        x = jnp.asarray(inputs)
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, groups=self.groups, method=self.method)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,)).reshape(1, 1, 1, -1)
        return y


def _product(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    return _matrix_product(rows.reshape(-1, rows.shape[-1]), matrix).reshape(*rows.shape[:-1], matrix.shape[-1])


@jax.custom_vjp
def _matrix_product(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    return rows @ matrix


def _matrix_product_forward(rows: jax.Array, matrix: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return rows @ matrix, (rows, matrix)


def _matrix_product_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows, matrix = saved
    return g @ matrix.T, _gram(rows, g)


_matrix_product.defvjp(_matrix_product_forward, _matrix_product_backward)


def _gram(rows: jax.Array, g: jax.Array) -> jax.Array:
    """rows^T g, with the narrower one on the left: XLA on CPU takes twice as long the other way round."""
    return rows.T @ g if rows.shape[1] <= g.shape[1] else (g.T @ rows).T


def _columns(x: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """im2col of a padded map: [B, P, Q, taps C]."""
    return jnp.concatenate([w for _, _, w in windows(x, rows, cols)], axis=-1)


def _patches(x: jax.Array, k: jax.Array, strides: tuple[int, int], edges: Edges) -> jax.Array:
    rows, cols = make_axes(x.shape[1:3], k.shape[:2], strides, edges)
    return _product(_columns(padded(x, rows, cols), rows, cols), k[rows.kept, cols.kept].reshape(-1, k.shape[-1]))


def _lax(x: jax.Array, k: jax.Array, strides: tuple[int, int], edges: Edges, groups: int = 1) -> jax.Array:
    if any(edge >= taps for pair, taps in zip(edges, k.shape, strict=False) for edge in pair):
        # Padding wider than the kernel turns negative in the gradient, where XLA on CPU (0.10.2) reads out of bounds.
        x, edges = jnp.pad(x, ((0, 0), *edges, (0, 0))), ((0, 0), (0, 0))
    return lax.conv_general_dilated(
        x, k, strides, edges, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _split(x: jax.Array, k: jax.Array, strides: tuple[int, int], edges: Edges) -> jax.Array:
    """`_lax`, but for the gradient of the kernel: im2col and a matrix product, one picture after the other."""
    return _lax(x, k, strides, edges)


def _split_backward(
    strides: tuple[int, int], edges: Edges, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, k = saved
    rows, cols = make_axes(x.shape[1:3], k.shape[:2], strides, edges)
    taps = k[rows.kept, cols.kept].shape

    def add_picture(total: jax.Array, picture: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        pixels, grads = picture
        columns = _columns(pixels[None], rows, cols).reshape(rows.out * cols.out, -1)
        return total + _gram(columns, grads.reshape(-1, grads.shape[-1])), None

    zeros = jnp.zeros((taps[0] * taps[1] * taps[2], taps[3]), k.dtype)
    grad_k = lax.scan(add_picture, zeros, (padded(x, rows, cols), g))[0].reshape(taps)
    grad_x = jax.linear_transpose(lambda x: _lax(x, k, strides, edges), x)(g)[0]
    return grad_x, _restore(grad_k, k.shape, rows, cols)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifts(x: jax.Array, k: jax.Array, strides: tuple[int, int], edges: Edges) -> jax.Array:
    """Depthwise: y[b, p, q, c] = sum_ij x[b, s p + i, s q + j, c] k[i, j, 0, c]; one fused loop over the output."""
    rows, cols = make_axes(x.shape[1:3], k.shape[:2], strides, edges)
    k = k[rows.kept, cols.kept]
    return functools.reduce(
        jnp.add, (w * k[i, j][None, None] for i, j, w in windows(padded(x, rows, cols), rows, cols))
    )


def _shifts_backward(
    strides: tuple[int, int], edges: Edges, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, k = saved
    rows, cols = make_axes(x.shape[1:3], k.shape[:2], strides, edges)
    kept = k[rows.kept, cols.kept]
    grad_x = spread(lambda i, j, g: g * kept[i, j][None, None], (g,), rows, cols)
    return grad_x, _restore(_depthwise_kernel_gradient(x, g, rows, cols)[:, :, None], k.shape, rows, cols)


def _depthwise_kernel_gradient(x: jax.Array, g: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """gk[i, j, c] = sum_bpq x[b, s p + i, s q + j, c] g[b, p, q, c].

    One reduction per tap is what autodiff gives; XLA's CPU backend runs such reductions far below the memory's speed,
    so on larger maps the sum over a row is written out and the rows are scanned.
    """
    x = padded(x, rows, cols)
    if max(rows.out, cols.out) <= _SMALL_MAP:
        sums = [jnp.sum(w * g, (0, 1, 2)) for _, _, w in windows(x, rows, cols)]
        return jnp.stack(sums).reshape(rows.taps, cols.taps, -1)

    def add_row(total: jax.Array, p: jax.Array) -> tuple[jax.Array, None]:
        band = lax.dynamic_slice_in_dim(x, p * rows.stride, rows.taps, 1)
        grads = lax.dynamic_slice_in_dim(g, p, 1, 1)
        for q in range(cols.out):
            left = q * cols.stride
            total += band[:, :, left : left + cols.taps] * grads[:, :, q : q + 1]
        return total, None

    zeros = jnp.zeros((x.shape[0], rows.taps, cols.taps, x.shape[3]), x.dtype)
    return jnp.sum(lax.scan(add_row, zeros, jnp.arange(rows.out))[0], 0)


def _restore(grad: jax.Array, shape: tuple[int, ...], rows: Axis, cols: Axis) -> jax.Array:
    """Zeros for the taps that meet only padding."""
    return jnp.zeros(shape, grad.dtype).at[rows.kept, cols.kept].set(grad)


_split.defvjp(lambda x, k, strides, edges: (_split(x, k, strides, edges), (x, k)), _split_backward)
_shifts.defvjp(lambda x, k, strides, edges: (_shifts(x, k, strides, edges), (x, k)), _shifts_backward)
