"""Processes that serve, and their supervisor, which replaces those that die."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from multiprocessing import connection, get_context

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkProcess

    from .serving import Staff

__all__ = ["Crew"]

#: Seconds between the death of a process and its replacement, when it did not even live as long; doubled each time.
SHORTEST, LONGEST = 0.1, 5.0
#: Seconds between two looks of a process at whether its threads have ended by themselves.
GLANCE = 0.1


class Crew:
    """Processes that serve, replaced when they die.

    Args:
        start: Starts the threads of one.
        number: How many processes.
        is_over: Tells whether those that end are not to be replaced.
    """

    def __init__(self, start: Callable[[], Staff], number: int, is_over: Callable[[], bool]) -> None:
        self._start = start
        self._is_over = is_over
        self._context = get_context("fork")
        # Its processes stop at its end: when it is closed, and also when the supervisor dies.
        self._reader, self._writer = os.pipe()
        self._stopped, self._bell = os.pipe()
        self._living: dict[int, tuple[ForkProcess, float]] = {}
        #: When to start one more.
        self._due = [0.0] * number
        self._pause = SHORTEST

    def run(self) -> None:
        """Serve until `stop`, Ctrl-C or shutdown, and wait for what was begun."""
        try:
            with suppress(KeyboardInterrupt):
                self._supervise()
        finally:
            self._end()

    def stop(self) -> None:
        """Have `run` come to its end."""
        with suppress(OSError):
            os.write(self._bell, b"!")

    def _supervise(self) -> None:
        while not self._is_over():
            now = time.monotonic()
            for moment in [due for due in self._due if due <= now]:
                self._due.remove(moment)
                self._begin()
            ends = [self._stopped, *self._living]
            wait = max(0.0, min(self._due) - now) if self._due else None
            ready = connection.wait(ends, wait)
            if self._stopped in ready:
                return
            for sentinel in [fd for fd in self._living if fd in ready]:
                process, since = self._living.pop(sentinel)
                process.join()
                process.close()
                lived = time.monotonic() - since
                self._pause = min(2 * self._pause, LONGEST) if lived < 1 else SHORTEST
                self._due.append(time.monotonic() + (self._pause if lived < 1 else 0.0))

    def _begin(self) -> None:
        process = self._context.Process(target=self._work, name="samemap-service")
        process.start()
        self._living[process.sentinel] = (process, time.monotonic())

    def _end(self) -> None:
        os.close(self._writer)
        try:
            for process, _ in self._living.values():
                process.join()
        except BaseException:
            # Ctrl-C once more: they are not waited for.
            for process, _ in self._living.values():
                process.kill()
            raise
        finally:
            for fd in (self._reader, self._stopped, self._bell):
                os.close(fd)

    def _work(self) -> None:
        os.close(self._writer)
        staff = self._start()
        try:
            while not staff.over.is_set() and not select.select([self._reader], [], [], GLANCE)[0]:
                pass
        except KeyboardInterrupt:
            # It comes to all processes of the terminal; the supervisor waits for this one, and kills it at the next.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        staff.finish()
