"""A user's own rows: methods compared on the labelled ones, the best kept, the unlabelled ones predicted."""

import functools
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from experiments.cells import Cells
from experiments.tabular_config import TabularConfig, objective_of
from experiments.tabular_data import TabularData, load_data
from experiments.tabular_model import Model, model_of, save_model, write_predictions
from experiments.tabular_own_report import write_own_report
from experiments.tabular_plan import Plan, apart, plan_rows
from experiments.tabular_pretraining import pretrained_on
from experiments.tabular_study import area, fit_method, rows_of
from jlabel import InputError
from jlabel.evaluation import Row, build_results, format_table, make_row, write_results
from jlabel.tabular import (
    Pretrained,
    Problem,
    Table,
    TableEncoder,
    TunedFit,
    attention_importance,
    encode,
    fit_encoder,
    make_problem,
    permutation_importance,
)
from jlabel.training import check_workdir, open_workdir

__all__ = ["run_own"]

LOOKED_AT = 2000  # rows that tell what a model relied on


def run_own(config: TabularConfig, workdir: Path) -> Model:
    """Compare the methods, keep the best by validation; write the model, predictions.csv, results and report.html.

    Args:
      config: the settings. workdir: where everything goes; finished steps that it holds are not done again.

    Raises:
      InputError: a file, a target or settings that do not serve.
    """
    start = time.monotonic()
    check_workdir(workdir, config)
    data = load_data(config)
    plan = plan_rows(data, config)
    names = rows_of(config, data)
    if not len(plan.unlabelled):
        names = tuple(name for name in names if not name.endswith(("_er", "_pl")))
    if not names:
        raise InputError(f"--methods={','.join(config.methods)}: none is for this table; try logistic,gbdt,mlp")
    folder = open_workdir(workdir, config)
    cells = Cells(folder / "cells")
    seen = np.union1d(plan.labelled, plan.unlabelled)
    objectives = sorted({objective for name in names if (objective := objective_of(name))})
    encoder = fit_encoder(data.frame.iloc[seen], data.columns)
    own = _Own(config, data, plan, encoder, encode(encoder, data.frame), {}, cells)
    scores = {}
    with tqdm(desc="own rows", total=len(objectives) + len(names) + 2, unit="step", disable=None, leave=False) as bar:
        for objective in objectives:
            bar.set_postfix_str(f"pre-training {objective}")
            own.pretrained[objective] = pretrained_on(
                config, data.frame.iloc[seen], data.columns, objective, cells, name="own", seed=config.seeds[0]
            )
            bar.update()
        for name in names:
            bar.set_postfix_str(name)
            scores[name] = cells.get(f"comparison {name}", functools.partial(own.compare, name))
            bar.update()
        best = max(names, key=lambda name: scores[name]["val"].mean())
        bar.set_postfix_str(f"{best} on all labelled rows")
        model = own.keep(best)
        bar.update()
        bar.set_postfix_str(f"what {best} relied on")
        importance = own.importance(best, model)
    save_model(folder / "model.safetensors", model)
    rows = _rows(scores, config)
    write_results(
        folder / "results.json",
        build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=time.monotonic() - start),
    )
    text = _text(folder, data, plan, names, best, rows, config)
    if len(plan.held):
        one = area(model.predict_proba(_at(own.table, plan.held)), data.target[plan.held])
        text.insert(3, f"The kept model itself has {one:.3f} on the {len(plan.held)} rows that were kept for the test.")
    write_own_report(folder, data, config, rows=rows, text=text, importance=importance)
    print(f"{format_table(rows)}\n\n" + "\n\n".join(text) + "\n")
    others = np.setdiff1d(np.arange(len(data.target)), plan.labelled)
    if len(others):
        table = _at(own.table, others)
        write_predictions(folder / "predictions.csv", model, model.predict_proba(table), data.ids[others])
        print(f"predictions: {folder / 'predictions.csv'}")
    print(f"model: {folder / 'model.safetensors'}\nreport: {folder / 'report.html'}")
    return model


class _Own(NamedTuple):
    """What all steps share."""

    config: TabularConfig
    data: TabularData
    plan: Plan
    encoder: TableEncoder
    table: Table
    pretrained: dict[str, Pretrained]
    cells: Cells

    def compare(self, name: str) -> dict[str, np.ndarray]:
        """A method's scores on validation and its areas on test rows, a number for each comparison."""
        fit = self._fit(name, self._problem(self.plan.train, self.plan.val))
        rows = np.unique(np.concatenate(self.plan.test))
        return {"val": fit.scores.max(0), "test": self._areas(fit, _at(self.table, rows), rows)}

    def keep(self, name: str) -> Model:
        """The method on all labelled rows; 15 % of them choose its best step."""
        train, val = apart(self.data.target, self.plan.labelled, self.config.seeds[0])
        problem = self._problem(train[None], (val,))
        fit = self._fit(name, problem)
        return model_of(name, fit, problem, self.encoder, target=self.config.target, class_names=self.data.class_names)

    def importance(self, name: str, model: Model) -> pd.DataFrame:
        """What the area loses without each column, on rows that were not learned from, and where attention goes."""

        def make() -> dict[str, np.ndarray]:
            fit = self._fit(name, self._problem(self.plan.train, self.plan.val))
            tests = np.unique(np.concatenate(self.plan.test))
            rows = np.sort(np.random.default_rng(0).permutation(tests)[:LOOKED_AT])
            found = permutation_importance(
                lambda table: float(np.mean(self._areas(fit, table, rows))), _at(self.table, rows), self.encoder,
                key=jax.random.key(0),
            )  # fmt: skip
            place = [list(self.data.frame.columns).index(column) for column in found.index]
            return {"column": np.array(place), "drop": found["drop"].to_numpy(), "std": found["std"].to_numpy()}

        kept = self.cells.get(f"importance {name}", make)
        names = pd.Index(self.data.frame.columns[kept["column"]])
        found = pd.DataFrame({"drop": kept["drop"], "std": kept["std"]}, index=names)
        network = model.network.network
        if model.fit is None and network.num_layers and network.num_tokens:
            found["attention"] = (
                attention_importance(model.network, self.data.frame.head(LOOKED_AT))
                .reindex(found.index.map(str))
                .to_numpy()
            )
        return found

    def _fit(self, name: str, problem: Problem) -> TunedFit:
        key = jax.random.fold_in(jax.random.key(self.config.seeds[0]), 1)
        keys = jax.random.split(key, problem.num_runs)
        objective = objective_of(name)
        return fit_method(
            name, problem, self.config, encoder=self.encoder, key=keys,
            pretrained=self.pretrained[objective] if objective else None,
        )  # fmt: skip

    def _problem(self, train: np.ndarray, val: Sequence[np.ndarray]) -> Problem:
        longest = max(len(rows) for rows in val)
        validation = np.stack([np.pad(rows, (0, longest - len(rows)), constant_values=-1) for rows in val])
        others = self.plan.unlabelled
        return make_problem(
            self.table, self.data.target, cardinalities=self.encoder.cardinalities, labelled=train,
            unlabelled=np.tile(others, (len(train), 1)) if len(others) else None, validation=validation,
        )  # fmt: skip

    def _areas(self, fit: TunedFit, table: Table, rows: np.ndarray) -> np.ndarray:
        """Each comparison's area on those of its test rows that are among ``rows``."""
        found = []
        for probs, test in zip(fit.predict_proba(table), self.plan.test, strict=True):
            here = np.isin(rows, test)
            found.append(area(probs[here], self.data.target[rows[here]]))
        return np.array(found)


def _at(table: Table, rows: np.ndarray) -> Table:
    return Table(table.codes[rows], table.values[rows], table.unknown)


def _rows(scores: dict[str, dict[str, np.ndarray]], config: TabularConfig) -> list[Row]:
    return [
        make_row(name, metric, one[part], split=split)
        for metric, part, split in (("AUC", "test", "held-out rows"), ("AUC", "val", "validation rows"))
        for name, one in scores.items()
    ]


def _text(
    folder: Path, data: TabularData, plan: Plan, names: Sequence[str], best: str, rows: Sequence[Row],
    config: TabularConfig,
) -> list[str]:  # fmt: skip
    """What was done and found, in words."""
    counts = np.bincount(data.target[plan.labelled], minlength=len(data.class_names))
    shares = ", ".join(f"{count} {name}" for name, count in zip(data.class_names, counts, strict=True))
    said = f"{len(plan.labelled)} labelled rows ({shares}), {len(plan.unlabelled)} unlabelled ones."
    if len(plan.held):
        said += f" {len(plan.held)} more rows with a {config.target} were kept for the test and seen by nothing."
    runs = len(plan.train)
    if runs == 1:
        how = "One split into rows to learn from, to choose by and to test on"
    else:
        how = f"{runs} times {len(plan.train[0])} rows to learn from, others to choose the best step by"
        how += ", tested on the rows kept" if len(plan.held) else ", tested on a part that was in neither"
    score = next(row for row in rows if row.method == best and row.split == "held-out rows")
    kept = f"Kept: {best}, the best on validation rows, then fitted to all labelled rows. Area under its curve on rows "
    kept += f"it did not learn from: {score.mean:.3f}"
    if np.isfinite(score.std):
        kept += f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]"
    texts = [said, f"{how}.", f"{kept}."]
    if any(map(objective_of, names)) and not len(plan.held):
        texts.append(
            "Pre-training saw the inputs of all rows of the file, as it does of those whose target you want; for rows "
            "that come later expect a little less."
        )
    model = shlex.quote(str(folder / "model.safetensors"))
    texts.append(f"New rows: python -m experiments.tabular --model={model} --data=csv:new.csv")
    left_out = [name for name in config.rows if name not in names]
    if left_out:
        texts.append(f"Not for this table: {', '.join(left_out)}.")
    return texts
