"""Ten thousand times made, opened, acquired, waited for, and closed: nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed

# What is done over and over: each a full life, and how often in thousands.
LIVES = {
    "create and unlink": ("made = create('new', n); made.unlink(); made.close()", 10),
    "open or create": ("make('there', n).close()", 10),
    "open": ("KINDS[n % 10][0].open(f'there {n % 10}').close()", 10),
    "look on": ("KINDS[n % 10][0].open(f'there {n % 10}', mode='r').close()", 10),
    "anonymous": ("create(None, n).close()", 10),
    "forgotten": ("create(None, n)", 10),
    "open twice": (
        "made = create(None, n); ours.settimeout(1); made.send_handle(ours); "
        "KINDS[n % 10][0].recv_handle(theirs).close(); made.close()",
        5,
    ),
    "copy": ("copy.copy(things[n % 10]).close()", 5),
    "entries of a namespace": ("space = Namespace.open('there 9'); space.lock('a').close(); space.close()", 10),
    "exists": ("refused(FileExistsError, lambda: create('there', n))", 10),
    "missing": ("refused(FileNotFoundError, lambda: Lock.open('missing'))", 10),
    "other kind": ("refused(ValueError, lambda: KINDS[(n + 1) % 10][0].open(f'there {n % 10}'))", 10),
    "acquire": ("for thing in ACQUIRED: assert thing.acquire(); thing.release()", 10),
    "time out": (
        "for thing in TAKEN: assert not thing.acquire(blocking=False); assert not thing.acquire(timeout=1e-5)",
        2,
    ),
    "wait": (
        "assert not event.wait(1e-5); counter.wait_until(-1, timeout=1e-5); "
        "assert not samemap.wait([event, *TAKEN], 1e-5); "
        "condition.acquire(); condition.wait(1e-5); condition.release()",
        2,
    ),
    "look": ("thing = things[n % 10]; thing.participants(), thing.stats(), repr(thing)", 10),
    "break a barrier": ("refused(RuntimeError, lambda: barrier.wait(1e-5)); barrier.reset()", 5),
    "asyncio: acquire": ("for thing in ACQUIRED: run(thing.acquire_async()); thing.release()", 2),
    "asyncio: time out": ("for thing in TAKEN: assert not run(thing.acquire_async(1e-5))", 1),
    "asyncio: wait": ("run(waits())", 1),
    "asyncio: cancel": ("run(cancelled())", 1),
}

SOURCE = """
import asyncio, copy, gc, os, socket, sys, threading
import samemap
from samemap import *

cycles = int(sys.argv[1])
ours, theirs = socket.socketpair()
KINDS = [
    (Lock,), (RLock,), (ReadWriteLock,), (Semaphore,), (BoundedSemaphore,), (Event,), (Condition,), (Barrier, 3),
    (Counter,), (Namespace,),
]
# Making one costs what its size does.
NAMED = {9: {"size": 1 << 15}}

def create(name, n):
    kind, *more = KINDS[n % 10]
    return kind.create(name and f"{name} {n % 10}", *more, **NAMED.get(n % 10, {}))

def make(name, n):
    kind, *more = KINDS[n % 10]
    return kind(f"{name} {n % 10}", *more, **NAMED.get(n % 10, {}))

def refused(kind, how):
    try:
        how()
    except kind:
        return
    raise AssertionError(kind)

things = [make("there", n) for n in range(10)]
for thing in things[9].lock("a"), things[9].event("b"):
    thing.close()
lock, rlock, rw, permits, bounded, event, condition, barrier, counter, space = things
ACQUIRED = lock, permits, bounded
TAKEN = Lock(), Semaphore(None, 0)
TAKEN[0].acquire()
run = asyncio.new_event_loop().run_until_complete

async def waits():
    assert not await event.wait_async(1e-5)
    assert await counter.wait_until_async(1, timeout=1e-5) is None
    assert not await wait_async([event, *TAKEN], 1e-5)
    async with condition, rlock, rw.reading():
        await condition.wait_async(1e-5)
    flag = Event()
    task = asyncio.ensure_future(flag.wait_async())
    await asyncio.sleep(0)
    flag.set()
    assert await task
    flag.close()

async def cancelled():
    calls = [thing.acquire_async() for thing in TAKEN] + [event.wait_async(), counter.wait_until_async(1)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

def life(n):
    LIFE

def state():
    gc.collect()
    with open("/proc/self/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    with open("/proc/self/maps") as maps:
        shared = sum(line.split()[1].endswith("s") for line in maps)
    files = len(os.listdir(os.environ["SAMEMAP_DIR"]))
    return (len(os.listdir("/proc/self/fd")), shared, threading.active_count(), files), resident

for n in range(max(cycles // 10, 200)):
    life(n)
before, resident = state()
for n in range(cycles):
    life(n)
after, resident_after = state()
assert after == before, f"descriptors, mapped segments, threads and files: {before} before, {after} after"
# 100 bytes a cycle would show; what the allocator keeps in between does not.
assert resident_after - resident < 1024, f"resident KiB: {resident} before, {resident_after} after"
assert [len(thing.participants()) for thing in things] == [1] * 10
assert [space.stats().participants for space in things[9:]] == [1]
"""


@pytest.mark.parametrize(("life", "thousands"), LIVES.values(), ids=LIVES)
def test_nothing_is_kept(life: str, thousands: int, runtime_directory: Path) -> None:
    succeed(SOURCE.replace("LIFE", life), 1000 * thousands)
    assert len(list(runtime_directory.iterdir())) == 10
