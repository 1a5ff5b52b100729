"""Relations between the classes of several datasets, and the universal classes that follow.

    python -m experiments.taxonomy
        generated domains whose relations are known: every rule and baseline over ten seeds, with domain shift and
        without; 20 seconds on two cores. Expect F1 .80 for threshold, .65 top, .77 density, .75 hypothesis (.82 without
        its doubtful edges) with shift; .92, .71, .87 and .88 (.91) without.
    python -m experiments.taxonomy --domains=folder:zoo,parquet:pets.parquet,csv:c.csv --workdir=runs/mine
        your own data: a network for each domain, taxonomy.json, and a report with the taxonomy drawn and the doubtful
        edges with pictures from both sides. --per_class=40 is a quick first look, --drop_doubtful more precise.
    python -m experiments.taxonomy --probs=DIR --workdir=runs/mine
        the same from what models of your own say: DIR/ROWS/MODEL.csv for each ordered pair of domains, a column label
        (the row's class in ROWS) and a column of probabilities for each class of MODEL; or .npz: label, probs, classes
    python -m experiments.taxonomy --from=runs/mine/taxonomy.json --forbid='zoo:ox -> pets:dog' --workdir=runs/edited
        the taxonomy anew from relations.csv beside it, edited by hand or by --forbid and --force
    python -m experiments.taxonomy --cut=parquet:cifar10_32.parquet
        one dataset cut into two domains of overlapping groups of its classes: relations known, with shift and without

Leaves taxonomy.json, relations.csv (your own data), results.json, report.html and figures in --workdir. Results:
docs/results/taxonomy.md.
"""

import time
from pathlib import Path

from absl import flags

from experiments.common import from_flags, run_main
from experiments.taxonomy_config import TaxonomyConfig, define_flags
from experiments.taxonomy_cut import cut_worlds
from experiments.taxonomy_own import run_own
from experiments.taxonomy_report import study_tables, study_text, write_study
from experiments.taxonomy_study import Found, embedded_worlds, score_worlds, train_worlds
from jlabel.training import check_workdir, open_workdir

__all__ = ["main", "run"]


def run(config: TaxonomyConfig, workdir: str | Path) -> Path:
    """Run the study, or find the relations of the user's domains.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      The workdir.

    Raises:
      InputError: bad data, predictions or settings.
    """
    start = time.monotonic()
    check_workdir(workdir, config)
    if config.is_study:
        make_worlds = cut_worlds if config.cut else embedded_worlds
        found: dict[str, list[Found]] = {}
        # The title of a part is also its split in results.json.
        parts = {"with shift": config.shift, "without shift": 0.0} if config.shift else {"without shift": 0.0}
        for split, shift in parts.items():
            worlds = make_worlds(config, config.runs, shift=shift)
            found[split] = score_worlds(worlds, train_worlds(worlds, config), config)
        folder = open_workdir(workdir, config)
        write_study(folder, found, config, study_tables(found), time.monotonic() - start)
        print(study_text(found, config))
    else:
        folder = run_own(config, workdir, start)
    print(f"\nreport: {folder / 'report.html'}")
    return folder


def main() -> None:
    """Do what the flags say."""
    values = flags.FLAGS
    run(from_flags(TaxonomyConfig, values, rebuild=values["from"].value), Path(values.workdir).expanduser())


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
