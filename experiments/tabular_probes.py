"""Ways to look into embeddings: linear probes, cosines of values that belong together, maps of values."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from jlabel.tabular import classification_score

__all__ = [
    "CENTRES", "Values", "known_values", "linear_probe", "map_values", "probe_logs", "profile_preferences",
    "value_cosines", "value_means",
]  # fmt: skip

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the probes
_C = "logisticregression__C"
FOLDS = 5
CENTRES = ("none", "all", "column")  # whose mean is subtracted from the values' embeddings before cosines are taken


class Values(NamedTuple):
    """The known values of a table's category columns, one after another.

    Attributes:
      column: int ``(V,)``, the column of each. names: its text.
    """

    column: np.ndarray
    names: tuple[str, ...]


def known_values(categories: Sequence[np.ndarray]) -> Values:
    """The values that an encoder knows, `TableEncoder.categories`."""
    column = np.repeat(np.arange(len(categories)), [len(known) for known in categories])
    return Values(column, tuple(_text(value) for known in categories for value in known))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def linear_probe(
    features: np.ndarray, classes: np.ndarray, *, held: tuple[np.ndarray, np.ndarray] | None = None
) -> Pipeline:
    """Logistic regression on standardised features, its C the best of `STRENGTHS`.

    Args:
      features: ``(n, d)``. classes: int ``(n,)``.
      held: features and classes of other rows, whose area under the curve chooses C; without them accuracy chooses in
        five folds of the rows themselves, or fewer where a class is rare.

    Returns:
      The fitted probe; it learns from the n rows only.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-3))
    if held is not None:
        fits = [clone(probe).set_params(**{_C: c}).fit(features, classes) for c in STRENGTHS]
        count = max(classes.max(), held[1].max()) + 1
        return max(fits, key=lambda fit: classification_score(probe_logs(fit, held[0], count), held[1]))
    folds = StratifiedKFold(
        int(np.clip(np.unique_counts(classes).counts.min(), 2, FOLDS)), shuffle=True, random_state=0
    )
    search = GridSearchCV(probe, {_C: STRENGTHS}, cv=folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # has one row
        fitted: Pipeline = search.fit(features, classes).best_estimator_
    return fitted


def probe_logs(probe: Pipeline, features: np.ndarray, num_classes: int) -> np.ndarray:
    """Log-probabilities ``(N, C)``, next to nothing for classes of which the probe saw no row."""
    logs = np.full((len(features), num_classes), np.log(np.finfo(np.float64).tiny))
    logs[:, probe.classes_] = probe.predict_log_proba(features)
    return logs


def value_means(embeddings: np.ndarray, codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The mean of each value's embeddings ``(V, d)`` over the rows that have it; NaN where none has.

    Args:
      embeddings: of every cell ``(N, m, d)``, in any number of dimensions. codes: int ``(N, m)``; d_i, missing, belongs
        to no value. sizes: d_i of each column, with sum V.
    """
    rows, columns = np.nonzero(codes < np.asarray(sizes))
    place = (np.cumsum(sizes) - sizes)[columns] + codes[rows, columns]
    sums = np.zeros((sum(sizes), embeddings.shape[2]))
    np.add.at(sums, place, embeddings[rows, columns])
    counts = np.bincount(place, minlength=len(sums))[:, None]
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def profile_preferences(codes: np.ndarray, profile: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Which values the rows of each hidden profile have most often, one a column: bool ``(V, K)``.

    Args:
      codes: int ``(N, m)``. profile: int ``(N,)``, 0 to K - 1. sizes: d_i of each column, with sum V.
    """
    prefers = np.zeros((sum(sizes), profile.max() + 1), bool)
    for start, size, own in zip(np.cumsum(sizes) - sizes, sizes, codes.T, strict=True):
        for k in range(prefers.shape[1]):
            prefers[start + np.bincount(own[profile == k], minlength=size)[:size].argmax(), k] = True
    return prefers


def value_cosines(means: np.ndarray, column: np.ndarray, prefers: np.ndarray) -> np.ndarray:
    """How well the cosine tells pairs of values that share a profile from the other pairs, of different columns each.

    Args:
      means: ``(V, d)``. column: of each value ``(V,)``. prefers: bool ``(V, K)``, which profiles prefer it.

    Returns:
      Areas under the curve ``(3,)``: of the means as they are, less the mean of all values, and less that of the values
      of their column, as `CENTRES` says.
    """
    seen = np.isfinite(means).all(1)
    means, column, prefers = means[seen], column[seen], prefers[seen].astype(int)
    left, right = np.triu_indices(len(means), 1)
    apart = column[left] != column[right]
    left, right = left[apart], right[apart]
    share = (prefers @ prefers.T)[left, right] > 0
    found = []
    for centre in CENTRES:
        group = column if centre == "column" else np.zeros(len(means), int)
        x = means.copy()
        if centre != "none":
            for k in np.unique(group):
                x[group == k] -= means[group == k].mean(0)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        found.append(roc_auc_score(share, (x[left] * x[right]).sum(1)))
    return np.array(found)


def map_values(embeddings: np.ndarray, codes: np.ndarray, sizes: Sequence[int], *, seed: int) -> np.ndarray:
    """A t-SNE map of all cells, and on it the mean point of each value ``(V, 2)``.

    Equal embeddings, as all cells of a value have before the Transformer, are one point: as many points they would draw
    each value as an island, whose place says nothing.

    Args:
      embeddings: ``(N, m, d)``. codes, sizes: as for `value_means`. seed: of the map.
    """
    flat = embeddings.reshape(-1, embeddings.shape[2])
    points, place = np.unique(flat, axis=0, return_inverse=True)
    tsne = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=seed)
    with threadpool_limits(1):  # its threads wait for each other longer than they work
        mapped = tsne.fit_transform(points)
    return value_means(mapped[place].reshape(*codes.shape, 2), codes, sizes)
