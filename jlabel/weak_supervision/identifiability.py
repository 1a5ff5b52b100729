"""Do the votes determine the answer? Groups, rank, flat directions, and how far equally good solutions disagree."""

from typing import Any

import numpy as np

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.decode import predict_probs
from jlabel.weak_supervision.givens import checked_buckets
from jlabel.weak_supervision.groups import (
    GroupModel,
    Plan,
    build_tables,
    dead_rules,
    layout_of,
    match_rows,
    some_columns,
    stored_blocks,
    vote_problems,
)
from jlabel.weak_supervision.matrix_completion import (
    PINV_TOLERANCE,
    Statistics,
    joint_tables,
    ordered_tables,
    same_columns,
    statistics,
)
from jlabel.weak_supervision.overlaps import Overlaps, count_overlaps

_EQUAL = 1e-6  # losses within this (relative, and absolute) count as equal
_VALID = 1e-6  # how far an entry of a table may stray from [0, 1]
_FLAT = 1e-8  # eigenvalues below this share of the largest count as zero
_WIDE = 0.1
_SCALES = np.geomspace(1e-2, 1e2, 801)
_MAX_COLUMNS = 1500  # no eigenvalues of larger matrices


def identifiability_report(model: GroupModel, votes: Any) -> dict[str, Any]:
    """Tell whether the votes determine the class probabilities, and what to do where they do not.

    Two groups leave a family of equal loss, `(s z_a, z_b / s)`; one group leaves any split of its joint votes. From
    three informative groups on, the ends of the fit's starts that share the lowest loss and are valid speak.

    Args:
        model: A `GroupModel` fitted to these votes.
        votes: What it was fitted to: `(N, M)` integers, sparse, or `Buckets`.

    Returns:
        dict of
          groups: tuples of rules; informative: how many of them vary over the rows;
          dead_rules: rules that say the same everywhere (weight 0);
          rank, columns: rank of the covariance of the indicators, and its size (None beyond 1,500 columns);
          null_directions: `(columns - rank, columns)`, combinations of indicators that never vary;
          flat_directions: how many directions at the solution leave the loss as it is (two classes; else None);
          loss_spread: highest less lowest loss over the starts;
          equal_starts: starts that share the lowest loss;
          low, high: `(R, C)`, range of each bucket's probabilities over valid solutions of equal loss;
          warnings: lines for people.

    Raises:
        WeakSupervisionError: As `predict_probs`.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import fit_matrix_completion, identifiability_report
        >>> votes = [[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]]
        >>> report = identifiability_report(fit_matrix_completion(votes, key=jax.random.key(0)), votes)
        >>> report["warnings"][0][:24]
        'only 2 groups of rules v'
    """
    classes = model.num_classes
    buckets = checked_buckets(votes, classes)
    overlaps = count_overlaps(buckets, classes, model.groups)
    stats = statistics(overlaps) if len(overlaps.columns) <= _MAX_COLUMNS else None
    losses = np.asarray(model.params["losses"])
    equal = np.flatnonzero(losses <= losses.min() + _EQUAL * (1 + abs(losses.min())))
    low = predict_probs(model, buckets)
    high, flat = low.copy(), None
    informative = int((np.diff(overlaps.layout.starts) > 1).sum())
    if "z" not in model.params:
        _tables_range(model, buckets, equal, low, high)
    elif stats is not None:
        flat = _flat_directions(np.asarray(model.params["z"]), stats)
        _matrix_range(model, buckets, overlaps, stats, equal, low, high)
    if informative == 1:
        _one_group(low, high, buckets, overlaps, np.exp(model.log_balance))
    null = None if stats is None else _null_directions(stats.covariance)
    report = {
        "groups": model.groups,
        "informative": informative,
        "dead_rules": dead_rules(overlaps.layout),
        "rank": None if null is None else len(overlaps.columns) - len(null),
        "columns": len(overlaps.columns),
        "null_directions": null,
        "flat_directions": flat,
        "loss_spread": float(losses.max() - losses.min()),
        "equal_starts": len(equal),
        "low": low,
        "high": high,
    }
    report["warnings"] = _warnings(report, overlaps, buckets, classes)
    return report


def _plan_of(model: GroupModel) -> Plan:
    """The plan behind a model: every clique but its group's first has an overlap, in order."""
    cliques = tuple(table.rules for table in model.log_tables if table.sign > 0)
    wanted = [table.rules for table in model.log_tables if table.sign < 0]
    group_of = {rule: g for g, group in enumerate(model.groups) for rule in group}
    begun: set[int] = set()
    later = []
    for k, clique in enumerate(cliques):
        if group_of[clique[0]] in begun:
            later.append(k)
        begun.add(group_of[clique[0]])
    return Plan(model.groups, cliques, tuple(zip(later, wanted, strict=True)))


def _tables_range(model: GroupModel, buckets: Buckets, starts: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Widen the range by the tables that some starts ended at."""
    plan, tables = _plan_of(model), np.asarray(model.params["starts"])
    units = plan.cliques if "balances" in model.params else plan.groups
    layout = layout_of(buckets.rows, model.num_classes, units)
    if layout.size != tables.shape[1]:
        layout = layout_of(buckets.rows, model.num_classes, units, ignore_abstain=True)
    for start in starts.tolist():
        log_balance = np.log(model.params["balances"][start]) if "balances" in model.params else model.log_balance
        other = GroupModel(
            model.groups, build_tables(plan, layout, np.exp(tables[start])), log_balance, model.params, model.loss
        )
        _widen(low, high, predict_probs(other, buckets))


def _matrix_range(
    model: GroupModel,
    buckets: Buckets,
    overlaps: Overlaps,
    stats: Statistics,
    equal: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """Widen the range by valid solutions: the scales that two groups leave open, or the ends of equal starts."""
    layout, z = overlaps.layout, np.asarray(model.params["z"])
    informative = np.flatnonzero(np.diff(layout.starts) > 1)
    solutions = np.asarray(model.params["starts"])[equal]
    if len(informative) == 2:
        first = layout.unit_of[overlaps.columns] == informative[0]
        solutions = np.where(first, z * _SCALES[:, None], z / _SCALES[:, None])
    plan, p = _plan_of(model), float(np.exp(model.log_balance[1]))
    for solution in solutions:
        tables, _ = joint_tables(solution, stats, p)
        if tables.min() >= -_VALID and tables.max() <= 1 + _VALID:
            built = build_tables(plan, layout, ordered_tables(layout, tables))
            other = GroupModel(model.groups, built, model.log_balance, model.params, model.loss)
            _widen(low, high, predict_probs(other, buckets))


def _widen(low: np.ndarray, high: np.ndarray, probs: np.ndarray) -> None:
    np.minimum(low, probs, out=low)
    np.maximum(high, probs, out=high)


def _one_group(low: np.ndarray, high: np.ndarray, buckets: Buckets, overlaps: Overlaps, pi: np.ndarray) -> None:
    """Any split of the joint votes that respects the balance is as good: `P(v, y)` is at most `P(v)` and `pi_y`."""
    layout = overlaps.layout
    unit = int(np.flatnonzero(np.diff(layout.starts) > 1)[0])
    place = match_rows(layout.rows[unit], some_columns(buckets.rows, layout.units[unit]))
    share = overlaps.single[layout.starts[unit] + place][:, None] / overlaps.total
    np.minimum(low, np.maximum(0, share - (1 - pi)) / share, out=low)
    np.maximum(high, np.minimum(share, pi) / share, out=high)


def _flat_directions(z: np.ndarray, stats: Statistics) -> int:
    """Eigenvalues of the loss's Hessian that are zero against the largest."""
    across = 1 - stats.members.T @ stats.members
    hessian = 4 * across * (stats.inverse + 2 * z[:, None] * z) + 4 * np.diag(across @ z**2)
    values = np.linalg.eigvalsh(hessian)
    return int((np.abs(values) <= _FLAT * np.abs(values).max(initial=0)).sum())


def _null_directions(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors[:, values <= PINV_TOLERANCE * np.abs(values).max(initial=0)].T


def _blocks_suffice(sizes: np.ndarray, num_classes: int) -> bool:
    """Whether three blocks of groups have joint votes enough: `sum min(C, K_block) >= 2 C + 2` (Allman et al. 2009)."""
    blocks = [1, 1, 1]
    for size in sorted(sizes.tolist(), reverse=True):
        blocks[blocks.index(min(blocks))] = min(num_classes, min(blocks) * size)
    return sum(blocks) >= 2 * num_classes + 2


def _warnings(report: dict[str, Any], overlaps: Overlaps, buckets: Buckets, num_classes: int) -> list[str]:
    layout, found = overlaps.layout, []
    found += vote_problems(layout, overlaps.total, overlaps.single, same_columns(overlaps))
    groups = report["informative"]
    sizes = np.diff(layout.starts)
    if 0 < groups < 3:
        what = "group of rules varies" if groups == 1 else "groups of rules vary"
        found.append(
            f"only {groups} {what}: the votes alone do not determine the class probabilities; three independent "
            "groups do. Add rules, split a clique that is none, or ask an expert"
        )
    elif groups and not _blocks_suffice(sizes[sizes > 1], num_classes):
        found.append(f"the groups cast too few different votes to tell {num_classes} classes apart: add rules")
    if report["dead_rules"]:
        found.append(f"rules {report['dead_rules']} say the same on every row: they weigh nothing")
    blocks = stored_blocks(buckets.rows)
    cast = sum((np.bincount(part.data, minlength=num_classes + 1)[1:] for part in blocks), np.zeros(num_classes))
    silent = np.flatnonzero(cast == 0)
    if 0 < len(silent) < num_classes:
        found.append(f"no rule votes for the classes {silent.tolist()}")
    null = report["null_directions"]
    if null is not None and len(null):
        found.append(
            f"{len(null)} combinations of votes never vary: some rules follow from others, join them in a clique"
        )
    if groups >= 3 and report["flat_directions"]:
        found.append(
            f"{report['flat_directions']} directions leave the loss as it is: some rules hardly depend on any other"
        )
    wide = (report["high"] - report["low"]).max(1, initial=0) > _WIDE
    if wide.any():
        share = buckets.counts[wide].sum() / buckets.counts.sum()
        found.append(
            f"the probabilities of {wide.sum()} buckets ({share:.0%} of the rows) differ by more than {_WIDE} between "
            "solutions of equal loss"
        )
    return found
