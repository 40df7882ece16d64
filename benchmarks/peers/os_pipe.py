"""os.pipe: a named one, because the sides are strangers."""

from __future__ import annotations

import contextlib
import os
from functools import partial

from peers.case import Case

NAME = "os.pipe"


def _path(name: str) -> str:
    path = f"/dev/shm/{name}"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path)
    return path


class Sender:
    """Writes."""

    def __init__(self, name: str, case: Case) -> None:
        # For reading too, so that it opens at once.
        self.send = partial(os.write, os.open(_path(name), os.O_RDWR))

    def wait_for(self, count: int) -> None:
        """A pipe keeps what is written."""


class Receiver:
    """Reads."""

    def __init__(self, name: str, case: Case) -> None:
        fd = os.open(_path(name), os.O_RDWR)
        polled = os.open(_path(name), os.O_RDONLY | os.O_NONBLOCK)
        read = os.read

        # Looked up once, as for all peers.
        def poll() -> bytes | None:
            try:
                return read(polled, 64)
            except BlockingIOError:
                return None

        self.poll, self.recv = poll, partial(read, fd, 64)


sender, receiver = Sender, Receiver
