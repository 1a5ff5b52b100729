"""What a label chain puts out, and the rule by which it picks labels."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.amalgamation.checks import AmalgamationError, check_choice, check_unit

__all__ = ["SELECTIONS", "ChainOutput", "carry_logits", "pick_label"]

SELECTIONS = ("positive", "always")


class ChainOutput(NamedTuple):
    """What a label chain says about B rows, L labels, in L steps of width H.

    Attributes:
      final_logits: ``(B, L)``, each label's logit at the step that picked it. step_logits: ``(B, L, L)``, [row, step,
        label]. order: int32 ``(B, L)``, the label picked at each step, -1 for none. hidden: ``(B, L, H)``, the state of
        the last layer at each step.
    """

    final_logits: jax.Array
    step_logits: jax.Array
    order: jax.Array
    hidden: jax.Array


def pick_label(
    logits: jax.Array, picked: jax.Array, path: jax.Array, *, select: str, path_floor: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of the rule: logits and picked ``(L, ...)``, path ``(...)`` -> label, its one-hot column, path."""
    left = jnp.where(picked > 0, -jnp.inf, jax.lax.stop_gradient(logits))
    label, best = jnp.argmax(left, axis=0).astype(jnp.int32), jnp.max(left, axis=0)
    # A probability above .5 is a logit above 0.
    chosen = best > 0 if select == "positive" else jnp.ones(best.shape, bool)
    if path_floor > 0:
        chosen, path = chosen & (path > path_floor), path * jax.nn.sigmoid(best)
    label = jnp.where(chosen, label, -1)
    return label, jax.nn.one_hot(label, len(logits), dtype=logits.dtype, axis=0), path


def final_logits(step_logits: jax.Array, picks: jax.Array) -> jax.Array:
    """Logits and one-hot picks ``(steps, ...)`` -> each label's logit where it was picked, else of the first step."""
    never = 1 - jnp.sum(picks, axis=0)
    return jnp.sum(picks * step_logits, axis=0) + never * step_logits[0]


def carry_logits(
    step_logits: ArrayLike, *, select: str = "positive", path_floor: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Each label's final logit, from the step that picked it, and the order of the picks.

    ``j_k = argmax_j l_k[j]`` over the labels not yet picked; ``v[j_k] = l_k[j_k]``. A label never picked keeps
    ``l_1``. Ties go to the label that stands first.

    Args:
      step_logits: ``(L, L)``, [step, label]. select: "positive" picks a label only where its logit is above 0 (its
        probability above .5); "always" picks at every step. path_floor: in [0, 1]; nothing more is picked once the
        product of the best remaining probabilities over the earlier steps, picked or not, is at most this; 0: never.

    Returns:
      ``(L,)`` final logits and int32 ``(L,)``, the label picked at each step, -1 for none.

    Raises:
      AmalgamationError: logits that are not square, an unknown ``select``, or a floor outside [0, 1].

    Example:
      >>> final, order = carry_logits([[2.0, 1.0], [0.5, -1.0]])
      >>> final.tolist(), order.tolist()  # after label 0 was picked, label 1 is negative: its first logit stays
      ([2.0, 1.0], [0, -1])
    """
    check_choice("select", select, SELECTIONS)
    check_unit("path_floor", path_floor)
    logits = jnp.asarray(step_logits)
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1] or not logits.size:
        raise AmalgamationError(f"step_logits must be (L steps, L labels), got shape {logits.shape}")
    return _carry(logits.astype(jnp.result_type(float, logits.dtype)), select, float(path_floor))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _carry(logits: jax.Array, select: str, path_floor: float) -> tuple[jax.Array, jax.Array]:
    def step(carry: tuple[jax.Array, jax.Array], now: jax.Array) -> Any:
        picked, path = carry
        label, pick, path = pick_label(now, picked, path, select=select, path_floor=path_floor)
        return (picked + pick, path), (label, pick)

    start = (jnp.zeros_like(logits[0]), jnp.ones((), logits.dtype))
    _, (order, picks) = jax.lax.scan(step, start, logits)
    return final_logits(logits, picks), order
