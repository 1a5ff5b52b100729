"""Class probabilities of rows of votes under a fitted model."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_votes
from jlabel.weak_supervision.factor_graph import FactorGraph, factor_graph_probs
from jlabel.weak_supervision.groups import GroupModel, GroupTable, distinct, some_columns, stored_votes

_BLOCK = 1 << 13
_SPARSE_ENTRIES = 2048  # from so many rules times classes on, only votes that are no abstention are looked at


@functools.singledispatch
def model_probs(model: Any, rows: Any) -> np.ndarray:
    """Class probabilities of rows, dense or sparse, as they were given; each kind of model registers its own."""
    raise WeakSupervisionError(f"model must be one that this package fitted, got a {type(model).__name__}")


def predict_probs(model: Any, votes: Any) -> np.ndarray:
    """Class probabilities of rows of votes, `p(y | row) ∝ pi_y prod_g T_g(vote_g | y)`, in logs.

    A row's probabilities do not depend on the rows beside it. A joint vote that the fit never saw takes the group's
    table summed over the rules that abstain in it; where nothing matches, the group is left out.

    Args:
        model: A fitted `GroupModel` or `FactorGraph`.
        votes: `(N, M)` integers, -1 abstains; or a sparse matrix that stores `vote + 1`; or `Buckets`.

    Returns:
        float64 `(N, C)`, rows sum to 1; for `Buckets` one row a bucket.

    Raises:
        WeakSupervisionError: Another number of rules than the model's, a vote outside its classes, another model.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import fit_latent_class, predict_probs
        >>> votes = [[1, 1], [1, -1], [0, 0]]
        >>> predict_probs(fit_latent_class(votes, num_classes=2, key=jax.random.key(0)), votes).shape
        (3, 2)
    """
    return model_probs(model, votes.rows if isinstance(votes, Buckets) else votes)


def check_width(rows: Any, num_rules: int) -> None:
    """Raises unless rows have as many rules as the model."""
    if rows.shape[1] != num_rules:
        raise WeakSupervisionError(f"votes has {rows.shape[1]} rules, the model was fitted to {num_rules}")


def _vote_values(table: GroupTable, joint: np.ndarray) -> np.ndarray:
    """`(U, C)` log probability of each of some joint votes, summed over abstaining rules where it was not seen."""
    rows, logs = np.asarray(table.rows), np.asarray(table.log_probs)
    values = np.zeros((len(joint), logs.shape[1]))
    for i, vote in enumerate(joint):
        spoke = vote >= 0
        exact = np.flatnonzero((rows == vote).all(1))
        like = exact if len(exact) else np.flatnonzero((rows[:, spoke] == vote[spoke]).all(1))
        if len(exact):
            values[i] = logs[exact[0]]
        elif len(like):
            values[i] = np.minimum(np.logaddexp.reduce(logs[like], 0), 0)
    return values


def _alone(model: GroupModel) -> tuple[np.ndarray, np.ndarray]:
    """Rules with a table of their own, and `(rules, C + 1, C)` log probabilities of their votes from -1 on."""
    num_classes = model.num_classes
    tables = [table for table in model.log_tables if len(table.rules) == 1 and table.sign > 0]
    values = np.zeros((len(tables), num_classes + 1, num_classes))
    for i, table in enumerate(tables):
        seen = np.asarray(table.rows)[:, 0]
        values[i, seen + 1] = table.log_probs
    return np.array([table.rules[0] for table in tables], np.int64), values


@model_probs.register
def _factor_graph(model: FactorGraph, rows: Any) -> np.ndarray:
    return factor_graph_probs(model, check_votes(rows, num_classes=2))


@model_probs.register
def _group_model(model: GroupModel, rows: Any) -> np.ndarray:
    rows = check_votes(rows, num_classes=model.num_classes, keep_sparse=True)
    check_width(rows, model.num_rules)
    rules, values = _alone(model)
    many = sparse.issparse(rows) or values.shape[0] * values.shape[2] > _SPARSE_ENTRIES
    scorer = _sparse_scores(rules, values, rows.shape[1]) if many else _dense_scores(rules, values, rows.shape[1])
    joint = []
    for table in model.log_tables:
        if len(table.rules) > 1 or table.sign < 0:
            seen, place = distinct(some_columns(rows, table.rules))
            joint.append((table.sign * _vote_values(table, seen).T, place))
    log_balance = np.asarray(model.log_balance)[:, None]
    probs = np.empty((rows.shape[0], model.num_classes))
    # Blocks stay in the cache, and every sum runs in the order of the rules: no row depends on its batch.
    for start in range(0, len(probs), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = scorer(rows[block])
        for table_values, place in joint:
            scores += table_values[:, place[block]]
        scores += log_balance
        scores -= scores.max(0)
        np.exp(scores, out=scores)
        scores /= functools.reduce(np.add, scores)
        probs[block] = scores.T
    return probs


def _dense_scores(rules: np.ndarray, values: np.ndarray, num_rules: int) -> Callable[[np.ndarray], np.ndarray]:
    """Scores `(C, B)` of blocks of rows."""
    by_class = np.ascontiguousarray(values.transpose(0, 2, 1))
    chosen: Any = slice(None) if len(rules) == num_rules else rules

    def score(rows: np.ndarray) -> np.ndarray:
        votes = np.ascontiguousarray(rows[:, chosen].T).astype(np.intp)
        votes += 1
        total = np.zeros((values.shape[2], len(rows)))
        for table, vote in zip(by_class, votes, strict=True):
            for y, entries in enumerate(table):
                total[y] += entries.take(vote, mode="clip")
        return total

    return score


def _sparse_scores(rules: np.ndarray, values: np.ndarray, num_rules: int) -> Callable[[Any], np.ndarray]:
    """The same from the votes that are no abstention: what they change against all rules abstaining."""
    width, num_classes = values.shape[1], values.shape[2]
    by_rule = np.zeros((num_rules, width, num_classes))
    by_rule[rules] = values - values[:, :1]
    change = by_rule.reshape(-1, num_classes)
    base = values[:, 0].sum(0)[:, None]

    def score(rows: Any) -> np.ndarray:
        stored = stored_votes(rows)
        columns = stored.indices.astype(np.int64) * width + stored.data
        indicators = sparse.csr_array(
            (np.ones(len(columns)), columns, stored.indptr), shape=(stored.shape[0], num_rules * width)
        )
        return (indicators @ change).T + base

    return score
