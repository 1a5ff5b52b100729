"""What active labelling of rules is compared with: Nashaat et al., active learning from features, and the ends."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.active import check_answer, check_truth, run_active
from jlabel.weak_supervision.buckets import Buckets, as_buckets, compress
from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes, dense_votes
from jlabel.weak_supervision.methods import fit_method
from jlabel.weak_supervision.queries import choose_rows, generator, rows_left


def run_nashaat(
    votes: Any,
    answer: Callable[[int], int | None] | ArrayLike,
    *,
    num_classes: int = 2,
    method: str | Callable[..., Any] = "latent_class",
    budget: int = 30,
    labels: ArrayLike | None = None,
    key: jax.Array,
    **options: Any,
) -> list[dict]:
    """Corrects the votes of the rows an expert has labelled, and refits without telling the model more.

    An answer replaces every vote of its row that is no abstention. The row asked next is that with the smallest margin
    between its two best classes among the rows whose votes conflict; among all rows where no votes do.

    Args:
        votes: `(N, M)` votes, -1 abstains.
        answer: As for `run_active`, as are all the others.
        num_classes: C.
        method: A label model's name, or a function as for `run_active`.
        budget: Answers to get.
        labels: `(N,)` true classes, -1 where unknown.
        key: Typed key.
        options: Settings of the label model.

    Returns:
        Dicts as of `run_active`; `probs` are those of the votes as the rules cast them.

    Raises:
        WeakSupervisionError: As `run_active`, or votes without their rows.

    Example:
        >>> import jax
        >>> from jlabel.weak_supervision import FactorGraph, run_nashaat, sample_votes
        >>> world = FactorGraph(np.array([1.0, 0.8, 0.6]), np.ones(3))
        >>> votes, labels = sample_votes(world, 1000, key=jax.random.key(0))
        >>> len(run_nashaat(votes, labels, budget=4, key=jax.random.key(1)))
        5

    Source: Nashaat et al., "Hybridization of active learning and data programming for labeling large industrial
    datasets", 2018, as Active WeaSuL describes it.
    """
    buckets = as_buckets(votes, num_classes=check_num_classes(num_classes))
    if buckets.inverse is None:
        raise WeakSupervisionError("votes must hold every row: corrections are of rows, which merged buckets lack")
    fit = functools.partial(_fit_corrected, method=method, num_classes=num_classes)
    return run_active(
        buckets, answer, num_classes=num_classes, method=fit, budget=budget, strategy=_conflicting_row, labels=labels,
        key=key, **options,
    )  # fmt: skip


def corrected_votes(buckets: Buckets, rows: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Votes `(N, M)` with those of the labelled rows set to their label, abstentions left alone.

    >>> corrected_votes(compress([[1, 0, -1], [0, 0, 0]]), [0], [1])
    array([[ 1,  1, -1],
           [ 0,  0,  0]], dtype=int8)
    """
    if buckets.inverse is None:
        raise WeakSupervisionError("buckets must know their rows")
    votes = dense_votes(buckets.rows)[buckets.inverse]
    places = np.asarray(rows, np.int64)
    votes[places] = np.where(votes[places] >= 0, np.asarray(labels, np.int8)[:, None], -1)
    return votes


def _fit_corrected(
    buckets: Buckets,
    *,
    method: str | Callable[..., Any],
    num_classes: int,
    expert_rows: np.ndarray,
    expert_labels: np.ndarray,
    init: Any,
    key: jax.Array,
    **options: Any,
) -> Any:
    # A correction can add joint votes, and parameters with them: every fit starts anew.
    given: dict[str, Any] = {"expert_rows": None, "expert_labels": None, "init": None, "key": key, **options}
    fit = method if callable(method) else functools.partial(fit_method, method, num_classes=num_classes)
    if not len(expert_rows):
        return fit(buckets, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rules that corrections made alike
        return fit(compress(corrected_votes(buckets, expert_rows, expert_labels)), **given)


def _conflicting_row(
    probs: np.ndarray, buckets: Buckets, rows: Any, labels: Any, *, count: int, exclude: Any, key: jax.Array
) -> np.ndarray:
    votes = buckets.rows
    conflict = np.where(votes >= 0, votes, 127).min(1) < votes.max(1)
    if not rows_left(buckets, [*rows, *exclude])[conflict].any():
        conflict[:] = True
    top = np.sort(probs, axis=1)
    scores = np.where(conflict, top[:, -2] - top[:, -1], -np.inf)
    return choose_rows(scores, buckets, [*rows, *exclude], count=count, rng=generator(key))


def run_pure_active(
    features: Any,
    answer: Callable[[int], int | None] | ArrayLike,
    *,
    num_classes: int = 2,
    budget: int = 30,
    classifier: Any = None,
    key: jax.Array,
) -> list[dict]:
    """Active learning without rules: a classifier on features, asked where its two best classes are closest.

    Rows are drawn until two classes are seen.

    Args:
        features: `(N, D)` numbers, or a SciPy sparse matrix.
        answer: As for `run_active`.
        num_classes: C.
        budget: Answers to get.
        classifier: A scikit-learn classifier with `predict_proba`; cloned. By default `LogisticRegression()`.
        key: Typed key.

    Returns:
        One dict for the state before any answer, then one for each: `answers`, `row`, `answer`, and `model`, a function
        from features to probabilities `(N, C)`, uniform until two classes are seen.

    Raises:
        WeakSupervisionError: Bad answers or settings.

    Example:
        >>> import jax
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> steps = run_pure_active(x, (x[:, 0] > 0).astype(int), budget=12, key=jax.random.key(0))
        >>> bool((steps[-1]["model"](x).argmax(1) == (x[:, 0] > 0)).mean() > 0.9)
        True
    """
    classes = check_num_classes(num_classes)
    x = sparse.csr_array(features) if sparse.issparse(features) else np.asarray(features)
    if x.ndim != 2:
        raise WeakSupervisionError(f"features must be (rows, features), got shape {x.shape}")
    known = None if callable(answer) else check_truth("answer", answer, x.shape[0], classes)
    rng = generator(key)
    rows: list[int] = []
    answers: list[int] = []
    free = np.ones(x.shape[0], bool)
    model = functools.partial(_probs_by_class, None, classes)
    steps = [{"answers": 0, "row": None, "answer": None, "model": model}]
    while len(rows) < budget and free.any():
        places = np.flatnonzero(free)
        if len(set(answers)) > 1:
            top = np.sort(model(x[places]), axis=1)
            gap = np.round(top[:, -1] - top[:, -2], 9)
            places = places[gap == gap.min()]
        row = int(rng.choice(places))
        free[row] = False
        if known is None:
            label = check_answer(answer(row), row, classes)  # type: ignore[operator]
        else:
            label = None if known[row] < 0 else int(known[row])
        if label is None:
            continue
        rows.append(row)
        answers.append(label)
        if len(set(answers)) > 1:
            fitted = clone(LogisticRegression() if classifier is None else classifier).fit(x[rows], answers)
            model = functools.partial(_probs_by_class, fitted, classes)
        steps.append({"answers": len(rows), "row": row, "answer": label, "model": model})
    return steps


def _probs_by_class(fitted: Any, num_classes: int, features: Any) -> np.ndarray:
    probs = np.full((features.shape[0], num_classes), 1 / num_classes if fitted is None else 0.0)
    if fitted is not None:
        probs[:, np.asarray(fitted.classes_, np.int64)] = fitted.predict_proba(features)
    return probs


def bucket_oracle(votes: Any, labels: ArrayLike, rows: Any, *, num_classes: int) -> np.ndarray:
    """The class shares of each bucket, learned from every true label: the best any function of the votes could do.

    Args:
        votes: `(N, M)` votes, -1 abstains.
        labels: `(N,)` their true classes.
        rows: `(K, M)` votes to score; the votes themselves give the ceiling on these very rows.
        num_classes: C.

    Returns:
        float64 `(K, C)`; a bucket that `votes` lacks gets the shares of all rows.

    Raises:
        WeakSupervisionError: As `check_votes`. InputError: Labels that do not fit.

    Example:
        >>> bucket_oracle([[1, 0], [1, 0], [0, 0]], [1, 0, 0], [[1, 0], [1, 1]], num_classes=2).round(2)
        array([[0.5 , 0.5 ],
               [0.67, 0.33]])
    """
    buckets = as_buckets(votes, num_classes=check_num_classes(num_classes))
    if buckets.inverse is None:
        raise WeakSupervisionError("votes must hold every row: labels are of rows, which merged buckets lack")
    truth = check_truth("labels", labels, len(buckets.inverse), num_classes)
    counts = np.zeros((len(buckets.counts), num_classes))
    np.add.at(counts, (buckets.inverse[truth >= 0], truth[truth >= 0]), 1)
    wanted = as_buckets(rows, num_classes=num_classes)
    if wanted.rows.shape[1] != buckets.rows.shape[1]:
        raise WeakSupervisionError(f"rows has {wanted.rows.shape[1]} rules, votes {buckets.rows.shape[1]}")
    total = counts.sum(0)
    share = {row.tobytes(): part / part.sum() for row, part in zip(buckets.rows, counts, strict=True) if part.sum()}
    found = np.array([share.get(row.tobytes(), total / total.sum()) for row in wanted.rows])
    return found if wanted.inverse is None else found[wanted.inverse]


def class_shares(labels: ArrayLike, num_rows: int, *, num_classes: int) -> np.ndarray:
    """Knows nothing of a row: the class shares of some labels for each of `num_rows` rows.

    Args:
        labels: `(K,)` true classes.
        num_rows: N.
        num_classes: C.

    Returns:
        float64 `(N, C)`, all rows the same.

    Raises:
        InputError: No label, or one out of range.

    Example:
        >>> class_shares([0, 1, 1, 1], 2, num_classes=2)
        array([[0.25, 0.75],
               [0.25, 0.75]])
    """
    counts = np.bincount(as_labels("labels", labels, high=num_classes), minlength=num_classes)
    return np.tile(counts / counts.sum(), (num_rows, 1))
