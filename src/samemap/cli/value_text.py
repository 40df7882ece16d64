"""What a message holds, as text for people: on one line, unless it is many bytes that are no text."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .display import printable
from .hexdump import ROW, row_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["dtype_text", "element", "is_array", "message_text", "shape_text", "text_in", "value_text"]

#: Arrays of at most so many elements are shown whole; of others, so many elements at each end of an axis.
WHOLE = 16
EDGES = {0: 0, 1: 3, 2: 2}

#: Rows of a hexdump that are shown of a message.
ROWS = 4


def message_text(value: Any) -> str:
    r"""Return a whole message as text.

    Args:
        value: An array, a record, an object, or bytes.

    Returns:
        A line; more of them, the first of which tells the length, for bytes that are no text.

    Example:
        >>> message_text(b"Hello\n"), message_text({"x": 1.5, "ok": True})
        ('Hello', '{"x": 1.5, "ok": true}')
        >>> import numpy as np
        >>> message_text(np.zeros((480, 640), "u1"))
        'uint8 (480, 640) [[0 0 ... 0 0] [0 0 ... 0 0] ... [0 0 ... 0 0] [0 0 ... 0 0]]'
        >>> print(message_text(bytes(range(100))))
        100 bytes
        00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|
        00000010  10 11 12 13 14 15 16 17  18 19 1a 1b 1c 1d 1e 1f  |................|
        00000020  20 21 22 23 24 25 26 27  28 29 2a 2b 2c 2d 2e 2f  | !"#$%&'()*+,-./|
        00000030  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|
        ... 36 more
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(bytes(value))
    return printable(value_text(value))


def text_in(data: bytes) -> str | None:
    r"""Return the text that bytes are, if they are text.

    Example:
        >>> text_in("grüß\t".encode()), text_in(b"\xff"), text_in(b"a\0b")
        ('grüß\t', None, None)
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\n\r" for c in text) else None


def is_array(value: object) -> bool:
    """Tell whether a value is an array or a number of numpy's; without importing that."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)


def value_text(value: Any) -> str:
    """Return a value as text on one line, nearly as JSON.

    Args:
        value: Anything.
    """
    if is_array(value):
        return _array_text(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{value_text(key)}: {value_text(found)}" for key, found in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return repr(data) if len(data) <= ROW else f"{data[:ROW]!r}... ({len(data)} bytes)"
    return " ".join(str(value).split())


def element(array: Any) -> Any:
    """Return the one element of an array without axes; and what numpy calls a scalar as it is."""
    # Some of those are Python's own types, too, which take no such index.
    return array if isinstance(array, sys.modules["numpy"].generic) else array[()]


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Return what people call a dtype; of records, their fields."""
    return str(dtype.name) if dtype.names is None else "{" + ", ".join(dtype.names) + "}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as numpy writes it."""
    return str(tuple(map(int, shape)))


def _bytes_text(data: bytes) -> str:
    if not data:
        return "0 bytes"
    text = text_in(data)
    if text is not None:
        return printable(text.removesuffix("\n"))
    length = f"{len(data)} byte{'' if len(data) == 1 else 's'}"
    if len(data) <= ROW:
        return f"{length}  {data.hex(' ')}  |{row_line(0, data).partition('|')[2]}"
    rows = [row_line(start, data[start : start + ROW]) for start in range(0, min(len(data), ROW * ROWS), ROW)]
    more = [f"... {len(data) - ROW * ROWS} more"] if len(data) > ROW * ROWS else []
    return "\n".join([length, *rows, *more])


def _array_text(array: Any) -> str:
    if array.shape == ():
        found = element(array)
        return _record_text(found) if found.dtype.names is not None else _exactly(found)
    fields = len(array.dtype.names or ".")
    is_small = array.size * fields <= WHOLE
    edge = array.size if is_small else 1 if fields > 1 else EDGES.get(array.ndim, 1)
    return f"{dtype_text(array.dtype)} {shape_text(array.shape)} {_summary(array, edge)}"


def _summary(array: NDArray[Any], edge: int) -> str:
    if array.ndim == 0:
        found = element(array)
        return f"({_record_text(found)})" if array.dtype.names is not None else _roughly(found)
    if len(array) <= 2 * edge + 1:
        parts = [_summary(part, edge) for part in array]
    else:
        parts = [_summary(part, edge) for part in array[:edge]]
        parts += ["...", *(_summary(part, edge) for part in array[-edge:])]
    return f"[{' '.join(parts)}]"


def _record_text(record: Any) -> str:
    return " ".join(f"{name}={_field_text(record[name])}" for name in record.dtype.names)


def _field_text(value: Any) -> str:
    if value.dtype.names is not None and value.shape == ():
        return f"({_record_text(value)})"
    return _exactly(value) if value.shape == () else _summary(value, 3)


def _number(value: Any, of_float: Callable[[Any], str]) -> str:
    if value.dtype.kind == "f":
        return of_float(value)
    if value.dtype.kind in "USV":
        return repr(value.item() if value.dtype.kind != "V" else bytes(value))
    return str(value)


def _exactly(value: Any) -> str:
    # numpy's own, which is the shortest that means this number in its precision.
    return _number(value, str)


def _roughly(value: Any) -> str:
    return _number(value, lambda number: f"{float(number):.6g}" if math.isfinite(number) else str(number))
