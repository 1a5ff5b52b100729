"""The deep head with dropout of the slides' single-domain models."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

__all__ = ["DropoutHead"]


class DropoutHead(nn.Module):
    """Fully connected layers with ReLU and dropout: ``(..., F)`` features to ``(..., C)`` logits.

    Attributes:
      num_classes: ``C``. hidden: width of the hidden layers. layers: of all kinds; 6 are 5 hidden ones and the output.
      rate: share of hidden units dropped in training, that is, where ``apply`` gets ``rngs={"dropout": key}``.

    Example:
      >>> head = DropoutHead(num_classes=7, hidden=16)
      >>> out, params = jax.eval_shape(head.init_with_output, jax.random.key(0), jnp.ones((2, 4)))
      >>> out.shape, len(params["params"])
      ((2, 7), 6)

    Source: the slides' baseline model ("6-layer FC classifier, dropout"), which give no widths and no rate.
    """

    num_classes: int
    hidden: int = 256
    layers: int = 6
    rate: float = 0.2

    @nn.compact
    def __call__(self, features: ArrayLike) -> jax.Array:
        """Features ``(..., F)`` to logits ``(..., C)``."""
        x = jnp.asarray(features)
        for _ in range(self.layers - 1):
            x = nn.relu(nn.Dense(self.hidden)(x))
            x = nn.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(x)
        return nn.Dense(self.num_classes)(x)
