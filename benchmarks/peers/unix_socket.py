"""A Unix socket: a pair of stream sockets; both sides wait in it."""

from __future__ import annotations

import socket
from collections.abc import Callable


class Pair:
    """Both ends, which both processes inherit."""

    def __init__(self, name: str, busy: bool) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def server(self, function: Callable[[bytes], bytes]) -> Callable[[], object]:
        """Return what serves, until it is killed."""
        recv, send = self.theirs.recv, self.theirs.sendall

        def serve() -> None:
            while True:
                send(function(recv(64)))

        return serve

    def client(self) -> Callable[[bytes], bytes]:
        """Return what calls."""
        recv, send = self.ours.recv, self.ours.sendall

        def call(data: bytes) -> bytes:
            send(data)
            return recv(64)

        return call


service = Pair
