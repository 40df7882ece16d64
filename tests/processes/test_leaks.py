"""Ten thousand times open and close: nothing is kept; and leaving with everything open is quiet."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from isolated import succeed

from samemap import Region

CYCLES = 10_000

# What is done over and over: each a full life of one region.
LIVES = {
    "open": "with Region.open(path) as region: region[0] = 1",
    "open read-only": "with Region.open(path, mode='r') as region: region[0]",
    "open or create": "with Region(path, 8192) as region: region[0]",
    "anonymous": "with Region(None, 4096) as region: region[0] = 1",
    "create and unlink": "with Region.create('cycle', 4096) as region: region.unlink()",
    "from_fd": "Region.from_fd(kept.fileno()).close()",
    "forgotten": "Region.open(path)",
    "memoryview": "outlive(memoryview)",
    "array": "outlive(Region.array)",
    "asarray": "outlive(np.asarray)",
    "ndarray(buffer=)": "outlive(lambda region: np.ndarray(8, 'u1', buffer=region))",
    "ctypes": "outlive(Bytes.from_buffer)",
    "grow within max_size": "with Region(None, 4096) as region: region.resize(8192)",
    "grow beyond max_size": "with Region(None, 4096, max_size=4096) as region: region.resize(8192)",
    "wait": "with Region.open(path) as region: region.wait(8, 1); region.wait(8, 0, 0); region.ring(8)",
    "text": "with Region.open(path) as region: region.write_text('Hello' * 100, 64), region.read_text(64)",
    "copy": "with Region.open(path) as region: copy.copy(region).close()",
    "socket": "kept.send_handle(ours); Region.recv_handle(theirs).close()",
    "missing": "refused(FileNotFoundError, lambda: Region.open('missing'))",
    "exists": "refused(FileExistsError, lambda: Region.create(path, 64))",
    "too large": "refused(OSError, lambda: Region(None, 64, max_size=1 << 60))",
    "wait for a missing one": "refused(FileNotFoundError, lambda: Region.open('missing', wait=0))",
    "outside": "refused(IndexError, lambda: kept[1 << 40])",
    "pinned": "refused(BufferError, lambda: pinned.resize(1 << 20))",
}

SOURCE = """
import copy, ctypes, gc, os, pickle, socket, sys, tracemalloc
import numpy as np
from samemap import Region

path, cycles = sys.argv[1], int(sys.argv[2])
kept = Region.create(path, 8192)
pinned = Region(None, 4096, max_size=4096)
pin = memoryview(pinned)
ours, theirs = socket.socketpair()
Bytes = ctypes.c_ubyte * 8

def refused(kind, how):
    try:
        how()
    except kind:
        return
    raise AssertionError(kind)

def outlive(make):
    region = Region.open(path)
    view = make(region)
    region.close()
    assert view[0] == kept[0]

def life():
    LIFE

def state():
    gc.collect()
    with open("/proc/self/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    with open("/proc/self/maps") as maps:
        shared = [line.split()[1].endswith("s") for line in maps]
    # The allocator's own mappings come and go; what is shared is ours.
    return len(os.listdir("/proc/self/fd")), sum(shared), len(shared), resident

for _ in range(500):
    life()
tracemalloc.start()
grown = []
for _ in range(4):
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        life()
    gc.collect()
    grown.append(tracemalloc.get_traced_memory()[0] - traced)
tracemalloc.stop()
# A leak shows every time; a table of the interpreter's own that doubles (of interned text, say) once.
traced = min(grown)
before = state()
for _ in range(cycles):
    life()
after = state()
assert after[:2] == before[:2], f"descriptors and mapped regions: {before} before, {after} after"
assert after[2] < before[2] + 20, f"mappings: {before} before, {after} after"
# 100 bytes a cycle would show; what the allocator keeps in between does not.
assert after[3] - before[3] < 1024, f"resident KiB: {before} before, {after} after"
assert traced < 200 * 30, f"{grown} bytes of Python objects kept in 200 cycles each"
"""


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())
def test_nothing_is_kept(life: str, tmp_path: Path) -> None:
    succeed(SOURCE.replace("LIFE", life), tmp_path / "file", CYCLES)


def test_a_thousand_at_once_are_all_given_back(tmp_path: Path) -> None:
    succeed(
        """
        import gc, os, resource, sys
        from samemap import Region
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

        def state():
            with open("/proc/self/maps") as maps:
                return len(os.listdir("/proc/self/fd")), sum("memfd:samemap" in line for line in maps)

        before = state()
        for _ in range(5):
            many = [Region(None, 4096) for _ in range(900)]
            views = [memoryview(region) for region in many[::2]]
            for n, region in enumerate(many):
                region[0] = n % 256
            assert all(region[0] == n % 256 for n, region in enumerate(many))
            for region in many:
                region.close()
            assert all(view[0] == 2 * n % 256 for n, view in enumerate(views))
            del many, views, region
            gc.collect()
            assert state() == before, (before, state())
        """
    )


# What is open when the interpreter ends.
EXITS = {
    "regions in globals": "held = Region(None, 4096), Region.create('a', 4096), Region.open('a', mode='r')",
    "views in globals": """
region = Region(None, 4096)
view, array, whole = memoryview(region), region.array(), (ctypes.c_ubyte * 9).from_buffer(region)
late = np.ndarray(9, "u1", buffer=region)
region.close()
""",
    "a view that is used by a finalizer": """
class Late:
    def __init__(self):
        self.region = Region(None, 4096)
        self.view = memoryview(self.region)
    def __del__(self):
        self.view[0] = 1
        self.region[0]
        self.region.close()
        assert self.view[0] == 1
late = Late()
late.itself = late
""",
    "regions in a cycle with their views": """
region = Region(None, 4096)
cycle = [region, memoryview(region)]
cycle.append(cycle)
""",
    "daemon threads that wait for ever": """
region = Region(None, 4096)
def wait():
    entered.release()
    region.wait(0, 0)
for _ in range(5):
    daemon(wait)
""",
    "daemon threads that are rung at the very end": """
region = Region(None, 4096)
def wait():
    entered.release()
    while True:
        region.wait(0, 0)
for _ in range(5):
    daemon(wait)
import atexit
atexit.register(lambda: region.ring(0))
class Bell:
    def __del__(self):
        region.ring(0)
bell = Bell()
""",
    "daemon threads that wait with deadlines": """
region = Region(None, 4096)
def wait():
    entered.release()
    while True:
        region.wait(0, 0, 0.0001)
for _ in range(5):
    daemon(wait)
""",
    "daemon threads that work": """
regions = [Region(None, 4096, max_size=1 << 20) for _ in range(3)]
def work(n):
    entered.release()
    region = regions[n % 3]
    while True:
        region[:] = bytes(len(region))
        region.fetch_add_u32(0, 1)
        memoryview(region)[5]
        region.read_text(64)
        region.flush()
        Region(None, 4096).close()
for n in range(4):
    daemon(work, n)
""",
    "daemon threads that wait for a file": """
def wait():
    entered.release()
    Region.open("never", wait=float("inf"))
for _ in range(3):
    daemon(wait)
""",
    "a truncated file": """
region = Region.create("a", 8192)
view = memoryview(region)
os.truncate(region.path, 0)
assert view[5000] == 0
""",
}

EXIT = """
import ctypes, os, sys, threading
import numpy as np
from samemap import Region

entered = threading.Semaphore(0)

def daemon(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()
    entered.acquire()

SETTING
END
"""


@pytest.mark.parametrize("setting", EXITS.values(), ids=EXITS.keys())
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "os._exit(0)"], ids=["falls off", "sys.exit", "os._exit"])
def test_leaving_with_everything_open_is_quiet(setting: str, end: str, runtime_directory: Path) -> None:
    # Where threads race with the end, one run proves little.
    for _ in range(5 if "daemon(" in setting else 1):
        succeed(EXIT.replace("SETTING", setting).replace("END", end))
        for left in runtime_directory.iterdir():
            left.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_being_killed_deletes_nothing_and_spoils_nothing(
    number: signal.Signals, start: Callable[..., subprocess.Popen[str]], runtime_directory: Path
) -> None:
    process = start(
        source="""
from samemap import Region
region = Region.create("kept", 4096)
region.write_text("Hello")
print("ready", flush=True)
region.wait(64, 0)
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == -number
    assert [entry.name for entry in runtime_directory.iterdir()] == ["kept"]
    with Region.open("kept") as region:
        assert (region.read_text(), len(region)) == ("Hello", 4096)
