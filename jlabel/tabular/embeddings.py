"""Contextual embeddings of a table's cells."""

from typing import Any

import numpy as np
import pandas as pd

from jlabel.tabular.checks import TabularError
from jlabel.tabular.encode import TableEncoder, encode
from jlabel.tabular.network import TabTransformer
from jlabel.tabular.pretrain import Pretrained
from jlabel.tabular.supervised import predict_table

__all__ = ["contextual_embeddings", "token_names"]


def contextual_embeddings(model: Any, frame: pd.DataFrame, *, layer: int = -1) -> np.ndarray:
    """Embeddings of every cell of the category columns, made aware of the row's other cells.

    Args:
      model: from `pretrain`, or a fitted estimator.
      frame: table of N rows with the columns of fitting.
      layer: 0 is before the Transformer, where a cell's embedding knows its own value only; k is after layer k; -1 is
        the last.

    Returns:
      float32 ``(N, m, d)``, columns as in `ColumnTypes.categorical`; with bins the number columns follow, as
      `token_names` says.

    Raises:
      TabularError: a model of another kind, a layer that is not there, or a table without category columns.
    """
    encoder, network, params = parts(model)
    if not network.num_tokens:
        raise TabularError("the model's table has no category columns, hence no embeddings; bins=16 embeds numbers too")
    if not -network.num_layers - 1 <= layer <= network.num_layers:
        raise TabularError(
            f"layer is {layer}; the network has layers 0 (before the Transformer) to {network.num_layers}"
        )
    layer %= network.num_layers + 1
    return predict_table(network, params, encode(encoder, frame), method="contextual", layer=layer)


def token_names(model: Any) -> tuple[str, ...]:
    """A name for each of the embedded columns: those of categories, and with bins those of `Table.values`."""
    encoder, network, _ = parts(model)
    return (*map(str, encoder.columns.categorical), *(encoder.value_names if network.bins else ()))


def parts(model: Any) -> tuple[TableEncoder, TabTransformer, Any]:
    """Encoder, network and parameters of what `pretrain` or an estimator's ``fit`` left."""
    if isinstance(model, Pretrained):
        return model.encoder, model.network, model.params
    if not all(hasattr(model, name) for name in ("encoder_", "network_", "params_")):
        raise TabularError(f"model is a {type(model).__name__}; give what pretrain returns, or a fitted estimator")
    return model.encoder_, model.network_, model.params_
