"""Finished studies that many tests read: on features, on pictures, and four on texts."""

from pathlib import Path
from typing import Any, NamedTuple

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


class TextStudy(NamedTuple):
    """A finished study: its workdir, and what it trained and predicted."""

    run: Path
    results: Any
    data: Any


def text_study(config, run):
    """Run a study and keep what `save_model` is given."""
    found, save = [], fusion.save_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "save_model", lambda *arguments: found.append(arguments) or save(*arguments))
        fusion.run(config, run)
    _, results, _, _, _, data = found[0]
    return TextStudy(run, results, data)


@pytest.fixture(scope="package")
def text_world(tmp_path_factory):
    """Folder with texts.csv, several.csv, archives.csv, graph.json and bert/."""
    folder = tmp_path_factory.mktemp("texts")
    worlds.write_texts(folder)
    return folder


@pytest.fixture(scope="package")
def lstm_study(text_world):
    """An LSTM from scratch."""
    methods = ("graph fused", "TF-IDF + SVM")
    return text_study(worlds.text_config(text_world, methods=methods), text_world / "lstm")


@pytest.fixture(scope="package")
def frozen_study(text_world):
    """A head on a BERT that stays as it is."""
    return text_study(worlds.frozen_text_config(text_world), text_world / "frozen")


@pytest.fixture(scope="package")
def tuned_study(text_world):
    """A BERT and its head together, every option that saves memory on."""
    options = {"fine_tune": True, "steps": 3, "accumulate": 2, "remat": True, "bfloat16": True}
    return text_study(worlds.frozen_text_config(text_world, **options), text_world / "tuned")


@pytest.fixture(scope="package")
def several_study(text_world):
    """Heads on a BERT; rows have one to three categories."""
    options = {"data": f"csv:{text_world / 'several.csv'}?separator=|", "methods": ("graph fused", "Label Set")}
    return text_study(worlds.frozen_text_config(text_world, **options), text_world / "several")
