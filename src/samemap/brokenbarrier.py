"""`BrokenBarrierError`: by itself, because its base class costs more to import than all of samemap."""

from __future__ import annotations

import threading

__all__ = ["BrokenBarrierError"]


class BrokenBarrierError(threading.BrokenBarrierError):
    """A barrier is broken, so that waiting at it makes no sense until it is reset.

    The message says why: a wait timed out, somebody called ``abort()`` or ``reset()``, or one who waited died.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str = "the barrier is broken") -> None:
        super().__init__(reason)
        self.reason = reason
