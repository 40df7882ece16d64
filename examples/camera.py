"""Publish the frames of a video, or of a bright square that is drawn here, 30 a second, until Ctrl-C.

Run it: python examples/camera.py [COUNT [VIDEO]]   (needs numpy; a video needs av, too)
Meanwhile, each in a terminal of its own: detector.py, recorder.py, live_view.py, web_stream.py; or: samemap hz camera
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator

from samemap import Topic

HEIGHT, WIDTH = 480, 640


def draw(camera: Topic) -> Iterator[int]:
    """Draw each frame where the others will see it: there is no copy of it anywhere."""
    for n in itertools.count():
        y, x = abs(n * 5 % 880 - 440), abs(n * 7 % 1200 - 600)
        with camera.loan() as frame:
            frame[:] = 20, 30, 60  # all of it: a loan has what was in its slot before
            frame[y : y + 40, x : x + 40] = 255, 240, 200
        yield camera.seq


def decode(camera: Topic, path: str) -> Iterator[int]:
    """Decode a video, once."""
    import av

    for picture in av.open(path).decode(video=0):
        yield camera.publish(picture.to_ndarray(format="rgb24", height=HEIGHT, width=WIDTH))


count = int(sys.argv[1]) if len(sys.argv) > 1 else None
with contextlib.suppress(KeyboardInterrupt), Topic("camera", shape=(HEIGHT, WIDTH, 3), dtype="u1") as camera:
    for _ in itertools.islice(decode(camera, sys.argv[2]) if len(sys.argv) > 2 else draw(camera), count):
        time.sleep(1 / 30)
