"""Forking at any moment, whatever other threads are doing: the children can use every region."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed

FORKS = 200

SOURCE = """
import ctypes, os, select, signal, sys, threading, traceback
import numpy as np
from samemap import PAGE_SIZE, Region

forks, directory = int(sys.argv[1]), sys.argv[2]
ROOM = 64 * PAGE_SIZE
regions = [
    Region(None, PAGE_SIZE, max_size=ROOM),
    Region(None, ROOM, max_size=ROOM),
    Region.create(directory + "/file", PAGE_SIZE, max_size=ROOM),
    Region.open(directory + "/file", mode="r", max_size=ROOM),
]
# Moved about all the time; kept apart, because its users must expect it to shrink.
moving = Region.create(directory + "/moving", PAGE_SIZE, max_size=PAGE_SIZE)
writable = [region for region in regions if region.mode == "rw"]
stop, wrong = False, []

def hammer(work):
    def run():
        n = 0
        try:
            while not stop:
                n += 1
                work(n)
        except BaseException:
            wrong.append(traceback.format_exc())
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def read(n):
    region = regions[n % 4]
    region[0], region[:], region.read_text(64, 64), region.load_u32(4), len(region), region.stats()

def write(n):
    region = writable[n % 3]
    region[100], region[200:203] = 1, b"abc"
    region.fetch_add_u64(8, 1)
    region.write_text("Hello", 128)
    region.ring(16)

def look(n):
    region = regions[n % 4]
    view, array = memoryview(region), region.array()
    view[0], array.sum()

def resize(n):
    moving.resize(PAGE_SIZE * (1 + 7 * n % 200), sparse=True)
    with Region(None, PAGE_SIZE, max_size=PAGE_SIZE) as region:
        region.resize(PAGE_SIZE * (2 + n % 20))

def sleep(n):
    regions[n % 4].wait(16, 0, 0.0005)

def come_and_go(n):
    with Region(None, PAGE_SIZE) as region:
        region[0] = 1
    Region.open(directory + "/file", mode="r").close()

def close_a_wait(n):
    region = Region(None, 64)
    def wait():
        try:
            region.wait(0, 0)
        except ValueError:
            pass
    thread = threading.Thread(target=wait)
    thread.start()
    region.close()
    thread.join()

def lock_and_flush(n):
    writable[n % 3].flush()
    writable[n % 3].advise("willneed")

def child(n):
    for region in regions:
        size = len(region)
        region[0], region[:PAGE_SIZE], region.load_u64(8), region.read_text(128, 64)
        assert memoryview(region)[0] == region.array()[0]
        assert region.wait(20, 1, 0) is True
        assert region.wait(20, 0, 0) is False
        region.ring(20)
        region.stats()
    for region in writable:
        region[300] = n % 256
        region.fetch_add_u32(24, 1)
        region.compare_exchange_u32(28, 0, 0)
        region.write_text("child", 512)
        region.flush()
        if len(region) < ROOM:
            region.resize(len(region) + PAGE_SIZE, sparse=True)
    moving.resize(PAGE_SIZE * (1 + n), sparse=True)
    moving[0], moving.stats()
    moving[5] = 5
    with Region(None, PAGE_SIZE) as mine, Region.open(directory + "/file") as again:
        mine.resize(10 * PAGE_SIZE)
        again[0]
    # Threads of its own sleep and are woken, beside the ghosts of the parent's.
    region = writable[0]
    ours = Region(None, 64)
    thread = threading.Thread(target=lambda: ours.wait(0, 0, 60))
    thread.start()
    ours.store_u32(0, 1)
    ours.ring(0)
    thread.join()
    for region in (*regions, moving):
        region.close()
        assert region.closed
    if n % 5 == 0:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

def reap(pid, seconds):
    watch = os.pidfd_open(pid)
    try:
        if not select.select([watch], [], [], seconds)[0]:
            os.kill(pid, signal.SIGABRT)
            os.waitpid(pid, 0)
            return "hung"
    finally:
        os.close(watch)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

threads = [hammer(work) for work in WORK]
ends = []
for n in range(forks):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        try:
            child(n)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ends.append(reap(pid, 30))
    if ends[-1] != 0 or wrong:
        break
stop = True
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "a thread of the parent hangs"
assert not wrong, wrong[0]
assert ends == [0] * forks, ends[-1]
# 200 children each added to the shared words: those are the parent's too.
assert [region.load_u32(24) for region in writable] == [forks] * 3
"""


@pytest.mark.parametrize(
    "work",
    [
        "read",
        "write",
        "look",
        "resize",
        "sleep",
        "come_and_go",
        "close_a_wait",
        "lock_and_flush",
        "read, write, look, resize, sleep, come_and_go, close_a_wait, lock_and_flush",
    ],
)
def test_children_of_a_busy_parent_use_everything_and_exit(work: str, tmp_path: Path) -> None:
    source = "import warnings\nwarnings.filterwarnings('ignore', category=DeprecationWarning)\n" + SOURCE
    succeed(source.replace("in WORK", f"in [{work}]"), FORKS, tmp_path)


def test_fork_while_a_view_lives_and_the_region_is_closed() -> None:
    succeed(
        """
        import gc, os
        import numpy as np
        from samemap import Region
        region = Region(None, 4096)
        view = region.array()
        late = np.ndarray(4, "u1", buffer=region)
        view[:] = 5
        region.close()
        pid = os.fork()
        if pid == 0:
            assert int(view.sum()) == 5 * 4096
            view[0] = 6
            late[1] = 7
            del view, late, region
            gc.collect()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert list(view[:3]) == [6, 7, 5]
        """
    )


def test_wait_of_the_parent_is_rung_by_the_child_and_the_other_way() -> None:
    succeed(
        """
        import os
        from samemap import Region
        region = Region(None, 64)
        pid = os.fork()
        if pid == 0:
            for n in range(500):
                while region.load_u32(0) == n:
                    region.wait(0, n, 60)
                region.store_u32(4, n + 1)
                region.ring(4)
            os._exit(0)
        for n in range(500):
            region.store_u32(0, n + 1)
            region.ring(0)
            while region.load_u32(4) == n:
                region.wait(4, n, 60)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


def test_close_in_the_child_leaves_the_parent_alone() -> None:
    succeed(
        """
        import os
        from samemap import Region
        region = Region(None, 64)
        pid = os.fork()
        if pid == 0:
            region[0] = 1
            region.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert region[0] == 1
        region.resize(8192)
        assert region[8191] == 0
        """
    )
