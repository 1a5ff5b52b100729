"""Every method on few labelled rows, and on all of them: runs of one split side by side, each step kept."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from experiments.cells import Cells, flat_params, tree_params
from experiments.tabular_config import TabularConfig, objective_of
from experiments.tabular_data import Cut, TabularData, cut, draw_labelled, draw_validation
from experiments.tabular_pretraining import pretrained_of
from jlabel.evaluation import Row
from jlabel.tabular import (
    TUNING,
    Pretrained,
    Problem,
    Table,
    TableEncoder,
    encode,
    fit_encoder,
    fit_tuned,
    make_problem,
    pretrain_denoising,
    value_knots,
)

__all__ = ["Found", "Outcome", "Progress", "area", "fit_method", "num_steps", "run_cells"]

THREADS = 2  # networks this small keep one core busy each
HOST = ("prior", "logistic", "gbdt", "gbdt_pl")  # what scikit-learn fits
# Boosting sets the process's number of threads while it runs, and its sums depend on it in their last bits.
_HOST_TURN = threading.Lock()
_EVALUATIONS = 30
Progress = Callable[[str], None]


class Outcome(NamedTuple):
    """Results of a study.

    Attributes:
      tables: caption and rows of each table, methods down and metrics across.
      figures: file name without ending to the figure, its caption, and what it shows for readers who cannot see it.
      rows: all numbers, for results.json. text: paragraphs, what was found. lines: of metrics.jsonl.
      paper: (method, metric) to the published figure.
    """

    tables: Sequence[tuple[str, Sequence[Row]]]
    figures: Mapping[str, tuple[Figure, str, str]]
    rows: Sequence[Row]
    text: Sequence[str] = ()
    lines: Sequence[Mapping[str, Any]] = ()
    paper: Mapping[tuple[str, str], float] = {}


class Found(NamedTuple):
    """A method's areas under the curve, and how it came by them; arrays over runs: splits, within each the seeds.

    Attributes:
      test, val: float64 ``(runs,)``. settings: what tuning chose in each run.
    """

    test: np.ndarray
    val: np.ndarray
    settings: tuple[dict[str, Any], ...]


def rows_of(config: TabularConfig, data: TabularData) -> tuple[str, ...]:
    """The chosen methods that this table allows.

    Without the truth there is no oracle, without categories no pre-training, and a Transformer only of numbers in bins.
    """
    names = [name for name in config.rows if name != "oracle" or data.truth is not None]
    if not data.columns.categorical:
        names = [name for name in names if not objective_of(name)]
        names = [name for name in names if config.bins or not name.startswith("tabtransformer")]
    return tuple(names)


def counts_of(config: TabularConfig) -> tuple[int, ...]:
    """Numbers of labelled rows; 0 is all of the training part."""
    return config.labelled or (0,)


def num_steps(config: TabularConfig, data: TabularData) -> int:
    """Steps of `run_cells`, for a bar."""
    names = rows_of(config, data)
    trained = sum(name != "oracle" for name in names) * len(counts_of(config)) * len(_groups(config))
    before = len({objective_of(name) for name in names} - {None})
    return len(config.splits) * (before + trained)


def run_cells(
    config: TabularConfig, data: TabularData, cells: Cells, progress: Progress
) -> tuple[dict[tuple[str, int], Found], int]:
    """Fit every method for every split, number of labels and seed.

    Args:
      config: settings. data: the table. cells: where finished steps are kept. progress: told each step's name.

    Returns:
      (method, number of labels) to what was found, methods in the order of the table; and the draws of labelled rows
      that held one class only.
    """
    names, redraws = rows_of(config, data), 0
    parts: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {}
    for split in config.splits:
        own = cut(data, split)
        encoder = fit_encoder(data.frame.iloc[own.train], data.columns)
        table = encode(encoder, data.frame)
        pretrained = _pretrainings(config, data, split, cells, progress)
        for count in counts_of(config):
            for seeds in _groups(config):
                problem, drawn_again = _problem(config, data, own, table, encoder.cardinalities, count, seeds)
                redraws += drawn_again
                title = f"split {split}, {count or 'all'} labels, seeds {' '.join(map(str, seeds))}"

                def step(
                    name: str, title: str = title, encoder: TableEncoder = encoder, problem: Problem = problem,
                    own: Cut = own, split: int = split,
                    seeds: tuple[int, ...] = seeds, pretrained: Mapping[str, Pretrained] = pretrained,
                ) -> dict[str, np.ndarray]:  # fmt: skip
                    progress(f"{title}: {name}")
                    return cells.get(
                        f"{title} {name}",
                        lambda: _fit_cell(name, config, encoder, problem, own, split, seeds, pretrained, cells),
                    )

                with ThreadPoolExecutor(THREADS) as pool:
                    trained = [name for name in names if name != "oracle"]
                    for name, arrays in zip(trained, pool.map(step, trained), strict=True):
                        parts.setdefault((name, count), []).append(arrays)
                if "oracle" in names and data.truth is not None:
                    best = np.array([area(data.truth[rows], data.target[rows]) for rows in (own.test, own.val)])
                    test, val = np.tile(best[:, None], (1, len(seeds)))
                    settings = np.array(["{}"] * len(seeds))
                    parts.setdefault(("oracle", count), []).append({"test": test, "val": val, "settings": settings})
    found = {}
    for name in names:
        for count in counts_of(config):
            own_parts = parts[name, count]
            test, val, texts = (np.concatenate([one[key] for one in own_parts]) for key in ("test", "val", "settings"))
            found[name, count] = Found(test, val, tuple(json.loads(str(text)) for text in texts))
    return found, redraws


def fit_method(
    name: str,
    problem: Problem,
    config: TabularConfig,
    *,
    encoder: TableEncoder,
    key: jax.Array,
    pretrained: Pretrained | None = None,
    denoised: Any = None,
) -> Any:
    """A method's fit with the run's settings; the same rounds of tuning for all.

    Args:
      name: of the methods, "mlm_er" is "tabtransformer_er" from a pre-training. problem: rows of each run.
      config: settings. encoder: of the table. key: a typed key for each run.
      pretrained: of mlm and rtd. denoised: of mlp_dae, if at hand.
    """
    objective = objective_of(name)
    base = name if objective is None else "tabtransformer" + name.removeprefix(objective)
    settings: dict[str, Any] = {}
    if base not in HOST:
        every = max(config.steps // _EVALUATIONS, 1)
        settings = {
            "steps": config.steps, "batch_size": config.batch_size, "evaluate_every": every, "progress": False,
        }  # fmt: skip
        if base != "tabnet":
            settings |= {"embedding_size": config.embedding_size, "max_hidden": config.max_hidden}
    if base == "mlp_dae":
        settings |= {"pretraining_steps": config.pretraining_steps} if denoised is None else {"pretrained": denoised}
    if base.startswith("tabtransformer"):
        settings |= {"num_layers": config.num_layers, "num_heads": config.num_heads, "norm": config.norm}
        if not config.tuning_rounds:  # which draws it
            settings["dropout"] = config.dropout
        if objective is not None:
            settings["pretrained"] = pretrained
        elif config.bins:
            settings["knots"] = value_knots(encoder, config.bins)
    return fit_tuned(base, problem, rounds=config.tuning_rounds, key=key, **settings)


def area(probs: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve of probabilities ``(n, C)``; of more than two classes the mean, one against the rest."""
    if probs.shape[1] == 2:
        return float(roc_auc_score(target, probs[:, 1]))
    return float(roc_auc_score(target, probs, multi_class="ovr", labels=np.arange(probs.shape[1])))


def _groups(config: TabularConfig) -> list[tuple[int, ...]]:
    """Seeds that are trained in one program."""
    size = config.side_by_side
    return [config.seeds[k : k + size] for k in range(0, len(config.seeds), size)]


def _pretrainings(
    config: TabularConfig, data: TabularData, split: int, cells: Cells, progress: Progress
) -> dict[str, Pretrained]:
    """Those that the rows of the table start from."""
    wanted = sorted({objective for name in rows_of(config, data) if (objective := objective_of(name))})

    def make(objective: str) -> Pretrained:
        progress(f"split {split}: pre-training {objective}")
        return pretrained_of(config, data, split, objective, cells)

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(wanted, pool.map(make, wanted), strict=True))


def _problem(
    config: TabularConfig, data: TabularData, own: Cut, table: Table, cardinalities: tuple[int, ...], count: int,
    seeds: Sequence[int],
) -> tuple[Problem, int]:  # fmt: skip
    """The rows of each seed, and how many draws of them held one class only."""
    redraws = 0
    if count:
        drawn = [draw_labelled(data, own, count, seed) for seed in seeds]
        labelled = np.stack([rows for rows, _ in drawn])
        redraws = sum(again for _, again in drawn)
        unlabelled = np.stack([np.setdiff1d(own.train, rows) for rows in labelled])
    else:
        labelled, unlabelled = np.tile(own.train, (len(seeds), 1)), None
    validation = draw_validation(own, count, seeds, small=config.small_validation and count > 0)
    problem = make_problem(
        table, data.target, cardinalities=cardinalities, labelled=labelled, unlabelled=unlabelled,
        validation=validation,
    )  # fmt: skip
    return problem, redraws


def _fit_cell(
    name: str, config: TabularConfig, encoder: TableEncoder, problem: Problem, own: Cut, split: int,
    seeds: tuple[int, ...], pretrained: Mapping[str, Pretrained], cells: Cells,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Fit a method, and score it on test rows."""
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), split))(np.array(seeds, np.uint32))
    denoised = None
    if name == "mlp_dae" and not config.tuning_rounds:
        denoised = _denoised(config, problem, keys, f"split {split} seeds {' '.join(map(str, seeds))}", cells)
    objective = objective_of(name)
    with _HOST_TURN if name in HOST else contextlib.nullcontext():
        fit = fit_method(
            name, problem, config, encoder=encoder, key=keys, denoised=denoised,
            pretrained=pretrained[objective] if objective else None,
        )  # fmt: skip
    rows = Table(problem.table.codes[own.test], problem.table.values[own.test], problem.table.unknown)
    probs = fit.predict_proba(rows)
    tuned = TUNING.get(name if objective is None else "tabtransformer" + name.removeprefix(objective), {})
    settings = [{key: value for key, value in fit.settings[place].items() if key in tuned} for place in fit.chosen]
    return {
        "test": np.array([area(mine, problem.labels[own.test]) for mine in probs]),
        "val": fit.scores.max(0),
        "settings": np.array([json.dumps(one) for one in settings]),
    }


def _denoised(config: TabularConfig, problem: Problem, keys: jax.Array, title: str, cells: Cells) -> Any:
    """One denoising pre-training serves all numbers of labels."""

    def make() -> dict[str, np.ndarray]:
        found = pretrain_denoising(
            problem, key=jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys), steps=config.pretraining_steps,
            batch_size=config.batch_size, embedding_size=config.embedding_size, max_hidden=config.max_hidden,
            progress=False,
        )  # fmt: skip
        return flat_params(found)

    return tree_params(cells.get(f"{title} denoising", make))
