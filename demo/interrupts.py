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
    """Raises `Interrupted` for the signals that ask a process to end, but not while they are `deferred`.

    It raises once: whoever asks twice, or in two ways at once as make(1) does, must not disturb the cleaning up.
    """

    def __init__(self) -> None:
        self._deferring = False
        self._pending: int | None = None
        self._done = False

    def install(self) -> None:
        """Take over the signals."""
        for number in SIGNALS:
            # What nohup(1) ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def ignore(self) -> None:
        """Let nothing disturb the cleaning up."""
        self._done = True

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold signals back: what is made inside is noted down before anything can interrupt."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending is not None:
            self._raise(self._pending)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deferring:
            self._pending = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        if not self._done:
            self._done = True
            raise Interrupted(number)
