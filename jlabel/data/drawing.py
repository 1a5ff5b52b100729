"""Shared parts of the drawn pictures: soft shapes, backgrounds, nuisances, and rendering in fixed chunks.

Coordinates run from -1 to 1, x to the right and y down. A shape is a signed distance (negative inside), and
`cover` turns it into an anti-aliased mask, so no supersampling is needed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.errors import InputError

SIZE = 64
PIXEL = 2.0 / SIZE
# Pictures are rendered this many at a time, so that any number of rows uses the same compiled function.
CHUNK = 60

# Nuisance strengths shared by all drawn pictures.
NOISE = 0.05
LIGHT = (0.80, 1.15)
# Pictures drawn with shift=True: multiplied contrast, added brightness.
SHIFT_CONTRAST = (0.60, 0.90)
SHIFT_BRIGHTNESS = (-0.12, 0.12)

SPLITS = {"train": 0, "val": 1, "test": 2}


def split_key(split: str, seed: int, *, stream: int = 0) -> jax.Array:
    """Key of one split of a generator; splits and streams (fine, coarse) of one seed never share pictures."""
    if split not in SPLITS:
        raise InputError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    return jax.random.fold_in(jax.random.key(check_count("seed", seed, least=0)), SPLITS[split] + len(SPLITS) * stream)


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """`value` as an int in [least, most], or an error naming the argument."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least or (most or value) < value:
        bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise InputError(f"{name}={value!r} must be a whole number {bounds}")
    return int(value)


def grid() -> tuple[jax.Array, jax.Array]:
    """x and y of every pixel centre, both [SIZE, SIZE]."""
    axis = (jnp.arange(SIZE, dtype=jnp.float32) + 0.5) * PIXEL - 1.0
    x, y = jnp.meshgrid(axis, axis)
    return x, y


def between(chance: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    """Uniform numbers within `bounds` from uniform numbers in [0, 1)."""
    return bounds[0] + (bounds[1] - bounds[0]) * chance


def normal(chance: jax.Array) -> jax.Array:
    """Standard normal numbers, at most 3.7 in size, from uniform numbers in [0, 1)."""
    return math.sqrt(2.0) * jax.scipy.special.erfinv(2.0 * jnp.clip(chance, 1e-4, 1.0 - 1e-4) - 1.0)


def choose(table: jax.Array, chance: jax.Array) -> jax.Array:
    """A row of `table`, each as likely, from a uniform number in [0, 1)."""
    return table[(chance * len(table)).astype(jnp.int32)]


def posed_grid(
    chance: jax.Array, *, rotation: float, scale: tuple[float, float], offset: float
) -> tuple[jax.Array, jax.Array]:
    """The grid in the frame of an object turned, scaled and moved at random; `chance` is uniform [4]."""
    angle = between(chance[0], (-rotation, rotation))
    size = between(chance[1], scale)
    move = between(chance[2:4], (-offset, offset))
    x, y = grid()
    x, y = (x - move[0]) / size, (y - move[1]) / size
    return x * jnp.cos(angle) + y * jnp.sin(angle), y * jnp.cos(angle) - x * jnp.sin(angle)


def cover(distance: jax.Array, *, softness: float = 1.0) -> jax.Array:
    """Share of each pixel inside a shape, in [0, 1], from its signed distance."""
    return jnp.clip(0.5 - distance / (PIXEL * softness), 0.0, 1.0)


def ellipse(x: jax.Array, y: jax.Array, cx: Any, cy: Any, rx: Any, ry: Any) -> jax.Array:
    """Signed distance (first order) of an upright ellipse."""
    radius = jnp.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + 1e-9)
    slope = jnp.sqrt(((x - cx) / rx**2) ** 2 + ((y - cy) / ry**2) ** 2 + 1e-9)
    return radius * (radius - 1.0) / slope


def segment(x: jax.Array, y: jax.Array, ax: Any, ay: Any, bx: Any, by: Any) -> jax.Array:
    """Distance to the line from (ax, ay) to (bx, by); subtract half a width to get a stroke."""
    dx, dy = bx - ax, by - ay
    along = jnp.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return jnp.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2 + 1e-9)


def triangle(x: jax.Array, y: jax.Array, a: tuple, b: tuple, c: tuple) -> jax.Array:
    """Signed distance (from its three lines) of a triangle with corners in clockwise order on the screen."""
    sides = []
    for (px, py), (qx, qy) in ((a, b), (b, c), (c, a)):
        dx, dy = qx - px, qy - py
        sides.append(((x - px) * -dy + (y - py) * dx) / -((dx * dx + dy * dy) ** 0.5))
    return jnp.maximum(jnp.maximum(sides[0], sides[1]), sides[2])


def paint(image: jax.Array, mask: jax.Array, colour: jax.Array) -> jax.Array:
    """Put `colour` ([3] or [SIZE, SIZE, 3]) over the image where the mask is 1."""
    return image + mask[..., None] * (jnp.broadcast_to(colour, image.shape) - image)


def background(chance: jax.Array, shift: jax.Array) -> jax.Array:
    """A colour gradient with soft patches, darker, warmer and busier if shifted; `chance` is uniform [25]."""
    x, y = grid()
    ends = chance[0:6].reshape(2, 3)
    warm = jnp.array([[0.75, 0.5, 0.3]]) * between(ends, (0.3, 1.0))
    ends = jnp.where(shift, warm, between(ends, (0.45, 0.90)))
    direction = 2 * jnp.pi * chance[6]
    ramp = jax.nn.sigmoid(2.0 * (x * jnp.cos(direction) + y * jnp.sin(direction)))[..., None]
    waves = between(chance[7:13], (-1.0, 1.0)).reshape(3, 2) * jnp.where(shift, 7.0, 4.0)
    phases, tints = 2 * jnp.pi * chance[13:16], normal(chance[16:25]).reshape(3, 3) * jnp.where(shift, 0.06, 0.03)
    image = ends[:1, None] * (1.0 - ramp) + ends[1:, None] * ramp
    for wave, phase, tint in zip(waves, phases, tints, strict=True):
        image = image + jnp.sin(wave[0] * x + wave[1] * y + phase)[..., None] * tint[None, None]
    return image


def finish(image: jax.Array, chance: jax.Array, key: jax.Array, shift: jax.Array) -> jax.Array:
    """Light, the shift of contrast and brightness, pixel noise; uint8. `chance` is uniform [3], `key` for the noise."""
    image = image * between(chance[0], LIGHT)
    moved = 0.5 + between(chance[1], SHIFT_CONTRAST) * (image - 0.5) + between(chance[2], SHIFT_BRIGHTNESS)
    image = jnp.where(shift, moved, image) + NOISE * jax.random.normal(key, image.shape)
    return jnp.round(255.0 * jnp.clip(image, 0.0, 1.0)).astype(jnp.uint8)


def render(
    draw: Callable[..., jax.Array], key: jax.Array, attributes: Mapping[str, np.ndarray], *, shift: bool
) -> np.ndarray:
    """Draw one picture per row; row i depends on its attributes, `fold_in(key, i)` and `shift` only.

    Args:
      draw: a jitted function (keys [CHUNK], attributes of [CHUNK], shift) -> uint8 [CHUNK, SIZE, SIZE, 3].
      key: typed PRNG key.
      attributes: int arrays [N], passed on by name.
      shift: draw with another background, contrast and brightness.

    Returns:
      uint8 [N, SIZE, SIZE, 3].
    """
    rows = len(next(iter(attributes.values())))
    parts = []
    for start in range(0, rows, CHUNK):
        index = np.minimum(np.arange(start, start + CHUNK), rows - 1)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
        part = draw(keys, {name: values[index] for name, values in attributes.items()}, np.bool_(shift))
        parts.append(np.asarray(part))
    return np.concatenate(parts)[:rows]
