"""Tables with wrong and with missing cells, to see what a model makes of them."""

from collections.abc import Collection, Hashable, Iterator

import jax
import numpy as np
import pandas as pd

from jlabel.tabular.checks import TabularError, check_frame, check_number

__all__ = ["add_missing", "add_noise"]


def add_noise(frame: pd.DataFrame, *, columns: Collection[Hashable], rate: float, key: jax.Array) -> pd.DataFrame:
    """A copy with wrong cells: each known one, with probability ``rate``, gets a value of its column.

    It is drawn uniformly from the column's different values in the frame, and may be the one that was there. With one
    key, the cells of a lower rate are among those of a higher.

    Args:
      frame: table of N rows. columns: those to spoil, such as `ColumnTypes.categorical`. rate: 0 to 1.
      key: typed PRNG key.

    Returns:
      A table with the same columns, types and index.

    Raises:
      TabularError: a rate outside 0 to 1, or a column that is not there.

    Example:
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Rom", "Ulm"], "age": [31, 28, 45, 60]})
      >>> add_noise(frame, columns=["city"], rate=1.0, key=jax.random.key(0)).city.tolist()
      ['Bonn', 'Bonn', 'Bonn', 'Rom']
    """
    spoilt = frame.copy()
    for name, chosen, rng in _chosen(frame, columns, rate, key):
        column = frame[name]
        firsts = np.flatnonzero((column.notna() & ~column.duplicated()).to_numpy())
        rows = np.flatnonzero(chosen & column.notna().to_numpy())
        taken = np.arange(len(frame))
        if len(rows):
            taken[rows] = rng.choice(firsts, len(frame))[rows]
        spoilt[name] = column.array.take(taken)
    return spoilt


def add_missing(frame: pd.DataFrame, *, columns: Collection[Hashable], rate: float, key: jax.Array) -> pd.DataFrame:
    """A copy with gaps: each cell of the columns, with probability ``rate``, is missing.

    With one key, the cells of a lower rate are among those of a higher, and they are those that `add_noise` spoils.

    Args:
      frame: table of N rows. columns: those to spoil, such as `ColumnTypes.categorical`. rate: 0 to 1.
      key: typed PRNG key.

    Returns:
      A table with the same columns and index; whole numbers and bools with gaps are of pandas' types with gaps.

    Raises:
      TabularError: a rate outside 0 to 1, or a column that is not there.

    Example:
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm"], "age": [31, 28, 45]})
      >>> add_missing(frame, columns=["city"], rate=1.0, key=jax.random.key(0)).isna().sum().tolist()
      [3, 0]
    """
    spoilt = frame.copy()
    for name, chosen, _ in _chosen(frame, columns, rate, key):
        # pandas would make fractions of whole numbers with gaps, and objects of bools.
        column = frame[name].convert_dtypes() if frame[name].dtype.kind in "biu" else frame[name]
        spoilt[name] = column.mask(chosen)
    return spoilt


def _chosen(
    frame: pd.DataFrame, columns: Collection[Hashable], rate: float, key: jax.Array
) -> Iterator[tuple[Hashable, np.ndarray, np.random.Generator]]:
    """For each column, which rows to spoil, and what else to draw from."""
    check_frame(frame)
    check_number("rate", rate, high=1.0)
    for name in columns:
        if name not in frame.columns:
            raise TabularError(f"columns: {name!r} is no column of the frame")
    seeds = np.random.SeedSequence(np.asarray(jax.random.key_data(key)).tolist()).spawn(len(columns))
    for name, seed in zip(columns, seeds, strict=True):
        which, what = (np.random.default_rng(part) for part in seed.spawn(2))
        yield name, which.random(len(frame)) < rate, what
