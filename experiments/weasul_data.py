"""Votes, labels and features of the weak supervision studies."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

import jlabel.data
from jlabel import InputError
from jlabel.data import load_arrays, two_gaussians
from jlabel.weak_supervision import apply_rules, check_votes

__all__ = ["EMBEDDED", "SPLITS", "VotePart", "VoteStudy", "load_study", "parse_cliques"]

EMBEDDED = "embedded:two_gaussians"
SPLITS = ("train", "val", "test")
MAX_WORDS = 2000


@dataclass(frozen=True)
class VotePart:
    """Rows of one split: votes int8 (N, M), labels int (N,), features float32 (N, D)."""

    votes: np.ndarray
    labels: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class VoteStudy:
    """The splits of a dataset, its names, and which rules depend on each other."""

    name: str
    parts: Mapping[str, VotePart]
    label_names: tuple[str, ...]
    rule_names: tuple[str, ...]
    cliques: tuple[tuple[int, ...], ...] = ()

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.label_names)


def load_study(spec: str, *, seed: int = 0) -> VoteStudy:
    """The rows of `embedded:two_gaussians`, drawn with a seed, or of an archive `npz:FILE`.

    An archive holds `L` votes (N, M) with -1 for abstain, `y` classes, `split` 0 train, 1 val, 2 test, and `text` or
    `X` (features); `label_names` if it has them.
    """
    if spec == EMBEDDED:
        return _gaussians(seed)
    kind, _, place = spec.partition(":")
    if kind != "npz" or not place:
        raise InputError(f"data {spec!r}: give {EMBEDDED} or npz:FILE with votes L, classes y, split, and text or X")
    return _archive(spec, Path(place).expanduser())


def parse_cliques(texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Rules that depend on each other, from texts such as "1-2".

    >>> parse_cliques(["1-2", "3-4-5"])
    ((1, 2), (3, 4, 5))
    """
    try:
        return tuple(tuple(int(rule) for rule in text.split("-")) for text in texts)
    except ValueError as error:
        raise InputError(f"--cliques={','.join(texts)}: write rules by number, as in 1-2,3-4-5") from error


def _gaussians(seed: int) -> VoteStudy:
    parts = {}
    for split in SPLITS:
        arrays = load_arrays(jlabel.data.open(f"{EMBEDDED}?seed={seed}", split))
        x1, x2 = arrays["features"].T
        votes = apply_rules(two_gaussians.RULES, {"x1": x1, "x2": x2}, num_classes=2)
        parts[split] = VotePart(votes, arrays["label"].astype(np.int64), arrays["features"])
    names = tuple(rule.name for rule in two_gaussians.RULES)
    return VoteStudy("two Gaussians", parts, two_gaussians.LABEL_NAMES, names, two_gaussians.CLIQUES)


def _archive(spec: str, path: Path) -> VoteStudy:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise InputError(f"{spec}: a single array, not an archive; write it with numpy.savez")
            arrays = {name: found[name] for name in found.files if not name.startswith("aw_")}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{spec}: no readable NumPy archive: {error}") from error
    missing = [name for name in ("L", "y", "split") if name not in arrays]
    content = next((name for name in ("X", "text") if name in arrays), None)
    if missing or content is None:
        raise InputError(f"{spec}: no array {(missing or ['text or X'])[0]!r}; there are {', '.join(arrays)}")
    labels, splits = arrays["y"], arrays["split"]
    for name in ("y", "split", content):
        if len(arrays[name]) != len(arrays["L"]):
            raise InputError(f"{spec}: {name} has {len(arrays[name])} rows, L {len(arrays['L'])}")
    if labels.dtype.kind not in "iu" or labels.min(initial=0) < 0 or not np.isin(splits, (0, 1, 2)).all():
        raise InputError(f"{spec}: y must hold classes from 0 on, split 0 for train, 1 for val, 2 for test")
    empty = [split for number, split in enumerate(SPLITS) if not (splits == number).any()]
    if empty:
        raise InputError(f"{spec}: no row of split {empty[0]}")
    classes = max(2, int(labels.max()) + 1)
    names = tuple(str(n) for n in arrays["label_names"]) if "label_names" in arrays else tuple(map(str, range(classes)))
    votes = check_votes(arrays["L"], num_classes=len(names))
    if content == "text":
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=MAX_WORDS, sublinear_tf=True)
        words.fit(arrays["text"][splits == 0])
        features = words.transform(arrays["text"]).toarray().astype(np.float32)
    else:
        features = np.asarray(arrays["X"], np.float32).reshape(len(labels), -1)
    parts = {
        split: VotePart(votes[splits == number], labels[splits == number].astype(np.int64), features[splits == number])
        for number, split in enumerate(SPLITS)
    }
    rules = tuple(f"rule {j}" for j in range(votes.shape[1]))
    return VoteStudy(path.stem, parts, names, rules)
