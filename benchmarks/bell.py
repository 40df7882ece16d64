"""The bell: handing over between two pinned processes, against the same futex ping-pong in C."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from report import Figure

from samemap import Region

RUNS = 11
PING, PONG = 0, 64


@dataclass(frozen=True, slots=True)
class Case:
    """How the two sides take turns: how often, and how many nanoseconds each works before it answers."""

    name: str
    rounds: int
    work: int


CASES = (
    Case("answered at once", 20_000, 0),
    # Longer than any look before a sleep, so that each side has to be woken.
    Case("answered after 200 µs of work, which is taken off", 2_000, 200_000),
)


def compile_c(directory: Path) -> Path:
    """Compile ``pingpong.c``, and return the program."""
    program = directory / "pingpong"
    source = Path(__file__).with_name("pingpong.c")
    subprocess.run(["cc", "-O2", "-std=gnu11", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


def c_round_trips(program: Path, path: Path, cpus: tuple[int, int], case: Case) -> list[int]:
    """Return the nanoseconds of each round trip in C."""
    line = [str(program), str(path), str(case.rounds), *map(str, cpus), str(case.work)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return [int(n) for n in done.stdout.split()]


def work(nanoseconds: int) -> None:
    """Turn in circles for so long."""
    if nanoseconds:
        end = perf_counter_ns() + nanoseconds
        while perf_counter_ns() < end:
            pass


def answer(path: str, cpu: int, rounds: int, nanoseconds: int) -> None:
    """Be the second process: answer each ping."""
    os.sched_setaffinity(0, {cpu})
    with Region.open(path) as region:
        load, store, wait, ring = region.load_u32, region.store_u32, region.wait, region.ring
        print("ready", flush=True)
        for turn in range(1, rounds + 1):
            while load(PING) != turn:
                wait(PING, turn - 1)
            work(nanoseconds)
            store(PONG, turn)
            ring(PONG)


def python_round_trips(path: Path, cpus: tuple[int, int], case: Case) -> list[int]:
    """Return the nanoseconds of each round trip with samemap."""
    line = [sys.executable, __file__, str(path), str(cpus[1]), str(case.rounds), str(case.work)]
    took = []
    with Region.open(path) as region:
        region.store_u32(PING, 0)
        region.store_u32(PONG, 0)
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as partner:
            assert partner.stdout is not None
            partner.stdout.readline()
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {cpus[0]})
            load, store, wait, ring = region.load_u32, region.store_u32, region.wait, region.ring
            for turn in range(1, case.rounds + 1):
                start = perf_counter_ns()
                work(case.work)
                store(PING, turn)
                ring(PING)
                while load(PONG) != turn:
                    wait(PONG, turn - 1)
                took.append(perf_counter_ns() - start)
            os.sched_setaffinity(0, before)
    return took


def measure() -> list[Figure]:
    """Measure both, in turns, and return the figures."""
    cpus = sorted(os.sched_getaffinity(0))
    pair = (cpus[0], cpus[-1])
    figures = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        program = compile_c(Path(directory))
        path = Path(directory) / "words"
        with Region.create(path, 4096):
            for case in CASES:
                c, ours = [], []
                for _ in range(RUNS):
                    c.append(statistics.median(c_round_trips(program, path, pair, case)) / 2 - case.work)
                    ours.append(statistics.median(python_round_trips(path, pair, case)) / 2 - case.work)
                takes, peer = statistics.median(ours), statistics.median(c)
                name = f"bell hand-over, {case.name} (one way, p50)"
                reached = takes <= 1.10 * peer
                figures.append(Figure(name, takes, "the same futex ping-pong in C", peer, "at most 1.10", reached))
    return figures


if __name__ == "__main__":
    answer(sys.argv[1], *map(int, sys.argv[2:]))
