"""`Condition` within one process."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable

import pytest
from isolated import until

from samemap import Condition, Event, Lock, RLock


@pytest.fixture(params=["its own", "a Lock", "an RLock"])
def news(request: pytest.FixtureRequest) -> Condition:
    locks: dict[str, Callable[[], Lock | RLock | None]] = {"its own": lambda: None, "a Lock": Lock, "an RLock": RLock}
    return Condition(None, locks[request.param]())


def waiters(news: Condition, count: int, came: list[object]) -> list[threading.Thread]:
    """Start threads that wait, and return when they do."""

    def wait(number: int) -> None:
        with news:
            came.append((number, news.wait()))

    threads = []
    for number in range(count):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        # One after the other, so that their order is known.
        until(lambda: news.stats().waiting == len(threads), "a waiter")
    return threads


class TestNews:
    def test_those_who_have_waited_the_longest_are_told_first(self, news: Condition) -> None:
        came: list[object] = []
        threads = waiters(news, 3, came)
        with news:
            news.notify()
        until(lambda: len(came) == 1, "the first")
        assert came == [(0, True)]
        with news:
            news.notify(2)
        for thread in threads:
            thread.join(60)
        assert sorted(map(str, came)) == ["(0, True)", "(1, True)", "(2, True)"]

    def test_all_are_told(self, news: Condition) -> None:
        came: list[object] = []
        threads = waiters(news, 3, came)
        with news:
            news.notify_all()
            assert came == []
        for thread in threads:
            thread.join(60)
        assert len(came) == 3

    def test_news_for_nobody_is_lost(self, news: Condition) -> None:
        with news:
            news.notify_all()
            assert news.wait(0.01) is False
            assert news.wait(0) is False

    def test_the_lock_is_free_while_one_waits_and_held_afterwards(self, news: Condition) -> None:
        came: list[object] = []
        (thread,) = waiters(news, 1, came)
        assert news.acquire(timeout=60) is True
        news.notify()
        assert came == []
        news.release()
        thread.join(60)
        assert came == [(0, True)]

    def test_a_lock_taken_twice_is_given_back_entirely_and_taken_twice_again(self) -> None:
        lock = RLock()
        news = Condition(None, lock)
        with news, news:
            assert news.wait(0.01) is False
            assert lock.depth == 2
        assert lock.depth == 0

    def test_only_who_holds_the_lock_waits_and_notifies(self, news: Condition) -> None:
        for attempt in (lambda: news.wait(0), news.notify, news.notify_all, lambda: news.notify(2)):
            with pytest.raises(RuntimeError, match="must be held"):
                attempt()

    @pytest.mark.parametrize("timeout", [-1, float("nan")])
    def test_a_timeout_that_makes_no_sense_is_refused(self, news: Condition, timeout: float) -> None:
        with news, pytest.raises(ValueError, match="timeout"):
            news.wait(timeout)

    def test_closing_wakes_who_waits(self) -> None:
        lock = Lock()
        news = Condition(None, lock)
        caught: list[BaseException] = []

        def wait() -> None:
            with lock:
                try:
                    news.wait()
                except ValueError as error:
                    caught.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: news.stats().waiting == 1, "a waiter")
        news.close()
        waiter.join(60)
        assert "closed" in str(caught[0])
        assert not lock.locked()


class TestWaitFor:
    def test_it_looks_again_after_each_notification(self, news: Condition) -> None:
        box: list[str] = []
        came: list[object] = []

        def wait() -> None:
            with news:
                came.append(news.wait_for(lambda: box and box[-1] == "right" and "found"))

        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: news.stats().waiting == 1, "a waiter")
        for text in ("wrong", "right"):
            with news:
                box.append(text)
                news.notify_all()
        waiter.join(60)
        assert came == ["found"]

    def test_what_is_so_already_is_not_waited_for(self, news: Condition) -> None:
        with news:
            assert news.wait_for(lambda: 42, timeout=0) == 42

    def test_the_timeout_is_for_all_of_it(self, news: Condition) -> None:
        looks: list[float] = []
        with news:
            assert news.wait_for(lambda: looks.append(time.monotonic()), timeout=0.05) is None
        assert looks[-1] - looks[0] >= 0.05

    def test_at_the_end_of_the_timeout_it_looks_no_more(self, news: Condition) -> None:
        looks: list[None] = []
        with news:
            assert news.wait_for(lambda: looks.append(None), timeout=0) is None
        assert len(looks) == 1

    @pytest.mark.parametrize("timeout", [-1, float("nan")])
    def test_a_timeout_that_makes_no_sense_is_refused(self, news: Condition, timeout: float) -> None:
        with news, pytest.raises(ValueError, match="timeout"):
            news.wait_for(lambda: True, timeout)


class TestItsLock:
    def test_it_tells_who_holds_it(self, news: Condition) -> None:
        assert (news.locked(), news.holder()) == (False, None)
        with news:
            holder = news.holder()
            assert holder is not None
            assert (news.locked(), holder.pid) == (True, os.getpid())

    def test_a_lock_that_is_given_is_used_and_stays_open(self) -> None:
        lock = Lock()
        news = Condition(None, lock)
        with news:
            assert lock.locked()
        assert news.recovered is False
        news.close()
        assert not lock.closed
        assert lock.acquire(False)

    def test_its_own_lock_is_closed_with_it(self) -> None:
        news = Condition()
        news.close()
        with pytest.raises(ValueError, match="closed"):
            news.acquire()

    def test_two_conditions_share_a_lock(self) -> None:
        lock = Lock()
        full, empty = Condition(None, lock), Condition(None, lock)
        with full:
            empty.notify()
            assert empty.acquire(False) is False

    def test_another_lock_than_it_was_made_with_is_refused(self) -> None:
        lock = Lock("guard")
        Condition("news", lock)
        Condition("plain")
        Condition("news", Lock("guard"))
        Condition.open("news", Lock.open("guard"))
        with pytest.raises(ValueError, match=r"'news' was made with lock=[0-9a-f]{32}:0, not its own lock"):
            Condition("news")
        with pytest.raises(ValueError, match=r"'news' was made with lock=[0-9a-f]{32}:0, not [0-9a-f]{32}:0"):
            Condition.open("news", Lock())
        with pytest.raises(ValueError, match=r"'plain' was made with lock=its own lock, not [0-9a-f]{32}:0"):
            Condition("plain", lock)
        assert not lock.closed

    def test_what_is_no_lock_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a samemap Lock or RLock, not Event"):
            Condition(None, Event())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a samemap Lock or RLock, not lock"):
            Condition(None, threading.Lock())  # type: ignore[arg-type]

    def test_it_travels_with_its_lock(self) -> None:
        lock = Lock("guard")
        same = pickle.loads(pickle.dumps(Condition("news", lock)))
        with same:
            assert lock.locked()


def test_it_tells_the_truth() -> None:
    news = Condition("news")
    assert repr(news) == "<samemap.Condition 'news' waiting=0, lock free>"
    assert [who.role for who in news.participants()] == ["idle"]
    came: list[object] = []
    (thread,) = waiters(news, 1, came)
    assert repr(news) == "<samemap.Condition 'news' waiting=1, lock free>"
    assert [who.role for who in news.participants()] == ["waiter"]
    with news:
        assert (news.stats().waiting, news.stats().locked) == (1, True)
        assert [who.role for who in news.participants()] == ["holder"]
        assert f"lock held by pid {os.getpid()}" in repr(news)
        news.notify()
    thread.join(60)
