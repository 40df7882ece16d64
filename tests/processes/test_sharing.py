"""Regions that children inherit or are given: the same memory, however it travels, and nothing is deleted."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import queue as queues
import socket
import subprocess
from collections.abc import Callable, Iterator
from multiprocessing import resource_sharer
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import children
import pytest
from isolated import descriptors, succeed, until

from samemap import PAGE_SIZE, Region

Start = Callable[..., subprocess.Popen[str]]
Context = SpawnContext | ForkServerContext

KINDS = ["named", "path", "unlinked", "anonymous"]


@pytest.fixture(params=KINDS)
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    """Give a region of each kind."""
    names = dict.fromkeys(KINDS, "shared") | {"path": tmp_path / "shared", "anonymous": None}
    with Region(names[request.param], 64, max_size=16 * PAGE_SIZE) as region:
        if request.param == "unlinked":
            region.unlink()
        yield region


@pytest.fixture(params=["spawn", "forkserver"])
def context(request: pytest.FixtureRequest) -> Iterator[Context]:
    yield multiprocessing.get_context(request.param)
    # It hands out descriptors from a thread, which must not outlive the test.
    resource_sharer.stop(timeout=60)


def run(process: multiprocessing.process.BaseProcess) -> None:
    process.start()
    process.join(60)
    assert process.exitcode == 0
    process.close()


class TestFork:
    @pytest.mark.parametrize("name", ["None", "'shared'"])
    def test_child_and_parent_see_what_the_other_writes(self, name: str) -> None:
        succeed(
            f"""
            import os
            from samemap import Region
            with Region({name}, 64) as region:
                region.write_text("parent", 8)
                child = os.fork()
                if child == 0:
                    assert region.read_text(8) == "parent"
                    region.write_text("child", 16)
                    region.store_u32(0, 1)
                    region.ring(0)
                    while region.load_u32(0) == 1:
                        region.wait(0, 1, 60)
                    assert region.read_text(8) == "again"
                    os._exit(0)
                while region.load_u32(0) == 0:
                    region.wait(0, 0, 60)
                assert region.read_text(16) == "child"
                region.write_text("again", 8)
                region.store_u32(0, 2)
                region.ring(0)
                assert os.waitpid(child, 0)[1] == 0
            """
        )

    @pytest.mark.parametrize("grower", ["parent", "child", "grandchild"])
    @pytest.mark.parametrize("name", ["None", "'shared'"])
    def test_growth_is_seen_by_all_without_doing_anything(self, name: str, grower: str) -> None:
        succeed(
            f"""
            import os, sys
            from samemap import PAGE_SIZE, Region
            SIZE, NEW = PAGE_SIZE, 5 * PAGE_SIZE
            region = Region({name}, SIZE, max_size=8 * PAGE_SIZE)
            view = memoryview(region)

            def take_part(who):
                if who == sys.argv[1]:
                    region.resize(NEW)
                    region[NEW - 1] = 7
                    view[0] = 9
                    region.store_u32(4, 1)
                    region.ring(4)
                while region.load_u32(4) == 0:
                    region.wait(4, 0, 60)
                assert len(region) == NEW, len(region)
                assert region[NEW - 1] == 7
                assert len(memoryview(region)) == NEW
                # A view from before keeps its length and its memory.
                assert (len(view), view[0]) == (SIZE, 9)

            ends = []
            child = os.fork()
            if child == 0:
                grandchild = os.fork()
                if grandchild == 0:
                    take_part("grandchild")
                    os._exit(0)
                take_part("child")
                os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
            take_part("parent")
            assert os.waitpid(child, 0)[1] == 0
            """,
            grower,
        )

    def test_growth_beyond_the_reservation_is_seen_too(self) -> None:
        succeed(
            """
            import os
            from samemap import PAGE_SIZE, Region
            region = Region(None, PAGE_SIZE, max_size=PAGE_SIZE)
            child = os.fork()
            if child == 0:
                region.wait(0, 0, 60)
                assert len(region) == 100 * PAGE_SIZE
                assert region[100 * PAGE_SIZE - 1] == 7
                os._exit(0)
            region.resize(100 * PAGE_SIZE)
            region[-1] = 7
            region.store_u32(0, 1)
            region.ring(0)
            assert os.waitpid(child, 0)[1] == 0
            """
        )

    @pytest.mark.parametrize("kind", KINDS)
    def test_process_of_multiprocessing(self, kind: str) -> None:
        succeed(
            """
            import multiprocessing, sys
            from samemap import Region
            kind = sys.argv[1]
            region = Region(None if kind == "anonymous" else "./shared" if kind == "path" else "shared", 64)
            if kind == "unlinked":
                region.unlink()
            context = multiprocessing.get_context("fork")
            child = context.Process(target=lambda given: given.fetch_add_u32(0, 5), args=(region,))
            child.start()
            child.join()
            assert (child.exitcode, region.load_u32(0)) == (0, 5)
            region.unlink(missing_ok=True)
            """,
            kind,
        )


class TestPickling:
    """Spawned children, and those of a fork server, get regions as arguments or by message."""

    def test_process_argument(self, context: Context, region: Region) -> None:
        run(context.Process(target=children.add, args=(region, 5)))
        assert region.load_u32(children.SUM) == 5

    def test_growth_in_the_child_is_seen(self, context: Context, region: Region) -> None:
        before = memoryview(region)
        run(context.Process(target=children.grow, args=(region, 3 * PAGE_SIZE)))
        assert (len(region), region[-1]) == (3 * PAGE_SIZE, 7)
        assert len(before) == 64

    def test_queue(self, context: Context, region: Region) -> None:
        queue = context.Queue()
        child = context.Process(target=children.add_from_queue, args=(queue,))
        child.start()
        for number in (1, 2, 3):
            queue.put((region, number))
        queue.put(None)
        child.join(60)
        assert child.exitcode == 0
        queue.close()
        queue.join_thread()
        assert region.load_u32(children.SUM) == 6

    def test_queue_from_the_child(self, context: Context) -> None:
        queue = context.Queue()
        child = context.Process(target=children.make_and_put, args=(queue,))
        child.start()
        try:
            with queue.get(timeout=60) as region:
                assert region.read_text(children.TEXT) == "made by the child"
                region.store_u32(children.LEAVE, 1)
                region.ring(children.LEAVE)
                child.join(60)
                assert child.exitcode == 0
                # Its maker is gone, the memory is not.
                assert region.read_text(children.TEXT) == "made by the child"
        except queues.Empty:
            child.kill()
            raise
        finally:
            queue.close()
            queue.join_thread()

    def test_pool(self, context: Context, region: Region) -> None:
        with context.Pool(2, children.keep, (region,)) as pool:
            pool.map(children.add_to_kept, range(10))
            before = pool.map(children.add_each, [(region, 100)] * 4)
            assert sorted(before) == [45, 145, 245, 345]
            assert pool.apply(children.add, (region, 0)) == (
                region.name,
                "rw",
                64,
                region.max_size,
            )
            made = pool.map(children.make, ["one", "two"])
            assert [other.read_text(children.TEXT) for other in made] == ["one", "two"]
            for other in made:
                other.close()
            pool.close()
            pool.join()
        assert region.load_u32(children.SUM) == 445

    def test_executor(self, context: Context, region: Region) -> None:
        with concurrent.futures.ProcessPoolExecutor(
            2, mp_context=context, initializer=children.keep, initargs=(region,)
        ) as executor:
            assert executor.submit(children.add, region, 5).result(60) == (
                region.name,
                "rw",
                64,
                region.max_size,
            )
            list(executor.map(children.add_to_kept, range(4), timeout=60))
        assert region.load_u32(children.SUM) == 11

    @pytest.mark.parametrize("name", [None, "shared"])
    def test_read_only_stays_read_only(self, context: Context, name: str | None) -> None:
        with Region(name, 64) as writable, context.Pool(1) as pool:
            with Region.from_fd(writable.fileno(), mode="r") if name is None else Region.open(name, mode="r") as region:
                assert pool.apply(children.try_to_write, (region,)) == "TypeError"
            assert pool.apply(children.try_to_write, (writable,)) == "nothing"
            assert writable[children.SUM] == 1
            pool.close()
            pool.join()

    def test_subclass_arrives_as_itself(self, tmp_path: Path) -> None:
        with Named.create(tmp_path / "shared", 64) as region, pickle.loads(pickle.dumps(region)) as same:
            assert type(same) is Named

    def test_copy_is_the_same_memory(self, region: Region) -> None:
        before = descriptors()
        try:
            for twin in (copy.copy(region), copy.deepcopy(region)):
                with twin:
                    twin[60] += 1
                    assert twin is not region
                    assert (twin.name, twin.mode, twin.max_size) == (
                        region.name,
                        region.mode,
                        region.max_size,
                    )
            assert region[60] == 2
        finally:
            resource_sharer.stop(timeout=60)
        assert descriptors() == before

    def test_name_that_is_gone_is_not_made_again(self) -> None:
        with Region.create("shared", 64) as region:
            sent = pickle.dumps(region)
            region.unlink()
        with pytest.raises(FileNotFoundError, match="shared"):
            pickle.loads(sent)

    def test_another_file_of_that_name_is_not_taken_for_it(self) -> None:
        with Region.create("shared", 64) as region:
            sent = pickle.dumps(region)
            region.unlink()
            with Region.create("shared", 64), pytest.raises(FileNotFoundError, match="replaced"):
                pickle.loads(sent)


class Named(Region):
    """A subclass, as users make them."""

    __slots__ = ()


class TestNothingIsDeleted:
    READER = """
import sys
from multiprocessing import resource_tracker
from samemap import Region
with Region.open(sys.argv[1], mode=sys.argv[2]) as region:
    print(region.read_text(), resource_tracker._resource_tracker._fd, flush=True)
    sys.stdin.read()
"""

    @pytest.mark.parametrize("mode", ["r", "rw"])
    @pytest.mark.parametrize("end", ["exit", "kill -9"])
    def test_reader_that_ends_leaves_the_file(self, start: Start, mode: str, end: str) -> None:
        with Region.create("shared", 64) as region:
            region.write_text("Hello")
            reader = start("shared", mode, source=self.READER)
            assert reader.stdout is not None
            assert reader.stdout.readline() == "Hello None\n"
            if end == "exit":
                assert reader.communicate(timeout=60) == ("", "")
                assert reader.returncode == 0
            else:
                reader.kill()
                assert reader.wait(60) == -9
            assert region.path is not None
            assert region.path.exists()
        # The same after its maker has closed it.
        with Region.open("shared") as again:
            assert again.read_text() == "Hello"

    def test_no_resource_tracker_is_started(self) -> None:
        said = succeed(
            """
            import copy, os, pickle, socket, sys
            from pathlib import Path
            from samemap import Region

            with Region.create("shared", 64) as named, Region(None, 64) as anonymous:
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    anonymous.send_handle(ours)
                    Region.recv_handle(theirs).close()
                pickle.loads(pickle.dumps(named)).close()
                named.unlink()
            tracker = sys.modules.get("multiprocessing.resource_tracker")
            assert tracker is None or tracker._resource_tracker._fd is None
            print(Path(f"/proc/self/task/{os.getpid()}/children").read_text())
            """
        )
        assert said.split() == []

    def test_spawned_child_that_ends_leaves_the_file(self, context: Context) -> None:
        with Region.create("shared", 64) as region:
            run(context.Process(target=children.add, args=(region, 5)))
            assert region.path is not None
            assert region.path.exists()
        with Region.open("shared") as again:
            assert again.load_u32(children.SUM) == 5


def holders(inode: int) -> set[int]:
    """Return the processes that map or have open a memfd."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            maps = (process / "maps").read_text()
            if any(line.split()[4] == str(inode) for line in maps.splitlines() if "/memfd:" in line):
                found.add(int(process.name))
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()).startswith("/memfd:") and fd.stat().st_ino == inode:
                    found.add(int(process.name))
        except OSError:
            # It ended, or the descriptor was closed, while we looked.
            continue
    return found


class TestAnonymousMemory:
    HOLDER = """
import socket, sys
from samemap import Region
with socket.socket(fileno=int(sys.argv[1])) as sock:
    region = Region.recv_handle(sock)
print(region.read_text(), flush=True)
sys.stdin.read()
"""

    def test_goes_with_its_last_holder(self, start: Start) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, Region(None, 64) as region:
            inode = os.fstat(region.fileno()).st_ino
            region.write_text("Hello")
            readers = []
            for _ in range(2):
                region.send_handle(ours)
                reader = start(str(theirs.fileno()), source=self.HOLDER, pass_fds=[theirs.fileno()])
                assert reader.stdout is not None
                assert reader.stdout.readline() == "Hello\n"
                readers.append(reader)
            assert holders(inode) == {os.getpid(), *(reader.pid for reader in readers)}
        assert holders(inode) == {reader.pid for reader in readers}
        readers[0].communicate(timeout=60)
        assert holders(inode) == {readers[1].pid}
        readers[1].kill()
        readers[1].wait(60)
        until(lambda: holders(inode) == set(), "the end of the memory")

    def test_is_not_kept_by_programs_that_were_given_nothing(self, start: Start) -> None:
        with Region(None, 64) as region:
            inode = os.fstat(region.fileno()).st_ino
            stranger = start("cat", close_fds=False)
            until(lambda: (Path(f"/proc/{stranger.pid}/comm").read_text()) == "cat\n", "the exec")
            assert holders(inode) == {os.getpid()}
