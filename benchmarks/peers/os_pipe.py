"""os.pipe: a named one, because the sides are strangers."""

from __future__ import annotations

import contextlib
import os

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
        self.fd = os.open(_path(name), os.O_RDWR)

    def wait_for(self, count: int) -> None:
        """A pipe keeps what is written."""

    def send(self, data: bytes) -> None:
        """Send a message."""
        os.write(self.fd, data)


class Receiver:
    """Reads."""

    def __init__(self, name: str, case: Case) -> None:
        self.fd = os.open(_path(name), os.O_RDWR)
        self.polled = os.open(_path(name), os.O_RDONLY | os.O_NONBLOCK)

    def poll(self) -> bytes | None:
        """Return a message if it is there."""
        try:
            return os.read(self.polled, 64)
        except BlockingIOError:
            return None

    def recv(self) -> bytes:
        """Wait for a message, and return it."""
        return os.read(self.fd, 64)


sender, receiver = Sender, Receiver
