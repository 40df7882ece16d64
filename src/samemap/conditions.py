"""`Condition`: waiting for news, with a lock."""

from __future__ import annotations

import time

from . import aio, opening
from ._core import Condition as Compiled
from .locks import Lock, RLock
from .records import Record
from .segments import STATE, SegmentObject

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Callable
    from typing import Any, Self, TypeVar, Unpack

    from ._core import Segment
    from .records import Holder
    from .segments import Making, Mode, Name, Options, Plan, Trust

    T = TypeVar("T")

__all__ = ["Condition", "ConditionStats"]


class ConditionStats(Record):
    """What is known of a condition, at one moment.

    Attributes:
        waiting: How many threads and tasks wait for news.
        locked: Whether anybody holds its lock.
        participants: How many living processes have it open for more than looking.
    """

    waiting: int
    locked: bool
    participants: int


class Condition(SegmentObject, Compiled):
    """A way for processes to wait until something is so, and to tell each other that it may be.

    As ``threading.Condition``: ``with condition:`` acquires its lock and releases it; inside, `wait` gives the lock
    back, sleeps, and takes it again. `close` closes it. ``Condition(name)`` opens it, or creates it when it is missing;
    `create` and `open` insist. A process that dies while it waits costs the others nothing: news that had reached it
    goes to another one.

    Args:
        name: As for `Lock`.
        lock: A `Lock` or `RLock`, which all its users must give alike, and which stays theirs to close; ``None`` uses
            an `RLock` of its own.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.
        TypeError: ``lock`` is something else.
        ValueError: It exists, and was made with another lock.

    Example:
        >>> news = Condition()
        >>> with news:
        ...     news.notify()
        ...     news.wait(timeout=0.01)
        False
        >>> news.close()
    """

    __slots__ = (*STATE, "_heir", "_lock")
    _kind = _noun = "Condition"
    _lock: Lock | RLock
    #: The same lock; takes over from the dead also where the other one raises.
    _heir: Lock | RLock

    def __new__(  # noqa: D102 - the class describes it
        cls, name: Name = None, lock: Lock | RLock | None = None, **options: Unpack[Options]
    ) -> Self:
        return cls._make("open-or-create", name, (lock,), cls._plan(lock), **options)

    @classmethod
    def create(cls, name: Name, lock: Lock | RLock | None = None, **options: Unpack[Making]) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            lock: As for the class.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The condition.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            TypeError: ``lock`` is something else.

        Example:
            >>> lock = Lock()
            >>> changed, emptied = Condition.create(None, lock), Condition.create(None, lock)
            >>> with changed:
            ...     emptied.notify_all()
        """
        return cls._make("create", name, (lock,), cls._plan(lock), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        lock: Lock | RLock | None = None,
        *,
        wait: float | None = None,
        mode: Mode = "rw",
        **trust: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for `Lock`.
            lock: As for the class; the one that it was made with.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only.
            trust: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

        Returns:
            The condition.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else; a ``ValueError``.
            ValueError: It was made with another lock.

        Example:
            >>> Condition.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        return cls._open(name, (lock,), wait=wait, mode=mode, **trust)

    @classmethod
    def recv_handle(cls, sock: socket.socket, lock: Lock | RLock | None = None) -> Self:
        """Receive a condition that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            lock: As for the class; the one that it was made with, received before.

        Returns:
            The same condition; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of a condition, or of one that was made with another lock.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs:
            ...     Condition().send_handle(ours)
            ...     with Condition.recv_handle(theirs) as held:
            ...         held
            True
        """
        return cls._receive(sock, (lock,))

    @classmethod
    def _plan(cls, lock: Lock | RLock | None) -> Plan:
        return {"lock": _identity(lock)}, {}, (0, 0, 0)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset)

    def _check(self) -> None:
        lock: Lock | RLock | None = self._own[0]
        if lock is None:
            self._lock = self._heir = RLock._attach(self._segment.again(), self._lock_offset, None, None, ("recover",))
        else:
            self._lock = self._heir = lock
            if lock.on_owner_death == "raise":
                place = (lock._offset, lock._name, lock._entry)
                self._heir = type(lock)._attach(lock._segment.again(), *place, ("recover",))
        made_with = self._fields().get("lock", _identity(lock))
        if made_with != _identity(lock):
            own = "its own lock"
            raise ValueError(
                f"{self._called()} was made with lock={made_with or own}, not {_identity(lock) or own}: "
                "all its users must give the same lock"
            )

    def close(self) -> None:
        """Close it, and its own lock; one that was given stays open. Closing twice is fine.

        Threads that wait for it raise ``ValueError``. Other processes do not notice, and nothing is deleted.

        Example:
            >>> news = Condition()
            >>> news.close()
            >>> news.closed
            True
        """
        super().close()
        heir = getattr(self, "_heir", None)
        if heir is not None and heir is not self._own[0]:
            heir.close()

    # The lock

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take its lock, as that does.

        Args:
            blocking: Wait; else only look.
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller holds it now.

        Raises:
            ValueError: It is closed, or the timeout makes no sense.

        Example:
            >>> Condition().acquire()
            True
        """
        return self._lock.acquire(blocking, timeout)

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Take its lock as a task, as that does.

        Args:
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller holds it now.

        Raises:
            ValueError: It is closed, or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Condition().acquire_async())
            True
        """
        return await self._lock.acquire_async(timeout)

    def release(self) -> None:
        """Give its lock back.

        Raises:
            RuntimeError: The caller does not hold it.
            ValueError: It is closed.

        Example:
            >>> news = Condition()
            >>> news.acquire()
            True
            >>> news.release()
        """
        self._lock.release()

    def locked(self) -> bool:
        """Return whether anybody holds its lock, dead or alive.

        Raises:
            ValueError: It is closed.

        Example:
            >>> news = Condition()
            >>> with news:
            ...     news.locked()
            True
        """
        return self._lock.locked()

    def holder(self) -> Holder | None:
        """Tell who holds its lock, as that does.

        Returns:
            The process, since when, and whether it lives; ``None`` when nobody holds it.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Condition().holder() is None
            True
        """
        return self._lock.holder()

    @property
    def recovered(self) -> bool:
        """Whether the last acquisition of its lock took it from a holder that had died."""
        return self._lock.recovered

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    async def __aenter__(self) -> bool:
        return await self._lock.acquire_async()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    # News

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock back, sleep until there is news, and take the lock again.

        It is taken again whatever happens, also after the timeout, however long that takes.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            True when notified; False after the timeout.

        Raises:
            RuntimeError: The calling thread does not hold the lock; or more calls wait than the condition has room for,
                twice its ``max_participants``.
            KeyboardInterrupt: Ctrl-C; likewise whatever another signal handler raises.
            SegmentTruncated: Somebody truncated the file.
            ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.

        Example:
            >>> news = Condition()
            >>> with news:
            ...     news.wait(timeout=0.01)
            False
        """
        return self._wait(self._lock, timeout)

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until something is so, looking again after each notification.

        Args:
            predicate: Called with the lock held; what it returns counts as true or false.
            timeout: Seconds in all; ``None`` waits for ever.

        Returns:
            What the predicate returned last: false only after the timeout.

        Raises:
            RuntimeError: The calling thread does not hold the lock.
            ValueError: It is closed, or the timeout makes no sense.

        Example:
            >>> news = Condition()
            >>> with news:
            ...     news.wait_for(lambda: 6 * 7)
            42
        """
        deadline = _deadline(timeout)
        while not (result := predicate()):
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if left == 0:
                break
            if not self.wait(left):
                return predicate()
        return result

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Give the lock back, sleep until there is news, and take the lock again, as a task.

        The task must hold the lock by `acquire_async` or ``async with``. Also when it is cancelled it has the lock
        again before it goes on; news that had reached it goes to another one.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            True when notified; False after the timeout.

        Raises:
            RuntimeError: The task does not hold the lock, or there is no room for another wait.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     news = Condition()
            ...     async with news:
            ...         return await news.wait_async(timeout=0.01)
            >>> asyncio.run(main())
            False
        """
        owner = aio.task_number()
        pending = self._begin_wait(self._lock, owner)
        depth = self._lock.depth if isinstance(self._lock, RLock) else 1
        for _ in range(depth):
            self._lock.release()
        try:
            try:
                await aio.finished(self, pending, timeout)
            finally:
                await self._take_again(depth)
        except BaseException:
            if self._end_wait(pending):
                # The exception takes the task elsewhere: the news is for another one.
                self._notify_as(self._lock, owner, 1)
            raise
        return self._end_wait(pending)

    async def _take_again(self, depth: int) -> None:
        """Take the lock, also from the dead, and whatever else is asked of the task meanwhile."""
        from asyncio import CancelledError

        cancelled = None
        taken = 0
        while taken < depth:
            try:
                await self._heir.acquire_async()
                taken += 1
            except CancelledError as error:
                # Whoever leaves an `async with` block releases the lock, so it must have it.
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def wait_for_async(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until something is so, as a task, looking again after each notification.

        Args:
            predicate: Called with the lock held; what it returns counts as true or false.
            timeout: Seconds in all; ``None`` waits for ever.

        Returns:
            What the predicate returned last: false only after the timeout.

        Raises:
            RuntimeError: The task does not hold the lock.
            ValueError: It is closed, or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     news = Condition()
            ...     async with news:
            ...         return await news.wait_for_async(lambda: 6 * 7)
            >>> asyncio.run(main())
            42
        """
        deadline = _deadline(timeout)
        while not (result := predicate()):
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if left == 0:
                break
            if not await self.wait_async(left):
                return predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Tell some of those who wait that there is news: those who have waited the longest.

        Args:
            n: How many.

        Raises:
            RuntimeError: Neither the calling thread nor the running task holds the lock.
            ValueError: It is closed.

        Example:
            >>> news = Condition()
            >>> news.notify()
            Traceback (most recent call last):
            RuntimeError: the lock of a condition must be held to wait or to notify
        """
        task = self._lock._holding_task() if isinstance(self._lock, RLock) else None
        if task is None:
            self._notify(self._lock, n)
        else:
            self._notify_as(self._lock, task, n)

    def notify_all(self) -> None:
        """Tell all who wait that there is news.

        Raises:
            RuntimeError: Neither the calling thread nor the running task holds the lock.
            ValueError: It is closed.

        Example:
            >>> news = Condition()
            >>> with news:
            ...     news.notify_all()
        """
        self.notify(ALL)

    def _roles(self) -> dict[int, str]:
        # Those who hold another lock are known by other tags, in another segment.
        holders = self._lock._roles() if self._own[0] is None else {}
        return dict.fromkeys(self._waiters(), "waiter") | holders

    def _count_waiting(self) -> int:
        described = (self._segment.describe(tag) for tag in self._waiters())
        return sum(who is not None and who.alive for who in described)

    def stats(self) -> ConditionStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Condition().stats()
            ConditionStats(waiting=0, locked=False, participants=1)
        """
        participants = self._count_participants()
        return ConditionStats(self._count_waiting(), self._lock.locked(), participants)

    def _state(self) -> str:
        return f"waiting={self._count_waiting()}, lock {self._lock._state()}"


#: More than can wait.
ALL = 2**32 - 1


def _deadline(timeout: float | None) -> float | None:
    opening.check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def _identity(lock: Lock | RLock | None) -> str | None:
    """Return what tells a lock from all others, in every process."""
    if lock is None:
        return None
    if not isinstance(lock, Lock | RLock):
        raise TypeError(f"the lock of a condition is a samemap Lock or RLock, not {type(lock).__name__}")
    return f"{lock._segment.id}:{lock._offset}"
