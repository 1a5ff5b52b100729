"""Checkpoints on disk: the one file that knows Orbax."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jlabel.training.checks import TrainingError, differences

__all__ = ["Checkpoints"]

_LOCK = threading.RLock()


class Checkpoints:
    """The last few states of one run, each a folder named by its step that appears by rename, whole or not at all.

    Every process of a run calls every method. `open` with `with`: leaving closes Orbax's threads.
    """

    def __init__(self, folder: Path, *, keep: int):
        """Opens the folder and clears what a killed run left half written."""
        self._folder = folder
        self._failed = False
        try:
            with _orbax():
                self._manager = ocp.training.Checkpointer(
                    folder,
                    preservation_policy=ocp.training.preservation_policies.LatestN(keep),
                    cleanup_tmp_directories=True,
                )
        except OSError as error:
            raise TrainingError(f"{folder} cannot be opened for checkpoints: {error.strerror}") from error

    def __enter__(self) -> "Checkpoints":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the threads; after a failed save Orbax would raise that failure again."""
        with _orbax(), contextlib.suppress(Exception) if self._failed else contextlib.nullcontext():
            self._manager.close()

    def latest(self) -> int | None:
        """Returns the step of the newest state, or `None`."""
        newest = self._manager.latest
        return None if newest is None else newest.step

    def save(self, step: int, tree: Any, meta: dict[str, Any]) -> None:
        """Writes a state and a JSON record; returns when both are on disk.

        Raises:
            TrainingError: it cannot be written (a full disk). The states saved before are untouched.
        """
        leaves = {name: leaf for name, leaf in _numbered(tree) if leaf.size}
        earlier = self.latest()
        try:
            with _orbax():
                self._manager.save(step, leaves, custom_metadata={**meta, "leaves": _shapes(tree)})
        # Orbax and TensorStore report a full disk as several types.
        except Exception as error:
            self._failed = True
            if jax.process_index() == 0:
                for rest in self._folder.glob("*.orbax-checkpoint-tmp"):
                    shutil.rmtree(rest, ignore_errors=True)
            kept = "no earlier one is there" if earlier is None else f"the one of step {earlier} is kept"
            raise TrainingError(
                f"checkpoint of step {step} cannot be written to {self._folder} ({_reason(error)}); {kept}; free space"
                " and start again to resume"
            ) from error

    def meta(self, step: int) -> dict[str, Any]:
        """Reads the JSON record of a state."""
        with _orbax(), self._reading(step):
            return dict(self._manager.metadata(step).custom_metadata)

    def restore(self, step: int, like: Any) -> Any:
        """Reads a state into the structure, types and layout of `like`.

        Raises:
            TrainingError: the state has other leaves than `like`, or its files are damaged.
        """
        found = differences(self.meta(step)["leaves"], _shapes(like))
        if found:
            raise TrainingError(
                f"checkpoint of step {step} in {self._folder} is of another model ({'; '.join(found[:5])}); choose"
                " another workdir or name"
            )
        named = _numbered(like)
        with _orbax(), self._reading(step):
            leaves = self._manager.load(step, {name: leaf for name, leaf in named if leaf.size})
        # Orbax stores no empty arrays; one empty array is like another.
        filled = [leaves[name] if leaf.size else leaf for name, leaf in named]
        return jax.tree.unflatten(jax.tree.structure(like), filled)

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise TrainingError(
                f"checkpoint of step {step} in {self._folder} cannot be read ({_reason(error)}); delete the folder"
                f" {self._folder / str(step)} to go on from the one before"
            ) from error


def _numbered(tree: Any) -> list[tuple[str, jax.Array]]:
    # Numbers, as names of leaves may hold anything and these become paths.
    return [(f"{index:05d}", leaf) for index, leaf in enumerate(jax.tree.leaves(tree))]


def _shapes(tree: Any) -> dict[str, str]:
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{x.dtype}{list(np.shape(x))}" for path, x in named
    }


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return text if len(text) <= 300 else text[:300] + "..."


@contextlib.contextmanager
def _orbax() -> Iterator[None]:
    # Two threads that save at once wait for each other's signals forever: one call at a time in a process.
    with _LOCK:
        # Orbax logs whole tracebacks of an error that is raised as well; ours is one line.
        logger = logging.getLogger("absl")
        disabled, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = disabled
