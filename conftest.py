"""A strict session: several CPU devices, no silent rank promotion, parsed absl flags, quick compiling."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("TQDM_DISABLE", "1")
# Most of a test's time is LLVM at work on a small program.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
    """A typed key."""
    return jax.random.key(0)
