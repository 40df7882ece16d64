"""A small picture in a region of its own, from who sees the frames to who has the terminal.

====== ======== ==========================================================================================
offset type     meaning
====== ======== ==========================================================================================
0      uint32_t goes up by one before and by one after each change: odd while the picture is being replaced
4      uint32_t height, width
64     bytes    height x width x 3 bytes, red green blue
====== ======== ==========================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samemap import Region

VERSION = 0
HEIGHT = 4
WIDTH = 8
PIXELS = 64


class Preview:
    """The small picture, as seen by either side."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.height, self.width = region.load_u32(HEIGHT), region.load_u32(WIDTH)
        self._end = PIXELS + self.height * self.width * 3

    @classmethod
    def create(cls, name: str, height: int, width: int) -> Preview:
        """Make a black picture under a name that is free."""
        region = Region.create(name, PIXELS + height * width * 3)
        region.store_u32(HEIGHT, height)
        region.store_u32(WIDTH, width)
        return cls(region)

    @classmethod
    def open(cls, name: str) -> Preview:
        """Map a picture that somebody made."""
        return cls(Region.open(name))

    def put(self, small: NDArray[Any]) -> None:
        """Replace the picture."""
        self.region.fetch_add_u32(VERSION, 1)
        self.region[PIXELS : self._end] = small.tobytes()
        self.region.fetch_add_u32(VERSION, 1)

    def take(self, seen: int) -> tuple[int, NDArray[Any]] | None:
        """Return a version other than ``seen`` and its picture; ``None`` when there is no whole one now."""
        version = self.region.load_u32(VERSION)
        if version == seen or version % 2:
            return None
        pixels = self.region[PIXELS : self._end]
        if self.region.load_u32(VERSION) != version:
            return None
        return version, np.frombuffer(pixels, "u1").reshape(self.height, self.width, 3)

    def close(self) -> None:
        """Let go of the memory."""
        self.region.close()
