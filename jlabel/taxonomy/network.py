"""The head over universal classes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import TaxonomyError

__all__ = ["UniversalHead"]


class UniversalHead(nn.Module):
    """One output layer for all domains: ``(..., F)`` features to ``(..., U)`` logits.

    Attributes:
      num_classes: ``U``. kind: ``"mlp"``, a hidden layer with ReLU and the output layer, without dropout, or
        ``"linear"``, the output layer alone. hidden: width of the hidden layer.

    Example:
      >>> head = UniversalHead(num_classes=7, hidden=16)
      >>> params = jax.jit(head.init)(jax.random.key(0), jnp.zeros((1, 4)))
      >>> head.apply(params, jnp.ones((2, 4))).shape
      (2, 7)

    Source: the slides' universal model.
    """

    num_classes: int
    kind: str = "mlp"
    hidden: int = 256

    @nn.compact
    def __call__(self, features: ArrayLike) -> jax.Array:
        """Features ``(..., F)`` to logits ``(..., U)``."""
        if self.kind not in ("mlp", "linear"):
            raise TaxonomyError(f"kind is {self.kind!r}; choose 'mlp' or 'linear'")
        x = jnp.asarray(features)
        if self.kind == "mlp":
            x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.num_classes)(x)
