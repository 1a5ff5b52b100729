"""Fair timing: interleaved calls, medians with quartiles, a fixed number of cores."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Timing", "compare", "markdown_table", "pin_threads", "ratio"]


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
