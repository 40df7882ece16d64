"""`Sample` and `Loan`: memory of slots in users' hands, and slots that run out."""

from __future__ import annotations

import copy
import ctypes
import gc
import hashlib
import io
import os
import pickle
import queue
import struct
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from isolated import until
from kinds import POINT
from waking import is_woken

from samemap import Full, Topic

LARGE = 40_000
IMAGE = np.arange(10_000, dtype="f4").reshape(100, 100)

#: Ways to see a sample's bytes without a copy.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "memoryview": memoryview,
    "slice of one": lambda sample: memoryview(sample)[4:],
    "array": lambda sample: sample.array,
    "part of one": lambda sample: sample.array[5:, ::2],
    "value": lambda sample: sample.value,
    "asarray": np.asarray,
    "frombuffer": lambda sample: np.frombuffer(sample, "f4"),
    "ndarray(buffer=)": lambda sample: np.ndarray((100, 100), "f4", buffer=sample),
    "DLPack": lambda sample: np.from_dlpack(sample.array),
    "array interface": lambda sample: np.asarray(sample.array.view(np.uint8).ravel()),
}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def flat(view: Any) -> bytes:
    return bytes(view) if isinstance(view, memoryview) else view.tobytes()


class TestViews:
    @each_view
    def test_outlive_sample_subscription_and_topic(self, view: Callable[[Any], Any]) -> None:
        with Topic("feed", shape=(100, 100), dtype="f4", slots=2) as other:
            feed = Topic.open("feed")
            subscription = feed.subscribe()
            other.publish(IMAGE)
            sample = subscription.recv(60)
            seen = view(sample)
            was = flat(seen)
            sample.release()
            subscription.close()
            feed.close()
            del sample, subscription, feed
            gc.collect()
            # All that can be taken is taken, over and over.
            assert other.publish_many(np.zeros((9, 100, 100), "f4"), timeout=0) == 1
            assert other.stats().pinned == 1
            assert flat(seen) == was
            del seen
            gc.collect()
            assert (other.stats().pinned, other.subscribers()) == (0, [])
            assert other.publish_many(np.zeros((9, 100, 100), "f4"), timeout=0) == 9

    @each_view
    def test_are_read_only(self, view: Callable[[Any], Any]) -> None:
        for image in (IMAGE, IMAGE[:2, :2]):
            with Topic(shape=image.shape, dtype="f4") as feed, feed.subscribe() as subscription:
                feed.publish(image)
                sample = subscription.recv(60)
                if image is not IMAGE and view is VIEWS["ndarray(buffer=)"]:
                    continue
                seen = view(sample)
                with pytest.raises((TypeError, ValueError), match=r"read-only|modify"):
                    seen[0] = 1
                if isinstance(seen, np.ndarray):
                    with pytest.raises(ValueError, match="WRITEABLE"):
                        seen.flags.writeable = True
                for write in (
                    (ctypes.c_ubyte * 4).from_buffer,
                    io.BytesIO(b"x" * 9).readinto,
                    lambda seen: struct.pack_into("I", seen, 0, 1),
                ):
                    for target in (seen, sample):
                        with pytest.raises((TypeError, BufferError, ValueError)):
                            write(target)
                assert feed.last()[0].array.tobytes() == image.tobytes()

    def test_each_keeps_the_slot_by_itself(self) -> None:
        with Topic(max_message=LARGE, slots=2) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * LARGE)
            sample = subscription.recv(60)
            views = [memoryview(sample), sample.array, memoryview(sample)[5:7], np.ndarray(9, "u1", buffer=sample)]
            del sample
            feed.publish(b"y")
            while views:
                with pytest.raises(Full):
                    feed.publish_nowait(b"z")
                assert bytes(views[0][:1] if len(views) != 2 else views[0]) in (b"x", b"xx")
                views.pop(0)
            assert feed.publish_nowait(b"z") == 3

    def test_small_ones_are_copies_that_hold_up_nothing(self) -> None:
        with Topic(max_message=4097, slots=2) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * 4096)
            small = subscription.recv(60)
            assert (small.pinned, feed.stats().pinned) == (False, 0)
            seen = memoryview(small)
            for _ in range(5):
                feed.publish_nowait(b"y" * 4096)
            assert bytes(small) == bytes(seen) == b"x" * 4096
            assert small.array is small.array
            for large in iter(subscription.poll, None):
                assert not large.pinned
            feed.publish(b"z" * 4097)
            large = subscription.recv(60)
            assert (large.pinned, feed.stats().pinned) == (True, 1)

    def test_several_subscriptions_pin_by_themselves(self) -> None:
        with Topic(max_message=LARGE, slots=2) as feed:
            subscriptions = [feed.subscribe() for _ in range(100)]
            feed.publish(b"x" * LARGE)
            samples = [subscription.recv(60) for subscription in subscriptions]
            feed.publish(b"y")
            assert [found.pins for found in feed.subscribers()] == [1] * 100
            while samples:
                with pytest.raises(Full):
                    feed.publish_nowait(b"z")
                assert bytes(samples.pop(len(samples) // 2)) == b"x" * LARGE
            assert feed.publish_nowait(b"z") == 3

    def test_records_and_their_fields(self) -> None:
        with Topic(shape=3, dtype=POINT) as feed, feed.subscribe() as subscription:
            with feed.loan() as frame:
                frame["x"], frame["y"], frame["name"] = 1.5, (1, 2, 3), b"abc"
            found = subscription.recv(60).array
            assert found["y"].tolist() == [1, 2, 3]
            assert found[2].item() == (1.5, 3, b"abc")
            with pytest.raises(ValueError, match="read-only"):
                found["y"][0] = 1


class TestReleasing:
    def test_ends_what_the_sample_keeps_and_no_view(self) -> None:
        with Topic(max_message=LARGE, slots=2) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * LARGE)
            with subscription.recv(60) as sample:
                assert sample.pinned
                view = memoryview(sample)
            sample.release()
            assert (sample.pinned, len(sample), sample.seq, feed.stats().pinned) == (False, LARGE, 1, 1)
            assert bytes(view) == b"x" * LARGE
            for use in (lambda: bytes(sample), lambda: memoryview(sample), lambda: sample.array, lambda: sample.value):
                with pytest.raises(ValueError, match="message 1 was released"):
                    use()
            view.release()
            assert feed.stats().pinned == 0
            assert repr(sample) == f"<samemap.Sample 1: {LARGE} bytes>"

    def test_of_one_that_is_relied_on_waits_for_its_end(self) -> None:
        with Topic(max_message=LARGE, slots=2) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * LARGE)
            sample = subscription.recv(60)
            # Releases its buffer at once, and relies on the sample.
            array = np.ndarray(LARGE, "u1", buffer=sample)
            assert array.base is sample
            sample.release()
            assert sample.pinned
            del sample
            assert (feed.stats().pinned, int(array.max())) == (1, ord("x"))
            del array
            assert feed.stats().pinned == 0

    def test_after_bytes_were_taken_is_at_once(self) -> None:
        with Topic(max_message=LARGE) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * LARGE)
            with subscription.recv(60) as sample:
                taken = bytes(sample), sample.value, hashlib.sha256(memoryview(sample)).digest(), sample.array.sum()
            assert feed.stats().pinned == 0
            assert taken[0] == taken[1] == b"x" * LARGE

    def test_after_bare_bytes_were_asked_for_waits_for_its_end(self) -> None:
        with Topic(max_message=LARGE) as feed, feed.subscribe() as subscription:
            feed.publish(b"x" * LARGE)
            with subscription.recv(60) as sample:
                # In no way told from what goes on reading without a buffer, so the sample stays to be relied on.
                hashlib.sha256(sample)
            assert sample.pinned
            del sample
            assert feed.stats().pinned == 0

    def test_tells_the_truth_and_does_not_travel(self) -> None:
        with Topic(max_message=LARGE, slots=2) as feed, feed.subscribe() as subscription:
            for _ in range(5):
                feed.publish(b"x" * LARGE)
            sample = subscription.recv(60)
            assert repr(sample) == f"<samemap.Sample 4: {LARGE} bytes, 3 missed before it, pinned>"
            assert 0 <= sample.age < 60
            assert abs(sample.time - time.time()) < 60
            assert (sample.publisher.pid, sample.publisher.alive) == (os.getpid(), True)
            for take in (copy.copy, pickle.dumps):
                with pytest.raises(TypeError):
                    take(sample)
            assert weakref.ref(sample)() is sample
            assert subscription.recv(60).missed == 0


class TestRunningOut:
    """Two slots: one is pinned, and the other has the newest message, which stays."""

    @pytest.fixture
    def full(self) -> tuple[Topic, list[Any]]:
        feed = Topic("feed", max_message=LARGE, slots=2)
        subscription = feed.subscribe()
        feed.publish(b"x" * LARGE)
        kept = [subscription.recv(60)]
        feed.publish(b"y" * LARGE)
        return feed, kept

    def test_the_message_names_slot_process_and_time(self, full: tuple[Topic, list[Any]]) -> None:
        feed, kept = full
        time.sleep(0.12)
        with pytest.raises(Full) as caught:
            feed.publish(b"z", timeout=0)
        text = str(caught.value)
        assert f"slot 0 (message 1): pinned by pid {os.getpid()} (" in text
        assert "for 0." in text
        assert "for 0.0 s" not in text
        assert "no free slot of 2" in text
        assert str(feed.path) in text
        assert isinstance(caught.value, queue.Full)
        assert isinstance(caught.value, TimeoutError)
        kept.clear()

    @pytest.mark.parametrize("end", ["release", "forget", "close"])
    def test_a_publisher_goes_on_when_a_pin_goes(self, full: tuple[Topic, list[Any]], end: str) -> None:
        feed, kept = full
        if end == "close":
            # A view of it stays.
            kept.append(memoryview(kept[0]))
        got: list[int] = []
        publish = threading.Thread(target=lambda: got.append(feed.publish(b"z")))
        publish.start()
        until(lambda: feed.stats().waiting == 1, "a publisher that waits")
        assert got == []
        if end == "release":
            kept[0].release()
        elif end == "close":
            kept[0].release()
            kept[1].release()
        else:
            kept.clear()
        publish.join(60)
        assert got == [3]
        feed.close()

    def test_it_is_woken_and_does_not_find_out_by_itself(self, full: tuple[Topic, list[Any]]) -> None:
        feed, kept = full
        # Not this one: its subscription is gone, and ends with it.
        kept.clear()
        subscription = feed.subscribe("latest")

        def publish() -> None:
            if not kept:
                feed.publish(b"x" * LARGE)
                kept.append(subscription.recv(0))
                feed.publish(b"y")
            feed.publish(b"z")

        assert is_woken(feed, publish, lambda: kept.pop().release())
        loans: list[Any] = []

        def lend() -> None:
            if not loans:
                loans.append(feed.loan(1))
            feed.publish(b"z")

        # Abandoned, and published.
        assert is_woken(feed, lend, loans.clear)
        assert is_woken(feed, lend, lambda: loans[0].__enter__() and loans.pop().__exit__(None, None, None))

    def test_loans_count_too(self) -> None:
        with Topic("feed", slots=2) as feed:
            feed.publish(b"newest")
            with feed.loan(1), pytest.raises(Full, match=rf"slot \d \(message 0\): in the hands of pid {os.getpid()} "):
                feed.publish(b"x", timeout=0.01)
            assert feed.publish_nowait(b"x") == 3


class TestLoans:
    def test_are_published_at_their_end_and_read_only_afterwards(self) -> None:
        with Topic(shape=(100, 100), dtype="f4") as feed, feed.subscribe() as subscription:
            loan = feed.loan()
            assert (loan.seq, repr(loan)) == (0, "<samemap.Loan of 40000 bytes, for a with block>")
            with loan as frame:
                assert (frame.shape, frame.dtype, frame.flags.writeable) == ((100, 100), np.dtype("f4"), True)
                assert (feed.stats().loaned, subscription.poll(), feed.seq) == (1, None, 0)
                frame[:] = IMAGE
            assert (loan.seq, repr(loan)) == (1, "<samemap.Loan, published as 1>")
            with pytest.raises(ValueError, match="read-only"):
                frame[0] = 1
            sample = subscription.recv(60)
            assert (sample.seq, np.array_equal(sample.array, IMAGE)) == (1, True)
            # No copy of it was made.
            assert frame.ctypes.data % 64 == 0
            assert feed.stats().loaned == 1
            del frame
            assert feed.stats().loaned == 0

    def test_a_frame_keeps_the_slot_from_being_used_again(self) -> None:
        with Topic(shape=5000, dtype="u1", slots=3) as feed:
            with feed.loan() as frame:
                frame[:] = 7
            part = frame[10:20]
            del frame
            for n in range(7):
                feed.publish(np.full(5000, n, "u1"), timeout=0)
            assert part.tolist() == [7] * 10
            assert [sample.seq for sample in feed.last()] == [1, 7, 8]

    def test_are_abandoned_when_the_block_raises(self) -> None:
        with Topic(slots=2) as feed, feed.subscribe("block") as subscription:
            for _ in range(20):
                loan = feed.loan(5)
                with pytest.raises(KeyError), loan as place:  # noqa: PT012 - the block is what is tested
                    place[:] = b"wrong"
                    raise KeyError
                assert (loan.seq, repr(loan)) == (0, "<samemap.Loan, over>")
                assert (feed.stats().loaned, feed.seq, subscription.poll()) == (0, 0, None)
            feed.loan()
            assert feed.stats().loaned == 0
            # Entered, and forgotten: its frame keeps the slot, and nothing is published.
            place = feed.loan(5).__enter__()
            assert feed.stats().loaned == 1
            del place
            assert (feed.stats().loaned, feed.seq) == (0, 0)
            with feed.loan(5) as place:
                place[:] = b"right"
            assert subscription.recv(60).value == b"right"

    def test_of_bytes_are_as_long_as_was_asked(self) -> None:
        with Topic(max_message=100) as feed:
            for size in (0, 1, 99, 100, None):
                with feed.loan(size) as place:
                    length = 100 if size is None else size
                    assert (len(place), place.readonly, place.format, place.ndim) == (length, False, "B", 1)
                    place[:] = b"x" * length
                assert feed.last()[-1].value == b"x" * length
                with pytest.raises(ValueError, match="released"):
                    place[0] = 1
            for wrong in (101, -1, 2**62):
                with pytest.raises(ValueError, match=str(wrong)):
                    feed.loan(wrong)
            with pytest.raises(TypeError):
                feed.loan(2.5)  # type: ignore[arg-type]
            assert feed.stats().loaned == 0

    def test_of_objects_there_are_none(self) -> None:
        for made in ({"codec": "pickle"}, {"type": int}):
            with Topic(**made) as feed, pytest.raises(TypeError, match="publish"):
                feed.loan()
        with Topic(shape=3) as arrays, pytest.raises(TypeError, match="no size"):
            arrays.loan(5)

    def test_two_at_once_are_numbered_as_they_end(self) -> None:
        with Topic(slots=3) as feed:
            first, second = feed.loan(5), feed.loan(6)
            with first as place:
                with second as other:
                    other[:] = b"second"
                place[:] = b"first"
            assert (first.seq, second.seq) == (2, 1)
            assert [sample.value for sample in feed.last()] == [b"second", b"first"]
            third = feed.loan()
            feed.publish(b"meanwhile")
            fourth = feed.loan(1)
            with pytest.raises(Full):
                feed.loan(1, timeout=0)
            del fourth
            with third as place:
                place[:3] = b"abc"
            assert third.seq == 4

    def test_are_for_one_block_each(self) -> None:
        with Topic() as feed:
            loan = feed.loan(1)
            with loan, pytest.raises(RuntimeError, match="one with block"):
                loan.__enter__()
            with pytest.raises(RuntimeError, match="one with block"):
                loan.__enter__()
            loan.__exit__(None, None, None)
            assert feed.seq == 1

    def test_of_a_topic_that_was_closed_meanwhile_are_lost(self) -> None:
        with Topic("feed") as other:
            feed = Topic.open("feed")
            loan = feed.loan(5)
            place = loan.__enter__()
            place[:] = b"never"
            feed.close()
            assert other.stats().loaned == 1
            with pytest.raises(ValueError, match="closed"):
                loan.__exit__(None, None, None)
            assert (other.stats().loaned, other.seq, loan.seq) == (0, 0, 0)

    def test_with_a_timeout(self) -> None:
        with Topic(slots=2) as feed:
            blocking = feed.subscribe("block")
            feed.publish(b"1")
            feed.publish(b"2")
            for timeout in (0, 0.02):
                with pytest.raises(Full):
                    feed.loan(1, timeout)
            got: list[int] = []

            def fill() -> None:
                with feed.loan(1) as place:
                    place[:] = b"3"
                got.append(feed.seq)

            filler = threading.Thread(target=fill)
            filler.start()
            until(lambda: feed.stats().waiting == 1, "a loan that waits")
            blocking.recv(60)
            filler.join(60)
            assert got == [3]
