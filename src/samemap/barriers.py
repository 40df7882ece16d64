"""`Barrier`: a place where processes wait for each other."""

from __future__ import annotations

import operator

from . import aio
from ._core import Barrier as Compiled
from .records import Record
from .segments import STATE, Closing

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any, Self, TypeAlias, Unpack

    from ._core import Segment
    from .segments import Making, Mode, Name, Options, Plan, Trust

    Action: TypeAlias = Callable[[], object]

__all__ = ["Barrier", "BarrierStats"]


class BarrierStats(Record):
    """What is known of a barrier, at one moment.

    Attributes:
        parties: How many must wait for all to go on.
        n_waiting: How many do.
        broken: Whether it is broken.
        participants: How many living processes have it open for more than looking.
    """

    parties: int
    n_waiting: int
    broken: bool
    participants: int


class Barrier(Closing, Compiled):
    """A place where so many threads, tasks and processes wait until all are there.

    As ``threading.Barrier``. When one that waits dies, the barrier breaks for the others within 100 ms, and the
    `BrokenBarrierError` says who died. ``with barrier:`` closes it at the end. ``Barrier(name, parties)`` opens it, or
    creates it when it is missing; `create` and `open` insist.

    Args:
        name: As for `Lock`.
        parties: How many must wait for all to go on, at least 1. One that exists must have been made with as many.
        action: Called by the last to arrive, before the others go on. Should it raise, the barrier breaks.
        timeout: Seconds that `wait` waits when it is told nothing else; ``None`` for ever.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`.
        SegmentMismatch: The file is something else; a ``ValueError``.
        ValueError: It exists, and was made for other parties; or ``parties`` is out of range.

    Example:
        >>> with Barrier(None, 1, action=lambda: print("all here")) as start:
        ...     start.wait()
        all here
        0
    """

    __slots__ = STATE
    _kind = _noun = "Barrier"

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: Name,
        parties: int,
        action: Action | None = None,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Self:
        return cls._make("open-or-create", name, (action, timeout), cls._plan(parties), **options)

    @classmethod
    def create(
        cls,
        name: Name,
        parties: int,
        action: Action | None = None,
        timeout: float | None = None,
        **options: Unpack[Making],
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            parties: As for the class.
            action: As for the class.
            timeout: As for the class.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The barrier.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: ``parties`` is out of range.

        Example:
            >>> Barrier.create(None, 3).parties
            3
        """
        return cls._make("create", name, (action, timeout), cls._plan(parties), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        action: Action | None = None,
        timeout: float | None = None,
        *,
        wait: float | None = None,
        mode: Mode = "rw",
        **trust: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for `Lock`.
            action: As for the class.
            timeout: As for the class.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only.
            trust: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

        Returns:
            The barrier.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else; a ``ValueError``.

        Example:
            >>> Barrier.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        return cls._open(name, (action, timeout), wait=wait, mode=mode, **trust)

    @classmethod
    def recv_handle(cls, sock: socket.socket, action: Action | None = None, timeout: float | None = None) -> Self:
        """Receive a barrier that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            action: As for the class.
            timeout: As for the class.

        Returns:
            The same barrier; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of a barrier.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Barrier(None, 3) as start:
            ...     start.send_handle(ours)
            ...     Barrier.recv_handle(theirs).parties
            3
        """
        return cls._receive(sock, (action, timeout))

    @classmethod
    def _plan(cls, parties: int) -> Plan:
        number = operator.index(parties)
        if number < 1:
            raise ValueError(f"parties of a barrier are at least 1, not {number}")
        return {"parties": number}, {"parties": number}, (number, 0, 0)

    def _fields(self) -> Mapping[str, object]:
        return {"parties": self.parties}

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        return Compiled.__new__(cls, segment, offset)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties do.

        Args:
            timeout: Seconds, after which the barrier breaks for all; ``None`` as the barrier was opened with.

        Returns:
            A number from 0 on, another one for each that waits, in the order in which they came.

        Raises:
            BrokenBarrierError: It is broken, or breaks meanwhile; the message says why: a timeout, an `abort`, a
                `reset`, or the death of one that waited.
            KeyboardInterrupt: Ctrl-C, at once, which breaks it; likewise whatever another signal handler raises.
            ValueError: It is closed, also by another thread meanwhile; or the timeout makes no sense.

        Example:
            >>> Barrier(None, 2).wait(timeout=0.01)
            Traceback (most recent call last):
            samemap.BrokenBarrierError: ...
        """
        action, usual = self._own
        index, is_last = self._arrive(usual if timeout is None else timeout)
        if is_last:
            self._go_on(action)
        return index

    async def wait_async(self, timeout: float | None = None) -> int:
        """Wait until all parties do, as a task: without holding up the others of its event loop.

        A task that is cancelled while it waits breaks the barrier.

        Args:
            timeout: Seconds, after which the barrier breaks for all; ``None`` as the barrier was opened with.

        Returns:
            A number from 0 on, as from `wait`.

        Raises:
            BrokenBarrierError: As from `wait`.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     start = Barrier(None, 2)
            ...     return await asyncio.gather(start.wait_async(), start.wait_async())
            >>> asyncio.run(main())
            [0, 1]
        """
        action, usual = self._own
        seconds = usual if timeout is None else timeout
        pending = self._begin_arrive()
        if not await aio.finished(self, pending, seconds):
            from .errors import BrokenBarrierError

            raise BrokenBarrierError(
                f"the barrier is broken: this task waited for too long, {seconds:g} s; reset() makes it whole again"
            )
        index, is_last = pending.result()
        if is_last:
            self._go_on(action)
        return index

    def _go_on(self, action: Action | None) -> None:
        """Let all go on, after the action."""
        try:
            if action is not None:
                action()
        except BaseException:
            self.abort()
            raise
        self._trip()

    def stats(self) -> BarrierStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> Barrier(None, 3).stats()
            BarrierStats(parties=3, n_waiting=0, broken=False, participants=1)
        """
        return BarrierStats(self.parties, self.n_waiting, self.broken, self._count_participants())

    def _state(self) -> str:
        return f"waiting={self.n_waiting} of {self.parties}{', broken' if self.broken else ''}"
