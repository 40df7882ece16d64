"""A Unix socket as in ``unix_socket``, but both sides look again until something has come."""

from __future__ import annotations

import socket
from collections.abc import Callable


def _comes(recv: Callable[[int], bytes]) -> bytes:
    while True:
        try:
            return recv(64)
        except BlockingIOError:
            continue


class Pair:
    """Both ends, which both processes inherit."""

    def __init__(self, name: str, busy: bool) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)

    def server(self, function: Callable[[bytes], bytes]) -> Callable[[], object]:
        """Return what serves, until it is killed."""
        recv, send = self.theirs.recv, self.theirs.sendall

        def serve() -> None:
            while True:
                send(function(_comes(recv)))

        return serve

    def client(self) -> Callable[[bytes], bytes]:
        """Return what calls."""
        recv, send = self.ours.recv, self.ours.sendall

        def call(data: bytes) -> bytes:
            send(data)
            return _comes(recv)

        return call


service = Pair
