"""Leaving all rosters when the process ends normally.

Nobody needs that: who dies without a word is noticed. But a roster that lists only the living is easier to read, and
whoever finds a dead participant in one knows that something went wrong.
"""

from __future__ import annotations

import atexit
import os
import sys

from ._core import leave_all

__all__ = ["leave_at_exit"]

#: After all else that children of multiprocessing clean up, queues and user's own finalizers included.
LAST = -1_000_000


def leave_at_exit() -> None:
    """See to it that this process leaves all rosters at its end, and so do its children."""
    atexit.register(_leave)
    # It ends its children past atexit. In one of them we may be imported only now, before or after it calls back.
    if "multiprocessing.util" in sys.modules:
        _leave_with_multiprocessing()
        _have_called_back()
    os.register_at_fork(after_in_child=_have_called_back)


def _leave() -> None:
    # A thread that nobody waits for may be at work under a lock, which is its own until the process is gone.
    threading = sys.modules.get("threading")
    if threading is None or threading.active_count() == 1:
        leave_all()


_will_be_called = False


def _have_called_back() -> None:
    # The child first forgets all its parent's finalizers, then calls back, and only then runs.
    global _will_be_called
    if not _will_be_called and (util := sys.modules.get("multiprocessing.util")):
        util.register_after_fork(_have_called_back, _leave_after_fork)
        _will_be_called = True


def _leave_after_fork(_: object) -> None:
    _leave_with_multiprocessing()


def _leave_with_multiprocessing() -> None:
    from multiprocessing import util

    util.Finalize(None, _leave, exitpriority=LAST)
