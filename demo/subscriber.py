"""A stranger who subscribes to a topic of frames: ``python demo/subscriber.py ROLE KEPT``.

It computes the checksum of each frame that it gets, where the frame lies, and tells all of them at the end.
The view also makes a small picture of each. The detector says where each is brightest, up to the frame ``KEPT``:
that one it keeps, and answers each line of standard input with its checksum at that moment.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

from picture import shrink
from waiting import LOOK_EVERY, demo_still_there, tell

from samemap import Empty, Event, Latest, Sample, Subscription, Topic, wait

CAMERA, CAMERA_ENDS, SPOTS, PREVIEW = "camera", "camera-ends", "spots", "preview"
#: What the detector publishes: where it is brightest, in which frame.
SPOT = [("frame", "u8"), ("x", "i4"), ("y", "i4")]
POLICIES: dict[str, Literal["latest", "drop", "block"]] = {"view": "latest", "detector": "drop", "recorder": "block"}
#: So many rows of pixels are enough to see where it is bright.
ROWS = 60


def main(role: str, kept: int) -> None:
    """Receive frames until the end, and tell what they were."""
    looks = {"view": _view, "detector": _detector, "recorder": _recorder}
    with Topic.open(CAMERA) as camera, camera.subscribe(POLICIES[role]) as frames, Event.open(CAMERA_ENDS) as ends:
        look = looks[role](kept)
        tell(policy=frames.policy)
        checksums: list[tuple[int, int]] = []
        delays: list[float] = []
        for sample in _until_the_end(frames, ends):
            with sample:
                delays.append(sample.age)
                checksums.append((sample.seq, zlib.crc32(sample)))
                look(sample)
        tell(policy=frames.policy, checksums=checksums, missed=frames.missed, delays=delays)


def _until_the_end(frames: Subscription, ends: Event) -> Iterator[Sample]:
    """Receive until the publisher has said that no more will come, and all that came is received."""
    either: list[Any] = [frames, ends]
    while True:
        if not wait(either, LOOK_EVERY):
            demo_still_there()
        no_more_will_come = ends.is_set()
        try:
            yield frames.recv_nowait()
        except Empty:
            if no_more_will_come:
                return


def _view(_: int) -> Callable[[Sample], None]:
    preview = Latest.open(PREVIEW)
    height, width, _ = preview.get().shape

    def look(sample: Sample) -> None:
        preview.set(shrink(sample.array, height, width))

    return look


def _detector(kept: int) -> Callable[[Sample], None]:
    spots = Topic.open(SPOTS)

    def look(sample: Sample) -> None:
        step = -(-sample.array.shape[0] // ROWS)
        grey = sample.array[::step, ::step].mean(axis=2)
        ys, xs = (grey == grey.max()).nonzero()
        spots.publish((sample.seq, int(xs.mean() * step), int(ys.mean() * step)))
        if sample.seq >= kept:
            tell(kept=sample.seq, pinned=sample.pinned)
            for _ in sys.stdin:
                tell(checksum=zlib.crc32(sample))

    return look


def _recorder(_: int) -> Callable[[Sample], None]:
    # The checksums are all that it keeps.
    return lambda sample: None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
