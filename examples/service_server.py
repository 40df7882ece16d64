"""Find the brightest spot of frames that others send: a service.

Run it: python examples/service_server.py [PROCESSES]   (once or more often: they share the calls; Ctrl-C ends it)
Meanwhile: python examples/service_client.py
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

import samemap


@samemap.serve("brightest", workers=2, shape=(480, 640, 3), dtype="u1")
def brightest(frame: NDArray[Any]) -> tuple[int, int]:
    """Return row and column; the frame is seen where the client has put it."""
    grey = frame.sum(axis=2, dtype="u4")
    row, column = np.unravel_index(grey.argmax(), grey.shape)
    return int(row), int(column)


if __name__ == "__main__":
    print("serving", flush=True)
    brightest.run(processes=int(sys.argv[1]) if len(sys.argv) > 1 else None)
