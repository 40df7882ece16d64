"""Topics and newest values as monitors see them: the counts in the segment, for whoever may read the file."""

from __future__ import annotations

import os
from typing import Any

from .. import _core
from .._core import Segment, SegmentMismatch
from ..names import resolve
from ..opening import when_there
from ..segments import fields_of
from ..topics import Topic
from .display import printable
from .parameters import Trust
from .segments import NoSegment, look_at, problem_of

__all__ = ["CHANNELS", "Watched", "is_in_place", "watch"]

#: What has messages: the newest value is kept as a topic keeps its messages.
CHANNELS = ("Topic", "Latest")


class Watched(Topic):
    """A topic, or a newest value, of which only the counts are looked at.

    It has no codec: so it needs no numpy where messages are arrays, and no trust where they are pickles.
    """

    __slots__ = ()

    @classmethod
    def _over(cls, segment: Segment, offset: int, *own: Any) -> Watched:
        thing = _core.Topic.__new__(cls, segment, None, True, "wait")
        thing._is_raw, thing._subscriptions = True, set()
        return thing

    @classmethod
    def over(cls, segment: Segment, name: str | None = None) -> Watched:
        """Look at a segment that is open, and closed with it.

        Args:
            segment: One of `CHANNELS`.
            name: What its user calls it.

        Raises:
            ValueError: It is damaged.
        """
        return cls._attach(segment, 0, name, None, ())

    @property
    def kind(self) -> str:
        """``"Topic"`` or ``"Latest"``."""
        return self._segment.kind

    def schema(self) -> dict[str, Any]:
        """Return what its maker said of it: what messages are, and how many there is room for."""
        return dict(fields_of(self._segment))

    def outputs(self) -> dict[int, tuple[int, ...]]:
        """Return the messages, bytes and drops of each participant that has published, by its tag."""
        return {tag: tuple(own) for tag, own, _, _ in self._publishers()}

    def totals(self) -> tuple[int, ...]:
        """Return all messages, bytes and drops, those of participants that are gone included."""
        # Messages by their numbers: who was killed in between may not have counted its last one.
        counted = [everything for _, _, everything, _ in self._publishers()]
        return (self.seq, *(sum(each[at] for each in counted) for at in (1, 2)))

    def who(self, tag: int) -> tuple[int | None, str | None, bool]:
        """Return the pid of a participant, its command line, and whether it lives."""
        return self._who(tag)

    def called(self, tag: int) -> str:
        """Return what people call a participant."""
        pid, command, alive = self._who(tag)
        if pid is None:
            return "a process that is gone"
        return printable(f"pid {pid}{'' if alive else ', gone'} ({command})")


def watch(name: str, trust: Trust, wait: float | None = None) -> Watched:
    """Look at a topic or newest value: it is mapped read-only, and nobody joins or subscribes.

    Args:
        name: As its user calls it.
        trust: Which files may be opened.
        wait: Seconds to wait until it exists.

    Returns:
        It; to be closed.

    Raises:
        OSError: It is missing, or cannot be opened.
        SegmentMismatch: It is something else.
    """
    path = resolve(name)
    return Watched.over(when_there(lambda: _channel_in(path, trust), path, False, wait), name)


def is_in_place(path: str, thing: Topic | Any) -> bool:
    """Tell whether a file still is what its path leads to, or nothing else is.

    Args:
        path: The path.
        thing: What was opened there.
    """
    try:
        return os.path.samestat(os.stat(path), os.fstat(thing._segment.fileno()))  # noqa: PTH116 - as its fstat
    except FileNotFoundError:
        return True


def _channel_in(path: str, trust: Trust) -> Segment:
    try:
        segment = look_at(path, trust)
    except FileNotFoundError as error:
        # Not with the cures for regions.
        error.strerror = f"{str(error.strerror).partition('; ')[0]}; --wait 10s waits for it"
        raise
    except NoSegment:
        raise SegmentMismatch(f"{path}: it is a raw region, and no topic; 'samemap read' shows its text") from None
    except SegmentMismatch as error:
        raise SegmentMismatch(f"{path}: {problem_of(error)}") from error
    if segment.kind not in CHANNELS:
        kind = segment.kind
        segment.close()
        raise SegmentMismatch(f"{path}: it is a {kind}, and no topic; 'samemap locks' shows what it does")
    return segment
