"""pyzmq: each producer pushes to all consumers in turn, over Unix sockets, without a limit: so the shares are equal."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import zmq
from load import Load


class Address:
    """Where the consumers are."""

    def __init__(self, name: str, load: Load) -> None:
        self.address, self.load = f"ipc:///dev/shm/{name}", load

    def _socket(self, kind: int) -> Any:
        # The process's own, because one that is dropped waits for its sockets.
        socket = zmq.Context.instance().socket(kind)
        # With a limit, one that is behind would be passed over.
        socket.set_hwm(0)
        return socket

    def putter(self) -> Callable[[Any], object]:
        """Return what puts."""
        socket = self._socket(zmq.PUSH)
        for consumer in range(self.load.consumers):
            socket.connect(f"{self.address}-{consumer}")
        self.kept = socket
        if self.load.kind == "bytes":
            return socket.send
        return socket.send_pyobj if self.load.kind == "tuples" else self._put_large

    def getter(self, who: int) -> Callable[..., Any]:
        """Return what gets."""
        socket = self._socket(zmq.PULL)
        socket.bind(f"{self.address}-{who}")
        self.kept = socket
        if self.load.kind == "bytes":
            return socket.recv
        return socket.recv_pyobj if self.load.kind == "tuples" else self._get_large

    def _put_large(self, value: Any) -> None:
        """Send an array beside the pickle, as pyzmq's documentation has it."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, 5, buffer_callback=buffers.append)
        self.kept.send_multipart([head, *buffers], copy=False)

    def _get_large(self) -> Any:
        head, *buffers = self.kept.recv_multipart(copy=False)
        return pickle.loads(head.buffer, buffers=[frame.buffer for frame in buffers])

    def close(self) -> None:
        """Nothing is open here."""


queue = Address
