"""Reuters-21578 in the ModApte split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jlabel.data
from jlabel.data import DataError

REUTERS = Path(__file__).parents[2].parent / "shared" / "data" / "text" / "reuters21578.parquet"


@pytest.fixture
def news(tmp_path: Path) -> str:
    rows = [
        # newid, lewissplit, topics_flag, topics, title, body
        (1, "TRAIN", "YES", "earn", "Profit up", "By a lot."),
        (2, "TRAIN", "YES", "grain wheat", "Wheat", "Harvest."),
        (3, "TRAIN", "YES", "wheat", "More wheat", ""),
        (4, "TRAIN", "NO", "earn", "Not judged", "x"),
        (5, "NOT-USED", "YES", "earn", "Not used", "x"),
        (6, "TRAIN", "YES", "", "No topic", "x"),
        (7, "TEST", "YES", "earn", "", "Profit down."),
        (8, "TEST", "YES", "wheat gold", "Wheat and gold", "x"),
        (9, "TEST", "YES", "gold", "Gold", "x"),
        (10, "TEST", "YES", "earn earn", "Twice", "x"),
        (11, "TEST", "YES", "wheat", "Wheat", "Rain."),
    ]
    frame = pd.DataFrame(rows, columns=["newid", "lewissplit", "topics_flag", "topics", "title", "body"])
    frame.to_parquet(tmp_path / "r.parquet")
    return f"reuters:{tmp_path}/r.parquet"


def test_news_with_one_topic(news: str) -> None:
    train, test = jlabel.data.open(news), jlabel.data.open(news, "test")
    assert train.label_names == ("earn", "wheat")  # gold is not in both splits
    assert train.column("name").tolist() == ["newid 1", "newid 3"]
    assert test.column("name").tolist() == ["newid 7", "newid 11"]
    assert train[0] == {"text": "Profit up\nBy a lot.", "label": 0, "name": "newid 1", "split": "train"}
    assert train[1]["text"] == "More wheat"
    assert test[0]["text"] == "Profit down."


def test_news_with_all_topics(news: str) -> None:
    train, test = jlabel.data.open(f"{news}?topics=all"), jlabel.data.open(f"{news}?topics=all", "test")
    assert train.label_names == ("earn", "wheat")
    assert train.column("labels").tolist() == [(0,), (1,), (1,)]
    assert test.column("labels").tolist() == [(0,), (1,), (0,), (1,)]
    assert test.labels.tolist() == [0, 1, 0, 1]


def test_bad_reuters(news: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="option topics='some' is none of single, all"):
        jlabel.data.open(f"{news}?topics=some")
    with pytest.raises(DataError, match="is no readable Parquet file"):
        jlabel.data.open(f"reuters:{tmp_path}/none.parquet")
    frame = pd.read_parquet(tmp_path / "r.parquet")
    frame.drop(columns="body").to_parquet(tmp_path / "short.parquet")
    with pytest.raises(DataError, match="no column 'body'; it needs newid, lewissplit"):
        jlabel.data.open(f"reuters:{tmp_path}/short.parquet")
    frame.assign(title="", body=" ").to_parquet(tmp_path / "blank.parquet")
    with pytest.raises(DataError, match="row 'newid 1': the text is empty"):
        jlabel.data.open(f"reuters:{tmp_path}/blank.parquet")
    frame.assign(topics_flag="NO").to_parquet(tmp_path / "no.parquet")
    with pytest.raises(DataError, match="there are no rows in it"):
        jlabel.data.open(f"reuters:{tmp_path}/no.parquet")


@pytest.mark.skipif(not REUTERS.exists(), reason="the real data is not here")
def test_real_reuters_has_the_published_counts() -> None:
    train, test = (jlabel.data.open(f"reuters:{REUTERS}", split) for split in ("train", "test"))
    assert (len(train), len(test), len(train.label_names)) == (6532, 2568, 52)
    assert min(np.bincount(train.labels, minlength=52).min(), np.bincount(test.labels, minlength=52).min()) == 1
    names = train.label_names
    assert np.bincount(train.labels)[[names.index("earn"), names.index("acq")]].tolist() == [2840, 1596]
    train, test = (jlabel.data.open(f"reuters:{REUTERS}?topics=all", split) for split in ("train", "test"))
    assert (len(train), len(test), len(train.label_names)) == (7770, 3019, 90)
    for part in (train, test):
        labels = part.column("labels")
        assert [row[0] for row in labels] == part.labels.tolist()
        assert {label for row in labels for label in row} == set(range(90))
    assert len(jlabel.data.load_arrays(train)["text"]) == 7770  # no text is empty
