"""`Latest`: the newest value."""

from __future__ import annotations

import time

from . import aio, codecs, opening
from ._core import Latest as Compiled
from .errors import SegmentTruncated
from .records import Record
from .segments import STATE, Coded, called_by_file, fields_of

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import AsyncIterator, Iterator, Sequence
    from typing import Any, Literal, Self, Unpack

    from ._core import Sample, Segment
    from .codecs import Choice
    from .segments import Making, Mode, Name, Options, Plan, Trust

__all__ = ["Latest", "LatestStats"]

#: So many values are kept, so that nobody who copies one is overtaken but by as many: fewer of those that are large.
CELLS, LARGE_CELLS = 16, 4
LARGE = 65_536


class LatestStats(Record):
    """What is known of a newest value, at one moment.

    Attributes:
        seq: The number of the newest value, and so how many were set; 0 when nothing was ever set.
        bytes: How many bytes they had, in all.
        waiting: How many threads and tasks sleep for a newer one.
        participants: How many living processes have it open for more than looking.
    """

    seq: int
    bytes: int
    waiting: int
    participants: int


class Latest(Coded, Compiled):
    """The newest value of something, for any number of processes: always whole, and never waited for.

    Who sets it waits for nobody, and whoever gets it has the newest, whole, as a copy of its own. It may be read by
    those who may only read the file. ``with latest:`` closes it at the end. ``Latest(name)`` opens it, or creates it
    when it is missing; `create` and `open` insist. What a value is, is said as for `Topic`.

    Args:
        name: As for `Lock`.
        shape: Shape of an array; ``()`` for a single number or record.
        dtype: Its dtype, a structured one too.
        type: Type of an object.
        codec: ``"pickle"``; asked for at both ends, because a pickle can run any code.
        max_size: Bytes of the largest value; 65,536 when it is created and nothing says otherwise.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else, or for other values, which the message compares field by field; a
            ``ValueError``.
        ValueError: It exists, and was made with another ``max_size``.

    Example:
        >>> with Latest(dtype="f8", shape=3) as position:
        ...     position.set([1, 2, 3])
        ...     position.get().tolist()
        1
        [1.0, 2.0, 3.0]
    """

    __slots__ = (*STATE, "_codec")
    _kind = _noun = "Latest"

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: Name = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        max_size: int | None = None,
        **options: Unpack[Options],
    ) -> Self:
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        return cls._make("open-or-create", name, (choice,), cls._plan(choice, max_size), **options)

    @classmethod
    def create(
        cls,
        name: Name,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        max_size: int | None = None,
        **options: Unpack[Making],
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            shape: As for the class; so are the next four.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"pickle"``.
            max_size: Bytes of the largest value.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            One that was never set.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: The arguments make no sense.

        Example:
            >>> Latest.create(None, dtype="i8", shape=()).seq
            0
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        return cls._make("create", name, (choice,), cls._plan(choice, max_size), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
        wait: float | None = None,
        mode: Mode = "rw",
        **options: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for the class.
            shape: What it must have; ``None`` takes what there is.
            dtype: What it must have; ``None`` takes what there is.
            type: What to make of its values, if they are objects of a type; ``None`` makes dicts and lists of them.
            codec: ``"pickle"``, if its values are pickles.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only, which needs only the permission to read: waits look every 5 ms.
            options: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

        Returns:
            The newest value's place.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else, or for other values, which the message compares field by
                field; a ``ValueError``.

        Example:
            >>> Latest.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        return cls._open(name, (choice,), wait=wait, mode=mode, **options)

    @classmethod
    def _plan(cls, choice: Choice, max_size: int | None) -> Plan:
        codec, size = codecs.choose(**choice, max_message=max_size, option="max_size")
        cells = CELLS if size <= LARGE else LARGE_CELLS
        given = {} if max_size is None else {"max_size": max_size}
        return {**codec.schema(), "max_size": size}, given, (cells, size, 0)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        (choice,) = own or ({},)
        codec = codecs.recorded(fields_of(segment), called_by_file(cls._noun, segment), **choice)
        thing = Compiled.__new__(cls, segment, codec, codec.name == "bytes")
        if codec.size is not None and codec.size > thing.max_size:
            raise codecs.damaged(called_by_file(cls._noun, segment), codec.size, thing.max_size)
        thing._codec = codec
        return thing

    @classmethod
    def recv_handle(
        cls,
        sock: socket.socket,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["pickle"] | None = None,
    ) -> Self:
        """Receive one that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            shape: As for `open`; so are the next three.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"pickle"``.

        Returns:
            The same newest value's place; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of a `Latest`, or of one for other values.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Latest(codec="pickle") as latest:
            ...     latest.send_handle(ours)
            ...     Latest.recv_handle(theirs, codec="pickle").codec
            'pickle'
        """
        return cls._receive(sock, ({"shape": shape, "dtype": dtype, "type": type, "codec": codec},))

    @property
    def age(self) -> float:
        """Seconds since the newest value was set; infinity when nothing was ever set."""
        found = self._sample()
        return float("inf") if found is None else found.age

    def sample(self) -> Sample:
        """Return the newest value with its number, time and publisher.

        Raises:
            Empty: Nothing was ever set; a ``queue.Empty``.
            ValueError: It is closed.

        Example:
            >>> latest = Latest()
            >>> latest.set(b"on")
            1
            >>> latest.sample().seq, latest.sample().value
            (1, b'on')
        """
        found = self._sample()
        if found is None:
            from .exhaustion import Empty

            raise Empty(f"{self._called()}: nothing was ever set")
        return found

    async def wait_newer_async(self, seq: int | None = None, timeout: float | None = None) -> Any:
        """Sleep until there is a value newer than one, as a task: without holding up the others of its event loop.

        Args:
            seq: The number of that one; ``None`` for the last that was got here.
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            The newest value then.

        Raises:
            Empty: None was set in time; a ``queue.Empty`` and a ``TimeoutError``.
            TypeError: It is mapped read-only.
            ValueError: It is closed, also meanwhile; or ``seq`` or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> latest = Latest()
            >>> latest.set(b"on")
            1
            >>> asyncio.run(latest.wait_newer_async(0))
            b'on'
        """
        opening.check_timeout(timeout)
        seen = self._seen if seq is None else seq
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.seq <= seen:
            left = timeout if deadline is None else max(0.0, deadline - time.monotonic())
            if not await aio.finished(self, self._begin_newer(seen), left):
                break
        # It is there, or this raises what says so.
        return self.wait_newer(seen, 0)

    def __iter__(self) -> Iterator[Any]:
        seen = 0
        while True:
            try:
                found = self._newer(seen, None)
            except ValueError:
                if self.closed:
                    return
                raise
            if found is not None:
                seen = found.seq
                yield found.value

    async def __aiter__(self) -> AsyncIterator[Any]:
        seen = 0
        while True:
            try:
                while (found := self._newer(seen, 0)) is None:
                    await aio.finished(self, self._begin_newer(seen), None)
            except ValueError:
                if self.closed:
                    return
                raise
            seen = found.seq
            yield found.value

    def close(self) -> None:
        """Close it: this process has it no more, unless it was opened more than once. Coded twice is fine.

        Threads that wait for a value raise ``ValueError``, and loops over it end.

        Example:
            >>> latest = Latest()
            >>> latest.close()
            >>> latest.closed
            True
        """
        super().close()
        try:
            self._wake()
        except SegmentTruncated:
            # Whoever sleeps there finds that out, too.
            return

    def stats(self) -> LatestStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> latest = Latest()
            >>> latest.set(b"on")
            1
            >>> latest.stats()
            LatestStats(seq=1, bytes=2, waiting=0, participants=1)
        """
        return LatestStats(self.seq, self._published()[1], self._count_waiting(), self._count_participants())

    def _state(self) -> str:
        return f"{self.codec}, seq={self.seq}"
