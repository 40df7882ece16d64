"""`Semaphore` and `BoundedSemaphore` within one process."""

from __future__ import annotations

import os
import threading

import pytest
from isolated import until

from samemap import BoundedSemaphore, SegmentMismatch, Semaphore, Share


@pytest.fixture(params=[Semaphore, BoundedSemaphore])
def kind(request: pytest.FixtureRequest) -> type[Semaphore | BoundedSemaphore]:
    return request.param  # type: ignore[no-any-return]


class TestPermits:
    def test_they_are_taken_and_given_back(self, kind: type[Semaphore]) -> None:
        gpus = kind(None, 2)
        assert [gpus.acquire(), gpus.acquire(), gpus.acquire(False), gpus.acquire(timeout=0.01)] == [
            True,
            True,
            False,
            False,
        ]
        assert (gpus.value, gpus.get_value(), gpus.initial) == (0, 0, 2)
        gpus.release()
        gpus.release(1)
        assert gpus.value == 2

    def test_there_is_one_when_nothing_is_said(self, kind: type[Semaphore]) -> None:
        assert kind().value == 1

    def test_a_with_block_takes_one_and_gives_it_back(self, kind: type[Semaphore]) -> None:
        gpus = kind(value=2)
        with gpus as entered:
            assert (entered, gpus.value) == (True, 1)
        with pytest.raises(KeyError), gpus:
            raise KeyError
        assert gpus.value == 2

    def test_each_release_lets_one_sleeper_go(self, kind: type[Semaphore]) -> None:
        gpus = kind(value=3)
        for _ in range(3):
            gpus.acquire()
        done = threading.Semaphore(0)
        threads = [threading.Thread(target=lambda: (gpus.acquire(), done.release())) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: gpus.stats().waiting == 3, "three sleepers")
        gpus.release()
        assert done.acquire(timeout=60)
        assert not done.acquire(blocking=False)
        gpus.release(2)
        for thread in threads:
            thread.join(60)
        assert gpus.value == 0

    def test_an_unbounded_one_grows(self) -> None:
        ready = Semaphore(value=0)
        ready.release(5)
        assert (ready.value, ready.bound) == (5, None)

    def test_a_bounded_one_refuses_too_many_and_stays_as_it_is(self) -> None:
        gpus = BoundedSemaphore(value=2)
        gpus.acquire()
        with pytest.raises(ValueError, match="released too many times"):
            gpus.release(2)
        assert (gpus.value, gpus.bound) == (1, 2)

    @pytest.mark.parametrize("n", [0, -1])
    def test_less_than_one_cannot_be_released(self, kind: type[Semaphore], n: int) -> None:
        with pytest.raises(ValueError, match=r"n|count"):
            kind().release(n)


class TestMaking:
    @pytest.mark.parametrize("value", [-1, 2**32 - 1])
    def test_permits_out_of_range_are_refused(self, kind: type[Semaphore], value: int) -> None:
        with pytest.raises(ValueError, match=f"0 to 4294967294 permits at the start, not {value}"):
            kind(value=value)

    def test_permits_that_are_no_number_are_refused(self, kind: type[Semaphore]) -> None:
        with pytest.raises(TypeError):
            kind(value=1.5)  # type: ignore[arg-type]

    def test_what_exists_is_taken_as_it_is(self, kind: type[Semaphore]) -> None:
        kind.create("gpus", 4, on_owner_death="keep")
        assert (kind("gpus").value, kind.open("gpus").initial, kind("gpus", 4).keep) == (4, 4, True)

    def test_a_value_that_disagrees_names_both(self, kind: type[Semaphore]) -> None:
        kind("gpus", 4)
        with pytest.raises(ValueError, match=r"'gpus' exists, and was made with value=4, not value=3; give value=4"):
            kind("gpus", 3)
        assert len(kind("gpus").participants()) == 1

    def test_on_owner_death_that_disagrees_names_both(self, kind: type[Semaphore]) -> None:
        kind("gpus", on_owner_death="keep")
        with pytest.raises(ValueError, match=r"on_owner_death='keep', not on_owner_death='return'"):
            kind("gpus", on_owner_death="return")

    def test_another_answer_to_death_is_refused(self, kind: type[Semaphore]) -> None:
        with pytest.raises(ValueError, match="'return' or 'keep', not 'recover'"):
            kind(on_owner_death="recover")  # type: ignore[arg-type]

    def test_the_other_kind_is_refused(self) -> None:
        Semaphore("free", 2)
        BoundedSemaphore("bound", 2)
        with pytest.raises(SegmentMismatch, match="bound=None, so it is a Semaphore, not a BoundedSemaphore"):
            BoundedSemaphore("free")
        with pytest.raises(SegmentMismatch, match="bound=2, so it is a BoundedSemaphore, not a Semaphore"):
            Semaphore.open("bound")


class TestTelling:
    def test_holders(self, kind: type[Semaphore]) -> None:
        gpus = kind(value=4)
        assert gpus.holders() == []
        with gpus, gpus:
            (share,) = gpus.holders()
            assert share == Share(os.getpid(), share.command, True, 2)
            assert [who.role for who in gpus.participants()] == ["holder"]
            assert gpus.stats().holders == (share,)
        assert [who.role for who in gpus.participants()] == ["idle"]

    def test_one_that_keeps_remembers_no_holders(self, kind: type[Semaphore]) -> None:
        gpus = kind(value=4, on_owner_death="keep")
        assert gpus.on_owner_death == "keep"
        with gpus:
            assert (gpus.holders(), gpus.value) == ([], 3)

    def test_reprs(self) -> None:
        assert repr(Semaphore("free", 2)) == "<samemap.Semaphore 'free' value=2>"
        assert repr(BoundedSemaphore("bound", 2)) == "<samemap.BoundedSemaphore 'bound' value=2 of 2>"
