"""Applying rules and majority vote against Snorkel 0.10: `python -m benchmarks.weak_supervision_rules`.

Ten rules on 100,000 rows of a table, and majority vote on 100,000 x 10 votes. Votes and probabilities of both sides are
checked to be equal first; then the sides take turns in one process, progress bars off. Each thread count gets a process
of its own, pinned to so many cores. Needs `pip install -r benchmarks/requirements.txt` and
`pip install --no-deps snorkel==0.10.0 munkres`; about three minutes a thread count, `--quick` takes half a minute.

Goals: LFApplier 10x with the same functions of a row; PandasLFApplier 60x with the same functions of a row, 500x with
vectorised rules; majority vote 40x.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.timing import compare, markdown_table, pin_threads, ratio, run_benchmark

ROWS, RULES = 100_000, 10
HEADERS = ("work", "threads", "snorkel ms", "ours ms", "times faster (quartiles)", "goal")


def _functions(cut: float, label: int) -> tuple[Callable[[Any], int], Callable[[Any], np.ndarray]]:
    """One rule, as a function of a row and as a function of columns."""

    def above(row: Any) -> int:
        return label if row.x > cut else -1

    def above_all(rows: Any) -> np.ndarray:
        return np.where(rows.x > cut, label, -1)

    return above, above_all


def measure(*, quick: bool, threads: int, repeats: int, clock: Callable[[], float]) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have imported PyTorch before."""
    pin_threads(threads)
    import pandas as pd
    import torch
    from snorkel.labeling import LabelingFunction, LFApplier, PandasLFApplier
    from snorkel.labeling.model import MajorityLabelVoter

    from jlabel.weak_supervision import apply_rules, majority_vote, rule

    torch.set_num_threads(threads)
    num_rows = ROWS // 10 if quick else ROWS
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=num_rows), "text": ["some text"] * num_rows, "id": np.arange(num_rows)})
    objects = [SimpleNamespace(x=x) for x in table.x.tolist()]
    one, many = zip(*(_functions(place / 10, place % 2) for place in range(RULES)), strict=True)
    peers = [LabelingFunction(f"rule {place}", function) for place, function in enumerate(one)]
    by_row = [rule(f"rule {place}")(function) for place, function in enumerate(one)]
    by_column = [rule(f"rule {place}", vectorized=True)(function) for place, function in enumerate(many)]
    votes = np.where(rng.random((num_rows, RULES)) < 0.5, -1, rng.integers(0, 2, (num_rows, RULES)))

    cases = [
        (
            "LFApplier", 10, lambda: LFApplier(peers).apply(objects, progress_bar=False),
            {"rows": lambda: apply_rules(by_row, objects)},
        ),
        (
            "PandasLFApplier", 60, lambda: PandasLFApplier(peers).apply(table, progress_bar=False),
            {"rows": lambda: apply_rules(by_row, table), "vectorised": lambda: apply_rules(by_column, table)},
        ),
        (
            "MajorityLabelVoter", 40, lambda: MajorityLabelVoter(cardinality=2).predict_proba(votes),
            {"votes": lambda: majority_vote(votes, num_classes=2)},
        ),
    ]  # fmt: skip
    found: list[list[object]] = []
    for name, goal, peer, sides in cases:
        for side, ours in sides.items():
            if not np.array_equal(np.asarray(peer()), np.asarray(ours())):
                raise SystemExit(f"{name}, {side}: the two sides differ")
        times = compare({"snorkel": peer, **sides}, repeats=repeats, warmup=1, clock=clock)
        for side in sides:
            faster = ratio(times["snorkel"], times[side])
            shown = f"{faster.median:.0f} ({faster.low:.0f} - {faster.high:.0f})"
            wanted = 500 if side == "vectorised" else goal
            milliseconds = (times["snorkel"].median * 1e3, times[side].median * 1e3)
            found.append([f"{name}, {side}, {num_rows:,} x {RULES}", threads, *milliseconds, shown, wanted])
    return found


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.weak_supervision_rules", __doc__, measure, quick="a tenth of the rows", repeats=5)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
