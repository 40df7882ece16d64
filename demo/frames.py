"""A ring of video frames in a raw region: one process publishes, several read every frame in place.

Everything is plain memory, each word in a cache line of its own:

====== ======== ==========================================================================================
offset type     meaning
====== ======== ==========================================================================================
0      uint32_t frames published so far; readers sleep on it; the highest bit means that no more will come
64     uint32_t height, width, slots, readers
128    uint32_t frames that reader 0 is done with; the publisher sleeps on it when that reader is the slowest
192    uint32_t the same for reader 1, and so on
4096   bytes    slot 0: height x width x 3 bytes, red green blue; slots start at multiples of 4096
====== ======== ==========================================================================================

Frame ``n`` is in slot ``n % slots``. The publisher fills that only when every reader is done with frame
``n - slots``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray
from waiting import wait_for_change

from samemap import Region

PUBLISHED = 0
SHAPE = 64
DONE = 128
LINE = 64
SLOTS_START = 4096
ALIGNMENT = 4096
END = 1 << 31


def _slot_size(height: int, width: int) -> int:
    return -(-height * width * 3 // ALIGNMENT) * ALIGNMENT


class FrameRing:
    """The ring, as seen by any of its processes."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.height, self.width, self.slots, self.readers = (region.load_u32(SHAPE + 4 * i) for i in range(4))
        size = _slot_size(self.height, self.width)
        shape = (self.height, self.width, 3)
        self._views = [region.array("u1", shape, SLOTS_START + n * size) for n in range(self.slots)]

    @classmethod
    def create(cls, name: str, height: int, width: int, slots: int, readers: int) -> FrameRing:
        """Make a ring under a name that is free."""
        region = Region.create(name, SLOTS_START + slots * _slot_size(height, width))
        for i, value in enumerate((height, width, slots, readers)):
            region.store_u32(SHAPE + 4 * i, value)
        return cls(region)

    @classmethod
    def open(cls, name: str) -> FrameRing:
        """Map a ring that somebody made."""
        return cls(Region.open(name))

    def publish(self, number: int, frame: NDArray[Any], still_there: Callable[[], None]) -> None:
        """Copy frame ``number`` into its slot and wake the readers, after the slowest of them made room."""
        for reader in range(self.readers):
            while (done := self.done(reader)) + self.slots <= number:
                wait_for_change(self.region, DONE + reader * LINE, done, still_there)
        self._views[number % self.slots][:] = frame
        self.region.store_u32(PUBLISHED, number + 1)
        self.region.ring(PUBLISHED)

    def end(self) -> None:
        """Tell the readers that no more will come."""
        self.region.store_u32(PUBLISHED, self.region.load_u32(PUBLISHED) | END)
        self.region.ring(PUBLISHED)

    def done(self, reader: int) -> int:
        """Return how many frames a reader is done with."""
        return self.region.load_u32(DONE + reader * LINE)

    def frames(self, reader: int, still_there: Callable[[], None]) -> Iterator[NDArray[Any]]:
        """Yield each frame where it lies; asking for the next one gives its slot back."""
        number = published = 0
        while True:
            while published & ~END == number:
                if published & END:
                    return
                published = wait_for_change(self.region, PUBLISHED, published, still_there)
            yield self._views[number % self.slots]
            number += 1
            self.region.store_u32(DONE + reader * LINE, number)
            self.region.ring(DONE + reader * LINE)

    def close(self) -> None:
        """Let go of the memory."""
        self._views.clear()
        self.region.close()
