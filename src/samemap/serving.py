"""Those who serve in a process: threads that take requests, call the handler, and reply."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Generator
from contextlib import aclosing, closing, suppress
from contextvars import ContextVar

from . import aio, presence
from .exhaustion import Empty, Full, LeaseLost, ShutDown
from .failures import failure_of
from .replies import END, ERROR, LAST, PART

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Any, Protocol, TypeAlias

    from ._core import Participant, Pending, Request

    Handler: TypeAlias = Callable[[Any], Any]

    class Serviced(Protocol):
        """What requests come from."""

        @property
        def closed(self) -> bool:
            """Whether it was closed."""

        def _take(self, timeout: float | None) -> Request: ...
        def _begin_take(self) -> Pending[None]: ...
        def _note(self, message: bytes) -> Any: ...
        def _descriptor(self) -> int: ...


__all__ = ["CurrentRequest", "Staff", "current_request"]

#: Seconds after which who waits sees whether it is time to stop; those who sleep in the kernel look after the dead
#: as often anyway.
SLICE = 0.05
#: Seconds between two looks at whether anybody still waits for what tasks do.
GLANCE = 0.02


class CurrentRequest:
    """What a handler can know of the call that it works on.

    Args:
        request: It; ``None`` when the handler was called directly.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request | None) -> None:
        self._request = request

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for a reply any more: the caller gave up, or died."""
        return self._request is not None and _is_abandoned(self._request)

    @property
    def seq(self) -> int:
        """The number of the request; 0 in a direct call."""
        return 0 if self._request is None else self._request.seq

    @property
    def age(self) -> float:
        """How many seconds ago the call was made."""
        return 0.0 if self._request is None else self._request.age

    @property
    def client(self) -> Participant | None:
        """The process that calls; ``None`` where that is not known any more."""
        return None if self._request is None else self._request.producer


_DIRECT = CurrentRequest(None)
_current: ContextVar[CurrentRequest] = ContextVar("samemap-request", default=_DIRECT)


def current_request() -> CurrentRequest:
    """Return the request that this thread or task works on, for handlers that want to know.

    Example:
        >>> current_request().cancelled
        False
    """
    return _current.get()


class Staff:
    """The threads of this process that serve.

    Args:
        service: Where requests come from.
        handler: What is called for each.
        workers: How many threads.
        concurrency: How many calls each of them works on at once, where the handler is a coroutine function.
        drain: Seconds that streams may go on after `stop`.
    """

    def __init__(self, service: Serviced, handler: Handler, workers: int, concurrency: int, drain: float) -> None:
        self._service = service
        self._handler = handler
        self._concurrency = concurrency
        self._drain = drain
        self._deadline: float | None = None
        self._loops: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}
        self._lock = threading.Lock()
        self._left = workers
        self._error: BaseException | None = None
        #: Set when all threads have ended.
        self.over = threading.Event()
        work = self._in_tasks if _is_async(handler) else self._in_calls
        self._presence = presence.announce(service._descriptor())
        for number in range(workers):
            name = f"samemap-worker-{number}"
            # Not waited for at exit: who interrupts the wait for a handler wants to go.
            threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Take no more requests. What was begun goes on; streams for a while only."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + self._drain
        presence.withdraw(self._presence)
        with self._lock:
            for loop, stop in self._loops.items():
                loop.call_soon_threadsafe(stop.set)

    def finish(self) -> None:
        """Stop, wait for what was begun, and raise what has ended a thread if anything did."""
        self.stop()
        self.over.wait()
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ShutDown:
            pass
        except BaseException as error:
            # A service that was closed under its threads is how some programs end them.
            if not self._service.closed:
                self._error = error
        finally:
            with self._lock:
                self._left -= 1
                is_last = not self._left
            if is_last:
                presence.withdraw(self._presence)
                self.over.set()

    @property
    def _is_overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    # Functions and generators

    def _in_calls(self) -> None:
        while self._deadline is None:
            try:
                request = self._service._take(SLICE)
            except Empty:
                continue
            token = _current.set(CurrentRequest(request))
            try:
                if not request.cancelled:
                    self._answer(request)
            finally:
                _current.reset(token)
                _end(request)
            # Not while the next one is waited for: it keeps memory.
            del request, token

    def _answer(self, request: Request) -> None:
        try:
            result = self._handler(request.value)
            if isinstance(result, Generator):
                self._stream(request, result)
            else:
                self._reply(request, LAST, result)
        except BaseException as error:
            self._fail(request, error)

    def _stream(self, request: Request, parts: Generator[Any, Any, Any]) -> None:
        with closing(parts):
            for part in parts:
                if not self._reply(request, PART, part):
                    return
                self._insist_on_time()
        self._reply(request, END, self._service._note(b""))

    def _reply(self, request: Request, flags: int, value: Any) -> bool:
        while True:
            try:
                return request.reply(flags, value, SLICE)
            except Full:
                # Its caller is slow, or there is no room.
                pass
            self._insist_on_time()

    def _insist_on_time(self) -> None:
        if self._is_overdue:
            raise ShutDown("the server stopped in the middle of the reply")

    def _fail(self, request: Request, error: BaseException) -> None:
        for short in (False, True):
            message = self._service._note(failure_of(error, short))
            try:
                self._reply(request, ERROR, message)
            except ValueError:
                # It is too long; or the service was closed, and nobody is to be told.
                continue
            except ShutDown:
                # The caller will see that the request was ended.
                return
            return

    # Coroutine functions and asynchronous generators

    def _in_tasks(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._loops[loop] = stop
        if self._deadline is not None:
            stop.set()
        running: dict[asyncio.Task[None], Request] = {}
        taking = loop.create_task(self._accept(running))
        watching = loop.create_task(self._watch(running))
        stopping = loop.create_task(stop.wait())
        try:
            await asyncio.wait([taking, stopping], return_when=asyncio.FIRST_COMPLETED)
            taking.cancel()
            with suppress(asyncio.CancelledError, ShutDown):
                await taking
            while running:
                left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
                await asyncio.wait([*running], timeout=min(GLANCE, GLANCE if left is None else left))
                if self._is_overdue:
                    for task in running:
                        task.cancel()
        finally:
            with self._lock:
                del self._loops[loop]
            watching.cancel()
            stopping.cancel()

    async def _accept(self, running: dict[asyncio.Task[None], Request]) -> None:
        room = asyncio.Semaphore(self._concurrency)

        def end(task: asyncio.Task[None]) -> None:
            running.pop(task)
            room.release()

        while True:
            await room.acquire()
            request = await self._next()
            task = asyncio.get_running_loop().create_task(self._answer_in_task(request))
            running[task] = request
            task.add_done_callback(end)
            del request, task

    async def _next(self) -> Request:
        while True:
            try:
                return self._service._take(0)
            except Empty:
                pass
            await aio.finished(self._service, self._service._begin_take(), None)

    async def _watch(self, running: dict[asyncio.Task[None], Request]) -> None:
        while True:
            for task, request in list(running.items()):
                if _is_abandoned(request):
                    task.cancel()
            await asyncio.sleep(GLANCE)

    async def _answer_in_task(self, request: Request) -> None:
        _current.set(CurrentRequest(request))
        try:
            if request.cancelled:
                return
            result = self._handler(request.value)
            if inspect.isasyncgen(result):
                await self._stream_in_task(request, result)
            else:
                await self._reply_in_task(request, LAST, await result)
        except asyncio.CancelledError:
            if not _is_abandoned(request):
                await self._fail_in_task(request, ShutDown("the server stopped in the middle of the call"))
        except BaseException as error:
            await self._fail_in_task(request, error)
        finally:
            _end(request)

    async def _stream_in_task(self, request: Request, parts: AsyncGenerator[Any, Any]) -> None:
        async with aclosing(parts):
            async for part in parts:
                if not await self._reply_in_task(request, PART, part):
                    return
        await self._reply_in_task(request, END, self._service._note(b""))

    async def _reply_in_task(self, request: Request, flags: int, value: Any) -> bool:
        pause = GLANCE / 32
        while True:
            try:
                return request.reply(flags, value, 0)
            except Full:
                # Its caller is slow, or there is no room.
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, GLANCE)

    async def _fail_in_task(self, request: Request, error: BaseException) -> None:
        for short in (False, True):
            message = self._service._note(failure_of(error, short))
            # It is too long; or the service was closed, and nobody is to be told.
            with suppress(ValueError):
                if isinstance(error, ShutDown):
                    # There is no time left. Where there is no room, the caller sees that the request was ended.
                    with suppress(Full):
                        request.reply(ERROR, message, 0)
                else:
                    await self._reply_in_task(request, ERROR, message)
                return


def _is_async(handler: Handler) -> bool:
    """Tell whether a handler wants an event loop."""
    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004 - its own
    return any(
        check(each) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction) for each in (handler, called)
    )


def _is_abandoned(request: Request) -> bool:
    """Tell whether nobody waits for a reply any more; also where nobody has looked after a dead caller yet."""
    if request.cancelled:
        return True
    caller = request.producer
    return caller is None or not caller.alive


def _end(request: Request) -> None:
    # Its caller may have ended it, or this process's handle was closed.
    with suppress(LeaseLost, ValueError):
        request.done()
