"""`Semaphore` and `BoundedSemaphore`: permits, which come back when those who took them die."""

from __future__ import annotations

import operator

from . import aio
from ._core import Semaphore as Compiled
from .errors import SegmentMismatch
from .ownership import shares
from .records import Record
from .segments import STATE, SegmentObject

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, Literal, Self, TypeAlias, Unpack

    from ._core import Segment
    from .records import Share
    from .segments import Making, Name, Options, Plan

    WithDead: TypeAlias = Literal["return", "keep"]

__all__ = ["BoundedSemaphore", "Semaphore", "SemaphoreStats"]

#: Permits at the start: one less than 32 bits name.
MOST = 2**32 - 2


class SemaphoreStats(Record):
    """What is known of a semaphore, at one moment.

    Attributes:
        value: How many permits are left.
        initial: How many there were at the start.
        bound: How many there can be at most; ``None`` where there is no bound.
        holders: Who has taken permits; empty where ``on_owner_death="keep"``, which does not remember it.
        waiting: How many threads and tasks sleep for a permit.
        participants: How many living processes have it open for more than looking.
    """

    value: int
    initial: int
    bound: int | None
    holders: tuple[Share, ...]
    waiting: int
    participants: int


class _Permits(SegmentObject, Compiled):
    """What both kinds have."""

    __slots__ = STATE
    _kind = "Semaphore"
    _is_bounded: ClassVar[bool]

    def __new__(
        cls,
        name: Name = None,
        value: int | None = None,
        *,
        on_owner_death: WithDead | None = None,
        **options: Unpack[Options],
    ) -> Self:
        return cls._make("open-or-create", name, (), cls._plan(value, on_owner_death), **options)

    @classmethod
    def create(
        cls, name: Name, value: int = 1, *, on_owner_death: WithDead = "return", **options: Unpack[Making]
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for the class.
            value: How many permits there are at the start, 0 to 4294967294.
            on_owner_death: As for the class.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The semaphore.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: ``value`` is out of range, or another argument makes no sense.

        Example:
            >>> gpus = Semaphore.create(None, 4)
            >>> gpus.value
            4
            >>> gpus.close()
        """
        return cls._make("create", name, (), cls._plan(value, on_owner_death), **options)

    @classmethod
    def _plan(cls, value: int | None, on_owner_death: WithDead | None) -> Plan:
        if on_owner_death not in (None, "return", "keep"):
            raise ValueError(f"on_owner_death of a semaphore is 'return' or 'keep', not {on_owner_death!r}")
        permits = operator.index(1 if value is None else value)
        if not 0 <= permits <= MOST:
            raise ValueError(f"a semaphore has 0 to {MOST} permits at the start, not {permits}")
        bound = permits if cls._is_bounded else None
        fields = {"value": permits, "bound": bound, "on_owner_death": on_owner_death or "return"}
        given = {"value": value, "on_owner_death": on_owner_death}
        parameters = (permits, -1 if bound is None else bound, int(on_owner_death == "keep"))
        return fields, {field: wanted for field, wanted in given.items() if wanted is not None}, parameters

    def _fields(self) -> Mapping[str, object]:
        return {"value": self.initial, "bound": self.bound, "on_owner_death": self.on_owner_death}

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset)

    def _check(self) -> None:
        if (self.bound is not None) != self._is_bounded:
            kind, other = ("BoundedSemaphore", "Semaphore")[:: -1 if self._is_bounded else 1]
            raise SegmentMismatch(
                f"{self._called()} has bound={self.bound}, so it is a {kind}, not a {other}: open it as such"
            )

    @property
    def on_owner_death(self) -> WithDead:
        """What becomes of the permits of the dead: ``"return"``: they come back; ``"keep"``: they are lost."""
        return "keep" if self.keep else "return"

    def get_value(self) -> int:
        """Return how many permits are left, as `value` does; for those who come from ``multiprocessing``.

        Returns:
            The number of permits.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Semaphore(value=3).get_value()
            3
        """
        return self.value

    def holders(self) -> list[Share]:
        """List who has taken permits.

        Returns:
            A record for each process; none where ``on_owner_death="keep"``: such a semaphore does not remember them.

        Raises:
            ValueError: It is closed.

        Example:
            >>> gpus = Semaphore(value=3)
            >>> with gpus, gpus:
            ...     [share.count for share in gpus.holders()]
            [2]
        """
        return shares(self._segment, self._holders())

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Take a permit, as a task: without holding up the others of its event loop.

        A task that is cancelled while it waits takes none.

        Args:
            timeout: Seconds; ``None`` and -1 wait for ever.

        Returns:
            Whether the caller has one more permit now.

        Raises:
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Semaphore(value=0).acquire_async(timeout=0.01))
            False
        """
        return await aio.acquired(self, self._begin_acquire(), timeout)

    async def __aenter__(self) -> bool:
        return await self.acquire_async()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _roles(self) -> dict[int, str]:
        return {tag: "holder" for tag, _ in self._holders()}

    def stats(self) -> SemaphoreStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Semaphore(value=3).stats()
            SemaphoreStats(value=3, initial=3, bound=None, holders=(), waiting=0, participants=1)
        """
        participants = self._count_participants()
        return SemaphoreStats(
            self.value, self.initial, self.bound, tuple(self.holders()), self._count_waiting(), participants
        )

    def _state(self) -> str:
        bound = "" if self.bound is None else f" of {self.bound}"
        return f"value={self.value}{bound}"


class Semaphore(_Permits):
    """Permits that processes take and give back; those of the dead come back.

    ``with semaphore:`` takes a permit and gives it back, as with ``threading.Semaphore``; `close` closes it.
    ``Semaphore(name)`` opens it, or creates it when it is missing; `create` and `open` insist.

    Args:
        name: As for `Lock`.
        value: How many permits there are at the start, 0 to 4294967294; 1 when it is created and none is given. One
            that exists must have been made with as many; ``None`` takes it as it is.
        on_owner_death: What becomes of the permits of a process that dies: ``"return"``: they come back within 100 ms;
            ``"keep"``: they are lost, because permits are messages here, which one process sends and another takes.
            ``"return"`` when it is created and none is given.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else, or a `BoundedSemaphore`; a ``ValueError``.
        ValueError: It exists, and was made with other arguments; or they make no sense.

    Example:
        >>> gpus = Semaphore(value=2)
        >>> with gpus:
        ...     gpus.value
        1
        >>> gpus.close()
    """

    __slots__ = ()
    _noun = "Semaphore"
    _is_bounded = False


class BoundedSemaphore(_Permits):
    """A semaphore that never has more permits than at the start: to give back too many is an error.

    Otherwise as `Semaphore`; what exists as the one kind cannot be opened as the other.

    Args:
        name: As for `Lock`.
        value: How many permits there are, as for `Semaphore`.
        on_owner_death: As for `Semaphore`.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else, or a `Semaphore`; a ``ValueError``.
        ValueError: It exists, and was made with other arguments; or they make no sense.

    Example:
        >>> gpus = BoundedSemaphore(value=2)
        >>> gpus.release()
        Traceback (most recent call last):
        ValueError: semaphore released too many times: ...
        >>> gpus.close()
    """

    __slots__ = ()
    _noun = "BoundedSemaphore"
    _is_bounded = True
