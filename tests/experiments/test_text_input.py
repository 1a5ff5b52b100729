"""Bad input of texts: one clear line each, exit code 2, nothing written."""

import json
import re
import shutil

import numpy as np
import pytest

from experiments import fusion
from experiments.common import user_errors
from experiments.fusion_data import load_fusion, load_plan
from experiments.fusion_model import load_model
from experiments.predict import PredictConfig, predict
from jlabel import InputError
from tests.experiments import worlds
from tests.experiments.worlds import frozen_text_config, text_config


def refused(capsys, function):
    """The one line that a user sees, with exit code 2."""
    assert user_errors(function) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def world(tmp_path):
    """Texts, a graph and a tiny BERT that a test may spoil."""
    worlds.write_texts(tmp_path)
    return tmp_path


def edit(path, old, new):
    """Replace the first such bytes of a file."""
    before = path.read_bytes()
    assert old in before
    path.write_bytes(before.replace(old, new, 1))


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def more_words(path):
    with path.open("a") as file:
        file.write("\nx\ny\nz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda w: edit(w / "texts.csv", b"agent", b"ag\xff\xfent"),
            r"csv:{w}/texts.csv: row 'train/cs.ai0': line 2: column text is not UTF-8 text at byte \d+ of its cell; "
            r"save it as UTF-8; .*",
        ),
        (
            lambda w: edit(w / "texts.csv", b",cs.ai,train", b",cs.xx,train"),
            r"label graph 'topics': label 'cs.xx' of dataset 'csv:{w}/texts.csv' is not in label set 'categories' "
            r"\(nearest: 'cs.\w\w'\)",
        ),
        (
            lambda w: edit(w / "archives.csv", b",math\n", b",maths\n"),
            r"label graph 'topics': label 'maths' of dataset 'csv:{w}/archives.csv' is not in label set 'archives' "
            r"\(nearest: 'math'\)",
        ),
        (
            lambda w: (w / "archives.csv").write_text("name,text,label\na,,cs\n"),
            r"csv:{w}/archives.csv: row 'a': the text is empty; repair or remove it, .*",
        ),
        (
            lambda w: (w / "archives.csv").write_text("a,b,label\n1,2,cs\n"),
            r"csv:{w}/archives.csv holds rows of 2 features, but csv:{w}/texts.csv holds texts; give both the same",
        ),
        (
            lambda w: edit(w / "texts.csv", b"name,text,label", b"name,words,label"),
            r"csv:{w}/texts.csv: .*text.*",
        ),
        (
            lambda w: cut(w / "bert/model.safetensors", 700),
            r"{w}/bert/model.safetensors: not a whole safetensors file: .*get it again.*",
        ),
        (
            lambda w: more_words(w / "bert/vocab.txt"),
            r"{w}/bert: a tokenizer that does not fit the weights: it has 22 tokens, the embedding table of "
            r"config.json 19 rows; take both from the same model",
        ),
        (lambda w: shutil.rmtree(w / "bert"), r"{w}/bert: there is no such directory"),
    ],
    ids=["bytes", "category", "archive", "empty", "features", "no texts", "cut", "tokenizer", "no model"],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"fine_tune": True}], ids=["frozen", "fine-tuned"])
def test_spoilt_texts_and_encoders(world, capsys, spoil, message, options):
    spoil(world)
    before = sorted(world.rglob("*"))
    line = refused(capsys, lambda: fusion.run(frozen_text_config(world, **options), world / "run") and 0)
    assert re.fullmatch(message.replace("{w}", re.escape(str(world))), line), line
    assert sorted(world.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "cnn"}, "csv:{w}/texts.csv holds texts, but --encoder=cnn takes pictures"),
        ({"encoder": "lstm", "remat": True}, None),  # only BERTs have it; an LSTM is not asked
        ({"encoder": "lstm", "token_pool": "cls"}, "encoder 'lstm' got pool='cls'; choose one of last, max, mean"),
        (
            {"encoder": "lstm", "vectors": "{w}/none.txt"},
            "{w}/none.txt: there is no such file of word vectors",
        ),
        ({"max_length": 2}, "max_length=2 must be at least 3 tokens"),
        ({"max_length": 17}, "max_length=17, but the model in {w}/bert has 16 positions; give no more"),
    ],
    ids=["cnn", "remat", "pool", "vectors", "short", "long"],
)
def test_settings_that_texts_refuse(world, capsys, changes, message):
    changes = {k: v.format(w=world) if isinstance(v, str) else v for k, v in changes.items()}
    config = frozen_text_config(world, **changes)
    if message is None:
        plan = load_plan(config.graph, max_paths=8, keep=1.0, seed=0)
        load_fusion(config, plan, data=config.data, coarse_data=config.coarse_data, seed=0)
        return
    line = refused(capsys, lambda: fusion.run(config, world / "run") and 0)
    assert line == message.format(w=world)
    assert not (world / "run").exists()


def test_texts_of_pictures_encoders_and_the_reverse(tmp_path, capsys):
    worlds.write_graph(tmp_path)
    worlds.write_pictures(tmp_path)
    config = worlds.picture_config(tmp_path, encoder="lstm")
    line = refused(capsys, lambda: fusion.run(config, tmp_path / "run") and 0)
    assert line == f"folder:{tmp_path / 'fine'} holds pictures, but --encoder=lstm takes texts"
    assert not (tmp_path / "run").exists()


def test_an_encoder_nobody_knows_is_refused_before_anything_is_read(tmp_path, capsys):
    line = refused(capsys, lambda: text_config(tmp_path, encoder="gpt9") and 0)
    assert line.startswith("encoder='gpt9': choose one of ")
    assert line.endswith(", bert:DIR, lstm, minilm")


def test_skipped_rows_are_listed(world, capsys, monkeypatch):
    edit(world / "texts.csv", b"agent", b"ag\xff\xfent")
    edit(world / "archives.csv", b"\ncs.ai0,", b"\nempty,,cs\ncs.ai0,")
    monkeypatch.setattr(fusion, "open_workdir", stop)  # all data is loaded by then
    with pytest.raises(Stopped):
        fusion.run(text_config(world, skip_broken=True), world / "run")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "skipped 1 training rows:"
    assert lines[1].startswith("  train/cs.ai0: line 2: column text is not UTF-8 text at byte ")
    assert lines[2:] == ["skipped 1 coarse rows:", "  empty: the text is empty"]


class Stopped(Exception):
    """Stands for the training."""


def stop(*arguments, **options):
    raise Stopped


def test_a_line_of_a_megabyte_is_cut(world):
    """It costs no more than a long text: the ids are those of its beginning."""
    edit(world / "texts.csv", b"train/cs.ai0,", b"train/cs.ai0,agent" + b" plan" * 200_000 + b" ")
    for config in (text_config(world), frozen_text_config(world, fine_tune=True)):
        plan = load_plan(config.graph, max_paths=8, keep=1.0, seed=0)
        data, net = load_fusion(config, plan, data=config.data, coarse_data=config.coarse_data, seed=0)
        row = data.train.inputs[list(data.train.names).index("train/cs.ai0")]
        assert row.shape == (16,)
        expected = net.tokenizer.encode(["agent" + " plan" * 30])[0]
        np.testing.assert_array_equal(row, expected)
        assert len(data.train.texts[list(data.train.names).index("train/cs.ai0")]) > 1_000_000


# --- models


def test_a_model_whose_pretrained_encoder_is_gone(frozen_study, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(frozen_study.run / "model", model)
    document = json.loads((model / "model.json").read_text())
    document["config"]["encoder"] = f"bert:{tmp_path / 'moved'}"
    (model / "model.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"moved: there is no such directory$"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["lstm_study", pytest.param("tuned_study", marks=pytest.mark.slow)])
def test_a_model_cut_short_is_one_clear_line(name, request, tmp_path, capsys):
    study = request.getfixturevalue(name)
    shutil.copytree(study.run / "model", tmp_path / "run" / "model")
    cut(tmp_path / "run" / "model" / "params.safetensors", 900)
    spec = f"csv:{study.run.parent / 'texts.csv'}"
    line = refused(capsys, lambda: predict(PredictConfig(str(tmp_path / "run"), spec, str(tmp_path / "out.csv"))) and 0)
    assert line.startswith(f"the model in {str(tmp_path / 'run' / 'model')!r} is damaged (")
    assert line.endswith("): run the study again")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_damaged_vocabulary_is_one_clear_line(lstm_study, tmp_path, capsys):
    shutil.copytree(lstm_study.run / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "tokenizer": document["tokenizer"][:100]}))
    line = refused(capsys, lambda: load_model(tmp_path) and 0)
    assert line.startswith("the tokenizer's JSON: not a tokenizer that the library tokenizers reads: ")
