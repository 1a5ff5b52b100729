"""What sliding windows read and what each pixel gives back; shared by convolution and pooling."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

__all__ = ["Axis", "Edges", "make_axes", "padded", "spread", "windows"]

Edges = tuple[tuple[int, int], tuple[int, int]]


class Axis(NamedTuple):
    """One axis of a sliding window, without the taps that meet only padding.

    Attributes:
      size: pixels of the input.
      out: positions of the window.
      stride: pixels between them.
      first: taps left out at the start of the kernel.
      taps: taps that remain.
      low: padding before the input; negative when the remaining taps skip its first pixels.
      high: padding after it; negative likewise.
    """

    size: int
    out: int
    stride: int
    first: int
    taps: int
    low: int
    high: int

    @property
    def kept(self) -> slice:
        """The remaining taps, as a slice of the kernel."""
        return slice(self.first, self.first + self.taps)

    def window(self, tap: int) -> slice:
        """What a tap reads of the padded axis."""
        return slice(tap, tap + (self.out - 1) * self.stride + 1, self.stride)

    def phases(self) -> list[list[tuple[int, int]]]:
        """For the pixels m = stride q + r, by r: the (tap, d) with which the window at q + d reads m."""
        places = [[(tap, r + self.low - tap) for tap in range(self.taps)] for r in range(self.stride)]
        return [[(tap, place // self.stride) for tap, place in row if place % self.stride == 0] for row in places]


def _make_axis(size: int, taps: int, stride: int, edges: tuple[int, int]) -> Axis:
    out = (size + sum(edges) - taps) // stride + 1
    reads = [[p * stride + i - edges[0] for p in range(out)] for i in range(taps)]
    touching = [i for i in range(taps) if any(0 <= m < size for m in reads[i])] or [0]
    first, kept = touching[0], touching[-1] - touching[0] + 1
    low = edges[0] - first
    return Axis(size, out, stride, first, kept, low, (out - 1) * stride + kept - size - low)


def make_axes(
    size: tuple[int, ...], taps: tuple[int, ...], strides: tuple[int, int], edges: Edges
) -> tuple[Axis, Axis]:
    """The axes of height and width."""
    return (
        _make_axis(size[0], taps[0], strides[0], edges[0]),
        _make_axis(size[1], taps[1], strides[1], edges[1]),
    )


def padded(x: jax.Array, rows: Axis, cols: Axis, *, fill: ArrayLike = 0.0) -> jax.Array:
    """[B, H, W, C] with the padding of the axes."""
    config = ((0, 0, 0), (rows.low, rows.high, 0), (cols.low, cols.high, 0), (0, 0, 0))
    return lax.pad(x, jnp.asarray(fill, x.dtype), config)


def windows(x: jax.Array, rows: Axis, cols: Axis) -> Iterator[tuple[int, int, jax.Array]]:
    """What each tap (i, j) reads of the padded map: [B, P, Q, C]."""
    for i in range(rows.taps):
        for j in range(cols.taps):
            yield i, j, x[:, rows.window(i), cols.window(j)]


def spread(term: Callable[..., jax.Array], arrays: tuple[jax.Array, ...], rows: Axis, cols: Axis) -> jax.Array:
    """The transpose of `windows`: out[m] = sum over taps (i, j) of term(i, j, *arrays[window whose tap reads m]).

    Gathered, for one phase m mod stride after the other, so that no zeros are added up; autodiff scatters every tap
    through a dilated pad instead.

    Args:
      term: (i, j, *slices) -> [B, P', Q', C]; zero arrays must give zero.
      arrays: each [B, P, Q, C].
      rows: height.
      cols: width.

    Returns:
      [B, H, W, C].
    """
    steps = [-(-axis.size // axis.stride) for axis in (rows, cols)]
    reach = []
    for axis, step in zip((rows, cols), steps, strict=True):
        moves = [d for phase in axis.phases() for _, d in phase]
        reach.append((max(0, -min(moves)), max(0, max(moves) + step - axis.out)))
    ready = [jnp.pad(a, ((0, 0), *reach, (0, 0))) for a in arrays]
    zeros = jnp.zeros((arrays[0].shape[0], *steps, arrays[0].shape[3]), arrays[0].dtype)

    def phase(down: list[tuple[int, int]], right: list[tuple[int, int]]) -> jax.Array:
        total = zeros
        for i, di in down:
            for j, dj in right:
                top, left = reach[0][0] + di, reach[1][0] + dj
                total += term(i, j, *(a[:, top : top + steps[0], left : left + steps[1]] for a in ready))
        return total

    parts = [jnp.stack([phase(down, right) for right in cols.phases()], 3) for down in rows.phases()]
    full = jnp.stack(parts, 2).reshape(zeros.shape[0], steps[0] * rows.stride, steps[1] * cols.stride, -1)
    return full[:, : rows.size, : cols.size]
