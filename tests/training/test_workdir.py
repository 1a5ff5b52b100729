import dataclasses
import json
import math

import pytest

from jlabel.training import TrainingError, check_positive, initialize_distributed, make_mesh, open_workdir, write_json
from jlabel.training.metric_log import MetricLog, read_history


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 10
    sizes: tuple[int, ...] = (1, 2)


def test_config_is_written_once_and_the_same_one_is_accepted(tmp_path):
    path = open_workdir(tmp_path / "a" / "b", Config())
    assert json.loads((path / "config.json").read_text()) == {"steps": 10, "sizes": [1, 2]}
    assert open_workdir(path, {"steps": 10, "sizes": [1, 2]}) == path
    assert open_workdir(path) == path
    assert [p.name for p in path.iterdir()] == ["config.json"]


def test_another_config_is_refused_with_every_differing_field(tmp_path):
    open_workdir(tmp_path, {"steps": 10, "model": {"hidden": 8, "dropout": 0.1}, "old": None})
    with pytest.raises(TrainingError) as caught:
        open_workdir(tmp_path, {"steps": 10, "model": {"hidden": 16, "dropout": 0.1}, "new": True})
    assert "(model.hidden: was 8, now 16; old: was None, now absent; new: was absent, now True)" in str(caught.value)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["hidden"] == 8


def test_a_damaged_config_and_an_unwritable_folder_are_one_clear_line(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(TrainingError, match=r"config.json cannot be read"):
        open_workdir(tmp_path, {"steps": 10})
    with pytest.raises(TrainingError, match=r"workdir .*config.json/run cannot be written: Not a directory; choose"):
        open_workdir(tmp_path / "config.json" / "run", {"steps": 10})


def test_write_json_leaves_the_old_file_when_it_cannot_write(tmp_path):
    file = tmp_path / "results.json"
    write_json(file, {"mean": 1.0})
    with pytest.raises(TypeError):
        write_json(file, {("tuple", "key"): 1})
    assert json.loads(file.read_text()) == {"mean": 1.0}
    with pytest.raises(TrainingError, match="cannot be written: No such file or directory"):
        write_json(tmp_path / "absent" / "results.json", {})


def test_metric_log_cuts_back_to_the_step_and_mends_a_torn_line(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log = MetricLog(file, "a", until=0)
    for step in (10, 20, 30):
        log.write({"name": "a", "step": step, "loss": step / 7, "norm": math.inf})
    log.close()
    other = MetricLog(file, "b", until=0)
    other.write({"name": "b", "step": 99, "loss": [1.0, math.nan]})
    other.close()
    with file.open("a") as torn:
        torn.write('{"name": "a", "step": 40, "lo')

    history = read_history(file, "a", until=20)
    assert [record["step"] for record in history] == [10, 20]
    assert history[0]["loss"] == 10 / 7
    assert math.isnan(history[0]["norm"])

    log = MetricLog(file, "a", until=20)
    log.write({"name": "a", "step": 30, "loss": 0.5})
    log.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["name"], line["step"]) for line in lines] == [("a", 10), ("a", 20), ("b", 99), ("a", 30)]
    assert lines[2]["loss"] == [1.0, None]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"name": "a", "step": 1}\nnonsense\n{"name": "a", "step": 2}\n')
    with pytest.raises(TrainingError, match=r"metrics.jsonl line 2 is no metric record"):
        read_history(file, "a", until=9)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "3", None])
def test_check_positive_refuses(value):
    with pytest.raises(TrainingError, match=r"learning_rate must be a positive finite number, got "):
        check_positive("learning_rate", value)


def test_make_mesh_reads_sizes():
    assert dict(make_mesh().shape) == {"data": 1, "model": 1}
    assert dict(make_mesh("data=4,model=2").shape) == {"data": 4, "model": 2}
    assert dict(make_mesh("model=2, data=-1").shape) == {"data": 4, "model": 2}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rows=2", r"unknown axis 'rows'"),
        ("data=two", r"no whole number for 'data'"),
        ("data=0", r"sizes start at 1"),
        ("data=16", r"asks for \(16, 1\) devices; 8 are there"),
    ],
)
def test_make_mesh_refuses(spec, message):
    with pytest.raises(TrainingError, match=message):
        make_mesh(spec)


@pytest.mark.parametrize("spec", ["127.0.0.1:1", "127.0.0.1:1,two,0", ""])
def test_initialize_distributed_refuses(spec):
    with pytest.raises(TrainingError, match="must be HOST:PORT,COUNT,INDEX or auto"):
        initialize_distributed(spec)
