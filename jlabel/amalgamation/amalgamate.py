"""The whole road: fitted teachers and unlabelled rows in, one student for all their labels out."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from jlabel.amalgamation.baselines import mean_logit_targets, vote_targets
from jlabel.amalgamation.checks import AmalgamationError, check_choice, is_number
from jlabel.amalgamation.classifiers import select_columns
from jlabel.amalgamation.disagreement import DisagreementReport, disagreement_report
from jlabel.amalgamation.labels import label_union
from jlabel.amalgamation.model import ChainModel, fit_chain
from jlabel.amalgamation.teachers import as_features, as_teachers
from jlabel.amalgamation.transfer import TransferResult, transfer_targets
from jlabel.amalgamation.trust import Trust, labels_of_rows, trust_from_logits

__all__ = ["Amalgamation", "amalgamate"]

_EPOCH_ROWS = 300_000  # rows that a student sees in training, unless `epochs` says otherwise


class Amalgamation(NamedTuple):
    """A student of several teachers, with the columns that it needs and the names of what it predicts.

    Attributes:
      student: the chain, on standardised features. label_names: its L labels. columns: what it sees of the rows, names
        or positions. scaler: fitted on these columns of the training rows.
      targets: what it was trained on, a DataFrame of probabilities with the index of the rows.
      disagreement: who contradicted whom, and what transfer changed. transfer: the arrays behind it.
      trust: None where positive predictions were believed.
    """

    student: ChainModel
    label_names: tuple[str, ...]
    columns: tuple[Any, ...]
    scaler: StandardScaler
    targets: pd.DataFrame
    disagreement: DisagreementReport
    transfer: TransferResult
    trust: Trust | None

    def standardize(self, rows: Any) -> np.ndarray:
        """What the student sees of the rows, float32 ``(N, D)``."""
        every = self.columns == tuple(range(len(self.columns)))
        if every and not isinstance(rows, pd.DataFrame) and np.shape(rows)[1:] != (len(self.columns),):
            raise AmalgamationError(f"rows have shape {np.shape(rows)}; the student knows {len(self.columns)} columns")
        return self.scaler.transform(as_features("rows", select_columns("student", rows, self.columns, None)))

    def predict_proba(self, rows: Any) -> pd.DataFrame:
        """Probabilities of the labels.

        Args:
          rows: a DataFrame with the columns of training, in any order and among others, or an array of these columns.

        Returns:
          ``(N, L)``, one column for each label, with the index of ``rows``.

        Raises:
          AmalgamationError: columns that are missing; NaN, with row and column.
        """
        (teacher,) = as_teachers([self.student])
        probs = expit(teacher.logits(self.standardize(rows)))
        return pd.DataFrame(probs, columns=list(self.label_names), index=getattr(rows, "index", None))


def amalgamate(
    teachers: Mapping[str, Any] | Sequence[Any],
    rows: Any,
    *,
    method: Literal["ant", "tc", "vote"] = "ant",
    trust: Trust | Literal["earned", "positive"] = "earned",
    labelled: ArrayLike | pd.DataFrame | None = None,
    columns: Sequence[Any] | None = None,
    rounds: int = 1,
    hard_targets: bool = False,
    hidden_size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    validation_fraction: float = 0.1,
    key: jax.Array | None = None,
) -> Amalgamation:
    """Trains one student on what several teachers say about unlabelled rows.

    Args:
      teachers: fitted models, by name or in a sequence: scikit-learn classifiers with ``predict_proba``, `ChainModel`,
        probabilities; `as_teacher` where a model needs names for its labels or sees only some of the columns.
      rows: ``(N, D)``, N >= 2, a DataFrame or an array of numbers, as the teachers take them; the more the better.
      method: where targets come from: "ant": `transfer_targets`; "tc": mean logits; "vote": hard majority.
      trust: of "ant": who is right on a disagreement. "earned": `earn_trust`; "positive": who says yes, as published;
        or a `Trust`.
      labelled: true labels of some of the rows, 0, 1 or NaN, as in `earn_trust`; they earn trust, and are the targets
        of their rows.
      columns: what the student sees, names of a DataFrame or positions; None: all columns.
      rounds: of transfer.
      hard_targets: learn from the targets made 0 or 1, where whole label sets matter more than probabilities.
      hidden_size: H of the student; None: 32 for up to 8 labels, doubling with their number to at most 256.
      epochs: at most; the best on the validation rows counts. None: 300,000 rows' worth, 10 to 1000.
      batch_size: None: a 32nd of the rows, 8 to 128.
      learning_rate: Adam's.
      validation_fraction: of the rows, in [0, 1), on whose targets epochs are compared; 0: the last epoch counts.
      key: typed; None: ``jax.random.key(0)``.

    Returns:
      `Amalgamation`; its ``predict_proba`` takes rows and gives a DataFrame.

    Raises:
      AmalgamationError: teachers, rows, labels or options that cannot be used, with their place.

    Example:
      >>> from sklearn.datasets import load_iris  # two teachers: one tells setosas, the other virginicas
      >>> from sklearn.linear_model import LogisticRegression
      >>> from jlabel.amalgamation import as_teacher
      >>> x, y = load_iris(as_frame=True, return_X_y=True)
      >>> teachers = {
      ...     name: as_teacher(LogisticRegression(max_iter=500).fit(x, y == k), label_names=[name])
      ...     for k, name in [(0, "setosa"), (2, "virginica")]
      ... }
      >>> found = amalgamate(teachers, x)  # doctest: +SKIP
      >>> found.predict_proba(x.iloc[[0, 149]]).round(1)  # doctest: +SKIP
           setosa  virginica
      0       1.0        0.0
      149     0.0        0.7
    """
    check_choice("method", method, ("ant", "tc", "vote"))
    if not isinstance(trust, Trust):
        check_choice("trust", trust, ("earned", "positive"))
    if not is_number(validation_fraction) or not 0 <= validation_fraction < 1:
        raise AmalgamationError(f"validation_fraction is {validation_fraction!r}; allowed: from 0, below 1")
    if len(rows) < 2:
        raise AmalgamationError(f"rows has {len(rows)} rows: a student needs 2 or more")
    chosen = _student_columns(rows, columns)
    features = as_features("rows", select_columns("student", rows, chosen, None))
    scaler = StandardScaler(copy=False).fit(features)
    features = scaler.transform(features)

    known = as_teachers(teachers)
    logits = [teacher.logits(rows) for teacher in known]
    names = label_union([teacher.label_names for teacher in known])
    # They were asked once: from here on the answer is at hand.
    known = tuple(
        teacher._replace(predict=functools.partial(_answer, said)) for teacher, said in zip(known, logits, strict=True)
    )
    labels = labels_of_rows(labelled, None, rows, names)
    if trust == "earned":
        trust = trust_from_logits(known, logits, labels)
    earned = trust if isinstance(trust, Trust) and method == "ant" else None
    if method == "ant":
        transfer = transfer_targets(known, rows, rounds=rounds, trust=earned)
        targets = transfer.targets
    else:
        transfer = transfer_targets([teacher._replace(predict_again=None) for teacher in known], rows)
        targets = (mean_logit_targets if method == "tc" else vote_targets)(known, rows)
    if labels is not None:
        targets = np.where(np.isnan(labels), targets, labels).astype(np.float32)
    if hard_targets:
        targets = (targets > 0.5).astype(np.float32)
    transfer = transfer._replace(targets=targets)

    split_key, fit_key = jax.random.split(jax.random.key(0) if key is None else key)
    order = np.asarray(jax.random.permutation(split_key, len(features)))
    held, train = np.split(order, [int(validation_fraction * len(features))])
    size = len(train)
    student = fit_chain(
        features[train],
        targets[train],
        label_names=names,
        hidden_size=_width(len(names)) if hidden_size is None else hidden_size,
        epochs=int(np.clip(_EPOCH_ROWS // size, 10, 1000)) if epochs is None else epochs,
        batch_size=int(np.clip(size // 32, 8, 128)) if batch_size is None else batch_size,
        learning_rate=learning_rate,
        validation=(features[held], targets[held]) if len(held) else None,
        key=fit_key,
    )
    index = getattr(rows, "index", None)
    return Amalgamation(
        student,
        names,
        chosen,
        scaler,
        pd.DataFrame(targets, columns=list(names), index=index),
        disagreement_report(transfer, index=index),
        transfer,
        earned,
    )


def _answer(logits: np.ndarray, rows: Any) -> np.ndarray:
    return logits


def _student_columns(rows: Any, columns: Sequence[Any] | None) -> tuple[Any, ...]:
    if columns is not None:
        return (columns,) if isinstance(columns, str) else tuple(columns)
    if isinstance(rows, pd.DataFrame):
        if not rows.columns.is_unique:
            twice = rows.columns[rows.columns.duplicated()][0]
            raise AmalgamationError(f"rows has the column {twice!r} several times: rename or drop one")
        return tuple(rows.columns)
    if np.ndim(rows) != 2:
        raise AmalgamationError(f"rows must have two axes, (rows, columns), got shape {np.shape(rows)}")
    return tuple(range(np.shape(rows)[1]))


def _width(num_labels: int) -> int:
    return int(np.clip(2 ** np.ceil(np.log2(4 * num_labels)), 32, 256))
