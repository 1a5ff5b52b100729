"""A pre-training as plain arrays and JSON, to be kept in a file that runs no code when it is read."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from jlabel.tabular.checks import TabularError
from jlabel.tabular.columns import ColumnTypes
from jlabel.tabular.encode import TableEncoder
from jlabel.tabular.network import TabTransformer
from jlabel.tabular.pretrain import Pretrained

__all__ = ["pretrained_from_state", "pretrained_state"]

_ARRAYS = ("medians", "gaps", "centers", "scales", "quantiles")
_SETTINGS = tuple(field.name for field in dataclasses.fields(TabTransformer) if field.name not in ("parent", "name"))


def pretrained_state(pretrained: Pretrained) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and what JSON holds, for `jlabel.training.save_arrays`; pickle works as well.

    Args:
      pretrained: from `pretrain`; the table's columns must have texts or whole numbers for names.

    Returns:
      Arrays by name, and the rest.

    Raises:
      TabularError: a column name that is neither text nor whole number.
    """
    encoder, network = pretrained.encoder, pretrained.network
    for name in encoder.names:
        if not isinstance(name, str | int | np.integer) or isinstance(name, bool):
            raise TabularError(f"column name {name!r} is neither text nor whole number; rename it, or use pickle")
    place = {name: k for k, name in enumerate(encoder.names)}
    arrays = {f"encoder/{name}": getattr(encoder, name) for name in _ARRAYS}
    texts = {}
    for k, known in enumerate(encoder.categories):
        if known.dtype.kind == "f":
            arrays[f"categories/{k}"] = known
        else:
            texts[str(k)] = known.tolist()
    for path, leaf in jax.tree_util.tree_leaves_with_path(pretrained.params):
        arrays["/".join(["params", *(part.key for part in path)])] = np.asarray(leaf)
    meta = {
        "names": [name if isinstance(name, str) else int(cast(int, name)) for name in encoder.names],
        "columns": [[place[name] for name in group] for group in encoder.columns],
        "texts": texts,
        "scaling": encoder.scaling,
        "network": {name: getattr(network, name) for name in _SETTINGS},
        "objective": pretrained.objective,
    }
    return {**arrays, "losses": pretrained.losses}, meta


def pretrained_from_state(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Pretrained:
    """The pre-training that `pretrained_state` took apart; its embeddings are equal to the last bit.

    Args:
      arrays, meta: as `pretrained_state` returned them, or `jlabel.training.load_arrays`.

    Raises:
      TabularError: something is not there.

    Example:
      >>> pretrained_from_state({}, {"scaling": "standard"})
      Traceback (most recent call last):
        ...
      jlabel.tabular.checks.TabularError: 'names' is not there: this is no saved pre-training
    """
    try:
        names = tuple(meta["names"])
        columns = ColumnTypes(*(tuple(names[k] for k in group) for group in meta["columns"]))
        categories = tuple(
            np.array(meta["texts"][str(k)], object) if str(k) in meta["texts"] else arrays[f"categories/{k}"]
            for k in range(len(columns.categorical))
        )
        parts = {name: arrays[f"encoder/{name}"] for name in _ARRAYS}
        encoder = TableEncoder(names, columns, categories, scaling=meta["scaling"], **parts)
        settings = {name: meta["network"][name] for name in _SETTINGS}
        network = TabTransformer(**{**settings, "cardinalities": tuple(settings["cardinalities"])})
        losses, objective = arrays["losses"], meta["objective"]
    except KeyError as error:
        raise TabularError(f"{error} is not there: this is no saved pre-training") from error
    params: dict[str, Any] = {}
    for name, leaf in arrays.items():
        first, *path = name.split("/")
        if first == "params":
            inner = params
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = leaf
    return Pretrained(encoder, network, params, objective, losses)
