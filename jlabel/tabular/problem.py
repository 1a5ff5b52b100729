"""What every baseline is given: one table, and the rows that each of R runs may use."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.tabular.checks import TabularError
from jlabel.tabular.encode import Table

__all__ = ["Problem", "make_problem"]


class Problem(NamedTuple):
    """One table with R runs of few labelled rows; made by `make_problem`.

    Attributes:
      table: all rows. labels: int32 ``(N,)``, classes from 0, negative where unknown; a fit reads those of its run's
        labelled and validation rows only. cardinalities: d_i of each category column. num_classes: C.
      labelled: int32 ``(R, n)``, rows. unlabelled: ``(R, u)`` or None. validation: ``(R, V)`` or None, -1 where a run
        has fewer. batched: False for one run given without the axis of runs.
    """

    table: Table
    labels: np.ndarray
    cardinalities: tuple[int, ...]
    num_classes: int
    labelled: np.ndarray
    unlabelled: np.ndarray | None = None
    validation: np.ndarray | None = None
    batched: bool = False

    @property
    def num_runs(self) -> int:
        """R."""
        return len(self.labelled)

    @property
    def num_values(self) -> int:
        """c."""
        return self.table.values.shape[1]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The table as `train_runs` takes it."""
        return {"codes": self.table.codes, "values": self.table.values, "target": self.labels}


def make_problem(
    table: Table,
    labels: ArrayLike,
    *,
    cardinalities: Sequence[int],
    labelled: ArrayLike,
    unlabelled: ArrayLike | None = None,
    validation: ArrayLike | None = None,
) -> Problem:
    """Check what the baselines are given.

    Rows are numbers of the table's rows: ``(rows,)`` for one run, ``(R, rows)`` for R runs that train side by side.

    Args:
      table: all rows, as `encode` makes it. labels: int ``(N,)``, classes 0 to C - 1, negative where unknown.
      cardinalities: d_i of each category column, as the encoder has them.
      labelled: rows to learn from, of two classes at least. unlabelled: rows whose labels are not looked at; the
        labelled ones may be among them. validation: rows that choose the best step; -1 fills up runs that have fewer.

    Returns:
      The problem, which every ``fit_*`` takes.

    Raises:
      TabularError: rows outside the table, a labelled or validation row without a label, labelled rows of one class,
        a row that is for learning and for validation, or shapes that do not fit.

    Example:
      >>> table = Table(np.zeros((5, 1), np.int32), np.arange(5, dtype=np.float32)[:, None], np.zeros(1, int))
      >>> make_problem(table, [0, 1, 0, 1, -1], cardinalities=(2,), labelled=[[0, 1], [0, 3]]).num_runs
      2
    """
    codes, sizes = np.asarray(table.codes), tuple(int(size) for size in cardinalities)
    if codes.ndim != 2 or len(sizes) != codes.shape[1]:
        raise TabularError(
            f"table.codes of shape {codes.shape} do not fit {len(sizes)} cardinalities; give one a column"
        )
    if codes.size:
        column = int(np.argmax((codes > np.array(sizes)).any(0) | (codes < 0).any(0)))
        low, high = codes[:, column].min(), codes[:, column].max()
        if low < 0 or high > sizes[column]:
            raise TabularError(
                f"table.codes: column {column} holds {low} to {high}; allowed by its cardinality: 0 to {sizes[column]}"
            )
    known = np.asarray(labels)
    if known.shape != (len(codes),) or known.dtype.kind not in "iu":
        raise TabularError(
            f"labels are {known.dtype} of shape {known.shape}; give whole numbers, one for each of {len(codes)} rows"
        )
    classes = int(known.max(initial=-1)) + 1
    given = {"labelled": labelled, "unlabelled": unlabelled, "validation": validation}
    batched = np.asarray(labelled).ndim == 2
    rows = {name: _rows(name, value, len(codes), batched) for name, value in given.items() if value is not None}
    runs = len(rows["labelled"])
    for name, value in rows.items():
        if len(value) != runs:
            raise TabularError(f"{name} has {len(value)} runs, labelled {runs}; give the same number")
    for name in rows.keys() - {"unlabelled"}:
        missing = (rows[name] >= 0) & (known[rows[name]] < 0)
        if missing.any():
            row = rows[name][missing][0]
            raise TabularError(f"{name}: row {row} has no label ({known[row]}); leave it out")
    for run, own in enumerate(rows["labelled"]):
        if len(np.unique(known[own])) < 2:
            raise TabularError(f"labelled: run {run} has rows of class {known[own][0]} only; draw its rows again")
        for name in rows.keys() & {"labelled", "unlabelled"}:
            both = np.intersect1d(rows[name][run], rows["validation"][run]) if "validation" in rows else np.zeros(0)
            if both.size:
                raise TabularError(f"validation: run {run} has row {both[-1]}, which is in {name} too; keep them apart")
    return Problem(
        table, known.astype(np.int32), sizes, classes, rows["labelled"], rows.get("unlabelled"), rows.get("validation"),
        batched,
    )  # fmt: skip


def _rows(name: str, value: ArrayLike, count: int, batched: bool) -> np.ndarray:
    rows = np.asarray(value)
    if rows.ndim != 1 + batched or rows.dtype.kind not in "iu" or not rows.size:
        axes = "(R, rows)" if batched else "(rows,)"
        raise TabularError(f"{name} is {rows.dtype} of shape {rows.shape}; give whole numbers {axes}, at least one")
    low = -1 if name == "validation" else 0
    if rows.min() < low or rows.max() >= count:
        wrong = rows.max() if rows.max() >= count else rows.min()
        raise TabularError(f"{name} holds row {wrong}; allowed: {low} to {count - 1}")
    rows = rows.reshape(-1, rows.shape[-1]).astype(np.int32)
    if (rows.max(1) < 0).any():
        raise TabularError(f"{name}: run {int(np.argmin(rows.max(1)))} has no rows; give each run at least one")
    return rows


def learning_rows(problem: Problem) -> np.ndarray:
    """All rows that a run may look at without labels, int32 ``(R, rows)``: labelled and unlabelled ones, each once."""
    if problem.unlabelled is None:
        return problem.labelled
    parts = [np.union1d(*pair) for pair in zip(problem.labelled, problem.unlabelled, strict=True)]
    # Runs whose labelled rows are partly among the unlabelled ones: each gives as many rows as the shortest.
    shortest = min(len(part) for part in parts)
    return np.stack([part[:shortest] for part in parts])


def need_unlabelled(problem: Problem, who: str) -> np.ndarray:
    """The unlabelled rows, of a method that cannot do without."""
    if problem.unlabelled is None:
        raise TabularError(f"{who} learns from unlabelled rows, and the problem has none; give unlabelled")
    return problem.unlabelled


def run_keys(problem: Problem, key: jax.Array) -> jax.Array:
    """A typed key for each run ``(R,)``."""
    shape = (problem.num_runs,) if problem.batched else ()
    if (
        not isinstance(key, jax.Array)
        or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        or key.shape != shape
    ):
        wanted = (
            f"{problem.num_runs} typed keys: jax.random.split(key, {problem.num_runs})" if shape else "one typed key"
        )
        raise TabularError(f"key is {key!r}; give {wanted}")
    return key if problem.batched else key[None]
