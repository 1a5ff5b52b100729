"""Heads on features: over universal classes, and the slides' deep one."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import TaxonomyError, check_choice

__all__ = ["HEADS", "DropoutHead", "HeadKind", "UniversalHead", "make_head"]

HeadKind = Literal["mlp", "linear", "dropout"]
HEADS: tuple[HeadKind, ...] = ("mlp", "linear", "dropout")


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


def make_head(kind: str, num_classes: int, hidden: int) -> nn.Module:
    """The network on the features: "mlp" (two layers, no dropout), "linear", or "dropout", the slides' six layers.

    Args:
      kind: one of `HEADS`. num_classes: outputs. hidden: width of hidden layers.

    Returns:
      A Flax module.

    Raises:
      TaxonomyError: an unknown kind.

    Example:
      >>> make_head("linear", 3, 64).kind
      'linear'
    """
    check_choice("kind", kind, HEADS)
    if kind == "dropout":
        return DropoutHead(num_classes=num_classes, hidden=hidden)
    return UniversalHead(num_classes=num_classes, kind=kind, hidden=hidden)
