"""Losses and predictions of a network that knows the target."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from sklearn.metrics import r2_score, roc_auc_score

from jlabel.tabular.encode import Table
from jlabel.tabular.network import TabTransformer
from jlabel.tabular.objective import entropy_loss, pseudo_label_weight, squared_loss

__all__ = ["NetworkOutputs", "SupervisedLoss", "classifier_score", "predict_table", "regressor_score"]

_CHUNK = 256  # rows that are predicted at a time


@dataclass(frozen=True)
class SupervisedLoss:
    """Cross-entropy of classes, or squared error of values, and what unlabelled rows add; see `train_runs`.

    Batches hold ``codes``, ``values``, ``target`` (int32 classes, or float32 values, ``(B,)``), and with unlabelled
    rows ``unlabelled.codes`` and ``unlabelled.values``.

    Attributes:
      network: whose outputs are trained. regression: squared error.
      entropy: weight of the mean entropy of predictions on unlabelled rows. pseudo: whether unlabelled rows count with
        their most likely class, with a weight that grows to 3.
    """

    network: TabTransformer
    regression: bool = False
    entropy: float = 0.0
    pseudo: bool = False

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over the batch's rows."""
        own, others = jax.random.split(key)
        outputs: Any = self.network.apply(params, batch["codes"], batch["values"], own)
        if self.regression:
            return squared_loss(outputs[:, 0], batch["target"])
        loss = _cross_entropy(outputs, batch["target"])
        if not self.entropy and not self.pseudo:
            return loss
        logits: Any = self.network.apply(params, batch["unlabelled.codes"], batch["unlabelled.values"], others)
        if self.entropy:
            loss += self.entropy * entropy_loss(logits)
        if self.pseudo:
            said = jax.lax.stop_gradient(jnp.argmax(logits, -1))
            loss += pseudo_label_weight(share, 1) * _cross_entropy(logits, said)
        return loss


@dataclass(frozen=True)
class NetworkOutputs:
    """``(params, columns) -> outputs (n, outputs)``; hashable, so that it is compiled once."""

    network: TabTransformer

    def __call__(self, params: Any, columns: Mapping[str, jax.Array]) -> jax.Array:
        """Outputs without dropout."""
        outputs: Any = self.network.apply(params, columns["codes"], columns["values"])
        return outputs


def predict_table(
    network: TabTransformer, params: Any, table: Table, *, method: str = "__call__", layer: int | None = None
) -> Any:
    """What a method of the network gives for every row, as NumPy arrays; a row's result does not depend on others.

    Rows pass in blocks of one size, the last filled up, so that one program serves all tables.

    Args:
      network, params: trained. table: rows.
      method: "__call__", "contextual" (layers' embeddings), "pooled" or another one of codes and values.
      layer: of "contextual" only this one.

    Returns:
      One array ``(N, ...)``, or a tuple of them.
    """
    return in_blocks(functools.partial(_apply, network, method, layer, params), table)


def in_blocks(function: Callable[[np.ndarray, np.ndarray], Any], table: Table) -> Any:
    """What a function of codes and values ``(256, ...)`` gives for all rows, as NumPy arrays."""
    blocks = []
    for start in range(0, len(table.codes), _CHUNK):
        codes, values = (part[start : start + _CHUNK] for part in (table.codes, table.values))
        space = _CHUNK - len(codes)
        found = function(*(np.pad(part, ((0, space), (0, 0))) for part in (codes, values)))
        blocks.append(jax.tree.map(lambda x, space=space: np.asarray(x)[: _CHUNK - space], found))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)


def classifier_score(logits: np.ndarray, classes: np.ndarray) -> float:
    """Area under the curve (one against the rest on average), where all classes are there; else the likelihood."""
    logs = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
    likelihood = float(logs[np.arange(len(classes)), classes].mean())
    if len(np.unique(classes)) < logits.shape[1]:
        return likelihood
    if logits.shape[1] == 2:
        area = roc_auc_score(classes, logits[:, 1] - logits[:, 0])
    else:
        area = roc_auc_score(classes, softmax(logits.astype(np.float64), axis=1), multi_class="ovr")
    # Few rows tie often: then the likelihood decides.
    return float(area) + 1e-3 * likelihood


def regressor_score(outputs: np.ndarray, targets: np.ndarray) -> float:
    """R^2 of outputs ``(n, 1)``."""
    return float(r2_score(targets, outputs[:, 0]))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
    network: TabTransformer, method: str, layer: int | None, params: Any, codes: jax.Array, values: jax.Array
) -> Any:
    found: Any = network.apply(params, codes, values, method=method)
    return found if layer is None else found[layer]


def _cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, classes[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, 1) - chosen)
