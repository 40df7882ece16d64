"""What topics tell of themselves, of those who publish in them, and of those who subscribe."""

from __future__ import annotations

from .records import Record

__all__ = ["Publisher", "Subscriber", "TopicStats"]


class TopicStats(Record):
    """What is known of a topic, at one moment.

    Attributes:
        messages: How many were published.
        bytes: How many bytes they had, in all.
        dropped: How many were not published, because no slot was free and ``when_full="drop"``.
        slots: Slots.
        loaned: Slots that are being filled, or whose loan still has a view.
        pinned: Slots that samples keep.
        subscribers: Subscriptions of living processes.
        waiting: How many threads and tasks sleep for it.
        participants: How many living processes have it open for more than looking.
    """

    messages: int
    bytes: int
    dropped: int
    slots: int
    loaned: int
    pinned: int
    subscribers: int
    waiting: int
    participants: int


class Subscriber(Record):
    """A subscription to a topic, of any process.

    Attributes:
        pid: The number of its process, as that saw itself; ``None`` where the roster does not know it any more.
        command: The command line of its process, or the beginning of it; ``None`` as for ``pid``.
        alive: Whether its process lives. What a dead one had is given back when somebody needs it.
        policy: ``"latest"``, ``"drop"`` or ``"block"``; ``"ended"`` when it was closed, and samples of it live.
        lag: How many messages were published that it has not got, those that are gone by now included.
        received: How many it has got.
        missed: How many were gone before it could get them.
        pins: How many slots it keeps.
        joined: When it began, in seconds since 1970.
        delays: How many messages took how long from being published to being received: 32 counts, the one at index
            ``i`` of those that took ``2**i`` to ``2**(i + 1)`` nanoseconds. Of small messages every 16th is counted.
    """

    pid: int | None
    command: str | None
    alive: bool
    policy: str
    lag: int
    received: int
    missed: int
    pins: int
    joined: float
    delays: tuple[int, ...]


class Publisher(Record):
    """A process that has published in a topic.

    Attributes:
        pid: Its number, as it saw itself; ``None`` where the roster does not know it any more.
        command: Its command line, or the beginning of it; ``None`` as for ``pid``.
        alive: Whether it lives.
        messages: How many it has published.
        bytes: How many bytes they had, in all.
        dropped: How many it has not published, because no slot was free and ``when_full="drop"``.
        last: When it last published, in seconds since 1970; 0 when it never did.
    """

    pid: int | None
    command: str | None
    alive: bool
    messages: int
    bytes: int
    dropped: int
    last: float
