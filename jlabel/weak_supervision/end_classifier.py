"""A classifier on features that learns from class probabilities, such as those of a label model."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jlabel.training import check_positive
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.end_training import end_probs, train_end_models

_MAX_BYTES = 1 << 32  # of features as a dense float32 array


class EndClassifier(ClassifierMixin, BaseEstimator):
    """The end model: a perceptron trained on class probabilities, with early stopping that needs no true label.

    Minimises the expected cross-entropy `-sum_y p_y log softmax(f(x))_y` with Adam on 90 % of the rows, and keeps the
    parameters that have the lowest on the rest. Dense features are brought to mean 0 and standard deviation 1 first.

    Args:
        hidden: Widths of the hidden layers; `()` is logistic regression.
        epochs: Passes over the rows at most.
        patience: Passes without improvement before training ends.
        batch_size: Rows of a step.
        learning_rate: Adam's.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows held out for early stopping, in (0, 1).
        random_state: Seed of parameters, held-out rows and order.

    Attributes:
        classes_: `(C,)`, 0 to C - 1 where probabilities were given.
        n_features_in_: D.
        n_iter_: Passes made.
        params_: Parameters of the network.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(400, 2))
        >>> positive = 1 / (1 + np.exp(-4 * x[:, 0]))
        >>> model = EndClassifier(hidden=(8,)).fit(x, np.stack([1 - positive, positive], axis=1))
        >>> bool((model.predict(x) == (x[:, 0] > 0)).mean() > 0.95)
        True
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        epochs: int = 100,
        patience: int = 5,
        batch_size: int = 256,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.1,
        random_state: Any = 0,
    ):
        self.hidden = hidden
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: Any, y: ArrayLike, expert_rows: ArrayLike | None = None, expert_labels: ArrayLike | None = None
    ) -> "EndClassifier":
        """Trains on class probabilities or on labels.

        Args:
            X: `(N, D)` features: numbers, a DataFrame of them, or a SciPy sparse matrix.
            y: `(N, C)` probabilities, or `(N,)` labels.
            expert_rows: Rows whose label is known: it takes the place of what y says.
            expert_labels: Their labels.

        Returns:
            Itself.

        Raises:
            WeakSupervisionError: Probabilities that are none, labels or rows that do not fit, fewer than two rows.
            ValueError: What scikit-learn refuses in `X` or `y`.
        """
        self._check_settings()
        targets = np.asarray(y)
        soft = targets.ndim == 2 and targets.shape[1] > 1
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32)
        if len(targets) != X.shape[0]:
            raise WeakSupervisionError(f"y has {len(targets)} entries for {X.shape[0]} rows of X")
        if X.shape[0] < 2:
            raise WeakSupervisionError("X has 1 row: training and early stopping need two or more")
        if soft:
            probs = _check_probs(targets)
            self.classes_ = np.arange(probs.shape[1])
        else:
            check_classification_targets(targets)
            self.classes_, codes = np.unique(targets.ravel(), return_inverse=True)
            if len(self.classes_) < 2:
                raise WeakSupervisionError(f"y holds one class only, {self.classes_[0]!s}: give two or more")
            probs = np.eye(len(self.classes_))[codes]
        self._override(probs, expert_rows, expert_labels)
        dense = self._dense(X, fitting=True)
        key = jax.random.key(check_random_state(self.random_state).randint(2**31 - 1))
        params, passes = train_end_models(
            dense, probs[None], hidden=tuple(self.hidden), epochs=self.epochs, patience=self.patience,
            batch_size=self.batch_size, learning_rate=self.learning_rate, weight_decay=self.weight_decay,
            validation_fraction=self.validation_fraction, keys=key[None],
        )  # fmt: skip
        self.params_ = jax.tree.map(np.asarray, params)
        self.n_iter_ = int(passes[0])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities.

        Args:
            X: `(N, D)` features.

        Returns:
            float64 `(N, C)`, in the order of `classes_`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False)
        dense = self._dense(X, fitting=False)
        return end_probs(self.params_, dense, hidden=tuple(self.hidden), num_classes=len(self.classes_))[0]

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class.

        Args:
            X: `(N, D)` features.

        Returns:
            `(N,)` of `classes_`.
        """
        return self.classes_[self.predict_proba(X).argmax(1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_settings(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            check_positive(name, getattr(self, name), whole=True)
        check_positive("learning_rate", self.learning_rate)
        for width in self.hidden:
            check_positive("hidden", width, whole=True)
        if not 0 <= self.weight_decay < np.inf:
            raise WeakSupervisionError(f"weight_decay is {self.weight_decay!r}; give a number of 0 or more")
        if not 0 < self.validation_fraction < 1:
            raise WeakSupervisionError(
                f"validation_fraction is {self.validation_fraction!r}; give a share above 0, below 1"
            )

    def _override(self, probs: np.ndarray, rows: ArrayLike | None, labels: ArrayLike | None) -> None:
        if rows is None and labels is None:
            return
        if rows is None or labels is None or np.shape(rows) != np.shape(labels) or np.ndim(rows) != 1:
            raise WeakSupervisionError("expert_rows and expert_labels go together: one label for each row")
        places, said = np.asarray(rows, np.int64), np.asarray(labels)
        for place, (row, label) in enumerate(zip(places.tolist(), said.tolist(), strict=True)):
            if not 0 <= row < len(probs):
                raise WeakSupervisionError(f"expert_rows[{place}] is {row}; allowed: 0 to {len(probs) - 1}")
            where = np.flatnonzero(self.classes_ == label)
            if not len(where):
                raise WeakSupervisionError(f"expert_labels[{place}] is {label!r}, none of {self.classes_.tolist()}")
            probs[row] = np.arange(len(self.classes_)) == where[0]

    def _dense(self, X: Any, *, fitting: bool) -> np.ndarray:
        if sparse.issparse(X):
            if 4 * X.shape[0] * X.shape[1] > _MAX_BYTES:
                raise WeakSupervisionError(
                    f"X is sparse and {X.shape[0]} x {X.shape[1]}, too large as a dense array: keep fewer features"
                )
            X, mean, scale = X.toarray(), np.zeros(X.shape[1], np.float32), np.ones(X.shape[1], np.float32)
        elif fitting:
            mean, scale = X.mean(0), X.std(0)
            scale = np.where(scale > 0, scale, 1)
        if fitting:
            self._mean, self._scale = mean, scale
        return ((X - self._mean) / self._scale).astype(np.float32)


def _check_probs(probs: np.ndarray) -> np.ndarray:
    values = probs.astype(np.float64)
    bad = ~(np.isfinite(values).all(1) & (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < 1e-3))
    if bad.any():
        row = int(np.argmax(bad))
        raise WeakSupervisionError(
            f"y[{row}] is {values[row].tolist()}; class probabilities are 0 or more and sum to 1"
        )
    return values
