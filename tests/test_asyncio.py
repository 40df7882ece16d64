"""Waiting in asyncio: one thread for all tasks, and nothing lost or kept by those who are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from isolated import succeed, until

from samemap import (
    AcquireTimeout,
    Barrier,
    BoundedSemaphore,
    BrokenBarrierError,
    Condition,
    Counter,
    Event,
    Lock,
    ReadWriteLock,
    RLock,
    Semaphore,
    wait_async,
)

Waiting = Callable[[], Awaitable[object]]


async def asleep(thing: Any, count: int = 1) -> None:
    """Return when so many tasks wait for it."""
    while thing.participants()[0].waiting < count:
        await asyncio.sleep(0.001)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("samemap")]


class TestOneThread:
    def test_many_tasks_wait_on_one_thread(self) -> None:
        async def main() -> None:
            event, counter = Event(), Counter()
            tasks = [asyncio.create_task(event.wait_async()) for _ in range(200)]
            tasks += [asyncio.create_task(counter.wait_until_async(number)) for number in range(1, 101)]  # type: ignore[misc]
            await asleep(event, 200)
            await asleep(counter, 100)
            assert threads() == ["samemap-watcher"]
            event.set()
            for _ in range(100):
                counter.add()
            assert await asyncio.gather(*tasks[:200]) == [True] * 200
            assert all(value >= number for number, value in enumerate(await asyncio.gather(*tasks[200:]), start=1))

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_two_loops_in_two_threads(self) -> None:
        event = Event()
        came: list[bool] = []
        runs = [threading.Thread(target=lambda: came.append(asyncio.run(event.wait_async()))) for _ in range(2)]
        for run in runs:
            run.start()
        until(lambda: event.stats().waiting == 2, "two waiting tasks")
        assert threads() == ["samemap-watcher"]
        event.set()
        for run in runs:
            run.join(60)
        assert came == [True, True]

    def test_no_thread_is_started_when_nobody_waits(self) -> None:
        out = succeed(
            """
            import asyncio, threading
            from samemap import Event, Lock, Semaphore

            async def main():
                event = Event()
                event.set()
                await event.wait_async()
                async with Lock(), Semaphore():
                    pass
                await Semaphore(value=0).acquire_async(timeout=0)

            asyncio.run(main())
            print(threading.active_count())
            """
        )
        assert out == "1\n"

    def test_the_interpreter_ends_without_noise_while_tasks_wait(self) -> None:
        succeed(
            """
            import asyncio, sys
            from samemap import Event, Lock

            event, lock = Event(), Lock()
            lock.acquire()

            async def main():
                waits = [asyncio.create_task(event.wait_async()) for _ in range(5)]
                waits.append(asyncio.create_task(lock.acquire_async()))
                await asyncio.sleep(0.05)

            asyncio.run(main())
            loop = asyncio.new_event_loop()
            wait = loop.create_task(event.wait_async())
            loop.run_until_complete(asyncio.sleep(0.05))
            # Neither cancelled nor awaited: it goes with the interpreter.
            wait._log_destroy_pending = False
            sys.exit()
            """
        )

    def test_a_forked_child_starts_its_own(self) -> None:
        succeed(
            """
            import asyncio, os, sys, threading, warnings
            from samemap import Event

            # From 3.12 on, the interpreter warns of forks beside threads: that one works is what this shows.
            warnings.simplefilter("ignore", DeprecationWarning)
            event = Event("shared")

            async def wait():
                return await event.wait_async(timeout=60)

            async def start():
                await event.wait_async(timeout=0.01)

            asyncio.run(start())
            child = os.fork()
            if child == 0:
                ok = asyncio.run(wait())
                names = [t.name for t in threading.enumerate()]
                os._exit(0 if ok and names.count("samemap-watcher") == 1 else 1)
            while sum(who.waiting for who in event.participants()) < 1:
                pass
            event.set()
            assert os.waitpid(child, 0)[1] == 0
            """
        )

    def test_what_arrives_for_a_loop_that_is_closed_goes_back(self) -> None:
        lock = Lock()
        lock.acquire()
        loop = asyncio.new_event_loop()
        task = loop.create_task(lock.acquire_async())
        loop.run_until_complete(asleep(lock))
        loop.close()
        lock.release()
        until(lambda: lock.acquire(timeout=0.1), "the lock, given back by the watcher")
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]


class TestLocks:
    @pytest.mark.parametrize("kind", [Lock, RLock, Semaphore, BoundedSemaphore, Condition])
    def test_one_task_at_a_time(self, kind: type[Lock]) -> None:
        async def main() -> None:
            lock = kind()
            total = 0

            async def count() -> None:
                nonlocal total
                for _ in range(20):
                    async with lock as entered:
                        assert entered is True
                        seen = total
                        await asyncio.sleep(0)
                        total = seen + 1

            await asyncio.gather(*(count() for _ in range(5)))
            assert total == 100

        asyncio.run(asyncio.wait_for(main(), 60))

    @pytest.mark.parametrize("kind", [Lock, RLock, Semaphore, Condition])
    def test_a_timeout_gives_up(self, kind: type[Lock]) -> None:
        async def main() -> None:
            lock = kind()
            async with lock:
                assert await asyncio.create_task(lock.acquire_async(timeout=0)) is False
                assert await asyncio.create_task(lock.acquire_async(timeout=0.01)) is False
                assert await asyncio.create_task(lock.acquire_async(0.1)) is False
            assert await lock.acquire_async(-1) is True

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_thread_of_the_same_process_wakes_a_task(self) -> None:
        lock = Lock()
        lock.acquire()

        async def main() -> bool:
            task = asyncio.create_task(lock.acquire_async())
            await asleep(lock)
            await asyncio.to_thread(lock.release)
            return await task

        assert asyncio.run(asyncio.wait_for(main(), 60)) is True

    def test_within_works_for_tasks(self) -> None:
        async def late(lock: Lock | RLock) -> None:
            async with lock.within(0.01):
                pass

        async def main(lock: Lock | RLock) -> None:
            async with lock.within(1) as entered:
                assert entered is lock
                with pytest.raises(AcquireTimeout, match=r"could not be had within 0\.01 s"):
                    await asyncio.create_task(late(lock))
            assert not lock.locked()

        for lock in (Lock(), RLock()):
            asyncio.run(main(lock))

    def test_readers_and_writers(self) -> None:
        async def main() -> None:
            table = ReadWriteLock()
            async with table.reading(), table.reading(1):
                assert table.readers()[0].count == 2
                assert await table.acquire_write_async(timeout=0.01) is False
            async with table.writing():
                assert await table.acquire_read_async(timeout=0.01) is False
            assert await table.acquire_read_async() is True

        asyncio.run(asyncio.wait_for(main(), 60))


class TestReentrantLocks:
    def test_a_task_takes_it_again_and_another_does_not(self) -> None:
        async def main() -> None:
            lock = RLock()
            async with lock, lock:
                assert lock.depth == 2
                assert await asyncio.create_task(lock.acquire_async(timeout=0.01)) is False
                holder = lock.holder()
                assert holder is not None
                assert holder.thread is None
            assert lock.depth == 0

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_the_thread_of_a_task_that_holds_it_does_not(self) -> None:
        async def main() -> None:
            lock = RLock()
            async with lock:
                assert lock.acquire(timeout=0.01) is False
            assert lock.acquire(False) is True
            assert await lock.acquire_async(timeout=0.01) is False
            lock.release()
            assert not lock.locked()

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_release_gives_back_what_the_task_took(self) -> None:
        async def main() -> None:
            lock = RLock()
            assert await lock.acquire_async()

            async def release() -> None:
                lock.release()

            with pytest.raises(RuntimeError):
                await asyncio.create_task(release())
            lock.release()
            assert not lock.locked()

        asyncio.run(asyncio.wait_for(main(), 60))


class TestCancelling:
    @pytest.mark.parametrize(
        ("kind", "begin", "release"),
        [
            (Lock, Lock.acquire_async, Lock.release),
            (RLock, RLock.acquire_async, RLock.release),
            (lambda: Semaphore(value=1), Semaphore.acquire_async, Semaphore.release),
            (ReadWriteLock, ReadWriteLock.acquire_write_async, ReadWriteLock.release_write),
        ],
    )
    def test_who_is_cancelled_while_waiting_has_nothing_and_blocks_nobody(
        self, kind: Callable[[], Any], begin: Callable[[Any], Any], release: Callable[[Any], None]
    ) -> None:
        async def main() -> None:
            lock = kind()
            await begin(lock)
            first, second = asyncio.create_task(begin(lock)), asyncio.create_task(begin(lock))
            await asleep(lock, 2)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert not second.done()
            release(lock)
            assert await second is True

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_who_is_cancelled_when_it_was_acquired_already_gives_it_back(self) -> None:
        async def main() -> None:
            for thing, value in ((Lock(), None), (Semaphore(value=1), 1), (ReadWriteLock(), None)):
                acquire = thing.acquire_write_async if isinstance(thing, ReadWriteLock) else thing.acquire_async
                release = thing.release_write if isinstance(thing, ReadWriteLock) else thing.release
                await acquire()
                task = asyncio.create_task(acquire())
                await asleep(thing)
                release()
                # The watcher gets it for the task, which cannot run: this one does not let go of the loop.
                until(lambda thing=thing: is_taken(thing), "the watcher")  # type: ignore[misc]
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert not is_taken(thing)
                assert value is None or thing.value == value

        def is_taken(thing: Any) -> bool:
            return bool(thing.holders() if isinstance(thing, Semaphore) else thing.holder() is not None)

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_wait_for_of_asyncio_works_as_a_timeout(self) -> None:
        async def main() -> None:
            event = Event()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(event.wait_async(), 0.01)
            event.set()
            assert await event.wait_async() is True
            assert event.stats().waiting == 0

        asyncio.run(main())

    def test_a_loop_that_ends_cancels_what_waits(self) -> None:
        lock = Lock()
        lock.acquire()

        async def main() -> None:
            tasks.append(asyncio.create_task(lock.acquire_async()))
            await asleep(lock)

        tasks: list[asyncio.Task[bool]] = []
        asyncio.run(main())
        assert lock.stats().waiting == 0
        lock.release()
        assert not lock.locked()


class TestEndings:
    @pytest.mark.parametrize(
        ("thing", "wait"),
        [
            (Event(), Event.wait_async),
            (Counter(), lambda counter: counter.wait_until_async(1)),
            (Semaphore(value=0), Semaphore.acquire_async),
            (Barrier(None, 2), Barrier.wait_async),
        ],
    )
    def test_closing_ends_the_wait(self, thing: Any, wait: Callable[[Any], Any]) -> None:
        async def main() -> None:
            task = asyncio.create_task(wait(thing))
            await asleep(thing)
            thing.close()
            with pytest.raises(ValueError, match="closed"):
                await task

        asyncio.run(asyncio.wait_for(main(), 60))

    @pytest.mark.parametrize("timeout", [-1.5, float("nan")])
    def test_a_timeout_that_makes_no_sense_is_refused(self, timeout: float) -> None:
        for wait in (Event().wait_async, Lock().acquire_async, lambda timeout: wait_async([Event()], timeout)):
            with pytest.raises(ValueError, match="timeout"):
                asyncio.run(wait(timeout))

    def test_counters(self) -> None:
        async def main() -> None:
            counter = Counter(value=3)
            assert await counter.wait_until_async(3) == 3
            assert await counter.wait_until_async(4, timeout=0.01) is None
            task = asyncio.create_task(counter.wait_until_async(0, "<="))
            await asleep(counter)
            counter.sub(5)
            assert await task == -2

        asyncio.run(asyncio.wait_for(main(), 60))


class TestConditions:
    @pytest.mark.parametrize("kind", ["its own", Lock, RLock])
    def test_news_reaches_tasks_and_threads_alike(self, kind: Any) -> None:
        news = Condition(None, None if kind == "its own" else kind())
        came: list[object] = []

        def thread() -> None:
            with news:
                came.append(news.wait())

        async def task() -> None:
            async with news:
                came.append(await news.wait_async())

        async def main() -> None:
            waiter = threading.Thread(target=thread)
            waiter.start()
            tasks = [asyncio.create_task(task()) for _ in range(2)]
            while news.stats().waiting < 3:
                await asyncio.sleep(0.001)
            async with news:
                news.notify()
            while len(came) < 1:
                await asyncio.sleep(0.001)
            async with news:
                news.notify_all()
            await asyncio.gather(*tasks)
            await asyncio.to_thread(waiter.join, 60)
            assert came == [True] * 3

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_timeout_takes_the_lock_again_as_often_as_it_was_taken(self) -> None:
        async def main() -> None:
            lock = RLock()
            news = Condition(None, lock)
            async with news, news:
                assert await news.wait_async(timeout=0.01) is False
                assert lock.depth == 2
                assert await news.wait_for_async(lambda: None, timeout=0.02) is None
            assert lock.depth == 0
            assert news.stats().waiting == 0

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_wait_for_looks_again(self) -> None:
        async def main() -> None:
            news, box = Condition(), []

            async def wait() -> object:
                async with news:
                    return await news.wait_for_async(lambda: len(box) > 1 and box[-1])

            task = asyncio.create_task(wait())
            for text in ("wrong", "right"):
                while news.stats().waiting < 1:
                    await asyncio.sleep(0.001)
                async with news:
                    box.append(text)
                    news.notify()
            assert await task == "right"

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_who_does_not_hold_the_lock_may_not(self) -> None:
        async def main() -> None:
            news = Condition()
            with pytest.raises(RuntimeError, match="must be held"):
                await news.wait_async(0)
            with pytest.raises(RuntimeError, match="must be held"):
                news.notify()

        asyncio.run(main())

    def test_who_is_cancelled_has_the_lock_again_and_passes_news_on(self) -> None:
        async def main() -> None:
            news = Condition()
            held: list[bool] = []

            async def wait() -> bool:
                async with news:
                    try:
                        return await news.wait_async()
                    finally:
                        held.append(news.stats().locked)

            first = asyncio.create_task(wait())
            while news.stats().waiting < 1:
                await asyncio.sleep(0.001)
            second = asyncio.create_task(wait())
            while news.stats().waiting < 2:
                await asyncio.sleep(0.001)
            async with news:
                news.notify()
                # It was notified, and is cancelled before it could go on: the second gets the news.
                first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await second is True
            assert held == [True, True]
            assert news.stats() == Condition().stats()

        asyncio.run(asyncio.wait_for(main(), 60))


class TestBarriers:
    def test_tasks_meet(self) -> None:
        async def main() -> None:
            calls: list[int] = []
            barrier = Barrier(None, 3, action=lambda: calls.append(1))
            for _ in range(5):
                assert sorted(await asyncio.gather(*(barrier.wait_async() for _ in range(3)))) == [0, 1, 2]
            assert len(calls) == 5

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_timeout_breaks_it_for_all(self) -> None:
        async def main() -> None:
            barrier = Barrier(None, 3)
            other = asyncio.create_task(barrier.wait_async())
            await asleep(barrier)
            with pytest.raises(BrokenBarrierError, match=r"waited for too long, 0\.01 s"):
                await barrier.wait_async(timeout=0.01)
            with pytest.raises(BrokenBarrierError, match="waited for too long"):
                await other
            barrier.reset()
            assert not barrier.broken

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_who_is_cancelled_breaks_it(self) -> None:
        async def main() -> None:
            barrier = Barrier(None, 2)
            task = asyncio.create_task(barrier.wait_async())
            await asleep(barrier)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (barrier.broken, barrier.n_waiting) == (True, 0)

        asyncio.run(asyncio.wait_for(main(), 60))


class TestSeveral:
    def test_those_that_are_ready(self) -> None:
        async def main() -> None:
            event, lock, semaphore = Event(), Lock(), Semaphore(value=0)
            assert await wait_async([event, lock, semaphore]) == [lock]
            lock.acquire()
            assert await wait_async([event, lock, semaphore], timeout=0) == []
            assert await wait_async([event, lock, semaphore], timeout=0.01) == []
            task = asyncio.create_task(wait_async([event, lock, semaphore]))
            await asleep(semaphore)
            semaphore.release()
            assert await task == [semaphore]
            assert (semaphore.value, lock.locked(), event.stats().waiting) == (1, True, 0)

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_one_that_is_closed_meanwhile_ends_it(self) -> None:
        async def main() -> None:
            event, other = Event(), Event()
            task = asyncio.create_task(wait_async([event, other]))
            await asleep(other)
            other.close()
            with pytest.raises(ValueError, match="closed"):
                await task

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_what_cannot_be_waited_for_is_named(self) -> None:
        with pytest.raises(TypeError, match="cannot wait for a Counter"):
            asyncio.run(wait_async([Counter()]))
