"""Waiting for messages and slots: timeouts, Ctrl-C, closing, several things at once."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from isolated import until
from waking import is_woken

from samemap import Empty, Event, Latest, Topic, wait

LARGE = 5000


def number(sample: Any) -> int:
    return int.from_bytes(sample.value[:8], "little")


def message(number: int, size: int = 8) -> bytes:
    return number.to_bytes(8, "little").ljust(size, b".")


@contextmanager
def interrupted(when: Callable[[], bool]) -> Iterator[None]:
    """Send Ctrl-C once the condition holds, and insist on it."""

    def send() -> None:
        until(when, "somebody to be interrupted")
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    sender.join(60)


class TestWaiting:
    @pytest.mark.parametrize("timeout", [0, 1e-9, 0.02])
    def test_as_long_as_it_is_told(self, timeout: float) -> None:
        with Topic("feed") as feed, feed.subscribe() as subscription:
            feed.publish(b"x")
            assert subscription.recv(timeout).seq == 1
            for receive in (subscription.recv, subscription.get, lambda timeout: subscription.recv_many(None, timeout)):
                with pytest.raises(Empty, match=r"number 1, which it has seen .*feed"):
                    receive(timeout)

    @pytest.mark.parametrize("timeout", [None, math.inf, sys.float_info.max, 60])
    @pytest.mark.parametrize("policy", ["latest", "drop", "block"])
    def test_it_is_woken_by_a_message(self, timeout: float | None, policy: Any) -> None:
        with Topic() as feed, feed.subscribe(policy) as subscription:
            came: list[int] = []
            reader = threading.Thread(target=lambda: came.append(subscription.recv(timeout).seq))
            reader.start()
            until(lambda: feed.stats().waiting == 1, "a reader that waits")
            feed.publish(b"x")
            reader.join(60)
            assert came == [1]

    @pytest.mark.parametrize("timeout", [-1, -math.inf, math.nan])
    def test_no_time_is_refused(self, timeout: float) -> None:
        with Topic() as feed, feed.subscribe() as subscription:
            for receive in (subscription.recv, subscription.get, lambda timeout: subscription.recv_many(1, timeout)):
                with pytest.raises(ValueError, match="timeout"):
                    receive(timeout)
        with Topic(dtype="u1") as numbers, numbers.subscribe() as rows:
            with pytest.raises(ValueError, match="timeout"):
                rows.recv_many(timeout=timeout)
            for wrong in (-1, 2**70):
                for many in (rows.recv_many, numbers.subscribe().recv_many):
                    with pytest.raises(ValueError, match=f"^most is 0 to {2**63 - 1}, not {wrong}$"):
                        many(wrong, 0)

    @pytest.mark.parametrize("n", [-1, -(2**70)])
    def test_no_number_of_messages_is_refused(self, n: int) -> None:
        with Topic() as feed:
            feed.publish(b"x")
            for name, use in ("history", lambda: feed.subscribe(history=n)), ("n", lambda: feed.last(n)):
                with pytest.raises(ValueError, match=f"^{name} is a number of messages, 0 or more, not {n}$"):
                    use()
            assert [sample.seq for sample in feed.last(2**70)] == [1]
            with pytest.raises(ValueError, match=f"^size is 0 to {2**63 - 1}, not {n}$"):
                feed.loan(n)
            with pytest.raises(ValueError, match=f"^size is 0 to {2**63 - 1}, not {2**70}$"):
                feed.loan(2**70)

    def test_no_number_of_subscribers_is_refused(self) -> None:
        with Topic() as feed:
            for wait in (
                lambda: feed.wait_for_subscribers(2**70, 0),
                lambda: asyncio.run(feed.wait_for_subscribers_async(2**70, 0)),
            ):
                with pytest.raises(ValueError, match=f"^n is 0 to {2**63 - 1}, not {2**70}$"):
                    wait()

    def test_threads_share_one_and_each_message_goes_to_one(self) -> None:
        with Topic(slots=8) as feed, feed.subscribe("block") as subscription:
            got: list[list[int]] = [[] for _ in range(4)]

            def read(mine: list[int]) -> None:
                mine += map(number, subscription)

            def read_values(mine: list[int]) -> None:
                mine += (int.from_bytes(value[:8], "little") for value in subscription.values())

            ways = (read, read_values, read, read_values)
            readers = [threading.Thread(target=way, args=(mine,)) for way, mine in zip(ways, got, strict=True)]
            for reader in readers:
                reader.start()
            for n in range(2000):
                feed.publish(message(n))
            until(lambda: subscription.received == 2000, "all messages")
            subscription.close()
            for reader in readers:
                reader.join(60)
            assert sorted(n for mine in got for n in mine) == list(range(2000))
            assert all(mine == sorted(mine) for mine in got)

    @pytest.mark.parametrize(
        "how", ["recv", "get", "recv_many", "iteration", "values", "wait", "publish", "loan", "audience"]
    )
    def test_ctrl_c_ends_it_and_loses_nothing(self, how: str) -> None:
        with Topic(slots=2) as feed, feed.subscribe("block") as subscription:
            if how in ("publish", "loan"):
                feed.publish(message(1))
                feed.publish(message(2))
            waits: dict[str, Callable[[], object]] = {
                "recv": subscription.recv,
                "get": subscription.get,
                "recv_many": subscription.recv_many,
                "iteration": lambda: list(subscription),
                "values": lambda: list(subscription.values()),
                "wait": lambda: wait([subscription]),
                "publish": lambda: feed.publish(message(99)),
                "loan": feed.loan,
                "audience": lambda: feed.wait_for_subscribers(2),
            }
            with interrupted(lambda: feed.stats().waiting == 1):
                waits[how]()
            assert (feed.stats().waiting, feed.stats().loaned) == (0, 0)
            while feed.seq < 2:
                feed.publish(message(feed.seq + 1))
            assert [number(subscription.recv(0)), number(subscription.recv(0))] == [1, 2]
            assert feed.publish(message(3), timeout=0) == 3

    def test_what_a_signal_handler_raises_comes_out_of_a_loop_that_it_closed(self) -> None:
        with Topic() as feed:
            subscription = feed.subscribe()

            def close_and_exit(*_: object) -> None:
                subscription.close()
                sys.exit(7)

            before = signal.signal(signal.SIGINT, close_and_exit)
            try:
                sender = threading.Thread(
                    target=lambda: (until(lambda: feed.stats().waiting == 1, "a reader"), os.kill(os.getpid(), 2))
                )
                sender.start()
                with pytest.raises(SystemExit):
                    list(subscription)
                sender.join(60)
            finally:
                signal.signal(signal.SIGINT, before)

    @pytest.mark.parametrize("what", ["subscription", "topic"])
    def test_closing_ends_the_waits_of_others(self, what: str) -> None:
        with Topic("feed", slots=2) as kept:
            feed = Topic("feed")
            subscription, blocked = feed.subscribe(), kept.subscribe("block")
            kept.publish(b"1")
            kept.publish(b"2")
            assert [sample.seq for sample in iter(subscription.poll, None)] == [1, 2]
            ends: dict[str, object] = {}

            def run(name: str, call: Callable[[], object]) -> None:
                try:
                    ends[name] = call()
                except ValueError as error:
                    ends[name] = str(error)

            calls: dict[str, Callable[[], object]] = {
                "recv": subscription.recv,
                "get": subscription.get,
                "recv_many": subscription.recv_many,
                "for": lambda: list(subscription),
                "values": lambda: list(subscription.values()),
                "wait": lambda: wait([Event(), subscription]),
            }
            if what == "topic":
                calls["publish"] = lambda: feed.publish(b"3")
                calls["loan"] = feed.loan
                calls["audience"] = lambda: feed.wait_for_subscribers(9)
            threads = [threading.Thread(target=run, args=call) for call in calls.items()]
            for thread in threads:
                thread.start()
            until(lambda: kept.stats().waiting == len(calls), "all to wait")
            (subscription if what == "subscription" else feed).close()
            for thread in threads:
                thread.join(60)
            assert (ends.pop("for"), ends.pop("values")) == ([], [])
            assert ends.keys() == calls.keys() - {"for", "values"}
            assert all("closed" in str(end) for end in ends.values()), ends
            assert (kept.seq, kept.stats().loaned, blocked.closed) == (2, 0, False)

    def test_a_closed_one_is_of_no_use(self) -> None:
        with Topic() as feed:
            subscription = feed.subscribe()
            feed.publish(b"x")
            subscription.close()
            subscription.close()
            for use in (
                subscription.recv,
                subscription.recv_nowait,
                subscription.poll,
                subscription.get,
                subscription.get_nowait,
                lambda: subscription.get_nowait(None),
                subscription.recv_many,
                lambda: subscription.lag,
                lambda: wait([subscription], 0),
                lambda: subscription.__enter__(),
            ):
                with pytest.raises(ValueError, match="closed"):
                    use()
            assert (subscription.received, subscription.missed, subscription.policy) == (0, 0, "drop")
            for loop in (subscription, subscription.values()):
                with pytest.raises(StopIteration):
                    next(loop)

    @pytest.mark.parametrize("end", ["subscription", "topic"])
    def test_loops_over_a_closed_one_end_at_once(self, end: str) -> None:
        with Topic() as feed:
            subscription = feed.subscribe()
            feed.publish(b"x")
            (subscription if end == "subscription" else feed).close()

            async def collect() -> list[Any]:
                return [sample async for sample in subscription]

            assert list(subscription) == asyncio.run(collect()) == []

    def test_several_things_at_once(self) -> None:
        with Topic() as feed, Topic() as other, Event() as stop, Latest() as value:
            mine, both, late = feed.subscribe(), other.subscribe("latest"), feed.subscribe("block")
            things: list[Any] = [both, stop, mine, value, late]
            assert wait(things, 0) == wait(things, 0.01) == []
            feed.publish(b"x")
            assert wait(things) == [mine, late]
            # Nothing was taken.
            assert (mine.lag, mine.recv(0).seq) == (1, 1)
            assert wait(things, 0) == [late]
            other.publish(b"y")
            value.set(b"z")
            late.recv(0)
            assert wait(things, 0) == [both, value]
            assert (value.get(), both.recv(0).seq, wait(things, 0)) == (b"z", 1, [])
            came: list[Any] = []
            waiter = threading.Thread(target=lambda: came.extend(wait(things)))
            waiter.start()
            until(lambda: other.stats().waiting == 1, "somebody who waits")
            other.publish(b"y")
            waiter.join(60)
            assert came == [both]
            with pytest.raises(TypeError, match="Subscription"):
                wait([feed], 0)
        with Topic("feed"), Topic.open("feed", mode="r") as looker, pytest.raises(TypeError, match="read-only"):
            wait([looker.subscribe()], 0)

    def test_it_is_woken_and_does_not_find_out_by_itself(self) -> None:
        with Topic(slots=2) as feed, Latest() as value, feed.subscribe() as subscription:
            assert is_woken(feed, subscription.recv, lambda: feed.publish(b"x"))
            assert is_woken(
                feed, lambda: wait([value, subscription]) and subscription.recv(), lambda: feed.publish(b"x")
            )
            assert is_woken(value, value.wait_newer, lambda: value.set(b"x"))
            # Two messages that were not read: there is no slot.
            held = [feed.subscribe("block")]
            feed.publish_many([b"x", b"x"])
            assert is_woken(feed, lambda: feed.publish(b"x"), lambda: held[0].recv(0))

            def publish() -> None:
                if not held:
                    held.append(feed.subscribe("block", history=2))
                feed.publish(b"x")

            assert is_woken(feed, publish, lambda: held.pop().close())
            held.clear()
            assert is_woken(
                feed,
                lambda: feed.wait_for_subscribers(2 + len(held)),
                lambda: held.append(feed.subscribe()),
            )
        with Topic(slots=3, max_message=LARGE) as narrow:
            samples: list[Any] = []

            def publish_more() -> None:
                if not held:
                    samples.clear()
                    held.append(narrow.subscribe("block"))
                    narrow.publish(b"x" * LARGE)
                    samples.append(held[0].recv(0))
                    narrow.publish_many([b"y", b"z"])
                narrow.publish(b"x")

            held.clear()
            # One of its samples lives on.
            assert is_woken(narrow, publish_more, lambda: held.pop().close())
            assert is_woken(narrow, publish_more, held.clear)

    @pytest.mark.parametrize("how", ["recv", "wait", "publish", "audience", "latest"])
    def test_it_sleeps_and_hardly_ever_looks(self, how: str) -> None:
        with Topic(slots=2) as feed, feed.subscribe("block") as subscription, Latest() as value:
            if how == "publish":
                feed.publish(b"1")
                feed.publish(b"2")
            waits: dict[str, Callable[[float], object]] = {
                "recv": subscription.recv,
                "wait": lambda seconds: wait([subscription, value], seconds),
                "publish": lambda seconds: feed.publish(b"3", seconds),
                "audience": lambda seconds: feed.wait_for_subscribers(2, seconds),
                "latest": lambda seconds: value.wait_newer(0, seconds),
            }

            def wake_ups(seconds: float) -> int:
                before = switches()
                if how in ("recv", "publish", "latest"):
                    with pytest.raises(TimeoutError):
                        waits[how](seconds)
                else:
                    assert not waits[how](seconds)
                return switches() - before

            # It looks after the dead every 50 ms, and is woken for nothing else.
            assert wake_ups(0.5) < 20


def switches() -> int:
    """Return how often this thread has gone to sleep."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
