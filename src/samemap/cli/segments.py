"""Telling segments from raw regions, and looking at a segment without taking part in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .._core import Participant, Segment, SegmentMismatch
from .display import counted_processes, iso_time
from .parameters import Trust

__all__ = [
    "Description",
    "NoSegment",
    "describe_segment",
    "is_segment",
    "look_at",
    "looked_at",
    "problem_of",
    "refuse_segment",
    "trouble",
]

#: How the segments of this version start. Its last byte is a number that no text holds there.
_MAGIC = b"samemap\x02"
_NUMBERS = range(1, 8)

#: Fields in which a segment of another version of samemap, or of another machine, differs.
_FORMAT_FIELDS = ("magic", "version", "features", "fingerprint", "kind")

_Trouble = (OSError, ValueError, IndexError)


class NoSegment(SegmentMismatch):
    """A file is a raw region."""


class Description(NamedTuple):
    """What a segment says of itself, and what its roster does.

    Attributes:
        kind: The class of what it holds; ``None`` when this build does not understand the segment.
        problem: Why it does not; else ``None``.
        version: The version of its format; ``None`` when the file is too short to say so.
        id: A random number of its own, in hexadecimal.
        created: When it was made, in seconds since 1970.
        creator: The process that made it, as that saw itself.
        places: Processes that it has room for.
        participants: Those who take part, the dead whose place nobody has taken included.
    """

    kind: str | None
    problem: str | None
    version: int | None
    id: str = ""
    created: float = 0.0
    creator: int = 0
    places: int = 0
    participants: tuple[Participant, ...] = ()

    @property
    def alive(self) -> int:
        """How many of the participants live."""
        return sum(participant.alive for participant in self.participants)

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        if self.kind is None:
            return {"format": self.version, "problem": self.problem}
        return {
            "format": self.version,
            "id": self.id,
            "created": iso_time(self.created),
            "creator": self.creator,
            "places": self.places,
            "participants": [participant_record(participant) for participant in self.participants],
        }


def participant_record(participant: Participant) -> dict[str, Any]:
    """Return a participant for JSON."""
    return {
        "pid": participant.pid,
        "command": participant.command,
        "user": participant.user,
        "joined": iso_time(participant.joined),
        "alive": participant.alive,
        "waiting": participant.waiting,
    }


def is_segment(head: bytes) -> bool:
    r"""Tell whether a file starts as segments do, also those of other versions and of the other byte order.

    Args:
        head: Its first eight bytes, or more.

    Example:
        >>> is_segment(b"samemap\x02"), is_segment(b"samemap rocks"), is_segment(b"Hello")
        (True, False, False)
    """
    magic = head[:8]
    return len(magic) == 8 and any(order[:7] == _MAGIC[:7] and order[7] in _NUMBERS for order in (magic, magic[::-1]))


def trouble(error: OSError | ValueError | IndexError) -> str:
    """Return in a word or two why a segment cannot be shown.

    Example:
        >>> trouble(SegmentMismatch("its version is 7, and 1 was expected: use the same version of samemap"))
        'other format'
        >>> trouble(SegmentMismatch("its roster is 3, and 4096 was expected: it is damaged"))
        'damaged'
    """
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionError):
        return "unreadable"
    if isinstance(error, NoSegment):
        return "no segment"
    if isinstance(error, SegmentMismatch):
        field = re.match(r"its (\w+) is", str(error))
        return "other format" if field and field[1] in _FORMAT_FIELDS else "damaged"
    return "damaged"


def look_at(path: str | os.PathLike[str], trust: Trust | None = None, fd: int | None = None) -> Segment:
    """Open a segment to look at it: it is mapped read-only, so no byte changes and nobody joins.

    Args:
        path: Its file.
        trust: Which files may be opened.
        fd: A descriptor of that file, if it is open already; it stays the caller's.

    Returns:
        The segment.

    Raises:
        SegmentMismatch: It is no segment, or none that this version understands.
        OSError: It cannot be opened.
    """
    links, owners = (trust["follow_symlinks"], trust["any_owner"]) if trust else (False, False)
    try:
        return Segment(
            os.fspath(path),
            "open" if fd is None else "descriptor",
            None,
            [0, 0, 0],
            0,
            "",
            0,
            False,
            links,
            owners,
            -1 if fd is None else fd,
        )
    except SegmentMismatch as error:
        raise _closer(error, os.fspath(path), fd) from error


@contextmanager
def looked_at(path: str | os.PathLike[str], trust: Trust | None = None, fd: int | None = None) -> Iterator[Segment]:
    """Open a segment as `look_at` does, and close it at the end of the block."""
    segment = look_at(path, trust, fd)
    try:
        yield segment
    finally:
        segment.close()


def describe_segment(path: Path, fd: int) -> Description | None:
    """Tell what a file that is open for reading says of itself, without changing it.

    Args:
        path: Where it was found.
        fd: Its descriptor.

    Returns:
        What it is; ``None`` for a raw region.
    """
    # Not through a mapping: that takes pages for the holes of a sparse file.
    head = os.pread(fd, 12, 0)
    if not is_segment(head):
        return None
    version = int.from_bytes(head[8:12], "little") if len(head) == 12 else None
    try:
        with looked_at(path, fd=fd) as segment:
            return Description(
                segment.kind,
                None,
                version,
                segment.id,
                segment.created,
                segment.creator,
                segment.max_participants,
                tuple(segment.participants()),
            )
    except _Trouble as error:
        return Description(None, problem_of(error), version)


def refuse_segment(path: str, doing: str) -> None:
    """Refuse a file that holds a segment; what is missing or cannot be read is for whoever opens it to tell.

    Args:
        path: The file.
        doing: What would happen to it, as in "text would destroy it".

    Raises:
        ValueError: It holds one.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = describe_segment(Path(path), fd)
    except OSError:
        return  # a directory, a FIFO
    finally:
        os.close(fd)
    if found is not None:
        what = "segment" if found.kind is None else f"segment (a {found.kind})"
        uses = "uses" if found.alive == 1 else "use"
        living = f", and {counted_processes(found.alive)} {uses} it" if found.alive else ""
        raise ValueError(f"{path}: it is a {what}, no raw region{living}: {doing}; --force does it all the same")


def problem_of(error: OSError | ValueError | IndexError) -> str:
    """Return what an error says, without the file that it says it of."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # The binding appends where it was found.
    return re.sub(r" \(/[^()]*\)$", "", str(error))


def _closer(error: SegmentMismatch, path: str, fd: int | None) -> SegmentMismatch:
    """Return an error that tells more about a file that does not start as the segments of this version do."""
    with os.fdopen(os.dup(fd), "rb") if fd is not None else Path(path).open("rb") as file:
        magic = os.pread(file.fileno(), 8, 0)
    if not is_segment(magic):
        return NoSegment("it is a raw region, no segment; 'samemap stat' and 'samemap hexdump' look at those")
    if magic == _MAGIC:
        return error
    cure = "another version of samemap made it: use the same version everywhere"
    if magic[:7] != _MAGIC[:7]:
        cure = "a machine of the other byte order made it: it cannot be shared with this one"
    return SegmentMismatch(f"its magic is {magic.hex()}, and {_MAGIC.hex()} was expected: {cure}")
