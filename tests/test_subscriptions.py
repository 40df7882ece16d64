"""`Subscription`: policies, what is missed and what is not, joining, and what is told of it."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
from isolated import until

from samemap import Empty, Topic
from samemap.subscriptions import Subscription

LARGE = 5000


def number(sample: Any) -> int:
    return int.from_bytes(sample.value[:8], "little")


def message(number: int, size: int = 8) -> bytes:
    return number.to_bytes(8, "little").ljust(size, b".")


class Broken:
    def __reduce__(self) -> tuple[Any, ...]:
        return divmod, (1, 0)


class TestDrop:
    @pytest.mark.parametrize("slots", [2, 3, 8, 64])
    @pytest.mark.parametrize("size", [8, LARGE], ids=["copied", "pinned"])
    def test_it_gets_the_last_ones_and_counts_the_others(self, slots: int, size: int) -> None:
        with Topic(slots=slots, max_message=LARGE) as feed, feed.subscribe("drop") as subscription:
            published = 0
            # Less than there is room for, exactly as many, one more, and more than the ring's length.
            for burst in (slots - 1, slots, slots + 1, 2 * slots + 1, 9 * slots, 1):
                for _ in range(burst):
                    published += 1
                    assert feed.publish(message(published, size)) == published
                assert subscription.lag == burst
                kept = min(burst, slots)
                for place in range(kept):
                    sample = subscription.recv(60)
                    assert sample.seq == number(sample) == published - kept + 1 + place
                    assert sample.missed == (burst - kept if place == 0 else 0)
                    assert sample.pinned is (size == LARGE)
                    del sample
                assert (subscription.lag, subscription.poll()) == (0, None)
                assert subscription.received + subscription.missed == published

    @pytest.mark.parametrize("slots", [2, 3, 8, 64])
    def test_so_it_does_with_rows(self, slots: int) -> None:
        with Topic(shape=2, dtype="u4", slots=slots) as feed, feed.subscribe() as subscription:
            rows, published = np.arange(2 * 40 * slots, dtype="u4").reshape(-1, 2), 0
            for burst in (slots - 1, slots, slots + 1, 2 * slots + 1, 9 * slots, 1):
                feed.publish_many(rows[published : published + burst])
                published += burst
                kept = min(burst, slots)
                assert np.array_equal(subscription.recv_many(timeout=60), rows[published - kept : published])
                assert subscription.received + subscription.missed == published
                with pytest.raises(Empty):
                    subscription.recv_many(timeout=0)

    def test_what_others_have_pinned_stays_and_leaves_a_gap(self) -> None:
        with Topic(slots=4, max_message=LARGE) as feed, feed.subscribe() as holder:
            feed.publish(message(1, LARGE))
            kept = holder.recv(60)
            subscription = feed.subscribe(history=1)
            for n in range(2, 7):
                feed.publish(message(n, LARGE))
            assert [sample.seq for sample in feed.last()] == [1, 4, 5, 6]
            late = feed.subscribe(history=6)
            for reader in (subscription, late):
                found = [(sample.seq, sample.missed) for sample in (reader.recv(60) for _ in range(4))]
                assert found == [(1, 0), (4, 2), (5, 0), (6, 0)]
            assert number(kept) == 1

    def test_the_oldest_goes_first_also_of_those_that_were_pinned(self) -> None:
        with Topic(slots=4, max_message=LARGE) as feed, feed.subscribe() as holder:
            for n in range(1, 7):
                feed.publish(message(n, LARGE))
            kept = [holder.recv(60) for _ in range(4)]
            with pytest.raises(TimeoutError):
                feed.publish(b"x", timeout=0)
            kept.clear()
            for n in range(7, 20):
                feed.publish(message(n, LARGE))
                assert [sample.seq for sample in feed.last()] == [n - 3, n - 2, n - 1, n]


class TestLatest:
    def test_it_gets_the_newest_only_and_counts_the_others(self) -> None:
        with Topic(slots=4) as feed, feed.subscribe("latest") as subscription:
            for burst in (1, 2, 4, 5, 40):
                for _ in range(burst):
                    newest = feed.publish(b"x")
                sample = subscription.recv(60)
                assert (sample.seq, sample.missed, subscription.poll()) == (newest, burst - 1, None)
            assert (subscription.received, subscription.missed, subscription.lag) == (5, 47, 0)

    def test_rows_are_one_at_most(self) -> None:
        with Topic(dtype="i8", slots=8) as feed, feed.subscribe("latest", history=3) as subscription:
            feed.publish_many(np.arange(20))
            assert subscription.recv_many().tolist() == [19]
            assert (subscription.received, subscription.missed) == (1, 19)


class TestBlock:
    def test_it_gets_all_and_the_others_what_is_there(self) -> None:
        total = 500
        with Topic(slots=4, max_message=LARGE) as feed:
            # Rows of three publishers, to two that block and one that does not.
            slow, fast, some = feed.subscribe("block"), feed.subscribe("block"), feed.subscribe("drop")
            senders = [
                threading.Thread(target=lambda first=first: [feed.publish(message(first + n)) for n in range(total)])
                for first in (0, 10_000, 20_000)
            ]
            got: dict[Subscription, list[int]] = {slow: [], fast: [], some: []}

            def read(subscription: Subscription) -> None:
                while subscription.received + subscription.missed < 3 * total:
                    got[subscription].append(number(subscription.recv(60)))

            readers = [threading.Thread(target=read, args=(subscription,)) for subscription in got]
            for thread in senders + readers:
                thread.start()
            for thread in senders + readers:
                thread.join(60)
            assert got[slow] == got[fast]
            assert (slow.missed, fast.missed) == (0, 0)
            assert len(got[some]) == some.received == 3 * total - some.missed
            for first in (0, 10_000, 20_000):
                mine = [n - first for n in got[slow] if first <= n < first + total]
                assert mine == list(range(total))
                others = [n for n in got[some] if first <= n < first + total]
                assert others == sorted(others)

    def test_what_it_was_given_as_history_is_kept_for_it(self) -> None:
        with Topic(slots=4) as feed:
            for n in range(1, 9):
                feed.publish(message(n))
            subscription = feed.subscribe("block", history=3)
            # One slot has a message that it has not asked for, and no more.
            assert feed.publish(message(9), timeout=0) == 9
            with pytest.raises(TimeoutError, match="not yet read"):
                feed.publish(message(10), timeout=0)
            assert [number(subscription.recv(60)) for _ in range(4)] == [6, 7, 8, 9]
            assert subscription.missed == 0

    def test_its_end_lets_publishers_go_on(self) -> None:
        for end in ("close", "forget", "close the topic"):
            with Topic("feed", slots=2) as feed, Topic("feed") as theirs:
                held = [theirs.subscribe("block")]
                feed.publish(b"1")
                feed.publish(b"2")
                got: list[int] = []
                sender = threading.Thread(target=lambda feed=feed, got=got: got.append(feed.publish(b"3")))
                sender.start()
                until(lambda feed=feed: feed.stats().waiting == 1, "a publisher that waits")
                if end == "close":
                    held[0].close()
                elif end == "forget":
                    held.clear()
                else:
                    theirs.close()
                sender.join(60)
                assert got == [3], end
                feed.unlink()

    def test_its_end_counts_also_while_samples_of_it_live(self) -> None:
        with Topic(slots=3, max_message=LARGE) as feed:
            subscription = feed.subscribe("block")
            for n in (1, 2, 3):
                feed.publish(message(n, LARGE))
            sample = subscription.recv(60)
            del subscription
            assert [(found.policy, found.pins) for found in feed.subscribers()] == [("ended", 1)]
            assert feed.stats().subscribers == 0
            assert [feed.publish(message(n, LARGE), timeout=0) for n in range(4, 9)][-1] == 8
            assert number(sample) == 1
            del sample
            assert feed.subscribers() == []


class TestValues:
    def test_of_bytes(self) -> None:
        with Topic(slots=4, max_message=LARGE) as feed, feed.subscribe() as subscription:
            for n in range(9):
                feed.publish(message(n, LARGE if n % 2 else 8))
            # As `recv` would have it: what is gone is counted, and what was got is not there for others.
            assert subscription.get() == message(5, LARGE)
            assert (subscription.received, subscription.missed, subscription.lag) == (1, 5, 3)
            assert number(subscription.recv()) == 6
            assert [subscription.get_nowait(), subscription.get_nowait(None)] == [message(7, LARGE), message(8)]
            assert feed.stats().pinned == 0
            assert (subscription.get_nowait(None), subscription.get_nowait(default=b"none")) == (None, b"none")
            with pytest.raises(Empty, match="number 9, which it has seen"):
                subscription.get_nowait()
            assert (subscription.received, subscription.missed) == (4, 5)

    @pytest.mark.parametrize("size", [3, LARGE], ids=["copied", "pinned"])
    def test_of_arrays(self, size: int) -> None:
        with Topic(shape=size, dtype="u2", slots=4) as feed, feed.subscribe() as subscription:
            feed.publish(np.arange(size, dtype="u2"))
            row = subscription.get()[1:3]
            assert (row.tolist(), row.flags.writeable) == ([1, 2], False)
            assert feed.stats().pinned == (size == LARGE)
            for _ in range(9):
                feed.publish(np.zeros(size, "u2"))
            assert row.tolist() == [1, 2]
            del row
            assert feed.stats().pinned == 0

    def test_of_objects(self) -> None:
        with Topic(codec="pickle", max_message=100_000) as feed, feed.subscribe() as subscription:
            given = {"name": "x", "array": np.arange(9000)}
            feed.publish(given)
            feed.publish(None)
            got = subscription.get()
            assert (got["name"], got["array"].tolist()) == ("x", list(range(9000)))
            assert subscription.get_nowait(default=7) is None
            feed.publish(("small", 1))
            assert next(subscription.values()) == ("small", 1)
            assert feed.stats().pinned == 1
            del got
            assert feed.stats().pinned == 0

    def test_what_cannot_be_brought_back_is_told(self) -> None:
        with Topic(codec="pickle") as feed, feed.subscribe() as subscription:
            feed.publish(Broken())
            feed.publish("fine")
            with pytest.raises(ZeroDivisionError):
                subscription.get()
            assert subscription.get() == "fine"

    def test_the_newest(self) -> None:
        with Topic() as feed, feed.subscribe("latest") as subscription:
            for n in range(5):
                feed.publish(message(n))
            assert (subscription.get(), subscription.missed) == (message(4), 4)

    def test_of_one_that_only_looks(self) -> None:
        with Topic("feed") as feed, Topic.open("feed", mode="r") as seen, seen.subscribe(history=1) as subscription:
            feed.publish(b"x")
            assert (subscription.get(60), subscription.get_nowait(None)) == (b"x", None)

    def test_the_child_of_a_fork_goes_on_from_there(self) -> None:
        with Topic(slots=8) as feed, feed.subscribe("block") as subscription:
            feed.publish(message(1))
            feed.publish(message(2))
            assert subscription.get() == message(1)
            child = os.fork()
            if child == 0:
                os._exit(0 if subscription.get(60) == message(2) else 1)
            assert subscription.get() == message(2)
            assert os.waitpid(child, 0)[1] == 0


class TestJoining:
    def test_history_is_as_much_as_there_is(self) -> None:
        with Topic(slots=4) as feed:
            assert feed.subscribe(history=5).poll() is None
            for n in range(1, 11):
                feed.publish(message(n))
                for history in (0, 1, 3, 4, 5, 100, 2**70):
                    late = feed.subscribe(history=history)
                    found = [number(sample) for sample in iter(late.poll, None)]
                    assert found == list(range(n + 1 - min(history, n, 4), n + 1))
                    assert (late.missed, late.history) == (0, min(history, 2**63))
            newest = feed.subscribe("latest", history=1)
            assert newest.recv(0).seq == 10

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"policy": "fast"}, ValueError, "'latest', 'drop' or 'block'"),
            ({"policy": "ended"}, ValueError, "policy"),
            ({"policy": None}, TypeError, "policy"),
            ({"history": -1}, ValueError, "history"),
            ({"history": 1.5}, TypeError, "float"),
            ({"history": "all"}, TypeError, "str"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, arguments: Any, error: type[Exception], words: str) -> None:
        with Topic() as feed:
            with pytest.raises(error, match=words):
                feed.subscribe(**arguments)
            assert feed.subscribers() == []

    def test_there_are_as_many_places_as_were_made(self) -> None:
        with Topic(max_subscribers=64) as feed:
            many = [feed.subscribe() for _ in range(64)]
            with pytest.raises(ValueError, match=r"room for 64 subscriptions.*max_subscribers=128"):
                feed.subscribe()
            many[5].close()
            again = feed.subscribe("latest")
            assert feed.stats().subscribers == 64
            feed.publish(b"to all")
            assert all(bytes(each.recv(60)) == b"to all" for each in (*many[:5], *many[6:], again))
        with Topic(max_subscribers=0) as feed, pytest.raises(ValueError, match="max_subscribers=1"):
            feed.subscribe()
        with Topic() as feed:
            many = [feed.subscribe() for _ in range(128)]
            with pytest.raises(ValueError, match=r"room for 128 subscriptions") as caught:
                feed.subscribe()
            # There cannot be more.
            assert "max_subscribers=" not in str(caught.value)

    def test_it_does_not_travel(self) -> None:
        with Topic() as feed, feed.subscribe() as subscription:
            for take in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="subscribe there"):
                    take(subscription)

    def test_those_who_wait_for_subscribers_are_woken(self) -> None:
        with Topic() as feed, feed.subscribe():
            assert (feed.wait_for_subscribers(), feed.wait_for_subscribers(-3, 0)) == (True, True)
            assert feed.wait_for_subscribers(2, 0.01) is False
            came: list[bool] = []
            waiter = threading.Thread(target=lambda: came.append(feed.wait_for_subscribers(3, 60)))
            waiter.start()
            until(lambda: feed.stats().waiting == 1, "somebody who waits")
            second = feed.subscribe()
            assert not came
            third = feed.subscribe("block")
            waiter.join(60)
            assert came == [True]
            third.close()
            assert feed.wait_for_subscribers(3, 0) is False
            assert not second.closed


class TestRecords:
    def test_of_subscriptions(self) -> None:
        begun = time.time()
        with Topic(slots=4, max_message=LARGE) as feed:
            subscriptions = [feed.subscribe(policy) for policy in ("drop", "latest")]
            for n in range(1, 11):
                feed.publish(message(n, LARGE))
            samples = [subscription.recv(60) for subscription in subscriptions]
            more = subscriptions[0].recv(60)
            drop, latest = feed.subscribers()
            assert (drop.policy, drop.received, drop.missed, drop.lag, drop.pins) == ("drop", 2, 6, 2, 2)
            assert (latest.policy, latest.received, latest.missed, latest.lag, latest.pins) == ("latest", 1, 9, 0, 1)
            assert (sum(drop.delays), sum(latest.delays), len(drop.delays)) == (2, 1, 32)
            assert {drop.pid, latest.pid} == {os.getpid()}
            assert drop.alive
            assert "python" in str(drop.command)
            assert begun - 1 < drop.joined <= time.time() + 1
            assert (feed.stats().pinned, feed.stats().subscribers) == (3, 2)
            samples[0].release()
            del samples[0], more
            assert [found.pins for found in feed.subscribers()] == [0, 1]
            # Of the next one in its place nothing is the former one's.
            subscriptions.pop(0).close()
            feed.subscribe("drop")
            anew = feed.subscribe("block")
            found = feed.subscribers()[0]
            assert (found.policy, found.received, found.missed, found.lag, sum(found.delays)) == ("block", 0, 0, 0, 0)
            anew.close()

    def test_of_publishers(self) -> None:
        with Topic(slots=2, when_full="drop") as feed:
            assert feed.publishers() == []
            feed.publish(b"12345")
            feed.publish_many([b"1", b"", b"123"])
            blocking = feed.subscribe("block", history=2)
            feed.publish(b"gone")
            (found,) = feed.publishers()
            assert (found.pid, found.alive, found.messages, found.bytes, found.dropped) == (os.getpid(), True, 4, 9, 1)
            assert abs(found.last - time.time()) < 60
            stats = feed.stats()
            assert (stats.messages, stats.bytes, stats.dropped, stats.slots, stats.loaned) == (4, 9, 1, 2, 0)
            assert stats == feed.stats()
            blocking.close()

    def test_its_repr_tells_the_truth(self) -> None:
        with Topic("feed") as feed:
            subscription = feed.subscribe("block")
            feed.publish(b"x")
            assert repr(subscription) == ("<samemap.Subscription 'block' to Topic 'feed' received=0, missed=0, lag=1>")
            subscription.close()
            assert repr(subscription).endswith("slots=8, seq=1> closed>")
