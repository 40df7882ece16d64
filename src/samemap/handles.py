"""Descriptors that travel over Unix sockets: what is said beside them."""

from __future__ import annotations

import errno
import os
import struct

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

__all__ = ["HANDLE", "MAGIC", "OBJECT", "receive", "send"]

#: What is said beside the descriptor, the same on every machine of one byte order:
#: magic, 1 when the receiver may write, padding, and a number: of a region its max_size, else the object's offset.
HANDLE = struct.Struct("=8sB7xq")
#: Of regions.
MAGIC = b"samemap\x01"
#: Of objects in segments.
OBJECT = b"samemap\x02"

_NOUNS = {MAGIC: "a region", OBJECT: "an object"}


def send(sock: socket.socket, fd: int, writable: bool, number: int, magic: bytes = MAGIC) -> None:
    """Send a descriptor and what the receiver needs to map it alike.

    Args:
        sock: A connected ``AF_UNIX`` socket.
        fd: The descriptor.
        writable: Whether the receiver may write.
        number: Of a region, bytes of address space to reserve; of an object, where it is.
        magic: What it is: `MAGIC` or `OBJECT`.

    Raises:
        OSError: The socket is not connected, or cannot carry descriptors.
    """
    import socket

    if sock.family != socket.AF_UNIX:
        # The kernel would drop the descriptor without a word.
        raise OSError(errno.EOPNOTSUPP, f"only AF_UNIX sockets carry descriptors, and this one is {sock.family.name}")
    message = HANDLE.pack(magic, writable, number)
    # One call: a descriptor travels with the first byte, and 24 bytes fit any socket's buffer.
    sent = socket.send_fds(sock, [message], [fd])
    if sent != len(message):
        sock.sendall(message[sent:])


def receive(sock: socket.socket, magic: bytes = MAGIC) -> tuple[int, bool, int]:
    """Receive what `send` sent.

    Args:
        sock: A connected ``AF_UNIX`` socket.
        magic: What is expected: `MAGIC` or `OBJECT`.

    Returns:
        The descriptor, which is the caller's to close; whether it may be written to; the number.

    Raises:
        EOFError: The other side closed the socket.
        ValueError: What came is no handle; no descriptor is left open.
    """
    import socket

    message, fds, flags, _ = socket.recv_fds(sock, HANDLE.size, 1, socket.MSG_CMSG_CLOEXEC)
    wanted: list[int] = []
    try:
        if not message:
            raise EOFError(f"the other side closed the socket before it sent {_NOUNS[magic]}")
        # Only a stream delivers in pieces; elsewhere, and after what is no handle, more may never come.
        while (
            sock.type == socket.SOCK_STREAM
            and len(message) < HANDLE.size
            and magic.startswith(message[: len(magic)])
            and (more := sock.recv(HANDLE.size - len(message)))
        ):
            message += more
        whole = len(message) == HANDLE.size and not flags & socket.MSG_TRUNC
        if not whole or not message.startswith(magic):
            raise ValueError(f"what came is not {_NOUNS[magic]}'s handle: {message!r}")
        if not fds:
            hint = " (the limit on open files?)" if flags & socket.MSG_CTRUNC else ""
            raise ValueError(f"the handle came without its descriptor{hint}")
        _, writable, number = HANDLE.unpack(message)
        wanted = fds[:1]
        return fds[0], bool(writable), number
    finally:
        for fd in fds:
            if fd not in wanted:
                os.close(fd)
