"""Where teachers contradict each other, and what telling each other changed: tables and a text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from jlabel.amalgamation.checks import AmalgamationError, check_count
from jlabel.amalgamation.transfer import TransferResult, integrate_logits

__all__ = ["DisagreementReport", "disagreement_report"]


class DisagreementReport(NamedTuple):
    """Who contradicted whom; "positive" is a probability above .5, "change" a difference of probabilities.

    Attributes:
      labels: one line a label: ``label``, ``teachers`` that know it, rows with ``disagreements`` and their ``share``,
        ``transfers``; and what the target is beside Eq. 5 of first predictions: ``mean_change`` over all rows,
        rows that ``turned_positive`` or ``turned_negative``.
      pairs: one line for each ``label``, ``source`` and ``target``: rows ``told``, their ``share``, rows where the
        target then ``followed`` (says what the source says), its ``mean_change`` on the rows told; ``revisable``.
      effects: one line for each label ``told`` to a ``teacher`` and each of its labels ``changed``: ``rows``,
        ``mean_change`` there, rows that ``turned_positive`` or ``turned_negative``. A row that was told several labels
        counts for each of them, with what they did together.
      examples: rows where a label is disputed most (the difference of the teachers' probabilities): ``label``,
        ``row`` (number), ``name`` (of the index), one column ``p(teacher)`` each (NaN: does not know the label),
        ``target``, and the ``other_labels`` of the row that transfer turned, as "+name" or "-name".
      num_rows: N.
    """

    labels: pd.DataFrame
    pairs: pd.DataFrame
    effects: pd.DataFrame
    examples: pd.DataFrame
    num_rows: int

    def summary(self, *, lines: int = 5) -> str:
        """The report as plain text, the ``lines`` most frequent of each kind."""
        shared = self.labels[self.labels["teachers"].map(len) > 1]
        if shared.empty:
            return f"{self.num_rows} rows; no label is known to two teachers, so there is nothing to contradict."
        found = [
            f"{self.num_rows} rows; labels that several teachers know: {len(shared)} of {len(self.labels)}; "
            f"contradictions: {int(shared['disagreements'].sum())}"
        ]
        for line in shared.sort_values("disagreements", ascending=False, kind="stable").head(lines).itertuples():
            found.append(
                f"  {line.label}: {', '.join(line.teachers)} differ in {line.share:.1%} ({line.disagreements}); "
                f"targets turned positive {line.turned_positive}, negative {line.turned_negative}"
            )
        told = self.pairs[self.pairs["told"] > 0].sort_values("told", ascending=False, kind="stable").head(lines)
        if len(told):
            found.append("Who told whom:")
        for line in told.itertuples():
            after = f"followed on {line.followed}, mean change {line.mean_change:+.3f}" if line.revisable else "fixed"
            found.append(f"  {line.source} -> {line.target}, {line.label}: {line.told}; {line.target} {after}")
        turned = self.effects["turned_positive"] + self.effects["turned_negative"]
        other = self.effects[(self.effects["told"] != self.effects["changed"]) & (turned > 0)]
        order = turned[other.index].sort_values(ascending=False, kind="stable").index[:lines]
        if len(order):
            found.append("Other labels that turned:")
        for line in other.loc[order].itertuples():
            found.append(
                f"  {line.teacher}, told {line.told}: {line.changed} positive {line.turned_positive}, "
                f"negative {line.turned_negative} of {line.rows}, mean change {line.mean_change:+.3f}"
            )
        return "\n".join(found)


def disagreement_report(
    result: TransferResult, *, index: Sequence[Any] | None = None, examples: int = 3
) -> DisagreementReport:
    """Tables of contradictions and of what transfer changed.

    Args:
      result: of `transfer_targets`. index: names of the N rows, e.g. a DataFrame's index; none: their numbers.
      examples: rows shown for each label at most, at least 0.

    Returns:
      `DisagreementReport`.

    Raises:
      AmalgamationError: an index of another length, or a negative number of examples.

    Example:
      >>> import pandas as pd
      >>> east = pd.DataFrame({"car": [0.9, 0.2], "tree": [0.6, 0.1]})
      >>> west = pd.DataFrame({"car": [0.3, 0.1], "road": [0.8, 0.8]})
      >>> from jlabel.amalgamation.transfer import transfer_targets
      >>> result = transfer_targets({"east": east, "west": west}, pd.DataFrame({"x": [0.0, 1.0]}))
      >>> print(disagreement_report(result).summary())
      2 rows; labels that several teachers know: 1 of 3; contradictions: 1
        car: east, west differ in 50.0% (1); targets turned positive 0, negative 0
      Who told whom:
        east -> west, car: 1; west fixed
    """
    number = len(result.targets)
    if index is not None and len(index) != number:
        raise AmalgamationError(f"index names {len(index)} rows; there are {number}")
    check_count("examples", examples, low=0)
    first = expit(integrate_logits(result.label_sets, result.first_logits))
    before = [expit(logits) for logits in result.first_logits]
    after = [expit(logits) for logits in result.last_logits]
    return DisagreementReport(
        _label_table(result, first),
        _pair_table(result, before, after),
        _effect_table(result, before, after),
        _example_table(result, before, first, range(number) if index is None else index, examples),
        number,
    )


def _label_table(result: TransferResult, first: np.ndarray) -> pd.DataFrame:
    lines = []
    for j, label in enumerate(result.label_names):
        links = [k for k, triple in enumerate(result.triples) if triple[0] == label]
        lines.append(
            {
                "label": label,
                "teachers": tuple(_knowing(result, label)),
                "disagreements": int(result.disagreement[:, j].sum()),
                "share": _mean(result.disagreement[:, j]),
                "transfers": int(result.transfers[:, links].sum()),
                **_change(first[:, j], result.targets[:, j]),
            }
        )
    return pd.DataFrame(lines)


def _pair_table(result: TransferResult, before: list[np.ndarray], after: list[np.ndarray]) -> pd.DataFrame:
    lines = []
    for k, (label, source, target) in enumerate(result.triples):
        told = result.transfers[:, k]
        column, other = result.label_sets[target].index(label), result.label_sets[source].index(label)
        now, said = after[target][told, column], after[source][told, other]
        lines.append(
            {
                "label": label,
                "source": result.teacher_names[source],
                "target": result.teacher_names[target],
                "told": int(told.sum()),
                "share": _mean(told),
                "followed": int(((now > 0.5) == (said > 0.5)).sum()),
                "mean_change": _mean(now - before[target][told, column]),
                "revisable": result.revisable[target],
            }
        )
    columns = ["label", "source", "target", "told", "share", "followed", "mean_change", "revisable"]
    return pd.DataFrame(lines, columns=columns)


def _effect_table(result: TransferResult, before: list[np.ndarray], after: list[np.ndarray]) -> pd.DataFrame:
    lines = []
    for target, name in enumerate(result.teacher_names):
        links: dict[str, list[int]] = {}
        for k, triple in enumerate(result.triples):
            if triple[2] == target and result.revisable[target]:
                links.setdefault(triple[0], []).append(k)
        for told, places in links.items():
            rows = result.transfers[:, places].any(axis=1)
            for j, changed in enumerate(result.label_sets[target]):
                change = _change(before[target][rows, j], after[target][rows, j])
                lines.append({"teacher": name, "told": told, "changed": changed, "rows": int(rows.sum()), **change})
    columns = ["teacher", "told", "changed", "rows", "mean_change", "turned_positive", "turned_negative"]
    return pd.DataFrame(lines, columns=columns)


def _example_table(
    result: TransferResult, before: list[np.ndarray], first: np.ndarray, index: Sequence[Any], number: int
) -> pd.DataFrame:
    lines = []
    turned = (result.targets > 0.5) != (first > 0.5)
    for j, label in enumerate(result.label_names):
        said = {
            name: probs[:, names.index(label)]
            for name, names, probs in zip(result.teacher_names, result.label_sets, before, strict=True)
            if label in names
        }
        spread = np.where(result.disagreement[:, j], np.ptp(list(said.values()), axis=0), -1)
        for row in np.argsort(-spread, kind="stable")[:number]:
            if spread[row] < 0:
                break
            flipped = [k for k in np.flatnonzero(turned[row]) if k != j]
            signs = ["+" if result.targets[row, k] > 0.5 else "-" for k in flipped]
            lines.append(
                {
                    "label": label,
                    "row": int(row),
                    "name": index[row],
                    **{f"p({name})": float(values[row]) for name, values in said.items()},
                    "target": float(result.targets[row, j]),
                    "other_labels": ", ".join(s + result.label_names[k] for s, k in zip(signs, flipped, strict=True)),
                }
            )
    said_by = [f"p({name})" for name in result.teacher_names]
    return pd.DataFrame(lines, columns=["label", "row", "name", *said_by, "target", "other_labels"])


def _knowing(result: TransferResult, label: str) -> list[str]:
    return [name for name, names in zip(result.teacher_names, result.label_sets, strict=True) if label in names]


def _change(before: np.ndarray, after: np.ndarray) -> dict[str, float | int]:
    return {
        "mean_change": _mean(after - before),
        "turned_positive": int(((after > 0.5) & (before <= 0.5)).sum()),
        "turned_negative": int(((after <= 0.5) & (before > 0.5)).sum()),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0
