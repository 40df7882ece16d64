"""Holders, waiters, readers, and everybody else killed with SIGKILL: the others go on, and are told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from isolated import until
from workers import Worker, workers

from samemap import (
    AcquireTimeout,
    Barrier,
    BrokenBarrierError,
    Condition,
    Counter,
    Event,
    Lock,
    Namespace,
    OwnerDied,
    ReadWriteLock,
    RLock,
    Semaphore,
)
from samemap.segments import SegmentObject

#: Seconds. It is 0.1 on an idle machine; how long it really takes is for the benchmarks.
SOON = 1.0


class Kind(NamedTuple):
    """A way to hold something, and a way for another process to want it."""

    look: Callable[[], SegmentObject]
    make: str
    hold: str
    take: str
    give: str


def lock(kind: type[Any], hold: str = "thing.acquire()") -> Kind:
    name = kind.__name__
    return Kind(
        lambda: kind.open("thing", mode="r"),
        f"thing = {name}('thing')",
        hold,
        "thing.acquire(timeout=30)",
        "thing.release()",
    )


def read_write(hold: str, take: str) -> Kind:
    return Kind(
        lambda: ReadWriteLock.open("thing", mode="r"),
        "thing = ReadWriteLock('thing')",
        f"thing.acquire_{hold}()",
        f"thing.acquire_{take}(timeout=30)",
        f"thing.release_{take}()",
    )


def entry(kind: str) -> Kind:
    return lock(Lock)._replace(
        look=lambda: Namespace.open("thing", mode="r"),
        make=f"thing = Namespace('thing').{kind}('entry')",
    )


#: Those whose next holder is told.
OWNED = {
    "Lock": lock(Lock),
    "RLock": lock(RLock),
    "RLock, three times": lock(RLock, "[thing.acquire() for _ in range(3)]"),
    "RLock, of a thread that is gone": lock(
        RLock, "import threading; t = threading.Thread(target=thing.acquire); t.start(); t.join()"
    ),
    "Condition": lock(Condition),
    "write lock": read_write("write", "write"),
    "write lock, then to read": read_write("write", "read"),
    "lock in a namespace": entry("lock"),
    "rlock in a namespace": entry("rlock"),
    "condition in a namespace": entry("condition"),
}
#: Those that come back as if they had been given back.
SHARED = {
    "read lock": read_write("read", "write"),
    "Semaphore": lock(Semaphore),
    "semaphore in a namespace": entry("semaphore"),
}
each_owned = pytest.mark.parametrize("kind", OWNED.values(), ids=OWNED)
each = pytest.mark.parametrize("kind", (OWNED | SHARED).values(), ids=OWNED | SHARED)


@each
def test_waiter_gets_what_the_dead_one_held(kind: Kind) -> None:
    with workers(3, kind.make) as (holder, waiter, third), kind.look() as seen:
        holder.do(kind.hold)
        waiter.wait_in(kind.take, seen)
        killed = holder.kill()
        assert waiter.answer() is True
        assert time.monotonic() - killed < SOON
        if kind in OWNED.values():
            assert waiter.do("thing.recovered") is True
        waiter.do(kind.give)
        assert third.do(kind.take) is True
        if kind in OWNED.values():
            assert third.do("thing.recovered") is (kind is OWNED["write lock, then to read"])


@each
def test_who_comes_after_the_death_gets_it_without_waiting(kind: Kind) -> None:
    with workers(2, kind.make) as (holder, other):
        holder.do(kind.hold)
        holder.killed()
        assert other.do(kind.take.replace("timeout=30", "blocking=False")) is True
        if kind in OWNED.values():
            assert other.do("thing.recovered") is True
        other.do(kind.give)


@each
def test_dead_waiter_costs_the_others_nothing(kind: Kind) -> None:
    with workers(4, kind.make) as (holder, first, second, third), kind.look() as seen:
        holder.do(kind.hold)
        for waiter in (first, second, third):
            waiter.wait_in(kind.take, seen)
        first.killed()
        second.kill()
        begun = time.monotonic()
        holder.do("thing.release_read()" if kind is SHARED["read lock"] else RELEASE.get(kind, kind.give))
        if kind is not OWNED["RLock, of a thread that is gone"]:
            assert third.answer() is True
            assert time.monotonic() - begun < SOON
            if kind in OWNED.values():
                assert third.do("thing.recovered") is False


RELEASE = {
    OWNED["RLock, three times"]: "[thing.release() for _ in range(3)]",
    OWNED["write lock, then to read"]: "thing.release_write()",
    OWNED["RLock, of a thread that is gone"]: "None",
}


@each
def test_woken_waiter_that_dies_at_once_takes_no_wake_up_with_it(kind: Kind) -> None:
    if kind is OWNED["RLock, of a thread that is gone"]:
        pytest.skip("nobody can release it")
    with workers(1, kind.make) as (holder,), kind.look() as seen:
        for _ in range(3):
            with workers(2, kind.make) as (first, second):
                holder.do(kind.hold)
                for waiter in (first, second):
                    waiter.wait_in(kind.take, seen)
                # Woken while it cannot run, so that it dies with the wake-up.
                first.stop()
                holder.do("thing.release_read()" if kind is SHARED["read lock"] else RELEASE.get(kind, kind.give))
                first.kill()
                begun = time.monotonic()
                assert second.answer() is True
                assert time.monotonic() - begun < SOON
                second.do(kind.give)


class TestOwnerDied:
    """What those see who asked to be told by an exception."""

    @pytest.mark.parametrize("kind", ["Lock", "RLock", "ReadWriteLock"])
    def test_names_who_died_until_somebody_recovers(self, kind: str) -> None:
        take, give = ("acquire_write", "release_write") if kind == "ReadWriteLock" else ("acquire", "release")
        with workers(3, f"thing = {kind}('thing', on_owner_death='raise')") as (holder, waiter, third):
            with Lock_or(kind)("thing", mode="r") as seen:
                holder.do(f"thing.{take}()")
                waiter.wait_in(f"thing.{take}()", seen)
                holder.killed()
                noticed = time.time()
                with pytest.raises(OwnerDied) as caught:
                    waiter.answer()
                for _ in range(2):
                    assert caught.value.path == str(seen.path)
                    assert caught.value.pid == holder.pid
                    assert caught.value.command is not None
                    assert "python" in caught.value.command
                    assert abs(caught.value.when - noticed) < 5
                    assert str(holder.pid) in str(caught.value)
                    with pytest.raises(OwnerDied) as caught:
                        third.do(f"thing.{take}(blocking=False)")
                assert third.do("thing.recover(timeout=5)") is True
                assert third.do("thing.recovered") is True
                third.do(f"thing.{give}()")
                assert waiter.do(f"thing.{take}(), thing.recovered") == (True, False)

    def test_comes_out_of_a_with_block_and_of_a_task(self) -> None:
        with workers(2, "thing = Lock('thing', on_owner_death='raise')") as (holder, other):
            holder.do("thing.acquire()")
            holder.killed()
            for source in (
                "with thing: raise AssertionError",
                "with thing.within(5): raise AssertionError",
                "import asyncio; asyncio.run(thing.acquire_async(5))",
            ):
                with pytest.raises(OwnerDied):
                    other.do(source)
            assert other.do("thing.recover(), thing.recovered") == (True, True)

    def test_readers_are_told_too_until_a_writer_was_there(self) -> None:
        with workers(3, "thing = ReadWriteLock('thing')") as (holder, reader, writer):
            holder.do("thing.acquire_write()")
            holder.killed()
            for worker in (reader, writer, reader):
                assert worker.do("thing.acquire_read(timeout=5), thing.recovered") == (True, True)
                worker.do("thing.release_read()")
            assert writer.do("thing.acquire_write(timeout=5), thing.recovered") == (True, True)
            writer.do("thing.release_write()")
            assert reader.do("thing.acquire_read(timeout=5), thing.recovered") == (True, False)

    def test_writer_that_died_before_it_was_in_is_not_mentioned(self) -> None:
        with workers(3, "thing = ReadWriteLock('thing')") as (reader, writer, other):
            with ReadWriteLock.open("thing", mode="r") as seen:
                reader.do("thing.acquire_read()")
                writer.wait_in("thing.acquire_write()", seen)
                assert other.do("thing.acquire_read(blocking=False)") is False
                writer.kill()
                begun = time.monotonic()
                assert other.do("thing.acquire_read(timeout=30), thing.recovered") == (True, False)
                assert time.monotonic() - begun < SOON


def Lock_or(kind: str) -> Callable[..., Any]:  # noqa: N802 - it returns a class's way to open
    opened: Callable[..., Any] = {"Lock": Lock, "RLock": RLock, "ReadWriteLock": ReadWriteLock}[kind].open
    return opened
