"""`Empty` and `Full`: by themselves, because their base classes cost more to import than all of samemap."""

from __future__ import annotations

import queue

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
    """

    def __init__(self, reason: str = "no slot was free in time") -> None:
        super().__init__(reason)
