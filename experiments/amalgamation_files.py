"""Parameters of label chains as flat arrays, as files without pickle hold them, and back."""

from collections.abc import Iterable, Mapping

import numpy as np

from experiments.cells import flat_params, tree_params
from jlabel.amalgamation import ChainApply, ChainModel, LabelChain

__all__ = ["chain_apply", "load_models", "store_models"]


def chain_apply(num_labels: int, hidden: int, *, select: str, path_floor: float) -> ChainApply:
    """The program of a chain of one layer."""
    return ChainApply(LabelChain(num_labels, hidden), select, path_floor)


def store_models(models: Iterable[ChainModel]) -> dict[str, np.ndarray]:
    """Parameters of several chains as one dictionary of arrays."""
    return {f"{k}/{name}": array for k, model in enumerate(models) for name, array in flat_params(model.params).items()}


def load_models(
    arrays: Mapping[str, np.ndarray], apply_fn: ChainApply, label_names: Iterable[tuple[str, ...]]
) -> list[ChainModel]:
    """Chains of one size from `store_models`."""
    found = []
    for k, names in enumerate(label_names):
        own = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith(f"{k}/")}
        found.append(ChainModel(apply_fn, tree_params(own), names))
    return found
