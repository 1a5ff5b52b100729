"""Random changes to a batch of pictures, on the device and inside `jit`."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.errors import InputError


def augment(
    images: ArrayLike,
    key: jax.Array,
    *,
    flip: bool = True,
    shift: int = 4,
    brightness: float = 0.2,
    contrast: float = 0.2,
) -> jax.Array:
    """Mirrors, shifts and re-lights every picture of a batch on its own.

    Args:
      images: uint8 [B, H, W, 3].
      key: typed PRNG key.
      flip: mirror half of the pictures left to right.
      shift: largest move in pixels, see `random_shift`; 0 for none.
      brightness: see `jitter_color`.
      contrast: see `jitter_color`.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      InputError: not uint8 [B, H, W, 3], or a strength out of range.

    Example:
      >>> augment(jnp.zeros((2, 8, 8, 3), jnp.uint8), jax.random.key(0)).shape
      (2, 8, 8, 3)
    """
    flip_key, shift_key, color_key = jax.random.split(key, 3)
    images = _checked(images)
    if flip:
        images = random_flip(images, flip_key)
    if shift:
        images = random_shift(images, shift_key, pixels=shift)
    if brightness or contrast:
        images = jitter_color(images, color_key, brightness=brightness, contrast=contrast)
    return images


def random_flip(images: ArrayLike, key: jax.Array) -> jax.Array:
    """Mirrors each picture left to right with probability 1/2.

    Args:
      images: uint8 [B, H, W, 3].
      key: typed PRNG key.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      InputError: not uint8 [B, H, W, 3].

    Example:
      >>> pictures = jnp.arange(3, dtype=jnp.uint8)[None, None, :, None] * jnp.ones((8, 1, 1, 3), jnp.uint8)
      >>> sorted(set(map(tuple, random_flip(pictures, jax.random.key(0))[:, 0, :, 0].tolist())))
      [(0, 1, 2), (2, 1, 0)]
    """
    images = _checked(images)
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def random_shift(images: ArrayLike, key: jax.Array, *, pixels: int = 4) -> jax.Array:
    """Moves each picture by up to `pixels` along both axes; its border is repeated into the gap.

    Args:
      images: uint8 [B, H, W, 3].
      key: typed PRNG key.
      pixels: largest move, at least 0; each move from -pixels to pixels is equally likely.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      InputError: not uint8 [B, H, W, 3], or `pixels` below 0.

    Example:
      >>> random_shift(jnp.full((2, 8, 8, 3), 7, jnp.uint8), jax.random.key(0), pixels=2).min().item()
      7
    """
    images = _checked(images)
    if pixels < 0:
        raise InputError(f"pixels={pixels} must be at least 0")
    starts = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    return jax.vmap(lambda picture, start: jax.lax.dynamic_slice(picture, (start[0], start[1], 0), images.shape[1:]))(
        padded, starts
    )


def jitter_color(images: ArrayLike, key: jax.Array, *, brightness: float = 0.2, contrast: float = 0.2) -> jax.Array:
    """Changes brightness and contrast of each picture.

    x' = clip(m + c (x - m) + 255 b), m the picture's mean, b uniform in [-brightness, brightness], c uniform in
    [1 - contrast, 1 + contrast].

    Args:
      images: uint8 [B, H, W, 3].
      key: typed PRNG key.
      brightness: in [0, 1].
      contrast: in [0, 1].

    Returns:
      uint8 [B, H, W, 3], rounded.

    Raises:
      InputError: not uint8 [B, H, W, 3], or a strength outside [0, 1].

    Example:
      >>> jitter_color(jnp.full((1, 2, 2, 3), 9, jnp.uint8), jax.random.key(0), brightness=0.0).max().item()
      9
    """
    images = _checked(images)
    for name, value in (("brightness", brightness), ("contrast", contrast)):
        if not 0 <= value <= 1:
            raise InputError(f"{name}={value} must lie in [0, 1]")
    light_key, contrast_key = jax.random.split(key)
    shape = (len(images), 1, 1, 1)
    light = jax.random.uniform(light_key, shape, minval=-brightness, maxval=brightness)
    factor = jax.random.uniform(contrast_key, shape, minval=1 - contrast, maxval=1 + contrast)
    values = images.astype(jnp.float32)
    mean = values.mean((1, 2, 3), keepdims=True)
    changed = mean + factor * (values - mean) + 255 * light
    return jnp.round(jnp.clip(changed, 0, 255)).astype(jnp.uint8)


def _checked(images: ArrayLike) -> jax.Array:
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"images are {images.dtype} {images.shape}; expected uint8 [B, H, W, 3]")
    return images
