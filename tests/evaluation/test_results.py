"""The results document and the terminal table."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel import InputError
from jlabel.evaluation import (
    build_results,
    format_table,
    make_row,
    row_from_interval,
    seed_interval,
    table_cells,
    to_json,
    versions,
    write_results,
)

ROWS = [
    make_row("graph", "accuracy", [0.5, 0.75, 1.0]),
    make_row("graph", "f1", [0.25]),
    make_row("majority", "accuracy", [0.1, 0.1, 0.1]),
]


@dataclasses.dataclass(frozen=True)
class Config:
    """Stands for an experiment's settings."""

    steps: int
    rate: float
    folder: Path


def test_row_by_hand():
    row = ROWS[0]
    half = 4.302652730 * 0.25 / np.sqrt(3)
    assert (row.mean, row.std) == (0.75, 0.25)
    assert row.ci95 == pytest.approx((0.75 - half, 0.75 + half))
    assert row_from_interval("graph", "accuracy", seed_interval([0.5, 0.75, 1.0]), runs=[0.5, 0.75, 1.0]) == row


def test_document_has_the_agreed_keys_and_is_strict_json(tmp_path):
    config = Config(steps=3, rate=1e-3, folder=Path("runs"))
    document = build_results("toy", data="embedded:toy", config=config, rows=ROWS, seconds=1.23456)
    path = write_results(tmp_path / "deep" / "results.json", document)
    read = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(read) == ["experiment", "data", "config", "rows", "seconds", "versions"]
    assert read["config"] == {"steps": 3, "rate": 0.001, "folder": "runs"}
    assert list(read["rows"][0]) == ["method", "metric", "split", "mean", "std", "ci95", "runs"]
    assert read["rows"][1]["std"] is None
    assert read["rows"][1]["ci95"] == [None, None]
    assert read["rows"][0]["runs"] == [0.5, 0.75, 1.0]
    assert read["seconds"] == 1.235


def test_versions_name_what_decides_a_number():
    found = versions()
    assert found["jax"] == jax.__version__
    assert found["numpy"] == np.__version__
    assert found["devices"] == f"{jax.device_count()} x cpu"
    assert {"python", "platform", "flax"} <= set(found)


def test_to_json_takes_what_a_config_holds():
    value = {
        "a": np.float32(0.5), "b": np.arange(3), "c": jnp.ones((2,)), "d": (1, None, True), 5: {"y", "x"},
        "f": float("inf"), "g": jax.random.key(3), "h": np.array([1.0, np.nan]), "i": jax.nn.relu, "j": ROWS[1].ci95,
    }  # fmt: skip
    found = to_json(value)
    assert found["a"] == 0.5
    assert found["b"] == [0, 1, 2]
    assert found["c"] == [1.0, 1.0]
    assert found["d"] == [1, None, True]
    assert found["5"] == ["x", "y"]
    assert found["f"] is None
    assert found["g"] == [0, 3]
    assert found["h"] == [1.0, None]
    assert found["j"] == [None, None]
    json.dumps(found, allow_nan=False)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "results.json"
    write_results(target, {"rows": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*results.json: No space left on device"):
        write_results(target, {"rows": 2})
    assert json.loads(target.read_text()) == {"rows": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        write_results(tmp_path / "file" / "results.json", {})
    assert str(caught.value).startswith("cannot write ")
    assert "\n" not in str(caught.value)


def test_table_by_eye():
    table = format_table(ROWS, paper={("graph", "accuracy"): 0.9495})
    assert table.split("\n") == [
        "method    accuracy                      paper accuracy  f1",
        "--------  ----------------------------  --------------  -----",
        "graph     0.750 ± 0.250 [0.129, 1.371]  0.950           0.250",
        "majority  0.100 ± 0.000 [0.100, 0.100]",
    ]


def test_table_breaks_into_blocks_and_keeps_all_cells():
    rows = [make_row("a method with a name", f"metric {i}", [i + 0.125, i + 0.375]) for i in range(9)]
    table = format_table(rows, width=80)
    assert max(map(len, table.split("\n"))) <= 80
    for i in range(9):
        assert table.count(f"metric {i}") == 1
        assert f"{i}.250 ± 0.177" in table
    # a column wider than the line stands alone
    assert "0.250 ± 0.177" in format_table(rows[:1], width=10)


def test_splits_and_odd_numbers_are_told_apart():
    rows = [
        make_row("m", "nll", [np.inf, 1.0], split="test"),
        make_row("m", "nll", [1e-7], split="validation"),
        make_row("m", "seconds", [12345.678], split="test"),
    ]
    header, body = table_cells(rows)
    assert header == ["method", "nll (test)", "nll (validation)", "seconds (test)"]
    assert body == [["m", "inf", "1e-07", "1.235e+04"]]


def test_bad_rows_are_named():
    with pytest.raises(InputError, match=r"^row \(graph, nll\): values\[1\] is nan"):
        make_row("graph", "nll", [1.0, float("nan")])
    with pytest.raises(InputError, match=r"^rows hold .*\('graph', 'accuracy', 'test'\) twice"):
        build_results("toy", data="", config={}, rows=[ROWS[0], ROWS[0]], seconds=0)
    with pytest.raises(InputError, match="^rows is empty"):
        format_table([])
