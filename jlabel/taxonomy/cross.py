"""What each domain's model says of the other domains' rows."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from scipy import sparse

from jlabel.taxonomy.checks import TaxonomyError, check_count, check_labels, check_probs


def cross_counts(labels: ArrayLike, predictions: ArrayLike, *, num_classes: int, num_predicted: int) -> np.ndarray:
    """Counts rows by the class they have and the class another domain's model gives them.

    ``M(i, j) = #{rows of class i that the model puts in j}``; of probabilities, the first largest is the prediction.

    Args:
      labels: integers ``(N,)`` in ``[0, num_classes)``, the rows' classes in their own domain.
      predictions: integers ``(N,)`` in ``[0, num_predicted)``, or probabilities ``(N, num_predicted)``.
      num_classes: C_a, classes of the rows' domain; never read off the data.
      num_predicted: C_b, classes of the model's domain, 2 or more.

    Returns:
      int64 ``(C_a, C_b)``.

    Raises:
      TaxonomyError: labels or predictions out of range, differing lengths, bad probabilities.

    Example:
      >>> cross_counts([0, 0, 1], [2, 1, 2], num_classes=2, num_predicted=3).tolist()
      [[0, 1, 1], [0, 0, 1]]
    """
    given, said = _check(labels, predictions, num_classes, num_predicted)
    said = said.argmax(1) if said.ndim == 2 else said
    return np.bincount(given * num_predicted + said, minlength=num_classes * num_predicted).reshape(num_classes, -1)


def cross_predictions(
    labels: ArrayLike, predictions: ArrayLike, *, num_classes: int, num_predicted: int, soft: bool = False
) -> np.ndarray:
    """The share of each class's rows that another domain's model puts in each of its own classes.

    ``P(i, j) = M(i, j) / sum_k M(i, k)``, k over the C_b predicted classes; with ``soft=True`` the mean of
    the model's probabilities over the rows of class i. Use training or validation rows, never rows scored later.

    Args:
      labels: integers ``(N,)`` in ``[0, num_classes)``, the rows' classes in their own domain.
      predictions: integers ``(N,)`` in ``[0, num_predicted)``, or probabilities ``(N, num_predicted)``.
      num_classes: C_a, classes of the rows' domain; never read off the data.
      num_predicted: C_b, classes of the model's domain, 2 or more.
      soft: average the probabilities instead of counting the most probable classes.

    Returns:
      float32 ``(C_a, C_b)``; rows sum to 1, or to 0 for a class without rows (a UserWarning names it).

    Raises:
      TaxonomyError: labels or predictions out of range, differing lengths, bad probabilities, ``soft`` without any.

    Example:
      >>> cross_predictions([0, 0, 1], [2, 1, 2], num_classes=2, num_predicted=3).tolist()
      [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]

    Source: slides, Eq. 1, whose sum runs to C_a: a misprint.
    """
    if soft:
        given, said = _check(labels, predictions, num_classes, num_predicted)
        if said.ndim == 1:
            raise TaxonomyError(
                "soft=True averages probabilities, but predictions are classes: give (N, num_predicted)"
            )
        rows = np.arange(len(given))
        sums = sparse.csr_array((np.ones(len(given)), (given, rows)), shape=(num_classes, len(given))) @ said
    else:
        sums = cross_counts(labels, predictions, num_classes=num_classes, num_predicted=num_predicted)
    totals = sums.sum(1, keepdims=True)
    absent = np.flatnonzero(totals == 0)
    if len(absent):
        shown = ", ".join(map(str, absent[:8].tolist())) + (", ..." if len(absent) > 8 else "")
        warnings.warn(f"{len(absent)} of {num_classes} classes have no row, so no edges go out: {shown}", stacklevel=2)
    return np.divide(sums, totals, out=np.zeros(sums.shape), where=totals > 0).astype(np.float32)


def pair_sizes(pairs: Mapping[tuple[int, int], ArrayLike]) -> list[int]:
    """The classes of each domain, from the rows of the pairs' matrices."""
    domains = {a for pair in pairs if isinstance(pair, tuple) for a in pair}
    if set(pairs) != {(a, b) for a in range(len(domains)) for b in range(len(domains)) if a != b} or not pairs:
        raise TaxonomyError(
            f"pairs have the keys {sorted(pairs, key=repr)}; give one (a, b) for all a != b of two or more domains, "
            "numbered from 0"
        )
    sizes = {a: np.shape(matrix)[0] if np.ndim(matrix) else 0 for (a, _), matrix in pairs.items()}
    return [sizes[a] for a in range(len(sizes))]


def assemble(
    blocks: Mapping[tuple[int, int], np.ndarray], sizes: Sequence[int], within: float | bool = 0
) -> np.ndarray:
    """One matrix ``(V, V)`` of the pairs' blocks ``(C_a, C_b)``, with another value within the domains."""
    starts = np.cumsum([0, *sizes])
    whole = np.full((starts[-1], starts[-1]), within, next(iter(blocks.values())).dtype)
    for (a, b), block in blocks.items():
        whole[starts[a] : starts[a + 1], starts[b] : starts[b + 1]] = block
    return whole


def _check(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int, num_predicted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 ``(N,)``; predictions int64 ``(N,)`` or float64 ``(N, C_b)``."""
    check_count("num_classes", num_classes, low=1)
    if check_count("num_predicted", num_predicted, low=1) < 2:
        raise TaxonomyError("num_predicted is 1: a model of one class is always sure, so its predictions say nothing")
    given = check_labels("labels", labels, num_classes)
    said = np.asarray(predictions)
    if said.ndim == 2:
        said = check_probs("predictions", said, zero_rows=False)
        if said.shape[1] != num_predicted:
            raise TaxonomyError(f"predictions have {said.shape[1]} columns, num_predicted is {num_predicted}")
    else:
        said = check_labels("predictions", said, num_predicted)
    if len(given) != len(said):
        raise TaxonomyError(f"labels has {len(given)} rows, predictions {len(said)}: give one prediction for each row")
    return given, said
