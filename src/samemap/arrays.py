"""Numpy arrays over shared bytes: what fits where."""

from __future__ import annotations

import math
import operator

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, SupportsIndex

    from numpy.typing import DTypeLike, NDArray

__all__ = ["array_over"]


def array_over(
    memory: memoryview, dtype: DTypeLike, shape: SupportsIndex | Iterable[SupportsIndex] | None, offset: int
) -> NDArray[Any]:
    """Lay an array over a region's memory, as `Region.array` describes it.

    Args:
        memory: All bytes of the region.
        dtype: What one element is.
        shape: Elements along each axis; ``None`` takes as many as fit.
        offset: Bytes before the first element.

    Returns:
        The array; it keeps the memory exported for as long as it lives.

    Raises:
        ModuleNotFoundError: numpy is not installed.
        TypeError: ``shape`` holds something else than integers.
        ValueError: It does not fit, or the dtype cannot be shared.
    """
    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Region.array() needs numpy: pip install 'samemap[numpy]'", name=error.name) from None
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"dtype {kind} holds Python objects, whose addresses mean nothing to other processes")
    if kind.itemsize == 0:
        raise ValueError(f"dtype {kind} has no size")
    if not 0 <= offset <= len(memory):
        raise ValueError(f"offset {offset} is outside the region of {len(memory)} bytes")
    room = (len(memory) - offset) // kind.itemsize
    dimensions = (room,) if shape is None else _dimensions(shape)
    if any(n < 0 for n in dimensions):
        raise ValueError(f"shape {dimensions} has a negative number of elements")
    count = math.prod(dimensions)
    if count > room:
        raise ValueError(
            f"{count} elements of {kind} ({count * kind.itemsize} bytes at offset {offset}) do not fit "
            f"into the region of {len(memory)} bytes; resize({offset + count * kind.itemsize}) makes room"
        )
    # frombuffer refuses empty memory; and only it, not ndarray(buffer=), keeps the export alive.
    found = np.frombuffer(memory, kind, count, offset) if count else np.empty(0, kind)
    found.flags.writeable = not memory.readonly
    # A dtype that is an array itself adds axes of its own.
    return found.reshape((*dimensions, *kind.shape))


def _dimensions(shape: SupportsIndex | Iterable[SupportsIndex]) -> tuple[int, ...]:
    # Text and bytes would pass for sequences, of characters or small numbers.
    if isinstance(shape, str | bytes):
        raise _no_shape(shape, shape)
    try:
        return (_dimension(shape, shape),)
    except TypeError:
        try:
            given = tuple(shape)  # type: ignore[arg-type]
        except TypeError:
            raise _no_shape(shape, shape) from None
    return tuple(_dimension(n, shape) for n in given)


def _dimension(number: object, shape: object) -> int:
    if isinstance(number, bool):
        raise _no_shape(number, shape)
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise _no_shape(number, shape) from None


def _no_shape(found: object, shape: object) -> TypeError:
    return TypeError(f"shape is an integer or a tuple of integers, not {shape!r} (with a {type(found).__name__})")
