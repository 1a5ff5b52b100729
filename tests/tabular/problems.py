"""A small table with two runs, and quick settings."""

import numpy as np

from jlabel.tabular import Problem, Table, make_problem

SIZES = (3, 4)  # cardinalities
QUICK = {"steps": 20, "batch_size": 16, "learning_rate": 1e-2, "evaluate_every": 10, "embedding_size": 8}


def small_table(*, rows: int = 96, seed: int = 0) -> tuple[Table, np.ndarray]:
    """Two columns of categories, one of numbers and its gaps; the label follows the first column and the number."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size + 1, rows) for size in SIZES], 1).astype(np.int32)
    values = np.stack([rng.normal(size=rows), rng.random(rows) < 0.2], 1).astype(np.float32)
    labels = (1.5 * (codes[:, 0] == 1) + values[:, 0] + 0.3 * rng.normal(size=rows) > 0.5).astype(np.int32)
    return Table(codes, values, np.zeros(2, int)), labels


def small_problem(**changes) -> Problem:
    """Two runs of 16 labelled, 24 unlabelled and 20 or 19 validation rows."""
    table, labels = small_table()
    order = np.stack([np.random.default_rng(run).permutation(80) for run in range(2)])
    validation = order[:, 40:60].copy()
    validation[1, -1] = -1
    given = {
        "table": table,
        "labels": labels,
        "cardinalities": SIZES,
        "labelled": order[:, :16],
        "unlabelled": order[:, 16:40],
        "validation": validation,
    }
    return make_problem(**(given | changes))


def one_run(problem: Problem, run: int) -> Problem:
    """One of a problem's runs."""
    rows = {name: getattr(problem, name) for name in ("labelled", "unlabelled", "validation")}
    rows = {name: own[run] for name, own in rows.items() if own is not None}
    return make_problem(problem.table, problem.labels, cardinalities=problem.cardinalities, **rows)
