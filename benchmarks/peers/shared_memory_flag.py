"""multiprocessing.shared_memory and a counter in front of the message, made by hand: one message at a time, polled."""

from __future__ import annotations

import time
from multiprocessing import resource_tracker, shared_memory

from peers.case import Case

NAME = "shared_memory + flag"


def _block(name: str) -> shared_memory.SharedMemory:
    try:
        return shared_memory.SharedMemory(name, create=True, size=128)
    except FileExistsError:
        block = shared_memory.SharedMemory(name)
        # Python before 3.13 would have it removed twice.
        resource_tracker.unregister(block._name, "shared_memory")  # type: ignore[attr-defined] # there is no other way
        return block


class Sender:
    """Writes a message, then the counter."""

    def __init__(self, name: str, case: Case) -> None:
        self.block = _block(name)
        self.buffer = self.block.buf
        self.turn = 0

    def wait_for(self, count: int) -> None:
        """It stays where it is."""
        time.sleep(0)

    def send(self, data: bytes) -> None:
        """Send a message."""
        self.turn = self.turn % 255 + 1
        self.buffer[64:128] = data
        self.buffer[0] = self.turn


class Receiver:
    """Looks at the counter, then reads the message."""

    def __init__(self, name: str, case: Case) -> None:
        self.block = _block(name)
        self.buffer = self.block.buf
        self.turn = 0

    def poll(self) -> bytes | None:
        """Return a message if it is there."""
        turn = self.buffer[0]
        if turn == self.turn:
            return None
        self.turn = turn
        return bytes(self.buffer[64:128])


sender, receiver = Sender, Receiver
