"""Predictions of label chains, in batches, with named columns."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlabel.amalgamation.chain import ChainOutput
from jlabel.amalgamation.checks import AmalgamationError, as_numbers, check_features, check_unit, column_order
from jlabel.amalgamation.model import ChainApply, ChainModel

__all__ = ["chain_outputs", "predict_labels", "predict_probs"]

# Every batch has this many rows, the last one filled up, so that a row's result does not depend on its company.
_BATCH = 128


def chain_outputs(model: ChainModel, features: ArrayLike, initial_logits: ArrayLike | None = None) -> ChainOutput:
    """All that a chain says about the rows, in batches of one size.

    Args:
      model: the chain. features: ``(N, D)``. initial_logits: ``(N, L)`` or none; NaN means the chain's own.

    Returns:
      A `ChainOutput` of N rows.

    Raises:
      AmalgamationError: features that are not finite, or shapes that do not fit.

    Example:
      >>> model = ChainModel(lambda params, x: ChainOutput(x, x, x, x), None, ("tree", "car"))  # the features: logits
      >>> chain_outputs(model, [[0.0, 2.0]]).final_logits.tolist()
      [[0.0, 2.0]]
    """
    # A chain of `fit_chain` knows its number of columns.
    columns = model.params["params"]["initial"]["kernel"].shape[0] if isinstance(model.apply_fn, ChainApply) else None
    x = check_features("features", features, num_columns=columns)
    given = None
    if initial_logits is not None:
        given = as_numbers("initial_logits", initial_logits, ("row", "label")).astype(np.float32)
        if given.shape != (len(x), len(model.label_names)):
            raise AmalgamationError(
                f"initial_logits have shape {given.shape}; needed: {len(x)} rows, {len(model.label_names)} labels"
            )
    parts = []
    for start in range(0, max(len(x), 1), _BATCH):
        batch = [_fill(part[start : start + _BATCH]) for part in (x, given) if part is not None]
        parts.append(model.apply_fn(model.params, *batch))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: len(x)], *parts)


def predict_probs(model: ChainModel, features: ArrayLike, *, label_names: Sequence[str] | None = None) -> jax.Array:
    """Probabilities of the labels, ``sigmoid(v)`` of the final logits.

    Args:
      model: a chain. features: ``(N, D)``. label_names: the model's labels in the order wanted; none: the model's.

    Returns:
      ``(N, L)``.

    Raises:
      AmalgamationError: features that are not finite; names that are not the model's, with those missing and extra.

    Example:
      >>> model = ChainModel(lambda params, x: ChainOutput(x, x, x, x), None, ("tree", "car"))  # the features: logits
      >>> predict_probs(model, [[0.0, 100.0]], label_names=["car", "tree"]).tolist()
      [[1.0, 0.5]]
    """
    columns = slice(None) if label_names is None else column_order("label_names", label_names, model.label_names)
    return jax.nn.sigmoid(chain_outputs(model, features).final_logits)[:, columns]


def predict_labels(
    model: ChainModel, features: ArrayLike, *, threshold: float = 0.5, label_names: Sequence[str] | None = None
) -> jax.Array:
    """Whether each label is predicted: its probability is above the threshold, strictly.

    Args:
      model: a chain. features: ``(N, D)``. threshold: in [0, 1]. label_names: as for `predict_probs`.

    Returns:
      bool ``(N, L)``.

    Raises:
      AmalgamationError: as for `predict_probs`; a threshold outside [0, 1].

    Example:
      >>> model = ChainModel(lambda params, x: ChainOutput(x, x, x, x), None, ("tree", "car"))  # the features: logits
      >>> predict_labels(model, [[0.0, 100.0]]).tolist()
      [[False, True]]
    """
    level = check_unit("threshold", threshold)
    return predict_probs(model, features, label_names=label_names) > level


def _fill(rows: np.ndarray) -> np.ndarray:
    return np.pad(rows, ((0, _BATCH - len(rows)), (0, 0)))
