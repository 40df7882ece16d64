"""`Lock` and `RLock` within one process: threads, timeouts, who holds it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from isolated import until

from samemap import AcquireTimeout, Holder, Lock, RLock

Mutex = Lock | RLock


@pytest.fixture(params=[Lock, RLock])
def lock(request: pytest.FixtureRequest) -> Mutex:
    return request.param()  # type: ignore[no-any-return]


def elsewhere(work: Callable[[], object]) -> object:
    """Do it in another thread, and return what it returned or raised."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(work())
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return came[0]


class TestAcquiring:
    def test_one_thread_at_a_time(self, lock: Mutex) -> None:
        total = 0

        def count() -> None:
            nonlocal total
            for _ in range(200):
                with lock:
                    seen = total
                    time.sleep(0)
                    total = seen + 1

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert total == 800

    def test_results_are_those_of_threading(self, lock: Mutex) -> None:
        assert lock.acquire() is True
        assert elsewhere(lambda: lock.acquire(False)) is False
        assert elsewhere(lambda: lock.acquire(blocking=True, timeout=0.01)) is False
        assert lock.release() is None  # type: ignore[func-returns-value]
        assert elsewhere(lambda: lock.acquire(timeout=-1)) is True

    def test_a_sleeper_is_woken_by_the_release(self, lock: Mutex) -> None:
        with lock:
            came: list[object] = []
            sleeper = threading.Thread(target=lambda: came.append((lock.acquire(), lock.release())))
            sleeper.start()
            until(lambda: lock.participants()[0].waiting == 1, "a sleeper")
            assert came == []
        sleeper.join(60)
        assert came == [(True, None)]

    @pytest.mark.parametrize("timeout", [-2, float("nan")])
    def test_a_timeout_that_makes_no_sense_is_refused(self, lock: Mutex, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(timeout=timeout)

    def test_a_look_has_no_timeout(self, lock: Mutex) -> None:
        with pytest.raises(ValueError, match="blocking=False"):
            lock.acquire(False, 1)

    def test_an_exception_in_the_block_releases_it(self, lock: Mutex) -> None:
        with pytest.raises(KeyError), lock:
            raise KeyError
        assert not lock.locked()

    def test_it_is_not_recovered_when_nobody_died(self, lock: Mutex) -> None:
        assert lock.recover(timeout=1) is True
        assert lock.recovered is False


class TestReleasing:
    def test_what_nobody_holds_cannot_be_released(self, lock: Mutex) -> None:
        with pytest.raises(RuntimeError, match="nobody holds it"):
            lock.release()

    def test_any_thread_of_the_process_releases_a_lock(self) -> None:
        lock = Lock()
        lock.acquire()
        assert elsewhere(lock.release) is None
        assert not lock.locked()

    def test_only_its_thread_releases_a_reentrant_lock(self) -> None:
        lock = RLock()
        lock.acquire()
        error = elsewhere(lock.release)
        assert isinstance(error, RuntimeError)
        assert str(os.getpid()) in str(error)
        assert lock.depth == 1

    def test_a_reentrant_lock_is_released_as_often_as_it_was_taken(self) -> None:
        lock = RLock()
        with lock:
            assert lock.acquire() is True
            assert (lock.depth, lock.stats().depth) == (2, 2)
            lock.release()
            assert elsewhere(lambda: lock.acquire(False)) is False
        assert lock.depth == 0
        assert elsewhere(lambda: lock.acquire(False)) is True


class TestWithin:
    def test_it_holds_the_lock_in_the_block(self, lock: Mutex) -> None:
        with lock.within(1) as entered:
            assert entered is lock
            assert lock.locked()
        assert not lock.locked()

    def test_a_lock_that_is_late_names_its_holder(self) -> None:
        lock = Lock("jobs")
        with lock, pytest.raises(AcquireTimeout) as caught, lock.within(0.01):
            pass
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.seconds == 0.01
        assert caught.value.holder == Holder(
            os.getpid(), caught.value.holder.command, caught.value.holder.since, True, None
        )
        assert str(caught.value).startswith("Lock 'jobs' could not be had within 0.01 s: pid ")
        assert not lock.locked()

    @pytest.mark.parametrize("timeout", [-1, -0.5, float("nan")])
    def test_a_timeout_that_makes_no_sense_is_refused(self, lock: Mutex, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout"):
            lock.within(timeout)

    def test_an_exception_in_the_block_releases_it(self, lock: Mutex) -> None:
        with pytest.raises(KeyError), lock.within(None):
            raise KeyError
        assert not lock.locked()


class TestInThreadingsCondition:
    def test_a_waiter_gives_the_lock_back_however_often_it_has_it(self, lock: Mutex) -> None:
        news, box = threading.Condition(lock), ["empty"]  # type: ignore[arg-type]
        depth = 2 if isinstance(lock, RLock) else 1

        def wait() -> list[str]:
            with ExitStack() as stack:
                for _ in range(depth):
                    stack.enter_context(lock)
                assert news.wait_for(lambda: box == ["full"], 60)
                assert not isinstance(lock, RLock) or lock.depth == depth
            return box

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            until(lambda: news._waiters, "a waiter")  # type: ignore[attr-defined]
            assert lock.acquire(timeout=60)
            box[:] = ["full"]
            news.notify()
            lock.release()
            assert waiting.result(60) == ["full"]
        assert not lock.locked()


class TestHolder:
    def test_nobody(self, lock: Mutex) -> None:
        assert lock.holder() is None
        assert not lock.locked()

    def test_a_process_holds_a_lock_and_a_thread_a_reentrant_one(self, lock: Mutex) -> None:
        before = time.time()
        with lock:
            holder = lock.holder()
        assert holder is not None
        assert (holder.pid, holder.alive) == (os.getpid(), True)
        assert holder.thread == (threading.get_native_id() if isinstance(lock, RLock) else None)
        assert before - 0.1 < holder.since < time.time() + 0.1

    def test_roles(self, lock: Mutex) -> None:
        assert [who.role for who in lock.participants()] == ["idle"]
        with lock:
            assert [who.role for who in lock.participants()] == ["holder"]


class TestTelling:
    def test_stats(self, lock: Mutex) -> None:
        with lock:
            sleeper = threading.Thread(target=lambda: (lock.acquire(), lock.release()))
            sleeper.start()
            until(lambda: lock.stats().waiting == 1, "a sleeper")
            stats = lock.stats()
            assert (stats.locked, stats.holder, stats.depth, stats.recoveries) == (True, lock.holder(), 1, 0)
            assert stats.sleeps >= 1
        sleeper.join(60)
        assert (lock.stats().waiting, lock.stats().locked) == (0, False)

    def test_reprs(self) -> None:
        lock, again = Lock("jobs"), RLock()
        assert repr(lock) == "<samemap.Lock 'jobs' free>"
        with lock, again, again:
            assert repr(lock) == f"<samemap.Lock 'jobs' held by pid {os.getpid()}>"
            assert repr(again) == f"<samemap.RLock anonymous held 2 times by pid {os.getpid()}>"


class TestOnOwnerDeath:
    def test_it_is_for_this_handle_alone(self) -> None:
        with_care, without = Lock("jobs", on_owner_death="raise"), Lock("jobs")
        assert (with_care.on_owner_death, without.on_owner_death) == ("raise", "recover")
        assert Lock.open("jobs", on_owner_death="raise").on_owner_death == "raise"
        assert Lock.create(None, on_owner_death="raise").on_owner_death == "raise"

    @pytest.mark.parametrize("kind", [Lock, RLock])
    def test_another_answer_is_refused(self, kind: type[Mutex]) -> None:
        with pytest.raises(ValueError, match="on_owner_death is 'recover' or 'raise', not 'ignore'"):
            kind(on_owner_death="ignore")  # type: ignore[arg-type]
