"""Have other processes look at large arrays, and lose one of them at its work.

Run it: python examples/pool.py
The arrays lie in memory that all of them see; in the standard library's pool each is pickled, sent, and copied twice.
"""

import os
import signal

import numpy as np

from samemap import ProcessPoolExecutor, WorkerDied


def brightness(frame: np.ndarray) -> float:
    """Return the mean; the frame is a read-only view of the pool's memory."""
    if frame[0, 0] == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(frame.mean())


if __name__ == "__main__":
    frames = [np.full((1024, 1024), n, "u1") for n in range(20)]
    with ProcessPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(brightness, frame) for frame in frames]
        for number, future in enumerate(futures):
            try:
                assert future.result() == number
            except WorkerDied as error:
                print(f"frame {number} is lost: exit code {error.exitcode}")
        print("the others:", sum(future.exception() is None for future in futures))
