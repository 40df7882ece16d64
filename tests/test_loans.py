"""Messages of queues and services that are filled in place: what comes of them, and of what still sees them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samemap import AsyncClient, Client, Empty, Full, Loan, Queue, Service, ShutDown
from samemap.services import current_request

SHAPE = (100, 100)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue(shape=SHAPE, dtype="u1") as queue:
        yield queue


def free(thing: Queue | Service | Client) -> int:
    gc.collect()
    return thing.stats().free_bytes


class TestWhatIsLent:
    def test_an_array_of_the_queue(self, queue: Queue) -> None:
        loan = queue.loan()
        with loan as frame:
            assert (frame.shape, frame.dtype, frame.flags.writeable) == (SHAPE, np.uint8, True)
            assert queue.empty()
            frame[:] = 7
        assert loan.seq == 1
        assert repr(loan) == "<samemap.Loan, put as 1>"
        assert (queue.get() == 7).all()

    def test_it_lies_where_it_was_filled(self, queue: Queue) -> None:
        with queue.loan() as frame:
            frame[:] = 7
            address = frame.__array_interface__["data"][0]
        assert queue.get().__array_interface__["data"][0] == address

    @pytest.mark.parametrize("size", [0, 5, 128, 129, 5000, 100_000])
    @pytest.mark.parametrize("codec", ["bytes", "pickle"])
    def test_bytes(self, size: int, codec: Any) -> None:
        queue = Queue(codec=codec)
        with queue.loan(size) as place:
            assert (place.nbytes, place.readonly) == (size, False)
            place[:] = bytes(n % 251 for n in range(size))
        with pytest.raises(ValueError, match="released"):
            place[:] = bytes(size)
        assert queue.get() == bytes(n % 251 for n in range(size))

    @pytest.mark.parametrize("shape", [(), 3, (0, 4), (300, 5)])
    @pytest.mark.parametrize("dtype", ["f8", "<u2", [("x", "f4"), ("n", "i8")]])
    def test_any_array_in_a_queue_of_pickles(self, shape: Any, dtype: Any) -> None:
        queue = Queue()
        values = np.arange(1, 1 + np.prod(shape, dtype=int)).astype(dtype)
        if values.size == 0:
            with pytest.raises(ValueError, match="no elements"):
                queue.loan(shape=shape, dtype=dtype)
            return
        with queue.loan(shape=shape, dtype=dtype) as frame:
            frame[...] = values.reshape(shape)
        queue.put(values.reshape(shape))
        first, second = queue.get(), queue.get()
        assert (first.shape, first.dtype) == (second.shape, second.dtype)
        assert (first == second).all()

    def test_one_field_is_another_queues(self) -> None:
        with pytest.raises(TypeError, match="takes arrays of one shape and dtype: loan"):
            Queue(shape=3, dtype="u1").loan(3)
        with pytest.raises(TypeError, match=r"say how many with size="):
            Queue(codec="bytes").loan(shape=3, dtype="u1")
        with pytest.raises(TypeError, match=r"say what is to be lent, with size= for bytes$"):
            Queue(codec="bytes").loan()
        with pytest.raises(TypeError, match="or shape= and dtype= for an array"):
            Queue().loan()
        with pytest.raises(TypeError, match="not both"):
            Queue().loan(3, shape=3, dtype="u1")
        with pytest.raises(TypeError, match="objects of a type"):
            Queue(type=dict).loan(3)
        with pytest.raises(ValueError, match="size"):
            Queue().loan(-1)
        with pytest.raises(ValueError, match="Python objects"):
            Queue().loan(shape=3, dtype="O")
        with pytest.raises(TypeError, match="are copied when they are pickled"):
            Queue().loan(shape=3, dtype="M8[s]")

    def test_what_is_too_large_is_refused_at_once(self) -> None:
        queue = Queue(max_bytes=10_000)
        with pytest.raises(ValueError, match="does not fit"):
            queue.loan(20_000)


class TestWhatBecomesOfIt:
    def test_it_is_abandoned_when_the_block_raises(self, queue: Queue) -> None:
        before = free(queue)
        kept: list[Any] = []

        def fail() -> None:
            with queue.loan() as frame:
                kept.append(frame)
                raise OSError("the lens is dirty")

        with pytest.raises(OSError, match="lens"):
            fail()
        assert queue.empty()
        assert free(queue) < before, "somebody may look at it"
        assert not kept[0].flags.writeable
        kept.clear()
        assert free(queue) == before

    def test_it_is_abandoned_when_it_was_never_begun(self, queue: Queue) -> None:
        before = free(queue)
        loan = queue.loan()
        assert free(queue) < before
        del loan
        assert free(queue) == before

    def test_once_only(self, queue: Queue) -> None:
        loan = queue.loan()
        with loan:
            pass
        with pytest.raises(RuntimeError, match="one with block"):
            loan.__enter__()

    def test_what_the_producer_still_sees_stays(self, queue: Queue) -> None:
        before = free(queue)
        with queue.loan() as frame:
            frame[:] = 5
        view = frame[3:4]
        del frame
        assert (queue.get() == 5).all()
        for _ in range(10):
            queue.put(np.zeros(SHAPE, "u1"))
            queue.get()
        assert (view == 5).all(), "its memory was used for another job"
        assert free(queue) < before
        del view
        assert free(queue) == before

    @pytest.mark.parametrize("size", [5, 2000, 10_000])
    def test_small_ones_that_the_producer_still_sees(self, size: int) -> None:
        queue = Queue(codec="bytes", maxsize=4)
        with queue.loan(size) as place:
            place[:] = b"a" * size
            view = np.frombuffer(place, "u1")
        assert queue.get() == b"a" * size
        for _ in range(400):
            queue.put(b"b" * size)
            queue.get()
        assert bytes(view) == b"a" * size

    def test_what_the_consumer_still_sees_stays(self, queue: Queue) -> None:
        before = free(queue)
        with queue.loan() as frame:
            frame[:] = 5
        got = queue.get()
        del frame
        queue.put(np.zeros(SHAPE, "u1"))
        queue.get()
        assert (got == 5).all()
        del got
        assert free(queue) == before

    def test_a_lease_of_what_the_producer_sees(self, queue: Queue) -> None:
        with queue.loan() as frame:
            frame[:] = 5
        with queue.lease() as job:
            assert (job.value == 5).all()
            job.give_back()
        with queue.lease() as job:
            assert ((job.value == 5).all(), job.attempt) == (True, 2)
        del job
        assert (frame == 5).all()

    def test_what_is_lent_is_no_job_that_may_come(self, queue: Queue) -> None:
        # So that nobody waits for one that will be refused.
        loan = queue.loan()
        loan.__enter__()
        queue.shutdown()
        with pytest.raises(ShutDown):
            queue.get(timeout=10)
        with pytest.raises(ShutDown):
            loan.__exit__(None, None, None)
        with pytest.raises(ShutDown):
            queue.loan()

    def test_where_it_is_full_by_the_end(self) -> None:
        queue = Queue(shape=3, dtype="u1", maxsize=1)
        loan = queue.loan(timeout=0.05)
        frame = loan.__enter__()
        frame[:] = 5
        queue.put(np.zeros(3, "u1"))
        with pytest.raises(Full, match="1 of 1 jobs wait"):
            loan.__exit__(None, None, None)
        assert loan.seq == 0
        assert queue.get().sum() == 0
        queue.put(frame)
        assert queue.get().sum() == 15

    def test_it_waits_at_the_end_until_there_is_room(self) -> None:
        queue = Queue(shape=3, dtype="u1", maxsize=1)
        with queue.loan() as frame:
            frame[:] = 5
            queue.put(np.zeros(3, "u1"))
            later = threading.Timer(0.1, queue.get)
            later.start()
        later.join()
        assert queue.get().sum() == 15

    def test_it_waits_for_a_place(self) -> None:
        queue = Queue(shape=3, dtype="u1", maxsize=1)
        queue.put(np.zeros(3, "u1"))
        with pytest.raises(Full):
            queue.loan(timeout=0.01)

    def test_it_is_closed_meanwhile(self, queue: Queue) -> None:
        loan = queue.loan()
        frame = loan.__enter__()
        queue.close()
        frame[:] = 1
        with pytest.raises(ValueError, match="closed"):
            loan.__exit__(None, None, None)
        assert (frame == 1).all()

    def test_a_forks_child_does_not_send_it(self, queue: Queue) -> None:
        with queue.loan() as frame:
            frame[:] = 5
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    with queue.loan(timeout=1) as other:
                        other[:] = 6
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
        assert [int(queue.get(timeout=1)[0, 0]) for _ in range(2)] == [6, 5]

    def test_there_is_as_much_room_after_thousands(self, queue: Queue) -> None:
        before = queue.stats()
        for turn in range(5000):
            with queue.loan() as frame:
                frame[0] = turn % 256
            assert queue.get()[0, 0] == turn % 256
        del frame
        assert free(queue) == before.free_bytes


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    opened: list[Any] = []

    def begin(function: Any, **options: Any) -> Client:
        service = Service(tmp_path / "service", function, **options)
        service.__enter__()
        client = Client(tmp_path / "service")
        opened.extend((client, service))
        return client

    yield begin
    for each in opened:
        each.__exit__(None, None, None)


ARRAYS: dict[str, Any] = {"shape": SHAPE, "dtype": "u1", "reply_shape": SHAPE, "reply_dtype": "u1"}


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


class TestRequests:
    @pytest.mark.parametrize("options", [ARRAYS, {}])
    def test_is_seen_where_it_was_filled(self, serve: Callable[..., Client], options: dict[str, Any]) -> None:
        seen: list[int] = []

        def look(image: Any) -> Any:
            seen.append(address(image))
            return image

        client = serve(look, **options)
        how: dict[str, Any] = {} if options else {"shape": SHAPE, "dtype": "u1"}
        with client.loan(**how) as image:
            image[:] = 3
            assert (client.call(image, 10) == 3).all()
            assert seen == [address(image)]
            assert not image.flags.writeable

    def test_what_is_not_sent_is_abandoned(self, serve: Callable[..., Client]) -> None:
        client = serve(len, codec="bytes")
        before = free(client)
        with client.loan(10_000) as place:
            assert free(client) < before
        with pytest.raises(ValueError, match="released"):
            place[:] = b""
        assert free(client) == before
        assert client.qsize() == 0

    def test_a_copy_and_a_view_are_sent_as_ever(self, serve: Callable[..., Client]) -> None:
        client = serve(lambda image: image.sum(), shape=SHAPE, dtype="u1")
        with client.loan() as image:
            image[:] = 1
            assert client.call(image[:], 10) == client.call(image.copy(), 10) == 10_000
            assert client.call(image, 10) == 10_000
            assert client.call(image, 10) == 10_000, "it can be read"

    def test_two_at_once(self, serve: Callable[..., Client]) -> None:
        client = serve(lambda image: int(image[0, 0]), shape=SHAPE, dtype="u1")
        with client.loan() as one, client.loan() as two:
            one[:], two[:] = 1, 2
            assert (client.call(two, 10), client.call(one, 10)) == (2, 1)

    def test_it_can_be_sent_after_it_could_not(self, tmp_path: Path) -> None:
        with Service(tmp_path / "s", maxsize=1, codec="bytes") as service, Client(tmp_path / "s") as client:
            with client.loan(1000) as place:
                place[:] = b"b" * 1000
                first = client._call(b"a")
                with pytest.raises(Full):
                    client.call(place, 0.02)
                service._take(0).done()
                first.cancel()
                second = client._call(place)
            assert service._take(0).value == b"b" * 1000
            second.cancel()

    def test_in_a_stream_and_a_task(self, serve: Callable[..., Client], tmp_path: Path) -> None:
        def parts(image: Any) -> Iterator[int]:
            yield from (int(image[0, 0]), address(image))

        client = serve(parts, shape=SHAPE, dtype="u1")
        with client.loan() as image:
            image[:] = 4
            assert list(client.stream(image, 10)) == [4, address(image)]

        async def work() -> None:
            with AsyncClient(tmp_path / "service") as caller, caller.loan() as image:
                image[:] = 4
                assert [part async for part in caller.stream(image, 10)] == [4, address(image)]

        asyncio.run(work())

    def test_its_memory_comes_back(self, serve: Callable[..., Client]) -> None:
        client = serve(lambda image: image, **ARRAYS)
        before = free(client)
        for turn in range(500):
            with client.loan() as image:
                image[:] = turn % 256
                reply = client.call(image, 10)
            assert (reply == turn % 256).all()
        del image, reply
        until_free(client, before)


class TestReplies:
    @pytest.mark.parametrize("options", [ARRAYS, {}])
    def test_is_seen_where_it_was_filled(self, serve: Callable[..., Client], options: dict[str, Any]) -> None:
        filled: list[int] = []
        how: dict[str, Any] = {} if options else {"shape": SHAPE, "dtype": "u1"}

        def halves(image: Any) -> Any:
            with current_request().loan(**how) as half:
                filled.append(address(half))
                return np.floor_divide(image, 2, out=half)

        client = serve(halves, **options)
        reply = client.call(np.full(SHAPE, 8, "u1"), 10)
        assert (reply == 4).all()
        assert filled == [address(reply)]

    def test_parts_of_a_stream(self, serve: Callable[..., Client]) -> None:
        filled: list[int] = []

        def parts(n: int) -> Iterator[Any]:
            for number in range(n):
                with current_request().loan(shape=2000, dtype="f8") as part:
                    part[:] = number
                    filled.append(address(part))
                    yield part

        client = serve(parts)
        kept = list(client.stream(5, 10))
        assert [part[0] for part in kept] == [0, 1, 2, 3, 4]
        assert [address(part) for part in kept] == filled

    def test_in_a_coroutine(self, serve: Callable[..., Client]) -> None:
        async def double(image: Any) -> Any:
            with current_request().loan() as out:
                await asyncio.sleep(0)
                return np.multiply(image, 2, out=out)

        client = serve(double, **ARRAYS)
        assert (client.call(np.full(SHAPE, 8, "u1"), 10) == 16).all()

    @pytest.mark.parametrize("returned", ["another", "an error"])
    def test_what_is_not_sent_is_abandoned(self, serve: Callable[..., Client], returned: str) -> None:
        def function(_: Any) -> Any:
            with current_request().loan(10_000):
                pass
            if returned == "an error":
                raise LookupError("nothing")
            return b"another"

        client = serve(function)
        before = free(client)
        if returned == "an error":
            with pytest.raises(LookupError):
                client.call(1, 10)
        else:
            assert client.call(1, 10) == b"another"
        until_free(client, before)

    def test_nobody_waits_for_it(self, serve: Callable[..., Client]) -> None:
        gone, lent = threading.Event(), threading.Event()

        def function(_: Any) -> Any:
            assert gone.wait(10)
            with current_request().loan(5) as place:
                place[:] = b"12345"
                lent.set()
                return place

        client = serve(function)
        before = free(client)
        with pytest.raises(TimeoutError):
            client.call(1, 0.05)
        gone.set()
        assert lent.wait(10)
        until_free(client, before)

    def test_a_direct_call(self, tmp_path: Path) -> None:
        def function(n: int) -> Any:
            with current_request().loan(shape=n, dtype="u1") as array:
                array[:] = 1
                return array.sum()

        with Service(tmp_path / "s", function) as service:
            assert service(5) == 5
        with current_request().loan(3) as place:
            assert bytes(place) == bytes(3)


def until_free(client: Client, before: int) -> None:
    for _ in range(500):
        if free(client) == before:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{client.stats()}, and {before} bytes were free before")


def test_the_type_is_that_of_topics(queue: Queue) -> None:
    assert isinstance(queue.loan(), Loan)
    with pytest.raises(Empty):
        queue.get(timeout=0)
