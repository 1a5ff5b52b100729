"""Trust that is earned: how likely a shared label is, given what each of its teachers says."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jax.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import entr, expit, log_softmax

from jlabel.amalgamation.checks import AmalgamationError, as_numbers
from jlabel.amalgamation.labels import label_union
from jlabel.amalgamation.teachers import Teacher, as_teachers

__all__ = ["Trust", "earn_trust", "labels_of_rows", "trust_from_logits"]

_FLOOR = 0.01  # nats that every teacher is given: below this, agreement with other labels is chance
_WEIGHT_STRENGTH = 5.0  # nats of the labelled rows' likelihood that one nat of distance from the prior weights costs
_BIAS_PRECISION = 10.0  # of the normal prior of a label's bias, in logits
_FAR = 9.2  # a surer logit counts as this one: one teacher's certainty must not outvote all others


class Trust(NamedTuple):
    """How likely shared labels are, given the logits of the teachers: ``sigmoid(bias[c] + sum_t weights[c, t] v_t)``.

    Attributes:
      label_names: S shared labels. teacher_names: M teachers. weights: ``(S, M)``, rows sum to 1; 0 where the teacher
        does not know the label. bias: ``(S,)`` logits. information: ``(S, M)`` nats that the teacher's predictions of
        the label tell about all other labels, NaN where it does not know it. num_labelled: ``(S,)`` labelled rows used.
    """

    label_names: tuple[str, ...]
    teacher_names: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    information: np.ndarray
    num_labelled: np.ndarray

    def probs(self, teachers: Sequence[Teacher], logits: Sequence[np.ndarray]) -> np.ndarray:
        """Trusted probabilities of the union's labels, float32 ``(N, L)``; NaN for labels that are not shared.

        Args:
          teachers: the M teachers, in any order. logits: ``(N, L_t)`` of each of them.

        Raises:
          AmalgamationError: other teachers than those that earned this trust.
        """
        names = tuple(teacher.name for teacher in teachers)
        if set(names) != set(self.teacher_names):
            raise AmalgamationError(f"trust was earned by {list(self.teacher_names)}; the teachers are {list(names)}")
        union = label_union([teacher.label_names for teacher in teachers])
        found = np.full((len(logits[0]), len(union)), np.nan, np.float32)
        for label, weights, bias in zip(self.label_names, self.weights, self.bias, strict=True):
            said = _said(teachers, logits, label)
            missing = [self.teacher_names[t] for t in np.flatnonzero(weights) if self.teacher_names[t] not in said]
            if missing or label not in union:
                raise AmalgamationError(f"trust was earned on label {label!r} by {missing}, who do not know it now")
            order = [self.teacher_names.index(name) for name in said]
            found[:, union.index(label)] = expit(bias + weights[order] @ np.stack(list(said.values())))
        return found

    def table(self) -> pd.DataFrame:
        """One line for each shared ``label`` and ``teacher``: its ``weight``, ``information``, the label's ``bias``."""
        return pd.DataFrame(
            [
                {
                    "label": label,
                    "teacher": teacher,
                    "weight": self.weights[c, t],
                    "information": self.information[c, t],
                    "bias": self.bias[c],
                    "labelled_rows": int(self.num_labelled[c]),
                }
                for c, label in enumerate(self.label_names)
                for t, teacher in enumerate(self.teacher_names)
                if not np.isnan(self.information[c, t])
            ],
            columns=["label", "teacher", "weight", "information", "bias", "labelled_rows"],
        )


def earn_trust(
    teachers: Mapping[str, Any] | Sequence[Any],
    features: Any,
    labels: ArrayLike | pd.DataFrame | None = None,
    rows: ArrayLike | None = None,
) -> Trust:
    """Finds out how far to believe each teacher on each shared label.

    A teacher trained on wrong labels tells less about everything that goes with the label: with y_c, y_u independent
    given the row, and P_c = p_t of the label, P_u the mean prediction of the teachers of another label u,

        information_t = sum over u != c of I(y_c; y_u),   P(y_c = a, y_u = b) = mean over rows of P_c(a) P_u(b),

    which random errors in training labels (missing, spurious) and noise in predictions can only lower: both come after
    the label (data processing inequality). Without labels the weights are ``w_t ~ (information_t + 0.01)^2`` and the
    bias is 0. Labelled rows move both, label by label, to the maximum of

        sum_i log P(y_i | bias + sum_t w_t v_t)  -  5 KL(w, w without labels)  -  5 bias^2,   w >= 0,  sum_t w_t = 1.

    Trust without labels rests on the teachers' word: one that is sure and wrong in the same way about several labels
    keeps it. Use labels where teachers are of different kinds or were trained on few rows.

    Args:
      teachers: M teachers, as for `transfer_targets`. features: the rows, ``(N, D)`` array or DataFrame.
      labels: of some of the rows, 0, 1 or NaN (not known): a DataFrame with label names as columns, or an array with
        one column for each label of the union. rows: which rows ``labels`` are of, their numbers ``(n,)``. None:
        by index where both are DataFrames; otherwise ``labels`` has all N rows.

    Returns:
      `Trust`, for `transfer_targets`.

    Raises:
      AmalgamationError: labels that are neither 0, 1 nor NaN, columns that are no labels, rows that are not there.

    Example:
      >>> sound = pd.DataFrame({"car": [0.9, 0.8, 0.1, 0.1], "road": [0.9, 0.9, 0.1, 0.1]})
      >>> vague = pd.DataFrame({"car": [0.5, 0.3, 0.2, 0.1], "tree": [0.3, 0.1, 0.9, 0.8]})
      >>> earn_trust({"sound": sound, "vague": vague}, sound).table()[["label", "teacher", "weight"]].round(2)
        label teacher  weight
      0   car   sound    0.98
      1   car   vague    0.02
    """
    known = as_teachers(teachers)
    logits = [teacher.logits(features) for teacher in known]
    union = label_union([teacher.label_names for teacher in known])
    return trust_from_logits(known, logits, labels_of_rows(labels, rows, features, union))


def trust_from_logits(teachers: Sequence[Teacher], logits: Sequence[np.ndarray], labels: np.ndarray | None) -> Trust:
    """`earn_trust` on the logits of the rows; labels ``(N, L)`` with NaN where not known."""
    union = label_union([teacher.label_names for teacher in teachers])
    names = [teacher.name for teacher in teachers]
    said = [_said(teachers, logits, label) for label in union]
    pooled = np.stack([expit(np.mean(list(one.values()), axis=0)) for one in said], axis=1)
    shared = [c for c, one in enumerate(said) if len(one) > 1]
    shape = (len(shared), len(names))
    weights, information = np.zeros(shape), np.full(shape, np.nan)
    bias, counts = np.zeros(len(shared)), np.zeros(len(shared), int)
    for k, c in enumerate(shared):
        places = [names.index(name) for name in said[c]]
        values = np.stack(list(said[c].values()))
        found = np.array([_information(expit(one), np.delete(pooled, c, axis=1)) for one in values])
        prior = (found + _FLOOR) ** 2
        prior /= prior.sum()
        information[k, places] = found
        if labels is not None:
            there = np.flatnonzero(~np.isnan(labels[:, c]))
            counts[k] = len(there)
            prior, bias[k] = _fit(values[:, there], labels[there, c], prior)
        weights[k, places] = prior
    return Trust(tuple(union[c] for c in shared), tuple(names), weights, bias, information, counts)


def _said(teachers: Sequence[Teacher], logits: Sequence[np.ndarray], label: str) -> dict[str, np.ndarray]:
    """What those that know a label say about it, float64 (N,) by name."""
    return {
        teacher.name: np.clip(said[:, teacher.label_names.index(label)].astype(np.float64), -_FAR, _FAR)
        for teacher, said in zip(teachers, logits, strict=True)
        if label in teacher.label_names
    }


def _information(probs: np.ndarray, others: np.ndarray) -> float:
    """Mutual information in nats between one label (N,) and each of the others (N, U), summed."""
    if not len(probs) or not others.shape[1]:
        return 0.0
    both = probs @ others / len(probs)
    one, other = probs.mean(), others.mean(axis=0)
    joint = np.stack([both, one - both, other - both, 1 - one - other + both])
    return float(
        np.maximum(
            entr([one, 1 - one]).sum() + (entr(other) + entr(1 - other)) - entr(np.maximum(joint, 0)).sum(0), 0
        ).sum()
    )


def _fit(logits: np.ndarray, labels: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias of the largest posterior: logits (K, n), labels (n,) of 0 and 1."""
    log_prior = np.log(prior)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        log_weights, bias = log_softmax(point[:-1]), point[-1]
        weights = np.exp(log_weights)
        score = bias + weights @ logits
        value = np.logaddexp(0, score).sum() - labels @ score
        value += _WEIGHT_STRENGTH * weights @ (log_weights - log_prior) + _BIAS_PRECISION * bias**2 / 2
        error = expit(score) - labels
        slope = logits @ error + _WEIGHT_STRENGTH * (log_weights - log_prior)
        return value, np.append(weights * (slope - weights @ slope), error.sum() + _BIAS_PRECISION * bias)

    best = minimize(loss, np.append(log_prior, 0.0), jac=True, method="L-BFGS-B").x
    return np.exp(log_softmax(best[:-1])), float(best[-1])


def labels_of_rows(
    labels: ArrayLike | pd.DataFrame | None, rows: ArrayLike | None, features: Any, union: tuple[str, ...]
) -> np.ndarray | None:
    """Labels of all N rows, float64 ``(N, L)``, NaN where not known."""
    if labels is None:
        if rows is not None:
            raise AmalgamationError("rows are given without labels: give the labels of these rows")
        return None
    number = len(features)
    if isinstance(labels, pd.DataFrame):
        extra = [name for name in labels.columns if name not in union]
        if extra:
            raise AmalgamationError(f"labels has the columns {extra}; no teacher knows them, only {list(union)}")
        if rows is None and isinstance(features, pd.DataFrame):
            rows = places = features.index.get_indexer_for(labels.index)
            if len(places) != len(labels) or (places < 0).any():
                raise AmalgamationError("labels: its index names rows that features do not have, or have several times")
        labels = labels.reindex(columns=list(union))
    values = as_numbers("labels", labels, ("row", "label")).astype(np.float64)
    if values.shape[1] != len(union):
        raise AmalgamationError(f"labels has {values.shape[1]} columns; the labels are {list(union)}")
    bad = ~(np.isnan(values) | (values == 0) | (values == 1))
    if bad.any():
        row, label = (int(k) for k in np.argwhere(bad)[0])
        raise AmalgamationError(
            f"labels: row {row}, label {union[label]!r} is {values[row, label]}; allowed: 0, 1, NaN"
        )
    places = np.arange(number) if rows is None else np.asarray(rows)
    if places.shape != (len(values),):
        raise AmalgamationError(
            f"labels has {len(values)} rows; {'features' if rows is None else 'rows'} {len(places)}"
        )
    if len(places) and (places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= number):
        raise AmalgamationError(f"rows must be numbers of rows, from 0 to {number - 1}")
    found = np.full((number, len(union)), np.nan)
    found[places] = values
    return found
