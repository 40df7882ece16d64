"""What a review of the locks found: each test failed before."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

import pytest
from isolated import run, succeed, until

from samemap import Condition, Counter, Lock, OwnerDied, ReadWriteLock

Start = Callable[..., "subprocess.Popen[str]"]

DIES = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


def die(source: str) -> None:
    """Have a process do something, and die."""
    assert run("import samemap\n" + source + DIES).returncode == -signal.SIGKILL


@contextmanager
def handling(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_wait_for_news_has_its_lock_again_whatever_a_signal_handler_raises() -> None:
    def alarm(_: int, __: FrameType | None) -> None:
        raise TimeoutError("the alarm")

    news, main = Condition(), threading.main_thread().ident
    assert main is not None
    is_notified = threading.Event()

    def notify() -> None:
        until(lambda: news.stats().waiting == 1, "somebody waits")
        with news:
            news.notify()
            is_notified.set()
            # By now it takes the lock again, which this thread has.
            time.sleep(0.2)
            signal.pthread_kill(main, signal.SIGALRM)
            time.sleep(0.2)

    other = threading.Thread(target=notify)
    other.start()
    with handling(signal.SIGALRM, alarm), news:
        with pytest.raises(TimeoutError, match="the alarm"):
            news.wait()
        # It raises where this thread does not hold the lock.
        news.notify()
    other.join()
    assert is_notified.is_set()
    assert not news.stats().locked


def test_ctrl_c_ends_a_wait_that_is_woken_all_the_time(start: Start) -> None:
    def interrupt(sent: list[float]) -> None:
        time.sleep(0.02)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    with closing(Counter("storm")) as counter:
        storm = start(source="import samemap\nstorm = samemap.Counter('storm')\nwhile True: storm.add(1)")
        until(lambda: counter.value > 0, "the storm begins")
        for _ in range(20):
            sent: list[float] = []
            other = threading.Thread(target=interrupt, args=(sent,))
            other.start()
            with pytest.raises(KeyboardInterrupt):
                counter.wait_until(1 << 62, timeout=10)
            assert time.monotonic() - sent[0] < 1
            other.join()
        storm.kill()


def test_who_gives_up_after_a_death_was_reported_releases_nothing() -> None:
    with closing(Lock("lock", on_owner_death="raise")) as lock:
        die("lock = samemap.Lock('lock')\nlock.acquire()")
        told = lock._begin_acquire()
        assert told.attempt()
        assert lock.recover(timeout=30)
        told.cancel()
        assert lock.locked()
        lock.release()


def test_nobody_who_lives_is_dead_for_one_whose_descriptors_were_closed_and_used_again() -> None:
    # As a daemon does that closes whatever is open. Its next files have the numbers of those that were closed.
    source = """
        import os, tempfile, samemap
        lock, event = samemap.Lock("lock"), samemap.Event("event")
        os.closerange(3, 100)
        files = [tempfile.TemporaryFile() for _ in range(20)]
        print(lock.acquire(timeout=0.3), flush=True)
        if os.fork() == 0:
            # It would join with the file that has the number now.
            try:
                event.set()
            except OSError as error:
                print(error.strerror, flush=True)
            os._exit(0)
        os.wait()
        os._exit(0)
    """
    with closing(Lock("lock")) as lock, lock:
        has_it, refused, _ = succeed(source).split("\n")
        assert has_it == "False"
        assert "closed its descriptor" in refused


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_death_is_reported_also_when_others_have_taken_it_over(what: str) -> None:
    with (
        closing(ReadWriteLock("table")) as takes_over,
        closing(ReadWriteLock("table", on_owner_death="raise")) as raises,
    ):
        die("table = samemap.ReadWriteLock('table')\ntable.acquire_write()")
        with takes_over.reading():
            assert takes_over.recovered
        acquire, release = getattr(raises, f"acquire_{what}"), getattr(raises, f"release_{what}")
        for _ in range(2):
            with pytest.raises(OwnerDied):
                acquire(timeout=30)
        assert raises.recover(timeout=30)
        assert raises.recovered
        raises.release_write()
        assert acquire(timeout=30)
        assert not raises.recovered
        release()


def test_the_death_of_a_writer_that_waited_for_readers_is_not_reported(start: Start) -> None:
    with (
        closing(ReadWriteLock("table")) as ours,
        closing(ReadWriteLock("table", on_owner_death="raise")) as raises,
    ):
        with ours.reading():
            writer = start(source="import samemap\nsamemap.ReadWriteLock('table').acquire_write()")
            until(ours._is_draining, "a writer waits")
            writer.kill()
            writer.wait()
            assert raises.acquire_read(timeout=30)
            raises.release_read()
        assert raises.acquire_write(timeout=30)
        assert not raises.recovered
        raises.release_write()


def test_a_thread_that_nobody_waits_for_keeps_its_lock_until_its_process_is_gone(start: Start) -> None:
    source = """
import atexit, threading, time
# The first to be registered is the last to run.
atexit.register(time.sleep, 60)
atexit.register(lambda: print("has left", flush=True))
import samemap
lock, has_it = samemap.Lock("lock"), threading.Event()
def hold():
    with lock:
        has_it.set()
        time.sleep(100)
threading.Thread(target=hold, daemon=True).start()
has_it.wait()
"""
    process = start(source=source)
    assert process.stdout is not None
    assert process.stdout.readline() == "has left\n"
    with closing(Lock.open("lock")) as lock:
        assert not lock.acquire(timeout=0.3)
        process.kill()
        assert lock.acquire(timeout=30)
        lock.release()
