"""Gibbs sampling of votes given the label: rules of one colour share no dependency and are drawn at once."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from jlabel.weak_supervision.dependencies import FACTORS, Dependency

__all__ = ["Blocks", "colour_blocks", "mean_factors", "pair_weights", "sample_by_gibbs", "start_chains", "sweeps"]

Blocks = tuple[tuple[int, ...], ...]
BURN_IN = 200  # sweeps before a draw


def colour_blocks(num_rules: int, dependencies: Sequence[Dependency]) -> Blocks:
    """Rules by colour; dependencies join only rules of different colours."""
    graph = nx.Graph()
    graph.add_nodes_from(range(num_rules))
    graph.add_edges_from((j, k) for _, j, k in dependencies)
    colours = nx.greedy_color(graph, strategy="largest_first")
    return tuple(tuple(sorted(r for r in colours if colours[r] == c)) for c in sorted(set(colours.values())))


def _tables(dependencies: Sequence[Dependency], side: int) -> np.ndarray:
    """Factors `(F, 3, 3)` given the label."""
    return np.array([FACTORS[kind][..., side] for kind, _, _ in dependencies]).reshape(-1, 3, 3)


def pair_weights(weights: jax.Array, dependencies: Sequence[Dependency], num_rules: int, side: int) -> jax.Array:
    """Symmetric `(3 M, 3 M)`: what the vote of one rule adds to the log weight of a vote of another."""
    tables = weights[:, None, None] * _tables(dependencies, side)
    j, k = (np.array([d[end] for d in dependencies], np.int32) for end in (1, 2))
    whole = jnp.zeros((num_rules, num_rules, 3, 3)).at[j, k].add(tables).at[k, j].add(jnp.swapaxes(tables, 1, 2))
    return whole.transpose(0, 2, 1, 3).reshape(3 * num_rules, 3 * num_rules)


def start_chains(key: jax.Array, unary: jax.Array, chains: int) -> jax.Array:
    """Votes of independent rules as indicators float32 `(chains, M, 3)`."""
    return jax.nn.one_hot(jax.random.categorical(key, unary, shape=(chains, len(unary))), 3, dtype=jnp.float32)


def sweep(key: jax.Array, chains: jax.Array, unary: jax.Array, pairs: jax.Array, blocks: Blocks) -> jax.Array:
    """One Gibbs sweep, colour by colour."""
    count, num_rules, _ = chains.shape
    for key_of_block, block in zip(jax.random.split(key, len(blocks)), blocks, strict=True):
        rules = np.array(block)
        columns = (3 * rules[:, None] + np.arange(3)).reshape(-1)
        fields = (chains.reshape(count, 3 * num_rules) @ pairs[:, columns]).reshape(count, len(rules), 3)
        sums = jnp.cumsum(jax.nn.softmax(fields + unary[None, rules]), axis=2)
        uniforms = jax.random.uniform(key_of_block, (count, len(rules)), jnp.float32)
        places = (uniforms[..., None] >= sums[..., :2]).sum(axis=2)
        chains = chains.at[:, rules].set(jax.nn.one_hot(places, 3, dtype=jnp.float32))
    return chains


def sweeps(
    key: jax.Array, chains: jax.Array, unary: jax.Array, pairs: jax.Array, blocks: Blocks, *, count: int
) -> jax.Array:
    """Several sweeps, in a loop: written out, they would compile for as many times as long."""
    keys = jax.random.split(key, count)
    return jax.lax.scan(lambda now, one: (sweep(one, now, unary, pairs, blocks), None), chains, keys)[0]


def mean_factors(chains: jax.Array, dependencies: Sequence[Dependency], side: int) -> tuple[jax.Array, jax.Array]:
    """Means over the chains: of each rule's votes float64 `(M, 3)`, and of each factor `(F,)`."""
    count, num_rules, _ = chains.shape
    flat = chains.reshape(count, 3 * num_rules)
    both = (flat.T @ flat).astype(jnp.float64).reshape(num_rules, 3, num_rules, 3) / count
    j, k = (np.array([d[end] for d in dependencies], np.int32) for end in (1, 2))
    return chains.mean(axis=0, dtype=jnp.float64), jnp.sum(both[j, :, k, :] * _tables(dependencies, side), axis=(1, 2))


@partial(jax.jit, static_argnames=("dependencies", "side", "n"))
def _sample(
    unary: jax.Array, weights: jax.Array, key: jax.Array, *, dependencies: tuple[Dependency, ...], side: int, n: int
) -> jax.Array:
    unary = unary.astype(jnp.float32)
    pairs = pair_weights(weights, dependencies, len(unary), side).astype(jnp.float32)
    blocks = colour_blocks(len(unary), dependencies)
    first, rest = jax.random.split(key)
    chains = sweeps(rest, start_chains(first, unary, n), unary, pairs, blocks, count=BURN_IN)
    return chains.argmax(axis=2).astype(jnp.int8) - 1


def sample_by_gibbs(
    unary: jax.Array, weights: jax.Array, dependencies: tuple[Dependency, ...], side: int, n: int, *, key: jax.Array
) -> np.ndarray:
    """Signed votes int8 `(n, M)` given the label, each from a chain of its own."""
    return np.asarray(_sample(unary, weights, key, dependencies=dependencies, side=side, n=int(n)))
