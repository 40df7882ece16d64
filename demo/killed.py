"""A scene with a lock, and a process that is killed while it has it."""

from __future__ import annotations

import os
import signal
import time

from processes import Processes
from screen import Screen, check

from samemap import Event, Lock


def _holder(lock: Lock, holds: Event) -> None:
    lock.acquire()
    holds.set()
    signal.pause()


def holding_a_lock(screen: Screen, processes: Processes) -> None:
    """A process is killed while it holds a lock, and the next one has it at once."""
    code = 'lock = Lock("tables")               # by name: strangers can have it\nwith lock: print(lock.recovered)'
    screen.scene(5, "A lock whose holder is killed", code)
    me = os.getpid()
    with Event() as holds:
        lock = Lock.create("tables")
        child = processes.fork("holder", _holder, lock, holds)
        check(holds.wait(timeout=10), "the holder never had the lock")
        screen.line("holder", child.pid, "has the lock")
        check(not lock.acquire(timeout=0.05), "two have the lock")
        holder = lock.holder()
        check(holder is not None and holder.pid == child.pid, f"the lock says that {holder} has it")
        screen.line("parent", me, f"waits for it for 50 ms, and is told who has it: pid {child.pid}")
        processes.kill(child)
        killed = time.perf_counter()
        taken = lock.acquire(timeout=10)
        took = time.perf_counter() - killed
        screen.line("holder", child.pid, "is killed with it: kill -9")
        check(taken, "the dead one keeps the lock")
        check(lock.recovered, "nobody said that the holder had died")
        screen.line("parent", me, f"has it {took * 1000:.1f} ms later, and is told: recovered = {lock.recovered}")
        lock.release()
        lock.unlink()
        lock.close()
        screen.proved("Dead holders hold nothing. With multiprocessing.Lock this demo would end here, for ever.")
