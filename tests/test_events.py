"""`Event` within one process."""

from __future__ import annotations

import asyncio
import threading

import pytest
from isolated import until

from samemap import Event


def test_it_is_set_and_cleared() -> None:
    event = Event()
    assert (event.is_set(), event.wait(0), event.wait(0.01)) == (False, False, False)
    event.set()
    event.set()
    assert (event.is_set(), event.wait(0), event.wait()) == (True, True, True)
    event.clear()
    assert not event.is_set()


def test_all_who_wait_are_woken() -> None:
    event = Event()
    came: list[bool] = []
    threads = [threading.Thread(target=lambda: came.append(event.wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: event.stats().waiting == 3, "three sleepers")
    event.set()
    for thread in threads:
        thread.join(60)
    assert came == [True] * 3


def test_who_waited_is_woken_though_it_is_cleared_at_once() -> None:
    event = Event()
    came: list[bool] = []
    waiter = threading.Thread(target=lambda: came.append(event.wait()))
    waiter.start()
    until(lambda: event.stats().waiting == 1, "a sleeper")
    event.set()
    event.clear()
    waiter.join(60)
    assert came == [True]


def test_a_reader_can_wait() -> None:
    with Event("ready") as event, Event.open("ready", mode="r") as looker:
        assert looker.wait(0.01) is False
        event.set()
        assert looker.wait(60) is True
        with pytest.raises(TypeError, match="read-only"):
            looker.clear()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Event().wait(timeout)
    with pytest.raises(ValueError, match="timeout"):
        asyncio.run(Event().wait_async(timeout))


def test_it_tells_the_truth() -> None:
    event = Event("ready")
    assert repr(event) == "<samemap.Event 'ready' not set>"
    event.set()
    assert repr(event) == "<samemap.Event 'ready' set>"
    assert (event.stats().is_set, event.stats().waiting, event.stats().participants) == (True, 0, 1)
