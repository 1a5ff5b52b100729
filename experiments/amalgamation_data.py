"""The rows of a study: for each seed the teachers' shares and label sets, transfer rows and test rows."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.amalgamation_config import COUNTS, EMBEDDED, FRACTIONS, AmalgamationConfig
from experiments.amalgamation_tables import label_matrix, numbers_of, read_table
from jlabel import InputError
from jlabel.amalgamation import label_union, share_labels
from jlabel.data.coupled_labels import (
    LABEL_NAMES,
    add_positives,
    coupled_labels,
    cut_rows,
    drop_positives,
    likely_sets,
    marginal_probs,
)

__all__ = ["Part", "Problem", "study_parts"]

HELD = 0.2  # of a teacher's share, and of the transfer rows: the epoch is chosen on these
WIDTH = 32
TOLD = {"none": "right labels", "missing": "missing positives", "spurious": "spurious positives"}
DRAWN, EXTRA = 6000, 3550  # rows of a drawn seed, and test rows drawn besides, which cost nothing: 4,000 in all


class Preset(NamedTuple):
    """Label numbers of each teacher in the paper's main study, and widths of teachers and student."""

    label_sets: tuple[str, ...]
    hidden: tuple[int, ...]


# Of the published experiments, by name of the file.
PRESETS = {
    "emotions": Preset(("0-3", "1,2,4,5"), (32, 64, 16)),
    "scene": Preset(("0-3", "1,2,4,5"), (16, 32, 16)),
    "yeast": Preset(("0-8", "2,3,6,7,9-13"), (32, 64, 32)),
    "tmc2007": Preset(("0-9,12,14,19,20", "0,6,10-21"), (128, 256, 64)),
    "genbase": Preset(("0-11,14,17,18,20,21,23", "3,4,10,12-26"), (128, 256, 64)),
}
SCENE_SHARED = {
    0.0: ("0-2", "3-5"), 0.25: ("0-3", "1,2,4,5"), 0.5: ("0,1,3,4", "1-5"), 0.75: ("0-4", "0-2,4,5"),
    1.0: ("0-5", "0-5"),
}  # fmt: skip
SCENE_SHARED_HIDDEN = (64, 128, 16)
EIGHT_LABELS = {
    2: ("0-3,7", "2,4-7"), 3: ("0,1,4", "1,2,5", "2,3,6,7"), 4: ("0,3,7", "0,1,4", "1,2,5", "2,6"),
    5: ("0,3,7", "0,1,4", "1,2,5", "2,6", "2,7"),
}  # fmt: skip


class Rows(NamedTuple):
    """Rows of one seed: features ``(N, D)``, labels 0 and 1 ``(N, L)``, names, and the best predictions where known.

    The last `extra` rows are for testing only.
    """

    features: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    bayes: Mapping[str, np.ndarray]
    extra: int = 0


class Problem(NamedTuple):
    """One seed.

    Attributes:
      seed: of everything drawn. label_names: the L labels, in order of `label_union`.
      label_sets: names of each teacher. features: float32 ``(N, D)``, standardised. labels: 0 and 1, ``(N, L)``.
      shares, held: row numbers of each teacher for training and for the choice of its epoch.
      taught: what each teacher is told of `shares` and of `held`, errors included, ``(N_t, L_t)``.
      train, val, test: row numbers of transfer rows, those for the choice of the epoch, and test rows.
      competent: of each damaged label the teachers whose labels of it are as they were.
      bayes: name to predictions ``(N_test, L)``.
    """

    seed: int
    label_names: tuple[str, ...]
    label_sets: tuple[tuple[str, ...], ...]
    features: np.ndarray
    labels: np.ndarray
    shares: tuple[np.ndarray, ...]
    held: tuple[np.ndarray, ...]
    taught: tuple[tuple[np.ndarray, np.ndarray], ...]
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    competent: Mapping[str, tuple[int, ...]]
    bayes: Mapping[str, np.ndarray]

    @property
    def transfer(self) -> np.ndarray:
        """Transfer rows, those for the choice of the epoch last."""
        return np.concatenate([self.train, self.val])


class Part(NamedTuple):
    """One table of a study: title, what is varied (share of labels, number of teachers), widths, and a seed each."""

    title: str
    level: float
    error: str
    hidden: tuple[int, ...]
    problems: tuple[Problem, ...]


def study_parts(config: AmalgamationConfig) -> list[Part]:
    """The rows of every table.

    Raises:
      InputError: data that cannot be read or are too few.
    """
    rows = {seed: _embedded(seed) for seed in config.seeds} if config.data == EMBEDDED else _from_file(config)
    names = rows[config.seeds[0]].label_names
    parts = []
    for level in _levels(config):
        sets, hidden = _label_sets(config, level, names)
        if config.hidden and len(config.hidden) != len(hidden):
            raise InputError(
                f"--hidden={','.join(map(str, config.hidden))}: there are {len(hidden) - 1} teachers and a student: "
                f"give {len(hidden)} widths"
            )
        sets = [_ordered(own) for own in sets]
        for error in config.errors:
            problems = tuple(_problem(config, rows[seed], seed, sets[i], error) for i, seed in enumerate(config.seeds))
            title = _title(config, level) + (TOLD[error] if len(config.errors) > 1 or error != "none" else "")
            parts.append(Part(title.removesuffix(", ") or "test", level, error, config.hidden or hidden, problems))
    return parts


def _levels(config: AmalgamationConfig) -> tuple[float, ...]:
    return {"main": (0.0,), "shared": FRACTIONS, "teachers": COUNTS}[config.study]


def _title(config: AmalgamationConfig, level: float) -> str:
    return {"main": "", "shared": f"{level:.0%} shared, ", "teachers": f"{level:g} teachers, "}[config.study]


def _label_sets(
    config: AmalgamationConfig, level: float, names: Sequence[str]
) -> tuple[list[tuple[tuple[str, ...], ...]], tuple[int, ...]]:
    """Each seed's label sets, and the widths."""
    preset = PRESETS.get(config.stem) if config.data.startswith("npz:") else None
    fixed, hidden = None, None
    given = config.shared is not None or config.num_teachers is not None
    if preset and config.study == "main" and not given:
        fixed, hidden = preset
    elif config.stem == "scene" and config.study == "shared":
        fixed, hidden = SCENE_SHARED[level], SCENE_SHARED_HIDDEN
    elif config.study == "teachers" and len(names) == 8:
        fixed = EIGHT_LABELS[int(level)]
    if fixed:
        chosen = tuple(tuple(names[k] for k in _numbers(text)) for text in fixed)
        return [chosen] * len(config.seeds), hidden or (WIDTH,) * (len(fixed) + 1)
    count = int(level) if config.study == "teachers" else config.num_teachers or 2
    share = level if config.study == "shared" else 0.25 if config.shared is None else config.shared
    drawn = [share_labels(names, num_teachers=count, shared=share, key=jax.random.key(seed)) for seed in config.seeds]
    widths = (*preset.hidden[:1] * count, preset.hidden[-1]) if preset else (WIDTH,) * (count + 1)
    return drawn, widths


def _ordered(label_sets: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Labels by who knows them, so that the drawn sets of all seeds look alike and train side by side."""
    knowers = {name: tuple(t for t, own in enumerate(label_sets) if name in own) for name in label_union(label_sets)}
    return tuple(tuple(sorted(own, key=lambda name: knowers[name])) for own in label_sets)


def _numbers(text: str) -> list[int]:
    """Numbers of "0-3,7"."""
    found: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _problem(
    config: AmalgamationConfig, rows: Rows, seed: int, label_sets: Sequence[tuple[str, ...]], error: str
) -> Problem:
    """Cut, standardise and damage one seed."""
    count = len(label_sets)
    total = len(rows.labels)
    cut = cut_rows(total - rows.extra, num_teachers=count, seed=seed, shares=config.teacher_rows == "own")
    generator = np.random.default_rng([seed, 1])
    names = label_union(label_sets)
    columns = [rows.label_names.index(name) for name in names]
    labels = rows.labels[:, columns]
    test = np.concatenate([cut.test, np.arange(total - rows.extra, total)])
    features = _standardised(rows.features, np.unique(np.concatenate(cut.teachers)))
    parts = [generator.permutation(part) for part in cut.teachers]
    told = [labels[part][:, [names.index(name) for name in own]] for part, own in zip(parts, label_sets, strict=True)]
    competent: Mapping[str, tuple[int, ...]] = {}
    if error != "none":
        damage = drop_positives if error == "missing" else add_positives
        told, _, competent = damage(told, label_sets, seed=seed)  # type: ignore[assignment]
    edges = [len(part) - max(1, round(HELD * len(part))) for part in parts]
    transfer = generator.permutation(cut.transfer)
    edge = len(transfer) - max(1, round(HELD * len(transfer)))
    if min(*edges, edge) < 1:
        raise InputError(f"--data={config.data}: {total} rows are too few for {count} teachers and a student")
    return Problem(
        seed, names, tuple(map(tuple, label_sets)), features, labels,
        tuple(part[:e] for part, e in zip(parts, edges, strict=True)),
        tuple(part[e:] for part, e in zip(parts, edges, strict=True)),
        tuple((part[:e], part[e:]) for part, e in zip(told, edges, strict=True)),
        transfer[:edge], transfer[edge:], test, competent,
        {name: said[test][:, columns] for name, said in rows.bayes.items()},
    )  # fmt: skip


def _standardised(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 on the known rows; columns that are constant there become 0."""
    wide = features.astype(np.float64)
    mean, std = wide[known].mean(0), wide[known].std(0)
    varies = std > 1e-9 * (1 + np.abs(mean))
    return ((wide - mean) * varies / np.where(varies, std, 1)).astype(np.float32)


def _embedded(seed: int) -> Rows:
    """Rows drawn anew by each seed, and their best predictions."""
    drawn = coupled_labels(seed=seed, num_rows=DRAWN + EXTRA)
    bayes = {
        "Bayes, marginals": marginal_probs(drawn.features, drawn.weights) > 0.5,
        "Bayes, joint mode": likely_sets(drawn.features, drawn.weights) > 0,
    }
    return Rows(drawn.features, drawn.labels, LABEL_NAMES, bayes, EXTRA)


def _from_file(config: AmalgamationConfig) -> dict[int, Rows]:
    """A user's rows, the same for every seed: a split of the file's own is not used."""
    kind, _, place = config.data.partition(":")
    if kind == "npz" and place:
        rows = _read_npz(config.data, Path(place).expanduser())
    elif kind == "csv" and place:
        if not config.labels:
            raise InputError(f"--data={config.data}: name the columns that are labels, as in --labels=cat,dog")
        table = read_table(Path(place).expanduser(), "--data")
        labels = label_matrix(table, config.labels, f"--data={config.data}").astype(np.int8)
        others = [name for name in table if name not in config.labels]
        rows = Rows(numbers_of(table, others, f"--data={config.data}"), labels, config.labels, {})
    else:
        raise InputError(f"--data={config.data}: give {EMBEDDED}, npz:FILE or csv:FILE")
    return dict.fromkeys(config.seeds, rows)


def _read_npz(spec: str, path: Path) -> Rows:
    """X, Y and label_names."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"--data={spec}: a single array, not an archive; write it with numpy.savez")
            arrays = {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"--data={spec}: no readable NumPy archive: {' '.join(str(error).split())}") from error
    for name in ("X", "Y"):
        if name not in arrays or arrays[name].ndim != 2 or arrays[name].dtype.kind not in "biuf":
            there = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items())
            raise InputError(f"--data={spec}: no table {name} of numbers; there are {there}")
    features, labels = arrays["X"], arrays["Y"]
    if len(features) != len(labels):
        raise InputError(f"--data={spec}: X has {len(features)} rows, Y {len(labels)}: they must agree")
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        raise InputError(f"--data={spec}: X[{row}, {column}] is {features[row, column]}: fill or leave out the row")
    if not np.isin(labels, (0, 1)).all():
        row, column = np.argwhere(~np.isin(labels, (0, 1)))[0]
        raise InputError(f"--data={spec}: Y[{row}, {column}] is {labels[row, column]}: labels are 0 or 1")
    names = arrays.get("label_names", np.array([f"label {k}" for k in range(labels.shape[1])])).astype(str).tolist()
    if len(names) != labels.shape[1] or len(set(names)) < len(names):
        raise InputError(f"--data={spec}: label_names must name the {labels.shape[1]} columns of Y, each differently")
    return Rows(features, labels.astype(np.int8), tuple(names), {})
