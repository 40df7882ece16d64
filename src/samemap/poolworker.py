"""What each process of a pool does: lease calls from one queue, and put what they return into another one."""

from __future__ import annotations

import os
from concurrent.futures import _base
from functools import partial
from multiprocessing import parent_process
from pickle import PickleBuffer

from .exhaustion import Empty, Full, ShutDown
from .parcels import TRACEBACK, pack, size_of, told, too_large, unpack, views_or_copies

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .queues import Queue
    from .region import Region

__all__ = [
    "BROKEN",
    "CALL",
    "DIED",
    "FAILED",
    "PIECE",
    "RAISED",
    "READY",
    "RETIRED",
    "RETURNED",
    "STARTING",
    "WORD",
    "Station",
    "called",
    "run_chunk",
    "work",
]

# What a worker's word says: where it is, or the number of the call that it is at, added to CALL.
STARTING, READY, RETIRED, FAILED, CALL = 0, 1, 2, 3, 16
#: Bytes of the word.
WORD = 8

# What a message of the results says: (which of these, number of the call, ...).
RETURNED, RAISED, PIECE, DIED, BROKEN = "returned", "raised", "piece", "died", "broken"

#: Seconds between two looks after the process that has the pool, by one who has nothing to do.
PULSE = 1.0
#: Seconds after which a result is sent in pieces, if there is no room for it as a whole.
PATIENCE = 0.1
#: Bytes of a piece. Of the half of the memory that nobody keeps, so much is always in one piece: see `views_or_copies`.
PIECE_SIZE = 1 << 15


class Station:
    """All that a worker needs to know; it goes to the worker when that is started.

    Args:
        tasks: The calls.
        results: What becomes of them.
        board: A word for each worker.
        parent: The process that has the pool.
        attempts: How many workers may die of a call.
        initializer: What to call first.
        initargs: Its arguments.
        max_tasks: After how many calls to end.
    """

    def __init__(
        self,
        tasks: Queue,
        results: Queue,
        board: Region,
        parent: int,
        attempts: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks: int | None,
    ) -> None:
        self.tasks = tasks
        self.results = results
        self.board = board
        self.parent = parent
        self.attempts = attempts
        self.initializer = initializer
        self.initargs = initargs
        self.max_tasks = max_tasks

    def is_deserted(self) -> bool:
        """Tell whether the process that has the pool is gone."""
        if os.getppid() == self.parent:
            return False
        # With forkserver it is not the parent in the system's eyes.
        parent = parent_process()
        return parent is None or parent.pid != self.parent or not parent.is_alive()

    def send(self, *message: Any) -> None:
        """Put a result, and wait while there is no room, but not for a process that is gone."""
        while True:
            try:
                self.results.put(message, timeout=PULSE)
            except Full:
                if self.is_deserted():
                    raise ShutDown from None
            else:
                return

    def send_result(self, what: str, number: int, *parts: Any) -> None:
        """Put a result; in pieces, if there is no room for the whole of it soon."""
        try:
            self.results.put((what, number, *parts), timeout=PATIENCE)
        except Full:
            rest = list(parts)
            size = min(PIECE_SIZE, self.results.max_bytes // 8)
            for part, buffer in enumerate(parts):
                if isinstance(buffer, str) or (whole := PickleBuffer(buffer).raw()).nbytes <= size:
                    continue
                for start in range(0, whole.nbytes, size):
                    self.send(PIECE, number, part, start, whole.nbytes, PickleBuffer(whole[start : start + size]))
                rest[part] = None
            self.send(what, number, *rest)


def run_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    """Call a function for some of what ``map`` was given.

    Args:
        fn: The function.
        chunk: The arguments of each call.

    Returns:
        What the calls return.

    Example:
        >>> run_chunk(pow, [(2, 3), (3, 2)])
        [8, 9]
    """
    return [fn(*arguments) for arguments in chunk]


def called(fn: object) -> str:
    """Return what to call a function in a message.

    Args:
        fn: Anything that can be called.

    Returns:
        Its name, and where it is.

    Example:
        >>> called(len), called(partial(run_chunk, len)), called(partial(print, 1))
        ('len', 'len', 'print')
    """
    while isinstance(fn, partial):
        fn = fn.args[0] if fn.func is run_chunk else fn.func
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str):
        # Not the whole of it: that may be long.
        fn, name = type(fn), type(fn).__qualname__ + "(...)"
    module = getattr(fn, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


def work(station: Station, place: int) -> None:
    """Work until the calls are shut down, or the process that has the pool is gone.

    Args:
        station: Where.
        place: Where its word is.
    """
    board = station.board
    if station.initializer is not None:
        try:
            station.initializer(*station.initargs)
        except BaseException as error:
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            station.send(BROKEN, 0, told(error))
            board.store_u64(place, FAILED)
            return
    board.store_u64(place, READY)
    left = station.max_tasks
    while left is None or left > 0:
        try:
            job = station.tasks.lease(PULSE)
        except (Empty, KeyboardInterrupt):
            # Ctrl-C goes to all processes of a terminal: what becomes of the pool is for the one that has it.
            if station.is_deserted():
                return
            continue
        except ShutDown:
            return
        number, *parcel = job.value
        try:
            if job.attempt > station.attempts:
                station.send(DIED, number, None, None)
            else:
                board.store_u64(place, CALL + number)
                _send_back(station, number, parcel)
                if left is not None:
                    left -= 1
        except ShutDown:
            return
        # Before anything else is waited for: its memory goes with it.
        del parcel
        job.done()
        del job
        board.store_u64(place, READY)
    board.store_u64(place, RETIRED)


def _send_back(station: Station, number: int, parcel: list[Any]) -> None:
    """Call, and send what comes of it."""
    try:
        message = (RETURNED, number, *_called(station, parcel))
    except BaseException as error:
        text = told(error)
        # Its frames have all that the function had.
        message = (RAISED, number, text, *_packed_error(error, station.results.max_bytes - TRACEBACK))
        error.__traceback__ = None
        del error
    station.send_result(*message)


def _called(station: Station, parcel: list[Any]) -> tuple[Any, ...]:
    """Return the parcel of what the function returns."""
    pickled, *buffers = parcel
    parcel.clear()
    size = sum(buffer.nbytes for buffer in buffers)
    fn, args, kwargs = unpack(pickled, views_or_copies(station.tasks, buffers, size))
    del pickled, buffers
    return _packed(fn(*args, **kwargs), f"what {called(fn)} returns", station.results.max_bytes)


def _packed(value: object, what: str, most: int) -> tuple[Any, ...]:
    pickled, buffers = parcel = pack(value)
    if (size := size_of(parcel)) > most:
        raise too_large(what, size, most)
    return pickled, *buffers


def _packed_error(error: BaseException, most: int) -> tuple[Any, ...]:
    """Return the parcel of an error; where that cannot be had, of the one that says so."""
    what = f"the {type(error).__qualname__} that was raised"
    try:
        return _packed(error, what, most)
    except BaseException as reason:
        why = reason.with_traceback(None)
    try:
        return _packed(why, what, most)
    except BaseException:
        return _packed(RuntimeError(f"{what} cannot be sent: {type(why).__qualname__}"), what, most)
