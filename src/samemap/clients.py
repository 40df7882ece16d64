"""`Client` and `AsyncClient`: calling what another process serves."""

from __future__ import annotations

import time

from . import aio, loans, opening
from .calls import ServiceObject
from .exhaustion import Empty, Full, ShutDown
from .failures import raised_by
from .replies import END, ERROR, LAST, PART

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any, Literal, NoReturn, Self, Unpack

    from ._core import Call, Loan
    from .codecs import Choice
    from .segments import Trust

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]

#: Seconds between two looks at whether somebody serves.
GLANCE = 0.005


class _Caller(ServiceObject):
    """What both clients have in common."""

    __slots__ = ()

    def __new__(
        cls,
        name: str | os.PathLike[str],
        *,
        type: Any = None,  # noqa: A002 - what it is
        reply_type: Any = None,
        codec: Literal["bytes", "pickle"] | None = None,
        wait: float | None = None,
        **options: Unpack[Trust],
    ) -> Self:
        # Who says that pickles may come insists on none.
        insisted: Literal["bytes"] | None = "bytes" if codec == "bytes" else None
        asked: Choice = {"type": type, "codec": insisted}
        given: Choice = {"type": reply_type, "codec": insisted}
        trusted = not options.get("any_owner", False) or codec == "pickle"
        return cls._open(name, (asked, given, trusted), wait=wait, **options)

    def loan(
        self,
        size: int | None = None,
        timeout: float | None = None,
        *,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> Loan:
        """Take a place for a request to fill, for a ``with`` block: call with it in the block, and it is not copied.

        What the block gets is an array, or a memoryview of bytes; it has what was there before, so fill all of it, and
        then give it to ``call`` or ``stream``, itself and no view of it. It is read-only from then on. What was not
        sent is abandoned at the end of the block. While it lives, or a view of it, its memory is not used again.

        Args:
            size: Bytes of the request, where requests are bytes or pickles.
            timeout: Seconds to wait for a place; ``None`` waits for ever, 0 only looks.
            shape: Shape of an array, where requests are pickles; where they are arrays it is known.
            dtype: Its dtype, likewise.

        Returns:
            The loan, a context manager.

        Raises:
            Full: There was no room in time; a ``queue.Full`` and a ``TimeoutError``.
            ShutDown: The service was shut down.
            TypeError: Requests here are objects of a type, or what is lent must be said otherwise.
            ValueError: It is closed, or such a request does not fit.

        Example:
            >>> from samemap import Client, Service
            >>> with Service("doc-loan", lambda image: image.sum(), shape=(4, 4), dtype="u1") as service:
            ...     with Client("doc-loan") as client, client.loan() as image:
            ...         image[:] = 2
            ...         client.call(image)
            ...     service.unlink()
            np.uint64(32)
        """
        return self._loan(*loans.lendable(self._codec, self._called, size, shape, dtype), timeout)

    def _raise(self, flags: int, value: Any, call: Call) -> NoReturn:
        """Raise what a reply says that is no value."""
        if flags == ERROR:
            raise raised_by(value, self._trusted)
        call.cancel()
        raise TypeError(f"{self._called()} streams its replies: read them with stream(), not with call()")

    def _late(self, call: Call, timeout: float | None) -> TimeoutError:
        """Give a call up; return the error that says who has not replied to it."""
        found = [
            (worker, lease)
            for worker in self.workers()
            for lease in (*worker.leases, *worker.orphaned)
            if lease.seq == call.seq
        ]
        call.cancel()
        if found:
            worker, lease = found[0]
            who = "a process that is gone"
            if worker.participant is not None:
                who = f"pid {worker.participant.pid} ({worker.participant.command})"
            free = self._totals()[10]
            state = (
                f"{who} has had the request for {max(0.0, time.time() - lease.since):.3g} s; "
                f"{free} of {self.max_bytes} bytes for large messages are free"
            )
        elif self._serving():
            state = "nobody had begun with the request"
        else:
            state = "nobody serves"
        return TimeoutError(f"{self._called()}: no reply within {timeout:g} s: {state}")


class Client(_Caller):
    """The calling end of a `Service`, for threads. Any number of them may share one.

    ``with client:`` closes it at the end. It stays good while servers come and go: calls wait for one that serves.

    Args:
        name: As for the service.
        type: Type of requests, if they are objects of a type; ``None`` takes what fits.
        reply_type: What to make of replies, if they are objects of a type; ``None`` makes dicts and lists of them.
        codec: ``"bytes"`` insists on that; ``"pickle"`` says that pickles may be taken, which with ``any_owner`` must
            be said, because a pickle can run any program.
        wait: Seconds to wait until the service exists; ``math.inf`` for ever.
        options: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        FileNotFoundError: It does not exist, also after ``wait`` seconds.
        PermissionError: It belongs to another user, or may not be opened.
        SegmentMismatch: The file is something else, or a service with other messages; a ``ValueError``.

    Example:
        >>> from samemap import Service
        >>> def count(n):
        ...     yield from range(n)
        >>> with Service("doc-client", count) as service, Client("doc-client") as client:
        ...     list(client.stream(3))
        ...     service.unlink()
        [0, 1, 2]
    """

    __slots__ = ()
    _noun = "Client"

    def call(self, value: Any, timeout: float | None = None) -> Any:
        """Call the service, and wait for the reply.

        Args:
            value: The request: what the service takes.
            timeout: Seconds in all; ``None`` waits for ever. After that the call is cancelled.

        Returns:
            What the function returned.

        Raises:
            Exception: What the function raised, with the traceback in the server as its cause; `RemoteError` where it
                cannot travel.
            Full: Too many requests wait already, and still do after the timeout; a ``TimeoutError``.
            KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises. The call is cancelled.
            PeerDied: The process that worked on it died; a ``ConnectionError``.
            ShutDown: The service was shut down.
            TimeoutError: There is no reply yet; the message says who has the request.
            TypeError: It is not what the service takes, or the service streams.
            ValueError: The client is closed, or the request is larger than any can be.

        Example:
            >>> from samemap import Service
            >>> with Service("doc-call", lambda x: 1 / x) as service, Client("doc-call") as client:
            ...     service.unlink()
            ...     client.call(4)
            ...     client.call(0)
            Traceback (most recent call last):
            ZeroDivisionError: division by zero
        """
        start = 0.0 if timeout is None else time.monotonic()
        call = self._call(value, timeout)
        try:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - start))
            flags, reply = call.recv(left)
        except Empty:
            raise self._late(call, timeout) from None
        except BaseException:
            call.cancel()
            raise
        if flags == LAST:
            return reply
        return self._raise(flags, reply, call)

    def stream(self, value: Any, timeout: float | None = None) -> Stream:
        """Call the service, and read the parts of the reply as they come.

        Args:
            value: The request.
            timeout: Seconds to wait for room for the request, and then for each part; ``None`` waits for ever.

        Returns:
            An iterator; its parts raise what `call` raises. The server waits when this end is slow; when the iterator
            is closed early, or dropped, it is told, and stops. A service that does not stream has one part.

        Raises:
            Exception: As from `call`.

        Example:
            >>> from itertools import count
            >>> from samemap import Service
            >>> def squares(n):
            ...     for i in count(n):
            ...         yield i * i
            >>> with Service("doc-stream", squares) as service, Client("doc-stream") as client:
            ...     service.unlink()
            ...     with client.stream(10) as parts:
            ...         next(parts), next(parts)
            (100, 121)
        """
        return Stream(self, self._call(value, timeout), timeout)

    def wait_for_server(self, timeout: float | None = None) -> bool:
        """Wait until a living process serves.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            True when one does; False after the timeout.

        Raises:
            ShutDown: The service was shut down.
            ValueError: The client is closed, or the timeout makes no sense.

        Example:
            >>> from samemap import Service
            >>> with Service("doc-wait", str.upper) as service, Client("doc-wait") as client:
            ...     service.unlink()
            ...     client.wait_for_server()
            True
        """
        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not _is_served(self):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(GLANCE)
        return True


class AsyncClient(_Caller):
    """The calling end of a `Service`, for asyncio: as `Client`, but who waits holds up no other task.

    Args:
        name: As for `Client`; so are the others.
        type: Type of requests.
        reply_type: Type of replies.
        codec: ``"bytes"`` or ``"pickle"``.
        wait: Seconds to wait until the service exists. All tasks wait then.
        options: ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        FileNotFoundError: It does not exist, also after ``wait`` seconds.
        PermissionError: It belongs to another user, or may not be opened.
        SegmentMismatch: The file is something else, or a service with other messages; a ``ValueError``.

    Example:
        >>> import asyncio
        >>> from samemap import Service
        >>> async def main():
        ...     with AsyncClient("doc-async") as client:
        ...         return await asyncio.gather(*map(client.call, ["one", "two"]))
        >>> with Service("doc-async", str.upper) as service:
        ...     asyncio.run(main())
        ...     service.unlink()
        ['ONE', 'TWO']
    """

    __slots__ = ()
    _noun = "AsyncClient"

    async def call(self, value: Any, timeout: float | None = None) -> Any:
        """Call the service, and wait for the reply as a task. When the task is cancelled, so is the call.

        Args:
            value: The request: what the service takes.
            timeout: Seconds in all; ``None`` waits for ever. After that the call is cancelled.

        Returns:
            What the function returned.

        Raises:
            Exception: As from `Client.call`.
        """
        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        call = await self._begin(value, deadline)
        flags, reply = await self._next_reply(call, deadline, timeout)
        if flags == LAST:
            return reply
        return self._raise(flags, reply, call)

    def stream(self, value: Any, timeout: float | None = None) -> AsyncStream:
        """Call the service, and read the parts of the reply as they come: ``async for part in client.stream(x)``.

        Args:
            value: The request. It is sent when the first part is wanted.
            timeout: Seconds to wait for room for the request, and for each part; ``None`` waits for ever.

        Returns:
            An asynchronous iterator, whose parts raise what `call` raises, else as `Client.stream`.

        Raises:
            ValueError: The timeout makes no sense.
        """
        opening.check_timeout(timeout)
        return AsyncStream(self, value, timeout)

    async def wait_for_server(self, timeout: float | None = None) -> bool:
        """Wait until a living process serves, as a task.

        Args:
            timeout: Seconds; ``None`` waits for ever, 0 only looks.

        Returns:
            True when one does; False after the timeout.

        Raises:
            ShutDown: The service was shut down.
            ValueError: The client is closed, or the timeout makes no sense.
        """
        import asyncio

        opening.check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not _is_served(self):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            await asyncio.sleep(GLANCE)
        return True

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _begin(self, value: Any, deadline: float | None) -> Call:
        size = None
        while True:
            try:
                return self._call(value, 0)
            except Full:
                # Not here, where what ends the wait would tell of this error, too.
                pass
            if size is None:
                size = self._size_of(value)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await aio.finished(self, self._begin_call(size), left):
                # There is room by now, or this raises what says so.
                return self._call(value, 0)

    async def _next_reply(self, call: Call, deadline: float | None, timeout: float | None) -> tuple[int, Any]:
        try:
            while True:
                try:
                    return call.recv(0)
                except Empty:
                    pass
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                pending = call._begin_recv()
                if await aio.finished(self, pending, left):
                    # Raises what there is instead of a reply: the death of who had the request.
                    pending.result()
                    continue
                try:
                    return call.recv(0)
                except Empty:
                    pass
                raise self._late(call, timeout)
        except BaseException:
            call.cancel()
            raise


class _Parts:
    """The parts of a reply, as they come."""

    __slots__ = ("_call", "_client", "_is_over", "_timeout")

    def __init__(self, client: Any, call: Call | None, timeout: float | None) -> None:
        self._client = client
        self._call = call
        self._timeout = timeout
        self._is_over = False

    def _cancel(self) -> None:
        self._is_over = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _has_ended(self, call: Call, flags: int, value: Any) -> bool:
        """Tell whether a reply is no part; and end the stream where it is the last thing that comes."""
        if flags == PART:
            return False
        self._cancel()
        if flags == ERROR:
            self._client._raise(flags, value, call)
        return flags == END


class Stream(_Parts):
    """The parts of a reply, as they come: an iterator, and a context manager that cancels the call at its end.

    `wait` and `wait_async` wait for several of them, and for other objects. One is ready when ``next`` would not sleep:
    there is a part, the end, or an error, the death of who had the request included.
    """

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        call = self._call
        if call is None:
            raise StopIteration
        try:
            flags, value = call.recv(self._timeout)
        except Empty:
            self._is_over, self._call = True, None
            raise self._client._late(call, self._timeout) from None
        except BaseException:
            self._cancel()
            raise
        if self._has_ended(call, flags, value):
            raise StopIteration
        return value

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more: all was read, or it was closed."""
        return self._call is None

    @property
    def _waited(self) -> Call:
        """What `samemap.wait` waits for."""
        if self._call is None:
            raise ValueError("the stream is closed, or was read to its end: there is nothing to wait for")
        return self._call

    def close(self) -> None:
        """Want no more of it: the server is told. Closing twice is fine."""
        self._cancel()
        aio.end_waits(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(_Parts):
    """The parts of a reply, as they come: an asynchronous iterator, and a context manager likewise."""

    __slots__ = ("_value",)

    def __init__(self, client: AsyncClient, value: Any, timeout: float | None) -> None:
        super().__init__(client, None, timeout)
        self._value = value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._is_over:
            raise StopAsyncIteration
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        try:
            if self._call is None:
                self._call, self._value = await self._client._begin(self._value, deadline), None
            call = self._call
            flags, value = await self._client._next_reply(call, deadline, self._timeout)
        except BaseException:
            self._cancel()
            raise
        if self._has_ended(call, flags, value):
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        """Want no more of it: the server is told. Closing twice is fine."""
        self._cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cancel()


def _is_served(client: _Caller) -> bool:
    if client.is_shut_down:
        raise ShutDown(f"{client._called()}: it was shut down")
    return bool(client._serving())
