"""What topics and newest values may be made with, and a message of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest


@dataclass
class Pose:
    """A message of a type."""

    x: float
    y: float


@dataclass
class Pixel:
    """One whose fields have the same names."""

    x: int
    y: float


POINT = np.dtype([("x", "f4"), ("y", "<i8"), ("name", "S5")])

KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "bytes": ({}, b"hello"),
    "array": ({"shape": (2, 3), "dtype": "f4"}, np.arange(6, dtype="f4").reshape(2, 3)),
    "record": ({"shape": (), "dtype": POINT}, np.array((1, 2, b"three"), POINT)[()]),
    "typed": ({"type": Pose}, Pose(1, 2)),
    "pickle": ({"codec": "pickle"}, {"any": ["object", 1, None]}),
}
each_kind = pytest.mark.parametrize(("made", "message"), KINDS.values(), ids=KINDS)


def same(found: Any, message: Any) -> bool:
    """Tell whether a message came back as what it was."""
    equal = np.array_equal(found, message) if isinstance(message, np.ndarray | np.void) else found == message
    return type(found) is type(message) and bool(equal)
