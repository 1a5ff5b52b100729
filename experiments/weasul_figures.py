"""Pictures of buckets: what the model believes before and after the answers, and where it asked."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jlabel.evaluation.style import GREY, INK, PALE, SERIES, light_grid, new_figure, styled
from jlabel.weak_supervision import Buckets, dense_votes

__all__ = ["buckets_figure", "plane_figure"]

MAX_BUCKETS = 24
LEFT, RIGHT = -2.4, 1.9  # of the drawn plane, x1; x2 goes from LOW to HIGH
LOW, HIGH = -2.2, 3.0


@styled
def buckets_figure(
    steps: Sequence[dict], buckets: Buckets, *, truth: np.ndarray | None, column: int = 1, name: str = "1"
) -> Figure:
    """The buckets asked and the largest others: belief before and after, the true share, and the answers got.

    Args:
        steps: From `run_active`. buckets: The votes.
        truth: (R,) true share of the class in each bucket, NaN where unknown; or None.
        column: The class whose probability is shown. name: Its name.
    """
    asked = np.bincount([step["bucket"] for step in steps[1:]], minlength=len(buckets.counts))
    hits = np.bincount(
        [step["bucket"] for step in steps[1:] if step["answer"] == column], minlength=len(buckets.counts)
    )
    order = np.lexsort([-buckets.counts, asked == 0])[:MAX_BUCKETS]
    shown = order[np.argsort(steps[0]["probs"][order, column], kind="stable")]
    figure = new_figure(1.2 + 0.27 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    for place, bucket in enumerate(shown.tolist()):
        before, after = (float(step["probs"][bucket, column]) for step in (steps[0], steps[-1]))
        left.plot([before, after], [place, place], color=SERIES[0], alpha=0.5, linewidth=1.6, zorder=1)
        left.plot(before, place, "o", mfc="white", mec=SERIES[0], markersize=6)
        left.plot(after, place, "o", color=SERIES[0], markersize=6)
        if truth is not None and np.isfinite(truth[bucket]):
            left.plot(truth[bucket], place, "|", color=SERIES[1], markersize=13, markeredgewidth=2)
        right.barh(place, asked[bucket] - hits[bucket], left=hits[bucket], color=PALE, edgecolor=GREY, height=0.6)
        right.barh(place, hits[bucket], color=SERIES[2], height=0.6)
    rows = dense_votes(buckets.rows)
    width = len(str(buckets.counts[shown].max()))
    names = [_votes_text(rows[bucket]) + f"  n={buckets.counts[bucket]:>{width}}" for bucket in shown]
    left.set_yticks(range(len(shown)), names, family="DejaVu Sans Mono", fontsize=8)
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.set_xlim(-0.03, 1.03)
    left.set_xlabel(f"probability of class {name}")
    left.set_title("hollow: before, full: after" + (", bar: truth" if truth is not None else ""), fontsize=9.5)
    right.set_xlabel("answers")
    right.set_title(f"green: class {name}", fontsize=9.5)
    right.locator_params(axis="x", integer=True, nbins=4)
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        light_grid(axes, "x")
    return figure


def _votes_text(votes: np.ndarray) -> str:
    """One sign a rule, a dot for abstain; of many rules those that vote."""
    if len(votes) <= 16:
        return "".join("·" if vote < 0 else str(vote) for vote in votes)
    there = np.flatnonzero(votes >= 0)
    text = " ".join(f"{rule}:{votes[rule]}" for rule in there[:4]) + (" …" if len(there) > 4 else "")
    return text or "no vote"


@styled
def plane_figure(panels: Mapping[str, tuple[Sequence[dict], int]], buckets: Buckets, features: np.ndarray) -> Figure:
    """The plane of the two Gaussians, each region in the colour of its probability, and the rows asked.

    Args:
        panels: Title to (steps, number of answers shown). buckets: Votes of three rules. features: (N, 2).
    """
    figure = new_figure(3.0)
    grid = figure.subplots(1, len(panels), sharey=True)
    rows = [tuple(row) for row in dense_votes(buckets.rows).tolist()]
    image = None
    for axes, (title, (steps, count)) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        probs = steps[count]["probs"][:, 1]
        # x1 is cut at -1 and -.3, x2 at .4; the image goes from low to high.
        cells = [[(int(low), int(first < 2), int(first < 1)) for first in range(3)] for low in (True, False)]
        values = [[probs[rows.index(cell)] if cell in rows else np.nan for cell in line] for line in cells]
        image = axes.pcolormesh(
            [LEFT, -1.0, -0.3, RIGHT], [LOW, 0.4, HIGH], np.array(values), cmap="RdBu_r", vmin=0, vmax=1, alpha=0.75
        )
        some = features[:: max(1, len(features) // 400)]
        axes.plot(some[:, 0], some[:, 1], ".", color=INK, markersize=1.5, alpha=0.45)
        for step in steps[1 : count + 1]:
            x1, x2 = features[step["row"]]
            axes.plot(x1, x2, "s" if step["answer"] else "o", mfc="white", mec=INK, markersize=6)
        for (i, line), height in zip(enumerate(values), (-1.9, 2.7), strict=True):
            for value, centre in zip(line, (-1.7, -0.65, 0.8), strict=True):
                axes.text(centre, height, f"{values[i][0] if value is None else value:.2f}", ha="center", fontsize=8)
        axes.set_title(title, fontsize=9.5)
        axes.set_xlim(LEFT, RIGHT)
        axes.set_ylim(LOW, HIGH)
        axes.set_xlabel("x1")
    np.atleast_1d(grid)[0].set_ylabel("x2")
    if image is not None:
        figure.colorbar(image, ax=np.atleast_1d(grid).tolist(), label="P(y = 1)", shrink=0.9)
    return figure
