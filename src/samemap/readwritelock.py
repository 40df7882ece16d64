"""`ReadWriteLock`: many who read, or one who writes."""

from __future__ import annotations

from . import aio
from ._core import ReadWriteLock as Compiled
from .ownership import Owned, Within, holder_in_words, raises, shares
from .records import Record
from .segments import STATE

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from ._core import Segment
    from .records import Holder, Share

__all__ = ["ReadWriteLock", "ReadWriteLockStats"]


class ReadWriteLockStats(Record):
    """What is known of a lock for reading or writing, at one moment.

    Attributes:
        writer: Who writes, or waits for the last readers to leave; ``None`` when nobody does.
        readers: Who reads; ``count`` is the number of its threads and tasks that do.
        waiting: How many threads and tasks sleep for it.
        recoveries: How often it was taken over from a writer that had died.
        sleeps: How often somebody had to sleep to write.
        participants: How many living processes have it open for more than looking.
    """

    writer: Holder | None
    readers: tuple[Share, ...]
    waiting: int
    recoveries: int
    sleeps: int
    participants: int


class ReadWriteLock(Owned, Compiled):
    """A lock between processes that many hold for reading, or one for writing; it survives the death of any holder.

    ``with lock.reading():`` and ``with lock.writing():`` acquire and release it; both work with ``async with`` too.
    The lock itself is no context manager. A writer that waits keeps new readers out, so that it gets its turn.
    As with `Lock` it is the process that writes; of those who read, each thread and task counts.

    When a writer dies, the next to acquire it, for whichever, gets it within 100 ms, and ``recovered`` tells it so.
    Readers that die are no longer counted.

    Args:
        name: As for `Lock`.
        on_owner_death: What this handle does when a writer has died: ``"recover"`` takes the lock over, ``"raise"``
            raises `OwnerDied`.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.

    Example:
        >>> table = ReadWriteLock()
        >>> with table.reading(), table.reading():
        ...     table.acquire_write(blocking=False)
        False
        >>> with table.writing():
        ...     table.acquire_read(blocking=False)
        False
        >>> table.close()
    """

    __slots__ = STATE
    _kind = _noun = "ReadWriteLock"

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset, raises(*own))

    def reading(self, timeout: float | None = None) -> Within[Self]:
        """Return a context manager that holds the lock for reading.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            For ``with`` and ``async with``; the block gets the lock.

        Raises:
            AcquireTimeout: When entered: somebody wrote for all that time. A ``TimeoutError``.

        Example:
            >>> with ReadWriteLock().reading() as table:
            ...     len(table.readers())
            1
        """
        return Within(self, self.acquire_read, self.acquire_read_async, self.release_read, timeout, self._late)

    def writing(self, timeout: float | None = None) -> Within[Self]:
        """Return a context manager that holds the lock for writing.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            For ``with`` and ``async with``; the block gets the lock.

        Raises:
            AcquireTimeout: When entered: others read or wrote for all that time. A ``TimeoutError``.

        Example:
            >>> with ReadWriteLock().writing() as table:
            ...     table.readers(), table.recovered
            ([], False)
        """
        return Within(self, self.acquire_write, self.acquire_write_async, self.release_write, timeout, self._late)

    async def acquire_read_async(self, timeout: float | None = None) -> bool:
        """Take the lock for reading, as a task: without holding up the others of its event loop.

        Args:
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller reads now.

        Raises:
            OwnerDied: As from `acquire_read`; likewise ``ValueError``.

        Example:
            >>> import asyncio
            >>> asyncio.run(ReadWriteLock().acquire_read_async())
            True
        """
        return await aio.acquired(self, self._begin_read(), timeout)

    async def acquire_write_async(self, timeout: float | None = None) -> bool:
        """Take the lock for writing, as a task: without holding up the others of its event loop.

        Args:
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller writes now.

        Raises:
            OwnerDied: As from `acquire_write`; likewise ``ValueError``.

        Example:
            >>> import asyncio
            >>> asyncio.run(ReadWriteLock().acquire_write_async())
            True
        """
        return await aio.acquired(self, self._begin_write(), timeout)

    def readers(self) -> list[Share]:
        """List who reads.

        Returns:
            A record for each process.

        Raises:
            ValueError: It is closed.

        Example:
            >>> table = ReadWriteLock()
            >>> with table.reading(), table.reading():
            ...     [reader.count for reader in table.readers()]
            [2]
        """
        return shares(self._segment, self._readers())

    def _held(self) -> tuple[int, float, int] | None:
        return self._writer()

    def _roles(self) -> dict[int, str]:
        roles = {tag: "reader" for tag, _ in self._readers()}
        if (writer := self._writer()) is not None:
            roles[writer[0]] = "writer"
        return roles

    def stats(self) -> ReadWriteLockStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> ReadWriteLock().stats()
            ReadWriteLockStats(writer=None, readers=(), waiting=0, recoveries=0, sleeps=0, participants=1)
        """
        participants = self._count_participants()
        readers = tuple(self.readers())
        return ReadWriteLockStats(self.holder(), readers, self._count_waiting(), *self.counts(), participants)

    def _state(self) -> str:
        if (writer := self.holder()) is not None:
            doing = "waited for by the writer" if self._is_draining() else "written by"
            return f"{doing} {holder_in_words(writer)}"
        readers = ", ".join(str(reader.pid) for reader in self.readers())
        return f"read by pid {readers}" if readers else "free"
