"""A universal model on disk: saved without pickle, loaded for prediction; and taxonomies that people edited."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from experiments.taxonomy_data import PIXELS
from experiments.universal_config import UniversalConfig
from experiments.universal_data import Study
from experiments.universal_study import Outcome
from jlabel import InputError
from jlabel.networks import Encoder, encoder, text_encoder
from jlabel.taxonomy import Taxonomy, domain_probs, make_head, taxonomy_from_spec, taxonomy_spec

__all__ = ["UniversalModel", "holds_universal_model", "load_universal_model", "read_taxonomy", "save_universal_model"]

FORMAT = "jlabel.universal_model/1"
FIELDS = ("taxonomy", "convert", "head", "hidden", "kind", "encoder", "features", "image_size")


@dataclass(frozen=True)
class UniversalModel:
    """One model for all domains.

    Attributes:
      taxonomy: its universal classes. net: its encoder. params: ``{"encoder", "head", "mean", "scale"}``.
      head, hidden: of `make_head`. convert: of `domain_probs`. fine_set: the domain whose classes come first.
    """

    taxonomy: Taxonomy
    net: Encoder
    params: Any
    head: str
    hidden: int
    convert: str
    fine_set: str

    @property
    def label_sets(self) -> dict[str, tuple[str, ...]]:
        """Classes of each domain, the chosen domain's first."""
        sets = dict(zip(self.taxonomy.domains, self.taxonomy.class_names, strict=True))
        return {self.fine_set: sets[self.fine_set], **sets}

    def predict(self, inputs: jax.Array, *, beam: int = 1) -> dict[str, jax.Array]:
        """Probabilities ``probs/DOMAIN`` ``[B, C]`` of every domain's own classes; ``beam`` is of graphs."""
        del beam
        features = self.net.apply(self.params["encoder"], inputs)
        scaled = (features - self.params["mean"][None]) / self.params["scale"][None]
        module = make_head(self.head, self.taxonomy.num_classes, self.hidden)
        logits: Any = module.apply(self.params["head"], scaled)
        found = {}
        for a, domain in enumerate(self.taxonomy.domains):
            probs = domain_probs(jax.nn.log_softmax(logits), self.taxonomy, a, convert=self.convert)
            found[f"probs/{domain}"] = probs / jnp.sum(probs, axis=1, keepdims=True)
        return found


def read_taxonomy(path: str) -> Taxonomy:
    """A taxonomy.json, with every fault told in one error."""
    file = Path(path).expanduser()
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"--taxonomy={path} cannot be read: {why}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"--taxonomy={path}, line {error.lineno}: {error.msg}; mend the JSON") from error
    try:
        return taxonomy_from_spec(spec)
    except InputError as error:
        raise InputError(f"--taxonomy={path}: {error}") from error


def save_universal_model(folder: Path, study: Study, outcome: Outcome, config: UniversalConfig) -> None:
    """Write the first seed's head: ``model.json`` and ``params.safetensors``, both or neither."""
    assert outcome.heads is not None
    head = outcome.heads.head(0)
    tree = {"head": head.params, "mean": study.mean, "scale": study.scale}
    arrays = {
        jax.tree_util.keystr(path): np.ascontiguousarray(x, np.float32)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }
    kind = study.sources[0].sources["train"].kind if study.sources else "features"
    document = {
        "format": FORMAT,
        "taxonomy": taxonomy_spec(outcome.taxonomies[0]),
        "convert": config.convert,
        "head": head.kind,
        "hidden": head.hidden,
        "kind": kind,
        "encoder": config.encoder,
        "features": study.features.shape[1],
        "image_size": config.image_size,
    }
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".model."))
    try:
        save_file(arrays, temporary / "params.safetensors")
        (temporary / "model.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def holds_universal_model(workdir: Path) -> bool:
    """Whether a workdir's model is of this kind."""
    try:
        document = json.loads((workdir / "model" / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def load_universal_model(workdir: Path, *, domain: str | None = None) -> UniversalModel:
    """The model of a finished study.

    Args:
      workdir: the study's ``--workdir``. domain: whose classes come first; by default the first domain's.

    Raises:
      InputError: a damaged model, or a domain it does not know.
    """
    folder = workdir / "model"
    try:
        document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "params.safetensors")
        missing = [name for name in FIELDS if name not in document]
        if missing:
            raise InputError(f"lacks {missing[0]!r}")
        taxonomy = taxonomy_from_spec(document["taxonomy"])
        net = _encoder(document)
        module = make_head(document["head"], taxonomy.num_classes, document["hidden"])
        row = jnp.zeros((1, document["features"]))
        shapes = {"head": jax.eval_shape(module.init, jax.random.key(0), row), "mean": row[0], "scale": row[0]}
        params = jax.tree_util.tree_map_with_path(lambda path, shape: _array(arrays, path, shape), shapes)
    except (OSError, ValueError, SafetensorError) as error:  # an InputError is a ValueError
        reason = " ".join(str(error).split())
        raise InputError(f"the model in {str(folder)!r} is damaged ({reason}): run the study again") from error
    chosen = domain or taxonomy.domains[0]
    if chosen not in taxonomy.domains:
        raise InputError(f"--domain={chosen}: the model in {str(workdir)!r} knows {', '.join(taxonomy.domains)}")
    params["encoder"] = net.init(jax.random.key(0))
    return UniversalModel(
        taxonomy, net, params, document["head"], document["hidden"], document["convert"], chosen
    )  # fmt: skip


def _array(arrays: Mapping[str, np.ndarray], path: Any, wanted: Any) -> np.ndarray:
    name = jax.tree_util.keystr(path)
    if name not in arrays:
        raise InputError(f"lacks {name}")
    if arrays[name].shape != wanted.shape:
        raise InputError(f"{name} has shape {arrays[name].shape}, not {wanted.shape}")
    return arrays[name]


def _encoder(document: Mapping[str, Any]) -> Encoder:
    """The frozen encoder that the features came from."""
    if document["kind"] == "features":
        return encoder("identity", dim=document["features"])
    if document["kind"] == "text":
        return text_encoder(document["encoder"])
    if document["encoder"] == "identity":
        return Encoder(
            init=lambda key: {}, apply=lambda _, images: jnp.asarray(images).reshape(len(images), -1) / 255,  # type: ignore[arg-type]
            dim=document["features"], image_size=document["image_size"] or PIXELS, pretrained=False, identity="pixels",
        )  # fmt: skip
    return encoder(document["encoder"], image_size=document["image_size"])
