"""One who serves in tasks: an event loop that takes requests, and works on several at once."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from contextlib import aclosing, suppress

from . import aio
from .exhaustion import Empty, Full, ShutDown
from .failures import failure_of
from .replies import END, ERROR, LAST, PART
from .requests import CurrentRequest, current, end

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from ._core import Request
    from .requests import Handler, Serviced

__all__ = ["TaskWorker"]

#: Seconds between two looks at whether anybody still waits for what tasks do.
GLANCE = 0.02


class TaskWorker:
    """An event loop that serves.

    Args:
        service: Where requests come from.
        handler: What is called for each.
        concurrency: How many calls it works on at once.
    """

    def __init__(self, service: Serviced, handler: Handler, concurrency: int) -> None:
        self._service = service
        self._handler = handler
        self._concurrency = concurrency
        self._deadline: float | None = None
        self._lock = threading.Lock()
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def run(self) -> None:
        """Serve until `stop`, and until what was begun is done.

        Raises:
            ShutDown: The service was shut down.
        """
        asyncio.run(self._work())

    def stop(self, deadline: float) -> None:
        """Take no more requests; what was begun may go on until then, on the monotonic clock. From any thread."""
        with self._lock:
            self._deadline = deadline
            if self._wake is not None:
                loop, stop = self._wake
                loop.call_soon_threadsafe(stop.set)

    async def _work(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wake = loop, stop
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
                await asyncio.wait([*running], timeout=GLANCE)
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    for task in running:
                        task.cancel()
        finally:
            with self._lock:
                self._wake = None
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
                if request.cancelled:
                    task.cancel()
            await asyncio.sleep(GLANCE)

    async def _answer_in_task(self, request: Request) -> None:
        current.set(CurrentRequest(request, self._service))
        try:
            if request.cancelled:
                return
            result = self._handler(request.value)
            if inspect.isasyncgen(result):
                await self._stream_in_task(request, result)
            else:
                await self._reply_in_task(request, LAST, await result)
        except asyncio.CancelledError:
            if not request.cancelled:
                await self._fail_in_task(request, ShutDown("the server stopped in the middle of the call"))
        except BaseException as error:
            await self._fail_in_task(request, error)
        finally:
            end(request)

    async def _stream_in_task(self, request: Request, parts: AsyncGenerator[Any, Any]) -> None:
        async with aclosing(parts):
            async for part in parts:
                if not await self._reply_in_task(request, PART, part):
                    return
        await self._reply_in_task(request, END, self._service._note(b""))

    async def _reply_in_task(self, request: Request, flags: int, value: Any) -> bool:
        size = None
        while True:
            try:
                return request.reply(flags, value, 0)
            except Full:
                # Its caller is slow, or there is no room.
                pass
            if size is None:
                size = request._size_of(value)
            await aio.finished(self._service, request._begin_reply(size), None)

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
