"""The fusion study: fine and coarse datasets joined through a label graph, beside every baseline.

`pet_fusion`, `flower_fusion`, `wordnet_fusion` and `arxiv_fusion` are this study with their own defaults.
"""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from experiments import common
from experiments.fusion_config import FusionConfig
from experiments.fusion_data import FusionData, is_frozen, load_fusion, load_plan
from experiments.fusion_heads import train_heads
from experiments.fusion_methods import METHODS, SVM, Method, build_method
from experiments.fusion_model import save_model
from experiments.fusion_report import report_study, score_rows
from experiments.fusion_svm import svm_predictions
from experiments.fusion_training import (
    END_TO_END_RATES,
    FINE_TUNING_RATES,
    Predictions,
    label_combinations,
    train_end_to_end,
)
from jlabel import InputError
from jlabel.evaluation import Row, accuracy, format_table
from jlabel.label_graph import PathPlan
from jlabel.networks import Encoder
from jlabel.training import check_workdir, initialize_distributed, make_mesh, open_workdir

__all__ = ["main", "run"]

# What --tune picks for most methods on the drawn pictures.
DEFAULT_RATE = 5e-2
FINE_TUNING_RATE = 1e-4
TUNE_SEEDS = 2  # seeds over whose validation rows --tune averages, as one seed's pick is mostly noise


def main(experiment: str, paper: dict[tuple[str, str], float] | None = None) -> None:
    """Run the study the flags describe and print its table."""
    config = common.from_flags(FusionConfig, flags.FLAGS, experiment=experiment)
    if config.distributed:
        initialize_distributed(config.distributed)
    rows = run(config, Path(flags.FLAGS.workdir), paper=paper)
    if jax.process_index() == 0:
        print(format_table(rows, paper=paper))
        print(f"\nreport: {Path(flags.FLAGS.workdir) / 'report.html'}")


def run(config: FusionConfig, workdir: Path, *, paper: dict[tuple[str, str], float] | None = None) -> list[Row]:
    """Train every method on every seed, score them, and write results, figures, report and model.

    Args:
      config: the settings. workdir: where everything goes. paper: published figures to show beside ours.

    Returns:
      The rows of the table.
    """
    start = time.monotonic()
    check_workdir(workdir, dataclasses.asdict(config))
    plan = load_plan(
        config.graph,
        max_paths=config.max_paths,
        keep=config.graph_keep,
        seed=config.seeds[0],
        anchors=config.anchors,
        label_sets=config.label_sets,
        contract=config.contract,
        use_tree=None if config.hidden else True,  # without memory a tree costs next to nothing
    )
    datas, net = _load(config, plan)
    names = [m for m in config.methods if _possible(m, datas[0])]
    if not names:
        raise InputError(f"methods: {config.data} has no rows for {', '.join(config.methods)}; give --coarse_data")
    frozen, combos = is_frozen(net, config), label_combinations(datas)
    if config.fine_counts and not frozen:
        raise InputError("fine_counts is for heads on fixed features: freeze a pretrained encoder, or leave it out")
    mesh = make_mesh(config.mesh) if config.mesh or config.distributed else None
    workdir = open_workdir(workdir, dataclasses.asdict(config))
    methods = [
        build_method(name, plan, datas[0].fine_set, config, frozen=frozen, combos=combos)
        for name in names
        if name != SVM
    ]
    train = _train_heads if frozen else _train_end_to_end
    results = train(methods, datas, net, plan, config, workdir, mesh) if methods else {}
    if SVM in names:
        classes = len(plan.graph.label_set(datas[0].fine_set).labels)
        results[SVM] = [
            svm_predictions(data, seed, classes, config.balance) for data, seed in zip(datas, config.seeds, strict=True)
        ]
    results = {name: results[name] for name in METHODS if name in results}
    curve = {}
    if config.fine_counts:
        curve = _train_curve(methods, results, datas, net, plan, config, workdir, mesh)
    rows = score_rows(results, datas, plan, config)
    if jax.process_index() == 0:
        save_model(workdir / "model", results, plan, net, config, datas[0])
        seconds = time.monotonic() - start
        report_study(workdir, rows, results, datas, plan, config, paper=paper or {}, seconds=seconds, curve=curve)
    return rows


def _train_curve(
    methods: list[Method], results: dict[str, list[Predictions]], datas: list[FusionData], net: Encoder, plan: PathPlan,
    config: FusionConfig, workdir: Path, mesh: Any,
) -> dict[str, dict[int, list[float]]]:  # fmt: skip
    """Accuracies of each method, by fine rows a class; every method keeps what it chose in the main study."""

    def scores(found: dict[str, list[Predictions]], these: list[FusionData]) -> dict[str, list[float]]:
        return {
            name: [accuracy(run.decoded, data.test.fine) for run, data in zip(runs, these, strict=True)]
            for name, runs in found.items()
        }

    assert config.fine_per_class is not None
    curve = {name: {config.fine_per_class: values} for name, values in scores(results, datas).items()}
    for count in config.fine_counts:
        if count == config.fine_per_class:
            continue
        # As many rows in all as in the main study: a row that gains its fine label is no coarse row any more.
        whole = None if config.coarse_per_class is None else config.fine_per_class + config.coarse_per_class - count
        changed = dataclasses.replace(config, fine_per_class=count, coarse_per_class=whole)
        these, _ = _load(changed, plan, net)
        found = _train_heads(methods, these, net, plan, changed, workdir, mesh, results)
        if SVM in results:
            classes = len(plan.graph.label_set(datas[0].fine_set).labels)
            found[SVM] = [
                svm_predictions(data, seed, classes, config.balance)
                for data, seed in zip(these, config.seeds, strict=True)
            ]
        for name, values in scores(found, these).items():
            curve[name][count] = values
    return {name: dict(sorted(found.items())) for name, found in curve.items()}


def _train_heads(
    methods: list[Method], datas: list[FusionData], net: Encoder, plan: PathPlan, config: FusionConfig, workdir: Path,
    mesh: Any, earlier: dict[str, list[Predictions]] | None = None,
) -> dict[str, list[Predictions]]:  # fmt: skip
    """Every method on fixed features, all its seeds side by side; ``earlier`` runs lend what they chose."""
    results: dict[str, list[Predictions]] = {}
    # FFN first: its guesses are the pseudo labels.
    for method in tqdm(sorted(methods, key=lambda m: m.name != "FFN"), desc="methods", disable=None, leave=False):
        guesses = [p.coarse_log_probs for p in results["FFN"]] if "FFN" in results else [None] * len(datas)
        before = earlier[method.name][0] if earlier else None
        results[method.name] = train_heads(method, datas, net, plan, config, guesses, workdir, mesh, before)
    return results


def _train_end_to_end(
    methods: list[Method], datas: list[FusionData], net: Encoder, plan: PathPlan, config: FusionConfig, workdir: Path,
    mesh: Any,
) -> dict[str, list[Predictions]]:  # fmt: skip
    """Every method and seed with its encoder; with --tune each method takes the rate best for its first seeds.

    On a processor two runs go at a time, as a small network's step does not fill two cores; all first seeds come
    first, so that two runs seldom compile the same program at once.
    """
    grid, default = (FINE_TUNING_RATES, FINE_TUNING_RATE) if net.pretrained else (END_TO_END_RATES, DEFAULT_RATE)
    rates = (config.rates or grid) if config.tune else (config.learning_rate or default,)
    workers = 2 if jax.default_backend() == "cpu" and mesh is None and jax.process_count() == 1 else 1
    bar = tqdm(desc="runs", total=0, disable=None, leave=False)
    results: dict[str, list[Predictions]] = {}

    def train(jobs: list[tuple[Method, float, int]]) -> list[Predictions]:
        def one(job: tuple[Method, float, int]) -> Predictions:
            method, rate, i = job
            guess = results["FFN"][i].coarse_log_probs if "pseudo" in method.parts else None
            found = train_end_to_end(
                method, datas[i], net, plan, config, config.seeds[i], rate, guess, workdir, mesh
            )  # fmt: skip
            bar.update()
            return found

        bar.total += len(jobs)
        with ThreadPoolExecutor(workers) as pool:
            try:
                return list(pool.map(one, jobs))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    # Pseudo labels wait for the guesses of FFN.
    for group in ([m for m in methods if "pseudo" not in m.parts], [m for m in methods if "pseudo" in m.parts]):
        first = range(TUNE_SEEDS if config.tune else len(datas))[: len(datas)]
        tried = train([(method, rate, i) for rate in rates for i in first for method in group])
        later = []
        for place, method in enumerate(group):
            runs = [tried[place :: len(group)][r * len(first) : (r + 1) * len(first)] for r in range(len(rates))]
            best = max(range(len(rates)), key=lambda r: sum(run.val_score for run in runs[r]))  # noqa: B023
            results[method.name] = runs[best]
            later.append((method, rates[best]))
        rest = train([(method, rate, i) for i in range(len(first), len(datas)) for method, rate in later])
        for place, method in enumerate(group):
            results[method.name] += rest[place :: len(group)]
    bar.close()
    return results


def _load(config: FusionConfig, plan: PathPlan, net: Encoder | None = None) -> tuple[list[FusionData], Encoder]:
    """The data of each seed: drawn anew for embedded data, the same rows otherwise (but for --coarse_data=rest)."""
    drawn = config.data.startswith("embedded:drawn")

    def load(seed: int, net: Encoder | None) -> tuple[FusionData, Encoder]:
        data, coarse = config.data, config.coarse_data
        if drawn:
            data = _with_options(data, seed=seed, **({"anchors": config.anchors} if "drawn_pets" in data else {}))
            if coarse.startswith("embedded:drawn"):
                coarse = _with_options(
                    coarse, seed=seed, **({"anchors": config.anchors} if "species" in coarse else {})
                )
        return load_fusion(config, plan, data=data, coarse_data=coarse, seed=seed, net=net)

    first, net = load(config.seeds[0], net)  # the first compiles the drawing and makes the encoder
    found = [first]
    if drawn or config.coarse_data == "rest":
        with ThreadPoolExecutor(2) as pool:
            found += [data for data, _ in pool.map(lambda seed: load(seed, net), config.seeds[1:])]
    _list_skipped(found[0])
    return found * (len(config.seeds) if len(found) == 1 else 1), net


def _with_options(spec: str, **options: int) -> str:
    """Add options that the spec does not give itself."""
    for name, value in options.items():
        if f"{name}=" not in spec:
            spec += f"{'&' if '?' in spec else '?'}{name}={value}"
    return spec


def _list_skipped(data: FusionData) -> None:
    if data.test.source.split == "train":
        print(f"{data.test.source.spec} has no test rows: a fifth of each class, {len(data.test)} rows, is held out")
    for part, rows in (("training", data.train), ("coarse", data.coarse), ("test", data.test)):
        if rows is not None and rows.source.skipped:
            print(f"skipped {len(rows.source.skipped)} {part} rows:")
            for name, reason in rows.source.skipped:
                print(f"  {name}: {reason}")


def _possible(name: str, data: FusionData) -> bool:
    """Whether the data has the rows that a method trains on."""
    if name == SVM:
        return data.train.texts is not None
    if name == "oracle":
        return data.coarse is not None and bool((data.coarse.fine >= 0).any())
    return data.coarse is not None or METHODS[name] == ("fine",)
