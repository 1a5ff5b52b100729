"""Which row to show to an expert next."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import sparse

from jlabel.weak_supervision.buckets import Buckets
from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.givens import count_answers

Strategy = Literal["maxkl", "margin", "random"]

_CLIP = 1e-5  # of the model's probabilities
_EPS = 0.01  # of the experts' share: n answers of one class leave this over n for the others


def expert_divergence(probs: ArrayLike, answers: ArrayLike, initial_probs: ArrayLike) -> np.ndarray:
    """How far the model is from the experts in each bucket, `KL(p || q) = sum_y p_y log(p_y / q_y)`.

    q is the share of the bucket's n answers that name class y, at least `eps = 0.01 / n`; where there is no answer, the
    class that was likeliest before the first one, with `eps = 0.01`. p is clipped to `[1e-5, 1 - 1e-5]`.

    Args:
        probs: `(R, C)` the model's probabilities now.
        answers: `(R, C)` how often experts named each class.
        initial_probs: `(R, C)` the model's probabilities before the first answer.

    Returns:
        float64 `(R,)`, 0 or more, in nats.

    Example:
        >>> float(expert_divergence([[0.1, 0.9]], [[1, 0]], [[0.1, 0.9]])[0].round(4))
        3.8206

    Source: Active WeaSuL, Eq. 5 to 7; the paper leaves eps open.
    """
    p = np.clip(np.asarray(probs, np.float64), _CLIP, 1 - _CLIP)
    p = p / p.sum(1, keepdims=True)
    counts = np.asarray(answers, np.float64)
    total = counts.sum(1, keepdims=True)
    first = np.asarray(initial_probs, np.float64)
    guess = np.arange(p.shape[1]) == first.argmax(1)[:, None]
    share = np.where(total > 0, counts / np.maximum(total, 1), guess)
    eps = _EPS / np.maximum(total, 1)
    small = share < eps
    # What the small shares are raised by, the others give: with two classes that is clipping to [eps, 1 - eps].
    q = np.where(small, eps, share * (1 - eps * small.sum(1, keepdims=True)) / (share * ~small).sum(1, keepdims=True))
    return (p * np.log(p / q)).sum(1)


def query_entropy(buckets: ArrayLike | Sequence[int]) -> float:
    """Diversity of the buckets that were asked, `-sum_b r_b log r_b` with `r_b` the share of the queries in bucket b.

    Args:
        buckets: `(T,)` the bucket of each query.

    Returns:
        0 (one bucket) to `log T` (all different), in nats.

    Example:
        >>> round(query_entropy([4, 4, 0, 2]), 4)
        1.0397

    Source: Active WeaSuL, section 4.3.
    """
    _, counts = np.unique(np.asarray(buckets), return_counts=True)
    share = counts / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum() + 0.0)


def next_query(
    probs: ArrayLike,
    buckets: Buckets,
    expert_rows: ArrayLike | Sequence[int],
    expert_labels: ArrayLike | Sequence[int],
    *,
    strategy: Strategy = "maxkl",
    initial_probs: ArrayLike | None = None,
    exclude: ArrayLike | Sequence[int] = (),
    key: jax.Array,
) -> int:
    """The row to ask an expert about next, see `next_queries`.

    Example:
        >>> from jlabel.weak_supervision import compress
        >>> buckets = compress([[1, 1], [1, 0], [1, 1], [0, 0]])
        >>> probs = [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]
        >>> next_query(probs, buckets, [], [], strategy="margin", key=jax.random.key(0))
        1
    """
    return int(
        next_queries(
            probs, buckets, expert_rows, expert_labels, strategy=strategy, initial_probs=initial_probs, exclude=exclude,
            key=key,
        )[0]
    )  # fmt: skip


def next_queries(
    probs: ArrayLike,
    buckets: Buckets,
    expert_rows: ArrayLike | Sequence[int],
    expert_labels: ArrayLike | Sequence[int],
    *,
    count: int = 1,
    strategy: Strategy = "maxkl",
    initial_probs: ArrayLike | None = None,
    exclude: ArrayLike | Sequence[int] = (),
    key: jax.Array,
) -> np.ndarray:
    """The rows to ask an expert about next, the most helpful first.

    `"maxkl"` takes a row of the bucket where the model is furthest from the answers (`expert_divergence`), `"margin"`
    of that whose two best classes are closest, `"random"` of any bucket, all alike whatever their size. Ties, and the
    row within a bucket, are drawn. Rows that were answered are not asked again, nor are rows on which every rule
    abstains. Several rows come from different buckets as long as there are enough.

    Args:
        probs: `(R, C)` the model's probabilities of the buckets.
        buckets: Votes, compressed; R of them.
        expert_rows: `(Q,)` rows answered so far; bucket numbers where `buckets` has no `inverse`.
        expert_labels: `(Q,)` the answers.
        count: How many rows.
        strategy: See above.
        initial_probs: `(R, C)` as `probs`, before the first answer; "maxkl" needs them once there is one.
        exclude: Rows that cannot be asked.
        key: Typed key.

    Returns:
        int64 `(count,)` rows (bucket numbers where `buckets` has no `inverse`); fewer if fewer are left.

    Raises:
        WeakSupervisionError: No row left, shapes that do not fit, an unknown strategy.

    Source: Active WeaSuL, Algorithm 1; batches are an addition.
    """
    if strategy not in get_args(Strategy):
        raise WeakSupervisionError(f"strategy is {strategy!r}; allowed: {', '.join(get_args(Strategy))}")
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise WeakSupervisionError(f"count is {count!r}; give the number of rows to ask, 1 or more")
    p = _check_probs("probs", probs, buckets)
    answers = count_answers(buckets, expert_rows, expert_labels, p.shape[1])
    rng = generator(key)
    if strategy == "random":
        scores = rng.random(len(p))
    elif strategy == "margin":
        top = np.sort(p, axis=1)
        scores = top[:, -2] - top[:, -1]
    else:
        if initial_probs is None and answers.any():
            raise WeakSupervisionError("initial_probs is missing: maxkl needs the probabilities before any answer")
        first = p if initial_probs is None else _check_probs("initial_probs", initial_probs, buckets)
        scores = expert_divergence(p, answers, first)
    return choose_rows(scores, buckets, [*np.atleast_1d(expert_rows), *np.atleast_1d(exclude)], count=count, rng=rng)


def choose_rows(
    scores: np.ndarray, buckets: Buckets, taken: Sequence[Any], *, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows of the buckets with the highest scores, one from each bucket, then a second one from each, and so on."""
    inverse = buckets.inverse
    left = rows_left(buckets, taken)
    if not left.any():
        raise WeakSupervisionError("no row is left to ask: every row that a rule votes on has been answered")
    drawn = rng.permutation(len(scores))
    order = drawn[np.argsort(-np.round(scores[drawn], 9), kind="stable")]  # rounded, so that rounding breaks no tie
    found: list[int] = []
    waiting: dict[int, list[int]] = {}
    while len(found) < count and left.any():
        for bucket in order[left[order] > 0][: count - len(found)].tolist():
            left[bucket] -= 1
            if inverse is None:
                found.append(bucket)
                continue
            if bucket not in waiting:
                waiting[bucket] = rng.permutation(np.setdiff1d(np.flatnonzero(inverse == bucket), taken)).tolist()
            found.append(waiting[bucket].pop())
    return np.array(found, np.int64)


def rows_left(buckets: Buckets, taken: Sequence[Any]) -> np.ndarray:
    """How many rows of each bucket can still be asked, int64 `(R,)`; 0 where every rule abstains.

    >>> from jlabel.weak_supervision import compress
    >>> rows_left(compress([[-1, -1], [1, 0], [1, 0]]), [1])
    array([0, 1])
    """
    places = np.asarray(taken, np.int64)
    if buckets.inverse is not None:
        places = buckets.inverse[np.unique(places)]
    left = np.maximum(buckets.counts.astype(np.int64) - np.bincount(places, minlength=len(buckets.counts)), 0)
    rows = buckets.rows
    votes = np.diff(rows.indptr) > 0 if sparse.issparse(rows) else (rows >= 0).any(1)
    return np.where(votes, left, 0)


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's generator, seeded by a typed key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def _check_probs(name: str, probs: ArrayLike, buckets: Buckets) -> np.ndarray:
    values = np.asarray(probs, np.float64)
    if values.ndim != 2 or values.shape[0] != len(buckets.counts) or values.shape[1] < 2:
        raise WeakSupervisionError(
            f"{name} has shape {values.shape}; give one row for each of {len(buckets.counts)} buckets, a column a class"
        )
    bad = ~((values >= 0) & (values <= 1 + 1e-9)).all(1)
    if bad.any():
        row = int(np.argmax(bad))
        raise WeakSupervisionError(f"{name}[{row}] is {values[row].tolist()}; probabilities lie between 0 and 1")
    return values
