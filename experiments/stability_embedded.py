"""What the embedded study found: do smaller models win on the correctable rows, and where do rankings cross?"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from experiments.stability_digits import MLPS, MODELS, SIZES, Known, Scored, known_corrections, score_halves, voted_sets
from experiments.stability_figures import accuracy_figure, prevalence_figure, ranks_figure, sizes_figure
from experiments.stability_report import CERTAIN, Drawing, Section, Table
from jlabel.confident_learning import RankBootstrap, accuracy_at_prevalence, bootstrap_accuracies, rank_correlation
from jlabel.evaluation import Row, format_row, make_row, seed_interval

__all__ = ["embedded_section", "rank_drawings"]

KNOWN = "known"
LINEAR, WIDEST = 0, int(MLPS[-1])
FLAGGERS = (LINEAR, WIDEST)  # the models at both ends that may propose the corrections
SHOWN = (LINEAR, *(int(m) for m in MLPS[[0, 2, 5, 7]]), len(MODELS) - 3, len(MODELS) - 1)
BEYOND = f"in {100 * CERTAIN:g} % of replicates"


def embedded_section(
    found: Mapping[float, Sequence[Scored]], thresholds: Sequence[int], *, replicates: int, seeds: Sequence[int]
) -> Section:
    """Tables, figures and rows of the study on digits."""
    rows: list[Row] = []
    tables, drawings, texts = [], [], []
    panels = {}
    for rate, runs in found.items():
        split = f"{100 * rate:g} % planted"
        known = [known_corrections(scored) for scored in runs]
        boots = [score_halves(one, replicates=replicates, seed=s) for one, s in zip(known, seeds, strict=True)]
        accuracies = _accuracies(runs, split)
        trends = _trends(runs, thresholds, seeds, split)
        crossing = _crossings(boots, split)
        rows += [*accuracies, *trends, *crossing]
        pairs = len(boots[0].crossings_corrected.share)
        captions = (
            f"{split}: accuracies, mean ± standard deviation [95 % t interval] over {len(runs)} seeds.",
            f"{split}: rank correlations on the correctable rows C, with C known, or as a model flags and made-up "
            "people vote on it; and differences in accuracy.",
            f"{split}: pairs of {len(MODELS)} models whose lines cross above today's prevalence, of {pairs}.",
        )
        tables += [_table(*part) for part in zip(captions, (accuracies, trends, crossing), strict=True)]
        texts.append(_finding(split, {(row.method, row.metric): row for row in [*trends, *crossing]}))
        panels[split] = {
            "on benign rows": _ends([boot.benign.accuracy for boot in boots]),
            "on correctable rows, corrected": _ends([boot.corrected_correctable.accuracy for boot in boots]),
        }
    drawings.append(
        Drawing(
            "digits_sizes", sizes_figure(MODELS, panels),
            "Accuracy on benign rows and, by corrected labels, on correctable rows; smallest model first. Bars: 95 % t "
            f"interval over {len(seeds)} seeds.",
            "Accuracy of twelve models on benign and correctable rows",
        )
    )  # fmt: skip
    last = list(found)[-1]
    drawings += _drawings(last, boots[0], known[0], replicates=replicates, seed=seeds[0])
    return Section("Digits with planted errors", "\n\n".join(texts), tables, drawings, rows)


def _accuracies(runs: Sequence[Scored], split: str) -> list[Row]:
    """Four accuracies of every model, of the commonest digit and of the true labels."""
    found = []
    majority = [np.full_like(s.truth, np.bincount(s.given).argmax()) for s in runs]
    for m, name in enumerate((*MODELS, "majority", "true labels")):
        predicted = [
            s.predicted[m] if m < len(MODELS) else most if m == len(MODELS) else s.truth
            for s, most in zip(runs, majority, strict=True)
        ]
        both = list(zip(predicted, runs, strict=True))
        for metric, values in {
            "original": [np.mean(p == s.given) for p, s in both],
            "corrected": [np.mean(p == s.truth) for p, s in both],
            "original on C": [np.mean((p == s.given)[s.planted]) for p, s in both],
            "corrected on C": [np.mean((p == s.truth)[s.planted]) for p, s in both],
        }.items():
            found.append(make_row(name, metric, values, split=split))
    return found


def _trends(runs: Sequence[Scored], thresholds: Sequence[int], seeds: Sequence[int], split: str) -> list[Row]:
    """How accuracies on C go with each other and with size, for each way to come to C."""
    ways: dict[str, list[Known | None]] = {KNOWN: [known_corrections(scored) for scored in runs]}
    for flagger in FLAGGERS:
        for t in thresholds:
            ways[f"{MODELS[flagger]} flags, {t} votes"] = [
                voted_sets(scored, flagger, t, seed) for scored, seed in zip(runs, seeds, strict=True)
            ]
    found = []
    for way, sets in ways.items():
        kept = [one for one in sets if one is not None]
        if kept:
            measured = [_measure(one) for one in kept]
            found += [make_row(way, metric, [m[metric] for m in measured], split=split) for metric in measured[0]]
    return found


def _measure(known: Known) -> dict[str, float]:
    original, corrected = (part[:, known.correctable].mean(1) for part in (known.original, known.corrected))
    benign = known.original[:, ~known.correctable].mean(1)
    return {
        "rows in C": float(known.correctable.sum()),
        "original/corrected": float(rank_correlation(original, corrected)),
        "size/original": float(rank_correlation(SIZES, original)),
        "size/corrected": float(rank_correlation(SIZES, corrected)),
        "width/corrected": float(rank_correlation(MLPS, corrected[MLPS])),
        "width/benign": float(rank_correlation(MLPS, benign[MLPS])),
        "C - B, all models": float(corrected.mean() - benign.mean()),
        "linear - widest on C": float(corrected[LINEAR] - corrected[WIDEST]),
        "linear - widest on B": float(benign[LINEAR] - benign[WIDEST]),
    }


def _crossings(boots: Sequence[RankBootstrap], split: str) -> list[Row]:
    found = []
    for labels in ("original", "corrected"):
        crossings = [getattr(boot, f"crossings_{labels}") for boot in boots]
        beyond = [
            np.isfinite(c.prevalence) & (c.prevalence > b.prevalence) for c, b in zip(crossings, boots, strict=True)
        ]
        found += [
            make_row(f"{labels} labels", metric, values, split=split)
            for metric, values in {
                "cross": [float(b.sum()) for b in beyond],
                BEYOND: [
                    float((b & (c.share >= CERTAIN) & (c.low > boot.prevalence)).sum())
                    for b, c, boot in zip(beyond, crossings, boots, strict=True)
                ],
            }.items()
        ]
    return found


def _table(caption: str, rows: Sequence[Row]) -> Table:
    methods, metrics = (
        list(dict.fromkeys(values)) for values in zip(*((r.method, r.metric) for r in rows), strict=True)
    )
    cells = {(row.method, row.metric): format_row(row) for row in rows}
    return Table(caption, ["", *metrics], [[m, *(cells.get((m, metric), "") for metric in metrics)] for m in methods])


def _finding(split: str, rows: Mapping[tuple[str, str], Row]) -> str:
    def cell(way: str, metric: str) -> str:
        row = rows[way, metric]
        return f"{row.mean:z.2f}" + (f" [{row.ci95[0]:z.2f}, {row.ci95[1]:z.2f}]" if np.isfinite(row.std) else "")

    text = f"{split}, corrections known: size and corrected accuracy on C have the rank correlation "
    text += f"{cell(KNOWN, 'size/corrected')} over the twelve models and {cell(KNOWN, 'width/corrected')} over the "
    text += f"networks by width; on benign rows the widths have {cell(KNOWN, 'width/benign')}. The linear model is "
    text += f"{cell(KNOWN, 'linear - widest on C')} above the widest network on C and "
    text += f"{cell(KNOWN, 'linear - widest on B')} on B; over all models corrected accuracy is "
    text += f"{cell(KNOWN, 'C - B, all models')} higher on C than on B. By corrected labels "
    text += f"{cell('corrected labels', 'cross')} pairs cross above today's prevalence, "
    text += f"{cell('corrected labels', BEYOND)} of them beyond doubt."
    flags = [way for way, metric in rows if metric == "size/corrected" and way != KNOWN]
    if flags:
        told = "; ".join(f"{cell(way, 'size/corrected')} ({way})" for way in flags[:: max(1, len(flags) // 2)])
        text += f" With C flagged by a model and voted on, size and corrected accuracy have {told}."
    return text


def _ends(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    intervals = [seed_interval(column) for column in np.array(values).T]
    mean, low, high = (np.array([getattr(i, name) for i in intervals]) for name in ("mean", "low", "high"))
    return mean, np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)


def rank_drawings(
    title: str,
    names: Sequence[str],
    known: Known,
    boot: RankBootstrap,
    *,
    shown: Sequence[int],
    replicates: int,
    seed: int,
) -> list[Drawing]:
    """Lines with crossings and rank flips of one benchmark whose rows are at hand."""
    start = boot.prevalence
    grid = np.linspace(start, 1, 25)
    drawn = bootstrap_accuracies(*known, replicates=replicates, key=jax.random.key(seed))
    parts = {"original labels": drawn.original, "corrected labels": drawn.corrected}
    bands, marked = {}, {}
    for label, part in parts.items():
        ends = [np.quantile(accuracy_at_prevalence(drawn.benign, part, n), [0.025, 0.975], axis=0) for n in grid]
        low, high = np.swapaxes(ends, 0, 1)
        bands[label] = (low, high)
        c = boot.crossings_corrected if label.startswith("corrected") else boot.crossings_original
        certain = (c.share >= CERTAIN) & (c.low > start) & np.isin(c.first, shown) & np.isin(c.second, shown)
        order = np.argsort(np.where(certain, c.prevalence, np.inf))[: min(3, certain.sum())]
        marked[label] = [
            (f"{names[c.first[k]]}, {names[c.second[k]]}", float(c.prevalence[k]), float(c.low[k]), float(c.high[k]))
            for k in order
        ]
    lines = {
        "original labels": boot.original_correctable.accuracy,
        "corrected labels": boot.corrected_correctable.accuracy,
    }
    rank = {label: r.rank for label, r in (("o", boot.original_correctable), ("c", boot.corrected_correctable))}
    return [
        Drawing(
            f"{title}_prevalence",
            prevalence_figure(
                names, boot.benign.accuracy, lines, start=start, highlight=shown, crossings=marked, bands=bands
            ),
            "Accuracy against noise prevalence as benign rows are dropped; bands: 95 % interval over rows. Dotted: "
            f"crossings above today's prevalence that {100 * CERTAIN:g} % of the replicates have, with their interval.",
            "Lines of accuracy against prevalence by original and by corrected labels",
        ),
        Drawing(
            f"{title}_ranks",
            ranks_figure(names, rank["o"], rank["c"], titles=("rank by original\nlabels", "rank by corrected\nlabels")),
            "Ranks on the correctable rows by original and by corrected labels. Blue rises, red falls by a quarter of "
            "the field or more.",
            "Two columns of ranks joined by lines",
        ),
    ]


def _drawings(rate: float, boot: RankBootstrap, known: Known, *, replicates: int, seed: int) -> list[Drawing]:
    correlation = boot.spearman_correctable
    note = f"Spearman {correlation.mean:+.2f} [{correlation.low:+.2f}, {correlation.high:+.2f}] over rows"
    return [
        *rank_drawings("digits", MODELS, known, boot, shown=SHOWN, replicates=replicates, seed=seed),
        Drawing(
            "digits_accuracies",
            accuracy_figure(
                MODELS, boot.original_correctable.accuracy, boot.corrected_correctable.accuracy,
                rows="the correctable rows", note=f"{100 * rate:g} % planted, seed {seed}: {note}",
                groups=[name.split()[0] for name in MODELS],
            ),
            "Original against corrected accuracy on the correctable rows, a point a model.",
            f"Scatter of {len(MODELS)} models; {note}",
        ),
    ]  # fmt: skip
