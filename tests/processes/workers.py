"""Workers: processes that do what a test tells them, one piece of Python at a time, and can be killed at it."""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isolated import until

from samemap.segments import SegmentObject

#: What runs in the process. Expressions are answered with their value, statements with None, errors with themselves.
LOOP = """
import pickle, sys
import samemap
from samemap import *

def work():
    scope = {"__name__": "__main__", **{name: getattr(samemap, name) for name in samemap.__all__}}
    while True:
        try:
            source = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        try:
            try:
                code, run = compile(source, "<told>", "eval"), eval
            except SyntaxError:
                code, run = compile(source, "<told>", "exec"), exec
            answer = True, run(code, scope)
        except BaseException as error:
            answer = False, error
        sys.stdout.buffer.write(pickle.dumps(answer))
        sys.stdout.buffer.flush()
"""

#: A process that has imported what workers need and opened nothing. It forks the workers, which takes a tenth of the
#: time that starting an interpreter does.
NURSERY = (
    LOOP
    + """
import asyncio, os, random, signal, socket, subprocess, threading, time
nursery = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    request, fds, _, _ = socket.recv_fds(nursery, 1 << 16, 2)
    if not request:
        sys.exit()
    pid = os.fork()
    if pid == 0:
        break
    for fd in fds:
        os.close(fd)
    nursery.send(str(pid).encode())
nursery.close()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
for fd, taken in zip(fds, (0, 1)):
    os.dup2(fd, taken)
    os.close(fd)
os.environ.update(pickle.loads(request))
work()
"""
)


@functools.cache
def nursery() -> socket.socket:
    """Start the process that makes workers, at first use."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


class Worker:
    """A process that has imported samemap and opened nothing, and waits to be told what to do.

    Args:
        setup: What to do first.
        line: What to start a new interpreter with: ``unshare``, say; it is forked from one that is there otherwise.
        more: As for ``subprocess.Popen``.
    """

    def __init__(self, setup: str = "None", line: tuple[str, ...] | None = None, **more: Any) -> None:
        source, self._orders = os.pipe()
        answers, sink = os.pipe()
        if line is None:
            request = pickle.dumps({"SAMEMAP_DIR": os.environ["SAMEMAP_DIR"]})
            socket.send_fds(nursery(), [request], [source, sink])
            self.pid = int(nursery().recv(100))
            self._process = None
        else:
            whole = [*line, sys.executable, "-c", LOOP + "work()"]
            self._process = subprocess.Popen(whole, stdin=source, stdout=sink, **more)
            self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        os.close(source)
        os.close(sink)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self.stopped = False
        #: Whether it has been told something that it has not answered yet.
        self.busy = False
        self.do(setup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.end()

    def tell(self, source: str) -> None:
        """Tell it what to do, and do not wait for the answer."""
        assert not self.busy
        os.write(self._orders, pickle.dumps(source))
        self.busy = True

    def answers(self, within: float) -> bool:
        """Tell whether an answer comes in time; negative or not."""
        return bool(select.select([self._answers], [], [], within)[0])

    def answer(self, within: float = 30) -> Any:
        """Return the answer to what it was told, or raise it."""
        assert self.busy
        assert self.answers(within), f"no answer within {within} s"
        went_well, value = pickle.load(self._answers)
        self.busy = False
        if went_well:
            return value
        raise value

    def do(self, source: str) -> Any:
        """Tell it what to do, and return the answer or raise it."""
        self.tell(source)
        return self.answer()

    def wait_in(self, source: str, thing: SegmentObject) -> None:
        """Tell it to do what will make it wait for the thing, and see to it that it sleeps there."""
        self.tell(source)
        until(lambda: self.answers(0) or self.sleeps_for(thing), f"sleeping in {source}")
        assert not self.answers(0), self.answer()

    def sleeps_for(self, thing: SegmentObject) -> bool:
        """Tell whether the thing's roster says that it sleeps."""
        return any(someone.pid == self.pid and someone.waiting > 0 for someone in thing.participants())

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> float:
        """Kill it, do not wait for its end, and return when that was."""
        now = time.monotonic()
        self.signal(signal.SIGKILL)
        return now

    def killed(self) -> None:
        """Kill it, and wait for its end."""
        self.kill()
        assert self.ends()

    def ends(self, within: float = 30) -> bool:
        """Tell whether it ends in time."""
        return bool(select.select([self._pidfd], [], [], within)[0])

    def leave(self) -> None:
        """Let it end normally, and wait for that."""
        self._close_orders()
        assert self.ends()

    def stop(self) -> None:
        """Stop it as Ctrl-Z does, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        until(lambda: self.state() == "T", "stopping")
        self.stopped = True

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)
        self.stopped = False

    def state(self) -> str:
        """Return its state, as proc_pid_stat(5) says it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def end(self) -> None:
        """See to it that it is gone. Twice is fine."""
        if self._answers.closed:
            return
        if not self.ends(0):
            self.killed()
        if self._process is not None:
            self._process.wait()
        self._close_orders()
        self._answers.close()
        os.close(self._pidfd)

    def _close_orders(self) -> None:
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1


@contextmanager
def workers(number: int, setup: str = "None", line: tuple[str, ...] | None = None) -> Iterator[list[Worker]]:
    """Give some workers, all of which have done the same first."""
    with ExitStack() as ends:
        yield [ends.enter_context(Worker(setup, line)) for _ in range(number)]
