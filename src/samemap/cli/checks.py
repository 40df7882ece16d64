"""What can be wrong with shared memory on a machine: one function a check, which looks at what it is given only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from ..holders import Holder
from .display import age, human_size, iso_time
from .observe import Sight
from .segments import Description

__all__ = [
    "Finding",
    "Fix",
    "SegmentFile",
    "damaged",
    "dead_participants",
    "held_by_the_dead",
    "leftovers",
    "no_proc",
    "old_kernel",
    "orphaned",
    "threshold",
    "tight",
    "unreadable",
    "unsafe_directory",
]

#: A directory on tmpfs is tight below this, or a tenth of it.
_TIGHT = 64 << 20

#: A temporary name lives as long as it takes to fill a new file.
_LONG_MADE = 60.0

_TEMPORARY = re.compile(r"\.samemap-(?P<pid>[1-9][0-9]*)-[0-9]+", re.ASCII)

#: futex_waitv(2).
_WAITV_SINCE = (5, 16)


class Fix(Enum):
    """What ``samemap doctor --fix`` can do, in words."""

    BURY = "takes the places of the dead from them"
    UNPIN = "takes the slots back"
    REMOVE_SEGMENT = "removes the file, after asking (--yes: without), unless somebody living has joined it"
    REMOVE_TEMPORARY = "removes the file"
    MAKE_PRIVATE = "does that"


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        check: Which check found it.
        subject: What it is about: a name, a path.
        found: What was found, with the values.
        meaning: What that means for its users.
        cure: What helps.
        fix: What ``--fix`` does; ``None`` when it leaves that alone.
        path: The file that a fix works on.
        is_note: Whether all is well nevertheless.
    """

    check: str
    subject: str
    found: str
    meaning: str
    cure: str
    fix: Fix | None = None
    path: Path | None = None
    is_note: bool = False

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **self._asdict(),
            "fix": None if self.fix is None else self.fix.name.lower(),
            "path": None if self.path is None else str(self.path),
        }


class SegmentFile(NamedTuple):
    """A segment in the runtime directory, and what was seen of it.

    Attributes:
        path: Its file.
        size: Bytes.
        segment: What it says of itself.
        sights: What its objects are doing.
        mapped_by: Processes that map it, as far as the kernel shows them.
    """

    path: Path
    size: int
    segment: Description
    sights: tuple[Sight, ...] = ()
    mapped_by: tuple[Holder, ...] = ()


def unsafe_directory(error: OSError, *, is_mine: bool) -> Finding:
    """Tell about a runtime directory that was refused.

    Args:
        error: How it was; its message holds the cure.
        is_mine: Whether it is a directory that belongs to this user.
    """
    found, _, cure = str(error.strerror).partition("; ")
    path = Path(str(error.filename))
    meaning = "whoever can write there can swap the files of your programs, so samemap does not use it"
    return Finding("directory", str(path), found, meaning, cure, Fix.MAKE_PRIVATE if is_mine else None, path)


def unreadable(path: Path, error: PermissionError) -> Finding:
    """Tell about a file that cannot be opened for reading."""
    found = str(error.strerror)
    return Finding("unreadable", path.name, found, "what it is cannot be told", "its owner can permit it (chmod)")


def damaged(file: SegmentFile) -> Iterator[Finding]:
    """Find a segment of another format, a damaged one, and damaged objects in it."""
    problem = file.segment.problem
    if problem is not None:
        found, _, cure = problem.partition(": ")
        # Who uses it cannot be told, so it is not for --fix to remove.
        meaning = "this version of samemap refuses to open it; others may be using it"
        yield Finding("format", file.path.name, found, meaning, cure or _REMOVE, None, file.path)
    for sight in file.sights:
        if sight.problem is not None:
            subject = _called(file, sight)
            meaning = "its users get errors; the other objects of its segment are not affected"
            yield Finding("format", subject, sight.problem, meaning, _REMOVE, None, file.path)


_REMOVE = "end its users, remove the file (samemap rm), and let it be made anew"


def dead_participants(file: SegmentFile, now: float) -> Iterator[Finding]:
    """Find processes that died without leaving a roster."""
    segment = file.segment
    dead = [
        f"pid {found.pid} ({found.command or 'unknown'}; it joined {age(now - found.joined)} ago)"
        for found in segment.participants
        if not found.alive
    ]
    if dead:
        yield Finding(
            "dead-participants",
            file.path.name,
            f"{_some(dead)} died without leaving",
            f"each keeps one of {segment.places} places until somebody else needs it; nobody waits for that",
            "none is needed: a process that joins takes such a place",
            Fix.BURY,
            file.path,
        )


def held_by_the_dead(file: SegmentFile, now: float) -> Iterator[Finding]:
    """Find locks and the like whose holder died."""
    for sight in file.sights:
        # What is held of a topic is told of elsewhere: it protects nothing.
        for hold in sight.dead if sight.kind != "Topic" else ():
            where = "" if hold.is_here else " of another pid namespace"
            who = f"pid {hold.pid}{where} ({hold.command or 'unknown'}) died"
            if hold.pid is None:
                who = "a process that is gone ended"
            since = "" if hold.since is None else f", which it took {age(now - hold.since)} ago"
            told = " it, and is told (lock.recovered, or OwnerDied)" if hold.on_death.endswith("recovers") else ""
            yield Finding(
                "held-by-the-dead",
                _called(file, sight),
                f"{who} holding this {sight.kind}{since}",
                "it only read" if hold.role == "reader" else "what this protects may be half changed",
                f"none is needed: the {hold.on_death}{told}",
                None,
                file.path,
            )


def orphaned(file: SegmentFile, now: float) -> Iterator[Finding]:
    """Find a segment that nobody living takes part in, nor looks at."""
    segment = file.segment
    if segment.kind is None or segment.alive or file.mapped_by:
        return
    made = f"pid {segment.creator} made it at {iso_time(segment.created)[:19].replace('T', ' ')}"
    yield Finding(
        "orphaned",
        file.path.name,
        f"no living process uses this {segment.kind}; {made}, {age(now - segment.created)} ago",
        f"it takes {human_size(file.size)} of memory, and its next user finds it as it is",
        f"leave it if its programs will come back; else 'samemap rm {file.path.name}'",
        Fix.REMOVE_SEGMENT,
        file.path,
    )


def leftovers(
    directory: Path, entries: Iterable[tuple[str, float]], is_running: Callable[[int], bool], now: float
) -> Iterator[Finding]:
    """Find temporary files whose maker died before it could give them their name.

    Args:
        directory: Where they are.
        entries: Names of files, and when they were changed last, in seconds since 1970.
        is_running: Tells whether a process lives.
        now: The time.
    """
    for name, changed in entries:
        match = _TEMPORARY.fullmatch(name)
        # A young one may be that of a process in another pid namespace, at work just now.
        if match is None or now - changed < _LONG_MADE or is_running(int(match["pid"])):
            continue
        yield Finding(
            "leftover",
            name,
            f"pid {match['pid']}, which made this temporary file {age(now - changed)} ago, is gone",
            "it takes memory, and nobody will ever use it",
            f"rm {directory / name}",
            Fix.REMOVE_TEMPORARY,
            directory / name,
        )


def threshold(total: int) -> int:
    """Return below how many free bytes a file system of so many is tight.

    Example:
        >>> threshold(64 << 20) == (64 << 20) // 10, threshold(16 << 30) == 64 << 20
        (True, True)
    """
    return min(total // 10, _TIGHT)


def tight(path: Path, total: int, free: int) -> Iterator[Finding]:
    """Find a file system that is nearly full.

    Args:
        path: Where it is mounted, or the directory there.
        total: Its bytes; 0 where it knows no limit.
        free: Those that this user may still have.
    """
    if total and free < threshold(total):
        yield Finding(
            "space",
            str(path),
            f"{human_size(free)} of {human_size(total)} are free, less than {human_size(threshold(total))}",
            "what needs more cannot be made (ENOSPC), and sparse regions cannot grow into it",
            "remove what is not needed (samemap ls, samemap rm); give it more (docker run --shm-size=1g, "
            "mount -o remount,size=1g); or set SAMEMAP_DIR to a directory elsewhere",
        )


def old_kernel(release: str) -> Iterator[Finding]:
    """Note a kernel without ``futex_waitv``."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is not None and (int(match[1]), int(match[2])) < _WAITV_SINCE:
        yield Finding(
            "kernel",
            f"Linux {release}",
            "it has no futex_waitv(2), which came with 5.16",
            "waiting for several objects at once looks again every 5 ms, instead of sleeping until one is ready",
            "none is needed; a newer kernel saves that",
            is_note=True,
        )


def no_proc(proc: Path) -> Iterator[Finding]:
    """Find that ``/proc`` is not mounted.

    Args:
        proc: Where it should be.
    """
    if not os.path.lexists(proc / "self" / "fd"):
        yield Finding(
            "proc",
            str(proc),
            "it is not mounted",
            "who maps a file cannot be told, processes in rosters have no command line, and memory without a name "
            "cannot be taken part in",
            f"mount -t proc proc {proc}",
        )


def _called(file: SegmentFile, sight: Sight) -> str:
    return f"{file.path.name}:{sight.name}" if sight.name else file.path.name


def _some(items: Sequence[str]) -> str:
    shown = "; ".join(items[:3])
    return shown if len(items) <= 3 else f"{shown}; and {len(items) - 3} more"
