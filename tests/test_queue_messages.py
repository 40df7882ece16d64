"""What jobs are: any objects, arrays without a copy, objects of a type, bytes; and how large."""

from __future__ import annotations

import gc
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from isolated import until
from kinds import KINDS, Pose, same

from samemap import Full, Queue

LARGE = 100_000

pytestmark = pytest.mark.usefixtures("runtime_directory")


class Unwilling:
    """What cannot be pickled, and says so in its own way."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("not today")


class Broken:
    """What cannot be unpickled, until it is mended."""

    mended = False

    def __reduce__(self) -> Any:
        return Broken.again, ()

    @staticmethod
    def again() -> str:
        if not Broken.mended:
            raise ZeroDivisionError("not yet")
        return "mended"


class TestKinds:
    @pytest.mark.parametrize(("made", "message"), KINDS.values(), ids=KINDS)
    def test_each_comes_out_as_it_was(self, made: dict[str, Any], message: Any) -> None:
        made = made or {"codec": "bytes"}
        with Queue("q", **made) as queue, Queue.open("q", type=made.get("type")) as other:
            queue.put(message)
            assert same(other.get(), message)
            queue.put(message)
            with other.lease() as job:
                assert same(job.value, message)
            assert queue.put_many([message] * 3) == 3
            assert all(same(found, message) for found in other.get_many(3))

    @pytest.mark.parametrize(
        "value", [None, 0, "", b"", (), {"a": [1, {2}]}, print, ValueError("as a value"), 1 << 999]
    )
    def test_any_object(self, value: Any) -> None:
        with Queue() as queue:
            queue.put(value)
            found = queue.get()
            assert type(found) is type(value)
            assert repr(found) == repr(value)

    @pytest.mark.parametrize("value", [b"four", bytearray(b"four"), memoryview(b"four"), np.frombuffer(b"four", "u2")])
    def test_anything_with_a_buffer_is_bytes(self, value: Any) -> None:
        with Queue(codec="bytes") as queue:
            queue.put(value)
            found = queue.get()
            assert (type(found), found) == (bytes, b"four")

    def test_what_it_does_not_take_is_refused_and_leaves_nothing(self) -> None:
        with Queue(codec="bytes") as queue, Queue(shape=3, dtype="u1") as arrays, Queue(type=Pose) as poses:
            with pytest.raises(TypeError, match=r"encode\(\)"):
                queue.put("text")
            with pytest.raises((TypeError, ValueError)):
                arrays.put([1, 2])
            with pytest.raises((TypeError, ValueError)):
                poses.put(object())
            for each in (queue, arrays, poses):
                assert (each.qsize(), each.stats().puts, each.stats().free_bytes) == (0, 0, each.max_bytes)

    def test_typed(self) -> None:
        with Queue("q", type=Pose) as queue:
            queue.put(Pose(1, 2))
            queue.put(Pose(3, 4))
            assert queue.get() == Pose(1, 2)
            with Queue.open("q") as plain:
                assert plain.get() == {"x": 3.0, "y": 4.0}

    def test_a_queue_may_be_in_a_job(self) -> None:
        with Queue("jobs") as jobs, Queue("answers") as answers:
            jobs.put({"reply to": answers, "n": 20})
            job = jobs.get()
            with job["reply to"] as reply:
                reply.put(job["n"] + 1)
            assert answers.get() == 21


class TestPickles:
    @pytest.mark.parametrize(
        ("value", "error"),
        [(lambda: None, (pickle.PicklingError, AttributeError)), (Unwilling(), ZeroDivisionError)],
    )
    def test_what_cannot_be_pickled_is_raised_in_put_and_nothing_is_lost(self, value: Any, error: Any) -> None:
        with Queue(maxsize=2) as queue:
            queue.put("before")
            for put in (
                lambda: queue.put(value),
                lambda: queue.put_nowait(value),
                lambda: queue.put({"image": np.zeros(LARGE), "value": value}),
                lambda: queue.put_many([value]),
            ):
                with pytest.raises(error):
                    put()
            assert (queue.qsize(), queue.stats().puts, queue.stats().free_bytes) == (1, 1, queue.max_bytes)
            queue.put("after")
            assert queue.full()
            assert queue.get_many(9) == ["before", "after"]

    def test_what_cannot_be_unpickled_goes_back_and_may_be_mended(self) -> None:
        with Queue() as queue:
            queue.put(Broken())
            with pytest.raises(ZeroDivisionError, match="not yet"), queue.lease() as job:
                _ = job.value
            assert (job.state, queue.qsize()) == ("given back", 1)
            Broken.mended = True
            try:
                with queue.lease() as job:
                    assert (job.value, job.attempt) == ("mended", 2)
            finally:
                Broken.mended = False

    def test_what_cannot_be_unpickled_is_raised_in_get(self) -> None:
        with Queue() as queue:
            queue.put(Broken())
            with pytest.raises(ZeroDivisionError, match="not yet"):
                queue.get()
            stats = queue.stats()
            assert (stats.leased, stats.held) == (0, 0)

    def test_arrays_are_read_only_views_that_keep_their_room(self) -> None:
        with Queue() as queue:
            queue.put({"image": np.arange(LARGE), "name": "one"})
            assert queue.max_bytes - queue.stats().free_bytes >= 8 * LARGE
            value = queue.get()
            image = value["image"]
            assert (value["name"], image.sum(), image.flags.writeable) == ("one", LARGE * (LARGE - 1) // 2, False)
            with pytest.raises(ValueError, match="read-only"):
                image[0] = 1
            assert (queue.stats().held, queue.qsize()) == (1, 0)
            del value, image
            gc.collect()
            assert (queue.stats().held, queue.stats().free_bytes) == (0, queue.max_bytes)

    def test_they_are_aligned_for_vectors(self) -> None:
        with Queue() as queue:
            for length in (1000, 1001, 5003):
                queue.put([np.arange(length), np.arange(length, dtype="f4")])
                for found in queue.get():
                    assert found.__array_interface__["data"][0] % 64 == 0
                    assert found.tolist() == list(range(length))

    def test_several_share_a_message(self) -> None:
        with Queue() as queue:
            queue.put([np.full(LARGE, n) for n in range(3)])
            first, second, third = queue.get()
            del first, third
            gc.collect()
            assert queue.stats().held == 1
            queue.put([np.full(LARGE, 9)] * 3)
            assert (second == 1).all()
            del second
            gc.collect()
            assert queue.stats().held == 0

    def test_they_come_from_every_layout(self) -> None:
        with Queue() as queue:
            grid = np.arange(60_000).reshape(200, 300)
            for value in (grid.T, grid[::2, ::3], np.asfortranarray(grid), grid[:0], np.array(5), grid.astype(">i4")):
                queue.put(value)
                assert same(queue.get(), value)

    def test_views_outlive_everything(self) -> None:
        queue = Queue()
        queue.put(np.full(LARGE, 7.0))
        queue.put(np.full(LARGE, 8.0))
        views = [queue.get()[10:], queue.lease().value]
        queue.close()
        del queue
        gc.collect()
        assert [view.min() for view in views] == [view.max() for view in views] == [7.0, 8.0]

    def test_what_is_put_is_a_copy(self) -> None:
        with Queue() as queue:
            image = np.zeros(LARGE)
            queue.put(image)
            image[:] = 1
            assert queue.get().max() == 0


class TestArrays:
    def test_are_read_only_views(self) -> None:
        with Queue(shape=(300, 400), dtype="f4", maxsize=4) as queue:
            assert (queue.shape, queue.dtype, queue.codec) == ((300, 400), np.dtype("f4"), "numpy")
            queue.put(np.full((300, 400), 2, "f4"))
            found = queue.get()
            assert (found.shape, found.dtype, found.flags.writeable, found.mean()) == ((300, 400), "f4", False, 2.0)
            assert queue.stats().held == 1
            for _ in range(10):
                queue.put(np.full((300, 400), 3, "f4"))
                assert queue.get().max() == 3
            assert found.min() == found.max() == 2
            del found
            gc.collect()
            assert queue.stats().held == 0

    def test_large_ones_get_room_by_themselves(self) -> None:
        size = 5 << 20
        with Queue(shape=size, dtype="u1") as queue:
            assert queue.max_bytes >= 3 * size
            for n in range(3):
                queue.put_nowait(np.full(size, n, "u1"))
            assert [int(queue.get()[-1]) for _ in range(3)] == [0, 1, 2]


class TestSizes:
    @pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, LARGE])
    def test_every_one_comes_out_whole(self, size: int) -> None:
        body = bytes(range(256)) * (size // 256 + 1)
        with Queue(codec="bytes", max_bytes=1 << 20) as queue:
            for _ in range(50):
                queue.put(body[:size])
                queue.put(body[1 : size + 1])
                assert queue.get() == body[:size]
                assert queue.get() == body[1 : size + 1]
            assert queue.stats().free_bytes == queue.max_bytes

    def test_too_large_raises_at_once(self) -> None:
        with Queue(codec="bytes", max_bytes=1 << 16) as queue, Queue(max_bytes=1 << 16) as objects:
            for refused in (
                lambda: queue.put(bytes(queue.max_bytes + 1)),
                lambda: queue.put_nowait(bytes(queue.max_bytes + 1)),
                lambda: queue.put_many([bytes(queue.max_bytes + 1)]),
                lambda: objects.put(bytes(objects.max_bytes + 1)),
                lambda: objects.put(np.zeros(objects.max_bytes, "u1")),
            ):
                with pytest.raises(ValueError, match="bytes"):
                    refused()
            assert (queue.qsize(), objects.qsize()) == (0, 0)
            # And as large as can be is not too large, also when it was in pieces before.
            for _ in range(3):
                assert queue.put_many([bytes(1000)] * 8, timeout=0) == 8
                assert len(queue.get_many(8)) == 8
                queue.put(bytes(queue.max_bytes), timeout=0)
                assert len(queue.get()) == queue.max_bytes

    def test_larger_than_what_is_free_waits(self) -> None:
        with Queue(codec="bytes", max_bytes=1 << 16) as queue:
            large = bytes(queue.max_bytes // 2 + 1)
            queue.put(large)
            with pytest.raises(Full):
                queue.put_nowait(large)
            with pytest.raises(Full):
                queue.put(large, timeout=0.01)
            assert not queue.full()
            # What is small finds a place.
            queue.put_nowait(b"small")
            putter = threading.Thread(target=queue.put, args=(large,))
            putter.start()
            until(lambda: queue.stats().waiting == 1, "a put that waits")
            assert queue.get() == large
            putter.join(60)
            assert queue.get_many(9) == [b"small", large]

    def test_a_view_that_goes_makes_room(self) -> None:
        with Queue(max_bytes=1 << 20) as queue:
            image = np.arange(80_000)
            queue.put(image)
            views = [queue.get()]
            with pytest.raises(Full):
                queue.put_nowait(image)
            putter = threading.Thread(target=queue.put, args=(image,))
            putter.start()
            until(lambda: queue.stats().waiting == 1, "a put that waits")
            assert views[0].sum() == image.sum()
            views.clear()
            putter.join(60)
            assert not putter.is_alive()
            assert queue.get().sum() == image.sum()

    def test_the_room_does_not_crumble(self) -> None:
        with Queue(codec="bytes", max_bytes=1 << 20) as queue:
            for n in range(2000):
                queue.put(bytes(n * 37 % 5000), timeout=0)
                if n % 3:
                    queue.get()
                if n % 300 == 299:
                    queue.get_many(queue.qsize())
            assert not queue.empty()
            queue.get_many(queue.qsize())
            assert queue.stats().free_bytes == queue.max_bytes
            queue.put(bytes(queue.max_bytes), timeout=0)


class TestMemory:
    @pytest.mark.parametrize("codec", ["bytes", "pickle"])
    def test_what_there_is_no_memory_for_stays_in_the_queue(self, codec: Any) -> None:
        memory = pytest.importorskip("_testcapi", reason="only CPython's own tests can take memory away")
        queue, failed = Queue(codec=codec), 0
        for without in range(150):
            put = [bytes([number]) * 40 if codec == "bytes" else (number, "x" * number) for number in range(80)]
            queue.put_many(put)
            got: list[Any] = []
            # The allocation with that number fails.
            memory.set_nomemory(without, without + 1)
            try:
                got = queue.get_many(80)
            except MemoryError:
                failed += 1
            finally:
                memory.remove_mem_hooks()
            while queue.qsize():
                got += queue.get_many(80)
            assert sorted(got) == put, without
            stats = queue.stats()
            assert (stats.leased, stats.dead, stats.depth) == (0, 0, 0)
        assert failed
