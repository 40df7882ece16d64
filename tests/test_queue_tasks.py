"""Queues in asyncio: one thread for all tasks, and nothing lost by those who are cancelled."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from isolated import until

from samemap import Empty, Event, Full, Queue, ShutDown, wait_async


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 60))


async def asleep(queue: Queue, count: int = 1) -> None:
    """Return when so many tasks wait for it."""
    while queue.participants()[0].waiting < count:
        await asyncio.sleep(0.001)


class TestCalls:
    def test_a_job_there_and_back(self) -> None:
        async def main() -> None:
            with Queue(maxsize=1) as queue:
                getter = asyncio.create_task(queue.get_async())
                await asleep(queue)
                await queue.put_async({"n": 1})
                assert await getter == {"n": 1}
                await queue.put_async(2)
                putter = asyncio.create_task(queue.put_async(3))
                await asleep(queue)
                with await queue.lease_async() as job:
                    assert (job.value, job.attempt) == (2, 1)
                await putter
                assert await queue.get_async() == 3

        run(main)

    def test_a_large_one_waits_for_enough_room(self) -> None:
        async def main() -> None:
            with Queue(max_bytes=1 << 20) as queue:
                image = np.arange(80_000)
                await queue.put_async(image)
                putter = asyncio.create_task(queue.put_async(image))
                await asleep(queue)
                # A small one needs not wait for it.
                await queue.put_async("small", 0)
                view = await queue.get_async()
                await asyncio.sleep(0.02)
                assert not putter.done()
                del view
                await putter
                assert await queue.get_async() == "small"
                assert (await queue.get_async()).sum() == image.sum()

        run(main)

    @pytest.mark.parametrize("timeout", [0, 1e-9, 0.02])
    def test_a_timeout_gives_up(self, timeout: float) -> None:
        async def main() -> None:
            with Queue(maxsize=1) as queue:
                with pytest.raises(Empty):
                    await queue.get_async(timeout)
                with pytest.raises(Empty):
                    await queue.lease_async(timeout)
                assert await queue.join_async(timeout) is True
                await queue.put_async(1, timeout)
                with pytest.raises(Full):
                    await queue.put_async(2, timeout)
                assert await queue.join_async(timeout) is False
                assert await wait_async([queue], timeout) == [queue]
                assert await queue.get_async(timeout) == 1
                assert await wait_async([queue], timeout) == []
                assert queue.stats().waiting == 0

        run(main)

    @pytest.mark.parametrize("timeout", [None, math.inf, 60])
    def test_or_is_long_enough(self, timeout: float | None) -> None:
        async def main() -> None:
            with Queue(maxsize=1) as queue:
                getter = asyncio.create_task(queue.get_async(timeout))
                await asleep(queue)
                queue.put(1)
                assert await getter == 1
                joiner = asyncio.create_task(queue.join_async(timeout))
                await asleep(queue)
                queue.task_done()
                assert await joiner is True

        run(main)

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_one_that_makes_no_sense_is_refused(self, timeout: float) -> None:
        async def main() -> None:
            with Queue() as queue:
                # Also where there is nothing to wait for.
                queue.put(1)
                for call in (
                    queue.get_async(timeout),
                    queue.lease_async(timeout),
                    queue.put_async(2, timeout),
                    queue.join_async(timeout),
                ):
                    with pytest.raises(ValueError, match="timeout"):
                        await call
                assert queue.qsize() == 1

        run(main)

    def test_errors_of_jobs_come_unchanged(self) -> None:
        class Late:
            def __reduce__(self) -> Any:
                raise TimeoutError("its own")

        async def main() -> None:
            with Queue() as queue, pytest.raises(TimeoutError, match="its own"):
                await queue.put_async(Late())

        run(main)

    def test_shutdown_ends_what_waits(self) -> None:
        async def main() -> None:
            with Queue() as empty, Queue(maxsize=1) as full:
                full.put(1)
                calls = [empty.get_async(), empty.lease_async(), full.put_async(2)]
                tasks = [asyncio.create_task(call) for call in calls]
                await asleep(empty, 2)
                await asleep(full)
                empty.shutdown()
                full.shutdown()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert [type(end) for end in ends] == [ShutDown] * 3

        run(main)

    def test_closing_ends_what_waits(self) -> None:
        async def main() -> None:
            queue = Queue(maxsize=1)
            queue.put(1)
            tasks = [asyncio.create_task(call) for call in (queue.put_async(2), queue.join_async())]
            await asleep(queue, 2)
            await asyncio.to_thread(queue.close)
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(end, ValueError)
                assert "closed" in str(end)

        run(main)


class TestLoops:
    def test_they_get_all_until_it_is_shut_down(self) -> None:
        async def main() -> None:
            with Queue(maxsize=4) as queue:

                async def collect() -> list[int]:
                    return [job async for job in queue]

                readers = [asyncio.create_task(collect()) for _ in range(3)]
                for n in range(300):
                    await queue.put_async(n)
                queue.shutdown()
                got = await asyncio.gather(*readers)
                assert sorted(n for some in got for n in some) == list(range(300))
                assert [job async for job in queue] == []

        run(main)

    def test_or_closed(self) -> None:
        async def main() -> None:
            queue = Queue()
            queue.put(1)

            async def collect() -> list[int]:
                return [job async for job in queue]

            reader = asyncio.create_task(collect())
            await asleep(queue)
            await asyncio.to_thread(queue.close)
            assert await reader == [1]

        run(main)

    def test_errors_of_jobs_do_not_end_them_quietly(self) -> None:
        async def main() -> None:
            with Queue() as queue:
                queue.put(Bomb())
                with pytest.raises(ValueError, match="bang"):
                    await anext(queue)
                queue.shutdown(immediate=True)
                with pytest.raises(StopAsyncIteration):
                    await anext(queue)

        run(main)


class Bomb:
    """What raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return bang, ()


def bang() -> None:
    raise ValueError("bang")


class TestCancellation:
    def test_a_cancelled_get_loses_nothing(self) -> None:
        async def main() -> None:
            with Queue() as queue:
                for n in range(100):
                    task = asyncio.create_task(queue.get_async() if n % 2 else queue.lease_async())
                    await asleep(queue)
                    queue.put(n)
                    # Woken, or about to be; a moment more or less each time.
                    for _ in range(n % 4):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    if task.cancelled():
                        assert await queue.get_async(10) == n
                    elif n % 2:
                        assert task.result() == n
                    else:
                        with task.result() as job:
                            assert job.value == n
                    assert (queue.qsize(), queue.stats().leased) == (0, 0)

        run(main)

    def test_a_cancelled_put_puts_nothing_or_all(self) -> None:
        async def main() -> None:
            with Queue(maxsize=1) as queue:
                for n in range(50):
                    queue.put("first")
                    task = asyncio.create_task(queue.put_async(n))
                    await asleep(queue)
                    assert queue.get() == "first"
                    for _ in range(n % 4):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    if not task.cancelled():
                        assert await queue.get_async(10) == n
                    assert queue.empty()

        run(main)

    def test_one_that_is_cancelled_does_not_keep_a_wake_from_the_next(self) -> None:
        async def main() -> None:
            with Queue() as queue:
                for _ in range(50):
                    first, second = (asyncio.create_task(queue.get_async()) for _ in range(2))
                    await asleep(queue, 2)
                    queue.put(1)
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)
                    if not first.cancelled():
                        queue.put(2)
                    assert await asyncio.wait_for(second, 30) in (1, 2)

        run(main)

    def test_all_that_were_put_are_got_whoever_is_cancelled(self) -> None:
        async def main() -> None:
            chance = random.Random(5)
            with Queue(maxsize=8) as queue:
                got: list[int] = []

                async def read() -> None:
                    while True:
                        got.append(await queue.get_async())
                        await asyncio.sleep(0)

                readers = [asyncio.create_task(read()) for _ in range(8)]
                for n in range(2000):
                    await queue.put_async(n)
                    if n % 5 == 0:
                        at = chance.randrange(8)
                        readers[at].cancel()
                        readers[at] = asyncio.create_task(read())
                while len(got) < 2000:
                    await asyncio.sleep(0.001)
                for reader in readers:
                    reader.cancel()
                await asyncio.gather(*readers, return_exceptions=True)
                assert sorted(got) == list(range(2000))

        run(main)


class TestThreads:
    def test_a_thousand_tasks_and_one_thread(self) -> None:
        async def main() -> None:
            with Queue() as queue:
                tasks = [asyncio.create_task(queue.get_async()) for _ in range(1000)]
                await asleep(queue, 1000)
                names = [thread.name for thread in threading.enumerate() if thread.name.startswith("samemap")]
                assert names == ["samemap-watcher"]
                for n in range(1000):
                    await queue.put_async(n)
                assert sorted(await asyncio.gather(*tasks)) == list(range(1000))

        run(main)

    def test_tasks_and_threads_share_the_jobs(self) -> None:
        with Queue(maxsize=4) as queue:
            by_thread: list[int] = []
            reader = threading.Thread(target=lambda: by_thread.extend(queue))
            reader.start()

            async def main() -> list[int]:
                async def collect() -> list[int]:
                    return [job async for job in queue]

                task = asyncio.create_task(collect())
                for n in range(500):
                    await queue.put_async(n)
                queue.shutdown()
                return await task

            by_task = run(main)
            reader.join(60)
            assert sorted(by_task + by_thread) == list(range(500))

    def test_in_two_loops_in_two_threads(self) -> None:
        with Queue() as queue:
            came: list[int] = []
            runs = [threading.Thread(target=lambda: came.append(asyncio.run(queue.get_async()))) for _ in range(2)]
            for thread in runs:
                thread.start()
            until(lambda: queue.stats().waiting == 2, "two tasks that wait")
            queue.put_many([1, 2])
            for thread in runs:
                thread.join(60)
            assert sorted(came) == [1, 2]

    def test_several_things_at_once(self) -> None:
        async def main() -> None:
            with Queue() as queue, Queue() as other, Event() as stop:
                things: list[Any] = [stop, queue, other]
                waiting = asyncio.create_task(wait_async(things))
                await asleep(queue)
                queue.put(1)
                assert await waiting == [queue]
                assert queue.get_nowait() == 1
                assert await wait_async(things, 0) == []
                stop.set()
                other.shutdown()
                assert await wait_async(things) == [stop, other]

        run(main)
