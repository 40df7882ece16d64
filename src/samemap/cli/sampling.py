"""What all segments of a directory are doing at one moment, as frozen records; nobody joins, and nothing changes."""

from __future__ import annotations

import errno
import os
import stat as modes
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .._core import Participant, Segment
from ..names import resolve, runtime_directory
from .channels import CHANNELS, Watched
from .display import iso_time
from .failures import explain
from .jobs import JOBS, Workload, look_at_jobs
from .observe import UNREAD, Hold, Sight, is_here, observe
from .parameters import Trust
from .segments import NoSegment, is_segment, look_at, problem_of, trouble
from .topic_report import Report

__all__ = ["Counts", "Kept", "Member", "Sample", "files_in", "member_of", "sample", "samples"]

#: What files can make of whoever reads them: they are cut and damaged at any moment.
_TROUBLE = (OSError, ValueError, IndexError, OverflowError, RecursionError)


class Counts(NamedTuple):
    """What has gone through a segment since it was made.

    Attributes:
        messages: Messages, or jobs that were put.
        bytes: Their bytes.
        dropped: Messages that were not published, because no slot was free.
    """

    messages: int
    bytes: int
    dropped: int


class Member(NamedTuple):
    """A participant.

    Attributes:
        pid: Its process, as that sees itself.
        command: Its command line, or the start of it.
        role: What it is to the object; empty where that is nothing in particular.
        alive: Whether it lives.
        joined: When it joined, in seconds since 1970.
        waiting: How many of its threads and tasks sleep in the segment.
        is_here: Whether its pid means the same process here.
    """

    pid: int
    command: str
    role: str
    alive: bool
    joined: float
    waiting: int
    is_here: bool = True

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self._asdict(), "joined": iso_time(self.joined)}


class Kept(NamedTuple):
    """A part of a segment that somebody holds.

    Attributes:
        name: The object, in a namespace; else empty.
        kind: Its class.
        hold: Who holds it, since when.
    """

    name: str
    kind: str
    hold: Hold

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"object": self.name or None, "kind": self.kind, **self.hold.record()}


class Sample(NamedTuple):
    """A segment, or a raw region, at one moment.

    Attributes:
        name: As its user calls it.
        path: Its file.
        kind: The class of what it holds; ``"region"`` for raw bytes; ``None`` where it cannot be told.
        size: Bytes of the file.
        identity: What differs when another file gets the name.
        state: What it is doing, in words.
        problem: Why it cannot be looked at; else ``None``.
        places: How many processes it has room for.
        members: Those who take part, the dead whose place nobody has taken included.
        counts: What has gone through it; ``None`` where nothing does.
        depth: Jobs that wait; ``None`` where there are none.
        lag: Messages that the slowest subscriber has not got; ``None`` where nobody subscribes.
        kept: Who holds what.
        waiting: How many threads and tasks of the living sleep in it.
        report: What is known of a topic or a newest value.
        workload: What is known of a queue or a service.
    """

    name: str
    path: str
    kind: str | None
    size: int
    identity: str
    state: str = ""
    problem: str | None = None
    places: int = 0
    members: tuple[Member, ...] = ()
    counts: Counts | None = None
    depth: int | None = None
    lag: int | None = None
    kept: tuple[Kept, ...] = ()
    waiting: int = 0
    report: Report | None = None
    workload: Workload | None = None

    @property
    def alive(self) -> int:
        """How many of those who take part live."""
        return sum(member.alive for member in self.members)

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        told: dict[str, Any] = {"name": self.name, "path": self.path, "kind": self.kind, "size": self.size}
        if self.problem is not None:
            return {**told, "problem": self.problem}
        return {
            **told,
            "state": self.state,
            "attached": self.alive,
            "dead": len(self.members) - self.alive,
            "depth": self.depth,
            "lag": self.lag,
            "waiting": self.waiting,
            "messages": None if self.counts is None else self.counts.messages,
            "bytes": None if self.counts is None else self.counts.bytes,
            "dropped": None if self.counts is None else self.counts.dropped,
            "participants": [member.record() for member in self.members],
            "holders": [kept.record() for kept in self.kept],
            "topic": None if self.report is None else self.report.record(),
            "queue": None if self.workload is None else self.workload.record(),
        }


def files_in(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return what to look at: names, and the path of each.

    Args:
        names: As their user calls them; none for all files of the runtime directory.

    Raises:
        PermissionError: The runtime directory is unsafe.
        ValueError: A name makes no sense.
    """
    chosen = [(name, resolve(name)) for name in names]
    if chosen:
        return chosen
    directory = runtime_directory()
    try:
        found = sorted(entry.name for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []  # nobody has made anything yet
    return [(name, str(directory / name)) for name in found if not name.startswith(".")]


def samples(names: Iterable[str], trust: Trust | None = None) -> Iterator[Sample]:
    """Look at some segments, or at all in the runtime directory.

    Args:
        names: As for `files_in`. What is missing of these is told as a problem.
        trust: Which files may be opened.

    Raises:
        PermissionError: The runtime directory is unsafe.
    """
    names = tuple(names)
    for name, path in files_in(names):
        found = sample(name, path, trust)
        # What has gone since the directory was listed is no news.
        if found is not None:
            yield found
        elif names:
            missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            yield Sample(name, path, None, 0, "", "missing", explain(missing))


def sample(name: str, path: str, trust: Trust | None = None) -> Sample | None:
    """Look at one segment or raw region.

    Args:
        name: As its user calls it.
        path: Its file.
        trust: Which files may be opened.

    Returns:
        What was seen; what cannot be looked at says why. ``None`` when there is no such file.
    """
    size, identity = 0, ""
    try:
        status = os.stat(path, follow_symlinks=bool(trust and trust["follow_symlinks"]))  # noqa: PTH116 - as os.open
        size = status.st_size
        identity = f"{status.st_dev}:{status.st_ino}"
        is_link = modes.S_ISLNK(status.st_mode)
        if not modes.S_ISREG(status.st_mode) and not is_link:
            return Sample(name, path, None, size, identity, "no region", f"{path}: it is not a regular file")
        # What is wrong with a link, opening it tells.
        if not is_link and not _may_be_segment(path):
            return Sample(name, path, "region", size, identity, "raw bytes")
        segment = look_at(path, trust)
        try:
            return _sample_of(segment, Sample(name, path, segment.kind, size, segment.id))
        finally:
            segment.close()
    except FileNotFoundError:
        return None
    except NoSegment:
        return Sample(name, path, "region", size, identity, "raw bytes")
    except _TROUBLE as error:
        if isinstance(error, OverflowError | RecursionError):
            error = ValueError(f"it is damaged: {error}")
        problem = explain(error, path) if isinstance(error, OSError) else f"{path}: {problem_of(error)}"
        return Sample(name, path, None, size, identity, trouble(error), problem)


def _may_be_segment(path: str) -> bool:
    # A FIFO that somebody put there would keep whoever opens it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return is_segment(os.pread(fd, 8, 0))
    finally:
        os.close(fd)


def _sample_of(segment: Segment, blank: Sample) -> Sample:
    sights = tuple(observe(segment))
    participants = segment.participants()
    kept = tuple(
        Kept(sight.name, sight.kind or "?", hold)
        for sight in sights
        for hold in sight.holds
        # Who has not read yet keeps publishers, and no slot: it is told as lag.
        if hold.role != UNREAD
    )
    found = blank._replace(
        state=_state(sights),
        problem=next((sight.problem for sight in sights if sight.problem is not None), None),
        places=segment.max_participants,
        kept=kept,
        waiting=sum(participant.waiting for participant in participants if participant.alive),
    )
    roles: dict[int, str] = {}
    if segment.kind in CHANNELS:
        found, roles = _with_report(segment, found)
    elif segment.kind in JOBS:
        found, roles = _with_workload(segment, found)
    by_pid = {each.hold.pid: each.hold.role for each in kept}
    members = tuple(member_of(each, roles.get(each._tag) or by_pid.get(each.pid, "")) for each in participants)
    return found._replace(members=members)


def _state(sights: tuple[Sight, ...]) -> str:
    if len(sights) == 1 and not sights[0].name:
        return sights[0].state
    kinds = Counter(sight.kind for sight in sights)
    return ", ".join(f"{kind}: {count}" for kind, count in kinds.items())


def member_of(found: Participant, role: str = "") -> Member:
    """Return a participant as a record.

    Args:
        found: It.
        role: What it is to the object.
    """
    waiting = found.waiting if found.alive else 0
    return Member(found.pid, found.command, role, found.alive, found.joined, waiting, is_here(found))


def _with_report(segment: Segment, found: Sample) -> tuple[Sample, dict[int, str]]:
    # Each closes the segment that it is given.
    with Watched.over(segment.again()) as seen:
        roles = seen._roles()
    report = Report.of(segment.again())
    lags = [each.lag for each in report.subscribers if each.alive and each.policy != "ended"]
    stats = report.stats
    counts = Counts(stats.messages, stats.bytes, stats.dropped)
    return found._replace(counts=counts, lag=max(lags, default=None), report=report), roles


def _with_workload(segment: Segment, found: Sample) -> tuple[Sample, dict[int, str]]:
    work = look_at_jobs(segment)
    if work is None:
        return found, {}
    counts = Counts(work.puts, work.bytes, 0)
    kept = tuple(
        Kept("", work.kind, Hold(*_holder_of(job), job.taken, 1, None, "worker", "it is delivered again"))
        for job in work.in_state("leased")
    )
    state = f"{work.depth} of {work.maxsize}" + (", shut down" if work.is_shut_down else "")
    return found._replace(counts=counts, depth=work.depth, kept=kept, state=state, workload=work), {}


def _holder_of(job: Any) -> tuple[int | None, str, None, bool, bool]:
    return job.pid, job.command, None, job.alive, job.is_here
