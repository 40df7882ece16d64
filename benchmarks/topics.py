"""Topics against their peers: to and fro, one way, many at once, frames, several subscribers; on the same two cores."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import bell
import numpy as np
from report import Figure
from turns import RUNS, Unavailable, cores, in_turns
from turns import compare as figures_of

from samemap import Topic

HERE = Path(__file__).parent
ROUNDS, MESSAGES, TO_FOUR = 20_000, 100_000, 30_000
#: Seconds that a side may take: one that needs longer is left out.
PATIENCE = 40
FRAMES = {"1 MiB": (1 << 20,), "1080p": (1080, 1920, 3)}
#: What each peer is called here, the module that it needs, and what it can do.
PEERS = {
    "samemap_topic": "samemap",
    "iceoryx2_pubsub": "iceoryx2",
    "pyzmq_ipc": "zmq",
    "os_pipe": "os",
    "zenoh_peer": "zenoh",
    "shared_memory_flag": "mmap",
}
BUSY = ("iceoryx2_pubsub", "shared_memory_flag", "pyzmq_ipc", "os_pipe")
BLOCKING = ("iceoryx2_pubsub", "pyzmq_ipc", "os_pipe", "zenoh_peer")
ONE_WAY = ("iceoryx2_pubsub", "pyzmq_ipc", "os_pipe", "zenoh_peer")
LARGE = ("iceoryx2_pubsub", "pyzmq_ipc")
TO_SEVERAL = ("iceoryx2_pubsub", "pyzmq_ipc")

#: Nanoseconds of one way, of every round trip, for the picture: by kind and peer.
latencies: dict[tuple[str, str], list[float]] = {}
#: Which peers failed, and why: for the document.
left_out: list[str] = []


def sides(peer: str, roles: list[tuple[str, int]], count: int, shape: str = "-", receivers: int = 1) -> list[Any]:
    """Run the sides of a measurement, each in a process pinned to its core, and return what they print."""
    if importlib.util.find_spec(PEERS[peer]) is None:
        raise Unavailable(f"{PEERS[peer]} is not installed")
    name = f"b{uuid.uuid4().hex[:7]}"
    line = [sys.executable, str(HERE / "side.py"), peer]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        environment = {**os.environ, "SAMEMAP_DIR": directory, "PYTHONPATH": str(HERE)}
        processes = [
            subprocess.Popen(
                [*line, role, name, str(cpu), str(count), shape, str(receivers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for role, cpu in roles
        ]
        try:
            return _together(peer, processes)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
            for left in Path("/dev/shm").glob(f"*{name}*"):
                left.unlink(missing_ok=True)


def _together(peer: str, processes: list[subprocess.Popen[str]]) -> list[Any]:
    for _ in range(2):
        for process in processes:
            if _line(process) != "ready\n":
                process.kill()
                raise Unavailable(f"{peer}: {process.communicate()[1].strip().splitlines()[-1:]}")
            _go(process)
    found = []
    # The source is the first, and stays until the others have all.
    for process in [*processes[1:], processes[0]]:
        if process is processes[0]:
            _go(process)
        output = _line(process)
        if not output:
            process.kill()
            raise Unavailable(f"{peer}: {process.communicate()[1].strip().splitlines()[-1:]}")
        found.append(json.loads(output))
    return [found[-1], *found[:-1]]


def _line(process: subprocess.Popen[str]) -> str:
    """Return the next line that is no message of a peer's log; nothing when it ended, or takes too long."""
    assert process.stdout is not None
    while select.select([process.stdout], [], [], PATIENCE)[0]:
        line = process.stdout.readline()
        if "[ERROR]" not in line:
            return line
    return ""


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ping_pong(peer: str, busy: bool) -> float:
    """Return the median nanoseconds of one way."""
    first, second = cores()
    kind = "busy-" if busy else ""
    (took, _) = sides(peer, [(f"{kind}ping", first), (f"{kind}pong", second)], ROUNDS)
    ways = [float(nanoseconds) / 2 for nanoseconds in took]
    latencies.setdefault(("busy" if busy else "blocking", peer), []).extend(ways)
    return statistics.median(ways)


def one_way(peer: str) -> float:
    """Return the nanoseconds of a message, sent one by one and received one by one."""
    first, second = cores()
    # iceoryx2 would need a notification for each, to wait: polling is what it is quicker with.
    sink = "busy-sink" if peer == "iceoryx2_pubsub" else "sink"
    began, ended = sides(peer, [("source", first), (sink, second)], MESSAGES)
    return float((ended - began) / MESSAGES)


def frames(peer: str, shape: tuple[int, ...]) -> float:
    """Return the nanoseconds of a frame that is filled, sent, received and read."""
    first, second = cores()
    count = 2000
    began, ended = sides(peer, [("source", first), ("sink", second)], count, "x".join(map(str, shape)))
    return float((ended - began) / count)


def to_four(peer: str) -> float:
    """Return the nanoseconds of a message that four processes receive."""
    first, second = cores()
    sink = "busy-sink" if peer == "iceoryx2_pubsub" else "sink"
    roles = [("source", first), *[(sink, second if n % 2 else first) for n in range(4)]]
    began, *ended = sides(peer, roles, TO_FOUR, "-", 4)
    return float((max(ended) - began) / TO_FOUR)


def in_one_process(shape: tuple[int, ...]) -> float:
    """Return the nanoseconds of the same numpy work in one process: a frame filled, and read."""
    frame = np.empty(shape, np.uint8)
    count = 1000
    begun = perf_counter_ns()
    for number in range(count):
        frame[:] = number % 251
        assert int(np.max(frame)) == number % 251
    return (perf_counter_ns() - begun) / count


def many(batch: int = 256, count: int = 2000) -> float:
    """Return the nanoseconds of a record of 64 bytes, published and received ``batch`` at a time."""
    first, second = cores()
    with Topic(dtype="V64", shape=(), slots=4096) as topic:
        rows = np.zeros(batch, topic.dtype)
        numbers = rows.view("u8").reshape(batch, 8)
        child = os.fork()
        if child == 0:
            os.sched_setaffinity(0, {second})
            subscription = topic.subscribe("block")
            got = 0
            while got < count * batch:
                found = subscription.recv_many(batch)
                first_number = int(found.view("u8")[0])
                assert first_number == got % batch, (first_number, got)
                got += len(found)
            os._exit(0 if subscription.missed == 0 else 1)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {first})
        numbers[:, 0] = range(batch)
        topic.wait_for_subscribers()
        begun = perf_counter_ns()
        for _ in range(count):
            topic.publish_many(rows)
        status = os.waitpid(child, 0)[1]
        took = (perf_counter_ns() - begun) / (count * batch)
        os.sched_setaffinity(0, before)
    if status:
        raise RuntimeError("the reader lost some")
    return took


def c_ring(directory: Path) -> float:
    """Return the nanoseconds of a message of 64 bytes in a plain ring in C, between the same two cores."""
    program = directory / "ring"
    source = Path(__file__).with_name("ring.c")
    subprocess.run(["cc", "-O2", "-std=gnu11", "-Wall", "-Werror", "-o", program, source], check=True)
    line = [str(program), "5000000", *map(str, cores())]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def idle(subscribers: int) -> float:
    """Return the nanoseconds of a publish while so many subscribe and do not read."""
    with Topic(max_message=64, slots=1024) as topic:
        subscriptions = [topic.subscribe("drop") for _ in range(subscribers)]
        publish, data = topic.publish, bytes(64)
        for _ in range(2000):
            publish(data)
        begun = perf_counter_ns()
        for _ in range(100_000):
            publish(data)
        took = (perf_counter_ns() - begun) / 100_000
        assert subscriptions[0].lag == 102_000
    return took


def called_by(peer: str) -> str:
    """Return what people call a peer."""
    return "os.pipe" if peer == "os_pipe" else peer.rpartition("_")[0].replace("_", " ")


def turns(work: Callable[[str], float], peers: tuple[str, ...]) -> dict[str, float]:
    """Measure samemap and its peers in turns, and return the median of each that works."""
    return in_turns(work, "samemap_topic", peers, left_out)


def compare(name: str, found: dict[str, float], bars: dict[str, float]) -> list[Figure]:
    """Return a figure for each peer; ``bars`` says what part of a peer's time we may take."""
    return figures_of(name, found, "samemap_topic", bars, called_by)


def measure() -> list[Figure]:
    """Measure all of it, and return the figures."""
    left_out.clear()
    figures = compare(
        "64 bytes to and fro, both sides poll (one way, p50)",
        turns(lambda peer: ping_pong(peer, True), BUSY),
        {"iceoryx2_pubsub": 1 / 6, "shared_memory_flag": 1.0},
    )
    found = turns(lambda peer: ping_pong(peer, False), BLOCKING)
    name = "64 bytes to and fro, both sides wait (one way, p50)"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        program, words = bell.compile_c(Path(directory)), Path(directory) / "words"
        words.write_bytes(bytes(4096))
        runs = [bell.c_round_trips(program, words, cores(), bell.CASES[0]) for _ in range(RUNS)]
        c = statistics.median(statistics.median(run) / 2 for run in runs)
        ours = found["samemap_topic"]
        figures.append(Figure(name, ours, "a futex ping-pong in C", c, "at most 1.10", ours <= 1.10 * c))
        figures += compare(name, found, {})
        found = turns(one_way, ONE_WAY)
        bars = {"iceoryx2_pubsub": 1 / 6, "pyzmq_ipc": 0.5, "os_pipe": 0.5}
        figures += compare("64 bytes one way, one by one", found, bars)
        rounds = [(many(), c_ring(Path(directory))) for _ in range(RUNS)]
    ours, ring = (statistics.median(side) for side in zip(*rounds, strict=True))
    reached = ours <= 50 or ours <= 4 * ring
    name = "64 bytes one way, 256 at a time"
    figures.append(Figure(name, ours, "a ring in C, one by one", ring, "under 50 ns, or at most 4.00", reached))
    for called, shape in FRAMES.items():
        name = f"{called} frames, filled and read"
        pairs = [(frames("samemap_topic", shape), in_one_process(shape)) for _ in range(RUNS)]
        ours, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
        bar = "at most 1.11"
        figures.append(Figure(name, ours, "the same numpy work in one process", alone, bar, ours <= alone / 0.9))
        found = turns(lambda peer, shape=shape: frames(peer, shape), LARGE)  # type: ignore[misc] # a default
        figures += compare(name, found, {"iceoryx2_pubsub": 1.0})
    found = turns(to_four, TO_SEVERAL)
    figures += compare(
        "64 bytes to 4 subscribers, nothing lost", found, {"iceoryx2_pubsub": 1 / 4, "pyzmq_ipc": 1 / 1.5}
    )
    rounds = [(idle(32), idle(1)) for _ in range(RUNS)]
    ours, one = (statistics.median(side) for side in zip(*rounds, strict=True))
    figures.append(Figure("publish with 32 idle subscribers", ours, "with 1", one, "at most 1.20", ours <= 1.2 * one))
    return figures


def notes() -> list[str]:
    """Return what is to be said below the table."""
    return [f"Left out: {reason}." for reason in dict.fromkeys(left_out)]


def draw(path: Path) -> None:
    """Draw how the times of one way are distributed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5), sharex=True)
    for axis, kind in zip(axes, ("busy", "blocking"), strict=True):
        for (found, peer), ways in sorted(latencies.items(), key=lambda item: statistics.median(item[1])):
            if found == kind:
                label = f"{called_by(peer)}, p50 {statistics.median(ways) / 1000:.2f} µs"
                axis.hist(ways, bins=np.geomspace(100, 1e6, 160).tolist(), histtype="step", linewidth=1.6, label=label)
        axis.set(xscale="log", title=f"64 bytes, one way: both sides {'poll' if kind == 'busy' else 'wait'}")
        axis.set(xlabel="nanoseconds (half a round trip)", ylabel="round trips")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
