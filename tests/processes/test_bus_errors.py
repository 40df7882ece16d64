"""Bus errors that are none of ours: whoever handled them before samemap still does."""

from __future__ import annotations

import signal

import pytest
from isolated import run, succeed

# A fault in memory that samemap has nothing to do with, with samemap's guard in place and tried.
FOREIGN = """
import ctypes, faulthandler, mmap, os, signal, sys, tempfile
BEFORE
import samemap
from samemap import PAGE_SIZE, Region, SegmentTruncated

def truncated_region():
    file = tempfile.NamedTemporaryFile(dir=os.environ["SAMEMAP_DIR"])
    file.truncate(2 * PAGE_SIZE)
    region = Region.open(file.name)
    region[:]
    array = memoryview(region)
    os.truncate(file.name, 0)
    return file, region, array

def guard_works():
    file, region, view = truncated_region()
    assert view[PAGE_SIZE] == 0
    try:
        region[0]
    except SegmentTruncated:
        pass
    else:
        raise AssertionError("no SegmentTruncated")

def fault():
    with tempfile.TemporaryFile(dir=os.environ["SAMEMAP_DIR"]) as file:
        file.truncate(PAGE_SIZE)
        memory = mmap.mmap(file.fileno(), PAGE_SIZE)
        file.truncate(0)
        print("faulting", flush=True)
        memory[0]

guard_works()
AFTER
"""

LIBC = """
libc = ctypes.CDLL(None, use_errno=True)
EXIT = ctypes.cast(libc._exit, ctypes.c_void_p).value

class Action(ctypes.Structure):
    # struct sigaction of glibc and musl: the handler, 1024 bits of mask, the flags, the restorer.
    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]

def install(flags):
    # The handler is _exit itself: it ends the process with the signal's number, and runs no Python.
    action = Action(handler=EXIT, flags=flags)
    assert libc.sigaction(signal.SIGBUS, ctypes.byref(action), None) == 0
"""

SA_SIGINFO = 4


def source(before: str = "", after: str = "") -> str:
    return FOREIGN.replace("BEFORE", before).replace("AFTER", after)


def test_foreign_fault_still_kills() -> None:
    done = run(source(after="fault()"))
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "faulting\n"), done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("faulthandler.enable()", ""),
        ("", "faulthandler.enable()"),
        ("faulthandler.enable()", "faulthandler.disable(); faulthandler.enable()"),
        ("", "faulthandler.enable(); guard_works()"),
        (
            "faulthandler.enable()",
            "faulthandler.disable(); faulthandler.enable(); guard_works(); guard_works()",
        ),
        ("", "faulthandler.enable(all_threads=True); Region(None, 64)"),
    ],
)
def test_foreign_fault_kills_and_faulthandler_prints(before: str, after: str) -> None:
    done = run(source(before, after + "\nfault()"))
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "faulting\n"), done.stderr
    assert done.stderr.count("Fatal Python error: Bus error") == 1
    assert "in fault" in done.stderr


def test_guard_works_with_faulthandler_enabled_after_the_last_mapping() -> None:
    # The region is older than faulthandler's handler, so that one gets the fault first.
    done = run(
        source(
            after="""
file, region, view = truncated_region()
os.truncate(file.name, 2 * PAGE_SIZE)
try:
    region[PAGE_SIZE]
except SegmentTruncated:
    # The guard was at work before the file was grown again.
    assert region[PAGE_SIZE] == 0
faulthandler.enable()
os.truncate(file.name, 0)
assert view[PAGE_SIZE] == 0
try:
    region[0]
except SegmentTruncated:
    print("told")
""",
        )
    )
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


def test_guard_says_nothing_with_faulthandler_enabled_before() -> None:
    assert succeed(source("faulthandler.enable()")) == ""


@pytest.mark.parametrize("flags", [0, SA_SIGINFO], ids=["one argument", "SA_SIGINFO"])
@pytest.mark.parametrize("when", ["before", "after", "after and a new mapping"])
def test_handler_of_c_gets_foreign_faults(flags: int, when: str) -> None:
    install = LIBC + f"\ninstall({flags})\n"
    if when == "before":
        done = run(source(install, "fault()"))
    else:
        done = run(source("", install + ("guard_works()\n" if "mapping" in when else "") + "fault()"))
    assert (done.returncode, done.stdout) == (signal.SIGBUS, "faulting\n"), done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("signal.signal(signal.SIGBUS, lambda *_: print('handled'))", ""),
        ("", "signal.signal(signal.SIGBUS, lambda *_: print('handled'))"),
        ("", "signal.signal(signal.SIGBUS, lambda *_: print('handled')); guard_works()"),
    ],
)
def test_handler_of_python_gets_the_signal(before: str, after: str) -> None:
    # Sent, because a Python handler cannot mend a fault: it would fault again for ever.
    out = succeed(source(before, after + "\nos.kill(os.getpid(), signal.SIGBUS)\nprint('alive')"))
    assert out == "handled\nalive\n"


@pytest.mark.parametrize("send", ["os.kill(os.getpid(), signal.SIGBUS)", "signal.raise_signal(signal.SIGBUS)"])
def test_signal_that_is_sent_still_kills(send: str) -> None:
    # Once or twice: the guard may take the first one of a thread's own for faulthandler's echo of a fault.
    done = run(source(after=f"{send}\n{send}\nprint('alive')"))
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "")


def test_signal_that_is_sent_by_another_process_kills_at_once() -> None:
    done = run(source(after="os.system(f'kill -BUS {os.getpid()}')\nprint('alive')"))
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "")


def test_signal_that_was_ignored_stays_ignored_but_a_fault_does_not() -> None:
    before = "signal.signal(signal.SIGBUS, signal.SIG_IGN)"
    assert succeed(source(before, "os.kill(os.getpid(), signal.SIGBUS)\nprint('alive')")) == "alive\n"
    # The kernel never ignores a fault: it would come back for ever.
    done = run(source(before, "fault()"))
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "faulting\n")


def test_guard_works_in_every_thread_and_in_forked_children() -> None:
    succeed(
        source(
            after="""
import threading, warnings
failures = []
def work():
    try:
        for _ in range(50):
            guard_works()
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
# numpy's threads are enough for Python 3.12 to warn.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
pid = os.fork()
if pid == 0:
    guard_works()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
        )
    )


def test_guard_leaves_a_mapping_alone_that_took_the_place_of_ours() -> None:
    # After close() the addresses are not ours: a fault there is foreign, even where we once were on guard.
    done = run(
        source(
            after="""
file, region, view = truncated_region()
view.release()
region.close()
for _ in range(20):
    fault()
"""
        )
    )
    assert done.returncode == -signal.SIGBUS
