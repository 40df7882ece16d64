"""Opening a `Topic` and closing it: names, what must agree, and what is left of it."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kinds import POINT, Pixel, Pose, each_kind, same

from samemap import Latest, Lock, SegmentMismatch, Topic


class TestOpening:
    @each_kind
    def test_whoever_opens_it_gets_the_same_one(self, made: dict[str, Any], message: Any) -> None:
        with Topic("feed", **made, slots=5) as first, Topic("feed", **made) as second:
            subscription = second.subscribe()
            assert first.publish(message) == 1
            assert same(subscription.recv(60).value, message)
            assert (second.seq, second.slots, second.max_message) == (1, 5, first.max_message)

    def test_create_and_open_insist(self, runtime_directory: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Topic.open("feed")
        with Topic.create("feed"), pytest.raises(FileExistsError):
            Topic.create("feed")
        assert [path.name for path in runtime_directory.iterdir()] == ["feed"]

    def test_open_takes_what_there_is(self) -> None:
        with Topic.create("feed", shape=(2, 3), dtype="u2", slots=3), Topic.open("feed") as feed:
            assert (feed.shape, feed.dtype, feed.codec, feed.slots, feed.max_message) == (
                (2, 3),
                np.dtype("u2"),
                "numpy",
                3,
                12,
            )
        with Topic("feed") as feed:
            assert feed.dtype == np.dtype("u2")
        with Topic(type=Pose) as feed:
            assert (feed.shape, feed.dtype, feed.codec) == (None, None, "msgspec")

    @pytest.mark.parametrize(
        ("made", "asked", "words"),
        [
            ({"shape": 3, "dtype": "f4"}, {"dtype": "f8"}, ["dtype", "float32", "float64"]),
            ({"shape": 3, "dtype": "f4"}, {"shape": (3, 1), "dtype": "f4"}, ["shape", "(3,)", "(3, 1)"]),
            ({"shape": (), "dtype": POINT}, {"dtype": [("x", "f4"), ("z", "<i8")]}, ["y", "z"]),
            ({"shape": 3, "dtype": "f4"}, {"type": Pose}, ["codec", "numpy", "msgspec"]),
            ({"type": Pose}, {"type": Pixel}, ["x", "float", "int"]),
            ({"type": Pose}, {"codec": "pickle"}, ["codec", "msgspec", "pickle"]),
            ({}, {"shape": 3}, ["codec", "bytes", "numpy"]),
            ({}, {"codec": "pickle"}, ["codec", "bytes", "pickle"]),
            ({"codec": "pickle"}, {}, ["pickle", "codec='pickle'"]),
            ({"codec": "pickle"}, {"type": Pose}, ["codec='pickle'"]),
        ],
    )
    @pytest.mark.parametrize("how", [Topic, Topic.open])
    def test_other_messages_are_refused_field_by_field(
        self, made: dict[str, Any], asked: dict[str, Any], words: list[str], how: Callable[..., Topic]
    ) -> None:
        with Topic("feed", **made) as feed:
            with pytest.raises(SegmentMismatch) as caught:
                how("feed", **asked)
            assert all(word in str(caught.value) for word in [*words, "feed"]), caught.value
            del caught
            assert feed.stats().participants == 1

    @pytest.mark.parametrize("field", ["slots", "max_message", "max_subscribers"])
    def test_other_numbers_are_refused(self, field: str) -> None:
        with Topic("feed", slots=4, max_message=100, max_subscribers=8) as feed:
            was = getattr(feed, field)
            with Topic("feed", **{field: was}):
                pass
            with pytest.raises(ValueError, match=rf"'feed' exists.*{field}={was}, not {field}={was + 1}"):
                Topic("feed", **{field: was + 1})
            assert feed.publish(b"still fine") == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"when_full": "explode"},
            {"when_full": None},
            {"slots": 1},
            {"slots": -8},
            {"slots": 2**21},
            {"slots": 2.5},
            {"slots": "8"},
            {"max_subscribers": 129},
            {"max_subscribers": -1},
            {"max_message": 0},
            {"max_message": 1 << 62},
            {"max_message": 5, "shape": 3},
            {"shape": 0},
            {"shape": 3, "type": Pose},
            {"dtype": object},
            {"codec": "json"},
            {"max_participants": 0},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("how", [Topic, Topic.create])
    def test_what_makes_no_sense_is_refused_and_leaves_nothing(
        self, wrong: dict[str, Any], how: Callable[..., Topic], runtime_directory: Path
    ) -> None:
        with pytest.raises((ValueError, TypeError, OSError)):
            how("feed", **wrong)
        assert list(runtime_directory.iterdir()) == []

    @pytest.mark.parametrize(
        ("name", "wrong", "allowed"),
        [
            ("slots", 2**70, "2 to 1048576"),
            ("slots", -(2**70), "2 to 1048576"),
            ("slots", 1, "2 to 1048576"),
            ("max_message", 2**70, "1 to 1152921504606846976"),
            ("max_subscribers", 2**70, "0 to 128"),
            ("max_subscribers", -1, "0 to 128"),
            ("max_participants", 2**70, "1 to 1023"),
            ("max_participants", -1, "1 to 1023"),
        ],
    )
    @pytest.mark.parametrize("how", [Topic, Topic.create])
    def test_numbers_out_of_range_are_named(
        self, name: str, wrong: int, allowed: str, how: Callable[..., Topic], runtime_directory: Path
    ) -> None:
        with pytest.raises(ValueError, match=rf"^{name} is {allowed}, not {wrong}$"):
            how("feed", **{name: wrong})
        assert list(runtime_directory.iterdir()) == []

    def test_numbers_may_be_numpys(self) -> None:
        with Topic("feed", slots=np.int64(4), max_message=np.int32(9), max_subscribers=np.uint8(2)) as feed:
            assert (feed.slots, feed.max_message, feed.max_subscribers) == (4, 9, 2)
            Topic("feed", slots=np.uint16(4)).close()

    @pytest.mark.parametrize("kind", [Latest, Lock])
    def test_another_kind_is_refused(self, kind: Any) -> None:
        with kind("feed"), pytest.raises(SegmentMismatch, match=kind.__name__):
            Topic.open("feed")
        with Topic("other"), pytest.raises(SegmentMismatch, match="Topic"):
            kind.open("other")

    def test_subscribers_may_come_first(self) -> None:
        made: list[Topic] = []
        with pytest.raises(FileNotFoundError, match="is the program that makes it running"):
            Topic.open("feed", wait=0.01)
        maker = threading.Timer(0.05, lambda: made.append(Topic.create("feed", shape=2, dtype="u1")))
        maker.start()
        with Topic.open("feed", wait=60) as feed, feed.subscribe() as subscription:
            maker.join(60)
            made[0].publish([1, 2])
            assert subscription.recv(60).array.tolist() == [1, 2]
        made[0].close()

    def test_without_a_name_it_has_none(self) -> None:
        with Topic() as feed:
            assert (feed.name, feed.path) == (None, None)
            with pytest.raises(FileNotFoundError):
                feed.unlink()
        with pytest.raises(ValueError, match="no name to open"):
            Topic.open(None)  # type: ignore[arg-type]

    def test_unlinking_leaves_it_to_those_who_have_it(self, runtime_directory: Path) -> None:
        with Topic("feed") as feed, Topic("feed") as same:
            assert (feed.name, feed.path) == ("feed", runtime_directory / "feed")
            feed.unlink()
            assert not list(runtime_directory.iterdir())
            with pytest.raises(FileNotFoundError):
                same.unlink()
            same.unlink(missing_ok=True)
            subscription = same.subscribe()
            feed.publish(b"still here")
            assert bytes(subscription.recv(60)) == b"still here"
            with Topic("feed") as another:
                assert another.seq == 0

    @each_kind
    def test_it_goes_over_a_socket(self, made: dict[str, Any], message: Any) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        theirs.settimeout(60)
        asked = {name: value for name, value in made.items() if name in ("type", "codec")}
        with ours, theirs, Topic(**made) as feed:
            feed.publish(message)
            feed.send_handle(ours)
            with Topic.recv_handle(theirs, **asked, when_full="drop") as same:
                assert (same.codec, same.when_full, same.seq) == (feed.codec, "drop", 1)
                assert type(same.last()[0].value) is type(feed.last()[0].value)
                assert bytes(same.last()[0]) == bytes(feed.last()[0])

    @pytest.mark.parametrize("name", [None, "feed"])
    @each_kind
    def test_copies_and_pickles_are_the_same_topic(self, made: dict[str, Any], message: Any, name: str | None) -> None:
        with Topic(name, **made, when_full="raise") as feed:
            feed.publish(message)
            for same in (copy.copy(feed), *([pickle.loads(pickle.dumps(feed))] if name else [])):
                with same:
                    assert (same.seq, same.when_full, same.codec, same.name) == (1, "raise", feed.codec, name)
                    assert type(same.last()[0].value) is type(feed.last()[0].value)


def use(feed: Topic) -> dict[str, Callable[[], object]]:
    """Give everything that one can do with a topic of bytes."""
    return {
        "publish": lambda: feed.publish(b"x"),
        "publish_nowait": lambda: feed.publish_nowait(b"x"),
        "publish_many": lambda: feed.publish_many([b"x"]),
        "loan": lambda: feed.loan(1),
        "subscribe": feed.subscribe,
        "last": feed.last,
        "seq": lambda: feed.seq,
        "stats": feed.stats,
        "subscribers": feed.subscribers,
        "publishers": feed.publishers,
        "participants": feed.participants,
        "wait_for_subscribers": lambda: feed.wait_for_subscribers(0, 0),
        "with": lambda: feed.__enter__(),
        "unlink": feed.unlink,
    }


class TestClosing:
    @pytest.mark.parametrize("what", use(Topic()))
    def test_nothing_can_be_done_with_a_closed_one(self, what: str) -> None:
        feed = Topic("feed")
        feed.publish(b"x")
        feed.close()
        feed.close()
        assert feed.closed
        with pytest.raises(ValueError, match="closed"):
            use(feed)[what]()

    def test_what_it_is_can_still_be_asked(self) -> None:
        feed = Topic("feed", shape=3, dtype="u1", slots=4)
        feed.close()
        assert (feed.name, feed.slots, feed.max_message, feed.shape, feed.codec) == ("feed", 4, 3, (3,), "numpy")
        assert repr(feed) == "<samemap.Topic 'feed' closed>"

    def test_it_takes_its_subscriptions_with_it_and_no_others(self) -> None:
        with Topic("feed") as other:
            kept = other.subscribe()
            with Topic("feed") as feed:
                first, second = feed.subscribe(), feed.subscribe("block")
                assert len(other.subscribers()) == 3
            assert first.closed
            assert second.closed
            assert len(other.subscribers()) == 1
            assert not kept.closed

    def test_a_subscription_that_is_forgotten_is_none(self) -> None:
        with Topic(slots=2) as feed:
            feed.subscribe("block")
            assert feed.subscribers() == []
            assert [feed.publish_nowait(b"x") for _ in range(9)][-1] == 9

    def test_threads_that_subscribe_while_it_is_closed_leave_nothing(self) -> None:
        with Topic("feed", max_subscribers=128) as other:
            for _ in range(100):
                feed, started = Topic("feed"), threading.Barrier(3)
                held: list[Any] = []

                def subscribe(feed: Topic = feed, started: threading.Barrier = started, held: list[Any] = held) -> None:
                    started.wait()
                    try:
                        while True:
                            held.append(feed.subscribe("block"))
                    except ValueError:
                        return

                threads = [threading.Thread(target=subscribe) for _ in range(2)]
                for thread in threads:
                    thread.start()
                started.wait()
                feed.close()
                for thread in threads:
                    thread.join(60)
                assert all(subscription.closed for subscription in held)
                assert other.subscribers() == []

    def test_it_tells_the_truth(self) -> None:
        with Topic("feed", shape=(2, 3), dtype="u1") as feed:
            assert repr(feed) == "<samemap.Topic 'feed' uint8[2, 3], slots=8, seq=0>"
        with Topic() as feed:
            feed.publish(b"x")
            assert repr(feed) == "<samemap.Topic anonymous bytes, slots=8, seq=1>"


class TestReadOnly:
    def test_it_may_look_and_not_touch(self, runtime_directory: Path) -> None:
        with Topic("feed", max_message=9000) as feed, Topic.open("feed", mode="r") as looker:
            others = feed.subscribe("latest"), feed.subscribe()
            for size in (1, 9000):
                feed.publish(b"x" * size)
            before = (runtime_directory / "feed").read_bytes()
            assert looker.mode == "r"
            assert [len(sample) for sample in looker.last()] == [1, 9000]
            with looker.subscribe(history=2) as subscription:
                samples = [subscription.recv_nowait(), subscription.recv(0)]
                assert [(len(sample), sample.pinned) for sample in samples] == [(1, False), (9000, False)]
            assert [found.policy for found in looker.subscribers()] == ["latest", "drop"]
            assert [found.messages for found in looker.publishers()] == [2]
            assert (looker.stats().messages, looker.stats().participants) == (2, 1)
            assert [other.received for other in others] == [0, 0]
            for refused in (
                lambda: looker.publish(b"x"),
                lambda: looker.publish_many([b"x"]),
                lambda: looker.loan(),
                lambda: looker.subscribe("block"),
                lambda: looker.wait_for_subscribers(0, 0),
            ):
                with pytest.raises(TypeError, match="read-only"):
                    refused()
            assert (runtime_directory / "feed").read_bytes() == before

    def test_it_sees_what_comes_and_counts_what_it_missed(self) -> None:
        with Topic("feed", slots=4) as feed, Topic.open("feed", mode="r") as looker:
            slow, newest = looker.subscribe(), looker.subscribe("latest")
            publisher = threading.Timer(0.05, lambda: feed.publish(b"first"))
            publisher.start()
            assert bytes(slow.recv(60)) == b"first"
            publisher.join(60)
            for _ in range(9):
                feed.publish(b"more")
            sample = newest.recv(60)
            assert (sample.seq, sample.missed) == (10, 9)
            sample = slow.recv(60)
            assert (sample.seq, sample.missed, slow.missed, slow.received, slow.lag) == (7, 5, 5, 2, 3)

    def test_closing_ends_its_waits(self) -> None:
        with Topic("feed"), Topic.open("feed", mode="r") as looker:
            subscription, came = looker.subscribe(), []
            reader = threading.Thread(target=lambda: came.extend(subscription))
            reader.start()
            subscription.close()
            reader.join(60)
            assert not reader.is_alive()
            assert came == []
