"""What is raised when there is nothing left to take or to give, and about those who had it.

By themselves, because the base classes of some cost more to import than all of samemap.
"""

from __future__ import annotations

import queue
import sys

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.version_info >= (3, 13):
    from queue import ShutDown as _ShutDown
else:
    _ShutDown = Exception

__all__ = ["Empty", "Full", "LeaseLost", "PeerDied", "ShutDown"]


class Empty(queue.Empty, TimeoutError):
    """No message, no job or no value came in time.

    Args:
        reason: What there is instead.
    """

    def __init__(self, reason: str = "nothing came in time") -> None:
        super().__init__(reason)


class Full(queue.Full, TimeoutError):
    """No slot was free in time, or no room.

    The message of a topic says who keeps which slot, and since when.

    Args:
        reason: Why.
        published: How many messages `Topic.publish_many` had published before.
        unpublished: What it had taken from an iterator then, and could not publish: one message, or none.
    """

    def __init__(
        self, reason: str = "no slot was free in time", published: int = 0, unpublished: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.published = published
        self.unpublished = unpublished


class ShutDown(_ShutDown):
    """The queue was shut down: it takes nothing more, and has nothing left to give.

    It is a ``queue.ShutDown`` where Python has that, from 3.13 on.

    Args:
        reason: Which queue, and what was asked of it.
    """

    def __init__(self, reason: str = "it was shut down") -> None:
        super().__init__(reason)


class LeaseLost(Exception):
    """The job is somebody else's by now: its lease ran out, or it was given back.

    Whatever was done for it may be done again, or was.

    Args:
        reason: Which job, and when it was lost.
    """

    def __init__(self, reason: str = "another has the job by now") -> None:
        super().__init__(reason)


class PeerDied(ConnectionError):
    """The process at the other end died.

    Args:
        reason: Which, and with what in its hands.
    """

    def __init__(self, reason: str = "the process at the other end died") -> None:
        super().__init__(reason)
