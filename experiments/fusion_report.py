"""Scores, figures and the report of a fusion study."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jlabel.data
from experiments.fusion_data import FusionData
from experiments.fusion_hierarchy import add_hierarchy
from experiments.fusion_methods import METHODS
from experiments.fusion_texts import add_text_gallery
from experiments.fusion_training import Predictions
from jlabel.evaluation import (
    Report,
    Row,
    accuracy,
    balanced_accuracy,
    bootstrap_interval,
    build_results,
    calibration_error,
    comparison_figure,
    confusion_figure,
    confusion_matrix,
    curves_figure,
    f1_score,
    graph_figure,
    hierarchical_scores,
    lines_figure,
    make_row,
    multilabel_f1,
    paired_bootstrap,
    paired_comparison,
    reliability_bins,
    reliability_figure,
    save_figure,
    versions,
    write_results,
)
from jlabel.label_graph import PathPlan, graph_spec, labels_below, majority_label

__all__ = ["report_study", "score_rows"]

OURS = ("graph fused", "graph fused (credit all)", "graph fused (marginal)", "graph fine-only")
REFERENCES = ("majority", "oracle")


def score_rows(
    results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData], plan: PathPlan, config: Any
) -> list[Row]:
    """Every method's metrics over the runs, with the trivial row last but one and the oracle last."""
    rows = []
    names = [n for n in METHODS if n in results and n != "oracle"] + ["majority"]
    for name in names + (["oracle"] if "oracle" in results else []):
        runs = results.get(name)
        decoded = [p.decoded for p in runs] if runs else [_majority(data) for data in datas]
        truth = [data.test.fine for data in datas]
        metrics = {
            "accuracy": [accuracy(d, t) for d, t in zip(decoded, truth, strict=True)],
            "balanced accuracy": [balanced_accuracy(d, t) for d, t in zip(decoded, truth, strict=True)],
        }
        if datas[0].test.fine_sets is not None:
            metrics = _several_labels(runs, decoded, datas, plan)
        else:
            if datas[0].test.texts is not None:
                metrics["macro F1"] = [f1_score(d, t) for d, t in zip(decoded, truth, strict=True)]
            metrics["hierarchical F1"] = [
                _hierarchical(d, t, plan, datas[0].fine_set) for d, t in zip(decoded, truth, strict=True)
            ]
        if datas[0].coarse_sets:
            metrics["coarse accuracy"] = [_coarse(d, data, plan) for d, data in zip(decoded, datas, strict=True)]
        if runs:
            metrics["calibration error"] = [
                calibration_error(np.exp(p.log_probs), t) for p, t in zip(runs, truth, strict=True)
            ]
        for attribute in free_attributes(datas[0], plan):
            if runs and runs[0].nodes is not None:
                metrics[f"free {attribute} right"] = [
                    free_attribute_correct(p, data, plan, attribute).mean() for p, data in zip(runs, datas, strict=True)
                ]
        rows += [make_row(name, metric, values) for metric, values in metrics.items()]
    return rows


def _several_labels(
    runs: Sequence[Predictions] | None, decoded: Sequence[np.ndarray], datas: Sequence[FusionData], plan: PathPlan
) -> dict[str, list[float]]:
    """F1 of label sets, and whether the likeliest label is the row's first one."""
    metrics: dict[str, list[float]] = {"micro F1": [], "macro F1": [], "hierarchical F1": [], "accuracy": []}
    nodes = np.asarray(plan.graph.label_set(datas[0].fine_set).nodes)
    certain = _certain_ancestors(plan)
    for r, data in enumerate(datas):
        truth = data.test.fine_sets
        assert truth is not None
        found = runs[r].decoded_sets if runs else None
        if found is None:
            found = np.arange(truth.shape[1])[None] == decoded[r][:, None]
        found_nodes, true_nodes = np.zeros((2, len(truth), plan.graph.num_nodes), bool)
        found_nodes[:, nodes], true_nodes[:, nodes] = found, truth
        metrics["micro F1"].append(multilabel_f1(found, truth, average="micro"))
        metrics["macro F1"].append(multilabel_f1(found, truth, average="macro"))
        metrics["hierarchical F1"].append(
            hierarchical_scores(found_nodes, true_nodes, certain, root=plan.graph.root).f1
        )
        metrics["accuracy"].append(accuracy(decoded[r], data.test.fine))
    return metrics


def _majority(data: FusionData) -> np.ndarray:
    return np.full(len(data.test), majority_label(data.train.fine, int(data.train.fine.max()) + 1))


def _hierarchical(decoded: np.ndarray, truth: np.ndarray, plan: PathPlan, fine_set: str) -> float:
    nodes = np.append(plan.graph.label_set(fine_set).nodes, -1)
    return hierarchical_scores(nodes[decoded], nodes[truth], _certain_ancestors(plan), root=plan.graph.root).f1


def _certain_ancestors(plan: PathPlan) -> np.ndarray:
    """bool ``[V, V]``: only what the label makes certain counts; an uncertain coat is neither right nor wrong."""
    certain = plan.graph.reaches.T.copy()
    certain[plan.class_nodes] &= ~plan.paths.uncertain
    return certain


def _coarse(decoded: np.ndarray, data: FusionData, plan: PathPlan) -> float:
    """Accuracy of the coarse label that the fine answer lies below, over rows that have one."""
    below = labels_below(plan, data.fine_set)[plan.label_slice(data.coarse_sets[0])]
    of_fine = np.append(np.where(below.any(0), below.argmax(0), -2), -1)
    known = of_fine[data.test.fine] >= 0
    return float((of_fine[decoded] == of_fine[data.test.fine])[known].mean())


def free_attributes(data: FusionData, plan: PathPlan) -> list[str]:
    """Blocks whose true value the rows keep although some label leaves it open."""
    doubtful = {b.name for b in plan.graph.blocks if plan.paths.uncertain[:, list(b.nodes)].any()}
    return [name for name in data.test.truth if name in doubtful and _value_names(name)]


def _value_names(attribute: str) -> tuple[str, ...]:
    """Names of a drawn attribute's values, in the order of the generator's column."""
    for module in ("jlabel.data.drawn_pets", "jlabel.data.drawn_flowers"):
        names = getattr(importlib.import_module(module), attribute.upper(), None)
        if names:
            return tuple(names)
    return ()


def _free_rows(data: FusionData, plan: PathPlan, attribute: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose label leaves the attribute open ``[N]``, their block's nodes ``[N, W]``, the true place ``[N]``."""
    graph, names = plan.graph, _value_names(attribute)
    classes = plan.targets(data.fine_set, data.test.fine)
    blocks = [b for b in graph.blocks if b.name == attribute]
    nodes = np.full((len(classes), len(names)), -1)
    free = np.zeros(len(classes), bool)
    for block in blocks:
        ordered = [next(v for v in block.nodes if graph.ids[v].split(".")[-1] == name) for name in names]
        here = plan.paths.uncertain[classes][:, ordered].any(1)
        nodes[here], free[here] = ordered, True
    return free, nodes, data.test.truth[attribute]


def free_attribute_correct(found: Predictions, data: FusionData, plan: PathPlan, attribute: str) -> np.ndarray:
    """Whether the likeliest value of the attribute is the true one, for rows whose label leaves it open."""
    assert found.nodes is not None
    free, nodes, truth = _free_rows(data, plan, attribute)
    scores = np.take_along_axis(found.nodes[free], nodes[free], axis=1)
    return scores.argmax(1) == truth[free]


def report_study(
    workdir: Path, rows: list[Row], results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData],
    plan: PathPlan, config: Any, *, paper: dict[tuple[str, str], float], seconds: float,
    curve: Mapping[str, Mapping[int, Sequence[float]]],
) -> None:  # fmt: skip
    """Write results.json, the figures and report.html."""
    write_results(
        workdir / "results.json",
        build_results(
            config.experiment, data=config.data, config=config, seconds=seconds, rows=[*rows, *_curve_rows(curve)]
        ),  # fmt: skip
    )
    data, main = datas[0], next(iter(results))
    coarse = ", ".join(data.coarse_sets) or "nothing else"
    report = Report(f"{config.experiment.replace('_', ' ').capitalize()}: {data.fine_set} and {coarse}")
    report.add_text(_opening(rows, results, datas, config), heading="What was found")
    report.add_results(
        rows, paper=paper,
        caption=f"Mean ± standard deviation and 95 % t interval over {len(config.seeds)} seeds, "
        f"{len(data.test)} test rows each.",
    )  # fmt: skip

    def add(name: str, figure: Any, caption: str, alt: str) -> None:
        save_figure(workdir / "figures" / f"{name}.png", figure)
        report.add_figure(figure, caption=caption, alt=alt)

    add(
        "comparison", comparison_figure(rows, ours=OURS, references=REFERENCES, paper=paper),
        "Dots are seeds, bars 95 % intervals.", "Each method's metrics with intervals",
    )  # fmt: skip
    _comparisons(report, results, datas, main)
    _free_attribute_table(report, results, datas, plan)
    bins = {}
    for name, runs in ((name, runs[0]) for name, runs in results.items() if name in (main, "FFN")):
        for label, field in (
            (f"{name}, raw", "raw_log_probs"),
            (f"{name}, T={runs.fitted.temperature:.2f}", "log_probs"),
        ):
            probs = np.exp(np.concatenate([getattr(p, field) for p in results[name]]))
            truth = np.concatenate([d.test.fine for d in datas])
            bins[label] = reliability_bins(np.minimum(probs.max(1), 1.0), probs.argmax(1) == truth)
    add("reliability", reliability_figure(bins), "Confidence against accuracy, before and after the temperature.",
        "Reliability diagrams")  # fmt: skip
    if curve:
        _curve(report, workdir, curve)
    add_hierarchy(report, workdir, results, datas, plan)
    if data.train.texts is not None:
        add_text_gallery(report, results[main][0], data, plan)
    if data.train.source.kind == "image":
        _galleries(report, workdir, results[main][0] if main in OURS else None, data, plan)
    names = plan.graph.label_set(data.fine_set).labels
    matrix = sum(
        np.asarray(confusion_matrix(p.decoded, d.test.fine, num_classes=len(names)))
        for p, d in zip(results[main], datas, strict=True)
    )
    add(
        "confusion",
        confusion_figure(matrix, names),
        f"{main}: share of each true label, all seeds.",
        "Confusion matrix",
    )
    if results[main][0].history:
        add("training", curves_figure(results[main][0].history, title=f"{main}, seed {config.seeds[0]}"),
            "Training means since the line before.", "Training curves")  # fmt: skip
    add(
        "graph",
        graph_figure(graph_spec(plan.graph)),
        "The label graph: blocks of competing nodes in one colour.",
        "Label graph",
    )
    report.add_details(config, title="Settings")
    chosen = {n: {**r[0].chosen, "score on these": round(r[0].val_score, 4)} for n, r in results.items()}
    report.add_details(chosen, title="Hyper-parameters chosen on held-out rows")
    report.add_details({**versions(), "seconds": round(seconds)}, title="Versions and time")
    report.write(workdir / "report.html")


def _curve_rows(curve: Mapping[str, Mapping[int, Sequence[float]]]) -> list[Row]:
    """The points of the curve, for the file of results."""
    return [
        make_row(name, "accuracy", values, split=f"test, {count} fine rows a class")
        for name, found in curve.items()
        for count, values in found.items()
    ]


def _curve(report: Report, workdir: Path, curve: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    """Accuracy against fine rows a class, drawn and as a table."""
    counts = list(next(iter(curve.values())))
    lines = {name: (counts, np.array([found[c] for c in counts]).T) for name, found in curve.items()}
    figure = lines_figure(lines, xlabel="fine rows a class", ylabel="accuracy", log_x=True)
    save_figure(workdir / "figures" / "fine_rows.png", figure)
    report.add_figure(
        figure, caption="Mean over seeds and one standard deviation. All other rows of a class have a coarse label.",
        alt="Accuracy against the number of fine rows a class",
    )  # fmt: skip
    table = []
    for name, found in curve.items():
        cells = [make_row(name, "accuracy", found[c]) for c in counts]
        table.append([name, *(f"{row.mean:.3f} [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]" for row in cells)])
    report.add_table(
        ["method", *map(str, counts)], table, caption="Accuracy by fine rows a class, with 95 % t intervals over seeds."
    )


def _opening(rows: list[Row], results: Mapping[str, Any], datas: Sequence[FusionData], config: Any) -> str:
    """What the table says, in words."""
    mean = {(r.method, r.metric): r.mean for r in rows}
    data, main = datas[0], next(iter(results))
    coarse = f", {len(data.coarse)} coarse rows ({config.coarse_data})" if data.coarse is not None else ""
    score = "micro F1" if data.test.fine_sets is not None else "balanced accuracy" if config.balance else "accuracy"
    also = f", {score} {mean[main, score]:.3f}" if score != "accuracy" else ""
    lines = [
        f"{len(data.train)} fine rows ({config.data}){coarse}, {len(data.test)} test rows. "
        f"{main}: accuracy {mean[main, 'accuracy']:.3f}{also}."
    ]
    others = [m for m in results if m not in OURS and m != "oracle"]
    if others:
        best = max(others, key=lambda m: mean[m, score])
        gap = mean[main, score] - mean[best, score]
        lines.append(
            f"The best other method is {best} with {mean[best, score]:.3f} {score}: "
            f"{main} is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} it."
        )
    return "\n\n".join(lines)


def _comparisons(
    report: Report, results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData], main: str
) -> None:
    """Paired differences over seeds and over test rows, and each method's interval over test rows."""
    right = {name: _row_scores(runs, datas) for name, runs in results.items()}
    table = []
    for name in results:
        if name == main:
            continue
        ours, theirs = (
            [accuracy(p.decoded, d.test.fine) for p, d in zip(results[m], datas, strict=True)] for m in (main, name)
        )
        cells = [name, f"{ours[0] - theirs[0]:+.3f}", "-"]
        if len(ours) > 1:
            over = paired_comparison(ours, theirs)
            cells[1:] = [f"{over.difference:+.3f} [{over.low:+.3f}, {over.high:+.3f}]", f"{over.p_value:.3f}"]
        rows = paired_bootstrap(right[main][:, 1], right[name][:, 1])
        table.append([*cells, f"{rows.difference:+.3f} [{rows.low:+.3f}, {rows.high:+.3f}]"])
    if table:
        header = ["against", "accuracy difference, over seeds", "p", "over test rows"]
        report.add_table(header, table, caption=f"{main} against each method, paired, with 95 % intervals.")
    pooled = []
    for name, scores in right.items():
        plain = bootstrap_interval(scores[:, 1])
        balanced = bootstrap_interval(scores, statistic=_balanced, resamples=1000)
        pooled.append(
            [name, *(f"{x.mean:.3f} [{x.low:.3f}, {x.high:.3f}]" for x in (plain, balanced))],
        )
    report.add_table(
        ["method", "accuracy", "balanced accuracy"], pooled,
        caption="95 % bootstrap intervals over test rows: how far the choice of test pictures decides the number.",
    )  # fmt: skip


def _row_scores(runs: Sequence[Predictions], datas: Sequence[FusionData]) -> np.ndarray:
    """Class and share of right runs of each test row, ``[N, 2]``; rows of different seeds stand one below the other."""
    right = [(p.decoded == d.test.fine).astype(float) for p, d in zip(runs, datas, strict=True)]
    if all(d.test is datas[0].test for d in datas):
        return np.stack([datas[0].test.fine, np.mean(right, axis=0)], axis=1)
    return np.stack([np.concatenate([d.test.fine for d in datas]), np.concatenate(right)], axis=1)


def _balanced(rows: np.ndarray) -> float:
    """Mean over classes of the mean score of their rows."""
    classes = rows[:, 0].astype(int)
    counts = np.bincount(classes)
    return float((np.bincount(classes, rows[:, 1])[counts > 0] / counts[counts > 0]).mean())


def _free_attribute_table(
    report: Report, results: Mapping[str, Sequence[Predictions]], datas: Sequence[FusionData], plan: PathPlan
) -> None:
    table = []
    for attribute in free_attributes(datas[0], plan):
        chance = 1 / len(_value_names(attribute))
        first: list[float] = []
        for name, runs in results.items():
            if runs[0].nodes is None:
                continue
            right = [free_attribute_correct(p, d, plan, attribute) for p, d in zip(runs, datas, strict=True)]
            row = make_row(name, attribute, [float(r.mean()) for r in right])
            over = bootstrap_interval(np.concatenate(right).astype(float))
            gap, first = "-", first or list(row.runs)
            if first != list(row.runs) and len(right) > 1:
                pair = paired_comparison(first, list(row.runs))
                gap = f"{pair.difference:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}]"
            table.append([attribute, name, f"{row.mean:.3f} [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]",
                          f"{over.mean:.3f} [{over.low:.3f}, {over.high:.3f}]", f"{chance:.3f}", gap])  # fmt: skip
    if table:
        report.add_text(
            "Some labels leave an attribute open, such as a coat that differs from picture to picture. Nobody tells "
            "the model its value there; labels that fix it teach what it looks like. The reward cannot judge that "
            "choice: credit certain keeps it from training the choice, credit all is the published rule.",
            heading="Path correctness where the label leaves it open",
        )
        report.add_table(
            ["attribute", "method", "right, over seeds", "right, over rows", "chance", "first row less this"], table,
            caption="Share of test rows with an open attribute whose likeliest value is the true one, 95 % intervals.",
        )  # fmt: skip


def _spread(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows with every class's first one first, then every class's second one, and so on."""
    rank = np.zeros(len(rows), int)
    for c in np.unique(classes[rows]):
        members = classes[rows] == c
        rank[members] = np.arange(members.sum())
    return rows[np.argsort(rank, kind="stable")]


def _galleries(report: Report, workdir: Path, found: Predictions | None, data: FusionData, plan: PathPlan) -> None:
    """Test pictures by the attribute the model sees: blue certain for the label, green open, red a wrong label.

    Drawn at random, always the same: in rows sorted by class the first ones of a predicted label are wrong.
    """
    if found is None or found.nodes is None:
        return
    graph = plan.graph
    labels = graph.label_set(data.fine_set).labels
    blocks = sorted(
        (b for b in graph.blocks if graph.attributes[list(b.nodes)].all()),
        key=lambda b: -plan.paths.uncertain[:, list(b.nodes)].any(1).sum(),
    )
    classes = plan.targets(data.fine_set, np.maximum(found.decoded, 0))
    images, captions, borders = [], [], []
    order = np.random.default_rng(0).permutation(len(found.decoded))
    for block in blocks[:2]:
        nodes = np.array(block.nodes)
        best = nodes[found.nodes[:, nodes].argmax(1)]
        for node in nodes:
            above = plan.graph.reaches[node][plan.class_nodes[classes]]  # the predicted label can pass this node
            for i in _spread(order[((best == node) & above)[order]], found.decoded)[:6]:
                wrong = found.decoded[i] != data.test.fine[i]
                open_choice = plan.paths.uncertain[classes[i], node]
                images.append(jlabel.data.resize_image(data.test.source.content(int(i)), 112))
                borders.append("wrong" if wrong else "nondeterministic" if open_choice else "deterministic")
                truth = f" (is {labels[data.test.fine[i]]})" if wrong else ""
                captions.append(f"{graph.titles[node]}: {labels[found.decoded[i]]}{truth}")
    if images:
        report.add_gallery(
            images, captions, borders=borders,
            caption="Test pictures by the attribute seen: blue, the predicted label fixes it; green, the label leaves "
            "it open; red, the label is wrong.",
        )  # fmt: skip
