"""The compiled step: gradient, update and running sums, alone or several in one loop."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jlabel.training.batches import gather
from jlabel.training.checks import TrainingError

__all__ = ["Programs", "Setup", "TrainState", "compiled", "metric_sums"]


class TrainState(NamedTuple):
    """What a step changes; with seeds side by side every leaf has a leading axis R."""

    params: Any
    opt_state: Any
    state: Any  # None without extra state
    sums: dict[str, jax.Array]  # loss and metrics, summed since the last log line


@dataclasses.dataclass(frozen=True)
class Setup:
    """What decides the compiled program besides shapes; equal setups share one."""

    loss_fn: Callable[..., Any]
    optimizer: Any  # with `hyper`, a function of one row of it
    stateful: bool
    seeds: bool
    hyper: bool
    mesh: Mesh
    key_impl: str
    transforms: tuple[Any, ...] | None  # None: batches come from an iterator

    @property
    def layout(self) -> NamedSharding:
        """How the train state lies: on every device, or split by seed over `model`."""
        return NamedSharding(self.mesh, PartitionSpec("model") if self.seeds else PartitionSpec())

    @property
    def everywhere(self) -> NamedSharding:
        """The layout of what every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    def loss(self, params: Any, state: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, tuple[dict[str, Any], Any]]:
        """Calls the loss in one form: `(loss, (metrics, state))`."""
        if self.stateful:
            result, form = self.loss_fn(params, state, batch, key), "(loss, (metrics, state))"
            metrics, state = result[1] if _is_pair(result) and _is_pair(result[1]) else (None, None)
        else:
            result, form = self.loss_fn(params, batch, key), "(loss, metrics)"
            metrics = result[1] if _is_pair(result) else None
        if not isinstance(metrics, dict):
            raise TrainingError(f"loss_fn must return {form} with a dict of metrics, got {type(result).__name__}")
        return result[0], (metrics, state)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


class Programs(NamedTuple):
    """The jitted programs of a run; a stretch of resident data is taken in one loop or step by step."""

    init: Callable[..., Any]
    run: Callable[..., Any]
    step: Callable[..., Any]


def compiled(setup: Setup) -> Programs:
    """Returns the jitted programs; a study that calls `fit` again with the same functions compiles once."""
    try:
        hash(setup)
    except TypeError:  # a loss that is an unhashable callable object
        return _build.__wrapped__(setup)
    return _build(setup)


def metric_sums(setup: Setup, params: Any, state: Any, batch: Any) -> tuple[dict[str, jax.ShapeDtypeStruct], bool]:
    """Traces the loss on shapes of one seed: the names of its metrics, and whether it holds a convolution."""
    key = jax.eval_shape(lambda: jax.random.key(0, impl=setup.key_impl))
    jaxpr, (value, (metrics, _)) = jax.make_jaxpr(setup.loss, return_shape=True)(params, state, batch, key)
    named = {**metrics, "loss": value}
    for name, metric in named.items():
        if jnp.shape(metric) != ():
            raise TrainingError(
                f"loss_fn must return scalars, but {name!r} has shape {list(jnp.shape(metric))}; take its mean"
            )
        if name in ("name", "step", "seconds"):
            raise TrainingError(f"loss_fn returns a metric {name!r}, a word the metric log uses itself; rename it")
    return {name: jax.ShapeDtypeStruct((), jnp.float32) for name in named}, _convolves(jaxpr.jaxpr)


def _convolves(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name == "conv_general_dilated" or any(map(_convolves, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def _one_step(setup: Setup, train: TrainState, batch: Any, key: jax.Array, hyper: Any) -> tuple[TrainState, Any, Any]:
    batch = jax.lax.with_sharding_constraint(batch, NamedSharding(setup.mesh, PartitionSpec("data")))
    (loss, (metrics, state)), grads = jax.value_and_grad(setup.loss, has_aux=True)(
        train.params, train.state, batch, key
    )
    optimizer = setup.optimizer(hyper) if setup.hyper else setup.optimizer
    updates, opt_state = optimizer.update(grads, train.opt_state, train.params)
    params = optax.apply_updates(train.params, updates)
    named = {**metrics, "loss": loss}
    sums = {name: total + jnp.asarray(named[name], jnp.float32) for name, total in train.sums.items()}
    # A finite loss can have a NaN gradient (sqrt at 0): stop at the step that made it, not at the one it spoils.
    finite = [jnp.isfinite(loss), *(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))]
    return _typed_like(train, TrainState(params, opt_state, state, sums)), loss, jnp.stack(finite).all()


def _typed_like(old: TrainState, new: TrainState) -> TrainState:
    # A weakly typed leaf (a schedule's Python float) would change the loop's carry and compile the step twice.
    def cast(before: jax.Array, after: Any) -> jax.Array:
        if jax.dtypes.issubdtype(before.dtype, jax.dtypes.prng_key):
            return after
        return jax.lax.convert_element_type(after, before.dtype)

    return jax.tree.map(cast, old, new)


@functools.lru_cache(maxsize=16)
def _build(setup: Setup) -> Programs:
    run, step = (_build_streamed(setup), None) if setup.transforms is None else _build_resident(setup)

    def init(params: Any, hyper: Any) -> Any:
        return (setup.optimizer(hyper) if setup.hyper else setup.optimizer).init(params)

    return Programs(jax.jit(jax.vmap(init) if setup.seeds else init, out_shardings=setup.layout), run, step or run)


def _build_resident(setup: Setup) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Steps `start` to `start + count` on resident columns, ended by the first that is not finite; and one step alone.

    The count is an argument: stretches of any length run one program, so where a run was stopped cannot change a bit.
    """

    transforms = setup.transforms or ()

    def one(train: TrainState, columns: Any, rows: Any, key: jax.Array, hyper: Any, step: jax.Array) -> Any:
        step_key = jax.random.fold_in(key, step)
        return _one_step(setup, train, gather(transforms, columns, rows, step_key), step_key, hyper)

    if setup.seeds:
        one = jax.vmap(one, in_axes=(0, None, 0, 0, 0, None), spmd_axis_name="model")

    def run(train: TrainState, columns: Any, rows: Any, key_data: jax.Array, hyper: Any, start: Any, count: Any) -> Any:
        keys = jax.random.wrap_key_data(key_data, impl=setup.key_impl)

        def body(carry: Any) -> Any:
            done, train, _, _ = carry
            now = jax.tree.map(lambda order: jax.lax.dynamic_index_in_dim(order, done, keepdims=False), rows)
            return done + 1, *one(train, columns, now, keys, hyper, start + done)

        loss = jnp.zeros_like(train.sums["loss"])
        first = (jnp.int32(0), train, loss, jnp.ones(loss.shape, bool))
        done, train, loss, finite = jax.lax.while_loop(lambda c: (c[0] < count) & c[3].all(), body, first)
        return train, done, loss, finite

    def step(train: TrainState, columns: Any, rows: Any, key_data: jax.Array, hyper: Any, now: Any) -> Any:
        return one(train, columns, rows, jax.random.wrap_key_data(key_data, impl=setup.key_impl), hyper, now)

    shared = setup.everywhere
    return (
        jax.jit(run, donate_argnums=0, out_shardings=(setup.layout, shared, shared, shared)),
        jax.jit(step, donate_argnums=0, out_shardings=(setup.layout, shared, shared)),
    )


def _build_streamed(setup: Setup) -> Callable[..., Any]:
    """One step on a batch that came from the host; seeds side by side all see it."""

    def one(train: TrainState, batch: Any, key: jax.Array, hyper: Any, step: jax.Array) -> Any:
        return _one_step(setup, train, batch, jax.random.fold_in(key, step), hyper)

    if setup.seeds:
        one = jax.vmap(one, in_axes=(0, None, 0, 0, None), spmd_axis_name="model")

    def run(train: TrainState, batch: Any, key_data: jax.Array, hyper: Any, step: Any) -> Any:
        return one(train, batch, jax.random.wrap_key_data(key_data, impl=setup.key_impl), hyper, step)

    shared = setup.everywhere
    return jax.jit(run, donate_argnums=0, out_shardings=(setup.layout, shared, shared))
