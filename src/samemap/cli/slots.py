"""Who keeps which slots of a topic, since when, and which a publisher could have: from the tables in its segment."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from .._core import Segment, SegmentMismatch

__all__ = ["Place", "Slot", "Tables", "read_tables"]

# docs/format.md, "Bodies": the tables of a topic follow one another, and the first fields say how long they are.
_HEAD = struct.Struct("<IIII")
_HEAD_SIZE, _PUBLISHER_SIZE = 256, 64
_PLACE = struct.Struct("<QQQQII152x")
_SLOT = struct.Struct("<QQQQQQII8x")

#: How many slots and places there can be, so that a damaged number is no reason to read gigabytes.
_MOST_SLOTS, _MOST_PLACES, _MOST_PARTICIPANTS = 1 << 20, 128, 1023

#: A place that is set up or cleared away, and counts for nobody.
_MARK = 1 << 31
_BLOCK = 3


class Place(NamedTuple):
    """A subscription, as its place in the table tells it.

    Attributes:
        tag: The participant's.
        cursor: The number of the message that it gets next.
        joined: When it began, in nanoseconds since 1970.
        is_blocking: Whether publishers wait for it.
    """

    tag: int
    cursor: int
    joined: int
    is_blocking: bool


class Slot(NamedTuple):
    """A slot that somebody has.

    Attributes:
        seq: The number of the message in it; 0 while there is none.
        pinned_by: The places in the table of subscriptions that pin it.
        owner: The tag of who fills it; 0 when nobody does.
        since: When the first of them took it, in seconds since 1970.
    """

    seq: int
    pinned_by: tuple[int, ...]
    owner: int
    since: float


class Tables(NamedTuple):
    """The tables of a topic, at one moment.

    Attributes:
        places: Subscriptions, by their place.
        slots: All slots.
    """

    places: dict[int, Place]
    slots: tuple[Slot, ...]

    def pinned_since(self) -> dict[tuple[int, int], float]:
        """Return since when each subscription pins a slot, by tag and by when it began."""
        since: dict[tuple[int, int], float] = {}
        for slot in self.slots:
            for number in slot.pinned_by:
                if (place := self.places.get(number)) is not None:
                    key = place.tag, place.joined
                    since[key] = min(slot.since, since.get(key, slot.since))
        return since

    def filled_by(self) -> dict[int, tuple[int, float]]:
        """Return how many slots each participant fills, and since when, by its tag."""
        filling: dict[int, tuple[int, float]] = {}
        for slot in self.slots:
            if slot.owner:
                count, since = filling.get(slot.owner, (0, slot.since))
                filling[slot.owner] = count + 1, min(since, slot.since)
        return filling

    def is_full(self, newest: int) -> bool:
        """Tell whether a publisher finds no slot.

        Args:
            newest: The number of the newest message, whose slot no publisher takes.
        """
        needed = min((place.cursor for place in self.places.values() if place.is_blocking), default=newest + 1)
        return not any(
            not slot.pinned_by and not slot.owner and slot.seq < min(needed, max(newest, 1)) for slot in self.slots
        )


def read_tables(segment: Segment, offset: int = 0) -> Tables:
    """Read the tables of a topic, as others may change them at the same time.

    Args:
        segment: Where it is.
        offset: Where in it: bytes from the start of the body.

    Returns:
        What they say; nothing in it is trusted.

    Raises:
        SegmentMismatch: It is damaged.
        OSError: It cannot be read.
    """
    # Not through the mapping, which is the compiled half's: these are small, and read now and then.
    start, fd = segment.body + offset, segment.fileno()
    slots, _, places, publishers = _HEAD.unpack(_read(fd, _HEAD.size, start))
    if slots > _MOST_SLOTS or places > _MOST_PLACES or publishers > _MOST_PARTICIPANTS:
        raise SegmentMismatch(f"its tables have {publishers}, {places} and {slots} entries: it is damaged")
    start += _HEAD_SIZE + _PUBLISHER_SIZE * publishers
    table = _read(fd, _PLACE.size * places, start)
    found = {
        number: Place(owner, cursor, joined, policy == _BLOCK)
        for number, (cursor, _, _, joined, owner, policy) in enumerate(_PLACE.iter_unpack(table))
        if owner and not owner & _MARK
    }
    table = _read(fd, _SLOT.size * slots, start + len(table))
    return Tables(found, tuple(_slot(*fields) for fields in _SLOT.iter_unpack(table)))


def _slot(seq: int, low: int, high: int, _published: int, held: int, _length: int, owner: int, _by: int) -> Slot:
    return Slot(seq, _bits(low | high << 64) if low or high else (), owner, held / 1e9)


def _bits(word: int) -> tuple[int, ...]:
    return tuple(number for number in range(word.bit_length()) if word >> number & 1)


def _read(fd: int, size: int, offset: int) -> bytes:
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise SegmentMismatch(f"its tables end at byte {offset + len(data)} of the file: it is damaged")
    return data
