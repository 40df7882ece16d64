"""The errors: what they derive from, what they say, and that they travel."""

from __future__ import annotations

import pickle
import queue
import threading
import time

import pytest

import samemap
from samemap import (
    AcquireTimeout,
    BrokenBarrierError,
    Empty,
    Full,
    Holder,
    LeaseLost,
    OwnerDied,
    PeerDied,
    SegmentMismatch,
    SegmentTruncated,
    ShutDown,
    errors,
)

MOMENT = time.mktime((2024, 5, 6, 7, 8, 9, 0, 0, -1))
HOLDER = Holder(7, "python jobs.py", MOMENT, True, None)


def test_owner_died_names_the_dead_and_the_cure() -> None:
    error = OwnerDied("/run/jobs", 7, "python jobs.py", MOMENT)
    assert isinstance(error, RuntimeError)
    assert (error.path, error.pid, error.command, error.when) == ("/run/jobs", 7, "python jobs.py", MOMENT)
    assert str(error) == (
        "the holder of the lock in /run/jobs died with it: pid 7 (python jobs.py), noticed at 2024-05-06 07:08:09; "
        "put right what the lock guards, and take it with recover()"
    )
    assert "an anonymous lock died with it: a process that is gone" in str(OwnerDied(None, None, None, MOMENT))


def test_acquire_timeout_names_the_holder() -> None:
    error = AcquireTimeout("Lock 'jobs'", 1.5, HOLDER)
    assert isinstance(error, TimeoutError)
    assert (error.seconds, error.holder) == (1.5, HOLDER)
    late = "Lock 'jobs' could not be had within 1.5 s"
    assert str(error) == f"{late}: pid 7 (python jobs.py) holds it since 2024-05-06 07:08:09"
    assert str(AcquireTimeout("Lock 'jobs'", 1.5, None)) == late
    dead = Holder(7, "python jobs.py", MOMENT, False, None)
    assert str(AcquireTimeout("Lock 'jobs'", 1.5, dead)).endswith("07:08:09, and has died with it")


def test_a_broken_barrier_says_why() -> None:
    error = BrokenBarrierError("pid 7 died")
    assert isinstance(error, threading.BrokenBarrierError)
    assert (str(error), error.reason) == ("pid 7 died", "pid 7 died")


@pytest.mark.parametrize(
    "error",
    [
        OwnerDied("/run/jobs", 7, "python jobs.py", MOMENT),
        AcquireTimeout("Lock 'jobs'", 1.5, HOLDER),
        BrokenBarrierError("pid 7 died"),
        Empty("Queue 'jobs': no job came in time"),
        Full("Queue 'jobs': 3 of 3 jobs wait"),
        LeaseLost("Queue 'jobs': pid 7 has job 3 by now"),
        PeerDied("pid 7 died with request 3"),
        ShutDown("Queue 'jobs': it was shut down"),
    ],
)
def test_errors_travel(error: Exception) -> None:
    same = pickle.loads(pickle.dumps(error))
    assert type(same) is type(error)
    assert (str(same), vars(same)) == (str(error), vars(error))


def test_the_rest_derives_from_pythons_own() -> None:
    assert issubclass(SegmentMismatch, ValueError)
    assert issubclass(SegmentTruncated, OSError)
    assert issubclass(PeerDied, ConnectionError)
    assert issubclass(Empty, queue.Empty)
    assert issubclass(Full, queue.Full)
    assert issubclass(ShutDown, getattr(queue, "ShutDown", Exception))


@pytest.mark.parametrize("module", [samemap, errors])
def test_what_does_not_exist_is_an_attribute_error(module: object) -> None:
    with pytest.raises(AttributeError, match="colour"):
        module.colour  # type: ignore[attr-defined]  # noqa: B018
