"""A stranger who sees every frame: ``python demo/viewer.py READER FRAMES [PREVIEW]``.

It computes the checksum of each frame where the frame lies, without a copy, and tells all of them at the end.
With a preview's name it also draws a small picture there from time to time.
"""

from __future__ import annotations

import sys
import time
import zlib

from frames import FrameRing
from picture import shrink
from waiting import demo_still_there, tell

from samemap import Latest

PREVIEW_EVERY = 0.08


def main(reader: int, name: str, preview_name: str | None) -> None:
    """See all frames of the ring ``name``."""
    ring = FrameRing.open(name)
    preview = Latest.open(preview_name) if preview_name is not None else None
    height, width, _ = preview.get().shape if preview is not None else (0, 0, 0)
    tell(height=ring.height, width=ring.width, slots=ring.slots)
    checksums: list[int] = []
    started = drawn = 0.0
    summing = 0.0
    for frame in ring.frames(reader, demo_still_there):
        now = time.perf_counter()
        started = started or now
        checksums.append(zlib.crc32(frame.data))
        summing += time.perf_counter() - now
        if preview is not None and now - drawn >= PREVIEW_EVERY:
            preview.set(shrink(frame, height, width))
            drawn = now
    tell(checksums=checksums, seconds=time.perf_counter() - started, summing=summing)
    ring.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
