"""A stranger who writes: ``python demo/writer.py NAME``, one text per line of standard input.

When the input ends it writes two words in turn, as fast as it can, for half a second.
"""

from __future__ import annotations

import sys
import time

import greeting
from waiting import demo_still_there, tell

from samemap import Region

STORM_SECONDS = 0.5
#: Looking at the clock after each write would slow the storm down.
WRITES_AT_A_TIME = 1000


def storm(region: Region) -> int:
    """Replace the text as fast as possible, and return how often."""
    writes = 0
    end = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end:
        for _ in range(WRITES_AT_A_TIME // 2):
            region.write_text("Hello", greeting.TEXT, greeting.TEXT_SIZE)
            region.write_text("World", greeting.TEXT, greeting.TEXT_SIZE)
        writes += WRITES_AT_A_TIME
        demo_still_there()
    return writes


def main(name: str) -> None:
    """Write what the input says into the region ``name``, making it when it is missing."""
    with Region(name, greeting.SIZE) as region:
        tell(path=str(region.path))
        for line in sys.stdin:
            greeting.put(region, line.rstrip("\n"))
        writes = storm(region)
        changes = region.load_u32(greeting.CHANGES)
        region.store_u32(greeting.CHANGES, changes | greeting.END)
        region.ring(greeting.CHANGES)
        tell(writes=writes)


if __name__ == "__main__":
    main(sys.argv[1])
