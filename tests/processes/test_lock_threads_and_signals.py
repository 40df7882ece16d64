"""Threads, signals, tasks, and start methods: whatever ends a wait leaves nothing held, and nothing lost."""

from __future__ import annotations

import pickle
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from isolated import succeed
from workers import Worker, workers

from samemap import (
    Barrier,
    BoundedSemaphore,
    BrokenBarrierError,
    Condition,
    Counter,
    Event,
    Lock,
    Namespace,
    ReadWriteLock,
    Region,
    RLock,
    Semaphore,
)

#: Seconds within which Ctrl-C is answered.
AT_ONCE = 0.5


class Wait(NamedTuple):
    """A way to wait for ever."""

    kind: type[Any]
    #: What another process does, so that it is one.
    hold: str
    wait: str
    #: What the other process does, so that it is none, and what shows then that nothing is held and nothing lost.
    free: str
    check: str
    more: tuple[object, ...] = ()


TAKE = "thing.acquire(blocking=False)"
WAITS = {
    "Lock.acquire": Wait(Lock, "thing.acquire()", "thing.acquire()", "thing.release()", TAKE),
    "with Lock": Wait(Lock, "thing.acquire()", "with thing: raise AssertionError", "thing.release()", TAKE),
    "Lock.within": Wait(Lock, "thing.acquire()", "with thing.within(60): pass", "thing.release()", TAKE),
    "Lock.recover": Wait(Lock, "thing.acquire()", "thing.recover()", "thing.release()", TAKE),
    "Lock.acquire_async": Wait(Lock, "thing.acquire()", "asyncio.run(thing.acquire_async())", "thing.release()", TAKE),
    "RLock.acquire": Wait(RLock, "thing.acquire()", "thing.acquire()", "thing.release()", TAKE),
    "RLock.acquire_async": Wait(
        RLock, "thing.acquire()", "asyncio.run(thing.acquire_async())", "thing.release()", TAKE
    ),
    "Semaphore.acquire": Wait(Semaphore, "thing.acquire()", "thing.acquire()", "thing.release()", TAKE),
    "Semaphore.acquire_async": Wait(
        Semaphore, "thing.acquire()", "asyncio.run(thing.acquire_async())", "thing.release()", TAKE
    ),
    "acquire_read": Wait(
        ReadWriteLock,
        "thing.acquire_write()",
        "thing.acquire_read()",
        "thing.release_write()",
        "thing.acquire_write(blocking=False)",
    ),
    "acquire_write, a writer there": Wait(
        ReadWriteLock,
        "thing.acquire_write()",
        "thing.acquire_write()",
        "thing.release_write()",
        "thing.acquire_write(blocking=False)",
    ),
    "acquire_write, a reader there": Wait(
        ReadWriteLock,
        "thing.acquire_read()",
        "thing.acquire_write()",
        # Readers are not kept out any more.
        "thing.acquire_read(timeout=1), thing.release_read(), thing.release_read()",
        "thing.acquire_write(blocking=False)",
    ),
    "Event.wait": Wait(Event, "None", "thing.wait()", "thing.set()", "thing.is_set()"),
    "Event.wait_async": Wait(Event, "None", "asyncio.run(thing.wait_async())", "thing.set()", "thing.is_set()"),
    "Counter.wait_until": Wait(Counter, "None", "thing.wait_until(1)", "thing.add()", "thing.value == 1"),
    "Condition.wait": Wait(Condition, "None", "with thing: thing.wait()", "with thing: thing.notify()", TAKE),
    "Condition.wait_for": Wait(
        Condition, "None", "with thing: thing.wait_for(lambda: False)", "with thing: thing.notify()", TAKE
    ),
    "Condition.wait_async": Wait(Condition, "None", "asyncio.run(wait_for_news())", "with thing: thing.notify()", TAKE),
    "Condition.acquire": Wait(Condition, "thing.acquire()", "with thing: pass", "thing.release()", TAKE),
    "several": Wait(Lock, "thing.acquire()", "wait([thing, Event()])", "thing.release()", TAKE),
    "several, async": Wait(
        Lock, "thing.acquire()", "asyncio.run(wait_async([thing, Event()]))", "thing.release()", TAKE
    ),
}
HELP = """
import asyncio, threading

async def wait_for_news():
    async with thing:
        await thing.wait_async()
"""
each_wait = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)


class TestSignals:
    @each_wait
    def test_ctrl_c_is_answered_at_once_and_leaves_nothing(self, wait: Wait) -> None:
        make = f"{HELP}\nthing = {wait.kind.__name__}('thing')"
        with workers(2, make) as (other, waiter), closing(wait.kind.open("thing", mode="r")) as seen:
            other.do(wait.hold)
            waiter.wait_in(wait.wait, seen)
            begun = time.monotonic()
            waiter.signal(2)
            with pytest.raises(KeyboardInterrupt):
                waiter.answer()
            assert time.monotonic() - begun < AT_ONCE
            assert all(someone.waiting == 0 for someone in seen.participants())
            other.do(wait.free)
            assert other.do(wait.check) is True
            # And whoever was interrupted can go on with it.
            waiter.do("thing.close()")

    @pytest.mark.parametrize(
        "wait", [wait for wait in WAITS.values() if "with" not in wait.wait and "asyncio" not in wait.wait]
    )
    def test_handlers_that_raise_do_so_at_any_moment(self, wait: Wait) -> None:
        with workers(2, f"{HELP}\nthing = {wait.kind.__name__}('thing')") as (other, waiter):
            other.do(wait.hold)
            waiter.do("import signal; signal.signal(signal.SIGALRM, signal.default_int_handler)")
            for number in range(30):
                waiter.tell(f"signal.setitimer(signal.ITIMER_REAL, {0.00001 + 0.0003 * number}), {wait.wait}")
                with pytest.raises(KeyboardInterrupt):
                    waiter.answer(5)
            other.do(wait.free)
            assert other.do(wait.check) is True

    def test_ctrl_c_while_waiting_at_a_barrier(self) -> None:
        with workers(3, "thing = Barrier('thing', 3)") as (first, second, third):
            seen = Barrier.open("thing", mode="r")
            first.wait_in("thing.wait()", seen)
            second.wait_in("thing.wait()", seen)
            begun = time.monotonic()
            first.signal(2)
            with pytest.raises(KeyboardInterrupt):
                first.answer()
            assert time.monotonic() - begun < AT_ONCE
            # As with threading: its place is free again, or all are told.
            if seen.broken:
                with pytest.raises(BrokenBarrierError):
                    second.answer(1)
                first.do("thing.reset()")
                second.wait_in("thing.wait()", seen)
            assert seen.n_waiting == 1
            first.wait_in("thing.wait()", seen)
            third.do("thing.wait()")
            assert sorted([first.answer(1), second.answer(1)]) == [0, 1]
            seen.close()

    def test_ctrl_c_while_waiting_for_a_file(self) -> None:
        with Worker() as worker:
            worker.tell("Lock.open('missing', wait=60)")
            assert not worker.answers(0.2)
            begun = time.monotonic()
            worker.signal(2)
            with pytest.raises(KeyboardInterrupt):
                worker.answer()
            assert time.monotonic() - begun < AT_ONCE


class TestClosing:
    @each_wait
    def test_close_by_another_thread_ends_the_wait(self, wait: Wait) -> None:
        with workers(2, f"{HELP}\nthing = {wait.kind.__name__}('thing')") as (other, waiter):
            other.do(wait.hold)
            waiter.tell(f"threading.Timer(0.1, thing.close).start()\n{wait.wait}")
            begun = time.monotonic()
            with pytest.raises(ValueError, match="closed"):
                waiter.answer()
            assert time.monotonic() - begun < 0.1 + AT_ONCE
            other.do(wait.free)
            assert other.do(wait.check) is True

    def test_close_while_it_is_held_leaves_it_to_the_others(self) -> None:
        # The process has left, so whoever comes next is told.
        with workers(2, "thing = Lock('thing')") as (holder, other):
            holder.do("thing.acquire()")
            holder.do("thing.close()")
            assert other.do("thing.acquire(timeout=5), thing.recovered") == (True, True)


class TestThreads:
    def test_threads_of_several_processes_exclude_each_other(self) -> None:
        with Region.create("words", 4096) as words:
            make = (
                "import threading; words, lock, rlock = Region.open('words'), Lock('lock'), RLock('rlock'); "
                "rw, permits = ReadWriteLock('rw'), BoundedSemaphore('permits', 3)"
            )
            with workers(3, make) as crowd:
                for worker in crowd:
                    worker.do(HAMMER)
                    worker.tell("crowd(4, 150)")
                for worker in crowd:
                    assert worker.answer() == []
            for at in (0, 64, 128):
                assert words.load_u64(at) == 3 * 4 * 150
            assert words.load_u64(256) == 0
            for thing in (Lock.open("lock"), RLock.open("rlock"), BoundedSemaphore.open("permits")):
                assert thing.acquire(blocking=False)
                assert thing.stats().waiting == 0
                thing.close()


HAMMER = """
wrong = []

def slow_add(at):
    # Not atomic, and long enough for others to come in between.
    value = words.load_u64(at)
    for _ in range(20):
        pass
    words.store_u64(at, value + 1)

def hammer(times):
    try:
        for number in range(times):
            with lock:
                slow_add(0)
            with rlock, rlock:
                assert rlock.depth == 2
                slow_add(64)
            with rw.writing():
                slow_add(128)
            with rw.reading():
                value = words.load_u64(128)
                assert words.load_u64(128) == value
            with permits:
                assert words.fetch_add_u64(256, 1) < 3
                words.fetch_add_u64(256, 2**64 - 1)
    except BaseException as error:
        wrong.append(repr(error))

def crowd(number, times):
    threads = [threading.Thread(target=hammer, args=[times]) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return wrong + [thread.name for thread in threads if thread.is_alive()]
"""


class TestStartMethods:
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_all_kinds_arrive_as_arguments(self, method: str) -> None:
        succeed(ARGUMENTS, method, cwd=Path(__file__).parent)


ARGUMENTS = """
import multiprocessing, os, sys
from samemap import *
import children

def things(name):
    called = lambda kind: name and f"{name} {kind}"
    lock, space = Lock(called("lock"), on_owner_death="raise"), Namespace(called("space"))
    return {
        "lock": lock,
        "rlock": RLock(called("rlock")),
        "rw": ReadWriteLock(called("rw")),
        "permits": Semaphore(called("permits"), 0),
        "bounded": BoundedSemaphore(called("bounded"), 2),
        "event": Event(called("event")),
        "news": Condition(called("news")),
        "with lock": Condition(called("with lock"), lock),
        "barrier": Barrier(called("barrier"), 2),
        "counter": Counter(called("counter"), 40),
        "space": space,
        "entry": space.lock("entry"),
        "entry permits": space.semaphore("permits", 5),
        "look on": Lock.open(called("lock"), mode="r") if name else None,
    }

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    for name in None, "named":
        ours = things(name)
        ours["lock"].acquire()
        process = context.Process(target=children.use_all, args=(ours, os.getpid()))
        process.start()
        assert ours["permits"].acquire(timeout=60)
        ours["lock"].release()
        assert ours["event"].wait(60)
        assert ours["barrier"].wait(60) in (0, 1)
        process.join(60)
        assert process.exitcode == 0, process.exitcode
        assert ours["counter"].value == 42
        assert ours["bounded"].value == 2
        for thing in filter(None, ours.values()):
            assert [someone.pid for someone in thing.participants()] == [os.getpid()], (thing, thing.participants())
        for thing in filter(None, ours.values()):
            thing.close()
"""


class TestPickling:
    def test_in_the_same_process_gives_the_same_one(self) -> None:
        with closing(Lock("thing", on_owner_death="raise")) as thing:
            thing.acquire()
            with closing(pickle.loads(pickle.dumps(thing))) as same:
                assert (same.name, same.mode, same.on_owner_death, same.locked()) == ("thing", "rw", "raise", True)
                assert len(same.participants()) == 1
                same.release()

    def test_between_strangers_goes_by_path(self) -> None:
        with Counter("thing") as thing, Namespace("space") as space, Worker() as worker:
            worker.do("import pickle")
            worker.do(f"same = pickle.loads({pickle.dumps(thing)!r})")
            assert worker.do("same.add(5)") == thing.value == 5
            entry = space.event("entry")
            worker.do(f"pickle.loads({pickle.dumps(entry)!r}).set()")
            assert entry.is_set()
            entry.close()

    def test_what_only_looks_on_stays_so(self) -> None:
        with closing(Lock("thing")), closing(Lock.open("thing", mode="r")) as seen:
            same = pickle.loads(pickle.dumps(seen))
            assert same.mode == "r"
            same.close()

    def test_replaced_on_the_way(self) -> None:
        with Event("thing") as thing:
            sent = pickle.dumps(thing)
            thing.unlink()
            with Event.create("thing"), pytest.raises(FileNotFoundError, match="replaced"):
                pickle.loads(sent)

    def test_closed_ones_do_not_travel(self) -> None:
        thing = Lock("thing")
        thing.close()
        with pytest.raises(ValueError, match="closed"):
            pickle.dumps(thing)


class TestTasks:
    def test_cancel_storms_in_two_processes_lose_nothing(self) -> None:
        make = (
            "import asyncio, random, threading; words, lock, rlock, rw, permits, news = Region('words', 4096), "
            "Lock('lock'), RLock('rlock'), ReadWriteLock('rw'), Semaphore('permits', 2), Condition('news')"
        )
        with workers(2, make) as both:
            for number, worker in enumerate(both):
                worker.do(STORM)
                worker.tell(f"asyncio.run(storm({number}, 1.5))")
            ends = [worker.answer() for worker in both]
            for done, cancelled, threads in ends:
                assert done > 100
                assert cancelled > 20
                # One of them waits for all tasks.
                assert threads == 2
            total = sum(done for done, _, _ in ends)
            with Region.open("words") as words:
                assert words.load_u64(0) == total
                assert words.load_u64(64) == 0
            with closing(Lock.open("lock")) as lock, closing(RLock.open("rlock")) as rlock:
                assert lock.acquire(blocking=False)
                assert rlock.acquire(blocking=False)
            with closing(ReadWriteLock.open("rw")) as rw:
                assert rw.acquire_write(blocking=False)
            with closing(Semaphore.open("permits")) as permits:
                assert permits.value == 2
            with closing(Condition.open("news")) as news:
                assert news.acquire(blocking=False)
                assert news.stats().waiting == 0
                news.release()


STORM = """
done = 0

async def use(chance):
    # All that is acquired is given back, wherever it is cancelled.
    global done
    async with rlock, rlock:
        pass
    async with rw.reading():
        pass
    async with rw.writing():
        await asyncio.sleep(0)
    async with permits:
        inside = words.fetch_add_u64(64, 1)
        try:
            assert inside < 2, inside
            await asyncio.sleep(0)
        finally:
            words.fetch_add_u64(64, 2**64 - 1)
    async with news:
        if chance.random() < 0.5:
            await news.wait_async(0.002)
        else:
            news.notify_all()
    async with lock:
        words.store_u64(0, words.load_u64(0) + 1)
        done += 1

async def storm(seed, seconds):
    chance = random.Random(seed)
    cancelled = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    tasks = set()
    while loop.time() < end:
        while len(tasks) < 30:
            tasks.add(asyncio.ensure_future(use(chance)))
        await asyncio.sleep(chance.random() * 0.002)
        for task in chance.sample(sorted(tasks, key=id), 3):
            task.cancel()
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            if task.cancelled():
                cancelled += 1
            else:
                task.result()
    for task in tasks:
        task.cancel()
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, asyncio.CancelledError):
            cancelled += 1
        elif end is not None:
            raise end
    return done, cancelled, threading.active_count()
"""
