"""Find wrong labels, look at them, and write the corrected data.

    python -m experiments.confident_learning
        the study: digits with planted errors, every filter, score and counting rule; a minute on two cores. Expect an
        average precision of .965 by margin at 5 % wrong labels and .935 at 20 %; .05 and .20 at random.
    python -m experiments.confident_learning --data=parquet:my.parquet --probs=npz:mine.npz --workdir=runs/mine
        labels and out-of-sample probabilities [rows, labels] of your own; or let us cross-validate:
    python -m experiments.confident_learning --data=folder:pictures --encoder=efficientnet_lite0 --workdir=runs/mine
    python -m experiments.confident_learning --data='csv:t.csv?label=y' --classifier=logistic --workdir=runs/mine
    python -m experiments.confident_learning --workdir=runs/mine --apply=runs/mine/issues.csv
        after somebody filled in the column decision (keep, fix, drop, both): the corrected data, who, what and why.

Leaves issues.csv (worst first), report.html with the pictures or texts, results.json and figures in --workdir. From a
million rows on, data in parquet: and probabilities in parquet: or npy: are read chunk by chunk; a run that is killed
goes on where it stopped, with the same result.
"""

from pathlib import Path

from absl import flags

from experiments.common import from_flags, run_main
from experiments.noise_apply import apply_reviewed, saved_config
from experiments.noise_config import NoiseConfig, define_flags
from experiments.noise_find import find
from experiments.noise_report import summary
from experiments.noise_stream import find_streaming, should_stream
from experiments.noise_study import run_study
from experiments.noise_study_report import study_tables
from jlabel import InputError
from jlabel.evaluation import format_table
from jlabel.training import open_workdir

__all__ = ["main", "run"]


def run(config: NoiseConfig, workdir: str | Path) -> Path:
    """Run the study or find the wrong labels of the user's data.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      The workdir.

    Raises:
      InputError: bad data, probabilities or settings.
    """
    folder = open_workdir(workdir, config)
    if config.is_study:
        for title, rows in study_tables(run_study(config, folder)).items():
            if rows:
                print(f"{title}\n\n{format_table(rows)}\n")
    else:
        found = find_streaming(config, folder) if should_stream(config) else find(config, folder)
        print(summary(found, config))
    print(f"\nto look at: {folder / 'report.html'}")
    if not config.is_study:
        print(f"to fill in: {folder / 'issues.csv'}")
    return folder


def main() -> None:
    """Do what the flags say."""
    values = flags.FLAGS
    workdir = Path(values.workdir).expanduser()
    if not values.apply:
        run(from_flags(NoiseConfig, values), workdir)
        return
    config = saved_config(workdir)
    if values["data"].present and values.data != config.data:
        raise InputError(f"--data={values.data}, but the errors in {workdir} were found in {config.data}")
    print(apply_reviewed(config, workdir, Path(values.apply).expanduser()))


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
