"""What is nearly an array of a given shape and dtype becomes one, where nothing is lost by it."""

from __future__ import annotations

import numpy as np

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["fitted", "fitted_many"]


def fitted(value: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Make an array of a value.

    Args:
        value: An array, or what has a dtype of its own: it must convert safely, as numpy calls it. Or single
            numbers, and lists of Python's own: those must only be in the dtype's range.
            A record is a tuple.
        dtype: What one element must be.
        shape: What the shape must be; nothing is broadcast.

    Returns:
        The array, with its elements in one piece, in the order of C.

    Raises:
        TypeError: Converting it would lose something, or it is no array at all.
        ValueError: It has another shape, or numbers out of range.

    Example:
        >>> import numpy as np
        >>> fitted([1, 2, 3], np.dtype("u1"), (3,))
        array([1, 2, 3], dtype=uint8)
        >>> fitted(np.arange(3.0), np.dtype("f4"), (3,))
        Traceback (most recent call last):
        TypeError: a message has shape (3,) and dtype float32, and this has shape (3,) and dtype float64: ...
    """
    if isinstance(value, list | tuple) and dtype.names is not None:
        return _records(value, dtype, shape)
    found = _array(value, dtype)
    if found.dtype.hasobject:
        raise TypeError(f"a message has shape {shape} and dtype {dtype}, and {_short(value)} cannot be made into that")
    if found.shape != shape:
        raise ValueError(
            f"{_disagreement(found, dtype, shape)}: give it that shape first, as with array.reshape() or array[...]"
        )
    # numpy takes fields by their places, whatever they are called.
    if np.can_cast(found.dtype, dtype, "safe") and _names(found.dtype) == _names(dtype):
        return found.astype(dtype, order="C", copy=False, subok=False)
    if not _is_only_wider(value, found, dtype):
        raise TypeError(
            f"{_disagreement(found, dtype, shape)}: convert it first, as with array.astype({dtype.str!r}), "
            "if what that loses is not needed"
        )
    try:
        with np.errstate(over="raise"):
            return found.astype(dtype, order="C")
    except FloatingPointError:
        raise ValueError(f"a message has dtype {dtype}, and {_short(value)} has numbers too large for it") from None


def fitted_many(values: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Make an array of several values, one after the other.

    Args:
        values: An array with an axis more than one message, or a list.
        dtype: As for `fitted`.
        shape: The shape of one of them.

    Returns:
        The array, as from `fitted`.

    Raises:
        TypeError: As from `fitted`.
        ValueError: As from `fitted`.

    Example:
        >>> import numpy as np
        >>> fitted_many([(1, 2), (3, 4), (5, 6)], np.dtype("u1"), (2,)).shape
        (3, 2)
    """
    if isinstance(values, list | tuple):
        if not values:
            return np.empty((0, *shape), dtype)
        return fitted(values, dtype, (len(values), *shape))
    found = _array(values, dtype)
    if found.ndim == 0:
        raise TypeError(
            f"several messages are an array of shape {('n', *shape)} and dtype {dtype}, or a list, "
            f"not a {type(values).__name__}".replace("'n'", "n")
        )
    return fitted(found, dtype, (found.shape[0], *shape))


def _records(value: list[Any] | tuple[Any, ...], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Make records of tuples, field by field, because numpy would cut what does not fit."""
    # What is between the fields is sent too, so it must not be what happened to be there.
    found = np.zeros(shape, dtype)
    if shape:
        if len(value) != shape[0]:
            raise ValueError(f"here are {len(value)} of what there must be {shape[0]} of, for shape {shape}")
        for index, item in enumerate(value):
            found[index] = fitted(item, dtype, shape[1:])
        return found
    names = dtype.names or ()
    if not isinstance(value, tuple) or len(value) != len(names):
        raise TypeError(f"a record is a tuple of {', '.join(names)}, not {_short(value)}")
    for name, item in zip(names, value, strict=True):
        field = dtype[name]
        try:
            found[name] = fitted(item, field.base, field.shape)
        except (TypeError, ValueError) as error:
            raise type(error)(f"field {name!r}: {error}") from None
    return found


def _array(value: object, dtype: np.dtype[Any]) -> NDArray[Any]:
    if isinstance(value, bytes) and dtype.kind != "S":
        value = memoryview(value)
    found = np.asarray(value)
    if dtype.kind in "mM" and found.dtype.kind in "OU" and not isinstance(value, np.ndarray | np.generic):
        # Python's own dates and times, or text, of which numpy finds out how exact they are.
        try:
            return np.asarray(value, dtype.kind)
        except (TypeError, ValueError):
            pass
    return found


def _is_only_wider(value: object, found: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Tell whether it does not convert safely only because Python's own numbers, which are the widest, do not."""
    # A single number of numpy's is as wide as what it was computed with: array.mean(), for one.
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, np.number):
        return False
    if dtype.kind in "mM" and found.dtype.kind == dtype.kind:
        return np.array_equal(found.astype(dtype), found, equal_nan=True)
    if not isinstance(value, bool | int | float | complex | list | tuple | np.number):
        return False
    if found.dtype.kind in "iu" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (int(found.min()), int(found.max())) if found.size else (0, 0)
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"a message has dtype {dtype}, from {limits.min} to {limits.max}, and here are numbers "
                f"from {low} to {high}"
            )
        return True
    return dtype.kind in {"i": "fcm", "u": "fc", "f": "fc", "c": "c"}.get(found.dtype.kind, "")


def _names(dtype: np.dtype[Any]) -> object:
    base = dtype.base
    return base.names and [(name, _names(base[name])) for name in base.names]


def _disagreement(found: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"a message has shape {shape} and dtype {dtype}, and this has shape {found.shape} and dtype {found.dtype}"


def _short(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
