"""The processes that take part: strangers that are programs of their own, and children made by fork."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
from multiprocessing.process import BaseProcess as Process
from typing import IO, Any

from waiting import PATIENCE


class PeerError(Exception):
    """A process that takes part ended before its time."""


class Peer:
    """A process that the demo started: here, a child made by fork.

    Attributes:
        role: What it is called on the screen.
        pid: Its number.
    """

    def __init__(self, role: str, pid: int | None, process: Process) -> None:
        self.role = role
        self.pid = pid or 0
        self._process = process

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; ``None`` while it runs."""
        return self._process.exitcode

    def wait(self) -> None:
        """Wait until it has ended, but not for ever."""
        self._process.join(PATIENCE)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()

    def finish(self) -> None:
        """Wait until it has ended well.

        Raises:
            PeerError: It failed, or did not end.
        """
        self.wait()
        if self.status != 0:
            raise PeerError(self.last_words())

    def last_words(self) -> str:
        """Say how it ended."""
        status = self.status
        if status is None:
            return f"{self} does not end"
        if status < 0:
            return f"{self} was killed by {signal.Signals(-status).name}"
        return f"{self} ended too early, with status {status}"

    def __str__(self) -> str:
        return f"{self.role} (pid {self.pid})"


class Stranger(Peer):
    """A program of its own: it inherits no memory, only what it is told."""

    def __init__(self, role: str, program: subprocess.Popen[bytes]) -> None:
        self.role = role
        self.pid = program.pid
        self._program = program

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; ``None`` while it runs."""
        return self._program.poll()

    def wait(self) -> None:
        """Wait until it has ended, but not for ever."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.wait(PATIENCE)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._program.kill()
        self._program.wait()
        for stream in (self._program.stdin, self._program.stdout, self._program.stderr):
            if stream is not None:
                stream.close()

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        with contextlib.suppress(BrokenPipeError):  # `hear` tells how it ended
            _open(self._program.stdin).write(line.encode() + b"\n")

    def say_no_more(self) -> None:
        """End its standard input."""
        _open(self._program.stdin).close()

    def hear(self) -> dict[str, Any]:
        """Return what it tells next.

        Raises:
            PeerError: It ended, or said nothing for too long.
        """
        output = _open(self._program.stdout)
        if not select.select([output], [], [], PATIENCE)[0]:
            raise PeerError(f"{self} said nothing for {PATIENCE:.0f} s")
        line = output.readline()
        if not line:
            self.wait()
            raise PeerError(self.last_words())
        facts: dict[str, Any] = json.loads(line)
        return facts

    def last_words(self) -> str:
        """Say how it ended, with the last line that it left on its standard error."""
        text = super().last_words()
        if self.status:
            lines = _open(self._program.stderr).read().decode(errors="replace").strip().splitlines()
            text = ": ".join([text, *lines[-1:]])
        return text


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("the program was started without a pipe for that")
    return stream
