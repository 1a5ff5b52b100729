"""Which of a user's labelled rows do what: learn, choose, or test."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from experiments.tabular_config import TabularConfig
from experiments.tabular_data import TabularData
from jlabel import InputError

__all__ = ["Plan", "apart", "plan_rows"]

FOLDS = 5
MANY = 2000  # labelled rows of which one split tells enough
HELD = 0.2
VALIDATION = 0.15


class Plan(NamedTuple):
    """Which labelled rows do what; all int, rows of the table.

    Attributes:
      labelled: those that are learned from. unlabelled: all others but ``held``. held: kept for the test alone, may be
        none. train: ``(R, n)``, of each comparison. val, test: for each comparison its rows.
    """

    labelled: np.ndarray
    unlabelled: np.ndarray
    held: np.ndarray
    train: np.ndarray
    val: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]


def plan_rows(data: TabularData, config: TabularConfig) -> Plan:
    """Cross-validation of few labelled rows, one split of many; with --labelled a fifth is kept for the test.

    Raises:
      InputError: too few rows, or rows of a class.
    """
    target, seed = data.target, config.seeds[0]
    known = np.flatnonzero(target >= 0)
    labelled, held = known, np.zeros(0, int)
    wanted = config.labelled[0] if config.labelled else len(known)
    if wanted > len(known):
        raise InputError(f"--labelled={wanted}: only {len(known)} rows have a {config.target}; give at most so many")
    _check_classes(data, config, known, FOLDS if wanted < len(known) else 4)
    if wanted < len(known):
        rest, held = train_test_split(known, test_size=HELD, stratify=target[known], random_state=seed)
        if wanted > len(rest):
            raise InputError(
                f"--labelled={wanted}: of {len(known)} rows with a {config.target} a fifth is kept for the test; give "
                f"at most {len(rest)}, or leave --labelled out to use all and cross-validate"
            )
        labelled = _drawn(target, rest, wanted, seed)
        _check_classes(data, config, labelled, 4)
    parts = list(_parts(target, np.sort(labelled), np.sort(held), seed))
    shortest = min(len(train) for train, _, _ in parts)
    unlabelled = np.setdiff1d(np.arange(len(target)), np.concatenate([labelled, held]))
    train = np.stack([train[:shortest] for train, _, _ in parts])
    return Plan(
        np.sort(labelled), unlabelled, np.sort(held), train, tuple(val for _, val, _ in parts),
        tuple(test for _, _, test in parts),
    )  # fmt: skip


def _drawn(target: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` of the rows, of each class its share."""
    order = np.random.default_rng(seed).permutation(rows)
    place = np.empty(len(order))
    for known in np.unique(target[order]):
        own = np.flatnonzero(target[order] == known)
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return order[np.argsort(place, kind="stable")[:count]]


def _parts(
    target: np.ndarray, labelled: np.ndarray, held: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Training, validation and test rows of each comparison."""
    if len(labelled) >= MANY:
        rest, test = labelled, held
        if not len(held):
            rest, test = train_test_split(labelled, test_size=HELD, stratify=target[labelled], random_state=seed)
        yield (*apart(target, np.sort(rest), seed), np.sort(test))
        return
    folds = min(FOLDS, int(_counts(target[labelled]).min()) // 2)
    for rest, fold in StratifiedKFold(folds, shuffle=True, random_state=seed).split(labelled, target[labelled]):
        if len(held):
            yield labelled[rest], labelled[fold], held
        else:
            yield (*apart(target, labelled[rest], seed), labelled[fold])


def apart(target: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and the 15 % (one of each class at least) that choose the best step."""
    size = max(round(VALIDATION * len(rows)), len(_counts(target[rows])))
    train, val = train_test_split(rows, test_size=size, stratify=target[rows], random_state=seed)
    return np.sort(train), np.sort(val)


def _counts(classes: np.ndarray) -> np.ndarray:
    return np.unique(classes, return_counts=True)[1]


def _check_classes(data: TabularData, config: TabularConfig, rows: np.ndarray, least: int) -> None:
    counts = np.bincount(data.target[rows], minlength=len(data.class_names))
    if counts.min() < least:
        rare = data.class_names[int(counts.argmin())]
        raise InputError(
            f"--target={config.target}: class {rare!r} has {counts.min()} labelled rows of {len(rows)}; at least "
            f"{least} are needed to learn and to compare: label more, merge classes, or empty their target"
        )
