"""What `samemap top` and `samemap why` tell of queues and services, from what the compiled half says of them."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

import samemap
from samemap import _core
from samemap.cli.history import Row, Snapshot
from samemap.cli.job_reasons import reasons_of_jobs
from samemap.cli.jobs import Job, Worker, Workload, look_at_jobs
from samemap.cli.observe import Sight, Waiter
from samemap.cli.reasons import Reason, Scene
from samemap.cli.sampling import Sample
from samemap.cli.top_details import details

NOW = 1_800_000_000.0

PRODUCER = Worker(1, "produce.py", True, True, 9, 0, 0, 0, 900)
CONSUMER = Worker(2, "consume.py", True, True, 0, 5, 4, 1, 0)


def job(seq: int, state: str = "leased", **more: object) -> Job:
    known = {"attempt": 1, "length": 100, "put": NOW - 50, "taken": NOW - 30, "left": None, "pid": 2}
    known |= {"command": "consume.py", "alive": True, "is_here": True}
    return Job(seq, state, **{**known, **more})  # type: ignore[arg-type]


def work(kind: str = "Queue", **more: object) -> Workload:
    numbers = ("puts", "gets", "done", "returned", "bytes", "depth", "leased", "held", "dead")
    known = {**dict.fromkeys(numbers, 0), "free_jobs": 10, "free_bytes": 4096, "maxsize": 10, "is_shut_down": False}
    return Workload(kind, **{**known, "workers": (PRODUCER, CONSUMER), "jobs": (), **more})  # type: ignore[arg-type]


def reasons(found: Workload, *waiting: int, stopped: int | None = None) -> list[Reason]:
    waiters = tuple(Waiter(pid, "python", True, 1) for pid in waiting)
    sight = Sight("", found.kind, "", (), waiters)
    told = reasons_of_jobs(
        Scene(sight, (), NOW, lambda pid: "stopped (SIGSTOP, or Ctrl-Z)" if pid == stopped else None), found
    )
    return list(told)


def test_an_empty_queue_with_a_producer():
    (told,) = reasons(work(), 2)
    assert (told.awaits, [keeper.pid for keeper in told.keepers]) == ("a job", [1])
    assert told.keepers[0].doing == "has put some"
    assert told.because == "it is empty, and nobody puts anything just now"
    assert "kill 1" not in told.cure


def test_an_empty_queue_without_one():
    (told,) = reasons(work(workers=(PRODUCER._replace(alive=False), CONSUMER)), 2)
    assert told.because == "it is empty; no producer is alive"
    assert told.cure == "start a producer, or start it again"
    (told,) = reasons(work(workers=()), 7)
    assert told.because == "it is empty; nobody has put anything yet"
    (told,) = reasons(work(is_shut_down=True), 2)
    assert (told.because, told.keepers) == ("it is empty, and shut down", ())


def test_a_full_queue_with_slow_consumers():
    (told,) = reasons(work(depth=10, leased=2, free_jobs=0, jobs=(job(7, taken=NOW - 5), job(6))), 1)
    (keeper,) = told.keepers
    assert (told.awaits, keeper.pid, keeper.doing, keeper.since) == ("room for a job", 2, "has 2 jobs", NOW - 30)
    assert told.because == "it is full: 10 of 10 wait, 2 are in hands, 0 are done and still viewed"
    assert told.cure.endswith("more consumers, or a larger maxsize")


def test_a_full_queue_whose_consumer_is_stopped():
    (told,) = reasons(work(depth=10, leased=1, jobs=(job(6),)), 1, stopped=2)
    assert told.cure.startswith("kill -CONT 2 lets what is stopped go on; kill -9 2 ends it")


def test_a_full_queue_without_consumers():
    # One that has done nothing yet wants to put, too.
    (told,) = reasons(work(depth=10, workers=(PRODUCER,)), 1, 7)
    assert ([sleeper.pid for sleeper in told.sleepers], told.cure) == ([1, 7], "start a consumer, or start it again")
    assert told.because.endswith("; nobody who takes jobs is alive")
    (told,) = reasons(work(depth=3, free_bytes=0), 1)
    assert told.because.startswith("it is full: no byte for large messages is free")


def test_one_that_waits_for_all_to_be_done():
    (told,) = reasons(work(leased=1, jobs=(job(6),)), 1)
    assert (told.awaits, [keeper.pid for keeper in told.keepers]) == ("all jobs to be done (join)", [2])
    (told,) = reasons(work(depth=1, workers=(PRODUCER,)), 1)
    assert told.cure == "start a consumer"


def test_a_worker_that_is_about_to_go_on_unless_it_is_stopped():
    (told,) = reasons(work(depth=1), 2)
    assert told.cure == "none is needed: it is about to go on; look again"
    (told,) = reasons(work(depth=1), 2, stopped=2)
    assert told.cure == "pid 2 is stopped (SIGSTOP, or Ctrl-Z); kill -CONT 2 lets it go on"


def test_a_service_that_nobody_calls_just_now():
    server = CONSUMER._replace(puts=5)
    (told,) = reasons(work("Service", workers=(PRODUCER, server)), 2)
    assert [(keeper.pid, keeper.doing) for keeper in told.keepers] == [(1, "has called")]
    assert told.because == "it is empty, and nobody calls just now"
    (told,) = reasons(work("Service", workers=(server,)), 2)
    assert (told.because, told.cure) == ("it is empty; nobody has called yet", "start a caller, or start it again")


def test_a_service():
    told = reasons(work("Service", leased=1, jobs=(job(6),)), 1, 2)
    assert [(each.awaits, [keeper.pid for keeper in each.keepers]) for each in told] == [
        ("a reply", [2]),
        ("a request", [1]),
    ]
    (told,) = reasons(work("Service", depth=1, workers=(PRODUCER,)), 1)
    assert told.because == "1 requests wait, and 0 are in hands; nobody who serves is alive"


def test_details():
    jobs = (job(6, attempt=2, left=4.2), job(3, "dead", attempt=5), *(job(10 + n, "dead") for n in range(12)))
    found = work(depth=2, leased=1, dead=13, puts=9, gets=5, jobs=jobs)
    row = Row(Sample("jobs", "/jobs", "Queue", 4096, "1", "2 of 10", depth=2, workload=found))
    told = dict(details(row, Snapshot(0.0, NOW, 1.0, ())))
    assert told["jobs"][0].startswith("2 wait, 1 in hands, 0 done and still viewed; 9 put, 5 taken")
    assert told["leases"] == ["job 6, attempt 2, 100 bytes, put 50 s ago: pid 2 has it since 30 s, 4 s left consume.py"]
    assert told["workers"][1] == "pid 2: 0 put, 5 taken, 4 done, 1 given back consume.py"
    assert told["dead"][0] == "job 3, attempt 5, 100 bytes, put 50 s ago"
    assert told["dead"][-1] == "and 3 more"
    assert len(row.record()["queue"]["jobs"]) == 14


class Compiled:
    """Stands for `_core.Queue` as it is told to be."""

    maxsize, is_shut_down = 10, True

    def __init__(self, segment: object, codec: object, way: str) -> None:
        assert (codec, way) == (None, "bytes")

    def close(self) -> None:
        """Let go."""

    def _totals(self) -> tuple[int, ...]:
        return (9, 5, 4, 1, 900, 2, 1, 0, 0, 7, 4096)

    def _workers(self) -> list[tuple[object, ...]]:
        return [(1025, 9, 0, 0, 0, 900)]

    def _jobs(self) -> list[tuple[object, ...]]:
        leased = (0, 6, "leased", 1025, 1, 100, NOW, NOW, 0, 0)
        return [leased, (1, 7, "ready", 0, 1, 100, NOW, 0.0, 0, 0), (2, 8, "ready", 0, 1, 100, NOW, 0.0, 0, 3)]


def test_what_the_compiled_half_says(monkeypatch):
    monkeypatch.setattr(_core, "Queue", Compiled, raising=False)
    who = SimpleNamespace(pid=4711, command="work.py", alive=True, _pid_namespace=0)
    segment = SimpleNamespace(kind="Queue", describe=lambda tag: who if tag == 1025 else None)
    found = look_at_jobs(segment)  # type: ignore[arg-type]
    assert found is not None
    assert (found.puts, found.depth, found.leased, found.free_jobs, found.maxsize) == (9, 2, 1, 7, 10)
    assert (found.is_shut_down, found.is_full) == (True, False)
    # Replies of a service lie in other lanes.
    assert [(each.seq, each.pid, each.left) for each in found.jobs] == [(6, 4711, None), (7, None, None)]
    assert found.workers == (Worker(4711, "work.py", True, True, 9, 0, 0, 0, 900),)


def test_a_version_that_has_none_of_that():
    assert look_at_jobs(SimpleNamespace(kind="Lock")) is None  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(samemap, "Queue"), reason="this version has no queues")
def test_a_queue(run):
    import json

    with samemap.Queue("jobs") as queue:
        queue.put({"resize": "cat.jpg"})
        queue.put({"resize": "dog.jpg"})
        with queue.lease() as leased:
            assert leased.attempt == 1
            (told,) = map(json.loads, run("top", "--json", "--interval", "50ms").output.splitlines())
            assert (told["kind"], told["depth"], told["messages"]) == ("Queue", 1, 2)
            assert told["holders"][0]["pid"] == os.getpid()
            assert run("why", "jobs").output.startswith("nobody waits: jobs (Queue) is ")
