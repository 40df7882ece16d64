"""Queues, calls and pools against their peers: each a crew of processes (``crew.py``) on the same two cores."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import bell
from report import Figure
from turns import Unavailable, compare, cores, in_turns

HERE = Path(__file__).parent
#: Seconds that a crew may take: a peer that needs longer is left out.
PATIENCE = 90
#: What each peer is called in the table, and the module that it needs.
PEERS = {
    "samemap_queue": ("samemap", "samemap"),
    "samemap_service": ("samemap", "samemap"),
    "samemap_pool": ("samemap", "samemap"),
    "multiprocessing_queue": ("multiprocessing.Queue", "multiprocessing"),
    "multiprocessing_simplequeue": ("multiprocessing.SimpleQueue", "multiprocessing"),
    "fasterfifo_queue": ("faster-fifo", "faster_fifo"),
    "posixipc_queue": ("posix_ipc", "posix_ipc"),
    "pyzmq_push": ("pyzmq PUSH/PULL", "zmq"),
    "unix_socket": ("a Unix socket, both sides wait", "socket"),
    "unix_polling": ("a Unix socket, both sides poll", "socket"),
    "concurrent_pool": ("concurrent.futures", "concurrent.futures"),
    "futex": ("two hand-overs of a futex in C", "os"),
}
#: The runs of the C program that a call is compared with.
FUTEX = {"call": bell.CASES[0], "late": bell.CASES[1]}


@dataclass(frozen=True, slots=True)
class Contest:
    """One line of work for samemap and its peers.

    Attributes:
        name: What is measured, in words.
        work: What the crew is told.
        count: How many messages, calls or arrays.
        ours: samemap's module.
        bars: What part of each peer's time samemap may take; ``None`` for any.
    """

    name: str
    work: str
    count: int
    ours: str
    bars: dict[str, float | None]


CONTESTS = (
    Contest(
        "64 bytes, 2 producers, 2 consumers",
        "bytes",
        200_000,
        "samemap_queue",
        {
            "multiprocessing_queue": 1 / 3,
            "multiprocessing_simplequeue": 1 / 3,
            "fasterfifo_queue": 1 / 3,
            "posixipc_queue": 1 / 3,
            "pyzmq_push": 1 / 3,
        },
    ),
    Contest(
        "small tuples, 2 producers, 2 consumers",
        "tuples",
        200_000,
        "samemap_queue",
        {
            "multiprocessing_queue": 1 / 4,
            "fasterfifo_queue": 1 / 4,
            "multiprocessing_simplequeue": None,
            "posixipc_queue": None,
            "pyzmq_push": None,
        },
    ),
    Contest("64 bytes, 256 at a time", "many", 409_600, "samemap_queue", {"fasterfifo_queue": 1 / 10}),
    Contest(
        "objects with an array of 1 MiB",
        "arrays",
        1000,
        "samemap_queue",
        {"multiprocessing_queue": 1 / 10, "fasterfifo_queue": None, "pyzmq_push": None},
    ),
    Contest(
        "a call of 64 bytes and its reply, both sides wait (p50)",
        "call",
        20_000,
        "samemap_service",
        {"futex": 1.15, "unix_socket": None},
    ),
    Contest(
        "a call that is answered after 200 µs of work, which is taken off (p50)",
        "late",
        2000,
        "samemap_service",
        {"futex": 1.15, "unix_socket": None},
    ),
    Contest(
        "a call of 64 bytes and its reply, both sides poll (p50)",
        "busy",
        20_000,
        "samemap_service",
        {"unix_socket": 1 / 5, "unix_polling": None},
    ),
    Contest("map over arrays of 1 MiB", "map", 1000, "samemap_pool", {"concurrent_pool": 1 / 5}),
    Contest("map over arrays of 1 MiB, to others", "there-and-back", 1000, "samemap_pool", {"concurrent_pool": None}),
)

#: Which peers failed, and why: for the document.
left_out: list[str] = []


def called(peer: str) -> str:
    """Return what people call a peer."""
    return PEERS[peer][0]


def crew(peer: str, work: str, count: int) -> float:
    """Run a crew of processes, and return the nanoseconds that it prints."""
    shown, module = PEERS[peer]
    if importlib.util.find_spec(module) is None:
        raise Unavailable(f"{shown}: {module} is not installed")
    name = f"b{uuid.uuid4().hex[:7]}"
    line = [sys.executable, str(HERE / "crew.py"), peer, work, name, ",".join(map(str, cores())), str(count)]
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        environment = {**os.environ, "SAMEMAP_DIR": directory, "PYTHONPATH": path}
        # A session of its own, so that all that it started can be ended.
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{shown}: {work} took more than {PATIENCE} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            for left in Path("/dev/shm").glob(f"*{name}*"):
                left.unlink(missing_ok=True)
    if process.returncode:
        raise Unavailable(f"{shown}: {work} failed: {' '.join(errors.strip().splitlines()[-1:])}")
    return float(output.split()[-1])


def futex(case: bell.Case) -> float:
    """Return the nanoseconds of two hand-overs in C, less what both sides work: the median."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        program, words = bell.compile_c(Path(directory)), Path(directory) / "words"
        words.write_bytes(bytes(4096))
        return statistics.median(bell.c_round_trips(program, words, cores(), case)) - 2 * case.work


def one(contest: Contest, peer: str) -> float:
    """Return what a peer takes in a contest."""
    return futex(FUTEX[contest.work]) if peer == "futex" else crew(peer, contest.work, contest.count)


def measure() -> list[Figure]:
    """Measure all of it, and return the figures."""
    left_out.clear()
    figures = []
    for contest in CONTESTS:
        found = in_turns(lambda peer, its=contest: one(its, peer), contest.ours, tuple(contest.bars), left_out)  # type: ignore[misc] # a default
        figures += compare(contest.name, found, contest.ours, contest.bars, called)
    return figures


def notes() -> list[str]:
    """Return what is to be said below the table."""
    return [f"Left out: {reason}." for reason in dict.fromkeys(left_out)]
