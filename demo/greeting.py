"""The layout of a mapped greeting: a text, how often it changed, and when.

All of it is plain memory, so a C program could take part: a char[8], a uint32_t to sleep on, a uint64_t.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from waiting import wait_for_change

from samemap import PAGE_SIZE, Region

SIZE = PAGE_SIZE
TEXT = 0
TEXT_SIZE = 8
#: How often the text changed; readers sleep on this word. It stands in a cache line of its own.
CHANGES = 64
#: When it was last changed, in nanoseconds of the clock that all processes of the machine share.
CHANGED_AT = 72
#: The writer sets this bit of `CHANGES` when there is nothing more to come.
END = 1 << 31


class Change(NamedTuple):
    """A change that was noticed.

    Attributes:
        changes: The new count.
        text: The new text.
        microseconds: From the writer's store to this process being awake again.
    """

    changes: int
    text: str
    microseconds: float


def put(region: Region, text: str) -> None:
    """Replace the text, and wake whoever sleeps on it."""
    region.write_text(text, TEXT, TEXT_SIZE)
    region.store_u64(CHANGED_AT, time.monotonic_ns())
    region.fetch_add_u32(CHANGES, 1)
    region.ring(CHANGES)


def read(region: Region) -> str:
    """Return the text that is there now."""
    return region.read_text(TEXT, TEXT_SIZE)


def next_change(region: Region, seen: int, still_there: Callable[[], None]) -> Change:
    """Sleep until the count of changes differs from ``seen``."""
    changes = wait_for_change(region, CHANGES, seen, still_there)
    microseconds = (time.monotonic_ns() - region.load_u64(CHANGED_AT)) / 1000
    return Change(changes, read(region), microseconds)
