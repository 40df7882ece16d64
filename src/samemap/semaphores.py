"""`Semaphore` and `BoundedSemaphore`: permits, which come back when those who took them die."""

from __future__ import annotations

from . import _core, aio
from .ownership import shares
from .records import Record
from .segments import STATE, SegmentObject

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, Literal, Self, TypeAlias, Unpack

    from .records import Share
    from .segments import Making, Name, Options

    WithDead: TypeAlias = Literal["return", "keep"]

__all__ = ["BoundedSemaphore", "Semaphore", "SemaphoreStats"]


class SemaphoreStats(Record):
    """What is known of a semaphore, at one moment.

    Attributes:
        value: How many permits are left.
        initial: How many there were at the start.
        bound: How many there can be at most; ``None`` where there is no bound.
        holders: Who has taken permits; empty where ``on_owner_death="keep"``, which does not remember it.
        waiting: How many threads and tasks sleep for a permit.
        participants: How many processes have it open for more than looking.
    """

    value: int
    initial: int
    bound: int | None
    holders: tuple[Share, ...]
    waiting: int
    participants: int


class _Permits(SegmentObject, _core.Semaphore):
    """What both kinds have."""

    __slots__ = ()
    _kind = "Semaphore"
    _is_bounded: ClassVar[bool]

    def __new__(  # noqa: D102 - the classes describe it
        cls,
        name: Name = None,
        value: int | None = None,
        *,
        on_owner_death: WithDead | None = None,
        **options: Unpack[Options],
    ) -> Self:
        return cls._make("open-or-create", name, (), *cls.plan(value, on_owner_death), **options)

    @classmethod
    def create(
        cls, name: Name, value: int = 1, *, on_owner_death: WithDead = "return", **options: Unpack[Making]
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for the class.
            value: How many permits there are, 0 to 4294967294.
            on_owner_death: As for the class.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The semaphore.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: ``value`` is out of range, or another argument makes no sense.

        Example:
            >>> from samemap import Semaphore
            >>> gpus = Semaphore.create(None, 4)
            >>> gpus.value
            4
        """
        return cls._make("create", name, (), *cls.plan(value, on_owner_death), **options)

    @classmethod
    def plan(
        cls, value: int | None, on_owner_death: WithDead | None
    ) -> tuple[Mapping[str, object], Mapping[str, object], tuple[int, int, int]]:
        raise NotImplementedError
