"""The folder of a run: its config, written first and never mixed with another one."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jlabel.training.checks import TrainingError, differences
from jlabel.training.mesh import on_first_process

__all__ = ["check_workdir", "open_workdir", "write_json"]


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file so that a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder must exist.
        value: what `json.dumps` takes; other objects are written as their `str`.

    Raises:
        TrainingError: the file cannot be written.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> write_json(Path(folder.name) / "results.json", {"seconds": 1.5})
        >>> json.loads((Path(folder.name) / "results.json").read_text())
        {'seconds': 1.5}
        >>> folder.cleanup()
    """
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces a text file in one step; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a file in one step: a temporary file beside it, then a rename."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror}; free space or choose another workdir"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def open_workdir(workdir: str | os.PathLike[str], config: Mapping[str, Any] | Any | None = None) -> Path:
    """Makes the folder of a run, or reopens it if it was made with the same config.

    The config is written to `config.json` before anything else. A folder that holds another config is refused, so
    that no run continues under settings it was not started with. With several processes only the first one writes.

    Args:
        workdir: the folder; made with its parents if absent.
        config: a mapping or a dataclass of what defines the run; `None` leaves `config.json` as it is.

    Returns:
        The absolute path of the folder.

    Raises:
        TrainingError: the folder cannot be written, its `config.json` cannot be read, or it holds another config.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = open_workdir(folder.name, {"steps": 100})
        >>> open_workdir(folder.name, {"steps": 200})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: workdir ... holds another config (steps: was 100, now 200); ...
        >>> folder.cleanup()
    """
    path = Path(workdir).expanduser().absolute()
    on_first_process(lambda: _prepare(path, config))
    return path


def check_workdir(workdir: str | os.PathLike[str], config: Mapping[str, Any] | Any | None = None) -> None:
    """Refuses what `open_workdir` would refuse, and makes nothing: for a look before hours of reading data.

    Args:
        workdir: the folder, which need not exist. config: as in `open_workdir`.

    Raises:
        TrainingError: as `open_workdir`.

    Example:
        >>> check_workdir("/dev/null/runs")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: workdir /dev/null/runs cannot be written: Not a directory; ...
    """
    path = Path(workdir).expanduser().absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())

    def check() -> None:
        _check_writable(path, existing)
        _is_new(path, config)

    on_first_process(check)


def _check_writable(path: Path, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(f"workdir {path} cannot be written: {error.strerror}; choose another one") from error


def _prepare(path: Path, config: Any) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"workdir {path} cannot be written: {error.strerror}; choose another one") from error
    _check_writable(path, path)
    if _is_new(path, config):
        write_json(path / "config.json", _as_json(config))


def _is_new(path: Path, config: Any) -> bool:
    """Whether the folder still lacks this config; an error where it holds another one."""
    file = path / "config.json"
    if config is None or not file.exists():
        return config is not None
    new = _as_json(config)
    try:
        old = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} cannot be read ({error}); mend it or choose another workdir") from error
    found = differences(old, new)
    if found:
        raise TrainingError(
            f"workdir {path} holds another config ({'; '.join(found)}); choose another workdir, or delete this one"
        )
    return False


def _as_json(config: Any) -> Any:
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    # Through text, so that tuples and lists, and 1 and numpy's 1, compare as the file will.
    return json.loads(json.dumps(dict(config), default=str))
