"""ResNet-18 with group or batch normalisation."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.networks.convolution import Conv
from jlabel.networks.group_norm import GroupNorm
from jlabel.networks.pooling import max_pool

__all__ = ["ResNet18"]

_WIDTHS = (64, 128, 256, 512)
_he_init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")
_conv = partial(Conv, use_bias=False, kernel_init=_he_init)


class _BasicBlock(nn.Module):
    width: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        steps, edge = (self.stride, self.stride), ((1, 1), (1, 1))
        y = _conv(self.width, (3, 3), strides=steps, padding=edge, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = _conv(self.width, (3, 3), padding=edge, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        if x.shape != y.shape:
            x = self.norm(name="norm3")(_conv(self.width, (1, 1), strides=steps, name="conv3")(x))
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """ResNet-18 without its last layer: [B, H, W, 3] -> [B, 512].

    Attributes:
      norm: "group" (32 groups, no dependence on the batch, no state) or "batch" (running averages in the collection
        `batch_stats`, momentum .9: initialise, pass `mutable=["batch_stats"]` in training, and hand the collection to
        `jlabel.training.fit` as `state`).

    Example:
      >>> net = ResNet18()
      >>> images = jnp.zeros((1, 32, 32, 3))
      >>> jax.eval_shape(net.init_with_output, jax.random.key(0), images)[0].shape
      (1, 512)

    Source: He et al. 2016, arXiv:1512.03385, Table 1.
    """

    norm: Literal["group", "batch"] = "group"

    @nn.compact
    def __call__(self, images: ArrayLike, *, train: bool = False) -> jax.Array:
        """Normalised images [B, H, W, 3] -> features [B, 512]; `train` matters to batch norm only."""
        norm: Callable[..., nn.Module] = partial(GroupNorm, num_groups=32, epsilon=1e-5)
        if self.norm == "batch":
            norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        x = _conv(64, (7, 7), strides=(2, 2), padding=((3, 3), (3, 3)), name="conv")(images)
        x = nn.relu(norm(name="norm")(x))
        x = max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for i, width in enumerate(_WIDTHS):
            for j in range(2):
                x = _BasicBlock(width, 2 if i > 0 and j == 0 else 1, norm, name=f"block{i + 1}_{j + 1}")(x)
        return jnp.mean(x, (1, 2))
