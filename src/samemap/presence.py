"""Who serves: a lock in the file for each process that does, which the kernel takes away when it dies."""

from __future__ import annotations

import os
import struct

from ._core import MOST_PIDS, SERVER_OFFSET

__all__ = ["announce", "serving", "withdraw"]

# As fcntl(2) has it on 64-bit machines: type, whence, start, length, pid.
_LOCK = struct.Struct("hhqqi4x")

#: What this process has announced: descriptors.
_announced: set[int] = set()


def announce(fd: int) -> int:
    """Let everybody know that this process serves.

    Args:
        fd: The file.

    Returns:
        For `withdraw`.

    Raises:
        OSError: The file cannot be opened once more.
    """
    import fcntl

    # A description of its own: locks of one and the same do not count twice.
    own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    try:
        lock = _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, SERVER_OFFSET + os.getpid(), 1, 0)
        fcntl.fcntl(own, fcntl.F_OFD_SETLK, lock)
    except BaseException:
        os.close(own)
        raise
    _announced.add(own)
    return own


def withdraw(own: int) -> None:
    """Let everybody know that it serves no more."""
    if own in _announced:
        _announced.remove(own)
        os.close(own)


def serving(fd: int) -> set[int]:
    """Return the pids of those who serve, as they see themselves.

    Args:
        fd: The file.
    """
    found: set[int] = set()
    ranges = [(SERVER_OFFSET, SERVER_OFFSET + MOST_PIDS)]
    while ranges:
        start, end = ranges.pop()
        if start < end and (at := _held(fd, start, end)) is not None:
            # Not the first one in order: whichever the kernel comes to.
            found.add(at - SERVER_OFFSET)
            ranges += [(start, at), (at + 1, end)]
    return found


def _held(fd: int, start: int, end: int) -> int | None:
    import fcntl

    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
    kind, _, at, _, _ = _LOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return None if kind == fcntl.F_UNLCK or not start <= at < end else at


def _forget() -> None:
    """Let go of the parent's in a fork's child: they would outlive it."""
    for own in _announced:
        os.close(own)
    _announced.clear()


os.register_at_fork(after_in_child=_forget)
