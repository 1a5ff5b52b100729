"""Groups of rules: who depends on whom, the joint votes a group casts, and the model made of their tables."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import networkx as nx
import numpy as np
from scipy import sparse

from jlabel.weak_supervision.buckets import compress
from jlabel.weak_supervision.checks import WeakSupervisionError

MAX_JOINT_VOTES = 64
_BLOCK_ROWS = 1 << 15
CLIP = 1e-6  # probabilities below it count as it: one vote never seen in a class must not decide alone


@dataclasses.dataclass(frozen=True)
class GroupTable:
    """`log P(joint vote | y)` of some rules.

    Attributes:
        rules: Rules of the table, ascending.
        rows: int8 `(K, len(rules))`, the joint votes seen, in lexicographic order.
        log_probs: `(K, C)`, entries clipped to `[1e-6, 1]`.
        sign: 1, or -1 for the overlap of two cliques, which is divided out.
    """

    rules: tuple[int, ...]
    rows: Any
    log_probs: Any
    sign: int = 1


@dataclasses.dataclass(frozen=True)
class GroupModel:
    """Rules in groups that are independent given the class: `p(y | row) ∝ pi_y prod_g T_g(vote_g | y)`.

    A frozen pytree. Where cliques overlap a group has several tables, and the overlaps divide.

    Attributes:
        groups: Every rule once; rules that cliques join, directly or not, stand together.
        log_tables: The tables, each naming its rules.
        log_balance: `(C,)`, log of the class balance.
        params: What the fit found and a warm start takes up (`z` or `logits`), and each start's end.
        loss: The objective of the start that won.
    """

    groups: tuple[tuple[int, ...], ...]
    log_tables: tuple[GroupTable, ...]
    log_balance: Any
    params: Mapping[str, Any]
    loss: Any

    @property
    def num_rules(self) -> int:
        """M."""
        return sum(map(len, self.groups))

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.log_balance)


jax.tree_util.register_dataclass(GroupTable, data_fields=["rows", "log_probs"], meta_fields=["rules", "sign"])
jax.tree_util.register_dataclass(
    GroupModel, data_fields=["log_tables", "log_balance", "params", "loss"], meta_fields=["groups"]
)


class Plan(NamedTuple):
    """Groups, maximal cliques, and for each clique but a group's first the overlap with what comes before it.

    `overlaps` holds pairs (clique, rules): the table of the rules is the clique's own, summed.
    """

    groups: tuple[tuple[int, ...], ...]
    cliques: tuple[tuple[int, ...], ...]
    overlaps: tuple[tuple[int, tuple[int, ...]], ...]


def plan_groups(num_rules: int, cliques: Sequence[Sequence[int]]) -> Plan:
    """Groups and the junction tree of cliques that may overlap.

    >>> plan_groups(4, [(0, 1), (1, 2)])
    Plan(groups=((0, 1, 2), (3,)), cliques=((0, 1), (1, 2), (3,)), overlaps=((1, (1,)),))
    """
    if not len(cliques):
        alone = tuple((j,) for j in range(num_rules))
        return Plan(alone, alone, ())
    graph = nx.Graph()
    graph.add_nodes_from(range(num_rules))
    for i, clique in enumerate(cliques):
        members = list(clique) if isinstance(clique, Sequence | np.ndarray) else [clique]
        for rule in members:
            if isinstance(rule, bool) or not isinstance(rule, int | np.integer) or not 0 <= rule < num_rules:
                raise WeakSupervisionError(f"cliques[{i}] names rule {rule!r}; allowed: 0 to {num_rules - 1}")
        if len(set(members)) < len(members):
            raise WeakSupervisionError(f"cliques[{i}] = {tuple(members)} names a rule twice")
        graph.add_edges_from((int(a), int(b)) for k, a in enumerate(members) for b in members[:k])
    groups = sorted(tuple(sorted(part)) for part in nx.connected_components(graph))
    found, overlaps = [], []
    for group in groups:
        part = graph.subgraph(group)
        if len(group) > 3 and not nx.is_chordal(part):
            raise WeakSupervisionError(
                f"cliques join the rules {group} in a ring without a chord: add the clique of the whole ring or open it"
            )
        tree = nx.Graph()
        tree.add_nodes_from(sorted(tuple(sorted(int(j) for j in clique)) for clique in nx.find_cliques(part)))
        nodes = list(tree)
        tree.add_weighted_edges_from(
            (a, b, len({*a} & {*b})) for k, a in enumerate(nodes) for b in nodes[:k] if {*a} & {*b}
        )
        tree = nx.maximum_spanning_tree(tree)
        before = None
        for clique in nx.dfs_preorder_nodes(tree, nodes[0]):
            if before is not None:
                parent = next(iter(nx.shortest_path(tree, nodes[0], clique)[-2:-1]))
                overlaps.append((len(found), tuple(sorted({*parent} & {*clique}))))
            found.append(clique)
            before = clique
    return Plan(tuple(groups), tuple(found), tuple(overlaps))


class Layout(NamedTuple):
    """Columns of a design: the joint votes seen of each unit (a group, or a clique), one after the other.

    Attributes:
        units: Rules of each unit. rows: `(K_u, r_u)` joint votes of each, in lexicographic order.
        starts: `(U + 1,)`, where each unit's columns begin. silent: `(U,)`, whether the first is "all abstain".
    """

    units: tuple[tuple[int, ...], ...]
    rows: tuple[np.ndarray, ...]
    starts: np.ndarray
    silent: np.ndarray

    @property
    def size(self) -> int:
        """Columns of all units."""
        return int(self.starts[-1])

    @property
    def unit_of(self) -> np.ndarray:
        """`(D,)`, each column's unit."""
        return np.repeat(np.arange(len(self.units)), np.diff(self.starts))


def make_layout(
    units: Sequence[tuple[int, ...]], seen: np.ndarray, joint: Mapping[int, np.ndarray], *, ignore_abstain: bool = False
) -> Layout:
    """Columns of units: `seen[j, v + 1]` tells which votes rule j casts, `joint` the joint votes of larger units."""
    rows = []
    for u, unit in enumerate(units):
        if len(unit) == 1:
            votes = (np.flatnonzero(seen[unit[0]]) - 1).astype(np.int8)[:, None]
        else:
            votes = np.asarray(joint[u], np.int8)
        if ignore_abstain:
            votes = votes[(votes >= 0).any(1)]
        elif not len(votes):  # no row at all
            votes = np.full((1, len(unit)), -1, np.int8)
        if len(votes) > MAX_JOINT_VOTES and len(unit) > 1:
            raise WeakSupervisionError(
                f"the rules {unit} cast {len(votes)} different joint votes, more than {MAX_JOINT_VOTES}: "
                "join fewer rules in a clique"
            )
        rows.append(votes)
    sizes = [len(votes) for votes in rows]
    silent = np.array([bool(len(votes)) and bool((votes[0] < 0).all()) for votes in rows])
    return Layout(tuple(units), tuple(rows), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), silent)


def stored_votes(rows: Any) -> sparse.csr_array:
    """Rows of votes as a sparse matrix of `vote + 1`."""
    return rows if sparse.issparse(rows) else sparse.csr_array(rows + np.int8(1))


def stored_blocks(rows: Any) -> Iterator[sparse.csr_array]:
    """Rows of votes as sparse matrices, a block at a time: to make one of all takes twenty times their bytes."""
    for start in range(0, rows.shape[0], _BLOCK_ROWS):
        yield stored_votes(rows[start : start + _BLOCK_ROWS])


def some_columns(rows: Any, rules: Sequence[int]) -> np.ndarray:
    """The votes of some rules as an int8 array."""
    if sparse.issparse(rows):
        return rows[:, list(rules)].toarray().astype(np.int8) - np.int8(1)
    return np.ascontiguousarray(rows[:, list(rules)])


def layout_of(rows: Any, num_classes: int, units: Sequence[tuple[int, ...]], **options: bool) -> Layout:
    """Layout of rows of votes, dense or sparse."""
    num_rows, num_rules = rows.shape
    width = num_classes + 1
    cast = np.zeros((num_rules, width), np.int64)
    for stored in stored_blocks(rows):
        votes = stored.indices.astype(np.int64) * width + stored.data
        cast += np.bincount(votes, minlength=num_rules * width).reshape(num_rules, width)
    seen = cast > 0
    seen[:, 0] = cast.sum(1) < num_rows
    joint = {u: distinct(some_columns(rows, unit))[0] for u, unit in enumerate(units) if len(unit) > 1}
    return make_layout(units, seen, joint, **options)


def distinct(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct joint votes in lexicographic order, and the place of each row among them."""
    found = compress(joint)
    return found.rows, np.asarray(found.inverse)


def match_rows(table: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Place of each joint vote in a table's rows, -1 where it is not there."""
    places = {row.tobytes(): k for k, row in enumerate(np.ascontiguousarray(table, np.int8))}
    rows, inverse = distinct(joint)
    return np.array([places.get(row.tobytes(), -1) for row in np.ascontiguousarray(rows)], np.int64)[inverse]


def design(layout: Layout, rows: Any, num_classes: int) -> sparse.csr_array:
    """`(R, D)` indicators of the joint votes, all-abstain columns left empty: they follow from the others."""
    num_rows, num_rules = rows.shape
    column = np.full((num_rules, num_classes + 1), -1, np.int32)
    for u, unit in enumerate(layout.units):
        if len(unit) == 1:
            votes = layout.rows[u][:, 0]
            column[unit[0], votes + 1] = np.arange(layout.starts[u], layout.starts[u + 1])
    joint = []  # of units of several rules: the column of each row, -1 for none
    for u, unit in enumerate(layout.units):
        if len(unit) > 1 and len(layout.rows[u]):
            place = match_rows(layout.rows[u], some_columns(rows, unit))
            joint.append(np.where(place >= int(layout.silent[u]), place + layout.starts[u], -1).astype(np.int32))
    parts, lengths, start = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)], 0
    for stored in stored_blocks(rows):
        size = stored.shape[0]
        row = np.repeat(np.arange(size, dtype=np.int32), np.diff(stored.indptr))
        where = column[stored.indices, stored.data]
        if joint:
            row = np.concatenate([row, *[np.arange(size, dtype=np.int32)] * len(joint)])
            where = np.concatenate([where, *(place[start : start + size] for place in joint)])
            order = np.argsort(row, kind="stable")
            row, where = row[order], where[order]
        kept = where >= 0
        parts.append(where[kept])
        lengths.append(np.bincount(row[kept], minlength=size))
        start += size
    columns = np.concatenate(parts)
    indptr = np.cumsum(np.concatenate(lengths)).astype(np.int32 if len(columns) < 2**31 else np.int64)
    return sparse.csr_array((np.ones(len(columns)), columns, indptr), shape=(num_rows, layout.size))


def marginal(rules: tuple[int, ...], rows: np.ndarray, wanted: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Joint votes of some of a table's rules, and the 0/1 matrix that sums the table's entries into them."""
    found, inverse = distinct(rows[:, [rules.index(j) for j in wanted]])
    return found, (inverse == np.arange(len(found))[:, None]).astype(np.float64)


def build_tables(plan: Plan, layout: Layout, probs: np.ndarray) -> tuple[GroupTable, ...]:
    """Tables of every clique and overlap from those `(D, C)` of the units that contain them."""
    home = {rule: u for u, unit in enumerate(layout.units) for rule in unit}
    exact = {unit: u for u, unit in enumerate(layout.units)}

    def unit_table(u: int) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
        return layout.units[u], layout.rows[u], probs[layout.starts[u] : layout.starts[u + 1]]

    tables = []
    for clique in plan.cliques:
        rules, rows, values = unit_table(exact[clique] if clique in exact else home[clique[0]])
        if rules != clique:
            rows, sums = marginal(rules, rows, clique)
            values = sums @ values
        tables.append((clique, rows, values, 1))
    for child, wanted in plan.overlaps:
        rules, rows, values, _ = tables[child]
        rows, sums = marginal(rules, rows, wanted)
        tables.append((wanted, rows, sums @ values, -1))
    logs = np.log(np.clip(np.concatenate([values for _, _, values, _ in tables]), CLIP, 1.0))
    ends = np.cumsum([len(rows) for _, rows, _, _ in tables])
    return tuple(
        GroupTable(rules, rows, logs[end - len(rows) : end], sign)
        for (rules, rows, _, sign), end in zip(tables, ends.tolist(), strict=True)
    )


def rule_accuracies(model: GroupModel) -> np.ndarray:
    """Probability that a rule's vote is right, as the model sees it: `P(v_j = y | v_j != -1)`.

    Args:
        model: A fitted `GroupModel`.

    Returns:
        float64 `(M,)`; NaN for a rule that never votes.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import fit_latent_class, rule_accuracies
        >>> model = fit_latent_class([[1, 1], [0, 0], [1, -1]], num_classes=2, key=jax.random.key(0))
        >>> bool((rule_accuracies(model) > 0.5).all())
        True
    """
    right, voted = np.zeros((2, model.num_rules))
    pi = np.exp(model.log_balance)
    for table in model.log_tables:
        if table.sign < 0:
            continue
        joint = np.exp(table.log_probs) * pi
        joint = joint / joint.sum(0, keepdims=True) * pi
        rows = np.asarray(table.rows)
        for k, rule in enumerate(table.rules):
            votes = rows[:, k]
            there = votes >= 0
            voted[rule] = joint[there].sum()
            right[rule] = joint[there, votes[there]].sum()
    return np.divide(right, voted, out=np.full(model.num_rules, np.nan), where=voted > 0)


def dead_rules(layout: Layout) -> list[int]:
    """Rules that say the same on every row, abstain included: they carry no information and weigh nothing."""
    found = []
    for unit, rows in zip(layout.units, layout.rows, strict=True):
        found += [rule for k, rule in enumerate(unit) if len(np.unique(rows[:, k])) < 2]
    return found


def duplicate_rules(
    layout: Layout, single: np.ndarray, same: Callable[[np.ndarray, np.ndarray], bool]
) -> list[tuple[int, int]]:
    """Pairs of rules in different groups that vote alike on every row; `same` compares columns with equal counts."""
    found: list[tuple[int, int]] = []
    heads: dict[bytes, list[int]] = {}
    for u, (unit, rows) in enumerate(zip(layout.units, layout.rows, strict=True)):
        if len(unit) > 1 or len(rows) < 2:
            continue
        columns = np.arange(layout.starts[u], layout.starts[u + 1])
        alike = heads.setdefault(rows.tobytes() + single[columns].tobytes(), [])
        twin = next((v for v in alike if same(columns, columns - layout.starts[u] + layout.starts[v])), None)
        if twin is None:
            alike.append(u)
        else:
            found.append((layout.units[twin][0], unit[0]))
    return found


def vote_problems(
    layout: Layout, total: float, single: np.ndarray, same: Callable[[np.ndarray, np.ndarray], bool]
) -> list[str]:
    """What is odd about the votes, one line each."""
    found = []
    if not total or len(dead_rules(layout)) == sum(map(len, layout.units)):
        found.append("no rule ever votes, or all say the same everywhere: every row gets the class balance")
    twins = duplicate_rules(layout, single, same)
    if twins:
        shown = ", ".join(f"{a} and {b}" for a, b in twins[:5]) + (" ..." if len(twins) > 5 else "")
        found.append(f"rules vote alike on every row ({shown}): they count double, drop one or join them in a clique")
    return found
