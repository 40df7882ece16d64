"""`Queue` in one process: what `queue.Queue` and `multiprocessing.JoinableQueue` promise, and the rest."""

from __future__ import annotations

import itertools
import math
import os
import queue as standard
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from isolated import until
from waking import is_woken

import samemap
from samemap import Empty, Event, Full, Queue, ShutDown

pytestmark = pytest.mark.usefixtures("runtime_directory")


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Let a thread do it; what it returns or raises is in the list in the end."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(work())
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


class TestPuttingAndGetting:
    def test_first_in_first_out(self) -> None:
        with Queue() as queue:
            for n in range(100):
                assert queue.put(n) is None  # type: ignore[func-returns-value] # that is what is tested
            assert (queue.qsize(), queue.empty(), queue.full()) == (100, False, False)
            assert [queue.get() for _ in range(100)] == list(range(100))
            assert (queue.qsize(), queue.empty(), queue.full()) == (0, True, False)

    def test_what_is_put_is_there_when_put_returns(self) -> None:
        with Queue() as queue:
            for n in range(1000):
                queue.put(n)
                assert queue.get_nowait() == n

    @pytest.mark.parametrize("maxsize", [1, 2, 3, 7, 100])
    def test_no_more_than_maxsize_wait(self, maxsize: int) -> None:
        with Queue(maxsize=maxsize) as queue:
            assert queue.maxsize == maxsize
            for turn in range(3):
                for n in range(maxsize):
                    assert not queue.full()
                    queue.put_nowait((turn, n))
                assert queue.full()
                assert queue.qsize() == maxsize
                for refused in (
                    lambda: queue.put_nowait("more"),
                    lambda: queue.put("more", False),
                    lambda: queue.put("more", block=False, timeout=60),
                    lambda: queue.put("more", True, 0.01),
                    lambda: queue.put("more", timeout=0),
                    lambda: queue.put_many(["more"], timeout=0),
                ):
                    with pytest.raises(Full):
                        refused()
                assert [queue.get(False) for _ in range(maxsize)] == [(turn, n) for n in range(maxsize)]
            assert queue.stats().puts == 3 * maxsize

    def test_empty_is_what_queues_and_sockets_raise(self) -> None:
        with Queue(maxsize=1) as queue:
            for kind in (standard.Empty, TimeoutError, Empty):
                for look in (
                    queue.get_nowait,
                    lambda: queue.get(False),
                    lambda: queue.get(block=False, timeout=60),
                    lambda: queue.get(True, 0.01),
                    lambda: queue.get(timeout=0),
                    lambda: queue.get_many(3, timeout=0),
                    queue.lease_nowait,
                    lambda: queue.lease(0.01),
                ):
                    with pytest.raises(kind):
                        look()
            queue.put(1)
            for refusal in (standard.Full, TimeoutError, Full):
                with pytest.raises(refusal):
                    queue.put_nowait(2)

    def test_many_at_once(self) -> None:
        with Queue(maxsize=10) as queue:
            assert queue.put_many([]) == 0
            assert queue.put_many(n for n in range(4)) == 4
            assert queue.get_many(3) == [0, 1, 2]
            assert queue.get_many(99) == [3]
            with pytest.raises(Full) as full:
                queue.put_many(itertools.count(), timeout=0.01)
            assert (full.value.published, full.value.unpublished) == (10, (10,))
            assert queue.get_many(99, 0) == list(range(10))
            assert queue.put_many(list(range(20)), timeout=0.01) == 10
            with pytest.raises(Full):
                queue.put_many([1], timeout=0.01)
            assert queue.get_many(99, 0) == list(range(10))
            with pytest.raises(Empty):
                queue.get_many(1, 0.01)

    def test_many_wait_for_room_and_for_the_first(self) -> None:
        with Queue(maxsize=3) as queue:
            putter, put = in_thread(lambda: queue.put_many(range(100), 60))
            got: list[int] = []
            while len(got) < 100:
                some = queue.get_many(7, 60)
                assert 1 <= len(some) <= 7
                got += some
            putter.join(60)
            assert (put, got) == ([100], list(range(100)))

    def test_an_iterable_that_raises_has_put_what_came_before(self) -> None:
        def some() -> Any:
            yield from (1, 2)
            raise KeyError("three")

        with Queue() as queue:
            with pytest.raises(KeyError, match="three"):
                queue.put_many(some())
            assert queue.get_many(9) == [1, 2]

    def test_threads_get_each_job_once(self) -> None:
        with Queue(maxsize=16) as queue:
            getters = [in_thread(lambda: list(queue)) for _ in range(4)]
            putters = [in_thread(partial(queue.put_many, [(me, n) for n in range(500)])) for me in range(4)]
            for putter, came in putters:
                putter.join(60)
                assert came == [500]
            queue.shutdown()
            gots = []
            for getter, came in getters:
                getter.join(60)
                gots.append(came[0])
            assert sorted(job for got in gots for job in got) == [(me, n) for me in range(4) for n in range(500)]
            # Nobody gets a producer's jobs in another order than it put them.
            for got in gots:
                for me in range(4):
                    numbers = [n for who, n in got if who == me]
                    assert numbers == sorted(numbers)


class TestTasks:
    def test_join_waits_until_each_job_is_done(self) -> None:
        with Queue() as queue:
            assert queue.join() is True
            for n in range(3):
                queue.put(n)
            assert queue.join(0) is False
            joiner, joined = in_thread(queue.join)
            for _ in range(3):
                assert not joined
                queue.get()
                assert queue.join(0.01) is False
                queue.task_done()
            joiner.join(60)
            assert joined == [True]

    def test_task_done_too_often_is_refused(self) -> None:
        with Queue() as queue:
            with pytest.raises(ValueError, match=r"task_done"):
                queue.task_done()
            queue.put(1)
            queue.get()
            queue.task_done()
            with pytest.raises(ValueError, match=r"task_done"):
                queue.task_done()
            assert queue.join(0)

    def test_a_lease_that_is_acknowledged_is_done(self) -> None:
        with Queue() as queue:
            queue.put(1)
            with queue.lease():
                assert queue.join(0.01) is False
            assert queue.join(0) is True

    def test_one_given_back_is_not(self) -> None:
        with Queue() as queue:
            queue.put(1)
            queue.lease().give_back()
            assert queue.join(0.01) is False
            queue.lease().done()
            assert queue.join(0) is True


class TestShutdown:
    def test_gets_go_on_until_it_is_empty(self) -> None:
        with Queue() as queue:
            queue.put(1)
            queue.put(2)
            assert queue.is_shut_down is False
            queue.shutdown()
            queue.shutdown()
            assert queue.is_shut_down is True
            for put in (
                lambda: queue.put(3),
                lambda: queue.put_nowait(3),
                lambda: queue.put(3, timeout=0.01),
                lambda: queue.put_many([3]),
            ):
                with pytest.raises(ShutDown):
                    put()
            assert [queue.get(), queue.get_nowait()] == [1, 2]
            for get in (queue.get, queue.get_nowait, queue.lease, queue.lease_nowait, lambda: queue.get_many(1)):
                with pytest.raises(ShutDown):
                    get()

    def test_at_once(self) -> None:
        with Queue() as queue:
            for n in range(10):
                queue.put(n)
            queue.shutdown(immediate=True)
            assert (queue.qsize(), queue.empty()) == (0, True)
            with pytest.raises(ShutDown):
                queue.get()
            assert queue.join(10) is True

    def test_after_an_orderly_one(self) -> None:
        with Queue() as queue:
            queue.put(1)
            queue.shutdown()
            queue.shutdown(immediate=True)
            with pytest.raises(ShutDown):
                queue.get(timeout=10)

    @pytest.mark.parametrize("immediate", [False, True])
    def test_it_ends_what_waits(self, immediate: bool) -> None:
        with Queue(maxsize=1) as full, Queue() as empty:
            full.put(1)
            waits: list[Callable[[], object]] = [lambda: full.put(2), empty.get, empty.lease, lambda: empty.get_many(2)]
            threads = [in_thread(wait) for wait in waits]
            until(lambda: full.stats().waiting + empty.stats().waiting == 4, "four that wait")
            full.shutdown(immediate)
            empty.shutdown(immediate)
            for thread, came in threads:
                thread.join(60)
                assert isinstance(came[0], ShutDown)

    def test_it_is_what_the_standard_library_raises(self) -> None:
        with Queue() as queue:
            queue.shutdown()
            # From Python 3.13 on.
            with pytest.raises(getattr(standard, "ShutDown", ShutDown), match="shut down"):
                queue.get()

    def test_loops_end(self) -> None:
        with Queue() as queue:
            for n in range(5):
                queue.put(n)
            queue.shutdown()
            assert list(queue) == [0, 1, 2, 3, 4]
            assert list(queue) == []

    def test_everybody_sees_it(self) -> None:
        with Queue("q") as queue, Queue.open("q") as other:
            queue.shutdown()
            assert other.is_shut_down
            assert other.stats().shut_down
            assert "shut down" in repr(other)
            with pytest.raises(ShutDown):
                other.put(1)


class TestClosing:
    def test_after_the_end(self) -> None:
        queue = Queue()
        queue.put(1)
        queue.close()
        queue.close()
        assert queue.closed
        assert "closed" in repr(queue)
        for use in (
            lambda: queue.put(2),
            lambda: queue.put_many([2]),
            queue.get,
            queue.get_nowait,
            queue.lease,
            queue.qsize,
            queue.empty,
            queue.full,
            queue.task_done,
            queue.join,
            queue.shutdown,
            queue.stats,
            queue.workers,
            queue.dead_letters,
            lambda: samemap.wait([queue], 0),
        ):
            with pytest.raises(ValueError, match="closed"):
                use()
        assert list(queue) == []

    def test_it_ends_what_waits(self) -> None:
        for which in ("full", "empty"):
            full, empty = Queue(maxsize=1), Queue()
            full.put(1)
            queue = full if which == "full" else empty
            waits: list[Callable[[], object]]
            waits = [partial(full.put, 2), full.join] if queue is full else [empty.get, empty.lease]
            threads = [in_thread(wait) for wait in waits]
            while queue.stats().waiting < 2:
                time.sleep(0.001)
            queue.close()
            for thread, came in threads:
                thread.join(60)
                assert isinstance(came[0], ValueError), came
                assert "closed" in str(came[0])

    def test_loops_end(self) -> None:
        queue = Queue()
        queue.put(1)
        reader, came = in_thread(lambda: list(queue))
        until(lambda: queue.stats().waiting == 1, "the end of its jobs")
        queue.close()
        reader.join(60)
        assert came == [[1]]

    def test_other_handles_do_not_notice(self) -> None:
        with Queue("q") as queue:
            with Queue("q") as other:
                other.put(1)
            assert queue.get() == 1


class TestWaiting:
    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_what_is_no_time_is_refused(self, timeout: float) -> None:
        with Queue(maxsize=1) as queue:
            for wait in (
                lambda: queue.get(timeout=timeout),
                lambda: queue.get_many(1, timeout),
                lambda: queue.lease(timeout),
                lambda: queue.lease(0, lease_time=timeout),
                lambda: queue.put(1, timeout=timeout),
                lambda: queue.put_many([1], timeout),
                lambda: queue.join(timeout),
            ):
                with pytest.raises(ValueError, match="time"):
                    wait()
            assert queue.empty()

    def test_who_sleeps_is_woken(self) -> None:
        with Queue(maxsize=1) as queue:
            assert is_woken(queue, queue.get, lambda: queue.put(1))
            queue.put(1)
            assert is_woken(queue, lambda: queue.put(2), queue.get)
            queue.get()
            # As many as were put.
            while True:
                try:
                    queue.task_done()
                except ValueError:
                    break

            def finish() -> None:
                queue.get()
                queue.task_done()

            def join() -> None:
                assert queue.join(60)

            queue.put(1)
            waiter, _ = in_thread(join)
            until(lambda: queue.stats().waiting == 1, "somebody who joins")
            finish()
            waiter.join(60)
            assert not waiter.is_alive()

    def test_each_job_wakes_one_and_none_is_left_asleep(self) -> None:
        with Queue() as queue:
            for _ in range(20):
                threads = [in_thread(lambda: queue.get(timeout=60)) for _ in range(8)]
                until(lambda: queue.stats().waiting == 8, "eight that wait")
                assert queue.put_many(range(8)) == 8
                for thread, _ in threads:
                    thread.join(60)
                assert sorted(came[0] for _, came in threads) == list(range(8))

    def test_a_signal_s_handler_ends_it(self) -> None:
        def ends(*_: object) -> None:
            raise InterruptedError("enough")

        before = signal.signal(signal.SIGALRM, ends)
        try:
            with Queue(maxsize=1) as queue:
                waits: list[Callable[[], object]] = [queue.get, queue.lease]
                for wait in waits:
                    signal.setitimer(signal.ITIMER_REAL, 0.05)
                    with pytest.raises(InterruptedError):
                        wait()
                queue.put(1)
                waits = [lambda: queue.put(2), queue.join]
                for wait in waits:
                    signal.setitimer(signal.ITIMER_REAL, 0.05)
                    with pytest.raises(InterruptedError):
                        wait()
                assert (queue.get(), queue.qsize()) == (1, 0)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_with_others(self) -> None:
        with Queue() as queue, Queue() as other, Event() as stop:
            things: list[Any] = [queue, stop, other]
            assert samemap.wait(things, 0.01) == []
            queue.put(1)
            assert samemap.wait(things, 10) == [queue]
            # It takes nothing.
            assert samemap.wait(things, 10) == [queue]
            assert queue.get() == 1
            other.shutdown()
            assert samemap.wait(things, 10) == [other]
            stop.set()
            assert samemap.wait(things, 10) == [stop, other]

    def test_a_job_ends_a_wait_for_several(self) -> None:
        with Queue() as queue, Event() as stop:
            things: list[Any] = [stop, queue]
            waiter, came = in_thread(lambda: samemap.wait(things, 60))
            until(lambda: queue.stats().waiting == 1, "a wait")
            queue.put(1)
            waiter.join(60)
            assert came == [[queue]]


class TestWhoIsThere:
    def test_records(self) -> None:
        with Queue("q", codec="bytes", maxsize=10) as queue:
            assert queue.stats() == queue.stats()
            before = time.time()
            queue.put(b"1234")
            queue.put(b"56")
            queue.get()
            job = queue.lease()
            stats = queue.stats()
            assert (stats.depth, stats.leased, stats.held, stats.dead) == (0, 1, 0, 0)
            assert (stats.puts, stats.gets, stats.done, stats.returned, stats.bytes) == (2, 2, 1, 0, 6)
            assert (stats.maxsize, stats.max_bytes, stats.free_bytes) == (10, queue.max_bytes, queue.max_bytes)
            assert (stats.waiting, stats.participants, stats.shut_down) == (0, 1, False)
            (worker,) = queue.workers()
            assert worker.participant is not None
            assert worker.participant.pid == os.getpid()
            assert (worker.puts, worker.gets, worker.done, worker.returned, worker.bytes) == (2, 2, 1, 0, 6)
            (lease,) = worker.leases
            assert (lease.seq, lease.attempt) == (job.seq, 1)
            assert before - 1 < lease.since < time.time() + 1
            assert [someone.role for someone in queue.participants()] == ["both"]
            job.give_back()
            stats = queue.stats()
            assert (stats.depth, stats.leased, stats.done, stats.returned) == (1, 0, 1, 1)
            assert queue.workers()[0].leases == ()

    def test_repr(self) -> None:
        with Queue("q", maxsize=5) as queue:
            queue.put(1)
            assert repr(queue) == "<samemap.Queue 'q' pickle, 1 of 5>"
        with Queue(shape=(2, 3), dtype="u1") as queue:
            assert repr(queue) == "<samemap.Queue anonymous uint8[2, 3], 0 of 4096>"
