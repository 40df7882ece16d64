"""Pickles and their buffers in one message: what `pickle` would copy into its stream lies beside it, to be seen there.

All numbers are little-endian and of 64 bits: how many buffers there are, the bytes of the pickle, then for each buffer
where it starts in the message and its bytes. The pickle follows, then the buffers, each at a multiple of 64 bytes.
"""

from __future__ import annotations

import pickle
import struct

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = ["ALIGNMENT", "joined", "parts_of", "restored"]

#: Where buffers may start: what vector instructions and cache lines like.
ALIGNMENT = 64

_HEAD = struct.Struct("<QQ")
_PADDING = tuple(bytes(n) for n in range(ALIGNMENT))


def parts_of(value: object) -> tuple[Buffer, ...]:
    """Pickle an object, with its buffers beside it.

    Args:
        value: Anything that can be pickled. Its buffers are not copied: they must not change until the parts are used.

    Returns:
        The parts of the message, in order.

    Raises:
        Exception: What `pickle.dumps` raises for what cannot be pickled, unchanged.

    Example:
        >>> [len(part) for part in parts_of("four")]
        [16, 19]
        >>> restored(b"".join(parts_of("four")))
        'four'
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return joined(pickled, buffers) if buffers else (_HEAD.pack(0, len(pickled)), pickled)


def joined(pickled: bytes, buffers: Iterable[pickle.PickleBuffer]) -> tuple[Buffer, ...]:
    """Lay out a message of a pickle and its buffers.

    Args:
        pickled: The pickle.
        buffers: What it left out, in order. They are not copied: they must not change until the parts are used.

    Returns:
        The parts of the message, in order.

    Raises:
        BufferError: One is not in one piece.

    Example:
        >>> restored(b"".join(joined(pickle.dumps("four"), [])))
        'four'
    """
    raw = [buffer.raw() for buffer in buffers]
    starts, _ = _places(len(pickled), [len(each) for each in raw])
    numbers = [number for start, each in zip(starts, raw, strict=True) for number in (start, len(each))]
    parts: list[Buffer] = [struct.pack(f"<QQ{len(numbers)}Q", len(raw), len(pickled), *numbers), pickled]
    end = _HEAD.size * (1 + len(raw)) + len(pickled)
    for start, each in zip(starts, raw, strict=True):
        parts += (_PADDING[start - end], each)
        end = start + len(each)
    return tuple(parts)


def restored(message: Buffer) -> object:
    """Bring back the object that a message holds.

    Args:
        message: The parts, one after the other. What the object has of the buffers is read-only, and keeps the message
            exported.

    Returns:
        The object.

    Raises:
        ValueError: It is not laid out as `parts_of` does it, or holds no pickle.
        Exception: What the objects' own classes raise when they are made again, unchanged.

    Example:
        >>> parts = parts_of(pickle.PickleBuffer(b"seen, not copied"))
        >>> view = restored(b"".join(parts))
        >>> bytes(view), view.readonly
        (b'seen, not copied', True)
    """
    whole = memoryview(message)
    if whole.ndim != 1 or whole.format != "B":
        whole = whole.cast("B")
    if len(whole) < _HEAD.size:
        raise ValueError(f"a pickled message has {_HEAD.size} bytes or more, and this one {len(whole)}: it is damaged")
    count, length = _HEAD.unpack_from(whole)
    room = len(whole) - _HEAD.size
    if count == 0 and length == room:
        return _unpickled(whole[_HEAD.size :], ())
    if length > room - count * _HEAD.size:
        raise ValueError(
            f"a message of {len(whole)} bytes has no room for a pickle of {length} bytes and the places of "
            f"{count} buffers: it is damaged"
        )
    numbers = struct.unpack_from(f"<{2 * count}Q", whole, _HEAD.size)
    starts, lengths = numbers[::2], numbers[1::2]
    # All of it follows from the lengths; so what does not was damaged, or is of another making.
    right, end = _places(length, lengths)
    if starts != right or end != len(whole):
        raise ValueError(
            f"a message of {len(whole)} bytes has its buffers at {starts}, and they belong at {right}, up to its end "
            f"at {end}: it is damaged"
        )
    first = _HEAD.size * (1 + count)
    # Every pickle ends with a full stop, and after it there is padding.
    if length == 0 or whole[first + length - 1] != ord("."):
        raise ValueError(f"a message holds no pickle of {length} bytes: it is damaged")
    shown = whole.toreadonly()
    buffers = [shown[start : start + size] for start, size in zip(starts, lengths, strict=True)]
    return _unpickled(whole[first : first + length], buffers)


def _unpickled(pickled: memoryview, buffers: Iterable[memoryview]) -> object:
    try:
        return pickle.loads(pickled, buffers=buffers)  # noqa: S301 - who opened it has asked for it
    except (EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"a message holds no pickle: {error}; it is damaged") from error


def _places(pickled: int, lengths: Iterable[int]) -> tuple[tuple[int, ...], int]:
    """Return where buffers of these lengths start, and where the last one ends."""
    lengths = tuple(lengths)
    end = _HEAD.size * (1 + len(lengths)) + pickled
    starts = []
    for length in lengths:
        starts.append(-(-end // ALIGNMENT) * ALIGNMENT)
        end = starts[-1] + length
    return tuple(starts), end
