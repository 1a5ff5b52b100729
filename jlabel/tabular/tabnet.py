"""TabNet: step after step a sparse mask chooses columns, and what these say is added up."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jlabel.tabular.checks import check_count, check_number
from jlabel.tabular.fitting import NeuralFit, Training, check_training, train_problem
from jlabel.tabular.problem import Problem, run_keys

__all__ = ["TabNet", "TabNetLoss", "TabNetOutputs", "fit_tabnet"]

Stats = list[tuple[jax.Array, jax.Array]]  # mean and variance of each norm, in the order of use


def fit_tabnet(
    problem: Problem,
    *,
    key: jax.Array,
    width: int = 8,
    num_steps: int = 3,
    relaxation: float = 1.3,
    sparsity: float = 1e-3,
    **training: Unpack[Training],
) -> NeuralFit:
    """TabNet on one number for each category and on numbers; batch norms predict with the labelled rows' statistics.

    Args:
      problem, key, training: as for `fit_mlp`, but for a learning rate of 0.01.
      width: numbers of a decision, and of what attention sees. num_steps: masks. relaxation: from 1, how often a
        column may be chosen. sparsity: weight of the masks' entropy.

    Returns:
      The networks.

    Raises:
      TabularError: keys of another shape, or a setting out of range.

    Source: Arik & Pfister 2019, without its pre-training.
    """
    check_count("width", width)
    check_count("num_steps", num_steps)
    check_number("relaxation", relaxation, low=1.0)
    check_number("sparsity", sparsity)
    check_training(training)
    network = TabNet(
        problem.cardinalities, problem.num_values, problem.num_classes, width, num_steps, float(relaxation)
    )
    keys = jax.vmap(jax.random.split)(run_keys(problem, key))
    settings: Training = {"learning_rate": 1e-2, **training}
    found = train_problem(
        problem, TabNetLoss(network, float(sparsity)), TabNetOutputs(network, problem.labelled.shape[1]),
        _init(network, keys[:, 0]), keys=keys[:, 1], reference=True, **settings,
    )  # fmt: skip
    rows = problem.table.codes[problem.labelled], problem.table.values[problem.labelled]
    stats = _statistics(network, found.params, *rows)
    params = {"weights": found.params, "stats": stats}
    return NeuralFit(TabNetOutputs(network), params, found.batched, found.best_step, found.scores)


@dataclass(frozen=True)
class TabNet:
    """The network's sizes, its first parameters and its outputs.

    With ``x`` the row's ``D = m + c`` numbers after a batch norm and ``f_i`` a stack of four gated layers, of which the
    first two share their weights over the steps:
    ``[_, a] = f_0(x)``; ``M_i = sparsemax(P_i * norm(a W_i))``, ``P_1 = 1``, ``P_i+1 = P_i (relaxation - M_i)``;
    ``[d, a] = f_i(M_i * x)``; ``logits = sum_i relu(d) W``.

    Attributes:
      cardinalities, num_values, num_outputs: as in `TabTransformer`. width: of d and of a. num_steps: of i.
      relaxation: 1 lets a column be chosen fully once. ghost: rows over which a training batch's norms are taken.
    """

    cardinalities: tuple[int, ...]
    num_values: int
    num_outputs: int
    width: int = 8
    num_steps: int = 3
    relaxation: float = 1.3
    ghost: int = 128

    def init(self, key: jax.Array) -> dict[str, Any]:
        """First parameters."""
        inputs, both = len(self.cardinalities) + self.num_values, 2 * self.width
        # A norm of the inputs, one for each of four gated layers of each f_i, one for each mask.
        sizes = [inputs, *[2 * both] * 4, *([inputs, *[2 * both] * 4] * self.num_steps)]
        shapes = {"shared_0": (inputs, 2 * both), "shared_1": (both, 2 * both), "final": (self.width, self.num_outputs)}
        for step in range(self.num_steps + 1):
            shapes |= {f"own_{step}_{k}": (both, 2 * both) for k in range(2)}
            shapes |= {f"mask_{step}": (self.width, inputs)} if step else {}
        glorot = jax.nn.initializers.glorot_normal()
        keys = jax.random.split(key, len(shapes) + 1)
        weights = {
            name: glorot(own, shape) for own, (name, shape) in zip(keys[1:], sorted(shapes.items()), strict=True)
        }
        total = sum(self.cardinalities) + len(self.cardinalities)
        return {
            **weights,
            "embedding": jax.random.normal(keys[0], (total,)),
            "norms": [(jnp.ones(size), jnp.zeros(size)) for size in sizes],
        }

    def apply(
        self, params: Any, codes: jax.Array, values: jax.Array, *, stats: Stats | None = None, ghost: bool = False
    ) -> tuple[jax.Array, jax.Array, Stats]:
        """Logits ``(B, C)``, the masks ``(steps, B, D)``, and the norms' statistics.

        Args:
          params: from `init`. codes, values: a batch. stats: of the norms; None takes those of the batch.
          ghost: take those of each ``ghost`` rows of the batch alone, where these divide it.
        """
        rows = len(codes)
        groups = rows // self.ghost if ghost and rows % self.ghost == 0 else 1
        found: Stats = []

        def norm(x: jax.Array) -> jax.Array:
            scale, offset = params["norms"][len(found)]
            if stats is None:
                parts = x.reshape(groups, rows // groups, -1)
                mean, variance = parts.mean(1, keepdims=True), parts.var(1, keepdims=True)
                found.append((mean[0, 0], variance[0, 0]))
            else:
                parts = x[None]
                mean, variance = (part[None, None] for part in stats[len(found)])
                found.append(stats[len(found)])
            parts = (parts - mean) * jax.lax.rsqrt(variance + 1e-5)
            return parts.reshape(x.shape) * scale[None] + offset[None]

        def transform(x: jax.Array, step: int) -> tuple[jax.Array, jax.Array]:
            for k, name in enumerate(("shared_0", "shared_1", f"own_{step}_0", f"own_{step}_1")):
                gated = jax.nn.glu(norm(x @ params[name]))
                x = (x + gated) * math.sqrt(0.5) if k else gated
            return x[:, : self.width], x[:, self.width :]

        sizes = np.array(self.cardinalities, int) + 1
        x = norm(jnp.concatenate([params["embedding"][codes + (np.cumsum(sizes) - sizes)[None]], values], 1))
        _, seen = transform(x, 0)
        prior, decision, masks = jnp.ones_like(x), jnp.zeros((rows, self.width)), []
        for step in range(1, self.num_steps + 1):
            mask = jax.vmap(optax.projections.projection_simplex)(prior * norm(seen @ params[f"mask_{step}"]))
            prior = prior * (self.relaxation - mask)
            own, seen = transform(mask * x, step)
            decision += jax.nn.relu(own)
            masks.append(mask)
        return decision @ params["final"], jnp.stack(masks), found


@functools.partial(jax.jit, static_argnums=0)
def _init(network: TabNet, keys: jax.Array) -> Any:
    return jax.vmap(network.init)(keys)


@functools.partial(jax.jit, static_argnums=0)
def _statistics(network: TabNet, params: Any, codes: jax.Array, values: jax.Array) -> Stats:
    return jax.vmap(lambda own, *rows: network.apply(own, *rows)[2])(params, codes, values)


@dataclass(frozen=True)
class TabNetLoss:
    """Cross-entropy plus the weighted mean entropy of the masks; see `train_runs`.

    Attributes:
      network: whose outputs are trained. sparsity: weight.
    """

    network: TabNet
    sparsity: float = 1e-3

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over rows."""
        logits, masks, _ = self.network.apply(params, batch["codes"], batch["values"], ghost=True)
        entropy = -jnp.sum(masks * jnp.log(masks + 1e-15), -1)
        fit = optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"])
        return fit.mean() + self.sparsity * entropy.mean()


@dataclass(frozen=True)
class TabNetOutputs:
    """``(params, columns) -> logits (n, C)``.

    Attributes:
      network: whose outputs. reference: how many of the first rows give the norms' statistics; 0 takes
        ``params["stats"]``.
    """

    network: TabNet
    reference: int = 0

    def __call__(self, params: Any, columns: Mapping[str, jax.Array]) -> jax.Array:
        """A row's logits do not depend on the rows after the reference."""
        rows = columns["codes"], columns["values"]
        if self.reference:
            first = (part[: self.reference] for part in rows)
            return self.network.apply(params, *rows, stats=self.network.apply(params, *first)[2])[0]
        return self.network.apply(params["weights"], *rows, stats=params["stats"])[0]
