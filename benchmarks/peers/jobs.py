"""What a pool does with an array: here, because its processes import it."""

from __future__ import annotations

from typing import Any

import numpy as np


def largest(array: np.ndarray[Any, Any]) -> int:
    """Read all of it."""
    return int(np.max(array))


def negative(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make another of it."""
    result: np.ndarray[Any, Any] = 255 - array
    return result
