"""The label chain: an LSTM that reads the features and its own last predictions, once for each label."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.amalgamation.chain import ChainOutput, final_logits, pick_label

__all__ = ["LabelChain"]


class LabelChain(nn.Module):
    """Features ``(B, D)`` to the logits of L labels, which an LSTM of width H revises in L steps.

    ``l_0 = W x + b``, ``y_0 = 0``; at step k ``(h_k, c_k) = LSTM([x, l_{k-1}, y_{k-1}], h_{k-1}, c_{k-1})`` and ``l_k =
    W_o h_k + b_o``; the picked label joins ``y_k`` (`carry_logits`). No gradient passes the pick.

    The tree of ``params["params"]``: ``initial`` (``kernel`` (D, L), ``bias``); ``layer_0`` (``features`` (4H, D),
    ``joined`` (4H, 2L + H) with the columns [l, y, h], ``bias`` (4H,)); ``layer_1`` ... of more layers (``joined`` (4H,
    2H) with the columns [state of the layer below, h], ``bias``); ``output`` (``kernel`` (H, L), ``bias``). Rows of the
    gates: input, forget, candidate, output.

    Attributes:
      num_labels: L. hidden_size: H. num_layers: of LSTM cells, one above the other.

    Example:
      >>> chain = LabelChain(num_labels=3, hidden_size=4)
      >>> out, params = jax.eval_shape(chain.init_with_output, jax.random.key(0), jnp.ones((2, 5)))
      >>> out.final_logits.shape, out.step_logits.shape, out.order.shape, out.hidden.shape
      ((2, 3), (2, 3, 3), (2, 3), (2, 3, 4))

    Source: Thadajarassiri et al. 2023, Eq. 6-11.
    """

    num_labels: int
    hidden_size: int
    num_layers: int = 1

    @nn.compact
    def __call__(
        self,
        features: ArrayLike,
        initial_logits: ArrayLike | None = None,
        *,
        select: str = "positive",
        path_floor: float = 0.0,
    ) -> ChainOutput:
        """Features ``(B, D)``; ``initial_logits`` ``(B, L)`` stand in for ``W x + b``, NaN for the chain's own."""
        x = jnp.asarray(features)
        logits: Any = nn.Dense(self.num_labels, name="initial")(x)
        if initial_logits is not None:
            given = jnp.asarray(initial_logits, logits.dtype)
            logits = jnp.where(jnp.isnan(given), logits, given)
        layers = [_Cell(self.hidden_size, x.shape[-1], 2 * self.num_labels, name="layer_0")()]
        layers += [_Cell(self.hidden_size, 0, self.hidden_size, name=f"layer_{k}")() for k in range(1, self.num_layers)]
        output = _Dense(self.num_labels, name="output")(self.hidden_size)
        return _run_chain(layers, output, x, logits, select=select, path_floor=path_floor)


class _Cell(nn.Module):
    """The parameters of an LSTM cell with ``features`` fixed inputs and ``inputs`` that change from step to step."""

    hidden: int
    features: int
    inputs: int

    @nn.compact
    def __call__(self) -> dict[str, jax.Array]:
        size, lecun = 4 * self.hidden, nn.initializers.lecun_normal(in_axis=1, out_axis=0)
        found = {"features": self.param("features", lecun, (size, self.features))} if self.features else {}
        joined = self.param("joined", lecun, (size, self.inputs + self.hidden))
        return {**found, "joined": joined, "bias": self.param("bias", nn.initializers.zeros, (size,))}


class _Dense(nn.Module):
    size: int

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, jax.Array]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs, self.size))
        return {"kernel": kernel, "bias": self.param("bias", nn.initializers.zeros, (self.size,))}


def _run_chain(
    layers: list[dict[str, jax.Array]],
    output: dict[str, jax.Array],
    x: jax.Array,
    logits: jax.Array,
    *,
    select: str,
    path_floor: float,
) -> ChainOutput:
    steps = _Steps(
        # The features' half of the product is the same at every step.
        fixed=layers[0]["features"] @ x.T + layers[0]["bias"][:, None],
        initial=logits.T,
        joined=tuple(layer["joined"] for layer in layers),
        biases=tuple(layer["bias"][:, None] for layer in layers[1:]),
        kernel=output["kernel"].T,
        bias=output["bias"][:, None],
    )
    step_logits, picks, order, hidden = _scan_chain(select, path_floor, steps)
    final = final_logits(step_logits, picks)
    return ChainOutput(final.T, step_logits.transpose(2, 0, 1), order.T, hidden.transpose(2, 0, 1))


class _Steps(NamedTuple):
    """What the steps of a chain need; rows are the last axis, for which XLA's products on CPU are quicker.

    ``fixed`` (4H, B): the part of the lowest layer's gates that does not change. ``initial`` (L, B). ``joined``: (4H,
    2L + H) for [l, y, h]; of the other layers (4H, 2H). ``biases`` (4H, 1): of the other layers. ``kernel`` (L, H) and
    ``bias`` (L, 1): of the output.
    """

    fixed: jax.Array
    initial: jax.Array
    joined: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    kernel: jax.Array
    bias: jax.Array


def _open_gates(gates: jax.Array, cell: jax.Array) -> tuple[jax.Array, ...]:
    """Gates ``(4H, B)`` before their squashing and the cell before the step -> i, f, g, o, new cell."""
    i, f, g, o = jnp.split(gates, 4)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    return i, f, g, o, f * cell + i * g


# A gradient of its own, for which less is kept than JAX would keep.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan_chain(select: str, path_floor: float, steps: _Steps) -> Any:
    return _scan_forward(select, path_floor, steps)[0]


def _scan_forward(select: str, path_floor: float, steps: _Steps) -> Any:
    """Logits, picks, labels and highest states, steps first; and what the gradient needs."""
    (labels, hidden), rows, layers = steps.kernel.shape, steps.fixed.shape[1], len(steps.joined)

    def advance(carry: Any, below: Any, gates: jax.Array) -> Any:
        """A step, given the gates of the lowest layer; keeps each layer's inputs, gates and cell before it."""
        _, picked, path, cells, states = carry
        after: list[Any] = []
        kept = []
        for k, (cell, state) in enumerate(zip(cells, states, strict=True)):
            if k:
                below = jnp.concatenate([after[-1][1], state])
                gates = steps.joined[k] @ below + steps.biases[k - 1]
            kept.append((below, gates, cell))
            _, _, _, o, cell = _open_gates(gates, cell)
            after.append((cell, o * jnp.tanh(cell)))
        cells, states = zip(*after, strict=True)
        logits = steps.kernel @ states[-1] + steps.bias
        label, pick, path = pick_label(logits, picked, path, select=select, path_floor=path_floor)
        return (logits, picked + pick, path, cells, states), ((logits, pick, label, states[-1]), kept)

    def step(carry: Any, _: None) -> Any:
        below = jnp.concatenate([carry[0], carry[1], carry[-1][0]])
        return advance(carry, below, steps.joined[0] @ below + steps.fixed)

    zeros = (jnp.zeros((hidden, rows), steps.fixed.dtype),) * layers
    start = (steps.initial, jnp.zeros_like(steps.initial), jnp.ones(rows, steps.fixed.dtype), zeros, zeros)
    # At step 1 the lowest layer has no state to multiply.
    carry, (one, kept_one) = advance(start, None, steps.joined[0][:, :labels] @ steps.initial + steps.fixed)
    carry, (more, kept_more) = jax.lax.scan(step, carry, length=labels - 1)
    found = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), one, more)
    return found, (steps, kept_one, kept_more, found[3])


def _scan_backward(select: str, path_floor: float, residuals: Any, cotangents: Any) -> Any:
    del select, path_floor
    steps, kept_one, kept_more, tops = residuals
    d_logits, _, _, d_hidden = cotangents
    labels, layers, zeros = len(steps.kernel), len(steps.joined), jnp.zeros_like(tops[0])
    # Turned once, not at every step.
    turned, turned_output = jax.lax.optimization_barrier(([weights.T for weights in steps.joined], steps.kernel.T))

    def retreat(carry: Any, d_logits: jax.Array, d_hidden: jax.Array, top: jax.Array, kept: Any) -> Any:
        """A step back, but for what the lowest gates tell the step before; sums up the gradients of the weights."""
        d_cells, d_states, d_after, sums, (d_kernel, d_bias) = carry
        d_cells, d_states, sums = list(d_cells), list(d_states), list(sums)
        d_logits = d_logits + d_after
        d_output = (d_kernel + d_logits @ top.T, d_bias + d_logits)
        d_states[-1] += turned_output @ d_logits + d_hidden
        d_gates = zeros
        for k in reversed(range(layers)):
            below, gates, before = kept[k]
            i, f, g, o, cell = _open_gates(gates, before)
            squashed = jnp.tanh(cell)
            d_cell = d_cells[k] + d_states[k] * o * (1 - squashed**2)
            parts = (
                d_cell * g * i * (1 - i),
                d_cell * before * f * (1 - f),
                d_cell * i * (1 - g**2),
                d_states[k] * squashed * o * (1 - o),
            )
            d_gates, d_cells[k] = jnp.concatenate(parts), d_cell * f
            d_joined, d_fixed = sums[k]
            sums[k] = (d_joined if below is None else d_joined + d_gates @ below.T, d_fixed + d_gates)
            if k:
                d_below, d_states[k] = jnp.split(turned[k] @ d_gates, 2)
                d_states[k - 1] += d_below
        return (d_cells, d_states, d_after, sums, d_output), d_gates

    def step(carry: Any, now: Any) -> Any:
        (d_cells, d_states, _, sums, d_output), d_gates = retreat(carry, *now)
        d_below = turned[0] @ d_gates
        d_states[0] = d_below[2 * labels :]
        return (d_cells, d_states, d_below[:labels], sums, d_output), None

    nothing = [(jnp.zeros_like(weights), jnp.zeros_like(steps.fixed)) for weights in steps.joined]
    d_output = (jnp.zeros_like(steps.kernel), jnp.zeros_like(steps.initial))
    start = ([zeros] * layers, [zeros] * layers, jnp.zeros_like(steps.initial), nothing, d_output)
    given = (d_logits[1:], d_hidden[1:], tops[1:], kept_more)
    carry, _ = jax.lax.scan(step, start, given, reverse=True)
    (*_, sums, d_output), first = retreat(carry, d_logits[0], d_hidden[0], tops[0], kept_one)
    d_joined = [d_joined for d_joined, _ in sums]
    d_joined[0] = d_joined[0].at[:, :labels].add(first @ steps.initial.T)
    return (
        _Steps(
            fixed=sums[0][1],
            initial=steps.joined[0][:, :labels].T @ first,
            joined=tuple(d_joined),
            biases=tuple(d_fixed.sum(1, keepdims=True) for _, d_fixed in sums[1:]),
            kernel=d_output[0],
            bias=d_output[1].sum(1, keepdims=True),
        ),
    )


_scan_chain.defvjp(_scan_forward, _scan_backward)
