"""What all objects in segments share: making, opening, closing, removing, handing over, and telling the truth."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_sharer
from pathlib import Path
from typing import Any

import pytest
from isolated import descriptors, truncate, until

import samemap
from samemap import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Counter,
    Event,
    Latest,
    Lock,
    Namespace,
    Participant,
    ReadWriteLock,
    Region,
    RLock,
    SegmentMismatch,
    SegmentTruncated,
    Semaphore,
    Topic,
)

Make = Callable[..., Any]

#: How each kind is made, by its name and nothing more than it needs.
MAKERS: dict[str, Make] = {
    "Barrier": lambda name, **options: Barrier(name, 3, **options),
    "BoundedSemaphore": BoundedSemaphore,
    "Condition": Condition,
    "Counter": Counter,
    "Event": Event,
    "Latest": Latest,
    "Lock": Lock,
    "Namespace": Namespace,
    "RLock": RLock,
    "ReadWriteLock": ReadWriteLock,
    "Semaphore": Semaphore,
    "Topic": Topic,
}
CREATORS: dict[str, Make] = {
    kind: getattr(samemap, kind).create
    if kind != "Barrier"
    else lambda name, **options: Barrier.create(name, 3, **options)
    for kind in MAKERS
}
#: What each does that needs it open.
USES: dict[str, Callable[[Any], object]] = {
    "Barrier": lambda barrier: barrier.reset(),
    "BoundedSemaphore": lambda semaphore: semaphore.acquire(False),
    "Condition": lambda condition: condition.acquire(False),
    "Counter": lambda counter: counter.add(),
    "Event": lambda event: event.is_set(),
    "Latest": lambda latest: latest.set(b"new"),
    "Lock": lambda lock: lock.acquire(False),
    "Namespace": lambda namespace: namespace.names(),
    "RLock": lambda lock: lock.acquire(False),
    "ReadWriteLock": lambda lock: lock.acquire_read(False),
    "Semaphore": lambda semaphore: semaphore.acquire(False),
    "Topic": lambda topic: topic.publish(b"new"),
}
#: What each waits with, once somebody else has it.
WAITS: dict[str, Callable[[Any], object]] = {
    "Barrier": lambda barrier: barrier.wait(),
    "BoundedSemaphore": lambda semaphore: [semaphore.acquire(), semaphore.acquire()],
    "Counter": lambda counter: counter.wait_until(1),
    "Event": lambda event: event.wait(),
    "Latest": lambda latest: latest.wait_newer(),
    "Lock": lambda lock: [lock.acquire(), lock.acquire()],
    "ReadWriteLock": lambda lock: [lock.acquire_write(), lock.acquire_write()],
    "Semaphore": lambda semaphore: [semaphore.acquire(), semaphore.acquire()],
    "Topic": lambda topic: topic.subscribe().recv(),
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str) -> Iterator[Make]:
    """Make objects of that kind, and close them in the end."""
    made: list[Any] = []

    def run(name: str | os.PathLike[str] | None = None, **options: object) -> Any:
        made.append(MAKERS[kind](name, **options))
        return made[-1]

    yield run
    for thing in made:
        thing.close()


class TestMaking:
    def test_the_file_appears_with_these_permissions_and_stays(self, make: Make, runtime_directory: Path) -> None:
        os.umask(os.umask(0o077))
        with_default, with_own = make("plain"), make("shared", perm=0o664)
        assert (runtime_directory / "plain").stat().st_mode & 0o777 == 0o600
        assert (runtime_directory / "shared").stat().st_mode & 0o777 == 0o664
        with_default.close()
        with_own.close()
        assert (runtime_directory / "plain").exists()

    def test_creating_insists_that_it_is_new(self, kind: str) -> None:
        first = CREATORS[kind]("thing")
        with pytest.raises(FileExistsError):
            CREATORS[kind]("thing")
        first.close()

    def test_opening_insists_that_it_exists(self, kind: str) -> None:
        with pytest.raises(FileNotFoundError):
            getattr(samemap, kind).open("thing")
        with pytest.raises(FileNotFoundError, match=r"is the program that makes it running\? \(waited 0.01 s\)"):
            getattr(samemap, kind).open("thing", wait=0.01)

    def test_opening_waits_until_somebody_makes_it(self, kind: str, make: Make) -> None:
        opened: list[Any] = []
        waiter = threading.Thread(target=lambda: opened.append(getattr(samemap, kind).open("thing", wait=60)))
        waiter.start()
        made = make("thing")
        waiter.join(60)
        assert opened[0].path == made.path
        opened[0].close()

    def test_a_path_is_that_file(self, make: Make, tmp_path: Path) -> None:
        thing = make(tmp_path / "thing")
        assert thing.path == tmp_path / "thing"
        assert thing.name == str(tmp_path / "thing")

    def test_what_is_anonymous_leaves_no_file(self, make: Make, runtime_directory: Path) -> None:
        thing = make()
        assert (thing.name, thing.path, thing.mode, thing.closed) == (None, None, "rw", False)
        assert list(runtime_directory.iterdir()) == []

    def test_what_is_anonymous_cannot_be_opened_by_name(self, kind: str) -> None:
        with pytest.raises(ValueError, match="send_handle"):
            getattr(samemap, kind).open(None)

    def test_a_missing_directory_is_named_with_the_cure(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
            make(tmp_path / "missing" / "thing")

    def test_permissions_that_are_none_are_refused(self, make: Make) -> None:
        with pytest.raises(ValueError, match="did you mean perm=0o660"):
            make("thing", perm=660)

    def test_an_option_that_does_not_exist_is_refused(self, make: Make) -> None:
        with pytest.raises(TypeError, match="colour"):
            make("thing", colour="red")

    def test_symbolic_links_are_followed_only_when_asked(self, make: Make, runtime_directory: Path) -> None:
        make("thing")
        (runtime_directory / "link").symlink_to("thing")
        with pytest.raises(OSError, match="symbolic link"):
            make("link")
        assert make("link", follow_symlinks=True).name == "link"

    def test_the_roster_has_room_for_as_many_as_asked(self, make: Make) -> None:
        assert make("thing", max_participants=3)._segment.max_participants == 3


class TestKinds:
    def test_a_region_is_refused(self, make: Make) -> None:
        with Region.create("thing", 8192), pytest.raises(SegmentMismatch, match="thing"):
            make("thing")

    def test_another_kind_is_refused_and_both_are_named(self, kind: str, make: Make) -> None:
        other = "Event" if kind != "Event" else "Counter"
        with MAKERS[other]("thing"), pytest.raises(SegmentMismatch) as caught:
            make("thing")
        assert other in str(caught.value)
        assert kind.removeprefix("Bounded") in str(caught.value)


class TestClosing:
    def test_closing_twice_is_fine(self, make: Make) -> None:
        thing = make()
        thing.close()
        thing.close()
        assert thing.closed

    def test_use_after_close_is_an_error(self, kind: str, make: Make) -> None:
        thing = make("thing")
        thing.close()
        for use in (USES[kind], lambda it: it.participants(), lambda it: it.stats(), lambda it: it.unlink()):
            with pytest.raises(ValueError, match="closed"):
                use(thing)

    def test_two_handles_of_one_process_close_each_by_itself(self, kind: str, make: Make) -> None:
        first, second = make("thing"), make("thing")
        first.close()
        assert not second.closed
        USES[kind](second)
        assert len(second.participants()) == 1

    def test_what_is_closed_and_gone_leaves_no_descriptor(self, kind: str) -> None:
        MAKERS[kind]("warm").close()
        before = descriptors()
        things = [MAKERS[kind]("thing"), MAKERS[kind]("thing"), MAKERS[kind](None)]
        for thing in things:
            thing.close()
        del thing, things
        assert descriptors() == before

    @pytest.mark.parametrize("kind", WAITS, indirect=False)
    def test_closing_wakes_the_threads_that_wait(self, kind: str) -> None:
        thing = MAKERS[kind](None)
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                WAITS[kind](thing)
            except ValueError as error:
                caught.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: thing.participants()[0].waiting == 1, "a sleeper")
        thing.close()
        waiter.join(60)
        assert "closed" in str(caught[0])

    def test_a_with_block_closes_what_is_no_lock(self, kind: str, make: Make) -> None:
        thing = make()
        if kind in {"Barrier", "Counter", "Event", "Latest", "Namespace", "Topic"}:
            with thing as entered:
                assert entered is thing
            assert thing.closed
            with pytest.raises(ValueError, match="closed"), thing:
                pass
        elif kind == "ReadWriteLock":
            with pytest.raises(TypeError), thing:
                pass
        else:
            with thing as entered:
                assert entered is True
            assert not thing.closed


class TestUnlinking:
    def test_the_file_goes_and_the_object_stays(self, kind: str, make: Make, runtime_directory: Path) -> None:
        thing = make("thing")
        thing.unlink()
        assert list(runtime_directory.iterdir()) == []
        USES[kind](thing)
        with pytest.raises(FileNotFoundError):
            thing.unlink()
        thing.unlink(missing_ok=True)

    def test_another_file_of_that_name_is_left_alone(self, make: Make, runtime_directory: Path) -> None:
        thing = make("thing")
        (runtime_directory / "thing").unlink()
        (runtime_directory / "thing").write_text("not ours")
        with pytest.raises(FileNotFoundError, match="another file"):
            thing.unlink()
        thing.unlink(missing_ok=True)
        assert (runtime_directory / "thing").read_text() == "not ours"

    def test_anonymous_memory_has_no_name_to_remove(self, make: Make) -> None:
        with pytest.raises(FileNotFoundError, match="last holder"):
            make().unlink()
        make().unlink(missing_ok=True)


class TestLookingOnly:
    def test_a_reader_does_not_take_part_and_changes_nothing(
        self, kind: str, make: Make, runtime_directory: Path
    ) -> None:
        thing = make("thing")
        before = (runtime_directory / "thing").read_bytes()
        looker = getattr(samemap, kind).open("thing", mode="r")
        assert looker.mode == "r"
        assert looker.stats() == thing.stats()
        assert [who.pid for who in looker.participants()] == [os.getpid()]
        repr(looker)
        assert (runtime_directory / "thing").read_bytes() == before
        looker.close()

    @pytest.mark.parametrize("kind", sorted(set(USES) - {"Event", "Namespace"}), indirect=False)
    def test_what_changes_it_is_refused(self, kind: str) -> None:
        thing = MAKERS[kind]("thing")
        looker = getattr(samemap, kind).open("thing", mode="r")
        with pytest.raises(TypeError, match="read-only"):
            USES[kind](looker)
        looker.close()
        thing.close()

    def test_a_mode_that_is_none_is_refused(self, kind: str) -> None:
        with pytest.raises(ValueError, match="mode is 'r'"):
            getattr(samemap, kind).open("thing", mode="w")


class TestGoingElsewhere:
    @pytest.mark.parametrize("name", [None, "thing"])
    def test_over_a_socket(self, kind: str, make: Make, name: str | None) -> None:
        thing = make(name)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            thing.send_handle(ours)
            same = type(thing).recv_handle(theirs)
        assert (same.name, same.path) == (None, thing.path)
        assert same._segment.id == thing._segment.id
        USES[kind](same)
        same.close()

    def test_another_kind_that_comes_is_refused(self, kind: str, make: Make) -> None:
        other = Event if kind != "Event" else Counter
        ours, theirs = socket.socketpair()
        with ours, theirs, MAKERS[other.__name__](None) as sent:
            sent.send_handle(ours)
            with pytest.raises(SegmentMismatch, match=other.__name__):
                type(make()).recv_handle(theirs)

    def test_a_region_that_comes_is_refused(self, make: Make) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, Region(None, 64) as region:
            region.send_handle(ours)
            with pytest.raises(ValueError, match="not an object's handle"):
                type(make()).recv_handle(theirs)

    @pytest.mark.parametrize("name", [None, "thing"])
    @pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
    def test_copies_are_the_same_object(
        self, kind: str, make: Make, name: str | None, travel: Callable[[Any], Any]
    ) -> None:
        thing = make(name)
        same = travel(thing)
        resource_sharer.stop(timeout=60)
        assert type(same) is type(thing)
        assert (same.name, same.path, same.mode, same._own) == (name, thing.path, "rw", thing._own)
        assert same._segment.id == thing._segment.id
        same.close()
        USES[kind](thing)

    def test_a_file_that_was_replaced_on_the_way_is_refused(self, kind: str, make: Make) -> None:
        thing = make("thing")
        parcel = pickle.dumps(thing)
        thing.unlink()
        make("thing")
        with pytest.raises(FileNotFoundError, match=f"the {kind} was replaced on its way"):
            pickle.loads(parcel)

    def test_a_child_gets_it_as_an_argument(self, kind: str, make: Make) -> None:
        thing = make()
        child = multiprocessing.get_context("spawn").Process(target=is_usable, args=(thing, kind))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        resource_sharer.stop(timeout=60)


def is_usable(thing: Any, kind: str) -> None:
    """Use what came, as a child."""
    assert type(thing).__name__ == kind
    assert sorted(who.alive for who in thing.participants()) == [True, True]
    repr(thing)


class TestTellingTheTruth:
    def test_a_repr_names_kind_name_and_state(self, kind: str, make: Make) -> None:
        thing, anonymous = make("thing"), make()
        assert repr(thing).startswith(f"<samemap.{kind} 'thing' ")
        assert repr(anonymous).startswith(f"<samemap.{kind} anonymous ")
        thing.close()
        assert repr(thing) == f"<samemap.{kind} 'thing' closed>"

    def test_a_repr_of_what_was_truncated_says_so(self, make: Make, runtime_directory: Path) -> None:
        thing = make("thing")
        truncate(runtime_directory / "thing", 0)
        assert "broken: " in repr(thing)
        with pytest.raises(SegmentTruncated):
            thing.stats()

    def test_participants_are_those_who_have_it_open(self, make: Make) -> None:
        before = time.time()
        (me,) = make("thing").participants()
        assert isinstance(me, Participant)
        assert (me.pid, me.alive, me.role, me.user, me.died, me.waiting) == (
            os.getpid(),
            True,
            "idle",
            os.getuid(),
            None,
            0,
        )
        assert before - 60 < me.joined < time.time() + 60
        assert me.command
        assert 'role="idle"' in repr(me)

    def test_stats_of_two_moments_are_equal_when_nothing_happened(self, kind: str, make: Make) -> None:
        thing = make()
        first = thing.stats()
        assert first == thing.stats()
        assert hash(first) == hash(thing.stats())
        assert first.participants == 1
        named = {"BoundedSemaphore": "Semaphore", "RLock": "Lock"}.get(kind, kind)
        assert repr(first).startswith(f"{named}Stats(")

    def test_attributes_that_do_not_exist_cannot_be_set(self, make: Make) -> None:
        with pytest.raises(AttributeError):
            make().colour = "red"
