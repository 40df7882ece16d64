"""Queues that other processes have, by whatever way they got them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import resource_sharer
from typing import Any

import pytest
import queue_children
from isolated import succeed
from kinds import KINDS, same
from workers import workers

from samemap import Event, Queue, ShutDown


class TestTravel:
    @pytest.fixture(params=["fork", "spawn", "forkserver"])
    def context(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        yield multiprocessing.get_context(request.param)
        # It hands out descriptors from a thread, which must not outlive the test.
        resource_sharer.stop(timeout=60)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
    @pytest.mark.parametrize("name", [None, "shared"])
    def test_children_get_the_same_ones(self, context: Any, name: str | None) -> None:
        messages = {kind: message for kind, (_, message) in KINDS.items()}
        with ExitStack() as ends, Event(name and "ready") as ready:
            jobs, results = (
                {
                    kind: ends.enter_context(Queue(name and f"{name}-{what}-{kind}", **(made or {"codec": "bytes"})))
                    for kind, (made, _) in KINDS.items()
                }
                for what in ("jobs", "results")
            )
            child = context.Process(target=queue_children.echo, args=(jobs, results, messages, ready))
            child.start()
            assert ready.wait(60)
            for kind, queue in jobs.items():
                queue.put(messages[kind])
            for kind, queue in results.items():
                assert same(queue.get(timeout=60), messages[kind])
            for queue in jobs.values():
                assert queue.join(60)
                (worker,) = (found for found in queue.workers() if found.gets)
                assert worker.participant is not None
                assert (worker.participant.pid, worker.done) == (child.pid, 1)
            child.join(60)
            assert child.exitcode == 0
            child.close()

    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
    def test_a_pool_of_children_works_until_it_is_shut_down(self, context: Any) -> None:
        with Queue(maxsize=10) as jobs, Queue() as results:
            children = [context.Process(target=queue_children.square, args=(jobs, results)) for _ in range(3)]
            for child in children:
                child.start()
            for n in range(300):
                jobs.put(n, timeout=60)
            assert jobs.join(60)
            jobs.shutdown()
            for child in children:
                child.join(60)
                assert child.exitcode == 0
                child.close()
            assert sorted(results.get_many(300)) == [n**2 for n in range(300)]

    def test_a_stranger_gets_one_over_a_socket_and_keeps_it(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(60)
            succeed(
                """
                import socket, sys
                from samemap import Queue
                with socket.socket(fileno=int(sys.argv[1])) as sock:
                    queue = Queue()
                    queue.put({"left": "behind"})
                    queue.send_handle(sock)
                """,
                theirs.fileno(),
                pass_fds=[theirs.fileno()],
            )
            with Queue.recv_handle(ours) as queue:
                assert (queue.get(), queue.stats().participants) == ({"left": "behind"}, 1)


class TestStrangers:
    def test_meet_by_name_whoever_comes_first(self) -> None:
        with workers(2) as (producer, consumer):
            consumer.tell("jobs = Queue.open('jobs', wait=60); got = list(jobs)")
            producer.do("jobs = Queue('jobs', maxsize=5)")
            producer.do("for n in range(100): jobs.put({'n': n})")
            producer.do("jobs.shutdown()")
            consumer.answer()
            assert consumer.do("got") == [{"n": n} for n in range(100)]

    def test_what_was_put_outlives_its_producer(self) -> None:
        with workers(1) as (producer,):
            producer.do("jobs = Queue('jobs'); jobs.put_many(range(5))")
            producer.leave()
        with Queue.open("jobs") as jobs:
            assert jobs.get_many(9) == [0, 1, 2, 3, 4]

    def test_each_job_goes_to_one(self) -> None:
        make = "jobs = Queue('jobs', maxsize=20)"
        with workers(3, make) as producers, workers(3, make) as consumers:
            for me, producer in enumerate(producers):
                producer.tell(f"for n in range(1000): jobs.put(({me}, n))")
            for consumer in consumers:
                consumer.tell("got = list(jobs)")
            for producer in producers:
                producer.answer(60)
            Queue.open("jobs").shutdown()
            gots = []
            for consumer in consumers:
                consumer.answer(60)
                gots.append(consumer.do("got"))
            assert sorted(job for got in gots for job in got) == [(me, n) for me in range(3) for n in range(1000)]
            # Nobody gets a producer's jobs in another order than it put them.
            for got in gots:
                for me in range(3):
                    numbers = [n for who, n in got if who == me]
                    assert numbers == sorted(numbers)

    def test_who_sleeps_is_woken_from_elsewhere(self) -> None:
        with Queue("jobs", maxsize=1) as jobs, workers(1, "jobs = Queue('jobs'); import asyncio") as (worker,):
            for wait in ("jobs.get()", "jobs.get_many(1)", "asyncio.run(jobs.get_async())", "next(iter(jobs))"):
                worker.wait_in(wait, jobs)
                jobs.put("one")
                assert worker.answer() in ("one", ["one"])
            for wait in ("jobs.lease().done()", "asyncio.run(jobs.lease_async()).done()"):
                worker.wait_in(wait, jobs)
                jobs.put("one")
                assert worker.answer() is None
            worker.wait_in("wait([jobs]) == [jobs]", jobs)
            jobs.put("one")
            assert worker.answer() is True
            for wait in ("jobs.put(1)", "asyncio.run(jobs.put_async(1))", "jobs.put_many([1])"):
                worker.wait_in(wait, jobs)
                jobs.get()
                worker.answer()

    def test_join_is_ended_by_another(self) -> None:
        with Queue("jobs") as jobs, workers(1, "jobs = Queue('jobs')") as (worker,):
            for wait in ("jobs.join(60)", "__import__('asyncio').run(jobs.join_async(60))"):
                jobs.put(1)
                worker.wait_in(wait, jobs)
                jobs.get()
                assert not worker.answers(0.05)
                jobs.task_done()
                assert worker.answer() is True

    def test_shutdown_is_for_everybody(self) -> None:
        make = "jobs = Queue('jobs', maxsize=1)"
        with Queue("jobs", maxsize=1) as jobs, workers(3, make) as some:
            for worker in some:
                worker.wait_in("jobs.get()", jobs)
            jobs.shutdown()
            for worker in some:
                with pytest.raises(ShutDown):
                    worker.answer()

    def test_records_tell_who_has_what(self) -> None:
        with Queue("jobs") as jobs, workers(3, "jobs = Queue('jobs')") as (producer, consumer, both):
            producer.do("jobs.put_many(range(5))")
            both.do("jobs.put(5); jobs.get()")
            consumer.do("leases = [jobs.lease() for _ in range(2)]")
            found = {worker.participant.pid: worker for worker in jobs.workers() if worker.participant}
            assert found.keys() >= {producer.pid, consumer.pid, both.pid}
            assert (found[producer.pid].puts, found[producer.pid].gets, found[producer.pid].leases) == (5, 0, ())
            assert (found[both.pid].puts, found[both.pid].gets, found[both.pid].done) == (1, 1, 1)
            assert [(lease.seq, lease.attempt) for lease in found[consumer.pid].leases] == [(2, 1), (3, 1)]
            roles = {someone.pid: someone.role for someone in jobs.participants()}
            assert roles == {os.getpid(): "idle", producer.pid: "producer", consumer.pid: "consumer", both.pid: "both"}
            stats = jobs.stats()
            assert (stats.depth, stats.leased, stats.puts, stats.participants) == (3, 2, 6, 4)
            consumer.leave()
            again = [jobs.lease(60) for _ in range(5)]
            assert sorted((job.seq, job.attempt) for job in again) == [(2, 2), (3, 2), (4, 1), (5, 1), (6, 1)]


class TestForks:
    def test_children_inherit_it_and_take_nothing_of_their_parents(self) -> None:
        succeed(
            """
            import os, warnings
            from samemap import Queue

            warnings.simplefilter("ignore", DeprecationWarning)
            jobs, results = Queue(maxsize=10), Queue("results")
            jobs.put("the parent's")
            job = jobs.lease()
            pids = []
            for me in range(3):
                pid = os.fork()
                if pid == 0:
                    # The copy of the lease is no lease: dropping it gives nothing back.
                    del job
                    for _ in range(100):
                        results.put(jobs.get(timeout=60))
                    os._exit(0)
                pids.append(pid)
            for n in range(300):
                jobs.put(n, timeout=60)
            for pid in pids:
                assert os.waitpid(pid, 0)[1] == 0
            assert sorted(results.get_many(300)) == list(range(300))
            assert (jobs.empty(), results.empty()) == (True, True)
            assert (job.value, job.state, jobs.stats().leased) == ("the parent's", "leased", 1)
            job.done()
            assert jobs.stats().leased == 0
            results.unlink()
            """
        )

    def test_a_child_that_forgets_its_copy_of_a_view_leaves_the_parents(self) -> None:
        succeed(
            """
            import gc, os, warnings
            import numpy as np
            from samemap import Queue

            warnings.simplefilter("ignore", DeprecationWarning)
            jobs = Queue(max_bytes=1 << 20)
            jobs.put(np.arange(50_000))
            view = jobs.get()
            pid = os.fork()
            if pid == 0:
                del view
                gc.collect()
                for n in range(20):
                    jobs.put(np.full(50_000, n))
                    assert jobs.get().max() == n
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert view.tolist() == list(range(50_000))
            assert jobs.stats().held == 1
            """
        )

    def test_a_child_s_death_is_not_its_parent_s(self) -> None:
        succeed(
            """
            import os, signal, warnings
            from samemap import Queue

            warnings.simplefilter("ignore", DeprecationWarning)
            jobs = Queue()
            jobs.put("the parent's")
            jobs.put("the child's")
            job = jobs.lease()
            pid = os.fork()
            if pid == 0:
                mine = jobs.lease()
                assert mine.value == "the child's"
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(pid, 0)
            again = jobs.lease(60)
            assert (again.value, again.attempt) == ("the child's", 2)
            job.done()
            again.done()
            assert jobs.stats().done == 2
            """
        )
