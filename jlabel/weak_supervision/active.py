"""Active labelling: ask an expert about a row, refit, look where the model is furthest from the answers, ask again."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.buckets import Buckets, as_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes
from jlabel.weak_supervision.decode import predict_probs
from jlabel.weak_supervision.methods import fit_method
from jlabel.weak_supervision.queries import Strategy, next_queries, query_entropy, rows_left
from jlabel.weak_supervision.scores import guess_shares


def run_active(
    votes: Any,
    answer: Callable[[int], int | None] | ArrayLike,
    *,
    num_classes: int = 2,
    method: str | Callable[..., Any] = "latent_class",
    budget: int = 30,
    strategy: Strategy | Callable[..., Any] = "maxkl",
    batch: int = 1,
    replay: Sequence[tuple[int, int]] = (),
    labels: ArrayLike | None = None,
    tolerance: float | None = None,
    patience: int = 5,
    key: jax.Array,
    **options: Any,
) -> list[dict]:
    """Labels rows actively and returns what happened; `active_steps` gives it answer by answer.

    Fit, then until the budget is spent: choose a row (`next_queries`), ask, refit with all answers so far from the last
    parameters.

    Args:
        votes: `(N, M)` votes, -1 abstains, or `Buckets` (without `inverse`, rows are bucket numbers).
        answer: Called with a row number, returns its class, or None where the expert cannot tell (the row is not asked
            again and costs nothing); or `(N,)` true classes for an expert who is always right.
        num_classes: C.
        method: A label model's name, with its settings as further arguments (`penalty`, `cliques`, `balance`, ...), or
            a function `fit(buckets, *, expert_rows, expert_labels, init, key, **options)` that returns a model.
        budget: Answers to get, 0 or more.
        strategy: `"maxkl"`, `"margin"`, `"random"`, or a function `(probs, buckets, rows, labels, *, count, exclude,
            key)` that returns rows.
        batch: Answers to get before each refit; a refit of any size costs the same.
        replay: (row, answer) pairs known already: they come first, in this order, and count as answers.
        labels: `(N,)` true classes, -1 where unknown, to measure accuracy; by default `answer` where it is an array.
        tolerance: Stop early when `should_stop(records, tolerance, patience)`; None never does.
        patience: See `should_stop`.
        key: Typed key for starts, ties and rows.
        options: Settings of the label model.

    Returns:
        One dict for the state before any answer (its `row`, `bucket`, `answer` and `expected` are None), then one for
        each answer: `answers`, their number so far; `row`; its `bucket` (a row of `as_buckets(votes)`); `answer`;
        `expected`, the probability that the model gave this answer before; `accuracy` on the labelled rows (ties
        share; None without labels); `entropy` of the buckets asked; `moved`, the mean over rows of how much probability
        the answer moved to other classes, 0 to 1, and `moved_bucket`, where most; `probs` `(R, C)` and `model`.

    Raises:
        WeakSupervisionError: Bad votes, answers or settings.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import FactorGraph, run_active, sample_votes
        >>> world = FactorGraph(np.array([1.0, 0.8, 0.6]), np.ones(3))
        >>> votes, labels = sample_votes(world, 1000, key=jax.random.key(0))
        >>> steps = run_active(votes, labels, budget=4, key=jax.random.key(1))
        >>> [step["answers"] for step in steps], steps[-1]["accuracy"] > 0.8
        ([0, 1, 2, 3, 4], True)

    Source: Active WeaSuL, Algorithm 1; batches and the stopping rule are additions.
    """
    steps = active_steps(
        votes, answer, num_classes=num_classes, method=method, budget=budget, strategy=strategy, batch=batch,
        replay=replay, labels=labels, key=key, **options,
    )  # fmt: skip
    found = []
    for step in steps:
        found.append(step)
        if tolerance is not None and should_stop(found, tolerance=tolerance, patience=patience):
            break
    return found


def should_stop(steps: Sequence[dict], *, tolerance: float = 0.01, patience: int = 5) -> bool:
    """Whether the last answers taught nothing: `patience` of them moved the probabilities by `tolerance` or less each.

    Args:
        steps: What `run_active` returned, or `active_steps` so far.
        tolerance: Of `moved`, the mean over rows of the probability that changes class.
        patience: How many answers in a row.

    Returns:
        True if asking further is not worth it.

    Example:
        >>> should_stop([{"answers": n, "moved": 0.2 / 4**n} for n in range(4)], tolerance=0.02, patience=2)
        True
    """
    last = [step["moved"] for step in steps if step["answers"]][-patience:]
    return len(last) == patience and max(last) <= tolerance


def active_steps(
    votes: Any,
    answer: Callable[[int], int | None] | ArrayLike,
    *,
    num_classes: int = 2,
    method: str | Callable[..., Any] = "latent_class",
    budget: int = 30,
    strategy: Strategy | Callable[..., Any] = "maxkl",
    batch: int = 1,
    replay: Sequence[tuple[int, int]] = (),
    labels: ArrayLike | None = None,
    key: jax.Array,
    **options: Any,
) -> Iterator[dict]:
    """Labels rows actively, one dict an answer, as soon as the refit is done; arguments and dicts as in `run_active`.

    Everything is checked, and the first dict made, before `answer` is called. An exception that `answer` raises ends
    the loop and reaches the caller.

    Example:
        >>> from jlabel.weak_supervision import active_steps
        >>> for step in active_steps([[1, 1], [0, 1], [0, 0]] * 5, [1, 0, 0] * 5, budget=2, key=jax.random.key(0)):
        ...     print(step["answers"], step["answer"] in (None, 0, 1))
        0 True
        1 True
        2 True
    """
    classes = check_num_classes(num_classes)
    buckets = as_buckets(votes, num_classes=classes, keep_sparse=True)
    num_rows = len(buckets.counts if buckets.inverse is None else buckets.inverse)
    for name, value, low in (("budget", budget, 0), ("batch", batch, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            raise WeakSupervisionError(f"{name} is {value!r}; give a whole number of {low} or more")
    truth = None
    if callable(answer):
        ask = answer
    else:
        truth = check_truth("answer", answer, num_rows, classes)
        known = truth
        ask = lambda row: int(known[row]) if known[row] >= 0 else None  # noqa: E731
    if labels is not None:
        truth = check_truth("labels", labels, num_rows, classes)
    for place, (row, label) in enumerate(replay):
        if not 0 <= row < num_rows or not 0 <= label < classes:
            raise WeakSupervisionError(
                f"replay[{place}] is {(row, label)}; rows are 0 to {num_rows - 1}, classes 0 to {classes - 1}"
            )
    settings = _Settings(num_rows, classes, method, int(budget), strategy, int(batch), options)
    return _steps(buckets, ask, settings, list(replay), _class_counts(buckets, truth, classes), key)


class _Settings(NamedTuple):
    num_rows: int
    num_classes: int
    method: str | Callable[..., Any]
    budget: int
    strategy: Strategy | Callable[..., Any]
    batch: int
    options: dict[str, Any]


def _steps(
    buckets: Buckets,
    ask: Callable[[int], int | None],
    settings: _Settings,
    replay: list[tuple[int, int]],
    truth: np.ndarray | None,
    key: jax.Array,
) -> Iterator[dict]:
    rows: list[int] = []
    answers: list[int] = []
    unknown: list[int] = []
    asked: list[int] = []  # the bucket of each answer
    fit_key, query_key = jax.random.split(key)
    model, probs = _refit(settings, buckets, rows, answers, None, fit_key)
    initial, turn = probs, 0
    yield _record(model, probs, probs, buckets, truth, asked)
    while len(rows) < settings.budget:
        if replay:
            got = [replay.pop(0)]
        elif not rows_left(buckets, [*rows, *unknown]).any():
            return
        else:
            wanted = min(settings.batch, settings.budget - len(rows))
            common: dict[str, Any] = {"count": wanted, "exclude": unknown, "key": jax.random.fold_in(query_key, turn)}
            turn += 1
            if callable(settings.strategy):
                chosen = settings.strategy(probs, buckets, rows, answers, **common)
            else:
                chosen = next_queries(
                    probs, buckets, rows, answers, strategy=settings.strategy, initial_probs=initial, **common
                )
            said = [(int(row), check_answer(ask(int(row)), row, settings.num_classes)) for row in chosen]
            unknown += [row for row, label in said if label is None]
            got = [(row, label) for row, label in said if label is not None]
            if not got:
                continue
        rows += [row for row, _ in got]
        answers += [label for _, label in got]
        before = probs
        model, probs = _refit(settings, buckets, rows, answers, model, fit_key)
        for row, label in got:
            asked.append(row if buckets.inverse is None else int(buckets.inverse[row]))
            yield _record(model, before, probs, buckets, truth, asked, row, label)


def _refit(
    settings: _Settings, buckets: Buckets, rows: list[int], answers: list[int], init: Any, key: jax.Array
) -> tuple[Any, np.ndarray]:
    given: dict[str, Any] = {
        "expert_rows": np.array(rows, np.int64),
        "expert_labels": np.array(answers, np.int64),
        "init": init,
        "key": key,  # the same starts each time: what moves, moves because of the answers
        **settings.options,
    }
    if callable(settings.method):
        model = settings.method(buckets, **given)
    else:
        model = fit_method(settings.method, buckets, num_classes=settings.num_classes, **given)
    return model, predict_probs(model, buckets)


def _record(
    model: Any,
    before: np.ndarray,
    probs: np.ndarray,
    buckets: Buckets,
    truth: np.ndarray | None,
    asked: list[int],
    row: int | None = None,
    label: int | None = None,
) -> dict:
    moved = 0.5 * np.abs(probs - before).sum(1)
    return {
        "answers": len(asked),
        "row": row,
        "bucket": None if row is None else asked[-1],
        "answer": label,
        "expected": None if label is None else float(before[asked[-1], label]),
        "accuracy": None if truth is None else shared_accuracy(probs, truth),
        "entropy": query_entropy(asked),
        "moved": float(moved @ buckets.counts / buckets.counts.sum()),
        "moved_bucket": int(moved.argmax()),
        "probs": probs,
        "model": model,
    }


def shared_accuracy(probs: np.ndarray, truth: np.ndarray) -> float:
    """Expected share of right rows where ties are broken by lot; `truth` `(R, C)` counts rows by bucket and class.

    >>> shared_accuracy(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[2, 1], [1, 0]]))
    0.625
    """
    return float((truth * guess_shares(probs)).sum() / truth.sum())


def _class_counts(buckets: Buckets, truth: np.ndarray | None, num_classes: int) -> np.ndarray | None:
    """Labelled rows `(R, C)` by bucket and class; None where there is none."""
    if truth is None or not (truth >= 0).any():
        return None
    places = np.arange(len(truth)) if buckets.inverse is None else buckets.inverse
    counts = np.zeros((len(buckets.counts), num_classes))
    np.add.at(counts, (places[truth >= 0], truth[truth >= 0]), 1)
    return counts


def check_truth(name: str, labels: ArrayLike, num_rows: int, num_classes: int) -> np.ndarray:
    """True classes `(N,)` of all rows, -1 where unknown."""
    truth = as_labels(name, labels, low=-1, high=num_classes)
    if len(truth) != num_rows:
        raise WeakSupervisionError(f"{name} has {len(truth)} entries for {num_rows} rows of votes")
    return truth


def check_answer(answer: Any, row: int, num_classes: int) -> int | None:
    """What an expert said, a class or None."""
    if answer is None:
        return None
    if isinstance(answer, bool | np.bool_) or not isinstance(answer, int | np.integer) or not 0 <= answer < num_classes:
        raise WeakSupervisionError(
            f"answer({row}) is {answer!r}; allowed: 0 to {num_classes - 1}, or None where the expert cannot tell"
        )
    return int(answer)
