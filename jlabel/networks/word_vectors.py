"""Pretrained word vectors from GloVe files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jlabel.errors import InputError

__all__ = ["read_word_vectors"]


def read_word_vectors(path: str | Path, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of some words, from a GloVe text file or an `.npz`.

    A text file has a line `word x1 ... xE` for each word, in UTF-8 (a first line `count E`, as word2vec writes it, is
    skipped); it is streamed. An `.npz` has `words` [K] and one array [K, E]. Of a word that occurs twice the first
    vector is taken.

    Args:
      path: the file.
      words: the V words to look up.

    Returns:
      vectors float32 [V, E], zeros for words the file does not have, and known bool [V].

    Raises:
      InputError: the file is missing or damaged (with the line), or has none of the words.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder) / "glove.txt"
      ...     _ = path.write_text("the 1 2\\ncat 3 4\\n")
      ...     read_word_vectors(path, ["cat", "ewe"])
      (array([[3., 4.],
             [0., 0.]], dtype=float32), array([ True, False]))

    Source: Pennington et al. 2014, "GloVe: Global Vectors for Word Representation", and its files.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of word vectors")
    index = {word: i for i, word in reversed(list(enumerate(words)))}
    rows = _npz_rows(path, index) if path.suffix == ".npz" else _text_rows(path, index)
    found: dict[int, np.ndarray] = {}
    for word, vector in rows:
        found.setdefault(index[word], vector)
    if not found:
        raise InputError(f"{path}: has a vector for none of the {len(words)} words of the vocabulary")
    vectors = np.zeros((len(words), len(next(iter(found.values())))), np.float32)
    known = np.zeros(len(words), bool)
    for i, vector in found.items():
        vectors[i], known[i] = vector, True
    if not np.isfinite(vectors).all():
        worst = words[int(np.argmin(np.isfinite(vectors).all(1)))]
        raise InputError(f"{path}: the vector of {worst!r} is not finite")
    return vectors, known


def _npz_rows(path: Path, index: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive can raise almost anything
        raise InputError(f"{path}: not a readable .npz: {error}") from error
    tables = [name for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind == "f"]
    words = arrays.get("words")
    if words is None or words.ndim != 1 or words.dtype.kind != "U" or len(tables) != 1:
        held = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        raise InputError(f"{path}: holds {held}; expected words, an array of texts, and one table of floats")
    table = arrays[tables[0]]
    if len(table) != len(words):
        raise InputError(f"{path}: {len(words)} words, but {len(table)} vectors in {tables[0]}")
    return ((str(word), row) for word, row in zip(words, table, strict=True) if str(word) in index)


def _text_rows(path: Path, index: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    width = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip().split(b" ")
            if number == 1 and len(fields) == 2:
                continue
            width = width or len(fields) - 1
            # A few words of the public files hold blanks: the last `width` fields are the vector.
            name, values = b" ".join(fields[:-width]) if width else b"", fields[-width:]
            if not name:
                raise InputError(
                    f"{path}: line {number} has {len(fields)} fields; expected a word and {width or 1} numbers"
                )
            try:
                word = name.decode()
                if word in index:
                    yield word, np.array(values, np.float32)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}: line {number} is not UTF-8: {error.reason}; save the file as UTF-8"
                ) from error
            except ValueError as error:
                raise InputError(f"{path}: line {number}, word {word!r}: {error}") from error
