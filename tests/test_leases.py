"""Leases: jobs that come back unless they are acknowledged, and dead letters."""

from __future__ import annotations

import gc
import math
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from isolated import until

import samemap
from samemap import Empty, LeaseLost, Queue

LARGE = 50_000

pytestmark = pytest.mark.usefixtures("runtime_directory")


class TestAcknowledging:
    def test_at_the_end_of_the_block(self) -> None:
        with Queue() as queue:
            queue.put("hello")
            with queue.lease() as job:
                assert (job.value, job.attempt, job.state, job.expires) == ("hello", 1, "leased", None)
                stats = queue.stats()
                assert (stats.depth, stats.leased, stats.done) == (0, 1, 0)
                with pytest.raises(Empty):
                    queue.get_nowait()
            assert job.state == "done"
            stats = queue.stats()
            assert (stats.depth, stats.leased, stats.done, stats.returned) == (0, 0, 1, 0)

    def test_or_before(self) -> None:
        with Queue() as queue:
            queue.put(1)
            with queue.lease() as job:
                job.done()
                assert (job.state, queue.stats().leased) == ("done", 0)
            assert (job.state, queue.stats().done) == ("done", 1)

    def test_without_a_block(self) -> None:
        with Queue() as queue:
            queue.put(1)
            job = queue.lease_nowait()
            assert queue.stats().leased == 1
            job.done()
            assert queue.stats().done == 1

    def test_what_is_known_of_a_job(self) -> None:
        with Queue() as queue:
            before = time.time()
            queue.put_many("abc")
            after = time.time()
            jobs = [queue.lease() for _ in range(3)]
            assert [job.seq for job in jobs] == [1, 2, 3]
            for job in jobs:
                assert before - 0.1 <= job.time <= after + 0.1
                assert 0 <= job.age < 60
                assert job.value is job.value
                job.done()
                assert job.value in "abc"

    def test_a_job_cannot_travel(self) -> None:
        with Queue() as queue:
            queue.put(1)
            with queue.lease() as job, pytest.raises(TypeError):
                pickle.dumps(job)


class TestGivingBack:
    def test_when_the_block_raises(self) -> None:
        with Queue() as queue:
            queue.put_many(["first", "second"])
            with pytest.raises(KeyError, match="oops"), queue.lease() as job:
                raise KeyError("oops")
            assert (job.state, queue.qsize(), queue.stats().returned) == ("given back", 2, 1)
            # Before those that are newer.
            with queue.lease() as again:
                assert (again.value, again.attempt, again.seq) == ("first", 2, job.seq)
            with queue.lease() as other:
                assert (other.value, other.attempt) == ("second", 1)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_whatever_it_raises(self, error: type[BaseException]) -> None:
        with Queue() as queue:
            queue.put(1)
            with pytest.raises(error), queue.lease():
                raise error
            assert (queue.qsize(), queue.get()) == (1, 1)

    def test_when_asked_to(self) -> None:
        with Queue() as queue:
            queue.put(1)
            for attempt in range(1, 10):
                with queue.lease() as job:
                    assert job.attempt == attempt
                    job.give_back()
                    assert job.state == "given back"
                assert queue.qsize() == 1
            with pytest.raises(LeaseLost):
                job.done()
            assert queue.get() == 1

    def test_when_it_is_dropped(self) -> None:
        with Queue() as queue:
            queue.put(1)
            job = queue.lease()
            del job
            gc.collect()
            with queue.lease(0) as again:
                assert (again.value, again.attempt) == (1, 2)

    def test_who_waits_gets_it(self) -> None:
        with Queue() as queue:
            queue.put(1)
            job = queue.lease()
            came: list[Any] = []
            getter = threading.Thread(target=lambda: came.append(queue.lease(60)))
            getter.start()
            until(lambda: queue.stats().waiting == 1, "somebody who waits")
            job.give_back()
            getter.join(60)
            assert [(again.value, again.attempt) for again in came] == [(1, 2)]

    def test_it_ends_a_wait_for_several(self) -> None:
        with Queue() as queue:
            queue.put(1)
            job = queue.lease()
            assert samemap.wait([queue], 0.01) == []
            threading.Timer(0.05, job.give_back).start()
            assert samemap.wait([queue], 60) == [queue]
            assert queue.get() == 1

    def test_in_a_queue_that_is_full_meanwhile(self) -> None:
        with Queue(maxsize=2) as queue:
            queue.put(1)
            job = queue.lease()
            # However many it takes meanwhile, nothing is lost.
            while True:
                try:
                    queue.put_nowait("more")
                except samemap.Full:
                    break
            job.give_back()
            assert queue.get() == 1
            assert set(queue.get_many(9)) == {"more"}

    def test_who_only_reads_is_told_the_same(self) -> None:
        with Queue("jobs", maxsize=4) as queue, Queue.open("jobs", mode="r") as monitor:
            queue.put_many(range(4))
            jobs = [queue.lease() for _ in range(4)]
            queue.put_many(range(2))
            for job in jobs:
                job.give_back()
            # Those that came back wait beside the others, and take nobody's room.
            assert (monitor.qsize(), monitor.full(), queue.full()) == (6, False, False)
            queue.put_many(range(2))
            assert (monitor.qsize(), monitor.full(), queue.full()) == (8, True, True)


class TestDeadLetters:
    def test_after_so_many_attempts(self) -> None:
        with Queue(max_attempts=2) as queue:
            queue.put_many(["bad", "good"])
            for attempt in (1, 2):
                with pytest.raises(ZeroDivisionError), queue.lease() as job:  # noqa: PT012 - the block is what is tested
                    assert (job.value, job.attempt) == ("bad", attempt)
                    raise ZeroDivisionError
            assert queue.get() == "good"
            with pytest.raises(Empty):
                queue.get_nowait()
            assert (queue.stats().dead, queue.qsize()) == (1, 0)
            (letter,) = queue.dead_letters()
            assert (letter.value, letter.attempt, letter.seq) == ("bad", 2, job.seq)
            assert abs(letter.time - time.time()) < 60

    def test_without_a_limit_there_are_none(self) -> None:
        with Queue() as queue:
            queue.put(1)
            for _ in range(300):
                queue.lease(0).give_back()
            assert (queue.get(), queue.stats().dead) == (1, 0)

    def test_may_be_buried_at_once(self) -> None:
        with Queue() as queue:
            queue.put("hopeless")
            with queue.lease() as job:
                job.bury()
            assert [(letter.value, letter.attempt) for letter in queue.dead_letters()] == [("hopeless", 1)]
            assert queue.empty()

    def test_may_be_replayed_once(self) -> None:
        with Queue(max_attempts=1) as queue:
            queue.put("again")
            queue.lease().give_back()
            (letter,) = queue.dead_letters()
            assert letter.replay() is True
            assert letter.replay() is False
            assert letter.discard() is False
            assert (queue.dead_letters(), queue.stats().dead, queue.qsize()) == ([], 0, 1)
            with queue.lease() as job:
                assert job.value == "again"
            assert queue.stats().done == 1

    def test_may_be_discarded_once(self) -> None:
        with Queue(max_attempts=1, max_bytes=1 << 20) as queue:
            queue.put(np.zeros(LARGE))
            queue.lease().give_back()
            (letter,), (same,) = queue.dead_letters(), queue.dead_letters()
            assert queue.stats().free_bytes < queue.max_bytes
            assert letter.discard() is True
            assert (letter.discard(), letter.replay(), same.discard(), same.replay()) == (False,) * 4
            assert (queue.stats().dead, queue.stats().free_bytes, queue.qsize()) == (0, queue.max_bytes, 0)

    def test_are_copies(self) -> None:
        with Queue(max_attempts=1) as queue:
            queue.put(np.arange(LARGE))
            queue.lease().give_back()
            (letter,) = queue.dead_letters()
            value = letter.value
            letter.discard()
            for _ in range(20):
                queue.put(np.zeros(LARGE))
                queue.get()
            assert value.sum() == LARGE * (LARGE - 1) // 2

    def test_the_oldest_is_the_first(self) -> None:
        with Queue(max_attempts=1) as queue:
            queue.put_many(range(5))
            for job in [queue.lease() for _ in range(5)]:
                job.give_back()
            letters = queue.dead_letters()
            assert [letter.value for letter in letters] == [0, 1, 2, 3, 4]
            assert all(letter.replay() for letter in letters)
            assert queue.get_many(9) == [0, 1, 2, 3, 4]

    def test_survive_their_queue(self) -> None:
        with Queue("q", max_attempts=1) as queue:
            queue.put("later")
            queue.lease().give_back()
        with Queue.open("q") as again:
            assert [letter.value for letter in again.dead_letters()] == ["later"]


class TestLeaseTime:
    @pytest.mark.parametrize("seconds", [-1, math.nan])
    def test_what_is_no_time_is_refused(self, seconds: float) -> None:
        with Queue() as queue:
            queue.put(1)
            with pytest.raises(ValueError, match="time"):
                queue.lease(lease_time=seconds)
            with queue.lease() as job, pytest.raises(ValueError, match=r"."):
                job.extend(seconds)
            assert queue.stats().done == 1

    def test_who_is_too_late_has_lost_it(self) -> None:
        with Queue() as queue:
            queue.put("slow")
            job = queue.lease(lease_time=0.05)
            assert job.expires is not None
            assert job.expires <= 0.05
            # It needs nobody to give it back.
            again = queue.lease(60)
            assert (again.value, again.attempt, again.seq) == ("slow", 2, job.seq)
            uses: list[Callable[[], object]] = [job.done, job.give_back, job.bury, lambda: job.extend(60)]
            for use in uses:
                with pytest.raises(LeaseLost):
                    use()
            assert job.state == "lost"
            # It has done the other no harm, and still has what it was given.
            assert (again.state, job.value) == ("leased", "slow")
            again.done()
            assert queue.stats().done == 1

    def test_the_end_of_a_block_tells_of_it(self) -> None:
        with Queue() as queue:
            queue.put("slow")
            with pytest.raises(LeaseLost), queue.lease(lease_time=0.02):
                assert queue.get(timeout=60) == "slow"
            # An error of the block's own is not replaced.
            queue.put("slow")
            with pytest.raises(KeyError), queue.lease(lease_time=0.02):  # noqa: PT012 - the block is what is tested
                assert queue.get(timeout=60) == "slow"
                raise KeyError

    def test_who_asks_for_more_keeps_it(self) -> None:
        with Queue() as queue:
            queue.put(1)
            with queue.lease(lease_time=10) as job:
                assert 9 < (job.expires or 0) <= 10
                job.extend(60)
                assert 50 < (job.expires or 0) <= 60
                job.extend(0.05)
                assert (job.expires or 0) <= 0.05
                job.extend(60)
                with pytest.raises(Empty):
                    queue.get(timeout=0.15)
            assert queue.stats().done == 1

    def test_who_waits_gets_it_when_it_ends(self) -> None:
        with Queue() as queue:
            queue.put(1)
            job = queue.lease(lease_time=0.2)
            assert samemap.wait([queue], 0.01) == []
            assert samemap.wait([queue], 60) == [queue]
            assert queue.get(timeout=60) == 1
            with pytest.raises(LeaseLost):
                job.done()

    def test_too_late_too_often_is_a_dead_letter(self) -> None:
        with Queue(max_attempts=2) as queue:
            queue.put("slow")
            kept = [queue.lease(60, lease_time=0.02) for _ in range(2)]
            with pytest.raises(Empty):
                queue.get(timeout=0.2)
            assert [(letter.value, letter.attempt) for letter in queue.dead_letters()] == [("slow", 2)]
            for job in kept:
                with pytest.raises(LeaseLost):
                    job.done()


class TestViews:
    def test_outlive_their_job(self) -> None:
        with Queue(max_bytes=1 << 20) as queue:
            queue.put({"image": np.arange(LARGE)})
            with queue.lease() as job:
                image = job.value["image"]
            assert not image.flags.writeable
            del job
            gc.collect()
            stats = queue.stats()
            assert (stats.leased, stats.held, stats.done) == (0, 1, 1)
            # Others use all the room that there is.
            for n in range(50):
                queue.put(np.full(LARGE, n))
                assert queue.get().max() == n
            assert image.tolist() == list(range(LARGE))
            del image
            gc.collect()
            stats = queue.stats()
            assert (stats.held, stats.free_bytes) == (0, queue.max_bytes)

    @pytest.mark.parametrize("end", ["give_back", "bury"])
    def test_of_one_that_was_not_done(self, end: str) -> None:
        with Queue(max_bytes=1 << 20) as queue:
            queue.put(np.arange(LARGE))
            job = queue.lease()
            image = job.value[5:]
            getattr(job, end)()
            del job
            if end == "bury":
                (letter,) = queue.dead_letters()
                assert letter.discard()
            else:
                queue.get()
            gc.collect()
            for n in range(50):
                queue.put(np.full(LARGE, n))
                assert queue.get().max() == n
            assert image.tolist() == list(range(5, LARGE))

    def test_of_one_that_came_too_late(self) -> None:
        with Queue(max_bytes=1 << 20) as queue:
            queue.put(np.arange(LARGE))
            job = queue.lease(lease_time=0.02)
            image = job.value
            assert queue.get(timeout=60).sum() == image.sum()
            for n in range(50):
                queue.put(np.full(LARGE, n))
                assert queue.get().max() == n
            assert image.tolist() == list(range(LARGE))
            with pytest.raises(LeaseLost):
                job.done()

    def test_a_job_that_is_never_looked_at_is_never_decoded(self) -> None:
        with Queue() as queue:
            queue.put(Bomb())
            with queue.lease():
                pass
            assert queue.stats().done == 1

    def test_jobs_outlive_their_queue(self) -> None:
        with Queue("q") as other:
            queue = Queue("q")
            queue.put(np.arange(LARGE))
            job = queue.lease()
            image = job.value
            queue.close()
            assert image.sum() == LARGE * (LARGE - 1) // 2
            del job, image, queue
            gc.collect()
            # What the handle had is not lost with it.
            assert other.get(timeout=10).sum() == LARGE * (LARGE - 1) // 2


class Bomb:
    """What raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return divmod, (1, 0)
