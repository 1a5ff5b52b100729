"""The published label errors: given labels, out-of-sample probabilities, and the rows that people voted on."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "label_errors"
needs_label_errors = pytest.mark.skipif(
    not (FOLDER / "label_errors.npz").exists(), reason="needs shared/data/label_errors"
)


def load(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and predicted labels of one set."""
    with np.load(FOLDER / "label_errors.npz") as file:
        return file[f"{name}__y"], file[f"{name}__pyx"], file[f"{name}__pred"]


def voted(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows that were voted on, and those of them that fewer than three of five found right."""
    with gzip.open(FOLDER / "label_errors_mturk.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    mine = [row for row in rows if row["dataset"] == name]
    numbers = np.array([int(row["id"]) for row in mine])
    wrong = np.array([row["mturk"]["given"] < 3 for row in mine])
    return np.sort(numbers), np.sort(numbers[wrong])
