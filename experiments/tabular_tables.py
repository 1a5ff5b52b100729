"""The studies of few and of all labels: tables of areas and of paired differences, figures, and what was found."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.cells import Cells
from experiments.tabular_config import OBJECTIVES, TabularConfig, objective_of
from experiments.tabular_data import TabularData
from experiments.tabular_paper import paper_figures, paper_text
from experiments.tabular_study import Found, Outcome, Progress, counts_of, rows_of, run_cells
from jlabel.evaluation import Row, comparison_figure, lines_figure, make_row, paired_comparison

__all__ = ["run_methods"]

REFERENCES = ("prior", "oracle")
LINES = ("mlm", "rtd", "tabtransformer", "mlp", "gbdt", "logistic")  # few enough for one figure
Results = Mapping[tuple[str, int], Found]


def run_methods(config: TabularConfig, data: TabularData, cells: Cells, progress: Progress) -> Outcome:
    """Studies "semi" and "supervised": every method on every split, number of labels and seed."""
    found, redraws = run_cells(config, data, cells, progress)
    counts, methods = counts_of(config), tuple(dict.fromkeys(name for name, _ in found))
    areas = [make_row(name, _metric(count), found[name, count].test) for name in methods for count in counts]
    rows, over = list(areas), _over(config)
    tables: list[tuple[str, Sequence[Row]]] = [(f"Area under the ROC curve, test rows of {data.name}; {over}.", areas)]
    for ours in _ours(methods):
        gaps = [
            make_row(name, f"{ours} less this, {_labels(count)}", found[ours, count].test - found[name, count].test)
            for name in methods
            if name != ours
            for count in counts
        ]
        rows += gaps
        if gaps:
            tables.append((f"What {ours} has more than each method, run by run; {over}.", gaps))
    paper = paper_figures(config, data, _metric(0))
    text = [_found_text(found, methods, counts), _protocol_text(config, data, redraws), paper_text(config, data)]
    figures = _figures(found, areas, methods, counts, paper, over)
    return Outcome(tables, figures, rows, [part for part in text if part], _lines(config, found), paper)


def _metric(count: int) -> str:
    return f"AUC, {_labels(count)}"


def _labels(count: int) -> str:
    return f"{count} labels" if count else "all labels"


def _over(config: TabularConfig) -> str:
    """What the runs are."""
    splits, seeds = len(config.splits), len(config.seeds)
    if splits * seeds == 1:
        return "one run"
    parts = [f"{count} {name}{'s' * (count > 1)}" for count, name in ((splits, "split"), (seeds, "seed"))]
    return f"mean ± std and 95 % t interval over {' x '.join(parts)}"


def _ours(methods: Sequence[str]) -> tuple[str, ...]:
    """Methods that the others are held against."""
    first = tuple(name for name in OBJECTIVES if name in methods)
    return first or tuple(name for name in ("tabtransformer",) if name in methods)


def _found_text(found: Results, methods: Sequence[str], counts: Sequence[int]) -> str:
    """Each of ours beside the neural rows without pre-training and beside the best of the others."""
    lines = []
    rivals = [
        name
        for name in methods
        if name.startswith(("mlp", "sparse", "vib", "tab")) and name != "mlp_dae" and not objective_of(name)
    ]
    for ours in _ours(methods):
        others = [name for name in rivals if name != ours]
        for count in counts:
            own = found[ours, count].test
            text = f"{_labels(count)}: {ours} {own.mean():.3f}"
            if others and len(own) > 1:
                gaps = {name: paired_comparison(own, found[name, count].test) for name in others}
                nearest = min(gaps, key=lambda name: gaps[name].difference)
                one, above = gaps[nearest], sum(gap.low > 0 for gap in gaps.values())
                text += (
                    f", better than {above} of {len(others)} networks without pre-training by its whole interval; less "
                    f"the nearest of them, {nearest}, {one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
                )
            lines.append(text + ".")
    first = []
    for count in counts:
        name = max((name for name in methods if name != "oracle"), key=lambda name: found[name, count].test.mean())
        first.append(f"{_labels(count)}: {name} {found[name, count].test.mean():.3f}")
    lines.append(f"Highest mean, {', '.join(first)}.")
    return "\n".join(lines)


def _protocol_text(config: TabularConfig, data: TabularData, redraws: int) -> str:
    """What was done, as far as it is no setting."""
    columns = data.columns
    parts = [
        f"{data.name}: {len(data.frame):,} rows, {len(columns.categorical)} columns of categories, "
        f"{len(columns.continuous)} of numbers"
        + (f", {len(columns.dropped)} with nothing to tell left out" if columns.dropped else "")
        + ". Five splits of 65 % training, 15 % validation and 20 % test rows."
    ]
    if config.labelled:
        parts.append(
            f"The labelled rows are drawn from the training rows, the others are the unlabelled ones; {redraws} draws "
            "held one class only and were drawn again."
        )
        size = "as many rows as are labelled" if config.small_validation else "all 15 %, as in the paper"
        parts.append(f"Validation, {size}, chooses the best step, sparsity and settings; no test row chooses anything.")
    missing = [name for name in config.rows if name not in rows_of(config, data)]
    if missing:
        parts.append(f"Not for this table: {', '.join(missing)}.")
    return " ".join(parts)


def _lines(config: TabularConfig, found: Results) -> list[dict]:
    runs = [(split, seed) for split in config.splits for seed in config.seeds]
    return [
        {
            "method": name, "labelled": count or "all", "split": split, "seed": seed, "test_auc": float(one.test[k]),
            "val_auc": float(one.val[k]), "settings": one.settings[k],
        }
        for (name, count), one in found.items()
        for k, (split, seed) in enumerate(runs)
    ]  # fmt: skip


def _figures(
    found: Results, areas: Sequence[Row], methods: Sequence[str], counts: Sequence[int],
    paper: Mapping[tuple[str, str], float], over: str,
) -> dict[str, tuple[Figure, str, str]]:  # fmt: skip
    figures = {}
    for part in range(0, len(counts), 3):
        shown = [_metric(count) for count in counts[part : part + 3]]
        name = "comparison" if len(counts) <= 3 else f"comparison_{part // 3}"
        figures[name] = (
            comparison_figure(areas, metrics=shown, ours=_ours(methods), references=REFERENCES, paper=paper or None),
            f"Area under the ROC curve on test rows; {over}.",
            "Areas of every method",
        )
    lines = {
        name: (list(counts), np.stack([found[name, count].test for count in counts], 1))
        for name in LINES
        if name in methods
    }
    if len(counts) > 1 and lines:
        references = {"oracle": float(found["oracle", counts[0]].test.mean())} if "oracle" in methods else None
        figure = lines_figure(lines, xlabel="labelled rows", ylabel="AUC", log_x=True, references=references)
        figure.axes[0].set_xticks(list(counts), [str(count) for count in counts])
        figure.axes[0].minorticks_off()
        figures["labels"] = figure, "Area against the number of labels; bands: one std over runs.", "AUC by labels"
    return figures
