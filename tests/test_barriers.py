"""`Barrier` within one process."""

from __future__ import annotations

import threading

import pytest
from isolated import until

from samemap import Barrier, BrokenBarrierError


def arrive(barrier: Barrier, count: int, came: list[object]) -> list[threading.Thread]:
    """Start threads that wait at the barrier, and return when they do, unless they complete it."""

    def wait() -> None:
        try:
            came.append(barrier.wait())
        except (BrokenBarrierError, KeyError) as error:
            came.append(error)

    threads = [threading.Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    if count < barrier.parties:
        until(lambda: barrier.n_waiting == count, "those who wait")
    return threads


def end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_all_go_on_together_again_and_again() -> None:
    barrier = Barrier(None, 3)
    for _ in range(50):
        came: list[object] = []
        end(arrive(barrier, 3, came))
        assert sorted(came) == [0, 1, 2]  # type: ignore[type-var]
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_nobody_goes_on_before_the_last_has_come() -> None:
    barrier = Barrier(None, 3)
    came: list[object] = []
    threads = arrive(barrier, 2, came)
    assert came == []
    assert repr(barrier) == "<samemap.Barrier anonymous waiting=2 of 3>"
    assert [who.role for who in barrier.participants()] == ["waiter"]
    assert barrier.wait() == 2
    end(threads)
    assert sorted(came) == [0, 1]  # type: ignore[type-var]


def test_the_last_runs_the_action_before_the_others_go_on() -> None:
    seen: list[tuple[int, int]] = []
    came: list[object] = []
    barrier = Barrier(None, 3, action=lambda: seen.append((len(came), barrier.n_waiting)))
    end(arrive(barrier, 3, came))
    assert [before for before, _ in seen] == [0]
    assert len(came) == 3


def test_an_action_that_fails_breaks_it() -> None:
    def fail() -> None:
        raise KeyError("out of ink")

    barrier = Barrier(None, 2, action=fail)
    came: list[object] = []
    end(arrive(barrier, 2, came))
    assert sorted(type(error).__name__ for error in came) == ["BrokenBarrierError", "KeyError"]
    assert barrier.broken
    with pytest.raises(BrokenBarrierError, match="its action failed"):
        barrier.wait()


def test_a_timeout_breaks_it_for_all() -> None:
    barrier = Barrier(None, 3)
    came: list[object] = []
    threads = arrive(barrier, 1, came)
    with pytest.raises(BrokenBarrierError, match="waited for too long"):
        barrier.wait(timeout=0.01)
    end(threads)
    assert isinstance(came[0], BrokenBarrierError)
    assert "waited for too long" in came[0].reason
    assert isinstance(came[0], threading.BrokenBarrierError)
    assert barrier.broken
    assert repr(barrier).endswith("waiting=0 of 3, broken>")


def test_its_own_timeout_is_for_waits_that_say_nothing_else() -> None:
    barrier = Barrier(None, 2, timeout=0.01)
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    came: list[object] = []
    waiter = threading.Thread(target=lambda: came.append(barrier.wait(timeout=60)))
    waiter.start()
    until(lambda: barrier.n_waiting == 1, "one who waits")
    barrier.wait()
    end([waiter])
    assert came == [0]


def test_an_abort_breaks_it_until_it_is_reset() -> None:
    barrier = Barrier(None, 2)
    came: list[object] = []
    threads = arrive(barrier, 1, came)
    barrier.abort()
    end(threads)
    assert "abort()" in str(came[0])
    with pytest.raises(BrokenBarrierError, match=r"reset\(\) makes it whole"):
        barrier.wait()
    barrier.reset()
    assert (barrier.broken, barrier.n_waiting) == (False, 0)
    came.clear()
    end(arrive(barrier, 2, came))
    assert sorted(came) == [0, 1]  # type: ignore[type-var]


def test_a_reset_turns_those_away_who_wait() -> None:
    barrier = Barrier(None, 2)
    came: list[object] = []
    threads = arrive(barrier, 1, came)
    barrier.reset()
    end(threads)
    assert "was reset" in str(came[0])
    assert not barrier.broken


def test_one_party_never_waits() -> None:
    assert [Barrier(None, 1).wait() for _ in range(3)] == [0, 0, 0]


def test_other_parties_than_it_was_made_for_are_refused() -> None:
    Barrier("start", 3)
    assert Barrier("start", 3).parties == Barrier.open("start").parties == 3
    with pytest.raises(ValueError, match=r"'start' exists, and was made with parties=3, not parties=2; give parties=3"):
        Barrier("start", 2)


@pytest.mark.parametrize("parties", [0, -1, 2**40])
def test_parties_out_of_range_are_refused(parties: int) -> None:
    with pytest.raises(ValueError, match=str(parties)):
        Barrier(None, parties)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused_and_breaks_nothing(timeout: float) -> None:
    barrier = Barrier(None, 2)
    with pytest.raises(ValueError, match="timeout"):
        barrier.wait(timeout)
    assert not barrier.broken


def test_stats() -> None:
    barrier = Barrier(None, 2)
    came: list[object] = []
    threads = arrive(barrier, 1, came)
    stats = barrier.stats()
    assert (stats.parties, stats.n_waiting, stats.broken, stats.participants) == (2, 1, False, 1)
    barrier.wait()
    end(threads)
