"""Baselines that scikit-learn fits: boosted trees, with pseudo-labels too, logistic regression, the classes' shares."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from jlabel.tabular.checks import check_count, check_number
from jlabel.tabular.encode import Table
from jlabel.tabular.fitting import HostFit, classification_score
from jlabel.tabular.problem import Problem, need_unlabelled

__all__ = ["fit_boosting", "fit_logistic", "fit_prior", "one_hot"]

_MOST = 255  # categories of a column that scikit-learn's boosting takes


def fit_boosting(
    problem: Problem,
    *,
    key: jax.Array | None = None,
    pseudo: bool = False,
    learning_rate: float = 0.1,
    max_iter: int = 100,
    max_leaf_nodes: int = 31,
    min_samples_leaf: int = 20,
    l2_regularization: float = 0.0,
) -> HostFit:
    """Boosted trees on categories and numbers; validation rows choose how many.

    Missing cells are missing. Of a column with more than 255 values the 254 commonest among the labelled rows stay, and
    the others are one.

    Args:
      problem: from `make_problem`. key: not used.
      pseudo: PL, label the unlabelled rows with a first model's most likely classes and fit again on all.
      learning_rate, max_iter, max_leaf_nodes, min_samples_leaf, l2_regularization: of
        `sklearn.ensemble.HistGradientBoostingClassifier`.

    Returns:
      The models.

    Raises:
      TabularError: PL without unlabelled rows, or a setting out of range.

    Source: Ke et al. 2017, section 3; Jain 2017 (PL).
    """
    check_number("learning_rate", learning_rate, open_low=True)
    check_number("l2_regularization", l2_regularization)
    check_count("max_leaf_nodes", max_leaf_nodes, low=2)
    for name, value in (("max_iter", max_iter), ("min_samples_leaf", min_samples_leaf)):
        check_count(name, value)
    unlabelled = need_unlabelled(problem, "GBDT-PL") if pseudo else None
    settings = {
        "categorical_features": list(range(len(problem.cardinalities))),
        "learning_rate": learning_rate,
        "max_leaf_nodes": max_leaf_nodes,
        "min_samples_leaf": min_samples_leaf,
        "l2_regularization": l2_regularization,
    }
    models = []
    # Threads that wait for each other cost few rows more than they give.
    with threadpool_limits(1, "openmp"):
        for run, own in enumerate(problem.labelled):
            features = _boosting_columns(problem, own)
            rows, labels = features(problem.table), problem.labels[own]
            held = None
            if problem.validation is not None:
                at = problem.validation[run][problem.validation[run] >= 0]
                held = (rows[at], problem.labels[at])
            model = _boosted(rows[own], labels, held, problem.num_classes, max_iter, settings)
            if unlabelled is not None:
                others = np.setdiff1d(unlabelled[run], own)
                said = model.predict(rows[others])
                both = np.concatenate([labels, said])
                every = rows[np.concatenate([own, others])]
                model = _boosted(every, both, held, problem.num_classes, max_iter, settings)
            models.append((model, features))
    return HostFit(tuple(models), problem.num_classes, problem.batched)


@dataclass(frozen=True, eq=False)
class _Columns:
    """A table as boosting takes it, float64 ``(N, m + c)``: ``places[i][code]`` for each category, NaN for missing."""

    places: tuple[np.ndarray, ...]

    def __call__(self, table: Table) -> np.ndarray:
        categories = [place[table.codes[:, k]] for k, place in enumerate(self.places)]
        return np.concatenate([np.stack(categories, 1), table.values], 1) if categories else table.values.astype(float)


def _boosting_columns(problem: Problem, rows: np.ndarray) -> _Columns:
    places = []
    for k, size in enumerate(problem.cardinalities):
        place = np.arange(size + 1.0)
        if size > _MOST:
            counts = np.bincount(problem.table.codes[rows, k], minlength=size + 1)[:size]
            place[:] = _MOST - 1
            place[np.argsort(-counts, kind="stable")[: _MOST - 1]] = np.arange(_MOST - 1)
        place[size] = np.nan
        places.append(place)
    return _Columns(tuple(places))


def _boosted(
    rows: np.ndarray,
    labels: np.ndarray,
    held: tuple[np.ndarray, np.ndarray] | None,
    num_classes: int,
    trees: int,
    settings: dict[str, Any],
) -> HistGradientBoostingClassifier:
    """A model with the number of trees that does best on the held rows."""

    def fit(count: int) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(max_iter=count, early_stopping=False, random_state=0, **settings).fit(
            rows, labels
        )

    model = fit(trees)
    if held is None:
        return model
    curve = []
    for said in model.staged_predict_proba(held[0]):
        probs = np.zeros((len(said), num_classes))  # 0 for classes that no labelled row has
        probs[:, model.classes_] = said
        curve.append(classification_score(np.log(probs + 1e-12), held[1]))
    best = int(np.argmax(curve)) + 1
    return model if best == trees else fit(best)


def fit_logistic(problem: Problem, *, key: jax.Array | None = None, C: float = 1.0) -> HostFit:
    """Logistic regression on one-hot categories and scaled numbers.

    Args:
      problem: from `make_problem`. key: not used. C: inverse strength of the squared penalty.

    Returns:
      The models.

    Raises:
      TabularError: a strength that is not above 0.
    """
    check_number("C", C, open_low=True)
    features = functools.partial(one_hot, cardinalities=problem.cardinalities)
    rows = features(problem.table)
    models = [LogisticRegression(C=C, max_iter=1000).fit(rows[own], problem.labels[own]) for own in problem.labelled]
    return HostFit(tuple((model, features) for model in models), problem.num_classes, problem.batched)


def one_hot(table: Table, cardinalities: Sequence[int]) -> sparse.csr_array:
    """One-hot categories, "missing" with a column of its own, then the numbers: float64 ``(N, sum(d_i + 1) + c)``.

    Example:
      >>> one_hot(Table(np.array([[1], [2]]), np.array([[0.5], [2.0]]), np.zeros(1)), (2,)).toarray().tolist()
      [[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 2.0]]
    """
    count, columns = table.codes.shape
    sizes = np.array(cardinalities, int) + 1
    places = (table.codes + np.cumsum(sizes) - sizes).ravel()
    starts = np.arange(count + 1) * columns
    flags = sparse.csr_array((np.ones(places.size), places, starts), shape=(count, int(sizes.sum())))
    return sparse.csr_array(sparse.hstack([flags, sparse.csr_array(table.values.astype(np.float64))]))


def fit_prior(problem: Problem, *, key: jax.Array | None = None) -> HostFit:
    """The classes' shares among the labelled rows, whatever the row: the trivial row, of area .5.

    Args:
      problem: from `make_problem`. key: not used.

    Returns:
      The shares.
    """
    models = [
        DummyClassifier(strategy="prior").fit(np.zeros((own.size, 1)), problem.labels[own]) for own in problem.labelled
    ]
    return HostFit(tuple((model, _nothing) for model in models), problem.num_classes, problem.batched)


def _nothing(table: Table) -> np.ndarray:
    return np.zeros((len(table.codes), 1))
