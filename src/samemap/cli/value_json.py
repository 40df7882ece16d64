"""What a message holds, as JSON for programs."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .value_text import element, is_array, text_in, value_text

__all__ = ["Limit"]


class Limit(NamedTuple):
    """How much of arrays and bytes is told.

    Attributes:
        most: Arrays of more elements than this, and bytes that are no text, are told by their size.
        in_base64: Whether these come with their bytes all the same.
    """

    most: int = 1000
    in_base64: bool = False

    def plain(self, value: Any) -> Any:
        """Return a value as what JSON has.

        Args:
            value: Anything.

        Returns:
            Arrays as lists, records and maps as objects, bytes as text if they are that. What JSON has nothing for,
            such as a date, as text.

        Example:
            >>> import numpy as np
            >>> Limit().plain({"image": np.eye(2, dtype="u1"), "raw": bytes([255, 0]), 3: float("nan")})
            {'image': [[1, 0], [0, 1]], 'raw': {'size': 2, 'base64': '/wA='}, '3': 'NaN'}
            >>> Limit(3).plain(np.eye(2, dtype="u1"))
            {'dtype': '|u1', 'shape': [2, 2], 'size': 4}
        """
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            # JSON has no such numbers, and Python's own words for them are understood when they come back.
            return value if math.isfinite(value) else json.dumps(value)
        if is_array(value):
            return self._array(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value))
        if isinstance(value, Mapping):
            return {key if isinstance(key, str) else value_text(key): self.plain(found) for key, found in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(found) for found in value]
        return value_text(value)

    def _bytes(self, data: bytes) -> Any:
        text = text_in(data)
        return {"size": len(data), **self._base64(data, len(data))} if text is None else text

    def _array(self, array: Any) -> Any:
        if array.size > self.most:
            # Not before: it imports numpy.
            from .. import dtypes

            described = {"dtype": dtypes.describe(array.dtype), "shape": list(array.shape), "size": array.nbytes}
            return {**described, **self._base64(array, array.size)}
        return self._nested(array)

    def _nested(self, array: Any) -> Any:
        if array.shape != ():
            return [self._nested(part) for part in array]
        found = element(array)
        if found.dtype.names is not None:
            return {name: self._array(found[name]) for name in found.dtype.names}
        kind = found.dtype.kind
        if kind == "f":
            # By numpy's own text, which is the shortest that means this number in its precision.
            return self.plain(float(str(found)))
        if kind in "biuS":
            return self.plain(found.item())
        return self.plain(bytes(found)) if kind == "V" else str(found)

    def _base64(self, data: Any, amount: int) -> dict[str, str]:
        if amount > self.most and not self.in_base64:
            return {}
        raw = data if isinstance(data, bytes) else data.tobytes()
        return {"base64": base64.b64encode(raw).decode()}
