"""`Namespace` within one process."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
from collections.abc import Callable
from multiprocessing import resource_sharer
from pathlib import Path
from typing import Any

import pytest

from samemap import Condition, Event, Lock, Namespace, SegmentMismatch

MAKERS: dict[str, Callable[[Namespace, str], Any]] = {
    "Barrier": lambda space, name: space.barrier(name, 3),
    "BoundedSemaphore": lambda space, name: space.bounded_semaphore(name, 2),
    "Condition": lambda space, name: space.condition(name),
    "Counter": lambda space, name: space.counter(name, 7),
    "Event": lambda space, name: space.event(name),
    "Lock": lambda space, name: space.lock(name),
    "RLock": lambda space, name: space.rlock(name),
    "ReadWriteLock": lambda space, name: space.read_write_lock(name),
    "Semaphore": lambda space, name: space.semaphore(name, 2),
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestEachKind:
    def test_the_same_name_gives_the_same_object(self, kind: str) -> None:
        with Namespace("jobs") as space:
            first = MAKERS[kind](space, "thing")
            assert type(first).__name__ == kind
            assert MAKERS[kind](space, "thing") is first
            assert space.names() == ["thing"]
            first.close()
            second = MAKERS[kind](space, "thing")
            assert not second.closed
            assert second is not first
            assert (second._segment.id, second._offset) == (first._segment.id, first._offset)

    def test_two_handles_of_the_namespace_have_the_same_object(self, kind: str) -> None:
        with Namespace("jobs") as one, Namespace("jobs") as other:
            first, second = MAKERS[kind](one, "thing"), MAKERS[kind](other, "thing")
            assert first is not second
            assert first._offset == second._offset
            assert one.names() == other.names() == ["thing"]

    def test_it_stays_usable_when_the_namespace_is_closed(self, kind: str) -> None:
        with Namespace("jobs") as space:
            thing = MAKERS[kind](space, "thing")
        assert space.closed
        assert not thing.closed
        thing.stats()
        thing.close()
        with pytest.raises(ValueError, match="closed"):
            MAKERS[kind](space, "thing")

    def test_another_kind_is_refused(self, kind: str) -> None:
        with Namespace("jobs") as space, Namespace("jobs") as other:
            MAKERS[kind](space, "thing")
            wrong = "Event" if kind != "Event" else "Counter"
            for handle in (space, other):
                with pytest.raises(
                    SegmentMismatch, match=rf"'thing'.*of kind .*{kind.removeprefix('Bounded')}, not {wrong}"
                ):
                    MAKERS[wrong](handle, "thing")
            assert space.names() == ["thing"]

    def test_it_tells_its_name_and_where_it_is(self, kind: str, runtime_directory: Path) -> None:
        with Namespace("jobs") as space:
            thing = MAKERS[kind](space, "thing")
            assert (thing.name, thing.path) == ("thing", runtime_directory / "jobs")
            assert repr(thing).startswith(f"<samemap.{kind} 'thing' in 'jobs' ")
        assert repr(MAKERS[kind](Namespace(), "thing")).startswith(
            f"<samemap.{kind} 'thing' in an anonymous namespace "
        )

    def test_it_has_no_file_of_its_own_to_remove(self, kind: str, runtime_directory: Path) -> None:
        with Namespace("jobs") as space, pytest.raises(ValueError, match="unlink the namespace"):
            MAKERS[kind](space, "thing").unlink()
        assert (runtime_directory / "jobs").exists()

    @pytest.mark.parametrize("name", [None, "jobs"])
    @pytest.mark.parametrize("travel", [copy.copy, lambda thing: pickle.loads(pickle.dumps(thing))])
    def test_copies_are_the_same_object(self, kind: str, name: str | None, travel: Callable[[Any], Any]) -> None:
        thing = MAKERS[kind](Namespace(name), "thing")
        same = travel(thing)
        resource_sharer.stop(timeout=60)
        assert type(same) is type(thing)
        assert repr(same) == repr(thing)
        assert (same._segment.id, same._offset, same.name) == (thing._segment.id, thing._offset, "thing")

    def test_it_goes_over_a_socket(self, kind: str) -> None:
        space = Namespace()
        space.lock("first")
        thing = MAKERS[kind](space, "thing")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            thing.send_handle(ours)
            same = type(thing).recv_handle(theirs)
        assert (same.name, same._offset) == ("thing", thing._offset)


@pytest.mark.parametrize("kind", ["Latest", "Namespace", "Topic"])
def test_what_has_a_file_of_its_own_is_in_no_namespace(kind: str) -> None:
    with Namespace() as space:
        with pytest.raises(ValueError, match=f"a {kind} has a file of its own, and is in no namespace"):
            space._segment.add("thing", kind, [1 << 16, 64, 0])
        assert space.names() == []


class TestDisagreements:
    def test_parameters_that_disagree_name_both(self) -> None:
        with Namespace("jobs") as space, Namespace("jobs") as other:
            space.semaphore("gpus", 2)
            space.barrier("start", 3)
            for handle in (space, other):
                assert handle.semaphore("gpus").initial == 2
                with pytest.raises(ValueError, match="made with value=2, not value=3"):
                    handle.semaphore("gpus", 3)
                with pytest.raises(ValueError, match="made with on_owner_death='return', not on_owner_death='keep'"):
                    handle.semaphore("gpus", on_owner_death="keep")
                with pytest.raises(ValueError, match="made with parties=3, not parties=2"):
                    handle.barrier("start", 2)
                with pytest.raises(SegmentMismatch, match="BoundedSemaphore"):
                    handle.bounded_semaphore("gpus", 2)

    def test_what_is_this_handles_own_must_agree_while_it_is_open(self) -> None:
        with Namespace() as space:
            queue = space.lock("queue", on_owner_death="raise")
            with pytest.raises(ValueError, match="close it first"):
                space.lock("queue")
            queue.close()
            assert space.lock("queue").on_owner_death == "recover"

    def test_a_condition_with_a_lock_of_the_namespace(self) -> None:
        with Namespace("jobs") as space:
            news = space.condition("news", space.lock("queue"))
            assert space.condition("news", space.lock("queue")) is news
            with news:
                assert space.lock("queue").locked()
            same = pickle.loads(pickle.dumps(news))
            with same:
                assert space.lock("queue").locked()
            assert isinstance(same, Condition)


class TestNames:
    def test_they_come_in_the_order_in_which_they_were_made(self) -> None:
        with Namespace() as space:
            for name in ("b", "a", "ü"):
                space.event(name)
            assert space.names() == list(space) == ["b", "a", "ü"]
            assert (len(space), "a" in space, "c" in space, 7 in space) == (3, True, False, False)

    def test_an_empty_namespace_is_true(self) -> None:
        assert Namespace()

    @pytest.mark.parametrize("name", ["", "x" * 49, "ü" * 25, "a\0b"])
    def test_a_name_that_is_none_is_refused(self, name: str) -> None:
        with Namespace() as space, pytest.raises(ValueError, match="name"):
            space.event(name)

    def test_the_longest_name(self) -> None:
        with Namespace() as space:
            space.event("x" * 48).set()
            assert space.event("x" * 48).is_set()

    def test_many_threads_that_open_one_name_get_one_object(self) -> None:
        with Namespace() as space:
            counters: list[object] = []
            threads = [threading.Thread(target=lambda: counters.append(space.counter("hits").add())) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert sorted(counters) == list(range(1, 9))  # type: ignore[type-var]
            assert space.names() == ["hits"]


class TestSize:
    def test_a_full_namespace_says_so_and_stays_usable(self) -> None:
        with Namespace(size=28 << 10) as space:
            space.semaphore("first").acquire()
            with pytest.raises(ValueError, match=r"there is no room for .*larger size="):
                space.semaphore("second")
            space.semaphore("first").release()
            assert space.names() == ["first"]

    def test_it_takes_256_objects(self) -> None:
        with Namespace() as space:
            for number in range(256):
                space.event(str(number))
            with pytest.raises(ValueError, match="up to 256 objects"):
                space.event("one more")
            assert len(space) == 256

    def test_a_size_that_disagrees_names_both(self) -> None:
        Namespace("jobs", size=1 << 16)
        assert Namespace("jobs").stats().size == Namespace("jobs", size=1 << 16).stats().size == 1 << 16
        with pytest.raises(ValueError, match=r"made with size=65536, not size=131072"):
            Namespace("jobs", size=1 << 17)

    @pytest.mark.parametrize("size", [0, -1, 1])
    def test_a_size_that_is_too_small_is_refused(self, size: int) -> None:
        with pytest.raises(ValueError, match=r"size|bytes"):
            Namespace(size=size)


def test_a_reader_finds_what_there_is_and_makes_nothing() -> None:
    with Namespace("jobs") as space, Namespace.open("jobs", mode="r") as looker:
        with space.lock("queue"):
            assert looker.lock("queue").locked()
        with pytest.raises(TypeError, match="read-only"):
            looker.lock("another")
        assert looker.names() == ["queue"]


def test_it_tells_the_truth() -> None:
    with Namespace("jobs") as space:
        assert repr(space) == "<samemap.Namespace 'jobs' 0 objects>"
        lock = space.lock("queue")
        assert repr(space) == "<samemap.Namespace 'jobs' 1 object>"
        assert isinstance(lock, Lock)
        assert not isinstance(space.event("stop"), type(lock))
        assert space.stats().objects == 2
        assert isinstance(space.event("stop"), Event)
