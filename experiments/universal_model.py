"""One model for datasets whose classes disagree, against one model for each of them.

    python -m experiments.universal_model
        generated domains whose relations are known, ten seeds, classes of 1.2 and of 2 concepts: every rule, the one
        chosen by probes, the truth, and every baseline; two minutes on two cores. Expect, at 1.2, .79 for
        single, .77 naive union, .82 multi-head, .79 to .81 for the rules, .81 the one chosen, .83 the truth; at 2, .75,
        .71, .77, .71 to .74, .74 and .74
    python -m experiments.universal_model --domains=folder:zoo,parquet:pets.parquet --taxonomy=runs/mine/taxonomy.json
        your own data and the taxonomy that experiments.taxonomy made of it, perhaps edited by hand: trains the one
        model and prints what each domain gained or lost against a model of its own
    python -m experiments.universal_model --domains=folder:zoo,parquet:pets.parquet --per_class=40
        the same without a taxonomy: every rule, and the one chosen by probes on validation rows
    python -m experiments.predict --workdir=runs/universal_model --input=folder:new --domain=zoo --output=new.csv
        then answers in any domain's own classes

Leaves the model, its taxonomy.json, results.json, metrics.jsonl, report.html and figures in --workdir. Results:
docs/results/taxonomy.md.
"""

import time
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.common import from_flags, run_main
from experiments.taxonomy_files import write_taxonomy
from experiments.universal_config import UniversalConfig, define_flags
from experiments.universal_data import Study, generated_study, own_study
from experiments.universal_files import read_taxonomy, save_universal_model
from experiments.universal_report import Part, domain_lines, study_text, write_study
from experiments.universal_study import AUTO, GIVEN, rule_name, run_study
from jlabel import InputError
from jlabel.taxonomy import Taxonomy
from jlabel.training import check_workdir, open_workdir

__all__ = ["main", "run"]


def run(config: UniversalConfig, workdir: str | Path) -> dict[str, Part]:
    """Run the study, print its tables, and write model, results, figures and report.

    Args:
      config: the settings. workdir: where everything goes.

    Returns:
      Title of each part to its rows and the outcome of each method.

    Raises:
      InputError: bad data, taxonomy or settings.
    """
    start = time.monotonic()
    check_workdir(workdir, config)
    taxonomy = read_taxonomy(config.taxonomy) if config.taxonomy else None
    parts: dict[str, Part] = {}
    with tqdm(desc="training", unit="step", disable=None, leave=False) as bar:

        def told(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        for title, study in _studies(config, taxonomy).items():
            parts[title] = (study, run_study(study, config, taxonomy=taxonomy, progress=told))
    ours = GIVEN if taxonomy else AUTO if config.method == "auto" else rule_name(config, config.method)
    folder = open_workdir(workdir, config)
    study, outcomes = next(iter(parts.values()))
    save_universal_model(folder / "model", study, outcomes[ours], config)
    write_taxonomy(folder / "taxonomy.json", outcomes[ours].taxonomies[0])
    write_study(folder, parts, config, ours=ours, seconds=time.monotonic() - start)
    for title, part in parts.items():
        print(f"{title}: {study_text(part, config)}\n\n{ours}:")
        print("\n".join(f"  {line}" for line in domain_lines(part, ours)) + "\n")
    print(f"report: {folder / 'report.html'}")
    return parts


def _studies(config: UniversalConfig, taxonomy: Taxonomy | None) -> dict[str, Study]:
    """The rows of each part."""
    if not config.domains:
        return {f"class size {size:g}": generated_study(config, size) for size in config.sizes}
    study = own_study(config)
    first = study.problems[0]
    if taxonomy is not None:
        if taxonomy.domains != first.domains:
            raise InputError(
                f"--taxonomy={config.taxonomy} has the domains {', '.join(taxonomy.domains)}, --domains "
                f"{', '.join(first.domains)}: give the same ones in the same order (NAME=SPEC names one)"
            )
        for domain, known, given in zip(first.domains, taxonomy.class_names, first.class_names, strict=True):
            if known != given:
                odd = sorted(set(known) ^ set(given)) or ["the order"]
                raise InputError(
                    f"--taxonomy={config.taxonomy}: classes of domain {domain!r} differ from those of its data: "
                    f"{', '.join(odd[:5])}; make the taxonomy anew from these data"
                )
    return {"test": study}


def main() -> None:
    """Do what the flags say."""
    values = flags.FLAGS
    run(from_flags(UniversalConfig, values), Path(values.workdir).expanduser())


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
