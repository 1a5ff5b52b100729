"""Arrays kept on disk under a name made from their content's sources; losing the cache loses only time."""

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import numpy as np

from jlabel.data.source import Source

_LOG = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


def rows_key(source: Source, settings: str) -> str:
    """A name for what `settings` make of the rows: it changes with their content and order."""
    digest = hashlib.sha256(f"jlabel-1 {settings}".encode())
    for index in range(len(source)):
        digest.update(source.digest(index))
    return digest.hexdigest()


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path | None:
    """`cache_dir`, or $JLABEL_CACHE, or ~/.cache/jlabel; None, with a warning, where there is no home directory."""
    try:
        return Path(cache_dir or os.environ.get("JLABEL_CACHE") or "~/.cache/jlabel").expanduser()
    except RuntimeError:
        _LOG.warning("no home directory to cache in: set JLABEL_CACHE; continuing without")
        return None


def load_cached(folder: Path | None, key: str) -> np.ndarray | None:
    """The array stored under `key`; None where there is none or the file is damaged."""
    if folder is None:
        return None
    path = folder / f"{key}.npy.sha256"
    try:
        with path.open("rb") as file:
            expected, actual = file.read(_DIGEST_BYTES), hashlib.sha256()
            while chunk := file.read(1 << 22):
                actual.update(chunk)
            if actual.digest() != expected:
                _LOG.warning("cache file %s is damaged and will be made again", path)
                return None
            file.seek(_DIGEST_BYTES)
            return np.load(file, allow_pickle=False)
    except OSError:  # not there, or not to be read; should writing fail too, that gives the one warning
        return None


def store_cached(folder: Path | None, key: str, array: np.ndarray) -> None:
    """Stores `array` under `key`, all or nothing; a folder that cannot be written costs a warning only."""
    if folder is None:
        return
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{key[:16]}.", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            file.write(bytes(_DIGEST_BYTES))
            np.save(file, array, allow_pickle=False)
            file.flush()
            digest = _hash_file(temporary)
            file.seek(0)
            file.write(digest)
        temporary.replace(folder / f"{key}.npy.sha256")
    except OSError as error:
        _LOG.warning("cannot cache in %s (%s); continuing without", folder, error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _hash_file(path: Path) -> bytes:
    actual = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(_DIGEST_BYTES)
        while chunk := file.read(1 << 22):
            actual.update(chunk)
    return actual.digest()
