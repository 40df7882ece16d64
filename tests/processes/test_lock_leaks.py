"""Ten thousand times made, opened, acquired, waited for, and closed: nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed
from lives import LEADING

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
    await cancel(*(thing.acquire_async() for thing in TAKEN), event.wait_async(), counter.wait_until_async(1))

def life(n):
    LIFE

lead(life, cycles)
assert [len(thing.participants()) for thing in things] == [1] * 10
assert [space.stats().participants for space in things[9:]] == [1]
"""


@pytest.mark.parametrize(("life", "thousands"), LIVES.values(), ids=LIVES)
def test_nothing_is_kept(life: str, thousands: int, runtime_directory: Path) -> None:
    succeed(LEADING + SOURCE.replace("LIFE", life), 1000 * thousands)
    assert len(list(runtime_directory.iterdir())) == 10
