"""What queues and services tell of themselves, of those who work for them, and of the jobs in their hands."""

from __future__ import annotations

from .records import Record

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._core import Participant, Segment

__all__ = ["Lease", "QueueStats", "ServiceClient", "ServiceStats", "ServiceWorker", "Worker", "told_apart"]


class QueueStats(Record):
    """What is known of a queue, at one moment.

    Attributes:
        depth: Jobs that wait for a worker.
        leased: Jobs in the hands of living workers that have not acknowledged them.
        orphaned: Jobs in the hands of dead ones, until they come back: who takes or waits sees to that, who only reads
            cannot.
        held: Jobs that are done, and of whose messages a view still lives.
        dead: Dead letters.
        puts: How many jobs were put.
        gets: How many times one was taken.
        done: How many of them were got, or leased and acknowledged.
        returned: How many times one was given back, or came back from a worker that died or was too late.
        bytes: How many bytes the messages had, in all.
        maxsize: How many jobs there is room for.
        max_bytes: How many bytes of large messages there is room for.
        free_bytes: How many of them are free.
        waiting: How many threads and tasks sleep for it.
        participants: How many living processes have it open for more than looking.
        shut_down: Whether it was shut down.
    """

    depth: int
    leased: int
    orphaned: int
    held: int
    dead: int
    puts: int
    gets: int
    done: int
    returned: int
    bytes: int
    maxsize: int
    max_bytes: int
    free_bytes: int
    waiting: int
    participants: int
    shut_down: bool


class Lease(Record):
    """A job in the hands of a worker.

    Attributes:
        seq: The number of the job.
        attempt: Which attempt this is, from 1.
        since: When the worker took it, in seconds since 1970.
    """

    seq: int
    attempt: int
    since: float


class Worker(Record):
    """A process that has put jobs into a queue, or taken some.

    Attributes:
        participant: The process; ``None`` where the roster does not know it any more.
        puts: How many jobs it has put.
        gets: How many times it has taken one.
        done: How many of them it has got, or leased and acknowledged.
        returned: How many it has given back.
        bytes: How many bytes the messages had that it has put.
        leases: What it has in its hands.
        orphaned: What it had in its hands when it died, until that comes back.
    """

    participant: Participant | None
    puts: int
    gets: int
    done: int
    returned: int
    bytes: int
    leases: tuple[Lease, ...]
    orphaned: tuple[Lease, ...]


class ServiceStats(Record):
    """What is known of a service, at one moment.

    Attributes:
        depth: Requests that wait for a worker.
        running: Requests in the hands of living workers.
        orphaned: Requests in the hands of dead ones, until somebody ends them: who serves or waits does so at once, who
            only reads cannot.
        held: Requests and replies that are done with, and of which a view still lives.
        requests: How many requests were taken, in all.
        done: How many of them were ended by their worker.
        maxsize: How many requests may wait.
        max_bytes: How many bytes of large messages there is room for.
        free_bytes: How many of them are free.
        servers: How many processes serve.
        waiting: How many threads and tasks sleep for it, at either end.
        participants: How many living processes have it open for more than looking.
        shut_down: Whether it was shut down.
    """

    depth: int
    running: int
    orphaned: int
    held: int
    requests: int
    done: int
    maxsize: int
    max_bytes: int
    free_bytes: int
    servers: int
    waiting: int
    participants: int
    shut_down: bool


class ServiceWorker(Record):
    """A process that serves, or has served.

    Attributes:
        participant: The process; ``None`` where the roster does not know it any more.
        serving: Whether it takes requests.
        requests: How many it has taken.
        done: How many of them it has ended.
        leases: What it has in its hands.
        orphaned: What it had in its hands when it died, until somebody ends that.
    """

    participant: Participant | None
    serving: bool
    requests: int
    done: int
    leases: tuple[Lease, ...]
    orphaned: tuple[Lease, ...]


class ServiceClient(Record):
    """A process that has called.

    Attributes:
        participant: The process; ``None`` where the roster does not know it any more.
        calls: How many calls it has made.
        bytes: How many bytes the messages had that it has sent.
    """

    participant: Participant | None
    calls: int
    bytes: int


def told_apart(
    rows: Iterable[tuple[int, int, int, float]], segment: Segment
) -> tuple[dict[int, list[Lease]], dict[int, list[Lease]]]:
    """Tell what the living have in their hands apart from what the dead had.

    Args:
        rows: Who has what: a tag, the number of a job, which attempt it is, and since when.
        segment: Where they live.

    Returns:
        The leases of the living, by tag; and those of the dead. Who only reads cannot take them from the dead, but
        that they are dead is known to everybody.
    """
    leases: dict[int, list[Lease]] = {}
    for tag, *lease in rows:
        leases.setdefault(tag, []).append(Lease(*lease))
    found = {tag: segment.describe(tag) for tag in leases}
    orphaned = {tag: leases.pop(tag) for tag, who in found.items() if who is None or not who.alive}
    return leases, orphaned
