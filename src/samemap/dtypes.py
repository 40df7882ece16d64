"""What numpy's dtypes are, as JSON: written down in one process, made again in another, compared field by field.

A plain dtype is numpy's own text for it, byte order and all (``"<f4"``). A structured one is an object: ``fields``, a
list of ``[name, dtype, offset]`` or ``[name, dtype, offset, shape]``; ``size`` in bytes; and ``aligned`` if it is.
"""

from __future__ import annotations

import re

import numpy as np

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["describe", "differences", "rebuild", "refuse_unshareable"]

#: What `describe` writes for plain dtypes. numpy itself would take much more.
_PLAIN = r"[<>|][A-Za-z]\d+(\[\w+\])?"


def refuse_unshareable(dtype: np.dtype[Any]) -> None:
    """Raise if other processes cannot make anything of such bytes.

    Args:
        dtype: What one element is.

    Raises:
        ValueError: It holds Python objects, has no size, or numpy has no description of it.
    """
    if dtype.hasobject:
        raise ValueError(
            f"dtype {dtype} holds Python objects, whose addresses mean nothing to other processes: "
            "codec='pickle' carries objects"
        )
    if dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} has no size: say how long it is, as in 'S16' or 'U16'")
    try:
        again = rebuild(describe(dtype))
    except ValueError:
        again = None
    if again != _untitled(dtype):
        raise ValueError(
            f"dtype {dtype} is none that numpy itself has, so other processes cannot know it: "
            f"send it as plain numbers of the same size, with array.view()"
        )


def describe(dtype: np.dtype[Any]) -> object:
    """Write a dtype down.

    Args:
        dtype: Any that has no Python objects in it.

    Returns:
        What `rebuild` takes, of nothing but what JSON has. Titles and metadata are left out.

    Example:
        >>> import numpy as np
        >>> describe(np.dtype([("id", "u4"), ("position", ">f8", (3,))]))
        {'fields': [['id', '<u4', 0], ['position', '>f8', 4, [3]]], 'size': 28}
    """
    if dtype.names is None:
        return dtype.str
    fields = []
    for name, field, offset in _fields(dtype):
        element, shape = _split(field)
        fields.append([name, describe(element), offset, *([list(shape)] if shape else [])])
    aligned = {"aligned": True} if dtype.isalignedstruct else {}
    return {"fields": fields, "size": dtype.itemsize, **aligned}


def rebuild(description: object) -> np.dtype[Any]:
    """Make a dtype of what `describe` wrote.

    Args:
        description: Any JSON; nothing in it is trusted.

    Returns:
        The dtype.

    Raises:
        ValueError: It is no description.

    Example:
        >>> rebuild("<f4")
        dtype('float32')
        >>> rebuild({"fields": [["id", "<u4", 0], ["position", ">f8", 4, [3]]], "size": 28})
        dtype([('id', '<u4'), ('position', '>f8', (3,))])
    """
    try:
        found = _rebuilt(description)
    except (AttributeError, KeyError, MemoryError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{description!r} describes no dtype: {error}") from None
    if found.hasobject or found.itemsize == 0:
        raise ValueError(f"{description!r} describes no dtype that processes can share")
    return found


def _rebuilt(description: Any) -> np.dtype[Any]:
    if isinstance(description, str):
        if not re.fullmatch(_PLAIN, description):
            raise ValueError(f"{description!r} is not how numpy writes a dtype")
        return np.dtype(description)
    names, formats, offsets = [], [], []
    for name, element, offset, *shape in description["fields"]:
        names.append(name)
        formats.append((_rebuilt(element), tuple(shape[0])) if shape else _rebuilt(element))
        offsets.append(offset)
    layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": description["size"]}
    return np.dtype(layout, align=description.get("aligned") is True)  # type: ignore[call-overload, no-any-return]


def differences(found: np.dtype[Any], asked: np.dtype[Any]) -> list[str]:
    """Tell where two dtypes differ.

    Args:
        found: The one in the file.
        asked: The one that the caller insists on.

    Returns:
        A line for each difference; none when the bytes mean the same.

    Example:
        >>> import numpy as np
        >>> differences(np.dtype([("x", "f4"), ("y", "f4")]), np.dtype([("x", "f4"), ("y", "f8")]))
        ["field 'y': float32 at byte 4 in the file, float64 at byte 4 asked for"]
    """
    asked = _untitled(asked)
    if found == asked:
        return []
    if found.names is None or asked.names is None:
        return [f"dtype: {_told(found)} in the file, {_told(asked)} asked for"]
    there, wanted = _flat(found), _flat(asked)
    lines = [
        f"field {name!r}: {there.get(name, 'missing')} in the file, "
        + (f"{wanted[name]} asked for" if name in wanted else "not asked for")
        for name in {**there, **wanted}
        if there.get(name) != wanted.get(name)
    ]
    if not lines and found.itemsize != asked.itemsize:
        lines.append(f"bytes of a record: {found.itemsize} in the file, {asked.itemsize} asked for")
    # The same fields at the same places, in another order: numpy takes tuples for records in that order.
    return lines or [f"order of the fields: {', '.join(there)} in the file, {', '.join(wanted)} asked for"]


def _flat(dtype: np.dtype[Any], path: str = "", start: int = 0) -> dict[str, str]:
    """Return what the fields are, and the fields in them, by name."""
    found = {}
    for name, field, offset in _fields(dtype):
        element, shape = _split(field)
        kind = f"{_told(element)} of shape {shape}" if shape else _told(element)
        found[path + name] = f"{kind} at byte {start + offset}"
        if element.names is not None:
            found |= _flat(element, f"{path}{name}.", start + offset)
    return found


def _told(dtype: np.dtype[Any]) -> str:
    return str(dtype) if dtype.names is None else f"record of {dtype.itemsize} bytes"


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, np.dtype[Any], int]]:
    # Not all of fields, which has each of them a second time by its title.
    return [(name, *dtype.fields[name][:2]) for name in dtype.names or () if dtype.fields is not None]


def _split(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    return dtype.subdtype or (dtype, ())


def _untitled(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return it without titles, which have no part in the bytes."""
    return dtype if dtype.names is None else _rebuilt(describe(dtype))
