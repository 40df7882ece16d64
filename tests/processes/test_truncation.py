"""A file that somebody truncates under its readers: an error they can catch, never a bus error."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed

from samemap import PAGE_SIZE, SegmentTruncated

# Each touches the third page of four (or all), as source: without the guard it would kill the process.
TOUCHES = {
    "index": "region[P3]",
    "last byte": "region[-1]",
    "slice": "region[P3 : P3 + 10]",
    "slice across the end": "region[P1 - 5 : P3]",
    "slice with a step": "region[::PAGE_SIZE]",
    "everything": "region[:]",
    "read_text": "region.read_text(P3)",
    "read_text up to the end": "region.read_text(P3, PAGE_SIZE)",
    "read_text across the end": "region.read_text(P1 - 3)",
    "load_u32": "region.load_u32(P3)",
    "load_u64": "region.load_u64(P3)",
    "wait": "region.wait(P3, 0, 60)",
    "poll": "region.wait(P3, 0, 0)",
}
WRITES = {
    "item": "region[P3] = 1",
    "slice": "region[P3 : P3 + 3] = b'abc'",
    "slice across the end": "region[P1 - 2 : P1 + 3] = b'abcde'",
    "write_text": "region.write_text('Hello', P3)",
    "write_text across the end": "region.write_text('Hello', P1 - 2)",
    "store_u32": "region.store_u32(P3, 1)",
    "store_u64": "region.store_u64(P3, 1)",
    "fetch_add_u32": "region.fetch_add_u32(P3, 1)",
    "fetch_add_u64": "region.fetch_add_u64(P3, 1)",
    "compare_exchange_u32": "region.compare_exchange_u32(P3, 0, 1)",
    "compare_exchange_u64": "region.compare_exchange_u64(P3, 0, 1)",
}
# These read through a view, which cannot raise by itself; the region's next call does.
VIEWS = {
    "numpy sum": "assert array[PAGE_SIZE:].sum() == 0",
    "numpy copy": "array.copy()",
    "numpy write": "array[P3] = 1",
    "memoryview": "assert view[P3] == 0",
    "memoryview write": "view[P3] = 1",
    "bytes of a view": "bytes(view)",
    "ctypes": "assert whole[P3] == 0",
    "struct": "struct.pack_into('I', view, P3, 1)",
    "hash": "hashlib.sha256(view).digest()",
}

PRELUDE = """
import ctypes, hashlib, os, struct, subprocess, sys
import numpy as np
from samemap import PAGE_SIZE, Region, SegmentTruncated

path, mode = sys.argv[1], sys.argv[2]
P1, P3, SIZE = PAGE_SIZE, 3 * PAGE_SIZE, 4 * PAGE_SIZE

def truncate(size):
    subprocess.run(["truncate", "-s", str(size), path], check=True)

def says(error):
    import errno
    assert isinstance(error, OSError) and isinstance(error.errno, int) and error.errno > 0, error.errno
    assert error.filename == path, error.filename
    assert str(SIZE) in str(error), error

def expect(touch, new):
    try:
        touch()
    except SegmentTruncated as error:
        says(error)
        assert str(new) in str(error), error
    else:
        raise AssertionError("no SegmentTruncated")

def settle():
    # What the guard covered before the file was whole again is told once more: a view may have read it.
    try:
        region[-1]
    except SegmentTruncated as error:
        says(error)

open(path, "wb").write(b"x" * SIZE)
region = Region.open(path, mode=mode)
region[:], region[-1]
"""


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("new", [PAGE_SIZE, 0])
def test_touching_what_is_gone_raises(touch: str, mode: str, new: int, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + f"""
truncate({new})
for _ in range(3):
    expect(lambda: {touch}, {new})
truncate(SIZE)
settle()
# Grown back to its length, the bytes are zeros, and all is well again: what others write is seen.
assert region[P3] == 0
with open(path, "r+b") as file:
    file.seek(P3)
    file.write(b"fresh")
assert region[P3 : P3 + 5] == b"fresh"
assert region.read_text(P3) == "fresh"
assert not region.stats().truncated
""",
        tmp_path / "file",
        mode,
    )


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("new", [PAGE_SIZE, 0])
def test_writing_to_what_is_gone_raises(write: str, new: int, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + f"""
truncate({new})
def touch():
    {write}
for _ in range(3):
    expect(touch, {new})
assert os.stat(path).st_size == {new}
region.resize(SIZE)
# Mended, and what was written into the void has not come back.
assert region[PAGE_SIZE:] == bytes(3 * PAGE_SIZE)
touch()
assert open(path, "rb").read() == region[:] != bytes(SIZE)
""",
        tmp_path / "file",
        "rw",
    )


@pytest.mark.parametrize("touch", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("new", [PAGE_SIZE, 0])
def test_view_of_what_is_gone_lives_and_the_next_call_raises(touch: str, new: int, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + f"""
view, array, whole = memoryview(region), region.array(), (ctypes.c_ubyte * SIZE).from_buffer(region)
truncate({new})
{touch}
expect(lambda: region[P3], {new})
assert region.stats().truncated
assert region.stats().truncated
truncate(SIZE)
settle()
assert region[P3] == 0
assert not region.stats().truncated
# The views made before the accident are the file's again, not stray zeros of our own.
region[P3] = 9
assert view[P3] == array[P3] == whole[P3] == 9
view[P3 + 1] = 8
assert open(path, "rb").read()[P3 : P3 + 2] == bytes([9, 8])
""",
        tmp_path / "file",
        "rw",
    )


@pytest.mark.parametrize("new", [0, PAGE_SIZE])
def test_new_views_of_what_is_gone_are_refused_or_harmless(new: int, tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + f"""
truncate({new})
with open(os.devnull, "wb") as nowhere:
    for make in (memoryview, bytes, np.asarray, lambda r: r.array("u4"), nowhere.write):
        try:
            made = make(region)
        except SegmentTruncated as error:
            says(error)
        else:
            assert not isinstance(made, bytes) or len(made) == {new}
expect(lambda: region[P3], {new})
""",
        tmp_path / "file",
        "rw",
    )


def test_truncation_inside_a_page_is_noticed_when_the_size_is_asked(tmp_path: Path) -> None:
    # No page is missing, so that nothing faults: the kernel shows zeros, and the size is what tells.
    succeed(
        PRELUDE
        + """
truncate(P3 + 10)
assert region[P3 + 10] == 0
assert len(region) == P3 + 10
expect(lambda: region[P3 + 10], P3 + 10)
def write():
    region[P3 + 100] = 1
expect(write, P3 + 10)
assert region[P3 + 9] == ord("x")
""",
        tmp_path / "file",
        "rw",
    )


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_what_is_still_there_can_be_read(tmp_path: Path, mode: str) -> None:
    succeed(
        PRELUDE
        + """
truncate(PAGE_SIZE)
assert region[0] == ord("x")
assert region[:PAGE_SIZE] == b"x" * PAGE_SIZE
assert region.load_u64(PAGE_SIZE - 8) == int.from_bytes(b"x" * 8, sys.byteorder)
expect(lambda: region[P3], PAGE_SIZE)
""",
        tmp_path / "file",
        mode,
    )


def test_close_and_views_after_truncation(tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + """
array = region.array()
truncate(0)
region.close()
assert array.sum() == 0
array[:] = 1
del array
with Region(path, SIZE) as again:
    assert again[:] == bytes(SIZE)
""",
        tmp_path / "file",
        "rw",
    )


def test_writer_that_opens_with_o_trunc(tmp_path: Path) -> None:
    # What a shell's '>' and C's fopen(..., "w") do: to nothing, and then a few bytes.
    succeed(
        PRELUDE
        + """
array = region.array()
subprocess.run(["sh", "-c", 'printf Hello > "$1"', "sh", path], check=True)
assert array[PAGE_SIZE:].sum() == 0
# It stays an error until somebody mends it: what a view read in between may have been zeros.
expect(lambda: region[P3], 5)
expect(lambda: region[:5], 5)
region.resize(SIZE)
assert region[:] == b"Hello" + bytes(SIZE - 5)
assert array[:5].tobytes() == b"Hello"
""",
        tmp_path / "file",
        "rw",
    )


def test_wait_that_sleeps_over_the_truncation_ends(tmp_path: Path) -> None:
    succeed(
        PRELUDE
        + """
import threading
region.store_u32(P3, 0)
ends = []
def wait():
    try:
        ends.append(region.wait(P3, 0, 1.0))
    except SegmentTruncated as error:
        ends.append(error)
threads = [threading.Thread(target=wait) for _ in range(3)]
for thread in threads:
    thread.start()
truncate(0)
for thread in threads:
    thread.join(60)
    assert not thread.is_alive()
assert all(end is False or isinstance(end, SegmentTruncated) for end in ends), ends
expect(lambda: region.wait(P3, 0, 60), 0)
expect(lambda: region.ring(P3), 0)
""",
        tmp_path / "file",
        "rw",
    )


def test_error_is_an_os_error_of_its_own(tmp_path: Path) -> None:
    assert issubclass(SegmentTruncated, OSError)
    assert not issubclass(SegmentTruncated, FileNotFoundError)
