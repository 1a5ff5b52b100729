"""Scikit-learn's handwritten digits with wrong labels planted at known places."""

import numpy as np

from jlabel.data.embedded import DIGITS, digits_order, digits_rows
from jlabel.data.embedded import DIGITS_LABEL_NAMES as LABEL_NAMES
from jlabel.data.source import DataError

__all__ = ["LABEL_NAMES", "PAIRS", "rows"]

PAIRS = (6, 7, 3, 8, 9, 6, 5, 1, 3, 4)  # what each digit is mistaken for


def rows(split: str, *, seed: int = 0, rate: int = 5, features: bool = False) -> dict[str, np.ndarray]:
    """The 1,797 digits, in each of which the label turns into the digit's partner with probability `rate` %.

    Row k of scikit-learn's order turns where `numpy.random.default_rng(seed).random(1797)[k] < rate / 100`. The splits
    are those of `digits_rows`; "train", "val" and "test" together hold every row once.

    Args:
      split: "train", "val" or "test".
      seed: which labels turn, and which rows go where.
      rate: wrong labels in per cent, 0 to 100.
      features: 64 numbers in [0, 1] a row in place of an 8x8 picture.

    Returns:
      `image` uint8 [N, 8, 8] or `features` float32 [N, 64]; `label` int32 [N], some of them wrong; `digit` int32 [N],
      the truth; `order` int64 [N], the row's place in scikit-learn's data.

    Raises:
      DataError: a rate above 100.

    Example:
      >>> found = rows("train")
      >>> found["image"].shape, int((found["label"] != found["digit"]).sum())
      ((1197, 8, 8), 67)
    """
    if rate > 100:
        raise DataError(f"rate={rate} is above 100; give the wrong labels in per cent")
    made = digits_rows(split, seed=seed, features=features)
    order = digits_order(split, seed=seed)
    turned = np.random.default_rng(seed).random(DIGITS) < rate / 100
    digit = made.pop("label")
    label = np.where(turned[order], np.array(PAIRS, np.int32)[digit], digit)
    return {**made, "label": label, "digit": digit, "order": order}
