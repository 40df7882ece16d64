"""Ten thousand times made, put, got, leased, seen, waited for, and closed: nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed
from lives import LEADING, leave_quietly

# What is done over and over: each a full life, and how often in thousands.
LIVES = {
    "whole life": ("with Queue.create('new', maxsize=2, max_bytes=1) as made: whole(made); made.unlink()", 10),
    "open or create": ("Queue('jobs').close()", 10),
    "open": ("Queue.open('jobs').close()", 10),
    "look on": ("with Queue.open('jobs', mode='r') as looker: looker.stats(), looker.workers()", 5),
    "anonymous": ("whole(made := Queue(maxsize=2, max_bytes=1)); made.close()", 5),
    "forgotten": ("whole(Queue(maxsize=2, max_bytes=1))", 5),
    "refused": ("refused(ValueError, lambda: Queue('jobs', maxsize=5)); refused(TypeError, lambda: data.put(1))", 5),
    "over a socket": ("jobs.send_handle(ours); Queue.recv_handle(theirs).close()", 5),
    "put and get": ("jobs.put(n); jobs.get(); jobs.task_done()", 10),
    "large ones": ("data.put(bytes(n % 9000)); data.get(); data.task_done()", 10),
    "many": ("jobs.put_many([n, 'x', IMAGE]); jobs.get_many(9); [jobs.task_done() for _ in range(3)]", 10),
    "views": ("jobs.put(IMAGE); view = jobs.get()[5:]; jobs.task_done(); assert view[5] == 1", 10),
    "views outlive it": ("outlive()", 5),
    "lease": ("jobs.put(n)\n    with jobs.lease() as job: job.value", 10),
    "lease and drop": (
        "jobs.put(IMAGE); jobs.lease().value; jobs.lease(lease_time=9).value[5]; jobs.lease().done()",
        10,
    ),
    "lease and give back": ("jobs.put(IMAGE); view = again(lambda job: job.give_back()); jobs.lease().done()", 10),
    "lease and fail": ("jobs.put(n); refused(KeyError, fail); jobs.lease().done()", 10),
    "lease that is lost": ("jobs.put(IMAGE); lose(); jobs.lease().done()", 1),
    "dead letter": ("jobs.put(IMAGE); view = again(lambda job: job.bury()); jobs.dead_letters()[0].discard()", 5),
    "and replayed": ("jobs.put(n); jobs.lease().bury(); jobs.dead_letters()[0].replay(); jobs.lease().done()", 5),
    "not to be read": ("jobs.put(Broken()); refused(KeyError, jobs.get); jobs.dead_letters()[0].discard()", 5),
    "not to be written": ("refused(Exception, lambda: jobs.put(lambda: 1))", 5),
    "full": ("refused(Full, lambda: full.put(b'x', timeout=1e-5)); refused(Full, lambda: full.put_many([1], 0))", 2),
    "empty": ("refused(Empty, lambda: jobs.get(timeout=1e-5)); refused(Empty, lambda: jobs.lease(1e-5))", 2),
    "wait": ("assert not samemap.wait([jobs, data], 1e-5); assert not full.join(1e-5)", 2),
    "look": ("jobs.stats(), jobs.workers(), jobs.participants(), jobs.dead_letters(), repr(jobs)", 5),
    "threads": (
        "thread = threading.Thread(target=jobs.put, args=(IMAGE,)); thread.start(); jobs.get(); thread.join()",
        2,
    ),
    "asyncio": ("run(expected())", 1),
    "asyncio: cancel": ("run(cancelled())", 1),
}

SOURCE = """
import asyncio, gc, os, socket, sys, threading
import numpy as np
import samemap
from samemap import *

cycles = int(sys.argv[1])
ours, theirs = socket.socketpair()
ours.settimeout(10), theirs.settimeout(10)
IMAGE = np.ones(9000, "u1")
# Small, because memory that is touched for the first time would look like what is kept.
room = {"maxsize": 64, "max_bytes": 1 << 20}
jobs, data, full = Queue("jobs", **room), Queue(codec="bytes", **room), Queue(maxsize=2)
full.put_many([b"1", b"2"])
run = asyncio.new_event_loop().run_until_complete

def refused(kind, how):
    try:
        how()
    except kind:
        return
    raise AssertionError(kind)

class Broken:
    def __reduce__(self):
        return {}.__getitem__, ("missing",)

def whole(made):
    made.put(1), made.put(2)
    assert made.get() == 1
    with made.lease() as job:
        assert job.value == 2

def outlive():
    made = Queue.open("jobs")
    made.put(IMAGE), made.put(IMAGE)
    job = made.lease()
    views = [made.get()[5:], job.value]
    job.done()
    made.close()
    del made, job
    assert views[0][5] == views[1][5] == 1

def again(how):
    job = jobs.lease()
    view = job.value[5:]
    how(job)
    assert view[5] == 1

def fail():
    with jobs.lease() as job:
        raise KeyError

def lose():
    job = jobs.lease()
    job.value, job.extend(1e-9)
    while job.state != "lost":
        jobs.join(0.001)
    refused(LeaseLost, job.done)

async def expected():
    calls = jobs.get_async(1e-5), jobs.lease_async(1e-5), full.put_async(b"x", 1e-5), full.join_async(1e-5)
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [Empty, Empty, Full, bool], ends

async def cancelled():
    waits = wait_async([jobs, data])
    await cancel(jobs.get_async(), jobs.lease_async(), full.put_async(b"x"), full.join_async(), waits)

def life(n):
    LIFE

def drain():
    while not jobs.join(0):
        jobs.task_done()

def kept():
    all = [queue.stats() for queue in QUEUES]
    return [(s.depth, s.leased, s.held, s.dead, s.max_bytes - s.free_bytes, s.waiting) for s in all]

QUEUES = jobs, data, full
after = lead(lambda n: (life(n), drain()), cycles, kept)
assert after == [(0,) * 6, (0,) * 6, (2, 0, 0, 0, 0, 0)], after
assert [len(queue.participants()) for queue in QUEUES] == [1] * 3
"""


@pytest.mark.parametrize(("life", "thousands"), LIVES.values(), ids=LIVES)
def test_nothing_is_kept(life: str, thousands: int, runtime_directory: Path) -> None:
    succeed(LEADING + SOURCE.replace("LIFE", life), 1000 * thousands)
    assert [path.name for path in runtime_directory.iterdir()] == ["jobs"]


# What is open when the interpreter ends.
EXITS = {
    "everything in globals": "",
    "a lease": "job = jobs.lease(); value = job.value",
    "views": "view = memoryview(jobs.get()); jobs.close(); del jobs",
    "a cycle": "job = jobs.lease(); cycle = [jobs, job, job.value]; cycle.append(cycle)",
    "daemon threads that wait": """
empty, full = Queue(), Queue(maxsize=1)
full.put(1)
for wait in empty.get, empty.lease, lambda: list(empty), full.join, lambda: full.put(2), lambda: samemap.wait([empty]):
    daemon(wait)
""",
    "daemon threads that work": """
def put():
    while True:
        jobs.put(IMAGE); jobs.put(b"x" * 9000); jobs.put("small")
def get():
    kept = []
    while True:
        kept.append(jobs.get()); del kept[:-2]
def lease():
    while True:
        with jobs.lease() as job:
            job.value
def drop():
    while True:
        jobs.lease(lease_time=1).value
def many():
    while True:
        jobs.put_many(range(9)); jobs.get_many(9)
def fail():
    empty = Queue()
    while True:
        try: empty.get_nowait()
        except Empty: pass
for work in put, put, get, lease, drop, many, fail:
    daemon(work)
""",
    "tasks": """
loop, empty = asyncio.new_event_loop(), Queue()
async def wait():
    tasks.extend(asyncio.ensure_future(call) for call in (empty.get_async(), empty.lease_async(), jobs.join_async()))
    await asyncio.sleep(0.01)
tasks = []
loop.run_until_complete(wait())
for task in tasks:
    task._log_destroy_pending = False
""",
    "a truncated file": "os.truncate(jobs.path, 0)",
}

EXIT = """
import asyncio, os, sys, threading, time
import numpy as np
import samemap
from samemap import *

IMAGE = np.ones(9000, "u1")
jobs = Queue("jobs", maxsize=50)
jobs.put(IMAGE)
"""


@pytest.mark.parametrize("setting", EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("end", ["", "sys.exit(0)"], ids=["falls off", "sys.exit"])
def test_leaving_with_everything_open_is_quiet(setting: str, end: str, runtime_directory: Path) -> None:
    leave_quietly(EXIT, setting, end, runtime_directory)
