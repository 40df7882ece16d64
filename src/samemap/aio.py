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

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Sequence
    from typing import Any

    from ._core import Pending

__all__ = ["FIRST_TASK", "acquired", "any_finished", "finished", "running_task_number", "task_number"]


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
    return await any_finished([pending], timeout)


async def any_finished(pendings: Sequence[Pending[Any]], timeout: float | None) -> bool:
    """Wait until one of several is done.

    Args:
        pendings: What the task waits for.
        timeout: Seconds; ``None`` for ever.

    Returns:
        Whether one is done; else all were given up.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
    """
    keys: list[int] = []
    timer = None
    try:
        if timeout is not None and not timeout >= 0:
            raise ValueError(
                f"timeout must be a number of seconds that is not negative, or None to wait for ever, not {timeout!r}"
            )
        if _attempt(pendings):
            return True
        if timeout != 0:
            from asyncio import get_running_loop

            loop = get_running_loop()
            future = loop.create_future()
            if timeout is not None:
                timer = loop.call_later(timeout, _resolve, future)
            watch = _watch()
            keys = [watch.add(pending, loop, future) for pending in pendings]
            await future
            if _attempt(pendings):
                return True
        for pending in pendings:
            pending.cancel()
    except BaseException:
        # Cancelled, maybe when it was done already: nobody will use what it brought.
        for pending in pendings:
            pending.cancel()
        raise
    else:
        return False
    finally:
        if timer is not None:
            timer.cancel()
        for key in keys:
            watch.remove(key)


def _attempt(pendings: Sequence[Pending[Any]]) -> bool:
    # All of them, not only the first that is done: the caller may ask which are.
    return sum(pending.attempt() for pending in pendings) > 0


async def acquired(pending: Pending[bool], timeout: float | None) -> bool:
    """Wait until something is acquired.

    Args:
        pending: The acquisition.
        timeout: Seconds; ``None`` and -1 for ever, as in ``threading``.

    Returns:
        Whether it is.
    """
    return await finished(pending, None if timeout == -1 else timeout) and pending.result()


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Watch:
    """The thread, and what it watches."""

    def __init__(self) -> None:
        # Imported here because it costs more than all of samemap, and asyncio has it anyway.
        import threading

        self._watcher = Watcher()
        self._keys = count(1)
        self._watched: dict[int, tuple[Pending[Any], AbstractEventLoop, Future[None]]] = {}
        self._stopped = False
        self._thread: threading.Thread = threading.Thread(target=self._run, name="samemap-watcher", daemon=True)
        self._thread.start()

    def add(self, pending: Pending[Any], loop: AbstractEventLoop, future: Future[None]) -> int:
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
                    loop.call_soon_threadsafe(_resolve, future)
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

        _numbers, _ours = WeakKeyDictionary(), int.from_bytes(os.urandom(4), "little") << 32
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
