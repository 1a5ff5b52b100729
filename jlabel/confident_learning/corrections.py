"""From flagged rows to corrected labels: the table a reviewer fills in, and what comes of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import ConfidentLearningError

__all__ = ["DECISIONS", "ISSUE_COLUMNS", "PROVENANCE_COLUMNS", "Corrections", "apply_corrections", "issue_table"]

DECISIONS = ("keep", "fix", "drop", "both")
ISSUE_COLUMNS = (
    *("name", "row", "given", "suggested", "score", "prob_given", "prob_suggested"),
    *("decision", "corrected", "reviewer", "comment"),
)
PROVENANCE_COLUMNS = ("row", "name", "decision", "old", "new", "reviewer", "comment", "score", "when")
_NEEDED = ("row", "given", "decision")


class Corrections(NamedTuple):
    """What a reviewed table does to the labels.

    Attributes:
      labels: int32 [N], the corrected labels; a dropped row keeps its old one.
      keep: bool [N], False for the rows to drop.
      also: int32 [N], the second label of rows that show both, else -1.
      provenance: a row per decision, with the columns `PROVENANCE_COLUMNS`, in the order of the rows.
      undecided: lines of the table without a decision.
    """

    labels: np.ndarray
    keep: np.ndarray
    also: np.ndarray
    provenance: pd.DataFrame
    undecided: int


def issue_table(
    rows: ArrayLike,
    *,
    names: Sequence[str] | np.ndarray,
    given: ArrayLike,
    suggested: ArrayLike,
    scores: ArrayLike,
    prob_given: ArrayLike,
    prob_suggested: ArrayLike,
    label_names: Sequence[str],
) -> pd.DataFrame:
    """The table of suspected rows, with empty columns for the reviewer.

    Args:
      rows: int [K], row numbers in the data, in the order of the table.
      names: [K] names of these rows.
      given: int [K] labels the rows have. suggested: int [K] labels they may deserve.
      scores: [K], lower is worse. prob_given: [K] in [0, 1]. prob_suggested: [K] in [0, 1].
      label_names: C names that the labels index.

    Returns:
      K lines with the columns `ISSUE_COLUMNS`; `decision`, `corrected`, `reviewer` and `comment` are empty texts.

    Raises:
      ConfidentLearningError: columns of different lengths, or a label outside the names.

    Example:
      >>> table = issue_table([7], names=["a.png"], given=[0], suggested=[1], scores=[-0.8], prob_given=[0.1],
      ...                     prob_suggested=[0.9], label_names=("cat", "dog"))
      >>> table.loc[0, ["name", "given", "suggested", "decision"]].tolist(), int(table.loc[0, "row"])
      (['a.png', 'cat', 'dog', ''], 7)
    """
    columns = {
        "name": np.array([str(name) for name in names], dtype=object),
        "row": np.asarray(rows, np.int64),
        "given": _names_of("given", given, label_names),
        "suggested": _names_of("suggested", suggested, label_names),
        "score": np.asarray(scores, np.float64),
        "prob_given": np.asarray(prob_given, np.float64),
        "prob_suggested": np.asarray(prob_suggested, np.float64),
    }
    for name, values in columns.items():
        if values.shape != columns["row"].shape:
            raise ConfidentLearningError(f"{name} has shape {values.shape}, rows {columns['row'].shape}: give as many")
    for name in ISSUE_COLUMNS[len(columns) :]:
        columns[name] = np.full(len(columns["row"]), "", dtype=object)
    return pd.DataFrame(columns)


def _names_of(argument: str, labels: ArrayLike, label_names: Sequence[str]) -> np.ndarray:
    codes = np.asarray(labels, np.int64)
    outside = np.flatnonzero((codes < 0) | (codes >= len(label_names)))
    if outside.size:
        place = int(outside[0])
        raise ConfidentLearningError(
            f"{argument}[{place}] is {codes[place]}; labels index {len(label_names)} names, 0 to {len(label_names) - 1}"
        )
    return np.array([str(name) for name in label_names], dtype=object)[codes]


def apply_corrections(
    reviewed: pd.DataFrame,
    labels: ArrayLike,
    *,
    label_names: Sequence[str],
    names: Sequence[str] | np.ndarray | Mapping[int, str] | None = None,
    when: str,
    file: str = "reviewed",
    lines: Sequence[int] | None = None,
) -> Corrections:
    """Apply a reviewed table to the labels; the table is refused as a whole if one line of it cannot be right.

    Decisions: `keep` leaves the given label; `fix` takes `corrected`, or `suggested` where that is empty; `drop` leaves
    the row out; `both` keeps the given label and adds `corrected` (or `suggested`) as a second one. An empty decision
    changes nothing. Two lines about one row must agree; their reviewers and comments are joined.

    Args:
      reviewed: the table, as texts or as `issue_table` made it; needs the columns row, given and decision.
      labels: int [N] the data's labels; -1 is unlabelled.
      label_names: C names that the labels index.
      names: [N] names of the rows, or names by row, of those in the table at least; where the table has names too,
        they must be the same.
      when: time of the review, as the provenance shall say it.
      file: what messages call the table.
      lines: line of the file at which each row of the table begins; by default the header is line 1.

    Returns:
      `Corrections`.

    Raises:
      ConfidentLearningError: a missing column, an unknown decision, label or row, a row whose given label or name is
        no longer that of the data, or two lines that answer differently; the message names the file and the line.

    Example:
      >>> table = issue_table([1], names=["b"], given=[0], suggested=[1], scores=[-0.8], prob_given=[0.1],
      ...                     prob_suggested=[0.9], label_names=("cat", "dog"))
      >>> table["decision"], table["reviewer"] = "fix", "Ada"
      >>> found = apply_corrections(table, [0, 0], label_names=("cat", "dog"), when="2025-01-31")
      >>> found.labels.tolist(), found.provenance.loc[0, ["old", "new", "reviewer"]].tolist()
      ([0, 1], ['cat', 'dog', 'Ada'])
    """
    old = np.asarray(labels)
    missing = [name for name in _NEEDED if name not in reviewed.columns]
    if missing:
        there = ", ".join(str(name) for name in reviewed.columns) or "none"
        raise ConfidentLearningError(f"{file}: no column {missing[0]!r}; there are {there}: fill in an issues.csv")
    codes = {str(name).strip(): code for code, name in enumerate(label_names)}
    found: dict[int, dict[str, str]] = {}
    first_line: dict[int, int] = {}
    undecided = 0
    for place, record in enumerate(reviewed.to_dict("records")):
        line = place + 2 if lines is None else lines[place]
        entry = {str(name): _text(value) for name, value in record.items()}
        if not entry["decision"]:
            if entry.get("corrected"):
                raise ConfidentLearningError(
                    f"{file}, line {line}: corrected is {entry['corrected']!r} but decision is empty; write fix or both"
                )
            undecided += 1
            continue
        try:
            row, new = _decide(entry, old, codes, label_names, names)
        except ConfidentLearningError as error:
            raise ConfidentLearningError(f"{file}, line {line}: {error}") from error
        answer = {**entry, "new": new}
        if row not in found:
            found[row], first_line[row] = answer, line
            continue
        before = found[row]
        if (before["decision"], before["new"]) != (answer["decision"], answer["new"]):
            raise ConfidentLearningError(
                f"{file}, line {line}: row {row} is {_said(answer)} here but {_said(before)} in line "
                f"{first_line[row]}; agree on one"
            )
        found[row] = _joined(before, answer)
    return _corrections(found, old, codes, when=when, undecided=undecided)


def _said(entry: dict[str, str]) -> str:
    return f"{entry['decision']} {entry['new']!r}" if entry["decision"] in ("fix", "both") else entry["decision"]


def _text(value: object) -> str:
    """A cell as a text; an empty one is not a number."""
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value).strip()


def _decide(
    entry: dict[str, str],
    labels: np.ndarray,
    codes: dict[str, int],
    label_names: Sequence[str],
    names: Sequence[str] | np.ndarray | Mapping[int, str] | None,
) -> tuple[int, str]:
    """Row and new label of one decision, checked."""
    entry["decision"] = decision = entry["decision"].lower()
    if decision not in DECISIONS:
        raise ConfidentLearningError(f"decision {entry['decision']!r} is none of {', '.join(DECISIONS)}")
    number = entry["row"].removesuffix(".0")  # spreadsheets make it a fraction
    if not number.isdecimal() or int(number) >= len(labels):
        raise ConfidentLearningError(f"row {entry['row']!r} is none of the data's {len(labels)} rows")
    row = int(number)
    if names is not None and entry.get("name") and entry["name"] != str(names[row]).strip():
        raise ConfidentLearningError(
            f"row {row} is {entry['name']!r} here but {str(names[row])!r} in the data: the rows have moved; find the "
            "errors again"
        )
    now = str(label_names[labels[row]]) if labels[row] >= 0 else ""
    if entry["given"] != now.strip():
        raise ConfidentLearningError(
            f"row {row} has the label {now!r} in the data, {entry['given']!r} was reviewed: the data changed; find the "
            "errors again"
        )
    if decision in ("keep", "drop"):
        if entry.get("corrected") and (decision == "drop" or entry["corrected"] != entry["given"]):
            raise ConfidentLearningError(
                f"decision {decision} beside corrected {entry['corrected']!r}; write fix or both, or empty the cell"
            )
        return row, now if decision == "keep" else ""
    new = entry.get("corrected") or entry.get("suggested", "")
    if new not in codes:
        some = ", ".join(list(codes)[:10]) + (", ..." if len(codes) > 10 else "")
        raise ConfidentLearningError(f"label {new!r} is none of the {len(codes)} labels {some}")
    if new == entry["given"]:
        raise ConfidentLearningError(f"decision {decision} with the given label {new!r} itself; write keep")
    return row, new


def _joined(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Two lines that agree as one: both reviewers and both comments."""
    joined = dict(before)
    for column in ("reviewer", "comment"):
        parts = dict.fromkeys(part for part in (before.get(column, ""), now.get(column, "")) if part)
        joined[column] = "; ".join(parts)
    return joined


def _corrections(
    found: dict[int, dict[str, str]], old: np.ndarray, codes: dict[str, int], *, when: str, undecided: int
) -> Corrections:
    labels, keep, also = old.astype(np.int32), np.ones(len(old), bool), np.full(len(old), -1, np.int32)
    records = []
    for row, entry in sorted(found.items()):
        decision, new = entry["decision"], entry["new"]
        if decision == "fix":
            labels[row] = codes[new]
        elif decision == "both":
            also[row] = codes[new]
            new = f"{entry['given']} + {new}"
        keep[row] = decision != "drop"
        told = {name: entry.get(name, "") for name in ("name", "decision", "reviewer", "comment", "score")}
        records.append({"row": row, **told, "old": entry["given"], "new": new, "when": when})
    return Corrections(labels, keep, also, pd.DataFrame(records, columns=list(PROVENANCE_COLUMNS)), undecided)
