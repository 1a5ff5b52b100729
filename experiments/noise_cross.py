"""Out-of-sample probabilities of the user's rows, from frozen features or any scikit-learn classifier."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from sklearn.base import clone, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from tqdm import tqdm

import jlabel.data
from experiments.noise_config import NoiseConfig
from jlabel import InputError
from jlabel.confident_learning import linear_probe, out_of_sample_probs, stratified_folds
from jlabel.data import Source
from jlabel.networks import encoder, text_encoder

__all__ = ["classifier", "cross_validate"]

_CLASSIFIERS: Mapping[str, Callable[[], Any]] = {
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "forest": lambda: RandomForestClassifier(300, min_samples_leaf=2, random_state=0),
    "logistic": lambda: LogisticRegression(max_iter=2000),
    "neighbors": lambda: KNeighborsClassifier(15, weights="distance"),
}
PIXELS = 32  # side of pictures whose pixels are the features
WORDS = 20_000  # words and pairs of words of texts without an encoder
# With weak decay a head on more features than rows learns wrong labels by heart: on 1,280 features of 1,224 flowers,
# 10 % of them mislabelled, the average precision of the margin is .71 with 0.01 and .81 with this; digits .93 and .97.
WEIGHT_DECAY = 3.0
LARGEST_GROUP = 1 << 24  # float32 holds whole numbers apart up to here


def cross_validate(source: Source, config: NoiseConfig) -> np.ndarray:
    """Probabilities ``[N, C]`` of every row, from models that did not train on it; the columns are the label names.

    A column of groups is none of the features.
    """
    labels, names = source.labels, source.label_names
    counts = np.bincount(labels, minlength=len(names))
    for name, count in zip(names, counts.tolist(), strict=True):
        if 0 < count < config.folds:
            raise InputError(
                f"{source.spec}: the label {name!r} has {count} row{'s' * (count > 1)}, fewer than the {config.folds} "
                "folds; take fewer with --folds, or leave the label out (data option drop=LABEL)"
            )
    # What can be wrong with the flags is said before hours of reading pictures.
    model = classifier(config.classifier) if config.classifier not in ("", "probe") else None
    column = config.groups not in ("", *source.feature_names)
    groups = source.column(config.groups).astype(str) if column else None
    features = _features(source, config)
    if config.groups and not column:
        groups, features = _without(features, source.feature_names.index(config.groups), config)
    if model is None:
        found = _with_probe(features, labels, groups, config, num_classes=len(names))
    else:
        found = _with_classifier(model, features, labels, groups, config)
    probs = np.zeros((len(labels), len(names)))
    probs[:, np.flatnonzero(counts > 0) if found.shape[1] != len(names) else slice(None)] = found
    return probs


def classifier(name: str) -> Any:
    """A scikit-learn classifier by its short name or its dotted one.

    >>> type(classifier("sklearn.naive_bayes.GaussianNB")).__name__
    'GaussianNB'
    """
    if name in _CLASSIFIERS:
        return _CLASSIFIERS[name]()
    module, dot, cls = name.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), cls)() if dot else None
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"--classifier={name}: {' '.join(str(error).split())}") from error
    if made is None or not is_classifier(made) or not hasattr(made, "predict_proba"):
        known = ", ".join(["probe", *_CLASSIFIERS])
        raise InputError(
            f"--classifier={name}: no classifier with predict_proba; give one of {known}, or a dotted name"
        )
    return made


def _without(features: np.ndarray, place: int, config: NoiseConfig) -> tuple[np.ndarray, np.ndarray]:
    """A column of groups ``[N]`` that was taken for a feature, and the others ``[N, D - 1]``."""
    groups = features[:, place]
    if np.abs(groups).max() > LARGEST_GROUP or features.shape[1] < 2:
        raise InputError(
            f"--groups={config.groups}: {config.data} takes this column for a feature, and as such its numbers are not "
            f"kept apart beyond {LARGEST_GROUP}; name the features there, ?features=COLUMN,COLUMN"
        )
    return groups, np.delete(features, place, axis=1)


def _features(source: Source, config: NoiseConfig) -> np.ndarray:
    """What the classifier sees ``[N, ...]``: the encoder's features, the rows' own, pixels, or texts as they are."""
    name = config.encoder
    if source.kind == "features":
        if name not in ("", "identity"):
            raise InputError(f"--encoder={name}: {source.spec} holds features already; leave it out")
        return jlabel.data.load_arrays(source)["features"]
    if not name and source.kind == "text" and config.classifier not in ("", "probe"):
        return jlabel.data.load_arrays(source)["text"]
    if not name:
        some = "minilm or bert:DIR" if source.kind == "text" else "efficientnet_lite0, or identity for tiny pictures"
        raise InputError(f"{source.spec} holds {source.kind}s: give --probs=..., or --encoder={some}")
    if source.kind == "text":
        if name == "identity" or name == "lstm":
            raise InputError(f"--encoder={name} gives no features of texts without training; give minilm or bert:DIR")
        net = text_encoder(name)
        params = net.init(jax.random.key(0))
        apply = jax.jit(lambda ids: net.apply(params, ids))
        assert net.tokenizer is not None
        tokenizer = net.tokenizer
        return jlabel.data.encode_texts(
            source, apply, tokenizer.encode, identity=net.identity, max_length=tokenizer.max_length
        )
    if name == "identity":
        size = config.image_size or min(PIXELS, *source.content(0).shape[:2])
        return jlabel.data.load_arrays(source, image_size=size)["image"].reshape(len(source), -1) / np.float32(255)
    net = encoder(name, image_size=config.image_size)
    if not net.pretrained:
        raise InputError(f"--encoder={name} has no trained weights; give efficientnet_lite0, 1 or 2, or --probs")
    params = net.init(jax.random.key(0))
    apply = jax.jit(lambda images: net.apply(params, images))
    return jlabel.data.encode_features(source, apply, identity=net.identity, image_size=net.image_size)


def _with_probe(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, config: NoiseConfig, *, num_classes: int
) -> np.ndarray:
    rows = _scaled(features)
    init_fn, apply_fn = linear_probe(rows.shape[1], num_classes)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    return out_of_sample_probs(
        rows, labels, init_fn=init_fn, apply_fn=apply_fn, num_classes=num_classes, folds=config.folds,
        steps=config.steps, batch_size=config.batch_size, groups=groups,
        optimizer=optax.adamw(rate, weight_decay=WEIGHT_DECAY), key=jax.random.key(config.seeds[0]),
    )  # fmt: skip


def _scaled(features: np.ndarray) -> np.ndarray:
    """Every feature with mean 0 and standard deviation 1; one that hardly varies stays small."""
    scale = features.std(0)
    return (features - features.mean(0)) / np.where(scale > 1e-6, scale, 1)


def _with_classifier(
    model: Any, features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, config: NoiseConfig
) -> np.ndarray:
    """Probabilities ``[N, classes with rows]`` of copies of a classifier, one for each fold."""
    if features.dtype == object:
        model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=WORDS), model)
    elif config.classifier in _CLASSIFIERS:
        features = _scaled(features)
    folds = stratified_folds(labels, folds=config.folds, groups=groups, key=jax.random.key(config.seeds[0]))
    probs = np.zeros((len(labels), len(np.unique(labels))))
    for fold in tqdm(range(config.folds), desc="folds", disable=None, leave=False):
        held = folds == fold
        try:
            with np.errstate(invalid="ignore"):  # BLAS may say so of idle lanes; probabilities are checked later
                probs[held] = clone(model).fit(features[~held], labels[~held]).predict_proba(features[held])
        except (ValueError, TypeError) as error:
            raise InputError(f"--classifier={config.classifier}: {' '.join(str(error).split())}") from error
    return probs
