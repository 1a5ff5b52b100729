"""Tables with few labelled, many unlabelled rows: embeddings pre-trained on all of them, beside their rivals.

    python -m experiments.tabular
        20,000 drawn rows of eight hidden profiles; 50, 200 and 500 labels; one split, three seeds, two layers; MLM and
        RTD pre-training beside TabTransformer and an MLP without, boosting, logistic regression, and the exact truth;
        some minutes on two cores. Expect areas of .71, .75 and .76 for MLM and for RTD, .65, .70 and .73 without
        pre-training, and .81 for the truth
    python -m experiments.tabular --methods=all --splits=0,1,2,3,4
        every method: entropy regularisation, pseudo-labels, denoising, pruning, bottleneck, TabNet, and mixtures
    python -m experiments.tabular --study=semi --data=parquet:blastchar.parquet --target=target
        the same on a file whose rows all have a target; --study=supervised: with all labels
    python -m experiments.tabular --study=robustness
        wrong and missing cells; --study=embeddings: what the embeddings know, layer by layer
    python -m experiments.tabular --data=csv:mine.csv --target=churn
        your rows, those with an empty target unlabelled: compares methods by cross-validation, keeps the best, and
        leaves predictions.csv, model.safetensors and a report of what the model relied on. With --labelled=200, 200 of
        the rows with a target are learned from, and a fifth is kept for the test
    python -m experiments.tabular --model=runs/tabular/model.safetensors --data=csv:new.csv
        predictions of new rows

Leaves results.json, metrics.jsonl, report.html and figures in --workdir; a run that was stopped goes on where it was.
Results: docs/results/tabular.md.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.cells import Cells
from experiments.common import run_main
from experiments.tabular_config import TabularConfig, config_of, define_flags
from experiments.tabular_data import TabularData, load_data
from experiments.tabular_embeddings import run_embeddings
from experiments.tabular_model import predict_new
from experiments.tabular_own import run_own
from experiments.tabular_report import write_study
from experiments.tabular_robustness import run_robustness
from experiments.tabular_study import Outcome, Progress, num_steps
from experiments.tabular_tables import run_methods
from jlabel.training import check_workdir, open_workdir

__all__ = ["main", "run"]

RUNNERS: Mapping[str, Callable[[TabularConfig, TabularData, Cells, Progress], Outcome]] = {
    "semi": run_methods,
    "supervised": run_methods,
    "robustness": run_robustness,
    "embeddings": run_embeddings,
}


def run(config: TabularConfig, workdir: str | Path) -> Outcome:
    """Run a study, print its tables, and write results, figures and report.

    Args:
      config: the settings. workdir: where everything goes; finished steps that it holds are not done again.

    Returns:
      What was found.

    Raises:
      InputError: bad data or settings.
    """
    start = time.monotonic()
    check_workdir(workdir, config)
    data = load_data(config)
    folder = open_workdir(workdir, config)
    total = num_steps(config, data) if RUNNERS[config.study] is run_methods else None
    with tqdm(desc=config.study, total=total, unit="step", disable=None, leave=False) as bar:

        def told(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        outcome = RUNNERS[config.study](config, data, Cells(folder / "cells"), told)
    write_study(folder, config, data, outcome, seconds=time.monotonic() - start)
    print(f"report: {folder / 'report.html'}")
    return outcome


def main() -> None:
    """Do what the flags say."""
    config = config_of(flags.FLAGS)
    workdir = Path(flags.FLAGS.workdir).expanduser()
    if config.model:
        predict_new(config, workdir)
    elif config.study == "own":
        run_own(config, workdir)
    else:
        run(config, workdir)


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
