"""Producers and workers killed with SIGKILL, stopped, or gone without a word: the others go on, and no job is lost."""

from __future__ import annotations

import os
import random
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from isolated import until
from workers import Worker, workers

from samemap import Empty, Full, LeaseLost, Queue, ShutDown

#: Seconds. It is 0.05 on an idle machine; how long it really takes is for the benchmarks.
SOON = 1.0
LARGE = 50_000

MAKE = f"import asyncio; import numpy as np; jobs = Queue('jobs', maxsize=4, max_bytes={1 << 20})"

#: How another one may wait for a job, and what it then gets.
WAITS = {
    "get": ("jobs.get()", "job"),
    "get_many": ("jobs.get_many(9)", ["job"]),
    "lease": ("(job := jobs.lease()).value, job.attempt, job.done()", ("job", 2, None)),
    "get_async": ("asyncio.run(jobs.get_async())", "job"),
    "wait": ("wait([jobs]) == [jobs]", True),
    "loop": ("next(iter(jobs))", "job"),
}
each_wait = pytest.mark.parametrize(("wait", "got"), WAITS.values(), ids=WAITS)


class TestLeases:
    @each_wait
    def test_who_waits_gets_the_job_of_the_dead(self, wait: str, got: object) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(2, MAKE) as (holder, waiter):
            jobs.put("job")
            holder.do("job = jobs.lease()")
            waiter.wait_in(wait, jobs)
            assert not waiter.answers(0.06)
            killed = holder.kill()
            assert waiter.answer() == got
            assert time.monotonic() - killed < SOON

    def test_who_comes_after_the_death_gets_it_too(self) -> None:
        with Queue("jobs", maxsize=4) as jobs, workers(1, "jobs = Queue('jobs')") as (holder,):
            jobs.put("job")
            holder.do("job = jobs.lease()")
            holder.killed()
            with jobs.lease(60) as job:
                assert (job.value, job.attempt) == ("job", 2)
            stats = jobs.stats()
            assert (stats.depth, stats.leased, stats.done, stats.returned) == (0, 0, 1, 1)

    @pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "leave", "close"])
    def test_who_ends_otherwise_keeps_nothing_either(self, end: str) -> None:
        with Queue("jobs") as jobs, workers(1, "import os, sys; jobs = Queue('jobs')") as (holder,):
            jobs.put("job")
            holder.do("job = jobs.lease()")
            if end == "close":
                holder.do("jobs.close(); del job; jobs = None")
            elif end == "leave":
                holder.leave()
            else:
                holder.tell(end)
                if end == "sys.exit()":
                    holder.answers(30)
                    holder.leave()
                assert holder.ends()
            with jobs.lease(60) as job:
                assert (job.value, job.attempt) == ("job", 2)

    def test_a_stopped_one_lives_until_it_is_killed(self) -> None:
        with Queue("jobs") as jobs, workers(2, "jobs = Queue('jobs')") as (holder, waiter):
            jobs.put("job")
            holder.do("job = jobs.lease()")
            holder.stop()
            with pytest.raises(Empty):
                jobs.get(timeout=0.2)
            waiter.wait_in("jobs.get()", jobs)
            assert not waiter.answers(0.06)
            killed = holder.kill()
            assert waiter.answer() == "job"
            assert time.monotonic() - killed < SOON

    def test_or_until_its_lease_ends(self) -> None:
        with Queue("jobs") as jobs, workers(1, "jobs = Queue('jobs')") as (holder,):
            jobs.put("job")
            holder.do("job = jobs.lease(lease_time=0.3)")
            holder.stop()
            with jobs.lease(60) as job:
                assert (job.value, job.attempt) == ("job", 2)
            holder.resume()
            with pytest.raises(LeaseLost):
                holder.do("job.done()")
            assert holder.do("job.state") == "lost"
            assert jobs.stats().done == 1

    def test_a_job_that_kills_each_worker_is_a_dead_letter(self) -> None:
        make = "jobs = Queue('jobs')"
        with Queue("jobs", max_attempts=3) as jobs:
            jobs.put("deadly")
            for attempt in (1, 2, 3):
                with workers(1, make) as (worker,):
                    assert worker.do("(job := jobs.lease(60)).value, job.attempt") == ("deadly", attempt)
                    worker.killed()
            # Who waits looks after the dead.
            with pytest.raises(Empty):
                jobs.get(timeout=0.5)
            with workers(1, make) as (other,):
                assert other.do("[(letter.value, letter.attempt) for letter in jobs.dead_letters()]") == [("deadly", 3)]
                assert other.do("jobs.dead_letters()[0].replay()") is True
            assert jobs.get(timeout=60) == "deadly"

    def test_of_many_only_those_of_the_dead_come_back(self) -> None:
        with Queue("jobs") as jobs, workers(4, "jobs = Queue('jobs')") as some:
            jobs.put_many(range(40))
            for worker in some:
                worker.do("leases = [jobs.lease() for _ in range(10)]")
            had = {worker.pid: worker.do("[job.value for job in leases]") for worker in some}
            dead, living = some[::2], some[1::2]
            for worker in dead:
                worker.killed()
            back: list[int] = []
            while len(back) < 20:
                back += jobs.get_many(20, 60)
            assert sorted(back) == sorted(n for worker in dead for n in had[worker.pid])
            assert jobs.stats().leased == 20
            for worker in living:
                worker.do("[job.done() for job in leases]")
            assert (jobs.stats().leased, jobs.stats().done) == (0, 40)
            with pytest.raises(Empty):
                jobs.get_nowait()


class TestWaiting:
    @each_wait
    def test_those_that_die_asleep_take_nothing_with_them(self, wait: str, got: object) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(3, MAKE) as (dead, stopped, living):
            for worker in (dead, stopped, living):
                worker.wait_in(wait, jobs)
            dead.killed()
            stopped.stop()
            # Whoever it wakes.
            jobs.put("job")
            expected = str(got).replace("2", "1")
            assert str(living.answer(SOON)) == expected
            stopped.resume()
            if jobs.empty():
                jobs.put("job")
            assert str(stopped.answer()) == expected

    def test_those_that_die_waiting_for_room_leave_no_trace(self) -> None:
        with Queue("jobs", maxsize=1) as jobs, workers(2, "jobs = Queue('jobs')") as (dead, living):
            jobs.put("first")
            for worker, word in ((dead, "dead"), (living, "living")):
                worker.wait_in(f"jobs.put('{word}')", jobs)
            dead.killed()
            assert jobs.get() == "first"
            living.answer(SOON)
            assert jobs.get() == "living"
            assert (jobs.qsize(), jobs.stats().puts) == (0, 2)

    def test_those_that_die_joining_neither(self) -> None:
        with Queue("jobs") as jobs, workers(2, "jobs = Queue('jobs')") as (dead, living):
            jobs.put(1)
            for worker in (dead, living):
                worker.wait_in("jobs.join(60)", jobs)
            dead.killed()
            with jobs.lease():
                pass
            assert living.answer() is True


class TestRoom:
    def test_that_a_dead_one_s_views_kept_comes_back(self) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(2, MAKE) as (holder, putter):
            putter.do("image = np.zeros(100_000); jobs.put(image)")
            holder.do("view = jobs.get()")
            assert jobs.stats().held == 1
            with pytest.raises(Full):
                putter.do("jobs.put(image, timeout=0.1)")
            putter.wait_in("jobs.put(image)", jobs)
            killed = holder.kill()
            putter.answer()
            assert time.monotonic() - killed < SOON
            assert jobs.get().shape == (100_000,)
            assert (jobs.stats().held, jobs.stats().free_bytes) == (0, jobs.max_bytes)

    def test_a_stopped_one_keeps_its_own_and_no_more(self) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(1, MAKE) as (holder,):
            jobs.put(bytes(LARGE))
            holder.do(f"jobs.put(np.full({LARGE} // 8, 7.0)); jobs.get(); view = jobs.get()")
            holder.stop()
            for n in range(100):
                jobs.put(b"%d" % n * LARGE, timeout=10)
                assert jobs.get(timeout=10) == b"%d" % n * LARGE
            holder.resume()
            assert holder.do("float(view.min()), float(view.max())") == (7.0, 7.0)


#: Messages that say who sent them, which of his they are, and whether they are whole.
HEAD = struct.Struct("<QQI")
PRODUCE = """
import random, struct, zlib
HEAD = struct.Struct('<QQI')

def go(who):
    chance, n = random.Random(who), 0
    while True:
        body = bytes([n % 251]) * chance.choice([0, 10, 100, 200, 5000, 60_000])
        jobs.put(HEAD.pack(who, n, zlib.crc32(body)) + body)
        n += 1
"""


def check(job: bytes, last: dict[int, int]) -> None:
    """Raise if a message is torn, or there twice, or one before it is missing."""
    who, n, crc = HEAD.unpack(job[: HEAD.size])
    assert zlib.crc32(job[HEAD.size :]) == crc, f"job {n} of {who} is torn"
    assert n == last.get(who, -1) + 1, f"job {n} of {who} after {last.get(who)}"
    last[who] = n


class TestProducers:
    def test_that_die_in_a_put_tear_nothing_and_keep_no_room(self) -> None:
        chance = random.Random(3)
        make = f"jobs = Queue.open('jobs')\n{PRODUCE}"
        with Queue("jobs", codec="bytes", maxsize=8, max_bytes=1 << 18) as jobs:
            last: dict[int, int] = {}
            for turn in range(40):
                with workers(2, make) as some:
                    for me, worker in enumerate(some):
                        worker.tell(f"go({2 * turn + me})")
                    for me in range(2):
                        check(jobs.get(timeout=60), last)
                        ends = time.monotonic() + 0.02 * chance.random()
                        while time.monotonic() < ends:
                            check(jobs.get(timeout=60), last)
                        some[me].killed()
            while True:
                try:
                    check(jobs.get(timeout=0.2), last)
                except Empty:
                    break
            assert len(last) >= 40
            stats = jobs.stats()
            assert (stats.depth, stats.leased, stats.held, stats.dead) == (0, 0, 0, 0)
            # All the room is there again, in one piece.
            for n in range(8):
                jobs.put(b"%d" % n, timeout=10)
            assert jobs.full()
            assert jobs.get_many(8) == [b"%d" % n for n in range(8)]
            jobs.put(bytes(jobs.max_bytes), timeout=10)
            assert len(jobs.get()) == jobs.max_bytes

    def test_and_workers_that_are_stopped_anywhere_hold_nobody_up(self) -> None:
        chance = random.Random(4)
        take = "\ndef take():\n    while True:\n        with jobs.lease() as job: len(job.value)\n"
        make = f"jobs = Queue.open('jobs')\n{PRODUCE}{take}"
        with Queue("jobs", codec="bytes", maxsize=16, max_bytes=1 << 20) as jobs, workers(4, make) as some:
            for me, worker in enumerate(some):
                worker.tell(f"go({me})" if me < 2 else "take()")
            for _ in range(100):
                stopped = some[chance.randrange(4)]
                time.sleep(0.002 * chance.random())
                stopped.stop()
                # Whatever it was at: others put and get.
                for _ in range(5):
                    jobs.put(bytes(1000), timeout=10)
                    jobs.get(timeout=10)
                stopped.resume()
                assert not any(worker.answers(0) for worker in some), [w.answer() for w in some if w.answers(0)]

    def test_who_only_reads_sees_what_the_dead_had(self) -> None:
        with Queue("jobs") as jobs, workers(2, "jobs = Queue('jobs')") as (dead, living):
            jobs.put_many("abc")
            for worker in (dead, living):
                worker.do("job = jobs.lease()")
            with Queue.open("jobs", mode="r") as monitor:
                assert (monitor.stats().leased, monitor.stats().orphaned) == (2, 0)
                dead.killed()
                # Nobody has looked after it yet.
                assert (monitor.stats().leased, monitor.stats().orphaned, monitor.qsize()) == (1, 1, 1)
                found = {who.participant.pid: who for who in monitor.workers() if who.participant}
                assert ([lease.seq for lease in found[dead.pid].orphaned], found[dead.pid].leases) == ([1], ())
                assert ([lease.seq for lease in found[living.pid].leases], found[living.pid].orphaned) == ([2], ())
                # Who takes a job does.
                until(lambda: (jobs.lease(60).give_back(), monitor.stats().orphaned == 0)[1], "the job of the dead one")
                assert (monitor.stats().leased, monitor.qsize()) == (1, 2)
                assert [who.orphaned for who in monitor.workers()] == [()] * len(monitor.workers())

    def test_dead_ones_are_told_of(self) -> None:
        with Queue("jobs") as jobs, workers(1, "jobs = Queue('jobs')") as (worker,):
            worker.do("jobs.put_many('abc'); job = jobs.lease()")
            worker.killed()
            (found,) = jobs.workers()
            assert found.participant is not None
            assert (found.participant.pid, found.participant.alive) == (worker.pid, False)
            assert (found.puts, found.gets, found.leases) == (3, 1, ())
            assert [lease.seq for lease in found.orphaned] == [1]
            got: list[str] = []
            while len(got) < 3:
                got += jobs.get_many(9, 60)
            assert sorted(got) == ["a", "b", "c"]
            # Its place goes to the next, and the sums go on.
            with Worker("jobs = Queue('jobs'); jobs.put('d')") as another:
                stats = jobs.stats()
                assert (stats.puts, stats.gets, stats.returned, stats.depth) == (4, 4, 1, 1)
                alive = [who.participant.pid for who in jobs.workers() if who.participant and who.participant.alive]
                assert sorted(alive) == sorted([os.getpid(), another.pid])


#: What producers and consumers of many small jobs do; a job is the number of its producer, and its own.
MANY = """
import os, random, struct, time
def put_all(me, count, stop="/nowhere"):
    chance, n = random.Random(me), 0
    while n < count and not os.path.exists(stop):
        some = [struct.pack("<QQ", me, n + each) for each in range(min(chance.randrange(1, 200), count - n))]
        n += jobs.put_many(some, 60)
def get_all(path, most):
    # What it has said is in the file, whenever it is killed.
    with open(path, "ab", buffering=0) as told:
        try:
            while True:
                told.write(b"".join(jobs.get_many(most)))
        except ShutDown:
            pass
"""


def numbers(path: Path) -> list[tuple[int, int]]:
    return list(struct.iter_unpack("<QQ", path.read_bytes()))


class TestMany:
    @pytest.mark.parametrize(("maxsize", "most"), [(3, 1000), (100, 63), (4096, 1), (4096, 1000)])
    def test_small_ones_go_to_one_each_in_order(self, maxsize: int, most: int, tmp_path: Path) -> None:
        make = f"jobs = Queue.open('jobs')\n{MANY}"
        files = [tmp_path / str(n) for n in range(2)]
        with Queue("jobs", codec="bytes", maxsize=maxsize) as jobs, workers(4, make) as some:
            for me, file in enumerate(files):
                some[me].tell(f"put_all({me}, 20_000)")
                some[2 + me].tell(f"get_all({str(file)!r}, {most})")
            assert [worker.answer() for worker in some[:2]] == [None, None]
            jobs.shutdown()
            assert [worker.answer() for worker in some[2:]] == [None, None]
            got = [numbers(file) for file in files]
            for producer in range(2):
                for each in got:
                    own = [n for who, n in each if who == producer]
                    assert own == sorted(own)
            assert sorted(got[0] + got[1]) == [(me, n) for me in range(2) for n in range(20_000)]
            stats = jobs.stats()
            assert (stats.puts, stats.gets, stats.depth, stats.leased) == (40_000, 40_000, 0, 0)
            assert (stats.returned, stats.dead, stats.held) == (0, 0, 0)

    @pytest.mark.parametrize("immediate", [False, True])
    def test_none_is_put_behind_one_that_came_too_late(self, immediate: bool) -> None:
        chance = random.Random(6)
        make = f"jobs = Queue.open('jobs')\n{MANY}"
        for _ in range(20):
            with Queue("jobs", codec="bytes", maxsize=10_000) as jobs, workers(1, make) as (producer,):
                producer.tell("put_all(0, 10_000)")
                until(lambda jobs=jobs: jobs.stats().puts > 0, "some to be put")
                time.sleep(0.0005 * chance.random())
                jobs.shutdown(immediate)
                with suppress(ShutDown):
                    producer.answer()
                got: list[bytes] = []
                with suppress(Empty, ShutDown):
                    got = jobs.get_many(10_000, 0)
                assert got == ([] if immediate else [struct.pack("<QQ", 0, n) for n in range(len(got))])
                stats = jobs.stats()
                assert (stats.depth, stats.leased, stats.held) == (0, 0, 0)
                assert immediate or stats.puts == len(got)
                jobs.unlink()

    def test_who_is_killed_keeps_none_but_what_it_had_got(self, tmp_path: Path) -> None:
        chance, most, kills = random.Random(5), 100, 15
        make = f"jobs = Queue.open('jobs')\n{MANY}"
        told, stop = tmp_path / "told", tmp_path / "stop"
        with Queue("jobs", codec="bytes") as jobs, workers(2, make) as (producer, consumer):
            producer.tell(f"put_all(0, 10**9, {str(stop)!r})")
            consumer.tell(f"get_all({str(told)!r}, {most})")
            for _ in range(kills):
                with workers(1, make) as (victim,):
                    victim.tell(f"get_all({str(told)!r}, {most})")
                    time.sleep(0.01 * chance.random())
                    victim.killed()
                # As many as there are do not matter, and have to be counted.
                producer.stop()
                time.sleep(0.01)
                producer.resume()
            stop.touch()
            assert producer.answer() is None
            # The one that is left looks after the dead while it waits.
            until(lambda: (stats := jobs.stats()).depth + stats.leased + stats.orphaned == 0, "the last job")
            jobs.shutdown()
            assert consumer.answer() is None
            got = [n for _, n in numbers(told)]
            stats = jobs.stats()
            assert (stats.depth, stats.leased, stats.orphaned, stats.held, stats.dead) == (0, 0, 0, 0, 0)
            assert len(got) == len(set(got))
            # Who died between getting some and saying so had got them.
            assert stats.puts - kills * most <= len(got) <= stats.puts


class TestLoans:
    """Producers that fill jobs in place."""

    LEND = f"loan = jobs.loan(shape={LARGE}, dtype='u1'); frame = loan.__enter__(); frame[:] = 7"

    def test_what_a_dead_one_was_filling_is_free(self) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(1, MAKE) as (producer,):
            before = jobs.stats().free_bytes
            producer.do(self.LEND)
            assert jobs.stats().free_bytes < before
            assert jobs.empty()
            producer.killed()
            with pytest.raises(Empty):
                jobs.get(timeout=0.1)
            assert jobs.stats().free_bytes == before

    def test_what_it_has_put_is_got_and_then_free(self) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(2, MAKE) as (producer, worker):
            before = jobs.stats().free_bytes
            producer.do(self.LEND + "; loan.__exit__(None, None, None)")
            worker.do("job = jobs.lease()")
            worker.killed()
            with jobs.lease(60) as job:
                assert ((job.value == 7).all(), job.attempt) == (True, 2)
            del job
            assert jobs.stats().free_bytes < before, "its producer sees it"
            producer.killed()
            with pytest.raises(Empty):
                jobs.get(timeout=0.1)
            assert jobs.stats().free_bytes == before

    def test_nobody_waits_for_what_is_lent_when_it_is_shut(self) -> None:
        with Queue("jobs", maxsize=4, max_bytes=1 << 20) as jobs, workers(1, MAKE) as (producer,):
            producer.do(self.LEND)
            jobs.shutdown()
            with pytest.raises(ShutDown):
                jobs.get(timeout=60)
            with pytest.raises(ShutDown):
                producer.do("loan.__exit__(None, None, None)")
