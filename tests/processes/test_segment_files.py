"""Files of segments: they appear whole or not at all, and nothing that happens to them hurts who has them open."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from isolated import succeed, truncate
from workers import workers

from samemap import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Counter,
    Event,
    Latest,
    Lock,
    Namespace,
    ReadWriteLock,
    Region,
    RLock,
    SegmentMismatch,
    SegmentTruncated,
    Semaphore,
    Topic,
)

#: Every kind, with what its constructor needs beside the name.
KINDS: dict[type[Any], tuple[Any, ...]] = {
    Lock: (),
    RLock: (),
    ReadWriteLock: (),
    Semaphore: (),
    BoundedSemaphore: (),
    Event: (),
    Condition: (),
    Barrier: (3,),
    Counter: (),
    Namespace: (),
    Topic: (),
    Latest: (),
}
each_kind = pytest.mark.parametrize(("kind", "more"), KINDS.items(), ids=[kind.__name__ for kind in KINDS])


def free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class TestAppearing:
    def test_one_of_two_creators_wins(self, runtime_directory: Path) -> None:
        with workers(2) as racers:
            for racer in racers:
                racer.do("def create(at):\n while time.monotonic() < at: pass\n return Lock.create('thing')")
                racer.do("import time")
            won = [0, 0]
            for _ in range(100):
                at = racers[0].do("time.monotonic()") + 0.002
                for racer in racers:
                    racer.tell(f"thing = create({at})")
                ends = []
                for racer in racers:
                    try:
                        racer.answer()
                        ends.append("created")
                    except FileExistsError:
                        ends.append("exists")
                assert sorted(ends) == ["created", "exists"]
                winner = ends.index("created")
                won[winner] += 1
                # What exists is whole: who comes second can use it at once.
                assert racers[1 - winner].do("(thing := Lock.open('thing')).acquire(timeout=5)") is True
                assert racers[winner].do("thing.acquire(blocking=False)") is False
                racers[winner].do("thing.unlink()")
                for racer in racers:
                    racer.do("thing.close()")
            assert list(runtime_directory.iterdir()) == []
            assert sum(won) == 100

    def test_those_who_open_or_create_meet_in_the_same_one(self, runtime_directory: Path) -> None:
        with workers(3) as racers:
            for racer in racers:
                racer.do("def meet(at):\n while time.monotonic() < at: pass\n return Counter('thing')")
                racer.do("import time")
            for _ in range(100):
                at = racers[0].do("time.monotonic()") + 0.002
                for racer in racers:
                    racer.tell(f"thing = meet({at})")
                for racer in racers:
                    racer.answer()
                assert sorted(racer.do("thing.add()") for racer in racers) == [1, 2, 3]
                racers[0].do("thing.unlink()")
                for racer in racers:
                    racer.do("thing.close()")
            assert list(runtime_directory.iterdir()) == []

    def test_who_waits_for_it_never_sees_a_part(self, runtime_directory: Path) -> None:
        with workers(2) as (maker, waiter):
            for _ in range(30):
                waiter.tell("(thing := Semaphore.open('thing', wait=30)).value")
                maker.do("thing = Semaphore.create('thing', 7)")
                assert waiter.answer() == 7
                maker.do("thing.unlink()")
                for worker in (maker, waiter):
                    worker.do("thing.close()")


class TestFullFileSystem:
    @pytest.fixture
    def full(self, tmp_path: Path) -> Iterator[Path]:
        if os.geteuid() != 0:
            pytest.skip("mounting a small tmpfs needs root")
        path = tmp_path / "tmpfs"
        path.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine permits no mount: {done.stderr.strip()}")
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)

    @each_kind
    def test_creation_is_refused_and_leaves_nothing(self, kind: type[Any], more: tuple[Any, ...], full: Path) -> None:
        room = free(full)
        with Region.create(full / "filler", room):
            assert free(full) == 0
            for make in (kind.create, kind):
                with pytest.raises(OSError, match=r"thing") as caught:
                    make(full / "thing", *more)
                assert caught.value.errno == errno.ENOSPC
            assert [path.name for path in full.iterdir()] == ["filler"]
        (full / "filler").unlink()
        assert free(full) == room

    def test_many_fill_it_and_each_works(self, full: Path) -> None:
        held: list[Lock] = []

        def fill() -> None:
            while len(held) < 1000:
                held.append(Lock.create(full / f"lock {len(held)}"))

        with pytest.raises(OSError, match="lock") as caught:
            fill()
        assert caught.value.errno == errno.ENOSPC
        assert len(held) > 10
        assert len(list(full.iterdir())) == len(held)
        for lock in held:
            assert lock.acquire(timeout=1)
            lock.release()
            lock.close()

    def test_namespace_that_is_full_says_so(self, runtime_directory: Path) -> None:
        with Namespace.create("space", size=1 << 15) as space:
            made: list[Lock] = []

            def fill() -> None:
                while len(made) < 1000:
                    made.append(space.lock(f"lock {len(made)}"))

            with pytest.raises(ValueError, match=r"larger size=.*space"):
                fill()
            assert made
            assert all(lock.acquire(timeout=0) for lock in made)
            with closing(space.lock("lock 0")) as again:
                assert again.locked()
            for lock in made:
                lock.close()


class TestFewDescriptors:
    @each_kind
    def test_is_a_clear_error_and_nothing_leaks(
        self, kind: type[Any], more: tuple[Any, ...], runtime_directory: Path
    ) -> None:
        succeed(FEW_DESCRIPTORS.replace("KIND", kind.__name__).replace("MORE", "".join(f", {value}" for value in more)))
        assert list(runtime_directory.iterdir()) == []


FEW_DESCRIPTORS = """
import errno, gc, os, resource
from samemap import *

LIMIT = 64
there = KIND.create("there"MORE)
resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

def descriptors():
    return [fd for fd in range(LIMIT) if is_open(fd)]

held = []

def fill():
    while True:
        try:
            held.append(os.dup(0))
        except OSError as error:
            assert error.errno == errno.EMFILE
            return

def drop(count):
    for _ in range(count):
        os.close(held.pop())

before = descriptors()
made = os.path.join(os.environ["SAMEMAP_DIR"], "made")
other = KIND.create("other"MORE)
other.close()
del other
attempts = {
    "create": lambda: KIND.create("made"MORE),
    "open or create": lambda: KIND("made"MORE),
    "anonymous": lambda: KIND(None MORE),
    "open": lambda: KIND.open("other"),
    "open what is open": lambda: KIND.open("there"),
}
fill()
for what, attempt in attempts.items():
    # None left, then just a few: each step of the way has to clean up after the ones before it.
    went_well = False
    for left in range(9):
        drop(left)
        full = descriptors()
        try:
            thing = attempt()
        except OSError as error:
            assert not went_well, (what, left)
            assert error.errno == errno.EMFILE, (what, left, repr(error))
            assert "ulimit -n" in str(error), (what, error)
            assert not os.path.exists(made), (what, left)
        else:
            went_well = True
            found = thing.participants()
            assert [someone.alive for someone in found] == [True], (what, left, found)
            thing.close()
            del thing
            if os.path.exists(made):
                os.unlink(made)
        gc.collect()
        assert descriptors() == full, (what, left, full, descriptors())
        fill()
    assert went_well, what
drop(len(held))
assert descriptors() == before, (descriptors(), before)
for name in "there", "other":
    os.unlink(os.path.join(os.environ["SAMEMAP_DIR"], name))
"""


#: What looks at the memory.
USES: dict[type[Any], list[Callable[[Any], object]]] = {
    Lock: [lambda it: it.acquire(timeout=0.1), lambda it: it.locked()],
    RLock: [lambda it: it.acquire(timeout=0.1), lambda it: it.depth],
    ReadWriteLock: [lambda it: it.acquire_read(timeout=0.1), lambda it: it.acquire_write(timeout=0.1)],
    Semaphore: [lambda it: it.acquire(timeout=0.1), lambda it: it.value, lambda it: it.release()],
    BoundedSemaphore: [lambda it: it.acquire(timeout=0.1), lambda it: it.value],
    Event: [lambda it: it.set(), lambda it: it.is_set(), lambda it: it.wait(0.1)],
    Condition: [lambda it: it.acquire(timeout=0.1)],
    Barrier: [lambda it: it.wait(0.1), lambda it: it.n_waiting],
    Counter: [lambda it: it.add(), lambda it: it.value, lambda it: it.wait_until(9, timeout=0.1)],
    Namespace: [lambda it: it.lock("new"), lambda it: it.names()],
    Topic: [
        lambda it: it.publish(b"x", 0.1),
        lambda it: it.publish_many([b"x"], 0.1),
        lambda it: it.loan(1, 0.1),
        lambda it: it.subscribe(),
        lambda it: it.last(),
        lambda it: it.stats(),
        lambda it: it.subscribers(),
        lambda it: it.publishers(),
        lambda it: it.wait_for_subscribers(1, 0.1),
        lambda it: it.seq,
    ],
    Latest: [
        lambda it: it.set(b"x"),
        lambda it: it.get(None),
        lambda it: it.wait_newer(0, 0.1),
        lambda it: it.stats(),
        lambda it: it.seq,
    ],
}


class TestWhatHappensToTheFile:
    @each_kind
    @pytest.mark.parametrize("size", [0, 1, 5000])
    def test_truncated_under_live_objects(
        self, kind: type[Any], more: tuple[Any, ...], size: int, runtime_directory: Path
    ) -> None:
        for use in USES[kind]:
            with closing(kind("thing", *more)) as thing:
                truncate(runtime_directory / "thing", size)
                with pytest.raises(SegmentTruncated):
                    use(thing)
                with pytest.raises(SegmentTruncated):
                    thing.participants()
                assert "broken" in repr(thing)
            (runtime_directory / "thing").unlink()

    def test_truncated_under_a_waiter(self, runtime_directory: Path) -> None:
        with workers(1, "thing = Event('thing')") as (waiter,), closing(Event.open("thing", mode="r")) as seen:
            waiter.wait_in("thing.wait(30)", seen)
            truncate(runtime_directory / "thing", 0)
            with pytest.raises(SegmentTruncated):
                waiter.answer(5)

    @each_kind
    def test_unlinked_while_it_is_open(self, kind: type[Any], more: tuple[Any, ...], runtime_directory: Path) -> None:
        with closing(kind("thing", *more)) as thing:
            (runtime_directory / "thing").unlink()
            USES[kind][-1](thing) if kind is not Barrier else thing.n_waiting
            assert len(thing.participants()) == 1
            with pytest.raises(FileNotFoundError):
                thing.unlink()
            with closing(kind.create("thing", *more)) as other:
                # The name is another one's now.
                assert len(other.participants()) == 1
                with pytest.raises(FileNotFoundError):
                    thing.unlink()
                assert (runtime_directory / "thing").exists()

    def test_replaced_ones_are_different_ones(self, runtime_directory: Path) -> None:
        with closing(Lock("thing")) as old:
            assert old.acquire()
            (runtime_directory / "thing").rename(runtime_directory / "elsewhere")
            with closing(Lock("thing")) as new:
                assert new.acquire(timeout=0)
                # By any name it is the same file.
                with closing(Lock.open("elsewhere")) as same:
                    assert same.acquire(timeout=0) is False
                    assert len(same.participants()) == 1

    def test_symbolic_links(self, runtime_directory: Path) -> None:
        with closing(Lock("thing")) as thing:
            (runtime_directory / "link").symlink_to("thing")
            for refused in (Lock, Lock.open, Lock.create):
                with pytest.raises(OSError, match="link"):
                    refused("link")
            with closing(Lock.open("link", follow_symlinks=True)) as same:
                assert thing.acquire()
                assert same.locked()
        (runtime_directory / "dangling").symlink_to("nothing")
        for dangling in (Lock, Lock.open, Lock.create):
            with pytest.raises(OSError, match="dangling"):
                dangling("dangling")
        assert not (runtime_directory / "nothing").exists()


class TestOtherFiles:
    @pytest.fixture
    def other(self, request: pytest.FixtureRequest, runtime_directory: Path) -> Path:
        path = runtime_directory / "thing"
        match request.param:
            case "region":
                Region.create("thing", 100_000).close()
            case "small region":
                Region.create("thing", 64).close()
            case "empty":
                path.touch(0o600)
            case "directory":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "text":
                path.write_text("Hello\n" * 10_000)
        return path

    @pytest.mark.parametrize("other", ["region", "small region", "empty", "directory", "fifo", "text"], indirect=True)
    @each_kind
    def test_is_refused_and_left_as_it_is(self, kind: type[Any], more: tuple[Any, ...], other: Path) -> None:
        before = other.read_bytes() if other.is_file() else None
        for attempt in (
            lambda: kind.open("thing"),
            lambda: kind.open("thing", mode="r"),
            lambda: kind("thing", *more),
            lambda: kind.create("thing", *more),
        ):
            with pytest.raises((SegmentMismatch, OSError), match="thing"):
                attempt()
        assert (other.read_bytes() if other.is_file() else None) == before

    @each_kind
    def test_other_kinds_are_named(self, kind: type[Any], more: tuple[Any, ...], runtime_directory: Path) -> None:
        with closing(kind("thing", *more)):
            for another, arguments in KINDS.items():
                if another is kind:
                    continue
                for attempt in (lambda: another.open("thing"), lambda: another("thing", *arguments)):  # noqa: B023
                    with pytest.raises(SegmentMismatch, match=f"{kind.__name__}|BoundedSemaphore|Semaphore"):
                        attempt()

    def test_a_region_over_a_segment_is_plain_bytes(self) -> None:
        with closing(Lock("thing")), Region.open("thing", mode="r") as region:
            assert len(region) > 4096
            assert any(region[:64])
