"""Does a benchmark's ranking survive the correction of its labels?

    python -m experiments.benchmark_stability
        digits with planted errors: twelve models of rising size trained on one noisy half, scored on the other
    python -m experiments.benchmark_stability --data=votes:label_errors_mturk.jsonl.gz
        what people said about flagged rows, the prevalence of noise, and the shipped tables of models
    python -m experiments.benchmark_stability --data=votes:mine.jsonl?size=10000 --models=mine.csv
    python -m experiments.benchmark_stability --correct=mine.npz
        ranks, crossings and correlations of your own models, with intervals over rows

Flagless: 160 s of processor time, two threads. Expect that size and corrected accuracy on the correctable rows have a
rank correlation of -.22 [-.49, .04] at 20 % errors, -.47 [-.64, -.30] where the smallest model flags, +.45 [.35, .55]
where the widest does. File formats and results: docs/results/benchmark_stability.md.
"""

import dataclasses
import time
from pathlib import Path

from absl import flags

from experiments import common
from experiments.stability_correct import correct_section, read_benchmark
from experiments.stability_digits import train_digits
from experiments.stability_embedded import embedded_section
from experiments.stability_models import models_section
from experiments.stability_report import Section, format_lines, report_sections
from experiments.stability_tables import SHIPPED_MODELS, read_models
from experiments.stability_votes import read_votes, votes_section
from jlabel import InputError
from jlabel.training import check_positive, check_workdir, open_workdir

__all__ = ["StabilityConfig", "main", "run"]

EMBEDDED = "embedded:noisy_digits"


@dataclasses.dataclass(frozen=True)
class StabilityConfig:
    """Settings of the study; each is a flag of the same name."""

    experiment: str = "benchmark_stability"
    data: str = EMBEDDED
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    threshold: tuple[int, ...] = (3, 4, 5)
    replicates: int = 2000
    rates: tuple[float, ...] = (0.05, 0.2)
    epochs: int = 200
    models: tuple[str, ...] = ()
    correct: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is written."""
        if self.data and self.data != EMBEDDED and not self.data.startswith("votes:"):
            raise InputError(f"data {self.data!r}: give {EMBEDDED}, or votes:FILE with people's votes")
        if not (self.data or self.models or self.correct):
            raise InputError("nothing to do: give --data, --models or --correct")
        check_positive("epochs", self.epochs, whole=True)
        for name in ("seeds", "threshold", "rates"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name}={','.join(map(str, values))}: give one or more, each once")
        for threshold in self.threshold:
            check_positive("threshold", threshold, whole=True)
        for rate in self.rates:
            if not 0 < rate < 1:
                raise InputError(f"rates: {rate:g} must lie between 0 and 1")
        for seed in self.seeds:
            if seed < 0:
                raise InputError(f"seeds: {seed} is below 0")
        if self.replicates < 100:
            raise InputError(f"replicates={self.replicates} must be 100 or more")


def run(config: StabilityConfig, workdir: Path) -> list[Section]:
    """Make every part that the config asks for, and write results, figures and report.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      The parts, in the order shown.
    """
    start = time.monotonic()
    check_workdir(workdir, dataclasses.asdict(config))
    options = {"replicates": config.replicates, "seed": config.seeds[0]}
    # Whatever can be wrong with a file is said before anything is written or trained.
    votes = read_votes(config.data, config.threshold) if config.data.startswith("votes:") else []
    tables = [read_models(where) for where in config.models]
    own = [read_benchmark(config.correct)] if config.correct else []
    sections = [correct_section(benchmark, **options) for benchmark in own]
    workdir = open_workdir(workdir, dataclasses.asdict(config))
    if config.data == EMBEDDED:
        found = train_digits(config.rates, config.seeds, config.epochs)
        sections.append(
            embedded_section(found, config.threshold, replicates=config.replicates, seeds=config.seeds)
        )  # fmt: skip
    if votes:
        sections.append(votes_section(votes, config.threshold, **options))
    for table in tables:
        of_set = next((found for found in votes if found.name == table.title or len(votes) == 1), None)
        sections.append(models_section(table, of_set, config.threshold[0], **options))
    report_sections(workdir, sections, config, seconds=time.monotonic() - start)
    return sections


def main() -> None:
    """Run the study the flags describe and print its tables."""
    values = flags.FLAGS
    models = tuple(values.models)
    data = values.data
    if data is None:
        data = "" if models or values.correct else EMBEDDED
    if data.startswith("votes:") and not values["models"].present:
        models = SHIPPED_MODELS
    config = common.from_flags(StabilityConfig, values, experiment="benchmark_stability", data=data, models=models)
    workdir = Path(values.workdir)
    for section in run(config, workdir):
        print(f"{section.title}\n{'=' * len(section.title)}\n")
        for table in section.tables:
            print(format_lines(table) + "\n")
        print(section.text + "\n")
    print(f"report: {workdir / 'report.html'}")


def define_flags() -> None:
    """Define the flags of this study."""
    d = StabilityConfig()
    flags.DEFINE_string(
        "data", None, f"{EMBEDDED} (the default), or votes:FILE, JSON lines of votes, with ?size=ROWS of the benchmark "
        "and &flagged=ROWS where only a sample of the flagged ones was voted on."
    )  # fmt: skip
    flags.DEFINE_string("workdir", "runs/benchmark_stability", "Folder for config, results, figures and report.")
    flags.DEFINE_list("seeds", list(map(str, d.seeds)), "Seeds of errors, halves and first weights of the digits.")
    flags.DEFINE_list(
        "threshold", list(map(str, d.threshold)), "Votes, of five, that a correction needs; one table for each."
    )
    flags.DEFINE_integer("replicates", d.replicates, "Bootstrap replicates of every interval over rows.")
    flags.DEFINE_list("rates", list(map(str, d.rates)), "Shares of the digits' labels that are planted errors.")
    flags.DEFINE_integer("epochs", d.epochs, "Passes of each network over its half of the digits.")
    flags.DEFINE_list(
        "models", [], "Tables of models: imagenet and cifar10 (the default for votes), or CSV files with the columns "
        "model, original, corrected, and perhaps platform, accuracy or benign."
    )  # fmt: skip
    flags.DEFINE_string(
        "correct", None, "Your own benchmark, an npz file: original and corrected [models, N], whether a model is "
        "right on a row by the given and by the corrected label; correctable [N], which labels were wrong; names "
        "[models]. Rows whose truth nobody knows are left out."
    )  # fmt: skip


if __name__ == "__main__":
    define_flags()
    common.run_main(main, doc=__doc__)
