"""Frozen records: what objects tell about themselves and their users."""

from __future__ import annotations

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, dataclass_transform

    transform = dataclass_transform(frozen_default=True)
else:

    def transform(cls):
        return cls


__all__ = ["Holder", "Record", "Share"]


@transform
class Record:
    """A record of named fields that never change; equal to another of its kind with equal fields.

    A subclass lists its fields as annotations. Not ``dataclasses``, whose import costs more than all of samemap.
    """

    #: The fields, in order.
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *(name for name in cls.__annotations__ if name not in cls._names))

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = type(self)._names
        given = dict(zip(fields, values, strict=False)) | named
        if len(values) + len(named) != len(fields) or given.keys() != set(fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(fields)}")
        # Not one by one: that is what a frozen record refuses.
        self.__dict__.update((field, given[field]) for field in fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is a record of what was: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is a record of what was: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


class Holder(Record):
    """Who holds a lock, at one moment.

    Attributes:
        pid: Its number, as it saw itself: in another pid namespace that may be another process. ``None`` where the
            roster does not know it any more.
        command: Its command line, or the beginning of it; ``None`` as for ``pid``.
        since: When it took the lock, in seconds since 1970, to some milliseconds.
        alive: Whether it lives; a stopped process does. When it does not, the next to acquire takes the lock over.
        thread: The kernel's number of its thread (``threading.get_native_id``), where the lock is a thread's;
            ``None`` where it is the whole process's, or an asyncio task's.
    """

    pid: int | None
    command: str | None
    since: float
    alive: bool
    thread: int | None


class Share(Record):
    """A process that has some of what several can have at once: permits, or a lock for reading.

    Attributes:
        pid: Its number, as it saw itself; ``None`` where the roster does not know it any more.
        command: Its command line, or the beginning of it; ``None`` as for ``pid``.
        alive: Whether it lives. What the dead had goes back when somebody needs it.
        count: How many it has.
    """

    pid: int | None
    command: str | None
    alive: bool
    count: int
