"""`Latest` within one process: the newest value, always whole."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import until
from kinds import KINDS, POINT, Pixel, Pose, each_kind, same

from samemap import Empty, Latest, SegmentMismatch, Topic


class TestValues:
    @each_kind
    def test_are_what_was_set(self, made: dict[str, Any], message: Any) -> None:
        with Latest("value", **made) as value, Latest("value", **made) as other:
            assert value.set(message) == 1
            assert same(other.get(), message)
            assert same(other.get("default"), message)
            assert (value.seq, other.codec, other.max_size) == (1, value.codec, value.max_size)
            sample = other.sample()
            assert same(sample.value, message)
            assert (sample.seq, sample.missed, sample.pinned) == (1, 0, False)
            assert sample.publisher.pid == os.getpid()

    def test_that_were_never_set_are_missing_or_what_one_says(self) -> None:
        with Latest("value") as value:
            for look in (value.get, value.sample):
                with pytest.raises(Empty, match=r"nothing was ever set.*") as caught:
                    look()
                assert isinstance(caught.value, queue.Empty)
                assert "value" in str(caught.value)
            sentinel = object()
            assert value.get(sentinel) is value.get(default=sentinel) is sentinel
            assert value.get(None) is None
            assert (value.seq, value.age) == (0, math.inf)
            value.set(b"")
            assert (value.get(None), value.seq) == (b"", 1)

    @pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65_536, 65_537, 3_000_000])
    def test_of_any_size_come_as_copies(self, size: int) -> None:
        with Latest(max_size=max(size, 1)) as value:
            first = bytes(n % 251 for n in range(size))
            value.set(first)
            sample, got = value.sample(), value.get()
            for _ in range(40):
                value.set(b"x"[:size])
            assert got == bytes(sample) == first
            with pytest.raises(
                ValueError, match=rf"value of {max(size, 1) + 1} bytes .* has {max(size, 1)} \(max_size"
            ):
                value.set(b"x" * (max(size, 1) + 1))
            assert (value.seq, value.get()) == (41, b"x"[:size])

    def test_that_are_arrays_are_read_only(self) -> None:
        with Latest(shape=(200, 200), dtype="f4") as value:
            value.set(np.ones((200, 200), "f4"))
            got = value.get()
            assert (got.shape, got.dtype, got.flags.writeable) == ((200, 200), np.dtype("f4"), False)
            for _ in range(40):
                value.set(np.zeros((200, 200), "f4"))
            assert got.min() == 1

    @pytest.mark.parametrize("wrong", ["text", None, 5])
    def test_of_another_kind_are_refused(self, wrong: Any) -> None:
        with Latest() as value:
            value.set(b"before")
            with pytest.raises(TypeError):
                value.set(wrong)
            assert (value.seq, value.get()) == (1, b"before")

    def test_have_an_age_and_a_time(self) -> None:
        with Latest() as value:
            before = time.time()
            value.set(b"x")
            young = value.age
            time.sleep(0.01)
            assert 0 <= young < young + 0.01 <= value.age < 60
            assert before - 1 < value.sample().time < time.time() + 1


class TestOpening:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"dtype": "f4"}, ["dtype"]),
            ({"dtype": POINT, "shape": 3}, ["shape", "(3,)"]),
            ({"type": Pose}, ["codec", "numpy", "msgspec"]),
            ({"codec": "pickle"}, ["codec", "numpy", "pickle"]),
        ],
    )
    @pytest.mark.parametrize("how", [Latest, Latest.open])
    def test_other_values_are_refused(
        self, asked: dict[str, Any], words: list[str], how: Callable[..., Latest]
    ) -> None:
        with Latest("value", shape=(), dtype=POINT) as value:
            with pytest.raises(SegmentMismatch) as caught:
                how("value", **asked)
            assert all(word in str(caught.value) for word in [*words, "value"]), caught.value
            del caught
            assert value.stats().participants == 1

    def test_of_another_type_field_by_field(self) -> None:
        with Latest("value", type=Pose), pytest.raises(SegmentMismatch, match=r"(?s)x.*float.*int"):
            Latest("value", type=Pixel)

    def test_another_size_is_refused(self) -> None:
        with Latest("value", max_size=100), pytest.raises(ValueError, match="max_size=100, not max_size=101"):
            Latest("value", max_size=101)

    @pytest.mark.parametrize("wrong", [{"max_size": 0}, {"max_size": 5, "shape": 3}, {"codec": "json"}])
    def test_what_makes_no_sense_leaves_nothing(self, wrong: dict[str, Any], runtime_directory: Path) -> None:
        with pytest.raises(ValueError, match=r"."):
            Latest("value", **wrong)
        assert list(runtime_directory.iterdir()) == []

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"max_size": -1}, "max_size=-1 leaves no room for a message: at least 1 byte"),
            (
                {"max_size": 5, "shape": 3},
                "max_size=5 makes no sense with shape=: all these messages have the same size",
            ),
            ({"max_size": 2**70}, f"max_size is 1 to {2**60}, not {2**70}"),
            ({"max_participants": 2**70}, f"max_participants is 1 to 1023, not {2**70}"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("how", [Latest, Latest.create])
    def test_numbers_out_of_range_are_named(
        self, wrong: dict[str, Any], told: str, how: Callable[..., Latest], runtime_directory: Path
    ) -> None:
        with pytest.raises(ValueError, match=r".") as caught:
            how("value", **wrong)
        assert str(caught.value) == told
        assert list(runtime_directory.iterdir()) == []

    def test_a_topic_is_something_else(self) -> None:
        with Topic("feed"), pytest.raises(SegmentMismatch, match="Topic"):
            Latest.open("feed")
        with Latest("value"), pytest.raises(SegmentMismatch, match="Latest"):
            Topic.open("value")

    @each_kind
    def test_it_travels(self, made: dict[str, Any], message: Any) -> None:
        ours, theirs = socket.socketpair()
        theirs.settimeout(60)
        asked = {name: value for name, value in made.items() if name in ("type", "codec")}
        with ours, theirs, Latest("value", **made) as value:
            value.set(message)
            value.send_handle(ours)
            for other in (Latest.recv_handle(theirs, **asked), copy.copy(value), pickle.loads(pickle.dumps(value))):
                with other:
                    assert same(other.get(), message)

    def test_it_is_no_use_when_closed(self) -> None:
        value = Latest("value")
        value.set(b"x")
        value.close()
        value.close()
        for use in (
            value.get,
            lambda: value.get(None),
            value.sample,
            lambda: value.set(b"y"),
            lambda: value.seq,
            lambda: value.age,
            value.wait_newer,
            lambda: value.wait_newer(0, 0),
            value.stats,
            lambda: value.__enter__(),
            lambda: asyncio.run(value.wait_newer_async()),
        ):
            with pytest.raises(ValueError, match="closed"):
                use()
        assert list(value) == []
        assert repr(value) == "<samemap.Latest 'value' closed>"

    def test_it_tells_the_truth(self) -> None:
        with Latest("value", **KINDS["array"][0]) as value:
            value.set(KINDS["array"][1])
            assert repr(value) == "<samemap.Latest 'value' numpy, seq=1>"
            stats = value.stats()
            assert (stats.seq, stats.bytes, stats.waiting, stats.participants) == (1, 24, 0, 1)
            assert (value.shape, value.dtype) == ((2, 3), np.dtype("f4"))


class TestLooking:
    def test_a_reader_sees_all_and_changes_nothing(self, runtime_directory: Path) -> None:
        with Latest("value") as value, Latest.open("value", mode="r") as looker:
            assert looker.get(None) is None
            with pytest.raises(Empty):
                looker.wait_newer(timeout=0.01)
            value.set(b"1")
            before = (runtime_directory / "value").read_bytes()
            assert (looker.get(), looker.wait_newer(0), looker.seq, looker.stats().seq) == (b"1", b"1", 1, 1)
            assert (runtime_directory / "value").read_bytes() == before
            with pytest.raises(TypeError, match="read-only"):
                looker.set(b"2")
            with pytest.raises(TypeError, match="read-only"):
                asyncio.run(looker.wait_newer_async())
            setter = threading.Timer(0.03, value.set, (b"2",))
            setter.start()
            assert looker.wait_newer(timeout=60) == b"2"
            setter.join(60)
            seen = []
            for found in looker:
                seen.append(found)
                if len(seen) == 3:
                    break
                value.set(b"%d" % (2 + len(seen)))
            assert seen == [b"2", b"3", b"4"]


class TestWaiting:
    def test_for_one_that_is_newer_than_what_was_got(self) -> None:
        with Latest() as value:
            value.set(b"1")
            assert value.wait_newer(timeout=0) == b"1"
            for wait in (lambda: value.wait_newer(timeout=0), lambda: value.wait_newer(1, 0.01)):
                with pytest.raises(Empty, match="newer than number 1"):
                    wait()
            assert value.wait_newer(0, 0) == b"1"
            for n in range(2, 50):
                value.set(b"%d" % n)
            assert value.wait_newer() == b"49"
            # Of its own: a handle that has seen nothing waits for anything.
            with copy.copy(value) as other:
                assert other.wait_newer(timeout=0) == b"49"

    def test_for_one_after_a_number_that_comes_some_day(self) -> None:
        with Latest() as value:
            value.set(b"1")
            for seq in (1, 2**43 - 1, 2**43):
                with pytest.raises(Empty, match=f"newer than number {seq} "):
                    value.wait_newer(seq, 0)
                with pytest.raises(Empty, match=f"newer than number {seq} "):
                    asyncio.run(value.wait_newer_async(seq, 0.01))

    # In words of the ring only the low 44 bits of a number are told apart.
    @pytest.mark.parametrize("seq", [-1, -(2**70), 2**43 + 1, 2**44, 2**63, 2**64 - 1, 2**64, 2**70])
    def test_for_one_after_no_number_is_refused(self, seq: int) -> None:
        with Latest() as value:
            value.set(b"1")
            for wait in (
                lambda: value.wait_newer(seq, 0),
                lambda: asyncio.run(value.wait_newer_async(seq, 0.01)),
            ):
                with pytest.raises(ValueError, match=rf"^seq is 0 to \d+, not {seq}\b"):
                    wait()

    @pytest.mark.parametrize("timeout", [None, math.inf, sys.float_info.max, 60])
    def test_it_is_woken(self, timeout: float | None) -> None:
        with Latest() as value:
            came: list[bytes] = []
            waiter = threading.Thread(target=lambda: came.append(value.wait_newer(timeout=timeout)))
            waiter.start()
            until(lambda: value.stats().waiting == 1, "somebody who waits")
            value.set(b"on")
            waiter.join(60)
            assert came == [b"on"]

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_no_time_is_refused(self, timeout: float) -> None:
        with Latest() as value, pytest.raises(ValueError, match="timeout"):
            value.wait_newer(0, timeout)

    @pytest.mark.parametrize("how", ["wait_newer", "iteration"])
    def test_ctrl_c_ends_it(self, how: str) -> None:
        with Latest() as value:

            def send() -> None:
                until(lambda: value.stats().waiting == 1, "somebody who waits")
                os.kill(os.getpid(), signal.SIGINT)

            sender = threading.Thread(target=send)
            sender.start()
            with pytest.raises(KeyboardInterrupt):
                value.wait_newer() if how == "wait_newer" else list(value)
            sender.join(60)
            assert value.stats().waiting == 0

    def test_closing_ends_it(self) -> None:
        with Latest("value") as kept:
            value, ends = Latest("value"), {}

            def run(name: str, call: Callable[[], object]) -> None:
                try:
                    ends[name] = call()
                except ValueError as error:
                    ends[name] = str(error)

            async def collect() -> list[bytes]:
                return [found async for found in value]

            calls = {
                "wait": value.wait_newer,
                "for": lambda: list(value),
                "async for": lambda: asyncio.run(collect()),
                "async": lambda: asyncio.run(value.wait_newer_async()),
            }
            threads = [threading.Thread(target=run, args=call) for call in calls.items()]
            for thread in threads:
                thread.start()
            until(lambda: kept.stats().waiting == 4, "all to wait")
            value.close()
            for thread in threads:
                thread.join(60)
            assert (ends["for"], ends["async for"]) == ([], [])
            assert "closed" in ends["wait"]
            assert "closed" in ends["async"]

    def test_loops_see_the_newest_each_time(self) -> None:
        total = 3000
        with Latest(dtype="i8", shape=()) as value:
            seen: dict[str, list[int]] = {"for": [], "async for": []}

            def read() -> None:
                for found in value:
                    seen["for"].append(int(found))
                    if found == total:
                        break

            async def read_async() -> None:
                async for found in value:
                    seen["async for"].append(int(found))
                    if found == total:
                        break

            value.set(0)
            readers = [threading.Thread(target=read), threading.Thread(target=lambda: asyncio.run(read_async()))]
            for reader in readers:
                reader.start()
            until(lambda: value.stats().waiting == 2 or all(seen.values()), "both to begin")
            for n in range(1, total + 1):
                value.set(n)
            for reader in readers:
                reader.join(60)
            for found in seen.values():
                assert found == sorted(set(found))
                assert found[-1] == total


def test_threads_never_see_a_torn_one() -> None:
    # So large that copying it in lets other threads run.
    size = 3_000_000
    with Latest(max_size=size) as value:
        ends = time.monotonic() + 1

        def whole(n: int) -> bytes:
            body = bytes([n % 251]) * (size - 4)
            return body + zlib.crc32(body).to_bytes(4, "little")

        ready = [whole(n) for n in range(8)]

        def write(first: int) -> None:
            n = first
            while time.monotonic() < ends:
                value.set(ready[n % 8])
                n += 2

        value.set(ready[0])
        writers = [threading.Thread(target=write, args=(first,)) for first in (0, 1)]
        for writer in writers:
            writer.start()
        got, last = 0, 0
        while time.monotonic() < ends:
            sample = value.sample()
            found = bytes(sample)
            assert zlib.crc32(found[:-4]).to_bytes(4, "little") == found[-4:]
            assert sample.seq >= last
            got, last = got + 1, sample.seq
        for writer in writers:
            writer.join(60)
        assert got > 5
        assert value.seq > 5
