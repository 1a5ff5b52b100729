"""`reuters:FILE`: Reuters-21578 as one Parquet file, in the split that is called ModApte."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jlabel.data.columns import join_texts
from jlabel.data.parquet_file import layout, read_columns
from jlabel.data.rows import RowLabels, several_labels
from jlabel.data.source import DataError, TextReader
from jlabel.data.table import Table, check_rows

_COLUMNS = ("newid", "lewissplit", "topics_flag", "topics", "title", "body")
_SPLITS = {"TRAIN": "train", "TEST": "test"}
_TOPICS = ("single", "all")


def reuters_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """The news of the ModApte split: those whose topics were judged (flag YES), as Lewis cut them in two.

    A text is the title and, on the next line, the body; where one of the two is missing it is the other. The classes
    are the topics that both splits have.

    - `topics=single`, the default: news with one topic, 52 classes, 6,532 for training and 2,568 for testing.
    - `topics=all`: news with one of 90 topics or several, 7,770 and 3,019; the literature has 7,769 and 3,019.
    """
    spec = f"reuters:{location}"
    wanted = options.get("topics", "single")
    if wanted not in _TOPICS:
        raise DataError(f"{spec}: option topics={wanted!r} is none of {', '.join(_TOPICS)}")
    path = str(Path(location).expanduser())
    schema, _ = layout(spec, [path])
    missing = [name for name in _COLUMNS if name not in schema.names]
    if missing:
        raise DataError(f"{spec}: no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}")
    columns, faults = read_columns(spec, [path], list(_COLUMNS))
    splits = np.array([_SPLITS.get(value, "") for value in columns["lewissplit"]])
    topics = [str(cell).split() for cell in columns["topics"]]
    # Topics as they stand: "trade trade", which the file has once, is no single topic in the published counts.
    counts = np.array([len(row) for row in topics])
    judged = (columns["topics_flag"] == "YES") & (splits != "") & (counts == 1 if wanted == "single" else counts > 0)
    train, test = (
        {topic for row in np.flatnonzero(judged & (splits == part)) for topic in topics[row]}
        for part in ("train", "test")
    )
    shared = train & test
    kept = np.array([row for row in np.flatnonzero(judged) if shared.intersection(topics[row])], int)
    check_rows(f"{spec}: news with topics in both splits", len(kept))
    cells = [" ".join(topic for topic in topics[row] if topic in shared) for row in kept]
    labels: RowLabels = several_labels([cells], separator=" ")
    texts, empty = join_texts([columns["title"][kept], columns["body"][kept]])
    found = {new: faults[old] for new, old in enumerate(kept.tolist()) if old in faults}
    return Table(
        reader=TextReader(texts),
        names=np.array([f"newid {number}" for number in columns["newid"][kept]]),
        labels=labels.labels,
        label_names=labels.names,
        splits=splits[kept],
        columns={} if labels.several is None or wanted == "single" else {"labels": labels.several},
        faults=empty | found,
        checked=True,
    )
