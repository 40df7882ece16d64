"""Threads of one process that use, move, shrink and close a region at once."""

from __future__ import annotations

from isolated import run, succeed

PRELUDE = """
import os, sys, threading, time
import numpy as np
from samemap import PAGE_SIZE, Region, SegmentTruncated

def at_once(*works, seconds=2.0):
    '''Run each over and over in a thread of its own, and return what they raised.'''
    end, wrong = time.monotonic() + seconds, []
    def loop(work):
        try:
            while time.monotonic() < end:
                work()
        except BaseException as error:
            wrong.append(f"{work.__name__}: {error!r}")
    threads = [threading.Thread(target=loop, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong
"""


def test_arrays_without_a_view_outlive_moves_and_closing() -> None:
    # np.ndarray(buffer=) releases the buffer at once: the mapping it saw must be the one that is kept.
    succeed(
        PRELUDE
        + """
sys.setswitchinterval(1e-6)
end = time.monotonic() + 3
while time.monotonic() < end:
    region = Region(None, PAGE_SIZE, max_size=PAGE_SIZE)
    region[:4] = b"here"
    arrays = []
    def take():
        arrays.append(np.ndarray(4, "u1", buffer=region))
    def move():
        try:
            region.resize(2 * PAGE_SIZE)
        except BufferError:
            pass
    threads = [threading.Thread(target=work) for work in (take, move)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    region.close()
    assert arrays[0].tobytes() == b"here"
"""
    )


def test_whole_slices_beside_a_thread_that_resizes() -> None:
    succeed(
        PRELUDE
        + """
region = Region.create("both", 2 * PAGE_SIZE)
def slice_all():
    assert len(region[:]) in (PAGE_SIZE, 2 * PAGE_SIZE)
def resize():
    for size in (PAGE_SIZE, 2 * PAGE_SIZE):
        region.resize(size)
wrong = at_once(slice_all, resize)
assert not wrong, wrong
"""
    )


def test_a_write_into_a_hole_is_never_said_to_be_done() -> None:
    # One thread meets the hole and mends it, while the other has written into the zeros that covered it.
    succeed(
        PRELUDE
        + """
region = Region.create("hole", 1024 * PAGE_SIZE)
data = b"x" * len(region)
lost = []
def cut():
    os.truncate(region.path, 0)
    os.truncate(region.path, len(data))
def write():
    try:
        region[:] = data
    except SegmentTruncated:
        pass
    except IndexError:
        pass
def look():
    try:
        region[5]
    except SegmentTruncated:
        pass
    except IndexError:
        pass
wrong = at_once(cut, write, look, look)
assert not wrong, wrong
# At rest, and mended, what is written is in the file.
region.resize(len(data))
for _ in range(3):
    try:
        region[:] = data
        break
    except SegmentTruncated:
        pass
with open(region.path, "rb") as file:
    assert file.read() == data
"""
    )


def test_closing_does_not_wait_for_a_long_reservation() -> None:
    succeed(
        PRELUDE
        + """
region = Region.create("long", PAGE_SIZE, max_size=1 << 32)
def grow():
    try:
        region.resize(1 << 30)
    except ValueError:
        pass
thread = threading.Thread(target=grow)
thread.start()
while len(region) == PAGE_SIZE and os.stat(region.path).st_blocks * 512 <= PAGE_SIZE and thread.is_alive():
    pass
region.close()
assert region.closed
thread.join()
os.unlink(os.environ["SAMEMAP_DIR"] + "/long")
"""
    )


def test_faults_of_an_older_mapping_are_told_and_mended() -> None:
    succeed(
        PRELUDE
        + """
region = Region.create("older", 4 * PAGE_SIZE, max_size=4 * PAGE_SIZE)
array = np.ndarray(len(region), "u1", buffer=region)
region.resize(8 * PAGE_SIZE)
os.truncate(region.path, 0)
assert array[3 * PAGE_SIZE] == 0
os.truncate(region.path, 8 * PAGE_SIZE)
try:
    region[:]
    raise SystemExit("nothing was told")
except SegmentTruncated:
    pass
array[0] = 5
assert region[0] == 5
region[PAGE_SIZE] = 6
assert array[PAGE_SIZE] == 6
"""
    )


def test_a_disabled_faulthandler_does_not_keep_foreign_faults_from_ending_the_process() -> None:
    done = run(
        PRELUDE
        + """
import faulthandler, mmap, signal
first = Region(None, 64)
faulthandler.enable()
second = Region(None, 64)
faulthandler.disable()
path = os.environ["SAMEMAP_DIR"] + "/foreign"
with open(path, "wb+") as file:
    file.truncate(PAGE_SIZE)
    foreign = mmap.mmap(file.fileno(), PAGE_SIZE)
    file.truncate(0)
foreign[0]
""",
        timeout=60,
    )
    assert done.returncode == -7


def test_the_guard_comes_back_where_others_took_it_away() -> None:
    succeed(
        PRELUDE
        + """
import faulthandler
faulthandler.enable()
region = Region.create("guarded", PAGE_SIZE)
faulthandler.disable()
array = region.array()
os.truncate(region.path, 0)
assert array[0] == 0
"""
    )
