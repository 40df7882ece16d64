"""`wait` and `wait_async`: waiting for several objects at once."""

from __future__ import annotations

from . import aio
from ._core import begin_wait, wait_any

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from .aio import Closable

    T = TypeVar("T", bound=Closable)

__all__ = ["wait", "wait_async"]


def wait(objects: Iterable[T], timeout: float | None = None) -> list[T]:
    """Sleep until at least one of several objects is ready; take nothing.

    An event is ready when it is set, a lock when an acquire would succeed at once (to write, of a `ReadWriteLock`; dead
    holders count as none), a semaphore when it has a permit, a subscription when there is a message for it, a newest
    value when there is a newer one than this handle has got, a queue when there is a job, or it was shut down.
    A service is ready when a request waits that nobody has taken, or it was shut down; a stream of a `Client` when
    there is a part, its end, or an error, also because its server died. By the time the caller acts on it, another may
    have been faster.

    Args:
        objects: Any of `Event`, `Lock`, `RLock`, `ReadWriteLock`, `Semaphore`, `BoundedSemaphore`, `Subscription`,
            `Latest`, `Queue` and `Service`, and what `Client.stream` returns.
        timeout: Seconds; ``None`` waits for ever, 0 only looks.

    Returns:
        Those that are ready, in the order given; none after the timeout.

    Raises:
        KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
        TypeError: One is something else, or read-only.
        ValueError: One is closed, also meanwhile; or the timeout makes no sense, as ``None`` does without any object.

    Example:
        >>> from samemap import Event, Semaphore, wait
        >>> stop, work = Event(), Semaphore(value=0)
        >>> wait([stop, work], timeout=0.01)
        []
        >>> work.release()
        >>> wait([stop, work])
        [<samemap.Semaphore anonymous value=1>]
    """
    given = _some(objects, timeout)
    return [given[index] for index in wait_any([_waited(thing) for thing in given], timeout)]


async def wait_async(objects: Iterable[T], timeout: float | None = None) -> list[T]:
    """Sleep until at least one of several objects is ready, as a task; take nothing.

    Args:
        objects: As for `wait`.
        timeout: Seconds; ``None`` waits for ever, 0 only looks.

    Returns:
        Those that are ready, in the order given; none after the timeout.

    Raises:
        TypeError: One is something else, or read-only.
        ValueError: One is closed, also meanwhile; or the timeout makes no sense, as ``None`` does without any object.

    Example:
        >>> import asyncio
        >>> from samemap import Event, Lock, wait_async
        >>> stop, lock = Event(), Lock()
        >>> asyncio.run(wait_async([stop, lock]))
        [<samemap.Lock anonymous free>]
    """
    given = _some(objects, timeout)
    owner = aio.task_number()
    pendings = [begin_wait(_waited(thing), owner) for thing in given]
    try:
        if not await aio.any_finished(list(zip(given, pendings, strict=True)), timeout):
            return []
        ready = []
        for thing, pending in zip(given, pendings, strict=True):
            if pending.attempt():
                # Raises what ended the wait, if that was no good.
                pending.result()
                ready.append(thing)
        return ready
    finally:
        for pending in pendings:
            pending.cancel()


def _waited(thing: Closable) -> object:
    """Return what the compiled half waits for: a stream has a call."""
    return getattr(thing, "_waited", thing)


def _some(objects: Iterable[T], timeout: float | None) -> list[T]:
    given = list(objects)
    if not given and timeout is None:
        raise ValueError("no objects and no timeout: that would wait for ever; give at least one, or a timeout")
    return given
