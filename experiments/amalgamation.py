"""Teachers that know different labels, one student for all of them: ANT, its rivals, and your own teachers.

    python -m experiments.amalgamation
        drawn rows of 8 labels that depend on each other, two teachers that share two of them, with right labels,
        missing positives and spurious positives; three seeds; two and a half minutes on two cores. Expect subset losses
        of .56, .57 and .61 for ANT, .55, .57 and .57 with earned trust, .46 for the best predictions there are
    python -m experiments.amalgamation --data=npz:scene.npz
        X, Y and label_names of your own; the label sets of the paper for emotions, scene, yeast, tmc2007 and genbase
    python -m experiments.amalgamation --study=shared
        from no to all labels shared; --study=teachers: two to five teachers
    python -m experiments.amalgamation --teachers=a.joblib,b.joblib --data=csv:rows.csv
        your fitted scikit-learn models and unlabelled rows: leaves the student, its predictions, and a report of who
        contradicted whom. LOADING A PICKLE RUNS ITS CODE: give only files you trust
    python -m experiments.amalgamation --teacher_probs=a.csv,b.csv --data=csv:rows.csv
        the same from prediction files, the safe road
    python -m experiments.amalgamation --student=runs/amalgamation/student --data=csv:new.csv
        predictions of new rows

Leaves results.json, metrics.jsonl, report.html and figures in --workdir; a run that was stopped goes on where it was.
Results: docs/results/amalgamation.md.
"""

import time
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.amalgamation_config import AmalgamationConfig, config_of, define_flags
from experiments.amalgamation_data import study_parts
from experiments.amalgamation_own import predict_new, run_own
from experiments.amalgamation_report import Parts, write_study
from experiments.amalgamation_study import run_part
from experiments.cells import Cells
from experiments.common import run_main
from jlabel.training import check_workdir, open_workdir

__all__ = ["main", "run"]


def run(config: AmalgamationConfig, workdir: str | Path) -> Parts:
    """Run the study, print its tables, and write results, figures and report.

    Args:
      config: the settings. workdir: where everything goes; finished steps that it holds are not done again.

    Returns:
      Title of each part to its rows and outcome.

    Raises:
      InputError: bad data or settings.
    """
    start = time.monotonic()
    check_workdir(workdir, config)
    parts = study_parts(config)
    folder = open_workdir(workdir, config)
    cells = Cells(folder / "cells")
    found = {}
    with tqdm(desc="training", unit="step", disable=None, leave=False) as bar:

        def told(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        for part in parts:
            found[part.title] = (part, run_part(part, config, cells, progress=told))
    write_study(folder, found, config, seconds=time.monotonic() - start)
    print(f"report: {folder / 'report.html'}")
    return found


def main() -> None:
    """Do what the flags say."""
    config = config_of(flags.FLAGS)
    workdir = Path(flags.FLAGS.workdir).expanduser()
    if config.student:
        predict_new(config, workdir)
    elif config.own:
        run_own(config, workdir)
    else:
        run(config, workdir)


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
