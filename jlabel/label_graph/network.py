"""The path decoder: a gated recurrent unit that walks the label graph."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jlabel.errors import InputError
from jlabel.label_graph.graph import LabelGraph
from jlabel.label_graph.steps import Outputs, upward_scores

__all__ = ["PathDecoder"]


class PathDecoder(nn.Module):
    """``h_0 = W f(x)``, ``h_t = GRU(e(v_t), h_{t-1})``, ``z_t = U h_t`` (``+ A f(x)`` with ``skip``).

    Called with features (and no node) it stands at the root; called with a state and the node just entered it takes
    one recurrent step. The embedding and the unit's input weights enter only through their product, so that product
    is one learned table: a step is a row gathered from it and one product with the state.

    With ``skip`` every node also has a linear score of the features, the same wherever on the path it is asked for:
    with few rows a label, a linear score generalises where the recurrent unit alone does not. The score is computed
    once, at the root, and travels in the state.

    Attributes:
      num_nodes: ``V`` of the graph. hidden: ``H``; 0, with ``skip``, for linear scores alone, without memory.
      num_gates: number of blocks for ``gate="learned"``, else 0.
      start_scale: variance scale of W at the start; small (0.01) for frozen features of few rows, so that what no row
        shows of them stays small.
      skip: add the linear scores. The state is then ``[..., H + V + 1 + G]``, else ``[..., H]``.
      graph: with it, the linear scores flow up the graph (`upward_scores`).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> decoder = PathDecoder(num_nodes=12, hidden=8)
      >>> params = jax.jit(decoder.init)(jax.random.key(0), jnp.zeros((1, 5)))
      >>> state, logits, gates = decoder.apply(params, jnp.ones((2, 5)))
      >>> state, logits, gates = decoder.apply(params, state, jnp.array([1, 2]))
      >>> logits.shape, gates
      ((2, 13), None)

    Source: section 3.2.5 and Algorithm 1 of the paper; Cho et al. 2014.
    """

    num_nodes: int
    hidden: int = 512
    num_gates: int = 0
    skip: bool = False
    start_scale: float = 1.0
    graph: LabelGraph | None = None

    def setup(self) -> None:
        """Declare the layers."""
        if self.skip:
            self.linear = nn.Dense(self.num_nodes + 1 + self.num_gates, kernel_init=nn.initializers.zeros)
        elif not self.hidden:
            raise InputError("hidden=0 leaves the decoder nothing to score with; give skip=True or a hidden width")
        if not self.hidden:
            return
        init = nn.initializers.variance_scaling(self.start_scale, "fan_in", "truncated_normal")
        self.start = nn.Dense(self.hidden, kernel_init=init)
        self.inputs = nn.Embed(self.num_nodes + 1, 3 * self.hidden, embedding_init=nn.initializers.normal(0.5))
        self.recurrent = nn.Dense(3 * self.hidden, kernel_init=nn.initializers.orthogonal())
        self.output = nn.Dense(self.num_nodes + 1 + self.num_gates)

    def __call__(self, inputs: jax.Array, node: jax.Array | None = None) -> Outputs:
        """State ``[..., H]`` (None without memory), logits ``[..., V+1]`` and gate logits ``[..., G]`` or None.

        Args:
          inputs: features ``[..., D]`` at the root, else the state. node: int ``[...]``, the node entered.
        """
        if node is None:
            scores = self._scores(inputs) if self.skip else None
            state = self.start(inputs) if self.hidden else None
            if state is not None and self.is_initializing():
                self.step(state, jnp.zeros(state.shape[:-1], jnp.int32))
        else:
            scores = inputs[..., self.hidden :] if self.skip else None
            state = self.step(inputs[..., : self.hidden], node)
        out: Any = scores if state is None else self.output(state)
        if state is not None and scores is not None:
            out, state = out + scores, jnp.concatenate([state, scores], axis=-1)
        gates = out[..., self.num_nodes + 1 :] if self.num_gates else None
        return state, out[..., : self.num_nodes + 1], gates

    def _scores(self, features: jax.Array) -> jax.Array:
        """Linear scores of nodes, end-of-path and gates."""
        scores, width = self.linear(features), self.num_nodes + 1
        if self.graph is None:
            return scores
        return jnp.concatenate([upward_scores(scores[..., :width], self.graph), scores[..., width:]], axis=-1)

    def step(self, state: jax.Array, node: jax.Array) -> jax.Array:
        """One step of the gated recurrent unit."""
        in_reset, in_update, in_new = jnp.split(self.inputs(node), 3, axis=-1)
        reset, update, new = jnp.split(self.recurrent(state), 3, axis=-1)
        update = nn.sigmoid(in_update + update)
        return (1 - update) * jnp.tanh(in_new + nn.sigmoid(in_reset + reset) * new) + update * state
