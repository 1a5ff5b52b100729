"""The end model: a small perceptron that learns from class probabilities."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

__all__ = ["EndModel"]


class EndModel(nn.Module):
    """Hidden layers with ReLU and a linear layer of class scores: `(B, D) -> (B, C)` logits.

    Attributes:
        num_classes: C.
        hidden: Width of each hidden layer; two of them make the three-layer network of the papers, none is logistic
            regression.

    Example:
        >>> model = EndModel(num_classes=2, hidden=(32, 32))
        >>> features = jnp.zeros((5, 8))
        >>> model.apply(model.init(jax.random.key(0), features), features).shape
        (5, 2)
    """

    num_classes: int = 2
    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, features: ArrayLike) -> jax.Array:
        """Features `(B, D)` to logits `(B, C)`."""
        x = jnp.asarray(features)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)
