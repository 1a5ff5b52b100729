"""From the universal classes back to a domain's own classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import TaxonomyError
from jlabel.taxonomy.universal import Taxonomy

__all__ = ["domain_probs"]

_CONVERSIONS = ("membership", "weight")
_GATHERS = 3  # numbers looked up in the time in which one is added to a place of its own


def domain_probs(
    log_probs: ArrayLike, taxonomy: Taxonomy, domain: int | str | ArrayLike, *, convert: str = "membership"
) -> jax.Array:
    """Probabilities of a domain's own classes.

    ``membership``: ``d_i = sum_{u: W_a[i, u] > 0} p(u)`` over its sum. A universal class holds at most one class of a
    domain, so this is the exact marginal, given that the row shows a class of the domain. ``weight``: ``d = W_a p`` as
    printed, not normalised, which penalises classes with uncertain relations.

    Args:
      log_probs: ``(B, U)`` log-probabilities, as `jax.nn.log_softmax` gives them (logits will do for ``membership``).
      taxonomy: the taxonomy.
      domain: name or number of one domain, or int ``(B,)``, a number for each row.
      convert: ``"membership"`` or ``"weight"``.

    Returns:
      float32 ``(B, C_a)``; with a domain for each row ``(B, max C_a)``, 0 beyond the classes of the row's domain.
      Where all of a domain has probability 0, ``membership`` answers with equal probabilities.

    Raises:
      TaxonomyError: shapes that do not fit, an unknown domain (with the known ones) or conversion.

    Example:
      >>> from jlabel.taxonomy import Relations, build_taxonomy
      >>> weights = [[0, 0, 0.8, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # a: dog lies within b: animal
      >>> taxonomy = build_taxonomy(Relations(("a", "b"), (("dog", "car"), ("animal", "road")), weights))
      >>> log_probs = jnp.log(jnp.array([[0.2, 0.5, 0.1, 0.2]]))  # dog (so animal), car, other animal, road
      >>> np.asarray(domain_probs(log_probs, taxonomy, "b"), np.float64).round(3).tolist()
      [[0.6, 0.4]]

    Source: Eq. 8 with probabilities in place of logits.
    """
    if convert not in _CONVERSIONS:
        raise TaxonomyError(f"convert is {convert!r}; choose {' or '.join(map(repr, _CONVERSIONS))}")
    values = jnp.asarray(log_probs)
    if values.ndim != 2 or values.shape[1] != taxonomy.num_classes:
        raise TaxonomyError(f"log_probs must be (rows, {taxonomy.num_classes} universal classes), got {values.shape}")
    sizes = np.array([len(names) for names in taxonomy.class_names])
    number = _domain_number(taxonomy, domain, len(values))
    width = int(sizes.max() if number.ndim else sizes[number])
    holders = taxonomy.holders[:, :width].transpose(2, 0, 1)
    # where a class has very many, most of the lists is padding
    lists = holders if holders[:, 0].size <= _GATHERS * taxonomy.num_classes else None
    if convert == "membership":
        return _membership(values, number, taxonomy.owners, lists, sizes, width=width)
    owners, columns = np.maximum(taxonomy.owners, 0), np.arange(taxonomy.num_classes)
    weights = [of_domain[owner, columns] for of_domain, owner in zip(taxonomy.weights, owners, strict=True)]
    return _weighted(values, number, taxonomy.owners, lists, np.stack(weights).astype(np.float32), width=width)


@functools.partial(jax.jit, static_argnames="width")
def _membership(
    log_probs: jax.Array, domain: jax.Array, owners: jax.Array, lists: jax.Array | None, sizes: jax.Array, *, width: int
) -> jax.Array:
    values, domain = log_probs.astype(jnp.float32), jnp.broadcast_to(domain, len(log_probs))
    owner = owners[domain]
    # relative to the best universal class of the domain, so that they cannot all vanish
    best = jnp.max(jnp.where(owner >= 0, values, -jnp.inf), axis=1, keepdims=True)
    values = jnp.where(owner >= 0, values - jax.lax.stop_gradient(jnp.where(best == -jnp.inf, 0, best)), 0)
    found = _collect(jnp.exp(values), domain, owner, lists, width)
    total, size = found.sum(1, keepdims=True), sizes[domain][:, None]
    equal = jnp.where(jnp.arange(width)[None] < size, 1 / size, 0)
    return jnp.where(total == 0, equal, found / jnp.where(total == 0, 1, total))


@functools.partial(jax.jit, static_argnames="width")
def _weighted(
    log_probs: jax.Array,
    domain: jax.Array,
    owners: jax.Array,
    lists: jax.Array | None,
    weights: jax.Array,
    *,
    width: int,
) -> jax.Array:
    domain = jnp.broadcast_to(domain, len(log_probs))
    values = weights[domain] * jnp.exp(log_probs.astype(jnp.float32))
    return _collect(values, domain, owners[domain], lists, width)


def _collect(values: jax.Array, domain: jax.Array, owner: jax.Array, lists: jax.Array | None, width: int) -> jax.Array:
    """``(B, width)``: what the universal classes ``(B, U)`` of each class add up to; owner -1 is left out."""
    row, found = jnp.arange(len(values))[:, None], jnp.zeros((len(values), width))
    if lists is None:
        return found.at[row, owner].add(values, mode="drop", wrap_negative_indices=False)
    padded = jnp.concatenate([values, jnp.zeros((len(values), 1))], axis=1)

    def add_next(found: jax.Array, places: jax.Array) -> tuple[jax.Array, None]:
        return found + padded.at[row, places[domain]].get(mode="promise_in_bounds"), None

    return jax.lax.scan(add_next, found, lists)[0]


def _domain_number(taxonomy: Taxonomy, domain: int | str | ArrayLike, rows: int) -> np.ndarray | jax.Array:
    """The number of one domain, without axes, or of each row's domain."""
    known = ", ".join(f"{a} ({name})" for a, name in enumerate(taxonomy.domains))
    if isinstance(domain, jax.core.Tracer):  # its values are not known yet
        if domain.shape != (rows,):
            raise TaxonomyError(f"domain has shape {domain.shape}; inside jit give one number a row, ({rows},)")
        return domain
    if isinstance(domain, str):
        if domain not in taxonomy.domains:
            raise TaxonomyError(f"domain {domain!r} is unknown; known domains: {known}")
        return np.asarray(taxonomy.domains.index(domain))
    numbers = np.asarray(domain)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (rows,)):
        raise TaxonomyError(
            f"domain must be a name, a number, or {rows} numbers (one a row), got {numbers.dtype} of shape "
            f"{numbers.shape}"
        )
    bad = (numbers < 0) | (numbers >= len(taxonomy.domains))
    if bad.any():
        row = int(np.argmax(bad))
        where = f"domain[{row}]" if numbers.ndim else "domain"
        raise TaxonomyError(f"{where} is {numbers.ravel()[row]}; known domains: {known}")
    return numbers
