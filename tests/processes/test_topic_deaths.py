"""Publishers and subscribers killed with SIGKILL, stopped, or gone without a word: the others go on."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from isolated import until
from workers import Worker, workers

from samemap import Full, Latest, Topic

#: Seconds. It is 0.05 on an idle machine; how long it really takes is for the benchmarks.
SOON = 1.0
LARGE = 9000

MAKE = f"import asyncio; feed = Topic('feed', slots=2, max_message={LARGE})"

#: How a process can have all slots but that of the newest message, which stays, or both.
HOLDS = {
    "blocks": ("subscription = feed.subscribe('block'); feed.publish_many([b'1', b'2'])", "not yet read by"),
    "blocks, with rows": ("subscription = feed.subscribe('block', history=2); feed.publish_many([b'1', b'2'])", "not"),
    "pins": (
        f"subscription = feed.subscribe(); feed.publish(b'1' * {LARGE}); sample = subscription.recv(); "
        "feed.publish(b'2')",
        "pinned by",
    ),
    "pins by a view": (
        f"subscription = feed.subscribe(); feed.publish(b'1' * {LARGE}); view = memoryview(subscription.recv()); "
        "subscription.close(); feed.publish(b'2')",
        "pinned by",
    ),
    "fills a loan": (
        "feed.publish(b'1'); feed.publish(b'2'); loan = feed.loan(); place = loan.__enter__(); place[:3] = b'...'",
        "in the hands of",
    ),
    "has a loan to fill": ("feed.publish(b'1'); feed.publish(b'2'); loan = feed.loan()", "in the hands of"),
    "keeps a frame": (
        "import numpy as np; loan = feed.loan(); place = loan.__enter__(); frame = np.frombuffer(place, 'u1'); "
        "loan.__exit__(None, None, None); feed.publish(b'2')",
        "in the hands of",
    ),
}
#: How another one wants a slot, and what it then gets.
WANTS = {
    "publish": ("feed.publish(b'3')", 3),
    "publish_many": ("feed.publish_many([b'3'])", 1),
    "loan": ("(loan := feed.loan(1)).__enter__() and loan.__exit__(None, None, None) or loan.seq", 3),
    "publish_async": ("asyncio.run(feed.publish_async(b'3'))", 3),
}


def nothing_is_left(feed: Topic) -> bool:
    """Tell whether nobody has anything of it. Entries of the dead may stay until they are needed."""
    stats = feed.stats()
    return (stats.loaned, stats.pinned, stats.subscribers) == (0, 0, 0)


each_hold = pytest.mark.parametrize(("hold", "words"), HOLDS.values(), ids=HOLDS)


class TestHolders:
    @each_hold
    @pytest.mark.parametrize(("want", "got"), WANTS.values(), ids=WANTS)
    def test_who_waits_for_a_slot_goes_on_when_its_holder_dies(
        self, hold: str, words: str, want: str, got: int
    ) -> None:
        with workers(2, MAKE) as (holder, waiter), Topic.open("feed", mode="r") as seen:
            holder.do(hold)
            waiter.wait_in(want, seen)
            assert not waiter.answers(0.06)
            killed = holder.kill()
            assert waiter.answer() == got
            assert time.monotonic() - killed < SOON

    @each_hold
    def test_who_comes_after_the_death_needs_not_wait(self, hold: str, words: str) -> None:
        with workers(2, MAKE) as (holder, other), Topic.open("feed", mode="r") as seen:
            holder.do(hold)
            with pytest.raises(Full, match=rf"{words}.* pid {holder.pid} \("):
                other.do("feed.publish_nowait(b'3')")
            holder.killed()
            assert other.do("feed.publish_nowait(b'3')") == 3
            assert other.do("[feed.publish(b'x', 0) for _ in range(9)][-1]") == 12
            assert nothing_is_left(seen)

    @each_hold
    @pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "leave", "close"])
    def test_who_ends_otherwise_leaves_nothing_either(self, hold: str, words: str, end: str) -> None:
        with workers(2, MAKE) as (holder, other), Topic.open("feed", mode="r") as seen:
            holder.do(hold)
            if end == "close":
                # Views are still there, and keep what they need.
                holder.do("feed.close()")
                kept = "sample" in hold or "view" in hold or "loan" in hold
                assert (seen.stats().participants == 2) is kept
            elif end == "leave":
                holder.leave()
            else:
                holder.tell(f"import os, sys; {end}")
                if end != "os._exit(0)":
                    holder.answers(30)
                    holder.leave()
                assert holder.ends()
            if end != "close" or not kept:
                assert other.do("feed.publish(b'3', 10)") == 3
                assert other.do("[feed.publish(b'x', 0) for _ in range(9)][-1]") == 12
                assert nothing_is_left(seen)

    def test_a_stopped_one_lives_until_it_is_killed(self) -> None:
        for hold, _ in HOLDS.values():
            with workers(2, MAKE) as (holder, waiter), Topic.open("feed", mode="r") as seen:
                holder.do(hold)
                holder.stop()
                with pytest.raises(Full, match=rf"pid {holder.pid} "):
                    waiter.do("feed.publish(b'3', 0.15)")
                waiter.wait_in("feed.publish(b'3')", seen)
                assert not waiter.answers(0.06)
                killed = holder.kill()
                assert waiter.answer() == 3
                assert time.monotonic() - killed < SOON
                seen.unlink()

    def test_of_many_only_the_dead_are_cleared_away(self) -> None:
        with Topic("feed", slots=8, max_message=LARGE) as feed, workers(4, MAKE.replace(", slots=2", "")) as some:
            for worker in some:
                worker.do("subscriptions = [feed.subscribe(p) for p in ('latest', 'drop', 'drop')]; kept = []")
            for _ in range(3):
                feed.publish(b"x" * LARGE)
                for worker in some:
                    worker.do("kept += [s.recv(0) for s in subscriptions]")
            dead, living = some[::2], some[1::2]
            for worker in dead:
                worker.killed()
            # As many as it may take until somebody looks after the dead.
            assert [feed.publish(b"y", 10) for _ in range(300)][-1] == 303
            assert {found.pid for found in feed.subscribers()} == {worker.pid for worker in living}
            assert (feed.stats().pinned, feed.stats().subscribers) == (3, 6)
            for worker in living:
                assert worker.do("all(bytes(s) == b'x' * len(s) and len(s) == 9000 for s in kept)") is True
                worker.do("kept.clear()")
            assert feed.stats().pinned == 0


class TestSubscribers:
    def test_that_die_asleep_cost_the_others_nothing(self) -> None:
        make = "feed = Topic('feed'); subscription = feed.subscribe()"
        with Topic("feed") as feed, workers(3, make) as (dead, stopped, living):
            for worker in (dead, stopped, living):
                worker.wait_in("subscription.recv().value", feed)
            stopped.stop()
            dead.kill()
            feed.publish(b"1")
            assert living.answer(SOON) == b"1"
            stopped.resume()
            assert stopped.answer(SOON) == b"1"

    def test_that_die_give_their_places_back(self) -> None:
        make = "feed = Topic('feed', max_subscribers=4); s = [feed.subscribe('block') for _ in range(2)]"
        with workers(2, make) as (dead, living), Topic.open("feed") as feed:
            with pytest.raises(ValueError, match="room for 4"):
                feed.subscribe()
            dead.killed()
            mine = [feed.subscribe() for _ in range(2)]
            with pytest.raises(ValueError, match="room for 4"):
                feed.subscribe()
            living.leave()
            mine += [feed.subscribe() for _ in range(2)]
            assert {found.pid for found in feed.subscribers()} == {os.getpid()}
            feed.publish(b"x")
            assert [each.recv(0).seq for each in mine] == [1] * 4

    def test_are_counted_while_they_live(self) -> None:
        make = "feed = Topic('feed'); subscription = feed.subscribe()"
        with Topic("feed") as feed, workers(2, make) as (first, second):
            assert feed.wait_for_subscribers(2, 0) is True
            first.killed()
            assert feed.wait_for_subscribers(2, 0.1) is False
            assert feed.stats().subscribers == 1
            assert [(found.pid, found.alive) for found in feed.subscribers()] == [
                (first.pid, False),
                (second.pid, True),
            ]
            with Worker(make):
                assert feed.wait_for_subscribers(2, 60) is True

    def test_roles_are_told(self) -> None:
        with Topic("feed") as feed, workers(3, "feed = Topic('feed')") as (one, two, both):
            for worker in (one, both):
                worker.do("feed.publish(b'x')")
            for worker in (two, both):
                worker.do("subscription = feed.subscribe()")
            roles = {found.pid: found.role for found in feed.participants()}
            assert roles == {os.getpid(): "idle", one.pid: "publisher", two.pid: "subscriber", both.pid: "both"}


class TestPublishers:
    def test_that_die_before_their_loan_ends_publish_nothing(self) -> None:
        with Topic("feed", slots=4) as feed, workers(2, "feed = Topic('feed')") as (dead, living):
            subscription = feed.subscribe("block")
            dead.do("loan = feed.loan(5); place = loan.__enter__(); place[:] = b'wrong'")
            assert living.do("feed.publish(b'right')") == 1
            dead.killed()
            assert [living.do("feed.publish(b'right', 10)") for _ in range(3)] == [2, 3, 4]
            assert [subscription.recv(0).value for _ in range(4)] == [b"right"] * 4
            assert [found.pid for found in feed.publishers()] == [living.pid]

    def test_that_die_waiting_leave_no_trace(self) -> None:
        with Topic("feed", slots=2) as feed, workers(2, "feed = Topic('feed')") as (dead, living):
            blocking = feed.subscribe("block")
            feed.publish_many([b"1", b"2"])
            for worker in (dead, living):
                worker.wait_in("feed.publish(b'3')", feed)
            dead.killed()
            assert blocking.recv(0).seq == 1
            assert living.answer(SOON) == 3
            assert (feed.seq, feed.stats().loaned) == (3, 0)

    def test_that_are_stopped_hold_nobody_up_and_go_on(self) -> None:
        with Topic("feed", slots=4, max_message=1 << 20) as feed, workers(2, "feed = Topic('feed')") as some:
            subscription = feed.subscribe("latest")
            for worker in some:
                # Stopped anywhere in it, for a hundred times.
                worker.do("def go(n):\n for i in range(n): feed.publish(bytes([i % 251]) * (1 << 20))")
                worker.tell("go(300)")
            ends = time.monotonic() + 60
            while not all(worker.answers(0) for worker in some) and time.monotonic() < ends:
                for worker in some:
                    if not worker.answers(0):
                        worker.stop()
                        # At most two slots are in their hands; one of two is the newest.
                        for _ in range(3):
                            feed.publish(b"mine", timeout=10)
                        message = bytes(subscription.recv(0))
                        # The other one goes on, and may have published since.
                        assert message in (b"mine", message[:1] * (1 << 20))
                        worker.resume()
            for worker in some:
                worker.answer(60)
            assert sum(found.messages for found in feed.publishers()) == feed.seq
            assert feed.stats().loaned == 0

    def test_dead_ones_are_told_of(self) -> None:
        with Topic("feed") as feed, workers(1, "feed = Topic('feed')") as (worker,):
            worker.do("feed.publish_many([b'12', b'345'])")
            subscription = feed.subscribe(history=2)
            worker.killed()
            (found,) = feed.publishers()
            assert (found.pid, found.alive, found.messages, found.bytes) == (worker.pid, False, 2, 5)
            assert "python" in str(found.command)
            sample = subscription.recv(0)
            assert (sample.publisher.pid, sample.publisher.alive, sample.value) == (worker.pid, False, b"12")
            # Its place goes to the next, and the sums go on.
            with Worker("feed = Topic('feed'); feed.publish(b'6')") as another:
                assert (feed.stats().messages, feed.stats().bytes) == (3, 6)
                assert [found.messages for found in feed.publishers() if found.pid == another.pid] == [1]


class TestLatest:
    def test_setters_that_die_or_stop_hold_nobody_up(self) -> None:
        size = 3 << 20
        make = f"value = Latest('value', max_size={size})\ndef go():\n while True: value.set(bytes({size}))"
        with Latest("value", max_size=size) as value:
            value.set(b"begin")
            for turn in range(8):
                with workers(2, make) as (dead, stopped):
                    dead.tell("go()")
                    stopped.tell("go()")
                    until(lambda: len({found.value[:1] for found in [value.sample()]}) == 1, "anything")
                    time.sleep(0.002 * turn)
                    stopped.stop()
                    dead.kill()
                    for n in range(20):
                        value.set(b"%d" % n)
                        got: Any = value.get()
                        assert got in (b"%d" % n, bytes(size))
                    assert dead.ends()
                    value.set(b"mine")
                    assert value.get() == b"mine"
            for n in range(20):
                value.set(b"%d" % n)
                assert value.get() == b"%d" % n
