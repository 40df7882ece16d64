"""What `stats` counts: those who live."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from isolated import until

from samemap import Condition, Counter, Event, Lock, ReadWriteLock, RLock, Semaphore


def taken(lock: Any) -> Any:
    lock.acquire()
    return lock


def written(lock: ReadWriteLock) -> ReadWriteLock:
    lock.acquire_write()
    return lock


@pytest.mark.parametrize(
    ("make", "sleep"),
    [
        (lambda: taken(Lock("thing")), "Lock('thing').acquire()"),
        (lambda: taken(RLock("thing")), "RLock('thing').acquire()"),
        (lambda: Semaphore("thing", 0), "Semaphore('thing').acquire()"),
        (lambda: written(ReadWriteLock("thing")), "ReadWriteLock('thing').acquire_read()"),
        (lambda: Event("thing"), "Event('thing').wait()"),
        (lambda: Counter("thing"), "Counter('thing').wait_until(1)"),
        (lambda: Condition("thing"), "thing = Condition('thing'); thing.acquire(); thing.wait()"),
    ],
)
def test_who_was_killed_waits_no_more(make: Callable[[], Any], sleep: str) -> None:
    thing = make()
    with subprocess.Popen([sys.executable, "-c", f"from samemap import *; {sleep}"]) as process:
        until(lambda: thing.stats().waiting == 1, "a sleeper")
        assert thing.stats().participants == 2
        process.kill()
    assert [someone.alive for someone in thing.participants()] == [True, False]
    assert (thing.stats().waiting, thing.stats().participants) == (0, 1)
    thing.close()


@pytest.mark.parametrize(("kind", "take"), [(Lock, "acquire"), (RLock, "acquire"), (ReadWriteLock, "acquire_write")])
def test_a_holder_that_the_roster_has_forgotten_is_not_called_pid_none(kind: type, take: str) -> None:
    thing = kind("thing")
    # Ends normally, and so leaves the roster.
    subprocess.run([sys.executable, "-c", f"from samemap import *; {kind.__name__}('thing').{take}()"], check=True)
    assert "None" not in repr(thing)
    assert thing.holder() is not None
    assert not thing.holder().alive
    thing.close()
