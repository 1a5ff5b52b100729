"""Confident joint, noise-rate filter and streaming against cleanlab: `python -m benchmarks.confident_learning`.

Planted label noise (10 %), float64 probabilities. Results are compared first, then the sides take turns; each thread
count gets a process of its own, pinned to so many cores. Needs `pip install -r benchmarks/requirements.txt` and 6 GB;
about two minutes a thread count, `--quick` takes one and leaves out 1e6 x 100. Ours uses one core, whatever there is.
On a busy machine use `--clock=cpu`, which counts the seconds of all threads.

Peer: cleanlab 2.9, n_jobs=1; on several cores with the wall clock, the faster of n_jobs=1 and n_jobs=threads.
"joint" is `compute_confident_joint(calibrate=False)`, "noise rate" `find_label_issues` by `prune_by_noise_rate`,
"streaming" `find_label_issues_batched` in ten batches. "times cleanlab" is its time over ours: above 1 we are faster.
Equal: the joint (with `collision="all"`, cleanlab's only rule); the rows by noise rate, once cleanlab is handed our
rounded joint (left alone, it gives equal remainders to other classes); our streaming and `find_errors`
(cleanlab's ranks by self-confidence, so its rows are others).

Goals: joint 2, noise rate 5, streaming 1.5, each with a peak of extra memory below 10 % of `probs`. The floor: two
sequential reads of `probs` (a sum in blocks); "x floor" is our time over it. We check, threshold and count in a single
read, besides one number in each row. On one core of a busy machine, CPU clock: times cleanlab / x floor

                   joint       noise rate    streaming
    1e6 x 10       4.8 / 3.5   6.7 / 7.9     2.1 / 9.7
    5e4 x 1000     2.0 / 1.1   5.8 / 2.0     1.8 / 2.4
    1e6 x 100      2.8 / 1.5   7.8 / 3.5     3.9 / 3.2

With few classes the numbers are soon read, and the work on each row (which class, counted where) is what takes time.
"""

import functools
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark

Clock = Callable[[], float]

# rows, classes
CASES = ((1_000_000, 10), (50_000, 1000), (1_000_000, 100))
QUICK = CASES[:2]
BATCHES = 10
HEADERS = (
    "rows x classes", "work", "threads", "ours ms", "cleanlab ms", "times cleanlab (quartiles)", "x floor",
    "extra memory, % of probs", "cleanlab's",
)  # fmt: skip


def planted(num_rows: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, of which 10 % are drawn anew, and the probabilities of a fair model of the true ones."""
    rng = np.random.default_rng(0)
    true = rng.integers(num_classes, size=num_rows)
    labels = np.where(rng.random(num_rows) < 0.1, rng.integers(num_classes, size=num_rows), true)
    probs = np.empty((num_rows, num_classes))
    step = 10_000_000 // num_classes
    for start in range(0, num_rows, step):
        part = probs[start : start + step]
        rng.standard_normal(out=part)
        part[np.arange(len(part)), true[start : start + step]] += 3 + np.log(num_classes) / 2
        np.exp(part, out=part)
        part /= part.sum(1, keepdims=True)
    return labels, probs


def in_chunks(labels: np.ndarray, probs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row numbers, labels and probabilities of a tenth of the rows at a time."""
    step = len(labels) // BATCHES
    for start in range(0, len(labels), step):
        place = slice(start, start + step)
        yield np.arange(len(labels[place])) + start, labels[place], probs[place]


def read_twice(probs: np.ndarray) -> float:
    """The floor."""
    return sum(float(part.sum()) for _ in range(2) for part in np.array_split(probs.ravel(), max(1, probs.size >> 16)))


def peak_share(call: Callable[[], Any], probs: np.ndarray) -> float:
    """Most memory that NumPy held at once during a call, beyond what it held before, in % of the probabilities."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return 100 * peak / probs.nbytes


def sides_of(labels: np.ndarray, probs: np.ndarray, n_jobs: int) -> dict[str, tuple[Callable[[], Any], ...]]:
    """Our call and cleanlab's for each kind of work."""
    from cleanlab.count import compute_confident_joint
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched
    from cleanlab.filter import find_label_issues

    from jlabel.confident_learning import confident_joint, filter_by_noise_rate, find_errors_streaming

    num_classes = probs.shape[1]
    chunks = functools.partial(in_chunks, labels, probs)
    return {
        "joint": (
            functools.partial(confident_joint, labels, probs, collision="all"),
            functools.partial(compute_confident_joint, labels, probs, calibrate=False),
        ),
        "noise rate": (
            functools.partial(filter_by_noise_rate, labels, probs),
            functools.partial(find_label_issues, labels, probs, filter_by="prune_by_noise_rate", n_jobs=n_jobs),
        ),
        "streaming": (
            functools.partial(find_errors_streaming, chunks, num_classes=num_classes, rule="off_diagonal"),
            functools.partial(
                find_label_issues_batched, labels, probs, batch_size=len(labels) // BATCHES, n_jobs=n_jobs,
                verbose=False,
            ),
        ),
    }  # fmt: skip


def check(labels: np.ndarray, probs: np.ndarray) -> None:
    """Stops where results that must be equal are not."""
    from cleanlab.filter import find_label_issues

    from jlabel.confident_learning import calibrate_joint, confident_joint, find_errors, round_joint

    sides = sides_of(labels, probs, 1)
    joint, peer = (call() for call in sides["joint"])
    if (joint != peer).any():
        raise SystemExit("the joints differ")
    rounded = round_joint(calibrate_joint(confident_joint(labels, probs), np.bincount(labels)))
    peer = find_label_issues(labels, probs, filter_by="prune_by_noise_rate", confident_joint=rounded, n_jobs=1)
    if (sides["noise rate"][0]() != peer).any():
        raise SystemExit("the rows by noise rate differ")
    if sides["streaming"][0]().indices.tolist() != find_errors(labels, probs, rule="off_diagonal").order.tolist():
        raise SystemExit("streaming finds other rows than find_errors")


def measure_case(case: tuple[int, int], *, threads: int, repeats: int, clock: Clock, wall: bool) -> list[list[object]]:
    """The rows of one shape."""
    labels, probs = planted(*case)
    check(labels, probs)
    floor = compare({"read": functools.partial(read_twice, probs)}, repeats=5, clock=clock)["read"].median
    rows: list[list[object]] = []
    for work, (ours, peer) in sides_of(labels, probs, 1).items():
        calls = {"ours": ours, "peer": peer}
        if threads > 1 and wall and work != "joint":  # processes of its own, whose seconds the CPU clock does not see
            calls["peer, more jobs"] = sides_of(labels, probs, threads)[work][1]
        times = compare(calls, repeats=repeats, warmup=1, clock=clock)
        best = min((times[name] for name in times if name != "ours"), key=lambda timing: timing.median)
        rows.append([
            f"{case[0]:.0e} x {case[1]}", work, threads, times["ours"].median * 1e3, best.median * 1e3,
            _quotient(best, times["ours"]), times["ours"].median / floor, peak_share(ours, probs),
            peak_share(peer, probs),
        ])  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _quotient(peer: Timing, ours: Timing) -> str:
    """The peer's time over ours with its quartiles."""
    relative = ratio(peer, ours)
    return f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})"


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have imported NumPy's users before."""
    import time

    pin_threads(threads)
    warnings.simplefilter("ignore")
    options: dict[str, Any] = {"threads": threads, "repeats": repeats, "clock": clock}
    wall = clock is time.perf_counter
    return [row for case in (QUICK if quick else CASES) for row in measure_case(case, wall=wall, **options)]


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark(
        "benchmarks.confident_learning", __doc__, measure, quick="without 1e6 x 100, one minute", repeats=7
    )
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
