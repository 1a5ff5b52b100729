"""Devices: the mesh, the processes, and how arrays are laid out over them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jlabel.errors import InputError
from jlabel.training.checks import TrainingError

__all__ = ["AXES", "initialize_distributed", "make_mesh", "on_first_process", "place", "shard_batch"]

AXES = ("data", "model")


def make_mesh(spec: str | None = None) -> Mesh:
    """Makes the mesh that a run is laid out over, with the axes `data` and `model`.

    Batches are split over `data`; the seeds of `fit_seeds` over `model`.

    Args:
        spec: sizes such as `"data=8"` or `"data=4,model=2"`; an axis left out has size 1, one axis may be -1 (all
            devices that remain). `None`: one device, or with several processes all devices along `data`.

    Returns:
        The mesh.

    Raises:
        TrainingError: an unknown axis, a size that is no number, or more devices than there are.

    Example:
        >>> dict(make_mesh("data=1").shape)
        {'data': 1, 'model': 1}
        >>> make_mesh("rows=2")
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: mesh 'rows=2' has an unknown axis 'rows'; write it like data=4,model=2
    """
    devices = jax.devices()
    if spec is None:
        spec = "data=1" if jax.process_count() == 1 else "data=-1"
    sizes = dict.fromkeys(AXES, 1)
    for item in spec.split(","):
        axis, _, text = item.strip().partition("=")
        if axis not in sizes:
            raise TrainingError(f"mesh {spec!r} has an unknown axis {axis!r}; write it like data=4,model=2")
        try:
            sizes[axis] = int(text)
        except ValueError:
            raise TrainingError(
                f"mesh {spec!r} has no whole number for {axis!r}; write it like data=4,model=2"
            ) from None
    for axis, size in sizes.items():
        other = sizes["model" if axis == "data" else "data"]
        if size == -1 and other > 0:
            sizes[axis] = len(devices) // other
    shape = tuple(sizes.values())
    count = int(np.prod(shape))
    if min(shape) < 1 or count > len(devices):
        raise TrainingError(f"mesh {spec!r} asks for {shape} devices; {len(devices)} are there, and sizes start at 1")
    if jax.process_count() > 1 and count != len(devices):
        raise TrainingError(f"mesh {spec!r} uses {count} of {len(devices)} devices; several processes must use all")
    return jax.make_mesh(shape, AXES, devices=devices[:count], axis_types=(AxisType.Auto,) * len(AXES))


def initialize_distributed(spec: str) -> None:
    """Joins this process to a run over several processes; call it before anything else touches JAX.

    Args:
        spec: `"HOST:PORT,COUNT,INDEX"` (address of process 0, number of processes, index of this one from 0), or
            `"auto"` on a cluster that JAX knows how to ask.

    Raises:
        TrainingError: the text has another form.

    Example:
        >>> initialize_distributed("127.0.0.1:1234,2,5")
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: distributed '127.0.0.1:1234,2,5' has no index 5 among 2 processes
    """
    if spec == "auto":
        jax.distributed.initialize()
        return
    try:
        address, count_text, index_text = spec.split(",")
        count, index = int(count_text), int(index_text)
    except ValueError:
        raise TrainingError(f"distributed {spec!r} must be HOST:PORT,COUNT,INDEX or auto") from None
    if not 0 <= index < count:
        raise TrainingError(f"distributed {spec!r} has no index {index} among {count} processes")
    jax.distributed.initialize(address, count, index)


def on_first_process(action: Callable[[], None]) -> None:
    """Runs `action` on process 0 while the others wait; if it refuses there, every process stops."""
    refusal: InputError | None = None
    if jax.process_index() == 0:
        try:
            action()
        except InputError as error:
            refusal = error
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.asarray(refusal is not None))
        if failed and refusal is None:
            raise TrainingError("process 0 stopped this run; its message says why")
    if refusal is not None:
        raise refusal


def place(tree: Any, sharding: NamedSharding, *, copy: bool) -> Any:
    """Lays every leaf out by `sharding`; `copy` makes sure that donating the result cannot delete the input.

    Each process must hold the whole value of every leaf.
    """

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array):
            is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            if is_key or not leaf.is_fully_addressable:
                return jax.device_put(leaf, sharding, may_alias=not copy)
        if jax.process_count() > 1:
            value = np.asarray(leaf)
            value = value.astype(jax.dtypes.canonicalize_dtype(value.dtype))
            return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
        # An explicit dtype drops JAX's weak types, which the loop's carry could not keep.
        strong = leaf if isinstance(leaf, np.ndarray) else jnp.asarray(leaf, dtype=jnp.result_type(leaf))
        return jax.device_put(strong, sharding, may_alias=not copy)

    return jax.tree.map(put, tree)


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Splits the first axis of every leaf over `data`; with several processes each one gives its own rows."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch)
