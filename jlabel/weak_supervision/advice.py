"""Which of the dependencies that someone proposes to keep: from votes alone, or from a few labelled rows."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.dependencies import Dependency, check_dependencies
from jlabel.weak_supervision.factor_graph import (
    check_balance,
    factor_graph_probs,
    two_class_votes,
    vote_log_likelihood,
)
from jlabel.weak_supervision.graph_fit import fit_factor_graph

__all__ = ["DependencyAdvice", "choose_dependencies"]


class DependencyAdvice(NamedTuple):
    """What was found about one proposed dependency.

    Attributes:
        dependency: The dependency.
        keep: Whether to model it.
        gain: By how much the mean `log p(votes)` of held-out rows rose with it, in nats.
        error: Standard error of the gain, over these rows.
        label_gain: By how much the mean `log p(label | votes)` of the labelled rows rose; NaN without labels.
        label_error: Standard error of the label gain; NaN without labels.
    """

    dependency: Dependency
    keep: bool
    gain: float
    error: float
    label_gain: float
    label_error: float


def choose_dependencies(
    votes: ArrayLike,
    candidates: Sequence[Any],
    *,
    rows: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    balance: Any = 0.5,
    block: int = 1,
    z: float = 2.0,
    veto: float = 1.0,
    l2: float = 1e-3,
    key: jax.Array,
) -> list[DependencyAdvice]:
    """Goes through proposed dependencies, strongest first, and keeps those that prove themselves.

    Each is added to those kept so far, and the graph is fitted anew on half of the rows (by `key`), without labels.

    - It must exist: the mean `log p(votes)` of the other half must rise by more than `z` standard errors of the paired
      differences. Votes cannot tell what exists but misleads about the label, such as a tie between two rules that
      has nothing to do with it, modelled by a kind that has.
    - With the labels of some rows, it must not mislead: it goes where the mean `log p(label | votes)` of these rows
      falls by more than `veto` standard errors. A few hundred rows find what is worth finding.

    Args:
        votes: `(N, M)` votes -1 (abstain), 0 or 1.
        candidates: `Dependency` or (kind, j, k), the strongest first, such as those of `learn_structure`.
        rows: Row numbers of the labelled rows.
        labels: Their classes, 0 or 1.
        balance: `p(y = 1)`, or the probabilities of both classes.
        block: How many candidates are judged together, for long lists.
        z: How many standard errors the votes' gain must reach.
        veto: How many standard errors the labels' loss may reach.
        l2: As in `fit_factor_graph`.
        key: Typed key; draws the halves.

    Returns:
        One `DependencyAdvice` for each candidate, in the order given; candidates of a block share gains and verdict.

    Raises:
        WeakSupervisionError: As `fit_factor_graph`; or fewer than four rows or two labelled ones, `rows` without
            `labels`, or a setting out of range.

    Example:
        >>> from jlabel.weak_supervision.factor_graph import FactorGraph, sample_votes
        >>> there = Dependency("similar", 0, 1)
        >>> truth = FactorGraph(np.full(4, 0.8), np.zeros(4), (there,), np.array([1.5]))
        >>> votes, _ = sample_votes(truth, 4000, key=jax.random.key(0))
        >>> advice = choose_dependencies(votes, [there, ("similar", 2, 3)], key=jax.random.key(1))
        >>> [one.keep for one in advice]
        [True, False]
    """
    checked = two_class_votes(votes)
    proposed = check_dependencies(candidates, checked.shape[1])
    pi = check_balance(balance)
    if isinstance(block, bool) or not isinstance(block, int | np.integer) or block < 1:
        raise WeakSupervisionError(f"block is {block!r}; give a whole number of 1 or more")
    for name, value in (("z", z), ("veto", veto)):
        if not 0 <= value < np.inf:
            raise WeakSupervisionError(f"{name} is {value!r}; give a number of 0 or more")
    if len(checked) < 4:
        raise WeakSupervisionError(f"votes has {len(checked)} rows; advice needs four or more")
    places, classes = _labelled(rows, labels, len(checked))
    split_key, fit_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(split_key, len(checked)))
    train, held_out = np.split(checked[order], [len(order) // 2])

    def scores(dependencies: list[Dependency]) -> tuple[np.ndarray, np.ndarray]:
        with warnings.catch_warnings():  # each fit would say again which rules of this half never vote
            warnings.simplefilter("ignore", UserWarning)
            graph = fit_factor_graph(train, dependencies, balance=pi, l2=l2, inference="exact", key=fit_key)
        of_votes = vote_log_likelihood(graph, held_out)
        right = factor_graph_probs(graph, checked[places])[np.arange(len(places)), classes]
        # A vote that no fitting row holds is as unlikely under every graph.
        return np.where(np.isfinite(of_votes), of_votes, 0.0), np.log(np.maximum(right, 1e-12))

    kept: list[Dependency] = []
    best, advice = scores(kept), []
    for start in range(0, len(proposed), block):
        part = list(proposed[start : start + block])
        found = scores(kept + part)
        (gain, error), (label_gain, label_error) = (_mean(new - old) for new, old in zip(found, best, strict=True))
        keep = gain > max(z * error, 0) and not label_gain < -veto * label_error
        if keep:
            kept, best = kept + part, found
        advice += [DependencyAdvice(one, keep, gain, error, label_gain, label_error) for one in part]
    return advice


def _labelled(rows: Any, labels: Any, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked row numbers and classes, empty without labels."""
    if (rows is None) != (labels is None):
        raise WeakSupervisionError("rows and labels belong together; give both or none")
    if rows is None:
        return np.zeros(0, int), np.zeros(0, int)
    places, classes = np.atleast_1d(np.asarray(rows)), np.atleast_1d(np.asarray(labels))
    if places.ndim != 1 or places.shape != classes.shape or not np.isin(classes, (0, 1)).all():
        raise WeakSupervisionError(f"rows has shape {places.shape}; labels must hold a 0 or 1 for each")
    if places.dtype.kind not in "iu" or ((places < 0) | (places >= num_rows)).any():
        raise WeakSupervisionError(f"rows must be whole numbers of 0 to {num_rows - 1}")
    if len(places) < 2:
        raise WeakSupervisionError(f"rows names {len(places)} labelled rows; give two or more")
    return places, classes.astype(int)


def _mean(differences: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; NaN of no rows."""
    if not len(differences):
        return float("nan"), float("nan")
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
