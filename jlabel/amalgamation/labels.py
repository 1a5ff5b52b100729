"""Label sets: their union, and sets that share a given fraction of the labels."""

from collections.abc import Sequence

import jax
import numpy as np

from jlabel.amalgamation.checks import AmalgamationError, check_count, check_label_names, check_unit

__all__ = ["label_union", "share_labels"]


def label_union(label_sets: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All labels of all sets, each once, in the order in which they first appear.

    Args:
      label_sets: for each teacher its label names, none twice.

    Returns:
      The names of the student's labels.

    Raises:
      AmalgamationError: no set, an empty one, or a name twice in one set.

    Example:
      >>> label_union([("tree", "car"), ("car", "street")])
      ('tree', 'car', 'street')
    """
    if isinstance(label_sets, str) or not len(label_sets):
        raise AmalgamationError(f"label_sets is {label_sets!r}: give a list of names for each teacher")
    sets = [check_label_names(f"label_sets[{t}]", names) for t, names in enumerate(label_sets)]
    return tuple(dict.fromkeys(name for names in sets for name in names))


def share_labels(
    label_names: Sequence[str], *, num_teachers: int = 2, shared: float, key: jax.Array
) -> tuple[tuple[str, ...], ...]:
    """Label sets of teachers, at random, of which a given fraction of the labels is shared.

    ``round(shared L)`` of the L labels (half to even) are known to two teachers each, neighbours in a ring that is
    filled all the way round before a teacher gets another; every other label goes to the teacher with the fewest. So
    all sets have the same size, or differ by one.

    Args:
      label_names: the L labels. num_teachers: 1 or more; one teacher knows all labels. shared: in [0, 1], the fraction
        of the labels that two teachers know. key: typed; decides which labels.

    Returns:
      For each teacher its labels, in the order of ``label_names``.

    Raises:
      AmalgamationError: names that are empty or repeated, or too few labels for every teacher to get one.

    Example:
      >>> sets = share_labels(list("abcdef"), num_teachers=2, shared=0.5, key=jax.random.key(0))
      >>> [len(names) for names in sets], len(set(sets[0]) & set(sets[1])), len(label_union(sets))
      ([5, 4], 3, 6)
    """
    names = check_label_names("label_names", label_names)
    teachers, fraction = check_count("num_teachers", num_teachers), check_unit("shared", shared)
    if teachers == 1 and fraction:
        raise AmalgamationError(f"shared is {shared} with one teacher: there is nobody to share with; give 0")
    number = round(fraction * len(names))
    if len(names) + number < teachers:
        raise AmalgamationError(f"{len(names)} labels, {number} of them shared, leave teachers without any: {teachers}")
    drawn = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(len(names))
    sets: list[list[int]] = [[] for _ in range(teachers)]
    for k, label in enumerate(drawn[:number]):
        # An even ring closes on the same pairs, so every further lap starts one teacher later.
        first = 2 * k + (2 * k // teachers) * (teachers % 2 == 0)
        for teacher in (first, first + 1):
            sets[teacher % teachers].append(int(label))
    for label in drawn[number:]:
        min(sets, key=len).append(int(label))
    return tuple(tuple(names[label] for label in sorted(labels)) for labels in sets)
