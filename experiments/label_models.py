"""Every label model and baseline on votes with known labels: accuracy, likelihood, calibration.

    python -m experiments.label_models
        two Gaussians, three rules, five seeds; half a minute on two cores. Expect .964 (matrix completion), .901
        (majority vote, rules taken for independent), .9641 at most; .49 for the commonest class.
    python -m experiments.label_models --data=npz:lf_youtube.npz,npz:lf_trec.npz,npz:lf_hausa.npz
        votes of your own studies: L votes with -1 for abstain, y classes, split, text or X. Expect .856, .636 and .497.

Prior strength and class balance are chosen on the validation rows. Leaves results.json, report.html and figures in
--workdir. Results: docs/results/weak_supervision.md.
"""

import dataclasses
import time
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.common import from_flags, run_main
from experiments.label_model_fits import Scored, score_study
from experiments.weasul_data import EMBEDDED, load_study, parse_cliques
from jlabel import InputError
from jlabel.evaluation import (
    Report,
    Row,
    bootstrap_interval,
    build_results,
    comparison_figure,
    format_table,
    make_row,
    reliability_bins,
    reliability_figure,
    row_from_interval,
    save_figure,
    write_results,
)
from jlabel.training import open_workdir

__all__ = ["LabelModelsConfig", "main", "run"]

OURS = ("latent class, chosen", "matrix completion", "factor graph")
REFERENCES = ("trivial class", "bucket oracle", "supervised end model")
# snorkel 0.10, 500 epochs, 5 seeds
SNORKEL = {"lf_youtube": 0.860, "lf_trec": 0.472, "lf_hausa": 0.488}


@dataclasses.dataclass(frozen=True)
class LabelModelsConfig:
    """Settings of the study; each is a flag of the same name."""

    experiment: str = "label_models"
    data: tuple[str, ...] = (EMBEDDED,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    strengths: tuple[str, ...] = ("0", "0.1", "1", "5", "20", "100")
    cliques: tuple[str, ...] = ()
    end_models: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        if not self.data or len(set(self.data)) < len(self.data):
            raise InputError(f"--data={','.join(self.data)}: give one or more datasets, each once")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on, each once")
        if not self.prior_strengths:
            raise InputError("--strengths is empty: give one or more numbers")
        parse_cliques(self.cliques)

    @property
    def prior_strengths(self) -> tuple[float, ...]:
        """The strengths as numbers."""
        try:
            found = tuple(float(text) for text in self.strengths)
        except ValueError as error:
            raise InputError(f"--strengths={','.join(self.strengths)}: give numbers separated by commas") from error
        if not all(0 <= value < float("inf") for value in found):
            raise InputError(f"--strengths={','.join(self.strengths)}: strengths are 0 or more")
        return found


def run(config: LabelModelsConfig, workdir: str | Path) -> list[Row]:
    """Fit and score everything, and write results, figures and report.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      The rows; their split is the dataset.
    """
    start = time.monotonic()
    cliques = parse_cliques(config.cliques)
    for spec in config.data:
        load_study(spec)  # whatever is wrong with a file is said before anything is fitted or written
    folder = open_workdir(workdir, config)
    report = Report("Label models")
    rows: list[Row] = []
    for spec in config.data:
        # A drawn dataset is drawn anew for each seed; of a file there is one, and its rows are resampled.
        seeds = config.seeds if spec == EMBEDDED else config.seeds[:1]
        found = [
            score_study(
                load_study(spec, seed=seed), cliques=cliques, strengths=config.prior_strengths, seed=seed,
                end_models=config.end_models,
            )
            for seed in tqdm(seeds, desc=spec, disable=None, leave=False)
        ]  # fmt: skip
        chosen = _rows(found)
        rows += chosen
        _add_section(report, folder, chosen, found)
        print(f"{found[0].study.name}\n\n{format_table(chosen)}\n")
        print("\n".join([*found[0].notes, *(f"{model}: {line}" for model, line in found[0].warnings)]) + "\n")
    document = build_results(
        config.experiment, data=",".join(config.data), config=config, rows=rows, seconds=time.monotonic() - start
    )
    write_results(folder / "results.json", document)
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(folder / "report.html")
    print(f"report: {folder / 'report.html'}")
    return rows


def _rows(found: list[Scored]) -> list[Row]:
    """One row a method and metric: intervals over seeds, or over test rows where there is one draw of the data."""
    split, rows = found[0].study.name, []
    for method in found[0].scores:
        for metric, values in found[0].scores[method].items():
            if len(found) > 1:
                means = [float(one.scores[method][metric].mean()) for one in found]
                rows.append(make_row(method, metric, means, split=split))
            else:
                rows.append(row_from_interval(method, metric, bootstrap_interval(values), split=split))
        errors = [reliability_bins(one.confidence[method], one.right[method]).error for one in found]
        rows.append(make_row(method, "calibration error", errors, split=split))
    return rows


def _add_section(report: Report, folder: Path, rows: list[Row], found: list[Scored]) -> None:
    first = found[0]
    name = first.study.name
    notes = list(first.notes)
    if name in SNORKEL:
        notes.append(f"Snorkel 0.10's label model, 500 epochs, five seeds, has accuracy {SNORKEL[name]:.3f} here.")
    report.add_text("\n\n".join(notes), heading=name)
    over = f"{len(found)} seeds" if len(found) > 1 else "resampled test rows (calibration: none)"
    report.add_results(rows, caption=f"Test rows; 95 % interval over {over}. NLL: probabilities of at least 1e-6.")
    lines = [f"{model}: {line}" for model, line in first.warnings]
    report.add_text("\n\n".join(lines) or "No warning.", heading="Do the votes determine the answer?")
    if first.grid:
        report.add_table(
            ["balance", "prior strength", "validation accuracy", "validation NLL"], first.grid,
            caption="Latent class on validation rows; the highest accuracy is taken, of equal ones the lowest NLL.",
        )  # fmt: skip
    figure = comparison_figure(
        rows, metrics=["accuracy", "calibration error"], split=name, ours=OURS, references=REFERENCES
    )
    slug = name.replace(" ", "_")
    save_figure(folder / "figures" / f"{slug}_models.png", figure)
    report.add_figure(figure, caption="Accuracy and calibration error.", alt="Accuracy and calibration by method")
    shown = [m for m in ("majority vote", *OURS) if m in first.confidence][:4]
    figure = reliability_figure({m: reliability_bins(first.confidence[m], first.right[m]) for m in shown})
    save_figure(folder / "figures" / f"{slug}_reliability.png", figure)
    report.add_figure(figure, caption=f"Reliability on test rows of {name}.", alt="Reliability diagrams")


def main() -> None:
    """Run the study the flags describe."""
    values = flags.FLAGS
    run(from_flags(LabelModelsConfig, values, experiment="label_models"), Path(values.workdir).expanduser())


def define_flags() -> None:
    """Define the flags of this study."""
    d = LabelModelsConfig()
    flags.DEFINE_list("data", list(d.data), f"{EMBEDDED}, or npz:FILE with votes and labels; several with commas.")
    flags.DEFINE_string("workdir", "runs/label_models", "Folder for config, results, figures and report.")
    flags.DEFINE_list("seeds", list(map(str, d.seeds)), "Seeds of data (embedded) and model starts.")
    flags.DEFINE_list("strengths", list(d.strengths), "Prior strengths of the latent class model to choose from.")
    flags.DEFINE_list("cliques", list(d.cliques), "Rules that depend on each other, by number from 0: 1-2,3-4-5.")
    flags.DEFINE_bool("end_models", d.end_models, "Train end models on features as well.")


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
