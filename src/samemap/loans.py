"""What is lent of a queue or a service: how many bytes, and what the caller gets to fill them."""

from __future__ import annotations

from . import opening
from .encodings import BytesCodec, NumpyCodec

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from .encodings import Codec, Shape

__all__ = ["lendable", "private"]


def lendable(
    codec: Codec, called: Callable[[], str], size: int | None, shape: Shape | None, dtype: Any
) -> tuple[int, bytes, Codec, bool]:
    """Return what is lent to a caller who asks for it like this.

    Args:
        codec: What messages are made by.
        called: What tells the name of the object, for errors.
        size: Bytes that the caller wants, where messages are bytes.
        shape: The shape that the caller wants, where messages are pickles.
        dtype: The dtype, likewise.

    Returns:
        How many bytes the caller fills, what comes before them in the message, what makes the frame of them, and
        whether they are bytes where others are pickles.

    Raises:
        TypeError: Such messages cannot be filled in place, or something else must be said.
        ValueError: It makes no sense.

    Example:
        >>> length, head, frames, raw = lendable(BytesCodec(), str, 5, None, None)
        >>> length, head, frames.name, raw
        (5, b'', 'bytes', False)
    """
    if codec.size is not None:
        if size is not None or shape is not None or dtype is not None:
            raise TypeError(
                f"{called()} takes arrays of one shape and dtype: loan() takes no size, shape or dtype there"
            )
        return codec.size, b"", getattr(codec, "inner", codec), False
    if codec.name not in ("bytes", "pickle"):
        raise TypeError(f"{called()} takes objects of a type, which cannot be filled in place: send them as they are")
    if shape is not None or dtype is not None:
        if codec.name == "bytes":
            raise TypeError(f"{called()} takes bytes: say how many with size=, not shape= or dtype=")
        if size is not None:
            raise TypeError("size= is for bytes, and shape= and dtype= are for an array: not both")
        frames = NumpyCodec(() if shape is None else shape, dtype)
        return frames.size, _head(frames), frames, False
    if size is None:
        kind = "size= for bytes" if codec.name == "bytes" else "size= for bytes, or shape= and dtype= for an array"
        raise TypeError(f"{called()} takes messages of any size: say what is to be lent, with {kind}")
    return opening.check_number("size", size, 0, opening.MOST), b"", BytesCodec(), codec.name == "pickle"


def private(size: int | None, shape: Shape | None, dtype: Any) -> AbstractContextManager[Any]:
    """Return a loan of memory that nobody shares, for a handler that is called directly.

    Args:
        size: Bytes.
        shape: Shape of an array.
        dtype: Its dtype.

    Example:
        >>> with private(3, None, None) as place:
        ...     len(place)
        3
    """
    from contextlib import nullcontext

    if size is not None or (shape is None and dtype is None):
        return nullcontext(memoryview(bytearray(size or 0)))
    import numpy as np

    return nullcontext(np.empty(() if shape is None else shape, dtype))  # type: ignore[arg-type] # its own check


def _head(frames: NumpyCodec) -> bytes:
    """Return what comes before the bytes of an array in a pickled message: it does not depend on these bytes."""
    import numpy as np

    from . import pickles

    *before, _ = parts = pickles.parts_of(np.empty(frames.shape, frames.dtype))
    # A head, the pickle, padding, the buffer; if it is not in the pickle.
    if len(parts) != 4:
        raise TypeError(
            f"arrays of dtype {frames.dtype} are copied when they are pickled: make a queue with this dtype"
        )
    return b"".join(bytes(each) for each in before)
