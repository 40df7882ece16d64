"""What the kernel tells of a process: whether it is stopped, and for which bytes of a file its threads sleep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..holders import FileId

__all__ = ["asleep_at", "hindrance"]

_PROC = Path("/proc")

#: proc_pid_stat(5): states in which a process does nothing, and that do not pass by themselves.
_HINDRANCES = {
    "T": "stopped (SIGSTOP, or Ctrl-Z)",
    "t": "stopped by a debugger",
    "Z": "ended, and its parent has not asked how (a zombie)",
    "X": "ending",
}

#: futex(2), by what /proc says of the machine's system calls.
_FUTEX = {"x86_64": 202, "aarch64": 98}


def hindrance(pid: int) -> str | None:
    """Return why a process does not run, in words; ``None`` when it may, or when that cannot be told.

    Args:
        pid: Its number in this process's pid namespace.

    Example:
        >>> import os
        >>> hindrance(os.getpid()) is None
        True
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # Its name is in parentheses, and may hold some.
    fields = text.rpartition(")")[2].split()
    return _HINDRANCES.get(fields[0]) if fields else None


def asleep_at(pid: int, file: FileId) -> frozenset[int] | None:
    """Return where in a file the words are for which the threads of a process sleep.

    Args:
        pid: Its number in this process's pid namespace.
        file: The file.

    Returns:
        Offsets in the file; ``None`` where the kernel does not tell, as of other users' processes, and, with
        ``ptrace_scope``, of those that are no children. A thread that sleeps for several words at once is not seen.
    """
    number = _FUTEX.get(os.uname().machine)
    try:
        addresses = {address for found, address in _calls(pid) if found == number}
        return frozenset(_offsets(pid, file, addresses)) if addresses else None
    except OSError:
        return None


def _calls(pid: int) -> Iterator[tuple[int, int]]:
    for thread in (_PROC / str(pid) / "task").iterdir():
        words = (thread / "syscall").read_text().split()
        if len(words) > 2 and words[0].isdecimal():
            yield int(words[0]), int(words[1], 16)


def _offsets(pid: int, file: FileId, addresses: set[int]) -> Iterator[int]:
    for line in (_PROC / str(pid) / "maps").read_bytes().splitlines():
        between, _, offset, device, inode, *_ = line.split(None, 5)
        if (device.decode(), int(inode)) != file:
            continue
        start, end = (int(address, 16) for address in between.split(b"-"))
        yield from (address - start + int(offset, 16) for address in addresses if start <= address < end)
