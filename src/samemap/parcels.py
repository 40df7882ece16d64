"""How calls and their results are packed: pickles and their buffers, in an envelope that can always be read.

What is in the envelope is unpickled by itself, so that whoever cannot bring it back knows whose it was.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import traceback
from multiprocessing.reduction import ForkingPickler

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from typing_extensions import Buffer

    from ._core import Queue

    #: A pickle, and what lies beside it.
    Parcel: TypeAlias = tuple[bytes | pickle.PickleBuffer, tuple[pickle.PickleBuffer, ...]]

__all__ = ["TRACEBACK", "RemoteTraceback", "pack", "size_of", "told", "too_large", "unpack", "views_or_copies"]

#: From so many bytes on, copies cost more than what is done to avoid them.
LARGE = 1 << 16
#: Of longer tracebacks, so many characters from the beginning and from the end.
SHOWN = 4000
#: More than the envelope needs beside what is in it.
ENVELOPE = 512
#: More than there may be of a traceback.
TRACEBACK = 1 << 15
#: And for each buffer.
PLACE = 128

_tables: dict[tuple[int, int], Mapping[type, Callable[[Any], Any]]] = {}


def _table() -> Mapping[type, Callable[[Any], Any]]:
    """Return the reducers of multiprocessing and of copyreg in one dict, which is quicker than its own two."""
    theirs: Mapping[type, Callable[[Any], Any]] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    sizes = len(copyreg.dispatch_table), len(theirs)
    if (found := _tables.get(sizes)) is None:
        found = _tables[sizes] = {**copyreg.dispatch_table, **theirs}
    return found


def pack(value: object) -> Parcel:
    """Pickle an object, as `multiprocessing` does it, with its buffers beside it.

    Args:
        value: Anything that can be pickled. Its buffers are not copied.

    Returns:
        The pickle, and the buffers.

    Raises:
        Exception: What `pickle` raises for what cannot be pickled, unchanged.

    Example:
        >>> unpack(*pack(["four"]))
        ['four']
    """
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5, buffer_callback=buffers.append)
    pickler.dispatch_table = _table()
    pickler.dump(value)
    # Not file.getbuffer(): the interpreter crashes when it collects a memoryview of that which a PickleBuffer shows.
    pickled = file.getvalue()
    return pickled if len(pickled) < LARGE else pickle.PickleBuffer(pickled), tuple(buffers)


def size_of(parcel: Parcel) -> int:
    """Return how many bytes it takes at most.

    Args:
        parcel: What `pack` returned.

    Returns:
        The number.

    Example:
        >>> size_of(pack(bytes(1000))) > 1000
        True
    """
    pickled, buffers = parcel
    size = ENVELOPE + memoryview(pickled).nbytes
    return size + sum(PLACE + memoryview(buffer).nbytes for buffer in buffers)


def too_large(what: str, size: int, most: int) -> ValueError:
    """Return the error of one who would send too much at once.

    Args:
        what: What there was to send.
        size: Its bytes.
        most: How many there is room for.

    Returns:
        The error.

    Example:
        >>> print(too_large("a photo", 200, 100))
        a photo has 200 bytes with its envelope, and the pool's memory 100: make the pool with max_bytes=256 or more
    """
    return ValueError(
        f"{what} has {size} bytes with its envelope, and the pool's memory {most}: "
        f"make the pool with max_bytes={1 << (size - 1).bit_length()} or more"
    )


def unpack(pickled: Buffer, buffers: tuple[Buffer, ...]) -> Any:
    """Bring back an object.

    Args:
        pickled: The pickle.
        buffers: What lay beside it.

    Returns:
        The object; arrays in it are views of the buffers.

    Raises:
        Exception: What the objects' own classes raise when they are made again, unchanged.

    Example:
        >>> unpack(*pack(print)) is print
        True
    """
    return pickle.loads(pickled, buffers=buffers)  # noqa: S301 - it comes from this pool's own processes


def views_or_copies(queue: Queue, buffers: Sequence[memoryview], more: int = 0) -> tuple[Buffer, ...]:
    """Return what an object may keep: views, as long as no more than half of a queue's memory is kept; else copies.

    So nobody who collects arrays keeps others from sending theirs. Small ones are copied, which is quicker than to ask.

    Args:
        queue: Whose memory it is.
        buffers: Views of it.
        more: Bytes that will be kept beside those that are.

    Returns:
        As many buffers.

    Example:
        >>> from samemap import Queue
        >>> views_or_copies(Queue(), [memoryview(b"small")])
        (b'small',)
    """
    if not buffers:
        return ()
    if sum(buffer.nbytes for buffer in buffers) >= LARGE:
        kept = [length for _, _, state, _, _, length, *_ in queue._jobs() if state == "held"]
        if sum(kept) + more <= queue.max_bytes // 2 and len(kept) <= queue.maxsize // 2:
            return tuple(buffers)
    return tuple(bytes(buffer) for buffer in buffers)


class RemoteTraceback(Exception):
    """Where an exception was raised, in the process that it comes from: it is the ``__cause__`` of the exception.

    Args:
        text: The traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tb = text

    def __str__(self) -> str:
        return self.tb


def told(error: BaseException) -> str:
    """Return the text of an error's traceback, as `RemoteTraceback` has it.

    Args:
        error: The error.

    Returns:
        The text.

    Example:
        >>> told(KeyError("four")).splitlines()[2]
        "KeyError: 'four'"
    """
    text = "".join(traceback.format_exception(error))
    if len(text) > 2 * SHOWN:
        text = f"{text[:SHOWN]}\n[... {len(text) - 2 * SHOWN} characters ...]\n{text[-SHOWN:]}"
    return f'\n"""\n{text}"""'
