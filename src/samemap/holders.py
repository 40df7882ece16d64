"""Who maps a file: what ``/proc/*/maps`` tells, and what it hides."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["FileId", "Holder", "Mount", "Survey", "locate", "survey"]

Access = Literal["r", "rw", "private"]


class FileId(NamedTuple):
    """A file as ``/proc/PID/maps`` names it.

    Attributes:
        device: ``major:minor`` of the mounted file system. It can differ from ``st_dev`` (on btrfs, for one).
        inode: Its number there.
    """

    device: str
    inode: int


class Mount(NamedTuple):
    """Where a file is mounted.

    Attributes:
        device: ``major:minor``, in hexadecimal as in ``/proc/PID/maps``.
        kind: Type of the file system, such as ``tmpfs``.
    """

    device: str
    kind: str


class Holder(NamedTuple):
    """A process that maps a file.

    Attributes:
        pid: Its number in this process's pid namespace.
        command: Its command line, quoted as for a shell.
        access: ``"rw"`` or ``"r"`` when it shares the memory; ``"private"`` when it has a copy-on-write view.
    """

    pid: int
    command: str
    access: Access


class Survey(NamedTuple):
    """Who maps some files, at one moment.

    Attributes:
        holders: The processes seen, for each file asked for, by pid.
        unseen: How many processes did not let us look. Those of other pid namespaces are not counted.
    """

    holders: Mapping[FileId, tuple[Holder, ...]]
    unseen: int


def locate(fd: int) -> tuple[FileId, Mount]:
    """Tell how the kernel names an open file, and what it is mounted from.

    Args:
        fd: An open descriptor; ``O_PATH`` suffices.

    Returns:
        Its identity in ``/proc/PID/maps``, and its mount.

    Raises:
        OSError: ``EBADF``: it is not open.

    Example:
        >>> import os
        >>> with open("/proc/self/maps") as file:
        ...     locate(file.fileno())[1].kind
        'proc'
    """
    found = os.fstat(fd)
    mount = _mount(fd)
    if mount is None:
        mount = Mount(_device(os.major(found.st_dev), os.minor(found.st_dev)), "unknown")
    return FileId(mount.device, found.st_ino), mount


def survey(files: Collection[FileId]) -> Survey:
    """Look at all processes for those that map any of some files.

    It reads ``/proc`` once. The kernel shows the mappings of a process to root and to its own user only.

    Args:
        files: Identities, from `locate`.

    Returns:
        Who was seen, and how many could not be.

    Example:
        >>> import mmap, os
        >>> from samemap import Region
        >>> with Region(None, 4096) as region:
        ...     file, _ = locate(region.fileno())
        ...     os.getpid() in [holder.pid for holder in survey([file]).holders[file]]
        True
    """
    found: dict[FileId, list[Holder]] = {file: [] for file in files}
    unseen = 0
    if found:
        for pid in _processes():
            try:
                for file, access in _mapped(pid, found).items():
                    found[file].append(Holder(pid, _command(pid), access))
            except PermissionError:
                # Kernel threads have no command line, and no memory to share.
                unseen += bool(_command(pid))
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile
    return Survey({file: tuple(holders) for file, holders in found.items()}, unseen)


def _processes() -> Iterator[int]:
    return iter(sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()))


def _mapped(pid: int, wanted: Collection[FileId]) -> dict[FileId, Access]:
    mapped: dict[FileId, Access] = {}
    text = Path(f"/proc/{pid}/maps").read_bytes()
    if not any(b" %s %d " % (file.device.encode(), file.inode) in text for file in wanted):
        return mapped
    for line in text.splitlines():
        _, perms, _, device, inode, *_ = line.split(None, 5)
        file = FileId(device.decode(), int(inode))
        if file in wanted:
            access: Access = "private" if perms.endswith(b"p") else "rw" if b"w" in perms else "r"
            # A process may map a file many times: its strongest claim counts.
            mapped[file] = max(mapped.get(file, "private"), access, key=["private", "r", "rw"].index)
    return mapped


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return shlex.join(os.fsdecode(word) for word in words) if words != [b""] else ""


def _mount(fd: int) -> Mount | None:
    number = None
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("mnt_id:"):
            number = line.split()[1]
    # The list holds paths, which may be any bytes.
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if line.split(" ", 1)[0] == number:
            before, _, after = line.partition(" - ")
            major, minor = before.split()[2].split(":")
            return Mount(_device(int(major), int(minor)), after.split()[0])
    return None  # memfds and the like are on mounts of the kernel's own


def _device(major: int, minor: int) -> str:
    return f"{major:02x}:{minor:02x}"
