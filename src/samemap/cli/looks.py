"""Looks at the counts of a topic, one after the other: what monitors make differences of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

import click

from ..names import resolve
from .channels import Watched, is_in_place, watch
from .display import listener_gone
from .parameters import NAME, Duration, Trust, opening

__all__ = ["Look", "looks", "monitoring"]

Function = TypeVar("Function", bound=Callable[..., Any])

#: What `Subscriber.delays` counts with: they start again from 0.
WORD = 0xFFFF_FFFF


class Look(NamedTuple):
    """What was seen at one moment.

    Attributes:
        moment: Seconds of the monotonic clock.
        totals: Messages, bytes and drops, in all.
        outputs: The same of each publisher, by tag.
        delays: Policy, and counts of delays, of each subscription; by tag and by when it began.
    """

    moment: float
    totals: tuple[int, ...]
    outputs: dict[int, tuple[int, ...]]
    delays: dict[tuple[int, int], tuple[str, tuple[int, ...]]]

    @classmethod
    def at(cls, seen: Watched) -> Look:
        """Look now."""
        delays = {(tag, joined): (policy, tuple(counts)) for tag, policy, *_, joined, counts in seen._subscribers()}
        return cls(time.monotonic(), seen.totals(), seen.outputs(), delays)

    def since(self, before: Look) -> Look:
        """Return what has changed since another look: seconds, and differences of all counts."""
        # A tag means one participant for ever, and whoever was not there before had counted nothing.
        outputs = {tag: _less(counts, before.outputs.get(tag)) for tag, counts in self.outputs.items()}
        delays = {
            key: (policy, tuple(count & WORD for count in _less(counts, before.delays.get(key, (policy, None))[1])))
            for key, (policy, counts) in self.delays.items()
        }
        return Look(self.moment - before.moment, _less(self.totals, before.totals), outputs, delays)


def _less(counts: tuple[int, ...], before: tuple[int, ...] | None) -> tuple[int, ...]:
    return counts if before is None else tuple(now - then for now, then in zip(counts, before, strict=True))


def looks(
    name: str, trust: Trust, every: float, count: int | None, wait: float | None
) -> Generator[tuple[Watched, Look], None, None]:
    """Yield what was looked at, and what has changed since the look before, ``every`` seconds apart.

    Args:
        name: A topic or newest value. Another one that gets the name is gone over to.
        trust: Which files may be opened.
        every: Seconds between looks.
        count: How many; ``None`` for no end.
        wait: Seconds to wait until it exists.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
        OSError: It is missing, cannot be opened, or is cut.
        SegmentMismatch: It is something else.
    """
    path = resolve(name)
    seen = watch(name, trust, wait)
    try:
        before = Look.at(seen)
        done = 0
        while count is None or done < count:
            time.sleep(every)
            if listener_gone():
                raise BrokenPipeError
            if not is_in_place(path, seen):
                # What the other one had when it was found is not counted.
                seen.close()
                seen = watch(name, trust, math.inf)
                before = Look.at(seen)
                continue
            after = Look.at(seen)
            yield seen, after.since(before)
            before = after
            done += 1
    finally:
        seen.close()


def monitoring(command: Function) -> Function:
    """Add what the commands take that look again and again."""
    for option in (
        opening,
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object per look."),
        click.option("--wait", type=Duration(endless=True), help="Wait so long until it exists; or 'inf'."),
        click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N looks."),
        click.option("--every", type=Duration(0.01), default="1s", show_default=True, help="Look so often."),
        click.argument("name", type=NAME),
    ):
        command = option(command)
    return command
