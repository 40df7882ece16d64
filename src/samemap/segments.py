"""`SegmentObject`: what all objects in segments have in common.

A segment is a self-describing file (or memory without a name) that holds one object, or a namespace of many. The
objects' classes derive from this one and from a compiled class, which has what must be quick.
"""

from __future__ import annotations

import os

from . import aio, departure, files, handles, opening, travel
from ._core import Segment
from .errors import SegmentMismatch
from .names import resolve

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any, ClassVar, Literal, Self, TypeAlias, TypedDict

    from ._core import Participant
    from .encodings import Codec

    Name: TypeAlias = str | os.PathLike[str] | None
    Mode: TypeAlias = Literal["r", "rw"]

    #: What something is made with, by name, for the schema; those of it that the caller insists on; and what the
    #: compiled half makes it with.
    Plan: TypeAlias = tuple[Mapping[str, object], Mapping[str, object], tuple[int, int, int]]

    class Making(TypedDict, total=False):
        """How the file of a new object is made."""

        perm: int
        max_participants: int

    class Trust(TypedDict, total=False):
        """Which files are opened."""

        follow_symlinks: bool
        any_owner: bool

    class Options(Making, Trust):
        """Both, for what opens or creates."""


__all__ = [
    "NOTHING",
    "STATE",
    "Closing",
    "Coded",
    "SegmentObject",
    "called_by_file",
    "fields_of",
    "is_ours",
    "refuse_disagreement",
]

#: The plan of what needs none.
NOTHING: Plan = ({}, {}, (0, 0, 0))

#: Entries that a roster has at most.
MOST_PARTICIPANTS = 1023

#: What instances remember; for the ``__slots__`` of the public classes, because a class with slots of its own cannot
#: stand beside a compiled one.
STATE = ("_entry", "_name", "_offset", "_own", "_segment")

departure.leave_at_exit()


class SegmentObject:
    """An object that processes share, in a segment of its own or in a namespace.

    The public classes derive from it; it cannot be made by itself.
    """

    if not TYPE_CHECKING:  # The classes have slots for what is set here, which a type checker does not see.
        __slots__ = ()

    #: The kind, as the segment says it.
    _kind: ClassVar[str]
    #: What people call it.
    _noun: ClassVar[str]
    #: The file, by a handle of this object's own.
    _segment: Segment
    #: What it was opened by.
    _name: str | None
    #: What it is called in its namespace; ``None`` when it has the segment for itself.
    _entry: str | None
    #: Where it is in the body, in bytes.
    _offset: int
    #: What this handle was told that is not shared: what to do after a death, the action of a barrier.
    _own: tuple[Any, ...]

    if TYPE_CHECKING:

        @property
        def closed(self) -> bool:
            """Whether `close` was called."""

    # Making

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        """Make the compiled half of an instance."""
        raise NotImplementedError

    @classmethod
    def _attach(cls, segment: Segment, offset: int, name: str | None, entry: str | None, own: tuple[Any, ...]) -> Self:
        thing = cls._over(segment, offset, *own)
        thing._segment, thing._offset, thing._name, thing._entry, thing._own = segment, offset, name, entry, own
        try:
            thing._check()
        except BaseException:
            thing.close()
            raise
        return thing

    def _check(self) -> None:
        """Refuse what is of this kind, and yet not of this class."""

    @classmethod
    def _make(
        cls,
        how: Literal["create", "open-or-create"],
        name: Name,
        own: tuple[Any, ...] = (),
        plan: Plan = NOTHING,
        *,
        perm: int = 0o600,
        max_participants: int = 128,
        follow_symlinks: bool = False,
        any_owner: bool = False,
    ) -> Self:
        """Create it, or open it if it exists.

        Args:
            how: Whether it may exist.
            name: As for the public classes.
            own: What is for this handle alone.
            plan: What it is made with.
            perm: Permission bits.
            max_participants: Entries of the roster.
            follow_symlinks: Accept a symbolic link.
            any_owner: Accept a file of any user.

        Returns:
            The object.
        """
        opening.check_perm(perm)
        opening.check_number("max_participants", max_participants, 1, MOST_PARTICIPANTS)
        path = None if name is None else resolve(name, create=True)
        manner: Literal["create", "open-or-create", "anonymous"] = "anonymous" if name is None else how
        fields, given, parameters = plan
        schema = _written(fields)

        def attempt() -> Segment:
            return Segment(
                path,
                manner,
                cls._kind,
                parameters,
                max_participants,
                schema,
                perm,
                True,
                follow_symlinks,
                any_owner,
                -1,
            )

        segment = opening.when_there(attempt, path, True, None)
        thing = cls._attach(segment, 0, None if name is None else os.fspath(name), None, own)
        if segment.schema != schema:
            thing._insist(given)
        return thing

    @classmethod
    def _open(
        cls,
        name: str | os.PathLike[str],
        own: tuple[Any, ...] = (),
        *,
        wait: float | None = None,
        mode: Mode = "rw",
        follow_symlinks: bool = False,
        any_owner: bool = False,
    ) -> Self:
        if name is None:
            raise ValueError("what is anonymous has no name to open: hand it over with send_handle, or inherit it")
        writable = opening.is_writable(mode)
        opening.check_wait(wait)
        path = resolve(name)

        def attempt() -> Segment:
            return _opened(path, cls._kind, writable, follow_symlinks, any_owner)

        segment = opening.when_there(attempt, path, False, wait)
        return cls._attach(segment, 0, os.fspath(name), None, own)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        wait: float | None = None,
        mode: Mode = "rw",
        follow_symlinks: bool = False,
        any_owner: bool = False,
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for the class.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only, which needs only the permission to read and does not take part.
            follow_symlinks: Accept a symbolic link as the last part of the path.
            any_owner: Accept a file that belongs neither to this user nor to root.

        Returns:
            The object.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else, or of a format that this version does not know; a
                ``ValueError``.

        Example:
            >>> from samemap import Event
            >>> Event.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        return cls._open(name, wait=wait, mode=mode, follow_symlinks=follow_symlinks, any_owner=any_owner)

    def _fields(self) -> Mapping[str, object]:
        """Return what it was made with, by name, as far as the segment tells."""
        return fields_of(self._segment) if self._entry is None else {}

    def _insist(self, given: Mapping[str, object]) -> None:
        """Close it, and raise, if it was not made with what the caller insists on."""
        try:
            refuse_disagreement(self._called(), self._fields(), given)
        except BaseException:
            self.close()
            raise

    # What it is

    @property
    def name(self) -> str | None:
        """The name it was opened by, in its namespace if it is in one; ``None`` when it came without a name."""
        return self._name if self._entry is None else self._entry

    @property
    def path(self) -> Path | None:
        """The file that it is in; ``None`` when it is anonymous."""
        return self._segment.path

    @property
    def mode(self) -> Mode:
        """``"rw"``, or ``"r"`` when it only looks."""
        return self._segment.mode

    def participants(self) -> list[Participant]:
        """List the processes that have it open for more than looking.

        Returns:
            A record each, the dead included until somebody needs their place. ``role`` says what a process does here:
            ``"holder"``, ``"waiter"`` (one of its threads or tasks sleeps for it), or ``"idle"``. In a namespace they
            are the participants of the whole namespace.

        Raises:
            ValueError: It is closed.
            SegmentTruncated: Somebody truncated the file.

        Example:
            >>> import os
            >>> from samemap import Lock
            >>> lock = Lock()
            >>> with lock:
            ...     [(who.pid == os.getpid(), who.role, who.alive) for who in lock.participants()]
            [(True, 'holder', True)]
            >>> lock.close()
        """
        roles = self._roles()
        places = self._places()
        return [
            someone._with_role(roles.get(someone._tag) or ("waiter" if someone._waiting_on in places else "idle"))
            for someone in self._segment.participants()
        ]

    def _roles(self) -> dict[int, str]:
        """Return what those do who do more than wait, by tag."""
        return {}

    def _places(self) -> set[int]:
        """Return the places that those sleep at who wait for it, in bytes from the start of the segment."""
        return {self._segment.body + self._offset}

    def _count_waiting(self) -> int:
        # The dead still stand in the roster as they fell asleep.
        places = self._places()
        return sum(who.waiting for who in self._segment.participants() if who._waiting_on in places and who.alive)

    def _count_participants(self) -> int:
        return sum(someone.alive for someone in self._segment.participants())

    def _state(self) -> str:
        """Return what `repr` tells of an open one."""
        raise NotImplementedError

    def _called(self) -> str:
        """Return what messages call it."""
        kind = type(self).__name__
        if self._entry is not None:
            space = "an anonymous namespace" if self._name is None else repr(self._name)
            return f"{kind} {self._entry!r} in {space}"
        name = self._name or (str(self.path) if self.path else None)
        return f"{kind} anonymous" if name is None else f"{kind} {name!r}"

    def __repr__(self) -> str:
        if self.closed:
            return f"<samemap.{self._called()} closed>"
        try:
            state = self._state()
        except ValueError:
            # Another thread closed it while we looked.
            state = "closed"
        except OSError as error:
            state = f"broken: {error.strerror}"
        return f"<samemap.{self._called()} {state}>"

    # Its end

    def close(self) -> None:
        """Close it: this process has it no more, unless it was opened more than once. Closing twice is fine.

        Threads that wait for it raise ``ValueError``. Other processes do not notice, and nothing is deleted.

        Example:
            >>> from samemap import Event
            >>> event = Event()
            >>> event.close()
            >>> event.closed
            True
        """
        super().close()  # type: ignore[misc] # that of the compiled class
        self._segment.close()
        aio.end_waits(self)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file's name; the memory goes when the last process has closed it.

        Args:
            missing_ok: Say nothing when the file is gone, or there never was one.

        Raises:
            FileNotFoundError: The name is gone, or another file has it now (that one is left alone).
            ValueError: It is closed; or it is in a namespace, whose file it shares with others.

        Example:
            >>> from samemap import Event
            >>> event = Event.create("doc-unlink")
            >>> event.unlink()
            >>> event.unlink(missing_ok=True)
            >>> event.close()
        """
        if self._entry is not None:
            raise ValueError(f"{self._called()} has no file of its own: unlink the namespace, with all that is in it")
        files.remove_name(self._segment.fileno(), self._segment.path, missing_ok)

    # Going to other processes

    def send_handle(self, sock: socket.socket) -> None:
        """Hand it over to whoever is at the other end of a Unix socket.

        Args:
            sock: A connected ``AF_UNIX`` socket of any type.

        Raises:
            OSError: The socket is not connected, or cannot carry descriptors.
            ValueError: It is closed.

        Example:
            >>> import socket
            >>> from samemap import Event
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Event() as event:
            ...     event.send_handle(ours)
            ...     with Event.recv_handle(theirs) as same:
            ...         event.set()
            ...         same.is_set()
            True
        """
        handles.send(sock, self._segment.fileno(), self.mode == "rw", self._offset, handles.OBJECT)

    @classmethod
    def recv_handle(cls, sock: socket.socket) -> Self:
        """Receive one that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.

        Returns:
            The same object; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of such an object.

        Example:
            >>> import socket
            >>> from samemap import Event
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Event() as event:
            ...     event.send_handle(ours)
            ...     Event.recv_handle(theirs).name is None
            True
        """
        return cls._receive(sock)

    @classmethod
    def _receive(cls, sock: socket.socket, own: tuple[Any, ...] = ()) -> Self:
        fd, writable, offset = handles.receive(sock, handles.OBJECT)
        try:
            segment = _behind(fd, writable)
        finally:
            os.close(fd)
        try:
            entry = _entry_at(segment, offset)
            return cls._adopt(segment, None, entry, own)
        except BaseException:
            segment.close()
            raise

    @classmethod
    def _adopt(cls, segment: Segment, name: str | None, entry: str | None, own: tuple[Any, ...]) -> Self:
        """Attach to an object in a segment that was just opened."""
        found = (segment.kind, 0) if entry is None else segment.find(entry)
        if found is None:
            raise SegmentMismatch(f"the namespace {name or 'that came'!r} has no object {entry!r}")
        kind, offset = found
        if kind != cls._kind:
            called = "the object that came" if entry is None else f"{entry!r}"
            raise SegmentMismatch(f"{called} is of kind {kind}, not {cls._kind}: open it as what it is")
        return cls._attach(segment, offset, name, entry, own)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process: by descriptor while it is being spawned, else by path, else by descriptor.

        The receiver gets the same object, never a copy; so `copy.copy` and unpickling in the same process do too.
        """
        return travel.reduce(self, (self.mode, self._name, self._entry, self._own))

    def _descriptor(self) -> int:
        return self._segment.fileno()

    @classmethod
    def _from_path(
        cls, path: str, _: str | None, details: tuple[Mode, str | None, str | None, tuple[Any, ...]]
    ) -> Self:
        mode, name, entry, own = details
        kind = cls._kind if entry is None else "Namespace"
        segment = _opened(path, kind, mode == "rw", follow_symlinks=True, any_owner=True)
        return cls._adopt(segment, name, entry, own)

    @classmethod
    def _from_descriptor(
        cls, fd: int, _: str | None, details: tuple[Mode, str | None, str | None, tuple[Any, ...]]
    ) -> Self:
        mode, name, entry, own = details
        return cls._adopt(_behind(fd, mode == "rw"), name, entry, own)


class Closing(SegmentObject):
    """An object that a ``with`` block closes."""

    __slots__ = ()

    def __enter__(self) -> Self:
        # Raises when it is closed: a block around a closed object is a mistake, also where it never uses it.
        self._segment.fileno()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Coded(Closing):
    """An object that carries what a codec makes: messages, values, jobs or requests."""

    if not TYPE_CHECKING:  # As for all.
        __slots__ = ()

    #: How they become bytes and come back.
    _codec: Codec

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of what it carries; ``None`` when that is no array."""
        return getattr(self._codec, "shape", None)

    @property
    def dtype(self) -> Any:
        """The dtype of what it carries; ``None`` when that is no array."""
        return getattr(self._codec, "dtype", None)

    @property
    def codec(self) -> str:
        """What it carries: ``"numpy"``, ``"msgspec"``, ``"pickle"`` or ``"bytes"``."""
        return self._codec.name


def refuse_disagreement(called: str, found: Mapping[str, object], given: Mapping[str, object]) -> None:
    """Raise if an object that exists is not what the caller insists on.

    Args:
        called: The object, for the message.
        found: What it was made with, by name, as far as that is known.
        given: What the caller insists on.

    Raises:
        ValueError: They disagree.
    """
    for field, wanted in given.items():
        if field in found and found[field] != wanted:
            raise ValueError(
                f"{called} exists, and was made with {field}={found[field]!r}, not {field}={wanted!r}; "
                f"give {field}={found[field]!r} to take it as it is, or give yours another name"
            )


def _behind(fd: int, writable: bool) -> Segment:
    path = files.path_of(fd)
    return Segment(path, "descriptor", None, (0, 0, 0), 0, "", 0, writable, False, True, fd)


def _opened(path: str, kind: str, writable: bool, follow_symlinks: bool, any_owner: bool) -> Segment:
    return Segment(path, "open", kind, (0, 0, 0), 0, "", 0, writable, follow_symlinks, any_owner, -1)


def _entry_at(segment: Segment, offset: int) -> str | None:
    """Return the name of the object there; ``None`` when it has the segment for itself."""
    if offset == 0:
        return None
    for name, _, where in segment.objects():
        if where == offset:
            return name
    raise SegmentMismatch(f"the namespace that came has no object at offset {offset}")


def _written(fields: Mapping[str, object]) -> str:
    if not fields:
        return "{}"
    # Imported here because most objects need none, and it costs more than creating one.
    import json

    return json.dumps(fields)


def called_by_file(noun: str, segment: Segment) -> str:
    """Return what messages call an object that has not been made yet."""
    return f"{noun} anonymous" if segment.path is None else f"{noun} {str(segment.path)!r}"


def fields_of(segment: Segment) -> Mapping[str, object]:
    """Return what an object was made with, by name, as its segment tells.

    Args:
        segment: A segment of an object's own.

    Raises:
        SegmentMismatch: It tells no such thing.
    """
    if segment.schema == "{}":
        return {}
    import json

    try:
        fields = json.loads(segment.schema)
    except ValueError as error:
        fields = error
    if not isinstance(fields, dict):
        raise SegmentMismatch(f"the schema of {segment.path or 'a segment'} is not a JSON object: {segment.schema!r}")
    return fields


def is_ours(segment: Segment) -> bool:
    """Tell whether a file belongs to this user or to root, as those do that are opened by name.

    Args:
        segment: The file.
    """
    return os.fstat(segment.fileno()).st_uid in (os.geteuid(), 0)
