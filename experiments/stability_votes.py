"""Votes on flagged rows from a file: categories at each threshold, precision of the flags, noise prevalence."""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.stability_figures import categories_figure, counts_figure
from experiments.stability_report import Drawing, Section, Table, interval_cell
from experiments.stability_tables import shipped_table
from jlabel import InputError
from jlabel.confident_learning import VOTE_CATEGORIES, count_votes, noise_prevalence, tally_label_votes, tally_votes
from jlabel.evaluation import Interval, Row, row_from_interval

__all__ = ["VoteSet", "prevalence_interval", "read_votes", "votes_section"]

# our name of a field -> names it may have in the file, the published votes' own ones last
FIELDS = {
    "votes": ("votes", "mturk"),
    "given": ("given", "given_original_label", "given_original_labels"),
    "guessed": ("guessed", "our_guessed_label", "our_guessed_labels"),
}
NON_ERROR, CORRECTABLE = VOTE_CATEGORIES.index("non-error"), VOTE_CATEGORIES.index("correctable")


class VoteSet(NamedTuple):
    """The voted rows of one dataset.

    Attributes:
      name: of the dataset. categories: threshold to counts of `VOTE_CATEGORIES`, int ``[5]``. checked: rows voted on.
      flagged: rows that were flagged, of which the checked ones are a sample. size: rows of the benchmark, 0 where it
        is not known.
    """

    name: str
    categories: Mapping[int, np.ndarray]
    checked: int
    flagged: int
    size: int


def read_votes(spec: str, thresholds: Sequence[int]) -> list[VoteSet]:
    """Read ``votes:FILE?size=N&flagged=N``, JSON lines, and tally them.

    A line is an object with ``votes`` (word to count), ``given`` and ``guessed`` (labels; lists of them where people
    voted on each label), and, if there are several datasets, ``dataset``; ``id`` names the row in errors. The names of
    the published files are understood too.

    Raises:
      InputError: the file, an option, a line or its votes cannot be used; the message names the line.
    """
    kind, _, rest = spec.partition(":")
    location, _, query = rest.partition("?")
    if kind != "votes" or not location:
        raise InputError(f"data {spec!r}: give votes:FILE, JSON lines with votes, given and guessed")
    options = _options(spec, query)
    path = Path(location).expanduser()
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for number, row in _lines(path):
        name = str(row.get("dataset", path.name.split(".")[0]))
        groups.setdefault(name, []).append((f"{path.name}, line {number}", row))
    if not groups:
        raise InputError(f"{path} holds no rows: write one JSON object a line")
    known = {row["dataset"]: row for row in shipped_table("label_error_sets")}
    found = []
    for name, rows in groups.items():
        sizes = {field: int(known[name][field]) for field in ("size", "flagged")} if name in known else {}
        sizes |= options
        flagged, size = max(sizes.get("flagged", len(rows)), len(rows)), sizes.get("size", 0)
        if "flagged" in options and options["flagged"] < len(rows):
            raise InputError(f"{spec}: flagged={options['flagged']}, but {name} holds votes on {len(rows)} rows")
        if size and size < flagged:
            raise InputError(f"{spec}: size={size}, but {flagged} rows of {name} are flagged")
        found.append(VoteSet(name, _tally(rows, thresholds), len(rows), flagged, size))
    return found


def _options(spec: str, query: str) -> dict[str, int]:
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("size", "flagged"):
            raise InputError(f"{spec}: no option {name!r}; votes knows size, flagged")
        if not value.isdecimal() or not int(value):
            raise InputError(f"{spec}: option {name}={value!r} must be a number of rows")
        options[name] = int(value)
    return options


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, with their line numbers."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}; write it anew") from error
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} must be a JSON object, got {type(row).__name__}")
        found.append((number, row))
    return found


def _field(name: str, place: str, row: Mapping[str, Any]) -> Any:
    for key in FIELDS[name]:
        if key in row:
            return row[key]
    if name == "votes":
        raise InputError(f"{place}: no field 'votes'; give a mapping of words to counts")
    return None


def _tally(rows: list[tuple[str, dict[str, Any]]], thresholds: Sequence[int]) -> dict[int, np.ndarray]:
    """Counts of the categories at each threshold."""
    columns = {name: [_field(name, place, row) for place, row in rows] for name in FIELDS}
    places = [place for place, _ in rows]
    several = [isinstance(labels, list) for labels in columns["given"]]
    for place, many, guessed in zip(places, several, columns["guessed"], strict=True):
        if many != isinstance(guessed, list):
            raise InputError(f"{place}: given and guessed must both be labels, or both lists of them")
    if any(several) and not all(several):
        raise InputError(
            f"{places[several.index(not several[0])]}: a label here, a list in other rows; use one of both"
        )
    if several[0]:
        tallied = {t: tally_label_votes(**columns, threshold=t, names=places) for t in thresholds}
    else:
        counts = count_votes(**columns, names=places)
        tallied = {t: tally_votes(counts, threshold=t) for t in thresholds}
    return {t: np.bincount(found, minlength=len(VOTE_CATEGORIES)) for t, found in tallied.items()}


def _prevalence(counts: np.ndarray, found: VoteSet) -> np.ndarray:
    """Prevalence from counts ``[..., 5]`` of the checked rows, scaled to all flagged ones."""
    whole = counts * (found.flagged / found.checked)
    correctable = whole[..., CORRECTABLE]
    unknown = whole.sum(-1) - correctable - whole[..., NON_ERROR]
    return noise_prevalence(correctable, found.size - unknown - correctable)


def prevalence_interval(found: VoteSet, threshold: int, *, replicates: int, seed: int) -> Interval:
    """Noise prevalence with a 95 % interval: categories of the checked rows drawn anew."""
    counts = found.categories[threshold]
    generator = np.random.default_rng(seed)
    drawn = _prevalence(generator.multinomial(found.checked, counts / found.checked, size=replicates), found)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(_prevalence(counts, found)), float(drawn.std(ddof=1)), float(low), float(high), found.checked)


def share_interval(count: int, total: int) -> Interval:
    """A share with Wilson's 95 % interval."""
    ends = stats.binomtest(int(count), int(total)).proportion_ci(method="wilson")
    share = count / total
    return Interval(share, float(np.sqrt(share * (1 - share) / total)), float(ends.low), float(ends.high), int(total))


def votes_section(found: Sequence[VoteSet], thresholds: Sequence[int], *, replicates: int, seed: int) -> Section:
    """Tables, figures and rows of the votes."""
    known = {row["dataset"]: row for row in shipped_table("label_error_sets")}
    rows: list[Row] = []
    tables = []
    for t in thresholds:
        body = []
        for s in found:
            counts = s.categories[t]
            errors = share_interval(s.checked - counts[NON_ERROR], s.checked)
            line = [s.name, str(s.checked), *map(str, counts), interval_cell(errors.mean, errors.low, errors.high)]
            split = f"{t} votes"
            rows += [
                row_from_interval(s.name, category, Interval(float(n), np.nan, np.nan, np.nan, 1), split=split)
                for category, n in zip(VOTE_CATEGORIES, counts, strict=True)
            ]
            rows.append(row_from_interval(s.name, "errors among checked", errors, split=split))
            if s.size:
                n = prevalence_interval(s, t, replicates=replicates, seed=seed)
                rows.append(row_from_interval(s.name, "prevalence", n, split=split))
                line.append(interval_cell(100 * n.mean, 100 * n.low, 100 * n.high, digits=2))
            else:
                line.append("size unknown")
            if t == 3 and len(known.keys() & {s.name for s in found}):
                paper = known.get(s.name, {})
                line.append("/".join(paper.get(c) or "-" for c in VOTE_CATEGORIES) if paper else "")
            body.append(line)
        header = ["set", "checked", *VOTE_CATEGORIES, "errors among checked", "prevalence %"]
        tables.append(
            Table(
                f"Categories at {t} votes (the given label stands with 3); 95 % intervals.",
                header + ["paper"] * (len(body[0]) > len(header)),
                body,
            )
        )
    drawings = [
        Drawing(
            "vote_categories", categories_figure(found, thresholds),
            "What people said about the flagged rows, at each threshold. Rows leave the coloured parts for "
            "non-agreement as the threshold rises; the given label stands with 3 votes throughout.",
            "Stacked bars of vote categories for each dataset and threshold",
        ),
        Drawing(
            "flagged_and_errors", _counts_drawing(found, min(thresholds)),
            "Reliability of the counts: errors that people confirmed among the rows flagged (or the sample of them "
            "that was checked), with 95 % intervals.",
            "Share of confirmed errors among the flagged rows for each dataset",
        ),
    ]  # fmt: skip
    return Section("Votes", _text(found, thresholds), tables, drawings, rows)


def _counts_drawing(found: Sequence[VoteSet], threshold: int) -> Figure:
    errors = [s.checked - int(s.categories[threshold][NON_ERROR]) for s in found]
    notes = [
        f"{count:,} of {s.checked:,}" + (f"; {s.flagged:,} flagged" if s.flagged > s.checked else "")
        for s, count in zip(found, errors, strict=True)
    ]
    shares = [share_interval(count, s.checked) for s, count in zip(found, errors, strict=True)]
    return counts_figure([s.name for s in found], notes, shares)


def _text(found: Sequence[VoteSet], thresholds: Sequence[int]) -> str:
    low, high = min(thresholds), max(thresholds)
    checked = sum(s.checked for s in found)
    errors = sum(s.checked - int(s.categories[low][NON_ERROR]) for s in found)
    corrected = [sum(int(s.categories[t][CORRECTABLE]) for s in found) for t in (low, high)]
    text = f"People voted on {checked:,} flagged rows of {len(found)} sets; {errors:,} ({errors / checked:.1%}) are "
    text += f"errors. {corrected[0]:,} can be corrected with {low} votes"
    return text + (f", {corrected[1]:,} with {high}." if high > low else ".")
