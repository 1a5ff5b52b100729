"""Layer-wise learning rates for fine-tuning a BERT."""

import re
from typing import Any

import jax

from jlabel.errors import InputError

__all__ = ["layer_decay"]


def layer_decay(params: Any, decay: float, *, num_layers: int | None = None) -> Any:
    """Multipliers of the learning rate that fall from the top of a BERT to its embeddings.

    ``decay ** depth``, with depth 1 for the last layer, ``num_layers`` for the first, ``num_layers + 1`` for the
    embeddings, and 0 for everything outside the BERT: the layers near the words hold the most general knowledge and
    should move the least.

    Args:
      params: a pytree that holds a `Bert`'s params (`embeddings`, `layer0`, ... side by side) at any place.
      decay: in (0, 1]; 1 is one rate for all.
      num_layers: layers of the BERT; None counts them.

    Returns:
      A pytree of floats, of the structure of `params`.

    Raises:
      InputError: `decay` is out of range, or `params` holds no BERT of `num_layers` layers.

    Example:
      >>> params = {"bert": {"embeddings": 0.0, "layer0": 0.0, "layer1": 0.0}, "head": 0.0}
      >>> layer_decay(params, 0.5)
      {'bert': {'embeddings': 0.125, 'layer0': 0.25, 'layer1': 0.5}, 'head': 1.0}

    Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555, appendix; Bao et al. 2022 (BEiT), arXiv:2106.08254.
    """
    if not 0 < decay <= 1:
        raise InputError(f"decay={decay} must be above 0 and at most 1")
    if num_layers is None:
        keys = {str(getattr(k, "key", k)) for path, _ in jax.tree.leaves_with_path(params) for k in path}
        num_layers = sum(re.fullmatch(r"layer\d+", key) is not None for key in keys)
    depths = {"embeddings": num_layers + 1, **{f"layer{i}": num_layers - i for i in range(num_layers)}}
    leaves, structure = jax.tree.flatten_with_path(params)
    paths = [tuple(str(getattr(key, "key", key)) for key in path) for path, _ in leaves]
    children: dict[tuple[str, ...], set[str]] = {}
    for path in paths:
        for i, name in enumerate(path):
            children.setdefault(path[:i], set()).add(name)
    trunks = {path for path, names in children.items() if names == depths.keys()}
    if not trunks:
        raise InputError(
            f"params hold no BERT of num_layers={num_layers}: nowhere embeddings and layer0 to layer{num_layers - 1}, "
            "and nothing else, stand side by side"
        )

    def multiplier(path: tuple[str, ...]) -> float:
        depth = next((depths[name] for i, name in enumerate(path) if path[:i] in trunks), 0)
        return float(decay**depth)

    return jax.tree.unflatten(structure, [multiplier(path) for path in paths])
