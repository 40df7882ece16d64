"""A queue of jobs: three strangers work on it, and one of them is killed in the middle of a job."""

from __future__ import annotations

import os
import time
import zlib

import numpy as np
from peers import Stranger
from processes import Processes
from screen import Screen, check
from waiting import PATIENCE
from worker import JOBS, RESULTS, STUCK

from samemap import Queue

COUNT, WORKERS = 300, 3
#: Bytes of a job's array: it is seen where it was put.
SIZE = 100_000
#: Within so many seconds another one must have the job of the dead.
SOON = 0.1


def delivered_again(screen: Screen, processes: Processes) -> None:
    """Workers share jobs; the job of the one who is killed is delivered again."""
    code = (
        f'producer:  jobs = Queue("{JOBS}"); jobs.put(image)\n'
        "worker:    with jobs.lease() as job:           # done at the end of the block\n"
        "               zlib.crc32(job.value)"
    )
    screen.scene(8, "A queue of jobs, and a worker that is killed in the middle of one", code)
    me = os.getpid()
    jobs = Queue.create(JOBS, shape=SIZE, dtype="u1", maxsize=COUNT, max_bytes=32 << 20)
    results = Queue.create(RESULTS, codec="pickle", maxsize=2 * COUNT)
    random = np.random.default_rng(8)
    images = [random.integers(0, 256, SIZE, "u1") for _ in range(COUNT)]
    checksums = [zlib.crc32(image.data) for image in images]
    workers = [processes.start(f"worker {name}", "worker.py") for name in "ABC"[:WORKERS]]
    for worker in workers:
        worker.hear()
    jobs.put_many(images)
    screen.line("demo", me, f"has put {COUNT} jobs of {SIZE:,} bytes, for {WORKERS} workers")
    done = _results(processes, results, STUCK)
    victim = _stuck(workers, done)
    screen.line(victim.role, victim.pid, f"is in the middle of job {STUCK}, and has done {_by(victim, done)} others")
    processes.kill(victim)
    killed = time.monotonic()
    screen.line(victim.role, victim.pid, "is killed: kill -9")
    while len([seq for seq, *_ in done if seq > 0]) < COUNT:
        processes.still_there()
        done.append(results.get(timeout=PATIENCE))
    jobs.shutdown()
    for worker in workers:
        if worker is not victim:
            worker.finish()
    (again,) = [found for found in done if found[0] == STUCK]
    _, pid, attempt, taken, _ = again
    late = taken - killed
    heir = next(worker for worker in workers if worker.pid == pid)
    screen.line(heir.role, heir.pid, f"has job {STUCK} {late * 1000:.1f} ms later, attempt {attempt}")
    _check(done, checksums, (attempt, late), jobs)
    for thing in (jobs, results):
        thing.unlink()
        thing.close()
    shares = ", ".join(f"{worker.role} {_by(worker, done)}" for worker in workers)
    screen.line("demo", me, f"has a result for each job, none twice: {shares}; all {COUNT} checksums are right")
    screen.proved("No job was lost with its worker. From a multiprocessing.Queue it would be gone.")


#: The number of a job (negative: it is begun), who did it, the attempt, when it was taken, the checksum.
Result = tuple[int, int, int, float, int]


def _results(processes: Processes, results: Queue, until: int) -> list[Result]:
    """Take results until a job is begun."""
    found: list[Result] = []
    while not found or found[-1][0] != -until:
        processes.still_there()
        found.append(results.get(timeout=PATIENCE))
    return found


def _stuck(workers: list[Stranger], done: list[Result]) -> Stranger:
    return next(worker for worker in workers if worker.pid == done[-1][1])


def _by(worker: Stranger, done: list[Result]) -> int:
    return sum(seq > 0 and pid == worker.pid for seq, pid, *_ in done)


def _check(done: list[Result], checksums: list[int], again: tuple[int, float], jobs: Queue) -> None:
    attempt, late = again
    results = {seq: checksum for seq, _, _, _, checksum in done if seq > 0}
    count = sum(seq > 0 for seq, *_ in done)
    check(len(results) == count == COUNT, f"{count} results of {len(results)} jobs, and {COUNT} were put")
    right = sum(results[seq] == checksum for seq, checksum in enumerate(checksums, 1))
    check(right == COUNT, f"{right} of {COUNT} checksums are right")
    check(attempt == 2, f"job {STUCK} was done at attempt {attempt}, not 2")
    check(late < SOON, f"job {STUCK} was delivered again after {late * 1000:.0f} ms, not {SOON * 1000:.0f}")
    stats = jobs.stats()
    left = stats.depth, stats.leased + stats.orphaned, stats.held, stats.dead
    check(left == (0, 0, 0, 0), f"waiting, leased, held and dead jobs at the end: {left}")
    check(stats.free_bytes == stats.max_bytes, f"{stats.max_bytes - stats.free_bytes} bytes are kept for nobody")
