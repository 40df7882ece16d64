"""`wait` for several objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from isolated import until

from samemap import (
    AsyncClient,
    BoundedSemaphore,
    Client,
    Counter,
    Event,
    Lock,
    ReadWriteLock,
    RLock,
    Semaphore,
    Service,
    wait,
    wait_async,
)
from samemap.segments import SegmentObject


def test_those_that_are_ready_come_in_the_order_given() -> None:
    event, lock, semaphore = Event(), Lock(), Semaphore(value=0)
    assert wait([event, lock, semaphore]) == [lock]
    event.set()
    assert wait(iter([lock, semaphore, event])) == [lock, event]


def test_nothing_is_taken() -> None:
    lock, semaphore = Lock(), Semaphore(value=1)
    assert wait([lock, semaphore]) == wait([lock, semaphore]) == [lock, semaphore]
    assert (lock.locked(), semaphore.value) == (False, 1)


def test_after_the_timeout_there_is_none() -> None:
    assert wait([Event(), Semaphore(value=0)], timeout=0) == []
    assert wait([Event(), Semaphore(value=0)], timeout=0.01) == []
    assert wait([], timeout=0.01) == []


def held_by_another(lock: Lock | ReadWriteLock) -> Callable[[], None]:
    (lock.acquire if isinstance(lock, Lock) else lock.acquire_read)()
    return lock.release if isinstance(lock, Lock) else lock.release_read


@pytest.mark.parametrize(
    ("thing", "begin"),
    [
        (Event, lambda event: event.set),
        (Lock, held_by_another),
        (ReadWriteLock, held_by_another),
        (lambda: Semaphore(value=0), lambda semaphore: semaphore.release),
        (lambda: BoundedSemaphore(value=1), lambda semaphore: (semaphore.acquire(), semaphore.release)[1]),
    ],
)
def test_a_sleeper_is_woken_by_each(
    thing: Callable[[], SegmentObject], begin: Callable[[SegmentObject], Callable[[], None]]
) -> None:
    waited, other = thing(), Event()
    end = begin(waited)
    came: list[object] = []
    waiter = threading.Thread(target=lambda: came.append(wait([other, waited])))
    waiter.start()
    until(lambda: other.participants()[0].waiting == 1, "a sleeper")
    assert came == []
    end()
    waiter.join(60)
    assert came == [[waited]]


def test_a_lock_that_the_thread_holds_is_ready_for_it_when_it_is_reentrant() -> None:
    lock = RLock()
    with lock:
        assert wait([lock], timeout=0) == [lock]
        came: list[object] = []
        other = threading.Thread(target=lambda: came.append(wait([lock], timeout=0.01)))
        other.start()
        other.join(60)
        assert came == [[]]


def test_what_cannot_be_waited_for_is_named() -> None:
    with pytest.raises(TypeError, match="cannot wait for a Counter"):
        wait([Event(), Counter()])


def waited(things: list[Any], timeout: float | None, how: str) -> list[Any]:
    return wait(things, timeout) if how == "wait" else asyncio.run(wait_async(things, timeout))


HOWS = pytest.mark.parametrize("how", ["wait", "wait_async"])


@HOWS
def test_a_service_is_ready_when_requests_wait(how: str, runtime_directory: object) -> None:
    with Service("s") as service, Service("other") as other, Client("s") as client:
        assert waited([service, other], 0.01, how) == []
        call = client._call(1)
        assert waited([service, other], 60, how) == [service]
        request = service._take(0)
        assert waited([service, other], 0.01, how) == []
        request.done()
        call.cancel()
        other.shutdown()
        assert waited([service, other], 60, how) == [other]


@HOWS
def test_a_stream_is_ready_when_there_is_a_part_or_its_end(how: str, runtime_directory: object) -> None:
    going = Event()

    def count(n: int) -> Iterator[int]:
        for i in range(n):
            yield i
            if i == 0:
                going.wait(60)
        if n == 3:
            raise LookupError("no more")

    with Service("s", count, workers=2), Client("s") as client:
        first, second = client.stream(3, 60), client.stream(1, 60)
        assert waited([going, first], 60, how) == [first]
        assert (next(first), next(second)) == (0, 0)
        assert waited([first, second], 0.01, how) == []
        going.set()
        left, parts = [first, second], []
        while left:
            for stream in waited(left, 60, how):
                try:
                    parts.append((stream is first, next(stream)))
                except (StopIteration, LookupError) as error:
                    parts.append((stream is first, type(error)))
                    left.remove(stream)
        assert parts.index((True, 1)) < parts.index((True, 2)) < parts.index((True, LookupError))
        assert (False, StopIteration) in parts
        assert (len(parts), first.closed, second.closed) == (4, True, True)
        with pytest.raises(ValueError, match="closed, or was read"):
            waited([first, going], 0, how)


@HOWS
def test_a_stream_that_is_closed_while_it_is_waited_for(how: str, runtime_directory: object) -> None:
    with Service("s") as service, Client("s") as client:
        stream = client.stream(1, 60)
        assert not stream.closed
        closing = threading.Thread(
            target=lambda: (until(lambda: service.stats().waiting == 1, "a sleeper"), stream.close())
        )
        closing.start()
        with pytest.raises(ValueError, match=r"cancelled|closed"):
            waited([stream], 60, how)
        closing.join(60)


def test_streams_of_tasks_are_refused(runtime_directory: object) -> None:
    with Service("s"), AsyncClient("s") as client, pytest.raises(TypeError, match="cannot wait for a AsyncStream"):
        wait([client.stream(1)])  # type: ignore[type-var]


def test_a_closed_object_is_refused_also_while_it_is_waited_for() -> None:
    event, closing = Event(), Event()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            wait([event, closing])
        except ValueError as error:
            caught.append(error)

    waiter = threading.Thread(target=run)
    waiter.start()
    until(lambda: event.stats().waiting == 1, "a sleeper")
    closing.close()
    waiter.join(60)
    assert "closed" in str(caught[0])
    with pytest.raises(ValueError, match="closed"):
        wait([closing])


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        wait([Event()], timeout)


def test_nothing_is_not_waited_for_for_ever() -> None:
    assert wait([], 0.01) == asyncio.run(wait_async([], 0.01)) == []
    for waiting in (lambda: wait([]), lambda: asyncio.run(wait_async([]))):
        with pytest.raises(ValueError, match="no objects and no timeout"):
            waiting()
