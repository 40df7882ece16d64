"""Locks and counters: alone, contended, handed over and shared out, against those of ``multiprocessing``."""

from __future__ import annotations

import ctypes
import multiprocessing
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from report import Figure, percent, share
from words import nanoseconds

from samemap import Counter, Lock

FORK = multiprocessing.get_context("fork")
SECONDS = 5.0
HAND_OVERS = 1000
ROUNDS = 3
DEATHS = 21


class AnyLock(Protocol):
    """What both kinds of lock can do."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take it."""

    def release(self) -> None:
        """Give it back."""


def measure() -> list[Figure]:
    """Measure them all, and return the figures."""
    return [*_alone(), *_contended(), *_deaths()]


def _alone() -> list[Figure]:
    ours, theirs = Lock(), FORK.Lock()
    counter, value = Counter(), FORK.Value(ctypes.c_int64)
    figures = []
    for name, statement, bar, limit in (
        ("lock.acquire(); lock.release()", "lock.acquire(); lock.release()", "1.5", 1.5),
        ("with lock: pass", "with lock: pass", "1.0", 1.0),
    ):
        takes, peer = nanoseconds(statement, lock=ours), nanoseconds(statement, lock=theirs)
        figures.append(Figure(name, takes, "multiprocessing.Lock", peer, bar, takes <= limit * peer))
    takes = nanoseconds("counter.add(1)", counter=counter)
    peer = nanoseconds("with value.get_lock(): value.value += 1", value=value)
    figures.append(
        Figure("counter.add(1)", takes, "multiprocessing.Value under its lock", peer, "0.2", takes * 5 <= peer)
    )
    return figures


def _contended() -> list[Figure]:
    figures = []
    for name, measured in (
        ("2 processes that only take and release a lock", _crowd),
        ("a lock handed over to a process that sleeps for it", _hand_over),
    ):
        # In turns, so that a change of the machine's mood hits both.
        rounds = [(measured(Lock()), measured(FORK.Lock())) for _ in range(ROUNDS)]
        takes, peer = (statistics.median(side) for side in zip(*rounds, strict=True))
        figures.append(Figure(name, takes, "multiprocessing.Lock", peer, "1.0", takes <= peer))
    for held, work in (("all the time", _nothing), ("for 1 ms at a time", _one_millisecond)):
        ours, theirs = (min(_shares(lock, 4, work)) for lock in (Lock(), FORK.Lock()))
        name = f"smallest share of 4 processes that want a lock {held}"
        figures.append(Figure(name, ours, "multiprocessing.Lock", theirs, "over 0.5 of its due", ours > 0.5, share))
    return figures


def _deaths() -> list[Figure]:
    lock = Lock()
    after = statistics.median(_inherited(lock) for _ in range(DEATHS))
    figures = [
        Figure("a lock whose holder was killed, until a sleeper has it", after, "the promise", 1e8, "1.0", after <= 1e8)
    ]
    ours, theirs = (_idle(lock) for lock in (Lock(), FORK.Lock()))
    name = "processor time of a process that waits for a lock"
    figures.append(Figure(name, ours, "multiprocessing.Lock", theirs, "under 0.1 %", ours < 0.001, percent))
    return figures


def _inherited(lock: Lock) -> float:
    """Return the nanoseconds from the death of a holder to the return of an acquire that slept for it."""
    reader, writer = FORK.Pipe(duplex=False)

    def hold() -> None:
        lock.acquire()
        writer.send(None)
        signal.pause()

    def kill() -> None:
        # At any moment of the other one's slice of sleep.
        time.sleep(0.2 + random.random() * 0.1)
        holder.kill()
        killed.value = time.perf_counter_ns()

    killed = FORK.RawValue(ctypes.c_int64)
    holder = FORK.Process(target=hold)
    holder.start()
    reader.recv()
    killer = threading.Thread(target=kill)
    killer.start()
    lock.acquire()
    taken = time.perf_counter_ns()
    killer.join()
    holder.join()
    if not lock.recovered:
        raise RuntimeError("nobody said that the holder had died")
    lock.release()
    return float(taken - killed.value)


def _idle(lock: AnyLock) -> float:
    """Return the part of a processor that waiting for a lock takes."""
    used = FORK.RawValue(ctypes.c_double)
    held = FORK.Semaphore(0)

    def wait() -> None:
        held.acquire()
        before, began = time.process_time(), time.monotonic()
        lock.acquire(True, SECONDS)
        used.value = (time.process_time() - before) / (time.monotonic() - began)

    def hold() -> None:
        lock.acquire()
        held.release()
        time.sleep(SECONDS + 0.5)
        lock.release()

    _together([hold, wait])
    return float(used.value)


def _nothing() -> None:
    pass


def _one_millisecond() -> None:
    end = time.perf_counter_ns() + 1_000_000
    while time.perf_counter_ns() < end:
        pass


def _crowd(lock: AnyLock) -> float:
    """Return the nanoseconds per acquisition, over two processes that do nothing else."""
    return SECONDS * 1e9 / sum(_turns(lock, 2, _nothing))


def _shares(lock: AnyLock, processes: int, work: Callable[[], None]) -> list[float]:
    """Return what each process got of the acquisitions, relative to its due."""
    turns = _turns(lock, processes, work)
    return [own * processes / sum(turns) for own in turns]


def _turns(lock: AnyLock, processes: int, work: Callable[[], None]) -> list[int]:
    """Return how often each of some processes got the lock within `SECONDS`."""
    turns = FORK.RawArray(ctypes.c_int64, processes)
    start = FORK.Barrier(processes)

    def take(own: int) -> None:
        start.wait()
        end, count = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            for _ in range(1 if work is _one_millisecond else 20):
                lock.acquire()
                work()
                lock.release()
                count += 1
        turns[own] = count

    _together([partial(take, own) for own in range(processes)])
    return list(turns)


def _hand_over(lock: AnyLock) -> float:
    """Return the median nanoseconds from the release to the return of the other process's acquire, which slept."""
    released, taken = FORK.RawValue(ctypes.c_int64), FORK.RawArray(ctypes.c_int64, HAND_OVERS)
    held, free = FORK.Semaphore(0), FORK.Semaphore(0)

    def give() -> None:
        for _ in range(HAND_OVERS):
            lock.acquire()
            held.release()
            # Long enough for the other one to be asleep.
            time.sleep(0.0005)
            released.value = time.perf_counter_ns()
            lock.release()
            free.acquire()

    def take() -> None:
        for turn in range(HAND_OVERS):
            held.acquire()
            lock.acquire()
            taken[turn] = time.perf_counter_ns() - released.value
            lock.release()
            free.release()

    _together([give, take])
    return float(statistics.median(taken))


def _together(works: list[Callable[[], Any]]) -> None:
    processes = [FORK.Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process of the benchmark ended with status {process.exitcode}")
