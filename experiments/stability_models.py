"""A table of models: does the order on corrected labels follow the one on the given labels, and where do two cross?"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.stability_figures import accuracy_figure, prevalence_figure, ranks_figure
from experiments.stability_report import CERTAIN, Drawing, Section, Table, interval_cell, interval_row
from experiments.stability_tables import ModelTable
from experiments.stability_votes import CORRECTABLE, NON_ERROR, VoteSet
from jlabel.confident_learning import SpearmanInterval, crossing_prevalence, noise_prevalence, spearman_interval

__all__ = ["benign_accuracy", "correlations", "crossing_interval", "leave_one_out", "models_section"]

ORIGINAL, CORRECTED = "original labels", "corrected labels"
# Pairs of which the paper says where they change places, and where.
CLAIMED = {"imagenet": (("resnet50 (PyTorch)", "resnet18", 0.086),), "cifar10": (("vgg19_bn", "vgg11_bn", 0.052),)}
# What the paper draws or speaks of, where the shipped table has it.
NAMED = (
    "nasnetlarge", "resnet18", "resnet50 (PyTorch)", "alexnet", "xception", "vgg11_bn", "vgg19_bn", "densenet169",
    "googlenet",
)  # fmt: skip


def correlations(table: ModelTable) -> dict[str, SpearmanInterval]:
    """Rank correlations over all models, by platform, and of the other accuracies that the table has."""
    found = {"top 1": spearman_interval(table["original"], table["corrected"])}
    if {"original_top5", "corrected_top5"} <= table.keys() and np.ptp(table["corrected_top5"]):
        found["top 5"] = spearman_interval(table["original_top5"], table["corrected_top5"])
    platforms = dict.fromkeys(table.platforms)
    for platform in platforms if len(platforms) > 1 else ():
        here = [i for i, p in enumerate(table.platforms) if p == platform]
        if len(here) >= 4:
            found[f"top 1, {platform}"] = _part(table, here)
    for name, column in (("all rows against corrected", "accuracy"), ("B against corrected", "benign")):
        if column in table:
            found[name] = spearman_interval(table[column], table["corrected"])
    return found


def leave_one_out(table: ModelTable) -> tuple[float, float]:
    """The lowest and the highest top-1 correlation when one model is left out: how much one model decides."""
    every = range(len(table.names))
    values = [_part(table, [i for i in every if i != left]).correlation for left in every]
    return min(values), max(values)


def _part(table: ModelTable, rows: Sequence[int]) -> SpearmanInterval:
    here = list(rows)
    return spearman_interval(table["original"][here], table["corrected"][here])


def benign_accuracy(table: ModelTable, votes: VoteSet | None, threshold: int) -> np.ndarray | None:
    """A_B of each model: its column, or solved from the accuracy on all rows and the votes.

    abs(D) A = abs(B) A_B + abs(C) A_C + abs(U) A_U, where A_U, which nobody knows, is put at A.
    """
    if "benign" in table:
        return table["benign"]
    if "accuracy" not in table or votes is None or not votes.size:
        return None
    correctable, unknown = _sizes(votes, threshold)
    benign = votes.size - correctable - unknown
    whole = table["accuracy"]
    return np.clip((whole * (votes.size - unknown) - correctable * table["original"]) / benign, 0, 1)


def _sizes(votes: VoteSet, threshold: int) -> tuple[float, float]:
    counts = votes.categories[threshold] * (votes.flagged / votes.checked)
    return counts[CORRECTABLE], counts.sum() - counts[CORRECTABLE] - counts[NON_ERROR]


def crossing_interval(
    first: tuple[float, float], second: tuple[float, float], sizes: tuple[int, int], *, replicates: int, seed: int
) -> tuple[float, float, float, float] | None:
    """N*, its 95 % interval, and the share of replicates that cross; None where the accuracies do not.

    Accuracies on B and C are drawn anew as binomials, each model by itself: models that are right on the same rows
    differ by less, so the interval is wide rather than narrow.
    """
    value = crossing_prevalence(first, second)
    if value is None:
        return None
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [[generator.binomial(n, share, replicates) / n for n, share in zip(sizes, pair, strict=True)]
         for pair in (first, second)]
    )  # fmt: skip
    benign, correctable = drawn[0] - drawn[1]
    cross = benign * correctable < 0
    if not cross.any():
        return value, value, value, 0.0
    low, high = np.quantile((benign[cross] / (benign - correctable)[cross]), [0.025, 0.975])
    return value, float(low), float(high), float(cross.mean())


def models_section(table: ModelTable, votes: VoteSet | None, threshold: int, *, replicates: int, seed: int) -> Section:
    """Correlations, rank flips and, where accuracies on B can be had, crossings of one table."""
    title, names = table.title, table.names
    original, corrected = table["original"], table["corrected"]
    found = correlations(table)
    top = found["top 1"]
    note = f"Spearman {top.correlation:+.2f} [{top.low:+.2f}, {top.high:+.2f}], {top.models} models"
    ranks = [stats.rankdata(-values) for values in (original, corrected)]
    rows = [
        interval_row(title, f"Spearman, {name}", (s.correlation, s.low, s.high), split="models", runs=s.models)
        for name, s in found.items()
    ]
    tables = [
        Table(
            f"{title}: Spearman's correlation over models of original and corrected accuracy on the correctable rows; "
            "95 % interval and p value of no correlation.",
            ["accuracies", "models", "correlation", "p"],
            [[n, str(s.models), interval_cell(*s[:3]), f"{s.p_value:.3f}"] for n, s in found.items()],
        )
    ]
    drawings = [
        Drawing(
            f"{title}_accuracies", accuracy_figure(
                names, original, corrected, rows="the correctable rows", note=note, groups=table.platforms
            ),
            f"{title}: original against corrected accuracy on the correctable rows, a point a model. A row cannot be "
            "right by both labels, so the two sum to 1 at most.",
            f"Scatter of {len(names)} models; {note}",
        ),
        Drawing(
            f"{title}_ranks",
            ranks_figure(names, *ranks, titles=("rank by original\nlabels", "rank by corrected\nlabels")),
            f"{title}: ranks on the correctable rows by original and by corrected labels. Blue rises, red falls by a "
            "quarter of the field or more. Equal accuracies share their mean rank.",
            "Two columns of ranks joined by lines",
        ),
    ]  # fmt: skip
    text = f"{len(names)} models on the correctable rows of {title}. {_verdict(top)}"
    if len(names) > 4:
        low, high = leave_one_out(table)
        text += f" With one model left out the correlation is {low:.3f} to {high:.3f}."
    benign = benign_accuracy(table, votes, threshold)
    if benign is not None and votes is not None and votes.size and votes.categories[threshold][CORRECTABLE]:
        correctable, unknown = _sizes(votes, threshold)
        crossing = _Crossing(table, benign, (round(votes.size - correctable - unknown), round(correctable)), unknown)
        more = _crossing_parts(crossing, replicates=replicates, seed=seed)
        rows, tables, drawings = [*rows, *more.rows], [*tables, *more.tables], [*drawings, *more.drawings]
        text += f" {more.text}"
    return Section(f"Models: {title}", text, tables, drawings, rows)


class _Crossing(NamedTuple):
    """A table with the models' accuracies on B, the numbers of rows in B and C, and of those in U."""

    table: ModelTable
    benign: np.ndarray
    sizes: tuple[int, int]
    unknown: float

    def pair(self, i: int, j: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """(A_B, A_C) of two models, by corrected labels."""
        first, second = ((float(self.benign[k]), float(self.table["corrected"][k])) for k in (i, j))
        return first, second


def _crossing_parts(crossing: _Crossing, *, replicates: int, seed: int) -> Section:
    """The pairs that cross in 95 % of the replicates, those that the paper speaks of, and the lines."""
    table, benign, sizes, unknown = crossing
    title, names = table.title, table.names
    start = float(noise_prevalence(sizes[1], sizes[0]))
    found, crossed = [], 0
    for i, j in itertools.combinations(np.argsort(-benign, kind="stable").tolist(), 2):
        value = crossing_interval(*crossing.pair(i, j), sizes, replicates=replicates, seed=seed)
        crossed += value is not None
        if value is not None and value[3] >= CERTAIN:
            found.append((i, j, value))
    found.sort(key=lambda entry: entry[2][0])
    rows = [
        interval_row(title, f"crossing of {names[i]} and {names[j]}", v[:3], split="prevalence", runs=replicates)
        for i, j, v in found
    ]
    text = f"Of {len(names) * (len(names) - 1) // 2} pairs {crossed} cross by the estimates, {len(found)} of them in "
    text += f"{100 * CERTAIN:g} % of the replicates."
    if found:
        i, j, v = found[0]
        text += f" The lowest of these: {names[j]} passes {names[i]} at {v[0]:.1%} [{v[1]:.1%}, {v[2]:.1%}]."
    tables = [
        Table(
            f"{title}: prevalences at which models change places by corrected labels, the lowest of those that "
            f"{100 * CERTAIN:g} % of the replicates have; 95 % interval. As it is, the prevalence is {start:.2%}.",
            ["better below", "better beyond", "N* %", "replicates that cross"],
            [[names[i], names[j], _percent(v), f"{v[3]:.2f}"] for i, j, v in found[:12]] or [["none", "", "", ""]],
        )
    ]
    claims = [claim for claim in CLAIMED.get(title, ()) if {*claim[:2]} <= set(names)]
    body, marked = [], []
    for first, second, published in claims:
        i, j = names.index(first), names.index(second)
        value = crossing_interval(*crossing.pair(i, j), sizes, replicates=replicates, seed=seed)
        if value is not None:
            marked.append((i, j, value))
        gap = published * (table["corrected"][j] - table["corrected"][i]) / (1 - published)
        body.append(
            [first, second, f"{100 * published:.1f}", f"{gap:.4f}", f"{benign[i] - benign[j]:.4f}",
             _percent(value) if value else "no crossing", _extremes(crossing, i, j)]
        )  # fmt: skip
    if body:
        tables.append(
            Table(
                f"{title}: what the paper says about pairs. Gap: the difference on B that its N* needs, and the one "
                "that the stated accuracies give. Extremes: N* with the unknown rows all right for one of the two and "
                "all wrong for the other.",
                ["better below", "better beyond", "paper N* %", "gap for it", "gap", "N* %", "extremes %"],
                body,
            )
        )
    shown = _shown(names, benign, table["corrected"])
    marked += [entry for entry in found if {*entry[:2]} <= set(shown) and entry not in marked]
    marks = [(f"{names[j]} passes {names[i]}", *value[:3]) for i, j, value in marked[:3]]
    drawing = Drawing(
        f"{title}_prevalence",
        prevalence_figure(
            names, benign, {name: table[name.split()[0]] for name in (ORIGINAL, CORRECTED)}, start=start,
            highlight=shown, crossings={CORRECTED: marks},
        ),
        f"{title}: accuracy against noise prevalence as benign rows are dropped. Dotted: crossings of coloured models "
        "by corrected labels, with their 95 % interval. Unless the table has them, accuracies on B are solved from "
        "those on all rows.",
        "Lines of accuracy against prevalence by original and by corrected labels",
    )  # fmt: skip
    return Section("", text, tables, [drawing], rows)


def _percent(value: tuple[float, float, float, float]) -> str:
    return interval_cell(*(100 * v for v in value[:3]), digits=1)


def _verdict(top: SpearmanInterval) -> str:
    stated = f"Their order by original and by corrected labels has the rank correlation {top.correlation:.3f} "
    stated += f"[{top.low:.3f}, {top.high:.3f}], p = {top.p_value:.3f}: "
    if top.low > 0:
        return stated + "the orders agree."
    return stated + ("the orders are opposed." if top.high < 0 else "neither agreement nor opposition is shown.")


def _extremes(crossing: _Crossing, i: int, j: int) -> str:
    """N* with the unknown rows all right for the one model and wrong for the other, and the reverse."""
    table, share = crossing.table, crossing.unknown / crossing.sizes[0]
    if "benign" in table:
        return ""
    (b1, c1), (b2, c2) = crossing.pair(i, j)
    ends = []
    for gap in (1, -1):
        # the gap on U was put at the one on all rows
        changed = b1 - b2 + share * (table["accuracy"][i] - table["accuracy"][j] - gap)
        ends.append(changed / (changed - c1 + c2) if changed > 0 and c1 < c2 else 0.0)
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def _shown(names: Sequence[str], benign: np.ndarray, corrected: np.ndarray) -> list[int]:
    """Models to draw in colour: those that are spoken of, else the best and worst and some between."""
    named = [names.index(name) for name in NAMED if name in names]
    order = np.argsort(-benign, kind="stable")
    even = [int(order[i]) for i in np.linspace(0, len(order) - 1, 5).round().astype(int)]
    best = [int(corrected.argmax()), int(corrected.argmin())]
    return list(dict.fromkeys(named if len(named) >= 4 else even + best))[:8]
