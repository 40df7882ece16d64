"""Topics and newest values in asyncio: one thread for all tasks, and nothing lost by those who are cancelled."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import until

from samemap import Empty, Event, Full, Latest, Topic, wait_async


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), 60))


async def asleep(thing: Any, count: int = 1) -> None:
    """Return when so many tasks wait for it."""
    while thing.participants()[0].waiting < count:
        await asyncio.sleep(0.001)


class TestReceiving:
    def test_a_loop_gets_all_until_it_is_closed(self) -> None:
        async def main() -> None:
            with Topic(slots=4) as feed:
                subscription = feed.subscribe("block")

                async def collect() -> list[bytes]:
                    return [sample.value async for sample in subscription]

                reader = asyncio.create_task(collect())
                for n in range(100):
                    assert await feed.publish_async(b"%d" % n) == n + 1
                while subscription.received < 100:
                    await asyncio.sleep(0)
                await asleep(feed)
                subscription.close()
                assert await reader == [b"%d" % n for n in range(100)]
                assert [sample async for sample in subscription] == []

        run(main)

    def test_closing_the_topic_ends_loops_and_raises_in_calls(self) -> None:
        async def main() -> None:
            feed = Topic(slots=2)
            blocking = feed.subscribe("block")
            feed.publish(b"1")
            feed.publish(b"2")
            subscription = feed.subscribe()

            async def collect() -> list[int]:
                return [sample.seq async for sample in subscription]

            loop = asyncio.create_task(collect())
            calls = [
                asyncio.create_task(call)
                for call in (
                    feed.subscribe().recv_async(),
                    feed.publish_async(b"3"),
                    feed.wait_for_subscribers_async(99),
                    wait_async([Event(), feed.subscribe()]),
                )
            ]
            await asleep(feed, 5)
            await asyncio.to_thread(feed.close)
            assert await loop == []
            for end in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(end, ValueError)
                assert "closed" in str(end)
            assert blocking.closed

        run(main)

    @pytest.mark.parametrize("timeout", [0, 1e-9, 0.02])
    def test_a_timeout_gives_up(self, timeout: float) -> None:
        async def main() -> None:
            with Topic(slots=2) as feed, Latest() as value:
                subscription = feed.subscribe("block")
                for receive in (subscription.recv_async, subscription.get_async):
                    with pytest.raises(Empty):
                        await receive(timeout)
                with pytest.raises(Empty):
                    await value.wait_newer_async(timeout=timeout)
                value.set(b"x")
                # What it has got counts, unless one says another number.
                assert [await value.wait_newer_async(*seq, timeout=timeout) for seq in ((), (0,))] == [b"x", b"x"]
                with pytest.raises(Empty, match="newer than number 1"):
                    await value.wait_newer_async(timeout=timeout)
                assert await feed.wait_for_subscribers_async(2, timeout) is False
                assert await wait_async([subscription, value], timeout) == []
                feed.publish(b"1")
                assert (await subscription.recv_async(timeout)).seq == 1
                feed.publish(b"2")
                assert await subscription.get_async(timeout) == b"2"
                feed.publish(b"3")
                feed.publish(b"4")
                with pytest.raises(Full, match="not yet read"):
                    await feed.publish_async(b"5", timeout)
                assert feed.stats().waiting == 0

        run(main)

    @pytest.mark.parametrize("timeout", [None, math.inf, 60])
    def test_or_is_long_enough(self, timeout: float | None) -> None:
        async def main() -> None:
            with Topic(slots=2) as feed, Latest() as value:
                subscription, blocking = feed.subscribe(), feed.subscribe("block")
                reader = asyncio.create_task(subscription.recv_async(timeout))
                looker = asyncio.create_task(value.wait_newer_async(timeout=timeout))
                audience = asyncio.create_task(feed.wait_for_subscribers_async(3, timeout))
                await asleep(feed, 2)
                await asleep(value)
                feed.publish(b"1")
                value.set(b"on")
                third = feed.subscribe()
                assert ((await reader).seq, await looker, await audience) == (1, b"on", True)
                feed.publish(b"2")
                writer = asyncio.create_task(feed.publish_async(b"3", timeout))
                await asleep(feed)
                blocking.recv(0)
                assert await writer == 3
                assert third.lag == 2

        run(main)

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    def test_one_that_makes_no_sense_is_refused(self, timeout: float) -> None:
        with Topic() as feed, Latest() as value:
            feed.publish(b"x")
            value.set(b"x")
            for call in (
                lambda: feed.subscribe().recv_async(timeout),
                lambda: feed.subscribe().get_async(timeout),
                # Also where there is nothing to wait for.
                lambda: feed.subscribe(history=1).recv_async(timeout),
                lambda: feed.publish_async(b"x", timeout),
                lambda: value.wait_newer_async(0, timeout),
                lambda: feed.wait_for_subscribers_async(9, timeout),
            ):
                with pytest.raises(ValueError, match="timeout"):
                    asyncio.run(call())
            assert feed.seq == 1

    def test_who_may_only_look_cannot_wait_so(self) -> None:
        async def main() -> None:
            with Topic("feed") as feed, Topic.open("feed", mode="r") as looker:
                subscription = looker.subscribe()
                with pytest.raises(TypeError, match="read-only"):
                    await subscription.recv_async()
                with pytest.raises(TypeError, match="read-only"):
                    await subscription.get_async()
                feed.publish(b"x")
                assert bytes(await subscription.recv_async()) == b"x"
                feed.publish(b"y")
                assert await subscription.get_async() == b"y"
                with pytest.raises(TypeError, match="read-only"):
                    await looker.publish_async(b"x")

        run(main)

    def test_where_full_topics_raise_or_drop_tasks_do_not_wait(self) -> None:
        async def main() -> None:
            with Topic("feed", slots=2) as feed, feed.subscribe("block"):
                feed.publish(b"1")
                feed.publish(b"2")
                with Topic.open("feed", when_full="raise") as raising, pytest.raises(Full):
                    await raising.publish_async(b"3")
                with Topic.open("feed", when_full="drop") as dropping:
                    assert await dropping.publish_async(b"3") == 0
                assert feed.stats().dropped == 1

        run(main)


class TestCancelling:
    def test_loses_no_message(self) -> None:
        # Cancelled at every moment around the arrival of a message.
        async def main() -> None:
            with Topic(slots=64) as feed, feed.subscribe("block") as subscription:
                got: list[int] = []
                for turn in range(300):
                    task = asyncio.create_task(subscription.recv_async())
                    for _ in range(turn % 4):
                        await asyncio.sleep(0)
                    feed.publish(b"%d" % turn)
                    for _ in range(turn // 4 % 4):
                        await asyncio.sleep(0)
                    if turn % 3 == 0:
                        # For as long as it takes the watcher to tell.
                        await asyncio.sleep(0.0005)
                    task.cancel()
                    (end,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(end, asyncio.CancelledError):
                        got.append(end.seq)
                    got += [sample.seq for sample in iter(subscription.poll, None)]
                assert got == list(range(1, 301))
                assert (feed.stats().waiting, subscription.missed) == (0, 0)

        run(main)

    def test_loses_no_slot(self) -> None:
        async def main() -> None:
            with Topic(slots=2) as feed, feed.subscribe("block") as subscription:
                feed.publish(b"1")
                feed.publish(b"2")
                for turn in range(100):
                    task = asyncio.create_task(feed.publish_async(b"x"))
                    for _ in range(turn % 4):
                        await asyncio.sleep(0)
                    subscription.recv(0)
                    if turn % 3 == 0:
                        await asyncio.sleep(0.0005)
                    task.cancel()
                    (end,) = await asyncio.gather(task, return_exceptions=True)
                    if isinstance(end, asyncio.CancelledError):
                        feed.publish(b"x", timeout=0)
                assert (feed.seq, subscription.lag, feed.stats().loaned) == (102, 2, 0)

        run(main)

    def test_within_a_timeout_of_asyncios_own(self) -> None:
        async def main() -> None:
            with Topic() as feed, feed.subscribe() as subscription:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(subscription.recv_async(), 0.02)
                feed.publish(b"x")
                assert (await asyncio.wait_for(subscription.recv_async(), 60)).seq == 1
                # A task that was cancelled has taken nothing, and one that waits is woken.
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(subscription.get_async(), 0.02)
                getter = asyncio.create_task(subscription.get_async())
                await asleep(feed)
                feed.publish(b"y")
                assert await getter == b"y"

        run(main)


class TestManyTasks:
    def test_wait_on_one_thread(self) -> None:
        async def main() -> None:
            with Topic(slots=64) as feed, Topic(slots=2) as narrow, Latest() as value:
                narrow_reader = narrow.subscribe("block")
                narrow.publish_many([b"1", b"2"])
                subscriptions = [feed.subscribe() for _ in range(100)]
                readers = [asyncio.create_task(each.recv_async()) for each in subscriptions for _ in range(2)]
                writers = [asyncio.create_task(narrow.publish_async(b"%d" % n)) for n in range(50)]
                lookers = [asyncio.create_task(value.wait_newer_async()) for _ in range(50)]
                await asleep(feed, 200)
                await asleep(narrow, 50)
                await asleep(value, 50)
                names = [thread.name for thread in threading.enumerate() if thread.name.startswith("samemap")]
                assert names == ["samemap-watcher"]
                before = len(list(Path("/proc/self/task").iterdir()))
                feed.publish(b"first")
                value.set(b"on")
                assert await asyncio.gather(*lookers) == [b"on"] * 50
                while sum(task.done() for task in readers) < 100:
                    await asyncio.sleep(0.001)
                feed.publish(b"second")
                seen = [sample.seq for sample in await asyncio.gather(*readers)]
                assert sorted(seen) == [1] * 100 + [2] * 100
                got = [(await narrow_reader.recv_async()).seq for _ in range(52)]
                assert got == list(range(1, 53))
                assert sorted(await asyncio.gather(*writers)) == list(range(3, 53))
                assert len(list(Path("/proc/self/task").iterdir())) == before

        run(main)

    def test_sharing_a_subscription_get_each_message_once(self) -> None:
        async def main() -> None:
            with Topic(slots=8) as feed, feed.subscribe("block") as subscription:
                got: list[int] = []

                async def read() -> None:
                    async for sample in subscription:
                        got.append(sample.seq)  # noqa: PERF401 - it must be seen before the loop ends

                readers = [asyncio.create_task(read()) for _ in range(10)]
                await asyncio.to_thread(lambda: [feed.publish(b"x") for _ in range(1000)])
                while len(got) < 1000:
                    await asyncio.sleep(0.001)
                subscription.close()
                await asyncio.gather(*readers)
                assert sorted(got) == list(range(1, 1001))

        run(main)

    def test_in_two_loops_in_two_threads(self) -> None:
        with Topic() as feed:
            subscriptions = [feed.subscribe() for _ in range(2)]
            came: list[int] = []
            runs = [
                threading.Thread(target=lambda each=each: came.append(asyncio.run(each.recv_async()).seq))
                for each in subscriptions
            ]
            for thread in runs:
                thread.start()
            until(lambda: feed.stats().waiting == 2, "two tasks that wait")
            feed.publish(b"x")
            for thread in runs:
                thread.join(60)
            assert came == [1, 1]

    def test_the_watcher_sleeps_while_nothing_comes(self) -> None:
        async def main() -> None:
            with Topic() as feed, Latest() as value:
                subscriptions = [feed.subscribe() for _ in range(50)]
                tasks = [asyncio.create_task(each.recv_async()) for each in subscriptions]
                tasks.append(asyncio.create_task(value.wait_newer_async()))
                await asleep(feed, 50)
                await asleep(value)
                (watcher,) = (thread for thread in threading.enumerate() if thread.name == "samemap-watcher")
                status = Path(f"/proc/self/task/{watcher.native_id}/status")

                def slept() -> int:
                    lines = status.read_text().splitlines()
                    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))

                before = slept()
                await asyncio.sleep(0.5)
                # It looks after the dead every 50 ms, for all of them at once.
                assert slept() - before < 20
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        run(main)

    def test_several_things_at_once(self) -> None:
        async def main() -> None:
            with Topic(shape=2, dtype="u1") as feed, Event() as stop, Latest() as value:
                subscription = feed.subscribe()
                things: list[Any] = [stop, subscription, value]
                waiting = asyncio.create_task(wait_async(things))
                await asleep(feed)
                feed.publish(np.array([1, 2], "u1"))
                assert await waiting == [subscription]
                value.set(b"on")
                assert await wait_async(things) == [subscription, value]
                assert (subscription.recv(0).array.tolist(), value.get()) == ([1, 2], b"on")
                assert await wait_async(things, 0) == []
                stop.set()
                assert await wait_async(things) == [stop]

        run(main)
