"""Producers and workers killed at random: every job is accounted for.

It takes some seconds; with SAMEMAP_MINUTE=1 in the environment more than a minute, and ten million jobs.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from isolated import until
from workers import Worker

from samemap import Counter, Empty, Queue

MINUTE = os.environ.get("SAMEMAP_MINUTE") == "1"
JOBS = 10_000_000 if MINUTE else 200_000
PRODUCERS, WORKERS = 2, 3

#: A producer goes on where its predecessor died: before that one counted its last job, which is then there twice.
PRODUCE = """
import random, zlib
jobs = Queue.open('jobs')

def go(me, total):
    chance = random.Random()
    with Counter.open(f'sent-{me}') as sent:
        n = sent.value
        while n < total:
            body = bytes([n % 251]) * chance.choice(SIZES)
            jobs.put((me, n, zlib.crc32(body), body))
            n = sent.add()
"""

#: A worker says what it has done before it acknowledges the job.
WORK = """
import zlib
jobs, results = Queue.open('jobs'), Queue.open('results')

def check(job):
    me, n, crc, body = job
    assert zlib.crc32(body) == crc, f'job {n} of {me} is torn'
    return me, n

def lease():
    while True:
        try:
            job = jobs.lease()
        except ShutDown:
            return
        with job:
            results.put(check(job.value))

def get():
    for job in jobs:
        results.put(check(job))
"""


class Crowd:
    """Processes that play their parts, and are killed at it; each dead one is followed by another."""

    def __init__(self, way: str, total: int, sizes: list[int]) -> None:
        produce = PRODUCE.replace("SIZES", repr(sizes))
        self.parts = [(produce, f"go({me}, {total})") for me in range(PRODUCERS)] + [(WORK, f"{way}()")] * WORKERS
        self.players = [self.player(at) for at in range(len(self.parts))]
        #: Deaths of producers, and of workers.
        self.deaths = [0, 0]

    def player(self, at: int) -> Worker:
        setup, order = self.parts[at]
        player = Worker(setup)
        player.tell(order)
        return player

    def kill(self, at: int) -> None:
        self.check()
        if not self.players[at].busy:
            # A producer that has put all that it had to.
            return
        self.players[at].killed()
        self.players[at].end()
        self.deaths[at >= PRODUCERS] += 1
        self.players[at] = self.player(at)

    def check(self) -> None:
        """Raise what a worker has found to be wrong."""
        for player in self.players:
            if player.busy and player.answers(0):
                player.answer()

    def end(self) -> None:
        for player in self.players:
            player.end()


@pytest.mark.timeout(1200 if MINUTE else 120)
@pytest.mark.parametrize("way", ["lease", "get"])
@pytest.mark.parametrize("sizes", [[8], [0, 10, 300, 3000]], ids=["small", "mixed"])
def test_every_job_is_accounted_for(way: str, sizes: list[int]) -> None:
    chance = random.Random(11)
    total = (JOBS if len(sizes) == 1 else JOBS // 2) // PRODUCERS
    done = [bytearray(total) for _ in range(PRODUCERS)]
    got = 0
    with (
        Queue("jobs", maxsize=500, max_bytes=1 << 18) as jobs,
        Queue("results", maxsize=2000) as results,
        Counter("sent-0") as first,
        Counter("sent-1") as second,
    ):
        crowd = Crowd(way, total, sizes)

        def collect(timeout: float) -> int:
            try:
                some = results.get_many(2000, timeout)
            except Empty:
                return 0
            for me, n in some:
                done[me][n] += 1
            return len(some)

        try:
            next_death = time.monotonic()
            while first.value < total or second.value < total or not jobs.empty():
                got += collect(0.01)
                crowd.check()
                if time.monotonic() >= next_death:
                    crowd.kill(chance.randrange(PRODUCERS + WORKERS))
                    next_death = time.monotonic() + 0.01 * chance.random()
            # From here on nobody dies: what the dead had is done by the living.
            ends = time.monotonic() + 60
            while (stats := jobs.stats()).depth or stats.leased:
                got += collect(0.01)
                crowd.check()
                assert time.monotonic() < ends, stats
            jobs.shutdown()
            until(lambda: all(player.answers(0) or not player.busy for player in crowd.players), "the end of all")
            crowd.check()
        finally:
            crowd.end()
        while more := collect(0.1):
            got += more
        producers, workers = crowd.deaths
        assert producers + workers > 10, crowd.deaths
        lost = sum(column.count(0) for column in done)
        twice = got - (PRODUCERS * total - lost)
        if way == "lease":
            # A worker that died between the two has done what another did again.
            assert lost == 0, f"{lost} jobs were lost, with {crowd.deaths} deaths"
            assert twice <= producers + workers, f"{twice} jobs were done twice, with {crowd.deaths} deaths"
        else:
            # A job that was got is the worker's, and goes with it.
            assert lost <= workers, f"{lost} jobs were lost, with {crowd.deaths} deaths"
            assert twice <= producers, f"{twice} jobs were there twice, with {crowd.deaths} deaths"
        stats = jobs.stats()
        assert (stats.depth, stats.leased, stats.held, stats.dead) == (0, 0, 0, 0)
        # Each death may have been between the job and its count.
        assert PRODUCERS * total - producers <= stats.puts <= PRODUCERS * total + producers
        # All the room is there again.
        for queue in (jobs, results):
            assert queue.stats().free_bytes == queue.max_bytes
