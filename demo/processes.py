"""The processes that take part: strangers that are programs of their own, and children made by fork."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import IO, Any

from interrupts import SIGNALS, Interrupts
from waiting import PATIENCE

HERE = Path(__file__).parent


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


class Processes:
    """Starts processes, watches them, and leaves none behind.

    Attributes:
        directory: Where the plain names of this demo are files; nobody else uses it.
    """

    def __init__(self, directory: Path, interrupts: Interrupts) -> None:
        self.directory = directory
        self._interrupts = interrupts
        self._peers: list[Peer] = []

    def start(self, role: str, program: str, *arguments: object) -> Stranger:
        """Start a program of this folder."""
        line = [sys.executable, str(HERE / program), *map(str, arguments)]
        pipe = subprocess.PIPE
        with self._interrupts.deferred():
            # In a process group of its own, it does not get the terminal's Ctrl-C: the demo ends it.
            process = subprocess.Popen(  # noqa: S603 - a program of ours
                line, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, process_group=0
            )
            stranger = Stranger(role, process)
            self._peers.append(stranger)
        return stranger

    def fork(self, role: str, function: Callable[..., None], *arguments: object) -> Peer:
        """Start a child that inherits this process's mappings."""

        def child() -> None:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
            function(*arguments)

        with self._interrupts.deferred():
            process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
            process.start()
            peer = Peer(role, process.pid, process)
            self._peers.append(peer)
        return peer

    def still_there(self) -> None:
        """Raise `PeerError` when any process failed or was killed."""
        for peer in self._peers:
            if peer.status not in (None, 0):
                raise PeerError(peer.last_words())

    def end(self) -> None:
        """End and reap all of them."""
        for peer in self._peers:
            peer.kill()

    @property
    def started(self) -> int:
        """How many there were."""
        return len(self._peers)

    def left_over(self) -> list[int]:
        """Return the numbers of those that still exist."""
        return [peer.pid for peer in self._peers if Path(f"/proc/{peer.pid}").exists()]


@contextlib.contextmanager
def taking_part(interrupts: Interrupts) -> Iterator[Processes]:
    """Give a runtime directory in memory and processes to go with it; both are gone afterwards."""
    directory: Path | None = None
    processes: Processes | None = None
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private directory in it
    try:
        with interrupts.deferred():
            place = memory if os.access(memory, os.W_OK) else None
            directory = Path(tempfile.mkdtemp(prefix="samemap-demo-", dir=place))
            processes = Processes(directory, interrupts)
        os.environ["SAMEMAP_DIR"] = str(directory)
        yield processes
    finally:
        interrupts.ignore()
        if processes is not None:
            processes.end()
        if directory is not None:
            shutil.rmtree(directory)
