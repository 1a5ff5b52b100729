"""Votes, labels and features for the study of dependencies: drawn from a known graph, or reviews and a word list."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

import jlabel.data
from jlabel import InputError
from jlabel.weak_supervision import Dependency, FactorGraph, sample_votes

__all__ = ["FALSE", "PLANTED", "VoteData", "drawn_votes", "read_word_rules", "review_votes", "word_votes"]

RULES = 12
TRAIN_ROWS, TEST_ROWS = 20_000, 5_000
PLANTED = (Dependency("similar", 0, 1), Dependency("fixing", 2, 3), Dependency("reinforcing", 4, 5))
PLANTED_WEIGHTS = (2.0, 1.5, 1.5)
# Sensible to look at, and wrong: the first names a pair that is tied, but ties it to the label.
FALSE = (Dependency("bolstering", 0, 1), Dependency("priority", 6, 7), Dependency("negated", 8, 9))
COMPONENTS = 200  # of the TF-IDF features of texts
_POSITIVE = {"positive": 1, "negative": 0}


class VoteData(NamedTuple):
    """Rows of one seed; `truth` and `test_truth` are there where the data were drawn."""

    votes: np.ndarray  # int8 (N, M)
    labels: np.ndarray  # (N,) true classes, for oracles and scores
    features: np.ndarray  # float32 (N, D), standardised
    test_votes: np.ndarray
    test_labels: np.ndarray
    test_features: np.ndarray
    names: tuple[str, ...]  # of the rules
    truth: FactorGraph | None = None


def drawn_graph(seed: int) -> FactorGraph:
    """Twelve rules, coverage .3 to .9, accuracy .55 to .9 (before the planted dependencies act)."""
    draw = np.random.default_rng(seed)
    theta = np.arctanh(2 * draw.uniform(0.55, 0.9, RULES) - 1)
    coverage = draw.uniform(0.3, 0.9, RULES)
    propensity = np.log(coverage / (1 - coverage)) - np.log(2 * np.cosh(theta))
    return FactorGraph(theta, propensity, PLANTED, np.array(PLANTED_WEIGHTS))


def drawn_votes(seed: int, *, rows: int = TRAIN_ROWS, test_rows: int = TEST_ROWS) -> VoteData:
    """Votes from a known graph, and features: traces of what each rule saw, and four that know only the label.

    The traces are the signed votes with noise of standard deviation 1, as the words that a rule looks for are also
    words for the end model; so an end model can learn a rule's mistakes from labels that believe the rule.

    Args:
        seed: Decides graph and rows.
        rows: Training rows.
        test_rows: Test rows.

    Returns:
        `VoteData` with `truth`.

    Example:
        >>> data = drawn_votes(0, rows=50, test_rows=10)
        >>> data.votes.shape, data.features.shape, data.test_labels.shape
        ((50, 12), (50, 16), (10,))
    """
    truth = drawn_graph(seed)
    votes, labels = sample_votes(truth, rows + test_rows, key=jax.random.key(seed))
    draw = np.random.default_rng([seed, 1])
    signed = np.where(votes < 0, 0, 2 * votes - 1)
    traces = signed + draw.normal(size=signed.shape)
    own = 0.3 * (2.0 * labels[:, None] - 1) + draw.normal(size=(len(labels), 4))
    features = np.concatenate([traces, own], axis=1).astype(np.float32)
    names = tuple(f"rule {j}" for j in range(RULES))
    return VoteData(
        votes[:rows], labels[:rows], features[:rows], votes[rows:], labels[rows:], features[rows:], names, truth
    )  # fmt: skip


def read_word_rules(path: Path) -> list[tuple[str, int]]:
    """Words and pairs of words with the class that each votes for.

    Args:
        path: CSV with the columns `term` (one or two words) and `label` (positive or negative).

    Returns:
        (term, class) for each, 1 for positive.

    Raises:
        InputError: The file cannot be read, or a line is wrong.

    Example:
        >>> rules = read_word_rules(Path(__file__).parent / "tables" / "imdb_rules.csv")
        >>> len(rules) >= 100, rules[0]
        (True, ('great', 1))
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(
            f"rules {path}: {error.strerror or error}; name a CSV with the columns term and label"
        ) from error
    rules: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        term, label = (row.get("term") or "").strip(), (row.get("label") or "").strip()
        if not re.fullmatch("[a-z]+( [a-z]+)?", term) or label not in _POSITIVE:
            raise InputError(
                f"rules {path}, line {line}: {term!r}, {label!r}; give one or two words of small letters, and positive "
                "or negative"
            )
        if term in rules:
            raise InputError(f"rules {path}, line {line}: {term!r} is there twice")
        rules[term] = _POSITIVE[label]
    if len(rules) < 2:
        raise InputError(f"rules {path} holds {len(rules)} rules; give two or more")
    return list(rules.items())


def _plain(text: str) -> str:
    """Small letters without markup; isn't becomes is not, so that pairs with not find it."""
    return re.sub(r"<[^>]*>", " ", text.lower()).replace("n't", " not").replace("'", "")


def word_votes(texts: Sequence[str], rules: Sequence[tuple[str, int]]) -> np.ndarray:
    """Votes int8 `(N, M)`: each rule votes for its class where its word or pair of words occurs.

    >>> word_votes(["A great film.", "It isn't great<br />at all"], [("great", 1), ("not great", 0)])
    array([[ 1, -1],
           [ 1,  0]], dtype=int8)
    """
    terms = [term for term, _ in rules]
    counter = CountVectorizer(
        preprocessor=_plain, token_pattern="[a-z]+", ngram_range=(1, 2), binary=True, vocabulary=terms
    )
    classes = np.array([label for _, label in rules], np.int8)
    return np.where(counter.transform(texts).toarray() > 0, classes, np.int8(-1)).astype(np.int8)


def review_votes(spec: str, rules: Path, *, max_rows: int | None = None) -> VoteData:
    """Votes of word rules on texts of two classes, and TF-IDF features reduced to 200 components.

    Vocabulary, weights and components come from the training texts.

    Args:
        spec: Texts as `jlabel.data.open` takes them, whose splits train and test are used; `{train,test}` in it stands
            for two specs, each used whole. Class 1 is positive.
        rules: CSV for `read_word_rules`.
        max_rows: Take at most so many rows of each split, evenly spread.

    Returns:
        `VoteData` without `truth`.

    Raises:
        InputError: No texts, not two classes, or bad rules.
    """
    checked = read_word_rules(rules)
    texts, labels = [], []
    for split in ("train", "test"):
        pair = spec.replace("{train,test}", split)
        source = jlabel.data.open(pair, split if pair == spec else "all")
        if source.kind != "text" or len(source.label_names) != 2:
            raise InputError(f"data {spec!r}: needs texts of two classes, 0 negative and 1 positive")
        count = len(source) if max_rows is None else min(max_rows, len(source))
        places = np.linspace(0, len(source) - 1, count).astype(int)
        texts.append([source.content(i) for i in places.tolist()])
        labels.append(np.asarray(source.labels)[places])
    counter = TfidfVectorizer(
        preprocessor=_plain, token_pattern="[a-z]+", min_df=5, max_features=20_000, sublinear_tf=True
    )
    counted = counter.fit_transform(texts[0])
    size = min(COMPONENTS, min(counted.shape) - 1)
    reduce = TruncatedSVD(size, random_state=0).fit(counted)
    features = [reduce.transform(counter.transform(part)) for part in texts]
    mean, std = features[0].mean(axis=0), features[0].std(axis=0) + 1e-6
    scaled = [((part - mean) / std).astype(np.float32) for part in features]
    votes = [word_votes(part, checked) for part in texts]
    names = tuple(term for term, _ in checked)
    return VoteData(votes[0], labels[0], scaled[0], votes[1], labels[1], scaled[1], names)
