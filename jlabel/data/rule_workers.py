"""Rules that vote in several processes."""

import multiprocessing
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from jlabel.data.row_chunks import Chunk
from jlabel.data.rule_calls import OnError, RuleFailure, vote_on_chunk
from jlabel.data.rules import Rule, RuleError

Voted = tuple[np.ndarray, list[RuleFailure]]


def vote_in_workers(
    rules: Sequence[Rule], chunks: Iterable[Chunk], on_error: OnError, num_classes: int, workers: int
) -> Iterator[Voted]:
    """`vote_on_chunk` of each chunk, in order, in `workers` processes, with two chunks a process on their way.

    Processes are spawned: a fork of one in which JAX runs threads may hang.
    """
    pickled = [(given.name, _pickled(given)) for given in rules]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (pickled, on_error, num_classes))
    waiting: deque[tuple[int, Future[Voted]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk.start, pool.submit(_vote, _pickled_chunk(chunk))))
            if len(waiting) >= 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    except BrokenProcessPool as error:
        raise _died(0) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(start: int, future: "Future[Voted]") -> Voted:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _died(start) from error


def _died(row: int) -> RuleError:
    return RuleError(
        f"a worker process died at row {row} or soon after: out of memory, a crash in a rule, or a script that does "
        "not start its work under `if __name__ == '__main__':`; workers=0 votes in this process"
    )


def _pickled(given: Rule) -> bytes:
    try:
        return pickle.dumps(given)
    except Exception as error:
        raise RuleError(
            f"rule {given.name!r} cannot be sent to worker processes ({error}): define it with def at the top of a "
            "module, with what it needs by functools.partial, or use workers=0"
        ) from error


def _pickled_chunk(chunk: Chunk) -> bytes:
    try:
        return pickle.dumps(chunk)
    except Exception as error:
        last = chunk.start + chunk.size - 1
        raise RuleError(
            f"rows {chunk.start} to {last} cannot be sent to worker processes ({error}): workers=0"
        ) from error


_state: list[tuple[list[Rule] | str, OnError, int]] = []  # of a worker process: its rules, or why there are none


def _start(pickled: list[tuple[str, bytes]], on_error: OnError, num_classes: int) -> None:
    rules = []
    for name, given in pickled:
        try:
            rules.append(pickle.loads(given))
        except Exception as error:  # raised here, it would leave nothing but a dead process
            reason = f"rule {name!r} cannot be loaded in a worker process ({error}): put it into a module, or workers=0"
            _state[:] = [(reason, on_error, num_classes)]
            return
    _state[:] = [(rules, on_error, num_classes)]


def _vote(pickled: bytes) -> Voted:
    rules, on_error, num_classes = _state[0]
    if isinstance(rules, str):
        raise RuleError(rules)
    return vote_on_chunk(rules, pickle.loads(pickled), on_error, num_classes)
