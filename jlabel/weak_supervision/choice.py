"""The class balance and prior strength of a label model, chosen on rows whose class is known."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.buckets import as_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes
from jlabel.weak_supervision.decode import predict_probs
from jlabel.weak_supervision.methods import check_method, fit_method
from jlabel.weak_supervision.scores import tied_accuracy

STRENGTHS = (0.0, 0.1, 1.0, 5.0, 20.0, 100.0)


class Choice(NamedTuple):
    """The model that `choose_model` found best.

    Attributes:
        model: It. options: Its settings, `balance` and (latent class) `prior_strength`, for another fit.
        balance: Name of its balance: learned, uniform, or of the labelled rows.
        tried: One dict a candidate: `balance`, `prior_strength` (None where there is none), `accuracy`, `nll`.
    """

    model: Any
    options: dict[str, Any]
    balance: str
    tried: list[dict[str, Any]]


def choose_model(
    votes: Any,
    dev_votes: Any,
    dev_labels: ArrayLike,
    *,
    num_classes: int,
    method: str = "latent_class",
    balances: Mapping[str, ArrayLike | None] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    key: jax.Array,
    **options: Any,
) -> Choice:
    """Fits a label model with each balance and prior strength, and keeps the best on rows of known class.

    Best is the highest accuracy on the labelled rows (tied classes share), then the highest likelihood of their labels.
    How much to trust the rules' prior accuracy changes a model of many classes more than anything else, and the votes
    alone do not tell: some 100 labelled rows do.

    Args:
        votes: `(N, M)` votes to fit, -1 abstains, or `Buckets`.
        dev_votes: `(K, M)` votes of the labelled rows.
        dev_labels: `(K,)` their classes, -1 where unknown.
        num_classes: C.
        method: `"latent_class"`, `"matrix_completion"` or `"factor_graph"`.
        balances: Name to class balance, None learns it; by default learned (latent class only), uniform, and the
            shares of the labelled rows.
        strengths: Of the prior (latent class only).
        key: Typed key.
        options: Further settings of the method.

    Returns:
        `Choice`.

    Raises:
        WeakSupervisionError: No labelled row, or what the method refuses.

    Example:
        >>> votes = np.array([[1, 1, -1], [1, 1, 1], [0, -1, 0], [0, 0, 0], [1, 0, 1]] * 4)
        >>> found = choose_model(votes, votes[:5], [1, 1, 0, 0, 1], num_classes=2, key=jax.random.key(0))
        >>> found.balance, sorted(found.options), len(found.tried)
        ('learned', ['balance', 'prior_strength'], 18)
    """
    classes = check_num_classes(num_classes)
    has_prior = check_method(method) == "latent_class"
    labels = as_labels("dev_labels", dev_labels, low=-1, high=classes)
    dev = as_buckets(dev_votes, num_classes=classes)
    if dev.inverse is None or len(dev.inverse) != len(labels):
        rows = len(dev.counts if dev.inverse is None else dev.inverse)
        raise WeakSupervisionError(f"dev_labels has {len(labels)} entries for {rows} rows of dev_votes")
    if not (labels >= 0).any():
        raise WeakSupervisionError("dev_labels holds no class: fit without labelled rows")
    if "prior_strength" in options:
        raise WeakSupervisionError("prior_strength is chosen here; give the candidates as strengths")
    places, truth = dev.inverse[labels >= 0], labels[labels >= 0]
    if balances is None:
        # A class that the labels lack may still occur.
        shares = np.maximum(np.bincount(truth, minlength=classes) / len(truth), 1e-3)
        balances = {"uniform": np.full(classes, 1 / classes), "of the labelled rows": shares / shares.sum()}
        if has_prior:
            balances = {"learned": None, **balances}
    buckets = as_buckets(votes, num_classes=classes, keep_sparse=True)._replace(inverse=None)
    best: Choice | None = None
    quality, tried = (-np.inf, -np.inf), []
    for name, strength in itertools.product(balances, strengths if has_prior else (None,)):
        settings: dict[str, Any] = {"balance": balances[name]}
        if strength is not None:
            settings["prior_strength"] = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of candidates; whoever fits the chosen settings hears them
            model = fit_method(method, buckets, num_classes=classes, key=key, **settings, **options)
        probs = predict_probs(model, dev.rows)[places]
        accuracy = tied_accuracy(probs, truth)
        nll = float(-np.log(np.maximum(probs[np.arange(len(truth)), truth], 1e-6)).mean())
        tried.append({"balance": name, "prior_strength": strength, "accuracy": accuracy, "nll": nll})
        if (round(accuracy, 9), -nll) > quality:
            quality, best = (round(accuracy, 9), -nll), Choice(model, settings, name, tried)
    if best is None:
        raise WeakSupervisionError("balances or strengths is empty: give one or more candidates")
    return best
