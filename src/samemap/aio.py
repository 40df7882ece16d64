"""Waiting in asyncio: one thread for all that the tasks of this process wait for.

The thread sleeps in the kernel on all of it at once, and tells the tasks' event loops what is done. It starts when
the first task has to wait, and ends with the interpreter. A fork's child starts its own.
"""

from __future__ import annotations

import _thread
import atexit
import os
from itertools import count

from ._core import Watcher
from .opening import check_timeout

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Sequence
    from typing import Any, Protocol

    from ._core import Pending

    class Closable(Protocol):
        """What can be closed while a task waits for it."""

        @property
        def closed(self) -> bool:
            """Whether `close` was called."""


__all__ = ["FIRST_TASK", "acquired", "any_finished", "end_waits", "finished", "running_task_number", "task_number"]


async def finished(thing: Closable, pending: Pending[Any], timeout: float | None) -> bool:
    """Wait until it is done.

    Args:
        thing: What is waited for.
        pending: The wait.
        timeout: Seconds; ``None`` for ever.

    Returns:
        Whether it is done, so that it has a result; else it was given up.

    Raises:
        ValueError: ``timeout`` is negative or not a number; or the thing was closed meanwhile.
    """
    return await any_finished([(thing, pending)], timeout)


async def any_finished(waits: Sequence[tuple[Closable, Pending[Any]]], timeout: float | None) -> bool:
    """Wait until one of several is done.

    Args:
        waits: What the task waits for: things, and the wait for each.
        timeout: Seconds; ``None`` for ever.

    Returns:
        Whether one is done; else all were given up.

    Raises:
        ValueError: ``timeout`` is negative or not a number; or a thing was closed meanwhile.
    """
    keys: list[int] = []
    timer = None
    try:
        check_timeout(timeout)
        if _attempt(waits):
            return True
        if timeout != 0:
            from asyncio import get_running_loop

            loop = get_running_loop()
            future = loop.create_future()
            if timeout is not None:
                timer = loop.call_later(timeout, _resolve, future)
            watch = _watch()
            keys = [watch.add(thing, pending, loop, future) for thing, pending in waits]
            await future
            for thing, _ in waits:
                if thing.closed:
                    raise ValueError(f"{thing!r}: it was closed while a task waited for it")
            if _attempt(waits):
                return True
        for _, pending in waits:
            pending.cancel()
    except BaseException:
        # Cancelled, maybe when it was done already: nobody will use what it brought.
        for _, pending in waits:
            pending.cancel()
        raise
    else:
        return False
    finally:
        if timer is not None:
            timer.cancel()
        for key in keys:
            watch.remove(key)


def _attempt(waits: Sequence[tuple[Closable, Pending[Any]]]) -> bool:
    # All of them, not only the first that is done: the caller may ask which are.
    return sum(pending.attempt() for _, pending in waits) > 0


async def acquired(thing: Closable, pending: Pending[bool], timeout: float | None) -> bool:
    """Wait until something is acquired.

    Args:
        thing: What is acquired.
        pending: The acquisition.
        timeout: Seconds; ``None`` and -1 for ever, as in ``threading``.

    Returns:
        Whether it is.
    """
    return await finished(thing, pending, None if timeout == -1 else timeout) and pending.result()


def end_waits(thing: Closable) -> None:
    """Let the tasks of this process know that what they wait for was closed."""
    watch = _only
    if watch is not None:
        watch.end(thing)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _tell(loop: AbstractEventLoop, future: Future[None]) -> bool:
    """Wake the task that waits; say whether it can be woken."""
    try:
        loop.call_soon_threadsafe(_resolve, future)
    except RuntimeError:
        # The loop is closed, and its tasks are gone.
        return False
    return True


class _Watch:
    """The thread, and what it watches."""

    def __init__(self) -> None:
        # Imported here because it costs more than all of samemap, and asyncio has it anyway.
        import threading

        self._watcher = Watcher()
        self._keys = count(1)
        self._watched: dict[int, tuple[Closable, Pending[Any], AbstractEventLoop, Future[None]]] = {}
        self._stopped = False
        self._thread: threading.Thread = threading.Thread(target=self._run, name="samemap-watcher", daemon=True)
        self._thread.start()

    def add(self, thing: Closable, pending: Pending[Any], loop: AbstractEventLoop, future: Future[None]) -> int:
        key = next(self._keys)
        self._watched[key] = (thing, pending, loop, future)
        self._watcher.add(pending, key)
        if thing.closed:
            # Closed by another thread before it was listed here.
            _resolve(future)
        return key

    def remove(self, key: int) -> None:
        if self._watched.pop(key, None) is not None:
            self._watcher.remove(key)

    def end(self, thing: Closable) -> None:
        for waited, _, loop, future in list(self._watched.values()):
            if waited is thing:
                _tell(loop, future)

    def _run(self) -> None:
        while not self._stopped:
            for key in self._watcher.run():
                if (found := self._watched.pop(key, None)) is None:
                    continue
                _, pending, loop, future = found
                if not _tell(loop, future):
                    # Nobody will use what this brought.
                    pending.cancel()

    def stop(self) -> None:
        self._stopped = True
        self._watcher.wake()
        self._thread.join(1)


_lock = _thread.allocate_lock()
_only: _Watch | None = None


def _watch() -> _Watch:
    global _only
    with _lock:
        if _only is None:
            _only = _Watch()
            # A thread that is still inside compiled code when the interpreter goes would be ended by force there.
            atexit.register(_stop)
        return _only


def _stop() -> None:
    global _only
    watch, _only = _only, None
    if watch is not None:
        watch.stop()


#: Above all numbers of threads (the kernel has at most 2**22), so that no task is taken for one.
FIRST_TASK = 1 << 31

#: The numbers of tasks, and the half that tells this process's from those of others; made at first use.
_numbers: Any = None
_ours = 0
_next = count(FIRST_TASK)


def task_number() -> int:
    """Return a number that stands for the running task, and for no other task or thread of any process.

    Raises:
        RuntimeError: No task runs in this thread.
    """
    global _numbers, _ours
    from asyncio import current_task

    task = current_task()
    if task is None:
        raise RuntimeError("only a task can do that: call it from a coroutine that a task runs")
    if _numbers is None:
        from weakref import WeakKeyDictionary

        with _lock:
            # Loops in two threads must not each make a table: a task would lose its number in the other's.
            if _numbers is None:
                _ours = int.from_bytes(os.urandom(4), "little") << 32
                _numbers = WeakKeyDictionary()
    number: int | None = _numbers.get(task)
    if number is None:
        number = _numbers[task] = _ours | (next(_next) % FIRST_TASK + FIRST_TASK)
    return number


def running_task_number() -> int | None:
    """Return `task_number`; ``None`` where no task runs."""
    try:
        return task_number()
    except RuntimeError:
        return None


def _forget() -> None:
    """Forget the parent's thread, which a fork does not copy, and its tasks, which are not the child's."""
    global _lock, _only, _numbers
    _lock = _thread.allocate_lock()
    _only = None
    _numbers = None


os.register_at_fork(after_in_child=_forget)
