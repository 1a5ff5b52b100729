"""The robustness study: what wrong and missing categories in the test rows cost each method."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.cells import Cells
from experiments.tabular_config import TabularConfig, objective_of
from experiments.tabular_data import TabularData, cut, draw_labelled, draw_validation
from experiments.tabular_figures import rates_figure
from experiments.tabular_pretraining import pretrained_of
from experiments.tabular_study import Outcome, Progress, area, fit_method
from jlabel import InputError
from jlabel.evaluation import Row, make_row, paired_comparison
from jlabel.tabular import (
    Fitted,
    Problem,
    Table,
    TableEncoder,
    TunedFit,
    add_missing,
    add_noise,
    encode,
    fit_encoder,
    make_problem,
)

__all__ = [
    "KINDS", "RATES", "corrupted", "fit_runs", "over_splits", "over_what", "run_robustness", "split_problem",
    "table_scores",
]  # fmt: skip

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
KINDS = {"noise": add_noise, "missing": add_missing}
REFERENCE = "tabtransformer"
METHODS = (REFERENCE, "mlm", "rtd", "mlp", "gbdt", "logistic")
_ON_HOST = ("gbdt", "logistic")
_WHAT = {"noise": "wrong category cells", "missing": "missing category cells"}


def corrupted(
    encoder: TableEncoder, frame: pd.DataFrame, *, kind: str, rates: Sequence[float] = RATES, key: jax.Array
) -> list[Table]:
    """The frame with category cells spoilt at each rate; those of a lower rate are among those of a higher.

    Args:
      encoder: of the training part. frame: test rows. kind: "noise" or "missing". rates: 0 to 1. key: typed PRNG key.
    """
    names = encoder.columns.categorical
    return [encode(encoder, KINDS[kind](frame, columns=names, rate=rate, key=key)) for rate in rates]


def table_scores(fit: Fitted, tables: Sequence[Table], classes: np.ndarray) -> np.ndarray:
    """Area under the curve of each of R runs on each of P tables of the same rows, ``(R, P)``."""
    probs = [fit.predict_proba(table) for table in tables]
    return np.array([[area(own, classes) for own in at] for at in probs]).T


def split_problem(config: TabularConfig, data: TabularData, split: int) -> tuple[TableEncoder, Problem]:
    """One split's problem, a run for each seed: labelled are all training rows, or as many as ``--labelled`` says.

    Raises:
      InputError: several numbers of labelled rows.
    """
    if len(config.labelled) > 1:
        raise InputError(
            f"--labelled={','.join(map(str, config.labelled))}: --study={config.study} takes one number, or none for "
            "all training rows"
        )
    part, count = cut(data, split), len(config.seeds)
    labelled, validation = np.tile(part.train, (count, 1)), np.tile(part.val, (count, 1))
    if config.labelled:
        labelled = np.stack([draw_labelled(data, part, config.labelled[0], seed)[0] for seed in config.seeds])
        validation = draw_validation(part, config.labelled[0], config.seeds, small=config.small_validation)
    encoder = fit_encoder(data.frame.iloc[part.train], data.columns)
    problem = make_problem(
        encode(encoder, data.frame), data.target, cardinalities=encoder.cardinalities, labelled=labelled,
        validation=validation,
    )  # fmt: skip
    return encoder, problem


def fit_runs(
    method: str, config: TabularConfig, data: TabularData, split: int, encoder: TableEncoder, problem: Problem,
    cells: Cells,
) -> list[TunedFit]:  # fmt: skip
    """A method's fits to the runs of `split_problem`, at most ``--side_by_side`` in each.

    Where all training rows are labelled, trees and logistic regression are the same with every seed: one run.
    """
    objective = objective_of(method)
    pretrained = pretrained_of(config, data, split, objective, cells) if objective else None
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), split) for seed in config.seeds])
    rows: Any = problem.validation
    found = []
    count = 1 if method in _ON_HOST and not config.labelled else len(config.seeds)
    for start in range(0, count, config.side_by_side):
        runs = slice(start, min(count, start + config.side_by_side))
        own = problem._replace(labelled=problem.labelled[runs], validation=rows[runs])
        found.append(fit_method(method, own, config, encoder=encoder, key=keys[runs], pretrained=pretrained))
    return found


def over_splits(values: np.ndarray) -> np.ndarray:
    """One number for each split, the mean over its seeds, or of a single split those of its seeds.

    Seeds of a split share their rows, so they are no further evidence of what other rows would give.

    Args:
      values: ``(splits, seeds, ...)``.

    Returns:
      ``(runs, ...)``.
    """
    return values.mean(1) if len(values) > 1 else values[0]


def over_what(config: TabularConfig) -> str:
    """What `over_splits` leaves, in words."""
    splits, seeds = len(config.splits), len(config.seeds)
    if splits == 1:
        return f"{seeds} seeds of one split" if seeds > 1 else "one run"
    return f"{splits} splits" + (f", in each the mean of {seeds} seeds" if seeds > 1 else "")


def run_robustness(
    config: TabularConfig, data: TabularData, cells: Cells, progress: Progress = lambda _: None
) -> Outcome:
    """Score every method on test rows with wrong and with missing categories.

    Args:
      config: settings. data: the table. cells: of the run. progress: told each step before it begins.

    Returns:
      Tables, figures and rows; relative scores are divided by TabTransformer's on the clean test rows of the same split
      and seed.

    Raises:
      InputError: several numbers of labelled rows, or a table without category columns.
    """
    if not data.columns.categorical:
        raise InputError(
            f"--data={config.data} has no category columns, and --study=robustness spoils these; --categorical=COLUMN "
            "makes one"
        )
    methods = [name for name in METHODS if name == REFERENCE or name in config.rows]
    found = [_split_scores(methods, config, data, split, cells, progress) for split in config.splits]
    return _outcome(config, data, {name: np.stack([own[name] for own in found]) for name in methods})


def _split_scores(
    methods: Sequence[str], config: TabularConfig, data: TabularData, split: int, cells: Cells, progress: Progress
) -> dict[str, np.ndarray]:
    """For each method the areas of one split ``(seeds, kinds, rates)``."""
    encoder, problem = split_problem(config, data, split)
    test, key = cut(data, split).test, jax.random.fold_in(jax.random.key(split), 1)
    spoilt = [table for kind in KINDS for table in corrupted(encoder, data.frame.iloc[test], kind=kind, key=key)]

    def scores(method: str) -> dict[str, np.ndarray]:
        fits = fit_runs(method, config, data, split, encoder, problem, cells)
        return {"scores": np.concatenate([table_scores(fit, spoilt, data.target[test]) for fit in fits])}

    found = {}
    for method in methods:
        progress(f"split {split}, {method}")
        areas = cells.get(f"robustness split {split} {method}", functools.partial(scores, method))["scores"]
        found[method] = np.broadcast_to(
            areas.reshape(-1, len(KINDS), len(RATES)), (len(config.seeds), len(KINDS), len(RATES))
        )
    return found


def _outcome(config: TabularConfig, data: TabularData, scores: Mapping[str, np.ndarray]) -> Outcome:
    """Areas ``(splits, seeds, kinds, rates)`` of each method as tables, figures and text."""
    clean = scores[REFERENCE][..., :1, :1]
    runs = {
        "AUC": {name: over_splits(values) for name, values in scores.items()},
        "relative AUC": {name: over_splits(values / clean) for name, values in scores.items()},
    }
    over, labels = over_what(config), f"{config.labelled[0] if config.labelled else 'all'} labelled rows"
    rows: list[Row] = []
    tables, figures, text = [], {}, []
    for place, kind in enumerate(KINDS):
        for what, series in runs.items():
            rows += [
                make_row(name, f"{what} at {rate:.0%}", values[:, place, k], split=kind)
                for name, values in series.items()
                for k, rate in enumerate(RATES)
            ]
        relative = {name: values[:, place] for name, values in runs["relative AUC"].items()}
        for part in (RATES[:3], RATES[3:]):  # six columns would not fit a page
            shown = [f"relative AUC at {rate:.0%}" for rate in part]
            caption = (
                f"{data.name}: AUC with {_WHAT[kind]} over TabTransformer's clean AUC, {labels}; mean ± std and 95 % t "
                f"interval over {over}."
            )
            tables.append((caption, [row for row in rows if row.split == kind and row.metric in shown]))
        figures[f"robustness_{kind}"] = (
            rates_figure(
                RATES, relative, xlabel=f"share of {_WHAT[kind]} in the test rows",
                ylabel="AUC / clean AUC of TabTransformer", title=data.name,
            ),
            f"AUC with {_WHAT[kind]}, divided by TabTransformer's on clean rows, {labels}: means and 95 % intervals "
            f"over {over}.",
            f"AUC against the share of {_WHAT[kind]}",
        )  # fmt: skip
        text.append(_told(kind, relative))
    lines = [
        {"split": split, "seed": seed, "method": name, "kind": kind, "rates": list(RATES), "auc": own.tolist()}
        for name, values in scores.items()
        for split, of_split in zip(config.splits, values, strict=True)
        for seed, of_seed in zip(config.seeds, of_split, strict=True)
        for kind, own in zip(KINDS, of_seed, strict=True)
    ]
    return Outcome(tables, figures, rows, text, lines)


def _told(kind: str, relative: Mapping[str, np.ndarray]) -> str:
    """What the highest rate costs, in words."""
    last = {name: values[:, -1] for name, values in relative.items()}
    kept = ", ".join(f"{name} {values.mean():.3f}" for name, values in last.items())
    found = f"With {RATES[-1]:.0%} {_WHAT[kind]}, AUC over TabTransformer's clean AUC: {kept}."
    if len(last[REFERENCE]) > 1:
        gaps = {name: paired_comparison(last[REFERENCE], last[name]) for name in last if name != REFERENCE}
        told = ", ".join(
            f"{name} {gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" for name, gap in gaps.items()
        )
        found += f" TabTransformer less each method: {told}."
    return found
