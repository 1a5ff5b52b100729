"""Tokenizers: ids worked out by hand, long and empty texts, round trips, damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.errors import InputError
from jlabel.networks import TextTokenizer, WeightsError, learn_vocabulary, load_tokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "sleep", ",", "é", "e"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    return tmp_path


def _rows(tokenizer, texts):
    return [row.tolist() for row in tokenizer.encode(texts)]


def test_wordpiece_by_hand(folder) -> None:
    tokenizer = load_tokenizer(folder, max_length=6)
    texts = ["The cats, sleep", "", "dogs", "É", "the the the the the the"]
    assert _rows(tokenizer, texts) == [
        [2, 4, 5, 6, 8, 3],
        [2, 3],
        [2, 1, 3],
        [2, 10, 3],
        [2, 4, 4, 4, 4, 3],
    ]
    assert (tokenizer.size, tokenizer.max_length) == (11, 6)
    assert all(row.dtype == np.int32 for row in tokenizer.encode(texts))


def test_cased_vocabulary_keeps_accents(folder) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "model_max_length": 1e30}))
    tokenizer = load_tokenizer(folder)
    assert _rows(tokenizer, ["The é"]) == [[2, 1, 9, 3]]
    assert tokenizer.max_length == 512


def test_lengths_come_from_the_directory(folder) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 40}))
    assert load_tokenizer(folder).max_length == 40
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 30}))
    assert load_tokenizer(folder).max_length == 30
    assert load_tokenizer(folder, max_length=20).max_length == 20


def test_tokenizer_json_is_read_and_its_padding_and_truncation_are_not(folder) -> None:
    backend = load_tokenizer(folder, max_length=4).backend
    backend.enable_padding(length=9)
    (folder / "tokenizer.json").write_text(backend.to_str())
    (folder / "vocab.txt").unlink()
    assert _rows(load_tokenizer(folder, max_length=5), ["the cats sleep", "the"]) == [[2, 4, 5, 6, 3], [2, 4, 3]]


def test_vocabulary_by_hand() -> None:
    texts = ["b b a", "A c; ", "b d d"]
    tokenizer = learn_vocabulary(texts, min_count=2)
    assert tokenizer.words == ["[PAD]", "[UNK]", "b", "a", "d"]
    assert _rows(tokenizer, ["a B c", "", "[PAD]", "[UNK] d"]) == [[3, 2, 1], [1], [1, 1, 1], [1, 1, 1, 4]]
    assert learn_vocabulary(texts, size=3).words == ["[PAD]", "[UNK]", "b"]
    assert learn_vocabulary(texts, min_count=1).words == ["[PAD]", "[UNK]", "b", "a", "d", ";", "c"]
    assert _rows(learn_vocabulary(texts, max_length=3), ["a a a a"]) == [[3, 3, 3]]


def test_a_megabyte_in_a_line() -> None:
    tokenizer = learn_vocabulary(["word " * 200_000, "x" * 1_000_000], min_count=1, max_length=16)
    assert tokenizer.size == 4
    assert len(tokenizer.words[3]) == 64 * 16
    assert _rows(tokenizer, ["word " * 200_000, "y" * 1_000_000, " " * 1_000_000]) == [[2] * 16, [1], [1]]


def test_padding() -> None:
    rows = [np.array([1, 2], np.int32), np.array([3], np.int32)]
    np.testing.assert_array_equal(TextTokenizer.pad(rows, 3), [[1, 2, 0], [3, 0, 0]])
    assert TextTokenizer.pad([]).shape == (0, 1)
    with pytest.raises(InputError, match=r"ids\[0\] has 2 tokens, more than length=1"):
        TextTokenizer.pad(rows, 1)


def test_round_trip_and_identity(folder) -> None:
    for tokenizer in (load_tokenizer(folder, max_length=6), learn_vocabulary(["a b a", "É b"], max_length=6)):
        again = TextTokenizer.from_json(tokenizer.to_json())
        assert again.to_json() == tokenizer.to_json()
        assert (again.identity, again.size, again.max_length) == (tokenizer.identity, tokenizer.size, 6)
        assert _rows(again, ["the cats", "a b"]) == _rows(tokenizer, ["the cats", "a b"])
    assert load_tokenizer(folder, max_length=7).identity != load_tokenizer(folder, max_length=6).identity


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5))
def test_any_text_gives_ids_within_the_table(texts) -> None:
    tokenizer = learn_vocabulary(["a b c 1 é 中", "a, b."], min_count=1, max_length=8)
    rows = tokenizer.encode(texts)
    assert len(rows) == len(texts)
    assert all(1 <= len(row) <= 8 and row.min() > 0 and row.max() < tokenizer.size for row in rows)
    assert [row.tolist() for row in rows] == [tokenizer.encode([text])[0].tolist() for text in texts]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"texts\[1\] is None, a NoneType; every entry must be a str"),
        (["a", 1.5], r"texts\[1\] is 1\.5, a float"),
        (["a\ud800"], r"texts\[0\] holds half of a surrogate pair at character 1"),
    ],
)
def test_what_is_no_text_is_named(texts, message) -> None:
    tokenizer = learn_vocabulary(["a"], min_count=1)
    for use in (tokenizer.encode, learn_vocabulary):
        with pytest.raises(InputError, match=message):
            use(texts)


def test_bad_options() -> None:
    with pytest.raises(InputError, match="no word occurs in the texts at least 2 times"):
        learn_vocabulary(["a b", " "])
    with pytest.raises(InputError, match="size=2, min_count=2: size must be at least 3"):
        learn_vocabulary(["a"], size=2)
    with pytest.raises(InputError, match="max_length=2 must be at least 3 tokens"):
        learn_vocabulary(["a"], max_length=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", r"tokenizer\.json: not a tokenizer that the library tokenizers reads"),
        ("tokenizer.json", b"\xff", r"tokenizer\.json: cannot be read: .*invalid start byte"),
        ("vocab.txt", b"[PAD]\n[UNK]\na\na\n", r"vocab\.txt: line 4 repeats 'a' of line 3"),
        ("vocab.txt", b"[PAD]\n[UNK]\na\n", r"vocab\.txt: the vocabulary lacks \[CLS\], \[SEP\]"),
        ("vocab.txt", b"[CLS]\n[SEP]\n[UNK]\n[PAD]\n", r"vocab\.txt: \[PAD\] has the id 3; .* whose \[PAD\] is 0"),
        ("tokenizer_config.json", b"{", r"tokenizer_config\.json: not valid JSON"),
        ("tokenizer_config.json", b"[]", r"tokenizer_config\.json: holds a list; expected a JSON object"),
    ],
)
def test_damaged_directories(folder, name, content, message) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_tokenizer(folder)


def test_foreign_json_is_refused() -> None:
    with pytest.raises(WeightsError, match="the tokenizer's JSON: not a tokenizer"):
        TextTokenizer.from_json("hello")
    backend = learn_vocabulary(["a"], min_count=1).backend
    backend.no_truncation()
    with pytest.raises(WeightsError, match=r"has no truncation; it was not written by TextTokenizer\.to_json"):
        TextTokenizer.from_json(backend.to_str())
