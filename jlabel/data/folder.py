"""`folder:DIR`: pictures or texts in one folder per class, with or without split folders above them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jlabel.data.source import DataError, Reader
from jlabel.data.table import SPLIT_NAMES, Table, canonical_split

TEXT_ENDING = ".txt"
PICTURE_ENDINGS = frozenset(".jpg .jpeg .png .gif .bmp .webp .tif .tiff .ppm .pgm".split())


@dataclass(frozen=True)
class FileReader:
    """Pictures in files of their own."""

    paths: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """Files hold pictures."""
        return "image"

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def read(self, row: int) -> bytes:
        """The bytes of one file."""
        return self.paths[row].read_bytes()


@dataclass(frozen=True)
class TextFileReader:
    """Texts in files of their own, in UTF-8."""

    paths: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """These files hold texts."""
        return "text"

    @property
    def encoded(self) -> bool:
        """Never: texts are decoded."""
        return False

    def read(self, row: int) -> str:
        """The text of one file."""
        content = self.paths[row].read_bytes()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            byte = error.object[error.start]
            raise DataError(f"line {line} is not UTF-8 text (byte {byte:#x}); save it as UTF-8") from error


def folder_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """Reads DIR/CLASS/file, DIR/SPLIT/CLASS/file, DIR/SPLIT/file or DIR/file (the last two unlabelled).

    Rows are in the order of split, class and path; hidden files and folders are passed over; every other file in a
    class folder is a row, so that a stray text file is an error and not a silent gap. Where most of the files end in
    .txt the rows are texts, and a stray picture is the error.
    """
    root = Path(location).expanduser()
    spec = f"folder:{location}"
    if not root.is_dir():
        raise DataError(f"{spec}: there is no such folder")
    try:
        folders = _visible_folders(root)
        by_split = bool(folders) and all(folder.name.lower() in SPLIT_NAMES for folder in folders)
        parts = {canonical_split(folder.name): folder for folder in folders} if by_split else {"train": root}
        if by_split and len(parts) < len(folders):
            raise DataError(f"{spec}: two folders for one split: {', '.join(folder.name for folder in folders)}")
        found = [(name, *entry) for name, folder in parts.items() for entry in _rows(folder, spec)]
    except OSError as error:
        raise DataError(f"{spec}: cannot be listed: {error}") from error
    paths = tuple(path for _, _, path in found)
    strays = [row for row, path in enumerate(paths) if path.suffix.lower() != TEXT_ENDING]
    texts = 2 * len(strays) < len(paths)
    reader: Reader = TextFileReader(paths) if texts else FileReader(paths)
    label_names = sorted({label for _, label, _ in found if label is not None})
    codes = {label: code for code, label in enumerate(label_names)}
    return Table(
        reader=reader,
        names=np.array([path.relative_to(root).as_posix() for _, _, path in found]),
        labels=np.array([-1 if label is None else codes[label] for _, label, _ in found], np.int32),
        label_names=tuple(label_names),
        splits=np.array([name for name, _, _ in found]),
        faults={row: "no text among texts: its name does not end in .txt" for row in strays} if texts else {},
    )


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _rows(folder: Path, spec: str) -> list[tuple[str | None, Path]]:
    """(class, file) of one split; class None where the pictures lie loose."""
    classes = _visible_folders(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    loose = [path for path in files if path.suffix.lower() in PICTURE_ENDINGS]
    if classes and loose:
        raise DataError(f"{spec}: picture {loose[0].name!r} lies beside class folders; move it into one of them")
    if not classes:
        # A text beside pictures, or beside class folders, says something about them; alone it is a row.
        loose = loose or [path for path in files if path.suffix.lower() == TEXT_ENDING]
        return [(None, path) for path in loose]
    by_class = {class_folder.name: _files_below(class_folder) for class_folder in classes}
    labelled: list[tuple[str | None, Path]] = [(name, path) for name, paths in by_class.items() for path in paths]
    for name, paths in by_class.items():
        if not paths:
            wanted = "texts" if any(path.suffix.lower() == TEXT_ENDING for _, path in labelled) else "pictures"
            raise DataError(f"{spec}: class folder {name!r} holds no {wanted}; fill it or remove it")
    return labelled


def _files_below(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)
