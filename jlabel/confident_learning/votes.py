"""Human votes on suspected label errors: one category per row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError

__all__ = [
    "CORRECTABLE", "GIVEN_THRESHOLD", "MULTI_LABEL", "NEITHER", "NON_AGREEMENT", "NON_ERROR", "VOTE_CATEGORIES",
    "VOTE_CHOICES", "count_votes", "tally_label_votes", "tally_votes",
]  # fmt: skip

VOTE_CHOICES = ("given", "guessed", "both", "neither")
VOTE_CATEGORIES = ("non-error", "non-agreement", "correctable", "multi-label", "neither")
NON_ERROR, NON_AGREEMENT, CORRECTABLE, MULTI_LABEL, NEITHER = range(len(VOTE_CATEGORIES))
GIVEN_THRESHOLD = 3  # the given label stands with three of five, whatever a correction needs


def tally_votes(votes: ArrayLike, *, threshold: int = 3) -> np.ndarray:
    """The category of each row that people voted on.

    In this order, on counts: given >= 3 is a non-error; else guessed >= threshold correctable; both >= threshold
    multi-label; neither >= threshold neither; else non-agreement.

    Args:
      votes: whole numbers ``[N, 4]``, at least 0: how many chose given, guessed, both, neither (``VOTE_CHOICES``).
      threshold: votes that guessed, both and neither need, at least 1; the given label keeps its 3.

    Returns:
      int8 ``[N]``, positions in ``VOTE_CATEGORIES``.

    Raises:
      InputError: not four columns, a count that is no whole number or below 0, a threshold below 1.

    Example:
      >>> [VOTE_CATEGORIES[c] for c in tally_votes([[3, 2, 0, 0], [1, 4, 0, 0], [2, 2, 1, 0]])]
      ['non-error', 'correctable', 'non-agreement']

    Source: Northcutt et al. 2021, "Pervasive label errors in test sets", section 4.
    """
    counts = _check_counts(votes)
    check_threshold(threshold)
    agreed = np.column_stack([counts[:, 0] >= GIVEN_THRESHOLD, counts[:, 1:] >= threshold])
    codes = np.array([NON_ERROR, CORRECTABLE, MULTI_LABEL, NEITHER], np.int8)
    return np.where(agreed.any(1), codes[agreed.argmax(1)], np.int8(NON_AGREEMENT)).astype(np.int8)


def count_votes(
    votes: Sequence[Mapping[str, Any]],
    *,
    given: Sequence[Any] | None = None,
    guessed: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Counts of the four choices from mappings of words to votes.

    An absent count is 0 and words that are no choice (neutral, off-topic) count for nothing. A row whose words are
    class names (``{"positive": 3, "negative": 2}``) is read through its own two labels, whatever their case.

    Args:
      votes: N mappings, word to whole number of votes.
      given: the N given labels, needed for rows that name classes. guessed: the N guessed ones.
      names: what to call a row in an error; by default its number.

    Returns:
      int64 ``[N, 4]``, columns ``VOTE_CHOICES``.

    Raises:
      InputError: a row without counts for given and guessed, by choice or by class; a count that is no whole number
        or below 0; lists of different lengths.

    Example:
      >>> count_votes([{"given": 5}, {"positive": 1, "negative": 4}], given=["", "Positive"], guessed=["", "Negative"])
      array([[5, 0, 0, 0],
             [1, 4, 0, 0]])
    """
    for name, values in (("given", given), ("guessed", guessed), ("names", names)):
        if values is not None and len(values) != len(votes):
            raise InputError(f"{name} holds {len(values)} rows, votes {len(votes)}: give one for each row")
    counts = np.zeros((len(votes), len(VOTE_CHOICES)), np.int64)
    for row, found in enumerate(votes):
        name = names[row] if names is not None else f"row {row}"
        words = {word.casefold(): value for word, value in as_votes(found, name).items()}
        read = list(VOTE_CHOICES)
        if "given" not in words and "guessed" not in words:
            pair = [_word(labels, row) for labels in (given, guessed)]
            if not (set(pair) - {""}) & set(words):
                listed = ", ".join(map(repr, words)) or "nothing"
                raise InputError(
                    f"{name}: votes hold {listed}, but no count of 'given' and 'guessed' or of the row's two labels; "
                    "add these counts, or name the row's labels"
                )
            read[:2] = pair
        counts[row] = [words.get(word, 0) for word in read]
    return counts


def tally_label_votes(
    votes: Sequence[Mapping[str, Any]],
    *,
    given: Sequence[Sequence[str]],
    guessed: Sequence[Sequence[str]],
    threshold: int = 3,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """The category of rows with several labels, where people voted on each label by itself.

    A given label stands with 3 votes, a guessed one is added with ``threshold``. All given ones stand and none is
    added: non-error. Else a guessed one with 3 votes but fewer than the threshold: non-agreement. Else correctable
    where some label stands or is added (those are the row's labels then), neither where none is.

    Args:
      votes: N mappings, label to the votes for it; an absent label has none.
      given: the labels each row has. guessed: the labels proposed for it.
      threshold: votes that a guessed label needs, at least 1.
      names: what to call a row in an error; by default its number.

    Returns:
      int8 ``[N]``, positions in ``VOTE_CATEGORIES``.

    Raises:
      InputError: a row without given labels, or whose votes name none of its labels; counts as in `count_votes`.

    Example:
      >>> found = tally_label_votes([{"Speech": 4, "Music": 3}], given=[["Speech"]], guessed=[["Music"]])
      >>> VOTE_CATEGORIES[found[0]]
      'correctable'
    """
    check_threshold(threshold)
    for name, lists in (("given", given), ("guessed", guessed)):
        if len(lists) != len(votes):
            raise InputError(f"{name} holds {len(lists)} rows, votes {len(votes)}: give one for each row")
    tallied = np.empty(len(votes), np.int8)
    for row, found in enumerate(votes):
        name = names[row] if names is not None else f"row {row}"
        counts = as_votes(found, name)
        if not len(given[row]) or not set(counts) & {*given[row], *guessed[row]}:
            raise InputError(f"{name}: no given label has votes beside it; name the row's labels as its votes do")
        stand = [counts.get(label, 0) >= GIVEN_THRESHOLD for label in given[row]]
        proposed = [counts.get(label, 0) for label in guessed[row]]
        added = any(count >= threshold for count in proposed)
        if all(stand) and not added:
            tallied[row] = NON_ERROR
        elif any(GIVEN_THRESHOLD <= count < threshold for count in proposed):
            tallied[row] = NON_AGREEMENT
        else:
            tallied[row] = CORRECTABLE if any(stand) or added else NEITHER
    return tallied


def _word(labels: Sequence[Any] | None, row: int) -> str:
    """A row's label as a word of its votes; empty where it has none."""
    return "" if labels is None or labels[row] is None else str(labels[row]).casefold()


def as_votes(votes: Any, name: str) -> dict[str, int]:
    """A row's votes as whole numbers; refuses what is none, naming row and word."""
    if not isinstance(votes, Mapping):
        raise InputError(f"{name}: votes must map words to counts, got {type(votes).__name__}")
    counts = {}
    for word, value in votes.items():
        whole = isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())
        if not whole or isinstance(value, bool) or value < 0:
            raise InputError(f"{name}: {value!r} votes for {word!r}; votes are whole numbers, 0 or more")
        counts[str(word)] = int(value)
    return counts


def check_threshold(threshold: int) -> None:
    """Refuses a threshold that no vote could miss."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | np.integer) or threshold < 1:
        raise InputError(f"threshold={threshold!r} must be a whole number of votes, at least 1")


def _check_counts(votes: ArrayLike) -> np.ndarray:
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != len(VOTE_CHOICES):
        raise InputError(f"votes must have shape (N, 4), columns {', '.join(VOTE_CHOICES)}; got {counts.shape}")
    if counts.dtype.kind not in "biuf":
        raise InputError(f"votes must hold whole numbers, got dtype {counts.dtype}")
    bad = ~np.isfinite(counts) | (counts < 0) | (counts != np.floor(counts))
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"votes[{row}, {column}] ({VOTE_CHOICES[column]}) is {counts[row, column]}: votes are whole numbers, "
            "0 or more, and an absent count is 0"
        )
    return counts
