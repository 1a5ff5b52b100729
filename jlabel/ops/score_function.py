"""The score-function (REINFORCE) estimator as a loss whose gradient is the estimate."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

__all__ = ["Baseline", "leave_one_out_baseline", "score_function_loss"]

Baseline = Literal["none", "moving_average", "leave_one_out"]


def leave_one_out_baseline(rewards: ArrayLike) -> jax.Array:
    """Mean reward of the other samples of the same row, ``b_k = (sum_j r_j - r_k) / (K - 1)``.

    Independent of sample ``k``, so subtracting it leaves the gradient unbiased.

    Args:
      rewards: ``[K, ...]`` with ``K >= 2`` samples of each row.

    Returns:
      ``[K, ...]`` baselines.

    Example:
      >>> import numpy as np
      >>> rewards = np.array([1., 0., .5, .5])
      >>> print(np.asarray(rewards - leave_one_out_baseline(rewards)).round(3))
      [ 0.667 -0.667  0.     0.   ]

    Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free".
    """
    rewards = jnp.asarray(rewards)
    if rewards.ndim < 1 or rewards.shape[0] < 2:
        raise ValueError(f"rewards of shape {rewards.shape}: leave-one-out needs at least 2 samples on the first axis")
    return (rewards.sum(0, keepdims=True) - rewards) / (rewards.shape[0] - 1)


def score_function_loss(
    log_probs: ArrayLike,
    rewards: ArrayLike,
    *,
    baseline: Baseline = "leave_one_out",
    moving_average: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    """Loss whose gradient is the score-function estimate of the gradient of the negative expected reward.

    ``loss = -mean_{k,b} stop(r_kb - b) log p_kb``, so that ``E[grad loss] = -grad E[r]`` when the samples come
    from ``p``.

    Args:
      log_probs: ``[K, B]`` log-probabilities of the sampled actions (of whole paths, say), differentiable.
      rewards: ``[K, B]``; no gradient flows through them.
      baseline: ``"none"`` (b = 0), ``"moving_average"`` (b = the given scalar), or ``"leave_one_out"`` (needs K >= 2).
      moving_average: scalar for ``baseline="moving_average"``; no gradient flows through it.
      weights: ``[B]``, a weight for each row's mean over its samples (0 leaves a row out); the sum is divided by ``B``.

    Returns:
      Scalar.

    Raises:
      ValueError: on differing shapes, an unknown baseline, or a missing moving average.

    Example:
      >>> import jax, numpy as np
      >>> loss = lambda z: score_function_loss(jax.nn.log_softmax(z)[:1, None], np.array([[1.]]),
      ...                                      baseline="moving_average", moving_average=0.5)
      >>> print(jax.grad(loss)(np.array([0., 0.])))
      [-0.25  0.25]

    Source: Williams 1992; Eq. 5 of "dataset joining with label graphs" with the dropped gradient-of-log restored.
    """
    log_probs, rewards = jnp.asarray(log_probs), jax.lax.stop_gradient(jnp.asarray(rewards))
    if log_probs.shape != rewards.shape or log_probs.ndim != 2:
        raise ValueError(f"log_probs {log_probs.shape} and rewards {rewards.shape} must both be [K, B]")
    if baseline == "leave_one_out":
        advantages = rewards - leave_one_out_baseline(rewards)
    elif baseline == "moving_average":
        if moving_average is None:
            raise ValueError('baseline="moving_average" needs the scalar moving_average')
        advantages = rewards - jax.lax.stop_gradient(jnp.asarray(moving_average, rewards.dtype))
    elif baseline == "none":
        advantages = rewards
    else:
        raise ValueError(f'baseline={baseline!r}: choose "none", "moving_average" or "leave_one_out"')
    per_row = -(advantages * log_probs).mean(0)
    return per_row.mean() if weights is None else (per_row * jnp.asarray(weights)).mean()
