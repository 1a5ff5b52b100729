"""Fits of every label model on one dataset, and their scores on its test rows."""

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import sparse

from experiments.weasul_data import SPLITS, VotePart, VoteStudy
from experiments.weasul_study import END_MODEL, TEXT_END_MODEL, has_words
from jlabel.weak_supervision import (
    Dependency,
    EndClassifier,
    as_buckets,
    bucket_oracle,
    class_shares,
    fit_factor_graph,
    fit_latent_class,
    fit_matrix_completion,
    identifiability_report,
    majority_vote,
    predict_probs,
)

__all__ = ["Scored", "choose_latent_class", "row_scores", "score_study"]

FLOOR = 1e-6  # of probabilities in the likelihood


class Scored(NamedTuple):
    """What one draw of a dataset gave.

    Attributes:
      study: The data. scores: Method to metric to values (N,) of the test rows.
      confidence: Method to the probability of the likeliest class (N,). right: Method to whether it is the true one.
      grid: Lines of the choice of prior strength. notes: What was chosen. warnings: (model, line) for people.
    """

    study: VoteStudy
    scores: Mapping[str, Mapping[str, np.ndarray]]
    confidence: Mapping[str, np.ndarray]
    right: Mapping[str, np.ndarray]
    grid: Sequence[Sequence[str]]
    notes: Sequence[str]
    warnings: Sequence[tuple[str, str]]


def row_scores(probs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy of each row (tied classes share) and its negative log likelihood.

    >>> found = row_scores(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))
    >>> found["accuracy"].tolist(), found["NLL"].round(3).tolist()
    ([0.5, 1.0], [0.693, 0.288])
    """
    rows = np.arange(len(labels))
    best = probs >= probs.max(1, keepdims=True) - 1e-9
    return {
        "accuracy": (best / best.sum(1, keepdims=True))[rows, labels],
        "NLL": -np.log(np.maximum(probs[rows, labels], FLOOR)),
    }


def score_study(
    study: VoteStudy,
    *,
    cliques: tuple[tuple[int, ...], ...] = (),
    strengths: Sequence[float],
    seed: int,
    end_models: bool = True,
) -> Scored:
    """Fit everything on the training votes, choose on the validation rows, score on the test rows."""
    train, val, test = (study.parts[split] for split in SPLITS)
    classes, key = study.num_classes, jax.random.key(seed)
    groups = cliques or study.cliques
    buckets = as_buckets(train.votes, num_classes=classes)._replace(inverse=None)
    balances = _balances(study)
    latent, note, grid = choose_latent_class(study, cliques=groups, strengths=strengths, key=key)
    notes = [note]

    fit_matrix = functools.partial(fit_matrix_completion, buckets, num_classes=classes, cliques=groups, key=key)
    models: dict[str, Any] = {
        "latent class, chosen": latent,
        "latent class, default": _quiet(fit_latent_class)(buckets, num_classes=classes, cliques=groups, key=key),
    }
    if groups:
        models["latent class, no groups"] = _quiet(fit_latent_class)(buckets, num_classes=classes, key=key)
    known = {name: balance for name, balance in balances.items() if balance is not None}
    models["matrix completion"], chosen = _best(fit_matrix, known, val)
    notes.append(f"Matrix completion: the balance {chosen} is best.")
    if classes == 2:
        models["matrix completion, unconstrained"], _ = _best(
            functools.partial(fit_matrix, constrain=False, starts=1), known, val
        )
        # Rules of a clique may say the same for reasons of their own.
        pairs = sorted({pair for clique in groups for pair in itertools.combinations(sorted(clique), 2)})
        similar = tuple(Dependency("similar", j, k) for j, k in pairs)
        models["factor graph"], chosen = _best(
            functools.partial(fit_factor_graph, buckets, similar, key=key), known, val
        )
        notes.append(f"Factor graph: the balance {chosen} is best.")

    probs = {"majority vote": majority_vote(test.votes, num_classes=classes)}
    probs |= {name: predict_probs(model, test.votes) for name, model in models.items()}
    probs["trivial class"] = class_shares(train.labels, len(test.labels), num_classes=classes)
    # With the test rows' own labels: what no function of the votes can exceed on them.
    probs["bucket oracle"] = bucket_oracle(test.votes, test.labels, test.votes, num_classes=classes)
    if end_models:
        text = has_words(study)
        end = EndClassifier(**(TEXT_END_MODEL if text else END_MODEL), random_state=seed)  # type: ignore[arg-type]
        # Words stay as they are: on a common scale the rare ones would drown the others.
        form: Callable[[np.ndarray], Any] = sparse.csr_array if text else np.asarray
        targets = {
            "end model on latent class": predict_probs(latent, train.votes),
            "end model on majority vote": majority_vote(train.votes, num_classes=classes),
            "supervised end model": np.eye(classes)[train.labels],
        }
        for name, target in targets.items():
            probs[name] = end.fit(form(train.features), target).predict_proba(form(test.features))
    said = [
        (name, line)
        for name in ("latent class, chosen", "matrix completion")
        for line in identifiability_report(models[name], buckets)["warnings"]
    ]
    return Scored(
        study,
        {name: row_scores(p, test.labels) for name, p in probs.items()},
        {name: p.max(1) for name, p in probs.items()},
        {name: p.argmax(1) == test.labels for name, p in probs.items()},
        grid,
        notes,
        said,
    )


def _balances(study: VoteStudy) -> dict[str, np.ndarray | None]:
    """Class balances to choose from; None learns it, where the method can."""
    classes = study.num_classes
    shares = np.maximum(class_shares(study.parts["val"].labels, 1, num_classes=classes)[0], 1e-3)
    return {"learned": None, "uniform": np.full(classes, 1 / classes), "of validation rows": shares / shares.sum()}


def choose_latent_class(
    study: VoteStudy, *, cliques: tuple[tuple[int, ...], ...], strengths: Sequence[float], key: jax.Array
) -> tuple[Any, str, list[list[str]]]:
    """The latent class model whose balance and prior strength are best on validation rows, a note, and the choice."""
    train, val, classes = study.parts["train"], study.parts["val"], study.num_classes
    buckets = as_buckets(train.votes, num_classes=classes)._replace(inverse=None)
    grid, found = [], []
    for name, balance in _balances(study).items():
        for strength in strengths:
            model = _quiet(fit_latent_class)(
                buckets, num_classes=classes, balance=balance, cliques=cliques, prior_strength=strength, key=key
            )
            quality = _quality(model, val)
            found.append((quality, name, strength, model))
            grid.append([name, f"{strength:g}", f"{quality[0]:.3f}", f"{-quality[1]:.3f}"])
    _, name, strength, model = max(found, key=lambda one: one[0])
    note = f"Latent class: on validation rows the balance {name} and prior strength {strength:g} are best."
    return model, note, grid


def _quality(model: Any, part: VotePart) -> tuple[float, float]:
    """Accuracy and log likelihood, the more the better."""
    found = row_scores(predict_probs(model, part.votes), part.labels)
    return round(float(found["accuracy"].mean()), 9), -float(found["NLL"].mean())


def _best(fit: Callable[..., Any], balances: Mapping[str, np.ndarray], part: VotePart) -> tuple[Any, str]:
    """The model that is best on validation rows, and its balance."""
    found = [(_quiet(fit)(balance=balance), name) for name, balance in balances.items()]
    return max(found, key=lambda one: _quality(one[0], part))


def _quiet(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A fit without warnings: the report lists them once."""

    def fitted(*args: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(*args, **options)

    return fitted
