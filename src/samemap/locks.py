"""`Lock` and `RLock`: one holder at a time, also when the holder dies."""

from __future__ import annotations

from . import aio
from ._core import Lock as CompiledLock
from ._core import RLock as CompiledRLock
from .ownership import Owned, Within, holder_in_words, raises
from .records import Record
from .segments import STATE

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from ._core import Pending, Segment
    from .records import Holder

__all__ = ["Lock", "LockStats", "RLock"]


class LockStats(Record):
    """What is known of a lock, at one moment.

    Attributes:
        locked: Whether anybody holds it, dead or alive.
        holder: Who does; ``None`` when nobody does.
        depth: How many times its holder has taken it; at most 1 of a `Lock`.
        waiting: How many threads and tasks sleep for it.
        recoveries: How often it was taken over from a holder that had died.
        sleeps: How often somebody had to sleep for it.
        participants: How many living processes have it open for more than looking.
    """

    locked: bool
    holder: Holder | None
    depth: int
    waiting: int
    recoveries: int
    sleeps: int
    participants: int


class _Mutex(Owned):
    """What both kinds have, beside the compiled class."""

    __slots__ = ()

    if TYPE_CHECKING:

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool: ...
        def release(self) -> None: ...
        def counts(self) -> tuple[int, int]: ...
        def _holder(self) -> tuple[int, float, int] | None: ...

    def _begin(self) -> Pending[bool]:
        raise NotImplementedError

    def within(self, timeout: float | None) -> Within[Self]:
        """Return a context manager that holds the lock, or raises when it cannot be had in time.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            For ``with`` and ``async with``; the block gets the lock.

        Raises:
            AcquireTimeout: When entered: somebody else held it for all that time; the error says who, and since when. A
                ``TimeoutError``.

        Example:
            >>> lock = Lock()
            >>> with lock.within(1):
            ...     with lock.within(0.01):
            ...         pass
            Traceback (most recent call last):
            samemap.errors.AcquireTimeout: Lock anonymous could not be had within 0.01 s: pid ... holds it since ...
        """
        return Within(self, self.acquire, self.acquire_async, self.release, timeout, self._late)

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Take the lock, as a task: without holding up the others of its event loop.

        A task that is cancelled while it waits does not have the lock.

        Args:
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller holds it now.

        Raises:
            OwnerDied: Its holder died, and this handle was opened with ``on_owner_death="raise"``.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> lock = Lock()
            >>> asyncio.run(lock.acquire_async()), asyncio.run(lock.acquire_async(timeout=0.01))
            (True, False)
        """
        return await aio.acquired(self, self._begin(), timeout)

    async def __aenter__(self) -> bool:
        return await self.acquire_async()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _held(self) -> tuple[int, float, int] | None:
        return self._holder()

    def _roles(self) -> dict[int, str]:
        held = self._holder()
        return {} if held is None else {held[0]: "holder"}

    def _depth(self) -> int:
        return int(self._holder() is not None)

    def stats(self) -> LockStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Lock().stats()
            LockStats(locked=False, holder=None, depth=0, waiting=0, recoveries=0, sleeps=0, participants=1)
        """
        holder = self.holder()
        recoveries, sleeps = self.counts()
        participants = self._count_participants()
        return LockStats(
            holder is not None, holder, self._depth(), self._count_waiting(), recoveries, sleeps, participants
        )

    def _state(self) -> str:
        holder = self.holder()
        if holder is None:
            return "free"
        times = f" {depth} times" if (depth := self._depth()) > 1 else ""
        return f"held{times} by {holder_in_words(holder)}"


class Lock(_Mutex, CompiledLock):
    """A lock between processes, of which one holds it at a time; it survives the death of its holder.

    It is the whole process that holds it: its threads exclude each other with it, too, and any of them may release
    it. ``with lock:`` acquires and releases it, as with ``threading.Lock``; `close` closes it. ``Lock(name)`` opens
    it, or creates it when it is missing; `create` and `open` insist.

    When its holder dies, however it dies, the next to acquire it gets it within 100 ms, and ``lock.recovered`` tells
    that what the lock guards may be half done.

    Args:
        name: A plain name is a file in the runtime directory (``/dev/shm/samemap-UID``); anything with a ``/``, or an
            ``os.PathLike``, is that file; ``None`` is anonymous: for children, and whoever gets it by `send_handle`.
        on_owner_death: What this handle does when the holder is dead: ``"recover"`` takes the lock over, ``"raise"``
            raises `OwnerDied` until somebody calls `recover`.
        options: ``perm`` (permission bits of a new file, exactly; 0o600), ``max_participants`` (how many processes at
            once a new one has room for; 128), ``follow_symlinks`` and ``any_owner`` (accept a symbolic link, or a file
            of another user; both False).

    Raises:
        PermissionError: The file belongs to another user, or this user may not open it.
        OSError: ``ENOSPC``: there is no room for it; ``EUSERS``: as many processes as it has room for take part.
        SegmentMismatch: The file is something else, or of a format that this version does not know; a ``ValueError``.
        ValueError: A name that is none, or other arguments that make no sense.

    Example:
        >>> lock = Lock("doc-jobs")
        >>> with lock:
        ...     lock.locked(), lock.recovered
        (True, False)
        >>> lock.unlink()
        >>> lock.close()
    """

    __slots__ = STATE
    _kind = _noun = "Lock"

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return CompiledLock.__new__(cls, segment, offset, raises(*own))

    def _begin(self) -> Pending[bool]:
        return self._begin_acquire()


class RLock(_Mutex, CompiledRLock):
    """A lock between processes that its holder can take again, and must release as often.

    Its holder is one thread of one process, or one asyncio task where it was acquired with `acquire_async` or
    ``async with``. ``with lock:`` acquires and releases it, as with ``threading.RLock``; `close` closes it. After
    the death of its holder it goes on as a `Lock` does.

    Args:
        name: As for `Lock`.
        on_owner_death: As for `Lock`.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.

    Example:
        >>> lock = RLock()
        >>> with lock, lock:
        ...     lock.depth
        2
        >>> lock.close()
    """

    __slots__ = STATE
    _kind = _noun = "RLock"

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return CompiledRLock.__new__(cls, segment, offset, raises(*own))

    def _begin(self) -> Pending[bool]:
        return self._begin_acquire(aio.task_number())

    def release(self) -> None:
        """Give the lock back once; it is free when that was done as often as it was taken.

        A task gives back what it took with `acquire_async`; anybody else what the thread took.

        Raises:
            RuntimeError: Neither this thread nor the running task holds it; the message says who does.
            ValueError: It is closed.

        Example:
            >>> lock = RLock()
            >>> lock.acquire(), lock.acquire()
            (True, True)
            >>> lock.release()
            >>> lock.depth
            1
        """
        try:
            super().release()
        except RuntimeError:
            if (task := self._holding_task()) is None:
                raise
            self._release_as(task)

    # What threading.Condition asks of a lock that can be taken more than once.

    def _release_save(self) -> int:
        depth = self.depth
        for _ in range(depth):
            self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        # Also from the dead: whoever leaves a `with` block releases the lock, so it must have it.
        self.recover()
        for _ in range(depth - 1):
            self.acquire()

    def _holding_task(self) -> int | None:
        """Return the number that the running task holds it by, if it does."""
        held = self._holder()
        if held is None or held[2] & aio.FIRST_TASK == 0:
            return None
        number = aio.running_task_number()
        return number if number == held[2] else None

    def _depth(self) -> int:
        return self.depth
