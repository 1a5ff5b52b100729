"""TF-IDF and linear support vector machines: the baseline of texts that needs no encoder."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_expit, log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from experiments.fusion_data import FusionData, Rows
from experiments.fusion_training import Predictions, calibrate, make_predictions, selection_score
from jlabel import InputError
from jlabel.evaluation import fit_temperature, multilabel_f1

__all__ = ["svm_predictions"]

COSTS = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 3


def svm_predictions(data: FusionData, seed: int, num_classes: int, balance: bool) -> Predictions:
    """Train one machine for each class on the fine texts, and predict the test texts.

    C is chosen on validation rows, or on three folds of the fine rows, by the score that chooses for the other methods
    (micro F1 where rows have several labels). Decision values become log-probabilities by a softmax and a temperature;
    where rows have several labels, each by a sigmoid with a temperature of its own.

    Args:
      data: one seed's data, of texts. seed: of folds and solver. num_classes: F. balance: choose by balanced accuracy.

    Returns:
      Its predictions, without parameters and history.

    Raises:
      InputError: no training text holds a word.

    Source: Joachims, "Text categorization with support vector machines", 1998; scikit-learn's `LinearSVC`.
    """
    held = data.val if data.val is not None else data.train
    if data.val is not None:
        found = _decisions(data.train, data.val, num_classes, COSTS, seed)
    else:
        found, fold = np.zeros((len(COSTS), len(held), num_classes)), _folds(data.train.fine, seed)
        for f in np.unique(fold):
            kept, left = (data.train.take(np.flatnonzero(part)) for part in (fold != f, fold == f))
            found[:, fold == f] = _decisions(kept, left, num_classes, COSTS, seed)
    scores = [_score(values, held, balance) for values in found]
    best = int(np.argmax(scores))  # the smallest C of equally good ones
    tried = found[best]
    test = _decisions(data.train, data.test, num_classes, COSTS[best : best + 1], seed)[0]
    if held.fine_sets is None:
        held_probs, log_probs = log_softmax(tried, axis=-1), log_softmax(test, axis=-1)
    else:
        # A sigmoid is a softmax against 0. Without its temperature it hardly tells a clear yes from a doubtful one.
        pairs = np.stack([np.zeros_like(tried), tried], axis=-1).reshape(-1, 2)
        scale = fit_temperature(pairs, held.fine_sets.reshape(-1).astype(int))
        held_probs, log_probs = log_expit(tried / scale), log_expit(test / scale)
    fitted = calibrate(held_probs, held)
    outputs = {"log_probs": log_probs, "decoded": test.argmax(1)}
    return make_predictions(None, [], outputs, fitted, None, {"C": COSTS[best]}, scores[best])


def _folds(fine: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row ``[N]``: every class lies in all of them where it has the rows for it."""
    order = np.random.default_rng(seed).permutation(len(fine))
    fold = np.zeros(len(fine), int)
    fold[order[np.argsort(fine[order], kind="stable")]] = np.arange(len(fine)) % FOLDS
    return fold


def _decisions(train: Rows, rows: Rows, num_classes: int, costs: Sequence[float], seed: int) -> np.ndarray:
    """Decision values ``[costs, N, F]``; a class without training rows has the lowest of each row."""
    assert train.texts is not None
    assert rows.texts is not None
    words = TfidfVectorizer(sublinear_tf=True)
    try:
        features = words.fit_transform(train.texts)
    except ValueError as error:
        raise InputError(
            f"{train.source.spec}: no training text holds a word of two letters or more, so TF-IDF has no features; "
            "leave its method out of --methods"
        ) from error
    unseen = words.transform(rows.texts)
    truth = np.eye(num_classes, dtype=bool)[train.fine] if train.fine_sets is None else train.fine_sets
    some, all_rows = truth.any(0), truth.all(0)
    found = np.ones((len(costs), len(rows), num_classes))
    for c, cost in enumerate(costs):
        for k in np.flatnonzero(some & ~all_rows):
            machine = LinearSVC(C=cost, max_iter=10_000, random_state=seed).fit(features, truth[:, k])
            found[c, :, k] = machine.decision_function(unseen)
    found[..., ~some] = np.minimum(found[..., some].min(-1, keepdims=True), -1.0)
    return found


def _score(values: np.ndarray, rows: Rows, balance: bool) -> float:
    if rows.fine_sets is not None:
        return multilabel_f1(values > 0, rows.fine_sets, average="micro")
    return selection_score(balance)(values.argmax(1), rows.fine)
