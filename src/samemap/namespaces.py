"""`Namespace`: many objects in one file."""

from __future__ import annotations

import operator

from .barriers import Barrier
from .conditions import Condition
from .counters import Counter
from .errors import SegmentMismatch
from .events import Event
from .locks import Lock, RLock
from .readwritelock import ReadWriteLock
from .records import Record
from .segments import NOTHING, STATE, Closing, refuse_disagreement
from .semaphores import BoundedSemaphore, Semaphore

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, TypeVar, Unpack

    from ._core import Participant, Segment
    from .barriers import Action
    from .ownership import OnOwnerDeath
    from .segments import Making, Name, Options, Plan, SegmentObject
    from .semaphores import WithDead

    T = TypeVar("T", bound=SegmentObject)

__all__ = ["Namespace", "NamespaceStats"]

#: Bytes for the objects of a namespace that is told nothing else.
USUAL_SIZE = 1 << 20


class NamespaceStats(Record):
    """What is known of a namespace, at one moment.

    Attributes:
        size: Bytes for its objects and their names.
        objects: How many objects it has.
        participants: How many living processes have it open for more than looking.
    """

    size: int
    objects: int
    participants: int


class Namespace(Closing):
    """Up to 256 objects by name in one file, so that a program with a hundred locks needs no hundred files.

    ``namespace.lock("a")`` opens the lock ``a`` in it, or creates it when it is missing; likewise for all other kinds.
    The same name gives the same object. An object has a handle of its own: it stays usable after the namespace is
    closed, and is closed by itself. Objects are never removed: they go with the file.

    ``with namespace:`` closes it at the end. ``Namespace(name)`` opens it, or creates it when it is missing; `create`
    and `open` insist.

    Args:
        name: As for `Lock`.
        size: Bytes for all objects and their names; 1 MiB when it is created and none is given. A lock takes 64, a
            semaphore 64 for each of ``max_participants``. One that exists must have been made with as many; ``None``
            takes it as it is.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.
        ValueError: It exists, and was made with another size; or ``size`` is out of range.

    Example:
        >>> with Namespace() as jobs:
        ...     with jobs.lock("queue"):
        ...         jobs.counter("done").add()
        ...     list(jobs)
        1
        ['queue', 'done']
    """

    __slots__ = (*STATE, "_objects")
    _kind = _noun = "Namespace"
    #: Those that this handle has given out, by name.
    _objects: dict[str, SegmentObject]

    def __new__(  # noqa: D102 - the class describes it
        cls, name: Name = None, *, size: int | None = None, **options: Unpack[Options]
    ) -> Self:
        return cls._make("open-or-create", name, (), cls._plan(size), **options)

    @classmethod
    def create(cls, name: Name, *, size: int = USUAL_SIZE, **options: Unpack[Making]) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            size: As for the class.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The namespace, empty.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: ``size`` is out of range.

        Example:
            >>> Namespace.create(None, size=1 << 16).names()
            []
        """
        return cls._make("create", name, (), cls._plan(size), **options)

    @classmethod
    def _plan(cls, size: int | None) -> Plan:
        room = operator.index(USUAL_SIZE if size is None else size)
        if room < 1:
            raise ValueError(f"size of a namespace is a number of bytes, at least 1, not {room}")
        return {"size": room}, {} if size is None else {"size": room}, (room, 0, 0)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        namespace = object.__new__(cls)
        namespace._objects = {}
        return namespace

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._segment.closed

    def close(self) -> None:
        """Close it; the objects that it gave out stay open. Closing twice is fine.

        Other processes do not notice, and nothing is deleted.

        Example:
            >>> jobs = Namespace()
            >>> queue = jobs.lock("queue")
            >>> jobs.close()
            >>> jobs.closed, queue.closed
            (True, False)
        """
        self._segment.close()

    def names(self) -> list[str]:
        """List the names of its objects, whoever made them.

        Returns:
            The names, in the order in which they were made.

        Raises:
            ValueError: It is closed.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.event("stop").set()
            ...     jobs.names()
            ['stop']
        """
        return [name for name, _, _ in self._segment.objects()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._segment.objects())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._segment.find(name) is not None

    def __bool__(self) -> bool:
        # An empty one is there all the same.
        return True

    def _get(self, kind: type[T], name: str, own: tuple[Any, ...] = (), plan: Plan = NOTHING) -> T:
        """Return the object of that name; make it when it is missing."""
        _, given, parameters = plan
        known = self._objects.get(name)
        if known is None or known.closed:
            found = self._segment.find(name)
            if found is None:
                offset = self._segment.add(name, kind._kind, parameters)
            elif found[0] == kind._kind:
                offset = found[1]
            else:
                raise SegmentMismatch(f"{name!r} in {self._called()} is of kind {found[0]}, not {kind._kind}")
            made = kind._attach(self._segment.again(), offset, self._name, name, own)
            # Two threads at once: both get what the first has put there.
            known = self._objects.setdefault(name, made) if known is None else made
            self._objects[name] = known
            if known is not made:
                made.close()
        if type(known) is not kind:
            raise SegmentMismatch(f"{name!r} in {self._called()} is of kind {type(known)._noun}, not {kind._noun}")
        refuse_disagreement(known._called(), known._fields(), given)
        if known._own != own:
            raise ValueError(f"{known._called()} is open here with {known._own}, not {own}; close it first")
        return known

    def lock(self, name: str, *, on_owner_death: OnOwnerDeath = "recover") -> Lock:
        """Open the `Lock` of that name in it, or create it.

        Args:
            name: 1 to 48 bytes when encoded.
            on_owner_death: As for `Lock`.

        Returns:
            The lock.

        Raises:
            SegmentMismatch: The name is of another kind; a ``ValueError``.
            ValueError: It is closed or full, or the name is none; or the lock is open here with another
                ``on_owner_death``.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.lock("queue") is jobs.lock("queue")
            True
        """
        return self._get(Lock, name, (on_owner_death,))

    def rlock(self, name: str, *, on_owner_death: OnOwnerDeath = "recover") -> RLock:
        """Open the `RLock` of that name in it, or create it.

        Args:
            name: As for `lock`.
            on_owner_death: As for `Lock`.

        Returns:
            The lock.

        Raises:
            ValueError: As from `lock`.

        Example:
            >>> with Namespace() as jobs, jobs.rlock("queue") as held:
            ...     held
            True
        """
        return self._get(RLock, name, (on_owner_death,))

    def read_write_lock(self, name: str, *, on_owner_death: OnOwnerDeath = "recover") -> ReadWriteLock:
        """Open the `ReadWriteLock` of that name in it, or create it.

        Args:
            name: As for `lock`.
            on_owner_death: As for `ReadWriteLock`.

        Returns:
            The lock.

        Raises:
            ValueError: As from `lock`.

        Example:
            >>> with Namespace() as jobs:
            ...     with jobs.read_write_lock("table").reading() as table:
            ...         len(table.readers())
            1
        """
        return self._get(ReadWriteLock, name, (on_owner_death,))

    def semaphore(self, name: str, value: int | None = None, *, on_owner_death: WithDead | None = None) -> Semaphore:
        """Open the `Semaphore` of that name in it, or create it.

        Args:
            name: As for `lock`.
            value: As for `Semaphore`.
            on_owner_death: As for `Semaphore`.

        Returns:
            The semaphore.

        Raises:
            ValueError: As from `lock`; or it was made with other arguments, or they make no sense.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.semaphore("gpus", 4).value
            4
        """
        return self._get(Semaphore, name, (), Semaphore._plan(value, on_owner_death))

    def bounded_semaphore(
        self, name: str, value: int | None = None, *, on_owner_death: WithDead | None = None
    ) -> BoundedSemaphore:
        """Open the `BoundedSemaphore` of that name in it, or create it.

        Args:
            name: As for `lock`.
            value: As for `Semaphore`.
            on_owner_death: As for `Semaphore`.

        Returns:
            The semaphore.

        Raises:
            ValueError: As from `lock`; or it was made with other arguments, or they make no sense.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.bounded_semaphore("gpus", 4).bound
            4
        """
        return self._get(BoundedSemaphore, name, (), BoundedSemaphore._plan(value, on_owner_death))

    def event(self, name: str) -> Event:
        """Open the `Event` of that name in it, or create it.

        Args:
            name: As for `lock`.

        Returns:
            The event.

        Raises:
            ValueError: As from `lock`.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.event("stop").is_set()
            False
        """
        return self._get(Event, name)

    def condition(self, name: str, lock: Lock | RLock | None = None) -> Condition:
        """Open the `Condition` of that name in it, or create it.

        Args:
            name: As for `lock`.
            lock: As for `Condition`; nobody checks here that all give the same.

        Returns:
            The condition.

        Raises:
            ValueError: As from `lock`; or it is open here with another lock.

        Example:
            >>> with Namespace() as jobs:
            ...     with jobs.condition("changed", jobs.lock("queue")) as held:
            ...         jobs.lock("queue").locked()
            True
        """
        return self._get(Condition, name, (lock,), Condition._plan(lock))

    def barrier(self, name: str, parties: int, action: Action | None = None, timeout: float | None = None) -> Barrier:
        """Open the `Barrier` of that name in it, or create it.

        Args:
            name: As for `lock`.
            parties: As for `Barrier`.
            action: As for `Barrier`.
            timeout: As for `Barrier`.

        Returns:
            The barrier.

        Raises:
            ValueError: As from `lock`; or it was made for other parties, or is open here with another action or
                timeout.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.barrier("start", 3).parties
            3
        """
        return self._get(Barrier, name, (action, timeout), Barrier._plan(parties))

    def counter(self, name: str, value: int | None = None) -> Counter:
        """Open the `Counter` of that name in it, or create it.

        Args:
            name: As for `lock`.
            value: What it starts with when it is made now; 0 when ``None``.

        Returns:
            The counter.

        Raises:
            ValueError: As from `lock`.
            OverflowError: ``value`` does not fit into 64 bits.

        Example:
            >>> with Namespace() as jobs:
            ...     jobs.counter("done", 7).add()
            8
        """
        return self._get(Counter, name, (), Counter._plan(value))

    def participants(self) -> list[Participant]:
        """List the processes that have it open for more than looking, or any of its objects.

        Returns:
            A record each; ``role`` is ``"waiter"`` where a thread or task of it sleeps for one of the objects, else
            ``"idle"``.

        Raises:
            ValueError: It is closed.

        Example:
            >>> with Namespace() as jobs:
            ...     [who.role for who in jobs.participants()]
            ['idle']
        """
        return [someone._with_role("waiter" if someone.waiting else "idle") for someone in self._segment.participants()]

    def stats(self) -> NamespaceStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> with Namespace(size=1 << 16) as jobs:
            ...     jobs.stats()
            NamespaceStats(size=65536, objects=0, participants=1)
        """
        size = self._fields().get("size")
        return NamespaceStats(size if isinstance(size, int) else 0, len(self), self._count_participants())

    def _state(self) -> str:
        count = len(self)
        return f"{count} object{'' if count == 1 else 's'}"
