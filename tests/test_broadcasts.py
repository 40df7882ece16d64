"""`Topic`, its subscriptions, samples and loans, in one process."""

from __future__ import annotations

import asyncio
import gc
import math
import pickle
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kinds import Pose

import samemap
from samemap import Event, Full, Latest, SegmentMismatch, Topic

LARGE = 10_000

pytestmark = pytest.mark.usefixtures("runtime_directory")


class TestOpening:
    def test_two_creators_and_a_stranger(self) -> None:
        with Topic.create("t", shape=3, dtype="f4") as first:
            with pytest.raises(FileExistsError):
                Topic.create("t", shape=3, dtype="f4")
            with Topic.open("t") as again:
                assert (again.shape, again.dtype, again.codec) == ((3,), np.dtype("f4"), "numpy")
                first.publish([1, 2, 3])
                assert again.seq == 1
            first.unlink()
            with pytest.raises(FileNotFoundError):
                Topic.open("t", wait=0.01)

    def test_other_messages_are_refused_field_by_field(self) -> None:
        with Topic("t", dtype=[("x", "f4"), ("y", "f4")], shape=()), pytest.raises(SegmentMismatch) as caught:
            Topic("t", dtype=[("x", "f8"), ("z", "f4")], shape=())
        told = str(caught.value)
        assert all(name in told for name in ("'x'", "float32", "float64", "'y'", "'z'", "t'")), told

    def test_other_numbers_are_refused(self) -> None:
        with Topic("t", slots=4), pytest.raises(ValueError, match=r"slots=4, not slots=8"):
            Topic("t", slots=8)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"slots": 1},
            {"slots": 0},
            {"slots": 2**30},
            {"max_message": 0},
            {"max_subscribers": 129},
            {"when_full": "never"},
            {"shape": 3, "codec": "pickle"},
            {"dtype": "O"},
        ],
    )
    def test_what_makes_no_sense_leaves_nothing_behind(self, arguments: Any, runtime_directory: Path) -> None:
        with pytest.raises(ValueError, match=r"."):
            Topic("t", **arguments)
        assert not list(runtime_directory.iterdir())

    def test_pickles_must_be_asked_for_at_both_ends(self) -> None:
        with Topic("t", codec="pickle") as topic:
            topic.publish({1, 2})
            with pytest.raises(SegmentMismatch, match="pickle"):
                Topic.open("t")
            with Topic.open("t", codec="pickle") as again:
                assert again.last()[0].value == {1, 2}

    def test_after_the_end(self) -> None:
        topic = Topic()
        subscription = topic.subscribe()
        topic.publish(b"1")
        sample = subscription.recv()
        topic.close()
        topic.close()
        assert subscription.closed
        assert bytes(sample) == b"1"
        assert "closed" in repr(topic)
        assert "closed" in repr(subscription)
        for use in (
            topic.subscribe,
            topic.stats,
            topic.last,
            topic.loan,
            subscription.recv,
            lambda: topic.publish(b""),
        ):
            with pytest.raises(ValueError, match="closed"):
                use()

    def test_a_looker_copies_and_changes_nothing(self) -> None:
        with Topic("t", max_message=LARGE) as topic, Topic.open("t", mode="r") as looker:
            with looker.subscribe(history=5) as subscription:
                topic.publish(bytes(LARGE))
                sample = subscription.recv(10)
                assert (sample.pinned, len(sample)) == (False, LARGE)
                with pytest.raises(samemap.Empty):
                    subscription.recv(0.01)
            for use in (lambda: looker.publish(b""), looker.loan, lambda: looker.subscribe("block")):
                with pytest.raises(TypeError, match="read-only"):
                    use()
            assert topic.subscribers() == []


class TestMessages:
    @pytest.mark.parametrize("size", [0, 1, 4096, 4097, LARGE])
    def test_of_every_size(self, size: int) -> None:
        with Topic(max_message=LARGE) as topic:
            subscription = topic.subscribe()
            topic.publish(bytearray(range(256)) * (size // 256 + 1)) if size > LARGE else topic.publish(b"x" * size)
            sample = subscription.recv(1)
            assert (bytes(sample), len(sample), sample.pinned) == (b"x" * size, size, size > 4096)
            assert memoryview(sample).tobytes() == b"x" * size

    def test_one_that_is_too_large_is_refused_and_nothing_is_lost(self) -> None:
        with Topic(max_message=10, slots=2) as topic:
            with pytest.raises(ValueError, match=r"11 bytes does not fit.* 10 "):
                topic.publish(b"x" * 11)
            assert topic.publish(b"x" * 10) == 1

    def test_text_is_refused(self) -> None:
        with Topic() as topic, pytest.raises(TypeError, match=r"encode\(\)"):
            topic.publish("text")

    def test_typed(self) -> None:
        with Topic("t", type=Pose) as topic:
            subscription = topic.subscribe()
            topic.publish(Pose(1, 2))
            assert subscription.recv(1).value == Pose(1, 2)
            with Topic.open("t") as plain:
                assert plain.last()[0].value == {"x": 1.0, "y": 2.0}

    def test_arrays_in_pickles_are_views_that_keep_the_slot(self) -> None:
        with Topic(codec="pickle", max_message=1 << 20) as topic:
            subscription = topic.subscribe()
            topic.publish({"image": np.arange(50_000), "name": "one"})
            value = subscription.recv(1).value
            assert (value["name"], value["image"].sum(), value["image"].flags.writeable) == ("one", 1249975000, False)
            assert topic.stats().pinned == 1
            del value
            assert topic.stats().pinned == 0

    def test_many_at_once(self) -> None:
        with Topic(dtype="i8", shape=(), slots=16) as topic:
            subscription = topic.subscribe("block")
            assert topic.publish_many(np.arange(40), timeout=0.01) == 16
            assert subscription.recv_many(5).tolist() == [0, 1, 2, 3, 4]
            assert subscription.recv_many().tolist() == list(range(5, 16))
            assert topic.publish_many(np.arange(3)) == 3
            assert topic.publish_many(np.arange(99), timeout=0.01) == 13
            with pytest.raises(Full):
                topic.publish_many(np.arange(1), timeout=0)
            assert (subscription.missed, subscription.lag) == (0, 16)


class TestPolicies:
    def test_drop_counts_exactly_what_it_missed(self) -> None:
        with Topic(slots=4) as topic:
            subscription = topic.subscribe("drop")
            for number in range(10):
                topic.publish(b"%d" % number)
            samples = [subscription.recv(1) for _ in range(4)]
            assert [(sample.value, sample.missed) for sample in samples] == [(b"6", 6), (b"7", 0), (b"8", 0), (b"9", 0)]
            assert (subscription.received, subscription.missed, subscription.lag) == (4, 6, 0)

    def test_latest_skips(self) -> None:
        with Topic(slots=4) as topic:
            subscription = topic.subscribe("latest")
            for number in range(10):
                topic.publish(b"%d" % number)
            sample = subscription.recv(1)
            assert (sample.value, sample.missed, subscription.poll()) == (b"9", 9, None)

    def test_block_gets_all_and_publishers_wait(self) -> None:
        with Topic(slots=4) as topic:
            subscription = topic.subscribe("block")
            for number in range(4):
                topic.publish(b"%d" % number)
            with pytest.raises(Full, match="not yet read by pid"):
                topic.publish_nowait(b"4")
            reader = threading.Thread(target=lambda: (time.sleep(0.05), subscription.recv(1)))
            reader.start()
            assert topic.publish(b"4", timeout=10) == 5
            reader.join()
            assert [sample.value for _, sample in zip(range(4), subscription, strict=False)] == [b"1", b"2", b"3", b"4"]

    def test_history(self) -> None:
        with Topic(slots=4) as topic:
            for number in range(10):
                topic.publish(b"%d" % number)
            assert topic.subscribe(history=2).recv(1).value == b"8"
            assert topic.subscribe(history=2**63).recv(1).value == b"6"
            assert topic.subscribe().poll() is None
            with pytest.raises(ValueError, match="history"):
                topic.subscribe(history=-1)

    def test_when_full(self) -> None:
        with Topic("t", slots=2), Topic("t", when_full="drop") as dropping, Topic("t", when_full="raise") as raising:
            blocking = raising.subscribe("block")
            assert [dropping.publish(b"") for _ in range(4)] == [1, 2, 0, 0]
            with dropping.loan(1) as place:
                place[0] = 1
            assert dropping.stats().dropped == 3
            with pytest.raises(Full):
                raising.publish(b"")
            blocking.close()
            assert raising.publish(b"") == 3


class TestPins:
    def test_views_outlive_everything_and_are_read_only(self) -> None:
        topic = Topic(shape=(100, 100), dtype="f8")
        subscription = topic.subscribe()
        topic.publish(np.full((100, 100), 7.0))
        sample = subscription.recv(1)
        views = [
            sample.array[3:],
            np.asarray(sample),
            np.frombuffer(sample, "f8"),
            np.ndarray((100, 100), "f8", buffer=sample),
            np.asarray(memoryview(sample)).view("f8"),
        ]
        subscription.close()
        topic.close()
        sample.release()
        del sample
        gc.collect()
        for view in views:
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 1
        assert views[0].min() == views[2].max() == views[3].max() == 7.0

    def test_a_slot_comes_back_with_its_last_view(self) -> None:
        with Topic(max_message=LARGE, slots=2) as topic:
            subscription = topic.subscribe()
            topic.publish(bytes(LARGE))
            sample = subscription.recv(1)
            view = memoryview(sample)[:10]
            topic.publish(bytes(LARGE))
            sample.release()
            assert not sample.pinned
            with pytest.raises(ValueError, match="released"):
                bytes(sample)
            with pytest.raises(Full, match=r"slot 0 \(message 1\): pinned by pid \d+ "):
                topic.publish(bytes(LARGE), timeout=0.01)
            del view
            assert topic.publish(bytes(LARGE), timeout=10) == 3

    def test_a_publisher_that_waits_for_a_slot_is_woken_by_its_release(self) -> None:
        with Topic(max_message=LARGE, slots=2) as topic:
            subscription = topic.subscribe()
            topic.publish(bytes(LARGE))
            kept = [subscription.recv(1)]
            topic.publish(bytes(LARGE))
            timer = threading.Timer(0.05, kept.clear)
            timer.start()
            assert topic.publish(bytes(LARGE), timeout=20) == 3
            timer.join()


class TestLoans:
    def test_published_at_the_end_and_abandoned_on_an_exception(self) -> None:
        with Topic(shape=5000, dtype="u1", slots=2) as topic:
            subscription = topic.subscribe()
            with topic.loan() as frame:
                frame[:] = 1
            assert not frame.flags.writeable
            with pytest.raises(KeyError), topic.loan() as other:  # noqa: PT012 - the block is what is tested
                other[:] = 2
                raise KeyError
            assert topic.stats().loaned == 2
            del frame, other
            assert topic.stats().loaned == 0
            assert subscription.recv(1).array.max() == 1
            assert subscription.poll() is None

    def test_of_bytes(self) -> None:
        with Topic(max_message=100) as topic:
            loan = topic.loan(5)
            with loan as place:
                place[:] = b"hello"
            assert (loan.seq, topic.last()[0].value) == (1, b"hello")
            with pytest.raises(ValueError, match="released"):
                place[0] = 1
            with pytest.raises(RuntimeError, match="one with block"), loan:
                pass
            with pytest.raises(ValueError, match="101 bytes"):
                topic.loan(101)
        with Topic(codec="pickle") as topic, pytest.raises(TypeError, match="publish"):
            topic.loan()


class TestWaiting:
    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_what_is_no_time_is_refused(self, timeout: float) -> None:
        with Topic() as topic, topic.subscribe() as subscription:
            for wait in (
                lambda: subscription.recv(timeout),
                lambda: subscription.recv_many(timeout=timeout),
                lambda: topic.publish(b"", timeout),
                lambda: topic.wait_for_subscribers(5, timeout),
                lambda: asyncio.run(subscription.recv_async(timeout)),
            ):
                with pytest.raises(ValueError, match="timeout"):
                    wait()

    def test_empty_is_what_queues_and_sockets_raise(self) -> None:
        import queue

        with Topic() as topic, topic.subscribe() as subscription:
            for kind in (queue.Empty, TimeoutError):
                with pytest.raises(kind):
                    subscription.recv(0.01)
                with pytest.raises(kind):
                    subscription.recv_nowait()

    def test_closing_ends_what_waits(self) -> None:
        for close in ("subscription", "topic"):
            topic = Topic()
            subscription = topic.subscribe()
            got: list[Any] = []
            reader = threading.Thread(target=lambda got=got, subscription=subscription: got.extend(subscription))
            reader.start()
            topic.publish(b"1")
            while not got:
                time.sleep(0.001)
            (subscription if close == "subscription" else topic).close()
            reader.join(10)
            assert not reader.is_alive()

    def test_a_signal_s_handler_ends_it(self) -> None:
        def ends(*_: object) -> None:
            raise InterruptedError("enough")

        before = signal.signal(signal.SIGALRM, ends)
        try:
            with Topic(slots=2) as topic, topic.subscribe("block") as subscription:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(InterruptedError):
                    subscription.recv()
                topic.publish(b"")
                topic.publish(b"")
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(InterruptedError):
                    topic.publish(b"")
                assert subscription.recv(1).seq == 1
                assert topic.publish(b"", timeout=10) == 3
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_with_others(self) -> None:
        with Topic() as topic, topic.subscribe() as subscription, Event() as stop, Latest() as latest:
            things: list[Any] = [subscription, stop, latest]
            assert samemap.wait(things, 0.01) == []
            topic.publish(b"")
            assert samemap.wait(things, 10) == [subscription]
            latest.set(b"")
            assert samemap.wait(things, 10) == [subscription, latest]
            subscription.recv()
            latest.get()
            assert samemap.wait(things, 0) == []

    def test_tasks(self) -> None:
        async def run() -> tuple[list[int], int]:
            with Topic(slots=64) as topic:
                subscriptions = [topic.subscribe() for _ in range(20)]

                async def count(subscription: samemap.Subscription) -> int:
                    got = 0
                    async for sample in subscription:
                        got += 1
                        if sample.value == b"end":
                            break
                    return got

                tasks = [asyncio.create_task(count(each)) for each in subscriptions]
                lost = asyncio.create_task(topic.subscribe().recv_async())
                await asyncio.sleep(0.02)
                threads = threading.active_count()
                lost.cancel()
                for _ in range(9):
                    assert await topic.publish_async(b"") > 0
                await topic.publish_async(b"end")
                return list(await asyncio.gather(*tasks)), threads

        counts, threads = asyncio.run(run())
        assert counts == [10] * 20
        assert threads <= threading.active_count() + 1

    def test_a_cancelled_wait_loses_nothing(self) -> None:
        async def run() -> bytes:
            with Topic() as topic, topic.subscribe() as subscription:
                task = asyncio.create_task(subscription.recv_async())
                await asyncio.sleep(0.01)
                topic.publish(b"kept")
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                if not task.cancelled():
                    return bytes(task.result())
                return bytes(await subscription.recv_async(1))

        assert asyncio.run(run()) == b"kept"


class TestWhoIsThere:
    def test_a_hundred_subscriptions_and_no_more_than_there_is_room_for(self) -> None:
        with Topic(max_subscribers=100, slots=4) as topic:
            subscriptions = [topic.subscribe() for _ in range(100)]
            topic.publish(b"to all")
            assert {each.recv(1).value for each in subscriptions} == {b"to all"}
            with pytest.raises(ValueError, match="room for 100 subscriptions"):
                topic.subscribe()
            subscriptions.pop().close()
            assert topic.subscribe().policy == "drop"
            assert topic.wait_for_subscribers(99, 0)

    def test_records(self) -> None:
        with Topic(max_message=LARGE) as topic:
            subscription = topic.subscribe("latest")
            topic.publish(bytes(LARGE))
            sample = subscription.recv(1)
            (found,) = topic.subscribers()
            assert (found.policy, found.received, found.missed, found.lag, found.pins) == ("latest", 1, 0, 0, 1)
            assert sum(found.delays) == 1
            (who,) = topic.publishers()
            assert (who.messages, who.bytes, who.dropped, who.alive) == (1, LARGE, 0, True)
            assert sample.publisher is not None
            assert sample.publisher.pid == who.pid
            assert 0 <= sample.age < 60
            assert abs(sample.time - time.time()) < 60
            assert [each.role for each in topic.participants()] == ["both"]

    def test_a_subscription_cannot_travel_and_a_topic_can(self) -> None:
        with Topic("t", shape=3, dtype="u1") as topic:
            with pytest.raises(TypeError, match="subscribe there"):
                pickle.dumps(topic.subscribe())
            with pickle.loads(pickle.dumps(topic)) as again:
                again.publish([1, 2, 3])
            assert topic.last()[0].array.tolist() == [1, 2, 3]


class TestLatest:
    def test_the_newest_value(self) -> None:
        with Latest("v", dtype="f8", shape=2) as latest:
            with pytest.raises(samemap.Empty):
                latest.get()
            assert latest.get(None) is None
            assert latest.age == math.inf
            assert [latest.set([n, n]) for n in range(3)] == [1, 2, 3]
            assert latest.get().tolist() == [2, 2]
            assert (latest.seq, latest.sample().seq, latest.sample().missed) == (3, 3, 0)
            with pytest.raises(samemap.Empty, match="newer than number 3"):
                latest.wait_newer(timeout=0.01)
            assert latest.wait_newer(2).tolist() == [2, 2]
            timer = threading.Timer(0.05, latest.set, ([9, 9],))
            timer.start()
            assert latest.wait_newer(timeout=20).tolist() == [9, 9]
            timer.join()

    def test_changes_one_after_the_other_until_it_is_closed(self) -> None:
        latest = Latest()
        latest.set(b"0")
        seen = []
        for value in latest:
            seen.append(value)
            if len(seen) == 3:
                latest.close()
            else:
                latest.set(b"%d" % len(seen))
        assert seen == [b"0", b"1", b"2"]

        async def run() -> list[bytes]:
            with Latest() as other:
                other.set(b"a")
                seen = []
                async for value in other:
                    seen.append(value)
                    if len(seen) == 2:
                        return seen
                    asyncio.get_running_loop().call_later(0.02, other.set, b"b")
            raise AssertionError

        assert asyncio.run(run()) == [b"a", b"b"]
