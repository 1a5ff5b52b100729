"""What a table teaches without labels: fill in what is hidden, or find what was exchanged."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.tabular.checks import TabularError, check_number

__all__ = [
    "entropy_loss",
    "gaussian_kl",
    "mask_codes",
    "mlm_loss",
    "pseudo_label_weight",
    "replace_codes",
    "rtd_loss",
    "squared_loss",
]


def mask_codes(
    key: jax.Array, codes: ArrayLike, *, cardinalities: Sequence[int], rate: float = 0.3
) -> tuple[jax.Array, jax.Array]:
    """Hide known cells: each with probability ``rate``, and at least one in a row that knows any.

    Where the draw hides none of a row's cells, the one nearest to it goes: that of the smallest random number. (A fixed
    count ``int(rate * m)`` would hide nothing in tables of up to three columns.)

    Args:
      key: typed PRNG key. codes: int ``(B, m)``, d_i for missing. cardinalities: d_i. rate: in (0, 1].

    Returns:
      Codes int32 ``(B, m)`` with d_i in the hidden cells, and bool ``(B, m)``, which cells were hidden.

    Raises:
      TabularError: a rate outside (0, 1], or shapes that do not fit.

    Example:
      >>> codes = jnp.array([[0, 2], [1, 3]])  # of 2 and 3 values: the last cell is missing in the data
      >>> hidden, masked = mask_codes(jax.random.key(0), codes, cardinalities=(2, 3), rate=1.0)
      >>> hidden.tolist(), masked.tolist()
      ([[2, 3], [2, 3]], [[True, True], [True, False]])
    """
    check_number("rate", rate, high=1.0, open_low=True)
    codes, sizes = _checked(codes, cardinalities)
    known = codes < sizes
    draw = jnp.where(known, jax.random.uniform(key, codes.shape), 2.0)
    masked = known & ((draw < rate) | (draw == draw.min(1, keepdims=True)))
    return jnp.where(masked, sizes, codes), masked


def replace_codes(
    key: jax.Array, codes: ArrayLike, *, cardinalities: Sequence[int], rate: float = 0.3, allow_same: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Exchange known cells, each with probability ``rate``, for a value of the same column drawn uniformly.

    It is drawn from the column's other values, so that every exchanged cell differs; columns of one value stay as they
    are.

    Args:
      key: typed PRNG key. codes: int ``(B, m)``, d_i for missing. cardinalities: d_i. rate: in (0, 1].
      allow_same: draw from all values, as the paper words it; a cell that got its own value again is not replaced.

    Returns:
      Codes int32 ``(B, m)`` after the exchange, and bool ``(B, m)``, which cells changed.

    Raises:
      TabularError: a rate outside (0, 1], or shapes that do not fit.

    Example:
      >>> codes = jnp.array([[0, 0], [1, 0]])  # of 2 and 1 values
      >>> changed, replaced = replace_codes(jax.random.key(0), codes, cardinalities=(2, 1), rate=1.0)
      >>> changed.tolist(), replaced.tolist()
      ([[1, 0], [0, 0]], [[True, False], [True, False]])
    """
    check_number("rate", rate, high=1.0, open_low=True)
    codes, sizes = _checked(codes, cardinalities)
    which, what = jax.random.split(key)
    chosen = (codes < sizes) & (jax.random.uniform(which, codes.shape) < rate)
    draw = jax.random.uniform(what, codes.shape)
    if allow_same:
        new = jnp.minimum((draw * sizes).astype(jnp.int32), sizes - 1)
    else:
        steps = jnp.minimum((draw * (sizes - 1)).astype(jnp.int32), sizes - 2) + 1  # 1 .. d_i - 1 values further
        new = jnp.where(sizes > 1, (codes + steps) % sizes, codes)
    changed = jnp.where(chosen, new, codes)
    return changed, changed != codes


def mlm_loss(logits: ArrayLike, codes: ArrayLike, masked: ArrayLike) -> jax.Array:
    """Cross-entropy of the hidden cells' values, averaged over hidden cells: -mean log softmax(logits)[code].

    Args:
      logits: ``(B, m, max d_i)``, -1e30 beyond d_i. codes: the true ones ``(B, m)``. masked: bool ``(B, m)``.

    Returns:
      A scalar in nats; 0 where nothing is hidden.

    Example:
      >>> logits = jnp.array([[[0.0, 0.0, -1e30, -1e30], [0.0, 0.0, 0.0, 0.0]]])
      >>> round(float(mlm_loss(logits, [[0, 3]], [[True, True]])), 4)  # (ln 2 + ln 4) / 2
      1.0397
    """
    logits, masked = jnp.asarray(logits), jnp.asarray(masked)
    # A cell that is missing in the data has no code among the logits, and no part in the loss.
    place = jnp.minimum(jnp.asarray(codes), logits.shape[-1] - 1)
    losses = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, place[..., None], -1)[..., 0]
    return jnp.sum(jnp.where(masked, losses, 0.0)) / jnp.maximum(jnp.sum(masked), 1)


def rtd_loss(logits: ArrayLike, replaced: ArrayLike, known: ArrayLike) -> jax.Array:
    """Binary cross-entropy of "replaced", averaged over known cells.

    Args:
      logits: ``(B, m)``. replaced: bool ``(B, m)``. known: bool ``(B, m)``, cells that are not missing in the data.

    Returns:
      A scalar in nats; 0 where nothing is known.

    Example:
      >>> round(float(rtd_loss([[0.0, 9.0]], [[True, True]], [[True, False]])), 4)
      0.6931
    """
    logits, known = jnp.asarray(logits), jnp.asarray(known)
    losses = jax.nn.softplus(jnp.where(jnp.asarray(replaced), -logits, logits))
    return jnp.sum(jnp.where(known, losses, 0.0)) / jnp.maximum(jnp.sum(known), 1)


def entropy_loss(logits: ArrayLike) -> jax.Array:
    """Mean entropy of the predicted classes, ``-mean_n sum_c p log p`` in nats, of logits ``(B, C)``.

    Example:
      >>> round(float(entropy_loss([[0.0, 0.0], [99.0, 0.0]])), 4)  # ln 2 / 2
      0.3466
    """
    logs = jax.nn.log_softmax(jnp.asarray(logits))
    return -jnp.mean(jnp.sum(jnp.exp(logs) * logs, -1))


def squared_loss(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Mean squared error of ``(B,)`` against ``(B,)``, or of ``(B, outputs)`` against the like.

    Raises:
      TabularError: shapes that differ; ``(B,)`` against ``(B, 1)`` would broadcast to all pairs.

    Example:
      >>> float(squared_loss([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]))
      0.0
    """
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise TabularError(f"predictions of shape {predictions.shape} against targets of shape {targets.shape}")
    return jnp.mean((predictions - targets) ** 2)


def pseudo_label_weight(step: ArrayLike, steps: int, *, most: float = 3.0) -> jax.Array:
    """Weight of pseudo-labels: 0 up to 10 % of training, then linear to ``most`` at 60 %, then constant.

    Example:
      >>> [float(pseudo_label_weight(step, 100)) for step in (0, 10, 35, 60, 99)]
      [0.0, 0.0, 1.5, 3.0, 3.0]
    """
    share = jnp.asarray(step) / steps
    return most * jnp.clip((share - 0.1) / 0.5, 0.0, 1.0)


def gaussian_kl(mean: ArrayLike, log_std: ArrayLike) -> jax.Array:
    """KL divergence of N(mean, std^2) from N(0, 1), elementwise: ``(mean^2 + std^2 - 1) / 2 - log std``.

    Example:
      >>> [round(float(gaussian_kl(mean, np.log(std))), 4) for mean, std in ((0.0, 0.5), (1.0, 1.0))]
      [0.3181, 0.5]
    """
    mean, log_std = jnp.asarray(mean), jnp.asarray(log_std)
    return (mean**2 + jnp.exp(2 * log_std) - 1) / 2 - log_std


def _checked(codes: ArrayLike, cardinalities: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    codes, sizes = jnp.asarray(codes), np.asarray(cardinalities, np.int32)
    if codes.ndim != 2 or sizes.shape != codes.shape[1:]:
        raise TabularError(f"codes of shape {codes.shape} do not fit {sizes.size} cardinalities; give (B, m) and m")
    return codes.astype(jnp.int32), jnp.asarray(sizes)[None]
