"""Growing and shrinking, with and without views, here and in other processes."""

from __future__ import annotations

import errno
import os
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from isolated import descriptors, succeed

from samemap import PAGE_SIZE, Region

ROOM = 16 * PAGE_SIZE


@pytest.fixture(params=["anonymous", "file"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    name = None if request.param == "anonymous" else tmp_path / "file"
    with Region(name, PAGE_SIZE, max_size=ROOM) as region:
        region[:] = b"x" * PAGE_SIZE
        yield region


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Region]:
    with Region(tmp_path / "file", 4 * PAGE_SIZE, max_size=ROOM) as region:
        region[:] = b"x" * len(region)
        yield region


class TestGrowing:
    @pytest.mark.parametrize("size", [PAGE_SIZE + 1, 2 * PAGE_SIZE, ROOM - 1, ROOM])
    def test_within_max_size_moves_nothing(self, region: Region, size: int) -> None:
        view, array = memoryview(region), region.array()
        address = array.ctypes.data
        region.resize(size)
        assert len(region) == size
        assert region.max_size == ROOM
        assert region[:] == b"x" * PAGE_SIZE + bytes(size - PAGE_SIZE)
        assert (len(view), array.size) == (PAGE_SIZE, PAGE_SIZE)
        region[0] = view[1] = array[2] = 7
        assert region[:3] == bytes(view[:3]) == array[:3].tobytes() == b"\7\7\7"
        assert region.array().ctypes.data == address
        region[size - 1] = 9
        assert region.array()[-1] == memoryview(region)[-1] == 9

    @pytest.mark.parametrize("size", [ROOM + 1, 10 * ROOM, 3 << 30])
    def test_beyond_max_size_keeps_the_content(self, region: Region, size: int) -> None:
        before = descriptors()
        region.resize(size, sparse=True)
        assert len(region) == size
        assert region.max_size >= size
        assert region.max_size % PAGE_SIZE == 0
        assert region[:PAGE_SIZE] == b"x" * PAGE_SIZE
        assert region[PAGE_SIZE] == region[size - 1] == 0
        region[size - 1] = 9
        assert os.pread(region.fileno(), 1, size - 1) == b"\x09"
        assert descriptors() == before

    @pytest.mark.parametrize("make", [memoryview, lambda r: r.array(), lambda r: memoryview(r)[5:].cast("B")])
    def test_beyond_max_size_is_refused_while_a_view_lives(
        self, region: Region, make: Callable[[Region], object]
    ) -> None:
        view = make(region)
        with pytest.raises(BufferError, match=rf"{ROOM}.*view") as caught:
            region.resize(ROOM + 1)
        assert str(PAGE_SIZE) in str(caught.value)
        assert str(ROOM + 1) in str(caught.value)
        assert (len(region), region.max_size) == (PAGE_SIZE, ROOM)
        assert os.fstat(region.fileno()).st_size == PAGE_SIZE
        assert region[:] == b"x" * PAGE_SIZE
        del view
        region.resize(ROOM + 1)
        assert len(region) == ROOM + 1

    def test_beyond_max_size_leaves_memory_in_place_that_only_the_region_vouches_for(self, region: Region) -> None:
        # np.ndarray(buffer=region) holds no view, just the region and an address.
        array = np.ndarray(5, "u1", buffer=region)  # type: ignore[arg-type]
        for factor in (1, 2, 3):
            region.resize(factor * ROOM + 1)
            array[0] = 70 + factor
            assert region[0] == array[0] == 70 + factor
            region[1] = 80 + factor
            assert array[1] == 80 + factor
        region.close()
        assert array[:2].tolist() == [73, 83]

    def test_beyond_max_size_again_and_again(self, region: Region) -> None:
        for size in range(ROOM, ROOM * 40, ROOM + 12345):
            region.resize(size)
            region[size - 1] = size % 256
            assert region[size - 1] == size % 256
        assert region[:PAGE_SIZE] == b"x" * PAGE_SIZE

    def test_after_parts_were_locked_and_advised(self, region: Region) -> None:
        # Each of these splits the mapping for the kernel, and mremap(2) moves only what is whole.
        region.resize(8 * PAGE_SIZE)
        region.lock(0, PAGE_SIZE)
        region.advise("random", 2 * PAGE_SIZE, PAGE_SIZE)
        region.advise("dontdump", 4 * PAGE_SIZE, PAGE_SIZE)
        region.resize(2 * ROOM)
        assert region[:PAGE_SIZE] == b"x" * PAGE_SIZE
        region[2 * ROOM - 1] = 3
        assert os.pread(region.fileno(), 1, 2 * ROOM - 1) == b"\3"

    def test_stats_of_a_handle_that_does_not_reach_the_end(self, region: Region) -> None:
        with Region.from_fd(region.fileno(), max_size=PAGE_SIZE) as other:
            region.resize(8 * PAGE_SIZE)
            assert other.stats().size == 8 * PAGE_SIZE
            assert other.stats().max_size == PAGE_SIZE
            assert other.stats().resident <= PAGE_SIZE

    def test_takes_the_space_unless_sparse(self, region: Region) -> None:
        region.resize(8 * PAGE_SIZE, sparse=True)
        assert region.stats().allocated < 8 * PAGE_SIZE
        region.resize(ROOM)
        assert region.stats().allocated >= ROOM - 8 * PAGE_SIZE

    def test_to_the_same_size_is_nothing(self, region: Region) -> None:
        with memoryview(region):
            region.resize(PAGE_SIZE)
        assert region[:] == b"x" * PAGE_SIZE

    @pytest.mark.parametrize("size", [0, -1])
    def test_below_one_is_refused(self, region: Region, size: int) -> None:
        with pytest.raises(ValueError, match="byte"):
            region.resize(size)
        assert len(region) == PAGE_SIZE

    @pytest.mark.parametrize("size", [1 << 62, (1 << 63) - 1, 1 << 64])
    def test_to_what_no_machine_has_is_refused_and_harmless(self, region: Region, size: int) -> None:
        with pytest.raises((OSError, OverflowError, ValueError)):
            region.resize(size)
        assert (len(region), region[:]) == (PAGE_SIZE, b"x" * PAGE_SIZE)

    def test_while_a_thread_waits(self, region: Region) -> None:
        # A wait holds the mapping in place; growing beyond max_size has to get past it, and the wait go on.
        region.store_u32(8, 0)
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(region.wait(8, 0, 60)))
        thread.start()
        for step in range(1, 20):
            region.resize(ROOM + step * PAGE_SIZE)
        region.store_u32(8, 1)
        region.ring(8)
        thread.join(60)
        assert results == [True]


class TestShrinking:
    @pytest.mark.parametrize("size", [1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 4 * PAGE_SIZE - 1])
    def test_of_a_file(self, file: Region, size: int) -> None:
        file.resize(size)
        assert len(file) == os.fstat(file.fileno()).st_size == size
        assert file[:] == b"x" * size
        with pytest.raises(IndexError):
            file[size]
        assert not file.stats().truncated
        file.resize(4 * PAGE_SIZE)
        assert file[:] == b"x" * size + bytes(4 * PAGE_SIZE - size)

    def test_is_refused_while_a_view_lives(self, file: Region) -> None:
        view = memoryview(file)[:1]
        with pytest.raises(BufferError, match=r"shrink.*view"):
            file.resize(PAGE_SIZE)
        assert len(file) == 4 * PAGE_SIZE
        assert file[:] == b"x" * 4 * PAGE_SIZE
        view.release()
        file.resize(PAGE_SIZE)
        assert len(file) == PAGE_SIZE

    def test_of_anonymous_memory_is_refused_by_the_kernel(self) -> None:
        with Region(None, 4 * PAGE_SIZE) as region:
            region[:] = b"x" * len(region)
            with pytest.raises(PermissionError, match="sealed") as caught:
                region.resize(PAGE_SIZE)
            assert caught.value.errno == errno.EPERM
            # Nobody else can either, whoever gets hold of the descriptor.
            with pytest.raises(PermissionError):
                os.ftruncate(region.fileno(), PAGE_SIZE)
            with pytest.raises(PermissionError):
                os.truncate(f"/proc/self/fd/{region.fileno()}", 0)
            assert region[:] == b"x" * 4 * PAGE_SIZE


class TestRefusals:
    def test_read_only(self, file: Region) -> None:
        assert file.path is not None
        with Region.open(file.path, mode="r") as reader:
            for size in (PAGE_SIZE, 4 * PAGE_SIZE, 8 * PAGE_SIZE):
                with pytest.raises(TypeError, match="read-only"):
                    reader.resize(size)
        assert len(file) == 4 * PAGE_SIZE

    def test_closed(self, region: Region) -> None:
        region.close()
        with pytest.raises(ValueError, match="closed"):
            region.resize(2 * PAGE_SIZE)


class TestOtherProcesses:
    READER = """
    import os, sys
    from samemap import PAGE_SIZE, Region, SegmentTruncated
    where, room = sys.argv[1], int(sys.argv[2])
    if where.isdigit():
        region = Region.from_fd(int(where), max_size=room)
    else:
        region = Region.open(where, max_size=room)
    keep = memoryview(region)
    def step(text):
        print(text, flush=True)
        sys.stdin.readline()
    """

    @pytest.fixture
    def reader(self, region: Region, start: Callable[..., object]) -> Callable[[str, int], Reader]:
        def begin(source: str, room: int) -> Reader:
            where = region.path or region.fileno()
            passed = () if region.path else (region.fileno(),)
            whole = textwrap.dedent(self.READER) + textwrap.dedent(source)
            return Reader(start(str(where), str(room), source=whole, pass_fds=passed))

        return begin

    def test_see_growth_without_doing_anything(self, region: Region, reader: Callable[[str, int], Reader]) -> None:
        other = reader(
            """
            step(len(region))
            now = memoryview(region)
            print(len(region), region[-1], region.read_text(2 * PAGE_SIZE), len(now), len(keep))
            keep[0] = 9
            """,
            ROOM,
        )
        assert other.line() == str(PAGE_SIZE)
        region.resize(3 * PAGE_SIZE)
        region.write_text("new", 2 * PAGE_SIZE)
        region[-1] = 5
        other.go()
        assert other.line() == f"{3 * PAGE_SIZE} 5 new {3 * PAGE_SIZE} {PAGE_SIZE}"
        other.ends()
        assert region[0] == 9

    def test_grow_it_for_us(self, region: Region, reader: Callable[[str, int], Reader]) -> None:
        view = region.array()
        other = reader("region.resize(8 * PAGE_SIZE); region[-1] = 6", ROOM)
        other.ends()
        assert len(region) == 8 * PAGE_SIZE
        assert region[-1] == 6
        assert view[0] == ord("x")

    def test_follow_beyond_their_own_max_size_once_no_view_is_alive(
        self, region: Region, reader: Callable[[str, int], Reader]
    ) -> None:
        other = reader(
            """
            step(region.max_size)
            assert keep[0] == ord("x")
            try:
                region[ROOM - 1]
            except BufferError as error:
                print("BufferError", "max_size" in str(error))
            keep.release()
            print(len(region), region[len(region) - 1], len(memoryview(region)))
            """.replace("ROOM", str(ROOM)),
            PAGE_SIZE,
        )
        assert other.line() == str(PAGE_SIZE)
        region.resize(ROOM)
        region[-1] = 4
        other.go()
        assert other.line() == "BufferError True"
        assert other.line() == f"{ROOM} 4 {ROOM}"
        other.ends()

    def test_see_a_file_shrink(self, file: Region, start: Callable[..., object]) -> None:
        source = textwrap.dedent(self.READER) + textwrap.dedent(
            """
            keep.release()
            step(region[3 * PAGE_SIZE])
            assert region[:PAGE_SIZE] == b"x" * PAGE_SIZE
            assert len(region) == PAGE_SIZE
            try:
                region[3 * PAGE_SIZE]
            except (IndexError, SegmentTruncated) as error:
                print(type(error).__name__)
            """
        )
        other = Reader(start(str(file.path), str(ROOM), source=source))
        assert other.line() == str(ord("x"))
        file.resize(PAGE_SIZE)
        other.go()
        assert other.line() in ("IndexError", "SegmentTruncated")
        other.ends()

    def test_children_see_anonymous_memory_grow_and_grow_it(self) -> None:
        succeed(
            """
            import os
            from samemap import PAGE_SIZE, Region
            region = Region(None, PAGE_SIZE)
            pid = os.fork()
            if pid == 0:
                region.wait(0, 0, 60)
                assert len(region) == 4 * PAGE_SIZE
                assert region[-1] == 7
                region.resize(8 * PAGE_SIZE)
                region[-1] = 8
                os._exit(0)
            region.resize(4 * PAGE_SIZE)
            region[-1] = 7
            region.store_u32(0, 1)
            region.ring(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert len(region) == 8 * PAGE_SIZE
            assert region[-1] == 8
            """
        )

    def test_two_that_grow_at_once_never_shorten_it(self, region: Region, reader: Callable[[str, int], Reader]) -> None:
        source = """
        print("ready", flush=True)
        region.wait(0, int.from_bytes(b"xxxx", sys.byteorder))
        for size in range(PAGE_SIZE, 4 * PAGE_SIZE, 64):
            if size > len(region):
                try:
                    region.resize(size, sparse=bool(size % 128))
                except BufferError:
                    # The other was faster, so that this would have been a shrink.
                    assert len(region) > size
        assert len(region) >= 4 * PAGE_SIZE - 64
        """
        others = [reader(source, ROOM) for _ in range(2)]
        for other in others:
            assert other.line() == "ready"
        region.store_u32(0, 0)
        region.ring(0)
        for other in others:
            other.ends()
        assert len(region) == 4 * PAGE_SIZE - 64


class Reader:
    """The other process, a line at a time."""

    def __init__(self, process: object) -> None:
        self.process = process

    def line(self) -> str:
        line: str = self.process.stdout.readline()  # type: ignore[attr-defined]
        if not line:
            raise AssertionError(self.process.stderr.read())  # type: ignore[attr-defined]
        return line.rstrip("\n")

    def go(self) -> None:
        self.process.stdin.write("go\n")  # type: ignore[attr-defined]
        self.process.stdin.flush()  # type: ignore[attr-defined]

    def ends(self) -> None:
        out, err = self.process.communicate(timeout=60)  # type: ignore[attr-defined]
        assert (self.process.returncode, err) == (0, ""), out + err  # type: ignore[attr-defined]
