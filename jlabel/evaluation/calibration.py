"""Calibration: are rows given 80 % right in 80 % of cases, and one temperature to mend it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import optimize, special

from jlabel.errors import InputError
from jlabel.evaluation.checks import as_floats, as_labels, as_rows, same_length


class ReliabilityBins(NamedTuple):
    """Rows binned by confidence; arrays `[bins]`, means of empty bins are NaN."""

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> ReliabilityBins:
    """Bins rows by confidence and compares mean confidence with accuracy in each bin.

    `error = sum_b (n_b / N) |acc_b - conf_b|`, the expected calibration error.

    Args:
        confidence: `[N]` probability of the predicted label, in [0, 1].
        correct: `[N]` booleans: was the prediction right.
        bins: Number of bins; a bin holds its upper edge.
        binning: `"width"`, equal widths on [0, 1]; or `"mass"`, edges at its quantiles (ties stay together).

    Returns:
        `ReliabilityBins`.

    Raises:
        InputError: A confidence outside [0, 1], unknown binning, or lengths that differ.

    Example:
        >>> reliability_bins([0.9, 0.8, 0.3, 0.2], [True, True, False, True], bins=2).rows.tolist()
        [2, 2]

    Source: Guo et al., "On calibration of modern neural networks", 2017, eq. 3.
    """
    if bins < 1:
        raise InputError(f"bins must be 1 or more, got {bins}")
    values = as_floats("confidence", confidence)
    right = as_rows("correct", correct).astype(np.float64)
    same_length(confidence=values, correct=right)
    outside = (values < -1e-6) | (values > 1 + 1e-4)  # float32 rounding passes
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"confidence[{row}] is {values[row]:g}; probabilities lie in [0, 1] (exponentiate log probs)")
    values = np.clip(values, 0, 1)
    if binning == "width":
        edges = np.linspace(0, 1, bins + 1)
    elif binning == "mass":
        edges = np.concatenate([[0], np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]), [1]])
    else:
        raise InputError(f"binning must be 'width' or 'mass', got {binning!r}")
    ids = np.searchsorted(edges[1:-1], values, side="left")
    count = np.bincount(ids, minlength=bins)
    safe = np.maximum(count, 1)
    empty = count == 0
    # sorted within a bin, so that the order of the rows cannot change a rounding
    order = np.lexsort((right, values))
    sums = [np.bincount(ids[order], weights=w[order], minlength=bins) / safe for w in (values, right)]
    mean_confidence, mean_correct = (np.where(empty, np.nan, s) for s in sums)
    error = float(np.sum(count * np.abs(sums[0] - sums[1])) / len(values))
    return ReliabilityBins(edges[:-1], edges[1:], count, mean_confidence, mean_correct, error)


def calibration_error(probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width") -> float:
    """Expected calibration error of the top class: mean gap between confidence and accuracy.

    Args:
        probs: `[N, C]` probabilities; rows may sum to less than 1.
        labels: `[N]` true class indices.
        bins: Number of bins.
        binning: `"width"` or `"mass"`, see `reliability_bins`.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: As `reliability_bins`.

    Example:
        >>> round(calibration_error([[0.8, 0.2], [0.8, 0.2]], [0, 1]), 3)
        0.3
    """
    values = as_floats("probs", probs, ndim=2)
    truth = as_labels("labels", labels, high=values.shape[1])
    same_length(probs=values, labels=truth)
    return reliability_bins(values.max(axis=1), values.argmax(axis=1) == truth, bins=bins, binning=binning).error


def fit_temperature(log_probs: ArrayLike, labels: ArrayLike, *, low: float = 0.05, high: float = 20.0) -> float:
    """Finds the T that minimises the mean of `-log_softmax(log_probs / T)[label]`.

    The loss is convex in 1 / T, so a bounded search finds the minimum in `[low, high]`. Fit it on validation rows.

    Args:
        log_probs: `[N, C]` log probabilities or logits; -inf allowed (a label whose own entry is -inf says nothing
            about T, and its row is left out).
        labels: `[N]` true class indices.
        low: Smallest temperature tried, above 0 (the answer where every row is right).
        high: Largest temperature tried.

    Returns:
        T; above 1 where the model was too sure.

    Raises:
        InputError: NaN or +inf, bad bounds, or no row whose label has a finite entry.

    Example:
        >>> log_probs = np.log([[0.99, 0.01]] * 4)  # 99 % sure, right in 3 of 4
        >>> temperature = fit_temperature(log_probs, [0, 0, 0, 1])
        >>> round(float(jnp.exp(apply_temperature(log_probs, temperature))[0, 0]), 3)
        0.75

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2.
    """
    values = as_floats("log_probs", log_probs, ndim=2, finite=False)
    truth = as_labels("labels", labels, high=values.shape[1])
    same_length(log_probs=values, labels=truth)
    if not 0 < low < high < np.inf:
        raise InputError(f"bounds must satisfy 0 < low < high, got low={low}, high={high}")
    if np.isposinf(values).any():
        row, column = np.argwhere(np.isposinf(values))[0]
        raise InputError(f"log_probs[{row}, {column}] is +inf: log probabilities and logits are finite or -inf")
    own = values[np.arange(len(truth)), truth]
    keep = np.isfinite(own)
    if not keep.any():
        raise InputError("log_probs gives every label probability 0 (-inf): no temperature can be fitted")
    gaps = values[keep] - own[keep, None]  # the loss of a row is logsumexp(gaps / T)

    def loss(log_temperature: float) -> float:
        return float(np.mean(special.logsumexp(gaps / np.exp(log_temperature), axis=1)))

    found = optimize.minimize_scalar(
        loss, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


def apply_temperature(log_probs: ArrayLike, temperature: float) -> jax.Array:
    """Rescales log probabilities: `log_softmax(log_probs / temperature)`.

    Args:
        log_probs: `[..., C]` log probabilities or logits; -inf stays -inf.
        temperature: Above 0; 1 only normalises.

    Returns:
        `[..., C]` log probabilities.

    Raises:
        InputError: A temperature that is not above 0.

    Example:
        >>> probs = jnp.exp(apply_temperature(jnp.log(jnp.array([0.8, 0.2])), 2.0))
        >>> bool(jnp.allclose(probs, jnp.array([2 / 3, 1 / 3])))
        True
    """
    if not 0 < temperature < np.inf:
        raise InputError(f"temperature must be above 0 and finite, got {temperature}")
    return jax.nn.log_softmax(jnp.asarray(log_probs) / temperature, axis=-1)
