"""Active WeaSuL: rules vote, and an expert is asked for the few answers that help most.

    python -m experiments.active_weasul
        two Gaussians, three rules, 30 answers, ten seeds: ours, the paper's method from its two starting points, every
        query strategy and baseline; 2.5 minutes on two cores. Expect .9636 without an answer (ours), .81 and .90 at the
        paper's starts and .96 after five to nine answers, .9641 at most; .49 for the commonest class.
    python -m experiments.active_weasul --data=npz:lf_youtube.npz --budget=60
        the same on votes of your own study: L votes with -1 for abstain, y classes, split, text or X
    python -m experiments.active_weasul --data=csv:mine.csv --rules=my_rules.py --ask --workdir=runs/mine
        asks you in the terminal; an answer is in WORKDIR/answers.csv before the next question. Run it again to go on.
    python -m experiments.active_weasul --data=csv:mine.csv --rules=my_rules.py --answers=answers.csv
        replays answers: how each of them moved the probabilities

Leaves results.json, report.html and figures in --workdir; for csv also answers.csv and probabilities.csv. Results:
docs/results/weak_supervision.md.
"""

import time
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.common import from_flags, run_main
from experiments.weasul_ask import run_own
from experiments.weasul_config import WeasulConfig, define_flags
from experiments.weasul_data import EMBEDDED, load_study
from experiments.weasul_report import study_rows, study_text, tables, write_study
from experiments.weasul_study import Run, run_seed
from jlabel.evaluation import format_table
from jlabel.training import open_workdir

__all__ = ["main", "run"]


def run(config: WeasulConfig, workdir: str | Path) -> list[Run]:
    """Run the study on every seed and write results, figures and report.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      One `Run` a seed.
    """
    start = time.monotonic()
    load_study(config.data)  # whatever is wrong with a file is said before anything is written
    folder = open_workdir(workdir, config)
    seeds = tqdm(config.seeds, desc="seeds", disable=None, leave=False)
    runs = [run_seed(config, seed, progress=seeds) for seed in seeds]
    rows = study_rows(runs, config.budget)
    write_study(folder, runs, config, rows, time.monotonic() - start)
    metric = "accuracy" if config.data == EMBEDDED else "F1"
    for title, chosen in tables(rows, metric).items():
        print(f"{title}\n\n{format_table(chosen)}\n")
    print(study_text(runs, config))
    print(f"\nreport: {folder / 'report.html'}")
    return runs


def main() -> None:
    """Do what the flags say."""
    values = flags.FLAGS
    config = from_flags(WeasulConfig, values, experiment="active_weasul")
    workdir = Path(values.workdir).expanduser()
    if config.is_own:
        run_own(config, workdir)
    else:
        run(config, workdir)


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
