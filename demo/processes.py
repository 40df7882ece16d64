"""Starting the processes that take part, and leaving none of them behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from interrupts import SIGNALS, Interrupts
from peers import Peer, PeerError, Stranger

HERE = Path(__file__).parent


class Processes:
    """Starts processes, watches them, and leaves none behind.

    Attributes:
        directory: Where the plain names of this demo are files; nobody else uses it.
    """

    def __init__(self, directory: Path, interrupts: Interrupts) -> None:
        self.directory = directory
        self._interrupts = interrupts
        self._peers: list[Peer] = []
        self._killed: list[Peer] = []

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
            if peer.status not in (None, 0) and peer not in self._killed:
                raise PeerError(peer.last_words())

    def kill(self, peer: Peer) -> None:
        """Kill one of them on purpose: `still_there` does not miss it."""
        peer.kill()
        self._killed.append(peer)

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
        try:
            interrupts.ignore()
        finally:  # a signal may come in the last moment
            if processes is not None:
                processes.end()
            if directory is not None:
                shutil.rmtree(directory)
