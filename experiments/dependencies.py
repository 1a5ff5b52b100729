"""Dependencies between rules: what modelling them does to labels and to a model trained on the labels.

    python -m experiments.dependencies
        votes drawn from a known graph of 12 rules with three dependencies; 5 seeds, three minutes on two cores

    python -m experiments.dependencies --data='parquet:imdb_{train,test}.parquet?text=text' \\
        --seeds=0,1,2,3,4,5,6,7,8,9 --steps=1000
        25,000 reviews, word rules of experiments/tables/imdb_rules.csv; some fifteen minutes

    python -m experiments.dependencies --data='csv:mine.csv?text=body&label=stars' --rules=mine_rules.csv
        your own texts of two classes (splits train and test) and words

Drawn votes: the true dependencies lower the labels' NLL, false ones raise it, both together are as good as the true
ones. Numbers to expect: docs/results/dependencies.md.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import common
from experiments.dependency_data import FALSE, PLANTED, VoteData, drawn_votes, review_votes
from experiments.dependency_models import LabelModel, end_scores, fit_label_model, label_scores, strongest
from experiments.dependency_report import report_study
from jlabel import InputError
from jlabel.evaluation import Row, format_table, make_row
from jlabel.training import check_positive, check_workdir, open_workdir
from jlabel.weak_supervision import Dependency, choose_dependencies, factor_graph_probs, learn_structure

__all__ = ["DependencyConfig", "run"]

EMBEDDED = "embedded:factor_graph"
RULES_FILE = Path(__file__).parent / "tables" / "imdb_rules.csv"
ADVISED = 10  # of each kind: the long list that is put to the advice
MANY_RULES = 30  # beyond, structure is learned by the faster method
CURVES = {True: (0, 1, 3, 5, 10), False: (0, 1, 3, 5, 10, 20, 40, 80, 160, 320)}
NONE, TRUE, BOTH, ORACLE = "none", "true", "true + false", "oracle (true labels)"
METRICS = (
    "end AUC", "end AUC gain", "label AUC", "label AUC gain", "label NLL", "dependencies", "mean gap", "largest gap",
    "bound (sharp)", "bound", "bound (printed)",
)  # fmt: skip
CURVE_NAME = "strongest {} of each kind"


@dataclass(frozen=True)
class DependencyConfig:
    """Settings of the study; each is a flag of the same name."""

    data: str = EMBEDDED
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 600
    batch_size: int = 256
    learning_rate: float | None = None
    dependencies: tuple[int, ...] = ()
    rules: str = str(RULES_FILE)
    rows: int | None = None
    hidden: tuple[int, ...] = (32, 32)
    l2: float = 1e-3
    structure: str = "auto"
    threshold: float = 0.05
    advice_labels: int = 500
    advice_block: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is written."""
        for name in ("steps", "batch_size", "advice_labels"):
            check_positive(name, getattr(self, name), whole=True)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        if self.rows is not None:
            check_positive("rows", self.rows, whole=True)
        for width in self.hidden:
            check_positive("hidden", width, whole=True)
        for name in ("l2", "threshold", "advice_block"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name}={getattr(self, name)} must be at least 0 and finite")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"seeds={self.seeds}: give at least one, each once, none below 0")
        if self.dependencies and (min(self.dependencies) < 0 or len(set(self.dependencies)) < len(self.dependencies)):
            raise InputError(f"dependencies={self.dependencies}: give numbers of 0 or more, each once")
        if self.structure not in ("auto", "pseudolikelihood", "sparse_lowrank"):
            raise InputError(f"structure={self.structure!r}: choose auto, pseudolikelihood or sparse_lowrank")


def run(config: DependencyConfig, workdir: Path) -> list[Row]:
    """Fit every label model, train an end model on each one's labels, and write results, figures and report.

    Args:
        config: The settings.
        workdir: Where everything goes.

    Returns:
        The rows of the table.
    """
    start = time.monotonic()
    check_workdir(workdir, dataclasses.asdict(config))
    drawn = config.data == EMBEDDED
    # Drawn votes are drawn anew for each seed; the same reviews serve all seeds of the end model.
    groups = [(seed,) for seed in config.seeds] if drawn else [config.seeds]
    found: dict[str, dict[str, list[float]]] = {}
    advice = ""
    bar = tqdm(groups, desc="data sets", disable=None, leave=False)
    for seeds in bar:
        data = _load(config, seeds[0])
        models, told = _label_models(config, data, seeds[0], bar)
        advice = advice or told
        reference = next(model for model in models if model.name == NONE)
        for model in models:
            for metric, value in label_scores(model, reference, data).items():
                found.setdefault(model.name, {}).setdefault(metric, []).append(value)
        bar.set_postfix_str("end models")
        probs = np.stack([model.probs for model in models], axis=1)
        ends = end_scores(
            probs, data, seeds=seeds, hidden=config.hidden, steps=config.steps,
            batch_size=min(config.batch_size, len(data.votes)), learning_rate=config.learning_rate or 3e-3,
        )  # fmt: skip
        for model, scores in zip(models, ends, strict=True):
            found[model.name].setdefault("end AUC", []).extend(scores.tolist())
    workdir = open_workdir(workdir, dataclasses.asdict(config))
    for scores in found.values():
        # Paired: the same votes, rows and starts. Data sets differ far more from each other than rows of the table do.
        for metric in ("end AUC", "label AUC"):
            scores[f"{metric} gain"] = np.subtract(scores[metric], found[NONE][metric]).tolist()
    rows = [
        make_row(name, metric, found[name][metric]) for name in found for metric in METRICS if metric in found[name]
    ]
    report_study(workdir, rows, config, curve=_curve(config), advice=advice, seconds=time.monotonic() - start)
    return rows


def _load(config: DependencyConfig, seed: int) -> VoteData:
    if config.data != EMBEDDED:
        return review_votes(config.data, Path(config.rules), max_rows=config.rows)
    sizes = {} if config.rows is None else {"rows": config.rows, "test_rows": max(config.rows // 4, 100)}
    return drawn_votes(seed, **sizes)


def _curve(config: DependencyConfig) -> tuple[int, ...]:
    return config.dependencies or CURVES[config.data == EMBEDDED]


def _label_models(config: DependencyConfig, data: VoteData, seed: int, bar: tqdm) -> tuple[list[LabelModel], str]:
    """Every row of the table, and what the advice was."""
    key = jax.random.key(seed)
    drawn = data.truth is not None

    def fit(name: str, dependencies: list[Dependency], polarity: str = "seen") -> LabelModel:
        bar.set_postfix_str(name)
        return fit_label_model(name, data, dependencies, l2=config.l2, key=key, polarity=polarity)

    models = [_trivial(data), _majority(data), fit(NONE, [])]
    if drawn:
        named = {TRUE: PLANTED, "false": FALSE, BOTH: PLANTED + FALSE}
        models += [fit(name, list(dependencies)) for name, dependencies in named.items()]
    else:
        models.append(fit("none, rules taken as two-sided", [], polarity="both"))
    bar.set_postfix_str("structure")
    method = config.structure
    if method == "auto":
        method = "pseudolikelihood" if len(data.names) <= MANY_RULES else "sparse_lowrank"
    learned = learn_structure(data.votes, method=method, threshold=config.threshold)  # type: ignore[arg-type]
    models.append(fit("learned", [dependency for dependency, _ in learned]))
    models += [fit(CURVE_NAME.format(count), strongest(data, count)) for count in _curve(config) if count]
    lines = []
    for name, candidates, block in _proposals(config, data):
        rows = np.random.default_rng([seed, 2]).permutation(len(data.votes))[: config.advice_labels]
        for end, labelled in (("votes", None), (f"votes, {len(rows)} labels", rows)):
            advised = f"{name}, advised by {end}"
            bar.set_postfix_str(advised)
            labels = None if labelled is None else data.labels[labelled]
            given = choose_dependencies(
                data.votes, candidates, rows=labelled, labels=labels, block=block, l2=config.l2, key=key
            )
            models.append(fit(advised, [one.dependency for one in given if one.keep]))
            lines += [
                f"{advised}: {'keep' if one.keep else 'drop'} {one.dependency.kind} of "
                f"{data.names[one.dependency.j]!r} by {data.names[one.dependency.k]!r}: "
                f"votes {one.gain:+.4f} ± {one.error:.4f}"
                + ("" if labelled is None else f", labels {one.label_gain:+.4f} ± {one.label_error:.4f}")
                for one in given
            ]
    if data.truth is not None:
        probs, test_probs = (factor_graph_probs(data.truth, votes)[:, 1] for votes in (data.votes, data.test_votes))
        models.append(LabelModel("true graph", data.truth, probs, test_probs))
    models.append(LabelModel(ORACLE, None, data.labels.astype(float), data.test_labels.astype(float)))
    return models, "\n\n".join(lines)


def _proposals(config: DependencyConfig, data: VoteData) -> list[tuple[str, list[Dependency], int]]:
    """Name of each list that is put to the advice, the list, and how many of it are judged together."""
    many = (f"strongest {ADVISED}", strongest(data, ADVISED), config.advice_block or 5)
    # False ones first: the harder order.
    return [(BOTH, list(FALSE + PLANTED), config.advice_block or 1), many] if data.truth is not None else [many]


def _trivial(data: VoteData) -> LabelModel:
    return LabelModel("trivial (all even)", None, np.full(len(data.votes), 0.5), np.full(len(data.test_votes), 0.5))


def _majority(data: VoteData) -> LabelModel:
    """Share of the votes for class 1, one half where there is none."""
    probs = []
    for votes in (data.votes, data.test_votes):
        cast = (votes >= 0).sum(axis=1)
        probs.append(np.where(cast > 0, (votes == 1).sum(axis=1) / np.maximum(cast, 1), 0.5))
    return LabelModel("majority vote", None, *probs)


def _define_flags() -> None:
    default = DependencyConfig()
    common.define_shared_flags(
        data=EMBEDDED, workdir="runs/dependencies", seeds=",".join(map(str, default.seeds)), steps=default.steps,
        batch_size=default.batch_size,
    )  # fmt: skip
    flags.DEFINE_list(
        "dependencies", [], "Points of the curve: how many dependencies of each kind, the strongest first; by default "
        "0,1,3,5,10 for drawn votes, up to 320 for texts."
    )  # fmt: skip
    flags.DEFINE_string("rules", default.rules, "For texts: CSV with the columns term and label (positive, negative).")
    flags.DEFINE_integer("rows", None, "At most so many training rows; by default all (20000 drawn).")
    flags.DEFINE_list("hidden", list(map(str, default.hidden)), "Hidden sizes of the end model.")
    flags.DEFINE_float("l2", default.l2, "Penalty of the factor graph.")
    flags.DEFINE_enum(
        "structure", "auto", ["auto", "pseudolikelihood", "sparse_lowrank"], "How the row learned finds dependencies; "
        f"auto takes the pseudolikelihood up to {MANY_RULES} rules."
    )  # fmt: skip
    flags.DEFINE_float("threshold", default.threshold, "Strength above which a learned dependency counts.")
    flags.DEFINE_integer("advice_labels", default.advice_labels, "Labelled rows that the advice may see.")
    flags.DEFINE_integer("advice_block", 0, "Dependencies judged together by the advice; 0: one by one, or 5 of many.")


def _numbers(name: str) -> tuple[int, ...]:
    given = flags.FLAGS[name].value or []
    try:
        return tuple(int(text) for text in given)
    except ValueError as error:
        raise InputError(f"--{name}={','.join(given)}: give whole numbers separated by commas") from error


def main() -> None:
    """Run the study the flags describe and print its table."""
    lists = {name: _numbers(name) for name in ("dependencies", "hidden")}
    config = common.from_flags(DependencyConfig, flags.FLAGS, **lists)
    rows = run(config, Path(flags.FLAGS.workdir))
    print(format_table(rows))
    print(f"\nreport: {Path(flags.FLAGS.workdir) / 'report.html'}")


if __name__ == "__main__":
    _define_flags()
    common.run_main(main, doc=__doc__)
