"""Python source in a process of its own, where a crash is a result and not the end of the test run."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def run(source: str, *arguments: object, timeout: float = 100, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the source to its end, whatever that is."""
    line = [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)]
    settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": timeout, **options}
    return subprocess.run(line, check=False, **settings)  # type: ignore[call-overload, no-any-return]


def succeed(source: str, *arguments: object, timeout: float = 100, **options: object) -> str:
    """Run the source, insist on exit status 0 and a silent stderr, and return what it printed."""
    done = run(source, *arguments, timeout=timeout, **options)
    assert (done.returncode, done.stderr) == (0, ""), f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def truncate(path: Path, size: int) -> None:
    """Set a file's length from another process, as a careless neighbour would."""
    subprocess.run(["truncate", "-s", str(size), str(path)], check=True)


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until the condition holds, or fail naming what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.001)


def asleep(pid: int) -> bool:
    """Tell whether a process sleeps in the kernel."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def mapped(inode: int) -> int:
    """Count this process's mappings of an inode.

    By inode, because a file made with O_TMPFILE keeps a made-up name in the list.
    """
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(int(line.split()[4]) == inode for line in lines)


def descriptors() -> int:
    """Count this process's open descriptors, but for what earlier tests have left to the collector."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
