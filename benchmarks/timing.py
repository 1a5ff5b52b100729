"""Fair timing: interleaved calls, medians with quartiles, a fixed number of cores."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Timing", "compare", "core_count", "markdown_table", "pin_threads", "ratio", "run_benchmark"]


class Timing(NamedTuple):
    """Seconds per call: the median, the lower and the upper quartile, and every sample in the order it was taken."""

    median: float
    low: float
    high: float
    samples: tuple[float, ...] = ()


def _summary(samples: Sequence[float]) -> Timing:
    low, median, high = np.percentile(samples, (25, 50, 75))
    return Timing(float(median), float(low), float(high), tuple(samples))


def compare(
    functions: dict[str, Callable[[], object]],
    *,
    repeats: int = 10,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time the functions in turns, so that a slow minute of the machine hits all of them alike.

    Args:
      functions: name -> a call that does one unit of work and returns only when it is done
        (`jax.block_until_ready` inside).
      repeats: rounds that count; every round calls each function once, and the order turns from round to round.
      warmup: rounds before them that do not count (compilation, caches).
      clock: seconds; `time.process_time` (CPU seconds of all threads) is steadier on a machine others use as well.

    Returns:
      name -> `Timing` in seconds.

    Example:
      >>> times = compare({"short": lambda: sum(range(10)), "long": lambda: sum(range(100_000))}, repeats=3)
      >>> times["short"].median < times["long"].median
      True
    """
    names = list(functions)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for round_index in range(-warmup, repeats):
        shift = round_index % len(names)
        for name in names[shift:] + names[:shift]:
            start = clock()
            functions[name]()
            elapsed = clock() - start
            if round_index >= 0:
                samples[name].append(elapsed)
    return {name: _summary(values) for name, values in samples.items()}


def ratio(ours: Timing, peer: Timing) -> Timing:
    """Our time over the peer's, round by round: the median ratio and its quartiles (below 1 we are faster)."""
    return _summary([a / b for a, b in zip(ours.samples, peer.samples, strict=True)])


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats are printed with three significant digits.

    Example:
      >>> print(markdown_table(["work", "ms"], [["step", 1.23456]]))
      | work | ms |
      |---|---|
      | step | 1.23 |
    """

    def text(cell: object) -> str:
        return f"{cell:.3g}" if isinstance(cell, float) else str(cell)

    lines = [list(headers), *rows]
    table = ["| " + " | ".join(text(cell) for cell in line) + " |" for line in lines]
    return "\n".join([table[0], "|" + "---|" * len(headers), *table[1:]])


def pin_threads(n: int) -> list[int]:
    """Keep this process on `n` cores; call it before JAX or PyTorch start their thread pools.

    XLA sizes its pool by the cores the process may use, so this is all it needs; PyTorch is told as well when it is
    already imported, and otherwise reads the environment when it is.

    Args:
      n: number of cores, at least 1; more than there are means all of them.

    Returns:
      The cores now in use. Where the system has no affinity call (macOS), only the thread counts are set.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(n)
    cores: list[int] = []
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:n]
        os.sched_setaffinity(0, cores)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    return cores


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_benchmark(
    module: str,
    doc: str | None,
    measure: Callable[..., Any],
    *,
    quick: str,
    repeats: int,
    environment: dict[str, str] | None = None,
) -> list[Any]:
    """Read the command line and measure each thread count in a process of its own, pinned to so many cores.

    Args:
      module: what `python -m` runs: the caller. doc: its help.
      measure: (quick, threads, repeats, clock) -> rows that JSON can hold, called in the worker.
      quick: what `--quick` leaves. repeats: default of `--repeats`. environment: more variables for the workers.

    Returns:
      What `measure` returned, for each thread count. In a worker the call prints it and exits.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"timed rounds (default {repeats})")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU seconds, for busy machines")
    parser.add_argument("--threads", type=int, help="only this number of cores (default: one, then all)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        clock = time.process_time if args.clock == "cpu" else time.perf_counter
        print(json.dumps(measure(quick=args.quick, threads=args.threads, repeats=args.repeats, clock=clock)))
        raise SystemExit
    found = []
    for threads in [args.threads] if args.threads else sorted({1, core_count()}):
        command = [sys.executable, "-m", module, "--worker", "--threads", str(threads)]
        command += ["--repeats", str(args.repeats), "--clock", args.clock] + ["--quick"] * args.quick
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, text=True, env={**os.environ, **(environment or {})}
        )
        found.append(json.loads(done.stdout))
    return found
