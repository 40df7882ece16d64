"""Views of a region: what they are, and that none of them can dangle."""

from __future__ import annotations

import array
import collections.abc
import ctypes
import gc
import hashlib
import io
import mmap
import os
import re
import socket
import struct
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import succeed

from samemap import PAGE_SIZE, Region

CONTENT = bytes(range(256)) * 32

# How a view is made, as source, because what happens after close() must not be able to kill the test run.
ROUTES = {
    "np.asarray": "np.asarray(region)",
    "np.array(copy=False)": "np.array(region, copy=False)",
    "np.frombuffer": "np.frombuffer(region, 'u1')",
    "np.ndarray(buffer=region)": "np.ndarray(len(region), 'u1', buffer=region)",
    "np.ndarray(buffer=memoryview)": "np.ndarray(len(region), 'u1', buffer=memoryview(region))",
    "np.ndarray(buffer=slice of a memoryview)": "np.ndarray(len(region), 'u1', buffer=memoryview(region)[:])",
    "np.ndarray(buffer=memoryview of a memoryview)": (
        "np.ndarray(len(region), 'u1', buffer=memoryview(memoryview(region)))"
    ),
    "region.array": "region.array()",
    "region.array of a wider type": "region.array('<u4').view('u1')",
    "region.array sliced": "region.array()[:][...]",
    "np.from_dlpack(region.array)": "np.from_dlpack(region.array())",
    "np.from_dlpack(np.ndarray(buffer=region))": (
        "np.from_dlpack(np.ndarray(len(region), 'u1', buffer=region))"
    ),
    "memoryview": "memoryview(region)",
    "memoryview slice": "memoryview(region)[:]",
    "memoryview of a released memoryview": "memoryview_of_a_released_one(region)",
    "memoryview cast": "memoryview(region).cast('I').cast('B')",
    "memoryview in two dimensions": "memoryview(region).cast('B', (64, len(region) // 64)).cast('B')",
    "ctypes from_buffer": "(ctypes.c_ubyte * len(region)).from_buffer(region)",
    "ctypes from_buffer of a memoryview": "(ctypes.c_ubyte * len(region)).from_buffer(memoryview(region))",
    "ctypes structure": "Whole.from_buffer(region).content",
}

WRITABLE_ONLY = {"np.from_dlpack(region.array)", "np.from_dlpack(np.ndarray(buffer=region))"}

PRELUDE = """
import ctypes, gc, os, sys
import numpy as np
from pathlib import Path
from samemap import Region

CONTENT = bytes(range(256)) * 32

class Whole(ctypes.Structure):
    _fields_ = [("content", ctypes.c_ubyte * len(CONTENT))]

def memoryview_of_a_released_one(region):
    first = memoryview(region)
    second = first[:]
    first.release()
    return second

def mapped(inode):
    return sum(int(line.split()[4]) == inode for line in open("/proc/self/maps"))

path = Path(sys.argv[1])
region = Region(path, len(CONTENT))
region[:] = CONTENT
inode = path.stat().st_ino
"""


@pytest.fixture
def region() -> Iterator[Region]:
    with Region(None, len(CONTENT)) as region:
        region[:] = CONTENT
        yield region


@pytest.fixture
def readonly(tmp_path: Path) -> Iterator[Region]:
    (tmp_path / "file").write_bytes(CONTENT)
    with Region.open(tmp_path / "file", mode="r") as region:
        yield region


class TestOutliving:
    @pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
    @pytest.mark.parametrize("fate", ["closed", "closed and forgotten", "forgotten"])
    def test_view_outlives_the_region(self, route: str, fate: str, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + f"""
view = {route}
if sys.argv[2].startswith("closed"):
    region.close()
if sys.argv[2].endswith("forgotten"):
    del region
gc.collect()
# Other mappings would take the address if it had been given back.
others = [Region(None, len(CONTENT)) for _ in range(50)]
assert mapped(inode) >= 1
assert bytes(view) == CONTENT
view[5], view[-1] = 77, 78
assert (view[5], view[-1]) == (77, 78)
assert path.read_bytes() == CONTENT[:5] + bytes([77]) + CONTENT[6:-1] + bytes([78])
del view
region = None
gc.collect()
assert mapped(inode) == 0, "the mapping outlived its last view"
""",
            tmp_path / "file",
            fate,
        )

    @pytest.mark.parametrize("route", [r for r in ROUTES.values() if "np.ndarray(len" not in r])
    def test_last_view_takes_the_mapping_along_though_the_closed_region_stays(self, route: str, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + f"""
view = {route}
region.close()
assert mapped(inode) >= 1
del view
gc.collect()
assert mapped(inode) == 0
""",
            tmp_path / "file",
        )

    def test_views_of_views_keep_it_until_the_last(self, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + """
import weakref
views = [region.array("u4", (8, 4), 16)]
views.append(views[-1][2:6])
views.append(views[-1].T.view())
views.append(np.asarray(memoryview(views[-1])))
views.append(np.lib.stride_tricks.as_strided(views[-1], (2, 2)))
region.close()
del region
while len(views) > 1:
    views.pop(0)
    gc.collect()
    assert mapped(inode) == 1
assert views[0][0, 0] == int.from_bytes(CONTENT[48:52], sys.byteorder)
del views
gc.collect()
assert mapped(inode) == 0
""",
            tmp_path / "file",
        )

    def test_view_in_a_reference_cycle_is_collected(self, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + """
class Holder:
    pass

holder = Holder()
holder.itself, holder.region, holder.view = holder, region, memoryview(region)
region.close()
del holder, region
gc.collect()
assert mapped(inode) == 0
""",
            tmp_path / "file",
        )

    def test_transient_use_leaves_no_view(self, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + """
import struct, hashlib
struct.pack_into("<I", region, 4, 0xDEADBEEF)
assert struct.unpack_from("<I", region, 4) == (0xDEADBEEF,)
hashlib.sha256(region).digest()
bytes(region)
np.array(region)
assert region.stats().views == 0
region.close()
# Not at once: np.ndarray(buffer=region) asks just like these, and keeps no more than the region itself.
del region
gc.collect()
assert mapped(inode) == 0
""",
            tmp_path / "file",
        )

    def test_view_survives_growth_and_close_of_another_handle(self, tmp_path: Path) -> None:
        succeed(
            PRELUDE
            + """
view = region.array()
other = Region.open(path)
other.resize(len(CONTENT) * 10)
region.close()
other.close()
path.unlink()
assert bytes(view) == CONTENT
""",
            tmp_path / "file",
        )

    def test_gc_while_a_view_is_made_elsewhere(self, tmp_path: Path) -> None:
        # Threads that make and drop views while the region is closed: each gets a view or a ValueError.
        succeed(
            PRELUDE
            + """
import threading
for _ in range(100):
    region = Region.open(path)
    go = threading.Barrier(4)
    wrong = []
    def use(region=region, go=go, wrong=wrong):
        go.wait()
        try:
            while True:
                view = np.ndarray(len(region), "u1", buffer=region)
                if view[100] != CONTENT[100] or memoryview(region)[101] != CONTENT[101]:
                    wrong.append("content")
        except ValueError:
            pass
        except BaseException as error:
            wrong.append(error)
    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    go.wait()
    region.close()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
""",
            tmp_path / "file",
        )


class TestReadOnly:
    @pytest.mark.parametrize(
        "make",
        [
            memoryview,
            lambda r: memoryview(r)[10:],
            lambda r: memoryview(r).cast("I"),
        ],
    )
    def test_memoryview_cannot_write(self, readonly: Region, make: Callable[[Region], memoryview]) -> None:
        view = make(readonly)
        assert view.readonly
        with pytest.raises(TypeError, match="read-only"):
            view[0] = 1
        with pytest.raises(TypeError, match="read-only"):
            view[0:1] = view[1:2]

    @pytest.mark.parametrize(
        "make",
        [
            np.asarray,
            lambda r: np.frombuffer(r, "u1"),
            lambda r: np.ndarray(len(r), "u1", buffer=r),
            lambda r: np.ndarray(len(r), "u1", buffer=memoryview(r)),
            lambda r: r.array(),
            lambda r: r.array("u4", (2, 2))[0],
        ],
    )
    def test_numpy_cannot_write(self, readonly: Region, make: Callable[[Region], Any]) -> None:
        array = make(readonly)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True

    @pytest.mark.parametrize(
        "write",
        [
            lambda r: (ctypes.c_ubyte * 4).from_buffer(r),
            lambda r: (ctypes.c_ubyte * 4).from_buffer(memoryview(r)),
            lambda r: struct.pack_into("B", r, 0, 1),
            lambda r: io.BytesIO(b"xyz").readinto(r),
        ],
        ids=["ctypes", "ctypes of a memoryview", "struct.pack_into", "readinto"],
    )
    def test_nobody_else_can_write(self, readonly: Region, write: Callable[[Region], Any]) -> None:
        with pytest.raises(TypeError):
            write(readonly)
        assert readonly[:] == CONTENT
        assert readonly.views == 0

    def test_reads_everywhere(self, readonly: Region) -> None:
        assert bytes(readonly) == bytes(memoryview(readonly)) == readonly.array().tobytes() == CONTENT
        assert struct.unpack_from("4B", readonly) == (0, 1, 2, 3)
        assert (ctypes.c_ubyte * 4).from_buffer_copy(readonly)[3] == 3

    @pytest.mark.parametrize("mode", ["r", "rw"])
    def test_is_what_the_kernel_enforces_too(self, tmp_path: Path, mode: str) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        with Region.open(tmp_path / "file", mode=mode) as region:  # type: ignore[arg-type]
            address = region.array().ctypes.data
            line = next(
                line
                for line in Path("/proc/self/maps").read_text().splitlines()
                if int(line.split("-")[0], 16) <= address < int(line.split()[0].split("-")[1], 16)
            )
            assert line.split()[1] == ("r--s" if mode == "r" else "rw-s")


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
            assert region.views == region.stats().views == left
            del views[-1]
        assert region.views == 0
        with memoryview(region):
            assert region.views == 1
        assert region.views == 0

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
            assert other.views == region.views == 0

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
        region[:8] = np.arange(8, dtype="u1")
        assert region[:8] == bytes(range(8))
        region[8:16] = np.array([7], "<u8")
        assert region.load_u64(8) == (7 if sys.byteorder == "little" else 7 << 56)


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
        [(None, 0, (2048,)), (None, 3, (2047,)), (5, 0, (5,)), ((), 0, ()), ((2, 3, 4), 8, (2, 3, 4)), (2048, 0, (2048,))],
    )
    def test_shapes(self, region: Region, shape: Any, offset: int, result: tuple[int, ...]) -> None:
        found = region.array("<u4", shape, offset)
        assert found.shape == result
        assert found.flags.c_contiguous
        count = int(np.prod(result))
        assert found.tobytes() == CONTENT[offset : offset + 4 * count]
        assert region.views == 1

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
        assert region.views == 0

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
            assert region.views == 0
