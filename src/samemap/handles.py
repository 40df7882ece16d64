"""Descriptors that travel over Unix sockets: what is said beside them."""

from __future__ import annotations

import errno
import os
import struct

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

__all__ = ["HANDLE", "MAGIC", "receive", "send"]

#: What is said beside the descriptor, the same on every machine of one byte order:
#: magic, 1 when the receiver may write, padding, max_size.
HANDLE = struct.Struct("=8sB7xq")
MAGIC = b"samemap\x01"


def send(sock: socket.socket, fd: int, writable: bool, max_size: int) -> None:
    """Send a descriptor and what the receiver needs to map it alike.

    Args:
        sock: A connected ``AF_UNIX`` socket.
        fd: The descriptor.
        writable: Whether the receiver may write.
        max_size: Bytes of address space to reserve.

    Raises:
        OSError: The socket is not connected, or cannot carry descriptors.
    """
    import socket

    if sock.family != socket.AF_UNIX:
        # The kernel would drop the descriptor without a word.
        raise OSError(errno.EOPNOTSUPP, f"only AF_UNIX sockets carry descriptors, and this one is {sock.family.name}")
    message = HANDLE.pack(MAGIC, writable, max_size)
    # One call: a descriptor travels with the first byte, and 24 bytes fit any socket's buffer.
    sent = socket.send_fds(sock, [message], [fd])
    if sent != len(message):
        sock.sendall(message[sent:])


def receive(sock: socket.socket) -> tuple[int, bool, int]:
    """Receive what `send` sent.

    Args:
        sock: A connected ``AF_UNIX`` socket.

    Returns:
        The descriptor, which is the caller's to close; whether it may be written to; ``max_size``.

    Raises:
        EOFError: The other side closed the socket.
        ValueError: What came is no handle; no descriptor is left open.
    """
    import socket

    message, fds, flags, _ = socket.recv_fds(sock, HANDLE.size, 1, socket.MSG_CMSG_CLOEXEC)
    wanted: list[int] = []
    try:
        if not message:
            raise EOFError("the other side closed the socket before it sent a region")
        # Only a stream delivers in pieces; elsewhere, and after what is no handle, more may never come.
        while (
            sock.type == socket.SOCK_STREAM
            and len(message) < HANDLE.size
            and MAGIC.startswith(message[: len(MAGIC)])
            and (more := sock.recv(HANDLE.size - len(message)))
        ):
            message += more
        whole = len(message) == HANDLE.size and not flags & socket.MSG_TRUNC
        if not whole or not message.startswith(MAGIC):
            raise ValueError(f"what came is not a region's handle: {message!r}")
        if not fds:
            hint = " (the limit on open files?)" if flags & socket.MSG_CTRUNC else ""
            raise ValueError(f"the handle came without its descriptor{hint}")
        _, writable, max_size = HANDLE.unpack(message)
        wanted = fds[:1]
        return fds[0], bool(writable), max_size
    finally:
        for fd in fds:
            if fd not in wanted:
                os.close(fd)
