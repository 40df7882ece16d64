"""pyzmq: PUSH to PULL over a Unix socket; XPUB with XPUB_NODROP to SUB for several."""

from __future__ import annotations

import numpy as np
import zmq

from peers.case import Case

NAME = "pyzmq"


class Sender:
    """Binds, and sends."""

    def __init__(self, name: str, case: Case) -> None:
        self.case = case
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB if case.receivers > 1 else zmq.PUSH)
        if case.receivers > 1:
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)
            # Tells of every subscription, not only of the first.
            self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.socket.set_hwm(4 if case.frame else 1000)
        self.socket.bind(f"ipc:///dev/shm/{name}")
        self.send = self.socket.send

    def wait_for(self, count: int) -> None:
        """Wait until so many receive."""
        if self.case.receivers > 1:
            for _ in range(count):
                self.socket.recv()

    def fill(self, number: int) -> None:
        """Send a frame that is full of a number."""
        self.socket.send(memoryview(np.full(self.case.frame, number, np.uint8)), copy=False)


class Receiver:
    """Connects, and receives."""

    def __init__(self, name: str, case: Case) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB if case.receivers > 1 else zmq.PULL)
        self.socket.set_hwm(4 if case.frame else 1000)
        self.socket.connect(f"ipc:///dev/shm/{name}")
        if case.receivers > 1:
            self.socket.subscribe(b"")
        # Looked up once, as for all peers.
        self.recv = receive = self.socket.recv
        now, again = zmq.NOBLOCK, zmq.Again

        def poll() -> bytes | None:
            try:
                return receive(now)
            except again:
                return None

        self.poll = poll

    def read(self) -> int:
        """Wait for a frame, read all of it, and return its largest number."""
        return int(np.max(np.frombuffer(self.socket.recv(copy=False).buffer, np.uint8)))


sender, receiver = Sender, Receiver
