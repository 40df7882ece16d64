"""A stranger who reads: ``python demo/reader.py NAME COUNT`` tells each change of the text, when it happens.

It may only look: it maps the file read-only. After the last of them it reads as fast as it can,
and counts what it finds there that nobody ever wrote.
"""

from __future__ import annotations

import sys

import greeting
from waiting import PATIENCE, demo_still_there, tell

from samemap import Region

#: Looking for the end after each reading would slow the reading down.
READINGS_AT_A_TIME = 1000


def read_in_the_storm(region: Region) -> None:
    """Read until the writer ends, and tell what was found."""
    written = {"Hello", "World"}
    readings = changed = torn = 0
    last = greeting.read(region)
    while not region.load_u32(greeting.CHANGES) & greeting.END:
        for _ in range(READINGS_AT_A_TIME):
            text = greeting.read(region)
            if text != last:
                last = text
                changed += 1
                torn += text not in written
        readings += READINGS_AT_A_TIME
        demo_still_there()
    tell(readings=readings, changed=changed, torn=torn)


def main(name: str, count: int) -> None:
    """Tell ``count`` changes of the region ``name``, then stand the storm."""
    tell(waiting=name)
    with Region.open(name, mode="r", wait=PATIENCE) as region:
        tell(size=region.size, mode=region.mode)
        seen = 0
        while seen < count:
            change = greeting.next_change(region, seen, demo_still_there)
            seen = change.changes
            tell(text=change.text, microseconds=change.microseconds)
        read_in_the_storm(region)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
