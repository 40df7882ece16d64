"""Views of a region: what they are, and that none of them can dangle."""

from __future__ import annotations

import ctypes
import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import succeed

from samemap import Region

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
    "np.from_dlpack(np.ndarray(buffer=region))": ("np.from_dlpack(np.ndarray(len(region), 'u1', buffer=region))"),
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
        assert readonly.stats().views == 0

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
