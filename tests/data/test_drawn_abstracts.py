"""The drawn abstracts: known topics, two labels, determinism, and how hard they are."""

from collections import Counter
from collections.abc import Callable

import jax
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import jlabel.data
from jlabel.data.drawn_abstracts import (
    ARCHIVE_LABEL_NAMES,
    ARCHIVE_OF,
    ARCHIVE_SHARE,
    CATEGORY_SHARE,
    LABEL_NAMES,
    LENGTH,
    VOCABULARY,
    archive_rows,
    drawn_abstracts,
    drawn_archives,
    rows,
    world,
)
from jlabel.errors import InputError

HARMONIC = sum(1 / rank for rank in range(1, VOCABULARY + 1))


def test_the_world_has_the_sizes_it_states() -> None:
    words, archives, categories = world()
    assert len(set(words)) == VOCABULARY == 2000
    assert all(word.isalpha() and word.islower() for word in words)
    assert (archives.shape, categories.shape) == ((4, 150), (24, 30))
    assert len(np.unique(archives)) == 600
    for category, own in enumerate(categories):
        assert len(set(own)) == 30
        assert set(own) <= set(archives[category // 6])
    # Drawn freely: two categories of an archive share 30 * 30 / 150 = 6 words on average.
    shared = [len(set(categories[i]) & set(categories[j])) for i in range(24) for j in range(i) if i // 6 == j // 6]
    assert 5 < np.mean(shared) < 7
    assert len(set(LABEL_NAMES) | set(ARCHIVE_LABEL_NAMES)) == 28


def tokens_of(texts: np.ndarray) -> np.ndarray:
    place = {word: rank for rank, word in enumerate(world().words)}
    tokens = np.array([[place[word] for word in text.split()] for text in texts])
    assert tokens.shape == (len(texts), LENGTH)
    return tokens


def word_chances(category: int) -> np.ndarray:
    _, archives, categories = world()
    chances = (1 - CATEGORY_SHARE - ARCHIVE_SHARE) / np.arange(1, VOCABULARY + 1) / HARMONIC
    chances[archives[category // 6]] += ARCHIVE_SHARE / 150
    chances[categories[category]] += CATEGORY_SHARE / 30
    return chances


def assert_share(hits: np.ndarray, mean: float) -> None:
    assert abs(hits.mean() - mean) < 4 * np.sqrt(mean * (1 - mean) / hits.size)


def test_words_are_as_frequent_as_the_docstring_says(key: jax.Array) -> None:
    _, archives, categories = world()
    drawn = drawn_abstracts(key, per_category=200)
    tokens = tokens_of(drawn["text"])
    for category in (0, 23):
        own, chances = tokens[drawn["label"] == category], word_chances(category)
        np.testing.assert_allclose(chances.sum(), 1.0)
        for some in (np.arange(10), np.arange(1000, 2000), archives[category // 6], categories[category]):
            assert_share(np.isin(own, some), chances[some].sum())


def test_every_truth_is_the_categorys_own(key: jax.Array) -> None:
    fine, coarse = drawn_abstracts(key, per_category=3), drawn_archives(key, rows=600)
    assert set(fine) == set(coarse) == {"text", "label", "category", "archive"}
    np.testing.assert_array_equal(fine["label"], np.repeat(np.arange(24), 3))
    np.testing.assert_array_equal(fine["label"], fine["category"])
    np.testing.assert_array_equal(coarse["label"], coarse["archive"])
    for drawn in (fine, coarse):
        np.testing.assert_array_equal(drawn["archive"], ARCHIVE_OF[drawn["category"]])
        assert drawn["text"].dtype == object
        assert len(set(drawn["text"])) == len(drawn["text"])
        assert all(drawn[name].dtype == np.int32 for name in ("label", "category", "archive"))
    assert np.bincount(coarse["category"], minlength=24).min() > 5


def test_crossed_rows_have_two_labels_and_words_of_both(key: jax.Array) -> None:
    _, _, categories = world()
    plain, crossed = (drawn_abstracts(key, per_category=200, cross=cross) for cross in (0, 30))
    second = crossed["second"]
    both = second >= 0
    assert_share(both, 0.3)
    assert (second != crossed["category"]).all()
    assert len(np.unique(second[both])) == 24
    for i, labels in enumerate(crossed["labels"]):
        assert labels == ((i // 200, second[i]) if both[i] else (i // 200,))
    # The others are those of the plain set.
    np.testing.assert_array_equal(crossed["text"][~both], plain["text"][~both])
    tokens, chances = tokens_of(crossed["text"]), [word_chances(category) for category in range(24)]
    hits, means = [], []
    for i in np.flatnonzero(both):
        first, other = crossed["category"][i], second[i]
        mixed = chances[first] * 2 / 3 + chances[other] / 3
        hits.append([np.isin(tokens[i], categories[some]) for some in (first, other)])
        means.append([mixed[categories[some]].sum() for some in (first, other)])
    for some in (0, 1):
        assert_share(np.array(hits)[:, some], np.mean(means, axis=0)[some])


def test_crossed_coarse_rows_name_an_archive_once(key: jax.Array) -> None:
    crossed = drawn_archives(key, rows=300, cross=100)
    for archive, category, second, labels in zip(
        *(crossed[name] for name in ("archive", "category", "second", "labels")), strict=True
    ):
        assert second not in (-1, category)
        assert labels == ((archive,) if ARCHIVE_OF[second] == archive else (archive, ARCHIVE_OF[second]))
    assert Counter(map(len, crossed["labels"]))[1] > 20
    assert drawn_archives(key, rows=1, cross=0)["text"].shape == (1,)
    # Even where every row has one label, they are tuples.
    assert drawn_abstracts(key, per_category=1, cross=1)["labels"].shape == (24,)


def test_a_text_depends_on_the_key_and_its_place_only(key: jax.Array) -> None:
    few, many = (drawn_archives(key, rows=number) for number in (7, 40))
    np.testing.assert_array_equal(few["text"], many["text"][:7])
    np.testing.assert_array_equal(few["category"], many["category"][:7])


def test_the_same_key_draws_the_same_texts_and_splits_share_none() -> None:
    parts = [rows(split, per_category=1, val_per_category=1, test_per_category=1) for split in ("train", "val", "test")]
    parts += [archive_rows("train", rows=5), rows("train", seed=1, per_category=1)]
    texts = [text for part in parts for text in part["text"]]
    assert len(set(texts)) == len(texts) == 24 * 4 + 5
    np.testing.assert_array_equal(rows("train", per_category=1)["text"], parts[0]["text"])
    assert [len(rows(split)["label"]) for split in ("train", "val", "test")] == [240, 240, 1200]
    assert [len(archive_rows(split)["label"]) for split in ("train", "val", "test")] == [1000, 200, 200]


def test_a_linear_svm_is_as_good_as_the_docstring_says() -> None:
    train, test = rows("train"), rows("test")
    words = TfidfVectorizer(sublinear_tf=True).fit(train["text"])
    model = LinearSVC().fit(words.transform(train["text"]), train["label"])
    scores = model.decision_function(words.transform(test["text"]))
    label, archive = test["label"], test["archive"]
    told = np.where(ARCHIVE_OF == archive[:, None], scores, -np.inf).argmax(axis=1)
    # .47, .76 and .56 over three seeds; four standard errors of 1,200 rows are .06.
    assert abs((scores.argmax(axis=1) == label).mean() - 0.47) < 0.06
    assert abs((ARCHIVE_OF[scores.argmax(axis=1)] == archive).mean() - 0.76) < 0.06
    assert abs((told == label).mean() - 0.56) < 0.06


def test_the_generators_open() -> None:
    source = jlabel.data.open("embedded:drawn_abstracts?per_category=1&seed=3", "train")
    assert (source.kind, len(source), source.label_names) == ("text", 24, LABEL_NAMES)
    assert source[5]["text"] == source.content(5) == rows("train", seed=3, per_category=1)["text"][5]
    crossed = jlabel.data.open("embedded:drawn_archives?rows=10&cross=100", "all")
    assert crossed.label_names == ARCHIVE_LABEL_NAMES
    assert [crossed[i]["labels"][0] for i in range(14)] == crossed.labels.tolist()
    assert crossed.column("category").shape == (14,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: drawn_abstracts(key, per_category=0), "per_category=0 must be a whole number of at least 1"),
        (lambda key: drawn_abstracts(key, cross=101), "cross=101 must be a whole number from 0 to 100"),
        (lambda key: drawn_archives(key, rows=2.5), "rows=2.5 must be a whole number of at least 1"),
        (lambda key: drawn_archives(key, cross=-1), "cross=-1 must be a whole number from 0 to 100"),
        (lambda key: archive_rows("all"), "split 'all' is not one of train, val, test"),
    ],
)
def test_bad_arguments_are_named(key: jax.Array, call: Callable[[jax.Array], object], message: str) -> None:
    with pytest.raises(InputError) as error:
        call(key)
    assert str(error.value) == message
