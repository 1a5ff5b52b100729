"""Drawn abstracts of 24 categories in four archives: a small world of texts where every topic is known.

Texts are bags of invented words. Most words are as frequent in every text; some are those of the text's archive, some
those of its category, one of six in the archive. The fine set names the category, the coarse set the archive:

>>> import jax
>>> fine = drawn_abstracts(jax.random.key(0), per_category=2)
>>> fine["text"].shape, len(fine["text"][0].split()), [LABEL_NAMES[i] for i in fine["label"][:3]]
((48,), 40, ['brelics', 'brelics', 'candology'])

A linear SVM on the words' TF-IDF weights (scikit-learn, `sublinear_tf`) gets .47 of the categories right with 10 rows a
category and .70 with 40; .76 of the archives, and .56 of the categories when it is told the archive (three seeds).
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.data.drawing import check_count, split_key

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "lumetry": ("brelics", "candology", "halometry", "lustrics", "prisology", "velumics"),
    "setronics": ("addology", "fractics", "logonomy", "matrology", "primetry", "summatics"),
    "terronomy": ("basology", "crustics", "dunetry", "mantology", "quarrics", "siltometry"),
    "vitology": ("cellonomy", "florimetry", "genolics", "mosstology", "sporics", "tissonomy"),
}
LABEL_NAMES = tuple(category for members in CATEGORIES.values() for category in members)
ARCHIVE_LABEL_NAMES = tuple(CATEGORIES)
ARCHIVE_OF = np.repeat(np.arange(len(CATEGORIES), dtype=np.int32), [len(members) for members in CATEGORIES.values()])

VOCABULARY = 2000
ARCHIVE_WORDS = 150  # of each archive; no two archives share one
CATEGORY_WORDS = 30  # of the archive's words; categories may share some
LENGTH = 40  # words of a text
CATEGORY_SHARE = 0.10  # of a text's words; all words of the category are as likely
ARCHIVE_SHARE = 0.03
PRIMARY_SHARE = 2 / 3  # of those words in a text of two categories

# Words and topics come from this seed, not from the key: a category means the same whatever the key, as a drawn breed
# does, so that the texts of two keys, a tokenizer's vocabulary and the label graph belong to one world. It is a typical
# one of the seeds 0 to 9, whose means of the four figures above are .48, .70, .77 and .57.
WORLD = 7

_ONSETS, _VOWELS, _MIDDLES = "bdfgklmprstv", "aeiou", ("l", "r", "n", "m", "v", "d", "th")
_ENDINGS = ("a", "el", "or", "in", "um", "ane", "ith", "ost", "ule")


class World(NamedTuple):
    """Words by falling frequency, and which of them [4, 150] and [24, 30] the archives and categories prefer."""

    words: np.ndarray
    archives: np.ndarray
    categories: np.ndarray


@cache
def world(seed: int = WORLD) -> World:
    """The words and topics of a seed.

    Example:
      >>> world().words[:3].tolist(), world().archives.shape, world().categories.shape
      (['kimor', 'tula', 'vavule'], (4, 150), (24, 30))
    """
    forms = [a + v + m + e for a in _ONSETS for v in _VOWELS for m in _MIDDLES for e in _ENDINGS]
    spelling, topical, shared = jax.random.split(jax.random.key(seed), 3)
    words = np.array(forms, object)[_order(spelling, (len(forms),))[:VOCABULARY]]
    archives = _order(topical, (VOCABULARY,))[: len(CATEGORIES) * ARCHIVE_WORDS].reshape(-1, ARCHIVE_WORDS)
    places = _order(shared, (len(LABEL_NAMES), ARCHIVE_WORDS))[:, :CATEGORY_WORDS]
    return World(words, archives, np.take_along_axis(archives[ARCHIVE_OF], places, axis=1))


def drawn_abstracts(key: jax.Array, *, per_category: int = 10, cross: int = 0) -> dict[str, np.ndarray]:
    """Fine texts: the same number of every category, in the order of `LABEL_NAMES`.

    Each word is the category's with probability 0.10 (one of its 30), the archive's with 0.03 (one of its 150), and
    otherwise any: the word of rank r of the 2,000 with a probability proportional to 1/r.

    Args:
      key: typed PRNG key; text i depends on (key, i) and its categories only.
      per_category: texts of each of the 24 categories, at least 1.
      cross: percent of texts, 0 to 100, that have a second category as well, any other; two in three of their topical
        words are of the first one.

    Returns:
      `text` object [N], str of 40 words; int32 [N]: `label` (category, into LABEL_NAMES), `category` (the same),
      `archive` (into ARCHIVE_LABEL_NAMES). With `cross` also `second` int32 [N], the second category or -1, and
      `labels` object [N], tuples of one or two labels, the first of them `label`.

    Raises:
      InputError: `per_category` or `cross` out of range.

    Example:
      >>> rows = drawn_abstracts(jax.random.key(1), per_category=1, cross=50)
      >>> rows["labels"][:3].tolist()
      [(0,), (1,), (2, 0)]
    """
    per_category = check_count("per_category", per_category)
    category = np.repeat(np.arange(len(LABEL_NAMES), dtype=np.int32), per_category)
    drawn = _draw_rows(key, category, cross)
    labels = {"labels": _tuples(category, drawn["second"])} if cross else {}
    return {"label": category, **labels, **drawn}


def drawn_archives(key: jax.Array, *, rows: int = 1000, cross: int = 0) -> dict[str, np.ndarray]:
    """Coarse texts: of a category drawn uniformly, labelled by its archive.

    Args:
      key: typed PRNG key.
      rows: number of texts N, at least 1.
      cross: as in `drawn_abstracts`; the second category may be of the same archive.

    Returns:
      As `drawn_abstracts`, with `label` and `labels` into ARCHIVE_LABEL_NAMES; `category` keeps the truth.

    Raises:
      InputError: `rows` or `cross` out of range.

    Example:
      >>> rows = drawn_archives(jax.random.key(0), rows=3)
      >>> [(ARCHIVE_LABEL_NAMES[i], LABEL_NAMES[k]) for i, k in zip(rows["label"], rows["category"])]
      [('setronics', 'fractics'), ('terronomy', 'siltometry'), ('setronics', 'fractics')]
    """
    rows = check_count("rows", rows)
    which, texts = jax.random.split(key)
    category = np.asarray(jax.random.randint(which, (rows,), 0, len(LABEL_NAMES), dtype=jnp.int32))
    drawn = _draw_rows(texts, category, cross)
    archive = drawn["archive"]
    labels = {}
    if cross:
        second = drawn["second"]
        labels["labels"] = _tuples(archive, np.where(second < 0, -1, ARCHIVE_OF[second]))
    return {"label": archive, **labels, **drawn}


def rows(
    split: str,
    *,
    seed: int = 0,
    per_category: int = 10,
    val_per_category: int = 10,
    test_per_category: int = 50,
    cross: int = 0,
) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_abstracts`: split "train", "val" or "test" of one seed, from disjoint keys.

    Example:
      >>> len(rows("val", val_per_category=2)["label"])
      48
    """
    key = split_key(split, seed)
    number = {"train": per_category, "val": val_per_category, "test": test_per_category}[split]
    return drawn_abstracts(key, per_category=number, cross=cross)


def archive_rows(split: str, *, seed: int = 0, rows: int = 1000, cross: int = 0) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_archives`: `rows` for training, a fifth of them (at least 1) for "val" and "test".

    Example:
      >>> len(archive_rows("test", rows=10)["label"])
      2
    """
    key = split_key(split, seed, stream=1)
    number = check_count("rows", rows)
    return drawn_archives(key, rows=number if split == "train" else max(1, number // 5), cross=cross)


def _draw_rows(key: jax.Array, category: np.ndarray, cross: int) -> dict[str, np.ndarray]:
    cross = check_count("cross", cross, least=0, most=100)
    pairs, texts = jax.random.split(key)
    chance = np.asarray(jax.random.uniform(pairs, (len(category), 2)))
    other = (category + 1 + (chance[:, 1] * (len(LABEL_NAMES) - 1)).astype(np.int32)) % len(LABEL_NAMES)
    second = np.where(100 * chance[:, 0] < cross, other, -1).astype(np.int32)
    truth = {"category": category, "archive": ARCHIVE_OF[category]}
    text = _draw_texts(np.asarray(jax.random.uniform(texts, (len(category), 3, LENGTH))), category, second)
    return {"text": text, **truth, **({"second": second} if cross else {})}


def _draw_texts(chance: np.ndarray, category: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Texts from uniform numbers [N, 3, LENGTH]: which kind of word, which one, and of which category."""
    words, archives, categories = world()
    kind, place, side = np.moveaxis(chance, 1, 0)
    crossed = (second[:, None] >= 0) & (side >= PRIMARY_SHARE)
    topic = np.where(crossed, second[:, None], category[:, None])
    of_category = categories[topic, (place * CATEGORY_WORDS).astype(int)]
    of_archive = archives[ARCHIVE_OF[topic], (place * ARCHIVE_WORDS).astype(int)]
    below = np.cumsum(1.0 / np.arange(1, VOCABULARY + 1))
    of_any = np.searchsorted(below / below[-1], place, side="right")
    topical = np.where(kind < CATEGORY_SHARE, of_category, of_archive)
    chosen = np.where(kind < CATEGORY_SHARE + ARCHIVE_SHARE, topical, of_any)
    return np.array([" ".join(row) for row in words[chosen]], object)


def _tuples(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One label where there is no second or it is the same."""
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return np.fromiter(((one,) if other in (-1, one) else (one, other) for one, other in pairs), object, len(first))


def _order(key: jax.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Random permutations along the last axis."""
    return np.argsort(np.asarray(jax.random.uniform(key, shape)), axis=-1, kind="stable")
