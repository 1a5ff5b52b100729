"""Fits of every label model on one dataset, and their scores on its test rows."""

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import sparse

from experiments.weasul_data import SPLITS, VoteStudy
from experiments.weasul_study import END_MODEL, TEXT_END_MODEL, has_words
from jlabel.weak_supervision import (
    Dependency,
    EndClassifier,
    as_buckets,
    bucket_oracle,
    choose_model,
    class_shares,
    fit_latent_class,
    identifiability_report,
    majority_vote,
    predict_probs,
)
from jlabel.weak_supervision.scores import guess_shares

__all__ = ["Scored", "row_scores", "score_study"]

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
    return {
        "accuracy": guess_shares(probs)[rows, labels],
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
    choose = functools.partial(choose_model, buckets, val.votes, val.labels, num_classes=classes, key=key)
    latent = choose(cliques=groups, strengths=strengths)
    strength = latent.options["prior_strength"]
    notes = [f"Latent class: on validation rows the balance {latent.balance} and prior strength {strength:g} are best."]
    grid = [
        [one["balance"], f"{one['prior_strength']:g}", f"{one['accuracy']:.3f}", f"{one['nll']:.3f}"]
        for one in latent.tried
    ]
    models: dict[str, Any] = {
        "latent class, chosen": latent.model,
        "latent class, default": _quiet(fit_latent_class)(buckets, num_classes=classes, cliques=groups, key=key),
    }
    if groups:
        models["latent class, no groups"] = _quiet(fit_latent_class)(buckets, num_classes=classes, key=key)
    matrix = choose(method="matrix_completion", cliques=groups)
    models["matrix completion"] = matrix.model
    notes.append(f"Matrix completion: the balance {matrix.balance} is best.")
    if classes == 2:
        loose = choose(method="matrix_completion", cliques=groups, constrain=False, starts=1)
        models["matrix completion, unconstrained"] = loose.model
        # Rules of a clique may say the same for reasons of their own.
        pairs = sorted({pair for clique in groups for pair in itertools.combinations(sorted(clique), 2)})
        graph = choose(method="factor_graph", dependencies=tuple(Dependency("similar", j, k) for j, k in pairs))
        models["factor graph"] = graph.model
        notes.append(f"Factor graph: the balance {graph.balance} is best.")

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
            "end model on latent class": predict_probs(latent.model, train.votes),
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


def _quiet(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A fit without warnings: the report lists them once."""

    def fitted(*args: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(*args, **options)

    return fitted
