"""A scikit-learn classifier that finds the wrong labels of its training rows and trains without them."""

import warnings
from typing import Any, Literal, get_args

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    assert_all_finite,
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
    validate_data,
)

from jlabel.confident_learning.checks import ConfidentLearningError
from jlabel.confident_learning.count import Rule, check_rule
from jlabel.confident_learning.find import find_errors
from jlabel.confident_learning.out_of_sample import stratified_folds

Action = Literal["drop", "reweight"]


class ConfidentLearningClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Trains a classifier on the rows whose labels it does not doubt.

    `fit` predicts every row with a copy of the classifier that was not trained on it (stratified folds), flags the rows
    that `find_errors` doubts, and trains once more without them. With `action="reweight"` the rows that stay stand in
    for those that went: with the estimated joint Q of given label i and true label j, class j weighs

        sum_i Q[i, j] / Q[j, j].

    The joint counts rows; `sample_weight` only weighs them in training. A class whose rows would all go keeps the one
    with the highest score, so that no class of the data is lost; that row is not flagged, and a warning names the
    class.

    Args:
        estimator: a scikit-learn classifier with `predict_proba`, a pipeline or a search over one; cloned, not changed.
        folds: at least 2; every class needs as many rows.
        rule: how many labels are wrong, see `count_errors`.
        action: `"drop"` or `"reweight"`; the latter needs a classifier whose `fit` takes `sample_weight`.
        random_state: seed of the folds (the classifier's own is its own).
        n_jobs: folds trained at a time; `None` is one.

    Attributes:
        error_mask_: bool `[N]`, the rows left out of training.
        scores_: float64 `[N]`, normalised margin of the given label, lower is worse.
        joint_: float64 `[C, C]`, estimated rows by given and true label, n Q; sums to N.
        out_of_sample_probs_: float64 `[N, C]`, of the copies that did not see the row.
        classes_: `[C]` sorted labels.
        estimator_: the classifier, trained on `X[~error_mask_]`.
        n_features_in_: features of a row, where rows have features (texts have none).
        feature_names_in_: names of the columns, where `X` has names that are all strings.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> x, y = load_iris(return_X_y=True)
        >>> y[:5] = 2  # five setosas called virginica
        >>> model = ConfidentLearningClassifier(LogisticRegression(max_iter=500), random_state=0).fit(x, y)
        >>> model.error_mask_[:5].all(), model.predict(x[:5])
        (np.True_, array([0, 0, 0, 0, 0]))

    Source: Northcutt, Jiang, Chuang, "Confident learning", JAIR 2021, sections 3 and 4.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        folds: int = 5,
        rule: Rule = "calibrated",
        action: Action = "drop",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ):
        self.estimator = estimator
        self.folds = folds
        self.rule = rule
        self.action = action
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> "ConfidentLearningClassifier":
        """Finds the wrong labels and trains without them.

        Args:
            X: `[N, ...]` rows: array, DataFrame, sparse matrix, or what else the classifier takes.
            y: `[N]` labels, numbers or strings.
            sample_weight: `[N]` or `None`, for a classifier whose `fit` takes it.
            groups: `[N]` or `None`; rows of one group (copies of one thing) share a fold.

        Returns:
            Itself.

        Raises:
            ConfidentLearningError: a classifier without `predict_proba`, or without `sample_weight` where it is needed;
                fewer than two classes, a class with fewer rows than folds, or one that groups keep out of a fold's
                training rows; options out of range.
            ValueError: what scikit-learn refuses in `X`, `y` or `sample_weight`.
        """
        weight_name = self._check_options(weighted=sample_weight is not None)
        X, y = validate_data(self, *indexable(X, y), skip_check_array=True)
        y = _check_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ConfidentLearningError(f"y holds one class only, {self.classes_[0]!s}: give labels of two or more")
        weights = _check_weights(sample_weight, codes, self.classes_)

        key = jax.random.key(check_random_state(self.random_state).randint(2**31 - 1))
        held_out = stratified_folds(y, folds=self.folds, groups=groups, key=key)
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(_held_out_probs)(clone(self.estimator), X, y, held_out == fold, self.classes_, weights, weight_name)
            for fold in range(self.folds)
        )
        probs = np.empty((len(codes), len(self.classes_)))
        probs[np.argsort(held_out, kind="stable")] = np.concatenate(found)

        errors = find_errors(codes, probs, rule=self.rule)
        self.out_of_sample_probs_, self.scores_, self.joint_ = probs, errors.scores, errors.calibrated
        self.error_mask_ = _spare_classes(errors.mask, errors.scores, codes, self.classes_)
        if self.action == "reweight":
            shares = self.joint_.sum(axis=0) / self.joint_.diagonal()
            weights = shares[codes] if weights is None else shares[codes] * weights
        self.estimator_ = _fit(clone(self.estimator), X, y, ~self.error_mask_, weights, weight_name)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicts labels with the classifier trained on the rows that stayed.

        Args:
            X: `[N, ...]` rows.

        Returns:
            Labels `[N]`, of the type of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predicts class probabilities with the classifier trained on the rows that stayed.

        Args:
            X: `[N, ...]` rows.

        Returns:
            `[N, C]` in the order of `classes_`.
        """
        check_is_fitted(self)
        return _by_class(self.estimator_, X, self.classes_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "__sklearn_tags__"):
            inner = get_tags(self.estimator)
            tags.input_tags = inner.input_tags
            if inner.classifier_tags is not None:
                tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags

    def _check_options(self, *, weighted: bool) -> str | None:
        """Refuses what `fit` cannot use; returns the name under which the classifier takes weights, if it needs to."""
        kind = type(self.estimator).__name__
        if isinstance(self.estimator, type) or not (hasattr(self.estimator, "fit") and is_classifier(self.estimator)):
            raise ConfidentLearningError(f"estimator must be a scikit-learn classifier, got {self.estimator!r}")
        if not hasattr(type(self.estimator), "predict_proba"):
            raise _no_probabilities(kind)
        if get_tags(self.estimator).input_tags.pairwise:
            raise ConfidentLearningError(f"estimator {kind} takes a precomputed kernel; give it rows of features")
        if self.action not in get_args(Action):
            raise ConfidentLearningError(f"action is {self.action!r}; allowed: {', '.join(get_args(Action))}")
        check_rule(self.rule)
        if not weighted and self.action == "drop":
            return None
        name = _weight_name(self.estimator)
        if name is None:
            reason = "sample_weight was given" if weighted else "action='reweight' weighs the rows"
            raise ConfidentLearningError(
                f"{reason}, but fit of estimator {kind} takes no sample_weight; use another classifier, or"
                f" {'leave the weights out' if weighted else 'action=' + repr('drop')}"
            )
        return name


def _weight_name(estimator: Any) -> str | None:
    """The keyword of `fit` that takes sample weights; in a pipeline that of its last step."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        inner = _weight_name(last)
        return None if inner is None else f"{step}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def _check_targets(y: Any) -> np.ndarray:
    """Labels `[N]` without missing ones."""
    labels = column_or_1d(y, warn=True)
    if not len(labels):
        raise ConfidentLearningError("X and y hold no rows: give some of every class")
    missing = pd.isna(labels)
    if missing.any():
        raise ConfidentLearningError(f"y[{int(np.argmax(missing))}] is missing: leave such rows out first")
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels


def _check_weights(sample_weight: ArrayLike | None, codes: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Weights float64 `[N]`, finite and at least 0, above 0 somewhere in each class."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != codes.shape:
        raise ConfidentLearningError(f"sample_weight must have shape {codes.shape}, got {weights.shape}")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ConfidentLearningError(f"sample_weight[{row}] is {weights[row]}: weights must be finite and at least 0")
    empty = np.bincount(codes, weights) == 0
    if empty.any():
        name = classes[int(np.argmax(empty))]
        raise ConfidentLearningError(f"sample_weight is zero in all rows of class {name!s}; leave the class out")
    return weights


def _fit(
    model: Any, X: Any, y: np.ndarray, rows: np.ndarray, weights: np.ndarray | None, weight_name: str | None
) -> Any:
    """Trains a classifier on the rows of a mask."""
    places = np.flatnonzero(rows)
    options = {} if weight_name is None or weights is None else {weight_name: weights[places]}
    return model.fit(_safe_indexing(X, places), y[places], **options)


def _held_out_probs(
    model: Any,
    X: Any,
    y: np.ndarray,
    held_out: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray | None,
    weight_name: str | None,
) -> np.ndarray:
    """Probabilities of the rows of a mask from a classifier trained on the others."""
    _fit(model, X, y, ~held_out, weights, weight_name)
    return _by_class(model, _safe_indexing(X, np.flatnonzero(held_out)), classes)


def _by_class(model: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Probabilities `[N, C]` with a column for each class; 0 for one that the classifier dropped."""
    if not hasattr(model, "predict_proba"):  # known only of the fitted one where it depends on its options
        raise _no_probabilities(type(model).__name__)
    probs = np.asarray(model.predict_proba(X))
    if np.array_equal(model.classes_, classes):
        return probs
    every = np.zeros((len(probs), len(classes)), probs.dtype)
    every[:, np.searchsorted(classes, model.classes_)] = probs
    return every


def _no_probabilities(kind: str) -> ConfidentLearningError:
    return ConfidentLearningError(
        f"estimator {kind} has no predict_proba; set the option that gives it one, or wrap it in CalibratedClassifierCV"
    )


def _spare_classes(mask: np.ndarray, scores: np.ndarray, codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The mask without the best row of every class that it would empty."""
    mask = mask.copy()
    for code in np.flatnonzero(np.bincount(codes[~mask], minlength=len(classes)) == 0):
        rows = np.flatnonzero(codes == code)
        best = rows[np.argmax(scores[rows])]
        mask[best] = False
        warnings.warn(
            f"all {len(rows)} rows of class {classes[code]!s} look wrong; row {best}, the least doubtful, stays in"
            " training so that the class is not lost",
            stacklevel=3,
        )
    return mask
