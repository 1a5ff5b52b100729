"""How often two joint votes fall on the same row: exact counts, in one pass over the votes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.groups import Layout, design, distinct, layout_of, make_layout, match_rows, some_columns

_BIT_COLUMNS = 1024  # up to so many votes of rules are counted as bits, beyond as sparse columns
_DENSE_COLUMNS = 2048
_PACK_ROWS = 1 << 13
_WORDS = 1 << 10  # 64 rows a word; a block of columns stays in the cache


class Overlaps(NamedTuple):
    """Counts of joint votes, alone and in pairs.

    Attributes:
        layout: The columns. columns: `(d,)`, those that are no reference (a unit's first).
        total: Number of rows. single: `(D,)` counts of every column. pairs: float64 `(d, d)`, whole numbers.
    """

    layout: Layout
    columns: np.ndarray
    total: float
    single: np.ndarray
    pairs: np.ndarray


def count_overlaps(votes: Any, num_classes: int, units: Sequence[tuple[int, ...]]) -> Overlaps:
    """Exact counts from checked votes `(N, M)`, dense or sparse, or from checked `Buckets`.

    The largest object is `pairs`: d^2 numbers of 8 bytes, d being the joint votes seen less one a unit.
    """
    if isinstance(votes, Buckets) or sparse.issparse(votes) or num_classes * votes.shape[1] > _BIT_COLUMNS:
        rows, counts = (votes.rows, votes.counts) if isinstance(votes, Buckets) else (votes, np.ones(votes.shape[0]))
        layout = layout_of(rows, num_classes, units)
        return from_design(layout, design(layout, rows, num_classes), np.asarray(counts, np.float64))
    return _from_bits(votes, num_classes, units)


def references(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Columns that are no reference, and the reference column of each unit."""
    first = layout.starts[:-1]
    keep = np.ones(layout.size, bool)
    keep[first] = False
    return np.flatnonzero(keep), first


def from_design(layout: Layout, matrix: sparse.csr_array, counts: np.ndarray) -> Overlaps:
    """Counts from a design with weighted rows."""
    columns, _ = references(layout)
    if matrix.shape[1] <= _DENSE_COLUMNS:
        pairs = np.zeros((len(columns), len(columns)))
        for start in range(0, matrix.shape[0], _PACK_ROWS):
            block = matrix[start : start + _PACK_ROWS].toarray()[:, columns]
            pairs += block.T @ (block * counts[start : start + _PACK_ROWS, None])
    else:
        kept = sparse.csr_array(matrix[:, columns])
        weighted = kept.copy()
        weighted.data = weighted.data * np.repeat(counts, np.diff(weighted.indptr))
        pairs = (kept.T @ weighted).toarray()
    return _finish(layout, columns, float(counts.sum()), pairs)


def _finish(layout: Layout, columns: np.ndarray, total: float, pairs: np.ndarray) -> Overlaps:
    single = np.zeros(layout.size)
    single[columns] = np.diag(pairs)
    first = layout.starts[:-1]
    single[first] = total - np.add.reduceat(np.append(single, 0.0), first) if len(first) else 0.0
    return Overlaps(layout, columns, total, single, pairs)


def _from_bits(votes: np.ndarray, num_classes: int, units: Sequence[tuple[int, ...]]) -> Overlaps:
    num_rows, num_rules = votes.shape
    alone = np.array([unit[0] for unit in units if len(unit) == 1], np.int64)
    joint = {u: distinct(some_columns(votes, unit)) for u, unit in enumerate(units) if len(unit) > 1}
    rows_of = {u: own for u, (own, _) in joint.items()}
    # Too many joint votes are an error before anything is built from them.
    make_layout([units[u] for u in joint], np.zeros((num_rules, 1), bool), dict(enumerate(rows_of.values())))
    chosen: slice | np.ndarray = slice(None) if len(alone) == num_rules else alone
    bits = []
    for start in range(0, num_rows, _PACK_ROWS):
        rows = slice(start, start + _PACK_ROWS)
        block = np.ascontiguousarray(votes[rows, chosen].T)
        parts = [np.packbits(block == v, axis=1) for v in range(num_classes)]
        parts += [np.packbits(ids[rows] == np.arange(len(own))[:, None], axis=1) for own, ids in joint.values()]
        bits.append(np.concatenate(parts))
    width = len(alone) * num_classes + sum(map(len, rows_of.values()))
    packed = np.concatenate([*bits, np.zeros((width, -sum(part.shape[1] for part in bits) % 8), np.uint8)], axis=1)
    words = packed.view(np.uint64)
    occurs = np.flatnonzero(words.any(1))
    shared = np.zeros((width, width), np.int64)
    shared[np.ix_(occurs, occurs)] = _pair_counts(words[occurs])
    # Where each vote of each rule, and each joint vote of each larger unit, stands among the packed columns.
    place = np.arange(num_classes) * len(alone) + np.arange(len(alone))[:, None]
    cast = np.diag(shared)[place]
    seen = np.zeros((num_rules, num_classes + 1), bool)
    seen[alone, 1:] = cast > 0
    seen[alone, 0] = cast.sum(1) < num_rows
    layout = make_layout(units, seen, rows_of)
    order, single_place, offset = [], iter(place), len(alone) * num_classes
    for unit, rows_seen in zip(units, layout.rows, strict=True):
        if len(unit) == 1:
            order.append(next(single_place)[rows_seen[1:, 0]])
        else:
            order.append(np.arange(1, len(rows_seen)) + offset)
            offset += len(rows_seen)
    wanted = np.concatenate(order)
    columns, _ = references(layout)
    return _finish(layout, columns, float(num_rows), shared[np.ix_(wanted, wanted)].astype(np.float64))


def _pair_counts(words: np.ndarray) -> np.ndarray:
    """Ones that two packed columns share, block by block of words so that one compiled shape serves any N."""
    pairs = np.zeros((len(words), len(words)), np.int64)
    width = min(_WORDS, -(-words.shape[1] // 32) * 32)
    for start in range(0, words.shape[1] if len(words) else 0, max(width, 1)):
        block = words[:, start : start + width]
        if block.shape[1] < width:
            block = np.pad(block, ((0, 0), (0, width - block.shape[1])))
        with jax.enable_x64(True):
            pairs += np.asarray(_shared_ones(np.ascontiguousarray(block)))
    return pairs


@jax.jit
def _shared_ones(words: jax.Array) -> jax.Array:
    def with_all(one: jax.Array) -> jax.Array:
        return jax.lax.population_count(words & one[None]).sum(1).astype(jnp.int64)

    return jax.lax.map(with_all, words)


def unit_places(layout: Layout, rows: Any) -> np.ndarray:
    """`(R, U)` column of each unit's joint vote in a few dense rows, -1 where it was not seen in the fit."""
    places = np.empty((len(rows), len(layout.units)), np.int64)
    for u, unit in enumerate(layout.units):
        found = match_rows(layout.rows[u], some_columns(rows, unit))
        places[:, u] = np.where(found >= 0, found + layout.starts[u], -1)
    return places
