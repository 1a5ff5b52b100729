"""Latent class model: tables of rules and the class balance by maximum a posteriori, with EM over buckets."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import optimize, sparse
from scipy.special import logsumexp

from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes
from jlabel.weak_supervision.givens import check_balance, checked_buckets, count_answers
from jlabel.weak_supervision.groups import (
    CLIP,
    GroupModel,
    Layout,
    build_tables,
    design,
    layout_of,
    plan_groups,
    stored_blocks,
    vote_problems,
)

_CHUNK = 1 << 22  # numbers of a block of responsibilities
_TOLERANCE = 1e-9  # a start stops when a step improves the objective by less than this share of it


class Problem(NamedTuple):
    """What EM sees of the votes.

    Attributes:
        layout: The columns. matrix: `(R, D)` indicators, all-abstain columns empty.
        counts: `(R,)` rows without an answer. answers: `(R, C)` answers.
        silent: Columns that hold where no other of their unit does. owner: `(S,)` their units.
        prior: `(D, C)` pseudo-counts.
        balance: `(C,)`, or None to learn it.
    """

    layout: Layout
    matrix: sparse.csr_array
    counts: np.ndarray
    answers: np.ndarray
    silent: np.ndarray
    owner: np.ndarray
    prior: np.ndarray
    balance: np.ndarray | None


def fit_latent_class(
    votes: Any,
    *,
    num_classes: int,
    balance: ArrayLike | None = None,
    cliques: Sequence[Sequence[int]] = (),
    abstain: str = "category",
    prior_accuracy: ArrayLike = 0.7,
    prior_strength: float = 1.0,
    starts: int = 8,
    max_steps: int = 500,
    expert_rows: ArrayLike | None = None,
    expert_labels: ArrayLike | None = None,
    key: jax.Array,
) -> GroupModel:
    """Find `P(vote | y)` of every clique and the class balance by EM over buckets.

    The prior speaks in each rule's own counts: of its votes for v the share `prior_accuracy` goes to class v, the rest
    evenly to the others, abstentions evenly to all; `prior_strength` 1 makes that as heavy as the votes themselves.
    Choose the strength on validation rows. A joint vote takes the mean over its members that vote. Expert answers are
    observed classes. The first start is the majority vote, the others are blends of it with noise; the highest
    posterior wins.

    Work and memory follow the votes that are no abstention, on distinct rows: the largest objects are these indicators
    (12 bytes a vote) and one `(R, C)` array of responsibilities; tables take `8 D C` bytes a start (D: joint votes).

    Args:
        votes: `(N, M)` integers, -1 abstains; or a sparse matrix that stores `vote + 1`; or `Buckets`.
        num_classes: C.
        balance: `(C,)`, or `P(y = 1)` for two classes; None learns it.
        cliques: Tuples of rules that depend on each other given the class; they may overlap.
        abstain: "category": abstaining is a vote like any other. "ignore": it says nothing, and a rule of one class
            then carries no information.
        prior_accuracy: Share of a rule's votes that the prior holds for right, in (0, 1); one number or `(M,)`.
        prior_strength: Weight of the prior, 0 or more, in multiples of the counts.
        starts: Number of starts.
        max_steps: EM steps of a start at most.
        expert_rows: `(Q,)` rows that an expert labelled; buckets where `votes` is `Buckets` without `inverse`.
        expert_labels: `(Q,)` their classes.
        key: Typed key for the starts after the first.

    Returns:
        `GroupModel`; its loss is the negative log posterior per row; `params` holds `starts` `(S, D, C)`, the
        log tables that starts ended at, their `balances` and `losses`.

    Raises:
        WeakSupervisionError: Bad votes or settings, more than 64 joint votes in a clique, cliques in a chordless ring.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import fit_latent_class, predict_probs
        >>> votes = [[1, 1, -1], [1, 1, 1], [0, -1, 0], [0, 0, 0], [1, 0, 1]]
        >>> model = fit_latent_class(votes, num_classes=2, key=jax.random.key(0))
        >>> predict_probs(model, votes).argmax(1)
        array([1, 1, 0, 0, 1])

    Source:
        Dawid and Skene (1979), with abstention as a vote and a prior that scales with each rule's counts.
    """
    classes = check_num_classes(num_classes)
    buckets = checked_buckets(votes, classes)
    num_rules = buckets.rows.shape[1]
    if abstain not in ("category", "ignore"):
        raise WeakSupervisionError(f'abstain must be "category" or "ignore", got {abstain!r}')
    accuracy = _check_accuracy(prior_accuracy, num_rules)
    if not 0 <= prior_strength < np.inf:
        raise WeakSupervisionError(f"prior_strength must be 0 or more, got {prior_strength!r}")
    for name, value in (("starts", starts), ("max_steps", max_steps)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise WeakSupervisionError(f"{name} must be 1 or more, got {value!r}")
    plan = plan_groups(num_rules, cliques)
    layout = layout_of(buckets.rows, classes, plan.cliques, ignore_abstain=abstain == "ignore")
    matrix = design(layout, buckets.rows, classes)
    answers = count_answers(buckets, expert_rows, expert_labels, classes)
    problem = make_problem(
        layout, matrix, buckets.counts, answers, accuracy, float(prior_strength), check_balance(balance, classes)
    )
    single = column_counts(problem, np.asarray(buckets.counts, np.float64))
    for line in vote_problems(layout, float(buckets.counts.sum()), single, _alike(matrix)):
        warnings.warn(line, stacklevel=2)
    first = majority_shares(buckets.rows, classes)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
    symmetric = prior_strength == 0 and problem.balance is None and not answers.any()
    tables, balances, losses = [], [], []
    for start in range(starts):
        shares = first if not start else 0.5 * first + 0.5 * rng.dirichlet(np.ones(classes), len(first))
        log_tables, pi, loss = run_em(problem, shares, max_steps)
        if symmetric:  # every order of the classes fits alike: take the one that agrees best with the votes
            order = _best_order(layout, log_tables, pi)
            log_tables, pi = log_tables[:, order], pi[order]
        tables.append(log_tables)
        balances.append(pi)
        losses.append(loss)
    best = int(np.argmin(losses))
    return GroupModel(
        plan.groups,
        build_tables(plan, layout, np.exp(tables[best])),
        np.log(balances[best]),
        {"starts": np.stack(tables), "balances": np.stack(balances), "losses": np.array(losses)},
        float(losses[best]),
    )


def _check_accuracy(accuracy: ArrayLike, num_rules: int) -> np.ndarray:
    try:
        values = np.asarray(accuracy, np.float64)
    except (TypeError, ValueError) as error:
        raise WeakSupervisionError(f"prior_accuracy must hold numbers, got {accuracy!r}") from error
    if values.shape not in ((), (num_rules,)):
        raise WeakSupervisionError(
            f"prior_accuracy must be one number or one for each of {num_rules} rules, got shape {values.shape}"
        )
    values = np.broadcast_to(values, (num_rules,))
    bad = ~((values > 0) & (values < 1))
    if bad.any():
        rule = int(np.argmax(bad))
        raise WeakSupervisionError(f"prior_accuracy of rule {rule} is {values[rule]}; it must lie between 0 and 1")
    return values


def make_problem(
    layout: Layout,
    matrix: sparse.csr_array,
    counts: np.ndarray,
    answers: np.ndarray,
    accuracy: np.ndarray,
    strength: float,
    balance: np.ndarray | None,
) -> Problem:
    """Statistics for EM; answers take the place of rows of their bucket."""
    owner = np.flatnonzero(layout.silent)
    silent = layout.starts[:-1][owner]
    open_rows = np.maximum(np.asarray(counts, np.float64) - answers.sum(1), 0)
    none = np.zeros((layout.size, answers.shape[1]))
    problem = Problem(layout, matrix, open_rows, answers, silent, owner, none, balance)
    if strength:
        single = column_counts(problem, np.asarray(counts, np.float64))
        prior = strength * single[:, None] * _prior_shares(layout, accuracy, answers.shape[1])
        problem = problem._replace(prior=prior)
    return problem


def _prior_shares(layout: Layout, accuracy: np.ndarray, num_classes: int) -> np.ndarray:
    """`(D, C)`, the classes that the prior sees behind each joint vote; rows sum to 1."""
    shares = np.full((layout.size, num_classes), 1 / num_classes)
    for u, (unit, rows) in enumerate(zip(layout.units, layout.rows, strict=True)):
        own = accuracy[list(unit)]
        wrong = (1 - own) / (num_classes - 1)
        # (K, r, C): what each member's vote says
        said = np.where(rows[:, :, None] == np.arange(num_classes), own[:, None], wrong[:, None])
        there = rows >= 0
        spoke = there.any(1)
        mean = (said * there[:, :, None]).sum(1)[spoke] / there.sum(1)[spoke, None]
        shares[layout.starts[u] + np.flatnonzero(spoke)] = mean
    return shares


def column_counts(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """`(D,)` or `(D, C)` sums of weights over the rows of each column, `weights` being `(R,)` or `(R, C)`."""
    sums = problem.matrix.T @ weights
    if len(problem.silent):
        per_unit = _by_unit(problem.layout, sums)[problem.owner]
        sums[problem.silent] = np.maximum(weights.sum(0) - per_unit, 0)
    return sums


def _by_unit(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Sums over each unit's columns; 0 for a unit without any."""
    padded = np.concatenate([values, np.zeros((1, *values.shape[1:]))])
    sums = np.add.reduceat(padded, layout.starts[:-1], axis=0)
    sums[np.diff(layout.starts) == 0] = 0
    return sums


def majority_shares(rows: Any, num_classes: int) -> np.ndarray:
    """`(R, C)` shares of the classes with most votes; ties share, and so do all classes where no rule votes."""
    tallies = [np.zeros((0, num_classes), np.int64)]
    for stored in stored_blocks(rows):
        row = np.repeat(np.arange(stored.shape[0], dtype=np.int64), np.diff(stored.indptr))
        cast = np.bincount(row * num_classes + stored.data - 1, minlength=stored.shape[0] * num_classes)
        tallies.append(cast.reshape(-1, num_classes))
    tally = np.concatenate(tallies)
    top = tally == tally.max(1, keepdims=True)
    return top / top.sum(1, keepdims=True)


def maximise(problem: Problem, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tables `(D, C)` and balance `(C,)` that fit class shares `(R, C)` of the rows best, the prior included."""
    weights = problem.counts[:, None] * shares + problem.answers
    sums = column_counts(problem, weights) + problem.prior
    per_unit = np.repeat(_by_unit(problem.layout, sums), np.diff(problem.layout.starts), axis=0)
    sizes = np.repeat(np.diff(problem.layout.starts), np.diff(problem.layout.starts))[:, None]
    tables = np.where(per_unit > 0, sums / np.where(per_unit > 0, per_unit, 1), 1 / sizes)
    if problem.balance is not None:
        return tables, problem.balance
    mass = weights.sum(0)
    pi = np.maximum(mass / mass.sum(), CLIP) if mass.sum() > 0 else np.ones(len(mass))
    return tables, pi / pi.sum()


def expect(problem: Problem, log_tables: np.ndarray, log_balance: np.ndarray) -> tuple[np.ndarray, float]:
    """Class shares `(R, C)` and the log likelihood, of answers jointly with their class."""
    change = log_tables.copy()
    base = log_balance.copy()
    if len(problem.silent):
        base = base + log_tables[problem.silent].sum(0)
        at_silence = np.zeros((len(problem.layout.units), len(base)))
        at_silence[problem.owner] = log_tables[problem.silent]
        change -= np.repeat(at_silence, np.diff(problem.layout.starts), axis=0)
    shares = np.empty((problem.matrix.shape[0], len(base)))
    likelihood = 0.0
    size = max(1, _CHUNK // len(base))
    for start in range(0, len(shares), size):
        rows = slice(start, start + size)
        scores = (problem.matrix if size >= len(shares) else problem.matrix[rows]) @ change + base
        evidence = logsumexp(scores, axis=1, keepdims=True)
        likelihood += float(problem.counts[rows] @ evidence[:, 0] + (problem.answers[rows] * scores).sum())
        shares[rows] = np.exp(scores - evidence)
    return shares, likelihood


def run_em(problem: Problem, shares: np.ndarray, max_steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Log tables, balance and the negative log posterior per row where EM from these shares ends."""
    total = max(float(problem.counts.sum() + problem.answers.sum()), 1.0)
    loss = np.inf
    for _ in range(max_steps):
        tables, pi = maximise(problem, shares)
        log_tables = np.log(np.clip(tables, CLIP, 1.0))
        shares, likelihood = expect(problem, log_tables, np.log(pi))
        before, loss = loss, -(likelihood + float((problem.prior * log_tables).sum())) / total
        if before - loss <= _TOLERANCE * abs(loss):
            break
    return log_tables, pi, loss


def _best_order(layout: Layout, log_tables: np.ndarray, pi: np.ndarray) -> np.ndarray:
    """Which found class to call 0, 1, ...: rules that vote for a class should vote where it is."""
    agree = np.zeros((len(pi), len(pi)))
    joint = np.exp(log_tables) * pi
    for u, rows in enumerate(layout.rows):
        block = joint[layout.starts[u] : layout.starts[u + 1]]
        for k in range(rows.shape[1]):
            np.add.at(agree, rows[rows[:, k] >= 0, k], block[rows[:, k] >= 0])
    order = optimize.linear_sum_assignment(-agree)[1]
    better = agree[np.arange(len(pi)), order].sum() > np.trace(agree) * (1 + 1e-6)
    return order if better else np.arange(len(pi))


def _alike(matrix: sparse.csr_array) -> Any:
    """Whether columns hold the same rows, told from random weights summed over their rows, in the same order."""
    prints = matrix.T @ np.random.default_rng(0).random((matrix.shape[0], 2))

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.array_equal(prints[a], prints[b]))

    return same
