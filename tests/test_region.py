"""A region by itself: sizes, indexing, text, closing, and what it tells of itself."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from isolated import descriptors, mapped, succeed

from samemap import PAGE_SIZE, Region

HUGE = (1 << 32) + PAGE_SIZE + 3


@pytest.fixture
def region() -> Iterator[Region]:
    with Region(None, 64) as region:
        yield region


@pytest.fixture
def readonly() -> Iterator[Region]:
    with Region.create("readonly", 64) as writer:
        writer[:5] = b"Hello"
        with Region.open("readonly", mode="r") as region:
            yield region


class TestSizes:
    @pytest.mark.parametrize("name", [None, "sized"])
    @pytest.mark.parametrize("size", [1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, HUGE])
    def test_every_byte_is_there_and_not_one_more(self, name: str | None, size: int) -> None:
        with Region(name, size, sparse=True) as region:
            assert len(region) == region.size == size
            assert region[size - 1] == region[-1] == region[0] == region[-size] == 0
            region[size - 1] = 255
            assert region[-1] == 255
            assert region[size - 1 :] == b"\xff"
            assert region[size:] == region[size + 10 :] == b""
            for outside in (size, -size - 1, size + PAGE_SIZE, 1 << 62, -(1 << 62), 1 << 64):
                with pytest.raises(IndexError):
                    region[outside]
                with pytest.raises(IndexError):
                    region[outside] = 1
            # The last word that begins inside and ends outside (or just outside), and the one after it.
            for outside in (size - size % 4, size - size % 4 + 4):
                with pytest.raises(IndexError):
                    region.load_u32(outside)

    @pytest.mark.parametrize("size", [0, -1, -PAGE_SIZE])
    @pytest.mark.parametrize("how", [Region, Region.create])
    @pytest.mark.parametrize("name", [None, "sized"])
    def test_size_below_one_is_refused(
        self, size: int, how: Callable[..., Region], name: str | None, runtime_directory: Path
    ) -> None:
        with pytest.raises(ValueError, match="byte"):
            how(name, size)
        assert list(runtime_directory.iterdir()) == []

    @pytest.mark.parametrize("name", [None, "sized"])
    def test_size_above_max_size_is_refused_and_both_are_named(self, name: str | None, runtime_directory: Path) -> None:
        with pytest.raises(ValueError, match=rf"{5 * PAGE_SIZE}.*{PAGE_SIZE}|{PAGE_SIZE}.*{5 * PAGE_SIZE}"):
            Region.create(name, 5 * PAGE_SIZE, max_size=PAGE_SIZE) if name else Region(
                None, 5 * PAGE_SIZE, max_size=PAGE_SIZE
            )
        assert list(runtime_directory.iterdir()) == []

    def test_max_size_defaults_to_a_gibibyte_or_eight_times_the_size(self) -> None:
        with Region(None, 10) as small, Region(None, 1 << 30, sparse=True) as large:
            assert small.max_size == 1 << 30
            assert large.max_size == 8 << 30

    def test_max_size_is_whole_pages(self) -> None:
        with Region(None, 10, max_size=PAGE_SIZE + 1) as region:
            assert region.max_size == 2 * PAGE_SIZE

    def test_address_space_that_nobody_has_is_refused_and_nothing_leaks(self) -> None:
        before = descriptors()
        with pytest.raises(OSError, match=r".") as caught:
            Region(None, 64, max_size=1 << 60)
        assert caught.value.errno == errno.ENOMEM
        assert descriptors() == before

    def test_text_beyond_four_gibibytes(self) -> None:
        with Region(None, HUGE, sparse=True) as region:
            region.write_text("far away", (1 << 32) - 4)
            assert region.read_text((1 << 32) - 4) == "far away"
            assert region[(1 << 32) - 4 : (1 << 32) + 4] == b"far away"
            region.store_u64(1 << 32, 7)
            assert region.fetch_add_u64(1 << 32, 1) == 7
            assert region.stats().allocated < 1 << 20

    def test_space_is_taken_at_creation_unless_sparse(self, tmp_path: Path) -> None:
        with (
            Region.create(tmp_path / "full", 1 << 20) as full,
            Region.create(tmp_path / "sparse", 1 << 20, sparse=True) as sparse,
        ):
            assert full.stats().allocated >= 1 << 20
            assert sparse.stats().allocated < 1 << 20

    def test_populate_brings_pages_into_memory(self) -> None:
        with Region(None, 64 * PAGE_SIZE, sparse=True) as lazy, Region(None, 64 * PAGE_SIZE, populate=True) as eager:
            assert lazy.stats().resident == 0
            assert eager.stats().resident == 64 * PAGE_SIZE


class TestIndexing:
    SLICES = [slice(a, b, c) for a in (None, 0, 3, -3, 99, -99) for b in (None, 0, 7, -1, 99) for c in (None, 1, 2, -1, -3)]

    @pytest.mark.parametrize("key", SLICES, ids=str)
    def test_slices_are_those_of_bytes(self, region: Region, key: slice) -> None:
        content = bytes(range(64))
        region[:] = content
        assert region[key] == content[key]
        assert type(region[key]) is bytes

    @pytest.mark.parametrize("key", [slice(None), slice(5, 9), slice(None, None, 2), slice(None, None, -3)], ids=str)
    def test_slice_assignment_is_that_of_bytearray(self, region: Region, key: slice) -> None:
        model = bytearray(64)
        new = bytes(range(1, len(model[key]) + 1))
        model[key] = new
        region[key] = new
        assert region[:] == model

    @pytest.mark.parametrize("key", [slice(0, 4), slice(0, 8, 2), slice(8, 0, -2)], ids=str)
    @pytest.mark.parametrize("new", [b"", b"123", b"12345"])
    def test_slice_assignment_of_another_length_is_refused(self, region: Region, key: slice, new: bytes) -> None:
        region[:] = before = bytes(range(64))
        with pytest.raises(ValueError, match=rf"{len(new)}.*4|4.*{len(new)}"):
            region[key] = new
        assert region[:] == before

    def test_slice_assignment_from_itself_overlapping(self, region: Region) -> None:
        model = bytearray(range(64))
        region[:] = model
        region[4:36] = memoryview(region)[:32]
        model[4:36] = model[:32]
        assert region[:] == model

    @pytest.mark.parametrize("value", [-1, 256, 1 << 70])
    def test_value_that_is_no_byte_is_refused(self, region: Region, value: int) -> None:
        with pytest.raises((ValueError, OverflowError)):
            region[0] = value
        assert region[0] == 0

    @pytest.mark.parametrize("key", ["0", 1.0, None, b"\0", (0, 1)])
    def test_key_that_is_no_index_is_refused(self, region: Region, key: Any) -> None:
        with pytest.raises(TypeError):
            region[key]
        with pytest.raises(TypeError):
            region[key] = 1

    @pytest.mark.parametrize("value", ["a", 1.0, None])
    def test_value_of_another_type_is_refused(self, region: Region, value: Any) -> None:
        with pytest.raises(TypeError):
            region[0] = value
        with pytest.raises(TypeError):
            region[0:1] = value

    def test_deletion_is_refused(self, region: Region) -> None:
        with pytest.raises((TypeError, NotImplementedError)):
            del region[0]  # type: ignore[attr-defined]

    def test_index_by_dunder_index(self, region: Region) -> None:
        class Three:
            def __index__(self) -> int:
                return 3

        region[Three()] = Three()
        assert region[Three()] == region[3] == 3

    def test_index_that_closes_the_region_is_caught(self) -> None:
        region = Region(None, 64)

        class Closer:
            def __index__(self) -> int:
                region.close()
                return 3

        with pytest.raises(ValueError, match="closed"):
            region[Closer()]
        with pytest.raises(ValueError, match="closed"):
            region[Closer() : 10]  # type: ignore[misc]

    def test_step_of_zero_is_refused(self, region: Region) -> None:
        with pytest.raises(ValueError, match="zero"):
            region[::0]

    def test_iteration_ends(self, region: Region) -> None:
        region[:3] = b"abc"
        assert list(region) == [97, 98, 99, *[0] * 61]  # type: ignore[call-overload]


class TestText:
    def test_round_trip_leaves_a_nul_and_the_old_bytes_after_it(self, region: Region) -> None:
        region[:] = b"x" * 64
        assert region.write_text("grüß", 3) == 7
        assert region[:11] == b"xxx" + "grüß".encode() + b"\0x"
        assert region.read_text(3) == "grüß"

    def test_text_without_a_nul_ends_with_the_region(self, region: Region) -> None:
        region[:] = b"y" * 64
        assert region.read_text() == "y" * 64
        assert region.read_text(60) == "yyyy"
        assert region.read_text(0, 3) == "yyy"

    def test_text_that_just_fits(self, region: Region) -> None:
        assert region.write_text("z" * 63) == 64
        assert region.read_text() == "z" * 63
        assert region.write_text("abc", 60) == 4
        assert region.write_text("abc", 8, 4) == 4

    @pytest.mark.parametrize(("text", "offset", "size"), [("z" * 64, 0, None), ("abcd", 60, None), ("abcd", 8, 4), ("", 8, 0)])
    def test_text_that_does_not_fit_writes_nothing(
        self, region: Region, text: str, offset: int, size: int | None
    ) -> None:
        region[:] = b"y" * 64
        with pytest.raises(ValueError, match=r"\d"):
            region.write_text(text, offset, size)
        assert region[:] == b"y" * 64

    def test_text_with_a_nul_is_refused(self, region: Region) -> None:
        with pytest.raises(ValueError, match="NUL"):
            region.write_text("a\0b")
        assert region[:] == bytes(64)

    @pytest.mark.parametrize(("offset", "size"), [(65, None), (0, 65), (60, 5), (1 << 63, None), (0, 1 << 63)])
    def test_range_outside_the_region_is_refused(self, region: Region, offset: int, size: int | None) -> None:
        with pytest.raises((IndexError, OverflowError)):
            region.read_text(offset, size)
        with pytest.raises((IndexError, OverflowError)):
            region.write_text("", offset, size)

    def test_empty_text_at_the_very_end(self, region: Region) -> None:
        region[63] = 1
        assert region.write_text("", 63) == 1
        assert region[63] == 0
        assert region.read_text(63) == ""
        with pytest.raises(IndexError):
            region.read_text(64)

    def test_encodings(self, region: Region) -> None:
        region.write_text("grün", encoding="latin-1")
        assert region.read_text(encoding="latin-1") == "grün"
        with pytest.raises(UnicodeDecodeError):
            region.read_text()
        assert region.read_text(errors="replace") == "gr\ufffdn"


class TestReadOnly:
    def test_reads(self, readonly: Region) -> None:
        assert readonly.mode == "r"
        assert readonly.read_text() == "Hello"
        assert readonly[0] == ord("H")
        assert readonly.load_u32(0) == int.from_bytes(b"Hell", sys.byteorder)
        assert not readonly.wait(0, readonly.load_u32(0), 0)
        assert readonly.ring(0) == 0
        assert bytes(readonly)[:5] == b"Hello"

    @pytest.mark.parametrize(
        "write",
        [
            lambda r: r.__setitem__(0, 1),
            lambda r: r.__setitem__(slice(0, 2), b"ab"),
            lambda r: r.write_text("x"),
            lambda r: r.write_cstring(b"x"),
            lambda r: r.store_u32(0, 1),
            lambda r: r.store_u64(0, 1),
            lambda r: r.fetch_add_u32(0, 1),
            lambda r: r.fetch_add_u64(0, 1),
            lambda r: r.compare_exchange_u32(0, 0, 1),
            lambda r: r.compare_exchange_u64(0, 0, 1),
            lambda r: r.resize(128),
        ],
    )
    def test_writing_is_a_type_error_and_changes_nothing(self, readonly: Region, write: Callable[[Region], Any]) -> None:
        with pytest.raises(TypeError, match=r"read-only|mode"):
            write(readonly)
        assert readonly[:] == b"Hello" + bytes(59)

    def test_unknown_mode_is_refused(self) -> None:
        with pytest.raises(ValueError, match="mode"):
            Region.open("readonly", mode="w")  # type: ignore[arg-type]

    def test_anonymous_memory_cannot_be_read_only(self) -> None:
        with pytest.raises(ValueError, match="writable"):
            Region(None, 64, mode="r")


class TestClosing:
    # One call for each public method. A new method that is missing here fails `test_no_method_is_forgotten`.
    CALLS: dict[str, Callable[[Region], Any]] = {
        "advise": lambda r: r.advise("normal"),
        "array": lambda r: r.array(),
        "compare_exchange_u32": lambda r: r.compare_exchange_u32(0, 0, 0),
        "compare_exchange_u64": lambda r: r.compare_exchange_u64(0, 0, 0),
        "fetch_add_u32": lambda r: r.fetch_add_u32(0, 0),
        "fetch_add_u64": lambda r: r.fetch_add_u64(0, 0),
        "fileno": lambda r: r.fileno(),
        "flush": lambda r: r.flush(),
        "load_u32": lambda r: r.load_u32(0),
        "load_u64": lambda r: r.load_u64(0),
        "lock": lambda r: r.lock(),
        "max_size": lambda r: r.max_size,
        "read_cstring": lambda r: r.read_cstring(),
        "read_text": lambda r: r.read_text(),
        "resident": lambda r: r.resident,
        "resize": lambda r: r.resize(64),
        "ring": lambda r: r.ring(0),
        "size": lambda r: r.size,
        "stats": lambda r: r.stats(),
        "store_u32": lambda r: r.store_u32(0, 0),
        "store_u64": lambda r: r.store_u64(0, 0),
        "truncated": lambda r: r.truncated,
        "unlink": lambda r: r.unlink(),
        "unlock": lambda r: r.unlock(),
        "views": lambda r: r.views,
        "wait": lambda r: r.wait(0, 0, 0),
        "write_cstring": lambda r: r.write_cstring(b""),
        "write_text": lambda r: r.write_text(""),
        "__buffer__": lambda r: memoryview(r),
        "__getitem__": lambda r: r[0],
        "__len__": lambda r: len(r),
        "__reduce__": lambda r: pickle.dumps(r),
        "__setitem__": lambda r: r.__setitem__(0, 0),
        "bytes": lambda r: bytes(r),
        "copy": lambda r: copy.copy(r),
        "slice": lambda r: r[:],
        "slice assignment": lambda r: r.__setitem__(slice(0, 1), b"x"),
    }
    # They make a region, say what it was, or may be called twice.
    NO_USE = frozenset(
        {"create", "open", "from_fd", "recv_handle", "close", "closed", "name", "path", "mode"}
    )
    NEED_MORE = frozenset({"send_handle"})

    def test_no_method_is_forgotten(self) -> None:
        public = {name for name in dir(Region) if not name.startswith("_")}
        assert public == {n for n in self.CALLS if n in public} | self.NO_USE | self.NEED_MORE

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    @pytest.mark.parametrize("name", [None, "closing"])
    def test_use_after_close_is_a_value_error(self, call: Callable[[Region], Any], name: str | None) -> None:
        region = Region(name, 64)
        region.close()
        with pytest.raises(ValueError, match="closed"):
            call(region)

    def test_sending_after_close_is_a_value_error(self, region: Region) -> None:
        region.close()
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ValueError, match="closed"):
            region.send_handle(ours)

    def test_twice_is_fine_and_what_it_was_is_still_told(self, runtime_directory: Path) -> None:
        region = Region.create("closing", 64)
        assert not region.closed
        region.close()
        region.close()
        assert region.closed
        assert region.name == "closing"
        assert region.path == runtime_directory / "closing"
        assert region.mode == "rw"

    def test_leaving_the_block_closes(self) -> None:
        with pytest.raises(KeyError), Region(None, 64) as region:
            raise KeyError
        assert region.closed

    def test_gives_back_memory_and_descriptor_at_once(self) -> None:
        before = descriptors()
        region = Region.create("closing", 64)
        inode = os.fstat(region.fileno()).st_ino
        assert mapped(inode) == 1
        assert descriptors() > before
        region.close()
        assert mapped(inode) == 0
        assert descriptors() == before

    def test_forgetting_it_closes(self) -> None:
        before = descriptors()
        region = Region.create("closing", 64)
        inode = os.fstat(region.fileno()).st_ino
        gone = weakref.ref(region)
        del region
        gc.collect()
        assert gone() is None
        assert mapped(inode) == 0
        assert descriptors() == before

    def test_ends_the_waits_of_other_threads(self) -> None:
        # Whether the close comes before, in, or after falling asleep differs from round to round; none may hang.
        for round_ in range(200):
            region = Region(None, 64)
            ends: list[object] = []
            entered = threading.Event()

            def wait(region: Region = region, ends: list[object] = ends, entered: threading.Event = entered) -> None:
                entered.set()
                try:
                    ends.append(region.wait(0, 0))
                except ValueError as error:
                    ends.append(str(error))

            threads = [threading.Thread(target=wait) for _ in range(1 + round_ % 3)]
            for thread in threads:
                thread.start()
            entered.wait()
            region.close()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), f"round {round_}: a wait survived close()"
            assert len(ends) == len(threads)
            assert all(isinstance(end, str) and "closed" in end for end in ends), ends

    def test_ends_a_wait_that_surely_sleeps(self) -> None:
        succeed(
            """
            import threading
            from pathlib import Path
            from samemap import Region

            region = Region(None, 64)
            ends = []

            def wait():
                try:
                    ends.append(region.wait(0, 0))
                except ValueError as error:
                    ends.append(error)

            thread = threading.Thread(target=wait)
            thread.start()
            # The kernel's own word for it: the thread is inside futex(2).
            task = Path(f"/proc/self/task/{thread.native_id}/syscall")
            import platform
            futex = {"x86_64": {"202", "449", "455"}, "aarch64": {"98", "449", "455"}}.get(platform.machine())
            import time
            deadline = time.monotonic() + 30
            while futex is not None and task.read_text().split()[0] not in futex:
                assert time.monotonic() < deadline, task.read_text()
            region.close()
            thread.join(30)
            assert not thread.is_alive()
            assert "closed" in str(ends[0])
            """
        )


class TestTelling:
    def test_repr(self, region: Region, runtime_directory: Path, tmp_path: Path) -> None:
        assert repr(region) == "<samemap.Region anonymous size=64 mode='rw'>"
        with Region.create("camera", 64) as named, Region.open("camera", mode="r") as reader:
            assert repr(named) == "<samemap.Region 'camera' size=64 mode='rw'>"
            assert repr(reader) == "<samemap.Region 'camera' size=64 mode='r'>"
            with Region.from_fd(named.fileno()) as same:
                assert same.name is None
        assert repr(named) == "<samemap.Region 'camera' closed>"
        with Region.create(tmp_path / "file", 1) as at_path:
            assert repr(at_path) == f"<samemap.Region '{tmp_path}/file' size=1 mode='rw'>"

    def test_subclass_keeps_its_name(self) -> None:
        class Camera(Region):
            pass

        with Camera(None, 64) as camera, Camera.create("camera", 64) as named:
            assert type(camera) is type(named) is Camera
            assert repr(camera).startswith("<samemap.Camera anonymous")
            with copy.copy(named) as same:
                assert type(same) is Camera

    def test_stats(self) -> None:
        with Region.create("stats", 3 * PAGE_SIZE, max_size=10 * PAGE_SIZE, sparse=True) as region:
            region[0] = 1
            with memoryview(region), memoryview(region):
                stats = region.stats()
            assert stats == (3 * PAGE_SIZE, 10 * PAGE_SIZE, PAGE_SIZE, stats.allocated, 2, False)
            assert PAGE_SIZE <= stats.allocated < 3 * PAGE_SIZE
            assert region.stats().views == 0

    def test_size_follows_the_file(self) -> None:
        with Region.create("grown", 10) as region:
            assert region.path is not None
            os.truncate(region.path, 5 * PAGE_SIZE)
            assert len(region) == region.size == 5 * PAGE_SIZE
            assert region[5 * PAGE_SIZE - 1] == 0

    def test_import_is_lean(self) -> None:
        loaded = succeed("import sys, samemap; print(*sys.modules)").split()
        assert not {"numpy", "multiprocessing", "socket", "click", "asyncio"} & set(loaded)


class TestUnlink:
    def test_removes_the_name_and_keeps_the_memory(self) -> None:
        with Region.create("gone", 64) as region:
            region[0] = 7
            region.unlink()
            assert region.path is not None
            assert not region.path.exists()
            assert region[0] == 7
            region.resize(PAGE_SIZE * 2)
            with pytest.raises(FileNotFoundError):
                region.unlink()
            region.unlink(missing_ok=True)

    def test_leaves_another_file_of_that_name_alone(self) -> None:
        with Region.create("swapped", 64) as old:
            old.unlink()
            with Region.create("swapped", 64) as new:
                with pytest.raises(FileNotFoundError, match="another file"):
                    old.unlink()
                old.unlink(missing_ok=True)
                assert new.path is not None
                assert new.path.exists()

    def test_anonymous_memory_has_no_name(self, region: Region) -> None:
        with pytest.raises(FileNotFoundError, match="anonymous"):
            region.unlink()
        region.unlink(missing_ok=True)

    def test_closing_deletes_nothing(self) -> None:
        with Region.create("stays", 64) as region:
            region[0] = 7
        with Region.open("stays") as again:
            assert again[0] == 7


class TestSameProcessCopies:
    @pytest.mark.parametrize("name", [None, "copied"])
    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
    def test_are_the_same_memory(self, name: str | None, make: Callable[[Region], Region]) -> None:
        from multiprocessing import resource_sharer

        try:
            with Region(name, 64, max_size=PAGE_SIZE * 3) as region, make(region) as same:
                assert same is not region
                assert (same.name, same.path, same.mode, same.max_size) == (name, region.path, "rw", PAGE_SIZE * 3)
                same[5] = 9
                assert region[5] == 9
                region.close()
                assert same[5] == 9
        finally:
            resource_sharer.stop(timeout=30)

    def test_read_only_stays_read_only(self, readonly: Region) -> None:
        with copy.copy(readonly) as same, pytest.raises(TypeError):
            same[0] = 1

    def test_file_that_was_replaced_on_the_way_is_refused(self) -> None:
        with Region.create("replaced", 64) as old:
            parcel = pickle.dumps(old)
            old.unlink()
            with Region.create("replaced", 64), pytest.raises(FileNotFoundError, match="replaced"):
                pickle.loads(parcel)


class TestKernelAdvice:
    @pytest.mark.parametrize(
        "advice",
        ["normal", "random", "sequential", "willneed", "cold", "pageout", "dontfork", "dofork", "dontdump", "dodump"],
    )
    def test_harmless_advice_keeps_the_bytes(self, advice: str) -> None:
        with Region(None, 4 * PAGE_SIZE) as region:
            region[:] = content = bytes(range(256)) * (len(region) // 256)
            region.advise(advice)
            region.advise(advice, PAGE_SIZE, PAGE_SIZE)
            assert region[:] == content

    def test_remove_gives_the_pages_back(self) -> None:
        with Region(None, 4 * PAGE_SIZE) as region:
            region[:] = b"x" * len(region)
            region.advise("remove", PAGE_SIZE, 2 * PAGE_SIZE)
            # Asked first: to look at the hole is to take pages for it again.
            assert region.stats().allocated <= 2 * PAGE_SIZE
            assert region[:] == b"x" * PAGE_SIZE + bytes(2 * PAGE_SIZE) + b"x" * PAGE_SIZE

    def test_dontneed_keeps_what_is_shared(self) -> None:
        with Region(None, PAGE_SIZE) as region:
            region[0] = 7
            region.advise("dontneed")
            assert region[0] == 7

    def test_unknown_advice_is_named(self, region: Region) -> None:
        with pytest.raises(ValueError, match=r"fast.*advise"):
            region.advise("fast")

    @pytest.mark.parametrize("method", ["flush", "advise", "lock", "unlock"])
    @pytest.mark.parametrize(("offset", "length"), [(65, None), (0, 65), (60, 5), (1 << 40, 1)])
    def test_range_outside_the_region_is_refused(
        self, region: Region, method: str, offset: int, length: int | None
    ) -> None:
        arguments = ("normal",) if method == "advise" else ()
        with pytest.raises(IndexError):
            getattr(region, method)(*arguments, offset, length)

    def test_flush_reaches_the_file(self, tmp_path: Path) -> None:
        with Region.create(tmp_path / "file", 3 * PAGE_SIZE) as region:
            region[-5:] = b"Hello"
            region.flush()
            region.flush(PAGE_SIZE + 7, 10)
            assert (tmp_path / "file").read_bytes()[-5:] == b"Hello"

    def test_lock_keeps_pages_in_memory(self) -> None:
        with Region(None, 4 * PAGE_SIZE, sparse=True) as region:
            region.lock(PAGE_SIZE, PAGE_SIZE)
            assert region.stats().resident == PAGE_SIZE
            assert locked() >= PAGE_SIZE
            region.unlock(PAGE_SIZE, PAGE_SIZE)
            assert locked() == 0


def locked() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmLck:")[2].split()[0]) * 1024
