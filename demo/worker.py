"""A stranger who works on a queue of jobs: ``python demo/worker.py``.

It computes the checksum of each job's array, where the array lies, and puts it into another queue.
At the first attempt of the job `STUCK` it says that it has begun, and waits to be killed.
"""

from __future__ import annotations

import os
import time
import zlib

from waiting import LOOK_EVERY, demo_still_there, tell

from samemap import Empty, Queue, ShutDown

JOBS, RESULTS = "jobs", "results"
#: In the middle of this one a worker is killed.
STUCK = 100


def main() -> None:
    """Work until the queue is shut down."""
    me = os.getpid()
    with Queue.open(JOBS) as jobs, Queue.open(RESULTS) as results:
        tell(ready=True)
        while True:
            try:
                job = jobs.lease(timeout=LOOK_EVERY)
            except Empty:
                demo_still_there()
                continue
            except ShutDown:
                return
            taken = time.monotonic()
            with job:
                checksum = zlib.crc32(job.value)
                if job.seq == STUCK and job.attempt == 1:
                    results.put((-STUCK, me, job.attempt, taken, checksum))
                    while True:
                        time.sleep(LOOK_EVERY)
                        demo_still_there()
                results.put((job.seq, me, job.attempt, taken, checksum))


if __name__ == "__main__":
    main()
