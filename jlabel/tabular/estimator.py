"""TabTransformer as scikit-learn estimators."""

from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d, validate_data

from jlabel.tabular.checks import TabularError, check_choice, check_count, check_frame, check_number
from jlabel.tabular.columns import ColumnTypes
from jlabel.tabular.encode import Scaling, Table, encode, fit_encoder, value_knots
from jlabel.tabular.network import Norm, TabTransformer, check_network, init_network
from jlabel.tabular.pretrain import OBJECTIVES, Objective, Pretrained, pretrain
from jlabel.tabular.supervised import NetworkOutputs, SupervisedLoss, classifier_score, predict_table, regressor_score
from jlabel.tabular.train import Validation, train_runs

_EVALUATE_EVERY = 50


class _TabTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share."""

    _regression = False
    params_: Any

    def __init__(
        self,
        *,
        columns: ColumnTypes | Literal["infer"] = "infer",
        scaling: Scaling = "standard",
        bins: int = 0,
        embedding_size: int = 32,
        num_layers: int = 6,
        num_heads: int = 8,
        dropout: float = 0.1,
        norm: Norm = "post",
        max_hidden: int | None = None,
        embedding_scale: float | None = None,
        objective: Objective | None = None,
        pretrained: Pretrained | None = None,
        pretraining_steps: int = 2000,
        steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.15,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.columns = columns
        self.scaling = scaling
        self.bins = bins
        self.embedding_size = embedding_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout = dropout
        self.norm = norm
        self.max_hidden = max_hidden
        self.embedding_scale = embedding_scale
        self.objective = objective
        self.pretrained = pretrained
        self.pretraining_steps = pretraining_steps
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings of rows: the mean over columns of the last layer.

        Where no column is embedded, because all are numbers and `bins` is 0, these are the scaled numbers themselves.

        Args:
            X: `[N, columns]` table.

        Returns:
            float32 `[N, d]`, or `[N, c]` of numbers.

        Raises:
            TabularError: columns other than those of `fit`.
        """
        table = self._encoded(X)
        if not self.network_.num_tokens:
            return table.values
        return predict_table(self.network_, self.params_, table, method="pooled")

    @property
    def _n_features_out(self) -> int:
        return self.network_.embedding_size if self.network_.num_tokens else self.network_.num_values

    def _fit(self, X: Any, y: np.ndarray, unlabelled: Any, outputs: int, score: Any) -> None:
        """Train on targets as the network sees them: codes of classes, or scaled numbers."""
        frame = self._frame(X, reset=True)
        if len(frame) != len(y):
            raise TabularError(f"X has {len(frame)} rows, y {len(y)}: give one target for each row")
        if len(y) < 2:
            raise TabularError("X has 1 sample; training takes 2 or more")
        rest = None if unlabelled is None else self._frame(unlabelled, reset=False, name="unlabelled")
        rng = check_random_state(self.random_state)
        start, pre, order = jax.random.split(jax.random.key(rng.randint(2**31 - 1)), 3)
        train, held = self._split(y, rng)
        everything = frame if rest is None else pd.concat([frame, rest], ignore_index=True)
        self._start(everything, outputs, start, pre)
        loss = self._loss()
        rows = {"labelled": train[None]}
        if loss.entropy or loss.pseudo:
            rows["unlabelled"] = np.arange(len(frame), len(everything))[None]
            frame = everything
        table = encode(self.encoder_, frame)
        validation = None
        if held is not None:
            predict = NetworkOutputs(self.network_)
            validation = Validation(held[None], predict, lambda out, at: score(out, y[at]), self.patience)
        found = train_runs(
            loss,
            jax.tree.map(lambda x: x[None], self.params_),
            {"codes": table.codes, "values": table.values, "target": np.pad(y, (0, len(frame) - len(y)))},
            rows,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            keys=order[None],
            evaluate_every=_EVALUATE_EVERY,
            validation=validation,
        )
        self.params_ = jax.tree.map(lambda x: np.asarray(x[0]), found.params)
        self.best_step_ = int(found.best_step[0])
        self.scores_ = found.scores[0]

    def _loss(self) -> SupervisedLoss:
        return SupervisedLoss(self.network_, self._regression)

    def _start(self, frame: pd.DataFrame, outputs: int, start: jax.Array, pre: jax.Array) -> None:
        """Set encoder, network and first parameters."""
        given = self.pretrained
        if given is None and self.objective is not None:
            given = pretrain(
                frame, objective=self.objective, columns=self.columns, scaling=self.scaling, bins=self.bins,
                embedding_size=self.embedding_size, num_layers=self.num_layers, num_heads=self.num_heads,
                dropout=self.dropout, norm=self.norm, steps=self.pretraining_steps, batch_size=self.batch_size, key=pre,
            )  # fmt: skip
        if given is not None:
            self.encoder_ = given.encoder
            self.network_, self.params_ = given.start(
                outputs, key=start, max_hidden=self.max_hidden, embedding_scale=self.embedding_scale
            )
            return
        self.encoder_ = fit_encoder(frame, self.columns, scaling=self.scaling)
        network = TabTransformer(
            self.encoder_.cardinalities, self.encoder_.num_values, outputs, self.embedding_size, self.num_layers,
            self.num_heads, self.dropout, norm=self.norm, bins=self.bins, max_hidden=self.max_hidden,
            embedding_scale=self.embedding_scale,
        )  # fmt: skip
        self.network_ = check_network(network)
        knots = value_knots(self.encoder_, self.bins) if self.bins else None
        self.params_ = init_network(self.network_, start, knots=knots)

    def _split(self, y: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows to train on, and rows that choose the best step; none of a class that has only one."""
        everything = np.arange(len(y))
        apart, strata, least = everything, None, 2
        if not self._regression:
            counts = np.bincount(y)
            apart = np.flatnonzero(counts[y] > 1)
            strata, least = y[apart], int((counts > 1).sum())
        count = max(round(self.validation_fraction * len(apart)), least)
        if not self.validation_fraction or not len(apart) or len(apart) < count + least:
            return everything, None
        _, held = train_test_split(apart, test_size=count, stratify=strata, random_state=rng)
        return np.setdiff1d(everything, held), np.sort(held)

    def _frame(self, X: Any, *, reset: bool, name: str = "X") -> pd.DataFrame:
        """Rows as a DataFrame; an array has the names of fitting, or numbers."""
        if isinstance(X, pd.DataFrame):
            check_frame(X, name=name)
            validate_data(self, X, reset=reset, skip_check_array=True)
            if reset:
                self._names: pd.Index | None = X.columns
            # Fitted on an array, which has no names to compare.
            return X if self._names is not None else X.set_axis(range(X.shape[1]), axis=1)
        values = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
        if reset:
            self._names = None
        names = range(values.shape[1]) if self._names is None else self._names
        return pd.DataFrame(values, columns=names).infer_objects()

    def _encoded(self, X: Any) -> Table:
        check_is_fitted(self)
        return encode(self.encoder_, self._frame(X, reset=False))

    def _check_options(self) -> None:
        for name in ("pretraining_steps", "steps", "batch_size", "patience"):
            check_count(name, getattr(self, name))
        check_number("learning_rate", self.learning_rate, open_low=True)
        check_number("validation_fraction", self.validation_fraction, high=0.9)
        check_choice("objective", self.objective, (None, *OBJECTIVES))
        if self.pretrained is not None:
            if not isinstance(self.pretrained, Pretrained):
                raise TabularError(f"pretrained is a {type(self.pretrained).__name__}; give what pretrain returns")
            if self.objective not in (None, self.pretrained.objective):
                made = self.pretrained.objective
                raise TabularError(f"objective is {self.objective!r}, pretrained was made with {made!r}")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = []
        return tags


class TabTransformerClassifier(ClassifierMixin, _TabTransformer):
    """Classifies rows of a table with category columns, from few labels and many rows without.

    Every category gets an embedding that a Transformer makes aware of the row's other categories; with `objective`
    these are pre-trained on all rows, labelled or not, and then trained on with the labels.

    Args:
        columns: what the columns hold: "infer" asks `infer_columns`, or `ColumnTypes`.
        scaling: of numbers, see `fit_encoder`.
        bins: more than 0 embeds the numbers too, by bins of equally many rows: the Transformer then sees them, which
            tables without categories gain from. 16 is a fair start.
        embedding_size: d, numbers of a category's embedding.
        num_layers: of the Transformer; 0 is an MLP on plain embeddings.
        num_heads: of the attention, a divisor of d.
        dropout: rate while training.
        norm: `"post"` normalises after each sublayer, as the paper's reference does, `"pre"` before.
        max_hidden: at most so many units in the MLP's hidden layers, which are 4 and 2 times its input otherwise: 80
            and more category columns make that hundreds of millions of weights.
        embedding_scale: how much embeddings weigh beside numbers on their way into the MLP; by default each weighs what
            a number does, and 1, as published, suits tables whose categories tell nearly everything.
        objective: `"mlm"` or `"rtd"` pre-trains on all rows of `fit`, labelled or not; `None` does not.
        pretrained: from `pretrain`; then its columns and sizes count, and `objective` must be `None` or the same.
        pretraining_steps: steps of `pretrain`.
        steps: at most so many training steps on the labelled rows.
        batch_size: rows of a step, all rows if there are fewer.
        learning_rate: of AdamW, at the end of the warm-up.
        validation_fraction: share of the labelled rows that chooses the best step; 0 trains all steps on all rows.
        patience: evaluations (every 50 steps) without a better score after which training stops.
        entropy_weight: weight of the mean entropy of predictions on unlabelled rows (ER), on top of any pre-training.
        pseudo_labels: whether unlabelled rows count with their most likely class (PL), with a weight that grows to 3.
        random_state: seed.

    Attributes:
        classes_: sorted labels.
        encoder_: how the table becomes arrays. network_: the sizes. params_: the parameters.
        n_features_in_, feature_names_in_: columns seen in `fit`.
        best_step_: steps that the parameters have seen.
        scores_: AUC of the validation rows at each evaluation (plus a thousandth of the mean log likelihood, which
            decides ties); the log likelihood where a class has no validation row.

    Example:
        >>> model = TabTransformerClassifier(objective="rtd", num_layers=2, random_state=0)
        >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn"], "age": [30.0, 40.0]})
        >>> model.fit(frame, ["yes", "yes"])
        Traceback (most recent call last):
            ...
        jlabel.tabular.checks.TabularError: y holds one class only, ['yes']: give labels of two or more

    Source: Huang et al. 2020.
    """

    def __init__(
        self,
        *,
        columns: ColumnTypes | Literal["infer"] = "infer",
        scaling: Scaling = "standard",
        bins: int = 0,
        embedding_size: int = 32,
        num_layers: int = 6,
        num_heads: int = 8,
        dropout: float = 0.1,
        norm: Norm = "post",
        max_hidden: int | None = None,
        embedding_scale: float | None = None,
        objective: Objective | None = None,
        pretrained: Pretrained | None = None,
        pretraining_steps: int = 2000,
        steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.15,
        patience: int = 10,
        entropy_weight: float = 0.0,
        pseudo_labels: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        super().__init__(
            columns=columns, scaling=scaling, bins=bins, embedding_size=embedding_size, num_layers=num_layers,
            num_heads=num_heads, dropout=dropout, norm=norm, max_hidden=max_hidden,
            embedding_scale=embedding_scale, objective=objective, pretrained=pretrained,
            pretraining_steps=pretraining_steps, steps=steps, batch_size=batch_size, learning_rate=learning_rate,
            validation_fraction=validation_fraction, patience=patience, random_state=random_state,
        )  # fmt: skip
        self.entropy_weight = entropy_weight
        self.pseudo_labels = pseudo_labels

    def fit(self, X: Any, y: ArrayLike, *, unlabelled: Any = None) -> "TabTransformerClassifier":
        """Pre-trains if asked to, then trains on the labelled rows.

        Args:
            X: `[N, columns]` DataFrame (or array).
            y: `[N]` labels of two or more classes, without gaps; -1 is a class like others.
            unlabelled: more rows with the same columns, without labels; encoder, pre-training, entropy and
                pseudo-labels see them.

        Returns:
            Itself.

        Raises:
            TabularError: options or a table that do not serve.
            ValueError: what scikit-learn refuses in `X` and `y`.
        """
        self._check_options()
        if (self.entropy_weight or self.pseudo_labels) and unlabelled is None:
            raise TabularError("entropy_weight and pseudo_labels learn from unlabelled rows; give fit unlabelled=")
        labels = column_or_1d(y, warn=True)
        missing = np.asarray(pd.isna(labels))
        if missing.any():
            row = int(np.argmax(missing))
            raise TabularError(f"y[{row}] is missing: leave such rows out, or give their X as unlabelled")
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise TabularError(f"y holds one class only, {self.classes_.tolist()}: give labels of two or more")
        self._fit(X, codes.astype(np.int32), unlabelled, len(self.classes_), classifier_score)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, float64 `[N, C]`."""
        table = self._encoded(X)
        return softmax(predict_table(self.network_, self.params_, table).astype(np.float64), axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The most likely label of each row, `[N]`."""
        places = self.predict_proba(X).argmax(1)  # first, since it says that the model is not fitted
        return self.classes_[places]

    def _loss(self) -> SupervisedLoss:
        return SupervisedLoss(self.network_, entropy=float(self.entropy_weight), pseudo=bool(self.pseudo_labels))

    def _check_options(self) -> None:
        super()._check_options()
        check_number("entropy_weight", self.entropy_weight)
        check_choice("pseudo_labels", self.pseudo_labels, (False, True))


class TabTransformerRegressor(RegressorMixin, _TabTransformer):
    """Predicts a number for rows of a table with category columns.

    Its options and attributes are those of `TabTransformerClassifier`, but for `classes_`, `entropy_weight` and
    `pseudo_labels`; `scores_` is R^2.

    Attributes:
        center_, scale_: mean and deviation of the targets of `fit`.

    Source: Huang et al. 2020.
    """

    _regression = True

    def fit(self, X: Any, y: ArrayLike, *, unlabelled: Any = None) -> "TabTransformerRegressor":
        """Pre-trains if asked to, then trains on the rows with targets; see `TabTransformerClassifier.fit`.

        Args:
            X: `[N, columns]` DataFrame (or array). y: `[N]` finite numbers. unlabelled: more rows without targets.

        Returns:
            Itself.

        Raises:
            TabularError: options or a table that do not serve.
            ValueError: what scikit-learn refuses in `X` and `y`.
        """
        self._check_options()
        targets: Any = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=np.float64, input_name="y")
        self.center_, self.scale_ = float(targets.mean()), float(targets.std()) or 1.0
        scaled = ((targets - self.center_) / self.scale_).astype(np.float32)
        self._fit(X, scaled, unlabelled, 1, regressor_score)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """A value for each row, float64 `[N]`."""
        table = self._encoded(X)
        return predict_table(self.network_, self.params_, table)[:, 0].astype(np.float64) * self.scale_ + self.center_
