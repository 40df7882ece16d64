"""Messages of a `Topic`: what goes in comes out, and what happens when it is full."""

from __future__ import annotations

import itertools
import math
import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest
from isolated import until
from kinds import KINDS, Pose, each_kind, same

from samemap import Empty, Full, Topic


class TestBytes:
    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65535, 65536])
    def test_any_size_that_fits(self, size: int) -> None:
        message = bytes(n * 7 % 256 for n in range(size))
        with Topic() as feed, feed.subscribe() as subscription:
            assert feed.publish(message) == 1
            sample = subscription.recv(60)
            assert bytes(sample) == sample.value == bytes(memoryview(sample)) == message
            assert (len(sample), sample.array.tobytes()) == (size, message)
            assert feed.last()[0].value == message

    def test_one_byte_more_is_refused_and_nothing_is_lost(self) -> None:
        with Topic("feed", max_message=10, slots=2) as feed, feed.subscribe("block") as subscription:
            feed.publish(b"x" * 10)
            for publish in (feed.publish, feed.publish_nowait, lambda value: feed.publish_many([value])):
                with pytest.raises(ValueError, match=r"message of 11 bytes .* has 10 \(max_message"):
                    publish(b"x" * 11)
            with pytest.raises(ValueError, match="11 bytes"):
                feed.loan(11)
            assert (feed.seq, feed.stats().loaned, feed.publish(b"")) == (1, 0, 2)
            assert [subscription.recv(60).value for _ in range(2)] == [b"x" * 10, b""]

    @pytest.mark.parametrize(
        "like",
        [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"-a-b-c-d")[1::2], np.frombuffer(b"abcd", "u2")],
        ids=["bytearray", "memoryview", "with steps", "array"],
    )
    def test_anything_with_the_buffer_protocol(self, like: Any) -> None:
        with Topic() as feed:
            feed.publish(like)
            assert feed.last()[0].value == b"abcd"

    @pytest.mark.parametrize("wrong", ["text", None, 5, [b"x"], object()])
    def test_nothing_else(self, wrong: Any) -> None:
        with Topic() as feed, feed.subscribe() as subscription:
            with pytest.raises(TypeError):
                feed.publish(wrong)
            assert (feed.seq, subscription.lag, feed.stats().loaned) == (0, 0, 0)

    def test_a_sample_can_be_passed_on(self) -> None:
        with Topic(max_message=9000) as source, Topic(max_message=9000) as sink:
            subscription = source.subscribe()
            for size in (3, 9000):
                source.publish(b"x" * size)
                sink.publish(subscription.recv(60))
            assert [sample.value for sample in sink.last()] == [b"xxx", b"x" * 9000]


class TestObjects:
    @each_kind
    def test_come_back_as_they_were(self, made: dict[str, Any], message: Any) -> None:
        with Topic(**made) as feed, feed.subscribe() as subscription:
            feed.publish(message)
            assert same(subscription.recv(60).value, message)

    def test_of_another_shape_or_dtype_are_refused(self) -> None:
        with Topic(shape=(2, 3), dtype="u1") as feed:
            for wrong in (np.zeros((3, 2), "u1"), np.zeros((2, 3), "f8") + 0.5, np.zeros((2, 3, 1), "u1"), b"123456"):
                with pytest.raises((TypeError, ValueError)):
                    feed.publish(wrong)
            assert (feed.seq, feed.publish(np.asfortranarray([[1, 2, 3], [4, 5, 6]], "u1"))) == (0, 1)
            assert feed.last()[0].array.tolist() == [[1, 2, 3], [4, 5, 6]]

    def test_of_a_type_come_as_plain_ones_where_it_is_not_given(self) -> None:
        with Topic("feed", type=Pose) as feed, Topic.open("feed") as plain:
            feed.publish(Pose(1, 2))
            assert plain.last()[0].value == {"x": 1.0, "y": 2.0}
            with pytest.raises(TypeError):
                feed.publish({"x": 1.0, "y": 2.0})

    def test_that_are_pickled_keep_their_slot_by_the_arrays_in_them(self) -> None:
        image = np.arange(10_000)
        with Topic(codec="pickle", max_message=100_000, slots=2) as feed, feed.subscribe() as subscription:
            feed.publish({"id": 7, "image": image})
            found = subscription.recv(60).value
            assert feed.stats().pinned == 1
            assert (found["id"], found["image"].flags.writeable) == (7, False)
            assert np.array_equal(found["image"], image)
            feed.publish("another")
            with pytest.raises(Full):
                feed.publish_nowait("a third")
            # Its bytes are in the slot, so that one is what had to be kept.
            assert np.array_equal(found["image"], image)
            del found
            assert feed.stats().pinned == 0
            assert feed.publish_nowait("a third") == 3

    def test_that_cannot_be_pickled_or_do_not_fit_lose_nothing(self) -> None:
        with Topic(codec="pickle", max_message=100) as feed:
            with pytest.raises((pickle.PicklingError, AttributeError)):
                feed.publish(lambda: None)
            with pytest.raises(ValueError, match="100"):
                feed.publish("x" * 100)
            assert (feed.publish("x"), feed.stats().loaned) == (1, 0)


class TestMany:
    def test_rows_are_messages(self) -> None:
        rows = np.arange(600, dtype="i4").reshape(100, 2, 3)
        with Topic(shape=(2, 3), dtype="i4", slots=128) as feed, feed.subscribe("block") as subscription:
            assert feed.publish_many(rows) == 100
            assert feed.publish_many(rows[:0]) == 0
            assert feed.publish_many(rows[::-1][:3]) == 3
            assert feed.publish_many([[[1, 2, 3], [4, 5, 6]]]) == 1
            assert (feed.seq, feed.stats().bytes) == (104, 104 * 24)
            assert np.array_equal(subscription.recv_many(40), rows[:40])
            found = subscription.recv_many()
            assert (found.shape, found.dtype, found.flags.writeable) == ((64, 2, 3), np.dtype("i4"), True)
            assert np.array_equal(found[:60], rows[40:])
            assert found[60:].tolist() == [*rows[::-1][:3].tolist(), [[1, 2, 3], [4, 5, 6]]]
            assert (subscription.received, subscription.missed, subscription.lag) == (104, 0, 0)

    def test_more_than_there_are_slots_and_fewer_bits_than_numbers(self) -> None:
        numbers = np.arange(100_000)
        with Topic(shape=(), dtype="i8", slots=64) as feed, feed.subscribe("block") as subscription:
            sender = threading.Thread(target=lambda: feed.publish_many(numbers))
            sender.start()
            got: list[Any] = []
            while sum(map(len, got)) < len(numbers):
                got.append(subscription.recv_many(timeout=60))
            sender.join(60)
            assert np.array_equal(np.concatenate(got), numbers)

    @pytest.mark.parametrize("kind", ["array", "bytes"])
    def test_as_many_as_there_is_room_for_in_time(self, kind: str) -> None:
        made, message = KINDS[kind]
        values: Any = np.stack([message] * 6) if kind == "array" else [message] * 6
        with Topic(**made, slots=4) as feed, feed.subscribe("block") as subscription:
            assert feed.publish_many(values, timeout=0.02) == 4
            for timeout in (0, 0.02):
                with pytest.raises(Full, match="not yet read by"):
                    feed.publish_many(values, timeout=timeout)
            subscription.recv(60).release()
            assert feed.publish_many(values, timeout=0) == 1
            assert (feed.seq, feed.stats().messages) == (5, 5)

    @pytest.mark.parametrize("when_full", ["wait", "raise"])
    @pytest.mark.parametrize(
        "made", [iter, lambda values: (value for value in values), lambda values: map(bytes, values)]
    )
    def test_of_an_iterator_none_is_lost(self, when_full: Any, made: Any) -> None:
        messages = [b"%d" % n for n in range(10)]
        left, got = made(messages), []
        with Topic(slots=4, when_full=when_full) as feed, feed.subscribe("block") as subscription:
            # Twice not even one can be published.
            for count, reads in ((4, 0), (0, 3), (3, 0), (0, 3)):
                with pytest.raises(Full, match="not yet read by") as caught:
                    feed.publish_many(left, timeout=0.01)
                full = caught.value
                assert (full.published, full.unpublished) == (count, (messages[feed.seq],))
                left = itertools.chain(full.unpublished, left)
                got += subscription.recv_many(reads)
            assert feed.publish_many(left, timeout=0.01) == 3
            assert got + subscription.recv_many() == messages

    def test_of_a_sequence_the_rest_is_left_and_of_a_set_one_comes_back(self) -> None:
        with Topic(slots=2) as feed, feed.subscribe("block"):
            messages = [b"1", b"2", b"3"]
            assert feed.publish_many(messages, timeout=0) == 2
            with pytest.raises(Full) as caught:
                feed.publish_many(messages[2:], timeout=0)
            assert (caught.value.published, caught.value.unpublished) == (0, ())
            with pytest.raises(Full) as caught:
                feed.publish_many({b"3"}, timeout=0)
            assert (caught.value.published, caught.value.unpublished) == (0, (b"3",))

    def test_what_times_out_by_itself_is_no_full_topic(self) -> None:
        class Slow:
            def __reduce__(self) -> Any:
                raise TimeoutError("slow")

        with Topic(codec="pickle") as feed, pytest.raises(TimeoutError, match="slow"):
            feed.publish_many([1, Slow()])

    @pytest.mark.parametrize("kind", ["array", "bytes"])
    def test_where_full_ones_are_dropped_all_are_counted(self, kind: str) -> None:
        made, message = KINDS[kind]
        values: Any = np.stack([message] * 6) if kind == "array" else [message] * 6
        with Topic(**made, slots=4, when_full="drop") as feed, feed.subscribe("block"):
            assert feed.publish_many(values) == 4
            assert (feed.stats().messages, feed.stats().dropped, feed.publish(message)) == (4, 2, 0)
            assert [(found.messages, found.dropped) for found in feed.publishers()] == [(4, 3)]

    def test_of_which_one_is_wrong_the_ones_before_it_are_there(self) -> None:
        with Topic(max_message=4) as feed:
            with pytest.raises(ValueError, match="5 bytes"):
                feed.publish_many([b"one", b"two", b"three", b"four"])
            assert [sample.value for sample in feed.last()] == [b"one", b"two"]
        with Topic(shape=2, dtype="u1") as numbers:
            for wrong in (np.zeros((3, 3), "u1"), np.zeros(2, "u1"), 5):
                with pytest.raises((TypeError, ValueError)):
                    numbers.publish_many(wrong)
            assert numbers.seq == 0

    def test_come_out_as_lists_of_what_they_are(self) -> None:
        for kind in ("bytes", "typed", "pickle"):
            made, message = KINDS[kind]
            with Topic(**made) as feed, feed.subscribe() as subscription:
                assert feed.publish_many([message] * 3) == 3
                assert subscription.recv_many(2) == [message] * 2
                assert subscription.recv_many() == [message]
                assert subscription.recv_many(0) == []

    @pytest.mark.parametrize("policy", ["latest", "drop", "block"])
    def test_rows_are_made_for_as_many_as_there_are(self, policy: Any) -> None:
        with Topic(shape=(), dtype="i8", slots=8) as feed, feed.subscribe(policy) as subscription:
            for most in (10**12, 2**63 - 1):
                feed.publish_many(np.arange(3))
                found = subscription.recv_many(most)
                assert found.tolist() == ([2] if policy == "latest" else [0, 1, 2])
                # What it is a part of, too.
                assert (found if found.base is None else found.base).size <= 3
            assert subscription.recv_many(0).shape == (0,)
            with pytest.raises(Empty, match="no message now"):
                subscription.recv_many(10**12, 0)
            came: list[Any] = []
            reader = threading.Thread(target=lambda: came.append(subscription.recv_many(10**12, 60).tolist()))
            reader.start()
            until(lambda: feed.stats().waiting == 1, "a reader that waits")
            feed.publish(7)
            reader.join(60)
            assert came == [[7]]

    def test_rows_are_made_for_no_more_than_there_are_slots(self) -> None:
        with Topic(shape=(), dtype="i8", slots=4) as feed, feed.subscribe() as subscription:
            feed.publish_many(np.arange(100))
            found = subscription.recv_many(10**12)
            assert (found.tolist(), subscription.missed) == ([96, 97, 98, 99], 96)
            assert (found if found.base is None else found.base).size == 4


class TestWhenFull:
    def fill(self, when_full: Any) -> tuple[Topic, Any]:
        feed = Topic("feed", slots=2, when_full=when_full)
        subscription = feed.subscribe("block")
        assert [feed.publish(b"1"), feed.publish(b"2")] == [1, 2]
        return feed, subscription

    @pytest.mark.parametrize("timeout", [0, 0.02, 1e-9])
    def test_waits_as_long_as_it_is_told(self, timeout: float) -> None:
        feed, _kept = self.fill("wait")
        with feed, pytest.raises(Full):
            feed.publish(b"3", timeout)

    @pytest.mark.parametrize("timeout", [None, math.inf, sys.float_info.max, 60])
    def test_is_woken_by_who_reads(self, timeout: float | None) -> None:
        feed, subscription = self.fill("wait")
        got: list[int] = []
        publisher = threading.Thread(target=lambda: got.append(feed.publish(b"3", timeout)))
        publisher.start()
        until(lambda: feed.stats().waiting == 1, "a publisher that waits")
        subscription.recv(60)
        publisher.join(60)
        assert got == [3]
        feed.close()

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_refuses_a_timeout_that_makes_no_sense(self, timeout: float) -> None:
        with Topic() as feed:
            for publish in (feed.publish, lambda value, timeout: feed.publish_many([value], timeout)):
                with pytest.raises(ValueError, match="timeout"):
                    publish(b"x", timeout)
            for wait in (lambda: feed.loan(1, timeout), lambda: feed.wait_for_subscribers(1, timeout)):
                with pytest.raises(ValueError, match="timeout"):
                    wait()
            assert feed.seq == 0

    def test_raises_or_drops_at_once(self) -> None:
        feed, _kept = self.fill("raise")
        with feed:
            for publish in (
                lambda: feed.publish(b"3", 60),
                lambda: feed.publish_nowait(b"3"),
                lambda: feed.publish_many([b"3"], 60),
                lambda: feed.loan(1, 60),
            ):
                with pytest.raises(Full):
                    publish()
            with Topic.open("feed", when_full="drop") as dropper:
                assert (dropper.publish(b"3"), dropper.publish_nowait(b"3")) == (0, 0)
                with dropper.loan(5) as frame:
                    frame[:] = b"12345"
                assert dropper.stats().dropped == 3
            assert (feed.seq, feed.stats().dropped) == (2, 3)

    def test_says_who_keeps_what(self) -> None:
        feed, subscription = self.fill("raise")
        with feed:
            with pytest.raises(Full) as caught:
                feed.publish(b"3")
            text = str(caught.value)
            assert all(f"slot {slot} (message {slot + 1}): not yet read by pid" in text for slot in (0, 1)), text
            assert str(feed.path) in text
            subscription.recv(60)
            with feed.loan(1) as _frame, pytest.raises(Full, match=r"slot 0 .*in the hands of pid \d+ .* for 0\.\d s"):
                feed.publish(b"4")
