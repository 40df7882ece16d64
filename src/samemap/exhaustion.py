"""`Empty` and `Full`: by themselves, because their base classes cost more to import than all of samemap."""

from __future__ import annotations

import queue

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Empty", "Full"]


class Empty(queue.Empty, TimeoutError):
    """No message, or no value, came in time.

    Args:
        reason: What there is instead.
    """

    def __init__(self, reason: str = "nothing came in time") -> None:
        super().__init__(reason)


class Full(queue.Full, TimeoutError):
    """No slot was free in time.

    The message says who keeps which slot, and since when.

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
