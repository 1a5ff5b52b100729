"""Two finished studies that many tests read: one on features, one on pictures."""

import jax
import pytest

from experiments import fusion
from tests.experiments import worlds


@pytest.fixture(autouse=True, scope="package")
def _quick_and_private(tmp_path_factory):
    """Programs that run for milliseconds are compiled without optimisation, and the cache is this session's own."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JLABEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    jax.config.update("jax_disable_most_optimizations", optimised)


@pytest.fixture(scope="package")
def feature_study(tmp_path_factory):
    """Folder with fine.csv, coarse.npz, graph.json and the finished study in run/."""
    folder = tmp_path_factory.mktemp("features")
    worlds.write_graph(folder)
    worlds.write_features(folder)
    fusion.run(worlds.feature_config(folder), folder / "run")
    return folder


@pytest.fixture(scope="package")
def picture_study(tmp_path_factory):
    """Folder with fine/, coarse/, graph.json and the finished study in run/."""
    folder = tmp_path_factory.mktemp("pictures")
    worlds.write_graph(folder)
    worlds.write_pictures(folder)
    fusion.run(worlds.picture_config(folder), folder / "run")
    return folder
