"""Those who serve in a process: threads that take requests, call the handler, and reply."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing

from . import presence
from .exhaustion import Empty, Full, ShutDown
from .failures import failure_of
from .replies import END, ERROR, LAST, PART
from .requests import CurrentRequest, current, end

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._core import Request
    from .requests import Handler, Serviced
    from .tasks import TaskWorker

__all__ = ["Staff"]

#: Seconds after which who waits sees whether it is time to stop; those who sleep in the kernel look after the dead
#: as often anyway.
SLICE = 0.05


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
        self._drain = drain
        self._deadline: float | None = None
        self._lock = threading.Lock()
        self._ended = 0
        self._error: BaseException | None = None
        #: Set when all threads have ended.
        self.over = threading.Event()
        self._in_tasks: list[TaskWorker] = []
        if is_async := _is_async(handler):
            # Imported here because it brings asyncio.
            from .tasks import TaskWorker

            self._in_tasks += [TaskWorker(service, handler, concurrency) for _ in range(workers)]
        # Not waited for at exit: who interrupts the wait for a handler wants to go.
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(self._in_tasks[number].run if is_async else self._in_calls,),
                name=f"samemap-worker-{number}",
                daemon=True,
            )
            for number in range(workers)
        ]
        self._presence = presence.announce(service._descriptor())

    def start(self) -> None:
        """Begin. Ctrl-C may come in the middle: `finish` is still right."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more requests. What was begun goes on; streams for a while only."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + self._drain
        presence.withdraw(self._presence)
        for each in self._in_tasks:
            each.stop(self._deadline)

    def finish(self) -> None:
        """Stop, wait for what was begun, and raise what has ended a thread if anything did."""
        self.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
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
                self._ended += 1
                is_last = self._ended == len(self._threads)
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
            token = current.set(CurrentRequest(request, self._service))
            try:
                if not request.cancelled:
                    self._answer(request)
            finally:
                current.reset(token)
                end(request)
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


def _is_async(handler: Handler) -> bool:
    """Tell whether a handler wants an event loop."""
    import inspect

    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004 - its own
    checks = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return any(check(each) for check in checks for each in (handler, called))
