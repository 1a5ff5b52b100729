"""The published test sets with probabilities: counts by each rule, filters against what people voted, and pictures.

    python -m experiments.noise_benchmarks --probs=label_errors.npz --votes=label_errors_mturk.jsonl.gz \
        --pictures=cifar10_32.parquet

MNIST, CIFAR-10 and 20news, 10 seconds on two cores. The first file holds SET__y and SET__pyx, the second one JSON
object a line (dataset, id, mturk). Precision is bounded by what was voted on: a flagged row that nobody looked at is
unknown, not wrong.
"""

import gzip
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

import jlabel.data
from experiments.common import run_main, written_whole
from experiments.noise_config import FILTERS, RULES, SCORES
from experiments.noise_figures import joint_figure
from experiments.noise_find import best_other
from experiments.stability_report import Table, format_lines
from jlabel import InputError
from jlabel.confident_learning import (
    VOTE_CATEGORIES,
    GalleryItem,
    calibrate_joint,
    confident_joint,
    count_interval,
    count_votes,
    find_errors,
    gallery_html,
    tally_votes,
)
from jlabel.data import Source, subset
from jlabel.evaluation import Report, Row, build_results, make_row, row_from_interval, save_figure, write_results
from jlabel.training import open_workdir

__all__ = ["Benchmark", "measure", "read_benchmark", "run"]

SETS = ("mnist", "cifar10", "20news")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Benchmark(NamedTuple):
    """A test set: labels `[N]`, probabilities `[N, C]`, and the category of each row voted on, -1 for the others."""

    name: str
    labels: np.ndarray
    probs: np.ndarray
    category: np.ndarray
    counts: np.ndarray  # int64 [N, 4], votes for given, guessed, both, neither


def read_benchmark(name: str, probs: Path, votes: Path) -> Benchmark:
    """Read one set of the published files.

    Raises:
      InputError: a file or an array of it is missing.
    """
    try:
        with np.load(probs, allow_pickle=False) as arrays:
            labels, rows = arrays[f"{name}__y"].astype(np.int32), arrays[f"{name}__pyx"]
        with gzip.open(votes, "rt", encoding="utf-8") as file:
            voted = [row for row in map(json.loads, file) if row["dataset"] == name]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{name}: {probs} or {votes} cannot be read: {' '.join(str(error).split())}") from error
    counts = np.zeros((len(labels), 4), np.int64)
    category = np.full(len(labels), -1)
    ids = [int(row["id"]) for row in voted]
    counts[ids] = count_votes([row["mturk"] for row in voted], names=[f"{name} {row}" for row in ids])
    category[ids] = tally_votes(counts[ids])
    return Benchmark(name, labels, rows, category, counts)


def measure(found: Benchmark, *, replicates: int) -> list[Row]:
    """Counts with intervals, and for each filter the rows flagged, voted on, and confirmed as errors."""
    rows = []
    for rule in RULES:
        interval = count_interval(found.labels, found.probs, rule=rule, replicates=replicates, key=jax.random.key(0))
        rows.append(row_from_interval(rule, "wrong labels", interval, split=found.name))
    validated = found.category > 0
    masks = {"uncalibrated margin": find_errors(found.labels, found.probs, rule="uncalibrated").mask}
    masks |= {name: find_errors(found.labels, found.probs, method=name).mask for name in FILTERS}
    for name, mask in masks.items():
        voted, errors = int((mask & (found.category >= 0)).sum()), int((mask & validated).sum())
        numbers = {"flagged": mask.sum(), "voted on": voted, "errors": errors}
        rows += [make_row(name, metric, [float(value)], split=found.name) for metric, value in numbers.items()]
        if voted:
            rows.append(make_row(name, "errors of those voted on", [errors / voted], split=found.name))
    for score in SCORES:
        scores = find_errors(found.labels, found.probs, score=score).scores
        worst = np.argsort(scores, kind="stable")[:10]
        rows.append(make_row(score, "errors in the 10 worst", [float(validated[worst].sum())], split=found.name))
    return rows


def run(probs: Path, votes: Path, pictures: str, workdir: str | Path, *, replicates: int = 200) -> dict[str, list[Row]]:
    """Measure the three sets and write results.json, report.html and, with pictures, cifar10.html.

    Args:
      probs: file of labels and probabilities. votes: file of votes. pictures: Parquet file of CIFAR-10, or "".
      workdir: where to. replicates: resamples for the intervals.

    Returns:
      Set to its rows.
    """
    start = time.monotonic()
    settings = {"probs": probs, "votes": votes, "pictures": pictures, "replicates": replicates}
    folder = open_workdir(workdir, {name: str(value) for name, value in settings.items()})
    sets = {name: read_benchmark(name, probs, votes) for name in SETS}
    measured = {name: measure(found, replicates=replicates) for name, found in sets.items()}
    report = Report("Wrong labels in published test sets")
    report.add_text(
        "Errors are rows that five people did not confirm: correctable, multi-label, neither or without agreement. A "
        "flagged row that nobody voted on is neither right nor wrong here."
    )
    for name, rows in measured.items():
        report.add_table(*table(rows), caption=name)
        joint = confident_joint(sets[name].labels, sets[name].probs)
        calibrated = calibrate_joint(joint, np.bincount(sets[name].labels, minlength=len(joint)))
        labels = CIFAR10 if name == "cifar10" else [str(c) for c in range(len(joint))]
        figure = joint_figure(calibrated, labels)
        save_figure(folder / "figures" / f"{name}_joint.png", figure)
        report.add_figure(figure, caption=f"{name}: estimated rows by given and true label.", alt="Joint")
    report.write(folder / "report.html")
    if pictures:
        source = cifar10_rows(jlabel.data.open(f"parquet:{pictures}", "test"), sets["cifar10"].labels)
        with written_whole(folder / "cifar10.html") as file:
            file.write(
                gallery_html(picture_items(sets["cifar10"], source), title="CIFAR-10: rows flagged and the votes")
            )
    every = [row for rows in measured.values() for row in rows]
    document = build_results(
        "noise_benchmarks", data=str(probs), config=settings, rows=every, seconds=time.monotonic() - start
    )
    write_results(folder / "results.json", document)
    return measured


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Methods down, metrics across; whole numbers as such."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        text = f"{row.mean:.3f}" if row.metric.startswith("errors of") else f"{row.mean:.6g}"
        if np.isfinite(row.std):
            text += f" [{row.ci95[0]:.1f}, {row.ci95[1]:.1f}]"
        cells.setdefault(row.method, {})[row.metric] = text
    return ["", *metrics], [[method, *(found.get(m, "") for m in metrics)] for method, found in cells.items()]


def cifar10_rows(source: Source, labels: np.ndarray) -> Source:
    """The test pictures in the order of the labels; the file has them by class, each class in that order."""
    places = np.empty(len(labels), np.int64)
    for c, name in enumerate(CIFAR10):
        here = np.flatnonzero(source.labels == source.label_names.index(name))
        if len(here) != int((labels == c).sum()):
            raise InputError(f"{source.spec}: {len(here)} pictures of {name}, the labels hold {(labels == c).sum()}")
        places[labels == c] = here
    return subset(source, places)


def picture_items(found: Benchmark, source: Source) -> Iterator[GalleryItem]:
    """The rows that Equation 2 or the paper's count flags, with what people said of them."""
    errors = find_errors(found.labels, found.probs)
    other = best_other(found.labels[errors.order], found.probs[errors.order])
    for row, guess in zip(errors.order.tolist(), other.tolist(), strict=True):
        category = found.category[row]
        said = VOTE_CATEGORIES[category] if category >= 0 else "not voted on"
        votes = dict(zip(("given", "guessed", "both", "neither"), found.counts[row].tolist(), strict=True))
        shown = ", ".join(f"{word} {count}" for word, count in votes.items() if count)
        yield GalleryItem(
            f"test row {row}", CIFAR10[found.labels[row]], CIFAR10[guess], float(errors.scores[row]),
            image=source.content(row), note=f"{said}: {shown}" if shown else said,
        )  # fmt: skip


def main() -> None:
    """Measure as the flags say, and print the tables."""
    values: Any = flags.FLAGS
    if not values.probs or not values.votes:
        raise InputError("give --probs=label_errors.npz and --votes=label_errors_mturk.jsonl.gz")
    paths: Mapping[str, Path] = {name: Path(values[name].value).expanduser() for name in ("probs", "votes", "workdir")}
    for name, rows in run(paths["probs"], paths["votes"], values.pictures, paths["workdir"]).items():
        print(format_lines(Table(name, *table(rows))) + "\n")
    print(f"to look at: {paths['workdir'] / 'report.html'}")


if __name__ == "__main__":
    flags.DEFINE_string("probs", "", "NPZ file with SET__y and SET__pyx of mnist, cifar10 and 20news.")
    flags.DEFINE_string("votes", "", "JSON lines of votes, compressed with gzip.")
    flags.DEFINE_string("pictures", "", "Parquet file of CIFAR-10, for a gallery of the rows flagged.")
    flags.DEFINE_string("workdir", "runs/noise_benchmarks", "Folder for results.json, report.html and cifar10.html.")
    run_main(main, doc=__doc__)
