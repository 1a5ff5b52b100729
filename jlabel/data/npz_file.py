"""`npz:FILE`: NumPy archives."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jlabel.data.columns import build_table, content_columns, label_columns
from jlabel.data.source import ArrayReader, DataError, one_line
from jlabel.data.table import Table, check_rows


def npz_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """All rows of the archive, held in memory; arrays of another length than the data are no columns."""
    spec = f"npz:{location}"
    path = Path(location).expanduser()
    try:
        with path.open("rb") as file:  # opened here: np.load leaves the file of a damaged archive open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{spec}: a single array, not an archive; write it with numpy.savez")
            arrays = {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{spec}: no readable NumPy archive: {one_line(error)}") from error
    kinds = {name: _kind(values) for name, values in arrays.items()}
    content = content_columns(
        spec, kinds, options, image_names=("image", "images", "X"), feature_names=("features", "X"), numbers=False
    )
    image, features = content.image, content.features
    count = len(arrays[image or features[0]])
    check_rows(spec, count)
    columns = {name: values for name, values in arrays.items() if values.ndim and len(values) == count}
    for name in {*label_columns(spec, list(arrays), options), *features}:
        if name not in columns or (columns[name].ndim != 1 and name not in features):
            raise DataError(f"{spec}: array {name!r} has shape {arrays[name].shape}; expected ({count},)")
    pictures = columns.pop(image) if image else None
    given = arrays.get("label_names")
    return build_table(
        spec,
        {name: values for name, values in columns.items() if values.ndim == 1 or name in features},
        options,
        names=[f"{path.name}:{row}" for row in range(count)],
        reader=None if pictures is None else ArrayReader(pictures),
        content=content,
        label_names=None if given is None or given.ndim != 1 else [str(name) for name in given],
    )


def _kind(values: np.ndarray) -> str:
    if values.ndim >= 3:
        return "picture" if values.dtype == np.uint8 else "other"
    if values.dtype.kind in "biuf" and values.ndim:
        return "number" if values.ndim == 1 else "vector"
    return "text" if values.dtype.kind in "US" and values.ndim == 1 else "other"
