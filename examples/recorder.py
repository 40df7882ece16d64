"""Record all frames into a video, and say which were missed, until Ctrl-C.

Run it: python examples/recorder.py [COUNT [FILE]]   (needs numpy and av; the frames come from camera.py)
With "drop" it holds nobody up. With "block" it would miss nothing, and the camera would wait for it.
"""

import contextlib
import itertools
import math
import sys

import av

from samemap import Topic

count = int(sys.argv[1]) if len(sys.argv) > 1 else None
path = sys.argv[2] if len(sys.argv) > 2 else "recording.mp4"

with (
    contextlib.suppress(KeyboardInterrupt),
    Topic.open("camera", wait=math.inf) as camera,
    camera.subscribe("drop", history=5) as frames,  # beginning with some that were before
    av.open(path, "w") as file,
):
    assert camera.shape is not None, "these messages are no arrays"
    video = file.add_stream("mpeg4", rate=30)
    video.height, video.width, _ = camera.shape
    with contextlib.suppress(KeyboardInterrupt):
        for sample in itertools.islice(frames, count):
            with sample:
                picture = av.VideoFrame.from_ndarray(sample.array, format="rgb24")
            file.mux(video.encode(picture))
    file.mux(video.encode(None))
    print(f"{path}: {frames.received} frames received, {frames.missed} missed")
