"""One dataset of pictures cut into two domains of overlapping groups of its classes, seen in different ways."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

import jlabel.data
from experiments.taxonomy_config import TaxonomyConfig
from experiments.taxonomy_data import Domain, encode_source, limit_rows
from experiments.taxonomy_study import World
from jlabel.data import DataError, Source, from_arrays
from jlabel.taxonomy import Relations, overlap_relations

__all__ = ["cut_worlds", "draw_groups", "shift_pictures"]

NAMES = ("grey", "rotated")
PER_CLASS = 40  # training rows of a class in each domain, half as many validation rows
DRAWN = 0.8  # share of the classes that a domain has
SIDE = 64  # pictures are shifted at this size at most
NOISE, ANGLE, BLUR = 4.0, 10.0, 0.01  # grey levels; degrees; share of the side


def cut_worlds(config: TaxonomyConfig, seeds: Sequence[int], *, shift: float) -> list[World]:
    """Two domains for each seed; no picture is in both, and the features are computed once for all seeds."""
    per_class = config.per_class or PER_CLASS
    opened = jlabel.data.open(config.cut, "train")
    if opened.kind != "image":
        raise DataError(f"--cut={config.cut} holds {opened.kind}; give pictures")
    if len(opened.label_names) < 4 or (opened.labels < 0).any():
        raise DataError(f"--cut={config.cut}: give labelled pictures of four classes or more")
    source = limit_rows(opened, 2 * (per_class + per_class // 2), seed=0)
    encode = encode_source(config.encoder, "image", image_size=config.image_size)
    seen = [source, source] if not shift else _shifted_sources(source, shift)
    features = [encode(one) for one in seen]
    return [_world(seen, features, per_class, config.class_size, seed) for seed in seeds]


def _shifted_sources(source: Source, shift: float) -> list[Source]:
    side = min(SIDE, *source.content(0).shape[:2])
    pictures = jlabel.data.load_arrays(source, image_size=side)["image"]
    return [
        from_arrays({"image": shift_pictures(pictures, name, shift), "label": source.labels},
                    label_names=source.label_names)
        for name in NAMES
    ]  # fmt: skip


def shift_pictures(pictures: np.ndarray, name: str, shift: float) -> np.ndarray:
    """Pictures uint8 ``(N, S, S, 3)`` as a domain sees them: ``"grey"`` and noisy, or ``"rotated"`` and blurred.

    >>> shift_pictures(np.full((1, 4, 4, 3), 90, np.uint8), "rotated", 1.0)[0, 0, 0].tolist()
    [90, 90, 90]
    """
    generator = np.random.default_rng(0)
    found = np.empty_like(pictures)
    for row, picture in enumerate(pictures.astype(np.float32)):
        if name == "grey":
            grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
            seen = picture + min(1.0, shift) * (grey[..., None] - picture)
            seen = seen + generator.normal(0, NOISE * shift, seen.shape)
        else:
            angle = generator.uniform(-ANGLE, ANGLE) * shift
            seen = ndimage.rotate(picture, angle, reshape=False, order=1, mode="mirror")
            sigma = BLUR * shift * len(picture)
            seen = ndimage.gaussian_filter(seen, (sigma, sigma, 0))
        found[row] = np.clip(np.rint(seen), 0, 255)
    return found


def draw_groups(generator: np.random.Generator, num_classes: int, mean: float) -> list[list[int]]:
    """Some of the classes, in groups of ``max(1, round N(mean, 1))``; two groups or more."""
    while True:
        left = generator.permutation(num_classes)[: max(2, round(DRAWN * num_classes))].tolist()
        groups = []
        while left:
            size = max(1, round(generator.normal(mean, 1)))
            groups.append(sorted(left[:size]))
            left = left[size:]
        if len(groups) > 1:
            return groups


def _world(
    seen: Sequence[Source], features: Sequence[np.ndarray], per_class: int, class_size: float, seed: int
) -> World:
    generator = np.random.default_rng(seed)
    given, concepts = seen[0].labels, seen[0].label_names
    order = generator.permutation(len(given))
    rank = np.empty(len(given), int)  # place of a row among those of its concept
    for concept in range(len(concepts)):
        of = order[given[order] == concept]
        rank[of] = np.arange(len(of))
    domains, sets = [], []
    for d, name in enumerate(NAMES):
        groups = draw_groups(generator, len(concepts), class_size)
        group_of = np.full(len(concepts), -1, np.int32)
        for g, members in enumerate(groups):
            group_of[members] = g
        labels, own = group_of[given], rank % 2 == d
        parts = {"train": rank // 2 < per_class, "val": rank // 2 >= per_class}
        rows = {part: np.flatnonzero(own & of_part & (labels >= 0)) for part, of_part in parts.items()}
        class_names = tuple("+".join(concepts[c] for c in members) for members in groups)
        domains.append(
            Domain(
                name, class_names, {part: features[d][places] for part, places in rows.items()},
                {part: labels[places] for part, places in rows.items()},
                {part: jlabel.data.subset(seen[d], places) for part, places in rows.items()},
            )
        )  # fmt: skip
        sets.append(groups)
    truth = overlap_relations(sets)
    return World(tuple(domains), Relations(NAMES, tuple(domain.class_names for domain in domains), truth))
