"""What ``import samemap`` adds to a bare interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from time import perf_counter_ns

from report import Figure

RUNS = 40
BAR = 15e6
#: With compiled bytecode, as every installed package has it, whatever the shell says about writing it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def start(code: str) -> int:
    """Return the nanoseconds of an interpreter that runs ``code``."""
    begin = perf_counter_ns()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return perf_counter_ns() - begin


def measure() -> list[Figure]:
    """Measure both in turns, and return the figure."""
    start("import samemap, sys; assert 'numpy' not in sys.modules")
    bare, ours = [], []
    for _ in range(RUNS):
        bare.append(start("pass"))
        ours.append(start("import samemap"))
    added = statistics.median(ours) - statistics.median(bare)
    peers = [start("import multiprocessing.shared_memory") for _ in range(RUNS)]
    peer = statistics.median(peers) - statistics.median(bare)
    name = "import samemap, added to a bare interpreter"
    return [Figure(name, added, "import multiprocessing.shared_memory", peer, "under 15 ms", added < BAR)]
