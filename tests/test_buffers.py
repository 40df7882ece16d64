"""The buffer protocol and numpy: who takes a region for memory, and what they see."""

from __future__ import annotations

import array
import collections.abc
import ctypes
import gc
import hashlib
import mmap
import os
import re
import socket
import struct
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samemap import PAGE_SIZE, Region

CONTENT = bytes(range(256)) * 32


@pytest.fixture
def region() -> Iterator[Region]:
    with Region(None, len(CONTENT)) as region:
        region[:] = CONTENT
        yield region


class TestBufferProtocol:
    def test_shape_of_the_buffer(self, region: Region) -> None:
        with memoryview(region) as view:
            assert (view.format, view.itemsize, view.ndim, view.shape, view.strides) == (
                "B",
                1,
                1,
                (len(CONTENT),),
                (1,),
            )
            assert view.c_contiguous
            assert view.f_contiguous
            assert not view.readonly
            assert view.nbytes == len(CONTENT)
            assert view == CONTENT

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="collections.abc.Buffer came with Python 3.12 (PEP 688)")
    def test_is_a_buffer(self, region: Region) -> None:
        assert isinstance(region, collections.abc.Buffer)  # type: ignore[attr-defined,unused-ignore]

    def test_each_view_is_counted_until_it_goes(self, region: Region) -> None:
        views = [memoryview(region), region.array(), (ctypes.c_ubyte * 4).from_buffer(region)]
        for left in (3, 2, 1):
            assert region.stats().views == region.stats().views == left
            del views[-1]
        assert region.stats().views == 0
        with memoryview(region):
            assert region.stats().views == 1
        assert region.stats().views == 0

    def test_view_is_weakly_referable_and_hashable_only_when_it_may(self, region: Region) -> None:
        view = memoryview(region)
        gone = weakref.ref(view)
        del view
        assert gone() is None

    def test_starts_on_a_page(self, region: Region) -> None:
        assert region.array().ctypes.data % PAGE_SIZE == 0

    def test_is_taken_by_files_and_sockets(self, region: Region, tmp_path: Path) -> None:
        with (tmp_path / "out").open("wb", buffering=0) as file:
            assert file.write(region) == len(CONTENT)
        assert (tmp_path / "out").read_bytes() == CONTENT
        with Region(None, len(CONTENT)) as other:
            with (tmp_path / "out").open("rb") as file:
                assert file.readinto(other) == len(CONTENT)
            assert other[:] == CONTENT
            other[:] = bytes(len(CONTENT))
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(region)
                assert theirs.recv_into(other, 0, socket.MSG_WAITALL) == len(CONTENT)
            assert other[:] == CONTENT
            assert os.pread(region.fileno(), 10, 5) == CONTENT[5:15]
            assert other.stats().views == region.stats().views == 0

    def test_is_taken_by_the_standard_library(self, region: Region) -> None:
        assert bytes(region) == bytearray(region) == CONTENT
        assert b"".join([region]) == CONTENT
        assert hashlib.sha256(region).digest() == hashlib.sha256(CONTENT).digest()
        assert re.search(rb"\x10\x11", region) is not None
        assert array.array("B", bytes(region)).tobytes() == CONTENT
        assert int.from_bytes(memoryview(region)[:4], "little") == 0x03020100
        anonymous = mmap.mmap(-1, len(CONTENT))
        anonymous[:] = memoryview(region)
        region[:] = bytes(memoryview(anonymous)[::-1])
        assert region[:] == CONTENT[::-1]
        anonymous.close()

    def test_numpy_scalars_and_arrays_are_taken(self, region: Region) -> None:
        region[np.int64(3)] = np.uint8(200)
        assert region[3] == 200
        region[:8] = np.arange(8, dtype="u1").data
        assert region[:8] == bytes(range(8))
        region[8:16] = np.array([7], "<u8").data
        assert region.load_u64(8) == (7 if sys.byteorder == "little" else 7 << 56)


class TestIteration:
    def test_yields_the_bytes(self, region: Region) -> None:
        assert list(region) == list(CONTENT)
        assert 255 in region
        assert region.stats().views == 0

    def test_sees_what_changes_meanwhile(self) -> None:
        with Region(None, 2) as region:
            bytes_ = iter(region)
            assert next(bytes_) == 0
            region[1] = 7
            region.resize(3)
            assert list(bytes_) == [7, 0]

    def test_ends_with_the_region(self, region: Region) -> None:
        bytes_ = iter(region)
        next(bytes_)
        region.close()
        with pytest.raises(ValueError, match="closed"):
            next(bytes_)

    def test_closed_region_cannot_be_entered(self, region: Region) -> None:
        region.close()
        with pytest.raises(ValueError, match="closed"), region:
            pass


class TestArray:
    @pytest.mark.parametrize("dtype", ["u1", "i2", "<u4", ">u4", "f4", "f8", "c16", "S5", "U3", "M8[ns]", "?", "f2"])
    def test_sees_the_bytes(self, region: Region, dtype: str) -> None:
        found = region.array(dtype)
        kind = np.dtype(dtype)
        assert found.dtype == kind
        assert found.shape == (len(CONTENT) // kind.itemsize,)
        assert found.tobytes() == CONTENT[: len(CONTENT) // kind.itemsize * kind.itemsize]

    def test_writes_are_everybodys(self, region: Region) -> None:
        frame = region.array("<u2", (4, 3), 10)
        frame[:] = np.arange(12).reshape(4, 3)
        assert region[10:34] == np.arange(12, dtype="<u2").tobytes()
        region[10:12] = b"\xff\xff"
        assert frame[0, 0] == 0xFFFF

    def test_structured(self, region: Region) -> None:
        points = region.array([("x", "<f4"), ("y", "<f4"), ("id", "<u8")], (2,))
        points["x"], points["id"] = 1.5, 9
        assert struct.unpack_from("<ffQ", region, 16)[::2] == (1.5, 9)

    @pytest.mark.parametrize(
        ("shape", "offset", "result"),
        [
            (None, 0, (2048,)),
            (None, 3, (2047,)),
            (5, 0, (5,)),
            ((), 0, ()),
            ((2, 3, 4), 8, (2, 3, 4)),
            (2048, 0, (2048,)),
        ],
    )
    def test_shapes(self, region: Region, shape: Any, offset: int, result: tuple[int, ...]) -> None:
        found = region.array("<u4", shape, offset)
        assert found.shape == result
        assert found.flags.c_contiguous
        count = int(np.prod(result))
        assert found.tobytes() == CONTENT[offset : offset + 4 * count]
        assert region.stats().views == 1

    @pytest.mark.parametrize(
        ("shape", "offset", "result"),
        [
            (None, 0, (341, 2, 3)),
            (4, 3, (4, 2, 3)),
            ((5, 2), 0, (5, 2, 2, 3)),
            ((), 0, (2, 3)),
            (0, 0, (0, 2, 3)),
            ((4, 0), 0, (4, 0, 2, 3)),
        ],
    )
    def test_dtype_with_a_shape_adds_its_axes(
        self, region: Region, shape: Any, offset: int, result: tuple[int, ...]
    ) -> None:
        found = region.array("(2,3)<u4", shape, offset)
        assert (found.dtype, found.shape) == (np.dtype("<u4"), result)
        assert found.tobytes() == CONTENT[offset : offset + 4 * int(np.prod(result))]

    def test_dtype_with_a_shape_is_counted_whole(self, region: Region) -> None:
        with pytest.raises(ValueError, match=r"8208 bytes.*resize\(8208\)"):
            region.array("(2,3)<u4", 342)

    @pytest.mark.parametrize("shape", [np.int64(6), np.uint8(6), [np.int32(2), 3], np.array([2, 3]), range(2, 4)])
    def test_any_integers_make_a_shape(self, region: Region, shape: Any) -> None:
        assert region.array("u1", shape).size == 6

    @pytest.mark.parametrize(
        "shape", [True, 2.0, "2", "", b"2", (2, 3.0), (2, True), (2, None), ("2",), np.float64(2), ((2, 3),)]
    )
    def test_shape_of_something_else_is_refused(self, region: Region, shape: Any) -> None:
        with pytest.raises(TypeError, match="shape is an integer or a tuple of integers"):
            region.array("u1", shape)
        assert region.stats().views == 0

    def test_empty_array_of_a_reader_is_read_only_too(self) -> None:
        with Region.create("empty", 8), Region.open("empty", mode="r") as reader:
            assert not reader.array("u8", 0).flags.writeable
            assert not reader.array("u8", 1).flags.writeable

    @pytest.mark.parametrize(("shape", "offset"), [(0, 0), ((0, 7), 0), (None, len(CONTENT)), (None, len(CONTENT) - 3)])
    def test_nothing_has_the_right_shape(self, region: Region, shape: Any, offset: int) -> None:
        assert region.array("u4", shape, offset).size == 0

    @pytest.mark.parametrize(
        ("dtype", "shape", "offset"),
        [
            ("u4", 2049, 0),
            ("u4", 2048, 1),
            ("u1", (91, 91), 0),
            ("u1", 1, len(CONTENT)),
            ("f8", (1 << 62, 1 << 62), 0),
            ("u1", None, len(CONTENT) + 1),
            ("u1", None, -1),
            ("u1", -1, 0),
            ("u1", (2, -2), 0),
        ],
    )
    def test_what_does_not_fit_is_refused(self, region: Region, dtype: str, shape: Any, offset: int) -> None:
        with pytest.raises(ValueError, match=r"fit|outside|negative"):
            region.array(dtype, shape, offset)
        assert region.stats().views == 0

    def test_refusal_names_the_sizes_and_the_cure(self, region: Region) -> None:
        with pytest.raises(ValueError, match=rf"8196 bytes.*{len(CONTENT)} bytes.*resize\(8196\)"):
            region.array("u4", 2049)

    @pytest.mark.parametrize("dtype", ["O", [("a", "u4"), ("b", "O")]])
    def test_python_objects_are_refused(self, region: Region, dtype: Any) -> None:
        with pytest.raises(ValueError, match="Python objects"):
            region.array(dtype)

    @pytest.mark.parametrize("dtype", ["V0", "S0", "U0"])
    def test_types_without_size_are_refused(self, region: Region, dtype: str) -> None:
        with pytest.raises(ValueError, match="no size"):
            region.array(dtype)

    def test_without_numpy_the_error_names_the_cure(self, region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(ModuleNotFoundError, match=r"samemap\[numpy\]"):
            region.array()

    def test_array_of_a_size_that_is_not_whole_words(self) -> None:
        with Region(None, 10) as region:
            assert region.array("u4").shape == (2,)
            gc.collect()
            assert region.stats().views == 0
