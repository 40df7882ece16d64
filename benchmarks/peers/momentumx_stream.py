"""momentumx: a stream that is kept in step (sync), so that nothing is lost."""

from __future__ import annotations

import math
import time

import momentumx
import numpy as np

from peers.case import Case

NAME = "momentumx"


class Sender:
    """Produces."""

    def __init__(self, name: str, case: Case) -> None:
        size, count = (math.prod(case.frame), 4) if case.frame else (64, 200)
        self.producer = momentumx.Producer(name, size, count, sync=True)

    def wait_for(self, count: int) -> None:
        """Wait until so many receive."""
        while self.producer.subscriber_count < count:
            time.sleep(0.001)

    def send(self, data: bytes) -> None:
        """Send a message."""
        buffer = self.producer.next_to_send()
        buffer.write(data)
        buffer.send()

    def fill(self, number: int) -> None:
        """Send a frame that is full of a number."""
        buffer = self.producer.next_to_send()
        frame = np.frombuffer(buffer, np.uint8)
        frame[:] = number
        buffer.send(len(frame))


class Receiver:
    """Consumes."""

    def __init__(self, name: str, case: Case) -> None:
        for _ in range(5000):
            try:
                self.consumer = momentumx.Consumer(name)
                return
            except momentumx.StreamUnavailable:
                time.sleep(0.002)

    def poll(self) -> bytes | None:
        """Return a message if it is there."""
        buffer = self.consumer.receive(blocking=False)
        return None if buffer is None else bytes(buffer.read(64))

    def recv(self) -> bytes:
        """Wait for a message, and return it."""
        return bytes(self.consumer.receive().read(64))

    def read(self) -> int:
        """Wait for a frame, read all of it, and return its largest number."""
        return int(np.max(np.frombuffer(self.consumer.receive(), np.uint8)))


sender, receiver = Sender, Receiver
