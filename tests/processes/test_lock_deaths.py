"""Holders, waiters, readers, and everybody else killed with SIGKILL: the others go on, and are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from isolated import until
from workers import Worker, workers

import samemap
from samemap import (
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

#: Seconds. It is 0.1 on an idle machine; how long it really takes is for the benchmarks.
SOON = 1.0


class Kind(NamedTuple):
    """A way to hold something, and a way for another process to want it."""

    #: Opens it to look on.
    look: Callable[[], closing[Any]]
    make: str
    #: What the holder does, and what it does to end it; None where nobody can.
    hold: str
    free: str | None
    #: What the next does.
    take: str
    give: str
    #: Whether the next is told of a death.
    tells: bool = True


def owned(kind: type[Any], hold: str = "thing.acquire()", free: str | None = "thing.release()") -> Kind:
    return Kind(
        lambda: closing(kind.open("thing", mode="r")),
        f"thing = {kind.__name__}('thing')",
        hold,
        free,
        "thing.acquire(timeout=30)",
        "thing.release()",
    )


def read_write(first: str, then: str) -> Kind:
    return Kind(
        lambda: closing(ReadWriteLock.open("thing", mode="r")),
        "thing = ReadWriteLock('thing')",
        f"thing.acquire_{first}()",
        f"thing.release_{first}()",
        f"thing.acquire_{then}(timeout=30)",
        f"thing.release_{then}()",
        tells=first == "write",
    )


def entry(method: str) -> Kind:
    return owned(Lock)._replace(
        look=lambda: closing(Namespace.open("thing", mode="r")), make=f"thing = Namespace('thing').{method}('entry')"
    )


IN_A_THREAD = "import threading; t = threading.Thread(target=thing.acquire); t.start(); t.join()"
KINDS = {
    "Lock": owned(Lock),
    "RLock": owned(RLock),
    "RLock, three times": owned(RLock, "[thing.acquire() for _ in range(3)]", "for _ in range(3): thing.release()"),
    "RLock of a thread that is gone": owned(RLock, IN_A_THREAD, None),
    "Condition": owned(Condition),
    "write, then write": read_write("write", "write"),
    "write, then read": read_write("write", "read"),
    "read, then write": read_write("read", "write"),
    "Semaphore": owned(Semaphore)._replace(tells=False),
    "lock in a namespace": entry("lock"),
    "rlock in a namespace": entry("rlock"),
    "condition in a namespace": entry("condition"),
    "semaphore in a namespace": entry("semaphore")._replace(tells=False),
}
each = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
each_given_back = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS.values() if kind.free], ids=[name for name, kind in KINDS.items() if kind.free]
)


@each
def test_waiter_gets_what_the_dead_one_held(kind: Kind) -> None:
    with workers(3, kind.make) as (holder, waiter, third), kind.look() as seen:
        holder.do(kind.hold)
        waiter.wait_in(kind.take, seen)
        killed = holder.kill()
        assert waiter.answer() is True
        assert time.monotonic() - killed < SOON
        if kind.tells:
            assert waiter.do("thing.recovered") is True
        waiter.do(kind.give)
        assert third.do(kind.take) is True
        if kind.tells:
            # A reader cannot mend anything, so the next one is told as well.
            assert third.do("thing.recovered") is (kind is KINDS["write, then read"])


@each
def test_who_comes_after_the_death_gets_it_without_waiting(kind: Kind) -> None:
    with workers(2, kind.make) as (holder, other):
        holder.do(kind.hold)
        holder.killed()
        assert other.do(kind.take.replace("timeout=30", "blocking=False")) is True
        if kind.tells:
            assert other.do("thing.recovered") is True
        other.do(kind.give)


@each_given_back
def test_dead_waiters_cost_the_others_nothing(kind: Kind) -> None:
    with workers(4, kind.make) as (holder, first, second, third), kind.look() as seen:
        holder.do(kind.hold)
        for waiter in (first, second, third):
            waiter.wait_in(kind.take, seen)
        first.killed()
        begun = second.kill()
        holder.do(kind.free)
        assert third.answer() is True
        assert time.monotonic() - begun < SOON
        if kind.tells:
            assert third.do("thing.recovered") is False


@each_given_back
def test_woken_waiter_that_dies_at_once_takes_no_wake_up_with_it(kind: Kind) -> None:
    with workers(3, kind.make) as (holder, first, second), kind.look() as seen:
        holder.do(kind.hold)
        for waiter in (first, second):
            waiter.wait_in(kind.take, seen)
        # Woken while it cannot run, so that it dies with the wake-up.
        first.stop()
        holder.do(kind.free)
        begun = first.kill()
        assert second.answer() is True
        assert time.monotonic() - begun < SOON
        second.do(kind.give)


class TestOwnerDied:
    """What those see who asked to be told by an exception."""

    @pytest.mark.parametrize("kind", ["Lock", "RLock", "ReadWriteLock"])
    def test_names_who_died_until_somebody_recovers(self, kind: str) -> None:
        take, give = ("acquire_write", "release_write") if kind == "ReadWriteLock" else ("acquire", "release")
        with workers(3, f"thing = {kind}('thing', on_owner_death='raise')") as (holder, waiter, third):
            seen = getattr(samemap, kind).open("thing", mode="r")
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
            seen.close()

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
            seen = ReadWriteLock.open("thing", mode="r")
            reader.do("thing.acquire_read()")
            writer.wait_in("thing.acquire_write()", seen)
            assert other.do("thing.acquire_read(blocking=False)") is False
            begun = writer.kill()
            assert other.do("thing.acquire_read(timeout=30), thing.recovered") == (True, False)
            assert time.monotonic() - begun < SOON
            seen.close()


class TestPermits:
    def test_of_the_dead_come_back_all_at_once(self) -> None:
        with workers(3, "thing = Semaphore('thing', 3)") as (holder, first, second):
            seen = Semaphore.open("thing", mode="r")
            holder.do("[thing.acquire() for _ in range(3)]")
            assert [(share.pid, share.count) for share in seen.holders()] == [(holder.pid, 3)]
            first.wait_in("thing.acquire()", seen)
            second.wait_in("thing.acquire()", seen)
            killed = holder.kill()
            assert first.answer() is second.answer() is True
            assert time.monotonic() - killed < SOON
            assert seen.value == 1
            assert {share.pid for share in seen.holders() if share.alive} == {first.pid, second.pid}
            seen.close()

    def test_of_a_bounded_one_never_become_too_many(self) -> None:
        with workers(2, "thing = BoundedSemaphore('thing', 2)") as (holder, other):
            holder.do("thing.acquire()")
            other.do("thing.acquire()")
            holder.killed()
            other.do("thing.release()")
            assert other.do("thing.acquire(blocking=False), thing.acquire(blocking=False)") == (True, True)
            assert other.do("thing.acquire(blocking=False)") is False
            other.do("thing.release(2)")
            with pytest.raises(ValueError, match="too many"):
                other.do("thing.release()")

    def test_that_are_messages_stay_taken(self) -> None:
        with workers(2, "thing = Semaphore('thing', 2, on_owner_death='keep')") as (holder, other):
            holder.do("thing.acquire()")
            holder.killed()
            assert other.do("thing.acquire(timeout=0.2), thing.acquire(timeout=0.2), thing.value") == (True, False, 0)
            other.do("thing.release(2)")
            assert other.do("thing.value") == 2

    def test_that_were_given_back_before_the_death_are_not_counted_twice(self) -> None:
        with workers(2, "thing = Semaphore('thing', 2)") as (holder, other):
            holder.do("thing.acquire(), thing.acquire(), thing.release()")
            # One that it never had: now there are three.
            other.do("thing.release()")
            holder.killed()
            assert other.do("[thing.acquire(timeout=0.2) for _ in range(4)]") == [True, True, True, False]


class TestFlagsAndCounters:
    def test_dead_waiters_of_an_event(self) -> None:
        with workers(4, "thing = Event('thing')") as (setter, dead, stopped, waiter):
            seen = Event.open("thing", mode="r")
            for worker in (dead, stopped, waiter):
                worker.wait_in("thing.wait()", seen)
            stopped.stop()
            dead.kill()
            setter.do("thing.set()")
            setter.kill()
            assert waiter.answer(SOON) is True
            stopped.resume()
            assert stopped.answer(SOON) is True
            seen.close()

    def test_dead_waiters_of_a_counter(self) -> None:
        with workers(3, "thing = Counter('thing')") as (adder, dead, waiter):
            seen = Counter.open("thing", mode="r")
            dead.wait_in("thing.wait_until(1)", seen)
            waiter.wait_in("thing.wait_until(2)", seen)
            adder.do("thing.add()")
            dead.kill()
            adder.do("thing.add()")
            adder.kill()
            assert waiter.answer(SOON) == 2
            assert seen.value == 2
            seen.close()


class TestConditions:
    MAKE = "thing = Condition('thing')"
    WAIT = "with thing: news = thing.wait(30)"

    def test_dead_waiter_gets_no_news(self) -> None:
        with workers(3, self.MAKE) as (dead, waiter, teller):
            seen = Condition.open("thing", mode="r")
            dead.wait_in(self.WAIT, seen)
            until(lambda: seen.stats().waiting == 1, "the first waiter")
            waiter.wait_in(self.WAIT, seen)
            until(lambda: seen.stats().waiting == 2, "the second waiter")
            dead.killed()
            teller.do("with thing: thing.notify()")
            waiter.answer(SOON)
            assert waiter.do("news, thing.recovered") == (True, False)
            seen.close()

    def test_news_of_one_that_dies_before_it_reads_them_goes_to_another(self) -> None:
        with workers(3, self.MAKE) as (dead, waiter, teller):
            seen = Condition.open("thing", mode="r")
            dead.wait_in(self.WAIT, seen)
            until(lambda: seen.stats().waiting == 1, "the first waiter")
            waiter.wait_in(self.WAIT, seen)
            until(lambda: seen.stats().waiting == 2, "the second waiter")
            dead.stop()
            teller.do("with thing: thing.notify()")
            dead.kill()
            waiter.answer(SOON)
            assert waiter.do("news") is True
            assert not seen.stats().waiting
            seen.close()

    def test_teller_that_dies_with_the_lock_leaves_it_to_the_told(self) -> None:
        with workers(2, self.MAKE) as (waiter, teller):
            seen = Condition.open("thing", mode="r")
            waiter.wait_in("with thing: news = thing.wait(30), thing.recovered", seen)
            teller.do("thing.acquire(), thing.notify()")
            teller.kill()
            waiter.answer(SOON)
            assert waiter.do("news") == (True, True)
            seen.close()

    def test_waiting_goes_on_when_a_holder_dies_without_news(self) -> None:
        with workers(3, self.MAKE) as (waiter, holder, teller):
            seen = Condition.open("thing", mode="r")
            waiter.wait_in(self.WAIT, seen)
            holder.do("thing.acquire()")
            holder.killed()
            assert not waiter.answers(0.2)
            teller.do("with thing: thing.notify_all()")
            waiter.answer(SOON)
            assert waiter.do("news") is True
            seen.close()

    def test_with_a_lock_that_raises_the_lock_is_taken_all_the_same(self) -> None:
        # Who leaves a `with` block releases the lock, so `wait` must come back with it.
        make = "lock = Lock('lock', on_owner_death='raise'); thing = Condition('thing', lock)"
        with workers(2, make) as (waiter, holder):
            # In place of a look from outside, which would have to give the lock as well.
            waiter.tell("with thing: news = thing.wait(0.5), lock.recovered")
            time.sleep(0.2)
            holder.do("thing.acquire()")
            holder.killed()
            waiter.answer()
            assert waiter.do("news") == (False, True)
            assert waiter.do("lock.locked()") is False


class TestBarriers:
    MAKE = "thing = Barrier('thing', 3)"

    def test_break_for_the_others_and_say_who_died(self) -> None:
        with workers(3, self.MAKE) as (first, second, dead):
            seen = Barrier.open("thing", mode="r")
            for worker in (first, second):
                worker.wait_in("thing.wait()", seen)
            until(lambda: seen.n_waiting == 2, "two waiters")
            second.kill()
            with pytest.raises(BrokenBarrierError, match=f"{second.pid}"):
                first.answer(SOON)
            assert seen.broken
            with pytest.raises(BrokenBarrierError):
                dead.do("thing.wait(1)")
            first.do("thing.reset()")
            assert not seen.broken
            with Worker(self.MAKE) as another:
                for worker in (first, dead):
                    worker.wait_in("thing.wait()", seen)
                another.do("thing.wait()")
                assert sorted([first.answer(SOON), dead.answer(SOON)]) == [0, 1]
            seen.close()

    def test_break_when_the_last_dies_in_its_action(self) -> None:
        make = "import time; thing = Barrier('thing', 3, action=lambda: time.sleep(100))"
        with workers(3, make) as (first, second, last):
            seen = Barrier.open("thing", mode="r")
            for worker in (first, second):
                worker.wait_in("thing.wait()", seen)
            last.tell("thing.wait()")
            assert not first.answers(0.2)
            last.kill()
            for worker in (first, second):
                with pytest.raises(BrokenBarrierError, match=f"{last.pid}"):
                    worker.answer(SOON)
            seen.close()

    def test_that_have_tripped_are_not_broken_by_a_death(self) -> None:
        with workers(3, self.MAKE) as (first, stopped, last):
            seen = Barrier.open("thing", mode="r")
            for worker in (first, stopped):
                worker.wait_in("thing.wait()", seen)
            stopped.stop()
            last.do("thing.wait()")
            stopped.killed()
            assert first.answer(SOON) in (0, 1)
            assert not seen.broken
            for worker in (first, last):
                worker.wait_in("thing.wait()", seen)
            with Worker(self.MAKE) as another:
                another.do("thing.wait()")
                assert sorted([first.answer(SOON), last.answer(SOON)]) == [0, 1]
            seen.close()


class TestSeveralAtOnce:
    MAKE = "lock, permits, flag = Lock('lock'), Semaphore('permits', 0), Event('flag')"

    @pytest.mark.parametrize(
        "wait", ["wait([permits, lock, flag], 30)", "asyncio.run(wait_async([permits, lock, flag], 30))"]
    )
    def test_lock_of_the_dead_is_ready(self, wait: str) -> None:
        with workers(2, self.MAKE) as (holder, waiter):
            holder.do("lock.acquire()")
            waiter.tell(f"import asyncio; ready = {wait}")
            assert not waiter.answers(0.2)
            killed = holder.kill()
            waiter.answer()
            assert time.monotonic() - killed < SOON
            assert waiter.do("ready == [lock]") is True
            assert waiter.do("lock.acquire(), lock.recovered") == (True, True)


#: What makes a process wait for ever, or for a second, and a process that makes it do so.
IDLE = {
    "Lock": ("thing = Lock('thing')", "thing.acquire()", "thing.acquire(timeout=SECONDS)"),
    "RLock": ("thing = RLock('thing')", "thing.acquire()", "thing.acquire(timeout=SECONDS)"),
    "write": ("thing = ReadWriteLock('thing')", "thing.acquire_read()", "thing.acquire_write(timeout=SECONDS)"),
    "read": ("thing = ReadWriteLock('thing')", "thing.acquire_write()", "thing.acquire_read(timeout=SECONDS)"),
    "Semaphore": ("thing = Semaphore('thing')", "thing.acquire()", "thing.acquire(timeout=SECONDS)"),
    "Event": ("thing = Event('thing')", "None", "thing.wait(SECONDS)"),
    "Condition": ("thing = Condition('thing')", "None", "thing.acquire() and thing.wait(SECONDS)"),
    "Counter": ("thing = Counter('thing')", "None", "thing.wait_until(1, timeout=SECONDS)"),
    "Barrier": ("thing = Barrier('thing', 3)", "None", "broken(lambda: thing.wait(SECONDS))"),
    "several": ("thing = Event('a'), Lock('b')", "thing[1].acquire()", "wait(thing, SECONDS)"),
    "asyncio": ("thing = Lock('thing')", "thing.acquire()", "asyncio.run(thing.acquire_async(SECONDS))"),
}
SPENT = """
import asyncio, resource

def broken(wait):
    try:
        wait()
    except BrokenBarrierError:
        pass

def spent():
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime
"""


def test_waiting_costs_no_processor_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ExitStack() as ends:
        waiters = {}
        for name, (make, hold, wait) in IDLE.items():
            monkeypatch.setenv("SAMEMAP_DIR", str(tmp_path / name))
            holder, waiter = ends.enter_context(workers(2, make))
            holder.do(hold)
            waiter.do(SPENT)
            waiters[name] = waiter, wait
        for waiter, wait in waiters.values():
            # After the first slice, in which it may spin a little.
            waiter.tell(f"{wait.replace('SECONDS', '0.1')}, spent(), {wait.replace('SECONDS', '1')}, spent()")
        for name, (waiter, _) in waiters.items():
            _, before, _, after = waiter.answer()
            assert after - before < 0.02, f"{name}: {after - before:.3f} s of processor time in 1 s of waiting"
