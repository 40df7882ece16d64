"""`Service`: a function that other processes call."""

from __future__ import annotations

import json
from operator import index

from . import codecs
from .calls import REPLIES, ServiceObject
from .crew import Crew
from .exhaustion import ShutDown
from .serving import CurrentRequest, Staff, current_request

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, Self, Unpack

    from .codecs import Choice
    from .segments import Name, Options, Plan
    from .serving import Handler

__all__ = ["CurrentRequest", "Service", "current_request", "serve"]

REQUESTS = 1024
BYTES = 16 << 20
#: How many arrays of each kind there is room for when those are so large that the above holds fewer, and nobody says
#: how many.
ARRAYS = 8
#: What a file has room for.
LONGEST_SCHEMA = 3968


class Service(ServiceObject):
    """A function that other processes call by name, with nothing between them but memory.

    ``with service:`` serves in threads of this process until the block ends, and closes it; `run` serves until Ctrl-C,
    `stop` or `shutdown`, in threads or in processes. Clients call it with `Client` and `AsyncClient`. Any number of
    processes may serve the same name, and share the calls. When one dies, the caller whose request it had gets
    `PeerDied`; what was still waiting goes to the others, or to the next one that serves.

    The function takes one value, the request, and what it returns is the reply. A generator function streams: each
    value that it yields is sent at once, and it is closed when nobody wants more. Coroutine functions and asynchronous
    generators are fine, too: each thread has an event loop, and works on up to ``concurrency`` calls at once. What the
    function raises is raised again at the caller. A service can still be called as the function that it has.

    Requests and replies are pickles, with arrays beside them, unless this says otherwise:

    - ``shape`` and ``dtype``, or ``reply_shape`` and ``reply_dtype``: numpy arrays of these;
    - ``type``, or ``reply_type``: objects of that type, as msgpack;
    - ``codec="bytes"``: bytes, both ways.

    Arrays in large messages come as read-only views of the shared memory, which stays theirs for as long as they live.

    Args:
        name: As for `Lock`.
        function: What is called for each request; ``None`` only looks.
        workers: How many threads call it at once.
        concurrency: How many calls each thread works on at once, where the function is asynchronous.
        maxsize: How many requests may wait; 1024 when it is created and nothing says otherwise.
        max_bytes: Bytes of those messages that do not fit beside their request, and so of the largest one; 16 MiB when
            it is created and nothing says otherwise, or what eight arrays each way need.
        shape: Shape of requests; ``()`` for a single number or record.
        dtype: Their dtype, a structured one too.
        type: Type of requests.
        reply_shape: Shape of replies.
        reply_dtype: Their dtype.
        reply_type: Type of replies.
        codec: ``"bytes"`` or ``"pickle"``, for requests, and for replies where nothing else is said of them. A service
            that exists is taken as it is, pickles included, which can run any code: with ``any_owner`` they must be
            asked for.
        drain: Seconds that streams may go on when it stops. Calls that were begun are always finished.
        options: ``perm``, ``max_participants``, ``follow_symlinks`` and ``any_owner``, as for `Lock`.

    Raises:
        OSError: As from `Lock`; ``ENOSPC`` when there is no room for it.
        SegmentMismatch: The file is something else, or a service with other messages, which the message compares field
            by field; a ``ValueError``.
        TypeError: The function is none.
        ValueError: It exists, and was made with other numbers; or the arguments make no sense.

    Example:
        >>> from samemap import Client
        >>> with Service("doc-service", str.upper) as service, Client("doc-service") as client:
        ...     client.call("hello")
        ...     service.unlink()
        'HELLO'
    """

    __slots__ = ("_concurrency", "_crew", "_drain", "_function", "_staff", "_threads")
    _noun = "Service"
    _function: Handler | None
    _threads: int
    _concurrency: int
    _drain: float
    #: Who serves in this process; or the processes that do.
    _staff: Staff | None
    _crew: Crew | None

    def __new__(  # noqa: D102 - the class describes it
        cls,
        name: Name = None,
        function: Handler | None = None,
        *,
        workers: int = 1,
        concurrency: int = 100,
        maxsize: int | None = None,
        max_bytes: int | None = None,
        shape: int | Sequence[int] | None = None,
        dtype: Any = None,
        type: Any = None,  # noqa: A002 - what it is
        reply_shape: int | Sequence[int] | None = None,
        reply_dtype: Any = None,
        reply_type: Any = None,
        codec: Literal["bytes", "pickle"] | None = None,
        drain: float = 5.0,
        **options: Unpack[Options],
    ) -> Self:
        if function is not None and not callable(function):
            raise TypeError(f"a service has a function, which takes a request and returns the reply, not {function!r}")
        if index(workers) < 1 or index(concurrency) < 1:
            raise ValueError(f"workers={workers}, concurrency={concurrency}: say how many calls it works on, 1 or more")
        if not drain >= 0:
            raise ValueError(f"drain is a number of seconds that is not negative, not {drain!r}")
        asked: Choice = {"shape": shape, "dtype": dtype, "type": type}
        given: Choice = {"shape": reply_shape, "dtype": reply_dtype, "type": reply_type}
        for choice in (asked, given):
            if all(value is None for value in choice.values()):
                choice["codec"] = codec
        trusted = not options.get("any_owner", False) or codec == "pickle"
        if not trusted and not all(any(value is not None for value in each.values()) for each in (asked, given)):
            raise ValueError(
                "with any_owner, say what requests and replies are: codec='pickle' if you trust whoever made the "
                "service, because unpickling can run any program"
            )
        plan = cls._plan(asked, given, maxsize, max_bytes)
        thing = cls._make("open-or-create", name, (asked, given, trusted), plan, **options)
        thing._function, thing._threads, thing._concurrency, thing._drain = function, workers, concurrency, drain
        return thing

    @classmethod
    def _plan(cls, asked: Choice, given: Choice, maxsize: int | None, max_bytes: int | None) -> Plan:
        # Before anything is made.
        codec, _ = codecs.choose(**asked, default="pickle")
        reply_codec, _ = codecs.choose(**given, default="pickle")
        insisted = {"maxsize": maxsize, "max_bytes": max_bytes}
        maxsize = REQUESTS if maxsize is None else index(maxsize)
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize}: say how many requests may wait, 1 or more")
        sizes = [each.size or 0 for each in (codec, reply_codec)]
        max_bytes = max(BYTES, ARRAYS * sum(sizes)) if max_bytes is None else index(max_bytes)
        if max_bytes < max(*sizes, 1):
            raise ValueError(f"max_bytes={max_bytes} leaves no room for a message: at least {max(*sizes, 1)}")
        fields = {
            **codec.schema(),
            REPLIES: reply_codec.schema(),
            "maxsize": maxsize,
            "max_bytes": max_bytes,
        }
        if (length := len(json.dumps(fields))) > LONGEST_SCHEMA:
            raise ValueError(
                f"the description of these requests and replies has {length} bytes, and a file has room for "
                f"{LONGEST_SCHEMA}: have fewer fields or shorter names, or leave them pickles"
            )
        return fields, {field: value for field, value in insisted.items() if value is not None}, (maxsize, max_bytes, 0)

    @classmethod
    def _over(cls, segment: Any, offset: int, *own: Any) -> Self:
        thing = super()._over(segment, offset, *own)
        thing._function, thing._threads, thing._concurrency, thing._drain = None, 1, 100, 5.0
        thing._staff = thing._crew = None
        return thing

    # Serving

    @property
    def function(self) -> Handler | None:
        """What is called for each request; ``None`` in a handle that only looks."""
        return self._function

    def __call__(self, value: Any) -> Any:
        """Call the function here, as if there were no service."""
        return self._handler()(value)

    def __enter__(self) -> Self:
        super().__enter__()
        if self._function is not None:
            self._staff = self._start()
        return self

    def __exit__(self, *raised: object) -> None:
        staff, self._staff = self._staff, None
        try:
            if staff is not None:
                staff.finish()
        except Exception:
            # What the block raised matters more.
            if raised[0] is None:
                raise
        finally:
            self.close()

    def run(self, *, processes: int | None = None) -> None:
        """Serve until Ctrl-C, `stop` or `shutdown`; then finish the calls that were begun, and return.

        Args:
            processes: How many processes serve, each with its ``workers``: they are forked from this one, which
                replaces those that die. ``None`` serves in this one.

        Raises:
            KeyboardInterrupt: Ctrl-C once more, while it waits for the calls that were begun.
            OSError: As from `Queue.get`.
            ShutDown: It was shut down before.
            TypeError: It has no function.
            ValueError: It is closed, or the number makes no sense.

        Example:
            >>> from threading import Timer
            >>> service = Service(function=str.upper)
            >>> Timer(0.1, service.stop).start()
            >>> service.run()
        """
        if processes is not None and index(processes) < 1:
            raise ValueError(f"processes={processes}: say how many are to serve, 1 or more")
        self._handler()
        if self._staff is not None or self._crew is not None:
            raise ValueError(f"{self!r} serves already")
        if processes is not None:
            self._crew = Crew(self._start, processes, lambda: self.is_shut_down)
            try:
                self._crew.run()
            finally:
                self._crew = None
            return
        staff = self._staff = self._start()
        try:
            try:
                staff.over.wait()
            except KeyboardInterrupt:
                # That is how it is told to stop.
                staff.stop()
            staff.finish()
        finally:
            self._staff = None

    def stop(self) -> None:
        """Have this process take no more requests: `run` returns when those that it has are done. From any thread.

        Requests that wait are for others, or for the next one that serves. `shutdown` ends the service for all.
        """
        if self._staff is not None:
            self._staff.stop()
        if self._crew is not None:
            self._crew.stop()

    def close(self) -> None:
        """Close it: this process has it no more, and serves no more. Closing twice is fine.

        Example:
            >>> service = Service()
            >>> service.close()
            >>> service.closed
            True
        """
        self.stop()
        super().close()

    def _start(self) -> Staff:
        if self.is_shut_down:
            raise ShutDown(f"{self!r}: unlink it, and make it anew")
        return Staff(self, self._handler(), self._threads, self._concurrency, self._drain)

    def _handler(self) -> Handler:
        if self._function is None:
            raise TypeError(f"{self!r} has no function: Service(name, function)")
        return self._function


def serve(name: Name, **options: Any) -> Callable[[Handler], Service]:
    """Make a service of a function: a decorator.

    Args:
        name: As for `Service`.
        options: As for `Service`.

    Returns:
        The decorator. What it returns is a `Service`, which can still be called as the function.

    Example:
        >>> @serve(None, workers=2)
        ... def double(x):
        ...     return 2 * x
        >>> double(4)
        8
        >>> with double:
        ...     double.stats().servers
        1
    """

    def decorate(function: Handler) -> Service:
        return Service(name, function, **options)

    return decorate
