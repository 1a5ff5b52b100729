"""Probabilities of rows that the model has not seen: stratified folds, trained side by side in one program."""

import functools
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.typing import ArrayLike
from scipy import sparse, special

from jlabel.confident_learning.checks import ConfidentLearningError
from jlabel.evaluation.checks import as_labels
from jlabel.training import ArrayBatches, fit_seeds


class Probe(NamedTuple):
    """A model as a pair of functions.

    Attributes:
        init_fn: `key -> params`.
        apply_fn: `(params, features [B, ...]) -> logits [B, C]`.
    """

    init_fn: Callable[[jax.Array], Any]
    apply_fn: Callable[[Any, jax.Array], jax.Array]


@functools.lru_cache(maxsize=64)  # the same functions for the same sizes, so that training compiles once
def linear_probe(num_features: int, num_classes: int) -> Probe:
    """Softmax regression, `logits = x W + b`, started at zero: the usual head on frozen features.

    Bring features to a common scale first, as gradient steps have one size for all of them.

    Args:
        num_features: D.
        num_classes: C.

    Returns:
        A `Probe` for features `[B, D]`.

    Example:
        >>> init_fn, apply_fn = linear_probe(64, 10)
        >>> apply_fn(init_fn(jax.random.key(0)), jnp.ones((3, 64))).shape
        (3, 10)
    """

    def init_fn(key: jax.Array) -> dict[str, jax.Array]:
        return {"weights": jnp.zeros((num_features, num_classes)), "bias": jnp.zeros(num_classes)}

    return Probe(init_fn, _linear)


def stratified_folds(
    labels: ArrayLike, *, folds: int = 5, groups: ArrayLike | None = None, key: jax.Array
) -> np.ndarray:
    """Deals rows to folds so that every fold has nearly the same share of every class.

    Without groups, the counts of a class differ by at most 1 between folds, and so do the folds' sizes. With groups,
    the rows of a group go together: groups of several rows first, largest first, each to the fold where the sum of
    squared class shares grows least; single rows then even out what is left.

    Args:
        labels: `[N]`, numbers or strings.
        folds: at least 2.
        groups: `[N]`, numbers or strings; rows of one group share a fold (copies of one picture, one patient's visits).
        key: typed key, `jax.random.key(seed)`; the same key deals the same folds.

    Returns:
        int32 `[N]`, the fold that holds the row out, `0 .. folds - 1`.

    Raises:
        ConfidentLearningError: fewer than 2 folds, a class with fewer rows than folds, groups that leave a fold without
            training rows of a class, a missing label or group, or other lengths.

    Example:
        >>> folds = stratified_folds([0, 0, 0, 0, 1, 1], folds=2, key=jax.random.key(0))
        >>> np.bincount(folds), np.bincount(folds[:4])
        (array([3, 3]), array([2, 2]))
    """
    if isinstance(folds, bool) or not isinstance(folds, numbers.Integral) or folds < 2:
        raise ConfidentLearningError(f"folds must be a whole number, at least 2, got {folds!r}")
    if not (isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0):
        raise ConfidentLearningError(f"key must be one typed key, from jax.random.key(seed), got {key!r}")
    classes, names = _codes("labels", labels)
    counts = np.bincount(classes)
    if (counts < folds).any():
        rarest = int(np.argmin(counts))
        raise ConfidentLearningError(
            f"class {names[rarest]!r} has {counts[rarest]} rows, fewer than the {folds} folds; take fewer folds, or"
            " leave the class out"
        )
    if groups is None:
        members = np.arange(len(classes))
    else:
        members, _ = _codes("groups", groups)
        if len(members) != len(classes):
            raise ConfidentLearningError(f"groups has {len(members)} rows, labels has {len(classes)}: give one per row")
    rng = np.random.default_rng([int(word) for word in np.ravel(jax.random.key_data(key))])
    dealt, held = _deal(classes, members, int(folds), rng)
    full = np.argwhere(held == counts)
    if len(full):
        fold, lost = (int(i) for i in full[0])
        raise ConfidentLearningError(
            f"class {names[lost]!r} has all its rows in fold {fold}, which would be trained without it: groups bind its"
            f" {counts[lost]} rows into {len(np.unique(members[classes == lost]))}; split these groups, take more"
            " folds, or leave the class out"
        )
    return dealt


def out_of_sample_probs(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    init_fn: Callable[[jax.Array], Any],
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    num_classes: int,
    folds: int = 5,
    steps: int,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    groups: ArrayLike | None = None,
    key: jax.Array,
) -> np.ndarray:
    """Class probabilities of every row from a model that was not trained on it; all folds are trained at once.

    Fold r minimises the cross-entropy over the rows with `stratified_folds(...) != r` and predicts the others. The
    features lie on the device once; each fold draws its batches from its own rows, with replacement.

    Args:
        features: `[N, ...]` numbers, finite.
        labels: `[N]` integers in `0 .. C - 1`, some of them wrong. A class without rows is allowed and comes out
            improbable.
        init_fn: `key -> params`; see `linear_probe`. For a Flax module: `lambda key: model.init(key, features[:1])`.
        apply_fn: `(params, features [B, ...]) -> logits [B, C]`. The same function object compiles once.
        num_classes: C.
        folds: R, at least 2: every model sees (R - 1) / R of the rows.
        steps: gradient steps of each fold.
        batch_size: rows a step, also when predicting.
        optimizer: an optax transformation.
        groups: `[N]` or `None`; rows of one group share a fold. Copies of a row that do not share one leak its label.
        key: typed key. The folds are `stratified_folds(labels, folds=folds, groups=groups, key=key)`.

    Returns:
        float64 `[N, C]`, rows sum to 1 (the softmax of float32 logits is taken in float64, which keeps apart what
        float32 rounds to 1).

    Raises:
        ConfidentLearningError: as for `stratified_folds`, features that are not finite numbers or of another length, or
            an `apply_fn` whose output is not `[B, C]`.
        InputError: a label outside `0 .. C - 1`.
        TrainingError: steps or batch size out of range, or a loss that is not finite.

    Example:
        >>> x = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
        >>> probs = out_of_sample_probs(x, [0] * 10 + [1] * 10, **linear_probe(2, 2)._asdict(), num_classes=2, steps=50,
        ...                             batch_size=8, optimizer=optax.adam(0.1), key=jax.random.key(0))
        >>> probs.shape, np.unique(probs.argmax(1)[:10]), np.unique(probs.argmax(1)[10:])
        ((20, 2), array([0]), array([1]))

    Source: Northcutt, Jiang, Chuang, "Confident learning", JAIR 2021, section 3.1 (cross-validated probabilities).
    """
    rows = _features(features)
    classes = as_labels("labels", labels, high=num_classes)
    if len(rows) != len(classes):
        raise ConfidentLearningError(f"features has {len(rows)} rows, labels has {len(classes)}: give one per row")
    held_out = stratified_folds(classes, folds=folds, groups=groups, key=key)

    init_key, train_key = jax.random.split(jax.random.fold_in(key, 1))
    params = jax.vmap(init_fn)(jax.random.split(init_key, folds))
    shape = jax.eval_shape(jax.vmap(apply_fn), params, np.broadcast_to(rows[:1], (folds, *rows[:1].shape))).shape
    if shape != (folds, 1, num_classes):
        raise ConfidentLearningError(f"apply_fn gave logits {shape[1:]} for 1 row; expected (1, {num_classes})")
    batches = ArrayBatches(
        {"features": rows, "label": classes.astype(np.int32)},
        batch_size=batch_size,
        weights=held_out != np.arange(folds)[:, None],
    )
    result = fit_seeds(
        _loss_of(apply_fn), params, batches, optimizer=optimizer, steps=steps, keys=jax.random.split(train_key, folds),
        log_every=steps, name="folds",
    )  # fmt: skip
    return special.softmax(_predict(apply_fn, result.params, rows, held_out, num_classes, batch_size), axis=1)


def _linear(params: dict[str, jax.Array], features: jax.Array) -> jax.Array:
    return features @ params["weights"] + params["bias"][None]


@functools.lru_cache(maxsize=64)
def _loss_of(apply_fn: Callable[[Any, jax.Array], jax.Array]) -> Callable[..., Any]:
    """The loss of a model, the same object for the same model: `fit_seeds` then finds its compiled step again."""

    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = apply_fn(params, batch["features"]).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), {}

    return loss_fn


@functools.partial(jax.jit, static_argnames="apply_fn")
def _fold_logits(params: Any, features: jax.Array, *, apply_fn: Callable[[Any, jax.Array], jax.Array]) -> jax.Array:
    return jax.vmap(apply_fn)(params, features)


def _predict(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    rows: np.ndarray,
    held_out: np.ndarray,
    num_classes: int,
    batch_size: int,
) -> np.ndarray:
    """Logits float64 `[N, C]`, each row's from the model that did not see it."""
    sizes = np.bincount(held_out)
    # Lines of equal length, filled up with row 0, so that all folds predict a slice in one compiled call.
    padded = -(-sizes.max() // batch_size) * batch_size
    places = np.zeros((len(sizes), padded), np.int64)
    real = np.arange(padded) < sizes[:, None]
    places[real] = np.argsort(held_out, kind="stable")
    logits = np.empty((len(rows), num_classes))
    for start in range(0, padded, batch_size):
        part = slice(start, start + batch_size)
        found = np.asarray(_fold_logits(params, rows[places[:, part]], apply_fn=apply_fn))
        logits[places[:, part][real[:, part]]] = found[real[:, part]]
    return logits


def _deal(
    classes: np.ndarray, members: np.ndarray, folds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Folds int32 `[N]` of class codes `[N]` and group codes `[N]`; and the counts they give, int64 `[folds, C]`."""
    counts = np.bincount(classes)
    dealt = np.empty(len(classes), np.int32)
    held = np.zeros((folds, len(counts)), np.int64)

    sizes = np.bincount(members)
    order = np.argsort(members, kind="stable")
    starts = np.cumsum(sizes) - sizes
    several = rng.permutation(np.flatnonzero(sizes > 1))
    for group in several[np.argsort(-sizes[several], kind="stable")]:
        rows = order[starts[group] : starts[group] + sizes[group]]
        present, amount = np.unique(classes[rows], return_counts=True)
        growth = ((2 * held[:, present] + amount) * amount / counts[present] ** 2).sum(axis=1)
        # No fold takes the last rows of a class whose others it holds: its model would not know the class.
        growth[(held[:, present] + amount == counts[present]).any(axis=1)] = np.inf
        fold = np.lexsort((held.sum(axis=1), growth))[0]
        dealt[rows] = fold
        held[fold, present] += amount

    singles = rng.permutation(np.flatnonzero(sizes[members] == 1))
    singles = singles[np.argsort(classes[singles], kind="stable")]
    first = 0
    for code, amount in enumerate(np.bincount(classes[singles], minlength=len(counts))):
        share = _even_out(held[:, code], int(amount), held.sum(axis=1))
        dealt[singles[first : first + amount]] = np.repeat(np.arange(folds), share)
        held[:, code] += share
        first += amount
    return dealt, held


def _even_out(held: np.ndarray, amount: int, sizes: np.ndarray) -> np.ndarray:
    """How many of `amount` rows each fold gets, so that `held` plus these is as even as can be; ties by `sizes`."""
    order = np.lexsort((sizes, held))
    # The lowest k folds rise to one level: the largest k whose highest fold does not stand above it.
    levels = (amount + np.cumsum(held[order])) // np.arange(1, len(held) + 1)
    level = levels[np.flatnonzero(held[order] <= levels)[-1]]
    share = np.maximum(level - held, 0)
    lowest = np.flatnonzero(held + share == level)
    share[lowest[np.argsort(sizes[lowest], kind="stable")][: amount - share.sum()]] += 1
    return share


def _codes(name: str, values: ArrayLike) -> tuple[np.ndarray, list[Any]]:
    """Codes `0 .. K - 1` of the values, in their order, and the values; a missing one is refused with its row."""
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise ConfidentLearningError(f"{name} must have shape (N,) with at least one row, got {array.shape}")
    codes, names = pd.factorize(array)
    if (codes < 0).any():
        raise ConfidentLearningError(f"{name}[{int(np.argmin(codes))}] is missing: leave such rows out first")
    try:
        rank = np.argsort(names)
    except TypeError:  # strings among numbers have no order: that of their first rows will do
        rank = np.arange(len(names))
    place = np.empty(len(rank), np.int64)
    place[rank] = np.arange(len(rank))
    return place[codes], [value.item() if isinstance(value, np.generic) else value for value in names[rank]]


def _features(features: ArrayLike) -> np.ndarray:
    """The features as an array of finite numbers `[N, ...]`."""
    if sparse.issparse(features):
        raise ConfidentLearningError(
            "features is a sparse matrix; give a dense array, or use ConfidentLearningClassifier"
        )
    rows = np.asarray(features)
    real = rows.dtype.kind in "biu" or jnp.issubdtype(rows.dtype, jnp.floating)
    if rows.ndim < 1 or not real:
        raise ConfidentLearningError(f"features must be numbers [N, ...], got dtype {rows.dtype}, shape {rows.shape}")
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ConfidentLearningError(f"features{list(place)} is {rows[place]}: fill it in, or leave the row out")
    return rows
