"""What a model relied on, column by column."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pandas as pd

from jlabel.tabular.checks import TabularError, check_count
from jlabel.tabular.embeddings import parts, token_names
from jlabel.tabular.encode import Table, TableEncoder, encode
from jlabel.tabular.network import TabTransformer
from jlabel.tabular.supervised import in_blocks

__all__ = ["attention_importance", "permutation_importance"]


def attention_importance(model: Any, frame: pd.DataFrame) -> pd.Series:
    """How much of the attention each column receives, averaged over rows, layers, heads and the columns that look.

    It says what the embeddings were made of, not what the prediction turned on: read it beside
    `permutation_importance`. Equal attention is one over the number of columns.

    Args:
      model: from `pretrain`, or a fitted estimator, with at least one layer.
      frame: table of N rows with the columns of fitting.

    Returns:
      float64 by `token_names`, summing to 1, the most attended first.

    Raises:
      TabularError: a model of another kind, or one without attention.
    """
    encoder, network, params = parts(model)
    if not network.num_tokens or not network.num_layers:
        raise TabularError("the model has no attention: its table has no category columns, or it has no layers")
    found = in_blocks(functools.partial(_attention, network, params), encode(encoder, frame))
    received = pd.Series(found.astype(np.float64).mean(0), index=pd.Index(token_names(model)), name="attention")
    return received.sort_values(ascending=False)


def permutation_importance(
    score: Callable[[Table], float], table: Table, encoder: TableEncoder, *, repeats: int = 5, key: jax.Array
) -> pd.DataFrame:
    """How much a score falls when one column's cells are dealt out anew among the rows: mean over ``repeats`` deals.

    A number column goes together with its column of gaps. What two columns both say is missed in neither. For a fitted
    estimator on a DataFrame `sklearn.inspection.permutation_importance` does the same; this one takes any model of
    encoded rows.

    Args:
      score: of the model on a table, higher is better, such as the AUC. table: N rows, not those of training.
      encoder: of the table. repeats: 1 or more. key: typed PRNG key.

    Returns:
      "drop" and "std" (over the deals) by column name, the largest drop first; columns that were dropped in fitting
      are left out.

    Raises:
      TabularError: a table that does not fit the encoder, or no repeats.

    Example:
      >>> from jlabel.tabular import fit_encoder
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn"] * 50, "age": np.arange(100.0)})
      >>> encoder = fit_encoder(frame)
      >>> found = permutation_importance(
      ...     lambda table: float((table.codes[:, 0] == np.tile([1, 0], 50)).mean()),
      ...     encode(encoder, frame), encoder, key=jax.random.key(0)
      ... )
      >>> found["drop"].round(1).to_dict()
      {'city': 0.5, 'age': 0.0}

    Source: Breiman 2001, section 10.
    """
    check_count("repeats", repeats)
    if table.codes.shape[1] != len(encoder.cardinalities) or table.values.shape[1] != encoder.num_values:
        raise TabularError(
            f"table has {table.codes.shape[1]} category and {table.values.shape[1]} number columns, the encoder "
            f"{len(encoder.cardinalities)} and {encoder.num_values}; give what encode returns"
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    clean = score(table)
    columns: list[tuple[Any, str, list[int]]] = [
        (name, "codes", [k]) for k, name in enumerate(encoder.columns.categorical)
    ]
    gap = len(encoder.medians) + np.cumsum(encoder.gaps) - 1
    for k, name in enumerate(encoder.columns.continuous):
        columns.append((name, "values", [k, int(gap[k])] if encoder.gaps[k] else [k]))
    drops = np.zeros((len(columns), repeats))
    for place, (_, part, at) in enumerate(columns):
        cells = getattr(table, part)
        for repeat in range(repeats):
            dealt = cells.copy()
            dealt[:, at] = cells[rng.permutation(len(cells))][:, at]
            drops[place, repeat] = clean - score(table._replace(**{part: dealt}))
    names = pd.Index([name for name, _, _ in columns], tupleize_cols=False)
    found = pd.DataFrame({"drop": drops.mean(1), "std": drops.std(1)}, index=names)
    return found.sort_values("drop", ascending=False)


@functools.partial(jax.jit, static_argnums=0)
def _attention(network: TabTransformer, params: Any, codes: jax.Array, values: jax.Array) -> jax.Array:
    """Mean over layers, heads and queries, ``(B, tokens)``."""
    _, left = network.apply(params, codes, values, method="contextual", mutable=["intermediates"])
    # Each layer leaves (B, heads, queries, keys).
    return sum(layer.mean((1, 2)) for layer in jax.tree.leaves(left["intermediates"])) / network.num_layers
