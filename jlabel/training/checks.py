"""The room's error type and the checks that several callers share."""

import math
import numbers
from typing import Any

from jlabel.errors import InputError

__all__ = ["TrainingError", "check_positive", "differences"]


class TrainingError(InputError):
    """Training cannot start or go on; the message says why, where, and what to do."""


def check_positive(name: str, value: Any, *, whole: bool = False) -> None:
    """Refuses a number that is not finite and above zero.

    Args:
        name: what the caller calls the number; it opens the message.
        value: the number.
        whole: whether it must also be an integer.

    Raises:
        TrainingError: the value is no number, NaN, infinite, zero or negative, or not whole where it must be.

    Example:
        >>> check_positive("learning_rate", 1e-3)
        >>> check_positive("steps", 0, whole=True)
        Traceback (most recent call last):
            ...
        jlabel.training.checks.TrainingError: steps must be a positive whole number, got 0
    """
    wanted = "positive whole number" if whole else "positive finite number"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
        raise TrainingError(f"{name} must be a {wanted}, got {value!r}")
    if not (math.isfinite(float(value)) and float(value) > 0):
        raise TrainingError(f"{name} must be a {wanted}, got {value!r}")


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Lists where two JSON values differ, as `field: was X, now Y` with dotted fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in dict.fromkeys([*old, *new]):
            inner = f"{place}.{name}" if place else str(name)
            if name not in old:
                found.append(f"{inner}: was absent, now {new[name]!r}")
            elif name not in new:
                found.append(f"{inner}: was {old[name]!r}, now absent")
            else:
                found.extend(differences(old[name], new[name], inner))
        return found
    # repr, so that NaN equals itself and 1 differs from True.
    return [] if repr(old) == repr(new) else [f"{place}: was {old!r}, now {new!r}"]
