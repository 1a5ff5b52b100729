"""Targets over the universal classes, and the loss of one model for all domains."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import TaxonomyError
from jlabel.taxonomy.universal import Taxonomy

__all__ = ["target_table", "universal_loss", "universal_targets"]

ApplyFn = Callable[[Any, jax.Array], jax.Array]


def target_table(taxonomy: Taxonomy) -> jax.Array:
    """Targets of every class of every domain, ``T_a = W_a / row sums``, in one array.

    Args:
      taxonomy: the taxonomy.

    Returns:
      float32 ``(D, max C_a, U)``; a row of a class sums to 1, rows beyond a domain's classes are 0.

    Example:
      >>> from jlabel.taxonomy import Relations, build_taxonomy
      >>> weights = [[0, 0, 0.8, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # a: dog lies within b: animal
      >>> taxonomy = build_taxonomy(Relations(("a", "b"), (("dog", "car"), ("animal", "road")), weights))
      >>> taxonomy.names
      ('a: dog + b: animal', 'a: car', 'b: animal', 'b: road')
      >>> np.asarray(target_table(taxonomy)[1], np.float64).round(3).tolist()
      [[0.444, 0.0, 0.556, 0.0], [0.0, 0.0, 0.0, 1.0]]

    Source: Eq. 6.
    """
    most = max(map(len, taxonomy.class_names))
    table = np.zeros((len(taxonomy.domains), most, taxonomy.num_classes), np.float32)
    for a, weights in enumerate(taxonomy.weights):
        table[a, : len(weights)] = weights / weights.sum(1, keepdims=True)
    return jnp.asarray(table)


def universal_targets(taxonomy: Taxonomy, domain: ArrayLike, labels: ArrayLike) -> jax.Array:
    """The target over universal classes of each row, ``T_a[y]``; for many batches keep `target_table` and index it.

    Args:
      taxonomy: the taxonomy. domain: int ``(B,)``, number of each row's domain. labels: int ``(B,)``, its class there.

    Returns:
      float32 ``(B, U)``.

    Raises:
      TaxonomyError: lengths that differ, a domain or a label out of range, with the row.

    Example:
      >>> from jlabel.taxonomy import Relations, build_taxonomy
      >>> weights = [[0, 0, 0.8, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # a: dog lies within b: animal
      >>> taxonomy = build_taxonomy(Relations(("a", "b"), (("dog", "car"), ("animal", "road")), weights))
      >>> universal_targets(taxonomy, [0, 1], [1, 1]).tolist()
      [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

    Source: Eq. 6.
    """
    domains, classes = _check_rows(taxonomy, domain, labels)
    return target_table(taxonomy)[domains, classes]


def _check_rows(taxonomy: Taxonomy, domain: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    domains, classes = np.asarray(domain), np.asarray(labels)
    for name, values in (("domain", domains), ("labels", classes)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise TaxonomyError(f"{name} must be integers with one axis, got {values.dtype} of shape {values.shape}")
    if len(domains) != len(classes):
        raise TaxonomyError(f"domain has {len(domains)} rows, labels has {len(classes)}: give one of each to a row")
    bad = (domains < 0) | (domains >= len(taxonomy.domains))
    if bad.any():
        row = int(np.argmax(bad))
        known = ", ".join(f"{a} ({name})" for a, name in enumerate(taxonomy.domains))
        raise TaxonomyError(f"domain[{row}] is {domains[row]}; known domains: {known}")
    sizes = np.array([len(names) for names in taxonomy.class_names])[domains]
    bad = (classes < 0) | (classes >= sizes)
    if bad.any():
        row = int(np.argmax(bad))
        raise TaxonomyError(
            f"labels[{row}] is {classes[row]}; domain {taxonomy.domains[domains[row]]!r} has classes "
            f"0 to {sizes[row] - 1}"
        )
    return domains, classes


def universal_loss(
    params: Any, batch: Mapping[str, ArrayLike], key: jax.Array | None, *, apply_fn: ApplyFn, table: ArrayLike
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy with the rows' targets, ``mean_b -sum_u T_a[y, u] log p(u)``.

    Its floor is the entropy of the targets, so that it never reaches 0; ``kl``, what it is above that, does.

    Args:
      params: of ``apply_fn``.
      batch: ``features (B, ...)``, ``domain`` and ``label`` int ``(B,)``, optionally ``weight (B,)``.
      key: unused; a step of `jlabel.training.fit` passes one.
      apply_fn: ``(params, features) -> logits (B, U)``. table: `target_table` of the taxonomy, ``(D, max C_a, U)``.

    Returns:
      The loss in nats, a scalar, and ``{"kl": KL(T || p)}``, both means over rows (by ``weight``); NaN where a row of
      positive weight has a domain or label that is not in the table, at which `jlabel.training.fit` stops.

    Example:
      >>> import functools
      >>> batch = {"features": np.zeros((1, 2)), "domain": np.array([0]), "label": np.array([0])}
      >>> loss_fn = functools.partial(universal_loss, apply_fn=lambda _, x: x, table=np.array([[[0.5, 0.5]]]))
      >>> loss, metrics = jax.jit(loss_fn)({}, batch, None)
      >>> round(float(loss), 4), round(float(metrics["kl"]), 4)
      (0.6931, 0.0)

    Source: Eq. 7.
    """
    del key
    table, domain, label = (jnp.asarray(x) for x in (table, batch["domain"], batch["label"]))
    targets = table[domain, label]
    logits = apply_fn(params, jnp.asarray(batch["features"])).astype(jnp.float32)
    logits = logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    losses = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(targets * logits, axis=-1)  # targets sum to 1
    weight = jnp.asarray(batch.get("weight", jnp.ones(losses.shape)))
    known = (domain >= 0) & (domain < len(table)) & (label >= 0) & (label < table.shape[1]) & (targets.sum(-1) > 0)
    losses = jnp.where(known | (weight == 0), losses, jnp.nan)  # indexing beyond an array goes unnoticed
    entropy = -jnp.sum(targets * jnp.log(jnp.where(targets > 0, targets, 1)), axis=-1)
    share = weight / jnp.maximum(weight.sum(), jnp.finfo(jnp.float32).tiny)
    loss = jnp.sum(share * losses)
    return loss, {"kl": loss - jnp.sum(share * entropy)}
