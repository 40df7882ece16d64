"""Forking with topics: children go on by themselves, and take nothing from their parents."""

from __future__ import annotations

import pytest
from isolated import succeed

PRELUDE = """
import asyncio, gc, os, signal, sys, threading, time, traceback, warnings
import numpy as np
from samemap import *

# From 3.12 on, the interpreter warns of forks beside threads: that they work is what this shows.
warnings.simplefilter("ignore", DeprecationWarning)
LARGE = 9000

class Child:
    '''A fork that does something, and is told to go on by lines.'''

    def __init__(self, work):
        self.source, self.sink = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(60)
            try:
                work(lambda: os.read(self.source, 1))
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)

    def go_on(self):
        os.write(self.sink, b".")

    def ends(self):
        assert os.waitpid(self.pid, 0)[1] == 0

def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)

def of(feed, pid):
    return [found for found in feed.subscribers() if found.pid == pid]
"""


def run(source: str, *arguments: object) -> None:
    succeed(PRELUDE + source, *arguments)


@pytest.mark.parametrize("policy", ["latest", "drop", "block"])
@pytest.mark.parametrize("name", ["None", "'feed'"])
def test_an_inherited_subscription_goes_on_as_the_childs_own(policy: str, name: str) -> None:
    run(
        f"""
feed = Topic({name}, slots=8)
subscription = feed.subscribe("{policy}")
for n in range(3):
    feed.publish(b"%d" % n)
assert subscription.recv(0).seq == ({{"latest": 3}}.get("{policy}", 1))

def work(wait):
    assert subscription.policy == "{policy}"
    got = [sample.value for sample in iter(subscription.poll, None)]
    assert got == ([] if "{policy}" == "latest" else [b"1", b"2"]), got
    (mine,) = of(feed, os.getpid())
    assert (mine.policy, mine.received) == ("{policy}", 1 + len(got))
    wait()
    assert subscription.recv(10).value == b"3"
    wait()
    subscription.close()
    assert of(feed, os.getpid()) == []

child = Child(work)
until(lambda: of(feed, child.pid) and of(feed, child.pid)[0].lag == 0)
(mine,) = of(feed, os.getpid())
assert mine.received == 1
feed.publish(b"3")
child.go_on()
until(lambda: of(feed, child.pid)[0].lag == 0)
child.go_on()
child.ends()
assert len(feed.subscribers()) == 1
got = [sample.value for sample in iter(subscription.poll, None)]
assert got == ([b"3"] if "{policy}" == "latest" else [b"1", b"2", b"3"]), got
"""
    )


def test_publishers_wait_for_parent_and_child_each_as_long_as_it_lives() -> None:
    run(
        """
feed = Topic("feed", slots=2)
subscription = feed.subscribe("block")
feed.publish(b"1")

def work(wait):
    assert subscription.recv(10).value == b"1"
    wait()
    os.kill(os.getpid(), signal.SIGKILL)

child = Child(work)
until(lambda: of(feed, child.pid) and of(feed, child.pid)[0].lag == 0)
feed.publish(b"2")
assert [subscription.recv(0).value for _ in range(2)] == [b"1", b"2"]
# The parent has read all, the child has not.
assert feed.publish(b"3", 0) == 3
assert subscription.recv(0).value == b"3"
try:
    feed.publish(b"4", 0.1)
    raise AssertionError
except Full as error:
    assert f"not yet read by pid {child.pid}" in str(error), error
    assert str(os.getpid()) not in str(error).replace(f"pid {child.pid}", ""), error
child.go_on()
os.waitpid(child.pid, 0)
assert feed.publish(b"4", 10) == 4
"""
    )


@pytest.mark.parametrize("end", ["return", "sys.exit()", "os._exit(0)", "close()"])
def test_a_childs_end_releases_nothing_of_its_parents(end: str) -> None:
    run(
        f"""
feed = Topic("feed", slots=4, max_message=LARGE)
subscription, blocking = feed.subscribe(), feed.subscribe("block")
feed.publish(b"1" * LARGE)
sample = subscription.recv(0)
view = sample.array[:]
loan = feed.loan()
place = loan.__enter__()
place[:] = b"2" * LARGE

def close():
    sample.release()
    subscription.close()
    blocking.close()
    feed.close()

pid = os.fork()
if pid == 0:
    assert bytes(sample) == b"1" * LARGE and int(view[0]) == ord("1")
    del view, sample.release, place if False else place
    gc.collect()
    {end if end != "return" else "os._exit(0)"}
    if "{end}" == "close()":
        del sample, subscription, blocking, feed, loan
        gc.collect()
        os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert (feed.stats().pinned, feed.stats().loaned, feed.stats().subscribers) == (1, 1, 2)
place[:3] = b"222"
loan.__exit__(None, None, None)
del place
assert blocking.recv(0).value == b"1" * LARGE
assert blocking.recv(0).value == b"2" * LARGE
for _ in range(20):
    feed.publish(b"3", 0)
    blocking.recv(0)
assert bytes(sample) == b"1" * LARGE and view.min() == ord("1")
""".replace("    del view, sample.release, place if False else place\n", "    del view, place\n")
    )


def test_parent_and_child_pin_by_themselves() -> None:
    run(
        """
feed = Topic("feed", slots=2, max_message=LARGE)
subscription = feed.subscribe()
feed.publish(b"1" * LARGE)

def work(wait):
    sample = subscription.recv(10)
    wait()
    assert bytes(sample) == b"1" * LARGE
    sample.release()
    assert of(feed, os.getpid())[0].pins == 0
    wait()

child = Child(work)
until(lambda: of(feed, child.pid) and of(feed, child.pid)[0].pins == 1)
sample = subscription.recv(0)
assert [found.pins for found in feed.subscribers()] == [1, 1]
feed.publish(b"2")
sample.release()
assert sorted((found.pid == child.pid, found.pins) for found in feed.subscribers()) == [(False, 0), (True, 1)]
try:
    feed.publish(b"3", 0)
    raise AssertionError
except Full as error:
    assert f"pinned by pid {child.pid} " in str(error), error
child.go_on()
assert feed.publish(b"3", 10) == 3
child.go_on()
child.ends()
"""
    )


def test_a_loan_is_its_processs_own() -> None:
    run(
        """
feed = Topic("feed")
unused = feed.loan(5)
loan = feed.loan(5)
place = loan.__enter__()
place[:] = b"right"

def work(wait):
    for each in (loan, unused):
        try:
            if each is unused:
                each.__enter__()
            each.__exit__(None, None, None)
            raise AssertionError
        except ValueError as error:
            assert "belongs to the process that took it" in str(error), error
    assert feed.seq == 0
    with feed.loan(5) as mine:
        mine[:] = b"child"
    assert feed.seq == 1

Child(work).ends()
assert feed.stats().loaned == 2
loan.__exit__(None, None, None)
assert [sample.value for sample in feed.last()] == [b"child", b"right"]
del unused
assert feed.stats().loaned == 0
"""
    )


def test_without_a_place_of_its_own_a_child_gets_nothing() -> None:
    run(
        """
feed = Topic("feed", slots=4, max_subscribers=1)
subscription = feed.subscribe("block")
feed.publish_many([b"1", b"2"])

def work(wait):
    # Not once more as one that only looks: it would miss messages, and nobody would wait for it.
    for _ in range(3):
        for use in (subscription.recv, subscription.poll, subscription.recv_many, lambda: wait([subscription], 0)):
            try:
                use()
                raise AssertionError(use)
            except ValueError as error:
                assert "room for 1 subscriptions" in str(error), error
    assert subscription.received == 0

Child(work).ends()
assert [subscription.recv(0).value for _ in range(2)] == [b"1", b"2"]
""".replace("lambda: wait([", "lambda: __import__('samemap').wait([")
    )


def test_grandchildren_and_readers_go_on_too() -> None:
    run(
        """
feed = Topic("feed", slots=8)
looker = Topic.open("feed", mode="r")
subscription, looking, value = feed.subscribe("block"), looker.subscribe(), Latest()
value.set(b"old")
feed.publish(b"1")

def work(wait):
    assert subscription.recv(10).value == b"1"
    def deeper(wait):
        assert [subscription.recv(10).value for _ in range(2)] == [b"2", b"3"]
        assert [looking.recv(10).value for _ in range(3)] == [b"1", b"2", b"3"]
        assert value.wait_newer(1, 10) == b"new"
        value.set(b"newer")
    grandchild = Child(deeper)
    until(lambda: of(feed, grandchild.pid))
    feed.publish(b"2")
    wait()
    grandchild.ends()

child = Child(work)
until(lambda: feed.seq == 2)
feed.publish(b"3")
value.set(b"new")
child.go_on()
child.ends()
assert value.wait_newer(2, 10) == b"newer"
assert [subscription.recv(0).value for _ in range(3)] == [b"1", b"2", b"3"]
assert len(feed.subscribers()) == 1 or not any(found.alive for found in feed.subscribers()[1:])
"""
    )


def test_tasks_of_a_child_wait_for_what_was_inherited() -> None:
    run(
        """
feed = Topic("feed", slots=8)
subscription = feed.subscribe("block")

async def first(timeout):
    return (await subscription.recv_async(timeout)).value

try:
    asyncio.run(first(0.01))
except Empty:
    pass

def work(wait):
    assert asyncio.run(first(30)) == b"1"
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("samemap-watcher") == 1, names

child = Child(work)
until(lambda: sum(who.waiting for who in feed.participants() if who.pid == child.pid))
feed.publish(b"1")
child.ends()
assert asyncio.run(first(10)) == b"1"
"""
    )


BUSY = """
feed = Topic("feed", slots=16, max_message=LARGE)
values = Latest("value", shape=2000, dtype="i8")
stop, wrong = False, []

def hammer(work):
    def run():
        n = 0
        try:
            while not stop:
                n += 1
                work(n)
        except BaseException:
            wrong.append(traceback.format_exc())
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def whole(message):
    return message == message[:1] * len(message)

def publish(n):
    feed.publish(bytes([n % 251]) * (LARGE if n % 3 else 50), 10)

def lend(n):
    with feed.loan(LARGE) as place:
        place[:] = bytes([n % 251]) * LARGE

def set_value(n):
    values.set(np.full(2000, n))

mine = feed.subscribe(), feed.subscribe("latest")
shared = feed.subscribe("drop")

def receive(n):
    for subscription in mine:
        sample = subscription.poll()
        if sample is not None:
            assert whole(sample.value)

def look(n):
    feed.stats(), feed.subscribers(), feed.publishers(), feed.last(3), repr(feed)

def child(n):
    for subscription in (*mine, shared):
        for _ in range(5):
            sample = subscription.recv(30)
            assert whole(bytes(sample)), sample
    kept = shared.recv(30)
    feed.publish(b"ccccc", 30)
    lend(n)
    own = feed.subscribe("block")
    numbers = [own.recv(30).seq for _ in range(40)]
    assert numbers == list(range(numbers[0], numbers[0] + 40)), numbers
    assert own.missed == 0
    own.close()
    array = values.get()
    assert array.min() == array.max()
    values.set(np.full(2000, -n))
    feed.stats(), feed.subscribers()
    assert whole(bytes(kept))
    if n % 2:
        feed.close()
        values.close()
    sys.exit() if n % 3 == 0 else os._exit(0)

threads = [hammer(work) for work in (publish, lend, set_value, receive, look)]
try:
    for n in range(30):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            try:
                child(n)
            except BaseException as error:
                if not isinstance(error, SystemExit):
                    traceback.print_exc()
                    os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, n
        assert not wrong, wrong[0]
finally:
    stop = True
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "a thread of the parent hangs"
assert not wrong, wrong[0]
for _ in range(300):
    feed.publish(b"end", 10)
stats = feed.stats()
assert (stats.loaned, stats.pinned, stats.subscribers, stats.participants) == (0, 0, 3, 1), stats
assert {found.pid for found in feed.subscribers()} == {os.getpid()}
"""


def test_children_of_a_busy_parent_use_everything_and_go() -> None:
    run(BUSY)
