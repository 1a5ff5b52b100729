"""Label chains that were never trained, for tests of what comes before and after training."""

import jax
import numpy as np

from jlabel.amalgamation import ChainApply, ChainModel, LabelChain

__all__ = ["untrained", "untrained_one"]


def untrained(features, targets, *, label_names, hidden_size, keys, select="positive", path_floor=0.0, **_):
    """What stands in for `fit_chains`."""
    chain = ChainApply(LabelChain(len(label_names), hidden_size), select, path_floor)
    shapes = jax.eval_shape(chain.network.init, keys[0], jax.numpy.zeros((1, features.shape[-1])))
    found = []
    for key in keys:
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        draw = lambda leaf, generator=generator: generator.standard_normal(leaf.shape).astype(np.float32)  # noqa: E731
        found.append(ChainModel(chain, jax.tree.map(draw, shapes), label_names))
    return tuple(found)


def untrained_one(features, targets, *, key, **options):
    """What stands in for `fit_chain`."""
    return untrained(features[None], targets[None], keys=key[None], **options)[0]
