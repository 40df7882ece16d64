"""The errors that samemap adds to Python's own."""

from __future__ import annotations

import errno
import time

from ._core import SegmentMismatch, SegmentTruncated

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .brokenbarrier import BrokenBarrierError
    from .exhaustion import Empty, Full, LeaseLost, PeerDied, ShutDown
    from .records import Holder

__all__ = [
    "AcquireTimeout",
    "BrokenBarrierError",
    "Empty",
    "Full",
    "LeaseLost",
    "OwnerDied",
    "PeerDied",
    "SegmentMismatch",
    "SegmentTruncated",
    "ShutDown",
]


def __getattr__(name: str) -> object:
    # Only when somebody asks: they import threading.
    if name == "BrokenBarrierError":
        from .brokenbarrier import BrokenBarrierError

        globals()[name] = BrokenBarrierError
        return BrokenBarrierError
    if name in ("Empty", "Full", "LeaseLost", "PeerDied", "ShutDown"):
        from . import exhaustion

        found = globals()[name] = getattr(exhaustion, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class OwnerDied(RuntimeError):
    """The holder of a lock died with it, and the lock was opened with ``on_owner_death="raise"``.

    The lock still counts as the dead one's. Whoever has put right what it guards calls ``recover()`` to get it.

    Args:
        path: The file of the lock; ``None`` when it is anonymous.
        pid: Who died, as it saw itself; ``None`` where the roster does not know it any more.
        command: Its command line, or the beginning of it.
        when: When the death was noticed, in seconds since 1970.
    """

    def __init__(self, path: str | None, pid: int | None, command: str | None, when: float) -> None:
        super().__init__(path, pid, command, when)
        self.path = path
        self.pid = pid
        self.command = command
        self.when = when

    def __str__(self) -> str:
        lock = "an anonymous lock" if self.path is None else f"the lock in {self.path}"
        return (
            f"the holder of {lock} died with it: {_process(self.pid, self.command)}, noticed at {_clock(self.when)}; "
            "put right what the lock guards, and take it with recover()"
        )


class AcquireTimeout(TimeoutError):
    """A lock could not be had in time.

    Args:
        what: The lock, for the message.
        seconds: How long it was waited for.
        holder: Who holds it; ``None`` when it has become free meanwhile, or many hold it.
    """

    def __init__(self, what: str, seconds: float, holder: Holder | None) -> None:
        super().__init__(errno.ETIMEDOUT, what)
        self.what = what
        self.seconds = seconds
        self.holder = holder

    def __reduce__(self) -> tuple[type[AcquireTimeout], tuple[str, float, Holder | None]]:
        # OSError would bring back its own two arguments only.
        return type(self), (self.what, self.seconds, self.holder)

    def __str__(self) -> str:
        late = f"{self.what} could not be had within {self.seconds:g} s"
        if self.holder is None:
            return late
        holder = _process(self.holder.pid, self.holder.command)
        death = "" if self.holder.alive else ", and has died with it"
        return f"{late}: {holder} holds it since {_clock(self.holder.since)}{death}"


def _process(pid: int | None, command: str | None) -> str:
    return "a process that is gone" if pid is None else f"pid {pid} ({command})"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
