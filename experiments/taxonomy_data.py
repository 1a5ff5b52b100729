"""Domains of a taxonomy: datasets with class lists of their own, as rows of features in one space."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import jlabel.data
from jlabel.data import DataError, Source, SplitError
from jlabel.networks import ENCODERS, encoder, text_encoder

__all__ = ["PARTS", "Domain", "encode_source", "limit_rows", "load_domains", "parse_specs", "training_rows"]

PARTS = ("train", "val", "test")
HELD = 0.2  # share of the training rows that becomes a part the data lacks
MOST_TEST = 100  # test rows of a class where per_class limits the training rows
PIXELS = 32  # side of pictures whose pixels are the features
_KIND = re.compile(r"(?:(?P<name>[^=:,?]+)=)?(?P<spec>(?:csv|embedded|folder|npz|parquet|tfds):.+)", re.DOTALL)


@dataclass(frozen=True)
class Domain:
    """One dataset.

    Attributes:
      name: how it is called. class_names: its C classes.
      features: train, val and test to float32 ``[N, D]``. labels: the same to int32 ``[N]``.
      sources: the same to the rows themselves, in the same order: ``sources["val"].content(7)`` is a picture.
      cut: whether the validation rows were cut from the training rows.
    """

    name: str
    class_names: tuple[str, ...]
    features: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    sources: Mapping[str, Source]
    cut: bool = False


def parse_specs(specs: Sequence[str]) -> dict[str, str]:
    """Name to spec of each domain; ``NAME=SPEC`` names one, else the file or folder does.

    A flag's list is split at commas; what does not begin a spec belongs to the options of the one before.

    >>> parse_specs(["folder:data/pets", "zoo=csv:a.csv?features=x", "y"])
    {'pets': 'folder:data/pets', 'zoo': 'csv:a.csv?features=x,y'}
    """
    found: list[tuple[str, str]] = []
    for text in (text.strip() for text in specs):
        match = _KIND.fullmatch(text)
        if match:
            found.append((match["name"] or "", match["spec"]))
        elif found and "?" in found[-1][1]:
            found[-1] = (found[-1][0], f"{found[-1][1]},{text}")
        else:
            raise DataError(f"--domains: {text!r} is not folder:DIR, parquet:GLOB, npz:FILE, csv:FILE or NAME=SPEC")
    named: dict[str, str] = {}
    for given, spec in found:
        name = given.strip() or Path(spec.partition(":")[2].partition("?")[0]).stem
        if name in named:
            raise DataError(f"--domains: two domains are called {name!r}; name them, NAME={spec}")
        named[name] = spec
    if len(named) < 2:
        raise DataError(f"--domains={','.join(specs)}: give two domains or more, separated by commas")
    return named


def load_domains(
    specs: Sequence[str], *, encoder: str, per_class: int | None = None, seed: int = 0, image_size: int | None = None
) -> tuple[Domain, ...]:
    """Open datasets and turn their rows into features of one frozen encoder, cached on disk.

    Data without validation rows gives a fifth of its training rows for them, and data without test rows gives its
    validation rows, or another fifth.

    Args:
      specs: as `parse_specs` takes them. encoder: a pretrained one, or identity for pixels as they are; "" takes
        efficientnet_lite0 for pictures and minilm for texts. Rows that are features already need none.
      per_class: training rows kept of each class, and half as many validation and at most 100 test rows; None keeps
        all. seed: of what is drawn. image_size: side of the pictures, by default the encoder's own.

    Returns:
      The domains in the order given.

    Raises:
      DataError: fewer than two domains, one that cannot be read, has a single class or unlabelled rows, or kinds of
        rows or numbers of features that differ.
    """
    if per_class is not None and per_class < 2:
        raise DataError(f"--per_class={per_class}: give at least 2 rows of each class")
    opened = {name: _open_parts(name, spec, per_class, seed) for name, spec in parse_specs(specs).items()}
    kinds = {name: parts["train"].kind for name, (parts, _) in opened.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} {kind}s".replace("featuress", "features") for name, kind in kinds.items())
        raise DataError(f"--domains: one encoder serves all, but their rows differ in kind: {told}")
    encode = encode_source(encoder, next(iter(kinds.values())), image_size=image_size)
    domains = []
    for name, (parts, cut) in opened.items():
        features = {part: encode(source) for part, source in parts.items()}
        labels = {part: source.labels for part, source in parts.items()}
        domains.append(Domain(name, parts["train"].label_names, features, labels, parts, cut))
    first = domains[0]
    for domain in domains[1:]:
        given, wanted = (d.features["train"].shape[1] for d in (domain, first))
        if given != wanted:
            raise DataError(f"{domain.name} has {given} features, {first.name} {wanted}: all must have the same")
    return tuple(domains)


def _open_parts(name: str, spec: str, per_class: int | None, seed: int) -> tuple[dict[str, Source], bool]:
    """Train, val and test rows of one dataset, and whether val was cut from train."""
    train = jlabel.data.open(spec, "train")
    if len(train.label_names) < 2:
        there = ", ".join(train.label_names) or "none"
        raise DataError(
            f"domain {name!r} ({spec}) has fewer than two classes ({there}); its model would always be sure"
        )

    def optional(split: str) -> Source | None:
        try:
            return jlabel.data.open(spec, split)
        except SplitError:
            return None

    val, test = optional("val"), optional("test")
    if test is None:
        val, test = None, val
    if test is None:
        train, test = jlabel.data.split_rows(train, fraction=HELD, seed=0)
    if cut := val is None:
        train, val = jlabel.data.split_rows(train, fraction=HELD, seed=seed)
    parts = dict(zip(PARTS, (train, val, test), strict=True))
    for part, source in parts.items():
        if (source.labels < 0).any():
            row = str(source.column("name")[np.argmax(source.labels < 0)])
            raise DataError(f"{spec}: row {row!r} ({part}) has no label; remove it or label it")
    if per_class is not None:
        most = {"train": per_class, "val": max(1, per_class // 2), "test": max(MOST_TEST, per_class)}
        parts = {part: limit_rows(source, most[part], seed=seed) for part, source in parts.items()}
    return parts, cut


def limit_rows(source: Source, most: int, *, seed: int) -> Source:
    """At most so many rows of each class, drawn by the seed, in the order of the source."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(source))
    kept = [order[source.labels[order] == label][:most] for label in np.unique(source.labels)]
    return jlabel.data.subset(source, np.sort(np.concatenate(kept)))


def encode_source(name: str, kind: str, *, image_size: int | None = None) -> Callable[[Source], np.ndarray]:
    """From a source of this kind to float32 features ``[N, D]``, by a frozen encoder, cached; "" is the usual one."""
    name = name or {"image": "efficientnet_lite0", "text": "minilm"}.get(kind, "identity")
    if kind == "features":
        return lambda source: jlabel.data.load_arrays(source)["features"]
    if kind == "text":
        if name in ENCODERS or name == "lstm":
            raise DataError(f"--encoder={name} gives no features of texts without training; give minilm or bert:DIR")
        net = text_encoder(name)
        params, tokenizer = net.init(jax.random.key(0)), net.tokenizer
        assert tokenizer is not None
        apply = jax.jit(lambda ids: net.apply(params, ids))
        return lambda source: jlabel.data.encode_texts(
            source, apply, tokenizer.encode, identity=net.identity, max_length=tokenizer.max_length
        )
    if name == "identity":
        size = image_size or PIXELS
        return lambda source: (
            jlabel.data.load_arrays(source, image_size=size)["image"].reshape(len(source), -1) / np.float32(255)
        )
    pictures = encoder(name, image_size=image_size)
    if not pictures.pretrained:
        raise DataError(f"--encoder={name} has no trained weights; give efficientnet_lite0, 1 or 2")
    weights = pictures.init(jax.random.key(0))
    encode = jax.jit(lambda images: pictures.apply(weights, images))
    return lambda source: jlabel.data.encode_features(
        source, encode, identity=pictures.identity, image_size=pictures.image_size
    )


def training_rows(domain: Domain, seed: int) -> np.ndarray:
    """Which of the training and validation rows, in this order, train the model of a seed: bool ``[N]``.

    Where the validation rows were cut from the training rows, as many of each class are drawn anew for each seed; runs
    of a study then differ in more than their first weights.
    """
    labels = np.concatenate([domain.labels["train"], domain.labels["val"]])
    if not domain.cut:
        return np.arange(len(labels)) < len(domain.labels["train"])
    generator = np.random.default_rng(seed)
    trains = np.ones(len(labels), bool)
    for label, count in enumerate(np.bincount(domain.labels["val"], minlength=len(domain.class_names))):
        trains[generator.permutation(np.flatnonzero(labels == label))[:count]] = False
    return trains
