"""The model a fusion study leaves behind: saved without pickle, loaded for prediction."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from experiments.fusion_data import FusionData, is_frozen
from experiments.fusion_methods import Method, build_method
from experiments.fusion_training import Calibration, Predictions, scaled
from jlabel import InputError
from jlabel.label_graph import PathPlan, beam_decode, build_graph, graph_spec, label_log_probs, labels_below, plan_paths
from jlabel.networks import Encoder, TextTokenizer, encoder, text_encoder

__all__ = ["FusionModel", "load_model", "save_model"]

FORMAT = "jlabel.fusion_model/1"
FIELDS = ("method", "fine_set", "temperature", "features", "kind", "image_size", "graph", "config")


@dataclass(frozen=True)
class FusionModel:
    """A trained model with what it needs to predict.

    Attributes:
      plan: graph and paths. method: its head. net: its encoder. params: ``{"encoder", "head", "mean"?, "scale"?}``.
      fine_set: label set it was trained for. fitted: on held-out rows. config: the study's settings.
    """

    plan: PathPlan
    method: Method
    net: Encoder
    params: Any
    fine_set: str
    fitted: Calibration
    config: SimpleNamespace

    def features(self, inputs: jax.Array) -> jax.Array:
        """Encoder features ``[B, D]`` of pictures or feature rows, standardised as in training."""
        return scaled(self.params, self.net.apply(self.params["encoder"], inputs))

    def head(self) -> Any:
        """The head's own parameters."""
        head = self.params["head"]
        return head["decoder"] if "reward_average" in head else head

    def predict(self, inputs: jax.Array, *, beam: int = 5) -> dict[str, jax.Array]:
        """Probabilities of every label set and, for a graph, the likeliest paths.

        A flat head gives another set's label the sum over the fine labels below it.

        Args:
          inputs: ``[B, S, S, 3]`` uint8 pictures, ``[B, L]`` token ids or ``[B, D]`` features. beam: paths kept.

        Returns:
          ``probs/SET`` ``[B, C]`` for each label set (the fine set after the temperature), and for a graph model
          ``paths`` ``[B, beam, T]``, ``path_mask`` and ``path_log_probs`` ``[B, beam]``.
        """
        features = self.features(inputs)
        log_probs = self.method.log_probs(self.params["head"], features) / self.fitted.temperature
        out = {f"probs/{self.fine_set}": jax.nn.softmax(log_probs, axis=-1)}
        others = [label_set.name for label_set in self.plan.graph.label_sets if label_set.name != self.fine_set]
        if self.method.apply_fn is None:
            below = labels_below(self.plan, self.fine_set).astype(np.float32)
            for name in others:
                out[f"probs/{name}"] = out[f"probs/{self.fine_set}"] @ below[self.plan.label_slice(name)].T
            return out
        apply_fn, gate = self.method.apply_fn, self.config.gate
        for name in others:
            found = label_log_probs(apply_fn, self.head(), features, self.plan, name, gate=gate)
            out[f"probs/{name}"] = jnp.exp(found)
        paths, mask, scores = beam_decode(apply_fn, self.head(), features, self.plan.graph, beam=beam, gate=gate)
        return {**out, "paths": paths, "path_mask": mask, "path_log_probs": scores}


def save_model(
    folder: Path, results: Mapping[str, Sequence[Predictions]], plan: PathPlan, net: Encoder, config: Any,
    data: FusionData,
) -> None:  # fmt: skip
    """Write the first method's first seed: ``model.json`` and ``params.safetensors``, both or neither."""
    name = next(iter(results))
    best = results[name][0]
    if best.params is None:  # the SVM alone
        return
    trained = not (net.pretrained and is_frozen(net, config))
    params = {k: v for k, v in best.params.items() if k != "encoder" or trained}
    arrays = {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(params)}
    document = {
        "format": FORMAT,
        "method": name,
        "fine_set": data.fine_set,
        "temperature": best.fitted.temperature,
        "threshold": best.fitted.threshold,
        "features": net.dim,
        "kind": net.kind,
        "embedding_dim": _embedding_dim(arrays),
        "image_size": net.image_size,
        # A vocabulary that was learnt goes with the model; a pretrained encoder has its own.
        "tokenizer": net.tokenizer.to_json() if net.tokenizer is not None and not net.pretrained else None,
        "graph": graph_spec(plan.graph),
        "config": asdict(config),
    }
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".model."))
    try:
        save_file(arrays, temporary / "params.safetensors")
        (temporary / "model.json").write_text(json.dumps(document, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _embedding_dim(arrays: Mapping[str, np.ndarray]) -> int | None:
    """Width of the word table of an encoder that has one."""
    tables = [array.shape[1] for name, array in arrays.items() if name.endswith("['word']['embedding']")]
    return tables[0] if tables else None


def load_model(workdir: Path) -> FusionModel:
    """The model of a finished study.

    Args:
      workdir: the study's ``--workdir``.

    Raises:
      InputError: no model there, or one that is damaged.
    """
    folder = workdir / "model"
    try:
        document = json.loads((folder / "model.json").read_text())
        arrays = load_file(folder / "params.safetensors")
    except FileNotFoundError as error:
        raise InputError(f"workdir {str(workdir)!r} holds no model: run a fusion study there first") from error
    except (json.JSONDecodeError, SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"the model in {str(folder)!r} is damaged ({error}): run the study again") from error
    found = document.get("format") if isinstance(document, dict) else type(document).__name__
    if found != FORMAT:
        raise InputError(f"the model in {str(folder)!r} has format {found!r}, not {FORMAT}: run the study again")
    missing = [name for name in FIELDS if name not in document]
    if missing:
        raise InputError(f"the model in {str(folder)!r} lacks {missing[0]!r}: run the study again")
    config = SimpleNamespace(**document["config"])
    plan = plan_paths(build_graph(document["graph"]), max_paths=config.max_paths, key=jax.random.key(config.seeds[0]))
    method = build_method(document["method"], plan, document["fine_set"], config)
    net = _encoder(document, config)
    shapes: dict[str, Any] = {"head": jax.eval_shape(lambda: method.init(jax.random.key(0), net.dim))}
    if "['mean']" in arrays:
        shapes |= {"mean": 0, "scale": 0}
    kept = net.pretrained and is_frozen(net, config)
    if not kept:
        shapes["encoder"] = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    try:
        params = jax.tree_util.tree_map_with_path(lambda path, _: arrays[jax.tree_util.keystr(path)], shapes)
    except KeyError as error:
        raise InputError(f"the model in {str(folder)!r} lacks {error.args[0]}: run the study again") from error
    if kept:
        params["encoder"] = net.init(jax.random.key(0))
    fitted = Calibration(document["temperature"], document.get("threshold"))
    return FusionModel(plan, method, net, params, document["fine_set"], fitted, config)


def _encoder(document: dict[str, Any], config: SimpleNamespace) -> Encoder:
    """The encoder the model was trained with."""
    if document["kind"] == "features":
        return encoder("identity", dim=document["features"])
    if document["kind"] == "image":
        return encoder(config.encoder, image_size=document["image_size"])
    options: dict[str, Any] = {"pool": config.token_pool, "bfloat16": config.bfloat16}
    if document.get("tokenizer") is None:
        return text_encoder(config.encoder, max_length=config.max_length, **options)
    # The width of the word table is that of the vectors it started from; their file is not needed any more.
    tokenizer, width = TextTokenizer.from_json(document["tokenizer"]), document.get("embedding_dim")
    return text_encoder("lstm", tokenizer=tokenizer, embedding_dim=width, dim=document["features"], **options)
