"""A region by itself: its sizes, what it tells of itself, its name, its copies."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import descriptors, succeed

from samemap import PAGE_SIZE, Region

HUGE = (1 << 32) + PAGE_SIZE + 3


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
        with (
            Region(None, 64 * PAGE_SIZE, sparse=True) as lazy,
            Region(None, 64 * PAGE_SIZE, populate=True) as eager,
        ):
            assert lazy.stats().resident == 0
            assert eager.stats().resident == 64 * PAGE_SIZE


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
            assert (stats.size, stats.max_size, stats.resident) == (3 * PAGE_SIZE, 10 * PAGE_SIZE, PAGE_SIZE)
            assert (stats.views, stats.truncated) == (2, False)
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
                assert (same.name, same.path, same.mode, same.max_size) == (
                    name,
                    region.path,
                    "rw",
                    PAGE_SIZE * 3,
                )
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
