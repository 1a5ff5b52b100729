"""Losses: matrix completion, validity of tables, expert answers, noise-aware training."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

VALIDITY_WEIGHT = 1e4


def matrix_completion_loss(z: ArrayLike, inverse: ArrayLike, across: ArrayLike) -> jax.Array:
    """Squared cross-group residual of the inverse covariance, `sum_Omega ((S^-1 + z z^T)_ij)^2`.

    Args:
        z: `(d,)`, one number for each joint vote but the references.
        inverse: `(d, d)`, (pseudo-)inverse of the covariance of the indicators.
        across: `(d, d)`, 1 where a pair stands in different groups, 0 elsewhere.

    Returns:
        Scalar, 0 or more.

    Example:
        >>> float(matrix_completion_loss([1.0, 2.0], [[5.0, -2.0], [-2.0, 7.0]], [[0, 1], [1, 0]]))
        0.0

    Source:
        Active WeaSuL, Eq. 1 (the norm is squared here).
    """
    z = jnp.asarray(z)
    return jnp.sum(jnp.asarray(across) * (jnp.asarray(inverse) + z[:, None] * z[None, :]) ** 2)


def validity_penalty(tables: ArrayLike) -> jax.Array:
    """How far entries of probability tables stray from `[0, 1]`: `1e4 (sum relu(-T)^2 + relu(T - 1)^2)`.

    Args:
        tables: Entries `P(v | y)` of any shape.

    Returns:
        Scalar, 0 where all entries are probabilities.

    Example:
        >>> float(validity_penalty([0.2, 1.0, -0.25]))
        625.0
    """
    tables = jnp.asarray(tables)
    return VALIDITY_WEIGHT * jnp.sum(jax.nn.relu(-tables) ** 2 + jax.nn.relu(tables - 1) ** 2)


def expert_penalty(probs: ArrayLike, answers: ArrayLike) -> jax.Array:
    """Distance of bucket probabilities from expert answers, `sum_b sum_y n_by |p_b - e_y|^2 / 2`.

    With two classes that is `sum_i (p_i - y_i)^2` over the labelled rows i.

    Args:
        probs: `(B, C)` class probabilities of buckets.
        answers: `(B, C)`, how often experts gave class y for bucket b; 0 everywhere for padding.

    Returns:
        Scalar.

    Example:
        >>> round(float(expert_penalty([[0.75, 0.25]], [[0, 2]])), 4)
        1.125

    Source:
        Active WeaSuL, Eq. 4, for any number of classes.
    """
    probs, answers = jnp.asarray(probs), jnp.asarray(answers)
    length = jnp.sum(probs**2, -1, keepdims=True)
    return 0.5 * jnp.sum(answers * (length - 2 * probs + 1))


def noise_aware_cross_entropy(logits: ArrayLike, probs: ArrayLike) -> jax.Array:
    """Expected cross-entropy under class probabilities, `-sum_y p_y log softmax(logits)_y`.

    Args:
        logits: `(..., C)`.
        probs: `(..., C)`, what a label model says.

    Returns:
        `(...)`, one loss for each row.

    Example:
        >>> round(float(noise_aware_cross_entropy([0.0, 0.0], [0.3, 0.7])), 4)
        0.6931
    """
    return -jnp.sum(jnp.asarray(probs) * jax.nn.log_softmax(jnp.asarray(logits)), -1)
