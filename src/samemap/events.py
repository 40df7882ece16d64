"""`Event`: a flag to wait for."""

from __future__ import annotations

from . import aio
from ._core import Event as Compiled
from .records import Record
from .segments import STATE, Closing

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, Unpack

    from ._core import Segment
    from .segments import Making, Name, Options

__all__ = ["Event", "EventStats"]


class EventStats(Record):
    """What is known of an event, at one moment.

    Attributes:
        is_set: Whether the flag is set.
        waiting: How many threads and tasks sleep for it.
        participants: How many living processes have it open for more than looking.
    """

    is_set: bool
    waiting: int
    participants: int


class Event(Closing, Compiled):
    """A flag between processes, which can be waited for.

    ``with event:`` closes it at the end. ``Event(name)`` opens it, or creates it when it is missing; `create` and
    `open` insist.

    Args:
        name: As for `Lock`.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.

    Example:
        >>> with Event() as ready:
        ...     ready.set()
        ...     ready.wait(timeout=1)
        True
    """

    __slots__ = STATE
    _kind = _noun = "Event"

    def __new__(cls, name: Name = None, **options: Unpack[Options]) -> Self:  # noqa: D102 - the class describes it
        return cls._make("open-or-create", name, **options)

    @classmethod
    def create(cls, name: Name, **options: Unpack[Making]) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The event, not set.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.

        Example:
            >>> Event.create(None).is_set()
            False
        """
        return cls._make("create", name, **options)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset)

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Sleep until the flag is set, as a task: without holding up the others of its event loop.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            True when it was set; False after the timeout.

        Raises:
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Event().wait_async(timeout=0.01))
            False
        """
        pending = self._begin_wait()
        return await aio.finished(self, pending, timeout) and pending.result()

    def stats(self) -> EventStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Event().stats()
            EventStats(is_set=False, waiting=0, participants=1)
        """
        return EventStats(self.is_set(), self._count_waiting(), self._count_participants())

    def _state(self) -> str:
        return "set" if self.is_set() else "not set"
