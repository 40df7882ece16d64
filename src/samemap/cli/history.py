"""Samples of segments one after the other, and what differences of them say: rates, and those of the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .sampling import Counts, Sample

__all__ = ["MINUTE", "History", "Rates", "Row", "Snapshot", "sparkline"]

#: How far back a history goes.
MINUTE = 60.0

#: The lowest bar is for nothing at all.
_BARS = "▁▂▃▄▅▆▇█"


class Rates(NamedTuple):
    """How much goes through a segment, each second.

    Attributes:
        messages: Messages, or jobs that were put.
        bytes: Their bytes.
        dropped: Messages that were not published.
    """

    messages: float
    bytes: float
    dropped: float


class Row(NamedTuple):
    """A segment, and what has changed since the look before.

    Attributes:
        sample: What was seen.
        rates: How much goes through it; ``None`` where nothing does, and when it was seen for the first time.
        minute: When in the last minute which rate of messages was seen, the oldest first, by the monotonic clock.
    """

    sample: Sample
    rates: Rates | None = None
    minute: tuple[tuple[float, float], ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        rates = self.rates
        return {
            **self.sample.record(),
            "messages_per_second": None if rates is None else rates.messages,
            "bytes_per_second": None if rates is None else rates.bytes,
            "dropped_per_second": None if rates is None else rates.dropped,
        }


class Snapshot(NamedTuple):
    """All segments at one moment.

    Attributes:
        moment: Seconds of the monotonic clock.
        now: Seconds since 1970.
        seconds: How long ago the look before was; 0 when there was none.
        rows: A row for each segment.
    """

    moment: float
    now: float
    seconds: float
    rows: tuple[Row, ...]


class _Track:
    """What is remembered of one segment."""

    def __init__(self, sample: Sample, moment: float) -> None:
        self.identity = sample.identity
        self.counts = sample.counts
        self.moment = moment
        self.minute: deque[tuple[float, float]] = deque()

    def go_on(self, counts: Counts, moment: float) -> Rates | None:
        """Return the rates since the look before."""
        before, seconds = self.counts, moment - self.moment
        self.counts, self.moment = counts, moment
        if before is None or seconds <= 0:
            return None
        # Damage, and nothing else, counts backwards.
        rates = Rates(*(max(new - old, 0) / seconds for new, old in zip(counts, before, strict=True)))
        self.minute.append((moment, rates.messages))
        while self.minute[0][0] <= moment - MINUTE:
            self.minute.popleft()
        return rates


class History:
    """Turns samples into rows, and remembers a minute of each segment.

    Args:
        look: Looks at all segments.
        clock: Seconds that only go forward.
    """

    def __init__(self, look: Callable[[], Iterable[Sample]], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._tracks: dict[str, _Track] = {}
        self._last: float | None = None

    def snapshot(self) -> Snapshot:
        """Look now.

        Raises:
            OSError: The runtime directory is unsafe.
        """
        rows = tuple(self._row(sample) for sample in self._look())
        moment = self._clock()
        present = {row.sample.path for row in rows}
        # One that is made anew begins anew.
        self._tracks = {path: track for path, track in self._tracks.items() if path in present}
        before, self._last = self._last, moment
        return Snapshot(moment, time.time(), 0.0 if before is None else moment - before, rows)

    def _row(self, sample: Sample) -> Row:
        # Of each segment by itself: where there are thousands, a look takes its time.
        moment = self._clock()
        track = self._tracks.get(sample.path)
        if track is None or track.identity != sample.identity:
            self._tracks[sample.path] = _Track(sample, moment)
            return Row(sample)
        if sample.counts is None:
            return Row(sample, None, tuple(track.minute))
        return Row(sample, track.go_on(sample.counts, moment), tuple(track.minute))


def sparkline(minute: Iterable[tuple[float, float]], moment: float, width: int) -> str:
    """Draw the rates of the last minute, the newest at the right.

    Args:
        minute: When which rate was seen.
        moment: Now, by the same clock.
        width: How many characters.

    Returns:
        A bar for each part of the minute, as high as the mean rate in it, measured by the greatest of these. A blank
        where nobody looked.

    Example:
        >>> sparkline([(0.5, 0.0), (15, 4.0), (30, 8.0), (59, 2.0)], 60.0, 5)
        '▁▅█ ▃'
    """
    parts: list[list[float]] = [[] for _ in range(width)]
    for when, rate in minute:
        ago = moment - when
        if ago < MINUTE:
            parts[min(int((MINUTE - ago) / MINUTE * width), width - 1)].append(rate)
    means = [sum(part) / len(part) if part else None for part in parts]
    most = max((mean for mean in means if mean is not None), default=0.0)
    return "".join(" " if mean is None else _bar(mean, most) for mean in means)


def _bar(mean: float, most: float) -> str:
    if mean <= 0:
        return _BARS[0]
    return _BARS[max(1, round(mean / most * (len(_BARS) - 1)))]
