"""Queues and services as monitors see them: jobs, who works on them, and counts; nobody joins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from .. import _core
from .._core import Segment
from .observe import is_here

__all__ = ["JOBS", "Job", "Worker", "Workload", "look_at_jobs"]

#: What has jobs: the requests of a service are kept as a queue keeps its jobs.
JOBS = ("Queue", "Service")


class Worker(NamedTuple):
    """A participant that has put jobs, or taken some.

    Attributes:
        pid: Its process, as that sees itself; ``None`` when its place in the roster is another's by now.
        command: Its command line, or the start of it.
        alive: Whether it lives.
        is_here: Whether its pid means the same process here.
        puts: How many jobs it has put.
        gets: How many times it has taken one.
        done: How many it has acknowledged.
        returned: How many it has given back.
        bytes: How many bytes the messages had that it has put.
    """

    pid: int | None
    command: str
    alive: bool
    is_here: bool
    puts: int
    gets: int
    done: int
    returned: int
    bytes: int


class Job(NamedTuple):
    """A job that is in a queue, or in somebody's hands.

    Attributes:
        seq: Its number.
        state: ``"filling"``, ``"ready"``, ``"leased"``, ``"held"`` or ``"dead"``.
        attempt: Which attempt this is.
        length: Bytes of its message.
        put: When it was put, in seconds since 1970.
        taken: When it was taken, likewise; 0 when it was not.
        left: How many seconds are left of its lease; ``None`` where that has no end.
        pid: The process that has it; ``None`` when nobody has, or its place is another's by now.
        command: The command line of that process, or the start of it.
        alive: Whether that lives.
        is_here: Whether its pid means the same process here.
    """

    seq: int
    state: str
    attempt: int
    length: int
    put: float
    taken: float
    left: float | None
    pid: int | None
    command: str
    alive: bool
    is_here: bool


class Workload(NamedTuple):
    """What is known of a queue, or of the requests of a service, at one moment.

    Attributes:
        kind: ``"Queue"`` or ``"Service"``.
        puts: How many jobs were put.
        gets: How many times one was taken.
        done: How many were acknowledged.
        returned: How many times one came back.
        bytes: How many bytes the messages had, in all.
        depth: Jobs that wait for a worker.
        leased: Jobs in the hands of workers.
        held: Jobs that are done, and of whose messages a view still lives.
        dead: Dead letters.
        free_jobs: How many more jobs there is room for.
        free_bytes: How many more bytes of large messages.
        maxsize: How many jobs there is room for.
        is_shut_down: Whether it was shut down.
        workers: Those who have put jobs, or taken some.
        jobs: The jobs that are there.
    """

    kind: str
    puts: int
    gets: int
    done: int
    returned: int
    bytes: int
    depth: int
    leased: int
    held: int
    dead: int
    free_jobs: int
    free_bytes: int
    maxsize: int
    is_shut_down: bool
    workers: tuple[Worker, ...]
    jobs: tuple[Job, ...]

    @property
    def is_full(self) -> bool:
        """Whether no job can be put: there is no place for one, or no byte for a large message."""
        return self.depth >= self.maxsize > 0 or 0 in (self.free_jobs, self.free_bytes)

    def in_state(self, state: str) -> Iterator[Job]:
        """Yield the jobs in a state, the oldest first."""
        yield from sorted((job for job in self.jobs if job.state == state), key=lambda job: job.seq)

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        told = self._asdict()
        del told["kind"]
        # The jobs that wait may be many thousands: their number is told.
        jobs = [job._asdict() for state in ("leased", "held", "dead") for job in self.in_state(state)]
        return {**told, "workers": [worker._asdict() for worker in self.workers], "jobs": jobs}


def look_at_jobs(segment: Segment) -> Workload | None:
    """Look at a segment that holds a queue or a service.

    Args:
        segment: It, open, read-only or not.

    Returns:
        What is known of it; ``None`` where this version has nothing to look at it with.

    Raises:
        ValueError: It is damaged.
        OSError: The file is cut.
    """
    kind = getattr(_core, segment.kind, None) if segment.kind in JOBS else None
    if kind is None:
        return None

    def who(tag: int) -> tuple[int | None, str, bool, bool]:
        found = segment.describe(tag) if tag else None
        if found is None:
            return None, "", False, True
        return found.pid, found.command, found.alive, is_here(found)

    # As bytes, so that no codec is asked for: nothing is read but counts.
    codecs = (None, "bytes") if segment.kind == "Queue" else (None, "bytes") * 2
    with closing(kind(segment, *codecs)) as queue:
        puts, gets, done, returned, size, depth, leased, held, dead, free_jobs, free_bytes = queue._totals()
        workers = tuple(Worker(*who(tag), *counts) for tag, *counts in queue._workers())
        jobs = tuple(
            # A lane of another number is one of a service's replies.
            Job(seq, state, attempt, length, put, taken, left or None, *who(tag))
            for _, seq, state, tag, attempt, length, put, taken, left, lane in queue._jobs()
            if lane == 0
        )
        totals = (puts, gets, done, returned, size, depth, leased, held, dead, free_jobs, free_bytes)
        # A service has as much room as there are jobs, and says no number.
        maxsize = int(getattr(queue, "maxsize", 0)) or depth + leased + held + dead + free_jobs
        return Workload(segment.kind, *totals, maxsize, bool(queue.is_shut_down), workers, jobs)
