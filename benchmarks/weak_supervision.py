"""Label models against Snorkel 0.10: `python -m benchmarks.weak_supervision`.

`fit_matrix_completion` against `LabelModel.fit(n_epochs=500)` and `predict_probs` against `predict_proba`, on votes of
independent rules (half abstain, accuracy .75). Accuracies against the planted classes are checked to agree first. "same
work" is one start, 500 steps, no constraint, which is what the peer does; "default" is eight starts of 1,000 steps with
tables held valid. The first call of a shape compiles: its seconds stand apart (0 where the shape was compiled before).
"refit" is an active step at 10,000 rows: a warm start with one more expert answer, and probabilities of every bucket
(the official Active WeaSuL code needs about 20 seconds). "10^8 votes" is compressed in 100 chunks and fitted from the
buckets, in a process without the peer, whose highest memory stands beside it; times do not include the drawing. Each
thread count gets a process of its own, pinned to so many cores; Snorkel slows with more threads.
Needs `pip install -r benchmarks/requirements.txt` and `pip install --no-deps snorkel==0.10.0 munkres`; about six
minutes a thread count, `--quick` takes half a minute.

Goals, as multiples of the peer's speed: fit (10^4, 10) 50, (10^4, 50) 35, (10^6, 10) 30, (10^6, 50) 25; predict 3;
refit 10 ms; 10^8 votes 2 GB.
"""

import functools
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark

# rows, rules, goal
CASES = ((10**4, 10, 50), (10**4, 50, 35), (10**6, 10, 30), (10**6, 50, 25))
EPOCHS = 500
HEADERS = ("work", "threads", "compile s", "snorkel ms", "ours ms", "times faster (quartiles)", "goal")


def draw_votes(num_rows: int, num_rules: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Votes of rules that are right three times in four and abstain half the time, and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, num_rows, dtype=np.int8)
    right = rng.random((num_rows, num_rules), np.float32) < 0.75
    votes = np.where(right, y[:, None], 1 - y[:, None])
    votes[rng.random((num_rows, num_rules), np.float32) < 0.5] = -1
    return votes.astype(np.int8), y


def _faster(peer: Timing, ours: Timing) -> str:
    found = ratio(peer, ours)
    return f"{found.median:.3g} ({found.low:.3g} - {found.high:.3g})"


def _fit_and_predict(num_rows: int, num_rules: int, goal: int, *, threads: int, repeats: int, clock: Any) -> list[list]:
    import jax
    from snorkel.labeling.model import LabelModel

    from jlabel.weak_supervision import fit_matrix_completion, predict_probs

    votes, y = draw_votes(num_rows, num_rules)
    key = jax.random.key(0)
    peer = LabelModel(cardinality=2, verbose=False)
    theirs = functools.partial(peer.fit, votes, n_epochs=EPOCHS, seed=0, progress_bar=False)
    kinds: dict[str, dict[str, Any]] = {"same work": {"starts": 1, "steps": EPOCHS, "constrain": False}, "default": {}}
    fits: dict[str, Callable[[], Any]] = {
        name: functools.partial(fit_matrix_completion, votes, key=key, **options) for name, options in kinds.items()
    }
    compiled = {}
    for name, fit in fits.items():
        start = time.perf_counter()
        fit()
        cold = time.perf_counter() - start
        start = time.perf_counter()
        model = fit()
        compiled[name] = max(0.0, cold - (time.perf_counter() - start))
    theirs()
    accuracies = [
        float((probs.argmax(1) == y).mean()) for probs in (peer.predict_proba(votes), predict_probs(model, votes))
    ]
    if abs(accuracies[0] - accuracies[1]) > 0.005:
        raise SystemExit(
            f"accuracies differ at {num_rows} x {num_rules}: snorkel {accuracies[0]}, ours {accuracies[1]}"
        )
    times = compare({"snorkel": theirs, **fits}, repeats=repeats, warmup=1, clock=clock)
    shape = f"{num_rows:,} x {num_rules}"
    rows: list[list] = [
        [
            f"fit, {name}, {shape}", threads, compiled[name], times["snorkel"].median * 1e3, times[name].median * 1e3,
            _faster(times["snorkel"], times[name]), goal,
        ]
        for name in fits
    ]  # fmt: skip
    sides: dict[str, Callable[[], Any]] = {
        "snorkel": lambda: peer.predict_proba(votes), "ours": lambda: predict_probs(model, votes)
    }  # fmt: skip
    times = compare(sides, repeats=repeats, warmup=1, clock=clock)
    milliseconds = [times[side].median * 1e3 for side in sides]
    rows.append([f"predict, {shape}", threads, "-", *milliseconds, _faster(times["snorkel"], times["ours"]), 3])
    return rows


def _refit(num_rows: int, *, threads: int, repeats: int, clock: Any) -> list[list]:
    import jax

    from jlabel.weak_supervision import compress, fit_matrix_completion, predict_probs

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, num_rows)
    points = np.where(y[:, None] == 0, [0.1, 1.3], [-0.8, -0.5]) + 0.5 * rng.normal(size=(num_rows, 2))
    votes = np.stack([points[:, 1] < 0.4, points[:, 0] < -0.3, points[:, 0] < -1.0], 1).astype(np.int8)
    buckets, key = compress(votes), jax.random.key(0)
    fit = functools.partial(fit_matrix_completion, buckets, cliques=((1, 2),), balance=0.5, key=key)
    models = [fit()]

    def step() -> None:
        rows = np.arange(len(models))
        models.append(fit(init=models[-1], starts=1, expert_rows=rows, expert_labels=y[rows]))
        predict_probs(models[-1], buckets)

    start = time.perf_counter()
    step()
    cold = time.perf_counter() - start
    times = compare({"refit": step}, repeats=10 * repeats, warmup=1, clock=clock)["refit"]
    return [[f"refit, {num_rows:,} x 3", threads, cold - times.median, "-", times.median * 1e3, "-", "10 ms"]]


def _fit_chunks(num_rows: int, num_rules: int, method: str) -> tuple[float, float, float]:
    """Seconds to compress 100 chunks and to fit, and the process's highest memory in GB; runs in its own process."""
    import jax

    from jlabel import weak_supervision

    drawing = 0.0

    def chunks() -> Iterator[np.ndarray]:
        nonlocal drawing
        for seed in range(100):
            start = time.perf_counter()
            votes, _ = draw_votes(num_rows // 100, num_rules, seed=seed)
            drawing += time.perf_counter() - start
            yield votes

    start = time.perf_counter()
    buckets = weak_supervision.compress_chunks(chunks())
    compressing = time.perf_counter() - start - drawing
    start = time.perf_counter()
    getattr(weak_supervision, method)(buckets, num_classes=2, key=jax.random.key(0))
    fitting = time.perf_counter() - start
    return compressing, fitting, _peak_memory()


def _fit_many_rules() -> tuple[float, float]:
    """Seconds to fit 1,200 rules of 56 classes to 100,000 rows of six votes, and the highest memory in GB."""
    import jax
    from scipy import sparse

    from jlabel.weak_supervision import fit_latent_class, predict_probs

    rng = np.random.default_rng(0)
    num_rows, num_rules, num_classes, cast = 10**5, 1200, 56, 6
    y, own = rng.integers(0, num_classes, num_rows), np.arange(num_rules) % num_classes
    rows = np.repeat(np.arange(num_rows), cast)
    of_class = y[rows] + num_classes * rng.integers(0, num_rules // num_classes, len(rows))
    rules = np.where(rng.random(len(rows)) < 0.7, of_class, rng.integers(0, num_rules, len(rows)))
    votes = sparse.csr_array((np.ones(len(rows), np.int8), (rows, rules)), shape=(num_rows, num_rules))
    votes.sum_duplicates()
    votes.data = (own[votes.indices] + 1).astype(np.int8)
    start = time.perf_counter()
    model = fit_latent_class(votes, num_classes=num_classes, key=jax.random.key(0))
    fitting = time.perf_counter() - start
    if (predict_probs(model, votes).argmax(1) == y).mean() < 0.95:
        raise SystemExit("1,200 rules of 56 classes: accuracy below .95")
    return fitting, _peak_memory()


def _peak_memory() -> float:
    """Highest memory of this process in GB; getrusage would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS: bytes
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def _many_votes(*, threads: int) -> list[list]:
    found: list[list] = []
    for num_rows, num_rules in ((10**7, 10), (10**6, 100)):
        for method in ("fit_latent_class", "fit_matrix_completion"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                compressing, fitting, memory = pool.apply(_fit_chunks, (num_rows, num_rules, method))
            work = f"10^8 votes, {num_rows:,} x {num_rules}: compress, {method} ({memory:.2f} GB)"
            found.append([work, threads, "-", "-", f"{compressing * 1e3:.0f} + {fitting * 1e3:.0f}", "-", "2 GB"])
            print(found[-1], file=sys.stderr, flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        fitting, memory = pool.apply(_fit_many_rules)
    work = f"1,200 rules of 56 classes, 100,000 rows: fit_latent_class ({memory:.2f} GB)"
    return [*found, [work, threads, "-", "-", fitting * 1e3, "-", "-"]]


def measure(*, quick: bool, threads: int, repeats: int, clock: Callable[[], float]) -> list[list[Any]]:
    """Rows of the table for one thread count; the process must not have imported PyTorch before."""
    pin_threads(threads)
    warnings.simplefilter("ignore")  # the peer's
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's BLAS was loaded, and its pool sized, before the pinning
    found = []
    for case in CASES[:2] if quick else CASES:
        found += _fit_and_predict(*case, threads=threads, repeats=repeats, clock=clock)
        print(*found[-3:], sep="\n", file=sys.stderr, flush=True)
    found += _refit(10**4, threads=threads, repeats=repeats, clock=clock)
    return found if quick else found + _many_votes(threads=threads)


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.weak_supervision", __doc__, measure, quick="10,000 rows only", repeats=5)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
