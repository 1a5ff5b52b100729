"""Texts to token ids: tokenizers of pretrained encoders, and vocabularies learnt from texts."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer

from jlabel.errors import InputError
from jlabel.networks.weights import WeightsError

__all__ = ["TextTokenizer", "learn_vocabulary", "load_tokenizer", "read_json", "read_json_list"]

_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_CHARACTERS_PER_TOKEN = 64
_SHORTEST = 3  # [CLS], one token, [SEP]
_LONGEST = 512
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """Turns texts into rows of token ids, cut to `max_length`; the id 0 is padding.

    A text longer than 64 * `max_length` characters is cut to that before it is tokenised, so a line of a megabyte costs
    no more than a long one. That changes the ids only where 64 characters on average give less than one token: runs of
    blanks, or words of hundreds of letters.

    Attributes:
      backend: the `tokenizers.Tokenizer`; it truncates and does not pad.

    Example:
      >>> tokenizer = learn_vocabulary(["a red cat", "a dog"], min_count=1)
      >>> tokenizer.pad(tokenizer.encode(["A dog!", "a red dog", ""]))
      array([[2, 4, 1],
             [2, 5, 4],
             [1, 0, 0]], dtype=int32)
    """

    backend: Tokenizer

    @property
    def max_length(self) -> int:
        """Most tokens in a row, special ones included."""
        return int((self.backend.truncation or {})["max_length"])

    @property
    def size(self) -> int:
        """Rows an embedding table needs: the largest id plus one."""
        return max(self.backend.get_vocab().values()) + 1

    @property
    def words(self) -> list[str]:
        """The token of each id, [size]; empty where no token has the id."""
        words = [""] * self.size
        for word, index in self.backend.get_vocab().items():
            words[index] = word
        return words

    @property
    def identity(self) -> str:
        """SHA-256 of everything the ids depend on."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text.

        Args:
          texts: N texts; an empty one gives the special tokens alone, or one unknown token where there are none.

        Returns:
          N int32 arrays [l], 1 <= l <= max_length, with the special tokens.

        Raises:
          InputError: an entry is not a text, or holds half of a surrogate pair.
        """
        fallback = [_unknown_id(self.backend)]
        rows: list[np.ndarray] = []
        cut = _cut(texts, self.max_length)
        while chunk := list(islice(cut, _CHUNK)):
            for encoding in self.backend.encode_batch_fast(chunk):
                rows.append(np.array(encoding.ids or fallback, np.int32))
        return rows

    @staticmethod
    def pad(ids: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
        """Rows of ids as one array, filled up with 0.

        Args:
          ids: N rows, as `encode` gives them.
          length: L; None takes the longest row's.

        Returns:
          int32 [N, L].

        Raises:
          InputError: a row is longer than `length`.
        """
        longest = max((len(row) for row in ids), default=1)
        length = longest if length is None else length
        if longest > length:
            place = next(i for i, row in enumerate(ids) if len(row) > length)
            raise InputError(
                f"ids[{place}] has {len(ids[place])} tokens, more than length={length}; give a larger length"
            )
        padded = np.zeros((len(ids), length), np.int32)
        for target, row in zip(padded, ids, strict=True):
            target[: len(row)] = row
        return padded

    def to_json(self) -> str:
        """The whole tokenizer as JSON, in the format of `tokenizer.json`."""
        return str(self.backend.to_str())

    @classmethod
    def from_json(cls, text: str) -> "TextTokenizer":
        """The tokenizer that `to_json` wrote.

        Raises:
          WeightsError: the text is something else.

        Example:
          >>> tokenizer = learn_vocabulary(["a red cat"], min_count=1)
          >>> TextTokenizer.from_json(tokenizer.to_json()).identity == tokenizer.identity
          True
        """
        backend = _parse(text, "the tokenizer's JSON")
        if backend.truncation is None:
            raise WeightsError("the tokenizer's JSON has no truncation; it was not written by TextTokenizer.to_json")
        return cls(backend)


def learn_vocabulary(
    texts: Iterable[str], *, size: int = 20_000, min_count: int = 2, max_length: int = 128
) -> TextTokenizer:
    """A vocabulary of the most frequent words: lower case, without accents, punctuation marks as words.

    Args:
      texts: what to learn from; the training texts, not the test texts.
      size: most ids, with padding (0) and the unknown word (1); equally frequent words in the order of their letters.
      min_count: rarer words are left out. With 2, training meets the unknown word and learns a vector for it.
      max_length: most tokens of a text.

    Returns:
      The tokenizer; it adds no special tokens.

    Raises:
      InputError: no word is that frequent, an option is out of range, or an entry is not a text.

    Example:
      >>> learn_vocabulary(["Red cats", "red dogs"]).words
      ['[PAD]', '[UNK]', 'red']
    """
    if size < 3 or min_count < 1:
        raise InputError(f"size={size}, min_count={min_count}: size must be at least 3 and min_count at least 1")
    _check_length(max_length)
    learner = _word_tokenizer({_UNKNOWN: 0})
    trainer = WordLevelTrainer(
        vocab_size=size, min_frequency=min_count, special_tokens=[_PAD, _UNKNOWN], show_progress=False
    )
    learner.train_from_iterator(_cut(texts, max_length), trainer)
    vocabulary = learner.get_vocab()
    if len(vocabulary) < 3:
        raise InputError(f"no word occurs in the texts at least {min_count} times; give more texts, or min_count=1")
    # A new tokenizer: the trained one takes "[PAD]" within a text for padding.
    backend = _word_tokenizer(vocabulary)
    backend.enable_truncation(max_length)
    return TextTokenizer(backend)


def load_tokenizer(folder: str | Path, *, max_length: int | None = None) -> TextTokenizer:
    """The tokenizer of a model directory in the Hugging Face layout.

    Reads `tokenizer.json`; without it `vocab.txt` (WordPiece) with the options of `tokenizer_config.json`.

    Args:
      folder: the directory.
      max_length: most tokens of a text with the special ones, at least 3; None takes `max_seq_length` of
        `sentence_bert_config.json`, else `model_max_length` of `tokenizer_config.json`, else 512.

    Returns:
      The tokenizer.

    Raises:
      WeightsError: a file is missing or damaged, a special token is missing, or padding is not the id 0.

    Example:
      >>> load_tokenizer("nowhere")
      Traceback (most recent call last):
      jlabel.networks.weights.WeightsError: nowhere: there is neither tokenizer.json nor vocab.txt

    Source: Devlin et al. 2019, arXiv:1810.04805 (WordPiece); the layouts of `transformers` and `sentence-transformers`.
    """
    folder = Path(folder)
    options = read_json(folder / "tokenizer_config.json", optional=True)
    sentence = read_json(folder / "sentence_bert_config.json", optional=True)
    if max_length is None:
        # `transformers` writes 1e30 where a tokenizer has no limit.
        stated = sentence.get("max_seq_length") or options.get("model_max_length")
        max_length = int(stated) if isinstance(stated, int | float) and _SHORTEST <= stated < 1e6 else _LONGEST
    _check_length(max_length)
    path = folder / "tokenizer.json"
    if path.is_file():
        backend = _parse(_read(path), str(path))
    else:
        path = folder / "vocab.txt"
        if not path.is_file():
            raise WeightsError(f"{folder}: there is neither tokenizer.json nor vocab.txt")
        backend = _wordpiece(path, options)
    backend.no_padding()
    backend.enable_truncation(max_length)
    if backend.token_to_id(_PAD) != 0:
        found = backend.token_to_id(_PAD)
        raise WeightsError(f"{path}: {_PAD} has the id {found}; jlabel reads vocabularies whose {_PAD} is 0, as BERT's")
    if _unknown_id(backend) is None:
        raise WeightsError(f"{path}: the vocabulary has no unknown token {_UNKNOWN}")
    return TextTokenizer(backend)


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object in a file of a model directory; {} where an optional file is absent."""
    value = {} if optional and not path.exists() else _parse_json(path)
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: holds a {type(value).__name__}; expected a JSON object")
    return value


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """The JSON list of objects in a file of a model directory."""
    value = _parse_json(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise WeightsError(f"{path}: expected a JSON list of objects")
    return value


def _parse_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path}: not valid JSON: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error


def _parse(text: str, name: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise WeightsError(f"{name}: not a tokenizer that the library tokenizers reads: {error}") from error


def _unknown_id(backend: Tokenizer) -> int | None:
    return backend.token_to_id(getattr(backend.model, "unk_token", None) or _UNKNOWN)


def _check_length(max_length: int) -> None:
    if max_length < _SHORTEST:
        raise InputError(f"max_length={max_length} must be at least {_SHORTEST} tokens")


def _cut(texts: Iterable[str], max_length: int) -> Iterator[str]:
    bound = _CHARACTERS_PER_TOKEN * max_length
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{row}] is {text!r}, a {type(text).__name__}; every entry must be a str")
        text = text[:bound]
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"texts[{row}] holds half of a surrogate pair at character {error.start}; decode it as UTF-8"
            ) from error
        yield text


def _word_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    backend = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    backend.normalizer = BertNormalizer(lowercase=True)
    backend.pre_tokenizer = BertPreTokenizer()
    return backend


def _wordpiece(path: Path, options: dict[str, Any]) -> Tokenizer:
    vocabulary: dict[str, int] = {}
    for line, word in enumerate(_read(path).rstrip("\n").split("\n"), 1):
        word = word.removesuffix("\r")
        if word in vocabulary:
            raise WeightsError(f"{path}: line {line} repeats {word!r} of line {vocabulary[word] + 1}")
        vocabulary[word] = line - 1
    special = [_PAD, _UNKNOWN, "[CLS]", "[SEP]"]
    if missing := [word for word in special if word not in vocabulary]:
        raise WeightsError(f"{path}: the vocabulary lacks {', '.join(missing)}")
    backend = Tokenizer(WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=100))
    backend.normalizer = BertNormalizer(
        lowercase=options.get("do_lower_case", True),
        strip_accents=options.get("strip_accents"),
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
    )
    backend.pre_tokenizer = BertPreTokenizer()
    backend.add_special_tokens([*special, *(word for word in ("[MASK]",) if word in vocabulary)])
    ends = [(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
    backend.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return backend
