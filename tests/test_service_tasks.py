"""Services and asyncio, at either end."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from isolated import until

from samemap import AsyncClient, Client, Full, Service, ShutDown
from samemap.services import current_request

pytestmark = pytest.mark.usefixtures("runtime_directory")


def double(x: Any) -> Any:
    return 2 * x


class Tried:
    """A number that counts how often it was pickled."""

    def __init__(self, n: int, tried: dict[int, int]) -> None:
        self.n = n
        self.tried = tried

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        self.tried[self.n] = self.tried.get(self.n, 0) + 1
        return int, (self.n,)


def waiting_replies(client: Client) -> list[Any]:
    return [row for row in client._jobs() if row[2] == "ready" and row[-1] > 0]


async def double_later(x: Any) -> Any:
    await asyncio.sleep(0.001)
    return 2 * x


async def count_up(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


class TestClients:
    def test_many_calls_at_once(self) -> None:
        async def main() -> list[int]:
            async with AsyncClient("s") as client:
                assert await client.wait_for_server(60)
                return await asyncio.gather(*(client.call(n, 60) for n in range(300)))

        with Service("s", double, workers=2):
            assert asyncio.run(main()) == [2 * n for n in range(300)]

    def test_streams(self) -> None:
        def count(n: int) -> Iterator[int]:
            yield from range(n)

        async def main() -> None:
            async with AsyncClient("s") as client:
                assert [part async for part in client.stream(100)] == list(range(100))
                async with client.stream(10**9, 60) as parts:
                    assert [await anext(parts) for _ in range(50)] == list(range(50))
                assert [part async for part in parts] == []
                with pytest.raises(TypeError, match="stream"):
                    await client.call(3)
                with pytest.raises(TypeError):
                    await anext(client.stream("x"))

        with Service("s", count) as service:
            asyncio.run(main())
            until(lambda: service.stats().running == 0, "the end of all")

    def test_errors_and_timeouts(self) -> None:
        going = threading.Event()

        def work(x: int) -> float:
            if x > 9:
                going.wait(60)
            return 1 / x

        async def main() -> None:
            async with AsyncClient("s") as client:
                with pytest.raises(ZeroDivisionError) as caught:
                    await client.call(0)
                assert "in work" in str(caught.value.__cause__)
                with pytest.raises(TimeoutError, match=r"no reply within 0\.05 s: pid"):
                    await client.call(10, 0.05)
                with pytest.raises(TimeoutError):
                    await client.call(4, 0)

        with Service("s", work):
            asyncio.run(main())
            going.set()

    def test_a_cancelled_task_cancels_its_call(self) -> None:
        begun, noticed = threading.Event(), threading.Event()

        def work(_: object) -> None:
            begun.set()
            until(lambda: current_request().cancelled, "the cancellation")
            noticed.set()

        async def main() -> None:
            async with AsyncClient("s") as client:
                task = asyncio.create_task(client.call(1))
                while not begun.is_set():
                    await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        with Service("s", work):
            asyncio.run(main())
            assert noticed.wait(60)

    def test_full_and_then_room(self) -> None:
        async def main() -> None:
            async with AsyncClient("s") as client:
                waiting = [asyncio.create_task(client.call(n, 60)) for n in range(2)]
                while client.stats().depth < 2:
                    await asyncio.sleep(0.001)
                for timeout in (0, 0.05):
                    with pytest.raises(Full):
                        await client.call(9, timeout)
                third = asyncio.create_task(client.call(5, 60))
                await asyncio.sleep(0.05)
                with Service("s", double):
                    assert [await task for task in (*waiting, third)] == [0, 2, 10]

        with Service("s", maxsize=2):
            asyncio.run(main())

    def test_shutdown_wakes_those_who_want_to_call(self) -> None:
        async def main() -> None:
            async with AsyncClient("s") as client:
                waiting = asyncio.create_task(client.call(1, 60))
                while client.stats().depth < 1:
                    await asyncio.sleep(0.001)
                refused = asyncio.create_task(client.call(2, 60))
                await asyncio.sleep(0.05)
                service.shutdown()
                with pytest.raises(ShutDown):
                    await refused
                waiting.cancel()

        with Service("s", maxsize=1) as service:
            asyncio.run(main())


class TestHandlers:
    def test_many_at_once_in_one_thread(self) -> None:
        running: list[int] = []
        most = 0

        async def work(x: int) -> tuple[int, str]:
            nonlocal most
            running.append(x)
            most = max(most, len(running))
            await asyncio.sleep(0.05)
            running.remove(x)
            return 2 * x, threading.current_thread().name

        async def main() -> list[tuple[int, str]]:
            async with AsyncClient("s") as client:
                return await asyncio.gather(*(client.call(n, 60) for n in range(40)))

        with Service("s", work, concurrency=10):
            came = asyncio.run(main())
        assert [value for value, _ in came] == [2 * n for n in range(40)]
        assert len({thread for _, thread in came}) == 1
        assert 2 <= most <= 10

    def test_coroutines_and_generators(self) -> None:
        with Service("a", double_later), Client("a") as client:
            assert [client.call(n, 60) for n in range(20)] == [2 * n for n in range(20)]
        with Service("b", count_up), Client("b") as client:
            assert list(client.stream(200, 60)) == list(range(200))

    def test_methods_and_objects(self) -> None:
        class Doubling:
            async def __call__(self, x: int) -> int:
                return 2 * x

            async def method(self, x: int) -> int:
                return 3 * x

        with Service("a", Doubling()), Client("a") as client:
            assert client.call(4, 60) == 8
        with Service("b", Doubling().method), Client("b") as client:
            assert client.call(4, 60) == 12

    def test_errors(self) -> None:
        async def fail(x: int) -> None:
            await asyncio.sleep(0)
            raise KeyError(x)

        async def parts(n: int) -> AsyncIterator[int]:
            for i in range(n):
                yield i
            raise LookupError("no more")

        with Service("a", fail), Client("a") as client, pytest.raises(KeyError) as caught:
            client.call(4, 60)
        assert "in fail" in str(caught.value.__cause__)
        with Service("b", parts), Client("b") as client:
            stream = client.stream(100, 60)
            assert [next(stream) for _ in range(100)] == list(range(100))
            with pytest.raises(LookupError):
                next(stream)

    def test_cancelled_calls_cancel_their_task(self) -> None:
        begun, ended = threading.Event(), threading.Event()

        async def work(_: object) -> None:
            begun.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.set()
                raise

        with Service("s", work) as service, Client("s") as client:
            with pytest.raises(TimeoutError):
                client.call(None, 0.1)
            assert begun.wait(60)
            assert ended.wait(60)
            until(lambda: service.stats().running == 0, "its end")

    def test_closed_streams_close_their_generator(self) -> None:
        ended = threading.Event()

        async def forever(_: object) -> AsyncIterator[int]:
            try:
                for n in itertools.count():
                    yield n
            finally:
                ended.set()

        with Service("s", forever), Client("s") as client:
            with client.stream(None, 60) as parts:
                assert [next(parts) for _ in range(40)] == list(range(40))
            assert ended.wait(60)

    def test_a_slow_reader(self) -> None:
        made: list[int] = []

        async def parts(_: object) -> AsyncIterator[int]:
            for n in range(200):
                made.append(n)
                yield n

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 60)
            assert next(stream) == 0
            time.sleep(0.2)
            assert len(made) < 50
            assert list(stream) == list(range(1, 200))

    def test_who_waits_for_a_slow_reader_does_not_try_again_and_again(self) -> None:
        tried: dict[int, int] = {}

        async def parts(_: object) -> AsyncIterator[Tried]:
            for n in range(40):
                yield Tried(n, tried)

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 60)
            assert next(stream) == 0
            until(lambda: max(tried.values()) > 1, "one for which there is no room")
            time.sleep(0.3)
            # The first time, for its size, and when others have made room.
            assert max(tried.values()) <= 3
            assert list(stream) == list(range(1, 40))

    def test_errors_wait_for_a_slow_reader_too(self) -> None:
        async def parts(_: object) -> AsyncIterator[int]:
            for n in range(16):
                yield n
            raise LookupError("no more")

        with Service("s", parts), Client("s") as client:
            stream = client.stream(None, 60)
            until(lambda: len(waiting_replies(client)) == 16, "as many replies as may wait")
            assert [next(stream) for _ in range(16)] == list(range(16))
            with pytest.raises(LookupError):
                next(stream)

    def test_a_stream_that_nobody_reads_keeps_no_server(self) -> None:
        with Service("s"), Client("s") as client:
            with Service("s", count_up, drain=0.1):
                stream = client.stream(10**9, 60)
                until(lambda: len(waiting_replies(client)) == 16, "as many replies as may wait")
            assert client.stats().running == 0
            with pytest.raises((ShutDown, ConnectionError)):
                list(stream)

    def test_no_room_for_large_replies_and_then_some(self) -> None:
        async def ones(_: object) -> Any:
            return np.ones(90_000, "u1")

        async def main() -> None:
            async with AsyncClient("s") as client:
                first = await client.call(1, 60)
                second = asyncio.create_task(client.call(2, 60))
                await asyncio.sleep(0.05)
                assert not second.done()
                assert first.sum() == 90_000
                del first
                assert (await second).sum() == 90_000

        with Service("s", ones, max_bytes=120_000):
            asyncio.run(main())

    @pytest.mark.parametrize("how", ["a cancelled call", "a reader"])
    def test_a_wait_for_room_ends_with(self, how: str) -> None:
        with Service("s") as service, Client("s") as client:
            call = client._call(1)
            request = service._take(0)
            for _ in range(16):
                assert request.reply(0, b"part", 0)
            with pytest.raises(Full):
                request.reply(0, b"part", 0)
            pending = request._begin_reply(request._size_of(b"part"))
            assert not pending.attempt()
            if how == "a cancelled call":
                call.cancel()
                assert pending.attempt()
                assert not request.reply(0, b"part", 0)
            else:
                call.recv(0)
                assert pending.attempt()
                assert request.reply(0, b"part", 0)
            request.done()

    def test_what_was_begun_is_finished(self) -> None:
        begun = threading.Event()

        async def slow(x: int) -> int:
            begun.set()
            await asyncio.sleep(0.2)
            return x

        came: list[Any] = []
        with Service("s"), Client("s") as client:
            with Service("s", slow):
                thread = threading.Thread(target=lambda: came.append(client.call(7, 60)))
                thread.start()
                assert begun.wait(60)
            thread.join(60)
        assert came == [7]

    def test_unless_it_takes_too_long(self) -> None:
        begun = threading.Event()

        async def slow(_: object) -> None:
            begun.set()
            await asyncio.sleep(3600)

        came: list[Any] = []

        def call(client: Client) -> None:
            try:
                client.call(7, 60)
            except ShutDown as error:
                came.append(str(error))

        with Service("s"), Client("s") as client:
            with Service("s", slow, drain=0.1):
                thread = threading.Thread(target=call, args=(client,))
                thread.start()
                assert begun.wait(60)
            thread.join(60)
        assert came == ["the server stopped in the middle of the call"]

    def test_arrays(self) -> None:
        async def mean(array: Any) -> Any:
            assert not array.flags.owndata
            return array * 2

        with Service("s", mean), Client("s") as client:
            reply = client.call(np.ones(100_000), 60)
            assert not reply.flags.owndata
            assert reply.sum() == 200_000
