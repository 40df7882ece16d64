"""`samemap why`: who waits, for what, who keeps them from it, and what helps."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from samemap import Condition, Counter, Event, Latest, Lock, Namespace, Region, Semaphore, Topic
from samemap.cli.entanglement import Web
from samemap.cli.processes import asleep_at, hindrance
from samemap.cli.reasons import Keeper, cure_for
from samemap.cli.topic_reasons import AUDIENCE, MESSAGE, ROOM, awaited
from samemap.holders import locate

LARGE = 10_000

#: Sleeps in a thread of its own, for what is written there.
SLEEP = "threading.Thread(target=lambda: {0}, daemon=True).start()"


@pytest.fixture
def reasons(run) -> Callable[..., list[dict[str, object]]]:
    """Ask why, until so many processes wait; return what was told."""

    def ask(name: str, waiting: int = 1) -> list[dict[str, object]]:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            result = run("why", name, "--json")
            assert (result.exit_code, result.stderr) == (0, "")
            told = [json.loads(line) for line in result.output.splitlines()]
            if sum(len(reason["waiting"]) for reason in told) == waiting:
                return told
            time.sleep(0.01)
        raise AssertionError(told)

    return ask


def pids(people: object) -> list[int]:
    return [person["pid"] for person in people]  # type: ignore[attr-defined]


def test_nobody_waits(run):
    Lock.create("jobs").close()
    assert run("why", "jobs").output == "nobody waits: jobs (Lock) is free\n"
    told = json.loads(run("why", "jobs", "--json").output)
    assert (told["kind"], told["state"], told["waiting"], told["kept_by"]) == ("Lock", "free", [], [])
    Namespace.create("app").close()
    assert run("why", "app").output == "nobody waits: app is empty\n"


def test_a_lock_that_another_holds(reasons, run, doing):
    holder = doing("lock = Lock('jobs'); lock.acquire()")
    waiter = doing("lock = Lock('jobs')\n" + SLEEP.format("lock.acquire()"))
    (told,) = reasons("jobs")
    assert (told["awaits"], pids(told["waiting"]), pids(told["kept_by"])) == ("the lock", [waiter.pid], [holder.pid])
    (keeper,) = told["kept_by"]
    assert (keeper["alive"], keeper["hindrance"], keeper["waits_for"]) == (True, None, [])
    assert keeper["since"] is not None
    shown = " ".join(run("why", "jobs").output.split())
    assert shown.startswith("jobs (Lock): 1 process waits for the lock")
    assert re.search(rf"waits pid {waiter.pid} \(", shown)
    assert re.search(rf"kept by pid {holder.pid} \(.*\), which holds it since", shown)
    assert f"kill {holder.pid} ends it, and frees what it has" in shown


def test_a_holder_that_is_stopped(reasons, doing):
    holder = doing("lock = Lock('jobs'); lock.acquire()")
    doing("lock = Lock('jobs')\n" + SLEEP.format("lock.acquire()"))
    holder.send_signal(signal.SIGSTOP)
    os.waitpid(holder.pid, os.WUNTRACED)
    (told,) = reasons("jobs")
    assert told["kept_by"][0]["hindrance"] == "stopped (SIGSTOP, or Ctrl-Z)"
    assert told["cure"].startswith(f"kill -CONT {holder.pid} lets what is stopped go on; kill -9 {holder.pid} ends it")


def test_a_holder_that_is_dead_while_who_waits_is_stopped(reasons, run, doing):
    holder = doing("lock = Lock('jobs'); lock.acquire()")
    waiter = doing("lock = Lock('jobs')\n" + SLEEP.format("lock.acquire()"))
    reasons("jobs")
    waiter.send_signal(signal.SIGSTOP)
    os.waitpid(waiter.pid, os.WUNTRACED)
    holder.kill()
    holder.wait()
    (told,) = reasons("jobs")
    assert (told["kept_by"][0]["alive"], told["waiting"][0]["hindrance"]) == (False, "stopped (SIGSTOP, or Ctrl-Z)")
    assert "who waits takes it within 100 ms, unless it is stopped itself" in told["cure"]
    assert "and is itself stopped" in " ".join(run("why", "jobs").output.split())


def test_one_that_waits_for_itself(reasons, doing):
    doing("lock = Lock('jobs'); lock.acquire()\n" + SLEEP.format("lock.acquire()"))
    (told,) = reasons("jobs")
    assert "its holder waits for it too" in told["because"]
    assert told["cure"].startswith("an RLock can")


def test_those_who_wait_for_each_other(reasons, run, doing):
    Lock.create("left").close()
    Lock.create("right").close()
    # Each has its own before either wants the other's.
    take = "first, second, go = Lock('{0}'), Lock('{1}'), Event('go'); first.acquire()\n"
    take += SLEEP.format("(go.wait(), second.acquire())")
    people = [doing(take.format(*names)).pid for names in (("left", "right"), ("right", "left"))]
    with Event("go") as go:
        go.set()
    # The other one may be on its way.
    while (told := reasons("left")[0])["kept_by"][0]["waits_for"] != ["right"]:
        time.sleep(0.01)
    circle = [(people[0], "right"), (people[1], "left")]
    assert [(step["pid"], step["waits_for"]) for step in told["circle"]] == circle
    shown = " ".join(run("why", "left").output.split())
    assert "they wait for each other (a deadlock" in shown
    assert "and itself waits for right" in shown


def test_circles():
    web = Web({1: ("b",), 2: ("c",), 3: ("a",), 9: ("a",)}, {"a": (1,), "b": (2,), "c": (3,)})
    assert web.circle("a") == ((1, "b"), (2, "c"), (3, "a"))
    # One who only waits for some that do is in none.
    assert Web({1: ("b",), 2: ("c",), 3: ("b",)}, {"a": (1,), "b": (2,), "c": (3,)}).circle("a") == ()
    assert Web({1: ("a",)}, {"a": (1,)}).circle("a") == ()


@pytest.mark.parametrize(
    ("kind", "more", "sleep", "awaits", "because"),
    [
        (Event, (), "thing.wait()", "set()", "one of those who take part has to set it"),
        (
            Counter,
            (),
            "thing.wait_until(5)",
            "another value",
            "it is 0 now; one of those who take part has to change it",
        ),
        (Condition, (), "thing.acquire() and thing.wait()", "notify()", "one of those who take part has to notify it"),
        (Semaphore, (0,), "thing.acquire()", "a permit", "no permit is free, and nobody has one; one of those who"),
    ],
)
def test_what_somebody_else_has_to_do(reasons, doing, kind, more, sleep, awaits, because):
    thing = kind("thing", *more)
    waiter = doing(f"thing = {kind.__name__}.open('thing')\n" + SLEEP.format(sleep))
    (told,) = reasons("thing")
    assert (told["awaits"], pids(told["waiting"]), pids(told["kept_by"])) == (awaits, [waiter.pid], [os.getpid()])
    assert told["because"].startswith(because)
    thing.close()
    (told,) = reasons("thing")
    assert (told["kept_by"], "nobody else takes part" in told["because"]) == ([], True)


def test_permits_that_others_have(reasons, doing):
    holder = doing("gate = Semaphore('gate', 2); gate.acquire(); gate.acquire()")
    doing("gate = Semaphore.open('gate')\n" + SLEEP.format("gate.acquire()"))
    (told,) = reasons("gate")
    assert (pids(told["kept_by"]), told["kept_by"][0]["doing"]) == ([holder.pid], "has 2 permits")
    assert told["because"] == "no permit is free, and 2 are taken"


def test_who_is_missing_at_a_barrier(reasons, doing):
    waiter = doing("gate = Barrier('gate', 3)\n" + SLEEP.format("gate.wait()"))
    idle = doing("gate = Barrier.open('gate')")
    (told,) = reasons("gate")
    assert (pids(told["waiting"]), pids(told["kept_by"])) == ([waiter.pid], [idle.pid])
    assert told["kept_by"][0]["doing"] == "has not arrived"
    assert told["because"] == "2 parties of 3 are missing, and no more than 1 of them take part"
    doing("gate = Barrier.open('gate')")
    (told,) = reasons("gate")
    assert told["because"] == "2 parties of 3 are missing"


def test_readers_and_writers(reasons, doing):
    reader = doing("gate = ReadWriteLock('gate'); gate.acquire_read()")
    writer = doing("gate = ReadWriteLock('gate')\n" + SLEEP.format("gate.acquire_write()"))
    (told,) = reasons("gate")
    assert (pids(told["waiting"]), pids(told["kept_by"])) == ([writer.pid], [reader.pid])
    late = doing("gate = ReadWriteLock('gate')\n" + SLEEP.format("gate.acquire_read()"))
    (told,) = reasons("gate", 2)
    assert set(pids(told["waiting"])) == {writer.pid, late.pid}
    assert {keeper["pid"]: keeper["doing"] for keeper in told["kept_by"]} == {
        reader.pid: "reads",
        writer.pid: "waits for the readers to leave, and holds newcomers off",
    }
    assert f"kill {reader.pid} ends it" in told["cure"]


# Topics


def test_a_subscriber_to_whom_nobody_publishes(reasons, doing):
    topic = Topic("feed")
    waiter = doing(
        "topic = Topic.open('feed'); subscription = topic.subscribe()\n" + SLEEP.format("subscription.recv()")
    )
    (told,) = reasons("feed")
    assert (told["awaits"], pids(told["waiting"]), told["kept_by"]) == (MESSAGE, [waiter.pid], [])
    assert told["because"] == "nobody has published yet (1 more takes part, and has not published)"
    publisher = doing("topic = Topic.open('feed'); topic.publish(b'x')")
    waiter.kill()
    waiter.wait()
    doing("topic = Topic.open('feed'); subscription = topic.subscribe()\n" + SLEEP.format("subscription.recv()"))
    (told,) = reasons("feed")
    assert pids(told["kept_by"]) == [publisher.pid]
    assert told["kept_by"][0]["doing"].startswith("published last ")
    assert told["because"].startswith("the last message, number 1, is ")
    publisher.kill()
    publisher.wait()
    (told,) = reasons("feed")
    assert (told["kept_by"], "; no publisher is alive" in told["because"]) == ([], True)
    assert told["cure"] == "start a publisher, or start it again"
    topic.close()


def test_a_publisher_for_whom_no_slot_is_free(reasons, doing):
    pin = "topic = Topic('feed', slots=4, max_message=10_000); subscription = topic.subscribe()\n"
    pin += "kept = [topic.publish(bytes(10_000)) and subscription.recv() for _ in range(4)]"
    keeper = doing(pin)
    waiter = doing("topic = Topic.open('feed')\n" + SLEEP.format("topic.publish(b'x')"))
    (told,) = reasons("feed")
    assert (told["awaits"], pids(told["waiting"]), pids(told["kept_by"])) == (ROOM, [waiter.pid], [keeper.pid])
    assert told["kept_by"][0]["doing"] == "pins 4 slots"
    assert told["kept_by"][0]["since"] is not None
    assert told["because"] == "none of 4 slots can be taken: 4 pinned, 0 being filled"
    assert "make the topic with more slots" in told["cure"]


def test_a_publisher_for_whom_somebody_does_not_read(reasons, doing):
    keeper = doing("topic = Topic('feed', slots=3); subscription = topic.subscribe('block')")
    waiter = doing("topic = Topic.open('feed')\n" + SLEEP.format("[topic.publish(b'x') for _ in range(9)]"))
    (told,) = reasons("feed")
    assert (told["awaits"], pids(told["waiting"]), pids(told["kept_by"])) == (ROOM, [waiter.pid], [keeper.pid])
    assert "has 3 unread messages" in told["kept_by"][0]["doing"]
    assert 'a subscription with the policy "drop" holds nobody up' in told["cure"]


def test_one_that_waits_for_subscribers(reasons, doing):
    waiter = doing("topic = Topic('feed')\n" + SLEEP.format("topic.wait_for_subscribers(2)"))
    (told,) = reasons("feed")
    assert (told["awaits"], pids(told["waiting"])) == (AUDIENCE, [waiter.pid])
    assert told["because"].startswith("there are 0 living subscriptions")


def test_one_that_waits_for_a_newer_value(reasons, doing):
    with Latest("state") as state:
        state.set(b"on")
        waiter = doing("state = Latest.open('state')\n" + SLEEP.format("state.wait_newer(1)"))
        (told,) = reasons("state")
        assert (told["awaits"], pids(told["waiting"])) == ("a newer value", [waiter.pid])
        assert pids(told["kept_by"]) == [os.getpid()]


def test_what_somebody_awaits_is_concluded_where_the_kernel_does_not_tell():
    def concluded(*, subscribed: bool, published: bool, full: bool) -> str:
        return awaited(None, subscribed, published, full, "Topic")

    assert concluded(subscribed=True, published=False, full=True) == MESSAGE
    assert concluded(subscribed=True, published=True, full=True) == ROOM
    assert concluded(subscribed=True, published=True, full=False) == MESSAGE
    assert concluded(subscribed=False, published=False, full=True) == ROOM
    assert concluded(subscribed=False, published=True, full=False) == AUDIENCE
    # What it tells counts for more.
    assert awaited(frozenset({192}), True, False, True, "Topic") == ROOM
    assert awaited(frozenset({7}), True, False, True, "Topic") == MESSAGE


# Names, and what cannot be looked at


def test_objects_of_a_namespace(run, reasons, doing):
    doing("space = Namespace('app'); lock = space.lock('users'); lock.acquire(); other = space.lock('other')")
    doing("space = Namespace('app'); lock = space.lock('users')\n" + SLEEP.format("lock.acquire()"))
    told = reasons("app")
    assert {reason["name"]: len(reason["waiting"]) for reason in told} == {"app:users": 1, "app:other": 0}
    assert [reason["name"] for reason in reasons("app:users")] == ["app:users"]
    assert run("why", "app:other").output == "nobody waits: app:other (Lock) is free\n"
    result = run("why", "app:none")
    assert (result.exit_code, "there is no 'none' in it; it has users, other" in result.stderr) == (1, True)


def test_what_is_no_segment(run, runtime_directory):
    Region.create("raw", 4096).close()
    Namespace.create("a").close()
    Lock.create("a:b").close()
    Lock.create("cut").close()
    os.truncate(runtime_directory / "cut", 5000)
    assert run("why", "a:b").output == "nobody waits: a:b (Lock) is free\n"
    for name, told in (
        ("raw", "raw: it is a raw region, in which it is not noted who waits"),
        ("none", "none: No such file or directory; 'samemap ls' shows what there is"),
        ("cut", "/cut: "),
    ):
        result = run("why", name)
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert result.stderr.startswith(f"samemap why: {runtime_directory}")
        assert told in result.stderr


def test_looking_changes_nothing(run, doing):
    with Topic("feed") as topic, topic.subscribe():
        topic.publish(b"x")
        before = topic.path.read_bytes(), topic.participants()
        run("why", "feed")
        assert (topic.path.read_bytes(), topic.participants()) == before


def test_states_of_processes(start):
    sleeper = start("sleep", "600")
    assert hindrance(sleeper.pid) is None
    sleeper.send_signal(signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    assert hindrance(sleeper.pid) == "stopped (SIGSTOP, or Ctrl-Z)"
    sleeper.kill()
    sleeper.wait()
    assert hindrance(sleeper.pid) is None


def test_the_kernel_tells_where_a_thread_sleeps():
    with Region.create("raw", 8192) as region:
        thread = threading.Thread(target=lambda: region.wait(4100, 0, 60))
        thread.start()
        file, _ = locate(region.fileno())
        until = time.monotonic() + 30
        while not (found := asleep_at(os.getpid(), file)) and time.monotonic() < until:
            time.sleep(0.01)
        region.store_u32(4100, 1)
        region.ring(4100)
        thread.join()
        if found is None:
            pytest.skip("this kernel does not tell")
        assert found == {4100}


def test_cures():
    keeper = Keeper(4711, "python worker.py", True, True, "holds it")
    assert cure_for([keeper]) == (
        "see what it does: py-spy dump --pid 4711, or its log; kill 4711 ends it, and frees what it has"
    )
    assert "kill" not in cure_for([keeper], has=False)
    assert cure_for([keeper._replace(is_here=False)]) == "see what they do, where they run"
