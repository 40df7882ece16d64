"""Look for the brightest spot of each frame, and publish where it is, until Ctrl-C.

Run it: python examples/detector.py [COUNT]   (needs numpy; the frames come from camera.py, before or after)
It takes the newest frame each time, so that however slow it is, it is never late: samemap echo spots
"""

import contextlib
import itertools
import math
import sys

from samemap import Topic

SPOT = [("frame", "u8"), ("x", "f8"), ("y", "f8"), ("late", "f8")]
count = int(sys.argv[1]) if len(sys.argv) > 1 else None

with (
    contextlib.suppress(KeyboardInterrupt),
    Topic.open("camera", wait=math.inf) as camera,
    Topic("spots", dtype=SPOT, shape=()) as spots,
    camera.subscribe("latest") as frames,
):
    for sample in itertools.islice(frames, count):
        with sample:  # nobody overwrites it meanwhile, and no longer
            grey = sample.array[::4, ::4].mean(axis=2)
        ys, xs = (grey >= 0.9 * grey.max()).nonzero()
        x, y = 4 * xs.mean() + 2, 4 * ys.mean() + 2
        spots.publish((sample.seq, x, y, sample.age))
        print(f"frame {sample.seq}: {x:.0f}, {y:.0f}; {sample.missed} skipped", flush=True)
