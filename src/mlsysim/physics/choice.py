"""Maximum, minimum and choice that leave plain numbers plain: NumPy takes ten times as long for two floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def maximum(first: Any, second: Any) -> Any:
    """The larger of two, as ``np.maximum``.

    Examples:
        >>> maximum(1.0, 2.0)
        2.0
        >>> maximum(1.0, np.array([0.5, 2.0]))
        array([1., 2.])
    """
    if isinstance(first, float) and isinstance(second, float):
        return first if first >= second or first != first else second  # unknown (NaN) stays unknown
    return np.maximum(first, second)


def minimum(first: Any, second: Any) -> Any:
    """The smaller of two, as ``np.minimum``.

    Examples:
        >>> minimum(1.0, 2.0)
        1.0
    """
    if isinstance(first, float) and isinstance(second, float):
        return first if first <= second or first != first else second
    return np.minimum(first, second)


def either(condition: Any, then: Any, other: Any) -> Any:
    """One of two, as ``np.where``.

    Examples:
        >>> either(True, 1.0, 2.0)
        1.0
    """
    if isinstance(condition, (bool, np.bool_)) and isinstance(then, float) and isinstance(other, float):
        return then if condition else other
    return np.where(condition, then, other)


def floor(value: Any) -> Any:
    """The whole number below, as ``np.floor``.

    Examples:
        >>> floor(2.5)
        2.0
    """
    return float(math.floor(value)) if isinstance(value, float) and math.isfinite(value) else np.floor(value)


def ceil(value: Any) -> Any:
    """The whole number above, as ``np.ceil``.

    Examples:
        >>> ceil(2.5)
        3.0
    """
    return float(math.ceil(value)) if isinstance(value, float) and math.isfinite(value) else np.ceil(value)


def root(value: Any) -> Any:
    """The square root, as ``np.sqrt``.

    Examples:
        >>> root(9.0)
        3.0
    """
    return math.sqrt(value) if isinstance(value, float) and value >= 0 else np.sqrt(value)


def everywhere(condition: Any) -> bool:
    """Whether a condition holds at every point.

    Examples:
        >>> everywhere(True), everywhere(np.array([True, False]))
        (True, False)
    """
    return bool(condition) if isinstance(condition, (bool, np.bool_)) else bool(np.all(condition))
