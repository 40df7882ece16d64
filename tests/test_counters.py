"""`Counter` within one process."""

from __future__ import annotations

import threading

import pytest
from isolated import until

from samemap import Counter

MOST, LEAST = 2**63 - 1, -(2**63)


def test_each_change_returns_what_it_should() -> None:
    counter = Counter(value=10)
    assert (counter.add(), counter.add(5), counter.add(-1), counter.sub(), counter.sub(4)) == (11, 16, 15, 14, 10)
    assert (counter.set(3), counter.value) == (10, 3)
    assert (counter.max(7), counter.max(5), counter.min(9), counter.min(6)) == (7, 7, 7, 6)
    assert (counter.compare_exchange(6, 1), counter.compare_exchange(6, 2), counter.value) == (6, 1, 1)
    assert int(counter) == 1


def test_no_count_is_lost_between_threads() -> None:
    counter = Counter()
    threads = [threading.Thread(target=lambda: [counter.add() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counter.value == 4000


@pytest.mark.parametrize(("value", "n"), [(MOST, 1), (LEAST, -1), (1, MOST), (0, 2**63)])
def test_what_does_not_fit_is_refused_and_changes_nothing(value: int, n: int) -> None:
    counter = Counter(value=value)
    with pytest.raises(OverflowError):
        counter.add(n)
    assert counter.value == value


class TestWaiting:
    @pytest.mark.parametrize(
        ("op", "yes", "no"), [(">=", (4, 5), (6,)), ("<=", (5, 6), (4,)), ("==", (5,), (4, 6)), ("!=", (4, 6), (5,))]
    )
    def test_each_comparison(self, op: str, yes: tuple[int, ...], no: tuple[int, ...]) -> None:
        counter = Counter(value=5)
        for value in yes:
            assert counter.wait_until(value, op) == 5  # type: ignore[arg-type]
        for value in no:
            assert counter.wait_until(value, op, timeout=0) is None  # type: ignore[arg-type]
            assert counter.wait_until(value, op, timeout=0.01) is None  # type: ignore[arg-type]

    def test_a_sleeper_gets_the_value_that_satisfied(self) -> None:
        counter = Counter()
        came: list[int | None] = []
        waiter = threading.Thread(target=lambda: came.append(counter.wait_until(3)))
        waiter.start()
        until(lambda: counter.stats().waiting == 1, "a sleeper")
        counter.add()
        counter.add(7)
        waiter.join(60)
        assert came == [8]

    def test_another_comparison_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"op is one of '>=', '<=', '==' and '!=', not .<."):
            Counter().wait_until(1, "<")  # type: ignore[arg-type]

    def test_a_timeout_that_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(ValueError, match="timeout"):
            Counter().wait_until(1, timeout=-1)

    def test_a_reader_can_wait(self) -> None:
        with Counter("hits") as counter, Counter.open("hits", mode="r") as looker:
            assert looker.wait_until(1, timeout=0.01) is None
            counter.add()
            assert looker.wait_until(1) == 1


class TestMaking:
    def test_what_exists_is_taken_as_it_is(self) -> None:
        Counter("hits", 7).add()
        assert (Counter("hits").value, Counter("hits", 7).value, Counter.open("hits").value) == (8, 8, 8)

    def test_a_value_that_disagrees_names_both(self) -> None:
        Counter("hits", 7)
        with pytest.raises(ValueError, match=r"'hits' exists, and was made with value=7, not value=0; give value=7"):
            Counter("hits", 0)

    def test_what_is_no_integer_or_too_large_is_refused(self) -> None:
        with pytest.raises(TypeError):
            Counter(value=1.5)  # type: ignore[arg-type]
        with pytest.raises(OverflowError, match="less than 2\\*\\*63"):
            Counter(value=2**63)
        assert Counter(value=LEAST).value == LEAST


def test_it_tells_the_truth() -> None:
    counter = Counter("hits", 7)
    assert repr(counter) == "<samemap.Counter 'hits' value=7>"
    assert (counter.stats().value, counter.stats().waiting, counter.stats().participants) == (7, 0, 1)
