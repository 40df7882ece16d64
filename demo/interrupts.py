"""Ctrl-C and friends, turned into one exception that never comes at a bad moment."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants this process to end.

    Attributes:
        signal: What was sent.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)


class Interrupts:
    """Raises `Interrupted` for the signals that ask a process to end, but not while it is `deferred`."""

    def __init__(self) -> None:
        self._deferring = False
        self._pending: int | None = None

    def install(self) -> None:
        """Take over the signals."""
        for number in SIGNALS:
            # What nohup(1) ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def ignore(self) -> None:
        """Let nothing disturb the cleaning up."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold signals back: what is made inside is noted down before anything can interrupt."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending is not None:
            raise Interrupted(self._pending)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deferring:
            self._pending = number
        else:
            raise Interrupted(number)
