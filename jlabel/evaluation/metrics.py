"""Scores of predictions, on the host in float64.

Order of arguments: what the model said first, the truth second. A prediction of -1 means "none" and is wrong.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from sklearn import metrics as sklearn_metrics

from jlabel.errors import InputError
from jlabel.evaluation.checks import as_floats, as_labels, as_rows, same_length


class HierarchicalScores(NamedTuple):
    """Micro precision, recall and F1 of node sets, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def _pair(predicted: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    said, truth = as_labels("predicted", predicted, low=-1), as_labels("labels", labels)
    same_length(predicted=said, labels=truth)
    return said, truth


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of right rows, `mean(predicted == labels)`.

    Args:
        predicted: `[N]` class indices, -1 for no prediction (counts as wrong).
        labels: `[N]` true class indices, 0 or more.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: Empty, other lengths, not integers, or a label below 0.

    Example:
        >>> accuracy([0, 1, -1, 1], [0, 1, 1, 0])
        0.5
    """
    said, truth = _pair(predicted, labels)
    return float(np.mean(said == truth))


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Mean recall over the classes present in the truth.

    `mean_c sum_n [y_n = c and yhat_n = c] / sum_n [y_n = c]`, so every class counts alike.

    Args:
        predicted: `[N]` class indices, -1 for no prediction (counts as wrong).
        labels: `[N]` true class indices, 0 or more.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: As `accuracy`.

    Example:
        >>> balanced_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
        0.5
    """
    said, truth = _pair(predicted, labels)
    _, ids = np.unique(truth, return_inverse=True)
    return float(np.mean(np.bincount(ids, weights=said == truth) / np.bincount(ids)))


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, *, num_classes: int) -> np.ndarray:
    """Counts of (truth, prediction); the last column counts rows without a prediction.

    Args:
        predicted: `[N]` class indices below `num_classes`, -1 for no prediction.
        labels: `[N]` true class indices below `num_classes`.
        num_classes: C.

    Returns:
        int64 `[C, C + 1]`: row = truth, column = prediction, column C = none.

    Raises:
        InputError: As `accuracy`, or an index out of range.

    Example:
        >>> confusion_matrix([0, 1, -1], [0, 0, 1], num_classes=2).tolist()
        [[1, 1, 0], [0, 0, 1]]
    """
    said = as_labels("predicted", predicted, low=-1, high=num_classes)
    truth = as_labels("labels", labels, high=num_classes)
    same_length(predicted=said, labels=truth)
    column = np.where(said < 0, num_classes, said)
    size = num_classes * (num_classes + 1)
    return np.bincount(truth * (num_classes + 1) + column, minlength=size).reshape(num_classes, num_classes + 1)


def f1_score(predicted: ArrayLike, labels: ArrayLike, *, average: str = "macro") -> float:
    """F1 over classes of rows with one label each, `2 tp / (2 tp + fp + fn)`; `multilabel_f1` takes several.

    Micro sums the counts over classes first; macro averages the F1 of each class that the truth or a prediction names.
    A prediction of -1 is a miss of its true class and no false positive.

    Args:
        predicted: `[N]` class indices with -1 for none.
        labels: `[N]` true class indices.
        average: `"macro"` or `"micro"`.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: As `accuracy`, or an unknown average.

    Example:
        >>> round(f1_score([0, 1, 1], [0, 1, 0]), 3), round(f1_score([0, 1, 1], [0, 1, 0], average="micro"), 3)
        (0.667, 0.667)
    """
    if average not in ("macro", "micro"):
        raise InputError(f"average must be 'macro' or 'micro', got {average!r}")
    said, truth = _pair(predicted, labels)
    classes = np.setdiff1d(np.union1d(said, truth), [-1])
    return float(sklearn_metrics.f1_score(truth, said, labels=classes, average=average, zero_division=0))


def _indicators(name: str, values: ArrayLike) -> np.ndarray:
    array = as_rows(name, values, ndim=2)
    if array.dtype != bool:
        bad = (array != 0) & (array != 1)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise InputError(f"{name}[{row}, {column}] is {array[row, column]}; allowed: booleans, or 0 and 1")
    return array.astype(bool)


def _indicator_pair(predicted: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    said, true = _indicators("predicted", predicted), _indicators("truth", truth)
    if said.shape != true.shape:
        raise InputError(f"predicted has shape {said.shape}, truth {true.shape}: they must agree")
    return said, true


def subset_loss(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Share of rows whose label set is not exactly right, `mean_n [yhat_n != y_n]`.

    Args:
        predicted: Booleans `[N, L]`, the labels given to each row.
        truth: Booleans `[N, L]`, the labels it has.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: Shapes that do not fit, or values other than 0 and 1.

    Example:
        >>> subset_loss([[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]])
        0.5
    """
    said, true = _indicator_pair(predicted, truth)
    return float(np.mean((said != true).any(axis=1)))


def hamming_loss(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Share of wrong entries, `mean_nl [yhat_nl != y_nl]`; otherwise as `subset_loss`.

    Example:
        >>> hamming_loss([[1, 1], [1, 0]], [[1, 0], [1, 0]])
        0.25
    """
    said, true = _indicator_pair(predicted, truth)
    if not said.shape[1]:
        raise InputError(f"predicted has shape {said.shape}: give at least one label")
    return float(np.mean(said != true))


def multilabel_f1(
    predicted: ArrayLike, truth: ArrayLike, *, average: str = "micro", empty: float | None = None
) -> float:
    """F1 of rows with several labels each, `2 tp / (2 tp + fp + fn)`.

    Micro sums the counts over all rows and labels first, macro averages the F1 of each label, samples the F1 of each
    row. A label that no row has and none is given leaves its F1 undefined and is left out of macro; so is a row without
    true and given labels of samples (scikit-learn's `zero_division=nan`). A label with either alone counts 0. Where
    nothing is true and nothing given at all, the score is 1. `empty` counts such labels, such rows, and such data as
    that number instead.

    Args:
        predicted: Booleans `[N, L]`, the labels given to each row.
        truth: Booleans `[N, L]`, the labels it has.
        average: `"micro"`, `"macro"` or `"samples"`.
        empty: The F1 of what has no true and no given label, usually 0 or 1. None leaves it out.

    Returns:
        A float in [0, 1].

    Raises:
        InputError: Unknown average, shapes that do not fit, or values other than 0 and 1.

    Example:
        The last label occurs nowhere.

        >>> said, truth = [[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]]
        >>> [round(multilabel_f1(said, truth, average=a), 3) for a in ("micro", "macro", "samples")]
        [0.8, 0.5, 0.833]
        >>> round(multilabel_f1(said, truth, average="macro", empty=0.0), 3)
        0.333
    """
    axes = {"micro": None, "macro": 0, "samples": 1}
    if average not in axes:
        raise InputError(f"average must be 'micro', 'macro' or 'samples', got {average!r}")
    if empty is not None and not 0 <= empty <= 1:
        raise InputError(f"empty is {empty}; allowed: None, or 0 to 1")
    said, true = _indicator_pair(predicted, truth)
    hits = np.atleast_1d((said & true).sum(axis=axes[average]))
    size = np.atleast_1d(said.sum(axis=axes[average]) + true.sum(axis=axes[average]))
    named = size > 0
    if empty is not None:
        return float(np.mean(np.where(named, 2 * hits / np.maximum(size, 1), empty)))
    return float(np.mean(2 * hits[named] / size[named])) if named.any() else 1.0


def _node_sets(name: str, nodes: ArrayLike, num_nodes: int) -> np.ndarray:
    array = np.asarray(nodes)
    if array.ndim == 2:
        if array.shape[1] != num_nodes:
            raise InputError(f"{name} has {array.shape[1]} columns, the graph {num_nodes} nodes")
        return _indicators(name, array)
    ids = as_labels(name, array, low=-1, high=num_nodes)
    return (ids[:, None] == np.arange(num_nodes)) & (ids[:, None] >= 0)


def hierarchical_scores(
    predicted: ArrayLike, truth: ArrayLike, ancestors: ArrayLike, *, root: int = 0
) -> HierarchicalScores:
    """Precision, recall and F1 of node sets after adding all ancestors, the root left out.

    With `A(S)` the set S and its ancestors without the root: `P = sum |A(Yhat) & A(Y)| / sum |A(Yhat)|`,
    `R = sum |A(Yhat) & A(Y)| / sum |A(Y)|`, sums over rows (micro), `F1 = 2 P R / (P + R)`. A mistake within the right
    family costs less than one outside it. Rows may hold several labels: give node sets, of the labels alone.

    Args:
        predicted: `[N]` node indices with -1 for none, or boolean `[N, V]` node sets; ancestors are added here.
        truth: As `predicted`.
        ancestors: Boolean `[V, V]`; `ancestors[v, u]` says that u lies above v. The diagonal does not matter.
        root: Index of the root.

    Returns:
        `HierarchicalScores`; a precision without any predicted node is 0, and so is a recall without any true node.

    Raises:
        InputError: Shapes or indices that do not fit.

    Example:
        A root 0 with children 1 and 2; 3 and 4 lie under 1. Saying 4 for 3 keeps the half that is node 1.

        >>> above = np.zeros((5, 5), bool)
        >>> above[1:, 0] = above[3, 1] = above[4, 1] = True
        >>> hierarchical_scores([4], [3], above)
        HierarchicalScores(precision=0.5, recall=0.5, f1=0.5)

        A row with the labels 2 and 3, of which 3 was found: 1 and 3 of the three nodes 1, 2 and 3.

        >>> hierarchical_scores(np.eye(5)[[3]], np.eye(5)[[2]] + np.eye(5)[[3]], above)
        HierarchicalScores(precision=1.0, recall=0.6666666666666666, f1=0.8)

    Source: Kiritchenko et al., "Learning and evaluation in the presence of class hierarchies", 2006.
    """
    above = np.asarray(ancestors).astype(bool)
    if above.ndim != 2 or above.shape[0] != above.shape[1]:
        raise InputError(f"ancestors must be square [V, V], got shape {above.shape}")
    num_nodes = len(above)
    if not 0 <= root < num_nodes:
        raise InputError(f"root is {root}; allowed: 0 to {num_nodes - 1}")
    reach = above | np.eye(num_nodes, dtype=bool)
    reach[:, root] = False
    sets = [_node_sets("predicted", predicted, num_nodes), _node_sets("truth", truth, num_nodes)]
    same_length(predicted=sets[0], truth=sets[1])
    said, true = (rows.astype(np.float64) @ reach > 0 for rows in sets)  # float: BLAS, exact up to 2**53
    both, num_said, num_true = int((said & true).sum()), int(said.sum()), int(true.sum())
    return HierarchicalScores(
        precision=both / num_said if num_said else 0.0,
        recall=both / num_true if num_true else 0.0,
        f1=2 * both / (num_said + num_true) if num_said + num_true else 0.0,
    )


def negative_log_likelihood(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean of `-log p(label)` in nats; infinite where a label has probability 0.

    Args:
        log_probs: `[N, C]` log probabilities, taken as they are (not renormalised); -inf allowed.
        labels: `[N]` true class indices.

    Returns:
        A float, 0 or more for proper log probabilities.

    Raises:
        InputError: NaN, or shapes and indices that do not fit.

    Example:
        >>> round(negative_log_likelihood(np.log([[0.5, 0.5], [0.25, 0.75]]), [0, 0]), 4)
        1.0397
    """
    values = as_floats("log_probs", log_probs, ndim=2, finite=False)
    truth = as_labels("labels", labels, high=values.shape[1])
    same_length(log_probs=values, labels=truth)
    return float(-np.mean(values[np.arange(len(truth)), truth]) + 0.0)  # + 0.0: no minus zero
