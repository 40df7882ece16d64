"""`Queue`: each job to one worker, and to another one when that dies."""

from __future__ import annotations

import time
from operator import index

from . import aio, codecs, loans, opening
from ._core import Queue as Compiled
from .segments import STATE, Coded, called_by_file, fields_of, is_ours
from .workload import QueueStats, Worker, told_apart

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

    from ._core import DeadLetter, Job, Loan, Segment
    from .codecs import Choice
    from .segments import Making, Mode, Name, Options, Plan, Trust

    T = TypeVar("T")

    class Room(TypedDict, total=False):
        """How much there is of it."""

        maxsize: int | None
        max_bytes: int | None
        max_attempts: int | None


__all__ = ["Queue"]

JOBS = 4096
BYTES = 16 << 20
#: How many arrays there is room for when those are so large that the above holds fewer, and nobody says how many.
ARRAYS = 4
#: What a job's word has room to count.
ATTEMPTS = 254


class Queue(Coded, Compiled):
    """Jobs from any number of producers, each for one of any number of workers, by name.

    As ``queue.Queue`` and ``multiprocessing.JoinableQueue`` have it: `put`, `get`, `task_done`, `join` and `shutdown`.
    What is put is there for the others when `put` returns: there is no thread that feeds a pipe. `lease` takes a job
    that comes back by itself when this process dies before it is done. ``for job in queue`` and ``async for`` get until
    it is shut down. ``with queue:`` closes it at the end. ``Queue(name)`` opens it, or creates it when it is missing;
    `create` and `open` insist.

    What a job is:

    - with ``shape`` and ``dtype``, a numpy array of these;
    - with ``type``, an object of that type, as msgpack: a ``msgspec.Struct``, a dataclass, and what else msgspec knows;
    - with ``codec="bytes"``, bytes;
    - else any object that can be pickled; arrays in it travel beside the pickle, and come out as read-only views.

    Args:
        name: As for `Lock`.
        maxsize: How many jobs may wait; 4096 when it is created and nothing says otherwise.
        max_bytes: Bytes of those that do not fit beside their job, and so of the largest one; 16 MiB when it is created
            and nothing says otherwise, or what four arrays need.
        shape: Shape of an array; ``()`` for a single number or record.
        dtype: Its dtype, a structured one too.
        type: Type of an object.
        codec: ``"bytes"`` or ``"pickle"``. With nothing said, a queue that exists is taken as it is, pickles included,
            which can run any code: with ``any_owner`` they must be asked for.
        max_attempts: After how many attempts a job that comes back is a dead letter, at most 254; 0, when it is created
            and nothing says otherwise, for never.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`; ``ENOSPC`` when there is no room for it.
        SegmentMismatch: The file is something else, or a queue of other jobs, which the message compares field by
            field; a ``ValueError``.
        ValueError: It exists, and was made with other numbers.

    Example:
        >>> with Queue() as queue:
        ...     queue.put({"resize": "cat.jpg"})
        ...     with queue.lease() as job:
        ...         job.value, job.attempt
        ({'resize': 'cat.jpg'}, 1)
    """

    __slots__ = (*STATE, "_codec")
    _kind = _noun = "Queue"

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: Name = None,
        *,
        maxsize: int | None = None,
        max_bytes: int | None = None,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["bytes", "pickle"] | None = None,
        max_attempts: int | None = None,
        **options: Unpack[Options],
    ) -> Self:
        if isinstance(name, int):
            raise TypeError(f"the first argument of a Queue is its name, not {name}: say maxsize={name}")
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        room: Room = {"maxsize": maxsize, "max_bytes": max_bytes, "max_attempts": max_attempts}
        if (any_owner := options.get("any_owner", False)) and not any(value is not None for value in choice.values()):
            raise ValueError(
                "with any_owner, say what the jobs are: codec='pickle' if you trust whoever made the queue, because "
                "unpickling can run any program; or open() it, which takes all else as it is"
            )
        own = (choice, not any_owner)
        return cls._make("open-or-create", name, own, cls._plan(choice, room), **options)

    @classmethod
    def create(
        cls,
        name: Name,
        *,
        maxsize: int | None = None,
        max_bytes: int | None = None,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["bytes", "pickle"] | None = None,
        max_attempts: int | None = None,
        **options: Unpack[Making],
    ) -> Self:
        """Create one that must not exist yet.

        Args:
            name: As for `Lock`.
            maxsize: As for the class; so are the next six.
            max_bytes: Bytes of large jobs.
            shape: Shape of an array.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"bytes"`` or ``"pickle"``.
            max_attempts: After how many attempts a job is a dead letter.
            options: ``perm`` and ``max_participants``, as for `Lock`.

        Returns:
            The queue.

        Raises:
            FileExistsError: It exists.
            OSError: ``ENOSPC``: there is no room for it; nothing was made.
            ValueError: The arguments make no sense.

        Example:
            >>> Queue.create(None, maxsize=100).maxsize
            100
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        room: Room = {"maxsize": maxsize, "max_bytes": max_bytes, "max_attempts": max_attempts}
        return cls._make("create", name, (choice, True), cls._plan(choice, room), **options)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        codec: Literal["bytes", "pickle"] | None = None,
        wait: float | None = None,
        mode: Mode = "rw",
        **options: Unpack[Trust],
    ) -> Self:
        """Open one that exists, whoever made it.

        Args:
            name: As for the class.
            shape: What it must have; ``None`` takes what there is.
            dtype: What it must have; ``None`` takes what there is.
            type: What to make of its jobs, if they are objects of a type; ``None`` makes dicts and lists of them.
            codec: ``"bytes"`` or ``"pickle"``, if its jobs must be that; ``None`` takes what there is, but pickles only
                without ``any_owner``.
            wait: Seconds to wait until it exists; ``math.inf`` for ever.
            mode: ``"rw"``, or ``"r"`` to look only, which needs only the permission to read.
            options: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

        Returns:
            The queue.

        Raises:
            FileNotFoundError: It does not exist, also after ``wait`` seconds.
            PermissionError: It belongs to another user, or may not be opened in that mode.
            SegmentMismatch: The file is something else, or a queue of other jobs, which the message compares field by
                field; a ``ValueError``.

        Example:
            >>> Queue.open("doc-missing", wait=0.01)
            Traceback (most recent call last):
            FileNotFoundError: [Errno 2] ...
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        own = (choice, not options.get("any_owner", False))
        return cls._open(name, own, wait=wait, mode=mode, **options)

    @classmethod
    def _plan(cls, choice: Choice, room: Room) -> Plan:
        # Before anything is made.
        codec, _ = codecs.choose(**choice, default="pickle")
        maxsize, max_bytes, attempts = room["maxsize"], room["max_bytes"], room["max_attempts"]
        # By index(), because the file's schema has no numbers of numpy's.
        maxsize = JOBS if maxsize is None else index(maxsize)
        if maxsize < 1:
            raise ValueError(
                f"maxsize={maxsize}: shared memory has a fixed size, so say how many jobs may wait, 1 or more"
            )
        size = codec.size or 0
        max_bytes = max(BYTES, ARRAYS * size) if max_bytes is None else index(max_bytes)
        if max_bytes < max(size, 1):
            raise ValueError(f"max_bytes={max_bytes} leaves no room for a job: at least {max(size, 1)}")
        attempts = 0 if attempts is None else index(attempts)
        if not 0 <= attempts <= ATTEMPTS:
            raise ValueError(f"max_attempts is from 1 to {ATTEMPTS}, or 0 for any number, not {attempts}")
        fields = {**codec.schema(), "maxsize": maxsize, "max_bytes": max_bytes, "max_attempts": attempts}
        given = {field: value for field, value in room.items() if value is not None}
        return fields, given, (maxsize, max_bytes, attempts)

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Self:
        choice, trusted = own or ({}, None)
        if trusted is None:
            # It came as a descriptor.
            trusted = is_ours(segment)
        called = called_by_file(cls._noun, segment)
        codec = codecs.recorded(fields_of(segment), called, **choice, trusted=trusted)
        thing = Compiled.__new__(cls, segment, codec, codecs.way_of(codec))
        if codec.size is not None and codec.size > thing.max_bytes:
            raise codecs.damaged(called, codec.size, thing.max_bytes)
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
        codec: Literal["bytes", "pickle"] | None = None,
    ) -> Self:
        """Receive a queue that `send_handle` sent, with the sender's mode.

        Args:
            sock: A connected ``AF_UNIX`` socket; blocks as its timeout says.
            shape: As for `open`; so are the next two.
            dtype: Dtype of an array.
            type: Type of an object.
            codec: ``"pickle"`` must be asked for where its file belongs neither to this user nor to root.

        Returns:
            The same queue; it lives on when the sender is gone.

        Raises:
            EOFError: The other side closed the socket.
            ValueError: What came is no handle of a queue, or of one of other jobs.

        Example:
            >>> import socket
            >>> ours, theirs = socket.socketpair()
            >>> with ours, theirs, Queue() as queue:
            ...     queue.put("hello")
            ...     queue.send_handle(ours)
            ...     Queue.recv_handle(theirs).get()
            'hello'
        """
        choice: Choice = {"shape": shape, "dtype": dtype, "type": type, "codec": codec}
        return cls._receive(sock, (choice, None))

    # Taking part as a task

    async def put_async(self, obj: Any, timeout: float | None = None) -> None:
        """Put a job, and wait for room as a task: without holding up the others of its event loop.

        Args:
            obj: As for `put`.
            timeout: Seconds to wait while it is full; ``None`` waits for ever, 0 only looks.

        Raises:
            Full: There was no room in time; a ``queue.Full`` and a ``TimeoutError``.
            ShutDown: It was shut down, also meanwhile.
            TypeError: It is not what the queue takes, or the queue is mapped read-only.
            ValueError: It is closed, also meanwhile; or the job does not fit, or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> queue = Queue()
            >>> asyncio.run(queue.put_async("hello"))
            >>> queue.get()
            'hello'
        """
        from .exhaustion import Full

        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        size = None
        while True:
            try:
                return self.put_nowait(obj)
            except Full:
                # Not here, where what ends the wait would tell of this error, too.
                pass
            if size is None:
                size = self._size_of(obj)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await aio.finished(self, self._begin_put(size), left):
                # There is room by now, or this raises what says so.
                return self.put_nowait(obj)

    async def get_async(self, timeout: float | None = None) -> Any:
        """Take a job, and wait for it as a task: without holding up the others of its event loop.

        A task that is cancelled meanwhile has taken none.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            As `get`.

        Raises:
            Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
            ShutDown: It was shut down, and is empty.
            TypeError: It is mapped read-only.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> queue = Queue()
            >>> queue.put("hello")
            >>> asyncio.run(queue.get_async())
            'hello'
        """
        return await self._taken(self.get_nowait, timeout)

    async def lease_async(self, timeout: float | None = None, lease_time: float | None = None) -> Job:
        """Lease a job, and wait for it as a task: without holding up the others of its event loop.

        A task that is cancelled meanwhile has leased none.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.
            lease_time: As for `lease`.

        Returns:
            As `lease`.

        Raises:
            Empty: None came in time; a ``queue.Empty`` and a ``TimeoutError``.
            ShutDown: It was shut down, and is empty.
            TypeError: It is mapped read-only.
            ValueError: It is closed, also meanwhile; or a time makes no sense.

        Example:
            >>> import asyncio
            >>> queue = Queue()
            >>> queue.put("hello")
            >>> async def work():
            ...     with await queue.lease_async() as job:
            ...         return job.value
            >>> asyncio.run(work())
            'hello'
        """
        return await self._taken(lambda: self.lease_nowait(lease_time), timeout)

    async def join_async(self, timeout: float | None = None) -> bool:
        """Wait until all jobs are done, as a task.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            True when they are; False after the timeout.

        Raises:
            TypeError: It is mapped read-only.
            ValueError: It is closed, also meanwhile; or the timeout makes no sense.

        Example:
            >>> import asyncio
            >>> asyncio.run(Queue().join_async())
            True
        """
        pending = self._begin_join()
        if not await aio.finished(self, pending, timeout):
            return False
        # Raises what ended the wait, if that was no good.
        pending.result()
        return True

    async def _taken(self, take: Callable[[], T], timeout: float | None) -> T:
        """Return what `take` takes, and wait for it as a task."""
        from .exhaustion import Empty

        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return take()
            except Empty:
                # Not here, where what ends the wait would tell of this error, too.
                pass
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await aio.finished(self, self._begin_get(), left):
                # It is there by now, or this raises what says so.
                return take()

    # One after the other

    def loan(
        self,
        size: int | None = None,
        timeout: float | None = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> Loan:
        """Take a place to fill, for a ``with`` block: put at its end without a copy, abandoned when it raises.

        What the block gets is an array, or a memoryview of bytes; it has what was there before, so fill all of it.
        After the block it is read-only. While it lives, or a view that was made of it, the memory of the job is not
        used again, and a ``lease_time`` of whoever has the job cannot end; so let go of it.

        Args:
            size: Bytes of the message, in a queue of bytes or of pickles.
            timeout: Seconds to wait for a place, and at the end of the block once more while the queue is full;
                ``None`` waits for ever, 0 only looks.
            shape: Shape of an array, in a queue of pickles; one of arrays knows it.
            dtype: Its dtype, likewise.

        Returns:
            The loan, a context manager; its ``seq`` is the number of the job once it is put.

        Raises:
            Full: There was no room in time; a ``queue.Full`` and a ``TimeoutError``. At the end of the block nothing is
                lost: what was filled can still be read, and put.
            ShutDown: The queue was shut down.
            TypeError: Jobs here are objects of a type, or what is lent must be said otherwise; or it is mapped
                read-only.
            ValueError: It is closed, or such a message does not fit.

        Example:
            >>> queue = Queue()
            >>> with queue.loan(shape=(2, 3), dtype="f4") as frame:
            ...     frame[:] = 1
            >>> queue.get().sum()
            np.float32(6.0)
        """
        return self._loan(*loans.lendable(self._codec, self._called, size, shape, dtype), timeout)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self.get()
        except Exception as error:
            if self._is_over(error):
                raise StopIteration from None
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.get_async()
        except Exception as error:
            if self._is_over(error):
                raise StopAsyncIteration from None
            raise

    def _is_over(self, error: Exception) -> bool:
        """Tell whether an error only says that there will be no more."""
        from .exhaustion import ShutDown

        return isinstance(error, ShutDown) or (isinstance(error, ValueError) and self.closed)

    # What it is

    def dead_letters(self) -> list[DeadLetter]:
        """List the jobs that came back too often.

        Returns:
            One each, the oldest first, with its ``seq``, ``attempt``, time and value, a copy. ``replay()`` puts it back
            into the queue, and ``discard()`` throws it away.

        Raises:
            ValueError: It is closed.

        Example:
            >>> queue = Queue(max_attempts=1)
            >>> queue.put("too heavy")
            >>> queue.lease().give_back()
            >>> [(letter.value, letter.attempt, letter.replay()) for letter in queue.dead_letters()]
            [('too heavy', 1, True)]
            >>> queue.get()
            'too heavy'
        """
        return self._dead_letters()

    def workers(self) -> list[Worker]:
        """List the processes that have put jobs or taken some, and what they have in their hands.

        Returns:
            A record each, those that are gone included until another has their place.

        Raises:
            ValueError: It is closed.

        Example:
            >>> queue = Queue()
            >>> queue.put("hello")
            >>> job = queue.lease()
            >>> [(found.puts, found.gets, [lease.seq for lease in found.leases]) for found in queue.workers()]
            [(1, 1, [1])]
        """
        leases, orphaned = told_apart(self._leases(), self._segment)
        return [
            Worker(self._segment.describe(tag), *counts, tuple(leases.get(tag, ())), tuple(orphaned.get(tag, ())))
            for tag, *counts in self._workers()
            if tag
        ]

    def stats(self) -> QueueStats:
        """Return what is known of it now, as a record that equals another one exactly if nothing has changed.

        Raises:
            ValueError: It is closed.

        Example:
            >>> queue = Queue(maxsize=10)
            >>> queue.put("hello")
            >>> stats = queue.stats()
            >>> stats.depth, stats.puts, stats.leased, stats.maxsize
            (1, 1, 0, 10)
        """
        puts, gets, done, returned, size, depth, _, held, dead, _, free = self._totals()
        leases, orphaned = told_apart(self._leases(), self._segment)
        return QueueStats(
            depth=depth,
            leased=sum(map(len, leases.values())),
            orphaned=sum(map(len, orphaned.values())),
            held=held,
            dead=dead,
            puts=puts,
            gets=gets,
            done=done,
            returned=returned,
            bytes=size,
            maxsize=self.maxsize,
            max_bytes=self.max_bytes,
            free_bytes=free,
            waiting=self._count_waiting(),
            participants=self._count_participants(),
            shut_down=self.is_shut_down,
        )

    def _roles(self) -> dict[int, str]:
        roles = {}
        for tag, puts, gets, *_ in self._workers():
            if puts or gets:
                roles[tag] = "both" if puts and gets else "producer" if puts else "consumer"
        return roles

    def _state(self) -> str:
        what = f"{self.dtype}{list(self.shape)}" if self.shape is not None else self.codec
        return f"{what}, {self.qsize()} of {self.maxsize}{', shut down' if self.is_shut_down else ''}"
