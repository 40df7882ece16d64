"""Waiting in asyncio: one thread for all that the tasks of this process wait for.

The thread sleeps in the kernel on all of it at once, and tells the tasks' event loops what is done. It starts when
the first task has to wait, and ends with the interpreter. A fork's child starts its own.
"""

from __future__ import annotations

import _thread
import atexit
import os
from itertools import count

from . import _core

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from asyncio import AbstractEventLoop, Future
    from typing import Any

    from ._core import Pending

__all__ = ["acquired", "finished", "task_number"]


async def finished(pending: Pending[Any], timeout: float | None) -> bool:
    """Wait until it is done.

    Args:
        pending: What the task waits for.
        timeout: Seconds; ``None`` for ever.

    Returns:
        Whether it is done, so that it has a result; else it was given up.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
    """
    if timeout is not None and not timeout >= 0:
        pending.cancel()
        raise ValueError(
            "timeout must be a number of seconds that is not negative, or None to wait for ever, "
            f"not {timeout!r}"
        )
    if pending.attempt():
        return True
    if timeout == 0:
        pending.cancel()
        return False
    from asyncio import get_running_loop

    loop = get_running_loop()
    future = loop.create_future()
    timer = None if timeout is None else loop.call_later(timeout, _resolve, future, False)
    watch = _watch()
    key = watch.add(pending, loop, future)
    try:
        if await future:
            return True
    except BaseException:
        # Cancelled, maybe when it was done already: nobody will use what it brought.
        watch.remove(key)
        pending.cancel()
        raise
    finally:
        if timer is not None:
            timer.cancel()
    watch.remove(key)
    if pending.attempt():
        return True
    pending.cancel()
    return False


async def acquired(pending: Pending[bool], timeout: float | None) -> bool:
    """Wait until something is acquired.

    Args:
        pending: The acquisition.
        timeout: Seconds; ``None`` and -1 for ever, as in ``threading``.

    Returns:
        Whether it is.
    """
    return await finished(pending, None if timeout == -1 else timeout) and pending.result()


def _resolve(future: Future[bool], done: bool) -> None:
    if not future.done():
        future.set_result(done)


class _Watch:
    """The thread, and what it watches."""

    def __init__(self) -> None:
        # Imported here because it costs more than all of samemap, and asyncio has it anyway.
        import threading

        self._watcher = _core.Watcher()
        self._keys = count(1)
        self._watched: dict[int, tuple[Pending[Any], AbstractEventLoop, Future[bool]]] = {}
        self._stopped = False
        self._thread: threading.Thread = threading.Thread(target=self._run, name="samemap-watcher", daemon=True)
        self._thread.start()

    def add(self, pending: Pending[Any], loop: AbstractEventLoop, future: Future[bool]) -> int:
        key = next(self._keys)
        self._watched[key] = (pending, loop, future)
        self._watcher.add(pending, key)
        return key

    def remove(self, key: int) -> None:
        if self._watched.pop(key, None) is not None:
            self._watcher.remove(key)

    def _run(self) -> None:
        while not self._stopped:
            for key in self._watcher.run():
                if (found := self._watched.pop(key, None)) is None:
                    continue
                pending, loop, future = found
                try:
                    loop.call_soon_threadsafe(_resolve, future, True)
                except RuntimeError:
                    # The loop is closed, and its tasks are gone: nobody will use what this brought.
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


def _forget() -> None:
    """Forget the parent's thread, which a fork does not copy."""
    global _lock, _only
    _lock = _thread.allocate_lock()
    _only = None


os.register_at_fork(after_in_child=_forget)

#: Above all thread numbers of the kernel (at most 2**22), so that no task is taken for a thread.
_FIRST_TASK = 1 << 30
_task_numbers: Any = None
_next_task = count(_FIRST_TASK)


def task_number() -> int:
    """Return a number that stands for the running task, and for no other task or thread of this process.

    Raises:
        RuntimeError: No task runs in this thread.
    """
    global _task_numbers
    from asyncio import current_task

    task = current_task()
    if task is None:
        raise RuntimeError("only a task can do that: call it from a coroutine that a task runs")
    if _task_numbers is None:
        from weakref import WeakKeyDictionary

        _task_numbers = WeakKeyDictionary()
    number = _task_numbers.get(task)
    if number is None:
        number = _task_numbers[task] = next(_next_task)
    return int(number)
