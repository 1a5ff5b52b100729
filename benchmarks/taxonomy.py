"""Relations, universal classes, targets and probabilities: `python -m benchmarks.taxonomy`.

(a) All four rules, threshold and density at 50 values of t and p, on every ordered pair of 3 domains of 200 classes:
`sweep_relations` against a NumPy loop over rows that applies each rule at each value to one row at a time, and against
a quicker one that sorts a row once and takes all values together. All hand over the edges at each value in turn; these
are compared first, and must be the same. "counts" are shares of 100 rows a class (the default), a tenth of the entries
above 0; "means" are mean probabilities (`soft=True`), all above 0. Goal: 50 times the plain loop. The floor: one sort
of each row's keys, and one comparison of a byte for each entry and value; "x floor" is our time over it.

(b) `build_taxonomy` and (c) targets and probabilities: `benchmarks/taxonomy_classes.py`, rows of the same columns.

The sides take turns; each thread count gets a process of its own, pinned to so many cores; (a) takes half a minute a
thread count. On a busy machine use `--clock=cpu`. Ours of (a) is NumPy on the host and uses one core, whatever there
is: the same rules jitted and vmapped over rows and pairs take 28 ms (counts) and 39 ms (means) on a CPU, nearly all of
it XLA's stable sort. Times the plain loop / times the quicker one / x floor, one thread (two: the same)

    counts   92 / 10 / 4.9
    means    86 / 7.9 / 6.9
"""

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from benchmarks.timing import compare, markdown_table, pin_threads, ratio, run_benchmark

Clock = Callable[[], float]
Pairs = Mapping[tuple[int, int], np.ndarray]
Edges = Iterator[tuple[str, np.ndarray]]

DOMAINS, CLASSES, ROWS = 3, 200, 100
VALUES = np.arange(1, 51) / 50
TOLERANCE = 1e-6
HEADERS = ("work", "size", "threads", "ours ms", "peer", "peer ms", "times peer (quartiles)", "x floor")


def planted(*, soft: bool) -> Pairs:
    """Cross-predictions of models that spread each class over a few others."""
    rng = np.random.default_rng(0)
    found = {}
    for a in range(DOMAINS):
        for b in range(DOMAINS):
            if a != b:
                probs = rng.dirichlet([0.05] * CLASSES, size=CLASSES)
                shares = probs if soft else np.stack([rng.multinomial(ROWS, row) for row in probs]) / ROWS
                found[a, b] = shares.astype(np.float32)
    return found


def threshold_row(row: np.ndarray, t: float) -> np.ndarray:
    """Entries of t or more."""
    return (row >= t - TOLERANCE) & (row > 0)


def top_row(row: np.ndarray) -> np.ndarray:
    """The first largest entry."""
    chosen = np.zeros(len(row), bool)
    chosen[row.argmax()] = True
    return chosen & (row > 0)


def density_row(row: np.ndarray, p: float) -> np.ndarray:
    """The fewest largest entries that hold p."""
    order = np.argsort(-row, kind="stable")
    chosen = np.zeros(len(row), bool)
    chosen[order[: np.searchsorted(np.cumsum(row[order]), p - TOLERANCE) + 1]] = True
    return chosen & (row > 0)


def hypothesis_row(row: np.ndarray) -> np.ndarray:
    """The k = 0 to 5 largest entries that are nearest to uniform."""
    order = np.argsort(-row, kind="stable")
    x = row[order]
    tried = [np.abs(x[:k] - 1 / k).sum() + x[k:].sum() for k in range(1, 6)]
    deviations = np.array([np.abs(x - 1 / len(x)).sum(), *tried])
    chosen = np.zeros(len(row), bool)
    chosen[order[: np.argmax(deviations <= deviations.min() + TOLERANCE)]] = True
    return chosen & (row > 0)


def loop_over_rows(cross: Pairs) -> Edges:
    """The peer: a rule, a value, a pair and a row at a time; the edges between all classes at each value."""
    rules: dict[str, list[Callable[[np.ndarray], np.ndarray]]] = {
        "threshold": [functools.partial(threshold_row, t=t) for t in VALUES],
        "top": [top_row],
        "density": [functools.partial(density_row, p=p) for p in VALUES],
        "hypothesis": [hypothesis_row],
    }
    exact = {pair: probs.astype(np.float64) for pair, probs in cross.items()}
    for method, of_values in rules.items():
        for rule in of_values:
            edges = np.zeros((DOMAINS * CLASSES,) * 2, bool)
            for (a, b), probs in exact.items():
                for i, row in enumerate(probs):
                    edges[a * CLASSES + i, b * CLASSES : (b + 1) * CLASSES] = rule(row)
            yield method, edges


def loop_sorted_once(cross: Pairs) -> Edges:
    """A quicker peer: each row is sorted once, and takes all values together."""
    found = {
        method: np.zeros((count, DOMAINS * CLASSES, DOMAINS * CLASSES), bool)
        for method, count in (("threshold", len(VALUES)), ("top", 1), ("density", len(VALUES)), ("hypothesis", 1))
    }
    limits = (VALUES - TOLERANCE)[:, None]
    for (a, b), probs in cross.items():
        columns = slice(b * CLASSES, (b + 1) * CLASSES)
        for i, row in enumerate(probs.astype(np.float64), start=a * CLASSES):
            order = np.argsort(-row, kind="stable")
            x = row[order]
            before = np.empty(len(row))
            before[order] = np.cumsum(x) - x
            found["threshold"][:, i, columns] = (row >= limits) & (row > 0)
            found["density"][:, i, columns] = (before < limits) & (row > 0)
            found["top"][0, i, columns] = top_row(row)
            found["hypothesis"][0, i, columns] = hypothesis_row(row)
    return ((method, edges) for method, several in found.items() for edges in several)


def sweep(cross: Pairs) -> Edges:
    """Ours."""
    from jlabel.taxonomy import METHODS, sweep_relations

    found = sweep_relations(cross, thresholds=VALUES.tolist(), densities=VALUES.tolist())
    return ((method, edges) for method in METHODS for edges in found.edges(method))


def least_work(cross: Pairs) -> Edges:
    """The floor."""
    for probs in cross.values():
        keys = probs.astype(np.float64).view(np.int64)
        keys.sort(axis=1)
    whole = np.zeros((DOMAINS * CLASSES,) * 2, np.uint8)
    for method in ("threshold", "density"):
        yield from ((method, whole > k) for k in range(len(VALUES)))


def drain(side: Callable[[Pairs], Edges], cross: Pairs) -> None:
    """Takes each value's edges and drops them."""
    for _ in side(cross):
        pass


PEERS = {"loop over rows": loop_over_rows, "loop, sorted once": loop_sorted_once}


def measure_relations(*, threads: int, repeats: int, clock: Clock) -> list[list[object]]:
    """The rows of (a)."""
    rows: list[list[object]] = []
    for name, soft in (("counts", False), ("means", True)):
        cross = planted(soft=soft)
        for ours, *peers in zip(sweep(cross), *(peer(cross) for peer in PEERS.values()), strict=True):
            if any(ours[0] != method or (ours[1] != edges).any() for method, edges in peers):
                raise SystemExit(f"the edges by {ours[0]} differ on {name}")
        floor = compare({"": functools.partial(drain, least_work, cross)}, repeats=15, clock=clock)[""]
        sides = {"ours": sweep, **PEERS}
        calls: dict[str, Callable[[], object]] = {
            side: functools.partial(drain, call, cross) for side, call in sides.items()
        }
        times = compare(calls, repeats=repeats, clock=clock)
        for peer in PEERS:
            gain = ratio(times[peer], times["ours"])
            rows.append([
                f"four rules, {name}", f"{DOMAINS} x {CLASSES} classes", threads, times["ours"].median * 1e3, peer,
                times[peer].median * 1e3, f"{gain.median:.1f} ({gain.low:.1f} to {gain.high:.1f})",
                times["ours"].median / floor.median,
            ])  # fmt: skip
    return rows


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have imported NumPy's users before."""
    pin_threads(threads)
    rows = measure_relations(threads=threads, repeats=repeats, clock=clock)
    if quick:
        return rows
    from benchmarks import taxonomy_classes  # imports PyTorch

    return rows + taxonomy_classes.measure(threads, repeats=repeats, clock=clock)


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.taxonomy", __doc__, measure, quick="only (a)", repeats=7)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
