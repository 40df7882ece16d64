"""Workers: processes that do what a test tells them, a piece of Python at a time, and can be killed or stopped at it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
scope = dict(vars(samemap))
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


class Worker:
    """A process that imports samemap and nothing else, and waits to be told what to do.

    Args:
        setup: What to do first.
        line: What to start it with, before the interpreter: ``unshare``, say.
        more: As for ``subprocess.Popen``.
    """

    def __init__(self, setup: str = "None", line: tuple[str, ...] = (), **more: Any) -> None:
        self.process = subprocess.Popen(
            [*line, sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **more
        )
        self.stopped = False
        #: Whether it has been told something that it has not answered yet.
        self.busy = False
        self.do(setup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, source: str) -> None:
        """Tell it what to do, and do not wait for the answer."""
        assert not self.busy
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(source))
        self.busy = True

    def answers(self, within: float) -> bool:
        """Tell whether an answer comes in time; negative or not."""
        return bool(select.select([self.process.stdout], [], [], within)[0])

    def answer(self, within: float = 30) -> Any:
        """Return the answer to what it was told, or raise it."""
        assert self.busy
        assert self.answers(within), f"no answer within {within} s"
        assert self.process.stdout is not None
        went_well, value = pickle.load(self.process.stdout)
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
        os.kill(self.pid, number)

    def kill(self) -> float:
        """Kill it, do not wait for its end, and return when that was."""
        now = time.monotonic()
        self.process.kill()
        return now

    def killed(self) -> None:
        """Kill it, and wait for its end."""
        self.process.kill()
        self.process.wait()

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
        """See to it that it is gone."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def leave(self, seconds: float = 30) -> int:
        """Let it end normally, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(seconds)


@contextmanager
def workers(number: int, setup: str = "None") -> Iterator[list[Worker]]:
    """Give some workers, all of which have done the same first."""
    made: list[Worker] = []
    try:
        for _ in range(number):
            made.append(Worker(setup))
        yield made
    finally:
        for worker in made:
            worker.end()
