"""What locks have in common: someone who holds them, and may die with them."""

from __future__ import annotations

from . import aio, opening
from .errors import AcquireTimeout
from .records import Holder, Share
from .segments import SegmentObject

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Awaitable, Callable
    from typing import Generic, Literal, Self, TypeAlias, TypeVar, Unpack

    from ._core import Segment
    from .segments import Making, Mode, Name, Options, Trust

    OnOwnerDeath: TypeAlias = Literal["recover", "raise"]
    T = TypeVar("T", bound=SegmentObject)
else:
    # What the base of `Within` is at run time.
    T, Generic = None, {None: object}


__all__ = ["Owned", "Within", "holder_in_words", "holder_of", "raises", "shares"]


def raises(on_owner_death: str) -> bool:
    """Tell whether an acquire raises when the holder is dead; refuse what is no answer."""
    if on_owner_death not in ("recover", "raise"):
        raise ValueError(f"on_owner_death is 'recover' or 'raise', not {on_owner_death!r}")
    return on_owner_death == "raise"


def holder_of(segment: Segment, held: tuple[int, float, int] | None) -> Holder | None:
    """Describe who holds a lock.

    Args:
        segment: The segment.
        held: The holder's tag, since when, and its thread's number or 0; ``None`` when nobody holds it.

    Returns:
        Who it is, as far as the roster knows.
    """
    if held is None:
        return None
    tag, since, number = held
    # The kernel's number of the thread is the lower half; tasks have greater ones.
    low = number & 0xFFFF_FFFF
    thread = low if 0 < low < aio.FIRST_TASK else None
    someone = segment.describe(tag)
    if someone is None:
        return Holder(None, None, since, False, thread)
    return Holder(someone.pid, someone.command, since, someone.alive, thread)


def holder_in_words(holder: Holder) -> str:
    """Return what `repr` calls a holder."""
    if holder.pid is None:
        return "a process that is gone"
    return f"{'' if holder.alive else 'the dead '}pid {holder.pid}"


def shares(segment: Segment, held: list[tuple[int, int]]) -> list[Share]:
    """Describe who has some of what several can have.

    Args:
        segment: The segment.
        held: Tags, and how many each has.

    Returns:
        Who they are, as far as the roster knows.
    """
    return [
        Share(None, None, False, count)
        if someone is None
        else Share(someone.pid, someone.command, someone.alive, count)
        for someone, count in ((segment.describe(tag), count) for tag, count in held)
    ]


class Owned(SegmentObject):
    """An object that one holds who may die with it."""

    __slots__ = ()

    def __new__(  # noqa: D102 - the classes describe it
        cls, name: Name = None, *, on_owner_death: OnOwnerDeath = "recover", **options: Unpack[Options]
    ) -> Self:
        return cls._make("open-or-create", name, (on_owner_death,), **options)

    @classmethod
    def create(cls, name: Name, *, on_owner_death: OnOwnerDeath = "recover", **options: Unpack[Making]) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for the class.
            on_owner_death: As for the class.
            options: ``perm`` and ``max_participants``, as for the class.

        Returns:
            The lock, free.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.

        Example:
            >>> from samemap import Lock
            >>> lock = Lock.create("doc-create")
            >>> Lock.create("doc-create")
            Traceback (most recent call last):
            FileExistsError: [Errno 17] ...
            >>> lock.unlink()
            >>> lock.close()
        """
        return cls._make("create", name, (on_owner_death,), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        on_owner_death: OnOwnerDeath = "recover",
        wait: float | None = None,
        mode: Mode = "rw",
        **trust: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for the class.
            on_owner_death: As for the class.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only: who holds it, and who waits.
            trust: ``follow_symlinks`` and ``any_owner``, as for the class.

        Returns:
            The lock.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else; a ``ValueError``.

        Example:
            >>> from samemap import Lock
            >>> Lock.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        return cls._open(name, (on_owner_death,), wait=wait, mode=mode, **trust)

    @classmethod
    def recv_handle(cls, sock: socket.socket, *, on_owner_death: OnOwnerDeath = "recover") -> Self:
        """Receive a lock that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            on_owner_death: As for the class.

        Returns:
            The same lock; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of such a lock.

        Example:
            >>> import socket
            >>> from samemap import Lock
            >>> lock = Lock()
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, lock:
            ...     lock.send_handle(ours)
            ...     Lock.recv_handle(theirs, on_owner_death="raise").locked()
            True
        """
        return cls._receive(sock, (on_owner_death,))

    @property
    def on_owner_death(self) -> OnOwnerDeath:
        """What an acquire does when the holder is dead: ``"recover"`` takes the lock over, ``"raise"`` raises."""
        found: OnOwnerDeath = self._own[0]
        return found

    def _held(self) -> tuple[int, float, int] | None:
        """Return the tag of the one holder, since when, and its thread's number."""
        raise NotImplementedError

    def holder(self) -> Holder | None:
        """Tell who holds it, for reading at most: by the time it is read it may be another.

        Returns:
            The process, since when, and whether it lives; ``None`` when nobody holds it. Of a `ReadWriteLock` it is
            the writer.

        Raises:
            ValueError: The lock is closed.

        Example:
            >>> import os
            >>> from samemap import Lock
            >>> lock = Lock()
            >>> with lock:
            ...     lock.holder().pid == os.getpid()
            True
            >>> lock.holder() is None
            True
            >>> lock.close()
        """
        return holder_of(self._segment, self._held())

    def _late(self, seconds: float) -> AcquireTimeout:
        return AcquireTimeout(self._called(), seconds, self.holder())


class Within(Generic[T]):
    """Holds a lock in a ``with`` or ``async with`` block; raises `AcquireTimeout` when it cannot be had in time.

    Args:
        lock: The lock, which the block gets.
        acquire: Acquires it.
        acquire_async: Does so for a task.
        release: Gives it back.
        timeout: Seconds; ``None`` for ever.
        late: Makes the exception.
    """

    __slots__ = ("_acquire", "_acquire_async", "_late", "_lock", "_release", "_timeout")

    def __init__(
        self,
        lock: T,
        acquire: Callable[[bool, float | None], bool],
        acquire_async: Callable[[float | None], Awaitable[bool]],
        release: Callable[[], None],
        timeout: float | None,
        late: Callable[[float], AcquireTimeout],
    ) -> None:
        self._lock = lock
        self._acquire = acquire
        self._acquire_async = acquire_async
        self._release = release
        # Not as acquire, for which -1 is a time to wait: for ever.
        opening.check_timeout(timeout)
        self._timeout = timeout
        self._late = late

    def __enter__(self) -> T:
        if not self._acquire(True, self._timeout):
            raise self._late(self._timeout or 0)
        return self._lock

    def __exit__(self, *_: object) -> None:
        self._release()

    async def __aenter__(self) -> T:
        if not await self._acquire_async(self._timeout):
            raise self._late(self._timeout or 0)
        return self._lock

    async def __aexit__(self, *_: object) -> None:
        self._release()
