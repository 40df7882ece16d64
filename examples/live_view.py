"""Draw the newest frame in the terminal, with a mark where detector.py sees something, until Ctrl-C.

Run it: python examples/live_view.py [COUNT]   (needs numpy; the frames come from camera.py, before or after)
For any topic of pictures: samemap view camera
"""

import contextlib
import itertools
import math
import shutil
import sys

import numpy as np

from samemap import Topic

SPOT = [("frame", "u8"), ("x", "f8"), ("y", "f8"), ("late", "f8")]
count = int(sys.argv[1]) if len(sys.argv) > 1 else None

with (
    contextlib.suppress(KeyboardInterrupt),
    Topic.open("camera", wait=math.inf) as camera,
    Topic("spots", dtype=SPOT, shape=()) as spots,
    camera.subscribe("latest", history=1) as frames,
):
    for sample in itertools.islice(frames, count):
        columns, lines = shutil.get_terminal_size()
        with sample:
            height, width, _ = sample.array.shape
            step = max(height / (2 * lines - 4), width / columns)  # two pixels in one character
            ys, xs = (np.arange(0, size - step, step).astype(int) for size in (height, width))
            small = sample.array[ys[:, None], xs]
        for spot in spots.last(1):
            small[abs(ys - spot.value["y"]).argmin(), abs(xs - spot.value["x"]).argmin()] = 255, 0, 0
        print("\x1b[H", end="")
        for upper, lower in zip(small[::2], small[1::2], strict=False):
            cells = ("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*a, *b) for a, b in zip(upper, lower, strict=True))
            print(*cells, "\x1b[m\x1b[K", sep="")
        print(f"frame {sample.seq}, {sample.age * 1000:.1f} ms after it was published\x1b[J", end="", flush=True)
