"""The loss of a label chain."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.amalgamation.chain import ChainOutput
from jlabel.amalgamation.checks import AmalgamationError, check_choice

__all__ = ["LOSSES", "chain_loss"]

LOSSES = ("steps", "final")


def chain_loss(
    output: ChainOutput, targets: ArrayLike, *, over: str = "steps", weights: ArrayLike | None = None
) -> jax.Array:
    """Binary cross-entropy of a chain's logits against targets, the mean over rows, labels and steps.

    ``-t log sigmoid(l) - (1 - t) log sigmoid(-l)``, with ``over="steps"`` of every ``l_k`` against the same ``t``, with
    ``"final"`` of the final logits alone (Eq. 11).

    Args:
      output: of a chain for B rows. targets: ``(B, L)``, probabilities in [0, 1]. over: "steps" or "final". weights:
        ``(B,)``, at least 0, of the rows; none: all alike. Rows of weight 0 do not count.

    Returns:
      A scalar.

    Raises:
      AmalgamationError: an unknown ``over``, or shapes that do not fit.

    Example:
      >>> logits = jnp.zeros((1, 1, 1))
      >>> output = ChainOutput(logits[0], logits, jnp.zeros((1, 1), int), logits)
      >>> round(float(chain_loss(output, [[0.5]])), 4)
      0.6931

    Source: Thadajarassiri et al. 2023, Eq. 11.
    """
    check_choice("over", over, LOSSES)
    wanted = jnp.asarray(targets, output.final_logits.dtype)
    if wanted.shape != output.final_logits.shape:
        raise AmalgamationError(f"targets have shape {wanted.shape}, the chain's logits {output.final_logits.shape}")
    if over == "steps":
        logits, wanted = output.step_logits, wanted[:, None]
    else:
        logits, wanted = output.final_logits[:, None], wanted[:, None]
    # One exponential for both log-sigmoids. Not `jnp.maximum`: at 0 its gradient is .5, where that of `jnp.abs` is 1.
    losses = jnp.where(logits < 0, 0, logits) - logits * wanted + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    losses = jnp.mean(losses, axis=(1, 2))
    if weights is None:
        return jnp.mean(losses)
    weight = jnp.asarray(weights, losses.dtype)
    return jnp.sum(weight * losses) / jnp.maximum(jnp.sum(weight), jnp.finfo(losses.dtype).tiny)
